/* `reduction: ordered` gives the bits of the fixed tree over the global batch on any number of ranks.
 * ctest: libs=dg_mpi label=mpi ranks=0,1,2,3,4 timeout=120
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_mpi.h"
#include "dg_rng.h"
#include "host_backend.h"
#include "reducer_impl.h"

enum { COUNT = 1003, BATCH_MOST = 13, BUCKET_BYTES = 4 * 97 };

/* Magnitudes over six decades, so that every other order of additions gives other bits. */
static void sample_gradient(int64_t slot, float *g)
{
    dg_rng rng = dg_rng_stream(5, DG_RNG_TEST, (uint64_t)slot, 0);
    for (int i = 0; i < COUNT; i++) g[i] = (float)(dg_rng_normal(&rng) * pow(10.0, 6.0 * dg_rng_uniform(&rng) - 3.0));
}

/* The definition, written as such: sum(node) = sum(left) + sum(right). */
static void tree_sum(int64_t first, int64_t samples, float *out)
{
    if (samples == 1) {
        sample_gradient(first, out);
        return;
    }
    int64_t left = 1;
    while (2 * left < samples) left *= 2;
    float right[COUNT];
    tree_sum(first, left, out);
    tree_sum(first + left, samples - left, right);
    for (int i = 0; i < COUNT; i++) out[i] += right[i];
}

static void step(dg_reducer *reducer, int64_t first, int64_t mine, const float **sum)
{
    float g[COUNT];
    DG_CHECK_OK(dg_reducer_begin(reducer));
    for (int64_t s = 0; s < mine; s++) {
        float *into = dg_reducer_buffer(reducer);
        sample_gradient(first + s, g);
        for (int i = 0; i < COUNT; i++) {
            DG_CHECK(into[i] == 0.0f);
            into[i] += g[i];
        }
        DG_CHECK_OK(dg_reducer_ready(reducer, COUNT / 2)); /* means nothing here */
        DG_CHECK_OK(dg_reducer_pass_done(reducer, 1));
    }
    DG_CHECK_OK(dg_reducer_finish(reducer, NULL, sum));
}

/* Buffers by the promise of the header: log2(batch) + 1, and at most twice that where ranks cut the tree. */
static void check_memory(const dg_reducer *reducer, const dg_comm *comm, int64_t batch)
{
    int log2 = 0;
    while ((int64_t)1 << log2 < batch) log2++;
    bool aligned = (batch & (batch - 1)) == 0 && (comm->size & (comm->size - 1)) == 0;
    int64_t buffers = reducer->buffers;
    DG_CHECK(buffers <= (aligned || comm->size == 1 ? log2 + 1 : 2 * (log2 + 1)));
    DG_CHECK(batch > 1 || buffers == 1);
    int64_t staging = reducer->staging != NULL ? BUCKET_BYTES : 0;
    DG_CHECK(dg_reducer_memory_bytes(reducer) == buffers * COUNT * 4 + staging);
    DG_CHECK(reducer->backend->bytes_allocated == dg_reducer_memory_bytes(reducer));
    int64_t memory, wire; /* of the busiest rank: nobody's is more, and somebody's as much */
    const dg_reducer_config config = {
        .kind = DG_REDUCE_ORDERED, .count = COUNT, .batch = batch, .bucket_bytes = BUCKET_BYTES};
    int64_t most[2] = {dg_reducer_memory_bytes(reducer), dg_reducer_wire_bytes(reducer)};
    DG_CHECK_OK(dg_comm_all_reduce(reducer->comm, most, 2, DG_I64, DG_MAX));
    DG_CHECK_OK(dg_reducer_estimate(&config, comm->size, &memory, &wire));
    DG_CHECK(memory == most[0] && wire == most[1]);
}

static void test_batch(dg_comm *comm, int64_t batch)
{
    dg_backend backend = {.ops = &host_ops};
    dg_reducer *reducer;
    int64_t first, mine;
    DG_CHECK_OK(dg_reducer_create(
        comm, &backend,
        &(dg_reducer_config){.kind = DG_REDUCE_ORDERED, .count = COUNT, .batch = batch, .bucket_bytes = BUCKET_BYTES},
        &reducer));
    dg_slots_of_rank(batch, comm->rank, comm->size, &first, &mine);
    DG_CHECK(dg_reducer_samples_per_pass(reducer, 8) == 1);
    check_memory(reducer, comm, batch);
    float want[COUNT];
    tree_sum(0, batch, want);
    for (int repeat = 0; repeat < 2; repeat++) {
        const float *sum = NULL;
        step(reducer, first, mine, &sum);
        DG_CHECK(memcmp(sum, want, sizeof want) == 0);
    }
    DG_CHECK(dg_reducer_begin(reducer) == DG_OK);
    DG_CHECK_FAILS(dg_reducer_pass_done(reducer, mine + 1), DG_ERR_INTERNAL, "a pass over");
    if (mine > 1) DG_CHECK_FAILS(dg_reducer_pass_done(reducer, 2), DG_ERR_INTERNAL, "one sample a pass");
    dg_reducer_destroy(&reducer);
    DG_CHECK(reducer == NULL);
}

/* The order matters for these numbers, else equal bits would prove nothing. */
static void test_order_matters(void)
{
    float tree[COUNT], line[COUNT], g[COUNT];
    tree_sum(0, 8, tree);
    sample_gradient(0, line);
    for (int s = 1; s < 8; s++) {
        sample_gradient(s, g);
        for (int i = 0; i < COUNT; i++) line[i] += g[i];
    }
    DG_CHECK(memcmp(tree, line, sizeof tree) != 0);
}

/* A rank that lost its samples still completes the step, and all ranks then hear of it. */
static void test_failed_pass(dg_comm *comm)
{
    dg_backend backend = {.ops = &host_ops};
    dg_reducer *reducer;
    int64_t first, mine, batch = 7;
    DG_CHECK_OK(dg_reducer_create(
        comm, &backend,
        &(dg_reducer_config){.kind = DG_REDUCE_ORDERED, .count = COUNT, .batch = batch, .bucket_bytes = BUCKET_BYTES},
        &reducer));
    dg_slots_of_rank(batch, comm->rank, comm->size, &first, &mine);
    int bad = comm->size - 1;
    dg_status mine_status = DG_OK;
    DG_CHECK_OK(dg_reducer_begin(reducer));
    if (comm->rank == bad) mine_status = DG_FAIL(DG_ERR_NUMERIC, "NaN in the gradient of case A");
    for (int64_t s = 0; s < mine && comm->rank != bad; s++) DG_CHECK_OK(dg_reducer_pass_done(reducer, 1));
    const float *sum = NULL;
    DG_CHECK_OK(dg_reducer_finish(reducer, NULL, &sum));
    DG_CHECK_FAILS(dg_comm_agree(comm, mine_status), DG_ERR_NUMERIC, "case A");
    dg_reducer_destroy(&reducer);
}

static void test_slots(void)
{
    for (int64_t batch = 1; batch <= 40; batch++)
        for (int size = 1; size <= batch; size++) {
            int64_t next = 0, first, mine;
            for (int rank = 0; rank < size; rank++, next += mine) {
                dg_slots_of_rank(batch, rank, size, &first, &mine);
                DG_CHECK(first == next && mine >= batch / size && mine <= batch / size + 1);
                dg_reducer reducer = {.comm = &(dg_comm){.size = size}, .batch = batch};
                for (int64_t s = first; s < first + mine; s++) DG_CHECK(dg_tree_owner(&reducer, s) == rank);
            }
            DG_CHECK(next == batch);
        }
}

int main(int argc, char **argv)
{
    dg_comm *comm;
    DG_CHECK_OK(dg_comm_open(&argc, &argv, &comm));
    test_slots();
    test_order_matters();
    for (int64_t batch = comm->size; batch <= BATCH_MOST; batch++) test_batch(comm, batch);
    test_batch(comm, 32);
    test_failed_pass(comm);
    dg_comm_destroy(&comm);
    dg_mpi_stop();
    return 0;
}
