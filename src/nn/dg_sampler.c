/* dg_sampler.c - times and constants of the steps from noise to a dose. SPDX-License-Identifier: Apache-2.0 */
#include "dg_sampler.h"

#include "dg_mem.h"

#include <math.h>

static dg_status check(const dg_diffusion *d, const dg_sampler_config *c)
{
    if (c->steps < 1 || c->steps > d->config.steps)
        return DG_FAIL(DG_ERR_USAGE,
                       "sampling in %lld steps: it must be 1 to %lld, the steps the model was trained for",
                       (long long)c->steps, (long long)d->config.steps);
    if (!(c->eta >= 0 && c->eta <= 1))
        return DG_FAIL(DG_ERR_USAGE, "the sampler's eta is %g; it must be 0 to 1", c->eta);
    if (!(c->low < c->high))
        return DG_FAIL(DG_ERR_USAGE, "the sampler's range is %g to %g; the smaller comes first", c->low, c->high);
    if (c->faults != 0 && c->kind != DG_SAMPLER_DDIM)
        return DG_FAIL(DG_ERR_USAGE, "the reference tool has DDIM only; leave out its faults (compat: upstream)");
    if (d->config.schedule == DG_NOISE_FLOW && (c->kind == DG_SAMPLER_DDPM || c->eta > 0 || c->faults != 0))
        return DG_FAIL(DG_ERR_USAGE,
                       "a flow is followed without fresh noise; choose the sampler ddim with eta 0 (Euler "
                       "steps) or dpm_solver");
    return DG_OK;
}

/* Evenly spaced, the last of all among them: pure noise is told as such (Lin et al. 2024, "trailing"). */
static int64_t time_of(const dg_diffusion *d, const dg_sampler_config *c, int64_t count, int64_t i)
{
    if ((c->faults & DG_SAMPLER_EARLY_START) != 0) return (count - 1 - i) * (d->config.steps / c->steps);
    return (int64_t)llround((double)(count - i) * (double)d->config.steps / (double)count) - 1;
}

/* Share of the dose and of the noise at a time; the dose alone when all steps are done. */
typedef struct mixture {
    double signal, noise;
} mixture;

static mixture mixture_of(const dg_diffusion *d, const dg_sampler_config *c, int64_t count, int64_t i)
{
    if (i >= count) return (mixture){1, 0};
    const int64_t t = time_of(d, c, count, i);
    return (mixture){d->signal[t], d->noise[t]};
}

static dg_denoise begin_step(const dg_diffusion *d, const dg_sampler_config *c, int64_t t)
{
    const dg_reading read = dg_diffusion_read(d, t);
    return (dg_denoise){.clean_x = (float)read.clean_x,
                        .clean_out = (float)read.clean_out,
                        .low = (float)c->low,
                        .high = (float)c->high,
                        .noise_x = (float)read.noise_x,
                        .noise_out = (float)read.noise_out,
                        .renew = (c->faults & DG_SAMPLER_STALE_NOISE) == 0,
                        .renew_x = (float)(1 / d->noise[t]),
                        .renew_clean = (float)(-d->signal[t] / d->noise[t])};
}

/* Song et al. eq. 12 and 16; eta 1 is the ancestral step of DDPM. Along a flow, with eta 0, it is a step of Euler's. */
static void step_ddim(const dg_sampler_config *c, double eta, mixture now, mixture next, dg_denoise *k)
{
    const double shrink = now.signal / next.signal;
    const double spread = (c->faults & DG_SAMPLER_RAW_ETA) != 0 ? eta * next.noise
                          : eta > 0 ? eta * next.noise / now.noise * sqrt(1 - shrink * shrink)
                                    : 0;
    k->to_clean = (float)next.signal;
    k->to_noise = (float)sqrt(fmax(0, next.noise * next.noise - spread * spread));
    k->fresh = (float)spread;
}

static double half_log_snr(mixture m) { return log(m.signal / m.noise); }

/* Lu et al. algorithm 2; `earlier` is NULL for the first step. The last step is of first order, where the second has no
 * meaning. */
static void step_dpm_solver(const mixture *earlier, mixture now, mixture next, dg_denoise *k)
{
    if (next.noise == 0) {
        k->to_clean = 1;
        return;
    }
    const double h = half_log_snr(next) - half_log_snr(now), gain = -next.signal * expm1(-h);
    const double extra = earlier == NULL ? 0 : 0.5 * h / (half_log_snr(now) - half_log_snr(*earlier));
    k->to_x = (float)(next.noise / now.noise);
    k->to_clean = (float)(gain * (1 + extra));
    k->to_before = (float)(-gain * extra);
}

dg_status dg_sampler_plan(const dg_diffusion *d, const dg_sampler_config *c, dg_sampler_step **out, int64_t *count)
{
    *out = NULL;
    *count = 0;
    DG_TRY(check(d, c));
    const int64_t stride = d->config.steps / c->steps;
    const int64_t calls =
        (c->faults & DG_SAMPLER_EARLY_START) != 0 ? (d->config.steps + stride - 1) / stride : c->steps;
    DG_TRY(DG_NEW(out, calls, "sampler"));
    mixture earlier = {0}, now = mixture_of(d, c, calls, 0);
    for (int64_t i = 0; i < calls; i++) {
        const mixture next = mixture_of(d, c, calls, i + 1);
        dg_sampler_step *step = &(*out)[i];
        step->t = time_of(d, c, calls, i);
        step->denoise = begin_step(d, c, step->t);
        if (c->kind == DG_SAMPLER_DPM_SOLVER)
            step_dpm_solver(i > 0 ? &earlier : NULL, now, next, &step->denoise);
        else
            step_ddim(c, c->kind == DG_SAMPLER_DDPM ? 1 : c->eta, now, next, &step->denoise);
        earlier = now;
        now = next;
    }
    *count = calls;
    return DG_OK;
}
