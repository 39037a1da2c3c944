/* report.c - `dosegrid report`: runs and results of evaluations, or a cohort, as HTML pages that open from disk. Rank 0 works.
 * SPDX-License-Identifier: Apache-2.0 */
#include "report_job_impl.h"

#include "dg_mem.h"
#include "run_folder.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char *const word_none[] = {"none", NULL};
static const char *const word_extremes[] = {"extremes", NULL};

#define AT(field) .offset = offsetof(report_settings, field)
/* clang-format off */
static const dg_option rows[] = {
    {.key = "report.output", .flag = "output", .letter = 'o', .type = DG_OPT_STRING, AT(output), .fallback = "", .unit = "",
     .help = "folder of the report"},
    {.key = "report.cohort", .flag = "cohort", .type = DG_OPT_STRING, AT(cohort), .fallback = "", .unit = "",
     .help = "cohort of the evaluation, for the pictured cases"},
    {.key = "report.predictions", .flag = "predictions", .letter = 'p', .type = DG_OPT_STRING_LIST, AT(predictions),
     .list_min = 1, .list_max = DG_OPT_STRINGS_MAX, .names = word_none, .fallback = "none", .unit = "",
     .help = "folders of predictions, one for each results file in the same order; of two, each page shows both"},
    {.key = "report.cases", .flag = "cases", .type = DG_OPT_STRING_LIST, AT(cases), .list_min = 1,
     .list_max = REPORT_CASES_MAX, .names = word_extremes, .fallback = "extremes", .unit = "",
     .help = "ids of the pictured cases: [a, b]; extremes: worst, best and nearest to the median of the run's monitor"},
    {.key = "report.max_mb", .flag = "max-mb", .type = DG_OPT_DOUBLE, AT(max_mb), .min = 1, .max = 2000, .fallback = "30",
     .unit = "MiB", .help = "bound of a page: fewer cases and figures are pictured, or voxels left out, and the page says so"},
    {.key = "report.figures", .flag = "figures", .type = DG_OPT_BOOL, AT(figures), .fallback = "true", .unit = "",
     .help = "draws the figures with gnuplot: PNG in the page, PDF beside it"},
    {.key = "report.json", .flag = "json", .type = DG_OPT_BOOL, AT(json), .fallback = "false", .unit = "",
     .help = "prints a summary as JSON"},
};
/* clang-format on */

/* ---- inputs -------------------------------------------------------------------------------------------------------- */

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static dg_status read_run(const char *folder, report_run *run)
{
    run->folder = folder;
    DG_TRY(dg_run_folder_read_json(folder, "training_config.json", &run->config));
    if (run->config == NULL)
        return DG_FAIL(DG_ERR_USAGE,
                       "%s holds no training_config.json: name run folders and results files, or one cohort", folder);
    DG_TRY(dg_run_folder_read_json(folder, "environment.json", &run->environment));
    DG_TRY(dg_run_folder_read_json(folder, "training_summary.json", &run->summary));
    const char *name = json_string_value(json_object_get(json_object_get(run->config, "run.name"), "value"));
    snprintf(run->name, sizeof run->name, "%s", name == NULL ? "run" : name);
    return DG_OK;
}

static const report_run *find_run(const report_work *w, const char *name)
{
    for (int i = 0; i < w->runs; i++)
        if (strcmp(w->run[i].name, name) == 0) return &w->run[i];
    return NULL;
}

static bool is_used(const report_work *w, const report_run *run)
{
    for (int i = 0; i < w->experiments; i++)
        if (w->experiment[i].run == run) return true;
    return false;
}

/* The title is the run's name, else the name of the results file; equal ones are told apart by a number. */
static void entitle(report_work *w, report_experiment *e, const char *path)
{
    const char *slash = path == NULL ? NULL : strrchr(path, '/'), *file = path == NULL    ? ""
                                                                          : slash == NULL ? path
                                                                                          : slash + 1;
    size_t length = strlen(file);
    if (length > 5 && strcmp(file + length - 5, ".json") == 0) length -= 5;
    const dg_results_run *judged = e->results == NULL ? NULL : dg_results_get_run(e->results);
    char name[DG_OPT_TEXT + 32];
    if (e->run != NULL)
        snprintf(name, sizeof name, "%s", e->run->name);
    else if (judged->name[0] != '\0')
        snprintf(name, sizeof name, "%s", judged->name);
    else
        snprintf(name, sizeof name, "%.*s", (int)(length < 200 ? length : 200), file);
    snprintf(e->title, sizeof e->title, "%s", name);
    for (int number = 2;; number++) {
        bool taken = false;
        for (int i = 0; i < w->experiments; i++) taken = taken || strcmp(w->experiment[i].title, e->title) == 0;
        if (!taken) return;
        snprintf(e->title, sizeof e->title, "%s (%d)", name, number);
    }
}

/* Takes the results; `path` is their file. */
static void add_experiment(report_work *w, const report_run *run, dg_results *results, const char *path)
{
    report_experiment *e = &w->experiment[w->experiments];
    char names[2 * REPORT_INPUTS_MAX][80];
    e->run = run;
    e->results = results;
    entitle(w, e, path);
    for (int i = 0; i < w->experiments; i++) memcpy(names[i], w->experiment[i].stem, 80);
    dg_report_file_stem(e->title, (const char(*)[80])names, w->experiments, e->stem);
    w->experiments++;
}

/* Results go to the run of their name; to the only run where they state none. */
static dg_status add_results(report_work *w, const char *path, bool is_only)
{
    dg_results *results = NULL;
    DG_TRY(dg_results_read(path, path, &results));
    const char *name = dg_results_get_run(results)->name;
    add_experiment(w, name[0] != '\0' ? find_run(w, name) : is_only && w->runs == 1 ? &w->run[0] : NULL, results, path);
    return DG_OK;
}

static dg_status read_inputs(report_work *w, const char *const *named, int count)
{
    int results = 0;
    DG_TRY(DG_NEW(&w->run, count, "runs of a report"));
    DG_TRY(DG_NEW(&w->experiment, 2 * count, "experiments of a report"));
    for (int i = 0; i < count; i++) {
        if (is_folder(named[i]))
            DG_TRY(read_run(named[i], &w->run[w->runs++]));
        else
            results++;
    }
    if (w->s->predictions.count > 0 && w->s->predictions.count != results)
        return DG_FAIL(
            DG_ERR_USAGE,
            "%d folders of predictions for %d results files: --predictions takes one for each, in their order",
            w->s->predictions.count, results);
    if ((w->s->predictions.count > 0) != (w->s->cohort[0] != '\0'))
        return DG_FAIL(DG_ERR_USAGE, "--cohort and --predictions picture cases together: name both or neither");
    for (int i = 0, k = 0; i < count; i++) {
        if (is_folder(named[i])) continue;
        DG_TRY(add_results(w, named[i], results == 1));
        if (w->s->predictions.count > 0) w->experiment[w->experiments - 1].predictions = w->s->predictions.value[k++];
    }
    for (int i = 0; i < w->runs; i++)
        if (!is_used(w, &w->run[i])) add_experiment(w, &w->run[i], NULL, NULL);
    return DG_OK;
}

/* ---- pages --------------------------------------------------------------------------------------------------------- */

/* With two results that have predictions, each is the other's neighbour. */
static const report_experiment *neighbour(const report_work *w, int index)
{
    int found = -1, count = 0;
    for (int i = 0; i < w->experiments; i++) {
        if (w->experiment[i].predictions == NULL) continue;
        count++;
        if (i != index) found = i;
    }
    return count == 2 && found >= 0 && w->experiment[index].predictions != NULL ? &w->experiment[found] : NULL;
}

static dg_status tell(const report_work *w, const char *index_path)
{
    if (!w->s->json) {
        printf("%s\n", index_path);
        return DG_OK;
    }
    json_t *pages = json_array();
    for (int i = 0; i < w->experiments; i++) {
        const report_experiment *e = &w->experiment[i];
        char page[96];
        snprintf(page, sizeof page, "%s.html", e->stem);
        json_array_append_new(
            pages, json_pack("{s:s, s:s, s:I}", "experiment", e->title, "page", page, "bytes", (json_int_t)e->bytes));
    }
    return dg_job_print_json(w->env, json_pack("{s:s, s:o}", "report", index_path, "pages", pages));
}

static dg_status write_report(report_work *w)
{
    char path[DG_PATH_MAX];
    DG_TRY(dg_make_folder(w->s->output));
    if (w->s->cohort[0] != '\0') DG_TRY(dg_cohort_open(w->s->cohort, &w->cohort));
    if (w->s->figures) DG_TRY(dg_figures_available());
    for (int i = 0; i < w->experiments; i++) {
        DG_TRY(report_write_experiment(w, &w->experiment[i], neighbour(w, i)));
        dg_log_progress(w->env->log, "report, experiments", i + 1, w->experiments, w->experiment[i].title);
    }
    DG_TRY(report_write_index(w, path));
    return tell(w, path);
}

/* A cohort is reported alone: its contact sheet. */
static dg_status work_cohort(const dg_job_env *env, const report_settings *s, const char *named, int count,
                             int64_t *damaged)
{
    report_work w = {.env = env, .s = s};
    if (s->output[0] == '\0') return DG_FAIL(DG_ERR_USAGE, "-o is missing: name the folder of the report");
    if (count > 1 || s->cohort[0] != '\0' || s->predictions.count > 0 || s->cases.count > 0)
        return DG_FAIL(DG_ERR_USAGE,
                       "%s is a cohort: its contact sheet is made alone, of all cases, without --cohort, --predictions "
                       "and --cases",
                       named);
    DG_TRY(dg_cohort_open(named, &w.cohort));
    dg_status status = dg_make_folder(s->output);
    if (status == DG_OK) status = report_write_cohort(&w, named, damaged);
    dg_cohort_close(&w.cohort);
    return status;
}

static dg_status work(const dg_job_env *env, const report_settings *s, const char *const *named, int count,
                      int64_t *damaged)
{
    for (int i = 0; i < count; i++)
        if (report_is_cohort(named[i])) return work_cohort(env, s, named[i], count, damaged);
    report_work w = {.env = env, .s = s};
    dg_status status = DG_OK;
    if (s->output[0] == '\0') status = DG_FAIL(DG_ERR_USAGE, "-o is missing: name the folder of the report");
    if (status == DG_OK) status = read_inputs(&w, named, count);
    if (status == DG_OK) status = write_report(&w);
    for (int i = 0; i < w.experiments; i++) dg_results_destroy(&w.experiment[i].results);
    for (int i = 0; i < w.runs; i++) {
        json_decref(w.run[i].config);
        json_decref(w.run[i].environment);
        json_decref(w.run[i].summary);
    }
    dg_cohort_close(&w.cohort);
    dg_free(&w.experiment);
    dg_free(&w.run);
    return status;
}

static dg_status run(const dg_job_env *env, int argc, char *const *argv, int *exit_code)
{
    report_settings *s;
    int64_t damaged = 0;
    dg_options options;
    const char *named[REPORT_INPUTS_MAX];
    bool helped;
    int count;
    DG_TRY(DG_NEW(&s, 1, "settings"));
    dg_job_arguments arguments = {.usage = "COHORT|RUN|RESULTS... -o FOLDER [--cohort COHORT --predictions FOLDER...]",
                                  .rows = rows,
                                  .row_count = sizeof rows / sizeof rows[0],
                                  .target = s,
                                  .positional = named,
                                  .positional_min = 1,
                                  .positional_max = REPORT_INPUTS_MAX};
    dg_status status = dg_job_read_arguments(env, &dg_job_report, &arguments, argc, argv, &options, &count, &helped);
    if (status == DG_OK && !helped) {
        dg_options_release(&options);
        if (env->comm->rank == 0) status = work(env, s, named, count, &damaged);
    }
    dg_free(&s);
    status = dg_comm_agree(env->comm, status);
    if (status == DG_OK) status = dg_comm_any(env->comm, damaged, &damaged);
    if (status == DG_OK && damaged > 0) *exit_code = DG_EXIT_SOME_CASES;
    return status;
}

const dg_job dg_job_report = {
    .name = "report",
    .summary = "HTML pages on runs and results, with slices, DVH and tables, or the contact sheet of a cohort",
    .run = run};
