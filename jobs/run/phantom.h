/* phantom.h - made-up head-and-neck patients: anatomy, CT, targets, organs and a dose whose uncertainty is known.
 *
 * A case is a pure function of (seed, case, draw): the anatomy of the first two, hidden choices of the planner of all
 * three. Given the anatomy, dose = mean * (1 + sum_j z_j m_j) with independent hidden z_j of mean 0 and known variance,
 * so that the conditional mean and standard deviation of every voxel are exact: in targets that of the plan's level alone,
 * large between targets and organs. Lengths scale with the grid, so 16^3 is a patient too.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_PHANTOM_H
#define DG_PHANTOM_H

#include "dg_cohort.h"

/* Hidden choices of the planner. */
typedef enum dg_ambiguity {
    DG_AMBIGUITY_NONE, /* the anatomy decides the dose */
    DG_AMBIGUITY_ONE,  /* how strongly each organ is spared, gantry weighting: one mode */
    DG_AMBIGUITY_TWO   /* also which side is spared: two modes of equal weight */
} dg_ambiguity;

typedef struct dg_phantom_config {
    int64_t shape[3];     /* zyx, 12..1024 each */
    double spacing_mm[3]; /* zyx */
    uint64_t seed;
    dg_ambiguity ambiguity;
    double level; /* hidden: the whole dose of a plan is up to this share lower or higher; 0..0.1, without effect where
                     nothing is ambiguous */
    bool constraints; /* the vector of the case tells how the plan spares parotids and larynx */
} dg_phantom_config;

/* One case; everything is owned by it, `data` points into it. */
typedef struct dg_phantom {
    dg_case_data data;
    int16_t *ct_hu;
    float *dose_gy;
    float *mean_gy, *std_gy; /* of dose_gy over the hidden choices, given the anatomy */
    uint64_t *masks;
} dg_phantom;

/* The vector, [3]: relative change of the dose in left parotid, right parotid and larynx that the hidden choices make,
 * named "LeftParotid dose", "RightParotid dose", "Larynx dose"; 0 without ambiguity. Level and gantry stay hidden, so that
 * truth_mean and truth_std are those of somebody who does not know the vector. */

/* Makes case `index` (id "phantom-0001" for 0) with hidden choices number `draw`. Not collective.
 * DG_ERR_USAGE: shape or spacing out of range. */
DG_MUST_USE dg_status dg_phantom_create(const dg_phantom_config *config, int64_t index, uint32_t draw,
                                        dg_phantom **out);
void dg_phantom_destroy(dg_phantom **phantom);
/* The id of a case. */
void dg_phantom_id(int64_t index, char id[DG_CASE_ID]);

#endif
