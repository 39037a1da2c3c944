/* ctest: libs=golden_io,test_tensor,dg_nn label=unit timeout=300 args=--backend ref; --backend onednn */
/* golden_losses.c - every loss of the reference study, value and gradient, alone and as its training step weighs them, in the
 * reference tool's own form (compat upstream). SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_loss_weights.h"
#include "golden_io.h"
#include "golden_regions.h"
#include "test_tensor.h"

#include <ctype.h>

enum { TERM_NAMES = 5 };

typedef struct test {
    golden *file;
    golden_args args;
    golden_tally tally;
    test_scope scope;
    char **channel; /* [channels], as in the file: the CT, then structures */
    int channels;
    double rx_gy;
} test;

/* A group's inputs. */
typedef struct group {
    const char *name;
    golden_array pred, target, condition;
    int64_t n, voxels;
    dg_loss_batch batch;
    uint32_t *regions; /* host, [n][voxels] */
    float coupled;     /* voxels in any target, mean over samples */
} group;

static double setting(test *t, const group *g, const char *loss, const char *name, double fallback)
{
    char path[GOLDEN_TEXT];
    (void)snprintf(path, sizeof path, "%s/out/%s", g->name, loss);
    return golden_attr_or(t->file, path, name, fallback);
}

/* ---- regions ------------------------------------------------------------------------------------------------------- */

static void mark(test *t, group *g, float near)
{
    g->coupled = golden_mark_regions(g->condition.f32, g->n, GOLDEN_STRUCTURES + 1, g->voxels, near, g->regions);
    DG_CHECK_OK(t->scope.ops->upload(t->scope.backend, (void *)(uintptr_t)g->batch.regions, g->regions,
                                     g->n * g->voxels * (int64_t)sizeof *g->regions));
}

/* The file's channels in our order; what it lacks is absent: 0. */
static void order_channels(test *t, group *g)
{
    static const char *const NAMES[GOLDEN_STRUCTURES] = {"PTV70",   "PTV56",   "Prostate", "Rectum", "Bladder",
                                                         "Femur_L", "Femur_R", "Bowel",    "PTV50.4"};
    golden_want_count(t->file, "in/condition", &g->condition, g->n * g->voxels * t->channels);
    float *ordered = test_floats(g->n * g->voxels * (GOLDEN_STRUCTURES + 1));
    for (int64_t n = 0; n < g->n; n++)
        for (int k = 0; k < GOLDEN_STRUCTURES; k++)
            for (int c = 1; c < t->channels; c++)
                if (strcmp(t->channel[c], NAMES[k]) == 0)
                    memcpy(ordered + (n * (GOLDEN_STRUCTURES + 1) + k + 1) * g->voxels,
                           g->condition.f32 + (n * t->channels + c) * g->voxels, (size_t)g->voxels * sizeof *ordered);
    free(g->condition.f32);
    g->condition.f32 = ordered;
}

static void upload(test *t, group *g, const float *pred, const float *target)
{
    const test_shape shape = {g->n, g->pred.shape[g->pred.rank - 3], g->pred.shape[g->pred.rank - 2],
                              g->pred.shape[g->pred.rank - 1], 1};
    g->batch.y = test_tensor(&t->scope, DG_F32, shape, 0, pred);
    g->batch.target = test_tensor(&t->scope, DG_F32, shape, 0, target);
    g->batch.regions = (const uint32_t *)test_buffer(&t->scope, NULL, g->n * g->voxels);
    const float *scale = test_buffer(&t->scope, NULL, g->n);
    for (int64_t i = 0; i < g->n; i++) {
        const float gy = (float)t->rx_gy;
        DG_CHECK_OK(t->scope.ops->upload(t->scope.backend, (void *)(uintptr_t)(scale + i), &gy, sizeof gy));
    }
    g->batch.scale_gy = scale;
    mark(t, g, 0.1f);
    g->batch.coupled_count = test_buffer(&t->scope, &g->coupled, 1);
}

static group read_group(test *t, const char *name)
{
    group g = {.name = name,
               .pred = golden_read_f32(t->file, "%s/in/pred", name),
               .target = golden_read_f32(t->file, "%s/in/target", name),
               .condition = golden_read_f32(t->file, "%s/in/condition", name)};
    if (g.pred.rank != 5 || g.pred.shape[1] != 1) golden_reject(t->file, name, "in/pred is not (B,1,Y,X,Z)");
    g.n = g.pred.shape[0];
    g.voxels = g.pred.count / g.n;
    golden_want_count(t->file, "in/target", &g.target, g.pred.count);
    order_channels(t, &g);
    g.regions = calloc((size_t)(g.n * g.voxels), sizeof *g.regions);
    DG_CHECK(g.regions != NULL);
    upload(t, &g, g.pred.f32, g.target.f32);
    return g;
}

static void free_group(group *g)
{
    golden_array_free(&g->pred);
    golden_array_free(&g->target);
    golden_array_free(&g->condition);
    free(g->regions);
}

/* ---- terms --------------------------------------------------------------------------------------------------------- */

static dg_loss_term dvh_term(test *t, const group *g, const char *loss)
{
    const golden_dvh dvh = {.d95_weight = setting(t, g, loss, "d95_weight", 10),
                            .vx_weight = setting(t, g, loss, "vx_weight", 2),
                            .dmean_weight = setting(t, g, loss, "dmean_weight", 1),
                            .vx_temperature = setting(t, g, loss, "vx_temperature", 1),
                            .d95_temperature = setting(t, g, loss, "d95_temperature", 0.1),
                            .bins = (int)setting(t, g, loss, "n_bins", 100),
                            .min_voxels = (int)setting(t, g, loss, "min_voxels", 100)};
    return golden_dvh_term(&dvh, t->rx_gy);
}

/* Names of the goals in the tool's metrics. */
static const char *const GOAL_NAMES[GOLDEN_GOALS] = {"ptv70_d95",   "ptv56_d95",    "ptv504_d95",    "rectum_v70",
                                                     "bladder_v70", "rectum_dmean", "bladder_dmean", "bowel_dmean"};

static dg_loss_term structure_term(test *t, const group *g, const char *loss)
{
    return golden_structure_term(setting(t, g, loss, "ptv_weight", 2), setting(t, g, loss, "oar_boundary_weight", 1.5),
                                 setting(t, g, loss, "background_weight", 0.5));
}

static dg_loss_term asymmetric_term(test *t, const group *g, const char *loss)
{
    return golden_asymmetric_term(setting(t, g, loss, "underdose_weight", 3) /
                                  setting(t, g, loss, "overdose_weight", 1));
}

/* The five parts in the tool's order, and the penalty of negative doses. */
static dg_loss_config step_config(test *t, const group *g, const char *loss)
{
    const bool all = strcmp(loss, "step_mse") != 0;
    const double negative = setting(t, g, loss, "neg_penalty_weight", 0.1);
    dg_loss_config config = {
        .count = 2, .term = {{.kind = DG_LOSS_MSE}, {.kind = DG_LOSS_NEGATIVE}}, .weight = {1, negative}};
    if (!all) return config;
    config = (dg_loss_config){.count = 6,
                              .term = {{.kind = DG_LOSS_MSE},
                                       {.kind = DG_LOSS_GRADIENT},
                                       dvh_term(t, g, loss),
                                       structure_term(t, g, loss),
                                       asymmetric_term(t, g, loss),
                                       {.kind = DG_LOSS_NEGATIVE}},
                              .weight = {1, setting(t, g, loss, "gradient_loss_weight", 0.1),
                                         setting(t, g, loss, "dvh_loss_weight", 0.5),
                                         setting(t, g, loss, "structure_weighted_weight", 1),
                                         setting(t, g, loss, "asymmetric_ptv_weight", 1), negative}};
    return config;
}

static bool starts(const char *text, const char *with) { return strncmp(text, with, strlen(with)) == 0; }

/* Whether `loss` is one this program knows; its terms in *config. */
static bool config_of(test *t, const group *g, const char *loss, dg_loss_config *config)
{
    *config = (dg_loss_config){.count = 1, .weight = {1}};
    if (starts(loss, "gradient"))
        config->term[0].kind = DG_LOSS_GRADIENT;
    else if (starts(loss, "dvh"))
        config->term[0] = dvh_term(t, g, loss);
    else if (starts(loss, "structure"))
        config->term[0] = structure_term(t, g, loss);
    else if (starts(loss, "asymmetric"))
        config->term[0] = asymmetric_term(t, g, loss);
    else if (starts(loss, "step_"))
        *config = step_config(t, g, loss);
    else
        return false;
    return true;
}

/* ---- checks -------------------------------------------------------------------------------------------------------- */

static void check_number(test *t, const char *what, double got, double wanted, double tolerance)
{
    const double error = fabs(got - wanted);
    if (wanted == 0)
        golden_check(&t->tally, what, "absolute", error, 1e-7);
    else
        golden_check(&t->tally, what, "relative", error / fabs(wanted), tolerance);
}

/* The attribute `name` of `path`, where the file has it. */
static void check_attribute(test *t, const char *path, const char *name, double got, double tolerance)
{
    char label[2 * GOLDEN_TEXT];
    double wanted;
    if (!golden_has(t->file, path) || !golden_attr(t->file, path, name, &wanted)) return;
    (void)snprintf(label, sizeof label, "%s %s", path, name);
    check_number(t, label, got, wanted, tolerance);
}

static void check_gradient(test *t, const group *g, const char *loss, const dg_tensor *dy)
{
    char path[GOLDEN_TEXT];
    (void)snprintf(path, sizeof path, "%s/out/%s/grad_pred", g->name, loss);
    if (!golden_has(t->file, path)) return;
    golden_array wanted = golden_read_f32(t->file, "%s", path);
    golden_want_count(t->file, path, &wanted, g->pred.count);
    float *got = test_tensor_get(&t->scope, dy);
    const golden_error e = golden_compare(got, wanted.f32, wanted.count);
    if (e.absmax == 0)
        golden_check(&t->tally, path, "max (all are 0)", e.max, 0);
    else
        golden_check(&t->tally, path, "rel-L2", e.rel_l2,
                     fmax(2e-4, 20 * golden_attr_or(t->file, path, "noise_rel_l2", 0)));
    free(got);
    golden_array_free(&wanted);
}

/* Loss, prediction's and plan's metric of every goal, means over the samples. */
static void check_goals(test *t, const group *g, const char *path, const char *prefix, dg_loss *loss, int k)
{
    static const char *const PARTS[DG_GOAL_VALUES] = {"loss", "pred", "target"};
    const int goals = dg_loss_get_config(loss)->term[k].goals;
    double *value = calloc((size_t)(g->n * goals * DG_GOAL_VALUES), sizeof *value);
    DG_CHECK(value != NULL);
    DG_CHECK_OK(dg_loss_read_goals(loss, k, value));
    for (int i = 0; i < goals * DG_GOAL_VALUES; i++) {
        double mean = 0;
        char name[GOLDEN_TEXT];
        for (int64_t n = 0; n < g->n; n++) mean += value[n * goals * DG_GOAL_VALUES + i] / (double)g->n;
        (void)snprintf(name, sizeof name, "%sdvh.%s_%s", prefix, GOAL_NAMES[i / DG_GOAL_VALUES],
                       PARTS[i % DG_GOAL_VALUES]);
        /* A loss is the small difference of two metrics: their f32 shows in it. */
        check_attribute(t, path, name, mean, i % DG_GOAL_VALUES == 0 ? 1e-3 : 1e-5);
    }
    free(value);
}

/* The tool's weight of every voxel against the term's. */
static void check_weights(test *t, const group *g, const char *loss, const dg_loss_term *term)
{
    char path[GOLDEN_TEXT];
    (void)snprintf(path, sizeof path, "%s/out/%s/weight_map", g->name, loss);
    if (!golden_has(t->file, path)) return;
    golden_array wanted = golden_read_f32(t->file, "%s", path);
    golden_want_count(t->file, path, &wanted, g->pred.count);
    double differ = 0;
    for (int64_t i = 0; i < wanted.count; i++) {
        const uint32_t r = g->regions[i];
        const float w = (r & term->inside) != 0 ? term->weight_inside
                        : (r & term->near) != 0 ? term->weight_near
                                                : term->weight_else;
        differ += w != wanted.f32[i];
    }
    golden_check(&t->tally, path, "voxels of another weight", differ, 0);
    golden_array_free(&wanted);
}

/* The file's vectors of log sigmas are in alphabetical order (PyTorch sorts the parameters); ours is that of step_config. */
static const int SIGMA_AT[TERM_NAMES] = {1, 3, 2, 4, 0};

/* Learned weights: the file's log sigmas; the penalty of negative doses keeps its own. */
static dg_loss_weights weights_of(test *t, const group *g, const char *loss, const dg_loss_config *config)
{
    dg_loss_weights weights = dg_loss_weights_of(config);
    char path[GOLDEN_TEXT];
    (void)snprintf(path, sizeof path, "%s/out/%s/log_sigma", g->name, loss);
    if (!golden_has(t->file, path)) return weights;
    golden_array sigma = golden_read_f64(t->file, "%s", path);
    golden_want_count(t->file, path, &sigma, TERM_NAMES);
    for (int k = 0; k < TERM_NAMES; k++) {
        weights.learned[k] = true;
        weights.log_sigma[k] = sigma.f64[SIGMA_AT[k]];
    }
    golden_array_free(&sigma);
    return weights;
}

static void check_sigma_gradient(test *t, const group *g, const char *loss, const dg_loss_weights *weights)
{
    char path[GOLDEN_TEXT];
    (void)snprintf(path, sizeof path, "%s/out/%s/grad_log_sigma", g->name, loss);
    if (!golden_has(t->file, path)) return;
    golden_array wanted = golden_read_f64(t->file, "%s", path);
    golden_want_count(t->file, path, &wanted, TERM_NAMES);
    double sorted[TERM_NAMES];
    for (int k = 0; k < TERM_NAMES; k++) sorted[SIGMA_AT[k]] = weights->gradient[k];
    const golden_error e = golden_compare_f64(sorted, wanted.f64, TERM_NAMES);
    golden_check(&t->tally, path, "rel-L2", e.rel_l2,
                 fmax(1e-5, 20 * golden_attr_or(t->file, path, "noise_rel_l2", 0)));
    golden_array_free(&wanted);
}

/* Single terms and learned parts as the tool's log has them. */
static void check_logged(test *t, const group *g, const char *loss, const dg_loss_term *kind,
                         const dg_loss_weights *weights, const double *mean)
{
    static const char *const LOGGED[TERM_NAMES] = {"train.mse_loss", "train.grad_loss", "train.dvh_loss",
                                                   "train.struct_weighted_loss", "train.asym_ptv_loss"};
    char path[GOLDEN_TEXT], name[GOLDEN_TEXT];
    double weight[DG_LOSS_TERMS_MAX];
    (void)snprintf(path, sizeof path, "%s/out/%s/logged", g->name, loss);
    dg_loss_weights_now(weights, weight);
    check_attribute(t, path, "train.neg_penalty", mean[weights->count - 1], 1e-5);
    for (int k = 0; k < weights->count - 1; k++) {
        check_attribute(t, path, LOGGED[k], mean[k], 1e-5);
        if (!weights->learned[k]) continue;
        (void)snprintf(name, sizeof name, "train.sigma_%s", golden_part_name(kind[k].kind));
        check_attribute(t, path, name, dg_loss_weights_sigma(weights, k), 1e-5);
        (void)snprintf(name, sizeof name, "train.weighted_%s", golden_part_name(kind[k].kind));
        check_attribute(t, path, name, weight[k] * mean[k] + weights->log_sigma[k], 1e-5);
    }
}

/* Means over the batch of all terms; evaluates the gradient into *dy. */
static dg_loss *evaluate(test *t, const group *g, const dg_loss_config *config, const double *weight, dg_tensor *dy,
                         double mean[DG_LOSS_TERMS_MAX])
{
    dg_loss *loss = NULL;
    double *value = calloc((size_t)(g->n * config->count), sizeof *value);
    DG_CHECK(value != NULL);
    DG_CHECK_OK(dg_loss_create(config, t->scope.backend, &g->batch, &loss));
    DG_CHECK_OK(dg_loss_set_weights(loss, weight, 1.0 / (double)g->n));
    DG_CHECK_OK(dg_loss_evaluate(loss, &g->batch, dy));
    DG_CHECK_OK(dg_loss_read(loss, value));
    for (int k = 0; k < config->count; k++) {
        mean[k] = 0;
        for (int64_t n = 0; n < g->n; n++) mean[k] += value[n * config->count + k] / (double)g->n;
    }
    free(value);
    return loss;
}

static void check_loss(test *t, group *g, const char *name)
{
    dg_loss_config config;
    char path[GOLDEN_TEXT];
    double weight[DG_LOSS_TERMS_MAX], mean[DG_LOSS_TERMS_MAX];
    if (!config_of(t, g, name, &config)) {
        printf("%s/out/%s: not a loss of the reference study, passed over\n", g->name, name);
        return;
    }
    if (starts(name, "structure"))
        mark(t, g, (float)(setting(t, g, name, "boundary_width_mm", 5) / setting(t, g, name, "sdf_clip_mm", 50)));
    dg_tensor dy =
        test_tensor(&t->scope, DG_F32, (test_shape){g->n, g->batch.y.z, g->batch.y.y, g->batch.y.x, 1}, 0, NULL);
    dg_loss_weights weights = weights_of(t, g, name, &config);
    dg_loss_weights_now(&weights, weight);
    dg_loss *loss = evaluate(t, g, &config, weight, &dy, mean);
    const double total = dg_loss_weights_total(&weights, mean);
    (void)snprintf(path, sizeof path, "%s/out/%s/value", g->name, name);
    golden_array wanted = golden_read_f64(t->file, "%s", path);
    golden_want_count(t->file, path, &wanted, 1);
    check_number(t, path, total, wanted.f64[0], 1e-5);
    golden_array_free(&wanted);
    check_gradient(t, g, name, &dy);
    (void)snprintf(path, sizeof path, "%s/out/%s/terms", g->name, name);
    if (starts(name, "dvh")) {
        check_goals(t, g, path, "", loss, 0);
        check_attribute(t, path, "dvh.total_loss", total, 1e-5);
    }
    if (starts(name, "structure")) {
        check_weights(t, g, name, &config.term[0]);
        check_attribute(t, path, "struct_weight.weighted_loss", total, 1e-5);
    }
    if (starts(name, "asymmetric")) {
        check_attribute(t, path, "asym_ptv.loss", total, 1e-5);
        check_attribute(t, path, "asym_ptv.n_ptv_voxels", (double)g->coupled * (double)g->n, 0);
    }
    if (starts(name, "step_")) {
        check_sigma_gradient(t, g, name, &weights);
        check_logged(t, g, name, config.term, &weights, mean);
        (void)snprintf(path, sizeof path, "%s/out/%s/logged", g->name, name);
        check_attribute(t, path, "train.loss", total, 1e-5);
        if (config.count > 2) check_goals(t, g, path, "train.", loss, 2);
    }
    dg_loss_destroy(&loss);
}

/* Mean absolute errors of the validation step: the masked mean absolute error is that of a region. */
static void check_validation(test *t, group *g)
{
    const struct {
        const char *name;
        uint32_t region;
    } mae[] = {{"val.mae_gy", 0}, {"val.mae_gy_ptv70", 1u << GOLDEN_PTV70}, {"val.mae_gy_oar", GOLDEN_ORGANS}};
    char path[GOLDEN_TEXT];
    (void)snprintf(path, sizeof path, "%s/out/validation", g->name);
    if (!golden_has(t->file, path)) (void)snprintf(path, sizeof path, "%s/validation", g->name);
    const dg_loss_config config = {.count = 1, .term = {{.kind = DG_LOSS_MAE}}, .weight = {1}};
    for (size_t i = 0; i < sizeof mae / sizeof *mae; i++) {
        /* all voxels of the batch together, as one sample */
        group whole = *g;
        whole.n = 1;
        whole.batch.y.z *= g->n;
        whole.batch.target.z *= g->n;
        whole.batch.y.n = whole.batch.target.n = 1;
        whole.batch.regions = NULL;
        uint8_t *mask = malloc((size_t)(g->n * g->voxels));
        DG_CHECK(mask != NULL);
        for (int64_t v = 0; v < g->n * g->voxels; v++)
            mask[v] = mae[i].region == 0 || (g->regions[v] & mae[i].region) != 0;
        uint8_t *device = (uint8_t *)test_buffer(&t->scope, NULL, (g->n * g->voxels + 3) / 4);
        DG_CHECK_OK(t->scope.ops->upload(t->scope.backend, device, mask, g->n * g->voxels));
        whole.batch.mask = device;
        double mean[DG_LOSS_TERMS_MAX];
        dg_loss *loss = evaluate(t, &whole, &config, config.weight, NULL, mean);
        check_attribute(t, path, mae[i].name, t->rx_gy * mean[0], 1e-5);
        dg_loss_destroy(&loss);
        free(mask);
    }
}

static void check_group(test *t, const char *name)
{
    char path[GOLDEN_TEXT], **losses = NULL;
    group g = read_group(t, name);
    (void)snprintf(path, sizeof path, "%s/out", name);
    const int count = golden_children(t->file, path, &losses);
    for (int i = 0; i < count; i++)
        if (strcmp(losses[i], "validation") != 0) check_loss(t, &g, losses[i]);
    check_validation(t, &g);
    golden_names_free(&losses, count);
    free_group(&g);
    test_scope_clear(&t->scope);
}

/* Raw losses of predictions that are the plan with noise, and the log sigmas they start from. */
static void check_calibration(test *t)
{
    static const char *const NAMES[TERM_NAMES] = {"base", "gradient", "dvh", "structure", "asymmetric"};
    const int samples = (int)golden_attr_or(t->file, "calibration", "samples", 0);
    double range[2] = {1e-4, 1e4}, sum[TERM_NAMES] = {0};
    const double noise_scale = golden_attr_or(t->file, "calibration", "noise_std_normalized", 5.0 / 70.0);
    (void)golden_attr_list(t->file, "calibration", "clamp_avg", range, 2);
    for (int s = 0; s < samples; s++) {
        group g = {.name = "calibration",
                   .pred = golden_read_f32(t->file, "calibration/in/noise%d", s),
                   .target = golden_read_f32(t->file, "calibration/in/target%d", s),
                   .condition = golden_read_f32(t->file, "calibration/in/condition%d", s),
                   .n = 1};
        g.voxels = g.pred.count;
        golden_want_count(t->file, "calibration/in/target*", &g.target, g.voxels);
        order_channels(t, &g);
        g.regions = calloc((size_t)g.voxels, sizeof *g.regions);
        DG_CHECK(g.regions != NULL);
        for (int64_t i = 0; i < g.voxels; i++) g.pred.f32[i] = g.target.f32[i] + (float)noise_scale * g.pred.f32[i];
        upload(t, &g, g.pred.f32, g.target.f32);
        dg_loss_config config = step_config(t, &g, "calibration");
        config.count = TERM_NAMES;
        double mean[DG_LOSS_TERMS_MAX];
        dg_loss *loss = evaluate(t, &g, &config, config.weight, NULL, mean);
        for (int k = 0; k < TERM_NAMES; k++) sum[k] += mean[k] / samples;
        dg_loss_destroy(&loss);
        free_group(&g);
        test_scope_clear(&t->scope);
    }
    for (int k = 0; k < TERM_NAMES; k++) {
        check_attribute(t, "calibration/out/avg_raw_losses", NAMES[k], sum[k], 1e-5);
        check_attribute(t, "calibration/out/initial_log_sigma", NAMES[k],
                        dg_loss_weights_start(sum[k], range[0], range[1]), 1e-5);
    }
}

/* The tool's soft D95 of a uniform dose: half of it. */
static void check_uniform(test *t)
{
    enum { SIDE = 10 };
    golden_array dose = golden_read_f32(t->file, "uniform_d95/dose"),
                 wanted = golden_read_f32(t->file, "uniform_d95/soft_d95");
    golden_want_count(t->file, "uniform_d95/soft_d95", &wanted, dose.count);
    golden_array shape = {.rank = 3, .shape = {SIDE, SIDE, SIDE}, .count = SIDE * SIDE * SIDE};
    float *got = test_floats(dose.count);
    for (int64_t i = 0; i < dose.count; i++) {
        group g = {.name = "uniform_d95", .pred = shape, .n = 1, .voxels = shape.count};
        g.condition.f32 = calloc((size_t)((GOLDEN_STRUCTURES + 1) * g.voxels), sizeof(float));
        g.regions = calloc((size_t)g.voxels, sizeof *g.regions);
        g.pred.f32 = test_floats(g.voxels);
        DG_CHECK(g.condition.f32 != NULL && g.regions != NULL);
        for (int64_t v = 0; v < g.voxels; v++) {
            g.pred.f32[v] = dose.f32[i];
            for (int c = 1; c <= GOLDEN_STRUCTURES; c++) g.condition.f32[c * g.voxels + v] = -1;
        }
        upload(t, &g, g.pred.f32, g.pred.f32);
        dg_loss_config config = {.count = 1, .term = {dvh_term(t, &g, "dvh")}, .weight = {1}};
        double mean[DG_LOSS_TERMS_MAX], goal[DG_LOSS_GOALS_MAX * DG_GOAL_VALUES];
        dg_loss *loss = evaluate(t, &g, &config, config.weight, NULL, mean);
        DG_CHECK_OK(dg_loss_read_goals(loss, 0, goal));
        got[i] = (float)goal[1];
        dg_loss_destroy(&loss);
        free(g.condition.f32);
        free(g.pred.f32);
        free(g.regions);
        test_scope_clear(&t->scope);
    }
    const golden_error e = golden_compare(got, wanted.f32, dose.count);
    golden_check(&t->tally, "uniform_d95/soft_d95", "max", e.max, 1e-5 * e.absmax);
    free(got);
    golden_array_free(&dose);
    golden_array_free(&wanted);
}

int main(int argc, char **argv)
{
    test t = {.args = golden_parse(argc, argv, "losses.h5")};
    t.file = golden_open(t.args.path);
    t.scope = test_scope_open(t.args.backend, 2);
    t.rx_gy = golden_attr_or(t.file, "", "rx_dose_gy", 70);
    t.channels = golden_attr_strings(t.file, "", "channels", &t.channel);
    if (t.channels < 2) golden_reject(t.file, "", "channels does not list CT and structures");
    char **names = NULL;
    const int count = golden_children(t.file, "", &names);
    for (int i = 0; i < count; i++) {
        char path[GOLDEN_TEXT];
        (void)snprintf(path, sizeof path, "%s/in/pred", names[i]);
        if (golden_has(t.file, path)) check_group(&t, names[i]);
    }
    if (golden_has(t.file, "calibration/in")) check_calibration(&t);
    if (golden_has(t.file, "uniform_d95/dose")) check_uniform(&t);
    golden_names_free(&names, count);
    golden_names_free(&t.channel, t.channels);
    test_scope_close(&t.scope);
    golden_close(&t.file);
    return golden_finish(&t.tally);
}
