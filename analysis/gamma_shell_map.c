/* gamma_shell_map.c - gamma after the rules of pymedphys for all wanted voxels. A sphere that lies inside the evaluated
 * dose is sampled by groups (gamma_lattice.h) where the doses allow it, otherwise point by point.
 * SPDX-License-Identifier: Apache-2.0 */
#include "gamma_shells.h"

#include "dg_mem.h"

#include <omp.h>

/* What all threads share. */
typedef struct search {
    const dg_gamma_setup *setup;
    dg_gamma_shells shells;
    dg_gamma_lattice lattice;
    dg_gamma_lattice_least *least;
} search;

/* What one thread works in. */
typedef struct work {
    double *point_mm[3]; /* [most_points] of a sphere that is not kept */
    dg_gamma_cell_cache cache;
} work;

/* The cell with axis[cell] < mm <= axis[cell + 1], searched from a guess. */
static int64_t cell_of(const double *axis, int64_t cells, int64_t guess, double mm)
{
    while (guess > 0 && axis[guess] >= mm) guess--;
    while (guess < cells - 1 && axis[guess + 1] < mm) guess++;
    return guess;
}

/* Smallest |D_eval - D_ref| over samples; INFINITY when none lies inside the evaluated dose. */
static double least_difference(const dg_gamma_field *f, const dg_gamma_point *p, const dg_gamma_shell *s)
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

/* How far the nearest end of the evaluated dose is. */
static double room_mm(const dg_gamma_setup *s, const dg_gamma_point *p)
{
    double room = INFINITY;
    for (int a = 3 - s->axes; a < 3; a++) {
        const double *axis = s->field.axis_mm[a];
        room = fmin(room, fmin(p->at_mm[a] - axis[0], axis[s->field.shape[a] - 1] - p->at_mm[a]));
    }
    return room;
}

static dg_gamma_lattice_voxel lattice_voxel(const search *q, const dg_gamma_point *p, const int64_t index[3],
                                            int64_t voxel)
{
    const dg_gamma_field *f = &q->setup->field;
    dg_gamma_lattice_voxel v = {.voxel = voxel, .reference_gy = p->dose_gy};
    int64_t cell[3], step = 1;
    for (int a = 2; a >= 0; a--) {
        cell[a] = q->lattice.cell[a][index[a]];
        v.step[a] = f->shape[a] > 1 ? step : 0;
        step *= f->shape[a];
    }
    v.dose_gy = f->dose_gy + (cell[0] * f->shape[1] + cell[1]) * f->shape[2] + cell[2];
    v.range_gy = f->range_gy + 2 * (((cell[0] - f->first[0]) * f->ranged[1] + cell[1] - f->first[1]) * f->ranged[2] +
                                    cell[2] - f->first[2]);
    return v;
}

/* Smallest difference on sphere k, point by point. */
static double walk_sphere(const search *q, const dg_gamma_point *point, int64_t k, const work *w)
{
    dg_gamma_shell sphere = q->shells.list[k];
    if (k >= q->shells.kept) {
        for (int a = 0; a < 3; a++) sphere.offset_mm[a] = w->point_mm[a];
        (void)dg_gamma_shell_points(q->setup->axes, sphere.radius_mm, sphere.step_mm, sphere.offset_mm);
    }
    return least_difference(&q->setup->field, point, &sphere);
}

static double search_voxel(const search *q, const int64_t index[3], int64_t voxel, work *w)
{
    const dg_gamma_params *p = q->setup->params;
    const dg_gamma_point point = dg_gamma_point_of(q->setup, index);
    const double related_gy = p->local ? point.dose_gy : p->norm_gy, part = p->dose_percent / 100.0;
    const double room = q->lattice.shells > 0 ? room_mm(q->setup, &point) - 1e-6 : -1.0;
    dg_gamma_lattice_voxel beside = {0};
    if (room > 0.0) beside = lattice_voxel(q, &point, index, voxel);
    double gamma = INFINITY;
    for (int64_t k = 0; k < q->shells.count; k++) {
        const double radius = q->shells.list[k].radius_mm, t = radius / p->distance_mm;
        double least;
        if (k < q->lattice.shells && radius <= room) {
            const int64_t first = k > 0 ? q->lattice.shell_end[k - 1] : 0;
            const double limit =
                (sqrt(gamma * gamma - t * t) + 1e-9) * part * related_gy; /* above it: no lower gamma */
            least = q->least(&q->lattice, first, q->lattice.shell_end[k], &beside, limit, &w->cache);
        } else {
            least = walk_sphere(q, &point, k, w);
        }
        const double u = least / related_gy / part;
        gamma = fmin(gamma, sqrt(u * u + t * t));
        if (gamma <= t) break;
    }
    return gamma;
}

static void map_row(const search *q, int64_t row, work *w, float *gamma)
{
    const dg_gamma_setup *s = q->setup;
    int64_t index[3] = {row / s->shape[1], row % s->shape[1], 0};
    for (; index[2] < s->shape[2]; index[2]++) {
        const int64_t voxel = row * s->shape[2] + index[2];
        gamma[voxel] = NAN;
        if (!dg_gamma_is_wanted(s, voxel)) continue;
        const double g = search_voxel(q, index, voxel, w);
        if (!isinf(g)) gamma[voxel] = dg_gamma_to_float(fmin(g, s->params->max_gamma));
    }
}

static dg_status make_work(const search *q, work *w)
{
    if (q->shells.kept < q->shells.count) {
        DG_TRY(DG_NEW(&w->point_mm[0], 3 * q->shells.most_points, "sample points"));
        for (int a = 1; a < 3; a++) w->point_mm[a] = w->point_mm[0] + a * q->shells.most_points;
    }
    if (q->lattice.shells == 0) return DG_OK;
    DG_TRY(DG_NEW(&w->cache.voxel, q->lattice.slots, "cells"));
    DG_TRY(DG_NEW(&w->cache.terms, q->lattice.slots, "cells"));
    for (int i = 0; i < q->lattice.slots; i++) w->cache.voxel[i] = -1;
    return DG_OK;
}

static void free_work(work *w)
{
    dg_free(&w->point_mm[0]);
    dg_free(&w->cache.voxel);
    dg_free(&w->cache.terms);
}

static dg_status map_all(const search *q, work *works, float *gamma)
{
    const dg_gamma_setup *s = q->setup;
    const int64_t rows = s->shape[0] * s->shape[1];
    for (int i = 0; i < s->threads; i++) DG_TRY(make_work(q, &works[i]));
#pragma omp parallel for schedule(dynamic, 4) num_threads(s->threads)
    for (int64_t row = 0; row < rows; row++) map_row(q, row, &works[omp_get_thread_num()], gamma);
    return DG_OK;
}

dg_status dg_gamma_map_shells(dg_gamma_setup *s, float *gamma)
{
    static dg_gamma_lattice_least *const least[DG_GAMMA_ISAS] = {dg_gamma_lattice_base, dg_gamma_lattice_avx2,
                                                                 dg_gamma_lattice_avx512};
    search q = {.setup = s, .least = least[dg_gamma_isa()]};
    work *works = NULL;
    bool any;
    dg_status status;
    DG_TRY(dg_gamma_setup_ranges(s, &any));
    DG_TRY_GOTO(status, DG_NEW(&works, s->threads, "threads"), cleanup);
    DG_TRY_GOTO(status, dg_gamma_shells_create(s, &q.shells), cleanup);
    if (any) DG_TRY_GOTO(status, dg_gamma_lattice_create(s, &q.shells, &q.lattice), cleanup);
    status = map_all(&q, works, gamma);
cleanup:
    for (int i = 0; works != NULL && i < s->threads; i++) free_work(&works[i]);
    dg_free(&works);
    dg_gamma_lattice_release(&q.lattice);
    dg_gamma_shells_release(&q.shells);
    return status;
}
