/* dg_device.h - what a backend with devices of its own (GPUs) can do beyond the operations: take a device for a rank, and
 * carry its memory from rank to rank, search for gamma, take in and vary training samples. Backends that compute in host
 * memory have no such table. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_DEVICE_H
#define DG_DEVICE_H

#include "dg_backend.h"
#include "dg_variation.h"

struct dg_comm;          /* dg_comm.h */
struct dg_gamma_problem; /* dg_gamma_search.h */
struct dg_gamma_samples; /* dg_gamma_samples.h */

/* Versions of the libraries that were built in, as they number themselves (CUDA 13000, cuDNN 91900, NCCL 22809), and what is
 * on this machine. */
typedef struct dg_device_site {
    int runtime, driver; /* CUDA; driver 0: none is loaded */
    int cudnn, nccl, devices;
    const char *bf16_refused; /* why convolutions in bf16 are refused, or NULL */
} dg_device_site;

/* Work that was recorded once and can be queued again as one. */
typedef struct dg_recording dg_recording;

/* A block of device memory that the host fills while the device computes. */
typedef struct dg_inbox dg_inbox;

/* A sample as it was read, in backend memory; voxels in z,y,x order. */
typedef struct dg_raw_sample {
    const float *channels;   /* [c,z,y,x] */
    const float *target;     /* [z,y,x] of the outputs' grid */
    const uint8_t *counted;  /* the same; NULL: no voxel counts, and nothing else is there */
    const uint32_t *regions; /* the same; NULL where the loss looks at none */
} dg_raw_sample;

/* Where it goes: the network's input, one sample, and the outputs with the voxels of a block side by side. */
typedef struct dg_varied_sample {
    dg_tensor x;
    int64_t block[3]; /* voxels of the outputs' grid under one of the input's, zyx */
    float *target;
    uint8_t *counted;
    uint32_t *regions; /* NULL where the loss looks at none */
} dg_varied_sample;

typedef struct dg_device_ops {
    /* The device of this rank in *device, for dg_backend_options: by its number on its host and Slurm's variables
     * (cuda/placement.h). Two ranks with one device are refused with DG_ERR_USAGE, the same words on every rank, unless they may share;
     * none: DG_ERR_UNSUPPORTED. @collective */
    dg_status (*place)(struct dg_comm *comm, bool may_share, int *device);
    /* A communicator over `parent` whose data may lie in the memory of `backend`, too; both are borrowed and outlive it.
     * Its operations come after what the backend has queued. Where ranks share a device, and may, its sums pass through host
     * memory. A rank waits parent->timeout_s for the others; then
     * DG_ERR_COMM names rank, host, step and phase, and who is behind. @collective */
    dg_status (*comm_create)(struct dg_comm *parent, dg_backend *backend, bool may_share, struct dg_comm **out);
    /* gamma [voxels of the reference] of a problem, all in host memory: the smallest of the samples, or where they are NULL
     * the true minimum over the interpolant. NaN where a voxel is not wanted, or no sample lies in the evaluated dose. */
    dg_status (*gamma)(dg_backend *backend, const struct dg_gamma_problem *problem,
                       const struct dg_gamma_samples *samples, float *gamma);
    /* The algorithms that the vendor's library is to take are rank 0's on every rank: those that an earlier run left in
     * `folder` for this device and version (read at the first call) and those that rank 0 made since, which it leaves there
     * ("": nothing is read or kept). Where a rank had prepared others, they are prepared again at their next use.
     * `warning` ("" if nothing): what is wrong with the folder, or why this rank keeps its own. @collective */
    dg_status (*share_choices)(struct dg_comm *comm, dg_backend *backend, const char *folder, char *warning,
                               size_t capacity);
    /* What memory and the tensor cores (bf16, f32 sums) of a device can do at most; 0 where it is not known. */
    void (*peaks)(int device, double *bytes_per_s, double *flops_per_s);
    /* Answers also where there is no driver and no device. */
    void (*ask_site)(dg_device_site *site);
    /* "0: NVIDIA H100 (sm_90, 79.1 GiB, PCI 0000:1b:00.0)" of a visible device; the reason where it cannot be used. */
    void (*describe)(int device, char *text, size_t capacity);
    /* "0000:1b:00.0", as NVML and hwloc know it; "" where the device cannot be used. */
    void (*pci_address)(int device, char *text, size_t capacity);

    /* Between begin and end, operations are recorded and not done; each of them must have run before with the same shapes,
     * and none may wait or take memory. `keep` false: what was recorded is dropped, after a failure. replay queues it; the
     * pointers are those of the recording. A recording goes stale when the backend had to move memory of its own. */
    dg_status (*record_begin)(dg_backend *backend);
    dg_status (*record_end)(dg_backend *backend, bool keep, dg_recording **out);
    dg_status (*replay)(dg_backend *backend, dg_recording *recording);
    bool (*is_stale)(const dg_backend *backend, const dg_recording *recording);
    void (*recording_destroy)(dg_backend *backend, dg_recording **recording);

    /* Memory of the host that a device reads by itself; zeroed. unpin waits for copies that read it. */
    dg_status (*pin)(dg_backend *backend, int64_t bytes, const char *what, void **out);
    void (*unpin)(dg_backend *backend, void *data);
    /* An inbox of `bytes`. In turn: fill begins to copy `bytes` of pinned memory, beside the operations that are queued, but
     * after those before the last inbox_release; inbox_wait returns when the pinned memory may change; operations queued
     * after inbox_open, which gives the device memory, find what was copied; after the last of them, inbox_release. */
    dg_status (*inbox_create)(dg_backend *backend, int64_t bytes, const char *what, dg_inbox **out);
    void (*inbox_destroy)(dg_backend *backend, dg_inbox **inbox);
    dg_status (*inbox_fill)(dg_backend *backend, dg_inbox *inbox, const void *pinned, int64_t bytes);
    dg_status (*inbox_wait)(dg_backend *backend, dg_inbox *inbox);
    dg_status (*inbox_open)(dg_backend *backend, dg_inbox *inbox, const void **data);
    dg_status (*inbox_release)(dg_backend *backend, dg_inbox *inbox);
    /* Augmentation, with the numbers that dg_sample_make (jobs/run/sample.h) has on the host: the same bits, but that log and
     * cos of the noise may round otherwise in their last place of f64, so that rarely a voxel's noise is the next f32. */
    dg_status (*vary)(dg_backend *backend, const dg_raw_sample *raw, const dg_variation *how,
                      const dg_varied_sample *out);
} dg_device_ops;

#endif
