/* report_columns.c - which numbers a report shows, and which cases it pictures. SPDX-License-Identifier: Apache-2.0 */
#include "report_job_impl.h"

#include "dg_mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

json_t *report_number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static void add_column(report_column *column, int *count, const char *key, const char *label, const char *unit,
                       bool is_pass_rate)
{
    if (*count == REPORT_COLUMNS_MAX) return;
    report_column *c = &column[(*count)++];
    *c = (report_column){.unit = unit, .is_pass_rate = is_pass_rate};
    snprintf(c->key, sizeof c->key, "%s", key);
    snprintf(c->label, sizeof c->label, "%s", label);
}

/* "3mm2pct" of "<prefix>3mm2pct" in words, "2 %/3 mm"; false where the key is something else. */
static bool criterion_label(const char *key, const char *prefix, char *label, size_t capacity)
{
    double mm, percent;
    int used = 0;
    size_t start = strlen(prefix);
    if (strncmp(key, prefix, start) != 0) return false;
    if (sscanf(key + start, "%lfmm%lfpct%n", &mm, &percent, &used) != 2 || used == 0) return false;
    if (key[start + (size_t)used] != '\0') return false;
    snprintf(label, capacity, "%g %%/%g mm", percent, mm);
    return true;
}

static const struct {
    const char *metric, *label, *unit;
} error_metric[] = {{"openkbp.dose_error_gy", "dose score", "Gy"},
                    {"openkbp.dvh_error_gy", "DVH score", "Gy"},
                    {"dose_metrics.mae_body_gy", "MAE body", "Gy"},
                    {"dose_metrics.mae_ptv_region_gy", "MAE PTV + margin", "Gy"},
                    {"dose_metrics.mae_no_mans_land_gy", "MAE no man\u2019s land", "Gy"},
                    {"segmentation_metrics.dice", "Dice", ""},
                    {"segmentation_metrics.precision", "precision", ""},
                    {"segmentation_metrics.recall", "recall", ""},
                    {"segmentation_metrics.surface_dice", "surface Dice", ""},
                    {"segmentation_metrics.cldice", "clDice", ""},
                    {"segmentation_metrics.hausdorff95_mm", "Hausdorff 95", "mm"},
                    {"segmentation_metrics.betti_error", "Betti error", ""},
                    {"segmentation_metrics.fraction_error", "fraction error", ""},
                    {"challenge.score", "challenge", ""}};
enum { ERROR_METRICS = sizeof error_metric / sizeof *error_metric };
static const struct {
    const char *prefix, *words;
} gamma_region[] = {{"global_", "whole"}, {"ptv_region_", "PTV + margin"}};
enum { GAMMA_REGIONS = sizeof gamma_region / sizeof *gamma_region };

/* One column of pass rates: all criteria of the whole dose grid, the first of the PTV. */
static void add_pass_rate(const dg_results *results, const char *region_criterion, int region, report_column *column,
                          int *count)
{
    char criterion[40], label[96], key[DG_RESULTS_METRIC];
    if (!criterion_label(region_criterion, gamma_region[region].prefix, criterion, sizeof criterion)) return;
    snprintf(label, sizeof label, "\u03b3 %s, %s", criterion, gamma_region[region].words);
    snprintf(key, sizeof key, "gamma.%s.gamma_pass_rate%s", region_criterion, results == NULL ? "_mean" : "");
    if (results != NULL && !dg_results_has_metric(results, key)) return;
    for (int i = 0; i < *count; i++)
        if (strcmp(column[i].key, key) == 0) return;
    add_column(column, count, key, label, "%", true);
}

/* Is there a column of this region already? */
static bool has_words(const report_column *column, int count, const char *words)
{
    for (int i = 0; i < count; i++) {
        const char *cut = strstr(column[i].label, ", ");
        if (column[i].is_pass_rate && cut != NULL && strcmp(cut + 2, words) == 0) return true;
    }
    return false;
}

/* The order of criteria is that of the evaluation: of the aggregate's keys. `of_cases` NULL: columns of the aggregate. */
static void add_pass_rates(const dg_results *results, const dg_results *of_cases, report_column *column, int *count)
{
    json_t *gamma = json_object_get(json_object_get(dg_results_root(results), "aggregate"), "gamma"), *entry;
    const char *name;
    for (int r = 0; r < GAMMA_REGIONS; r++) {
        json_object_foreach(gamma, name, entry)
        {
            if (json_is_object(entry) && (r == 0 || !has_words(column, *count, gamma_region[r].words)))
                add_pass_rate(of_cases, name, r, column, count);
        }
    }
}

int report_case_columns(const dg_results *results, report_column column[REPORT_COLUMNS_MAX])
{
    int count = 0;
    for (int i = 0; i < ERROR_METRICS; i++)
        if (dg_results_has_metric(results, error_metric[i].metric))
            add_column(column, &count, error_metric[i].metric, error_metric[i].label, error_metric[i].unit, false);
    if (count == 0 && dg_results_has_metric(results, "dose_metrics.mae_gy"))
        add_column(column, &count, "dose_metrics.mae_gy", "MAE", "Gy", false);
    add_pass_rates(results, results, column, &count);
    return count;
}

double report_aggregate_value(const dg_results *results, const char *key)
{
    const json_t *aggregate = json_object_get(dg_results_root(results), "aggregate");
    const json_t *value = aggregate == NULL ? NULL : dg_results_look_up(aggregate, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static bool has_aggregate(const dg_results *const *results, int count, const char *key)
{
    for (int i = 0; i < count; i++)
        if (results[i] != NULL && !isnan(report_aggregate_value(results[i], key))) return true;
    return false;
}

int report_aggregate_columns(const dg_results *const *results, int count, report_column column[REPORT_COLUMNS_MAX])
{
    static const struct {
        const char *key, *label, *unit;
    } error[] = {{"openkbp.dose_score", "dose score", "Gy"},
                 {"openkbp.dvh_score", "DVH score", "Gy"},
                 {"mae_body_gy_mean", "MAE body", "Gy"},
                 {"mae_ptv_region_gy_mean", "MAE PTV + margin", "Gy"},
                 {"mae_gy_mean", "MAE", "Gy"},
                 {"segmentation_metrics.dice.mean", "Dice", ""},
                 {"segmentation_metrics.surface_dice.mean", "surface Dice", ""},
                 {"segmentation_metrics.cldice.mean", "clDice", ""},
                 {"segmentation_metrics.hausdorff95_mm.mean", "Hausdorff 95", "mm"},
                 {"segmentation_metrics.betti_error.mean", "Betti error", ""},
                 {"foreground_fraction.bias", "bias of the fraction", ""},
                 {"challenge.score.mean", "challenge", ""}};
    int columns = 0;
    for (size_t i = 0; i < sizeof error / sizeof *error; i++)
        if (has_aggregate(results, count, error[i].key))
            add_column(column, &columns, error[i].key, error[i].label, error[i].unit, false);
    for (int i = 0; i < count; i++)
        if (results[i] != NULL) add_pass_rates(results[i], NULL, column, &columns);
    return columns;
}

json_t *report_columns_json(const report_column *column, int count)
{
    json_t *list = json_array();
    for (int i = 0; i < count; i++) {
        json_t *one =
            json_pack("{s:s, s:s, s:s}", "key", column[i].key, "label", column[i].label, "unit", column[i].unit);
        if (column[i].is_pass_rate) json_object_set_new(one, "target", json_integer(REPORT_TARGET_PERCENT));
        json_array_append_new(list, one);
    }
    return list;
}

/* ---- pictured cases ------------------------------------------------------------------------------------------------ */

const char *report_monitor(const report_experiment *experiment, const char **words)
{
    static const struct {
        const char *monitor, *metric, *words;
    } known[] = {{"val_dose_score", "openkbp.dose_error_gy", "dose score"},
                 {"val_mae_ptv_gy", "dose_metrics.mae_ptv_region_gy", "error in PTV + margin"},
                 {"val_mae_gy", "dose_metrics.mae_gy", "mean absolute error"},
                 {"val_dice_error", "segmentation_metrics.dice_error", "1 - Dice"},
                 {"", "dose_metrics.mae_body_gy", "mean absolute error in the body"}};
    enum { KNOWN = sizeof known / sizeof *known };
    const char *wanted = NULL;
    if (experiment->run != NULL) wanted = json_string_value(json_object_get(experiment->run->summary, "monitor"));
    for (int pass = 0; pass < 2; pass++) /* the run's own monitor, then the first there is */
        for (int i = 0; i < KNOWN; i++) {
            if (pass == 0 && (wanted == NULL || strcmp(wanted, known[i].monitor) != 0)) continue;
            if (!dg_results_has_metric(experiment->results, known[i].metric)) continue;
            *words = known[i].words;
            return known[i].metric;
        }
    *words = "no error is known";
    return NULL;
}

static dg_status pick_named(const report_work *w, const report_experiment *experiment,
                            report_pick pick[REPORT_CASES_MAX], int *count)
{
    for (int i = 0; i < w->s->cases.count && i < REPORT_CASES_MAX; i++) {
        report_pick *p = &pick[*count];
        *p = (report_pick){.index = dg_results_find_case(experiment->results, w->s->cases.value[i]),
                           .pick = DG_PICK_MEDIAN};
        if (p->index < 0)
            return DG_FAIL(DG_ERR_USAGE, "case '%s' is not among the evaluated cases of %s", w->s->cases.value[i],
                           dg_results_name(experiment->results));
        snprintf(p->why, sizeof p->why, "chosen");
        (*count)++;
    }
    return DG_OK;
}

dg_status report_pick_cases(const report_work *w, const report_experiment *experiment,
                            report_pick pick[REPORT_CASES_MAX], int *count)
{
    static const dg_figure_pick order[] = {DG_PICK_WORST, DG_PICK_MEDIAN, DG_PICK_BEST};
    int64_t cases = dg_results_case_count(experiment->results), index[DG_PICKS];
    const char **id = NULL, *words, *metric = report_monitor(experiment, &words);
    double *value = NULL;
    dg_status status;
    *count = 0;
    if (w->s->cases.count > 0) return pick_named(w, experiment, pick, count);
    DG_TRY_GOTO(status, DG_NEW(&id, cases, "ids of cases"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&value, cases, "errors of cases"), cleanup);
    for (int64_t i = 0; i < cases; i++) {
        id[i] = dg_results_get_case(experiment->results, i)->id;
        value[i] = metric == NULL ? 0 : dg_results_value(experiment->results, i, metric, NULL);
    }
    dg_figure_pick_cases(id, value, cases, false, index);
    for (int k = 0; k < DG_PICKS; k++) {
        report_pick *p = &pick[*count];
        if (index[order[k]] < 0) continue;
        *p = (report_pick){.index = index[order[k]], .pick = order[k]};
        snprintf(p->why, sizeof p->why, "%s: %s%s %.2f%s", dg_figure_pick_name(order[k]), words,
                 order[k] == DG_PICK_MEDIAN ? " nearest to the median," : "", value[p->index],
                 report_is_of_labels(experiment->results) ? "" : " Gy");
        if (metric == NULL) snprintf(p->why, sizeof p->why, "%s", words);
        (*count)++;
    }
cleanup:
    dg_free(&value);
    dg_free(&id);
    return status;
}
