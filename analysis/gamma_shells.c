/* gamma_shells.c - see gamma_shells.h. Sums and products are in the order of the original, in double: near the border of the evaluated dose the last bit of a
 * sample's place decides whether it lies inside. SPDX-License-Identifier: Apache-2.0 */
#include "gamma_shells.h"

#include "dg_mem.h"

#include <string.h>

enum { KEPT_POINTS = 1 << 21 };

static int64_t steps_around(double length, double step) { return (int64_t)ceil(length / step) + 1; }

/* numpy.linspace(0, stop, count)[i]. */
static double spaced(double stop, int64_t count, int64_t i)
{
    return i == count - 1 && i > 0 ? stop : (double)i * (stop / (double)(count > 1 ? count - 1 : 1));
}

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

int64_t dg_gamma_shell_points(int axes, double d, double step, double *const out[3])
{
    return axes == 3 ? sphere_points(d, step, out) : axes == 2 ? circle_points(d, step, out) : line_points(d, out);
}

static dg_status fill_shell(int axes, dg_gamma_shell *s)
{
    DG_TRY(DG_NEW(&s->offset_mm[0], 3 * s->count, "sample points"));
    for (int a = 1; a < 3; a++) s->offset_mm[a] = s->offset_mm[0] + a * s->count;
    (void)dg_gamma_shell_points(axes, s->radius_mm, s->step_mm, s->offset_mm);
    return DG_OK;
}

/* No sample beyond this distance lies inside the evaluated dose, whatever the voxel. */
static double farthest_mm(const dg_gamma_setup *s)
{
    double sum = 0.0;
    for (int a = 0; a < 3; a++) {
        const double *r = s->problem.axis_mm[a], *e = s->problem.field.axis_mm[a];
        const double r0 = r[0], r1 = r[s->problem.shape[a] - 1], e0 = e[0], e1 = e[s->problem.field.shape[a] - 1];
        const double most = fmax(fmax(r0, r1), e1) - fmin(fmin(r0, r1), e0);
        sum += most * most;
    }
    return sqrt(sum);
}

void dg_gamma_shells_release(dg_gamma_shells *all)
{
    for (int64_t i = 0; i < all->kept; i++) dg_free(&all->list[i].offset_mm[0]);
    dg_free(&all->list);
}

dg_status dg_gamma_shells_create(const dg_gamma_setup *s, dg_gamma_shells *all)
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
        dg_gamma_shell *out = &all->list[all->count++];
        *out =
            (dg_gamma_shell){.radius_mm = d, .step_mm = step, .count = dg_gamma_shell_points(s->axes, d, step, NULL)};
        points += out->count;
        if (out->count > all->most_points) all->most_points = out->count;
        if (points <= KEPT_POINTS) {
            DG_TRY(fill_shell(s->axes, out));
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
