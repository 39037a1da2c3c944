/* submit_impl.h - the parts of `dosegrid submit`: which commands a chain runs. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_SUBMIT_IMPL_H
#define DG_SUBMIT_IMPL_H

#include "dg_batch.h"
#include "dg_options.h"

/* What a job asks of the site: flags of `submit` and of `sweep --submit`. */
typedef struct submit_settings {
    int64_t nodes, ranks, gpus, cpus, signal_s, restarts;
    char memory[DG_OPT_TEXT], time[DG_OPT_TEXT], partition[DG_OPT_TEXT], account[DG_OPT_TEXT], qos[DG_OPT_TEXT];
    char program[DG_OPT_TEXT], setup[DG_OPT_TEXT];
    dg_string_list more;
    int launcher;
    bool requeue;
} submit_settings;
enum { SUBMIT_SITE_ROWS = 16 };
/* The rows of the flags, for a submit_settings at `offset` of the job's own struct. */
void submit_site_rows(dg_option *out, size_t offset);
/* Writes the scripts of a chain to `folder`, where the logs go too, and queues them when `ids` is not NULL. */
DG_MUST_USE dg_status submit_write(const submit_settings *settings, const dg_batch_job *jobs, int count,
                                   const char *folder, const char *name, char (*ids)[DG_BATCH_ID]);

/* The stages of a chain, in the order in which they need each other. */
typedef enum submit_stage { STAGE_TRAIN, STAGE_PREDICT, STAGE_EVALUATE, STAGE_COMPARE, STAGES } submit_stage;
const char *submit_stage_name(submit_stage stage);

enum { SUBMIT_TASKS_MAX = 1000, SUBMIT_WORDS_MAX = 192, SUBMIT_ARGUMENTS_MAX = 128 };

/* What the user asked for: stages, configuration, the array's indices and further arguments of the first stage, in
 * which %a stands for the index. Borrowed. */
typedef struct submit_request {
    bool stage[STAGES];
    submit_stage first;
    const char *config, *name; /* name "": run.name of the configuration */
    const int *task_ids;
    int task_count, at_once; /* task_count 0: no array */
    const char *const *arguments;
    int argument_count;
} submit_request;

/* The jobs of a chain and the memory behind them. */
typedef struct submit_chain {
    dg_batch_job job[STAGES];
    int count;
    char name[DG_OPT_TEXT];
    char job_name[STAGES][DG_OPT_TEXT + 16];
    const char **command[STAGES][SUBMIT_TASKS_MAX];
    char **owned; /* [owned_count] */
    int64_t owned_count, owned_room;
} submit_chain;

/* Reads the configuration once per task, checks it as the run would, and lists every command. Zeroed `chain`; release
 * it also after a failure. */
DG_MUST_USE dg_status submit_chain_make(const submit_request *request, submit_chain *chain);
void submit_chain_release(submit_chain *chain);

/* "0-4,7%2" -> indices in rising order; DG_ERR_USAGE. *at_once 0: no limit. */
DG_MUST_USE dg_status submit_read_array(const char *text, int ids[SUBMIT_TASKS_MAX], int *count, int *at_once);

#endif
