/* report_volumes.c - the volumes of a pictured case, and gamma under the settings of its evaluation.
 * SPDX-License-Identifier: Apache-2.0 */
#include "report_job_impl.h"

#include "dg_gamma.h"
#include "dg_mem.h"
#include "dg_predictions.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

void report_loaded_release(report_loaded *loaded)
{
    dg_free(&loaded->ct_hu);
    dg_free(&loaded->masks);
    for (int d = 0; d < DG_REPORT_DOSES; d++) {
        dg_free(&loaded->dose_gy[d]);
        dg_free(&loaded->gamma[d]);
    }
}

static bool same_grid(const dg_grid *a, const dg_grid *b)
{
    bool same = memcmp(a->shape, b->shape, sizeof a->shape) == 0;
    for (int k = 0; k < 3; k++)
        same =
            same && fabs(a->spacing_mm[k] - b->spacing_mm[k]) < 1e-6 && fabs(a->origin_mm[k] - b->origin_mm[k]) < 1e-3;
    for (int k = 0; k < 9; k++) same = same && fabs(a->direction[k] - b->direction[k]) < 1e-6;
    return same;
}

static dg_status read_prediction(const char *folder, const dg_case_info *info, float **dose_gy)
{
    dg_grid grid;
    DG_TRY(dg_prediction_read(folder, info->id, &grid, dose_gy));
    if (same_grid(&grid, &info->grid)) return DG_OK;
    dg_free(dose_gy);
    return DG_FAIL(DG_ERR_MISMATCH,
                   "the prediction of case %s has another grid than the cohort's case: evaluate and report with "
                   "the cohort it was made for",
                   info->id);
}

static dg_status read_case(const report_work *w, int64_t index, report_loaded *out)
{
    dg_case *c = NULL;
    dg_status status;
    const int64_t *shape = out->info.grid.shape;
    dg_box all = {.shape = {shape[0], shape[1], shape[2]}};
    int64_t voxels = dg_grid_voxels(&out->info.grid);
    DG_TRY(dg_case_open(w->cohort, index, &c));
    DG_TRY_GOTO(status, DG_NEW(&out->ct_hu, voxels, "CT of a case"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&out->dose_gy[0], voxels, "dose of a case"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&out->masks, voxels, "structures of a case"), cleanup);
    DG_TRY_GOTO(status, dg_case_read(c, DG_FIELD_CT_HU, 0, &all, out->ct_hu), cleanup);
    DG_TRY_GOTO(status, dg_case_read(c, DG_FIELD_DOSE_GY, 0, &all, out->dose_gy[0]), cleanup);
    status = dg_case_read_mask_bits(c, &all, out->masks);
cleanup:
    dg_case_close(&c);
    return status;
}

/* Calls nothing known outside the box where the reference dose is: 0 for gamma, then NaN for the eye. */
void report_fill_outside(const dg_case_info *info, float value, float *dose_gy)
{
    const int64_t *n = info->grid.shape, *start = info->dose_box.start, *shape = info->dose_box.shape;
    int64_t i = 0;
    for (int64_t z = 0; z < n[0]; z++)
        for (int64_t y = 0; y < n[1]; y++)
            for (int64_t x = 0; x < n[2]; x++, i++) {
                bool inside = z >= start[0] && z < start[0] + shape[0] && y >= start[1] && y < start[1] + shape[1] &&
                              x >= start[2] && x < start[2] + shape[2];
                if (!inside) dose_gy[i] = value;
            }
}

/* ---- gamma --------------------------------------------------------------------------------------------------------- */

static double setting(const json_t *object, const char *key, double fallback)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : fallback;
}

/* The first criterion of the evaluation; results that state no settings were made with the defaults. */
static dg_gamma_params gamma_params(const dg_results *results)
{
    const json_t *settings = dg_results_settings(results), *gamma = json_object_get(settings, "gamma");
    const json_t *criterion = json_array_get(json_object_get(settings, "criteria"), 0);
    const char *method = json_string_value(json_object_get(gamma, "method"));
    bool samples = method != NULL && strcmp(method, dg_gamma_method_name(DG_GAMMA_PYMEDPHYS)) == 0;
    return (dg_gamma_params){.method = samples ? DG_GAMMA_PYMEDPHYS : DG_GAMMA_CONTINUOUS,
                             .dose_percent = setting(criterion, "dose_percent", 3),
                             .distance_mm = setting(criterion, "distance_mm", 3),
                             .cutoff_percent = setting(gamma, "cutoff_percent", 10),
                             .max_gamma = setting(gamma, "max_gamma", 2),
                             .interp_fraction = setting(gamma, "interp_fraction", 10),
                             .local = json_is_true(json_object_get(gamma, "local"))};
}

static double largest(const float *dose_gy, int64_t voxels)
{
    float top = 0;
    for (int64_t i = 0; i < voxels; i++)
        if (dose_gy[i] > top) top = dose_gy[i];
    return top;
}

static int own_threads(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

static dg_status map_gamma(const dg_gamma_params *params, const dg_grid *grid, const float *reference,
                           const float *evaluated, float *gamma)
{
    double *axis[3] = {NULL, NULL, NULL};
    dg_gamma_dose dose[2] = {{.axes = 3, .dose_gy = reference}, {.axes = 3, .dose_gy = evaluated}};
    dg_status status = DG_OK;
    for (int a = 0; a < 3; a++) {
        DG_TRY_GOTO(status, DG_NEW(&axis[a], grid->shape[a], "axis of a grid"), cleanup);
        for (int64_t i = 0; i < grid->shape[a]; i++) axis[a][i] = (double)i * grid->spacing_mm[a];
        for (int k = 0; k < 2; k++) {
            dose[k].shape[a] = grid->shape[a];
            dose[k].axis_mm[a] = axis[a];
        }
    }
    status = dg_gamma_map(params, &dose[0], &dose[1], NULL, own_threads(), gamma);
cleanup:
    for (int a = 0; a < 3; a++) dg_free(&axis[a]);
    return status;
}

static dg_status add_gamma(const report_experiment *experiment, int64_t case_index, report_loaded *out)
{
    int64_t voxels = dg_grid_voxels(&out->info.grid);
    dg_gamma_params params = gamma_params(experiment->results);
    params.norm_gy = dg_results_value(experiment->results, case_index, "gamma.norm_gy", NULL);
    if (!(params.norm_gy > 0)) params.norm_gy = largest(out->dose_gy[0], voxels);
    if (!(params.norm_gy > 0)) return DG_OK; /* no dose, nothing to judge */
    for (int d = 1; d < DG_REPORT_DOSES; d++) {
        if (out->dose_gy[d] == NULL) continue;
        DG_TRY(DG_NEW(&out->gamma[d], voxels, "gamma of a case"));
        DG_TRY(map_gamma(&params, &out->info.grid, out->dose_gy[0], out->dose_gy[d], out->gamma[d]));
        out->view.gamma[d] = out->gamma[d];
    }
    out->view.max_gamma = params.max_gamma;
    snprintf(out->gamma_label, sizeof out->gamma_label, "%g %%/%g mm, %s, %% of %.2f Gy, cutoff %g %%, %s search",
             params.dose_percent, params.distance_mm, params.local ? "local" : "global", params.norm_gy,
             params.cutoff_percent, dg_gamma_method_name(params.method));
    return DG_OK;
}

/* ---- a case -------------------------------------------------------------------------------------------------------- */

/* The other run's prediction is welcome, not needed: without it the case is shown alone, and the note says why. */
static dg_status read_other(const report_experiment *other, report_loaded *out)
{
    dg_status status = read_prediction(other->predictions, &out->info, &out->dose_gy[2]);
    if (status == DG_OK || status == DG_ERR_MEMORY) return status;
    snprintf(out->note, sizeof out->note, "The other run has no usable prediction of this case (%s).",
             dg_status_name(status));
    dg_error_clear();
    return DG_OK;
}

static dg_status load(const report_work *w, const report_experiment *experiment, const report_experiment *other,
                      const report_pick *pick, const char *id, report_loaded *out)
{
    int64_t index = dg_cohort_find(w->cohort, id);
    if (index < 0) return DG_FAIL(DG_ERR_DATA, "it is not in the cohort; name the cohort of the evaluation");
    out->info = *dg_cohort_case(w->cohort, index);
    if (!out->info.has_dose) return DG_FAIL(DG_ERR_DATA, "the cohort's case has no dose");
    DG_TRY(read_case(w, index, out));
    DG_TRY(read_prediction(experiment->predictions, &out->info, &out->dose_gy[1]));
    if (other != NULL) DG_TRY(read_other(other, out));
    report_fill_outside(&out->info, 0, out->dose_gy[0]);
    DG_TRY(add_gamma(experiment, pick->index, out));
    report_fill_outside(&out->info, NAN, out->dose_gy[0]);
    return DG_OK;
}

dg_status report_load(const report_work *w, const report_experiment *experiment, const report_experiment *other,
                      const report_pick *pick, report_loaded *out)
{
    const char *id = dg_results_get_case(experiment->results, pick->index)->id;
    memset(out, 0, sizeof *out);
    dg_status status = load(w, experiment, other, pick, id, out);
    if (status != DG_OK) {
        report_loaded_release(out);
        return dg_error_context(status, "case %s", id);
    }
    dg_report_case *view = &out->view;
    view->id = out->info.id;
    view->why = pick->why;
    if (dg_case_info_assumed(&out->info)) {
        const size_t used = strlen(out->note);
        snprintf(out->note + used, sizeof out->note - used,
                 "%sPRESCRIPTION ASSUMED: no plan says the %g Gy that isodoses and per cent refer to.",
                 used > 0 ? " " : "", out->info.prescription_gy);
    }
    view->note = out->note;
    view->grid = &out->info.grid;
    view->ct_hu = out->ct_hu;
    for (int d = 0; d < DG_REPORT_DOSES; d++) view->dose_gy[d] = out->dose_gy[d];
    view->gamma_label = out->gamma_label;
    view->masks = out->masks;
    view->structure = out->info.structure;
    view->structure_count = out->info.structure_count;
    view->prescription_gy = out->info.prescription_gy;
    return DG_OK;
}
