/* report_experiment.c - what the pages of a report say: one page for each experiment, and the index over them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "report_job_impl.h"

#include "build_info.h"
#include "dg_mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROW_BYTES = 220, FAILED_SHOWN = 5000 };

static json_t *text(const char *value) { return value == NULL ? json_null() : json_string(value); }

/* json_string refuses what is no UTF-8; such text is shown byte by byte. */
json_t *report_text_json(const char *value)
{
    json_t *good = json_string(value);
    if (good != NULL) return good;
    char *plain = NULL;
    if (dg_string_copy(value, &plain) != DG_OK) return json_string("?");
    for (char *c = plain; *c != '\0'; c++)
        if ((unsigned char)*c >= 0x80) *c = '?';
    good = json_string(plain);
    dg_free(&plain);
    return good;
}

json_t *report_assumed_json(bool assumed) { return assumed ? json_string("PRESCRIPTION ASSUMED") : json_null(); }

json_t *report_program_json(void)
{
    json_t *info = dg_build_info();
    json_t *out =
        json_pack("{s:O, s:O}", "version", json_object_get(info, "version"), "commit", json_object_get(info, "commit"));
    json_decref(info);
    return out;
}

static json_t *copy_or_null(const json_t *value) { return value == NULL ? json_null() : json_incref((json_t *)value); }

static json_t *run_json(const report_run *run)
{
    if (run == NULL) return json_null();
    return json_pack("{s:s, s:o, s:o, s:o}", "name", run->name, "config", copy_or_null(run->config), "environment",
                     copy_or_null(run->environment), "summary", copy_or_null(run->summary));
}

/* ---- tiles --------------------------------------------------------------------------------------------------------- */

static void add_tile(json_t *tiles, const char *label, double value, const char *unit)
{
    json_array_append_new(tiles,
                          json_pack("{s:s, s:o, s:s}", "label", label, "value", report_number(value), "unit", unit));
}

static json_t *last_tile(json_t *tiles) { return json_array_get(tiles, json_array_size(tiles) - 1); }

/* Of a metric of segmentations: interval and deviation stand beside its mean. */
static void add_spread(const dg_results *results, const char *mean_key, json_t *tile)
{
    char key[DG_RESULTS_METRIC + 16];
    const int length = (int)strlen(mean_key) - 5;
    snprintf(key, sizeof key, "%.*s.interval_95", length, mean_key);
    const json_t *interval = dg_results_look_up(json_object_get(dg_results_root(results), "aggregate"), key);
    if (json_array_size(interval) == 2) {
        json_object_set_new(tile, "low", copy_or_null(json_array_get(interval, 0)));
        json_object_set_new(tile, "high", copy_or_null(json_array_get(interval, 1)));
    }
    snprintf(key, sizeof key, "%.*s.std", length, mean_key);
    json_object_set_new(tile, "std", report_number(report_aggregate_value(results, key)));
}

static void add_score_tiles(const dg_results *results, json_t *tiles)
{
    report_column column[REPORT_COLUMNS_MAX];
    int count = report_aggregate_columns(&results, 1, column);
    for (int i = 0; i < count; i++) {
        char key[DG_RESULTS_METRIC + 16];
        add_tile(tiles, column[i].label, report_aggregate_value(results, column[i].key), column[i].unit);
        json_t *tile = last_tile(tiles);
        snprintf(key, sizeof key, "%.255s_interval_95", column[i].key);
        const json_t *interval = dg_results_look_up(json_object_get(dg_results_root(results), "aggregate"), key);
        if (json_array_size(interval) == 2) {
            json_object_set_new(tile, "low", copy_or_null(json_array_get(interval, 0)));
            json_object_set_new(tile, "high", copy_or_null(json_array_get(interval, 1)));
        }
        size_t length = strlen(column[i].key);
        if (length > 5 && strcmp(column[i].key + length - 5, ".mean") == 0) add_spread(results, column[i].key, tile);
        if (length > 5 && strcmp(column[i].key + length - 5, "_mean") == 0) {
            snprintf(key, sizeof key, "%.*s_std", (int)length - 5, column[i].key);
            json_object_set_new(tile, "std", report_number(report_aggregate_value(results, key)));
        }
        if (column[i].is_pass_rate) {
            json_object_set_new(tile, "target", json_integer(REPORT_TARGET_PERCENT));
            json_object_set_new(tile, "note", json_string("mark: project target"));
        }
    }
}

static const char *verdict_of(const dg_results_case *c, const char *key)
{
    return json_string_value(json_object_get(json_object_get(c->object, "clinical_constraints"), key));
}

static void add_verdict_tile(const dg_results *results, json_t *tiles)
{
    int64_t met = 0, not_met = 0, open = 0;
    for (int64_t i = 0; i < dg_results_case_count(results); i++) {
        const char *verdict = verdict_of(dg_results_get_case(results, i), "verdict");
        if (verdict == NULL) continue;
        met += strcmp(verdict, "PASS") == 0;
        not_met += strcmp(verdict, "FAIL") == 0;
        open += strcmp(verdict, "INCOMPLETE") == 0;
    }
    if (met + not_met + open == 0) return;
    char note[96];
    snprintf(note, sizeof note, "%lld not met, %lld incomplete", (long long)not_met, (long long)open);
    add_tile(tiles, "cases with all constraints met", (double)met, "");
    json_object_set_new(last_tile(tiles), "note", json_string(note));
}

static json_t *tiles_json(const report_experiment *experiment)
{
    json_t *tiles = json_array();
    const dg_results *results = experiment->results;
    if (results != NULL) {
        add_tile(tiles, "cases evaluated", (double)dg_results_case_count(results), "");
        add_tile(tiles, "cases failed", (double)dg_results_failed_count(results), "");
        add_score_tiles(results, tiles);
        add_verdict_tile(results, tiles);
    } else if (experiment->run != NULL) {
        const json_t *best = json_object_get(experiment->run->summary, "best");
        const json_t *step = json_object_get(experiment->run->summary, "step");
        if (json_is_number(step)) add_tile(tiles, "steps", json_number_value(step), "");
        if (json_is_number(best)) add_tile(tiles, "best of the monitor", json_number_value(best), "");
    }
    return tiles;
}

/* ---- cases --------------------------------------------------------------------------------------------------------- */

static json_t *case_row(const report_experiment *experiment, int64_t index, const report_column *column, int columns,
                        int pictured)
{
    const dg_results_case *c = dg_results_get_case(experiment->results, index);
    const json_t *constraints = json_object_get(c->object, "clinical_constraints");
    json_t *values = json_array();
    for (int i = 0; i < columns; i++)
        json_array_append_new(values, report_number(dg_results_value(experiment->results, index, column[i].key, NULL)));
    return json_pack("{s:o, s:o, s:o, s:i, s:o, s:o, s:o, s:o, s:o, s:o}", "id", report_text_json(c->id), "group",
                     report_text_json(c->group), "assumed", report_assumed_json(dg_results_case_assumed(c)), "pictured",
                     pictured, "values", values, "verdict", copy_or_null(json_object_get(constraints, "verdict")),
                     "target_verdict", copy_or_null(json_object_get(constraints, "target_verdict")), "passed",
                     copy_or_null(json_object_get(constraints, "passed")), "evaluated",
                     copy_or_null(json_object_get(constraints, "evaluated")), "total",
                     copy_or_null(json_object_get(constraints, "total")));
}

/* A case and what it is ranked by when not all fit. */
typedef struct ranked {
    double value;
    int64_t index;
} ranked;

static int worst_first(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (isnan(x->value) != isnan(y->value)) return isnan(x->value) ? 1 : -1;
    if (x->value != y->value && !isnan(x->value)) return x->value < y->value ? 1 : -1;
    return x->index < y->index ? -1 : x->index > y->index;
}
static int by_index(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* All cases by id; the worst where they would take more than a quarter of the page. */
static dg_status add_cases(const report_experiment *experiment, const report_pick *pick, int picks, int64_t max_bytes,
                           json_t *data)
{
    report_column column[REPORT_COLUMNS_MAX];
    int columns = report_case_columns(experiment->results, column);
    int64_t count = dg_results_case_count(experiment->results), room = max_bytes / 4 / (ROW_BYTES + 12 * columns);
    const char *words, *metric = report_monitor(experiment, &words);
    ranked *order = NULL;
    DG_TRY(DG_NEW(&order, count > 0 ? count : 1, "order of cases"));
    for (int64_t i = 0; i < count; i++) {
        order[i].index = i;
        order[i].value = metric == NULL ? NAN : dg_results_value(experiment->results, i, metric, NULL);
    }
    int64_t kept = count < room ? count : room;
    if (kept < count) qsort(order, (size_t)count, sizeof *order, worst_first);
    qsort(order, (size_t)kept, sizeof *order, by_index);
    json_t *rows = json_array();
    for (int64_t i = 0; i < kept; i++) {
        int pictured = -1;
        for (int k = 0; k < picks; k++)
            if (pick[k].index == order[i].index) pictured = k;
        json_array_append_new(rows, case_row(experiment, order[i].index, column, columns, pictured));
    }
    json_object_set_new(data, "cases", rows);
    json_object_set_new(data, "cases_left_out", json_integer(count - kept));
    json_object_set_new(data, "columns", report_columns_json(column, columns));
    dg_free(&order);
    return DG_OK;
}

static void add_failed(const report_experiment *experiment, json_t *data, json_t *notes)
{
    json_t *failed = json_array();
    int64_t count = dg_results_failed_count(experiment->results);
    for (int64_t i = 0; i < count && i < FAILED_SHOWN; i++) {
        const char *id, *reason;
        dg_results_get_failed(experiment->results, i, &id, &reason);
        json_array_append_new(
            failed, json_pack("{s:o, s:o}", "case_id", report_text_json(id), "reason", report_text_json(reason)));
    }
    if (count > FAILED_SHOWN) {
        char note[128];
        snprintf(note, sizeof note, "The first %d of %lld failed cases are listed; the results file holds all.",
                 FAILED_SHOWN, (long long)count);
        json_array_append_new(notes, json_string(note));
    }
    json_object_set_new(data, "failed", failed);
    json_object_set_new(data, "n_failed", json_integer(count));
}

static json_t *constraint_rows(const report_experiment *experiment)
{
    const json_t *aggregate = json_object_get(dg_results_root(experiment->results), "aggregate");
    const json_t *rows = json_object_get(json_object_get(aggregate, "clinical_constraints"), "rows");
    if (json_array_size(rows) == 0 && dg_results_case_count(experiment->results) > 0)
        rows = json_object_get(
            json_object_get(dg_results_get_case(experiment->results, 0)->object, "clinical_constraints"), "rows");
    return json_array_size(rows) > 0 ? json_incref((json_t *)rows) : json_array();
}

/* ---- pictures ------------------------------------------------------------------------------------------------------ */

/* A page in the making. */
typedef struct making {
    const report_work *w;
    const report_experiment *experiment, *other;
    dg_report_page *page;
    report_pick pick[REPORT_CASES_MAX];
    int picks; /* those that got into the page */
    int64_t max_bytes;
    json_t *pictured, *figures, *notes; /* owned by the page's data */
    json_t *case_figures;               /* owned; they follow those of all cases */
} making;

static void add_note(making *m, const char *format, ...) DG_PRINTF(2, 3);
static void add_note(making *m, const char *format, ...)
{
    char note[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(note, sizeof note, format, arguments);
    va_end(arguments);
    json_array_append_new(m->notes, report_text_json(note));
    dg_log_write(m->w->env->log, DG_LOG_WARNING, "report of %s: %s", m->experiment->title, note);
}

/* One pictured case: volumes into the page as long as they fit, then its figures. */
static dg_status picture(making *m, const report_pick *pick, int64_t case_bytes)
{
    report_loaded loaded;
    json_t *pictured = NULL;
    dg_status status = report_load(m->w, m->experiment, m->other, pick, &loaded);
    if (status != DG_OK) {
        if (status == DG_ERR_MEMORY || status == DG_ERR_INTERNAL) return status;
        add_note(m, "not pictured: %s", dg_error_last()->text);
        dg_error_clear();
        return DG_OK;
    }
    DG_TRY_GOTO(status, dg_report_page_add_case(m->page, &loaded.view, case_bytes, m->picks == 0, &pictured), cleanup);
    if (pictured == NULL) {
        add_note(m, "case %s (%s) is not pictured: its volumes would take the page beyond %g MB (--max-mb)",
                 loaded.info.id, pick->why, m->w->s->max_mb);
        goto cleanup;
    }
    const json_t *object = dg_results_get_case(m->experiment->results, pick->index)->object;
    json_object_set_new(pictured, "constraints", copy_or_null(json_object_get(object, "clinical_constraints")));
    json_array_append_new(m->pictured, pictured);
    m->pick[m->picks++] = *pick;
    if (m->w->s->figures)
        status = report_case_figures(m->w, m->experiment, pick, &loaded, m->page, m->max_bytes, m->case_figures);
cleanup:
    report_loaded_release(&loaded);
    return status;
}

static dg_status picture_all(making *m)
{
    report_pick wanted[REPORT_CASES_MAX];
    int count;
    if (m->experiment->results == NULL) return DG_OK;
    if (m->w->cohort == NULL || m->experiment->predictions == NULL) {
        json_array_append_new(m->notes,
                              json_string("No case is pictured: the report was made without the cohort and the "
                                          "predictions (--cohort, --predictions)."));
        return DG_OK;
    }
    DG_TRY(report_pick_cases(m->w, m->experiment, wanted, &count));
    if (report_is_of_labels(m->experiment->results)) {
        if (!m->w->s->figures) return DG_OK;
        return report_label_figures(m->w, m->experiment, wanted, count, m->page, m->max_bytes, m->case_figures);
    }
    for (int k = 0; k < count; k++) DG_TRY(picture(m, &wanted[k], m->max_bytes / 10 * 6));
    return DG_OK;
}

/* ---- pages --------------------------------------------------------------------------------------------------------- */

static void subtitle(const report_experiment *experiment, char *out, size_t capacity)
{
    const dg_results_run *run = experiment->results == NULL ? NULL : dg_results_get_run(experiment->results);
    size_t used = 0;
    out[0] = '\0';
    if (experiment->results == NULL)
        used += (size_t)snprintf(out, capacity, "trained, not evaluated");
    else
        used += (size_t)snprintf(out, capacity, "%lld cases evaluated, %lld failed",
                                 (long long)dg_results_case_count(experiment->results),
                                 (long long)dg_results_failed_count(experiment->results));
    if (run != NULL && run->condition[0] != '\0' && used < capacity)
        used += (size_t)snprintf(out + used, capacity - used, ", condition %s", run->condition);
    if (run != NULL && run->has_seed && used < capacity)
        snprintf(out + used, capacity - used, ", seed %lld", (long long)run->seed);
}

static json_t *identity_json(const report_experiment *experiment)
{
    const dg_results_run *run = experiment->results == NULL ? NULL : dg_results_get_run(experiment->results);
    return json_pack("{s:o, s:o}", "condition", run == NULL ? json_null() : report_text_json(run->condition), "seed",
                     run == NULL || !run->has_seed ? json_null() : json_integer(run->seed));
}

/* The words of the banner, null where every plan says its prescription. */
static json_t *assumed_json(const report_experiment *e)
{
    char said[DG_ASSUMED_TEXT] = "";
    if (e->results != NULL) dg_assumed_text(dg_results_assumed(e->results), dg_results_case_count(e->results), said);
    return said[0] == '\0' ? json_null() : json_string(said);
}

static dg_status fill_results(making *m, json_t *data)
{
    const report_experiment *e = m->experiment;
    json_object_set_new(data, "assumed", assumed_json(e));
    if (e->results == NULL) {
        json_t *none = json_pack("{s:[], s:i, s:[], s:[], s:i, s:[], s:n, s:n}", "cases", "cases_left_out", 0,
                                 "columns", "failed", "n_failed", 0, "constraint_rows", "aggregate", "settings");
        int refused = json_object_update(data, none);
        json_decref(none);
        return refused == 0 ? DG_OK : DG_FAIL(DG_ERR_MEMORY, "no memory for the page of %s", e->title);
    }
    DG_TRY(add_cases(e, m->pick, m->picks, m->max_bytes, data));
    add_failed(e, data, m->notes);
    json_object_set_new(data, "constraint_rows", constraint_rows(e));
    json_object_set_new(data, "aggregate", copy_or_null(json_object_get(dg_results_root(e->results), "aggregate")));
    json_object_set_new(data, "settings", copy_or_null(dg_results_settings(e->results)));
    json_object_set_new(data, "perturbations",
                        copy_or_null(json_object_get(dg_results_root(e->results), "perturbations")));
    return DG_OK;
}

static json_t *sources_json(const making *m)
{
    if (m->other == NULL) return json_pack("[s, s]", "reference", "prediction");
    json_t *sources = json_pack("[s]", "reference");
    json_array_append_new(sources, report_text_json(m->experiment->title));
    json_array_append_new(sources, report_text_json(m->other->title));
    return sources;
}

static dg_status make_page(making *m, json_t *data)
{
    char line[512];
    DG_TRY(picture_all(m));
    if (m->w->s->figures) DG_TRY(report_cohort_figures(m->w, m->experiment, m->page, m->max_bytes, m->figures));
    json_array_extend(m->figures, m->case_figures);
    subtitle(m->experiment, line, sizeof line);
    json_object_set_new(data, "title", report_text_json(m->experiment->title));
    json_object_set_new(data, "subtitle", report_text_json(line));
    json_object_set_new(data, "program", report_program_json());
    json_object_set_new(data, "experiment", identity_json(m->experiment));
    json_object_set_new(data, "target_percent", json_integer(REPORT_TARGET_PERCENT));
    json_object_set_new(data, "tiles", tiles_json(m->experiment));
    json_object_set_new(data, "run", run_json(m->experiment->run));
    json_object_set_new(data, "sources", sources_json(m));
    return fill_results(m, data);
}

static dg_status page_path(const report_work *w, const char *stem, char path[DG_PATH_MAX])
{
    char name[96];
    snprintf(name, sizeof name, "%s.html", stem);
    return dg_path_join(path, w->s->output, name);
}

dg_status report_write_experiment(const report_work *w, report_experiment *experiment, const report_experiment *other)
{
    making m = {.w = w, .experiment = experiment, .other = other, .max_bytes = (int64_t)(w->s->max_mb * 1048576)};
    char path[DG_PATH_MAX];
    json_t *data = json_object();
    dg_status status;
    m.pictured = json_array();
    m.figures = json_array();
    m.notes = json_array();
    m.case_figures = json_array();
    json_object_set_new(data, "pictured", m.pictured);
    json_object_set_new(data, "figures", m.figures);
    json_object_set_new(data, "notes", m.notes);
    DG_TRY_GOTO(status, page_path(w, experiment->stem, path), cleanup);
    DG_TRY_GOTO(status, dg_report_page_create(DG_REPORT_EXPERIMENT, experiment->title, &m.page), cleanup);
    DG_TRY_GOTO(status, make_page(&m, data), cleanup);
    status = dg_report_page_write(m.page, data, path, &experiment->bytes);
cleanup:
    dg_report_page_destroy(&m.page);
    json_decref(m.case_figures);
    json_decref(data);
    return status;
}

static json_t *index_row(const report_experiment *e, const report_column *column, int columns)
{
    const json_t *environment = e->run == NULL ? NULL : e->run->environment;
    json_t *values = json_array(), *row = identity_json(e);
    char page[96];
    snprintf(page, sizeof page, "%s.html", e->stem);
    for (int i = 0; i < columns; i++)
        json_array_append_new(values, e->results == NULL
                                          ? json_null()
                                          : report_number(report_aggregate_value(e->results, column[i].key)));
    json_object_set_new(row, "title", report_text_json(e->title));
    json_object_set_new(row, "page", text(page));
    json_object_set_new(row, "values", values);
    json_object_set_new(row, "assumed", assumed_json(e));
    json_object_set_new(row, "n_cases",
                        e->results == NULL ? json_null() : json_integer(dg_results_case_count(e->results)));
    json_object_set_new(row, "n_failed",
                        e->results == NULL ? json_null() : json_integer(dg_results_failed_count(e->results)));
    json_object_set_new(row, "commit", copy_or_null(json_object_get(environment, "commit")));
    json_object_set_new(row, "command", copy_or_null(json_object_get(environment, "command")));
    json_object_set_new(row, "environment", copy_or_null(environment));
    json_object_set_new(row, "config", e->run == NULL ? json_null() : copy_or_null(e->run->config));
    return row;
}

dg_status report_write_index(const report_work *w, char path[DG_PATH_MAX])
{
    const dg_results *results[2 * REPORT_INPUTS_MAX];
    report_column column[REPORT_COLUMNS_MAX];
    dg_report_page *page = NULL;
    int64_t bytes;
    char line[96];
    for (int i = 0; i < w->experiments; i++) results[i] = w->experiment[i].results;
    int columns = report_aggregate_columns(results, w->experiments, column);
    json_t *rows = json_array();
    for (int i = 0; i < w->experiments; i++) json_array_append_new(rows, index_row(&w->experiment[i], column, columns));
    snprintf(line, sizeof line, "%d %s", w->experiments, w->experiments == 1 ? "experiment" : "experiments");
    json_t *data =
        json_pack("{s:s, s:s, s:o, s:o, s:o, s:s}", "title", "dosegrid experiments", "subtitle", line, "program",
                  report_program_json(), "columns", report_columns_json(column, columns), "experiments", rows, "note",
                  "Numbers of different experiments can be set side by side only where cases and settings of the "
                  "evaluation agree; "
                  "dosegrid compare checks that. Mark on the bars: project target.");
    dg_status status = data == NULL ? DG_FAIL(DG_ERR_MEMORY, "no memory for the index") : page_path(w, "index", path);
    if (status == DG_OK) status = dg_report_page_create(DG_REPORT_INDEX, "dosegrid experiments", &page);
    if (status == DG_OK) status = dg_report_page_write(page, data, path, &bytes);
    dg_report_page_destroy(&page);
    json_decref(data);
    return status;
}
