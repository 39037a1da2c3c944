/* evaluation_json.c - scores over cases, and the results file. Cases come in one order whatever rank measured them, and
 * sums follow that order: the file is the same byte for byte on any number of ranks. SPDX-License-Identifier: Apache-2.0 */
#include "evaluation.h"

#include "dg_mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double interval_level = 0.95;

static json_t *number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

/* ---- scores ------------------------------------------------------------------------------------------------------- */

static bool counts(const dg_case_result *r, dg_contender who)
{
    return !r->failed && (who == DG_NETWORK || r->has_baselines);
}

static void mean_and_std(const dg_case_result *const *results, int64_t count, dg_contender who, int region,
                         dg_scoreboard *out)
{
    double sum = 0, squares = 0;
    int64_t n = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < count; i++) {
            double mae = counts(results[i], who) ? dg_dose_errors_mae_gy(&results[i]->errors[who], region) : NAN;
            if (isnan(mae)) continue;
            if (pass == 0) {
                sum += mae;
                n++;
            } else {
                squares += (mae - sum / (double)n) * (mae - sum / (double)n);
            }
        }
    out->mae_gy[region] = n > 0 ? sum / (double)n : NAN;
    out->mae_std_gy[region] = n > 1 ? sqrt(squares / (double)(n - 1)) : NAN;
}

static dg_status intervals(const dg_case_result *const *results, int64_t count, dg_contender who,
                           const dg_evaluation_config *config, dg_scoreboard *out)
{
    double *column = NULL;
    int64_t n = 0;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&column, 4 * count, "bootstrap columns"), cleanup);
    double *dose = column, *one = column + count, *dvh = one + count, *metrics = dvh + count;
    for (int64_t i = 0; i < count; i++) {
        if (!counts(results[i], who) || !results[i]->has_openkbp) continue;
        dose[n] = results[i]->openkbp[who].dose_error_gy;
        one[n] = 1;
        dvh[n] = results[i]->openkbp[who].dvh_error_sum_gy;
        metrics[n++] = (double)results[i]->openkbp[who].dvh_errors;
    }
    DG_TRY_GOTO(status,
                dg_bootstrap_ratio(dose, one, n, config->resamples, config->seed, interval_level, &out->dose_score),
                cleanup);
    DG_TRY_GOTO(status,
                dg_bootstrap_ratio(dvh, metrics, n, config->resamples, config->seed, interval_level, &out->dvh_score),
                cleanup);
cleanup:
    dg_free(&column);
    return status;
}

dg_status dg_scoreboard_make(const dg_case_result *const *results, int64_t count, dg_contender contender,
                             const dg_evaluation_config *config, dg_scoreboard *out)
{
    memset(out, 0, sizeof *out);
    for (int64_t i = 0; i < count; i++) {
        if (!counts(results[i], contender)) continue;
        out->cases++;
        if (results[i]->has_openkbp) dg_openkbp_score_add(&out->openkbp, &results[i]->openkbp[contender]);
    }
    for (int region = 0; region < DG_DOSE_REGIONS; region++) mean_and_std(results, count, contender, region, out);
    return intervals(results, count, contender, config, out);
}

static const dg_structure_result *find_structure(const dg_case_result *r, const char *name)
{
    for (int64_t k = 0; k < r->structure_count; k++)
        if (strcmp(r->structure[k].name, name) == 0) return &r->structure[k];
    return NULL;
}

double dg_evaluation_mean_error(const dg_case_result *const *results, int64_t count, const char *structure,
                                dg_dose_statistic statistic, int64_t *cases)
{
    double sum = 0;
    *cases = 0;
    for (int64_t i = 0; i < count; i++) {
        const dg_structure_result *s = results[i]->failed ? NULL : find_structure(results[i], structure);
        if (s == NULL || isnan(s->gy[0][statistic])) continue;
        sum += fabs(s->gy[1][statistic] - s->gy[0][statistic]);
        ++*cases;
    }
    return *cases > 0 ? sum / (double)*cases : NAN;
}

/* ---- one case ----------------------------------------------------------------------------------------------------- */

static json_t *errors_json(const dg_dose_errors *errors)
{
    json_t *object = json_object();
    for (int region = 0; region < DG_DOSE_REGIONS; region++)
        json_object_set_new(object, dg_dose_region_name(region), number(dg_dose_errors_mae_gy(errors, region)));
    return object;
}

/* "target_NAME", "pred_NAME" and "NAME_error" as in the reference's results, with the unit behind. */
static void put_triple(json_t *object, const char *name, const char *unit, const double value[2])
{
    char key[64];
    snprintf(key, sizeof key, "target_%s_%s", name, unit);
    json_object_set_new(object, key, number(value[0]));
    snprintf(key, sizeof key, "pred_%s_%s", name, unit);
    json_object_set_new(object, key, number(value[1]));
    snprintf(key, sizeof key, "%s_error_%s", name, unit);
    json_object_set_new(object, key, number(value[1] - value[0]));
}

static json_t *structure_json(const dg_structure_result *s, const dg_evaluation_config *config)
{
    json_t *object = json_object();
    char name[32];
    json_object_set_new(object, "exists", json_boolean(s->voxels > 0));
    json_object_set_new(object, "n_voxels", json_integer(s->voxels));
    json_object_set_new(object, "volume_cc", number(s->volume_cc));
    json_object_set_new(object, "mae_gy", number(s->mae_gy));
    for (int k = 0; k < DG_STATS; k++) {
        const double value[2] = {s->gy[0][k], s->gy[1][k]};
        put_triple(object, dg_dose_statistic_name(k), "gy", value);
    }
    for (int k = 0; k < config->vx_count; k++) {
        const double value[2] = {s->vx_percent[0][k], s->vx_percent[1][k]};
        snprintf(name, sizeof name, "V%gGy", config->vx_gy[k]);
        put_triple(object, name, "percent", value);
    }
    if (s->role == DG_ROLE_TARGET) put_triple(object, "V95%", "percent", s->v95_percent);
    return object;
}

static json_t *openkbp_json(const dg_openkbp_result *r)
{
    json_t *metrics = json_object();
    for (int m = 0; m < DG_OPENKBP_METRICS; m++) {
        if (isnan(r->reference_gy[m])) continue;
        json_object_set_new(metrics, dg_openkbp_metric_name(m),
                            json_pack("{s:o, s:o}", "reference_gy", number(r->reference_gy[m]), "prediction_gy",
                                      number(r->prediction_gy[m])));
    }
    double dvh = r->dvh_errors > 0 ? r->dvh_error_sum_gy / (double)r->dvh_errors : NAN;
    return json_pack("{s:o, s:o, s:o, s:o}", "dose_error_gy", number(r->dose_error_gy), "dose_error_masked_gy",
                     number(r->dose_error_masked_gy), "dvh_error_gy", number(dvh), "metrics", metrics);
}

static json_t *baseline_json(const dg_case_result *r, dg_contender who)
{
    json_t *object = errors_json(&r->errors[who]);
    const dg_openkbp_result *k = &r->openkbp[who];
    if (!r->has_openkbp) return object;
    json_object_set_new(object, "dose_error_gy", number(k->dose_error_gy));
    json_object_set_new(object, "dvh_error_gy",
                        number(k->dvh_errors > 0 ? k->dvh_error_sum_gy / (double)k->dvh_errors : NAN));
    return object;
}

static json_t *case_json(const dg_case_result *r, const dg_evaluation_config *config)
{
    json_t *object = json_object(), *dvh = json_object(), *baselines;
    json_object_set_new(object, "case_id", json_string(r->id));
    json_object_set_new(object, "spacing_mm_zyx",
                        json_pack("[f, f, f]", r->spacing_mm[0], r->spacing_mm[1], r->spacing_mm[2]));
    json_object_set_new(object, "prescription_gy", number(r->prescription_gy));
    json_object_set_new(object, "dose_metrics", errors_json(&r->errors[DG_NETWORK]));
    for (int64_t k = 0; k < r->structure_count; k++)
        json_object_set_new(dvh, r->structure[k].name, structure_json(&r->structure[k], config));
    json_object_set_new(object, "dvh_metrics", dvh);
    if (r->has_openkbp) json_object_set_new(object, "openkbp", openkbp_json(&r->openkbp[DG_NETWORK]));
    if (!r->has_baselines) return object;
    baselines = json_object();
    for (int who = DG_CONSTANT; who < DG_CONTENDERS; who++)
        json_object_set_new(baselines, dg_contender_name(who), baseline_json(r, who));
    json_object_set_new(object, "baselines", baselines);
    return object;
}

/* ---- all cases ---------------------------------------------------------------------------------------------------- */

static json_t *interval_json(const dg_interval *interval)
{
    return json_pack("[o, o]", number(interval->low), number(interval->high));
}

static json_t *scores_json(const dg_scoreboard *board)
{
    const dg_openkbp_score *k = &board->openkbp;
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:I, s:I}", "dose_score", number(dg_openkbp_dose_score(k)),
                     "dose_score_interval_95", interval_json(&board->dose_score), "dvh_score",
                     number(dg_openkbp_dvh_score(k)), "dvh_score_interval_95", interval_json(&board->dvh_score),
                     "dose_score_masked", number(dg_openkbp_dose_score_masked(k)), "patients", (json_int_t)k->patients,
                     "dvh_metrics", (json_int_t)k->metrics);
}

static json_t *board_json(const dg_scoreboard *board)
{
    char key[64];
    json_t *object = json_pack("{s:I}", "n_cases", (json_int_t)board->cases);
    for (int region = 0; region < DG_DOSE_REGIONS; region++) {
        snprintf(key, sizeof key, "%s_mean", dg_dose_region_name(region));
        json_object_set_new(object, key, number(board->mae_gy[region]));
        snprintf(key, sizeof key, "%s_std", dg_dose_region_name(region));
        json_object_set_new(object, key, number(board->mae_std_gy[region]));
    }
    if (board->openkbp.patients > 0) json_object_set_new(object, "openkbp", scores_json(board));
    return object;
}

/* Mean |error| of every statistic of every structure, structures in the order of their first appearance. */
static json_t *dvh_errors_json(const dg_case_result *const *results, int64_t count)
{
    json_t *all = json_object();
    for (int64_t i = 0; i < count; i++) {
        for (int64_t s = 0; s < results[i]->structure_count; s++) {
            const char *name = results[i]->structure[s].name;
            if (json_object_get(all, name) != NULL) continue;
            json_t *one = json_object();
            char key[64];
            int64_t cases = 0;
            for (int k = 0; k < DG_STATS; k++) {
                double error = dg_evaluation_mean_error(results, count, name, k, &cases);
                snprintf(key, sizeof key, "%s_mean_abs_error_gy", dg_dose_statistic_name(k));
                json_object_set_new(one, key, number(error));
                if (k == DG_STAT_MEAN) json_object_set_new(one, "n_cases", json_integer(cases));
            }
            json_object_set_new(all, name, one);
        }
    }
    return all;
}

static json_t *baselines_json(const dg_evaluation_config *config, const dg_scoreboard board[DG_CONTENDERS])
{
    json_t *constant = board_json(&board[DG_CONSTANT]), *table = board_json(&board[DG_DISTANCE_TABLE]);
    json_object_set_new(constant, "dose_gy", number(dg_baseline_constant_gy(config->baseline)));
    return json_pack("{s:I, s:o, s:o}", "train_cases", (json_int_t)config->train_cases, dg_contender_name(DG_CONSTANT),
                     constant, dg_contender_name(DG_DISTANCE_TABLE), table);
}

json_t *dg_evaluation_to_json(const dg_case_result *const *results, int64_t count, const dg_evaluation_config *config,
                              const dg_scoreboard board[DG_CONTENDERS])
{
    json_t *cases = json_array(), *failed = json_array(), *aggregate = board_json(&board[DG_NETWORK]);
    for (int64_t i = 0; i < count; i++) {
        if (results[i]->failed)
            json_array_append_new(failed,
                                  json_pack("{s:s, s:s}", "case_id", results[i]->id, "reason", results[i]->reason));
        else
            json_array_append_new(cases, case_json(results[i], config));
    }
    json_object_set_new(aggregate, "dvh_metrics", dvh_errors_json(results, count));
    if (config->baseline != NULL) json_object_set_new(aggregate, "baselines", baselines_json(config, board));
    return json_pack("{s:s, s:i, s:I, s:I, s:o, s:o, s:o}", "format", "dosegrid-evaluation", "version", 1, "n_cases",
                     (json_int_t)json_array_size(cases), "n_failed", (json_int_t)json_array_size(failed), "aggregate",
                     aggregate, "failed", failed, "per_case_results", cases);
}
