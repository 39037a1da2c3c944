/* config_diff.h - runs, configurations and conditions of a sweep side by side: every setting that differs with where
 * it comes from, and everything else a run records about itself. Layout of the JSON: doc/diff.md.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CONFIG_DIFF_H
#define DG_CONFIG_DIFF_H

#include "dg_status.h"

#include <jansson.h>

enum { DG_DIFF_NAME = 128, DG_DIFF_SIDES_MAX = 128 };

/* One input; the JSON is owned (dg_diff_side_release). */
typedef struct dg_diff_side {
    char name[DG_DIFF_NAME];
    const char *kind; /* "run", "configuration" or "condition" */
    json_t *config;   /* resolved settings: key -> {"value", "origin"} */
    json_t *facts;    /* of a run, else NULL: environment.json */
    json_t *split;    /* of a run, else NULL: test_cases.json */
} dg_diff_side;
void dg_diff_side_release(dg_diff_side *side);

/* Sections, in the order of the answer. */
typedef enum dg_diff_section {
    DG_DIFF_SETTINGS,
    DG_DIFF_CODE,
    DG_DIFF_LIBRARIES,
    DG_DIFF_DATA,
    DG_DIFF_SPLIT,
    DG_DIFF_MACHINE,
    DG_DIFF_SECTIONS
} dg_diff_section;
const char *dg_diff_section_name(dg_diff_section section);

/* Compares side[count], at least 2; the first is what the others are told against. The caller's. */
DG_MUST_USE dg_status dg_diff_make(const dg_diff_side *side, int count, json_t **out);
/* One line a setting that differs between the first and side `index` and is in force, "loss.dvh.weight: 0 -> 1
 * (condition dvh of sweep.yaml:14)"; an array of texts, the caller's. NULL: no memory. Identity (run.name, run.dir,
 * run.condition, run.seed) is left out. */
json_t *dg_diff_changes(const json_t *diff, int index);
/* The tables as Markdown; the caller frees *text with dg_free. */
DG_MUST_USE dg_status dg_diff_markdown(const json_t *diff, char **text);
/* A JSON value as it is shown: text without quotes, lists in brackets, null as "-". */
void dg_diff_value_text(const json_t *value, char *text, size_t capacity);

#endif
