/* dg_grid.c - see dg_grid.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_grid.h"
#include "dg_mem.h"

#include <math.h>
#include <string.h>

static const char axis_name[3] = {'z', 'y', 'x'};
static const int64_t axis_limit = 16384;
static const int64_t voxel_limit = (int64_t)1 << 31;

dg_status dg_grid_check(const dg_grid *grid)
{
    int64_t voxels = 1;
    for (int a = 0; a < 3; a++) {
        if (grid->shape[a] < 1 || grid->shape[a] > axis_limit)
            return DG_FAIL(DG_ERR_DATA, "grid has %lld voxels along %c; 1 to %lld are possible",
                           (long long)grid->shape[a], axis_name[a], (long long)axis_limit);
        if (!isfinite(grid->spacing_mm[a]) || grid->spacing_mm[a] <= 0)
            return DG_FAIL(DG_ERR_DATA, "grid spacing along %c is %g mm; it must be a positive number", axis_name[a],
                           grid->spacing_mm[a]);
        if (!isfinite(grid->origin_mm[a]))
            return DG_FAIL(DG_ERR_DATA, "grid origin along %c is %g mm; it must be a number", axis_name[a],
                           grid->origin_mm[a]);
        if (!dg_mul_int64(voxels, grid->shape[a], &voxels)) voxels = INT64_MAX;
    }
    if (voxels > voxel_limit)
        return DG_FAIL(DG_ERR_DATA, "grid of %lld x %lld x %lld voxels (z,y,x) is more than 2^31; crop or coarsen it",
                       (long long)grid->shape[0], (long long)grid->shape[1], (long long)grid->shape[2]);
    for (int i = 0; i < 9; i++)
        if (!isfinite(grid->direction[i]))
            return DG_FAIL(DG_ERR_DATA, "grid direction has %g in place %d; it must be a rotation matrix",
                           grid->direction[i], i);
    return DG_OK;
}

dg_grid dg_grid_make(const int64_t shape[3], const double spacing_mm[3])
{
    dg_grid grid = {.direction = {1, 0, 0, 0, 1, 0, 0, 0, 1}};
    memcpy(grid.shape, shape, sizeof grid.shape);
    memcpy(grid.spacing_mm, spacing_mm, sizeof grid.spacing_mm);
    return grid;
}

int64_t dg_grid_voxels(const dg_grid *grid) { return grid->shape[0] * grid->shape[1] * grid->shape[2]; }

/* Moves the origin by `index_zyx` voxels of the grid's own axes. */
static void move_origin(dg_grid *grid, const double mm_zyx[3])
{
    const double mm_xyz[3] = {mm_zyx[2], mm_zyx[1], mm_zyx[0]};
    for (int p = 0; p < 3; p++) {
        double step = 0;
        for (int i = 0; i < 3; i++) step += grid->direction[3 * p + i] * mm_xyz[i];
        grid->origin_mm[2 - p] += step;
    }
}

dg_grid dg_grid_respaced(const dg_grid *grid, const double spacing_mm[3])
{
    dg_grid out = *grid;
    double shift_mm[3];
    for (int a = 0; a < 3; a++) {
        double extent = (double)grid->shape[a] * grid->spacing_mm[a];
        /* 128 * 3.906 / 3.906 must not become 129 by rounding */
        out.shape[a] = (int64_t)fmax(1, ceil(extent / spacing_mm[a] - 1e-6));
        out.spacing_mm[a] = spacing_mm[a];
        shift_mm[a] =
            0.5 * ((double)(grid->shape[a] - 1) * grid->spacing_mm[a] - (double)(out.shape[a] - 1) * spacing_mm[a]);
    }
    move_origin(&out, shift_mm);
    return out;
}

dg_grid dg_grid_boxed(const dg_grid *grid, const dg_box *box)
{
    dg_grid out = *grid;
    double shift_mm[3];
    for (int a = 0; a < 3; a++) {
        out.shape[a] = box->shape[a];
        shift_mm[a] = (double)box->start[a] * grid->spacing_mm[a];
    }
    move_origin(&out, shift_mm);
    return out;
}

dg_grid dg_grid_coarsened(const dg_grid *grid, const int64_t factor_zyx[3])
{
    dg_grid out = *grid;
    double shift_mm[3];
    for (int a = 0; a < 3; a++) {
        out.shape[a] = (grid->shape[a] + factor_zyx[a] - 1) / factor_zyx[a];
        out.spacing_mm[a] = grid->spacing_mm[a] * (double)factor_zyx[a];
        shift_mm[a] = 0.5 * (double)(factor_zyx[a] - 1) * grid->spacing_mm[a];
    }
    move_origin(&out, shift_mm);
    return out;
}

void dg_grid_point(const dg_grid *grid, const double index_zyx[3], double point_mm_zyx[3])
{
    for (int p = 0; p < 3; p++) {
        double sum = grid->origin_mm[2 - p];
        for (int i = 0; i < 3; i++) sum += grid->direction[3 * p + i] * grid->spacing_mm[2 - i] * index_zyx[2 - i];
        point_mm_zyx[2 - p] = sum;
    }
}
