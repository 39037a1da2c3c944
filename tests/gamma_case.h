/* gamma_case.h - small doses for the gamma tests. SPDX-License-Identifier: Apache-2.0 */
#ifndef GAMMA_CASE_H
#define GAMMA_CASE_H

#include "dg_backend.h"
#include "dg_check.h"
#include "dg_gamma.h"
#include "dg_rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GAMMA_SIDE = 112, GAMMA_VOXELS = 32768 };

/* A dose with room for its own axes and values; dose.axis_mm and dose.dose_gy point into it. */
typedef struct gamma_dose {
    double axis[3][GAMMA_SIDE];
    float gy[GAMMA_VOXELS];
    dg_gamma_dose dose;
    int64_t voxels;
} gamma_dose;

/* Uniform axes. */
static inline void gamma_dose_init(gamma_dose *d, int axes, const int64_t *shape, const double *spacing,
                                   const double *origin)
{
    d->dose = (dg_gamma_dose){.axes = axes, .dose_gy = d->gy};
    d->voxels = 1;
    for (int a = 0; a < axes; a++) {
        DG_CHECK(shape[a] <= GAMMA_SIDE);
        d->dose.shape[a] = shape[a];
        d->dose.axis_mm[a] = d->axis[a];
        d->voxels *= shape[a];
        for (int64_t i = 0; i < shape[a]; i++) d->axis[a][i] = origin[a] + spacing[a] * (double)i;
    }
    DG_CHECK(d->voxels <= GAMMA_VOXELS);
}

/* Positions of a voxel on the axes. */
static inline void gamma_place(const gamma_dose *d, int64_t voxel, double mm[3])
{
    for (int a = d->dose.axes - 1; a >= 0; a--) {
        mm[a] = d->axis[a][voxel % d->dose.shape[a]];
        voxel /= d->dose.shape[a];
    }
}

/* A smooth field with structure of a few voxels, 0 to 60 Gy, and its like with other phases. */
static inline void gamma_fill_waves(gamma_dose *d, double phase, double noise_gy, uint64_t seed)
{
    dg_rng rng = dg_rng_stream(seed, DG_RNG_TEST, 61, 0);
    for (int64_t i = 0; i < d->voxels; i++) {
        double mm[3] = {0, 0, 0};
        gamma_place(d, i, mm);
        const double wave = sin(0.21 * mm[0] + phase) * cos(0.17 * mm[1] - phase) + 0.4 * sin(0.33 * mm[2] + 2 * phase);
        d->gy[i] = (float)(30.0 + 20.0 * wave + noise_gy * (dg_rng_uniform(&rng) - 0.5));
    }
}

/* Where gamma is searched for; NULL: threads of the host. */
static dg_backend *gamma_device;

/* --backend NAME (cpu unless given): a device that cannot run here ends the test with 77. */
static inline void gamma_open(int argc, char **argv)
{
    const dg_backend_options options = {.threads = 1, .deterministic = true};
    if (argc != 3 || strcmp(argv[1], "--backend") != 0 || strcmp(argv[2], "cpu") == 0) return;
    if (dg_backend_create(argv[2], &options, &gamma_device) == DG_OK) return;
    printf("skipped: %s\n", dg_error_last()->text);
    exit(77);
}

static inline dg_gamma_params gamma_params(double percent, double mm)
{
    return (dg_gamma_params){.method = DG_GAMMA_CONTINUOUS,
                             .dose_percent = percent,
                             .distance_mm = mm,
                             .cutoff_percent = 10,
                             .max_gamma = 2,
                             .norm_gy = 50,
                             .interp_fraction = 10,
                             .backend = gamma_device};
}

#endif
