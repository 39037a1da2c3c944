/* dg_results.h - reader of evaluation results: `dosegrid evaluate`'s JSON, layout versions 1 and 2 (doc/results.md), and the
 * reference tool's evaluation JSON (golden README section 7). The file is a stranger's: depth, sizes, types and text are
 * checked, and an error names file, key and value.
 *
 * A metric of a case has a dotted name that says where it lies: "dose_metrics.mae_gy", "gamma.global_3mm3pct.gamma_pass_rate",
 * "dvh_metrics.PTV50.4.D95_error_gy". A name in the file may hold dots itself; that is understood.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_RESULTS_H
#define DG_RESULTS_H

#include "dg_status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    DG_RESULTS_TEXT = 128,     /* ids, names, conditions: 1 to 127 bytes of UTF-8 without control characters */
    DG_RESULTS_METRIC = 256,   /* a dotted name: up to 255 bytes */
    DG_RESULTS_DEPTH_MAX = 16, /* objects and arrays inside each other */
    DG_RESULTS_CASES_MAX = 1000000,
    DG_RESULTS_METRICS_MAX = 65536,
    DG_ASSUMED_TEXT = 192
};

typedef struct dg_results dg_results;

typedef enum dg_results_source { DG_RESULTS_DOSEGRID, DG_RESULTS_REFERENCE } dg_results_source;

/* Who was judged. Empty text, and has_seed false, where the file does not say. The reference tool writes neither name nor
 * seed; its model_type stands as condition. */
typedef struct dg_results_run {
    char name[DG_RESULTS_TEXT], condition[DG_RESULTS_TEXT];
    bool has_seed;
    int64_t seed;
} dg_results_run;

/* One evaluated case; texts are empty and numbers NaN where the file does not say. */
typedef struct dg_results_case {
    char id[DG_RESULTS_TEXT], group[DG_RESULTS_TEXT], sha256[DG_RESULTS_TEXT];
    double prescription_gy;
    const json_t *object; /* borrowed: the whole entry of per_case_results */
} dg_results_case;

/* Reads a file. `name` stands for it in messages (the path as the user typed it, or a role). Cases are sorted by id (bytes).
 * DG_ERR_IO; DG_ERR_FORMAT: no JSON, or not of this layout; DG_ERR_UNSUPPORTED: a version to come; DG_ERR_DATA: impossible
 * content (an id twice). Numbers written as NaN or Infinity, as Python does, count as absent. Not collective. */
DG_MUST_USE dg_status dg_results_read(const char *path, const char *name, dg_results **out);
/* The same from memory. */
DG_MUST_USE dg_status dg_results_read_text(const char *text, int64_t length, const char *name, dg_results **out);
void dg_results_destroy(dg_results **results);

const char *dg_results_name(const dg_results *results); /* of messages */
dg_results_source dg_results_get_source(const dg_results *results);
int dg_results_version(const dg_results *results); /* of our layout; 0: the reference tool's */
const dg_results_run *dg_results_get_run(const dg_results *results);
/* Borrowed; NULL where the file has none (version 1, the reference tool). */
const json_t *dg_results_settings(const dg_results *results);
const json_t *dg_results_root(const dg_results *results); /* borrowed: the whole file */

int64_t dg_results_case_count(const dg_results *results);
const dg_results_case *dg_results_get_case(const dg_results *results, int64_t index); /* borrowed */
int64_t dg_results_find_case(const dg_results *results, const char *id);              /* -1: none */
/* Cases that could not be evaluated: id and reason, borrowed. */
int64_t dg_results_failed_count(const dg_results *results);
void dg_results_get_failed(const dg_results *results, int64_t index, const char **id, const char **reason);

/* Cases whose prescription_source is "assumed": no plan says their prescription. */
int64_t dg_results_assumed(const dg_results *results);
bool dg_results_case_assumed(const dg_results_case *c);
/* What every report says of such cases, "PRESCRIPTION ASSUMED in 2 of 6 cases: ..."; "" where there are none. */
void dg_assumed_text(int64_t assumed, int64_t cases, char text[DG_ASSUMED_TEXT]);

/* Value of a dotted metric for case `index`. NaN where it is absent, and then *reason (may be NULL) says why: the file's own
 * words where it has some ("error", "reason"), else "not in the results", "null", "not a number", "no such structure".
 * *reason is NULL for a number; it is borrowed. */
double dg_results_value(const dg_results *results, int64_t index, const char *metric, const char **reason);
/* What lies at a dotted name below `object`, NULL when nothing does; borrowed. */
const json_t *dg_results_look_up(const json_t *object, const char *dotted);

/* All dotted names that hold a number in at least one case, sorted by bytes. Numbers at the top level of a case (its
 * prescription, its fractions) describe it and are no metrics; arrays are not entered. */
int64_t dg_results_metric_count(const dg_results *results);
const char *dg_results_metric(const dg_results *results, int64_t index); /* borrowed */
bool dg_results_has_metric(const dg_results *results, const char *metric);

#endif
