/* dg_grid.h - where voxels are, in mm. Index order is always (z, y, x), x fastest; physical axes are LPS (x to patient
 * left, y to posterior, z to head). SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_GRID_H
#define DG_GRID_H

#include "dg_status.h"

#include <stdbool.h>
#include <stdint.h>

/* A regular grid. The centre of voxel (z,y,x) is origin + direction * (spacing * index), with `direction` row-major 3x3
 * mapping index axes (x,y,z) to patient axes (x,y,z) LPS; origin in patient (x,y,z) order reversed to zyx like all. */
typedef struct dg_grid {
    int64_t shape[3];      /* zyx, >= 1 */
    double spacing_mm[3];  /* zyx, > 0, finite */
    double origin_mm[3];   /* zyx: centre of voxel (0,0,0) */
    double direction[9];   /* rows: patient x, y, z; columns: index x, y, z */
} dg_grid;

/* A box of voxels: start may be negative and the box may leave the grid (readers fill outside). */
typedef struct dg_box {
    int64_t start[3]; /* zyx */
    int64_t shape[3]; /* zyx */
} dg_box;

/* Limits against absurd input: at most 2^31 voxels and 16384 an axis. DG_ERR_DATA names the axis and value. */
DG_MUST_USE dg_status dg_grid_check(const dg_grid *grid);
dg_grid dg_grid_make(const int64_t shape[3], const double spacing_mm[3]); /* origin 0, identity direction */
int64_t dg_grid_voxels(const dg_grid *grid);
static inline int64_t dg_box_voxels(const dg_box *box) { return box->shape[0] * box->shape[1] * box->shape[2]; }
static inline int64_t dg_grid_index(const dg_grid *g, int64_t z, int64_t y, int64_t x)
{
    return (z * g->shape[1] + y) * g->shape[2] + x;
}
/* The grid that covers the same volume with another spacing: shape = ceil(extent / spacing), same centre. */
dg_grid dg_grid_respaced(const dg_grid *grid, const double spacing_mm[3]);
/* The grid of a box of this one (which may leave it). */
dg_grid dg_grid_boxed(const dg_grid *grid, const dg_box *box);
/* The grid of blocks of factor voxels; the last block of an axis may be incomplete. */
dg_grid dg_grid_coarsened(const dg_grid *grid, const int64_t factor_zyx[3]);
/* Patient position (zyx, mm) of a continuous voxel index. */
void dg_grid_point(const dg_grid *grid, const double index_zyx[3], double point_mm_zyx[3]);

#endif
