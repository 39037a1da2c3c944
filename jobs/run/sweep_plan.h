/* sweep_plan.h - a sweep as its file describes it: conditions x seeds (x folds), each a training with settings of its
 * own (doc/sweep.md). SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_SWEEP_PLAN_H
#define DG_SWEEP_PLAN_H

#include "dg_file.h"
#include "dg_yaml.h"
#include "run_config.h"

enum {
    DG_SWEEP_CONDITIONS_MAX = 64,
    DG_SWEEP_SEEDS_MAX = 64,
    DG_SWEEP_FOLDS_MAX = 64,
    DG_SWEEP_RUNS_MAX = 1000,
    DG_SWEEP_TARGETS_MAX = 8,
    DG_SWEEP_NAME = 64,
    DG_SWEEP_TEXT = 1024
};

/* Which cases each run keeps untouched. */
typedef enum dg_sweep_split {
    DG_SWEEP_LOCKED,   /* one split for all runs, that of the base configuration */
    DG_SWEEP_PER_SEED, /* drawn anew for each seed */
    DG_SWEEP_KFOLD     /* every group is tested once per seed: folds, drawn once */
} dg_sweep_split;

/* What a condition promises: the mean over seeds and cases of a metric. */
typedef struct dg_sweep_target {
    char metric[256];
    bool at_most; /* else at least */
    double limit;
} dg_sweep_target;

typedef struct dg_sweep_condition {
    char name[DG_SWEEP_NAME]; /* letters, digits, _ - and inner dots */
    char hypothesis[DG_SWEEP_TEXT], notes[DG_SWEEP_TEXT];
    const dg_yaml_node *set; /* NULL: nothing */
    int weights_of; /* an earlier condition whose networks this one draws from or judges otherwise; -1: its own */
    bool draws;     /* it makes predictions: it trains, or sets more than evaluate.members */
    int64_t seed_offset; /* added to run.seed: the same condition with other seeds shows what chance does (A/A) */
    dg_sweep_target target[DG_SWEEP_TARGETS_MAX];
    int targets;
} dg_sweep_condition;

typedef struct dg_sweep {
    dg_yaml_node *root;                          /* owned: `set` point into it */
    char path[DG_PATH_MAX], folder[DG_PATH_MAX]; /* of the file */
    char name[DG_SWEEP_NAME], base[DG_SWEEP_NAME], primary[256];
    const dg_yaml_node *set;
    int64_t seed[DG_SWEEP_SEEDS_MAX];
    int seeds, seeds_line;
    dg_sweep_split split;
    int folds, split_line; /* folds 1 unless k-fold */
    dg_sweep_condition condition[DG_SWEEP_CONDITIONS_MAX];
    int conditions, reference;
} dg_sweep;

/* Reads and checks the file. DG_ERR_USAGE with file and line: unknown keys, names that are no plain words, seeds
 * given twice, no reference, more runs than DG_SWEEP_RUNS_MAX. Settings themselves are checked by dg_sweep_apply. Not
 * collective. */
DG_MUST_USE dg_status dg_sweep_read(const char *path, dg_sweep *out);
void dg_sweep_release(dg_sweep *sweep);
/* Does this YAML file describe a sweep (a top map with `conditions`)? False also where it cannot be read. */
bool dg_sweep_is(const char *path);

/* Settings of a condition onto a table whose first rows are dg_run_config_rows: base configuration, the sweep's `set`,
 * those of the condition whose weights it takes, the condition's own; the latter two with origin "condition NAME of
 * FILE:LINE", stronger than environment and command line. */
DG_MUST_USE dg_status dg_sweep_apply(const dg_sweep *sweep, int condition, dg_options *options);

/* A training of the sweep: number index = (condition * seeds + seed) * folds + fold. */
typedef struct dg_sweep_run {
    int condition, seed, fold; /* seed: index; fold 0 unless k-fold */
    char name[3 * DG_SWEEP_NAME];
} dg_sweep_run;
/* Number of the run with the same seed and fold whose weights, and whose predictions, this run takes; its own where it makes
 * them. */
int dg_sweep_trained(const dg_sweep *sweep, int index);
int dg_sweep_drawn(const dg_sweep *sweep, int index);
int dg_sweep_runs(const dg_sweep *sweep);
dg_sweep_run dg_sweep_run_at(const dg_sweep *sweep, int index);
/* By name; DG_ERR_USAGE lists how names are made. */
DG_MUST_USE dg_status dg_sweep_find_run(const dg_sweep *sweep, const char *name, dg_sweep_run *out);
/* dg_sweep_apply, then what makes the run this one: name, condition, seed, folder (FOLDER OF THE
 * FILE/experiments/CONDITION), split. DG_ERR_USAGE: environment or command line give one of the first four. */
DG_MUST_USE dg_status dg_sweep_apply_run(const dg_sweep *sweep, const dg_sweep_run *run, dg_options *options);
/* Folder of a condition, of a run, and the split file of a fold. */
DG_MUST_USE dg_status dg_sweep_condition_folder(const dg_sweep *sweep, int condition, char path[DG_PATH_MAX]);
DG_MUST_USE dg_status dg_sweep_run_folder(const dg_sweep *sweep, const dg_sweep_run *run, char path[DG_PATH_MAX]);
DG_MUST_USE dg_status dg_sweep_fold_file(const dg_sweep *sweep, int fold, char path[DG_PATH_MAX]);

#endif
