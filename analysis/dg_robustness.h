/* dg_robustness.h - what changed input does to the results of a network: metrics of predictions from perturbed scans against those
 * from the scans as they are, patient by patient. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_ROBUSTNESS_H
#define DG_ROBUSTNESS_H

#include "dg_results.h"

typedef struct dg_robustness_params {
    int64_t resamples; /* of the bootstrap over patients */
    uint64_t seed;
} dg_robustness_params;

/* The metrics that `compare` looks at by itself, as far as both results have them: {NAME: {n, unperturbed, perturbed, change,
 * change_interval_95, better}} with means over the n patients that have both values; `change` is perturbed minus unperturbed with
 * the bootstrap's interval (null for one patient), `better` as in a comparison, null where nothing changed. The caller's. */
DG_MUST_USE dg_status dg_robustness_json(const dg_results *unperturbed, const dg_results *perturbed,
                                         const dg_robustness_params *params, json_t **out);
/* A table for a terminal of entries [{perturbation, metrics}], the metrics of the whole and of targets; the caller frees *text. */
DG_MUST_USE dg_status dg_robustness_table(const json_t *entries, char **text);

#endif
