/* region.h - where a case can have dose: the structure of possible dose, else the body. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_REGION_H
#define DG_REGION_H

#include "dg_cohort.h"

typedef enum dg_region_kind { DG_REGION_ALL, DG_REGION_BODY, DG_REGION_POSSIBLE_DOSE } dg_region_kind;

typedef struct dg_region {
    dg_region_kind kind;
    uint64_t bits; /* mask bits of its structures; 0: every voxel */
} dg_region;

dg_region dg_region_of(const dg_case_info *info);
/* Writes 0 outside the region of a case to a native volume [z][y][x]. Reads masks some slices at a time, as the next. */
DG_MUST_USE dg_status dg_region_restrict(dg_case *c, float *dose_gy);
/* The smallest box of native voxels that holds the region of a case; of shape 0 where it has no voxel. */
DG_MUST_USE dg_status dg_region_bound(dg_case *c, dg_box *box);

#endif
