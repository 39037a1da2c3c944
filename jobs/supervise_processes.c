/* supervise_processes.c - the processes of a supervised command. Ranks have process groups of their own, and lose their
 * parent when the launcher dies: the supervisor is their subreaper, so that all of them stay its descendants.
 * SPDX-License-Identifier: Apache-2.0 */
#include "supervise_impl.h"

#include "dg_mem.h"
#include "dg_trace.h"

#include <ctype.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef struct process {
    pid_t pid, parent;
    bool ours;
} process;

/* The parent and the state letter, from /proc/PID/stat. */
static bool read_stat(pid_t pid, pid_t *parent, char *state)
{
    char path[64], text[512];
    int number = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) return false;
    size_t got = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[got] = '\0';
    const char *at = strrchr(text, ')');
    if (at == NULL || sscanf(at + 1, " %c %d", state, &number) != 2) return false;
    *parent = number;
    return true;
}

/* All processes of the machine that run; the caller's. */
static int64_t list(process **out)
{
    DIR *stream = opendir("/proc");
    int64_t count = 0;
    *out = NULL;
    if (stream == NULL) return 0;
    for (struct dirent *item = readdir(stream); item != NULL; item = readdir(stream)) {
        process p = {.pid = isdigit((unsigned char)item->d_name[0]) ? atoi(item->d_name) : 0};
        char state = 'X';
        if (p.pid == 0 || !read_stat(p.pid, &p.parent, &state) || state == 'Z' || state == 'X') continue;
        if (dg_grow(out, (size_t)count, (size_t)count + 1, sizeof **out, "list of processes") != DG_OK) break;
        (*out)[count++] = p;
    }
    closedir(stream);
    return count;
}

void supervise_each(supervise_visit visit, void *context)
{
    process *all;
    int64_t count = list(&all);
    const pid_t me = getpid();
    for (bool more = true; more;) { /* a child may be listed before its parent */
        more = false;
        for (int64_t i = 0; i < count; i++) {
            bool ours = all[i].parent == me;
            for (int64_t k = 0; k < count && !ours; k++) ours = all[k].ours && all[k].pid == all[i].parent;
            if (!ours || all[i].ours) continue;
            all[i].ours = more = true;
        }
    }
    for (int64_t i = 0; i < count; i++)
        if (all[i].ours) visit(context, all[i].pid);
    dg_free(&all);
}

static void count_one(void *context, pid_t pid) { ++*(int *)context; }

static void terminate_one(void *context, pid_t pid)
{
    kill(pid, SIGTERM);
    kill(pid, SIGCONT); /* a stopped process takes no other signal */
}

static void kill_one(void *context, pid_t pid)
{
    kill(pid, SIGKILL);
    ++*(int *)context;
}

void supervise_reap(supervise_attempt *a)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        if (pid != a->pid) continue;
        a->ended = true;
        a->status = status;
    }
}

static int count_all(supervise_attempt *a)
{
    int count = 0;
    supervise_reap(a);
    supervise_each(count_one, &count);
    return count;
}

int supervise_end_all(supervise_attempt *a, double grace_s)
{
    int killed = 0;
    if (count_all(a) == 0) return 0;
    supervise_each(terminate_one, NULL);
    for (double until = dg_time_s() + grace_s; count_all(a) > 0 && dg_time_s() < until;)
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    for (int turn = 0; turn < 100 && count_all(a) > 0; turn++) { /* again for those that were just made */
        int now = 0;
        supervise_each(kill_one, &now);
        if (turn == 0) killed = now;
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    return killed;
}
