/* dg_loss_weights.c - see dg_loss_weights.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_loss_weights.h"

#include <math.h>
#include <stdio.h>

dg_loss_weights dg_loss_weights_of(const dg_loss_config *config)
{
    dg_loss_weights out = {.count = config->count};
    for (int k = 0; k < config->count; k++) {
        out.fixed[k] = config->weight[k];
        snprintf(out.name[k], sizeof out.name[k], "%s", dg_loss_kind_name(config->term[k].kind));
    }
    return out;
}

double dg_loss_weights_sigma(const dg_loss_weights *weights, int k)
{
    return fmax(exp(weights->log_sigma[k]), DG_SIGMA_LEAST);
}

void dg_loss_weights_now(const dg_loss_weights *weights, double weight[DG_LOSS_TERMS_MAX])
{
    for (int k = 0; k < weights->count; k++) {
        const double sigma = dg_loss_weights_sigma(weights, k);
        weight[k] = weights->learned[k] ? 1.0 / (2.0 * sigma * sigma) : weights->fixed[k];
    }
}

double dg_loss_weights_total(dg_loss_weights *weights, const double *mean)
{
    double weight[DG_LOSS_TERMS_MAX], total = 0.0;
    dg_loss_weights_now(weights, weight);
    for (int k = 0; k < weights->count; k++) {
        total += weight[k] * mean[k];
        weights->gradient[k] = 0.0;
        if (!weights->learned[k]) continue;
        total += weights->log_sigma[k];
        const bool free = exp(weights->log_sigma[k]) > DG_SIGMA_LEAST;
        weights->gradient[k] = 1.0 - (free ? 2.0 * weight[k] * mean[k] : 0.0);
    }
    return total;
}

double dg_loss_weights_start(double mean, double least, double most)
{
    return 0.5 * log(fmin(fmax(mean, least), most));
}

static dg_status save(const void *object, const dg_state_sink *sink)
{
    const dg_loss_weights *weights = object;
    for (int k = 0; k < weights->count; k++) {
        char name[64];
        snprintf(name, sizeof name, "log_sigma/%s", weights->name[k]);
        if (weights->learned[k]) DG_TRY(dg_state_put_double(sink, name, weights->log_sigma[k]));
    }
    return DG_OK;
}

static dg_status load(void *object, const dg_state_source *source, int version)
{
    dg_loss_weights *weights = object;
    (void)version; /* 1 is the only one so far; the caller has checked the range */
    for (int k = 0; k < weights->count; k++) {
        char name[64];
        snprintf(name, sizeof name, "log_sigma/%s", weights->name[k]);
        if (!weights->learned[k]) continue;
        DG_TRY(dg_state_get_double(source, name, &weights->log_sigma[k]));
        if (!isfinite(weights->log_sigma[k])) return DG_FAIL(DG_ERR_FORMAT, "the checkpoint's %s is not finite", name);
    }
    return DG_OK;
}

dg_state dg_loss_weights_state(dg_loss_weights *weights)
{
    return (dg_state){.name = "loss", .version = 1, .object = weights, .save = save, .load = load};
}
