/* figure_seeds.c - how much a metric changes with the seed of the training. SPDX-License-Identifier: Apache-2.0 */
#include "figure_impl.h"

#include "dg_mem.h"

#include <math.h>
#include <string.h>

/* Runs in the order they are drawn: by condition (first appearance), then by seed. */
typedef struct seed_order {
    int64_t *run, *condition, conditions;
} seed_order;

static dg_status make_order(const dg_figure_seeds *data, seed_order *order)
{
    int64_t placed = 0;
    *order = (seed_order){0};
    DG_TRY(DG_NEW(&order->run, data->runs, "order of runs"));
    DG_TRY(DG_NEW(&order->condition, data->runs, "conditions of runs"));
    for (int64_t i = 0; i < data->runs; i++) {
        int64_t first = 0;
        while (strcmp(data->run[first].condition, data->run[i].condition) != 0) first++;
        if (first < i) continue;
        int64_t start = placed;
        for (int64_t k = i; k < data->runs; k++) {
            if (strcmp(data->run[k].condition, data->run[i].condition) != 0) continue;
            int64_t at = placed++;
            for (; at > start && data->run[order->run[at - 1]].seed > data->run[k].seed; at--)
                order->run[at] = order->run[at - 1];
            order->run[at] = k;
            order->condition[placed - 1] = order->conditions;
        }
        order->conditions++;
    }
    return DG_OK;
}

static double mean_of(const double *value, int64_t count)
{
    double sum = 0;
    int64_t finite = 0;
    for (int64_t i = 0; i < count; i++) {
        if (!isfinite(value[i])) continue;
        sum += value[i];
        finite++;
    }
    return finite > 0 ? sum / (double)finite : NAN;
}

/* Is there a condition with two seeds that have values? */
static bool worth_drawing(const dg_figure_seeds *data)
{
    for (int64_t i = 0; i < data->runs; i++) {
        for (int64_t k = i + 1; k < data->runs; k++) {
            if (strcmp(data->run[i].condition, data->run[k].condition) == 0 && data->run[i].seed != data->run[k].seed &&
                isfinite(mean_of(data->run[i].value, data->cases)) &&
                isfinite(mean_of(data->run[k].value, data->cases)))
                return true;
        }
    }
    return false;
}

/* Place of the j-th drawn run: conditions are parted by a gap. */
static double place_of(const seed_order *order, int64_t j) { return (double)j + 0.8 * (double)order->condition[j]; }

static void put_runs(dg_plot *plot, const dg_figure_seeds *data, const seed_order *order, int panel)
{
    char name[PLOT_FILE_NAME];
    snprintf(name, sizeof name, "cases%d.dat", panel);
    dg_plot_data(plot, name);
    for (int64_t c = 0; c < data->cases; c++) {
        for (int64_t j = 0; j < data->runs; j++) {
            if (j > 0 && order->condition[j] != order->condition[j - 1]) dg_plot_gap(plot);
            dg_plot_row(plot, 2, (double[]){place_of(order, j), data->run[order->run[j]].value[c]});
        }
        dg_plot_gap(plot);
    }
    dg_plot_data_end(plot);
    snprintf(name, sizeof name, "means%d.dat", panel);
    dg_plot_data(plot, name);
    for (int64_t j = 0; j < data->runs; j++)
        dg_plot_row(plot, 2, (double[]){place_of(order, j), mean_of(data->run[order->run[j]].value, data->cases)});
    dg_plot_data_end(plot);
}

/* Mean and standard deviation over the seeds of each condition, as a band with a line; its words above. */
static void draw_bands(dg_plot *plot, const dg_figure_seeds *data, const seed_order *order, bool turned)
{
    for (int64_t j = 0; j < data->runs;) {
        int64_t start = j, n = 0;
        double sum = 0, squares = 0;
        for (; j < data->runs && order->condition[j] == order->condition[start]; j++) {
            double mean = mean_of(data->run[order->run[j]].value, data->cases);
            if (!isfinite(mean)) continue;
            n++;
            sum += mean;
        }
        double mean = n > 0 ? sum / (double)n : NAN, low = place_of(order, start) - 0.4,
               high = place_of(order, j - 1) + 0.4;
        for (int64_t k = start; k < j; k++) {
            double value = mean_of(data->run[order->run[k]].value, data->cases);
            if (isfinite(value)) squares += (value - mean) * (value - mean);
        }
        double sd = n > 1 ? sqrt(squares / (double)(n - 1)) : NAN;
        char words[96];
        if (n > 1) {
            const char *colour = dg_series_colour(order->condition[start]);
            dg_plot_add(plot,
                        "set object rectangle from first %.7g,%.7g to first %.7g,%.7g behind fs transparent solid 0.3 "
                        "noborder fc rgb '%s'\n",
                        low, mean - sd, high, mean + sd, colour);
            dg_plot_add(plot, "set arrow from first %.7g,%.7g to first %.7g,%.7g nohead lw 1 lc rgb '%s'\n", low, mean,
                        high, mean, colour);
            int digits = sd > 0 ? (int)fmin(4, fmax(0, 1 - floor(log10(sd)))) : 2;
            snprintf(words, sizeof words, "%.*f \u00b1 %.*f", digits, mean, digits, sd);
            dg_plot_label(plot, "graph", (0.5 * (low + high) + 0.7) / (place_of(order, data->runs - 1) + 1.4), 1, words,
                          40, "center offset 0,-0.6 font ',6.5'");
        }
        dg_plot_tick(plot, 0.5 * (low + high), data->run[order->run[start]].condition, 20, turned);
    }
}

static void draw_panel(dg_plot *plot, const dg_figure_seeds *data, const seed_order *order, int panel, plot_cell cell)
{
    char words[32];
    put_runs(plot, data, order, panel);
    dg_plot_panel(plot, cell.left, cell.bottom, cell.width, cell.height);
    dg_plot_title(plot, data->metric, cell.width + 0.3);
    dg_plot_axis(plot, 'y', data->unit != NULL ? data->unit : "");
    dg_plot_add(plot, "unset xtics\nset xrange [-0.7:%.6g]\nset offsets 0,0,graph 0.14,graph 0.09\n",
                place_of(order, data->runs - 1) + 0.7);
    if (isfinite(data->line))
        dg_plot_add(plot,
                    "set arrow from graph 0,first %.7g to graph 1,first %.7g nohead dt (8,5) lw 1.1 lc rgb '" PLOT_GREY
                    "'\n",
                    data->line, data->line);
    draw_bands(plot, data, order, cell.turned);
    for (int64_t j = 0; j < data->runs && data->runs <= 15; j++) {
        snprintf(words, sizeof words, "%lld", (long long)data->run[order->run[j]].seed);
        dg_plot_add(
            plot, "set label '%s' at first %.6g,graph 0 center offset 0,0.5 font ',6' textcolor rgb '" PLOT_GREY "'\n",
            words, place_of(order, j));
    }
    dg_plot_add(plot,
                "plot 'cases%d.dat' using 1:2 with linespoints pt 7 ps 0.2 lw 0.5 lc rgb '#AAAAAA', 'means%d.dat' "
                "using 1:2 with points pt 7 ps "
                "0.75 lc rgb '" PLOT_INK "'\nset offsets 0,0,0,0\n",
                panel, panel);
}

/* Names of conditions: turned in every panel or in none. */
static bool labels_turn(const dg_figure_seeds *metric, const int *shown, int count, double width)
{
    for (int p = 0; p < count; p++) {
        const dg_figure_seeds *data = &metric[shown[p]];
        size_t characters = 0;
        for (int64_t i = 0; i < data->runs; i++) {
            int64_t first = 0;
            while (strcmp(data->run[first].condition, data->run[i].condition) != 0) first++;
            if (first == i) characters += strlen(data->run[i].condition) + 2;
        }
        if (dg_plot_turns((int64_t)characters, width)) return true;
    }
    return false;
}

dg_status dg_figure_seed_variability(const dg_figure_output *output, const dg_figure_seeds *metric, int metrics,
                                     dg_figure_result *result)
{
    dg_plot plot;
    int shown[DG_FIGURE_PANELS], count = 0;
    DG_TRY(dg_figure_start(output, result, "fig10_seed_variability"));
    for (int m = 0; m < metrics && count < DG_FIGURE_PANELS; m++) {
        if (worth_drawing(&metric[m])) shown[count++] = m;
    }
    if (count == 0) return dg_figure_nothing(result, "no condition was trained with two seeds that have results");
    int columns = dg_plot_columns(count, 0);
    bool turned = labels_turn(metric, shown, count, dg_plot_cell(0, count, columns, false).width);
    dg_status status = DG_OK;
    dg_plot_begin(&plot, 7.2, dg_plot_cells_height(count, columns, turned));
    for (int p = 0; p < count && status == DG_OK; p++) {
        seed_order order;
        status = make_order(&metric[shown[p]], &order);
        if (status == DG_OK) draw_panel(&plot, &metric[shown[p]], &order, p, dg_plot_cell(p, count, columns, turned));
        dg_free(&order.run);
        dg_free(&order.condition);
    }
    dg_figure_caption(result, "Grey: the cases, linked over the seeds of a condition (numbers above the axis). Black: "
                              "the mean over cases for each seed. "
                              "Band and numbers: mean and standard deviation (ddof 1) of those means over seeds.");
    if (status == DG_OK) status = dg_plot_finish(&plot, output, result);
    dg_plot_release(&plot);
    return status;
}
