/* dg_constraints.h - clinical constraint tables as data files, and the verdict on a dose.
 * Tables: analysis/tables/NAME.yaml, built into the program, or any file of that layout (doc/results.md).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CONSTRAINTS_H
#define DG_CONSTRAINTS_H

#include "dg_dvh_metric.h"
#include "dg_grid.h"
#include "dg_hash.h"
#include "dg_structure.h"

#include <jansson.h>

typedef struct dg_constraint_table dg_constraint_table;

/* `name_or_path`: upstream_prostate, quantec_prostate, openkbp_hn, template, or a file. DG_ERR_USAGE names file, line, row, value and
 * remedy. */
DG_MUST_USE dg_status dg_constraint_table_load(const char *name_or_path, dg_constraint_table **out);
void dg_constraint_table_destroy(dg_constraint_table **table);
const char *dg_constraint_table_name(const dg_constraint_table *table);
const char *dg_constraint_table_sha256(const dg_constraint_table *table); /* of the file's content */
int dg_constraint_table_rows(const dg_constraint_table *table);

typedef enum dg_verdict { DG_VERDICT_PASS, DG_VERDICT_FAIL, DG_VERDICT_NOT_EVALUATED } dg_verdict;

enum { DG_CONSTRAINT_ROWS_MAX = 128 };

/* One row on one dose: plain bytes. */
typedef struct dg_constraint_result {
    int row;
    dg_verdict verdict[2]; /* [reference dose, prediction] */
    double value[2];       /* what is compared with the limit; NaN */
    double beside[2];      /* the voxel maximum of a Dmax row (judged on D0.03cc), else NaN */
    char reason[128];      /* of NOT EVALUATED */
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
    int supersample;   /* 1: voxel centres; n: n^3 partial volumes */
    dg_dvh_rule rule;
    int threads;
} dg_constraints_input;

/* results[rows]. Failures are those of the whole case only (NaN dose, memory). */
DG_MUST_USE dg_status dg_constraints_evaluate(const dg_constraint_table *table, const dg_constraints_input *input,
                                              dg_constraint_result *results);

/* {verdict: PASS|FAIL|INCOMPLETE, passed, evaluated, total, target_verdict, rows: [{structure, metric, comparison, limit, unit, target_value, pred_value, target,
 * pred, reason, source, ..}]}; the caller's. NULL: no memory. */
json_t *dg_constraints_to_json(const dg_constraint_table *table, const dg_constraint_result *results);
/* Over cases: per row how many pass, fail, not evaluated, and the 2x2 agreement of prediction with plan (sensitivity to true violations). cases[i]: the
 * object above of case i. */
json_t *dg_constraints_cohort_json(const dg_constraint_table *table, const dg_constraint_result *const *results,
                                   int64_t cases);

#endif
