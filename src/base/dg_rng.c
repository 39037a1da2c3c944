/* dg_rng.c - see dg_rng.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_rng.h"

#include "dg_philox.h"

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

double dg_rng_uniform(dg_rng *rng)
{
    const uint32_t high = dg_rng_u32(rng);
    return dg_uniform_of(high, dg_rng_u32(rng));
}

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
    uint32_t word[4];
    for (int k = 0; k < 4; k++) word[k] = dg_rng_u32(rng);
    return dg_normal_of(word);
}
