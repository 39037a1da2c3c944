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
    DG_LOSS_GRADIENT, /* mean |S (y - t)| over the three Sobel kernels of 3x3x3, each divided by 32; 0 beyond the edge */
    DG_LOSS_DVH,      /* weighted sum of goals */
    DG_LOSS_SSIM,     /* 1 - mean structural similarity, bell of 11^3 voxels (Wang et al. 2004, equation 13) */
    DG_LOSS_KINDS
} dg_loss_kind;

/* A goal compares a dose-volume metric of the prediction with that of the plan (the target) in one region. */
typedef enum dg_goal_kind {
    DG_GOAL_DOSE,   /* D_level, the dose that a share `level` of the volume gets: max(0, plan - predicted) */
    DG_GOAL_VOLUME, /* V_level, the share of the volume that gets `level` Gy: max(0, predicted - limit) +
                     * max(0, predicted - plan) / 2 */
    DG_GOAL_MEAN    /* mean dose: max(0, predicted - plan) */
} dg_goal_kind;

typedef struct dg_loss_goal {
    dg_goal_kind kind;
    uint32_t region;
    double level, limit;
    float weight;
} dg_loss_goal;

enum {
    DG_LOSS_GOALS_MAX = 32,
    DG_LOSS_REGIONS_MAX = 24, /* so that a voxel's bits are a whole f32 number */
    DG_LOSS_BINS_MAX = 512,
    DG_GOAL_VALUES = 3 /* of a goal: its loss before the weight, the prediction's metric, the plan's */
};

typedef struct dg_loss_term {
    dg_loss_kind kind;
    float delta;                                   /* huber; > 0 */
    float eps;                                     /* poisson; > 0 */
    float ratio;                                   /* asymmetric */
    uint32_t inside, near;                         /* regions: asymmetric, structure */
    float weight_inside, weight_near, weight_else; /* structure; inside wins over near */
    /* dvh; a region of fewer than min_voxels that count gives 0. V_x is the mean of sigmoid((y - x) / vx_temperature).
     * D_x is the mean of the doses whose rank is within `window` of the one wanted (shares of the volume), or, upstream, the
     * reference tool's soft histogram of `bins` bins over [0, 1.5] read at its temperature. */
    bool upstream;
    int goals, bins, min_voxels;
    double window, d95_temperature;
    float vx_temperature;
    dg_loss_goal goal[DG_LOSS_GOALS_MAX];
} dg_loss_term;

/* How many values of a sample a term writes: its own, and DG_GOAL_VALUES for each goal. */
static inline int dg_loss_term_values(const dg_loss_term *term)
{
    return term->kind == DG_LOSS_DVH ? 1 + DG_GOAL_VALUES * term->goals : 1;
}

#endif
