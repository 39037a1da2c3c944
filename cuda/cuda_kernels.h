/* cuda_kernels.h - launchers of our own kernels: what the host side of the CUDA backend calls. Tensors and pointers are device
 * memory, `stream` orders the work, nothing waits. Semantics are those of the operation of the same name in dg_backend.h or dg_device.h;
 * sums have a fixed order, so that results are bit-identical run to run. Source of each formula: dg_backend.h.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CUDA_KERNELS_H
#define DG_CUDA_KERNELS_H

#include "dg_device.h"
#include "dg_update.h"

#include <cuda_runtime.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Group norm and friends (norm.cu). `scratch`: dg_cuda_norm_scratch floats. */
int64_t dg_cuda_norm_scratch(int64_t n, int64_t c); /* floats, for both directions and for column sums */
cudaError_t dg_cuda_norm_forward(cudaStream_t stream, const dg_norm_desc *desc, const dg_tensor *x, const float *gamma,
                                 const float *beta, const float *film, const dg_tensor *residual, float *stats,
                                 const dg_tensor *y, float *scratch);
cudaError_t dg_cuda_norm_backward(cudaStream_t stream, const dg_norm_desc *desc, const dg_tensor *x, const float *gamma,
                                  const float *beta, const float *film, const float *stats, const dg_tensor *dy,
                                  const dg_tensor *dx, bool accumulate, float *dgamma, float *dbeta, float *dfilm,
                                  float *scratch);
/* out[c] += sum over samples and voxels of x (bias gradients). */
cudaError_t dg_cuda_column_sums(cudaStream_t stream, const dg_tensor *x, float *out, float *scratch);
/* layer_norm.cu */
cudaError_t dg_cuda_layer_norm_forward(cudaStream_t stream, double eps, const dg_tensor *x, const float *gamma,
                                       const float *beta, float *stats, const dg_tensor *y);
cudaError_t dg_cuda_layer_norm_backward(cudaStream_t stream, const dg_tensor *x, const float *gamma, const float *stats,
                                        const dg_tensor *dy, const dg_tensor *dx, bool accumulate, float *dgamma,
                                        float *dbeta, float *scratch);

/* elementwise.cu */
cudaError_t dg_cuda_act_forward(cudaStream_t stream, dg_activation act, double slope, const dg_tensor *x,
                                const dg_tensor *y);
cudaError_t dg_cuda_act_backward(cudaStream_t stream, dg_activation act, double slope, const dg_tensor *x,
                                 const dg_tensor *dy, const dg_tensor *dx, bool accumulate);
cudaError_t dg_cuda_copy(cudaStream_t stream, const dg_tensor *x, const dg_tensor *y, bool accumulate);
cudaError_t dg_cuda_gate_forward(cudaStream_t stream, const dg_tensor *x, const dg_tensor *gate, const dg_tensor *y);
cudaError_t dg_cuda_gate_backward(cudaStream_t stream, const dg_tensor *x, const dg_tensor *gate, const dg_tensor *dy,
                                  const dg_tensor *dx, bool accumulate_dx, const dg_tensor *dgate);

/* resample.cu */
cudaError_t dg_cuda_pool_forward(cudaStream_t stream, const dg_tensor *x, const dg_tensor *y);
cudaError_t dg_cuda_pool_backward(cudaStream_t stream, const dg_tensor *x, const dg_tensor *dy, const dg_tensor *dx,
                                  bool accumulate);
cudaError_t dg_cuda_resize_forward(cudaStream_t stream, const dg_tensor *x, const dg_tensor *y);
cudaError_t dg_cuda_resize_backward(cudaStream_t stream, const dg_tensor *dy, const dg_tensor *dx, bool accumulate);

/* dense.cu. Attention scratch: dg_cuda_attention_scratch floats. */
cudaError_t dg_cuda_linear_forward(cudaStream_t stream, const dg_tensor *x, const float *w, const float *b,
                                   const dg_tensor *y);
cudaError_t dg_cuda_linear_backward(cudaStream_t stream, const dg_tensor *x, const float *w, const dg_tensor *dy,
                                    const dg_tensor *dx, bool accumulate, float *dw, float *db);
int64_t dg_cuda_attention_scratch(int heads, const dg_tensor *y);
cudaError_t dg_cuda_attention_forward(cudaStream_t stream, int heads, const dg_tensor *qkv, const dg_tensor *y);
cudaError_t dg_cuda_attention_backward(cudaStream_t stream, int heads, const dg_tensor *qkv, const dg_tensor *dy,
                                       const dg_tensor *dqkv, float *scratch);

/* loss.cu. The workspace is the caller's: a captured step finds it again. */
int64_t dg_cuda_loss_workspace(const dg_loss_term *term, const dg_loss_batch *shape); /* bytes */
cudaError_t dg_cuda_loss(cudaStream_t stream, const dg_loss_term *term, const dg_loss_batch *batch, const float *weight,
                         void *workspace, double *value, int64_t stride, const dg_tensor *dy, bool accumulate);

/* flat.cu: f32 buffers. sum_squares leaves its result in *sum (device); scratch: DG_CUDA_SUM_SCRATCH doubles. */
enum { DG_CUDA_SUM_SCRATCH = 512 };
cudaError_t dg_cuda_fill(cudaStream_t stream, float *x, int64_t count, float value);
cudaError_t dg_cuda_axpy(cudaStream_t stream, int64_t count, float a, const float *x, float *y);
cudaError_t dg_cuda_sum_squares(cudaStream_t stream, int64_t count, const float *x, double *sum, double *scratch);
cudaError_t dg_cuda_adamw(cudaStream_t stream, const dg_adamw_constants *k, int64_t count, float *p, const float *g,
                          float *m, float *v);
cudaError_t dg_cuda_sgd(cudaStream_t stream, const dg_sgd_constants *k, int64_t count, float *p, const float *g,
                        float *momentum);
cudaError_t dg_cuda_ema(cudaStream_t stream, float one_minus_decay, int64_t count, const float *p, float *average);

/* window.cu. Weights are device memory. */
cudaError_t dg_cuda_window_gather(cudaStream_t stream, const dg_ring *volume, const dg_window_channels *channels,
                                  const dg_windows *windows, const dg_tensor *x);
cudaError_t dg_cuda_window_blend(cudaStream_t stream, const dg_tensor *y, const int64_t sub[3],
                                 const dg_windows *windows, const float *const weight[3], float factor,
                                 const dg_ring *sum);
cudaError_t dg_cuda_window_finish(cudaStream_t stream, const dg_ring *sum, int64_t first, int64_t count,
                                  const float *const weight[3], float low, float high, float *out);
cudaError_t dg_cuda_find_nonfinite(cudaStream_t stream, const dg_tensor *x, int32_t *found);

/* diffusion.cu; fresh may be NULL. */
cudaError_t dg_cuda_diffuse(cudaStream_t stream, const dg_diffuse *how, const dg_tensor *condition, const float *clean,
                            float *wanted, const dg_tensor *x);
cudaError_t dg_cuda_denoise(cudaStream_t stream, const dg_denoise *step, const dg_noise *fresh, int64_t count,
                            const float *said, float *x, float *clean);

/* augment.cu */
cudaError_t dg_cuda_vary(cudaStream_t stream, const dg_raw_sample *raw, const dg_variation *how,
                         const dg_varied_sample *out);

/* y[.., c] += bias[c] (elementwise.cu). */
cudaError_t dg_cuda_add_bias(cudaStream_t stream, const dg_tensor *y, const float *bias);

/* pack.cu: weights between the engine's f32 [tap,cin,cout] and cuDNN's [outer_padded,tap,inner_padded] of the
 * activations' type; padding is zero. unpack_add: engine dw += cuDNN's f32 dw. */
typedef struct dg_cuda_filter {
    int taps, outer_c, inner_c, outer_padded, inner_padded;
    int stride_outer, stride_inner; /* of a tap's weights in the engine's layout: 1 and cout, or cout and 1 */
} dg_cuda_filter;
cudaError_t dg_cuda_pack_weights(cudaStream_t stream, const float *w, const dg_cuda_filter *f, dg_dtype dtype,
                                 void *packed);
cudaError_t dg_cuda_unpack_add_weights(cudaStream_t stream, const float *packed, const dg_cuda_filter *f, float *dw);

#ifdef __cplusplus
}
#endif

#endif
