/* dg_constraints.h - clinical constraint tables as data files, and the verdict on a dose.
 * Tables: analysis/tables/NAME.yaml, built into the program, or any file of that layout (template.yaml tells it).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CONSTRAINTS_H
#define DG_CONSTRAINTS_H

#include "dg_dvh_metric.h"
#include "dg_grid.h"
#include "dg_hash.h"
#include "dg_structure.h"

#include <jansson.h>

typedef struct dg_constraint_table dg_constraint_table;

/* `name_or_path`: upstream_prostate, quantec_prostate, openkbp_hn, template, or a file. DG_ERR_USAGE names file,
 * line, row, value and remedy. */
DG_MUST_USE dg_status dg_constraint_table_load(const char *name_or_path, dg_constraint_table **out);
/* The same from memory; `name` stands for the file in messages. */
DG_MUST_USE dg_status dg_constraint_table_read(const char *text, size_t length, const char *name,
                                               dg_constraint_table **out);
void dg_constraint_table_destroy(dg_constraint_table **table);
const char *dg_constraint_table_name(const dg_constraint_table *table);
const char *dg_constraint_table_sha256(const dg_constraint_table *table); /* of the file's content */
int dg_constraint_table_rows(const dg_constraint_table *table);

typedef enum dg_verdict { DG_VERDICT_PASS, DG_VERDICT_FAIL, DG_VERDICT_NOT_EVALUATED } dg_verdict;

enum { DG_CONSTRAINT_ROWS_MAX = 128, DG_CONSTRAINT_JUDGED_ON = 112 };

/* One row on one dose: plain bytes. */
typedef struct dg_constraint_result {
    int row;
    dg_verdict verdict[2]; /* [reference dose, prediction] */
    double value[2];       /* what is compared with the limit; NaN */
    double beside[2];      /* the voxel maximum of a Dmax row (judged on D0.03cc), else NaN */
    double eqd_gy;         /* the doses are equivalent ones in fractions of this dose; 0: physical doses */
    char
        judged_on[DG_CONSTRAINT_JUDGED_ON]; /* the structure, or "PTV56 minus (PTV70 + 5 mm)"; "" where there is none */
    char reason[128];                       /* of NOT EVALUATED */
} dg_constraint_result;

/* A whole case: constraints are judged on complete structures. Borrowed. */
typedef struct dg_constraints_input {
    const dg_grid *grid;
    const float *dose_gy[2]; /* reference, prediction [z,y,x] */
    const uint64_t *masks;
    const dg_structure *structure;
    int structure_count;
    dg_box known; /* the dose grid */
    double prescription_gy;
    int64_t fractions; /* 0 unknown */
    int supersample;   /* 1: voxel centres; n: n^3 partial volumes, up to DG_SUPERSAMPLE_MAX */
    dg_dvh_rule rule;
    int threads;
} dg_constraints_input;

/* results[rows]. The rules:
 * - the plan's fractionation (prescription / fractions) differs from the row's: doses become equivalent ones, voxel
 *   by voxel, with the row's alpha/beta; NOT EVALUATED where that or the fractions are unknown;
 * - Dmax is judged on D0.03cc;
 * - a target is judged without what lies within 5 mm of targets of a higher prescription (conformity indices
 *   excepted);
 * - a volume in cc is NOT EVALUATED where the structure touches the border of the grid or of the known dose;
 * - a row that the low doses of the structure decide (volumes in %, Dmean, ..; the row may say) is NOT EVALUATED
 *   where more than 1 % of the structure lies outside the known dose.
 * Failures are those of the whole case only: DG_ERR_NUMERIC for a dose that is not finite, DG_ERR_MEMORY,
 * DG_ERR_USAGE for `supersample`. Not collective. */
DG_MUST_USE dg_status dg_constraints_evaluate(const dg_constraint_table *table, const dg_constraints_input *input,
                                              dg_constraint_result *results);

/* {table, verdict: PASS|FAIL|INCOMPLETE, passed, evaluated, total, target_verdict, target_passed, target_evaluated,
 * rows: [{structure, judged_on, metric, comparison, limit, unit, dose, target_value, pred_value, target, pred,
 * reason, source}]}; Dmax rows also have target_max_gy and pred_max_gy. The caller's. NULL: no memory. */
json_t *dg_constraints_to_json(const dg_constraint_table *table, const dg_constraint_result *results);
/* Over cases: {table, verdicts: {pred: {PASS, FAIL, INCOMPLETE}, target: ..}, rows: [{structure, metric, comparison,
 * limit, unit, pred: {passed, failed, not_evaluated}, target: .., agreement: {both_pass, both_fail, missed,
 * false_alarm, sensitivity}}], agreement: of all rows}. missed: the plan fails and the prediction passes;
 * sensitivity = both_fail / (both_fail + missed), null without violations. results[i][rows]: of case i, in any
 * order. */
json_t *dg_constraints_cohort_json(const dg_constraint_table *table, const dg_constraint_result *const *results,
                                   int64_t cases);

#endif
