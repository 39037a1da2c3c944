/* dg_rng.c - see dg_rng.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_rng.h"

#include <math.h>

/* Multipliers and Weyl increments of the published function (SC11, table 2 and section 3.3). */
static const uint32_t philox_m0 = 0xD2511F53u, philox_m1 = 0xCD9E8D57u;
static const uint32_t philox_w0 = 0x9E3779B9u, philox_w1 = 0xBB67AE85u;

void dg_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)philox_m0 * c0, p1 = (uint64_t)philox_m1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += philox_w0;
        k1 += philox_w1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

dg_rng dg_rng_stream(uint64_t seed, dg_rng_purpose purpose, uint64_t a, uint32_t b)
{
    dg_rng rng = {.used = 4};
    rng.key[0] = (uint32_t)seed;
    rng.key[1] = (uint32_t)(seed >> 32);
    rng.counter[1] = (uint32_t)purpose << 24 | (b & 0xFFFFFFu);
    rng.counter[2] = (uint32_t)a;
    /* `a` below 2^56 leaves the top byte free for the rest of b: no two (purpose, a, b) share a counter. */
    rng.counter[3] = (uint32_t)(a >> 32) | (b & 0xFF000000u);
    return rng;
}

uint32_t dg_rng_u32(dg_rng *rng)
{
    if (rng->used == 4) {
        dg_philox4x32(rng->counter, rng->key, rng->block);
        rng->counter[0]++;
        rng->used = 0;
    }
    return rng->block[rng->used++];
}

static uint64_t next_u64(dg_rng *rng)
{
    uint64_t high = dg_rng_u32(rng);
    return high << 32 | dg_rng_u32(rng);
}

double dg_rng_uniform(dg_rng *rng) { return (double)(next_u64(rng) >> 11) * 0x1p-53; }

int64_t dg_rng_below(dg_rng *rng, int64_t bound)
{
    /* Multiply and reject (Lemire 2019): every value has the same number of preimages. */
    uint64_t range = bound < 1 ? 1 : (uint64_t)bound;
    uint64_t threshold = (0 - range) % range;
    unsigned __int128 product;
    do {
        product = (unsigned __int128)next_u64(rng) * range;
    } while ((uint64_t)product < threshold);
    return (int64_t)(uint64_t)(product >> 64);
}

double dg_rng_normal(dg_rng *rng)
{
    double radius = sqrt(-2.0 * log(1.0 - dg_rng_uniform(rng))); /* 1 - u is never 0 */
    return radius * cos(6.283185307179586476925 * dg_rng_uniform(rng));
}
