/* evaluate_labels.c - `dosegrid evaluate` of segmentations: when that is asked for, by what, and its table.
 * SPDX-License-Identifier: Apache-2.0 */
#include "evaluate_impl.h"
#include "labels.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* What the first prediction that can be read holds. */
static bool predicts_labels(const evaluate_work *w)
{
    dg_prediction_info info;
    for (int64_t i = 0; i < w->count; i++) {
        if (dg_prediction_peek(w->s->predictions, w->chosen[i].id, &info) == DG_OK)
            return info.kind != DG_PREDICTION_DOSE;
        dg_error_clear();
    }
    return false;
}

dg_status evaluate_choose_target(evaluate_work *w)
{
    const evaluate_settings *s = w->s;
    dg_label_config *c = &w->labels;
    if (!predicts_labels(w)) return DG_OK;
    DG_TRY(dg_label_classes_make(&s->labels.foreground, &s->labels.background, &s->labels.ignore, c->class_of));
    if (s->perturb.count > 0)
        return DG_FAIL(DG_ERR_USAGE, "--perturb is of doses; these predictions are segmentations");
    if (w->config.compat == DG_COMPAT_UPSTREAM)
        return DG_FAIL(DG_ERR_USAGE, "--compat upstream is of doses; these predictions are segmentations");
    c->threshold = s->threshold;
    c->tolerance_mm = s->surface_tolerance.count > 0 ? s->surface_tolerance.value[0] : 0;
    c->touch = s->touch == 0 ? DG_TOUCH_FACE : DG_TOUCH_CORNER;
    c->skeleton = s->skeleton == 1 ? DG_SKELETON_CURVE : DG_SKELETON_SURFACE;
    c->challenge = s->challenge;
    c->watershed = s->instances == 1;
    if (s->fraction_band.count == 2) memcpy(c->band, s->fraction_band.value, sizeof c->band);
    if (s->fraction_band.count == 2 && !(c->band[0] < c->band[1]))
        return DG_FAIL(DG_ERR_USAGE, "--fraction-band [%g, %g]: the first is the lower one", c->band[0], c->band[1]);
    w->config.labels = c;
    return DG_OK;
}

static double real_of(const json_t *value) { return json_is_number(value) ? json_number_value(value) : NAN; }

static void print_row(const char *name, const json_t *metric)
{
    const json_t *interval = json_object_get(metric, "interval_95");
    const double shown[] = {real_of(json_object_get(metric, "mean")), real_of(json_object_get(metric, "std")),
                            real_of(json_array_get(interval, 0)), real_of(json_array_get(interval, 1))};
    printf("%-26s %5lld", name, (long long)json_integer_value(json_object_get(metric, "n_cases")));
    for (int k = 0; k < 4; k++) {
        if (isnan(shown[k]))
            printf(" %10s", "-");
        else
            printf(" %10.4f", shown[k]);
    }
    printf("\n");
}

void evaluate_print_labels(const json_t *aggregate)
{
    static const char *const groups[] = {"segmentation_metrics", "challenge"};
    const json_t *fraction = json_object_get(aggregate, "foreground_fraction");
    const json_t *limits = json_object_get(fraction, "limits_of_agreement");
    printf("\n%-26s %5s %10s %10s %10s %10s\n", "metric", "cases", "mean", "std", "95 % from", "to");
    for (int k = 0; k < 2; k++) {
        json_t *group = json_object_get(aggregate, groups[k]), *metric;
        const char *name;
        if (json_object_size(group) > 0 && k == 1) printf("Vesuvius challenge\n");
        json_object_foreach(group, name, metric) print_row(name, metric);
    }
    printf("predicted minus labelled fraction: bias %.4f", real_of(json_object_get(fraction, "bias")));
    if (json_is_number(json_array_get(limits, 0)))
        printf(", limits of agreement %.4f to %.4f", real_of(json_array_get(limits, 0)),
               real_of(json_array_get(limits, 1)));
    printf("\n");
    if (json_object_get(fraction, "outside_band") != NULL)
        printf("cases with a predicted fraction outside the band: %lld\n",
               (long long)json_integer_value(json_object_get(fraction, "outside_band")));
}
