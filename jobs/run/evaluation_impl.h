/* evaluation_impl.h - what the files of the evaluation share. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_EVALUATION_IMPL_H
#define DG_EVALUATION_IMPL_H

#include "evaluation.h"

/* A case in memory. */
typedef struct dg_loaded {
    const dg_case_info *info;
    dg_prediction_info prediction;
    int64_t voxels;
    double voxel_mm3;
    float *dose_gy, *prediction_gy, *sdf_mm[DG_BASELINE_TARGETS];
    uint64_t *masks, body_bits, possible_bits;
    uint8_t *scratch;
    struct { /* the voxels that any structure has or where the doses differ, in their order: see dg_loaded_pack */
        int64_t voxels;
        float *dose_gy, *prediction_gy;
        uint64_t *masks;
    } packed;
    double read_s;
} dg_loaded;
void dg_loaded_release(dg_loaded *l);

/* The prediction lies on the case's grid: DG_ERR_MISMATCH tells both. */
DG_MUST_USE dg_status dg_evaluation_check_grid(const dg_case_info *info, const dg_grid *grid);
bool dg_box_is_grid(const dg_box *box, const dg_grid *grid);

/* What a result is put together from; NULL and 0 where there is nothing. */
typedef struct dg_result_parts {
    const dg_structure_result *structure;
    const dg_region_result *region;
    const dg_gamma_result *gamma; /* [head.region_count][head.criteria] */
    const dg_constraint_result *constraint;
    const char *text;
} dg_result_parts;
/* One block of head and parts, by the counts of the head. */
DG_MUST_USE dg_status dg_case_result_assemble(const dg_case_result *head, const dg_result_parts *parts,
                                              dg_case_result **out);

/* Planes of a case with what gamma and the regions see around them; borrowed arrays [shape[0], y, x] that begin at plane
 * `start` of the case's grid. `own` planes from `first` (of the case's grid) on are judged. */
typedef struct dg_slab_view {
    const dg_case_info *info;
    int64_t start, planes; /* of the arrays */
    int64_t first, own;
    const float *dose_gy, *prediction_gy;
    const uint64_t *masks;
    double norm_gy; /* 0: nothing to refer to */
} dg_slab_view;
DG_MUST_USE dg_status dg_slab_measure(const dg_slab_view *view, const dg_evaluation_config *config,
                                      dg_slab_result **out);

/* ---- evaluation_ensemble.c: config->members samples of a case ------------------------------------------------------ */

/* Planes start .. start + planes - 1 of member 0 .. members - 1. */
DG_MUST_USE dg_status dg_members_read(const dg_evaluation_config *config, const dg_case_info *info, int64_t member,
                                      int64_t start, int64_t planes, float *dose_gy);
/* Mean of all members; memory for one of them and a sum in double. DG_ERR_MISMATCH: a sample that the prediction was not made
 * of, left there by another ensemble. */
DG_MUST_USE dg_status dg_members_mean(const dg_evaluation_config *config, const dg_case_info *info, int64_t start,
                                      int64_t planes, float *mean_gy);
/* Adds the members' calibration to the regions of the view's own voxels: bits[own, y, x] of region[]. */
DG_MUST_USE dg_status dg_members_judge(const dg_evaluation_config *config, const dg_slab_view *view, const uint64_t *bits,
                                       dg_region_result *region);
/* `ensemble` of a case and of all; the caller's. NULL: no memory. */
json_t *dg_members_case_json(const dg_case_result *result, const dg_evaluation_config *config);
json_t *dg_members_aggregate_json(const dg_case_result *const *results, int64_t count,
                                  const dg_evaluation_config *config);

/* The largest dose among voxels of known dose; 0 when there is none. Arrays begin at plane `start`. */
double dg_largest_known_gy(const dg_case_info *info, const float *dose_gy, int64_t start, int64_t planes);
/* The dose that gamma refers to; 0 where the case has none. */
double dg_evaluation_norm_gy(const dg_evaluation_config *config, const dg_case_info *info, double largest_gy);
/* Doses outside the box of known dose become 0: what stands there has no meaning and may be no number. */
void dg_forget_outside(const dg_case_info *info, int64_t start, int64_t planes, float *dose_gy);

/* Whether --regions asks for a region. */
bool dg_evaluation_wants_region(const dg_evaluation_config *config, const char *name);

/* Numbers of results. NaN where nothing was counted. */
double dg_region_mae_gy(const dg_region_result *region);
double dg_gamma_pass_percent(const dg_gamma_result *gamma);
enum { DG_OVERALL_ERRORS = 3 }; /* rmse, max, mean */
double dg_overall_error(const dg_overall_errors *errors, int which);
/* Over cases. */
dg_spread dg_evaluation_overall(const dg_case_result *const *results, int64_t count, int which);
dg_spread dg_evaluation_region_mae(const dg_case_result *const *results, int64_t count, const char *region);

/* "3mm3pct" of a criterion. */
void dg_criterion_name(const dg_criterion *criterion, char text[48]);

#endif
