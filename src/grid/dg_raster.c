/* dg_raster.c - see dg_raster.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_raster.h"
#include "dg_mem.h"

#include <math.h>
#include <string.h>

enum { INSIDE = 1, OUTLINE = 2 };

/* How near to an outline counts as on it, in voxels. Coordinates in mm are rarely exact in voxels, so the default allows
 * for rounding; the reference asks for equality, but for vertices. */
typedef struct tolerance {
    double edge, vertex;
} tolerance;
static const tolerance even_odd_tolerance = {1e-9, 1e-9}, upstream_tolerance = {0, 1e-12};

static double slice_gap(const dg_raster_slices *s, int64_t k)
{
    if (s->count < 2) return INFINITY;
    return fabs(s->slice_z_mm[k == 0 ? 1 : k] - s->slice_z_mm[k == 0 ? 0 : k - 1]);
}

/* The slice a contour belongs to; -1 when it lies off the stack. */
static int64_t find_slice(const dg_raster_slices *s, double z_mm, bool clamp)
{
    int64_t best = 0;
    for (int64_t k = 1; k < s->count; k++)
        if (fabs(s->slice_z_mm[k] - z_mm) < fabs(s->slice_z_mm[best] - z_mm)) best = k;
    bool near = fabs(s->slice_z_mm[best] - z_mm) <= 0.5 * slice_gap(s, best) * (1 + 1e-9);
    return near || clamp ? best : -1;
}

static dg_status check_contour(const dg_contour *c, const dg_raster_slices *s, int64_t number)
{
    double limit = 0.1 * slice_gap(s, 0);
    for (int64_t i = 0; i < 3 * c->count; i++)
        if (!isfinite(c->points_xyz_mm[i]))
            return DG_FAIL(DG_ERR_DATA, "contour %lld has a coordinate that is not a number", (long long)number);
    for (int64_t i = 1; i < c->count; i++)
        if (fabs(c->points_xyz_mm[3 * i + 2] - c->points_xyz_mm[2]) > limit)
            return DG_FAIL(DG_ERR_DATA, "contour %lld is not in one plane: z %g and %g mm", (long long)number,
                           c->points_xyz_mm[2], c->points_xyz_mm[3 * i + 2]);
    return DG_OK;
}

/* Voxels along the row from column c of row r to the edge a-b; 0 on the edge. The cross product is taken relative to the
 * voxel, the form that cancels exactly for centres on edges between representable points. */
static double edge_excess(const double a[2], const double b[2], double r, double c)
{
    const double a0 = a[0] - r, a1 = a[1] - c, b0 = b[0] - r, b1 = b[1] - c;
    return (b1 * a0 - a1 * b0) / (a0 - b0);
}

/* One edge against the voxel centres of one row: counts crossings to the right of a centre, marks touched centres. */
static void edge_on_row(const double a[2], const double b[2], int64_t row, int64_t columns, double touch,
                        uint8_t *state)
{
    double r = (double)row;
    double low = fmin(a[1], b[1]), high = fmax(a[1], b[1]);
    if (fabs(a[0] - b[0]) <= touch) {
        if (fabs(a[0] - r) > touch) return;
        for (int64_t c = (int64_t)fmax(0, ceil(low - touch)); c < columns && (double)c <= high + touch; c++)
            state[c] |= OUTLINE;
        return;
    }
    if (r < fmin(a[0], b[0]) - touch || r > fmax(a[0], b[0]) + touch) return;
    double at = fmin(fmax(a[1] + (r - a[0]) * (b[1] - a[1]) / (b[0] - a[0]), low), high);
    double nearest = floor(at + 0.5), excess = edge_excess(a, b, r, nearest);
    if (nearest >= 0 && nearest < (double)columns && fabs(excess) <= touch) state[(int64_t)nearest] |= OUTLINE;
    /* half-open, so that a vertex on the row belongs to one of its two edges */
    if ((a[0] <= r) == (b[0] <= r)) return;
    for (int64_t c = 0; c < columns && (double)c < nearest; c++) state[c] ^= INSIDE;
    if (nearest >= 0 && nearest < (double)columns && excess > 0) state[(int64_t)nearest] ^= INSIDE;
}

static void mark_vertex(const double a[2], const dg_raster_slices *s, double touch, uint8_t *state)
{
    double r = floor(a[0] + 0.5), c = floor(a[1] + 0.5);
    if (r < 0 || c < 0 || r >= (double)s->rows || c >= (double)s->columns) return;
    if (fabs(a[0] - r) <= touch && fabs(a[1] - c) <= touch) state[(int64_t)r * s->columns + (int64_t)c] |= OUTLINE;
}

/* Adds a contour's crossings and outline to state[rows, columns]. */
static void add_contour(const dg_contour *c, const dg_raster_slices *s, const tolerance *near, uint8_t *state)
{
    for (int64_t i = 0; i < c->count; i++) {
        const double *p = c->points_xyz_mm + 3 * i, *q = c->points_xyz_mm + 3 * ((i + 1) % c->count);
        const double a[2] = {(p[1] - s->origin_mm[0]) / s->spacing_mm[0], (p[0] - s->origin_mm[1]) / s->spacing_mm[1]};
        const double b[2] = {(q[1] - s->origin_mm[0]) / s->spacing_mm[0], (q[0] - s->origin_mm[1]) / s->spacing_mm[1]};
        double first = fmax(0, ceil(fmin(a[0], b[0]) - near->edge)), last = fmax(a[0], b[0]) + near->edge;
        mark_vertex(a, s, near->vertex, state);
        for (int64_t r = (int64_t)fmin(first, (double)s->rows); r < s->rows && (double)r <= last; r++)
            edge_on_row(a, b, r, s->columns, near->edge, state + r * s->columns);
    }
}

static void flush(uint8_t *state, int64_t pixels, uint8_t *mask)
{
    for (int64_t i = 0; i < pixels; i++) {
        if (state[i] != 0) mask[i] = 1;
        state[i] = 0;
    }
}

dg_status dg_raster_contours(const dg_contour *contours, int64_t count, const dg_raster_slices *slices,
                             dg_raster_rule rule, uint8_t *mask, int64_t *left_out)
{
    const bool upstream = rule == DG_RASTER_UNION_UPSTREAM;
    const tolerance *near = upstream ? &upstream_tolerance : &even_odd_tolerance;
    const int64_t pixels = slices->rows * slices->columns;
    uint8_t *state = NULL;
    int64_t *slice = NULL, off = 0;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&state, pixels, "contour slice"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&slice, count, "contour slices"), cleanup);
    memset(mask, 0, (size_t)(pixels * slices->count));
    for (int64_t i = 0; i < count; i++) {
        slice[i] = -1;
        if (contours[i].count < 3) continue;
        DG_TRY_GOTO(status, check_contour(&contours[i], slices, i), cleanup);
        slice[i] = find_slice(slices, contours[i].points_xyz_mm[2], upstream);
        off += slice[i] < 0;
    }
    for (int64_t i = 0; i < count; i++) {
        if (slice[i] < 0) continue;
        int64_t k = slice[i];
        add_contour(&contours[i], slices, near, state);
        if (!upstream) /* all contours of this slice share one count of crossings */
            for (int64_t j = i + 1; j < count; j++)
                if (slice[j] == k) {
                    add_contour(&contours[j], slices, near, state);
                    slice[j] = -1;
                }
        flush(state, pixels, mask + k * pixels);
    }
    if (left_out != NULL) *left_out = off;
cleanup:
    dg_free(&state);
    dg_free(&slice);
    return status;
}
