/* figure_dvh.c - cumulative dose-volume histograms of a case, reference solid and prediction dashed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "figure_impl.h"

#include "dg_dvh.h"
#include "dg_mem.h"

#include <math.h>

enum { DVH_POINTS = 320 };

/* The voxels of structures where both doses are known. */
static dg_status known_masks(const dg_figure_case *data, uint64_t **out, float **reference, float **prediction)
{
    int64_t voxels = dg_grid_voxels(data->grid);
    DG_TRY(DG_NEW(out, voxels, "masks of known dose"));
    DG_TRY(DG_NEW(reference, voxels, "known reference dose"));
    DG_TRY(DG_NEW(prediction, voxels, "known prediction"));
    for (int64_t i = 0; i < voxels; i++) {
        if (!isfinite(data->reference_gy[i]) || !isfinite(data->prediction_gy[i])) continue;
        (*out)[i] = data->structure_count > 0 ? data->masks[i] : 0;
        (*reference)[i] = data->reference_gy[i];
        (*prediction)[i] = data->prediction_gy[i];
    }
    return DG_OK;
}

static dg_status put_curve(dg_plot *plot, const dg_figure_case *data, const uint64_t *masks, const float *dose[2],
                           int k, double last_gy)
{
    char name[PLOT_FILE_NAME];
    dg_dvh dvh[2] = {{0}};
    int64_t voxels = dg_grid_voxels(data->grid);
    const double *spacing = data->grid->spacing_mm;
    double cell = spacing[0] * spacing[1] * spacing[2];
    dg_status status = dg_dvh_create(dose[0], masks, (uint64_t)1 << k, voxels, cell, &dvh[0]);
    if (status == DG_OK) status = dg_dvh_create(dose[1], masks, (uint64_t)1 << k, voxels, cell, &dvh[1]);
    snprintf(name, sizeof name, "dvh%d.dat", k);
    dg_plot_data(plot, name);
    for (int i = 0; i <= DVH_POINTS && status == DG_OK; i++) {
        double gy = last_gy * i / DVH_POINTS;
        dg_plot_row(plot, 3, (double[]){gy, dg_dvh_volume_percent(&dvh[0], gy), dg_dvh_volume_percent(&dvh[1], gy)});
    }
    dg_plot_data_end(plot);
    dg_dvh_release(&dvh[0]);
    dg_dvh_release(&dvh[1]);
    return status;
}

static double largest_dose(const dg_figure_case *data, const uint64_t *masks)
{
    int64_t voxels = dg_grid_voxels(data->grid);
    double largest = 0;
    for (int64_t i = 0; i < voxels; i++) {
        if (masks[i] != 0) largest = fmax(largest, fmax(data->reference_gy[i], data->prediction_gy[i]));
    }
    return largest;
}

static dg_status draw(dg_plot *plot, const dg_figure_case *data, const uint64_t *masks, const float *dose[2],
                      const bool *shown, int count)
{
    double legend = 1.55, left = 0.6, width = 7.2 - left - legend - 0.15, bottom = 0.5, height = 3.1;
    double last = largest_dose(data, masks) * 1.03, x = left + width + 0.15, y = bottom + height - 0.1;
    char words[512], heading[600];
    dg_case_words(data, words, sizeof words);
    snprintf(heading, sizeof heading, "Dose-volume histograms. %s", words);
    dg_plot_panel(plot, left, bottom, width, height);
    dg_plot_title(plot, heading, 6.4);
    dg_plot_axis(plot, 'x', "Dose (Gy)");
    dg_plot_axis(plot, 'y', "Volume (%)");
    dg_plot_add(plot, "set xrange [0:%.6g]\nset yrange [0:102]\nset ytics 20\nset grid lc rgb '#DDDDDD' lw 0.5 dt 1\n",
                last);
    if (data->prescription_gy > 0 && data->prescription_gy < last) {
        dg_plot_add(plot,
                    "set arrow from first %.6g,graph 0 to first %.6g,graph 1 nohead dt 3 lw 1 lc rgb '" PLOT_GREY "'\n",
                    data->prescription_gy, data->prescription_gy);
        snprintf(words, sizeof words, "prescription, %g Gy", data->prescription_gy);
        dg_plot_legend(plot, x, y - 0.34, PLOT_GREY, "3", words, 0);
    }
    dg_plot_legend(plot, x, y, PLOT_INK, "1", "reference", 0);
    dg_plot_legend(plot, x, y - 0.17, PLOT_INK, "(8,5)", "prediction", 0);
    double step = fmin(0.17, (height - 0.75) / (count > 0 ? count : 1));
    for (int k = 0, place = 0; k < data->structure_count; k++) {
        if (!shown[k]) continue;
        dg_plot_legend(plot, x, y - 0.6 - step * place++,
                       dg_structure_colour(data->structure, data->structure_count, k), "1", data->structure[k].name,
                       18);
        DG_TRY(put_curve(plot, data, masks, dose, k, last));
    }
    const char *lead = "plot ";
    for (int k = 0; k < data->structure_count; k++) {
        if (!shown[k]) continue;
        const char *colour = dg_structure_colour(data->structure, data->structure_count, k);
        dg_plot_add(plot,
                    "%s'dvh%d.dat' using 1:2 with lines lw 1.5 lc rgb '%s', '' using 1:3 with lines lw 1.5 dt (8,5) lc "
                    "rgb '%s'",
                    lead, k, colour, colour);
        lead = ", ";
    }
    dg_plot_add(plot, "\n");
    return DG_OK;
}

/* Structures with voxels of known dose. */
static int find_shown(const dg_figure_case *data, const uint64_t *masks, bool shown[DG_STRUCTURES_MAX])
{
    int64_t voxels = dg_grid_voxels(data->grid);
    uint64_t present = 0;
    int count = 0;
    for (int64_t i = 0; i < voxels; i++) present |= masks[i];
    for (int k = 0; k < data->structure_count; k++) {
        dg_role role = data->structure[k].role;
        shown[k] = (present >> k & 1) && (role == DG_ROLE_TARGET || role == DG_ROLE_OAR);
        count += shown[k];
    }
    return count;
}

dg_status dg_figure_dvh_comparison(const dg_figure_output *output, const dg_figure_case *data, dg_figure_result *result)
{
    dg_plot plot;
    char name[DG_FIGURE_NAME], words[256];
    uint64_t *masks = NULL;
    float *reference = NULL, *prediction = NULL;
    bool shown[DG_STRUCTURES_MAX];
    dg_status status;
    dg_case_figure_name(name, "fig4_dvh_comparison", data->pick);
    DG_TRY(dg_figure_start(output, result, name));
    DG_TRY(dg_case_check(data));
    dg_plot_begin(&plot, 7.2, 3.9);
    DG_TRY_GOTO(status, known_masks(data, &masks, &reference, &prediction), done);
    int count = find_shown(data, masks, shown);
    if (count == 0 || !(largest_dose(data, masks) > 0)) {
        status =
            dg_figure_nothing(result, "case %.60s has no target or organ with a known dose above 0", data->case_id);
        goto done;
    }
    DG_TRY_GOTO(status, draw(&plot, data, masks, (const float *[2]){reference, prediction}, shown, count), done);
    dg_case_words(data, words, sizeof words);
    dg_figure_caption(result,
                      "%s. Cumulative dose-volume histograms of %d structures, reference solid, prediction dashed.",
                      words, count);
    status = dg_plot_finish(&plot, output, result);
done:
    dg_plot_release(&plot);
    dg_free(&masks);
    dg_free(&reference);
    dg_free(&prediction);
    return status;
}
