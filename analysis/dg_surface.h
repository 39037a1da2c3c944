/* dg_surface.h - how far two surfaces are from each other, in mm.
 *
 * A mask's surface passes between voxels: through every 2 x 2 x 2 window that holds both classes, with the area of the polygons
 * that join the middles of the edges between them (marching cubes, Lorensen and Cline, SIGGRAPH 1987; the rarer class of a
 * window stays apart). Distances go from window centre to window centre by the exact transform of dg_distance.h, and every
 * one counts with the area of its window: surface Dice at a tolerance is the share of both surfaces' area that lies within it of
 * the other surface (Nikolov et al., J Med Internet Res 2021;23:e26151), the Hausdorff distance at 95 percent the larger
 * of the two distances within which 95 percent of a surface's area lie. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_SURFACE_H
#define DG_SURFACE_H

#include "dg_grid.h"

typedef struct dg_surface_agreement {
    double dice;         /* 1 where neither has a surface, 0 where only one has */
    double hausdorff_mm; /* 0 where neither has a surface, INFINITY where only one has */
    double mean_mm;      /* mean of the two mean distances; likewise */
    double area_mm2[2];  /* of prediction and label */
} dg_surface_agreement;

/* predicted, label [z,y,x]: 0 or not; beyond the volume there is background. percent: of the Hausdorff distance, 0 < percent
 * <= 100. Memory: 10 bytes for each voxel of the box around both masks, and 8 for each window of a surface. Not collective. */
DG_MUST_USE dg_status dg_surface_compare(const uint8_t *predicted, const uint8_t *label, const dg_grid *grid,
                                         double tolerance_mm, double percent, int threads, dg_surface_agreement *out);
/* Area in mm^2 of the surface in a window, by its code: bit 4 dz + 2 dy + dx. */
void dg_surface_areas(const double spacing_mm[3], double area_mm2[256]);

#endif
