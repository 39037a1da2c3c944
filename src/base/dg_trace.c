/* dg_trace.c - see dg_trace.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_trace.h"

#include "dg_file.h"
#include "dg_mem.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

typedef struct range {
    const char *name;
    double begin_s, end_s;
    int thread;
    atomic_bool ended; /* published last, so that a writer sees whole ranges only */
} range;

struct dg_trace {
    int rank;
    int64_t capacity;
    atomic_int_fast64_t taken; /* slots handed out, also beyond capacity */
    range *ranges;
};

double dg_time_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

dg_status dg_trace_create(int rank, int64_t capacity, dg_trace **out)
{
    dg_status status;
    *out = NULL;
    if (capacity < 1) return DG_FAIL(DG_ERR_USAGE, "a trace of %lld ranges is empty", (long long)capacity);
    DG_TRY(DG_NEW(out, 1, "trace"));
    DG_TRY_GOTO(status, dg_alloc(&(*out)->ranges, (size_t)capacity, sizeof(range), "trace ranges"), fail);
    (*out)->rank = rank;
    (*out)->capacity = capacity;
    return DG_OK;
fail:
    dg_trace_destroy(out);
    return status;
}

void dg_trace_destroy(dg_trace **trace)
{
    if (*trace != NULL) dg_free(&(*trace)->ranges);
    dg_free(trace);
}

int64_t dg_range_begin(dg_trace *trace, const char *name)
{
    if (trace == NULL) return -1;
    int64_t token = atomic_fetch_add_explicit(&trace->taken, 1, memory_order_relaxed);
    if (token >= trace->capacity) return -1;
    range *r = &trace->ranges[token];
    r->name = name;
    r->thread = (int)gettid();
    r->begin_s = dg_time_s();
    return token;
}

void dg_range_end(dg_trace *trace, int64_t token)
{
    if (trace == NULL || token < 0) return;
    trace->ranges[token].end_s = dg_time_s();
    atomic_store_explicit(&trace->ranges[token].ended, true, memory_order_release);
}

static void print_name(FILE *stream, const char *name)
{
    for (; *name != '\0'; name++) {
        if (*name == '"' || *name == '\\') fputc('\\', stream);
        fputc((unsigned char)*name < 0x20 ? ' ' : *name, stream);
    }
}

static void print_events(FILE *stream, const dg_trace *trace)
{
    int64_t taken = atomic_load(&trace->taken);
    int64_t held = taken < trace->capacity ? taken : trace->capacity;
    fprintf(stream, "{\"displayTimeUnit\": \"ms\", \"otherData\": {\"dropped\": %lld},\n\"traceEvents\": [\n",
            (long long)(taken - held));
    fprintf(stream, "{\"ph\": \"M\", \"name\": \"process_name\", \"pid\": %d, \"args\": {\"name\": \"rank %d\"}}",
            trace->rank, trace->rank);
    for (int64_t i = 0; i < held; i++) {
        range *r = &trace->ranges[i];
        if (!atomic_load_explicit(&r->ended, memory_order_acquire)) continue;
        fprintf(stream, ",\n{\"ph\": \"X\", \"name\": \"");
        print_name(stream, r->name);
        fprintf(stream, "\", \"pid\": %d, \"tid\": %d, \"ts\": %.3f, \"dur\": %.3f}", trace->rank, r->thread,
                1e6 * r->begin_s, 1e6 * (r->end_s - r->begin_s));
    }
    fprintf(stream, "\n]}\n");
}

dg_status dg_trace_write(const dg_trace *trace, const char *path)
{
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    if (stream == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory to write the trace %s", path);
    print_events(stream, trace);
    bool failed = ferror(stream) != 0;
    if (fclose(stream) != 0 || failed) {
        free(text);
        return DG_FAIL(DG_ERR_MEMORY, "no memory to write the trace %s", path);
    }
    dg_status status = dg_file_write(path, text, (int64_t)length);
    free(text);
    return status;
}
