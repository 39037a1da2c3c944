/* dg_compare.h - conditions side by side: results of several runs, grouped by condition and seed, compared patient by patient with
 * one reference condition (doc/statistics.md). SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_COMPARE_H
#define DG_COMPARE_H

#include "dg_results.h"

#include <stdio.h>

typedef struct dg_compare_file {
    const dg_results *results;       /* borrowed; must outlive the comparison */
    char condition[DG_RESULTS_TEXT]; /* not empty */
    bool has_seed;
    int64_t seed;
} dg_compare_file;

typedef struct dg_compare_params {
    const char *primary;   /* dotted metric; "": openkbp.dose_error_gy where it is, else dose_metrics.mae_gy or segmentation_metrics.dice */
    const char *reference; /* condition; "": that of the first file */
    const char *const
        *pattern; /* [patterns] exploratory metrics: dotted names, * and ? as in the shell; none: a choice */
    int64_t patterns;
    double alpha;      /* family-wise, of the primary metric */
    int64_t resamples; /* of the bootstrap */
    uint64_t seed;
    bool
        upstream; /* the reference tool's Holm and bootstrap, its own rows, and seed x case pairs (pseudo-replicated) */
} dg_compare_params;

typedef struct dg_compare dg_compare;

/* Sorts (reference first, then conditions by name, seeds rising: the order of the files does not matter) and checks. DG_ERR_USAGE names the
 * field and both values where results must not stand side by side: settings, layout, set of cases, content of a case; also a seed
 * twice in a condition, several files without seed, an unknown reference or metric. Not collective. */
DG_MUST_USE dg_status dg_compare_create(const dg_compare_file *file, int64_t files, const dg_compare_params *params,
                                        dg_compare **out);
void dg_compare_destroy(dg_compare **compare);
int64_t dg_compare_conditions(const dg_compare *compare);
const char *dg_compare_condition(const dg_compare *compare, int64_t index); /* borrowed; 0: the reference */

/* Patterns of the metrics that are told besides the primary one where the user names none; borrowed, `*count` of them. */
const char *const *dg_compare_usual(int64_t *count);
const char *dg_compare_primary(const dg_compare *compare); /* the primary metric; borrowed */
/* Mean over the seeds of a condition of a metric for a case; NaN where there is none. */
double dg_compare_value(const dg_compare *compare, int64_t condition, const char *case_id, const char *metric);

/* The whole comparison (layout: doc/statistics.md); the caller's. */
DG_MUST_USE dg_status dg_compare_json(const dg_compare *compare, json_t **out);
/* Summary over seeds of a condition, in the reference tool's layout (dg_seed_summary); the caller's. */
DG_MUST_USE dg_status dg_compare_summary(const dg_compare *compare, int64_t condition, json_t **out);
/* Long format: case, group, seed, condition, metric, region, unit, value, reason; a row for each case, seed, condition and metric.
 * The caller frees *text with dg_free. */
DG_MUST_USE dg_status dg_compare_csv(const dg_compare *compare, char **text);

/* Tables of a comparison's JSON for a terminal, Markdown or LaTeX (booktabs); the caller frees *text. */
typedef enum dg_table_style { DG_TABLE_PLAIN, DG_TABLE_MARKDOWN, DG_TABLE_LATEX } dg_table_style;
DG_MUST_USE dg_status dg_compare_tables(const json_t *comparison, dg_table_style style, char **text);

/* What the name of a metric says. */
typedef enum dg_better { DG_BETTER_UNKNOWN, DG_BETTER_LOWER, DG_BETTER_HIGHER, DG_BETTER_NEAR_ZERO } dg_better;
typedef struct dg_metric_words {
    char region[DG_RESULTS_METRIC]; /* gamma region, structure, region of the error; "" if none */
    const char *unit;               /* "Gy", "%", "cc", "voxels" or "" */
    dg_better better;
} dg_metric_words;
void dg_metric_describe(const char *metric, dg_metric_words *out);

#endif
