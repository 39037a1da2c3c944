/* dg_dose_metrics.h - mean absolute errors of a dose, in parts that can be added up. Differences are summed in 2^-20 Gy as
 * integers, so that a sum does not depend on its order. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_DOSE_METRICS_H
#define DG_DOSE_METRICS_H

#include "dg_grid.h"

/* Where an error is averaged. GT10: voxels whose reference dose is at least threshold_gy. */
typedef enum dg_dose_region { DG_DOSE_ALL, DG_DOSE_BODY, DG_DOSE_POSSIBLE, DG_DOSE_GT10, DG_DOSE_REGIONS } dg_dose_region;

/* JSON names: mae_gy, mae_body_gy, mae_possible_gy, mae_gt10_gy. */
const char *dg_dose_region_name(dg_dose_region region);

typedef struct dg_dose_errors {
    int64_t absolute[DG_DOSE_REGIONS]; /* sum of |difference| in 2^-20 Gy */
    int64_t voxels[DG_DOSE_REGIONS];   /* 0 where a case has no such mask */
} dg_dose_errors;

/* One case: all arrays [z,y,x] of `shape`. */
typedef struct dg_dose_pair {
    const float *reference_gy, *prediction_gy;
    const uint64_t *masks;
    int64_t shape[3];
    dg_box known;                       /* where the reference is known: only these voxels count */
    uint64_t body_bits, possible_bits;  /* 0: the case has no such structure */
    double threshold_gy; /* of GT10: a tenth of the prescription (the reference tool: of the maximum dose) */
} dg_dose_pair;

/* errors += those of one case. DG_ERR_NUMERIC names a prediction or reference that is not finite, or beyond 10^4 Gy. */
DG_MUST_USE dg_status dg_dose_errors_add(dg_dose_errors *errors, const dg_dose_pair *pair);
void dg_dose_errors_merge(dg_dose_errors *into, const dg_dose_errors *from);
/* Mean absolute error in Gy; NaN where no voxel was counted. */
double dg_dose_errors_mae_gy(const dg_dose_errors *errors, dg_dose_region region);

#endif
