/* loss.cu - loss terms of single voxels and their gradient. One channel: 4 to 13 bytes a voxel read twice, a small part of
 * a step. Sums in double, in a fixed order. SPDX-License-Identifier: Apache-2.0 */
#include "cuda_kernels.h"

#include "cuda_block_sum.h"
#include "cuda_device.h"
#include "dg_loss_point.h"

enum { THREADS = BLOCK_SUM_THREADS, CHUNKS = 128, SUMS = 2 /* counted voxels, sum of the term */ };

/* Chunk blockIdx.x of sample blockIdx.y. 56 registers, 50 % (256 threads); f32: 8 bytes a voxel, 1 of the mask, 4 of the
 * regions. */
__global__ void point_sums(dg_loss_term term, view y, view target, const uint8_t *mask, const uint32_t *regions,
                           int64_t voxels, double *chunks)
{
    const int64_t first = (int64_t)blockIdx.y * voxels, end = voxels * (blockIdx.x + 1) / gridDim.x;
    double sum[SUMS] = {0};
    for (int64_t v = voxels * blockIdx.x / gridDim.x + threadIdx.x; v < end; v += THREADS) {
        float p, t;
        const uint32_t here = regions != nullptr ? regions[first + v] : 0;
        if ((mask != nullptr && mask[first + v] == 0) || !dg_point_counts(&term, here)) continue;
        load<1>(y, first + v, 0, &p);
        load<1>(target, first + v, 0, &t);
        sum[0] += 1;
        sum[1] += dg_point_value(&term, p, t, here);
    }
    for (int k = 0; k < SUMS; k++) {
        const double whole = block_sum(sum[k]);
        if (threadIdx.x == 0) chunks[((int64_t)blockIdx.y * gridDim.x + blockIdx.x) * SUMS + k] = whole;
    }
}

/* totals[sample][SUMS] and the sample's value. 40 registers, 50 % (1 threads); a few numbers. */
__global__ void point_totals(const double *chunks, int count, double *totals, double *value, int64_t stride)
{
    const int64_t n = blockIdx.x;
    double sum[SUMS] = {0};
    for (int i = 0; i < count; i++)
        for (int k = 0; k < SUMS; k++) sum[k] += chunks[(n * count + i) * SUMS + k];
    for (int k = 0; k < SUMS; k++) totals[n * SUMS + k] = sum[k];
    value[n * stride] = sum[0] > 0 ? sum[1] / sum[0] : 0;
}

/* 40 registers, 75 % (256 threads); f32: 12 bytes a voxel (16 where it accumulates), 1 of the mask, 4 of the regions. */
__global__ void point_slopes(dg_loss_term term, view y, view target, const uint8_t *mask, const uint32_t *regions,
                             int64_t voxels, const float *weight, view dy, bool accumulate, const double *totals)
{
    const int64_t first = (int64_t)blockIdx.y * voxels;
    const double counted = totals[(int64_t)blockIdx.y * SUMS];
    const float scale = counted > 0 ? (float)(*weight / counted) : 0.0f;
    for (int64_t v = (int64_t)blockIdx.x * THREADS + threadIdx.x; v < voxels; v += (int64_t)gridDim.x * THREADS) {
        float p, t, d = 0;
        const uint32_t here = regions != nullptr ? regions[first + v] : 0;
        if ((mask == nullptr || mask[first + v] != 0) && dg_point_counts(&term, here)) {
            load<1>(y, first + v, 0, &p);
            load<1>(target, first + v, 0, &t);
            d = scale * dg_point_slope(&term, p, t, here);
        }
        put<1>(dy, first + v, 0, &d, accumulate);
    }
}

int64_t dg_cuda_loss_workspace(const dg_loss_term *term, const dg_tensor *y)
{
    return y->n * (CHUNKS + 1) * SUMS * (int64_t)sizeof(double);
}

cudaError_t dg_cuda_loss(cudaStream_t stream, const dg_loss_term *term, const dg_loss_batch *batch, const float *weight,
                         void *workspace, double *value, int64_t stride, const dg_tensor *dy, bool accumulate)
{
    const dg_tensor *y = &batch->y;
    const int64_t voxels = dg_tensor_voxels(y), blocks = (voxels + THREADS - 1) / THREADS;
    const dim3 chunks((unsigned)(blocks < CHUNKS ? blocks : (int64_t)CHUNKS), (unsigned)y->n);
    const dim3 grid((unsigned)(blocks < STREAM_BLOCKS ? blocks : STREAM_BLOCKS), (unsigned)y->n);
    double *totals = (double *)workspace, *scratch = totals + y->n * SUMS;
    cudaError_t error = DG_LAUNCH_SYNC(point_sums, chunks, dim3(THREADS), 0, stream, *term, view_of(y),
                                       view_of(&batch->target), batch->mask, batch->regions, voxels, scratch);
    if (error == cudaSuccess)
        error = DG_LAUNCH(point_totals, dim3((unsigned)y->n), dim3(1), 0, stream, scratch, (int)chunks.x, totals, value,
                          stride);
    if (error != cudaSuccess || dy == nullptr) return error;
    return DG_LAUNCH(point_slopes, grid, dim3(THREADS), 0, stream, *term, view_of(y), view_of(&batch->target),
                     batch->mask, batch->regions, voxels, weight, view_of(dy), accumulate, totals);
}
