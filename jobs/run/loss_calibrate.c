/* loss_calibrate.c - what each term of a run's loss is worth when the prediction is the plan with noise: start values for
 * learned weights. SPDX-License-Identifier: Apache-2.0 */
#include "loss_setup.h"

#include "dg_mem.h"
#include "diffusion_setup.h"
#include "predictor.h"
#include "sample.h"
#include "split.h"

#include <string.h>

/* Keeps the noise apart from what augments the samples of training steps. */
static const uint64_t NOISE_STREAM = UINT64_C(1) << 39;

/* A run's data and loss without a network: one sample at a time. */
typedef struct bench {
    dg_cohort *cohort;
    dg_split split;
    dg_recipe *recipe;    /* owned */
    dg_loss_setup *setup; /* owned */
    dg_source *source;
    dg_sampler sampler;
    dg_sample_size size;
    dg_sample_work work;
    dg_sample sample;
    void *block; /* its arrays */
    dg_backend *backend;
    dg_loss *loss;
    float *y, *target, *scale_gy; /* backend memory */
    float *noisy;                               /* host */
    uint8_t *counted;                           /* backend memory, as the next */
    uint32_t *regions;
} bench;

static void release(bench *b)
{
    dg_loss_destroy(&b->loss);
    void *const memory[] = {b->y, b->target, b->scale_gy, b->counted, b->regions};
    for (int i = 0; i < 5; i++)
        if (memory[i] != NULL) b->backend->ops->free(b->backend, memory[i]);
    dg_backend_destroy(&b->backend);
    dg_free(&b->block);
    dg_free(&b->noisy);
    dg_sample_work_release(&b->work);
    dg_source_destroy(&b->source);
    dg_split_release(&b->split);
    dg_cohort_close(&b->cohort);
    dg_free(&b->recipe);
    if (b->setup != NULL) dg_loss_setup_release(b->setup);
    dg_free(&b->setup);
}

static dg_status open_data(const dg_run_config *config, bench *b)
{
    int64_t patch[3], largest[3] = {1, 1, 1};
    if (config->data.target == DG_TARGET_LABELS)
        return DG_FAIL(DG_ERR_USAGE, "calibrate measures losses on doses with noise; data.target labels has no dose");
    DG_TRY(DG_NEW(&b->recipe, 1, "description of the input"));
    DG_TRY(DG_NEW(&b->setup, 1, "description of the loss"));
    DG_TRY(dg_cohort_open(config->data.cohort, &b->cohort));
    DG_TRY(dg_split_make(&config->data.split, b->cohort, &b->split));
    const int64_t *cases = b->split.index[DG_PART_TRAIN], count = b->split.count[DG_PART_TRAIN];
    DG_TRY(dg_recipe_resolve(config, b->cohort, cases, count, b->recipe));
    DG_TRY(dg_loss_setup_make(config, b->cohort, cases, count, b->recipe, b->setup));
    DG_TRY(dg_source_create(b->cohort, b->recipe, config->data.cache_mb << 20, &b->source));
    for (int64_t i = 0; i < count; i++) {
        dg_grid net;
        int64_t sub[3];
        dg_recipe_geometry(b->recipe, &dg_cohort_case(b->cohort, cases[i])->grid, &net, sub);
        for (int axis = 0; axis < 3; axis++)
            if (net.shape[axis] > largest[axis]) largest[axis] = net.shape[axis];
    }
    dg_patch_of(b->recipe, largest, INT64_C(1) << (config->model.levels - 1), patch);
    b->size = dg_sample_size_of(b->recipe, patch, DG_F32);
    b->size.regions = true;
    b->sampler = (dg_sampler){.seed = (uint64_t)config->run.seed,
                              .batch = 1,
                              .cases = cases,
                              .case_count = count,
                              .patch = {patch[0], patch[1], patch[2]},
                              .high_dose_fraction = config->data.high_dose_fraction};
    return dg_sample_work_create(&b->size, &b->work);
}

static dg_status take_memory(bench *b)
{
    const dg_backend_ops *ops = b->backend->ops;
    const int64_t outputs = b->size.outputs;
    DG_TRY(dg_alloc(&b->block, (size_t)dg_sample_layout_of(&b->size).bytes, 1, "arrays of a sample"));
    dg_sample_place(&b->size, b->block, &b->sample);
    DG_TRY(DG_NEW(&b->noisy, outputs, "target with noise"));
    DG_TRY(ops->alloc(b->backend, outputs * (int64_t)sizeof(float), "prediction", (void **)&b->y));
    DG_TRY(ops->alloc(b->backend, outputs * (int64_t)sizeof(float), "target", (void **)&b->target));
    DG_TRY(ops->alloc(b->backend, (int64_t)sizeof(float), "scale", (void **)&b->scale_gy));
    DG_TRY(ops->alloc(b->backend, outputs, "counted voxels", (void **)&b->counted));
    return ops->alloc(b->backend, outputs * (int64_t)sizeof(uint32_t), "regions", (void **)&b->regions);
}

static dg_loss_batch batch_of(const bench *b)
{
    const dg_tensor y = {
        b->y, DG_F32, 1, b->size.patch[0], b->size.patch[1], b->size.patch[2] * (b->size.outputs / b->size.voxels),
        1,    1};
    dg_loss_batch batch = {.y = y,
                           .target = y,
                           .mask = b->counted,
                           .regions = b->regions,
                           .scale_gy = b->scale_gy};
    batch.target.data = b->target;
    memcpy(batch.block, b->size.sub, sizeof batch.block);
    return batch;
}

static dg_status one_sample(bench *b, int64_t index, double noise_gy, double *value)
{
    const dg_backend_ops *ops = b->backend->ops;
    const int64_t outputs = b->size.outputs, of_case = dg_sampler_case(&b->sampler, index, 0);
    dg_sample_draw draw;
    DG_TRY(dg_source_pin(b->source, of_case));
    dg_status status = dg_sampler_draw(&b->sampler, b->source, index, 0, &draw);
    if (status == DG_OK) status = dg_sample_make(b->source, &b->size, &draw, &b->work, &b->sample);
    dg_source_unpin(b->source, of_case);
    DG_TRY(status);
    dg_rng rng = dg_rng_stream(b->sampler.seed, DG_RNG_AUGMENT, NOISE_STREAM + (uint64_t)index, 0);
    const double noise = noise_gy / (double)*b->sample.scale_gy;
    for (int64_t i = 0; i < outputs; i++) b->noisy[i] = b->sample.target[i] + (float)(noise * dg_rng_normal(&rng));
    DG_TRY(ops->upload(b->backend, b->y, b->noisy, outputs * (int64_t)sizeof(float)));
    DG_TRY(ops->upload(b->backend, b->target, b->sample.target, outputs * (int64_t)sizeof(float)));
    DG_TRY(ops->upload(b->backend, b->scale_gy, b->sample.scale_gy, sizeof *b->sample.scale_gy));
    DG_TRY(ops->upload(b->backend, b->counted, b->sample.counted, outputs));
    DG_TRY(ops->upload(b->backend, b->regions, b->sample.regions, outputs * (int64_t)sizeof(uint32_t)));
    const dg_loss_batch batch = batch_of(b);
    DG_TRY(dg_loss_evaluate(b->loss, &batch, NULL));
    return dg_loss_read(b->loss, value);
}

static dg_status measure(const dg_run_config *config, bench *b, int64_t samples, double noise_gy,
                         dg_loss_calibration *out)
{
    const dg_backend_options options = {.threads = 1, .deterministic = true};
    double value[DG_LOSS_TERMS_MAX];
    DG_TRY(open_data(config, b));
    DG_TRY(dg_backend_create(config->train.backend, &options, &b->backend));
    DG_TRY(take_memory(b));
    const dg_loss_batch shape = batch_of(b);
    DG_TRY(dg_loss_create(&b->setup->config, b->backend, &shape, &b->loss));
    const dg_loss_weights *weights = &b->setup->weights;
    double sum[DG_LOSS_TERMS_MAX] = {0};
    for (int64_t i = 0; i < samples; i++) {
        DG_TRY(one_sample(b, i, noise_gy, value));
        for (int k = 0; k < weights->count; k++) sum[k] += value[k];
    }
    for (int k = 0; k < weights->count; k++) {
        if (b->setup->config.term[k].kind == DG_LOSS_NEGATIVE) continue;
        memcpy(out->name[out->count], weights->name[k], sizeof out->name[0]);
        out->mean[out->count] = sum[k] / (double)samples;
        out->log_sigma[out->count] = dg_loss_weights_start(out->mean[out->count], 1e-4, 1e4);
        out->count++;
    }
    out->samples = samples;
    out->noise_gy = noise_gy;
    out->scale_gy = (double)*b->sample.scale_gy;
    return DG_OK;
}

dg_status dg_loss_calibrate(const dg_run_config *config, int64_t samples, double noise_gy, dg_loss_calibration *out)
{
    bench b = {.size = {.regions = true}};
    dg_run_config *plain; /* settings are too large for the stack */
    memset(out, 0, sizeof *out);
    if (dg_run_is_diffusion(config))
        return DG_FAIL(DG_ERR_USAGE, "model.kind diffusion_unet has no doses beside which its losses could be calibrated");
    DG_TRY(DG_NEW(&plain, 1, "settings"));
    *plain = *config;
    plain->loss.adversarial.weight = 0; /* a term without a width, of an opponent that has learned nothing yet */
    dg_status status = measure(plain, &b, samples, noise_gy, out);
    release(&b);
    dg_free(&plain);
    return status;
}
