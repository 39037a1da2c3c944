/* ctest: libs=dg_base label=unit timeout=30
 * Log lines on files and terminals: levels, ranks, progress, and no control characters from text.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"

#include "dg_file.h"
#include "dg_log.h"
#include "dg_mem.h"

#include <fcntl.h>
#include <unistd.h>

static char path[64], errors[64];

static char *take(const char *name)
{
    char *text;
    int64_t length;
    DG_CHECK_OK(dg_file_read(name, "log", 1 << 20, &text, &length));
    DG_CHECK(unlink(name) == 0);
    return text;
}

static int count(const char *text, const char *what)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, what)) != NULL; at++) n++;
    return n;
}

/* Standard error into a file (or terminal) while `log` speaks; the old one comes back. */
static int redirect(int to)
{
    fflush(stderr);
    int old = dup(STDERR_FILENO);
    DG_CHECK(old >= 0 && dup2(to, STDERR_FILENO) >= 0);
    return old;
}

static void restore(int old)
{
    fflush(stderr);
    DG_CHECK(dup2(old, STDERR_FILENO) >= 0);
    close(old);
}

static void speak(dg_log *log)
{
    dg_log_write(log, DG_LOG_INFO, "training %d cases", 28);
    dg_log_write(log, DG_LOG_DEBUG, "hidden");
    dg_log_write(log, DG_LOG_WARNING, "name \033[2J\nforged");
    for (int i = 0; i <= 1000; i++) dg_log_progress(log, "step", i, 1000, "loss 0.1");
    (void)DG_FAIL(DG_ERR_DATA, "case pt_9: dose is NaN");
    dg_log_error(log);
}

static void check_rank(int rank)
{
    dg_log *log;
    int to = open(errors, O_CREAT | O_TRUNC | O_WRONLY, 0600), old = redirect(to);
    close(to);
    DG_CHECK_OK(dg_log_create(rank, DG_LOG_INFO, path, &log));
    speak(log);
    dg_log_destroy(&log);
    restore(old);
    char *file = take(path), *terminal = take(errors), tag[8];
    snprintf(tag, sizeof tag, "[%d] ", rank);
    DG_CHECK(count(file, "\n") == 4 && count(file, tag) == 4);
    DG_CHECK(count(file, "training 28 cases") == 1 && count(file, "hidden") == 0);
    DG_CHECK(count(file, "warning: name  [2J forged") == 1 && count(file, "\033") == 0);
    DG_CHECK(count(file, "step 1000 of 1000") == 1 && count(file, "loss 0.1") == 1);
    DG_CHECK(count(file, "error: bad data: case pt_9: dose is NaN") == 1);
    DG_CHECK(count(terminal, "\n") == (rank == 0 ? 4 : 0));
    dg_free(&file);
    dg_free(&terminal);
}

/* A terminal gets a line that overwrites itself, and a whole line before anything else is said. */
static void check_terminal(void)
{
    char name[64], seen[8192];
    dg_log *log;
    int head = posix_openpt(O_RDWR | O_NOCTTY);
    DG_CHECK(head >= 0 && grantpt(head) == 0 && unlockpt(head) == 0 && ptsname_r(head, name, sizeof name) == 0);
    int tail = open(name, O_RDWR | O_NOCTTY), old = redirect(tail);
    DG_CHECK_OK(dg_log_create(0, DG_LOG_INFO, NULL, &log));
    dg_log_progress(log, "step", 0, 10, NULL);
    dg_log_progress(log, "step", 1, 10, NULL);
    dg_log_write(log, DG_LOG_INFO, "saved");
    dg_log_destroy(&log);
    restore(old);
    close(tail);
    size_t length = 0; /* a terminal hands its text out in pieces, and fails at the end when nobody writes any more */
    for (ssize_t got; (got = read(head, seen + length, sizeof seen - 1 - length)) > 0;) length += (size_t)got;
    seen[length] = '\0';
    close(head);
    DG_CHECK(count(seen, "\r\033[Kstep 0 of 10") == 1);
    DG_CHECK(count(seen, "step 1 of 10") == 0); /* too soon after the last */
    DG_CHECK(strstr(strstr(seen, "step 0"), "\r\033[K") != NULL && count(seen, "saved") == 1);
}

int main(void)
{
    dg_log *log;
    snprintf(path, sizeof path, "t009_%d.log", (int)getpid());
    snprintf(errors, sizeof errors, "t009_%d.err", (int)getpid());
    check_rank(0);
    check_rank(1);
    check_terminal();
    speak(NULL);
    DG_CHECK_FAILS(dg_log_create(0, DG_LOG_INFO, "/nowhere/a.log", &log), DG_ERR_IO, "/nowhere/a.log");
    DG_CHECK(log == NULL);
    return 0;
}
