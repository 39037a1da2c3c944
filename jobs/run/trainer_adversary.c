/* trainer_adversary.c - the discriminator of an adversarial term within a step: it learns in the passes in which the network does,
 * its gradients are summed over ranks as the network's, and both are updated or neither. SPDX-License-Identifier: Apache-2.0 */
#include "trainer_impl.h"

#include "dg_mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool learns(const dg_trainer *t) { return t->adversary.judge != NULL && !t->adversary.idle; }

dg_status trainer_adversary_make(dg_trainer *t)
{
    trainer_adversary *a = &t->adversary;
    if (t->config.loss.adversarial.weight <= 0) return DG_OK;
    const dg_adversary_config config =
        dg_run_config_adversary(&t->config, t->recipe.count, t->model->config.out_channels);
    const bool record = t->config.train.cuda_graph == DG_CUDA_GRAPH_AUTO;
    const dg_loss_batch shape = trainer_loss_batch(t);
    while (t->setup.config.term[a->term].kind != DG_LOSS_ADVERSARIAL) a->term++;
    DG_TRY(DG_NEW(&a->value, t->config.train.batch * DG_ADVERSARY_VALUES, "values of the discriminator"));
    DG_TRY(DG_NEW(&a->pass_value, t->micro * DG_ADVERSARY_VALUES, "values of the discriminator"));
    DG_TRY(dg_adversary_create(&config, t->backend, &shape, record, &a->judge));
    t->setup.config.adversary = a->judge;
    return DG_OK;
}

dg_status trainer_adversary_make_sums(dg_trainer *t)
{
    trainer_adversary *a = &t->adversary;
    if (a->judge == NULL) return DG_OK;
    const dg_reducer_config sums = dg_run_config_sums(&t->config, dg_adversary_params(a->judge)->total);
    return dg_reducer_create(t->memory_comm, t->backend, &sums, &a->sums);
}

void trainer_adversary_release(dg_trainer *t)
{
    trainer_adversary *a = &t->adversary;
    dg_reducer_destroy(&a->sums);
    dg_adversary_destroy(&a->judge);
    dg_free(&a->value);
    dg_free(&a->pass_value);
}

dg_status trainer_adversary_register(dg_trainer *t)
{
    if (t->adversary.judge == NULL) return DG_OK;
    DG_TRY(dg_state_register(&t->learned, dg_adversary_state(t->adversary.judge)));
    return dg_state_register(&t->learned, dg_adversary_optim_state(t->adversary.judge));
}

int64_t trainer_adversary_bytes(const dg_trainer *t)
{
    enum { BUFFERS = 3 }; /* weights and two moments */
    if (t->adversary.judge == NULL) return 0;
    return BUFFERS * dg_adversary_params(t->adversary.judge)->total * (int64_t)sizeof(float);
}

dg_status trainer_adversary_warm_up(dg_trainer *t, const dg_loss_batch *batch, dg_tensor *dy)
{
    trainer_adversary *a = &t->adversary;
    const float none = 0;
    void *weight = NULL, *value = NULL;
    const dg_backend_ops *ops = t->backend->ops;
    dg_status status = DG_OK;
    if (a->judge == NULL) return DG_OK;
    DG_TRY(ops->alloc(t->backend, (int64_t)sizeof none, "weight of a term", &weight)); /* zeroed */
    DG_TRY_GOTO(status, ops->alloc(t->backend, t->micro * (int64_t)sizeof(double), "values of a term", &value), done);
    DG_TRY_GOTO(status, dg_adversary_judge(a->judge, batch, weight, value, 1, dy, false), done);
    DG_TRY_GOTO(status, dg_adversary_learn(a->judge, batch, t->micro, dg_reducer_buffer(a->sums)), done);
    status = ops->sync(t->backend);
done:
    if (value != NULL) ops->free(t->backend, value);
    ops->free(t->backend, weight);
    return status;
}

/* ---- a step ----------------------------------------------------------------------------------------------------------- */

void trainer_adversary_prepare(dg_trainer *t)
{
    trainer_adversary *a = &t->adversary;
    if (a->judge == NULL) return;
    a->idle = t->progress.step < t->config.loss.adversarial.start;
    dg_adversary_rest(a->judge, a->idle);
    memset(a->value, 0, (size_t)(t->config.train.batch * DG_ADVERSARY_VALUES) * sizeof *a->value);
}

dg_status trainer_adversary_begin(dg_trainer *t)
{
    if (!learns(t)) return DG_OK;
    DG_TRY(dg_reducer_begin(t->adversary.sums));
    dg_reducer_leave_out(t->adversary.sums, t->mine - t->live);
    return DG_OK;
}

dg_status trainer_adversary_learn(dg_trainer *t, int64_t count)
{
    trainer_adversary *a = &t->adversary;
    const dg_loss_batch batch = trainer_loss_batch(t);
    return learns(t) ? dg_adversary_learn(a->judge, &batch, count, dg_reducer_buffer(a->sums)) : DG_OK;
}

dg_status trainer_adversary_pass_done(dg_trainer *t, int64_t count)
{
    return learns(t) ? dg_reducer_pass_done(t->adversary.sums, count) : DG_OK;
}

dg_status trainer_adversary_read(dg_trainer *t, int64_t first, int64_t count)
{
    trainer_adversary *a = &t->adversary;
    if (!learns(t)) return DG_OK;
    DG_TRY(dg_adversary_read(a->judge, a->pass_value));
    memcpy(a->value + (t->first + first) * DG_ADVERSARY_VALUES, a->pass_value,
           (size_t)(count * DG_ADVERSARY_VALUES) * sizeof *a->value);
    return DG_OK;
}

dg_status trainer_adversary_finish(dg_trainer *t)
{
    return learns(t) ? dg_reducer_finish(t->adversary.sums, t->trace, &t->adversary.gradients) : DG_OK;
}

dg_status trainer_adversary_share(dg_trainer *t, const double *term_mean)
{
    trainer_adversary *a = &t->adversary;
    double mean[DG_ADVERSARY_VALUES] = {0};
    if (!learns(t)) return DG_OK;
    DG_TRY(dg_comm_all_reduce(t->comm, a->value, t->sampler.batch * DG_ADVERSARY_VALUES, DG_F64, DG_SUM));
    for (int64_t i = 0; i < t->sampler.batch * DG_ADVERSARY_VALUES; i++) mean[i % DG_ADVERSARY_VALUES] += a->value[i];
    for (int k = 0; k < DG_ADVERSARY_VALUES; k++) mean[k] /= (double)t->batch_now;
    a->scores = dg_adversary_score(term_mean[a->term], mean);
    return DG_OK;
}

dg_status trainer_adversary_check(dg_trainer *t, char *fault)
{
    trainer_adversary *a = &t->adversary;
    double squares = 0;
    if (!learns(t)) return DG_OK;
    DG_TRY(t->backend->ops->sum_squares(t->backend, dg_adversary_params(a->judge)->total, a->gradients, &squares));
    if (isfinite(squares)) return DG_OK;
    snprintf(fault, TRAINER_FAULT_TEXT, "the gradient of the discriminator (loss.adversarial) is not finite");
    return DG_OK;
}

dg_status trainer_adversary_update(dg_trainer *t, double lr)
{
    trainer_adversary *a = &t->adversary;
    const double whole = t->config.optim.lr, share = whole > 0 ? lr / whole : 1;
    double norm;
    if (!learns(t)) return DG_OK;
    return dg_adversary_update(a->judge, share * t->config.loss.adversarial.lr, 1.0 / (double)t->batch_now,
                               a->gradients, &norm);
}

int trainer_adversary_columns(const dg_trainer *t, char name[][DG_METRICS_NAME], double *value)
{
    static const char *const names[] = {"adversary_loss", "adversary_real", "adversary_fake"};
    const dg_adversary_scores *s = &t->adversary.scores;
    const double values[] = {s->loss, s->real, s->fake};
    if (t->adversary.judge == NULL) return 0;
    for (int k = 0; k < 3; k++) {
        if (name != NULL) snprintf(name[k], DG_METRICS_NAME, "%s", names[k]);
        if (value != NULL) value[k] = values[k];
    }
    return 3;
}
