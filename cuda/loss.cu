/* loss.cu - loss terms of single voxels and their gradient, and the way to the other terms. One channel: 4 to 13 bytes a
 * voxel read twice, a small part of a step. Sums in double, in a fixed order. SPDX-License-Identifier: Apache-2.0 */
#include "cuda_kernels.h"

#include "cuda_loss.h"
#include "dg_loss_point.h"

enum { THREADS = LOSS_THREADS, SUMS = 2 /* counted voxels, sum of the term */ };

/* Chunk blockIdx.x of sample blockIdx.y. 56 registers, 50 % (256 threads); f32: 8 bytes a voxel, 1 of the mask, 4 of the
 * regions. */
__global__ void point_sums(const __grid_constant__ dg_loss_term term, loss_view b, double *chunks)
{
    const int64_t first = (int64_t)blockIdx.y * b.voxels, end = b.voxels * (blockIdx.x + 1) / gridDim.x;
    double sum[SUMS] = {0};
    for (int64_t v = b.voxels * blockIdx.x / gridDim.x + threadIdx.x; v < end; v += THREADS) {
        const uint32_t here = loss_regions(b, first + v);
        if (!loss_counts(b, first + v) || !dg_point_counts(&term, here)) continue;
        sum[0] += 1;
        sum[1] += dg_point_value(&term, loss_dose(b.y, first + v), loss_dose(b.target, first + v), here);
    }
    for (int k = 0; k < SUMS; k++) {
        const double whole = block_sum(sum[k]);
        if (threadIdx.x == 0) chunks[((int64_t)blockIdx.y * gridDim.x + blockIdx.x) * SUMS + k] = whole;
    }
}

/* totals[sample][SUMS] and the sample's value. 40 registers, 50 % (1 threads); a few numbers. */
__global__ void point_totals(const double *chunks, int count, const float *coupled_count, double *totals, double *value,
                             int64_t stride)
{
    const int64_t n = blockIdx.x;
    double sum[SUMS] = {0};
    for (int i = 0; i < count; i++)
        for (int k = 0; k < SUMS; k++) sum[k] += chunks[(n * count + i) * SUMS + k];
    if (coupled_count != nullptr) sum[0] = *coupled_count;
    for (int k = 0; k < SUMS; k++) totals[n * SUMS + k] = sum[k];
    value[n * stride] = sum[0] > 0 ? sum[1] / sum[0] : 0;
}

/* 40 registers, 75 % (256 threads); f32: 12 bytes a voxel (16 where it accumulates), 1 of the mask, 4 of the regions. */
__global__ void point_slopes(const __grid_constant__ dg_loss_term term, loss_view b, const float *weight, view dy,
                             bool accumulate, const double *totals)
{
    const int64_t first = (int64_t)blockIdx.y * b.voxels;
    const double counted = totals[(int64_t)blockIdx.y * SUMS];
    const float scale = counted > 0 ? (float)(*weight / counted) : 0.0f;
    for (int64_t v = (int64_t)blockIdx.x * THREADS + threadIdx.x; v < b.voxels; v += (int64_t)gridDim.x * THREADS) {
        const uint32_t here = loss_regions(b, first + v);
        float d = 0;
        if (loss_counts(b, first + v) && dg_point_counts(&term, here))
            d = scale * dg_point_slope(&term, loss_dose(b.y, first + v), loss_dose(b.target, first + v), here);
        put<1>(dy, first + v, 0, &d, accumulate);
    }
}

static cudaError_t loss_points(const loss_call &call)
{
    const loss_view b = loss_view_of(call.batch);
    const int64_t samples = call.batch->y.n;
    const dim3 chunks = loss_chunks(b.voxels, samples);
    double *totals = (double *)call.workspace, *scratch = totals + samples * SUMS;
    cudaError_t error =
        DG_LAUNCH_SYNC(point_sums, chunks, dim3(THREADS), 0, call.stream, *call.term, b, scratch);
    if (error == cudaSuccess)
        error = DG_LAUNCH(point_totals, dim3((unsigned)samples), dim3(1), 0, call.stream, scratch, (int)chunks.x,
                          call.term->kind == DG_LOSS_ASYMMETRIC ? call.batch->coupled_count : nullptr, totals,
                          call.value, call.stride);
    if (error != cudaSuccess || call.dy == nullptr) return error;
    return DG_LAUNCH(point_slopes, loss_stream(b.voxels, samples), dim3(THREADS), 0, call.stream, *call.term, b,
                     call.weight, view_of(call.dy), call.accumulate, totals);
}

int64_t dg_cuda_loss_workspace(const dg_loss_term *term, const dg_loss_batch *shape)
{
    switch (term->kind) {
    case DG_LOSS_GRADIENT: return loss_gradient_workspace(shape);
    case DG_LOSS_DVH: return loss_dvh_workspace(term, shape);
    case DG_LOSS_SSIM: return loss_ssim_workspace(shape);
    case DG_LOSS_CONNECTIVITY: return loss_connectivity_workspace(shape);
    case DG_LOSS_CLDICE: return loss_cldice_workspace(term, shape);
    default:
        return dg_loss_is_of_labels(term->kind) ? loss_label_workspace(shape)
                                                : shape->y.n * (LOSS_CHUNKS + 1) * SUMS * (int64_t)sizeof(double);
    }
}

cudaError_t dg_cuda_loss(cudaStream_t stream, const dg_loss_term *term, const dg_loss_batch *batch, const float *weight,
                         void *workspace, double *value, int64_t stride, const dg_tensor *dy, bool accumulate)
{
    const loss_call call = {stream, term, batch, weight, workspace, value, stride, dy, accumulate};
    switch (term->kind) {
    case DG_LOSS_GRADIENT: return loss_gradient(call);
    case DG_LOSS_DVH: return loss_dvh(call);
    case DG_LOSS_SSIM: return loss_ssim(call);
    case DG_LOSS_CONNECTIVITY: return loss_connectivity(call);
    case DG_LOSS_CLDICE: return loss_cldice(call);
    default: return dg_loss_is_of_labels(term->kind) ? loss_label(call) : loss_points(call);
    }
}
