/* cuda_loss.h - the loss terms of the CUDA backend by file, and what they share. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CUDA_LOSS_H
#define DG_CUDA_LOSS_H

#include "cuda_block_sum.h"
#include "cuda_device.h"

enum { LOSS_THREADS = BLOCK_SUM_THREADS, LOSS_CHUNKS = 128 };

/* A batch as kernels see it. */
struct loss_view {
    view y, target;
    const uint8_t *mask;
    const uint32_t *regions;
    const float *scale_gy;
    int64_t voxels; /* of a sample */
};

static inline loss_view loss_view_of(const dg_loss_batch *batch)
{
    return loss_view{view_of(&batch->y), view_of(&batch->target), batch->mask, batch->regions, batch->scale_gy,
                     dg_tensor_voxels(&batch->y)};
}
__device__ static inline bool loss_counts(const loss_view &b, int64_t row)
{
    return b.mask == nullptr || b.mask[row] != 0;
}
__device__ static inline uint32_t loss_regions(const loss_view &b, int64_t row)
{
    return b.regions != nullptr ? b.regions[row] : 0;
}
__device__ static inline float loss_dose(const view &t, int64_t row)
{
    float dose;
    load<1>(t, row, 0, &dose);
    return dose;
}

/* A call of dg_backend_ops.loss on the device. */
struct loss_call {
    cudaStream_t stream;
    const dg_loss_term *term;
    const dg_loss_batch *batch;
    const float *weight;
    void *workspace;
    double *value;
    int64_t stride;
    const dg_tensor *dy; /* or nullptr */
    bool accumulate;
};

/* Blocks for `items` of each sample; grid.y is the sample. */
static inline dim3 loss_chunks(int64_t items, int64_t samples)
{
    const int64_t blocks = (items + LOSS_THREADS - 1) / LOSS_THREADS;
    return dim3((unsigned)(blocks < LOSS_CHUNKS ? blocks : (int64_t)LOSS_CHUNKS), (unsigned)samples);
}
static inline dim3 loss_stream(int64_t items, int64_t samples)
{
    const int64_t blocks = (items + LOSS_THREADS - 1) / LOSS_THREADS;
    return dim3((unsigned)(blocks < STREAM_BLOCKS ? blocks : STREAM_BLOCKS), (unsigned)samples);
}

/* Bytes of workspace, and the work. */
int64_t loss_gradient_workspace(const dg_loss_batch *shape);
int64_t loss_dvh_workspace(const dg_loss_term *term, const dg_loss_batch *shape);
int64_t loss_ssim_workspace(const dg_loss_batch *shape);
int64_t loss_label_workspace(const dg_loss_batch *shape);
int64_t loss_connectivity_workspace(const dg_loss_batch *shape);
int64_t loss_cldice_workspace(const dg_loss_term *term, const dg_loss_batch *shape);
cudaError_t loss_gradient(const loss_call &call);
cudaError_t loss_dvh(const loss_call &call);
cudaError_t loss_ssim(const loss_call &call);
cudaError_t loss_label(const loss_call &call);
cudaError_t loss_connectivity(const loss_call &call);
cudaError_t loss_cldice(const loss_call &call);

#endif
