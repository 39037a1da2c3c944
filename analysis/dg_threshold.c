/* dg_threshold.c - see dg_threshold.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_threshold.h"

#include <math.h>
#include <stddef.h>

void dg_threshold_add(dg_threshold_counts *counts, const float *probability, const uint8_t *label,
                      const uint8_t *counted, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (counted != NULL && counted[i] == 0) continue;
        const float p = probability[i] > 0 ? fminf(probability[i], 1) : 0; /* NaN is not above 0 */
        counts->voxels[label[i] != 0][(int)(p * DG_THRESHOLDS)]++;
    }
}

/* How good a threshold is: the larger the better. */
static double merit(dg_threshold_aim aim, double target, const dg_overlap *o)
{
    if (aim == DG_AIM_DICE) return dg_overlap_dice(o);
    if (aim == DG_AIM_PRECISION) return dg_overlap_precision(o);
    return -fabs(dg_overlap_predicted_fraction(o) - (isnan(target) ? dg_overlap_labelled_fraction(o) : target));
}

dg_status dg_threshold_choose(const dg_threshold_counts *counts, dg_threshold_aim aim, double target, double *threshold,
                              dg_overlap *overlap)
{
    dg_overlap o = {.counted = 0};
    double best = -INFINITY;
    for (int k = 0; k <= DG_THRESHOLDS; k++) {
        o.labelled += counts->voxels[1][k];
        o.counted += counts->voxels[0][k] + counts->voxels[1][k];
    }
    if (o.counted == 0 || (aim != DG_AIM_FRACTION && o.labelled == 0))
        return DG_FAIL(DG_ERR_DATA,
                       "a threshold is chosen on %lld labelled voxels, %lld of them foreground: give it "
                       "cases with both",
                       (long long)o.counted, (long long)o.labelled);
    for (int k = DG_THRESHOLDS; k >= 1; k--) { /* down, so that the lowest of equals stays */
        o.predicted += counts->voxels[0][k] + counts->voxels[1][k];
        o.both += counts->voxels[1][k];
        double value = merit(aim, target, &o);
        if (aim == DG_AIM_PRECISION && value >= target) value = INFINITY;
        if (isnan(value) || value < best) continue;
        best = value;
        *threshold = (double)k / DG_THRESHOLDS;
        *overlap = o;
    }
    if (aim == DG_AIM_PRECISION && !isinf(best))
        return DG_FAIL(DG_ERR_DATA, "no threshold has a precision of %g: the best has %.4f", target, fmax(best, 0));
    return DG_OK;
}
