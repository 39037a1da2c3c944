/* figure_gnuplot.c - one run of gnuplot: started without a shell, without start-up files, and never longer than its
 * deadline. SPDX-License-Identifier: Apache-2.0 */
#include "figure_impl.h"

#include "dg_file.h"
#include "dg_mem.h"
#include "dg_trace.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { LOG_LIMIT = 1 << 20, MESSAGE_MAX = 300 };
#define MISSING                                                                                                      \
    "gnuplot is not in the PATH: figures need the Debian package gnuplot-nox (apt install gnuplot-nox); everything " \
    "else "                                                                                                          \
    "works without"

static bool is_program(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode) && access(path, X_OK) == 0;
}

/* Absolute entries of the PATH only: a gnuplot in the working folder is not what the user means. */
static bool find_gnuplot(char path[DG_PATH_MAX])
{
    const char *list = getenv("PATH");
    for (const char *at = list != NULL ? list : "/usr/bin:/bin"; *at != '\0';) {
        size_t length = strcspn(at, ":");
        int used = snprintf(path, DG_PATH_MAX, "%.*s/gnuplot", (int)(length < DG_PATH_MAX ? length : 0), at);
        if (at[0] == '/' && used < DG_PATH_MAX && is_program(path)) return true;
        at += length;
        if (*at == ':') at++;
    }
    return false;
}

dg_status dg_figures_available(void)
{
    char path[DG_PATH_MAX];
    return find_gnuplot(path) ? DG_OK : DG_FAIL(DG_ERR_UNSUPPORTED, MISSING);
}

/* The environment without what changes gnuplot's output: its own variables and the locale of numbers. Borrowed strings. */
static dg_status make_environment(char ***out)
{
    size_t count = 0, kept = 0;
    static char locale[] = "LC_ALL=C.UTF-8";
    while (environ[count] != NULL) count++;
    DG_TRY(dg_alloc(out, count + 2, sizeof **out, "environment of gnuplot"));
    for (size_t i = 0; i < count; i++) {
        bool own = strncmp(environ[i], "GNUPLOT", 7) == 0 || strncmp(environ[i], "GNUTERM", 7) == 0 ||
                   strncmp(environ[i], "GDFONTPATH", 10) == 0 || strncmp(environ[i], "LC_ALL=", 7) == 0;
        if (!own) (*out)[kept++] = environ[i];
    }
    (*out)[kept] = locale;
    return DG_OK;
}

static int start(const char *program, const char *folder, const char *script, char **environment, pid_t *child)
{
    char name[] = "gnuplot", plain[] = "-d";
    char *file = strdup(script);
    char *arguments[] = {name, plain, file, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, usual;
    sigemptyset(&none);
    sigemptyset(&usual);
    sigaddset(&usual, SIGTERM);
    sigaddset(&usual, SIGINT);
    sigaddset(&usual, SIGPIPE);
    if (file == NULL) return ENOMEM;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    int error = posix_spawn_file_actions_addchdir_np(&actions, folder);
    if (error == 0) error = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    if (error == 0)
        error = posix_spawn_file_actions_addopen(&actions, 1, "gnuplot.log", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (error == 0) error = posix_spawn_file_actions_adddup2(&actions, 1, 2);
    /* A group of its own: what gnuplot starts is stopped with it. */
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &usual);
    if (error == 0) error = posix_spawn(child, program, &actions, &attributes, arguments, environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    free(file);
    return error;
}

/* True when the child ended by itself. A host that ignores SIGCHLD leaves no exit status: 0 is taken, and the files tell. */
static bool wait_for(pid_t child, double deadline_s, int *exit_status)
{
    double end_s = dg_time_s() + deadline_s;
    struct timespec pause = {.tv_nsec = 2000000};
    *exit_status = 0;
    for (;;) {
        pid_t got = waitpid(child, exit_status, WNOHANG);
        if (got == child || (got < 0 && errno != EINTR)) return true;
        if (dg_time_s() > end_s) break;
        nanosleep(&pause, NULL);
        if (pause.tv_nsec < 20000000) pause.tv_nsec *= 2;
    }
    kill(-child, SIGKILL);
    while (waitpid(child, exit_status, 0) < 0 && errno == EINTR) {}
    return false;
}

/* gnuplot's last words that are a message: not its echo of the line, nor the mark under it. */
static void last_message(const char *folder, char message[MESSAGE_MAX])
{
    char path[DG_PATH_MAX];
    char *text = NULL, *rest = NULL;
    int64_t length = 0;
    snprintf(message, MESSAGE_MAX, "it said nothing");
    if (dg_path_join(path, folder, "gnuplot.log") != DG_OK ||
        dg_file_read(path, "gnuplot's messages", LOG_LIMIT, &text, &length) != DG_OK)
        return;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        const char *word = line + strspn(line, " \t\r");
        if (*word != '\0' && *word != '^') snprintf(message, MESSAGE_MAX, "%s", word);
    }
    dg_free(&text);
    for (char *c = message; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20) *c = ' ';
    }
}

static dg_status judge(const char *folder, const char *figure, int exit_status)
{
    char message[MESSAGE_MAX];
    if (WIFEXITED(exit_status) && WEXITSTATUS(exit_status) == 0) return DG_OK;
    last_message(folder, message);
    if (strstr(message, "terminal type") != NULL)
        return DG_FAIL(
            DG_ERR_UNSUPPORTED,
            "this gnuplot has no pngcairo and pdfcairo: install the Debian package gnuplot-nox (it said: %s)", message);
    if (WIFSIGNALED(exit_status))
        return DG_FAIL(DG_ERR_IO, "%s: gnuplot was ended by signal %d: %s", figure, WTERMSIG(exit_status), message);
    return DG_FAIL(DG_ERR_IO, "%s: gnuplot failed with exit code %d: %s", figure, WEXITSTATUS(exit_status), message);
}

dg_status dg_gnuplot_run(const char *folder, const char *script, const char *figure, double deadline_s)
{
    char program[DG_PATH_MAX], reason[128], message[MESSAGE_MAX];
    char **environment = NULL;
    pid_t child = 0;
    int exit_status;
    if (!find_gnuplot(program)) return DG_FAIL(DG_ERR_UNSUPPORTED, MISSING);
    DG_TRY(make_environment(&environment));
    int error = start(program, folder, script, environment, &child);
    dg_free(&environment);
    if (error != 0)
        return DG_FAIL(DG_ERR_IO, "%s: gnuplot cannot be started: %s", figure,
                       strerror_r(error, reason, sizeof reason));
    if (wait_for(child, deadline_s, &exit_status)) return judge(folder, figure, exit_status);
    last_message(folder, message);
    return DG_FAIL(DG_ERR_IO, "%s: gnuplot did not finish within %g s and was stopped: %s", figure, deadline_s,
                   message);
}
