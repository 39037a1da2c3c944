/* stop.h - requests to stop from outside, acted on at the next step or case: SIGTERM, SIGUSR1 (a scheduler's warning) and
 * SIGINT, a file named `stop` in the job's output folder, and the scheduler's end time.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_STOP_H
#define DG_STOP_H

#include "dg_file.h"
#include "dg_log.h"
#include "dg_sched.h"

/* Begins to note signals; what was noted before stays. A second SIGINT ends the process at once; a second signal of
 * another kind changes nothing. */
void dg_stop_install(void);
/* The noted signal, or 0. */
int dg_stop_requested(void);
/* Gives the signals back to the system and forgets what was noted. After a request they stay ignored: the process is on
 * its way out, and another signal must not change its exit code. */
void dg_stop_remove(void);

/* Why a job stops; where several ranks have a reason, the largest counts. A signal's number is a reason too. */
enum { DG_STOP_FILE = 1000, DG_STOP_END_TIME };
/* "SIGTERM", "the stop file", "the scheduler's end time"; a literal. */
const char *dg_stop_name(int reason);

/* What one rank watches beside signals. */
typedef struct dg_stop_watch {
    char path[DG_PATH_MAX];
    dg_sched *sched; /* NULL: nobody ends the job, or another rank asks */
    dg_log *log;     /* borrowed */
    double looked_s;
} dg_stop_watch;
/* Watches FOLDER/stop, and with `asks` the scheduler (rank 0 does). A scheduler that does not answer is a warning. */
void dg_stop_watch_open(dg_stop_watch *watch, const char *folder, bool asks, dg_log *log);
/* The reason to stop now, or 0: a signal was noted, the file is there (looked for at most once a second), or the
 * scheduler ends the job within little more than `needed_s` seconds, the time that stopping takes. */
int dg_stop_watch_due(dg_stop_watch *watch, double needed_s);
/* `consumed`: the job stopped, so the file has had its effect and is removed. */
void dg_stop_watch_close(dg_stop_watch *watch, bool consumed);

#endif
