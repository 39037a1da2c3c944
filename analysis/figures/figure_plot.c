/* figure_plot.c - a plot under construction: commands, data files, text. SPDX-License-Identifier: Apache-2.0 */
#include "figure_impl.h"

#include "dg_file.h"
#include "dg_mem.h"
#include "dg_utf8.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *dg_series_colour(int64_t index)
{
    static const char *const colour[SERIES_COLOURS] = {COLOUR_BLUE,   COLOUR_VERMILLION, COLOUR_GREEN,
                                                       COLOUR_ORANGE, COLOUR_PURPLE,     COLOUR_SKY};
    return colour[index % SERIES_COLOURS];
}

void dg_plot_begin(dg_plot *plot, double width_in, double height_in)
{
    *plot = (dg_plot){.width_in = width_in, .height_in = height_in};
    plot->script = open_memstream(&plot->text, &plot->length);
    plot->failed = plot->script == NULL;
    dg_plot_add(plot,
                "set datafile separator '\\t'\nset datafile missing 'NaN'\nset multiplot\nunset key\nunset colorbox\n"
                "set border 3 lc rgb '" PLOT_GREY "' lw 0.8\n"
                "set tics nomirror out scale 0.6 textcolor rgb '" PLOT_INK "' font ',7'\n");
}

void dg_plot_release(dg_plot *plot)
{
    if (plot->open != NULL) fclose(plot->open);
    if (plot->script != NULL) fclose(plot->script);
    free(plot->text); /* memory of open_memstream */
    for (int i = 0; i < plot->files; i++) free(plot->file[i].bytes);
    *plot = (dg_plot){0};
}

void dg_plot_add(dg_plot *plot, const char *format, ...)
{
    if (plot->failed) return;
    va_list arguments;
    va_start(arguments, format);
    if (vfprintf(plot->script, format, arguments) < 0) plot->failed = true;
    va_end(arguments);
}

static void put_bytes(dg_plot *plot, const char *text, int count)
{
    for (int k = 0; k < count; k++) {
        bool plain = (unsigned char)text[k] < 0x80 && text[k] != '\0' &&
                     strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .,:;()/+-=<>_", text[k]);
        dg_plot_add(plot, plain ? "%c" : "\\%03o", (unsigned char)text[k]);
    }
}

void dg_plot_text(dg_plot *plot, const char *text, int limit)
{
    dg_plot_add(plot, "\"");
    for (int shown = 0; *text != '\0'; shown++) {
        int used;
        uint32_t code = dg_utf8_decode(text, &used);
        if (shown == limit - 1 && text[used] != '\0') {
            dg_plot_add(plot, "\\342\\200\\246");
            break;
        }
        if (dg_utf8_is_control(code))
            dg_plot_add(plot, " ");
        else if (code == 0xFFFD)
            dg_plot_add(plot, "\\357\\277\\275");
        else
            put_bytes(plot, text, used);
        text += used;
    }
    dg_plot_add(plot, "\"");
}

void dg_plot_label(dg_plot *plot, const char *where, double x, double y, const char *text, int limit, const char *style)
{
    dg_plot_add(plot, "set label ");
    dg_plot_text(plot, text, limit);
    dg_plot_add(plot, " at %s %.6g,%s %.6g noenhanced front %s\n", where, x, where, y, style);
}

void dg_plot_panel(dg_plot *plot, double left, double bottom, double width, double height)
{
    dg_plot_add(
        plot,
        "unset label\nunset arrow\nunset object\nunset logscale\nset format '%%g'\nset autoscale\n"
        "unset xlabel\nunset ylabel\nunset y2tics\nunset grid\nset xtics auto\nset ytics auto\nset style data lines\n"
        "set lmargin at screen %.6f\nset rmargin at screen %.6f\n"
        "set bmargin at screen %.6f\nset tmargin at screen %.6f\n",
        left / plot->width_in, (left + width) / plot->width_in, bottom / plot->height_in,
        (bottom + height) / plot->height_in);
}

static const double CELL_HEAD = 0.35, CELL_AXES = 1.75;

int dg_plot_columns(int count, int labels)
{
    if (count == 1 || labels > 16) return 1;
    return count == 2 || count == 4 || labels > 8 ? 2 : 3;
}

static double foot_of(bool turned) { return turned ? 0.75 : 0.35; }

double dg_plot_cells_height(int count, int columns, bool turned)
{
    return (count + columns - 1) / columns * (CELL_HEAD + CELL_AXES + foot_of(turned));
}

plot_cell dg_plot_cell(int number, int count, int columns, bool turned)
{
    int rows = (count + columns - 1) / columns;
    double width = 7.1 / columns, height = CELL_HEAD + CELL_AXES + foot_of(turned);
    return (plot_cell){number % columns * width + 0.6, (rows - 1 - number / columns) * height + foot_of(turned),
                       width - 0.7, CELL_AXES, turned};
}

void dg_plot_title(dg_plot *plot, const char *text, double width)
{
    dg_plot_label(plot, "graph", 0, 1, text, (int)(width / 0.072) + 1, "left offset 0,0.8 font '" PLOT_FONT " Bold,8'");
}

void dg_plot_axis(dg_plot *plot, char axis, const char *text)
{
    dg_plot_add(plot, "set %clabel ", axis);
    dg_plot_text(plot, text, 80);
    dg_plot_add(plot, " noenhanced textcolor rgb '" PLOT_INK "'\n");
}

void dg_plot_legend(dg_plot *plot, double x, double y, const char *colour, const char *dash, const char *text,
                    int limit)
{
    dg_plot_add(plot,
                "set arrow from screen %.6f,screen %.6f to screen %.6f,screen %.6f nohead lc rgb '%s' lw 2 dt %s\n",
                x / plot->width_in, y / plot->height_in, (x + 0.3) / plot->width_in, y / plot->height_in, colour, dash);
    dg_plot_label(plot, "screen", (x + 0.38) / plot->width_in, y / plot->height_in, text,
                  limit > 0 ? limit : (int)((plot->width_in - x - 0.38) / 0.06), "left font ',7'");
}

void dg_plot_tick(dg_plot *plot, double position, const char *text, int limit, bool turned)
{
    dg_plot_add(plot, "set label ");
    dg_plot_text(plot, text, limit);
    dg_plot_add(plot, " at first %.6g,graph 0 noenhanced %s\n", position,
                turned ? "right rotate by 45 offset 0.4,-0.6 font ',6.5'" : "center offset 0,-0.9 font ',7'");
}

bool dg_plot_turns(int64_t characters, double width) { return 0.068 * (double)characters > width; }

FILE *dg_plot_data(dg_plot *plot, const char *name)
{
    if (plot->failed || plot->files == PLOT_FILES) {
        plot->failed = true;
        return NULL;
    }
    plot_file *file = &plot->file[plot->files++];
    snprintf(file->name, sizeof file->name, "%s", name);
    plot->open = open_memstream(&file->bytes, &file->length);
    plot->failed = plot->open == NULL;
    return plot->open;
}

void dg_plot_data_end(dg_plot *plot)
{
    if (plot->open != NULL && fclose(plot->open) != 0) plot->failed = true;
    plot->open = NULL;
}

void dg_plot_row(dg_plot *plot, int count, const double *value)
{
    if (plot->open == NULL) return;
    for (int k = 0; k < count; k++) {
        if (isfinite(value[k]))
            fprintf(plot->open, "%s%.7g", k > 0 ? "\t" : "", value[k]);
        else
            fprintf(plot->open, "%sNaN", k > 0 ? "\t" : "");
    }
    fputc('\n', plot->open);
}

void dg_plot_gap(dg_plot *plot)
{
    if (plot->open != NULL) fputc('\n', plot->open);
}

int dg_figure_dpi(const dg_figure_output *output) { return output->dpi > 0 ? output->dpi : DG_FIGURE_DPI; }

static int pixels(double inches, const dg_figure_output *output) { return (int)lround(inches * dg_figure_dpi(output)); }

/* Page and format, and the figure once for each format: the PDF is in points, the PNG in pixels of 1/300 inch. */
static void write_formats(FILE *script, const dg_plot *plot, const dg_figure_output *output)
{
    fprintf(script, "set encoding utf8\n");
    if (output->png)
        fprintf(
            script,
            "set terminal pngcairo noenhanced size %d,%d font '" PLOT_FONT ",7.5' fontscale %.4f linewidth %.4g "
            "dashlength 1.1 pointscale %.4g rounded background rgb 'white'\nset output 'figure.png'\nload 'figure.gp'\n"
            "unset output\nreset\n",
            pixels(plot->width_in, output), pixels(plot->height_in, output),
            0.8 * dg_figure_dpi(output) / 72.0, /* gnuplot takes a point for 1/58 inch here */
            3.2 * dg_figure_dpi(output) / DG_FIGURE_DPI, 3.2 * dg_figure_dpi(output) / DG_FIGURE_DPI);
    if (output->pdf)
        fprintf(script,
                "set terminal pdfcairo noenhanced size %.4fin,%.4fin font '" PLOT_FONT
                ",7.5' fontscale 0.76 linewidth 1 "
                "dashlength 2 pointscale 0.4 rounded\nset output 'figure.pdf'\nload 'figure.gp'\nunset output\n",
                plot->width_in, plot->height_in);
}

static dg_status write_folder(const dg_plot *plot, const dg_figure_output *output, const char *folder)
{
    char path[DG_PATH_MAX];
    char *text = NULL;
    size_t length = 0;
    FILE *script = open_memstream(&text, &length);
    if (script == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for a gnuplot script");
    write_formats(script, plot, output);
    dg_status status = fclose(script) == 0 ? dg_path_join(path, folder, "run.gp") : DG_FAIL(DG_ERR_MEMORY, "no memory");
    if (status == DG_OK) status = dg_file_write(path, text, (int64_t)length);
    free(text);
    DG_TRY(status);
    DG_TRY(dg_path_join(path, folder, "figure.gp"));
    DG_TRY(dg_file_write(path, plot->text, (int64_t)plot->length));
    for (int i = 0; i < plot->files; i++) {
        DG_TRY(dg_path_join(path, folder, plot->file[i].name));
        DG_TRY(dg_file_write(path, plot->file[i].bytes, (int64_t)plot->file[i].length));
    }
    return DG_OK;
}

static dg_status take(const dg_plot *plot, const char *from, const dg_figure_output *output, const char *name,
                      const char *extension)
{
    char path[DG_PATH_MAX], file[DG_FIGURE_NAME + 8];
    char *bytes = NULL;
    int64_t length = 0;
    snprintf(file, sizeof file, "figure.%s", extension);
    DG_TRY(dg_path_join(path, from, file));
    if (!dg_file_exists(path)) return DG_FAIL(DG_ERR_IO, "gnuplot ended without writing %s.%s", name, extension);
    DG_TRY(dg_file_read(path, name, (int64_t)1 << 28, &bytes, &length));
    dg_status status = strcmp(extension, "png") == 0
                           ? dg_png_finish(&bytes, &length, pixels(plot->width_in, output),
                                           pixels(plot->height_in, output), dg_figure_dpi(output), name)
                           : dg_pdf_finish(bytes, length, name);
    snprintf(file, sizeof file, "%s.%s", name, extension);
    if (status == DG_OK) status = dg_path_join(path, output->folder, file);
    if (status == DG_OK) status = dg_file_write(path, bytes, length);
    dg_free(&bytes);
    return status;
}

static void remove_folder(const dg_plot *plot, const char *folder)
{
    static const char *const fixed[] = {"run.gp", "figure.gp", "figure.png", "figure.pdf", "gnuplot.log"};
    char path[DG_PATH_MAX];
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
        if (dg_path_join(path, folder, fixed[i]) == DG_OK) unlink(path);
    }
    for (int i = 0; i < plot->files; i++) {
        if (dg_path_join(path, folder, plot->file[i].name) == DG_OK) unlink(path);
    }
    rmdir(folder);
}

static dg_status make_folder(char folder[DG_PATH_MAX])
{
    const char *temporary = getenv("TMPDIR");
    char reason[128];
    DG_TRY(
        dg_path_join(folder, temporary != NULL && temporary[0] != '\0' ? temporary : "/tmp", "dosegrid-figure-XXXXXX"));
    if (mkdtemp(folder) == NULL)
        return DG_FAIL(
            DG_ERR_IO, "no temporary folder for gnuplot in %s: %s; set TMPDIR to a folder that can be written",
            temporary != NULL && temporary[0] != '\0' ? temporary : "/tmp", strerror_r(errno, reason, sizeof reason));
    return DG_OK;
}

dg_status dg_plot_finish(dg_plot *plot, const dg_figure_output *output, dg_figure_result *result)
{
    char folder[DG_PATH_MAX];
    dg_plot_add(plot, "unset multiplot\n");
    if (plot->script != NULL && fflush(plot->script) != 0) plot->failed = true;
    if (plot->failed) return DG_FAIL(DG_ERR_MEMORY, "no memory for the data of %s", result->name);
    DG_TRY(make_folder(folder));
    dg_status status = write_folder(plot, output, folder);
    if (status == DG_OK) status = dg_gnuplot_run(folder, "run.gp", result->name, output->deadline_s);
    if (status == DG_OK && output->png) status = take(plot, folder, output, result->name, "png");
    if (status == DG_OK && output->pdf) status = take(plot, folder, output, result->name, "pdf");
    remove_folder(plot, folder);
    result->drawn = status == DG_OK;
    return status;
}

dg_status dg_figure_start(const dg_figure_output *output, dg_figure_result *result, const char *name)
{
    *result = (dg_figure_result){0};
    snprintf(result->name, sizeof result->name, "%s", name);
    if (!output->png && !output->pdf) return DG_FAIL(DG_ERR_USAGE, "%s: neither PNG nor PDF is wanted", name);
    if (!(output->deadline_s > 0))
        return DG_FAIL(DG_ERR_USAGE, "%s: a deadline of %g s for gnuplot is not positive", name, output->deadline_s);
    return DG_OK;
}

dg_status dg_figure_nothing(dg_figure_result *result, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(result->reason, sizeof result->reason, format, arguments);
    va_end(arguments);
    return DG_OK;
}

void dg_figure_caption(dg_figure_result *result, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(result->caption, sizeof result->caption, format, arguments);
    va_end(arguments);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int64_t dg_sorted_finite(const double *value, int64_t count, double *sorted)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < count; i++) {
        if (isfinite(value[i])) sorted[kept++] = value[i];
    }
    qsort(sorted, (size_t)kept, sizeof *sorted, ascending);
    return kept;
}

double dg_sorted_quantile(const double *sorted, int64_t count, double share)
{
    double at = share * (double)(count - 1);
    int64_t below = (int64_t)floor(at);
    int64_t above = below + 1 < count ? below + 1 : below;
    return sorted[below] + (at - (double)below) * (sorted[above] - sorted[below]);
}

double dg_round_step(double range, int most)
{
    double rough = range / most, power = pow(10, floor(log10(rough)));
    double ratio = rough / power;
    return power * (ratio <= 1 ? 1 : ratio <= 2 ? 2 : ratio <= 5 ? 5 : 10);
}
