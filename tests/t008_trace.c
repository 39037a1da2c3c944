/* ctest: libs=dg_base label=unit timeout=30
 * Traces from several threads parse as JSON with nested, ordered ranges; what does not fit is counted.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"

#include "dg_file.h"
#include "dg_mem.h"
#include "dg_trace.h"

#include <jansson.h>
#include <pthread.h>
#include <unistd.h>

enum { THREADS = 4, LOOPS = 100 };

static void *work(void *context)
{
    dg_trace *trace = context;
    for (int i = 0; i < LOOPS; i++) {
        int64_t outer = dg_range_begin(trace, "forward"), inner = dg_range_begin(trace, "in\"ner\\");
        dg_range_end(trace, inner);
        dg_range_end(trace, outer);
    }
    return NULL;
}

static json_t *written(const dg_trace *trace)
{
    char path[64], *text;
    int64_t length;
    snprintf(path, sizeof path, "t008_%d.json", (int)getpid());
    DG_CHECK_OK(dg_trace_write(trace, path));
    DG_CHECK_OK(dg_file_read(path, "trace", 1 << 24, &text, &length));
    json_t *root = json_loads(text, 0, NULL);
    DG_CHECK(root != NULL);
    dg_free(&text);
    DG_CHECK(unlink(path) == 0);
    return root;
}

static void check_events(const json_t *root)
{
    int inner = 0, outer = 0;
    size_t index;
    json_t *event;
    json_array_foreach(json_object_get(root, "traceEvents"), index, event)
    {
        const char *name = json_string_value(json_object_get(event, "name"));
        DG_CHECK(json_integer_value(json_object_get(event, "pid")) == 3);
        if (index == 0) continue;
        inner += strcmp(name, "in\"ner\\") == 0;
        outer += strcmp(name, "forward") == 0;
        DG_CHECK(json_number_value(json_object_get(event, "dur")) >= 0);
    }
    DG_CHECK(inner == THREADS * LOOPS && outer == THREADS * LOOPS);
}

int main(void)
{
    dg_trace *trace;
    pthread_t thread[THREADS];
    double before = dg_time_s();
    DG_CHECK(dg_range_begin(NULL, "data") == -1);
    dg_range_end(NULL, -1);
    DG_CHECK_FAILS(dg_trace_create(0, 0, &trace), DG_ERR_USAGE, "empty");
    DG_CHECK_OK(dg_trace_create(3, 2 * THREADS * LOOPS, &trace));
    for (int i = 0; i < THREADS; i++) DG_CHECK(pthread_create(&thread[i], NULL, work, trace) == 0);
    for (int i = 0; i < THREADS; i++) DG_CHECK(pthread_join(thread[i], NULL) == 0);
    DG_CHECK(dg_range_begin(trace, "late") == -1);
    json_t *root = written(trace);
    check_events(root);
    DG_CHECK(json_integer_value(json_object_get(json_object_get(root, "otherData"), "dropped")) == 1);
    json_decref(root);
    DG_CHECK_FAILS(dg_trace_write(trace, "/nowhere/t.json"), DG_ERR_IO, "/nowhere/t.json");
    dg_trace_destroy(&trace);
    DG_CHECK(trace == NULL && dg_time_s() >= before);

    DG_CHECK_OK(dg_trace_create(3, 10, &trace)); /* an open range is not written */
    DG_CHECK(dg_range_begin(trace, "open") == 0);
    root = written(trace);
    DG_CHECK(json_array_size(json_object_get(root, "traceEvents")) == 1);
    json_decref(root);
    dg_trace_destroy(&trace);
    return 0;
}
