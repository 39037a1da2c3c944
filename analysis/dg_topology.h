/* dg_topology.h - how many components, tunnels and cavities a mask has. Beyond the volume there is background.
 *
 * With DG_TOUCH_CORNER the mask is the union of its closed voxels and background voxels touch over faces; with DG_TOUCH_FACE it is
 * the other way round. Components and cavities (components of the background that reach no side of the volume) are counted
 * by labelling. The Euler characteristic is counted exactly from the 2 x 2 x 2 windows, vertices - edges + faces - voxels of the
 * union of cubes (Gray, Local properties of binary images in two dimensions, IEEE Trans. Computers 20, 1971; Ohser and
 * Muecklich, Statistical analysis of microstructures, 2000), and tunnels follow from Euler's formula: there is nothing else in
 * three dimensions (Alexander duality). SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_TOPOLOGY_H
#define DG_TOPOLOGY_H

#include "dg_components.h"

enum { DG_BETTI_NUMBERS = 3 };

typedef struct dg_betti {
    int64_t number[DG_BETTI_NUMBERS]; /* components, tunnels, cavities */
    int64_t euler;                    /* their alternating sum */
} dg_betti;

/* mask[z,y,x], 0 or not. touch: DG_TOUCH_FACE or DG_TOUCH_CORNER, else DG_ERR_USAGE. Memory: 4 bytes a voxel, 1 more for the
 * background. Not collective. */
DG_MUST_USE dg_status dg_betti_count(const uint8_t *mask, const int64_t shape_zyx[3], dg_touch touch, dg_betti *out);
/* The Euler characteristic alone; no memory. */
int64_t dg_euler_characteristic(const uint8_t *mask, const int64_t shape_zyx[3], dg_touch touch);

#endif
