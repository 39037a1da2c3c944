/* job.h - what every job of the command line is: a name, a line of help, a function. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_JOB_H
#define DG_JOB_H

#include "dg_comm.h"
#include "dg_log.h"
#include "dg_options.h"

#include <jansson.h>

/* Exit codes of the program (design.md section 5). */
enum { DG_EXIT_DONE = 0, DG_EXIT_FAILED = 1, DG_EXIT_USAGE = 2, DG_EXIT_SOME_CASES = 3, DG_EXIT_PREEMPTED = 75 };

/* What main gives a job; borrowed for the call. */
typedef struct dg_job_env {
    dg_comm *comm;
    dg_log *log;
    const char *program; /* argv[0] */
} dg_job_env;

/* A job gets the arguments after its name. Returning an error status makes main show the record, agree over ranks and
 * map it to an exit code; DG_OK leaves *exit_code (0 at entry) as the job set it: 3 for "done but some cases failed".
 * Collective: every rank runs the same job and returns the same code. */
typedef struct dg_job {
    const char *name;
    const char *summary; /* one line */
    bool spreads;        /* its work is shared out over ranks: it refuses to run as one process of a job of several tasks */
    dg_status (*run)(const dg_job_env *env, int argc, char *const *argv, int *exit_code);
} dg_job;

/* What a job takes; everything borrowed. */
typedef struct dg_job_arguments {
    const char *usage; /* what follows "dosegrid JOB": "CONFIG [--resume] [--set key=value]..." */
    const dg_option *rows;
    int row_count;
    void *target;                         /* the struct of the rows */
    const char **positional;              /* [positional_max] */
    int positional_min, positional_max;
} dg_job_arguments;

/* Binds the rows, then reads DG_* variables and the arguments. --help and -h need no row: they print usage, summary and
 * flags (rank 0) and set *helped; the job then returns DG_OK at once, with nothing to release. Else the caller owns
 * `options` (dg_options_release). A config file the job names is read afterwards; origins keep the order right. */
DG_MUST_USE dg_status dg_job_read_arguments(const dg_job_env *env, const dg_job *job, const dg_job_arguments *arguments,
                                            int argc, char *const *argv, dg_options *options, int *positional_count,
                                            bool *helped);
/* Reads the configuration of a run; DG_ERR_USAGE tells one who names a sweep's file what that is for. */
DG_MUST_USE dg_status dg_job_read_config(dg_options *options, const char *path);
/* The flag of every job whose ranks wait for each other; `settings_` has a double `comm_timeout_s`. */
#define DG_JOB_COMM_TIMEOUT(group_, settings_)                                                                        \
    {                                                                                                                 \
        .key = group_ ".comm_timeout", .flag = "comm-timeout", .type = DG_OPT_DOUBLE,                                 \
        .offset = offsetof(settings_, comm_timeout_s), .min = 1, .max = 1e6, .fallback = "300", .unit = "s",          \
        .help =                                                                                                       \
            "ends the job when a rank that others wait for, or a file, makes no progress for so long, and says which" \
    }
/* Gives the waits of this job their deadline, and the heartbeat FOLDER/log (made here) for its files; "": no files. Not
 * collective. */
void dg_job_watch(const dg_job_env *env, double comm_timeout_s, const char *folder);
/* Rank 0 prints `root` to standard output, the answer of --json; takes it. NULL: out of memory. */
DG_MUST_USE dg_status dg_job_print_json(const dg_job_env *env, json_t *root);

extern const dg_job dg_job_import;
extern const dg_job dg_job_synth;
extern const dg_job dg_job_pack;
extern const dg_job dg_job_inspect;
extern const dg_job dg_job_calibrate;
extern const dg_job dg_job_train;
extern const dg_job dg_job_status;
extern const dg_job dg_job_predict;
extern const dg_job dg_job_segment;
extern const dg_job dg_job_evaluate;
extern const dg_job dg_job_gamma;
extern const dg_job dg_job_compare;
extern const dg_job dg_job_diff;
extern const dg_job dg_job_analyze;
extern const dg_job dg_job_report;
extern const dg_job dg_job_export;
extern const dg_job dg_job_sweep;
extern const dg_job dg_job_submit;
extern const dg_job dg_job_supervise;
extern const dg_job dg_job_plan;
extern const dg_job dg_job_bench;
extern const dg_job dg_job_doctor;
extern const dg_job dg_job_options;

#endif
