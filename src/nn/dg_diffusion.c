/* dg_diffusion.c - noise schedules and the loss of a diffusion model. SPDX-License-Identifier: Apache-2.0 */
#include "dg_diffusion.h"

#include "dg_mem.h"

#include <math.h>

enum { STEPS_MAX = 1000000 };
static const double pi = 3.14159265358979323846;
/* What the reference tool adds to the signal it divides by. */
static const double raw_guard = 1e-8;

static double cosine(const dg_diffusion_config *c, int64_t t)
{
    double angle = ((double)t / (double)c->steps + c->offset) / (1 + c->offset) * pi / 2;
    return cos(angle) * cos(angle);
}

static double beta_of(const dg_diffusion_config *c, int64_t t)
{
    if (c->schedule == DG_NOISE_LINEAR)
        return c->steps == 1 ? c->beta_min
                             : c->beta_min + (c->beta_max - c->beta_min) * (double)t / (double)(c->steps - 1);
    double beta = 1 - cosine(c, t + 1) / cosine(c, t);
    return fmin(fmax(beta, c->beta_min), c->beta_max);
}

/* Every operation rounded to single precision, in PyTorch's order; its running product alone is wider. */
static double single_beta_of(const dg_diffusion_config *c, int64_t t)
{
    float curve[2];
    if (c->schedule == DG_NOISE_LINEAR) return (float)beta_of(c, t);
    for (int k = 0; k < 2; k++) {
        float angle = (float)(t + k) / (float)c->steps + (float)c->offset;
        angle = angle / (float)(1 + c->offset) * (float)pi * 0.5f;
        curve[k] = cosf(angle) * cosf(angle);
    }
    float first = cosf((float)c->offset / (float)(1 + c->offset) * (float)pi * 0.5f);
    float beta = 1 - (curve[1] / (first * first)) / (curve[0] / (first * first));
    return fminf(fmaxf(beta, (float)c->beta_min), (float)c->beta_max);
}

static dg_status check(const dg_diffusion_config *c)
{
    if (c->steps < 1 || c->steps > STEPS_MAX)
        return DG_FAIL(DG_ERR_USAGE, "diffusion.steps is %lld; it must be 1 to %d", (long long)c->steps, STEPS_MAX);
    if (!(c->beta_min > 0 && c->beta_min <= c->beta_max && c->beta_max < 1))
        return DG_FAIL(DG_ERR_USAGE, "diffusion betas are %g to %g; they must lie between 0 and 1, the smaller first",
                       c->beta_min, c->beta_max);
    if (c->schedule == DG_NOISE_FLOW && c->prediction == DG_PREDICT_NOISE)
        return DG_FAIL(DG_ERR_USAGE,
                       "diffusion.prediction is noise, of which the flow's last time, all noise, gives no dose; "
                       "choose v or clean");
    if (!(c->offset >= 0 && c->offset < 1))
        return DG_FAIL(DG_ERR_USAGE, "diffusion.offset is %g; it must be at least 0 and below 1", c->offset);
    return DG_OK;
}

/* The product of 1 - beta is what remains of the signal's square. */
static void fill_times(dg_diffusion *d)
{
    const dg_diffusion_config *c = &d->config;
    double kept = 1;
    for (int64_t t = 0; t < c->steps; t++) {
        d->beta[t] = c->single ? single_beta_of(c, t) : beta_of(c, t);
        kept *= c->single ? (float)(1 - d->beta[t]) : 1 - d->beta[t];
        const double square = c->single ? (float)kept : kept;
        d->signal[t] = sqrt(square);
        d->noise[t] = sqrt(1 - square);
    }
}

static void fill_flow(dg_diffusion *d)
{
    for (int64_t t = 0; t < d->config.steps; t++) {
        d->noise[t] = (double)(t + 1) / (double)d->config.steps;
        d->signal[t] = 1 - d->noise[t];
    }
}

dg_status dg_diffusion_create(const dg_diffusion_config *config, dg_diffusion **out)
{
    dg_status status;
    dg_diffusion *d = NULL;
    *out = NULL;
    DG_TRY(check(config));
    DG_TRY(DG_NEW(&d, 1, "diffusion"));
    d->config = *config;
    DG_TRY_GOTO(status, DG_NEW(&d->signal, config->steps, "noise schedule"), failed);
    DG_TRY_GOTO(status, DG_NEW(&d->noise, config->steps, "noise schedule"), failed);
    if (config->schedule == DG_NOISE_FLOW) {
        fill_flow(d);
    } else {
        DG_TRY_GOTO(status, DG_NEW(&d->beta, config->steps, "noise schedule"), failed);
        fill_times(d);
    }
    *out = d;
    return DG_OK;
failed:
    dg_diffusion_destroy(&d);
    return status;
}

void dg_diffusion_destroy(dg_diffusion **diffusion)
{
    if (*diffusion == NULL) return;
    dg_free(&(*diffusion)->beta);
    dg_free(&(*diffusion)->signal);
    dg_free(&(*diffusion)->noise);
    dg_free(diffusion);
}

dg_reading dg_diffusion_read(const dg_diffusion *d, int64_t t)
{
    const double signal = d->signal[t], noise = d->noise[t];
    switch (d->config.prediction) {
    case DG_PREDICT_CLEAN: return (dg_reading){0, 1, 1 / noise, -signal / noise};
    case DG_PREDICT_V:
        if (d->config.schedule == DG_NOISE_FLOW) return (dg_reading){1, -noise, 1, signal};
        return (dg_reading){signal, -noise, noise, signal};
    case DG_PREDICT_NOISE: break;
    }
    return (dg_reading){1 / signal, -noise / signal, 0, 1};
}

double dg_diffusion_dose_scale(const dg_diffusion *d, int64_t t, bool raw)
{
    return raw ? d->signal[t] / (d->signal[t] + raw_guard) : d->signal[t];
}

double dg_diffusion_min_snr(const dg_diffusion *d, int64_t t, double limit)
{
    /* The dose is off by clean_out times what the words are; written without a division by the signal, which may be 0. */
    const double signal = d->signal[t], noise = d->noise[t], snr = signal * signal / (noise * noise);
    if (d->config.prediction == DG_PREDICT_NOISE) return snr > limit ? limit / snr : 1;
    const double out = d->config.prediction == DG_PREDICT_CLEAN ? 1 : noise;
    return fmin(snr, limit) * out * out;
}

void dg_diffusion_posterior(const dg_diffusion *d, int64_t t, double *clean, double *x, double *variance)
{
    const double beta = d->beta[t], added = d->noise[t] * d->noise[t];
    const double signal = t > 0 ? d->signal[t - 1] : 1, noise = t > 0 ? d->noise[t - 1] : 0;
    *clean = beta * signal / added;
    *x = noise * noise * sqrt(1 - beta) / added;
    *variance = beta * noise * noise / added;
}

void dg_diffusion_add_noise(const dg_diffusion *d, int64_t t, const float *clean, const float *noise, int64_t count,
                            float *x)
{
    const double signal = d->signal[t], spread = d->noise[t];
    for (int64_t i = 0; i < count; i++) x[i] = (float)(signal * clean[i] + spread * noise[i]);
}

void dg_diffusion_sinusoids(int64_t t, int64_t count, float *out)
{
    const int64_t half = count / 2;
    for (int64_t j = 0; j < half; j++) {
        /* In f32 as the weights were trained: at t = 1000 the rounding of w is seen. */
        float w = expf((float)j * (float)(-log(10000.0) / (double)(half - 1)));
        out[j] = sinf((float)t * w);
        out[half + j] = cosf((float)t * w);
    }
}

double dg_diffusion_wanted(const dg_diffusion *d, int64_t t, double clean, double noise)
{
    const bool flow = d->config.schedule == DG_NOISE_FLOW;
    switch (d->config.prediction) {
    case DG_PREDICT_CLEAN: return clean;
    case DG_PREDICT_V: return flow ? noise - clean : d->signal[t] * noise - d->noise[t] * clean;
    case DG_PREDICT_NOISE: break;
    }
    return noise;
}

double dg_diffusion_evaluate(const dg_diffusion *d, const dg_diffusion_loss *loss, int64_t t, const float *clean,
                             const float *noise, const float *out, int64_t count, float *gradient)
{
    const double signal = d->signal[t], spread = d->noise[t];
    const dg_reading read = dg_diffusion_read(d, t);
    const double scale = dg_diffusion_dose_scale(d, t, loss->raw);
    double error = 0, penalty = 0;
    for (int64_t i = 0; i < count; i++) {
        double x = signal * clean[i] + spread * noise[i];
        double e = out[i] - dg_diffusion_wanted(d, t, clean[i], noise[i]),
               below = -scale * (read.clean_x * x + read.clean_out * out[i]);
        error += e * e;
        penalty += below > 0 ? below : 0;
        if (gradient != NULL)
            gradient[i] = (float)((2 * e - (below > 0 ? loss->penalty * scale * read.clean_out : 0)) / (double)count);
    }
    return (error + loss->penalty * penalty) / (double)count;
}
