/* Samples are functions of (seed, step, slot): the loader gives the same ones for any share of slots and threads; epochs
 * are permutations; mirrored samples swap left and right; a bad value is named.
 * ctest: libs=dg_run label=unit timeout=60
 * SPDX-License-Identifier: Apache-2.0 */
#include "loader.h"
#include "t7_cases.h"

#include <math.h>

static const int64_t shape[3] = {8, 9, 10};
static int64_t cases[T7_CASES];

static dg_recipe resolve(const t7_cohort *t, const char *yaml)
{
    dg_run_config config;
    dg_recipe recipe;
    t7_config(yaml, &config);
    DG_CHECK_OK(dg_recipe_resolve(&config, t->cohort, cases, t->count, &recipe));
    return recipe;
}

static dg_sampler sampler_of(const t7_cohort *t, int64_t batch)
{
    return (dg_sampler){.seed = 7,
                        .batch = batch,
                        .cases = cases,
                        .case_count = t->count,
                        .patch = {4, 4, 6},
                        .high_dose_fraction = 0.5,
                        .augment = {.flip = true, .shift_voxels = 1, .rotate_deg = 10, .noise_hu = 5}};
}

/* Every epoch visits every case once, in another order than the one before. */
static void test_epochs(const t7_cohort *t)
{
    dg_sampler sampler = sampler_of(t, 5);
    int64_t order[3][T7_CASES];
    for (int64_t i = 0; i < 3 * t->count; i++) {
        order[i / t->count][i % t->count] = dg_sampler_case(&sampler, i / 5, i % 5);
    }
    int moved = 0;
    for (int epoch = 0; epoch < 3; epoch++) {
        int64_t seen = 0;
        for (int k = 0; k < t->count; k++) seen |= INT64_C(1) << order[epoch][k];
        DG_CHECK(seen == (INT64_C(1) << t->count) - 1);
        for (int k = 0; k < t->count; k++) moved += epoch > 0 && order[epoch][k] != order[epoch - 1][k];
    }
    DG_CHECK(moved > t->count);
}

/* Sums of one sample that no other sample shares. */
typedef struct print {
    double input, target, counted;
} print;

static print print_of(const dg_sample_size *size, const dg_sample *sample)
{
    print p = {0};
    const float *input = sample->input;
    for (int64_t i = 0; i < size->voxels * size->channels; i++) p.input += input[i] * (double)(1 + i % 97);
    for (int64_t i = 0; i < size->outputs; i++) {
        p.target += sample->target[i] * (double)(1 + i % 89);
        p.counted += sample->counted[i] * (double)(1 + i % 83);
    }
    return p;
}

enum { STEPS = 6, BATCH = 5 };

static void load(const t7_cohort *t, const dg_recipe *recipe, int64_t first, int64_t mine, int64_t step, int threads,
                 print out[STEPS][BATCH])
{
    dg_sampler sampler = sampler_of(t, BATCH);
    dg_sample_size size = dg_sample_size_of(recipe, sampler.patch, DG_F32);
    dg_source *source;
    dg_loader *loader;
    DG_CHECK_OK(dg_source_create(t->cohort, recipe, 1 << 16, &source));
    DG_CHECK_OK(dg_loader_create(&sampler, source, &size, first, mine, step, threads, NULL, &loader));
    for (; step < STEPS; step++) {
        const dg_sample *samples;
        DG_CHECK_OK(dg_loader_next(loader, &samples));
        for (int64_t i = 0; i < mine; i++) out[step][first + i] = print_of(&size, &samples[i]);
    }
    dg_loader_destroy(&loader);
    dg_source_destroy(&source);
}

static void test_shares(const t7_cohort *t, const char *yaml)
{
    dg_recipe recipe = resolve(t, yaml);
    static print whole[STEPS][BATCH], parts[STEPS][BATCH];
    load(t, &recipe, 0, BATCH, 0, 1, whole);
    load(t, &recipe, 0, 2, 0, 3, parts);
    load(t, &recipe, 2, 3, 0, 2, parts);
    DG_CHECK(memcmp(whole, parts, sizeof whole) == 0);
    load(t, &recipe, 0, BATCH, 4, 2, parts); /* as after a resume at step 4 */
    DG_CHECK(memcmp(whole, parts, sizeof whole) == 0);
    for (int i = 1; i < STEPS * BATCH; i++) DG_CHECK(whole[i / BATCH][i % BATCH].input != whole[0][0].input);
}

/* A mirrored sample shows the mirrored patient: left where right was, and x reversed, in inputs, dose and mask. */
static void test_mirror(const t7_cohort *t)
{
    dg_recipe recipe = resolve(t, "{data: {channels: [mask.Left, ct, mask.Right], coarsen: [1, 1, 2], augment: {flip: "
                                  "true}}, loss: {mask: possible_dose}}");
    const int64_t patch[3] = {8, 9, 5};
    dg_sample_size size = dg_sample_size_of(&recipe, patch, DG_F32);
    dg_sample_work work;
    dg_source *source;
    dg_sample sample[2];
    float input[2][8 * 9 * 5 * 3], target[2][720], scale;
    uint8_t counted[2][720];
    DG_CHECK_OK(dg_source_create(t->cohort, &recipe, 0, &source));
    DG_CHECK_OK(dg_source_pin(source, 0));
    DG_CHECK_OK(dg_sample_work_create(&size, &work));
    for (int k = 0; k < 2; k++) {
        dg_sample_draw draw = {.index = 0, .box = {.shape = {8, 9, 5}}, .augment = {.flip = k == 1}};
        sample[k] = (dg_sample){.input = input[k], .target = target[k], .counted = counted[k], .scale_gy = &scale};
        DG_CHECK_OK(dg_sample_make(source, &size, &draw, &work, &sample[k]));
    }
    for (int64_t row = 0; row < 72; row++) {
        for (int64_t x = 0; x < 5; x++) {
            const float *a = input[0] + (row * 5 + x) * 3, *b = input[1] + (row * 5 + 4 - x) * 3;
            DG_CHECK(a[0] == b[2] && a[1] == b[1] && a[2] == b[0]);
        }
        for (int64_t x = 0; x < 10; x++) { /* [x, sub]: two native voxels side by side */
            DG_CHECK(target[0][row * 10 + x] == target[1][row * 10 + 9 - x]);
            DG_CHECK(counted[0][row * 10 + x] == counted[1][row * 10 + 9 - x]);
            DG_CHECK_NEAR(target[0][row * 10 + x], t->dose[0][row * 10 + x] / 70, 1e-6);
        }
    }
    dg_sample_work_release(&work);
    dg_source_unpin(source, 0);
    dg_source_destroy(&source);
}

/* Sub-voxels in z,y,x order behind each network voxel; bf16 input rounds to nearest even. */
static void test_order(const t7_cohort *t)
{
    dg_recipe recipe = resolve(t, "data: {channels: [ct], coarsen: [2, 3, 2]}");
    const int64_t patch[3] = {4, 3, 5};
    dg_sample_size size = dg_sample_size_of(&recipe, patch, DG_BF16);
    dg_sample_work work;
    dg_source *source;
    uint16_t input[60];
    float target[720], scale;
    uint8_t counted[720];
    dg_sample sample = {.input = input, .target = target, .counted = counted, .scale_gy = &scale};
    dg_sample_draw draw = {.index = 2, .box = {.shape = {4, 3, 5}}};
    DG_CHECK_OK(dg_source_create(t->cohort, &recipe, 0, &source));
    DG_CHECK_OK(dg_source_pin(source, 2));
    DG_CHECK_OK(dg_sample_work_create(&size, &work));
    DG_CHECK_OK(dg_sample_make(source, &size, &draw, &work, &sample));
    for (int64_t i = 0; i < 720; i++) {
        int64_t z = i / 90, y = i / 10 % 9, x = i % 10;
        int64_t at = ((((z / 2 * 3 + y / 3) * 5 + x / 2) * 2 + z % 2) * 3 + y % 3) * 2 + x % 2;
        DG_CHECK_NEAR(target[at], t->dose[2][i] / 70, 1e-6);
    }
    for (int64_t i = 0; i < 60; i++) {
        uint32_t bits = (uint32_t)input[i] << 16;
        float value;
        memcpy(&value, &bits, 4);
        double exact = work.channels[i];
        DG_CHECK(fabs((double)value - exact) <= fabs(exact) / 256);
    }
    dg_sample_work_release(&work);
    dg_source_unpin(source, 2);
    dg_source_destroy(&source);
}

static void test_bad_value(t7_cohort *t)
{
    dg_recipe recipe = resolve(t, "data: {channels: [ct]}");
    dg_sampler sampler = sampler_of(t, 1);
    const int64_t only = 1;
    sampler.cases = &only;
    sampler.case_count = 1;
    memcpy(sampler.patch, shape, sizeof shape);
    dg_sample_size size = dg_sample_size_of(&recipe, sampler.patch, DG_F32);
    dg_source *source;
    dg_loader *loader;
    const dg_sample *samples;
    float keep = t->dose[1][100];
    t->dose[1][100] = NAN;
    DG_CHECK_OK(dg_source_create(t->cohort, &recipe, 0, &source));
    DG_CHECK_OK(dg_loader_create(&sampler, source, &size, 0, 1, 0, 1, NULL, &loader));
    DG_CHECK_FAILS(dg_loader_next(loader, &samples), DG_ERR_DATA, "case case-01");
    DG_CHECK_FAILS(dg_loader_next(loader, &samples), DG_ERR_DATA, "patch at voxel (0, 0, 0)");
    dg_loader_destroy(&loader);
    dg_source_destroy(&source);
    t->dose[1][100] = keep;
}

int main(void)
{
    t7_cohort t;
    t7_create(&t, 7, shape);
    for (int i = 0; i < T7_CASES; i++) cases[i] = i;
    test_epochs(&t);
    test_shares(&t, "data: {channels: [ct, sdf.PTV70, sdf.Left, sdf.Right], augment: {flip: true}}");
    test_shares(&t, "data: {channels: [ct, rx, mask.PTV56], coarsen: 2}");
    test_shares(&t, "data: {channels: [ct, body], spacing_mm: [4, 4, 4]}");
    test_mirror(&t);
    test_order(&t);
    test_bad_value(&t);
    t7_release(&t);
    return 0;
}
