/* loss.cu - masked means of per-voxel losses and their gradient. One channel: 4 to 9 bytes a voxel read twice, a small
 * part of a step. Sums in double, in a fixed order. SPDX-License-Identifier: Apache-2.0 */
#include "cuda_kernels.h"

#include "cuda_block_sum.h"
#include "cuda_device.h"
#include "dg_voxel.h"

enum { THREADS = BLOCK_SUM_THREADS, CHUNKS = 128 };

int64_t dg_cuda_loss_scratch(int64_t n) { return n * CHUNKS * DG_CUDA_LOSS_SUMS; }

/* Chunk blockIdx.x of sample blockIdx.y. */
__global__ void loss_sums(view y, view target, const uint8_t *mask, int64_t voxels, double *chunks)
{
    const int64_t first = (int64_t)blockIdx.y * voxels, end = voxels * (blockIdx.x + 1) / gridDim.x;
    double sum[DG_CUDA_LOSS_SUMS] = {0};
    for (int64_t v = voxels * blockIdx.x / gridDim.x + threadIdx.x; v < end; v += THREADS) {
        float p, t;
        if (mask != nullptr && mask[first + v] == 0) continue;
        load<1>(y, first + v, 0, &p);
        load<1>(target, first + v, 0, &t);
        sum[0] += 1;
        sum[1] += dg_squared_error(p, t);
        sum[2] += dg_absolute_error(p, t);
        sum[3] += dg_negative_part(p);
    }
    for (int k = 0; k < DG_CUDA_LOSS_SUMS; k++) {
        const double whole = block_sum(sum[k]);
        if (threadIdx.x == 0) chunks[((int64_t)blockIdx.y * gridDim.x + blockIdx.x) * DG_CUDA_LOSS_SUMS + k] = whole;
    }
}

__global__ void loss_totals(const double *chunks, int count, double *totals)
{
    const int k = (int)threadIdx.x, n = (int)blockIdx.x;
    double sum = 0;
    if (k >= DG_CUDA_LOSS_SUMS) return;
    for (int i = 0; i < count; i++) sum += chunks[((int64_t)n * count + i) * DG_CUDA_LOSS_SUMS + k];
    totals[(int64_t)n * DG_CUDA_LOSS_SUMS + k] = sum;
}

__global__ void loss_gradient(dg_loss_desc desc, view y, view target, const uint8_t *mask, int64_t voxels,
                              double grad_scale, view dy, const double *totals)
{
    const int64_t first = (int64_t)blockIdx.y * voxels;
    const double counted = totals[(int64_t)blockIdx.y * DG_CUDA_LOSS_SUMS];
    const float scale = counted > 0 ? (float)(grad_scale / counted) : 0.0f;
    for (int64_t v = (int64_t)blockIdx.x * THREADS + threadIdx.x; v < voxels; v += (int64_t)gridDim.x * THREADS) {
        float p, t, d = 0;
        if (mask == nullptr || mask[first + v] != 0) {
            load<1>(y, first + v, 0, &p);
            load<1>(target, first + v, 0, &t);
            d = (float)desc.mse * dg_squared_error_derivative(p, t) + (float)desc.mae * dg_absolute_error_derivative(p, t) +
                (float)desc.negative * dg_negative_part_derivative(p);
        }
        d *= scale;
        store<1>(dy, first + v, 0, &d);
    }
}

cudaError_t dg_cuda_loss(cudaStream_t stream, const dg_loss_desc *desc, const dg_tensor *y, const dg_tensor *target,
                         const uint8_t *mask, double grad_scale, const dg_tensor *dy, double *totals, double *scratch)
{
    const int64_t voxels = dg_tensor_voxels(y), blocks = (voxels + THREADS - 1) / THREADS;
    const dim3 chunks((unsigned)(blocks < CHUNKS ? blocks : (int64_t)CHUNKS), (unsigned)y->n);
    const dim3 grid((unsigned)(blocks < STREAM_BLOCKS ? blocks : STREAM_BLOCKS), (unsigned)y->n);
    cudaError_t error = DG_LAUNCH_SYNC(loss_sums, chunks, dim3(THREADS), 0, stream, view_of(y), view_of(target), mask,
                                       voxels, scratch);
    if (error == cudaSuccess)
        error = DG_LAUNCH(loss_totals, dim3((unsigned)y->n), dim3(32), 0, stream, scratch, (int)chunks.x, totals);
    if (error != cudaSuccess || dy == nullptr) return error;
    return DG_LAUNCH(loss_gradient, grid, dim3(THREADS), 0, stream, *desc, view_of(y), view_of(target), mask, voxels,
                     grad_scale, view_of(dy), totals);
}
