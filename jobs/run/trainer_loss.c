/* trainer_loss.c - the trainer's loss: what it is told of samples beyond their doses, and the weights of its terms from step
 * to step. SPDX-License-Identifier: Apache-2.0 */
#include "trainer_impl.h"

#include "dg_mem.h"

#include <stdio.h>
#include <string.h>

static dg_status allocate(dg_trainer *t, int64_t bytes, void *out)
{
    return t->backend->ops->alloc(t->backend, bytes, "what the loss knows of samples", out);
}

static dg_tensor as_voxels(const dg_trainer *t, dg_tensor tensor)
{
    tensor.x *= t->size.outputs / t->size.voxels;
    tensor.c = tensor.pitch = 1;
    return tensor;
}

dg_loss_batch trainer_loss_batch(const dg_trainer *t)
{
    dg_loss_batch batch = {.y = as_voxels(t, dg_plan_output(t->plan)),
                           .mask = t->counted,
                           .regions = t->regions,
                           .distance = t->distance,
                           .scale_gy = t->scale_gy,
                           .coupled_count = t->setup.coupled ? t->coupled : NULL,
                           .input = dg_plan_input(t->plan)};
    batch.target = batch.y;
    batch.target.data = t->target;
    memcpy(batch.block, t->size.sub, sizeof batch.block);
    return batch;
}

dg_tensor trainer_loss_gradient(const dg_trainer *t) { return as_voxels(t, dg_plan_output_gradient(t->plan)); }

/* A term that joins samples must see all of a step's at once. */
static dg_status check_joined(const dg_trainer *t)
{
    for (int k = 0; k < t->setup.config.count; k++)
        if (dg_loss_joins_samples(&t->setup.config.term[k]) && t->micro != t->config.train.batch)
            return DG_FAIL(DG_ERR_USAGE,
                           "loss.compat upstream: %s takes its means over the whole batch of %lld, and a pass holds "
                           "%lld; train on one rank with train.micro_batch: %lld, or with loss.compat: corrected",
                           dg_loss_kind_name(t->setup.config.term[k].kind), (long long)t->config.train.batch,
                           (long long)t->micro, (long long)t->config.train.batch);
    return DG_OK;
}

dg_status trainer_loss_make(dg_trainer *t)
{
    const int terms = t->setup.config.count;
    DG_TRY(DG_NEW(&t->value, t->config.train.batch * terms + 1, "values of the loss"));
    DG_TRY(DG_NEW(&t->pass_value, t->micro * terms, "values of the loss"));
    DG_TRY(allocate(t, t->micro * (int64_t)sizeof(float), &t->scale_gy));
    DG_TRY(allocate(t, (int64_t)sizeof(float), &t->coupled));
    for (int k = 0; k < terms && t->setup.coupled; k++)
        if (t->setup.config.term[k].kind == DG_LOSS_ASYMMETRIC) t->size.coupled = t->setup.config.term[k].inside;
    if (t->size.regions) DG_TRY(allocate(t, t->micro * t->size.outputs * (int64_t)sizeof(uint32_t), &t->regions));
    if (t->size.distance) DG_TRY(allocate(t, t->micro * t->size.outputs * (int64_t)sizeof(float), &t->distance));
    DG_TRY(check_joined(t));
    dg_loss_weights *weights = &t->setup.weights;
    int learned = 0; /* those that learn come first: the penalty of negative doses is the last term */
    while (learned < terms && weights->learned[learned]) learned++;
    dg_optim_attach(t->optim, &(dg_optim_scalars){learned, weights->log_sigma, weights->gradient});
    DG_TRY(trainer_adversary_make(t));
    const dg_loss_batch shape = trainer_loss_batch(t);
    return dg_loss_create(&t->setup.config, t->backend, &shape, &t->loss);
}

void trainer_loss_release(dg_trainer *t)
{
    dg_loss_destroy(&t->loss);
    trainer_adversary_release(t);
    void *const memory[] = {t->regions, t->distance, t->scale_gy, t->coupled};
    for (int i = 0; i < 4; i++)
        if (memory[i] != NULL) t->backend->ops->free(t->backend, memory[i]);
    dg_free(&t->value);
    dg_free(&t->pass_value);
}

dg_status trainer_loss_evaluate(dg_trainer *t)
{
    dg_tensor dy = trainer_loss_gradient(t);
    const dg_loss_batch batch = trainer_loss_batch(t);
    return t->noise != NULL ? dg_diffusion_pass_loss(t->noise, t->loss, &batch, &dy)
                            : dg_loss_evaluate(t->loss, &batch, &dy);
}

/* Voxels of the coupled term over the whole batch: known before anything is computed. @collective */
static dg_status share_count(dg_trainer *t, const dg_sample *samples)
{
    int64_t count = 0;
    for (int64_t s = 0; s < t->mine; s++) count += samples[s].coupled;
    DG_TRY(dg_comm_all_reduce(t->comm, &count, 1, DG_I64, DG_SUM));
    const float mean = (float)((double)count / (double)t->sampler.batch);
    return t->backend->ops->upload(t->backend, t->coupled, &mean, sizeof mean);
}

void trainer_loss_now(dg_trainer *t, double now[DG_LOSS_TERMS_MAX])
{
    dg_loss_weights *weights = &t->setup.weights;
    const double epoch = (double)t->progress.step * (double)t->sampler.batch / (double)t->sampler.case_count;
    for (int k = 0; k < weights->count; k++)
        weights->fixed[k] = t->setup.config.weight[k] * dg_loss_course_factor(&t->setup.course[k], epoch);
    dg_loss_weights_now(weights, now);
}

dg_status trainer_loss_begin(dg_trainer *t, const dg_sample *samples)
{
    double now[DG_LOSS_TERMS_MAX];
    trainer_loss_now(t, now);
    if (t->setup.coupled) DG_TRY(share_count(t, samples));
    return dg_loss_set_weights(t->loss, now, 1.0);
}

void trainer_loss_judge(dg_trainer *t, const double *mean, trainer_step *out)
{
    dg_loss_weights *weights = &t->setup.weights;
    out->loss = dg_loss_weights_total(weights, mean);
    memcpy(out->part, mean, (size_t)weights->count * sizeof *mean);
    int part = weights->count;
    for (int k = 0; k < weights->count; k++)
        if (weights->learned[k]) out->part[part++] = dg_loss_weights_sigma(weights, k);
    part += trainer_adversary_columns(t, NULL, out->part + part);
    part += trainer_controls_parts(t, out->part + part);
    trainer_detect_parts(t, out->part + part);
}

int trainer_loss_columns(const dg_trainer *t, char name[DG_METRICS_PARTS_MAX][DG_METRICS_NAME])
{
    const dg_loss_weights *weights = &t->setup.weights;
    int columns = 0;
    for (int k = 0; k < weights->count; k++) {
        const dg_loss_kind kind = t->setup.config.term[k].kind;
        const bool plain = kind == DG_LOSS_MSE || kind == DG_LOSS_MAE || kind == DG_LOSS_NEGATIVE;
        snprintf(name[columns++], DG_METRICS_NAME, "%s%s", plain ? "" : "term_", weights->name[k]);
    }
    for (int k = 0; k < weights->count; k++)
        if (weights->learned[k]) snprintf(name[columns++], DG_METRICS_NAME, "sigma_%s", weights->name[k]);
    columns += trainer_adversary_columns(t, name + columns, NULL);
    columns += trainer_controls_columns(t, name + columns);
    columns += trainer_detect_columns(t, name + columns);
    return columns;
}
