/* dg_options_yaml.c - configuration files. Reads libyaml's events one by one: what is not a map of known keys with
 * plain values or lists of them ends the reading at its line, so hostile nesting is never built up in memory.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_file.h"
#include "dg_mem.h"
#include "dg_options_impl.h"

#include <string.h>
#include <yaml.h>

enum { FILE_LIMIT = 1 << 20, DEPTH_MAX = 8, KEY_MAX = 160 };

typedef struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one */
    bool has_event;
    dg_options *options;
    const char *name, *text;
    size_t length;
    int *value_line;              /* [count] where a row was set in this file; 0: not yet */
    int (*group_line)[DEPTH_MAX]; /* [count] where the group of a row at a depth began */
} reader;

static int event_line(const reader *r) { return (int)r->event.start_mark.line + 1; }

static dg_status fail_at(const reader *r, int line, const char *problem)
{
    char where[DG_ORIGIN_TEXT];
    dg_origin origin = dg_origin_make(DG_FROM_FILE, line, r->name);
    dg_origin_print(&origin, where, sizeof where);
    return DG_FAIL(DG_ERR_USAGE, "%s: %s", where, problem);
}

/* A byte that is no text has an offset, everything else a mark. */
static dg_status fail_syntax(const reader *r)
{
    char problem[256];
    size_t line = r->parser.problem_mark.line + 1;
    if (r->parser.error == YAML_MEMORY_ERROR) return DG_FAIL(DG_ERR_MEMORY, "%s: no memory to read it", r->name);
    if (r->parser.error == YAML_READER_ERROR) {
        line = 1;
        for (size_t i = 0; i < r->parser.problem_offset && i < r->length; i++) line += r->text[i] == '\n';
    }
    snprintf(problem, sizeof problem, "not valid YAML: %.200s",
             r->parser.problem == NULL ? "unknown problem" : r->parser.problem);
    return fail_at(r, (int)line, problem);
}

static dg_status next_event(reader *r)
{
    if (r->has_event) yaml_event_delete(&r->event);
    r->has_event = false;
    if (!yaml_parser_parse(&r->parser, &r->event)) return fail_syntax(r);
    r->has_event = true;
    if (r->event.type == YAML_ALIAS_EVENT)
        return fail_at(r, event_line(r), "aliases (*name) are not possible here; write the value out");
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (r->event.type == YAML_SCALAR_EVENT) {
        anchor = r->event.data.scalar.anchor;
        tag = r->event.data.scalar.tag;
        if (strlen((const char *)r->event.data.scalar.value) != r->event.data.scalar.length)
            return fail_at(r, event_line(r), "a NUL character inside a value");
    } else if (r->event.type == YAML_SEQUENCE_START_EVENT) {
        anchor = r->event.data.sequence_start.anchor;
        tag = r->event.data.sequence_start.tag;
    } else if (r->event.type == YAML_MAPPING_START_EVENT) {
        anchor = r->event.data.mapping_start.anchor;
        tag = r->event.data.mapping_start.tag;
    }
    if (anchor != NULL) return fail_at(r, event_line(r), "anchors (&name) are not possible here; write the value out");
    if (tag != NULL) return fail_at(r, event_line(r), "tags (!name) are not possible here; leave it out");
    return DG_OK;
}

static const char *scalar_text(const reader *r) { return (const char *)r->event.data.scalar.value; }

static bool scalar_is_null(const reader *r)
{
    const char *text = scalar_text(r);
    return r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (text[0] == '\0' || strcmp(text, "null") == 0 || strcmp(text, "~") == 0);
}

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
        if (r->event.type == YAML_SEQUENCE_END_EVENT) break;
        if (r->event.type != YAML_SCALAR_EVENT)
            return fail_at(r, event_line(r), "an element of a list must be a plain value");
        const char *text = scalar_text(r);
        if (word.count == DG_OPT_STRINGS_MAX || strlen(text) >= DG_OPT_WORD) {
            snprintf(problem, sizeof problem, "a list has at most %d elements of at most %d bytes each",
                     DG_OPT_STRINGS_MAX, DG_OPT_WORD - 1);
            return fail_at(r, event_line(r), problem);
        }
        memcpy(word.value[word.count++], text, strlen(text) + 1);
    }
    dg_origin origin = dg_origin_make(DG_FROM_FILE, line, r->name);
    return dg_options_apply_list(r->options, index, &word, &origin);
}

static dg_status read_mapping(reader *r, const char *prefix, int depth);

/* The value of `key`, whose event is the current one. */
static dg_status read_value(reader *r, const char *key, int line, int depth)
{
    dg_origin origin = dg_origin_make(DG_FROM_FILE, line, r->name);
    int index = dg_options_index(r->options, key), group = dg_options_group(r->options, key);
    bool is_null = r->event.type == YAML_SCALAR_EVENT && scalar_is_null(r);
    bool is_group = group >= 0 && (r->event.type == YAML_MAPPING_START_EVENT || is_null);
    if (is_group && depth < DEPTH_MAX) {
        DG_TRY(mark_once(r, &r->group_line[group][depth], line, key));
        return is_null ? DG_OK : read_mapping(r, key, depth + 1); /* "train:" with nothing below is fine */
    }
    if (index < 0) return dg_options_fail_unknown(r->options, key, &origin);
    DG_TRY(mark_once(r, &r->value_line[index], line, key));
    if (r->event.type == YAML_SCALAR_EVENT) return dg_options_apply_text(r->options, index, scalar_text(r), &origin);
    if (r->event.type == YAML_SEQUENCE_START_EVENT) return read_sequence(r, index, line);
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
        if (r->event.type == YAML_MAPPING_END_EVENT) return DG_OK;
        int line = event_line(r);
        if (r->event.type != YAML_SCALAR_EVENT) return fail_at(r, line, "a key must be a plain word");
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
    if (r->event.type == YAML_STREAM_END_EVENT) return DG_OK; /* an empty file changes nothing */
    DG_TRY(next_event(r));
    bool is_null = r->event.type == YAML_SCALAR_EVENT && scalar_is_null(r);
    if (r->event.type == YAML_MAPPING_START_EVENT)
        DG_TRY(read_mapping(r, "", 0));
    else if (!is_null)
        return fail_at(r, event_line(r), "a configuration is a map of keys and values (key: value)");
    DG_TRY(next_event(r)); /* end of the document */
    DG_TRY(next_event(r));
    if (r->event.type != YAML_STREAM_END_EVENT)
        return fail_at(r, event_line(r), "a second document (---); a configuration is one");
    return DG_OK;
}

dg_status dg_options_read_yaml_text(dg_options *options, const char *text, size_t length, const char *name)
{
    reader r = {.options = options, .name = name, .text = text, .length = length};
    dg_status status;
    size_t rows = (size_t)options->count;
    if (length > FILE_LIMIT)
        return DG_FAIL(DG_ERR_USAGE, "%s: %zu bytes, a configuration has at most %d", name, length, FILE_LIMIT);
    if (!yaml_parser_initialize(&r.parser)) return DG_FAIL(DG_ERR_MEMORY, "%s: no memory to read it", name);
    DG_TRY_GOTO(status, dg_alloc(&r.value_line, rows, sizeof *r.value_line, "lines of keys"), cleanup);
    DG_TRY_GOTO(status, dg_alloc(&r.group_line, rows, sizeof *r.group_line, "lines of groups"), cleanup);
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, length);
    DG_TRY_GOTO(status, read_stream(&r), cleanup);
cleanup:
    if (r.has_event) yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
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
