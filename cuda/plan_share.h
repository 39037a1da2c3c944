/* plan_share.h - the choices of cuDNN engines on disk, and the same on every rank. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CUDA_PLAN_SHARE_H
#define DG_CUDA_PLAN_SHARE_H

#include "dg_backend.h"
#include "dg_comm.h"

/* dg_device_ops.share_choices: the file is FOLDER/<plan_cache_name>. For the same engines from the first step on, it is
 * called before and after a pass that counts for nothing. @collective */
DG_MUST_USE dg_status dg_cuda_share_plans(dg_comm *comm, dg_backend *backend, const char *folder, char *warning,
                                          size_t capacity);

#endif
