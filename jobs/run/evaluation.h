/* evaluation.h - what is measured of each predicted case, and how it becomes one answer over cases and ranks.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_EVALUATION_H
#define DG_EVALUATION_H

#include "dg_baseline.h"
#include "dg_bootstrap.h"
#include "dg_cohort.h"
#include "dg_dose_metrics.h"
#include "dg_openkbp_score.h"

#include <jansson.h>

enum { DG_EVALUATION_VX = 16, DG_EVALUATION_REASON = 512 };

/* Dose statistics of a structure after the ICRU rule; D0.1cc is NaN for a structure below 0.1 cc. */
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

/* What one dose is judged by: the network's, and the baselines'. */
typedef enum dg_contender { DG_NETWORK, DG_CONSTANT, DG_DISTANCE_TABLE, DG_CONTENDERS } dg_contender;
const char *dg_contender_name(dg_contender contender); /* "network", "constant", "distance_table" */

typedef struct dg_structure_result {
    char name[DG_STRUCTURE_NAME];
    dg_role role;
    int64_t voxels;
    double volume_cc, mae_gy;
    double gy[2][DG_STATS];                 /* [reference, prediction] */
    double vx_percent[2][DG_EVALUATION_VX]; /* at dg_evaluation_config.vx_gy */
    double v95_percent[2];                  /* at 95 % of a target's prescription, else NaN */
} dg_structure_result;

/* One case. Plain bytes: a rank sends it up to its last structure (dg_case_result_bytes). */
typedef struct dg_case_result {
    int64_t order; /* place in the list of cases */
    char id[DG_CASE_ID];
    bool failed;
    char reason[DG_EVALUATION_REASON];
    double spacing_mm[3], prescription_gy;
    bool has_openkbp;   /* the case has a possible-dose mask */
    bool has_baselines;
    dg_dose_errors errors[DG_CONTENDERS];
    dg_openkbp_result openkbp[DG_CONTENDERS];
    int64_t structure_count;
    dg_structure_result structure[DG_STRUCTURES_MAX];
} dg_case_result;
static inline size_t dg_case_result_bytes(const dg_case_result *r)
{
    return offsetof(dg_case_result, structure) + (size_t)r->structure_count * sizeof r->structure[0];
}

typedef struct dg_evaluation_config {
    const char *predictions; /* folder */
    int vx_count;
    double vx_gy[DG_EVALUATION_VX];
    int64_t resamples;
    uint64_t seed;
    const dg_baseline *baseline; /* learned, or NULL */
    double level_gy[DG_BASELINE_TARGETS]; /* prescriptions of the targets the baseline knows; 0: none */
    int64_t train_cases;
} dg_evaluation_config;

/* Prescriptions of the targets of these cases, the three highest, in falling order; 0 where there are fewer. */
void dg_target_levels(const dg_cohort *cohort, const int64_t *cases, int64_t count,
                      double level_gy[DG_BASELINE_TARGETS]);
/* Learns one training case. Failures name the case. Not collective. */
DG_MUST_USE dg_status dg_evaluation_learn(const dg_cohort *cohort, int64_t index,
                                          const double level_gy[DG_BASELINE_TARGETS], dg_baseline *baseline);

/* Measures one case (index -1: an id the cohort does not have). What is wrong with it is put into `out`; returned is only
 * what would stop every case (DG_ERR_MEMORY). Not collective. */
DG_MUST_USE dg_status dg_evaluation_case(const dg_cohort *cohort, int64_t index, const char *id,
                                         const dg_evaluation_config *config, dg_case_result *out);

/* The scores of one contender over results[count] in their order, failed ones left out. */
typedef struct dg_scoreboard {
    int64_t cases;
    double mae_gy[DG_DOSE_REGIONS]; /* means over cases; NaN where no case has the region */
    double mae_std_gy[DG_DOSE_REGIONS]; /* over cases, ddof 1 */
    dg_openkbp_score openkbp;       /* patients 0: no OpenKBP case */
    dg_interval dose_score, dvh_score; /* bootstrap over patients, 95 % */
} dg_scoreboard;
DG_MUST_USE dg_status dg_scoreboard_make(const dg_case_result *const *results, int64_t count, dg_contender contender,
                                         const dg_evaluation_config *config, dg_scoreboard *out);

/* The whole answer (doc/results.md): per_case_results[], failed[], aggregate. The caller's; NULL: no memory. */
json_t *dg_evaluation_to_json(const dg_case_result *const *results, int64_t count, const dg_evaluation_config *config,
                              const dg_scoreboard board[DG_CONTENDERS]);

/* Mean over cases that have the structure of |prediction - reference| of a statistic; NaN and *cases 0 when none has. */
double dg_evaluation_mean_error(const dg_case_result *const *results, int64_t count, const char *structure,
                                dg_dose_statistic statistic, int64_t *cases);

#endif
