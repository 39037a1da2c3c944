/* ctest: libs=dg_analysis,dg_backend,dg_grid label=unit timeout=60 */
/* t612_gamma_refusals.c - doses, axes and criteria that no gamma exists for are refused by name; reaches, masks, single
 * planes and summaries at their edges. SPDX-License-Identifier: Apache-2.0 */
#include "gamma_case.h"

static gamma_dose reference, evaluated;
static float found[GAMMA_VOXELS];

static void make_pair(void)
{
    const int64_t shape[3] = {4, 5, 6};
    const double spacing[3] = {3, 2.5, 2}, zero[3] = {0, 0, 0};
    gamma_dose_init(&reference, 3, shape, spacing, zero);
    gamma_dose_init(&evaluated, 3, shape, spacing, zero);
    gamma_fill_waves(&reference, 0.0, 0, 1);
    gamma_fill_waves(&evaluated, 0.05, 0, 2);
}

static dg_status map(const dg_gamma_params *p)
{
    return dg_gamma_map(p, &reference.dose, &evaluated.dose, NULL, 2, found);
}

static void test_doses(void)
{
    const dg_gamma_params p = gamma_params(3, 3);
    make_pair();
    reference.gy[1 * 30 + 2 * 6 + 3] = NAN;
    DG_CHECK_FAILS(map(&p), DG_ERR_NUMERIC, "the reference dose is nan at voxel (1, 2, 3)");
    make_pair();
    evaluated.gy[0] = -INFINITY;
    DG_CHECK_FAILS(map(&p), DG_ERR_NUMERIC, "the evaluated dose is -inf at voxel (0, 0, 0)");
    make_pair();
    evaluated.axis[1][3] = evaluated.axis[1][2];
    DG_CHECK_FAILS(map(&p), DG_ERR_DATA,
                   "axis 1 of the evaluated dose is not strictly monotonic at index 3 (5 mm after 5 mm)");
    make_pair();
    reference.axis[2][4] = 1;
    DG_CHECK_FAILS(map(&p), DG_ERR_DATA, "axis 2 of the reference dose is not strictly monotonic at index 4");
    make_pair();
    reference.axis[0][0] = NAN;
    DG_CHECK_FAILS(map(&p), DG_ERR_DATA, "axis 0 of the reference dose is nan mm at index 0");
    make_pair();
    evaluated.dose.axes = 2;
    DG_CHECK_FAILS(map(&p), DG_ERR_DATA, "the reference dose has 3 axes, the evaluated one 2");
    evaluated.dose.axes = 0;
    DG_CHECK_FAILS(map(&p), DG_ERR_DATA, "the evaluated dose has 0 axes");
    make_pair();
    reference.dose.shape[0] = 0;
    DG_CHECK_FAILS(map(&p), DG_ERR_DATA, "the reference dose has no axis 0");
}

static void test_params(void)
{
    const dg_gamma_params good = gamma_params(3, 3);
    const struct {
        size_t at;
        double value;
        const char *words;
    } bad[] = {{offsetof(dg_gamma_params, dose_percent), 0, "dose criterion 0 % must be above 0"},
               {offsetof(dg_gamma_params, dose_percent), NAN, "dose criterion nan %"},
               {offsetof(dg_gamma_params, distance_mm), -1, "distance criterion -1 mm must be above 0"},
               {offsetof(dg_gamma_params, distance_mm), INFINITY, "distance criterion inf mm"},
               {offsetof(dg_gamma_params, cutoff_percent), -0.5, "cutoff -0.5 % must be 0 or more"},
               {offsetof(dg_gamma_params, max_gamma), 0, "largest gamma 0 must be above 0"},
               {offsetof(dg_gamma_params, norm_gy), -70, "normalisation -70 Gy must be 0 or more"},
               {offsetof(dg_gamma_params, interp_fraction), 0.5, "interpolation fraction 0.5 must lie in 1 to 1000"}};
    make_pair();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        dg_gamma_params p = good;
        p.method = DG_GAMMA_PYMEDPHYS;
        memcpy((char *)&p + bad[i].at, &bad[i].value, sizeof bad[i].value);
        DG_CHECK_FAILS(map(&p), DG_ERR_USAGE, bad[i].words);
    }
    dg_gamma_params p = good;
    p.method = DG_GAMMA_METHODS;
    DG_CHECK_FAILS(map(&p), DG_ERR_USAGE, "gamma method 2 is not known");
}

/* Where nothing of the evaluated dose is in reach, the sampled rules evaluate nothing; the true gamma is at its limit. */
static void test_out_of_reach(void)
{
    dg_gamma_params p = gamma_params(3, 3);
    make_pair();
    for (int i = 0; i < 4; i++) evaluated.axis[0][i] += 100;
    DG_CHECK_OK(map(&p));
    for (int64_t i = 0; i < reference.voxels; i++) DG_CHECK(found[i] == 2.0f);
    p.max_gamma = INFINITY;
    DG_CHECK_OK(map(&p)); /* the nearest plane is 100 mm from the first: 33.3 criteria */
    for (int64_t i = 0; i < reference.voxels; i++)
        DG_CHECK(found[i] >= (float)((100 - reference.axis[0][i / 30]) / 3) && found[i] < 60.0f);
    p.method = DG_GAMMA_PYMEDPHYS;
    p.max_gamma = 2;
    DG_CHECK_OK(map(&p));
    for (int64_t i = 0; i < reference.voxels; i++) DG_CHECK(isnan(found[i]));
}

/* One plane, one line and one voxel: D does not exist beside them. */
static void test_single(void)
{
    const int64_t shape[3] = {1, 1, 1};
    const double spacing[3] = {1, 1, 1}, zero[3] = {0, 0, 0}, moved[3] = {0, 2, 0};
    const dg_gamma_params p = gamma_params(3, 3);
    gamma_dose_init(&reference, 3, shape, spacing, zero);
    gamma_dose_init(&evaluated, 3, shape, spacing, moved);
    reference.gy[0] = 50;
    evaluated.gy[0] = 51;
    DG_CHECK_OK(map(&p));
    DG_CHECK_NEAR(found[0], sqrt(4.0 / 9 + 4.0 / 9), 1e-7);
}

static void test_where(void)
{
    static uint8_t where[GAMMA_VOXELS];
    static float all[GAMMA_VOXELS];
    dg_gamma_params p = gamma_params(3, 3);
    for (int method = 0; method < DG_GAMMA_METHODS; method++) {
        p.method = (dg_gamma_method)method;
        make_pair();
        for (int64_t i = 0; i < reference.voxels; i++) where[i] = i % 3 == 0;
        DG_CHECK_OK(dg_gamma_map(&p, &reference.dose, &evaluated.dose, NULL, 1, all));
        DG_CHECK_OK(dg_gamma_map(&p, &reference.dose, &evaluated.dose, where, 1, found));
        for (int64_t i = 0; i < reference.voxels; i++)
            DG_CHECK(where[i] ? memcmp(&found[i], &all[i], sizeof all[i]) == 0 : isnan(found[i]));
        p.norm_gy = 0; /* a reference without dose */
        DG_CHECK_OK(map(&p));
        for (int64_t i = 0; i < reference.voxels; i++) DG_CHECK(isnan(found[i]));
        p.norm_gy = 50;
    }
    p.local = true;
    p.cutoff_percent = 0;
    reference.gy[7] = 0;
    for (int method = 0; method < DG_GAMMA_METHODS; method++) {
        p.method = (dg_gamma_method)method;
        DG_CHECK_OK(map(&p));
        DG_CHECK(isnan(found[7]) && !isnan(found[8]));
    }
}

static void test_summary(void)
{
    const float values[6] = {0.25f, NAN, 1.0f, 1.5f, 0.5f, 2.0f};
    const uint64_t bits[6] = {1, 1, 3, 2, 0, 2};
    double median;
    dg_gamma_summary a = dg_gamma_summary_init(), b = dg_gamma_summary_init(), whole = dg_gamma_summary_init();
    DG_CHECK(isnan(dg_gamma_summary_pass_percent(&a)) && isnan(dg_gamma_summary_mean(&a)) && isnan(a.max));
    dg_gamma_summary_add(&whole, values, NULL, 0, 6);
    DG_CHECK(whole.evaluated == 5 && whole.passed == 3 && whole.max == 2.0f);
    DG_CHECK_NEAR(dg_gamma_summary_pass_percent(&whole), 60, 1e-12);
    DG_CHECK_NEAR(dg_gamma_summary_mean(&whole), 1.05, 1e-12);
    dg_gamma_summary_add(&a, values, NULL, 0, 4);
    dg_gamma_summary_add(&b, values + 4, NULL, 0, 2);
    dg_gamma_summary_merge(&b, &a);
    DG_CHECK(b.evaluated == whole.evaluated && b.passed == whole.passed && b.sum_q20 == whole.sum_q20 &&
             b.max == whole.max);
    DG_CHECK_OK(dg_gamma_median(values, NULL, 0, 6, &median));
    DG_CHECK_NEAR(median, 1.0, 0);
    DG_CHECK_OK(dg_gamma_median(values, bits, 2, 6, &median)); /* 1, 1.5, 2 */
    DG_CHECK_NEAR(median, 1.5, 0);
    DG_CHECK_OK(dg_gamma_median(values, bits, 1, 6, &median)); /* 0.25, 1 */
    DG_CHECK_NEAR(median, 0.625, 0);
    DG_CHECK_OK(dg_gamma_median(values, bits, 4, 6, &median));
    DG_CHECK(isnan(median));
}

int main(void)
{
    test_doses();
    test_params();
    test_out_of_reach();
    test_single();
    test_where();
    test_summary();
    return 0;
}
