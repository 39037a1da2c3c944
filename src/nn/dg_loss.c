/* dg_loss.c - terms of a loss one after the other into one gradient. SPDX-License-Identifier: Apache-2.0 */
#include "dg_loss.h"

#include "dg_mem.h"

#include <math.h>
#include <string.h>

struct dg_loss {
    dg_loss_config config;
    dg_backend *backend;              /* borrowed */
    int64_t samples, width;           /* width: values of a sample */
    int64_t first[DG_LOSS_TERMS_MAX]; /* of a term's values in a sample's */
    double *value;                    /* backend memory, [samples][width] */
    double *host;                     /* the same on the host */
    float *weight;                    /* backend memory, [count] */
    void *workspace[DG_LOSS_TERMS_MAX];
    dg_perceptual *perceptual; /* NULL without that term */
};

const char *dg_loss_kind_name(dg_loss_kind kind)
{
    static const char *const names[DG_LOSS_KINDS] = {[DG_LOSS_MSE] = "mse",
                                                     [DG_LOSS_MAE] = "mae",
                                                     [DG_LOSS_HUBER] = "huber",
                                                     [DG_LOSS_POISSON] = "poisson",
                                                     [DG_LOSS_NEGATIVE] = "negative",
                                                     [DG_LOSS_STRUCTURE] = "structure",
                                                     [DG_LOSS_ASYMMETRIC] = "asymmetric",
                                                     [DG_LOSS_GRADIENT] = "gradient",
                                                     [DG_LOSS_DVH] = "dvh",
                                                     [DG_LOSS_SSIM] = "ssim",
                                                     [DG_LOSS_DICE] = "dice",
                                                     [DG_LOSS_FOCAL] = "focal",
                                                     [DG_LOSS_BOUNDARY] = "boundary",
                                                     [DG_LOSS_CLDICE] = "cldice",
                                                     [DG_LOSS_CONNECTIVITY] = "connectivity",
                                                     [DG_LOSS_VARIANCE] = "variance",
                                                     [DG_LOSS_ENTROPY] = "entropy"};
    if (kind == DG_LOSS_PERCEPTUAL) return "perceptual";
    if (kind == DG_LOSS_ADVERSARIAL) return "adversarial";
    return (int)kind >= 0 && kind < DG_LOSS_KINDS ? names[kind] : "unknown";
}

static dg_status check_above_zero(const dg_loss_term *term, const char *key, double value)
{
    if (isfinite(value) && value > 0) return DG_OK;
    return DG_FAIL(DG_ERR_USAGE, "loss.%s.%s is %g; it must be above 0", dg_loss_kind_name(term->kind), key, value);
}

static dg_status check_goals(const dg_loss_term *term)
{
    if (term->goals < 1 || term->goals > DG_LOSS_GOALS_MAX)
        return DG_FAIL(DG_ERR_USAGE, "loss.dvh has %d goals; 1 to %d are possible", term->goals, DG_LOSS_GOALS_MAX);
    if (term->upstream && (term->bins < 2 || term->bins > DG_LOSS_BINS_MAX))
        return DG_FAIL(DG_ERR_USAGE, "loss.dvh.bins is %d; it must be 2 to %d", term->bins, DG_LOSS_BINS_MAX);
    DG_TRY(check_above_zero(term, "vx_temperature", (double)term->vx_temperature));
    return term->upstream ? check_above_zero(term, "d95_temperature", term->d95_temperature)
                          : check_above_zero(term, "window", term->window);
}

static dg_status check_range(const dg_loss_term *term, const char *key, double value, double least, double most)
{
    if (value >= least && value <= most) return DG_OK;
    return DG_FAIL(DG_ERR_USAGE, "loss.%s.%s is %g; it must be %g to %g", dg_loss_kind_name(term->kind), key, value,
                   least, most);
}

static dg_status check_focal(const dg_loss_term *term)
{
    DG_TRY(check_range(term, "alpha", term->alpha, 0, 1));
    DG_TRY(check_range(term, "gamma", term->gamma, 0, 16));
    DG_TRY(check_above_zero(term, "foreground", term->foreground));
    return check_above_zero(term, "background", term->background);
}

static dg_status check_boundary(const dg_loss_term *term)
{
    DG_TRY(check_range(term, "theta0", term->theta0, 0, 1e6));
    if (term->theta > term->theta0) return DG_OK;
    return DG_FAIL(DG_ERR_USAGE, "loss.boundary.theta is %g; it must be above theta0, which is %g", (double)term->theta,
                   (double)term->theta0);
}

static dg_status check_connectivity(const dg_loss_term *term)
{
    DG_TRY(check_range(term, "kernel", term->kernel, 3, DG_LOSS_KERNEL_MAX));
    if (term->kernel % 2 == 1) return DG_OK;
    return DG_FAIL(DG_ERR_USAGE, "loss.connectivity.kernel is %d; it must be odd", term->kernel);
}

static dg_status check_term(const dg_loss_term *term)
{
    switch (term->kind) {
    case DG_LOSS_HUBER: return check_above_zero(term, "delta", term->delta);
    case DG_LOSS_POISSON: return check_above_zero(term, "eps", term->eps);
    case DG_LOSS_ASYMMETRIC: return check_above_zero(term, "ratio", term->ratio);
    case DG_LOSS_DVH: return check_goals(term);
    case DG_LOSS_DICE: return check_above_zero(term, "smooth", term->smooth);
    case DG_LOSS_FOCAL: return check_focal(term);
    case DG_LOSS_BOUNDARY: return check_boundary(term);
    case DG_LOSS_CONNECTIVITY: return check_connectivity(term);
    case DG_LOSS_VARIANCE:
    case DG_LOSS_ENTROPY: return check_range(term, "least_entropy", term->least_entropy, 0, 0.6931471805599453);
    case DG_LOSS_CLDICE:
        DG_TRY(check_range(term, "iterations", term->iterations, 0, DG_LOSS_ITERATIONS_MAX));
        return check_above_zero(term, "smooth", term->smooth);
    case DG_LOSS_PERCEPTUAL:
        return term->layers > 0 ? DG_OK : DG_FAIL(DG_ERR_INTERNAL, "a perceptual term has no layers");
    default: return DG_OK;
    }
}

static dg_status check_config(const dg_loss_config *config)
{
    if (config->count < 1 || config->count > DG_LOSS_TERMS_MAX)
        return DG_FAIL(DG_ERR_USAGE, "a loss has 1 to %d terms, not %d", DG_LOSS_TERMS_MAX, config->count);
    for (int k = 0; k < config->count; k++) {
        if (config->term[k].kind == DG_LOSS_ADVERSARIAL && config->adversary == NULL)
            return DG_FAIL(DG_ERR_INTERNAL, "an adversarial term has no discriminator");
        DG_TRY(check_term(&config->term[k]));
    }
    return DG_OK;
}

static dg_status allocate(dg_loss *loss, int64_t bytes, const char *what, void *out)
{
    return loss->backend->ops->alloc(loss->backend, bytes, what, out);
}

static dg_status take_memory(dg_loss *loss, const dg_loss_batch *shape)
{
    const int count = loss->config.count;
    for (int k = 0; k < count; k++) {
        loss->first[k] = loss->width;
        loss->width += dg_loss_term_values(&loss->config.term[k]);
    }
    const int64_t values = loss->samples * loss->width;
    DG_TRY(DG_NEW(&loss->host, values, "values of the loss"));
    DG_TRY(allocate(loss, values * (int64_t)sizeof(double), "values of the loss", &loss->value));
    DG_TRY(allocate(loss, count * (int64_t)sizeof(float), "weights of the loss", &loss->weight));
    for (int k = 0; k < count; k++) {
        if (loss->config.term[k].kind == DG_LOSS_PERCEPTUAL) {
            DG_TRY(dg_perceptual_create(loss->config.perceptual, loss->backend, shape, &loss->perceptual));
            continue;
        }
        if (loss->config.term[k].kind == DG_LOSS_ADVERSARIAL) continue;
        const int64_t bytes = loss->backend->ops->loss_workspace(&loss->config.term[k], shape);
        if (bytes > 0) DG_TRY(allocate(loss, bytes, "workspace of the loss", &loss->workspace[k]));
    }
    return dg_loss_set_weights(loss, loss->config.weight, 1.0);
}

dg_status dg_loss_create(const dg_loss_config *config, dg_backend *backend, const dg_loss_batch *shape, dg_loss **out)
{
    dg_loss *loss = NULL;
    *out = NULL;
    DG_TRY(check_config(config));
    DG_TRY(DG_NEW(&loss, 1, "loss"));
    loss->config = *config;
    loss->backend = backend;
    loss->samples = shape->y.n;
    dg_status status = take_memory(loss, shape);
    if (status != DG_OK)
        dg_loss_destroy(&loss);
    else
        *out = loss;
    return status;
}

void dg_loss_destroy(dg_loss **loss)
{
    if (loss == NULL || *loss == NULL) return;
    dg_backend *backend = (*loss)->backend;
    dg_perceptual_destroy(&(*loss)->perceptual);
    for (int k = 0; k < DG_LOSS_TERMS_MAX; k++)
        if ((*loss)->workspace[k] != NULL) backend->ops->free(backend, (*loss)->workspace[k]);
    if ((*loss)->value != NULL) backend->ops->free(backend, (*loss)->value);
    if ((*loss)->weight != NULL) backend->ops->free(backend, (*loss)->weight);
    dg_free(&(*loss)->host);
    dg_free(loss);
}

const dg_loss_config *dg_loss_get_config(const dg_loss *loss) { return &loss->config; }

dg_status dg_loss_set_weights(dg_loss *loss, const double *weight, double scale)
{
    float scaled[DG_LOSS_TERMS_MAX];
    for (int k = 0; k < loss->config.count; k++) {
        const dg_loss_term *term = &loss->config.term[k]; /* a perceptual one is the mean over its layers */
        scaled[k] = (float)(weight[k] * scale / (term->kind == DG_LOSS_PERCEPTUAL ? term->layers : 1));
    }
    return loss->backend->ops->upload(loss->backend, loss->weight, scaled,
                                      loss->config.count * (int64_t)sizeof scaled[0]);
}

dg_status dg_loss_evaluate(dg_loss *loss, const dg_loss_batch *batch, dg_tensor *dy)
{
    return dg_loss_evaluate_some(loss, UINT32_MAX, batch, dy);
}

dg_status dg_loss_evaluate_some(dg_loss *loss, uint32_t terms, const dg_loss_batch *batch, dg_tensor *dy)
{
    const int count = loss->config.count;
    bool add = false;
    if (batch->y.n != loss->samples)
        return DG_FAIL(DG_ERR_INTERNAL, "a loss of %lld samples got %lld", (long long)loss->samples,
                       (long long)batch->y.n);
    for (int k = 0; k < count; k++) {
        const dg_loss_term *term = &loss->config.term[k];
        const bool accumulate = add;
        if ((terms >> k & 1) == 0) continue;
        add = true;
        if (term->kind == DG_LOSS_PERCEPTUAL) {
            DG_TRY(dg_perceptual_evaluate(loss->perceptual, batch, loss->weight + k, loss->value + loss->first[k] + 1,
                                          loss->width, dy, accumulate));
            continue;
        }
        if (term->kind == DG_LOSS_ADVERSARIAL) {
            DG_TRY(dg_adversary_judge(loss->config.adversary, batch, loss->weight + k, loss->value + loss->first[k],
                                      loss->width, dy, k > 0));
            continue;
        }
        dg_status status = loss->backend->ops->loss(loss->backend, term, batch, loss->weight + k, loss->workspace[k],
                                                    loss->value + loss->first[k], loss->width, dy, accumulate);
        if (status != DG_OK)
            return dg_error_context(status, "loss term %s", dg_loss_kind_name(loss->config.term[k].kind));
    }
    return DG_OK;
}

static dg_status fetch(dg_loss *loss)
{
    return loss->backend->ops->download(loss->backend, loss->host, loss->value,
                                        loss->samples * loss->width * (int64_t)sizeof *loss->host);
}

static double value_of(const dg_loss *loss, int64_t sample, int k)
{
    const double *value = loss->host + sample * loss->width + loss->first[k];
    const int layers = loss->config.term[k].layers;
    if (loss->config.term[k].kind != DG_LOSS_PERCEPTUAL) return value[0];
    double sum = 0;
    for (int l = 1; l <= layers; l++) sum += value[l];
    return sum / layers;
}

dg_status dg_loss_read(dg_loss *loss, double *value)
{
    const int count = loss->config.count;
    DG_TRY(fetch(loss));
    for (int64_t i = 0; i < loss->samples; i++)
        for (int k = 0; k < count; k++) value[i * count + k] = value_of(loss, i, k);
    return DG_OK;
}

dg_status dg_loss_read_goals(dg_loss *loss, int k, double *value)
{
    const int64_t count = dg_loss_term_values(&loss->config.term[k]) - 1;
    DG_TRY(fetch(loss));
    for (int64_t i = 0; i < loss->samples; i++)
        memcpy(value + i * count, loss->host + i * loss->width + loss->first[k] + 1, (size_t)count * sizeof *value);
    return DG_OK;
}
