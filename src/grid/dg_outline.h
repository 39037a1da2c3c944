/* dg_outline.h - the outlines of a planar mask: closed polygons along voxel edges, the way back of dg_raster_contours.
 *
 * Every 4-connected part of the mask gives one polygon. Holes are part of it: a line from the hole to its surroundings is
 * walked there and back (a keyhole), so that the polygon needs no rule of how contours combine. As no voxel centre lies on
 * a voxel edge, filling the polygons by the pixel-centre rule gives the same mask, exactly, whether they are combined by
 * even-odd or by union. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_OUTLINE_H
#define DG_OUTLINE_H

#include "dg_status.h"

#include <stdint.h>

/* Polygons of one slice; owned (dg_outlines_release). Corner (row, column) lies half a voxel before voxel (row, column): its
 * place is (row - 1/2, column - 1/2) in voxels. Polygon p is corners first[p] .. first[p + 1] - 1, the last joins the
 * first; corners on a straight line are left out. */
typedef struct dg_outlines {
    int32_t (*corner)[2]; /* row, column */
    int64_t *first;       /* [count + 1] */
    int64_t count;
} dg_outlines;

/* The outlines of mask[rows, columns] (not 0: inside), by their topmost, then leftmost corner. DG_ERR_USAGE: more than 16384
 * rows or columns. */
DG_MUST_USE dg_status dg_outlines_trace(const uint8_t *mask, int64_t rows, int64_t columns, dg_outlines *out);
void dg_outlines_release(dg_outlines *outlines);

#endif
