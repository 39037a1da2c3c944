/* ctest: libs=dg_grid label=unit timeout=120 */
/* t101_distance.c - exact distances against brute force on random anisotropic grids. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_distance.h"
#include "dg_mem.h"
#include "dg_rng.h"

/* Distance in mm from voxel i to the nearest voxel with (mask != 0) == wanted. */
static double brute_force(const uint8_t *mask, const dg_grid *g, int64_t i, bool wanted)
{
    double best = INFINITY;
    int64_t ny = g->shape[1], nx = g->shape[2];
    for (int64_t j = 0; j < dg_grid_voxels(g); j++) {
        if ((mask[j] != 0) != wanted) continue;
        double dz = (double)(i / nx / ny - j / nx / ny) * g->spacing_mm[0];
        double dy = (double)(i / nx % ny - j / nx % ny) * g->spacing_mm[1];
        double dx = (double)(i % nx - j % nx) * g->spacing_mm[2];
        best = fmin(best, dz * dz + dy * dy + dx * dx);
    }
    return sqrt(best);
}

static void compare(const dg_grid *g, const uint8_t *mask, double clip_mm)
{
    int64_t voxels = dg_grid_voxels(g);
    float *one, *two;
    DG_CHECK_OK(DG_NEW(&one, voxels, "test"));
    DG_CHECK_OK(DG_NEW(&two, voxels, "test"));
    DG_CHECK_OK(dg_distance(mask, g, 1, one));
    DG_CHECK_OK(dg_distance(mask, g, 3, two));
    DG_CHECK(memcmp(one, two, (size_t)voxels * sizeof *one) == 0);
    for (int64_t i = 0; i < voxels; i++) {
        double want = brute_force(mask, g, i, true);
        DG_CHECK((isinf(want) && isinf(one[i])) || fabs(one[i] - want) <= 1e-6 * want);
    }
    DG_CHECK_OK(dg_signed_distance(mask, g, clip_mm, 1, one));
    DG_CHECK_OK(dg_signed_distance(mask, g, clip_mm, 2, two));
    DG_CHECK(memcmp(one, two, (size_t)voxels * sizeof *one) == 0);
    for (int64_t i = 0; i < voxels; i++) {
        double want = fmin(brute_force(mask, g, i, mask[i] == 0), clip_mm) * (mask[i] ? -1 : 1);
        DG_CHECK_NEAR(one[i], want, 1e-6 * clip_mm);
    }
    dg_free(&one);
    dg_free(&two);
}

static void test_random(void)
{
    for (uint64_t round = 0; round < 40; round++) {
        dg_rng rng = dg_rng_stream(11, DG_RNG_TEST, round, 0);
        int64_t shape[3];
        double spacing[3];
        for (int a = 0; a < 3; a++) {
            shape[a] = 1 + dg_rng_below(&rng, 9);
            spacing[a] = 0.3 + 4 * dg_rng_uniform(&rng);
        }
        dg_grid g = dg_grid_make(shape, spacing);
        uint8_t *mask;
        DG_CHECK_OK(DG_NEW(&mask, dg_grid_voxels(&g), "test"));
        double share = round % 5 == 0 ? 0 : round % 5 == 1 ? 1 : round % 5 == 2 ? 0.02 : dg_rng_uniform(&rng);
        for (int64_t i = 0; i < dg_grid_voxels(&g); i++) mask[i] = dg_rng_uniform(&rng) < share ? 3 : 0;
        compare(&g, mask, round % 2 ? 5.5 : 1000);
        dg_free(&mask);
    }
}

/* Steps of a length are the distances, each rounded to f32 and to the nearest step. */
static void check_steps(const dg_grid *g, const uint8_t *mask, double clip_mm)
{
    const int64_t voxels = dg_grid_voxels(g);
    const double step_mm = clip_mm / 32767;
    int16_t *one, *two;
    float *mm;
    DG_CHECK_OK(DG_NEW(&one, voxels, "test"));
    DG_CHECK_OK(DG_NEW(&two, voxels, "test"));
    DG_CHECK_OK(DG_NEW(&mm, voxels, "test"));
    memset(one, 0x55, (size_t)voxels * sizeof *one);
    DG_CHECK_OK(dg_signed_distance(mask, g, clip_mm, 1, mm));
    DG_CHECK_OK(dg_signed_distance_steps(mask, g, clip_mm, step_mm, 1, one));
    DG_CHECK_OK(dg_signed_distance_steps(mask, g, clip_mm, step_mm, 3, two));
    DG_CHECK(memcmp(one, two, (size_t)voxels * sizeof *one) == 0);
    for (int64_t i = 0; i < voxels; i++) DG_CHECK(one[i] == (int16_t)lrint((double)mm[i] / step_mm));
    dg_free(&one);
    dg_free(&two);
    dg_free(&mm);
}

/* Rows of several tiles, with gaps in them, none, and only ends; masks that touch the grid's ends and that do not. */
static void test_long_rows(void)
{
    const int64_t shape[3] = {4, 5, 61};
    const double spacing[3] = {2.5, 1.1, 0.9};
    const dg_grid g = dg_grid_make(shape, spacing);
    uint8_t mask[4 * 5 * 61];
    for (int kind = 0; kind < 6; kind++) {
        memset(mask, 0, sizeof mask);
        for (int64_t i = 0; i < dg_grid_voxels(&g); i++) {
            const int64_t x = i % 61, y = i / 61 % 5, z = i / 61 / 5;
            const bool set[6] = {x == 0 || x == 60,           x > 20 && x < 50 && y == 2 && z > 0,
                                 x % 23 == 7 && (y + z) % 2,  x != 33,
                                 z == 3 && y == 4 && x == 60, x > 1 && x < 59 && y > 0 && y < 4 && z == 1};
            mask[i] = set[kind] ? 2 : 0;
        }
        compare(&g, mask, kind % 2 ? 7 : 1000);
        check_steps(&g, mask, kind % 2 ? 7 : 100);
    }
}

static void test_upstream(void)
{
    const int64_t shape[3] = {3, 2, 2};
    const double spacing[3] = {2, 3, 5};
    dg_grid g = dg_grid_make(shape, spacing);
    uint8_t mask[12] = {0};
    float sdf[12];
    DG_CHECK_OK(dg_signed_distance_upstream(mask, &g, 50, 1, sdf));
    for (int i = 0; i < 12; i++) DG_CHECK(sdf[i] == 0);
    memset(mask, 1, sizeof mask);
    DG_CHECK_OK(dg_signed_distance_upstream(mask, &g, 50, 1, sdf));
    DG_CHECK_NEAR(sdf[0], -2, 0);
    DG_CHECK_NEAR(sdf[11], -sqrt(36 + 9 + 25), 1e-6);
    DG_CHECK_OK(dg_signed_distance(mask, &g, 50, 1, sdf));
    DG_CHECK_NEAR(sdf[0], -50, 0);
}

int main(void)
{
    test_random();
    test_long_rows();
    test_upstream();
    const int64_t shape[3] = {2, 2, 2};
    const double bad[3] = {1, 0, 1}, good[3] = {1, 1, 1};
    dg_grid g = dg_grid_make(shape, bad);
    uint8_t mask[8] = {0};
    float sdf[8];
    DG_CHECK_FAILS(dg_distance(mask, &g, 1, sdf), DG_ERR_DATA, "spacing along y is 0");
    g = dg_grid_make(shape, good);
    DG_CHECK_FAILS(dg_distance(mask, &g, 0, sdf), DG_ERR_USAGE, "0 threads");
    DG_CHECK_FAILS(dg_signed_distance(mask, &g, 0, 1, sdf), DG_ERR_USAGE, "clipped to 0");
    return 0;
}
