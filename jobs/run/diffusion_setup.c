/* diffusion_setup.c - see diffusion_setup.h. SPDX-License-Identifier: Apache-2.0 */
#include "diffusion_setup.h"

#include "dg_mem.h"

#include <string.h>

bool dg_run_is_diffusion(const dg_run_config *config) { return strcmp(config->model.kind, "diffusion_unet") == 0; }

static bool upstream(const dg_run_config *config) { return config->diffusion.compat == DG_LOSS_UPSTREAM; }

dg_diffusion_config dg_run_config_diffusion(const dg_run_config *config)
{
    const dg_diffusion_settings *d = &config->diffusion;
    const bool flow = d->process == DG_PROCESS_FLOW;
    const dg_noise_schedule course = d->schedule == 0 ? DG_NOISE_COSINE : DG_NOISE_LINEAR;
    const dg_prediction words = d->predict == DG_SAID_NOISE   ? DG_PREDICT_NOISE
                                : d->predict == DG_SAID_CLEAN ? DG_PREDICT_CLEAN
                                : d->predict == DG_SAID_V     ? DG_PREDICT_V
                                : upstream(config)            ? DG_PREDICT_NOISE
                                                              : DG_PREDICT_V;
    return (dg_diffusion_config){.schedule = flow ? DG_NOISE_FLOW : course,
                                 .steps = d->steps,
                                 .offset = 0.008,
                                 .beta_min = 1e-4,
                                 .beta_max = course == DG_NOISE_LINEAR ? 0.02 : 0.9999,
                                 .prediction = words,
                                 .single = upstream(config)};
}

static bool has_fault(const dg_run_config *config, dg_diffusion_fault fault)
{
    return upstream(config) || config->diffusion.fault == (int)fault;
}

bool dg_run_raw_penalty(const dg_run_config *config) { return has_fault(config, DG_UPSTREAM_PENALTY); }

static unsigned sampler_faults(const dg_run_config *config)
{
    return (has_fault(config, DG_UPSTREAM_START) ? DG_SAMPLER_EARLY_START : 0) |
           (has_fault(config, DG_UPSTREAM_NOISE) ? DG_SAMPLER_STALE_NOISE : 0) |
           (has_fault(config, DG_UPSTREAM_ETA) ? DG_SAMPLER_RAW_ETA : 0);
}

dg_sampler_config dg_run_config_sampler(const dg_run_config *config)
{
    const dg_diffusion_settings *d = &config->diffusion;
    return (dg_sampler_config){.kind = (dg_sampler_kind)d->sampler,
                               .steps = d->sample_steps,
                               .eta = d->eta,
                               .low = upstream(config) ? -1 : 0,
                               .high = upstream(config) ? 2 : 1.5,
                               .faults = sampler_faults(config)};
}

uint32_t dg_diffusion_terms_of_words(const dg_loss_term *term, int count)
{
    uint32_t bits = 0;
    for (int k = 0; k < count; k++)
        if (term[k].kind == DG_LOSS_MSE || term[k].kind == DG_LOSS_STRUCTURE) bits |= UINT32_C(1) << k;
    return bits;
}

static dg_status try_sampler(const dg_diffusion *diffusion, const dg_run_config *config, int64_t steps)
{
    dg_sampler_config sampler = dg_run_config_sampler(config);
    dg_sampler_step *step = NULL;
    int64_t count;
    if (steps > 0) sampler = (dg_sampler_config){.steps = steps, .low = sampler.low, .high = sampler.high};
    const dg_status status = dg_sampler_plan(diffusion, &sampler, &step, &count);
    dg_free(&step);
    return status;
}

dg_status dg_run_check_sampling(const dg_run_config *config)
{
    const dg_diffusion_config process = dg_run_config_diffusion(config);
    dg_diffusion *diffusion = NULL;
    DG_TRY(dg_diffusion_create(&process, &diffusion));
    dg_status status = try_sampler(diffusion, config, 0);
    if (status != DG_OK) status = dg_error_context(status, "diffusion.sampler, sample_steps, eta");
    if (status == DG_OK && config->diffusion.guidance != 1 && !(config->diffusion.drop_condition > 0))
        status = DG_FAIL(DG_ERR_USAGE,
                         "diffusion.guidance is %g and diffusion.drop_condition 0: a network that always knew the case "
                         "cannot be asked without it. Train with drop_condition above 0, or leave guidance at 1",
                         config->diffusion.guidance);
    dg_diffusion_destroy(&diffusion);
    return status;
}

static dg_status check_loss(const dg_run_config *config)
{
    const dg_loss_settings *l = &config->loss;
    if (l->mse <= 0)
        return DG_FAIL(DG_ERR_USAGE, "loss.mse is %g: it is what model.kind diffusion_unet learns by", l->mse);
    if (l->mae + l->huber.weight + l->poisson.weight + l->ssim + l->perceptual.weight + l->dvh.weight > 0)
        return DG_FAIL(DG_ERR_USAGE,
                       "model.kind diffusion_unet has the losses mse and structure, of what the network says, and "
                       "negative, gradient and asymmetric, of the dose that it speaks of; set the others to 0");
    if (l->weighting == DG_LOSS_LEARNED)
        return DG_FAIL(DG_ERR_USAGE, "loss.weighting learned is not for model.kind diffusion_unet, whose terms are of "
                                     "different times; choose fixed");
    return DG_OK;
}

dg_status dg_run_check_diffusion(const dg_run_config *config)
{
    const dg_diffusion_config process = dg_run_config_diffusion(config);
    dg_diffusion *diffusion = NULL;
    int64_t factor[3];
    dg_run_config_coarsen(config, factor);
    if (factor[0] * factor[1] * factor[2] != 1)
        return DG_FAIL(DG_ERR_USAGE,
                       "data.coarsen is not for model.kind diffusion_unet, which sees the noisy dose voxel "
                       "by voxel; choose data.spacing_mm");
    if (upstream(config) && config->diffusion.fault != DG_UPSTREAM_NONE)
        return DG_FAIL(DG_ERR_USAGE,
                       "diffusion.compat upstream has all faults of the reference tool; diffusion.fault is for "
                       "one of them alone, with compat corrected");
    if (upstream(config) && (config->diffusion.process == DG_PROCESS_FLOW || process.prediction != DG_PREDICT_NOISE))
        return DG_FAIL(DG_ERR_USAGE,
                       "diffusion.compat upstream: the reference tool has process ddpm and predicts noise");
    DG_TRY(check_loss(config));
    DG_TRY(dg_diffusion_create(&process, &diffusion));
    dg_status status = try_sampler(diffusion, config, config->diffusion.validate_steps);
    if (status != DG_OK) status = dg_error_context(status, "diffusion.validate_steps");
    dg_diffusion_destroy(&diffusion);
    return status == DG_OK ? dg_run_check_sampling(config) : status;
}
