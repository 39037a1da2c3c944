/* Ensembles against what they must give: CRPS and ranks by their definitions, the coverage and fair CRPS of members that are
 * drawn as the truth is, for any number of them; spreads that are too small, too large; sums in any order.
 * ctest: libs=dg_analysis,dg_base label=unit timeout=60
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_calibration.h"

#include "dg_check.h"
#include "dg_rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MEMBERS_MAX = 24, VOXELS = 40000 };
static const double PARTS = 1048576;

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* 1, 2, 4, 8 against 3: distances 2 1 1 5; pairs 1 3 7 2 6 4. */
static void check_by_hand(void)
{
    const float member[] = {1, 2, 4, 8}, same[] = {5, 5, 5}, one[] = {7};
    dg_calibration v = dg_calibration_voxel(member, 4, 3);
    DG_CHECK(v.voxels == 1 && v.true_voxels == 0);
    DG_CHECK_NEAR(dg_calibration_crps_gy(&v), 9.0 / 4 - 23.0 / 12, 2e-6);
    DG_CHECK_NEAR((double)v.variance_gy2 / PARTS, (2.75 * 2.75 + 1.75 * 1.75 + 0.25 * 0.25 + 4.25 * 4.25) / 3, 2e-6);
    for (int b = 0; b < DG_PIT_BINS; b++) /* above 2 of 4: 0.4 to 0.6 */
        DG_CHECK_NEAR((double)v.pit[b] / PARTS, b >= 8 && b < 12 ? 0.25 : 0, 2e-6);
    DG_CHECK_NEAR(dg_calibration_coverage(&v, 50), 1, 1e-5);
    DG_CHECK_NEAR(dg_calibration_coverage(&v, 10), 0.5, 1e-5);
    DG_CHECK(isnan(dg_calibration_spread_ratio(&v)) && isnan(dg_calibration_mean_error_gy(&v)));
    dg_calibration_know(&v, member, 4, 3.25, 2);
    DG_CHECK_NEAR(dg_calibration_mean_error_gy(&v), 0.5, 2e-6);
    DG_CHECK_NEAR(dg_calibration_true_spread_gy(&v), 2, 2e-6);
    DG_CHECK_NEAR(dg_calibration_spread_ratio(&v), dg_calibration_spread_gy(&v) / 2, 2e-6);
    v = dg_calibration_voxel(same, 3, 5); /* no rank is likelier than another */
    for (int b = 0; b < DG_PIT_BINS; b++) DG_CHECK_NEAR((double)v.pit[b] / PARTS, 0.05, 2e-6);
    DG_CHECK(v.crps_gy == 0 && v.variance_gy2 == 0);
    v = dg_calibration_voxel(one, 1, 4);
    DG_CHECK_NEAR(dg_calibration_crps_gy(&v), 3, 2e-6);
    DG_CHECK(isnan(dg_calibration_crps_gy(&(dg_calibration){0})) &&
             isnan(dg_calibration_coverage(&(dg_calibration){0}, 50)));
}

/* Normal truth of spread 2 about a mean of the voxel's own, members of spread 2 `scale`; whatever the order of the sums. */
static dg_calibration simulate(int members, double scale)
{
    dg_calibration forward = {0}, backward = {0}, *all = calloc(VOXELS, sizeof *all);
    DG_CHECK(all != NULL);
    for (int v = 0; v < VOXELS; v++) {
        dg_rng rng = dg_rng_stream(7, DG_RNG_PHANTOM, (uint64_t)v, (uint64_t)members);
        const double mean = 60 * dg_rng_uniform(&rng), dose = mean + 2 * dg_rng_normal(&rng);
        float x[MEMBERS_MAX];
        for (int k = 0; k < members; k++) x[k] = (float)(mean + 2 * scale * dg_rng_normal(&rng));
        qsort(x, (size_t)members, sizeof *x, by_value);
        all[v] = dg_calibration_voxel(x, members, dose);
        dg_calibration_know(&all[v], x, members, mean, 2);
    }
    for (int v = 0; v < VOXELS; v++) dg_calibration_merge(&forward, &all[v]);
    for (int v = VOXELS - 1; v >= 0; v--) dg_calibration_merge(&backward, &all[v]);
    DG_CHECK(memcmp(&forward, &backward, sizeof forward) == 0);
    free(all);
    return forward;
}

/* The expectation of a normal CRPS with the right spread is spread / sqrt(pi), whatever the number of members. */
static void check_calibrated(void)
{
    const int members[] = {2, 3, 8, MEMBERS_MAX};
    for (size_t k = 0; k < sizeof members / sizeof *members; k++) {
        const dg_calibration sums = simulate(members[k], 1);
        for (int percent = 10; percent <= 90; percent += 10)
            DG_CHECK_NEAR(dg_calibration_coverage(&sums, percent), percent / 100.0, 0.01);
        DG_CHECK_NEAR(dg_calibration_crps_gy(&sums), 2 / sqrt(M_PI), 0.02);
        DG_CHECK_NEAR(dg_calibration_spread_ratio(&sums), 1, 0.01);
        DG_CHECK_NEAR(dg_calibration_mean_rmse_gy(&sums), 2 / sqrt(members[k]), 0.02);
        DG_CHECK_NEAR(dg_calibration_mean_error_gy(&sums), 2 / sqrt(members[k]) * sqrt(2 / M_PI), 0.02);
    }
}

static void check_wrong_spread(void)
{
    const dg_calibration right = simulate(16, 1), narrow = simulate(16, 0.5), wide = simulate(16, 2);
    DG_CHECK_NEAR(dg_calibration_spread_ratio(&narrow), 0.5, 0.01);
    DG_CHECK_NEAR(dg_calibration_spread_ratio(&wide), 2, 0.02);
    DG_CHECK(dg_calibration_coverage(&narrow, 50) < 0.35 && dg_calibration_coverage(&narrow, 90) < 0.7);
    DG_CHECK(dg_calibration_coverage(&wide, 50) > 0.7 && dg_calibration_coverage(&wide, 90) > 0.95);
    DG_CHECK(dg_calibration_crps_gy(&narrow) > 1.04 * dg_calibration_crps_gy(&right));
    DG_CHECK(dg_calibration_crps_gy(&wide) > 1.04 * dg_calibration_crps_gy(&right));
}

int main(void)
{
    check_by_hand();
    check_calibrated();
    check_wrong_spread();
    return 0;
}
