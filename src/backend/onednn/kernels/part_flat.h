/* part_flat.h - loops over flat f32 buffers, a part of kernels.c. The optimiser updates are the scalar forms of
 * dg_update.h, which the compiler vectorises. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_PART_FLAT_H
#define DG_PART_FLAT_H

static void axpy(int64_t count, float a, const float *restrict x, float *restrict y)
{
    for (int64_t i = 0; i < count; i++) y[i] += a * x[i];
}

/* f32 over runs of 512 per lane pair, double between them. */
static double sum_squares(int64_t count, const float *x)
{
    double sum = 0.0;
    for (int64_t start = 0; start < count; start += 4096) {
        const int64_t end = start + 4096 < count ? start + 4096 : count;
        vf s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
        int64_t i = start;
        for (; i + 4 * VL <= end; i += 4 * VL) {
            vf a = vload(x, DG_F32, i, VL), b = vload(x, DG_F32, i + VL, VL);
            vf c = vload(x, DG_F32, i + 2 * VL, VL), d = vload(x, DG_F32, i + 3 * VL, VL);
            s0 += a * a;
            s1 += b * b;
            s2 += c * c;
            s3 += d * d;
        }
        for (; i < end; i += VL) {
            vf a = vload(x, DG_F32, i, lanes_at(i, end));
            s0 += a * a;
        }
        sum += (double)vsum(s0 + s1) + (double)vsum(s2 + s3);
    }
    return sum;
}

static void adamw(const dg_adamw_constants *k, int64_t count, float *restrict p, const float *restrict g,
                  float *restrict m, float *restrict v)
{
    const dg_adamw_constants constants = *k;
    for (int64_t i = 0; i < count; i++) dg_adamw_update(&constants, g[i], &p[i], &m[i], &v[i]);
}

static void sgd(const dg_sgd_constants *k, int64_t count, float *restrict p, const float *restrict g,
                float *restrict momentum)
{
    const dg_sgd_constants constants = *k;
    for (int64_t i = 0; i < count; i++) dg_sgd_update(&constants, g[i], &p[i], &momentum[i]);
}

static void ema(float one_minus_decay, int64_t count, const float *restrict p, float *restrict average)
{
    for (int64_t i = 0; i < count; i++) average[i] = dg_ema_update(one_minus_decay, p[i], average[i]);
}

static float dot(int64_t count, const float *a, const float *b)
{
    vf sum = {0};
    for (int64_t i = 0; i < count; i += VL) {
        const int lanes = lanes_at(i, count);
        sum += vload(a, DG_F32, i, lanes) * vload(b, DG_F32, i, lanes);
    }
    return vsum(sum);
}

static void softmax(int64_t count, float scale, float *scores)
{
    float largest = scores[0];
    for (int64_t i = 1; i < count; i++) largest = scores[i] > largest ? scores[i] : largest;
    double sum = 0.0;
    for (int64_t i = 0; i < count; i += VL) {
        const int lanes = lanes_at(i, count);
        vf e = vexp((vload(scores, DG_F32, i, lanes) - largest) * scale);
        for (int lane = 0; lane < lanes; lane++) sum += (double)e[lane];
        vstore(scores, DG_F32, i, lanes, e);
    }
    const float inverse = (float)(1.0 / sum);
    for (int64_t i = 0; i < count; i++) scores[i] *= inverse;
}

static void softmax_back(int64_t count, float scale, const float *restrict p, float *restrict dp)
{
    const float sum = dot(count, p, dp);
    for (int64_t i = 0; i < count; i++) dp[i] = p[i] * (dp[i] - sum) * scale;
}

/* One element at a time: any layout. */
static void pack_block(const float *source, int64_t columns, int64_t i0, int64_t i1, int64_t j0, int64_t j1,
                       const int64_t *row, const int64_t *column, dg_dtype dtype, void *packed)
{
    for (int64_t i = i0; i < i1; i++)
        for (int64_t j = j0; j < j1; j++) {
            if (dtype == DG_F32)
                ((float *)packed)[row[i] + column[j]] = source[i * columns + j];
            else
                ((uint16_t *)packed)[row[i] + column[j]] = dg_bf16_from_f32(source[i * columns + j]);
        }
}

#if defined(__AVX512BF16__)
/* 16 rows and 32 columns of a bf16 layout that keeps pairs of rows side by side, columns two apart; or pairs of columns
 * side by side, rows two apart (the layouts of the tile and dot-product units, either way round). False: another one. */
static bool pack_16x32(const float *source, int64_t columns, const int64_t *row, const int64_t *column,
                       uint16_t *packed)
{
    __m512i r[16];
    bool row_pairs = true, column_pairs = row[15] == row[0] + 30;
    for (int i = 0; i < 16; i += 2) row_pairs = row_pairs && row[i + 1] == row[i] + 1;
    for (int j = 0; j < 32; j += 16) row_pairs = row_pairs && column[j + 15] == column[j] + 30;
    for (int j = 0; j < 32; j += 2) column_pairs = column_pairs && column[j + 1] == column[j] + 1;
    if (!row_pairs && !column_pairs) return false;
    for (int i = 0; i < 16; i++) {
        const float *from = source + i * columns;
        r[i] = (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + 16), _mm512_loadu_ps(from));
    }
    if (row_pairs) {
        for (int i = 0; i < 16; i += 2)
            for (int half = 0; half < 2; half++) {
                const __m256i a = half ? _mm512_extracti64x4_epi64(r[i], 1) : _mm512_castsi512_si256(r[i]);
                const __m256i b = half ? _mm512_extracti64x4_epi64(r[i + 1], 1) : _mm512_castsi512_si256(r[i + 1]);
                _mm512_storeu_si512(
                    packed + row[i] + column[16 * half],
                    _mm512_or_si512(_mm512_cvtepu16_epi32(a), _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16)));
            }
        return true;
    }
    transpose16(r);
    for (int j = 0; j < 16; j++) _mm512_storeu_si512(packed + row[0] + column[2 * j], r[j]);
    return true;
}
#endif

static void pack(const float *source, int64_t rows, int64_t columns, const int64_t *row, const int64_t *column,
                 dg_dtype dtype, void *packed)
{
    int64_t done = 0;
#if defined(__AVX512BF16__)
    if (dtype == DG_BF16 && rows == 16)
        while (done + 32 <= columns && pack_16x32(source + done, columns, row, column + done, packed)) done += 32;
#endif
    pack_block(source, columns, 0, rows, done, columns, row, column, dtype, packed);
}

#endif
