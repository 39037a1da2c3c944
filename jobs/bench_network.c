/* bench_network.c - `dosegrid bench model` and `bench train`: passes of the baseline network on made-up numbers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "bench_impl.h"

#include "dg_loss.h"
#include "dg_mem.h"
#include "dg_optim.h"
#include "dg_plan.h"
#include "dg_reducer.h"
#include "dg_trace.h"
#include "dg_window.h"

#include <string.h>

/* One rank's network with all that a step needs. */
typedef struct network {
    const bench_settings *settings;
    dg_comm *comm;
    dg_model *model;
    dg_backend *backend;
    dg_plan *plan;
    dg_optim *optim;
    dg_loss *loss;
    dg_reducer *reducer;
    void *weights, *gradients, *target;
    int64_t passes, samples; /* of this rank in a step, and in a pass */
    struct sliding *sliding; /* NULL: a step is a pass */
} network;

static void release(network *w)
{
    dg_reducer_destroy(&w->reducer);
    dg_optim_destroy(&w->optim);
    dg_loss_destroy(&w->loss);
    dg_plan_destroy(&w->plan);
    if (w->backend != NULL) {
        w->backend->ops->free(w->backend, w->weights);
        w->backend->ops->free(w->backend, w->gradients);
        w->backend->ops->free(w->backend, w->target);
    }
    dg_backend_destroy(&w->backend);
    dg_model_destroy(&w->model);
}

/* bf16 by cutting: the value does not matter. */
static uint16_t upper_half(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)(bits >> 16);
}

/* Input and target: a wave, so that losses are finite and no value is special. */
static dg_status fill_tensor(dg_backend *backend, const dg_tensor *t)
{
    const int64_t count = t->n * dg_tensor_voxels(t) * t->pitch;
    const int64_t bytes = count * (int64_t)dg_dtype_size(t->dtype);
    char *host;
    DG_TRY(dg_alloc(&host, (size_t)bytes, 1, "made-up input"));
    for (int64_t i = 0; i < count; i++) {
        const float value = (float)(i * 7919 % 2003) / 1001.5f - 1.0f;
        if (t->dtype == DG_BF16)
            ((uint16_t *)host)[i] = upper_half(value);
        else
            ((float *)host)[i] = value;
    }
    dg_status status = backend->ops->upload(backend, t->data, host, bytes);
    dg_free(&host);
    return status;
}

static dg_status fill_weights(network *w)
{
    const dg_param_table *table = &w->model->params;
    const int64_t bytes = table->total * (int64_t)sizeof(float);
    float *host;
    DG_TRY(DG_NEW(&host, table->total, "weights"));
    dg_params_init(table, 42, host);
    dg_status status = w->backend->ops->upload(w->backend, w->weights, host, bytes);
    dg_free(&host);
    return status;
}

static dg_status create_training(network *w)
{
    const dg_optim_config optim = {
        .kind = DG_OPTIM_ADAMW, .lr = 1e-4, .weight_decay = 1e-2, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    const dg_loss_config loss = {
        .count = 2, .term = {{.kind = DG_LOSS_MSE}, {.kind = DG_LOSS_NEGATIVE}}, .weight = {1.0, 0.1}};
    const int64_t bytes = w->model->params.total * (int64_t)sizeof(float);
    dg_tensor target = dg_plan_output(w->plan);
    DG_TRY(dg_optim_create(&optim, &w->model->params, w->backend, &w->optim));
    DG_TRY(w->backend->ops->alloc(w->backend, w->samples * dg_tensor_voxels(&target) * (int64_t)sizeof(float), "target",
                                  &w->target));
    target.data = w->target;
    DG_TRY(fill_tensor(w->backend, &target));
    DG_TRY(dg_loss_create(&loss, w->backend, &(dg_loss_batch){.y = target}, &w->loss));
    if (w->comm == NULL) return w->backend->ops->alloc(w->backend, bytes, "gradients", &w->gradients);
    return dg_reducer_create(w->comm, w->backend, (dg_reduction)w->settings->reduction, w->model->params.total,
                             w->settings->batch, 0, &w->reducer);
}

static dg_status create_parts(const dg_job_env *env, network *w)
{
    const bench_settings *s = w->settings;
    const dg_plan_config config = {.n = w->samples,
                                   .z = s->patch,
                                   .y = s->patch,
                                   .x = s->patch,
                                   .dtype = s->dtype == BENCH_BF16 ? DG_BF16 : DG_F32,
                                   .training = w->comm != NULL || s->mode == BENCH_TRAIN};
    DG_TRY(bench_create_model(s, &w->model));
    DG_TRY(bench_create_backend(env, s, &w->backend));
    DG_TRY(dg_plan_create(w->model, w->backend, &config, &w->plan));
    DG_TRY(w->backend->ops->alloc(w->backend, w->model->params.total * (int64_t)sizeof(float), "weights", &w->weights));
    DG_TRY(fill_weights(w));
    DG_TRY(dg_plan_set_weights(w->plan, w->weights));
    const dg_tensor input = dg_plan_input(w->plan);
    DG_TRY(fill_tensor(w->backend, &input));
    return config.training ? create_training(w) : DG_OK;
}

/* One pass forward, loss and backward into `gradients`. */
static dg_status pass(network *w, float *gradients, bool last)
{
    dg_tensor dy = dg_plan_output_gradient(w->plan);
    dg_loss_batch batch = {.y = dg_plan_output(w->plan), .target = dg_plan_output(w->plan)};
    batch.target.data = w->target;
    DG_TRY(dg_plan_forward(w->plan, NULL));
    DG_TRY(dg_loss_evaluate(w->loss, &batch, &dy));
    return dg_plan_backward(w->plan, gradients, w->reducer != NULL && last ? dg_reducer_ready : NULL, w->reducer, NULL);
}

static dg_status train_step(network *w)
{
    const float *sum = w->gradients;
    double norm;
    if (w->reducer == NULL) {
        DG_TRY(w->backend->ops->fill(w->backend, w->gradients, w->model->params.total, 0.0f));
        DG_TRY(pass(w, w->gradients, true));
    } else {
        DG_TRY(dg_reducer_begin(w->reducer));
        for (int64_t i = 0; i < w->passes; i++) {
            DG_TRY(pass(w, dg_reducer_buffer(w->reducer), i + 1 == w->passes));
            DG_TRY(dg_reducer_pass_done(w->reducer, 1));
        }
        DG_TRY(dg_reducer_finish(w->reducer, NULL, &sum));
    }
    DG_TRY(dg_optim_step(w->optim, 1e-4, 1.0 / (double)w->settings->batch, w->weights, sum, &norm));
    return dg_plan_set_weights(w->plan, w->weights);
}

/* A volume and its windows. */
typedef struct sliding {
    float *volume, *importance; /* [z,y,x,c] and one axis of the weights */
    void *patch;                /* [z,y,x,c] in the plan's type */
    dg_box *boxes;
    int64_t count;
    dg_blend blend;
} sliding;

static void release_sliding(sliding *v)
{
    dg_free(&v->volume);
    dg_free(&v->importance);
    dg_free(&v->patch);
    dg_free(&v->boxes);
    dg_blend_release(&v->blend);
}

static dg_status create_sliding(const bench_settings *s, sliding *v)
{
    const int64_t volume[3] = {s->size, s->size, s->size}, patch[3] = {s->patch, s->patch, s->patch};
    DG_TRY(DG_NEW(&v->volume, s->size * s->size * s->size * s->channels, "volume"));
    DG_TRY(dg_alloc(&v->patch, (size_t)(s->patch * s->patch * s->patch * s->channels), sizeof(float), "window"));
    DG_TRY(DG_NEW(&v->importance, s->patch, "weights of a window"));
    dg_window_importance(s->patch, v->importance);
    DG_TRY(dg_window_boxes(volume, patch, s->overlap, &v->boxes, &v->count));
    return dg_blend_create(volume, &v->blend);
}

/* Cuts a window out; what lies outside the volume stays as it is. */
static void cut_window(const bench_settings *s, const sliding *v, const dg_box *box)
{
    for (int64_t z = 0; z < s->patch; z++)
        for (int64_t y = 0; y < s->patch; y++) {
            const int64_t in = ((box->start[0] + z) * s->size + box->start[1] + y) * s->size + box->start[2];
            const int64_t out = (z * s->patch + y) * s->patch * s->channels, count = s->patch * s->channels;
            const float *from = v->volume + in * s->channels;
            if (s->dtype == BENCH_F32)
                memcpy((float *)v->patch + out, from, (size_t)count * sizeof(float));
            else
                for (int64_t i = 0; i < count; i++) ((uint16_t *)v->patch)[out + i] = upper_half(from[i]);
        }
}

static dg_status sliding_step(network *w)
{
    sliding *v = w->sliding;
    const float *const importance[3] = {v->importance, v->importance, v->importance};
    const int64_t voxels = v->blend.shape[0] * v->blend.shape[1] * v->blend.shape[2];
    const dg_tensor input = dg_plan_input(w->plan), output = dg_plan_output(w->plan);
    const int64_t bytes = dg_tensor_voxels(&input) * input.c * (int64_t)dg_dtype_size(input.dtype);
    memset(v->blend.sum, 0, (size_t)voxels * sizeof(float));
    memset(v->blend.weight, 0, (size_t)voxels * sizeof(float));
    for (int64_t i = 0; i < v->count; i++) {
        cut_window(w->settings, v, &v->boxes[i]);
        DG_TRY(w->backend->ops->upload(w->backend, input.data, v->patch, bytes));
        DG_TRY(dg_plan_forward(w->plan, NULL));
        DG_TRY(w->backend->ops->download(w->backend, v->patch, output.data,
                                         dg_tensor_voxels(&output) * (int64_t)sizeof(float)));
        dg_blend_add(&v->blend, &v->boxes[i], v->patch, importance);
    }
    dg_blend_finish(&v->blend, 0.0f, 1.5f, v->blend.sum);
    return DG_OK;
}

static dg_status step(network *w)
{
    if (w->sliding != NULL) return sliding_step(w);
    if (w->optim != NULL) return train_step(w);
    return dg_plan_forward(w->plan, NULL);
}

/* Times `steps` steps after one that is not timed. conv_s: mean time inside convolutions. */
static dg_status measure(network *w, double *seconds, double *conv_s)
{
    DG_TRY(step(w));
    const double conv_before = w->backend->conv_seconds;
    for (int64_t i = 0; i < w->settings->steps; i++) {
        if (w->comm != NULL) DG_TRY(dg_comm_barrier(w->comm));
        const double start = dg_time_s();
        DG_TRY(step(w));
        seconds[i] = dg_time_s() - start;
    }
    *conv_s = (w->backend->conv_seconds - conv_before) / (double)w->settings->steps;
    return DG_OK;
}

static dg_status describe(const network *w, double *seconds, double conv_s, json_t **answer)
{
    const dg_plan_memory memory = dg_plan_get_memory(w->plan);
    const double median = bench_median(seconds, w->settings->steps), mb = 1.0 / 1048576.0;
    *answer = json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:s, s:I}", "median_s", median, "min_s", seconds[0],
                        "conv_s", conv_s, "samples_per_s", (double)w->settings->batch / median, "peak_mb",
                        (double)dg_peak_rss_bytes() * mb, "arena_mb", (double)memory.arena_bytes * mb, "packed_mb",
                        (double)memory.packed_bytes * mb, "backend", w->backend->description, "parameters",
                        (json_int_t)w->model->params.total);
    return *answer != NULL ? DG_OK : DG_FAIL(DG_ERR_MEMORY, "no memory for the answer");
}

static dg_status run_network(const dg_job_env *env, network *w, json_t **answer)
{
    double *seconds, conv_s = 0.0;
    DG_TRY(DG_NEW(&seconds, w->settings->steps, "times"));
    dg_status status = create_parts(env, w);
    if (w->comm != NULL) status = dg_comm_agree(w->comm, status);
    if (status == DG_OK) status = measure(w, seconds, &conv_s);
    if (status == DG_OK) status = describe(w, seconds, conv_s, answer);
    release(w);
    dg_free(&seconds);
    return status;
}

dg_status bench_model(const dg_job_env *env, const bench_settings *s, json_t **answer)
{
    network w = {.settings = s, .passes = 1, .samples = s->batch};
    if (s->batch > 64) return DG_FAIL(DG_ERR_USAGE, "--batch %lld: at most 64 here", (long long)s->batch);
    return env->comm->rank == 0 ? run_network(env, &w, answer) : DG_OK;
}

dg_status bench_sliding(const dg_job_env *env, const bench_settings *s, json_t **answer)
{
    sliding v = {0};
    bench_settings infer = *s;
    infer.mode = BENCH_INFER;
    infer.batch = 1;
    network w = {.settings = &infer, .passes = 1, .samples = 1, .sliding = &v};
    if (env->comm->rank != 0) return DG_OK;
    if (s->size < s->patch)
        return DG_FAIL(DG_ERR_USAGE, "--size %lld is smaller than --patch %lld", (long long)s->size,
                       (long long)s->patch);
    dg_status status = create_sliding(s, &v);
    if (status == DG_OK) status = run_network(env, &w, answer);
    if (status == DG_OK) json_object_set_new(*answer, "windows", json_integer((json_int_t)v.count));
    release_sliding(&v);
    return status;
}

dg_status bench_train(const dg_job_env *env, const bench_settings *s, json_t **answer)
{
    network w = {.settings = s, .comm = env->comm, .samples = 1};
    int64_t first;
    if (s->batch < env->comm->size)
        return DG_FAIL(DG_ERR_USAGE, "%d ranks share --batch %lld samples; use fewer ranks or a larger batch",
                       env->comm->size, (long long)s->batch);
    dg_slots_of_rank(s->batch, env->comm->rank, env->comm->size, &first, &w.passes);
    return run_network(env, &w, answer);
}
