/* report_labels.c - segmentations in a report: distributions over cases, and label and prediction over the scan.
 * SPDX-License-Identifier: Apache-2.0 */
#include "report_job_impl.h"

#include "dg_mem.h"
#include "dg_predictions.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char metric_of_labels[] = "segmentation_metrics.dice";

bool report_is_of_labels(const dg_results *results)
{
    return results != NULL && dg_results_has_metric(results, metric_of_labels);
}

/* ---- distributions --------------------------------------------------------------------------------------------------- */

enum { PANELS = 6, BOXES = 4 };
static const struct {
    const char *title, *unit;
    double line;
    struct {
        const char *metric, *label;
    } box[BOXES];
} panels[PANELS] = {{"Overlap",
                     "",
                     NAN,
                     {{"segmentation_metrics.dice", "Dice"},
                      {"segmentation_metrics.iou", "IoU"},
                      {"segmentation_metrics.precision", "precision"},
                      {"segmentation_metrics.recall", "recall"}}},
                    {"Surface and challenge",
                     "",
                     NAN,
                     {{"segmentation_metrics.surface_dice", "surface Dice"},
                      {"challenge.topology_score", "topology"},
                      {"challenge.voi_score", "VOI"},
                      {"challenge.score", "challenge"}}},
                    {"Skeletons",
                     "",
                     NAN,
                     {{"segmentation_metrics.cldice", "clDice"},
                      {"segmentation_metrics.topology_precision", "precision"},
                      {"segmentation_metrics.topology_sensitivity", "sensitivity"}}},
                    {"Distances",
                     "mm",
                     NAN,
                     {{"segmentation_metrics.hausdorff95_mm", "Hausdorff 95"},
                      {"segmentation_metrics.mean_surface_distance_mm", "mean"}}},
                    {"Betti number errors",
                     "",
                     NAN,
                     {{"segmentation_metrics.betti0_error", "components"},
                      {"segmentation_metrics.betti1_error", "tunnels"},
                      {"segmentation_metrics.betti2_error", "cavities"}}},
                    {"Fraction, pred. - labelled", "", 0, {{"segmentation_metrics.fraction_error", "fraction"}}}};

dg_status report_label_boxes(const dg_results *results, const dg_figure_output *output, dg_figure_result *result)
{
    const int64_t cases = dg_results_case_count(results);
    dg_figure_box_panel panel[PANELS];
    dg_figure_box box[PANELS][BOXES];
    double *value = NULL;
    DG_TRY(DG_NEW(&value, PANELS * BOXES * (cases > 0 ? cases : 1), "values of a figure"));
    for (int p = 0; p < PANELS; p++) {
        panel[p] = (dg_figure_box_panel){
            .title = panels[p].title, .unit = panels[p].unit, .box = box[p], .line = panels[p].line};
        for (int b = 0; b < BOXES && panels[p].box[b].metric != NULL; b++) {
            if (!dg_results_has_metric(results, panels[p].box[b].metric)) continue;
            double *own = value + (p * BOXES + b) * cases;
            for (int64_t i = 0; i < cases; i++) own[i] = dg_results_value(results, i, panels[p].box[b].metric, NULL);
            box[p][panel[p].count++] = (dg_figure_box){.label = panels[p].box[b].label, .value = own, .count = cases};
        }
    }
    const dg_status status = dg_figure_per_case_boxplots(output, panel, PANELS, result);
    dg_free(&value);
    return status;
}

/* ---- overlays -------------------------------------------------------------------------------------------------------- */

enum { BIT_LABEL = 1, BIT_PREDICTION = 2 };

/* Bits of the foreground, by what the evaluation took for it. */
static dg_status read_masks(const report_experiment *e, dg_case *c, const dg_box *whole, float *spare, uint64_t *bits)
{
    const json_t *settings = dg_results_settings(e->results), *foreground = json_object_get(settings, "foreground");
    const json_t *threshold = json_object_get(settings, "threshold");
    const int64_t voxels = dg_box_voxels(whole);
    const dg_case_info *info = dg_case_get_info(c);
    dg_prediction_info found;
    bool is_foreground[256] = {false};
    for (size_t k = 0; k < json_array_size(foreground); k++)
        is_foreground[json_integer_value(json_array_get(foreground, k)) & 255] = true;
    DG_TRY(dg_case_read(c, DG_FIELD_LABEL, 0, whole, spare));
    for (int64_t i = 0; i < voxels; i++) bits[i] = is_foreground[(int)spare[i]] ? BIT_LABEL : 0;
    DG_TRY(dg_prediction_peek(e->predictions, info->id, &found));
    if (memcmp(found.grid.shape, info->grid.shape, sizeof found.grid.shape) != 0)
        return DG_FAIL(DG_ERR_DATA, "case %s: the prediction has another grid than the case", info->id);
    DG_TRY(dg_prediction_read_probability(e->predictions, info->id, 0, info->grid.shape[0], &found, spare));
    const double limit = found.kind == DG_PREDICTION_LABEL ? 0.5 : json_number_value(threshold);
    for (int64_t i = 0; i < voxels; i++)
        if ((double)spare[i] >= limit) bits[i] |= BIT_PREDICTION;
    return DG_OK;
}

static dg_status draw_case(const report_experiment *e, dg_case *c, const report_pick *pick,
                           const dg_figure_output *output, dg_figure_result *result)
{
    static const dg_structure structure[2] = {{.name = "label", .role = DG_ROLE_TARGET},
                                              {.name = "prediction", .role = DG_ROLE_OAR}};
    const dg_case_info *info = dg_case_get_info(c);
    const int64_t *n = info->grid.shape, voxels = dg_grid_voxels(&info->grid);
    const dg_box whole = {.shape = {n[0], n[1], n[2]}};
    char name[DG_FIGURE_NAME];
    float *scan = NULL, *spare = NULL;
    uint64_t *bits = NULL;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&scan, voxels, "scan"), done);
    DG_TRY_GOTO(status, DG_NEW(&spare, voxels, "labels"), done);
    DG_TRY_GOTO(status, DG_NEW(&bits, voxels, "masks"), done);
    DG_TRY_GOTO(status, read_masks(e, c, &whole, spare, bits), done);
    DG_TRY_GOTO(status, dg_case_read(c, DG_FIELD_CT_HU, 0, &whole, scan), done);
    dg_figure_case data = {.case_id = info->id,
                           .pick = pick->pick,
                           .grid = &info->grid,
                           .ct_hu = scan,
                           .masks = bits,
                           .structure = structure,
                           .structure_count = 2,
                           .title = "Label and prediction",
                           .ct_window = {INFINITY, -INFINITY}};
    for (int64_t i = 0; i < voxels; i++) {
        data.ct_window[0] = fmin(data.ct_window[0], (double)scan[i]);
        data.ct_window[1] = fmax(data.ct_window[1], (double)scan[i]);
    }
    if (!(data.ct_window[0] < data.ct_window[1])) data.ct_window[1] = data.ct_window[0] + 1;
    snprintf(name, sizeof name, "fig12_overlay_%s", dg_figure_pick_name(pick->pick));
    status = dg_figure_contact(output, &data, name, result);
    if (status == DG_OK && result->drawn)
        snprintf(
            result->caption, sizeof result->caption,
            "Case %.120s (%.150s): outlines of label and prediction over the scan, in three planes through the label.",
            info->id, pick->why);
done:
    dg_free(&scan);
    dg_free(&spare);
    dg_free(&bits);
    return status;
}

dg_status report_label_overlay(const report_work *w, const report_experiment *e, const report_pick *pick,
                               const dg_figure_output *output, dg_figure_result *result)
{
    const char *id = dg_results_get_case(e->results, pick->index)->id;
    const int64_t index = dg_cohort_find(w->cohort, id);
    dg_case *c = NULL;
    if (index < 0) return DG_FAIL(DG_ERR_DATA, "case %s is not in the cohort of --cohort", id);
    DG_TRY(dg_case_open(w->cohort, index, &c));
    const dg_status status = draw_case(e, c, pick, output, result);
    dg_case_close(&c);
    return status;
}
