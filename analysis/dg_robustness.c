/* dg_robustness.c - see dg_robustness.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_robustness.h"

#include "compare_impl.h"
#include "dg_mem.h"
#include "dg_text_table.h"

#include <fnmatch.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double interval_level = 0.95;

static bool is_usual(const char *metric)
{
    int64_t count;
    const char *const *pattern = dg_compare_usual(&count);
    for (int64_t i = 0; i < count; i++)
        if (fnmatch(pattern[i], metric, 0) == 0) return true;
    return false;
}

/* Values of the patients that have both. */
static void collect(const dg_results *a, const dg_results *b, const char *metric, pairs *p)
{
    p->n = 0;
    for (int64_t i = 0; i < dg_results_case_count(b); i++) {
        const int64_t k = dg_results_find_case(a, dg_results_get_case(b, i)->id);
        const double before = k < 0 ? NAN : dg_results_value(b, i, metric, NULL);
        const double after = k < 0 ? NAN : dg_results_value(a, k, metric, NULL);
        if (isnan(before) || isnan(after)) continue;
        p->a[p->n] = after;
        p->b[p->n] = before;
        p->difference[p->n++] = after - before;
    }
}

static dg_status metric_json(const pairs *p, const char *metric, const dg_robustness_params *params, json_t **out)
{
    dg_interval interval;
    dg_metric_words words;
    const double change = dg_mean(p->difference, p->n);
    DG_TRY(dg_bootstrap_mean(p->difference, p->n, DG_BOOTSTRAP_AUTO, params->resamples, params->seed, interval_level,
                             &interval));
    dg_metric_describe(metric, &words);
    const bool judged = change != 0 && (words.better == DG_BETTER_LOWER || words.better == DG_BETTER_HIGHER);
    json_t *range = isnan(interval.low) ? json_null() : json_pack("[f, f]", interval.low, interval.high);
    *out = json_pack("{s:I, s:f, s:f, s:f, s:o, s:o}", "n", (json_int_t)p->n, "unperturbed", dg_mean(p->b, p->n),
                     "perturbed", dg_mean(p->a, p->n), "change", change, "change_interval_95", range, "better",
                     judged ? json_boolean((change < 0) == (words.better == DG_BETTER_LOWER)) : json_null());
    return *out != NULL ? DG_OK : DG_FAIL(DG_ERR_MEMORY, "no memory for a metric");
}

dg_status dg_robustness_json(const dg_results *unperturbed, const dg_results *perturbed,
                             const dg_robustness_params *params, json_t **out)
{
    pairs p;
    dg_status status = DG_OK;
    DG_TRY(pairs_create(dg_results_case_count(unperturbed), &p));
    json_t *all = json_object();
    for (int64_t i = 0; i < dg_results_metric_count(unperturbed) && status == DG_OK; i++) {
        const char *metric = dg_results_metric(unperturbed, i);
        json_t *one = NULL;
        if (!is_usual(metric)) continue;
        collect(perturbed, unperturbed, metric, &p);
        if (p.n == 0) continue;
        status = metric_json(&p, metric, params, &one);
        if (status == DG_OK) json_object_set_new(all, metric, one);
    }
    pairs_release(&p);
    *out = all;
    if (status != DG_OK) {
        json_decref(all);
        *out = NULL;
    }
    return status;
}

/* ---- the table ----------------------------------------------------------------------------------------------------- */

/* Of a terminal: not the errors of every single structure, nor those that repeat others. */
static bool is_shown(const char *metric)
{
    static const char *const pattern[] = {"dose_metrics.mae_gy", "dose_metrics.mae_possible_gy",
                                          "openkbp.*",           "gamma.global_*",
                                          "gamma.ptv_region_*",  "dvh_metrics.PTV*.D95_error*"};
    for (size_t i = 0; i < sizeof pattern / sizeof *pattern; i++)
        if (fnmatch(pattern[i], metric, 0) == 0) return true;
    return false;
}

static dg_status add_row(dg_text_table *table, const char *name, const char *metric, const json_t *row)
{
    const json_t *interval = json_object_get(row, "change_interval_95");
    DG_TRY(dg_text_table_add(table, "%s", name));
    DG_TRY(dg_text_table_add(table, "%s", metric));
    DG_TRY(dg_text_table_add(table, "%lld", (long long)json_integer_value(json_object_get(row, "n"))));
    DG_TRY(dg_text_table_add(table, "%.3f", json_number_value(json_object_get(row, "unperturbed"))));
    DG_TRY(dg_text_table_add(table, "%.3f", json_number_value(json_object_get(row, "perturbed"))));
    DG_TRY(dg_text_table_add(table, "%+.3f", json_number_value(json_object_get(row, "change"))));
    if (!json_is_array(interval)) return dg_text_table_add(table, "-");
    return dg_text_table_add(table, "%+.3f to %+.3f", json_number_value(json_array_get(interval, 0)),
                             json_number_value(json_array_get(interval, 1)));
}

static dg_status fill_table(const json_t *entries, dg_text_table *table)
{
    static const char *const head[] = {"perturbation", "metric", "cases",        "unperturbed",
                                       "perturbed",    "change", "95 % interval"};
    const json_t *entry, *row;
    const char *metric;
    size_t i;
    for (size_t k = 0; k < sizeof head / sizeof *head; k++) DG_TRY(dg_text_table_add(table, "%s", head[k]));
    json_array_foreach(entries, i, entry)
    {
        const char *name = json_string_value(json_object_get(entry, "perturbation"));
        json_object_foreach(json_object_get(entry, "metrics"), metric, row)
        {
            if (name != NULL && is_shown(metric)) DG_TRY(add_row(table, name, metric, row));
        }
    }
    return DG_OK;
}

dg_status dg_robustness_table(const json_t *entries, char **text)
{
    dg_text_table *table = NULL;
    char *made = NULL;
    size_t length = 0;
    *text = NULL;
    FILE *stream = open_memstream(&made, &length);
    if (stream == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for a table");
    dg_status status = dg_text_table_create(7, &table);
    if (status == DG_OK) status = fill_table(entries, table);
    if (status == DG_OK)
        dg_text_table_print(table, "Robustness: means over cases, and their change when the input is perturbed",
                            DG_TABLE_PLAIN, stream);
    dg_text_table_destroy(&table);
    const bool broken = fclose(stream) != 0;
    if (status == DG_OK && broken) status = DG_FAIL(DG_ERR_MEMORY, "no memory for a table");
    if (status == DG_OK) status = dg_string_copy(made, text);
    free(made);
    return status;
}
