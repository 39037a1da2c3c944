/* window.cu - sliding windows: cut out of planes that stay on the device, blended there, divided, and looked through for
 * values that are no numbers. All are bound by memory, which neighbouring threads read along x. Windows are blended one
 * launch after the other, so that sums have one order.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cuda_kernels.h"

#include "cuda_device.h"

enum { WINDOW_THREADS = 256 };

__device__ static inline int64_t ring_at(const dg_ring &ring, int64_t c, int64_t z, int64_t y, int64_t x)
{
    return ((c * ring.height + z % ring.height) * ring.y + y) * ring.x + x;
}

/* A voxel a thread, a window a blockIdx.y. 42 registers, 62 % (256 threads); bf16: 6 bytes a channel and voxel. */
__global__ void gather(dg_ring volume, dg_window_channels channels, dg_windows windows, view x)
{
    const int64_t voxels = x.z * x.y * x.x, *start = windows.start[blockIdx.y];
    for (int64_t v = (int64_t)blockIdx.x * WINDOW_THREADS + threadIdx.x; v < voxels;
         v += (int64_t)gridDim.x * WINDOW_THREADS) {
        const int64_t column = v % x.x, vz = start[0] + v / (x.x * x.y), vy = start[1] + v / x.x % x.y;
        const int64_t vx = start[2] + (windows.mirrored ? x.x - 1 - column : column);
        const bool inside =
            vz >= 0 && vz < volume.z && vy >= 0 && vy < volume.y && vx >= 0 && vx < volume.x;
        for (int k = 0; k < x.c; k++) {
            const float value =
                inside ? volume.data[ring_at(volume, channels.from[k], vz, vy, vx)] : channels.outside[k];
            store<1>(x, blockIdx.y * voxels + v, k, &value);
        }
    }
}

struct blend_sub {
    int z, y, x;
};

/* A voxel of the sum a thread. 48 registers, 62 % (256 threads); 12 bytes a voxel. */
__global__ void blend(view y, blend_sub sub, dg_windows windows, int window, const float *wz, const float *wy,
                      const float *wx, float factor, dg_ring sum)
{
    const int64_t nz = y.z * sub.z, ny = y.y * sub.y, nx = y.x * sub.x, *start = windows.start[window];
    for (int64_t v = (int64_t)blockIdx.x * WINDOW_THREADS + threadIdx.x; v < nz * ny * nx;
         v += (int64_t)gridDim.x * WINDOW_THREADS) {
        const int64_t az = v / (ny * nx), ay = v / nx % ny, ax = v % nx, from = windows.mirrored ? nx - 1 - ax : ax;
        const int64_t vz = start[0] * sub.z + az, vy = start[1] * sub.y + ay, vx = start[2] * sub.x + ax;
        if (vz < 0 || vz >= sum.z || vy < 0 || vy >= sum.y || vx < 0 || vx >= sum.x) continue;
        float value;
        load<1>(y, ((window * y.z + az / sub.z) * y.y + ay / sub.y) * y.x + from / sub.x,
                (int)((az % sub.z * sub.y + ay % sub.y) * sub.x + from % sub.x), &value);
        const float g = wz == nullptr ? 1.0f : wz[az] * wy[ay] * wx[ax];
        sum.data[ring_at(sum, 0, vz, vy, vx)] += factor * g * value;
    }
}

/* 36 registers, 75 % (256 threads); 12 bytes a voxel. */
__global__ void finish(dg_ring sum, int64_t first, int64_t count, const float *wz, const float *wy, const float *wx,
                       float low, float high, float *out)
{
    const int64_t plane = sum.y * sum.x;
    for (int64_t v = (int64_t)blockIdx.x * WINDOW_THREADS + threadIdx.x; v < count * plane;
         v += (int64_t)gridDim.x * WINDOW_THREADS) {
        const int64_t z = first + v / plane, y = v % plane / sum.x, x = v % sum.x, at = ring_at(sum, 0, z, y, x);
        const float value = sum.data[at] / (wz[z] * wy[y] * wx[x]);
        out[v] = value < low ? low : value > high ? high : value;
        sum.data[at] = 0;
    }
}

/* A sample a blockIdx.y; whoever finds one writes the same. 40 registers, 75 % (256 threads); 2 or 4 bytes an element. */
template <int V> __global__ void find_nonfinite(view x, int64_t voxels, int32_t *found)
{
    const int c = channel_here(V);
    if (c >= x.c) return;
    bool bad = false;
    for (int64_t r = first_row(); r < voxels; r += row_step()) {
        float value[V];
        load<V>(x, blockIdx.y * voxels + r, c, value);
        for (int i = 0; i < V; i++) bad = bad || (__float_as_uint(value[i]) & 0x7f800000u) == 0x7f800000u;
    }
    if (bad) found[blockIdx.y] = 1;
}

static dim3 blocks_for(int64_t voxels, int64_t y)
{
    const int64_t blocks = (voxels + WINDOW_THREADS - 1) / WINDOW_THREADS;
    return dim3((unsigned)(blocks < STREAM_BLOCKS ? blocks : STREAM_BLOCKS), (unsigned)y);
}

cudaError_t dg_cuda_window_gather(cudaStream_t stream, const dg_ring *volume, const dg_window_channels *channels,
                                  const dg_windows *windows, const dg_tensor *x)
{
    return DG_LAUNCH(gather, blocks_for(dg_tensor_voxels(x), x->n), dim3(WINDOW_THREADS), 0, stream, *volume, *channels,
                     *windows, view_of(x));
}

cudaError_t dg_cuda_window_blend(cudaStream_t stream, const dg_tensor *y, const int64_t sub[3],
                                 const dg_windows *windows, const float *const weight[3], float factor,
                                 const dg_ring *sum)
{
    const blend_sub s = {(int)sub[0], (int)sub[1], (int)sub[2]};
    cudaError_t error = cudaSuccess;
    for (int w = 0; w < (int)y->n && error == cudaSuccess; w++)
        error = DG_LAUNCH(blend, blocks_for(dg_tensor_voxels(y) * y->c, 1), dim3(WINDOW_THREADS), 0, stream, view_of(y), s,
                          *windows, w, weight[0], weight[1], weight[2], factor, *sum);
    return error;
}

cudaError_t dg_cuda_window_finish(cudaStream_t stream, const dg_ring *sum, int64_t first, int64_t count,
                                  const float *const weight[3], float low, float high, float *out)
{
    if (count == 0) return cudaSuccess;
    return DG_LAUNCH(finish, blocks_for(count * sum->y * sum->x, 1), dim3(WINDOW_THREADS), 0, stream, *sum, first, count,
                     weight[0], weight[1], weight[2], low, high, out);
}

template <int V> static cudaError_t launch_find_nonfinite(cudaStream_t stream, const dg_tensor *x, int32_t *found)
{
    const rows_shape s = shape_rows(dg_tensor_voxels(x), (int)x->c, V, x->n, STREAM_BLOCKS);
    return DG_LAUNCH(find_nonfinite<V>, s.grid, s.block, 0, stream, view_of(x), dg_tensor_voxels(x), found);
}
cudaError_t dg_cuda_find_nonfinite(cudaStream_t stream, const dg_tensor *x, int32_t *found)
{
    return is_wide(x) ? launch_find_nonfinite<8>(stream, x, found) : launch_find_nonfinite<1>(stream, x, found);
}
