/* dg_figures.h - the figures of an experiment, drawn by gnuplot: 300 dpi PNG and vector PDF, one function for each.
 *
 * A figure is a pure function of the data handed over: the same data give the same gnuplot script. Script and data are written to a
 * private temporary folder, gnuplot is started there without a shell and without the user's start-up files, is stopped
 * after a deadline, and the folder is removed. Text of a case (ids, names of structures, labels) is data: it reaches
 * neither gnuplot nor a shell as a command, is drawn as it stands, and control characters become spaces.
 * All arguments are borrowed and only read. No function is collective, and none keeps state.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_FIGURES_H
#define DG_FIGURES_H

#include "dg_constraints.h"
#include "dg_grid.h"
#include "dg_structure.h"

enum { DG_FIGURE_NAME = 64, DG_FIGURE_TEXT = 512, DG_FIGURE_DPI = 300 };

/* Where figures go and in which formats. */
typedef struct dg_figure_output {
    const char *folder; /* exists already; files are <folder>/<name>.png and .pdf, replaced when they exist */
    bool png, pdf;      /* at least one */
    double deadline_s;  /* > 0: gnuplot is killed after that many seconds for one figure; 60 is ample */
    int dpi;            /* of the PNG; 0: DG_FIGURE_DPI */
} dg_figure_output;

/* What came of it. A figure whose data do not exist is not an error and leaves no file. */
typedef struct dg_figure_result {
    char name[DG_FIGURE_NAME];   /* of the files, without extension: "fig2_dose_colorwash_worst" */
    bool drawn;                  /* false: nothing to draw, no file was written */
    char reason[DG_FIGURE_TEXT]; /* why nothing was drawn, "" when it was */
    char caption
        [DG_FIGURE_TEXT]; /* a sentence or two for a report and for readers who do not see the picture; plain text that may
                                     hold case text: escape it for the medium */
} dg_figure_result;

/* Statuses of every dg_figure_*: DG_OK also where there was nothing to draw; DG_ERR_UNSUPPORTED where gnuplot or its
 * cairo terminals are missing (names the Debian package); DG_ERR_IO where a folder cannot be written or gnuplot failed
 * (with gnuplot's own last message) or passed the deadline; DG_ERR_USAGE for no format or a deadline that is not positive;
 * DG_ERR_DATA for a case view without reference or with an impossible grid; DG_ERR_MEMORY. */

/* Is gnuplot there? DG_ERR_UNSUPPORTED naming the Debian package; asks once before a report of many figures. */
DG_MUST_USE dg_status dg_figures_available(void);

/* ---- training: a table of numbers such as a run's metrics.csv ---- */

enum { DG_TABLE_COLUMNS = 128, DG_TABLE_NAME = 64 };

/* Columns by name; NaN where a field is empty. Rows in the order of the file. */
typedef struct dg_figure_table {
    int columns;
    int64_t rows;
    char name[DG_TABLE_COLUMNS][DG_TABLE_NAME];
    double *value; /* [row, column], owned */
} dg_figure_table;

/* Reads a CSV file with one line of names. `role` names it in messages ("metrics.csv of run base"). An incomplete last
 * line (a run that was killed) is left out. DG_ERR_FORMAT names role, line and what is wrong; DG_ERR_IO. */
DG_MUST_USE dg_status dg_figure_table_read(const char *path, const char *role, dg_figure_table *out);
void dg_figure_table_release(dg_figure_table *table);
int dg_figure_table_find(const dg_figure_table *table, const char *name); /* column or -1 */

typedef struct dg_figure_training {
    const dg_figure_table *metrics; /* step, loss, lr, val_* (jobs/run/metrics.h) */
    const char
        *monitor; /* column that chose the best weights, "val_dose_score"; NULL: the last val_ column with data */
} dg_figure_training;

/* fig1_training_curves: loss of every step and smoothed, validation scores in Gy with the best step of the monitor, and
 * learning rate. Nothing to draw: fewer than two steps with a loss. */
DG_MUST_USE dg_status dg_figure_training_curves(const dg_figure_output *output, const dg_figure_training *data,
                                                dg_figure_result *result);

/* fig9_loss_components: columns mse, mae, negative and every column "term_<name>", on a log axis; columns
 * "sigma_<name>" (learned standard deviations of the loss weights) in a second panel when there are any. Nothing to draw:
 * no component above 0. phase_step[phases]: steps at which a phase of the loss begins; a dotted line for each. */
DG_MUST_USE dg_status dg_figure_loss_components(const dg_figure_output *output, const dg_figure_table *metrics,
                                                const double *phase_step, int phases, dg_figure_result *result);

/* ---- one case: planes and DVH ---- */

/* Which case of a cohort is pictured. Files of the median case carry the bare name, the others _worst and _best. */
typedef enum dg_figure_pick { DG_PICK_MEDIAN, DG_PICK_WORST, DG_PICK_BEST, DG_PICKS } dg_figure_pick;
const char *dg_figure_pick_name(dg_figure_pick pick); /* "median", "worst", "best" */

/* index[pick]: the case nearest to the median of value[count], and those with the worst and the best value; -1 where that
 * case is another pick already (small cohorts) or no value is finite. NaN values are left out; among equals the smaller id
 * (bytes) is taken, so that the order of cases does not matter. */
void dg_figure_pick_cases(const char *const *case_id, const double *value, int64_t count, bool larger_is_better,
                          int64_t index[DG_PICKS]);

/* A case as loaded: all volumes [z,y,x] of `grid`. Side labels and the views' orientation follow from grid.direction. */
typedef struct dg_figure_case {
    const char *case_id;
    dg_figure_pick pick;
    const char *monitor_name; /* what the pick went by ("val_dose_score"); NULL: not told */
    double monitor_value;
    const char *monitor_unit; /* "Gy", "%"; NULL: none */
    const dg_grid *grid;
    const float *ct_hu;         /* NULL: no CT, grey is left out */
    const float *reference_gy;  /* NaN where not known */
    const float *prediction_gy; /* NaN where not known */
    const float *gamma;         /* NaN where not evaluated; NULL: no map */
    const char *gamma_label;    /* "3 %/3 mm, global, cutoff 10 %"; NULL with gamma NULL */
    const uint64_t *masks;      /* bit k: structure k */
    const dg_structure *structure;
    int structure_count;
    double prescription_gy; /* 0: not known; colours then go by the reference maximum */
    double ct_window[2];    /* what grey spans, low and high; both 0: soft tissue, -200 to 300 HU */
    const char *title;      /* of a contact sheet; NULL: that it shows a case as imported */
} dg_figure_case;

/* fig2_dose_colorwash: reference and prediction on CT, axial, coronal and sagittal plane through the centroid of the targets (of the
 * dose above half its maximum where there is no target), isodose lines and outlines of targets and organs. Nothing to draw: no finite dose. */
DG_MUST_USE dg_status dg_figure_dose_colorwash(const dg_figure_output *output, const dg_figure_case *data,
                                               dg_figure_result *result);
/* fig3_dose_difference: prediction minus reference in the same planes, diverging colours, symmetric about 0. */
DG_MUST_USE dg_status dg_figure_dose_difference(const dg_figure_output *output, const dg_figure_case *data,
                                                dg_figure_result *result);
/* fig4_dvh_comparison: cumulative DVH of targets and organs, reference solid, prediction dashed. */
DG_MUST_USE dg_status dg_figure_dvh_comparison(const dg_figure_output *output, const dg_figure_case *data,
                                               dg_figure_result *result);
/* fig11_gamma_map: gamma in the same planes, and in those through its worst voxel. Nothing to draw: no map, or no voxel evaluated. */
DG_MUST_USE dg_status dg_figure_gamma_map(const dg_figure_output *output, const dg_figure_case *data,
                                          dg_figure_result *result);

/* FOLDER/NAME.png (.pdf): what came in of a case, for a contact sheet. CT, outlines of its structures and, where it has one, its
 * dose with isodose lines in three planes through the centroid of the targets (without targets: of the high dose, of all
 * structures, of the grid); the whole patient is in the frame. prediction_gy is not looked at; ct_hu, and reference_gy of a case
 * without dose, may be NULL. `name` is the files', below DG_FIGURE_NAME. */
DG_MUST_USE dg_status dg_figure_contact(const dg_figure_output *output, const dg_figure_case *data, const char *name,
                                        dg_figure_result *result);

/* ---- a cohort ---- */

/* Gamma pass rates, % of voxels. */
typedef struct dg_figure_gamma_bar {
    const char *region;    /* label of the group: "PTV + 5 mm" */
    const char *criterion; /* label of the bar: "3 %/3 mm"; bars of one criterion share colour and pattern */
    double mean, sd;       /* over cases; sd NaN: no whisker */
    int64_t cases;
} dg_figure_gamma_bar;

typedef struct dg_figure_gamma_bars {
    const dg_figure_gamma_bar *bar; /* [count], grouped by the region's label, in order of first appearance */
    int64_t count;
    double target_percent; /* of the 'project target' line, 95; NaN: no line */
} dg_figure_gamma_bars;

/* fig5_gamma_bar_chart. Nothing to draw: no bar with a finite mean. */
DG_MUST_USE dg_status dg_figure_gamma_bar_chart(const dg_figure_output *output, const dg_figure_gamma_bars *data,
                                                dg_figure_result *result);

/* One box: the values of one metric over cases. NaN: the case has none. */
typedef struct dg_figure_box {
    const char *label;   /* "PTV70", "3 %/3 mm" */
    const double *value; /* [count] */
    int64_t count;
} dg_figure_box;

/* Boxes that share an axis. */
typedef struct dg_figure_box_panel {
    const char *title, *unit; /* "Mean absolute error", "Gy" */
    const dg_figure_box *box;
    int count;
    double line; /* a level drawn across (0 for signed errors, 95 for pass rates); NaN: none */
} dg_figure_box_panel;

enum { DG_FIGURE_PANELS = 6 };

/* fig6_per_case_boxplots: median, quartiles, whiskers to the furthest value within 1.5 interquartile ranges, and every
 * case as a point. 1 to DG_FIGURE_PANELS panels with something to show; panels without are left out. */
DG_MUST_USE dg_status dg_figure_per_case_boxplots(const dg_figure_output *output, const dg_figure_box_panel *panel,
                                                  int panels, dg_figure_result *result);

/* fig7_quantec_compliance: constraints by cases. Colour is the distance of the prediction to the limit in per cent of the
 * limit (blue: within, orange: beyond), a cross marks a failure of the prediction, a ring one of the clinical plan, a small plus what was not
 * evaluated: the verdict does not rest on colour alone. */
typedef struct dg_figure_constraint_cell {
    dg_verdict verdict[2]; /* [clinical plan, prediction] */
    double margin_percent; /* of the prediction to the limit, positive on the good side; NaN where not evaluated */
} dg_figure_constraint_cell;

typedef struct dg_figure_constraint_map {
    const char *table;                     /* name of the constraint table */
    const char *const *row_label;          /* [rows] "Rectum V70Gy < 20 %" */
    const char *const *case_id;            /* [cases] */
    const dg_figure_constraint_cell *cell; /* [rows, cases] */
    int64_t rows, cases;
} dg_figure_constraint_map;

/* More than 60 cases are drawn without their ids. Nothing to draw: no row of any case was evaluated. */
DG_MUST_USE dg_status dg_figure_constraint_heat_map(const dg_figure_output *output,
                                                    const dg_figure_constraint_map *data, dg_figure_result *result);

/* fig8_femur_asymmetry: mean dose of mirror structures, left minus right. */
typedef struct dg_figure_mirror_pair {
    const char *left, *right;                         /* names of the structures */
    const double *reference_gy[2], *prediction_gy[2]; /* [left, right][cases]; NaN where the case lacks it */
    int64_t cases;
} dg_figure_mirror_pair;

enum { DG_FIGURE_PAIRS = 8 };

/* Errors of the left against errors of the right partner, and left minus right as predicted against as planned. At most
 * DG_FIGURE_PAIRS pairs. Nothing to draw: no pair with both partners in any case. */
DG_MUST_USE dg_status dg_figure_asymmetry(const dg_figure_output *output, const dg_figure_mirror_pair *pair, int pairs,
                                          dg_figure_result *result);

/* fig10_seed_variability: one metric of several runs of a condition that differ in the seed. */
typedef struct dg_figure_seed_run {
    const char *condition;
    int64_t seed;
    const double *value; /* [cases], in the same order of cases for every run; NaN: none */
} dg_figure_seed_run;

typedef struct dg_figure_seeds {
    const char *metric, *unit;
    const dg_figure_seed_run *run; /* [runs] */
    int64_t runs, cases;
    double line; /* as in dg_figure_box_panel */
} dg_figure_seeds;

/* Cases linked over the seeds of a condition, the mean of each seed, and mean and standard deviation (ddof 1) over seeds.
 * One panel for each of at most DG_FIGURE_PANELS metrics. Nothing to draw: no condition with two seeds. */
DG_MUST_USE dg_status dg_figure_seed_variability(const dg_figure_output *output, const dg_figure_seeds *metric,
                                                 int metrics, dg_figure_result *result);

/* fig13_ensembles: judged ensembles of doses. */
enum { DG_FIGURE_LEVELS = 9, DG_FIGURE_STEP_METRICS = 3 };
typedef struct dg_figure_ensemble {
    const char *name;
    bool own_curve;                       /* its coverage is drawn (the first six) */
    double reliability[DG_FIGURE_LEVELS]; /* coverage of the middle 10 %, 20 %, .. 90 %, 0 to 1; NaN: none */
    int family;                           /* of a line against the steps, from 0; -1: not on one. Points of a line by rising steps */
    double steps;
    double against_steps[DG_FIGURE_STEP_METRICS]; /* CRPS in Gy; predicted to true spread in organs, and between them and targets */
} dg_figure_ensemble;

/* Coverage against its nominal value and, where there is more than one point, metrics against the steps of the sampler. Nothing to
 * draw: no ensemble with coverage. */
DG_MUST_USE dg_status dg_figure_ensembles(const dg_figure_output *output, const dg_figure_ensemble *ensemble, int count,
                                          dg_figure_result *result);

#endif
