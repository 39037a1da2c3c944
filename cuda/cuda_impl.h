/* cuda_impl.h - the inside of the CUDA backend: one device, one stream in which every operation is queued, scratch memory
 * and pinned staging. The engine's tensors are device memory; parameters, statistics and losses are f32 there.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CUDA_IMPL_H
#define DG_CUDA_IMPL_H

#include "dg_arguments.h"
#include "dg_device.h"
#include "cuda_kernels.h"

#include <cudnn.h>

typedef struct cuda_block {
    void *data;
    int64_t bytes;
} cuda_block;

/* Copies to the device on a stream of their own, made at the first. */
typedef struct cuda_ahead {
    cudaStream_t stream;
    void *staging[2]; /* pinned; one is filled while the other is copied */
    cudaEvent_t copied[2];
    int slot; /* the last one used */
} cuda_ahead;

typedef struct cuda_backend {
    dg_backend head;
    int device;
    cudaStream_t stream;
    bool recording; /* queued operations are recorded and not done */
    cudnnHandle_t cudnn;
    struct plan_cache *plans; /* which engine each convolution takes */
    int64_t plans_kept;       /* plan_cache_changes that are on disk */
    bool plans_read;
    float *scratch; /* device; grows, never while work is captured */
    int64_t scratch_bytes;
    cuda_block *blocks; /* [block_room] what was allocated, so that free knows its size */
    int64_t block_count, block_room;
    double *sums;  /* device: the result of a sum on its way to the host */
    bool lost;     /* the device hangs: nothing more is asked of it, what it holds ends with the process */
    void *staging; /* pinned host memory of CUDA_STAGING_BYTES: pageable memory passes through it */
    cuda_ahead ahead;
} cuda_backend;

enum { CUDA_STAGING_BYTES = 16 << 20 };

static inline cuda_backend *cuda_of(dg_backend *backend) { return (cuda_backend *)backend; }

/* Turns an error of the runtime into a status with its words: DG_ERR_MEMORY for memory, else DG_ERR_BACKEND. */
dg_status dg_cuda_check(cudaError_t error, const char *call);
dg_status dg_cudnn_check(cudnnStatus_t error, const char *call);
#define DG_CUDA(call) DG_TRY(dg_cuda_check((call), #call))
#define DG_CUDNN(call) DG_TRY(dg_cudnn_check((call), #call))

/* Is a device one that this program has code for? The oldest is sm_80, the first with bf16 tensor cores. */
static inline bool cuda_is_usable(const struct cudaDeviceProp *properties) { return properties->major >= 8; }
/* Why the cuDNN that is loaded gets no bf16 convolutions, or NULL. */
const char *cuda_bf16_refused(void);
/* May convolutions of f32 round what they multiply to TF32 (10 bits)? cuDNN's choice, unless NVIDIA_TF32_OVERRIDE=0 is set. */
bool cuda_uses_tf32(void);

/* At least `bytes` of device scratch in *out, undefined content, valid until the next operation is queued. */
DG_MUST_USE dg_status cuda_scratch(cuda_backend *backend, int64_t bytes, void *out);
/* Device memory that counts in bytes_allocated; zeroed. */
dg_status cuda_alloc(dg_backend *backend, int64_t bytes, const char *what, void **out);
void cuda_free(dg_backend *backend, void *data);

/* Waits for the stream as long as the options allow; beyond that the device counts as lost. */
DG_MUST_USE dg_status cuda_wait(cuda_backend *backend, cudaStream_t stream, const char *what);
/* The same for a place in a stream. */
DG_MUST_USE dg_status cuda_wait_event(cuda_backend *backend, cudaEvent_t event, const char *what);
/* device.c */
extern const struct dg_device_ops dg_device_cuda;

/* recording.c: of dg_device_ops. */
dg_status cuda_record_begin(dg_backend *backend);
dg_status cuda_record_end(dg_backend *backend, bool keep, dg_recording **out);
dg_status cuda_replay(dg_backend *backend, dg_recording *recording);
bool cuda_is_stale(const dg_backend *backend, const dg_recording *recording);
void cuda_recording_destroy(dg_backend *backend, dg_recording **recording);

/* conv.c */
dg_status cuda_conv_create(dg_backend *backend, const dg_conv_desc *desc, dg_conv **out);
void cuda_conv_destroy(dg_backend *backend, dg_conv *conv);
dg_status cuda_conv_pack(dg_backend *backend, dg_conv *conv, const float *w, const float *bias);
dg_status cuda_conv_forward(dg_backend *backend, dg_conv *conv, const dg_tensor *x, dg_tensor *y);
dg_status cuda_conv_backward_data(dg_backend *backend, dg_conv *conv, const dg_tensor *dy, dg_tensor *dx);
dg_status cuda_conv_backward_weights(dg_backend *backend, dg_conv *conv, const dg_tensor *x, const dg_tensor *dy,
                                     float *dw, float *db);

/* window.c */
dg_status cuda_window_gather(dg_backend *backend, const dg_ring *volume, const dg_window_channels *channels,
                             const dg_windows *windows, dg_tensor *x);
dg_status cuda_window_blend(dg_backend *backend, const dg_tensor *y, const int64_t sub[3], const dg_windows *windows,
                            const float *const weight[3], float factor, dg_ring *sum);
dg_status cuda_window_finish(dg_backend *backend, dg_ring *sum, int64_t first, int64_t count,
                             const float *const weight[3], float low, float high, float *out);
dg_status cuda_find_nonfinite(dg_backend *backend, const dg_tensor *x, int32_t *found);
dg_status cuda_diffuse(dg_backend *backend, const dg_diffuse *how, const dg_tensor *condition, const float *clean,
                       float *wanted, dg_tensor *x);
dg_status cuda_denoise(dg_backend *backend, const dg_denoise *step, const dg_noise *fresh, int64_t count,
                       const float *said, float *x, float *clean);
dg_status cuda_upload_ahead(dg_backend *backend, void *device, const void *host, int64_t bytes);
dg_status cuda_ahead_open(cuda_ahead *ahead); /* again: nothing */
void cuda_ahead_close(cuda_ahead *ahead);

/* samples.c: of dg_device_ops. */
dg_status cuda_pin(dg_backend *backend, int64_t bytes, const char *what, void **out);
void cuda_unpin(dg_backend *backend, void *data);
dg_status cuda_inbox_create(dg_backend *backend, int64_t bytes, const char *what, dg_inbox **out);
void cuda_inbox_destroy(dg_backend *backend, dg_inbox **inbox);
dg_status cuda_inbox_fill(dg_backend *backend, dg_inbox *inbox, const void *pinned, int64_t bytes);
dg_status cuda_inbox_wait(dg_backend *backend, dg_inbox *inbox);
dg_status cuda_inbox_open(dg_backend *backend, dg_inbox *inbox, const void **data);
dg_status cuda_inbox_release(dg_backend *backend, dg_inbox *inbox);
dg_status cuda_vary(dg_backend *backend, const dg_raw_sample *raw, const dg_variation *how,
                    const dg_varied_sample *out);

/* gamma.c */
struct dg_gamma_problem;
struct dg_gamma_samples;
dg_status dg_cuda_gamma(dg_backend *backend, const struct dg_gamma_problem *problem,
                        const struct dg_gamma_samples *samples, float *gamma);

#endif
