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

/* Our number of a channel, or -1. */
static int structure_of(const char *channel)
{
    static const char *const NAMES[GOLDEN_STRUCTURES] = {"PTV70",   "PTV56",   "Prostate", "Rectum", "Bladder",
                                                         "Femur_L", "Femur_R", "Bowel",    "PTV50.4"};
    for (int k = 0; k < GOLDEN_STRUCTURES; k++)
        if (strcmp(NAMES[k], channel) == 0) return k;
    return -1;
}

/* The file's channels in our order; what it lacks is absent: 0. */
static void order_channels(test *t, group *g)
{
    golden_want_count(t->file, "in/condition", &g->condition, g->n * g->voxels * t->channels);
    float *ordered = test_floats(g->n * g->voxels * (GOLDEN_STRUCTURES + 1));
    for (int64_t n = 0; n < g->n; n++)
        for (int c = 1, k; c < t->channels; c++)
            if ((k = structure_of(t->channel[c])) >= 0)
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
    const double negative = setting(t, g, loss, "neg_penalty_weight", 0.1);
    const dg_loss_config base = {.count = 2,
                                 .term = {{.kind = DG_LOSS_MSE}, {.kind = DG_LOSS_NEGATIVE}},
                                 .weight = {1, negative}},
                         all = {.count = 6,
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
    return strcmp(loss, "step_mse") == 0 ? base : all;
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
    else if (starts(loss, "asymmetric")) { /* ours is relative to the weight of overdosage */
        config->term[0] = asymmetric_term(t, g, loss);
        config->weight[0] = setting(t, g, loss, "overdose_weight", 1);
    } else if (starts(loss, "step_"))
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

/* What the file says of a dataset's size; big results are stored with 13 bits and more. */
static void check_absmax(test *t, const char *path, double absmax) { check_attribute(t, path, "absmax", absmax, 1e-4); }

static void check_gradient(test *t, const group *g, const char *loss, const dg_tensor *dy)
{
    char path[GOLDEN_TEXT];
    (void)snprintf(path, sizeof path, "%s/out/%s/grad_pred", g->name, loss);
    if (!golden_has(t->file, path)) return;
    golden_array wanted = golden_read_f32(t->file, "%s", path);
    golden_want_count(t->file, path, &wanted, g->pred.count);
    float *got = test_tensor_get(&t->scope, dy);
    const golden_error e = golden_compare(got, wanted.f32, wanted.count);
    const double noise = golden_attr_or(t->file, path, "noise_rel_l2", 0);
    if (e.absmax == 0)
        golden_check(&t->tally, path, "max (all are 0)", e.max, 0);
    else
        golden_check(&t->tally, path, "rel-L2", e.rel_l2, fmax(2e-4, 20 * noise));
    check_absmax(t, path, e.absmax);
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
        double mean = 0, metric = 0, tolerance = 1e-5;
        const int part = i % DG_GOAL_VALUES;
        char name[GOLDEN_TEXT];
        for (int64_t n = 0; n < g->n; n++) {
            mean += value[n * goals * DG_GOAL_VALUES + i] / (double)g->n;
            metric += value[n * goals * DG_GOAL_VALUES + i - part + 1] / (double)g->n;
        }
        /* A loss is the small difference of two metrics: their f32 shows in it. */
        if (part == 0) tolerance = fmin(1e-3, fmax(1e-5, 1e-6 * metric / fmax(mean, 1e-30)));
        (void)snprintf(name, sizeof name, "%sdvh.%s_%s", prefix, GOAL_NAMES[i / DG_GOAL_VALUES], PARTS[part]);
        check_attribute(t, path, name, mean, tolerance);
    }
    free(value);
}

static float weight_of(const dg_loss_term *term, uint32_t region)
{
    if ((region & term->inside) != 0) return term->weight_inside;
    return (region & term->near) != 0 ? term->weight_near : term->weight_else;
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
    for (int64_t i = 0; i < wanted.count; i++) differ += weight_of(term, g->regions[i]) != wanted.f32[i];
    golden_check(&t->tally, path, "voxels of another weight", differ, 0);
    golden_array_free(&wanted);
}

/* ---- statistics that the tool only logs --------------------------------------------------------------------------- */

static void check_named(test *t, const char *path, const char *prefix, const char *name, double got, double tolerance)
{
    char full[GOLDEN_TEXT];
    (void)snprintf(full, sizeof full, "%s%s", prefix, name);
    check_attribute(t, path, full, got, tolerance);
}

/* Mean squared error over the voxels of the batch whose regions have a bit of `any` (or none, for `outside`). */
static void check_part_mse(test *t, const group *g, const char *path, const char *prefix, const char *name,
                           uint32_t any, bool outside)
{
    double sum = 0, count = 0;
    for (int64_t i = 0; i < g->n * g->voxels; i++) {
        const double e = (double)g->pred.f32[i] - g->target.f32[i];
        if (((g->regions[i] & any) != 0) == outside) continue;
        sum += e * e;
        count++;
    }
    if (count > 0) check_named(t, path, prefix, name, sum / count, 1e-5);
}

/* The tool's parts are not those of its weights: no PTV50.4, no femurs, and the prostate is not background. */
static void check_structure_parts(test *t, const group *g, const char *path, const char *prefix,
                                  const dg_loss_term *term, double loss)
{
    const uint32_t targets = 1u << GOLDEN_PTV70 | 1u << GOLDEN_PTV56,
                   organs = 1u << GOLDEN_RECTUM | 1u << GOLDEN_BLADDER | 1u << GOLDEN_BOWEL;
    double weight = 0;
    for (int64_t i = 0; i < g->n * g->voxels; i++) weight += weight_of(term, g->regions[i]);
    check_part_mse(t, g, path, prefix, "struct_weight.ptv_mse", targets, false);
    check_part_mse(t, g, path, prefix, "struct_weight.oar_mse", organs, false);
    check_part_mse(t, g, path, prefix, "struct_weight.background_mse", targets | organs | 1u << GOLDEN_PROSTATE, true);
    check_named(t, path, prefix, "struct_weight.mean_weight", weight / (double)(g->n * g->voxels), 1e-5);
    check_named(t, path, prefix, "struct_weight.weighted_loss", loss, 1e-5);
}

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The tool's D95 over all samples together: the dose that int(0.95 n) of the n voxels in a target exceed, in Gy as f32. */
static double sorted_d95(const test *t, const group *g, const float *dose, int64_t inside)
{
    float *gy = test_floats(inside);
    int64_t n = 0;
    for (int64_t i = 0; i < g->n * g->voxels; i++)
        if ((g->regions[i] & GOLDEN_TARGETS) != 0) gy[n++] = dose[i] * (float)t->rx_gy;
    qsort(gy, (size_t)n, sizeof *gy, by_value);
    const double d95 = gy[n - 1 - (int64_t)(0.95 * (double)n)];
    free(gy);
    return d95;
}

static void check_target_errors(test *t, const group *g, const char *path, const char *prefix, int64_t inside)
{
    double sum = 0, magnitude = 0, low = INFINITY, high = -INFINITY, under = 0;
    int64_t unders = 0;
    for (int64_t i = 0; i < g->n * g->voxels; i++) {
        if ((g->regions[i] & GOLDEN_TARGETS) == 0) continue;
        const double gy = ((double)g->pred.f32[i] - g->target.f32[i]) * t->rx_gy;
        sum += gy;
        magnitude += fabs(gy);
        low = fmin(low, gy);
        high = fmax(high, gy);
        if (gy >= 0) continue;
        under += gy;
        unders++;
    }
    /* Errors of both signs cancel in their mean; what f32 loses of them does not. */
    check_named(t, path, prefix, "asym_ptv.mean_error_gy", sum / (double)inside,
                fmax(1e-5, 2e-7 * magnitude / fmax(fabs(sum), 1e-30)));
    check_named(t, path, prefix, "asym_ptv.min_error_gy", low, 1e-5);
    check_named(t, path, prefix, "asym_ptv.max_error_gy", high, 1e-5);
    if (unders == 0) return;
    check_named(t, path, prefix, "asym_ptv.underdose_mean_gy", under / (double)unders, 1e-5);
    check_named(t, path, prefix, "asym_ptv.underdose_fraction", (double)unders / (double)inside, 1e-5);
}

static void check_targets(test *t, const group *g, const char *path, const char *prefix, double loss)
{
    int64_t inside = 0;
    for (int64_t i = 0; i < g->n * g->voxels; i++) inside += (g->regions[i] & GOLDEN_TARGETS) != 0;
    check_named(t, path, prefix, "asym_ptv.loss", loss, 1e-5);
    check_named(t, path, prefix, "asym_ptv.n_ptv_voxels", (double)inside, 0);
    if (inside == 0) return;
    const double pred = sorted_d95(t, g, g->pred.f32, inside), target = sorted_d95(t, g, g->target.f32, inside);
    check_target_errors(t, g, path, prefix, inside);
    check_named(t, path, prefix, "asym_ptv.pred_d95_gy", pred, 1e-5);
    check_named(t, path, prefix, "asym_ptv.target_d95_gy", target, 1e-5);
    check_named(t, path, prefix, "asym_ptv.d95_gap_gy", target - pred, 1e-5);
}

/* All that the tool logs of one term, as `PREFIXname` attributes of `path`. */
static void check_term(test *t, const group *g, const char *path, const char *prefix, dg_loss *loss, int k, double mean)
{
    const dg_loss_term *term = &dg_loss_get_config(loss)->term[k];
    if (term->kind == DG_LOSS_DVH) {
        check_goals(t, g, path, prefix, loss, k);
        check_named(t, path, prefix, "dvh.total_loss", mean, 1e-5);
    }
    if (term->kind == DG_LOSS_STRUCTURE) check_structure_parts(t, g, path, prefix, term, mean);
    if (term->kind == DG_LOSS_ASYMMETRIC) check_targets(t, g, path, prefix, mean);
}

/* ---- steps --------------------------------------------------------------------------------------------------------- */

/* The file's vectors of log sigmas are in alphabetical order (PyTorch sorts the parameters); ours is that of step_config. */
static const int SIGMA_AT[TERM_NAMES] = {1, 3, 2, 4, 0};

/* The names beside the log sigmas are the five parts, in the tool's order of adding them and not in that of the values. */
static void check_sigma_names(test *t, const char *path)
{
    static const dg_loss_kind KINDS[TERM_NAMES] = {DG_LOSS_MSE, DG_LOSS_GRADIENT, DG_LOSS_DVH, DG_LOSS_STRUCTURE,
                                                   DG_LOSS_ASYMMETRIC};
    char **names = NULL;
    const int count = golden_attr_strings(t->file, path, "names", &names);
    int differ = count == 0 ? 0 : abs(count - TERM_NAMES);
    for (int i = 0; i < count && i < TERM_NAMES; i++) differ += strcmp(names[i], golden_part_name(KINDS[i])) != 0;
    golden_check(&t->tally, path, "other names", differ, 0);
    golden_names_free(&names, count);
}

/* Learned weights: the file's log sigmas; the penalty of negative doses keeps its own. */
static dg_loss_weights weights_of(test *t, const group *g, const char *loss, const dg_loss_config *config)
{
    dg_loss_weights weights = dg_loss_weights_of(config);
    char path[GOLDEN_TEXT];
    (void)snprintf(path, sizeof path, "%s/out/%s/log_sigma", g->name, loss);
    if (!golden_has(t->file, path)) return weights;
    golden_array sigma = golden_read_f64(t->file, "%s", path);
    golden_want_count(t->file, path, &sigma, TERM_NAMES);
    check_sigma_names(t, path);
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
    check_absmax(t, path, e.absmax);
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

static void check_value(test *t, const char *path, double total)
{
    golden_array wanted = golden_read_f64(t->file, "%s", path);
    golden_want_count(t->file, path, &wanted, 1);
    check_number(t, path, total, wanted.f64[0], 1e-5);
    (void)golden_attr_or(t->file, path, "noise_rel_l2", 0); /* far below what is allowed */
    check_absmax(t, path, fabs(wanted.f64[0]));
    golden_array_free(&wanted);
}

/* The mean of |S d - S t| with the file's own Sobel kernels is the gradient loss: they are the ones we have. */
static void check_sobel(test *t, const group *g, double value)
{
    if (!golden_has(t->file, "sobel")) return;
    golden_array kernel = golden_read_f32(t->file, "sobel");
    golden_want_count(t->file, "sobel", &kernel, 3 * 27);
    const int64_t *shape = g->pred.shape + g->pred.rank - 3;
    double sum = 0;
    for (int64_t i = 0; i < g->n * g->voxels * 3; i++) {
        const int64_t v = i / 3, at[3] = {v / (shape[1] * shape[2]) % shape[0], v / shape[2] % shape[1], v % shape[2]};
        double response = 0;
        for (int k = 0; k < 27; k++) {
            const int64_t step[3] = {k / 9 - 1, k / 3 % 3 - 1, k % 3 - 1};
            bool inside = true;
            for (int a = 0; a < 3; a++) inside = inside && at[a] + step[a] >= 0 && at[a] + step[a] < shape[a];
            if (!inside) continue;
            const int64_t u = v + (step[0] * shape[1] + step[1]) * shape[2] + step[2];
            response += (double)kernel.f32[i % 3 * 27 + k] * ((double)g->pred.f32[u] - g->target.f32[u]);
        }
        sum += fabs(response);
    }
    char label[GOLDEN_TEXT];
    (void)snprintf(label, sizeof label, "sobel, over %s", g->name);
    check_number(t, label, value, sum / (double)(g->n * g->voxels * 3), 1e-5);
    golden_array_free(&kernel);
}

static void check_loss(test *t, group *g, const char *name)
{
    dg_loss_config config;
    char path[GOLDEN_TEXT];
    double weight[DG_LOSS_TERMS_MAX], mean[DG_LOSS_TERMS_MAX];
    if (!config_of(t, g, name, &config)) return; /* golden_check_all_read names it */
    const double clip = golden_attr_or(t->file, "", "sdf_clip_mm", 50);
    mark(t, g, (float)(setting(t, g, name, "boundary_width_mm", 5) / setting(t, g, name, "sdf_clip_mm", clip)));
    dg_tensor dy =
        test_tensor(&t->scope, DG_F32, (test_shape){g->n, g->batch.y.z, g->batch.y.y, g->batch.y.x, 1}, 0, NULL);
    dg_loss_weights weights = weights_of(t, g, name, &config);
    dg_loss_weights_now(&weights, weight);
    dg_loss *loss = evaluate(t, g, &config, weight, &dy, mean);
    const double total = dg_loss_weights_total(&weights, mean);
    (void)snprintf(path, sizeof path, "%s/out/%s/value", g->name, name);
    check_value(t, path, total);
    check_gradient(t, g, name, &dy);
    if (config.term[0].kind == DG_LOSS_GRADIENT) check_sobel(t, g, total);
    if (config.term[0].kind == DG_LOSS_STRUCTURE) check_weights(t, g, name, &config.term[0]);
    if (starts(name, "step_")) {
        check_sigma_gradient(t, g, name, &weights);
        check_logged(t, g, name, config.term, &weights, mean);
        (void)snprintf(path, sizeof path, "%s/out/%s/logged", g->name, name);
        check_attribute(t, path, "train.loss", total, 1e-5);
        for (int k = 0; k < config.count; k++) check_term(t, g, path, "train.", loss, k, mean[k]);
    } else {
        (void)snprintf(path, sizeof path, "%s/out/%s/terms", g->name, name);
        check_term(t, g, path, "", loss, 0, total);
        (void)snprintf(path, sizeof path, "%s/out/%s/terms_f64", g->name, name);
        check_term(t, g, path, "", loss, 0, total);
    }
    dg_loss_destroy(&loss);
}

/* The loss of the validation step and what it logs of the terms. */
static void check_validation_terms(test *t, const group *g, const char *path)
{
    const dg_loss_config config = {
        .count = 3,
        .term = {{.kind = DG_LOSS_MSE}, dvh_term(t, g, "validation"), asymmetric_term(t, g, "validation")},
        .weight = {1, 1, 1}};
    double mean[DG_LOSS_TERMS_MAX];
    dg_loss *loss = evaluate(t, g, &config, config.weight, NULL, mean);
    check_attribute(t, path, "val.loss", mean[0], 1e-5);
    for (int k = 1; k < config.count; k++) check_term(t, g, path, "val.", loss, k, mean[k]);
    dg_loss_destroy(&loss);
}

/* Voxels of every structure, in the order of the file's channels. */
static void check_voxel_counts(test *t, const group *g)
{
    const int structures = t->channels - 1;
    const int64_t cells = g->n * structures;
    double *wanted = calloc((size_t)cells, sizeof *wanted);
    DG_CHECK(wanted != NULL);
    if (golden_attr_list(t->file, g->name, "n_voxels", wanted, (int)cells) == (int)cells) {
        double differ = 0;
        for (int64_t i = 0; i < cells; i++) {
            const int k = structure_of(t->channel[i % structures + 1]);
            double got = 0;
            for (int64_t v = 0; k >= 0 && v < g->voxels; v++)
                got += (g->regions[i / structures * g->voxels + v] >> k & 1) != 0;
            differ += k >= 0 && got != wanted[i];
        }
        golden_check(&t->tally, g->name, "n_voxels that differ", differ, 0);
    }
    free(wanted);
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
    check_validation_terms(t, g, path);
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
    check_voxel_counts(t, &g);
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
    check_attribute(t, "calibration", "noise_std_gy", noise_scale * t->rx_gy, 1e-5);
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
    /* The voxels' size is in the distances already; the absolute noise is in noise_rel_l2. */
    static const char *const NOTES[] = {"noise", "spacing_mm", NULL};
    golden_check_all_read(t.file, &t.tally, NOTES);
    golden_names_free(&names, count);
    golden_names_free(&t.channel, t.channels);
    test_scope_close(&t.scope);
    golden_close(&t.file);
    return golden_finish(&t.tally);
}
