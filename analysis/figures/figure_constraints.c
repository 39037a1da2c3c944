/* figure_constraints.c - clinical constraints by cases: how far inside or outside the limit, and the verdicts.
 * SPDX-License-Identifier: Apache-2.0 */
#include "figure_impl.h"
#include "figure_planes.h"

#include <math.h>

enum { IDS_MOST = 60 };
static const double MARGIN_END = 50; /* % of the limit at the ends of the colours */
static const plane_map MARGIN_MAP = {
    9, {0xB35806, 0xE08214, 0xFDB863, 0xFEE0B6, 0xF7F7F7, 0xD1E5F0, 0x92C5DE, 0x4393C3, 0x2166AC, 0, 0, 0}};

static const dg_figure_constraint_cell *cell_at(const dg_figure_constraint_map *data, int64_t row, int64_t c)
{
    return &data->cell[row * data->cases + c];
}

static int64_t evaluated_cells(const dg_figure_constraint_map *data)
{
    int64_t evaluated = 0;
    for (int64_t i = 0; i < data->rows * data->cases; i++)
        evaluated += data->cell[i].verdict[1] != DG_VERDICT_NOT_EVALUATED;
    return evaluated;
}

/* Cells as filled squares with their colour in the file, then the marks. */
static void put_cells(dg_plot *plot, const dg_figure_constraint_map *data)
{
    FILE *file = dg_plot_data(plot, "cells.dat");
    for (int64_t r = 0; r < data->rows && file != NULL; r++) {
        for (int64_t c = 0; c < data->cases; c++) {
            const dg_figure_constraint_cell *cell = cell_at(data, r, c);
            if (cell->verdict[1] == DG_VERDICT_NOT_EVALUATED || !isfinite(cell->margin_percent)) continue;
            plane_rgb colour = dg_map_colour(&MARGIN_MAP, 0.5 + 0.5 * cell->margin_percent / MARGIN_END);
            fprintf(file, "%lld\t%lld\t%d\n", (long long)c, (long long)r,
                    colour.c[0] << 16 | colour.c[1] << 8 | colour.c[2]);
        }
    }
    dg_plot_data_end(plot);
}

static int64_t put_marks(dg_plot *plot, const dg_figure_constraint_map *data, const char *name, int which,
                         dg_verdict verdict)
{
    int64_t marks = 0;
    dg_plot_data(plot, name);
    for (int64_t i = 0; i < data->rows * data->cases; i++) {
        if (data->cell[i].verdict[which] != verdict) continue;
        dg_plot_row(plot, 2, (double[]){(double)(i % data->cases), (double)(i / data->cases)});
        marks++;
    }
    dg_plot_data_end(plot);
    return marks;
}

static void draw_bar(dg_plot *plot, double left, double bottom)
{
    FILE *file = dg_plot_data(plot, "bar.dat");
    for (int k = 0; k < 100 && file != NULL; k++) {
        plane_rgb colour = dg_map_colour(&MARGIN_MAP, (k + 0.5) / 100);
        fprintf(file, "%.3f\t0\t%d\n", MARGIN_END * (2 * (k + 0.5) / 100 - 1),
                colour.c[0] << 16 | colour.c[1] << 8 | colour.c[2]);
    }
    dg_plot_data_end(plot);
    dg_plot_panel(plot, left, bottom, 1.8, 0.1);
    dg_plot_add(plot,
                "unset ytics\nset border 15\nset xrange [%g:%g]\nset yrange [-0.5:0.5]\nset xtics 25 scale 0.5 offset "
                "0,0.5 font ',6.5'\n",
                -MARGIN_END, MARGIN_END);
    dg_plot_label(plot, "graph", -0.04, 0.5, "beyond", 10, "right font ',6.5'");
    dg_plot_label(plot, "graph", 1.04, 0.5, "within the limit (% of it)", 30, "left font ',6.5'");
    dg_plot_add(
        plot,
        "plot 'bar.dat' using 1:2:(%.3f):(0.5):3 with boxxyerror fs solid 1 noborder lc rgb variable\nset border 3\n",
        MARGIN_END / 100 * 1.05);
}

static void mark_legend(dg_plot *plot, double x, double y, const char *point, const char *colour, const char *text)
{
    dg_plot_add(plot, "set label '' at screen %.6f,screen %.6f point %s lc rgb '%s'\n", x / plot->width_in,
                y / plot->height_in, point, colour);
    dg_plot_label(plot, "screen", (x + 0.11) / plot->width_in, y / plot->height_in, text, 40, "left font ',6.5'");
}

static void draw_map(dg_plot *plot, const dg_figure_constraint_map *data, double left, double bottom, double width,
                     double height)
{
    char title[160];
    double cell = fmin(width / (double)data->cases, height / (double)data->rows);
    double size = fmin(1, cell / 0.16);
    put_cells(plot, data);
    int64_t none = put_marks(plot, data, "none.dat", 1, DG_VERDICT_NOT_EVALUATED);
    int64_t failed = put_marks(plot, data, "failed.dat", 1, DG_VERDICT_FAIL);
    int64_t planned = put_marks(plot, data, "planned.dat", 0, DG_VERDICT_FAIL);
    dg_plot_panel(plot, left, bottom, width, height);
    snprintf(title, sizeof title, "Clinical constraints (%.80s)", data->table);
    dg_plot_label(plot, "screen", 0.1 / plot->width_in, 1 - 0.15 / plot->height_in, title, 90,
                  "left font '" PLOT_FONT " Bold,8'");
    dg_plot_add(plot, "unset xtics\nunset ytics\nset border 15\nset xrange [-0.5:%.6g]\nset yrange [%.6g:-0.5]\n",
                (double)data->cases - 0.5, (double)data->rows - 0.5);
    for (int64_t r = 0; r < data->rows; r++) {
        dg_plot_add(plot, "set label ");
        dg_plot_text(plot, data->row_label[r], 36);
        dg_plot_add(plot, " at graph 0,first %lld noenhanced right offset -0.6,0 font ',7'\n", (long long)r);
    }
    for (int64_t c = 0; c < data->cases && data->cases <= IDS_MOST; c++) {
        dg_plot_add(plot, "set label ");
        dg_plot_text(plot, data->case_id[c], 14);
        dg_plot_add(plot, " at first %lld,graph 0 noenhanced right rotate by 60 offset 0.3,-0.6 font ',6.5'\n",
                    (long long)c);
    }
    double y = plot->height_in - 0.36;
    mark_legend(plot, left + 0.1, y, "pt 2 ps 0.9 lw 1.6", PLOT_INK, "prediction fails");
    mark_legend(plot, left + 1.35, y, "pt 6 ps 1.3 lw 1.2", PLOT_INK, "clinical plan fails");
    mark_legend(plot, left + 2.7, y, "pt 1 ps 0.6 lw 0.8", "#A0A0A0", "not evaluated");
    dg_plot_add(plot, "plot 'cells.dat' using 1:2:(0.47):(0.46):3 with boxxyerror fs solid 1 noborder lc rgb variable");
    if (none > 0)
        dg_plot_add(plot, ", 'none.dat' using 1:2 with points pt 1 ps %.3f lw 0.8 lc rgb '#A0A0A0'", 0.6 * size);
    if (failed > 0)
        dg_plot_add(plot, ", 'failed.dat' using 1:2 with points pt 2 ps %.3f lw 1.6 lc rgb '" PLOT_INK "'", 0.9 * size);
    if (planned > 0)
        dg_plot_add(plot, ", 'planned.dat' using 1:2 with points pt 6 ps %.3f lw 1.2 lc rgb '" PLOT_INK "'",
                    1.3 * size);
    dg_plot_add(plot, "\nset border 3\n");
}

dg_status dg_figure_constraint_heat_map(const dg_figure_output *output, const dg_figure_constraint_map *data,
                                        dg_figure_result *result)
{
    dg_plot plot;
    DG_TRY(dg_figure_start(output, result, "fig7_quantec_compliance"));
    int64_t evaluated = evaluated_cells(data);
    if (evaluated == 0)
        return dg_figure_nothing(result, "no row of constraint table %.80s was evaluated for any case", data->table);
    double left = 2.35, bottom = data->cases <= IDS_MOST ? 1.25 : 0.65,
           width = fmin(4.7, fmax(1.2, 0.32 * (double)data->cases));
    double height = fmin(8, fmax(0.6, 0.2 * (double)data->rows));
    dg_plot_begin(&plot, 7.2, bottom + height + 0.5);
    draw_map(&plot, data, left, bottom, width, height);
    draw_bar(&plot, left + 0.4, 0.3);
    dg_figure_caption(
        result,
        "Constraints of table %.80s by cases; %lld of %lld cells were evaluated. Colour: distance of the prediction to "
        "the "
        "limit in %% of the limit. Cross: the prediction fails; ring: the clinical plan fails; plus: not evaluated.",
        data->table, (long long)evaluated, (long long)(data->rows * data->cases));
    dg_status status = dg_plot_finish(&plot, output, result);
    dg_plot_release(&plot);
    return status;
}
