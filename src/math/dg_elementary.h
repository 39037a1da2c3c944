/* dg_elementary.h - logarithm, exponential and power of f32 numbers without branches or calls, so that loops over them
 * become loops of vectors; logarithms are within 2e-7 of the true ones, exponentials within 3e-7, relative.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_ELEMENTARY_H
#define DG_ELEMENTARY_H

#include "dg_hd.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Natural logarithm; -infinity for x <= 0, NaN for NaN and infinity. x = 2^e m with m in [sqrt(1/2), sqrt(2)), and
 * log m = 2 atanh((m - 1) / (m + 1)), whose series is cut off at 2e-9 relative. */
DG_HD static inline float dg_log(float x)
{
    const float scaled = x < 1.17549435e-38f ? x * 8388608.0f : x; /* denormal numbers */
    uint32_t bits;
    float m;
    memcpy(&bits, &scaled, sizeof bits);
    const uint32_t shifted = bits + (0x3f800000u - 0x3f3504f3u); /* sqrt(1/2) moves to 1 */
    const int32_t e = (int32_t)(shifted >> 23) - 127 - (x < 1.17549435e-38f ? 23 : 0);
    bits = (shifted & 0x007fffffu) + 0x3f3504f3u;
    memcpy(&m, &bits, sizeof m);
    const float s = (m - 1.0f) / (m + 1.0f), q = s * s;
    const float tail = q * (0.666666667f + q * (0.4f + q * (0.285714286f + q * 0.222222222f)));
    const float log_m = 2.0f * s + s * tail;
    const float whole = (float)e * 0.693359375f + (log_m - (float)e * 2.12194440e-4f); /* ln 2 in two parts */
    return x > 0.0f ? whole + (x - x) : x - x == 0.0f ? -INFINITY : x - x;
}

/* exp(x), x clamped to [-87, 88]; NaN passes. Cody and Waite reduction and a Taylor polynomial on [-ln2/2, ln2/2]. */
DG_HD static inline float dg_exp(float x)
{
    const float c = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    const float shifted = c * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: the addition rounds to an integer */
    const float n = shifted - 12582912.0f;
    const float r = c - n * 0.693145752f - n * 1.42860677e-6f;
    float p = r * 0.00138888889f + 0.00833333333f, power;
    p = p * r + 0.0416666667f;
    p = p * r + 0.166666667f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits - 0x4b400000u + 127u) << 23;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

/* x^a, x > 0. */
DG_HD static inline float dg_power(float x, float a)
{
    if (a == 2.0f) return x * x; /* what focal losses use: exact, and the same branch for every voxel */
    if (a == 1.0f) return x;
    return dg_exp(a * dg_log(x));
}

#endif
