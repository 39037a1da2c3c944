/* dg_update.h - one element of an optimiser update, in f32 with constants worked out once in double.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_UPDATE_H
#define DG_UPDATE_H

#include "dg_hd.h"

#include <math.h>
#include <stdint.h>

/* Adam with decoupled weight decay (Loshchilov & Hutter 2019), in the order of operations of torch.optim.AdamW. */
typedef struct dg_adamw_constants {
    float decay; /* 1 - lr * weight_decay */
    float beta1, one_minus_beta1, beta2, one_minus_beta2;
    float step_size; /* lr / (1 - beta1^step) */
    float root;      /* sqrt(1 - beta2^step) */
    float eps, grad_scale;
} dg_adamw_constants;

/* step is 1 for the first update. */
static inline dg_adamw_constants dg_adamw_prepare(double lr, double beta1, double beta2, double eps,
                                                  double weight_decay, int64_t step, double grad_scale)
{
    dg_adamw_constants k;
    k.decay = (float)(1.0 - lr * weight_decay);
    k.beta1 = (float)beta1;
    k.one_minus_beta1 = (float)(1.0 - beta1);
    k.beta2 = (float)beta2;
    k.one_minus_beta2 = (float)(1.0 - beta2);
    k.step_size = (float)(lr / (1.0 - pow(beta1, (double)step)));
    k.root = (float)sqrt(1.0 - pow(beta2, (double)step));
    k.eps = (float)eps;
    k.grad_scale = (float)grad_scale;
    return k;
}

DG_HD static inline void dg_adamw_update(const dg_adamw_constants *k, float gradient, float *p, float *m, float *v)
{
    float g = gradient * k->grad_scale;
    *m = k->beta1 * *m + k->one_minus_beta1 * g;
    *v = k->beta2 * *v + k->one_minus_beta2 * g * g;
    *p = *p * k->decay - k->step_size * *m / (sqrtf(*v) / k->root + k->eps);
}

/* torch.optim.SGD without dampening: weight decay enters the gradient; `buffer` is the momentum (unused for 0). */
typedef struct dg_sgd_constants {
    float lr, momentum, weight_decay, nesterov /* 1 or 0 */, grad_scale;
} dg_sgd_constants;

DG_HD static inline void dg_sgd_update(const dg_sgd_constants *k, float gradient, float *p, float *buffer)
{
    float g = gradient * k->grad_scale + k->weight_decay * *p;
    float b = k->momentum * *buffer + g;
    *buffer = b;
    *p -= k->lr * (k->nesterov * g + (k->nesterov != 0.0f ? k->momentum : 1.0f) * b);
}

/* average = decay * average + (1 - decay) * p, in a form exact for average == p. */
DG_HD static inline float dg_ema_update(float one_minus_decay, float p, float average)
{
    return average + one_minus_decay * (p - average);
}

#endif
