/* dg_upstream_evaluation.c - see dg_upstream_evaluation.h: doses, warnings and the cohort's means.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_upstream_evaluation.h"
#include "dg_mem.h"
#include "upstream_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double PRIMARY_GY = 70; /* its warnings know one prescription only */

void upstream_put(json_t *object, const char *key, json_t *value, bool *failed)
{
    if (json_object_set_new(object, key, value) != 0) *failed = true;
}

void upstream_put_number(json_t *object, const char *key, double value, bool *failed)
{
    upstream_put(object, key, isfinite(value) ? json_real(value) : json_null(), failed);
}

double upstream_prescription_gy(const char *structure)
{
    char *end;
    if (strncmp(structure, "PTV", 3) != 0 || structure[3] < '0' || structure[3] > '9') return 0;
    const double gy = strtod(structure + 3, &end);
    return *end == '\0' && isfinite(gy) ? gy : 0;
}

/* ---- volumes ----------------------------------------------------------------------------------------------------- */

/* Position in the given arrays of voxel (a, b, c) of the reference's (y, x, z). */
static int64_t source_index(const dg_upstream_case *in, int64_t a, int64_t b, int64_t c)
{
    if (in->zyx) return (c * in->shape[1] + a) * in->shape[2] + b;
    return (a * in->shape[1] + b) * in->shape[2] + c;
}

static dg_status make_volumes(const dg_upstream_case *in, upstream_volumes *v)
{
    static const int FROM_ZYX[3] = {1, 2, 0};
    v->voxels = 1;
    for (int a = 0; a < 3; a++) {
        const int from = in->zyx ? FROM_ZYX[a] : a;
        v->shape[a] = in->shape[from];
        v->spacing_mm[a] = in->spacing_mm[from];
        v->voxels *= v->shape[a];
    }
    v->structure = in->structure;
    v->structure_count = in->structure_count;
    v->threads = in->threads;
    DG_TRY(DG_NEW(&v->target_gy, v->voxels, "reference dose"));
    DG_TRY(DG_NEW(&v->pred_gy, v->voxels, "prediction"));
    DG_TRY(DG_NEW(&v->masks, v->voxels, "masks"));
    for (int64_t a = 0, i = 0; a < v->shape[0]; a++)
        for (int64_t b = 0; b < v->shape[1]; b++)
            for (int64_t c = 0; c < v->shape[2]; c++, i++) {
                const int64_t from = source_index(in, a, b, c);
                v->target_gy[i] = in->target[from] * (float)in->scale_gy; /* a float32 product */
                v->pred_gy[i] = in->prediction[from] * (float)in->scale_gy;
                v->masks[i] = in->masks[from];
            }
    return DG_OK;
}

static void free_volumes(upstream_volumes *v)
{
    dg_free(&v->target_gy);
    dg_free(&v->pred_gy);
    dg_free(&v->masks);
}

static dg_status check_input(const dg_upstream_case *in)
{
    for (int a = 0; a < 3; a++)
        if (in->shape[a] < 1 || in->shape[a] > 16384 || !(in->spacing_mm[a] > 0 && isfinite(in->spacing_mm[a])))
            return DG_FAIL(DG_ERR_USAGE, "case %.80s: axis %d has %lld voxels of %g mm", in->case_id, a,
                           (long long)in->shape[a], in->spacing_mm[a]);
    if (!(in->scale_gy > 0 && isfinite(in->scale_gy)))
        return DG_FAIL(DG_ERR_USAGE, "case %.80s: doses in units of %g Gy; it must be above 0", in->case_id,
                       in->scale_gy);
    if (in->gamma_subsample < 0 || in->structure_count < 0 || in->structure_count > 64)
        return DG_FAIL(DG_ERR_USAGE, "case %.80s: gamma on every %d. voxel, %d structures: at least 0, and at most 64",
                       in->case_id, in->gamma_subsample, in->structure_count);
    return DG_OK;
}

/* ---- warnings ---------------------------------------------------------------------------------------------------- */

/* A number as Python prints it: no sign before nan. */
static void python_number(double value, int decimals, char text[64])
{
    if (isnan(value))
        snprintf(text, 64, "nan");
    else
        snprintf(text, 64, "%.*f", decimals, value);
}

static void warn(json_t *warnings, const char *label, const char *text, bool *failed)
{
    char line[240];
    snprintf(line, sizeof line, "%s: %s", label, text);
    if (json_array_append_new(warnings, json_string(line)) != 0) *failed = true;
}

static void warn_of(const float *gy, int64_t voxels, const char *label, json_t *warnings, bool *failed)
{
    int64_t nans = 0, infinite = 0, negative = 0;
    double low = INFINITY, high = -INFINITY;
    char text[200], number[64], limit[64];
    for (int64_t i = 0; i < voxels; i++) {
        nans += isnan(gy[i]) != 0;
        infinite += isinf(gy[i]) != 0;
        negative += gy[i] < 0;
        low = fmin(low, gy[i]); /* NaN are left out */
        high = fmax(high, gy[i]);
    }
    if (nans > 0) {
        snprintf(text, sizeof text, "%lld NaN values detected", (long long)nans);
        warn(warnings, label, text, failed);
    }
    if (infinite > 0) {
        snprintf(text, sizeof text, "%lld Inf values detected", (long long)infinite);
        warn(warnings, label, text, failed);
    }
    if (negative > 0) {
        python_number(nans > 0 ? NAN : low, 3, number);
        snprintf(text, sizeof text, "%lld negative values (min=%s Gy)", (long long)negative, number);
        warn(warnings, label, text, failed);
    }
    if (high > PRIMARY_GY * 1.2) {
        python_number(high, 1, number);
        python_number(PRIMARY_GY * 1.2, 1, limit);
        snprintf(text, sizeof text, "max dose %s Gy exceeds 120%% of Rx (%s Gy)", number, limit);
        warn(warnings, label, text, failed);
    }
}

static void sanitize(float *gy, int64_t voxels)
{
    for (int64_t i = 0; i < voxels; i++)
        if (!isfinite(gy[i]) || gy[i] < 0) gy[i] = 0;
}

/* ---- dose metrics ------------------------------------------------------------------------------------------------ */

/* Mean |difference| of the voxels whose masks have the bits (0: all) and whose target is at least `least_gy`; NaN
 * for none. */
static double mean_error(const upstream_volumes *v, uint64_t bits, float least_gy)
{
    double sum = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < v->voxels; i++) {
        if ((bits != 0 && (v->masks[i] & bits) == 0) || v->target_gy[i] < least_gy) continue;
        sum += fabsf(v->pred_gy[i] - v->target_gy[i]);
        count++;
    }
    return count == 0 ? NAN : sum / (double)count;
}

static void dose_metrics(const upstream_volumes *v, json_t *out, bool *failed)
{
    static const double PERCENTS[] = {10, 50, 90};
    double square = 0, worst = 0, pred = 0, target = 0;
    float pred_max = 0, target_max = 0;
    json_t *structures = json_object();
    for (int64_t i = 0; i < v->voxels; i++) {
        const double difference = v->pred_gy[i] - v->target_gy[i]; /* rounded to float32 */
        square += difference * difference;
        worst = fmax(worst, fabs(difference));
        pred += v->pred_gy[i];
        target += v->target_gy[i];
        pred_max = fmaxf(pred_max, v->pred_gy[i]);
        target_max = fmaxf(target_max, v->target_gy[i]);
    }
    upstream_put_number(out, "mae_gy", mean_error(v, 0, 0), failed);
    upstream_put_number(out, "rmse_gy", sqrt(square / (double)v->voxels), failed);
    upstream_put_number(out, "max_error_gy", worst, failed);
    upstream_put_number(out, "pred_max_gy", pred_max, failed);
    upstream_put_number(out, "target_max_gy", target_max, failed);
    upstream_put_number(out, "pred_mean_gy", pred / (double)v->voxels, failed);
    upstream_put_number(out, "target_mean_gy", target / (double)v->voxels, failed);
    for (size_t p = 0; p < sizeof PERCENTS / sizeof *PERCENTS; p++) {
        char key[32];
        snprintf(key, sizeof key, "mae_gy_above_%gpct", PERCENTS[p]);
        upstream_put_number(out, key, mean_error(v, 0, (float)(PERCENTS[p] / 100) * target_max), failed);
    }
    for (int k = 0; k < v->structure_count; k++) {
        const double mae = mean_error(v, (uint64_t)1 << k, 0);
        if (!isnan(mae)) upstream_put_number(structures, v->structure[k], mae, failed);
    }
    upstream_put(out, "per_structure_mae", structures, failed);
}

/* ---- a case ------------------------------------------------------------------------------------------------------ */

static dg_status fill_case(const dg_upstream_case *in, upstream_volumes *v, json_t *out, bool *failed)
{
    json_t *doses = json_object(), *gamma = json_object(), *dvh = json_object(), *constraints = json_object();
    json_t *warnings = json_array();
    upstream_put(out, "case_id", json_string(in->case_id), failed);
    upstream_put(out, "spacing_mm", json_pack("[f, f, f]", v->spacing_mm[0], v->spacing_mm[1], v->spacing_mm[2]),
                 failed);
    upstream_put(out, "dose_metrics", doses, failed);
    upstream_put(out, "gamma", gamma, failed);
    upstream_put(out, "dvh_metrics", dvh, failed);
    upstream_put(out, "clinical_constraints", constraints, failed);
    upstream_put(out, "validation_warnings", warnings, failed);
    upstream_put(out, "framework_version", json_string("1.0.0"), failed);
    if (*failed) return DG_OK;
    warn_of(v->pred_gy, v->voxels, "predicted", warnings, failed);
    warn_of(v->target_gy, v->voxels, "target", warnings, failed);
    sanitize(v->pred_gy, v->voxels);
    sanitize(v->target_gy, v->voxels);
    dose_metrics(v, doses, failed);
    if (in->gamma_subsample > 0) DG_TRY(upstream_gamma(v, in->gamma_subsample, gamma, failed));
    DG_TRY(upstream_dvh(v, dvh, failed));
    return upstream_constraints(dvh, constraints, failed);
}

dg_status dg_upstream_evaluate(const dg_upstream_case *input, json_t **out)
{
    upstream_volumes v = {.target_gy = NULL};
    bool failed = false;
    dg_status status;
    *out = NULL;
    DG_TRY(check_input(input));
    DG_TRY_GOTO(status, make_volumes(input, &v), cleanup);
    *out = json_object();
    DG_TRY_GOTO(status, fill_case(input, &v, *out, &failed), cleanup);
    if (failed) status = DG_FAIL(DG_ERR_MEMORY, "case %.80s: no memory for its results", input->case_id);
cleanup:
    free_volumes(&v);
    if (status != DG_OK) {
        json_decref(*out);
        *out = NULL;
    }
    return status;
}

/* ---- the cohort -------------------------------------------------------------------------------------------------- */

typedef struct spread {
    int64_t count;
    double mean, std; /* ddof 0 */
} spread;

/* Of the numbers at case.a.b.c (c may be NULL); what is null or absent is left out. */
static spread spread_of(const json_t *cases, const char *a, const char *b, const char *c)
{
    spread s = {0};
    double square = 0;
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < json_array_size(cases); i++) {
            const json_t *value = json_object_get(json_object_get(json_array_get(cases, i), a), b);
            if (c != NULL) value = json_object_get(value, c);
            if (!json_is_number(value)) continue;
            const double x = json_number_value(value);
            if (pass == 0) {
                s.count++;
                s.mean += x;
            } else {
                square += (x - s.mean / (double)s.count) * (x - s.mean / (double)s.count);
            }
        }
    s.std = s.count == 0 ? NAN : sqrt(square / (double)s.count);
    s.mean = s.count == 0 ? NAN : s.mean / (double)s.count;
    return s;
}

static void put_spread(json_t *out, const char *name, spread s, bool *failed)
{
    char key[64];
    if (s.count == 0) return;
    snprintf(key, sizeof key, "%s_mean", name);
    upstream_put_number(out, key, s.mean, failed);
    snprintf(key, sizeof key, "%s_std", name);
    upstream_put_number(out, key, s.std, failed);
}

static void put_structures(json_t *out, const json_t *cases, bool *failed)
{
    json_t *all = json_object();
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *doses = json_object_get(json_array_get(cases, i), "dose_metrics");
        json_t *one = json_object_get(doses, "per_structure_mae"), *value;
        const char *name;
        json_object_foreach(one, name, value)
        {
            if (json_object_get(all, name) != NULL) continue;
            const spread s = spread_of(cases, "dose_metrics", "per_structure_mae", name);
            upstream_put(all, name,
                         json_pack("{s:f, s:f, s:I}", "mean", s.mean, "std", s.std, "n_cases", (json_int_t)s.count),
                         failed);
        }
    }
    if (json_object_size(all) > 0)
        upstream_put(out, "per_structure_mae", all, failed);
    else
        json_decref(all);
}

json_t *dg_upstream_aggregate(const json_t *cases)
{
    bool failed = false;
    json_t *out = json_object();
    put_spread(out, "mae_gy", spread_of(cases, "dose_metrics", "mae_gy", NULL), &failed);
    put_spread(out, "gamma_pass_rate", spread_of(cases, "gamma", "global_3mm3pct", "gamma_pass_rate"), &failed);
    put_spread(out, "ptv_gamma_pass_rate", spread_of(cases, "gamma", "ptv_region_3mm3pct", "gamma_pass_rate"), &failed);
    put_structures(out, cases, &failed);
    if (!failed) return out;
    json_decref(out);
    return NULL;
}
