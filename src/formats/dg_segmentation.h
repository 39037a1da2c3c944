/* dg_segmentation.h - all structures of a case as one 3D Slicer segmentation (.seg.nrrd), overlaps kept.
 *
 * The file is a NRRD of bytes (layers, x, y, z): structures that share no voxel share a layer and differ by their label.
 * Space is left-posterior-superior, as ours. Source: teem.sourceforge.net/nrrd/format.html; Slicer's user guide, "Segmentation
 * file format". SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_SEGMENTATION_H
#define DG_SEGMENTATION_H

#include "dg_grid.h"
#include "dg_structure.h"

/* Writes `bits` [z,y,x] (bit k: structure[k], count up to 64) durably, and the same bytes for the same masks. A structure
 * without voxels is a segment without voxels. DG_ERR_IO. */
DG_MUST_USE dg_status dg_segmentation_write(const char *path, const char *role, const dg_grid *grid,
                                            const dg_structure *structure, int count, const uint64_t *bits);

#endif
