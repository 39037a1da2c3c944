/* onednn_loss_ssim.c - structural similarity: the moments of all windows at once, one axis after the other, by planes over the
 * threads; slopes go back the same way. SPDX-License-Identifier: Apache-2.0 */
#include "onednn_loss.h"

#include "dg_loss_space.h"
#include "dg_loss_ssim.h"

#include <string.h>

/* One sample, in space order. */
typedef struct ssim_job {
    const loss_call *call;
    dg_loss_grid grid;
    dg_ssim_bell bell;
    int64_t first, plane, axis;    /* row of the sample; voxels of a plane; of the axis at work */
    float *field[DG_SSIM_MOMENTS]; /* [z,y,x]: moments, then slopes */
    float *spare;                  /* the same size */
    const float *from;             /* of the field at work */
    double *sum;                   /* [z] */
    int64_t *counted;              /* [z] */
    float scale;
} ssim_job;

int64_t onednn_loss_ssim_workspace(const dg_loss_batch *shape)
{
    const dg_loss_grid g = dg_loss_grid_of(shape);
    return g.z * (int64_t)(sizeof(double) + sizeof(int64_t)) +
           (DG_SSIM_MOMENTS + 1) * g.z * g.y * g.x * (int64_t)sizeof(float);
}

static int64_t row_of(const ssim_job *job, int64_t z, int64_t in_plane)
{
    const dg_loss_grid *g = &job->grid;
    return job->first +
           dg_block_row(z, in_plane / g->x, in_plane % g->x, g->y, g->x, g->block[0], g->block[1], g->block[2]);
}

static void gather_plane(void *context, int64_t z)
{
    ssim_job *job = context;
    const dg_loss_batch *batch = job->call->batch;
    for (int64_t i = 0; i < job->plane; i++) {
        const int64_t row = row_of(job, z, i);
        float moment[DG_SSIM_MOMENTS] = {0};
        if (onednn_counts(batch, row))
            dg_ssim_gather(onednn_dose_at(&batch->y, row), onednn_dose_at(&batch->target, row), moment);
        for (int k = 0; k < DG_SSIM_MOMENTS; k++) job->field[k][z * job->plane + i] = moment[k];
    }
}

static void add_scaled(float *to, const float *from, int64_t count, float factor)
{
    for (int64_t i = 0; i < count; i++) to[i] += factor * from[i];
}

/* A plane of `spare` = that of `from`, spread along one axis. */
static void spread_plane(void *context, int64_t z)
{
    const ssim_job *job = context;
    const int64_t ny = job->grid.y, nx = job->grid.x, plane = job->plane;
    float *to = job->spare + z * plane;
    memset(to, 0, (size_t)plane * sizeof *to);
    for (int64_t o = -DG_SSIM_REACH; o <= DG_SSIM_REACH; o++) {
        const float tap = job->bell.tap[o < 0 ? -o : o], *from = job->from + z * plane;
        const int64_t before = o < 0 ? -o : 0, after = o > 0 ? o : 0; /* lines, or voxels, without a partner */
        if (job->axis == 0 && z + o >= 0 && z + o < job->grid.z) add_scaled(to, from + o * plane, plane, tap);
        if (job->axis == 1 && before + after < ny)
            add_scaled(to + before * nx, from + (before + o) * nx, (ny - before - after) * nx, tap);
        for (int64_t y = 0; job->axis == 2 && before + after < nx && y < ny; y++)
            add_scaled(to + y * nx + before, from + y * nx + before + o, nx - before - after, tap);
    }
}

/* Spreads the first `fields` along all axes; each then lies in other memory. */
static void spread(ssim_job *job, int fields)
{
    for (int k = 0; k < fields; k++)
        for (job->axis = 2; job->axis >= 0; job->axis--) {
            float *done = job->field[k];
            job->from = done;
            onednn_parallel(job->call->backend, job->grid.z, spread_plane, job);
            job->field[k] = job->spare;
            job->spare = done;
        }
}

/* Value of a plane's windows; the first fields become slopes. */
static void judge_plane(void *context, int64_t z)
{
    ssim_job *job = context;
    double sum = 0;
    int64_t counted = 0;
    for (int64_t i = 0; i < job->plane; i++) {
        const int64_t at = z * job->plane + i;
        float moment[DG_SSIM_MOMENTS], slope[DG_SSIM_SLOPES] = {0};
        for (int k = 0; k < DG_SSIM_MOMENTS; k++) moment[k] = job->field[k][at];
        if (onednn_counts(job->call->batch, row_of(job, z, i))) {
            sum += (double)dg_ssim_point(moment, slope);
            counted++;
        }
        for (int k = 0; k < DG_SSIM_SLOPES; k++) job->field[k][at] = slope[k];
    }
    job->sum[z] = sum;
    job->counted[z] = counted;
}

static void slope_plane(void *context, int64_t z)
{
    const ssim_job *job = context;
    const dg_loss_batch *batch = job->call->batch;
    for (int64_t i = 0; i < job->plane; i++) {
        const int64_t row = row_of(job, z, i), at = z * job->plane + i;
        const float sum[DG_SSIM_SLOPES] = {job->field[0][at], job->field[1][at], job->field[2][at]};
        float d = 0;
        if (onednn_counts(batch, row))
            d = job->scale * dg_ssim_slope(onednn_dose_at(&batch->y, row), onednn_dose_at(&batch->target, row), sum);
        onednn_put_slope(job->call, row, d);
    }
}

static void one_sample(ssim_job *job, int64_t n)
{
    const loss_call *call = job->call;
    double sum = 0;
    int64_t counted = 0;
    job->first = n * job->grid.z * job->plane;
    onednn_parallel(call->backend, job->grid.z, gather_plane, job);
    spread(job, DG_SSIM_MOMENTS);
    onednn_parallel(call->backend, job->grid.z, judge_plane, job);
    for (int64_t z = 0; z < job->grid.z; z++) {
        sum += job->sum[z];
        counted += job->counted[z];
    }
    call->value[n * call->stride] = counted > 0 ? sum / (double)counted : 0.0;
    if (call->dy == NULL) return;
    job->scale = counted > 0 ? (float)((double)*call->weight / (double)counted) : 0.0f;
    spread(job, DG_SSIM_SLOPES);
    onednn_parallel(call->backend, job->grid.z, slope_plane, job);
}

dg_status onednn_loss_ssim(const loss_call *call)
{
    const dg_loss_grid grid = dg_loss_grid_of(call->batch);
    const int64_t voxels = grid.z * grid.y * grid.x;
    ssim_job job = {
        .call = call, .grid = grid, .bell = dg_ssim_bell_make(), .plane = grid.y * grid.x, .sum = call->workspace};
    job.counted = (int64_t *)(job.sum + grid.z);
    job.spare = (float *)(job.counted + grid.z);
    for (int k = 0; k < DG_SSIM_MOMENTS; k++) job.field[k] = job.spare + (k + 1) * voxels;
    for (int64_t n = 0; n < call->batch->y.n; n++) one_sample(&job, n);
    return DG_OK;
}
