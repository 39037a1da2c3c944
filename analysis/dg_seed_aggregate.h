/* dg_seed_aggregate.h - several seeds of one condition: values by seed and case, their means over seeds (the patient is the
 * unit), and the summary of a condition in the reference tool's layout (golden README section 8, `aggregate`).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_SEED_AGGREGATE_H
#define DG_SEED_AGGREGATE_H

#include "dg_status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* One condition; everything borrowed. entry[s * cases + c]: what the results of seed s say of case c (an entry of
 * per_case_results), NULL where that seed has no such case. */
typedef struct dg_seed_table {
    int64_t seeds, cases;
    const int64_t *seed;        /* [seeds]; NULL: unknown, then seeds is 1 */
    const char *const *case_id; /* [cases] sorted */
    const json_t *const *entry; /* [seeds * cases] */
} dg_seed_table;

/* Value of a dotted metric; NaN where it is absent. */
double dg_seed_table_value(const dg_seed_table *table, int64_t seed, int64_t index, const char *metric);
/* Over the seeds that have a value of case `index`: their number, mean (NaN for none), standard deviation (ddof 1; NaN for
 * fewer than two). */
typedef struct dg_seed_mean {
    int64_t seeds;
    double mean, std;
} dg_seed_mean;
dg_seed_mean dg_seed_table_mean(const dg_seed_table *table, int64_t index, const char *metric);
/* The same over the cases of one seed. */
dg_seed_mean dg_seed_table_seed_mean(const dg_seed_table *table, int64_t seed, const char *metric);

typedef struct dg_seed_summary_params {
    const char *const *metric; /* [metrics] */
    int64_t metrics;
    int64_t resamples;
    uint64_t seed; /* of the bootstrap */
    double level;
    bool upstream; /* the reference's Mersenne Twister bootstrap, and 0 as the deviation of one value; else null */
} dg_seed_summary_params;

/* {framework_version, n_seeds, n_cases, seed_ids, aggregate: {metric: {mean, std, ci_lower, ci_upper, n_cases_with_data}},
 * per_case: {id: {metric: {mean, std, values_by_seed}}}, per_seed: [{seed, metrics: {metric: {mean, std, n_cases}}}]}.
 * Intervals resample patients: BCa below 20, percentiles from there (dg_bootstrap.h). The caller owns *out. */
DG_MUST_USE dg_status dg_seed_summary(const dg_seed_table *table, const dg_seed_summary_params *params, json_t **out);

/* JSON of a number: null where it is not finite. NULL: no memory. */
json_t *dg_json_number(double value);

#endif
