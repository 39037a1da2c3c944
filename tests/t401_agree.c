/* Agreement on failure: whoever fails, all ranks return the same status and read the same message.
 * ctest: libs=dg_mpi label=mpi ranks=0,1,2,4 timeout=60
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_mpi.h"

/* All ranks show the same text: compared with rank 0's. */
static void check_same_text(dg_comm *comm)
{
    char first[DG_ERROR_TEXT_MAX] = {0}, mine[DG_ERROR_TEXT_MAX] = {0};
    memcpy(mine, dg_error_last()->text, sizeof mine);
    memcpy(first, mine, sizeof mine);
    DG_CHECK_OK(dg_comm_broadcast(comm, first, sizeof first, 0));
    DG_CHECK(strcmp(first, mine) == 0);
}

static void test_one_fails(dg_comm *comm, int bad)
{
    dg_status mine = DG_OK;
    if (comm->rank == bad) mine = DG_FAIL(DG_ERR_DATA, "case pt_%d: dose holds a NaN", bad);
    dg_status agreed = dg_comm_agree(comm, mine);
    DG_CHECK(agreed == DG_ERR_DATA);
    DG_CHECK(dg_error_last()->status == DG_ERR_DATA);
    char who[128], what[64];
    snprintf(who, sizeof who, "rank %d on %s: ", bad, comm->host);
    snprintf(what, sizeof what, "case pt_%d: dose holds a NaN", bad);
    DG_CHECK(strstr(dg_error_last()->text, what) != NULL);
    DG_CHECK(comm->size == 1 || strncmp(dg_error_last()->text, who, strlen(who)) == 0);
    check_same_text(comm);
}

/* All fail in different ways: the lowest rank's word counts. */
static void test_all_fail(dg_comm *comm)
{
    dg_status mine = comm->rank == 0 ? DG_FAIL(DG_ERR_IO, "no space") : DG_FAIL(DG_ERR_MEMORY, "rank's own trouble");
    DG_CHECK(dg_comm_agree(comm, mine) == DG_ERR_IO);
    DG_CHECK(strstr(dg_error_last()->text, "no space") != NULL);
    check_same_text(comm);
}

int main(int argc, char **argv)
{
    dg_comm *comm;
    DG_CHECK_OK(dg_comm_open(&argc, &argv, &comm));
    DG_CHECK(dg_comm_agree(comm, DG_OK) == DG_OK);
    for (int bad = 0; bad < comm->size; bad++) test_one_fails(comm, bad);
    test_all_fail(comm);
    DG_CHECK(dg_comm_agree(comm, DG_OK) == DG_OK);
    /* A lost communicator is not asked: every rank hears DG_ERR_COMM at once, without a collective call. */
    if (comm->rank == comm->size - 1) DG_CHECK(dg_comm_agree(comm, DG_FAIL(DG_ERR_COMM, "gone")) == DG_ERR_COMM);
    dg_comm_destroy(&comm);
    dg_mpi_stop();
    return 0;
}
