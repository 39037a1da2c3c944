/* report_figures.c - the figures of a report: PNG and PDF in OUTPUT/figures/STEM, the PNG in the page as well.
 * SPDX-License-Identifier: Apache-2.0 */
#include "report_job_impl.h"

#include "dg_mem.h"
#include "loss_setup.h"
#include "split.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { FIGURE_LIMIT = 1 << 27, BOXES_MAX = 16 };
static const double deadline_s = 60;

/* Where the figures of one experiment go. */
typedef struct target {
    const report_work *w;
    const report_experiment *experiment;
    dg_report_page *page;
    int64_t max_bytes;
    json_t *figures;                     /* borrowed */
    char name[192], folder[DG_PATH_MAX]; /* relative to the report, and as it is opened */
    dg_figure_output output;
} target;

/* Cases that were named have a folder each: figures of one pick carry one name. */
static dg_status start(target *t, const char *case_id)
{
    char stem[80] = "";
    if (case_id != NULL) dg_report_file_stem(case_id, NULL, 0, stem);
    snprintf(t->name, sizeof t->name, "figures/%s%s%s", t->experiment->stem, case_id == NULL ? "" : "/", stem);
    DG_TRY(dg_path_join(t->folder, t->w->s->output, t->name));
    DG_TRY(dg_make_folder(t->folder));
    t->output = (dg_figure_output){.folder = t->folder, .png = true, .pdf = true, .deadline_s = deadline_s};
    return DG_OK;
}

static dg_status attach_png(target *t, const char *name, json_t *entry)
{
    char file[DG_FIGURE_NAME + 8], path[DG_PATH_MAX], id[32], *bytes = NULL;
    int64_t length = 0;
    snprintf(file, sizeof file, "%s.png", name);
    DG_TRY(dg_path_join(path, t->folder, file));
    DG_TRY(dg_file_read(path, "figure", FIGURE_LIMIT, &bytes, &length));
    dg_status status = DG_OK;
    if (dg_report_page_bytes(t->page) + length / 3 * 4 <= t->max_bytes) {
        status = dg_report_page_attach(t->page, bytes, (size_t)length, id);
        if (status == DG_OK) json_object_set_new(entry, "image", json_string(id));
    }
    dg_free(&bytes);
    return status;
}

/* Puts a figure into the page. One that gnuplot could not draw is named there with the reason: the rest goes on. */
static dg_status settle(target *t, dg_status drawn, const dg_figure_result *result)
{
    if (drawn == DG_ERR_MEMORY || drawn == DG_ERR_INTERNAL) return drawn;
    if (drawn == DG_OK && !result->drawn) return DG_OK;
    if (drawn != DG_OK) {
        char text[DG_ERROR_TEXT_MAX + 64];
        snprintf(text, sizeof text, "A figure could not be drawn: %s", dg_error_last()->text);
        dg_log_write(t->w->env->log, DG_LOG_WARNING, "report of %s: %s", t->experiment->title, text);
        json_array_append_new(t->figures, json_pack("{s:s, s:s}", "name", "not drawn", "caption", text));
        dg_error_clear();
        return DG_OK;
    }
    char pdf[DG_FIGURE_NAME + 200];
    snprintf(pdf, sizeof pdf, "%s/%s.pdf", t->name, result->name);
    json_t *caption = json_string(result->caption);
    json_t *entry = json_pack("{s:s, s:o, s:s}", "name", result->name, "caption",
                              caption == NULL ? json_string(result->name) : caption, "pdf", pdf);
    dg_status status = attach_png(t, result->name, entry);
    json_array_append_new(t->figures, entry);
    return status;
}

/* ---- training ------------------------------------------------------------------------------------------------------ */

static const json_t *setting(const report_run *run, const char *key)
{
    return json_object_get(json_object_get(run->config, key), "value");
}

/* Training cases of the run's split; 0: it cannot be read, and then nothing is said of phases. */
static int64_t training_cases(const report_run *run)
{
    char path[DG_PATH_MAX], (*ids)[DG_CASE_ID] = NULL;
    int64_t count = 0;
    if (dg_path_join(path, run->folder, "test_cases.json") != DG_OK ||
        dg_split_read_part(path, DG_PART_TRAIN, &ids, &count) != DG_OK)
        count = 0;
    dg_error_clear();
    dg_free(&ids);
    return count;
}

/* Steps at which the phases of the loss behind the first one begin; how many. */
static int find_phases(const report_run *run, double step[DG_LOSS_PHASES_MAX])
{
    const json_t *words = setting(run, "loss.phases"), *steps = setting(run, "train.steps");
    const json_t *epochs = setting(run, "train.epochs");
    const double batch = json_number_value(setting(run, "train.batch")), cases = (double)training_cases(run);
    dg_string_list *list = NULL;
    dg_loss_phases phases = {.count = 0};
    if (json_array_size(words) == 0 || batch <= 0 || cases <= 0 || json_array_size(words) > DG_LOSS_PHASES_MAX)
        return 0;
    if (DG_NEW(&list, 1, "phases of a loss") == DG_OK) {
        for (size_t i = 0; i < json_array_size(words); i++) {
            const char *word = json_string_value(json_array_get(words, i));
            snprintf(list->value[list->count++], DG_OPT_WORD, "%s", word == NULL ? "" : word);
        }
        const double length =
            json_number_value(steps) > 0 ? json_number_value(steps) * batch / cases : json_number_value(epochs);
        if (dg_loss_phases_read(list, 0, length, &phases) != DG_OK) phases.count = 0;
    }
    dg_error_clear();
    dg_free(&list);
    for (int k = 1; k < phases.count; k++) step[k - 1] = phases.begin[k] * cases / batch;
    return phases.count > 1 ? phases.count - 1 : 0;
}

static dg_status training_figures(target *t)
{
    const report_run *run = t->experiment->run;
    dg_figure_table metrics = {0};
    dg_figure_result result = {0};
    char path[DG_PATH_MAX], role[DG_OPT_TEXT + 32];
    double phase_step[DG_LOSS_PHASES_MAX];
    if (run == NULL) return DG_OK;
    DG_TRY(dg_path_join(path, run->folder, "metrics.csv"));
    if (!dg_file_exists(path)) return DG_OK;
    snprintf(role, sizeof role, "metrics.csv of run %s", run->name);
    dg_status status = dg_figure_table_read(path, role, &metrics);
    if (status != DG_OK) return settle(t, status, &result);
    const dg_figure_training training = {.metrics = &metrics,
                                         .monitor = json_string_value(json_object_get(run->summary, "monitor"))};
    status = settle(t, dg_figure_training_curves(&t->output, &training, &result), &result);
    const int phases = find_phases(run, phase_step);
    if (status == DG_OK)
        status = settle(t, dg_figure_loss_components(&t->output, &metrics, phase_step, phases, &result), &result);
    dg_figure_table_release(&metrics);
    return status;
}

/* ---- gamma over cases ---------------------------------------------------------------------------------------------- */

static const char *region_words(const char *region)
{
    static const char *const words[][2] = {{"global", "whole dose grid"}, {"ptv_region", "PTV + margin"},
                                           {"low_dose", "low dose"},      {"mid_dose", "mid dose"},
                                           {"high_dose", "high dose"},    {"no_mans_land", "no man's land"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(region, words[i][0]) == 0) return words[i][1];
    return strncmp(region, "oar_", 4) == 0 ? region + 4 : region;
}

/* Labels of a bar, which the bars point to. */
typedef struct bar_text {
    char region[96], criterion[48];
} bar_text;

static bool read_bar(const char *key, const json_t *entry, bar_text *label, dg_figure_gamma_bar *bar)
{
    double mm, percent;
    const char *cut = strrchr(key, '_');
    char region[96];
    if (cut == NULL || sscanf(cut, "_%lfmm%lfpct", &mm, &percent) != 2) return false;
    snprintf(region, sizeof region, "%.*s", (int)(cut - key < 95 ? cut - key : 95), key);
    snprintf(label->region, sizeof label->region, "%s", region_words(region));
    snprintf(label->criterion, sizeof label->criterion, "%g %%/%g mm", percent, mm);
    const json_t *sd = json_object_get(entry, "gamma_pass_rate_std"),
                 *mean = json_object_get(entry, "gamma_pass_rate_mean");
    *bar = (dg_figure_gamma_bar){.region = label->region,
                                 .criterion = label->criterion,
                                 .mean = json_is_number(mean) ? json_number_value(mean) : NAN,
                                 .sd = json_is_number(sd) ? json_number_value(sd) : NAN,
                                 .cases = json_integer_value(json_object_get(entry, "n_cases"))};
    return true;
}

static dg_status gamma_figure(target *t)
{
    const json_t *aggregate = json_object_get(dg_results_root(t->experiment->results), "aggregate"), *entry;
    json_t *gamma = json_object_get(aggregate, "gamma");
    size_t room = json_object_size(gamma), count = 0;
    dg_figure_gamma_bar *bar = NULL;
    bar_text *label = NULL;
    dg_figure_result result = {0};
    const char *key;
    dg_status status;
    if (room == 0) return DG_OK;
    DG_TRY_GOTO(status, DG_NEW(&bar, room, "bars of a figure"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&label, room, "labels of a figure"), cleanup);
    json_object_foreach(gamma, key, entry) count += read_bar(key, entry, &label[count], &bar[count]);
    const dg_figure_gamma_bars data = {.bar = bar, .count = (int64_t)count, .target_percent = REPORT_TARGET_PERCENT};
    status = settle(t, dg_figure_gamma_bar_chart(&t->output, &data, &result), &result);
cleanup:
    dg_free(&label);
    dg_free(&bar);
    return status;
}

/* ---- boxes --------------------------------------------------------------------------------------------------------- */

/* Boxes of the metrics whose names begin and end like this; the middle is the label. */
typedef struct panel_kind {
    const char *prefix, *suffix, *title, *unit;
    double line;
} panel_kind;

static dg_status add_box(const dg_results *results, const char *metric, const char *label, size_t length,
                         dg_figure_box_panel *panel, dg_figure_box *box, double *value, char (*labels)[96])
{
    int64_t cases = dg_results_case_count(results);
    for (int64_t i = 0; i < cases; i++) value[i] = dg_results_value(results, i, metric, NULL);
    char name[96];
    double mm, percent;
    snprintf(name, sizeof name, "%.*s", (int)(length < 95 ? length : 95), label);
    if (sscanf(name, "%lfmm%lfpct", &mm, &percent) == 2)
        snprintf(labels[panel->count], sizeof *labels, "%g %%/%g mm", percent, mm);
    else
        snprintf(labels[panel->count], sizeof *labels, "%s", region_words(name));
    box[panel->count] = (dg_figure_box){.label = labels[panel->count], .value = value, .count = cases};
    panel->count++;
    return DG_OK;
}

static dg_status box_panel(const dg_results *results, const panel_kind *kind, dg_figure_box_panel *panel,
                           dg_figure_box *box, double *value, char (*labels)[96])
{
    size_t before = strlen(kind->prefix), after = strlen(kind->suffix);
    *panel = (dg_figure_box_panel){.title = kind->title, .unit = kind->unit, .box = box, .line = kind->line};
    for (int64_t m = 0; m < dg_results_metric_count(results) && panel->count < BOXES_MAX; m++) {
        const char *metric = dg_results_metric(results, m);
        size_t length = strlen(metric);
        if (length <= before + after || strncmp(metric, kind->prefix, before) != 0) continue;
        if (strcmp(metric + length - after, kind->suffix) != 0) continue;
        double *own = value + (int64_t)panel->count * dg_results_case_count(results);
        DG_TRY(add_box(results, metric, metric + before, length - before - after, panel, box, own, labels));
    }
    return DG_OK;
}

static dg_status box_figure(target *t)
{
    static const panel_kind kind[] = {{"dose_metrics.mae_", "_gy", "Mean abs. error", "Gy", NAN},
                                      {"gamma.global_", ".gamma_pass_rate", "Gamma, whole grid", "%", 95},
                                      {"gamma.ptv_region_", ".gamma_pass_rate", "Gamma, PTV + margin", "%", 95},
                                      {"dvh_metrics.", ".D95_error_gy", "D95 error", "Gy", 0},
                                      {"dvh_metrics.", ".mean_error_gy", "Mean dose error", "Gy", 0}};
    enum { KINDS = sizeof kind / sizeof *kind };
    const dg_results *results = t->experiment->results;
    int64_t cases = dg_results_case_count(results);
    dg_figure_box_panel panel[KINDS];
    dg_figure_box(*box)[BOXES_MAX] = NULL;
    char(*labels)[BOXES_MAX][96] = NULL;
    double *value = NULL;
    dg_figure_result result = {0};
    dg_status status;
    DG_TRY_GOTO(status, dg_alloc(&box, KINDS, sizeof *box, "boxes of a figure"), cleanup);
    DG_TRY_GOTO(status, dg_alloc(&labels, KINDS, sizeof *labels, "labels of a figure"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&value, KINDS * BOXES_MAX * (cases > 0 ? cases : 1), "values of a figure"), cleanup);
    for (int k = 0; k < KINDS; k++)
        DG_TRY_GOTO(status, box_panel(results, &kind[k], &panel[k], box[k], value + k * BOXES_MAX * cases, labels[k]),
                    cleanup);
    status = settle(t, dg_figure_per_case_boxplots(&t->output, panel, KINDS, &result), &result);
cleanup:
    dg_free(&value);
    dg_free(&labels);
    dg_free(&box);
    return status;
}

/* ---- constraints --------------------------------------------------------------------------------------------------- */

static const json_t *constraint_rows(const dg_results *results, int64_t index)
{
    const json_t *object = dg_results_get_case(results, index)->object;
    return json_object_get(json_object_get(object, "clinical_constraints"), "rows");
}

static const char *word(const json_t *row, const char *key)
{
    const char *value = json_string_value(json_object_get(row, key));
    return value == NULL ? "" : value;
}

static dg_verdict verdict_of(const json_t *row, const char *key)
{
    if (strcmp(word(row, key), "PASS") == 0) return DG_VERDICT_PASS;
    return strcmp(word(row, key), "FAIL") == 0 ? DG_VERDICT_FAIL : DG_VERDICT_NOT_EVALUATED;
}

static dg_figure_constraint_cell cell_of(const json_t *row)
{
    const json_t *value = json_object_get(row, "pred_value"), *limit = json_object_get(row, "limit");
    dg_figure_constraint_cell cell = {.verdict = {verdict_of(row, "target"), verdict_of(row, "pred")},
                                      .margin_percent = NAN};
    if (!json_is_number(value) || !json_is_number(limit) || cell.verdict[1] == DG_VERDICT_NOT_EVALUATED) return cell;
    double margin = json_number_value(limit) - json_number_value(value);
    if (strchr(word(row, "comparison"), '>') != NULL) margin = -margin;
    if (json_number_value(limit) != 0) cell.margin_percent = 100 * margin / fabs(json_number_value(limit));
    return cell;
}

typedef struct heat {
    char (*label)[192];
    const char **row_label, **case_id;
    dg_figure_constraint_cell *cell;
} heat;

static void fill_heat(const dg_results *results, const json_t *rows, int64_t row_count, int64_t cases, heat *h)
{
    for (int64_t r = 0; r < row_count; r++) {
        const json_t *row = json_array_get(rows, (size_t)r);
        snprintf(h->label[r], sizeof *h->label, "%s %s %s %g %s", word(row, "structure"), word(row, "metric"),
                 word(row, "comparison"), json_number_value(json_object_get(row, "limit")), word(row, "unit"));
        h->row_label[r] = h->label[r];
    }
    for (int64_t i = 0; i < cases; i++) {
        const json_t *own = constraint_rows(results, i);
        h->case_id[i] = dg_results_get_case(results, i)->id;
        for (int64_t r = 0; r < row_count; r++) h->cell[r * cases + i] = cell_of(json_array_get(own, (size_t)r));
    }
}

static dg_status constraint_figure(target *t)
{
    const dg_results *results = t->experiment->results;
    int64_t cases = dg_results_case_count(results);
    const json_t *rows = cases > 0 ? constraint_rows(results, 0) : NULL;
    int64_t row_count = (int64_t)json_array_size(rows);
    const json_t *table = json_object_get(json_object_get(dg_results_settings(results), "constraint_table"), "name");
    heat h = {0};
    dg_figure_result result = {0};
    dg_status status;
    if (row_count == 0) return DG_OK;
    DG_TRY_GOTO(status, DG_NEW(&h.label, row_count, "labels of constraints"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&h.row_label, row_count, "labels of constraints"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&h.case_id, cases, "ids of cases"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&h.cell, row_count * cases, "constraints of cases"), cleanup);
    fill_heat(results, rows, row_count, cases, &h);
    const dg_figure_constraint_map map = {.table = json_is_string(table) ? json_string_value(table) : "constraints",
                                          .row_label = h.row_label,
                                          .case_id = h.case_id,
                                          .cell = h.cell,
                                          .rows = row_count,
                                          .cases = cases};
    status = settle(t, dg_figure_constraint_heat_map(&t->output, &map, &result), &result);
cleanup:
    dg_free(&h.cell);
    dg_free(&h.case_id);
    dg_free(&h.row_label);
    dg_free(&h.label);
    return status;
}

/* ---- left and right ------------------------------------------------------------------------------------------------ */

static void read_side(const dg_results *results, const char *structure, const char *prefix, double *value)
{
    char metric[DG_RESULTS_METRIC];
    snprintf(metric, sizeof metric, "dvh_metrics.%s.%s_mean_gy", structure, prefix);
    for (int64_t i = 0; i < dg_results_case_count(results); i++) value[i] = dg_results_value(results, i, metric, NULL);
}

/* Partners are those that the cohort names; their means those of the results. */
static dg_status asymmetry_figure(target *t)
{
    const dg_results *results = t->experiment->results;
    int64_t cases = dg_results_case_count(results);
    int64_t index =
        t->w->cohort == NULL || cases == 0 ? -1 : dg_cohort_find(t->w->cohort, dg_results_get_case(results, 0)->id);
    dg_figure_mirror_pair pair[DG_FIGURE_PAIRS];
    double *value = NULL;
    dg_figure_result result = {0};
    int pairs = 0;
    if (index < 0) return DG_OK;
    const dg_case_info *info = dg_cohort_case(t->w->cohort, index);
    DG_TRY(DG_NEW(&value, DG_FIGURE_PAIRS * 4 * cases, "mean doses of mirror structures"));
    for (int k = 0; k < info->structure_count && pairs < DG_FIGURE_PAIRS; k++) {
        const char *name = info->structure[k].name, *partner = info->structure[k].mirror;
        int other = dg_case_info_structure(info, partner);
        if (other < 0 || k == other || k > other) continue;
        bool is_left = strstr(name, "Left") != NULL || strstr(name, "_L") != NULL;
        const char *side[2] = {is_left ? name : partner, is_left ? partner : name};
        dg_figure_mirror_pair *p = &pair[pairs];
        *p = (dg_figure_mirror_pair){.left = side[0], .right = side[1], .cases = cases};
        for (int s = 0; s < 2; s++) {
            double *own = value + (4 * pairs + 2 * s) * cases;
            read_side(results, side[s], "target", own);
            read_side(results, side[s], "pred", own + cases);
            p->reference_gy[s] = own;
            p->prediction_gy[s] = own + cases;
        }
        pairs++;
    }
    dg_status status = DG_OK;
    if (pairs > 0) status = settle(t, dg_figure_asymmetry(&t->output, pair, pairs, &result), &result);
    dg_free(&value);
    return status;
}

/* ---- all ----------------------------------------------------------------------------------------------------------- */

dg_status report_cohort_figures(const report_work *w, const report_experiment *experiment, dg_report_page *page,
                                int64_t max_bytes, json_t *figures)
{
    target t = {.w = w, .experiment = experiment, .page = page, .max_bytes = max_bytes, .figures = figures};
    DG_TRY(start(&t, NULL));
    DG_TRY(training_figures(&t));
    if (experiment->results == NULL) return DG_OK;
    if (report_is_of_labels(experiment->results)) {
        dg_figure_result result = {0};
        return settle(&t, report_label_boxes(experiment->results, &t.output, &result), &result);
    }
    DG_TRY(gamma_figure(&t));
    DG_TRY(box_figure(&t));
    DG_TRY(constraint_figure(&t));
    return asymmetry_figure(&t);
}

dg_status report_label_figures(const report_work *w, const report_experiment *experiment, const report_pick *pick,
                               int count, dg_report_page *page, int64_t max_bytes, json_t *figures)
{
    target t = {.w = w, .experiment = experiment, .page = page, .max_bytes = max_bytes, .figures = figures};
    for (int k = 0; k < count; k++) {
        dg_figure_result result = {0};
        const char *id = dg_results_get_case(experiment->results, pick[k].index)->id;
        DG_TRY(start(&t, w->s->cases.count > 0 ? id : NULL));
        DG_TRY(settle(&t, report_label_overlay(w, experiment, &pick[k], &t.output, &result), &result));
    }
    return DG_OK;
}

dg_status report_case_figures(const report_work *w, const report_experiment *experiment, const report_pick *pick,
                              const report_loaded *loaded, dg_report_page *page, int64_t max_bytes, json_t *figures)
{
    static dg_status (*const draw[])(const dg_figure_output *, const dg_figure_case *, dg_figure_result *) = {
        dg_figure_dose_colorwash, dg_figure_dose_difference, dg_figure_dvh_comparison, dg_figure_gamma_map};
    target t = {.w = w, .experiment = experiment, .page = page, .max_bytes = max_bytes, .figures = figures};
    const dg_report_case *view = &loaded->view;
    const char *words, *metric = report_monitor(experiment, &words);
    dg_figure_case data = {.case_id = view->id,
                           .pick = pick->pick,
                           .monitor_name = metric == NULL ? NULL : words,
                           .monitor_value =
                               metric == NULL ? NAN : dg_results_value(experiment->results, pick->index, metric, NULL),
                           .monitor_unit = "Gy",
                           .grid = view->grid,
                           .ct_hu = view->ct_hu,
                           .reference_gy = view->dose_gy[0],
                           .prediction_gy = view->dose_gy[1],
                           .gamma = view->gamma[1],
                           .gamma_label = view->gamma[1] == NULL ? NULL : view->gamma_label,
                           .masks = view->masks,
                           .structure = view->structure,
                           .structure_count = view->structure_count,
                           .prescription_gy = view->prescription_gy};
    DG_TRY(start(&t, w->s->cases.count > 0 ? view->id : NULL));
    for (int k = 0; k < 4; k++) {
        dg_figure_result result = {0};
        DG_TRY(settle(&t, draw[k](&t.output, &data, &result), &result));
    }
    return DG_OK;
}
