/* dg_gamma_samples.h - gamma by sample points on spheres round a voxel (the rules of pymedphys): what one sphere gives, for
 * host loops and device kernels. Two ways to the same numbers: point by point, or, where every voxel lies alike in its cell, by
 * groups of the samples that share a cell. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_GAMMA_SAMPLES_H
#define DG_GAMMA_SAMPLES_H

#include "dg_gamma_search.h"

enum { DG_GAMMA_GROUP = 8 }; /* samples of a group come in multiples of this: a vector */

/* The samples of one sphere in one cell. */
typedef struct dg_gamma_group {
    int64_t dose_offset, range_offset; /* of the cell from the voxel's */
    int64_t first, count;              /* samples; count is padded to vectors with copies */
    int slot;                          /* of the cell among all there are */
} dg_gamma_group;

/* All samples of a search, in host memory. */
typedef struct dg_gamma_samples {
    int axes; /* of the doses, 1 to 3 */
    int64_t spheres;
    const double *radius_mm; /* [spheres], rising */
    const int64_t *points;   /* [spheres] how many */
    const void *context;
    /* Writes the points of a sphere: offsets in mm from the voxel. */
    void (*write)(const void *context, int64_t sphere, double *const out[3]);
    /* The first `grouped` of the spheres by groups, for voxels whose sphere lies inside the evaluated dose. */
    int64_t grouped, groups, shares;
    const int64_t *group_end;    /* [grouped] where the groups of a sphere end */
    const dg_gamma_group *group; /* [groups] */
    const double *share[3];      /* [shares] place of a sample in its cell */
    const int64_t *cell[3]; /* cell of each reference plane, from which offsets count; it may lie outside the doses */
} dg_gamma_samples;

/* One voxel among its groups: doses and ranges from its cell on, and the steps to the upper corners. */
typedef struct dg_gamma_beside {
    int64_t voxel;
    const float *dose_gy, *range_gy;
    int64_t step[3];
    double reference_gy;
} dg_gamma_beside;

DG_HD static inline dg_gamma_beside dg_gamma_beside_of(const dg_gamma_problem *p, const int64_t *const cells[3],
                                                       const int64_t index[3], int64_t voxel)
{
    const dg_gamma_field *f = &p->field;
    dg_gamma_beside v;
    int64_t cell[3], step = 1;
    for (int a = 2; a >= 0; a--) {
        cell[a] = cells[a][index[a]];
        v.step[a] = f->shape[a] > 1 ? step : 0;
        step *= f->shape[a];
    }
    v.voxel = voxel;
    v.reference_gy = (double)p->reference_gy[voxel];
    v.dose_gy = f->dose_gy + (cell[0] * f->shape[1] + cell[1]) * f->shape[2] + cell[2];
    v.range_gy = f->range_gy + 2 * (((cell[0] - f->first[0]) * f->ranged[1] + cell[1] - f->first[1]) * f->ranged[2] +
                                    cell[2] - f->first[2]);
    return v;
}

/* Can the cell of a group hold a difference below the limit? */
DG_HD static inline bool dg_gamma_group_open(const dg_gamma_group *group, const dg_gamma_beside *v, double limit_gy)
{
    const float *range = v->range_gy + 2 * group->range_offset;
    const double low = (double)range[0] - v->reference_gy, high = v->reference_gy - (double)range[1];
    return (low > high ? low : high) < limit_gy;
}

/* D_eval - D_ref in the cell of a group as a polynomial of the shares x, y, z on axes 0, 1, 2:
 * (0 + 1 x) + y (2 + 3 x) + z ((4 + 5 x) + y (6 + 7 x)) */
DG_HD static inline void dg_gamma_terms(const dg_gamma_beside *v, const dg_gamma_group *group, double terms[8])
{
    const float *dose = v->dose_gy + group->dose_offset;
    const int64_t dx = v->step[0], dy = v->step[1], dz = v->step[2];
    const double d0 = (double)dose[0], x = (double)dose[dx] - d0, y = (double)dose[dy] - d0, z = (double)dose[dz] - d0;
    const double xy = (double)dose[dx + dy] - d0, xz = (double)dose[dx + dz] - d0, yz = (double)dose[dy + dz] - d0;
    const double xyz = (double)dose[dx + dy + dz] - d0;
    terms[0] = d0 - v->reference_gy;
    terms[1] = x;
    terms[2] = y;
    terms[3] = xy - x - y;
    terms[4] = z;
    terms[5] = xz - x - z;
    terms[6] = yz - y - z;
    terms[7] = xyz - xy - xz - yz + x + y + z;
}

/* The cell with axis[cell] < mm <= axis[cell + 1], searched from a guess. */
DG_HD static inline int64_t dg_gamma_cell_from(const double *axis, int64_t cells, int64_t guess, double mm)
{
    while (guess > 0 && axis[guess] >= mm) guess--;
    while (guess < cells - 1 && axis[guess + 1] < mm) guess++;
    return guess;
}

/* Smallest |D_eval - D_ref| over points; INFINITY when none lies inside the evaluated dose. */
DG_HD static inline double dg_gamma_least_difference(const dg_gamma_field *f, const dg_gamma_point *p,
                                                     const double *const offset_mm[3], int64_t count)
{
    double least = INFINITY;
    for (int64_t i = 0; i < count; i++) {
        int64_t cell[3];
        double share[3];
        bool inside = true;
        for (int a = 0; a < 3 && inside; a++) {
            const double *axis = f->axis_mm[a], mm = p->at_mm[a] + offset_mm[a][i];
            inside = axis[0] <= mm && mm <= axis[f->shape[a] - 1];
            if (!inside) break;
            cell[a] = dg_gamma_cell_from(axis, f->cells[a], p->cell[a], mm);
            const double width = axis[dg_gamma_upper(f, a, cell[a])] - axis[cell[a]];
            share[a] = width > 0.0 ? (mm - axis[cell[a]]) / width : 0.0;
        }
        if (inside) least = fmin(least, fabs(dg_gamma_dose_at(f, cell, share) - p->dose_gy));
    }
    return least;
}

/* How far the nearest end of the evaluated dose is on the last `axes` axes. */
DG_HD static inline double dg_gamma_room_mm(const dg_gamma_field *f, const dg_gamma_point *p, int axes)
{
    double room = INFINITY;
    for (int a = 3 - axes; a < 3; a++) {
        const double *axis = f->axis_mm[a];
        room = fmin(room, fmin(p->at_mm[a] - axis[0], axis[f->shape[a] - 1] - p->at_mm[a]));
    }
    return room;
}

/* The dose that one unit of u stands for: criterion times normalisation, kept apart as the original divides by each. */
DG_HD static inline double dg_gamma_related_gy(const dg_gamma_problem *p, const dg_gamma_point *point)
{
    return p->local ? point->dose_gy : p->norm_gy;
}

/* The difference above which a sphere of radius t (in units of the distance criterion) lowers gamma no more. */
DG_HD static inline double dg_gamma_limit_gy(const dg_gamma_problem *p, const dg_gamma_point *point, double gamma,
                                             double t)
{
    const double part = p->dose_percent / 100.0;
    return (sqrt(gamma * gamma - t * t) + 1e-9) * part * dg_gamma_related_gy(p, point);
}

/* gamma after a sphere whose smallest difference is `least`. */
DG_HD static inline double dg_gamma_after(const dg_gamma_problem *p, const dg_gamma_point *point, double gamma,
                                          double t, double least)
{
    const double part = p->dose_percent / 100.0, u = least / dg_gamma_related_gy(p, point) / part;
    return fmin(gamma, sqrt(u * u + t * t));
}

#endif
