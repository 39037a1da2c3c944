/* ctest: libs=golden_io,test_tensor,dg_run,dg_math label=unit timeout=300 args=--backend ref; --backend onednn; ../shared/golden/topo_losses.h5 --backend ref; ../shared/golden/topo_losses.h5 --backend onednn */
/* golden_topo_losses.c - the losses of the surface detection study, value and gradient, alone and together, in the reference
 * tool's own form (compat upstream), its soft skeletons, and its phases as ours. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_distance.h"
#include "dg_loss.h"
#include "dg_loss_window.h"
#include "golden_io.h"
#include "loss_setup.h"
#include "test_tensor.h"

typedef struct test {
    golden *file;
    golden_args args;
    golden_tally tally;
    test_scope scope;
} test;

/* A group's inputs. */
typedef struct group {
    const char *name;
    golden_array logits, prob, label;
    test_shape shape;
    dg_tensor z, own;    /* logits, and the backend's own probabilities of them */
    dg_loss_batch batch; /* the file's probabilities */
} group;

static double setting(test *t, const group *g, const char *loss, const char *name, double fallback)
{
    char path[GOLDEN_TEXT];
    (void)snprintf(path, sizeof path, "%s/out/%s", g->name, loss);
    return golden_attr_or(t->file, path, name, fallback);
}

static float *distances(const group *g)
{
    const int64_t voxels = g->shape.z * g->shape.y * g->shape.x, axes[3] = {g->shape.z, g->shape.y, g->shape.x};
    uint8_t *label = malloc((size_t)voxels);
    float *distance = test_floats(g->shape.n * voxels);
    DG_CHECK(label != NULL);
    for (int64_t n = 0; n < g->shape.n; n++) {
        for (int64_t v = 0; v < voxels; v++) label[v] = g->label.f32[n * voxels + v] > 0;
        DG_CHECK_OK(dg_label_distance(label, NULL, axes, true, 1, distance + n * voxels));
    }
    free(label);
    return distance;
}

static group read_group(test *t, const char *name)
{
    group g = {.name = name,
               .logits = golden_read_f32(t->file, "%s/in/logits", name),
               .prob = golden_read_f32(t->file, "%s/in/prob", name),
               .label = golden_read_f32(t->file, "%s/in/target", name)};
    if (g.logits.rank != 5) golden_reject(t->file, name, "in/logits is not (N,C,D,H,W)");
    /* sums go over D,H,W of each sample and channel */
    g.shape =
        (test_shape){g.logits.shape[0] * g.logits.shape[1], g.logits.shape[2], g.logits.shape[3], g.logits.shape[4], 1};
    golden_want_count(t->file, "in/prob", &g.prob, g.logits.count);
    golden_want_count(t->file, "in/target", &g.label, g.logits.count);
    g.z = test_tensor(&t->scope, DG_F32, g.shape, 0, g.logits.f32);
    g.own = test_tensor(&t->scope, DG_F32, g.shape, 0, NULL);
    DG_CHECK_OK(t->scope.ops->act_forward(t->scope.backend, DG_ACT_SIGMOID, 0, &g.z, &g.own));
    float *distance = distances(&g);
    g.batch.y = test_tensor(&t->scope, DG_F32, g.shape, 0, g.prob.f32);
    g.batch.target = test_tensor(&t->scope, DG_F32, g.shape, 0, g.label.f32);
    g.batch.distance = test_buffer(&t->scope, distance, g.logits.count);
    free(distance);
    return g;
}

/* ---- terms --------------------------------------------------------------------------------------------------------- */

static dg_loss_term term_of(test *t, const group *g, const char *loss, dg_loss_kind kind)
{
    return (dg_loss_term){.kind = kind,
                          .upstream = true,
                          .smooth = (float)setting(t, g, loss, "smooth", 1e-5),
                          .alpha = (float)setting(t, g, loss, "alpha", 0.25),
                          .gamma = (float)setting(t, g, loss, "gamma", 2),
                          .foreground = (float)setting(t, g, loss, "foreground_weight", 1),
                          .background = (float)setting(t, g, loss, "background_weight", 1),
                          .theta0 = (float)setting(t, g, loss, "theta0", 3),
                          .theta = (float)setting(t, g, loss, "theta", 5),
                          .iterations = (int)setting(t, g, loss, "iter", 3),
                          .kernel = (int)setting(t, g, loss, "kernel_size", 3),
                          .least_entropy =
                              (float)setting(t, g, loss, "target_entropy", kind == DG_LOSS_VARIANCE ? 0.5 : 0.3)};
}

static bool config_of(test *t, const group *g, const char *loss, dg_loss_config *config)
{
    *config = (dg_loss_config){.count = 0};
    const bool all = strncmp(loss, "combined", 8) == 0;
    for (int kind = DG_LOSS_DICE; kind <= DG_LOSS_ENTROPY; kind++) {
        const char *name = dg_loss_kind_name((dg_loss_kind)kind);
        const size_t length = strlen(name);
        char weight[GOLDEN_TEXT];
        (void)snprintf(weight, sizeof weight, "%s_weight", name);
        if (!all && (strncmp(loss, name, length) != 0 || (loss[length] != '_' && loss[length] != '\0'))) continue;
        config->weight[config->count] = all ? setting(t, g, loss, weight, 0) : 1;
        config->term[config->count++] = term_of(t, g, loss, (dg_loss_kind)kind);
    }
    return config->count > 0;
}

/* ---- checks -------------------------------------------------------------------------------------------------------- */

static void check_number(test *t, const char *what, double got, double wanted)
{
    if (wanted == 0)
        golden_check(&t->tally, what, "absolute", fabs(got), 1e-7);
    else
        golden_check(&t->tally, what, "relative", fabs(got - wanted) / fabs(wanted), 1e-5);
}

static void check_gradient(test *t, const group *g, const char *loss, const char *leaf, const dg_tensor *dy)
{
    char path[GOLDEN_TEXT];
    (void)snprintf(path, sizeof path, "%s/out/%s/%s", g->name, loss, leaf);
    if (!golden_has(t->file, path)) return;
    golden_array wanted = golden_read_f32(t->file, "%s", path);
    golden_want_count(t->file, path, &wanted, g->logits.count);
    float *got = test_tensor_get(&t->scope, dy);
    const golden_error e = golden_compare(got, wanted.f32, wanted.count);
    if (e.absmax == 0)
        golden_check(&t->tally, path, "max (all are 0)", e.max, 0);
    else
        golden_check(&t->tally, path, "rel-L2", e.rel_l2,
                     fmax(1e-4, 20 * golden_attr_or(t->file, path, "noise_rel_l2", 0)));
    free(got);
    golden_array_free(&wanted);
}

/* Means of the terms over the samples, and dy. */
static double evaluate(test *t, const dg_loss_config *config, const dg_loss_batch *batch, dg_tensor *dy, double *mean)
{
    const int64_t n = batch->y.n;
    dg_loss *loss = NULL;
    double sum = 0, *value = calloc((size_t)(n * config->count), sizeof *value);
    DG_CHECK(value != NULL);
    DG_CHECK_OK(dg_loss_create(config, t->scope.backend, batch, &loss));
    DG_CHECK_OK(dg_loss_set_weights(loss, config->weight, 1.0 / (double)n));
    DG_CHECK_OK(dg_loss_evaluate(loss, batch, dy));
    DG_CHECK_OK(dg_loss_read(loss, value));
    for (int k = 0; k < config->count; k++) {
        mean[k] = 0;
        for (int64_t i = 0; i < n; i++) mean[k] += value[i * config->count + k] / (double)n;
        sum += config->weight[k] * mean[k];
    }
    dg_loss_destroy(&loss);
    free(value);
    return sum;
}

static void check_terms(test *t, const group *g, const char *loss, const dg_loss_config *config, const double *mean,
                        double total)
{
    char path[GOLDEN_TEXT], label[2 * GOLDEN_TEXT];
    double wanted;
    (void)snprintf(path, sizeof path, "%s/out/%s/terms", g->name, loss);
    if (!golden_has(t->file, path)) return;
    for (int k = 0; k <= config->count; k++) {
        const char *name = k < config->count ? dg_loss_kind_name(config->term[k].kind) : "total";
        if (!golden_attr(t->file, path, name, &wanted)) continue;
        (void)snprintf(label, sizeof label, "%s %s", path, name);
        check_number(t, label, k < config->count ? mean[k] : total, wanted);
    }
}

static void check_loss(test *t, const group *g, const char *loss)
{
    char path[GOLDEN_TEXT];
    dg_loss_config config;
    double mean[DG_LOSS_TERMS_MAX];
    if (!config_of(t, g, loss, &config)) {
        printf("%s is no loss of this program\n", loss);
        golden_check(&t->tally, loss, "unknown", 1, 0);
        return;
    }
    dg_tensor dy = test_tensor(&t->scope, DG_F32, g->shape, 0, NULL), dz = dy;
    double total = evaluate(t, &config, &g->batch, &dy, mean);
    (void)snprintf(path, sizeof path, "%s/out/%s/value", g->name, loss);
    golden_array value = golden_read_f64(t->file, "%s", path);
    golden_want_count(t->file, path, &value, 1);
    check_number(t, path, total, value.f64[0]);
    check_terms(t, g, loss, &config, mean, total);
    check_gradient(t, g, loss, "grad_prob", &dy);
    /* through the sigmoid: the backend's probabilities, not the file's, or 1 - p would differ in its last bits */
    dg_loss_batch own = g->batch;
    own.y = g->own;
    total = evaluate(t, &config, &own, &dy, mean);
    (void)snprintf(path, sizeof path, "%s/out/%s/value (of the logits)", g->name, loss);
    check_number(t, path, total, value.f64[0]);
    dz = test_tensor(&t->scope, DG_F32, g->shape, 0, NULL);
    DG_CHECK_OK(t->scope.ops->act_backward(t->scope.backend, DG_ACT_SIGMOID, 0, &g->z, &dy, &dz, false));
    check_gradient(t, g, loss, "grad_logits", &dz);
    golden_array_free(&value);
}

/* ---- skeletons ------------------------------------------------------------------------------------------------------- */

/* The soft skeleton of one sample, voxel by voxel. */
static void thin(dg_skeleton *k, const float *from, float *out)
{
    memcpy(k->eroded, from, (size_t)k->voxels * sizeof *from);
    for (int level = 0; level < k->levels; level++)
        for (int pass = 0; pass < 2; pass++)
            for (int64_t v = 0; v < k->voxels; v++) {
                const int64_t z = v / (k->space.y * k->space.x), y = v / k->space.x % k->space.y, x = v % k->space.x;
                if (pass == 0)
                    dg_skeleton_erode(k, level, z, y, x);
                else
                    dg_skeleton_open(k, level, z, y, x);
            }
    memcpy(out, k->skeleton + (k->levels - 1) * k->voxels, (size_t)k->voxels * sizeof *out);
}

static void check_skeleton(test *t, const group *g, const char *loss, const char *leaf, const float *from)
{
    char path[GOLDEN_TEXT];
    (void)snprintf(path, sizeof path, "%s/out/%s/%s", g->name, loss, leaf);
    if (!golden_has(t->file, path)) return;
    dg_skeleton k = {.space = {g->shape.z, g->shape.y, g->shape.x, NULL},
                     .levels = (int)setting(t, g, loss, "iter", 3) + 1,
                     .voxels = g->shape.z * g->shape.y * g->shape.x};
    float *got = test_floats(g->logits.count), *memory = test_floats((2 * k.levels + 1) * k.voxels);
    k.eroded = memory;
    k.skeleton = memory + (k.levels + 1) * k.voxels;
    k.peak = calloc((size_t)(k.levels * k.voxels), 1);
    k.route = calloc((size_t)(k.levels * k.voxels), sizeof *k.route);
    DG_CHECK(k.peak != NULL && k.route != NULL);
    for (int64_t n = 0; n < g->shape.n; n++) thin(&k, from + n * k.voxels, got + n * k.voxels);
    golden_array wanted = golden_read_f32(t->file, "%s", path);
    golden_want_count(t->file, path, &wanted, g->logits.count);
    const golden_error e = golden_compare(got, wanted.f32, wanted.count);
    /* stored with as few as 13 bits: a relative error of 2^-14 */
    golden_check(&t->tally, path, "max", e.max,
                 fmax(6.2e-5, 20 * golden_attr_or(t->file, path, "noise", 0)) * e.absmax);
    golden_array_free(&wanted);
    free(got);
    free(memory);
    free(k.peak);
    free(k.route);
}

/* ---- phases ---------------------------------------------------------------------------------------------------------- */

/* The file's table of phases as the texts of loss.phases. */
static bool read_phases(test *t, dg_loss_phases *out)
{
    char path[GOLDEN_TEXT], **names = NULL;
    dg_string_list text = {.count = 0};
    const int count = golden_has(t->file, "phases") ? golden_children(t->file, "phases", &names) : 0;
    for (int i = 0; i < count && i < DG_LOSS_PHASES_MAX; i++) {
        (void)snprintf(path, sizeof path, "phases/%s", names[i]);
        int length =
            snprintf(text.value[i], sizeof text.value[i], "%.0f-%.0f", golden_attr_or(t->file, path, "epoch_start", 0),
                     golden_attr_or(t->file, path, "epoch_end", 0));
        for (int kind = DG_LOSS_DICE; kind <= DG_LOSS_ENTROPY; kind++) {
            char weight[GOLDEN_TEXT];
            (void)snprintf(weight, sizeof weight, "%s_weight", dg_loss_kind_name((dg_loss_kind)kind));
            length += snprintf(text.value[i] + length, sizeof text.value[i] - (size_t)length, " %s=%.17g",
                               dg_loss_kind_name((dg_loss_kind)kind), golden_attr_or(t->file, path, weight, 0));
        }
        text.count++;
    }
    golden_names_free(&names, count);
    if (text.count > 0) DG_CHECK_OK(dg_loss_phases_read(&text, 0, 0, out));
    return text.count > 0;
}

/* The weights that the tool's schedule set at an epoch, against ours. */
static void check_phase(test *t, const group *g, const char *loss, const dg_loss_phases *phases)
{
    const double epoch = setting(t, g, loss, "epoch", -1);
    if (strncmp(loss, "combined_phase", 14) != 0 || epoch < 0) return;
    for (int kind = DG_LOSS_DICE; kind <= DG_LOSS_ENTROPY; kind++) {
        char weight[GOLDEN_TEXT], label[2 * GOLDEN_TEXT];
        const dg_loss_course course = dg_loss_phases_course(phases, (dg_loss_kind)kind);
        (void)snprintf(weight, sizeof weight, "%s_weight", dg_loss_kind_name((dg_loss_kind)kind));
        (void)snprintf(label, sizeof label, "%s/out/%s %s at epoch %g", g->name, loss, weight, epoch);
        check_number(t, label, dg_loss_course_factor(&course, epoch), setting(t, g, loss, weight, 0));
    }
}

static void check_group(test *t, const char *name)
{
    char path[GOLDEN_TEXT], **losses = NULL;
    group g = read_group(t, name);
    dg_loss_phases phases;
    const bool phased = read_phases(t, &phases);
    float *own = test_tensor_get(&t->scope, &g.own);
    const golden_error e = golden_compare(own, g.prob.f32, g.prob.count);
    (void)snprintf(path, sizeof path, "%s/in/prob", name);
    golden_check(&t->tally, path, "max", e.max, 1e-6);
    (void)snprintf(path, sizeof path, "%s/out", name);
    const int count = golden_children(t->file, path, &losses);
    for (int i = 0; i < count; i++) {
        check_loss(t, &g, losses[i]);
        if (phased) check_phase(t, &g, losses[i], &phases);
        check_skeleton(t, &g, losses[i], "skel_pred", g.prob.f32);
        check_skeleton(t, &g, losses[i], "skel_target", g.label.f32);
    }
    golden_names_free(&losses, count);
    golden_array_free(&g.logits);
    golden_array_free(&g.prob);
    golden_array_free(&g.label);
    free(own);
    test_scope_clear(&t->scope);
}

int main(int argc, char **argv)
{
    test t = {.args = golden_parse(argc, argv, "topo_losses.h5")};
    t.file = golden_open(t.args.path);
    t.scope = test_scope_open(t.args.backend, 2);
    char **names = NULL;
    const int count = golden_children(t.file, "", &names);
    for (int i = 0; i < count; i++) {
        char path[GOLDEN_TEXT];
        (void)snprintf(path, sizeof path, "%s/in/logits", names[i]);
        if (golden_has(t.file, path)) check_group(&t, names[i]);
    }
    golden_names_free(&names, count);
    golden_close(&t.file);
    test_scope_close(&t.scope);
    return golden_finish(&t.tally);
}
