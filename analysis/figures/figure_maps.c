/* figure_maps.c - planes of a case on a page: dose on CT, difference, gamma. SPDX-License-Identifier: Apache-2.0 */
#include "figure_planes.h"

#include "dg_mem.h"

#include <math.h>
#include <string.h>

enum { VIEWS = 3, ROWS_MAX = 2, LEGEND_COLUMNS = 5, BAR_STEPS = 256 };
static const double LEFT = 0.32, SIDE = 2.02, GAP = 0.06, PAGE = 7.2, BAR = 0.13;

/* A page of rows of three views. */
typedef struct sheet {
    const dg_figure_case *data;
    plane_frame frame;
    plane_scale scale;
    int rows;
    plane_kind kind[ROWS_MAX];
    plane_view view[ROWS_MAX][VIEWS];
    const char *label[ROWS_MAX];
    const char *bar_label;
    bool isodoses, all_roles; /* all_roles: body and supports are outlined too, in grey */
    const int64_t *mark;      /* [ROWS_MAX][3] voxel ringed in the last row; NULL: none */
    double isodose_percent[2];
    bool seen[DG_STRUCTURES_MAX]; /* structures some view cuts */
    int seen_count;
} sheet;

static bool cuts(const dg_figure_case *data, const plane_view *view, int structure)
{
    const dg_grid *grid = data->grid;
    int64_t at[3];
    at[view->normal] = view->plane;
    for (int64_t u = 0; u < grid->shape[view->up_axis]; u++) {
        for (int64_t r = 0; r < grid->shape[view->right_axis]; r++) {
            at[view->up_axis] = u;
            at[view->right_axis] = r;
            if (data->masks[dg_grid_index(grid, at[0], at[1], at[2])] >> structure & 1) return true;
        }
    }
    return false;
}

static void find_seen(sheet *s)
{
    for (int k = 0; k < s->data->structure_count; k++) {
        dg_role role = s->data->structure[k].role;
        for (int v = 0; v < s->rows * VIEWS && !s->seen[k]; v++)
            s->seen[k] =
                (role == DG_ROLE_TARGET || role == DG_ROLE_OAR || (s->all_roles && role != DG_ROLE_POSSIBLE_DOSE)) &&
                cuts(s->data, &s->view[v / VIEWS][v % VIEWS], k);
        s->seen_count += s->seen[k];
    }
}

static const char *colour_of(const sheet *s, int structure)
{
    const dg_role role = s->data->structure[structure].role;
    if (role != DG_ROLE_TARGET && role != DG_ROLE_OAR) return PLOT_GREY;
    return dg_structure_colour(s->data->structure, s->data->structure_count, structure);
}

static double foot_in(const sheet *s) { return 0.12 + 0.17 * ((s->seen_count + LEGEND_COLUMNS - 1) / LEGEND_COLUMNS); }

static double row_bottom(const sheet *s, int row) { return foot_in(s) + (s->rows - 1 - row) * (SIDE + GAP); }

static void put_picture(dg_plot *plot, const sheet *s, int row, int v)
{
    char name[PLOT_FILE_NAME];
    unsigned char *pixels;
    size_t size = (size_t)PLANE_PIXELS * PLANE_PIXELS * 3;
    snprintf(name, sizeof name, "view%d%d.rgb", row, v);
    FILE *file = dg_plot_data(plot, name);
    if (file == NULL || DG_NEW(&pixels, size, "picture of a plane") != DG_OK) {
        plot->failed = true;
        return;
    }
    dg_plane_raster(s->data, &s->frame, &s->view[row][v], s->kind[row], &s->scale, pixels);
    if (fwrite(pixels, 1, size, file) != size) plot->failed = true;
    dg_free(&pixels);
    dg_plot_data_end(plot);
}

/* Outlines with a dark rim, so that they stand out on light and dark ground; then isodoses in white. */
static void put_lines(dg_plot *plot, const sheet *s, int row, int v)
{
    char name[PLOT_FILE_NAME];
    const plane_view *view = &s->view[row][v];
    for (int k = 0; k < s->data->structure_count; k++) {
        if (!s->seen[k]) continue;
        snprintf(name, sizeof name, "outline%d%d-%d.dat", row, v, k);
        dg_plot_data(plot, name);
        int64_t lines = dg_plane_outline(plot, s->data, &s->frame, view, k);
        dg_plot_data_end(plot);
        if (lines > 0)
            dg_plot_add(
                plot, ", '%s' using 1:2 with lines lw 2.0 lc rgb '#FFFFFF', '' using 1:2 with lines lw 1.2 lc rgb '%s'",
                name, colour_of(s, k));
    }
    for (int k = 0; k < 2 && s->isodoses; k++) {
        const float *dose = s->kind[row] == PLANE_REFERENCE ? s->data->reference_gy : s->data->prediction_gy;
        snprintf(name, sizeof name, "isodose%d%d-%d.dat", row, v, k);
        dg_plot_data(plot, name);
        int64_t lines =
            dg_plane_isodose(plot, s->data, &s->frame, view, dose, 0.01 * s->isodose_percent[k] * s->frame.scale_gy);
        dg_plot_data_end(plot);
        if (lines > 0)
            dg_plot_add(plot, ", '%s' using 1:2 with lines lw %s lc rgb '#000000'", name, k == 0 ? "1.1" : "0.6");
    }
}

static void put_sides(dg_plot *plot, const plane_view *view)
{
    static const char style[] = "font '" PLOT_FONT " Bold,7' textcolor rgb '#FFFFFF'";
    char left[96];
    const char *side[4] = {view->left, view->right, view->top, view->bottom};
    const double x[4] = {0.03, 0.97, 0.5, 0.5}, y[4] = {0.5, 0.5, 0.955, 0.045};
    for (int k = 0; k < 4; k++) {
        snprintf(left, sizeof left, "%s %s", k == 0 ? "left" : k == 1 ? "right" : "center", style);
        dg_plot_label(plot, "graph", x[k], y[k], side[k], 4, left);
    }
}

/* 5 cm, or 1 cm in a small frame. */
static void put_ruler(dg_plot *plot, double side_mm)
{
    double length = side_mm >= 120 ? 50 : 10, half = 0.5 * side_mm;
    double x = -half + 0.05 * side_mm, y = -half + 0.05 * side_mm;
    dg_plot_add(plot, "set arrow from first %.6g,%.6g to first %.6g,%.6g nohead front lw 2 lc rgb '#FFFFFF'\n", x, y,
                x + length, y);
    dg_plot_label(plot, "first", x + 0.5 * length, y + 0.035 * side_mm, length > 20 ? "5 cm" : "1 cm", 8,
                  "center font ',6.5' textcolor rgb '#FFFFFF'");
}

static void draw_view(dg_plot *plot, const sheet *s, int row, int v)
{
    const plane_view *view = &s->view[row][v];
    double half = 0.5 * s->frame.side_mm, step = s->frame.side_mm / PLANE_PIXELS;
    put_picture(plot, s, row, v);
    dg_plot_panel(plot, LEFT + v * (SIDE + GAP), row_bottom(s, row), SIDE, SIDE);
    dg_plot_add(plot, "unset xtics\nunset ytics\nunset border\nset xrange [%.6g:%.6g]\nset yrange [%.6g:%.6g]\n", -half,
                half, -half, half);
    put_sides(plot, view);
    if (v == 0) put_ruler(plot, s->frame.side_mm);
    if (row == 0 || s->mark != NULL) {
        char words[64];
        double along = (double)view->plane * s->data->grid->spacing_mm[view->normal];
        snprintf(words, sizeof words, "%s, plane %lld (%.0f mm)", view->name, (long long)view->plane + 1, along);
        if (row > 0) snprintf(words, sizeof words, "plane %lld", (long long)view->plane + 1);
        if (row == 0)
            dg_plot_label(plot, "graph", 0.5, 1, words, 60, "center offset 0,0.6 font ',7.5'");
        else
            dg_plot_label(plot, "graph", 0.97, 0.045, words, 60, "right font ',6' textcolor rgb '#FFFFFF'");
    }
    if (v == 0)
        dg_plot_label(plot, "graph", 0, 0.5, s->label[row], 60,
                      "center rotate by 90 offset -1.3,0 font '" PLOT_FONT " Bold,8'");
    if (s->mark != NULL && row == s->rows - 1) {
        double x, y;
        dg_plane_place(s->data->grid, &s->frame, view, (double)s->mark[view->right_axis],
                       (double)s->mark[view->up_axis], &x, &y);
        dg_plot_add(
            plot,
            "set object circle at first %.6g,%.6g radius first %.6g front fs empty border lc rgb '#000000' lw 1.6\n", x,
            y, 0.03 * s->frame.side_mm);
    }
    dg_plot_add(
        plot,
        "plot 'view%d%d.rgb' binary array=(%d,%d) origin=(%.8g,%.8g) dx=%.8g dy=%.8g format='%%uchar%%uchar%%uchar' "
        "using 1:2:3 with rgbimage",
        row, v, PLANE_PIXELS, PLANE_PIXELS, -half + 0.5 * step, -half + 0.5 * step, step, step);
    put_lines(plot, s, row, v);
    dg_plot_add(plot, "\n");
}

/* The colour bar over the height of all rows; isodose levels are drawn across it. */
static void draw_bar(dg_plot *plot, const sheet *s)
{
    double low = s->scale.low, high = s->scale.high, step = (high - low) / BAR_STEPS;
    double height = s->rows * SIDE + (s->rows - 1) * GAP;
    double shown = fmin(height, 2.6);
    FILE *file = dg_plot_data(plot, "bar.rgb");
    for (int k = 0; k < BAR_STEPS && file != NULL; k++) {
        plane_rgb colour = dg_map_colour(s->scale.map, (k + 0.5) / BAR_STEPS);
        for (int side = 0; side < 2; side++) fwrite(colour.c, 1, 3, file);
    }
    dg_plot_data_end(plot);
    dg_plot_panel(plot, LEFT + VIEWS * SIDE + 2 * GAP + 0.1, foot_in(s) + 0.5 * (height - shown), BAR, shown);
    dg_plot_add(
        plot,
        "unset xtics\nunset ytics\nset border 15\nset xrange [0:1]\nset yrange [%.6g:%.6g]\nset y2range [%.6g:%.6g]\n",
        low, high, low, high);
    dg_plot_add(plot, "set y2tics %.6g scale 0.5 offset -0.6,0 font ',6.5'\n", dg_round_step(high - low, 8));
    dg_plot_label(plot, "graph", 2.2, 1, s->bar_label, 30, "center offset 0,0.7 font ',7'");
    for (int k = 0; k < 2 && s->isodoses; k++) {
        double level = 0.01 * s->isodose_percent[k] * s->frame.scale_gy;
        dg_plot_add(plot,
                    "set arrow from graph 0,first %.6g to graph 1,first %.6g nohead front lw %s lc rgb '#000000'\n",
                    level, level, k == 0 ? "1.4" : "0.8");
    }
    dg_plot_add(plot,
                "plot 'bar.rgb' binary array=(2,%d) origin=(0.25,%.8g) dx=0.5 dy=%.8g format='%%uchar%%uchar%%uchar' "
                "using 1:2:3 "
                "with rgbimage\nunset y2tics\nset border 3\n",
                BAR_STEPS, low + 0.5 * step, step);
}

static void draw_legend(dg_plot *plot, const sheet *s)
{
    int place = 0;
    dg_plot_panel(plot, 0.1, 0.01, PAGE - 0.2, 0.05);
    for (int k = 0; k < s->data->structure_count; k++) {
        if (!s->seen[k]) continue;
        double x = LEFT + (PAGE - LEFT - 0.1) / LEGEND_COLUMNS * (place % LEGEND_COLUMNS);
        dg_plot_legend(plot, x, foot_in(s) - 0.14 - 0.17 * (place / LEGEND_COLUMNS), colour_of(s, k), "1",
                       s->data->structure[k].name, 16);
        place++;
    }
    dg_plot_add(plot,
                "unset border\nunset xtics\nunset ytics\nset xrange [0:1]\nset yrange [0:1]\nplot NaN\nset border 3\n");
}

static dg_status draw_sheet(sheet *s, const char *title, const dg_figure_output *output, dg_figure_result *result)
{
    dg_plot plot;
    char words[256];
    find_seen(s);
    double height = row_bottom(s, 0) + SIDE + 0.48;
    dg_plot_begin(&plot, PAGE, height);
    for (int row = 0; row < s->rows; row++) {
        for (int v = 0; v < VIEWS; v++) draw_view(&plot, s, row, v);
    }
    if (s->bar_label != NULL) draw_bar(&plot, s);
    dg_case_words(s->data, words, sizeof words);
    char heading[512];
    snprintf(heading, sizeof heading, "%s. %s", title, words);
    dg_plot_panel(&plot, 0.1, height - 0.05, 1, 0.02);
    dg_plot_label(&plot, "screen", LEFT / PAGE, 1 - 0.14 / height, heading, 110, "left font '" PLOT_FONT " Bold,8'");
    dg_plot_add(&plot,
                "unset border\nunset xtics\nunset ytics\nset xrange [0:1]\nset yrange [0:1]\nplot NaN\nset border 3\n");
    draw_legend(&plot, s);
    dg_status status = dg_plot_finish(&plot, output, result);
    dg_plot_release(&plot);
    return status;
}

static dg_status begin_sheet(const dg_figure_output *output, const dg_figure_case *data, const char *base, sheet *s,
                             int64_t centroid[3], bool *any, dg_figure_result *result)
{
    char name[DG_FIGURE_NAME];
    dg_case_figure_name(name, base, data->pick);
    DG_TRY(dg_figure_start(output, result, name));
    DG_TRY(dg_case_check(data));
    *s = (sheet){.data = data, .rows = 1, .isodose_percent = {95, 50}};
    *any = dg_plane_frame(data, &s->frame, centroid);
    if (!*any) return dg_figure_nothing(result, "case %.60s has no reference dose above 0", data->case_id);
    dg_plane_views(data->grid, centroid, s->view[0]);
    dg_plane_views(data->grid, centroid, s->view[1]);
    return DG_OK;
}

dg_status dg_figure_dose_colorwash(const dg_figure_output *output, const dg_figure_case *data, dg_figure_result *result)
{
    sheet s;
    int64_t centroid[3];
    bool any;
    char words[256], bar[64];
    DG_TRY(begin_sheet(output, data, "fig2_dose_colorwash", &s, centroid, &any, result));
    if (!any) return DG_OK;
    s.rows = 2;
    s.kind[0] = PLANE_REFERENCE;
    s.kind[1] = PLANE_PREDICTION;
    s.label[0] = "Reference";
    s.label[1] = "Prediction";
    s.scale = (plane_scale){&DG_MAP_DOSE, 0, 1.1 * s.frame.scale_gy};
    s.isodoses = true;
    snprintf(bar, sizeof bar, "Dose (Gy)");
    s.bar_label = bar;
    dg_case_words(data, words, sizeof words);
    dg_figure_caption(result,
                      "%s. Reference dose (top) and prediction (bottom) on CT in the planes through the centroid of "
                      "the %s. Colours from "
                      "10 to 110 %% of %.1f Gy (%s); black lines: isodoses of 95 %% (thick) and 50 %% (thin).",
                      words, s.frame.by_targets ? "targets" : "high dose", s.frame.scale_gy,
                      data->prescription_gy > 0 ? "the prescription" : "the reference maximum");
    return draw_sheet(&s, "Dose on CT", output, result);
}

dg_status dg_figure_dose_difference(const dg_figure_output *output, const dg_figure_case *data,
                                    dg_figure_result *result)
{
    sheet s;
    int64_t centroid[3];
    bool any;
    char words[256];
    DG_TRY(begin_sheet(output, data, "fig3_dose_difference", &s, centroid, &any, result));
    if (!any) return DG_OK;
    s.kind[0] = PLANE_DIFFERENCE;
    s.label[0] = "Prediction minus reference";
    s.scale = (plane_scale){&DG_MAP_DIFFERENCE, -0.1 * s.frame.scale_gy, 0.1 * s.frame.scale_gy};
    s.bar_label = "Gy";
    dg_case_words(data, words, sizeof words);
    dg_figure_caption(result,
                      "%s. Prediction minus reference in Gy in the planes through the centroid of the %s: red is "
                      "too much, blue too "
                      "little dose. Colours end at 10 %% of %.1f Gy (%s).",
                      words, s.frame.by_targets ? "targets" : "high dose", s.frame.scale_gy,
                      data->prescription_gy > 0 ? "the prescription" : "the reference maximum");
    return draw_sheet(&s, "Dose difference", output, result);
}

/* The largest gamma; among equals (maps end at a largest value) where the doses differ most. -1: nothing was evaluated. */
static int64_t worst_voxel(const dg_figure_case *data)
{
    int64_t voxels = dg_grid_voxels(data->grid), worst = -1;
    double error = 0;
    for (int64_t i = 0; i < voxels; i++) {
        if (!isfinite(data->gamma[i])) continue;
        double here = fabs((double)data->prediction_gy[i] - (double)data->reference_gy[i]);
        bool worse =
            worst < 0 || data->gamma[i] > data->gamma[worst] || (data->gamma[i] == data->gamma[worst] && here > error);
        if (!worse) continue;
        worst = i;
        error = here;
    }
    return worst;
}

dg_status dg_figure_gamma_map(const dg_figure_output *output, const dg_figure_case *data, dg_figure_result *result)
{
    sheet s;
    int64_t centroid[3];
    bool any;
    char words[256], title[160];
    DG_TRY(begin_sheet(output, data, "fig11_gamma_map", &s, centroid, &any, result));
    if (!any) return DG_OK;
    int64_t worst = data->gamma != NULL ? worst_voxel(data) : -1;
    if (worst < 0)
        return dg_figure_nothing(result, "case %.60s has no gamma map, or none of its voxels was evaluated",
                                 data->case_id);
    const int64_t *shape = data->grid->shape;
    int64_t voxel[3] = {worst / (shape[1] * shape[2]), worst / shape[2] % shape[1], worst % shape[2]};
    dg_plane_views(data->grid, voxel, s.view[1]);
    s.rows = 2;
    s.kind[0] = s.kind[1] = PLANE_GAMMA;
    s.label[0] = s.frame.by_targets ? "Centroid of targets" : "Centroid of high dose";
    s.label[1] = "Worst voxel";
    s.mark = voxel;
    s.scale = (plane_scale){&DG_MAP_GAMMA, 0, 2};
    s.bar_label = "Gamma";
    dg_case_words(data, words, sizeof words);
    snprintf(title, sizeof title, "Gamma%s%.80s", data->gamma_label != NULL ? " " : "",
             data->gamma_label != NULL ? data->gamma_label : "");
    dg_figure_caption(result,
                      "%s. %s in the planes through the centroid of the %s (top) and through its largest value, "
                      "%.2f (bottom, ring). "
                      "Blue passes (at most 1), orange fails; uncoloured was not evaluated.",
                      words, title, s.frame.by_targets ? "targets" : "high dose", (double)data->gamma[worst]);
    return draw_sheet(&s, title, output, result);
}

dg_status dg_figure_contact(const dg_figure_output *output, const dg_figure_case *data, const char *name,
                            dg_figure_result *result)
{
    sheet s = {.data = data, .rows = 1, .isodose_percent = {95, 50}, .all_roles = true};
    int64_t centroid[3];
    DG_TRY(dg_figure_start(output, result, name));
    DG_TRY(dg_case_check_structures(data));
    dg_plane_frame_patient(data, &s.frame, centroid);
    dg_plane_views(data->grid, centroid, s.view[0]);
    const bool dosed = data->reference_gy != NULL && s.frame.scale_gy > 0;
    s.kind[0] = dosed ? PLANE_REFERENCE : PLANE_CT;
    s.label[0] = dosed ? "CT and dose" : data->ct_hu != NULL ? "CT" : "Structures";
    s.scale = (plane_scale){&DG_MAP_DOSE, 0, dosed ? 1.1 * s.frame.scale_gy : 1};
    s.isodoses = dosed;
    s.bar_label = dosed ? "Dose (Gy)" : NULL;
    if (dosed)
        dg_figure_caption(
            result,
            "Case %.60s: CT, outlines and dose in the planes through the centroid of the %s. Colours from 10 to "
            "110 %% of %.1f Gy (%s); black lines: isodoses of 95 %% (thick) and 50 %% (thin).",
            data->case_id, s.frame.by_targets ? "targets" : "high dose", s.frame.scale_gy,
            data->prescription_gy > 0 ? "the prescription" : "the largest dose");
    else
        dg_figure_caption(result,
                          "Case %.60s: CT and outlines, without dose, in the planes through the centroid of the %s.",
                          data->case_id, s.frame.by_targets ? "targets" : "structures, or of the scan");
    const char *title = dosed ? "As imported" : "As imported, no dose";
    return draw_sheet(&s, data->title != NULL ? data->title : title, output, result);
}
