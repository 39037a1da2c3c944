/* The heartbeat of one process: marks and files, what is late and what is not, and that its thread ends a process whose
 * main thread can't. Each case is a process of its own. SPDX-License-Identifier: Apache-2.0
 * ctest: libs=dg_parallel label=unit timeout=60 */
#include "dg_check.h"
#include "dg_heartbeat.h"
#include "dg_mem.h"
#include "dg_trace.h"

#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LEFT = 42 };
static char folder[64];
static int told[2]; /* a pipe: what tell and leave say */

static void tell(void *context, const char *report) { (void)!write(told[1], report, strlen(report)); }

static void leave(void *context, const char *why)
{
    (void)!write(told[1], why, strlen(why));
    _exit(LEFT);
}

static void nap(double seconds)
{
    nanosleep(&(struct timespec){.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (int)seconds) * 1e9)}, NULL);
}

static dg_comm *begin(double timeout_s, bool launched, dg_heartbeat **heartbeat)
{
    dg_comm *comm;
    const dg_heartbeat_options options = {.tell = tell, .leave = leave, .launched = launched};
    DG_CHECK_OK(dg_comm_self_create(&comm));
    dg_comm_set_timeout(comm, timeout_s);
    DG_CHECK_OK(dg_heartbeat_create(comm, &options, NULL, "test", heartbeat));
    DG_CHECK(comm->heartbeat == *heartbeat);
    return comm;
}

static void end(dg_comm **comm, dg_heartbeat **heartbeat)
{
    dg_comm_destroy(comm);
    dg_heartbeat_destroy(heartbeat);
    DG_CHECK(*heartbeat == NULL);
}

/* Runs `body` in a process; returns its exit code, what it told and how long it took. */
static int apart(void (*body)(void), char text[8192], double *seconds)
{
    int status;
    double start = dg_time_s();
    DG_CHECK(pipe(told) == 0);
    pid_t pid = fork();
    DG_CHECK(pid >= 0);
    if (pid == 0) {
        body();
        exit(0);
    }
    close(told[1]);
    size_t length = 0;
    for (ssize_t got; (got = read(told[0], text + length, 8191 - length)) > 0;) length += (size_t)got;
    text[length] = '\0';
    close(told[0]);
    DG_CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    *seconds = dg_time_s() - start;
    fprintf(stderr, "exit code %d after %.1f s: %s\n", WEXITSTATUS(status), *seconds, text);
    return WEXITSTATUS(status);
}

/* ---- marks ---- */

static void check_marks(void)
{
    dg_heartbeat *h;
    dg_comm *comm = begin(300, false, &h);
    dg_pulse *p;
    int count;
    dg_heartbeat_folder(h, folder);
    DG_CHECK(dg_heartbeat_phase(h, DG_PHASE_FORWARD) == DG_PHASE_START);
    DG_CHECK(dg_heartbeat_phase(h, DG_PHASE_SAVE) == DG_PHASE_FORWARD);
    dg_heartbeat_step(h, 12345678901);
    dg_heartbeat_task(h, "a case whose name is longer than the forty-seven bytes there are");
    dg_heartbeat_task(h, "");
    dg_heartbeat_task(h, "case-7");
    DG_CHECK_OK(dg_comm_barrier(comm));
    nap(1.6); /* the thread writes once a second */
    DG_CHECK_OK(dg_heartbeat_read(folder, &p, &count));
    DG_CHECK(count == 1 && p->rank == 0 && p->pid == getpid() && strcmp(p->host, comm->host) == 0);
    DG_CHECK(p->phase == DG_PHASE_SAVE && p->step == 12345678901 && strcmp(p->task, "case-7") == 0);
    DG_CHECK(p->tasks == 2 && p->marks == 6 && p->operations == 1 && p->wait_age_s < 0 && p->wait[0] == '\0');
    DG_CHECK(p->mark_age_s >= 1.4 && p->mark_age_s < 10 && p->phase_age_s >= p->mark_age_s && p->beat_age_s < 5);
    dg_free(&p);
    dg_heartbeat_tick(h);
    char home[256];
    dg_heartbeat_home(folder, home, sizeof home);
    DG_CHECK(strcmp(home, folder) == 0);
    end(&comm, &h);
    DG_CHECK_OK(dg_heartbeat_read(folder, &p, &count));
    DG_CHECK(count == 0 && p == NULL); /* nothing is left of a process that ended well */
    DG_CHECK(strcmp(dg_phase_name(DG_PHASE_END), "end") == 0 && strcmp(dg_phase_name((dg_phase)99), "unknown") == 0);
    DG_CHECK(dg_heartbeat_phase(NULL, DG_PHASE_SAVE) == DG_PHASE_START); /* marks without a heartbeat are none */
    dg_heartbeat_tick(NULL);
    dg_heartbeat_task(NULL, "x");
}

static void put(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    DG_CHECK(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

/* Files of other versions, cut short or of nonsense are left out; the rest is read. */
static void check_files(void)
{
    static const char row[] = "rank 3 pid 9 phase 2 step 5 tasks 1 marks 7 operations 8 ages 1.5 1.25 0.5 -1.000 wait "
                              "\"-\" task \"-\"\n";
    char good[512];
    dg_pulse *p;
    int count;
    DG_CHECK_OK(dg_heartbeat_read("/nowhere/at/all", &p, &count));
    DG_CHECK(count == 0);
    put("heartbeat-empty", "");
    put("heartbeat-other", "dosegrid-heartbeat 2 host x ranks 1 of 1 id a folder -\nrank 1 pid 1\n");
    put("heartbeat-noise", "\x01\xff\n\n\nrank");
    snprintf(good, sizeof good, "dosegrid-heartbeat 1 host h2 ranks 2 of 4 id a folder -\n%s%.40s", row, row);
    put("heartbeat-h2", good);
    put("else", good);
    DG_CHECK_OK(dg_heartbeat_read(folder, &p, &count));
    DG_CHECK(count == 1 && p->rank == 3 && p->step == 5 && p->phase == DG_PHASE_BACKWARD && strcmp(p->host, "h2") == 0);
    DG_CHECK(p->mark_age_s >= 1.25 && p->mark_age_s < 6 && p->wait_age_s == -1 && p->task[0] == '\0');
    dg_free(&p);
    DG_CHECK(dg_error_last()->status == DG_OK);
}

/* What an earlier start left is neither seen nor kept; a file of this start on another host stays. */
static void check_forgotten(void)
{
    dg_heartbeat *h;
    dg_comm *comm = begin(300, false, &h);
    dg_pulse *p;
    int count;
    put("heartbeat-h3", "dosegrid-heartbeat 1 host h3 ranks 1 of 2 id test folder -\n");
    dg_heartbeat_folder(h, folder);
    end(&comm, &h);
    DG_CHECK_OK(dg_heartbeat_read(folder, &p, &count));
    DG_CHECK(count == 0);
    const char *const names[] = {"heartbeat-h3", "else"}; /* all there is */
    for (int i = 0; i < 2; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        DG_CHECK(unlink(path) == 0);
    }
}

/* ---- what is late ---- */

/* A wait that does not end is an error after the timeout, and 3 s later the end. */
static void wait_in_vain(void)
{
    dg_heartbeat *h;
    dg_comm *comm = begin(0.5, false, &h);
    dg_wait wait;
    dg_status status = DG_OK;
    dg_heartbeat_step(h, 7);
    (void)dg_heartbeat_phase(h, DG_PHASE_REDUCE);
    double start = dg_time_s();
    dg_wait_begin(comm, "all-reduce", -1, &wait);
    while (status == DG_OK) status = dg_wait_poll(&wait);
    dg_wait_end(&wait);
    double seconds = dg_time_s() - start;
    DG_CHECK(status == DG_ERR_COMM && seconds >= 0.5 && seconds < 20);
    DG_CHECK(strstr(dg_error_last()->text, "rank 0 of 1 on ") != NULL);
    DG_CHECK(strstr(dg_error_last()->text, "step 7, phase reduce: all-reduce not complete after") != NULL);
    nap(30);
}

static void read_in_vain(void)
{
    dg_heartbeat *h;
    (void)begin(0.5, false, &h);
    (void)dg_heartbeat_phase(h, DG_PHASE_READ);
    dg_heartbeat_task(h, "case-3");
    nap(30);
}

/* Neither long computing, nor files that come slowly, nor a wait that the files' clock would count, is late. */
static void go_on(void)
{
    dg_heartbeat *h;
    dg_comm *comm = begin(0.6, false, &h);
    dg_wait wait;
    (void)dg_heartbeat_phase(h, DG_PHASE_FORWARD);
    nap(1.5);
    (void)dg_heartbeat_phase(h, DG_PHASE_WRITE);
    for (int i = 0; i < 10; i++) {
        nap(0.15);
        dg_heartbeat_tick(h);
    }
    dg_wait_begin(comm, "barrier", -1, &wait);
    nap(1.2); /* within the grace that a main thread has to find out by itself */
    dg_wait_end(&wait);
    nap(0.3);
    (void)dg_heartbeat_phase(h, DG_PHASE_UPDATE);
    end(&comm, &h);
}

/* The time for which the process was stopped counts for nothing. */
static void be_stopped(void)
{
    dg_heartbeat *h;
    dg_comm *comm = begin(2.5, false, &h);
    (void)dg_heartbeat_phase(h, DG_PHASE_SAVE);
    pid_t self = getpid();
    pid_t waker = fork();
    DG_CHECK(waker >= 0);
    if (waker == 0) {
        close(told[1]);
        nap(4);
        kill(self, SIGCONT);
        _exit(0);
    }
    raise(SIGSTOP);
    nap(1);
    (void)dg_heartbeat_phase(h, DG_PHASE_UPDATE);
    waitpid(waker, NULL, 0);
    end(&comm, &h);
}

/* A rank whose launcher dies while it computes. */
static void lose_launcher(void)
{
    pid_t rank = fork();
    DG_CHECK(rank >= 0);
    if (rank == 0) {
        dg_heartbeat *h;
        (void)begin(300, true, &h);
        (void)!write(told[1], "up ", 3);
        nap(30);
        _exit(0);
    }
    nap(1);
}

static dg_status poll_for(dg_wait *wait, double seconds)
{
    for (double stop = dg_time_s() + seconds; dg_time_s() < stop; nap(0.01)) DG_TRY(dg_wait_poll(wait));
    return DG_OK;
}

/* Two ranks of one host. One that came late, after longer than the deadline, but did come, ends nothing; two that then
 * wait for each other longer than the deadline are a fault. */
static void come_late(void)
{
    enum { RANKS = 2 };
    dg_heartbeat *h[RANKS];
    dg_comm *comm[RANKS];
    dg_wait wait[RANKS];
    void *table = NULL;
    const dg_heartbeat_options options = {.tell = tell, .leave = leave};
    DG_CHECK_OK(dg_alloc(&table, 1, (size_t)dg_heartbeat_table_bytes(RANKS), "table"));
    for (int r = 0; r < RANKS; r++) {
        DG_CHECK_OK(dg_comm_self_create(&comm[r]));
        comm[r]->rank = comm[r]->local_rank = r;
        comm[r]->size = comm[r]->local_size = RANKS;
        dg_comm_set_timeout(comm[r], 1.0);
        DG_CHECK_OK(dg_heartbeat_create(comm[r], &options, table, "test", &h[r]));
        dg_heartbeat_operation(h[r]);
    }
    dg_heartbeat_operation(h[0]); /* rank 1 is an operation behind, but waits too: it is not the cause */
    dg_wait_begin(comm[0], "receive from", 1, &wait[0]);
    for (int i = 0; i < 15; i++) {
        dg_heartbeat_tick(h[1]);
        DG_CHECK_OK(poll_for(&wait[0], 0.1));
    }
    dg_wait_begin(comm[1], "send to", 0, &wait[1]);
    DG_CHECK_OK(poll_for(&wait[0], 0.5)); /* as long as the message may take */
    DG_CHECK(poll_for(&wait[0], 20) == DG_ERR_COMM);
    DG_CHECK(strstr(dg_error_last()->text, "all 2 ranks are alive and wait for each other") != NULL);
    _exit(0);
}

static void check_late(void)
{
    char text[8192];
    double seconds;
    DG_CHECK(apart(wait_in_vain, text, &seconds) == LEFT && seconds < 20);
    DG_CHECK(strstr(text, "report of rank 0 on ") != NULL && strstr(text, "phase reduce of step 7") != NULL);
    DG_CHECK(strstr(text, "kernel wait channel") != NULL && strstr(text, "memory available on this host") != NULL);
    DG_CHECK(strstr(text, "ended, because rank 0 gave up") != NULL);
    DG_CHECK(apart(read_in_vain, text, &seconds) == LEFT && seconds < 20);
    DG_CHECK(strstr(text, "phase read, case case-3 since ") != NULL &&
             strstr(text, "not complete after 0.5 s") != NULL);
    DG_CHECK(apart(go_on, text, &seconds) == 0 && text[0] == '\0');
    DG_CHECK(apart(come_late, text, &seconds) == 0);
    DG_CHECK(apart(be_stopped, text, &seconds) == 0 && text[0] == '\0' && seconds >= 4);
    DG_CHECK(apart(lose_launcher, text, &seconds) == 0 && seconds < 20); /* the pipe closed: the rank is gone too */
    DG_CHECK(strncmp(text, "up ", 3) == 0 && strstr(text, "the launcher (process ") != NULL);
}

int main(void)
{
    snprintf(folder, sizeof folder, "/tmp/dosegrid-t410-XXXXXX");
    DG_CHECK(mkdtemp(folder) != NULL);
    check_marks();
    check_files();
    check_forgotten();
    check_late();
    DG_CHECK(rmdir(folder) == 0); /* and nothing else */
    return 0;
}
