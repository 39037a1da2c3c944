/* gamma_lattice.c - see gamma_lattice.h. SPDX-License-Identifier: Apache-2.0 */
#include "gamma_lattice.h"
#include "gamma_vector.h"

#ifndef DG_GAMMA_LATTICE
#define DG_GAMMA_LATTICE dg_gamma_lattice_base
#endif

_Static_assert((int)LANES == (int)DG_GAMMA_GROUP, "groups are made of whole vectors");

/* D_eval - D_ref in a cell as a polynomial of the shares x, y, z on axes 0, 1, 2:
 * (0 + 1 x) + y (2 + 3 x) + z ((4 + 5 x) + y (6 + 7 x)) */
static void make_terms(const dg_gamma_lattice_voxel *v, const float *dose, double terms[8])
{
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

static double smallest(vd values)
{
    double out = values[0];
    for (int i = 1; i < LANES; i++) out = values[i] < out ? values[i] : out;
    return out;
}

double DG_GAMMA_LATTICE(const dg_gamma_lattice *lattice, int64_t first, int64_t end,
                        const dg_gamma_lattice_voxel *voxel, double limit_gy, dg_gamma_cell_cache *cache)
{
    vd smaller = set(INFINITY);
    for (int64_t g = first; g < end; g++) {
        const dg_gamma_group *group = &lattice->group[g];
        const float *range = voxel->range_gy + 2 * group->range_offset;
        const double low = (double)range[0] - voxel->reference_gy, high = voxel->reference_gy - (double)range[1];
        if ((low > high ? low : high) >= limit_gy) continue;
        double *terms = cache->terms[group->slot];
        if (cache->voxel[group->slot] != voxel->voxel) {
            cache->voxel[group->slot] = voxel->voxel;
            make_terms(voxel, voxel->dose_gy + group->dose_offset, terms);
        }
        const double *x = lattice->share[0] + group->first, *y = lattice->share[1] + group->first,
                     *z = lattice->share[2] + group->first;
        for (int64_t i = 0; i < group->count; i += LANES) {
            const vd px = *(const vd *)(x + i), py = *(const vd *)(y + i), pz = *(const vd *)(z + i);
            const vd difference = (terms[0] + terms[1] * px) + py * (terms[2] + terms[3] * px) +
                                  pz * ((terms[4] + terms[5] * px) + py * (terms[6] + terms[7] * px));
            smaller = least(smaller, absolute(difference));
        }
    }
    return smallest(smaller);
}
