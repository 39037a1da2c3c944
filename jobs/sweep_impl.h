/* sweep_impl.h - what the files of `dosegrid sweep` share. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_SWEEP_IMPL_H
#define DG_SWEEP_IMPL_H

#include "dg_file.h"
#include "job.h"
#include "lease.h"
#include "run_folder.h"
#include "submit_impl.h"
#include "sweep_plan.h"

#include <stdio.h>
#include <sys/types.h>

enum { SWEEP_WORDS_MAX = 160, SWEEP_JOBS_MAX = 64, SWEEP_REASON = 320 };

typedef struct sweep_settings {
    dg_run_config config; /* first: --set is checked against its rows */
    submit_settings site;
    char output[DG_OPT_TEXT];
    int64_t jobs;
    bool resume, submit, finish, figures, json;
} sweep_settings;

typedef enum sweep_state { SWEEP_WAITING, SWEEP_RUNNING, SWEEP_DONE, SWEEP_FAILED } sweep_state;

/* One run of the sweep on its way through train, predict and evaluate. */
typedef struct sweep_job {
    dg_sweep_run run;
    char folder[DG_PATH_MAX], results[DG_PATH_MAX], cohort[DG_OPT_TEXT];
    int trained, drawn; /* numbers of the runs whose weights and predictions it takes; its own, or an earlier run's */
    dg_diffusion_settings diffusion; /* how doses are drawn, where the weights are another run's */
    bool is_diffusion;
    int64_t members; /* evaluate.members */
    sweep_state state;
    submit_stage stage;                /* the next one, or the running one */
    char reason[SWEEP_REASON];         /* of a failure, or of cases that failed */
    double not_before_s, busy_since_s; /* its folder is held by a process that is about to end */
} sweep_job;

typedef struct sweep_work {
    const dg_job_env *env;
    const sweep_settings *s;
    dg_sweep plan;                    /* of OUTPUT/sweep.yaml */
    const char *set[SWEEP_WORDS_MAX]; /* --set words of the command line, passed on to train */
    int sets;
    char program[DG_PATH_MAX];
    dg_lease *lease;
    sweep_job *job; /* [jobs], owned */
    int jobs;
    int64_t steps, batch; /* of every run; steps 0: `epochs` */
    double epochs;
    bool labels;                 /* segmentations are judged, all of them by the labels of the reference: */
    dg_int_list judging[3];      /* its foreground, background and ignored values */
    int signals;                 /* descriptor that signals come from; -1: not yet */
    pid_t child[SWEEP_JOBS_MAX]; /* [children] stages that run here */
    int children;
    bool stopping;
} sweep_work;

/* A command under construction; the words are owned. */
typedef struct sweep_words {
    char *word[SWEEP_WORDS_MAX + 1];
    int count;
} sweep_words;
DG_MUST_USE dg_status sweep_words_add(sweep_words *words, const char *const *list); /* up to NULL */
void sweep_words_release(sweep_words *words);

/* ---- sweep_check.c: what is settled before anything runs --------------------------------------------------------- */

/* Resolves every run; DG_ERR_USAGE where conditions would not be compared on equal terms: other steps, samples a step
 * or patch size, an end by time or early stopping, another cohort or split. Fills w->job. */
DG_MUST_USE dg_status sweep_resolve_all(sweep_work *w);
/* Draws the splits, writes those of folds and OUTPUT/test_cases.json, and prints how test sets overlap. */
DG_MUST_USE dg_status sweep_settle_splits(const sweep_work *w);

/* ---- sweep_stages.c: commands of a run and what they leave ------------------------------------------------------- */

/* The program's arguments for a stage, without the program: {"train", "--sweep", ...}. */
DG_MUST_USE dg_status sweep_stage_words(const sweep_work *w, const sweep_job *job, submit_stage stage,
                                        sweep_words *words);
/* The first stage that run `index` has to go through, STAGE_COMPARE where all are done; from the files of the run. */
submit_stage sweep_stage_reached(const sweep_job *job, int index);
/* Sets job->reason where a finished run's results lack cases. */
DG_MUST_USE dg_status sweep_note_lost_cases(sweep_job *job);
/* Results of a condition and seed: the run's, or those of its folds brought together in one file (written here). ""
 * in `path` where a fold is missing. */
DG_MUST_USE dg_status sweep_results_path(const sweep_work *w, int condition, int seed, char path[DG_PATH_MAX]);

/* ---- sweep_processes.c: local processes, none of which outlives the sweep ---------------------------------------- */

/* Signals become events of w->signals, and this process the subreaper of what it starts. */
DG_MUST_USE dg_status sweep_processes_open(sweep_work *w);
/* Ends whatever is left. */
void sweep_processes_close(sweep_work *w);
/* Starts program and words (ranks > 1: under mpirun) with output appended to `log`, as number `slot` of `slots` that
 * share cores and GPUs. */
DG_MUST_USE dg_status sweep_process_start(sweep_work *w, const sweep_words *words, int64_t ranks, const char *log,
                                          int slot, int slots, pid_t *pid);
/* Waits at most wait_ms for one of the processes or a signal. True: *pid ended with exit code *code (128 + n by
 * signal n). A signal that asks to stop sets w->stopping and goes to all processes. */
bool sweep_process_wait(sweep_work *w, int wait_ms, pid_t *pid, int *code);

/* ---- sweep_local.c ----------------------------------------------------------------------------------------------- */

/* Brings every run as far as it gets, s->jobs at a time. DG_ERR_PREEMPTED after a request to stop. */
DG_MUST_USE dg_status sweep_run_local(sweep_work *w);

/* ---- sweep_records.c: what is written about the sweep ------------------------------------------------------------ */

/* A line of OUTPUT/ledger.jsonl, durable. code -1: the stage begins. */
DG_MUST_USE dg_status sweep_ledger_add(const sweep_work *w, const char *run, const char *stage, int code,
                                       double seconds);
/* experiments/CONDITION/experiment.yaml for each condition and experiments.json over all. What a user wrote into
 * notes, and a status "invalid" of his, are kept; a file of his that cannot be read is told of and left alone. */
DG_MUST_USE dg_status sweep_write_experiments(const sweep_work *w);
/* The same as a JSON array; the caller's. */
DG_MUST_USE dg_status sweep_experiments_json(const sweep_work *w, json_t **out);

/* ---- sweep_source.c: what it is made with ------------------------------------------------------------------------ */

/* OUTPUT/environment.json, with commit and state of the source tree; its patch beside it as source.patch where it is
 * not clean. Of a sweep that goes on, and with another program or tree: adds that, with source-2.patch and so on. */
DG_MUST_USE dg_status sweep_write_environment(const sweep_work *w);

/* ---- sweep_report.c ---------------------------------------------------------------------------------------------- */

/* Compares what is there and writes comparison.*, figures/, pages/ and report.md. */
DG_MUST_USE dg_status sweep_report(sweep_work *w);

/* ---- sweep_ensembles.c: the section of report.md on conditions whose members are judged; nothing where there are none. */
DG_MUST_USE dg_status sweep_put_ensembles(const sweep_work *w, FILE *to);

/* ---- sweep_submit.c ---------------------------------------------------------------------------------------------- */

/* The chain train -> predict -> evaluate -> compare as arrays of batch jobs, written and queued. */
DG_MUST_USE dg_status sweep_submit(const sweep_work *w);

/* Writes JSON, indented; takes it. */
DG_MUST_USE dg_status sweep_write_json(const char *folder, const char *name, json_t *root);

#endif
