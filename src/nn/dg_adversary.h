/* dg_adversary.h - the opponent of a network that predicts doses: a discriminator (dg_model_patchgan.c) that learns to tell plans
 * from predictions, given what the network saw, and whose judgement of a prediction is a term of the network's loss. Least
 * squares (Mao et al. 2017), with D the discriminator's map of patches for the case's input:
 *   term of a sample: mean (D(y) - 1)^2, D's own loss: (mean (D(t) - 1)^2 + mean D(y)^2) / 2, y not followed back there.
 * Both gradients of a step are those of the discriminator as the step found it. Where voxels do not count, y and t are 0 to it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_ADVERSARY_H
#define DG_ADVERSARY_H

#include "dg_model.h"
#include "dg_optim.h"

typedef struct dg_adversary_config {
    int64_t inputs, outputs; /* channels of the network; outputs: voxels of a block */
    int64_t base, layers;    /* channels of the first layer; layers of stride 2 */
    uint64_t seed;           /* of its first weights, as of the network's */
    dg_optim_config optim;
} dg_adversary_config;

/* The discriminator alone: what a plan of it takes (dg_plan_estimate). DG_ERR_USAGE: a number out of range. */
DG_MUST_USE dg_status dg_adversary_model(const dg_adversary_config *config, dg_model **out);

typedef struct dg_adversary dg_adversary;

/* For batches like `shape`, with its input; `backend` outlives the object. `record`: as of dg_plan_config. DG_ERR_USAGE: a patch
 * that the layers do not divide, or that leaves a single voxel. */
DG_MUST_USE dg_status dg_adversary_create(const dg_adversary_config *config, dg_backend *backend,
                                          const dg_loss_batch *shape, bool record, dg_adversary **out);
void dg_adversary_destroy(dg_adversary **adversary);
const dg_param_table *dg_adversary_params(const dg_adversary *adversary);

/* While it is idle (it is not at first) dg_adversary_judge finds nothing: values and slopes of 0. */
void dg_adversary_rest(dg_adversary *adversary, bool idle);
/* Queues the term: value[i * stride] of sample i (f64, backend memory, zeroed before the first call), and dy (NULL: not wanted;
 * dense f32, like y) (=|+=) d/dy of *weight * their sum. */
DG_MUST_USE dg_status dg_adversary_judge(dg_adversary *adversary, const dg_loss_batch *batch, const float *weight,
                                         double *value, int64_t stride, dg_tensor *dy, bool accumulate);
/* After dg_adversary_judge of the same batch: queues that the gradient of its own loss, summed over the first `count` samples, is
 * added to `gradients` (flat f32, backend memory). */
DG_MUST_USE dg_status dg_adversary_learn(dg_adversary *adversary, const dg_loss_batch *batch, int64_t count,
                                         float *gradients);
/* Waits, and gives of each sample of the last dg_adversary_learn, on the host: mean D(y)^2, mean (D(t) - 1)^2, mean D(t)^2. */
enum { DG_ADVERSARY_VALUES = 3 };
DG_MUST_USE dg_status dg_adversary_read(dg_adversary *adversary, double *value);
/* What these and the term tell: its loss and its mean scores. */
typedef struct dg_adversary_scores {
    double loss, real, fake;
} dg_adversary_scores;
dg_adversary_scores dg_adversary_score(double term, const double value[DG_ADVERSARY_VALUES]);

/* dg_optim_step of the discriminator, and the new weights come into force. */
DG_MUST_USE dg_status dg_adversary_update(dg_adversary *adversary, double lr, double grad_scale, const float *gradients,
                                          double *grad_norm);
/* Checkpointed states "adversary" (its weights) and "adversary_optimizer". */
dg_state dg_adversary_state(dg_adversary *adversary);
dg_state dg_adversary_optim_state(dg_adversary *adversary);

#endif
