/* evaluate_impl.h - what the files of `dosegrid evaluate` share. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_EVALUATE_IMPL_H
#define DG_EVALUATE_IMPL_H

#include "evaluation.h"
#include "job.h"
#include "label_options.h"
#include "lease.h"
#include "stop.h"

#include "dg_file.h"

typedef struct evaluate_settings {
    dg_evaluate_config measure;
    char cohort[DG_OPT_TEXT], predictions[DG_OPT_TEXT], output[DG_OPT_TEXT], run[DG_OPT_TEXT], condition[DG_OPT_TEXT];
    char backend[DG_OPT_TEXT];
    dg_string_list cases, train_cases;                   /* count 0: what there is; none */
    dg_string_list perturb, checkpoint;                  /* count 0: none; best.h5 of the run */
    dg_int_list run_seed, mem_mb, threads, max_failures; /* count 0: of the run, auto, auto, no limit */
    label_options labels; /* of segmentations, like those that follow */
    double threshold;
    dg_double_list surface_tolerance, fraction_band; /* count 0: auto, none */
    int touch, instances, skeleton;
    bool challenge;
    int prediction_unit; /* foreign_unit */
    bool resume, keep_going, json;
    double comm_timeout_s;
    bool silent; /* a part of a longer evaluation: nothing on standard output */
} evaluate_settings;

typedef struct evaluate_choice {
    char id[DG_CASE_ID];
    int64_t index;    /* in the cohort; -1: not there */
    char reason[256]; /* what the ledger says against its prediction, "" if nothing */
    dg_evaluation_plan plan;
} evaluate_choice;

/* What a rank holds while it evaluates. */
typedef struct evaluate_work {
    const dg_job_env *env;
    const evaluate_settings *s;
    dg_evaluation_config config;
    dg_label_config labels; /* config.labels, where segmentations are judged */
    dg_cohort *cohort;
    dg_constraint_table *table;
    dg_baseline *baseline;
    evaluate_choice *chosen; /* sorted by id */
    int64_t count;
    int64_t *train;           /* [config.train_cases] */
    char folder[DG_PATH_MAX]; /* of ledger and partial results: OUTPUT.ledger */
    char settings_sha256[DG_HASH_HEX];
    dg_lease *lease; /* rank 0 */
    dg_stop_watch watch;
    int64_t stopped; /* reason of this rank to stop, or 0 */
    /* results of this rank, one after the other; on rank 0 of all ranks after gathering */
    char *bytes;
    size_t used, room;
    const dg_case_result **result; /* [count] in order, on rank 0 */
    int64_t kept;                  /* cases taken from an earlier run */
    dg_scoreboard board[DG_CONTENDERS];
} evaluate_work;

/* evaluate.c: one evaluation from its settings to its file. Cases that failed make *exit_code 3. @collective */
DG_MUST_USE dg_status evaluate_once(const dg_job_env *env, const evaluate_settings *s, int *exit_code);
DG_MUST_USE dg_status evaluate_write_results(const evaluate_settings *s, const json_t *root);

/* evaluate_perturb.c: settings of --perturb; the evaluation with it. @collective the second */
DG_MUST_USE dg_status evaluate_check_perturb(const evaluate_settings *s);
DG_MUST_USE dg_status evaluate_perturbed(const dg_job_env *env, const evaluate_settings *s, int *exit_code);

/* evaluate_cases.c: what is evaluated, and against what. */
DG_MUST_USE dg_status evaluate_choose_cases(evaluate_work *w);
DG_MUST_USE dg_status evaluate_choose_train(evaluate_work *w);
/* The table of --constraint-table; `auto` goes by what the chosen cases are. */
DG_MUST_USE dg_status evaluate_choose_table(evaluate_work *w, char *note, size_t capacity);
/* Name, condition and seed of --run, overridden by hand. */
DG_MUST_USE dg_status evaluate_name_run(evaluate_work *w);
/* Settings of the run's training_config.json below `evaluate.`, where the command line does not say otherwise. */
DG_MUST_USE dg_status evaluate_read_run_settings(const char *run, dg_options *options);

/* evaluate_store.c: finished partial results on disk. A file holds one part and a key: the hash of everything that it was
 * made from. */
typedef enum evaluate_part { PART_CASE, PART_VOLUME, PART_SLAB } evaluate_part;
typedef struct evaluate_part_name {
    const char *id;
    evaluate_part part;
    int64_t first, planes; /* of PART_SLAB */
    const char *case_sha256, *prediction_sha256;
} evaluate_part_name;
/* Hash of settings, baselines and program; begins every key. */
DG_MUST_USE dg_status evaluate_store_open(evaluate_work *w);
DG_MUST_USE dg_status evaluate_store_write(const evaluate_work *w, const evaluate_part_name *name, const void *bytes,
                                           int64_t count);
/* *bytes is the caller's (dg_free); NULL when there is no such file, or it is damaged, or of other settings or data. */
DG_MUST_USE dg_status evaluate_store_read(const evaluate_work *w, const evaluate_part_name *name, void **bytes,
                                          int64_t *count);
void evaluate_store_remove(const evaluate_work *w, const evaluate_part_name *name);

/* evaluate_foreign.c: where s->predictions holds files of other programs, they are read, checked, and written as predictions
 * of our own below OUTPUT.ledger, which s->predictions then names. @collective */
DG_MUST_USE dg_status evaluate_adopt_foreign(const dg_job_env *env, evaluate_settings *s);

/* evaluate_tasks.c: the work itself, shared out over ranks. @collective */
DG_MUST_USE dg_status evaluate_learn_baselines(evaluate_work *w);
DG_MUST_USE dg_status evaluate_plan(evaluate_work *w);
/* Afterwards rank 0 has w->result. DG_ERR_PREEMPTED after a request to stop, DG_ERR_DATA after too many failed cases. */
DG_MUST_USE dg_status evaluate_all(evaluate_work *w);

/* evaluate_labels.c: where the predictions are segmentations, what they are judged by; and the table of an aggregate. */
DG_MUST_USE dg_status evaluate_choose_target(evaluate_work *w);
void evaluate_print_labels(const json_t *aggregate);

/* evaluate_print.c */
void evaluate_print_summary(const evaluate_work *w, int64_t failed);

#endif
