/* dg_log.h - lines for people, written by the layers that may speak (jobs and run): time, level, rank, text.
 * Rank 0 writes to the terminal and its file, other ranks to their file only. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_LOG_H
#define DG_LOG_H

#include "dg_status.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum dg_log_level { DG_LOG_ERROR, DG_LOG_WARNING, DG_LOG_INFO, DG_LOG_DEBUG } dg_log_level;
typedef struct dg_log dg_log;

/* `path` may be NULL (no file). A terminal gets a progress line that overwrites itself, anything else one line a minute. */
DG_MUST_USE dg_status dg_log_create(int rank, dg_log_level level, const char *path, dg_log **out);
void dg_log_destroy(dg_log **log);
/* Of --verbose and --quiet, for a job that keeps a log of its own. */
dg_log_level dg_log_get_level(const dg_log *log);
/* A NULL log is silent. Thread-safe. */
void dg_log_write(dg_log *log, dg_log_level level, const char *format, ...) DG_PRINTF(3, 4);
/* Writes the thread's error record. */
void dg_log_error(dg_log *log);
/* Progress of a long job: done of total, rate and time left are worked out here. `note` may be NULL. */
void dg_log_progress(dg_log *log, const char *what, int64_t done, int64_t total, const char *note);

#endif
