/* dg_dvh.h - dose-volume statistics of one structure from its sorted voxel doses, without bins. A voxel counts
 * wholly, its centre decides, unless partial volumes are asked for. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_DVH_H
#define DG_DVH_H

#include "dg_grid.h"
#include "dg_status.h"

#include <stdint.h>

/* What "the dose to x of the volume" means between voxels.
 * ICRU: the largest dose that at least x of the volume receives (ICRU report 83, 3.2; never interpolated). The default.
 * LOWER: the reference's index floor((n-1)(100-x)/100) of the ascending doses (golden README section 7).
 * LINEAR: linear interpolation between order statistics, as numpy.percentile(100 - x) (OpenKBP). */
typedef enum dg_dvh_rule { DG_DVH_ICRU, DG_DVH_LOWER, DG_DVH_LINEAR } dg_dvh_rule;

/* One structure's doses, ascending. */
typedef struct dg_dvh {
    float *dose_gy; /* [count], owned */
    int64_t count;
    double voxel_mm3;
} dg_dvh;

/* Takes the doses of the voxels whose mask has any bit of `bits`. DG_ERR_NUMERIC for a dose that is not finite,
 * naming the voxel. A structure without voxels gives count 0, and NaN from every statistic. */
DG_MUST_USE dg_status dg_dvh_create(const float *dose_gy, const uint64_t *masks, uint64_t bits, int64_t voxels,
                                    double voxel_mm3, dg_dvh *out);
void dg_dvh_release(dg_dvh *dvh);

/* A structure as a mask of its own; borrowed. */
typedef struct dg_dvh_structure {
    const float *dose_gy;  /* [z,y,x] of grid */
    const uint8_t *member; /* [z,y,x] 1: voxel of the structure; none outside `box` */
    const dg_grid *grid;
    dg_box box;      /* inside the grid: where the dose is known */
    int supersample; /* n, 1..DG_SUPERSAMPLE_MAX: n^3 sub-voxels a voxel; 1: voxel centres */
    int threads;
} dg_dvh_structure;
enum { DG_SUPERSAMPLE_MAX = 8 };

/* Doses of a structure with partial volumes: every voxel is cut into n^3 sub-voxels, and each has the trilinear dose
 * at its centre (constant beyond the outermost voxel centres of the box). A mask no longer knows the surface it was
 * made from. Its trilinear signed distance is a smooth one, but its zero encloses less than the voxels do (a sphere
 * of 2 voxels' radius loses 13 %). So the sub-voxels of smallest signed distance are taken, as many as the voxels
 * have: the volume is the mask's, the surface is smooth. Ties go to the first in z,y,x order. DG_ERR_USAGE: n out of
 * range; DG_ERR_NUMERIC: a dose that is not finite, naming the voxel. Not collective. */
DG_MUST_USE dg_status dg_dvh_create_structure(const dg_dvh_structure *structure, dg_dvh *out);

/* D_x%: 0 < percent <= 100. */
double dg_dvh_dose_at_percent(const dg_dvh *dvh, double percent, dg_dvh_rule rule);
/* D_x cc after the ICRU rule; NaN when the structure is smaller than x: say so, a smaller volume is another
 * statistic. */
double dg_dvh_dose_at_cc(const dg_dvh *dvh, double cc);
/* numpy.percentile(doses, percentile), linear; the argument is clipped to 0..100. */
double dg_dvh_percentile(const dg_dvh *dvh, double percentile);
/* Voxels that receive at least dose_gy. */
int64_t dg_dvh_voxels_at(const dg_dvh *dvh, double dose_gy);
/* V_x: the share (0..100 %) of the volume that receives at least dose_gy; and the volume itself in cc. */
double dg_dvh_volume_percent(const dg_dvh *dvh, double dose_gy);
double dg_dvh_volume_cc(const dg_dvh *dvh, double dose_gy);
double dg_dvh_total_cc(const dg_dvh *dvh);
double dg_dvh_mean(const dg_dvh *dvh);
double dg_dvh_min(const dg_dvh *dvh);
double dg_dvh_max(const dg_dvh *dvh);

#endif
