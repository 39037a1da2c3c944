/* dg_threshold.h - a threshold for probabilities, chosen on labelled voxels. Thresholds are k / 4096: counts for each of them add
 * up over slabs, cases and ranks. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_THRESHOLD_H
#define DG_THRESHOLD_H

#include "dg_overlap.h"
#include "dg_status.h"

enum { DG_THRESHOLDS = 4096 };

/* Voxels whose probability is at least k / 4096 and below (k + 1) / 4096, of background [0] and foreground [1]; plain
 * numbers, to be summed over ranks. */
typedef struct dg_threshold_counts {
    int64_t voxels[2][DG_THRESHOLDS + 1];
} dg_threshold_counts;

/* As dg_overlap_add_probability; probabilities below 0 and NaN count as 0, those above 1 as 1. */
void dg_threshold_add(dg_threshold_counts *counts, const float *probability, const uint8_t *label,
                      const uint8_t *counted, int64_t n);

typedef enum dg_threshold_aim {
    DG_AIM_DICE,      /* the largest Dice */
    DG_AIM_PRECISION, /* the lowest threshold whose precision reaches the target */
    DG_AIM_FRACTION   /* the predicted fraction nearest to the target; NaN: to the labelled fraction */
} dg_threshold_aim;

/* The lowest of equally good thresholds above 0, and the overlap there. DG_ERR_DATA: no voxel counts, none is foreground
 * (Dice, precision), or no threshold reaches the precision (the message says which is the best). */
DG_MUST_USE dg_status dg_threshold_choose(const dg_threshold_counts *counts, dg_threshold_aim aim, double target,
                                          double *threshold, dg_overlap *overlap);

#endif
