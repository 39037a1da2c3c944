/* dg_loss_term.h - one term of a loss and its parameters, as a backend computes it. Every term is a value per sample, and the
 * loss of a batch is the mean over its samples; formulas, sources and what `upstream` changes: doc/losses.md. Doses are in
 * units of the dose scale (1 is what the network calls 1). Regions are sets of voxels, given as bits.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_LOSS_TERM_H
#define DG_LOSS_TERM_H

#include <stdbool.h>
#include <stdint.h>

typedef enum dg_loss_kind {
    DG_LOSS_MSE,        /* mean (y - t)^2 */
    DG_LOSS_MAE,        /* mean |y - t| */
    DG_LOSS_HUBER,      /* mean of d^2/2 up to |d| = delta, delta (|d| - delta/2) beyond (Huber 1964) */
    DG_LOSS_POISSON,    /* mean of y - t - t log(y/t), half the Poisson deviance; below eps its tangent there */
    DG_LOSS_NEGATIVE,   /* mean max(0, -y) */
    DG_LOSS_STRUCTURE,  /* mean w (y - t)^2, w by region */
    DG_LOSS_ASYMMETRIC, /* mean over the region inside of (ratio if y < t, else 1) (y - t)^2 */
    DG_LOSS_KINDS
} dg_loss_kind;

typedef struct dg_loss_term {
    dg_loss_kind kind;
    float delta;                                   /* huber; > 0 */
    float eps;                                     /* poisson; > 0 */
    float ratio;                                   /* asymmetric */
    uint32_t inside, near;                         /* regions: asymmetric, structure */
    float weight_inside, weight_near, weight_else; /* structure; inside wins over near */
} dg_loss_term;

#endif
