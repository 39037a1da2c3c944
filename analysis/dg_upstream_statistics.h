/* dg_upstream_statistics.h - the comparison of two experiments as the reference tool makes it (golden README section 8): for
 * `compat: upstream`, with its thresholds, roundings and quirks. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_UPSTREAM_STATISTICS_H
#define DG_UPSTREAM_STATISTICS_H

#include "dg_seed_aggregate.h"

/* The reference's own lists: 12 metrics that are aggregated, 5 that are compared and stand in its table. NULL beyond. */
const char *dg_upstream_aggregate_metric(int64_t index);
const char *dg_upstream_compare_metric(int64_t index);

/* One row: metric, n_pairs, statistic, p_value, p_adjusted (null), significant (false), alpha, cohens_d, mean_diff, std_diff, direction
 * ("A > B"), mean_a, mean_b, rounded as there; or `error` for fewer than 6 pairs. The caller owns *out. */
DG_MUST_USE dg_status dg_upstream_compare_pairs(const double *a, const double *b, int64_t n, const char *metric,
                                                double alpha, json_t **out);
/* All rows, of means over seeds of the cases that both have, with the reference's Holm (quirk 10). */
DG_MUST_USE dg_status dg_upstream_compare(const dg_seed_table *a, const dg_seed_table *b, const char *const *metric,
                                          int64_t metrics, double alpha, json_t **out);
/* "MAE (Gy)" and the like; the dotted name itself where the reference has no short one. */
const char *dg_upstream_short_name(const char *metric);
/* The reference's Markdown table of summaries (dg_seed_summary), one row each: "| name | 4.63 +/- 0.82 | ..". The caller
 * frees *out with dg_free. */
DG_MUST_USE dg_status dg_upstream_table(const char *const *name, const json_t *const *summary, int64_t count,
                                        const char *const *metric, int64_t metrics, char **out);

#endif
