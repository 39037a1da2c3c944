/* ctest: libs=golden_io,test_net,dg_nn label=unit timeout=300 args=--backend onednn; --backend onednn --dtype bf16 */
/* golden_ddpm.c - the reference tool's dose diffusion: noise schedule, forward process, embedding of time, loss and its
 * gradients, DDIM samples from given noise, and their ensemble. All sizes come from the file.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_mem.h"
#include "dg_sampler.h"
#include "golden_network.h"

#include <float.h>

typedef struct test {
    golden *file;
    golden_args args;
    golden_tally tally;
    dg_model_config model;
    dg_diffusion *diffusion;
    int64_t known; /* channels of the condition: all but x_t */
} test;

/* ---- small things ---------------------------------------------------------------------------------------------------- */

static int64_t axis_of(test *t, const char *path, int axis)
{
    golden_array a = golden_read_f32(t->file, "%s", path);
    if (axis >= a.rank) golden_reject(t->file, path, "has too few axes");
    const int64_t length = a.shape[axis];
    golden_array_free(&a);
    return length;
}

static void check_max(test *t, const char *path, const float *got, int64_t count, double tolerance)
{
    golden_array wanted = golden_read_f32(t->file, "%s", path);
    golden_want_count(t->file, path, &wanted, count);
    const golden_error e = golden_compare(got, wanted.f32, count);
    golden_check(&t->tally, path, "max", e.max, tolerance);
    golden_array_free(&wanted);
}

/* What a network made: `bf16` is the tolerance there. */
static void check_network(test *t, const char *path, const float *got, int64_t count, double f32, double bf16)
{
    golden_array wanted = golden_read_f32(t->file, "%s", path);
    golden_want_count(t->file, path, &wanted, count);
    const golden_error e = golden_compare(got, wanted.f32, count);
    golden_check(&t->tally, path, "rel-L2", e.rel_l2, t->args.bf16 ? bf16 : f32);
    golden_array_free(&wanted);
}

static bool has_all(test *t, const char *const *paths)
{
    for (; *paths != NULL; paths++)
        if (!golden_has(t->file, *paths)) return false;
    return true;
}

/* ---- process --------------------------------------------------------------------------------------------------------- */

static dg_diffusion *open_diffusion(test *t, dg_noise_schedule schedule, double low, double high)
{
    dg_diffusion *out;
    const dg_diffusion_config config = {.schedule = schedule,
                                        .steps = (int64_t)golden_attr_or(t->file, "", "timesteps", 1000),
                                        .offset = golden_attr_or(t->file, "", "s", 0.008),
                                        .beta_min = low,
                                        .beta_max = high,
                                        .prediction = DG_PREDICT_NOISE,
                                        .single = true};
    DG_CHECK_OK(dg_diffusion_create(&config, &out));
    return out;
}

static void check_linear(test *t)
{
    const char *path = "schedule/linear_betas";
    if (!golden_has(t->file, path)) return;
    dg_diffusion *linear = open_diffusion(t, DG_NOISE_LINEAR, golden_attr_or(t->file, path, "beta_start", 1e-4),
                                          golden_attr_or(t->file, path, "beta_end", 0.02));
    golden_array wanted = golden_read_f64(t->file, "%s", path);
    golden_want_count(t->file, path, &wanted, linear->config.steps);
    const golden_error e = golden_compare_f64(linear->beta, wanted.f64, wanted.count);
    golden_check(&t->tally, path, "max", e.max, 1e-6);
    golden_array_free(&wanted);
    dg_diffusion_destroy(&linear);
}

/* The curve's cosines may be rounded the other way by another library (of 1001 values PyTorch's own are 51 times not the
 * nearest), and a unit in the last place of their ratio is up to 6e-4 of a beta of 1e-4. */
static void check_betas(test *t)
{
    golden_array wanted = golden_read_f64(t->file, "schedule/betas");
    golden_want_count(t->file, "schedule/betas", &wanted, t->diffusion->config.steps);
    const golden_error e = golden_compare_f64(t->diffusion->beta, wanted.f64, wanted.count);
    golden_check(&t->tally, "schedule/betas", "rel-L2", e.rel_l2, 4e-5);
    golden_array_free(&wanted);
}

/* The posterior divides such a beta by 1 - kept: each value may be off by 1e-6 and by that unit so divided. */
static void check_posterior(test *t, const char *path, const float *got)
{
    const double unit = 2 * (double)FLT_EPSILON;
    golden_array wanted = golden_read_f32(t->file, "%s", path);
    golden_want_count(t->file, path, &wanted, t->diffusion->config.steps);
    double worst = 0;
    for (int64_t i = 0; i < wanted.count; i++)
        worst = fmax(worst, fabs(got[i] - wanted.f32[i]) / (1e-6 + unit / pow(t->diffusion->noise[i], 2)));
    golden_check(&t->tally, path, "of its bound", worst, 1);
    golden_array_free(&wanted);
}

static void check_schedule(test *t)
{
    enum { KEPT, SIGNAL, NOISE, CLEAN, X, VARIANCE, PARTS };
    static const char *const path[PARTS] = {
        "schedule/alphas_cumprod",       "schedule/sqrt_alphas_cumprod",  "schedule/sqrt_one_minus_alphas_cumprod",
        "schedule/posterior_mean_coef1", "schedule/posterior_mean_coef2", "schedule/posterior_variance"};
    const int64_t steps = t->diffusion->config.steps;
    float *value[PARTS];
    if (!golden_has(t->file, "schedule")) return;
    for (int k = 0; k < PARTS; k++) value[k] = test_floats(steps);
    for (int64_t i = 0; i < steps; i++) {
        double clean, x, variance;
        dg_diffusion_posterior(t->diffusion, i, &clean, &x, &variance);
        value[KEPT][i] = (float)pow(t->diffusion->signal[i], 2);
        value[SIGNAL][i] = (float)t->diffusion->signal[i];
        value[NOISE][i] = (float)t->diffusion->noise[i];
        value[CLEAN][i] = (float)clean;
        value[X][i] = (float)x;
        value[VARIANCE][i] = (float)variance;
    }
    for (int k = 0; k < PARTS; k++) {
        const bool there = golden_has(t->file, path[k]);
        if (there && k < CLEAN) check_max(t, path[k], value[k], steps, 1e-6);
        if (there && k >= CLEAN) check_posterior(t, path[k], value[k]);
        free(value[k]);
    }
    if (golden_has(t->file, "schedule/betas")) check_betas(t);
    check_linear(t);
}

/* Times of a dataset, each of which the process has. */
static golden_array read_times(test *t, const char *path)
{
    golden_array times = golden_read_i64(t->file, "%s", path);
    for (int64_t i = 0; i < times.count; i++)
        if (times.i64[i] < 0 || times.i64[i] >= t->diffusion->config.steps)
            golden_reject(t->file, path, "holds a time outside the schedule");
    return times;
}

static void check_forward(test *t)
{
    if (!has_all(t, (const char *const[]){"q_sample/x0", "q_sample/noise", "q_sample/t", "q_sample/x_t", NULL})) return;
    golden_array times = read_times(t, "q_sample/t"), clean = golden_read_f32(t->file, "q_sample/x0"),
                 noise = golden_read_f32(t->file, "q_sample/noise");
    const int64_t each = clean.count / times.count;
    golden_want_count(t->file, "q_sample/x0", &clean, times.count * each);
    golden_want_count(t->file, "q_sample/noise", &noise, clean.count);
    float *x = test_floats(clean.count);
    for (int64_t i = 0; i < times.count; i++)
        dg_diffusion_add_noise(t->diffusion, times.i64[i], clean.f32 + i * each, noise.f32 + i * each, each,
                               x + i * each);
    check_max(t, "q_sample/x_t", x, clean.count, fmax(1e-6, 2 * golden_attr_or(t->file, "q_sample/x_t", "noise", 0)));
    free(x);
    golden_array_free(&times);
    golden_array_free(&clean);
    golden_array_free(&noise);
}

static void check_sinusoids(test *t, const char *path, const golden_array *times)
{
    if (!golden_has(t->file, path)) return;
    const int64_t width = axis_of(t, path, 1);
    float *got = test_floats(times->count * width);
    for (int64_t i = 0; i < times->count; i++) dg_diffusion_sinusoids(times->i64[i], width, got + i * width);
    /* A half unit in the last place of the frequency is 3e-5 of a turn at t = 1000. */
    check_max(t, path, got, times->count * width, fmax(1e-6, 20 * golden_attr_or(t->file, path, "noise", 3e-6)));
    free(got);
}

/* ---- network --------------------------------------------------------------------------------------------------------- */

static dg_model_config read_model(test *t)
{
    dg_model_config model = {.kind = "diffusion_unet", .levels = 1};
    char path[GOLDEN_TEXT];
    do {
        (void)snprintf(path, sizeof path, "params/enc%d.conv1.weight", (int)model.levels);
    } while (golden_has(t->file, path) && ++model.levels < 16);
    model.in_channels = axis_of(t, "params/enc1.conv1.weight", 1);
    model.base_channels = axis_of(t, "params/enc1.conv1.weight", 0);
    model.out_channels = axis_of(t, "params/out_conv.weight", 0);
    model.cond_channels = 2 * axis_of(t, "params/time_embed.1.weight", 0);
    if (golden_has(t->file, "params/constraint_embed.0.weight"))
        model.constraints = axis_of(t, "params/constraint_embed.0.weight", 1);
    return model;
}

static test_net open_net(test *t, int64_t n, const int64_t size[3], bool training, bool keep_all)
{
    const dg_plan_config plan = {.n = n,
                                 .z = size[0],
                                 .y = size[1],
                                 .x = size[2],
                                 .dtype = t->args.bf16 ? DG_BF16 : DG_F32,
                                 .training = training,
                                 .keep_all = keep_all};
    test_net net = test_net_open(t->args.backend, 2, &t->model, &plan);
    float *weights = golden_network_weights(t->file, "params", &net.model->params);
    test_net_weights(&net, weights);
    free(weights);
    return net;
}

/* x (n, 1, voxels) and the condition (n, known, voxels), or one for all, side by side; times and constraints likewise. */
static void set_input(test *t, test_net *net, const float *x, const float *condition, const float *constraints,
                      const int64_t *times)
{
    const dg_tensor input = dg_plan_input(net->plan), vector = dg_plan_constraints(net->plan);
    const int64_t voxels = dg_tensor_voxels(&input), k = t->model.constraints, width = t->model.base_channels + k;
    float *both = test_floats(input.n * input.c * voxels), *told = test_floats(input.n * width);
    DG_CHECK(vector.c == width);
    for (int64_t i = 0; i < input.n; i++) {
        memcpy(both + i * input.c * voxels, x + i * voxels, (size_t)voxels * sizeof *x);
        memcpy(both + (i * input.c + 1) * voxels, condition + i * t->known * voxels,
               (size_t)(t->known * voxels) * sizeof *condition);
        dg_diffusion_sinusoids(times[i], t->model.base_channels, told + i * width);
        if (k > 0) memcpy(told + i * width + t->model.base_channels, constraints + i * k, (size_t)k * sizeof *told);
    }
    test_net_input(net, both, told);
    free(both);
    free(told);
}

static void check_time(test *t)
{
    if (!golden_has(t->file, "time/t")) return;
    golden_array times = read_times(t, "time/t");
    check_sinusoids(t, "time/sinusoidal", &times);
    check_sinusoids(t, "time/sinusoidal32", &times);
    if (golden_has(t->file, "time/time_embed")) {
        const int64_t size = (int64_t)1 << (t->model.levels - 1), voxels = size * size * size, n = times.count;
        test_net net = open_net(t, n, (const int64_t[3]){size, size, size}, false, true);
        float *nothing = test_floats(n * (t->known + 1) * voxels + n * t->model.constraints);
        set_input(t, &net, nothing, nothing, nothing, times.i64);
        DG_CHECK_OK(dg_plan_forward(net.plan, NULL));
        const dg_tensor value = dg_plan_activation(net.plan, "cond:time");
        dg_tensor dense = test_tensor(&net.scope, DG_F32, (test_shape){n, 1, 1, 1, value.c}, 0, NULL);
        DG_CHECK_OK(net.scope.ops->copy(net.scope.backend, &value, &dense, false)); /* it is a slice */
        float *got = test_net_torch(&net, &dense);
        check_max(t, "time/time_embed", got, n * value.c,
                  fmax(1e-6, 20 * golden_attr_or(t->file, "time/time_embed", "noise", 1e-6)));
        free(got);
        free(nothing);
        test_net_close(&net);
    }
    golden_array_free(&times);
}

/* ---- loss ------------------------------------------------------------------------------------------------------------ */

typedef struct batch {
    golden_array times, clean, noise, condition, constraints;
    int64_t n, voxels;
    float *x;
} batch;

static batch read_batch(test *t)
{
    batch b = {.times = read_times(t, "loss/t"),
               .clean = golden_read_f32(t->file, "q_sample/x0"),
               .noise = golden_read_f32(t->file, "loss/noise"),
               .condition = golden_read_f32(t->file, "loss/condition")};
    if (b.condition.rank != 5 || b.condition.shape[1] != t->known || b.condition.shape[0] != b.times.count)
        golden_reject(t->file, "loss/condition", "is not (n,C,D,H,W) with one channel fewer than enc1.conv1.weight");
    b.n = b.times.count;
    b.voxels = b.condition.shape[2] * b.condition.shape[3] * b.condition.shape[4];
    golden_want_count(t->file, "loss/noise", &b.noise, b.n * b.voxels);
    if (b.clean.count < b.n * b.voxels) golden_reject(t->file, "q_sample/x0", "has fewer samples than loss/t");
    if (t->model.constraints > 0) {
        b.constraints = golden_read_f32(t->file, "loss/constraints");
        golden_want_count(t->file, "loss/constraints", &b.constraints, b.n * t->model.constraints);
    }
    b.x = test_floats(b.n * b.voxels);
    for (int64_t i = 0; i < b.n; i++)
        dg_diffusion_add_noise(t->diffusion, b.times.i64[i], b.clean.f32 + i * b.voxels, b.noise.f32 + i * b.voxels,
                               b.voxels, b.x + i * b.voxels);
    return b;
}

static void free_batch(batch *b)
{
    golden_array_free(&b->times);
    golden_array_free(&b->clean);
    golden_array_free(&b->noise);
    golden_array_free(&b->condition);
    golden_array_free(&b->constraints);
    free(b->x);
}

/* One parameter's gradient: all of it, or every stride-th number of it. */
static void check_gradient(test *t, const dg_param *param, const float *flat)
{
    char path[GOLDEN_TEXT];
    int64_t stride = 1;
    (void)snprintf(path, sizeof path, "loss/grad/%s", param->name);
    if (!golden_has(t->file, path)) {
        (void)snprintf(path, sizeof path, "loss/grad_sample/%s", param->name);
        if (!golden_has(t->file, path)) golden_reject(t->file, path, "is missing, and so is its part in loss/grad");
        stride = (int64_t)golden_attr_or(t->file, path, "stride", 1);
        if (stride < 1) golden_reject(t->file, path, "has a stride below 1");
    }
    if (golden_attr_or(t->file, path, "null_gradient", 0) != 0) return;
    float *got = test_floats(param->count);
    dg_param_to_torch(param, flat, got);
    const int64_t count = (param->count + stride - 1) / stride;
    for (int64_t i = 0; i < count; i++) got[i] = got[i * stride];
    const double tolerance = golden_network_tolerance(t->file, &t->args, path);
    check_network(t, path, got, count, tolerance, tolerance);
    free(got);
}

static void check_loss(test *t)
{
    if (!has_all(t, (const char *const[]){"loss/t", "loss/noise", "loss/condition", "loss/value", NULL})) return;
    batch b = read_batch(t);
    test_net net = open_net(t, b.n, &b.condition.shape[2], true, false);
    const dg_diffusion_loss loss = {.penalty = golden_attr_or(t->file, "loss", "physics_weight", 0.1), .raw = true};
    dg_tensor y = dg_plan_output(net.plan), dy = dg_plan_output_gradient(net.plan);
    float *gradient = test_floats(b.n * b.voxels);
    double value = 0;
    set_input(t, &net, b.x, b.condition.f32, b.constraints.f32, b.times.i64);
    DG_CHECK_OK(net.scope.ops->fill(net.scope.backend, net.gradients, net.total, 0.0f));
    DG_CHECK_OK(dg_plan_forward(net.plan, NULL));
    float *out = test_net_torch(&net, &y);
    if (golden_has(t->file, "loss/predicted_noise"))
        check_network(t, "loss/predicted_noise", out, b.n * b.voxels, 2e-5,
                      3 * golden_attr_or(t->file, "loss/predicted_noise", "bf16_rel_l2", 0.01));
    for (int64_t i = 0; i < b.n; i++) {
        const int64_t at = i * b.voxels;
        value += dg_diffusion_evaluate(t->diffusion, &loss, b.times.i64[i], b.clean.f32 + at, b.noise.f32 + at,
                                       out + at, b.voxels, gradient + at) /
                 (double)b.n;
    }
    golden_array wanted = golden_read_f64(t->file, "loss/value");
    golden_want_count(t->file, "loss/value", &wanted, 1);
    golden_check(&t->tally, "loss/value", "relative", fabs(value / wanted.f64[0] - 1), t->args.bf16 ? 1e-2 : 1e-5);
    for (int64_t i = 0; i < b.n * b.voxels; i++) gradient[i] /= (float)b.n;
    test_tensor_set(&net.scope, &dy, gradient);
    DG_CHECK_OK(dg_plan_backward(net.plan, net.gradients, NULL, NULL, NULL));
    float *flat = test_buffer_get(&net.scope, net.gradients, net.total);
    for (int i = 0; golden_has(t->file, "loss/grad") && i < net.model->params.count; i++)
        check_gradient(t, &net.model->params.item[i], flat);
    golden_array_free(&wanted);
    free(flat);
    free(out);
    free(gradient);
    test_net_close(&net);
    free_batch(&b);
}

/* ---- samples --------------------------------------------------------------------------------------------------------- */

/* Where a sampler's network calls are compared, and where fresh noise comes from; NULL: neither. */
typedef struct sampling {
    const char *group, *trace;
    double eta;
    int64_t steps;
    const float *fresh; /* [calls - 1, voxels] */
} sampling;

static void check_call(test *t, const sampling *s, int64_t call, const char *what, const float *got, int64_t count)
{
    char path[GOLDEN_TEXT];
    if (s->trace == NULL || t->args.bf16) return; /* in bf16 only the sample is bounded */
    (void)snprintf(path, sizeof path, "%s/step%02lld_%s", s->trace, (long long)call, what);
    if (!golden_has(t->file, path)) return;
    check_network(t, path, got, count, fmax(2e-5, 20 * golden_attr_or(t->file, path, "noise_rel_l2", 0)), 0);
}

static void denoise(const dg_denoise *k, const float *out, const float *fresh, int64_t count, float *x, float *clean)
{
    for (int64_t i = 0; i < count; i++)
        x[i] = dg_denoise_voxel(k, x[i], out[i], fresh == NULL ? 0 : fresh[i], &clean[i]);
}

/* From the noise in x to a dose there. */
static void draw(test *t, test_net *net, const batch *b, const sampling *s, float *x)
{
    double range[2] = {-1, 2}, last[2] = {0, 1.5};
    (void)golden_attr_list(t->file, "ddim", "x0_clamp", range, 2);
    (void)golden_attr_list(t->file, "ddim", "final_clamp", last, 2);
    const dg_sampler_config config = {
        .kind = DG_SAMPLER_DDIM, .steps = s->steps, .eta = s->eta, .low = range[0], .high = range[1], .faults = DG_SAMPLER_UPSTREAM};
    dg_sampler_step *step;
    int64_t calls;
    float *clean = test_floats(b->voxels);
    DG_CHECK_OK(dg_sampler_plan(t->diffusion, &config, &step, &calls));
    for (int64_t i = 0; i < calls; i++) {
        check_call(t, s, i, "x", x, b->voxels);
        set_input(t, net, x, b->condition.f32, b->constraints.f32, &step[i].t);
        DG_CHECK_OK(dg_plan_forward(net->plan, NULL));
        dg_tensor y = dg_plan_output(net->plan);
        float *out = test_net_torch(net, &y);
        check_call(t, s, i, "eps", out, b->voxels);
        const bool drawn = step[i].denoise.fresh > 0 && s->fresh != NULL;
        denoise(&step[i].denoise, out, drawn ? s->fresh + i * b->voxels : NULL, b->voxels, x, clean);
        free(out);
    }
    for (int64_t i = 0; i < b->voxels; i++) x[i] = (float)fmin(fmax(x[i], last[0]), last[1]);
    dg_free(&step);
    free(clean);
}

static void check_sample(test *t, const char *path, const float *got, int64_t count)
{
    golden_array wanted = golden_read_f32(t->file, "%s", path);
    golden_want_count(t->file, path, &wanted, count);
    double mae = 0;
    for (int64_t i = 0; i < count; i++) mae += fabs(got[i] - wanted.f32[i]) / (double)count;
    if (t->args.bf16)
        golden_check(&t->tally, path, "MAE", mae, 2e-2);
    else
        golden_check(&t->tally, path, "max", golden_compare(got, wanted.f32, count).max, 1e-4);
    golden_array_free(&wanted);
}

/* Which row of ddim/noise a group begins with: "ddim/noise[1]". */
static int64_t noise_row(test *t, const char *group)
{
    char text[GOLDEN_TEXT] = "";
    const char *at = golden_attr_string(t->file, group, "initial_noise", text) ? strchr(text, '[') : NULL;
    return at == NULL ? 0 : strtoll(at + 1, NULL, 10);
}

/* The group's sample, or samples, one for each row of noise; their mean and spread for the ensemble. */
static void check_ensemble(test *t, const float *sample, int64_t members, int64_t count)
{
    if (!golden_has(t->file, "ensemble/mean") || !golden_has(t->file, "ensemble/std")) return;
    float *mean = test_floats(count), *deviation = test_floats(count);
    for (int64_t i = 0; i < count; i++) {
        double sum = 0, square = 0;
        for (int64_t m = 0; m < members; m++) sum += sample[m * count + i] / (double)members;
        for (int64_t m = 0; m < members; m++) square += pow(sample[m * count + i] - sum, 2) / (double)members;
        mean[i] = (float)sum;
        deviation[i] = (float)sqrt(square);
    }
    check_sample(t, "ensemble/mean", mean, count);
    check_sample(t, "ensemble/std", deviation, count);
    free(mean);
    free(deviation);
}

static void check_row(test *t, test_net *net, const batch *b, const golden_array *noise, const char *group)
{
    char path[GOLDEN_TEXT];
    const int64_t row = noise_row(t, group);
    if (row < 0 || (row + 1) * b->voxels > noise->count)
        golden_reject(t->file, group, "begins with noise that is not there");
    (void)snprintf(path, sizeof path, "%s/step_noise", group);
    golden_array fresh = {0};
    if (golden_has(t->file, path)) fresh = golden_read_f32(t->file, "%s", path);
    sampling s = {.group = group, .eta = golden_attr_or(t->file, group, "eta", 0), .fresh = fresh.f32};
    s.steps = (int64_t)golden_attr_or(t->file, group, "steps", golden_attr_or(t->file, group, "steps_requested", 50));
    float *x = test_floats(b->voxels);
    memcpy(x, noise->f32 + row * b->voxels, (size_t)b->voxels * sizeof *x);
    draw(t, net, b, &s, x);
    (void)snprintf(path, sizeof path, "%s/sample", group);
    check_sample(t, path, x, b->voxels);
    free(x);
    golden_array_free(&fresh);
}

static void check_samples(test *t)
{
    if (!has_all(t, (const char *const[]){"ddim/noise", "loss/condition", "loss/t", "loss/noise", NULL})) return;
    batch b = read_batch(t);
    golden_array noise = golden_read_f32(t->file, "ddim/noise");
    if (noise.count % b.voxels != 0) golden_reject(t->file, "ddim/noise", "has another size than loss/condition");
    const int64_t members = noise.count / b.voxels;
    test_net net = open_net(t, 1, &b.condition.shape[2], false, false);
    sampling s = {.group = "ddim",
                  .trace = "ddim/trace",
                  .eta = golden_attr_or(t->file, "ddim", "eta", 0),
                  .steps = (int64_t)golden_attr_or(t->file, "ddim", "steps", 50)};
    for (int64_t m = 0; m < members; m++, s.trace = NULL) {
        char path[GOLDEN_TEXT];
        (void)snprintf(path, sizeof path, "ddim/sample%lld", (long long)m);
        if (!golden_has(t->file, path)) golden_reject(t->file, path, "is missing for this row of ddim/noise");
        draw(t, &net, &b, &s, noise.f32 + m * b.voxels);
        check_sample(t, path, noise.f32 + m * b.voxels, b.voxels);
    }
    check_ensemble(t, noise.f32, members, b.voxels);
    golden_array_free(&noise);
    noise = golden_read_f32(t->file, "ddim/noise");
    if (golden_has(t->file, "ddim_alt/sample")) check_row(t, &net, &b, &noise, "ddim_alt");
    if (golden_has(t->file, "ddim_eta/sample")) check_row(t, &net, &b, &noise, "ddim_eta");
    golden_array_free(&noise);
    test_net_close(&net);
    free_batch(&b);
}

int main(int argc, char **argv)
{
    test t = {.args = golden_parse(argc, argv, "ddpm.h5")};
    char schedule[GOLDEN_TEXT] = "cosine";
    t.file = golden_open(t.args.path);
    (void)golden_attr_string(t.file, "", "schedule", schedule);
    const bool linear = strcmp(schedule, "linear") == 0;
    if (!linear && strcmp(schedule, "cosine") != 0) golden_reject(t.file, "", "has a schedule that is not known");
    t.diffusion =
        open_diffusion(&t, linear ? DG_NOISE_LINEAR : DG_NOISE_COSINE, golden_attr_or(t.file, "", "beta_min", 1e-4),
                       golden_attr_or(t.file, "", "beta_max", linear ? 0.02 : 0.9999));
    check_schedule(&t);
    check_forward(&t);
    if (golden_has(t.file, "params")) {
        t.model = read_model(&t);
        t.known = t.model.in_channels - 1;
        check_time(&t);
        check_loss(&t);
        check_samples(&t);
    }
    dg_diffusion_destroy(&t.diffusion);
    golden_close(&t.file);
    return golden_finish(&t.tally);
}
