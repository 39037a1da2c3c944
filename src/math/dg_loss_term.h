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
    /* of a probability p and a label t (above 1/2: foreground) */
    DG_LOSS_DICE,         /* 1 - (2 sum p t + smooth) / (sum p + sum t + smooth) */
    DG_LOSS_FOCAL,        /* mean a (1 - q)^gamma CE, q the probability of the label (Lin et al. 2017) */
    DG_LOSS_BOUNDARY,     /* cross-entropy, weighted by the distance to the label's surface */
    DG_LOSS_CLDICE,       /* 1 - 2 P S / (P + S) of soft skeletons (Shit et al. 2021) */
    DG_LOSS_CONNECTIVITY, /* mean squared difference of the largest values in windows of kernel^3 */
    DG_LOSS_VARIANCE,     /* (1 - var p)^2 + max(0, least_entropy - mean H(p)) */
    DG_LOSS_ENTROPY,      /* max(0, least_entropy - mean H(p)), H in nats */
    DG_LOSS_KINDS,        /* ... of a backend's operation; beyond: */
    DG_LOSS_PERCEPTUAL,   /* features of a network on slices: dg_perceptual.h; `layers` of them */
    DG_LOSS_ADVERSARIAL,  /* what a discriminator makes of y: dg_adversary.h */
    DG_LOSS_ALL_KINDS
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
    DG_LOSS_ITERATIONS_MAX = 32, /* of a soft skeleton */
    DG_LOSS_KERNEL_MAX = 5,      /* so that a place in a window is a byte */
    DG_GOAL_VALUES = 3           /* of a goal: its loss before the weight, the prediction's metric, the plan's */
};

typedef struct dg_loss_term {
    dg_loss_kind kind;
    float delta;                                   /* huber; > 0 */
    float eps;                                     /* poisson; > 0 */
    int layers;                                    /* perceptual */
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
    /* terms of labels; a voxel that the mask leaves out is like one beyond the edge of the patch. variance, entropy:
     * `upstream` takes the means over all samples of the call, which is the loss of each of them. */
    float smooth;                               /* dice, cldice; > 0 */
    float alpha, gamma, background, foreground; /* focal: a = alpha foreground where t, else (1 - alpha) background */
    float theta0, theta; /* boundary: weight 1 within theta0 voxels, 0 from theta on, linear in between */
    int iterations;      /* cldice: erosions behind the first */
    int kernel;          /* connectivity; odd */
    float least_entropy; /* variance, entropy */
} dg_loss_term;

static inline bool dg_loss_is_of_labels(dg_loss_kind kind) { return kind >= DG_LOSS_DICE && kind <= DG_LOSS_ENTROPY; }
/* Does the term look at neighbours through windows? */
static inline bool dg_loss_has_windows(dg_loss_kind kind)
{
    return kind == DG_LOSS_CLDICE || kind == DG_LOSS_CONNECTIVITY;
}
/* Does the term join the samples of a call? */
static inline bool dg_loss_joins_samples(const dg_loss_term *term)
{
    return term->upstream && (term->kind == DG_LOSS_VARIANCE || term->kind == DG_LOSS_ENTROPY);
}

/* How many values of a sample a term writes: its own, and DG_GOAL_VALUES for each goal, or one for each layer. */
static inline int dg_loss_term_values(const dg_loss_term *term)
{
    if (term->kind == DG_LOSS_PERCEPTUAL) return 1 + term->layers;
    return term->kind == DG_LOSS_DVH ? 1 + DG_GOAL_VALUES * term->goals : 1;
}

#endif
