/* device.c - what the CUDA backend can do with its devices beyond the operations (dg_device.h).
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_device.h"

#include "comm_nccl.h"
#include "comm_pinned.h"
#include "cuda_impl.h"
#include "placement.h"
#include "plan_share.h"

#include <nccl.h>
#include <stdio.h>

static dg_status place(dg_comm *comm, bool may_share, int *device)
{
    return dg_cuda_place(comm, -1, may_share, device);
}

static dg_status comm_create(dg_comm *parent, dg_backend *backend, bool may_share, dg_comm **out)
{
    bool shared;
    *out = NULL;
    if (!may_share || parent->size == 1) return dg_comm_nccl_create(parent, backend, out);
    DG_TRY(dg_cuda_find_shared(parent, cuda_of(backend)->device, true, &shared));
    return shared ? dg_comm_pinned_create(parent, backend, out) : dg_comm_nccl_create(parent, backend, out);
}

static void ask_site(dg_device_site *site)
{
    *site = (dg_device_site){.cudnn = (int)cudnnGetVersion(), .bf16_refused = cuda_bf16_refused()};
    (void)cudaRuntimeGetVersion(&site->runtime);
    (void)cudaDriverGetVersion(&site->driver);
    (void)ncclGetVersion(&site->nccl);
    if (cudaGetDeviceCount(&site->devices) != cudaSuccess) site->devices = 0;
    (void)cudaGetLastError(); /* no device is an answer, not a fault */
}

static void describe(int device, char *text, size_t capacity)
{
    struct cudaDeviceProp p;
    const cudaError_t error = cudaGetDeviceProperties(&p, device);
    if (error != cudaSuccess) {
        (void)cudaGetLastError();
        snprintf(text, capacity, "%d: %s", device, cudaGetErrorString(error));
        return;
    }
    snprintf(text, capacity, "%d: %.80s (sm_%d%d, %.1f GiB, PCI %04x:%02x:%02x.0)%s", device, p.name, p.major, p.minor,
             (double)p.totalGlobalMem / 1073741824.0, (unsigned)p.pciDomainID, (unsigned)p.pciBusID,
             (unsigned)p.pciDeviceID, cuda_is_usable(&p) ? "" : ", too old: sm_80 or newer is needed");
}

static void pci_address(int device, char *text, size_t capacity)
{
    text[0] = '\0';
    if (cudaDeviceGetPCIBusId(text, (int)capacity, device) == cudaSuccess) return;
    (void)cudaGetLastError();
    text[0] = '\0';
}

/* Dense bf16 products with f32 sums of one multiprocessor in one cycle, two operations each: NVIDIA's architecture papers
 * (A100, GA102, AD102, H100, B200, RTX Blackwell). */
static double flops_per_cycle(int major, int minor)
{
    if (major == 8) return minor == 0 ? 2048 : 512;
    return major == 9 ? 4096 : major == 10 ? 8192 : major == 12 ? 512 : 0;
}

static void peaks(int device, double *bytes_per_s, double *flops_per_s)
{
    struct cudaDeviceProp p;
    int clock_khz = 0, memory_khz = 0;
    *bytes_per_s = *flops_per_s = 0;
    if (cudaGetDeviceProperties(&p, device) != cudaSuccess ||
        cudaDeviceGetAttribute(&clock_khz, cudaDevAttrClockRate, device) != cudaSuccess ||
        cudaDeviceGetAttribute(&memory_khz, cudaDevAttrMemoryClockRate, device) != cudaSuccess) {
        (void)cudaGetLastError();
        return;
    }
    *bytes_per_s = 2e3 * memory_khz * p.memoryBusWidth / 8; /* two transfers a cycle */
    *flops_per_s = 1e3 * clock_khz * p.multiProcessorCount * flops_per_cycle(p.major, p.minor);
    if (*flops_per_s == 0) *bytes_per_s = 0;
}

const dg_device_ops dg_device_cuda = {
    .place = place,
    .comm_create = comm_create,
    .gamma = dg_cuda_gamma,
    .share_choices = dg_cuda_share_plans,
    .peaks = peaks,
    .ask_site = ask_site,
    .describe = describe,
    .pci_address = pci_address,
    .record_begin = cuda_record_begin,
    .record_end = cuda_record_end,
    .replay = cuda_replay,
    .is_stale = cuda_is_stale,
    .recording_destroy = cuda_recording_destroy,
    .pin = cuda_pin,
    .unpin = cuda_unpin,
    .inbox_create = cuda_inbox_create,
    .inbox_destroy = cuda_inbox_destroy,
    .inbox_fill = cuda_inbox_fill,
    .inbox_wait = cuda_inbox_wait,
    .inbox_open = cuda_inbox_open,
    .inbox_release = cuda_inbox_release,
    .vary = cuda_vary,
};
