/* ctest: libs=dg_nn label=unit timeout=180 */
/* t330_diffusion.c - the diffusion process against what is known of it: the posterior by Bayes' rule, gradients by finite
 * differences, and samplers whose network is replaced by the exact answer for a dose that is a point or normally
 * distributed. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_mem.h"
#include "dg_rng.h"
#include "dg_sampler.h"

#include <math.h>

enum { VOXELS = 4000 };
static const double mean = 0.6, deviation = 0.15;

static dg_diffusion_config config_of(dg_noise_schedule schedule, dg_prediction prediction)
{
    return (dg_diffusion_config){.schedule = schedule,
                                 .steps = 1000,
                                 .offset = 0.008,
                                 .beta_min = 1e-4,
                                 .beta_max = schedule == DG_NOISE_LINEAR ? 0.02 : 0.9999,
                                 .prediction = prediction};
}

static dg_diffusion *open_diffusion(dg_noise_schedule schedule, dg_prediction prediction)
{
    const dg_diffusion_config config = config_of(schedule, prediction);
    dg_diffusion *out;
    DG_CHECK_OK(dg_diffusion_create(&config, &out));
    return out;
}

static void fill_normal(uint64_t stream, float *values, int64_t count)
{
    dg_rng rng = dg_rng_stream(7, DG_RNG_TEST, stream, 0);
    for (int64_t i = 0; i < count; i++) values[i] = (float)dg_rng_normal(&rng);
}

static void check_schedules(void)
{
    for (int k = 0; k < 2; k++) {
        dg_diffusion *d = open_diffusion(k == 0 ? DG_NOISE_COSINE : DG_NOISE_LINEAR, DG_PREDICT_NOISE);
        double kept = 1;
        for (int64_t t = 0; t < d->config.steps; t++) {
            const double signal = d->signal[t], noise = d->noise[t], before = kept;
            kept *= 1 - d->beta[t];
            DG_CHECK(fabs(signal * signal + noise * noise - 1) < 1e-12 && fabs(signal * signal - kept) < 1e-12);
            /* Bayes: x_{t-1} given x_0 has variance 1 - before, and x_t given x_{t-1} has mean sqrt(1-beta) x_{t-1},
             * variance beta; their precisions add. */
            double clean, x, variance;
            dg_diffusion_posterior(d, t, &clean, &x, &variance);
            if (t == 0) {
                DG_CHECK(fabs(clean - 1) < 1e-9 && x == 0 && variance == 0);
                continue;
            }
            const double precision = 1 / (1 - before) + (1 - d->beta[t]) / d->beta[t];
            DG_CHECK(fabs(variance * precision - 1) < 1e-9);
            DG_CHECK(fabs(clean - variance * sqrt(before) / (1 - before)) < 1e-9);
            DG_CHECK(fabs(x - variance * sqrt(1 - d->beta[t]) / d->beta[t]) < 1e-9);
        }
        DG_CHECK(kept < 1e-4);
        dg_diffusion_destroy(&d);
    }
}

/* What a perfect network says. */
static float answer(const dg_diffusion *d, int64_t t, double x, double clean)
{
    const double signal = d->signal[t], noise = d->noise[t], e = (x - signal * clean) / noise;
    switch (d->config.prediction) {
    case DG_PREDICT_CLEAN: return (float)clean;
    case DG_PREDICT_V: return (float)(d->config.schedule == DG_NOISE_FLOW ? e - clean : signal * e - noise * clean);
    case DG_PREDICT_NOISE: break;
    }
    return (float)e;
}

static void check_loss(dg_noise_schedule schedule, dg_prediction prediction, bool raw)
{
    enum { COUNT = 12 };
    static const int64_t times[] = {0, 1, 300, 700, 990};
    const dg_diffusion_loss loss = {.penalty = 0.7, .raw = raw};
    dg_diffusion *d = open_diffusion(schedule, prediction);
    float clean[COUNT], noise[COUNT], out[COUNT], gradient[COUNT];
    fill_normal(1, clean, COUNT);
    fill_normal(2, noise, COUNT);
    for (size_t k = 0; k < sizeof times / sizeof *times; k++) {
        const int64_t t = times[k];
        for (int i = 0; i < COUNT; i++) {
            const double x = d->signal[t] * fabs(clean[i]) + d->noise[t] * noise[i];
            out[i] = answer(d, t, x, fabs(clean[i]));
            gradient[i] = fabsf(clean[i]);
        }
        DG_CHECK(dg_diffusion_evaluate(d, &loss, t, gradient, noise, out, COUNT, NULL) < 1e-8);
        fill_normal(3 + k, out, COUNT);
        const double value = dg_diffusion_evaluate(d, &loss, t, clean, noise, out, COUNT, gradient);
        DG_CHECK(value > 0 && (raw || value < 100)); /* the bounded penalty has nothing that explodes */
        for (int i = 0; i < COUNT; i++) {
            const float step = 1e-2f, kept = out[i];
            out[i] = kept + step;
            const double above = dg_diffusion_evaluate(d, &loss, t, clean, noise, out, COUNT, NULL);
            out[i] = kept - step;
            const double below = dg_diffusion_evaluate(d, &loss, t, clean, noise, out, COUNT, NULL);
            out[i] = kept;
            const double wanted = (above - below) / (2 * (double)step), scale = fabs(wanted) + 1e-2;
            /* next to the penalty's kink the difference has two slopes in it */
            const dg_reading read = dg_diffusion_read(d, t);
            const double x = d->signal[t] * clean[i] + d->noise[t] * noise[i];
            const double dose = read.clean_x * x + read.clean_out * kept;
            if (fabs(dose) > 2 * fabs(read.clean_out) * step) DG_CHECK(fabs(gradient[i] - wanted) < 1e-3 * scale);
        }
    }
    dg_diffusion_destroy(&d);
}

/* Mean and standard deviation of samples drawn with the exact answer E[x_0 | x_t] of a normal dose (of a point where
 * `spread` is 0). */
static void sample(const dg_diffusion *d, const dg_sampler_config *config, double spread, double *m, double *s)
{
    dg_sampler_step *step;
    int64_t calls;
    float *x, *clean, *fresh;
    DG_CHECK_OK(dg_sampler_plan(d, config, &step, &calls));
    DG_CHECK_OK(DG_NEW(&x, VOXELS, "x"));
    DG_CHECK_OK(DG_NEW(&clean, VOXELS, "x0"));
    DG_CHECK_OK(DG_NEW(&fresh, VOXELS, "noise"));
    fill_normal(100, x, VOXELS);
    for (int64_t k = 0; k < calls; k++) {
        const double signal = d->signal[step[k].t], noise = d->noise[step[k].t];
        const double gain = signal * spread * spread / (signal * signal * spread * spread + noise * noise);
        fill_normal(101 + (uint64_t)k, fresh, VOXELS);
        for (int64_t i = 0; i < VOXELS; i++) {
            const float out = answer(d, step[k].t, x[i], mean + gain * (x[i] - signal * mean));
            x[i] = dg_denoise_voxel(&step[k].denoise, x[i], out, fresh[i], &clean[i]);
        }
    }
    DG_CHECK(step[calls - 1].denoise.fresh == 0); /* the last step adds no noise */
    *m = *s = 0;
    for (int64_t i = 0; i < VOXELS; i++) *m += x[i] / (double)VOXELS;
    for (int64_t i = 0; i < VOXELS; i++) *s += (x[i] - *m) * (x[i] - *m) / (double)VOXELS;
    *s = sqrt(*s);
    dg_free(&step);
    dg_free(&x);
    dg_free(&clean);
    dg_free(&fresh);
}

static void check_samplers(dg_noise_schedule schedule, dg_prediction prediction)
{
    static const struct {
        dg_sampler_kind kind;
        double eta;
        int64_t steps;
        double
            error; /* of the standard deviation, relative: a long last step to the mean of what may be takes spread away */
    } cases[] = {{DG_SAMPLER_DDIM, 0, 50, 0.18},
                 {DG_SAMPLER_DDIM, 0, 500, 0.03},
                 {DG_SAMPLER_DDIM, 1, 500, 0.05},
                 {DG_SAMPLER_DDPM, 0, 1000, 0.05},
                 {DG_SAMPLER_DPM_SOLVER, 0, 50, 0.12}};
    dg_diffusion *d = open_diffusion(schedule, prediction);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        if (schedule == DG_NOISE_FLOW && (cases[k].eta > 0 || cases[k].kind == DG_SAMPLER_DDPM)) continue;
        const dg_sampler_config config = {
            .kind = cases[k].kind, .steps = cases[k].steps, .eta = cases[k].eta, .low = -3, .high = 4};
        double m, s;
        sample(d, &config, 0, &m, &s);
        DG_CHECK(fabs(m - mean) < 1e-4 && s < 1e-4);
        sample(d, &config, deviation, &m, &s);
        printf("sampler %d, eta %g, %lld steps: mean %.4f, deviation %.4f\n", (int)cases[k].kind, cases[k].eta,
               (long long)cases[k].steps, m, s);
        DG_CHECK(fabs(m - mean) < 0.01);
        /* 4000 voxels know their own deviation to 1.1 % */
        DG_CHECK(fabs(s / deviation - 1) < cases[k].error + 0.025);
    }
    dg_diffusion_destroy(&d);
}

/* DDIM of eta 1 over all times is the ancestral sampler, constant by constant. */
static void check_ancestral(void)
{
    dg_diffusion *d = open_diffusion(DG_NOISE_LINEAR, DG_PREDICT_CLEAN);
    const dg_sampler_config config = {.kind = DG_SAMPLER_DDPM, .steps = 1000, .low = -1, .high = 2};
    dg_sampler_step *step;
    int64_t calls;
    DG_CHECK_OK(dg_sampler_plan(d, &config, &step, &calls));
    DG_CHECK(calls == 1000 && step[0].t == 999 && step[999].t == 0);
    for (int64_t k = 0; k < 999; k++) {
        double clean, x, variance;
        const dg_denoise *n = &step[k].denoise;
        dg_diffusion_posterior(d, step[k].t, &clean, &x, &variance);
        DG_CHECK(fabs(n->to_clean + n->to_noise * n->renew_clean - clean) < 1e-4);
        DG_CHECK(fabs(n->to_x + n->to_noise * n->renew_x - x) < 1e-4);
        DG_CHECK(fabs(n->fresh - sqrt(variance)) < 1e-6);
    }
    dg_free(&step);
    dg_diffusion_destroy(&d);
}

static void check_times(void)
{
    dg_diffusion *d = open_diffusion(DG_NOISE_COSINE, DG_PREDICT_NOISE);
    dg_sampler_config config = {.steps = 30, .low = -1, .high = 2};
    dg_sampler_step *step;
    int64_t calls;
    DG_CHECK_OK(dg_sampler_plan(d, &config, &step, &calls));
    DG_CHECK(calls == 30 && step[0].t == 999 && step[29].t == 32 && step[0].denoise.renew);
    dg_free(&step);
    config.faults = DG_SAMPLER_UPSTREAM; /* 1000 / 30 = 33: 990, 957, .. 0 are 31 calls */
    DG_CHECK_OK(dg_sampler_plan(d, &config, &step, &calls));
    DG_CHECK(calls == 31 && step[0].t == 990 && step[30].t == 0 && !step[0].denoise.renew);
    dg_free(&step);
    /* Each fault alone changes its own thing. */
    config.faults = DG_SAMPLER_EARLY_START;
    DG_CHECK_OK(dg_sampler_plan(d, &config, &step, &calls));
    DG_CHECK(calls == 31 && step[0].t == 990 && step[0].denoise.renew);
    dg_free(&step);
    config.faults = DG_SAMPLER_STALE_NOISE;
    DG_CHECK_OK(dg_sampler_plan(d, &config, &step, &calls));
    DG_CHECK(calls == 30 && step[0].t == 999 && !step[0].denoise.renew);
    dg_free(&step);
    config.faults = DG_SAMPLER_RAW_ETA;
    config.eta = 0.5;
    DG_CHECK_OK(dg_sampler_plan(d, &config, &step, &calls));
    DG_CHECK(calls == 30 && step[0].denoise.renew);
    DG_CHECK(fabs(step[3].denoise.fresh - 0.5 * d->noise[step[4].t]) < 1e-6);
    dg_free(&step);
    config.faults = 0;
    config.eta = 0;
    config.steps = 1;
    DG_CHECK_OK(dg_sampler_plan(d, &config, &step, &calls));
    DG_CHECK(calls == 1 && step[0].t == 999 && step[0].denoise.to_clean == 1 && step[0].denoise.fresh == 0);
    dg_free(&step);
    dg_diffusion_destroy(&d);
}

static void refused(dg_noise_schedule schedule, dg_sampler_config config, const char *words)
{
    dg_diffusion *d = open_diffusion(schedule, DG_PREDICT_V);
    dg_sampler_step *step;
    int64_t calls;
    DG_CHECK_FAILS(dg_sampler_plan(d, &config, &step, &calls), DG_ERR_USAGE, words);
    DG_CHECK(step == NULL && calls == 0);
    dg_diffusion_destroy(&d);
}

static void check_refusals(void)
{
    dg_diffusion *d;
    dg_diffusion_config c = config_of(DG_NOISE_COSINE, DG_PREDICT_NOISE);
    c.steps = 0;
    DG_CHECK_FAILS(dg_diffusion_create(&c, &d), DG_ERR_USAGE, "diffusion.steps is 0; it must be 1 to ");
    c = config_of(DG_NOISE_LINEAR, DG_PREDICT_NOISE);
    c.beta_max = 1;
    DG_CHECK_FAILS(dg_diffusion_create(&c, &d), DG_ERR_USAGE, "diffusion betas are 0.0001 to 1");
    c = config_of(DG_NOISE_COSINE, DG_PREDICT_NOISE);
    c.offset = NAN;
    DG_CHECK_FAILS(dg_diffusion_create(&c, &d), DG_ERR_USAGE, "diffusion.offset is nan");
    refused(DG_NOISE_COSINE, (dg_sampler_config){.steps = 1001, .low = 0, .high = 1},
            "sampling in 1001 steps: it must be 1 to 1000, the steps the model was trained for");
    refused(DG_NOISE_COSINE, (dg_sampler_config){.steps = 0, .low = 0, .high = 1}, "sampling in 0 steps");
    refused(DG_NOISE_COSINE, (dg_sampler_config){.steps = 10, .eta = 1.5, .low = 0, .high = 1},
            "eta is 1.5; it must be 0 to 1");
    refused(DG_NOISE_COSINE, (dg_sampler_config){.steps = 10, .low = 1, .high = 0},
            "range is 1 to 0; the smaller comes first");
    refused(DG_NOISE_COSINE,
            (dg_sampler_config){.kind = DG_SAMPLER_DDPM, .steps = 10, .low = 0, .high = 1, .faults = DG_SAMPLER_RAW_ETA},
            "the reference tool has DDIM only");
    refused(DG_NOISE_FLOW, (dg_sampler_config){.kind = DG_SAMPLER_DDPM, .steps = 10, .low = 0, .high = 1},
            "a flow is followed without fresh noise");
    refused(DG_NOISE_FLOW, (dg_sampler_config){.steps = 10, .eta = 0.5, .low = 0, .high = 1},
            "a flow is followed without fresh noise");
    c = config_of(DG_NOISE_FLOW, DG_PREDICT_NOISE);
    DG_CHECK_FAILS(dg_diffusion_create(&c, &d), DG_ERR_USAGE, "diffusion.prediction is noise");
}

int main(void)
{
    check_schedules();
    for (dg_noise_schedule s = DG_NOISE_COSINE; s <= DG_NOISE_FLOW; s++) {
        for (dg_prediction p = s == DG_NOISE_FLOW ? DG_PREDICT_CLEAN : DG_PREDICT_NOISE; p <= DG_PREDICT_V; p++) {
            check_loss(s, p, false);
            check_loss(s, p, true);
            check_samplers(s, p);
        }
    }
    check_ancestral();
    check_times();
    check_refusals();
    return 0;
}
