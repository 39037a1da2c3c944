/* dg_regions.h - the parts of a patient in which dose errors and gamma are stated: a map is made once and masked after.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_REGIONS_H
#define DG_REGIONS_H

#include "dg_grid.h"
#include "dg_structure.h"

/* GLOBAL: every voxel. PTV: targets and what lies within margin_mm of them (Euclidean). LOW, MID, HIGH: 10-50 %,
 * 50-90 % and > 90 % of the prescription on the reference dose: [10, 50), [50, 90], (90, ..). NO_MANS_LAND: body at
 * or above the cutoff dose, without PTV + margin and without organs at risk. OAR: one region for each organ; a voxel
 * of two organs counts in both. */
typedef enum dg_region_kind {
    DG_REGION_GLOBAL,
    DG_REGION_PTV,
    DG_REGION_LOW,
    DG_REGION_MID,
    DG_REGION_HIGH,
    DG_REGION_NO_MANS_LAND,
    DG_REGION_OAR
} dg_region_kind;

enum { DG_REGIONS_MAX = 64 };

typedef struct dg_region {
    dg_region_kind kind;
    char name[80];  /* of JSON keys: global, ptv_region, low_dose, mid_dose, high_dose, no_mans_land, oar_<structure> */
    int64_t voxels; /* in the region, before any cutoff */
    char reason[96]; /* why it is empty ("no target", "no prescription", "no body"), "" when it is not */
} dg_region;

/* One case, or a part of one in which every distance up to margin_mm is seen; borrowed. */
typedef struct dg_regions_input {
    const dg_grid *grid;
    const float *reference_gy;     /* [z,y,x] */
    const uint64_t *masks;         /* [z,y,x] bit k: structure k */
    const dg_structure *structure; /* [structure_count] */
    int structure_count;
    dg_box known;           /* where the reference dose is known: no region leaves it */
    double prescription_gy; /* 0: unknown, LOW..HIGH are empty */
    double cutoff_gy;       /* of NO_MANS_LAND */
    double margin_mm;       /* 5 by default */
    bool
        box_margin; /* the reference tool's PTV region: a box of round(margin / spacing) voxels, half to even, at least 1 */
    int threads;
} dg_regions_input;

/* Regions of a case: bit r of bits[voxel] is region r. More than 64 regions: DG_ERR_UNSUPPORTED naming how many. */
typedef struct dg_regions {
    dg_region region[DG_REGIONS_MAX];
    int count;
    uint64_t *bits; /* [z,y,x], owned */
} dg_regions;
DG_MUST_USE dg_status dg_regions_make(const dg_regions_input *input, dg_regions *out);
void dg_regions_release(dg_regions *regions);
/* Index of a region by its JSON name, or -1. */
int dg_regions_find(const dg_regions *regions, const char *name);

#endif
