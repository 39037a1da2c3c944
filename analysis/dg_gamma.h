/* dg_gamma.h - the gamma index of an evaluated dose against a reference dose, in one, two or three dimensions.
 *
 * gamma(r) = min over points e of sqrt((D_eval(e) - D_ref(r))^2 / dD^2 + |e - r|^2 / DTA^2), at every reference voxel at or
 * above the cutoff (Low et al., Medical Physics 25, 1998; AAPM TG-218, 2018). D_eval is the multilinear interpolant of the
 * evaluated dose and does not exist outside its grid. Axes may be rising or falling and need not be uniform; the two grids may differ.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_GAMMA_H
#define DG_GAMMA_H

#include "dg_grid.h"

/* CONTINUOUS: the true minimum over the interpolant. PYMEDPHYS: the minimum over the sample points of pymedphys.gamma
 * (shells of growing radius; golden README section 6). The first is never larger than the second. */
typedef enum dg_gamma_method { DG_GAMMA_CONTINUOUS, DG_GAMMA_PYMEDPHYS, DG_GAMMA_METHODS } dg_gamma_method;
const char *dg_gamma_method_name(dg_gamma_method method); /* "continuous", "pymedphys" */

typedef struct dg_gamma_params {
    dg_gamma_method method;
    double dose_percent;    /* dD, of norm_gy (global) or of the voxel's reference dose (local); > 0 */
    double distance_mm;     /* DTA > 0 */
    double cutoff_percent;  /* evaluated where reference >= cutoff_percent / 100 * norm_gy; >= 0 */
    double max_gamma;       /* larger values are given as this; INFINITY: search without limit */
    double norm_gy;         /* the caller resolves --norm (the whole reference's maximum, also for a part of it); 0: a
                               reference without dose, of which nothing is evaluated */
    double interp_fraction; /* PYMEDPHYS: samples are distance_mm / interp_fraction apart */
    bool local;
    struct dg_backend *backend; /* borrowed: one with a device (dg_device.h) searches there; NULL: the host's threads */
} dg_gamma_params;

/* A dose on 1..3 axes, slowest first; borrowed. */
typedef struct dg_gamma_dose {
    int axes;
    int64_t shape[3];
    const double *axis_mm[3]; /* [shape[a]] strictly monotonic */
    const float *dose_gy;
} dg_gamma_dose;

/* The map: gamma[reference voxel], NaN where not evaluated: below the cutoff, outside `where` (u8 mask of the reference;
 * NULL: everywhere), under local criteria where the reference dose is 0, and, under PYMEDPHYS only, where no sample of the evaluated dose is within reach (pymedphys's rule).
 * Under CONTINUOUS such a voxel gets max_gamma: it was asked for and failed (the denominator does not depend on the criterion); with max_gamma INFINITY
 * the search goes on until a point is found. `threads` OpenMP threads; bits do not depend on them, nor on a device, nor on how a
 * reference is cut into parts, as long as each part's evaluated dose holds max_gamma * distance_mm around it (or all there is).
 * Not collective. DG_ERR_NUMERIC: a NaN or infinite dose (names dose and voxel); DG_ERR_DATA: an axis that is not
 * strictly monotonic (names dose, axis, index), no axis, differing dimensions; DG_ERR_USAGE: a parameter out of range. */
DG_MUST_USE dg_status dg_gamma_map(const dg_gamma_params *params, const dg_gamma_dose *reference,
                                   const dg_gamma_dose *evaluated, const uint8_t *where, int threads, float *gamma);

/* What a map says of a set of voxels. Sums are integers: parts may be merged in any order with the same result. */
typedef struct dg_gamma_summary {
    int64_t evaluated, passed; /* passed: gamma <= 1 */
    int64_t sum_q20;           /* of round(gamma 2^20) */
    float max;                 /* NaN where nothing was evaluated */
} dg_gamma_summary;
dg_gamma_summary dg_gamma_summary_init(void);
/* Adds the voxels whose gamma is not NaN and whose `bits` (may be NULL: all) has any bit of `which`. */
void dg_gamma_summary_add(dg_gamma_summary *summary, const float *gamma, const uint64_t *bits, uint64_t which,
                          int64_t voxels);
void dg_gamma_summary_merge(dg_gamma_summary *into, const dg_gamma_summary *from);
double dg_gamma_summary_pass_percent(const dg_gamma_summary *summary); /* NaN where nothing was evaluated */
double dg_gamma_summary_mean(const dg_gamma_summary *summary);
/* The median of the same voxels (numpy's: mean of the two middle ones). DG_ERR_MEMORY. NaN for none. */
DG_MUST_USE dg_status dg_gamma_median(const float *gamma, const uint64_t *bits, uint64_t which, int64_t voxels,
                                      double *median);

#endif
