/* dg_yaml_impl.h - libyaml's events one by one, for the readers of this folder. What no file of ours needs (anchors,
 * tags, NUL characters) ends the reading at its line, so hostile nesting is never built up in memory.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_YAML_IMPL_H
#define DG_YAML_IMPL_H

#include "dg_status.h"

#include <stdbool.h>
#include <yaml.h>

typedef struct dg_yaml_events {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one */
    bool has_event;
    const char *name, *text; /* borrowed */
    size_t length;
} dg_yaml_events;

/* Begins to read a text that must outlive the reader; dg_yaml_events_close in any case. */
DG_MUST_USE dg_status dg_yaml_events_open(const char *text, size_t length, const char *name, dg_yaml_events *out);
void dg_yaml_events_close(dg_yaml_events *events);
DG_MUST_USE dg_status dg_yaml_events_next(dg_yaml_events *events);
int dg_yaml_events_line(const dg_yaml_events *events);
/* DG_ERR_USAGE "file:line: problem". */
DG_MUST_USE dg_status dg_yaml_fail_at(const char *name, int line, const char *problem);
/* Whether the current event is a scalar that says nothing: empty, null or ~. */
bool dg_yaml_events_null(const dg_yaml_events *events);

#endif
