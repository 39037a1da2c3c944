/* Boxes as the network sees them: block averages, counted voxels, outside values by hand; cached copies equal direct
 * reads; resampling keeps a linear field.
 * ctest: libs=dg_run label=unit timeout=60
 * SPDX-License-Identifier: Apache-2.0 */
#include "source.h"
#include "t7_cases.h"

static const int64_t shape[3] = {6, 7, 9};
static const int64_t cases[2] = {0, 1};

static dg_recipe resolve(const t7_cohort *t, const char *yaml)
{
    dg_run_config config;
    dg_recipe recipe;
    t7_config(yaml, &config);
    DG_CHECK_OK(dg_recipe_resolve(&config, t->cohort, cases, 2, &recipe));
    return recipe;
}

static void read_box(const t7_cohort *t, const dg_recipe *recipe, int64_t cache, const dg_box *box,
                     const dg_source_buffers *out)
{
    dg_source *source;
    DG_CHECK_OK(dg_source_create(t->cohort, recipe, cache, &source));
    DG_CHECK_OK(dg_source_pin(source, 1));
    for (int again = 0; again < 2; again++) DG_CHECK_OK(dg_source_read(source, 1, box, out));
    dg_source_unpin(source, 1);
    dg_source_destroy(&source);
}

/* Native: a box that leaves the volume on both sides of x. */
static void test_native(const t7_cohort *t)
{
    dg_recipe recipe = resolve(t, "{data: {channels: [ct, rx, mask.Right, possible_dose, sdf.PTV56], ct_range: [-200, "
                                  "200]}, loss: {mask: possible_dose}}");
    dg_box box = {.start = {2, 3, -1}, .shape = {2, 2, 11}};
    float channel[5 * 44], dose[44];
    uint8_t counted[44];
    read_box(t, &recipe, 0, &box, &(dg_source_buffers){channel, dose, counted, NULL});
    for (int64_t z = 0, i = 0; z < 2; z++) {
        for (int64_t y = 0; y < 2; y++) {
            for (int64_t x = 0; x < 11; x++, i++) {
                int64_t vz = z + 2, vy = y + 3, vx = x - 1;
                bool inside = vx >= 0 && vx < 9;
                int64_t v = (vz * 7 + vy) * 9 + vx;
                uint64_t bits = inside ? t->masks[1][v] : 0;
                DG_CHECK_NEAR(channel[i], inside ? (double)t->ct[1][v] / 200 : -1, 1e-6);
                DG_CHECK_NEAR(channel[44 + i], (bits & 1) != 0 ? 1 : 0, 1e-6); /* 70 of 70 Gy */
                DG_CHECK(channel[88 + i] == ((bits & 4) != 0));
                DG_CHECK(channel[132 + i] == ((bits & 8) != 0));
                DG_CHECK(channel[176 + i] == 1); /* case 1 has no PTV56 */
                DG_CHECK_NEAR(dose[i], inside ? t->dose[1][v] / 70 : 0, 1e-6);
                DG_CHECK(counted[i] == ((bits & 8) != 0));
            }
        }
    }
}

/* The box of known dose ends the counted part even without a mask. */
static void test_dose_box(t7_cohort *t)
{
    dg_recipe recipe = resolve(t, "{data: {channels: [ct]}, loss: {mask: none}}");
    t->data[1].info.dose_box = (dg_box){.start = {1, 0, 2}, .shape = {3, 7, 4}};
    dg_cohort *cohort;
    DG_CHECK_OK(dg_cohort_memory_create(t->data, t->count, &cohort));
    dg_source *source;
    dg_box whole = {.shape = {6, 7, 9}};
    uint8_t counted[378];
    DG_CHECK_OK(dg_source_create(cohort, &recipe, 0, &source));
    DG_CHECK_OK(dg_source_pin(source, 1));
    DG_CHECK_OK(dg_source_read(source, 1, &whole, &(dg_source_buffers){.counted = counted}));
    int64_t sum = 0;
    for (int64_t i = 0; i < 378; i++) {
        int64_t z = i / 63, x = i % 9;
        DG_CHECK(counted[i] == (z >= 1 && z < 4 && x >= 2 && x < 6));
        sum += counted[i];
    }
    DG_CHECK(sum == 3 * 7 * 4);
    dg_source_unpin(source, 1);
    dg_source_destroy(&source);
    dg_cohort_close(&cohort);
    t->data[1].info.dose_box = whole;
}

/* Blocks of 2 x 3 x 2: CT averages, dose and counted voxels stay native; a padded block at the end of x. */
static void test_coarse(const t7_cohort *t)
{
    dg_recipe recipe =
        resolve(t, "{data: {channels: [ct, mask.PTV70], ct_range: [-1000, 1000], coarsen: [2, 3, 2]}, loss: "
                   "{mask: body}}");
    dg_box box = {.start = {1, 1, 3}, .shape = {2, 1, 2}};
    float channel[8], dose[4 * 3 * 4], other[8];
    uint8_t counted[48];
    read_box(t, &recipe, 0, &box, &(dg_source_buffers){channel, dose, counted, NULL});
    for (int64_t b = 0; b < 4; b++) {
        double ct = 0, mask = 0;
        for (int64_t k = 0; k < 12; k++) {
            int64_t z = 2 * (1 + b / 2) + k / 6, y = 3 + k / 2 % 3, x = 2 * (3 + b % 2) + k % 2;
            bool inside = x < 9;
            int64_t v = (z * 7 + y) * 9 + x;
            ct += (inside ? (double)t->ct[1][v] : -1000) / 1000 / 12;
            mask += (inside && (t->masks[1][v] & 1) != 0) / 12.0;
        }
        DG_CHECK_NEAR(channel[b], ct, 1e-6);
        DG_CHECK_NEAR(channel[4 + b], mask, 1e-6);
    }
    for (int64_t i = 0; i < 48; i++) {
        int64_t z = 2 + i / 12, y = 3 + i / 4 % 3, x = 6 + i % 4;
        DG_CHECK_NEAR(dose[i], x < 9 ? t->dose[1][(z * 7 + y) * 9 + x] / 70 : 0, 1e-6);
        DG_CHECK(counted[i] == (x < 9));
    }
    read_box(t, &recipe, 1 << 20, &box, &(dg_source_buffers){.channels = other});
    for (int i = 0; i < 8; i++) DG_CHECK(other[i] == channel[i]);
}

/* CT, linear in space, at the centres of another grid; the cache is bounded. */
static void test_resampled(const t7_cohort *t)
{
    dg_recipe recipe =
        resolve(t, "{data: {channels: [ct], ct_range: [-1000, 1000], spacing_mm: [3, 2.5, 4]}, loss: {mask: "
                   "none}}");
    const dg_case_info *info = dg_cohort_case(t->cohort, 1);
    dg_grid net;
    int64_t sub[3];
    dg_recipe_geometry(&recipe, &info->grid, &net, sub);
    DG_CHECK(net.shape[0] == 6 && net.shape[1] == 7 && net.shape[2] == 5 && sub[2] == 1);
    dg_source *source;
    float channel[210];
    dg_box whole = {.shape = {6, 7, 5}};
    DG_CHECK_OK(dg_source_create(t->cohort, &recipe, 1 << 20, &source));
    DG_CHECK_OK(dg_source_pin(source, 1));
    DG_CHECK_OK(dg_source_read(source, 1, &whole, &(dg_source_buffers){.channels = channel}));
    for (int64_t x = 1; x < 4; x++) { /* inner voxels: averages over their footprint of a linear field are its centre */
        double at = (net.origin_mm[2] + (double)x * 4) / 2;
        DG_CHECK_NEAR(channel[(2 * 7 + 3) * 5 + x], (20 + 3 - at - 100) / 1000, 2e-5);
    }
    DG_CHECK(dg_source_cached_bytes(source) == 210 * 4 + 210 * 4 + 210);
    dg_source_unpin(source, 1);
    dg_source_destroy(&source);
    DG_CHECK_OK(dg_source_create(t->cohort, &recipe, 100, &source)); /* too little: nothing is kept, all still works */
    DG_CHECK_OK(dg_source_pin(source, 1));
    DG_CHECK_OK(dg_source_read(source, 1, &whole, &(dg_source_buffers){.channels = channel}));
    DG_CHECK(dg_source_cached_bytes(source) == 0);
    dg_source_unpin(source, 1);
    dg_source_destroy(&source);
}

static void test_targets(const t7_cohort *t)
{
    dg_recipe recipe = resolve(t, "{data: {channels: [ct], coarsen: [1, 1, 3]}}");
    dg_source *source;
    const int64_t *voxel;
    int64_t count;
    DG_CHECK_OK(dg_source_create(t->cohort, &recipe, 0, &source));
    DG_CHECK_OK(dg_source_pin(source, 1));
    DG_CHECK_OK(dg_source_targets(source, 1, &voxel, &count));
    DG_CHECK(count == 2 * 2 * 3); /* the middle box */
    for (int64_t i = 0; i < count; i++) {
        int64_t z = voxel[i] / 21, y = voxel[i] / 3 % 7, x = voxel[i] % 3;
        DG_CHECK(z >= 2 && z < 4 && y >= 2 && y < 4 && x == 1);
    }
    dg_source_unpin(source, 1);
    dg_source_destroy(&source);
}

/* Where dose is possible (all but the first plane of every axis), on the network's grid; without a frame, or a region, all. */
static void test_frame(const t7_cohort *t)
{
    static const char *const yaml[] = {"{data: {channels: [ct], frame: region}}", "{data: {channels: [ct]}}",
                                       "{data: {channels: [ct], frame: region, coarsen: [1, 2, 3]}}",
                                       "{data: {channels: [ct], frame: region, spacing_mm: [3, 5, 1]}}"};
    const dg_box known[] = {{.start = {1, 1, 1}, .shape = {5, 6, 8}},
                            {.shape = {6, 7, 9}},
                            {.start = {1, 0, 0}, .shape = {5, 4, 3}},
                            {.start = {1, 0, 2}, .shape = {5, 4, 16}}};
    for (int k = 0; k < 4; k++) {
        dg_recipe recipe = resolve(t, yaml[k]);
        dg_source *source;
        dg_box frame;
        DG_CHECK_OK(dg_source_create(t->cohort, &recipe, 0, &source));
        DG_CHECK_OK(dg_source_pin(source, 1));
        for (int turn = 0; turn < 2; turn++) {
            DG_CHECK_OK(dg_source_frame(source, 1, &frame));
            DG_CHECK(memcmp(&frame, &known[k], sizeof frame) == 0);
        }
        dg_source_unpin(source, 1);
        dg_source_destroy(&source);
    }
}

int main(void)
{
    t7_cohort t;
    t7_create(&t, 2, shape);
    test_native(&t);
    test_dose_box(&t);
    test_coarse(&t);
    test_resampled(&t);
    test_targets(&t);
    test_frame(&t);
    t7_release(&t);
    return 0;
}
