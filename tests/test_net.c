/* test_net.c - see test_net.h. SPDX-License-Identifier: Apache-2.0 */
#include "test_net.h"

#include "dg_check.h"

test_net test_net_open_model(const char *backend, int threads, dg_model *model, const dg_plan_config *plan)
{
    test_net net = {.scope = test_scope_open(backend, threads), .model = model, .total = model->params.total};
    DG_CHECK_OK(dg_plan_create(net.model, net.scope.backend, plan, &net.plan));
    net.weights = test_buffer(&net.scope, NULL, net.total);
    net.gradients = test_buffer(&net.scope, NULL, net.total);
    return net;
}

test_net test_net_open(const char *backend, int threads, const dg_model_config *model, const dg_plan_config *plan)
{
    dg_model *built = NULL;
    DG_CHECK_OK(dg_model_create(model, &built));
    return test_net_open_model(backend, threads, built, plan);
}

void test_net_close(test_net *net)
{
    dg_plan_destroy(&net->plan);
    dg_model_destroy(&net->model);
    test_scope_close(&net->scope);
}

void test_net_weights(test_net *net, const float *flat)
{
    DG_CHECK_OK(net->scope.ops->upload(net->scope.backend, net->weights, flat, net->total * (int64_t)sizeof *flat));
    DG_CHECK_OK(dg_plan_set_weights(net->plan, net->weights));
}

float *test_net_random_weights(const dg_param_table *table, uint64_t seed)
{
    float *flat = test_floats(table->total);
    dg_params_init(table, seed, flat);
    for (int i = 0; i < table->count; i++) {
        const dg_param *param = &table->item[i];
        if (param->fan_in > 0) continue;
        float *noise = test_random(seed + (uint64_t)i, param->count, 0.2, 0.0);
        for (int64_t k = 0; k < param->count; k++) flat[param->offset + k] += noise[k];
        free(noise);
    }
    return flat;
}

static test_shape shape_of(const dg_tensor *t)
{
    return (test_shape){.n = t->n, .z = t->z, .y = t->y, .x = t->x, .c = t->c};
}

static float *transpose(const float *from, test_shape s, bool to_channels_first)
{
    const int64_t voxels = s.z * s.y * s.x;
    float *to = test_floats(test_count(s));
    for (int64_t n = 0; n < s.n; n++)
        for (int64_t v = 0; v < voxels; v++)
            for (int64_t c = 0; c < s.c; c++) {
                int64_t first = (n * s.c + c) * voxels + v, last = (n * voxels + v) * s.c + c;
                to[to_channels_first ? first : last] = from[to_channels_first ? last : first];
            }
    return to;
}

float *test_channels_last(const float *from, test_shape shape) { return transpose(from, shape, false); }
float *test_channels_first(const float *from, test_shape shape) { return transpose(from, shape, true); }

float *test_net_torch(test_net *net, const dg_tensor *tensor)
{
    float *host = test_tensor_get(&net->scope, tensor);
    float *torch = test_channels_first(host, shape_of(tensor));
    free(host);
    return torch;
}

void test_net_input(test_net *net, const float *x, const float *constraints)
{
    dg_tensor input = dg_plan_input(net->plan), condition = dg_plan_constraints(net->plan);
    float *last = test_channels_last(x, shape_of(&input));
    test_tensor_set(&net->scope, &input, last);
    free(last);
    DG_CHECK((condition.data != NULL) == (constraints != NULL));
    if (constraints != NULL) test_tensor_set(&net->scope, &condition, constraints);
}

/* Loss of the present output, dy (NULL: not wanted), terms. */
static double evaluate(test_net *net, const dg_loss_config *config, const float *target, dg_tensor *dy, double *terms)
{
    dg_loss_batch batch = net->known;
    batch.y = dg_plan_output(net->plan);
    dg_loss *loss = NULL;
    void *data = NULL;
    const int64_t n = batch.y.n, bytes = n * dg_tensor_voxels(&batch.y) * batch.y.c * (int64_t)sizeof *target;
    double *value = calloc((size_t)(n * config->count), sizeof *value), sum = 0;
    DG_CHECK(value != NULL);
    DG_CHECK_OK(net->scope.ops->alloc(net->scope.backend, bytes, "target", &data));
    DG_CHECK_OK(net->scope.ops->upload(net->scope.backend, data, target, bytes));
    batch.target = batch.y;
    batch.target.data = data;
    DG_CHECK_OK(dg_loss_create(config, net->scope.backend, &batch, &loss));
    DG_CHECK_OK(dg_loss_set_weights(loss, config->weight, 1.0 / (double)n));
    DG_CHECK_OK(dg_loss_evaluate(loss, &batch, dy));
    DG_CHECK_OK(dg_loss_read(loss, value));
    for (int k = 0; k < config->count; k++) {
        double mean = 0;
        for (int64_t i = 0; i < n; i++) mean += value[i * config->count + k] / (double)n;
        if (terms != NULL) terms[k] = mean;
        sum += config->weight[k] * mean;
    }
    dg_loss_destroy(&loss);
    net->scope.ops->free(net->scope.backend, data);
    free(value);
    return sum;
}

double test_net_loss(test_net *net, const dg_loss_config *loss, const float *target)
{
    DG_CHECK_OK(dg_plan_forward(net->plan, NULL));
    return evaluate(net, loss, target, NULL, NULL);
}

double test_net_step(test_net *net, const dg_loss_config *loss, const float *target, double *terms)
{
    dg_tensor dy = dg_plan_output_gradient(net->plan);
    DG_CHECK_OK(net->scope.ops->fill(net->scope.backend, net->gradients, net->total, 0.0f));
    DG_CHECK_OK(dg_plan_forward(net->plan, NULL));
    const double value = evaluate(net, loss, target, &dy, terms);
    DG_CHECK_OK(dg_plan_backward(net->plan, net->gradients, NULL, NULL, NULL));
    return value;
}
