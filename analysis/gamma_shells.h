/* gamma_shells.h - the sample points of the pymedphys rules: spheres of growing radius (golden README section 6; pymedphys
 * 0.41, `gamma_shell`; written from that description). Private to analysis. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_GAMMA_SHELLS_H
#define DG_GAMMA_SHELLS_H

#include "gamma_impl.h"
#include "gamma_lattice.h"

/* One sphere: offsets in mm from the voxel on axes 0, 1, 2. */
typedef struct dg_gamma_shell {
    double radius_mm, step_mm;
    int64_t count;
    double *offset_mm[3]; /* [count], in one block owned by offset_mm[0] */
} dg_gamma_shell;

typedef struct dg_gamma_shells {
    dg_gamma_shell *list;
    int64_t count;
    int64_t kept; /* the first of which hold their points; those of the others are worked out where they are used */
    int64_t most_points;
} dg_gamma_shells;

DG_MUST_USE dg_status dg_gamma_shells_create(const dg_gamma_setup *setup, dg_gamma_shells *out);
void dg_gamma_shells_release(dg_gamma_shells *shells);
/* Writes the points of a sphere of `axes` axes where `out` is not NULL; returns how many there are. On axes that both doses
 * lack nothing is written: they stay 0. */
int64_t dg_gamma_shell_points(int axes, double radius_mm, double step_mm, double *const out[3]);

/* Finds out whether all voxels lie alike in their cells, and then groups the samples by cell. Else
 * out->shells is 0. */
DG_MUST_USE dg_status dg_gamma_lattice_create(const dg_gamma_setup *setup, const dg_gamma_shells *shells,
                                              dg_gamma_lattice *out);
void dg_gamma_lattice_release(dg_gamma_lattice *lattice);

#endif
