/* ctest: libs=dg_analysis label=unit timeout=60 */
/* t673_surface.c - surface distances and chosen thresholds: known areas and shifts, random masks against all pairs of surface
 * elements, thresholds of a list that can be checked by hand. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_mem.h"
#include "dg_rng.h"
#include "dg_surface.h"
#include "dg_threshold.h"

static void test_areas(void)
{
    const double unit[3] = {1, 1, 1}, spacing[3] = {3, 2, 0.5};
    double area[256];
    dg_surface_areas(unit, area);
    DG_CHECK(area[0] == 0 && area[255] == 0);
    for (int code = 0; code < 256; code++) DG_CHECK_NEAR(area[code], area[255 - code], 1e-12);
    DG_CHECK_NEAR(area[15], 1, 1e-12);                /* half the window: a square */
    DG_CHECK_NEAR(area[1], sqrt(3) / 8, 1e-12);       /* a corner: a triangle between three edges */
    DG_CHECK_NEAR(area[3], sqrt(0.5), 1e-12);         /* an edge */
    DG_CHECK_NEAR(area[1 + 128], sqrt(3) / 4, 1e-12); /* two corners far apart */
    dg_surface_areas(spacing, area);
    DG_CHECK_NEAR(area[15], 2 * 0.5, 1e-12);
    DG_CHECK_NEAR(area[51], 3 * 0.5, 1e-12);
    DG_CHECK_NEAR(area[85], 3 * 2, 1e-12);
}

enum { SIDE = 12 };
static const int64_t N[3] = {SIDE, SIDE, SIDE};

static void test_shifts(void)
{
    static uint8_t a[SIDE * SIDE * SIDE], b[SIDE * SIDE * SIDE];
    const double spacing[3] = {2, 1, 0.5};
    const dg_grid grid = dg_grid_make(N, spacing);
    dg_surface_agreement found;
    DG_CHECK_OK(dg_surface_compare(a, b, &grid, 1, 95, 1, &found));
    DG_CHECK(found.dice == 1 && found.hausdorff_mm == 0 && found.mean_mm == 0);
    a[(3 * SIDE + 4) * SIDE + 5] = 1; /* one voxel, and the same 4 planes on: 8 mm */
    DG_CHECK_OK(dg_surface_compare(a, b, &grid, 1, 95, 1, &found));
    DG_CHECK(found.dice == 0 && isinf(found.hausdorff_mm) && found.area_mm2[0] > 0 && found.area_mm2[1] == 0);
    b[(7 * SIDE + 4) * SIDE + 5] = 1;
    DG_CHECK_OK(dg_surface_compare(a, b, &grid, 6, 95, 1, &found));
    DG_CHECK_NEAR(found.hausdorff_mm, 8, 1e-6);
    DG_CHECK_NEAR(found.dice, 0.5, 1e-6); /* the near halves are 6 mm apart */
    DG_CHECK_NEAR(found.mean_mm, 7, 1e-6);
    DG_CHECK_OK(dg_surface_compare(a, b, &grid, 6, 50, 1, &found));
    DG_CHECK_NEAR(found.hausdorff_mm, 6, 1e-6);
    /* planes: a block of 4 planes through the whole volume, shifted by 1 plane; its two sides are 2 mm off, the rims less */
    memset(a, 0, sizeof a);
    memset(b, 0, sizeof b);
    memset(a + 3 * SIDE * SIDE, 1, 4 * SIDE * SIDE);
    memset(b + 4 * SIDE * SIDE, 1, 4 * SIDE * SIDE);
    DG_CHECK_OK(dg_surface_compare(a, b, &grid, 2, 100, 1, &found));
    DG_CHECK(found.dice == 1);
    DG_CHECK_NEAR(found.hausdorff_mm, 2, 1e-6);
}

static double nearest(const int64_t at[3], const int64_t (*other)[3], int64_t count, const double s[3])
{
    double best = INFINITY;
    for (int64_t k = 0; k < count; k++) {
        double sum = 0;
        for (int a = 0; a < 3; a++) sum += (double)((at[a] - other[k][a]) * (at[a] - other[k][a])) * s[a] * s[a];
        best = fmin(best, sqrt(sum));
    }
    return best;
}

static int64_t windows_of(const uint8_t *mask, const int64_t n[3], int64_t (*at)[3], int *code)
{
    int64_t count = 0;
    for (int64_t z = 0; z <= n[0]; z++)
        for (int64_t y = 0; y <= n[1]; y++)
            for (int64_t x = 0; x <= n[2]; x++) {
                int bits = 0;
                for (int k = 0; k < 8; k++) {
                    const int64_t i = z - 1 + k / 4, j = y - 1 + k / 2 % 2, l = x - 1 + k % 2;
                    if (i < 0 || j < 0 || l < 0 || i >= n[0] || j >= n[1] || l >= n[2]) continue;
                    bits |= mask[(i * n[1] + j) * n[2] + l] != 0 ? 1 << k : 0;
                }
                if (bits == 0 || bits == 255) continue;
                const int64_t here[3] = {z, y, x};
                memcpy(at[count], here, sizeof here);
                code[count++] = bits;
            }
    return count;
}

static void test_random(uint64_t seed)
{
    static int64_t at[2][1000][3];
    static int code[2][1000];
    const int64_t n[3] = {6, 5, 7};
    const double s[3] = {1.5, 1, 0.75}, tolerance = 1.2;
    uint8_t mask[2][210];
    double area[256], total = 0, within = 0, hausdorff = 0;
    int64_t count[2];
    dg_surface_agreement found;
    const dg_grid grid = dg_grid_make(n, s);
    dg_rng rng = dg_rng_stream(seed, DG_RNG_TEST, 0, 0);
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < 210; i++) mask[k][i] = dg_rng_uniform(&rng) < 0.04;
    dg_surface_areas(s, area);
    for (int k = 0; k < 2; k++) count[k] = windows_of(mask[k], n, at[k], code[k]);
    if (count[0] == 0 || count[1] == 0) return;
    for (int k = 0; k < 2; k++) {
        static double d[1000];
        double all = 0, best = INFINITY;
        for (int64_t i = 0; i < count[k]; i++) {
            d[i] = nearest(at[k][i], (const int64_t(*)[3])at[1 - k], count[1 - k], s);
            all += area[code[k][i]];
            if (d[i] <= tolerance) within += area[code[k][i]];
        }
        total += all;
        for (int64_t i = 0; i < count[k]; i++) { /* the least distance within which 95 % of the area lie */
            double inside = 0;
            for (int64_t j = 0; j < count[k]; j++) inside += d[j] <= d[i] ? area[code[k][j]] : 0;
            if (inside >= 0.95 * all) best = fmin(best, d[i]);
        }
        hausdorff = fmax(hausdorff, best);
    }
    DG_CHECK_OK(dg_surface_compare(mask[0], mask[1], &grid, tolerance, 95, 1, &found));
    DG_CHECK_NEAR(found.dice, within / total, 1e-6);
    DG_CHECK_NEAR(found.hausdorff_mm, hausdorff, 1e-5);
}

static void test_thresholds(void)
{
    static const float p[] = {0.9f, 0.8f, 0.7f, 0.6f, 0.5f, 0.4f, 0.3f, 1.0f, 0.95f};
    static const uint8_t label[] = {1, 1, 0, 1, 0, 0, 0, 0, 0}, counted[] = {1, 1, 1, 1, 1, 1, 1, 0, 0};
    dg_threshold_counts *counts;
    dg_overlap o;
    double t = 0;
    DG_CHECK_OK(DG_NEW(&counts, 1, "counts"));
    DG_CHECK_FAILS(dg_threshold_choose(counts, DG_AIM_DICE, NAN, &t, &o), DG_ERR_DATA, "0 labelled voxels");
    dg_threshold_add(counts, p, label, counted, 4);
    dg_threshold_add(counts, p + 4, label + 4, counted + 4, 5);
    DG_CHECK_OK(dg_threshold_choose(counts, DG_AIM_DICE, NAN, &t, &o)); /* 4 predicted, 3 of them right: 6/7 */
    DG_CHECK_NEAR(t, 0.5, 1e-3);
    DG_CHECK(t > 0.5 && t <= 0.6 && o.predicted == 4 && o.both == 3 && o.counted == 7);
    DG_CHECK_OK(dg_threshold_choose(counts, DG_AIM_PRECISION, 0.9, &t, &o));
    DG_CHECK(t > 0.7 && t <= 0.8 && o.predicted == 2 && o.both == 2);
    DG_CHECK_OK(dg_threshold_choose(counts, DG_AIM_FRACTION, 1.0 / 7, &t, &o));
    DG_CHECK(t > 0.8 && t <= 0.9 && o.predicted == 1);
    DG_CHECK_OK(dg_threshold_choose(counts, DG_AIM_FRACTION, NAN, &t, &o)); /* as many as are labelled */
    DG_CHECK(o.predicted == 3 && o.labelled == 3);
    const float bad[] = {NAN, -1, 7};
    const uint8_t none[] = {0, 0, 0};
    memset(counts, 0, sizeof *counts);
    dg_threshold_add(counts, bad, none, NULL, 3);
    DG_CHECK(counts->voxels[0][0] == 2 && counts->voxels[0][DG_THRESHOLDS] == 1);
    dg_threshold_add(counts, p, label, NULL, 2); /* the best of all thresholds has two of three */
    DG_CHECK_FAILS(dg_threshold_choose(counts, DG_AIM_PRECISION, 0.99, &t, &o), DG_ERR_DATA, "the best has 0.66");
    dg_free(&counts);
}

int main(void)
{
    test_areas();
    test_shifts();
    for (uint64_t seed = 0; seed < 30; seed++) test_random(seed);
    test_thresholds();
    return 0;
}
