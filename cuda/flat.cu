/* flat.cu - f32 buffers in one pass each: fill, axpy, sum of squares, optimiser updates. Bound by memory: bytes per element
 * fill 4, axpy 12, sum 4, AdamW 28, SGD 20, EMA 12. SPDX-License-Identifier: Apache-2.0 */
#include "cuda_kernels.h"

#include "cuda_block_sum.h"

enum { THREADS = BLOCK_SUM_THREADS };

static dim3 blocks_for(int64_t count)
{
    const int64_t blocks = (count + 4 * THREADS - 1) / (4 * THREADS);
    return dim3((unsigned)(blocks < 1 ? 1 : blocks > 65535 ? 65535 : blocks));
}

/* Calls body(i) for the elements of this thread: neighbours in a warp touch neighbours in memory. */
template <class F> __device__ static inline void each(int64_t count, F body)
{
    const int64_t step = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) body(i);
}

/* 24 registers, 100 % (256 threads); 4 bytes an element. */
__global__ void fill(float *x, int64_t count, float value)
{
    each(count, [=](int64_t i) { x[i] = value; });
}
/* 32 registers, 100 % (256 threads); 12 bytes an element. */
__global__ void axpy(int64_t count, float a, const float *x, float *y)
{
    each(count, [=](int64_t i) { y[i] += a * x[i]; });
}
/* 40 registers, 75 % (256 threads); 28 bytes an element. */
__global__ void adamw(dg_adamw_constants k, int64_t count, float *p, const float *g, float *m, float *v)
{
    each(count, [=](int64_t i) { dg_adamw_update(&k, g[i], &p[i], &m[i], &v[i]); });
}
/* 32 registers, 100 % (256 threads); 20 bytes an element. */
__global__ void sgd(dg_sgd_constants k, int64_t count, float *p, const float *g, float *momentum)
{
    each(count, [=](int64_t i) { dg_sgd_update(&k, g[i], &p[i], &momentum[i]); });
}
/* 32 registers, 100 % (256 threads); 12 bytes an element. */
__global__ void ema(float one_minus_decay, int64_t count, const float *p, float *average)
{
    each(count, [=](int64_t i) { average[i] = dg_ema_update(one_minus_decay, p[i], average[i]); });
}

/* 32 registers, 100 % (256 threads); 4 bytes an element. */
__global__ void squares(int64_t count, const float *x, double *partial)
{
    double sum = 0;
    each(count, [&](int64_t i) { sum += (double)x[i] * x[i]; });
    sum = block_sum(sum);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}
/* 40 registers, 75 % (256 threads); one block over 8 bytes a partial sum. */
__global__ void fold(int count, const double *partial, double *out)
{
    double sum = 0;
    for (int i = (int)threadIdx.x; i < count; i += THREADS) sum += partial[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *out = sum;
}

cudaError_t dg_cuda_fill(cudaStream_t stream, float *x, int64_t count, float value)
{
    return DG_LAUNCH(fill, blocks_for(count), dim3(THREADS), 0, stream, x, count, value);
}
cudaError_t dg_cuda_axpy(cudaStream_t stream, int64_t count, float a, const float *x, float *y)
{
    return DG_LAUNCH(axpy, blocks_for(count), dim3(THREADS), 0, stream, count, a, x, y);
}
cudaError_t dg_cuda_sum_squares(cudaStream_t stream, int64_t count, const float *x, double *sum, double *scratch)
{
    dim3 grid = blocks_for(count);
    if (grid.x > DG_CUDA_SUM_SCRATCH) grid.x = DG_CUDA_SUM_SCRATCH;
    cudaError_t error = DG_LAUNCH_SYNC(squares, grid, dim3(THREADS), 0, stream, count, x, scratch);
    if (error != cudaSuccess) return error;
    return DG_LAUNCH_SYNC(fold, dim3(1), dim3(THREADS), 0, stream, (int)grid.x, scratch, sum);
}
cudaError_t dg_cuda_adamw(cudaStream_t stream, const dg_adamw_constants *k, int64_t count, float *p, const float *g,
                          float *m, float *v)
{
    return DG_LAUNCH(adamw, blocks_for(count), dim3(THREADS), 0, stream, *k, count, p, g, m, v);
}
cudaError_t dg_cuda_sgd(cudaStream_t stream, const dg_sgd_constants *k, int64_t count, float *p, const float *g,
                        float *momentum)
{
    return DG_LAUNCH(sgd, blocks_for(count), dim3(THREADS), 0, stream, *k, count, p, g, momentum);
}
cudaError_t dg_cuda_ema(cudaStream_t stream, float one_minus_decay, int64_t count, const float *p, float *average)
{
    return DG_LAUNCH(ema, blocks_for(count), dim3(THREADS), 0, stream, one_minus_decay, count, p, average);
}
