/* dg_voxel.h - per-voxel mathematics: activations with their derivatives, in f32, for host loops and
 * device kernels. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_VOXEL_H
#define DG_VOXEL_H

#include "dg_hd.h"

#include <math.h>

/* Activations. expf(-x) may overflow to infinity: 1 / inf is the right limit 0. */
DG_HD static inline float dg_sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
DG_HD static inline float dg_silu(float x) { return x / (1.0f + expf(-x)); }
DG_HD static inline float dg_relu(float x) { return x <= 0.0f ? 0.0f : x; } /* NaN stays NaN */
DG_HD static inline float dg_leaky_relu(float x, float slope) { return x > 0.0f ? x : slope * x; }

/* Their derivatives, from the input x of forward. */
DG_HD static inline float dg_sigmoid_derivative(float x)
{
    float s = dg_sigmoid(x);
    return s * (1.0f - s);
}
DG_HD static inline float dg_silu_derivative(float x)
{
    float s = dg_sigmoid(x);
    return s * (1.0f + x * (1.0f - s));
}
DG_HD static inline float dg_relu_derivative(float x) { return x > 0.0f ? 1.0f : 0.0f; }
DG_HD static inline float dg_leaky_relu_derivative(float x, float slope) { return x > 0.0f ? 1.0f : slope; }

#endif
