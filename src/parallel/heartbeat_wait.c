/* heartbeat_wait.c - waits that end: polls with a deadline, and the processor left to others meanwhile.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_trace.h"
#include "heartbeat_impl.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { SPINS = 100, YIELDS = 4000, PAUSE_NANOSECONDS = 50000 };
/* A longer gap between two polls is no wait but a suspension: SIGSTOP, a frozen cgroup, a closed lid. */
static const double SUSPENDED_S = 2.0;
/* Between two looks at who is behind, where others are still at work. */
static const double LOOK_S = 0.5;

void dg_comm_set_timeout(dg_comm *comm, double seconds)
{
    comm->timeout_s = seconds;
    if (comm->heartbeat != NULL) atomic_store(&comm->heartbeat->timeout_s, seconds);
}

void dg_wait_begin(dg_comm *comm, const char *what, int peer, dg_wait *wait)
{
    *wait = (dg_wait){.comm = comm, .what = what, .peer = peer, .begun_s = dg_time_s()};
    wait->polled_s = wait->begun_s;
    if (comm->heartbeat == NULL) return;
    pulse_row *row = comm->heartbeat->row;
    wait->nested = atomic_load_explicit(&row->wait_s, memory_order_relaxed) > 0;
    if (wait->nested) return; /* the outer one says it */
    dg_pulse_text_put(&row->wait, what);
    atomic_store_explicit(&row->peer, peer, memory_order_relaxed);
    atomic_store_explicit(&row->wait_s, wait->begun_s, memory_order_relaxed);
}

void dg_wait_end(dg_wait *wait)
{
    if (wait->comm->heartbeat == NULL || wait->nested) return;
    dg_heartbeat_tick(wait->comm->heartbeat); /* first: the wait does not count against the phase it was in */
    atomic_store(&wait->comm->heartbeat->row->wait_s, 0);
}

static dg_status fail_late(dg_wait *wait)
{
    dg_comm *comm = wait->comm;
    char who[DG_ERROR_TEXT_MAX - 300], where[64] = "", peer[32] = "";
    dg_heartbeat_blame(comm->heartbeat, wait->peer, who, sizeof who);
    if (comm->heartbeat != NULL) {
        pulse_row *row = comm->heartbeat->row;
        long long step = atomic_load(&row->step);
        if (step >= 0) snprintf(where, sizeof where, ", step %lld", step);
        size_t used = strlen(where);
        snprintf(where + used, sizeof where - used, ", phase %s", dg_phase_name((dg_phase)atomic_load(&row->phase)));
    }
    if (wait->peer >= 0) snprintf(peer, sizeof peer, " rank %d", wait->peer);
    dg_status status = DG_FAIL(DG_ERR_COMM, "rank %d of %d on %s%s: %s%s not complete after %.3g s: %s", comm->rank,
                               comm->size, comm->host, where, wait->what, peer, dg_time_s() - wait->begun_s, who);
    if (comm->heartbeat != NULL) {
        dg_heartbeat_fault(comm->heartbeat, dg_error_last()->text);
        dg_heartbeat_await_report(comm->heartbeat);
    }
    return status;
}

dg_status dg_wait_poll(dg_wait *wait)
{
    dg_comm *comm = wait->comm;
    double now = dg_time_s();
    if (now - wait->polled_s > SUSPENDED_S) wait->begun_s = now;
    wait->polled_s = now;
    if (now - wait->begun_s > comm->timeout_s && now > wait->look_s) {
        if (comm->heartbeat == NULL || dg_heartbeat_is_late(comm->heartbeat)) return fail_late(wait);
        wait->look_s = now + LOOK_S;
    }
    if (++wait->polls <= SPINS) return DG_OK;
    if (wait->polls <= YIELDS)
        sched_yield();
    else
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_NANOSECONDS}, NULL);
    return DG_OK;
}
