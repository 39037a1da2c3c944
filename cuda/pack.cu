/* pack.cu - convolution weights between the engine's layout and cuDNN's channels-last filters. Once a step over tens of
 * millions of weights: 6 to 8 bytes each. SPDX-License-Identifier: Apache-2.0 */
#include "cuda_kernels.h"

#include "cuda_device.h"

enum { THREADS = 256 };

/* Filter element (outer channel a, tap, inner channel b) is engine element tap * stride_tap + a * stride_a + b * stride_b. */
__device__ static inline int64_t step_here() { return (int64_t)gridDim.x * blockDim.x; }
__device__ static inline int64_t item_here() { return (int64_t)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ static inline int64_t engine_at(const dg_cuda_filter &f, int a, int tap, int b)
{
    return (int64_t)tap * f.outer_c * f.inner_c + (int64_t)a * f.stride_outer + (int64_t)b * f.stride_inner;
}

/* 40 registers, 75 % (256 threads); to bf16: 6 bytes a weight. */
__global__ void pack_weights(const float *w, dg_cuda_filter f, bool bf16, void *packed)
{
    const int64_t count = (int64_t)f.outer_padded * f.taps * f.inner_padded;
    for (int64_t at = item_here(); at < count; at += step_here()) {
        const int b = (int)(at % f.inner_padded), tap = (int)(at / f.inner_padded % f.taps);
        const int a = (int)(at / f.inner_padded / f.taps);
        const float value = a < f.outer_c && b < f.inner_c ? w[engine_at(f, a, tap, b)] : 0.0f;
        if (bf16)
            ((dg_bf16 *)packed)[at] = dg_bf16_from_f32(value);
        else
            ((float *)packed)[at] = value;
    }
}

/* 40 registers, 75 % (256 threads); 12 bytes a weight. */
__global__ void unpack_add_weights(const float *packed, dg_cuda_filter f, float *dw)
{
    const int64_t count = (int64_t)f.outer_c * f.taps * f.inner_c;
    for (int64_t at = item_here(); at < count; at += step_here()) {
        const int b = (int)(at % f.inner_c), tap = (int)(at / f.inner_c % f.taps), a = (int)(at / f.inner_c / f.taps);
        dw[engine_at(f, a, tap, b)] += packed[((int64_t)a * f.taps + tap) * f.inner_padded + b];
    }
}

static dim3 blocks_for(int64_t count)
{
    const int64_t blocks = (count + THREADS - 1) / THREADS;
    return dim3((unsigned)(blocks < STREAM_BLOCKS ? blocks : STREAM_BLOCKS));
}

cudaError_t dg_cuda_pack_weights(cudaStream_t stream, const float *w, const dg_cuda_filter *f, dg_dtype dtype,
                                 void *packed)
{
    return DG_LAUNCH(pack_weights, blocks_for((int64_t)f->taps * f->inner_padded * f->outer_padded), dim3(THREADS), 0,
                     stream, w, *f, dtype == DG_BF16, packed);
}

cudaError_t dg_cuda_unpack_add_weights(cudaStream_t stream, const float *packed, const dg_cuda_filter *f, float *dw)
{
    return DG_LAUNCH(unpack_add_weights, blocks_for((int64_t)f->taps * f->inner_c * f->outer_c), dim3(THREADS), 0,
                     stream, packed, *f, dw);
}
