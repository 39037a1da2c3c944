/* dg_openkbp_score.c - see dg_openkbp_score.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_openkbp_score.h"
#include "dg_dvh.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

enum { ORGANS = 7 };
static const char *const roi_name[DG_OPENKBP_ROIS] = {"Brainstem", "SpinalCord", "RightParotid", "LeftParotid",
                                                      "Esophagus", "Larynx",     "Mandible",     "PTV56",
                                                      "PTV63",     "PTV70"};
static const char *const metric_name[DG_OPENKBP_METRICS] = {"D_0.1_cc|Brainstem",
                                                            "mean|Brainstem",
                                                            "D_0.1_cc|SpinalCord",
                                                            "mean|SpinalCord",
                                                            "D_0.1_cc|RightParotid",
                                                            "mean|RightParotid",
                                                            "D_0.1_cc|LeftParotid",
                                                            "mean|LeftParotid",
                                                            "D_0.1_cc|Esophagus",
                                                            "mean|Esophagus",
                                                            "D_0.1_cc|Larynx",
                                                            "mean|Larynx",
                                                            "D_0.1_cc|Mandible",
                                                            "mean|Mandible",
                                                            "D_99|PTV56",
                                                            "D_95|PTV56",
                                                            "D_1|PTV56",
                                                            "D_99|PTV63",
                                                            "D_95|PTV63",
                                                            "D_1|PTV63",
                                                            "D_99|PTV70",
                                                            "D_95|PTV70",
                                                            "D_1|PTV70"};

const char *dg_openkbp_roi_name(int roi) { return roi >= 0 && roi < DG_OPENKBP_ROIS ? roi_name[roi] : NULL; }

const char *dg_openkbp_metric_name(int metric)
{
    return metric >= 0 && metric < DG_OPENKBP_METRICS ? metric_name[metric] : NULL;
}

/* Writes the two or three metrics of one structure. */
static dg_status roi_metrics(const dg_openkbp_case *c, const float *dose_gy, int roi, double *metric)
{
    dg_dvh dvh;
    DG_TRY(dg_dvh_create(dose_gy, c->masks, c->roi_bits[roi], c->voxels, c->voxel_mm3, &dvh));
    if (roi < ORGANS) {
        double tenth_cc = fmax(1, nearbyint(100 / c->voxel_mm3)); /* numpy rounds halves to even, as nearbyint does */
        metric[0] = dg_dvh_percentile(&dvh, 100 - tenth_cc / (double)dvh.count * 100);
        metric[1] = dg_dvh_mean(&dvh);
    } else {
        metric[0] = dg_dvh_percentile(&dvh, 1);
        metric[1] = dg_dvh_percentile(&dvh, 5);
        metric[2] = dg_dvh_percentile(&dvh, 99);
    }
    dg_dvh_release(&dvh);
    return DG_OK;
}

static dg_status dose_error(const dg_openkbp_case *c, dg_openkbp_result *out)
{
    double all = 0, masked = 0;
    int64_t possible = 0;
    for (int64_t i = 0; i < c->voxels; i++) {
        bool inside = (c->masks[i] & c->possible_bits) != 0;
        double error = fabs((double)c->reference_gy[i] - (double)c->prediction_gy[i]);
        if (!isfinite(error))
            return DG_FAIL(DG_ERR_NUMERIC, "voxel %lld: reference %g Gy, prediction %g Gy; doses must be finite",
                           (long long)i, (double)c->reference_gy[i], (double)c->prediction_gy[i]);
        all += error;
        masked += inside ? error : 0;
        possible += inside;
    }
    if (possible == 0)
        return DG_FAIL(DG_ERR_DATA, "possible_dose_mask has no voxel: the OpenKBP dose score is not defined");
    out->dose_error_gy = all / (double)possible;
    out->dose_error_masked_gy = masked / (double)possible;
    return DG_OK;
}

dg_status dg_openkbp_evaluate(const dg_openkbp_case *c, dg_openkbp_result *out)
{
    *out = (dg_openkbp_result){0};
    DG_TRY(dose_error(c, out));
    for (int roi = 0; roi < DG_OPENKBP_ROIS; roi++) {
        int first = roi < ORGANS ? 2 * roi : 2 * ORGANS + 3 * (roi - ORGANS), count = roi < ORGANS ? 2 : 3;
        DG_TRY(roi_metrics(c, c->reference_gy, roi, out->reference_gy + first));
        DG_TRY(roi_metrics(c, c->prediction_gy, roi, out->prediction_gy + first));
        for (int m = first; m < first + count; m++) {
            if (isnan(out->reference_gy[m])) continue;
            out->dvh_error_sum_gy += fabs(out->reference_gy[m] - out->prediction_gy[m]);
            out->dvh_errors++;
        }
    }
    return DG_OK;
}

void dg_openkbp_score_add(dg_openkbp_score *score, const dg_openkbp_result *result)
{
    score->dose_sum_gy += result->dose_error_gy;
    score->dose_masked_sum_gy += result->dose_error_masked_gy;
    score->dvh_sum_gy += result->dvh_error_sum_gy;
    score->patients++;
    score->metrics += result->dvh_errors;
}

static double mean_of(double sum, int64_t count) { return count == 0 ? NAN : sum / (double)count; }

double dg_openkbp_dose_score(const dg_openkbp_score *score) { return mean_of(score->dose_sum_gy, score->patients); }

double dg_openkbp_dose_score_masked(const dg_openkbp_score *score)
{
    return mean_of(score->dose_masked_sum_gy, score->patients);
}

double dg_openkbp_dvh_score(const dg_openkbp_score *score) { return mean_of(score->dvh_sum_gy, score->metrics); }
