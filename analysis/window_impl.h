/* window_impl.h - the 2 x 2 x 2 voxels around a lattice point, as surfaces and Euler characteristics see a mask.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_WINDOW_IMPL_H
#define DG_WINDOW_IMPL_H

#include <stdint.h>

enum { WINDOW_CODES = 256 };

/* Bit 4 dz + 2 dy + dx: the voxel at (z - 1 + dz, y - 1 + dy, x - 1 + dx) is set; beyond the volume nothing is. Lattice points
 * go from 0 to the number of voxels of an axis. */
static inline unsigned window_code(const uint8_t *mask, const int64_t n[3], int64_t z, int64_t y, int64_t x)
{
    unsigned code = 0;
    for (int i = 0; i < 8; i++) {
        const int64_t at[3] = {z - 1 + (i >> 2), y - 1 + (i >> 1 & 1), x - 1 + (i & 1)};
        if (at[0] < 0 || at[1] < 0 || at[2] < 0 || at[0] >= n[0] || at[1] >= n[1] || at[2] >= n[2]) continue;
        code |= (unsigned)(mask[(at[0] * n[1] + at[1]) * n[2] + at[2]] != 0) << i;
    }
    return code;
}

#endif
