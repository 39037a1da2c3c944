/* plan_estimate.c - memory, wire, step time and scaling of a configuration; equations in doc/scaling.md.
 * SPDX-License-Identifier: Apache-2.0 */
#include "plan_job_impl.h"

#include "controls.h"
#include "dg_mem.h"
#include "dg_mpi.h"
#include "dg_reducer.h"
#include "dg_trace.h"
#include "dg_window.h"

#include <math.h>

enum { BUCKET_BYTES = 8 << 20 /* as dg_reducer_create has it */ };

/* Operations of the network's first width that stand for the others: their rates are those of the model. */
enum { PROBE_CONV = 32, PROBE_NORM = 64 };
typedef struct probe {
    dg_backend *backend;
    dg_tensor x, y;
    float *flat; /* weights, their gradient, or statistics, zeros */
    dg_conv *conv;
} probe;

static void close_probe(probe *p)
{
    const dg_backend_ops *ops = p->backend->ops;
    if (p->conv != NULL) ops->conv_destroy(p->backend, p->conv);
    if (p->x.data != NULL) ops->free(p->backend, p->x.data);
    if (p->y.data != NULL) ops->free(p->backend, p->y.data);
    if (p->flat != NULL) ops->free(p->backend, p->flat);
}

static dg_status open_probe(dg_backend *backend, int64_t size, int64_t channels, dg_dtype dtype, int64_t floats,
                            probe *p)
{
    void *flat = NULL;
    const int64_t bytes = size * size * size * channels * (int64_t)dg_dtype_size(dtype);
    *p = (probe){.backend = backend,
                 .x = {.dtype = dtype, .n = 1, .z = size, .y = size, .x = size, .c = channels, .pitch = channels}};
    p->y = p->x;
    DG_TRY(backend->ops->alloc(backend, bytes, "probe input", &p->x.data));
    DG_TRY(backend->ops->alloc(backend, bytes, "probe output", &p->y.data));
    DG_TRY(backend->ops->alloc(backend, floats * (int64_t)sizeof(float), "probe weights", &flat));
    p->flat = flat;
    return DG_OK;
}

/* Forward pass and both gradients of a 3x3x3 convolution. */
static dg_status run_conv(const probe *p)
{
    dg_backend *b = p->backend;
    dg_tensor x = p->x, y = p->y;
    DG_TRY(b->ops->conv_forward(b, p->conv, &x, &y));
    DG_TRY(b->ops->conv_backward_data(b, p->conv, &y, &x));
    return b->ops->conv_backward_weights(b, p->conv, &x, &y, p->flat, NULL);
}

/* A group norm with its activation, and its gradient. */
static dg_status run_norm(const probe *p)
{
    const dg_norm_desc norm = {.groups = 1, .eps = 1e-5, .act = DG_ACT_SILU};
    dg_backend *b = p->backend;
    dg_tensor x = p->x, y = p->y;
    DG_TRY(b->ops->norm_forward(b, &norm, &x, NULL, NULL, NULL, NULL, p->flat, &y));
    return b->ops->norm_backward(b, &norm, &x, NULL, NULL, NULL, p->flat, &y, &y, false, NULL, NULL, NULL);
}

/* The best of half a second, of two at least. */
static dg_status time_probe(const probe *p, dg_status (*run)(const probe *), double *seconds)
{
    *seconds = INFINITY;
    const double end = dg_time_s() + 0.5;
    for (int i = 0; i < 2 || dg_time_s() < end; i++) {
        const double begin = dg_time_s();
        DG_TRY(run(p));
        DG_TRY(p->backend->ops->sync(p->backend));
        *seconds = fmin(*seconds, dg_time_s() - begin);
    }
    return DG_OK;
}

static dg_status measure_matrix(dg_backend *backend, const plan_settings *s, double *gflops)
{
    probe p;
    double seconds = 1;
    const int64_t c = s->config.model.base, weights = 27 * c * c;
    const dg_conv_desc desc = {.kind = DG_CONV_SAME,
                               .kernel = 3,
                               .n = 1,
                               .z = PROBE_CONV,
                               .y = PROBE_CONV,
                               .x = PROBE_CONV,
                               .cin = c,
                               .cout = c,
                               .dtype = dg_run_dtype(s->config.train.dtype),
                               .training = true};
    dg_status status = open_probe(backend, PROBE_CONV, c, desc.dtype, weights, &p);
    if (status == DG_OK) status = backend->ops->conv_create(backend, &desc, &p.conv);
    if (status == DG_OK) status = backend->ops->conv_pack(backend, p.conv, p.flat, NULL);
    if (status == DG_OK) status = time_probe(&p, run_conv, &seconds);
    close_probe(&p);
    *gflops = 6e-9 * (double)weights * PROBE_CONV * PROBE_CONV * PROBE_CONV / seconds;
    return status;
}

/* The forward pass reads twice and writes once, the backward pass reads two tensors twice and writes one. */
static dg_status measure_memory(dg_backend *backend, const plan_settings *s, double *bytes_s)
{
    probe p;
    double seconds = 1;
    const int64_t c = s->config.model.base;
    const dg_dtype dtype = dg_run_dtype(s->config.train.dtype);
    dg_status status = open_probe(backend, PROBE_NORM, c, dtype, 2, &p);
    if (status == DG_OK) status = time_probe(&p, run_norm, &seconds);
    close_probe(&p);
    *bytes_s = 8.0 * PROBE_NORM * PROBE_NORM * PROBE_NORM * (double)c * (double)dg_dtype_size(dtype) / seconds;
    return status;
}

/* Puts what was given on the command line, or is measured here, in the place of the table's rates. */
static dg_status complete_device(const plan_settings *s, dg_backend *backend, plan_estimate *e)
{
    dg_device *d = &e->device;
    double *rate = dg_run_dtype(s->config.train.dtype) == DG_BF16 ? &d->bf16_flops : &d->f32_flops;
    double *other = rate == &d->bf16_flops ? &d->f32_flops : &d->bf16_flops, gflops = s->gflops;
    if (s->network_gbit > 0) d->between.bytes_s = s->network_gbit * 1e9 / 8;
    e->measured = (gflops <= 0 && *rate <= 0) || d->memory_bytes_s <= 0;
    if (gflops <= 0 && *rate <= 0) {
        DG_TRY(measure_matrix(backend, s, &gflops));
        gflops *= d->matrix_share;
    }
    if (gflops > 0) *rate = gflops * 1e9;
    if (*other <= 0) *other = *rate;
    if (d->memory_bytes_s > 0) return DG_OK;
    DG_TRY(measure_memory(backend, s, &d->memory_bytes_s));
    d->memory_bytes_s *= d->memory_share;
    return DG_OK;
}

/* Bytes of a step's end for one parameter: gradients cleared, their norm, the optimiser, the average, and packing, which
 * reads f32 and writes what the convolutions read. */
static double update_bytes(const plan_settings *s, const plan_estimate *e)
{
    const dg_run_config *c = &s->config;
    const bool moves = c->optim.momentum > 0;
    const double floats = 2.0 +
                          (c->optim.kind == DG_OPTIM_ADAMW ? 7.0
                           : moves                         ? 5.0
                                                           : 3.0) +
                          (c->optim.ema > 0 || dg_controls_averages(c) ? 3.0 : 0.0) + 1.0;
    return floats * (double)e->need.training.parameter_bytes + (double)e->need.training.packed_bytes;
}

static dg_status add_times(const plan_settings *s, const dg_model *model, plan_estimate *e)
{
    dg_plan_config training, inference;
    dg_plan_cost *cost;
    int count;
    dg_memory_plans(&s->config, e->shape.patch, e->need.micro, &training, &inference);
    DG_TRY(dg_plan_costs(model, &training, &cost, &count));
    const double voxels = (double)training.n * (double)training.z * (double)training.y * (double)training.x;
    const dg_scaling_work work = {.cost = cost,
                                  .count = count,
                                  .passes = (e->need.samples + e->need.micro - 1) / e->need.micro,
                                  .dtype = training.dtype,
                                  .parameters = e->parameters,
                                  .bucket_bytes = BUCKET_BYTES,
                                  .wire_bytes = (double)dg_dtype_size(dg_run_dtype(s->config.train.wire)),
                                  .update_bytes = update_bytes(s, e),
                                  .pass_bytes = 3.0 * sizeof(float) * voxels, /* output, target, gradient */
                                  .ordered = s->config.train.reduction == DG_REDUCE_ORDERED};
    e->step = dg_scaling_step_time(&e->device, &work, s->ranks);
    for (int i = 0; i < PLAN_SCALES; i++) e->scale[i] = dg_scaling_step_time(&e->device, &work, (int64_t)1 << i);
    dg_free(&cost);
    const dg_train_config *train = &s->config.train;
    e->nodes = (s->ranks + e->device.ranks_per_node - 1) / e->device.ranks_per_node;
    e->samples_per_s = (double)train->batch / e->step.step_s;
    e->steps = train->steps > 0 || (train->epochs <= 0 && train->minutes <= 0) ? dg_run_config_steps(&s->config, 1) : 0;
    e->node_hours = (double)e->steps * e->step.step_s * (double)e->nodes / 3600.0;
    return DG_OK;
}

/* A window is a forward pass, and its blending reads and writes sums of values and weights. */
static dg_status add_sweep(const plan_settings *s, const dg_model *model, plan_estimate *e)
{
    dg_plan_config training, inference;
    dg_plan_cost *cost;
    int count;
    if (s->cases == 0) return DG_OK;
    e->windows = 1;
    for (int axis = 0; axis < 3; axis++) {
        int64_t *starts, windows;
        DG_TRY(dg_window_starts(s->volume.value[axis], e->shape.patch[axis], s->config.predict.overlap, &starts,
                                &windows));
        dg_free(&starts);
        e->windows *= windows;
    }
    dg_memory_plans(&s->config, e->shape.patch, e->need.micro, &training, &inference);
    DG_TRY(dg_plan_costs(model, &inference, &cost, &count));
    for (int i = 0; i < count; i++)
        e->window_s += dg_scaling_operation_s(&e->device, inference.dtype, cost[i].flops, cost[i].bytes);
    dg_free(&cost);
    if (s->config.predict.flips) e->window_s *= 2.0;
    const double voxels = (double)inference.z * (double)inference.y * (double)inference.x;
    e->window_s += dg_scaling_operation_s(&e->device, inference.dtype, 0.0, 5.0 * sizeof(float) * voxels);
    const int64_t busiest = (s->cases + s->ranks - 1) / s->ranks;
    e->sweep_s = (double)busiest * (double)e->windows * e->window_s;
    return DG_OK;
}

static dg_status estimate_model(const plan_settings *s, const dg_model *model, plan_estimate *e)
{
    dg_plan_config training, inference;
    if (s->config.train.batch < s->ranks)
        return DG_FAIL(DG_ERR_USAGE, "%lld ranks share train.batch = %lld samples; use fewer ranks or a larger batch",
                       (long long)s->ranks, (long long)s->config.train.batch);
    DG_TRY(dg_memory_need_of(&s->config, model, e->shape.patch, s->ranks, &e->need));
    dg_memory_plans(&s->config, e->shape.patch, e->need.micro, &training, &inference);
    DG_TRY(dg_plan_estimate(model, &inference, &e->need.inference, &e->flops));
    e->parameters = model->params.total;
    if (e->device.memory_mb <= 0 || (double)e->need.bytes / 1048576.0 <= e->device.memory_mb) return DG_OK;
    return dg_memory_alternatives(&s->config, model, e->shape.patch, s->ranks, e->less, sizeof e->less);
}

static dg_status threads_of(const plan_settings *s, int *threads)
{
    const dg_int_list *list = &s->config.train.threads;
    *threads = list->count > 0 ? (int)list->value[0] : 1;
    if (list->count > 0) return DG_OK;
    dg_comm *comm; /* auto: the cores this process may use */
    char warning[256];
    DG_TRY(dg_comm_self_create(&comm));
    dg_status status = dg_affinity_set(comm, 0, threads, warning, sizeof warning);
    dg_comm_destroy(&comm);
    return status;
}

dg_status plan_estimate_all(const plan_settings *s, plan_estimate *e)
{
    dg_model *model = NULL;
    dg_backend *backend = NULL;
    dg_backend_options options = {.threads = 1};
    dg_model_config description = dg_run_config_model(&s->config, e->shape.channels, e->shape.constraints);
    dg_status status;
    DG_TRY(dg_device_find(s->devices, s->device, &e->device));
    DG_TRY_GOTO(status, dg_model_create(&description, &model), cleanup);
    DG_TRY_GOTO(status, estimate_model(s, model, e), cleanup);
    DG_TRY_GOTO(status, threads_of(s, &options.threads), cleanup);
    DG_TRY_GOTO(status, dg_backend_create(s->config.train.backend, &options, &backend), cleanup);
    DG_TRY_GOTO(status, complete_device(s, backend, e), cleanup);
    DG_TRY_GOTO(status, add_times(s, model, e), cleanup);
    DG_TRY_GOTO(status, add_sweep(s, model, e), cleanup);
cleanup:
    dg_backend_destroy(&backend);
    dg_model_destroy(&model);
    return status;
}
