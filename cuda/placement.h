/* placement.h - which GPU a rank computes on. CUDA_VISIBLE_DEVICES is respected by the CUDA runtime: ordinals count what
 * is visible to a rank, and launchers that give each rank a GPU of its own (srun --gpus-per-task) let each see one.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CUDA_PLACEMENT_H
#define DG_CUDA_PLACEMENT_H

#include "dg_comm.h"

/* *device: `wanted` where it is 0 or more, else the rank's number on its host, counted round the devices it sees. Two
 * ranks with one GPU, found by its UUID, are refused with DG_ERR_USAGE: the same words on every rank, which name both
 * ranks and the remedy. No GPU, or no such ordinal, on some rank: DG_ERR_UNSUPPORTED or DG_ERR_USAGE on every rank.
 * @collective */
DG_MUST_USE dg_status dg_cuda_place(dg_comm *comm, int wanted, int *device);

/* Only the refusal of a shared GPU, for devices chosen otherwise. @collective */
DG_MUST_USE dg_status dg_cuda_refuse_shared(dg_comm *comm, int device);

#endif
