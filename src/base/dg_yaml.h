/* dg_yaml.h - data files in YAML as a tree of values that know their line. Anchors, aliases, tags, several documents
 * and keys given twice are refused; depth, size and number of values are limited. (Run configurations are read by
 * dg_options.h.) SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_YAML_H
#define DG_YAML_H

#include "dg_status.h"

#include <stdbool.h>

enum { DG_YAML_LIMIT = 1 << 20, DG_YAML_DEPTH = 8, DG_YAML_NODES = 10000 };

typedef enum dg_yaml_kind { DG_YAML_SCALAR, DG_YAML_LIST, DG_YAML_MAP } dg_yaml_kind;

typedef struct dg_yaml_node {
    dg_yaml_kind kind;
    int line;                   /* 1-based */
    bool is_null;               /* of a scalar: nothing, null or ~, not in quotes */
    char *key;                  /* in a map, else NULL */
    char *text;                 /* of a scalar, as written; else NULL */
    struct dg_yaml_node *child; /* first element of a list or map */
    struct dg_yaml_node *next;  /* next element of the same list or map */
} dg_yaml_node;

/* Reads one document; *out is the caller's. `name` stands for the file in messages. DG_ERR_USAGE names file and line;
 * DG_ERR_MEMORY. Never crashes on hostile text. */
DG_MUST_USE dg_status dg_yaml_read_text(const char *text, size_t length, const char *name, dg_yaml_node **out);
void dg_yaml_destroy(dg_yaml_node **node);

/* The value of a map's key, or NULL. */
const dg_yaml_node *dg_yaml_get(const dg_yaml_node *map, const char *key);

#endif
