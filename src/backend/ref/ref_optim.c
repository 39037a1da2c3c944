/* ref_optim.c - operations on flat f32 buffers: sums and optimiser updates. SPDX-License-Identifier: Apache-2.0 */
#include "ref.h"

#include <math.h>

dg_status ref_fill(dg_backend *backend, float *x, int64_t count, float value)
{
    for (int64_t i = 0; i < count; i++) x[i] = value;
    return DG_OK;
}

dg_status ref_axpy(dg_backend *backend, int64_t count, double a, const float *x, float *y)
{
    for (int64_t i = 0; i < count; i++) y[i] = (float)(y[i] + a * x[i]);
    return DG_OK;
}

dg_status ref_sum_squares(dg_backend *backend, int64_t count, const float *x, double *sum)
{
    *sum = 0;
    for (int64_t i = 0; i < count; i++) *sum += (double)x[i] * x[i];
    return DG_OK;
}

dg_status ref_adamw(dg_backend *backend, const dg_adamw_desc *desc, int64_t count, float *p, const float *g, float *m,
                    float *v)
{
    const double correction1 = 1.0 - pow(desc->beta1, (double)desc->step);
    const double correction2 = 1.0 - pow(desc->beta2, (double)desc->step);
    for (int64_t i = 0; i < count; i++) {
        const double gradient = desc->grad_scale * g[i];
        m[i] = (float)(desc->beta1 * m[i] + (1.0 - desc->beta1) * gradient);
        v[i] = (float)(desc->beta2 * v[i] + (1.0 - desc->beta2) * gradient * gradient);
        const double update = m[i] / correction1 / (sqrt(v[i] / correction2) + desc->eps);
        p[i] = (float)(p[i] * (1.0 - desc->lr * desc->weight_decay) - desc->lr * update);
    }
    return DG_OK;
}

dg_status ref_sgd(dg_backend *backend, const dg_sgd_desc *desc, int64_t count, float *p, const float *g,
                  float *momentum)
{
    for (int64_t i = 0; i < count; i++) {
        const double gradient = desc->grad_scale * g[i] + desc->weight_decay * p[i];
        momentum[i] = (float)(desc->momentum * momentum[i] + gradient);
        const double direction = desc->nesterov ? gradient + desc->momentum * momentum[i] : momentum[i];
        p[i] = (float)(p[i] - desc->lr * direction);
    }
    return DG_OK;
}

dg_status ref_ema(dg_backend *backend, double decay, int64_t count, const float *p, float *average)
{
    for (int64_t i = 0; i < count; i++) average[i] = (float)(decay * average[i] + (1.0 - decay) * p[i]);
    return DG_OK;
}
