/* onednn_backend.c - creation, memory, threads and the table of the oneDNN backend. SPDX-License-Identifier: Apache-2.0 */
#include "onednn_impl.h"
#include "wgrad_amx.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

/* In front of every block, so that free knows its size; keeps the block 64-byte aligned. */
typedef struct block_head {
    int64_t bytes;
    char padding[DG_MEM_ALIGNMENT - sizeof(int64_t)];
} block_head;

enum { HUGE_PAGE = 2 << 20 };

dg_status onednn_alloc(dg_backend *backend, int64_t bytes, const char *what, void **out)
{
    *out = NULL;
    const int64_t whole = bytes + (int64_t)sizeof(block_head);
    const int64_t alignment = whole >= 2 * HUGE_PAGE ? HUGE_PAGE : DG_MEM_ALIGNMENT;
    const int64_t rounded = (whole + alignment - 1) / alignment * alignment;
    block_head *head = bytes < 0 ? NULL : aligned_alloc((size_t)alignment, (size_t)rounded);
    if (head == NULL)
        return DG_FAIL(DG_ERR_MEMORY, "%s: no memory for %.1f MiB; use fewer ranks per node or a smaller patch", what,
                       (double)bytes / 1048576.0);
#ifdef MADV_HUGEPAGE
    if (alignment == HUGE_PAGE)
        (void)madvise(head, (size_t)rounded, MADV_HUGEPAGE); /* a hint: refusal costs speed alone */
#endif
    memset(head, 0, (size_t)rounded);
    head->bytes = rounded;
    backend->bytes_allocated += rounded;
    *out = head + 1;
    return DG_OK;
}

void onednn_free(dg_backend *backend, void *data)
{
    if (data == NULL) return;
    block_head *head = (block_head *)data - 1;
    backend->bytes_allocated -= head->bytes;
    free(head);
}

dg_status onednn_scratch(onednn_backend *backend, int64_t bytes, void *out)
{
    if (bytes > backend->scratch_bytes) {
        onednn_free(&backend->head, backend->scratch);
        backend->scratch = NULL;
        backend->scratch_bytes = 0;
        void *block;
        DG_TRY(onednn_alloc(&backend->head, bytes, "scratch of the oneDNN backend", &block));
        backend->scratch = block;
        backend->scratch_bytes = bytes;
    }
    memcpy(out, &backend->scratch, sizeof backend->scratch);
    return DG_OK;
}

void onednn_use_threads(const onednn_backend *backend) { omp_set_num_threads(backend->head.options.threads); }

double onednn_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void onednn_parallel(const onednn_backend *backend, int64_t items, onednn_work run, void *context)
{
    const int threads = backend->head.options.threads;
#pragma omp parallel for num_threads(threads) schedule(static) if (items > 1)
    for (int64_t item = 0; item < items; item++) run(context, item);
}

static const char *unavailable(void)
{
#if defined(__x86_64__)
    return NULL;
#else
    return "the oneDNN backend's own loops are built for x86-64 only: choose backend ref";
#endif
}

/* What oneDNN uses, which its variable ONEDNN_MAX_CPU_ISA can lower: the own loops follow. */
static bool uses_isa(dnnl_cpu_isa_t isa) { return ((int)dnnl_get_effective_cpu_isa() & (int)isa) == (int)isa; }

static const dg_kernels *best_kernels(void)
{
    if (uses_isa(dnnl_cpu_isa_avx512_core_bf16)) return &dg_kernels_avx512;
    if (uses_isa(dnnl_cpu_isa_avx2)) return &dg_kernels_avx2;
    return &dg_kernels_base;
}

static const char *isa_text(void)
{
    switch (dnnl_get_effective_cpu_isa()) {
    case dnnl_cpu_isa_sse41: return "sse41";
    case dnnl_cpu_isa_avx: return "avx";
    case dnnl_cpu_isa_avx2: return "avx2";
    case dnnl_cpu_isa_avx512_core: return "avx512_core";
    case dnnl_cpu_isa_avx512_core_vnni: return "avx512_core_vnni";
    case dnnl_cpu_isa_avx512_core_bf16: return "avx512_core_bf16";
    case dnnl_cpu_isa_avx512_core_fp16: return "avx512_core_fp16";
    case dnnl_cpu_isa_avx512_core_amx: return "avx512_core_amx";
    default: return "other";
    }
}

static void destroy(dg_backend *head)
{
    onednn_backend *backend = onednn_of(head);
    onednn_free(head, backend->scratch);
    if (backend->stream != NULL) dnnl_stream_destroy(backend->stream);
    if (backend->engine != NULL) dnnl_engine_destroy(backend->engine);
    dg_free(&backend);
}

static dg_status open_engine(onednn_backend *backend)
{
    onednn_use_threads(backend);
    DG_DNNL(dnnl_engine_create(&backend->engine, dnnl_cpu, 0));
    DG_DNNL(dnnl_stream_create(&backend->stream, backend->engine, dnnl_stream_default_flags));
    return DG_OK;
}

static dg_status create(const dg_backend_options *options, dg_backend **out)
{
    onednn_backend *backend;
    *out = NULL;
    DG_TRY(DG_NEW(&backend, 1, "oneDNN backend"));
    backend->head.ops = &dg_backend_onednn;
    backend->head.options = *options;
    backend->kernels = best_kernels();
    backend->bf16 = uses_isa(dnnl_cpu_isa_avx512_core_bf16);
    backend->amx = uses_isa(dnnl_cpu_isa_avx512_core_amx) && dg_wgrad_amx_available();
    dg_status status = open_engine(backend);
    if (status != DG_OK) {
        destroy(&backend->head);
        return status;
    }
    const dnnl_version_t *version = dnnl_version();
    snprintf(backend->head.description, sizeof backend->head.description, "oneDNN %d.%d.%d, %s%s, %d thread%s",
             version->major, version->minor, version->patch, isa_text(), backend->amx ? " with own convolutions" : "",
             options->threads, options->threads == 1 ? "" : "s");
    *out = &backend->head;
    return DG_OK;
}

static dg_status copy_bytes(dg_backend *backend, void *to, const void *from, int64_t bytes)
{
    if (bytes > 0) memcpy(to, from, (size_t)bytes);
    return DG_OK;
}

static dg_status sync_nothing(dg_backend *backend) { return DG_OK; }

const dg_backend_ops dg_backend_onednn = {
    .name = "onednn",
    .unavailable = unavailable,
    .create = create,
    .destroy = destroy,
    .alloc = onednn_alloc,
    .free = onednn_free,
    .upload = copy_bytes,
    .download = copy_bytes,
    .sync = sync_nothing,
    .upload_ahead = copy_bytes,
    .conv_create = onednn_conv_create,
    .conv_destroy = onednn_conv_destroy,
    .conv_pack = onednn_conv_pack,
    .conv_forward = onednn_conv_forward,
    .conv_backward_data = onednn_conv_backward_data,
    .conv_backward_weights = onednn_conv_backward_weights,
    .norm_forward = onednn_norm_forward,
    .residual_fuses = onednn_residual_fuses,
    .norm_forward_fused = onednn_norm_forward_fused,
    .norm_backward = onednn_norm_backward,
    .layer_norm_forward = onednn_layer_norm_forward,
    .layer_norm_backward = onednn_layer_norm_backward,
    .act_forward = onednn_act_forward,
    .act_backward = onednn_act_backward,
    .copy = onednn_copy,
    .gate_forward = onednn_gate_forward,
    .gate_backward = onednn_gate_backward,
    .pool_forward = onednn_pool_forward,
    .pool_backward = onednn_pool_backward,
    .resize_forward = onednn_resize_forward,
    .resize_backward = onednn_resize_backward,
    .linear_forward = onednn_linear_forward,
    .linear_backward = onednn_linear_backward,
    .attention_forward = onednn_attention_forward,
    .attention_backward = onednn_attention_backward,
    .loss_workspace = onednn_loss_workspace,
    .loss = onednn_loss,
    .window_gather = onednn_window_gather,
    .window_blend = onednn_window_blend,
    .window_finish = onednn_window_finish,
    .find_nonfinite = onednn_find_nonfinite,
    .diffuse = onednn_diffuse,
    .denoise = onednn_denoise,
    .fill = onednn_fill,
    .axpy = onednn_axpy,
    .sum_squares = onednn_sum_squares,
    .adamw = onednn_adamw,
    .sgd = onednn_sgd,
    .ema = onednn_ema,
};
