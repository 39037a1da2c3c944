/* dg_reducer.c - life of a reducer, and the fast way: buckets from the end of the gradients, where backward starts, go
 * through non-blocking all-reduces while the rest is computed. SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "reducer_impl.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKET_BYTES = 8 << 20, BUCKET_LEAST = 16 };

void dg_slots_of_rank(int64_t batch, int rank, int size, int64_t *first, int64_t *mine)
{
    *first = batch * rank / size;
    *mine = batch * (rank + 1) / size - *first;
}

static dg_status check_request(const dg_comm *comm, int64_t count, int64_t batch)
{
    if (count < 1 || batch < 1)
        return DG_FAIL(DG_ERR_INTERNAL, "a reducer of %lld gradients and %lld samples", (long long)count,
                       (long long)batch);
    if (comm->size > batch)
        return DG_FAIL(DG_ERR_USAGE,
                       "%d ranks for %lld sample%s in the global batch: a rank would have nothing to do. Start at most "
                       "%lld rank%s, or raise train.batch",
                       comm->size, (long long)batch, batch == 1 ? "" : "s", (long long)batch, batch == 1 ? "" : "s");
    return DG_OK;
}

static dg_status backend_floats(dg_reducer *reducer, int64_t count, const char *what, float **out)
{
    void *memory = NULL;
    int64_t bytes;
    if (!dg_mul_int64(count, (int64_t)sizeof **out, &bytes))
        return DG_FAIL(DG_ERR_MEMORY, "%lld gradients overflow", (long long)count);
    DG_TRY(reducer->backend->ops->alloc(reducer->backend, bytes, what, &memory));
    *out = memory;
    return DG_OK;
}

/* Everything but memory. */
static void describe(dg_reducer *reducer, dg_comm *comm, dg_reduction kind, int64_t count, int64_t batch,
                     int64_t bucket_bytes)
{
    int receives = 0, sends = 0;
    reducer->comm = comm;
    reducer->kind = kind;
    reducer->count = count;
    reducer->batch = batch;
    reducer->bucket = (bucket_bytes > 0 ? bucket_bytes : BUCKET_BYTES) / (int64_t)sizeof(float);
    if (reducer->bucket < BUCKET_LEAST) reducer->bucket = BUCKET_LEAST;
    if (reducer->bucket > count) reducer->bucket = count;
    dg_slots_of_rank(batch, comm->rank, comm->size, &reducer->first, &reducer->mine);
    reducer->buffers = 1;
    if (kind == DG_REDUCE_ORDERED) dg_tree_measure(reducer, &reducer->buffers, &receives, &sends);
    reducer->receives = receives > 0;
    reducer->sends_buckets = kind == DG_REDUCE_FAST && comm->size > 1;
}

static dg_status allocate(dg_reducer *reducer)
{
    for (int k = 0; k < reducer->buffers; k++)
        DG_TRY(backend_floats(reducer, reducer->count, "gradients", &reducer->buffer[k]));
    if (reducer->receives)
        DG_TRY(backend_floats(reducer, reducer->bucket, "gradients of other ranks", &reducer->staging));
    int64_t buckets = (reducer->count + reducer->bucket - 1) / reducer->bucket;
    if (buckets > 1 << 24)
        return DG_FAIL(DG_ERR_USAGE, "%lld buckets of gradients: make them larger", (long long)buckets);
    if (reducer->sends_buckets) {
        DG_TRY(DG_NEW(&reducer->pending, buckets, "bucket table"));
        reducer->buckets = (int)buckets;
    }
    return DG_OK;
}

dg_status dg_reducer_create(dg_comm *comm, dg_backend *backend, dg_reduction kind, int64_t count, int64_t batch,
                            int64_t bucket_bytes, dg_reducer **out)
{
    *out = NULL;
    DG_TRY(check_request(comm, count, batch)); /* the same answer on every rank */
    dg_reducer *reducer = NULL;
    dg_status status = DG_NEW(&reducer, 1, "reducer");
    if (status == DG_OK) {
        describe(reducer, comm, kind, count, batch, bucket_bytes);
        reducer->backend = backend;
        status = allocate(reducer);
    }
    status = dg_comm_agree(comm, status);
    if (status != DG_OK) dg_reducer_destroy(&reducer);
    *out = reducer;
    return status;
}

void dg_reducer_destroy(dg_reducer **reducer)
{
    if (reducer == NULL || *reducer == NULL) return;
    dg_backend *backend = (*reducer)->backend;
    for (int k = 0; k < (*reducer)->buffers; k++)
        if ((*reducer)->buffer[k] != NULL) backend->ops->free(backend, (*reducer)->buffer[k]);
    if ((*reducer)->staging != NULL) backend->ops->free(backend, (*reducer)->staging);
    dg_free(&(*reducer)->pending);
    dg_free(reducer);
}

int64_t dg_reducer_samples_per_pass(const dg_reducer *reducer, int64_t wanted)
{
    if (reducer->kind == DG_REDUCE_ORDERED || wanted < 1) return 1;
    return wanted < reducer->mine ? wanted : reducer->mine;
}

dg_status dg_reducer_begin(dg_reducer *reducer)
{
    reducer->done = 0;
    reducer->depth = 0;
    reducer->started = reducer->waiting = 0;
    reducer->current = 0;
    memset(reducer->used, 0, sizeof reducer->used);
    reducer->used[0] = true;
    return reducer->backend->ops->fill(reducer->backend, reducer->buffer[0], reducer->count, 0.0f);
}

float *dg_reducer_buffer(dg_reducer *reducer) { return reducer->buffer[reducer->current]; }

dg_status dg_reducer_pass_done(dg_reducer *reducer, int64_t samples)
{
    if (samples < 1 || reducer->done + samples > reducer->mine)
        return DG_FAIL(DG_ERR_INTERNAL, "a pass over %lld samples after %lld of this rank's %lld", (long long)samples,
                       (long long)reducer->done, (long long)reducer->mine);
    if (reducer->kind == DG_REDUCE_ORDERED) {
        if (samples != 1)
            return DG_FAIL(DG_ERR_INTERNAL, "`reduction: ordered` takes one sample a pass, not %lld",
                           (long long)samples);
        return dg_tree_push(reducer);
    }
    reducer->done += samples;
    if (reducer->started > 0 && reducer->done < reducer->mine)
        return DG_FAIL(DG_ERR_INTERNAL, "gradients were sent off before the last pass of the step");
    return DG_OK;
}

dg_status dg_reducer_settle(dg_reducer *reducer)
{
    return reducer->comm->ops->follows_backend ? DG_OK : reducer->backend->ops->sync(reducer->backend);
}

/* Bucket k holds elements [count - (k+1) bucket, count - k bucket), cut at 0. */
static int64_t bucket_start(const dg_reducer *reducer, int k)
{
    int64_t start = reducer->count - (int64_t)(k + 1) * reducer->bucket;
    return start > 0 ? start : 0;
}

static dg_status start_buckets(dg_reducer *reducer, int64_t first)
{
    for (; reducer->started < reducer->buckets; reducer->started++) {
        int k = reducer->started;
        int64_t start = bucket_start(reducer, k), end = reducer->count - (int64_t)k * reducer->bucket;
        if (start < first) break;
        DG_TRY(dg_comm_all_reduce_start(reducer->comm, reducer->buffer[0] + start, end - start, DG_F32,
                                        &reducer->pending[k]));
    }
    return DG_OK;
}

dg_status dg_reducer_ready(void *context, int64_t first)
{
    dg_reducer *reducer = context;
    if (reducer->buckets == 0) return DG_OK;
    if (reducer->started < reducer->buckets && bucket_start(reducer, reducer->started) >= first) {
        DG_TRY(dg_reducer_settle(reducer));
        DG_TRY(start_buckets(reducer, first));
    }
    for (bool done = true; done && reducer->waiting < reducer->started;) {
        DG_TRY(dg_comm_test(reducer->comm, &reducer->pending[reducer->waiting], &done));
        if (done) reducer->waiting++;
    }
    return DG_OK;
}

static dg_status finish_fast(dg_reducer *reducer, const float **sum)
{
    DG_TRY(dg_reducer_settle(reducer));
    DG_TRY(start_buckets(reducer, 0));
    for (; reducer->waiting < reducer->started; reducer->waiting++)
        DG_TRY(dg_comm_wait(reducer->comm, &reducer->pending[reducer->waiting]));
    *sum = reducer->buffer[0];
    return DG_OK;
}

dg_status dg_reducer_finish(dg_reducer *reducer, dg_trace *trace, const float **sum)
{
    int64_t token = dg_range_begin(trace, "reduce");
    dg_status status = reducer->kind == DG_REDUCE_FAST ? finish_fast(reducer, sum) : dg_tree_finish(reducer, sum);
    dg_range_end(trace, token);
    return status;
}

int64_t dg_reducer_stride(const dg_reducer *reducer) { return reducer->buckets > 0 ? reducer->bucket : reducer->count; }

int64_t dg_reducer_memory_bytes(const dg_reducer *reducer)
{
    int64_t floats = reducer->buffers * reducer->count + (reducer->receives ? reducer->bucket : 0);
    if (reducer->sends_buckets) floats += reducer->count * (reducer->comm->size - 1) / reducer->comm->size;
    return floats * (int64_t)sizeof(float);
}

int64_t dg_reducer_wire_bytes(const dg_reducer *reducer)
{
    int64_t bytes = reducer->count * (int64_t)sizeof(float), size = reducer->comm->size;
    int64_t once_round = bytes * (size - 1) / size; /* a rank's share of a broadcast, or of half a ring all-reduce */
    if (reducer->kind == DG_REDUCE_FAST) return 2 * once_round;
    int buffers, receives, sends;
    dg_tree_measure(reducer, &buffers, &receives, &sends);
    return sends * bytes + once_round;
}

dg_status dg_reducer_estimate(dg_reduction kind, int64_t count, int64_t batch, int ranks, int64_t *memory_bytes,
                              int64_t *wire_bytes)
{
    *memory_bytes = *wire_bytes = 0;
    for (int rank = 0; rank < ranks; rank++) {
        dg_comm comm = {.rank = rank, .size = ranks};
        dg_reducer reducer = {.comm = &comm};
        if (rank == 0) DG_TRY(check_request(&comm, count, batch));
        describe(&reducer, &comm, kind, count, batch, 0);
        const int64_t memory = dg_reducer_memory_bytes(&reducer), wire = dg_reducer_wire_bytes(&reducer);
        if (memory > *memory_bytes) *memory_bytes = memory;
        if (wire > *wire_bytes) *wire_bytes = wire;
    }
    return DG_OK;
}
