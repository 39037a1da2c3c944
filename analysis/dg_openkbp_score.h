/* dg_openkbp_score.h - the official scores of the OpenKBP challenge.
 *
 * Dose score: mean over patients of sum |reference - prediction| over ALL voxels / number of possible_dose_mask voxels.
 * DVH score: mean over all patients' metrics of |reference - prediction|: for organs D_0.1_cc and mean, for targets D_99,
 * D_95, D_1; structures a patient lacks are left out. Percentiles are numpy's linear ones; D_0.1_cc is the percentile
 * 100 - 100 max(1, round(100 / voxel mm3)) / n. Source: A. Babier et al., Medical Physics 48, 2021, and the challenge's
 * published evaluation; checked against its numbers by golden_dvh. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_OPENKBP_SCORE_H
#define DG_OPENKBP_SCORE_H

#include "dg_status.h"

#include <stdint.h>

enum { DG_OPENKBP_ROIS = 10, DG_OPENKBP_METRICS = 23 };

/* The structures scored, in the challenge's order; NULL outside 0..9. */
const char *dg_openkbp_roi_name(int roi);
/* "D_0.1_cc|Brainstem", ...; NULL outside 0..22. */
const char *dg_openkbp_metric_name(int metric);

/* Dose and masks of one patient: arrays of `voxels`, any axis order. */
typedef struct dg_openkbp_case {
    const float *reference_gy, *prediction_gy;
    const uint64_t *masks;
    uint64_t roi_bits[DG_OPENKBP_ROIS]; /* 0: the patient lacks this structure */
    uint64_t possible_bits;
    int64_t voxels;
    double voxel_mm3;
} dg_openkbp_case;

typedef struct dg_openkbp_result {
    double dose_error_gy;        /* the official one */
    double dose_error_masked_gy; /* the same with the sum inside possible_dose_mask only */
    double reference_gy[DG_OPENKBP_METRICS], prediction_gy[DG_OPENKBP_METRICS]; /* NaN: no such structure */
    double dvh_error_sum_gy;     /* over the metrics there are */
    int64_t dvh_errors;
} dg_openkbp_result;

/* DG_ERR_DATA when possible_dose_mask is empty, DG_ERR_NUMERIC for doses that are not finite. */
DG_MUST_USE dg_status dg_openkbp_evaluate(const dg_openkbp_case *c, dg_openkbp_result *out);

/* Scores over patients; results are added in the order of cases, so that rounding is always the same. */
typedef struct dg_openkbp_score {
    double dose_sum_gy, dose_masked_sum_gy, dvh_sum_gy;
    int64_t patients, metrics;
} dg_openkbp_score;
void dg_openkbp_score_add(dg_openkbp_score *score, const dg_openkbp_result *result);
double dg_openkbp_dose_score(const dg_openkbp_score *score);        /* NaN without patients */
double dg_openkbp_dose_score_masked(const dg_openkbp_score *score);
double dg_openkbp_dvh_score(const dg_openkbp_score *score);

#endif
