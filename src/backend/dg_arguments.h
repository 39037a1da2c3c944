/* dg_arguments.h - do the arguments of an operation fit each other? One check per operation of dg_backend_ops, called
 * first by every backend, so that a wrong shape is a message and not a crash. Each returns DG_ERR_INTERNAL naming
 * operation, tensor and shapes; a description a backend cannot take is DG_ERR_UNSUPPORTED. Not collective.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_ARGUMENTS_H
#define DG_ARGUMENTS_H

#include "dg_backend.h"

DG_MUST_USE dg_status dg_arguments_conv_desc(const dg_conv_desc *desc);
/* `x` and `y` are input and output of the forward direction, or their gradients. */
DG_MUST_USE dg_status dg_arguments_conv(const dg_conv_desc *desc, const dg_tensor *x, const dg_tensor *y);
/* The same for a backward call, which needs a convolution made for training. */
DG_MUST_USE dg_status dg_arguments_conv_backward(const dg_conv_desc *desc, const dg_tensor *x, const dg_tensor *y);

/* residual may be NULL. */
DG_MUST_USE dg_status dg_arguments_norm(const dg_norm_desc *desc, const dg_tensor *x, const float *gamma,
                                        const float *beta, const dg_tensor *residual, const float *stats,
                                        const dg_tensor *y);
DG_MUST_USE dg_status dg_arguments_norm_backward(const dg_norm_desc *desc, const dg_tensor *x, const float *gamma,
                                                 const float *beta, const float *film, const float *stats,
                                                 const dg_tensor *dy, const dg_tensor *dx, bool accumulate,
                                                 const float *dfilm);
/* Two or three tensors of one shape (any pitch and type); c may be NULL. */
DG_MUST_USE dg_status dg_arguments_same(const char *operation, const dg_tensor *a, const dg_tensor *b,
                                        const dg_tensor *c);
DG_MUST_USE dg_status dg_arguments_layer_norm(const dg_tensor *x, const float *gamma, const float *stats,
                                              const dg_tensor *y);
DG_MUST_USE dg_status dg_arguments_gate(const dg_tensor *x, const dg_tensor *gate, const dg_tensor *y);
/* `x` large, `y` its pooled size. */
DG_MUST_USE dg_status dg_arguments_pool(const dg_tensor *x, const dg_tensor *y);
DG_MUST_USE dg_status dg_arguments_resize(const dg_tensor *x, const dg_tensor *y);
DG_MUST_USE dg_status dg_arguments_linear(const dg_tensor *x, const float *w, const dg_tensor *y);
DG_MUST_USE dg_status dg_arguments_attention(int heads, const dg_tensor *qkv, const dg_tensor *y);
/* dy may be NULL. */
DG_MUST_USE dg_status dg_arguments_loss(const dg_loss_term *term, const dg_loss_batch *batch, const float *weight,
                                        const double *value, const dg_tensor *dy);
/* Every window's planes must be held by the ring, which this cannot see. */
DG_MUST_USE dg_status dg_arguments_gather(const dg_ring *volume, const dg_window_channels *channels,
                                          const dg_tensor *x);
DG_MUST_USE dg_status dg_arguments_blend(const dg_tensor *y, const int64_t sub[3], const dg_ring *sum);
DG_MUST_USE dg_status dg_arguments_finish(const dg_ring *sum, int64_t first, int64_t count, const float *out);
DG_MUST_USE dg_status dg_arguments_find(const dg_tensor *x, const int32_t *found);
DG_MUST_USE dg_status dg_arguments_diffuse(const dg_tensor *condition, const float *clean, const float *wanted,
                                           const dg_tensor *x);
DG_MUST_USE dg_status dg_arguments_denoise(int64_t count, const float *said, const float *x, const float *clean);

#endif
