/* dg_study_tiling.h - how the surface detection study cuts and joins a volume and scales its values, with its faults, for
 * comparison with its numbers (`compat: upstream`; golden README section 4 and quirk 14): windows carry no weight on their
 * border planes and leave the rest of an axis that no whole stride reaches uncovered (those voxels become 0).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_STUDY_TILING_H
#define DG_STUDY_TILING_H

#include "dg_grid.h"

/* Windows at 0, stride, .. that lie whole in the volume, stride = patch - overlap_voxels, in z,y,x order; `boxes` is the
 * caller's (dg_free). DG_ERR_USAGE: an overlap that leaves no stride, or a patch longer than an axis. */
DG_MUST_USE dg_status dg_study_windows(const int64_t shape_zyx[3], const int64_t patch_zyx[3], int64_t overlap_voxels,
                                       dg_box **boxes, int64_t *count);
/* weight[z,y,x] of a window: the least over the axes of min(i, n - 1 - i) / (n / 2). */
void dg_study_window_weight(const int64_t patch_zyx[3], float *weight);
/* Adds one window's values [z,y,x] and its weights to sum and total, arrays of the volume. */
void dg_study_window_add(const int64_t shape_zyx[3], const dg_box *box, const float *weight, const float *values,
                         float *sum, float *total);
/* sum / (total + 1e-8), in place. */
void dg_study_window_finish(int64_t count, float *sum, const float *total);

/* values[count] to [0, 1] between the 0.5th and the 99.5th percentile (linear between ranks), clipped. DG_ERR_DATA: a value
 * that is not finite, or no difference between the two. */
DG_MUST_USE dg_status dg_study_normalise(int64_t count, float *values);

#endif
