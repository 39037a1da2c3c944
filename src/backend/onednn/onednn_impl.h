/* onednn_impl.h - the inside of the oneDNN backend: its state, scratch memory, threads, and the functions of its table by
 * file. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_ONEDNN_IMPL_H
#define DG_ONEDNN_IMPL_H

#include "dg_arguments.h"
#include "dg_mem.h"
#include "dnnl_compat.h"
#include "kernels/kernels.h"

/* oneDNN's OpenMP runtime takes its thread count from the calling thread's setting at creation and at execution of a
 * primitive, so every entry that reaches the library sets it (onednn_use_threads). */
typedef struct onednn_backend {
    dg_backend head;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    const dg_kernels *kernels;
    bool bf16; /* the processor multiplies bf16: oneDNN 3.2 also emulates it on older AVX-512, with wrong gradients */
    bool amx;  /* own weight-gradient kernel; tests clear it to get oneDNN's */
    char *scratch; /* owned; grows at conv_create and at the first use of a larger norm or resize */
    int64_t scratch_bytes;
} onednn_backend;

static inline onednn_backend *onednn_of(dg_backend *backend) { return (onednn_backend *)backend; }

/* At least `bytes` of scratch, 64-byte aligned, undefined content, valid until the next call of an operation. */
DG_MUST_USE dg_status onednn_scratch(onednn_backend *backend, int64_t bytes, void *out);
/* Counted memory of the backend: zeroed, 64-byte aligned, large blocks on huge pages. */
DG_MUST_USE dg_status onednn_alloc(dg_backend *backend, int64_t bytes, const char *what, void **out);
void onednn_free(dg_backend *backend, void *data);
void onednn_use_threads(const onednn_backend *backend);
double onednn_seconds(void);

/* Work of `items` equal parts: calls run(context, item) for each, static over the backend's threads. */
typedef void (*onednn_work)(void *context, int64_t item);
void onednn_parallel(const onednn_backend *backend, int64_t items, onednn_work run, void *context);

/* Voxel ranges that do not depend on the thread count, so that neither do sums over them: at most ONEDNN_PARTS. */
enum { ONEDNN_PARTS = 64 };
typedef struct onednn_split {
    int64_t count, part, parts;
} onednn_split;
static inline onednn_split onednn_split_of(int64_t count, int64_t least)
{
    int64_t part = (count + ONEDNN_PARTS - 1) / ONEDNN_PARTS;
    if (part < least) part = least;
    return (onednn_split){count, part, (count + part - 1) / part};
}
static inline int64_t onednn_split_size(const onednn_split *s, int64_t index)
{
    int64_t left = s->count - index * s->part;
    return left < s->part ? left : s->part;
}

/* Per-column sums over all voxels and samples of x added to out[c] (f32). Scratch from `offset` on is used. */
DG_MUST_USE dg_status onednn_add_column_sums(onednn_backend *backend, const dg_tensor *x, float *out);

/* onednn_conv.c */
dg_status onednn_conv_create(dg_backend *backend, const dg_conv_desc *desc, dg_conv **out);
void onednn_conv_destroy(dg_backend *backend, dg_conv *conv);
dg_status onednn_conv_pack(dg_backend *backend, dg_conv *conv, const float *w, const float *bias);
dg_status onednn_conv_forward(dg_backend *backend, dg_conv *conv, const dg_tensor *x, dg_tensor *y);
dg_status onednn_conv_backward_data(dg_backend *backend, dg_conv *conv, const dg_tensor *dy, dg_tensor *dx);
dg_status onednn_conv_backward_weights(dg_backend *backend, dg_conv *conv, const dg_tensor *x, const dg_tensor *dy,
                                       float *dw, float *db);

/* onednn_norm.c */
dg_status onednn_norm_forward(dg_backend *backend, const dg_norm_desc *desc, const dg_tensor *x, const float *gamma,
                              const float *beta, const float *film, const dg_tensor *residual, float *stats,
                              dg_tensor *y);
bool onednn_residual_fuses(const dg_backend *backend, const dg_conv_desc *desc);
dg_status onednn_norm_forward_fused(dg_backend *backend, const dg_norm_desc *desc, const dg_tensor *x,
                                    const float *gamma, const float *beta, const float *film,
                                    const dg_tensor *residual, float *stats, dg_tensor *y, const dg_norm_fusion *with);
dg_status onednn_norm_backward(dg_backend *backend, const dg_norm_desc *desc, const dg_tensor *x, const float *gamma,
                               const float *beta, const float *film, const float *stats, const dg_tensor *dy,
                               dg_tensor *dx, bool accumulate, float *dgamma, float *dbeta, float *dfilm);
dg_status onednn_layer_norm_forward(dg_backend *backend, double eps, const dg_tensor *x, const float *gamma,
                                    const float *beta, float *stats, dg_tensor *y);
dg_status onednn_layer_norm_backward(dg_backend *backend, const dg_tensor *x, const float *gamma, const float *stats,
                                     const dg_tensor *dy, dg_tensor *dx, bool accumulate, float *dgamma, float *dbeta);

/* onednn_elementwise.c */
dg_status onednn_act_forward(dg_backend *backend, dg_activation act, double slope, const dg_tensor *x, dg_tensor *y);
dg_status onednn_act_backward(dg_backend *backend, dg_activation act, double slope, const dg_tensor *x,
                              const dg_tensor *dy, dg_tensor *dx, bool accumulate);
dg_status onednn_copy(dg_backend *backend, const dg_tensor *x, dg_tensor *y, bool accumulate);
dg_status onednn_gate_forward(dg_backend *backend, const dg_tensor *x, const dg_tensor *gate, dg_tensor *y);
dg_status onednn_gate_backward(dg_backend *backend, const dg_tensor *x, const dg_tensor *gate, const dg_tensor *dy,
                               dg_tensor *dx, bool accumulate_dx, dg_tensor *dgate);
/* onednn_loss.c */
int64_t onednn_loss_workspace(const dg_loss_term *term, const dg_loss_batch *shape);
dg_status onednn_loss(dg_backend *backend, const dg_loss_term *term, const dg_loss_batch *batch, const float *weight,
                      void *workspace, double *value, int64_t stride, dg_tensor *dy, bool accumulate);

/* onednn_resample.c */
dg_status onednn_pool_forward(dg_backend *backend, const dg_tensor *x, dg_tensor *y);
dg_status onednn_pool_backward(dg_backend *backend, const dg_tensor *x, const dg_tensor *dy, dg_tensor *dx,
                               bool accumulate);
dg_status onednn_resize_forward(dg_backend *backend, const dg_tensor *x, dg_tensor *y);
dg_status onednn_resize_backward(dg_backend *backend, const dg_tensor *dy, dg_tensor *dx, bool accumulate);

/* onednn_dense.c */
dg_status onednn_linear_forward(dg_backend *backend, const dg_tensor *x, const float *w, const float *b, dg_tensor *y);
dg_status onednn_linear_backward(dg_backend *backend, const dg_tensor *x, const float *w, const dg_tensor *dy,
                                 dg_tensor *dx, bool accumulate, float *dw, float *db);
dg_status onednn_attention_forward(dg_backend *backend, int heads, const dg_tensor *qkv, dg_tensor *y);
dg_status onednn_attention_backward(dg_backend *backend, int heads, const dg_tensor *qkv, const dg_tensor *dy,
                                    dg_tensor *dqkv);

/* onednn_window.c */
dg_status onednn_window_gather(dg_backend *backend, const dg_ring *volume, const dg_window_channels *channels,
                            const dg_windows *windows, dg_tensor *x);
dg_status onednn_window_blend(dg_backend *backend, const dg_tensor *y, const int64_t sub[3], const dg_windows *windows,
                           const float *const weight[3], float factor, dg_ring *sum);
dg_status onednn_window_finish(dg_backend *backend, dg_ring *sum, int64_t first, int64_t count,
                            const float *const weight[3], float low, float high, float *out);
dg_status onednn_find_nonfinite(dg_backend *backend, const dg_tensor *x, int32_t *found);
dg_status onednn_diffuse(dg_backend *backend, const dg_diffuse *how, const dg_tensor *condition, const float *clean,
                         float *wanted, dg_tensor *x);
dg_status onednn_denoise(dg_backend *backend, const dg_denoise *step, const dg_noise *fresh, int64_t count,
                         const float *said, float *x, float *clean);

/* onednn_flat.c */
dg_status onednn_fill(dg_backend *backend, float *x, int64_t count, float value);
dg_status onednn_axpy(dg_backend *backend, int64_t count, double a, const float *x, float *y);
dg_status onednn_sum_squares(dg_backend *backend, int64_t count, const float *x, double *sum);
dg_status onednn_adamw(dg_backend *backend, const dg_adamw_desc *desc, int64_t count, float *p, const float *g,
                       float *m, float *v);
dg_status onednn_sgd(dg_backend *backend, const dg_sgd_desc *desc, int64_t count, float *p, const float *g,
                     float *momentum);
dg_status onednn_ema(dg_backend *backend, double decay, int64_t count, const float *p, float *average);

#endif
