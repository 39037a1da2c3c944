/* dg_sched.h - the batch scheduler a run lives under, if any: an interface. `sched_none.c` is a workstation; `cluster/`
 * adds Slurm through its commands. Not collective; rank 0 asks and broadcasts. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_SCHED_H
#define DG_SCHED_H

#include "dg_status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct dg_sched dg_sched;

typedef struct dg_sched_ops {
    const char *name; /* "none", "slurm" */
    void (*destroy)(dg_sched *sched);
    dg_status (*seconds_left)(dg_sched *sched, double *seconds);
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
/* Seconds until the scheduler ends the job; INFINITY when nothing limits it. */
DG_MUST_USE dg_status dg_sched_seconds_left(dg_sched *sched, double *seconds);
/* Asks for the job to be run again; DG_ERR_UNSUPPORTED where nobody could. */
DG_MUST_USE dg_status dg_sched_requeue(dg_sched *sched);

#endif
