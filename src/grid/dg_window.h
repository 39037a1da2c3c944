/* dg_window.h - sliding windows over a volume: where they lie and how they are weighted. Backends blend them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_WINDOW_H
#define DG_WINDOW_H

#include "dg_grid.h"

/* Window starts along one axis: 0, stride, .. and length - patch when that leaves a rest; a single 0 when the patch is
 * not shorter than the axis. `starts` is the caller's (dg_free). overlap in [0, 1): stride = max(1, floor(patch (1 - overlap) + 1e-6)). DG_ERR_USAGE
 * for another overlap or a patch below 1. */
DG_MUST_USE dg_status dg_window_starts(int64_t length, int64_t patch, double overlap, int64_t **starts, int64_t *count);

/* All windows of a volume in z,y,x order; boxes are the caller's (dg_free). Windows of an axis shorter than the patch
 * reach past its end: readers pad, blending ignores what lies outside. */
DG_MUST_USE dg_status dg_window_boxes(const int64_t shape_zyx[3], const int64_t patch_zyx[3], double overlap,
                                      dg_box **boxes, int64_t *count);

/* One axis of the separable Gaussian importance map: g[i] = exp(-(i - n/2)^2 / (2 (n/4)^2)), n/2 an integer division
 * (golden README section 9). Never 0, so that weights never sum to zero. */
void dg_window_importance(int64_t n, float *g);

#endif
