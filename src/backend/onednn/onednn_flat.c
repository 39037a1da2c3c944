/* onednn_flat.c - flat f32 buffers: one pass each, in blocks over the threads. SPDX-License-Identifier: Apache-2.0 */
#include "onednn_impl.h"

#include <string.h>

enum { BLOCK = 1 << 16 };

typedef struct flat_job {
    const dg_kernels *kernels;
    int64_t count;
    float a;
    const float *x;
    float *y, *m, *v;
    double *sums;
    const dg_adamw_constants *adamw;
    const dg_sgd_constants *sgd;
} flat_job;

static int64_t blocks_of(int64_t count) { return (count + BLOCK - 1) / BLOCK; }

static int64_t block_size(const flat_job *job, int64_t item)
{
    const int64_t left = job->count - item * BLOCK;
    return left < BLOCK ? left : BLOCK;
}

static void run_fill(void *context, int64_t item)
{
    const flat_job *job = context;
    float *y = job->y + item * BLOCK;
    const int64_t count = block_size(job, item);
    for (int64_t i = 0; i < count; i++) y[i] = job->a;
}

dg_status onednn_fill(dg_backend *backend, float *x, int64_t count, float value)
{
    flat_job job = {.count = count, .a = value, .y = x};
    onednn_parallel(onednn_of(backend), blocks_of(count), run_fill, &job);
    return DG_OK;
}

static void run_axpy(void *context, int64_t item)
{
    const flat_job *job = context;
    const int64_t at = item * BLOCK;
    job->kernels->axpy(block_size(job, item), job->a, job->x + at, job->y + at);
}

dg_status onednn_axpy(dg_backend *backend, int64_t count, double a, const float *x, float *y)
{
    flat_job job = {.kernels = onednn_of(backend)->kernels, .count = count, .a = (float)a, .x = x, .y = y};
    onednn_parallel(onednn_of(backend), blocks_of(count), run_axpy, &job);
    return DG_OK;
}

static void run_sum_squares(void *context, int64_t item)
{
    const flat_job *job = context;
    job->sums[item] = job->kernels->sum_squares(block_size(job, item), job->x + item * BLOCK);
}

dg_status onednn_sum_squares(dg_backend *backend, int64_t count, const float *x, double *sum)
{
    const int64_t blocks = blocks_of(count);
    flat_job job = {.kernels = onednn_of(backend)->kernels, .count = count, .x = x};
    DG_TRY(onednn_scratch(onednn_of(backend), blocks * (int64_t)sizeof(double), &job.sums));
    onednn_parallel(onednn_of(backend), blocks, run_sum_squares, &job);
    *sum = 0.0;
    for (int64_t i = 0; i < blocks; i++) *sum += job.sums[i];
    return DG_OK;
}

static void run_adamw(void *context, int64_t item)
{
    const flat_job *job = context;
    const int64_t at = item * BLOCK;
    job->kernels->adamw(job->adamw, block_size(job, item), job->y + at, job->x + at, job->m + at, job->v + at);
}

dg_status onednn_adamw(dg_backend *backend, const dg_adamw_desc *desc, int64_t count, float *p, const float *g,
                       float *m, float *v)
{
    const dg_adamw_constants constants = dg_adamw_prepare(desc->lr, desc->beta1, desc->beta2, desc->eps,
                                                          desc->weight_decay, desc->step, desc->grad_scale);
    flat_job job = {
        .kernels = onednn_of(backend)->kernels, .count = count, .x = g, .y = p, .m = m, .v = v, .adamw = &constants};
    onednn_parallel(onednn_of(backend), blocks_of(count), run_adamw, &job);
    return DG_OK;
}

static void run_sgd(void *context, int64_t item)
{
    const flat_job *job = context;
    const int64_t at = item * BLOCK;
    job->kernels->sgd(job->sgd, block_size(job, item), job->y + at, job->x + at, job->m + at);
}

dg_status onednn_sgd(dg_backend *backend, const dg_sgd_desc *desc, int64_t count, float *p, const float *g,
                     float *momentum)
{
    const dg_sgd_constants constants = {.lr = (float)desc->lr,
                                        .momentum = (float)desc->momentum,
                                        .weight_decay = (float)desc->weight_decay,
                                        .nesterov = desc->nesterov ? 1.0f : 0.0f,
                                        .grad_scale = (float)desc->grad_scale};
    flat_job job = {
        .kernels = onednn_of(backend)->kernels, .count = count, .x = g, .y = p, .m = momentum, .sgd = &constants};
    onednn_parallel(onednn_of(backend), blocks_of(count), run_sgd, &job);
    return DG_OK;
}

static void run_ema(void *context, int64_t item)
{
    const flat_job *job = context;
    const int64_t at = item * BLOCK;
    job->kernels->ema(job->a, block_size(job, item), job->x + at, job->y + at);
}

dg_status onednn_ema(dg_backend *backend, double decay, int64_t count, const float *p, float *average)
{
    flat_job job = {
        .kernels = onednn_of(backend)->kernels, .count = count, .a = (float)(1.0 - decay), .x = p, .y = average};
    onednn_parallel(onednn_of(backend), blocks_of(count), run_ema, &job);
    return DG_OK;
}
