/* figure_training.c - what a run's metrics tell: loss, validation, learning rate, components of the loss and the learned
 * widths of their weights. SPDX-License-Identifier: Apache-2.0 */
#include "figure_impl.h"

#include "dg_mem.h"

#include <math.h>
#include <string.h>

enum { POINTS_MAX = 1500, SMOOTH_PARTS = 60 };

static double field(const dg_figure_table *table, int64_t row, int column)
{
    return table->value[row * table->columns + column];
}

/* Rows of a column that hold a finite number; the first and the largest and smallest of them. */
typedef struct extent {
    int64_t count;
    double low, high;
} extent;

static extent column_extent(const dg_figure_table *table, int column)
{
    extent e = {0, INFINITY, -INFINITY};
    for (int64_t row = 0; column >= 0 && row < table->rows; row++) {
        double value = field(table, row, column);
        if (!isfinite(value)) continue;
        e.count++;
        e.low = fmin(e.low, value);
        e.high = fmax(e.high, value);
    }
    return e;
}

/* step, value, mean of the values around it: at most POINTS_MAX rows, each the mean of a run of rows where there are more. */
static void put_column(dg_plot *plot, const dg_figure_table *table, int step, int column, const char *name)
{
    int64_t count = column_extent(table, column).count;
    int64_t group = (count + POINTS_MAX - 1) / POINTS_MAX, held = 0, points = 0;
    int64_t half = count / group / SMOOTH_PARTS / 2;
    double sum_step = 0, sum = 0, point[POINTS_MAX + 1][2];
    for (int64_t row = 0; row < table->rows; row++) {
        double value = field(table, row, column);
        if (!isfinite(value) || !isfinite(field(table, row, step))) continue;
        sum_step += field(table, row, step);
        sum += value;
        if (++held < group) continue;
        point[points][0] = sum_step / (double)held;
        point[points++][1] = sum / (double)held;
        held = 0;
        sum_step = sum = 0;
    }
    dg_plot_data(plot, name);
    for (int64_t i = 0; i < points; i++) {
        int64_t reach = i < half ? i : half; /* the window stays centred: a one-sided one would lag at the start */
        if (points - 1 - i < reach) reach = points - 1 - i;
        double mean = 0;
        for (int64_t k = i - reach; k <= i + reach; k++) mean += point[k][1] / (double)(2 * reach + 1);
        dg_plot_row(plot, 3, (double[]){point[i][0], point[i][1], mean});
    }
    dg_plot_data_end(plot);
}

/* A log axis where the values span more than a decade and are all positive. */
static void scale_axis(dg_plot *plot, extent e)
{
    if (e.low > 0 && e.high > 8 * e.low)
        dg_plot_add(plot, "set logscale y\nset format y '%s'\n", e.low < 1e-4 || e.high > 1e4 ? "%.0e" : "%g");
}

/* The axis of steps: few ticks, so that large numbers do not touch. */
static void step_axis(dg_plot *plot, const dg_figure_table *table, int step)
{
    double last = column_extent(table, step).high, tick = dg_round_step(fmax(last, 5), 5);
    dg_plot_add(plot, "set xrange [0:%.7g]\nset xtics %.7g\n", fmax(last, 1), fmax(tick, 1));
}

static bool has_suffix(const char *text, const char *suffix)
{
    size_t n = strlen(text), m = strlen(suffix);
    return n >= m && strcmp(text + n - m, suffix) == 0;
}

static bool is_score(const char *name)
{
    return strncmp(name, "val_", 4) == 0 && (has_suffix(name, "_gy") || has_suffix(name, "dose_score"));
}

static const char *score_words(const char *name)
{
    if (strcmp(name, "val_mae_gy") == 0) return "MAE, whole array";
    if (strcmp(name, "val_mae_ptv_gy") == 0) return "MAE, targets";
    if (strcmp(name, "val_dose_score") == 0) return "OpenKBP dose score";
    return name;
}

/* The column that chose the weights; -1 where it has no data. */
static int find_monitor(const dg_figure_table *table, const char *wanted)
{
    if (wanted != NULL) {
        int column = dg_figure_table_find(table, wanted);
        return column >= 0 && is_score(wanted) && column_extent(table, column).count > 0 ? column : -1;
    }
    for (int column = table->columns - 1; column >= 0; column--) {
        if (is_score(table->name[column]) && column_extent(table, column).count > 0) return column;
    }
    return -1;
}

static void draw_loss(dg_plot *plot, const dg_figure_table *table, int step, int loss, double width)
{
    put_column(plot, table, step, loss, "loss.dat");
    dg_plot_panel(plot, 0.65, 1.5, width, 1.75);
    dg_plot_title(plot, "Training loss", width);
    dg_plot_axis(plot, 'y', "Loss");
    scale_axis(plot, column_extent(table, loss));
    step_axis(plot, table, step);
    dg_plot_add(plot, "set format x ''\n");
    dg_plot_legend(plot, 0.65 + width - 1.5, 3.12, "#9CC7E0", "1", "each step", 0);
    dg_plot_legend(plot, 0.65 + width - 1.5, 2.95, COLOUR_BLUE, "1", "running mean", 0);
    dg_plot_add(plot,
                "plot 'loss.dat' using 1:2 lc rgb '#9CC7E0' lw 0.8, '' using 1:3 lc rgb '" COLOUR_BLUE "' lw 1.6\n");
}

static void draw_rate(dg_plot *plot, const dg_figure_table *table, int step, int rate, double width)
{
    dg_plot_panel(plot, 0.65, 0.5, width, 0.75);
    step_axis(plot, table, step);
    dg_plot_axis(plot, 'x', "Training step");
    if (rate < 0 || column_extent(table, rate).count == 0) {
        dg_plot_add(plot, "unset ytics\nset yrange [0:1]\n");
        dg_plot_label(plot, "graph", 0.5, 0.5, "learning rate not recorded", 60, "center font ',7'");
    } else {
        put_column(plot, table, step, rate, "rate.dat");
        dg_plot_axis(plot, 'y', "Learning rate");
        dg_plot_add(plot, "set format y '%%.0e'\nset yrange [0:*]\nset ytics %.6g\n",
                    dg_round_step(fmax(column_extent(table, rate).high, 1e-12), 3));
    }
    dg_plot_add(plot, "plot '%s' using 1:%s lc rgb '" COLOUR_GREEN "' lw 1.4\n",
                rate >= 0 && column_extent(table, rate).count > 0 ? "rate.dat" : "loss.dat",
                rate >= 0 && column_extent(table, rate).count > 0 ? "2" : "(NaN)");
}

/* Curves of all scores with the best step of the monitor. Returns that step's row, -1 without a monitor. */
static int64_t draw_scores(dg_plot *plot, const dg_figure_table *table, int step, int monitor)
{
    double left = 4.35, y = 3.12;
    int64_t best = -1, shown = 0;
    dg_plot_panel(plot, left, 0.5, 2.7, 2.75);
    step_axis(plot, table, step);
    dg_plot_title(plot, "Validation", 2.7);
    dg_plot_axis(plot, 'x', "Training step");
    dg_plot_axis(plot, 'y', "Error (Gy)");
    dg_plot_add(plot, "set yrange [0:*]\n");
    for (int64_t row = 0; monitor >= 0 && row < table->rows; row++) {
        double value = field(table, row, monitor);
        if (isfinite(value) && (best < 0 || value < field(table, best, monitor))) best = row;
    }
    char plots[4096] = "";
    for (int column = 0; column < table->columns && shown < SERIES_COLOURS; column++) {
        char name[PLOT_FILE_NAME];
        if (!is_score(table->name[column]) || column_extent(table, column).count == 0) continue;
        snprintf(name, sizeof name, "score%d.dat", column);
        put_column(plot, table, step, column, name);
        dg_plot_legend(plot, left + 0.75, y, dg_series_colour(shown), "1", score_words(table->name[column]), 0);
        y -= 0.17;
        size_t used = strlen(plots);
        snprintf(plots + used, sizeof plots - used, "%s'%s' using 1:2 with linespoints pt 7 ps 0.35 lc rgb '%s' lw 1.4",
                 shown > 0 ? ", " : "plot ", name, dg_series_colour(shown));
        shown++;
    }
    if (best >= 0) {
        char words[64];
        snprintf(words, sizeof words, "best weights: step %.0f, %.2f Gy", field(table, best, step),
                 field(table, best, monitor));
        dg_plot_add(plot,
                    "set arrow from first %.7g,graph 0 to first %.7g,graph 1 nohead dt 3 lw 1 lc rgb '" PLOT_GREY "'\n",
                    field(table, best, step), field(table, best, step));
        dg_plot_label(plot, "screen", (left + 0.75) / plot->width_in, (y - 0.02) / plot->height_in, words, 60,
                      "left font ',7' textcolor rgb '" PLOT_GREY "'");
        size_t used = strlen(plots);
        dg_plot_data(plot, "best.dat");
        dg_plot_row(plot, 2, (double[]){field(table, best, step), field(table, best, monitor)});
        dg_plot_data_end(plot);
        snprintf(plots + used, sizeof plots - used,
                 ", 'best.dat' using 1:2 with points pt 6 ps 1.3 lw 1.6 lc rgb '" PLOT_INK "'");
    }
    dg_plot_add(plot, "%s\n", plots);
    return best;
}

static bool any_score(const dg_figure_table *table)
{
    for (int column = 0; column < table->columns; column++) {
        if (is_score(table->name[column]) && column_extent(table, column).count > 0) return true;
    }
    return false;
}

dg_status dg_figure_training_curves(const dg_figure_output *output, const dg_figure_training *data,
                                    dg_figure_result *result)
{
    dg_plot plot;
    const dg_figure_table *table = data->metrics;
    int step = dg_figure_table_find(table, "step"), loss = dg_figure_table_find(table, "loss");
    DG_TRY(dg_figure_start(output, result, "fig1_training_curves"));
    if (step < 0 || column_extent(table, loss).count < 2)
        return dg_figure_nothing(result, "the run has fewer than two steps with a loss");
    bool scores = any_score(table);
    double width = scores ? 2.9 : 6.4;
    dg_plot_begin(&plot, 7.2, 3.6);
    draw_loss(&plot, table, step, loss, width);
    draw_rate(&plot, table, step, dg_figure_table_find(table, "lr"), width);
    int monitor = find_monitor(table, data->monitor);
    int64_t best = scores ? draw_scores(&plot, table, step, monitor) : -1;
    dg_figure_caption(result, "Loss of every training step and its running mean, and the learning rate.%s",
                      scores ? " Errors of the validation cases in Gy." : " No validation was recorded.");
    if (best >= 0) {
        size_t used = strlen(result->caption);
        snprintf(result->caption + used, sizeof result->caption - used,
                 " The dotted line marks the best weights by %s: step %.0f, %.3f Gy.", table->name[monitor],
                 field(table, best, step), field(table, best, monitor));
    }
    dg_status status = dg_plot_finish(&plot, output, result);
    dg_plot_release(&plot);
    return status;
}

/* Columns of components ("mse", "term_dvh") or of learned widths ("sigma_mse") that have numbers above 0. */
static int pick_columns(const dg_figure_table *table, bool sigma, int column[DG_TABLE_COLUMNS])
{
    int count = 0;
    for (int k = 0; k < table->columns; k++) {
        const char *name = table->name[k];
        bool is_sigma = strncmp(name, "sigma_", 6) == 0;
        bool is_term = strncmp(name, "term_", 5) == 0 || strcmp(name, "mse") == 0 || strcmp(name, "mae") == 0 ||
                       strcmp(name, "negative") == 0;
        if ((sigma ? is_sigma : is_term) && column_extent(table, k).high > 0) column[count++] = k;
    }
    return count;
}

static const char *component_words(const char *name)
{
    if (strcmp(name, "mse") == 0) return "mean squared error";
    if (strcmp(name, "mae") == 0) return "mean absolute error";
    if (strcmp(name, "negative") == 0) return "negative dose";
    return strncmp(name, "term_", 5) == 0 ? name + 5 : strncmp(name, "sigma_", 6) == 0 ? name + 6 : name;
}

/* The colour of a component is that of its width: by the name without prefix. */
static int component_colour(const dg_figure_table *table, const int *terms, int count, const char *words, int fallback)
{
    for (int k = 0; k < count; k++) {
        const char *name = table->name[terms[k]];
        if (strcmp(strncmp(name, "term_", 5) == 0 ? name + 5 : name, words) == 0) return k;
    }
    return fallback;
}

/* Where phases of the loss begin. */
typedef struct phase_lines {
    const double *step;
    int count;
} phase_lines;

static void draw_phases(dg_plot *plot, const phase_lines *lines)
{
    for (int k = 0; k < lines->count; k++)
        dg_plot_add(plot,
                    "set arrow from first %.7g,graph 0 to first %.7g,graph 1 nohead dt 3 lw 1 lc rgb '" PLOT_GREY "'\n",
                    lines->step[k], lines->step[k]);
}

static void draw_columns(dg_plot *plot, const dg_figure_table *table, int step, const int *column, int count,
                         const int *colour, double left, double width, bool sigma, const phase_lines *lines)
{
    extent all = {0, INFINITY, -INFINITY};
    dg_plot_panel(plot, left, 0.5, width, 2.55);
    draw_phases(plot, lines);
    step_axis(plot, table, step);
    dg_plot_title(plot, sigma ? "Learned widths of the components" : "Components of the loss, unweighted", width);
    dg_plot_axis(plot, 'x', "Training step");
    dg_plot_axis(plot, 'y', sigma ? "Sigma" : "Value (running mean)");
    for (int k = 0; k < count; k++) {
        char name[PLOT_FILE_NAME];
        snprintf(name, sizeof name, "column%d.dat", column[k]);
        put_column(plot, table, step, column[k], name);
        extent e = column_extent(table, column[k]);
        all = (extent){all.count + e.count, fmin(all.low, e.low), fmax(all.high, e.high)};
        dg_plot_legend(plot, left + width - 1.75, 2.98 - 0.17 * k, dg_series_colour(colour[k]),
                       k < SERIES_COLOURS ? "1" : "2", component_words(table->name[column[k]]), 0);
    }
    if (!sigma) /* six decades: a component that dies out would flatten the others */
        dg_plot_add(plot, "set logscale y\nset format y '%%.0e'\nset yrange [%.6g:*]\n",
                    fmax(0.5 * all.low, 1e-6 * all.high));
    if (sigma) scale_axis(plot, all);
    for (int k = 0; k < count; k++)
        dg_plot_add(plot, "%s'column%d.dat' using 1:%s with lines lc rgb '%s' lw 1.6 dt %s", k > 0 ? ", " : "plot ",
                    column[k], sigma ? "3" : "($3>0?$3:NaN)", dg_series_colour(colour[k]),
                    k < SERIES_COLOURS ? "1" : "2");
    dg_plot_add(plot, "\n");
}

dg_status dg_figure_loss_components(const dg_figure_output *output, const dg_figure_table *metrics,
                                    const double *phase_step, int phases, dg_figure_result *result)
{
    dg_plot plot;
    const phase_lines lines = {phase_step, phases};
    int term[DG_TABLE_COLUMNS], sigma[DG_TABLE_COLUMNS], term_colour[DG_TABLE_COLUMNS], sigma_colour[DG_TABLE_COLUMNS];
    int step = dg_figure_table_find(metrics, "step");
    DG_TRY(dg_figure_start(output, result, "fig9_loss_components"));
    int terms = pick_columns(metrics, false, term), sigmas = pick_columns(metrics, true, sigma);
    if (step < 0 || terms == 0) return dg_figure_nothing(result, "the run recorded no component of the loss above 0");
    for (int k = 0; k < terms; k++) term_colour[k] = k;
    for (int k = 0; k < sigmas; k++)
        sigma_colour[k] = component_colour(metrics, term, terms, metrics->name[sigma[k]] + 6, terms + k);
    dg_plot_begin(&plot, sigmas > 0 ? 7.2 : 4.6, 3.4);
    draw_columns(&plot, metrics, step, term, terms, term_colour, 0.75, sigmas > 0 ? 2.75 : 3.7, false, &lines);
    if (sigmas > 0) draw_columns(&plot, metrics, step, sigma, sigmas, sigma_colour, 4.3, 2.75, true, &lines);
    dg_figure_caption(result,
                      "Components of the training loss before weighting, as running means on a logarithmic axis.%s%s",
                      phases > 0 ? " Dotted lines: where a phase of the loss begins." : "",
                      sigmas > 0 ? " Right: the learned standard deviations that weight them." : "");
    dg_status status = dg_plot_finish(&plot, output, result);
    dg_plot_release(&plot);
    return status;
}
