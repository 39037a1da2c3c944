/* dg_loss.h - the loss of a plan's output: named terms with weights, bound to a backend and a shape. Evaluation queues work
 * and never waits, so that a step can be captured; values are read once the step is over.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_LOSS_H
#define DG_LOSS_H

#include "dg_adversary.h"
#include "dg_backend.h"
#include "dg_perceptual.h"

enum { DG_LOSS_TERMS_MAX = 16 };

typedef struct dg_loss_config {
    int count;
    dg_loss_term term[DG_LOSS_TERMS_MAX]; /* kinds may repeat, names follow */
    double weight[DG_LOSS_TERMS_MAX];     /* 0: only measured */
    const dg_perceptual_net *perceptual;  /* of a perceptual term; borrowed by dg_loss_create */
    dg_adversary *adversary;              /* of an adversarial term, made for the same shape; borrowed */
} dg_loss_config;

/* The name of a kind in settings, metrics and messages ("mse"). */
const char *dg_loss_kind_name(dg_loss_kind kind);

typedef struct dg_loss dg_loss;

/* `shape` gives y's shape and the blocks of every batch; `backend` is borrowed and outlives the loss. All memory is taken
 * here. DG_ERR_USAGE: no term, or a parameter out of range. */
DG_MUST_USE dg_status dg_loss_create(const dg_loss_config *config, dg_backend *backend, const dg_loss_batch *shape,
                                     dg_loss **out);
void dg_loss_destroy(dg_loss **loss);
const dg_loss_config *dg_loss_get_config(const dg_loss *loss);

/* Weights of the terms from now on, each times `scale` (1: the gradient of the sum over samples). Small upload. */
DG_MUST_USE dg_status dg_loss_set_weights(dg_loss *loss, const double *weight, double scale);
/* Queues all terms: their values, and dy (NULL: not wanted) = gradient of scale * sum over samples and terms of weight *
 * value. dy is 0 where the mask is. Before the first dg_loss_set_weights the weights are the config's and scale is 1. */
DG_MUST_USE dg_status dg_loss_evaluate(dg_loss *loss, const dg_loss_batch *batch, dg_tensor *dy);
/* Only the terms whose bit is set; the others keep the values they had. No bit: dy = 0 is left to the caller. */
DG_MUST_USE dg_status dg_loss_evaluate_some(dg_loss *loss, uint32_t terms, const dg_loss_batch *batch, dg_tensor *dy);
/* Waits, and gives the unweighted values of the last evaluation: value[i * count + k] of sample i and term k. */
DG_MUST_USE dg_status dg_loss_read(dg_loss *loss, double *value);
/* Waits, and gives the goals of the DVH term k of the last evaluation: value[n][goals][DG_GOAL_VALUES]. */
DG_MUST_USE dg_status dg_loss_read_goals(dg_loss *loss, int k, double *value);

#endif
