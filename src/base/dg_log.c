/* dg_log.c - see dg_log.h. One lock a log; every line is written whole. SPDX-License-Identifier: Apache-2.0 */
#include "dg_log.h"

#include "dg_mem.h"
#include "dg_trace.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 2048 };

static const double terminal_interval_s = 0.2, line_interval_s = 60.0;

struct dg_log {
    pthread_mutex_t lock;
    int rank;
    dg_log_level level;
    FILE *file;     /* NULL: none */
    bool terminal;  /* rank 0 */
    bool overwrite; /* the terminal is one, not a file or pipe */
    bool line_open; /* an unfinished progress line stands on the terminal */
    char what[64];  /* the job whose progress is shown, and since when */
    int64_t first_done, last_done;
    double started_s, shown_s, filed_s;
};

dg_status dg_log_create(int rank, dg_log_level level, const char *path, dg_log **out)
{
    DG_TRY(DG_NEW(out, 1, "log"));
    dg_log *log = *out;
    log->rank = rank;
    log->level = level;
    log->terminal = rank == 0;
    log->overwrite = log->terminal && isatty(STDERR_FILENO);
    log->first_done = -1;
    if (path != NULL) {
        log->file = fopen(path, "ae");
        if (log->file == NULL) {
            char reason[128];
            dg_status status = DG_FAIL(DG_ERR_IO, "log file %s cannot be opened: %s; check the folder's permissions",
                                       path, strerror_r(errno, reason, sizeof reason));
            dg_free(out);
            return status;
        }
    }
    int error = pthread_mutex_init(&log->lock, NULL);
    if (error != 0) {
        if (log->file != NULL) fclose(log->file);
        dg_free(out);
        return DG_FAIL(DG_ERR_MEMORY, "no lock for the log (error %d)", error);
    }
    return DG_OK;
}

void dg_log_destroy(dg_log **log)
{
    if (*log != NULL) {
        if ((*log)->line_open) fputc('\n', stderr);
        if ((*log)->file != NULL) fclose((*log)->file);
        pthread_mutex_destroy(&(*log)->lock);
    }
    dg_free(log);
}

dg_log_level dg_log_get_level(const dg_log *log) { return log->level; }

static const char *level_name(dg_log_level level)
{
    switch (level) {
    case DG_LOG_ERROR: return "error: ";
    case DG_LOG_WARNING: return "warning: ";
    case DG_LOG_INFO: return "";
    case DG_LOG_DEBUG: return "debug: ";
    }
    return "";
}

/* Text from files and arguments must not move the cursor or forge lines. */
static void make_printable(char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7F) *text = ' ';
}

static void clock_text(char text[32])
{
    time_t now = time(NULL);
    struct tm parts;
    if (localtime_r(&now, &parts) == NULL || strftime(text, 32, "%Y-%m-%d %H:%M:%S", &parts) == 0) text[0] = '\0';
}

/* The lock is held. */
static void put_line(dg_log *log, dg_log_level level, const char *text)
{
    char when[32];
    clock_text(when);
    if (log->terminal) {
        if (log->line_open) fputs("\r\033[K", stderr);
        log->line_open = false;
        fprintf(stderr, "%s %s%s\n", when, level_name(level), text);
    }
    if (log->file != NULL) {
        fprintf(log->file, "%s [%d] %s%s\n", when, log->rank, level_name(level), text);
        fflush(log->file);
    }
}

void dg_log_write(dg_log *log, dg_log_level level, const char *format, ...)
{
    if (log == NULL || level > log->level) return;
    char text[LINE_MAX_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    make_printable(text);
    pthread_mutex_lock(&log->lock);
    put_line(log, level, text);
    pthread_mutex_unlock(&log->lock);
}

void dg_log_error(dg_log *log)
{
    if (log == NULL) return;
    dg_error error = *dg_error_last();
    if (error.status == DG_OK) return;
    dg_log_write(log, DG_LOG_ERROR, "%s: %s", dg_status_name(error.status), error.text);
    for (int i = 0; i < error.frame_count; i++)
        dg_log_write(log, DG_LOG_DEBUG, "  at %s:%d %s", error.frame[i].file, error.frame[i].line,
                     error.frame[i].function);
}

static void duration_text(double seconds, char *text, size_t capacity)
{
    if (!(seconds < 360000.0))
        snprintf(text, capacity, "%.0f h", seconds / 3600.0);
    else if (seconds >= 3600.0)
        snprintf(text, capacity, "%d h %02d min", (int)seconds / 3600, (int)seconds / 60 % 60);
    else if (seconds >= 60.0)
        snprintf(text, capacity, "%d min %02d s", (int)seconds / 60, (int)seconds % 60);
    else
        snprintf(text, capacity, "%.0f s", seconds);
}

static void progress_text(const dg_log *log, double now, int64_t done, int64_t total, const char *note, char *text,
                          size_t capacity)
{
    char pace[96] = "", left[48];
    double elapsed = now - log->started_s;
    int64_t since = done - log->first_done;
    if (since > 0 && elapsed > 0) {
        double rate = (double)since / elapsed;
        duration_text((double)(total - done) / rate, left, sizeof left);
        bool slow = rate < 1.0;
        snprintf(pace, sizeof pace, ", %.3g %s", slow ? 1.0 / rate : rate, slow ? "s each" : "/s");
        if (done < total) snprintf(pace + strlen(pace), sizeof pace - strlen(pace), ", %s left", left);
    }
    snprintf(text, capacity, "%s %lld of %lld%s%s%s", log->what, (long long)done, (long long)total, pace,
             note == NULL ? "" : ", ", note == NULL ? "" : note);
    make_printable(text);
}

void dg_log_progress(dg_log *log, const char *what, int64_t done, int64_t total, const char *note)
{
    if (log == NULL || log->level < DG_LOG_INFO) return;
    char text[LINE_MAX_BYTES];
    double now = dg_time_s();
    pthread_mutex_lock(&log->lock);
    if (log->first_done < 0 || strncmp(log->what, what, sizeof log->what - 1) != 0 || done < log->last_done) {
        snprintf(log->what, sizeof log->what, "%s", what);
        log->first_done = done;
        log->started_s = log->filed_s = now;
        log->shown_s = 0;
    }
    log->last_done = done;
    bool finished = done >= total, due = finished || now - log->filed_s >= line_interval_s;
    if (due || (log->overwrite && now - log->shown_s >= terminal_interval_s)) {
        progress_text(log, now, done, total, note, text, sizeof text);
        if (due) {
            put_line(log, DG_LOG_INFO, text);
            log->filed_s = now;
        } else {
            fprintf(stderr, "\r\033[K%.200s", text);
            fflush(stderr);
            log->line_open = true;
        }
        log->shown_s = now;
    }
    if (finished) log->first_done = -1; /* the next call starts anew */
    pthread_mutex_unlock(&log->lock);
}
