/* dg_surface.c - see dg_surface.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_surface.h"

#include "dg_distance.h"
#include "dg_mem.h"
#include "window_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- area of a window -------------------------------------------------------------------------------------------------- */

enum { EDGES = 12, CORNERS = 8 };

/* The edge from corner `low` along an axis (0: x, 1: y, 2: z): 4 for each axis. */
static int edge_of(int low, int axis)
{
    const int others[3][2] = {{1, 2}, {0, 2}, {0, 1}};
    return 4 * axis + (low >> others[axis][0] & 1) + 2 * (low >> others[axis][1] & 1);
}

static void edge_middle(int edge, const double spacing_mm[3], double point[3])
{
    const int others[3][2] = {{1, 2}, {0, 2}, {0, 1}}, axis = edge / 4;
    for (int a = 0; a < 3; a++) point[a] = 0.5 * spacing_mm[2 - a]; /* spacing is zyx */
    point[others[axis][0]] *= 2 * (edge & 1);
    point[others[axis][1]] *= 2 * (edge >> 1 & 1);
}

/* Each crossed edge lies on two sides of the window, and on each side a line leads to another one: next[edge][2]. Where all four
 * edges of a side are crossed, lines cut off its corners of `apart`, the class that stays apart. */
static void find_lines(unsigned code, unsigned apart, int next[EDGES][2], int degree[EDGES])
{
    memset(degree, 0, EDGES * sizeof *degree);
    for (int side = 0; side < 6; side++) {
        const int normal = side / 2, u = (normal + 1) % 3, v = (normal + 2) % 3, base = side % 2 << normal;
        const int corner[4] = {base, base | 1 << u, base | 1 << u | 1 << v, base | 1 << v};
        int crossed[4], count = 0;
        for (int k = 0; k < 4; k++) {
            const int a = corner[k], b = corner[(k + 1) % 4];
            if ((code >> a & 1) != (code >> b & 1)) crossed[count++] = edge_of(a & b, (a ^ b) == 1 ? 0 : (a ^ b) / 2);
        }
        /* edge k joins corners k and k + 1: edges k - 1 and k meet at corner k */
        const int first = count == 4 && (code >> corner[0] & 1) != (apart & 1) ? 0 : 3;
        for (int line = 0; line < count / 2; line++) {
            const int a = count == 2 ? crossed[0] : crossed[(first + 2 * line) % 4];
            const int b = count == 2 ? crossed[1] : crossed[(first + 2 * line + 1) % 4];
            next[a][degree[a]++] = b;
            next[b][degree[b]++] = a;
        }
    }
}

static double triangle_area(const double a[3], const double b[3], const double c[3])
{
    double u[3], v[3];
    for (int k = 0; k < 3; k++) {
        u[k] = b[k] - a[k];
        v[k] = c[k] - a[k];
    }
    const double x = u[1] * v[2] - u[2] * v[1], y = u[2] * v[0] - u[0] * v[2], z = u[0] * v[1] - u[1] * v[0];
    return 0.5 * sqrt(x * x + y * y + z * z);
}

/* Of a closed chain of points, which may lie in no plane: the largest that triangles from one of its points have. */
static double polygon_area(const double (*point)[3], int count)
{
    double largest = 0;
    for (int apex = 0; apex < count; apex++) {
        double sum = 0;
        for (int k = 1; k + 1 < count; k++)
            sum += triangle_area(point[apex], point[(apex + k) % count], point[(apex + k + 1) % count]);
        largest = fmax(largest, sum);
    }
    return largest;
}

static double window_area(unsigned code, const double spacing_mm[3])
{
    int next[EDGES][2], degree[EDGES], set = 0;
    bool seen[EDGES] = {false};
    double area = 0;
    for (int i = 0; i < CORNERS; i++) set += (int)(code >> i & 1);
    find_lines(code, set <= CORNERS / 2, next, degree);
    for (int start = 0; start < EDGES; start++) {
        double point[EDGES][3];
        int count = 0;
        for (int at = start; degree[at] == 2 && !seen[at];) {
            seen[at] = true;
            edge_middle(at, spacing_mm, point[count++]);
            at = seen[next[at][0]] ? next[at][1] : next[at][0];
        }
        if (count > 2) area += polygon_area(point, count);
    }
    return area;
}

void dg_surface_areas(const double spacing_mm[3], double area_mm2[256])
{
    for (unsigned code = 0; code < WINDOW_CODES; code++) area_mm2[code] = window_area(code, spacing_mm);
}

/* ---- surfaces and their distances -------------------------------------------------------------------------------------- */

typedef struct element {
    float distance_mm, area_mm2;
} element;

typedef struct surface {
    uint8_t *code; /* of every window of the box */
    element *element;
    int64_t count;
    double area_mm2;
} surface;

static int by_distance(const void *a, const void *b)
{
    const float p = ((const element *)a)->distance_mm, q = ((const element *)b)->distance_mm;
    return (p > q) - (p < q);
}

/* Windows first .. last, of all axes, that see a voxel of either mask; false: there is none. */
static bool find_box(const uint8_t *a, const uint8_t *b, const int64_t n[3], int64_t first[3], int64_t last[3])
{
    for (int axis = 0; axis < 3; axis++) {
        first[axis] = n[axis];
        last[axis] = -1;
    }
    for (int64_t z = 0, i = 0; z < n[0]; z++)
        for (int64_t y = 0; y < n[1]; y++)
            for (int64_t x = 0; x < n[2]; x++, i++) {
                if (a[i] == 0 && b[i] == 0) continue;
                const int64_t at[3] = {z, y, x};
                for (int axis = 0; axis < 3; axis++) {
                    if (at[axis] < first[axis]) first[axis] = at[axis];
                    if (at[axis] + 1 > last[axis]) last[axis] = at[axis] + 1;
                }
            }
    return last[0] >= 0;
}

static dg_status find_surface(const uint8_t *mask, const int64_t n[3], const int64_t first[3], const dg_grid *box,
                              surface *out)
{
    DG_TRY(DG_NEW(&out->code, dg_grid_voxels(box), "windows of a surface"));
    int64_t i = 0;
    for (int64_t z = 0; z < box->shape[0]; z++)
        for (int64_t y = 0; y < box->shape[1]; y++)
            for (int64_t x = 0; x < box->shape[2]; x++, i++) {
                out->code[i] = (uint8_t)window_code(mask, n, first[0] + z, first[1] + y, first[2] + x);
                out->count += out->code[i] != 0 && out->code[i] != WINDOW_CODES - 1;
            }
    return DG_NEW(&out->element, out->count > 0 ? out->count : 1, "elements of a surface");
}

/* The elements of `from` with their distances to `to`, nearest first. */
static dg_status measure(surface *from, const surface *to, const dg_grid *box, int threads, const double area[256],
                         uint8_t *border, float *distance)
{
    const int64_t windows = dg_grid_voxels(box);
    for (int64_t i = 0; i < windows; i++) border[i] = to->code[i] != 0 && to->code[i] != WINDOW_CODES - 1;
    DG_TRY(dg_distance(border, box, threads, distance));
    int64_t k = 0;
    for (int64_t i = 0; i < windows; i++) {
        if (from->code[i] == 0 || from->code[i] == WINDOW_CODES - 1) continue;
        from->element[k++] = (element){distance[i], (float)area[from->code[i]]};
    }
    qsort(from->element, (size_t)from->count, sizeof *from->element, by_distance);
    for (k = 0; k < from->count; k++) from->area_mm2 += (double)from->element[k].area_mm2;
    return DG_OK;
}

/* The distance within which `percent` of the area lie. */
static double distance_of(const surface *s, double percent)
{
    double sum = 0;
    for (int64_t k = 0; k < s->count; k++) {
        sum += (double)s->element[k].area_mm2;
        if (sum >= percent / 100 * s->area_mm2) return (double)s->element[k].distance_mm;
    }
    return s->count > 0 ? (double)s->element[s->count - 1].distance_mm : NAN;
}

static dg_surface_agreement agreement_of(const surface s[2], double tolerance_mm, double percent)
{
    dg_surface_agreement out = {.area_mm2 = {s[0].area_mm2, s[1].area_mm2}};
    double near = 0;
    for (int which = 0; which < 2; which++) {
        double moment = 0;
        for (int64_t k = 0; k < s[which].count; k++) {
            const element *e = &s[which].element[k];
            if (e->distance_mm <= (float)tolerance_mm) near += (double)e->area_mm2;
            moment += (double)e->distance_mm * (double)e->area_mm2;
        }
        out.mean_mm += 0.5 * moment / s[which].area_mm2;
        out.hausdorff_mm = fmax(out.hausdorff_mm, distance_of(&s[which], percent));
    }
    out.dice = near / (s[0].area_mm2 + s[1].area_mm2);
    return out;
}

dg_status dg_surface_compare(const uint8_t *predicted, const uint8_t *label, const dg_grid *grid, double tolerance_mm,
                             double percent, int threads, dg_surface_agreement *out)
{
    const uint8_t *const mask[2] = {predicted, label};
    int64_t first[3], last[3], shape[3];
    double area[WINDOW_CODES];
    surface s[2] = {{.count = 0}, {.count = 0}};
    uint8_t *border = NULL;
    float *distance = NULL;
    dg_status status;
    *out = (dg_surface_agreement){.dice = 1};
    if (!find_box(predicted, label, grid->shape, first, last)) return DG_OK;
    for (int axis = 0; axis < 3; axis++) shape[axis] = last[axis] - first[axis] + 1;
    const dg_grid box = dg_grid_make(shape, grid->spacing_mm);
    dg_surface_areas(grid->spacing_mm, area);
    for (int k = 0; k < 2; k++) DG_TRY_GOTO(status, find_surface(mask[k], grid->shape, first, &box, &s[k]), done);
    DG_TRY_GOTO(status, DG_NEW(&border, dg_grid_voxels(&box), "windows of a surface"), done);
    DG_TRY_GOTO(status, DG_NEW(&distance, dg_grid_voxels(&box), "distances to a surface"), done);
    for (int k = 0; k < 2; k++)
        DG_TRY_GOTO(status, measure(&s[k], &s[1 - k], &box, threads, area, border, distance), done);
    *out = s[0].count == 0 || s[1].count == 0
               ? (dg_surface_agreement){0, INFINITY, INFINITY, {s[0].area_mm2, s[1].area_mm2}}
               : agreement_of(s, tolerance_mm, percent);
done:
    for (int k = 0; k < 2; k++) {
        dg_free(&s[k].code);
        dg_free(&s[k].element);
    }
    dg_free(&border);
    dg_free(&distance);
    return status;
}
