/* dg_volume.h - boxes of volumes: crop with padding, paste, block averages, and the box around targets.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_VOLUME_H
#define DG_VOLUME_H

#include "dg_grid.h"

/* out[box] = in[volume]; voxels of the box outside the volume become `fill`. */
void dg_volume_crop(const float *in, const int64_t shape_zyx[3], const dg_box *box, float fill, float *out);
/* volume[box] = values; voxels of the box outside the volume are skipped (the inverse of crop). */
void dg_volume_paste(const float *values, const dg_box *box, const int64_t shape_zyx[3], float *volume);

/* Averages of blocks of factor voxels (1 or more each); the blocks at the ends of the axes average the voxels there are.
 * `out` has the shape of dg_grid_coarsened: ceil(shape / factor). */
void dg_volume_coarsen(const float *in, const int64_t shape_zyx[3], const int64_t factor_zyx[3], float *out);
/* The same of a mask: the fraction of set voxels. */
void dg_volume_coarsen_mask(const uint8_t *in, const int64_t shape_zyx[3], const int64_t factor_zyx[3], float *out);

/* How a case is cut to the part that matters, at its own resolution. */
typedef struct dg_crop_rule {
    int64_t inplane;  /* voxels along y and x */
    double margin_mm; /* above and below everything delineated */
    int64_t min_slices;
} dg_crop_rule;

/* The box the reference crops a case to (golden README section 9, `crop`). Axes are (y, x, slice) as in its arrays. In
 * plane: `inplane` voxels about the centroid of `centre` (rounded down), moved inside the volume. Slices: the extent of
 * `any` (all structures) with margin_mm rounded up to whole slices, and at least min_slices. Shorter volumes give shorter
 * boxes. DG_ERR_DATA when a mask is empty. */
DG_MUST_USE dg_status dg_volume_crop_box_upstream(const uint8_t *centre, const uint8_t *any, const int64_t shape_yxz[3],
                                                  double slice_mm, double margin_mm, int64_t inplane,
                                                  int64_t min_slices, dg_box *box_yxz, int64_t centroid[3]);

/* The same box from what is known of the masks: the slices first .. last that hold anything (last < first: none, all slices
 * are kept) and the voxel (y, x) to crop about; NULL: the middle of the volume. */
dg_box dg_volume_crop_box(const int64_t shape_zyx[3], double slice_mm, int64_t first, int64_t last,
                          const int64_t *centre_yx, const dg_crop_rule *rule);

#endif
