/* dg_resample.h - values of one grid at the voxel centres of another. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_RESAMPLE_H
#define DG_RESAMPLE_H

#include "dg_grid.h"

/* Trilinear, coordinates clamped to the source's outermost voxel centres within half a voxel, `outside` beyond. When the
 * target is coarser, values are averaged over the target voxel's footprint (supersampling by the integer part of the
 * spacing ratio), so that down-sampling does not alias. Grids share direction; origins and spacings are free. */
DG_MUST_USE dg_status dg_resample_linear(const float *in, const dg_grid *from, const dg_grid *to, float outside,
                                         int threads, float *out);
/* Nearest voxel, for masks and labels (f32 values). */
DG_MUST_USE dg_status dg_resample_nearest(const float *in, const dg_grid *from, const dg_grid *to, float outside,
                                          int threads, float *out);
/* Cubic B-spline with mirror (whole-sample) prefilter; `outside` unless -0.5 <= continuous index < N-0.5 on every axis;
 * any direction matrices (Unser 1999; SimpleITK sitkBSpline). */
DG_MUST_USE dg_status dg_resample_bspline(const float *in, const dg_grid *from, const dg_grid *to, float outside,
                                          int threads, float *out);

#endif
