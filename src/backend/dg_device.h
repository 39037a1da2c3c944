/* dg_device.h - what a backend with devices of its own (GPUs) can do beyond the operations: take a device for a rank, and
 * carry its memory from rank to rank, search for gamma. Backends that compute in host memory have no such table.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_DEVICE_H
#define DG_DEVICE_H

#include "dg_backend.h"

struct dg_comm;          /* dg_comm.h */
struct dg_gamma_problem; /* dg_gamma_search.h */
struct dg_gamma_samples; /* dg_gamma_samples.h */

typedef struct dg_device_ops {
    /* The device of this rank in *device, for dg_backend_options: by its number on its host, counted round the devices it
     * sees. Two ranks with one device are refused with DG_ERR_USAGE, the same words on every rank; none: DG_ERR_UNSUPPORTED.
     * @collective */
    dg_status (*place)(struct dg_comm *comm, int *device);
    /* A communicator over `parent` whose data may lie in the memory of `backend`, too; both are borrowed and outlive it.
     * Its operations come after what the backend has queued. A rank waits parent->timeout_s for the others; then
     * DG_ERR_COMM names rank, host, step and phase, and who is behind. @collective */
    dg_status (*comm_create)(struct dg_comm *parent, dg_backend *backend, struct dg_comm **out);
    /* gamma [voxels of the reference] of a problem, all in host memory: the smallest of the samples, or where they are NULL
     * the true minimum over the interpolant. NaN where a voxel is not wanted, or no sample lies in the evaluated dose. */
    dg_status (*gamma)(dg_backend *backend, const struct dg_gamma_problem *problem,
                       const struct dg_gamma_samples *samples, float *gamma);
} dg_device_ops;

#endif
