/* heartbeat.c - marks, and the life of a heartbeat. SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "dg_trace.h"
#include "heartbeat_impl.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *dg_phase_name(dg_phase phase)
{
    static const char *const names[DG_PHASES] = {"start",    "forward", "backward", "reduce", "update",
                                                 "validate", "predict", "evaluate", "import", "cooling",
                                                 "read",     "data",    "write",    "save",   "end"};
    return (unsigned)phase < DG_PHASES ? names[phase] : "unknown";
}

/* ---- marks ------------------------------------------------------------------------------------------------------- */

void dg_pulse_text_put(shared_text *to, const char *text)
{
    unsigned version = atomic_load_explicit(&to->version, memory_order_relaxed);
    atomic_store_explicit(&to->version, version + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    size_t length = strnlen(text, sizeof to->text - 1);
    memcpy(to->text, text, length);
    to->text[length] = '\0';
    atomic_store_explicit(&to->version, version + 2, memory_order_release);
}

void dg_pulse_text_get(shared_text *from, char *text, size_t capacity)
{
    char copy[sizeof from->text];
    for (int tries = 0; tries < 100; tries++) {
        unsigned before = atomic_load_explicit(&from->version, memory_order_acquire);
        memcpy(copy, from->text, sizeof copy);
        atomic_thread_fence(memory_order_acquire);
        if (before % 2 == 0 && before == atomic_load_explicit(&from->version, memory_order_relaxed)) break;
    }
    copy[sizeof copy - 1] = '\0'; /* a writer that died half-way leaves what there is */
    snprintf(text, capacity, "%s", copy);
}

static void mark(pulse_row *row, double now)
{
    atomic_fetch_add_explicit(&row->marks, 1, memory_order_relaxed);
    atomic_store_explicit(&row->mark_s, now, memory_order_relaxed);
}

dg_phase dg_heartbeat_phase(dg_heartbeat *heartbeat, dg_phase phase)
{
    if (heartbeat == NULL) return DG_PHASE_START;
    pulse_row *row = heartbeat->row;
    double now = dg_time_s();
    int before = atomic_exchange_explicit(&row->phase, (int)phase, memory_order_relaxed);
    atomic_store_explicit(&row->phase_s, now, memory_order_relaxed);
    mark(row, now);
    return (dg_phase)before;
}

void dg_heartbeat_step(dg_heartbeat *heartbeat, int64_t step)
{
    if (heartbeat == NULL) return;
    atomic_store_explicit(&heartbeat->row->step, step, memory_order_relaxed);
    mark(heartbeat->row, dg_time_s());
}

void dg_heartbeat_task(dg_heartbeat *heartbeat, const char *task)
{
    if (heartbeat == NULL) return;
    dg_pulse_text_put(&heartbeat->row->task, task == NULL ? "" : task);
    if (task != NULL && task[0] != '\0') atomic_fetch_add_explicit(&heartbeat->row->tasks, 1, memory_order_relaxed);
    mark(heartbeat->row, dg_time_s());
}

void dg_heartbeat_operation(dg_heartbeat *heartbeat)
{
    if (heartbeat != NULL) atomic_fetch_add_explicit(&heartbeat->row->operations, 1, memory_order_relaxed);
}

void dg_heartbeat_tick(dg_heartbeat *heartbeat)
{
    if (heartbeat != NULL) mark(heartbeat->row, dg_time_s());
}

void dg_pulse_take(const dg_heartbeat *heartbeat, pulse_row *row, dg_pulse *out)
{
    double now = dg_time_s(), waiting = atomic_load(&row->wait_s);
    memset(out, 0, sizeof *out);
    out->rank = atomic_load(&row->rank);
    out->pid = atomic_load(&row->pid);
    memcpy(out->host, heartbeat->host, sizeof out->host);
    out->phase = (dg_phase)atomic_load(&row->phase);
    out->step = atomic_load(&row->step);
    out->tasks = atomic_load(&row->tasks);
    out->marks = atomic_load(&row->marks);
    out->operations = atomic_load(&row->operations);
    out->phase_age_s = now - atomic_load(&row->phase_s);
    out->mark_age_s = now - atomic_load(&row->mark_s);
    out->beat_age_s = now - atomic_load(&row->beat_s);
    out->wait_age_s = waiting > 0 ? now - waiting : -1;
    dg_pulse_text_get(&row->task, out->task, sizeof out->task);
    if (waiting > 0) dg_pulse_text_get(&row->wait, out->wait, sizeof out->wait);
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

int64_t dg_heartbeat_table_bytes(int local_size)
{
    return (int64_t)sizeof(pulse_table) + local_size * (int64_t)sizeof(pulse_row);
}

static void fill_row(dg_heartbeat *h)
{
    double now = dg_time_s();
    pulse_row *row = h->row;
    atomic_store(&row->rank, h->rank);
    atomic_store(&row->step, -1);
    atomic_store(&row->phase, DG_PHASE_START);
    atomic_store(&row->phase_s, now);
    atomic_store(&row->mark_s, now);
    atomic_store(&row->beat_s, now);
    atomic_store(&h->resumed_s, now);
    atomic_store(&row->pid, (int)getpid()); /* last: the row is there */
}

static dg_status start_thread(dg_heartbeat *h)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the main thread's */
    int failed = pthread_create(&h->thread, NULL, dg_heartbeat_run, h);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0) return DG_FAIL(DG_ERR_MEMORY, "rank %d: the heartbeat's thread cannot be made", h->rank);
    return DG_OK;
}

dg_status dg_heartbeat_create(dg_comm *comm, const dg_heartbeat_options *options, void *table, const char *id,
                              dg_heartbeat **out)
{
    dg_heartbeat *h = NULL;
    *out = NULL;
    DG_TRY(DG_NEW(&h, 1, "heartbeat"));
    memcpy(h->host, comm->host, sizeof h->host);
    h->rank = comm->rank;
    h->size = comm->size;
    atomic_store(&h->timeout_s, comm->timeout_s);
    h->options = *options;
    h->table = table;
    h->owns_table = table == NULL;
    h->rows = table == NULL ? 1 : comm->local_size;
    h->launcher = options->launched ? getppid() : 0;
    h->main_thread = pthread_self();
    snprintf(h->id, sizeof h->id, "%s", id);
    if (options->extra != NULL) snprintf(h->extra, sizeof h->extra, "%s", options->extra);
    pthread_mutex_init(&h->lock, NULL);
    dg_status status = DG_OK;
    if (h->owns_table) status = dg_alloc(&h->table, 1, (size_t)dg_heartbeat_table_bytes(1), "heartbeat");
    if (status == DG_OK) {
        h->row = &h->table->row[h->owns_table ? 0 : comm->local_rank];
        fill_row(h);
        dg_stack_install();
        status = start_thread(h);
    }
    if (status != DG_OK) {
        if (h->owns_table) dg_free(&h->table);
        dg_free(&h);
        return status;
    }
    comm->heartbeat = *out = h;
    return DG_OK;
}

void dg_heartbeat_folder(dg_heartbeat *h, const char *folder)
{
    if (h == NULL) return;
    pthread_mutex_lock(&h->lock);
    snprintf(h->folder, sizeof h->folder, "%s", folder == NULL ? "" : folder);
    pthread_mutex_unlock(&h->lock);
    if (folder == NULL) return;
    if (h->rank == 0) dg_heartbeat_forget_others(h, folder);
    dg_heartbeat_write(h, folder); /* a rank may be stuck before its thread comes to it */
}

void dg_heartbeat_get_folder(dg_heartbeat *h, char folder[DG_PATH_MAX])
{
    pthread_mutex_lock(&h->lock);
    memcpy(folder, h->folder, DG_PATH_MAX);
    pthread_mutex_unlock(&h->lock);
}

void dg_heartbeat_destroy(dg_heartbeat **heartbeat)
{
    dg_heartbeat *h = *heartbeat;
    if (h == NULL) return;
    (void)dg_heartbeat_phase(h, DG_PHASE_END);
    atomic_store(&h->stop, true);
    pthread_join(h->thread, NULL);
    pthread_mutex_destroy(&h->lock);
    if (h->owns_table) dg_free(&h->table);
    dg_free(heartbeat);
}
