/* dg_sampler.h - from noise to a dose in a number of network calls: which times, and the constants of each step.
 * DDPM (Ho et al. 2020), DDIM (Song et al. 2021), DPM-Solver++(2M) (Lu et al. 2022). SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_SAMPLER_H
#define DG_SAMPLER_H

#include "dg_denoise.h"
#include "dg_diffusion.h"

typedef enum dg_sampler_kind { DG_SAMPLER_DDIM, DG_SAMPLER_DDPM, DG_SAMPLER_DPM_SOLVER } dg_sampler_kind;

/* What the reference tool's DDIM does otherwise. */
enum {
    DG_SAMPLER_EARLY_START =
        1, /* times 0, T/n, 2T/n, ..: the first call is told less noise than there is, and a number that
                                 * does not divide T makes more calls */
    DG_SAMPLER_STALE_NOISE = 2, /* the noise is not made again after the dose was held in its range */
    DG_SAMPLER_RAW_ETA = 4,     /* eta sqrt(1 - kept) as the spread of fresh noise */
    DG_SAMPLER_UPSTREAM = DG_SAMPLER_EARLY_START | DG_SAMPLER_STALE_NOISE | DG_SAMPLER_RAW_ETA
};

typedef struct dg_sampler_config {
    dg_sampler_kind kind;
    int64_t steps;    /* network calls, 1 to the diffusion's steps; DDPM over fewer times skips between them */
    double eta;       /* DDIM: 0 draws no noise, 1 is as random as DDPM */
    double low, high; /* range of the dose within a step */
    unsigned faults;  /* DG_SAMPLER_.. of the reference tool, DDIM only */
} dg_sampler_config;

typedef struct dg_sampler_step {
    int64_t t; /* the network is told this time */
    dg_denoise denoise;
} dg_sampler_step;

/* All steps in order, the last of which ends at the dose; *out is the caller's (dg_free). DG_ERR_USAGE for more steps than
 * the diffusion has, none, or a value out of range. */
DG_MUST_USE dg_status dg_sampler_plan(const dg_diffusion *diffusion, const dg_sampler_config *config,
                                      dg_sampler_step **out, int64_t *count);

#endif
