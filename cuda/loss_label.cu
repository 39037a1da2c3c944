/* loss_label.cu - loss terms of labels that sum over a sample: one pass over what a term reads (probability, label, mask, and of
 * the boundary term the distance: 9 or 13 bytes a voxel of f32) for its sums, and one for the slopes. Sums in double, in a
 * fixed order. SPDX-License-Identifier: Apache-2.0 */
#include "cuda_loss.h"

#include "dg_loss_label.h"

enum { THREADS = LOSS_THREADS, SUMS = DG_LABEL_SUMS };

__device__ static inline float distance_of(const float *distance, int64_t row)
{
    return distance != nullptr ? distance[row] : 0.0f;
}

/* Chunk blockIdx.x of sample blockIdx.y.
 * 56 registers, 50 % (256 threads); 8 bytes a voxel in (1 of the mask, 4 of the distance). */
__global__ void label_sums(const __grid_constant__ dg_loss_term term, loss_view b, const float *distance,
                           double *chunks)
{
    const int64_t first = (int64_t)blockIdx.y * b.voxels, end = b.voxels * (blockIdx.x + 1) / gridDim.x;
    double sum[SUMS] = {0};
    for (int64_t v = b.voxels * blockIdx.x / gridDim.x + threadIdx.x; v < end; v += THREADS)
        if (loss_counts(b, first + v))
            dg_label_add(&term, loss_dose(b.y, first + v), loss_dose(b.target, first + v),
                         distance_of(distance, first + v), sum);
    for (int k = 0; k < SUMS; k++) {
        const double whole = block_sum(sum[k]);
        if (threadIdx.x == 0) chunks[((int64_t)blockIdx.y * gridDim.x + blockIdx.x) * SUMS + k] = whole;
    }
}

/* Values and factors of all samples, which some terms join: one thread.
 * 48 registers, 50 % (1 threads); a few numbers. */
__global__ void label_totals(const __grid_constant__ dg_loss_term term, const double *chunks, int count,
                             int64_t samples, double *totals, double *value, int64_t stride, float *factors)
{
    for (int64_t n = 0; n < samples; n++)
        for (int k = 0; k < SUMS; k++) {
            double sum = 0;
            for (int i = 0; i < count; i++) sum += chunks[(n * count + i) * SUMS + k];
            totals[n * SUMS + k] = sum;
        }
    dg_label_finish(&term, samples, totals, value, stride, factors);
}

/* 40 registers, 75 % (256 threads); 12 bytes a voxel (16 where it accumulates), 1 of the mask, 4 of the distance. */
__global__ void label_slopes(const __grid_constant__ dg_loss_term term, loss_view b, const float *distance,
                             const float *weight, view dy, bool accumulate, const float *factors)
{
    const int64_t first = (int64_t)blockIdx.y * b.voxels;
    const float *factor = factors + (int64_t)blockIdx.y * DG_LABEL_FACTORS;
    for (int64_t v = (int64_t)blockIdx.x * THREADS + threadIdx.x; v < b.voxels; v += (int64_t)gridDim.x * THREADS) {
        float d = 0;
        if (loss_counts(b, first + v))
            d = *weight * dg_label_slope(&term, loss_dose(b.y, first + v), loss_dose(b.target, first + v),
                                         distance_of(distance, first + v), factor);
        put<1>(dy, first + v, 0, &d, accumulate);
    }
}

int64_t loss_label_workspace(const dg_loss_batch *shape)
{
    return shape->y.n * ((LOSS_CHUNKS + 1) * SUMS * (int64_t)sizeof(double) + DG_LABEL_FACTORS * (int64_t)sizeof(float));
}

cudaError_t loss_label(const loss_call &call)
{
    const loss_view b = loss_view_of(call.batch);
    const int64_t n = call.batch->y.n;
    const dim3 chunks = loss_chunks(b.voxels, n);
    double *totals = (double *)call.workspace, *scratch = totals + n * SUMS;
    float *factors = (float *)(scratch + n * LOSS_CHUNKS * SUMS);
    cudaError_t error = DG_LAUNCH_SYNC(label_sums, chunks, dim3(THREADS), 0, call.stream, *call.term, b,
                                       call.batch->distance, scratch);
    if (error == cudaSuccess)
        error = DG_LAUNCH(label_totals, dim3(1), dim3(1), 0, call.stream, *call.term, scratch, (int)chunks.x, n, totals,
                          call.value, call.stride, factors);
    if (error != cudaSuccess || call.dy == nullptr) return error;
    return DG_LAUNCH(label_slopes, loss_stream(b.voxels, n), dim3(THREADS), 0, call.stream, *call.term, b,
                     call.batch->distance, call.weight, view_of(call.dy), call.accumulate, factors);
}
