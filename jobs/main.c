/* main.c - the program: opens the communicator, finds the job, shows the error once, and makes all ranks return one exit
 * code. Nothing else exits or aborts. SPDX-License-Identifier: Apache-2.0 */
#include "build_info.h"
#include "dg_cluster.h"
#include "dg_fault.h"
#include "dg_mpi.h"
#include "job.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* In the order of --help, one a line. */
static const dg_job *const jobs[] = {
    &dg_job_import,    //
    &dg_job_synth,     //
    &dg_job_pack,      //
    &dg_job_inspect,   //
    &dg_job_calibrate, //
    &dg_job_train,     //
    &dg_job_status,    //
    &dg_job_predict,   //
    &dg_job_segment,   //
    &dg_job_evaluate,  //
    &dg_job_gamma,     //
    &dg_job_compare,   //
    &dg_job_diff,      //
    &dg_job_analyze,   //
    &dg_job_report,    //
    &dg_job_export,    //
    &dg_job_sweep,     //
    &dg_job_submit,    //
    &dg_job_supervise, //
    &dg_job_plan,      //
    &dg_job_bench,     //
    &dg_job_doctor,    //
    &dg_job_options,   //
};
enum { JOB_COUNT = sizeof jobs / sizeof jobs[0], LEAVE_SECONDS = 5 };

static void print_usage(FILE *stream)
{
    fprintf(stream, "usage: dosegrid [--verbose|--quiet] JOB [ARGUMENTS]   (dosegrid JOB --help tells more)\n\n");
    for (int i = 0; i < JOB_COUNT; i++) fprintf(stream, "  %-10s %s\n", jobs[i]->name, jobs[i]->summary);
    fprintf(stream, "\n  --version  version, commit, libraries, instruction set\n\n"
                    "exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 done but some cases failed,\n"
                    "            75 stopped on request after a complete checkpoint (run again to go on)\n");
}

static dg_status print_version(void)
{
    json_t *info = dg_build_info(), *value;
    const char *name, *version, *commit, *build, *compiler, *cpu, *isa;
    json_t *libraries, *backends;
    if (info == NULL || json_unpack(info, "{s:s, s:s, s:s, s:s, s:o, s:{s:s, s:s}, s:o}", "version", &version, "commit",
                                    &commit, "build_type", &build, "compiler", &compiler, "libraries", &libraries,
                                    "cpu", "name", &cpu, "isa", &isa, "backends", &backends) != 0) {
        json_decref(info);
        return DG_FAIL(DG_ERR_MEMORY, "no memory for the version");
    }
    printf("dosegrid %s (%s, %s, %s)\n", version, commit, build, compiler);
    json_object_foreach(libraries, name, value) printf("  %-13s%s\n", name, json_string_value(value));
    json_object_foreach(backends, name, value) printf("  backend      %s: %s\n", name, json_string_value(value));
    printf("  processor    %s, %s\n", cpu, isa);
    json_decref(info);
    return DG_OK;
}

/* Nearest job by the option table's own measure of nearness. */
static dg_status fail_unknown(const char *name)
{
    dg_option rows[JOB_COUNT];
    bool values[JOB_COUNT];
    dg_options options;
    for (int i = 0; i < JOB_COUNT; i++)
        rows[i] = (dg_option){.key = jobs[i]->name,
                              .type = DG_OPT_BOOL,
                              .offset = (size_t)i * sizeof(bool),
                              .fallback = "false",
                              .unit = "",
                              .help = ""};
    DG_TRY(dg_options_init(&options, rows, JOB_COUNT, values));
    dg_origin origin = {.kind = DG_FROM_COMMAND_LINE, .where = "dosegrid"};
    dg_status status = dg_options_set(&options, name, "true", &origin);
    dg_options_release(&options);
    const char *near = strstr(dg_error_last()->text, "did you mean ");
    if (status == DG_OK) return DG_FAIL(DG_ERR_INTERNAL, "job %s was not found", name);
    return DG_FAIL(DG_ERR_USAGE, "unknown job %.60s; %s --help lists the jobs", name, near == NULL ? "" : near);
}

typedef struct invocation {
    dg_log_level level;
    int next;        /* first argument after the job's name */
    const char *job; /* NULL: none given */
} invocation;

static invocation read_invocation(int argc, char **argv)
{
    invocation call = {.level = DG_LOG_INFO, .next = 1};
    for (; call.next < argc; call.next++) {
        if (strcmp(argv[call.next], "--verbose") == 0)
            call.level = DG_LOG_DEBUG;
        else if (strcmp(argv[call.next], "--quiet") == 0)
            call.level = DG_LOG_WARNING;
        else
            break;
    }
    if (call.next < argc) call.job = argv[call.next++];
    return call;
}

/* What the launcher started is what the scheduler was asked for, before any work is done. */
static dg_status check_site(const dg_job_env *env)
{
    dg_site_notes notes;
    DG_TRY(dg_site_check(env->comm, &notes));
    for (int i = 0; i < notes.count; i++) dg_log_write(env->log, DG_LOG_WARNING, "%s", notes.text[i]);
    return DG_OK;
}

static bool asks_for_help(int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return true;
    return false;
}

static dg_status start_job(const dg_job_env *env, const dg_job *job, int argc, char **argv, int *exit_code)
{
    if (job->spreads && !asks_for_help(argc, argv)) DG_TRY(check_site(env));
    return job->run(env, argc, argv, exit_code);
}

static dg_status run_job(const dg_job_env *env, const invocation *call, int argc, char **argv, int *exit_code)
{
    bool speaks = env->comm->rank == 0;
    if (call->job == NULL) {
        if (speaks) print_usage(stderr);
        *exit_code = DG_EXIT_USAGE;
        return DG_OK;
    }
    if (strcmp(call->job, "--help") == 0 || strcmp(call->job, "-h") == 0 || strcmp(call->job, "help") == 0) {
        if (speaks) print_usage(stdout);
        return DG_OK;
    }
    if (strcmp(call->job, "--version") == 0) return speaks ? print_version() : DG_OK;
    for (int i = 0; i < JOB_COUNT; i++)
        if (strcmp(call->job, jobs[i]->name) == 0)
            return start_job(env, jobs[i], argc - call->next, argv + call->next, exit_code);
    return fail_unknown(call->job);
}

/* Results on standard output count as output: a full disk behind it is an error. A reader that went away (`| head`) had
 * what it wanted. */
static dg_status flush_output(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return DG_OK;
    struct pollfd output = {.fd = STDOUT_FILENO, .events = POLLOUT};
    if (poll(&output, 1, 0) == 1 && (output.revents & POLLERR) != 0) return DG_OK;
    return DG_FAIL(DG_ERR_IO, "standard output could not be written completely; free some space, then run again");
}

static int code_of(dg_status status, int exit_code)
{
    switch (status) {
    case DG_OK: return exit_code;
    case DG_ERR_USAGE: return DG_EXIT_USAGE;
    case DG_ERR_PREEMPTED: return DG_EXIT_PREEMPTED;
    default: return DG_EXIT_FAILED;
    }
}

/* ---- what the heartbeat's thread asks for: without locks that the stuck main thread may hold ---------------------- */

static void tell_fault(void *context, const char *report)
{
    (void)context;
    for (size_t length = strlen(report); length > 0;) {
        ssize_t put = write(STDERR_FILENO, report, length);
        if (put <= 0) return;
        report += put;
        length -= (size_t)put;
    }
}

/* Whatever it has to write to is given a few seconds, then SIGALRM ends the process. */
_Noreturn static void leave(void *context, const char *why)
{
    char line[DG_ERROR_TEXT_MAX];
    signal(SIGALRM, SIG_DFL);
    alarm(LEAVE_SECONDS);
    snprintf(line, sizeof line, "dosegrid: %s\n", why);
    tell_fault(context, line);
    _exit(DG_EXIT_FAILED);
}

/* MPI ends the other ranks, if it still can: if not, each has its own deadline. A launcher cuts short at an abort what
 * ranks have just said, so their words are given a second to get out. */
_Noreturn static void abort_ranks(void)
{
    signal(SIGALRM, SIG_DFL);
    alarm(LEAVE_SECONDS);
    nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
    dg_mpi_abort(DG_EXIT_FAILED);
}

static dg_status open_heartbeat(const dg_job_env *env, dg_heartbeat **heartbeat)
{
    char warning[512];
    dg_heartbeat_options options = {
        .tell = tell_fault, .leave = leave, .launched = dg_mpi_launched(), .extra = getenv("DG_HEARTBEAT")};
    DG_TRY(dg_heartbeat_open(env->comm, &options, warning, sizeof warning, heartbeat));
    if (warning[0] != '\0') dg_log_write(env->log, DG_LOG_WARNING, "%s", warning);
    return DG_OK;
}

/* Shows the error once. A rank that failed together with rank 0 says nothing; one that failed alone is named. */
static int settle(const dg_job_env *env, dg_status mine, int exit_code)
{
    dg_error own = *dg_error_last();
    if (mine == DG_ERR_COMM) {
        char who[96] = "";
        if (strncmp(own.text, "rank ", 5) != 0)
            snprintf(who, sizeof who, "rank %d on %s: ", env->comm->rank, env->comm->host);
        dg_log_write(env->log, DG_LOG_ERROR, "%s%s", who, own.text);
        if (env->comm->rank != 0) fprintf(stderr, "%s%s\n", who, own.text);
        abort_ranks(); /* ranks that wait for this one cannot be told otherwise */
    }
    dg_status agreed = dg_comm_agree(env->comm, mine);
    if (agreed == DG_ERR_COMM) abort_ranks();
    if (agreed == DG_ERR_PREEMPTED) {
        dg_log_write(env->log, DG_LOG_INFO, "%s", mine == agreed ? own.text : dg_error_last()->text);
    } else if (agreed != DG_OK) {
        const char *text = mine == agreed ? own.text : dg_error_last()->text;
        dg_log_write(env->log, DG_LOG_ERROR, "%s: %s", dg_status_name(agreed), text);
        for (int i = 0; mine == agreed && i < own.frame_count; i++)
            dg_log_write(env->log, DG_LOG_DEBUG, "  at %s:%d %s", own.frame[i].file, own.frame[i].line,
                         own.frame[i].function);
    }
    int64_t code = code_of(agreed, exit_code);
    if (dg_comm_any(env->comm, code, &code) != DG_OK) abort_ranks();
    return (int)code;
}

/* DG_START_TIMEOUT, for what comes before any option is read: seconds that MPI may take to start. */
static dg_status start_timeout(double *seconds)
{
    const char *text = getenv("DG_START_TIMEOUT");
    char *end;
    *seconds = DG_COMM_TIMEOUT_S;
    if (text == NULL) return DG_OK;
    *seconds = strtod(text, &end);
    if (end != text && *end == '\0' && *seconds > 0 && *seconds <= 1e6) return DG_OK;
    return DG_FAIL(DG_ERR_USAGE, "DG_START_TIMEOUT is %.40s, but must be seconds above 0, at most 1e6", text);
}

static dg_status open_ranks(int *argc, char ***argv, dg_comm **comm)
{
    double seconds;
    dg_start_watch *watch;
    DG_TRY(start_timeout(&seconds));
    DG_TRY(dg_start_watch_begin(seconds, leave, NULL, &watch));
    dg_status status = dg_comm_open(argc, argv, comm);
    dg_start_watch_end(&watch);
    return status;
}

int main(int argc, char **argv)
{
    dg_job_env env = {.program = argv[0]};
    dg_heartbeat *heartbeat = NULL;
    char warning[512];
    int exit_code = DG_EXIT_DONE;
    signal(SIGPIPE, SIG_IGN); /* a reader that went away is an error of that write, not of the whole run */
    signal(SIGXFSZ, SIG_IGN); /* nor is a limit on the size of files: the write is refused with EFBIG */
    (void)dg_mpi_spare_shared_memory(warning, sizeof warning);
    if (open_ranks(&argc, &argv, &env.comm) != DG_OK) {
        fprintf(stderr, "dosegrid: %s: %s\n", dg_status_name(dg_error_last()->status), dg_error_last()->text);
        abort_ranks();
    }
    invocation call = read_invocation(argc, argv);
    dg_status status = dg_log_create(env.comm->rank, call.level, NULL, &env.log);
    if (status == DG_OK) status = dg_fault_begin(env.comm->rank);
    if (status == DG_OK && warning[0] != '\0') dg_log_write(env.log, DG_LOG_WARNING, "%s", warning);
    if (status == DG_OK) status = open_heartbeat(&env, &heartbeat);
    if (status == DG_OK) status = run_job(&env, &call, argc, argv, &exit_code);
    if (status == DG_OK) status = flush_output();
    exit_code = settle(&env, status, exit_code);
    dg_log_destroy(&env.log);
    (void)dg_heartbeat_phase(heartbeat, DG_PHASE_END);
    dg_comm_destroy(&env.comm);
    dg_mpi_stop();
    dg_heartbeat_destroy(&heartbeat);
    return exit_code;
}
