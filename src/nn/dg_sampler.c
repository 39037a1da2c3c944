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
    if (c->upstream && c->kind != DG_SAMPLER_DDIM)
        return DG_FAIL(DG_ERR_USAGE, "the reference tool has DDIM only; leave out compat: upstream");
    return DG_OK;
}

/* Evenly spaced, the last of all among them: pure noise is told as such (Lin et al. 2024, "trailing"). */
static int64_t time_of(const dg_diffusion *d, const dg_sampler_config *c, int64_t count, int64_t i)
{
    if (c->upstream) return (count - 1 - i) * (d->config.steps / c->steps);
    return (int64_t)llround((double)(count - i) * (double)d->config.steps / (double)count) - 1;
}

static dg_denoise begin_step(const dg_diffusion *d, const dg_sampler_config *c, int64_t t)
{
    const dg_reading read = dg_diffusion_read(d, t);
    const double signal = dg_diffusion_signal(d, t), noise = dg_diffusion_noise(d, t);
    return (dg_denoise){.clean_x = (float)read.clean_x,
                        .clean_out = (float)read.clean_out,
                        .low = (float)c->low,
                        .high = (float)c->high,
                        .noise_x = (float)read.noise_x,
                        .noise_out = (float)read.noise_out,
                        .renew = !c->upstream,
                        .renew_x = (float)(1 / noise),
                        .renew_clean = (float)(-signal / noise)};
}

/* Song et al. eq. 12 and 16; eta 1 is the ancestral step of DDPM. `kept`, `after`: signal^2 now and after the step. */
static void step_ddim(const dg_sampler_config *c, double eta, double kept, double after, dg_denoise *k)
{
    double spread = c->upstream ? eta * sqrt(1 - after) : eta * sqrt((1 - after) / (1 - kept) * (1 - kept / after));
    k->to_clean = (float)sqrt(after);
    k->to_noise = (float)sqrt(fmax(0, 1 - after - spread * spread));
    k->fresh = (float)spread;
}

static double half_log_snr(double kept) { return 0.5 * log(kept / (1 - kept)); }

/* Lu et al. algorithm 2; `earlier` is signal^2 of the step before, negative for the first. The last step is of first
 * order, where the second has no meaning. */
static void step_dpm_solver(double earlier, double kept, double after, dg_denoise *k)
{
    if (after >= 1) {
        k->to_clean = 1;
        return;
    }
    const double h = half_log_snr(after) - half_log_snr(kept), gain = -sqrt(after) * expm1(-h);
    const double extra = earlier < 0 ? 0 : 0.5 * h / (half_log_snr(kept) - half_log_snr(earlier));
    k->to_x = (float)sqrt((1 - after) / (1 - kept));
    k->to_clean = (float)(gain * (1 + extra));
    k->to_before = (float)(-gain * extra);
}

dg_status dg_sampler_plan(const dg_diffusion *d, const dg_sampler_config *c, dg_sampler_step **out, int64_t *count)
{
    *out = NULL;
    *count = 0;
    DG_TRY(check(d, c));
    const int64_t stride = d->config.steps / c->steps;
    const int64_t calls = c->upstream ? (d->config.steps + stride - 1) / stride : c->steps;
    DG_TRY(DG_NEW(out, calls, "sampler"));
    for (int64_t i = 0; i < calls; i++) {
        const int64_t t = time_of(d, c, calls, i);
        const double kept = d->kept[t], after = i + 1 < calls ? d->kept[time_of(d, c, calls, i + 1)] : 1;
        dg_denoise k = begin_step(d, c, t);
        if (c->kind == DG_SAMPLER_DPM_SOLVER)
            step_dpm_solver(i > 0 ? d->kept[time_of(d, c, calls, i - 1)] : -1, kept, after, &k);
        else
            step_ddim(c, c->kind == DG_SAMPLER_DDPM ? 1 : c->eta, kept, after, &k);
        (*out)[i] = (dg_sampler_step){.t = t, .denoise = k};
    }
    *count = calls;
    return DG_OK;
}
