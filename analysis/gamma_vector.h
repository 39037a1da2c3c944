/* gamma_vector.h - vectors of eight doubles for the gamma searches, on whatever instruction set a file is compiled for. No
 * operation here rounds otherwise than its scalar twin. Private to analysis. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_GAMMA_VECTOR_H
#define DG_GAMMA_VECTOR_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

enum { LANES = 8 };

typedef double vd __attribute__((vector_size(8 * LANES)));
typedef int64_t vl __attribute__((vector_size(8 * LANES)));
#define INLINE static inline __attribute__((always_inline))

/* x in every lane. */
INLINE vd set(double x) { return (vd){0} + x; }
/* a where the mask is set, else b. */
INLINE vd pick(vl mask, vd a, vd b) { return (vd)(((vl)a & mask) | ((vl)b & ~mask)); }
/* |x|, and below the smaller, the larger and the square root, lane by lane. */
INLINE vd absolute(vd x) { return (vd)((vl)x & INT64_MAX); }

#if defined(__AVX512F__)
INLINE vd least(vd a, vd b) { return (vd)_mm512_min_pd((__m512d)a, (__m512d)b); }
INLINE vd most(vd a, vd b) { return (vd)_mm512_max_pd((__m512d)a, (__m512d)b); }
INLINE vd root(vd x) { return (vd)_mm512_sqrt_pd((__m512d)x); }
/* Is any lane set? */
INLINE bool any(vl mask) { return _mm512_test_epi64_mask((__m512i)mask, (__m512i)mask) != 0; }
#else
INLINE vd least(vd a, vd b) { return pick(a < b, a, b); }
INLINE vd most(vd a, vd b) { return pick(a > b, a, b); }
INLINE vd root(vd x)
{
    for (int i = 0; i < LANES; i++) x[i] = sqrt(x[i]);
    return x;
}
/* Is any lane set? */
INLINE bool any(vl mask)
{
    int64_t all = 0;
    for (int i = 0; i < LANES; i++) all |= mask[i];
    return all != 0;
}
#endif

#endif
