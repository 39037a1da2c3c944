/* onednn_norm.c - fused normalisation, FiLM, activation and residual: two passes over memory each way. Partial sums are
 * taken over voxel ranges that do not depend on the thread count and combined in order.
 * SPDX-License-Identifier: Apache-2.0 */
#include "conv_impl.h"

#include <math.h>
#include <string.h>

enum { LEAST_PART = 256 };

/* Shared by the passes over one tensor; items are (sample, range). */
typedef struct norm_job {
    const dg_kernels *kernels;
    const dg_norm_desc *desc;
    const dg_tensor *x, *dy, *residual;
    dg_tensor *y;
    bool accumulate;
    onednn_split split;
    int64_t sums;       /* doubles per part */
    double *partial;    /* [n][parts][sums] */
    float *coefficient; /* [n][COEFFICIENTS][c] */
    char *buffer;
    bool film;
} norm_job;

enum { A, B, SCALE, SHIFT, P, Q, ORIGIN, COEFFICIENTS };

static int64_t align(int64_t bytes) { return (bytes + DG_MEM_ALIGNMENT - 1) / DG_MEM_ALIGNMENT * DG_MEM_ALIGNMENT; }

static float *coefficient(const norm_job *job, int64_t sample, int which)
{
    return job->coefficient + (sample * COEFFICIENTS + which) * job->x->c;
}

/* Lays out scratch for partial sums of `columns` doubles per channel, the coefficients, and what a fused pass needs. */
static dg_status norm_prepare(onednn_backend *backend, norm_job *job, int columns, int64_t buffer_bytes)
{
    const int64_t n = job->x->n, c = job->x->c;
    job->kernels = backend->kernels;
    job->split = onednn_split_of(dg_tensor_voxels(job->x), LEAST_PART);
    job->sums = columns * c;
    const int64_t partial = n * job->split.parts * job->sums * (int64_t)sizeof(double);
    char *block;
    const int64_t coefficients = align(n * COEFFICIENTS * c * (int64_t)sizeof(float));
    DG_TRY(onednn_scratch(backend, align(partial) + coefficients + buffer_bytes, &block));
    memset(block, 0, (size_t)partial);
    job->partial = (double *)block;
    job->coefficient = (float *)(block + align(partial));
    job->buffer = block + align(partial) + coefficients;
    return DG_OK;
}

/* Sums of all parts of a sample, in order, left in its first part. */
static double *combine(const norm_job *job, int64_t sample)
{
    double *first = job->partial + sample * job->split.parts * job->sums;
    for (int64_t part = 1; part < job->split.parts; part++)
        for (int64_t k = 0; k < job->sums; k++) first[k] += first[part * job->sums + k];
    return first;
}

static int64_t first_voxel(const norm_job *job, int64_t item)
{
    return item / job->split.parts * job->split.count + item % job->split.parts * job->split.part;
}

static dg_norm_coefficients constants_of(const norm_job *job, int64_t sample)
{
    return (dg_norm_coefficients){.a = coefficient(job, sample, A),
                                  .b = coefficient(job, sample, B),
                                  .scale = job->film ? coefficient(job, sample, SCALE) : NULL,
                                  .shift = job->film ? coefficient(job, sample, SHIFT) : NULL,
                                  .act = job->desc->act,
                                  .slope = (float)job->desc->negative_slope};
}

static void run_moments(void *context, int64_t item)
{
    const norm_job *job = context;
    job->kernels->moments(dg_rows_at(job->x, first_voxel(job, item)),
                          onednn_split_size(&job->split, item % job->split.parts), job->x->c,
                          coefficient(job, item / job->split.parts, ORIGIN), job->partial + item * job->sums);
}

static void run_apply(void *context, int64_t item)
{
    const norm_job *job = context;
    const int64_t voxel = first_voxel(job, item);
    const dg_norm_coefficients constants = constants_of(job, item / job->split.parts);
    const dg_rows residual = job->residual != NULL ? dg_rows_at(job->residual, voxel) : (dg_rows){0};
    job->kernels->norm_apply(&constants, dg_rows_at(job->x, voxel), job->residual != NULL ? &residual : NULL,
                             dg_rows_at(job->y, voxel), onednn_split_size(&job->split, item % job->split.parts),
                             job->x->c);
}

/* Mean and rstd per group from per-channel sums about each channel's origin (Chan's combination of variances). */
static void group_stats(const norm_job *job, const double *sum, const float *origin, float *stats)
{
    const int64_t c = job->x->c, groups = job->desc->groups, width = c / groups;
    const double count = (double)job->split.count;
    for (int64_t g = 0; g < groups; g++) {
        double mean = 0.0, square = 0.0;
        for (int64_t k = g * width; k < (g + 1) * width; k++) mean += (double)origin[k] + sum[k] / count;
        mean /= (double)width;
        for (int64_t k = g * width; k < (g + 1) * width; k++) {
            const double offset = sum[k] / count, distance = (double)origin[k] + offset - mean;
            square += sum[c + k] - count * offset * offset + count * distance * distance;
        }
        const double variance = square / (count * (double)width);
        stats[2 * g] = (float)mean;
        stats[2 * g + 1] = (float)(1.0 / sqrt((variance > 0.0 ? variance : 0.0) + job->desc->eps));
    }
}

/* a, b, scale and shift of one sample. */
static void set_coefficients(const norm_job *job, int64_t sample, const float *gamma, const float *beta,
                             const float *film, const float *stats)
{
    const int64_t c = job->x->c, groups = job->desc->groups;
    float *a = coefficient(job, sample, A), *b = coefficient(job, sample, B);
    for (int64_t k = 0; k < c; k++) {
        double mean = 0.0, rstd = 1.0;
        if (groups > 0) {
            mean = (double)stats[2 * (k / (c / groups))];
            rstd = (double)stats[2 * (k / (c / groups)) + 1];
        }
        const double gain = gamma != NULL ? rstd * (double)gamma[k] : rstd;
        a[k] = (float)gain;
        b[k] = (float)((beta != NULL ? (double)beta[k] : 0.0) - mean * gain);
        if (film != NULL) {
            coefficient(job, sample, SCALE)[k] = 1.0f + film[sample * 2 * c + k];
            coefficient(job, sample, SHIFT)[k] = film[sample * 2 * c + c + k];
        }
    }
}

/* The first voxel of a sample: a point near the mean, so that sums of squares do not cancel. */
static void set_origin(const norm_job *job, int64_t sample)
{
    const dg_rows row = dg_rows_at(job->x, sample * job->split.count);
    float *origin = coefficient(job, sample, ORIGIN);
    const dg_rows to = {origin, DG_F32, job->x->c};
    job->kernels->copy(row, to, false, 1, job->x->c);
    for (int64_t k = 0; k < job->x->c; k++)
        if (!isfinite(origin[k])) origin[k] = 0.0f;
}

/* Statistics of x, and the coefficients that follow from them. */
static void norm_measure(const onednn_backend *backend, norm_job *job, const float *gamma, const float *beta,
                         const float *film, float *stats)
{
    const int64_t n = job->x->n, groups = job->desc->groups;
    if (groups > 0) {
        for (int64_t i = 0; i < n; i++) set_origin(job, i);
        onednn_parallel(backend, n * job->split.parts, run_moments, job);
    }
    for (int64_t i = 0; i < n; i++) {
        float *sample_stats = stats + i * 2 * groups;
        if (groups > 0) group_stats(job, combine(job, i), coefficient(job, i, ORIGIN), sample_stats);
        set_coefficients(job, i, gamma, beta, film, sample_stats);
    }
}

dg_status onednn_norm_forward(dg_backend *head, const dg_norm_desc *desc, const dg_tensor *x, const float *gamma,
                              const float *beta, const float *film, const dg_tensor *residual, float *stats,
                              dg_tensor *y)
{
    DG_TRY(dg_arguments_norm(desc, x, gamma, beta, residual, stats, y));
    onednn_backend *backend = onednn_of(head);
    norm_job job = {.desc = desc, .x = x, .residual = residual, .y = y, .film = film != NULL};
    DG_TRY(norm_prepare(backend, &job, 2, 0));
    norm_measure(backend, &job, gamma, beta, film, stats);
    onednn_parallel(backend, x->n * job.split.parts, run_apply, &job);
    return DG_OK;
}

/* A norm with its neighbours goes from run to run: what one makes and the next reads is still in the cache. */
enum { RUN = 128 };
typedef struct fused_job {
    norm_job norm;
    const onednn_backend *backend;
    const dg_norm_fusion *with;
    int64_t slots, slot_bytes; /* threads; the residual and the result of a run */
} fused_job;

static void fused_run(const fused_job *job, char *buffer, int64_t sample, int64_t voxel, int64_t count)
{
    const norm_job *norm = &job->norm;
    const dg_norm_fusion *with = job->with;
    const int64_t c = norm->x->c;
    const dg_norm_coefficients constants = constants_of(norm, sample);
    const dg_rows made = {buffer, norm->x->dtype, c}, result = {buffer + job->slot_bytes / 2, norm->y->dtype, c};
    dg_rows residual = made;
    if (with->residual_conv != NULL)
        onednn_conv_rows(job->backend, with->residual_conv, dg_rows_at(with->residual_x, voxel), made, count);
    else if (norm->residual != NULL)
        residual = dg_rows_at(norm->residual, voxel);
    const bool adds = with->residual_conv != NULL || norm->residual != NULL;
    const dg_rows y = with->head != NULL ? result : dg_rows_at(norm->y, voxel);
    norm->kernels->norm_apply(&constants, dg_rows_at(norm->x, voxel), adds ? &residual : NULL, y, count, c);
    if (with->head != NULL)
        norm->kernels->thin(y, with->head->thin_weights, with->head->bias, (int)with->head_y->c,
                            dg_rows_at(with->head_y, voxel), count, c);
}

static void fused_voxels(const fused_job *job, int64_t slot, int64_t sample, int64_t voxel, int64_t count)
{
    for (int64_t v = 0; v < count; v += RUN)
        fused_run(job, job->norm.buffer + slot * job->slot_bytes, sample, voxel + v, count - v < RUN ? count - v : RUN);
}

static void run_fused(void *context, int64_t slot)
{
    const fused_job *job = context;
    const onednn_split *split = &job->norm.split;
    const int64_t all = job->norm.x->n * split->parts;
    for (int64_t i = all * slot / job->slots; i < all * (slot + 1) / job->slots; i++)
        fused_voxels(job, slot, i / split->parts, first_voxel(&job->norm, i),
                     onednn_split_size(split, i % split->parts));
}

/* Pairs of lines of pairs of planes, then the pooled line they make. */
static void run_fused_pool(void *context, int64_t slot)
{
    const fused_job *job = context;
    const dg_tensor *x = job->norm.x, *y = job->norm.y;
    const int64_t planes = (x->z + 1) / 2, lines = (x->y + 1) / 2, all = x->n * planes * lines;
    for (int64_t i = all * slot / job->slots; i < all * (slot + 1) / job->slots; i++) {
        const int64_t n = i / lines / planes, z = i / lines % planes * 2, line = i % lines * 2;
        const int64_t first = ((n * x->z + z) * x->y + line) * x->x;
        for (int64_t k = 0; k < 4; k++)
            if (z + k / 2 < x->z && line + k % 2 < x->y)
                fused_voxels(job, slot, n, first + (k / 2 * x->y + k % 2) * x->x, x->x);
        if (z + 1 >= x->z || line + 1 >= x->y) continue;
        dg_tensor *pooled = job->with->pooled;
        job->norm.kernels->pool(dg_rows_at(y, first), x->x, x->x * x->y,
                                dg_rows_at(pooled, ((n * pooled->z + z / 2) * pooled->y + line / 2) * pooled->x),
                                pooled->x, x->c);
    }
}

static dg_status check_fusion(const dg_norm_fusion *with, const dg_tensor *residual, const dg_tensor *y)
{
    if (with->pooled != NULL && with->head != NULL)
        return DG_FAIL(DG_ERR_INTERNAL, "fused norm: pooling and a head at once");
    if (with->residual_conv != NULL &&
        (residual != NULL || !(with->residual_conv->narrow || with->residual_conv->own_product)))
        return DG_FAIL(DG_ERR_INTERNAL, "fused norm: two residuals, or a convolution that does not fuse");
    if (with->head != NULL && !with->head->thin)
        return DG_FAIL(DG_ERR_INTERNAL, "fused norm: a head of too many channels");
    if (with->residual_conv != NULL) DG_TRY(dg_arguments_conv(&with->residual_conv->desc, with->residual_x, y));
    if (with->head != NULL) DG_TRY(dg_arguments_conv(&with->head->desc, y, with->head_y));
    return with->pooled != NULL ? dg_arguments_pool(y, with->pooled) : DG_OK;
}

dg_status onednn_norm_forward_fused(dg_backend *head, const dg_norm_desc *desc, const dg_tensor *x, const float *gamma,
                                    const float *beta, const float *film, const dg_tensor *residual, float *stats,
                                    dg_tensor *y, const dg_norm_fusion *with)
{
    DG_TRY(dg_arguments_norm(desc, x, gamma, beta, residual, stats, y));
    DG_TRY(check_fusion(with, residual, y));
    onednn_backend *backend = onednn_of(head);
    fused_job job = {.norm = {.desc = desc, .x = x, .residual = residual, .y = y, .film = film != NULL},
                     .backend = backend,
                     .with = with,
                     .slots = head->options.threads};
    job.slot_bytes = 2 * align(RUN * x->c * (int64_t)sizeof(float));
    DG_TRY(norm_prepare(backend, &job.norm, 2, job.slots * job.slot_bytes));
    norm_measure(backend, &job.norm, gamma, beta, film, stats);
    onednn_parallel(backend, job.slots, with->pooled != NULL ? run_fused_pool : run_fused, &job);
    return DG_OK;
}

static void run_back_sums(void *context, int64_t item)
{
    const norm_job *job = context;
    const int64_t voxel = first_voxel(job, item);
    const dg_norm_coefficients constants = constants_of(job, item / job->split.parts);
    job->kernels->norm_back_sums(&constants, dg_rows_at(job->x, voxel), dg_rows_at(job->dy, voxel),
                                 onednn_split_size(&job->split, item % job->split.parts), job->x->c,
                                 job->partial + item * job->sums);
}

static void run_back_apply(void *context, int64_t item)
{
    const norm_job *job = context;
    const int64_t voxel = first_voxel(job, item), sample = item / job->split.parts;
    const dg_norm_coefficients constants = constants_of(job, sample);
    const bool normalised = job->desc->groups > 0;
    job->kernels->norm_back_apply(&constants, normalised ? coefficient(job, sample, P) : NULL,
                                  normalised ? coefficient(job, sample, Q) : NULL, dg_rows_at(job->x, voxel),
                                  dg_rows_at(job->dy, voxel), dg_rows_at(job->y, voxel), job->accumulate,
                                  onednn_split_size(&job->split, item % job->split.parts), job->x->c);
}

/* From the sums of dz and dz x: dgamma, dbeta, and the per-channel p, q of dx = a dz + p x + q. */
static void set_back_coefficients(const norm_job *job, int64_t sample, const double *sum, const float *gamma,
                                  const float *stats, float *dgamma, float *dbeta)
{
    const int64_t c = job->x->c, width = c / job->desc->groups;
    const double count = (double)job->split.count * (double)width;
    float *p = coefficient(job, sample, P), *q = coefficient(job, sample, Q);
    for (int64_t g = 0; g < job->desc->groups; g++) {
        const double mean = (double)stats[2 * g], rstd = (double)stats[2 * g + 1];
        double s1 = 0.0, s2 = 0.0;
        for (int64_t k = g * width; k < (g + 1) * width; k++) {
            const double weight = gamma != NULL ? (double)gamma[k] : 1.0;
            const double dz_xhat = (sum[c + k] - mean * sum[k]) * rstd;
            s1 += weight * sum[k];
            s2 += weight * dz_xhat;
            if (dgamma != NULL) dgamma[k] += (float)dz_xhat;
            if (dbeta != NULL) dbeta[k] += (float)sum[k];
        }
        s1 /= count;
        s2 /= count;
        for (int64_t k = g * width; k < (g + 1) * width; k++) {
            p[k] = (float)(-rstd * rstd * s2);
            q[k] = (float)(rstd * (rstd * mean * s2 - s1));
        }
    }
}

dg_status onednn_norm_backward(dg_backend *head, const dg_norm_desc *desc, const dg_tensor *x, const float *gamma,
                               const float *beta, const float *film, const float *stats, const dg_tensor *dy,
                               dg_tensor *dx, bool accumulate, float *dgamma, float *dbeta, float *dfilm)
{
    DG_TRY(dg_arguments_norm_backward(desc, x, gamma, beta, film, stats, dy, dx, accumulate, dfilm));
    onednn_backend *backend = onednn_of(head);
    norm_job job = {.desc = desc, .x = x, .dy = dy, .y = dx, .accumulate = accumulate, .film = film != NULL};
    DG_TRY(norm_prepare(backend, &job, film != NULL ? 4 : 2, 0));
    const int64_t items = x->n * job.split.parts, c = x->c;
    for (int64_t i = 0; i < x->n; i++) {
        const float *sample_stats = desc->groups > 0 ? stats + i * 2 * desc->groups : NULL;
        set_coefficients(&job, i, gamma, beta, film, sample_stats);
    }
    if (desc->groups > 0 || film != NULL) onednn_parallel(backend, items, run_back_sums, &job);
    for (int64_t i = 0; i < x->n; i++) {
        if (desc->groups == 0 && film == NULL) break;
        const double *sum = combine(&job, i);
        if (desc->groups > 0) set_back_coefficients(&job, i, sum, gamma, stats + i * 2 * desc->groups, dgamma, dbeta);
        for (int64_t k = 0; film != NULL && k < 2 * c; k++) dfilm[i * 2 * c + k] = (float)sum[2 * c + k];
    }
    onednn_parallel(backend, items, run_back_apply, &job);
    return DG_OK;
}

typedef struct layer_job {
    const dg_kernels *kernels;
    const dg_tensor *x, *dy;
    dg_tensor *y;
    double eps;
    const float *gamma, *beta;
    float *stats;
    bool accumulate;
    onednn_split split;
    double *partial; /* [parts][2c] */
} layer_job;

static void run_layer(void *context, int64_t item)
{
    const layer_job *job = context;
    const int64_t voxel = item * job->split.part;
    job->kernels->layer_norm(dg_rows_at(job->x, voxel), onednn_split_size(&job->split, item), job->x->c, job->eps,
                             job->gamma, job->beta, job->stats + 2 * voxel, dg_rows_at(job->y, voxel));
}

dg_status onednn_layer_norm_forward(dg_backend *head, double eps, const dg_tensor *x, const float *gamma,
                                    const float *beta, float *stats, dg_tensor *y)
{
    DG_TRY(dg_arguments_layer_norm(x, gamma, stats, y));
    onednn_backend *backend = onednn_of(head);
    layer_job job = {.kernels = backend->kernels,
                     .x = x,
                     .y = y,
                     .eps = eps,
                     .gamma = gamma,
                     .beta = beta,
                     .stats = stats,
                     .split = onednn_split_of(x->n * dg_tensor_voxels(x), 16)};
    onednn_parallel(backend, job.split.parts, run_layer, &job);
    return DG_OK;
}

static void run_layer_back(void *context, int64_t item)
{
    const layer_job *job = context;
    const int64_t voxel = item * job->split.part;
    job->kernels->layer_norm_back(dg_rows_at(job->x, voxel), onednn_split_size(&job->split, item), job->x->c,
                                  job->gamma, job->stats + 2 * voxel, dg_rows_at(job->dy, voxel),
                                  dg_rows_at(job->y, voxel), job->accumulate, job->partial + item * 2 * job->x->c);
}

dg_status onednn_layer_norm_backward(dg_backend *head, const dg_tensor *x, const float *gamma, const float *stats,
                                     const dg_tensor *dy, dg_tensor *dx, bool accumulate, float *dgamma, float *dbeta)
{
    DG_TRY(dg_arguments_layer_norm(x, gamma, stats, dy));
    DG_TRY(dg_arguments_same("layer norm backward", x, dy, dx));
    onednn_backend *backend = onednn_of(head);
    layer_job job = {.kernels = backend->kernels,
                     .x = x,
                     .dy = dy,
                     .y = dx,
                     .gamma = gamma,
                     .stats = (float *)stats,
                     .accumulate = accumulate,
                     .split = onednn_split_of(x->n * dg_tensor_voxels(x), 16)};
    const int64_t c = x->c, bytes = job.split.parts * 2 * c * (int64_t)sizeof(double);
    DG_TRY(onednn_scratch(backend, bytes, &job.partial));
    memset(job.partial, 0, (size_t)bytes);
    onednn_parallel(backend, job.split.parts, run_layer_back, &job);
    for (int64_t part = 0; part < job.split.parts; part++)
        for (int64_t k = 0; k < c; k++) {
            if (dgamma != NULL) dgamma[k] += (float)job.partial[part * 2 * c + k];
            if (dbeta != NULL) dbeta[k] += (float)job.partial[part * 2 * c + c + k];
        }
    return DG_OK;
}
