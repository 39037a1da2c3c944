/* ctest: libs=dg_analysis,dg_grid label=unit timeout=60 */
/* t600_dvh.c - dose-volume statistics of doses whose histograms are known. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_dvh.h"

enum { N = 1000 };
static float dose[N];
static uint64_t masks[N];

static dg_dvh make(int64_t count, double voxel_mm3)
{
    dg_dvh dvh;
    for (int i = 0; i < N; i++) masks[i] = i < count ? 5 : 2;
    DG_CHECK_OK(dg_dvh_create(dose, masks, 4, N, voxel_mm3, &dvh));
    return dvh;
}

/* Doses 1, 2, .. 1000 Gy: D_x% is received by exactly x % of the voxels. */
static void test_ramp(void)
{
    for (int i = 0; i < N; i++) dose[i] = (float)((i * 7) % N + 1); /* shuffled: 7 and 1000 have no common factor */
    dg_dvh dvh = make(N, 10);
    DG_CHECK(dvh.count == N);
    DG_CHECK_NEAR(dg_dvh_dose_at_percent(&dvh, 95, DG_DVH_ICRU), 51, 0);
    DG_CHECK_NEAR(dg_dvh_volume_percent(&dvh, 51), 95, 0);
    DG_CHECK_NEAR(dg_dvh_volume_percent(&dvh, 51.0001), 94.9, 1e-12);
    DG_CHECK_NEAR(dg_dvh_dose_at_percent(&dvh, 0.1, DG_DVH_ICRU), 1000, 0);
    DG_CHECK_NEAR(dg_dvh_dose_at_percent(&dvh, 100, DG_DVH_ICRU), 1, 0);
    for (double x = 0.5; x <= 100; x += 0.5) { /* the definition itself: largest dose that at least x receive */
        double d = dg_dvh_dose_at_percent(&dvh, x, DG_DVH_ICRU);
        DG_CHECK(dg_dvh_volume_percent(&dvh, d) >= x - 1e-9 && dg_dvh_volume_percent(&dvh, d + 1e-3) < x);
    }
    DG_CHECK_NEAR(dg_dvh_dose_at_percent(&dvh, 95, DG_DVH_LOWER), 50, 0); /* index 49.95 rounded down */
    DG_CHECK_NEAR(dg_dvh_dose_at_percent(&dvh, 95, DG_DVH_LINEAR), 50.95, 1e-9);
    DG_CHECK_NEAR(dg_dvh_mean(&dvh), 500.5, 1e-9);
    DG_CHECK(dg_dvh_min(&dvh) == 1 && dg_dvh_max(&dvh) == 1000);
    DG_CHECK_NEAR(dg_dvh_total_cc(&dvh), 10, 1e-12);
    DG_CHECK_NEAR(dg_dvh_dose_at_cc(&dvh, 0.1), 991, 0); /* 10 voxels of 0.01 cc */
    DG_CHECK_NEAR(dg_dvh_dose_at_cc(&dvh, 0.101), 990, 0);
    DG_CHECK_NEAR(dg_dvh_dose_at_cc(&dvh, 10), 1, 0);
    DG_CHECK(isnan(dg_dvh_dose_at_cc(&dvh, 10.01)));
    DG_CHECK_NEAR(dg_dvh_volume_cc(&dvh, 901), 1, 1e-12);
    dg_dvh_release(&dvh);
}

static void test_edges(void)
{
    for (int i = 0; i < N; i++) dose[i] = 60;
    dg_dvh dvh = make(1, 500);
    for (int rule = DG_DVH_ICRU; rule <= DG_DVH_LINEAR; rule++)
        DG_CHECK(dg_dvh_dose_at_percent(&dvh, 98, (dg_dvh_rule)rule) == 60);
    DG_CHECK(dg_dvh_dose_at_cc(&dvh, 0.1) == 60 && isnan(dg_dvh_dose_at_cc(&dvh, 0.6)));
    DG_CHECK(dg_dvh_volume_percent(&dvh, 60) == 100 && dg_dvh_volume_percent(&dvh, 60.01) == 0);
    dg_dvh_release(&dvh);
    dvh = make(0, 500);
    DG_CHECK(dvh.count == 0 && isnan(dg_dvh_mean(&dvh)) && isnan(dg_dvh_volume_percent(&dvh, 1)));
    DG_CHECK(isnan(dg_dvh_dose_at_percent(&dvh, 50, DG_DVH_ICRU)) && isnan(dg_dvh_percentile(&dvh, 50)));
    DG_CHECK(isnan(dg_dvh_min(&dvh)) && isnan(dg_dvh_total_cc(&dvh)) && isnan(dg_dvh_dose_at_cc(&dvh, 0.1)));
    dg_dvh_release(&dvh);
    dose[3] = NAN;
    DG_CHECK_FAILS(dg_dvh_create(dose, masks, 2, N, 1, &dvh), DG_ERR_NUMERIC, "voxel 3 is nan Gy");
}

/* A linear fall of dose across a cube: volumes follow from geometry. */
static void test_gradient(void)
{
    for (int i = 0; i < N; i++) dose[i] = (float)(70 - 0.5 * (i % 10)); /* x index 0..9 */
    dg_dvh dvh = make(N, 8);
    for (int k = 0; k < 10; k++) DG_CHECK_NEAR(dg_dvh_volume_percent(&dvh, 70 - 0.5 * k), 10 * (k + 1), 1e-9);
    DG_CHECK_NEAR(dg_dvh_dose_at_percent(&dvh, 50, DG_DVH_ICRU), 68, 0);
    DG_CHECK_NEAR(dg_dvh_dose_at_percent(&dvh, 2, DG_DVH_ICRU), 70, 0);
    DG_CHECK_NEAR(dg_dvh_dose_at_percent(&dvh, 98, DG_DVH_ICRU), 65.5, 0);
    dg_dvh_release(&dvh);
}

int main(void)
{
    test_ramp();
    test_edges();
    test_gradient();
    return 0;
}
