/* supervise_keep.c - what is worth knowing about a command that hung or crashed, kept in a folder of its own.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervise_impl.h"

#include "dg_heartbeat.h"
#include "dg_mem.h"
#include "dg_trace.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LOG_TAIL = 1 << 14, LOGS_MAX = 64, READ_ALL = 3, TOOL_SECONDS = 10, PROC_TEXT = 8192 };

static FILE *create(const char *folder, const char *name)
{
    char path[DG_PATH_MAX];
    return dg_path_join(path, folder, name) == DG_OK ? fopen(path, "we") : NULL;
}

/* The last `most` bytes of FROM/NAME to TO/NAME. */
static void copy_tail(const char *from, const char *to, const char *name, int64_t most)
{
    char path[DG_PATH_MAX], block[4096];
    struct stat info;
    FILE *in = dg_path_join(path, from, name) == DG_OK ? fopen(path, "re") : NULL;
    if (in == NULL) return;
    FILE *out = fstat(fileno(in), &info) == 0 ? create(to, name) : NULL;
    if (out != NULL && info.st_size > most) fseek(in, -most, SEEK_END);
    for (size_t got; out != NULL && (got = fread(block, 1, sizeof block, in)) > 0;) fwrite(block, 1, got, out);
    if (out != NULL) fclose(out);
    fclose(in);
}

/* Files of `from` whose names begin with `start`. */
static void copy_those(const char *from, const char *to, const char *start)
{
    DIR *stream = opendir(from);
    int copied = 0;
    if (stream == NULL) return;
    for (struct dirent *item = readdir(stream); item != NULL && copied < LOGS_MAX; item = readdir(stream)) {
        if (strncmp(item->d_name, start, strlen(start)) != 0) continue;
        copy_tail(from, to, item->d_name, LOG_TAIL);
        copied++;
    }
    closedir(stream);
}

static void print_proc(FILE *stream, pid_t pid, const char *name)
{
    char path[64], text[PROC_TEXT];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return;
    ssize_t got = read(descriptor, text, sizeof text - 1);
    close(descriptor);
    if (got <= 0) return;
    for (ssize_t i = 0; i + 1 < got; i++)
        if (text[i] == '\0') text[i] = ' '; /* between the words of a command line */
    text[got] = '\0';
    fprintf(stream, "--- %s\n%s%s", name, text, text[got - 1] == '\n' ? "" : "\n");
}

static void print_process(void *context, pid_t pid)
{
    static const char *const names[] = {"cmdline", "wchan", "syscall", "stack", "status"};
    fprintf(context, "=== process %d\n", (int)pid);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) print_proc(context, pid, names[i]);
}

static void keep_processes(const char *folder)
{
    FILE *stream = create(folder, "processes.txt");
    if (stream == NULL) return;
    supervise_each(print_process, stream);
    fclose(stream);
}

static void keep_memory(const char *folder)
{
    char line[256];
    FILE *in = fopen("/proc/meminfo", "re"), *out = create(folder, "memory.txt");
    while (in != NULL && out != NULL && fgets(line, sizeof line, in) != NULL) fputs(line, out);
    if (in != NULL) fclose(in);
    if (out != NULL) fclose(out);
}

/* The kernel's messages, where they may be read: a killed process, a device that fell off. */
static void keep_kernel(const char *folder)
{
    char *text = NULL;
    if (dg_alloc(&text, SUPERVISE_TAIL, 1, "kernel messages") != DG_OK) return;
    int length = klogctl(READ_ALL, text, SUPERVISE_TAIL);
    FILE *stream = length > 0 ? create(folder, "kernel.txt") : NULL;
    if (stream != NULL) {
        fwrite(text, 1, (size_t)length, stream);
        fclose(stream);
    }
    dg_free(&text);
}

/* The devices, where there is the tool that asks them; it may hang as they do. */
static void keep_devices(const char *folder)
{
    char path[DG_PATH_MAX];
    if (dg_path_join(path, folder, "nvidia-smi.txt") != DG_OK) return;
    pid_t pid = fork();
    if (pid < 0) return;
    if (pid == 0) {
        int out = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        if (out < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(out, STDERR_FILENO) < 0) _exit(127);
        execlp("nvidia-smi", "nvidia-smi", "-q", (char *)NULL);
        unlink(path);
        _exit(127);
    }
    int status = 0;
    for (double until = dg_time_s() + TOOL_SECONDS; waitpid(pid, &status, WNOHANG) == 0;) {
        if (dg_time_s() > until) {
            kill(pid, SIGKILL); /* one that sleeps in the driver does not even end of that: it is reaped later */
            return;
        }
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
}

static void keep_output(const supervisor *v, const char *folder)
{
    FILE *stream = create(folder, "output.txt");
    if (stream == NULL) return;
    int64_t held = v->written < SUPERVISE_TAIL ? v->written : SUPERVISE_TAIL, from = v->written - held;
    for (int64_t i = from; i < v->written; i++) fputc(v->tail[i % SUPERVISE_TAIL], stream);
    fclose(stream);
}

static void keep_reason(const supervisor *v, const char *why, const char *folder)
{
    FILE *stream = create(folder, "reason.txt");
    if (stream == NULL) return;
    fprintf(stream, "%s\nstart %d, %.1f s long, reached %lld\ncommand:", why, v->a.number, dg_time_s() - v->a.started_s,
            (long long)v->a.reached);
    for (char *const *word = v->command; *word != NULL; word++) fprintf(stream, " %s", *word);
    fputc('\n', stream);
    fclose(stream);
}

void supervise_keep(supervisor *v, const char *why, char folder[DG_PATH_MAX])
{
    char name[64], home[DG_PATH_MAX];
    time_t now = time(NULL);
    struct tm local;
    folder[0] = '\0';
    if (localtime_r(&now, &local) == NULL || strftime(name, 32, "%Y%m%d-%H%M%S", &local) == 0) return;
    snprintf(name + strlen(name), sizeof name - strlen(name), "-start%d", v->a.number);
    if (dg_path_join(folder, v->s->diagnostics, name) != DG_OK || dg_make_folder(folder) != DG_OK) {
        folder[0] = '\0';
        dg_error_clear();
        return;
    }
    keep_reason(v, why, folder);
    keep_processes(folder); /* first what passes away */
    copy_those(v->beats, folder, "heartbeat-");
    keep_output(v, folder);
    keep_memory(folder);
    dg_heartbeat_home(v->beats, home, sizeof home);
    if (home[0] != '\0') {
        copy_those(home, folder, "fault-");
        copy_those(home, folder, "rank-");
    }
    keep_kernel(folder);
    keep_devices(folder);
}
