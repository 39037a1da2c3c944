/* rt_case_impl.h - what the files of dg_rt_case.h share; not for other folders. SPDX-License-Identifier: Apache-2.0 */
#ifndef RT_CASE_IMPL_H
#define RT_CASE_IMPL_H

#include "dg_rt_case.h"

/* What one case is assembled with. */
typedef struct rt_reading {
    dg_dicom_context *context;
    const dg_rt_settings *settings;
    dg_grid ct_grid; /* of the whole CT */
    uint64_t *masks; /* of the whole CT */
    dg_rt_case *out;
    bool required[DG_STRUCTURES_MAX]; /* of out->structure */
} rt_reading;

/* Refuses the case by a rule: DG_ERR_DATA, "case ID: text (rule NAME)". */
dg_status rt_refuse(rt_reading *r, const char *rule, const char *format, ...) DG_PRINTF(3, 4);
/* Keeps what was noticed; one too many is left out. */
void rt_find(dg_rt_case *out, const char *rule, const char *format, ...) DG_PRINTF(3, 4);

/* rt_structures.c: regions become bits of r->masks and rows of the case. */
DG_MUST_USE dg_status rt_add_structures(rt_reading *r, const dg_dicom_structures *set);

/* rt_dose.c: the dose on out->grid, where it is known, and what structures get. Takes the dose's own grid. */
DG_MUST_USE dg_status rt_add_dose(rt_reading *r, const dg_dicom_dose *dose);

#endif
