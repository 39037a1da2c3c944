/* doctor_gpu.h - `dosegrid doctor --gpu`. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_DOCTOR_GPU_H
#define DG_DOCTOR_GPU_H

#include "job.h"

/* Every operation of backend `name` on rank 0's device against `ref`, on small cubes, then its time on cubes of `edge`
 * voxels and the share of what memory and arithmetic of the device allow. One page, or JSON. *exit_code is 1 on a
 * mismatch; a backend that cannot run is DG_ERR_UNSUPPORTED with the reason. */
DG_MUST_USE dg_status doctor_gpu(const dg_job_env *env, const char *name, int64_t edge, bool json, int *exit_code);

#endif
