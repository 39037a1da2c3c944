/* rt_case_impl.h - what the files of dg_rt_case.h share; not for other folders. SPDX-License-Identifier: Apache-2.0 */
#ifndef RT_CASE_IMPL_H
#define RT_CASE_IMPL_H

#include "dg_rt_case.h"

/* The voxels of one structure in the whole CT. A word for each voxel would be the largest array there is. */
typedef struct rt_voxels {
    uint8_t *packed; /* dg_bits.h */
    int64_t count, sum_yx[2];
    int64_t first[3], last[3]; /* of the voxels, zyx; first > last without any */
} rt_voxels;

/* What one case is assembled with. */
typedef struct rt_reading {
    dg_dicom_context *context;
    const dg_rt_settings *settings;
    dg_grid ct_grid;                     /* of the whole CT */
    uint8_t *mask;                       /* of the whole CT: the structure at hand, 0 and 1 */
    int64_t mask_first, mask_last;       /* the slices of it that may hold some; first > last: none */
    rt_voxels voxels[DG_STRUCTURES_MAX]; /* of out->structure */
    dg_rt_case *out;
    bool required[DG_STRUCTURES_MAX]; /* of out->structure */
} rt_reading;

/* Refuses the case by a rule: DG_ERR_DATA, "case ID: text (rule NAME)". */
dg_status rt_refuse(rt_reading *r, const char *rule, const char *format, ...) DG_PRINTF(3, 4);
/* Keeps what was noticed; one too many is left out. */
void rt_find(dg_rt_case *out, const char *rule, const char *format, ...) DG_PRINTF(3, 4);

/* rt_structures.c: regions become voxels of r->voxels and rows of the case. */
DG_MUST_USE dg_status rt_add_structures(rt_reading *r, const dg_dicom_structures *set);

/* Where structure k lies within the case's grid; false when the crop leaves nothing of its box. */
bool rt_box(const rt_reading *r, int k, dg_box *box);

/* rt_dose.c: the dose on out->grid, where it is known, and what structures get. Takes the dose's own grid. */
DG_MUST_USE dg_status rt_add_dose(rt_reading *r, const dg_dicom_dose *dose);

#endif
