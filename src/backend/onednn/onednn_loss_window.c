/* onednn_loss_window.c - loss terms of labels that look at neighbours: connectivity and clDice, over the threads plane by
 * plane. Arrays of voxels have lines HALO longer at either end, which hold what changes nothing; a voxel that does not count
 * is infinite. What a voxel took its value from is kept, so that the way back compares nothing again.
 * SPDX-License-Identifier: Apache-2.0 */
#include "onednn_loss.h"

#include "dg_loss_window.h"

#include <math.h>
#include <string.h>

enum { HALO = DG_WINDOW_RADIUS, LINES = 2 * DG_WINDOW_RADIUS + 1, LEVELS_MAX = DG_LOSS_ITERATIONS_MAX + 1 };
enum { AXIS_Z, AXIS_Y, AXIS_X };

/* One sample. */
typedef struct window_job {
    const loss_call *call;
    const dg_kernels *kernels;
    int64_t z, y, x, pitch, size; /* pitch: of a line; size: elements of an array */
    int64_t first;                /* row of the sample */
    int radius;
    double (*sum)[DG_CLDICE_SUMS];   /* [z] */
    float *infinite, *lowest, *zero; /* a line each of infinity, minus infinity and 0 */
    float *p, *t, *stage[2];
    uint16_t *place; /* of this level, or NULL */
    float factor[DG_CLDICE_FACTORS];
    /* connectivity */
    float *difference, *of_t;
    /* clDice */
    int levels, level;
    float *eroded[2], *thin, *ds, *de, *dx[2];
    float *excess[LEVELS_MAX], *skeleton[LEVELS_MAX];
    uint16_t *peak[LEVELS_MAX], *routes[LEVELS_MAX];
    bool routed; /* the way back will be asked for */
} window_job;

static int64_t line_at(const window_job *job, int64_t z, int64_t y) { return (z * job->y + y) * job->pitch + HALO; }
static int64_t row_at(const window_job *job, int64_t z, int64_t y) { return job->first + (z * job->y + y) * job->x; }

static window_job begin_job(const loss_call *call, int radius)
{
    const dg_tensor *y = &call->batch->y;
    window_job job = {.call = call, .kernels = call->backend->kernels, .radius = radius, .sum = call->workspace};
    job.z = y->z;
    job.y = y->y;
    job.x = y->x;
    job.pitch = y->x + 2 * HALO;
    job.size = job.z * job.y * job.pitch;
    return job;
}

static void on_planes(window_job *job, onednn_work work) { onednn_parallel(job->call->backend, job->z, work, job); }

static void fill(float *x, int64_t count, float value)
{
    for (int64_t i = 0; i < count; i++) x[i] = value;
}

/* Both ends of a line of an array. */
static void fill_ends(const window_job *job, float *array, int64_t at, float value)
{
    fill(array + at - HALO, HALO, value);
    fill(array + at + job->x, HALO, value);
}

/* p and t, infinity where a voxel does not count. */
static void take_line(const window_job *job, int64_t z, int64_t y, float *p, float *t)
{
    const int64_t at = line_at(job, z, y), row = row_at(job, z, y);
    const uint8_t *mask = job->call->batch->mask != NULL ? job->call->batch->mask + row : NULL;
    onednn_take_rows(&job->call->batch->y, row, job->x, p + at);
    onednn_take_rows(&job->call->batch->target, row, job->x, t + at);
    for (int64_t i = at; i < at + job->x; i++) t[i] = t[i] > 0.5f ? 1.0f : 0.0f;
    for (int64_t i = 0; i < job->x && mask != NULL; i++)
        if (mask[i] == 0) p[at + i] = t[at + i] = INFINITY;
    fill_ends(job, p, at, INFINITY);
    fill_ends(job, t, at, INFINITY);
}

/* Sums over the planes, in their order. */
static void add_planes(const window_job *job, int count, double *sum)
{
    for (int k = 0; k < count; k++) sum[k] = 0;
    for (int64_t z = 0; z < job->z; z++)
        for (int k = 0; k < count; k++) sum[k] += job->sum[z][k];
}

/* ---- windows ----------------------------------------------------------------------------------------------------------- */

/* Offsets of the 2 radius + 1 lines of a window along an axis, -1 for those beyond the edge. */
static void window_lines(const window_job *job, int64_t z, int64_t y, int axis, int64_t at[LINES])
{
    for (int k = 0; k <= 2 * job->radius; k++) {
        const int64_t o = k - job->radius, i = z + (axis == AXIS_Z ? o : 0), j = y + (axis == AXIS_Y ? o : 0);
        const bool inside = i >= 0 && i < job->z && j >= 0 && j < job->y;
        at[k] = inside ? line_at(job, i, j) + (axis == AXIS_X ? o : 0) : -1;
    }
}

static int shift_of(int axis) { return DG_PLACE_BITS * (AXIS_X - axis); }

static void widest(const window_job *job, const float *from, int64_t z, int64_t y, int axis, uint16_t *place, float *to)
{
    const float *line[LINES] = {NULL};
    int64_t at[LINES];
    const int64_t here = line_at(job, z, y);
    window_lines(job, z, y, axis, at);
    for (int k = 0; k <= 2 * job->radius; k++) line[k] = at[k] < 0 ? job->lowest : from + at[k];
    job->kernels->widest(line, job->radius, job->x, axis == AXIS_X, to + here, shift_of(axis),
                         place != NULL ? place + here : NULL);
}

/* The greatest values in the windows of a plane along x and y, into stage[1] (stage[0] on the way). */
static void widen_plane(const window_job *job, const float *from, int64_t z, uint16_t *place, float *to)
{
    for (int64_t y = 0; y < job->y; y++) widest(job, from, z, y, AXIS_X, place, job->stage[0]);
    for (int64_t y = 0; y < job->y; y++) widest(job, job->stage[0], z, y, AXIS_Y, place, to);
}

static void send_back(const window_job *job, const float *from, int64_t z, int64_t y, int axis, float *to)
{
    const float *line[LINES] = {NULL};
    const uint16_t *place[LINES] = {NULL};
    int64_t at[LINES];
    const int64_t here = line_at(job, z, y);
    window_lines(job, z, y, axis, at);
    for (int k = 0; k <= 2 * job->radius; k++) {
        line[k] = at[k] < 0 ? job->zero : from + at[k];
        place[k] = job->place + (at[k] < 0 ? here : at[k]);
    }
    job->kernels->widest_back(line, place, job->radius, job->x, shift_of(axis), to + here);
}

/* The gradients that plane z gets of those of windows, into stage[0]. */
static void narrow_plane(const window_job *job, const float *from, int64_t z)
{
    for (int64_t y = 0; y < job->y; y++) send_back(job, from, z, y, AXIS_Z, job->stage[0]);
    for (int64_t y = 0; y < job->y; y++) {
        send_back(job, job->stage[0], z, y, AXIS_Y, job->stage[1]);
        fill_ends(job, job->stage[1], line_at(job, z, y), 0.0f);
    }
    for (int64_t y = 0; y < job->y; y++) send_back(job, job->stage[1], z, y, AXIS_X, job->stage[0]);
}

/* ---- memory ------------------------------------------------------------------------------------------------------------ */

/* Arrays of a job follow its sums: `floats` of f32, `halves` of 16 bits, and the three lines. */
static int64_t workspace_of(const dg_loss_batch *shape, int64_t floats, int64_t halves)
{
    const int64_t pitch = shape->y.x + 2 * HALO, size = shape->y.z * shape->y.y * pitch;
    return shape->y.z * (int64_t)sizeof(double[DG_CLDICE_SUMS]) + (floats * size + 3 * pitch) * (int64_t)sizeof(float) +
           halves * size * (int64_t)sizeof(uint16_t);
}

/* Gives the arrays out of the workspace: NULL-terminated lists of where their addresses go. */
static void share_out(window_job *job, float **const *floats, uint16_t **const *halves)
{
    float *next = (float *)(job->sum + job->z);
    float **const line[] = {&job->infinite, &job->lowest, &job->zero};
    const float value[] = {INFINITY, -INFINITY, 0.0f};
    for (int k = 0; k < 3; k++, next += job->pitch) {
        *line[k] = next;
        fill(next, job->pitch, value[k]);
    }
    for (; *floats != NULL; floats++, next += job->size) **floats = next;
    uint16_t *half = (uint16_t *)next;
    for (; *halves != NULL; halves++, half += job->size) **halves = half;
}

/* ---- connectivity ------------------------------------------------------------------------------------------------------ */

enum { CONNECTIVITY_FLOATS = 6 };

int64_t onednn_loss_connectivity_workspace(const dg_loss_batch *shape)
{
    return workspace_of(shape, CONNECTIVITY_FLOATS, 1);
}

static void connect_plane(void *context, int64_t z)
{
    const window_job *job = context;
    for (int64_t y = 0; y < job->y; y++) take_line(job, z, y, job->p, job->t);
    widen_plane(job, job->t, z, NULL, job->of_t);
    widen_plane(job, job->p, z, job->place, job->stage[1]);
}

/* Nobody reads p and t of the plane again: they take the greatest values of whole windows. */
static void differ_plane(void *context, int64_t z)
{
    const window_job *job = context;
    double sum = 0, count = 0;
    for (int64_t y = 0; y < job->y; y++) {
        const int64_t at = line_at(job, z, y), row = row_at(job, z, y);
        widest(job, job->stage[1], z, y, AXIS_Z, job->place, job->p);
        widest(job, job->of_t, z, y, AXIS_Z, NULL, job->t);
        for (int64_t i = 0; i < job->x; i++) {
            const bool counts = onednn_counts(job->call->batch, row + i);
            const float d = counts ? job->p[at + i] - job->t[at + i] : 0.0f;
            job->difference[at + i] = d;
            sum += (double)d * (double)d;
            count += counts;
        }
    }
    job->sum[z][0] = sum;
    job->sum[z][1] = count;
}

static void connect_back(void *context, int64_t z)
{
    const window_job *job = context;
    narrow_plane(job, job->difference, z);
    for (int64_t y = 0; y < job->y; y++) {
        float *line = job->stage[0] + line_at(job, z, y);
        for (int64_t i = 0; i < job->x; i++) line[i] *= job->factor[0];
        onednn_put_slopes(job->call, row_at(job, z, y), job->x, line);
    }
}

dg_status onednn_loss_connectivity(const loss_call *call)
{
    const int64_t voxels = dg_tensor_voxels(&call->batch->y);
    window_job job = begin_job(call, call->term->kernel / 2);
    float **const floats[] = {&job.p, &job.t, &job.stage[0], &job.stage[1], &job.difference, &job.of_t, NULL};
    uint16_t **const halves[] = {&job.place, NULL};
    share_out(&job, floats, halves);
    for (int64_t n = 0; n < call->batch->y.n; n++) {
        double sum[2];
        job.first = n * voxels;
        on_planes(&job, connect_plane);
        on_planes(&job, differ_plane);
        add_planes(&job, 2, sum);
        call->value[n * call->stride] = sum[1] > 0 ? sum[0] / sum[1] : 0;
        job.factor[0] = sum[1] > 0 && call->dy != NULL ? (float)(2 * (double)*call->weight / sum[1]) : 0.0f;
        if (call->dy != NULL) on_planes(&job, connect_back);
    }
    return DG_OK;
}

/* ---- clDice: the skeletons --------------------------------------------------------------------------------------------- */

static void take_plane(void *context, int64_t z)
{
    const window_job *job = context;
    for (int64_t y = 0; y < job->y; y++) take_line(job, z, y, job->p, job->t);
}

/* Of x_k to x_{k+1}, and that widened along x and y. */
static void erode_plane(void *context, int64_t z)
{
    const window_job *job = context;
    const float *from = job->eroded[0];
    float *to = job->eroded[1];
    for (int64_t y = 0; y < job->y; y++) {
        const int64_t at = line_at(job, z, y);
        const float *const side[] = {z > 0 ? from + line_at(job, z - 1, y) : job->infinite,
                                     z + 1 < job->z ? from + line_at(job, z + 1, y) : job->infinite,
                                     y > 0 ? from + line_at(job, z, y - 1) : job->infinite,
                                     y + 1 < job->y ? from + line_at(job, z, y + 1) : job->infinite};
        job->kernels->erode(from + at, side, job->x, to + at, job->routed ? job->routes[job->level] + at : NULL);
        fill_ends(job, to, at, INFINITY);
    }
    widen_plane(job, to, z, job->place, job->stage[1]);
}

static void open_plane(void *context, int64_t z)
{
    const window_job *job = context;
    const int k = job->level;
    for (int64_t y = 0; y < job->y; y++) {
        const int64_t at = line_at(job, z, y);
        widest(job, job->stage[1], z, y, AXIS_Z, job->place, job->stage[0]);
        job->kernels->skeleton(job->eroded[0] + at, job->stage[0] + at, k > 0 ? job->skeleton[k - 1] + at : NULL,
                               job->x, job->excess[k] + at, job->skeleton[k] + at);
    }
}

/* The skeleton of `from` in skeleton[levels - 1]. */
static void make_skeleton(window_job *job, const float *from, bool routed)
{
    job->routed = routed;
    memcpy(job->eroded[0], from, (size_t)job->size * sizeof *from);
    for (job->level = 0; job->level < job->levels; job->level++) {
        job->place = routed ? job->peak[job->level] : NULL;
        on_planes(job, erode_plane);
        on_planes(job, open_plane);
        float *const spare = job->eroded[0];
        job->eroded[0] = job->eroded[1];
        job->eroded[1] = spare;
    }
}

/* ---- clDice: the way back ---------------------------------------------------------------------------------------------- */

static void split_plane(void *context, int64_t z)
{
    const window_job *job = context;
    const int k = job->level;
    for (int64_t y = 0; y < job->y; y++) {
        const int64_t at = line_at(job, z, y);
        job->kernels->skeleton_back(job->excess[k] + at, k > 0 ? job->skeleton[k - 1] + at : NULL, job->x, job->ds + at,
                                    job->de + at);
    }
}

static void dilate_back_plane(void *context, int64_t z)
{
    const window_job *job = context;
    narrow_plane(job, job->de, z);
    for (int64_t y = 0; y < job->y; y++) {
        const int64_t at = line_at(job, z, y);
        for (int64_t i = at; i < at + job->x; i++) job->dx[0][i] -= job->stage[0][i];
    }
}

static void erode_back_plane(void *context, int64_t z)
{
    const window_job *job = context;
    const float *d = job->dx[0];
    const uint16_t *route = job->routes[job->level];
    for (int64_t y = 0; y < job->y; y++) {
        const int64_t at = line_at(job, z, y), up = z > 0 ? line_at(job, z - 1, y) : -1,
                      down = z + 1 < job->z ? line_at(job, z + 1, y) : -1, left = y > 0 ? line_at(job, z, y - 1) : -1,
                      right = y + 1 < job->y ? line_at(job, z, y + 1) : -1;
        const int64_t beside[] = {up, down, left, right};
        const float *d_side[4];
        const uint16_t *route_side[4];
        for (int k = 0; k < 4; k++) {
            d_side[k] = beside[k] < 0 ? job->zero : d + beside[k];
            route_side[k] = route + (beside[k] < 0 ? at : beside[k]);
        }
        job->kernels->erode_back(job->de + at, d + at, d_side, route + at, route_side, job->x, job->dx[1] + at);
    }
}

static void seed_plane(void *context, int64_t z)
{
    const window_job *job = context;
    for (int64_t y = 0; y < job->y; y++) {
        const int64_t at = line_at(job, z, y);
        for (int64_t i = at; i < at + job->x; i++)
            job->ds[i] = job->t[i] < INFINITY ? job->factor[0] * job->t[i] + job->factor[1] : 0.0f;
        for (int k = 0; k < 2; k++) {
            fill(job->dx[k] + at, job->x, 0.0f);
            fill_ends(job, job->dx[k], at, 0.0f);
        }
    }
}

static void put_plane(void *context, int64_t z)
{
    const window_job *job = context;
    for (int64_t y = 0; y < job->y; y++) {
        const int64_t at = line_at(job, z, y);
        float *line = job->dx[0] + at;
        const float *thin = job->thin + at;
        for (int64_t i = 0; i < job->x; i++) line[i] = *job->call->weight * (line[i] + job->factor[2] * thin[i]);
        onednn_put_slopes(job->call, row_at(job, z, y), job->x, line);
    }
}

static void skeleton_back(window_job *job)
{
    on_planes(job, seed_plane);
    for (job->level = job->levels - 1; job->level >= 0; job->level--) {
        job->place = job->peak[job->level];
        on_planes(job, split_plane);
        on_planes(job, dilate_back_plane);
        on_planes(job, erode_back_plane);
        float *const spare = job->dx[0];
        job->dx[0] = job->dx[1];
        job->dx[1] = spare;
    }
    on_planes(job, put_plane);
}

/* ---- clDice ------------------------------------------------------------------------------------------------------------ */

static void compare_plane(void *context, int64_t z)
{
    const window_job *job = context;
    const float *skeleton = job->skeleton[job->levels - 1];
    double sum[DG_CLDICE_SUMS] = {0};
    for (int64_t y = 0; y < job->y; y++) {
        const int64_t at = line_at(job, z, y);
        for (int64_t i = at; i < at + job->x; i++) {
            if (!(job->t[i] < INFINITY)) continue;
            sum[0] += (double)(skeleton[i] * job->t[i]);
            sum[1] += (double)skeleton[i];
            sum[2] += (double)(job->thin[i] * job->p[i]);
            sum[3] += (double)job->thin[i];
        }
    }
    memcpy(job->sum[z], sum, sizeof sum);
}

enum { CLDICE_FLOATS = 11 }; /* besides excess and skeleton of each level */

int64_t onednn_loss_cldice_workspace(const dg_loss_term *term, const dg_loss_batch *shape)
{
    const int64_t levels = term->iterations + 1;
    return workspace_of(shape, CLDICE_FLOATS + 2 * levels, 2 * levels);
}

static window_job begin_cldice(const loss_call *call)
{
    window_job job = begin_job(call, 1);
    job.levels = call->term->iterations + 1;
    float **floats[CLDICE_FLOATS + 2 * LEVELS_MAX + 1] = {&job.p,         &job.t,         &job.stage[0], &job.stage[1],
                                                          &job.eroded[0], &job.eroded[1], &job.thin,     &job.ds,
                                                          &job.de,        &job.dx[0],     &job.dx[1]};
    uint16_t **halves[2 * LEVELS_MAX + 1] = {NULL};
    for (int k = 0; k < job.levels; k++) {
        floats[CLDICE_FLOATS + 2 * k] = &job.excess[k];
        floats[CLDICE_FLOATS + 2 * k + 1] = &job.skeleton[k];
        halves[2 * k] = &job.peak[k];
        halves[2 * k + 1] = &job.routes[k];
    }
    share_out(&job, floats, halves);
    return job;
}

dg_status onednn_loss_cldice(const loss_call *call)
{
    const int64_t voxels = dg_tensor_voxels(&call->batch->y);
    window_job job = begin_cldice(call);
    float **const last = &job.skeleton[job.levels - 1];
    for (int64_t n = 0; n < call->batch->y.n; n++) {
        double sum[DG_CLDICE_SUMS];
        job.first = n * voxels;
        on_planes(&job, take_plane);
        make_skeleton(&job, job.t, false);
        float *const spare = job.thin;
        job.thin = *last;
        *last = spare;
        make_skeleton(&job, job.p, call->dy != NULL);
        on_planes(&job, compare_plane);
        add_planes(&job, DG_CLDICE_SUMS, sum);
        call->value[n * call->stride] = dg_cldice_finish(call->term, sum, job.factor);
        if (call->dy != NULL) skeleton_back(&job);
    }
    return DG_OK;
}
