/* gamma_lattice.c - see gamma_lattice.h. SPDX-License-Identifier: Apache-2.0 */
#include "gamma_lattice.h"
#include "gamma_vector.h"

#ifndef DG_GAMMA_LATTICE
#define DG_GAMMA_LATTICE dg_gamma_lattice_base
#endif

_Static_assert((int)LANES == (int)DG_GAMMA_GROUP, "groups are made of whole vectors");

static double smallest(vd values)
{
    double out = values[0];
    for (int i = 1; i < LANES; i++) out = values[i] < out ? values[i] : out;
    return out;
}

double DG_GAMMA_LATTICE(const dg_gamma_lattice *lattice, int64_t first, int64_t end, const dg_gamma_beside *voxel,
                        double limit_gy, dg_gamma_cell_cache *cache)
{
    vd smaller = set(INFINITY);
    for (int64_t g = first; g < end; g++) {
        const dg_gamma_group *group = &lattice->group[g];
        if (!dg_gamma_group_open(group, voxel, limit_gy)) continue;
        double *terms = cache->terms[group->slot];
        if (cache->voxel[group->slot] != voxel->voxel) {
            cache->voxel[group->slot] = voxel->voxel;
            dg_gamma_terms(voxel, group, terms);
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
