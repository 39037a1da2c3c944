/* compare_text.c - tables and the long-format CSV of a comparison. SPDX-License-Identifier: Apache-2.0 */
#include "compare_impl.h"
#include "dg_mem.h"
#include "dg_text_table.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "" : text;
}

static int64_t count_of(const json_t *object, const char *key)
{
    return (int64_t)json_integer_value(json_object_get(object, key));
}

/* A number of the tables; what does not exist is a dash. */
static dg_status add_number(dg_text_table *table, double value, int digits)
{
    return isnan(value) ? dg_text_table_add(table, "-") : dg_text_table_add(table, "%.*f", digits, value);
}

/* p with as many digits as mean something; never "0". */
static dg_status add_p(dg_text_table *table, double p)
{
    if (isnan(p)) return dg_text_table_add(table, "-");
    return p < 0.0001 ? dg_text_table_add(table, "%.1e", p) : dg_text_table_add(table, "%.4f", p);
}

static dg_status add_interval(dg_text_table *table, const json_t *interval)
{
    const json_t *low = json_array_get(interval, 0), *high = json_array_get(interval, 1);
    if (!json_is_number(low) || !json_is_number(high)) return dg_text_table_add(table, "-");
    return dg_text_table_add(table, "%.3f to %.3f", json_number_value(low), json_number_value(high));
}

static const json_t *row_of(const json_t *metric, const char *condition)
{
    const json_t *row;
    size_t i;
    json_array_foreach(json_object_get(metric, "comparisons"), i,
                       row) if (strcmp(text_of(row, "condition"), condition) == 0) return row;
    return NULL;
}

static dg_status add_seed_rule(dg_text_table *table, const json_t *rule)
{
    const json_t *passed = json_object_get(rule, "passed");
    if (!json_is_boolean(passed)) return dg_text_table_add(table, "-");
    return dg_text_table_add(table, "%s (%.2g)", json_is_true(passed) ? "yes" : "no", number(rule, "ratio"));
}

static dg_status add_head(dg_text_table *table, const char *const *word, int count)
{
    for (int i = 0; i < count; i++) DG_TRY(dg_text_table_add(table, "%s", word[i]));
    return DG_OK;
}

/* ---- primary metric ----------------------------------------------------------------------------------------------- */

static dg_status add_primary_row(dg_text_table *table, const json_t *primary, const json_t *described)
{
    const char *condition = text_of(described, "condition");
    const json_t *row = row_of(primary, condition), *w = json_object_get(row, "wilcoxon");
    const json_t *shift = json_object_get(row, "hodges_lehmann");
    DG_TRY(dg_text_table_add(table, "%s", condition));
    DG_TRY(dg_text_table_add(table, "%" PRId64, count_of(described, "n_cases_with_data")));
    DG_TRY(add_number(table, number(described, "mean"), 3));
    DG_TRY(add_number(table, number(described, "std"), 3));
    if (row == NULL) {
        for (int i = 0; i < 7; i++) DG_TRY(dg_text_table_add(table, i == 0 ? "reference" : ""));
        return DG_OK;
    }
    DG_TRY(add_number(table, number(shift, "shift"), 3));
    DG_TRY(add_interval(table, json_object_get(shift, "interval_95")));
    DG_TRY(add_number(table, number(row, "cohens_dz"), 2));
    DG_TRY(add_p(table, number(w, "p")));
    DG_TRY(add_p(table, number(row, "p_holm")));
    DG_TRY(dg_text_table_add(table, json_is_true(json_object_get(row, "significant")) ? "yes" : "no"));
    return add_seed_rule(table, json_object_get(row, "seed_rule"));
}

static dg_status primary_table(const json_t *comparison, dg_table_style style, FILE *stream)
{
    static const char *const head[] = {"condition",           "n",   "mean", "std",    "shift",
                                       "95 % interval",       "d_z", "p",    "p Holm", "significant",
                                       "> 2 seed std (ratio)"};
    const json_t *primary = json_object_get(comparison, "primary"), *described;
    char title[DG_RESULTS_METRIC + 96];
    dg_text_table *table;
    size_t i;
    DG_TRY(dg_text_table_create(11, &table));
    dg_status status = add_head(table, head, 11);
    json_array_foreach(json_object_get(primary, "conditions"), i, described) if (status == DG_OK) status =
        add_primary_row(table, primary, described);
    snprintf(title, sizeof title, "Primary metric: %s%s%s%s, differences from %.127s", text_of(primary, "metric"),
             text_of(primary, "unit")[0] == '\0' ? "" : " (", text_of(primary, "unit"),
             text_of(primary, "unit")[0] == '\0' ? "" : ")",
             text_of(json_object_get(comparison, "settings"), "reference"));
    if (status == DG_OK) dg_text_table_print(table, title, style, stream);
    dg_text_table_destroy(&table);
    return status;
}

/* How the numbers came about: method, n, zeros, ties and the smallest attainable p of every test. */
static dg_status tests_table(const json_t *comparison, dg_table_style style, FILE *stream)
{
    static const char *const head[] = {
        "test",     "method", "n",        "zero differences", "ties", "smallest p", "smallest p Holm",
        "coverage", "seeds",  "seed std", "its 95 % range"};
    const json_t *row;
    dg_text_table *table;
    size_t i;
    DG_TRY(dg_text_table_create(11, &table));
    dg_status status = add_head(table, head, 11);
    json_array_foreach(json_object_get(json_object_get(comparison, "primary"), "comparisons"), i, row)
    {
        const json_t *w = json_object_get(row, "wilcoxon"), *rule = json_object_get(row, "seed_rule");
        if (status == DG_OK) status = dg_text_table_add(table, "%s", text_of(row, "condition"));
        if (status == DG_OK) status = dg_text_table_add(table, "%s", text_of(w, "method"));
        if (status == DG_OK) status = dg_text_table_add(table, "%" PRId64, count_of(row, "n"));
        if (status == DG_OK) status = dg_text_table_add(table, "%" PRId64, count_of(w, "n_zero"));
        if (status == DG_OK) status = dg_text_table_add(table, "%" PRId64, count_of(w, "n_ties"));
        if (status == DG_OK) status = add_p(table, number(w, "p_smallest"));
        if (status == DG_OK) status = add_p(table, number(row, "p_holm_smallest"));
        if (status == DG_OK) status = add_number(table, number(json_object_get(row, "hodges_lehmann"), "coverage"), 4);
        if (status == DG_OK) status = dg_text_table_add(table, "%" PRId64, count_of(rule, "seeds"));
        if (status == DG_OK) status = add_number(table, number(rule, "std"), 4);
        if (status == DG_OK) status = add_interval(table, json_object_get(rule, "std_interval_95"));
    }
    if (status == DG_OK && i > 0)
        dg_text_table_print(table, "Tests: Wilcoxon's signed ranks over patients, two-sided", style, stream);
    dg_text_table_destroy(&table);
    return status;
}

/* ---- exploratory metrics ------------------------------------------------------------------------------------------ */

static dg_status add_mean(dg_text_table *table, const json_t *described)
{
    const double mean = number(described, "mean"), std = number(described, "std");
    if (isnan(mean)) return dg_text_table_add(table, "-");
    return isnan(std) ? dg_text_table_add(table, "%.3f", mean) : dg_text_table_add(table, "%.3f ± %.3f", mean, std);
}

static dg_status add_exploratory_rows(dg_text_table *table, const json_t *metric)
{
    const json_t *described;
    size_t i;
    json_array_foreach(json_object_get(metric, "conditions"), i, described)
    {
        const char *condition = text_of(described, "condition");
        const json_t *row = row_of(metric, condition), *shift = json_object_get(row, "hodges_lehmann");
        DG_TRY(dg_text_table_add(table, "%s", text_of(metric, "metric")));
        DG_TRY(dg_text_table_add(table, "%s", text_of(metric, "unit")));
        DG_TRY(dg_text_table_add(table, "%s", condition));
        DG_TRY(dg_text_table_add(table, "%" PRId64, count_of(described, "n_cases_with_data")));
        DG_TRY(add_mean(table, described));
        DG_TRY(add_number(table, number(shift, "shift"), 3));
        DG_TRY(add_interval(table, json_object_get(shift, "interval_95")));
        DG_TRY(add_p(table, number(json_object_get(row, "wilcoxon"), "p")));
    }
    return DG_OK;
}

static dg_status exploratory_table(const json_t *comparison, dg_table_style style, FILE *stream)
{
    static const char *const head[] = {"metric",     "unit",  "condition",     "n",
                                       "mean ± std", "shift", "95 % interval", "p, uncorrected"};
    const json_t *metric;
    dg_text_table *table;
    size_t i;
    if (json_array_size(json_object_get(comparison, "exploratory")) == 0) return DG_OK;
    DG_TRY(dg_text_table_create(8, &table));
    dg_status status = add_head(table, head, 8);
    json_array_foreach(json_object_get(comparison, "exploratory"), i, metric) if (status == DG_OK) status =
        add_exploratory_rows(table, metric);
    fputc('\n', stream);
    if (status == DG_OK)
        dg_text_table_print(table, "Exploratory: not corrected for their number, no claims rest on them", style,
                            stream);
    dg_text_table_destroy(&table);
    return status;
}

static dg_status outlier_table(const json_t *comparison, dg_table_style style, FILE *stream)
{
    static const char *const head[] = {"case", "condition", "side", "seeds flagged", "seeds"};
    const json_t *one, *cases = json_object_get(json_object_get(comparison, "outliers"), "cases");
    dg_text_table *table;
    size_t i;
    if (json_array_size(cases) == 0) return DG_OK;
    DG_TRY(dg_text_table_create(5, &table));
    dg_status status = add_head(table, head, 5);
    json_array_foreach(cases, i, one)
    {
        if (status == DG_OK) status = dg_text_table_add(table, "%s", text_of(one, "case_id"));
        if (status == DG_OK) status = dg_text_table_add(table, "%s", text_of(one, "condition"));
        if (status == DG_OK) status = dg_text_table_add(table, "%s", text_of(one, "side"));
        if (status == DG_OK) status = dg_text_table_add(table, "%" PRId64, count_of(one, "seeds_flagged"));
        if (status == DG_OK) status = dg_text_table_add(table, "%" PRId64, count_of(one, "seeds"));
    }
    fputc('\n', stream);
    if (status == DG_OK)
        dg_text_table_print(table, "Outliers of the primary metric: modified z beyond 3.5 in at least 2 seeds", style,
                            stream);
    dg_text_table_destroy(&table);
    return status;
}

static dg_status print_tables(const json_t *comparison, dg_table_style style, FILE *stream)
{
    const json_t *warning;
    size_t i;
    DG_TRY(primary_table(comparison, style, stream));
    fputc('\n', stream);
    DG_TRY(tests_table(comparison, style, stream));
    DG_TRY(exploratory_table(comparison, style, stream));
    DG_TRY(outlier_table(comparison, style, stream));
    json_array_foreach(json_object_get(comparison, "warnings"), i, warning)
    {
        fputs(style == DG_TABLE_LATEX ? "% warning: " : i == 0 ? "\nwarning: " : "warning: ", stream);
        dg_text_print_escaped(json_string_value(warning), style, stream);
        fputs(style == DG_TABLE_MARKDOWN ? "\n\n" : "\n", stream);
    }
    return DG_OK;
}

typedef dg_status (*printer)(const void *what, int style, FILE *stream);

/* Collects what a printer writes. */
static dg_status collect(printer print, const void *what, int style, char **text)
{
    char *buffer = NULL;
    size_t length;
    *text = NULL;
    FILE *stream = open_memstream(&buffer, &length);
    if (stream == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for the text of the comparison");
    dg_status status = print(what, style, stream);
    if (fclose(stream) != 0 && status == DG_OK)
        status = DG_FAIL(DG_ERR_MEMORY, "no memory for the text of the comparison");
    if (status == DG_OK) status = dg_string_copy(buffer, text);
    free(buffer);
    return status;
}

static dg_status tables_printer(const void *what, int style, FILE *stream)
{
    return print_tables(what, (dg_table_style)style, stream);
}

dg_status dg_compare_tables(const json_t *comparison, dg_table_style style, char **text)
{
    return collect(tables_printer, comparison, (int)style, text);
}

/* ---- CSV ---------------------------------------------------------------------------------------------------------- */

static void csv_row(const dg_compare_file *file, const dg_results_case *c, const char *metric,
                    const dg_metric_words *words, double value, const char *reason, FILE *stream)
{
    dg_text_print_csv(c->id, stream);
    fputc(',', stream);
    dg_text_print_csv(c->group, stream);
    fputc(',', stream);
    if (file->has_seed) fprintf(stream, "%" PRId64, file->seed);
    fputc(',', stream);
    dg_text_print_csv(file->condition, stream);
    fputc(',', stream);
    dg_text_print_csv(metric, stream);
    fputc(',', stream);
    dg_text_print_csv(words->region, stream);
    fprintf(stream, ",%s,", words->unit);
    dg_text_print_number(value, stream);
    fputc(',', stream);
    if (reason != NULL) dg_text_print_csv(reason, stream);
    fputc('\n', stream);
}

static void csv_metric(const dg_compare *compare, const char *metric, FILE *stream)
{
    dg_metric_words words;
    dg_metric_describe(metric, &words);
    for (int64_t f = 0; f < compare->files; f++)
        for (int64_t i = 0; i < compare->cases; i++) {
            const char *reason;
            const dg_results *r = compare->sorted[f]->results;
            const double value = dg_results_value(r, i, metric, &reason);
            csv_row(compare->sorted[f], dg_results_get_case(r, i), metric, &words, value, reason, stream);
        }
}

static dg_status csv_printer(const void *what, int style, FILE *stream)
{
    const dg_compare *compare = what;
    (void)style;
    fputs("case,group,seed,condition,metric,region,unit,value,reason\n", stream);
    csv_metric(compare, compare->primary, stream);
    for (int64_t k = 0; k < compare->metrics; k++) csv_metric(compare, compare->metric[k], stream);
    return DG_OK;
}

dg_status dg_compare_csv(const dg_compare *compare, char **text) { return collect(csv_printer, compare, 0, text); }
