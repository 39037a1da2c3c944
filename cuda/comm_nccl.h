/* comm_nccl.h - dg_comm whose data may lie on the GPU: device memory goes through NCCL, host memory and everything else
 * (agreement, gather, counters, barrier) through the communicator it stands on.
 *
 * Order: an operation on device memory begins after all that the backend's stream holds when it is called, with no
 * dg_backend sync between. When a blocking call, test or wait says it is done, it is: what is queued on the backend's
 * stream afterwards sees its result. The backend's stream itself never waits for NCCL, so that a lost rank cannot hang
 * the calls of the backend.
 * NCCL has no tags: messages between two ranks on device memory are matched in their order, and both sides of a
 * message must be on device memory. gather takes host memory only.
 * Sums of bf16 are NCCL's: added in f32, rounded to bf16 at every rank of a ring or node of a tree that passes them on.
 * Pointers are told apart by cudaPointerGetAttributes. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_COMM_NCCL_H
#define DG_COMM_NCCL_H

#include "dg_backend.h"
#include "dg_comm.h"

/* Over `parent` (borrowed, outlives it) for the memory of `backend` ("cuda", borrowed, outlives it too). One rank needs
 * no NCCL and starts none. Two ranks on one GPU are refused as by dg_cuda_place.
 * parent->timeout_s is how long a rank waits for the others, at the start and in each operation. When it is over, or NCCL
 * or the device reports a fault, the call is DG_ERR_COMM and names rank, host, step, phase, what was waited for and, as far
 * as the heartbeat knows, who is behind; the communicator is aborted within a few seconds more, by a thread of its own, since the abort may hang as well.
 * @collective */
DG_MUST_USE dg_status dg_comm_nccl_create(dg_comm *parent, dg_backend *backend, dg_comm **out);

#endif
