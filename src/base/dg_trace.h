/* dg_trace.h - monotonic time, and named ranges on a Chrome trace (chrome://tracing, Perfetto).
 * A NULL dg_trace costs one branch. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_TRACE_H
#define DG_TRACE_H

#include "dg_status.h"

#include <stdint.h>

/* Seconds of CLOCK_MONOTONIC. */
double dg_time_s(void);

typedef struct dg_trace dg_trace;

/* Records up to `capacity` ranges of process `rank` in memory; later ones are counted as dropped. */
DG_MUST_USE dg_status dg_trace_create(int rank, int64_t capacity, dg_trace **out);
/* Writes {"traceEvents": [...]} to `path` (tmp, fsync, rename). */
DG_MUST_USE dg_status dg_trace_write(const dg_trace *trace, const char *path);
void dg_trace_destroy(dg_trace **trace);

/* A range of the calling thread; `name` must outlive the trace (a literal). Begin returns a token for end.
 * Names used: data, forward, backward, reduce, update, save, validate. Thread-safe. */
int64_t dg_range_begin(dg_trace *trace, const char *name);
void dg_range_end(dg_trace *trace, int64_t token);

#endif
