/* ctest: libs=dg_grid label=unit timeout=60 */
/* t104_resample.c - linear fields come out exactly, equal grids change nothing, coarse grids average.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_mem.h"
#include "dg_resample.h"
#include "dg_rng.h"
#include "dg_volume.h"

typedef dg_status (*resampler)(const float *, const dg_grid *, const dg_grid *, float, int, float *);

static double field(const dg_grid *g, int64_t z, int64_t y, int64_t x)
{
    const double index[3] = {(double)z, (double)y, (double)x};
    double at[3];
    dg_grid_point(g, index, at);
    return 3 + 0.5 * at[0] - 0.25 * at[1] + 0.75 * at[2];
}

static float *make(const dg_grid *g)
{
    float *v;
    DG_CHECK_OK(DG_NEW(&v, dg_grid_voxels(g), "test"));
    for (int64_t z = 0; z < g->shape[0]; z++)
        for (int64_t y = 0; y < g->shape[1]; y++)
            for (int64_t x = 0; x < g->shape[2]; x++) v[dg_grid_index(g, z, y, x)] = (float)field(g, z, y, x);
    return v;
}

/* Compares the inner voxels (margin away from the faces, where extension rules differ) with the field itself. */
static void check_linear_field(resampler method, const dg_grid *from, const dg_grid *to, int64_t margin)
{
    float *in = make(from), *out;
    DG_CHECK_OK(DG_NEW(&out, dg_grid_voxels(to), "test"));
    DG_CHECK_OK(method(in, from, to, -99, 2, out));
    int64_t compared = 0;
    for (int64_t z = margin; z < to->shape[0] - margin; z++)
        for (int64_t y = margin; y < to->shape[1] - margin; y++)
            for (int64_t x = margin; x < to->shape[2] - margin; x++) {
                DG_CHECK_NEAR(out[dg_grid_index(to, z, y, x)], field(to, z, y, x), 2e-5);
                compared++;
            }
    DG_CHECK(compared > 0);
    dg_free(&in);
    dg_free(&out);
}

static void test_linear_fields(void)
{
    const int64_t shape[3] = {12, 14, 16};
    const double spacing[3] = {2.5, 1.5, 3}, finer[3] = {1.1, 1.5, 0.9}, coarser[3] = {5, 3, 7};
    dg_grid from = dg_grid_make(shape, spacing);
    from.origin_mm[0] = -7;
    from.origin_mm[2] = 4;
    dg_grid fine = dg_grid_respaced(&from, finer), coarse = dg_grid_respaced(&from, coarser);
    check_linear_field(dg_resample_linear, &from, &from, 0);
    check_linear_field(dg_resample_linear, &from, &fine, 4);
    check_linear_field(dg_resample_linear, &from, &coarse, 1);
    /* a turned grid: respacing keeps the centre, resampling knows only the common axes */
    const double turned[9] = {0, -1, 0, 1, 0, 0, 0, 0, 1};
    memcpy(from.direction, turned, sizeof turned);
    fine = dg_grid_respaced(&from, finer);
    check_linear_field(dg_resample_linear, &from, &fine, 4);
    double middle[3], other[3];
    const double centre[3] = {5.5, 6.5, 7.5};
    const double fine_centre[3] = {0.5 * (double)(fine.shape[0] - 1), 0.5 * (double)(fine.shape[1] - 1),
                                   0.5 * (double)(fine.shape[2] - 1)};
    dg_grid_point(&from, centre, middle);
    dg_grid_point(&fine, fine_centre, other);
    for (int a = 0; a < 3; a++) DG_CHECK_NEAR(middle[a], other[a], 1e-9);
    DG_CHECK(fine.shape[0] == 28 && fine.shape[1] == 14 && fine.shape[2] == 54);
}

/* The mirror of a line is not a line: a B-spline bends near the faces, by a factor of 0.27 less every voxel inwards. */
static void test_bspline(void)
{
    const int64_t shape[3] = {30, 32, 34}, small[3] = {5, 6, 7};
    const double spacing[3] = {1, 1, 1}, other[3] = {0.8, 0.7, 0.9};
    dg_grid from = dg_grid_make(shape, spacing), to = dg_grid_make(small, other);
    const double co = cos(0.4), si = sin(0.4), turn[9] = {co, -si, 0, si, co, 0, 0, 0, 1};
    memcpy(to.direction, turn, sizeof turn);
    for (int a = 0; a < 3; a++) to.origin_mm[a] = 13.3;
    check_linear_field(dg_resample_bspline, &from, &to, 0);

    dg_rng rng = dg_rng_stream(4, DG_RNG_TEST, 0, 0);
    dg_grid tiny = dg_grid_make((int64_t[3]){3, 1, 4}, spacing);
    float in[12], out[12];
    for (int i = 0; i < 12; i++) in[i] = (float)dg_rng_normal(&rng);
    DG_CHECK_OK(dg_resample_bspline(in, &tiny, &tiny, 7, 1, out)); /* interpolation: samples come back */
    for (int i = 0; i < 12; i++) DG_CHECK_NEAR(out[i], in[i], 1e-6);
    dg_grid away = tiny;
    away.origin_mm[2] = 3.4; /* index 3.4 is inside N - 0.5, 3.6 is not */
    DG_CHECK_OK(dg_resample_bspline(in, &tiny, &away, 7, 1, out));
    DG_CHECK(out[0] != 7 && out[1] == 7 && out[3] == 7);
    away.origin_mm[2] = 3.5;
    DG_CHECK_OK(dg_resample_bspline(in, &tiny, &away, 7, 1, out));
    DG_CHECK(out[0] == 7);
    memset(away.direction, 0, sizeof away.direction);
    DG_CHECK_FAILS(dg_resample_bspline(in, &away, &tiny, 7, 1, out), DG_ERR_DATA, "cannot be inverted");
}

static void test_same_and_nearest(void)
{
    const int64_t shape[3] = {3, 4, 5};
    const double spacing[3] = {2, 1, 3}, half[3] = {1, 0.5, 1.5};
    dg_grid g = dg_grid_make(shape, spacing), fine = dg_grid_respaced(&g, half);
    float in[60], same[60], up[480], back[60];
    dg_rng rng = dg_rng_stream(4, DG_RNG_TEST, 1, 0);
    for (int i = 0; i < 60; i++) in[i] = (float)dg_rng_normal(&rng);
    DG_CHECK_OK(dg_resample_linear(in, &g, &g, 0, 1, same));
    DG_CHECK(memcmp(in, same, sizeof in) == 0);
    DG_CHECK_OK(dg_resample_nearest(in, &g, &g, 0, 1, same));
    DG_CHECK(memcmp(in, same, sizeof in) == 0);
    /* nearest to half the spacing repeats voxels; averaging back returns them */
    DG_CHECK(dg_grid_voxels(&fine) == 480);
    DG_CHECK_OK(dg_resample_nearest(in, &g, &fine, 0, 2, up));
    DG_CHECK(up[0] == in[0] && up[1] == in[0] && up[2] == in[1] && up[10] == in[0] && up[20] == in[5]);
    DG_CHECK_OK(dg_resample_linear(up, &fine, &g, 0, 2, back));
    for (int i = 0; i < 60; i++) DG_CHECK_NEAR(back[i], in[i], 1e-6);
    dg_grid shifted = g;
    shifted.origin_mm[2] = 3; /* one voxel along x: the last column looks outside */
    DG_CHECK_OK(dg_resample_linear(in, &g, &shifted, -5, 1, same));
    DG_CHECK(same[0] == in[1] && same[4] == -5);
    DG_CHECK_OK(dg_resample_nearest(in, &g, &shifted, -5, 1, same));
    DG_CHECK(same[0] == in[1] && same[4] == -5);
    shifted.direction[0] = -1;
    DG_CHECK_FAILS(dg_resample_linear(in, &g, &shifted, 0, 1, same), DG_ERR_DATA, "different directions");
}

static void test_volume(void)
{
    const int64_t shape[3] = {3, 4, 5}, factor[3] = {2, 2, 2};
    const double spacing[3] = {2, 1, 3};
    float in[60], out[64], back[60];
    uint8_t mask[60];
    for (int i = 0; i < 60; i++) {
        in[i] = (float)i;
        mask[i] = i < 2 ? 9 : 0;
    }
    dg_box box = {.start = {-1, 1, 3}, .shape = {4, 4, 4}};
    dg_volume_crop(in, shape, &box, -7, out);
    DG_CHECK(out[0] == -7 && out[16] == in[8] && out[17] == in[9] && out[18] == -7 && out[16 + 12] == -7);
    memset(back, 0, sizeof back);
    dg_volume_paste(out, &box, shape, back);
    for (int64_t z = 0; z < 3; z++)
        for (int64_t y = 0; y < 4; y++)
            for (int64_t x = 0; x < 5; x++) {
                int64_t i = (z * 4 + y) * 5 + x;
                DG_CHECK(back[i] == (y >= 1 && x >= 3 ? in[i] : 0));
            }
    dg_box away = {.start = {10, 0, 0}, .shape = {1, 1, 2}};
    dg_volume_crop(in, shape, &away, 4, out);
    DG_CHECK(out[0] == 4 && out[1] == 4);
    dg_grid g = dg_grid_make(shape, spacing), coarse = dg_grid_coarsened(&g, factor);
    DG_CHECK(coarse.shape[0] == 2 && coarse.shape[1] == 2 && coarse.shape[2] == 3);
    DG_CHECK(coarse.origin_mm[0] == 1 && coarse.origin_mm[1] == 0.5 && coarse.origin_mm[2] == 1.5);
    dg_volume_coarsen(in, shape, factor, out);
    DG_CHECK_NEAR(out[0], (0 + 1 + 5 + 6 + 20 + 21 + 25 + 26) / 8.0, 1e-6);
    DG_CHECK_NEAR(out[2], (4 + 9 + 24 + 29) / 4.0, 1e-6);
    DG_CHECK_NEAR(out[11], (54 + 59) / 2.0, 1e-6);
    dg_volume_coarsen_mask(mask, shape, factor, out);
    DG_CHECK(out[0] == 0.25F && out[1] == 0);
    dg_grid boxed = dg_grid_boxed(&g, &box);
    DG_CHECK(boxed.origin_mm[0] == -2 && boxed.origin_mm[1] == 1 && boxed.origin_mm[2] == 9 && boxed.shape[0] == 4);
}

static void test_limits(void)
{
    dg_grid g = dg_grid_make((int64_t[3]){16384, 16384, 16}, (double[3]){1, 1, 1});
    DG_CHECK_FAILS(dg_grid_check(&g), DG_ERR_DATA, "more than 2^31");
    g.shape[1] = 16385;
    DG_CHECK_FAILS(dg_grid_check(&g), DG_ERR_DATA, "16385 voxels along y");
    g.shape[1] = 1;
    DG_CHECK_OK(dg_grid_check(&g));
    g.spacing_mm[2] = NAN;
    DG_CHECK_FAILS(dg_grid_check(&g), DG_ERR_DATA, "spacing along x is nan");
    g.spacing_mm[2] = 1;
    g.origin_mm[0] = INFINITY;
    DG_CHECK_FAILS(dg_grid_check(&g), DG_ERR_DATA, "origin along z");
}

int main(void)
{
    test_linear_fields();
    test_bspline();
    test_same_and_nearest();
    test_volume();
    test_limits();
    return 0;
}
