/* dg_philox.h - the random function that every stream of dg_rng.h comes from, and a normal number from four of its words;
 * for host loops and device kernels, which may want any element of a stream by its number.
 * Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11 (table 2 and section 3.3).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_PHILOX_H
#define DG_PHILOX_H

#include "dg_hd.h"

#include <math.h>
#include <stdint.h>

/* Ten rounds of Philox4x32 on one counter (the published function; the known-answer test uses it). */
DG_HD static inline void dg_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* [0, 1), 53 bits of two words. */
DG_HD static inline double dg_uniform_of(uint32_t high, uint32_t low)
{
    return (double)(((uint64_t)high << 32 | low) >> 11) * 0x1p-53;
}

/* Mean 0, variance 1 (Box-Muller). */
DG_HD static inline double dg_normal_of(const uint32_t word[4])
{
    const double radius = sqrt(-2.0 * log(1.0 - dg_uniform_of(word[0], word[1]))); /* 1 - u is never 0 */
    return radius * cos(6.283185307179586476925 * dg_uniform_of(word[2], word[3]));
}

#endif
