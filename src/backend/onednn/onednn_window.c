/* onednn_window.c - sliding windows over the threads, row by row; memory is read and written once.
 * SPDX-License-Identifier: Apache-2.0 */
#include "onednn_impl.h"

#include "dg_bf16.h"

typedef struct window_job {
    const dg_ring *ring;
    const dg_window_channels *channels;
    const dg_windows *windows;
    const dg_tensor *t;
    const int64_t *sub;
    const float *const *weight;
    float factor, low, high, *out;
    int64_t first, window;
    int32_t *found;
} window_job;

static float *row_of(const dg_ring *ring, int64_t c, int64_t z, int64_t y)
{
    return ring->data + ((c * ring->height + z % ring->height) * ring->y + y) * ring->x;
}

/* The part of [0, n) that lies inside [0, length) when moved by `start`. */
static void inside_part(int64_t n, int64_t length, int64_t start, int64_t *low, int64_t *high)
{
    *low = start < 0 ? -start : 0;
    *high = length - start < n ? length - start : n;
    if (*low > n) *low = n;
    if (*high < *low) *high = *low;
}

static void put_value(const dg_tensor *x, int64_t at, float value)
{
    if (x->dtype == DG_BF16)
        ((dg_bf16 *)x->data)[at] = dg_bf16_from_f32(value);
    else
        ((float *)x->data)[at] = value;
}

/* One channel of a row of a window: columns [low, high) come from `from`, the others are outside. */
static void gather_row(const dg_tensor *x, int64_t at, bool mirrored, const float *from, int64_t low, int64_t high,
                       float outside)
{
    const int64_t step = mirrored ? -x->pitch : x->pitch;
    if (mirrored) at += (x->x - 1) * x->pitch;
    for (int64_t i = 0; i < low; i++) put_value(x, at + i * step, outside);
    for (int64_t i = high; i < x->x; i++) put_value(x, at + i * step, outside);
    if (x->dtype == DG_BF16) {
        dg_bf16 *to = (dg_bf16 *)x->data + at;
        for (int64_t i = low; i < high; i++) to[i * step] = dg_bf16_from_f32(from[i]);
    } else {
        float *to = (float *)x->data + at;
        for (int64_t i = low; i < high; i++) to[i * step] = from[i];
    }
}

static void run_gather(void *context, int64_t item)
{
    const window_job *job = context;
    const dg_tensor *x = job->t;
    const int64_t *start = job->windows->start[item / (x->z * x->y)];
    const int64_t vz = start[0] + item / x->y % x->z, vy = start[1] + item % x->y;
    const bool inside = vz >= 0 && vz < job->ring->z && vy >= 0 && vy < job->ring->y;
    int64_t low = 0, high = 0;
    if (inside) inside_part(x->x, job->ring->x, start[2], &low, &high);
    for (int64_t k = 0; k < x->c; k++) {
        const float *from = high > low ? row_of(job->ring, job->channels->from[k], vz, vy) + start[2] : NULL;
        gather_row(x, item * x->x * x->pitch + k, job->windows->mirrored, from, low, high, job->channels->outside[k]);
    }
}

dg_status onednn_window_gather(dg_backend *backend, const dg_ring *volume, const dg_window_channels *channels,
                               const dg_windows *windows, dg_tensor *x)
{
    DG_TRY(dg_arguments_gather(volume, channels, x));
    window_job job = {.ring = volume, .channels = channels, .windows = windows, .t = x};
    onednn_parallel(onednn_of(backend), x->n * x->z * x->y, run_gather, &job);
    return DG_OK;
}

/* One fine row of a window. */
static void run_blend(void *context, int64_t item)
{
    const window_job *job = context;
    const dg_tensor *y = job->t;
    const int64_t *sub = job->sub, *start = job->windows->start[job->window], rows = y->y * sub[1], n = y->x * sub[2];
    const int64_t z = item / rows, row = item % rows, vz = start[0] * sub[0] + z, vy = start[1] * sub[1] + row;
    int64_t low, high;
    if (vz < 0 || vz >= job->ring->z || vy < 0 || vy >= job->ring->y) return;
    inside_part(n, job->ring->x, start[2] * sub[2], &low, &high);
    if (low == high) return;
    const float *from = (const float *)y->data +
                        ((job->window * y->z + z / sub[0]) * y->y + row / sub[1]) * y->x * y->pitch +
                        (z % sub[0] * sub[1] + row % sub[1]) * sub[2];
    const float plane = job->weight[0] == NULL ? 1.0f : job->weight[0][z] * job->weight[1][row];
    const float *column = job->weight[0] == NULL ? NULL : job->weight[2];
    float *sum = row_of(job->ring, 0, vz, vy) + start[2] * sub[2];
    if (sub[2] == 1 && !job->windows->mirrored && column != NULL && y->pitch == 1) {
        for (int64_t i = low; i < high; i++) sum[i] += job->factor * (plane * column[i]) * from[i];
        return;
    }
    for (int64_t i = low; i < high; i++) {
        const int64_t k = job->windows->mirrored ? n - 1 - i : i;
        const float value = from[k / sub[2] * y->pitch + k % sub[2]];
        sum[i] += job->factor * (column == NULL ? plane : plane * column[i]) * value;
    }
}

dg_status onednn_window_blend(dg_backend *backend, const dg_tensor *y, const int64_t sub[3], const dg_windows *windows,
                              const float *const weight[3], float factor, dg_ring *sum)
{
    DG_TRY(dg_arguments_blend(y, sub, sum));
    window_job job = {.ring = sum, .windows = windows, .t = y, .sub = sub, .weight = weight, .factor = factor};
    for (job.window = 0; job.window < y->n; job.window++) /* they may overlap: one after the other */
        onednn_parallel(onednn_of(backend), y->z * sub[0] * y->y * sub[1], run_blend, &job);
    return DG_OK;
}

static void run_finish(void *context, int64_t item)
{
    const window_job *job = context;
    const int64_t z = job->first + item / job->ring->y, y = item % job->ring->y, n = job->ring->x;
    const float plane = job->weight[0][z] * job->weight[1][y], *column = job->weight[2];
    float *sum = row_of(job->ring, 0, z, y), *out = job->out + item * n;
    for (int64_t x = 0; x < n; x++) {
        const float value = sum[x] / (plane * column[x]);
        out[x] = value < job->low ? job->low : value > job->high ? job->high : value;
        sum[x] = 0;
    }
}

dg_status onednn_window_finish(dg_backend *backend, dg_ring *sum, int64_t first, int64_t count,
                               const float *const weight[3], float low, float high, float *out)
{
    DG_TRY(dg_arguments_finish(sum, first, count, out));
    window_job job = {.ring = sum, .weight = weight, .low = low, .high = high, .out = out, .first = first};
    onednn_parallel(onednn_of(backend), count * sum->y, run_finish, &job);
    return DG_OK;
}

/* All bits of the exponent are set in what is not finite. A row of a window: one writes what several may find. */
static bool has_nonfinite(const dg_tensor *x, int64_t first, int64_t rows)
{
    uint32_t most = 0;
    for (int64_t r = first; r < first + rows; r++) {
        if (x->dtype == DG_BF16) {
            const uint16_t *v = (const uint16_t *)x->data + r * x->pitch;
            uint16_t here = 0;
            for (int64_t k = 0; k < x->c; k++) here = (v[k] & 0x7f80u) > here ? v[k] & 0x7f80u : here;
            most = (uint32_t)here << 16 > most ? (uint32_t)here << 16 : most;
        } else {
            const uint32_t *v = (const uint32_t *)x->data + r * x->pitch;
            for (int64_t k = 0; k < x->c; k++) most = (v[k] & 0x7f800000u) > most ? v[k] & 0x7f800000u : most;
        }
    }
    return most == 0x7f800000u;
}

static void run_find(void *context, int64_t item)
{
    const window_job *job = context;
    const int64_t rows = dg_tensor_voxels(job->t);
    for (int64_t first = 0; first < rows; first += job->t->x)
        if (has_nonfinite(job->t, item * rows + first, job->t->x)) job->found[item] = 1;
}

dg_status onednn_find_nonfinite(dg_backend *backend, const dg_tensor *x, int32_t *found)
{
    DG_TRY(dg_arguments_find(x, found));
    dg_tensor flat = *x;
    if (x->pitch == x->c) { /* long rows fill the vectors */
        flat.x = flat.z = 1;
        flat.y = x->z * x->y;
        flat.c = flat.pitch = x->x * x->c;
    }
    window_job job = {.t = &flat, .found = found};
    onednn_parallel(onednn_of(backend), x->n, run_find, &job);
    return DG_OK;
}
