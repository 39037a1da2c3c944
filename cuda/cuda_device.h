/* cuda_device.h - views of tensors on the device: eight channels at a time where alignment allows, else one; bf16 or f32 is
 * looked up at run time (the branch is the same for every thread, and the kernels wait for memory, not for it).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CUDA_DEVICE_H
#define DG_CUDA_DEVICE_H

#include "dg_backend.h"
#include "dg_bf16.h"
#include "cuda_launch.h"

struct view {
    void *data;
    int64_t n, z, y, x, pitch; /* row r (voxel of sample r / voxels) starts at element r * pitch */
    int c;
    bool bf16;
};

static inline view view_of(const dg_tensor *t)
{
    return view{t->data, t->n, t->z, t->y, t->x, t->pitch, (int)t->c, t->dtype == DG_BF16};
}
static inline int64_t rows_of(const dg_tensor *t) { return t->n * t->z * t->y * t->x; }

/* 16-byte (bf16) or two times 16-byte (f32) accesses need both aligned. */
static inline bool is_wide(const dg_tensor *t)
{
    return t == nullptr || (t->c % 8 == 0 && t->pitch % 8 == 0 && (uintptr_t)t->data % 16 == 0);
}

/* V neighbouring elements as they lie in memory. */
template <int V> struct alignas(V * sizeof(dg_bf16)) packed_bf16 {
    dg_bf16 at[V];
};
/* The same of f32. */
template <int V> struct alignas(V == 1 ? 4 : 16) packed_f32 {
    float at[V];
};

template <int V> __device__ static inline void load(const view &t, int64_t row, int c, float *out)
{
    const int64_t at = row * t.pitch + c;
    if (t.bf16) {
        const packed_bf16<V> p = *(const packed_bf16<V> *)((const dg_bf16 *)t.data + at);
        for (int i = 0; i < V; i++) out[i] = dg_bf16_to_f32(p.at[i]);
    } else {
        const packed_f32<V> p = *(const packed_f32<V> *)((const float *)t.data + at);
        for (int i = 0; i < V; i++) out[i] = p.at[i];
    }
}

template <int V> __device__ static inline void store(const view &t, int64_t row, int c, const float *value)
{
    const int64_t at = row * t.pitch + c;
    if (t.bf16) {
        packed_bf16<V> p;
        for (int i = 0; i < V; i++) p.at[i] = dg_bf16_from_f32(value[i]);
        *(packed_bf16<V> *)((dg_bf16 *)t.data + at) = p;
    } else {
        packed_f32<V> p;
        for (int i = 0; i < V; i++) p.at[i] = value[i];
        *(packed_f32<V> *)((float *)t.data + at) = p;
    }
}

/* "=" or "+=" */
template <int V> __device__ static inline void put(const view &t, int64_t row, int c, float *value, bool accumulate)
{
    if (accumulate) {
        float before[V];
        load<V>(t, row, c, before);
        for (int i = 0; i < V; i++) value[i] += before[i];
    }
    store<V>(t, row, c, value);
}

/* Blocks of about 256 threads: x runs over the channels of a row (V each), y over rows; no division per element.
 * blockIdx.x strides over rows, blockIdx.y over what the kernel says, blockIdx.z over channels beyond one block. */
enum { ROWS_THREADS = 256, ROWS_X_MAX = 64 };
struct rows_shape {
    dim3 grid, block;
};
static inline rows_shape shape_rows(int64_t rows, int channels, int v, int64_t grid_y, int64_t blocks_max)
{
    const int vectors = (channels + v - 1) / v, x = vectors < ROWS_X_MAX ? vectors : ROWS_X_MAX, y = ROWS_THREADS / x;
    int64_t blocks = (rows + y - 1) / y;
    if (blocks > blocks_max) blocks = blocks_max;
    return rows_shape{dim3((unsigned)(blocks > 0 ? blocks : 1), (unsigned)grid_y, (unsigned)((vectors + x - 1) / x)),
                      dim3((unsigned)x, (unsigned)y)};
}
/* Enough blocks to fill any GPU with several waves, few enough that each amortises its start. */
static const int64_t STREAM_BLOCKS = 8192;

__device__ static inline int channel_here(int v) { return (int)((blockIdx.z * blockDim.x + threadIdx.x) * (unsigned)v); }
__device__ static inline int64_t first_row() { return (int64_t)blockIdx.x * blockDim.y + threadIdx.y; }
__device__ static inline int64_t row_step() { return (int64_t)gridDim.x * blockDim.y; }

#endif
