/* sweep.c - `dosegrid sweep`: conditions x seeds, each trained, predicted and evaluated, then compared and reported;
 * on this machine or as batch jobs. One process, which starts the others. SPDX-License-Identifier: Apache-2.0 */
#include "sweep_impl.h"

#include "dg_mem.h"
#include "dg_mpi.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AT(field) .offset = offsetof(sweep_settings, field)
/* clang-format off */
static const dg_option own_rows[] = {
    {.key = "sweep.output", .flag = "output", .letter = 'o', .type = DG_OPT_STRING, AT(output), .fallback = "", .unit = "",
     .help = "folder of the sweep: a copy of its files, a folder for each experiment, report.md"},
    {.key = "sweep.jobs", .flag = "jobs", .letter = 'j', .type = DG_OPT_INT, AT(jobs), .min = 1, .max = SWEEP_JOBS_MAX,
     .fallback = "1", .unit = "runs", .help = "runs at a time, which share this machine's cores and --gpus; with --submit, tasks of an array at a time"},
    {.key = "sweep.resume", .flag = "resume", .type = DG_OPT_BOOL, AT(resume), .fallback = "false", .unit = "",
     .help = "goes on with the sweep in the folder; what failed is tried again"},
    {.key = "sweep.finish", .flag = "finish", .type = DG_OPT_BOOL, AT(finish), .fallback = "false", .unit = "",
     .help = "starts no run: compares and reports what is there"},
    {.key = "sweep.submit", .flag = "submit", .type = DG_OPT_BOOL, AT(submit), .fallback = "false", .unit = "",
     .help = "queues train, predict, evaluate (arrays with a task for each run) and compare as batch jobs"},
    {.key = "sweep.figures", .flag = "figures", .type = DG_OPT_BOOL, AT(figures), .fallback = "true", .unit = "",
     .help = "draws figures with gnuplot"},
    {.key = "sweep.json", .flag = "json", .type = DG_OPT_BOOL, AT(json), .fallback = "false", .unit = "",
     .help = "prints experiments.json, or the batch jobs, at the end"},
};
/* clang-format on */
enum { OWN_ROWS = sizeof own_rows / sizeof own_rows[0] };

static dg_status own_program(char path[DG_PATH_MAX])
{
    ssize_t length = readlink("/proc/self/exe", path, DG_PATH_MAX - 1);
    if (length <= 0) return DG_FAIL(DG_ERR_IO, "this program's own path cannot be read");
    path[length] = '\0';
    return DG_OK;
}

/* The --set words of the command line, as train will get them. */
static dg_status keep_settings(sweep_work *w, int argc, char *const *argv)
{
    for (int i = 0; i < argc; i++) {
        const bool apart = strcmp(argv[i], "--set") == 0 && i + 1 < argc, joined = strncmp(argv[i], "--set=", 6) == 0;
        if (!apart && !joined) continue;
        if (w->sets + 3 > SWEEP_WORDS_MAX / 2)
            return DG_FAIL(DG_ERR_USAGE, "more than %d --set: write them into the sweep file", SWEEP_WORDS_MAX / 4);
        w->set[w->sets++] = argv[i];
        if (apart) w->set[w->sets++] = argv[++i];
    }
    return DG_OK;
}

/* ---- the sweep's own copy of its files --------------------------------------------------------------------------- */

static int line_of_difference(const char *a, const char *b)
{
    int line = 1;
    for (; *a != '\0' && *a == *b; a++, b++) line += *a == '\n';
    return line;
}

/* Has a run begun, here or as a batch job? Until then everything may still change. */
static bool has_begun(const char *folder)
{
    char ledger[DG_PATH_MAX], batch[DG_PATH_MAX];
    return dg_path_join(ledger, folder, "ledger.jsonl") == DG_OK && dg_path_join(batch, folder, "batch") == DG_OK &&
           (dg_file_exists(ledger) || dg_file_exists(batch));
}

/* Copies a file into the sweep's folder; once runs have begun it must be the one that is there. */
static dg_status freeze(const char *from, const char *folder, const char *name)
{
    char to[DG_PATH_MAX], *text = NULL, *there = NULL;
    int64_t length, other;
    DG_TRY(dg_path_join(to, folder, name));
    DG_TRY(dg_file_read(from, from, DG_YAML_LIMIT, &text, &length));
    dg_status status = DG_OK;
    if (!dg_file_exists(to) || !has_begun(folder)) {
        status = dg_file_write(to, text, length);
    } else {
        status = dg_file_read(to, to, DG_YAML_LIMIT, &there, &other);
        if (status == DG_OK && (length != other || memcmp(text, there, (size_t)length) != 0))
            status =
                DG_FAIL(DG_ERR_MISMATCH,
                        "%s and %s, which the sweep began with, differ from line %d on: give another folder (-o), or "
                        "undo the change",
                        from, to, line_of_difference(text, there));
    }
    dg_free(&text);
    dg_free(&there);
    return status;
}

/* A variable that is not what it was, NULL: none. A record without any was written with none. */
static const char *changed_variable(const json_t *there, json_t *now)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)there, name, value) if (!json_equal(value, json_object_get(now, name))) return name;
    json_object_foreach(now, name, value) if (json_object_get(there, name) == NULL) return name;
    return NULL;
}

/* What runs have begun with and what they would go on with. */
static dg_status compare_settings(const char *folder, const json_t *there, const json_t *now)
{
    const json_t *variables = json_object_get(there, "environment");
    const char *name = changed_variable(variables, json_object_get(now, "environment"));
    if (!json_equal(json_object_get(there, "set"), json_object_get(now, "set")))
        return DG_FAIL(DG_ERR_MISMATCH,
                       "the sweep began with other --set (%s/settings.json): repeat those, or give another folder",
                       folder);
    if (name == NULL) return DG_OK;
    const char *value = json_string_value(json_object_get(variables, name));
    return DG_FAIL(DG_ERR_MISMATCH,
                   "the sweep began with %s %s in the environment (%s/settings.json): make it so again, or give "
                   "another folder",
                   name, value == NULL ? "not set" : value, folder);
}

/* The same for the words of --set and for the variables that give settings, which all runs get too. */
static dg_status freeze_settings(const sweep_work *w, const char *folder)
{
    json_t *words, *variables, *there;
    DG_TRY(dg_run_config_environment_json(&variables));
    dg_status status = dg_run_folder_read_json(folder, "settings.json", &there);
    words = json_array();
    for (int i = 0; i < w->sets && status == DG_OK; i++)
        if (json_array_append_new(words, json_string(w->set[i])) != 0)
            status = DG_FAIL(DG_ERR_USAGE, "--set: word %d is no UTF-8", i + 1);
    json_t *now = json_pack("{s:o, s:o}", "set", words, "environment", variables);
    if (status == DG_OK && there != NULL && has_begun(folder)) status = compare_settings(folder, there, now);
    json_decref(there);
    if (status == DG_OK) return sweep_write_json(folder, "settings.json", now);
    json_decref(now);
    return status;
}

/* Copies the files into the folder, which is this sweep's now. */
static dg_status copy_files(sweep_work *w, const char *file)
{
    char base[DG_PATH_MAX], what[96];
    snprintf(what, sizeof what, "sweep '%.60s'", w->plan.name);
    DG_TRY(dg_make_folder(w->s->output));
    DG_TRY(dg_lease_take(w->s->output, what, &w->lease));
    if (w->plan.base[0] != '\0') {
        DG_TRY(dg_path_join(base, w->plan.folder, w->plan.base));
        DG_TRY(freeze(base, w->s->output, w->plan.base));
    }
    DG_TRY(freeze_settings(w, w->s->output));
    return freeze(file, w->s->output, "sweep.yaml");
}

/* Checks the sweep as it was given, then copies its files and reads the copy, which all runs will read: what is
 * refused leaves nothing behind. */
static dg_status open_folder(sweep_work *w, const char *file)
{
    char inside[DG_PATH_MAX];
    DG_TRY(dg_path_join(inside, w->s->output, "sweep.yaml"));
    if (has_begun(w->s->output) && !w->s->resume && !w->s->finish)
        return DG_FAIL(DG_ERR_USAGE,
                       "%s holds a sweep already: add --resume to go on with it, or --finish to report it",
                       w->s->output);
    DG_TRY(dg_sweep_read(file, &w->plan));
    if (strcmp(w->plan.base, "sweep.yaml") == 0)
        return DG_FAIL(DG_ERR_USAGE, "%s: base: the base configuration cannot be called sweep.yaml", file);
    DG_TRY(sweep_resolve_all(w));
    DG_TRY(copy_files(w, file));
    dg_sweep_release(&w->plan);
    DG_TRY(dg_sweep_read(inside, &w->plan));
    return sweep_resolve_all(w);
}

/* ---- the course -------------------------------------------------------------------------------------------------- */

static dg_status answer(const sweep_work *w, int *exit_code)
{
    int failed = 0, done = 0, lost = 0;
    for (int i = 0; i < w->jobs; i++) {
        failed += w->job[i].state == SWEEP_FAILED;
        done += w->job[i].state == SWEEP_DONE;
        lost += w->job[i].state == SWEEP_DONE && w->job[i].reason[0] != '\0';
    }
    dg_log_write(w->env->log, lost > 0 ? DG_LOG_WARNING : DG_LOG_INFO,
                 "%d of %d runs done, %d failed, %d lack cases; report: %s/report.md", done, w->jobs, failed, lost,
                 w->plan.folder);
    *exit_code = failed > 0 || lost > 0 ? DG_EXIT_SOME_CASES : DG_EXIT_DONE;
    if (w->s->json) {
        json_t *experiments;
        DG_TRY(dg_run_folder_read_json(w->plan.folder, "experiments.json", &experiments));
        return dg_job_print_json(w->env, experiments);
    }
    printf("%s/report.md\n", w->plan.folder);
    return DG_OK;
}

static dg_status course(sweep_work *w, int *exit_code)
{
    DG_TRY(sweep_settle_splits(w));
    DG_TRY(sweep_write_environment(w));
    DG_TRY(sweep_write_experiments(w));
    if (w->s->submit) return sweep_submit(w);
    if (!w->s->finish) DG_TRY(sweep_run_local(w));
    DG_TRY(sweep_report(w));
    return answer(w, exit_code);
}

static dg_status work(const dg_job_env *env, const sweep_settings *s, const char *file, int argc, char *const *argv,
                      int *exit_code)
{
    sweep_work *w;
    if (s->output[0] == '\0') return DG_FAIL(DG_ERR_USAGE, "-o is missing: name the folder of the sweep");
    if (s->site.gpus > 0 && s->site.gpus < s->jobs && !s->submit)
        return DG_FAIL(DG_ERR_USAGE, "--jobs %lld on %lld GPUs: a run needs one at least", (long long)s->jobs,
                       (long long)s->site.gpus);
    DG_TRY(DG_NEW(&w, 1, "sweep"));
    w->env = env;
    w->s = s;
    w->signals = -1;
    dg_status status = own_program(w->program);
    if (status == DG_OK) status = keep_settings(w, argc, argv);
    if (status == DG_OK)
        status = sweep_processes_open(w); /* before the lease's thread, which must not take signals either */
    if (status == DG_OK) status = open_folder(w, file);
    if (status == DG_OK) status = course(w, exit_code);
    sweep_processes_close(w);
    dg_lease_release(&w->lease);
    dg_sweep_release(&w->plan);
    dg_free(&w->job);
    dg_free(&w);
    return status;
}

/* Settings of a run first, then the flags: a --set that no run knows is refused at once. */
static dg_status make_table(dg_option **table, int *count)
{
    dg_option extra[SUBMIT_SITE_ROWS + OWN_ROWS];
    submit_site_rows(extra, offsetof(sweep_settings, site));
    memcpy(extra + SUBMIT_SITE_ROWS, own_rows, sizeof own_rows);
    return dg_run_config_table(extra, SUBMIT_SITE_ROWS + OWN_ROWS, table, count);
}

static dg_status run(const dg_job_env *env, int argc, char *const *argv, int *exit_code)
{
    sweep_settings *s = NULL;
    dg_option *rows = NULL;
    dg_options options;
    const char *file[1];
    bool helped;
    int count, row_count;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&s, 1, "settings"), done);
    DG_TRY_GOTO(status, make_table(&rows, &row_count), done);
    dg_job_arguments arguments = {.usage = "SWEEP.yaml -o FOLDER [--jobs N] [--resume] [--submit] [--set KEY=VALUE]...",
                                  .rows = rows,
                                  .row_count = row_count,
                                  .target = s,
                                  .positional = file,
                                  .positional_min = 1,
                                  .positional_max = 1};
    DG_TRY_GOTO(status, dg_job_read_arguments(env, &dg_job_sweep, &arguments, argc, argv, &options, &count, &helped),
                done);
    if (helped) goto done;
    dg_options_release(&options);
    if (env->comm->size > 1 || dg_mpi_launched())
        status =
            DG_FAIL(DG_ERR_USAGE,
                    "sweep is one process that starts the launchers of its runs: leave mpirun away and give --ranks");
    else
        status = work(env, s, file[0], argc, argv, exit_code);
done:
    dg_free(&rows);
    dg_free(&s);
    return dg_comm_agree(env->comm, status);
}

const dg_job dg_job_sweep = {
    .name = "sweep",
    .summary = "conditions x seeds: trained, predicted, evaluated, compared and reported, here or as batch jobs",
    .run = run};
