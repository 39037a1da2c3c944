/* bench_network.c - `dosegrid bench model` and `bench train`: passes of the baseline network on made-up numbers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "bench_impl.h"

#include "dg_loss.h"
#include "dg_mem.h"
#include "dg_optim.h"
#include "dg_plan.h"
#include "dg_reducer.h"
#include "dg_trace.h"
#include "tiling.h"

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
    void *weights, *gradients;
    dg_loss_batch batch;     /* what the loss reads */
    double loss_s;           /* in the loss, all steps */
    int64_t passes, samples; /* of this rank in a step, and in a pass */
    struct sliding *sliding; /* NULL: a step is a pass */
} network;

static void release_sliding(network *w);

static void release(network *w)
{
    release_sliding(w);
    dg_reducer_destroy(&w->reducer);
    dg_optim_destroy(&w->optim);
    dg_loss_destroy(&w->loss);
    dg_plan_destroy(&w->plan);
    if (w->backend != NULL) {
        w->backend->ops->free(w->backend, w->weights);
        w->backend->ops->free(w->backend, w->gradients);
        bench_free_targets(w->backend, &w->batch);
    }
    dg_backend_destroy(&w->backend);
    dg_model_destroy(&w->model);
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
    const dg_loss_config loss = bench_loss_config(w->settings);
    const int64_t bytes = w->model->params.total * (int64_t)sizeof(float);
    const dg_tensor y = dg_plan_output(w->plan);
    DG_TRY(dg_optim_create(&optim, &w->model->params, w->backend, &w->optim));
    DG_TRY(bench_create_targets(w->settings, w->backend, &y, &w->batch));
    DG_TRY(dg_loss_create(&loss, w->backend, &w->batch, &w->loss));
    if (w->comm == NULL) return w->backend->ops->alloc(w->backend, bytes, "gradients", &w->gradients);
    const dg_reducer_config sums = {.kind = (dg_reduction)w->settings->reduction,
                                    .wire = DG_F32,
                                    .count = w->model->params.total,
                                    .batch = w->settings->batch};
    return dg_reducer_create(w->comm, w->backend, &sums, &w->reducer);
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
    DG_TRY(bench_fill_tensor(w->backend, &input));
    return config.training ? create_training(w) : DG_OK;
}

/* One pass forward, loss and backward into `gradients`. */
static dg_status pass(network *w, float *gradients, bool last)
{
    dg_tensor dy = dg_plan_output_gradient(w->plan);
    DG_TRY(dg_plan_forward(w->plan, NULL));
    const double start = dg_time_s();
    DG_TRY(dg_loss_evaluate(w->loss, &w->batch, &dy));
    if (w->settings->loss != BENCH_LOSS_PLAIN) DG_TRY(w->backend->ops->sync(w->backend)); /* the time is asked for */
    w->loss_s += dg_time_s() - start;
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
    dg_tiling tiling;
    dg_ring volume, sum; /* whole, in backend memory */
    float *weight[3], *weight_sum[3], *out;
    float *host;     /* the blended volume */
    int64_t windows; /* of a step */
} sliding;

static dg_status take(network *w, const float *host, int64_t count, float **out)
{
    void *data;
    const int64_t bytes = count * (int64_t)sizeof(float);
    DG_TRY(w->backend->ops->alloc(w->backend, bytes, "sliding windows", &data));
    *out = data;
    return host == NULL ? DG_OK : w->backend->ops->upload(w->backend, data, host, bytes);
}

static void release_sliding(network *w)
{
    sliding *v = w->sliding;
    if (v == NULL || w->backend == NULL) return;
    for (int a = 0; a < 3; a++) {
        w->backend->ops->free(w->backend, v->weight[a]);
        w->backend->ops->free(w->backend, v->weight_sum[a]);
    }
    w->backend->ops->free(w->backend, v->volume.data);
    w->backend->ops->free(w->backend, v->sum.data);
    w->backend->ops->free(w->backend, v->out);
    dg_free(&v->host);
    dg_tiling_release(&v->tiling);
}

static dg_status create_sliding(network *w)
{
    const bench_settings *s = w->settings;
    sliding *v = w->sliding;
    const int64_t n = s->size, shape[3] = {n, n, n}, patch[3] = {s->patch, s->patch, s->patch};
    const double spacing_mm[3] = {1, 1, 1};
    const dg_recipe recipe = {.coarsen = {1, 1, 1}};
    const dg_grid grid = dg_grid_make(shape, spacing_mm);
    const dg_box whole = {.shape = {n, n, n}};
    DG_TRY(dg_tiling_make(&recipe, &grid, &whole, patch, s->overlap, &v->tiling));
    v->volume = (dg_ring){.c = s->channels, .z = n, .y = n, .x = n, .height = n};
    v->sum = (dg_ring){.c = 1, .z = n, .y = n, .x = n, .height = n};
    DG_TRY(take(w, NULL, s->channels * n * n * n, &v->volume.data));
    DG_TRY(take(w, NULL, n * n * n, &v->sum.data));
    DG_TRY(take(w, NULL, n * n * n, &v->out));
    for (int a = 0; a < 3; a++) {
        DG_TRY(take(w, v->tiling.weight[a], s->patch, &v->weight[a]));
        DG_TRY(take(w, v->tiling.sum[a], n, &v->weight_sum[a]));
    }
    v->windows = v->tiling.layers * v->tiling.strips * v->tiling.across;
    return DG_NEW(&v->host, n * n * n, "blended volume");
}

static dg_status slide(network *w, const int64_t start[3])
{
    static const int64_t one[3] = {1, 1, 1};
    const sliding *v = w->sliding;
    dg_window_channels channels = {.from = {0}};
    dg_windows at = {.start = {{start[0], start[1], start[2]}}};
    dg_tensor input = dg_plan_input(w->plan);
    const dg_tensor output = dg_plan_output(w->plan);
    dg_ring sum = v->sum;
    for (int64_t k = 0; k < input.c; k++) channels.from[k] = (int)k;
    DG_TRY(w->backend->ops->window_gather(w->backend, &v->volume, &channels, &at, &input));
    DG_TRY(dg_plan_forward(w->plan, NULL));
    return w->backend->ops->window_blend(w->backend, &output, one, &at, (const float *const *)v->weight, 1, &sum);
}

static dg_status sliding_step(network *w)
{
    sliding *v = w->sliding;
    const dg_tiling *t = &v->tiling;
    const int64_t n = v->sum.z;
    for (int64_t z = 0; z < t->layers; z++)
        for (int64_t y = 0; y < t->strips; y++)
            for (int64_t x = 0; x < t->across; x++)
                DG_TRY(slide(w, (const int64_t[3]){t->start[0][z], t->start[1][y], t->start[2][x]}));
    DG_TRY(w->backend->ops->window_finish(w->backend, &v->sum, 0, n, (const float *const *)v->weight_sum, 0.0f, 1.5f,
                                          v->out));
    return w->backend->ops->download(w->backend, v->host, v->out, n * n * n * (int64_t)sizeof(float));
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
    w->loss_s = 0;
    for (int64_t i = 0; i < w->settings->steps; i++) {
        if (w->comm != NULL) DG_TRY(dg_comm_barrier(w->comm));
        const double start = dg_time_s();
        DG_TRY(step(w));
        DG_TRY(w->backend->ops->sync(w->backend));
        seconds[i] = dg_time_s() - start;
    }
    *conv_s = (w->backend->conv_seconds - conv_before) / (double)w->settings->steps;
    return DG_OK;
}

static dg_status describe(const network *w, double *seconds, double conv_s, json_t **answer)
{
    const dg_plan_memory memory = dg_plan_get_memory(w->plan);
    const double median = bench_median(seconds, w->settings->steps), mb = 1.0 / 1048576.0;
    *answer = json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:s, s:I}", "median_s", median, "min_s",
                        seconds[0], "conv_s", conv_s, "loss_s", w->loss_s / (double)w->settings->steps, "samples_per_s",
                        (double)w->settings->batch / median, "peak_mb", (double)dg_peak_rss_bytes() * mb, "backend_mb",
                        (double)w->backend->bytes_allocated * mb, "arena_mb", (double)memory.arena_bytes * mb,
                        "packed_mb", (double)memory.packed_bytes * mb, "backend", w->backend->description, "parameters",
                        (json_int_t)w->model->params.total);
    return *answer != NULL ? DG_OK : DG_FAIL(DG_ERR_MEMORY, "no memory for the answer");
}

static dg_status run_network(const dg_job_env *env, network *w, json_t **answer)
{
    double *seconds, conv_s = 0.0;
    DG_TRY(DG_NEW(&seconds, w->settings->steps, "times"));
    dg_status status = create_parts(env, w);
    if (status == DG_OK && w->sliding != NULL) status = create_sliding(w);
    if (w->comm != NULL) status = dg_comm_agree(w->comm, status);
    if (status == DG_OK) status = measure(w, seconds, &conv_s);
    if (status == DG_OK) status = describe(w, seconds, conv_s, answer);
    if (status == DG_OK && (w->settings->layers || w->backend->ops->device != NULL) && w->comm == NULL)
        status = bench_layers(w->settings, w->plan, w->backend, w->gradients, *answer);
    if (status == DG_OK && w->settings->loss == BENCH_LOSS_LABELS && w->optim != NULL) {
        dg_tensor dy = dg_plan_output_gradient(w->plan);
        status = bench_terms(w->settings, w->backend, &w->batch, &dy, *answer);
    }
    if (status != DG_OK) {
        json_decref(*answer);
        *answer = NULL;
    }
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
    if (s->channels > DG_WINDOW_CHANNELS)
        return DG_FAIL(DG_ERR_USAGE, "--channels %lld: windows have at most %d", (long long)s->channels,
                       DG_WINDOW_CHANNELS);
    DG_TRY(run_network(env, &w, answer));
    json_object_set_new(*answer, "windows", json_integer((json_int_t)v.windows));
    return DG_OK;
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
