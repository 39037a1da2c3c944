/* dg_adversary.c - see dg_adversary.h. The discriminator reads [input | dose] as channels; its plan runs once for the term and,
 * with gradients of its own, once for the prediction and once for the plan. SPDX-License-Identifier: Apache-2.0 */
#include "dg_adversary.h"

#include "dg_counted.h"
#include "dg_mem.h"
#include "dg_plan.h"
#include "dg_weights.h"

#include <string.h>

/* Keeps its first weights apart from the network's, which are drawn by the same seed. */
static const uint64_t SEED_STREAM = UINT64_C(0x9e3779b97f4a7c15);
static const dg_loss_term SQUARES = {.kind = DG_LOSS_MSE};
enum { MEAN_OF_FAKE, FAR_OF_REAL, MEAN_OF_REAL };

struct dg_adversary {
    dg_adversary_config config;
    dg_backend *backend; /* borrowed */
    dg_model *model;
    dg_plan *plan;
    dg_optim *optim;
    dg_weights weights;
    dg_counted *counted;  /* NULL: voxels all count */
    dg_tensor dose, kept; /* backend memory, as all below; [n,z,y,x,1] as the batch's y: f32 */
    dg_tensor one, nil;   /* what the map of patches is compared with */
    uint8_t *mask;        /* 1 for the patches of n samples, then 0 for as many */
    float *half;          /* weight of a part of its own loss */
    void *workspace;      /* of a comparison; NULL: it needs none */
    double *value;        /* [n][DG_ADVERSARY_VALUES] */
    void *memory[16];
    int held;
    bool idle;
};

static int64_t elements(const dg_tensor *t) { return t->n * dg_tensor_voxels(t) * t->c; }

dg_status dg_adversary_model(const dg_adversary_config *config, dg_model **out)
{
    const dg_model_config model = {.kind = "patchgan",
                                   .in_channels = config->inputs + config->outputs,
                                   .out_channels = 1,
                                   .base_channels = config->base,
                                   .levels = config->layers + 1};
    return dg_model_create(&model, out);
}

/* ---- life ------------------------------------------------------------------------------------------------------------- */

static dg_status hold(dg_adversary *a, int64_t bytes, void *out)
{
    void *memory = NULL;
    DG_TRY(a->backend->ops->alloc(a->backend, bytes, "discriminator of the adversarial loss", &memory));
    a->memory[a->held++] = memory;
    memcpy(out, &memory, sizeof memory);
    return DG_OK;
}

static dg_status make_tensor(dg_adversary *a, dg_tensor shape, dg_tensor *out)
{
    shape.dtype = DG_F32;
    shape.pitch = shape.c;
    DG_TRY(hold(a, elements(&shape) * (int64_t)sizeof(float), &shape.data));
    *out = shape;
    return DG_OK;
}

static dg_status make_comparison(dg_adversary *a)
{
    const dg_backend_ops *ops = a->backend->ops;
    const dg_tensor map = dg_plan_output(a->plan);
    const int64_t count = elements(&map);
    const float half = 0.5f;
    uint8_t *ones = NULL;
    DG_TRY(make_tensor(a, map, &a->one));
    DG_TRY(make_tensor(a, map, &a->nil));
    DG_TRY(ops->fill(a->backend, a->one.data, count, 1.0f));
    DG_TRY(hold(a, (int64_t)sizeof half, &a->half));
    DG_TRY(ops->upload(a->backend, a->half, &half, (int64_t)sizeof half));
    DG_TRY(hold(a, map.n * DG_ADVERSARY_VALUES * (int64_t)sizeof(double), &a->value));
    const dg_loss_batch batch = {.y = map};
    const int64_t bytes = ops->loss_workspace(&SQUARES, &batch);
    if (bytes > 0) DG_TRY(hold(a, bytes, &a->workspace));
    DG_TRY(hold(a, 2 * count, &a->mask));
    DG_TRY(DG_NEW(&ones, count, "patches that count"));
    memset(ones, 1, (size_t)count);
    dg_status status = ops->upload(a->backend, a->mask, ones, count);
    dg_free(&ones);
    return status;
}

static dg_status check_patch(const dg_adversary *a, const dg_tensor *input)
{
    const int64_t multiple = dg_model_multiple(a->model), axis[3] = {input->z, input->y, input->x};
    int64_t left = 1;
    for (int i = 0; i < 3; i++) left *= axis[i] % multiple == 0 ? axis[i] / multiple : 0;
    if (left > 1) return DG_OK;
    return DG_FAIL(DG_ERR_USAGE,
                   "loss.adversarial.layers %lld divides the axes of a patch by %lld; %lld x %lld x %lld voxels of the "
                   "network's grid must be multiples of that and leave more than one voxel: fewer layers, or another "
                   "data.patch",
                   (long long)a->config.layers, (long long)multiple, (long long)axis[0], (long long)axis[1],
                   (long long)axis[2]);
}

static dg_status build(dg_adversary *a, const dg_loss_batch *shape, bool record)
{
    const dg_tensor *input = &shape->input;
    const dg_plan_config plan = {.n = input->n,
                                 .z = input->z,
                                 .y = input->y,
                                 .x = input->x,
                                 .dtype = input->dtype,
                                 .training = true,
                                 .record = record};
    if (input->c != a->config.inputs || shape->y.x != input->x * a->config.outputs)
        return DG_FAIL(DG_ERR_INTERNAL, "a discriminator of %lld + %lld channels got an input of %lld and %lld doses",
                       (long long)a->config.inputs, (long long)a->config.outputs, (long long)input->c,
                       (long long)(shape->y.x / input->x));
    DG_TRY(dg_adversary_model(&a->config, &a->model));
    DG_TRY(check_patch(a, input));
    DG_TRY(dg_optim_create(&a->config.optim, &a->model->params, a->backend, &a->optim));
    DG_TRY(dg_weights_create(a->backend, &a->model->params, a->config.seed ^ SEED_STREAM, &a->weights));
    DG_TRY(dg_plan_create(a->model, a->backend, &plan, &a->plan));
    a->weights.plan = a->plan;
    DG_TRY(dg_plan_want_input_gradient(a->plan));
    DG_TRY(make_tensor(a, shape->y, &a->dose));
    DG_TRY(make_tensor(a, shape->y, &a->kept));
    if (shape->mask != NULL) DG_TRY(dg_counted_create(a->backend, &shape->y, &a->counted));
    DG_TRY(make_comparison(a));
    return dg_plan_set_weights(a->plan, a->weights.values);
}

dg_status dg_adversary_create(const dg_adversary_config *config, dg_backend *backend, const dg_loss_batch *shape,
                              bool record, dg_adversary **out)
{
    dg_adversary *a = NULL;
    *out = NULL;
    DG_TRY(DG_NEW(&a, 1, "discriminator"));
    a->config = *config;
    a->backend = backend;
    dg_status status = build(a, shape, record);
    if (status != DG_OK)
        dg_adversary_destroy(&a);
    else
        *out = a;
    return status;
}

void dg_adversary_destroy(dg_adversary **adversary)
{
    dg_adversary *a = *adversary;
    if (a == NULL) return;
    dg_plan_destroy(&a->plan);
    dg_optim_destroy(&a->optim);
    dg_counted_destroy(&a->counted);
    dg_weights_release(&a->weights);
    for (int k = 0; k < a->held; k++) a->backend->ops->free(a->backend, a->memory[k]);
    dg_model_destroy(&a->model);
    dg_free(adversary);
}

const dg_param_table *dg_adversary_params(const dg_adversary *adversary) { return &adversary->model->params; }

void dg_adversary_rest(dg_adversary *adversary, bool idle) { adversary->idle = idle; }

/* ---- judging ---------------------------------------------------------------------------------------------------------- */

/* A slice of the channels of what the discriminator reads. */
static dg_tensor channels(dg_tensor whole, int64_t first, int64_t count)
{
    whole.data = (char *)whole.data + first * (int64_t)dg_dtype_size(whole.dtype);
    whole.c = count;
    return whole;
}

/* The doses of a batch as blocks of channels. */
static dg_tensor as_blocks(const dg_adversary *a, dg_tensor t)
{
    t.x /= a->config.outputs;
    t.c = t.pitch = a->config.outputs;
    return t;
}

static dg_tensor dose_channels(const dg_adversary *a, dg_tensor whole)
{
    return channels(whole, a->config.inputs, a->config.outputs);
}

/* Doses (of the batch's shape), 0 where they do not count, to the discriminator, and its map of patches. */
static dg_status look_at(dg_adversary *a, const dg_tensor *dose, const dg_tensor *counted)
{
    const dg_backend_ops *ops = a->backend->ops;
    dg_tensor seen = dose_channels(a, dg_plan_input(a->plan));
    if (counted != NULL) DG_TRY(ops->gate_forward(a->backend, dose, counted, &a->dose));
    const dg_tensor blocks = as_blocks(a, counted != NULL ? a->dose : *dose);
    DG_TRY(ops->copy(a->backend, &blocks, &seen, false));
    return dg_plan_forward(a->plan, NULL);
}

/* Compares the map with 1 or 0; `slope`: the map's gradient is written. */
static dg_status compare(dg_adversary *a, const dg_tensor *with, const uint8_t *mask, const float *weight,
                         double *value, int64_t stride, bool slope)
{
    const dg_loss_batch batch = {.y = dg_plan_output(a->plan), .target = *with, .mask = mask};
    dg_tensor dy = dg_plan_output_gradient(a->plan);
    return a->backend->ops->loss(a->backend, &SQUARES, &batch, weight, a->workspace, value, stride, slope ? &dy : NULL,
                                 false);
}

/* Which voxels count: NULL, or numbers. */
static dg_status take_mask(dg_adversary *a, const dg_loss_batch *batch, dg_tensor *mask, const dg_tensor **out)
{
    *out = NULL;
    if (batch->mask == NULL) return DG_OK;
    if (a->counted == NULL)
        return DG_FAIL(DG_ERR_INTERNAL, "adversarial loss: a mask, and there was none at its creation");
    *out = mask;
    return dg_counted_take(a->counted, batch->mask, mask);
}

/* The doses' part of the input's gradient to dy. */
static dg_status spread_gradient(dg_adversary *a, const dg_tensor *counted, dg_tensor *dy, bool accumulate)
{
    const dg_backend_ops *ops = a->backend->ops;
    const dg_tensor part = dose_channels(a, dg_plan_input_gradient(a->plan));
    dg_tensor blocks = as_blocks(a, a->dose);
    DG_TRY(ops->copy(a->backend, &part, &blocks, false));
    if (counted != NULL) DG_TRY(ops->gate_forward(a->backend, &a->dose, counted, &a->kept));
    return ops->copy(a->backend, counted != NULL ? &a->kept : &a->dose, dy, accumulate);
}

dg_status dg_adversary_judge(dg_adversary *a, const dg_loss_batch *batch, const float *weight, double *value,
                             int64_t stride, dg_tensor *dy, bool accumulate)
{
    dg_tensor mask, input = channels(dg_plan_input(a->plan), 0, a->config.inputs);
    const dg_tensor *counted;
    if (dy != NULL && (dy->dtype != DG_F32 || dy->pitch != dy->c))
        return DG_FAIL(DG_ERR_INTERNAL, "adversarial loss: dy is not dense f32");
    if (a->idle)
        return dy == NULL || accumulate ? DG_OK : a->backend->ops->fill(a->backend, dy->data, elements(dy), 0.0f);
    DG_TRY(take_mask(a, batch, &mask, &counted));
    DG_TRY(a->backend->ops->copy(a->backend, &batch->input, &input, false));
    DG_TRY(look_at(a, &batch->y, counted));
    DG_TRY(compare(a, &a->one, NULL, weight, value, stride, dy != NULL));
    if (dy == NULL) return DG_OK;
    DG_TRY(dg_plan_backward(a->plan, NULL, NULL, NULL, NULL));
    return spread_gradient(a, counted, dy, accumulate);
}

/* ---- learning --------------------------------------------------------------------------------------------------------- */

dg_status dg_adversary_learn(dg_adversary *a, const dg_loss_batch *batch, int64_t count, float *gradients)
{
    const int64_t n = a->one.n;
    const uint8_t *patches = a->mask + (n - count) * dg_tensor_voxels(&a->one);
    dg_tensor mask;
    const dg_tensor *counted;
    if (count < 1 || count > n)
        return DG_FAIL(DG_ERR_INTERNAL, "a discriminator for %lld samples learns from %lld", (long long)n,
                       (long long)count);
    DG_TRY(take_mask(a, batch, &mask, &counted));
    DG_TRY(look_at(a, &batch->y, counted));
    DG_TRY(compare(a, &a->nil, patches, a->half, a->value + MEAN_OF_FAKE, DG_ADVERSARY_VALUES, true));
    DG_TRY(dg_plan_backward(a->plan, gradients, NULL, NULL, NULL));
    DG_TRY(look_at(a, &batch->target, counted));
    DG_TRY(compare(a, &a->nil, patches, a->half, a->value + MEAN_OF_REAL, DG_ADVERSARY_VALUES, false));
    DG_TRY(compare(a, &a->one, patches, a->half, a->value + FAR_OF_REAL, DG_ADVERSARY_VALUES, true));
    return dg_plan_backward(a->plan, gradients, NULL, NULL, NULL);
}

dg_status dg_adversary_read(dg_adversary *a, double *value)
{
    return a->backend->ops->download(a->backend, value, a->value,
                                     a->one.n * DG_ADVERSARY_VALUES * (int64_t)sizeof *value);
}

dg_adversary_scores dg_adversary_score(double term, const double value[DG_ADVERSARY_VALUES])
{
    /* mean D^2 - mean (D - 1)^2 = 2 mean D - 1 */
    return (dg_adversary_scores){.loss = (value[FAR_OF_REAL] + value[MEAN_OF_FAKE]) / 2,
                                 .real = (value[MEAN_OF_REAL] - value[FAR_OF_REAL] + 1) / 2,
                                 .fake = (value[MEAN_OF_FAKE] - term + 1) / 2};
}

dg_status dg_adversary_update(dg_adversary *a, double lr, double grad_scale, const float *gradients, double *grad_norm)
{
    DG_TRY(dg_optim_step(a->optim, lr, grad_scale, a->weights.values, gradients, grad_norm));
    return dg_plan_set_weights(a->plan, a->weights.values);
}

/* ---- state ------------------------------------------------------------------------------------------------------------ */

dg_state dg_adversary_state(dg_adversary *adversary) { return dg_weights_state(&adversary->weights, "adversary"); }

dg_state dg_adversary_optim_state(dg_adversary *adversary)
{
    dg_state state = dg_optim_state(adversary->optim);
    state.name = "adversary_optimizer";
    return state;
}
