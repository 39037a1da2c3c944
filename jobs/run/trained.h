/* trained.h - a network as a checkpoint holds it, ready to predict: settings, input recipe, weights.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_TRAINED_H
#define DG_TRAINED_H

#include "dg_checkpoint.h"
#include "dg_comm.h"
#include "recipe.h"

typedef struct dg_trained {
    dg_run_config config;
    dg_recipe recipe;
    dg_model *model; /* owned */
    float *weights;  /* host memory, flat, owned: the average where the checkpoint has one */
    bool averaged;
    char weights_sha256[DG_HASH_HEX]; /* of `weights` */
    dg_checkpoint_meta meta;
} dg_trained;

/* DG_ERR_IO, DG_ERR_FORMAT for a missing or damaged file; DG_ERR_MISMATCH where settings and weights do not fit.
 * @collective no. */
DG_MUST_USE dg_status dg_trained_load(const char *path, dg_trained *out);
void dg_trained_release(dg_trained *trained);

enum { DG_TRAINED_MAX = 32 };
/* Networks that predict together: DG_ERR_MISMATCH names the first whose architecture or input is not that of the first one. With
 * `mean_weights` one network comes out, with the mean of their weights; its sha256 is that of the mean. */
DG_MUST_USE dg_status dg_trained_load_list(const dg_string_list *paths, bool mean_weights,
                                           dg_trained out[DG_TRAINED_MAX], int *count);
/* The same on every rank, of files that rank 0 alone reads. @collective yes. */
DG_MUST_USE dg_status dg_trained_share_list(dg_comm *comm, const dg_string_list *paths, bool mean_weights,
                                            dg_trained out[DG_TRAINED_MAX], int *count);

#endif
