/* evaluation.h - what is measured of each predicted case, and how it becomes one answer over cases and ranks.
 *
 * A case is one task, or, when it is large, several: its volume (errors, DVH, constraints, baselines) and z-slabs (regions
 * and gamma). Both ways go through the same partial results and the same merge, so the answer does not depend on the cut.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_EVALUATION_H
#define DG_EVALUATION_H

#include "dg_heartbeat.h"
#include "dg_baseline.h"
#include "dg_bootstrap.h"
#include "dg_calibration.h"
#include "dg_cohort.h"
#include "dg_constraints.h"
#include "dg_dose_metrics.h"
#include "dg_gamma.h"
#include "dg_openkbp_score.h"
#include "dg_predictions.h"
#include "dg_regions.h"
#include "dg_results.h"
#include "label_evaluation.h"
#include "run_config.h"

#include <jansson.h>

enum {
    DG_EVALUATION_VX = DG_OPT_LIST_MAX,
    DG_EVALUATION_REASON = 512,
    DG_EVALUATION_CRITERIA = 16,
    DG_EVALUATION_TEXT = 128 /* name and condition of a run */
};

/* Dose statistics of a structure; D0.1cc is NaN for a structure below 0.1 cc. */
typedef enum dg_dose_statistic {
    DG_STAT_D99,
    DG_STAT_D98,
    DG_STAT_D95,
    DG_STAT_D50,
    DG_STAT_D2,
    DG_STAT_D1,
    DG_STAT_D01CC,
    DG_STAT_MEAN,
    DG_STAT_MIN,
    DG_STAT_MAX,
    DG_STATS
} dg_dose_statistic;
const char *dg_dose_statistic_name(dg_dose_statistic statistic); /* "D99", "D0.1cc", "mean", .. */

/* Ratios of a target; NaN for other structures and where a case has no body. */
typedef enum dg_target_index {
    DG_INDEX_HI,
    DG_INDEX_CI_PADDICK,
    DG_INDEX_CI_RTOG,
    DG_INDEX_R50,
    DG_INDICES
} dg_target_index;
const char *dg_target_index_name(dg_target_index index); /* "HI", "CI_paddick", "CI_rtog", "R50" */

/* What one dose is judged by: the network's, and the baselines'. */
typedef enum dg_contender { DG_NETWORK, DG_CONSTANT, DG_DISTANCE_TABLE, DG_CONTENDERS } dg_contender;
const char *dg_contender_name(dg_contender contender); /* "network", "constant", "distance_table" */

typedef enum dg_evaluation_compat { DG_COMPAT_CORRECTED, DG_COMPAT_UPSTREAM } dg_evaluation_compat;
/* The dose that gamma percentages refer to. */
typedef enum dg_norm { DG_NORM_MAX, DG_NORM_PRESCRIPTION, DG_NORM_GY } dg_norm;

typedef struct dg_criterion {
    double dose_percent, distance_mm;
} dg_criterion;

typedef struct dg_structure_result {
    char name[DG_STRUCTURE_NAME];
    int64_t role; /* dg_role */
    int64_t voxels;
    double volume_cc, mae_gy;
    double gy[2][DG_STATS];                 /* [reference, prediction] */
    double vx_percent[2][DG_EVALUATION_VX]; /* at dg_evaluation_config.vx_gy */
    double v95_percent[2];                  /* at 95 % of a target's prescription, else NaN */
    double index[2][DG_INDICES];
    double member_std_gy[DG_STATS]; /* of the members of an ensemble, divided by their number less one; NaN without */
} dg_structure_result;

/* Errors of a region in 2^-20 Gy: parts of a case add up exactly. */
typedef struct dg_region_result {
    char name[80], reason[96]; /* as of dg_region */
    int64_t voxels, absolute_q20;
    dg_calibration members; /* of an ensemble */
} dg_region_result;

typedef struct dg_gamma_result {
    int64_t evaluated, passed;
    double mean, median, max; /* NaN where nothing was evaluated */
} dg_gamma_result;

/* The errors of one dose over all voxels of known dose. */
typedef struct dg_overall_errors {
    double rmse_gy, max_error_gy, mean_error_gy;
} dg_overall_errors;

/* One case. Plain bytes: `bytes` in all, the arrays behind the head in the order of their counts. */
typedef struct dg_case_result {
    int64_t bytes;
    int64_t order;                      /* place in the list of cases */
    int64_t has_openkbp, has_baselines; /* flags */
    int64_t failed;
    double read_s, compute_s; /* of a volume on its way to the merge; 0 in the result of a case */
    char id[DG_CASE_ID], group[DG_CASE_ID];
    char case_sha256[DG_HASH_HEX + 7], prediction_sha256[DG_HASH_HEX + 7], model_sha256[DG_HASH_HEX + 7];
    char reason[DG_EVALUATION_REASON];
    double spacing_mm[3], prescription_gy, norm_gy;
    char prescription_source[32]; /* as in dg_case_info */
    int64_t fractions;
    dg_dose_errors errors[DG_CONTENDERS];
    dg_overall_errors overall;
    dg_openkbp_result openkbp[DG_CONTENDERS];
    int64_t structure_count, region_count, criteria, constraint_count, text_bytes;
} dg_case_result;
const dg_structure_result *dg_case_structures(const dg_case_result *result);   /* [structure_count] */
const dg_region_result *dg_case_regions(const dg_case_result *result);         /* [region_count] */
const dg_gamma_result *dg_case_gamma(const dg_case_result *result);            /* [region_count][criteria] */
const dg_constraint_result *dg_case_constraints(const dg_case_result *result); /* [constraint_count] */
const char *dg_case_text(const dg_case_result *result); /* JSON of segmentations and of compat upstream; "" without */

/* Regions and gamma of some z-planes of a case. Plain bytes like a case. */
typedef struct dg_slab_result {
    int64_t bytes;
    int64_t failed;
    char reason[DG_EVALUATION_REASON];
    double read_s, compute_s, norm_gy;
    int64_t region_count, criteria, evaluated; /* evaluated: voxels with a gamma under any criterion */
    /* dg_region_result[region_count]; uint64_t bits[evaluated] of these regions; float gamma[criteria][evaluated] */
} dg_slab_result;

typedef struct dg_evaluation_config {
    const char *predictions; /* folder */
    int64_t members;   /* 0: the prediction is judged; else the mean of this many samples beside it, and their spread */
    const char *truth; /* folder whose truth_mean and truth_std hold what could have been, or NULL: not known */
    const dg_label_config *labels; /* of segmentations; NULL: the predictions are doses */
    dg_evaluation_compat compat;
    dg_gamma_params gamma; /* without criterion and norm */
    dg_norm norm;
    double norm_gy; /* of DG_NORM_GY */
    dg_criterion criterion[DG_EVALUATION_CRITERIA];
    int criteria;
    dg_string_list regions; /* count 0: all */
    double margin_mm;
    const dg_constraint_table *table; /* NULL: none */
    dg_dvh_rule rule;
    int supersample, subsample, threads;
    int vx_count;
    double vx_gy[DG_EVALUATION_VX];
    int64_t resamples;
    uint64_t seed;
    struct {
        char name[DG_EVALUATION_TEXT], condition[DG_EVALUATION_TEXT]; /* "": unknown */
        int64_t seed;                                                 /* -1: unknown */
    } run;
    const dg_baseline *baseline;          /* learned, or NULL */
    double level_gy[DG_BASELINE_TARGETS]; /* prescriptions of the targets the baseline knows; 0: none */
    int64_t train_cases;
    dg_heartbeat *heartbeat; /* where reading and computing are marked, or NULL */
} dg_evaluation_config;

/* Resolves settings (all but table, run and baselines). DG_ERR_USAGE names key and value. */
DG_MUST_USE dg_status dg_evaluation_configure(const dg_evaluate_config *settings, dg_evaluation_config *out);
/* Everything that decides a number, as `settings` of the results; the caller's. NULL: no memory. */
json_t *dg_evaluation_settings_json(const dg_evaluation_config *config);

/* Prescriptions of the targets of these cases, the three highest, in falling order; 0 where there are fewer. */
void dg_target_levels(const dg_cohort *cohort, const int64_t *cases, int64_t count,
                      double level_gy[DG_BASELINE_TARGETS]);
/* Learns one training case. Failures name the case. Not collective. */
DG_MUST_USE dg_status dg_evaluation_learn(const dg_cohort *cohort, int64_t index,
                                          const double level_gy[DG_BASELINE_TARGETS], dg_baseline *baseline);

/* How a case is cut so that each task's arrays stay below `mem_bytes`: slabs 0: one task; else 1 + slabs tasks, slab k
 * holding planes [k planes, (k + 1) planes). DG_ERR_MEMORY names what the case needs when no cut fits. */
typedef struct dg_evaluation_plan {
    int64_t slabs, planes;
} dg_evaluation_plan;
DG_MUST_USE dg_status dg_evaluation_make_plan(const dg_case_info *info, const dg_evaluation_config *config,
                                              int64_t mem_bytes, dg_evaluation_plan *out);

/* Seconds of a task, for the ledger. */
typedef struct dg_evaluation_time {
    double read_s, compute_s;
} dg_evaluation_time;

/* Measures one whole case (index -1: an id the cohort does not have). What is wrong with it is put into the result;
 * returned is only what would stop every case (DG_ERR_MEMORY). *out is the caller's (dg_free). Not collective. */
DG_MUST_USE dg_status dg_evaluation_case(const dg_cohort *cohort, int64_t index, const char *id,
                                         const dg_evaluation_config *config, dg_evaluation_time *time,
                                         dg_case_result **out);
/* The same but for regions and gamma. */
DG_MUST_USE dg_status dg_evaluation_volume(const dg_cohort *cohort, int64_t index, const char *id,
                                           const dg_evaluation_config *config, dg_evaluation_time *time,
                                           dg_case_result **out);
/* Regions and gamma of planes first .. first + planes - 1 (fewer at the end of the grid). */
DG_MUST_USE dg_status dg_evaluation_slab(const dg_cohort *cohort, int64_t index, const dg_evaluation_config *config,
                                         int64_t first, int64_t planes, dg_slab_result **out);
/* Volume and slabs[count] in the order of their planes become the case's result; a failed part makes a failed case. */
DG_MUST_USE dg_status dg_evaluation_merge(const dg_case_result *volume, const dg_slab_result *const *slabs,
                                          int64_t count, dg_case_result **out);
/* A case that could not be measured at all. */
DG_MUST_USE dg_status dg_evaluation_fail(const char *id, const char *reason, dg_case_result **out);

/* The scores of one contender over results[count] in their order, failed ones left out. */
typedef struct dg_scoreboard {
    int64_t cases;
    double mae_gy[DG_DOSE_REGIONS];     /* means over cases; NaN where no case has the region */
    double mae_std_gy[DG_DOSE_REGIONS]; /* over cases, ddof 1 */
    dg_openkbp_score openkbp;           /* patients 0: no OpenKBP case */
    dg_interval dose_score, dvh_score;  /* bootstrap over patients, 95 % */
} dg_scoreboard;
DG_MUST_USE dg_status dg_scoreboard_make(const dg_case_result *const *results, int64_t count, dg_contender contender,
                                         const dg_evaluation_config *config, dg_scoreboard *out);

/* Mean and standard deviation (ddof 1) over the cases that have a number. */
typedef struct dg_spread {
    int64_t cases;
    double mean, std;
} dg_spread;
/* Pass rate in % of a region under a criterion. */
dg_spread dg_evaluation_pass_rate(const dg_case_result *const *results, int64_t count, const char *region,
                                  int criterion);
/* Names of the regions in the order of their first appearance; returns how many (at most `room`). */
int64_t dg_evaluation_region_names(const dg_case_result *const *results, int64_t count, const char **names,
                                   int64_t room);

/* Regions of the cases as dg_evaluation_region_names, and "oar" where there are organs: all of them together, a voxel of two
 * organs twice. */
int64_t dg_members_regions(const dg_case_result *const *results, int64_t count, const char **names, int64_t room);
/* Sums over the voxels of a region in all cases that did not fail. */
dg_calibration dg_members_pool(const dg_case_result *const *results, int64_t count, const char *name);

/* dg_assumed_text of the evaluated cases. */
void dg_evaluation_assumed(const dg_case_result *const *results, int64_t count, char text[DG_ASSUMED_TEXT]);

/* The whole answer (doc/results.md); the caller's. NULL: no memory. */
json_t *dg_evaluation_to_json(const dg_case_result *const *results, int64_t count, const dg_evaluation_config *config,
                              const dg_scoreboard board[DG_CONTENDERS]);

/* Mean over cases that have the structure of |prediction - reference| of a statistic; NaN and *cases 0 when none has. */
double dg_evaluation_mean_error(const dg_case_result *const *results, int64_t count, const char *structure,
                                dg_dose_statistic statistic, int64_t *cases);

#endif
