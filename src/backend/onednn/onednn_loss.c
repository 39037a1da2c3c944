/* onednn_loss.c - loss terms of single voxels over the threads: one pass for the mean, one for the gradient.
 * SPDX-License-Identifier: Apache-2.0 */
#include "onednn_impl.h"

#include "dg_bf16.h"
#include "dg_loss_point.h"

enum { LEAST_PART = 512 };

static float value_at(const dg_tensor *t, int64_t row)
{
    const int64_t at = row * t->pitch;
    return t->dtype == DG_F32 ? ((const float *)t->data)[at] : dg_bf16_to_f32(((const dg_bf16 *)t->data)[at]);
}

static void put_value(const dg_tensor *t, int64_t row, float value, bool accumulate)
{
    if (accumulate) value += value_at(t, row);
    if (t->dtype == DG_F32)
        ((float *)t->data)[row * t->pitch] = value;
    else
        ((dg_bf16 *)t->data)[row * t->pitch] = dg_bf16_from_f32(value);
}

static bool is_counted(const dg_loss_batch *batch, int64_t row) { return batch->mask == NULL || batch->mask[row] != 0; }
static uint32_t regions_at(const dg_loss_batch *batch, int64_t row)
{
    return batch->regions != NULL ? batch->regions[row] : 0;
}

typedef struct point_job {
    const dg_loss_term *term;
    const dg_loss_batch *batch;
    onednn_split split; /* of a sample */
    int64_t first;      /* row of the sample */
    double sum[ONEDNN_PARTS];
    int64_t counted[ONEDNN_PARTS];
    float scale;
    const dg_tensor *dy;
    bool accumulate;
} point_job;

static void sum_points(void *context, int64_t item)
{
    point_job *job = context;
    const int64_t from = job->first + item * job->split.part, to = from + onednn_split_size(&job->split, item);
    double sum = 0;
    int64_t counted = 0;
    for (int64_t row = from; row < to; row++) {
        const uint32_t regions = regions_at(job->batch, row);
        if (!is_counted(job->batch, row) || !dg_point_counts(job->term, regions)) continue;
        sum += (double)dg_point_value(job->term, value_at(&job->batch->y, row), value_at(&job->batch->target, row),
                                      regions);
        counted++;
    }
    job->sum[item] = sum;
    job->counted[item] = counted;
}

static void slope_points(void *context, int64_t item)
{
    const point_job *job = context;
    const int64_t from = job->first + item * job->split.part, to = from + onednn_split_size(&job->split, item);
    for (int64_t row = from; row < to; row++) {
        const uint32_t regions = regions_at(job->batch, row);
        float d = 0;
        if (is_counted(job->batch, row) && dg_point_counts(job->term, regions))
            d = job->scale *
                dg_point_slope(job->term, value_at(&job->batch->y, row), value_at(&job->batch->target, row), regions);
        put_value(job->dy, row, d, job->accumulate);
    }
}

int64_t onednn_loss_workspace(const dg_loss_term *term, const dg_tensor *y) { return 0; }

dg_status onednn_loss(dg_backend *head, const dg_loss_term *term, const dg_loss_batch *batch, const float *weight,
                      void *workspace, double *value, int64_t stride, dg_tensor *dy, bool accumulate)
{
    DG_TRY(dg_arguments_loss(term, batch, weight, value, dy));
    const int64_t voxels = dg_tensor_voxels(&batch->y);
    point_job job = {
        .term = term, .batch = batch, .split = onednn_split_of(voxels, LEAST_PART), .dy = dy, .accumulate = accumulate};
    for (int64_t n = 0; n < batch->y.n; n++) {
        double sum = 0;
        int64_t counted = 0;
        job.first = n * voxels;
        onednn_parallel(onednn_of(head), job.split.parts, sum_points, &job);
        for (int64_t part = 0; part < job.split.parts; part++) {
            sum += job.sum[part];
            counted += job.counted[part];
        }
        value[n * stride] = counted > 0 ? sum / (double)counted : 0.0;
        if (dy == NULL) continue;
        job.scale = counted > 0 ? (float)((double)*weight / (double)counted) : 0.0f;
        onednn_parallel(onednn_of(head), job.split.parts, slope_points, &job);
    }
    return DG_OK;
}
