/* layer_norm.cu - normalisation over the channels of each voxel: one warp for each row. Tokens of a bottleneck are few, so
 * these kernels are bound by their start, not by memory. SPDX-License-Identifier: Apache-2.0 */
#include "cuda_kernels.h"

#include "cuda_device.h"

enum { THREADS = 256, WARPS = THREADS / 32, CHUNKS = 64 };

__device__ static inline float warp_sum(float value)
{
    for (int m = 16; m > 0; m /= 2) value += __shfl_xor_sync(0xffffffffu, value, m);
    return value;
}

/* 56 registers, 50 % (256 threads); bf16: 4 bytes an element, the second and third look at a row from the L1 cache. */
__global__ void layer_norm(float eps, view x, const float *gamma, const float *beta, float *stats, view y,
                           int64_t rows)
{
    const int lane = (int)threadIdx.x % 32;
    for (int64_t r = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32; r < rows; r += (int64_t)gridDim.x * WARPS) {
        float value, sum = 0, squares = 0;
        for (int c = lane; c < x.c; c += 32) {
            load<1>(x, r, c, &value);
            sum += value;
        }
        const float mean = warp_sum(sum) / (float)x.c;
        for (int c = lane; c < x.c; c += 32) {
            load<1>(x, r, c, &value);
            squares += (value - mean) * (value - mean);
        }
        const float rstd = 1.0f / sqrtf(warp_sum(squares) / (float)x.c + eps);
        for (int c = lane; c < x.c; c += 32) {
            load<1>(x, r, c, &value);
            value = (value - mean) * rstd * gamma[c] + beta[c];
            store<1>(y, r, c, &value);
        }
        if (lane == 0) {
            stats[2 * r] = mean;
            stats[2 * r + 1] = rstd;
        }
    }
}

/* 64 registers, 50 % (256 threads); bf16: 6 bytes an element, the second look from the L1 cache. */
__global__ void layer_norm_backward(view x, const float *gamma, const float *stats, view dy, view dx, bool accumulate,
                                    int64_t rows)
{
    const int lane = (int)threadIdx.x % 32;
    for (int64_t r = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32; r < rows; r += (int64_t)gridDim.x * WARPS) {
        const float mean = stats[2 * r], rstd = stats[2 * r + 1];
        float value, d, sum = 0, sum_hat = 0;
        for (int c = lane; c < x.c; c += 32) {
            load<1>(x, r, c, &value);
            load<1>(dy, r, c, &d);
            sum += gamma[c] * d;
            sum_hat += gamma[c] * d * (value - mean) * rstd;
        }
        const float mean_d = warp_sum(sum) / (float)x.c, mean_dhat = warp_sum(sum_hat) / (float)x.c;
        for (int c = lane; c < x.c; c += 32) {
            load<1>(x, r, c, &value);
            load<1>(dy, r, c, &d);
            d = rstd * (gamma[c] * d - mean_d - (value - mean) * rstd * mean_dhat);
            put<1>(dx, r, c, &d, accumulate);
        }
    }
}

/* Thread c of chunk blockIdx.y sums its channel over the chunk's rows: neighbours read neighbours. 40 registers, 75 %
 * (256 threads); bf16: 4 bytes an element. */
__global__ void chunk_sums(view x, const float *stats, view dy, int64_t rows, float *chunks)
{
    const int c = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (c >= x.c) return;
    float gamma = 0, beta = 0;
    for (int64_t r = rows * blockIdx.y / gridDim.y; r < rows * (blockIdx.y + 1) / gridDim.y; r++) {
        float value, d;
        load<1>(x, r, c, &value);
        load<1>(dy, r, c, &d);
        gamma += d * (value - stats[2 * r]) * stats[2 * r + 1];
        beta += d;
    }
    chunks[(2 * (int64_t)blockIdx.y) * x.c + c] = gamma;
    chunks[(2 * (int64_t)blockIdx.y + 1) * x.c + c] = beta;
}

/* 48 registers, 62 % (256 threads); 8 bytes a channel of a chunk. */
__global__ void add_sums(const float *chunks, int count, int channels, float *dgamma, float *dbeta)
{
    const int c = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (c >= channels) return;
    double gamma = 0, beta = 0;
    for (int i = 0; i < count; i++) {
        gamma += chunks[2 * (int64_t)i * channels + c];
        beta += chunks[(2 * (int64_t)i + 1) * channels + c];
    }
    dgamma[c] = (float)(dgamma[c] + gamma);
    dbeta[c] = (float)(dbeta[c] + beta);
}

static dim3 blocks_for(int64_t rows)
{
    const int64_t blocks = (rows + WARPS - 1) / WARPS;
    return dim3((unsigned)(blocks < STREAM_BLOCKS ? blocks : STREAM_BLOCKS));
}

cudaError_t dg_cuda_layer_norm_forward(cudaStream_t stream, double eps, const dg_tensor *x, const float *gamma,
                                       const float *beta, float *stats, const dg_tensor *y)
{
    return DG_LAUNCH_SYNC(layer_norm, blocks_for(rows_of(x)), dim3(THREADS), 0, stream, (float)eps, view_of(x), gamma,
                          beta, stats, view_of(y), rows_of(x));
}

cudaError_t dg_cuda_layer_norm_backward(cudaStream_t stream, const dg_tensor *x, const float *gamma, const float *stats,
                                        const dg_tensor *dy, const dg_tensor *dx, bool accumulate, float *dgamma,
                                        float *dbeta, float *scratch)
{
    const int64_t rows = rows_of(x);
    const unsigned columns = (unsigned)((x->c + THREADS - 1) / THREADS), chunks = rows < CHUNKS ? (unsigned)rows : (unsigned)CHUNKS;
    cudaError_t error = DG_LAUNCH(chunk_sums, dim3(columns, chunks), dim3(THREADS), 0, stream, view_of(x), stats,
                                  view_of(dy), rows, scratch);
    if (error == cudaSuccess)
        error = DG_LAUNCH(add_sums, dim3(columns), dim3(THREADS), 0, stream, scratch, (int)chunks, (int)x->c, dgamma,
                          dbeta);
    if (error != cudaSuccess) return error;
    return DG_LAUNCH_SYNC(layer_norm_backward, blocks_for(rows), dim3(THREADS), 0, stream, view_of(x), gamma, stats,
                          view_of(dy), view_of(dx), accumulate, rows);
}
