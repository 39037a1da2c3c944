/* ctest: libs=golden_io,test_net,dg_nn,dg_grid label=unit timeout=300 args=--backend ref; --backend onednn; --backend onednn --dtype bf16; unet_wider.h5 --backend onednn; unet_wider.h5 --backend onednn --dtype bf16; unet_attention.h5 --backend ref; unet_attention.h5 --backend onednn; unet_attention.h5 --backend onednn --dtype bf16; unet_bottleneck_attention.h5 --backend ref; unet_bottleneck_attention.h5 --backend onednn; unet_bottleneck_attention.h5 --backend onednn --dtype bf16 */
/* golden_unet.c - the whole network: output, loss, gradient of every parameter and of the input, some activations, and
 * a stitched volume, against PyTorch's. Shapes, levels and widths come from the file. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_mem.h"
#include "dg_window.h"
#include "golden_network.h"

#include <unistd.h>

typedef struct test {
    golden *file;
    golden_args args;
    golden_tally tally;
    dg_model_config model;
    float *weights; /* flat, host */
} test;

/* (N,C,D,H,W) with the model's channels. */
static void want_shape(test *t, const char *path, const golden_array *x)
{
    if (x->rank != 5 || x->count == 0 || x->shape[1] != t->model.in_channels)
        golden_reject(t->file, path, "is not (N,C,D,H,W) with as many channels as enc1.conv1.weight takes");
}

static int64_t axis_of(test *t, const char *path, int axis)
{
    golden_array a = golden_read_f32(t->file, "%s", path);
    if (axis >= a.rank) golden_reject(t->file, path, "has too few axes");
    const int64_t length = a.shape[axis];
    golden_array_free(&a);
    return length;
}

/* Reads the widths off the parameters, whatever the attributes say. */
static dg_model_config read_model(test *t)
{
    dg_model_config model = {.levels = 1};
    const char *kind = golden_has(t->file, "params/attn1.psi.0.weight")           ? "attention_unet"
                       : golden_has(t->file, "params/bottleneck_attn.qkv.weight") ? "bottleneck_attn"
                                                                                  : "unet";
    (void)snprintf(model.kind, sizeof model.kind, "%s", kind);
    char path[GOLDEN_TEXT];
    do {
        (void)snprintf(path, sizeof path, "params/enc%d.conv1.weight", (int)model.levels);
    } while (golden_has(t->file, path) && ++model.levels < 16);
    model.in_channels = axis_of(t, "params/enc1.conv1.weight", 1);
    model.base_channels = axis_of(t, "params/enc1.conv1.weight", 0);
    model.out_channels = axis_of(t, "params/out_conv.weight", 0);
    if (!golden_has(t->file, "params/constraint_mlp.0.weight")) return model;
    model.cond_channels = axis_of(t, "params/constraint_mlp.0.weight", 0);
    model.constraints = axis_of(t, "params/constraint_mlp.0.weight", 1);
    return model;
}

static test_net open_net(test *t, const golden_array *x, bool training, bool keep_all)
{
    const dg_plan_config plan = {.n = x->shape[0],
                                 .z = x->shape[2],
                                 .y = x->shape[3],
                                 .x = x->shape[4],
                                 .dtype = t->args.bf16 ? DG_BF16 : DG_F32,
                                 .training = training,
                                 .keep_all = keep_all};
    test_net net = test_net_open(t->args.backend, 2, &t->model, &plan);
    if (t->weights == NULL) t->weights = golden_network_weights(t->file, "params", &net.model->params);
    test_net_weights(&net, t->weights);
    return net;
}

static void set_input(test *t, test_net *net, const char *x_path, const char *constraints_path)
{
    const dg_tensor wanted = dg_plan_input(net->plan);
    golden_array x = golden_read_f32(t->file, "%s", x_path), k = {0};
    if (t->model.constraints > 0) k = golden_read_f32(t->file, "%s", constraints_path);
    golden_want_count(t->file, x_path, &x, wanted.n * dg_tensor_voxels(&wanted) * wanted.c);
    if (t->model.constraints > 0) golden_want_count(t->file, constraints_path, &k, wanted.n * t->model.constraints);
    test_net_input(net, x.f32, k.f32);
    golden_array_free(&x);
    golden_array_free(&k);
}

/* Forward, loss and backward of a training plan. */
static void check_training(test *t, const golden_array *x)
{
    const dg_loss_config mse = {.count = 1, .term = {{.kind = DG_LOSS_MSE}}, .weight = {1.0}};
    test_net net = open_net(t, x, true, false);
    golden_array target = golden_read_f32(t->file, "in/target"), wanted = golden_read_f64(t->file, "out/loss");
    set_input(t, &net, "in/x", "in/constraints");
    golden_want_count(t->file, "in/target", &target, x->count / x->shape[1] * t->model.out_channels);
    golden_want_count(t->file, "out/loss", &wanted, 1);
    DG_CHECK_OK(dg_plan_want_input_gradient(net.plan));
    const double loss = test_net_step(&net, &mse, target.f32, NULL);
    const dg_tensor y = dg_plan_output(net.plan);
    float *output = test_net_torch(&net, &y), *flat = test_buffer_get(&net.scope, net.gradients, net.total);
    golden_network_output(t->file, &t->args, &t->tally, "out/y", "out/y", output, target.count);
    golden_check(&t->tally, "out/loss", "relative", fabs(loss / wanted.f64[0] - 1), t->args.bf16 ? 1e-2 : 1e-5);
    for (int i = 0; i < net.model->params.count; i++)
        golden_network_parameter(t->file, &t->args, &t->tally, &net.model->params.item[i], flat);
    golden_network_input_gradient(t->file, &t->args, &t->tally, &net);
    free(flat);
    free(output);
    golden_array_free(&target);
    golden_array_free(&wanted);
    test_net_close(&net);
}

static void check_activation(test *t, test_net *net, const char *module)
{
    char path[GOLDEN_TEXT];
    (void)snprintf(path, sizeof path, "out/act/%s", module);
    const dg_tensor value = dg_plan_activation(net->plan, module);
    golden_array wanted = golden_read_f32(t->file, "%s", path);
    dg_tensor first = value; /* the file holds sample 0 */
    first.n = 1;
    if (value.data == NULL || wanted.count != dg_tensor_voxels(&first) * first.c) {
        printf("%s is no activation of this network\n", module);
        golden_check(&t->tally, path, "missing", 1, 0);
    } else {
        dg_tensor dense =
            test_tensor(&net->scope, DG_F32, (test_shape){1, first.z, first.y, first.x, first.c}, 0, NULL);
        DG_CHECK_OK(net->scope.ops->copy(net->scope.backend, &first, &dense, false)); /* it may be a slice */
        float *got = test_net_torch(net, &dense);
        golden_network_output(t->file, &t->args, &t->tally, path, path, got, wanted.count);
        free(got);
    }
    golden_array_free(&wanted);
}

/* Inference plans: one that reuses memory for the output, one that keeps all for the activations. */
static void check_inference(test *t, const golden_array *x)
{
    test_net net = open_net(t, x, false, false);
    set_input(t, &net, "in/x", "in/constraints");
    DG_CHECK_OK(dg_plan_forward(net.plan, NULL));
    dg_tensor y = dg_plan_output(net.plan);
    float *output = test_net_torch(&net, &y);
    golden_network_output(t->file, &t->args, &t->tally, "out/y (inference plan)", "out/y", output,
                          y.n * dg_tensor_voxels(&y) * y.c);
    free(output);
    test_net_close(&net);
    if (!golden_has(t->file, "out/act")) return;
    net = open_net(t, x, false, true);
    set_input(t, &net, "in/x", "in/constraints");
    DG_CHECK_OK(dg_plan_forward(net.plan, NULL));
    char **names = NULL;
    const int count = golden_children(t->file, "out/act", &names);
    for (int i = 0; i < count; i++) check_activation(t, &net, names[i]);
    golden_names_free(&names, count);
    test_net_close(&net);
}

/* The weights of windows of p voxels, and their sums along an axis, in backend memory. */
static float *axis_weights(test_net *net, int64_t length, int64_t p, double overlap, float **total)
{
    int64_t *starts, count;
    float *g = test_floats(p), *sum = test_floats(length);
    dg_window_importance(p, g);
    DG_CHECK_OK(dg_window_starts(length, p, overlap, &starts, &count));
    for (int64_t w = 0; w < count; w++)
        for (int64_t i = 0; i < p && starts[w] + i < length; i++) sum[starts[w] + i] += g[i];
    float *out = test_buffer(&net->scope, g, p);
    *total = test_buffer(&net->scope, sum, length);
    dg_free(&starts);
    free(g);
    free(sum);
    return out;
}

/* One window of the volume through the network and into the sum. */
static void add_window(test_net *net, const dg_ring *volume, const dg_box *box, const float *const weight[3],
                       dg_ring *sum)
{
    const dg_backend_ops *ops = net->scope.ops;
    dg_tensor input = dg_plan_input(net->plan), y = dg_plan_output(net->plan);
    const dg_windows at = {.start = {{box->start[0], box->start[1], box->start[2]}}};
    dg_window_channels channels = {.from = {0}};
    for (int k = 0; k < (int)input.c; k++) channels.from[k] = k;
    DG_CHECK_OK(ops->window_gather(net->scope.backend, volume, &channels, &at, &input));
    DG_CHECK_OK(dg_plan_forward(net->plan, NULL));
    DG_CHECK_OK(ops->window_blend(net->scope.backend, &y, (const int64_t[3]){1, 1, 1}, &at, weight, 1, sum));
}

static void check_stitch(test *t)
{
    if (!golden_has(t->file, "stitch")) return;
    const int64_t p = (int64_t)golden_attr_or(t->file, "stitch", "patch_size", 16);
    const double overlap = golden_attr_or(t->file, "stitch", "overlap", 8) / (double)p;
    golden_array volume = golden_read_f32(t->file, "stitch/condition"), k = {0};
    if (t->model.constraints > 0) k = golden_read_f32(t->file, "stitch/constraints");
    want_shape(t, "stitch/condition", &volume);
    if (t->model.constraints > 0) golden_want_count(t->file, "stitch/constraints", &k, t->model.constraints);
    const int64_t *n = &volume.shape[2], voxels = n[0] * n[1] * n[2], channels = volume.shape[1];
    const golden_array patch = {.rank = 5, .shape = {1, channels, p, p, p}};
    test_net net = open_net(t, &patch, false, false);
    float *weight[3], *total[3], *nothing = test_floats(channels * p * p * p);
    dg_box *boxes = NULL;
    int64_t count = 0;
    test_net_input(&net, nothing, k.f32);
    for (int a = 0; a < 3; a++) weight[a] = axis_weights(&net, n[a], p, overlap, &total[a]);
    const dg_ring whole = {test_buffer(&net.scope, volume.f32, channels * voxels), channels, n[0], n[1], n[2], n[0]};
    dg_ring sum = {test_buffer(&net.scope, NULL, voxels), 1, n[0], n[1], n[2], n[0]};
    float *out = test_buffer(&net.scope, NULL, voxels);
    DG_CHECK_OK(dg_window_boxes(n, (int64_t[3]){p, p, p}, overlap, &boxes, &count));
    for (int64_t i = 0; i < count; i++) add_window(&net, &whole, &boxes[i], (const float *const *)weight, &sum);
    DG_CHECK_OK(net.scope.ops->window_finish(net.scope.backend, &sum, 0, n[0], (const float *const *)total,
                                             (float)golden_attr_or(t->file, "stitch", "clamp_lo", 0),
                                             (float)golden_attr_or(t->file, "stitch", "clamp_hi", 1.5), out));
    float *got = test_buffer_get(&net.scope, out, voxels);
    golden_network_output(t->file, &t->args, &t->tally, "stitch/pred", "stitch/pred", got, voxels);
    dg_free(&boxes);
    free(got);
    free(nothing);
    golden_array_free(&volume);
    golden_array_free(&k);
    test_net_close(&net);
}

int main(int argc, char **argv)
{
    test t = {.args = golden_parse(argc, argv, "unet_forward_backward.h5")};
    char architecture[GOLDEN_TEXT] = "baseline";
    t.file = golden_open(t.args.path);
    (void)golden_attr_string(t.file, "", "architecture", architecture);
    static const char *const known[] = {"baseline", "wider", "attention_unet", "bottleneck_attn"};
    size_t at = 0;
    while (at < sizeof known / sizeof *known && strcmp(architecture, known[at]) != 0) at++;
    if (at == sizeof known / sizeof *known) {
        printf("skipped: architecture %s is not part of this version\n", architecture);
        golden_close(&t.file);
        return DG_TEST_SKIPPED;
    }
    t.model = read_model(&t);
    golden_array x = golden_read_f32(t.file, "in/x");
    want_shape(&t, "in/x", &x);
    if (golden_has(t.file, "in/target") && golden_has(t.file, "out/loss")) check_training(&t, &x);
    check_inference(&t, &x);
    check_stitch(&t);
    golden_array_free(&x);
    golden_close(&t.file);
    free(t.weights);
    return golden_finish(&t.tally);
}
