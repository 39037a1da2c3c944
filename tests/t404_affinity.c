/* Placement: local ranks share the allowed cores without overlap, and a rank that has too few says so.
 * ctest: libs=dg_mpi label=mpi ranks=0,1,2,4 timeout=60
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_mpi.h"

#include <sched.h>

static int cpus_of_this_process(cpu_set_t *set)
{
    DG_CHECK(sched_getaffinity(0, sizeof *set, set) == 0);
    return CPU_COUNT(set);
}

int main(int argc, char **argv)
{
    dg_comm *comm;
    DG_CHECK_OK(dg_comm_open(&argc, &argv, &comm));
    cpu_set_t before, after;
    int cpus = cpus_of_this_process(&before), threads = 0;
    char warning[256] = "x";
    DG_CHECK_OK(dg_affinity_set(comm, 0, &threads, warning, sizeof warning));
    DG_CHECK(threads >= 1 && threads <= cpus);
    int left = cpus_of_this_process(&after);
    for (int i = 0; i < CPU_SETSIZE; i++) DG_CHECK(!CPU_ISSET(i, &after) || CPU_ISSET(i, &before));
    if (cpus >= comm->size) {
        /* Every processor belongs to one rank at most, and each rank has some. */
        int64_t owners[CPU_SETSIZE] = {0};
        for (int i = 0; i < CPU_SETSIZE; i++) owners[i] = CPU_ISSET(i, &after) != 0;
        DG_CHECK_OK(dg_comm_all_reduce(comm, owners, CPU_SETSIZE, DG_I64, DG_SUM));
        for (int i = 0; i < CPU_SETSIZE && comm->size > 1; i++) DG_CHECK(owners[i] <= 1);
        DG_CHECK(left >= 1 && threads <= left);
    } else {
        DG_CHECK(left == cpus && threads == 1);
        DG_CHECK(strstr(warning, "ask the launcher for more cores") != NULL);
    }
    if (comm->size == 1) DG_CHECK(left == cpus && warning[0] == '\0');

    DG_CHECK_OK(dg_affinity_set(comm, 4096, &threads, warning, sizeof warning));
    DG_CHECK(threads == 4096);
    DG_CHECK(strstr(warning, "for 4096 threads") != NULL);
    dg_comm_destroy(&comm);
    dg_mpi_stop();
    return 0;
}
