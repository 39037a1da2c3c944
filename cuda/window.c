/* window.c - the host side of sliding windows: arguments are checked, kernels are queued; and uploads on a stream of their
 * own, so that the planes of the next windows arrive while the present ones compute. SPDX-License-Identifier: Apache-2.0 */
#include "cuda_impl.h"

#include <string.h>

enum { AHEAD_BYTES = 4 << 20 };

static cudaStream_t stream_of(dg_backend *backend) { return cuda_of(backend)->stream; }

dg_status cuda_window_gather(dg_backend *backend, const dg_ring *volume, const dg_window_channels *channels,
                             const dg_windows *windows, dg_tensor *x)
{
    DG_TRY(dg_arguments_gather(volume, channels, x));
    DG_CUDA(dg_cuda_window_gather(stream_of(backend), volume, channels, windows, x));
    return DG_OK;
}

dg_status cuda_window_blend(dg_backend *backend, const dg_tensor *y, const int64_t sub[3], const dg_windows *windows,
                            const float *const weight[3], float factor, dg_ring *sum)
{
    DG_TRY(dg_arguments_blend(y, sub, sum));
    DG_CUDA(dg_cuda_window_blend(stream_of(backend), y, sub, windows, weight, factor, sum));
    return DG_OK;
}

dg_status cuda_window_finish(dg_backend *backend, dg_ring *sum, int64_t first, int64_t count,
                             const float *const weight[3], float low, float high, float *out)
{
    DG_TRY(dg_arguments_finish(sum, first, count, out));
    DG_CUDA(dg_cuda_window_finish(stream_of(backend), sum, first, count, weight, low, high, out));
    return DG_OK;
}

dg_status cuda_find_nonfinite(dg_backend *backend, const dg_tensor *x, int32_t *found)
{
    DG_TRY(dg_arguments_find(x, found));
    DG_CUDA(dg_cuda_find_nonfinite(stream_of(backend), x, found));
    return DG_OK;
}

dg_status cuda_ahead_open(cuda_ahead *ahead)
{
    if (ahead->stream != NULL) return DG_OK;
    for (int i = 0; i < 2; i++) {
        if (ahead->staging[i] == NULL) DG_CUDA(cudaMallocHost(&ahead->staging[i], AHEAD_BYTES));
        if (ahead->copied[i] == NULL) DG_CUDA(cudaEventCreateWithFlags(&ahead->copied[i], cudaEventDisableTiming));
    }
    DG_CUDA(cudaStreamCreateWithPriority(&ahead->stream, cudaStreamNonBlocking, 0));
    return DG_OK;
}

void cuda_ahead_close(cuda_ahead *ahead)
{
    if (ahead->stream != NULL) (void)cudaStreamDestroy(ahead->stream);
    for (int i = 0; i < 2; i++) {
        if (ahead->copied[i] != NULL) (void)cudaEventDestroy(ahead->copied[i]);
        if (ahead->staging[i] != NULL) (void)cudaFreeHost(ahead->staging[i]);
    }
    memset(ahead, 0, sizeof *ahead);
}

dg_status cuda_upload_ahead(dg_backend *head, void *device, const void *host, int64_t bytes)
{
    cuda_ahead *ahead = &cuda_of(head)->ahead;
    DG_TRY(cuda_ahead_open(ahead));
    for (int64_t at = 0; at < bytes; at += AHEAD_BYTES) {
        const size_t part = (size_t)(bytes - at < AHEAD_BYTES ? bytes - at : AHEAD_BYTES);
        const int slot = ahead->slot = 1 - ahead->slot;
        DG_CUDA(cudaEventSynchronize(ahead->copied[slot])); /* of the copy before the last: its staging is free */
        memcpy(ahead->staging[slot], (const char *)host + at, part);
        DG_CUDA(
            cudaMemcpyAsync((char *)device + at, ahead->staging[slot], part, cudaMemcpyHostToDevice, ahead->stream));
        DG_CUDA(cudaEventRecord(ahead->copied[slot], ahead->stream));
    }
    if (bytes > 0) DG_CUDA(cudaStreamWaitEvent(stream_of(head), ahead->copied[ahead->slot], 0));
    return DG_OK;
}
