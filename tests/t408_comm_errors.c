/* What MPI refuses comes back as DG_ERR_COMM with rank, host, call and reason; nothing ends the process.
 * ctest: libs=dg_mpi label=mpi ranks=2 timeout=60
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "mpi_impl.h"

int main(int argc, char **argv)
{
    dg_comm *comm;
    DG_CHECK_OK(dg_comm_open(&argc, &argv, &comm));
    char data[100] = {0}, who[160];
    snprintf(who, sizeof who, "rank 0 of 2 on %s: MPI_Irecv failed: ", comm->host);
    if (comm->rank == 1) DG_CHECK_OK(dg_comm_send(comm, data, 100, 0, DG_TAG_TEST));
    if (comm->rank == 0) {
        DG_CHECK_FAILS(dg_comm_receive(comm, data, 10, 1, DG_TAG_TEST), DG_ERR_COMM, who);
        DG_CHECK(strstr(dg_error_last()->text, "truncated") != NULL);
        DG_CHECK(((mpi_comm *)comm)->failed);
        DG_CHECK(dg_comm_agree(comm, DG_ERR_COMM) == DG_ERR_COMM); /* no call to the lost library */
    } else {
        DG_CHECK(dg_mpi_check(comm, MPI_SUCCESS, "MPI_Send") == DG_OK && !((mpi_comm *)comm)->failed);
        DG_CHECK_FAILS(dg_mpi_check(comm, MPI_ERR_RANK, "MPI_Send(a, b)"), DG_ERR_COMM, "MPI_Send failed");
    }
    dg_comm_destroy(&comm); /* frees what it can without asking MPI */
    DG_CHECK(comm == NULL);
    dg_mpi_stop();
    return 0;
}
