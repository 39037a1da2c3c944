/* evaluate.c - `dosegrid evaluate`: predictions against the doses of a cohort, shared out over ranks case by case.
 * SPDX-License-Identifier: Apache-2.0 */
#include "job.h"

#include "dg_file.h"
#include "dg_mem.h"
#include "dg_predictions.h"
#include "dg_tasks.h"
#include "evaluation.h"
#include "split.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct settings {
    char cohort[DG_OPT_TEXT], predictions[DG_OPT_TEXT], output[DG_OPT_TEXT], run[DG_OPT_TEXT];
    dg_string_list cases, train_cases; /* count 0: what there is; none */
    dg_double_list vx_gy;
    int64_t resamples, seed;
    bool json;
} settings;

static const char *const word_predicted[] = {"predicted", NULL};
static const char *const word_none[] = {"none", NULL};

#define AT(field) .offset = offsetof(settings, field)
/* clang-format off */
static const dg_option rows[] = {
    {.key = "evaluate.cohort", .flag = "cohort", .type = DG_OPT_STRING, AT(cohort), .fallback = "", .unit = "",
     .help = "cohort that holds the reference doses"},
    {.key = "evaluate.predictions", .flag = "predictions", .letter = 'p', .type = DG_OPT_STRING, AT(predictions),
     .fallback = "", .unit = "", .help = "folder of predictions, as predict writes it"},
    {.key = "evaluate.output", .flag = "output", .letter = 'o', .type = DG_OPT_STRING, AT(output), .fallback = "",
     .unit = "", .help = "results file (JSON)"},
    {.key = "evaluate.cases", .flag = "cases", .type = DG_OPT_STRING_LIST, AT(cases), .list_min = 1,
     .list_max = DG_OPT_STRINGS_MAX, .names = word_predicted, .fallback = "predicted", .unit = "",
     .help = "ids of the cases: [a, b]; predicted: all that the ledger of the predictions names"},
    {.key = "evaluate.run", .flag = "run", .type = DG_OPT_STRING, AT(run), .fallback = "", .unit = "",
     .help = "run folder: the look-up baselines learn from its training cases"},
    {.key = "evaluate.train_cases", .flag = "train-cases", .type = DG_OPT_STRING_LIST, AT(train_cases), .list_min = 1,
     .list_max = DG_OPT_STRINGS_MAX, .names = word_none, .fallback = "none", .unit = "",
     .help = "ids of cases that the look-up baselines learn from, in place of --run"},
    {.key = "evaluate.vx_gy", .flag = "vx", .type = DG_OPT_DOUBLE_LIST, AT(vx_gy), .min = 0, .max = 1000, .list_min = 1,
     .list_max = DG_EVALUATION_VX, .fallback = "[5, 20, 40, 60]", .unit = "Gy",
     .help = "doses of the V_x statistics: the share of a structure that receives at least x"},
    {.key = "evaluate.resamples", .flag = "resamples", .type = DG_OPT_INT, AT(resamples), .min = 100, .max = 1000000,
     .fallback = "10000", .unit = "", .help = "bootstrap resamples of the patients"},
    {.key = "evaluate.seed", .flag = "seed", .type = DG_OPT_INT, AT(seed), .min = 0, .max = 9007199254740992,
     .fallback = "42", .unit = "", .help = "seed of the bootstrap"},
    {.key = "evaluate.json", .flag = "json", .type = DG_OPT_BOOL, AT(json), .fallback = "false", .unit = "",
     .help = "prints the results as JSON"},
};
/* clang-format on */

typedef struct choice {
    char id[DG_CASE_ID];
    int64_t index;    /* in the cohort; -1: not there */
    char reason[256]; /* what the ledger says against its prediction, "" if nothing */
} choice;

/* What a rank holds while it evaluates. */
typedef struct work {
    const dg_job_env *env;
    const settings *s;
    dg_evaluation_config config;
    dg_cohort *cohort;
    dg_baseline *baseline;
    choice *chosen;
    int64_t count;
    int64_t *train; /* [config.train_cases] */
    /* results of this rank, one after the other; on rank 0 of all ranks after gathering */
    char *bytes;
    size_t used, room;
    const dg_case_result **result; /* [count] in order, on rank 0 */
    dg_scoreboard board[DG_CONTENDERS];
} work;

static dg_status check_settings(const settings *s)
{
    const struct {
        const char *value, *flag, *meaning;
    } needed[] = {{s->cohort, "--cohort", "the cohort with the reference doses"},
                  {s->predictions, "--predictions", "the folder of predictions"},
                  {s->output, "-o", "the results file"}};
    for (int i = 0; i < 3; i++) {
        if (needed[i].value[0] == '\0')
            return DG_FAIL(DG_ERR_USAGE, "%s is missing: name %s", needed[i].flag, needed[i].meaning);
    }
    if (s->run[0] != '\0' && s->train_cases.count > 0)
        return DG_FAIL(DG_ERR_USAGE, "--run and --train-cases both name the baselines' training cases; leave one out");
    if (!dg_file_exists(s->predictions))
        return DG_FAIL(DG_ERR_IO, "there is no folder %s; name the folder that predict wrote", s->predictions);
    return DG_OK;
}

/* ---- which cases -------------------------------------------------------------------------------------------------- */

static void choose(work *w, const char *id)
{
    choice *c = &w->chosen[w->count++];
    snprintf(c->id, sizeof c->id, "%s", id);
    c->index = dg_cohort_find(w->cohort, id);
}

static dg_status choose_named(work *w)
{
    DG_TRY(DG_NEW(&w->chosen, w->s->cases.count, "list of cases"));
    for (int i = 0; i < w->s->cases.count; i++) {
        choose(w, w->s->cases.value[i]);
        if (w->chosen[i].index < 0)
            return DG_FAIL(DG_ERR_USAGE, "case '%s' is not in the cohort", w->s->cases.value[i]);
        for (int k = 0; k < i; k++)
            if (w->chosen[k].index == w->chosen[i].index)
                return DG_FAIL(DG_ERR_USAGE, "case '%s' is named twice", w->s->cases.value[i]);
    }
    return DG_OK;
}

/* Without a ledger, as other tools write none: the cohort's cases that have a file. */
static dg_status choose_files(work *w)
{
    DG_TRY(DG_NEW(&w->chosen, dg_cohort_count(w->cohort), "list of cases"));
    for (int64_t i = 0; i < dg_cohort_count(w->cohort); i++) {
        char name[DG_CASE_ID + 8], path[DG_PATH_MAX];
        const char *id = dg_cohort_case(w->cohort, i)->id;
        snprintf(name, sizeof name, "%s.h5", id);
        DG_TRY(dg_path_join(path, w->s->predictions, name));
        if (dg_file_exists(path)) choose(w, id);
    }
    return DG_OK;
}

/* The ledger also names what predict failed at: those are missing then, not forgotten. */
static dg_status choose_cases(work *w)
{
    dg_ledger_entry *entry = NULL;
    int64_t entries = 0;
    dg_status status;
    if (w->s->cases.count > 0) return choose_named(w);
    DG_TRY_GOTO(status, dg_ledger_read(w->s->predictions, &entry, &entries), cleanup);
    if (entries > 0) {
        DG_TRY_GOTO(status, DG_NEW(&w->chosen, entries, "list of cases"), cleanup);
        for (int64_t i = 0; i < entries; i++) {
            choose(w, entry[i].id);
            if (!entry[i].done) snprintf(w->chosen[i].reason, sizeof w->chosen[i].reason, "%s", entry[i].reason);
        }
    } else {
        DG_TRY_GOTO(status, choose_files(w), cleanup);
    }
    if (w->count == 0)
        status = DG_FAIL(DG_ERR_USAGE, "%s holds no prediction of a case of this cohort", w->s->predictions);
cleanup:
    dg_free(&entry);
    return status;
}

static dg_status add_train(work *w, const char *id)
{
    int64_t index = dg_cohort_find(w->cohort, id);
    if (index < 0)
        return DG_FAIL(DG_ERR_DATA, "training case '%s' is not in this cohort; evaluate against the cohort of the run",
                       id);
    w->train[w->config.train_cases++] = index;
    return DG_OK;
}

static dg_status choose_train(work *w)
{
    const dg_string_list *named = &w->s->train_cases;
    char(*ids)[DG_CASE_ID] = NULL, path[DG_PATH_MAX];
    int64_t listed = 0;
    dg_status status;
    if (w->s->run[0] != '\0') {
        DG_TRY(dg_path_join(path, w->s->run, "test_cases.json"));
        DG_TRY(dg_split_read_part(path, DG_PART_TRAIN, &ids, &listed));
    }
    DG_TRY_GOTO(status, DG_NEW(&w->train, listed + named->count, "training cases"), cleanup);
    for (int64_t i = 0; i < listed; i++) DG_TRY_GOTO(status, add_train(w, ids[i]), cleanup);
    for (int i = 0; i < named->count; i++) DG_TRY_GOTO(status, add_train(w, named->value[i]), cleanup);
cleanup:
    dg_free(&ids);
    return status;
}

static dg_status set_up(work *w)
{
    DG_TRY(check_settings(w->s));
    if (w->env->comm->rank == 0) DG_TRY(dg_file_check_writable(w->s->output));
    DG_TRY(dg_cohort_open(w->s->cohort, &w->cohort));
    DG_TRY(choose_cases(w));
    DG_TRY(choose_train(w));
    w->config.predictions = w->s->predictions;
    w->config.vx_count = w->s->vx_gy.count;
    for (int i = 0; i < w->s->vx_gy.count; i++) w->config.vx_gy[i] = w->s->vx_gy.value[i];
    w->config.resamples = w->s->resamples;
    w->config.seed = (uint64_t)w->s->seed;
    if (w->config.train_cases == 0) return DG_OK;
    dg_target_levels(w->cohort, w->train, w->config.train_cases, w->config.level_gy);
    return dg_baseline_create(&w->baseline);
}

static void warn_seen(const work *w)
{
    int64_t seen = 0;
    for (int64_t i = 0; i < w->count; i++)
        for (int64_t k = 0; k < w->config.train_cases; k++) seen += w->chosen[i].index == w->train[k];
    if (seen > 0)
        dg_log_write(w->env->log, DG_LOG_WARNING,
                     "%lld of the %lld cases are training cases: their scores say nothing about new patients",
                     (long long)seen, (long long)w->count);
}

/* ---- sharing out -------------------------------------------------------------------------------------------------- */

typedef dg_status (*task_function)(work *w, int64_t task);

static double case_cost(const work *w, int64_t index)
{
    return index < 0 ? 0 : (double)dg_grid_voxels(&dg_cohort_case(w->cohort, index)->grid);
}

/* Runs `function` on tasks 0 .. count - 1 over all ranks and agrees on the outcome. `index` is the case of each task. */
static dg_status share_out(work *w, const char *what, int64_t count, const int64_t *index, task_function function)
{
    dg_comm *comm = w->env->comm;
    dg_tasks *tasks = NULL;
    double *cost = NULL;
    int64_t task = 0, turns = 0;
    dg_status status = DG_NEW(&cost, count, "cost of cases");
    for (int64_t i = 0; status == DG_OK && i < count; i++) cost[i] = case_cost(w, index[i]);
    status = dg_comm_agree(comm, status);
    if (status == DG_OK) status = dg_tasks_create(comm, cost, count, &tasks);
    if (status == DG_OK) {
        for (;;) {
            status = dg_tasks_next(tasks, &task);
            if (status != DG_OK || task < 0) break;
            status = function(w, task);
            if (status != DG_OK) break;
            int64_t estimate = ++turns * comm->size;
            dg_log_progress(w->env->log, what, estimate < count ? estimate : count, count, NULL);
        }
        dg_tasks_destroy(&tasks);
        status = dg_comm_agree(comm, status);
    }
    dg_free(&cost);
    return status;
}

static dg_status learn_task(work *w, int64_t task)
{
    return dg_evaluation_learn(w->cohort, w->train[task], w->config.level_gy, w->baseline);
}

static dg_status learn_baselines(work *w)
{
    int64_t count;
    if (w->baseline == NULL) return DG_OK;
    DG_TRY(share_out(w, "baselines, training cases", w->config.train_cases, w->train, learn_task));
    int64_t *sums = dg_baseline_data(w->baseline, &count);
    DG_TRY(dg_comm_all_reduce(w->env->comm, sums, count, DG_I64, DG_SUM));
    w->config.baseline = w->baseline;
    return DG_OK;
}

static dg_status keep_result(work *w, const dg_case_result *result)
{
    size_t bytes = dg_case_result_bytes(result);
    if (w->used + bytes > w->room) {
        size_t room = 2 * w->room + sizeof *result;
        DG_TRY(dg_grow(&w->bytes, w->used, room, 1, "results of cases"));
        w->room = room;
    }
    memcpy(w->bytes + w->used, result, bytes);
    w->used += bytes;
    return DG_OK;
}

static dg_status evaluate_task(work *w, int64_t task)
{
    dg_case_result *result = NULL;
    DG_TRY(DG_NEW(&result, 1, "result of a case"));
    const choice *c = &w->chosen[task];
    dg_status status = dg_evaluation_case(w->cohort, c->index, c->id, &w->config, result);
    if (result->failed && c->reason[0] != '\0')
        snprintf(result->reason, sizeof result->reason, "it was not predicted: %s", c->reason);
    result->order = task;
    if (status == DG_OK) status = keep_result(w, result);
    dg_free(&result);
    return status;
}

static dg_status evaluate_cases(work *w)
{
    int64_t *index = NULL;
    dg_status status = DG_NEW(&index, w->count, "list of cases");
    for (int64_t i = 0; status == DG_OK && i < w->count; i++) index[i] = w->chosen[i].index;
    status = dg_comm_agree(w->env->comm, status);
    if (status == DG_OK) status = share_out(w, "evaluation, cases", w->count, index, evaluate_task);
    dg_free(&index);
    return status;
}

/* Points w->result at the gathered results, in the order of the cases: each must be there once. */
static dg_status sort_results(work *w, int64_t total)
{
    int64_t found = 0;
    for (int64_t at = 0; w->bytes != NULL && at < total;) {
        const dg_case_result *r = (const dg_case_result *)(const void *)(w->bytes + at);
        if (r->order < 0 || r->order >= w->count || w->result[r->order] != NULL)
            return DG_FAIL(DG_ERR_INTERNAL, "result %lld of %lld cases came twice or is unknown", (long long)r->order,
                           (long long)w->count);
        w->result[r->order] = r;
        at += (int64_t)dg_case_result_bytes(r);
        found++;
    }
    if (found != w->count)
        return DG_FAIL(DG_ERR_INTERNAL, "%lld of %lld cases were evaluated", (long long)found, (long long)w->count);
    return DG_OK;
}

/* All results to rank 0, in the order of the cases. */
static dg_status gather(work *w)
{
    dg_comm *comm = w->env->comm;
    char *all = NULL;
    int64_t *sizes = NULL, total = 0;
    dg_status status = DG_NEW(&sizes, comm->size, "sizes of results");
    status = dg_comm_agree(comm, status);
    if (status == DG_OK) status = dg_comm_gather(comm, w->bytes, (int64_t)w->used, 0, NULL, sizes);
    if (status == DG_OK) {
        for (int r = 0; r < comm->size; r++) total += sizes[r];
        if (comm->rank == 0) status = DG_NEW(&all, total, "results of all cases");
        if (status == DG_OK && comm->rank == 0) status = DG_NEW(&w->result, w->count, "results in order");
        status = dg_comm_agree(comm, status);
    }
    if (status == DG_OK) status = dg_comm_gather(comm, w->bytes, (int64_t)w->used, 0, all, sizes);
    dg_free(&sizes);
    if (comm->rank != 0 || status != DG_OK) {
        dg_free(&all);
        return status;
    }
    dg_free(&w->bytes);
    w->bytes = all;
    return sort_results(w, total);
}

/* ---- telling ------------------------------------------------------------------------------------------------------ */

/* A number of the tables; what does not exist is a dash. */
static void print_number(double value, int width, int digits)
{
    if (isnan(value))
        printf(" %*s", width, "-");
    else
        printf(" %*.*f", width, digits, value);
}

static void print_table(const work *w)
{
    static const int shown[] = {DG_STAT_D99, DG_STAT_D98, DG_STAT_D95,   DG_STAT_D50,
                                DG_STAT_D2,  DG_STAT_D1,  DG_STAT_D01CC, DG_STAT_MEAN};
    char(*seen)[DG_STRUCTURE_NAME] = NULL;
    int64_t names = 0, cases;
    if (DG_NEW(&seen, DG_STRUCTURES_MAX, "names of structures") != DG_OK) return;
    printf("\nDVH, mean |prediction - reference| in Gy over cases\n%-20s %5s", "structure", "cases");
    for (size_t k = 0; k < sizeof shown / sizeof *shown; k++) printf(" %7s", dg_dose_statistic_name(shown[k]));
    printf("\n");
    for (int64_t i = 0; i < w->count; i++)
        for (int64_t s = 0; s < w->result[i]->structure_count; s++) {
            const char *name = w->result[i]->structure[s].name;
            int64_t known = 0;
            while (known < names && strcmp(seen[known], name) != 0) known++;
            if (known < names || names == DG_STRUCTURES_MAX) continue;
            snprintf(seen[names++], DG_STRUCTURE_NAME, "%s", name);
            (void)dg_evaluation_mean_error(w->result, w->count, name, DG_STAT_MEAN, &cases);
            printf("%-20s %5lld", name, (long long)cases);
            for (size_t k = 0; k < sizeof shown / sizeof *shown; k++)
                print_number(dg_evaluation_mean_error(w->result, w->count, name, shown[k], &cases), 7, 2);
            printf("\n");
        }
    dg_free(&seen);
}

static void print_score(double score, const dg_interval *interval)
{
    char text[64] = "";
    print_number(score, 10, 3);
    if (!isnan(interval->low)) snprintf(text, sizeof text, "[%.3f, %.3f]", interval->low, interval->high);
    printf(" %-17s", text);
}

static void print_board(const dg_scoreboard *board, const char *who)
{
    printf("%-15s", who);
    for (int region = 0; region < DG_DOSE_REGIONS; region++) print_number(board->mae_gy[region], 15, 3);
    print_score(dg_openkbp_dose_score(&board->openkbp), &board->dose_score);
    print_score(dg_openkbp_dvh_score(&board->openkbp), &board->dvh_score);
    printf("\n");
}

static void print_summary(const work *w, int64_t failed)
{
    printf("%lld cases evaluated, %lld failed\n", (long long)(w->count - failed), (long long)failed);
    print_table(w);
    printf("\nMean absolute error, dose score and DVH score (OpenKBP) in Gy; [95 %% bootstrap interval over patients]\n"
           "%-15s",
           "");
    for (int region = 0; region < DG_DOSE_REGIONS; region++) printf(" %15s", dg_dose_region_name(region));
    printf(" %10s %-17s %10s\n", "dose score", "", "DVH score");
    for (int who = 0; who < DG_CONTENDERS; who++)
        if (who == DG_NETWORK || w->config.baseline != NULL) print_board(&w->board[who], dg_contender_name(who));
    if (w->config.baseline == NULL) printf("no baselines: name the run (--run) or training cases (--train-cases)\n");
}

static dg_status write_results(const work *w, json_t *root)
{
    char *text = root == NULL ? NULL : json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(15));
    if (text == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for the results of %lld cases", (long long)w->count);
    dg_status status = dg_file_write(w->s->output, text, (int64_t)strlen(text));
    free(text);
    return status;
}

/* Rank 0: scores, file, table. Returns how many cases failed. */
static dg_status report(work *w, int64_t *failed)
{
    dg_status status;
    for (int who = 0; who < DG_CONTENDERS; who++)
        DG_TRY(dg_scoreboard_make(w->result, w->count, who, &w->config, &w->board[who]));
    for (int64_t i = 0; i < w->count; i++) {
        if (!w->result[i]->failed) continue;
        ++*failed;
        dg_log_write(w->env->log, DG_LOG_WARNING, "case %s: %s", w->result[i]->id, w->result[i]->reason);
    }
    json_t *root = dg_evaluation_to_json(w->result, w->count, &w->config, w->board);
    status = write_results(w, root);
    if (status == DG_OK && w->s->json)
        status = dg_job_print_json(w->env, json_incref(root));
    else if (status == DG_OK)
        print_summary(w, *failed);
    json_decref(root);
    if (status == DG_OK && *failed == w->count)
        status = DG_FAIL(DG_ERR_DATA, "none of the %lld cases could be evaluated; the first, %s: %.300s",
                         (long long)w->count, w->result[0]->id, w->result[0]->reason);
    return status;
}

static void release(work *w)
{
    dg_baseline_destroy(&w->baseline);
    dg_cohort_close(&w->cohort);
    dg_free(&w->chosen);
    dg_free(&w->train);
    dg_free(&w->bytes);
    dg_free(&w->result);
}

static dg_status evaluate(const dg_job_env *env, const settings *s, int *exit_code)
{
    work *w = NULL;
    int64_t failed = 0;
    dg_status status = DG_NEW(&w, 1, "evaluation");
    if (status != DG_OK) return status;
    *w = (work){.env = env, .s = s};
    status = dg_comm_agree(env->comm, set_up(w));
    if (status == DG_OK) warn_seen(w);
    if (status == DG_OK) status = learn_baselines(w);
    if (status == DG_OK) status = evaluate_cases(w);
    if (status == DG_OK) status = gather(w);
    if (status == DG_OK) status = dg_comm_agree(env->comm, env->comm->rank == 0 ? report(w, &failed) : DG_OK);
    if (status == DG_OK) status = dg_comm_any(env->comm, failed, &failed);
    if (status == DG_OK && failed > 0) *exit_code = DG_EXIT_SOME_CASES;
    release(w);
    dg_free(&w);
    return status;
}

static dg_status run(const dg_job_env *env, int argc, char *const *argv, int *exit_code)
{
    settings *s = NULL;
    dg_options options;
    bool helped = false;
    int count;
    DG_TRY(DG_NEW(&s, 1, "settings"));
    dg_job_arguments arguments = {.usage =
                                      "--cohort D --predictions P/ -o RESULTS.json [--run RUN] [--cases [ID, ...]]",
                                  .rows = rows,
                                  .row_count = sizeof rows / sizeof rows[0],
                                  .target = s};
    dg_status status = dg_job_read_arguments(env, &dg_job_evaluate, &arguments, argc, argv, &options, &count, &helped);
    if (status == DG_OK && !helped) {
        dg_options_release(&options);
        status = evaluate(env, s, exit_code);
    }
    dg_free(&s);
    return status;
}

const dg_job dg_job_evaluate = {
    .name = "evaluate", .summary = "judge predictions: MAE, DVH statistics, OpenKBP scores, baselines", .run = run};
