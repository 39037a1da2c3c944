/* command.c - the scheduler's commands: run with a deadline, so that a controller that is gone holds up nobody.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cluster_impl.h"

#include "dg_mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char time_format[] = "SLURM_TIME_FORMAT=%s";

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* This process's environment, with Slurm's times as numbers. */
static dg_status make_environment(const char ***out)
{
    size_t count = 0, used = 0;
    while (environ[count] != NULL) count++;
    DG_TRY(DG_NEW(out, count + 2, "environment of a command"));
    for (size_t i = 0; i < count; i++) {
        if (strncmp(environ[i], time_format, strlen("SLURM_TIME_FORMAT=")) != 0) (*out)[used++] = environ[i];
    }
    (*out)[used] = time_format;
    return DG_OK;
}

static dg_status spawn(const char *const *argv, int output, pid_t *child)
{
    posix_spawn_file_actions_t actions;
    const char **environment = NULL;
    char reason[128];
    DG_TRY(make_environment(&environment));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
    /* posix_spawn takes its strings as char * for historical reasons and does not write to them. */
    int code = posix_spawnp(child, argv[0], &actions, NULL, (char *const *)argv, (char *const *)environment);
    posix_spawn_file_actions_destroy(&actions);
    dg_free(&environment);
    if (code == 0) return DG_OK;
    return DG_FAIL(DG_ERR_IO, "%s cannot be started: %s", argv[0], strerror_r(code, reason, sizeof reason));
}

/* Reads until the command closed its output; true when it did so in time. */
static bool read_output(int from, double deadline, char *output, size_t capacity)
{
    size_t used = 0;
    for (;;) {
        char rest[512];
        double left = deadline - now_s();
        struct pollfd ready = {.fd = from, .events = POLLIN};
        int polled = left > 0 ? poll(&ready, 1, (int)(left * 1000) + 1) : 0;
        if (polled < 0 && errno == EINTR) continue;
        if (polled <= 0) return false;
        bool full = used + 1 >= capacity;
        ssize_t got = full ? read(from, rest, sizeof rest) : read(from, output + used, capacity - 1 - used);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return got == 0;
        if (!full) used += (size_t)got;
        output[used] = '\0';
    }
}

dg_status dg_command_run(const char *const *argv, double timeout_s, char *output, size_t capacity, int *exit_code)
{
    int ends[2] = {-1, -1}, state = 0;
    pid_t child = -1;
    output[0] = '\0';
    *exit_code = -1;
    if (pipe2(ends, O_CLOEXEC) != 0) return DG_FAIL(DG_ERR_IO, "%s: no pipe for its output", argv[0]);
    dg_status status = spawn(argv, ends[1], &child);
    close(ends[1]);
    if (status == DG_OK) {
        bool ended = read_output(ends[0], now_s() + timeout_s, output, capacity);
        if (!ended) kill(child, SIGKILL);
        while (waitpid(child, &state, 0) < 0 && errno == EINTR) continue;
        *exit_code = WIFSIGNALED(state) ? 128 + WTERMSIG(state) : WEXITSTATUS(state);
        if (!ended) status = DG_FAIL(DG_ERR_IO, "%s gave no answer within %.0f s", argv[0], timeout_s);
    }
    close(ends[0]);
    return status;
}
