/* dg_batch.h - batch scripts and chains of them: rendered from cluster/templates, queued with dependencies. A script may be
 * started again from the top at any time, so its commands must go on from what is there (--resume).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_BATCH_H
#define DG_BATCH_H

#include "dg_status.h"

#include <stdbool.h>

/* What a job asks of the cluster. Texts are borrowed; NULL or "" leaves the choice to the site. */
typedef struct dg_batch_resources {
    int nodes, ranks_per_node, gpus_per_node, cpus_per_rank; /* at least 1; GPUs 0: none; cpus 0: the site's choice */
    const char *memory, *time, *partition, *account, *qos;   /* as sbatch takes them: memory per node, time limit */
    const char *const *more;                                 /* [more_count] further options of sbatch: "--exclusive" */
    int more_count;
    bool requeue;        /* goes back to the queue when it stopped with everything saved, or was killed */
    int signal_s;        /* warning before the end: the ranks then save; two thirds of it is their time for that */
    int max_restarts;    /* of a job that is killed again and again */
    bool mpirun;         /* ranks by mpirun inside the allocation; else srun --mpi=pmix */
    const char *program; /* words of the shell: the program, or "apptainer exec --nv dosegrid.sif dosegrid" */
    const char *setup;   /* lines of the shell that run first: modules */
    const char *logs;    /* folder of the logs, which must exist */
} dg_batch_resources;

/* One job of a chain; borrowed. `commands[count]` are argument lists of the program, each ended by NULL. */
typedef struct dg_batch_job {
    const char *name; /* letters, digits, _ . - */
    const char *const *const *commands;
    int count;
    const int *task_ids; /* [count] array indices in rising order, or NULL: no array, one command */
    int at_once;         /* tasks of the array that run together; 0: no limit */
    bool ranks, gpus;    /* uses more than one process; uses GPUs */
    bool some_suffice;   /* "done but some cases failed" lets the jobs that wait for it go on */
    int after;           /* index of an earlier job of the chain that must succeed first, or -1 */
    bool task_by_task;   /* task k waits for task k of that job only; both are arrays of the same indices */
} dg_batch_job;

enum { DG_BATCH_ID = 32 };

/* The text of one script; *text is the caller's (dg_free). DG_ERR_USAGE names a word that cannot stand in a directive. */
DG_MUST_USE dg_status dg_batch_render(const dg_batch_resources *resources, const dg_batch_job *job, char **text);
/* Writes FOLDER/<job's name>.sbatch for each job and FOLDER/<name>.sh, which queues them all or none. */
DG_MUST_USE dg_status dg_batch_write_chain(const dg_batch_resources *resources, const dg_batch_job *jobs, int count,
                                           const char *folder, const char *name);
/* Runs FOLDER/<name>.sh: ids[count] become the scheduler's. DG_ERR_IO with sbatch's words; nothing is queued then. */
DG_MUST_USE dg_status dg_batch_submit_chain(const dg_batch_job *jobs, int count, const char *folder, const char *name,
                                            char (*ids)[DG_BATCH_ID]);

#endif
