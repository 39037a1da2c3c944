/* heartbeat_thread.c - what a rank's second thread does, several times a second: says that the process lives, and ends it
 * where its main thread cannot. SPDX-License-Identifier: Apache-2.0 */
#include "dg_trace.h"
#include "heartbeat_impl.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TURN_NANOSECONDS = 200000000, REPORT_TURNS = 15 };
static const double FILE_S = 1.0;      /* between two files */
static const double FOLDER_S = 2.0;    /* between two looks for a fault of another host */
static const double SUSPENDED_S = 2.0; /* a turn that took longer: the process was suspended */
static const double LEAVE_S = 3.0;     /* for the main threads to end by themselves after a fault */
static const double GONE_S = 1.0;      /* for the launcher to notice a dead rank first */
static const double GRACE_S = 2.0;     /* beyond the deadline that a main thread keeps itself */

/* Ages do not count the time before the process came back from a suspension. */
static double age(const dg_heartbeat *h, double now, double since)
{
    double resumed = atomic_load(&h->resumed_s);
    return now - (since > resumed ? since : resumed);
}

/* The lowest rank of a host whose thread still runs writes for all. */
static bool writes_file(dg_heartbeat *h, double now)
{
    for (pulse_row *row = h->table->row; row < h->row; row++)
        if (atomic_load(&row->pid) != 0 && now - atomic_load(&row->beat_s) < SUSPENDED_S) return false;
    return true;
}

static void write_files(dg_heartbeat *h, double now)
{
    char folder[DG_PATH_MAX];
    if (now - h->file_s < FILE_S || !writes_file(h, now)) return;
    h->file_s = now;
    dg_heartbeat_get_folder(h, folder);
    if (folder[0] != '\0') dg_heartbeat_write(h, folder);
    if (h->extra[0] != '\0') dg_heartbeat_write(h, h->extra);
}

static void give_stack(dg_heartbeat *h)
{
    if (atomic_load(&h->row->stack) != STACK_WANTED) return;
    if (!dg_stack_take(h->main_thread, h->row->stack_text, sizeof h->row->stack_text))
        snprintf(h->row->stack_text, sizeof h->row->stack_text, "    the main thread does not answer a signal\n");
    atomic_store(&h->row->stack, STACK_READY);
}

static void give_up(dg_heartbeat *h, const char *why)
{
    dg_heartbeat_fault(h, why);
    for (int turn = 0; turn < REPORT_TURNS && !dg_heartbeat_reported(h); turn++) {
        give_stack(h); /* which the report may ask for */
        nanosleep(&(struct timespec){.tv_nsec = TURN_NANOSECONDS}, NULL);
    }
    h->options.leave(h->options.context, why);
}

static void check_launcher(dg_heartbeat *h)
{
    char why[160];
    if (h->launcher == 0 || getppid() == h->launcher) return;
    snprintf(why, sizeof why, "rank %d of %d on %s: the launcher (process %d) is gone", h->rank, h->size, h->host,
             (int)h->launcher);
    h->options.leave(h->options.context, why);
}

/* Ranks of a host watch each other in a ring: a rank that died without an end never answers. */
static void check_neighbour(dg_heartbeat *h, double now)
{
    pulse_row *row = &h->table->row[(h->row - h->table->row + 1) % h->rows];
    int pid = atomic_load(&row->pid);
    bool there = row == h->row || pid == 0 || atomic_load(&row->phase) == DG_PHASE_END ||
                 now - atomic_load(&row->beat_s) < SUSPENDED_S || !dg_process_is_gone(pid);
    if (there) h->gone_s = 0;
    if (there || h->gone_s == 0) {
        if (!there) h->gone_s = now;
        return;
    }
    if (now - h->gone_s < GONE_S) return;
    dg_pulse p;
    char what[400], why[512];
    dg_pulse_take(h, row, &p);
    dg_pulse_describe(&p, what, sizeof what);
    snprintf(why, sizeof why, "%s is gone: killed, perhaps for want of memory", what);
    give_up(h, why);
}

/* Files, and waits that the main thread cannot poll itself. */
static void check_deadline(dg_heartbeat *h, double now)
{
    double waiting = atomic_load(&h->row->wait_s), timeout = atomic_load(&h->timeout_s);
    int phase = atomic_load(&h->row->phase);
    char what[400], why[640], who[600];
    dg_pulse p;
    if (waiting > 0 ? age(h, now, waiting) < timeout + GRACE_S || !dg_heartbeat_is_late(h)
                    : phase < DG_PHASE_READ || age(h, now, atomic_load(&h->row->mark_s)) < timeout)
        return;
    dg_pulse_take(h, h->row, &p);
    dg_pulse_describe(&p, what, sizeof what);
    snprintf(why, sizeof why, "%s: not complete after %.3g s", what, timeout);
    if (waiting > 0) {
        dg_heartbeat_blame(h, atomic_load(&h->row->peer), who, sizeof who);
        size_t used = strlen(why);
        snprintf(why + used, sizeof why - used, ": %s", who);
    }
    give_up(h, why);
}

/* Another rank of this host, or of another one, gave up: all go. */
static void check_fault(dg_heartbeat *h, double now)
{
    char folder[DG_PATH_MAX], path[DG_PATH_MAX], name[ID_TEXT + 16], why[160];
    int fault = atomic_load(&h->table->fault);
    double since = atomic_load(&h->table->fault_s);
    if (fault == 0 && now - h->folder_s > FOLDER_S && h->rows < h->size && writes_file(h, now)) {
        h->folder_s = now;
        dg_heartbeat_get_folder(h, folder);
        snprintf(name, sizeof name, "fault-%s.txt", h->id);
        if (folder[0] == '\0' || dg_path_join(path, folder, name) != DG_OK || !dg_file_exists(path)) return;
        dg_heartbeat_fault(h, "a rank of another host gave up");
    } else if (fault != 0 && since > 0 && now - since > LEAVE_S) {
        snprintf(why, sizeof why, "rank %d of %d on %s: ended, because rank %d gave up", h->rank, h->size, h->host,
                 fault - 1);
        h->options.leave(h->options.context, why);
    }
}

void *dg_heartbeat_run(void *context)
{
    dg_heartbeat *h = context;
    double last = dg_time_s();
    atomic_store(&h->resumed_s, last); /* nothing before this was watched */
    while (!atomic_load(&h->stop)) {
        double now = dg_time_s();
        if (now - last > SUSPENDED_S) atomic_store(&h->resumed_s, now);
        last = now;
        atomic_store(&h->row->beat_s, now);
        give_stack(h);
        write_files(h, now);
        check_launcher(h);
        check_neighbour(h, now);
        check_deadline(h, now);
        check_fault(h, now);
        nanosleep(&(struct timespec){.tv_nsec = TURN_NANOSECONDS}, NULL);
    }
    dg_heartbeat_remove(h);
    return NULL;
}
