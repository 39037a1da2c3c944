/* perturbation.h - a scan as another scanner would have made it: CT numbers off by a constant, noise, coarser voxels. What a
 * trained network loses by it is told by `dosegrid evaluate --perturb`. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_PERTURBATION_H
#define DG_PERTURBATION_H

#include "dg_grid.h"

typedef enum dg_perturbation_kind {
    DG_PERTURB_HU,     /* adds `amount` HU to every voxel */
    DG_PERTURB_NOISE,  /* adds normal noise with a standard deviation of `amount` HU, voxel by voxel */
    DG_PERTURB_SPACING /* every channel as of voxels `amount` times as large along each axis */
} dg_perturbation_kind;

enum { DG_PERTURBATION_NAME = 40 };

typedef struct dg_perturbation {
    dg_perturbation_kind kind;
    double amount;
    uint64_t seed; /* of the noise */
    char name
        [DG_PERTURBATION_NAME]; /* the same for equal changes, and the name of a folder: "hu=+20", "noise=15", "spacing=1.5" */
} dg_perturbation;

/* KIND=AMOUNT: hu in -1000 to 1000 HU but not 0, noise in HU above 0 to 1000, spacing above 1 to 16 times. DG_ERR_USAGE
 * tells what is wanted. */
DG_MUST_USE dg_status dg_perturbation_parse(const char *text, uint64_t seed, dg_perturbation *out);

/* Offset or noise on the CT numbers of a box of a case, hu[z,y,x]; voxels beyond `grid` stay. The noise of a voxel is a function
 * of seed, case and voxel alone, however the case is cut into boxes. */
void dg_perturb_hu(const dg_perturbation *perturbation, const char *case_id, const dg_grid *grid, const dg_box *box,
                   float *hu);

/* How values of a channel are brought to larger voxels and back. */
typedef enum dg_perturb_values {
    DG_PERTURB_SMOOTH, /* average over the larger voxel, then trilinear between their centres: CT, distances */
    DG_PERTURB_SHARE,  /* 1 where at least half of the larger voxel is: masks */
    DG_PERTURB_NEAREST /* the value at its centre: prescriptions */
} dg_perturb_values;
/* A channel of a whole volume, values[z,y,x], as of DG_PERTURB_SPACING: the larger voxels fill the volume, in the whole number
 * along each axis that comes nearest to `amount` times the size. */
DG_MUST_USE dg_status dg_perturb_spacing(const dg_perturbation *perturbation, const dg_grid *grid,
                                         dg_perturb_values kind, float *values);

#endif
