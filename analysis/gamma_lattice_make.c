/* gamma_lattice_make.c - finds out whether every voxel lies alike in its cell, and groups the samples of each sphere by the
 * cell they fall into. SPDX-License-Identifier: Apache-2.0 */
#include "gamma_shells.h"

#include "dg_mem.h"

#include <math.h>
#include <string.h>

enum { SLOTS_MAX = 1 << 14 };

/* Widths and places are rounded alike for the whole of a dose and for its parts, whose axes differ in the last bits. */
static double rounded(double value) { return rint(value * 0x1p32) * 0x1p-32; }

/* Is position i at first + i * width, to a part of the width that no gamma can show? */
static bool is_uniform(const double *axis, int64_t n, double width)
{
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(axis[i] - axis[0] - width * (double)i) <= 1e-8 * width)) return false;
    return true;
}

/* The width of the cells of one axis and the place of every voxel in its own; false where they differ. */
static bool measure_axis(const dg_gamma_setup *s, int axis, dg_gamma_lattice *out)
{
    const dg_gamma_field *f = &s->problem.field;
    const double *e = f->axis_mm[axis], *r = s->problem.axis_mm[axis];
    const int64_t n = f->shape[axis];
    out->width_mm[axis] = 1.0;
    out->place[axis] = 0.0;
    if (axis < 3 - s->axes) return true;
    if (n < 2) return false;
    out->width_mm[axis] = rounded((e[n - 1] - e[0]) / (double)(n - 1));
    if (!(out->width_mm[axis] > 0.0) || !is_uniform(e, n, out->width_mm[axis])) return false;
    const double first = (r[0] - e[0]) / out->width_mm[axis];
    out->place[axis] = rounded(first - floor(first + 1e-8));
    for (int64_t i = 0; i < s->problem.shape[axis]; i++) {
        const double cell = (r[i] - e[0]) / out->width_mm[axis] - out->place[axis];
        if (!(fabs(cell - rint(cell)) <= 1e-8)) return false;
        out->cell[axis][i] = (int64_t)rint(cell);
    }
    return true;
}

/* How many cells a sphere reaches on an axis, from *low on. */
static int64_t cells_within(const dg_gamma_lattice *l, int axis, double radius_mm, int64_t *low)
{
    *low = (int64_t)floor(l->place[axis] - radius_mm / l->width_mm[axis]);
    return (int64_t)floor(l->place[axis] + radius_mm / l->width_mm[axis]) - *low + 1;
}

/* The spheres whose cells are few enough to be kept; the box of cells of the largest. */
static void choose_shells(const dg_gamma_setup *s, const dg_gamma_shells *all, dg_gamma_lattice *l, int64_t low[3],
                          int64_t cells[3])
{
    for (l->shells = all->kept; l->shells > 0; l->shells--) {
        double slots = 1.0;
        for (int a = 0; a < 3; a++) {
            const double reach = a < 3 - s->axes ? 0.0 : all->list[l->shells - 1].radius_mm;
            cells[a] = cells_within(l, a, reach + 1e-6, &low[a]);
            slots *= (double)cells[a];
        }
        l->slots = (int)slots;
        if (slots <= SLOTS_MAX) return;
    }
}

/* Slot of the cell that sample i of a sphere falls into, and its place there. */
static int slot_of(const dg_gamma_lattice *l, const dg_gamma_shell *shell, int64_t i, const int64_t low[3],
                   const int64_t cells[3], double share[3])
{
    int64_t slot = 0;
    for (int a = 0; a < 3; a++) {
        const double at = l->place[a] + shell->offset_mm[a][i] / l->width_mm[a];
        const int64_t cell = (int64_t)floor(at);
        share[a] = at - (double)cell;
        slot = slot * cells[a] + cell - low[a];
    }
    return (int)slot;
}

/* Counting sort of one sphere's samples by slot; groups and padded samples are appended. */
static int64_t append_shell(const dg_gamma_setup *s, const dg_gamma_shell *shell, const int64_t low[3],
                            const int64_t cells[3], int64_t *first_of, int64_t samples, int64_t *groups,
                            dg_gamma_lattice *l)
{
    const dg_gamma_field *f = &s->problem.field;
    double share[3];
    memset(first_of, 0, (size_t)l->slots * sizeof *first_of);
    for (int64_t i = 0; i < shell->count; i++) first_of[slot_of(l, shell, i, low, cells, share)]++;
    for (int slot = 0; slot < l->slots; slot++) {
        const int64_t count = first_of[slot];
        if (count == 0) continue;
        const int64_t z = slot / (cells[1] * cells[2]) + low[0], y = slot / cells[2] % cells[1] + low[1],
                      x = slot % cells[2] + low[2];
        l->group[(*groups)++] =
            (dg_gamma_group){.dose_offset = (z * f->shape[1] + y) * f->shape[2] + x,
                             .range_offset = (z * f->ranged[1] + y) * f->ranged[2] + x,
                             .first = samples,
                             .count = (count + DG_GAMMA_GROUP - 1) / DG_GAMMA_GROUP * DG_GAMMA_GROUP,
                             .slot = slot};
        first_of[slot] = samples;
        samples += l->group[*groups - 1].count;
    }
    for (int64_t i = 0; i < shell->count; i++) {
        const int slot = slot_of(l, shell, i, low, cells, share);
        for (int a = 0; a < 3; a++) l->share[a][first_of[slot]] = share[a];
        first_of[slot]++;
    }
    return samples;
}

/* Copies of the last sample fill a group up. */
static void fill_up(dg_gamma_lattice *l, int64_t from, int64_t to, const int64_t *end_of)
{
    for (int64_t g = from; g < to; g++)
        for (int64_t i = end_of[l->group[g].slot]; i < l->group[g].first + l->group[g].count; i++)
            for (int a = 0; a < 3; a++) l->share[a][i] = l->share[a][i - 1];
}

static dg_status group_samples(const dg_gamma_setup *s, const dg_gamma_shells *all, const int64_t low[3],
                               const int64_t cells[3], dg_gamma_lattice *l)
{
    int64_t points = 0, groups = 0, samples = 0, *first_of = NULL;
    dg_status status;
    for (int64_t k = 0; k < l->shells; k++) points += all->list[k].count;
    const int64_t most_groups = points < l->shells * l->slots ? points : l->shells * l->slots;
    const int64_t most_samples = (points + most_groups * DG_GAMMA_GROUP + DG_GAMMA_GROUP - 1) / DG_GAMMA_GROUP *
                                 DG_GAMMA_GROUP; /* keeps axes aligned */
    DG_TRY_GOTO(status, DG_NEW(&first_of, l->slots, "cells"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&l->shell_end, l->shells, "spheres"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&l->group, most_groups, "sample groups"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&l->share[0], 3 * most_samples, "samples"), cleanup);
    l->share[1] = l->share[0] + most_samples;
    l->share[2] = l->share[1] + most_samples;
    for (int64_t k = 0; k < l->shells; k++) {
        const int64_t from = groups;
        samples = append_shell(s, &all->list[k], low, cells, first_of, samples, &groups, l);
        fill_up(l, from, groups, first_of);
        l->shell_end[k] = groups;
    }
    l->shares = samples;
cleanup:
    dg_free(&first_of);
    return status;
}

dg_status dg_gamma_lattice_create(const dg_gamma_setup *s, const dg_gamma_shells *shells, dg_gamma_lattice *out)
{
    int64_t low[3], cells[3];
    bool alike = true;
    dg_status status = DG_OK;
    memset(out, 0, sizeof *out);
    for (int a = 0; a < 3 && status == DG_OK; a++) status = DG_NEW(&out->cell[a], s->problem.shape[a], "cells");
    for (int a = 0; a < 3 && status == DG_OK; a++) alike = alike && measure_axis(s, a, out);
    if (status == DG_OK && alike) {
        choose_shells(s, shells, out, low, cells);
        if (out->shells > 0) status = group_samples(s, shells, low, cells, out);
    }
    if (status != DG_OK) dg_gamma_lattice_release(out);
    return status;
}

void dg_gamma_lattice_release(dg_gamma_lattice *l)
{
    for (int a = 0; a < 3; a++) dg_free(&l->cell[a]);
    dg_free(&l->share[0]);
    dg_free(&l->group);
    dg_free(&l->shell_end);
}
