/* dg_calibration.h - is the spread of an ensemble of doses the spread of what happens? In parts that can be added up, as
 * integers, so that no sum depends on its order.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CALIBRATION_H
#define DG_CALIBRATION_H

#include "dg_status.h"

#include <stdint.h>

enum { DG_PIT_BINS = 20 };

/* Sums over voxels, in 2^-20 of their units. */
typedef struct dg_calibration {
    int64_t voxels;
    int64_t pit[DG_PIT_BINS];              /* voxels whose dose lies in this twentieth of their members */
    int64_t crps_gy, variance_gy2;         /* of the members, divided by their number less one */
    int64_t true_voxels;                   /* those with a known truth, and of them: */
    int64_t true_variance_gy2;             /* of the doses that could have been */
    int64_t known_variance_gy2;            /* variance_gy2 of these voxels */
    int64_t mean_error_gy, mean_error_gy2; /* |mean of the members - true mean|, and its square */
} dg_calibration;

/* One voxel: sorted[members] predicted doses, rising, and the dose that was given.
 *
 * Rank: the given dose is above r of n members; were it one of their kind, its probability integral transform would lie
 * evenly in r/(n+1) .. (r+1)/(n+1), members equal to it widening that stretch, and is counted so, in parts (Czado,
 * Gneiting & Held 2009): coverage is the nominal one for any number of members. CRPS: mean |x - y| less
 * sum_{i<j} |x_i - x_j| / (n (n - 1)), the fair form whose expectation does not depend on n (Gneiting & Raftery 2007,
 * Ferro 2014); of one member |x - y|. */
dg_calibration dg_calibration_voxel(const float *sorted, int64_t members, double dose_gy);
/* Adds what is known of the voxel: mean and standard deviation of its dose over all that could have been given. */
void dg_calibration_know(dg_calibration *voxel, const float *sorted, int64_t members, double mean_gy, double std_gy);
void dg_calibration_merge(dg_calibration *into, const dg_calibration *from);

/* What sums say; NaN where nothing was counted. */
double dg_calibration_crps_gy(const dg_calibration *sums);
/* Share of voxels whose dose lies in the middle `percent` (a multiple of 10) of their members; nominal: percent / 100. */
double dg_calibration_coverage(const dg_calibration *sums, int percent);
double dg_calibration_spread_gy(const dg_calibration *sums); /* root of the mean variance */
double dg_calibration_true_spread_gy(const dg_calibration *sums);
double dg_calibration_spread_ratio(const dg_calibration *sums); /* predicted to true, where the truth is known */
double dg_calibration_mean_error_gy(const dg_calibration *sums);
double dg_calibration_mean_rmse_gy(const dg_calibration *sums);

#endif
