/* figure_boxes.c - metrics over cases: boxes with every case as a point. SPDX-License-Identifier: Apache-2.0 */
#include "figure_impl.h"

#include "dg_mem.h"

#include <math.h>
#include <string.h>

/* Points beside each other by their place in the list: the same picture every time, without chance. */
static double spread(int64_t i)
{
    double turn = 0.61803398875 * (double)(i + 1); /* golden ratio: neighbours lie far apart */
    return 0.34 * (turn - floor(turn) - 0.5);
}

/* Median, quartiles, whiskers of a box; and its points. */
static void put_box(dg_plot *plot, const dg_figure_box *box, int place, double *sorted, int panel, bool points)
{
    char name[PLOT_FILE_NAME];
    int64_t count = dg_sorted_finite(box->value, box->count, sorted);
    snprintf(name, sizeof name, "%s%d-%d.dat", points ? "points" : "box", panel, place);
    dg_plot_data(plot, name);
    if (points) {
        for (int64_t i = 0; i < box->count; i++) {
            if (isfinite(box->value[i])) dg_plot_row(plot, 2, (double[]){place + spread(i), box->value[i]});
        }
    } else if (count > 0) {
        double low = dg_sorted_quantile(sorted, count, 0.25), high = dg_sorted_quantile(sorted, count, 0.75);
        int64_t first = 0, last = count - 1;
        while (sorted[first] < low - 1.5 * (high - low)) first++;
        while (sorted[last] > high + 1.5 * (high - low)) last--;
        dg_plot_row(plot, 6,
                    (double[]){place, low, sorted[first], sorted[last], high, dg_sorted_quantile(sorted, count, 0.5)});
    }
    dg_plot_data_end(plot);
}

static int64_t finite_values(const dg_figure_box_panel *panel)
{
    int64_t finite = 0;
    for (int k = 0; k < panel->count; k++) {
        for (int64_t i = 0; i < panel->box[k].count; i++) finite += isfinite(panel->box[k].value[i]);
    }
    return finite;
}

static int most_boxes(const dg_figure_box_panel *panel, const int *shown, int count)
{
    int most = 0;
    for (int p = 0; p < count; p++) most = panel[shown[p]].count > most ? panel[shown[p]].count : most;
    return most;
}

/* The labels are turned in every panel or in none. */
static bool labels_turn(const dg_figure_box_panel *panel, const int *shown, int count, double width)
{
    for (int p = 0; p < count; p++) {
        size_t characters = 0;
        for (int k = 0; k < panel[shown[p]].count; k++) characters += strlen(panel[shown[p]].box[k].label) + 2;
        if (dg_plot_turns((int64_t)characters, width)) return true;
    }
    return false;
}

static int64_t finite_of(const dg_figure_box *box)
{
    int64_t finite = 0;
    for (int64_t i = 0; i < box->count; i++) finite += isfinite(box->value[i]);
    return finite;
}

static void draw_panel(dg_plot *plot, const dg_figure_box_panel *panel, int number, plot_cell cell, double *sorted)
{
    int count = panel->count, shown = 0;
    dg_plot_panel(plot, cell.left, cell.bottom, cell.width, cell.height);
    dg_plot_title(plot, panel->title, cell.width + 0.3);
    dg_plot_axis(plot, 'y', panel->unit != NULL ? panel->unit : "");
    dg_plot_add(plot,
                "unset xtics\nset xrange [-0.6:%.6g]\nset grid ytics lc rgb '#E4E4E4' lw 0.5 dt 1\nset offsets "
                "0,0,graph 0.05,graph 0.05\n",
                count - 0.4);
    if (isfinite(panel->line))
        dg_plot_add(plot,
                    "set arrow from graph 0,first %.7g to graph 1,first %.7g nohead dt (8,5) lw 1.1 lc rgb '" PLOT_GREY
                    "'\n",
                    panel->line, panel->line);
    for (int k = 0; k < count; k++) {
        put_box(plot, &panel->box[k], k, sorted, number, false);
        put_box(plot, &panel->box[k], k, sorted, number, true);
        dg_plot_tick(plot, k, panel->box[k].label, 18, cell.turned);
    }
    dg_plot_add(plot, "set style fill solid 0.35 border\nset boxwidth 0.6\nplot ");
    for (int k = 0; k < count; k++) {
        if (finite_of(&panel->box[k]) == 0) continue;
        const char *colour = dg_series_colour(k);
        dg_plot_add(plot,
                    "%s'box%d-%d.dat' using 1:2:3:4:5 with candlesticks whiskerbars 0.4 lc rgb '%s' lw 1, "
                    "'' using 1:6:6:6:6 with candlesticks lc rgb '" PLOT_INK "' lw 1.8, "
                    "'points%d-%d.dat' using 1:2 with points pt 7 ps 0.25 lc rgb '#80404040'",
                    shown++ > 0 ? ", " : "", number, k, colour, number, k);
    }
    dg_plot_add(plot, "\nset offsets 0,0,0,0\n");
}

dg_status dg_figure_per_case_boxplots(const dg_figure_output *output, const dg_figure_box_panel *panel, int panels,
                                      dg_figure_result *result)
{
    dg_plot plot;
    double *sorted = NULL;
    int64_t most = 0, cases = 0;
    int shown[DG_FIGURE_PANELS], count = 0;
    DG_TRY(dg_figure_start(output, result, "fig6_per_case_boxplots"));
    for (int p = 0; p < panels && count < DG_FIGURE_PANELS; p++) {
        if (finite_values(&panel[p]) > 0) shown[count++] = p;
        for (int k = 0; k < panel[p].count; k++) {
            if (panel[p].box[k].count > most) most = panel[p].box[k].count;
            int64_t finite = finite_of(&panel[p].box[k]);
            if (finite > cases) cases = finite;
        }
    }
    if (count == 0) return dg_figure_nothing(result, "no metric has a value for any case");
    int columns = dg_plot_columns(count, most_boxes(panel, shown, count));
    bool turned = labels_turn(panel, shown, count, dg_plot_cell(0, count, columns, false).width);
    dg_plot_begin(&plot, 7.2, dg_plot_cells_height(count, columns, turned));
    dg_status status = DG_NEW(&sorted, most, "sorted values");
    for (int p = 0; p < count && status == DG_OK; p++)
        draw_panel(&plot, &panel[shown[p]], p, dg_plot_cell(p, count, columns, turned), sorted);
    dg_figure_caption(
        result,
        "Distribution over at most %lld cases. Boxes: median and quartiles; whiskers: the furthest values within 1.5 "
        "interquartile ranges; every point is a case.",
        (long long)cases);
    if (status == DG_OK) status = dg_plot_finish(&plot, output, result);
    dg_plot_release(&plot);
    dg_free(&sorted);
    return status;
}
