/* dg_backend.h - what a device can compute: the typed table of network operations, and the registry of backends.
 *
 * Layout: activations are channels-last [n,z,y,x,c]. Parameters and their gradients are f32 in the engine's layout:
 * convolution weights [tap_z,tap_y,tap_x,cin,cout] (PyTorch's (cout,cin,z,y,x) only at the file boundary), linear
 * weights [out,in] as PyTorch. bf16 activations are accumulated in f32; statistics, losses, parameters, optimiser
 * state and parameter gradients are always f32.
 *
 * Conventions for every operation: tensors are borrowed for the call; output and input do not overlap unless the
 * operation allows it. `accumulate` true means "+=" into the marked output, false "=". Parameter gradients (dw, db,
 * dgamma, dbeta) are always "+=" into f32. Given the same thread count, results are bit-identical run to run.
 * Not collective. `ref` is naive and complete, the oracle of the others; it shares no code with them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_BACKEND_H
#define DG_BACKEND_H

#include "dg_denoise.h"
#include "dg_diffuse.h"
#include "dg_dtype.h"
#include "dg_loss_term.h"
#include "dg_status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct dg_backend dg_backend;
typedef struct dg_conv dg_conv; /* a convolution prepared for fixed shapes */

/* A view of an activation: voxel v of sample i, channel k lies at element ((i * z*y*x + v) * pitch + k). A channel
 * slice of a wider (concatenated) tensor has pitch > c; a dense one has pitch == c. Vectors [n,c] have z=y=x=1. */
typedef struct dg_tensor {
    void *data;     /* backend memory */
    dg_dtype dtype; /* DG_F32 or DG_BF16 */
    int64_t n, z, y, x, c;
    int64_t pitch;
} dg_tensor;

static inline int64_t dg_tensor_voxels(const dg_tensor *t) { return t->z * t->y * t->x; }

typedef enum dg_activation { DG_ACT_NONE, DG_ACT_SILU, DG_ACT_RELU, DG_ACT_LEAKY_RELU, DG_ACT_SIGMOID } dg_activation;

/* Kinds of convolution: odd kernel 1 or 3 with zero padding that keeps the size, the transposed 2x2x2 stride 2, or 4x4x4 stride
 * 2 with a border of one zero, which halves axes of even size: y[o] = sum over taps t of w[t] x[2 o - 1 + t]. */
typedef enum dg_conv_kind { DG_CONV_SAME, DG_CONV_TRANSPOSE2, DG_CONV_STRIDE2 } dg_conv_kind;

typedef struct dg_conv_desc {
    dg_conv_kind kind;
    int kernel;         /* 1 or 3; 2 for the transposed kind, 4 for the strided one */
    int64_t n, z, y, x; /* of the input */
    int64_t cin, cout;
    dg_dtype dtype;     /* of activations; weights are packed to it */
    bool training;      /* backward calls will come */
    bool accumulate_dx; /* backward_data adds to dx; fixed at creation so that it can be fused */
} dg_conv_desc;

/* Normalisation over the voxels and the c/groups channels of each group of each sample:
 *   y = act((x - mean) * rstd * gamma + beta);  y = y * (1 + s) + t;  y = y + residual
 * groups == 0 leaves out the normalisation (then gamma, beta and stats are NULL). gamma/beta may both be NULL
 * (instance norm without affine). film is f32 [n][2c], s first then t, or NULL. Biased variance.
 * Sources: Wu & He, Group Normalization, 2018; Perez et al., FiLM, 2018. */
typedef struct dg_norm_desc {
    int64_t groups;
    double eps;
    dg_activation act;
    double negative_slope; /* of DG_ACT_LEAKY_RELU */
} dg_norm_desc;

/* What runs in the same pass over memory as a norm of an inference plan; each may be left out. Values are bit for bit
 * those of the separate operations. */
enum { DG_FUSED_OUTPUTS = 4 };
typedef struct dg_norm_fusion {
    dg_conv *residual_conv;      /* one that residual_fuses: its result takes the residual's place */
    const dg_tensor *residual_x; /* what it reads */
    dg_tensor *pooled;           /* pool_forward of y; not together with head */
    dg_conv *head;               /* 1x1x1 of y with at most DG_FUSED_OUTPUTS channels; y itself is then left undefined */
    dg_tensor *head_y;
} dg_norm_fusion;

/* What a loss compares: one channel each of output and target, and what is known of their voxels. All of it is backend
 * memory but `block`; voxel v of sample i is element i * voxels + v of mask and regions. A network that predicts blocks of
 * voxels has those of a block side by side: `block` is their number per axis, z,y,x, and x counts them all. */
typedef struct dg_loss_batch {
    dg_tensor y, target;     /* [n,z,y,x,1] */
    const uint8_t *mask;     /* 0: the voxel does not count; NULL: all count */
    const float *distance;   /* of the boundary term: to the label's surface in voxels, outside positive; else NULL */
    const uint32_t *regions; /* the sets a voxel belongs to, one bit each; NULL: none */
    const float *scale_gy;   /* [n] dose of 1 in Gy, for goals with a level in Gy; NULL: 1 */
    /* The asymmetric term of the reference tool divides by the voxels of all samples: [1] their mean per sample over the
     * batch of the step; NULL: each sample has its own. */
    const float *coupled_count;
    int64_t block[3]; /* 0 is 1 */
    dg_tensor input;  /* of the adversarial term: what the network saw, [n,z,y,x,channels] of its own grid */
} dg_loss_batch;

/* Where the voxels of a batch lie in space: its finest grid, and the row of a voxel of sample 0. */
typedef struct dg_loss_grid {
    int64_t z, y, x, block[3];
} dg_loss_grid;

static inline dg_loss_grid dg_loss_grid_of(const dg_loss_batch *batch)
{
    const int64_t b0 = batch->block[0] > 0 ? batch->block[0] : 1, b1 = batch->block[1] > 0 ? batch->block[1] : 1,
                  b2 = batch->block[2] > 0 ? batch->block[2] : 1;
    const dg_loss_grid grid = {batch->y.z * b0, batch->y.y * b1, batch->y.x / (b0 * b1), {b0, b1, b2}};
    return grid;
}

typedef struct dg_adamw_desc {
    double lr, beta1, beta2, eps, weight_decay;
    int64_t step;      /* 1 for the first update */
    double grad_scale; /* gradients are multiplied by this first (clipping, averaging) */
} dg_adamw_desc;

typedef struct dg_sgd_desc {
    double lr, momentum, weight_decay;
    bool nesterov;
    double grad_scale;
} dg_sgd_desc;

/* Sliding windows over a volume [c][z][y][x] of f32, of which backend memory holds `height` planes as a ring: plane z of
 * channel k begins at data + (k * height + z % height) * y * x. */
typedef struct dg_ring {
    float *data;
    int64_t c, z, y, x; /* of the whole volume */
    int64_t height;
} dg_ring;

enum { DG_WINDOW_BATCH = 32, DG_WINDOW_CHANNELS = 64 };
/* Where the samples of a tensor lie in the volume, by their first voxel; they may reach beyond it. */
typedef struct dg_windows {
    int64_t start[DG_WINDOW_BATCH][3]; /* z, y, x */
    bool mirrored;                     /* the tensor has x reversed */
} dg_windows;
/* What the channels of a tensor are: channel from[k] of the volume, and `outside` beyond it. */
typedef struct dg_window_channels {
    int from[DG_WINDOW_CHANNELS];
    float outside[DG_WINDOW_CHANNELS];
} dg_window_channels;

typedef struct dg_backend_options {
    int threads;        /* OpenMP threads; >= 1 */
    bool deterministic; /* choose only algorithms whose bits do not vary; the CPU backends always do */
    int device;         /* GPU ordinal; ignored by CPU backends */
    double timeout_s;   /* longest wait for a device before it counts as hung; 0: no limit. Ignored by CPU backends */
} dg_backend_options;

typedef struct dg_backend_ops {
    const char *name;
    /* Why this backend cannot run here (no driver, not compiled: how to build it), or NULL when it can. */
    const char *(*unavailable)(void);
    const struct dg_device_ops *device; /* dg_device.h; NULL: computes in host memory, calls return when they are done */
    dg_status (*create)(const dg_backend_options *options, dg_backend **out);
    void (*destroy)(dg_backend *backend);

    /* Memory: zeroed, 64-byte aligned. upload/download copy between host and backend memory and are synchronous. */
    dg_status (*alloc)(dg_backend *backend, int64_t bytes, const char *what, void **out);
    void (*free)(dg_backend *backend, void *data);
    dg_status (*upload)(dg_backend *backend, void *device, const void *host, int64_t bytes);
    dg_status (*download)(dg_backend *backend, void *host, const void *device, int64_t bytes);
    dg_status (*sync)(dg_backend *backend);
    /* An upload that does not wait for what is queued, which must not use the destination. `host` may change on return;
     * operations called afterwards see the new values. */
    dg_status (*upload_ahead)(dg_backend *backend, void *device, const void *host, int64_t bytes);

    /* Convolution. pack reads f32 weights (and bias, may be NULL) and must be called after every change of them; the
     * packed copy belongs to the conv. 1x1x1 take tensors of any pitch, the others dense ones. backward_weights
     * adds to dw and (unless NULL) db. */
    dg_status (*conv_create)(dg_backend *backend, const dg_conv_desc *desc, dg_conv **out);
    void (*conv_destroy)(dg_backend *backend, dg_conv *conv);
    dg_status (*conv_pack)(dg_backend *backend, dg_conv *conv, const float *w, const float *bias);
    dg_status (*conv_forward)(dg_backend *backend, dg_conv *conv, const dg_tensor *x, dg_tensor *y);
    dg_status (*conv_backward_data)(dg_backend *backend, dg_conv *conv, const dg_tensor *dy, dg_tensor *dx);
    dg_status (*conv_backward_weights)(dg_backend *backend, dg_conv *conv, const dg_tensor *x, const dg_tensor *dy,
                                       float *dw, float *db);

    /* norm_act: y may be x. stats f32 [n][groups][2] (mean, rstd) is written by forward, read by backward.
     * residual may be NULL. backward: dx may be dy (same view) when accumulate is false; dfilm [n][2c] "=" ;
     * the residual's gradient is dy itself. */
    dg_status (*norm_forward)(dg_backend *backend, const dg_norm_desc *desc, const dg_tensor *x, const float *gamma,
                              const float *beta, const float *film, const dg_tensor *residual, float *stats,
                              dg_tensor *y);
    dg_status (*norm_backward)(dg_backend *backend, const dg_norm_desc *desc, const dg_tensor *x, const float *gamma,
                               const float *beta, const float *film, const float *stats, const dg_tensor *dy,
                               dg_tensor *dx, bool accumulate, float *dgamma, float *dbeta, float *dfilm);
    /* norm_forward with its neighbours, and whether a convolution can be the residual of one. Optional: NULL, both, where
     * they would gain nothing; plans then run the neighbours by themselves. */
    bool (*residual_fuses)(const dg_backend *backend, const dg_conv_desc *desc);
    dg_status (*norm_forward_fused)(dg_backend *backend, const dg_norm_desc *desc, const dg_tensor *x,
                                    const float *gamma, const float *beta, const float *film,
                                    const dg_tensor *residual, float *stats, dg_tensor *y, const dg_norm_fusion *with);
    /* Layer norm over the channels of each voxel; gamma, beta [c]. stats f32 [n*voxels][2]. */
    dg_status (*layer_norm_forward)(dg_backend *backend, double eps, const dg_tensor *x, const float *gamma,
                                    const float *beta, float *stats, dg_tensor *y);
    dg_status (*layer_norm_backward)(dg_backend *backend, const dg_tensor *x, const float *gamma, const float *stats,
                                     const dg_tensor *dy, dg_tensor *dx, bool accumulate, float *dgamma, float *dbeta);

    /* Element-wise; any pitch. act backward reads x, the input of forward. */
    dg_status (*act_forward)(dg_backend *backend, dg_activation act, double slope, const dg_tensor *x, dg_tensor *y);
    dg_status (*act_backward)(dg_backend *backend, dg_activation act, double slope, const dg_tensor *x,
                              const dg_tensor *dy, dg_tensor *dx, bool accumulate);
    /* y (=|+=) x, converting between f32 and bf16. */
    dg_status (*copy)(dg_backend *backend, const dg_tensor *x, dg_tensor *y, bool accumulate);
    /* y = x * gate, gate has one channel (attention gates, Oktay et al. 2018). */
    dg_status (*gate_forward)(dg_backend *backend, const dg_tensor *x, const dg_tensor *gate, dg_tensor *y);
    dg_status (*gate_backward)(dg_backend *backend, const dg_tensor *x, const dg_tensor *gate, const dg_tensor *dy,
                               dg_tensor *dx, bool accumulate_dx, dg_tensor *dgate);

    /* Max pooling 2x2x2 stride 2 (floor; an axis z of one stays one). Backward routes dy to the first maximum in z,y,x order, as PyTorch. */
    dg_status (*pool_forward)(dg_backend *backend, const dg_tensor *x, dg_tensor *y);
    dg_status (*pool_backward)(dg_backend *backend, const dg_tensor *x, const dg_tensor *dy, dg_tensor *dx,
                               bool accumulate);
    /* Trilinear resize of x to y's size, align_corners=false; backward is its transpose. Factor 2 is the fast case. */
    dg_status (*resize_forward)(dg_backend *backend, const dg_tensor *x, dg_tensor *y);
    dg_status (*resize_backward)(dg_backend *backend, const dg_tensor *dy, dg_tensor *dx, bool accumulate);

    /* y[n,out] = x[n,in] w[out,in]^T + b; f32 vectors. b may be NULL. */
    dg_status (*linear_forward)(dg_backend *backend, const dg_tensor *x, const float *w, const float *b, dg_tensor *y);
    dg_status (*linear_backward)(dg_backend *backend, const dg_tensor *x, const float *w, const dg_tensor *dy,
                                 dg_tensor *dx /* NULL: not wanted */, bool accumulate, float *dw, float *db);

    /* Multi-head self-attention core over the voxels of each sample: qkv [n,z,y,x,3c] channels [q|k|v], each
     * (heads, c/heads); y = softmax(q k^T / sqrt(c/heads)) v. Vaswani et al. 2017. */
    dg_status (*attention_forward)(dg_backend *backend, int heads, const dg_tensor *qkv, dg_tensor *y);
    dg_status (*attention_backward)(dg_backend *backend, int heads, const dg_tensor *qkv, const dg_tensor *dy,
                                    dg_tensor *dqkv);

    /* One term of a loss over a batch, queued: nothing waits for the host. value[i * stride] (f64, backend memory) = the
     * term of sample i, 0 where no voxel counts; a DVH term's goals follow it (dg_loss_term_values). dy (NULL: not wanted)
     * (=|+=) d/dy of *weight * sum_i value_i, and 0 where the mask is; weight is f32 in backend memory, so that a captured
     * step can change it. workspace: backend memory of at least loss_workspace bytes for a batch of that shape, undefined
     * content, one for each term in flight. */
    int64_t (*loss_workspace)(const dg_loss_term *term, const dg_loss_batch *shape);
    dg_status (*loss)(dg_backend *backend, const dg_loss_term *term, const dg_loss_batch *batch, const float *weight,
                      void *workspace, double *value, int64_t stride, dg_tensor *dy, bool accumulate);

    /* Windows. gather: x [n,z,y,x,c] = the windows' voxels; the ring holds the planes that lie in the volume.
     * blend: for each window in order, sum += factor * (weight[0][z] * weight[1][y]) * weight[2][x] * y, y f32
     * [n,z,y,x,s] with s = sub[0] * sub[1] * sub[2] voxels of `sum` (one channel) in z,y,x order under each of its own:
     * windows start at start * sub there, and weights count its voxels. weight[0] NULL: all weights are 1.
     * finish: out [count,y,x] = planes first .. of sum / ((weight[0][z] * weight[1][y]) * weight[2][x]), clipped to [low,
     * high] (a NaN stays one), the weights being sums over windows along each axis of the volume; the planes become 0.
     * find_nonfinite: found[i] = 1 where sample i of x holds an infinite value or NaN, else it stays as it is. */
    dg_status (*window_gather)(dg_backend *backend, const dg_ring *volume, const dg_window_channels *channels,
                               const dg_windows *windows, dg_tensor *x);
    dg_status (*window_blend)(dg_backend *backend, const dg_tensor *y, const int64_t sub[3], const dg_windows *windows,
                              const float *const weight[3], float factor, dg_ring *sum);
    dg_status (*window_finish)(dg_backend *backend, dg_ring *sum, int64_t first, int64_t count,
                               const float *const weight[3], float low, float high, float *out);
    dg_status (*find_nonfinite)(dg_backend *backend, const dg_tensor *x, int32_t *found);

    /* Diffusion of doses. diffuse: one sample. Channel 0 of x [1,z,y,x,1+c] = x_t of clean [z*y*x], the others = condition
     * [1,z,y,x,c] of the same type (0 where it is blind); wanted [z*y*x] = what the network is to say.
     * denoise: one step of a sampler over `count` voxels: said, the network's words, x, which becomes the next one, and clean,
     * the dose of the step before and then of this one; fresh noise of voxel i is number i of the stream (NULL: none). */
    dg_status (*diffuse)(dg_backend *backend, const dg_diffuse *how, const dg_tensor *condition, const float *clean,
                         float *wanted, dg_tensor *x);
    dg_status (*denoise)(dg_backend *backend, const dg_denoise *step, const dg_noise *fresh, int64_t count,
                         const float *said, float *x, float *clean);

    /* Flat f32 buffers. */
    dg_status (*fill)(dg_backend *backend, float *x, int64_t count, float value);
    dg_status (*axpy)(dg_backend *backend, int64_t count, double a, const float *x, float *y); /* y += a x */
    dg_status (*sum_squares)(dg_backend *backend, int64_t count, const float *x, double *sum);
    /* Decoupled weight decay (Loshchilov & Hutter 2019) as torch.optim.AdamW; m, v are the moments. */
    dg_status (*adamw)(dg_backend *backend, const dg_adamw_desc *desc, int64_t count, float *p, const float *g,
                       float *m, float *v);
    /* torch.optim.SGD; `momentum` buffer. */
    dg_status (*sgd)(dg_backend *backend, const dg_sgd_desc *desc, int64_t count, float *p, const float *g,
                     float *momentum);
    /* average = decay * average + (1 - decay) * p. */
    dg_status (*ema)(dg_backend *backend, double decay, int64_t count, const float *p, float *average);
} dg_backend_ops;

/* Public head of every backend's struct. */
struct dg_backend {
    const dg_backend_ops *ops;
    dg_backend_options options;
    char description[160];   /* "oneDNN 3.2.0, avx512_core_amx, 2 threads" */
    int64_t bytes_allocated; /* through alloc and inside convs and scratch */
    double conv_seconds;     /* time inside convolutions since creation, of backends in host memory (bench) */
};

/* The registered backends: one row each, in order of preference on a CPU-only machine after `cuda`. */
int dg_backend_count(void);
const dg_backend_ops *dg_backend_at(int index);
/* By name ("ref", "onednn", "cuda"); DG_ERR_USAGE lists the known ones. "auto" is the first available. */
DG_MUST_USE dg_status dg_backend_find(const char *name, const dg_backend_ops **out);
/* Finds, checks availability (DG_ERR_UNSUPPORTED says how to get it; no silent fallback) and creates. A table with a
 * NULL operation (but the optional ones) is DG_ERR_INTERNAL naming it. */
DG_MUST_USE dg_status dg_backend_create(const char *name, const dg_backend_options *options, dg_backend **out);
void dg_backend_destroy(dg_backend **backend);

/* The tables themselves, for the registry. */
extern const dg_backend_ops dg_backend_ref;
extern const dg_backend_ops dg_backend_onednn; /* a stub that says how to build it when compiled without oneDNN */
extern const dg_backend_ops dg_backend_cuda;   /* the same, until built with DG_WITH_CUDA */

#endif
