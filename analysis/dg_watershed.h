/* dg_watershed.h - a mask cut into instances where it is thin. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_WATERSHED_H
#define DG_WATERSHED_H

#include "dg_status.h"

#include <stdint.h>

/* instances[z,y,x]: 0 where mask is 0, else 1, 2, ..: the marker whose flood reaches the voxel first. Markers are the voxels whose exact
 * distance (in voxels) to the background is the largest of the 5 x 5 x 5 around them; those that touch over faces are one. Floods
 * spread over faces, from large distances to small ones, and among equal ones in the order in which they were reached
 * (priority flood of the negative distance; Vincent and Soille, IEEE Trans. PAMI 13, 1991; the markers are the reference
 * tool's). Memory: 26 bytes a voxel of the volume and 16 of the mask. Not collective. */
DG_MUST_USE dg_status dg_watershed(const uint8_t *mask, const int64_t shape_zyx[3], int threads, uint32_t *instances,
                                   int64_t *count);

#endif
