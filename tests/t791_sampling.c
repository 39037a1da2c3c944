/* A sample of a diffusion over a whole case: step by step what the network and the sampler's formula give, worked out here; the
 * same with any batch of windows, on ref bit for bit; the one-step error, a function of case and seed alone.
 * ctest: libs=dg_run label=unit timeout=120 args=--backend ref; --backend onednn
 * SPDX-License-Identifier: Apache-2.0 */
#include "predictor.h"
#include "t7_cases.h"

#include "dg_hash.h"
#include "dg_mem.h"
#include "dg_rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { Z = 8, Y = 8, X = 12, VOXELS = Z * Y * X, STEPS = 3, SAMPLE = 2, SEED = 21 };
static const int64_t shape[3] = {Z, Y, X};
static const int64_t cases[2] = {0, 1};
static const char *backend_name = "ref";
static const char whole[] =
    "{model: {kind: diffusion_unet, base: 4, levels: 2, cond_channels: 8}, data: {channels: [ct, "
    "mask.Left], patch: [8, 8, 12], ct_range: [-300, 300]}}";
static const char parts[] =
    "{model: {kind: diffusion_unet, base: 4, levels: 2, cond_channels: 8}, data: {channels: [ct, "
    "mask.Left], patch: [4, 4, 4], ct_range: [-300, 300]}}";

typedef struct bench {
    t7_cohort cohort;
    dg_recipe recipe;
    dg_model *model;
    dg_backend *backend;
    dg_source *source;
    float *weights;
    dg_diffusion *diffusion;
    dg_sampler_step *step;
    dg_sampling sampling;
} bench;

static void open_bench(bench *b, const char *yaml, dg_sampler_kind kind, double guidance)
{
    dg_run_config config;
    void *memory;
    float *host;
    const dg_diffusion_config process = {.schedule = DG_NOISE_COSINE,
                                         .steps = 40,
                                         .offset = 0.008,
                                         .beta_min = 1e-4,
                                         .beta_max = 0.9999,
                                         .prediction = DG_PREDICT_V};
    const dg_sampler_config sampler = {.kind = kind, .steps = STEPS, .low = 0, .high = 1.5};
    memset(b, 0, sizeof *b);
    t7_create(&b->cohort, 2, shape);
    t7_config(yaml, &config);
    DG_CHECK_OK(dg_recipe_resolve(&config, b->cohort.cohort, cases, 2, &b->recipe));
    const dg_model_config model = dg_run_config_model(&config, b->recipe.count, 0);
    DG_CHECK_OK(dg_model_create(&model, &b->model));
    DG_CHECK_OK(
        dg_backend_create(backend_name, &(dg_backend_options){.threads = 1, .deterministic = true}, &b->backend));
    DG_CHECK_OK(dg_source_create(b->cohort.cohort, &b->recipe, 0, &b->source));
    DG_CHECK_OK(b->backend->ops->alloc(b->backend, b->model->params.total * 4, "weights", &memory));
    b->weights = memory;
    DG_CHECK_OK(DG_NEW(&host, b->model->params.total, "weights"));
    dg_params_init(&b->model->params, 3, host);
    DG_CHECK_OK(b->backend->ops->upload(b->backend, b->weights, host, b->model->params.total * 4));
    dg_free(&host);
    DG_CHECK_OK(dg_diffusion_create(&process, &b->diffusion));
    b->sampling = (dg_sampling){.diffusion = b->diffusion, .guidance = guidance, .seed = SEED, .sample = SAMPLE};
    DG_CHECK_OK(dg_sampler_plan(b->diffusion, &sampler, &b->step, &b->sampling.count));
    b->sampling.step = b->step;
}

static void close_bench(bench *b)
{
    b->backend->ops->free(b->backend, b->weights);
    dg_source_destroy(&b->source);
    dg_backend_destroy(&b->backend);
    dg_model_destroy(&b->model);
    dg_free(&b->step);
    dg_diffusion_destroy(&b->diffusion);
    t7_release(&b->cohort);
}

static dg_predictor *predictor_of(bench *b, int64_t batch, bool flips)
{
    const dg_predictor_config config = {.dtype = DG_F32, .overlap = 0.5, .batch = batch, .flips = flips};
    dg_predictor *p;
    DG_CHECK_OK(dg_predictor_create(b->model, b->backend, b->source, &config, NULL, &p));
    DG_CHECK_OK(dg_predictor_set_weights(p, b->weights));
    dg_predictor_set_sampling(p, &b->sampling);
    return p;
}

static void predict(bench *b, int64_t batch, bool flips, float *dose_gy)
{
    dg_predictor *p = predictor_of(b, batch, flips);
    dg_predictor_note note;
    DG_CHECK_OK(dg_source_pin(b->source, 0));
    DG_CHECK_OK(dg_predictor_run(p, 0, -1, dose_gy, &note));
    dg_source_unpin(b->source, 0);
    dg_predictor_destroy(&p);
}

/* What the network says of the whole case as one window. */
static void ask(bench *b, dg_plan *plan, const float *x, const float *known, bool blind, int64_t t, float *said)
{
    static float input[VOXELS * 3];
    const dg_tensor vector = dg_plan_constraints(plan), in = dg_plan_input(plan), out = dg_plan_output(plan);
    float times[64];
    for (int v = 0; v < VOXELS; v++) {
        input[3 * v] = x[v];
        for (int k = 0; k < 2; k++) input[3 * v + 1 + k] = blind ? 0 : known[k * VOXELS + v];
    }
    dg_diffusion_sinusoids(t, vector.c, times);
    DG_CHECK_OK(b->backend->ops->upload(b->backend, in.data, input, sizeof input));
    DG_CHECK_OK(b->backend->ops->upload(b->backend, vector.data, times, vector.c * 4));
    DG_CHECK_OK(dg_plan_forward(plan, NULL));
    DG_CHECK_OK(b->backend->ops->download(b->backend, said, out.data, VOXELS * 4));
}

static uint64_t seed_of_case(void)
{
    char hex[DG_HASH_HEX];
    DG_CHECK_OK(dg_hash_bytes("case-00", 7, hex));
    hex[16] = '\0';
    return SEED ^ strtoull(hex, NULL, 16);
}

static void check_steps(dg_sampler_kind kind, double guidance)
{
    static float known[2 * VOXELS], x[VOXELS], before[VOXELS], told[VOXELS], blind[VOXELS], got[VOXELS];
    bench b;
    dg_plan *plan;
    open_bench(&b, whole, kind, guidance);
    const dg_plan_config config = {.n = 1, .z = Z, .y = Y, .x = X, .dtype = DG_F32};
    const dg_box box = {.shape = {Z, Y, X}};
    DG_CHECK_OK(dg_plan_create(b.model, b.backend, &config, &plan));
    DG_CHECK_OK(dg_plan_set_weights(plan, b.weights));
    DG_CHECK_OK(dg_source_pin(b.source, 0));
    DG_CHECK_OK(dg_source_read(b.source, 0, &box, &(dg_source_buffers){.channels = known}));
    dg_source_unpin(b.source, 0);
    dg_rng rng = dg_rng_stream(seed_of_case(), DG_RNG_SAMPLER, SAMPLE, 0);
    for (int v = 0; v < VOXELS; v++) x[v] = (float)dg_rng_normal(&rng);
    for (int64_t i = 0; i < b.sampling.count; i++) {
        ask(&b, plan, x, known, false, b.step[i].t, told);
        ask(&b, plan, x, known, true, b.step[i].t, blind);
        rng = dg_rng_stream(seed_of_case(), DG_RNG_SAMPLER, SAMPLE, (uint32_t)i + 1);
        for (int v = 0; v < VOXELS; v++) {
            const float said = (float)(guidance * told[v] + (1 - guidance) * blind[v]);
            x[v] = dg_denoise_voxel(&b.step[i].denoise, x[v], said, (float)dg_rng_normal(&rng), &before[v]);
        }
    }
    dg_plan_destroy(&plan);
    predict(&b, 1, false, got);
    double most = 0, range = 0;
    for (int v = 0; v < VOXELS; v++) {
        const bool possible = (b.cohort.masks[0][v] & 8) != 0;
        const double wanted = possible ? 70 * fmin(fmax(x[v], 0), 1.5) : 0;
        most = fmax(most, fabs(got[v] - wanted));
        range = fmax(range, wanted);
    }
    printf("sampler %d, guidance %g: off by %.2g of %.3g Gy\n", (int)kind, guidance, most, range);
    DG_CHECK(range > 1 && most < 2e-4 * range);
    close_bench(&b);
}

static double difference(const float *a, const float *b)
{
    double most = 0;
    for (int v = 0; v < VOXELS; v++) most = fmax(most, fabs((double)a[v] - (double)b[v]));
    return most;
}

static void check_windows(bool flips)
{
    static float one[VOXELS], other[VOXELS];
    bench b;
    open_bench(&b, parts, DG_SAMPLER_DDPM, 1);
    predict(&b, 1, flips, one);
    for (int64_t batch = 2; batch <= 6; batch += 2) {
        predict(&b, batch, flips, other);
        DG_CHECK(strcmp(backend_name, "ref") == 0 ? memcmp(one, other, sizeof one) == 0
                                                  : difference(one, other) < 105e-5);
    }
    b.sampling.sample++;
    predict(&b, 1, flips, other);
    DG_CHECK(difference(one, other) > 1); /* another sample */
    close_bench(&b);
}

/* One predictor, both ways and back: nothing of a case stays behind. */
static void check_one_step(void)
{
    static float dose[2][VOXELS];
    static const int64_t times[3] = {2, 20, 39};
    bench b;
    double error[4];
    dg_predictor_note note;
    open_bench(&b, parts, DG_SAMPLER_DDIM, 1);
    dg_predictor *p = predictor_of(&b, 2, false);
    for (int64_t c = 0; c < 2; c++) DG_CHECK_OK(dg_source_pin(b.source, c));
    DG_CHECK_OK(dg_predictor_denoise(p, 0, times, 3, &error[0]));
    DG_CHECK_OK(dg_predictor_run(p, 0, -1, dose[0], &note));
    DG_CHECK_OK(dg_predictor_denoise(p, 1, times, 3, &error[1]));
    DG_CHECK_OK(dg_predictor_denoise(p, 0, times, 3, &error[2]));
    DG_CHECK_OK(dg_predictor_run(p, 0, -1, dose[1], &note));
    DG_CHECK(error[0] > 0 && error[0] < 105 && error[0] == error[2] && error[1] != error[0]);
    DG_CHECK(memcmp(dose[0], dose[1], sizeof dose[0]) == 0);
    /* By itself: at so little noise that x is the dose, v of a network that says 0 gives the dose times the signal. */
    float *zeros;
    DG_CHECK_OK(DG_NEW(&zeros, b.model->params.total, "weights"));
    DG_CHECK_OK(b.backend->ops->upload(b.backend, b.weights, zeros, b.model->params.total * 4));
    DG_CHECK_OK(dg_predictor_set_weights(p, b.weights));
    DG_CHECK_OK(dg_predictor_denoise(p, 0, times, 1, &error[3]));
    double wanted = 0;
    dg_rng rng = dg_rng_stream(seed_of_case(), DG_RNG_DIFFUSION_NOISE, (uint64_t)times[0], 0);
    for (int v = 0; v < VOXELS; v++) {
        const double signal = b.diffusion->signal[times[0]], clean = b.cohort.dose[0][v] / 70.0;
        const double x = signal * clean + b.diffusion->noise[times[0]] * dg_rng_normal(&rng);
        wanted += 70 * fabs(fmin(fmax(signal * x, 0), 1.5) - clean) / VOXELS;
    }
    DG_CHECK(fabs(error[3] - wanted) < 1e-4 * wanted);
    dg_free(&zeros);
    for (int64_t c = 0; c < 2; c++) dg_source_unpin(b.source, c);
    dg_predictor_destroy(&p);
    close_bench(&b);
}

int main(int argc, char **argv)
{
    if (argc > 2) backend_name = argv[2];
    check_steps(DG_SAMPLER_DDIM, 1);
    check_steps(DG_SAMPLER_DDPM, 1);
    check_steps(DG_SAMPLER_DPM_SOLVER, 1.5);
    check_windows(false);
    check_windows(true);
    check_one_step();
    return 0;
}
