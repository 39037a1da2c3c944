/* One writer for a folder: a living holder is named, a dead one replaced, also where only the record in run.lock tells; a
 * lease that another took over is noticed, and left alone when it is given back.
 * ctest: libs=dg_run label=fault timeout=120
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_file.h"
#include "lease.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char folder[64], path[96];

static void write_record(const char *text, time_t age_s)
{
    const struct timespec times[2] = {{.tv_sec = time(NULL) - age_s}, {.tv_sec = time(NULL) - age_s}};
    FILE *file = fopen(path, "w");
    DG_CHECK(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
    DG_CHECK(utimensat(AT_FDCWD, path, times, 0) == 0);
}

static void check_refused(const char *who)
{
    dg_lease *lease;
    DG_CHECK_FAILS(dg_lease_take(folder, "run 'a'", &lease), DG_ERR_BUSY, who);
    DG_CHECK(lease == NULL);
}

static void check_taken(void)
{
    dg_lease *lease;
    DG_CHECK_OK(dg_lease_take(folder, "run 'a'", &lease));
    DG_CHECK_OK(dg_lease_check(lease));
    dg_lease_release(&lease);
    DG_CHECK(lease == NULL);
}

/* A child that holds the lease until it is killed. */
static pid_t start_holder(void)
{
    int ready[2];
    char byte;
    DG_CHECK(pipe(ready) == 0);
    pid_t child = fork();
    if (child == 0) {
        dg_lease *lease;
        DG_CHECK_OK(dg_lease_take(folder, "run 'a'", &lease));
        DG_CHECK(write(ready[1], "x", 1) == 1);
        for (;;) pause();
    }
    DG_CHECK(read(ready[0], &byte, 1) == 1);
    close(ready[0]);
    close(ready[1]);
    return child;
}

static void test_processes(void)
{
    char who[64];
    pid_t child = start_holder();
    snprintf(who, sizeof who, "run 'a' is being written by process %d on ", (int)child);
    check_refused(who);
    DG_CHECK(kill(child, SIGKILL) == 0);
    siginfo_t info; /* dead, but not buried: its record is there and its process too */
    DG_CHECK(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) == 0);
    check_taken();
    DG_CHECK(waitpid(child, NULL, 0) == child);
    check_taken();
}

/* Without a lock that tells: the record alone, of this host and of others. */
static void test_records(void)
{
    char host[64] = "", text[256];
    gethostname(host, sizeof host - 1);
    snprintf(text, sizeof text, "process 1 on %s, started 0, token 1\n", host);
    write_record(text, 0);
    check_taken(); /* no process began then: a number that is used again */
    snprintf(text, sizeof text, "process %d on %s, started 12345, token 1\n", (int)getppid(), host);
    write_record(text, 0);
    check_taken();
    write_record("process 1 on elsewhere, started 5, token 1\n", 3600);
    check_taken(); /* not renewed for an hour */
    write_record("rubbish\n", 0);
    check_taken();
    pid_t renewer = fork(); /* another host that renews its record */
    if (renewer == 0) {
        for (;;) {
            utimensat(AT_FDCWD, path, NULL, 0);
            usleep(300000);
        }
    }
    write_record("process 77 on elsewhere, started 5, token 1\n", 0);
    check_refused("written by process 77 on elsewhere");
    DG_CHECK(kill(renewer, SIGKILL) == 0 && waitpid(renewer, NULL, 0) == renewer);
}

static void test_taken_over(void)
{
    char text[256] = "";
    dg_lease *lease;
    write_record("", 0);
    DG_CHECK_OK(dg_lease_take(folder, "run 'a'", &lease));
    write_record("process 5 on elsewhere, started 5, token 9\n", 0);
    DG_CHECK_FAILS(dg_lease_check(lease), DG_ERR_BUSY, "run 'a' was taken over by process 5 on elsewhere");
    dg_lease_release(&lease);
    FILE *file = fopen(path, "r");
    DG_CHECK(file != NULL && fgets(text, sizeof text, file) != NULL && strstr(text, "process 5") != NULL);
    fclose(file);
    write_record("", 0);
    DG_CHECK_OK(dg_lease_take(folder, "run 'a'", &lease));
    DG_CHECK(unlink(path) == 0);
    DG_CHECK_FAILS(dg_lease_check(lease), DG_ERR_BUSY, "run.lock was removed");
    dg_lease_release(&lease);
}

int main(void)
{
    dg_lease *lease;
    snprintf(folder, sizeof folder, "t722_lease-%d", (int)getpid());
    snprintf(path, sizeof path, "%s/run.lock", folder);
    DG_CHECK(mkdir(folder, 0777) == 0);
    test_processes();
    test_records();
    test_taken_over();
    DG_CHECK_FAILS(dg_lease_take("t722_absent", "run 'b'", &lease), DG_ERR_IO, "run 'b': its folder cannot be written");
    unlink(path);
    DG_CHECK(rmdir(folder) == 0);
    return 0;
}
