/* dg_baseline.h - two look-up tables that any network must beat: a constant, and the mean dose as a function of the
 * distances to the targets. Sums are kept in 2^-20 Gy as integers: cases may be added and merged in any order.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_BASELINE_H
#define DG_BASELINE_H

#include "dg_grid.h"

enum { DG_BASELINE_TARGETS = 3 };

typedef struct dg_baseline dg_baseline;

/* The voxels that are learned from or predicted: mask `use` [z,y,x] (u8; the possible-dose mask, else the body; NULL: all
 * voxels). Distances are signed, in mm, to up to three targets in falling order of prescription; NULL for a target the
 * case lacks. */
typedef struct dg_baseline_case {
    int64_t voxels;
    const uint8_t *use;
    const float *sdf_mm[DG_BASELINE_TARGETS];
    const float *dose_gy; /* of a training case; NULL to predict */
} dg_baseline_case;

DG_MUST_USE dg_status dg_baseline_create(dg_baseline **out);
void dg_baseline_destroy(dg_baseline **baseline);
/* Learns from a case. DG_ERR_NUMERIC for a dose that is not finite or beyond 10^4 Gy. */
DG_MUST_USE dg_status dg_baseline_add(dg_baseline *baseline, const dg_baseline_case *c);

/* The integers learned so far, for sums over ranks (dg_comm_all_reduce, DG_I64). Borrowed; *count elements. */
int64_t *dg_baseline_data(dg_baseline *baseline, int64_t *count);

/* Mean dose of all training voxels in Gy; NaN when there are none. */
double dg_baseline_constant_gy(const dg_baseline *baseline);
/* Predictions: 0 outside `use`. The table's cell is the mean over training voxels in the same distance bins of all
 * targets, drawn towards the mean of its nearest-target bin and that towards the constant, as if each had been seen
 * DG_BASELINE_PRIOR times, so that rare cells stay sensible. DG_ERR_DATA without training voxels. */
enum { DG_BASELINE_PRIOR = 20 };
DG_MUST_USE dg_status dg_baseline_predict_constant(const dg_baseline *baseline, const dg_baseline_case *c,
                                                   float *dose_gy);
DG_MUST_USE dg_status dg_baseline_predict_table(const dg_baseline *baseline, const dg_baseline_case *c, float *dose_gy);

#endif
