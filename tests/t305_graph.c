/* ctest: libs=test_net,dg_nn timeout=120 */
/* t305_graph.c - a graph with what the baseline does not use: attention gate, self-attention with layer norm, transposed
 * convolution, instance norm with leaky relu, addition, a dtype boundary; its gradients by finite differences on `ref`,
 * and graphs that are refused. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_mem.h"
#include "test_net.h"

static const dg_loss_config LOSS = {.count = 1, .term = {{.kind = DG_LOSS_MSE}}, .weight = {1.0}};
enum { C = 4 };

/* y = psi-gated skip: sigmoid(psi(relu(W_skip e + W_gate up))). */
static void gate(dg_builder *b, int skip, int up, int y)
{
    const dg_norm_desc add = {.groups = 0, .act = DG_ACT_NONE};
    int a = dg_build_tensor(b, "gate:skip", 0, 2), g = dg_build_tensor(b, "gate:gate", 0, 2);
    int sum = dg_build_tensor(b, "gate:sum", 0, 2), active = dg_build_tensor(b, "gate:relu", 0, 2);
    int psi = dg_build_tensor(b, "gate:psi", 0, 1), open = dg_build_tensor(b, "gate:open", 0, 1);
    dg_build_conv(b, "gate.W_skip", DG_CONV_SAME, 1, false, skip, a);
    dg_build_conv(b, "gate.W_gate", DG_CONV_SAME, 1, false, up, g);
    dg_build_norm(b, "gate.add", &add, false, a, -1, g, sum);
    dg_build_act(b, "gate.relu", DG_ACT_SILU, 0, sum, active); /* smooth, for the differences */
    dg_build_conv(b, "gate.psi", DG_CONV_SAME, 1, true, active, psi);
    dg_build_act(b, "gate.sigmoid", DG_ACT_SIGMOID, 0, psi, open);
    dg_build_gate(b, "gate.apply", skip, open, y);
}

/* tokens + proj(attention(layer norm(tokens))) */
static int attend(dg_builder *b, int x)
{
    const dg_norm_desc add = {.groups = 0, .act = DG_ACT_NONE};
    int norm = dg_build_tensor(b, "att:norm", 1, C), qkv = dg_build_tensor(b, "att:qkv", 1, 3 * C);
    int core = dg_build_tensor(b, "att:core", 1, C), proj = dg_build_tensor(b, "att:proj", 1, C);
    int y = dg_build_tensor(b, "att", 1, C);
    dg_build_layer_norm(b, "att.norm", 1e-5, x, norm);
    dg_build_conv(b, "att.qkv", DG_CONV_SAME, 1, false, norm, qkv);
    dg_build_attention(b, "att.core", 2, qkv, core);
    dg_build_conv(b, "att.proj", DG_CONV_SAME, 1, true, core, proj);
    dg_build_norm(b, "att.add", &add, false, proj, -1, x, y);
    return y;
}

static dg_model *build(void)
{
    const dg_norm_desc instance = {.groups = C, .eps = 1e-5, .act = DG_ACT_LEAKY_RELU, .negative_slope = 0.01};
    dg_model *model = NULL;
    DG_CHECK_OK(DG_NEW(&model, 1, "test model"));
    model->config = (dg_model_config){.kind = "test", .levels = 2};
    dg_builder builder = {.graph = &model->graph, .params = &model->params, .status = DG_OK}, *b = &builder;
    model->graph.constraints = -1;
    model->graph.input = dg_build_tensor(b, "input", 0, 3);
    int c = dg_build_tensor(b, "c", 0, C), e = dg_build_tensor(b, "e", 0, C), p = dg_build_tensor(b, "p", 1, C);
    dg_build_conv(b, "conv", DG_CONV_SAME, 3, true, model->graph.input, c);
    dg_build_norm(b, "norm", &instance, false, c, -1, -1, e);
    dg_build_pool(b, "pool", e, p);
    int t = attend(b, p);
    int concat = dg_build_tensor(b, "concat", 0, 2 * C), large = dg_build_tensor(b, "large", 0, C);
    int up = dg_build_slice(b, "up", concat, 0, C), skip = dg_build_slice(b, "skip", concat, C, C);
    dg_build_conv(b, "up", DG_CONV_TRANSPOSE2, 2, true, t, large);
    dg_build_copy(b, "up.copy", large, up);
    gate(b, e, up, skip);
    int d = dg_build_tensor(b, "d", 0, 1);
    dg_build_conv(b, "out", DG_CONV_SAME, 3, true, concat, d);
    model->graph.output = dg_build_tensor(b, "output", 0, 1);
    dg_build_copy(b, "output", d, model->graph.output);
    DG_CHECK_OK(b->status);
    model->graph.tensor[model->graph.output].f32 = true;
    return model;
}

static void check_gradients(dg_plan_config plan, const float *x, const float *target)
{
    test_net net = test_net_open_model("ref", 1, build(), &plan);
    float *weights = test_net_random_weights(&net.model->params, 4);
    test_net_input(&net, x, NULL);
    test_net_weights(&net, weights);
    const double loss = test_net_step(&net, &LOSS, target, NULL), h = 1.0 / 4096;
    float *gradients = test_buffer_get(&net.scope, net.gradients, net.total);
    for (int i = 0; i < net.model->params.count; i++) {
        const dg_param *param = &net.model->params.item[i];
        float *value = weights + param->offset, *gradient = gradients + param->offset;
        double largest = 0;
        for (int64_t k = 0; k < param->count; k++) largest = fmax(largest, fabs((double)gradient[k]));
        for (int64_t k = 0; k < param->count; k += 1 + param->count / 6) {
            const float saved = value[k];
            double side[2];
            for (int s = 0; s < 2; s++) {
                value[k] = (float)((double)saved + (s ? h : -h));
                test_net_weights(&net, weights);
                side[s] = test_net_loss(&net, &LOSS, target);
            }
            value[k] = saved;
            const double got = (side[1] - side[0]) / (2 * h), wanted = (double)gradient[k];
            if (!(fabs(got - wanted) <= 0.01 * largest + 1e-4 * loss))
                fprintf(stderr, "%s[%d]: gradient %g, differences %g\n", param->name, (int)k, wanted, got);
            DG_CHECK(fabs(got - wanted) <= 0.01 * largest + 1e-4 * loss);
        }
    }
    free(weights);
    free(gradients);
    test_net_close(&net);
}

/* The same bits with all tensors apart, and with an inference plan. */
static void check_placement(dg_plan_config plan, const float *x, const float *target)
{
    float *gradients[2], *output[3];
    int64_t total = 0, outputs = 0;
    for (int i = 0; i < 3; i++) {
        plan.keep_all = i == 1;
        plan.training = i < 2;
        test_net net = test_net_open_model("ref", 1, build(), &plan);
        float *weights = test_net_random_weights(&net.model->params, 4);
        test_net_input(&net, x, NULL);
        test_net_weights(&net, weights);
        if (i < 2) (void)test_net_step(&net, &LOSS, target, NULL);
        if (i == 2) DG_CHECK_OK(dg_plan_forward(net.plan, NULL));
        const dg_tensor y = dg_plan_output(net.plan);
        total = net.total;
        outputs = y.n * dg_tensor_voxels(&y);
        output[i] = test_net_torch(&net, &y);
        if (i < 2) gradients[i] = test_buffer_get(&net.scope, net.gradients, net.total);
        free(weights);
        test_net_close(&net);
    }
    DG_CHECK(memcmp(gradients[0], gradients[1], (size_t)total * sizeof(float)) == 0);
    for (int i = 1; i < 3; i++) DG_CHECK(memcmp(output[0], output[i], (size_t)outputs * sizeof(float)) == 0);
    for (int i = 0; i < 3; i++) free(output[i]);
    for (int i = 0; i < 2; i++) free(gradients[i]);
}

/* Builders that are misused say so once and stay refused. */
static void check_refusals(void)
{
    dg_graph graph = {.constraints = -1};
    dg_param_table params = {0};
    dg_builder b = {.graph = &graph, .params = &params, .status = DG_OK};
    int whole = dg_build_tensor(&b, "whole", 0, 8), y = dg_build_tensor(&b, "y", 0, 8);
    int part = dg_build_slice(&b, "part", whole, 4, 4);
    DG_CHECK(b.status == DG_OK && graph.tensor[part].root == whole && graph.tensor[part].first == 4);
    dg_build_conv(&b, "conv", DG_CONV_SAME, 3, true, part, y);
    DG_CHECK_FAILS(b.status, DG_ERR_INTERNAL, "convolution 'conv' with kernel 3 reads or writes a slice");
    const int ops = graph.ops;
    dg_build_pool(&b, "pool", whole, y);
    DG_CHECK(graph.ops == ops);
    b.status = DG_OK;
    (void)dg_build_slice(&b, "beyond", whole, 5, 4);
    DG_CHECK_FAILS(b.status, DG_ERR_INTERNAL, "slice 'beyond' does not lie in tensor 'whole'");
    b.status = DG_OK;
    (void)dg_build_tensor(&b, "y", 0, 1);
    DG_CHECK_FAILS(b.status, DG_ERR_INTERNAL, "two tensors named 'y'");
    b.status = DG_OK;
    dg_build_conv(&b, "twin", DG_CONV_SAME, 1, true, part, y);
    dg_build_conv(&b, "twin", DG_CONV_SAME, 1, true, part, y);
    DG_CHECK_FAILS(b.status, DG_ERR_INTERNAL, "'twin.weight' exists already");
    dg_graph_release(&graph);
    dg_param_table_release(&params);
}

/* A result nobody reads has no gradient: a fault of the architecture, said at compile time. */
static void check_dead_end(void)
{
    dg_model *model = build();
    dg_builder b = {.graph = &model->graph, .params = &model->params, .status = DG_OK};
    dg_plan *plan = NULL;
    test_scope scope = test_scope_open("ref", 1);
    const dg_plan_config config = {.n = 1, .z = 2, .y = 2, .x = 2, .dtype = DG_F32, .training = true};
    int dead = dg_build_tensor(&b, "dead", 0, 2);
    dg_build_conv(&b, "dead", DG_CONV_SAME, 1, true, model->graph.input, dead);
    DG_CHECK_OK(b.status);
    DG_CHECK_FAILS(dg_plan_create(model, scope.backend, &config, &plan), DG_ERR_INTERNAL,
                   "nothing reads its result 'dead'");
    dg_model_destroy(&model);
    test_scope_close(&scope);
}

int main(void)
{
    dg_plan_config plan = {.n = 2, .z = 2, .y = 4, .x = 4, .dtype = DG_F32, .training = true};
    const int64_t voxels = plan.n * plan.z * plan.y * plan.x;
    float *x = test_random(1, voxels * 3, 1.0, 0.0), *target = test_random(2, voxels, 1.0, 0.5);
    check_gradients(plan, x, target);
    plan.recompute = true;
    check_gradients(plan, x, target);
    plan.recompute = false;
    check_placement(plan, x, target);
    plan.dtype = DG_BF16;
    check_placement(plan, x, target);
    check_refusals();
    check_dead_end();
    free(x);
    free(target);
    return 0;
}
