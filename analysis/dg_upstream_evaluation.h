/* dg_upstream_evaluation.h - what the reference tool's evaluation says of a case, key by key (golden README section
 * 7), for `compat: upstream`. It serves comparison: its quirks are kept (box margin, subsampled gamma, D_x of the
 * lower index, V100 and V95 of each target's own prescription, Dmax of one voxel, its own limits).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_UPSTREAM_EVALUATION_H
#define DG_UPSTREAM_EVALUATION_H

#include "dg_status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* One case; borrowed. The reference's volumes are (y, x, z), and its gamma depends on that order. */
typedef struct dg_upstream_case {
    const char *case_id;
    int64_t shape[3];
    double spacing_mm[3];
    bool zyx; /* shape, spacing and arrays are [z,y,x]: they are turned first */
    const float *target, *prediction;
    double scale_gy;              /* Gy of 1 in the doses: the prescription of normalised doses, 1 for Gy */
    const uint64_t *masks;        /* bit k: structure k */
    const char *const *structure; /* [structure_count] names; targets are "PTV" and their prescription in Gy: PTV50.4 */
    int structure_count;          /* up to 64 */
    int gamma_subsample;          /* every how manieth voxel of each axis gamma sees, >= 1; 0: no gamma */
    int threads;
} dg_upstream_case;

/* An entry of per_case_results: {case_id, spacing_mm (y, x, z), dose_metrics, gamma, dvh_metrics,
 * clinical_constraints, validation_warnings, framework_version}. Doses may be NaN, infinite or negative: warned of
 * and taken as 0. Not collective. DG_ERR_USAGE: shape, spacing, scale or subsample out of range; DG_ERR_MEMORY. */
DG_MUST_USE dg_status dg_upstream_evaluate(const dg_upstream_case *input, json_t **out);

/* aggregate_metrics of an array of such entries: means and standard deviations (ddof 0). NULL: no memory. */
json_t *dg_upstream_aggregate(const json_t *cases);

#endif
