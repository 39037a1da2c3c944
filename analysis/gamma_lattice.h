/* gamma_lattice.h - sample points of the pymedphys rules where every voxel lies alike in its cell: equal spacings of both
 * doses. The samples of a sphere then fall into the same cells beside every voxel, at the same places in them.
 * gamma_lattice.c is compiled for the base instruction set, AVX2 and AVX-512, with the same bits. Private to analysis.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_GAMMA_LATTICE_H
#define DG_GAMMA_LATTICE_H

#include "dg_gamma_samples.h"

typedef struct dg_gamma_lattice {
    dg_gamma_group *group; /* owned */
    int64_t *shell_end;    /* [shells]: where the groups of a sphere end, owned */
    double *share[3];      /* place of each sample in its cell on axes 0, 1, 2, in one block owned by share[0] */
    int64_t shares;        /* of all groups, with their padding */
    int64_t shells;        /* the first of them; 0: voxels do not lie alike */
    int slots;
    double width_mm[3], place[3]; /* of cells, and of every voxel in its cell */
    int64_t *cell[3];             /* cell of each reference plane, which may lie outside the doses; owned */
} dg_gamma_lattice;

/* Polynomials of the cells beside one voxel, worked out when needed. */
typedef struct dg_gamma_cell_cache {
    int64_t *voxel;     /* [slots]: whose polynomial it is */
    double (*terms)[8]; /* [slots] */
} dg_gamma_cell_cache;

/* Smallest |D_eval - D_ref| over the samples of groups [first, end); cells where it cannot be below limit_gy may be left
 * out. INFINITY when all were. */
typedef double dg_gamma_lattice_least(const dg_gamma_lattice *lattice, int64_t first, int64_t end,
                                      const dg_gamma_beside *voxel, double limit_gy, dg_gamma_cell_cache *cache);
dg_gamma_lattice_least dg_gamma_lattice_base, dg_gamma_lattice_avx2, dg_gamma_lattice_avx512;

#endif
