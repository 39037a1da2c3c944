/* cuda_site.h - what of CUDA this program was built with, and what is on this machine: for `dosegrid doctor`. Answers also
 * without a driver, and in a program that has no CUDA backend. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CUDA_SITE_H
#define DG_CUDA_SITE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct dg_cuda_site {
    bool built;               /* false: all else is 0 */
    int runtime, driver;      /* CUDA versions, 1000 major + 10 minor; driver 0: none is loaded */
    int cudnn, nccl;          /* as these libraries number themselves, 91900 and 22809; of what is loaded */
    int devices;              /* visible */
    const char *bf16_refused; /* why convolutions in bf16 are refused, or NULL */
} dg_cuda_site;

/* Versions and number of devices, asked now. */
void dg_cuda_site_ask(dg_cuda_site *site);
/* "0: NVIDIA H100 (sm_90, 79.1 GiB, PCI 0000:1b:00.0)" of a visible device; with the reason where it cannot be used. */
void dg_cuda_site_device(int device, char *text, size_t capacity);

#endif
