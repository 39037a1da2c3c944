/* dg_loss_weights.h - how much each term of a loss counts: fixed, or learned with the network as the width sigma of an
 * uncertainty: sum of value / (2 sigma^2) + log sigma (Kendall, Gal & Cipolla 2018, equation 7, without its factor 1/2 on the
 * second part, as in the reference study). SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_LOSS_WEIGHTS_H
#define DG_LOSS_WEIGHTS_H

#include "dg_loss.h"
#include "dg_state.h"

/* A sigma below this counts as this, and then its term no longer drives it. */
static const double DG_SIGMA_LEAST = 1e-4;

typedef struct dg_loss_weights {
    int count;
    char name[DG_LOSS_TERMS_MAX][32];
    bool learned[DG_LOSS_TERMS_MAX];
    double fixed[DG_LOSS_TERMS_MAX];     /* weights of the others */
    double log_sigma[DG_LOSS_TERMS_MAX]; /* of the learned ones */
    double gradient[DG_LOSS_TERMS_MAX];  /* d loss / d log_sigma, by dg_loss_weights_total */
} dg_loss_weights;

/* The config's names and weights, nothing learned. */
dg_loss_weights dg_loss_weights_of(const dg_loss_config *config);
/* sigma of term k. */
double dg_loss_weights_sigma(const dg_loss_weights *weights, int k);
/* What each term's value is multiplied by now. */
void dg_loss_weights_now(const dg_loss_weights *weights, double weight[DG_LOSS_TERMS_MAX]);
/* The loss from the terms' means over the batch; fills `gradient`. */
double dg_loss_weights_total(dg_loss_weights *weights, const double *mean);
/* The log sigma at which a term of this mean value counts as much as any other: ln sqrt(value), the value within limits. */
double dg_loss_weights_start(double mean, double least, double most);
/* Checkpointed state "loss": log_sigma/NAME of each learned term. */
dg_state dg_loss_weights_state(dg_loss_weights *weights);

#endif
