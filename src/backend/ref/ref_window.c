/* ref_window.c - sliding windows, voxel by voxel. SPDX-License-Identifier: Apache-2.0 */
#include "ref.h"

#include <math.h>

static int64_t ring_at(const dg_ring *ring, int64_t c, int64_t z, int64_t y, int64_t x)
{
    return ((c * ring->height + z % ring->height) * ring->y + y) * ring->x + x;
}

static bool is_inside(const dg_ring *ring, int64_t z, int64_t y, int64_t x)
{
    return z >= 0 && z < ring->z && y >= 0 && y < ring->y && x >= 0 && x < ring->x;
}

dg_status ref_window_gather(dg_backend *backend, const dg_ring *volume, const dg_window_channels *channels,
                            const dg_windows *windows, dg_tensor *x)
{
    double *out;
    DG_TRY(dg_arguments_gather(volume, channels, x));
    DG_TRY(ref_zeros(x, &out));
    for (int64_t i = 0; i < ref_count(x); i++) {
        const int64_t k = i % x->c, voxel = i / x->c, *start = windows->start[voxel / dg_tensor_voxels(x)];
        const int64_t column = voxel % x->x;
        const int64_t vz = start[0] + voxel / (x->x * x->y) % x->z, vy = start[1] + voxel / x->x % x->y;
        const int64_t vx = start[2] + (windows->mirrored ? x->x - 1 - column : column);
        out[i] = is_inside(volume, vz, vy, vx) ? (double)volume->data[ring_at(volume, channels->from[k], vz, vy, vx)]
                                               : (double)channels->outside[k];
    }
    ref_store(out, x, false);
    dg_free(&out);
    return DG_OK;
}

dg_status ref_window_blend(dg_backend *backend, const dg_tensor *y, const int64_t sub[3], const dg_windows *windows,
                           const float *const weight[3], float factor, dg_ring *sum)
{
    const int64_t n[3] = {y->z * sub[0], y->y * sub[1], y->x * sub[2]};
    DG_TRY(dg_arguments_blend(y, sub, sum));
    for (int64_t w = 0; w < y->n; w++)
        for (int64_t i = 0; i < n[0] * n[1] * n[2]; i++) {
            const int64_t at[3] = {i / (n[1] * n[2]), i / n[2] % n[1], i % n[2]};
            const int64_t from = windows->mirrored ? n[2] - 1 - at[2] : at[2], *start = windows->start[w];
            const int64_t vz = start[0] * sub[0] + at[0], vy = start[1] * sub[1] + at[1],
                          vx = start[2] * sub[2] + at[2];
            if (!is_inside(sum, vz, vy, vx)) continue;
            const int64_t voxel = ((w * y->z + at[0] / sub[0]) * y->y + at[1] / sub[1]) * y->x + from / sub[2];
            const int64_t channel = ((at[0] % sub[0]) * sub[1] + at[1] % sub[1]) * sub[2] + from % sub[2];
            const float value = ((const float *)y->data)[voxel * y->pitch + channel];
            const float g = weight[0] == NULL ? 1.0f : weight[0][at[0]] * weight[1][at[1]] * weight[2][at[2]];
            sum->data[ring_at(sum, 0, vz, vy, vx)] += factor * g * value;
        }
    return DG_OK;
}

dg_status ref_window_finish(dg_backend *backend, dg_ring *sum, int64_t first, int64_t count,
                            const float *const weight[3], float low, float high, float *out)
{
    DG_TRY(dg_arguments_finish(sum, first, count, out));
    for (int64_t i = 0; i < count * sum->y * sum->x; i++) {
        const int64_t z = first + i / (sum->y * sum->x), y = i / sum->x % sum->y, x = i % sum->x;
        float *from = &sum->data[ring_at(sum, 0, z, y, x)];
        const float value = *from / (weight[0][z] * weight[1][y] * weight[2][x]);
        out[i] = value < low ? low : value > high ? high : value;
        *from = 0;
    }
    return DG_OK;
}

dg_status ref_find_nonfinite(dg_backend *backend, const dg_tensor *x, int32_t *found)
{
    double *in;
    DG_TRY(dg_arguments_find(x, found));
    DG_TRY(ref_load(x, &in));
    for (int64_t i = 0; i < ref_count(x); i++)
        if (!isfinite(in[i])) found[i / (dg_tensor_voxels(x) * x->c)] = 1;
    dg_free(&in);
    return DG_OK;
}
