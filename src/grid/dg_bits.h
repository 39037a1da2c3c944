/* dg_bits.h - a mask as one bit a voxel: voxel i is bit i % 8 of byte i / 8. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_BITS_H
#define DG_BITS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline int64_t dg_bits_bytes(int64_t voxels) { return (voxels + 7) / 8; }
static inline bool dg_bits_get(const uint8_t *bits, int64_t i) { return (bits[i >> 3] >> (i & 7) & 1) != 0; }
static inline void dg_bits_set(uint8_t *bits, int64_t i) { bits[i >> 3] |= (uint8_t)(1 << (i & 7)); }

/* Voxels i .. i + count - 1 (count 1 .. 8) as the low bits of a byte; whatever lies behind them may be set too. Reads no byte
 * without one of them. */
static inline uint8_t dg_bits_eight(const uint8_t *bits, int64_t i, int64_t count)
{
    const int shift = (int)(i & 7);
    unsigned found = bits[i >> 3] >> shift;
    if (shift + count > 8) found |= (unsigned)bits[(i >> 3) + 1] << (8 - shift);
    return (uint8_t)found;
}

/* Bit j of `eight` as byte j of a little-endian word: 0 or 1. */
static inline uint64_t dg_bits_spread(uint8_t eight)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t chosen = eight * ones & UINT64_C(0x8040201008040201); /* byte j: bit j where it stands */
    return (chosen + UINT64_C(0x7f7f7f7f7f7f7f7f)) >> 7 & ones;
}

/* The inverse: bit j is byte j, each 0 or 1. */
static inline uint8_t dg_bits_gather(uint64_t bytes) { return (uint8_t)(bytes * UINT64_C(0x0102040810204080) >> 56); }

/* out[0 .. count - 1] = voxels i .. i + count - 1 as 0 and 1. */
static inline void dg_bits_to_bytes(const uint8_t *bits, int64_t i, int64_t count, uint8_t *out)
{
    for (; count > 0; i += 8, out += 8, count -= 8) {
        const int64_t n = count < 8 ? count : 8;
        const uint64_t word = dg_bits_spread(dg_bits_eight(bits, i, n));
        memcpy(out, &word, (size_t)n);
    }
}

#endif
