/* figure_bars.c - gamma pass rates by region and criterion. SPDX-License-Identifier: Apache-2.0 */
#include "figure_impl.h"

#include "dg_mem.h"

#include <math.h>
#include <string.h>

/* Distinct labels in order of first appearance: index[i] is that of bar i. Returns how many. */
static int64_t number_labels(const dg_figure_gamma_bars *data, bool criterion, int64_t *index, const char **label)
{
    int64_t known = 0;
    for (int64_t i = 0; i < data->count; i++) {
        const char *text = criterion ? data->bar[i].criterion : data->bar[i].region;
        int64_t k = 0;
        while (k < known && strcmp(label[k], text) != 0) k++;
        if (k == known) label[known++] = text;
        index[i] = k;
    }
    return known;
}

/* The axis starts at 0 unless all bars are high: then at the next 10 below, told by its ticks. Bars may not be cut: they would lie. */
static void draw_bars(dg_plot *plot, const dg_figure_gamma_bars *data, const int64_t *group, const int64_t *series,
                      int64_t many)
{
    double width = 0.8 / (double)many;
    for (int64_t k = 0; k < many; k++) {
        char name[PLOT_FILE_NAME];
        snprintf(name, sizeof name, "bar%lld.dat", (long long)k);
        dg_plot_data(plot, name);
        for (int64_t i = 0; i < data->count; i++) {
            double x = (double)group[i] + width * ((double)k - 0.5 * (double)(many - 1));
            const dg_figure_gamma_bar *bar = &data->bar[i];
            double low = fmax(0, bar->mean - bar->sd), high = fmin(100, bar->mean + bar->sd);
            if (series[i] == k && isfinite(bar->mean))
                dg_plot_row(plot, 5, (double[]){x, bar->mean, low, high, 0.92 * width});
        }
        dg_plot_data_end(plot);
    }
    dg_plot_add(plot, "set style fill solid 0.85 border\nplot ");
    for (int64_t k = 0; k < many; k++)
        dg_plot_add(plot, "'bar%lld.dat' using 1:2:5 with boxes lc rgb '%s' lw 0.6, ", (long long)k,
                    dg_series_colour(k));
    for (int64_t k = 0; k < many; k++)
        dg_plot_add(plot,
                    "'bar%lld.dat' using 1:2:3:4:2:(0.02) with candlesticks whiskerbars 4 lw 1 lc rgb '" PLOT_INK "'%s",
                    (long long)k, k + 1 < many ? ", " : "\n");
}

static void draw_frame(dg_plot *plot, const dg_figure_gamma_bars *data, const char *const *region, int64_t regions,
                       const int64_t *group)
{

    size_t characters = 0;
    for (int64_t r = 0; r < regions; r++) characters += strlen(region[r]) + 2;
    bool turned = dg_plot_turns((int64_t)characters, 6.45);
    double bottom = turned ? 0.9 : 0.42;
    dg_plot_panel(plot, 0.6, bottom, 6.45, 3.45 - bottom);
    dg_plot_axis(plot, 'y', "Voxels with gamma <= 1 (%)");
    dg_plot_add(plot,
                "unset xtics\nset xrange [-0.6:%.6g]\nset yrange [0:100]\nset ytics 20\nset grid ytics lc rgb "
                "'#DDDDDD' lw 0.5 dt 1\n",
                (double)regions - 0.4);
    for (int64_t r = 0; r < regions; r++) {
        char words[32];
        int64_t least = INT64_MAX, most = 0;
        for (int64_t i = 0; i < data->count; i++) {
            if (group[i] != r || !isfinite(data->bar[i].mean)) continue;
            if (data->bar[i].cases < least) least = data->bar[i].cases;
            if (data->bar[i].cases > most) most = data->bar[i].cases;
        }
        dg_plot_tick(plot, (double)r, region[r], turned ? 22 : 18, turned);
        if (most == 0)
            snprintf(words, sizeof words, "none");
        else if (least == most)
            snprintf(words, sizeof words, "n = %lld", (long long)most);
        else
            snprintf(words, sizeof words, "n = %lld-%lld", (long long)least, (long long)most);
        dg_plot_label(plot, "graph", ((double)r + 0.6) / ((double)regions + 0.2), 1.04, words, 20,
                      "center font ',6' textcolor rgb '" PLOT_GREY "'");
    }
    if (isfinite(data->target_percent)) {
        char words[64];
        dg_plot_add(
            plot,
            "set arrow from graph 0,first %.6g to graph 1,first %.6g nohead front dt (8,5) lw 1.4 lc rgb '" PLOT_INK
            "'\n",
            data->target_percent, data->target_percent);
        snprintf(words, sizeof words, "project target (%g %%)", data->target_percent);
        dg_plot_legend(plot, 5.3, 3.72, PLOT_INK, "(8,5)", words, 0);
    }
}

dg_status dg_figure_gamma_bar_chart(const dg_figure_output *output, const dg_figure_gamma_bars *data,
                                    dg_figure_result *result)
{
    dg_plot plot;
    dg_status status;
    int64_t *group = NULL, *series = NULL, finite = 0;
    const char **region = NULL, **criterion = NULL;
    DG_TRY(dg_figure_start(output, result, "fig5_gamma_bar_chart"));
    for (int64_t i = 0; i < data->count; i++) finite += isfinite(data->bar[i].mean);
    if (finite == 0) return dg_figure_nothing(result, "no gamma pass rate was evaluated");
    dg_plot_begin(&plot, 7.2, 3.9);
    DG_TRY_GOTO(status, DG_NEW(&group, data->count, "groups of bars"), done);
    DG_TRY_GOTO(status, DG_NEW(&series, data->count, "series of bars"), done);
    DG_TRY_GOTO(status, DG_NEW(&region, data->count, "labels of bars"), done);
    DG_TRY_GOTO(status, DG_NEW(&criterion, data->count, "labels of bars"), done);
    int64_t regions = number_labels(data, false, group, region), many = number_labels(data, true, series, criterion);
    draw_frame(&plot, data, region, regions, group);
    for (int64_t k = 0; k < many; k++) {
        dg_plot_add(&plot,
                    "set object rectangle center screen %.6f,screen %.6f size screen %.6f,screen %.6f fs solid 0.85 "
                    "noborder fc rgb '%s'\n",
                    (0.75 + 1.1 * (double)k) / 7.2, 3.72 / 3.9, 0.16 / 7.2, 0.1 / 3.9, dg_series_colour(k));
        dg_plot_label(&plot, "screen", (0.89 + 1.1 * (double)k) / 7.2, 3.72 / 3.9, criterion[k], 16, "left font ',7'");
    }
    draw_bars(&plot, data, group, series, many);
    dg_figure_caption(result,
                      "Gamma pass rates by region, mean over cases with one standard deviation (ends at 0 and 100 %%); "
                      "n is the number of cases.%s",
                      isfinite(data->target_percent) ? " The dashed line is the project target, no clinical limit."
                                                     : "");
    status = dg_plot_finish(&plot, output, result);
done:
    dg_plot_release(&plot);
    dg_free(&group);
    dg_free(&series);
    dg_free(&region);
    dg_free(&criterion);
    return status;
}
