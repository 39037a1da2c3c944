/* Collective calls of dg_comm against values every rank can work out alone, on one process and over MPI.
 * ctest: libs=dg_mpi label=mpi ranks=0,1,2,3,4 timeout=60
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_mem.h"
#include "mpi_impl.h"

/* Sizes around nothing, one, a cache line and a piece; the pieces are cut small here so that the cutting is tested. */
static const int64_t sizes[] = {0, 1, 3, 64, 4096, 4097, 12289, 100001};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static unsigned char byte_of(int rank, int64_t i) { return (unsigned char)(rank * 31 + i * 7 + (i >> 8)); }

static void test_broadcast(dg_comm *comm, int64_t bytes)
{
    unsigned char *data;
    DG_CHECK_OK(DG_NEW(&data, bytes + 1, "test data"));
    for (int root = 0; root < comm->size; root++) {
        for (int64_t i = 0; i < bytes; i++) data[i] = comm->rank == root ? byte_of(root, i) : 0;
        data[bytes] = 0xA5;
        DG_CHECK_OK(dg_comm_broadcast(comm, data, bytes, root));
        for (int64_t i = 0; i < bytes; i++) DG_CHECK(data[i] == byte_of(root, i));
        DG_CHECK(data[bytes] == 0xA5);
    }
    dg_free(&data);
}

/* Rank r gives bytes + r of them, so that the pieces differ in length. */
static void test_gather(dg_comm *comm, int64_t bytes)
{
    int64_t mine = bytes + comm->rank, counted[8] = {0};
    unsigned char *data, *all = NULL;
    DG_CHECK_OK(DG_NEW(&data, mine + 1, "test data"));
    for (int64_t i = 0; i < mine; i++) data[i] = byte_of(comm->rank, i);
    int root = comm->size - 1;
    DG_CHECK_OK(dg_comm_gather(comm, data, mine, root, NULL, counted));
    int64_t total = 0;
    for (int r = 0; r < comm->size; r++) {
        DG_CHECK(counted[r] == bytes + r);
        total += counted[r];
    }
    if (comm->rank == root) DG_CHECK_OK(DG_NEW(&all, total + 1, "gathered data"));
    DG_CHECK_OK(dg_comm_gather(comm, data, mine, root, all, counted));
    if (comm->rank == root)
        for (int64_t r = 0, at = 0; r < comm->size; at += counted[r], r++)
            for (int64_t i = 0; i < counted[r]; i++) DG_CHECK(all[at + i] == byte_of((int)r, i));
    dg_free(&all);
    dg_free(&data);
}

/* Small integers, so that sums are exact in every type. */
#define TEST_REDUCE(comm, type_, dtype, count)                                                         \
    do {                                                                                               \
        type_ *x_;                                                                                     \
        DG_CHECK_OK(DG_NEW(&x_, (count) + 1, "test data"));                                            \
        for (int op_ = DG_SUM; op_ <= DG_MAX; op_++) {                                                 \
            for (int64_t i_ = 0; i_ < (count); i_++) x_[i_] = (type_)((comm)->rank * 2 - i_ % 5);      \
            x_[count] = 77;                                                                            \
            DG_CHECK_OK(dg_comm_all_reduce((comm), x_, (count), (dtype), (dg_reduce)op_));             \
            int last_ = (comm)->size - 1;                                                              \
            for (int64_t i_ = 0; i_ < (count); i_++) {                                                 \
                int64_t sum_ = last_ * (last_ + 1) - (comm)->size * (i_ % 5);                          \
                int64_t want_ = op_ == DG_SUM ? sum_ : op_ == DG_MIN ? -(i_ % 5) : last_ * 2 - i_ % 5; \
                DG_CHECK(x_[i_] == (type_)want_);                                                      \
            }                                                                                          \
            DG_CHECK(x_[count] == 77);                                                                 \
        }                                                                                              \
        dg_free(&x_);                                                                                  \
    } while (0)

/* Several reductions under way at once, completed by test and by wait. */
static void test_pending(dg_comm *comm, int64_t count)
{
    enum { PENDING = 3 };
    float *x[PENDING];
    dg_comm_request *request[PENDING];
    for (int k = 0; k < PENDING; k++) {
        DG_CHECK_OK(DG_NEW(&x[k], count + 1, "test data"));
        for (int64_t i = 0; i < count; i++) x[k][i] = (float)(comm->rank + k + i % 3);
        DG_CHECK_OK(dg_comm_all_reduce_start(comm, x[k], count, DG_F32, &request[k]));
    }
    for (bool done = false; !done;) DG_CHECK_OK(dg_comm_test(comm, &request[1], &done));
    for (int k = 0; k < PENDING; k++) DG_CHECK_OK(dg_comm_wait(comm, &request[k]));
    int ranks = comm->size;
    for (int k = 0; k < PENDING; k++) {
        DG_CHECK(request[k] == NULL);
        for (int64_t i = 0; i < count; i++) DG_CHECK(x[k][i] == (float)(ranks * (ranks - 1) / 2 + ranks * (k + i % 3)));
        dg_free(&x[k]);
    }
}

/* A ring: every rank sends to the next; even ranks send first. */
static void test_ring(dg_comm *comm, int64_t bytes)
{
    if (comm->size == 1) return;
    int next = (comm->rank + 1) % comm->size, before = (comm->rank + comm->size - 1) % comm->size;
    unsigned char *out, *in;
    DG_CHECK_OK(DG_NEW(&out, bytes + 1, "sent"));
    DG_CHECK_OK(DG_NEW(&in, bytes + 1, "received"));
    for (int64_t i = 0; i < bytes; i++) out[i] = byte_of(comm->rank, i);
    if (comm->rank % 2 == 0) DG_CHECK_OK(dg_comm_send(comm, out, bytes, next, DG_TAG_TEST));
    DG_CHECK_OK(dg_comm_receive(comm, in, bytes, before, DG_TAG_TEST));
    if (comm->rank % 2 != 0) DG_CHECK_OK(dg_comm_send(comm, out, bytes, next, DG_TAG_TEST));
    for (int64_t i = 0; i < bytes; i++) DG_CHECK(in[i] == byte_of(before, i));
    dg_free(&in);
    dg_free(&out);
}

static void test_refusals(dg_comm *comm)
{
    char byte = 0;
    DG_CHECK_FAILS(dg_comm_broadcast(comm, &byte, 1, comm->size), DG_ERR_INTERNAL, "no rank");
    DG_CHECK_FAILS(dg_comm_broadcast(comm, &byte, -1, 0), DG_ERR_INTERNAL, "negative");
    DG_CHECK_FAILS(dg_comm_all_reduce(comm, &byte, 1, DG_U8, DG_SUM), DG_ERR_INTERNAL, "element type");
    DG_CHECK_FAILS(dg_comm_send(comm, &byte, 1, comm->rank, DG_TAG_TEST), DG_ERR_INTERNAL, "itself");
    DG_CHECK_FAILS(dg_comm_receive(comm, NULL, 1, 0, DG_TAG_TEST), DG_ERR_INTERNAL, "no data");
}

int main(int argc, char **argv)
{
    dg_comm *comm;
    DG_CHECK_OK(dg_comm_open(&argc, &argv, &comm));
    DG_CHECK((strcmp(comm->ops->name, "mpi") == 0) == dg_mpi_launched());
    DG_CHECK((dg_mpi_handle(comm) == MPI_COMM_NULL) == !dg_mpi_launched());
    DG_CHECK(comm->rank < comm->size && comm->local_size == comm->size && comm->local_rank == comm->rank);
    DG_CHECK(comm->host[0] != '\0');
    if (dg_mpi_launched()) {
        DG_CHECK(((mpi_comm *)comm)->piece_bytes == 1 << 30);
        ((mpi_comm *)comm)->piece_bytes = 4096;
    }
    for (int s = 0; s < SIZES; s++) {
        test_broadcast(comm, sizes[s]);
        test_gather(comm, sizes[s]);
        TEST_REDUCE(comm, float, DG_F32, sizes[s]);
        TEST_REDUCE(comm, double, DG_F64, sizes[s]);
        TEST_REDUCE(comm, int64_t, DG_I64, sizes[s]);
        TEST_REDUCE(comm, int32_t, DG_I32, sizes[s]);
        test_pending(comm, sizes[s]);
        test_ring(comm, sizes[s]);
    }
    test_refusals(comm);
    int64_t largest;
    DG_CHECK_OK(dg_comm_any(comm, 10 - comm->rank, &largest));
    DG_CHECK(largest == 10);
    DG_CHECK_OK(dg_comm_barrier(comm));
    dg_comm_destroy(&comm);
    DG_CHECK(comm == NULL);
    dg_comm_destroy(&comm);
    dg_mpi_stop();
    return 0;
}
