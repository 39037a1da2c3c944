/* lease.c - see lease.h. SPDX-License-Identifier: Apache-2.0 */
#include "lease.h"

#include "dg_file.h"
#include "dg_mem.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { RECORD = 256, WHAT = 160, CLOCKS_DIFFER_S = 600 };

/* What the file says: "process 12 on node1, started 3456, token 0123456789abcdef\n". */
typedef struct record {
    char host[64], token[24];
    long process;
    unsigned long long started; /* clock ticks after the boot */
} record;

struct dg_lease {
    char path[DG_PATH_MAX], what[WHAT];
    int file;
    record mine;
    pthread_t thread;
    pthread_mutex_t guard;
    pthread_cond_t changed;
    bool running, quit;
};

static const char *reason(char text[128]) { return strerror_r(errno, text, 128); }

/* When a process began, in ticks after the boot: field 22 of its stat, behind the name in brackets. 0: there is none, or
 * it is dead and only not yet buried by its parent. */
static unsigned long long start_of(long process)
{
    char path[64], text[1024];
    unsigned long long started = 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", process);
    FILE *file = fopen(path, "re");
    if (file == NULL) return 0;
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = '\0';
    const char *at = strrchr(text, ')');
    if (at != NULL && (at[1] == '\0' || at[2] == 'Z' || at[2] == 'X')) return 0;
    for (int field = 2; at != NULL && field < 22; field++) {
        at = strchr(at + 1, ' ');
    }
    if (at != NULL) started = strtoull(at, NULL, 10);
    return started;
}

static bool read_record(const char *path, record *out, struct timespec *renewed)
{
    char text[RECORD] = "";
    struct stat info;
    memset(out, 0, sizeof *out);
    int file = open(path, O_RDONLY | O_CLOEXEC); /* opened anew: so NFS asks its server */
    if (file < 0) return false;
    ssize_t got = pread(file, text, sizeof text - 1, 0);
    bool known = fstat(file, &info) == 0 && got > 0;
    close(file);
    if (!known) return false;
    *renewed = info.st_mtim;
    return sscanf(text, "process %ld on %63[^,], started %llu, token %23s", &out->process, out->host, &out->started,
                  out->token) == 4;
}

static dg_status fail_busy(const char *what, const record *holder)
{
    if (holder->process == 0) {
        return DG_FAIL(DG_ERR_BUSY, "%s is being written by another process; wait for it, or choose another folder",
                       what);
    }
    return DG_FAIL(DG_ERR_BUSY, "%s is being written by process %ld on %s; wait for it, or choose another folder", what,
                   holder->process, holder->host);
}

/* The lock is ours, or there are no locks: is whoever the record names still at work? */
static dg_status look_at_holder(const char *path, const char *what, const record *mine)
{
    record holder, later;
    struct timespec renewed, again;
    if (!read_record(path, &holder, &renewed)) return DG_OK;
    if (strcmp(holder.host, mine->host) == 0) {
        bool lives =
            holder.process != mine->process && holder.started != 0 && start_of(holder.process) == holder.started;
        return lives ? fail_busy(what, &holder) : DG_OK;
    }
    if (time(NULL) - renewed.tv_sec > CLOCKS_DIFFER_S) return DG_OK;
    for (int second = 0; second < DG_LEASE_WATCH_S; second++) {
        nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
        if (!read_record(path, &later, &again)) return DG_OK; /* given back */
        if (again.tv_sec != renewed.tv_sec || again.tv_nsec != renewed.tv_nsec) return fail_busy(what, &later);
    }
    return DG_OK;
}

static dg_status lock_file(dg_lease *lease)
{
    char text[128];
    record holder;
    struct timespec renewed;
    lease->file = open(lease->path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (lease->file < 0) return DG_FAIL(DG_ERR_IO, "%s: its folder cannot be written: %s", lease->what, reason(text));
    if (flock(lease->file, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return DG_OK;
    (void)read_record(lease->path, &holder, &renewed);
    return fail_busy(lease->what, &holder);
}

static dg_status write_record(const dg_lease *lease)
{
    const record *m = &lease->mine;
    char text[RECORD], why[128];
    int length = snprintf(text, sizeof text, "process %ld on %s, started %llu, token %s\n", m->process, m->host,
                          m->started, m->token);
    if (ftruncate(lease->file, 0) == 0 && pwrite(lease->file, text, (size_t)length, 0) == length &&
        fsync(lease->file) == 0)
        return DG_OK;
    return DG_FAIL(DG_ERR_IO, "%s: its folder cannot be written: %s", lease->what, reason(why));
}

static void *renew(void *context)
{
    dg_lease *lease = context;
    pthread_mutex_lock(&lease->guard);
    while (!lease->quit) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += DG_LEASE_RENEW_S;
        (void)pthread_cond_timedwait(&lease->changed, &lease->guard, &until);
        if (!lease->quit) (void)futimens(lease->file, NULL); /* a failure shows as a lost lease, or does no harm */
    }
    pthread_mutex_unlock(&lease->guard);
    return NULL;
}

static void name_self(record *mine)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    gethostname(mine->host, sizeof mine->host - 1);
    mine->process = (long)getpid();
    mine->started = start_of(mine->process);
    snprintf(mine->token, sizeof mine->token, "%lx%lx%lx", (unsigned long)now.tv_sec, (unsigned long)now.tv_nsec,
             (unsigned long)mine->process);
}

static dg_status take(dg_lease *lease)
{
    DG_TRY(lock_file(lease));
    DG_TRY(look_at_holder(lease->path, lease->what, &lease->mine));
    DG_TRY(write_record(lease));
    lease->running = pthread_create(&lease->thread, NULL, renew, lease) == 0;
    return lease->running ? DG_OK : DG_FAIL(DG_ERR_MEMORY, "%s: no thread could be started for its lease", lease->what);
}

dg_status dg_lease_take(const char *folder, const char *what, dg_lease **out)
{
    dg_lease *lease = NULL;
    *out = NULL;
    DG_TRY(DG_NEW(&lease, 1, "lease"));
    lease->file = -1;
    snprintf(lease->what, sizeof lease->what, "%s", what);
    name_self(&lease->mine);
    pthread_mutex_init(&lease->guard, NULL);
    pthread_cond_init(&lease->changed, NULL);
    dg_status status = dg_path_join(lease->path, folder, "run.lock");
    if (status == DG_OK) status = take(lease);
    if (status != DG_OK) {
        lease->mine.token[0] = '\0'; /* the record is another's: it stays */
        dg_lease_release(&lease);
    }
    *out = lease;
    return status;
}

dg_status dg_lease_check(dg_lease *lease)
{
    record holder;
    struct timespec renewed;
    if (read_record(lease->path, &holder, &renewed) && strcmp(holder.token, lease->mine.token) == 0) return DG_OK;
    if (holder.process == 0)
        return DG_FAIL(DG_ERR_BUSY, "%s: its run.lock was removed while this run wrote it; nothing more is written",
                       lease->what);
    return DG_FAIL(DG_ERR_BUSY, "%s was taken over by process %ld on %s; nothing more is written", lease->what,
                   holder.process, holder.host);
}

void dg_lease_release(dg_lease **lease)
{
    dg_lease *l = *lease;
    if (l == NULL) return;
    if (l->running) {
        pthread_mutex_lock(&l->guard);
        l->quit = true;
        pthread_cond_broadcast(&l->changed);
        pthread_mutex_unlock(&l->guard);
        pthread_join(l->thread, NULL);
    }
    record holder;
    struct timespec renewed;
    if (l->file >= 0 && l->mine.token[0] != '\0' && read_record(l->path, &holder, &renewed) &&
        strcmp(holder.token, l->mine.token) == 0) {
        if (ftruncate(l->file, 0) != 0) errno = 0; /* the next one finds the record of a dead process */
    }
    if (l->file >= 0) close(l->file);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->guard);
    dg_free(lease);
}
