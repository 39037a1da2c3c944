/* dg_counted.h - the mask of a loss as numbers, 1 where a voxel counts and 0 elsewhere, for terms that look at the prediction
 * through a network. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_COUNTED_H
#define DG_COUNTED_H

#include "dg_backend.h"

typedef struct dg_counted dg_counted;

/* For masks of tensors like `shape` ([n,z,y,x,1]); `backend` outlives the object. */
DG_MUST_USE dg_status dg_counted_create(dg_backend *backend, const dg_tensor *shape, dg_counted **out);
void dg_counted_destroy(dg_counted **counted);
/* Queues the numbers of a mask (backend memory) and gives where they will be: f32, dense, until the next call. */
DG_MUST_USE dg_status dg_counted_take(dg_counted *counted, const uint8_t *mask, dg_tensor *out);

#endif
