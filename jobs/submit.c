/* submit.c - `dosegrid submit`: batch scripts of a run and the chain behind it, written and, with --submit, queued.
 * SPDX-License-Identifier: Apache-2.0 */
#include "job.h"
#include "submit_impl.h"

#include "dg_file.h"
#include "dg_mem.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct settings {
    submit_settings site; /* first: its rows are shared */
    char array[DG_OPT_TEXT], name[DG_OPT_TEXT], output[DG_OPT_TEXT];
    dg_string_list then;
    bool submit, json;
} settings;

static const char *const word_none[] = {"none", NULL};

#define AT(field) .offset = offsetof(settings, field)
/* clang-format off */
#define TEXT(flag_, letter_, field, default_, help_) \
    {.key = "submit." flag_, .flag = flag_, .letter = letter_, .type = DG_OPT_STRING, AT(field), .fallback = default_, \
     .unit = "", .help = help_}
#define SWITCH(flag_, field, default_, help_) \
    {.key = "submit." flag_, .flag = flag_, .type = DG_OPT_BOOL, AT(field), .fallback = default_, .unit = "", .help = help_}
static const dg_option rows[] = {
    {.key = "submit.then", .flag = "then", .type = DG_OPT_STRING_LIST, AT(then), .list_min = 1, .list_max = 3,
     .names = word_none, .fallback = "none", .unit = "",
     .help = "stages that follow, each waiting for the one before: predict, evaluate, compare"},
    TEXT("array", 0, array, "", "one run per index, 0-4 or 1,3,7%2; %a in the arguments behind -- stands for the index"),
    TEXT("name", 'n', name, "", "name of the jobs; empty: run.name"),
    TEXT("output", 'o', output, "batch", "folder of the scripts and logs"),
    SWITCH("submit", submit, "false", "queues the scripts; without it they are only written"),
    SWITCH("json", json, "false", "prints scripts and job numbers as JSON"),
};
/* clang-format on */

/* argv of the job: JOB [CONFIG] and what stands behind "--". */
typedef struct call {
    const char *positional[2];
    int own_count; /* arguments before "--" */
    const char *const *rest;
    int rest_count;
} call;

static call split_call(int argc, char *const *argv)
{
    call c = {.own_count = argc};
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--") != 0) continue;
        c.own_count = i;
        c.rest = (const char *const *)argv + i + 1;
        c.rest_count = argc - i - 1;
        break;
    }
    return c;
}

static dg_status read_stage(const char *word, submit_request *request, bool first)
{
    for (int stage = 0; stage < STAGES; stage++) {
        if (strcmp(word, submit_stage_name((submit_stage)stage)) != 0 || (first && stage == STAGE_COMPARE)) continue;
        if (!first && stage <= (int)request->first)
            return DG_FAIL(DG_ERR_USAGE, "--then %s does not come after %s", word, submit_stage_name(request->first));
        if (first) request->first = (submit_stage)stage;
        request->stage[stage] = true;
        return DG_OK;
    }
    return first ? DG_FAIL(DG_ERR_USAGE, "'%.60s' cannot be submitted: train, predict or evaluate", word)
                 : DG_FAIL(DG_ERR_USAGE, "--then '%.60s': predict, evaluate or compare", word);
}

static dg_status read_request(const settings *s, const call *c, int *ids, submit_request *request)
{
    DG_TRY(read_stage(c->positional[0], request, true));
    for (int i = 0; i < s->then.count; i++) DG_TRY(read_stage(s->then.value[i], request, false));
    for (int stage = (int)request->first + 1; stage < STAGE_COMPARE; stage++) {
        bool later = false;
        for (int other = stage + 1; other < STAGES; other++) later = later || request->stage[other];
        if (later && !request->stage[stage])
            return DG_FAIL(DG_ERR_USAGE, "--then leaves out %s, which the stages after it need",
                           submit_stage_name((submit_stage)stage));
    }
    if (s->array[0] != '\0') DG_TRY(submit_read_array(s->array, ids, &request->task_count, &request->at_once));
    if (c->rest_count > SUBMIT_ARGUMENTS_MAX)
        return DG_FAIL(DG_ERR_USAGE, "%d arguments behind --; at most %d", c->rest_count, SUBMIT_ARGUMENTS_MAX);
    request->config = c->positional[1];
    request->name = s->name;
    request->task_ids = ids;
    request->arguments = c->rest;
    request->argument_count = c->rest_count;
    if (request->config != NULL && !dg_file_exists(request->config))
        return DG_FAIL(DG_ERR_USAGE, "there is no configuration %.300s", request->config);
    return DG_OK;
}

static dg_status answer(const dg_job_env *env, const settings *s, const submit_chain *chain, char (*ids)[DG_BATCH_ID])
{
    json_t *list = json_array();
    for (int i = 0; i < chain->count; i++) {
        const dg_batch_job *job = &chain->job[i];
        if (!s->json && s->submit) printf("%s %s\n", job->name, ids[i]);
        if (!s->json && !s->submit) printf("%s/%s.sbatch\n", s->output, job->name);
        json_t *row = json_pack("{s:s, s:o, s:i}", "name", job->name, "script",
                                json_sprintf("%s/%s.sbatch", s->output, job->name), "tasks", job->count);
        if (s->submit) json_object_set_new(row, "id", json_string(ids[i]));
        json_array_append_new(list, row);
    }
    if (!s->json && !s->submit) printf("written; queue them with: bash %s/%s.sh\n", s->output, chain->name);
    if (s->json) return dg_job_print_json(env, json_pack("{s:b, s:o}", "submitted", s->submit, "jobs", list));
    json_decref(list);
    return DG_OK;
}

static dg_status write_and_queue(const dg_job_env *env, const settings *s, const submit_chain *chain)
{
    char ids[STAGES][DG_BATCH_ID];
    DG_TRY(submit_write(&s->site, chain->job, chain->count, s->output, chain->name, s->submit ? ids : NULL));
    return answer(env, s, chain, ids);
}

static dg_status submit(const dg_job_env *env, const settings *s, const call *c)
{
    int *ids;
    submit_chain *chain = NULL;
    submit_request request = {.config = NULL};
    DG_TRY(DG_NEW(&ids, SUBMIT_TASKS_MAX, "indices of the array"));
    dg_status status = DG_NEW(&chain, 1, "chain of jobs");
    if (status == DG_OK) status = read_request(s, c, ids, &request);
    if (status == DG_OK) status = submit_chain_make(&request, chain);
    if (status == DG_OK) status = write_and_queue(env, s, chain);
    if (chain != NULL) submit_chain_release(chain);
    dg_free(&chain);
    dg_free(&ids);
    return status;
}

static dg_status run(const dg_job_env *env, int argc, char *const *argv, int *exit_code)
{
    (void)exit_code;
    settings *s;
    dg_options options;
    dg_option table[SUBMIT_SITE_ROWS + sizeof rows / sizeof rows[0]];
    bool helped = false;
    int count;
    call c = split_call(argc, argv);
    submit_site_rows(table, offsetof(settings, site));
    memcpy(table + SUBMIT_SITE_ROWS, rows, sizeof rows);
    dg_job_arguments arguments = {
        .usage = "train|predict|evaluate [CONFIG] [--then STAGE...] [--nodes N] [--gpus G] [--submit] [-- ARGUMENTS]\n"
                 "ARGUMENTS are those of the job: -- --set run.seed=%a --set run.name=a-%a",
        .rows = table,
        .row_count = sizeof table / sizeof table[0],
        .positional = c.positional,
        .positional_min = 1,
        .positional_max = 2};
    DG_TRY(DG_NEW(&s, 1, "settings"));
    arguments.target = s;
    dg_status status =
        dg_job_read_arguments(env, &dg_job_submit, &arguments, c.own_count, argv, &options, &count, &helped);
    if (status == DG_OK && !helped) {
        dg_options_release(&options);
        status = dg_comm_agree(env->comm, env->comm->rank == 0 ? submit(env, s, &c) : DG_OK);
    }
    dg_free(&s);
    return status;
}

const dg_job dg_job_submit = {
    .name = "submit", .summary = "write and queue the batch scripts of a run and of the chain behind it", .run = run};
