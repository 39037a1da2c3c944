/* resample.cu - max pooling and trilinear resize over channels-last views. Both directions gather: every output element is
 * written by one thread, without atomics, so results do not vary. Bound by memory. SPDX-License-Identifier: Apache-2.0 */
#include "cuda_kernels.h"

#include "cuda_device.h"

struct voxel {
    int64_t n, z, y, x;
};
__device__ static inline voxel voxel_at(const view &t, int64_t row)
{
    voxel v;
    v.x = row % t.x;
    v.y = row / t.x % t.y;
    v.z = row / (t.x * t.y) % t.z;
    v.n = row / (t.x * t.y * t.z);
    return v;
}
__device__ static inline int64_t row_at(const view &t, int64_t n, int64_t z, int64_t y, int64_t x)
{
    return ((n * t.z + z) * t.y + y) * t.x + x;
}
__device__ static inline int64_t tap_row(const view &x, const voxel &o, int tap)
{
    return row_at(x, o.n, 2 * o.z + tap / 4, 2 * o.y + tap / 2 % 2, 2 * o.x + tap % 2);
}

/* ---- pooling -------------------------------------------------------------------------------------------------------- */

/* Of an image (z of one) the window is a square of 4 taps. */
enum { SQUARE = 4, CUBE = 8 };

/* Winners of the taps of V channels: the first maximum in z,y,x order, a NaN before all. */
template <int V, int TAPS> __device__ static inline void winners(const view &x, const voxel &o, int c, float *best, int *tap_of)
{
    for (int tap = 0; tap < TAPS; tap++) {
        float value[V];
        load<V>(x, tap_row(x, o, tap), c, value);
        for (int i = 0; i < V; i++) {
            const bool wins = tap == 0 || value[i] > best[i] || (value[i] != value[i] && best[i] == best[i]);
            best[i] = wins ? value[i] : best[i];
            tap_of[i] = wins ? tap : tap_of[i];
        }
    }
}

/* 56 registers, 50 % (256 threads); bf16: 2 bytes an input element, 2 an output element. */
template <int V, int TAPS> __global__ void pool_forward(view x, view y, int64_t rows)
{
    const int c = channel_here(V);
    if (c >= y.c) return;
    for (int64_t r = first_row(); r < rows; r += row_step()) {
        float best[V];
        int tap_of[V];
        winners<V, TAPS>(x, voxel_at(y, r), c, best, tap_of);
        store<V>(y, r, c, best);
    }
}

/* 64 registers, 50 % (256 threads); bf16: 4 bytes an input element (6 where it accumulates), 2 an output element. */
template <int V, int TAPS> __global__ void pool_backward(view x, view dy, view dx, bool accumulate, int64_t rows)
{
    const int c = channel_here(V);
    if (c >= x.c) return;
    for (int64_t r = first_row(); r < rows; r += row_step()) {
        const voxel o = voxel_at(dy, r);
        float best[V], d[V], out[V];
        int tap_of[V];
        winners<V, TAPS>(x, o, c, best, tap_of);
        load<V>(dy, r, c, d);
        for (int tap = 0; tap < TAPS; tap++) {
            for (int i = 0; i < V; i++) out[i] = tap_of[i] == tap ? d[i] : 0.0f;
            put<V>(dx, tap_row(dx, o, tap), c, out, accumulate);
        }
    }
}

/* The last plane of an odd axis has no window: its gradient is zero. 40 registers, 75 % (256 threads); bf16: 2 bytes
 * an element of the last planes of odd axes. */
template <int V> __global__ void zero_remainder(view dx, int64_t rows)
{
    const int c = channel_here(V);
    if (c >= dx.c) return;
    for (int64_t r = first_row(); r < rows; r += row_step()) {
        const voxel v = voxel_at(dx, r);
        float zero[V] = {0};
        if (v.z >= dx.z / 2 * 2 || v.y >= dx.y / 2 * 2 || v.x >= dx.x / 2 * 2) store<V>(dx, r, c, zero);
    }
}

/* ---- resize --------------------------------------------------------------------------------------------------------- */

/* Output index o of an axis of `out` is (1 - weight) input[low] + weight input[high]; the source position
 * (o + 1/2) in / out - 1/2 = ((2 o + 1) in - out) / (2 out) is worked out in integers, so that weights are exact. */
struct stencil {
    int low, high;
    float weight;
};
__device__ static inline stencil stencil_of(int64_t o, int64_t in, int64_t out)
{
    int64_t at = (2 * o + 1) * in - out;
    if (at < 0) at = 0;
    stencil s;
    s.low = (int)(at / (2 * out));
    s.weight = (float)(at - s.low * 2 * out) / (float)(2 * out);
    if (s.low > in - 1) s.low = (int)in - 1;
    s.high = s.low < in - 1 ? s.low + 1 : s.low;
    return s;
}

/* 56 registers, 50 % (256 threads); bf16: 2 bytes an output element, 2 an input element (its neighbours find it in
 * the cache). */
template <int V> __global__ void resize_forward(view x, view y, int64_t rows)
{
    const int c = channel_here(V);
    if (c >= y.c) return;
    for (int64_t r = first_row(); r < rows; r += row_step()) {
        const voxel o = voxel_at(y, r);
        const stencil sz = stencil_of(o.z, x.z, y.z), sy = stencil_of(o.y, x.y, y.y), sx = stencil_of(o.x, x.x, y.x);
        float sum[V] = {0}, value[V];
        for (int corner = 0; corner < 8; corner++) {
            const float wz = corner & 4 ? sz.weight : 1 - sz.weight, wy = corner & 2 ? sy.weight : 1 - sy.weight;
            const float w = wz * wy * (corner & 1 ? sx.weight : 1 - sx.weight);
            load<V>(x, row_at(x, o.n, corner & 4 ? sz.high : sz.low, corner & 2 ? sy.high : sy.low,
                              corner & 1 ? sx.high : sx.low), c, value);
            for (int i = 0; i < V; i++) sum[i] += w * value[i];
        }
        store<V>(y, r, c, sum);
    }
}

/* Outputs whose stencil may touch input i: those with a source position in (i - 1, i + 1), and at the ends all beyond. */
struct reach {
    int64_t first, end;
};
__device__ static inline reach reach_of(int64_t i, int64_t in, int64_t out)
{
    reach r;
    r.first = i == 0 ? 0 : ((2 * i - 1) * out / in - 1) / 2;
    r.end = i == in - 1 ? out : ((2 * i + 3) * out / in + 3) / 2;
    if (r.first < 0) r.first = 0;
    if (r.end > out) r.end = out;
    return r;
}
__device__ static inline float weight_of(int64_t o, int64_t i, int64_t in, int64_t out)
{
    const stencil s = stencil_of(o, in, out);
    return (s.low == i ? 1 - s.weight : 0.0f) + (s.high == i ? s.weight : 0.0f);
}

/* 72 registers, 37 % (256 threads); as resize_forward, the other way round. */
template <int V> __global__ void resize_backward(view dy, view dx, bool accumulate, int64_t rows)
{
    const int c = channel_here(V);
    if (c >= dx.c) return;
    for (int64_t r = first_row(); r < rows; r += row_step()) {
        const voxel v = voxel_at(dx, r);
        const reach rz = reach_of(v.z, dx.z, dy.z), ry = reach_of(v.y, dx.y, dy.y), rx = reach_of(v.x, dx.x, dy.x);
        float sum[V] = {0}, d[V];
        for (int64_t z = rz.first; z < rz.end; z++) {
            const float wz = weight_of(z, v.z, dx.z, dy.z);
            for (int64_t y = ry.first; y < ry.end && wz != 0; y++) {
                const float wzy = wz * weight_of(y, v.y, dx.y, dy.y);
                for (int64_t x = rx.first; x < rx.end && wzy != 0; x++) {
                    const float w = wzy * weight_of(x, v.x, dx.x, dy.x);
                    if (w == 0) continue;
                    load<V>(dy, row_at(dy, v.n, z, y, x), c, d);
                    for (int i = 0; i < V; i++) sum[i] += w * d[i];
                }
            }
        }
        put<V>(dx, r, c, sum, accumulate);
    }
}

/* ---- launches ------------------------------------------------------------------------------------------------------- */

template <int V, int TAPS>
static cudaError_t launch_pool_forward(cudaStream_t stream, const dg_tensor *x, const dg_tensor *y)
{
    const rows_shape s = shape_rows(rows_of(y), (int)y->c, V, 1, STREAM_BLOCKS);
    const auto kernel = pool_forward<V, TAPS>;
    return DG_LAUNCH(kernel, s.grid, s.block, 0, stream, view_of(x), view_of(y), rows_of(y));
}
cudaError_t dg_cuda_pool_forward(cudaStream_t stream, const dg_tensor *x, const dg_tensor *y)
{
    if (x->z == 1) return launch_pool_forward<1, SQUARE>(stream, x, y);
    return is_wide(x) && is_wide(y) ? launch_pool_forward<8, CUBE>(stream, x, y)
                                    : launch_pool_forward<1, CUBE>(stream, x, y);
}

template <int V, int TAPS>
static cudaError_t launch_pool_backward(cudaStream_t stream, const dg_tensor *x, const dg_tensor *dy,
                                        const dg_tensor *dx, bool accumulate)
{
    const bool odd = x->z % 2 + x->y % 2 + x->x % 2 > 0;
    rows_shape s = shape_rows(rows_of(dx), (int)dx->c, V, 1, STREAM_BLOCKS);
    if (odd && !accumulate) {
        cudaError_t error = DG_LAUNCH(zero_remainder<V>, s.grid, s.block, 0, stream, view_of(dx), rows_of(dx));
        if (error != cudaSuccess) return error;
    }
    s = shape_rows(rows_of(dy), (int)dy->c, V, 1, STREAM_BLOCKS);
    const auto kernel = pool_backward<V, TAPS>;
    return DG_LAUNCH(kernel, s.grid, s.block, 0, stream, view_of(x), view_of(dy), view_of(dx), accumulate, rows_of(dy));
}
cudaError_t dg_cuda_pool_backward(cudaStream_t stream, const dg_tensor *x, const dg_tensor *dy, const dg_tensor *dx,
                                  bool accumulate)
{
    if (x->z == 1) return launch_pool_backward<1, SQUARE>(stream, x, dy, dx, accumulate);
    return is_wide(x) && is_wide(dy) && is_wide(dx) ? launch_pool_backward<8, CUBE>(stream, x, dy, dx, accumulate)
                                                    : launch_pool_backward<1, CUBE>(stream, x, dy, dx, accumulate);
}

template <int V> static cudaError_t launch_resize_forward(cudaStream_t stream, const dg_tensor *x, const dg_tensor *y)
{
    const rows_shape s = shape_rows(rows_of(y), (int)y->c, V, 1, STREAM_BLOCKS);
    return DG_LAUNCH(resize_forward<V>, s.grid, s.block, 0, stream, view_of(x), view_of(y), rows_of(y));
}
cudaError_t dg_cuda_resize_forward(cudaStream_t stream, const dg_tensor *x, const dg_tensor *y)
{
    return is_wide(x) && is_wide(y) ? launch_resize_forward<8>(stream, x, y) : launch_resize_forward<1>(stream, x, y);
}

template <int V>
static cudaError_t launch_resize_backward(cudaStream_t stream, const dg_tensor *dy, const dg_tensor *dx,
                                          bool accumulate)
{
    const rows_shape s = shape_rows(rows_of(dx), (int)dx->c, V, 1, STREAM_BLOCKS);
    return DG_LAUNCH(resize_backward<V>, s.grid, s.block, 0, stream, view_of(dy), view_of(dx), accumulate, rows_of(dx));
}
cudaError_t dg_cuda_resize_backward(cudaStream_t stream, const dg_tensor *dy, const dg_tensor *dx, bool accumulate)
{
    return is_wide(dy) && is_wide(dx) ? launch_resize_backward<8>(stream, dy, dx, accumulate)
                                      : launch_resize_backward<1>(stream, dy, dx, accumulate);
}
