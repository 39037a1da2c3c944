/* cuda_site.c - see cuda_site.h. SPDX-License-Identifier: Apache-2.0 */
#include "cuda_site.h"

#include "cuda_impl.h"

#include <nccl.h>
#include <stdio.h>

void dg_cuda_site_ask(dg_cuda_site *site)
{
    *site = (dg_cuda_site){.built = true, .cudnn = (int)cudnnGetVersion(), .bf16_refused = cuda_bf16_refused()};
    (void)cudaRuntimeGetVersion(&site->runtime);
    (void)cudaDriverGetVersion(&site->driver);
    (void)ncclGetVersion(&site->nccl);
    if (cudaGetDeviceCount(&site->devices) != cudaSuccess) site->devices = 0;
    (void)cudaGetLastError(); /* no device is an answer, not a fault */
}

void dg_cuda_site_device(int device, char *text, size_t capacity)
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
