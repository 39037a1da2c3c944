/* dg_loss_point.h - loss terms that look at one voxel at a time: value and slope by the prediction y, in f32, for host loops
 * and device kernels. At a kink the slope is 0, as in PyTorch. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_LOSS_POINT_H
#define DG_LOSS_POINT_H

#include "dg_hd.h"
#include "dg_loss_term.h"

#include <math.h>

DG_HD static inline float dg_sign(float d) { return (float)(d > 0.0f) - (float)(d < 0.0f); }

DG_HD static inline float dg_huber(float d, float delta)
{
    const float a = fabsf(d);
    return a <= delta ? 0.5f * d * d : delta * (a - 0.5f * delta);
}
DG_HD static inline float dg_huber_slope(float d, float delta) { return fabsf(d) <= delta ? d : delta * dg_sign(d); }

/* Half the Poisson deviance; a target of 0 or less is no dose. The tangent at eps keeps outputs of 0 and less finite, with
 * a slope that leads back. */
DG_HD static inline float dg_poisson(float y, float t, float eps)
{
    const float rate = y > eps ? y : eps, left = (y - rate) * (t > 0.0f ? 1.0f - t / rate : 1.0f);
    return (t > 0.0f ? rate - t - t * logf(rate / t) : rate) + left;
}
DG_HD static inline float dg_poisson_slope(float y, float t, float eps)
{
    return t > 0.0f ? 1.0f - t / (y > eps ? y : eps) : 1.0f;
}

/* Whether a voxel takes part in the term's mean. */
DG_HD static inline bool dg_point_counts(const dg_loss_term *k, uint32_t regions)
{
    return k->kind != DG_LOSS_ASYMMETRIC || (regions & k->inside) != 0;
}

DG_HD static inline float dg_point_weight(const dg_loss_term *k, float d, uint32_t regions)
{
    if (k->kind == DG_LOSS_ASYMMETRIC) return d < 0.0f ? k->ratio : 1.0f;
    return (regions & k->inside) != 0 ? k->weight_inside : (regions & k->near) != 0 ? k->weight_near : k->weight_else;
}

DG_HD static inline float dg_point_value(const dg_loss_term *k, float y, float t, uint32_t regions)
{
    const float d = y - t;
    switch (k->kind) {
    case DG_LOSS_MSE: return d * d;
    case DG_LOSS_MAE: return fabsf(d);
    case DG_LOSS_HUBER: return dg_huber(d, k->delta);
    case DG_LOSS_POISSON: return dg_poisson(y, t, k->eps);
    case DG_LOSS_NEGATIVE: return y < 0.0f ? -y : 0.0f;
    default: return dg_point_weight(k, d, regions) * d * d;
    }
}

DG_HD static inline float dg_point_slope(const dg_loss_term *k, float y, float t, uint32_t regions)
{
    const float d = y - t;
    switch (k->kind) {
    case DG_LOSS_MSE: return 2.0f * d;
    case DG_LOSS_MAE: return dg_sign(d);
    case DG_LOSS_HUBER: return dg_huber_slope(d, k->delta);
    case DG_LOSS_POISSON: return dg_poisson_slope(y, t, k->eps);
    case DG_LOSS_NEGATIVE: return y < 0.0f ? -1.0f : 0.0f;
    default: return 2.0f * dg_point_weight(k, d, regions) * d;
    }
}

#endif
