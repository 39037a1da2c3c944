/* evaluation_json.c - the results file (doc/results.md): the same byte for byte on any number of ranks. SPDX-License-Identifier: Apache-2.0 */
#include "evaluation_impl.h"

#include "dg_mem.h"
#include "dg_upstream_evaluation.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

/* ---- one case ----------------------------------------------------------------------------------------------------- */

static const char *const overall_name[DG_OVERALL_ERRORS] = {"rmse_gy", "max_error_gy", "mean_error_gy"};

static json_t *errors_json(const dg_dose_errors *errors)
{
    json_t *object = json_object();
    for (int region = 0; region < DG_DOSE_REGIONS; region++)
        json_object_set_new(object, dg_dose_region_name(region), number(dg_dose_errors_mae_gy(errors, region)));
    return object;
}

static json_t *dose_json(const dg_case_result *r)
{
    char key[128];
    json_t *object = errors_json(&r->errors[DG_NETWORK]);
    const dg_region_result *region = dg_case_regions(r);
    for (int64_t k = 0; k < r->region_count; k++) {
        snprintf(key, sizeof key, "mae_%s_gy", region[k].name);
        json_object_set_new(object, key, number(dg_region_mae_gy(&region[k])));
    }
    for (int which = 0; which < DG_OVERALL_ERRORS; which++)
        json_object_set_new(object, overall_name[which], number(dg_overall_error(&r->overall, which)));
    return object;
}

/* ---- gamma -------------------------------------------------------------------------------------------------------- */

static void gamma_key(char key[160], const char *region, const dg_criterion *criterion)
{
    char name[48];
    dg_criterion_name(criterion, name);
    snprintf(key, 160, "%s_%s", region, name);
}

static json_t *gamma_result_json(const dg_gamma_result *g, const dg_region_result *region, double norm_gy)
{
    json_t *object =
        json_pack("{s:o, s:o, s:o, s:o, s:I, s:I}", "gamma_pass_rate", number(dg_gamma_pass_percent(g)), "gamma_mean",
                  number(g->mean), "gamma_median", number(g->median), "gamma_max", number(g->max), "voxels_evaluated",
                  (json_int_t)g->evaluated, "voxels_passed", (json_int_t)g->passed);
    if (g->evaluated > 0) return object;
    const char *why = region->voxels == 0 ? region->reason : "no voxel of the region reaches the cutoff dose";
    if (!(norm_gy > 0)) why = "there is no dose that percentages could refer to";
    json_object_set_new(object, "error", json_string(why));
    return object;
}

static json_t *gamma_json(const dg_case_result *r, const dg_evaluation_config *config)
{
    json_t *object = json_pack("{s:o}", "norm_gy", number(r->norm_gy > 0 ? r->norm_gy : NAN));
    const dg_region_result *region = dg_case_regions(r);
    for (int64_t k = 0; k < r->region_count; k++)
        for (int64_t c = 0; c < r->criteria; c++) {
            char key[160];
            gamma_key(key, region[k].name, &config->criterion[c]);
            json_object_set_new(object, key,
                                gamma_result_json(&dg_case_gamma(r)[k * r->criteria + c], &region[k], r->norm_gy));
        }
    return object;
}

/* ---- DVH ---------------------------------------------------------------------------------------------------------- */

/* "target_NAME", "pred_NAME" and "NAME_error" as in the reference's results, with "_unit" behind. */
static void put_triple(json_t *object, const char *name, const char *unit, const double value[2])
{
    char key[64];
    snprintf(key, sizeof key, "target_%s%s", name, unit);
    json_object_set_new(object, key, number(value[0]));
    snprintf(key, sizeof key, "pred_%s%s", name, unit);
    json_object_set_new(object, key, number(value[1]));
    snprintf(key, sizeof key, "%s_error%s", name, unit);
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
        put_triple(object, dg_dose_statistic_name(k), "_gy", value);
        if (config->members < 2) continue;
        snprintf(name, sizeof name, "%s_member_std_gy", dg_dose_statistic_name(k));
        json_object_set_new(object, name, number(s->member_std_gy[k]));
    }
    for (int k = 0; k < config->vx_count; k++) {
        const double value[2] = {s->vx_percent[0][k], s->vx_percent[1][k]};
        snprintf(name, sizeof name, "V%gGy", config->vx_gy[k]);
        put_triple(object, name, "_percent", value);
    }
    if (s->role != DG_ROLE_TARGET) return object;
    put_triple(object, "V95%", "_percent", s->v95_percent);
    for (int k = 0; k < DG_INDICES; k++) {
        const double value[2] = {s->index[0][k], s->index[1][k]};
        put_triple(object, dg_target_index_name(k), "", value);
    }
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

static void put_prescription(json_t *object, const dg_case_result *r)
{
    const char *source = r->prescription_source;
    json_object_set_new(object, "prescription_gy", number(r->prescription_gy));
    json_object_set_new(object, "prescription_source", source[0] != '\0' ? json_string(source) : json_null());
    json_object_set_new(object, "fractions", r->fractions > 0 ? json_integer(r->fractions) : json_null());
}

static json_t *case_json(const dg_case_result *r, const dg_evaluation_config *config)
{
    json_t *object = json_object(), *dvh = json_object(), *baselines;
    const dg_structure_result *structure = dg_case_structures(r);
    json_object_set_new(object, "case_id", json_string(r->id));
    json_object_set_new(object, "group", r->group[0] != '\0' ? json_string(r->group) : json_null());
    json_object_set_new(object, "spacing_mm_zyx",
                        json_pack("[f, f, f]", r->spacing_mm[0], r->spacing_mm[1], r->spacing_mm[2]));
    put_prescription(object, r);
    json_object_set_new(object, "case_sha256", json_string(r->case_sha256));
    json_object_set_new(object, "dose_metrics", dose_json(r));
    json_object_set_new(object, "gamma", gamma_json(r, config));
    for (int64_t k = 0; k < r->structure_count; k++)
        json_object_set_new(dvh, structure[k].name, structure_json(&structure[k], config));
    json_object_set_new(object, "dvh_metrics", dvh);
    if (config->table != NULL)
        json_object_set_new(object, "clinical_constraints",
                            dg_constraints_to_json(config->table, dg_case_constraints(r)));
    if (config->members > 0) json_object_set_new(object, "ensemble", dg_members_case_json(r, config));
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
            const char *name = dg_case_structures(results[i])[s].name;
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

/* ---- compat upstream ---------------------------------------------------------------------------------------------- */

/* The reference tool's entry with what compare needs to know the case by. NULL: no memory. */
static json_t *upstream_case_json(const dg_case_result *r)
{
    json_t *object = json_loads(dg_case_text(r), 0, NULL);
    if (object == NULL) return NULL;
    json_object_set_new(object, "group", r->group[0] != '\0' ? json_string(r->group) : json_null());
    put_prescription(object, r);
    json_object_set_new(object, "case_sha256", json_string(r->case_sha256));
    return object;
}

/* ---- aggregate ---------------------------------------------------------------------------------------------------- */

/* Mean and spread of what belongs to the prediction alone. */
static void put_spread(json_t *object, const char *name, dg_spread spread)
{
    char key[192];
    snprintf(key, sizeof key, "%s_mean", name);
    json_object_set_new(object, key, number(spread.mean));
    snprintf(key, sizeof key, "%s_std", name);
    json_object_set_new(object, key, number(spread.std));
}

static json_t *region_aggregate_json(const dg_case_result *const *results, int64_t count,
                                     const dg_evaluation_config *config, json_t *aggregate)
{
    const char *names[4 * DG_REGIONS_MAX];
    json_t *gamma = json_object();
    const int64_t regions = dg_evaluation_region_names(results, count, names, sizeof names / sizeof *names);
    for (int64_t k = 0; k < regions; k++) {
        char key[160];
        snprintf(key, sizeof key, "mae_%s_gy", names[k]);
        put_spread(aggregate, key, dg_evaluation_region_mae(results, count, names[k]));
        for (int c = 0; c < config->criteria; c++) {
            const dg_spread spread = dg_evaluation_pass_rate(results, count, names[k], c);
            json_t *one = json_object();
            put_spread(one, "gamma_pass_rate", spread);
            json_object_set_new(one, "n_cases", json_integer(spread.cases));
            gamma_key(key, names[k], &config->criterion[c]);
            json_object_set_new(gamma, key, one);
        }
    }
    return gamma;
}

static json_t *constraint_aggregate_json(const dg_case_result *const *results, int64_t count,
                                         const dg_evaluation_config *config)
{
    const dg_constraint_result **rows = NULL;
    int64_t cases = 0;
    if (DG_NEW(&rows, count + 1, "constraints of cases") != DG_OK) return NULL;
    for (int64_t i = 0; i < count; i++)
        if (!results[i]->failed) rows[cases++] = dg_case_constraints(results[i]);
    json_t *object = dg_constraints_cohort_json(config->table, rows, cases);
    dg_free(&rows);
    return object;
}

static json_t *aggregate_json(const dg_case_result *const *results, int64_t count, const dg_evaluation_config *config,
                              const dg_scoreboard board[DG_CONTENDERS])
{
    json_t *object = board_json(&board[DG_NETWORK]);
    for (int which = 0; which < DG_OVERALL_ERRORS; which++)
        put_spread(object, overall_name[which], dg_evaluation_overall(results, count, which));
    json_t *gamma = region_aggregate_json(results, count, config, object);
    json_object_set_new(object, "gamma", gamma);
    json_object_set_new(object, "dvh_metrics", dvh_errors_json(results, count));
    if (config->table != NULL)
        json_object_set_new(object, "clinical_constraints", constraint_aggregate_json(results, count, config));
    if (config->members > 0) json_object_set_new(object, "ensemble", dg_members_aggregate_json(results, count, config));
    if (config->baseline != NULL) json_object_set_new(object, "baselines", baselines_json(config, board));
    return object;
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* Who made the predictions, each once, sorted. */
static json_t *weights_json(const dg_case_result *const *results, int64_t count)
{
    const char **all = NULL;
    json_t *list = json_array();
    int64_t n = 0;
    if (DG_NEW(&all, count + 1, "weights of predictions") != DG_OK) return list;
    for (int64_t i = 0; i < count; i++)
        if (!results[i]->failed) all[n++] = results[i]->model_sha256;
    if (n > 0) qsort(all, (size_t)n, sizeof *all, by_text);
    for (int64_t i = 0; i < n; i++)
        if (i == 0 || strcmp(all[i], all[i - 1]) != 0) json_array_append_new(list, json_string(all[i]));
    dg_free(&all);
    return list;
}

static json_t *text_or_null(const char *text) { return text[0] != '\0' ? json_string(text) : json_null(); }

static json_t *run_json(const dg_case_result *const *results, int64_t count, const dg_evaluation_config *config)
{
    return json_pack("{s:o, s:o, s:o, s:o}", "name", text_or_null(config->run.name), "condition",
                     text_or_null(config->run.condition), "seed",
                     config->run.seed >= 0 ? json_integer(config->run.seed) : json_null(), "weights_sha256",
                     weights_json(results, count));
}

void dg_evaluation_assumed(const dg_case_result *const *results, int64_t count, char text[DG_ASSUMED_TEXT])
{
    int64_t assumed = 0, cases = 0;
    for (int64_t i = 0; i < count; i++) {
        cases += !results[i]->failed;
        assumed += !results[i]->failed && strcmp(results[i]->prescription_source, "assumed") == 0;
    }
    dg_assumed_text(assumed, cases, text);
}

/* Only where there is something to say. */
static void put_assumed(json_t *root, const dg_case_result *const *results, int64_t count)
{
    char text[DG_ASSUMED_TEXT];
    dg_evaluation_assumed(results, count, text);
    if (text[0] != '\0') json_object_set_new(root, "prescription_assumed", json_string(text));
}

json_t *dg_evaluation_to_json(const dg_case_result *const *results, int64_t count, const dg_evaluation_config *config,
                              const dg_scoreboard board[DG_CONTENDERS])
{
    json_t *cases = json_array(), *failed = json_array();
    const bool upstream = config->compat == DG_COMPAT_UPSTREAM;
    for (int64_t i = 0; i < count; i++) {
        if (results[i]->failed)
            json_array_append_new(failed,
                                  json_pack("{s:s, s:s}", "case_id", results[i]->id, "reason", results[i]->reason));
        else
            json_array_append_new(cases, config->labels != NULL ? dg_label_case_json(results[i])
                                         : upstream             ? upstream_case_json(results[i])
                                                                : case_json(results[i], config));
    }
    json_t *aggregate = config->labels != NULL ? dg_label_aggregate_json(results, count, config)
                        : upstream             ? dg_upstream_aggregate(cases)
                                               : aggregate_json(results, count, config, board);
    json_t *root =
        json_pack("{s:s, s:i, s:o, s:o, s:I, s:I}", "format", "dosegrid-evaluation", "version", 2, "settings",
                  dg_evaluation_settings_json(config), "run", run_json(results, count, config), "n_cases",
                  (json_int_t)json_array_size(cases), "n_failed", (json_int_t)json_array_size(failed));
    put_assumed(root, results, count);
    json_object_set_new(root, "aggregate", aggregate);
    json_object_set_new(root, "failed", failed);
    json_object_set_new(root, "per_case_results", cases);
    return root;
}
