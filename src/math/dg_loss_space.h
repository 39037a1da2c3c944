/* dg_loss_space.h - where a voxel of the fine grid lies when a network predicts blocks of voxels side by side, and the
 * weights of the gradient loss. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_LOSS_SPACE_H
#define DG_LOSS_SPACE_H

#include "dg_hd.h"

#include <stdint.h>

/* Row of the fine voxel (z, y, x); ny and nx are the fine axes, bz, by, bx the voxels of a block. */
DG_HD static inline int64_t dg_block_row(int64_t z, int64_t y, int64_t x, int64_t ny, int64_t nx, int64_t bz,
                                         int64_t by, int64_t bx)
{
    if (bz * by * bx == 1) return (z * ny + y) * nx + x;
    const int64_t block = (z / bz * (ny / by) + y / by) * (nx / bx) + x / bx;
    return ((block * bz + z % bz) * by + y % by) * bx + x % bx;
}

/* Along an axis a Sobel kernel takes the difference (-1, 0, 1) or the smooth sum (1, 2, 1) of three neighbours: a difference
 * and two sums have absolute weights of 32 in all. */
static const float DG_SOBEL_NORM = 1.0f / 32.0f;
DG_HD static inline float dg_sobel_smooth(int offset) { return offset == 0 ? 2.0f : 1.0f; }

#endif
