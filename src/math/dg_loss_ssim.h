/* dg_loss_ssim.h - structural similarity of prediction y and plan t around one voxel, with its slopes by the moments of the
 * window (Wang et al. 2004: bell of width 1.5 voxels over 11 in every axis, K1 0.01, K2 0.03, range 1). A window holds the voxels
 * that count; its shares have sum 1. Moments are those of t and d = y - t, so that what is small is not the difference of
 * what is large: 2 cov(y,t) = var(y) + var(t) - var(d). SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_LOSS_SSIM_H
#define DG_LOSS_SSIM_H

#include "dg_hd.h"

#include <math.h>

enum { DG_SSIM_REACH = 5, DG_SSIM_MOMENTS = 5 /* shares, t, d, y^2 + t^2, d^2 */, DG_SSIM_SLOPES = 3 };

/* One axis of the bell, by distance; the sum over a window makes its shares. */
typedef struct dg_ssim_bell {
    float tap[DG_SSIM_REACH + 1];
} dg_ssim_bell;
static inline dg_ssim_bell dg_ssim_bell_make(void)
{
    dg_ssim_bell bell;
    for (int k = 0; k <= DG_SSIM_REACH; k++) bell.tap[k] = (float)exp(-(double)(k * k) / (2.0 * 1.5 * 1.5));
    return bell;
}

/* What one voxel adds to the moments of windows around it. */
DG_HD static inline void dg_ssim_gather(float y, float t, float moment[DG_SSIM_MOMENTS])
{
    const float d = y - t;
    moment[0] = 1.0f;
    moment[1] = t;
    moment[2] = d;
    moment[3] = y * y + t * t;
    moment[4] = d * d;
}

/* 1 - similarity from a window's sums; slope[] = its derivatives by the sums of d (y goes along), y^2 + t^2 and d^2. */
DG_HD static inline float dg_ssim_point(const float sum[DG_SSIM_MOMENTS], float slope[DG_SSIM_SLOPES])
{
    const float c1 = 1e-4f, c2 = 9e-4f, share = 1.0f / sum[0];
    const float t = sum[1] * share, d = sum[2] * share, y = t + d, level = y * y + t * t;
    const float var = sum[3] * share - level, var_d = sum[4] * share - d * d;
    const float under1 = level + c1, under2 = (var > 0.0f ? var : 0.0f) + c2;
    const float a = d * d / under1, b = (var_d > 0.0f ? var_d : 0.0f) / under2; /* similarity (1 - a) (1 - b) */
    const float by_a = 1.0f - b, by_b = (1.0f - a) / under2;
    slope[0] = share * (by_a * 2.0f * (d - y * a) / under1 + by_b * 2.0f * (y * b - d));
    slope[1] = -share * by_b * b;
    slope[2] = share * by_b;
    return a + b - a * b;
}

/* Slope by y of a voxel from the sums of the slopes of the windows that hold it. */
DG_HD static inline float dg_ssim_slope(float y, float t, const float sum[DG_SSIM_SLOPES])
{
    return sum[0] + 2.0f * y * sum[1] + 2.0f * (y - t) * sum[2];
}

#endif
