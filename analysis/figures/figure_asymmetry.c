/* figure_asymmetry.c - mirror structures: does the network treat left and right alike. SPDX-License-Identifier: Apache-2.0 */
#include "figure_impl.h"

#include <math.h>

typedef struct asymmetry_range {
    double error, difference; /* largest size of either axis */
} asymmetry_range;

static bool complete(const dg_figure_mirror_pair *pair, int64_t c)
{
    return isfinite(pair->reference_gy[0][c]) && isfinite(pair->reference_gy[1][c]) &&
           isfinite(pair->prediction_gy[0][c]) && isfinite(pair->prediction_gy[1][c]);
}

static int64_t complete_cases(const dg_figure_mirror_pair *pair)
{
    int64_t count = 0;
    for (int64_t c = 0; c < pair->cases; c++) count += complete(pair, c);
    return count;
}

/* error left, error right, planned left - right, predicted left - right of each case */
static asymmetry_range put_pair(dg_plot *plot, const dg_figure_mirror_pair *pair, int number, asymmetry_range range)
{
    char name[PLOT_FILE_NAME];
    snprintf(name, sizeof name, "pair%d.dat", number);
    dg_plot_data(plot, name);
    for (int64_t c = 0; c < pair->cases; c++) {
        if (!complete(pair, c)) continue;
        double row[4] = {
            pair->prediction_gy[0][c] - pair->reference_gy[0][c], pair->prediction_gy[1][c] - pair->reference_gy[1][c],
            pair->reference_gy[0][c] - pair->reference_gy[1][c], pair->prediction_gy[0][c] - pair->prediction_gy[1][c]};
        dg_plot_row(plot, 4, row);
        range.error = fmax(range.error, fmax(fabs(row[0]), fabs(row[1])));
        range.difference = fmax(range.difference, fmax(fabs(row[2]), fabs(row[3])));
    }
    dg_plot_data_end(plot);
    return range;
}

static void draw_panel(dg_plot *plot, int pairs, const bool *shown, double left, double end, const char *title,
                       const char *x, const char *y, const char *columns)
{
    static const int point[DG_FIGURE_PAIRS] = {7, 5, 9, 11, 13, 6, 4, 8};
    const char *lead = "plot x with lines lc rgb '#999999' lw 0.9 dt (8,5), ";
    dg_plot_panel(plot, left, 0.5, 2.75, 2.75);
    dg_plot_title(plot, title, 2.75);
    dg_plot_axis(plot, 'x', x);
    dg_plot_axis(plot, 'y', y);
    dg_plot_add(plot, "set xrange [%.6g:%.6g]\nset yrange [%.6g:%.6g]\nset xtics %.6g\nset ytics %.6g\n", -end, end,
                -end, end, dg_round_step(2 * end, 6), dg_round_step(2 * end, 6));
    dg_plot_add(plot, "set arrow from graph 0,first 0 to graph 1,first 0 nohead lw 0.6 lc rgb '#CCCCCC'\n"
                      "set arrow from first 0,graph 0 to first 0,graph 1 nohead lw 0.6 lc rgb '#CCCCCC'\n");
    for (int k = 0; k < pairs; k++) {
        if (!shown[k]) continue;
        dg_plot_add(plot, "%s'pair%d.dat' using %s with points pt %d ps 0.6 lc rgb '%s'", lead, k, columns, point[k],
                    dg_series_colour(k));
        lead = ", ";
    }
    dg_plot_add(plot, "\n");
}

static void draw_names(dg_plot *plot, const dg_figure_mirror_pair *pair, int pairs, const bool *shown)
{
    static const int point[DG_FIGURE_PAIRS] = {7, 5, 9, 11, 13, 6, 4, 8};
    int place = 0;
    dg_plot_panel(plot, 0.1, 3.7, 1, 0.02);
    for (int k = 0; k < pairs; k++) {
        char words[192];
        if (!shown[k]) continue;
        double x = (0.65 + 3.3 * (place % 2)) / plot->width_in,
               y = (plot->height_in - 0.15 - 0.17 * (place / 2)) / plot->height_in;
        snprintf(words, sizeof words, "%.60s and %.60s (n = %lld)", pair[k].left, pair[k].right,
                 (long long)complete_cases(&pair[k]));
        dg_plot_add(plot, "set label '' at screen %.6f,screen %.6f point pt %d ps 0.7 lc rgb '%s'\n", x, y, point[k],
                    dg_series_colour(k));
        dg_plot_label(plot, "screen", x + 0.015, y, words, 56, "left font ',7'");
        place++;
    }
    dg_plot_add(plot,
                "unset border\nunset xtics\nunset ytics\nset xrange [0:1]\nset yrange [0:1]\nplot NaN\nset border 3\n");
}

dg_status dg_figure_asymmetry(const dg_figure_output *output, const dg_figure_mirror_pair *pair, int pairs,
                              dg_figure_result *result)
{
    dg_plot plot;
    bool shown[DG_FIGURE_PAIRS];
    int count = 0;
    DG_TRY(dg_figure_start(output, result, "fig8_femur_asymmetry"));
    if (pairs > DG_FIGURE_PAIRS) pairs = DG_FIGURE_PAIRS;
    for (int k = 0; k < pairs; k++) {
        shown[k] = complete_cases(&pair[k]) > 0;
        count += shown[k];
    }
    if (count == 0) return dg_figure_nothing(result, "no case has both structures of a left and right pair");
    asymmetry_range range = {0.1, 0.1};
    dg_plot_begin(&plot, 7.2, 3.65 + 0.17 * ((count + 1) / 2));
    for (int k = 0; k < pairs; k++) {
        if (shown[k]) range = put_pair(&plot, &pair[k], k, range);
    }
    draw_panel(&plot, pairs, shown, 0.65, 1.1 * range.error, "Error of the mean dose", "Left (Gy)", "Right (Gy)",
               "1:2");
    draw_panel(&plot, pairs, shown, 4.2, 1.1 * range.difference, "Mean dose, left minus right", "Clinical plan (Gy)",
               "Prediction (Gy)", "3:4");
    draw_names(&plot, pair, pairs, shown);
    dg_figure_caption(result, "Mirror structures; a point is a case. Left: error of the mean dose of the left against "
                              "the right structure. Right: "
                              "left minus right as predicted against as planned; points off the diagonal are asymmetry "
                              "the network added or lost.");
    dg_status status = dg_plot_finish(&plot, output, result);
    dg_plot_release(&plot);
    return status;
}
