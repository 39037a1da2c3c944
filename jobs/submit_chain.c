/* submit_chain.c - the commands of train -> predict -> evaluate -> compare, from a run's configuration.
 * SPDX-License-Identifier: Apache-2.0 */
#include "job.h"
#include "submit_impl.h"

#include "dg_file.h"
#include "dg_mem.h"
#include "run_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const stage_names[STAGES] = {"train", "predict", "evaluate", "compare"};

const char *submit_stage_name(submit_stage stage) { return stage_names[stage]; }

/* Where the stages of one task find each other's files. */
typedef struct run_paths {
    char cohort[DG_OPT_TEXT], dir[DG_OPT_TEXT], name[DG_OPT_TEXT];
    int64_t seed;
    char run[DG_PATH_MAX], checkpoint[DG_PATH_MAX], predictions[DG_PATH_MAX], results[DG_PATH_MAX];
} run_paths;

/* One command under construction. */
typedef struct words {
    const char *word[SUBMIT_WORDS_MAX + 1];
    int count;
} words;

static dg_status keep(submit_chain *chain, const char *text, const char **out)
{
    if (chain->owned_count == chain->owned_room) {
        int64_t room = chain->owned_room == 0 ? 256 : 2 * chain->owned_room;
        DG_TRY(
            dg_grow(&chain->owned, (size_t)chain->owned_room, (size_t)room, sizeof *chain->owned, "words of commands"));
        chain->owned_room = room;
    }
    DG_TRY(dg_string_copy(text, &chain->owned[chain->owned_count]));
    *out = chain->owned[chain->owned_count++];
    return DG_OK;
}

static dg_status add(submit_chain *chain, words *w, const char *text)
{
    if (w->count == SUBMIT_WORDS_MAX)
        return DG_FAIL(DG_ERR_USAGE, "a command of more than %d words; list cases in a file (@FILE)", SUBMIT_WORDS_MAX);
    return keep(chain, text, &w->word[w->count++]);
}

/* Adds words up to NULL. */
static dg_status add_all(submit_chain *chain, words *w, const char *const *list)
{
    for (; *list != NULL; list++) DG_TRY(add(chain, w, *list));
    return DG_OK;
}

/* The argument with the task's index for %a; *out is the chain's. */
static dg_status expand(submit_chain *chain, const char *text, int id, const char **out)
{
    char full[2 * DG_OPT_TEXT];
    size_t used = 0;
    for (; *text != '\0' && used + 16 < sizeof full; text++) {
        if (text[0] == '%' && text[1] == 'a') {
            used += (size_t)snprintf(full + used, sizeof full - used, "%d", id);
            text++;
        } else {
            full[used++] = *text;
        }
    }
    if (*text != '\0') return DG_FAIL(DG_ERR_USAGE, "an argument of more than %zu letters", sizeof full - 17);
    full[used] = '\0';
    return keep(chain, full, out);
}

/* Is argument i "--set" or the value behind it? */
static bool is_setting(const char *const *arguments, int i)
{
    if (arguments[i] == NULL) return false;
    return strncmp(arguments[i], "--set", 5) == 0 || (i > 0 && strcmp(arguments[i - 1], "--set") == 0);
}

static bool has_flag(const char *const *arguments, int count, const char *flag)
{
    size_t length = strlen(flag);
    for (int i = 0; i < count; i++) {
        bool begins = strncmp(arguments[i], flag, length) == 0;
        if (begins && (arguments[i][length] == '\0' || arguments[i][length] == '=')) return true;
    }
    return false;
}

/* The run's settings as the task will see them: file, environment, --set. */
static dg_status read_config(const submit_request *request, const char *const *arguments, dg_run_config *config)
{
    dg_options options;
    const char *settings[SUBMIT_ARGUMENTS_MAX], *none[1];
    int count = 0, rest, row_count;
    const dg_option *rows = dg_run_config_rows(&row_count);
    for (int i = 0; i < request->argument_count; i++)
        if (is_setting(arguments, i)) settings[count++] = arguments[i];
    DG_TRY(dg_options_init(&options, rows, row_count, config));
    /* The parser does not write to its arguments; its type is that of main's. */
    dg_status status = dg_options_read_arguments(&options, count, (char *const *)settings, none, 0, &rest);
    if (status == DG_OK) status = dg_run_config_read_environment(&options);
    if (status == DG_OK && request->config != NULL) status = dg_job_read_config(&options, request->config);
    if (status == DG_OK) status = dg_run_config_check(config);
    dg_options_release(&options);
    return status;
}

static dg_status find_paths(const dg_run_config *config, run_paths *paths)
{
    snprintf(paths->cohort, sizeof paths->cohort, "%s", config->data.cohort);
    snprintf(paths->dir, sizeof paths->dir, "%s", config->run.dir);
    snprintf(paths->name, sizeof paths->name, "%s", config->run.name);
    paths->seed = config->run.seed;
    DG_TRY(dg_path_join(paths->run, config->run.dir, config->run.name));
    DG_TRY(dg_path_join(paths->checkpoint, paths->run, "checkpoints/best.h5"));
    DG_TRY(dg_path_join(paths->predictions, paths->run, "predictions"));
    return dg_path_join(paths->results, paths->run, "evaluation_results.json");
}

/* `flag` and its value, unless the user gave the flag. */
static dg_status add_unless(submit_chain *chain, words *w, const char *const *arguments, int count, const char *flag,
                            const char *letter, const char *value)
{
    if (has_flag(arguments, count, flag) || (letter != NULL && has_flag(arguments, count, letter))) return DG_OK;
    DG_TRY(add(chain, w, flag));
    return add(chain, w, value);
}

/* The command of a stage for one task; the user's further arguments are those of the first stage. */
static dg_status build(submit_chain *chain, const submit_request *request, submit_stage stage, const run_paths *paths,
                       const char *const *arguments, words *w)
{
    int count = stage == request->first ? request->argument_count : 0;
    DG_TRY(add(chain, w, stage_names[stage]));
    switch (stage) {
    case STAGE_TRAIN:
        if (request->config != NULL) DG_TRY(add(chain, w, request->config));
        break;
    case STAGE_PREDICT:
        DG_TRY(add_unless(chain, w, arguments, count, "--checkpoint", "-c", paths->checkpoint));
        DG_TRY(add_unless(chain, w, arguments, count, "--cohort", NULL, paths->cohort));
        DG_TRY(add_unless(chain, w, arguments, count, "--output", "-o", paths->predictions));
        DG_TRY(add_unless(chain, w, arguments, count, "--cases", NULL, "test"));
        break;
    case STAGE_EVALUATE:
        DG_TRY(add_unless(chain, w, arguments, count, "--cohort", NULL, paths->cohort));
        DG_TRY(add_unless(chain, w, arguments, count, "--predictions", "-p", paths->predictions));
        DG_TRY(add_unless(chain, w, arguments, count, "--run", NULL, paths->run));
        DG_TRY(add_unless(chain, w, arguments, count, "--output", "-o", paths->results));
        break;
    default: break;
    }
    /* A run's own settings are train's; the later stages take them from the checkpoint and the run folder. */
    for (int i = 0; i < count; i++)
        if (stage == STAGE_TRAIN || !is_setting(arguments, i)) DG_TRY(add(chain, w, arguments[i]));
    return add(chain, w, "--resume");
}

static dg_status store(dg_batch_job *job, const char ***slot, const words *w)
{
    DG_TRY(DG_NEW(slot, w->count + 1, "command"));
    memcpy(*slot, w->word, (size_t)w->count * sizeof *w->word);
    job->count++;
    return DG_OK;
}

static bool has_later(const submit_request *request, submit_stage stage)
{
    for (int later = (int)stage + 1; later < STAGES; later++)
        if (request->stage[later]) return true;
    return false;
}

static dg_batch_job *begin_job(submit_chain *chain, const submit_request *request, submit_stage stage)
{
    dg_batch_job *job = &chain->job[chain->count];
    char *name = chain->job_name[chain->count];
    bool array = request->task_count > 0 && stage != STAGE_COMPARE;
    snprintf(name, sizeof chain->job_name[0], "%s-%s", chain->name, stage_names[stage]);
    *job = (dg_batch_job){.name = name,
                          .commands = (const char *const *const *)chain->command[chain->count],
                          .task_ids = array ? request->task_ids : NULL,
                          .at_once = array ? request->at_once : 0,
                          .ranks = stage != STAGE_COMPARE,
                          .gpus = stage == STAGE_TRAIN || stage == STAGE_PREDICT,
                          .some_suffice = has_later(request, stage),
                          .after = chain->count - 1,
                          .task_by_task = array && chain->count > 0};
    chain->count++;
    return job;
}

/* The name of the first run, without the index of its task. */
static void name_chain(submit_chain *chain, const submit_request *request, const char *run)
{
    char ending[16];
    snprintf(chain->name, sizeof chain->name, "%s", run);
    if (request->task_count == 0) return;
    size_t length = strlen(run), digits = (size_t)snprintf(ending, sizeof ending, "%d", request->task_ids[0]);
    if (length <= digits || strcmp(run + length - digits, ending) != 0) return;
    length -= digits;
    while (length > 1 && strchr("-_.", run[length - 1]) != NULL) length--;
    chain->name[length] = '\0';
}

/* Settings, folders and commands of one task, added to each stage's job but compare's. */
static dg_status add_task(submit_chain *chain, const submit_request *request, int task, run_paths *paths)
{
    const char *arguments[SUBMIT_ARGUMENTS_MAX] = {NULL};
    int id = request->task_count > 0 ? request->task_ids[task] : 0;
    dg_run_config *config;
    for (int i = 0; i < request->argument_count; i++) DG_TRY(expand(chain, request->arguments[i], id, &arguments[i]));
    DG_TRY(DG_NEW(&config, 1, "settings"));
    dg_status status = read_config(request, arguments, config);
    if (status == DG_OK) status = find_paths(config, paths);
    if (status == DG_OK && chain->name[0] == '\0') name_chain(chain, request, config->run.name);
    dg_free(&config);
    if (status != DG_OK) return status;
    int at = 0;
    for (int stage = 0; stage < STAGE_COMPARE; stage++) {
        words w = {.count = 0};
        if (!request->stage[stage]) continue;
        dg_batch_job *job = task == 0 ? begin_job(chain, request, (submit_stage)stage) : &chain->job[at];
        DG_TRY(build(chain, request, (submit_stage)stage, paths, arguments, &w));
        DG_TRY(store(job, &chain->command[at++][task], &w));
    }
    return DG_OK;
}

static dg_status check_apart(const submit_request *request, const run_paths *paths, int task)
{
    for (int other = 0; other < task; other++) {
        if (strcmp(paths[other].run, paths[task].run) == 0)
            return DG_FAIL(DG_ERR_USAGE,
                           "tasks %d and %d of the array have the same run folder %.300s: put %%a into its name, as in "
                           "-- --set run.name=NAME-%%a",
                           request->task_ids[other], request->task_ids[task], paths[task].run);
    }
    return DG_OK;
}

/* Runs that differ in their seed are seeds of one condition, the chain's; others are a condition each, their own. */
static bool seeds_differ(const run_paths *paths, int count)
{
    for (int i = 0; i < count; i++)
        for (int j = 0; j < i; j++)
            if (paths[i].seed == paths[j].seed) return false;
    return true;
}

static dg_status add_results(submit_chain *chain, words *w, const run_paths *paths, const char *condition)
{
    char word[DG_PATH_MAX + DG_OPT_TEXT + 32];
    snprintf(word, sizeof word, "%s@%lld=%s", condition, (long long)paths->seed, paths->results);
    return add(chain, w, word);
}

static dg_status add_comparison(submit_chain *chain, const submit_request *request, const run_paths *paths)
{
    words w = {.count = 0};
    char output[DG_PATH_MAX], file[DG_OPT_TEXT + 32];
    snprintf(file, sizeof file, "%s-comparison.json", chain->name);
    DG_TRY(dg_path_join(output, paths[0].dir, file));
    int at = chain->count;
    dg_batch_job *job = begin_job(chain, request, STAGE_COMPARE);
    DG_TRY(add(chain, &w, "compare"));
    bool one = seeds_differ(paths, request->task_count);
    for (int task = 0; task < request->task_count; task++)
        DG_TRY(add_results(chain, &w, &paths[task], one ? chain->name : paths[task].name));
    DG_TRY(add_all(chain, &w, (const char *const[]){"-o", output, NULL}));
    return store(job, &chain->command[at][0], &w);
}

/* Later stages look where the configuration says. */
static dg_status check_arguments(const submit_request *request)
{
    static const char *const flags[] = {"--output", "-o", "--cohort", "--predictions", "-p", "--run"};
    for (size_t i = 0; has_later(request, request->first) && i < sizeof flags / sizeof flags[0]; i++) {
        if (has_flag(request->arguments, request->argument_count, flags[i]))
            return DG_FAIL(
                DG_ERR_USAGE,
                "%s behind -- moves files away from where --then looks for them: submit the stages one by one, "
                "or set run.dir, run.name and data.cohort",
                flags[i]);
    }
    return DG_OK;
}

dg_status submit_chain_make(const submit_request *request, submit_chain *chain)
{
    int tasks = request->task_count > 0 ? request->task_count : 1;
    run_paths *paths;
    DG_TRY(check_arguments(request));
    if (request->stage[STAGE_COMPARE] && (request->task_count < 2 || !request->stage[STAGE_EVALUATE]))
        return DG_FAIL(DG_ERR_USAGE,
                       "compare needs the results of several runs: evaluate as an array of two or more tasks");
    snprintf(chain->name, sizeof chain->name, "%s", request->name);
    DG_TRY(DG_NEW(&paths, tasks, "folders of tasks"));
    dg_status status = DG_OK;
    for (int task = 0; task < tasks && status == DG_OK; task++) {
        status = add_task(chain, request, task, &paths[task]);
        if (status == DG_OK) status = check_apart(request, paths, task);
    }
    if (status == DG_OK && request->stage[STAGE_COMPARE]) status = add_comparison(chain, request, paths);
    dg_free(&paths);
    return status;
}

void submit_chain_release(submit_chain *chain)
{
    for (int stage = 0; stage < STAGES; stage++)
        for (int task = 0; task < SUBMIT_TASKS_MAX; task++) dg_free(&chain->command[stage][task]);
    for (int64_t i = 0; i < chain->owned_count; i++) dg_free(&chain->owned[i]);
    dg_free(&chain->owned);
}

/* A whole number of at most six digits; *text moves behind it. */
static bool read_number(const char **text, int *out)
{
    size_t digits = strspn(*text, "0123456789");
    if (digits == 0 || digits > 6) return false;
    *out = (int)strtol(*text, NULL, 10);
    *text += digits;
    return true;
}

static bool read_ranges(const char **text, int *ids, int *count)
{
    do {
        int low, high;
        if (!read_number(text, &low)) return false;
        high = low;
        if (**text == '-' && (++*text, !read_number(text, &high))) return false;
        if (high < low || (*count > 0 && low <= ids[*count - 1]) || high - low >= SUBMIT_TASKS_MAX - *count)
            return false;
        for (int id = low; id <= high; id++) ids[(*count)++] = id;
    } while (**text == ',' && *++*text != '\0');
    return true;
}

dg_status submit_read_array(const char *text, int ids[SUBMIT_TASKS_MAX], int *count, int *at_once)
{
    const char *at = text;
    *count = *at_once = 0;
    bool good = read_ranges(&at, ids, count);
    if (good && *at == '%') good = (at++, read_number(&at, at_once)) && *at_once > 0;
    if (good && *at == '\0') return DG_OK;
    return DG_FAIL(
        DG_ERR_USAGE,
        "--array '%.100s' is not a rising list of at most %d indices: 0-4, 1,3,8-9, or with %%2 behind it for "
        "two at a time",
        text, SUBMIT_TASKS_MAX);
}
