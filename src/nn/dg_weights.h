/* dg_weights.h - the weights that a network learns, in a backend's memory, and as a state of a checkpoint.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_WEIGHTS_H
#define DG_WEIGHTS_H

#include "dg_params.h"
#include "dg_plan.h"

typedef struct dg_weights {
    dg_backend *backend;         /* borrowed */
    const dg_param_table *table; /* borrowed */
    dg_plan *plan;               /* borrowed: told of weights that are loaded; NULL: none to tell */
    float *values;               /* backend memory, [table->total] */
} dg_weights;

/* dg_params_init of `seed`, in the backend's memory; release frees what is there, also after a failure. */
DG_MUST_USE dg_status dg_weights_create(dg_backend *backend, const dg_param_table *table, uint64_t seed,
                                        dg_weights *out);
void dg_weights_release(dg_weights *weights);

/* dg_params_sha256 of them. */
DG_MUST_USE dg_status dg_weights_sha256(const dg_weights *weights, char hex[DG_HASH_HEX]);

/* As the state `name`, a string literal: dg_params_save's arrays. */
dg_state dg_weights_state(dg_weights *weights, const char *name);

#endif
