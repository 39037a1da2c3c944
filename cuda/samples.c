/* samples.c - training samples on their way to the network: pinned memory that readers fill, inboxes that are filled on the
 * copy stream while the compute stream works, and augmentation on the device. SPDX-License-Identifier: Apache-2.0 */
#include "cuda_impl.h"
#include "dg_mem.h"

#include <stdio.h>
#include <string.h>

struct dg_inbox {
    char *data; /* device */
    int64_t bytes;
    cudaEvent_t filled; /* of the copy stream: the last copy is done */
    cudaEvent_t read;   /* of the compute stream: what reads it is done */
};

dg_status cuda_pin(dg_backend *backend, int64_t bytes, const char *what, void **out)
{
    const cudaError_t error = cudaMallocHost(out, (size_t)(bytes > 0 ? bytes : 1));
    if (error != cudaSuccess) {
        (void)cudaGetLastError();
        return DG_FAIL(
            DG_ERR_MEMORY,
            "%s: no pinned host memory for %.1f MiB (%s); choose a smaller patch or train.batch, or raise the "
            "limit of locked memory",
            what, (double)bytes / 1048576.0, cudaGetErrorString(error));
    }
    memset(*out, 0, (size_t)bytes);
    return DG_OK;
}

void cuda_unpin(dg_backend *backend, void *data)
{
    if (data != NULL && !cuda_of(backend)->lost) (void)cudaFreeHost(data);
}

void cuda_inbox_destroy(dg_backend *backend, dg_inbox **inbox)
{
    dg_inbox *box = *inbox;
    if (box == NULL) return;
    cuda_free(backend, box->data); /* waits for what was queued */
    if (box->filled != NULL && !cuda_of(backend)->lost) (void)cudaEventDestroy(box->filled);
    if (box->read != NULL && !cuda_of(backend)->lost) (void)cudaEventDestroy(box->read);
    dg_free(inbox);
}

static dg_status open_box(dg_backend *backend, int64_t bytes, const char *what, dg_inbox *box)
{
    void *data = NULL;
    DG_TRY(cuda_ahead_open(&cuda_of(backend)->ahead));
    DG_TRY(cuda_alloc(backend, bytes, what, &data));
    box->data = data;
    box->bytes = bytes;
    DG_CUDA(cudaEventCreateWithFlags(&box->filled, cudaEventDisableTiming));
    DG_CUDA(cudaEventCreateWithFlags(&box->read, cudaEventDisableTiming));
    return DG_OK;
}

dg_status cuda_inbox_create(dg_backend *backend, int64_t bytes, const char *what, dg_inbox **out)
{
    *out = NULL;
    DG_TRY(DG_NEW(out, 1, what));
    const dg_status status = open_box(backend, bytes, what, *out);
    if (status != DG_OK) cuda_inbox_destroy(backend, out);
    return status;
}

dg_status cuda_inbox_fill(dg_backend *backend, dg_inbox *inbox, const void *pinned, int64_t bytes)
{
    const cudaStream_t stream = cuda_of(backend)->ahead.stream;
    if (bytes > inbox->bytes) return DG_FAIL(DG_ERR_INTERNAL, "inbox: more bytes than it holds");
    DG_CUDA(cudaStreamWaitEvent(stream, inbox->read, 0));
    DG_CUDA(cudaMemcpyAsync(inbox->data, pinned, (size_t)bytes, cudaMemcpyHostToDevice, stream));
    DG_CUDA(cudaEventRecord(inbox->filled, stream));
    return DG_OK;
}

dg_status cuda_inbox_wait(dg_backend *backend, dg_inbox *inbox)
{
    return cuda_wait_event(cuda_of(backend), inbox->filled, "a copy of samples");
}

dg_status cuda_inbox_open(dg_backend *backend, dg_inbox *inbox, const void **data)
{
    DG_CUDA(cudaStreamWaitEvent(cuda_of(backend)->stream, inbox->filled, 0));
    *data = inbox->data;
    return DG_OK;
}

dg_status cuda_inbox_release(dg_backend *backend, dg_inbox *inbox)
{
    DG_CUDA(cudaEventRecord(inbox->read, cuda_of(backend)->stream));
    return DG_OK;
}

dg_status cuda_vary(dg_backend *backend, const dg_raw_sample *raw, const dg_variation *how, const dg_varied_sample *out)
{
    if (out->x.n != 1 || out->x.c > DG_VARIED_CHANNELS)
        return DG_FAIL(DG_ERR_INTERNAL,
                       "augmentation: %lld samples of %lld channels; one of at most %d is varied at once",
                       (long long)out->x.n, (long long)out->x.c, DG_VARIED_CHANNELS);
    for (int a = 0; a < 3; a++)
        if (how->fine.n[a] != how->coarse.n[a] * out->block[a])
            return DG_FAIL(DG_ERR_INTERNAL, "augmentation: %lld voxels under %lld along axis %d, in blocks of %lld",
                           (long long)how->fine.n[a], (long long)how->coarse.n[a], a, (long long)out->block[a]);
    DG_CUDA(dg_cuda_vary(cuda_of(backend)->stream, raw, how, out));
    return DG_OK;
}
