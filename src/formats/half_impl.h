/* half_impl.h - IEEE 754 binary16 as files hold it. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_HALF_IMPL_H
#define DG_HALF_IMPL_H

#include <math.h>
#include <stdint.h>

static inline float half_to_f32(uint16_t bits)
{
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const float magnitude = exponent == 31  ? (fraction == 0 ? INFINITY : NAN)
                            : exponent == 0 ? ldexpf((float)fraction, -24)
                                            : ldexpf((float)(fraction + 1024), exponent - 25);
    return bits >> 15 != 0 ? -magnitude : magnitude;
}

#endif
