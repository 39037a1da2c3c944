/* `reduction: fast`: the right sum, buckets from the end as soon as their gradients are final, and not before.
 * ctest: libs=dg_mpi label=mpi ranks=0,1,2,3,4 timeout=120
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_mpi.h"
#include "dg_rng.h"
#include "host_backend.h"
#include "reducer_impl.h"

#include <math.h>

enum { COUNT = 1003, BUCKET = 100, BUCKETS = 11 };

/* Notes every non-blocking all-reduce on its way to the real communicator. */
static struct spy {
    dg_comm_ops ops;
    const dg_comm_ops *real;
    const float *base;
    int64_t start[64], count[64];
    int calls;
} spy;

static dg_status spy_start(dg_comm *comm, void *data, int64_t count, dg_dtype type, dg_comm_request **out)
{
    DG_CHECK(spy.calls < 64 && type == DG_F32);
    spy.start[spy.calls] = (const float *)data - spy.base;
    spy.count[spy.calls++] = count;
    return spy.real->all_reduce_start(comm, data, count, type, out);
}

static void spy_on(dg_comm *comm, const float *base)
{
    spy.real = comm->ops;
    spy.ops = *comm->ops;
    spy.ops.all_reduce_start = spy_start;
    spy.base = base;
    spy.calls = 0;
    comm->ops = &spy.ops;
}

static float gradient(int64_t slot, int i)
{
    dg_rng rng = dg_rng_stream(9, DG_RNG_TEST, (uint64_t)slot, (uint32_t)i);
    return (float)dg_rng_normal(&rng);
}

static void check_sum(const float *sum, int64_t batch)
{
    for (int i = 0; i < COUNT; i++) {
        double want = 0.0, magnitude = 0.0;
        for (int64_t s = 0; s < batch; s++) {
            want += gradient(s, i);
            magnitude += fabs(gradient(s, i));
        }
        /* Every order of `batch` additions stays within (batch - 1) units of rounding of the magnitudes. */
        DG_CHECK_NEAR(sum[i], want, (double)batch * 6e-8 * magnitude);
    }
}

/* The weights of the ranks must never drift apart: all hold the same bits. */
static void check_same_everywhere(dg_comm *comm, const float *sum)
{
    float first[COUNT];
    memcpy(first, sum, sizeof first);
    DG_CHECK_OK(dg_comm_broadcast(comm, first, sizeof first, 0));
    DG_CHECK(memcmp(first, sum, sizeof first) == 0);
}

/* The last pass finishes gradients from the end; after each stretch exactly the complete buckets are on their way. */
static void last_pass(dg_comm *comm, dg_reducer *reducer, int64_t slot)
{
    float *g = dg_reducer_buffer(reducer);
    static const int64_t edges[] = {COUNT, COUNT - 1, 950, 903, 902, 640, 5, 0};
    for (size_t e = 1; e < sizeof edges / sizeof edges[0]; e++) {
        for (int64_t i = edges[e]; i < edges[e - 1]; i++) g[i] += gradient(slot, (int)i);
        DG_CHECK_OK(dg_reducer_ready(reducer, edges[e]));
        int64_t complete = edges[e] == 0 ? BUCKETS : (COUNT - edges[e]) / BUCKET;
        DG_CHECK(spy.calls == (comm->size > 1 ? complete : 0));
    }
    for (int k = 0; k < spy.calls; k++) {
        int64_t start = COUNT - (k + 1) * BUCKET > 0 ? COUNT - (k + 1) * BUCKET : 0;
        DG_CHECK(spy.start[k] == start && spy.start[k] + spy.count[k] == COUNT - k * BUCKET);
    }
}

/* One sample a pass; `overlap` false: nothing is said of progress and finish does it all. */
static void test_step(dg_comm *comm, int64_t batch, bool overlap)
{
    dg_backend backend = {.ops = &host_ops};
    dg_reducer *reducer;
    int64_t first, mine;
    const float *sum = NULL;
    DG_CHECK_OK(dg_reducer_create(
        comm, &backend, &(dg_reducer_config){.count = COUNT, .batch = batch, .bucket_bytes = BUCKET * 4}, &reducer));
    DG_CHECK(backend.bytes_allocated == COUNT * 4);
    DG_CHECK(dg_reducer_memory_bytes(reducer) == 4 * (COUNT + (int64_t)COUNT * (comm->size - 1) / comm->size));
    DG_CHECK(dg_reducer_wire_bytes(reducer) == 2 * ((int64_t)COUNT * 4 * (comm->size - 1) / comm->size));
    dg_slots_of_rank(batch, comm->rank, comm->size, &first, &mine);
    DG_CHECK(dg_reducer_samples_per_pass(reducer, 1000) == mine && dg_reducer_samples_per_pass(reducer, 1) == 1);
    for (int repeat = 0; repeat < 2; repeat++) {
        DG_CHECK_OK(dg_reducer_begin(reducer));
        spy_on(comm, dg_reducer_buffer(reducer));
        for (int64_t s = 0; s + 1 < mine; s++) {
            for (int i = 0; i < COUNT; i++) dg_reducer_buffer(reducer)[i] += gradient(first + s, i);
            DG_CHECK_OK(dg_reducer_pass_done(reducer, 1));
        }
        if (overlap)
            last_pass(comm, reducer, first + mine - 1);
        else
            for (int i = 0; i < COUNT; i++) dg_reducer_buffer(reducer)[i] += gradient(first + mine - 1, i);
        DG_CHECK_OK(dg_reducer_pass_done(reducer, 1));
        DG_CHECK_OK(dg_reducer_finish(reducer, NULL, &sum));
        comm->ops = spy.real;
        DG_CHECK(spy.calls == (comm->size > 1 ? BUCKETS : 0));
        check_sum(sum, batch);
        check_same_everywhere(comm, sum);
    }
    dg_reducer_destroy(&reducer);
}

/* Gradients of all magnitudes, and thousands in a row of which bf16 would lose what is added one by one. */
static float wide_gradient(int64_t slot, int i)
{
    return i % 3 == 0 ? 1.0f : (float)(sin(1.0 + (double)(slot * COUNT + i)) * pow(10.0, (double)(i % 13 - 6)));
}

/* bf16 on the wire: what a rank sends is rounded once (2^-8 of it at most), the sum once more; one rank rounds nothing. */
static void test_rounded(dg_comm *comm)
{
    dg_backend backend = {.ops = &host_ops};
    dg_reducer *reducer;
    const dg_reducer_config config = {
        .wire = DG_BF16, .count = COUNT, .batch = 2 * comm->size, .bucket_bytes = BUCKET * 4};
    const float *sum = NULL;
    int rounded = 0;
    DG_CHECK_OK(dg_reducer_create(comm, &backend, &config, &reducer));
    DG_CHECK(backend.bytes_allocated == COUNT * (comm->size > 1 ? 6 : 4));
    DG_CHECK(dg_reducer_memory_bytes(reducer) ==
             backend.bytes_allocated + 2 * ((int64_t)COUNT * (comm->size - 1) / comm->size));
    DG_CHECK(dg_reducer_wire_bytes(reducer) == 2 * ((int64_t)COUNT * 2 * (comm->size - 1) / comm->size));
    for (int repeat = 0; repeat < 2; repeat++) {
        DG_CHECK_OK(dg_reducer_begin(reducer));
        for (int64_t s = 0; s < 2; s++) {
            for (int i = 0; i < COUNT; i++) dg_reducer_buffer(reducer)[i] += wide_gradient(2 * comm->rank + s, i);
            if (s == 1 && repeat == 1) DG_CHECK_OK(dg_reducer_ready(reducer, 400));
            DG_CHECK_OK(dg_reducer_pass_done(reducer, 1));
        }
        DG_CHECK_OK(dg_reducer_finish(reducer, NULL, &sum));
        for (int i = 0; i < COUNT; i++) {
            double exact = 0, magnitude = 0;
            for (int rank = 0; rank < comm->size; rank++) {
                const float part = wide_gradient(2 * rank, i) + wide_gradient(2 * rank + 1, i);
                exact += part;
                magnitude += fabs((double)part);
            }
            const double error = fabs(sum[i] - exact);
            DG_CHECK(error <= (comm->size > 1 ? (2.0 / 256 + 1e-6) * magnitude : 0));
            rounded += error > 1e-5 * magnitude;
        }
        check_same_everywhere(comm, sum);
    }
    DG_CHECK((rounded > 0) == (comm->size > 1));
    dg_reducer_destroy(&reducer);
    const dg_reducer_config ordered = {.kind = DG_REDUCE_ORDERED, .wire = DG_BF16, .count = COUNT, .batch = comm->size};
    DG_CHECK_FAILS(dg_reducer_create(comm, &backend, &ordered, &reducer), DG_ERR_USAGE,
                   "`reduction: ordered` sends f32");
}

static dg_status refuse_memory(dg_backend *backend, int64_t bytes, const char *what, void **out)
{
    return DG_FAIL(DG_ERR_MEMORY, "no memory for %lld bytes of %s", (long long)bytes, what);
}

static void test_refusals(dg_comm *comm)
{
    dg_backend backend = {.ops = &host_ops};
    dg_reducer *reducer = NULL;
    if (comm->size > 1) {
        char words[64];
        snprintf(words, sizeof words, "%d ranks for %d sample", comm->size, comm->size - 1);
        for (int kind = DG_REDUCE_FAST; kind <= DG_REDUCE_ORDERED; kind++)
            DG_CHECK_FAILS(dg_reducer_create(
                               comm, &backend,
                               &(dg_reducer_config){.kind = kind, .count = COUNT, .batch = comm->size - 1}, &reducer),
                           DG_ERR_USAGE, words);
        DG_CHECK(reducer == NULL);
        /* Sending gradients off before the last pass would lose what comes after. */
        DG_CHECK_OK(
            dg_reducer_create(comm, &backend, &(dg_reducer_config){.count = COUNT, .batch = 2 * comm->size}, &reducer));
        DG_CHECK_OK(dg_reducer_begin(reducer));
        DG_CHECK_OK(dg_reducer_ready(reducer, 0));
        DG_CHECK_FAILS(dg_reducer_pass_done(reducer, 1), DG_ERR_INTERNAL, "before the last pass");
        const float *sum = NULL;
        DG_CHECK_OK(dg_reducer_finish(reducer, NULL, &sum));
        dg_reducer_destroy(&reducer);
    }
    /* One rank without memory: all hear of it, none is left waiting. */
    dg_backend_ops poor_ops = host_ops;
    poor_ops.alloc = refuse_memory;
    if (comm->rank == comm->size - 1) backend.ops = &poor_ops;
    DG_CHECK_FAILS(dg_reducer_create(comm, &backend, &(dg_reducer_config){.count = COUNT, .batch = 64}, &reducer),
                   DG_ERR_MEMORY, "no memory");
    DG_CHECK(reducer == NULL);
}

int main(int argc, char **argv)
{
    dg_comm *comm;
    DG_CHECK_OK(dg_comm_open(&argc, &argv, &comm));
    int64_t batches[] = {comm->size, comm->size + 1, 2 * comm->size, 9};
    for (int b = 0; b < 4; b++) {
        test_step(comm, batches[b], true);
        test_step(comm, batches[b], false);
    }
    test_rounded(comm);
    test_refusals(comm);
    dg_comm_destroy(&comm);
    dg_mpi_stop();
    return 0;
}
