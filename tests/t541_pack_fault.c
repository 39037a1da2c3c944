/* ctest: libs=dg_h5 label=fault ranks=2 timeout=60 */
/* t541: the last rank alone cannot write (its file size is limited) in the middle of the collective part of a pack: every
 * rank gets an error in time, no file is left under either name, and the ranks can end.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_mpi.h"
#include "t5_cases.h"

#include <signal.h>
#include <sys/resource.h>

int main(int argc, char **argv)
{
    char folder[64] = "", packed[DG_PATH_MAX], temporary[DG_PATH_MAX];
    dg_comm *comm;
    DG_CHECK_OK(dg_mpi_start(&argc, &argv, &comm));
    if (comm->rank == 0) {
        t5_case c;
        t5_temporary(folder);
        t5_make(&c, "a", 100, 40, 40);
        DG_CHECK_OK(dg_case_write(folder, &c.data));
        t5_release(&c);
    }
    DG_CHECK_OK(dg_comm_broadcast(comm, folder, sizeof folder, 0));
    snprintf(packed, sizeof packed, "%s/packed.h5", folder);
    snprintf(temporary, sizeof temporary, "%s/packed.h5.tmp", folder);
    if (comm->rank == comm->size - 1) {
        struct rlimit limit = {.rlim_cur = 64 << 10, .rlim_max = RLIM_INFINITY};
        signal(SIGXFSZ, SIG_IGN);
        DG_CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    }
    dg_status status = dg_cohort_pack(comm, folder, packed);
    printf("rank %d: %s: %s\n", comm->rank, dg_status_name(status), dg_error_last()->text);
    DG_CHECK(status == DG_ERR_COMM);
    DG_CHECK(!dg_file_exists(packed));
    if (comm->rank == 0) {
        DG_CHECK(!dg_file_exists(temporary));
        t5_remove_tree(folder);
    }
    /* as the program does after DG_ERR_COMM: MPI_Finalize would meet what the failed file left behind */
    fflush(stdout);
    dg_mpi_abort(0);
}
