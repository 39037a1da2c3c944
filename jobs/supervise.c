/* supervise.c - `dosegrid supervise`: starts a command again when it crashed or its heartbeat stands still, and keeps what
 * tells why. SPDX-License-Identifier: Apache-2.0 */
#include "supervise_impl.h"

#include "dg_heartbeat.h"
#include "dg_mem.h"
#include "dg_trace.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORDS_MAX = 1024, TURN_MS = 200, NOT_RUN = 126, NOT_FOUND = 127, SIGNALLED = 128 };
static const double LOOK_S = 1.0, GRACE_S = 5.0, LONGEST_PAUSE_S = 600, SUSPENDED_S = 5.0;

#define AT(field) .offset = offsetof(supervise_settings, field)
/* clang-format off */
static const dg_option rows[] = {
    {.key = "supervise.hang_timeout", .flag = "hang-timeout", .type = DG_OPT_DOUBLE, AT(hang_timeout_s), .min = 1, .max = 1e6,
     .fallback = "900", .unit = "s", .help = "ends the command when its heartbeat has made no progress for so long; more than its --comm-timeout, which says more"},
    {.key = "supervise.max_restarts", .flag = "max-restarts", .type = DG_OPT_INT, AT(max_restarts), .min = 0, .max = 1e6,
     .fallback = "5", .unit = "", .help = "gives up after so many restarts that got no further than the starts before them"},
    {.key = "supervise.backoff", .flag = "backoff", .type = DG_OPT_DOUBLE, AT(backoff_s), .min = 0, .max = 600,
     .fallback = "5", .unit = "s", .help = "pause before a restart; twice as long after each that got no further, 600 s at most"},
    {.key = "supervise.restart_preempted", .flag = "restart-preempted", .type = DG_OPT_BOOL, AT(restart_preempted),
     .fallback = "false", .unit = "", .help = "also starts again after exit code 75 (stopped on request)"},
    {.key = "supervise.diagnostics", .flag = "diagnostics", .type = DG_OPT_STRING, AT(diagnostics), .fallback = "diagnostics",
     .unit = "", .help = "folder that keeps what tells why: a folder in it for each crash or hang"},
};
/* clang-format on */

/* ---- the command ----------------------------------------------------------------------------------------------- */

_Noreturn static void become(const supervisor *v, const int out[2], const int err[2], pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setpgid(0, 0); /* a terminal's Ctrl-C comes once, through the supervisor */
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent || dup2(out[1], STDOUT_FILENO) < 0 || dup2(err[1], STDERR_FILENO) < 0) _exit(NOT_RUN);
    execvp(v->command[0], v->command);
    dprintf(STDERR_FILENO, "dosegrid supervise: %s cannot be run: %s\n", v->command[0], strerror(errno));
    _exit(errno == ENOENT ? NOT_FOUND : NOT_RUN);
}

static dg_status start(supervisor *v, int number)
{
    int out[2] = {-1, -1}, err[2] = {-1, -1};
    const pid_t me = getpid();
    v->a = (supervise_attempt){.number = number, .reached = -1, .started_s = dg_time_s(), .output = {-1, -1}};
    v->a.moved_s = v->a.started_s;
    if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0)
        return DG_FAIL(DG_ERR_IO, "no pipe for the command: %s", strerror(errno));
    v->a.pid = fork();
    if (v->a.pid == 0) become(v, out, err, me);
    close(out[1]);
    close(err[1]);
    v->a.output[0] = out[0];
    v->a.output[1] = err[0];
    if (v->a.pid < 0) return DG_FAIL(DG_ERR_MEMORY, "no process for the command: %s", strerror(errno));
    return DG_OK;
}

/* Passes on what came, and keeps the last of it. */
static void take_output(supervisor *v, int which)
{
    char block[4096];
    ssize_t got = read(v->a.output[which], block, sizeof block);
    if (got <= 0) {
        close(v->a.output[which]);
        v->a.output[which] = -1;
        return;
    }
    for (ssize_t i = 0; i < got; i++) v->tail[v->written++ % SUPERVISE_TAIL] = block[i];
    const char *at = block;
    for (ssize_t put; got > 0 && (put = write(which == 0 ? STDOUT_FILENO : STDERR_FILENO, at, (size_t)got)) > 0;) {
        at += put;
        got -= put;
    }
}

/* Waits a little for output or a signal; returns the signal, or 0. */
static int turn(supervisor *v, int signals, int wait_ms)
{
    struct pollfd watch[3] = {{.fd = signals, .events = POLLIN},
                              {.fd = v->a.output[0], .events = POLLIN},
                              {.fd = v->a.output[1], .events = POLLIN}};
    struct signalfd_siginfo info;
    if (poll(watch, 3, wait_ms) <= 0) return 0;
    for (int which = 0; which < 2; which++)
        if (v->a.output[which] >= 0 && watch[1 + which].revents != 0) take_output(v, which);
    return watch[0].revents != 0 && read(signals, &info, sizeof info) == sizeof info ? (int)info.ssi_signo : 0;
}

/* Where the command is: steps of a training, or cases begun. */
static void look(supervise_attempt *a, const char *beats)
{
    dg_pulse *pulses;
    int count;
    int64_t marks = 0, step = -1, tasks = 0;
    if (dg_heartbeat_read(beats, &pulses, &count) != DG_OK) return;
    for (int i = 0; i < count; i++) {
        marks += pulses[i].marks;
        tasks += pulses[i].tasks;
        if (pulses[i].step > step) step = pulses[i].step;
    }
    dg_free(&pulses);
    if (count == 0) return;
    if (!a->seen || marks != a->marks) a->moved_s = dg_time_s();
    a->seen = true;
    a->marks = marks;
    int64_t reached = step >= 0 ? step : tasks;
    if (reached > a->reached) a->reached = reached;
}

static void forget_beats(const supervisor *v)
{
    DIR *stream = opendir(v->beats);
    if (stream == NULL) return;
    for (struct dirent *item = readdir(stream); item != NULL; item = readdir(stream))
        if (item->d_name[0] != '.' || strlen(item->d_name) > 2) unlinkat(dirfd(stream), item->d_name, 0);
    closedir(stream);
}

static int exit_code_of(const supervise_attempt *a)
{
    if (a->hung || !a->ended) return DG_EXIT_FAILED;
    return WIFEXITED(a->status) ? WEXITSTATUS(a->status) : SIGNALLED + WTERMSIG(a->status);
}

/* Until the command ended or stands still. *asked: a signal that came for it, which was passed on. */
static void watch(supervisor *v, int signals, int *asked)
{
    supervise_attempt *a = &v->a;
    for (double looked = 0, last = dg_time_s(); !a->ended && !a->hung;) {
        int number = turn(v, signals, TURN_MS);
        if (number != 0) {
            kill(a->pid, number);
            if (number != SIGUSR2 && number != SIGHUP) *asked = number;
        }
        double now = dg_time_s();
        if (now - last > SUSPENDED_S) a->moved_s += now - last; /* this machine slept, not the command */
        last = now;
        supervise_reap(a);
        if (now - looked > LOOK_S || a->ended) {
            look(a, v->beats);
            looked = now;
        }
        a->hung = !a->ended && now - a->moved_s > v->s->hang_timeout_s;
    }
    for (int turns = 0; a->ended && turns < 20 && (a->output[0] >= 0 || a->output[1] >= 0); turns++)
        if (turn(v, -1, 50) != 0) break; /* what it wrote last; a rank that lives on may hold the pipe */
}

static void describe_end(const supervise_attempt *a, double hang_timeout_s, char *why, size_t capacity)
{
    if (a->hung)
        snprintf(why, capacity, "%s for %.0f s: it is ended",
                 a->seen ? "the command's heartbeat has made no progress" : "the command has shown no heartbeat",
                 hang_timeout_s);
    else if (WIFSIGNALED(a->status))
        snprintf(why, capacity, "the command was ended by signal %d (%s)", WTERMSIG(a->status),
                 strsignal(WTERMSIG(a->status)));
    else
        snprintf(why, capacity, "the command ended with exit code %d", WEXITSTATUS(a->status));
}

/* One start, from beginning to the last of its processes. *again: it may be worth another. */
static dg_status attempt(supervisor *v, int number, int signals, int *exit_code, bool *again)
{
    char why[200], folder[DG_PATH_MAX];
    int asked = 0;
    dg_status status = start(v, number);
    if (status == DG_OK) watch(v, signals, &asked);
    int code = *exit_code = status == DG_OK ? exit_code_of(&v->a) : DG_EXIT_FAILED;
    bool final = code == DG_EXIT_DONE || code == DG_EXIT_USAGE || code == DG_EXIT_SOME_CASES || code == NOT_RUN ||
                 code == NOT_FOUND || (code == DG_EXIT_PREEMPTED && !v->s->restart_preempted);
    *again = status == DG_OK && !final && (asked == 0 || v->a.hung);
    if (*again && code != DG_EXIT_PREEMPTED) {
        describe_end(&v->a, v->s->hang_timeout_s, why, sizeof why);
        supervise_keep(v, why, folder);
        dg_log_write(v->env->log, DG_LOG_WARNING, "start %d: %s; what tells why is kept in %s", number, why,
                     folder[0] == '\0' ? "(nothing could be written)" : folder);
    }
    *again = *again && asked == 0;
    int killed = supervise_end_all(&v->a, GRACE_S);
    if (killed > 0) dg_log_write(v->env->log, DG_LOG_WARNING, "%d processes of the command had to be killed", killed);
    for (int which = 0; which < 2; which++)
        if (v->a.output[which] >= 0) close(v->a.output[which]);
    v->a.output[0] = v->a.output[1] = -1;
    forget_beats(v);
    return status;
}

/* ---- starts ----------------------------------------------------------------------------------------------------- */

/* false: a signal asked to stop meanwhile. */
static bool pause_for(supervisor *v, double seconds, int signals)
{
    for (double until = dg_time_s() + seconds, left; (left = until - dg_time_s()) > 0;)
        if (turn(v, signals, left < 1 ? (int)(left * 1000) + 1 : 1000) != 0) return false;
    return true;
}

static dg_status run_all(supervisor *v, int signals, int *exit_code)
{
    int64_t furthest = -1, in_vain = 0;
    bool again = true;
    for (int number = 1; again; number++) {
        DG_TRY(attempt(v, number, signals, exit_code, &again));
        if (!again) break;
        in_vain = v->a.reached > furthest ? 0 : in_vain + 1;
        if (v->a.reached > furthest) furthest = v->a.reached;
        if (in_vain >= v->s->max_restarts) {
            dg_log_write(v->env->log, DG_LOG_ERROR, "%lld restarts got no further than step or case %lld: given up",
                         (long long)in_vain, (long long)furthest);
            break;
        }
        double seconds = v->s->backoff_s;
        for (int64_t k = 0; k < in_vain && seconds < LONGEST_PAUSE_S; k++) seconds *= 2;
        if (seconds > LONGEST_PAUSE_S) seconds = LONGEST_PAUSE_S;
        dg_log_write(v->env->log, DG_LOG_INFO, "start %d in %.3g s", number + 1, seconds);
        again = pause_for(v, seconds, signals);
    }
    return DG_OK;
}

/* Signals come as events of a descriptor, so that nothing is interrupted. */
static int open_signals(void)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) sigaddset(&set, numbers[i]);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0) return -1;
    return signalfd(-1, &set, SFD_CLOEXEC);
}

static dg_status make_beats(supervisor *v)
{
    const char *temporary = getenv("TMPDIR");
    if (snprintf(v->beats, sizeof v->beats, "%s/dosegrid-supervise-XXXXXX", temporary == NULL ? "/tmp" : temporary) >=
            (int)sizeof v->beats ||
        mkdtemp(v->beats) == NULL) {
        v->beats[0] = '\0';
        return DG_FAIL(DG_ERR_IO, "no folder for heartbeats can be made in %s: %s",
                       temporary == NULL ? "/tmp" : temporary, strerror(errno));
    }
    if (setenv("DG_HEARTBEAT", v->beats, 1) != 0) return DG_FAIL(DG_ERR_MEMORY, "no memory for the environment");
    return DG_OK;
}

static bool resumes(char *const *command)
{
    for (; *command != NULL; command++)
        if (strcmp(*command, "--resume") == 0) return true;
    return false;
}

static dg_status supervise(const dg_job_env *env, const supervise_settings *s, char *const *command, int *exit_code)
{
    supervisor v = {.env = env, .s = s, .command = command};
    int signals = -1;
    dg_status status;
    if (!resumes(command))
        dg_log_write(env->log, DG_LOG_WARNING,
                     "the command has no --resume: a restart may find what the start before it wrote, and refuse");
    DG_TRY_GOTO(status, dg_alloc(&v.tail, SUPERVISE_TAIL, 1, "last output"), cleanup);
    DG_TRY_GOTO(status, make_beats(&v), cleanup);
    signals = open_signals();
    if (signals < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
        status = DG_FAIL(DG_ERR_UNSUPPORTED, "this system offers no signalfd or subreaper: %s", strerror(errno));
        goto cleanup;
    }
    status = run_all(&v, signals, exit_code);
cleanup:
    if (v.beats[0] != '\0') {
        forget_beats(&v);
        rmdir(v.beats);
    }
    if (signals >= 0) close(signals);
    dg_free(&v.tail);
    return status;
}

static dg_status run(const dg_job_env *env, int argc, char *const *argv, int *exit_code)
{
    supervise_settings s;
    dg_options options;
    const char *words[WORDS_MAX];
    bool helped;
    int count;
    dg_job_arguments arguments = {.usage =
                                      "[--hang-timeout S] [--max-restarts N] [--backoff S] -- COMMAND [ARGUMENT...]",
                                  .rows = rows,
                                  .row_count = sizeof rows / sizeof rows[0],
                                  .target = &s,
                                  .positional = words,
                                  .positional_min = 1,
                                  .positional_max = WORDS_MAX - 1};
    DG_TRY(dg_job_read_arguments(env, &dg_job_supervise, &arguments, argc, argv, &options, &count, &helped));
    if (helped) return DG_OK;
    dg_options_release(&options);
    if (argc <= count || strcmp(argv[argc - count - 1], "--") != 0)
        return DG_FAIL(DG_ERR_USAGE, "supervise: put -- before the command, whose options are its own");
    if (env->comm->size > 1)
        return DG_FAIL(DG_ERR_USAGE,
                       "supervise is one process that starts the launcher: dosegrid supervise -- mpirun ...");
    return supervise(env, &s, argv + (argc - count), exit_code); /* argv ends with NULL, and so does the command */
}

const dg_job dg_job_supervise = {.name = "supervise",
                                 .summary = "start a command again when it hangs or crashes, and keep what tells why",
                                 .run = run};
