/* dg_anatomy.h - what can be said of a case without any prediction: the clinical dose in no man's land by distance to the targets, and
 * sizes and distances of its anatomy. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_ANATOMY_H
#define DG_ANATOMY_H

#include "dg_grid.h"
#include "dg_structure.h"

enum { DG_ANATOMY_BINS_MAX = 64 };

/* Distances run from margin_mm in steps of bin_mm: bin b holds [margin + b bin, margin + (b + 1) bin). */
typedef struct dg_anatomy_params {
    double margin_mm, bin_mm;
    int bins;              /* 1 .. DG_ANATOMY_BINS_MAX */
    double cutoff_percent; /* no man's land begins at this share of the largest known dose (dg_regions.h) */
    int threads;
} dg_anatomy_params;

/* A whole case; borrowed. Where no structure is the body, the mask of possible dose stands for it. */
typedef struct dg_anatomy_input {
    const dg_grid *grid;
    const float *dose_gy;
    const uint64_t *masks;
    const dg_structure *structure;
    int structure_count;
    dg_box known;
    double prescription_gy;
} dg_anatomy_input;

/* Numbers only, so that ranks can add what each has worked out to zeros. NaN: does not exist (no target, no such organ). */
typedef struct dg_anatomy {
    double dose_percent[DG_ANATOMY_BINS_MAX]; /* mean dose in the bin, % of the prescription; NaN without a voxel */
    double voxels[DG_ANATOMY_BINS_MAX];
    double target_cc, body_cc, no_mans_land_cc;
    double structures;            /* that have voxels, without body, support and possible dose */
    double overlap_percent;       /* of the union of targets, in any organ */
    double nearest_organ_mm;      /* smallest distance from a target voxel to an organ voxel; 0 where they overlap */
    double body_is_possible_dose; /* 1 or 0 */
    double
        organ_overlap_percent[DG_STRUCTURES_MAX]; /* of the union of targets, in this organ; NaN for other structures */
    double organ_distance_mm[DG_STRUCTURES_MAX];
} dg_anatomy;

/* DG_ERR_NUMERIC: a known dose that is not finite (names the voxel); DG_ERR_USAGE: bins out of range; what dg_regions_make gives. Bits
 * do not depend on `threads`. Not collective. */
DG_MUST_USE dg_status dg_anatomy_measure(const dg_anatomy_input *input, const dg_anatomy_params *params,
                                         dg_anatomy *out);

#endif
