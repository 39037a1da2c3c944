/* dg_loss_label.h - loss terms of labels that need sums over a sample and nothing of its neighbours: what a voxel adds to the
 * sums, what they make of it, and the slope by the probability p; f32 voxels and f64 sums, for host loops and device kernels.
 * Constants and clamps are those of the surface detection study. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_LOSS_LABEL_H
#define DG_LOSS_LABEL_H

#include "dg_elementary.h"
#include "dg_hd.h"
#include "dg_loss_term.h"

#include <math.h>

enum { DG_LABEL_SUMS = 4, DG_LABEL_FACTORS = 3 };

/* Probabilities of focal and entropy are kept off 0 and 1 by this. */
static const float DG_LABEL_MARGIN = 1e-7f;
static const float DG_LABEL_LEAST_LOG = -100.0f;
static const float DG_LABEL_LEAST_SPREAD = 1e-12f; /* of p (1 - p) below a slope */
static const double DG_LABEL_LEAST_WEIGHT = 1e-5;

DG_HD static inline float dg_label_inside(float p)
{
    const float high = 1.0f - DG_LABEL_MARGIN;
    return p < DG_LABEL_MARGIN ? DG_LABEL_MARGIN : p > high ? high : p;
}
DG_HD static inline bool dg_label_is_inside(float p) { return p >= DG_LABEL_MARGIN && p <= 1.0f - DG_LABEL_MARGIN; }

DG_HD static inline float dg_label_log(float x)
{
    const float l = dg_log(x);
    return l > DG_LABEL_LEAST_LOG ? l : DG_LABEL_LEAST_LOG;
}

/* The probability of the label. */
DG_HD static inline float dg_label_likelihood(float p, bool t)
{
    const float c = dg_label_inside(p);
    return t ? c : 1.0f - c;
}

/* Weighted cross-entropy, and that times (1 - q)^gamma. */
DG_HD static inline float dg_focal_entropy(const dg_loss_term *k, float p, bool t)
{
    const float a = t ? k->alpha * k->foreground : (1.0f - k->alpha) * k->background;
    return -a * dg_log(dg_label_likelihood(p, t));
}
DG_HD static inline float dg_focal(const dg_loss_term *k, float p, bool t)
{
    return dg_focal_entropy(k, p, t) * dg_power(1.0f - dg_label_likelihood(p, t), k->gamma);
}
DG_HD static inline float dg_focal_slope(const dg_loss_term *k, float p, bool t)
{
    if (!dg_label_is_inside(p)) return 0.0f;
    const float q = t ? p : 1.0f - p, away = 1.0f - q;
    const float a = t ? k->alpha * k->foreground : (1.0f - k->alpha) * k->background;
    const float slope = k->gamma * dg_power(away, k->gamma - 1.0f) * dg_log(q) - dg_power(away, k->gamma) / q;
    return t ? a * slope : -a * slope;
}

/* Weight of a voxel at a distance from the surface. */
DG_HD static inline float dg_boundary_weight(const dg_loss_term *k, float distance)
{
    const float d = fabsf(distance);
    if (d <= k->theta0) return 1.0f;
    return d >= k->theta ? 0.0f : (k->theta - d) / (k->theta - k->theta0);
}
DG_HD static inline float dg_cross_entropy(float p, bool t) { return -dg_label_log(t ? p : 1.0f - p); }
DG_HD static inline float dg_cross_entropy_slope(float p, bool t)
{
    const float spread = p * (1.0f - p);
    return (p - (t ? 1.0f : 0.0f)) / (spread > DG_LABEL_LEAST_SPREAD ? spread : DG_LABEL_LEAST_SPREAD);
}

DG_HD static inline float dg_entropy(float p)
{
    const float c = dg_label_inside(p);
    return -(c * dg_log(c) + (1.0f - c) * dg_log(1.0f - c));
}
DG_HD static inline float dg_entropy_slope(float p) { return dg_label_is_inside(p) ? dg_log((1.0f - p) / p) : 0.0f; }

/* Adds a voxel to the sums of its sample. */
DG_HD static inline void dg_label_add(const dg_loss_term *k, float p, float label, float distance, double *sum)
{
    const bool t = label > 0.5f;
    float weight;
    switch (k->kind) {
    case DG_LOSS_DICE:
        sum[0] += t ? (double)p : 0.0;
        sum[1] += (double)p;
        sum[2] += t;
        return;
    case DG_LOSS_FOCAL:
        sum[0] += (double)dg_focal(k, p, t);
        sum[1] += 1;
        return;
    case DG_LOSS_BOUNDARY:
        weight = dg_boundary_weight(k, distance);
        sum[0] += (double)(weight * dg_cross_entropy(p, t));
        sum[1] += (double)weight;
        return;
    default: /* moments and entropy */
        sum[0] += (double)p;
        sum[1] += (double)p * (double)p;
        sum[2] += 1;
        sum[3] += (double)dg_entropy(p);
        return;
    }
}

/* Variance (unbiased) and mean entropy of a sample. */
DG_HD static inline void dg_label_moments(const double *sum, double *variance, double *entropy)
{
    const double n = sum[2];
    *variance = n > 1 ? (sum[1] - sum[0] * sum[0] / n) / (n - 1) : 0;
    *entropy = n > 0 ? sum[3] / n : 0;
}

DG_HD static inline double dg_label_dice(const dg_loss_term *k, const double *sum, float *factor)
{
    const double above = 2 * sum[0] + (double)k->smooth, below = sum[1] + sum[2] + (double)k->smooth;
    factor[0] = (float)(-2 / below);
    factor[1] = (float)(above / below / below);
    return 1 - above / below;
}

/* From the sums of all samples to their values, value[i * stride], and the factors of their slopes. */
DG_HD static inline void dg_label_finish(const dg_loss_term *k, int64_t samples, const double *sums, double *value,
                                         int64_t stride, float *factors)
{
    double mean_variance = 0, mean_entropy = 0;
    for (int64_t i = 0; i < samples; i++) {
        double variance, entropy;
        dg_label_moments(sums + i * DG_LABEL_SUMS, &variance, &entropy);
        mean_variance += variance / (double)samples;
        mean_entropy += entropy / (double)samples;
    }
    for (int64_t i = 0; i < samples; i++) {
        const double *sum = sums + i * DG_LABEL_SUMS;
        float *factor = factors + i * DG_LABEL_FACTORS;
        double variance, entropy, *out = value + i * stride;
        factor[0] = factor[1] = factor[2] = 0.0f;
        switch (k->kind) {
        case DG_LOSS_DICE: *out = dg_label_dice(k, sum, factor); break;
        case DG_LOSS_FOCAL:
            *out = sum[1] > 0 ? sum[0] / sum[1] : 0;
            factor[0] = sum[1] > 0 ? (float)(1 / sum[1]) : 0.0f;
            break;
        case DG_LOSS_BOUNDARY:
            *out = sum[0] / (sum[1] + DG_LABEL_LEAST_WEIGHT);
            factor[0] = (float)(1 / (sum[1] + DG_LABEL_LEAST_WEIGHT));
            break;
        default:
            *out = 0;
            if (sum[2] < 2) break; /* no variance of one voxel */
            dg_label_moments(sum, &variance, &entropy);
            if (k->upstream) variance = mean_variance, entropy = mean_entropy;
            if (k->kind == DG_LOSS_VARIANCE) {
                *out = (1 - variance) * (1 - variance);
                factor[0] = (float)(-4 * (1 - variance) / (sum[2] - 1));
                factor[1] = (float)(sum[0] / sum[2]);
            }
            if (entropy >= (double)k->least_entropy) break;
            *out += (double)k->least_entropy - entropy;
            factor[2] = (float)(-1 / sum[2]);
        }
    }
}

/* Slope of the sample's value by the p of a voxel that counts. */
DG_HD static inline float dg_label_slope(const dg_loss_term *k, float p, float label, float distance,
                                         const float *factor)
{
    const bool t = label > 0.5f;
    switch (k->kind) {
    case DG_LOSS_DICE: return t ? factor[0] + factor[1] : factor[1];
    case DG_LOSS_FOCAL: return factor[0] * dg_focal_slope(k, p, t);
    case DG_LOSS_BOUNDARY: return factor[0] * dg_boundary_weight(k, distance) * dg_cross_entropy_slope(p, t);
    default: return factor[0] * (p - factor[1]) + (factor[2] != 0.0f ? factor[2] * dg_entropy_slope(p) : 0.0f);
    }
}

#endif
