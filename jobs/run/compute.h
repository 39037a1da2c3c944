/* compute.h - where a rank computes: the backend, the same on every rank, with a device of its own where it has devices, and
 * the communicator that reaches its memory. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_COMPUTE_H
#define DG_COMPUTE_H

#include "dg_backend.h"
#include "dg_comm.h"
#include "dg_log.h"

/* `name` is a backend or "auto", the first that runs on every rank. All algorithms are deterministic; comm->timeout_s is
 * also the longest wait for a device. `may_share`: two ranks may have one device. DG_ERR_USAGE for an unknown name or devices
 * that ranks share and may not, DG_ERR_UNSUPPORTED where the backend cannot run. @collective yes. */
DG_MUST_USE dg_status dg_compute_open(dg_comm *comm, const char *name, int threads, bool may_share, dg_backend **out);
/* The PCI address of the device that dg_compute_open will give this rank, "" where the backend computes on the CPU.
 * @collective yes. */
enum { DG_COMPUTE_ADDRESS = 32 };
DG_MUST_USE dg_status dg_compute_address(dg_comm *comm, const char *name, bool may_share,
                                         char address[DG_COMPUTE_ADDRESS]);
/* Where gamma is searched for: "cpu" (*out NULL: the host's threads), "cuda", or "auto", a GPU where every rank has one of its
 * own. The numbers are the same. @collective yes. */
DG_MUST_USE dg_status dg_compute_gamma(dg_comm *comm, const char *name, dg_log *log, dg_backend **out);
/* A communicator for the memory of `backend`, over `comm`; both are borrowed. *out is `comm` itself where the backend
 * computes in host memory. @collective yes. */
DG_MUST_USE dg_status dg_compute_comm(dg_comm *comm, dg_backend *backend, bool may_share, dg_comm **out);
/* Destroys what dg_compute_comm made; `comm` itself is left alone. Collective. */
void dg_compute_comm_close(dg_comm *comm, dg_comm **memory_comm);
/* Every rank takes rank 0's choices of the device library's algorithms, which rank 0 keeps for later runs below
 * $XDG_CACHE_HOME or ~/.cache (dg_device.h). What is wrong with that folder goes to the log. Without devices: nothing.
 * @collective yes. */
DG_MUST_USE dg_status dg_compute_share(dg_comm *comm, dg_backend *backend, dg_log *log);

#endif
