/* dg_rt_case.h - one DICOM-RT case as a network sees it: CT, structures as voxels and dose on the CT's own grid, cropped, with
 * what was noticed on the way. Data stay in HU, Gy and mm. Rules: doc/dicom.md. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_RT_CASE_H
#define DG_RT_CASE_H

#include "dg_conditioning.h"
#include "dg_dicom.h"
#include "dg_mapping.h"
#include "dg_raster.h"
#include "dg_structure.h"

enum { DG_RT_JOINED = 256, DG_RT_FINDINGS = 64 };

/* What the user said about all cases. */
typedef struct dg_rt_settings {
    const dg_mapping *mapping; /* borrowed */
    bool require_dose;         /* for training: dose and prescription have to be known */
    double prescription_gy;    /* 0: not given */
    int64_t fractions;         /* likewise */
    bool upstream;             /* as the reference: every contour is filled by itself, holes included */
    int threads;
} dg_rt_settings;

/* How a structure came about; voxels are those of the whole CT where not said otherwise. */
typedef struct dg_rt_structure {
    char joined[DG_RT_JOINED]; /* the regions it was made of, in the mapping's spelling: "Sm Bowel + Sigmoid" */
    int64_t regions, contours;
    int64_t empty_contours, other_contours; /* without points; points and open lines */
    dg_raster_report raster;                /* summed over the regions */
    int64_t voxels, cropped_away, without_dose;
    double mean_gy, max_gy, d95_gy; /* of the case's voxels with known dose; NaN without; d95_gy of targets */
} dg_rt_structure;

/* Something worth telling about a case that is kept. */
typedef struct dg_rt_finding {
    const char *rule; /* static */
    char text[DG_DICOM_NOTE_TEXT];
} dg_rt_finding;

/* A case; owned (dg_rt_case_release). Arrays are [z,y,x] of `grid`. */
typedef struct dg_rt_case {
    dg_grid grid;
    dg_box crop; /* of the CT: where the grid lies in it */
    int64_t ct_shape[3];
    int16_t *ct_hu; /* one of the two: whole numbers, or not */
    float *ct_hu_f32;
    float *dose_gy;                            /* NULL without a dose; never negative */
    dg_box dose_box;                           /* where it is known */
    uint8_t *mask[DG_STRUCTURES_MAX];          /* of each structure, one bit a voxel (dg_bits.h) */
    dg_structure structure[DG_STRUCTURES_MAX]; /* those of the mapping that have voxels, in its order */
    dg_rt_structure about[DG_STRUCTURES_MAX];
    int structure_count;
    double prescription_gy;    /* 0: unknown */
    int64_t fractions;         /* 0: unknown */
    bool prescription_assumed; /* said by preset or user, not by the plan */
    float constraint[DG_CONDITIONING_PROSTATE];
    int constraint_count; /* DG_CONDITIONING_PROSTATE or 0 */
    dg_dicom_plan plan;   /* zeroed without one */
    bool has_plan;
    double dose_spacing_mm[3]; /* zyx, of the dose as it was calculated */
    char position[DG_DICOM_CODE];
    dg_rt_finding finding[DG_RT_FINDINGS];
    int finding_count;
} dg_rt_case;

/* Reads and assembles one candidate of dg_dicom_scan. On refusal context->rule names the rule: those of dg_dicom.h and
 * structure-missing, structure-ambiguous, structure-empty (required, but its contours cover no voxel centre), contour-plane,
 * prescription-missing, prescription-differs, rtdose-elsewhere; *out then holds nothing. Not collective. */
DG_MUST_USE dg_status dg_rt_case_read(dg_dicom_context *context, const dg_dicom_case *candidate,
                                      const dg_rt_settings *settings, dg_rt_case *out);
void dg_rt_case_release(dg_rt_case *c);

#endif
