/* dg_options_yaml.c - configuration files. What is not a map of known keys with plain values or lists of them ends the
 * reading at its line, so hostile nesting is never built up in memory.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_file.h"
#include "dg_mem.h"
#include "dg_options_impl.h"
#include "dg_yaml_impl.h"

#include <string.h>

enum { FILE_LIMIT = 1 << 20, DEPTH_MAX = 8, KEY_MAX = 160 };

typedef struct reader {
    dg_yaml_events events;
    dg_options *options;
    int *value_line;              /* [count] where a row was set in this file; 0: not yet */
    int (*group_line)[DEPTH_MAX]; /* [count] where the group of a row at a depth began */
} reader;

static int event_line(const reader *r) { return dg_yaml_events_line(&r->events); }

static dg_status fail_at(const reader *r, int line, const char *problem)
{
    return dg_yaml_fail_at(r->events.name, line, problem);
}

static dg_status next_event(reader *r) { return dg_yaml_events_next(&r->events); }

static const char *scalar_text(const reader *r) { return (const char *)r->events.event.data.scalar.value; }

static dg_status mark_once(const reader *r, int *seen, int line, const char *key)
{
    char problem[KEY_MAX + 64];
    if (*seen != 0) {
        snprintf(problem, sizeof problem, "%s is given twice, first at line %d", key, *seen);
        return fail_at(r, line, problem);
    }
    *seen = line;
    return DG_OK;
}

/* The elements of a list, up to its end. */
static dg_status read_sequence(reader *r, int index, int line)
{
    dg_string_list word = {0};
    char problem[128];
    for (;;) {
        DG_TRY(next_event(r));
        if (r->events.event.type == YAML_SEQUENCE_END_EVENT) break;
        if (r->events.event.type != YAML_SCALAR_EVENT)
            return fail_at(r, event_line(r), "an element of a list must be a plain value");
        const char *text = scalar_text(r);
        if (word.count == DG_OPT_STRINGS_MAX || strlen(text) >= DG_OPT_WORD) {
            snprintf(problem, sizeof problem, "a list has at most %d elements of at most %d bytes each",
                     DG_OPT_STRINGS_MAX, DG_OPT_WORD - 1);
            return fail_at(r, event_line(r), problem);
        }
        memcpy(word.value[word.count++], text, strlen(text) + 1);
    }
    dg_origin origin = dg_origin_make(DG_FROM_FILE, line, r->events.name);
    return dg_options_apply_list(r->options, index, &word, &origin);
}

static dg_status read_mapping(reader *r, const char *prefix, int depth);

/* The value of `key`, whose event is the current one. */
static dg_status read_value(reader *r, const char *key, int line, int depth)
{
    dg_origin origin = dg_origin_make(DG_FROM_FILE, line, r->events.name);
    int index = dg_options_index(r->options, key), group = dg_options_group(r->options, key);
    bool is_null = dg_yaml_events_null(&r->events);
    bool is_group = group >= 0 && (r->events.event.type == YAML_MAPPING_START_EVENT || is_null);
    if (is_group && depth < DEPTH_MAX) {
        DG_TRY(mark_once(r, &r->group_line[group][depth], line, key));
        return is_null ? DG_OK : read_mapping(r, key, depth + 1); /* "train:" with nothing below is fine */
    }
    if (index < 0) return dg_options_fail_unknown(r->options, key, &origin);
    DG_TRY(mark_once(r, &r->value_line[index], line, key));
    if (r->events.event.type == YAML_SCALAR_EVENT)
        return dg_options_apply_text(r->options, index, scalar_text(r), &origin);
    if (r->events.event.type == YAML_SEQUENCE_START_EVENT) return read_sequence(r, index, line);
    char problem[KEY_MAX + 64];
    snprintf(problem, sizeof problem, "%s takes a value, not a map", key);
    return fail_at(r, line, problem);
}

/* The keys of a map, up to its end. */
static dg_status read_mapping(reader *r, const char *prefix, int depth)
{
    char key[KEY_MAX];
    for (;;) {
        DG_TRY(next_event(r));
        if (r->events.event.type == YAML_MAPPING_END_EVENT) return DG_OK;
        int line = event_line(r);
        if (r->events.event.type != YAML_SCALAR_EVENT) return fail_at(r, line, "a key must be a plain word");
        int used = snprintf(key, sizeof key, "%s%s%s", prefix, prefix[0] == '\0' ? "" : ".", scalar_text(r));
        if (used < 0 || used >= (int)sizeof key) return fail_at(r, line, "a key longer than any known one");
        DG_TRY(next_event(r));
        DG_TRY(read_value(r, key, line, depth));
    }
}

static dg_status read_stream(reader *r)
{
    DG_TRY(next_event(r)); /* start of the stream */
    DG_TRY(next_event(r));
    if (r->events.event.type == YAML_STREAM_END_EVENT) return DG_OK; /* an empty file changes nothing */
    DG_TRY(next_event(r));
    bool is_null = dg_yaml_events_null(&r->events);
    if (r->events.event.type == YAML_MAPPING_START_EVENT)
        DG_TRY(read_mapping(r, "", 0));
    else if (!is_null)
        return fail_at(r, event_line(r), "a configuration is a map of keys and values (key: value)");
    DG_TRY(next_event(r)); /* end of the document */
    DG_TRY(next_event(r));
    if (r->events.event.type != YAML_STREAM_END_EVENT)
        return fail_at(r, event_line(r), "a second document (---); a configuration is one");
    return DG_OK;
}

dg_status dg_options_read_yaml_text(dg_options *options, const char *text, size_t length, const char *name)
{
    reader r = {.options = options};
    dg_status status;
    size_t rows = (size_t)options->count;
    if (length > FILE_LIMIT)
        return DG_FAIL(DG_ERR_USAGE, "%s: %zu bytes, a configuration has at most %d", name, length, FILE_LIMIT);
    DG_TRY(dg_yaml_events_open(text, length, name, &r.events));
    DG_TRY_GOTO(status, dg_alloc(&r.value_line, rows, sizeof *r.value_line, "lines of keys"), cleanup);
    DG_TRY_GOTO(status, dg_alloc(&r.group_line, rows, sizeof *r.group_line, "lines of groups"), cleanup);
    DG_TRY_GOTO(status, read_stream(&r), cleanup);
cleanup:
    dg_yaml_events_close(&r.events);
    dg_free(&r.value_line);
    dg_free(&r.group_line);
    return status;
}

dg_status dg_options_read_yaml(dg_options *options, const char *path)
{
    char *text;
    int64_t length;
    dg_status status = dg_file_read(path, path, FILE_LIMIT, &text, &length);
    if (status == DG_ERR_MEMORY) return status;
    if (status != DG_OK) return DG_FAIL(DG_ERR_USAGE, "configuration: %s", dg_error_last()->text);
    status = dg_options_read_yaml_text(options, text, (size_t)length, path);
    dg_free(&text);
    return status;
}
