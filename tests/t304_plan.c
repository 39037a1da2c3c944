/* ctest: libs=test_net,dg_nn timeout=120 args=--backend ref; --backend onednn */
/* t304_plan.c - plans that place or recompute differently give the same bits; the order in which gradients become
 * ready; accumulation; misuse. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_mem.h"
#include "test_net.h"

static const dg_loss_config LOSS = {
    .count = 2, .term = {{.kind = DG_LOSS_MSE}, {.kind = DG_LOSS_NEGATIVE}}, .weight = {1.0, 0.1}};

typedef struct result {
    double loss;
    float *output, *gradients, *input_gradient;
    int64_t outputs, parameters, inputs;
} result;

typedef struct data {
    float *weights, *x, *constraints, *target;
} data;

static data make_data(const dg_model_config *config, const dg_plan_config *plan)
{
    dg_model *model = NULL;
    const int64_t voxels = plan->n * plan->z * plan->y * plan->x;
    DG_CHECK_OK(dg_model_create(config, &model));
    data d = {.weights = test_net_random_weights(&model->params, 3),
              .x = test_random(21, voxels * config->in_channels, 1.0, 0.0),
              .target = test_random(23, voxels * config->out_channels, 0.5, 1.0)};
    if (config->constraints > 0) d.constraints = test_random(22, plan->n * config->constraints, 1.0, 0.0);
    dg_model_destroy(&model);
    return d;
}

static void free_data(data *d)
{
    free(d->weights);
    free(d->x);
    free(d->constraints);
    free(d->target);
}

static result run(const char *backend, const dg_model_config *config, const dg_plan_config *plan, const data *d)
{
    test_net net = test_net_open(backend, 2, config, plan);
    result r = {.parameters = net.total};
    test_net_weights(&net, d->weights);
    test_net_input(&net, d->x, d->constraints);
    if (plan->training) {
        DG_CHECK_OK(dg_plan_want_input_gradient(net.plan));
        r.loss = test_net_step(&net, &LOSS, d->target, NULL);
        const dg_tensor dx = dg_plan_input_gradient(net.plan);
        r.gradients = test_buffer_get(&net.scope, net.gradients, net.total);
        r.input_gradient = test_net_torch(&net, &dx);
        r.inputs = dx.n * dg_tensor_voxels(&dx) * dx.c;
    } else {
        DG_CHECK_OK(dg_plan_forward(net.plan, NULL));
    }
    const dg_tensor y = dg_plan_output(net.plan);
    DG_CHECK(y.dtype == DG_F32 && y.pitch == y.c && y.c == config->out_channels);
    r.output = test_net_torch(&net, &y);
    r.outputs = y.n * dg_tensor_voxels(&y) * y.c;
    test_net_close(&net);
    return r;
}

static void free_result(result *r)
{
    free(r->output);
    free(r->gradients);
    free(r->input_gradient);
}

static bool same(const float *a, const float *b, int64_t count) { return memcmp(a, b, (size_t)count * sizeof *a) == 0; }

/* A plan with all tensors apart is the measure; the others must not differ by a bit. */
static void check_same_bits(const char *backend, const dg_model_config *config, dg_plan_config plan)
{
    const data d = make_data(config, &plan);
    plan.keep_all = true;
    result apart = run(backend, config, &plan, &d);
    plan.keep_all = false;
    result packed = run(backend, config, &plan, &d);
    plan.recompute = true;
    result less = run(backend, config, &plan, &d);
    const result *other[] = {&packed, &less};
    for (int i = 0; i < 2; i++) {
        DG_CHECK(other[i]->loss == apart.loss && same(other[i]->output, apart.output, apart.outputs));
        DG_CHECK(same(other[i]->gradients, apart.gradients, apart.parameters));
        DG_CHECK(same(other[i]->input_gradient, apart.input_gradient, apart.inputs));
    }
    plan.training = plan.recompute = false;
    result infer = run(backend, config, &plan, &d);
    DG_CHECK(same(infer.output, apart.output, apart.outputs));
    double sum = 0;
    for (int64_t i = 0; i < apart.parameters; i++) sum += fabs((double)apart.gradients[i]);
    DG_CHECK(isfinite(apart.loss) && isfinite(sum) && sum > 0);
    free_result(&apart);
    free_result(&packed);
    free_result(&less);
    free_result(&infer);
    data own = d;
    free_data(&own);
}

/* What had been announced as final, to be compared with the end. */
typedef struct record {
    test_net *net;
    float *seen;
    int64_t first;
    int calls;
} record;

static dg_status note_ready(void *context, int64_t first)
{
    record *r = context;
    DG_CHECK(first < r->first && first >= 0);
    float *now = test_buffer_get(&r->net->scope, r->net->gradients, r->net->total);
    memcpy(r->seen + first, now + first, (size_t)(r->first - first) * sizeof *now);
    r->first = first;
    r->calls++;
    free(now);
    return DG_OK;
}

static dg_status refuse(void *context, int64_t first)
{
    int *calls = context;
    (*calls)++;
    return DG_FAIL(DG_ERR_COMM, "no more at %lld", (long long)first);
}

static void fill_output_gradient(test_net *net)
{
    dg_tensor dy = dg_plan_output_gradient(net->plan);
    float *values = test_random(31, dy.n * dg_tensor_voxels(&dy) * dy.c, 0.1, 0.0);
    test_tensor_set(&net->scope, &dy, values);
    free(values);
}

static void check_ready(const char *backend, const dg_model_config *config, const dg_plan_config *plan)
{
    data d = make_data(config, plan);
    test_net net = test_net_open(backend, 2, config, plan);
    test_net_weights(&net, d.weights);
    test_net_input(&net, d.x, d.constraints);
    record r = {.net = &net, .seen = test_floats(net.total), .first = net.total};
    DG_CHECK_OK(dg_plan_forward(net.plan, NULL));
    fill_output_gradient(&net);
    DG_CHECK_OK(dg_plan_backward(net.plan, net.gradients, note_ready, &r, NULL));
    float *once = test_buffer_get(&net.scope, net.gradients, net.total);
    DG_CHECK(r.first == 0 && same(r.seen, once, net.total));
    DG_CHECK(r.calls > 10); /* small pieces, so that reduction can overlap */

    /* The input's gradient was not wanted, and a second pass adds to the parameters' gradients. */
    DG_CHECK(dg_plan_input_gradient(net.plan).data == NULL);
    DG_CHECK_OK(dg_plan_forward(net.plan, NULL));
    fill_output_gradient(&net);
    DG_CHECK_OK(dg_plan_backward(net.plan, net.gradients, NULL, NULL, NULL));
    float *twice = test_buffer_get(&net.scope, net.gradients, net.total);
    double error = 0, size = 0;
    for (int64_t i = 0; i < net.total; i++) {
        error += pow((double)twice[i] - 2 * (double)once[i], 2);
        size += pow(2 * (double)once[i], 2);
    }
    DG_CHECK(size > 0 && sqrt(error / size) < 1e-5);

    int calls = 0;
    DG_CHECK_OK(dg_plan_forward(net.plan, NULL));
    DG_CHECK_FAILS(dg_plan_backward(net.plan, net.gradients, refuse, &calls, NULL), DG_ERR_COMM, "no more at");
    DG_CHECK(calls == 1);
    free(r.seen);
    free(once);
    free(twice);
    test_net_close(&net);
    free_data(&d);
}

static void check_misuse(const char *backend, const dg_model_config *config, dg_plan_config plan)
{
    test_net net = test_net_open(backend, 2, config, &plan);
    dg_plan *other = NULL;
    DG_CHECK_FAILS(dg_plan_forward(net.plan, NULL), DG_ERR_INTERNAL, "no weights");
    DG_CHECK_OK(dg_plan_set_weights(net.plan, net.weights));
    DG_CHECK_FAILS(dg_plan_backward(net.plan, net.gradients, NULL, NULL, NULL), DG_ERR_INTERNAL, "forward");
    DG_CHECK(dg_plan_activation(net.plan, "bottleneck").data == NULL);
    dg_plan_memory estimate, real = dg_plan_get_memory(net.plan);
    DG_CHECK_OK(dg_plan_estimate(net.model, &plan, &estimate, NULL));
    DG_CHECK(estimate.arena_bytes == real.arena_bytes && estimate.parameter_bytes == real.parameter_bytes);
    DG_CHECK(real.packed_bytes >= 0);

    plan.y = 12;
    DG_CHECK_FAILS(dg_plan_create(net.model, net.scope.backend, &plan, &other), DG_ERR_USAGE,
                   "patch 8 x 12 x 8: every axis must be a positive multiple of 8 for a model of 4 levels; use 16");
    plan.y = 0;
    DG_CHECK_FAILS(dg_plan_create(net.model, net.scope.backend, &plan, &other), DG_ERR_USAGE, "patch 8 x 0 x 8");
    plan.y = 8, plan.n = 0;
    DG_CHECK_FAILS(dg_plan_create(net.model, net.scope.backend, &plan, &other), DG_ERR_USAGE, "batch is 0");
    plan.n = 1, plan.dtype = DG_F64;
    DG_CHECK_FAILS(dg_plan_create(net.model, net.scope.backend, &plan, &other), DG_ERR_USAGE, "f32 or bf16");
    plan.dtype = DG_F32, plan.z = INT64_MAX / 8 * 8;
    DG_CHECK_FAILS(dg_plan_create(net.model, net.scope.backend, &plan, &other), DG_ERR_MEMORY, "too large");
    plan.z = 8, plan.training = false, plan.recompute = true;
    DG_CHECK_FAILS(dg_plan_create(net.model, net.scope.backend, &plan, &other), DG_ERR_USAGE, "recompute");
    plan.recompute = false;
    DG_CHECK_OK(dg_plan_create(net.model, net.scope.backend, &plan, &other));
    DG_CHECK(dg_plan_output_gradient(other).data == NULL);
    DG_CHECK_FAILS(dg_plan_want_input_gradient(other), DG_ERR_INTERNAL, "inference plan");
    DG_CHECK_FAILS(dg_plan_backward(other, net.gradients, NULL, NULL, NULL), DG_ERR_INTERNAL, "inference plan");
    dg_plan_destroy(&other);
    test_net_close(&net);
}

/* The measured steps are those that are known without a backend, with a time each, and change no result. */
static void check_measure(const char *backend, const dg_model_config *config, const dg_plan_config *plan)
{
    test_net net = test_net_open(backend, 1, config, plan);
    dg_plan_cost *known = NULL, *measured = NULL;
    int count = 0, steps = 0;
    DG_CHECK_FAILS(dg_plan_measure(net.plan, net.gradients, 1, &measured, &steps), DG_ERR_INTERNAL, "no weights");
    DG_CHECK_OK(dg_plan_set_weights(net.plan, net.weights));
    DG_CHECK_OK(dg_plan_measure(net.plan, net.gradients, 2, &measured, &steps));
    DG_CHECK_OK(dg_plan_costs(net.model, plan, &known, &count));
    DG_CHECK(count == steps && count > 0); /* a training plan fuses nothing */
    for (int i = 0; i < count; i++) {
        DG_CHECK(measured[i].seconds > 0 && known[i].seconds == 0);
        DG_CHECK(strcmp(measured[i].name, known[i].name) == 0 && strcmp(measured[i].what, known[i].what) == 0);
        DG_CHECK(measured[i].flops == known[i].flops && measured[i].bytes == known[i].bytes);
    }
    DG_CHECK(strcmp(measured[0].name, "enc1.conv1") == 0 && strcmp(measured[0].what, "conv") == 0);
    dg_free(&known);
    dg_free(&measured);
    test_net_close(&net);
}

/* Every step is printed once, and the sum. */
static void check_print(const char *backend, const dg_model_config *config, const dg_plan_config *plan)
{
    test_net net = test_net_open(backend, 1, config, plan);
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    DG_CHECK(stream != NULL);
    dg_plan_print(net.plan, stream);
    DG_CHECK(fclose(stream) == 0);
    DG_CHECK(strstr(text, "enc1.conv1") != NULL && strstr(text, "conv weights") != NULL &&
             strstr(text, " slice") != NULL);
    DG_CHECK(strstr(text, "arena ") != NULL);
    free(text);
    test_net_close(&net);
}

int main(int argc, char **argv)
{
    const char *backend = argc == 3 ? argv[2] : "ref";
    dg_model_config model = {.kind = "unet",
                             .in_channels = 5,
                             .out_channels = 1,
                             .base_channels = 8,
                             .levels = 4,
                             .constraints = 6,
                             .cond_channels = 12};
    dg_plan_config plan = {.n = 2, .z = 8, .y = 8, .x = 16, .dtype = DG_F32, .training = true};
    check_same_bits(backend, &model, plan);
    check_ready(backend, &model, &plan);
    plan.dtype = DG_BF16;
    check_same_bits(backend, &model, plan);
    model.in_channels = 8; /* identity residual of the first block, which ends in a slice */
    model.constraints = 0;
    check_same_bits(backend, &model, plan);
    check_ready(backend, &model, &plan); /* and whose gradient is not wanted */
    plan.dtype = DG_F32, plan.x = 8;
    check_same_bits(backend, &model, plan);
    dg_model_config cascade = model;
    (void)snprintf(cascade.kind, sizeof cascade.kind, "cascade");
    cascade.levels = 3;
    check_same_bits(backend, &cascade, plan);
    check_ready(backend, &cascade, &plan);
    check_misuse(backend, &model, plan);
    check_print(backend, &model, &plan);
    check_measure(backend, &model, &plan);
    return 0;
}
