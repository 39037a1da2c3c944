/* gamma_shell_map.c - gamma after the rules of pymedphys for all wanted voxels. A sphere that lies inside the evaluated
 * dose is sampled by groups (gamma_lattice.h) where the doses allow it, otherwise point by point.
 * SPDX-License-Identifier: Apache-2.0 */
#include "gamma_shells.h"

#include "dg_mem.h"

#include <omp.h>
#include <string.h>

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

/* Smallest difference on sphere k, point by point. */
static double walk_sphere(const search *q, const dg_gamma_point *point, int64_t k, const work *w)
{
    dg_gamma_shell sphere = q->shells.list[k];
    if (k >= q->shells.kept) {
        for (int a = 0; a < 3; a++) sphere.offset_mm[a] = w->point_mm[a];
        (void)dg_gamma_shell_points(q->setup->axes, sphere.radius_mm, sphere.step_mm, sphere.offset_mm);
    }
    const double *const offset[3] = {sphere.offset_mm[0], sphere.offset_mm[1], sphere.offset_mm[2]};
    return dg_gamma_least_difference(&q->setup->problem.field, point, offset, sphere.count);
}

static double search_voxel(const search *q, const int64_t index[3], int64_t voxel, work *w)
{
    const dg_gamma_problem *p = &q->setup->problem;
    const dg_gamma_point point = dg_gamma_point_of(p, index);
    const int64_t *const cells[3] = {q->lattice.cell[0], q->lattice.cell[1], q->lattice.cell[2]};
    const double room = q->lattice.shells > 0 ? dg_gamma_room_mm(&p->field, &point, q->setup->axes) - 1e-6 : -1.0;
    dg_gamma_beside beside = {0};
    if (room > 0.0) beside = dg_gamma_beside_of(p, cells, index, voxel);
    double gamma = INFINITY;
    for (int64_t k = 0; k < q->shells.count; k++) {
        const double radius = q->shells.list[k].radius_mm, t = radius / p->distance_mm;
        double least;
        if (k < q->lattice.shells && radius <= room) {
            const int64_t first = k > 0 ? q->lattice.shell_end[k - 1] : 0;
            least = q->least(&q->lattice, first, q->lattice.shell_end[k], &beside,
                             dg_gamma_limit_gy(p, &point, gamma, t), &w->cache);
        } else {
            least = walk_sphere(q, &point, k, w);
        }
        gamma = dg_gamma_after(p, &point, gamma, t, least);
        if (gamma <= t) break;
    }
    return gamma;
}

static void map_row(const search *q, int64_t row, work *w, float *gamma)
{
    const dg_gamma_setup *s = q->setup;
    int64_t index[3] = {row / s->problem.shape[1], row % s->problem.shape[1], 0};
    for (; index[2] < s->problem.shape[2]; index[2]++) {
        const int64_t voxel = row * s->problem.shape[2] + index[2];
        gamma[voxel] = NAN;
        if (!dg_gamma_is_wanted(&s->problem, voxel)) continue;
        const double g = search_voxel(q, index, voxel, w);
        if (!isinf(g)) gamma[voxel] = dg_gamma_to_float(fmin(g, s->problem.max_gamma));
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
    const int64_t rows = s->problem.shape[0] * s->problem.shape[1];
    for (int i = 0; i < s->threads; i++) DG_TRY(make_work(q, &works[i]));
#pragma omp parallel for schedule(dynamic, 4) num_threads(s->threads)
    for (int64_t row = 0; row < rows; row++) map_row(q, row, &works[omp_get_thread_num()], gamma);
    return DG_OK;
}

/* ---- a device does it -------------------------------------------------------------------------------------------------- */

static void write_sphere(const void *context, int64_t k, double *const out[3])
{
    const search *q = context;
    const dg_gamma_shell *sphere = &q->shells.list[k];
    if (k >= q->shells.kept) {
        (void)dg_gamma_shell_points(q->setup->axes, sphere->radius_mm, sphere->step_mm, out);
        return;
    }
    for (int a = 0; a < 3; a++) memcpy(out[a], sphere->offset_mm[a], (size_t)sphere->count * sizeof *out[a]);
}

static dg_status map_on_device(const search *q, float *gamma)
{
    const dg_gamma_setup *s = q->setup;
    const dg_gamma_lattice *l = &q->lattice;
    dg_backend *backend = s->params->backend;
    double *radius_mm = NULL;
    int64_t *points = NULL;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&radius_mm, q->shells.count, "spheres"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&points, q->shells.count, "spheres"), cleanup);
    for (int64_t k = 0; k < q->shells.count; k++) {
        radius_mm[k] = q->shells.list[k].radius_mm;
        points[k] = q->shells.list[k].count;
    }
    const dg_gamma_samples samples = {.axes = s->axes,
                                      .spheres = q->shells.count,
                                      .radius_mm = radius_mm,
                                      .points = points,
                                      .context = q,
                                      .write = write_sphere,
                                      .grouped = l->shells,
                                      .groups = l->shells > 0 ? l->shell_end[l->shells - 1] : 0,
                                      .shares = l->shares,
                                      .group_end = l->shell_end,
                                      .group = l->group,
                                      .share = {l->share[0], l->share[1], l->share[2]},
                                      .cell = {l->cell[0], l->cell[1], l->cell[2]}};
    status = backend->ops->device->gamma(backend, &s->problem, &samples, gamma);
cleanup:
    dg_free(&radius_mm);
    dg_free(&points);
    return status;
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
    if (!any) {
        for (int64_t i = 0; i < s->voxels; i++) gamma[i] = NAN;
        return DG_OK;
    }
    DG_TRY_GOTO(status, DG_NEW(&works, s->threads, "threads"), cleanup);
    DG_TRY_GOTO(status, dg_gamma_shells_create(s, &q.shells), cleanup);
    DG_TRY_GOTO(status, dg_gamma_lattice_create(s, &q.shells, &q.lattice), cleanup);
    status = dg_gamma_on_device(s) ? map_on_device(&q, gamma) : map_all(&q, works, gamma);
cleanup:
    for (int i = 0; works != NULL && i < s->threads; i++) free_work(&works[i]);
    dg_free(&works);
    dg_gamma_lattice_release(&q.lattice);
    dg_gamma_shells_release(&q.shells);
    return status;
}
