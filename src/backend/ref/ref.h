/* ref.h - private to the reference backend: every operation reads its tensors into dense double arrays, computes with
 * plain loops in double, and rounds once when it stores. Naive and complete, the oracle of the other backends; loops
 * are shared over threads only where each output element is computed by one thread, so the count changes no bit.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef REF_H
#define REF_H

#include "dg_arguments.h"
#include "dg_backend.h"
#include "dg_mem.h"

/* Elements of a tensor without padding: n * voxels * c. */
int64_t ref_count(const dg_tensor *t);
/* New dense [n,z,y,x,c] copy; freed with dg_free. */
dg_status ref_load(const dg_tensor *t, double **out);
/* New zeroed array of a tensor's dense size. */
dg_status ref_zeros(const dg_tensor *t, double **out);
/* Rounds dense values into the tensor, "=" or "+=". */
void ref_store(const double *values, dg_tensor *t, bool accumulate);
/* The nearest bf16 (ties to even) of a value. */
float ref_round_bf16(float value);

/* Activations in double, and the derivative at input x. */
double ref_act(dg_activation act, double slope, double x);
double ref_act_derivative(dg_activation act, double slope, double x);

dg_status ref_conv_create(dg_backend *backend, const dg_conv_desc *desc, dg_conv **out);
void ref_conv_destroy(dg_backend *backend, dg_conv *conv);
dg_status ref_conv_pack(dg_backend *backend, dg_conv *conv, const float *w, const float *bias);
dg_status ref_conv_forward(dg_backend *backend, dg_conv *conv, const dg_tensor *x, dg_tensor *y);
dg_status ref_conv_backward_data(dg_backend *backend, dg_conv *conv, const dg_tensor *dy, dg_tensor *dx);
dg_status ref_conv_backward_weights(dg_backend *backend, dg_conv *conv, const dg_tensor *x, const dg_tensor *dy,
                                    float *dw, float *db);
dg_status ref_norm_forward(dg_backend *backend, const dg_norm_desc *desc, const dg_tensor *x, const float *gamma,
                           const float *beta, const float *film, const dg_tensor *residual, float *stats, dg_tensor *y);
dg_status ref_norm_backward(dg_backend *backend, const dg_norm_desc *desc, const dg_tensor *x, const float *gamma,
                            const float *beta, const float *film, const float *stats, const dg_tensor *dy,
                            dg_tensor *dx, bool accumulate, float *dgamma, float *dbeta, float *dfilm);
dg_status ref_layer_norm_forward(dg_backend *backend, double eps, const dg_tensor *x, const float *gamma,
                                 const float *beta, float *stats, dg_tensor *y);
dg_status ref_layer_norm_backward(dg_backend *backend, const dg_tensor *x, const float *gamma, const float *stats,
                                  const dg_tensor *dy, dg_tensor *dx, bool accumulate, float *dgamma, float *dbeta);
dg_status ref_act_forward(dg_backend *backend, dg_activation act, double slope, const dg_tensor *x, dg_tensor *y);
dg_status ref_act_backward(dg_backend *backend, dg_activation act, double slope, const dg_tensor *x,
                           const dg_tensor *dy, dg_tensor *dx, bool accumulate);
dg_status ref_copy(dg_backend *backend, const dg_tensor *x, dg_tensor *y, bool accumulate);
dg_status ref_gate_forward(dg_backend *backend, const dg_tensor *x, const dg_tensor *gate, dg_tensor *y);
dg_status ref_gate_backward(dg_backend *backend, const dg_tensor *x, const dg_tensor *gate, const dg_tensor *dy,
                            dg_tensor *dx, bool accumulate_dx, dg_tensor *dgate);
dg_status ref_pool_forward(dg_backend *backend, const dg_tensor *x, dg_tensor *y);
dg_status ref_pool_backward(dg_backend *backend, const dg_tensor *x, const dg_tensor *dy, dg_tensor *dx,
                            bool accumulate);
dg_status ref_resize_forward(dg_backend *backend, const dg_tensor *x, dg_tensor *y);
dg_status ref_resize_backward(dg_backend *backend, const dg_tensor *dy, dg_tensor *dx, bool accumulate);
dg_status ref_linear_forward(dg_backend *backend, const dg_tensor *x, const float *w, const float *b, dg_tensor *y);
dg_status ref_linear_backward(dg_backend *backend, const dg_tensor *x, const float *w, const dg_tensor *dy,
                              dg_tensor *dx, bool accumulate, float *dw, float *db);
dg_status ref_attention_forward(dg_backend *backend, int heads, const dg_tensor *qkv, dg_tensor *y);
dg_status ref_attention_backward(dg_backend *backend, int heads, const dg_tensor *qkv, const dg_tensor *dy,
                                 dg_tensor *dqkv);
int64_t ref_loss_workspace(const dg_loss_term *term, const dg_loss_batch *shape);
dg_status ref_loss(dg_backend *backend, const dg_loss_term *term, const dg_loss_batch *batch, const float *weight,
                   void *workspace, double *value, int64_t stride, dg_tensor *dy, bool accumulate);
dg_status ref_window_gather(dg_backend *backend, const dg_ring *volume, const dg_window_channels *channels,
                            const dg_windows *windows, dg_tensor *x);
dg_status ref_window_blend(dg_backend *backend, const dg_tensor *y, const int64_t sub[3], const dg_windows *windows,
                           const float *const weight[3], float factor, dg_ring *sum);
dg_status ref_window_finish(dg_backend *backend, dg_ring *sum, int64_t first, int64_t count,
                            const float *const weight[3], float low, float high, float *out);
dg_status ref_find_nonfinite(dg_backend *backend, const dg_tensor *x, int32_t *found);
dg_status ref_diffuse(dg_backend *backend, const dg_diffuse *how, const dg_tensor *condition, const float *clean,
                      float *wanted, dg_tensor *x);
dg_status ref_denoise(dg_backend *backend, const dg_denoise *step, const dg_noise *fresh, int64_t count,
                      const float *said, float *x, float *clean);
dg_status ref_fill(dg_backend *backend, float *x, int64_t count, float value);
dg_status ref_axpy(dg_backend *backend, int64_t count, double a, const float *x, float *y);
dg_status ref_sum_squares(dg_backend *backend, int64_t count, const float *x, double *sum);
dg_status ref_adamw(dg_backend *backend, const dg_adamw_desc *desc, int64_t count, float *p, const float *g, float *m,
                    float *v);
dg_status ref_sgd(dg_backend *backend, const dg_sgd_desc *desc, int64_t count, float *p, const float *g,
                  float *momentum);
dg_status ref_ema(dg_backend *backend, double decay, int64_t count, const float *p, float *average);

#endif
