/* heartbeat_report.c - who is behind, and what can be found out about it. SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "dg_trace.h"
#include "heartbeat_impl.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    NAMED_MAX = 3,
    LISTED_MAX = 64,
    STACKS_MAX = 4,
    PROC_TEXT = 4096,
    STACK_TURNS = 60,
    TURN_NANOSECONDS = 20000000
};
/* A thread that writes its beat several times a second and has not for so long does not run. */
static const double STALE_S = 1.5;
/* That long a report may take: less than what the threads of other ranks leave until they go. */
static const double REPORT_S = 2.5;

/* ---- a process of this host ---------------------------------------------------------------------------------------- */

/* Reads /proc/PID/NAME; "" where it cannot be read. */
static void read_proc(int pid, const char *name, char text[PROC_TEXT])
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    text[0] = '\0';
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return;
    ssize_t got = read(descriptor, text, PROC_TEXT - 1);
    text[got > 0 ? got : 0] = '\0';
    close(descriptor);
}

/* The value of "Key:" in the text of a status file, up to the end of its line; "" where there is none. */
static void status_value(const char *text, const char *key, char *value, size_t capacity)
{
    const char *at = strstr(text, key);
    value[0] = '\0';
    if (at == NULL) return;
    for (at += strlen(key); isblank((unsigned char)*at); at++) continue;
    snprintf(value, capacity, "%.*s", (int)strcspn(at, "\n"), at);
}

bool dg_process_is_gone(int pid)
{
    char proc[PROC_TEXT];
    if (kill(pid, 0) != 0) return errno == ESRCH;
    read_proc(pid, "stat", proc);
    const char *state = strrchr(proc, ')'); /* a zombie waits for a launcher that does not look */
    return state != NULL && state[1] == ' ' && (state[2] == 'Z' || state[2] == 'X');
}

void dg_process_describe(int pid, char *text, size_t capacity)
{
    char proc[PROC_TEXT], state[32], memory[32], call[32] = "";
    read_proc(pid, "status", proc);
    if (proc[0] == '\0') {
        snprintf(text, capacity, "the process is gone");
        return;
    }
    status_value(proc, "State:", state, sizeof state);
    status_value(proc, "VmRSS:", memory, sizeof memory);
    read_proc(pid, "syscall", proc);
    snprintf(call, sizeof call, "%.*s", (int)strcspn(proc, " \n"), proc);
    read_proc(pid, "wchan", proc);
    if (proc[0] == '\0' || strcmp(proc, "0") == 0) snprintf(proc, sizeof proc, "-");
    snprintf(text, capacity, "state %s, kernel wait channel %.60s, system call %s, memory %s", state, proc,
             call[0] != '\0' ? call : "-", memory[0] != '\0' ? memory : "-");
}

/* ---- who is behind ------------------------------------------------------------------------------------------------- */

void dg_pulse_describe(const dg_pulse *p, char *text, size_t capacity)
{
    char step[48] = "", task[DG_PULSE_TASK + 16] = "", wait[64] = "", quiet[64] = "", clock_text[16] = "?";
    time_t since = time(NULL) - (time_t)p->phase_age_s;
    struct tm local;
    if (localtime_r(&since, &local) != NULL) strftime(clock_text, sizeof clock_text, "%H:%M:%S", &local);
    if (p->step >= 0) snprintf(step, sizeof step, " of step %lld", (long long)p->step);
    if (p->task[0] != '\0') snprintf(task, sizeof task, ", case %s", p->task);
    if (p->wait_age_s >= 0) snprintf(wait, sizeof wait, ", in %s for %.1f s", p->wait, p->wait_age_s);
    if (p->beat_age_s > STALE_S) snprintf(quiet, sizeof quiet, ", no sign of life for %.1f s", p->beat_age_s);
    snprintf(text, capacity, "rank %d on %s (process %d), phase %s%s%s since %s (%.1f s)%s%s", p->rank, p->host, p->pid,
             dg_phase_name(p->phase), step, task, clock_text, p->phase_age_s, wait, quiet);
}

void dg_heartbeat_where(dg_heartbeat *h, char *text, size_t capacity)
{
    char step[32] = "";
    dg_pulse p = {.phase = DG_PHASES, .step = -1};
    if (h != NULL) dg_pulse_take(h, h->row, &p);
    if (p.step >= 0) snprintf(step, sizeof step, "step %lld, ", (long long)p.step);
    snprintf(text, capacity, "%sphase %s", step, dg_phase_name(p.phase));
}

static bool is_behind(const dg_heartbeat *h, const dg_pulse *p)
{
    if (p->rank == h->rank || p->phase == DG_PHASE_END) return false;
    if (p->rank + 1 == atomic_load(&h->table->fault)) return false; /* it waited too, and gave up first */
    return p->wait_age_s < 0 || p->beat_age_s > STALE_S || p->operations < atomic_load(&h->row->operations);
}

/* It came to the same wait less than the deadline ago: what was late until then goes on now. */
static bool has_just_come(const dg_heartbeat *h, const dg_pulse *p)
{
    if (p->rank == h->rank || p->rank + 1 == atomic_load(&h->table->fault)) return false;
    return p->wait_age_s >= 0 && p->wait_age_s <= atomic_load(&h->timeout_s);
}

bool dg_heartbeat_is_late(dg_heartbeat *h)
{
    dg_pulse *pulses;
    int count, behind = 0, silent = 0, come = 0;
    if (dg_heartbeat_see(h, &pulses, &count) != DG_OK) return true;
    for (int i = 0; i < count; i++) {
        if (is_behind(h, &pulses[i])) {
            behind++;
            silent += pulses[i].mark_age_s > atomic_load(&h->timeout_s);
        } else
            come += has_just_come(h, &pulses[i]);
    }
    dg_free(&pulses);
    return silent > 0 || behind + come == 0;
}

/* The one that is waited for first, then those without a sign of life, then by how long they left no mark. */
static double guilt(const dg_pulse *p, int peer)
{
    return (p->rank == peer ? 2e9 : 0) + (p->beat_age_s > STALE_S ? 1e9 : 0) + p->mark_age_s;
}

static const dg_pulse *next_behind(const dg_heartbeat *h, const dg_pulse *pulses, int count, int peer, double below)
{
    const dg_pulse *worst = NULL;
    for (int i = 0; i < count; i++) {
        double g = guilt(&pulses[i], peer);
        if (!is_behind(h, &pulses[i]) || g >= below) continue;
        if (worst == NULL || g > guilt(worst, peer)) worst = &pulses[i];
    }
    return worst;
}

static void describe_behind(const dg_heartbeat *h, const dg_pulse *p, char *text, size_t capacity)
{
    char process[256];
    dg_pulse_describe(p, text, capacity);
    if (strcmp(p->host, h->host) != 0) return;
    size_t used = strlen(text);
    dg_process_describe(p->pid, process, sizeof process);
    snprintf(text + used, capacity - used, ": %s", process);
}

/* Everyone that is seen waits: whoever began fewer operations than this rank is kept waiting itself, and has no more to do
 * with it than the others. */
static bool all_wait(const dg_heartbeat *h, const dg_pulse *pulses, int count)
{
    for (int i = 0; i < count; i++) {
        const dg_pulse *p = &pulses[i];
        if (p->rank == h->rank || p->rank + 1 == atomic_load(&h->table->fault)) continue;
        if (p->phase == DG_PHASE_END || p->wait_age_s < 0 || p->beat_age_s > STALE_S) return false;
    }
    return count > 1;
}

/* Nobody that is seen is behind. */
static void blame_nobody(const dg_heartbeat *h, const dg_pulse *pulses, int count, char *text, size_t capacity)
{
    const char *other = NULL;
    for (int i = 0; i < count && other == NULL; i++)
        if (strcmp(pulses[i].host, h->host) != 0) other = pulses[i].host;
    if (count < h->size)
        snprintf(text, capacity, "the %d ranks that are seen from here wait too; nothing is seen of the other %d: %s",
                 count, h->size - count,
                 h->folder[0] == '\0' ? "this job has no folder that all hosts see"
                                      : "is their host up, and does it see the same folder?");
    else if (other != NULL)
        snprintf(text, capacity,
                 "all %d ranks are alive and wait for each other: the network between %s and %s is cut or stalls",
                 count, h->host, other);
    else
        snprintf(text, capacity,
                 "all %d ranks are alive and wait for each other: a fault of the MPI library or of "
                 "this program",
                 count);
}

void dg_heartbeat_blame(dg_heartbeat *h, int peer, char *text, size_t capacity)
{
    dg_pulse *pulses = NULL;
    int count = 0, named = 0;
    size_t used = 0;
    text[0] = '\0';
    if (h == NULL || dg_heartbeat_see(h, &pulses, &count) != DG_OK) {
        snprintf(text, capacity, "another rank is gone, stuck or far behind");
        return;
    }
    const bool nobody = all_wait(h, pulses, count);
    double below = 1e300;
    for (const dg_pulse *p;
         !nobody && named < NAMED_MAX && used < capacity && (p = next_behind(h, pulses, count, peer, below)) != NULL;
         named++) {
        used += (size_t)snprintf(text + used, capacity - used, "%s", named == 0 ? "behind is " : "; ");
        if (used >= capacity) break;
        describe_behind(h, p, text + used, capacity - used);
        used += strlen(text + used);
        below = guilt(p, peer);
    }
    if (named == 0) blame_nobody(h, pulses, count, text, capacity);
    dg_free(&pulses);
}

/* ---- the long report ----------------------------------------------------------------------------------------------- */

/* Rows of this host whose processes are looked at: this rank's and those that are behind. */
static int choose_rows(dg_heartbeat *h, pulse_row *chosen[STACKS_MAX])
{
    int count = 0;
    for (int i = 0; i < h->rows && count < STACKS_MAX; i++) {
        dg_pulse p;
        dg_pulse_take(h, &h->table->row[i], &p);
        if (p.pid != 0 && (is_behind(h, &p) || p.rank == h->rank)) chosen[count++] = &h->table->row[i];
    }
    return count;
}

/* A rank's own thread takes its stack, if it still runs. */
static void ask_for_stacks(dg_heartbeat *h, pulse_row *const *row, int count)
{
    int missing = 0;
    for (int i = 0; i < count; i++) {
        if (row[i] == h->row || dg_time_s() - atomic_load(&row[i]->beat_s) > STALE_S) continue;
        atomic_store(&row[i]->stack, STACK_WANTED);
        missing++;
    }
    for (int turn = 0; turn < STACK_TURNS && missing > 0; turn++) {
        missing = 0;
        for (int i = 0; i < count; i++) missing += atomic_load(&row[i]->stack) == STACK_WANTED;
        nanosleep(&(struct timespec){.tv_nsec = TURN_NANOSECONDS}, NULL);
    }
}

static void print_process(const dg_heartbeat *h, pulse_row *row, FILE *stream)
{
    char line[256], proc[PROC_TEXT];
    int pid = atomic_load(&row->pid);
    dg_process_describe(pid, line, sizeof line);
    fprintf(stream, "rank %d (process %d): %s\n", atomic_load(&row->rank), pid, line);
    if (row == h->row) return;
    read_proc(pid, "stack", proc);
    if (proc[0] != '\0') fprintf(stream, "  kernel stack:\n%s", proc);
    if (atomic_load(&row->stack) == STACK_READY)
        fprintf(stream, "  stack:\n%s", row->stack_text);
    else
        fprintf(stream, "  no stack: its threads do not run\n");
}

static void print_host(FILE *stream)
{
    char text[PROC_TEXT], value[64];
    int descriptor = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    ssize_t got = descriptor < 0 ? 0 : read(descriptor, text, sizeof text - 1);
    if (descriptor >= 0) close(descriptor);
    text[got > 0 ? got : 0] = '\0';
    status_value(text, "MemAvailable:", value, sizeof value);
    fprintf(stream, "memory available on this host: %s\n", value[0] == '\0' ? "unknown" : value);
}

static void print_report(dg_heartbeat *h, const char *why, FILE *stream)
{
    dg_pulse *pulses = NULL;
    pulse_row *row[STACKS_MAX];
    int count = 0, chosen = choose_rows(h, row);
    char line[768];
    fprintf(stream, "report of rank %d on %s: %s\n", h->rank, h->host, why);
    if (dg_heartbeat_see(h, &pulses, &count) != DG_OK) count = 0;
    for (int i = 0; i < count && i < LISTED_MAX; i++) {
        dg_pulse_describe(&pulses[i], line, sizeof line);
        fprintf(stream, "%s\n", line);
    }
    dg_free(&pulses);
    ask_for_stacks(h, row, chosen);
    for (int i = 0; i < chosen; i++) print_process(h, row[i], stream);
    print_host(stream);
    dg_gpus_print(stream);
}

/* Every host adds its part to one file, whose existence tells the other hosts. */
static void keep_report(dg_heartbeat *h, const char *report, size_t length)
{
    char folder[DG_PATH_MAX], path[DG_PATH_MAX], name[ID_TEXT + 16];
    dg_heartbeat_get_folder(h, folder);
    snprintf(name, sizeof name, "fault-%s.txt", h->id);
    if (folder[0] == '\0' || dg_path_join(path, folder, name) != DG_OK) return;
    int descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (descriptor < 0) return;
    ssize_t put = write(descriptor, report, length);
    (void)put; /* best effort: it is on the terminal too */
    close(descriptor);
}

static void make_report(dg_heartbeat *h, const char *why)
{
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    if (stream == NULL) return;
    print_report(h, why, stream);
    if (fclose(stream) == 0) {
        keep_report(h, text, length);
        h->options.tell(h->options.context, text);
    }
    free(text);
}

void dg_heartbeat_fault(dg_heartbeat *h, const char *why)
{
    int nobody = 0;
    if (!atomic_compare_exchange_strong(&h->table->fault, &nobody, 1 + h->rank)) return;
    atomic_store(&h->table->fault_s, dg_time_s());
    make_report(h, why);
    atomic_store(&h->table->reported, true);
}

bool dg_heartbeat_reported(dg_heartbeat *h)
{
    const double since = atomic_load(&h->table->fault_s);
    return atomic_load(&h->table->reported) || (since > 0 && dg_time_s() - since > REPORT_S);
}

void dg_heartbeat_await_report(dg_heartbeat *h)
{
    const double start = dg_time_s();
    while (!dg_heartbeat_reported(h) && dg_time_s() - start < REPORT_S)
        nanosleep(&(struct timespec){.tv_nsec = TURN_NANOSECONDS}, NULL);
}
