/* stop.c - the one place with state of the whole process, because signals have nowhere else to put theirs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "stop.h"

#include "dg_cluster.h"
#include "dg_trace.h"

#include <math.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

static const int numbers[] = {SIGTERM, SIGUSR1, SIGINT};
static const double LOOK_EVERY_S = 1, SPARE_S = 20; /* for the end of the process, behind what the job needs */

static volatile sig_atomic_t noted;

static void note(int number)
{
    if (number == SIGINT && noted == SIGINT) {
        signal(SIGINT, SIG_DFL);
        raise(SIGINT);
    }
    noted = number;
}

static void set_handler(void (*handler)(int))
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) sigaction(numbers[i], &action, NULL);
}

void dg_stop_install(void) { set_handler(note); }

int dg_stop_requested(void) { return noted; }

void dg_stop_remove(void)
{
    set_handler(noted != 0 ? SIG_IGN : SIG_DFL);
    noted = 0;
}

const char *dg_stop_name(int reason)
{
    switch (reason) {
    case SIGTERM: return "SIGTERM";
    case SIGUSR1: return "SIGUSR1";
    case SIGINT: return "SIGINT";
    case DG_STOP_FILE: return "the stop file";
    case DG_STOP_END_TIME: return "the scheduler's end time";
    default: return "a request";
    }
}

void dg_stop_watch_open(dg_stop_watch *watch, const char *folder, bool asks, dg_log *log)
{
    memset(watch, 0, sizeof *watch);
    watch->log = log;
    if (dg_path_join(watch->path, folder, "stop") != DG_OK) watch->path[0] = '\0';
    if (asks && dg_sched_open(&watch->sched) != DG_OK) dg_log_error(log);
}

/* A scheduler that does not answer must not end a run that it would let go on. */
static bool ends_within(dg_stop_watch *watch, double needed_s)
{
    double left_s = INFINITY;
    if (watch->sched == NULL) return false;
    if (dg_sched_seconds_left(watch->sched, &left_s) == DG_OK) return left_s <= needed_s + SPARE_S;
    dg_log_write(watch->log, DG_LOG_WARNING, "the end time of this job is not known: %s", dg_error_last()->text);
    dg_error_clear();
    dg_sched_destroy(&watch->sched);
    return false;
}

int dg_stop_watch_due(dg_stop_watch *watch, double needed_s)
{
    if (noted != 0) return noted;
    double now = dg_time_s();
    if (now - watch->looked_s < LOOK_EVERY_S) return 0;
    watch->looked_s = now;
    if (watch->path[0] != '\0' && dg_file_exists(watch->path)) return DG_STOP_FILE;
    return ends_within(watch, needed_s) ? DG_STOP_END_TIME : 0;
}

void dg_stop_watch_close(dg_stop_watch *watch, bool consumed)
{
    if (consumed && watch->path[0] != '\0') unlink(watch->path);
    dg_sched_destroy(&watch->sched);
    watch->path[0] = '\0';
}
