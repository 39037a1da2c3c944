/* compare_impl.h - what the parts of dg_compare share. SPDX-License-Identifier: Apache-2.0 */
#ifndef COMPARE_IMPL_H
#define COMPARE_IMPL_H

#include "dg_compare.h"
#include "dg_effect.h"
#include "dg_seed_aggregate.h"
#include "dg_wilcoxon.h"

/* Files of one condition, seeds rising. */
typedef struct dg_condition {
    const char *name;
    const dg_compare_file **file; /* [table.seeds], a part of dg_compare.sorted */
    dg_seed_table table;
    int64_t *seed;        /* [table.seeds] */
    const json_t **entry; /* [table.seeds * table.cases] */
} dg_condition;

struct dg_compare {
    dg_compare_file *copy; /* [files] */
    int64_t files;
    const dg_compare_file **sorted; /* [files] by condition (reference first) and seed */
    dg_condition *condition;
    int64_t conditions, cases;
    const char **case_id; /* [cases] sorted, borrowed from the results */
    char primary[DG_RESULTS_METRIC];
    const char **metric; /* [metrics] exploratory, sorted, without the primary; borrowed from the results */
    int64_t metrics;
    double alpha;
    int64_t resamples;
    uint64_t seed;
    bool upstream;
};

/* Differences of two series over cases where both have a value; the arrays are the caller's. */
typedef struct pairs {
    int64_t n;
    double *a, *b, *difference; /* difference: a - b; one block behind a */
} pairs;
dg_status pairs_create(int64_t capacity, pairs *out);
void pairs_release(pairs *p);
/* Means over seeds of `metric` in both conditions. */
void pairs_of_conditions(const dg_condition *a, const dg_condition *b, const char *metric, pairs *p);
/* Two metrics of one condition. */
void pairs_of_metrics(const dg_condition *c, const char *a, const char *b, pairs *p);

/* {n, mean.., hodges_lehmann, cohens_dz, bootstrap, wilcoxon}: the whole paired comparison. */
dg_status compare_pairs_json(const dg_compare *compare, const pairs *p, json_t **out, dg_wilcoxon *w);

/* compare_check.c: may these stand side by side? Files as sorted. */
dg_status compare_check(const dg_compare *compare);
/* compare_explore.c */
dg_status compare_outliers(const dg_compare *compare, json_t **out);
dg_status compare_asymmetry(const dg_compare *compare, json_t **out);
dg_status compare_gamma(const dg_compare *compare, json_t **out);
/* compare_upstream.c */
dg_status compare_upstream(const dg_compare *compare, json_t **out);

#endif
