/* dg_raster.h - planar contours become masks. A voxel belongs to a structure when its centre is inside or on the outline.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_RASTER_H
#define DG_RASTER_H

#include "dg_grid.h"

/* One closed planar polygon: points (x, y, z) in mm; the last point joins the first. Borrowed. */
typedef struct dg_contour {
    const double *points_xyz_mm;
    int64_t count;
} dg_contour;

/* How several contours of one slice combine.
 * EVEN_ODD: contours of one plane cover a point when a ray from it crosses their outlines an odd number of times, so that a
 * contour within another is a hole; keyhole contours work too. Centres on any outline belong to the structure. Contours of
 * several planes that fall into one slice (drawn closer than the slices lie) are united plane by plane: planes are told
 * apart when they differ by more than a tenth of a slice.
 * UNION_UPSTREAM: contours are filled one by one and OR-ed, holes included (golden README quirk 9). */
typedef enum dg_raster_rule { DG_RASTER_EVEN_ODD, DG_RASTER_UNION_UPSTREAM } dg_raster_rule;

/* Axes of the slices: voxel (r, c) of a slice has its centre at y = origin[0] + r spacing[0], x = origin[1] + c spacing[1]
 * (mm); slice k lies at slice_z_mm[k], ascending or descending. A contour goes to the nearest slice (ties: the lower
 * index) when it lies within half a slice of the stack, where "half" is taken from the neighbouring spacing; farther ones
 * are left out and counted. With UNION_UPSTREAM they go to the end slice. */
typedef struct dg_raster_slices {
    int64_t rows, columns, count;
    double spacing_mm[2], origin_mm[2];
    const double *slice_z_mm;
} dg_raster_slices;

/* What contours came to. */
typedef struct dg_raster_report {
    int64_t left_out;   /* off the stack */
    int64_t sub_voxel;  /* of three points and more that cover no voxel centre: too small, or between the centres */
    int64_t gap_slices; /* without a contour though slices above and below have one */
} dg_raster_report;

/* Sets mask[slice, row, column] (u8, 0 or 1, all written); `report` may be NULL. DG_ERR_DATA: not finite points, a contour
 * that is not planar within a tenth of a slice. Contours of fewer than 3 points cover nothing. */
DG_MUST_USE dg_status dg_raster_contours(const dg_contour *contours, int64_t count, const dg_raster_slices *slices,
                                         dg_raster_rule rule, uint8_t *mask, dg_raster_report *report);

#endif
