/* dg_yaml_field.h - the fields of data files in YAML (tables of constraints, mappings of structures). Every complaint is
 * DG_ERR_USAGE and names file, line, place, value and remedy. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_YAML_FIELD_H
#define DG_YAML_FIELD_H

#include "dg_yaml.h"

/* Where a complaint is about. */
typedef struct dg_yaml_place {
    const char *file;
    char within[160]; /* "row 3 (Rectum): ", or "" for the file as a whole */
} dg_yaml_place;

/* "file:line: within text". */
dg_status dg_yaml_field_fail(const dg_yaml_place *at, int line, const char *format, ...) DG_PRINTF(3, 4);
/* Refuses keys of a map that are not in `known` (ended by NULL). */
DG_MUST_USE dg_status dg_yaml_field_keys(const dg_yaml_place *at, const dg_yaml_node *map, const char *const *known);
/* A text of fewer than `capacity` bytes without control characters; a required one must be there and not empty, another
 * leaves `out` as it is when absent. */
DG_MUST_USE dg_status dg_yaml_field_text(const dg_yaml_place *at, const dg_yaml_node *map, const char *key,
                                         bool required, size_t capacity, char *out);
/* The text of one scalar, under the same rules and not empty; `what` names it. */
DG_MUST_USE dg_status dg_yaml_field_word(const dg_yaml_place *at, const dg_yaml_node *scalar, const char *what,
                                         size_t capacity, char *out);
/* A plain decimal number in [low, high]; the second form leaves `out` as it is when the key is absent. */
DG_MUST_USE dg_status dg_yaml_field_number(const dg_yaml_place *at, const dg_yaml_node *n, const char *what, double low,
                                           double high, double *out);
DG_MUST_USE dg_status dg_yaml_field_optional(const dg_yaml_place *at, const dg_yaml_node *map, const char *key,
                                             double low, double high, double *out);
/* true or false; absent: `out` stays. */
DG_MUST_USE dg_status dg_yaml_field_bool(const dg_yaml_place *at, const dg_yaml_node *map, const char *key, bool *out);

#endif
