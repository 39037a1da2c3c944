/* gamma_shells.c - gamma after the rules of pymedphys: the evaluated dose is sampled on spheres of growing radius about the
 * voxel (golden README section 6; pymedphys 0.41, `gamma_shell`). Written from that description.
 *
 * Sums and products are in the order of the original, in double: near the border of the evaluated dose the last bit of a
 * sample's place decides whether it lies inside. SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "gamma_impl.h"

#include <omp.h>
#include <string.h>

/* Sample points of one sphere, as offsets in mm from the voxel on axes 0, 1, 2. */
typedef struct shell {
    double radius_mm, step_mm;
    int64_t count;
    double *offset_mm[3]; /* [count], in one block owned by offset_mm[0] */
} shell;

enum { KEPT_POINTS = 1 << 21 }; /* spheres with more points in all are worked out where they are used */

typedef struct shells {
    shell *list;
    int64_t count;
    int64_t kept; /* the first of which hold their points */
    int64_t most_points;
} shells;

static int64_t steps_around(double length, double step) { return (int64_t)ceil(length / step) + 1; }

/* numpy.linspace(0, stop, count)[i]. */
static double spaced(double stop, int64_t count, int64_t i)
{
    return i == count - 1 && i > 0 ? stop : (double)i * (stop / (double)(count > 1 ? count - 1 : 1));
}

/* Writes the points of a sphere where `out` is not NULL; returns how many there are. Axes that both doses lack stay 0. */
static int64_t sphere_points(double d, double step, double *const out[3])
{
    const int64_t rows = steps_around(M_PI * d, step);
    int64_t count = 0;
    for (int64_t row = 0; row < rows; row++) {
        const double elevation = spaced(M_PI, rows, row);
        const int64_t around = steps_around(2.0 * M_PI * (d * sin(elevation)), step);
        for (int64_t i = 0; i < around && out != NULL; i++) {
            const double azimuth = spaced(2.0 * M_PI, around + 1, i);
            out[0][count + i] = d * sin(elevation) * cos(azimuth);
            out[1][count + i] = d * sin(elevation) * sin(azimuth);
            out[2][count + i] = d * cos(elevation);
        }
        count += around;
    }
    return count;
}

static int64_t circle_points(double d, double step, double *const out[3])
{
    const int64_t count = steps_around(2.0 * M_PI * d, step);
    for (int64_t i = 0; i < count && out != NULL; i++) {
        const double angle = spaced(2.0 * M_PI, count + 1, i);
        out[1][i] = d * cos(angle);
        out[2][i] = d * sin(angle);
    }
    return count;
}

static int64_t line_points(double d, double *const out[3])
{
    if (out != NULL) {
        out[2][0] = d;
        if (d > 0.0) out[2][1] = -d;
    }
    return d > 0.0 ? 2 : 1;
}

static int64_t shell_points(int axes, double d, double step, double *const out[3])
{
    return axes == 3 ? sphere_points(d, step, out) : axes == 2 ? circle_points(d, step, out) : line_points(d, out);
}

static dg_status fill_shell(int axes, shell *s)
{
    DG_TRY(DG_NEW(&s->offset_mm[0], 3 * s->count, "sample points"));
    for (int a = 1; a < 3; a++) s->offset_mm[a] = s->offset_mm[0] + a * s->count;
    (void)shell_points(axes, s->radius_mm, s->step_mm, s->offset_mm);
    return DG_OK;
}

/* No sample beyond this distance lies inside the evaluated dose, whatever the voxel. */
static double farthest_mm(const dg_gamma_setup *s)
{
    double sum = 0.0;
    for (int a = 0; a < 3; a++) {
        const double *r = s->axis_mm[a], *e = s->field.axis_mm[a];
        const double r0 = r[0], r1 = r[s->shape[a] - 1], e0 = e[0], e1 = e[s->field.shape[a] - 1];
        const double most = fmax(fmax(r0, r1), e1) - fmin(fmin(r0, r1), e0);
        sum += most * most;
    }
    return sqrt(sum);
}

static void release_shells(shells *all)
{
    for (int64_t i = 0; i < all->kept; i++) dg_free(&all->list[i].offset_mm[0]);
    dg_free(&all->list);
}

static dg_status make_shells(const dg_gamma_setup *s, int axes, shells *all)
{
    const dg_gamma_params *p = s->params;
    const double least_step = p->distance_mm / p->interp_fraction, last_mm = p->distance_mm * p->max_gamma;
    const double beyond_mm = farthest_mm(s) + least_step;
    double d = 0.0, step = least_step;
    bool forced = false; /* one sphere has exactly the radius of the criterion */
    int64_t capacity = 64, points = 0;
    memset(all, 0, sizeof *all);
    DG_TRY(DG_NEW(&all->list, capacity, "spheres"));
    while (d <= last_mm && d <= beyond_mm) {
        if (all->count == capacity) {
            DG_TRY(dg_grow(&all->list, (size_t)capacity, (size_t)(2 * capacity), sizeof *all->list, "spheres"));
            capacity *= 2;
        }
        shell *out = &all->list[all->count++];
        *out = (shell){.radius_mm = d, .step_mm = step, .count = shell_points(axes, d, step, NULL)};
        points += out->count;
        if (out->count > all->most_points) all->most_points = out->count;
        if (points <= KEPT_POINTS) {
            DG_TRY(fill_shell(axes, out));
            all->kept = all->count;
        }
        step = fmax(d / p->interp_fraction / p->max_gamma, least_step);
        d += step;
        if (!forced && d >= p->distance_mm) {
            d = p->distance_mm;
            forced = true;
        }
    }
    return DG_OK;
}

/* The cell with axis[cell] < mm <= axis[cell + 1], searched from a guess. */
static int64_t cell_of(const double *axis, int64_t cells, int64_t guess, double mm)
{
    while (guess > 0 && axis[guess] >= mm) guess--;
    while (guess < cells - 1 && axis[guess + 1] < mm) guess++;
    return guess;
}

/* Smallest |D_eval - D_ref| over samples; INFINITY when none lies inside the evaluated dose. */
static double least_difference(const dg_gamma_field *f, const dg_gamma_point *p, const shell *s)
{
    double least = INFINITY;
    for (int64_t i = 0; i < s->count; i++) {
        int64_t cell[3];
        double share[3];
        bool inside = true;
        for (int a = 0; a < 3 && inside; a++) {
            const double *axis = f->axis_mm[a], mm = p->at_mm[a] + s->offset_mm[a][i];
            inside = axis[0] <= mm && mm <= axis[f->shape[a] - 1];
            if (!inside) break;
            cell[a] = cell_of(axis, f->cells[a], p->cell[a], mm);
            const double width = axis[dg_gamma_upper(f, a, cell[a])] - axis[cell[a]];
            share[a] = width > 0.0 ? (mm - axis[cell[a]]) / width : 0.0;
        }
        if (inside) least = fmin(least, fabs(dg_gamma_dose_at(f, cell, share) - p->dose_gy));
    }
    return least;
}

static double search_shells(const dg_gamma_setup *s, int axes, const shells *all, const dg_gamma_point *point,
                            double *const scratch[3])
{
    const dg_gamma_params *p = s->params;
    const double related_gy = p->local ? point->dose_gy : p->norm_gy, part = p->dose_percent / 100.0;
    double gamma = INFINITY;
    for (int64_t i = 0; i < all->count; i++) {
        shell now = all->list[i];
        if (i >= all->kept) {
            for (int a = 0; a < 3; a++) now.offset_mm[a] = scratch[a];
            (void)shell_points(axes, now.radius_mm, now.step_mm, now.offset_mm);
        }
        const double u = least_difference(&s->field, point, &now) / related_gy / part;
        const double t = now.radius_mm / p->distance_mm;
        gamma = fmin(gamma, sqrt(u * u + t * t));
        if (gamma <= t) break;
    }
    return gamma;
}

static void map_row(const dg_gamma_setup *s, int axes, const shells *all, double *const scratch[3], int64_t row,
                    float *gamma)
{
    int64_t index[3] = {row / s->shape[1], row % s->shape[1], 0};
    for (; index[2] < s->shape[2]; index[2]++) {
        const int64_t voxel = row * s->shape[2] + index[2];
        gamma[voxel] = NAN;
        if (!dg_gamma_is_wanted(s, voxel)) continue;
        const dg_gamma_point point = dg_gamma_point_of(s, index);
        const double g = search_shells(s, axes, all, &point, scratch);
        if (isinf(g)) continue;
        const double capped = fmin(g, s->params->max_gamma);
        gamma[voxel] = (float)capped;
        if (capped > 1 && gamma[voxel] == 1.0f) gamma[voxel] = nextafterf(1, 2); /* rounding must not pass a voxel */
    }
}

dg_status dg_gamma_map_shells(const dg_gamma_setup *s, float *gamma)
{
    const int64_t rows = s->shape[0] * s->shape[1];
    shells all;
    double *scratch = NULL;
    dg_status status;
    DG_TRY_GOTO(status, make_shells(s, s->axes, &all), cleanup);
    if (all.kept < all.count)
        DG_TRY_GOTO(status, DG_NEW(&scratch, 3 * all.most_points * s->threads, "sample points"), cleanup);
#pragma omp parallel for schedule(dynamic, 4) num_threads(s->threads)
    for (int64_t row = 0; row < rows; row++) {
        double *const mine = scratch + 3 * all.most_points * omp_get_thread_num();
        double *const part[3] = {mine, mine + all.most_points, mine + 2 * all.most_points};
        map_row(s, s->axes, &all, part, row, gamma);
    }
cleanup:
    dg_free(&scratch);
    release_shells(&all);
    return status;
}
