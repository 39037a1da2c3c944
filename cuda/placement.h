/* placement.h - which GPU a rank computes on. CUDA_VISIBLE_DEVICES is respected by the CUDA runtime: ordinals count what
 * is visible to a rank, and launchers that give each rank a GPU of its own (srun --gpus-per-task) let each see one.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CUDA_PLACEMENT_H
#define DG_CUDA_PLACEMENT_H

#include "dg_comm.h"

/* Which of the `visible` devices a rank takes, by its number among the ranks of its host and by what Slurm says:
 * - one visible device (srun --gpus-per-task with cgroups or CUDA_VISIBLE_DEVICES): that one;
 * - SLURM_LOCALID counts where it is larger than MPI's number: ranks in containers of their own see no neighbours;
 * - without CUDA_VISIBLE_DEVICES, where SLURM_STEP_GPUS (else SLURM_JOB_GPUS) names fewer devices than are visible: among
 *   those, the others are another job's;
 * - else the rank's number, counted round. */
int dg_cuda_choose(int local_rank, int visible);

/* *device: `wanted` where it is 0 or more, else as dg_cuda_choose has it. Two
 * ranks with one GPU, found by its UUID, are refused with DG_ERR_USAGE unless they may share it: the same words on every
 * rank, which name both ranks, the GPU and the remedy. No GPU, or no such ordinal, on some rank: DG_ERR_UNSUPPORTED or
 * DG_ERR_USAGE on every rank. @collective */
DG_MUST_USE dg_status dg_cuda_place(dg_comm *comm, int wanted, bool may_share, int *device);

/* *shared: there are two ranks with one GPU, for devices chosen otherwise; refused the same way where they may not.
 * @collective */
DG_MUST_USE dg_status dg_cuda_find_shared(dg_comm *comm, int device, bool may_share, bool *shared);

#endif
