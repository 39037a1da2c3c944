/* evaluation.c - one case: read, compared, measured. See evaluation.h. SPDX-License-Identifier: Apache-2.0 */
#include "evaluation.h"

#include "dg_distance.h"
#include "dg_dvh.h"
#include "dg_mem.h"
#include "dg_predictions.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Distances beyond the table's last bin are all the same to it. */
static const double distance_clip_mm = 100;

const char *dg_dose_statistic_name(dg_dose_statistic statistic)
{
    static const char *const name[DG_STATS] = {"D99", "D98", "D95", "D50", "D2", "D1", "D0.1cc", "mean", "min", "max"};
    return name[statistic];
}

const char *dg_contender_name(dg_contender contender)
{
    static const char *const name[DG_CONTENDERS] = {"network", "constant", "distance_table"};
    return name[contender];
}

/* A case in memory. */
typedef struct loaded {
    const dg_case_info *info;
    int64_t voxels;
    double voxel_mm3;
    float *dose_gy, *prediction_gy, *sdf_mm[DG_BASELINE_TARGETS];
    uint64_t *masks, body_bits, possible_bits;
    uint8_t *scratch;
} loaded;

static void loaded_release(loaded *l)
{
    dg_free(&l->dose_gy);
    dg_free(&l->prediction_gy);
    dg_free(&l->masks);
    dg_free(&l->scratch);
    for (int t = 0; t < DG_BASELINE_TARGETS; t++) dg_free(&l->sdf_mm[t]);
}

static void find_roles(loaded *l)
{
    for (int k = 0; k < l->info->structure_count; k++) {
        const uint64_t bit = (uint64_t)1 << k;
        if (l->info->structure[k].role == DG_ROLE_BODY) l->body_bits |= bit;
        if (l->info->structure[k].role == DG_ROLE_POSSIBLE_DOSE) l->possible_bits |= bit;
    }
}

/* Dose and masks of a case of the cohort. */
static dg_status load_case(const dg_cohort *cohort, int64_t index, loaded *l)
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
cleanup:
    dg_case_close(&c);
    return status;
}

static dg_status load_prediction(const char *folder, loaded *l)
{
    dg_grid grid;
    DG_TRY(dg_prediction_read(folder, l->info->id, &grid, &l->prediction_gy));
    for (int a = 0; a < 3; a++) {
        if (grid.shape[a] == l->info->grid.shape[a] &&
            fabs(grid.spacing_mm[a] - l->info->grid.spacing_mm[a]) <= 1e-4 * l->info->grid.spacing_mm[a])
            continue;
        return DG_FAIL(DG_ERR_MISMATCH,
                       "the prediction has %lld voxels of %g mm along axis %d (z,y,x), the case %lld of %g mm; it "
                       "belongs to another cohort",
                       (long long)grid.shape[a], grid.spacing_mm[a], a, (long long)l->info->grid.shape[a],
                       l->info->grid.spacing_mm[a]);
    }
    return DG_OK;
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
static dg_status measure_distances(const double level_gy[DG_BASELINE_TARGETS], loaded *l)
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
static dg_baseline_case baseline_case(loaded *l)
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
    loaded l = {0};
    dg_status status;
    DG_TRY_GOTO(status, load_case(cohort, index, &l), cleanup);
    DG_TRY_GOTO(status, measure_distances(level_gy, &l), cleanup);
    dg_baseline_case c = baseline_case(&l);
    DG_TRY_GOTO(status, dg_baseline_add(baseline, &c), cleanup);
cleanup:
    loaded_release(&l);
    return status == DG_OK
               ? DG_OK
               : dg_error_context(status, "training case %s of the baselines", dg_cohort_case(cohort, index)->id);
}

/* Errors and OpenKBP numbers of one dose. */
static dg_status score_dose(const loaded *l, const float *dose_gy, dg_contender who, dg_case_result *out)
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
    DG_TRY(dg_dose_errors_add(&out->errors[who], &pair));
    if (!out->has_openkbp) return DG_OK;
    dg_openkbp_case c = {.reference_gy = l->dose_gy,
                         .prediction_gy = dose_gy,
                         .masks = l->masks,
                         .possible_bits = l->possible_bits,
                         .voxels = l->voxels,
                         .voxel_mm3 = l->voxel_mm3};
    for (int roi = 0; roi < DG_OPENKBP_ROIS; roi++) {
        int k = dg_case_info_structure(l->info, dg_openkbp_roi_name(roi));
        c.roi_bits[roi] = k < 0 ? 0 : (uint64_t)1 << k;
    }
    DG_TRY(dg_openkbp_evaluate(&c, &out->openkbp[who]));
    return DG_OK;
}

static void structure_statistics(const dg_dvh *dvh, const dg_evaluation_config *config, double prescription_gy,
                                 int which, dg_structure_result *out)
{
    static const double percent[] = {99, 98, 95, 50, 2, 1};
    double *gy = out->gy[which];
    for (int k = 0; k < 6; k++) gy[DG_STAT_D99 + k] = dg_dvh_dose_at_percent(dvh, percent[k], DG_DVH_ICRU);
    gy[DG_STAT_D01CC] = dg_dvh_dose_at_cc(dvh, 0.1);
    gy[DG_STAT_MEAN] = dg_dvh_mean(dvh);
    gy[DG_STAT_MIN] = dg_dvh_min(dvh);
    gy[DG_STAT_MAX] = dg_dvh_max(dvh);
    for (int k = 0; k < config->vx_count; k++) out->vx_percent[which][k] = dg_dvh_volume_percent(dvh, config->vx_gy[k]);
    out->v95_percent[which] = prescription_gy > 0 ? dg_dvh_volume_percent(dvh, 0.95 * prescription_gy) : NAN;
}

static double structure_mae_gy(const loaded *l, uint64_t bits)
{
    double sum = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < l->voxels; i++) {
        if ((l->masks[i] & bits) == 0) continue;
        sum += fabs((double)l->prediction_gy[i] - (double)l->dose_gy[i]);
        count++;
    }
    return count == 0 ? NAN : sum / (double)count;
}

/* The statistics hold for the part of a structure where the dose is known; masks elsewhere are taken away first. */
static void forget_unknown(loaded *l)
{
    const int64_t *n = l->info->grid.shape;
    const dg_box *box = &l->info->dose_box;
    for (int64_t i = 0; i < l->voxels; i++) {
        const int64_t at[3] = {i / n[2] / n[1], i / n[2] % n[1], i % n[2]};
        for (int a = 0; a < 3; a++)
            if (at[a] < box->start[a] || at[a] >= box->start[a] + box->shape[a]) l->masks[i] = 0;
    }
}

static dg_status measure_structures(const loaded *l, const dg_evaluation_config *config, dg_case_result *out)
{
    for (int k = 0; k < l->info->structure_count; k++) {
        const dg_structure *s = &l->info->structure[k];
        const uint64_t bit = (uint64_t)1 << k;
        dg_structure_result *r = &out->structure[out->structure_count];
        if (s->role == DG_ROLE_POSSIBLE_DOSE || s->role == DG_ROLE_SUPPORT) continue;
        for (int which = 0; which < 2; which++) {
            dg_dvh dvh;
            DG_TRY(dg_dvh_create(which == 0 ? l->dose_gy : l->prediction_gy, l->masks, bit, l->voxels, l->voxel_mm3,
                                 &dvh));
            structure_statistics(&dvh, config, s->role == DG_ROLE_TARGET ? s->prescription_gy : 0, which, r);
            r->voxels = dvh.count;
            r->volume_cc = dg_dvh_total_cc(&dvh);
            dg_dvh_release(&dvh);
        }
        snprintf(r->name, sizeof r->name, "%s", s->name);
        r->role = s->role;
        r->mae_gy = structure_mae_gy(l, bit);
        out->structure_count++;
    }
    return DG_OK;
}

static dg_status score_baselines(loaded *l, const dg_evaluation_config *config, dg_case_result *out)
{
    DG_TRY(measure_distances(config->level_gy, l));
    dg_baseline_case c = baseline_case(l);
    float *dose_gy = l->prediction_gy; /* the network's dose was measured before */
    DG_TRY(dg_baseline_predict_constant(config->baseline, &c, dose_gy));
    DG_TRY(score_dose(l, dose_gy, DG_CONSTANT, out));
    DG_TRY(dg_baseline_predict_table(config->baseline, &c, dose_gy));
    DG_TRY(score_dose(l, dose_gy, DG_DISTANCE_TABLE, out));
    out->has_baselines = true;
    return DG_OK;
}

static dg_status measure(const dg_cohort *cohort, int64_t index, const dg_evaluation_config *config, loaded *l,
                         dg_case_result *out)
{
    if (index < 0) return DG_FAIL(DG_ERR_DATA, "the cohort has no such case; the predictions belong to another cohort");
    DG_TRY(load_case(cohort, index, l));
    DG_TRY(load_prediction(config->predictions, l));
    forget_unknown(l);
    memcpy(out->spacing_mm, l->info->grid.spacing_mm, sizeof out->spacing_mm);
    out->prescription_gy = l->info->prescription_gy;
    out->has_openkbp = l->possible_bits != 0;
    DG_TRY(score_dose(l, l->prediction_gy, DG_NETWORK, out));
    DG_TRY(measure_structures(l, config, out));
    if (config->baseline != NULL) DG_TRY(score_baselines(l, config, out));
    return DG_OK;
}

dg_status dg_evaluation_case(const dg_cohort *cohort, int64_t index, const char *id, const dg_evaluation_config *config,
                             dg_case_result *out)
{
    loaded l = {0};
    memset(out, 0, sizeof *out);
    dg_status status = measure(cohort, index, config, &l, out);
    loaded_release(&l);
    if (status != DG_OK) {
        memset(out, 0, sizeof *out);
        out->failed = true;
        snprintf(out->reason, sizeof out->reason, "%.511s", dg_error_last()->text);
    }
    snprintf(out->id, sizeof out->id, "%s", id);
    return status == DG_ERR_MEMORY ? status : DG_OK;
}
