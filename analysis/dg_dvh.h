/* dg_dvh.h - dose-volume statistics of one structure from its sorted voxel doses, without bins.
 * A voxel counts wholly: its centre decides. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_DVH_H
#define DG_DVH_H

#include "dg_status.h"

#include <stdint.h>

/* What "the dose to x of the volume" means between voxels.
 * ICRU: the largest dose that at least x of the volume receives (ICRU report 83, 3.2; never interpolated). The default.
 * LOWER: the reference's index floor((n-1)(100-x)/100) of the ascending doses (golden README section 7).
 * LINEAR: linear interpolation between order statistics, as numpy.percentile(100 - x) (OpenKBP). */
typedef enum dg_dvh_rule { DG_DVH_ICRU, DG_DVH_LOWER, DG_DVH_LINEAR } dg_dvh_rule;

/* One structure's doses, ascending. */
typedef struct dg_dvh {
    float *dose_gy; /* [count], owned */
    int64_t count;
    double voxel_mm3;
} dg_dvh;

/* Takes the doses of the voxels whose mask has any bit of `bits`. DG_ERR_NUMERIC for a dose that is not finite, naming the
 * voxel. A structure without voxels gives count 0, and NaN from every statistic. */
DG_MUST_USE dg_status dg_dvh_create(const float *dose_gy, const uint64_t *masks, uint64_t bits, int64_t voxels,
                                    double voxel_mm3, dg_dvh *out);
void dg_dvh_release(dg_dvh *dvh);

/* D_x%: 0 < percent <= 100. */
double dg_dvh_dose_at_percent(const dg_dvh *dvh, double percent, dg_dvh_rule rule);
/* D_x cc after the ICRU rule; NaN when the structure is smaller than x: say so, a smaller volume is another statistic. */
double dg_dvh_dose_at_cc(const dg_dvh *dvh, double cc);
/* numpy.percentile(doses, percentile), linear; the argument is clipped to 0..100. */
double dg_dvh_percentile(const dg_dvh *dvh, double percentile);
/* V_x: the share (0..100 %) of the volume that receives at least dose_gy; and the volume itself in cc. */
double dg_dvh_volume_percent(const dg_dvh *dvh, double dose_gy);
double dg_dvh_volume_cc(const dg_dvh *dvh, double dose_gy);
double dg_dvh_total_cc(const dg_dvh *dvh);
double dg_dvh_mean(const dg_dvh *dvh);
double dg_dvh_min(const dg_dvh *dvh);
double dg_dvh_max(const dg_dvh *dvh);

#endif
