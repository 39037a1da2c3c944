/* dg_distance.h - exact Euclidean distances between voxel centres, in mm, with any spacing.
 * Method: separable lower envelope of parabolas (Felzenszwalb & Huttenlocher, Theory of Computing 8, 2012), in double.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_DISTANCE_H
#define DG_DISTANCE_H

#include "dg_grid.h"

/* distance_mm[z,y,x] = distance from each voxel's centre to the nearest voxel with mask != 0 (0 inside). When no voxel is
 * set, every distance is INFINITY. Not collective; uses `threads` OpenMP threads; bits do not depend on them. */
DG_MUST_USE dg_status dg_distance(const uint8_t *mask, const dg_grid *grid, int threads, float *distance_mm);

/* Signed distance [z,y,x] in mm: outside positive, inside negative, measured to the nearest opposite voxel centre, clipped
 * to +-clip_mm. An empty mask gives +clip_mm everywhere, a full one -clip_mm. (The reference's own values for these two
 * cases, 0 and a phantom voxel, belong to `compat: upstream`, see dg_signed_distance_upstream.) */
DG_MUST_USE dg_status dg_signed_distance(const uint8_t *mask, const dg_grid *grid, double clip_mm, int threads,
                                         float *sdf_mm);
/* The same, each rounded to f32 and then to the nearest multiple of step_mm, as steps: no f32 volume beside it. clip_mm
 * must be at most 32767 steps. */
DG_MUST_USE dg_status dg_signed_distance_steps(const uint8_t *mask, const dg_grid *grid, double clip_mm, double step_mm,
                                               int threads, int16_t *steps);
/* As the reference (golden README quirk 9): empty -> 0; full -> distance to a phantom voxel at index (-1,0,0). */
DG_MUST_USE dg_status dg_signed_distance_upstream(const uint8_t *mask, const dg_grid *grid, double clip_mm, int threads,
                                                  float *sdf_mm);

/* distance[z,y,x] in voxels from each voxel to the surface of a label, outside positive, inside negative, measured to the
 * nearest known voxel of the other class. label: 0 background, 1 foreground; known (NULL: all) 0: the class is not known.
 * Without a voxel of the other class it is +-INFINITY, or, `upstream`, the distance to the phantom voxel at (-1,0,0) that
 * SciPy finds (golden README quirk 9). */
DG_MUST_USE dg_status dg_label_distance(const uint8_t *label, const uint8_t *known, const int64_t shape_zyx[3],
                                        bool upstream, int threads, float *distance);

#endif
