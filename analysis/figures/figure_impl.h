/* figure_impl.h - what the figures share: a plot under construction (gnuplot commands and data files in memory), text that
 * gnuplot cannot take for a command, colours, and the run of gnuplot. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_FIGURE_IMPL_H
#define DG_FIGURE_IMPL_H

#include "dg_figures.h"

#include <stdint.h>
#include <stdio.h>

enum { PLOT_FILES = 512, PLOT_FILE_NAME = 32 };
#define PLOT_FONT "DejaVu Sans"
#define PLOT_GREY "#6E6E6E"
#define PLOT_INK "#1A1A1A"

/* Okabe and Ito, Color Universal Design, 2008. */
#define COLOUR_BLUE "#0072B2"
#define COLOUR_VERMILLION "#D55E00"
#define COLOUR_GREEN "#009E73"
#define COLOUR_ORANGE "#E69F00"
#define COLOUR_PURPLE "#CC79A7"
#define COLOUR_SKY "#56B4E9"
enum { SERIES_COLOURS = 6 };
const char *dg_series_colour(int64_t index); /* of curves and bars, repeating */

typedef struct plot_file {
    char name[PLOT_FILE_NAME];
    char *bytes;
    size_t length;
} plot_file;

/* A page of width x height inches: commands, and data files they name. Memory failures are kept and told at the end. */
typedef struct dg_plot {
    double width_in, height_in;
    FILE *script;
    char *text;
    size_t length;
    plot_file file[PLOT_FILES];
    int files;
    FILE *open; /* of the data file being written */
    bool failed;
} dg_plot;

void dg_plot_begin(dg_plot *plot, double width_in, double height_in);
void dg_plot_release(dg_plot *plot);
/* Commands of our own; case text goes through dg_plot_text. */
void dg_plot_add(dg_plot *plot, const char *format, ...) DG_PRINTF(2, 3);
/* Text as a gnuplot string: control characters are spaces, bad UTF-8 is U+FFFD, more than `limit` characters end in an
 * ellipsis; every byte but letters, digits and a few signs is an octal escape, so that none can end the string. */
void dg_plot_text(dg_plot *plot, const char *text, int limit);
/* A label at `where` ("screen", "graph", "first") x y with `style` (font, colour, alignment). */
void dg_plot_label(dg_plot *plot, const char *where, double x, double y, const char *text, int limit,
                   const char *style);
/* Axes at a place of the page, in inches; forgets labels, arrows and ticks of the axes before. */
void dg_plot_panel(dg_plot *plot, double left, double bottom, double width, double height);
/* Bold, above the axes, at their left end; cut to what `width` inches hold. */
void dg_plot_title(dg_plot *plot, const char *text, double width);
/* Do labels of this many characters in all need turning to fit beside each other under `width` inches? */
bool dg_plot_turns(int64_t characters, double width);
void dg_plot_axis(dg_plot *plot, char axis, const char *text);
/* How many panels side by side, when the fullest has so many labels. */
int dg_plot_columns(int count, int labels);
/* Panels of one page beside and under each other, 1 to DG_FIGURE_PANELS; `turned` labels need more room under the axes. */
typedef struct plot_cell {
    double left, bottom, width, height; /* of the axes, inches */
    bool turned;
} plot_cell;
plot_cell dg_plot_cell(int number, int count, int columns, bool turned);
double dg_plot_cells_height(int count, int columns, bool turned); /* of the page, which is 7.2 inches wide */
/* An entry of a legend (limit 0: as long as the page is wide): a stroke of `dash` ("1" solid, "2" dashed) at x y (inches) with its text to the right. */
void dg_plot_legend(dg_plot *plot, double x, double y, const char *colour, const char *dash, const char *text,
                    int limit);
/* Text of a case under axis x at a position, where ticks of gnuplot's own are unset; `turned`: written upwards. */
void dg_plot_tick(dg_plot *plot, double position, const char *text, int limit, bool turned);
/* A data file: returns its stream, NULL when memory ran out (tolerated by the put functions below). */
FILE *dg_plot_data(dg_plot *plot, const char *name);
void dg_plot_data_end(dg_plot *plot);
void dg_plot_row(dg_plot *plot, int count, const double *value); /* NaN and infinite: left blank for gnuplot */
void dg_plot_gap(dg_plot *plot);                                 /* parts lines */

/* Draws: runs gnuplot and puts the files into the output folder; result->drawn becomes true. */
DG_MUST_USE dg_status dg_plot_finish(dg_plot *plot, const dg_figure_output *output, dg_figure_result *result);

/* Starts a result: name, not drawn; checks the output. */
DG_MUST_USE dg_status dg_figure_start(const dg_figure_output *output, dg_figure_result *result, const char *name);
/* Nothing to draw, and why. */
dg_status dg_figure_nothing(dg_figure_result *result, const char *format, ...) DG_PRINTF(2, 3);
void dg_figure_caption(dg_figure_result *result, const char *format, ...) DG_PRINTF(2, 3);

/* Runs `gnuplot -d SCRIPT` in `folder`. On failure the message ends with gnuplot's own. */
DG_MUST_USE dg_status dg_gnuplot_run(const char *folder, const char *script, const char *figure, double deadline_s);

int dg_figure_dpi(const dg_figure_output *output);
/* Checks a PNG of the expected size and adds its resolution (pHYs); grows *bytes (dg_alloc). */
DG_MUST_USE dg_status dg_png_finish(char **bytes, int64_t *length, int64_t width, int64_t height, int dpi,
                                    const char *figure);
/* Checks a PDF and sets its creation time, the only thing in it that changes from run to run, to a constant. */
DG_MUST_USE dg_status dg_pdf_finish(char *bytes, int64_t length, const char *figure);

/* The colour of a target or organ: the same in all figures and, as far as the palette reaches, in all cases of a cohort. */
const char *dg_structure_colour(const dg_structure *structure, int count, int index);
/* Name of a case and why it is pictured, for titles and captions: "case pt_7 (median of val_dose_score, 2.41 Gy)". */
void dg_case_words(const dg_figure_case *data, char *text, size_t size);
DG_MUST_USE dg_status dg_case_check(const dg_figure_case *data);
DG_MUST_USE dg_status dg_case_check_structures(const dg_figure_case *data); /* and the grid; no dose is needed */
/* Base name with the suffix of the pick. */
void dg_case_figure_name(char *name, const char *base, dg_figure_pick pick);

/* Linear interpolation between order statistics of sorted values (numpy's default), 0 <= share <= 1. */
double dg_sorted_quantile(const double *sorted, int64_t count, double share);
/* Copies the finite ones of value[count] ascending; returns how many. */
int64_t dg_sorted_finite(const double *value, int64_t count, double *sorted);

/* A round step that gives at most `most` ticks over a range. */
double dg_round_step(double range, int most);

#endif
