/* figure_planes.c - see figure_planes.h. SPDX-License-Identifier: Apache-2.0 */
#include "figure_planes.h"

#include <math.h>
#include <string.h>

/* Soft tissue: the window of most planning systems. */
static const double CT_LOW = -200, CT_HIGH = 300;
static const double FRAME_MARGIN_MM = 12, FRAME_LEAST_MM = 60, SHOWN_SHARE = 0.1, DENSE_HU = -300;

/* Viridis (van der Walt and Smith, 2015, CC0) at twelve places. */
const plane_map DG_MAP_DOSE = {12,
                               {0x440154, 0x482173, 0x433E85, 0x38588C, 0x2D708E, 0x25858E, 0x1E9B8A, 0x2BB07F,
                                0x51C56A, 0x85D54A, 0xC2DF23, 0xFDE725}};
/* Blue to white to red as in ColorBrewer's RdBu, which readers with colour blindness can tell apart. */
const plane_map DG_MAP_DIFFERENCE = {
    11,
    {0x053061, 0x2166AC, 0x4393C3, 0x92C5DE, 0xD1E5F0, 0xF7F7F7, 0xFDDBC7, 0xF4A582, 0xD6604D, 0xB2182B, 0x67001F, 0}};
/* 0 to 2 with a break in hue at 1: blues pass, oranges fail. */
const plane_map DG_MAP_GAMMA = {12,
                                {0xF7FBFF, 0xDCEAF6, 0xBBD6EB, 0x88BEDC, 0x539DCC, 0x2A7AB9, 0xFEE391, 0xFEC44F,
                                 0xFE9929, 0xEC7014, 0xCC4C02, 0x7F2704}};

plane_rgb dg_map_colour(const plane_map *map, double share)
{
    double at = fmin(fmax(share, 0), 1) * (map->count - 1);
    int below = (int)at, above = below + 1 < map->count ? below + 1 : below;
    plane_rgb out;
    for (int k = 0; k < 3; k++) {
        double low = map->anchor[below] >> (16 - 8 * k) & 0xFF, high = map->anchor[above] >> (16 - 8 * k) & 0xFF;
        out.c[k] = (unsigned char)lround(low + (at - below) * (high - low));
    }
    return out;
}

/* Index axis (of zyx) that runs along each patient axis x, y, z, and its sign: the assignment with the largest sum of
 * direction cosines. */
static void patient_axes(const dg_grid *grid, int axis[3], double sign[3])
{
    static const int order[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    double largest = -1;
    for (int k = 0; k < 3; k++) { /* what a direction without numbers gives */
        axis[k] = 2 - k;
        sign[k] = 1;
    }
    for (int p = 0; p < 6; p++) {
        double sum = 0;
        for (int k = 0; k < 3; k++) sum += fabs(grid->direction[3 * k + order[p][k]]);
        if (!(sum > largest)) continue;
        largest = sum;
        for (int k = 0; k < 3; k++) {
            axis[k] = 2 - order[p][k];
            sign[k] = grid->direction[3 * k + order[p][k]] < 0 ? -1 : 1;
        }
    }
}

void dg_plane_views(const dg_grid *grid, const int64_t voxel[3], plane_view view[3])
{
    int axis[3];
    double sign[3];
    patient_axes(grid, axis, sign);
    /* Axial as seen from the feet: patient right on the left of the page, anterior up. */
    view[0] = (plane_view){"Axial", "R", "L", "A", "P", axis[0], axis[1], axis[2], sign[0], -sign[1], voxel[axis[2]]};
    view[1] = (plane_view){"Coronal", "R", "L", "S", "I", axis[0], axis[2], axis[1], sign[0], sign[2], voxel[axis[1]]};
    view[2] = (plane_view){"Sagittal", "A", "P", "S", "I", axis[1], axis[2], axis[0], sign[1], sign[2], voxel[axis[0]]};
}

static double reference_maximum(const dg_figure_case *data)
{
    int64_t voxels = dg_grid_voxels(data->grid);
    double largest = 0;
    for (int64_t i = 0; i < voxels; i++) {
        if (isfinite(data->reference_gy[i]) && data->reference_gy[i] > largest) largest = data->reference_gy[i];
    }
    return largest;
}

static uint64_t target_bits(const dg_figure_case *data)
{
    uint64_t bits = 0;
    for (int k = 0; k < data->structure_count; k++) {
        if (data->structure[k].role == DG_ROLE_TARGET) bits |= (uint64_t)1 << k;
    }
    return bits;
}

typedef struct gathered {
    int64_t low[3], high[3], count, high_count;
    double sum[3], high_sum[3]; /* of targets; of the dose above half the scale */
} gathered;

static void gather_voxel(gathered *g, const int64_t at[3], bool shown, bool target, bool high)
{
    for (int a = 0; a < 3; a++) {
        if ((shown || target) && at[a] < g->low[a]) g->low[a] = at[a];
        if ((shown || target) && at[a] > g->high[a]) g->high[a] = at[a];
        if (target) g->sum[a] += (double)at[a];
        if (high) g->high_sum[a] += (double)at[a];
    }
    g->count += target;
    g->high_count += high;
}

static gathered gather(const dg_figure_case *data, double scale_gy)
{
    const dg_grid *grid = data->grid;
    uint64_t targets = target_bits(data);
    gathered g = {.low = {INT64_MAX, INT64_MAX, INT64_MAX}, .high = {-1, -1, -1}};
    int64_t i = 0;
    for (int64_t z = 0; z < grid->shape[0]; z++) {
        for (int64_t y = 0; y < grid->shape[1]; y++) {
            for (int64_t x = 0; x < grid->shape[2]; x++, i++) {
                bool target = targets != 0 && (data->masks[i] & targets) != 0;
                bool shown =
                    data->reference_gy[i] >= SHOWN_SHARE * scale_gy || data->prediction_gy[i] >= SHOWN_SHARE * scale_gy;
                gather_voxel(&g, (int64_t[3]){z, y, x}, shown, target, data->reference_gy[i] >= 0.5 * scale_gy);
            }
        }
    }
    return g;
}

bool dg_plane_frame(const dg_figure_case *data, plane_frame *frame, int64_t centroid[3])
{
    double largest = reference_maximum(data);
    *frame = (plane_frame){.scale_gy = data->prescription_gy > 0 ? data->prescription_gy : largest};
    if (!(largest > 0)) return false;
    gathered g = gather(data, frame->scale_gy);
    double extent = 0, whole = 0;
    frame->by_targets = g.count > 0;
    for (int a = 0; a < 3; a++) {
        const dg_grid *grid = data->grid;
        bool any = g.high[a] >= 0;
        frame->centre[a] = any ? 0.5 * (double)(g.low[a] + g.high[a]) : 0.5 * (double)(grid->shape[a] - 1);
        extent =
            fmax(extent, (any ? (double)(g.high[a] - g.low[a] + 1) : (double)grid->shape[a]) * grid->spacing_mm[a]);
        whole = fmax(whole, (double)grid->shape[a] * grid->spacing_mm[a]);
        double at = g.count > 0        ? g.sum[a] / (double)g.count
                    : g.high_count > 0 ? g.high_sum[a] / (double)g.high_count
                                       : frame->centre[a];
        centroid[a] = llround(at);
    }
    frame->side_mm = fmin(fmax(extent + 2 * FRAME_MARGIN_MM, FRAME_LEAST_MM), fmax(whole, FRAME_LEAST_MM));
    return true;
}

typedef struct patient {
    int64_t low[3], high[3], count[3]; /* count and sum: of targets, of high dose, of structures */
    double sum[3][3];
} patient;

static void add_voxel(patient *p, const int64_t at[3], bool shown, const bool is[3])
{
    for (int a = 0; a < 3; a++) {
        if (shown && at[a] < p->low[a]) p->low[a] = at[a];
        if (shown && at[a] > p->high[a]) p->high[a] = at[a];
        for (int k = 0; k < 3; k++) p->sum[k][a] += is[k] ? (double)at[a] : 0;
    }
    for (int k = 0; k < 3; k++) p->count[k] += is[k];
}

static patient find_patient(const dg_figure_case *data, double scale_gy)
{
    const int64_t *shape = data->grid->shape;
    const uint64_t targets = target_bits(data);
    const bool is_hu = data->ct_hu != NULL && data->ct_window[0] == 0 && data->ct_window[1] == 0;
    patient p = {.low = {INT64_MAX, INT64_MAX, INT64_MAX}, .high = {-1, -1, -1}};
    int64_t i = 0;
    for (int64_t z = 0; z < shape[0]; z++)
        for (int64_t y = 0; y < shape[1]; y++)
            for (int64_t x = 0; x < shape[2]; x++, i++) {
                const uint64_t bits = data->masks != NULL ? data->masks[i] : 0;
                const double gy = data->reference_gy != NULL ? data->reference_gy[i] : NAN;
                const bool dosed = scale_gy > 0 && gy >= SHOWN_SHARE * scale_gy;
                const bool is[3] = {(bits & targets) != 0, dosed && gy >= 0.5 * scale_gy, bits != 0};
                add_voxel(&p, (int64_t[3]){z, y, x}, bits != 0 || dosed || (is_hu && data->ct_hu[i] > DENSE_HU), is);
            }
    return p;
}

void dg_plane_frame_patient(const dg_figure_case *data, plane_frame *frame, int64_t centroid[3])
{
    const dg_grid *grid = data->grid;
    const double largest = data->reference_gy != NULL ? reference_maximum(data) : 0;
    *frame = (plane_frame){.scale_gy = data->prescription_gy > 0 ? data->prescription_gy : largest};
    const patient p = find_patient(data, frame->scale_gy);
    const bool whole = p.high[0] < 0 || data->ct_window[0] != 0 || data->ct_window[1] != 0;
    double side_mm = whole ? 0 : FRAME_LEAST_MM;
    int by = 0;
    while (by < 3 && p.count[by] == 0) by++;
    frame->by_targets = by == 0;
    for (int a = 0; a < 3; a++) {
        const int64_t low = whole ? 0 : p.low[a], high = whole ? grid->shape[a] - 1 : p.high[a];
        const double mm = (double)(high - low + 1) * grid->spacing_mm[a];
        frame->centre[a] = 0.5 * (double)(low + high);
        side_mm = fmax(side_mm, whole ? mm : mm + 2 * FRAME_MARGIN_MM);
        centroid[a] = llround(by < 3 ? p.sum[by][a] / (double)p.count[by] : frame->centre[a]);
    }
    frame->side_mm = side_mm;
}

/* Value of a volume in the plane of a view at continuous indices; NaN outside and beside unknown voxels. */
static double sample(const float *volume, const dg_grid *grid, const plane_view *view, double right, double up)
{
    int64_t n[2] = {grid->shape[view->right_axis], grid->shape[view->up_axis]}, low[2], at[3];
    double place[2] = {right, up}, share[2], value = 0;
    for (int k = 0; k < 2; k++) {
        if (!(place[k] >= -0.5 && place[k] <= (double)n[k] - 0.5)) return NAN;
        double inside = fmin(fmax(place[k], 0), (double)(n[k] - 1));
        low[k] = (int64_t)inside;
        share[k] = inside - (double)low[k];
    }
    at[view->normal] = view->plane;
    for (int corner = 0; corner < 4; corner++) {
        int r = corner & 1, u = corner >> 1;
        double weight = (r ? share[0] : 1 - share[0]) * (u ? share[1] : 1 - share[1]);
        if (weight == 0) continue;
        at[view->right_axis] = low[0] + r;
        at[view->up_axis] = low[1] + u;
        value += weight * (double)volume[dg_grid_index(grid, at[0], at[1], at[2])];
    }
    return value;
}

static double nearest(const float *volume, const dg_grid *grid, const plane_view *view, double right, double up)
{
    return sample(volume, grid, view, round(right), round(up));
}

/* Colour over the CT: value in the colour map, and how much of the CT it hides. */
static plane_rgb overlay(const dg_figure_case *data, const plane_frame *frame, const plane_view *view, plane_kind kind,
                         const plane_scale *scale, double right, double up, double *opacity)
{
    double value = NAN;
    *opacity = 0;
    if (kind == PLANE_CT) return (plane_rgb){{0, 0, 0}};
    if (kind == PLANE_GAMMA) {
        value = nearest(data->gamma, data->grid, view, right, up);
        *opacity = 0.9;
    } else if (kind == PLANE_DIFFERENCE) {
        value = sample(data->prediction_gy, data->grid, view, right, up) -
                sample(data->reference_gy, data->grid, view, right, up);
        *opacity = 0.9 * fmin(1, fabs(value) / (0.3 * scale->high));
    } else {
        value = sample(kind == PLANE_REFERENCE ? data->reference_gy : data->prediction_gy, data->grid, view, right, up);
        double share = value / frame->scale_gy;
        *opacity = share < SHOWN_SHARE ? 0 : 0.62;
    }
    if (!isfinite(value)) *opacity = 0;
    if (*opacity == 0) return (plane_rgb){{0, 0, 0}};
    return dg_map_colour(scale->map, (value - scale->low) / (scale->high - scale->low));
}

static double grey_at(const dg_figure_case *data, const plane_view *view, double right, double up)
{
    if (data->ct_hu == NULL) return 225;
    const bool own = data->ct_window[0] != 0 || data->ct_window[1] != 0;
    const double low = own ? data->ct_window[0] : CT_LOW, high = own ? data->ct_window[1] : CT_HIGH;
    double value = (sample(data->ct_hu, data->grid, view, right, up) - low) / (high - low);
    return isfinite(value) ? 255 * fmin(fmax(value, 0), 1) : 0;
}

void dg_plane_raster(const dg_figure_case *data, const plane_frame *frame, const plane_view *view, plane_kind kind,
                     const plane_scale *scale, unsigned char *pixels)
{
    const double *spacing = data->grid->spacing_mm;
    double step = frame->side_mm / PLANE_PIXELS;
    for (int row = 0; row < PLANE_PIXELS; row++) {
        double up_mm = (row + 0.5) * step - 0.5 * frame->side_mm;
        double up = frame->centre[view->up_axis] + view->up_sign * up_mm / spacing[view->up_axis];
        for (int column = 0; column < PLANE_PIXELS; column++) {
            double right_mm = (column + 0.5) * step - 0.5 * frame->side_mm, opacity;
            double right = frame->centre[view->right_axis] + view->right_sign * right_mm / spacing[view->right_axis];
            double grey =
                (kind == PLANE_DIFFERENCE ? 0.6 : 1) * grey_at(data, view, right, up); /* white is a difference of 0 */
            plane_rgb over = overlay(data, frame, view, kind, scale, right, up, &opacity);
            for (int k = 0; k < 3; k++) *pixels++ = (unsigned char)lround(grey + opacity * ((double)over.c[k] - grey));
        }
    }
}

void dg_plane_place(const dg_grid *grid, const plane_frame *frame, const plane_view *view, double right_index,
                    double up_index, double *x, double *y)
{
    *x = view->right_sign * (right_index - frame->centre[view->right_axis]) * grid->spacing_mm[view->right_axis];
    *y = view->up_sign * (up_index - frame->centre[view->up_axis]) * grid->spacing_mm[view->up_axis];
}

/* What is outlined: a bit of the masks, or a dose. */
typedef struct contour_field {
    const dg_figure_case *data;
    const plane_view *view;
    const float *dose_gy; /* NULL: the mask */
    int structure;
} contour_field;

/* Outside the grid no mask is set, so that outlines close; a dose is not known there, and its lines end. */
static double field_at(const contour_field *field, int64_t right, int64_t up)
{
    const dg_grid *grid = field->data->grid;
    int64_t at[3];
    at[field->view->normal] = field->view->plane;
    at[field->view->right_axis] = right;
    at[field->view->up_axis] = up;
    bool inside =
        right >= 0 && up >= 0 && right < grid->shape[field->view->right_axis] && up < grid->shape[field->view->up_axis];
    if (!inside) return field->dose_gy != NULL ? NAN : 0;
    int64_t index = dg_grid_index(grid, at[0], at[1], at[2]);
    return field->dose_gy != NULL ? (double)field->dose_gy[index]
                                  : (double)(field->data->masks[index] >> field->structure & 1);
}

/* The lines in one cell of four voxel centres (Lorensen and Cline's squares). Crossings of the edges are taken in turn around the
 * cell: two make a line, four make two, paired so that the corner above the level is cut off. */
static int cell_lines(const double value[4], double level, double cut[4][2])
{
    static const double corner[4][2] = {{0, 0}, {1, 0}, {1, 1}, {0, 1}};
    int cuts = 0;
    for (int k = 0; k < 4; k++) {
        double a = value[k], b = value[(k + 1) % 4];
        if ((a >= level) == (b >= level)) continue;
        double share = (level - a) / (b - a);
        for (int d = 0; d < 2; d++) cut[cuts][d] = corner[k][d] + share * (corner[(k + 1) % 4][d] - corner[k][d]);
        cuts++;
    }
    /* Cuts of edges 0 1 2 3: (0 1)(2 3) cut off corners 1 and 3, (3 0)(1 2) corners 0 and 2. */
    if (cuts == 4 && value[0] >= level) {
        double last[2] = {cut[3][0], cut[3][1]};
        memmove(cut[1], cut[0], 3 * sizeof cut[0]);
        memcpy(cut[0], last, sizeof last);
    }
    return cuts;
}

static int64_t trace(dg_plot *plot, const contour_field *field, const plane_frame *frame, double level)
{
    const plane_view *view = field->view;
    const dg_grid *grid = field->data->grid;
    int64_t lines = 0;
    for (int64_t up = -1; up < grid->shape[view->up_axis]; up++) {
        for (int64_t right = -1; right < grid->shape[view->right_axis]; right++) {
            double value[4] = {field_at(field, right, up), field_at(field, right + 1, up),
                               field_at(field, right + 1, up + 1), field_at(field, right, up + 1)};
            double cut[4][2];
            if (!isfinite(value[0] + value[1] + value[2] + value[3])) continue;
            int cuts = cell_lines(value, level, cut);
            for (int k = 0; k + 1 < cuts; k += 2) {
                for (int end = 0; end < 2; end++) {
                    double x, y;
                    dg_plane_place(grid, frame, view, (double)right + cut[k + end][0], (double)up + cut[k + end][1], &x,
                                   &y);
                    dg_plot_row(plot, 2, (double[]){x, y});
                }
                dg_plot_gap(plot);
                lines++;
            }
        }
    }
    return lines;
}

int64_t dg_plane_outline(dg_plot *plot, const dg_figure_case *data, const plane_frame *frame, const plane_view *view,
                         int structure)
{
    return trace(plot, &(contour_field){data, view, NULL, structure}, frame, 0.5);
}

int64_t dg_plane_isodose(dg_plot *plot, const dg_figure_case *data, const plane_frame *frame, const plane_view *view,
                         const float *dose_gy, double level_gy)
{
    return trace(plot, &(contour_field){data, view, dose_gy, 0}, frame, level_gy);
}
