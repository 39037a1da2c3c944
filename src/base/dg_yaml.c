/* dg_yaml.c - see dg_yaml.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_yaml.h"
#include "dg_mem.h"
#include "dg_options_impl.h"
#include "dg_yaml_impl.h"

#include <stdio.h>
#include <string.h>

dg_status dg_yaml_fail_at(const char *name, int line, const char *problem)
{
    char where[DG_ORIGIN_TEXT];
    dg_origin origin = dg_origin_make(DG_FROM_FILE, line, name);
    dg_origin_print(&origin, where, sizeof where);
    return DG_FAIL(DG_ERR_USAGE, "%s: %s", where, problem);
}

int dg_yaml_events_line(const dg_yaml_events *events) { return (int)events->event.start_mark.line + 1; }

/* A byte that is no text has an offset, everything else a mark. */
static dg_status fail_syntax(const dg_yaml_events *e)
{
    char problem[256];
    size_t line = e->parser.problem_mark.line + 1;
    if (e->parser.error == YAML_MEMORY_ERROR) return DG_FAIL(DG_ERR_MEMORY, "%s: no memory to read it", e->name);
    if (e->parser.error == YAML_READER_ERROR) {
        line = 1;
        for (size_t i = 0; i < e->parser.problem_offset && i < e->length; i++) line += e->text[i] == '\n';
    }
    snprintf(problem, sizeof problem, "not valid YAML: %.200s",
             e->parser.problem == NULL ? "unknown problem" : e->parser.problem);
    return dg_yaml_fail_at(e->name, (int)line, problem);
}

dg_status dg_yaml_events_open(const char *text, size_t length, const char *name, dg_yaml_events *out)
{
    *out = (dg_yaml_events){.name = name, .text = text, .length = length};
    if (!yaml_parser_initialize(&out->parser)) return DG_FAIL(DG_ERR_MEMORY, "%s: no memory to read it", name);
    yaml_parser_set_encoding(&out->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&out->parser, (const unsigned char *)text, length);
    return DG_OK;
}

void dg_yaml_events_close(dg_yaml_events *events)
{
    if (events->has_event) yaml_event_delete(&events->event);
    events->has_event = false;
    yaml_parser_delete(&events->parser);
}

dg_status dg_yaml_events_next(dg_yaml_events *e)
{
    if (e->has_event) yaml_event_delete(&e->event);
    e->has_event = false;
    if (!yaml_parser_parse(&e->parser, &e->event)) return fail_syntax(e);
    e->has_event = true;
    const int line = dg_yaml_events_line(e);
    if (e->event.type == YAML_ALIAS_EVENT)
        return dg_yaml_fail_at(e->name, line, "aliases (*name) are not possible here; write the value out");
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (e->event.type == YAML_SCALAR_EVENT) {
        anchor = e->event.data.scalar.anchor;
        tag = e->event.data.scalar.tag;
        if (strlen((const char *)e->event.data.scalar.value) != e->event.data.scalar.length)
            return dg_yaml_fail_at(e->name, line, "a NUL character inside a value");
    } else if (e->event.type == YAML_SEQUENCE_START_EVENT) {
        anchor = e->event.data.sequence_start.anchor;
        tag = e->event.data.sequence_start.tag;
    } else if (e->event.type == YAML_MAPPING_START_EVENT) {
        anchor = e->event.data.mapping_start.anchor;
        tag = e->event.data.mapping_start.tag;
    }
    if (anchor != NULL)
        return dg_yaml_fail_at(e->name, line, "anchors (&name) are not possible here; write the value out");
    if (tag != NULL) return dg_yaml_fail_at(e->name, line, "tags (!name) are not possible here; leave it out");
    return DG_OK;
}

bool dg_yaml_events_null(const dg_yaml_events *e)
{
    if (e->event.type != YAML_SCALAR_EVENT || e->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return false;
    const char *text = (const char *)e->event.data.scalar.value;
    return text[0] == '\0' || strcmp(text, "null") == 0 || strcmp(text, "~") == 0;
}

/* ---- the tree ---------------------------------------------------------------------------------------------------- */

typedef struct builder {
    dg_yaml_events events;
    int nodes;
} builder;

void dg_yaml_destroy(dg_yaml_node **node)
{
    while (*node != NULL) { /* lists are long, depth is limited: only the depth is recursive */
        dg_yaml_node *gone = *node;
        *node = gone->next;
        dg_yaml_destroy(&gone->child);
        dg_free(&gone->key);
        dg_free(&gone->text);
        dg_free(&gone);
    }
}

const dg_yaml_node *dg_yaml_get(const dg_yaml_node *map, const char *key)
{
    if (map == NULL || map->kind != DG_YAML_MAP) return NULL;
    for (const dg_yaml_node *n = map->child; n != NULL; n = n->next)
        if (strcmp(n->key, key) == 0) return n;
    return NULL;
}

static dg_status fail_here(const builder *b, const char *problem)
{
    return dg_yaml_fail_at(b->events.name, dg_yaml_events_line(&b->events), problem);
}

static dg_status read_node(builder *b, int depth, char *key, dg_yaml_node **out);

/* The elements of a list or map up to its end, appended to node->child. */
static dg_status read_children(builder *b, int depth, dg_yaml_node *node)
{
    dg_yaml_node **tail = &node->child;
    const yaml_event_type_t end = node->kind == DG_YAML_MAP ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
    for (;;) {
        char *key = NULL, problem[200];
        DG_TRY(dg_yaml_events_next(&b->events));
        if (b->events.event.type == end) return DG_OK;
        if (node->kind == DG_YAML_MAP) {
            if (b->events.event.type != YAML_SCALAR_EVENT) return fail_here(b, "a key must be a plain word");
            const char *text = (const char *)b->events.event.data.scalar.value;
            const dg_yaml_node *twin = dg_yaml_get(node, text);
            if (twin != NULL) {
                snprintf(problem, sizeof problem, "%.80s is given twice, first at line %d", text, twin->line);
                return fail_here(b, problem);
            }
            DG_TRY(dg_string_copy(text, &key));
            dg_status status = dg_yaml_events_next(&b->events);
            if (status != DG_OK) {
                dg_free(&key);
                return status;
            }
        }
        DG_TRY(read_node(b, depth, key, tail));
        tail = &(*tail)->next;
    }
}

/* The value that begins with the current event; takes `key`. What was made stays linked in *out also on failure. */
static dg_status read_node(builder *b, int depth, char *key, dg_yaml_node **out)
{
    const yaml_event_t *event = &b->events.event;
    dg_yaml_node *node = NULL;
    dg_status status = DG_NEW(&node, 1, "YAML value");
    if (status != DG_OK) {
        dg_free(&key);
        return status;
    }
    *node = (dg_yaml_node){.key = key, .line = dg_yaml_events_line(&b->events)};
    *out = node;
    if (++b->nodes > DG_YAML_NODES) return fail_here(b, "more values than any file of this program has");
    if (event->type == YAML_SCALAR_EVENT) {
        node->is_null = dg_yaml_events_null(&b->events);
        return dg_string_copy((const char *)event->data.scalar.value, &node->text);
    }
    if (depth >= DG_YAML_DEPTH) return fail_here(b, "lists and maps are nested too deeply");
    node->kind = event->type == YAML_MAPPING_START_EVENT ? DG_YAML_MAP : DG_YAML_LIST;
    return read_children(b, depth + 1, node);
}

static dg_status read_document(builder *b, dg_yaml_node **out)
{
    DG_TRY(dg_yaml_events_next(&b->events)); /* start of the stream */
    DG_TRY(dg_yaml_events_next(&b->events));
    if (b->events.event.type == YAML_STREAM_END_EVENT) return fail_here(b, "the file is empty");
    DG_TRY(dg_yaml_events_next(&b->events));
    DG_TRY(read_node(b, 0, NULL, out));
    DG_TRY(dg_yaml_events_next(&b->events)); /* end of the document */
    DG_TRY(dg_yaml_events_next(&b->events));
    if (b->events.event.type != YAML_STREAM_END_EVENT) return fail_here(b, "a second document (---); a file is one");
    return DG_OK;
}

dg_status dg_yaml_read_text(const char *text, size_t length, const char *name, dg_yaml_node **out)
{
    builder b = {.nodes = 0};
    *out = NULL;
    if (length > DG_YAML_LIMIT)
        return DG_FAIL(DG_ERR_USAGE, "%s: %zu bytes, a file of this kind has at most %d", name, length, DG_YAML_LIMIT);
    DG_TRY(dg_yaml_events_open(text, length, name, &b.events));
    dg_status status = read_document(&b, out);
    dg_yaml_events_close(&b.events);
    if (status != DG_OK) dg_yaml_destroy(out);
    return status;
}
