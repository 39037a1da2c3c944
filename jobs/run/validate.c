/* validate.c - whole validation cases through the predictor, scored as the evaluation will score them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "trainer_impl.h"

#include "dg_fault.h"
#include "dg_mem.h"
#include "dg_overlap.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SCORES = 7, LOST = 2 * SCORES, ROW, REASON = 240 };

const char *trainer_monitor_name(dg_monitor monitor)
{
    static const char *const names[] = {"auto",           "val_dose_score", "val_mae_gy",
                                        "val_mae_ptv_gy", "val_dice_error", "val_fraction_distance",
                                        "val_denoise_gy"};
    return names[monitor];
}

/* Mean of |difference| over the voxels of some structures (all when `wanted` is 0 and `everywhere`). */
typedef struct mean_error {
    double sum;
    int64_t count;
} mean_error;

static double mean_of(const mean_error *m) { return m->count > 0 ? m->sum / (double)m->count : NAN; }

/* Probability 1/2 and more against the labels, over the voxels that count. */
static dg_status score_labels(dg_source *source, int64_t index, const float *probability, dg_scores *out)
{
    const dg_grid *grid = &dg_cohort_case(dg_source_cohort(source), index)->grid;
    const int64_t voxels = dg_grid_voxels(grid);
    const dg_box whole = {.shape = {grid->shape[0], grid->shape[1], grid->shape[2]}};
    dg_overlap overlap = {.counted = 0};
    float *target = NULL;
    uint8_t *counted = NULL, *label = NULL;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&target, voxels, "labels of a case"), done);
    DG_TRY_GOTO(status, DG_NEW(&counted, voxels, "labels of a case"), done);
    DG_TRY_GOTO(status, DG_NEW(&label, voxels, "labels of a case"), done);
    const dg_source_buffers wanted = {.dose = target, .counted = counted};
    DG_TRY_GOTO(status, dg_source_read(source, index, &whole, &wanted), done);
    for (int64_t i = 0; i < voxels; i++) label[i] = target[i] > 0.5f;
    dg_overlap_add_probability(&overlap, probability, 0.5, label, counted, voxels);
    *out = (dg_scores){NAN, NAN, NAN, .denoise_gy = NAN, .dice_error = 1 - dg_overlap_dice(&overlap)};
    out->fraction_error = dg_overlap_predicted_fraction(&overlap) - dg_overlap_labelled_fraction(&overlap);
    out->fraction_distance = fabs(out->fraction_error);
done:
    dg_free(&target);
    dg_free(&counted);
    dg_free(&label);
    return status;
}

dg_status trainer_score_case(dg_source *source, int64_t index, const float *predicted_gy, dg_scores *out)
{
    if (dg_source_recipe(source)->labels) return score_labels(source, index, predicted_gy, out);
    const dg_case_info *info = dg_cohort_case(dg_source_cohort(source), index);
    dg_case *c = dg_source_case(source, index);
    int64_t slice_voxels = info->grid.shape[1] * info->grid.shape[2];
    uint64_t targets = 0, possible = 0, *bits = NULL;
    float *dose = NULL;
    mean_error all = {0}, ptv = {0}, inside = {0};
    dg_status status;
    for (int s = 0; s < info->structure_count; s++) {
        if (info->structure[s].role == DG_ROLE_TARGET) targets |= UINT64_C(1) << s;
        if (info->structure[s].role == DG_ROLE_POSSIBLE_DOSE) possible |= UINT64_C(1) << s;
    }
    const dg_box *known = &info->dose_box;
    int64_t voxels = dg_grid_voxels(&info->grid);
    dg_box whole = {.shape = {info->grid.shape[0], info->grid.shape[1], info->grid.shape[2]}};
    DG_TRY_GOTO(status, DG_NEW(&dose, voxels, "dose of a case"), done);
    DG_TRY_GOTO(status, DG_NEW(&bits, voxels, "mask bits of a case"), done);
    DG_TRY_GOTO(status, dg_case_read(c, DG_FIELD_DOSE_GY, 0, &whole, dose), done);
    DG_TRY_GOTO(status, dg_case_read_mask_bits(c, &whole, bits), done);
    for (int64_t i = 0; i < voxels; i++) {
        int64_t z = i / slice_voxels, y = i / info->grid.shape[2] % info->grid.shape[1], x = i % info->grid.shape[2];
        if (z < known->start[0] || z >= known->start[0] + known->shape[0] || y < known->start[1] ||
            y >= known->start[1] + known->shape[1] || x < known->start[2] || x >= known->start[2] + known->shape[2])
            continue;
        double error = fabs((double)predicted_gy[i] - (double)dose[i]);
        all.sum += error;
        all.count++;
        if ((bits[i] & targets) != 0) {
            ptv.sum += error;
            ptv.count++;
        }
        if ((bits[i] & possible) != 0) {
            inside.sum += error;
            inside.count++;
        }
    }
    *out = (dg_scores){mean_of(&all), mean_of(&ptv), mean_of(&inside), NAN, NAN, NAN, NAN};
done:
    dg_free(&dose);
    dg_free(&bits);
    return status;
}

static dg_status validate_case(dg_trainer *t, int64_t index, dg_scores *out)
{
    const dg_case_info *info = dg_cohort_case(t->cohort, index);
    float *predicted = NULL;
    dg_predictor_note note;
    DG_TRY(dg_source_pin(t->source, index));
    dg_status status = DG_NEW(&predicted, dg_grid_voxels(&info->grid), "predicted dose");
    if (status == DG_OK) status = dg_predictor_run(t->predictor, index, -1, predicted, &note);
    if (status == DG_OK) status = trainer_score_case(t->source, index, predicted, out);
    if (status == DG_OK && t->diffusion != NULL) status = trainer_diffusion_score(t, index, &out->denoise_gy);
    dg_source_unpin(t->source, index);
    dg_free(&predicted);
    return status == DG_OK ? DG_OK : dg_error_context(status, "validation of case %s", info->id);
}

/* A case's row: its scores, whether each exists, and whether the case could not be read. One rank fills it, so that the
 * sum over ranks is exact. */
static void fill_row(double row[ROW], const dg_scores *scores)
{
    const double value[SCORES] = {scores->mae_gy,     scores->mae_ptv_gy,     scores->dose_score,
                                  scores->dice_error, scores->fraction_error, scores->fraction_distance,
                                  scores->denoise_gy};
    for (int k = 0; k < SCORES; k++) {
        row[k] = isnan(value[k]) ? 0 : value[k];
        row[SCORES + k] = isnan(value[k]) ? 0 : 1;
    }
}

static dg_scores average(const double *table, int64_t count)
{
    double mean[SCORES];
    for (int k = 0; k < SCORES; k++) {
        double sum = 0, present = 0;
        for (int64_t i = 0; i < count; i++) {
            sum += table[i * ROW + k];
            present += table[i * ROW + SCORES + k];
        }
        mean[k] = present > 0 ? sum / present : NAN;
    }
    return (dg_scores){mean[0], mean[1], mean[2], mean[3], mean[4], mean[5], mean[6]};
}

static double score_of(const dg_scores *scores, dg_monitor monitor)
{
    if (monitor == DG_MONITOR_DOSE_SCORE) return scores->dose_score;
    if (monitor == DG_MONITOR_DICE_ERROR) return scores->dice_error;
    if (monitor == DG_MONITOR_FRACTION) return scores->fraction_distance;
    if (monitor == DG_MONITOR_DENOISE) return scores->denoise_gy;
    return monitor == DG_MONITOR_MAE_PTV ? scores->mae_ptv_gy : scores->mae_gy;
}

static dg_status resolve_monitor(dg_trainer *t)
{
    dg_monitor wanted = (dg_monitor)t->config.train.monitor;
    if (wanted == DG_MONITOR_AUTO) {
        wanted = t->recipe.labels               ? DG_MONITOR_DICE_ERROR
                 : t->diffusion != NULL         ? DG_MONITOR_DENOISE
                 : !isnan(t->scores.dose_score) ? DG_MONITOR_DOSE_SCORE
                 : !isnan(t->scores.mae_ptv_gy) ? DG_MONITOR_MAE_PTV
                                                : DG_MONITOR_MAE;
    }
    if (isnan(score_of(&t->scores, wanted))) {
        return DG_FAIL(DG_ERR_DATA, "train.monitor %s cannot be had: no validation case has the structures it needs",
                       trainer_monitor_name(wanted));
    }
    t->monitor = wanted;
    return DG_OK;
}

static dg_status judge(dg_trainer *t)
{
    DG_TRY(resolve_monitor(t));
    trainer_progress *p = &t->progress;
    double value = score_of(&t->scores, t->monitor);
    bool better = value < p->best;
    bool gains = better && (isinf(p->best) || p->best - value >= t->config.train.early_stopping.min_delta);
    char others[96] = "";
    if (!t->recipe.labels)
        snprintf(others, sizeof others, " (val_mae_gy %.4f, val_mae_ptv_gy %.4f)", t->scores.mae_gy,
                 t->scores.mae_ptv_gy);
    dg_log_write(t->log, DG_LOG_INFO, "step %lld: %s %.4f%s%s", (long long)p->step, trainer_monitor_name(t->monitor),
                 value, better ? ", the best so far" : "", others);
    p->stale = gains ? 0 : p->stale + 1;
    const double best = p->best;
    if (better) {
        p->best = value;
        p->best_step = p->step;
        t->best_pending = true;
    }
    return trainer_controls_judge(t, value, best, gains);
}

/* What a damaged or unreadable file gives; everything else would stop every case. */
static bool is_lost(dg_status status)
{
    return status == DG_ERR_IO || status == DG_ERR_FORMAT || status == DG_ERR_DATA || status == DG_ERR_MISMATCH;
}

/* `reason` [cases][REASON]: why a case of this rank was lost. */
static dg_status score_my_cases(dg_trainer *t, double *table, char (*reason)[REASON])
{
    DG_TRY(dg_predictor_set_weights(t->predictor, trainer_best_weights(t)));
    for (int64_t i = t->comm->rank; i < t->split.count[DG_PART_VAL]; i += t->comm->size) {
        dg_scores scores;
        if (t->val_lost[i]) continue;
        dg_heartbeat_task(t->comm->heartbeat, dg_cohort_case(t->cohort, t->split.index[DG_PART_VAL][i])->id);
        dg_status status = validate_case(t, t->split.index[DG_PART_VAL][i], &scores);
        if (is_lost(status)) {
            table[i * ROW + LOST] = 1;
            snprintf(reason[i], REASON, "%.239s", dg_error_last()->text);
            dg_error_clear();
            continue;
        }
        if (status != DG_OK) return status;
        fill_row(table + i * ROW, &scores);
    }
    return DG_OK;
}

/* Cases that were lost now are named and left out of all later validations, so that scores stay comparable from here
 * on. @collective */
static dg_status leave_out_lost(dg_trainer *t, const double *table, char (*reason)[REASON])
{
    int64_t count = t->split.count[DG_PART_VAL], last = -1;
    for (int64_t i = 0; i < count; i++) {
        if (table[i * ROW + LOST] == 0) continue;
        DG_TRY(dg_comm_broadcast(t->comm, reason[i], REASON, (int)(i % t->comm->size)));
        dg_log_write(t->log, DG_LOG_WARNING, "%s: the case is left out of validation", reason[i]);
        t->val_lost[i] = true;
        t->val_lost_count++;
        last = i;
    }
    if (t->val_lost_count < count) return DG_OK;
    return DG_FAIL(DG_ERR_DATA, "none of the %lld validation cases can be read; the last: %s", (long long)count,
                   last >= 0 ? reason[last] : "");
}

static dg_status score_cases(dg_trainer *t, double *table, char (*reason)[REASON], dg_status before)
{
    int64_t count = t->split.count[DG_PART_VAL];
    dg_status status = before == DG_OK ? score_my_cases(t, table, reason) : before;
    DG_TRY(dg_comm_agree(t->comm, status));
    DG_TRY(dg_comm_all_reduce(t->comm, table, count * ROW, DG_F64, DG_SUM));
    DG_TRY(leave_out_lost(t, table, reason));
    t->scores = average(table, count);
    t->validated_step = t->progress.step;
    return judge(t);
}

dg_status trainer_validate(dg_trainer *t)
{
    int64_t count = t->split.count[DG_PART_VAL];
    if (count == 0 || t->validated_step == t->progress.step) return DG_OK;
    double *table = NULL, start = dg_time_s();
    char(*reason)[REASON] = NULL;
    int64_t range = trainer_begin(t, DG_PHASE_VALIDATE);
    dg_status status = DG_NEW(&table, count * ROW, "validation scores");
    if (status == DG_OK) status = DG_NEW(&reason, count, "reasons of lost cases");
    if (status == DG_OK) status = dg_fault_reach(DG_FAULT_VALIDATE, NULL, 0);
    if (status == DG_OK && t->val_lost == NULL) status = DG_NEW(&t->val_lost, count, "lost validation cases");
    status = score_cases(t, table, reason, status);
    dg_heartbeat_task(t->comm->heartbeat, NULL);
    dg_range_end(t->trace, range);
    t->validate_s = dg_time_s() - start;
    dg_free(&reason);
    dg_free(&table);
    return status;
}
