/* evaluation.c - one case: read, compared, measured. See evaluation.h. SPDX-License-Identifier: Apache-2.0 */
#include "evaluation_impl.h"

#include "dg_distance.h"
#include "dg_dvh.h"
#include "dg_mem.h"
#include "dg_trace.h"
#include "dg_upstream_evaluation.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Distances beyond the table's last bin are all the same to it. */
static const double distance_clip_mm = 100;

const char *dg_dose_statistic_name(dg_dose_statistic statistic)
{
    static const char *const name[DG_STATS] = {"D99", "D98", "D95", "D50", "D2", "D1", "D0.1cc", "mean", "min", "max"};
    return name[statistic];
}

const char *dg_target_index_name(dg_target_index index)
{
    static const char *const name[DG_INDICES] = {"HI", "CI_paddick", "CI_rtog", "R50"};
    return name[index];
}

const char *dg_contender_name(dg_contender contender)
{
    static const char *const name[DG_CONTENDERS] = {"network", "constant", "distance_table"};
    return name[contender];
}

static void release_packed(dg_loaded *l)
{
    dg_free(&l->packed.dose_gy);
    dg_free(&l->packed.prediction_gy);
    dg_free(&l->packed.masks);
}

void dg_loaded_release(dg_loaded *l)
{
    dg_free(&l->dose_gy);
    dg_free(&l->prediction_gy);
    dg_free(&l->masks);
    dg_free(&l->scratch);
    release_packed(l);
    for (int t = 0; t < DG_BASELINE_TARGETS; t++) dg_free(&l->sdf_mm[t]);
}

static void find_roles(dg_loaded *l)
{
    for (int k = 0; k < l->info->structure_count; k++) {
        const uint64_t bit = (uint64_t)1 << k;
        if (l->info->structure[k].role == DG_ROLE_BODY) l->body_bits |= bit;
        if (l->info->structure[k].role == DG_ROLE_POSSIBLE_DOSE) l->possible_bits |= bit;
    }
}

/* Dose and masks of a case of the cohort. */
static dg_status load_case(const dg_cohort *cohort, int64_t index, dg_loaded *l)
{
    dg_case *c = NULL;
    dg_status status;
    l->info = dg_cohort_case(cohort, index);
    l->voxels = dg_grid_voxels(&l->info->grid);
    l->voxel_mm3 = l->info->grid.spacing_mm[0] * l->info->grid.spacing_mm[1] * l->info->grid.spacing_mm[2];
    if (!l->info->has_dose)
        return DG_FAIL(DG_ERR_DATA, "the case has no dose to compare with; import it with its dose, or leave it out");
    const int64_t *n = l->info->grid.shape;
    const dg_box all = {.shape = {n[0], n[1], n[2]}};
    find_roles(l);
    DG_TRY_GOTO(status, DG_NEW(&l->dose_gy, l->voxels, "dose of a case"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&l->masks, l->voxels, "masks of a case"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&l->scratch, l->voxels, "mask of a case"), cleanup);
    DG_TRY_GOTO(status, dg_case_open(cohort, index, &c), cleanup);
    DG_TRY_GOTO(status, dg_case_read(c, DG_FIELD_DOSE_GY, 0, &all, l->dose_gy), cleanup);
    DG_TRY_GOTO(status, dg_case_read_mask_bits(c, &all, l->masks), cleanup);
    dg_forget_outside(l->info, 0, n[0], l->dose_gy);
cleanup:
    dg_case_close(&c);
    return status;
}

bool dg_box_is_grid(const dg_box *box, const dg_grid *grid)
{
    for (int a = 0; a < 3; a++)
        if (box->start[a] > 0 || box->start[a] + box->shape[a] < grid->shape[a]) return false;
    return true;
}

dg_status dg_evaluation_check_grid(const dg_case_info *info, const dg_grid *grid)
{
    for (int a = 0; a < 3; a++) {
        if (grid->shape[a] == info->grid.shape[a] &&
            fabs(grid->spacing_mm[a] - info->grid.spacing_mm[a]) <= 1e-4 * info->grid.spacing_mm[a])
            continue;
        return DG_FAIL(DG_ERR_MISMATCH,
                       "the prediction has %lld voxels of %g mm along axis %d (z,y,x), the case %lld of %g mm; it "
                       "belongs to another cohort",
                       (long long)grid->shape[a], grid->spacing_mm[a], a, (long long)info->grid.shape[a],
                       info->grid.spacing_mm[a]);
    }
    return DG_OK;
}

static dg_status load_prediction(const dg_evaluation_config *config, dg_loaded *l)
{
    DG_TRY(dg_prediction_load(config->predictions, l->info->id, &l->prediction, &l->prediction_gy));
    DG_TRY(dg_evaluation_check_grid(l->info, &l->prediction.grid));
    return config->members > 0 ? dg_members_mean(config, l->info, 0, l->info->grid.shape[0], l->prediction_gy) : DG_OK;
}

void dg_target_levels(const dg_cohort *cohort, const int64_t *cases, int64_t count,
                      double level_gy[DG_BASELINE_TARGETS])
{
    double above = INFINITY;
    for (int t = 0; t < DG_BASELINE_TARGETS; t++) {
        level_gy[t] = 0;
        for (int64_t i = 0; i < count; i++) {
            const dg_case_info *info = dg_cohort_case(cohort, cases[i]);
            for (int k = 0; k < info->structure_count; k++) {
                double gy = info->structure[k].role == DG_ROLE_TARGET ? info->structure[k].prescription_gy : 0;
                if (gy < above && gy > level_gy[t]) level_gy[t] = gy;
            }
        }
        above = level_gy[t];
    }
}

/* Distances to each level's targets; NULL stays where the case has none. */
static dg_status measure_distances(const double level_gy[DG_BASELINE_TARGETS], dg_loaded *l)
{
    for (int t = 0; t < DG_BASELINE_TARGETS; t++) {
        uint64_t bits = 0;
        for (int k = 0; k < l->info->structure_count; k++) {
            const dg_structure *s = &l->info->structure[k];
            bool here = s->role == DG_ROLE_TARGET && level_gy[t] > 0 && s->prescription_gy == level_gy[t];
            bits |= here ? (uint64_t)1 << k : 0;
        }
        if (bits == 0) continue;
        for (int64_t i = 0; i < l->voxels; i++) l->scratch[i] = (l->masks[i] & bits) != 0;
        DG_TRY(DG_NEW(&l->sdf_mm[t], l->voxels, "distance to a target"));
        DG_TRY(dg_signed_distance(l->scratch, &l->info->grid, distance_clip_mm, 1, l->sdf_mm[t]));
    }
    return DG_OK;
}

/* The voxels a baseline learns and fills; l->scratch holds them. */
static dg_baseline_case baseline_case(dg_loaded *l)
{
    const uint64_t bits = l->possible_bits != 0 ? l->possible_bits : l->body_bits;
    dg_baseline_case c = {.voxels = l->voxels, .dose_gy = l->dose_gy};
    for (int64_t i = 0; bits != 0 && i < l->voxels; i++) l->scratch[i] = (l->masks[i] & bits) != 0;
    if (bits != 0) c.use = l->scratch;
    for (int t = 0; t < DG_BASELINE_TARGETS; t++) c.sdf_mm[t] = l->sdf_mm[t];
    return c;
}

dg_status dg_evaluation_learn(const dg_cohort *cohort, int64_t index, const double level_gy[DG_BASELINE_TARGETS],
                              dg_baseline *baseline)
{
    dg_loaded l = {0};
    dg_status status;
    DG_TRY_GOTO(status, load_case(cohort, index, &l), cleanup);
    DG_TRY_GOTO(status, measure_distances(level_gy, &l), cleanup);
    dg_baseline_case c = baseline_case(&l);
    DG_TRY_GOTO(status, dg_baseline_add(baseline, &c), cleanup);
cleanup:
    dg_loaded_release(&l);
    return status == DG_OK
               ? DG_OK
               : dg_error_context(status, "training case %s of the baselines", dg_cohort_case(cohort, index)->id);
}

/* ---- one dose ----------------------------------------------------------------------------------------------------- */

static dg_dose_pair dose_pair(const dg_loaded *l, const float *dose_gy)
{
    dg_dose_pair pair = {.reference_gy = l->dose_gy,
                         .prediction_gy = dose_gy,
                         .masks = l->masks,
                         .known = l->info->dose_box,
                         .body_bits = l->body_bits,
                         .possible_bits = l->possible_bits,
                         .threshold_gy = 0.1 * l->info->prescription_gy};
    memcpy(pair.shape, l->info->grid.shape, sizeof pair.shape);
    if (!(l->info->prescription_gy > 0)) pair.threshold_gy = INFINITY; /* a tenth of nothing known: no such region */
    return pair;
}

/* Every structure looks at every voxel: most belong to none, and where the doses are the same they add 0 to every sum. */
static dg_status pack_voxels(dg_loaded *l, const float *dose_gy)
{
    int64_t n = 0;
    release_packed(l);
    for (int64_t i = 0; i < l->voxels; i++) n += l->masks[i] != 0 || l->dose_gy[i] != dose_gy[i];
    l->packed.voxels = n;
    DG_TRY(DG_NEW(&l->packed.dose_gy, n, "doses of structures"));
    DG_TRY(DG_NEW(&l->packed.prediction_gy, n, "predicted doses of structures"));
    DG_TRY(DG_NEW(&l->packed.masks, n, "masks of structures"));
    for (int64_t i = 0, k = 0; i < l->voxels; i++) {
        if (l->masks[i] == 0 && l->dose_gy[i] == dose_gy[i]) continue;
        l->packed.dose_gy[k] = l->dose_gy[i];
        l->packed.prediction_gy[k] = dose_gy[i];
        l->packed.masks[k++] = l->masks[i];
    }
    return DG_OK;
}

/* Of the packed voxels. */
static dg_status score_openkbp(const dg_loaded *l, dg_openkbp_result *out)
{
    dg_openkbp_case c = {.reference_gy = l->packed.dose_gy,
                         .prediction_gy = l->packed.prediction_gy,
                         .masks = l->packed.masks,
                         .possible_bits = l->possible_bits,
                         .voxels = l->packed.voxels,
                         .voxel_mm3 = l->voxel_mm3};
    for (int roi = 0; roi < DG_OPENKBP_ROIS; roi++) {
        int k = dg_case_info_structure(l->info, dg_openkbp_roi_name(roi));
        c.roi_bits[roi] = k < 0 ? 0 : (uint64_t)1 << k;
    }
    return dg_openkbp_evaluate(&c, out);
}

/* Sums follow the order of the voxels: the same bits wherever they are added up. */
static dg_overall_errors overall_errors(const dg_loaded *l)
{
    const int64_t *n = l->info->grid.shape;
    const dg_box *known = &l->info->dose_box;
    double squares = 0, sum = 0, largest = 0;
    int64_t count = 0;
    for (int64_t z = known->start[0]; z < known->start[0] + known->shape[0]; z++)
        for (int64_t y = known->start[1]; y < known->start[1] + known->shape[1]; y++)
            for (int64_t x = known->start[2]; x < known->start[2] + known->shape[2]; x++) {
                const int64_t i = (z * n[1] + y) * n[2] + x;
                const double error = (double)l->prediction_gy[i] - (double)l->dose_gy[i];
                squares += error * error;
                sum += error;
                largest = fabs(error) > largest ? fabs(error) : largest;
                count++;
            }
    if (count == 0) return (dg_overall_errors){NAN, NAN, NAN};
    return (dg_overall_errors){sqrt(squares / (double)count), largest, sum / (double)count};
}

/* ---- structures --------------------------------------------------------------------------------------------------- */

static void target_indices(const dg_dvh *dvh, const dg_dvh *body, const dg_structure *s,
                           const dg_evaluation_config *config, double index[DG_INDICES])
{
    static const dg_metric metric[DG_INDICES] = {
        {.kind = DG_METRIC_HI}, {.kind = DG_METRIC_CI_PADDICK}, {.kind = DG_METRIC_CI_RTOG}, {.kind = DG_METRIC_R50}};
    const dg_metric_input input = {
        .dvh = dvh, .body = body, .prescription_gy = s->prescription_gy, .rule = config->rule};
    char reason[96];
    for (int k = 0; k < DG_INDICES; k++) {
        index[k] = NAN;
        if (s->role == DG_ROLE_TARGET && dvh->count > 0) index[k] = dg_metric_evaluate(&metric[k], &input, reason);
    }
}

static void structure_statistics(const dg_dvh *dvh, const dg_evaluation_config *config, double prescription_gy,
                                 int which, dg_structure_result *out)
{
    static const double percent[] = {99, 98, 95, 50, 2, 1};
    double *gy = out->gy[which];
    for (int k = 0; k < 6; k++) gy[DG_STAT_D99 + k] = dg_dvh_dose_at_percent(dvh, percent[k], config->rule);
    gy[DG_STAT_D01CC] = dg_dvh_dose_at_cc(dvh, 0.1);
    gy[DG_STAT_MEAN] = dg_dvh_mean(dvh);
    gy[DG_STAT_MIN] = dg_dvh_min(dvh);
    gy[DG_STAT_MAX] = dg_dvh_max(dvh);
    for (int k = 0; k < config->vx_count; k++) out->vx_percent[which][k] = dg_dvh_volume_percent(dvh, config->vx_gy[k]);
    out->v95_percent[which] = prescription_gy > 0 ? dg_dvh_volume_percent(dvh, 0.95 * prescription_gy) : NAN;
}

static double structure_mae_gy(const dg_loaded *l, uint64_t bits, int64_t *voxels)
{
    double sum = 0;
    *voxels = 0;
    for (int64_t i = 0; i < l->packed.voxels; i++) {
        if ((l->packed.masks[i] & bits) == 0) continue;
        sum += fabs((double)l->packed.prediction_gy[i] - (double)l->packed.dose_gy[i]);
        ++*voxels;
    }
    return *voxels == 0 ? NAN : sum / (double)*voxels;
}

/* The statistics hold for the part of a structure where the dose is known; masks elsewhere are taken away first. */
static void forget_unknown(dg_loaded *l)
{
    const int64_t *n = l->info->grid.shape;
    const dg_box *box = &l->info->dose_box;
    if (dg_box_is_grid(box, &l->info->grid)) return;
    for (int64_t i = 0; i < l->voxels; i++) {
        const int64_t at[3] = {i / n[2] / n[1], i / n[2] % n[1], i % n[2]};
        for (int a = 0; a < 3; a++)
            if (at[a] < box->start[a] || at[a] >= box->start[a] + box->shape[a]) l->masks[i] = 0;
    }
}

/* The body counts by whole voxels: its surface decides nothing, and its partial volumes would fill the memory. */
static dg_status create_dvh(dg_loaded *l, int k, int which, const dg_evaluation_config *config, dg_dvh *out)
{
    const uint64_t bit = (uint64_t)1 << k;
    const float *packed_gy = which == 0 ? l->packed.dose_gy : l->packed.prediction_gy;
    if (config->supersample == 1 || l->info->structure[k].role == DG_ROLE_BODY)
        return dg_dvh_create(packed_gy, l->packed.masks, bit, l->packed.voxels, l->voxel_mm3, out);
    for (int64_t i = 0; i < l->voxels; i++) l->scratch[i] = (l->masks[i] & bit) != 0;
    const dg_dvh_structure structure = {.dose_gy = which == 0 ? l->dose_gy : l->prediction_gy,
                                        .member = l->scratch,
                                        .grid = &l->info->grid,
                                        .box = l->info->dose_box,
                                        .supersample = config->supersample,
                                        .threads = config->threads};
    return dg_dvh_create_structure(&structure, out);
}

static dg_status measure_structure(dg_loaded *l, int k, const dg_dvh body[2], const dg_evaluation_config *config,
                                   dg_structure_result *r)
{
    const dg_structure *s = &l->info->structure[k];
    for (int which = 0; which < 2; which++) {
        dg_dvh dvh;
        DG_TRY(create_dvh(l, k, which, config, &dvh));
        structure_statistics(&dvh, config, s->role == DG_ROLE_TARGET ? s->prescription_gy : 0, which, r);
        target_indices(&dvh, l->body_bits != 0 ? &body[which] : NULL, s, config, r->index[which]);
        r->volume_cc = dg_dvh_total_cc(&dvh);
        dg_dvh_release(&dvh);
    }
    for (int n = 0; n < DG_STATS; n++) r->member_std_gy[n] = NAN;
    snprintf(r->name, sizeof r->name, "%s", s->name);
    r->role = s->role;
    r->mae_gy = structure_mae_gy(l, (uint64_t)1 << k, &r->voxels);
    return DG_OK;
}

static dg_status measure_structures(dg_loaded *l, const dg_evaluation_config *config, dg_case_result *head,
                                    dg_structure_result *structure)
{
    dg_dvh body[2] = {{0}};
    dg_status status = DG_OK;
    for (int which = 0; which < 2 && l->body_bits != 0 && status == DG_OK; which++)
        status = dg_dvh_create(which == 0 ? l->packed.dose_gy : l->packed.prediction_gy, l->packed.masks, l->body_bits,
                               l->packed.voxels, l->voxel_mm3, &body[which]);
    for (int k = 0; k < l->info->structure_count && status == DG_OK; k++) {
        const dg_role role = l->info->structure[k].role;
        if (role == DG_ROLE_POSSIBLE_DOSE || role == DG_ROLE_SUPPORT) continue;
        status = measure_structure(l, k, body, config, &structure[head->structure_count++]);
    }
    for (int which = 0; which < 2; which++) dg_dvh_release(&body[which]);
    return status;
}

/* Statistics of every structure of the dose that is packed, in the order of measure_structures. */
static dg_status member_statistics(dg_loaded *l, const dg_evaluation_config *config, double (*gy)[DG_STATS])
{
    for (int k = 0, at = 0; k < l->info->structure_count; k++) {
        const dg_role role = l->info->structure[k].role;
        dg_structure_result one;
        dg_dvh dvh;
        if (role == DG_ROLE_POSSIBLE_DOSE || role == DG_ROLE_SUPPORT) continue;
        DG_TRY(create_dvh(l, k, 1, config, &dvh));
        structure_statistics(&dvh, config, 0, 1, &one);
        dg_dvh_release(&dvh);
        memcpy(gy[at++], one.gy[1], sizeof one.gy[1]);
    }
    return DG_OK;
}

/* Welford's running sums: one member is in memory at a time, in place of the prediction. */
static dg_status measure_members(dg_loaded *l, const dg_evaluation_config *config, int64_t structures,
                                 dg_structure_result *structure)
{
    double(*gy)[DG_STATS] = NULL, (*mean)[DG_STATS] = NULL, (*squares)[DG_STATS] = NULL;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&gy, structures + 1, "statistics of a member"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&mean, structures + 1, "mean statistics"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&squares, structures + 1, "spread of statistics"), cleanup);
    for (int64_t m = 0; m < config->members; m++) {
        dg_heartbeat_tick(config->heartbeat);
        DG_TRY_GOTO(status, dg_members_read(config, l->info, m, 0, l->info->grid.shape[0], l->prediction_gy), cleanup);
        DG_TRY_GOTO(status, pack_voxels(l, l->prediction_gy), cleanup);
        DG_TRY_GOTO(status, member_statistics(l, config, gy), cleanup);
        for (int64_t s = 0; s < structures; s++)
            for (int k = 0; k < DG_STATS; k++) {
                const double step = gy[s][k] - mean[s][k];
                mean[s][k] += step / (double)(m + 1);
                squares[s][k] += step * (gy[s][k] - mean[s][k]);
            }
    }
    for (int64_t s = 0; s < structures; s++)
        for (int k = 0; k < DG_STATS; k++)
            structure[s].member_std_gy[k] = sqrt(squares[s][k] / (double)(config->members - 1));
cleanup:
    dg_free(&gy);
    dg_free(&mean);
    dg_free(&squares);
    return status;
}

static dg_status judge_constraints(const dg_loaded *l, const dg_evaluation_config *config, dg_case_result *head,
                                   dg_constraint_result *out)
{
    if (config->table == NULL) return DG_OK;
    const dg_constraints_input input = {.grid = &l->info->grid,
                                        .dose_gy = {l->dose_gy, l->prediction_gy},
                                        .masks = l->masks,
                                        .structure = l->info->structure,
                                        .structure_count = l->info->structure_count,
                                        .known = l->info->dose_box,
                                        .prescription_gy = l->info->prescription_gy,
                                        .fractions = l->info->fractions,
                                        .supersample = config->supersample,
                                        .rule = config->rule,
                                        .threads = config->threads};
    head->constraint_count = dg_constraint_table_rows(config->table);
    return dg_constraints_evaluate(config->table, &input, out);
}

/* ---- a case ------------------------------------------------------------------------------------------------------- */

static dg_status score_baseline(dg_loaded *l, const float *dose_gy, dg_contender who, dg_case_result *head)
{
    const dg_dose_pair pair = dose_pair(l, dose_gy);
    DG_TRY(dg_dose_errors_add(&head->errors[who], &pair));
    if (!head->has_openkbp) return DG_OK;
    DG_TRY(pack_voxels(l, dose_gy));
    return score_openkbp(l, &head->openkbp[who]);
}

static dg_status score_baselines(dg_loaded *l, const dg_evaluation_config *config, dg_case_result *head)
{
    if (config->baseline == NULL) return DG_OK;
    DG_TRY(measure_distances(config->level_gy, l));
    dg_baseline_case c = baseline_case(l);
    float *dose_gy = l->prediction_gy; /* the network's dose was measured before */
    DG_TRY(dg_baseline_predict_constant(config->baseline, &c, dose_gy));
    DG_TRY(score_baseline(l, dose_gy, DG_CONSTANT, head));
    DG_TRY(dg_baseline_predict_table(config->baseline, &c, dose_gy));
    DG_TRY(score_baseline(l, dose_gy, DG_DISTANCE_TABLE, head));
    head->has_baselines = true;
    return DG_OK;
}

/* A result on its way. */
typedef struct draft {
    dg_case_result head;
    dg_structure_result structure[DG_STRUCTURES_MAX];
    dg_constraint_result constraint[DG_CONSTRAINT_ROWS_MAX];
    dg_slab_result *slab; /* of a case that is one task */
    char *text;           /* of segmentations and of compat upstream: JSON, from malloc */
} draft;

static void describe(const dg_loaded *l, const dg_evaluation_config *config, dg_case_result *head)
{
    snprintf(head->group, sizeof head->group, "%s", l->info->group);
    snprintf(head->case_sha256, sizeof head->case_sha256, "%s", l->info->content_sha256);
    snprintf(head->prediction_sha256, sizeof head->prediction_sha256, "%s", l->prediction.content_sha256);
    snprintf(head->model_sha256, sizeof head->model_sha256, "%s", l->prediction.model_sha256);
    memcpy(head->spacing_mm, l->info->grid.spacing_mm, sizeof head->spacing_mm);
    head->prescription_gy = l->info->prescription_gy;
    memcpy(head->prescription_source, l->info->prescription_source, sizeof head->prescription_source);
    head->fractions = l->info->fractions;
    head->has_openkbp = l->possible_bits != 0 && config->compat == DG_COMPAT_CORRECTED;
}

static dg_status measure_slab(const dg_loaded *l, const dg_evaluation_config *config, dg_slab_result **out)
{
    const int64_t depth = l->info->grid.shape[0];
    const dg_slab_view view = {
        .info = l->info,
        .planes = depth,
        .own = depth,
        .dose_gy = l->dose_gy,
        .prediction_gy = l->prediction_gy,
        .masks = l->masks,
        .norm_gy = dg_evaluation_norm_gy(config, l->info, dg_largest_known_gy(l->info, l->dose_gy, 0, depth))};
    return dg_slab_measure(&view, config, out);
}

/* The reference tool's own entry, kept as text: its keys are its own. */
static dg_status judge_upstream(const dg_loaded *l, const dg_evaluation_config *config, draft *d)
{
    const char *names[DG_STRUCTURES_MAX];
    json_t *entry = NULL;
    dg_upstream_case c = {.case_id = l->info->id,
                          .zyx = true,
                          .target = l->dose_gy,
                          .prediction = l->prediction_gy,
                          .scale_gy = 1,
                          .masks = l->masks,
                          .structure = names,
                          .structure_count = l->info->structure_count,
                          .gamma_subsample = config->subsample,
                          .threads = config->threads};
    memcpy(c.shape, l->info->grid.shape, sizeof c.shape);
    memcpy(c.spacing_mm, l->info->grid.spacing_mm, sizeof c.spacing_mm);
    for (int k = 0; k < c.structure_count; k++) names[k] = l->info->structure[k].name;
    DG_TRY(dg_upstream_evaluate(&c, &entry));
    d->text = json_dumps(entry, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(entry);
    if (d->text == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for the result of a case");
    d->head.text_bytes = (int64_t)strlen(d->text) + 1;
    return DG_OK;
}

static dg_status judge_labels(const dg_cohort *cohort, int64_t index, const dg_evaluation_config *config, dg_loaded *l,
                              draft *d)
{
    l->info = dg_cohort_case(cohort, index);
    DG_TRY(dg_label_evaluate(cohort, index, config, &l->prediction, &l->read_s, &d->text));
    describe(l, config, &d->head);
    d->head.text_bytes = (int64_t)strlen(d->text) + 1;
    return DG_OK;
}

/* Constraints, regions and gamma want the masks as they are; the statistics those of known dose; the baselines overwrite
 * the prediction. */
static dg_status measure(const dg_cohort *cohort, int64_t index, const dg_evaluation_config *config, bool with_slab,
                         dg_loaded *l, draft *d)
{
    dg_case_result *head = &d->head;
    const double start = dg_time_s();
    if (index < 0) return DG_FAIL(DG_ERR_DATA, "the cohort has no such case; the predictions belong to another cohort");
    if (config->labels != NULL) return judge_labels(cohort, index, config, l, d);
    (void)dg_heartbeat_phase(config->heartbeat, DG_PHASE_READ);
    DG_TRY(load_case(cohort, index, l));
    DG_TRY(load_prediction(config, l));
    (void)dg_heartbeat_phase(config->heartbeat, DG_PHASE_EVALUATE);
    l->read_s = dg_time_s() - start;
    describe(l, config, head);
    if (config->compat == DG_COMPAT_UPSTREAM) return judge_upstream(l, config, d);
    const dg_dose_pair pair = dose_pair(l, l->prediction_gy);
    DG_TRY(dg_dose_errors_add(&head->errors[DG_NETWORK], &pair));
    head->overall = overall_errors(l);
    DG_TRY(judge_constraints(l, config, head, d->constraint));
    if (with_slab) DG_TRY(measure_slab(l, config, &d->slab));
    forget_unknown(l);
    DG_TRY(pack_voxels(l, l->prediction_gy));
    if (head->has_openkbp) DG_TRY(score_openkbp(l, &head->openkbp[DG_NETWORK]));
    DG_TRY(measure_structures(l, config, head, d->structure));
    if (config->members > 1) DG_TRY(measure_members(l, config, head->structure_count, d->structure));
    return score_baselines(l, config, head);
}

static dg_status finish(const draft *d, dg_case_result **out)
{
    dg_case_result *volume = NULL;
    const dg_result_parts parts = {.structure = d->structure, .constraint = d->constraint, .text = d->text};
    if (d->slab == NULL) return dg_case_result_assemble(&d->head, &parts, out);
    const dg_slab_result *const slabs[] = {d->slab};
    DG_TRY(dg_case_result_assemble(&d->head, &parts, &volume));
    dg_status status = dg_evaluation_merge(volume, slabs, 1, out);
    dg_free(&volume);
    return status;
}

static dg_status run_case(const dg_cohort *cohort, int64_t index, const char *id, const dg_evaluation_config *config,
                          bool with_slab, dg_evaluation_time *time, dg_case_result **out)
{
    draft *d = NULL;
    dg_loaded l = {0};
    const double start = dg_time_s();
    *out = NULL;
    DG_TRY(DG_NEW(&d, 1, "result of a case"));
    snprintf(d->head.id, sizeof d->head.id, "%s", id);
    dg_status status = measure(cohort, index, config, with_slab, &l, d);
    if (status == DG_OK) status = finish(d, out);
    if (status != DG_OK && status != DG_ERR_MEMORY) status = dg_evaluation_fail(id, dg_error_last()->text, out);
    time->read_s = l.read_s;
    time->compute_s = dg_time_s() - start - l.read_s;
    dg_loaded_release(&l);
    dg_free(&d->slab);
    free(d->text);
    dg_free(&d);
    return status;
}

dg_status dg_evaluation_case(const dg_cohort *cohort, int64_t index, const char *id, const dg_evaluation_config *config,
                             dg_evaluation_time *time, dg_case_result **out)
{
    return run_case(cohort, index, id, config, true, time, out);
}

dg_status dg_evaluation_volume(const dg_cohort *cohort, int64_t index, const char *id,
                               const dg_evaluation_config *config, dg_evaluation_time *time, dg_case_result **out)
{
    return run_case(cohort, index, id, config, false, time, out);
}
