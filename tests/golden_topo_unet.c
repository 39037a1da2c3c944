/* ctest: libs=golden_io,test_net,dg_nn,dg_grid label=unit timeout=300 args=--backend ref; --backend onednn; --backend onednn --dtype bf16; ../shared/golden/topo_unet.h5 --backend ref; ../shared/golden/topo_unet.h5 --backend onednn */
/* golden_topo_unet.c - the topology U-Net against PyTorch's: probability, activations, loss and gradients, a training epoch
 * step by step, the study's stitching and scaling. Shapes, levels and widths come from the file. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_distance.h"
#include "dg_mem.h"
#include "dg_optim.h"
#include "dg_study_tiling.h"
#include "golden_network.h"

typedef struct test {
    golden *file;
    golden_args args;
    golden_tally tally;
    dg_model_config model;
} test;

/* ---- the network --------------------------------------------------------------------------------------------------- */

static dg_model_config read_model(test *t)
{
    dg_model_config model = {.kind = "topology_unet", .levels = 1};
    char path[GOLDEN_TEXT];
    golden_array first = golden_read_f32(t->file, "params/encoders.0.0.weight"),
                 last = golden_read_f32(t->file, "params/output.weight");
    if (first.rank != 5 || last.rank != 5) golden_reject(t->file, "params", "convolutions have weights of five axes");
    model.in_channels = first.shape[1];
    model.base_channels = first.shape[0];
    model.out_channels = last.shape[0];
    golden_array_free(&first);
    golden_array_free(&last);
    do {
        (void)snprintf(path, sizeof path, "params/encoders.%d.0.weight", (int)model.levels - 1);
    } while (golden_has(t->file, path) && ++model.levels < 10);
    return model;
}

static test_net open_net(test *t, const golden_array *x, bool training, bool keep_all)
{
    if (x->rank != 5 || x->shape[1] != t->model.in_channels)
        golden_reject(t->file, "in/x", "is not (N,C,D,H,W) with as many channels as encoders.0.0.weight takes");
    const dg_plan_config plan = {.n = x->shape[0],
                                 .z = x->shape[2],
                                 .y = x->shape[3],
                                 .x = x->shape[4],
                                 .dtype = t->args.bf16 ? DG_BF16 : DG_F32,
                                 .training = training,
                                 .keep_all = keep_all};
    test_net net = test_net_open(t->args.backend, 2, &t->model, &plan);
    float *weights = golden_network_weights(t->file, "params", &net.model->params);
    test_net_weights(&net, weights);
    free(weights);
    return net;
}

static void check_activation(test *t, test_net *net, const char *module)
{
    char path[GOLDEN_TEXT];
    (void)snprintf(path, sizeof path, "out/act/%s", module);
    const dg_tensor value = dg_plan_activation(net->plan, module);
    if (value.data == NULL) {
        printf("%s is no activation of this network\n", module);
        golden_check(&t->tally, path, "missing", 1, 0);
        return;
    }
    dg_tensor dense =
        test_tensor(&net->scope, value.dtype, (test_shape){value.n, value.z, value.y, value.x, value.c}, 0, NULL);
    DG_CHECK_OK(net->scope.ops->copy(net->scope.backend, &value, &dense, false)); /* it may be a slice */
    float *got = test_net_torch(net, &dense);
    golden_array wanted = golden_read_f32(t->file, "%s", path);
    const int64_t sample = dg_tensor_voxels(&value) * value.c; /* the file may hold sample 0 alone */
    golden_network_output(t->file, &t->args, &t->tally, path, path, got,
                          wanted.count == sample ? sample : value.n * sample);
    golden_array_free(&wanted);
    free(got);
}

static void check_inference(test *t, const golden_array *x)
{
    test_net net = open_net(t, x, false, false);
    test_net_input(&net, x->f32, NULL);
    DG_CHECK_OK(dg_plan_forward(net.plan, NULL));
    dg_tensor y = dg_plan_output(net.plan);
    float *output = test_net_torch(&net, &y);
    golden_network_output(t->file, &t->args, &t->tally, "out/prob (inference plan)", "out/prob", output,
                          y.n * dg_tensor_voxels(&y) * y.c);
    free(output);
    test_net_close(&net);
    if (!golden_has(t->file, "out/act")) return;
    net = open_net(t, x, false, true);
    test_net_input(&net, x->f32, NULL);
    DG_CHECK_OK(dg_plan_forward(net.plan, NULL));
    char **names = NULL;
    const int count = golden_children(t->file, "out/act", &names);
    for (int i = 0; i < count; i++) check_activation(t, &net, names[i]);
    golden_names_free(&names, count);
    test_net_close(&net);
}

/* ---- training -------------------------------------------------------------------------------------------------------- */

/* The study's combined loss; weights are the attributes of `path`, else its defaults. */
static dg_loss_config read_loss(test *t, const char *path)
{
    static const double DEFAULT[] = {0.3, 0.15, 0.15, 0.05, 0.05, 0.25, 0.05};
    dg_loss_config config = {.count = 0};
    for (int kind = DG_LOSS_DICE; kind <= DG_LOSS_ENTROPY; kind++) {
        char weight[GOLDEN_TEXT];
        (void)snprintf(weight, sizeof weight, "%s_weight", dg_loss_kind_name((dg_loss_kind)kind));
        config.weight[config.count] = golden_attr_or(t->file, path, weight, DEFAULT[config.count]);
        config.term[config.count++] = (dg_loss_term){.kind = (dg_loss_kind)kind,
                                                     .upstream = true,
                                                     .smooth = 1e-5f,
                                                     .alpha = 0.25f,
                                                     .gamma = 2,
                                                     .foreground = 1,
                                                     .background = 1,
                                                     .theta0 = 3,
                                                     .theta = 5,
                                                     .iterations = 3,
                                                     .kernel = 3,
                                                     .least_entropy = kind == DG_LOSS_VARIANCE ? 0.5f : 0.3f};
    }
    return config;
}

/* Labels above 0 are foreground; their distances go to the loss. The labels as numbers; free(). */
static float *set_label(test *t, test_net *net, const char *path)
{
    golden_array label = golden_read_f32(t->file, "%s", path);
    const dg_tensor y = dg_plan_output(net->plan);
    const int64_t voxels = dg_tensor_voxels(&y), shape[3] = {y.z, y.y, y.x};
    if (y.c != 1) golden_reject(t->file, path, "the loss knows one output channel");
    golden_want_count(t->file, path, &label, y.n * voxels);
    uint8_t *set = malloc((size_t)label.count);
    float *distance = test_floats(label.count);
    DG_CHECK(set != NULL);
    for (int64_t i = 0; i < label.count; i++) label.f32[i] = set[i] = label.f32[i] > 0;
    for (int64_t n = 0; n < y.n; n++)
        DG_CHECK_OK(dg_label_distance(set + n * voxels, NULL, shape, true, 1, distance + n * voxels));
    net->known.distance = test_buffer(&net->scope, distance, label.count);
    free(set);
    free(distance);
    return label.f32;
}

static void check_number(test *t, const char *label, double got, double wanted, double tolerance)
{
    const double error = fabs(got - wanted);
    if (t->args.bf16) tolerance = fmax(5e-2, tolerance);
    if (wanted == 0)
        golden_check(&t->tally, label, "absolute", error, t->args.bf16 ? 1e-3 : 1e-7);
    else
        golden_check(&t->tally, label, "relative", error / fabs(wanted), tolerance);
}

/* The attribute `name` of a group, where it is there. */
static void check_attribute(test *t, const char *path, const char *name, double got, double tolerance)
{
    char label[2 * GOLDEN_TEXT];
    double wanted;
    if (!golden_has(t->file, path) || !golden_attr(t->file, path, name, &wanted)) return;
    (void)snprintf(label, sizeof label, "%s %s", path, name);
    check_number(t, label, got, wanted, tolerance);
}

/* Forward, loss and backward of a training plan. */
static void check_gradients(test *t, const golden_array *x)
{
    if (!golden_has(t->file, "in/target") || !golden_has(t->file, "out/loss")) return;
    const dg_loss_config config = read_loss(t, "");
    test_net net = open_net(t, x, true, false);
    golden_array wanted = golden_read_f64(t->file, "out/loss");
    double mean[DG_LOSS_TERMS_MAX];
    golden_want_count(t->file, "out/loss", &wanted, 1);
    test_net_input(&net, x->f32, NULL);
    float *label = set_label(t, &net, "in/target");
    DG_CHECK_OK(dg_plan_want_input_gradient(net.plan));
    const double loss = test_net_step(&net, &config, label, mean);
    const dg_tensor y = dg_plan_output(net.plan);
    float *output = test_net_torch(&net, &y), *flat = test_buffer_get(&net.scope, net.gradients, net.total);
    golden_network_output(t->file, &t->args, &t->tally, "out/prob", "out/prob", output, dg_tensor_voxels(&y) * y.n);
    check_number(t, "out/loss", loss, wanted.f64[0], 1e-5);
    check_attribute(t, "out/terms", "total", loss, 1e-5);
    for (int k = 0; k < config.count; k++)
        check_attribute(t, "out/terms", dg_loss_kind_name(config.term[k].kind), mean[k], 1e-5);
    for (int i = 0; i < net.model->params.count && golden_has(t->file, "out/grad"); i++)
        golden_network_parameter(t->file, &t->args, &t->tally, &net.model->params.item[i], flat);
    golden_network_input_gradient(t->file, &t->args, &t->tally, &net);
    free(flat);
    free(output);
    free(label);
    golden_array_free(&wanted);
    test_net_close(&net);
}

/* Row `step` of the table of terms: the terms by name, and their weighted sum. */
static void check_step_terms(test *t, int64_t step, int64_t steps, const dg_loss_config *config, const double *mean,
                             double total)
{
    char **names = NULL;
    const int columns = golden_attr_strings(t->file, "train/step_terms", "names", &names);
    golden_array wanted = golden_read_f64(t->file, "train/step_terms");
    golden_want_count(t->file, "train/step_terms", &wanted, steps * columns);
    for (int c = 0; c < columns; c++) {
        char label[2 * GOLDEN_TEXT];
        double got = strcmp(names[c], "total") == 0 ? total : NAN;
        for (int k = 0; k < config->count; k++)
            if (strcmp(names[c], dg_loss_kind_name(config->term[k].kind)) == 0) got = mean[k];
        (void)snprintf(label, sizeof label, "train/step_terms step %d %s", (int)step, names[c]);
        if (!t->args.bf16 || step < 3) check_number(t, label, got, wanted.f64[step * columns + c], 1e-3);
    }
    golden_names_free(&names, columns);
    golden_array_free(&wanted);
}

static void check_final(test *t, test_net *net)
{
    float *flat = test_buffer_get(&net->scope, net->weights, net->total);
    for (int i = 0; i < net->model->params.count && !t->args.bf16 && golden_has(t->file, "train/final"); i++) {
        const dg_param *param = &net->model->params.item[i];
        char path[GOLDEN_TEXT];
        (void)snprintf(path, sizeof path, "train/final/%s", param->name);
        if (golden_attr_or(t->file, path, "null_gradient", 0) != 0) continue;
        golden_array wanted = golden_read_f32(t->file, "%s", path);
        golden_want_count(t->file, path, &wanted, param->count);
        float *got = test_floats(param->count);
        dg_param_to_torch(param, flat, got);
        const golden_error e = golden_compare(got, wanted.f32, wanted.count);
        golden_check(&t->tally, path, "L2", e.l2,
                     fmax(0.01 * golden_attr_or(t->file, path, "delta_l2", 0),
                          20 * golden_attr_or(t->file, path, "delta_noise_l2", 0)));
        free(got);
        golden_array_free(&wanted);
    }
    free(flat);
}

/* What an epoch leaves: means over its steps. */
typedef struct epoch {
    double term[DG_LOSS_TERMS_MAX], total, norm;
} epoch;

static void train_step(test *t, test_net *net, dg_optim *optim, const dg_loss_config *config, int64_t step,
                       int64_t steps, epoch *sum)
{
    char path[GOLDEN_TEXT];
    double mean[DG_LOSS_TERMS_MAX], norm = 0;
    golden_array x = golden_read_f32(t->file, "train/batch%d/image", (int)step);
    const dg_tensor input = dg_plan_input(net->plan);
    golden_want_count(t->file, "train/batch*/image", &x, input.n * dg_tensor_voxels(&input) * input.c);
    (void)snprintf(path, sizeof path, "train/batch%d/label", (int)step);
    test_net_input(net, x.f32, NULL);
    float *label = set_label(t, net, path);
    const double loss = test_net_step(net, config, label, mean);
    DG_CHECK_OK(
        dg_optim_step(optim, golden_attr_or(t->file, "train", "lr", 1e-3), 1.0, net->weights, net->gradients, &norm));
    DG_CHECK_OK(dg_plan_set_weights(net->plan, net->weights));
    for (int k = 0; k < config->count; k++) sum->term[k] += mean[k] / (double)steps;
    sum->total += loss / (double)steps;
    sum->norm += norm / (double)steps;
    if (golden_has(t->file, "train/step_terms")) check_step_terms(t, step, steps, config, mean, loss);
    if (golden_has(t->file, "train/grad_norm") && !t->args.bf16) {
        golden_array wanted = golden_read_f64(t->file, "train/grad_norm");
        golden_want_count(t->file, "train/grad_norm", &wanted, steps);
        (void)snprintf(path, sizeof path, "train/grad_norm step %d", (int)step);
        check_number(t, path, norm, wanted.f64[step], 5e-3);
        golden_array_free(&wanted);
    }
    golden_array_free(&x);
    free(label);
}

static void check_epoch(test *t)
{
    char path[GOLDEN_TEXT];
    int64_t steps = 0;
    epoch sum = {.total = 0};
    do {
        (void)snprintf(path, sizeof path, "train/batch%d/image", (int)steps);
    } while (golden_has(t->file, path) && ++steps < 100000);
    if (steps == 0) return;
    golden_array x = golden_read_f32(t->file, "train/batch0/image");
    test_net net = open_net(t, &x, true, false);
    const dg_loss_config config = read_loss(t, "train");
    const dg_optim_config settings = {.kind = DG_OPTIM_ADAMW,
                                      .lr = golden_attr_or(t->file, "train", "lr", 1e-3),
                                      .weight_decay = golden_attr_or(t->file, "train", "weight_decay", 1e-4),
                                      .beta1 = 0.9,
                                      .beta2 = 0.999,
                                      .eps = 1e-8,
                                      .clip = golden_attr_or(t->file, "train", "clip_norm", 2)};
    dg_optim *optim = NULL;
    DG_CHECK_OK(dg_optim_create(&settings, &net.model->params, net.scope.backend, &optim));
    for (int64_t step = 0; step < steps; step++) train_step(t, &net, optim, &config, step, steps, &sum);
    if (!t->args.bf16) {
        for (int k = 0; k < config.count; k++)
            check_attribute(t, "train/epoch_mean", dg_loss_kind_name(config.term[k].kind), sum.term[k], 1e-3);
        check_attribute(t, "train/epoch_mean", "total", sum.total, 1e-3);
        check_attribute(t, "train/epoch_mean", "avg_gradient_norm", sum.norm, 5e-3);
    }
    check_final(t, &net);
    dg_optim_destroy(&optim);
    golden_array_free(&x);
    test_net_close(&net);
}

/* ---- the study's stitching ----------------------------------------------------------------------------------------- */

static void check_array(test *t, const char *path, const float *got, int64_t count, double tolerance)
{
    golden_array wanted = golden_read_f32(t->file, "%s", path);
    golden_want_count(t->file, path, &wanted, count);
    const golden_error e = golden_compare(got, wanted.f32, wanted.count);
    golden_check(&t->tally, path, "max", e.max, tolerance * e.absmax);
    golden_array_free(&wanted);
}

static void check_normalised(test *t, const golden_array *volume)
{
    if (!golden_has(t->file, "inference/normalized")) return;
    float *values = test_floats(volume->count);
    for (int64_t i = 0; i < volume->count; i++) values[i] = 300.0f * volume->f32[i] + 20.0f;
    DG_CHECK_OK(dg_study_normalise(volume->count, values));
    check_array(t, "inference/normalized", values, volume->count, 1e-6);
    free(values);
}

static void check_positions(test *t, const dg_box *boxes, int64_t count)
{
    if (!golden_has(t->file, "inference/positions")) return;
    golden_array wanted = golden_read_i64(t->file, "inference/positions");
    double differ = wanted.count != 3 * count;
    for (int64_t i = 0; i < wanted.count && wanted.count == 3 * count; i++)
        differ += wanted.i64[i] != boxes[i / 3].start[i % 3];
    golden_check(&t->tally, "inference/positions", "starts that differ", differ, 0);
    golden_array_free(&wanted);
}

/* The file's stand-in of a network: window i is the volume's own values times 1 + 0.1 i. */
static void check_stitching(test *t)
{
    if (!golden_has(t->file, "inference/volume")) return;
    golden_array volume = golden_read_f32(t->file, "inference/volume");
    double size[3];
    if (volume.rank != 3 || golden_attr_list(t->file, "inference", "patch_size", size, 3) != 3)
        golden_reject(t->file, "inference", "wants a volume of three axes and patch_size of three numbers");
    const int64_t patch[3] = {(int64_t)size[0], (int64_t)size[1], (int64_t)size[2]};
    const int64_t voxels = patch[0] * patch[1] * patch[2];
    dg_box *boxes = NULL;
    int64_t count = 0;
    DG_CHECK_OK(dg_study_windows(volume.shape, patch, (int64_t)golden_attr_or(t->file, "inference", "overlap", 0),
                                 &boxes, &count));
    check_positions(t, boxes, count);
    float *weight = test_floats(voxels), *values = test_floats(voxels);
    float *sum = test_floats(volume.count), *total = test_floats(volume.count);
    dg_study_window_weight(patch, weight);
    if (golden_has(t->file, "inference/weight_map")) check_array(t, "inference/weight_map", weight, voxels, 1e-6);
    for (int64_t i = 0; i < count; i++) {
        const int64_t *at = boxes[i].start;
        for (int64_t v = 0; v < voxels; v++) {
            const int64_t z = at[0] + v / (patch[1] * patch[2]), y = at[1] + v / patch[2] % patch[1],
                          x = at[2] + v % patch[2];
            values[v] = volume.f32[(z * volume.shape[1] + y) * volume.shape[2] + x] * (1.0f + 0.1f * (float)i);
        }
        dg_study_window_add(volume.shape, &boxes[i], weight, values, sum, total);
    }
    dg_study_window_finish(volume.count, sum, total);
    if (golden_has(t->file, "inference/stitched")) check_array(t, "inference/stitched", sum, volume.count, 1e-6);
    check_normalised(t, &volume);
    free(weight);
    free(values);
    free(sum);
    free(total);
    dg_free(&boxes);
    golden_array_free(&volume);
}

int main(int argc, char **argv)
{
    test t = {.args = golden_parse(argc, argv, "topo_unet.h5")};
    t.file = golden_open(t.args.path);
    t.model = read_model(&t);
    golden_array x = golden_read_f32(t.file, "in/x");
    check_inference(&t, &x);
    if (strcmp(t.args.backend, "cuda") == 0) {
        printf("not checked on cuda, which lacks the losses of labels: gradients and the training epoch\n");
    } else {
        check_gradients(&t, &x);
        check_epoch(&t);
    }
    check_stitching(&t);
    golden_array_free(&x);
    golden_close(&t.file);
    return golden_finish(&t.tally);
}
