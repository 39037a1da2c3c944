/* sweep_report.c - the end of a sweep: comparison, figures, pages and the one report. It says what is there at the
 * time, so that it may also be made of a sweep that is not finished. SPDX-License-Identifier: Apache-2.0 */
#include "sweep_impl.h"

#include "dg_compare.h"
#include "dg_figures.h"
#include "dg_mem.h"
#include "dg_text_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGES_MAX = 32, TEXT_LIMIT = 1 << 24 }; /* `report` takes 64 inputs, two a run */
static const double FIGURE_DEADLINE_S = 120;

/* ---- the parts that other jobs make ------------------------------------------------------------------------------ */

/* Runs one of the program's own jobs to its end; *code is its exit code. */
static dg_status run_alone(sweep_work *w, const sweep_words *words, const char *name, int *code)
{
    char folder[DG_PATH_MAX], file[64], log[DG_PATH_MAX];
    pid_t pid, ended = 0;
    snprintf(file, sizeof file, "%s.log", name);
    DG_TRY(dg_path_join(folder, w->plan.folder, "log"));
    DG_TRY(dg_make_folder(folder));
    DG_TRY(dg_path_join(log, folder, file));
    DG_TRY(sweep_process_start(w, words, 1, log, 0, 1, &pid));
    while (!sweep_process_wait(w, 500, &ended, code) || ended != pid) {}
    DG_TRY(sweep_ledger_add(w, name, name, *code, 0));
    if (w->stopping) return DG_FAIL(DG_ERR_PREEMPTED, "the sweep was stopped: go on with --resume");
    if (*code != DG_EXIT_DONE)
        dg_log_write(w->env->log, DG_LOG_ERROR, "%s ended with exit code %d; %s says why", name, *code, log);
    return DG_OK;
}

/* NAME@SEED=FILE of every finished run, the reference first; seed -1: all. Returns how many. */
static dg_status add_results(const sweep_work *w, int only_seed, sweep_words *words, int *conditions)
{
    *conditions = 0;
    for (int i = 0; i < w->plan.conditions; i++) {
        const int condition = i == 0 ? w->plan.reference : i <= w->plan.reference ? i - 1 : i;
        bool any = false;
        for (int seed = 0; seed < w->plan.seeds; seed++) {
            char path[DG_PATH_MAX], word[DG_PATH_MAX + DG_SWEEP_NAME + 32];
            if (only_seed >= 0 && seed != only_seed) continue;
            DG_TRY(sweep_results_path(w, condition, seed, path));
            if (path[0] == '\0') continue;
            snprintf(word, sizeof word, "%s@%lld=%s", w->plan.condition[condition].name, (long long)w->plan.seed[seed],
                     path);
            DG_TRY(sweep_words_add(words, (const char *const[]){word, NULL}));
            any = true;
        }
        *conditions += any;
    }
    return DG_OK;
}

/* comparison<suffix>.json, .md and .csv; *done false where there is nothing to compare or it failed. */
static dg_status compare(sweep_work *w, int only_seed, const char *suffix, bool *done)
{
    static const char *const flags[] = {"-o", "--markdown", "--csv"}, *const endings[] = {"json", "md", "csv"};
    sweep_words words = {.count = 0};
    char path[DG_PATH_MAX], name[64], primary[320];
    int conditions, code;
    *done = false;
    dg_status status = sweep_words_add(&words, (const char *const[]){"compare", NULL});
    if (status == DG_OK) status = add_results(w, only_seed, &words, &conditions);
    for (int i = 0; i < 3 && status == DG_OK; i++) {
        snprintf(name, sizeof name, "comparison%s.%s", suffix, endings[i]);
        status = dg_path_join(path, w->plan.folder, name);
        if (status == DG_OK) status = sweep_words_add(&words, (const char *const[]){flags[i], path, NULL});
    }
    if (status == DG_OK && w->plan.primary[0] != '\0') {
        snprintf(primary, sizeof primary, "--primary=%s", w->plan.primary);
        status = sweep_words_add(&words, (const char *const[]){primary, NULL});
    }
    if (status == DG_OK && conditions > 0) {
        status = run_alone(w, &words, "compare", &code);
        *done = status == DG_OK && code == DG_EXIT_DONE;
    }
    sweep_words_release(&words);
    return status;
}

/* A page for each run, as far as `report` takes them. */
static dg_status make_pages(sweep_work *w, int *pages)
{
    sweep_words words = {.count = 0};
    char path[DG_PATH_MAX];
    int code = DG_EXIT_FAILED;
    *pages = 0;
    dg_status status = dg_path_join(path, w->plan.folder, "pages");
    if (status == DG_OK) status = sweep_words_add(&words, (const char *const[]){"report", "-o", path, NULL});
    if (status == DG_OK && !w->s->figures)
        status = sweep_words_add(&words, (const char *const[]){"--no-figures", NULL});
    for (int i = 0; i < w->jobs && *pages < PAGES_MAX && status == DG_OK; i++) {
        const sweep_job *job = &w->job[i];
        if (job->state != SWEEP_DONE || job->trained != i) continue; /* a page is of a training */
        status = sweep_words_add(&words, (const char *const[]){job->folder, job->results, NULL});
        ++*pages;
    }
    if (status == DG_OK && *pages > 0) {
        status = run_alone(w, &words, "report", &code);
        if (code != DG_EXIT_DONE) *pages = 0;
    }
    sweep_words_release(&words);
    return status;
}

/* ---- figure: the primary metric by condition and seed ------------------------------------------------------------ */

typedef struct seed_figure {
    dg_results *results[DG_SWEEP_RUNS_MAX];
    dg_figure_seed_run run[DG_SWEEP_RUNS_MAX];
    double *value[DG_SWEEP_RUNS_MAX];
    int64_t runs, cases;
} seed_figure;

static dg_status read_results(const sweep_work *w, seed_figure *f)
{
    for (int condition = 0; condition < w->plan.conditions; condition++)
        for (int seed = 0; seed < w->plan.seeds; seed++) {
            char path[DG_PATH_MAX];
            DG_TRY(sweep_results_path(w, condition, seed, path));
            if (path[0] == '\0') continue;
            DG_TRY(dg_results_read(path, path, &f->results[f->runs]));
            f->run[f->runs] =
                (dg_figure_seed_run){.condition = w->plan.condition[condition].name, .seed = w->plan.seed[seed]};
            f->runs++;
        }
    return DG_OK;
}

/* The cases of the first run; where seeds have other test cases, a value is missing. */
static dg_status fill_values(seed_figure *f, const char *metric)
{
    f->cases = f->runs > 0 ? dg_results_case_count(f->results[0]) : 0;
    for (int64_t r = 0; r < f->runs; r++) {
        DG_TRY(DG_NEW(&f->value[r], f->cases > 0 ? f->cases : 1, "values of a figure"));
        for (int64_t c = 0; c < f->cases; c++) {
            const int64_t at = dg_results_find_case(f->results[r], dg_results_get_case(f->results[0], c)->id);
            f->value[r][c] = at < 0 ? NAN : dg_results_value(f->results[r], at, metric, NULL);
        }
        f->run[r].value = f->value[r];
    }
    return DG_OK;
}

static const char *primary_of(const sweep_work *w, const seed_figure *f)
{
    if (w->plan.primary[0] != '\0') return w->plan.primary;
    if (f->runs > 0 && dg_results_has_metric(f->results[0], "segmentation_metrics.dice"))
        return "segmentation_metrics.dice";
    for (int64_t r = 0; r < f->runs; r++)
        if (!dg_results_has_metric(f->results[r], "openkbp.dose_error_gy")) return "dose_metrics.mae_gy";
    return "openkbp.dose_error_gy";
}

static dg_status draw(const sweep_work *w, seed_figure *f, dg_figure_result *result)
{
    char folder[DG_PATH_MAX];
    dg_metric_words words;
    DG_TRY(read_results(w, f));
    const char *metric = primary_of(w, f);
    DG_TRY(fill_values(f, metric));
    dg_metric_describe(metric, &words);
    DG_TRY(dg_path_join(folder, w->plan.folder, "figures"));
    DG_TRY(dg_make_folder(folder));
    const dg_figure_output output = {.folder = folder, .png = true, .pdf = true, .deadline_s = FIGURE_DEADLINE_S};
    const dg_figure_seeds data = {
        .metric = metric, .unit = words.unit, .run = f->run, .runs = f->runs, .cases = f->cases, .line = NAN};
    return dg_figure_seed_variability(&output, &data, 1, result);
}

static dg_status draw_seeds(const sweep_work *w, dg_figure_result *result)
{
    seed_figure *f;
    snprintf(result->reason, sizeof result->reason, "figures were not wanted (--no-figures)");
    if (!w->s->figures) return DG_OK;
    DG_TRY(DG_NEW(&f, 1, "figure of seeds"));
    dg_status status = draw(w, f, result);
    for (int64_t r = 0; r < f->runs; r++) {
        dg_results_destroy(&f->results[r]);
        dg_free(&f->value[r]);
    }
    dg_free(&f);
    return status;
}

/* ---- report.md --------------------------------------------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "" : text;
}

static void put(FILE *to, const char *text) { dg_text_print_escaped(text, DG_TABLE_MARKDOWN, to); }

static void put_number(FILE *to, const json_t *value)
{
    if (json_is_number(value))
        fprintf(to, "%.4g", json_number_value(value));
    else
        fputc('-', to);
}

/* " | status (reason)" of an experiment or a run. */
static void put_status(FILE *to, const json_t *of)
{
    static const char *const keys[] = {"reason", "unreadable"};
    fprintf(to, " | %s", text_of(of, "status"));
    for (int i = 0; i < 2; i++) {
        if (text_of(of, keys[i])[0] == '\0') continue;
        fputs(" (", to);
        put(to, text_of(of, keys[i]));
        fputc(')', to);
    }
}

static void put_experiments(FILE *to, const json_t *list)
{
    const json_t *item, *target;
    size_t i, k;
    fputs("## Experiments\n\n| experiment | status | seeds | targets | hypothesis |\n|---|---|---|---|---|\n", to);
    json_array_foreach(list, i, item)
    {
        fputs("| ", to);
        put(to, text_of(item, "name"));
        put_status(to, item);
        fprintf(to, " | %lld of %zu | ", (long long)json_integer_value(json_object_get(item, "seeds_finished")),
                json_array_size(json_object_get(item, "seeds")));
        json_array_foreach(json_object_get(item, "targets"), k, target)
        {
            const json_t *most = json_object_get(target, "at_most");
            const long long cases = json_integer_value(json_object_get(target, "cases")),
                            of = json_integer_value(json_object_get(target, "of"));
            if (k > 0) fputs("; ", to);
            put(to, text_of(target, "metric"));
            fprintf(to, " %s %.6g: ", most != NULL ? "at most" : "at least",
                    json_number_value(most != NULL ? most : json_object_get(target, "at_least")));
            put_number(to, json_object_get(target, "value"));
            if (cases < of) fprintf(to, " (%lld of %lld cases)", cases, of);
            fprintf(to, " **%s**", text_of(target, "verdict"));
        }
        fputs(" | ", to);
        put(to, text_of(item, "hypothesis"));
        fputs(" |\n", to);
    }
}

static void put_command(FILE *to, const json_t *command)
{
    const json_t *word;
    size_t i;
    json_array_foreach(command, i, word)
    {
        if (i > 0) fputc(' ', to);
        put(to, json_string_value(word) == NULL ? "" : json_string_value(word));
    }
}

static void put_runs(FILE *to, const json_t *list)
{
    const json_t *item, *run;
    size_t i, k;
    fputs("\n## Runs\n\n| run | status | steps | best (validation) | training time (s) | commit | command |\n"
          "|---|---|---|---|---|---|---|\n",
          to);
    json_array_foreach(list, i, item) json_array_foreach(json_object_get(item, "runs"), k, run)
    {
        fputs("| ", to);
        put(to, text_of(run, "name"));
        put_status(to, run);
        fputs(" | ", to);
        put_number(to, json_object_get(run, "steps"));
        fputs(" | ", to);
        put(to, text_of(run, "monitor"));
        fputc(' ', to);
        put_number(to, json_object_get(run, "best"));
        fputs(" | ", to);
        put_number(to, json_object_get(run, "seconds"));
        fputs(" | ", to);
        put(to, text_of(run, "commit"));
        fputs(" | ", to);
        put_command(to, json_object_get(run, "command"));
        fputs(" |\n", to);
    }
}

static void put_changes(FILE *to, const json_t *list)
{
    const json_t *item, *change;
    size_t i, k;
    fputs("\n## What changed\n\nSettings that are in force and differ from the reference (`dosegrid diff sweep.yaml` "
          "tells all).\n",
          to);
    json_array_foreach(list, i, item)
    {
        const json_t *changes = json_object_get(item, "changes");
        fputs("\n- **", to);
        put(to, text_of(item, "name"));
        fputs(strcmp(text_of(item, "name"), text_of(item, "reference")) == 0 ? "**: the reference\n"
              : json_array_size(changes) == 0                                ? "**: nothing\n"
                                                                             : "**\n",
              to);
        json_array_foreach(changes, k, change)
        {
            fputs("  - ", to);
            put(to, json_string_value(change));
            fputc('\n', to);
        }
        if (text_of(item, "notes")[0] == '\0') continue;
        fputs("  - notes: ", to);
        put(to, text_of(item, "notes"));
        fputc('\n', to);
    }
}

static dg_status put_splits(FILE *to, const sweep_work *w)
{
    static const char *const words[] = {"Locked: one split for all runs.", "Drawn anew for each seed.",
                                        "Folds by patient: each case is tested once per seed."};
    json_t *sets;
    const json_t *item;
    size_t i;
    DG_TRY(dg_run_folder_read_json(w->plan.folder, "test_cases.json", &sets));
    fprintf(to, "\n## Test sets\n\n%s\n\n", words[w->plan.split]);
    json_array_foreach(json_object_get(sets, "variants"), i, item)
        fprintf(to, "- %s: %zu train, %zu validation, %zu test cases\n", text_of(item, "name"),
                json_array_size(json_object_get(item, "train")), json_array_size(json_object_get(item, "val")),
                json_array_size(json_object_get(item, "test")));
    json_array_foreach(json_object_get(sets, "overlap"), i, item)
        fprintf(to, "- test sets of %s and %s share %lld of %lld cases\n", text_of(item, "a"), text_of(item, "b"),
                (long long)json_integer_value(json_object_get(item, "shared")),
                (long long)json_integer_value(json_object_get(item, "of")));
    json_decref(sets);
    return DG_OK;
}

static void put_source(FILE *to, const json_t *source)
{
    const char *patch = text_of(source, "patch");
    put(to, text_of(source, "build_commit"));
    if (!json_is_true(json_object_get(source, "dirty"))) return;
    fputs(", **not a clean tree**", to);
    if (patch[0] != '\0')
        fprintf(to, ": changes in [%s](%s)", patch, patch);
    else
        fputs(", its changes are not recorded", to);
}

static dg_status put_environment(FILE *to, const sweep_work *w)
{
    json_t *environment;
    const json_t *source;
    size_t i;
    DG_TRY(dg_run_folder_read_json(w->plan.folder, "environment.json", &environment));
    fputs("\n## Environment\n\n- program: version ", to);
    put(to, text_of(environment, "version"));
    fputs(", commit ", to);
    put_source(to, json_object_get(environment, "source"));
    json_array_foreach(json_object_get(environment, "resumed"), i, source)
    {
        fputs("\n- gone on with: commit ", to);
        put_source(to, source);
    }
    fputs("\n- host: ", to);
    put(to, text_of(environment, "host"));
    fputs(", ", to);
    put(to, text_of(json_object_get(environment, "cpu"), "name"));
    fputs("\n- everything else: [environment.json](environment.json)\n", to);
    json_decref(environment);
    return DG_OK;
}

static dg_status put_file(FILE *to, const sweep_work *w, const char *name)
{
    char path[DG_PATH_MAX], *text;
    int64_t length;
    DG_TRY(dg_path_join(path, w->plan.folder, name));
    DG_TRY(dg_file_read(path, name, TEXT_LIMIT, &text, &length));
    fwrite(text, 1, (size_t)length, to);
    fputc('\n', to);
    dg_free(&text);
    return DG_OK;
}

/* What the report is made of besides the experiments. */
typedef struct parts {
    bool compared[DG_SWEEP_SEEDS_MAX]; /* one, or one a seed */
    int comparisons, pages;
    dg_figure_result figure;
} parts;

static void comparison_suffix(const sweep_work *w, int index, char text[32])
{
    text[0] = '\0';
    if (w->plan.split == DG_SWEEP_PER_SEED) snprintf(text, 32, "-s%lld", (long long)w->plan.seed[index]);
}

/* A claim needs both: significant over patients, and more than what another seed would have made of it. */
static dg_status put_claims(FILE *to, const sweep_work *w, const char *suffix)
{
    char name[64];
    snprintf(name, sizeof name, "comparison%s.json", suffix);
    json_t *root, *item;
    DG_TRY(dg_run_folder_read_json(w->plan.folder, name, &root));
    const json_t *list = json_object_get(json_object_get(root, "primary"), "comparisons");
    size_t i;
    json_array_foreach(list, i, item)
    {
        const json_t *rule = json_object_get(item, "seed_rule");
        const bool significant = json_is_true(json_object_get(item, "significant"));
        const bool passed = json_is_true(json_object_get(rule, "passed"));
        fputs("- **", to);
        put(to, text_of(item, "condition"));
        if (significant && passed)
            fprintf(to, "**: differs from the reference, %+.4g\n",
                    json_number_value(json_object_get(item, "mean_difference")));
        else
            fprintf(to, "**: no difference is claimed (%s over patients, %s than 2 standard deviations over seeds)\n",
                    significant ? "significant" : "not significant", passed ? "more" : "not more");
    }
    json_decref(root);
    fputc('\n', to);
    return DG_OK;
}

static dg_status put_results(FILE *to, const sweep_work *w, const parts *p)
{
    char suffix[32], name[64];
    fputs("\n## Results\n\n", to);
    if (w->plan.split == DG_SWEEP_PER_SEED)
        fputs("Each seed has patients of its own, so seeds are compared one by one.\n\n", to);
    for (int i = 0; i < p->comparisons; i++) {
        comparison_suffix(w, i, suffix);
        if (suffix[0] != '\0') fprintf(to, "### Seed %lld\n\n", (long long)w->plan.seed[i]);
        snprintf(name, sizeof name, "comparison%s.md", suffix);
        if (!p->compared[i]) {
            fputs("Nothing to compare yet, or the comparison failed (log/compare.log).\n", to);
            continue;
        }
        DG_TRY(put_claims(to, w, suffix));
        DG_TRY(put_file(to, w, name));
    }
    fputs("\n## Figures\n\n", to);
    if (p->figure.drawn) {
        fprintf(to, "![seeds](figures/%s.png)\n\n", p->figure.name);
        put(to, p->figure.caption);
        fprintf(to, " ([PDF](figures/%s.pdf))\n", p->figure.name);
    } else {
        fputs("No figure of seeds: ", to);
        put(to, p->figure.reason);
        fputs(".\n", to);
    }
    if (p->pages > 0)
        fprintf(to,
                "\nA page with training curves, cases and figures for %d of the runs: "
                "[pages/index.html](pages/index.html)\n",
                p->pages);
    return DG_OK;
}

static dg_status write_report(const sweep_work *w, const parts *p, const json_t *experiments)
{
    char path[DG_PATH_MAX], *text = NULL;
    size_t length;
    FILE *to = open_memstream(&text, &length);
    if (to == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for the report");
    fprintf(to, "# Sweep %s\n\n%d conditions x %d seeds%s", w->plan.name, w->plan.conditions, w->plan.seeds,
            w->plan.split == DG_SWEEP_KFOLD ? " x folds" : "");
    if (w->steps > 0)
        fprintf(to, "; every run has %lld steps of %lld samples, %lld in all.\n\n", (long long)w->steps,
                (long long)w->batch, (long long)(w->steps * w->batch));
    else
        fprintf(to, "; every run has %g epochs in steps of %lld samples.\n\n", w->epochs, (long long)w->batch);
    put_experiments(to, experiments);
    dg_status status = put_results(to, w, p);
    if (status == DG_OK) status = sweep_put_ensembles(w, to);
    put_changes(to, experiments);
    if (status == DG_OK) status = put_splits(to, w);
    put_runs(to, experiments);
    if (status == DG_OK) status = put_environment(to, w);
    const bool good = fclose(to) == 0 && text != NULL;
    if (status == DG_OK && !good) status = DG_FAIL(DG_ERR_MEMORY, "no memory for the report");
    if (status == DG_OK) status = dg_path_join(path, w->plan.folder, "report.md");
    if (status == DG_OK) status = dg_file_write(path, text, (int64_t)length);
    free(text);
    return status;
}

dg_status sweep_report(sweep_work *w)
{
    parts p = {.comparisons = w->plan.split == DG_SWEEP_PER_SEED ? w->plan.seeds : 1};
    json_t *experiments;
    char suffix[32];
    for (int i = 0; i < p.comparisons; i++) {
        comparison_suffix(w, i, suffix);
        DG_TRY(compare(w, suffix[0] == '\0' ? -1 : i, suffix, &p.compared[i]));
    }
    if (w->s->figures) DG_TRY(dg_figures_available());
    DG_TRY(draw_seeds(w, &p.figure));
    DG_TRY(make_pages(w, &p.pages));
    DG_TRY(sweep_write_experiments(w));
    DG_TRY(sweep_experiments_json(w, &experiments));
    dg_status status = write_report(w, &p, experiments);
    json_decref(experiments);
    return status;
}
