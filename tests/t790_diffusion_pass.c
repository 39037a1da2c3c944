/* A pass of a diffusion's training against the loss of src/nn, sample by sample: value and gradient, for every process, what
 * is said, weighting and penalty; the same numbers whatever pass a sample lies in; times, and how often the case is withheld.
 * ctest: libs=dg_run label=unit timeout=120 args=--backend ref; --backend onednn
 * SPDX-License-Identifier: Apache-2.0 */
#include "diffusion_pass.h"
#include "t7_cases.h"

#include "dg_mem.h"
#include "dg_rng.h"

#include <math.h>
#include <string.h>

enum { EDGE = 8, VOXELS = EDGE * EDGE * EDGE, SAMPLES = 2, STEP = 6, SLOT = 3 };
static const int64_t shape[3] = {12, 12, 12};
static const int64_t cases[2] = {0, 1};
static const char *backend_name = "ref";

typedef struct bench {
    t7_cohort cohort;
    dg_recipe recipe;
    dg_model *model;
    dg_backend *backend;
    dg_plan *plan;
    dg_sample_size size;
    dg_diffusion *diffusion;
    dg_diffusion_pass_config config;
    dg_diffusion_pass *pass;
    dg_loss *loss;
    float *target;
    uint8_t *counted;
} bench;

static const char settings[] = "{model: {kind: diffusion_unet, base: 4, levels: 2, cond_channels: 8}, data: {channels: "
                               "[ct, mask.Left], patch: [8, 8, 8], ct_range: [-300, 300]}}";

static void *take(bench *b, int64_t bytes)
{
    void *out;
    DG_CHECK_OK(b->backend->ops->alloc(b->backend, bytes, "test", &out));
    return out;
}

static dg_loss_batch batch_of(const bench *b)
{
    dg_loss_batch batch = {.y = dg_plan_output(b->plan), .mask = b->counted};
    batch.target = batch.y;
    batch.target.data = b->target;
    return batch;
}

static void open_bench(bench *b, const dg_diffusion_config *process, double snr_limit, bool raw)
{
    dg_run_config config;
    uint8_t ones[SAMPLES * VOXELS];
    memset(b, 0, sizeof *b);
    t7_create(&b->cohort, 2, shape);
    t7_config(settings, &config);
    DG_CHECK_OK(dg_recipe_resolve(&config, b->cohort.cohort, cases, 2, &b->recipe));
    const dg_model_config model = dg_run_config_model(&config, b->recipe.count, 0);
    DG_CHECK(model.in_channels == 3);
    DG_CHECK_OK(dg_model_create(&model, &b->model));
    DG_CHECK_OK(
        dg_backend_create(backend_name, &(dg_backend_options){.threads = 1, .deterministic = true}, &b->backend));
    const dg_plan_config plan = {.n = SAMPLES, .z = EDGE, .y = EDGE, .x = EDGE, .dtype = DG_F32, .training = true};
    DG_CHECK_OK(dg_plan_create(b->model, b->backend, &plan, &b->plan));
    b->size = dg_sample_size_of(&b->recipe, (int64_t[3]){EDGE, EDGE, EDGE}, DG_F32);
    DG_CHECK_OK(dg_diffusion_create(process, &b->diffusion));
    b->config = (dg_diffusion_pass_config){
        .diffusion = b->diffusion, .seed = 5, .drop_condition = 0.3, .snr_limit = snr_limit, .raw = raw};
    DG_CHECK_OK(dg_diffusion_pass_create(&b->config, b->backend, b->plan, &b->size, &b->pass));
    b->target = take(b, SAMPLES * VOXELS * 4);
    b->counted = take(b, SAMPLES * VOXELS);
    memset(ones, 1, sizeof ones);
    DG_CHECK_OK(b->backend->ops->upload(b->backend, b->counted, ones, sizeof ones));
    const dg_loss_config loss = {
        .count = 2, .term = {{.kind = DG_LOSS_MSE}, {.kind = DG_LOSS_NEGATIVE}}, .weight = {1, 0.3}};
    const dg_loss_batch batch = batch_of(b);
    DG_CHECK_OK(dg_loss_create(&loss, b->backend, &batch, &b->loss));
}

static void close_bench(bench *b)
{
    dg_loss_destroy(&b->loss);
    dg_diffusion_pass_destroy(&b->pass);
    b->backend->ops->free(b->backend, b->target);
    b->backend->ops->free(b->backend, b->counted);
    dg_plan_destroy(&b->plan);
    DG_CHECK(strcmp(backend_name, "ref") != 0 || b->backend->bytes_allocated == 0);
    dg_backend_destroy(&b->backend);
    dg_diffusion_destroy(&b->diffusion);
    dg_model_destroy(&b->model);
    t7_release(&b->cohort);
}

static void fill(uint64_t stream, double scale, double shift, float *values, int64_t count)
{
    dg_rng rng = dg_rng_stream(3, DG_RNG_TEST, stream, 0);
    for (int64_t i = 0; i < count; i++) values[i] = (float)(scale * dg_rng_normal(&rng) + shift);
}

/* Runs `count` samples, the first of which is `first` of the step's, and gives words, input, loss values and gradient. */
static void run(bench *b, int64_t first, int64_t count, const float *clean, const float *words, float *x, double *value,
                float *gradient)
{
    const dg_backend_ops *ops = b->backend->ops;
    dg_feed_places places = {.count = SAMPLES};
    dg_sample samples[SAMPLES];
    memset(samples, 0, sizeof samples);
    for (int i = 0; i < SAMPLES; i++) samples[i].draw.box = (dg_box){.start = {1, 2, 3}, .shape = {EDGE, EDGE, EDGE}};
    samples[0].draw.box.start[2] = first == 0 ? 3 : 7; /* x of the second sample reaches 3 voxels beyond the volume */
    samples[1].draw.box.start[2] = 7;
    dg_diffusion_pass_places(b->pass, &places);
    DG_CHECK(places.constraint.data == NULL && places.input.c == 2);
    DG_CHECK_OK(ops->upload(b->backend, places.target, clean + first * VOXELS, count * VOXELS * 4));
    float *known;
    DG_CHECK_OK(DG_NEW(&known, SAMPLES * VOXELS * 2, "condition"));
    for (int i = 0; i < SAMPLES * VOXELS * 2; i++) known[i] = 0.5f;
    DG_CHECK_OK(ops->upload(b->backend, places.input.data, known, SAMPLES * VOXELS * 2 * 4));
    dg_free(&known);
    DG_CHECK_OK(dg_diffusion_pass_add_noise(b->pass, STEP, SLOT + first, count, samples, &b->recipe, b->cohort.cohort,
                                            b->target));
    DG_CHECK_OK(ops->download(b->backend, x, dg_plan_input(b->plan).data, count * VOXELS * 3 * 4));
    DG_CHECK_OK(ops->upload(b->backend, dg_plan_output(b->plan).data, words + first * VOXELS, count * VOXELS * 4));
    dg_tensor dy = dg_plan_output_gradient(b->plan);
    const dg_loss_batch batch = batch_of(b);
    double all[SAMPLES * 2];
    DG_CHECK_OK(dg_diffusion_pass_loss(b->pass, b->loss, &batch, &dy));
    DG_CHECK_OK(dg_loss_read(b->loss, all));
    memcpy(value, all, (size_t)count * 2 * sizeof *all);
    DG_CHECK_OK(ops->download(b->backend, gradient, dy.data, count * VOXELS * 4));
}

/* One sample by src/nn/dg_diffusion.h. */
static void compare(const bench *b, int i, const float *clean, const float *words, const float *x, const double *value,
                    const float *gradient)
{
    static float noise[VOXELS], wanted[VOXELS], noisy[VOXELS];
    const dg_diffusion_draw draw = dg_diffusion_draw_of(&b->config, STEP, SLOT + i);
    const dg_diffusion_loss loss = {.penalty = 0.3, .raw = b->config.raw};
    dg_rng rng = dg_rng_stream(5, DG_RNG_DIFFUSION_NOISE, STEP, (uint32_t)(SLOT + i));
    for (int v = 0; v < VOXELS; v++) noise[v] = (float)dg_rng_normal(&rng);
    dg_diffusion_add_noise(b->diffusion, draw.t, clean, noise, VOXELS, noisy);
    for (int v = 0; v < VOXELS; v++) {
        const bool inside = i == 0 || v % EDGE < 12 - 7;
        DG_CHECK(fabsf(x[v * 3] - (inside ? noisy[v] : 0)) < 2e-6f);
        DG_CHECK(x[v * 3 + 1] == (draw.blind ? 0 : 0.5f) && x[v * 3 + 2] == x[v * 3 + 1]);
    }
    if (i > 0) return; /* beyond the volume src/nn knows nothing of */
    const double mse_weight =
        b->config.snr_limit > 0 ? dg_diffusion_min_snr(b->diffusion, draw.t, b->config.snr_limit) : 1;
    const double whole = dg_diffusion_evaluate(b->diffusion, &loss, draw.t, clean, noise, words, VOXELS, wanted);
    const double error =
        dg_diffusion_evaluate(b->diffusion, &(dg_diffusion_loss){0}, draw.t, clean, noise, words, VOXELS, NULL);
    DG_CHECK(fabs(value[0] - mse_weight * error) < 2e-5 * (1 + error));
    DG_CHECK(fabs(0.3 * value[1] - (whole - error)) < 2e-5 * (1 + whole - error));
    double off = 0, length = 0;
    static float plain[VOXELS];
    (void)dg_diffusion_evaluate(b->diffusion, &(dg_diffusion_loss){0}, draw.t, clean, noise, words, VOXELS, plain);
    for (int v = 0; v < VOXELS; v++) {
        const double g = wanted[v] + (mse_weight - 1) * plain[v];
        off += pow(gradient[v] - g, 2);
        length += g * g;
    }
    DG_CHECK(length > 0 && off < 1e-9 * length);
}

static void check(const dg_diffusion_config *process, double snr_limit, bool raw)
{
    static float clean[SAMPLES * VOXELS], words[SAMPLES * VOXELS], x[SAMPLES * VOXELS * 3], gradient[SAMPLES * VOXELS];
    static float x1[VOXELS * 3], gradient1[VOXELS];
    double value[SAMPLES * 2], value1[2];
    bench b;
    open_bench(&b, process, snr_limit, raw);
    fill(1, 0.3, 0.3, clean, SAMPLES * VOXELS);
    fill(2, 1, 0, words, SAMPLES * VOXELS);
    run(&b, 0, SAMPLES, clean, words, x, value, gradient);
    for (int i = 0; i < SAMPLES; i++)
        compare(&b, i, clean + i * VOXELS, words + i * VOXELS, x + i * VOXELS * 3, value + 2 * i,
                gradient + i * VOXELS);
    run(&b, 1, 1, clean, words, x1, value1, gradient1); /* the second alone: the same bits */
    DG_CHECK(memcmp(x1, x + VOXELS * 3, sizeof x1) == 0 && memcmp(gradient1, gradient + VOXELS, sizeof gradient1) == 0);
    DG_CHECK(value1[0] == value[2] && value1[1] == value[3]);
    close_bench(&b);
}

static void check_draws(void)
{
    enum { MANY = 20000, STEPS = 50 };
    const dg_diffusion_config process = {.schedule = DG_NOISE_COSINE,
                                         .steps = STEPS,
                                         .offset = 0.008,
                                         .beta_min = 1e-4,
                                         .beta_max = 0.9999,
                                         .prediction = DG_PREDICT_V};
    dg_diffusion *d;
    DG_CHECK_OK(dg_diffusion_create(&process, &d));
    const dg_diffusion_pass_config config = {.diffusion = d, .seed = 8, .drop_condition = 0.2};
    int count[STEPS] = {0}, blind = 0;
    for (int i = 0; i < MANY; i++) {
        const dg_diffusion_draw draw = dg_diffusion_draw_of(&config, i / 4, i % 4);
        DG_CHECK(draw.t >= 0 && draw.t < STEPS);
        count[draw.t]++;
        blind += draw.blind;
    }
    double chi = 0;
    for (int t = 0; t < STEPS; t++) chi += pow(count[t] - (double)MANY / STEPS, 2) * STEPS / MANY;
    DG_CHECK(chi < 49 + 5 * sqrt(2 * 49));
    DG_CHECK(fabs(blind / (double)MANY - 0.2) < 5 * sqrt(0.2 * 0.8 / MANY));
    dg_diffusion_destroy(&d);
}

int main(int argc, char **argv)
{
    if (argc > 2) backend_name = argv[2];
    for (dg_noise_schedule s = DG_NOISE_COSINE; s <= DG_NOISE_FLOW; s++)
        for (dg_prediction p = s == DG_NOISE_FLOW ? DG_PREDICT_CLEAN : DG_PREDICT_NOISE; p <= DG_PREDICT_V; p++) {
            const dg_diffusion_config process = {.schedule = s,
                                                 .steps = 1000,
                                                 .offset = 0.008,
                                                 .beta_min = 1e-4,
                                                 .beta_max = s == DG_NOISE_LINEAR ? 0.02 : 0.9999,
                                                 .prediction = p};
            check(&process, 0, false);
            check(&process, 5, false);
            if (p == DG_PREDICT_NOISE) check(&process, 0, true);
        }
    check_draws();
    return 0;
}
