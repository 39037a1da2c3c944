/* dg_bf16.h - bfloat16 as stored: the upper half of an IEEE single. Conversion rounds to nearest, ties to even; NaN
 * stays NaN (made quiet), overflow becomes infinity. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_BF16_H
#define DG_BF16_H

#include "dg_hd.h"

#include <stdint.h>
#include <string.h>

typedef uint16_t dg_bf16;

DG_HD static inline float dg_bf16_to_f32(dg_bf16 h)
{
    uint32_t bits = (uint32_t)h << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Branch-free, so that loops over it vectorise. */
DG_HD static inline dg_bf16 dg_bf16_from_f32(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    uint32_t quiet = (bits >> 16) | 0x40u; /* rounding up a NaN could carry into infinity */
    return (dg_bf16)((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

#endif
