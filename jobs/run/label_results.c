/* label_results.c - see label_evaluation.h: segmentations in the results file. SPDX-License-Identifier: Apache-2.0 */
#include "dg_bootstrap.h"
#include "dg_mem.h"
#include "evaluation_impl.h"
#include "label_evaluation.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BINS = 20 };
static const double INTERVAL = 0.95, LIMITS = 1.96;
static const char *const groups[] = {"segmentation_metrics", "challenge"};

static json_t *number(double value) { return isfinite(value) ? json_real(value) : json_null(); }
static json_t *text_or_null(const char *text) { return text[0] != '\0' ? json_string(text) : json_null(); }

json_t *dg_label_settings_json(const dg_label_config *c)
{
    json_t *foreground = json_array(), *background = json_array(), *ignore = json_array();
    json_t *const list[] = {NULL, background, foreground, ignore};
    for (int value = 0; value < 256; value++)
        if (c->class_of[value] != 0) json_array_append_new(list[c->class_of[value]], json_integer(value));
    json_t *object =
        json_pack("{s:s, s:o, s:o, s:o, s:f, s:o, s:i, s:b}", "target", "labels", "foreground", foreground,
                  "background", background, "ignore", ignore, "threshold", c->threshold, "surface_tolerance_mm",
                  c->tolerance_mm > 0 ? json_real(c->tolerance_mm) : json_string("auto"), "touch", (int)c->touch,
                  "challenge", (int)c->challenge);
    json_object_set_new(object, "skeleton", json_string(c->skeleton == DG_SKELETON_CURVE ? "curve" : "surface"));
    json_object_set_new(object, "instances", json_string(c->watershed ? "watershed" : "components"));
    if (c->band[1] > 0) json_object_set_new(object, "fraction_band", json_pack("[f, f]", c->band[0], c->band[1]));
    return object;
}

json_t *dg_label_case_json(const dg_case_result *r)
{
    json_t *object = json_object(), *rest = json_loads(dg_case_text(r), 0, NULL);
    json_object_set_new(object, "case_id", json_string(r->id));
    json_object_set_new(object, "group", text_or_null(r->group));
    json_object_set_new(object, "spacing_mm_zyx",
                        json_pack("[f, f, f]", r->spacing_mm[0], r->spacing_mm[1], r->spacing_mm[2]));
    json_object_set_new(object, "case_sha256", json_string(r->case_sha256));
    json_object_set_new(object, "weights_sha256", json_string(r->model_sha256));
    json_object_update(object, rest);
    json_decref(rest);
    return object;
}

/* ---- over cases ------------------------------------------------------------------------------------------------------ */

/* Entries of the cases that did not fail. */
typedef struct entries {
    json_t **entry; /* [count], owned */
    const char **model;
    double *value; /* [count], scratch */
    int64_t count;
} entries;

static dg_status make_entries(const dg_case_result *const *results, int64_t count, entries *e)
{
    DG_TRY(DG_NEW(&e->entry, count + 1, "entries of cases"));
    DG_TRY(DG_NEW(&e->model, count + 1, "entries of cases"));
    DG_TRY(DG_NEW(&e->value, count + 1, "values of cases"));
    for (int64_t i = 0; i < count; i++) {
        if (results[i]->failed) continue;
        e->model[e->count] = results[i]->model_sha256;
        e->entry[e->count++] = json_loads(dg_case_text(results[i]), 0, NULL);
    }
    return DG_OK;
}

static void release(entries *e)
{
    for (int64_t i = 0; i < e->count; i++) json_decref(e->entry[i]);
    dg_free(&e->entry);
    dg_free(&e->model);
    dg_free(&e->value);
}

/* Values of a metric in the order of the cases, of one network's or (NULL) of all, where there is a number. */
static int64_t take(const entries *e, const char *group, const char *metric, const char *model)
{
    int64_t n = 0;
    for (int64_t i = 0; i < e->count; i++) {
        const json_t *value = json_object_get(json_object_get(e->entry[i], group), metric);
        if (json_is_number(value) && (model == NULL || strcmp(model, e->model[i]) == 0))
            e->value[n++] = json_number_value(value);
    }
    return n;
}

static void moments(const double *value, int64_t n, double *mean, double *deviation)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) sum += value[i];
    *mean = n > 0 ? sum / (double)n : NAN;
    for (int64_t i = 0; i < n; i++) squares += (value[i] - *mean) * (value[i] - *mean);
    *deviation = n > 1 ? sqrt(squares / (double)(n - 1)) : NAN;
}

static json_t *metric_json(const entries *e, const char *group, const char *metric, const dg_evaluation_config *config)
{
    const int64_t n = take(e, group, metric, NULL);
    dg_interval interval = {NAN, NAN};
    double mean, deviation;
    moments(e->value, n, &mean, &deviation);
    if (n > 1 && dg_bootstrap_mean(e->value, n, DG_BOOTSTRAP_AUTO, config->resamples, config->seed, INTERVAL,
                                   &interval) != DG_OK)
        return NULL;
    return json_pack("{s:I, s:o, s:o, s:[o, o]}", "n_cases", (json_int_t)n, "mean", number(mean), "std",
                     number(deviation), "interval_95", number(interval.low), number(interval.high));
}

static json_t *group_json(const entries *e, const char *group, const dg_evaluation_config *config)
{
    json_t *object = json_object(), *value;
    const char *metric;
    if (e->count == 0) return object;
    json_object_foreach(json_object_get(e->entry[0], group), metric, value)
    {
        if (json_is_object(value) || strcmp(metric, "n_voxels") == 0 || strcmp(metric, "surface_tolerance_mm") == 0)
            continue;
        json_object_set_new(object, metric, metric_json(e, group, metric, config));
    }
    return object;
}

/* Counts in equal bins over -most .. most; a value at an inner edge belongs to the bin above. */
static json_t *histogram_json(const double *value, int64_t n)
{
    int64_t bin[BINS] = {0};
    double most = 0;
    json_t *counts = json_array();
    for (int64_t i = 0; i < n; i++) most = fmax(most, fabs(value[i]));
    if (most == 0) most = 1;
    for (int64_t i = 0; i < n; i++) {
        const int k = (int)((value[i] + most) / (2 * most) * BINS);
        bin[k < BINS ? k : BINS - 1]++;
    }
    for (int k = 0; k < BINS; k++) json_array_append_new(counts, json_integer(bin[k]));
    return json_pack("{s:f, s:f, s:o}", "low", -most, "high", most, "counts", counts);
}

/* Predicted minus labelled fraction: bias and limits of agreement (Bland and Altman, Lancet 327, 1986). */
static json_t *fraction_json(const entries *e, const dg_label_config *config)
{
    double bias, deviation;
    const int64_t n = take(e, groups[0], "fraction_error", NULL);
    moments(e->value, n, &bias, &deviation);
    json_t *object = json_pack("{s:I, s:o, s:[o, o], s:o}", "n_cases", (json_int_t)n, "bias", number(bias),
                               "limits_of_agreement", number(bias - LIMITS * deviation),
                               number(bias + LIMITS * deviation), "histogram", histogram_json(e->value, n));
    if (config->band[1] <= 0) return object;
    const int64_t predicted = take(e, groups[0], "predicted_fraction", NULL);
    int64_t outside = 0;
    for (int64_t i = 0; i < predicted; i++) outside += e->value[i] < config->band[0] || e->value[i] > config->band[1];
    json_object_set_new(object, "outside_band", json_integer(outside));
    return object;
}

/* By network: of folds that each predicted their own cases into one folder, by fold. */
static json_t *networks_json(const entries *e)
{
    static const char *const shown[] = {"dice", "cldice", "surface_dice", "betti_error", "fraction_error"};
    json_t *list = json_array();
    for (int64_t i = 0; i < e->count; i++) {
        bool seen = false;
        for (int64_t k = 0; k < i && !seen; k++) seen = strcmp(e->model[k], e->model[i]) == 0;
        if (seen) continue;
        json_t *object = json_pack("{s:s}", "weights_sha256", e->model[i]);
        for (size_t k = 0; k < sizeof shown / sizeof *shown; k++) {
            double mean, deviation;
            const int64_t n = take(e, groups[0], shown[k], e->model[i]);
            moments(e->value, n, &mean, &deviation);
            if (k == 0) json_object_set_new(object, "n_cases", json_integer(n));
            json_object_set_new(object, shown[k],
                                json_pack("{s:o, s:o}", "mean", number(mean), "std", number(deviation)));
        }
        json_array_append_new(list, object);
    }
    return list;
}

json_t *dg_label_aggregate_json(const dg_case_result *const *results, int64_t count, const dg_evaluation_config *config)
{
    entries e = {.count = 0};
    json_t *object = NULL;
    if (make_entries(results, count, &e) == DG_OK) {
        object = json_pack("{s:I}", "n_cases", (json_int_t)e.count);
        for (int k = 0; k < (config->labels->challenge ? 2 : 1); k++)
            json_object_set_new(object, groups[k], group_json(&e, groups[k], config));
        json_object_set_new(object, "foreground_fraction", fraction_json(&e, config->labels));
        json_object_set_new(object, "by_network", networks_json(&e));
    }
    release(&e);
    return object;
}
