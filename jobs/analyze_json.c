/* analyze_json.c - the JSON of `dosegrid analyze`: spread of clinical doses by distance, anatomy, and its rank correlation with errors.
 * SPDX-License-Identifier: Apache-2.0 */
#include "analyze_impl.h"

#include "dg_effect.h"
#include "dg_holm.h"
#include "dg_mem.h"
#include "dg_rank_correlation.h"
#include "dg_seed_aggregate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VOXELS_MIN = 10, FIXED_FEATURES = 6, FEATURE_TEXT = DG_STRUCTURE_NAME + 32 };

static const dg_case_info *info_of(const analysis *a, int64_t i) { return dg_cohort_case(a->cohort, a->index[i]); }
static bool measured(const analysis *a, int64_t i) { return a->reason[i][0] == '\0'; }

/* ---- spread over patients ----------------------------------------------------------------------------------------- */

/* Linear between order statistics, as numpy.percentile; value ascending. */
static double quantile(const double *value, int64_t n, double share)
{
    const double at = share * (double)(n - 1);
    const int64_t low = (int64_t)at;
    return n == 0 ? NAN : low >= n - 1 ? value[n - 1] : value[low] + (value[low + 1] - value[low]) * (at - (double)low);
}

/* Patients with enough voxels in the bin: each counts once, with its mean. */
static json_t *bin_json(const analysis *a, int bin, double *value)
{
    int64_t n = 0;
    double voxels = 0;
    for (int64_t i = 0; i < a->count; i++) {
        const dg_anatomy *m = &a->anatomy[i];
        if (!measured(a, i) || m->voxels[bin] < VOXELS_MIN || isnan(m->dose_percent[bin])) continue;
        value[n++] = m->dose_percent[bin];
        voxels += m->voxels[bin];
    }
    const double mean = dg_mean(value, n), std = dg_std(value, n), median = dg_median(value, n);
    const double low = quantile(value, n, 0.25), high = quantile(value, n, 0.75);
    return json_pack(
        "{s:f, s:f, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "from_mm", a->params.margin_mm + bin * a->params.bin_mm,
        "to_mm", a->params.margin_mm + (bin + 1) * a->params.bin_mm, "n_cases", (json_int_t)n, "voxels",
        (json_int_t)voxels, "mean", dg_json_number(mean), "std", dg_json_number(std), "q25", dg_json_number(low),
        "median", dg_json_number(median), "q75", dg_json_number(high), "iqr", dg_json_number(high - low));
}

static json_t *spread_json(const analysis *a, double *value)
{
    json_t *bins = json_array();
    for (int b = 0; b < a->params.bins; b++) json_array_append_new(bins, bin_json(a, b, value));
    return json_pack("{s:s, s:i, s:o}", "unit", "% of prescription", "voxels_min", VOXELS_MIN, "bins", bins);
}

/* ---- anatomy ------------------------------------------------------------------------------------------------------ */

static const char *const feature_name[FIXED_FEATURES] = {
    "target_volume_cc", "body_volume_cc", "no_mans_land_cc", "structures", "target_organ_overlap_percent",
    "nearest_organ_mm"};

static double fixed_feature(const dg_anatomy *m, int feature)
{
    const double value[FIXED_FEATURES] = {m->target_cc,  m->body_cc,         m->no_mans_land_cc,
                                          m->structures, m->overlap_percent, m->nearest_organ_mm};
    return value[feature];
}

static json_t *organs_json(const dg_case_info *info, const dg_anatomy *m)
{
    json_t *all = json_object();
    for (int k = 0; k < info->structure_count; k++)
        if (!isnan(m->organ_distance_mm[k]))
            json_object_set_new(all, info->structure[k].name,
                                json_pack("{s:o, s:o}", "overlap_percent", dg_json_number(m->organ_overlap_percent[k]),
                                          "distance_mm", dg_json_number(m->organ_distance_mm[k])));
    return all;
}

static json_t *case_json(const analysis *a, int64_t i)
{
    const dg_case_info *info = info_of(a, i);
    const dg_anatomy *m = &a->anatomy[i];
    json_t *anatomy = json_object(), *dose = json_array(), *voxels = json_array();
    for (int f = 0; f < FIXED_FEATURES; f++)
        json_object_set_new(anatomy, feature_name[f], dg_json_number(fixed_feature(m, f)));
    json_object_set_new(anatomy, "organs", organs_json(info, m));
    for (int b = 0; b < a->params.bins; b++) {
        json_array_append_new(dose, dg_json_number(m->dose_percent[b]));
        json_array_append_new(voxels, json_integer((json_int_t)m->voxels[b]));
    }
    return json_pack("{s:s, s:s, s:s, s:o, s:s, s:s, s:o, s:o, s:o}", "case_id", info->id, "group", info->group,
                     "case_sha256", info->content_sha256, "prescription_gy", dg_json_number(info->prescription_gy),
                     "prescription_source", info->prescription_source, "body",
                     m->body_is_possible_dose != 0 ? "possible_dose" : "body", "anatomy", anatomy, "dose_percent", dose,
                     "voxels", voxels);
}

/* ---- correlation with errors -------------------------------------------------------------------------------------- */

/* Features: the fixed ones, then overlap and distance of every organ that a case has, by name. */
typedef struct features {
    char (*name)[FEATURE_TEXT]; /* "distance_mm.Rectum" */
    int64_t count, room;
} features;

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

static dg_status add_feature(features *f, const char *kind, const char *organ)
{
    char name[FEATURE_TEXT];
    snprintf(name, sizeof name, "%s%.63s", kind, organ);
    for (int64_t i = 0; i < f->count; i++)
        if (strcmp(f->name[i], name) == 0) return DG_OK;
    if (f->count == f->room) {
        const int64_t room = 2 * f->room + 32;
        DG_TRY(dg_grow(&f->name, (size_t)f->count, (size_t)room, sizeof *f->name, "anatomical features"));
        f->room = room;
    }
    memcpy(f->name[f->count++], name, sizeof name);
    return DG_OK;
}

static dg_status list_features(const analysis *a, features *f)
{
    for (int i = 0; i < FIXED_FEATURES; i++) DG_TRY(add_feature(f, feature_name[i], ""));
    for (int64_t i = 0; i < a->count; i++) {
        const dg_case_info *info = info_of(a, i);
        for (int k = 0; k < info->structure_count; k++) {
            if (info->structure[k].role != DG_ROLE_OAR) continue;
            DG_TRY(add_feature(f, "overlap_percent.", info->structure[k].name));
            DG_TRY(add_feature(f, "distance_mm.", info->structure[k].name));
        }
    }
    qsort(f->name + FIXED_FEATURES, (size_t)(f->count - FIXED_FEATURES), sizeof *f->name, by_name);
    return DG_OK;
}

static double feature_of(const analysis *a, int64_t i, const char *name)
{
    const dg_anatomy *m = &a->anatomy[i];
    const char *dot = strchr(name, '.');
    if (!measured(a, i)) return NAN;
    for (int f = 0; f < FIXED_FEATURES; f++)
        if (strcmp(name, feature_name[f]) == 0) return fixed_feature(m, f);
    const int k = dg_case_info_structure(info_of(a, i), dot + 1);
    if (k < 0) return NAN;
    return name[0] == 'o' ? m->organ_overlap_percent[k] : m->organ_distance_mm[k];
}

static dg_status add_correlation(const analysis *a, const char *feature, const double *error, double *value,
                                 json_t *rows, double *p)
{
    dg_spearman s;
    for (int64_t i = 0; i < a->count; i++) value[i] = feature_of(a, i, feature);
    DG_TRY(dg_spearman_test(value, error, a->count, &s));
    *p = s.p;
    json_t *row = json_pack("{s:s, s:I, s:o, s:o, s:o, s:s}", "feature", feature, "n", (json_int_t)s.n, "rho",
                            dg_json_number(s.rho), "p", dg_json_number(s.p), "p_smallest", dg_json_number(s.p_smallest),
                            "method", s.exact ? "exact" : "student");
    json_array_append_new(rows, row);
    return DG_OK;
}

static dg_status correct(const analysis *a, const double *p, int64_t count, json_t *rows)
{
    double *adjusted = NULL;
    bool *significant = NULL;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&adjusted, count, "adjusted p"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&significant, count, "decisions"), cleanup);
    DG_TRY_GOTO(status, dg_holm(p, count, a->alpha, false, adjusted, significant), cleanup);
    for (int64_t i = 0; i < count; i++) {
        json_t *row = json_array_get(rows, (size_t)i);
        json_object_set_new(row, "p_holm", dg_json_number(adjusted[i]));
        json_object_set_new(row, "significant", isnan(p[i]) ? json_null() : json_boolean(significant[i]));
    }
cleanup:
    dg_free(&adjusted);
    dg_free(&significant);
    return status;
}

/* One condition: its error (the comparison's primary metric, averaged over seeds) against every feature. */
static dg_status correlate(const analysis *a, int64_t condition, const features *f, double *work, json_t **out)
{
    double *error = work, *value = work + a->count, *p = work + 2 * a->count;
    int64_t n = 0;
    json_t *rows = json_array();
    for (int64_t i = 0; i < a->count; i++) {
        error[i] = measured(a, i)
                       ? dg_compare_value(a->compare, condition, info_of(a, i)->id, dg_compare_primary(a->compare))
                       : NAN;
        n += !isnan(error[i]);
    }
    *out = json_pack("{s:s, s:s, s:I, s:b, s:o}", "condition", dg_compare_condition(a->compare, condition), "metric",
                     dg_compare_primary(a->compare), "n", (json_int_t)n, "exploratory", 1, "features", rows);
    if (*out == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for the correlations");
    for (int64_t i = 0; i < f->count; i++) DG_TRY(add_correlation(a, f->name[i], error, value, rows, &p[i]));
    return correct(a, p, f->count, rows);
}

static dg_status correlations_json(const analysis *a, json_t *all)
{
    features f = {0};
    double *work = NULL;
    dg_status status = a->compare == NULL ? DG_OK : list_features(a, &f);
    if (status == DG_OK) status = DG_NEW(&work, 2 * a->count + f.count, "correlations");
    for (int64_t c = 0; status == DG_OK && a->compare != NULL && c < dg_compare_conditions(a->compare); c++) {
        json_t *one = NULL;
        status = correlate(a, c, &f, work, &one);
        if (one != NULL) json_array_append_new(all, one);
    }
    dg_free(&f.name);
    dg_free(&work);
    return status;
}

/* ---- the whole ---------------------------------------------------------------------------------------------------- */

static json_t *settings_json(const analysis *a)
{
    return json_pack("{s:f, s:f, s:i, s:f, s:f}", "margin_mm", a->params.margin_mm, "bin_mm", a->params.bin_mm, "bins",
                     a->params.bins, "cutoff_percent", a->params.cutoff_percent, "alpha", a->alpha);
}

dg_status analyze_json(const analysis *a, json_t **out)
{
    double *value;
    json_t *cases = json_array(), *failed = json_array(), *correlations = json_array();
    char said[DG_ASSUMED_TEXT];
    int64_t assumed = 0;
    *out = NULL;
    for (int64_t i = 0; i < a->count; i++) {
        assumed += measured(a, i) && dg_case_info_assumed(info_of(a, i));
        if (measured(a, i))
            json_array_append_new(cases, case_json(a, i));
        else
            json_array_append_new(failed,
                                  json_pack("{s:s, s:s}", "case_id", info_of(a, i)->id, "reason", a->reason[i]));
    }
    dg_status status = DG_NEW(&value, a->count + 1, "doses of patients");
    if (status == DG_OK) status = correlations_json(a, correlations);
    if (status == DG_OK)
        *out = json_pack("{s:s, s:i, s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "format", "dosegrid-analysis", "version",
                         1, "settings", settings_json(a), "n_cases", (json_int_t)json_array_size(cases), "n_failed",
                         (json_int_t)json_array_size(failed), "n_without_dose", (json_int_t)a->without_dose, "failed",
                         json_incref(failed), "no_mans_land", spread_json(a, value), "correlations",
                         json_incref(correlations), "cases", json_incref(cases));
    if (status == DG_OK && *out == NULL) status = DG_FAIL(DG_ERR_MEMORY, "no memory for the analysis");
    dg_assumed_text(assumed, (int64_t)json_array_size(cases), said);
    if (status == DG_OK && said[0] != '\0') json_object_set_new(*out, "prescription_assumed", json_string(said));
    dg_free(&value);
    json_decref(cases);
    json_decref(failed);
    json_decref(correlations);
    return status;
}
