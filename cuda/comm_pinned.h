/* comm_pinned.h - dg_comm for ranks that share a GPU, which NCCL refuses: device memory passes through pinned host memory and
 * the communicator it stands on; host memory and everything else is that communicator's.
 *
 * Order is that of comm_nccl.h: an operation begins after all that the backend's stream holds when it is called, and what is
 * queued there after it is done sees its result. Sums go on in the order in which they were started, whichever is tested.
 * gather takes host memory only. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_COMM_PINNED_H
#define DG_COMM_PINNED_H

#include "dg_backend.h"
#include "dg_comm.h"

/* Over `parent` (borrowed, outlives it) for the memory of `backend` ("cuda", the same). @collective */
DG_MUST_USE dg_status dg_comm_pinned_create(dg_comm *parent, dg_backend *backend, dg_comm **out);

#endif
