/* sweep_records.c - what is written about a sweep: ledger, experiments and their states.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sweep_impl.h"

#include "diff_impl.h"
#include "dg_mem.h"
#include "dg_results.h"
#include "dg_utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- ledger ------------------------------------------------------------------------------------------------------ */

dg_status sweep_ledger_add(const sweep_work *w, const char *run, const char *stage, int code, double seconds)
{
    char path[DG_PATH_MAX], line[512];
    DG_TRY(dg_path_join(path, w->plan.folder, "ledger.jsonl"));
    int length = code < 0 ? snprintf(line, sizeof line,
                                     "{\"time\": %lld, \"run\": \"%s\", \"stage\": \"%s\", \"event\": \"begin\"}\n",
                                     (long long)time(NULL), run, stage)
                          : snprintf(line, sizeof line,
                                     "{\"time\": %lld, \"run\": \"%s\", \"stage\": \"%s\", \"event\": \"end\", "
                                     "\"exit_code\": %d, \"seconds\": %.1f}\n",
                                     (long long)time(NULL), run, stage, code, seconds);
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    bool good = file >= 0 && write(file, line, (size_t)length) == length && fsync(file) == 0;
    int error = errno;
    if (file >= 0) close(file);
    return good ? DG_OK : DG_FAIL(DG_ERR_IO, "the ledger of the sweep cannot be written: %s", strerror(error));
}

/* ---- experiments ------------------------------------------------------------------------------------------------- */

/* Mean of a metric over the cases of each finished seed, and over those. */
typedef struct seed_means {
    int seeds;
    int64_t cases, of; /* with a value, and all, over the seeds */
    double mean, std;  /* ddof 1; NaN below two */
} seed_means;

static double mean_of_cases(const dg_results *results, const char *metric, seed_means *out)
{
    double sum = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < dg_results_case_count(results); i++) {
        double value = dg_results_value(results, i, metric, NULL);
        if (!isfinite(value)) continue;
        sum += value;
        count++;
    }
    out->cases += count;
    out->of += dg_results_case_count(results) + dg_results_failed_count(results);
    return count > 0 ? sum / (double)count : NAN;
}

static dg_status measure(const sweep_work *w, int condition, const char *metric, seed_means *out)
{
    double value[DG_SWEEP_SEEDS_MAX], squares = 0;
    *out = (seed_means){.mean = 0, .std = NAN};
    for (int seed = 0; seed < w->plan.seeds; seed++) {
        char path[DG_PATH_MAX];
        dg_results *results = NULL;
        DG_TRY(sweep_results_path(w, condition, seed, path));
        if (path[0] == '\0') continue;
        DG_TRY(dg_results_read(path, path, &results));
        double mean = mean_of_cases(results, metric, out);
        dg_results_destroy(&results);
        if (!isfinite(mean)) continue;
        out->mean += mean;
        value[out->seeds++] = mean;
    }
    out->mean = out->seeds > 0 ? out->mean / out->seeds : NAN;
    for (int i = 0; i < out->seeds; i++) squares += (value[i] - out->mean) * (value[i] - out->mean);
    if (out->seeds > 1) out->std = sqrt(squares / (out->seeds - 1));
    return DG_OK;
}

static json_t *number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

/* What a user may have written into an experiment.yaml that is there already. */
typedef struct kept {
    char *notes, *reason; /* owned; NULL: nothing */
    bool invalid;
    char problem[SWEEP_REASON]; /* why it cannot be read, "": it can */
} kept;

static void release_kept(kept *user)
{
    dg_free(&user->notes);
    dg_free(&user->reason);
}

static const char *text_of(const dg_yaml_node *map, const char *key)
{
    const dg_yaml_node *node = dg_yaml_get(map, key);
    return node != NULL && node->kind == DG_YAML_SCALAR && !node->is_null ? node->text : "";
}

static dg_status take_kept(const dg_yaml_node *root, kept *out)
{
    if (root->kind != DG_YAML_MAP) return DG_OK;
    out->invalid = strcmp(text_of(root, "status"), "invalid") == 0 && strcmp(text_of(root, "status_by"), "sweep") != 0;
    if (out->invalid) DG_TRY(dg_string_copy(text_of(root, "reason"), &out->reason));
    return dg_yaml_get(root, "notes") != NULL ? dg_string_copy(text_of(root, "notes"), &out->notes) : DG_OK;
}

/* A slip of the user's pen must not stop what runs: the problem is told, and the file left as it is. */
static dg_status read_kept(const char *path, kept *out)
{
    char *text = NULL;
    int64_t length;
    dg_yaml_node *root = NULL;
    *out = (kept){.notes = NULL};
    if (!dg_file_exists(path)) return DG_OK;
    dg_status status = dg_file_read(path, "experiment.yaml", DG_YAML_LIMIT, &text, &length);
    if (status == DG_OK) status = dg_yaml_read_text(text, (size_t)length, "experiment.yaml", &root);
    if (status == DG_OK) status = take_kept(root, out);
    dg_yaml_destroy(&root);
    dg_free(&text);
    if (status == DG_OK || status == DG_ERR_MEMORY) return status;
    snprintf(out->problem, sizeof out->problem, "its file is left as it is until it can be read: %.260s",
             dg_error_last()->text);
    dg_utf8_clean(out->problem);
    dg_error_clear();
    return DG_OK;
}

/* planned, running, preliminary, complete or invalid, and why. A single seed tells nothing about seeds: it is
 * preliminary. */
static const char *judge(const sweep_work *w, int condition, int *finished, char reason[SWEEP_REASON])
{
    const int each = w->plan.seeds * w->plan.folds;
    bool running = false;
    const sweep_job *failed = NULL, *lost = NULL;
    *finished = 0;
    reason[0] = '\0';
    for (int seed = 0; seed < w->plan.seeds; seed++) {
        bool whole = true;
        for (int fold = 0; fold < w->plan.folds; fold++) {
            const sweep_job *job = &w->job[condition * each + seed * w->plan.folds + fold];
            whole = whole && job->state == SWEEP_DONE;
            running = running || job->state == SWEEP_RUNNING;
            if (job->state == SWEEP_FAILED) failed = job;
            if (job->state == SWEEP_DONE && job->reason[0] != '\0') lost = job;
        }
        *finished += whole;
    }
    const sweep_job *told = failed != NULL ? failed : lost;
    if (told != NULL) snprintf(reason, SWEEP_REASON, "run %.80s: %.220s", told->run.name, told->reason);
    dg_utf8_clean(reason);
    if (running) return "running";
    if (failed != NULL && *finished == 0) return "invalid";
    if (*finished == 0) return "planned";
    if (*finished == w->plan.seeds && *finished > 1) return "complete";
    const size_t used = strlen(reason);
    if (failed == NULL)
        snprintf(reason + used, SWEEP_REASON - used, "%s%d of %d seeds%s", used > 0 ? "; " : "", *finished,
                 w->plan.seeds, *finished == 1 ? ": one seed alone is preliminary" : " are finished");
    return "preliminary";
}

static dg_status add_run(const sweep_job *job, json_t *runs)
{
    static const char *const states[] = {"planned", "running", "complete", "invalid"};
    json_t *environment = NULL, *summary = NULL, *run = NULL;
    dg_status status;
    DG_TRY_GOTO(status, dg_run_folder_read_json(job->folder, "environment.json", &environment), cleanup);
    DG_TRY_GOTO(status, dg_run_folder_read_json(job->folder, "training_summary.json", &summary), cleanup);
    run = json_pack("{s:s, s:s, s:s, s:s?, s:O?, s:O?, s:O?, s:O?, s:O?, s:O?, s:O?, s:O?}", "name", job->run.name,
                    "folder", job->folder, "status", states[job->state], "reason",
                    job->reason[0] != '\0' ? job->reason : NULL, "commit", json_object_get(environment, "commit"),
                    "command", json_object_get(environment, "command"), "monitor", json_object_get(summary, "monitor"),
                    "best", json_object_get(summary, "best"), "best_step", json_object_get(summary, "best_step"),
                    "steps", json_object_get(summary, "step"), "seconds", json_object_get(summary, "seconds"),
                    "weights_sha256", json_object_get(summary, "weights_sha256"));
    json_array_append_new(runs, run);
cleanup:
    json_decref(environment);
    json_decref(summary);
    return status;
}

static dg_status targets_json(const sweep_work *w, int condition, json_t **out)
{
    const dg_sweep_condition *c = &w->plan.condition[condition];
    *out = json_array();
    for (int i = 0; i < c->targets; i++) {
        const dg_sweep_target *target = &c->target[i];
        seed_means means;
        DG_TRY(measure(w, condition, target->metric, &means));
        const bool known = means.seeds > 0,
                   pass = target->at_most ? means.mean <= target->limit : means.mean >= target->limit;
        json_array_append_new(*out, json_pack("{s:s, s:f, s:o, s:I, s:I, s:s}", "metric", target->metric,
                                              target->at_most ? "at_most" : "at_least", target->limit, "value",
                                              number(means.mean), "cases", (json_int_t)means.cases, "of",
                                              (json_int_t)means.of, "verdict",
                                              !known ? "unknown"
                                              : pass ? "pass"
                                                     : "fail"));
    }
    return DG_OK;
}

/* What the condition changes against the reference: `diff` is over the sweep's conditions, the reference first. */
static json_t *changes_json(const sweep_work *w, const json_t *diff, int condition)
{
    if (condition == w->plan.reference || diff == NULL) return json_array();
    return dg_diff_changes(diff, condition < w->plan.reference ? condition + 1 : condition);
}

/* Lists of an experiment: its targets, runs and seeds. */
static dg_status lists_json(const sweep_work *w, int condition, json_t *out)
{
    const int each = w->plan.seeds * w->plan.folds;
    json_t *targets = NULL, *runs = json_array(), *seeds = json_array();
    dg_status status = targets_json(w, condition, &targets);
    for (int i = 0; i < each && status == DG_OK; i++) status = add_run(&w->job[condition * each + i], runs);
    for (int i = 0; i < w->plan.seeds; i++) json_array_append_new(seeds, json_integer((json_int_t)w->plan.seed[i]));
    json_object_set_new(out, "targets", targets);
    json_object_set_new(out, "seeds", seeds);
    json_object_set_new(out, "runs", runs);
    return status;
}

static dg_status experiment_json(const sweep_work *w, int condition, const json_t *diff, json_t **out)
{
    char folder[DG_PATH_MAX], path[DG_PATH_MAX], reason[SWEEP_REASON];
    const dg_sweep_condition *c = &w->plan.condition[condition];
    kept user;
    int finished;
    DG_TRY(dg_sweep_condition_folder(&w->plan, condition, folder));
    DG_TRY(dg_path_join(path, folder, "experiment.yaml"));
    dg_status status = read_kept(path, &user);
    const char *state = judge(w, condition, &finished, reason);
    if (status == DG_OK) {
        *out = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:o, s:s}", "name", c->name, "hypothesis", c->hypothesis,
                         "reference", w->plan.condition[w->plan.reference].name, "status",
                         user.invalid ? "invalid" : state, "status_by", user.invalid ? "user" : "sweep", "reason",
                         user.invalid ? user.reason : reason, "seeds_finished", finished, "changes",
                         changes_json(w, diff, condition), "notes", user.notes != NULL ? user.notes : c->notes);
        if (*out == NULL) status = DG_FAIL(DG_ERR_MEMORY, "no memory for experiment %s", c->name);
    }
    if (status == DG_OK && user.problem[0] != '\0') json_object_set_new(*out, "unreadable", json_string(user.problem));
    if (status == DG_OK) status = lists_json(w, condition, *out);
    release_kept(&user);
    return status;
}

static dg_status all_json(const sweep_work *w, const json_t *diff, json_t *list)
{
    for (int condition = 0; condition < w->plan.conditions; condition++) {
        json_t *one = NULL;
        dg_status status = experiment_json(w, condition, diff, &one);
        if (one != NULL) json_array_append_new(list, one);
        if (status != DG_OK) return status;
    }
    return DG_OK;
}

dg_status sweep_experiments_json(const sweep_work *w, json_t **out)
{
    diff_sides *sides;
    json_t *diff = NULL;
    DG_TRY(DG_NEW(&sides, 1, "conditions"));
    *out = json_array();
    dg_status status = w->plan.conditions > 1 ? diff_sides_add_sweep(&w->plan, sides) : DG_OK;
    if (status == DG_OK && w->plan.conditions > 1) status = dg_diff_make(sides->side, sides->count, &diff);
    if (status == DG_OK) status = all_json(w, diff, *out);
    json_decref(diff);
    diff_sides_release(sides);
    dg_free(&sides);
    if (status != DG_OK) {
        json_decref(*out);
        *out = NULL;
    }
    return status;
}

/* A JSON value stands in YAML as it is. */
static void put_yaml(FILE *to, const json_t *experiment, const char *key)
{
    char *text = json_dumps(json_object_get(experiment, key), JSON_ENCODE_ANY | JSON_REAL_PRECISION(12));
    fprintf(to, "%s: %s\n", key, text == NULL ? "null" : text);
    free(text);
}

static dg_status write_experiment(const sweep_work *w, int condition, const json_t *experiment)
{
    static const char *const head[] = {"name",      "hypothesis", "reference", "status",
                                       "status_by", "reason",     "seeds",     "seeds_finished"};
    char folder[DG_PATH_MAX], path[DG_PATH_MAX], *text = NULL;
    size_t length, i;
    json_t *item;
    const json_t *unreadable = json_object_get(experiment, "unreadable");
    if (unreadable != NULL) {
        dg_log_write(w->env->log, DG_LOG_WARNING, "experiment %s: %s", w->plan.condition[condition].name,
                     json_string_value(unreadable));
        return DG_OK;
    }
    DG_TRY(dg_sweep_condition_folder(&w->plan, condition, folder));
    DG_TRY(dg_make_folder(folder));
    DG_TRY(dg_path_join(path, folder, "experiment.yaml"));
    FILE *to = open_memstream(&text, &length);
    if (to == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for experiment.yaml");
    fputs("# Written by `dosegrid sweep`. Kept when it is written again: notes; and status: invalid with reason and\n"
          "# status_by: user, which say that this experiment must not be used.\n",
          to);
    for (i = 0; i < sizeof head / sizeof head[0]; i++) put_yaml(to, experiment, head[i]);
    static const char *const lists[] = {"targets", "changes"};
    for (int k = 0; k < 2; k++) {
        const json_t *list = json_object_get(experiment, lists[k]);
        fprintf(to, "%s:%s\n", lists[k], json_array_size(list) == 0 ? " []" : "");
        json_array_foreach(list, i, item)
        {
            char *line = json_dumps(item, JSON_ENCODE_ANY | JSON_REAL_PRECISION(12));
            fprintf(to, "  - %s\n", line == NULL ? "null" : line);
            free(line);
        }
    }
    put_yaml(to, experiment, "notes");
    const bool good = fclose(to) == 0 && text != NULL;
    dg_status status =
        good ? dg_file_write(path, text, (int64_t)length) : DG_FAIL(DG_ERR_MEMORY, "no memory for experiment.yaml");
    free(text);
    return status;
}

dg_status sweep_write_experiments(const sweep_work *w)
{
    json_t *list, *item;
    size_t i;
    DG_TRY(sweep_experiments_json(w, &list));
    dg_status status = DG_OK;
    json_array_foreach(list, i, item)
    {
        if (status == DG_OK) status = write_experiment(w, (int)i, item);
    }
    if (status != DG_OK) {
        json_decref(list);
        return status;
    }
    return sweep_write_json(w->plan.folder, "experiments.json",
                            json_pack("{s:s, s:i, s:s, s:I, s:f, s:I, s:o}", "format", "dosegrid-sweep", "version", 1,
                                      "name", w->plan.name, "steps", (json_int_t)w->steps, "epochs", w->epochs, "batch",
                                      (json_int_t)w->batch, "experiments", list));
}
