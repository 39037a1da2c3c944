/* ctest: libs=golden_io,test_net,dg_nn,dg_grid label=unit timeout=300 args=--backend ref; --backend onednn; --backend onednn --dtype bf16; ../shared/golden/topo_unet.h5 --backend ref; ../shared/golden/topo_unet.h5 --backend onednn */
/* golden_topo_unet.c - the topology U-Net against PyTorch's: probability, activations, the study's stitching and scaling.
 * Shapes, levels and widths come from the file. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_mem.h"
#include "dg_study_tiling.h"
#include "golden_io.h"
#include "test_net.h"

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

static float *read_weights(test *t, const dg_param_table *table, const char *group)
{
    float *weights = test_floats(table->total);
    for (int i = 0; i < table->count; i++) {
        golden_array a = golden_read_f32(t->file, "%s/%s", group, table->item[i].name);
        golden_want_count(t->file, table->item[i].name, &a, table->item[i].count);
        dg_param_from_torch(&table->item[i], a.f32, weights);
        golden_array_free(&a);
    }
    return weights;
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
    float *weights = read_weights(t, &net.model->params, "params");
    test_net_weights(&net, weights);
    free(weights);
    return net;
}

/* The file says nothing of bf16: 1 % is what PyTorch's autocast does to the dose networks. */
static void check_output(test *t, const char *label, const char *path, const float *got, int64_t count)
{
    golden_array wanted = golden_read_f32(t->file, "%s", path);
    golden_want_count(t->file, path, &wanted, count);
    const golden_error e = golden_compare(got, wanted.f32, wanted.count);
    if (t->args.bf16) {
        golden_check(&t->tally, label, "rel-L2", e.rel_l2, 3 * golden_attr_or(t->file, path, "bf16_rel_l2", 0.01));
    } else {
        const bool rounded = strncmp(path, "out/act/", 8) == 0;
        const double noise = rounded ? golden_attr_or(t->file, path, "noise_rel_l2", 0) : 0;
        golden_check(&t->tally, label, "rel-L2", e.rel_l2, fmax(2e-5, 2 * noise));
        golden_check(&t->tally, label, "max", e.max, 1e-4 * e.absmax);
    }
    golden_array_free(&wanted);
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
    check_output(t, path, path, got, wanted.count == sample ? sample : value.n * sample);
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
    check_output(t, "out/prob (inference plan)", "out/prob", output, y.n * dg_tensor_voxels(&y) * y.c);
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
    check_stitching(&t);
    golden_array_free(&x);
    golden_close(&t.file);
    return golden_finish(&t.tally);
}
