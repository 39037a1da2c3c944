/* onednn_dense.c - linear layers of vectors and the self-attention core. SPDX-License-Identifier: Apache-2.0 */
#include "onednn_impl.h"

#include <math.h>
#include <string.h>

enum { ROWS_OF_A_PART = 32 };

typedef struct linear_job {
    const dg_kernels *kernels;
    const float *x, *w, *b, *dy;
    float *y, *dw, *db;
    int64_t n, in, out, x_pitch, y_pitch;
    bool accumulate;
} linear_job;

static const float *vector_at(const dg_tensor *t) { return t->data; }

static void run_linear(void *context, int64_t item)
{
    const linear_job *job = context;
    for (int64_t o = item * ROWS_OF_A_PART; o < job->out && o < (item + 1) * ROWS_OF_A_PART; o++)
        for (int64_t i = 0; i < job->n; i++)
            job->y[i * job->y_pitch + o] = job->kernels->dot(job->in, job->x + i * job->x_pitch, job->w + o * job->in) +
                                           (job->b != NULL ? job->b[o] : 0.0f);
}

dg_status onednn_linear_forward(dg_backend *backend, const dg_tensor *x, const float *w, const float *b, dg_tensor *y)
{
    DG_TRY(dg_arguments_linear(x, w, y));
    linear_job job = {.kernels = onednn_of(backend)->kernels,
                      .x = vector_at(x),
                      .w = w,
                      .b = b,
                      .y = y->data,
                      .n = x->n,
                      .in = x->c,
                      .out = y->c,
                      .x_pitch = x->pitch,
                      .y_pitch = y->pitch};
    onednn_parallel(onednn_of(backend), (y->c + ROWS_OF_A_PART - 1) / ROWS_OF_A_PART, run_linear, &job);
    return DG_OK;
}

static void run_linear_weights(void *context, int64_t item)
{
    const linear_job *job = context;
    for (int64_t o = item * ROWS_OF_A_PART; o < job->out && o < (item + 1) * ROWS_OF_A_PART; o++)
        for (int64_t i = 0; i < job->n; i++) {
            const float g = job->dy[i * job->y_pitch + o];
            if (job->dw != NULL) job->kernels->axpy(job->in, g, job->x + i * job->x_pitch, job->dw + o * job->in);
            if (job->db != NULL) job->db[o] += g;
        }
}

/* Items are samples: each adds the rows of w weighted by its dy. */
static void run_linear_data(void *context, int64_t item)
{
    const linear_job *job = context;
    float *dx = job->y + item * job->x_pitch;
    if (!job->accumulate) memset(dx, 0, (size_t)job->in * sizeof *dx);
    for (int64_t o = 0; o < job->out; o++)
        job->kernels->axpy(job->in, job->dy[item * job->y_pitch + o], job->w + o * job->in, dx);
}

dg_status onednn_linear_backward(dg_backend *backend, const dg_tensor *x, const float *w, const dg_tensor *dy,
                                 dg_tensor *dx, bool accumulate, float *dw, float *db)
{
    DG_TRY(dg_arguments_linear(x, w, dy));
    if (dx != NULL) DG_TRY(dg_arguments_linear(dx, w, dy));
    linear_job job = {.kernels = onednn_of(backend)->kernels,
                      .x = vector_at(x),
                      .w = w,
                      .dy = vector_at(dy),
                      .dw = dw,
                      .db = db,
                      .n = x->n,
                      .in = x->c,
                      .out = dy->c,
                      .x_pitch = x->pitch,
                      .y_pitch = dy->pitch,
                      .accumulate = accumulate};
    onednn_parallel(onednn_of(backend), (dy->c + ROWS_OF_A_PART - 1) / ROWS_OF_A_PART, run_linear_weights, &job);
    if (dx == NULL) return DG_OK;
    job.y = dx->data;
    job.x_pitch = dx->pitch;
    onednn_parallel(onednn_of(backend), x->n, run_linear_data, &job);
    return DG_OK;
}

/* One head of one sample: `tokens` rows of `width` channels, in f32 copies. */
typedef struct attention_job {
    const dg_kernels *kernels;
    int64_t tokens, width;
    float scale;
    float *q, *k, *v, *y; /* [tokens][width] */
    float *dq, *dk, *dv, *dy;
    float *p, *dp; /* [tokens][tokens] */
} attention_job;

/* Row-major C[m][n] (=|+=) op(A) op(B), all f32. */
static dg_status product(char transpose_a, char transpose_b, int64_t m, int64_t n, int64_t k, const float *a,
                         const float *b, float *c)
{
    DG_DNNL(dnnl_sgemm(transpose_a, transpose_b, m, n, k, 1.0f, a, transpose_a == 'T' ? m : k, b,
                       transpose_b == 'T' ? k : n, 0.0f, c, n));
    return DG_OK;
}

static void run_softmax(void *context, int64_t item)
{
    const attention_job *job = context;
    job->kernels->softmax(job->tokens, job->scale, job->p + item * job->tokens);
}

static void run_softmax_back(void *context, int64_t item)
{
    const attention_job *job = context;
    job->kernels->softmax_back(job->tokens, job->scale, job->p + item * job->tokens, job->dp + item * job->tokens);
}

static dg_status attention_prepare(onednn_backend *backend, const dg_tensor *y, int heads, bool backward,
                                   attention_job *job)
{
    const int64_t tokens = dg_tensor_voxels(y), width = y->c / heads;
    const int64_t small = (tokens * width + 15) / 16 * 16, large = (tokens * tokens + 15) / 16 * 16;
    float *memory;
    *job = (attention_job){
        .kernels = backend->kernels, .tokens = tokens, .width = width, .scale = (float)(1.0 / sqrt((double)width))};
    DG_TRY(onednn_scratch(backend, ((backward ? 8 : 4) * small + (backward ? 2 : 1) * large) * (int64_t)sizeof(float),
                          &memory));
    job->q = memory;
    job->k = job->q + small;
    job->v = job->k + small;
    job->y = job->v + small;
    job->p = job->y + small;
    if (!backward) return DG_OK;
    job->dp = job->p + large;
    job->dq = job->dp + large;
    job->dk = job->dq + small;
    job->dv = job->dk + small;
    job->dy = job->dv + small;
    return DG_OK;
}

/* Channels [from, from + width) of a sample to a dense f32 matrix, or back. */
static void take(const attention_job *job, const dg_tensor *t, int64_t sample, int64_t from, float *matrix)
{
    dg_rows rows = dg_rows_at(t, sample * job->tokens);
    rows.data = (char *)rows.data + (size_t)from * dg_dtype_size(t->dtype);
    job->kernels->copy(rows, (dg_rows){matrix, DG_F32, job->width}, false, job->tokens, job->width);
}

static void give(const attention_job *job, float *matrix, int64_t sample, int64_t from, dg_tensor *t)
{
    dg_rows rows = dg_rows_at(t, sample * job->tokens);
    rows.data = (char *)rows.data + (size_t)from * dg_dtype_size(t->dtype);
    job->kernels->copy((dg_rows){matrix, DG_F32, job->width}, rows, false, job->tokens, job->width);
}

/* q, k, v and the softmax of one head. */
static dg_status attention_weights(onednn_backend *backend, attention_job *job, const dg_tensor *qkv, int64_t sample,
                                   int64_t head)
{
    const int64_t c = qkv->c / 3, at = head * job->width;
    take(job, qkv, sample, at, job->q);
    take(job, qkv, sample, c + at, job->k);
    take(job, qkv, sample, 2 * c + at, job->v);
    DG_TRY(product('N', 'T', job->tokens, job->tokens, job->width, job->q, job->k, job->p));
    onednn_parallel(backend, job->tokens, run_softmax, job);
    return DG_OK;
}

dg_status onednn_attention_forward(dg_backend *head, int heads, const dg_tensor *qkv, dg_tensor *y)
{
    DG_TRY(dg_arguments_attention(heads, qkv, y));
    onednn_backend *backend = onednn_of(head);
    onednn_use_threads(backend);
    attention_job job;
    DG_TRY(attention_prepare(backend, y, heads, false, &job));
    for (int64_t item = 0; item < y->n * heads; item++) {
        DG_TRY(attention_weights(backend, &job, qkv, item / heads, item % heads));
        DG_TRY(product('N', 'N', job.tokens, job.width, job.tokens, job.p, job.v, job.y));
        give(&job, job.y, item / heads, item % heads * job.width, y);
    }
    return DG_OK;
}

dg_status onednn_attention_backward(dg_backend *head, int heads, const dg_tensor *qkv, const dg_tensor *dy,
                                    dg_tensor *dqkv)
{
    DG_TRY(dg_arguments_attention(heads, qkv, dy));
    DG_TRY(dg_arguments_attention(heads, dqkv, dy));
    onednn_backend *backend = onednn_of(head);
    onednn_use_threads(backend);
    attention_job job;
    DG_TRY(attention_prepare(backend, dy, heads, true, &job));
    const int64_t tokens = job.tokens, width = job.width;
    for (int64_t item = 0; item < dy->n * heads; item++) {
        const int64_t sample = item / heads, at = item % heads * width;
        DG_TRY(attention_weights(backend, &job, qkv, sample, item % heads));
        take(&job, dy, sample, at, job.dy);
        DG_TRY(product('T', 'N', tokens, width, tokens, job.p, job.dy, job.dv));
        DG_TRY(product('N', 'T', tokens, tokens, width, job.dy, job.v, job.dp));
        onednn_parallel(backend, tokens, run_softmax_back, &job);
        DG_TRY(product('N', 'N', tokens, width, tokens, job.dp, job.k, job.dq));
        DG_TRY(product('T', 'N', tokens, width, tokens, job.dp, job.q, job.dk));
        give(&job, job.dq, sample, at, dqkv);
        give(&job, job.dk, sample, dy->c + at, dqkv);
        give(&job, job.dv, sample, 2 * dy->c + at, dqkv);
    }
    return DG_OK;
}
