/* dg_components.h - connected components and binary morphology of volumes that ranks hold in slabs of planes. Seams are exact:
 * the result is that of the whole volume on one rank, voxel by voxel, on any number of ranks. Beyond the volume there is
 * background. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_COMPONENTS_H
#define DG_COMPONENTS_H

#include "dg_comm.h"

/* Planes first .. first + count - 1 of a volume; arrays of a slab are [count,y,x]. count may be 0. */
typedef struct dg_slab {
    int64_t shape[3]; /* zyx of the whole volume */
    int64_t first, count;
} dg_slab;

/* The slab of a rank: planes shared out evenly in rank order. All ranks of a volume take their slabs from here. */
dg_slab dg_slab_of(const int64_t shape_zyx[3], int rank, int size);

/* Which voxels touch: those that share a face, an edge or a corner. */
typedef enum dg_touch { DG_TOUCH_FACE = 6, DG_TOUCH_EDGE = 18, DG_TOUCH_CORNER = 26 } dg_touch;

/* labels = 0 where mask is 0, else the number of the voxel's component: 1, 2, .. in the order of their first voxels (z, y, x).
 * Runs along x are joined by union-find, components across slabs by the pairs that meet at the seams. Memory of a rank: 12
 * bytes a run. @collective. DG_ERR_USAGE: an axis of 2^31 voxels; DG_ERR_DATA: 2^32 components. */
DG_MUST_USE dg_status dg_components_label(dg_comm *comm, const dg_slab *slab, const uint8_t *mask, dg_touch touch,
                                          uint32_t *labels, int64_t *components);
/* Removes components of fewer than `least` voxels from mask. *removed: how many. @collective */
DG_MUST_USE dg_status dg_components_drop_small(dg_comm *comm, const dg_slab *slab, uint8_t *mask, dg_touch touch,
                                               int64_t least, int64_t *removed);
/* Fills holes: components of the background (over faces) of at most `most` voxels (INT64_MAX: of any size) that touch no
 * side of the volume. *filled: how many. @collective */
DG_MUST_USE dg_status dg_components_fill_holes(dg_comm *comm, const dg_slab *slab, uint8_t *mask, int64_t most,
                                               int64_t *filled);

typedef enum dg_morphology { DG_ERODE, DG_DILATE, DG_OPEN, DG_CLOSE } dg_morphology;
/* `steps` erosions and dilations of mask (0 and 1) by a voxel and those it touches over faces or corners. @collective.
 * DG_ERR_USAGE: steps below 0, DG_TOUCH_EDGE. */
DG_MUST_USE dg_status dg_morphology_apply(dg_comm *comm, const dg_slab *slab, dg_morphology what, dg_touch touch,
                                          int steps, uint8_t *mask);

#endif
