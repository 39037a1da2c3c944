/* dg_seed_aggregate.c - see dg_seed_aggregate.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_seed_aggregate.h"
#include "dg_bootstrap.h"
#include "dg_effect.h"
#include "dg_mem.h"
#include "dg_results.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* The layout of cross-seed summaries that the reference tool calls so. */
#define FRAMEWORK_VERSION "1.0.0"

json_t *dg_json_number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

double dg_seed_table_value(const dg_seed_table *table, int64_t seed, int64_t index, const char *metric)
{
    const json_t *entry = table->entry[seed * table->cases + index];
    const json_t *value = entry == NULL ? NULL : dg_results_look_up(entry, metric);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* Mean and deviation of what is there of `count` values that lie `step` apart. */
static dg_seed_mean mean_of(const dg_seed_table *table, bool over_seeds, int64_t fixed, const char *metric)
{
    const int64_t count = over_seeds ? table->seeds : table->cases;
    double sum = 0, squares = 0;
    dg_seed_mean m = {0, NAN, NAN};
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < count; i++) {
            const double value = over_seeds ? dg_seed_table_value(table, i, fixed, metric)
                                            : dg_seed_table_value(table, fixed, i, metric);
            if (isnan(value)) continue;
            if (pass == 0) {
                sum += value;
                m.seeds++;
            } else {
                squares += (value - m.mean) * (value - m.mean);
            }
        }
        if (pass == 0 && m.seeds > 0) m.mean = sum / (double)m.seeds;
    }
    if (m.seeds > 1) m.std = sqrt(squares / (double)(m.seeds - 1));
    return m;
}

dg_seed_mean dg_seed_table_mean(const dg_seed_table *table, int64_t index, const char *metric)
{
    return mean_of(table, true, index, metric);
}

dg_seed_mean dg_seed_table_seed_mean(const dg_seed_table *table, int64_t seed, const char *metric)
{
    return mean_of(table, false, seed, metric);
}

static json_t *deviation(double std, bool upstream)
{
    return isnan(std) && upstream ? json_real(0) : dg_json_number(std);
}

static json_t *values_by_seed(const dg_seed_table *table, int64_t index, const char *metric)
{
    char label[32];
    json_t *object = json_object();
    for (int64_t s = 0; s < table->seeds; s++) {
        const double value = dg_seed_table_value(table, s, index, metric);
        if (isnan(value)) continue;
        if (table->seed == NULL)
            snprintf(label, sizeof label, "unknown");
        else
            snprintf(label, sizeof label, "%" PRId64, table->seed[s]);
        json_object_set_new(object, label, json_real(value));
    }
    return object;
}

static json_t *per_case(const dg_seed_table *table, const dg_seed_summary_params *params)
{
    json_t *all = json_object();
    for (int64_t c = 0; c < table->cases; c++) {
        json_t *one = json_object();
        for (int64_t k = 0; k < params->metrics; k++) {
            const dg_seed_mean m = dg_seed_table_mean(table, c, params->metric[k]);
            if (m.seeds == 0) continue;
            json_object_set_new(one, params->metric[k],
                                json_pack("{s:o, s:o, s:o}", "mean", dg_json_number(m.mean), "std",
                                          deviation(m.std, params->upstream), "values_by_seed",
                                          values_by_seed(table, c, params->metric[k])));
        }
        json_object_set_new(all, table->case_id[c], one);
    }
    return all;
}

static json_t *per_seed(const dg_seed_table *table, const dg_seed_summary_params *params)
{
    json_t *all = json_array();
    for (int64_t s = 0; s < table->seeds; s++) {
        json_t *metrics = json_object();
        for (int64_t k = 0; k < params->metrics; k++) {
            const dg_seed_mean m = dg_seed_table_seed_mean(table, s, params->metric[k]);
            if (m.seeds == 0) continue;
            json_object_set_new(metrics, params->metric[k],
                                json_pack("{s:o, s:o, s:I}", "mean", dg_json_number(m.mean), "std",
                                          deviation(m.std, params->upstream), "n_cases", (json_int_t)m.seeds));
        }
        json_t *id = table->seed == NULL ? json_null() : json_integer(table->seed[s]);
        json_array_append_new(all, json_pack("{s:o, s:o}", "seed", id, "metrics", metrics));
    }
    return all;
}

static dg_status interval_of(const double *mean, int64_t n, const dg_seed_summary_params *params, dg_interval *out)
{
    if (params->upstream)
        return dg_bootstrap_mean_upstream(mean, n, params->resamples, (uint32_t)params->seed, params->level, out);
    return dg_bootstrap_mean(mean, n, DG_BOOTSTRAP_AUTO, params->resamples, params->seed, params->level, out);
}

static dg_status aggregate(const dg_seed_table *table, const dg_seed_summary_params *params, double *mean, json_t *all)
{
    for (int64_t k = 0; k < params->metrics; k++) {
        dg_interval interval;
        int64_t n = 0;
        for (int64_t c = 0; c < table->cases; c++) {
            mean[n] = dg_seed_table_mean(table, c, params->metric[k]).mean;
            n += !isnan(mean[n]);
        }
        if (n == 0) continue;
        DG_TRY(interval_of(mean, n, params, &interval));
        json_object_set_new(all, params->metric[k],
                            json_pack("{s:o, s:o, s:o, s:o, s:I}", "mean", dg_json_number(dg_mean(mean, n)), "std",
                                      deviation(dg_std(mean, n), params->upstream), "ci_lower",
                                      dg_json_number(interval.low), "ci_upper", dg_json_number(interval.high),
                                      "n_cases_with_data", (json_int_t)n));
    }
    return DG_OK;
}

dg_status dg_seed_summary(const dg_seed_table *table, const dg_seed_summary_params *params, json_t **out)
{
    double *mean;
    json_t *all = json_object(), *ids = json_array();
    *out = NULL;
    dg_status status = DG_NEW(&mean, table->cases + 1, "means over seeds");
    if (status == DG_OK) status = aggregate(table, params, mean, all);
    dg_free(&mean);
    if (status != DG_OK) {
        json_decref(all);
        json_decref(ids);
        return status;
    }
    for (int64_t s = 0; s < table->seeds; s++)
        json_array_append_new(ids, table->seed == NULL ? json_null() : json_integer(table->seed[s]));
    *out = json_pack("{s:s, s:I, s:I, s:o, s:o, s:o, s:o}", "framework_version", FRAMEWORK_VERSION, "n_seeds",
                     (json_int_t)table->seeds, "n_cases", (json_int_t)table->cases, "seed_ids", ids, "aggregate", all,
                     "per_case", per_case(table, params), "per_seed", per_seed(table, params));
    return *out == NULL ? DG_FAIL(DG_ERR_MEMORY, "no memory for the summary over seeds") : DG_OK;
}
