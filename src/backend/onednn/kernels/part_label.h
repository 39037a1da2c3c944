/* part_label.h - loops over loss terms of labels, a part of kernels.c: the scalar forms of dg_loss_label.h, one loop for each
 * term, which the compiler vectorises. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_PART_LABEL_H
#define DG_PART_LABEL_H

#include "dg_loss_label.h"

enum { LABEL_LANES = 16 }; /* sums are those of so many lanes, whatever the instruction set */

static double sum_of(const float *x, int64_t count)
{
    double lane[LABEL_LANES] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + LABEL_LANES <= count; i += LABEL_LANES)
        for (int l = 0; l < LABEL_LANES; l++) lane[l] += (double)x[i + l];
    for (; i < count; i++) lane[i % LABEL_LANES] += (double)x[i];
    for (int l = 0; l < LABEL_LANES; l++) sum += lane[l];
    return sum;
}

static double sum_of_products(const float *x, const float *y, int64_t count)
{
    double lane[LABEL_LANES] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + LABEL_LANES <= count; i += LABEL_LANES)
        for (int l = 0; l < LABEL_LANES; l++) lane[l] += (double)x[i + l] * (double)y[i + l];
    for (; i < count; i++) lane[i % LABEL_LANES] += (double)x[i] * (double)y[i];
    for (int l = 0; l < LABEL_LANES; l++) sum += lane[l];
    return sum;
}

/* dg_power in place; GCC vectorises no loop that branches between its ways. */
static void raise_to(float *restrict x, int64_t count, float exponent)
{
    if (exponent == 2.0f)
        for (int64_t i = 0; i < count; i++) x[i] = dg_power(x[i], 2.0f);
    else if (exponent == 1.0f)
        return;
    else
        for (int64_t i = 0; i < count; i++) x[i] = dg_exp(exponent * dg_log(x[i]));
}

static void label_sums(const dg_loss_term *term, const dg_label_tile *tile, double *sum)
{
    const dg_loss_term k = *term;
    const int64_t count = tile->count;
    const float *restrict p = tile->p, *restrict t = tile->t, *restrict counts = tile->counts;
    float a[DG_LABEL_TILE], b[DG_LABEL_TILE];
    switch (k.kind) {
    case DG_LOSS_DICE:
        for (int64_t i = 0; i < count; i++) {
            a[i] = counts[i] * p[i];
            b[i] = t[i] > 0.5f ? 1.0f : 0.0f;
        }
        sum[0] += sum_of_products(a, b, count);
        sum[1] += sum_of(a, count);
        sum[2] += sum_of(b, count);
        return;
    case DG_LOSS_FOCAL:
        for (int64_t i = 0; i < count; i++) a[i] = 1.0f - dg_label_likelihood(p[i], t[i] > 0.5f);
        raise_to(a, count, term->gamma);
        for (int64_t i = 0; i < count; i++) a[i] *= counts[i] * dg_focal_entropy(&k, p[i], t[i] > 0.5f);
        sum[0] += sum_of(a, count);
        sum[1] += sum_of(counts, count);
        return;
    case DG_LOSS_BOUNDARY:
        for (int64_t i = 0; i < count; i++) {
            b[i] = counts[i] * dg_boundary_weight(&k, tile->distance[i]);
            a[i] = b[i] * dg_cross_entropy(p[i], t[i] > 0.5f);
        }
        sum[0] += sum_of(a, count);
        sum[1] += sum_of(b, count);
        return;
    default: /* moments and entropy */
        for (int64_t i = 0; i < count; i++) {
            a[i] = counts[i] * p[i];
            b[i] = counts[i] * dg_entropy(p[i]);
        }
        sum[0] += sum_of(a, count);
        sum[1] += sum_of_products(a, a, count);
        sum[2] += sum_of(counts, count);
        sum[3] += sum_of(b, count);
        return;
    }
}

static void label_slopes(const dg_loss_term *term, const dg_label_tile *tile, const float *factor, float scale,
                         float *restrict slope)
{
    const dg_loss_term k = *term;
    const int64_t count = tile->count;
    const float f0 = factor[0], f1 = factor[1], f2 = factor[2];
    const float *restrict p = tile->p, *restrict t = tile->t, *restrict counts = tile->counts;
    switch (k.kind) {
    case DG_LOSS_DICE:
        for (int64_t i = 0; i < count; i++) slope[i] = t[i] > 0.5f ? f0 + f1 : f1;
        break;
    case DG_LOSS_FOCAL:
        for (int64_t i = 0; i < count; i++) slope[i] = f0 * dg_focal_slope(&k, p[i], t[i] > 0.5f);
        break;
    case DG_LOSS_BOUNDARY:
        for (int64_t i = 0; i < count; i++)
            slope[i] = f0 * dg_boundary_weight(&k, tile->distance[i]) * dg_cross_entropy_slope(p[i], t[i] > 0.5f);
        break;
    default:
        for (int64_t i = 0; i < count; i++) slope[i] = f0 * (p[i] - f1);
        if (f2 != 0.0f)
            for (int64_t i = 0; i < count; i++) slope[i] += f2 * dg_entropy_slope(p[i]);
        break;
    }
    for (int64_t i = 0; i < count; i++) slope[i] *= counts[i] * scale;
}

#endif
