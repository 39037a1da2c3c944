/* dg_margin.h - structures grown by a margin. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_MARGIN_H
#define DG_MARGIN_H

#include "dg_grid.h"

/* within[z,y,x] = 1 where the voxel has any bit of `bits` or lies within margin_mm (Euclidean, between voxel
 * centres) of one that has. `box`: the reference tool's margin instead, a box of round(margin / spacing) voxels an
 * axis, half to even, at least 1 (golden README section 6). Returns by *found whether any voxel has the bits. Not
 * collective. DG_ERR_USAGE: a margin that is negative or above 1000 mm; DG_ERR_MEMORY. */
DG_MUST_USE dg_status dg_margin_mask(const uint64_t *masks, uint64_t bits, const dg_grid *grid, double margin_mm,
                                     bool box, int threads, uint8_t *within, bool *found);

/* The smallest box around the voxels that have bit k, for every bit; shape 0 where none has. */
void dg_mask_boxes(const uint64_t *masks, const dg_grid *grid, dg_box box[64]);

#endif
