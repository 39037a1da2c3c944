/* cuda_activation.h - activations by name, from the per-voxel mathematics that the CPU loops share.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CUDA_ACTIVATION_H
#define DG_CUDA_ACTIVATION_H

#include "dg_backend.h"
#include "dg_voxel.h"

DG_HD static inline float activate(dg_activation act, float slope, float x)
{
    switch (act) {
    case DG_ACT_SILU: return dg_silu(x);
    case DG_ACT_RELU: return dg_relu(x);
    case DG_ACT_LEAKY_RELU: return dg_leaky_relu(x, slope);
    case DG_ACT_SIGMOID: return dg_sigmoid(x);
    default: return x;
    }
}

DG_HD static inline float activate_derivative(dg_activation act, float slope, float x)
{
    switch (act) {
    case DG_ACT_SILU: return dg_silu_derivative(x);
    case DG_ACT_RELU: return dg_relu_derivative(x);
    case DG_ACT_LEAKY_RELU: return dg_leaky_relu_derivative(x, slope);
    case DG_ACT_SIGMOID: return dg_sigmoid_derivative(x);
    default: return 1.0f;
    }
}

#endif
