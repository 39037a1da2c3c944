/* ctest: libs=test_net,dg_nn timeout=120 */
/* t303_finite_differences.c - the gradient of a whole small U-Net's loss, by every parameter and by the input, against
 * central differences on `ref`. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "test_net.h"

static const dg_loss_config LOSS = {
    .count = 2, .term = {{.kind = DG_LOSS_MSE}, {.kind = DG_LOSS_NEGATIVE}}, .weight = {1.0, 0.1}};

typedef struct problem {
    test_net net;
    float *weights, *x, *constraints, *target; /* host */
    int64_t inputs;
} problem;

static problem open_problem(const dg_model_config *model, const dg_plan_config *plan)
{
    problem p = {.net = test_net_open("ref", 1, model, plan)};
    p.inputs = plan->n * plan->z * plan->y * plan->x * model->in_channels;
    p.weights = test_net_random_weights(&p.net.model->params, 5);
    p.x = test_random(11, p.inputs, 1.0, 0.2);
    p.constraints = model->constraints > 0 ? test_random(12, plan->n * model->constraints, 1.0, 0.0) : NULL;
    p.target = test_random(13, p.inputs / model->in_channels, 0.5, 1.0);
    test_net_input(&p.net, p.x, p.constraints);
    test_net_weights(&p.net, p.weights);
    return p;
}

static void close_problem(problem *p)
{
    free(p->weights);
    free(p->x);
    free(p->constraints);
    free(p->target);
    test_net_close(&p->net);
}

static double loss_of(problem *p, bool input)
{
    if (input)
        test_net_input(&p->net, p->x, p->constraints);
    else
        test_net_weights(&p->net, p->weights);
    return test_net_loss(&p->net, &LOSS, p->target);
}

/* Derivative of the loss along d (over `count` of `value`) by central differences of step h in every unit of d. */
static double along(problem *p, bool input, float *value, const double *d, int64_t count, double h)
{
    float *saved = test_floats(count);
    double side[2], moved = 0;
    memcpy(saved, value, (size_t)count * sizeof *saved);
    for (int s = 0; s < 2; s++) {
        for (int64_t i = 0; i < count; i++) value[i] = (float)((double)saved[i] + (s ? h : -h) * d[i]);
        side[s] = loss_of(p, input);
    }
    /* The step really made, after rounding to f32. */
    for (int64_t i = 0; i < count; i++) {
        const double up = (double)(float)((double)saved[i] + h * d[i]),
                     down = (double)(float)((double)saved[i] - h * d[i]);
        moved += (up - down) * d[i];
    }
    memcpy(value, saved, (size_t)count * sizeof *saved);
    free(saved);
    return (side[1] - side[0]) / moved;
}

/* Along the gradient itself, whose slope is its length, and along a random direction. */
static void check_tensor(problem *p, const char *name, bool input, float *value, const float *gradient, int64_t count,
                         double noise)
{
    double *d = calloc((size_t)count, sizeof *d), length = 0;
    DG_CHECK(d != NULL);
    for (int64_t i = 0; i < count; i++) length += (double)gradient[i] * (double)gradient[i];
    length = sqrt(length);
    float *random = test_random(99, count, 1.0, 0.0);
    for (int kind = 0; kind < 2; kind++) {
        double square = 0, expected = 0;
        for (int64_t i = 0; i < count; i++) {
            d[i] = kind == 0 && length > noise ? (double)gradient[i] : (double)random[i];
            square += d[i] * d[i];
        }
        for (int64_t i = 0; i < count; i++) {
            d[i] /= sqrt(square);
            expected += d[i] * (double)gradient[i];
        }
        const double got = along(p, input, value, d, count, 1.0 / 2048);
        if (!(fabs(got - expected) <= 0.01 * fabs(expected) + 0.003 * length + noise))
            fprintf(stderr, "%s: direction %d: gradient %.6g, differences %.6g\n", name, kind, expected, got);
        DG_CHECK(fabs(got - expected) <= 0.01 * fabs(expected) + 0.003 * length + noise);
    }
    free(random);
    free(d);
}

static void check(const char *label, dg_model_config model, dg_plan_config plan)
{
    problem p = open_problem(&model, &plan);
    DG_CHECK_OK(dg_plan_want_input_gradient(p.net.plan));
    const double loss = test_net_step(&p.net, &LOSS, p.target, NULL);
    float *gradients = test_buffer_get(&p.net.scope, p.net.gradients, p.net.total);
    const dg_tensor dx = dg_plan_input_gradient(p.net.plan);
    float *input_gradient = test_net_torch(&p.net, &dx);
    const dg_param_table *table = &p.net.model->params;
    /* f32 activations: the loss is known to better than 1e-7 of itself, a slope over 2/2048 to 3e-5. */
    const double noise = 3e-5 * loss;
    int alive = 0;
    for (int i = 0; i < table->count; i++) {
        const dg_param *param = &table->item[i];
        double length = 0;
        for (int64_t k = 0; k < param->count; k++) length = fmax(length, fabs((double)gradients[param->offset + k]));
        alive += length > noise;
        check_tensor(&p, param->name, false, p.weights + param->offset, gradients + param->offset, param->count, noise);
    }
    test_net_weights(&p.net, p.weights);
    check_tensor(&p, "input", true, p.x, input_gradient, p.inputs, noise);
    printf("%s: loss %.4f, %d of %d parameters with a gradient above the noise\n", label, loss, alive, table->count);
    DG_CHECK(alive >= table->count * 2 / 3);
    free(gradients);
    free(input_gradient);
    close_problem(&p);
}

int main(void)
{
    const dg_plan_config plan = {.n = 2, .z = 4, .y = 4, .x = 8, .dtype = DG_F32, .training = true};
    const dg_model_config plain = {
        .kind = "unet", .in_channels = 3, .out_channels = 1, .base_channels = 9, .levels = 2};
    dg_model_config deep = plain, same = plain;
    check("2 levels", plain, plan);
    deep.levels = 3, deep.constraints = 5, deep.cond_channels = 7, deep.base_channels = 10;
    check("3 levels with constraints", deep, plan);
    same.in_channels = same.base_channels; /* the first block adds the input itself */
    same.constraints = 2, same.cond_channels = 3;
    dg_plan_config recompute = plan;
    recompute.recompute = true;
    check("identity residual from the input, recompute", same, recompute);
    dg_model_config cascade = deep;
    (void)snprintf(cascade.kind, sizeof cascade.kind, "cascade");
    cascade.levels = 2, cascade.base_channels = 8;
    check("cascade", cascade, plan);
    check("cascade, recompute", cascade, recompute);
    return 0;
}
