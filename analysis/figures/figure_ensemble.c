/* figure_ensemble.c - is the spread of ensembles right, and what do more steps of the sampler give?
 * SPDX-License-Identifier: Apache-2.0 */
#include "figure_impl.h"

#include <math.h>
#include <stdio.h>

enum { LEVELS = DG_FIGURE_LEVELS };

static bool is_curve(const dg_figure_ensemble *one)
{
    for (int k = 0; k < LEVELS; k++)
        if (!isfinite(one->reliability[k])) return false;
    return true;
}

static void put_legend(dg_plot *plot, const plot_cell *cell, const char *name, int number)
{
    dg_plot_legend(plot, cell->left + 0.12, cell->bottom + cell->height - 0.14 - 0.13 * number,
                   dg_series_colour(number), "1", name, 26);
}

/* Share of voxels inside the middle 10 %, 20 %, .. of the members; the diagonal is right. */
static void draw_reliability(dg_plot *plot, const dg_figure_ensemble *ensemble, int count, plot_cell cell)
{
    char name[PLOT_FILE_NAME];
    int drawn = 0;
    for (int i = 0; i < count; i++) {
        if (!is_curve(&ensemble[i]) || !ensemble[i].own_curve || drawn == SERIES_COLOURS) continue;
        snprintf(name, sizeof name, "curve%d.dat", drawn++);
        dg_plot_data(plot, name);
        for (int k = 0; k < LEVELS; k++)
            dg_plot_row(plot, 2, (double[]){10.0 * (k + 1), 100 * ensemble[i].reliability[k]});
        dg_plot_data_end(plot);
    }
    dg_plot_panel(plot, cell.left, cell.bottom, cell.width, cell.height);
    dg_plot_title(plot, "Coverage", cell.width);
    dg_plot_axis(plot, 'x', "middle share of the members (%)");
    dg_plot_axis(plot, 'y', "voxels inside (%)");
    drawn = 0;
    for (int i = 0; i < count; i++)
        if (is_curve(&ensemble[i]) && ensemble[i].own_curve && drawn < SERIES_COLOURS)
            put_legend(plot, &cell, ensemble[i].name, drawn++);
    dg_plot_add(plot, "set xrange [0:100]\nset yrange [0:100]\nplot x with lines dt 2 lw 1 lc rgb '" PLOT_GREY "'");
    for (int k = 0; k < drawn; k++)
        dg_plot_add(plot, ", 'curve%d.dat' using 1:2 with linespoints pt 7 ps 0.4 lw 1.4 lc rgb '%s'", k,
                    dg_series_colour(k));
    dg_plot_add(plot, "\n");
}

/* A metric against the steps: a line for each family. */
static void draw_steps(dg_plot *plot, const dg_figure_ensemble *ensemble, int count, int metric, plot_cell cell)
{
    static const char *const title[DG_FIGURE_STEP_METRICS] = {"CRPS", "Spread in organs", "Spread between"},
                             *const unit[DG_FIGURE_STEP_METRICS] = {"Gy", "predicted / true", "predicted / true"};
    char name[PLOT_FILE_NAME];
    int families = 0;
    for (int i = 0; i < count; i++) families = ensemble[i].family >= families ? ensemble[i].family + 1 : families;
    for (int f = 0; f < families; f++) {
        snprintf(name, sizeof name, "steps%d-%d.dat", metric, f);
        dg_plot_data(plot, name);
        for (int i = 0; i < count; i++)
            if (ensemble[i].family == f)
                dg_plot_row(plot, 2, (double[]){ensemble[i].steps, ensemble[i].against_steps[metric]});
        dg_plot_data_end(plot);
    }
    dg_plot_panel(plot, cell.left, cell.bottom, cell.width, cell.height);
    dg_plot_title(plot, title[metric], cell.width);
    dg_plot_axis(plot, 'x', "steps of the sampler");
    dg_plot_axis(plot, 'y', unit[metric]);
    dg_plot_add(
        plot, "set logscale x\nset xrange [*:*]\nset yrange [%s]\nset offsets graph 0.05,graph 0.05,graph 0.05,0\n%s",
        metric > 0 ? "*<0.5:1.5<*" : "0:*",
        metric > 0 ? "set arrow from graph 0,first 1 to graph 1,first 1 nohead dt 2 lw 1 lc rgb '" PLOT_GREY "'\n"
                   : "");
    for (int f = 0; f < families; f++)
        dg_plot_add(plot, "%s 'steps%d-%d.dat' using 1:2 with linespoints pt 7 ps 0.5 lw 1.4 lc rgb '%s'",
                    f == 0 ? "plot" : ",", metric, f, dg_series_colour(f));
    dg_plot_add(plot, "\nunset logscale x\nset offsets 0,0,0,0\n");
}

dg_status dg_figure_ensembles(const dg_figure_output *output, const dg_figure_ensemble *ensemble, int count,
                              dg_figure_result *result)
{
    enum { PANELS = 1 + DG_FIGURE_STEP_METRICS };
    dg_plot plot;
    int curves = 0, stepped = 0;
    DG_TRY(dg_figure_start(output, result, "fig13_ensembles"));
    for (int i = 0; i < count; i++) {
        curves += is_curve(&ensemble[i]) && ensemble[i].own_curve;
        stepped += ensemble[i].family >= 0;
    }
    if (curves == 0) return dg_figure_nothing(result, "no ensemble of two members or more was judged");
    const int panels = stepped > 1 ? PANELS : 1, columns = dg_plot_columns(panels, 0);
    dg_plot_begin(&plot, 7.2, dg_plot_cells_height(panels, columns, false));
    draw_reliability(&plot, ensemble, count, dg_plot_cell(0, panels, columns, false));
    for (int m = 0; m + 1 < panels; m++)
        draw_steps(&plot, ensemble, count, m, dg_plot_cell(m + 1, panels, columns, false));
    dg_figure_caption(
        result,
        "Coverage: share of voxels whose dose lies in the middle share of the members, on the dashed line where the "
        "spread is right. Against the steps of the sampler, in the colours of the networks: CRPS over all "
        "voxels, and predicted to true spread, 1 where it is right, in organs and between targets and organs.");
    const dg_status status = dg_plot_finish(&plot, output, result);
    dg_plot_release(&plot);
    return status;
}
