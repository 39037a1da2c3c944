/* status.c - `dosegrid status`: how far runs are, read from what they write anyway (metrics.csv, training_config.json,
 * training_summary.json, checkpoints/, run.lock, log/heartbeat-*), so it works on a live run and on a dead one. Rank 0
 * works.
 * SPDX-License-Identifier: Apache-2.0 */
#include "job.h"

#include "dg_file.h"
#include "dg_heartbeat.h"
#include "dg_mem.h"
#include "run_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { RUNS_MAX = 256, COLUMNS_MAX = 64, RATE_ROWS = 200, CSV_LIMIT = 1 << 30 };

typedef struct settings {
    bool json;
    char dir[DG_OPT_TEXT];
} settings;

static const dg_option rows[] = {{.key = "json",
                                  .flag = "json",
                                  .type = DG_OPT_BOOL,
                                  .offset = offsetof(settings, json),
                                  .fallback = "false",
                                  .unit = "",
                                  .help = "answer as JSON"},
                                 {.key = "dir",
                                  .flag = "dir",
                                  .type = DG_OPT_STRING,
                                  .offset = offsetof(settings, dir),
                                  .fallback = "runs",
                                  .unit = "",
                                  .help = "folder of runs that is listed when no run is named"}};

typedef struct progress {
    int64_t step, steps;        /* steps 0: not known */
    double seconds, minutes;    /* minutes 0: no limit */
    double steps_per_s, left_s; /* NaN: not known */
    double best;                /* NaN: no validation yet */
    int64_t best_step;
    char best_name[32];
    double checkpoint_age_s; /* NaN: none */
    const char *state;       /* "running", "done", "stopped" */
    int ranks;               /* with a heartbeat; 0: the run ended by itself, or keeps none */
    dg_pulse slowest;        /* of them: the one without a mark for longest that does not wait for others */
} progress;

/* A live run writes its heartbeat each second. */
static const double QUIET_S = 5;

/* Columns of metrics.csv that are used; -1: absent. */
typedef struct columns {
    int step, seconds, score;
} columns;

static int split_line(char *line, char *field[COLUMNS_MAX])
{
    int count = 0;
    char *part;
    while (count < COLUMNS_MAX && (part = strsep(&line, ",")) != NULL) field[count++] = part;
    return count;
}

static int column_of(char *const *field, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(field[i], name) == 0) return i;
    return -1;
}

/* The score best.h5 is chosen by, as far as the table has it. */
static int score_column(char *const *field, int count, const char *monitor, char best_name[32])
{
    const char *const names[] = {monitor, "val_dose_score", "val_mae_ptv_gy", "val_mae_gy"};
    for (int i = 0; i < 4; i++) {
        int column = column_of(field, count, names[i]);
        if (column < 0) continue;
        snprintf(best_name, 32, "%.31s", names[i]);
        return column;
    }
    return -1;
}

/* Takes all complete rows of the table; a row cut short by a crash ends it. */
static void read_rows(char *rest, const columns *at, progress *p)
{
    double recent_s[RATE_ROWS];
    int64_t recent_step[RATE_ROWS], taken = 0;
    char *line, *field[COLUMNS_MAX];
    while (rest != NULL && strchr(rest, '\n') != NULL) {
        line = strsep(&rest, "\n");
        int count = split_line(line, field);
        if (count <= at->step || count <= at->seconds) break;
        p->step = strtoll(field[at->step], NULL, 10);
        p->seconds = strtod(field[at->seconds], NULL);
        recent_s[taken % RATE_ROWS] = p->seconds;
        recent_step[taken % RATE_ROWS] = p->step;
        taken++;
        if (at->score < 0 || at->score >= count || field[at->score][0] == '\0') continue;
        double score = strtod(field[at->score], NULL);
        if (isfinite(score) && !(p->best <= score)) {
            p->best = score;
            p->best_step = p->step;
        }
    }
    if (taken < 2) return;
    int64_t oldest = taken <= RATE_ROWS ? 0 : taken % RATE_ROWS;
    double span = p->seconds - recent_s[oldest];
    if (span > 0) p->steps_per_s = (double)(p->step - recent_step[oldest]) / span;
}

static dg_status read_metrics(const char *folder, const char *monitor, progress *p)
{
    char path[DG_PATH_MAX], *text, *field[COLUMNS_MAX];
    int64_t length;
    DG_TRY(dg_path_join(path, folder, "metrics.csv"));
    if (!dg_file_exists(path)) return DG_OK; /* the first step is not done yet */
    DG_TRY(dg_file_read(path, "metrics.csv", CSV_LIMIT, &text, &length));
    char *rest = text, *line = strsep(&rest, "\n");
    int count = split_line(line, field);
    columns at = {.step = column_of(field, count, "step"), .seconds = column_of(field, count, "seconds")};
    at.score = score_column(field, count, monitor, p->best_name);
    dg_status status = DG_OK;
    if (at.step < 0 || at.seconds < 0)
        status = DG_FAIL(DG_ERR_FORMAT, "%s: metrics.csv has no columns step and seconds", folder);
    else
        read_rows(rest, &at, p);
    dg_free(&text);
    return status;
}

static const json_t *setting(const json_t *config, const char *key)
{
    return json_object_get(json_object_get(config, key), "value");
}

static double newest_checkpoint_age(const char *folder)
{
    char path[DG_PATH_MAX];
    struct stat info;
    double newest = NAN;
    if (dg_path_join(path, folder, "checkpoints") != DG_OK) return NAN;
    DIR *stream = opendir(path);
    if (stream == NULL) return NAN;
    for (struct dirent *item = readdir(stream); item != NULL; item = readdir(stream)) {
        size_t length = strlen(item->d_name);
        if (length < 3 || strcmp(item->d_name + length - 3, ".h5") != 0) continue;
        if (fstatat(dirfd(stream), item->d_name, &info, 0) != 0) continue;
        double age = difftime(time(NULL), info.st_mtime);
        if (!(newest <= age)) newest = age;
    }
    closedir(stream);
    return newest;
}

/* A run in progress holds the lock of run.lock for as long as its process lives. */
static bool is_held(const char *folder)
{
    char path[DG_PATH_MAX];
    if (dg_path_join(path, folder, "run.lock") != DG_OK) return false;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return false;
    bool held = flock(descriptor, LOCK_SH | LOCK_NB) != 0;
    close(descriptor);
    return held;
}

static dg_status read_heartbeat(const char *folder, progress *p)
{
    char log[DG_PATH_MAX];
    dg_pulse *pulses;
    DG_TRY(dg_path_join(log, folder, "log"));
    DG_TRY(dg_heartbeat_read(log, &pulses, &p->ranks));
    for (int i = 0; i < p->ranks; i++) {
        bool waits = pulses[i].wait_age_s >= 0, waited = p->slowest.wait_age_s >= 0;
        if (i == 0 || waits < waited || (waits == waited && pulses[i].mark_age_s > p->slowest.mark_age_s))
            p->slowest = pulses[i];
    }
    dg_free(&pulses);
    return DG_OK;
}

static void find_left(progress *p)
{
    p->left_s = NAN;
    if (strcmp(p->state, "done") == 0)
        p->left_s = 0;
    else if (p->steps > 0 && p->steps_per_s > 0)
        p->left_s = (double)(p->steps - p->step) / p->steps_per_s;
    double budget = p->minutes * 60 - p->seconds;
    if (p->minutes > 0 && p->left_s != 0 && !(p->left_s < budget)) p->left_s = fmax(budget, 0);
}

static dg_status read_run(const char *folder, progress *p)
{
    json_t *config = NULL, *summary = NULL;
    dg_status status;
    *p = (progress){.steps_per_s = NAN, .left_s = NAN, .best = NAN, .best_step = -1};
    if (!dg_file_exists(folder)) return DG_FAIL(DG_ERR_IO, "run %s: there is no such folder", folder);
    DG_TRY_GOTO(status, dg_run_folder_read_json(folder, "training_config.json", &config), cleanup);
    DG_TRY_GOTO(status, dg_run_folder_read_json(folder, "training_summary.json", &summary), cleanup);
    const char *monitor = json_string_value(setting(config, "train.monitor"));
    p->steps = json_integer_value(setting(config, "train.steps"));
    p->minutes = json_number_value(setting(config, "train.minutes"));
    DG_TRY_GOTO(status, read_metrics(folder, monitor == NULL ? "" : monitor, p), cleanup);
    p->checkpoint_age_s = newest_checkpoint_age(folder);
    DG_TRY_GOTO(status, read_heartbeat(folder, p), cleanup);
    bool done = summary != NULL && json_integer_value(json_object_get(summary, "step")) >= p->step;
    p->state = is_held(folder) ? "running" : done ? "done" : "stopped"; /* a summary may be older than a resumed run */
    find_left(p);
cleanup:
    json_decref(config);
    json_decref(summary);
    return status;
}

/* A number, or null where there is none. */
static json_t *number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static json_t *heartbeat_json(const progress *p)
{
    const dg_pulse *s = &p->slowest;
    if (p->ranks == 0) return json_null();
    return json_pack("{s:i, s:f, s:i, s:s, s:i, s:s, s:I, s:f, s:f, s:b}", "ranks", p->ranks, "age_s", s->beat_age_s,
                     "slowest_rank", s->rank, "host", s->host, "process", s->pid, "phase", dg_phase_name(s->phase),
                     "step", (json_int_t)s->step, "phase_s", s->phase_age_s, "silent_s", s->mark_age_s, "waits",
                     s->wait_age_s >= 0);
}

static json_t *progress_json(const char *folder, const progress *p)
{
    return json_pack("{s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "run", folder, "state", p->state,
                     "step", (json_int_t)p->step, "steps", p->steps > 0 ? json_integer(p->steps) : json_null(),
                     "seconds", number(p->seconds), "steps_per_s", number(p->steps_per_s), "left_s", number(p->left_s),
                     "best", number(p->best), "best_step", p->best_step >= 0 ? json_integer(p->best_step) : json_null(),
                     "monitor", p->best_step >= 0 ? json_string(p->best_name) : json_null(), "checkpoint_age_s",
                     number(p->checkpoint_age_s), "heartbeat", heartbeat_json(p));
}

static void span_text(double seconds, char text[32])
{
    if (!isfinite(seconds))
        snprintf(text, 32, "-");
    else if (seconds < 120)
        snprintf(text, 32, "%.0f s", seconds);
    else if (seconds < 7200)
        snprintf(text, 32, "%.0f min", seconds / 60);
    else
        snprintf(text, 32, "%.1f h", seconds / 3600);
}

static void print_heartbeat(const progress *p)
{
    const dg_pulse *s = &p->slowest;
    char seen[32], silent[32];
    span_text(s->beat_age_s, seen);
    span_text(s->mark_age_s, silent);
    if (strcmp(p->state, "running") != 0 || s->beat_age_s > QUIET_S)
        printf("    last sign of life %s ago:", seen);
    else
        printf("    %d rank%s alive; the slowest:", p->ranks, p->ranks == 1 ? "" : "s");
    printf(" rank %d on %s (process %d), phase %s of step %lld", s->rank, s->host, s->pid, dg_phase_name(s->phase),
           (long long)s->step);
    if (s->wait_age_s >= 0) printf(", waits in %s", s->wait);
    printf(", no mark for %s\n", silent);
}

static void print_progress(const char *folder, const progress *p)
{
    char of[32] = "", left[32], age[32], best[96] = "-";
    span_text(p->left_s, left);
    span_text(p->checkpoint_age_s, age);
    if (p->steps > 0) snprintf(of, sizeof of, " of %lld", (long long)p->steps);
    if (p->best_step >= 0)
        snprintf(best, sizeof best, "%s %.4g at step %lld", p->best_name, p->best, (long long)p->best_step);
    printf("%s: %s, step %lld%s", folder, p->state, (long long)p->step, of);
    if (isfinite(p->steps_per_s)) printf(", %.3g steps/s", p->steps_per_s);
    printf(", left %s, best %s, last checkpoint %s ago\n", left, best, age);
    if (p->ranks > 0) print_heartbeat(p);
}

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

/* Folders of `dir` that look like runs. */
static dg_status list_runs(const char *dir, char (*run)[DG_PATH_MAX], int *count)
{
    char lock[DG_PATH_MAX];
    DIR *stream = opendir(dir);
    if (stream == NULL)
        return DG_FAIL(DG_ERR_USAGE, "there is no folder %s; name a run, or the folder of runs with --dir", dir);
    dg_status status = DG_OK;
    for (struct dirent *item = readdir(stream); item != NULL && *count < RUNS_MAX; item = readdir(stream)) {
        if (item->d_name[0] == '.') continue;
        status = dg_path_join(run[*count], dir, item->d_name);
        if (status == DG_OK) status = dg_path_join(lock, run[*count], "training_config.json");
        if (status != DG_OK) break;
        *count += dg_file_exists(lock);
    }
    closedir(stream);
    qsort(run, (size_t)*count, sizeof *run, by_name);
    return status;
}

static dg_status report(const dg_job_env *env, const settings *s, const char *const *named, int count)
{
    char(*listed)[DG_PATH_MAX] = NULL;
    json_t *all = json_array();
    dg_status status;
    DG_TRY_GOTO(status, dg_alloc(&listed, RUNS_MAX, sizeof *listed, "list of runs"), cleanup);
    bool lists = count == 0;
    if (lists) DG_TRY_GOTO(status, list_runs(s->dir, listed, &count), cleanup);
    for (int i = 0; i < count; i++) {
        progress p;
        const char *folder = lists ? listed[i] : named[i];
        DG_TRY_GOTO(status, read_run(folder, &p), cleanup);
        if (s->json)
            json_array_append_new(all, progress_json(folder, &p));
        else
            print_progress(folder, &p);
    }
    if (s->json)
        status = dg_job_print_json(env, json_incref(all));
    else if (count == 0)
        printf("no runs in %s\n", s->dir);
cleanup:
    json_decref(all);
    dg_free(&listed);
    return status;
}

static dg_status run(const dg_job_env *env, int argc, char *const *argv, int *exit_code)
{
    settings s;
    dg_options options;
    const char *named[RUNS_MAX];
    bool helped;
    int count;
    dg_job_arguments arguments = {.usage = "[RUN_FOLDER...] [--dir FOLDER] [--json]",
                                  .rows = rows,
                                  .row_count = sizeof rows / sizeof rows[0],
                                  .target = &s,
                                  .positional = named,
                                  .positional_max = RUNS_MAX};
    DG_TRY(dg_job_read_arguments(env, &dg_job_status, &arguments, argc, argv, &options, &count, &helped));
    if (helped) return DG_OK;
    dg_options_release(&options);
    return env->comm->rank == 0 ? report(env, &s, named, count) : DG_OK;
}

const dg_job dg_job_status = {
    .name = "status", .summary = "step, rate, time left, best score and last checkpoint of runs", .run = run};
