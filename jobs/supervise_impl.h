/* supervise_impl.h - what the files of `dosegrid supervise` share. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_SUPERVISE_IMPL_H
#define DG_SUPERVISE_IMPL_H

#include "dg_file.h"
#include "job.h"

#include <sys/types.h>

enum { SUPERVISE_TAIL = 1 << 16 };

typedef struct supervise_settings {
    double hang_timeout_s, backoff_s;
    int64_t max_restarts;
    bool restart_preempted;
    char diagnostics[DG_OPT_TEXT];
} supervise_settings;

/* One start of the command. */
typedef struct supervise_attempt {
    pid_t pid;
    int number;    /* from 1 */
    int output[2]; /* what it writes to its standard output and error comes out here; -1: closed */
    int status;    /* of waitpid */
    bool ended, hung;
    double started_s, moved_s; /* when it began, and when its heartbeat last went on */
    int64_t marks, reached;    /* of the heartbeat: marks so far; step, or tasks begun where there are no steps */
    bool seen;                 /* it has a heartbeat */
} supervise_attempt;

typedef struct supervisor {
    const dg_job_env *env;
    const supervise_settings *s;
    char *const *command;    /* NULL at the end */
    char beats[DG_PATH_MAX]; /* folder of the heartbeat's files, made for this supervisor */
    char *tail;              /* [SUPERVISE_TAIL], a ring of what the command last wrote */
    int64_t written;
    supervise_attempt a;
} supervisor;

/* supervise_processes.c: the command's processes, also those that left its group or lost their parent. */
typedef void (*supervise_visit)(void *context, pid_t pid);
/* Visits every process that descends from this one. */
void supervise_each(supervise_visit visit, void *context);
/* Takes note of ended children; of the command's own end in `a`. */
void supervise_reap(supervise_attempt *a);
/* Ends them all: SIGTERM, `grace_s` later SIGKILL. Returns how many had to be killed. */
int supervise_end_all(supervise_attempt *a, double grace_s);

/* supervise_keep.c: writes DIAGNOSTICS/<time>/ about the present attempt; best effort, a full disk stops no restart.
 * `folder` gets the path, "" where it could not be made. */
void supervise_keep(supervisor *v, const char *why, char folder[DG_PATH_MAX]);

#endif
