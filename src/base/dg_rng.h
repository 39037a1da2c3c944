/* dg_rng.h - counter-based random numbers (Philox4x32-10).
 *
 * A stream is a pure function of (seed, purpose, a, b): any rank can draw any sample of any step, in any order, and
 * gets the same numbers. There is no hidden state; dg_rng is a small value one may copy.
 * Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_RNG_H
#define DG_RNG_H

#include <stdint.h>

/* What a stream is for; keeps streams of one (a, b) apart. The values are part of the checkpoint contract. */
typedef enum dg_rng_purpose {
    DG_RNG_INIT = 1,    /* a = parameter index */
    DG_RNG_SAMPLE = 2,  /* a = step, b = slot of the global batch: case and patch */
    DG_RNG_AUGMENT = 3, /* a = step, b = slot */
    DG_RNG_SPLIT = 4,
    DG_RNG_PHANTOM = 5, /* a = case */
    DG_RNG_BOOTSTRAP = 6,
    DG_RNG_TEST = 7,
    DG_RNG_NOISE = 8,     /* a = voxel, b = case: of CT numbers (jobs/run/perturbation.h) */
    DG_RNG_DIFFUSION = 9, /* a = step, b = slot: time of a diffusion, and whether the condition is told */
    DG_RNG_DIFFUSION_NOISE = 10, /* a = step, b = slot: noise of the sample's voxels */
    DG_RNG_SAMPLER = 11,  /* seed of a case, a = number of the sample, b = step of the sampler: noise of the case's voxels */
    DG_RNG_BATCH = 16,    /* a = step: how many samples it has */
    DG_RNG_GRADIENT = 17, /* a = step, b = block of parameters: noise on a gradient */
    DG_RNG_WEIGHTS = 18   /* the same: noise on weights */
} dg_rng_purpose;

typedef struct dg_rng {
    uint32_t key[2];
    uint32_t counter[4]; /* counter[0] counts blocks of this stream */
    uint32_t block[4];   /* the numbers of the current block */
    int used;            /* how many of them were taken; 4 at the start */
} dg_rng;

/* The stream of (seed, purpose, a, b). Streams never overlap for fewer than 2^32 blocks; a and b below 2^40 and 2^24. */
dg_rng dg_rng_stream(uint64_t seed, dg_rng_purpose purpose, uint64_t a, uint32_t b);

uint32_t dg_rng_u32(dg_rng *rng);
double dg_rng_uniform(dg_rng *rng);               /* [0, 1), 53 bits */
int64_t dg_rng_below(dg_rng *rng, int64_t bound); /* 0 .. bound-1 without bias; bound >= 1 */
double dg_rng_normal(dg_rng *rng);                /* mean 0, variance 1 (Box-Muller) */

#endif
