/* Messages beyond 2 GiB, which no single MPI call can carry, arrive whole. Needs 5 GiB of memory.
 * ctest: libs=dg_mpi label=slow ranks=2 timeout=180
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_mem.h"
#include "dg_mpi.h"

#include <sys/sysinfo.h>

/* A value of every position, so that pieces out of place are seen. */
static uint64_t word_at(int64_t i) { return (uint64_t)i * 0x9E3779B97F4A7C15u ^ 0x55; }

int main(int argc, char **argv)
{
    dg_comm *comm;
    DG_CHECK_OK(dg_comm_open(&argc, &argv, &comm));
    struct sysinfo memory;
    DG_CHECK(sysinfo(&memory) == 0);
    int64_t words = ((int64_t)1 << 28) + 513, poor = memory.freeram * memory.mem_unit < (uint64_t)5 << 30;
    DG_CHECK_OK(dg_comm_any(comm, poor, &poor));
    uint64_t *data = NULL;
    if (!poor) {
        DG_CHECK_OK(DG_NEW(&data, words, "test data"));
        for (int64_t i = 0; comm->rank == 0 && i < words; i++) data[i] = word_at(i);
        DG_CHECK_OK(dg_comm_broadcast(comm, data, words * 8, 0));
        for (int64_t i = 0; i < words; i++) DG_CHECK(data[i] == word_at(i));
        /* Two ranks with the same numbers: the sum doubles each (modulo 2^64, as unsigned addition does). */
        for (int64_t i = 0; i < words; i++) data[i] >>= 2;
        DG_CHECK_OK(dg_comm_all_reduce(comm, data, words, DG_I64, DG_SUM));
        for (int64_t i = 0; i < words; i++) DG_CHECK(data[i] == 2 * (word_at(i) >> 2));
        dg_free(&data);
    }
    dg_comm_destroy(&comm);
    dg_mpi_stop();
    if (poor) puts("skipped: less than 5 GiB of memory are free");
    return poor ? DG_TEST_SKIPPED : 0;
}
