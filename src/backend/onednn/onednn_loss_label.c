/* onednn_loss_label.c - loss terms of labels that sum over a sample, over the threads and tile by tile.
 * SPDX-License-Identifier: Apache-2.0 */
#include "onednn_loss.h"

#include "dg_loss_label.h"

#include <string.h>

enum { LEAST_PART = 2 * DG_LABEL_TILE };

typedef struct label_job {
    const loss_call *call;
    onednn_split split; /* of a sample */
    int64_t first;      /* row of the sample */
    double sum[ONEDNN_PARTS][DG_LABEL_SUMS];
    const float *factor;
} label_job;

static void fill_tile(const dg_loss_batch *batch, int64_t row, int64_t count, dg_label_tile *tile)
{
    const uint8_t *mask = batch->mask != NULL ? batch->mask + row : NULL;
    const float *distance = batch->distance != NULL ? batch->distance + row : NULL;
    tile->count = count;
    onednn_take_rows(&batch->y, row, count, tile->p);
    onednn_take_rows(&batch->target, row, count, tile->t);
    for (int64_t i = 0; i < count; i++) tile->distance[i] = distance != NULL ? distance[i] : 0.0f;
    for (int64_t i = 0; i < count; i++) {
        const bool counts = mask == NULL || mask[i] != 0;
        tile->counts[i] = counts ? 1.0f : 0.0f;
        tile->p[i] = counts ? tile->p[i] : 0.5f;
        tile->t[i] = counts ? tile->t[i] : 0.0f;
        tile->distance[i] = counts ? tile->distance[i] : 0.0f;
    }
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static void sum_labels(void *context, int64_t item)
{
    label_job *job = context;
    const loss_call *call = job->call;
    const int64_t from = job->first + item * job->split.part, to = from + onednn_split_size(&job->split, item);
    double sum[DG_LABEL_SUMS] = {0};
    dg_label_tile tile;
    for (int64_t row = from; row < to; row += DG_LABEL_TILE) {
        fill_tile(call->batch, row, smaller(to - row, DG_LABEL_TILE), &tile);
        call->backend->kernels->label_sums(call->term, &tile, sum);
    }
    memcpy(job->sum[item], sum, sizeof sum);
}

static void slope_labels(void *context, int64_t item)
{
    const label_job *job = context;
    const loss_call *call = job->call;
    const int64_t from = job->first + item * job->split.part, to = from + onednn_split_size(&job->split, item);
    dg_label_tile tile;
    float slope[DG_LABEL_TILE];
    for (int64_t row = from; row < to; row += DG_LABEL_TILE) {
        fill_tile(call->batch, row, smaller(to - row, DG_LABEL_TILE), &tile);
        call->backend->kernels->label_slopes(call->term, &tile, job->factor, *call->weight, slope);
        onednn_put_slopes(call, row, tile.count, slope);
    }
}

/* Sums and factors of all samples. */
int64_t onednn_loss_label_workspace(const dg_loss_batch *shape)
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
