/* ensemble.h - samples of a diffusion become one prediction: mean, standard deviation and percentiles, voxel by voxel. Samples
 * lie on the disk, one folder of predictions for each number, and are read again some planes at a time and in the order of
 * their numbers: neither memory nor the result depends on how many there are or on who drew them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_ENSEMBLE_H
#define DG_ENSEMBLE_H

#include "dg_file.h"
#include "dg_predictions.h"
#include "run_config.h"

typedef struct dg_ensemble {
    const char *folder; /* of the predictions */
    int64_t samples;
    dg_double_list percent;
    int64_t budget_bytes; /* memory for planes of all samples together, at least one plane; 0: 64 MiB */
} dg_ensemble;

/* FOLDER/sample-0001 of sample 0. */
DG_MUST_USE dg_status dg_ensemble_folder(const char *folder, int64_t sample, char path[DG_PATH_MAX]);
/* Writes the prediction of a case whose samples are all there; entry->content_sha256 is filled. DG_ERR_IO, DG_ERR_FORMAT name a
 * sample that is missing or damaged. Not collective. */
DG_MUST_USE dg_status dg_ensemble_combine(const dg_ensemble *ensemble, const char *id, const char *made_by,
                                          dg_ledger_entry *entry);
/* Removes a case's samples number `first` (from 0) and on, as far as there are folders of samples. */
void dg_ensemble_remove(const char *folder, const char *id, int64_t first);
/* Who made a sample (model_sha256 of its file), from who made the prediction that is the mean of them. */
DG_MUST_USE dg_status dg_ensemble_maker(const char *made_by, int64_t sample, char hex[DG_HASH_HEX]);
/* Value of a percentile (0 to 100) of sorted values, linear between ranks. */
double dg_percentile_of(const float *sorted, int64_t count, double percent);

#endif
