/* tiling.h - how windows cover one case: layers of windows with one z, strips of windows with one y in them, and the weights
 * with which they are blended. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_TILING_H
#define DG_TILING_H

#include "recipe.h"

typedef struct dg_tiling {
    dg_grid net;                    /* of the windows' starts */
    int64_t patch[3], sub[3];       /* zyx; output voxels under a voxel of the net */
    int64_t output[3];              /* net.shape * sub */
    int64_t layers, strips, across; /* windows along z, y, x */
    int64_t *start[3];    /* [layers], [strips], [across]; below 0 where the patch covers an axis, which is centred */
    int64_t tallest_step; /* largest distance of two layers */
    float *weight[3];     /* [patch * sub] of a window along each axis */
    float *sum[3];        /* [output] of all windows; 1 where there is none, so that the blended 0 stays one */
} dg_tiling;

/* For a case of this grid seen through `patch`; windows cover the frame, a box of the net. DG_ERR_USAGE for an overlap outside
 * [0, 1). */
DG_MUST_USE dg_status dg_tiling_make(const dg_recipe *recipe, const dg_grid *native, const dg_box *frame,
                                     const int64_t patch_zyx[3], double overlap, dg_tiling *out);
void dg_tiling_release(dg_tiling *tiling);
/* Planes first .. end - 1 of the net that the windows of a layer see. */
void dg_tiling_planes(const dg_tiling *tiling, int64_t layer, int64_t *first, int64_t *end);
/* Planes first .. end - 1 of the output have all their windows once the layer is blended, and had not before. */
void dg_tiling_ready(const dg_tiling *tiling, int64_t layer, int64_t *first, int64_t *end);

#endif
