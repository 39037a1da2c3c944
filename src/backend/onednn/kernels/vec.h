/* vec.h - the widest vector of the instruction set a kernel file is compiled for, in GCC's vector types: one source,
 * three builds (see kernels.h). Arithmetic is f32; memory is f32 or bf16. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_VEC_H
#define DG_VEC_H

#include "dg_bf16.h"
#include "dg_dtype.h"

#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif
#if defined(__AVX512F__)
#include "transpose.h"
#endif

#if defined(__AVX512F__)
enum { VL = 16 };
#elif defined(__AVX2__)
enum { VL = 8 };
#else
enum { VL = 4 };
#endif

typedef float vf __attribute__((vector_size(4 * VL)));
typedef int32_t vi __attribute__((vector_size(4 * VL)));
typedef uint32_t vu __attribute__((vector_size(4 * VL)));
typedef uint16_t vh __attribute__((vector_size(2 * VL)));

#define DG_INLINE static inline __attribute__((always_inline))

DG_INLINE vf vset(float value) { return (vf){0} + value; }
DG_INLINE vf vselect(vi mask, vf a, vf b) { return (vf)(((vi)a & mask) | ((vi)b & ~mask)); }

/* a > b ? yes : no; a NaN compares false. */
DG_INLINE vf vgreater(vf a, vf b, vf yes, vf no)
{
#if defined(__AVX512F__)
    return (vf)_mm512_mask_blend_ps(_mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ), (__m512)no, (__m512)yes);
#elif defined(__AVX2__)
    return (vf)_mm256_blendv_ps((__m256)no, (__m256)yes, _mm256_cmp_ps((__m256)a, (__m256)b, _CMP_GT_OQ));
#else
    return vselect(a > b, yes, no);
#endif
}

/* The larger; a NaN in either wins. */
DG_INLINE vf vlarger(vf a, vf b)
{
#if defined(__AVX512F__)
    const __mmask16 take =
        _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ) | _mm512_cmp_ps_mask((__m512)a, (__m512)a, _CMP_UNORD_Q);
    return (vf)_mm512_mask_blend_ps(take, (__m512)b, (__m512)a);
#else
    return vselect((a > b) | (a != a), a, b);
#endif
}

/* x within [low, high]; NaN passes. */
DG_INLINE vf vclamp(vf x, float low, float high)
{
#if defined(__AVX512F__)
    return (vf)_mm512_max_ps(_mm512_set1_ps(low), _mm512_min_ps(_mm512_set1_ps(high), (__m512)x));
#elif defined(__AVX2__)
    return (vf)_mm256_max_ps(_mm256_set1_ps(low), _mm256_min_ps(_mm256_set1_ps(high), (__m256)x));
#else
    return vselect(x < low, vset(low), vselect(x > high, vset(high), x));
#endif
}

DG_INLINE vf vfrom_bf16(vh h)
{
#if defined(__AVX512F__)
    return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)h), 16);
#elif defined(__AVX2__)
    return (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32((__m128i)h), 16);
#else
    return (vf)(__builtin_convertvector(h, vu) << 16);
#endif
}

/* Round to nearest even; NaN stays NaN, as dg_bf16_from_f32. */
DG_INLINE vh vto_bf16(vf value)
{
#if defined(__AVX512BF16__)
    return (vh)_mm512_cvtneps_pbh((__m512)value);
#else
    vu bits = (vu)value;
    vu rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    vu quiet = (bits >> 16) | 0x40u;
    vu nan = (vu)((bits & 0x7fffffffu) > 0x7f800000u);
    return __builtin_convertvector((quiet & nan) | (rounded & ~nan), vh);
#endif
}

#if !defined(__AVX512F__)
/* A rest of fewer than VL elements; out of line, so that the loops stay small. */
static __attribute__((noinline)) vf vload_part(const void *base, dg_dtype dtype, int64_t index, int count)
{
    vf v = {0};
    float lane[VL] = {0};
    for (int i = 0; i < count; i++)
        lane[i] =
            dtype == DG_F32 ? ((const float *)base)[index + i] : dg_bf16_to_f32(((const uint16_t *)base)[index + i]);
    memcpy(&v, lane, sizeof v);
    return v;
}

static __attribute__((noinline)) void vstore_part(void *base, dg_dtype dtype, int64_t index, int count, vf v)
{
    float lane[VL];
    memcpy(lane, &v, sizeof v);
    for (int i = 0; i < count; i++) {
        if (dtype == DG_F32)
            ((float *)base)[index + i] = lane[i];
        else
            ((uint16_t *)base)[index + i] = dg_bf16_from_f32(lane[i]);
    }
}

#endif

/* `count` (1..VL) elements at element `index` of an array of type `dtype`; the other lanes are 0. */
DG_INLINE vf vload(const void *base, dg_dtype dtype, int64_t index, int count)
{
    vf v;
    vh h;
    if (count == VL && dtype == DG_F32) {
        memcpy(&v, (const float *)base + index, sizeof v);
        return v;
    }
    if (count == VL) {
        memcpy(&h, (const uint16_t *)base + index, sizeof h);
        return vfrom_bf16(h);
    }
#if defined(__AVX512F__)
    const __mmask16 mask = (__mmask16)((1u << count) - 1u);
    if (dtype == DG_F32) return (vf)_mm512_maskz_loadu_ps(mask, (const float *)base + index);
    return vfrom_bf16((vh)_mm256_maskz_loadu_epi16(mask, (const uint16_t *)base + index));
#else
    return vload_part(base, dtype, index, count);
#endif
}

DG_INLINE void vstore(void *base, dg_dtype dtype, int64_t index, int count, vf v)
{
    if (count == VL && dtype == DG_F32) {
        memcpy((float *)base + index, &v, sizeof v);
    } else if (count == VL) {
        vh h = vto_bf16(v);
        memcpy((uint16_t *)base + index, &h, sizeof h);
    } else {
#if defined(__AVX512F__)
        const __mmask16 mask = (__mmask16)((1u << count) - 1u);
        if (dtype == DG_F32)
            _mm512_mask_storeu_ps((float *)base + index, mask, (__m512)v);
        else
            _mm256_mask_storeu_epi16((uint16_t *)base + index, mask, (__m256i)vto_bf16(v));
#else
        vstore_part(base, dtype, index, count, v);
#endif
    }
}

/* Sum of the lanes, pairwise. */
DG_INLINE float vsum(vf v)
{
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)v);
#else
    float lane[VL];
    memcpy(lane, &v, sizeof v);
    for (int width = VL / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++) lane[i] += lane[i + width];
    return lane[0];
#endif
}

/* Lane i of the result is the sum of the lanes of v[i]. */
DG_INLINE vf vsum_each(const vf v[VL])
{
    vf sum = {0};
#if defined(__AVX512F__)
    __m512i lane[VL];
    for (int i = 0; i < VL; i++) lane[i] = (__m512i)v[i];
    transpose16(lane);
    for (int width = VL / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++) lane[i] = (__m512i)((vf)lane[i] + (vf)lane[i + width]);
    sum = (vf)lane[0];
#else
    for (int i = 0; i < VL; i++) sum[i] = vsum(v[i]);
#endif
    return sum;
}

/* 1/a to about 1e-7 relative, a in [1, 2^126]; infinity gives 0. */
DG_INLINE vf vreciprocal(vf a)
{
#if defined(__AVX512F__)
    vf r = (vf)_mm512_rcp14_ps((__m512)a);
    vf e = 1.0f - a * r;
    return r + r * e;
#else
    return 1.0f / a;
#endif
}

/* exp(x) to about 2e-7 relative for x in [-87, 88]; arguments beyond are clamped, NaN passes. Cody and Waite reduction
 * and a Taylor polynomial of degree 6 on [-ln2/2, ln2/2] (truncation below 2e-8 after the last correction). */
DG_INLINE vf vexp(vf x)
{
    x = vclamp(x, -87.0f, 88.0f);
#if defined(__AVX512F__)
    vf n = (vf)_mm512_roundscale_ps((__m512)(x * 1.44269504f), 8);
#else
    vf shifted = x * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: the addition rounds to an integer */
    vf n = shifted - 12582912.0f;
#endif
    vf r = x - n * 0.693145752f - n * 1.42860677e-6f;
    vf p = r * 0.00138888889f + 0.00833333333f;
    p = p * r + 0.0416666667f;
    p = p * r + 0.166666667f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
#if defined(__AVX512F__)
    return (vf)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    vi exponent = __builtin_convertvector(n, vi) + 127;
    return p * (vf)(exponent << 23);
#endif
}

/* `type` is that of the result it goes into: bf16 (half a unit is 2e-3) gets an error of 1.3e-4 for half the
 * instructions. The polynomial is the minimax one of 2^r on [0, 1), 7.5e-5 relative. */
DG_INLINE vf vsigmoid(vf x, dg_dtype type)
{
#if defined(__AVX512F__)
    if (type == DG_BF16) {
        const vf t = x * -1.44269504f;
        const vf r = (vf)_mm512_reduce_ps((__m512)t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
        vf p = r * 0.0780245215f + 0.226067156f;
        p = p * r + 0.695833564f;
        p = p * r + 0.999925196f;
        return (vf)_mm512_rcp14_ps(_mm512_scalef_ps((__m512)p, (__m512)t) + 1.0f);
    }
#endif
    return vreciprocal(1.0f + vexp(-x));
}

#endif
