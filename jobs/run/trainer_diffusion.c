/* trainer_diffusion.c - what training a diffusion adds to training a network: noise in the samples, and two ways to validate.
 * SPDX-License-Identifier: Apache-2.0 */
#include "trainer_impl.h"

#include "dg_mem.h"
#include "diffusion_setup.h"
#include "trained.h"

#include <string.h>

enum { LOOKS = 5 }; /* times of the one-step error: the middle of each fifth of the process */

static dg_status plan_sampling(dg_trainer *t)
{
    dg_sampler_config sampler = dg_run_config_sampler(&t->config);
    sampler = (dg_sampler_config){.steps = t->config.diffusion.validate_steps,
                                  .low = sampler.low,
                                  .high = sampler.high,
                                  .faults = sampler.faults};
    DG_TRY(dg_sampler_plan(t->diffusion, &sampler, &t->sampling, &t->sampling_steps));
    const dg_sampling sampling = {.diffusion = t->diffusion,
                                  .step = t->sampling,
                                  .count = t->sampling_steps,
                                  .guidance = 1,
                                  .seed = (uint64_t)t->config.diffusion.seed};
    dg_predictor_set_sampling(t->predictor, &sampling);
    return DG_OK;
}

dg_status trainer_diffusion_make(dg_trainer *t)
{
    const dg_diffusion_settings *settings = &t->config.diffusion;
    const dg_diffusion_config process = dg_run_config_diffusion(&t->config);
    if (!dg_run_is_diffusion(&t->config)) return DG_OK;
    DG_TRY(dg_diffusion_create(&process, &t->diffusion));
    DG_TRY(plan_sampling(t));
    const dg_diffusion_pass_config noise = {.diffusion = t->diffusion,
                                            .seed = (uint64_t)t->config.run.seed,
                                            .drop_condition = settings->drop_condition,
                                            .snr_limit =
                                                settings->weighting == DG_TIMES_MIN_SNR ? settings->snr_limit : 0,
                                            .raw = dg_run_raw_penalty(&t->config)};
    return dg_diffusion_pass_create(&noise, t->backend, t->plan, &t->size, &t->noise);
}

void trainer_diffusion_release(dg_trainer *t)
{
    dg_diffusion_pass_destroy(&t->noise);
    dg_free(&t->sampling);
    dg_diffusion_destroy(&t->diffusion);
}

dg_status trainer_diffusion_fill(dg_trainer *t, int64_t first, int64_t count, dg_feed_places *places)
{
    dg_diffusion_pass_places(t->noise, places);
    DG_TRY(dg_feed_pass(t->feed, first, count, places));
    return dg_diffusion_pass_add_noise(t->noise, t->progress.step, t->first + first, count,
                                       dg_feed_present(t->feed) + first, &t->recipe, t->cohort, t->target);
}

dg_status trainer_diffusion_score(dg_trainer *t, int64_t index, double *error_gy)
{
    const int64_t steps = t->diffusion->config.steps;
    int64_t time[LOOKS];
    for (int k = 0; k < LOOKS; k++) time[k] = (2 * k + 1) * steps / (2 * LOOKS);
    return dg_predictor_denoise(t->predictor, index, time, LOOKS, error_gy);
}

/* What the network is told of a case must mean what it meant. */
static dg_status check_channels(const dg_recipe *mine, const dg_recipe *theirs)
{
    if (mine->count != theirs->count)
        return DG_FAIL(DG_ERR_MISMATCH,
                       "the weights are of a diffusion that is shown %d channels of a case, and this run has "
                       "%d: set data.channels as they were trained",
                       theirs->count, mine->count);
    for (int k = 0; k < mine->count; k++)
        if (mine->channel[k].kind != theirs->channel[k].kind ||
            strcmp(mine->channel[k].structure, theirs->channel[k].structure) != 0)
            return DG_FAIL(DG_ERR_MISMATCH,
                           "the weights are of a diffusion whose channel %d shows something else: set "
                           "data.channels as they were trained",
                           k);
    return DG_OK;
}

dg_status trainer_diffusion_check_init(const dg_trainer *t, const char *path)
{
    static const char *const said[] = {"noise", "clean", "v"}, *const schedules[] = {"cosine", "linear", "flow"};
    dg_trained *other;
    if (t->diffusion == NULL) return DG_OK;
    DG_TRY(DG_NEW(&other, 1, "checkpoint"));
    dg_status status = dg_trained_load(path, other);
    const dg_diffusion_config *mine = &t->diffusion->config, theirs = dg_run_config_diffusion(&other->config);
    if (status == DG_OK && dg_run_is_diffusion(&other->config) &&
        (theirs.steps != mine->steps || theirs.schedule != mine->schedule || theirs.prediction != mine->prediction))
        status =
            DG_FAIL(DG_ERR_MISMATCH,
                    "the weights are of a diffusion of %lld steps, schedule %s, that says %s, and this run has %lld "
                    "steps, schedule %s, and says %s: such weights would mean other noise; set diffusion.* as "
                    "they were trained",
                    (long long)theirs.steps, schedules[theirs.schedule], said[theirs.prediction],
                    (long long)mine->steps, schedules[mine->schedule], said[mine->prediction]);
    if (status == DG_OK && dg_run_is_diffusion(&other->config)) status = check_channels(&t->recipe, &other->recipe);
    dg_trained_release(other);
    dg_free(&other);
    return status;
}
