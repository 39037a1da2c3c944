/* dg_denoise.h - one voxel of one step against the noise of a diffusion, in f32 with constants worked out once in double.
 * Ancestral steps (DDPM), DDIM and DPM-Solver++(2M) are all of this form; dg_sampler.h gives the constants.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_DENOISE_H
#define DG_DENOISE_H

#include "dg_hd.h"

#include <stdbool.h>

typedef struct dg_denoise {
    float clean_x, clean_out; /* the dose that the network's output speaks of: clean_x x + clean_out out */
    float low, high;          /* which is held in this range */
    float noise_x, noise_out; /* the noise it speaks of */
    bool renew;               /* the noise is made again from the dose that was held: */
    float renew_x, renew_clean;
    float to_clean, to_before, to_x, to_noise; /* of the next x; `before` is the dose of the step before */
    float fresh;                               /* of new standard normal noise; 0: none is drawn */
} dg_denoise;

/* The next x; *clean takes the dose of the step before and gives that of this one. */
DG_HD static inline float dg_denoise_voxel(const dg_denoise *k, float x, float out, float fresh, float *clean)
{
    float now = k->clean_x * x + k->clean_out * out;
    now = now < k->low ? k->low : now > k->high ? k->high : now;
    float noise = k->renew ? k->renew_x * x + k->renew_clean * now : k->noise_x * x + k->noise_out * out;
    float next = k->to_clean * now + k->to_before * *clean + k->to_x * x + k->to_noise * noise + k->fresh * fresh;
    *clean = now;
    return next;
}

#endif
