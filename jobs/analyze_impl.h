/* analyze_impl.h - what the parts of `dosegrid analyze` share. SPDX-License-Identifier: Apache-2.0 */
#ifndef ANALYZE_IMPL_H
#define ANALYZE_IMPL_H

#include "dg_anatomy.h"
#include "dg_cohort.h"
#include "dg_compare.h"

enum { ANALYZE_REASON = 256 };

/* A cohort measured case by case; on rank 0 of all ranks. */
typedef struct analysis {
    const dg_cohort *cohort;
    int64_t *index; /* [count] of the cases with a dose, in the cohort's order */
    int64_t count, without_dose;
    dg_anatomy *anatomy;            /* [count] */
    char (*reason)[ANALYZE_REASON]; /* [count] "" where the case was measured */
    dg_anatomy_params params;
    const dg_compare *compare; /* NULL without results */
    double alpha;
} analysis;

/* The whole analysis (layout: doc/statistics.md); the caller's. */
DG_MUST_USE dg_status analyze_json(const analysis *a, json_t **out);

#endif
