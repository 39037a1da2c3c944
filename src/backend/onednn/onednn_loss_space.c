/* onednn_loss_space.c - the gradient loss: differences in space order, signs of the Sobel responses, and their transpose, by
 * planes over the threads. SPDX-License-Identifier: Apache-2.0 */
#include "onednn_loss.h"

#include "dg_loss_space.h"

#include <math.h>
#include <string.h>

/* One sample: planes carry a rim of zeros on all sides, so that no neighbour is looked up beyond the edge. */
typedef struct space_job {
    const loss_call *call;
    dg_loss_grid grid;
    int64_t line, plane; /* strides with the rim */
    int64_t first;       /* row of the sample */
    float *lines;        /* [z][3][x], of one plane's work */
    float *error;        /* [z+2, y+2, x+2] */
    signed char *sign;   /* [3] of that */
    double *sum;         /* [z] */
    int64_t *counted;    /* [z] */
    int64_t *place;      /* [x]: where a voxel of a line lies, from the line's first */
    float scale;
} space_job;

static int64_t rimmed(const dg_loss_grid *g) { return (g->z + 2) * (g->y + 2) * (g->x + 2); }

int64_t onednn_loss_gradient_workspace(const dg_loss_batch *shape)
{
    const dg_loss_grid g = dg_loss_grid_of(shape);
    const int64_t by_plane = (int64_t)(sizeof(double) + sizeof(int64_t)) + 3 * g.x * (int64_t)sizeof(float);
    return g.x * (int64_t)sizeof(int64_t) + g.z * by_plane + rimmed(&g) * (int64_t)(sizeof(float) + 3);
}

static int64_t row_in_sample(const dg_loss_grid *g, int64_t z, int64_t y, int64_t x)
{
    return dg_block_row(z, y, x, g->y, g->x, g->block[0], g->block[1], g->block[2]);
}

static void take_errors(void *context, int64_t z)
{
    space_job *job = context;
    const dg_loss_batch *batch = job->call->batch;
    int64_t counted = 0;
    for (int64_t y = 0; y < job->grid.y; y++) {
        const int64_t first = job->first + row_in_sample(&job->grid, z, y, 0);
        float *error = job->error + (z + 1) * job->plane + (y + 1) * job->line + 1;
        for (int64_t x = 0; x < job->grid.x; x++) {
            const int64_t row = first + job->place[x];
            const bool counts = onednn_counts(batch, row);
            error[x] = counts ? onednn_dose_at(&batch->y, row) - onednn_dose_at(&batch->target, row) : 0.0f;
            counted += counts;
        }
    }
    job->counted[z] = counted;
}

/* Responses of one line of voxels into g[3][x]. */
static void respond(const space_job *job, int64_t z, int64_t y, float *gz, float *gy, float *gx)
{
    const int64_t nx = job->grid.x;
    memset(gz, 0, (size_t)nx * sizeof *gz);
    memset(gy, 0, (size_t)nx * sizeof *gy);
    memset(gx, 0, (size_t)nx * sizeof *gx);
    for (int dz = -1; dz <= 1; dz++)
        for (int dy = -1; dy <= 1; dy++) {
            const float *e = job->error + (z + 1 + dz) * job->plane + (y + 1 + dy) * job->line;
            const float az = (float)dz * dg_sobel_smooth(dy), ay = dg_sobel_smooth(dz) * (float)dy;
            const float ax = dg_sobel_smooth(dz) * dg_sobel_smooth(dy);
            for (int64_t x = 0; x < nx; x++) {
                const float sum = e[x] + 2.0f * e[x + 1] + e[x + 2];
                gz[x] += az * sum;
                gy[x] += ay * sum;
                gx[x] += ax * (e[x + 2] - e[x]);
            }
        }
}

static void sum_plane(void *context, int64_t z)
{
    space_job *job = context;
    const int64_t rim = rimmed(&job->grid);
    float *gz = job->lines + z * 3 * job->grid.x, *gy = gz + job->grid.x, *gx = gy + job->grid.x;
    double sum = 0;
    for (int64_t y = 0; y < job->grid.y; y++) {
        const int64_t first = job->first + row_in_sample(&job->grid, z, y, 0);
        respond(job, z, y, gz, gy, gx);
        signed char *sign = job->sign + (z + 1) * job->plane + (y + 1) * job->line + 1;
        for (int64_t x = 0; x < job->grid.x; x++) {
            const bool counts = onednn_counts(job->call->batch, first + job->place[x]);
            const float g[3] = {gz[x], gy[x], gx[x]};
            for (int c = 0; c < 3; c++) {
                sign[c * rim + x] = (signed char)(counts ? (g[c] > 0) - (g[c] < 0) : 0);
                if (counts) sum += (double)fabsf(g[c]);
            }
        }
    }
    job->sum[z] = sum;
}

/* The transpose: differences change their sign, sums do not. */
static void slope_plane(void *context, int64_t z)
{
    const space_job *job = context;
    const int64_t rim = rimmed(&job->grid);
    float *total = job->lines + z * 3 * job->grid.x;
    for (int64_t y = 0; y < job->grid.y; y++) {
        memset(total, 0, (size_t)job->grid.x * sizeof *total);
        for (int dz = -1; dz <= 1; dz++)
            for (int dy = -1; dy <= 1; dy++) {
                const signed char *s = job->sign + (z + 1 + dz) * job->plane + (y + 1 + dy) * job->line;
                const float az = (float)dz * dg_sobel_smooth(dy), ay = dg_sobel_smooth(dz) * (float)dy;
                const float ax = dg_sobel_smooth(dz) * dg_sobel_smooth(dy);
                for (int64_t x = 0; x < job->grid.x; x++) {
                    const signed char *sy = s + rim, *sx = s + 2 * rim;
                    total[x] -= az * (float)(s[x] + 2 * s[x + 1] + s[x + 2]) +
                                ay * (float)(sy[x] + 2 * sy[x + 1] + sy[x + 2]) + ax * (float)(sx[x + 2] - sx[x]);
                }
            }
        const int64_t first = job->first + row_in_sample(&job->grid, z, y, 0);
        for (int64_t x = 0; x < job->grid.x; x++) {
            const int64_t row = first + job->place[x];
            onednn_put_slope(job->call, row, onednn_counts(job->call->batch, row) ? job->scale * total[x] : 0.0f);
        }
    }
}

static void one_sample(space_job *job, int64_t n)
{
    const loss_call *call = job->call;
    double sum = 0;
    int64_t counted = 0;
    job->first = n * dg_tensor_voxels(&call->batch->y);
    onednn_parallel(call->backend, job->grid.z, take_errors, job);
    onednn_parallel(call->backend, job->grid.z, sum_plane, job);
    for (int64_t z = 0; z < job->grid.z; z++) {
        sum += job->sum[z];
        counted += job->counted[z];
    }
    const double norm = counted > 0 ? (double)DG_SOBEL_NORM / (3.0 * (double)counted) : 0.0;
    call->value[n * call->stride] = sum * norm;
    job->scale = call->dy != NULL ? (float)((double)*call->weight * norm) : 0.0f;
    if (call->dy != NULL) onednn_parallel(call->backend, job->grid.z, slope_plane, job);
}

dg_status onednn_loss_gradient(const loss_call *call)
{
    space_job job = {.call = call, .grid = dg_loss_grid_of(call->batch)};
    const int64_t rim = rimmed(&job.grid);
    job.line = job.grid.x + 2;
    job.plane = (job.grid.y + 2) * job.line;
    job.sum = call->workspace;
    job.counted = (int64_t *)(job.sum + job.grid.z);
    job.place = job.counted + job.grid.z;
    job.lines = (float *)(job.place + job.grid.x);
    job.error = job.lines + job.grid.z * 3 * job.grid.x;
    job.sign = (signed char *)(job.error + rim);
    for (int64_t x = 0; x < job.grid.x; x++) job.place[x] = row_in_sample(&job.grid, 0, 0, x);
    memset(job.error, 0, (size_t)rim * sizeof *job.error);
    memset(job.sign, 0, (size_t)(3 * rim));
    for (int64_t n = 0; n < call->batch->y.n; n++) one_sample(&job, n);
    return DG_OK;
}
