/* sweep_processes.c - the processes of a sweep on this machine. Each stage has a process group of its own and is told
 * to stop when the sweep dies; ranks whose launcher is gone become children of the sweep, which ends them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervise_impl.h"
#include "sweep_impl.h"

#include "dg_mem.h"
#include "dg_trace.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

/* mpirun passes SIGUSR1 on to its ranks and lets them end by themselves; at SIGTERM it kills them. */
enum { NOT_RUN = 126, SIGNALLED = 128, LAUNCHER_WORDS = 6, STOP_SIGNAL = SIGUSR1 };
static const double GRACE_S = 10;

dg_status sweep_processes_open(sweep_work *w)
{
    static const int numbers[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGUSR1};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) sigaddset(&set, numbers[i]);
    if (sigprocmask(SIG_BLOCK, &set, NULL) == 0) w->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (w->signals < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
        return DG_FAIL(DG_ERR_UNSUPPORTED, "this system offers no signalfd or subreaper: %s", strerror(errno));
    return DG_OK;
}

void sweep_processes_close(sweep_work *w)
{
    supervise_attempt none = {.pid = 0};
    if (w->signals < 0) return;
    int killed = supervise_end_all(&none, GRACE_S);
    if (killed > 0) dg_log_write(w->env->log, DG_LOG_WARNING, "%d processes had to be killed", killed);
    close(w->signals);
    w->signals = -1;
}

/* ---- start ------------------------------------------------------------------------------------------------------- */

/* The cores of this process that number `slot` of `slots` gets; all of them where there are fewer cores than slots. */
static cpu_set_t share_of_cores(int slot, int slots)
{
    cpu_set_t all, own;
    CPU_ZERO(&own);
    if (sched_getaffinity(0, sizeof all, &all) != 0) return own;
    const int count = CPU_COUNT(&all);
    if (count < slots || slots < 2) return all;
    for (int cpu = 0, seen = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &all)) continue;
        if (seen >= slot * count / slots && seen < (slot + 1) * count / slots) CPU_SET(cpu, &own);
        seen++;
    }
    return own;
}

/* This environment without what belongs to the sweep, with the slot's GPUs; the strings are borrowed but `devices`. */
static dg_status make_environment(const sweep_work *w, int slot, int slots, char devices[256], char ***out)
{
    static const char *const left_out[] = {"DG_SWEEP__", "DG_SUBMIT__", "CUDA_VISIBLE_DEVICES="};
    const int gpus = (int)w->s->site.gpus;
    size_t count = 0, used = 0;
    while (environ[count] != NULL) count++;
    DG_TRY(DG_NEW(out, count + 2, "environment"));
    for (size_t i = 0; i < count; i++) {
        bool kept = true;
        for (size_t k = 0; k < (gpus > 0 ? 3 : 2); k++)
            kept = kept && strncmp(environ[i], left_out[k], strlen(left_out[k])) != 0;
        if (kept) (*out)[used++] = environ[i];
    }
    if (gpus == 0) return DG_OK;
    snprintf(devices, 256, "CUDA_VISIBLE_DEVICES=");
    for (int gpu = slot * gpus / slots, first = gpu; gpu < (slot + 1) * gpus / slots; gpu++)
        snprintf(devices + strlen(devices), 256 - strlen(devices), "%s%d", gpu > first ? "," : "", gpu);
    (*out)[used] = devices;
    return DG_OK;
}

_Noreturn static void become(char *const *command, char *const *environment, int log, const cpu_set_t *cores,
                             pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setpgid(0, 0); /* a terminal's Ctrl-C comes once, through the sweep */
    (void)prctl(PR_SET_PDEATHSIG, STOP_SIGNAL);
    if (CPU_COUNT(cores) > 0) (void)sched_setaffinity(0, sizeof *cores, cores);
    if (getppid() != parent || dup2(log, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0) _exit(NOT_RUN);
    execvpe(command[0], command, environment);
    dprintf(STDERR_FILENO, "dosegrid sweep: %s cannot be run: %s\n", command[0], strerror(errno));
    _exit(NOT_RUN);
}

static int open_log(const char *path) { return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644); }

dg_status sweep_process_start(sweep_work *w, const sweep_words *words, int64_t ranks, const char *log, int slot,
                              int slots, pid_t *pid)
{
    char count[24], devices[256], **environment = NULL;
    const char *command[LAUNCHER_WORDS + 1 + SWEEP_WORDS_MAX + 1];
    int used = 0;
    const pid_t me = getpid();
    const cpu_set_t cores = share_of_cores(slot, slots);
    snprintf(count, sizeof count, "%lld", (long long)ranks);
    if (ranks > 1) {
        const char *const launcher[LAUNCHER_WORDS] = {"mpirun", "-np", count, "--oversubscribe", "--bind-to", "none"};
        for (int i = 0; i < LAUNCHER_WORDS; i++) command[used++] = launcher[i];
    }
    command[used++] = w->program;
    for (int i = 0; i < words->count; i++) command[used++] = words->word[i];
    command[used] = NULL;
    int file = open_log(log);
    if (file < 0) return DG_FAIL(DG_ERR_IO, "the log %s cannot be written: %s", log, strerror(errno));
    dprintf(file, "\n== dosegrid");
    for (int i = 0; i < words->count; i++) dprintf(file, " %s", words->word[i]);
    dprintf(file, "\n");
    dg_status status = make_environment(w, slot, slots, devices, &environment);
    if (status == DG_OK) {
        *pid = fork();
        if (*pid == 0)
            become((char *const *)command, environment, file, &cores, me); /* execvpe does not write to them */
        if (*pid < 0)
            status = DG_FAIL(DG_ERR_MEMORY, "no process for a stage: %s", strerror(errno));
        else
            w->child[w->children++] = *pid;
    }
    dg_free(&environment);
    close(file);
    return status;
}

/* ---- end --------------------------------------------------------------------------------------------------------- */

/* The first request is passed on, so that everything is saved; a second one does not wait for that. */
static void take_signals(sweep_work *w)
{
    struct signalfd_siginfo info;
    while (read(w->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD) continue;
        const int number = w->stopping ? SIGKILL : STOP_SIGNAL;
        dg_log_write(w->env->log, DG_LOG_INFO, "%s: %s", strsignal((int)info.ssi_signo),
                     w->stopping ? "again: nothing more is saved" : "the runs save and stop");
        w->stopping = true;
        for (int i = 0; i < w->children; i++) kill(w->child[i], number);
    }
}

bool sweep_process_wait(sweep_work *w, int wait_ms, pid_t *pid, int *code)
{
    struct pollfd watch = {.fd = w->signals, .events = POLLIN};
    int status;
    *pid = waitpid(-1, &status, WNOHANG);
    if (*pid <= 0 && poll(&watch, 1, wait_ms) > 0) {
        take_signals(w);
        *pid = waitpid(-1, &status, WNOHANG);
    }
    int at = 0;
    while (at < w->children && w->child[at] != *pid) at++;
    if (*pid <= 0 || at == w->children) return false; /* nobody, or a rank that had lost its launcher */
    w->child[at] = w->child[--w->children];
    *code = WIFEXITED(status) ? WEXITSTATUS(status) : SIGNALLED + WTERMSIG(status);
    return true;
}
