/* sweep_submit.c - a sweep as a chain of batch jobs: arrays of train, predict and evaluate, a task for each run, and
 * at their end the comparison of all. SPDX-License-Identifier: Apache-2.0 */
#include "sweep_impl.h"

#include "dg_mem.h"

#include <stdio.h>
#include <string.h>

enum { CHAIN = 4 };

typedef struct chain {
    dg_batch_job job[CHAIN];
    char name[CHAIN][DG_SWEEP_NAME + 16];
    sweep_words *words[CHAIN];          /* [runs], owned */
    const char *const **command[CHAIN]; /* [runs], owned: pointers into words */
    int *id;                            /* [runs], owned */
    int runs;
} chain;

static void release(chain *c)
{
    for (int stage = 0; stage < CHAIN; stage++) {
        for (int i = 0; c->words[stage] != NULL && i < c->runs; i++) sweep_words_release(&c->words[stage][i]);
        dg_free(&c->words[stage]);
        dg_free(&c->command[stage]);
    }
    dg_free(&c->id);
}

/* The last job looks at what is there, compares and writes the report. */
static dg_status finish_words(const sweep_work *w, sweep_words *words)
{
    DG_TRY(sweep_words_add(
        words, (const char *const[]){"sweep", w->plan.path, "-o", w->plan.folder, "--finish", "--resume", NULL}));
    if (!w->s->figures) DG_TRY(sweep_words_add(words, (const char *const[]){"--no-figures", NULL}));
    return sweep_words_add(words, w->set);
}

static dg_status make_stage(const sweep_work *w, chain *c, int stage)
{
    const int count = stage == STAGE_COMPARE ? 1 : c->runs;
    DG_TRY(DG_NEW(&c->words[stage], c->runs, "commands"));
    DG_TRY(DG_NEW(&c->command[stage], c->runs, "commands"));
    for (int i = 0; i < count; i++) {
        sweep_words *words = &c->words[stage][i];
        DG_TRY(stage == STAGE_COMPARE ? finish_words(w, words)
                                      : sweep_stage_words(w, &w->job[i], (submit_stage)stage, words));
        c->command[stage][i] = (const char *const *)words->word;
    }
    snprintf(c->name[stage], sizeof c->name[0], "%s-%s", w->plan.name, submit_stage_name((submit_stage)stage));
    c->job[stage] = (dg_batch_job){.name = c->name[stage],
                                   .commands = c->command[stage],
                                   .count = count,
                                   .task_ids = stage == STAGE_COMPARE ? NULL : c->id,
                                   .at_once = stage == STAGE_COMPARE ? 0 : (int)w->s->jobs,
                                   .ranks = stage != STAGE_COMPARE,
                                   .gpus = stage == STAGE_TRAIN || stage == STAGE_PREDICT,
                                   .some_suffice = stage != STAGE_COMPARE,
                                   .after = stage - 1,
                                   .task_by_task = stage == STAGE_PREDICT || stage == STAGE_EVALUATE};
    return DG_OK;
}

static dg_status write_chain(const sweep_work *w, chain *c)
{
    char folder[DG_PATH_MAX], ids[CHAIN][DG_BATCH_ID];
    DG_TRY(DG_NEW(&c->id, c->runs, "indices of tasks"));
    for (int i = 0; i < c->runs; i++) c->id[i] = i;
    for (int stage = 0; stage < CHAIN; stage++) DG_TRY(make_stage(w, c, stage));
    DG_TRY(dg_path_join(folder, w->plan.folder, "batch"));
    DG_TRY(submit_write(&w->s->site, c->job, CHAIN, folder, w->plan.name, ids));
    json_t *list = json_array();
    for (int stage = 0; stage < CHAIN; stage++) {
        if (!w->s->json) printf("%s %s\n", c->name[stage], ids[stage]);
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:i}", "name", c->name[stage], "id", ids[stage], "tasks", c->job[stage].count));
    }
    if (w->s->json) return dg_job_print_json(w->env, json_pack("{s:o}", "jobs", list));
    json_decref(list);
    return DG_OK;
}

dg_status sweep_submit(const sweep_work *w)
{
    chain *c;
    for (int i = 0; i < w->jobs; i++)
        if (w->job[i].trained != i)
            return DG_FAIL(DG_ERR_USAGE,
                           "condition %s has weights_of: its runs follow another's, and arrays of batch jobs "
                           "go task by task; run this sweep without --submit",
                           w->plan.condition[w->job[i].run.condition].name);
    DG_TRY(DG_NEW(&c, 1, "chain of jobs"));
    c->runs = w->jobs;
    dg_status status = write_chain(w, c);
    release(c);
    dg_free(&c);
    return status;
}
