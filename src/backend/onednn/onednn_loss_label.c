/* onednn_loss_label.c - loss terms of labels over the threads: sums of a sample, and the windows of connectivity and of soft
 * skeletons by planes. SPDX-License-Identifier: Apache-2.0 */
#include "onednn_loss.h"

#include "dg_loss_label.h"
#include "dg_loss_window.h"

#include <string.h>

enum { LEAST_PART = 512 };

/* ---- sums ------------------------------------------------------------------------------------------------------------ */

typedef struct label_job {
    const loss_call *call;
    onednn_split split; /* of a sample */
    int64_t first;      /* row of the sample */
    double sum[ONEDNN_PARTS][DG_LABEL_SUMS];
    const float *factor;
} label_job;

static float distance_at(const loss_call *call, int64_t row)
{
    return call->batch->distance != NULL ? call->batch->distance[row] : 0.0f;
}

static void sum_labels(void *context, int64_t item)
{
    label_job *job = context;
    const loss_call *call = job->call;
    const int64_t from = job->first + item * job->split.part, to = from + onednn_split_size(&job->split, item);
    double sum[DG_LABEL_SUMS] = {0};
    for (int64_t row = from; row < to; row++)
        if (onednn_counts(call->batch, row))
            dg_label_add(call->term, onednn_dose_at(&call->batch->y, row), onednn_dose_at(&call->batch->target, row),
                         distance_at(call, row), sum);
    memcpy(job->sum[item], sum, sizeof sum);
}

static void slope_labels(void *context, int64_t item)
{
    const label_job *job = context;
    const loss_call *call = job->call;
    const int64_t from = job->first + item * job->split.part, to = from + onednn_split_size(&job->split, item);
    for (int64_t row = from; row < to; row++) {
        float d = 0;
        if (onednn_counts(call->batch, row))
            d = *call->weight * dg_label_slope(call->term, onednn_dose_at(&call->batch->y, row),
                                               onednn_dose_at(&call->batch->target, row), distance_at(call, row),
                                               job->factor);
        onednn_put_slope(call, row, d);
    }
}

/* Sums and factors of all samples. */
static int64_t sums_workspace(const dg_loss_batch *shape)
{
    return shape->y.n * (int64_t)(DG_LABEL_SUMS * sizeof(double) + DG_LABEL_FACTORS * sizeof(float));
}

dg_status onednn_loss_label(const loss_call *call)
{
    const int64_t voxels = dg_tensor_voxels(&call->batch->y), samples = call->batch->y.n;
    double *sums = call->workspace;
    float *factors = (float *)(sums + samples * DG_LABEL_SUMS);
    label_job job = {.call = call, .split = onednn_split_of(voxels, LEAST_PART)};
    memset(sums, 0, (size_t)(samples * DG_LABEL_SUMS) * sizeof *sums);
    for (int64_t n = 0; n < samples; n++) {
        job.first = n * voxels;
        onednn_parallel(call->backend, job.split.parts, sum_labels, &job);
        for (int64_t part = 0; part < job.split.parts; part++)
            for (int k = 0; k < DG_LABEL_SUMS; k++) sums[n * DG_LABEL_SUMS + k] += job.sum[part][k];
    }
    dg_label_finish(call->term, samples, sums, call->value, call->stride, factors);
    for (int64_t n = 0; n < samples && call->dy != NULL; n++) {
        job.first = n * voxels;
        job.factor = factors + n * DG_LABEL_FACTORS;
        onednn_parallel(call->backend, job.split.parts, slope_labels, &job);
    }
    return DG_OK;
}

/* ---- windows --------------------------------------------------------------------------------------------------------- */

/* One sample; its rows are those of space. */
typedef struct window_job {
    const loss_call *call;
    dg_space space;
    int64_t first;                 /* row of the sample */
    double (*sum)[DG_CLDICE_SUMS]; /* [z] */
    float *p, *t;                  /* [z,y,x] */
    dg_skeleton skeleton;
    float *thin; /* skeleton of t */
    int level;
    float factor[DG_CLDICE_FACTORS];
    float *difference; /* of connectivity */
    uint8_t *place;
} window_job;

static dg_space space_of(const dg_loss_batch *batch)
{
    return (dg_space){batch->y.z, batch->y.y, batch->y.x, batch->mask};
}

static void begin_sample(window_job *job, int64_t n)
{
    const int64_t voxels = dg_tensor_voxels(&job->call->batch->y);
    job->first = n * voxels;
    job->space = space_of(job->call->batch);
    if (job->space.mask != NULL) job->space.mask += job->first;
    job->skeleton.space = job->space;
}

static void on_planes(window_job *job, onednn_work work)
{
    onednn_parallel(job->call->backend, job->space.z, work, job);
}

static void take_plane(void *context, int64_t z)
{
    const window_job *job = context;
    const int64_t plane = job->space.y * job->space.x;
    for (int64_t v = z * plane; v < (z + 1) * plane; v++) {
        job->p[v] = onednn_dose_at(&job->call->batch->y, job->first + v);
        job->t[v] = onednn_dose_at(&job->call->batch->target, job->first + v) > 0.5f ? 1.0f : 0.0f;
    }
}

/* Sums over the planes, in their order. */
static void add_planes(const window_job *job, int count, double *sum)
{
    for (int k = 0; k < count; k++) sum[k] = 0;
    for (int64_t z = 0; z < job->space.z; z++)
        for (int k = 0; k < count; k++) sum[k] += job->sum[z][k];
}

#define EACH_VOXEL_OF_PLANE(space)           \
    for (int64_t y = 0; y < (space)->y; y++) \
        for (int64_t x = 0, v = dg_space_at((space), z, y, 0); x < (space)->x; x++, v++)

/* ---- connectivity */

static void connect_plane(void *context, int64_t z)
{
    window_job *job = context;
    const int radius = job->call->term->kernel / 2;
    double sum = 0, count = 0;
    EACH_VOXEL_OF_PLANE(&job->space)
    {
        uint8_t ignored;
        if (!dg_space_counts(&job->space, v)) continue;
        const float d = dg_dilate(&job->space, job->p, z, y, x, radius, &job->place[v]) -
                        dg_dilate(&job->space, job->t, z, y, x, radius, &ignored);
        job->difference[v] = d;
        sum += (double)d * (double)d;
        count++;
    }
    job->sum[z][0] = sum;
    job->sum[z][1] = count;
}

static void connect_back(void *context, int64_t z)
{
    const window_job *job = context;
    const int radius = job->call->term->kernel / 2;
    EACH_VOXEL_OF_PLANE(&job->space)
    {
        float d = 0;
        if (dg_space_counts(&job->space, v))
            d = job->factor[0] * dg_dilate_back(&job->space, job->difference, job->place, z, y, x, radius);
        onednn_put_slope(job->call, job->first + v, d);
    }
}

dg_status onednn_loss_connectivity(const loss_call *call)
{
    const int64_t voxels = dg_tensor_voxels(&call->batch->y);
    window_job job = {.call = call, .sum = call->workspace};
    job.p = (float *)(job.sum + call->batch->y.z);
    job.t = job.p + voxels;
    job.difference = job.t + voxels;
    job.place = (uint8_t *)(job.difference + voxels);
    for (int64_t n = 0; n < call->batch->y.n; n++) {
        double sum[2];
        begin_sample(&job, n);
        on_planes(&job, take_plane);
        on_planes(&job, connect_plane);
        add_planes(&job, 2, sum);
        call->value[n * call->stride] = sum[1] > 0 ? sum[0] / sum[1] : 0;
        job.factor[0] = sum[1] > 0 && call->dy != NULL ? (float)(2 * (double)*call->weight / sum[1]) : 0.0f;
        if (call->dy != NULL) on_planes(&job, connect_back);
    }
    return DG_OK;
}

/* ---- clDice */

static void erode_plane(void *context, int64_t z)
{
    const window_job *job = context;
    EACH_VOXEL_OF_PLANE(&job->space) dg_skeleton_erode(&job->skeleton, job->level, z, y, x);
}
static void open_plane(void *context, int64_t z)
{
    const window_job *job = context;
    EACH_VOXEL_OF_PLANE(&job->space) dg_skeleton_open(&job->skeleton, job->level, z, y, x);
}
static void split_plane(void *context, int64_t z)
{
    const window_job *job = context;
    EACH_VOXEL_OF_PLANE(&job->space) dg_skeleton_split(&job->skeleton, job->level, z, y, x);
}
static void dilate_back_plane(void *context, int64_t z)
{
    const window_job *job = context;
    EACH_VOXEL_OF_PLANE(&job->space) dg_skeleton_dilate_back(&job->skeleton, job->level, z, y, x);
}
static void erode_back_plane(void *context, int64_t z)
{
    const window_job *job = context;
    EACH_VOXEL_OF_PLANE(&job->space) dg_skeleton_erode_back(&job->skeleton, job->level, z, y, x);
}

/* The skeleton of `from`, in the last level's place. */
static const float *make_skeleton(window_job *job, const float *from)
{
    const dg_skeleton *k = &job->skeleton;
    memcpy(k->eroded, from, (size_t)k->voxels * sizeof *from);
    for (job->level = 0; job->level < k->levels; job->level++) {
        on_planes(job, erode_plane);
        on_planes(job, open_plane);
    }
    return k->skeleton + (k->levels - 1) * k->voxels;
}

static void compare_plane(void *context, int64_t z)
{
    window_job *job = context;
    const float *skeleton = job->skeleton.skeleton + (job->skeleton.levels - 1) * job->skeleton.voxels;
    double sum[DG_CLDICE_SUMS] = {0};
    EACH_VOXEL_OF_PLANE(&job->space)
    {
        if (!dg_space_counts(&job->space, v)) continue;
        sum[0] += (double)(skeleton[v] * job->t[v]);
        sum[1] += (double)skeleton[v];
        sum[2] += (double)(job->thin[v] * job->p[v]);
        sum[3] += (double)job->thin[v];
    }
    memcpy(job->sum[z], sum, sizeof sum);
}

static void seed_plane(void *context, int64_t z)
{
    const window_job *job = context;
    EACH_VOXEL_OF_PLANE(&job->space)
    {
        const bool counts = dg_space_counts(&job->space, v);
        job->skeleton.ds[v] = counts ? job->factor[0] * job->t[v] + job->factor[1] : 0.0f;
        job->skeleton.dx[0][v] = 0.0f;
    }
}

static void put_plane(void *context, int64_t z)
{
    const window_job *job = context;
    EACH_VOXEL_OF_PLANE(&job->space)
    {
        float d = 0;
        if (dg_space_counts(&job->space, v))
            d = *job->call->weight * (job->skeleton.dx[0][v] + job->factor[2] * job->thin[v]);
        onednn_put_slope(job->call, job->first + v, d);
    }
}

static void skeleton_back(window_job *job)
{
    dg_skeleton *k = &job->skeleton;
    on_planes(job, seed_plane);
    for (job->level = k->levels - 1; job->level >= 0; job->level--) {
        on_planes(job, split_plane);
        on_planes(job, dilate_back_plane);
        on_planes(job, erode_back_plane);
        float *spare = k->dx[0];
        k->dx[0] = k->dx[1];
        k->dx[1] = spare;
    }
    on_planes(job, put_plane);
}

/* Numbers of arrays of the sample's voxels: f32, 16 and 8 bits. */
static int floats_of(int levels) { return 2 * levels + 1 + 7; }

dg_status onednn_loss_cldice(const loss_call *call)
{
    const int64_t voxels = dg_tensor_voxels(&call->batch->y);
    const int levels = call->term->iterations + 1;
    window_job job = {.call = call, .sum = call->workspace, .skeleton = {.levels = levels, .voxels = voxels}};
    dg_skeleton *k = &job.skeleton;
    float *arrays = (float *)(job.sum + call->batch->y.z);
    float **const place[] = {&job.p, &job.t, &job.thin, &k->ds, &k->de, &k->dx[0], &k->dx[1]};
    for (int i = 0; i < 7; i++) *place[i] = arrays + i * voxels;
    k->eroded = arrays + 7 * voxels;
    k->skeleton = k->eroded + (levels + 1) * voxels;
    k->route = (uint16_t *)(arrays + floats_of(levels) * voxels);
    k->peak = (uint8_t *)(k->route + levels * voxels);
    for (int64_t n = 0; n < call->batch->y.n; n++) {
        double sum[DG_CLDICE_SUMS];
        begin_sample(&job, n);
        on_planes(&job, take_plane);
        memcpy(job.thin, make_skeleton(&job, job.t), (size_t)voxels * sizeof *job.thin);
        (void)make_skeleton(&job, job.p);
        on_planes(&job, compare_plane);
        add_planes(&job, DG_CLDICE_SUMS, sum);
        call->value[n * call->stride] = dg_cldice_finish(call->term, sum, job.factor);
        if (call->dy != NULL) skeleton_back(&job);
    }
    return DG_OK;
}

int64_t onednn_loss_label_workspace(const dg_loss_term *term, const dg_loss_batch *shape)
{
    const int64_t voxels = dg_tensor_voxels(&shape->y), levels = term->iterations + 1;
    const int64_t planes = shape->y.z * (int64_t)sizeof(double[DG_CLDICE_SUMS]);
    if (term->kind == DG_LOSS_CONNECTIVITY) return planes + voxels * (3 * (int64_t)sizeof(float) + 1);
    if (term->kind == DG_LOSS_CLDICE)
        return planes + voxels * (floats_of((int)levels) * (int64_t)sizeof(float) + 3 * levels);
    return sums_workspace(shape);
}
