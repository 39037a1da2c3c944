/* onednn_resample.c - pooling and trilinear resize, a line of the result at a time. SPDX-License-Identifier: Apache-2.0 */
#include "onednn_impl.h"

#include <string.h>

typedef struct pool_job {
    const dg_kernels *kernels;
    const dg_tensor *x, *dy;
    dg_tensor *y;
    bool accumulate;
} pool_job;

/* From a plane of a window to the next: an image (z of one) is both. */
static int64_t next_plane(const dg_tensor *x) { return x->z == 1 ? 0 : x->x * x->y; }

/* First voxel of the line pair under pooled line `item` of a tensor of x's shape. */
static int64_t pair_start(const dg_tensor *x, int64_t item)
{
    const int64_t lines = x->y / 2, planes = x->z == 1 ? 1 : x->z / 2;
    const int64_t line = item % lines, plane = item / lines % planes, sample = item / lines / planes;
    return ((sample * x->z + 2 * plane) * x->y + 2 * line) * x->x;
}

static void run_pool(void *context, int64_t item)
{
    const pool_job *job = context;
    const dg_tensor *x = job->x;
    job->kernels->pool(dg_rows_at(x, pair_start(x, item)), x->x, next_plane(x), dg_rows_at(job->y, item * job->y->x),
                       job->y->x, x->c);
}

dg_status onednn_pool_forward(dg_backend *backend, const dg_tensor *x, dg_tensor *y)
{
    DG_TRY(dg_arguments_pool(x, y));
    pool_job job = {.kernels = onednn_of(backend)->kernels, .x = x, .y = y};
    onednn_parallel(onednn_of(backend), y->n * y->z * y->y, run_pool, &job);
    return DG_OK;
}

static void run_pool_back(void *context, int64_t item)
{
    const pool_job *job = context;
    const dg_tensor *x = job->x;
    const int64_t start = pair_start(x, item);
    job->kernels->pool_back(dg_rows_at(x, start), x->x, next_plane(x), dg_rows_at(job->dy, item * job->dy->x),
                            dg_rows_at(job->y, start), job->accumulate, job->dy->x, x->c);
}

static void clear_line(dg_tensor *t, int64_t voxel, int64_t count)
{
    const size_t size = dg_dtype_size(t->dtype);
    for (int64_t v = voxel; v < voxel + count; v++)
        memset((char *)t->data + (size_t)(v * t->pitch) * size, 0, (size_t)t->c * size);
}

/* Voxels that no window covers (odd sizes) get no gradient. */
static void clear_rest(dg_tensor *dx)
{
    for (int64_t line = 0; line < dx->n * dx->z * dx->y; line++) {
        const int64_t y = line % dx->y, z = line / dx->y % dx->z, start = line * dx->x;
        if (y == dx->y / 2 * 2 || z == dx->z / 2 * 2)
            clear_line(dx, start, dx->x);
        else if (dx->x % 2 != 0)
            clear_line(dx, start + dx->x - 1, 1);
    }
}

dg_status onednn_pool_backward(dg_backend *backend, const dg_tensor *x, const dg_tensor *dy, dg_tensor *dx,
                               bool accumulate)
{
    DG_TRY(dg_arguments_pool(x, dy));
    DG_TRY(dg_arguments_same("pool backward", x, dx, NULL));
    pool_job job = {.kernels = onednn_of(backend)->kernels, .x = x, .dy = dy, .y = dx, .accumulate = accumulate};
    if (x->z == 1) { /* a plane that is met twice must be added to: the second time without a winner */
        if (!accumulate) clear_line(dx, 0, dx->n * dx->y * dx->x);
        accumulate = job.accumulate = true;
    }
    onednn_parallel(onednn_of(backend), dy->n * dy->z * dy->y, run_pool_back, &job);
    if (!accumulate && (x->z % 2 != 0 || x->y % 2 != 0 || x->x % 2 != 0)) clear_rest(dx);
    return DG_OK;
}

/* `small` is the side the interpolation reads (x forward, dx backward), `large` the side it makes. */
typedef struct resize_job {
    const dg_kernels *kernels;
    const dg_tensor *from;
    dg_tensor *to;
    dg_axis axis[3]; /* z, y, x */
    bool accumulate;
    int64_t reach;   /* most source lines of one result line */
    char *workspace; /* per item slot */
    int64_t slot_bytes;
    int64_t slots;
} resize_job;

static int64_t axis_bytes(int64_t in, int64_t out)
{
    return (2 * out + 2 * in) * (int64_t)sizeof(int64_t) + (out + 1) / 2 * 2 * (int64_t)sizeof(float);
}

/* PyTorch's half-pixel rule with align_corners=false: source = (o + 0.5) in/out - 0.5, not below 0. */
static char *fill_axis(int64_t in, int64_t out, char *memory, dg_axis *axis)
{
    int64_t *lo = (int64_t *)memory, *hi = lo + out, *first = hi + out, *last = first + in;
    float *weight = (float *)(last + in);
    const float scale = (float)in / (float)out;
    for (int64_t i = 0; i < in; i++) first[i] = last[i] = 0;
    for (int64_t o = 0; o < out; o++) {
        float source = scale * ((float)o + 0.5f) - 0.5f;
        if (source < 0.0f) source = 0.0f;
        lo[o] = (int64_t)source < in - 1 ? (int64_t)source : in - 1;
        hi[o] = lo[o] + 1 < in ? lo[o] + 1 : in - 1;
        weight[o] = source - (float)lo[o];
        if (weight[o] > 1.0f) weight[o] = 1.0f;
        if (last[lo[o]] == 0) first[lo[o]] = o;
        if (last[hi[o]] == 0) first[hi[o]] = o;
        last[lo[o]] = last[hi[o]] = o + 1;
    }
    *axis = (dg_axis){in, out, lo, hi, first, last, weight};
    return (char *)(weight + (out + 1) / 2 * 2);
}

static int64_t axis_reach(const dg_axis *axis)
{
    int64_t reach = 1;
    for (int64_t i = 0; i < axis->in; i++)
        if (axis->last[i] - axis->first[i] > reach) reach = axis->last[i] - axis->first[i];
    return reach;
}

/* Contribution of output o to input i along an axis. */
static float axis_part(const dg_axis *axis, int64_t i, int64_t o)
{
    return (axis->lo[o] == i ? 1.0f - axis->weight[o] : 0.0f) + (axis->hi[o] == i ? axis->weight[o] : 0.0f);
}

static int64_t line_start(const dg_tensor *t, int64_t sample, int64_t z, int64_t y)
{
    return ((sample * t->z + z) * t->y + y) * t->x;
}

/* A slot is a contiguous share of the lines, so that its buffer serves one thread at a time. */
static int64_t slot_first(const resize_job *job, int64_t lines, int64_t slot) { return lines * slot / job->slots; }

static void run_resize(void *context, int64_t slot)
{
    const resize_job *job = context;
    const int64_t lines = job->to->n * job->to->z * job->to->y;
    for (int64_t line = slot_first(job, lines, slot); line < slot_first(job, lines, slot + 1); line++) {
        const int64_t y = line % job->to->y, z = line / job->to->y % job->to->z, n = line / job->to->y / job->to->z;
        const dg_axis *az = &job->axis[0], *ay = &job->axis[1];
        const int64_t zs[2] = {az->lo[z], az->hi[z]}, ys[2] = {ay->lo[y], ay->hi[y]};
        const float wz[2] = {1.0f - az->weight[z], az->weight[z]}, wy[2] = {1.0f - ay->weight[y], ay->weight[y]};
        dg_rows source[4];
        float weight[4];
        int sources = 0;
        for (int j = 0; j < 4; j++) {
            const float w = wz[j >> 1] * wy[j & 1];
            if (w == 0.0f && sources > 0) continue;
            source[sources] = dg_rows_at(job->from, line_start(job->from, n, zs[j >> 1], ys[j & 1]));
            weight[sources++] = w;
        }
        job->kernels->resize(source, weight, sources, &job->axis[2], dg_rows_at(job->to, line * job->to->x),
                             job->to->c);
    }
}

static void run_resize_back(void *context, int64_t slot)
{
    const resize_job *job = context;
    dg_rows *source = (dg_rows *)(job->workspace + slot * job->slot_bytes);
    float *weight = (float *)(source + job->reach), *buffer = weight + (job->reach + 15) / 16 * 16;
    const int64_t lines = job->to->n * job->to->z * job->to->y;
    for (int64_t line = slot_first(job, lines, slot); line < slot_first(job, lines, slot + 1); line++) {
        const int64_t y = line % job->to->y, z = line / job->to->y % job->to->z, n = line / job->to->y / job->to->z;
        const dg_axis *az = &job->axis[0], *ay = &job->axis[1];
        int sources = 0;
        for (int64_t oz = az->first[z]; oz < az->last[z]; oz++)
            for (int64_t oy = ay->first[y]; oy < ay->last[y]; oy++) {
                const float w = axis_part(az, z, oz) * axis_part(ay, y, oy);
                if (w == 0.0f) continue;
                source[sources] = dg_rows_at(job->from, line_start(job->from, n, oz, oy));
                weight[sources++] = w;
            }
        job->kernels->resize_back(source, weight, sources, &job->axis[2], buffer,
                                  dg_rows_at(job->to, line * job->to->x), job->accumulate, job->to->c);
    }
}

/* Interpolation tables in -> out for all axes, and a work slot per thread holding `width` values and the lines. */
static dg_status resize_prepare(onednn_backend *backend, resize_job *job, const dg_tensor *in, const dg_tensor *out,
                                int64_t width)
{
    const int64_t sizes[3][2] = {{in->z, out->z}, {in->y, out->y}, {in->x, out->x}};
    int64_t tables = 0;
    for (int i = 0; i < 3; i++) tables += axis_bytes(sizes[i][0], sizes[i][1]);
    tables = (tables + 63) / 64 * 64;
    /* A line can be reached by no more outputs than there are: 2 ceil(out/in) + 1 along an axis. */
    const int64_t bound_z = 2 * (out->z / in->z + 1) + 1, bound_y = 2 * (out->y / in->y + 1) + 1;
    job->kernels = backend->kernels;
    job->slots = backend->head.options.threads;
    job->reach = bound_z * bound_y;
    job->slot_bytes = job->reach * (int64_t)sizeof(dg_rows) + (job->reach + 16 + width) * (int64_t)sizeof(float);
    job->slot_bytes = (job->slot_bytes + 127) / 64 * 64;
    char *memory;
    DG_TRY(onednn_scratch(backend, tables + job->slots * job->slot_bytes, &memory));
    job->workspace = memory + tables;
    for (int i = 0; i < 3; i++) memory = fill_axis(sizes[i][0], sizes[i][1], memory, &job->axis[i]);
    const int64_t reach = axis_reach(&job->axis[0]) * axis_reach(&job->axis[1]);
    if (reach > job->reach)
        return DG_FAIL(DG_ERR_INTERNAL, "resize: a line is reached by %lld others, expected at most %lld",
                       (long long)reach, (long long)job->reach);
    return DG_OK;
}

dg_status onednn_resize_forward(dg_backend *backend, const dg_tensor *x, dg_tensor *y)
{
    DG_TRY(dg_arguments_resize(x, y));
    resize_job job = {.from = x, .to = y};
    DG_TRY(resize_prepare(onednn_of(backend), &job, x, y, 0));
    onednn_parallel(onednn_of(backend), job.slots, run_resize, &job);
    return DG_OK;
}

dg_status onednn_resize_backward(dg_backend *backend, const dg_tensor *dy, dg_tensor *dx, bool accumulate)
{
    DG_TRY(dg_arguments_resize(dx, dy));
    resize_job job = {.from = dy, .to = dx, .accumulate = accumulate};
    DG_TRY(resize_prepare(onednn_of(backend), &job, dx, dy, dy->x * dx->c));
    onednn_parallel(onednn_of(backend), job.slots, run_resize_back, &job);
    return DG_OK;
}
