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

static dg_status check_request(const dg_comm *comm, const dg_reducer_config *config)
{
    const int64_t batch = config->batch;
    if (config->count < 1 || batch < 1)
        return DG_FAIL(DG_ERR_INTERNAL, "a reducer of %lld gradients and %lld samples", (long long)config->count,
                       (long long)batch);
    if (config->wire != DG_F32 && (config->wire != DG_BF16 || config->kind != DG_REDUCE_FAST))
        return DG_FAIL(DG_ERR_USAGE, "`reduction: ordered` sends f32: what is rounded on its way would depend on the "
                                     "number of ranks. Choose `reduction: fast` for bf16 on the wire");
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
static void describe(dg_reducer *reducer, dg_comm *comm, const dg_reducer_config *config)
{
    int receives = 0, sends = 0;
    reducer->comm = comm;
    reducer->kind = config->kind;
    reducer->wire = config->wire;
    reducer->count = config->count;
    reducer->batch = config->batch;
    reducer->bucket = (config->bucket_bytes > 0 ? config->bucket_bytes : BUCKET_BYTES) / (int64_t)sizeof(float);
    if (reducer->bucket < BUCKET_LEAST) reducer->bucket = BUCKET_LEAST;
    if (reducer->bucket > config->count) reducer->bucket = config->count;
    dg_slots_of_rank(config->batch, comm->rank, comm->size, &reducer->first, &reducer->mine);
    reducer->buffers = 1;
    if (config->kind == DG_REDUCE_ORDERED) dg_tree_measure(reducer, &reducer->buffers, &receives, &sends);
    reducer->receives = receives > 0;
    reducer->sends_buckets = config->kind == DG_REDUCE_FAST && comm->size > 1;
}

static bool rounds(const dg_reducer *reducer) { return reducer->sends_buckets && reducer->wire == DG_BF16; }

static dg_status allocate(dg_reducer *reducer)
{
    for (int k = 0; k < reducer->buffers; k++)
        DG_TRY(backend_floats(reducer, reducer->count, "gradients", &reducer->buffer[k]));
    if (reducer->receives)
        DG_TRY(backend_floats(reducer, reducer->bucket, "gradients of other ranks", &reducer->staging));
    if (rounds(reducer)) {
        void *memory = NULL;
        DG_TRY(reducer->backend->ops->alloc(reducer->backend, reducer->count * (int64_t)sizeof(dg_bf16),
                                            "gradients as they are sent", &memory));
        reducer->rounded = memory;
    }
    int64_t buckets = (reducer->count + reducer->bucket - 1) / reducer->bucket;
    if (buckets > 1 << 24)
        return DG_FAIL(DG_ERR_USAGE, "%lld buckets of gradients: make them larger", (long long)buckets);
    if (reducer->sends_buckets) {
        DG_TRY(DG_NEW(&reducer->pending, buckets, "bucket table"));
        reducer->buckets = (int)buckets;
    }
    return DG_OK;
}

dg_status dg_reducer_create(dg_comm *comm, dg_backend *backend, const dg_reducer_config *config, dg_reducer **out)
{
    *out = NULL;
    DG_TRY(check_request(comm, config)); /* the same answer on every rank */
    dg_reducer *reducer = NULL;
    dg_status status = DG_NEW(&reducer, 1, "reducer");
    if (status == DG_OK) {
        describe(reducer, comm, config);
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
    if ((*reducer)->rounded != NULL) backend->ops->free(backend, (*reducer)->rounded);
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
    reducer->done = reducer->absent = 0;
    reducer->depth = 0;
    reducer->started = reducer->waiting = 0;
    reducer->current = 0;
    memset(reducer->used, 0, sizeof reducer->used);
    reducer->used[0] = true;
    return reducer->backend->ops->fill(reducer->backend, reducer->buffer[0], reducer->count, 0.0f);
}

void dg_reducer_leave_out(dg_reducer *reducer, int64_t samples) { reducer->absent = samples; }

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
    if (reducer->started > 0 && reducer->done + reducer->absent < reducer->mine)
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

static dg_tensor row_of(void *data, dg_dtype type, int64_t count)
{
    return (dg_tensor){.data = data, .dtype = type, .n = 1, .z = 1, .y = 1, .x = count, .c = 1, .pitch = 1};
}

/* Elements [start, start + count) to what is sent, or back. */
static dg_status convert(const dg_reducer *reducer, int64_t start, int64_t count, bool back)
{
    dg_tensor whole = row_of(reducer->buffer[0] + start, DG_F32, count),
              half = row_of(reducer->rounded + start, DG_BF16, count);
    return reducer->backend->ops->copy(reducer->backend, back ? &half : &whole, back ? &whole : &half, false);
}

static dg_status start_bucket(dg_reducer *reducer, int k)
{
    const int64_t start = bucket_start(reducer, k), count = reducer->count - (int64_t)k * reducer->bucket - start;
    if (reducer->rounded == NULL)
        return dg_comm_all_reduce_start(reducer->comm, reducer->buffer[0] + start, count, DG_F32, &reducer->pending[k]);
    DG_TRY(convert(reducer, start, count, false));
    return dg_comm_all_reduce_start(reducer->comm, reducer->rounded + start, count, DG_BF16, &reducer->pending[k]);
}

static dg_status start_buckets(dg_reducer *reducer, int64_t first)
{
    for (; reducer->started < reducer->buckets; reducer->started++) {
        if (bucket_start(reducer, reducer->started) < first) break;
        DG_TRY(start_bucket(reducer, reducer->started));
    }
    return DG_OK;
}

/* The bucket that was waited for is summed. */
static dg_status take_bucket(dg_reducer *reducer)
{
    const int k = reducer->waiting++;
    const int64_t start = bucket_start(reducer, k);
    if (reducer->rounded == NULL) return DG_OK;
    return convert(reducer, start, reducer->count - (int64_t)k * reducer->bucket - start, true);
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
        if (done) DG_TRY(take_bucket(reducer));
    }
    return DG_OK;
}

static dg_status finish_fast(dg_reducer *reducer, const float **sum)
{
    DG_TRY(dg_reducer_settle(reducer));
    DG_TRY(start_buckets(reducer, 0));
    while (reducer->waiting < reducer->started) {
        DG_TRY(dg_comm_wait(reducer->comm, &reducer->pending[reducer->waiting]));
        DG_TRY(take_bucket(reducer));
    }
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
    const int64_t floats = reducer->buffers * reducer->count + (reducer->receives ? reducer->bucket : 0);
    const int64_t one = (int64_t)dg_dtype_size(reducer->wire), size = reducer->comm->size;
    int64_t bytes = floats * (int64_t)sizeof(float);
    if (reducer->sends_buckets) bytes += reducer->count * (size - 1) / size * one; /* on its way */
    return rounds(reducer) ? bytes + reducer->count * one : bytes;
}

int64_t dg_reducer_wire_bytes(const dg_reducer *reducer)
{
    int64_t bytes = reducer->count * (int64_t)dg_dtype_size(reducer->wire), size = reducer->comm->size;
    int64_t once_round = bytes * (size - 1) / size; /* a rank's share of a broadcast, or of half a ring all-reduce */
    if (reducer->kind == DG_REDUCE_FAST) return 2 * once_round;
    int buffers, receives, sends;
    dg_tree_measure(reducer, &buffers, &receives, &sends);
    return sends * bytes + once_round;
}

dg_status dg_reducer_estimate(const dg_reducer_config *config, int ranks, int64_t *memory_bytes, int64_t *wire_bytes)
{
    *memory_bytes = *wire_bytes = 0;
    for (int rank = 0; rank < ranks; rank++) {
        dg_comm comm = {.rank = rank, .size = ranks};
        dg_reducer reducer = {.comm = &comm};
        if (rank == 0) DG_TRY(check_request(&comm, config));
        describe(&reducer, &comm, config);
        const int64_t memory = dg_reducer_memory_bytes(&reducer), wire = dg_reducer_wire_bytes(&reducer);
        if (memory > *memory_bytes) *memory_bytes = memory;
        if (wire > *wire_bytes) *wire_bytes = wire;
    }
    return DG_OK;
}
