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

/* One edge against the voxel centres of one row, columns first .. columns - 1, left and right of which the contour has
 * nothing: counts crossings to the right of a centre, marks touched centres. */
static void edge_on_row(const double a[2], const double b[2], int64_t row, int64_t first, int64_t columns, double touch,
                        uint8_t *state)
{
    double r = (double)row;
    double low = fmin(a[1], b[1]), high = fmax(a[1], b[1]);
    if (fabs(a[0] - b[0]) <= touch) {
        if (fabs(a[0] - r) > touch) return;
        for (int64_t c = (int64_t)fmax((double)first, ceil(low - touch)); c < columns && (double)c <= high + touch; c++)
            state[c] |= OUTLINE;
        /* one that is all but level may still change sides: its crossing counts */
        if ((a[0] <= r) == (b[0] <= r)) return;
    }
    if (r < fmin(a[0], b[0]) - touch || r > fmax(a[0], b[0]) + touch) return;
    double at = fmin(fmax(a[1] + (r - a[0]) * (b[1] - a[1]) / (b[0] - a[0]), low), high);
    double nearest = floor(at + 0.5), excess = edge_excess(a, b, r, nearest);
    const bool seen = nearest >= (double)first && nearest < (double)columns;
    if (seen && fabs(excess) <= touch) state[(int64_t)nearest] |= OUTLINE;
    /* half-open, so that a vertex on the row belongs to one of its two edges */
    if ((a[0] <= r) == (b[0] <= r)) return;
    for (int64_t c = first; c < columns && (double)c < nearest; c++) state[c] ^= INSIDE;
    if (seen && excess > 0) state[(int64_t)nearest] ^= INSIDE;
}

static void mark_vertex(const double a[2], const dg_raster_slices *s, double touch, uint8_t *state)
{
    double r = floor(a[0] + 0.5), c = floor(a[1] + 0.5);
    if (r < 0 || c < 0 || r >= (double)s->rows || c >= (double)s->columns) return;
    if (fabs(a[0] - r) <= touch && fabs(a[1] - c) <= touch) state[(int64_t)r * s->columns + (int64_t)c] |= OUTLINE;
}

/* The voxels whose centres a contour may cover: [first, last] along rows and columns, inside the slice; empty when first > last. */
typedef struct extent {
    int64_t first[2], last[2];
} extent;

/* A point (x, y) in voxels: row, column. */
static void to_voxels(const double *xyz, const dg_raster_slices *s, double at[2])
{
    at[0] = (xyz[1] - s->origin_mm[0]) / s->spacing_mm[0];
    at[1] = (xyz[0] - s->origin_mm[1]) / s->spacing_mm[1];
}

static extent extent_of(const dg_contour *c, const dg_raster_slices *s, double touch)
{
    double low[2] = {INFINITY, INFINITY}, high[2] = {-INFINITY, -INFINITY};
    const int64_t n[2] = {s->rows, s->columns};
    extent e;
    for (int64_t i = 0; i < c->count; i++) {
        double at[2];
        to_voxels(c->points_xyz_mm + 3 * i, s, at);
        for (int a = 0; a < 2; a++) {
            low[a] = fmin(low[a], at[a]);
            high[a] = fmax(high[a], at[a]);
        }
    }
    for (int a = 0; a < 2; a++) {
        e.first[a] = (int64_t)fmin(fmax(0, ceil(low[a] - touch)), (double)n[a]);
        e.last[a] = (int64_t)fmax(fmin((double)n[a] - 1, floor(high[a] + touch)), -1);
    }
    return e;
}

/* Adds a contour's crossings and outline to state[rows, columns], within its extent. */
static void add_contour(const dg_contour *c, const dg_raster_slices *s, const tolerance *near, const extent *e,
                        uint8_t *state)
{
    double a[2], b[2];
    to_voxels(c->points_xyz_mm, s, b);
    for (int64_t i = 0; i < c->count; i++) {
        memcpy(a, b, sizeof a);
        to_voxels(c->points_xyz_mm + 3 * ((i + 1) % c->count), s, b);
        mark_vertex(a, s, near->vertex, state);
        const double first = ceil(fmin(a[0], b[0]) - near->edge), last = fmax(a[0], b[0]) + near->edge;
        for (int64_t r = (int64_t)fmin(fmax(first, (double)e->first[0]), (double)s->rows);
             r <= e->last[0] && (double)r <= last; r++)
            edge_on_row(a, b, r, e->first[1], e->last[1] + 1, near->edge, state + r * s->columns);
    }
}

/* Moves what a contour covers from `own` to the state of its plane; false when that is nothing. */
static bool merge(const extent *e, int64_t columns, uint8_t *own, uint8_t *plane)
{
    uint8_t any = 0;
    for (int64_t r = e->first[0]; r <= e->last[0]; r++)
        for (int64_t i = r * columns + e->first[1]; i <= r * columns + e->last[1]; i++) {
            any |= own[i];
            plane[i] = (uint8_t)((plane[i] ^ (own[i] & INSIDE)) | (own[i] & OUTLINE));
            own[i] = 0;
        }
    return any != 0;
}

/* A plane's state becomes voxels of its slice. */
static void flush(const extent *e, int64_t columns, uint8_t *plane, uint8_t *mask)
{
    for (int64_t r = e->first[0]; r <= e->last[0]; r++)
        for (int64_t i = r * columns + e->first[1]; i <= r * columns + e->last[1]; i++) {
            mask[i] |= plane[i] != 0;
            plane[i] = 0;
        }
}

static void widen(extent *all, const extent *one)
{
    for (int a = 0; a < 2; a++) {
        if (one->first[a] < all->first[a]) all->first[a] = one->first[a];
        if (one->last[a] > all->last[a]) all->last[a] = one->last[a];
    }
}

/* What one call works with. */
typedef struct raster {
    const dg_contour *contours;
    const dg_raster_slices *s;
    const tolerance *near;
    int64_t count, *slice; /* [count]: of each contour, -1 when it is done or off the stack */
    uint8_t *own, *plane;  /* [rows, columns] */
    dg_raster_report report;
} raster;

/* All contours of the plane of contour `first`; alone under the reference's rule. */
static void fill_plane(raster *t, int64_t first, bool alone, uint8_t *mask)
{
    const double apart = 0.1 * slice_gap(t->s, 0), z = t->contours[first].points_xyz_mm[2];
    const int64_t slice = t->slice[first], columns = t->s->columns;
    extent all = {{t->s->rows, columns}, {-1, -1}};
    for (int64_t i = first; i < t->count && !(alone && i > first); i++) {
        const dg_contour *c = &t->contours[i];
        if (t->slice[i] != slice || fabs(c->points_xyz_mm[2] - z) > apart) continue;
        const extent e = extent_of(c, t->s, fmax(t->near->edge, t->near->vertex));
        add_contour(c, t->s, t->near, &e, t->own);
        if (!merge(&e, columns, t->own, t->plane)) t->report.sub_voxel++;
        widen(&all, &e);
        t->slice[i] = -1;
    }
    flush(&all, columns, t->plane, mask + slice * t->s->rows * columns);
}

static dg_status find_slices(raster *t, bool clamp)
{
    int64_t low = t->s->count, high = -1, with = 0;
    uint8_t *has;
    DG_TRY(DG_NEW(&has, t->s->count, "slices with contours"));
    dg_status status = DG_OK;
    for (int64_t i = 0; status == DG_OK && i < t->count; i++) {
        t->slice[i] = -1;
        if (t->contours[i].count < 3) continue;
        status = check_contour(&t->contours[i], t->s, i);
        if (status == DG_OK) t->slice[i] = find_slice(t->s, t->contours[i].points_xyz_mm[2], clamp);
        const int64_t k = t->slice[i];
        t->report.left_out += k < 0;
        if (k < 0) continue;
        with += has[k] == 0;
        has[k] = 1;
        if (k < low) low = k;
        if (k > high) high = k;
    }
    t->report.gap_slices = high < 0 ? 0 : high - low + 1 - with;
    dg_free(&has);
    return status;
}

dg_status dg_raster_contours(const dg_contour *contours, int64_t count, const dg_raster_slices *slices,
                             dg_raster_rule rule, uint8_t *mask, dg_raster_report *report)
{
    const bool upstream = rule == DG_RASTER_UNION_UPSTREAM;
    const int64_t pixels = slices->rows * slices->columns;
    raster t = {.contours = contours, .s = slices, .count = count};
    dg_status status;
    t.near = upstream ? &upstream_tolerance : &even_odd_tolerance;
    DG_TRY_GOTO(status, DG_NEW(&t.own, pixels, "contour"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&t.plane, pixels, "contour plane"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&t.slice, count, "contour slices"), cleanup);
    memset(mask, 0, (size_t)(pixels * slices->count));
    DG_TRY_GOTO(status, find_slices(&t, upstream), cleanup);
    for (int64_t i = 0; i < count; i++)
        if (t.slice[i] >= 0) fill_plane(&t, i, upstream, mask);
    if (report != NULL) *report = t.report;
cleanup:
    dg_free(&t.own);
    dg_free(&t.plane);
    dg_free(&t.slice);
    return status;
}
