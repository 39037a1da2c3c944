/* ctest: libs=golden_io,test_net,dg_nn label=unit timeout=300 args=--backend ref; --backend onednn; --backend onednn --dtype bf16 */
/* golden_train.c - whole training runs step by step against PyTorch's: loss, its terms, rate and gradient norm of every
 * step, and the parameters at the end. The losses are the
 * reference tool's own form (compat upstream). SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_loss_weights.h"
#include "dg_optim.h"
#include "golden_network.h"
#include "golden_regions.h"

typedef struct test {
    golden *file;
    golden_args args;
    golden_tally tally;
    const char *group;
    dg_model_config model;
    dg_optim_config optim;
    dg_loss_config loss;
    int64_t steps, batches;
    dg_loss_weights weights;
    float *scale_gy, *coupled; /* backend memory: [n] and [1] */
    uint32_t *regions;         /* backend memory, [n][voxels] */
} test;

static double attribute(test *t, const char *name, double fallback)
{
    return golden_attr_or(t->file, t->group, name, golden_attr_or(t->file, "", name, fallback));
}

static golden_array read_parameter(test *t, const char *when, const char *name)
{
    return golden_read_f32(t->file, "%s/%s/%s", t->group, when, name);
}

static void add_term(test *t, dg_loss_term term, double weight)
{
    t->loss.term[t->loss.count] = term;
    t->loss.weight[t->loss.count++] = weight;
}

/* The terms of the run in the order of the tool's parts, the penalty of negative doses behind them. */
static void read_loss(test *t)
{
    const golden_dvh dvh = {.d95_weight = attribute(t, "d95_weight", 10),
                            .vx_weight = attribute(t, "vx_weight", 2),
                            .dmean_weight = attribute(t, "dmean_weight", 1),
                            .vx_temperature = attribute(t, "vx_temperature", 1),
                            .d95_temperature = attribute(t, "dvh_temperature", 0.1),
                            .bins = (int)attribute(t, "n_bins", 100),
                            .min_voxels = (int)attribute(t, "min_voxels", 100)};
    t->loss = (dg_loss_config){.count = 0};
    add_term(t, (dg_loss_term){.kind = DG_LOSS_MSE}, 1);
    if (attribute(t, "use_gradient_loss", 0) != 0)
        add_term(t, (dg_loss_term){.kind = DG_LOSS_GRADIENT}, attribute(t, "gradient_loss_weight", 0.1));
    if (attribute(t, "use_dvh_loss", 0) != 0)
        add_term(t, golden_dvh_term(&dvh, GOLDEN_RX_GY), attribute(t, "dvh_loss_weight", 0.5));
    if (attribute(t, "use_structure_weighted", 0) != 0)
        add_term(t, golden_structure_term(2, 1.5, 0.5), attribute(t, "structure_weighted_weight", 1));
    if (attribute(t, "use_asymmetric_ptv", 0) != 0)
        add_term(t, golden_asymmetric_term(attribute(t, "underdose_weight", 3) / attribute(t, "overdose_weight", 1)),
                 attribute(t, "asymmetric_ptv_weight", 1));
    add_term(t, (dg_loss_term){.kind = DG_LOSS_NEGATIVE}, attribute(t, "neg_penalty_weight", 0.1));
    t->weights = dg_loss_weights_of(&t->loss);
}

/* The part of a term in the file's alphabetical vectors of log sigmas. */
static int sigma_place(const test *t, int k)
{
    int place = 0;
    const char *mine = golden_part_name(t->loss.term[k].kind);
    for (int i = 0; i < t->loss.count - 1; i++) place += strcmp(golden_part_name(t->loss.term[i].kind), mine) < 0;
    return place;
}

/* The log sigmas of row `row` (0: the start): taken over, or compared. */
static void use_sigmas(test *t, int64_t row, bool start)
{
    char path[GOLDEN_TEXT], label[GOLDEN_TEXT + 64];
    (void)snprintf(path, sizeof path, "%s/out/log_sigma", t->group);
    if (attribute(t, "use_uncertainty_weighting", 0) == 0 || (t->args.bf16 && row > 3)) return;
    golden_array sigma = golden_read_f64(t->file, "%s", path);
    const int parts = t->loss.count - 1;
    golden_want_count(t->file, path, &sigma, (t->steps + 1) * parts);
    for (int k = 0; k < parts; k++) {
        const double wanted = sigma.f64[row * parts + sigma_place(t, k)];
        t->weights.learned[k] = true;
        if (start) t->weights.log_sigma[k] = wanted;
        (void)snprintf(label, sizeof label, "%s row %d %s", path, (int)row, t->weights.name[k]);
        golden_check(&t->tally, label, "relative", fabs(t->weights.log_sigma[k] - wanted) / fmax(fabs(wanted), 0.1),
                     t->args.bf16 ? 5e-2 : 1e-3);
    }
    golden_array_free(&sigma);
}

static void read_config(test *t)
{
    char path[GOLDEN_TEXT];
    golden_array w = read_parameter(t, "init", "enc1.conv1.weight");
    if (w.rank != 5) golden_reject(t->file, t->group, "init/enc1.conv1.weight is not a convolution's weight");
    t->model = (dg_model_config){
        .kind = "unet", .in_channels = w.shape[1], .out_channels = 1, .base_channels = w.shape[0], .levels = 1};
    golden_array_free(&w);
    do {
        (void)snprintf(path, sizeof path, "%s/init/enc%d.conv1.weight", t->group, (int)t->model.levels);
    } while (golden_has(t->file, path) && ++t->model.levels < 16);
    (void)snprintf(path, sizeof path, "%s/init/constraint_mlp.0.weight", t->group);
    if (golden_has(t->file, path)) {
        w = golden_read_f32(t->file, "%s", path);
        t->model.cond_channels = w.shape[0];
        t->model.constraints = w.shape[1];
        golden_array_free(&w);
    }
    t->steps = (int64_t)attribute(t, "steps", 12);
    t->batches = (int64_t)attribute(t, "n_batches", 1);
    if (t->steps < 1 || t->batches < 1) golden_reject(t->file, t->group, "steps and n_batches must be 1 or more");
    read_loss(t);
    const double period = attribute(t, "cosine_T_max", 0);
    t->optim = (dg_optim_config){.kind = DG_OPTIM_ADAMW,
                                 .lr = attribute(t, "learning_rate", attribute(t, "lr", 1e-3)),
                                 .weight_decay = attribute(t, "weight_decay", 1e-2),
                                 .beta1 = attribute(t, "beta1", 0.9),
                                 .beta2 = attribute(t, "beta2", 0.999),
                                 .eps = attribute(t, "adam_eps", 1e-8),
                                 .clip = attribute(t, "clip_norm", 0),
                                 .schedule = period > 0 ? DG_SCHEDULE_COSINE : DG_SCHEDULE_CONSTANT,
                                 .min_lr = attribute(t, "cosine_eta_min", 0),
                                 .total_steps = (int64_t)period};
}

static test_net open_net(test *t)
{
    golden_array x = golden_read_f32(t->file, "batches/0/condition");
    if (x.rank != 5) golden_reject(t->file, "batches/0/condition", "is not (N,C,D,H,W)");
    const dg_plan_config plan = {.n = x.shape[0],
                                 .z = x.shape[2],
                                 .y = x.shape[3],
                                 .x = x.shape[4],
                                 .training = true,
                                 .dtype = t->args.bf16 ? DG_BF16 : DG_F32};
    test_net net = test_net_open(t->args.backend, 2, &t->model, &plan);
    char init[GOLDEN_TEXT];
    (void)snprintf(init, sizeof init, "%s/init", t->group);
    float *flat = golden_network_weights(t->file, init, &net.model->params);
    test_net_weights(&net, flat);
    free(flat);
    golden_array_free(&x);
    return net;
}

/* What the loss is told of a batch: the condition's structures. */
static void set_regions(test *t, test_net *net, const golden_array *x)
{
    const int64_t n = x->shape[0], voxels = x->count / n / x->shape[1];
    const float gy = GOLDEN_RX_GY;
    uint32_t *bits = calloc((size_t)(n * voxels), sizeof *bits);
    DG_CHECK(bits != NULL);
    const float coupled = golden_mark_regions(x->f32, n, x->shape[1], voxels, 0.1f, bits);
    if (t->regions == NULL) {
        t->regions = (uint32_t *)test_buffer(&net->scope, NULL, n * voxels);
        t->coupled = test_buffer(&net->scope, NULL, 1);
        t->scale_gy = test_buffer(&net->scope, NULL, n);
        for (int64_t i = 0; i < n; i++)
            DG_CHECK_OK(net->scope.ops->upload(net->scope.backend, t->scale_gy + i, &gy, sizeof gy));
    }
    DG_CHECK_OK(net->scope.ops->upload(net->scope.backend, t->regions, bits, n * voxels * (int64_t)sizeof *bits));
    DG_CHECK_OK(net->scope.ops->upload(net->scope.backend, t->coupled, &coupled, sizeof coupled));
    net->known = (dg_loss_batch){.regions = t->regions, .scale_gy = t->scale_gy, .coupled_count = t->coupled};
    free(bits);
}

/* Input of a batch: the model's first channels of the condition. */
static void set_batch(test *t, test_net *net, int64_t batch)
{
    golden_array x = golden_read_f32(t->file, "batches/%d/condition", (int)batch), k = {0};
    if (t->model.constraints > 0) k = golden_read_f32(t->file, "batches/%d/constraints", (int)batch);
    const int64_t voxels = x.shape[2] * x.shape[3] * x.shape[4], c = t->model.in_channels;
    const dg_tensor input = dg_plan_input(net->plan);
    if (x.rank != 5 || x.shape[1] < c || x.shape[0] * voxels != input.n * dg_tensor_voxels(&input))
        golden_reject(t->file, "batches/*/condition", "is not of the shape of batches/0 with the model's channels");
    if (t->model.constraints > 0)
        golden_want_count(t->file, "batches/*/constraints", &k, input.n * t->model.constraints);
    float *used = test_floats(x.shape[0] * c * voxels);
    for (int64_t n = 0; n < x.shape[0]; n++)
        memcpy(used + n * c * voxels, x.f32 + n * x.shape[1] * voxels, (size_t)(c * voxels) * sizeof *used);
    test_net_input(net, used, k.f32);
    if (x.shape[1] > GOLDEN_STRUCTURES) set_regions(t, net, &x);
    free(used);
    golden_array_free(&x);
    golden_array_free(&k);
}

/* The deviation relative to the value, or to least_scale where that is larger. */
static void check_step(test *t, const char *what, int64_t step, double got, double least_scale, double f32_tolerance)
{
    char label[GOLDEN_TEXT + 32], path[GOLDEN_TEXT];
    (void)snprintf(path, sizeof path, "%s/out/%s", t->group, what);
    if (!golden_has(t->file, path)) return;
    golden_array wanted = golden_read_f64(t->file, "%s", path);
    golden_want_count(t->file, path, &wanted, t->steps);
    (void)snprintf(label, sizeof label, "%s step %d", path, (int)step);
    const double error = fabs(got - wanted.f64[step]), scale = fmax(fabs(wanted.f64[step]), least_scale);
    golden_array_free(&wanted);
    /* In bf16 the runs part after a few steps; only a trend would remain. */
    if (t->args.bf16 && step >= 3) return;
    golden_check(&t->tally, label, "relative", scale > 0 ? error / scale : error,
                 t->args.bf16 ? fmax(5e-2, f32_tolerance) : f32_tolerance);
}

/* The tool's table of parts: gradient, dvh, structure, asymmetric; 0 of those the run does not use. */
static void check_components(test *t, int64_t step, const double *terms)
{
    static const dg_loss_kind KINDS[] = {DG_LOSS_GRADIENT, DG_LOSS_DVH, DG_LOSS_STRUCTURE, DG_LOSS_ASYMMETRIC};
    enum { PARTS = sizeof KINDS / sizeof *KINDS };
    char path[GOLDEN_TEXT], label[GOLDEN_TEXT + 64];
    (void)snprintf(path, sizeof path, "%s/out/components", t->group);
    if (!golden_has(t->file, path) || (t->args.bf16 && step >= 3)) return;
    golden_array wanted = golden_read_f64(t->file, "%s", path);
    golden_want_count(t->file, path, &wanted, t->steps * PARTS);
    for (int k = 1; k < t->loss.count - 1; k++)
        for (int p = 0; p < PARTS; p++) {
            if (KINDS[p] != t->loss.term[k].kind) continue;
            const double value = wanted.f64[step * PARTS + p];
            (void)snprintf(label, sizeof label, "%s step %d %s", path, (int)step, t->weights.name[k]);
            golden_check(&t->tally, label, "relative", fabs(terms[k] - value) / fmax(fabs(value), 1e-12),
                         t->args.bf16 ? 5e-2 : 1e-3);
        }
    golden_array_free(&wanted);
}

/* The cosine of PyTorch rises again after its period; a schedule of ours ends there. */
static int64_t fold_step(const test *t, int64_t step)
{
    if (t->optim.schedule != DG_SCHEDULE_COSINE) return step;
    const int64_t period = t->optim.total_steps, at = step % (2 * period);
    return at <= period ? at : 2 * period - at;
}

static double run_step(test *t, test_net *net, dg_optim *optim, int64_t step)
{
    golden_array dose = golden_read_f32(t->file, "batches/%d/dose", (int)(step % t->batches));
    double terms[DG_LOSS_TERMS_MAX], norm = 0;
    const double lr = dg_schedule_lr(&t->optim, fold_step(t, step));
    set_batch(t, net, step % t->batches);
    const dg_tensor y = dg_plan_output(net->plan);
    golden_want_count(t->file, "batches/*/dose", &dose, y.n * dg_tensor_voxels(&y) * y.c);
    dg_loss_weights_now(&t->weights, t->loss.weight);
    (void)test_net_step(net, &t->loss, dose.f32, terms);
    const double loss = dg_loss_weights_total(&t->weights, terms);
    golden_array_free(&dose);
    DG_CHECK_OK(dg_optim_step(optim, lr, 1.0, net->weights, net->gradients, &norm));
    DG_CHECK_OK(dg_plan_set_weights(net->plan, net->weights));
    /* Learned weights add log sigmas, which all but cancel the weighted terms at some steps (8.7, -0.19, ..): roundings of bf16
     * lie in the terms, so they count against these and not against the little that is left. */
    double weighted = 0;
    for (int k = 0; k < t->loss.count; k++) weighted += t->loss.weight[k] * terms[k];
    check_step(t, "loss", step, loss, t->args.bf16 ? weighted : 0, 1e-3);
    check_step(t, "mse", step, terms[0], 0, 1e-3);
    /* In bf16 the few voxels below zero come and go: the term counts by what it adds to the loss. */
    check_step(t, "neg_penalty", step, terms[t->loss.count - 1], t->args.bf16 ? fabs(loss) : 0, 1e-3);
    check_components(t, step, terms);
    use_sigmas(t, step + 1, false);
    check_step(t, "lr", step, lr, 0, 1e-9);
    /* The norm holds the noise of null gradients and, in bf16, of early layers. */
    if (!t->args.bf16) check_step(t, "grad_norm", step, norm, 0, 5e-3);
    return loss;
}

static void check_final(test *t, test_net *net)
{
    float *flat = test_buffer_get(&net->scope, net->weights, net->total);
    for (int i = 0; i < net->model->params.count && !t->args.bf16; i++) {
        const dg_param *param = &net->model->params.item[i];
        char path[GOLDEN_TEXT];
        (void)snprintf(path, sizeof path, "%s/final/%s", t->group, param->name);
        if (golden_attr_or(t->file, path, "null_gradient", 0) != 0) continue;
        golden_array wanted = read_parameter(t, "final", param->name);
        golden_want_count(t->file, path, &wanted, param->count);
        float *got = test_floats(param->count);
        dg_param_to_torch(param, flat, got);
        const golden_error e = golden_compare(got, wanted.f32, wanted.count);
        const double tolerance = fmax(0.01 * golden_attr_or(t->file, path, "delta_l2", 0),
                                      20 * golden_attr_or(t->file, path, "delta_noise_l2", 0));
        golden_check(&t->tally, path, "L2", e.l2, tolerance);
        free(got);
        golden_array_free(&wanted);
    }
    free(flat);
}

/* Mean loss of the second half over that of the first. */
static double trend(const double *loss, int64_t steps)
{
    double half[2] = {0};
    for (int64_t i = 0; i < steps / 2; i++) {
        half[0] += loss[i];
        half[1] += loss[steps - 1 - i];
    }
    return half[1] / half[0];
}

/* The loss falls; where PyTorch's own does not, it rises no more than that by a quarter. */
static void check_trend(test *t, const double *losses)
{
    char path[GOLDEN_TEXT];
    (void)snprintf(path, sizeof path, "%s/out/loss", t->group);
    golden_array wanted = golden_read_f64(t->file, "%s", path);
    golden_want_count(t->file, path, &wanted, t->steps);
    golden_check(&t->tally, path, "second half / first half", trend(losses, t->steps),
                 fmax(1, 1.25 * trend(wanted.f64, t->steps)));
    golden_array_free(&wanted);
}

/* The log sigmas stand before what is not learned. */
static dg_optim_scalars learned_scalars(test *t)
{
    int count = 0;
    while (count < t->weights.count && t->weights.learned[count]) count++;
    return (dg_optim_scalars){.count = count, .value = t->weights.log_sigma, .gradient = t->weights.gradient};
}

static void check_trajectory(test *t)
{
    read_config(t);
    test_net net = open_net(t);
    dg_optim *optim = NULL;
    DG_CHECK_OK(dg_optim_create(&t->optim, &net.model->params, net.scope.backend, &optim));
    t->regions = NULL;
    use_sigmas(t, 0, true);
    const dg_optim_scalars scalars = learned_scalars(t);
    dg_optim_attach(optim, &scalars);
    double *losses = calloc((size_t)t->steps, sizeof *losses);
    DG_CHECK(losses != NULL);
    for (int64_t step = 0; step < t->steps; step++) losses[step] = run_step(t, &net, optim, step);
    check_final(t, &net);
    if (t->args.bf16 && t->steps > 1) check_trend(t, losses);
    free(losses);
    dg_optim_destroy(&optim);
    test_net_close(&net);
}

int main(int argc, char **argv)
{
    test t = {.args = golden_parse(argc, argv, "train_trajectory.h5")};
    t.file = golden_open(t.args.path);
    char **names = NULL;
    const int count = golden_children(t.file, "", &names);
    for (int i = 0; i < count; i++) {
        t.group = names[i];
        if (strncmp(names[i], "traj", 4) == 0) check_trajectory(&t);
    }
    golden_names_free(&names, count);
    golden_close(&t.file);
    return golden_finish(&t.tally);
}
