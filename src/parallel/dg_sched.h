/* dg_sched.h - the batch scheduler a run lives under, if any: an interface. `sched_none.c` is a workstation; `cluster/`
 * adds Slurm through its commands (dg_cluster.h opens the right one). Not collective; rank 0 asks and broadcasts. Times
 * are seconds since 1970 (Unix time). SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_SCHED_H
#define DG_SCHED_H

#include "dg_status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct dg_sched dg_sched;

/* What the scheduler knows of a job. */
typedef struct dg_sched_job {
    char state[32];  /* its own word: "RUNNING", "PENDING", "COMPLETED", "PREEMPTED", ... */
    double end_time; /* when the scheduler will end it, or it ended; INFINITY: nothing limits it */
    int restarts;    /* how often it went back to the queue */
    bool requeue;    /* may go back to the queue */
} dg_sched_job;

typedef struct dg_sched_ops {
    const char *name; /* "none", "slurm" */
    void (*destroy)(dg_sched *sched);
    dg_status (*job)(dg_sched *sched, const char *job_id, dg_sched_job *out);
    dg_status (*end_time)(dg_sched *sched, double *end_time);
    dg_status (*requeue)(dg_sched *sched);
} dg_sched_ops;

struct dg_sched {
    const dg_sched_ops *ops;
    char job_id[64];     /* "" under none */
    int expected_ranks;  /* what the scheduler was asked for; 0 unknown */
    int restart_count;   /* of this job; a hint only: it can be unset after a controller crash */
};

DG_MUST_USE dg_status dg_sched_none_create(dg_sched **out);
void dg_sched_destroy(dg_sched **sched);
/* Asks for the state of any job by its id. DG_ERR_USAGE: no such job (any more); DG_ERR_IO: no answer in time;
 * DG_ERR_UNSUPPORTED under none. */
DG_MUST_USE dg_status dg_sched_job_state(dg_sched *sched, const char *job_id, dg_sched_job *out);
/* When the scheduler ends this job; INFINITY when nothing limits it. Cheap enough to call at every step: the scheduler
 * is asked at the first call, then every ten minutes, and every minute in the last twenty: a limit can be changed
 * while the job runs. Later calls keep the last answer where none comes within 5 s. DG_ERR_IO: the first got none. */
DG_MUST_USE dg_status dg_sched_end_time(dg_sched *sched, double *end_time);
/* Seconds until then, by this host's clock; INFINITY as above. */
DG_MUST_USE dg_status dg_sched_seconds_left(dg_sched *sched, double *seconds);
/* Asks for this job to be run again: the scheduler ends it (SIGTERM) and puts it back into the queue. DG_ERR_UNSUPPORTED
 * where nobody could. */
DG_MUST_USE dg_status dg_sched_requeue(dg_sched *sched);

#endif
