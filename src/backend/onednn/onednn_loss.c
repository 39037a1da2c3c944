/* onednn_loss.c - loss terms of single voxels over the threads, one pass for the mean and one for the gradient; and the way
 * to the other terms. SPDX-License-Identifier: Apache-2.0 */
#include "onednn_loss.h"

#include "dg_loss_point.h"

enum { LEAST_PART = 512 };

typedef struct point_job {
    const loss_call *call;
    onednn_split split; /* of a sample */
    int64_t first;      /* row of the sample */
    double sum[ONEDNN_PARTS];
    double counted[ONEDNN_PARTS];
    float scale;
} point_job;

static void sum_points(void *context, int64_t item)
{
    point_job *job = context;
    const dg_loss_batch *batch = job->call->batch;
    const int64_t from = job->first + item * job->split.part, to = from + onednn_split_size(&job->split, item);
    double sum = 0, counted = 0;
    for (int64_t row = from; row < to; row++) {
        const uint32_t regions = onednn_regions_at(batch, row);
        if (!onednn_counts(batch, row) || !dg_point_counts(job->call->term, regions)) continue;
        sum += (double)dg_point_value(job->call->term, onednn_dose_at(&batch->y, row),
                                      onednn_dose_at(&batch->target, row), regions);
        counted++;
    }
    job->sum[item] = sum;
    job->counted[item] = counted;
}

static void slope_points(void *context, int64_t item)
{
    const point_job *job = context;
    const dg_loss_batch *batch = job->call->batch;
    const int64_t from = job->first + item * job->split.part, to = from + onednn_split_size(&job->split, item);
    for (int64_t row = from; row < to; row++) {
        const uint32_t regions = onednn_regions_at(batch, row);
        float d = 0;
        if (onednn_counts(batch, row) && dg_point_counts(job->call->term, regions))
            d = job->scale * dg_point_slope(job->call->term, onednn_dose_at(&batch->y, row),
                                            onednn_dose_at(&batch->target, row), regions);
        onednn_put_slope(job->call, row, d);
    }
}

static dg_status loss_points(const loss_call *call)
{
    const int64_t voxels = dg_tensor_voxels(&call->batch->y);
    point_job job = {.call = call, .split = onednn_split_of(voxels, LEAST_PART)};
    for (int64_t n = 0; n < call->batch->y.n; n++) {
        double sum = 0, counted = 0;
        job.first = n * voxels;
        onednn_parallel(call->backend, job.split.parts, sum_points, &job);
        for (int64_t part = 0; part < job.split.parts; part++) {
            sum += job.sum[part];
            counted += job.counted[part];
        }
        if (call->term->kind == DG_LOSS_ASYMMETRIC && call->batch->coupled_count != NULL)
            counted = (double)*call->batch->coupled_count;
        call->value[n * call->stride] = counted > 0 ? sum / counted : 0.0;
        if (call->dy == NULL) continue;
        job.scale = counted > 0 ? (float)((double)*call->weight / counted) : 0.0f;
        onednn_parallel(call->backend, job.split.parts, slope_points, &job);
    }
    return DG_OK;
}

int64_t onednn_loss_workspace(const dg_loss_term *term, const dg_loss_batch *shape)
{
    switch (term->kind) {
    case DG_LOSS_GRADIENT: return onednn_loss_gradient_workspace(shape);
    case DG_LOSS_DVH: return onednn_loss_dvh_workspace(term, shape);
    case DG_LOSS_SSIM: return onednn_loss_ssim_workspace(shape);
    case DG_LOSS_CONNECTIVITY: return onednn_loss_connectivity_workspace(shape);
    case DG_LOSS_CLDICE: return onednn_loss_cldice_workspace(term, shape);
    default: return dg_loss_is_of_labels(term->kind) ? onednn_loss_label_workspace(shape) : 0;
    }
}

dg_status onednn_loss(dg_backend *head, const dg_loss_term *term, const dg_loss_batch *batch, const float *weight,
                      void *workspace, double *value, int64_t stride, dg_tensor *dy, bool accumulate)
{
    DG_TRY(dg_arguments_loss(term, batch, weight, value, dy));
    const loss_call call = {onednn_of(head), term, batch, weight, workspace, value, stride, dy, accumulate};
    switch (term->kind) {
    case DG_LOSS_GRADIENT: return onednn_loss_gradient(&call);
    case DG_LOSS_DVH: return onednn_loss_dvh(&call);
    case DG_LOSS_SSIM: return onednn_loss_ssim(&call);
    case DG_LOSS_CONNECTIVITY: return onednn_loss_connectivity(&call);
    case DG_LOSS_CLDICE: return onednn_loss_cldice(&call);
    default: return dg_loss_is_of_labels(term->kind) ? onednn_loss_label(&call) : loss_points(&call);
    }
}
