/* cuda_backend.c - the CUDA backend: device, stream, memory, and its table. SPDX-License-Identifier: Apache-2.0 */
#include "cuda_impl.h"

#include "dg_mem.h"
#include "plan_cache.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { BLOCKS_FIRST = 256, SPINS = 2000, PAUSE_NANOSECONDS = 20000 };

dg_status dg_cuda_check(cudaError_t error, const char *call)
{
    if (error == cudaSuccess) return DG_OK;
    (void)cudaGetLastError(); /* an error that is not sticky is told once */
    return DG_FAIL(error == cudaErrorMemoryAllocation ? DG_ERR_MEMORY : DG_ERR_BACKEND, "CUDA: %.120s: %s (%s)", call,
                   cudaGetErrorString(error), cudaGetErrorName(error));
}

dg_status dg_cudnn_check(cudnnStatus_t error, const char *call)
{
    if (error == CUDNN_STATUS_SUCCESS) return DG_OK;
    return DG_FAIL(DG_ERR_BACKEND, "cuDNN: %.120s: %s", call, cudnnGetErrorString(error));
}

/* ---- memory --------------------------------------------------------------------------------------------------------- */

static dg_status remember(cuda_backend *backend, void *data, int64_t bytes)
{
    if (backend->block_count == backend->block_room) {
        const int64_t room = backend->block_room > 0 ? 2 * backend->block_room : BLOCKS_FIRST;
        DG_TRY(dg_grow(&backend->blocks, (size_t)backend->block_room, (size_t)room, sizeof *backend->blocks,
                       "list of device memory"));
        backend->block_room = room;
    }
    backend->blocks[backend->block_count++] = (cuda_block){data, bytes};
    backend->head.bytes_allocated += bytes;
    return DG_OK;
}

static dg_status no_room(const char *what, int64_t bytes, int64_t held)
{
    size_t left = 0, total = 0;
    (void)cudaGetLastError();
    (void)cudaMemGetInfo(&left, &total);
    return DG_FAIL(DG_ERR_MEMORY,
                   "%.200s: no device memory for %.1f MiB: %.1f of %.1f MiB are free, this rank holds %.1f MiB "
                   "(nvidia-smi shows who holds more); choose a smaller patch or pass, or dtype bf16",
                   what, (double)bytes / 1048576.0, (double)left / 1048576.0, (double)total / 1048576.0,
                   (double)held / 1048576.0);
}

dg_status cuda_alloc(dg_backend *head, int64_t bytes, const char *what, void **out)
{
    cuda_backend *backend = cuda_of(head);
    *out = NULL;
    void *data = NULL;
    if (bytes < 0) return no_room(what, bytes, head->bytes_allocated);
    const cudaError_t error = cudaMalloc(&data, (size_t)(bytes > 0 ? bytes : 1));
    if (error == cudaErrorMemoryAllocation) return no_room(what, bytes, head->bytes_allocated);
    DG_TRY(dg_cuda_check(error, "cudaMalloc"));
    dg_status status = remember(backend, data, bytes);
    if (status == DG_OK)
        status = dg_cuda_check(cudaMemsetAsync(data, 0, (size_t)bytes, backend->stream), "cudaMemsetAsync");
    if (status == DG_OK)
        status = cuda_wait(backend, backend->stream, what); /* uploads ahead would come before the zeros */
    *out = data;
    return status;
}

void cuda_free(dg_backend *head, void *data)
{
    cuda_backend *backend = cuda_of(head);
    if (data == NULL) return;
    for (int64_t i = backend->block_count - 1; i >= 0; i--) {
        if (backend->blocks[i].data != data) continue;
        head->bytes_allocated -= backend->blocks[i].bytes;
        backend->blocks[i] = backend->blocks[--backend->block_count];
        break;
    }
    if (!backend->lost)
        (void)cudaFree(data); /* waits for queued work that may use it; its errors show at the next call */
}

dg_status cuda_scratch(cuda_backend *backend, int64_t bytes, void *out)
{
    if (bytes > backend->scratch_bytes) {
        void *block;
        if (backend->recording) return DG_FAIL(DG_ERR_INTERNAL, "scratch memory would grow while work is recorded");
        cuda_free(&backend->head, backend->scratch);
        backend->scratch = NULL;
        backend->scratch_bytes = 0;
        DG_TRY(cuda_alloc(&backend->head, bytes, "scratch of the CUDA backend", &block));
        backend->scratch = block;
        backend->scratch_bytes = bytes;
    }
    memcpy(out, &backend->scratch, sizeof backend->scratch);
    return DG_OK;
}

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static dg_status fail_late(cuda_backend *backend, const char *what)
{
    backend->lost = true;
    return DG_FAIL(DG_ERR_BACKEND,
                   "CUDA: device %d does not come to the end of %s after %g s: a kernel hangs, or the GPU is gone (see "
                   "nvidia-smi and the kernel's log for Xid)",
                   backend->device, what, backend->head.options.timeout_s);
}

/* cudaStreamSynchronize and cudaEventSynchronize would wait for ever. They poll as well, so this costs no more of the host.
 * `event` NULL: all of the stream. */
static dg_status wait_for(cuda_backend *backend, cudaStream_t stream, cudaEvent_t event, const char *what)
{
    const double limit = backend->head.options.timeout_s, begin = seconds_now();
    if (backend->lost) return DG_FAIL(DG_ERR_BACKEND, "CUDA: device %d was lost before", backend->device);
    for (int polls = 0;; polls++) {
        const cudaError_t error = event != NULL ? cudaEventQuery(event) : cudaStreamQuery(stream);
        if (error != cudaErrorNotReady) return dg_cuda_check(error, what);
        (void)cudaGetLastError(); /* "not ready" is no error of the next kernel */
        if (limit > 0 && seconds_now() - begin > limit) return fail_late(backend, what);
        if (polls >= SPINS) nanosleep(&(struct timespec){.tv_nsec = PAUSE_NANOSECONDS}, NULL);
    }
}

dg_status cuda_wait(cuda_backend *backend, cudaStream_t stream, const char *what)
{
    return wait_for(backend, stream, NULL, what);
}

dg_status cuda_wait_event(cuda_backend *backend, cudaEvent_t event, const char *what)
{
    return wait_for(backend, NULL, event, what);
}

static dg_status sync_stream(dg_backend *backend)
{
    return cuda_wait(cuda_of(backend), cuda_of(backend)->stream, "the queued operations");
}

static dg_status upload(dg_backend *head, void *device, const void *host, int64_t bytes)
{
    cuda_backend *backend = cuda_of(head);
    for (int64_t at = 0; at < bytes; at += CUDA_STAGING_BYTES) {
        const size_t part = (size_t)(bytes - at < CUDA_STAGING_BYTES ? bytes - at : CUDA_STAGING_BYTES);
        DG_TRY(sync_stream(head));
        memcpy(backend->staging, (const char *)host + at, part);
        DG_CUDA(cudaMemcpyAsync((char *)device + at, backend->staging, part, cudaMemcpyHostToDevice, backend->stream));
    }
    return sync_stream(head);
}

static dg_status download(dg_backend *head, void *host, const void *device, int64_t bytes)
{
    cuda_backend *backend = cuda_of(head);
    for (int64_t at = 0; at < bytes; at += CUDA_STAGING_BYTES) {
        const size_t part = (size_t)(bytes - at < CUDA_STAGING_BYTES ? bytes - at : CUDA_STAGING_BYTES);
        DG_CUDA(cudaMemcpyAsync(backend->staging, (const char *)device + at, part, cudaMemcpyDeviceToHost,
                                backend->stream));
        DG_TRY(sync_stream(head));
        memcpy((char *)host + at, backend->staging, part);
    }
    return sync_stream(head);
}

/* ---- creation ------------------------------------------------------------------------------------------------------- */

static const char *unavailable(void)
{
    int count = 0, driver = 0;
    struct cudaDeviceProp properties;
    const cudaError_t error = cudaGetDeviceCount(&count);
    for (int i = 0; error == cudaSuccess && i < count; i++)
        if (cudaGetDeviceProperties(&properties, i) == cudaSuccess && cuda_is_usable(&properties)) return NULL;
    (void)cudaGetLastError();
    (void)cudaDriverGetVersion(&driver);
    if (driver == 0) return "no NVIDIA driver is loaded: install one, or choose backend onednn";
    if (error == cudaErrorInsufficientDriver)
        return "the NVIDIA driver is older than this build's CUDA: install a newer driver, or choose backend onednn";
    if (error == cudaSuccess && count > 0)
        return "no visible GPU is of the Ampere generation (sm_80) or newer: choose backend onednn";
    return "no CUDA device is visible (CUDA_VISIBLE_DEVICES?): choose backend onednn";
}

static void destroy(dg_backend *head)
{
    cuda_backend *backend = cuda_of(head);
    cuda_free(head, backend->scratch);
    cuda_free(head, backend->sums);
    if (!backend->lost) cuda_ahead_close(&backend->ahead);
    if (backend->cudnn != NULL && !backend->lost) (void)cudnnDestroy(backend->cudnn);
    if (backend->staging != NULL && !backend->lost) (void)cudaFreeHost(backend->staging);
    if (backend->stream != NULL && !backend->lost) (void)cudaStreamDestroy(backend->stream);
    plan_cache_destroy(&backend->plans);
    dg_free(&backend->blocks);
    dg_free(&backend);
}

static dg_status open_device(cuda_backend *backend)
{
    struct cudaDeviceProp properties;
    void *sums;
    DG_CUDA(cudaSetDevice(backend->device));
    DG_CUDA(cudaGetDeviceProperties(&properties, backend->device));
    if (!cuda_is_usable(&properties))
        return DG_FAIL(DG_ERR_UNSUPPORTED, "device %d, %.80s, is of sm_%d%d: sm_80 (Ampere) or newer is needed",
                       backend->device, properties.name, properties.major, properties.minor);
    DG_CUDA(cudaStreamCreateWithPriority(&backend->stream, cudaStreamNonBlocking, 0));
    DG_CUDA(cudaMallocHost(&backend->staging, CUDA_STAGING_BYTES));
    DG_CUDNN(cudnnCreate(&backend->cudnn));
    DG_CUDNN(cudnnSetStream(backend->cudnn, backend->stream));
    char engines[240]; /* choices that were made with TF32 mean nothing without it */
    snprintf(engines, sizeof engines, "%.200s%s", properties.name, cuda_uses_tf32() ? "" : " without TF32");
    DG_TRY(plan_cache_create(engines, cudnnGetVersion(), &backend->plans));
    DG_TRY(cuda_alloc(&backend->head, (int64_t)sizeof(double), "sum of the CUDA backend", &sums));
    backend->sums = sums;
    snprintf(backend->head.description, sizeof backend->head.description, "%.80s (sm_%d%d), cuDNN %zu%s",
             properties.name, properties.major, properties.minor, cudnnGetVersion(),
             cuda_uses_tf32() ? "" : " without TF32");
    return DG_OK;
}

static dg_status create(const dg_backend_options *options, dg_backend **out)
{
    cuda_backend *backend;
    *out = NULL;
    DG_TRY(DG_NEW(&backend, 1, "CUDA backend"));
    backend->head.ops = &dg_backend_cuda;
    backend->head.options = *options;
    backend->device = options->device;
    dg_status status = open_device(backend);
    if (status != DG_OK) {
        destroy(&backend->head);
        return status;
    }
    *out = &backend->head;
    return DG_OK;
}

/* ---- operations: arguments are checked, scratch is found, kernels are queued ------------------------------------------ */

static cudaStream_t stream_of(dg_backend *backend) { return cuda_of(backend)->stream; }

static dg_status norm_scratch(dg_backend *backend, const dg_tensor *x, float **out)
{
    return cuda_scratch(cuda_of(backend), dg_cuda_norm_scratch(x->n, x->c) * (int64_t)sizeof(float), out);
}

static dg_status norm_forward(dg_backend *backend, const dg_norm_desc *desc, const dg_tensor *x, const float *gamma,
                              const float *beta, const float *film, const dg_tensor *residual, float *stats,
                              dg_tensor *y)
{
    float *scratch;
    DG_TRY(dg_arguments_norm(desc, x, gamma, beta, residual, stats, y));
    DG_TRY(norm_scratch(backend, x, &scratch));
    DG_CUDA(dg_cuda_norm_forward(stream_of(backend), desc, x, gamma, beta, film, residual, stats, y, scratch));
    return DG_OK;
}

static dg_status norm_backward(dg_backend *backend, const dg_norm_desc *desc, const dg_tensor *x, const float *gamma,
                               const float *beta, const float *film, const float *stats, const dg_tensor *dy,
                               dg_tensor *dx, bool accumulate, float *dgamma, float *dbeta, float *dfilm)
{
    float *scratch;
    DG_TRY(dg_arguments_norm_backward(desc, x, gamma, beta, film, stats, dy, dx, accumulate, dfilm));
    DG_TRY(norm_scratch(backend, x, &scratch));
    DG_CUDA(dg_cuda_norm_backward(stream_of(backend), desc, x, gamma, beta, film, stats, dy, dx, accumulate, dgamma,
                                  dbeta, dfilm, scratch));
    return DG_OK;
}

static dg_status layer_norm_forward(dg_backend *backend, double eps, const dg_tensor *x, const float *gamma,
                                    const float *beta, float *stats, dg_tensor *y)
{
    DG_TRY(dg_arguments_layer_norm(x, gamma, stats, y));
    DG_CUDA(dg_cuda_layer_norm_forward(stream_of(backend), eps, x, gamma, beta, stats, y));
    return DG_OK;
}

static dg_status layer_norm_backward(dg_backend *backend, const dg_tensor *x, const float *gamma, const float *stats,
                                     const dg_tensor *dy, dg_tensor *dx, bool accumulate, float *dgamma, float *dbeta)
{
    float *scratch;
    DG_TRY(dg_arguments_layer_norm(x, gamma, stats, dy));
    DG_TRY(dg_arguments_same("layer norm backward", x, dy, dx));
    DG_TRY(norm_scratch(backend, x, &scratch));
    DG_CUDA(
        dg_cuda_layer_norm_backward(stream_of(backend), x, gamma, stats, dy, dx, accumulate, dgamma, dbeta, scratch));
    return DG_OK;
}

static dg_status act_forward(dg_backend *backend, dg_activation act, double slope, const dg_tensor *x, dg_tensor *y)
{
    DG_TRY(dg_arguments_same("activation", x, y, NULL));
    DG_CUDA(dg_cuda_act_forward(stream_of(backend), act, slope, x, y));
    return DG_OK;
}

static dg_status act_backward(dg_backend *backend, dg_activation act, double slope, const dg_tensor *x,
                              const dg_tensor *dy, dg_tensor *dx, bool accumulate)
{
    DG_TRY(dg_arguments_same("activation backward", x, dy, dx));
    DG_CUDA(dg_cuda_act_backward(stream_of(backend), act, slope, x, dy, dx, accumulate));
    return DG_OK;
}

static dg_status copy(dg_backend *backend, const dg_tensor *x, dg_tensor *y, bool accumulate)
{
    DG_TRY(dg_arguments_same("copy", x, y, NULL));
    DG_CUDA(dg_cuda_copy(stream_of(backend), x, y, accumulate));
    return DG_OK;
}

static dg_status gate_forward(dg_backend *backend, const dg_tensor *x, const dg_tensor *gate, dg_tensor *y)
{
    DG_TRY(dg_arguments_gate(x, gate, y));
    DG_CUDA(dg_cuda_gate_forward(stream_of(backend), x, gate, y));
    return DG_OK;
}

static dg_status gate_backward(dg_backend *backend, const dg_tensor *x, const dg_tensor *gate, const dg_tensor *dy,
                               dg_tensor *dx, bool accumulate_dx, dg_tensor *dgate)
{
    DG_TRY(dg_arguments_gate(x, gate, dy));
    DG_TRY(dg_arguments_gate(dx, dgate, dy));
    DG_CUDA(dg_cuda_gate_backward(stream_of(backend), x, gate, dy, dx, accumulate_dx, dgate));
    return DG_OK;
}

static dg_status pool_forward(dg_backend *backend, const dg_tensor *x, dg_tensor *y)
{
    DG_TRY(dg_arguments_pool(x, y));
    DG_CUDA(dg_cuda_pool_forward(stream_of(backend), x, y));
    return DG_OK;
}

static dg_status pool_backward(dg_backend *backend, const dg_tensor *x, const dg_tensor *dy, dg_tensor *dx,
                               bool accumulate)
{
    DG_TRY(dg_arguments_pool(x, dy));
    DG_TRY(dg_arguments_same("pool backward", x, dx, NULL));
    DG_CUDA(dg_cuda_pool_backward(stream_of(backend), x, dy, dx, accumulate));
    return DG_OK;
}

static dg_status resize_forward(dg_backend *backend, const dg_tensor *x, dg_tensor *y)
{
    DG_TRY(dg_arguments_resize(x, y));
    DG_CUDA(dg_cuda_resize_forward(stream_of(backend), x, y));
    return DG_OK;
}

static dg_status resize_backward(dg_backend *backend, const dg_tensor *dy, dg_tensor *dx, bool accumulate)
{
    DG_TRY(dg_arguments_resize(dx, dy));
    DG_CUDA(dg_cuda_resize_backward(stream_of(backend), dy, dx, accumulate));
    return DG_OK;
}

static dg_status linear_forward(dg_backend *backend, const dg_tensor *x, const float *w, const float *b, dg_tensor *y)
{
    DG_TRY(dg_arguments_linear(x, w, y));
    DG_CUDA(dg_cuda_linear_forward(stream_of(backend), x, w, b, y));
    return DG_OK;
}

static dg_status linear_backward(dg_backend *backend, const dg_tensor *x, const float *w, const dg_tensor *dy,
                                 dg_tensor *dx, bool accumulate, float *dw, float *db)
{
    DG_TRY(dg_arguments_linear(x, w, dy));
    if (dx != NULL) DG_TRY(dg_arguments_linear(dx, w, dy));
    if (dx != NULL) DG_TRY(dg_arguments_same("linear backward", x, dx, NULL));
    DG_CUDA(dg_cuda_linear_backward(stream_of(backend), x, w, dy, dx, accumulate, dw, db));
    return DG_OK;
}

static dg_status attention_forward(dg_backend *backend, int heads, const dg_tensor *qkv, dg_tensor *y)
{
    DG_TRY(dg_arguments_attention(heads, qkv, y));
    DG_CUDA(dg_cuda_attention_forward(stream_of(backend), heads, qkv, y));
    return DG_OK;
}

static dg_status attention_backward(dg_backend *backend, int heads, const dg_tensor *qkv, const dg_tensor *dy,
                                    dg_tensor *dqkv)
{
    float *scratch;
    DG_TRY(dg_arguments_attention(heads, qkv, dy));
    DG_TRY(dg_arguments_same("attention backward", qkv, dqkv, NULL));
    DG_TRY(cuda_scratch(cuda_of(backend), dg_cuda_attention_scratch(heads, dy) * (int64_t)sizeof(float), &scratch));
    DG_CUDA(dg_cuda_attention_backward(stream_of(backend), heads, qkv, dy, dqkv, scratch));
    return DG_OK;
}

static dg_status loss(dg_backend *backend, const dg_loss_term *term, const dg_loss_batch *batch, const float *weight,
                      void *workspace, double *value, int64_t stride, dg_tensor *dy, bool accumulate)
{
    DG_TRY(dg_arguments_loss(term, batch, weight, value, dy));
    DG_CUDA(dg_cuda_loss(stream_of(backend), term, batch, weight, workspace, value, stride, dy, accumulate));
    return DG_OK;
}

static dg_status fill(dg_backend *backend, float *x, int64_t count, float value)
{
    DG_CUDA(dg_cuda_fill(stream_of(backend), x, count, value));
    return DG_OK;
}

static dg_status axpy(dg_backend *backend, int64_t count, double a, const float *x, float *y)
{
    DG_CUDA(dg_cuda_axpy(stream_of(backend), count, (float)a, x, y));
    return DG_OK;
}

static dg_status sum_squares(dg_backend *backend, int64_t count, const float *x, double *sum)
{
    double *scratch;
    DG_TRY(cuda_scratch(cuda_of(backend), DG_CUDA_SUM_SCRATCH * (int64_t)sizeof(double), &scratch));
    DG_CUDA(dg_cuda_sum_squares(stream_of(backend), count, x, cuda_of(backend)->sums, scratch));
    return download(backend, sum, cuda_of(backend)->sums, sizeof *sum);
}

static dg_status adamw(dg_backend *backend, const dg_adamw_desc *d, int64_t count, float *p, const float *g, float *m,
                       float *v)
{
    const dg_adamw_constants k =
        dg_adamw_prepare(d->lr, d->beta1, d->beta2, d->eps, d->weight_decay, d->step, d->grad_scale);
    DG_CUDA(dg_cuda_adamw(stream_of(backend), &k, count, p, g, m, v));
    return DG_OK;
}

static dg_status sgd(dg_backend *backend, const dg_sgd_desc *d, int64_t count, float *p, const float *g,
                     float *momentum)
{
    const dg_sgd_constants k = {.lr = (float)d->lr,
                                .momentum = (float)d->momentum,
                                .weight_decay = (float)d->weight_decay,
                                .nesterov = d->nesterov ? 1.0f : 0.0f,
                                .grad_scale = (float)d->grad_scale};
    DG_CUDA(dg_cuda_sgd(stream_of(backend), &k, count, p, g, momentum));
    return DG_OK;
}

static dg_status ema(dg_backend *backend, double decay, int64_t count, const float *p, float *average)
{
    DG_CUDA(dg_cuda_ema(stream_of(backend), (float)(1.0 - decay), count, p, average));
    return DG_OK;
}

const dg_backend_ops dg_backend_cuda = {
    .name = "cuda",
    .unavailable = unavailable,
    .device = &dg_device_cuda,
    .create = create,
    .destroy = destroy,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .upload = upload,
    .download = download,
    .sync = sync_stream,
    .upload_ahead = cuda_upload_ahead,
    .conv_create = cuda_conv_create,
    .conv_destroy = cuda_conv_destroy,
    .conv_pack = cuda_conv_pack,
    .conv_forward = cuda_conv_forward,
    .conv_backward_data = cuda_conv_backward_data,
    .conv_backward_weights = cuda_conv_backward_weights,
    .norm_forward = norm_forward,
    .norm_backward = norm_backward,
    .layer_norm_forward = layer_norm_forward,
    .layer_norm_backward = layer_norm_backward,
    .act_forward = act_forward,
    .act_backward = act_backward,
    .copy = copy,
    .gate_forward = gate_forward,
    .gate_backward = gate_backward,
    .pool_forward = pool_forward,
    .pool_backward = pool_backward,
    .resize_forward = resize_forward,
    .resize_backward = resize_backward,
    .linear_forward = linear_forward,
    .linear_backward = linear_backward,
    .attention_forward = attention_forward,
    .attention_backward = attention_backward,
    .loss_workspace = dg_cuda_loss_workspace,
    .loss = loss,
    .window_gather = cuda_window_gather,
    .window_blend = cuda_window_blend,
    .window_finish = cuda_window_finish,
    .find_nonfinite = cuda_find_nonfinite,
    .diffuse = cuda_diffuse,
    .denoise = cuda_denoise,
    .fill = fill,
    .axpy = axpy,
    .sum_squares = sum_squares,
    .adamw = adamw,
    .sgd = sgd,
    .ema = ema,
};
