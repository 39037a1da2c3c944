/* report_job_impl.h - what the sources of `dosegrid report` share. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_REPORT_JOB_IMPL_H
#define DG_REPORT_JOB_IMPL_H

#include "job.h"

#include "dg_cohort.h"
#include "dg_figures.h"
#include "dg_file.h"
#include "dg_report.h"
#include "dg_results.h"

enum { REPORT_INPUTS_MAX = 64, REPORT_CASES_MAX = 16, REPORT_COLUMNS_MAX = 48, REPORT_TARGET_PERCENT = 95 };

typedef struct report_settings {
    char cohort[DG_OPT_TEXT], output[DG_OPT_TEXT];
    dg_string_list predictions, cases; /* count 0: none; worst, median and best */
    double max_mb;
    bool figures, json;
} report_settings;

/* A run folder's own words; absent files are NULL. */
typedef struct report_run {
    const char *folder; /* borrowed: as typed */
    char name[DG_OPT_TEXT];
    json_t *config, *environment, *summary; /* owned */
} report_run;

/* One row of the index, one page. */
typedef struct report_experiment {
    char title[DG_OPT_TEXT + 64], stem[80];
    const report_run *run;   /* NULL: no run folder */
    dg_results *results;     /* owned; NULL: trained, not evaluated */
    const char *predictions; /* folder; NULL: no volumes */
    int64_t bytes;           /* of its page, when written */
} report_experiment;

/* Everything of one call; rank 0 alone works with it. */
typedef struct report_work {
    const dg_job_env *env;
    const report_settings *s;
    dg_cohort *cohort; /* NULL: no volumes */
    report_run *run;
    int runs;
    report_experiment *experiment;
    int experiments;
} report_work;

/* A column of numbers: of cases ("gamma.global_3mm3pct.gamma_pass_rate") or of the aggregate. */
typedef struct report_column {
    char key[DG_RESULTS_METRIC], label[96];
    const char *unit;
    bool is_pass_rate;
} report_column;

/* A picked case: index in the results, and why. */
typedef struct report_pick {
    int64_t index;
    dg_figure_pick pick;
    char why[160];
} report_pick;

/* A loaded case; `view` points into the arrays, which are owned. */
typedef struct report_loaded {
    dg_case_info info;
    dg_report_case view;
    float *ct_hu, *dose_gy[DG_REPORT_DOSES], *gamma[DG_REPORT_DOSES];
    uint64_t *masks;
    char gamma_label[160], note[256];
} report_loaded;

/* ---- report_columns.c: which numbers are shown */
/* Columns of the cases' table that hold a number in some case, and of the aggregate. */
int report_case_columns(const dg_results *results, report_column column[REPORT_COLUMNS_MAX]);
int report_aggregate_columns(const dg_results *const *results, int count, report_column column[REPORT_COLUMNS_MAX]);
/* NaN where there is none. */
double report_aggregate_value(const dg_results *results, const char *key);
json_t *report_columns_json(const report_column *column, int count);
json_t *report_number(double value); /* null where it is not finite */
/* The metric of a case that says which is worst, the larger the worse, with words for it. */
const char *report_monitor(const report_experiment *experiment, const char **words);
/* Worst, median and best of the monitor, or the cases named. DG_ERR_USAGE: a named case is not in the results. */
DG_MUST_USE dg_status report_pick_cases(const report_work *w, const report_experiment *experiment,
                                        report_pick pick[REPORT_CASES_MAX], int *count);

/* ---- report_volumes.c: volumes of a case and their gamma */
/* `other` may be NULL: the experiment whose prediction stands beside. What is wrong with the other one's is told in the
 * note. Messages name the case. */
DG_MUST_USE dg_status report_load(const report_work *w, const report_experiment *experiment,
                                  const report_experiment *other, const report_pick *pick, report_loaded *out);
void report_loaded_release(report_loaded *loaded);
/* Sets the dose outside the box where it is known. */
void report_fill_outside(const dg_case_info *info, float value, float *dose_gy);

/* ---- report_figures.c: figures in OUTPUT/figures/STEM, attached to the page as long as it stays within max_bytes */
DG_MUST_USE dg_status report_cohort_figures(const report_work *w, const report_experiment *experiment,
                                            dg_report_page *page, int64_t max_bytes, json_t *figures);
DG_MUST_USE dg_status report_case_figures(const report_work *w, const report_experiment *experiment,
                                          const report_pick *pick, const report_loaded *loaded, dg_report_page *page,
                                          int64_t max_bytes, json_t *figures);

/* Overlays of picked cases in place of volumes, where segmentations were judged. */
DG_MUST_USE dg_status report_label_figures(const report_work *w, const report_experiment *experiment,
                                           const report_pick *pick, int count, dg_report_page *page, int64_t max_bytes,
                                           json_t *figures);

/* ---- report_labels.c */
bool report_is_of_labels(const dg_results *results);
DG_MUST_USE dg_status report_label_boxes(const dg_results *results, const dg_figure_output *output,
                                         dg_figure_result *result);
/* Label and prediction over the scan; needs cohort and predictions. */
DG_MUST_USE dg_status report_label_overlay(const report_work *w, const report_experiment *experiment,
                                           const report_pick *pick, const dg_figure_output *output,
                                           dg_figure_result *result);

/* ---- report_cohort.c: the contact sheet of a cohort */
bool report_is_cohort(const char *path); /* by what lies there, or by the ending .h5 */
/* Writes OUTPUT/index.html of w->cohort, which lies at `named`, and OUTPUT/figures/. Damaged cases are counted, named and left
 * without picture; DG_ERR_DATA where all are. */
DG_MUST_USE dg_status report_write_cohort(const report_work *w, const char *named, int64_t *damaged);

/* ---- report_experiment.c: pages */
json_t *report_text_json(const char *value); /* any text: what is no UTF-8 is shown byte by byte */
json_t *report_assumed_json(bool assumed);   /* the mark of a case whose prescription no plan says, or null */
json_t *report_program_json(void);
DG_MUST_USE dg_status report_write_experiment(const report_work *w, report_experiment *experiment,
                                              const report_experiment *other);
DG_MUST_USE dg_status report_write_index(const report_work *w, char path[DG_PATH_MAX]);

#endif
