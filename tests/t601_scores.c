/* ctest: libs=dg_analysis,dg_grid label=unit timeout=60 */
/* t601_scores.c - dose errors, OpenKBP scores and bootstrap intervals of cases worked out by hand.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_bootstrap.h"
#include "dg_check.h"
#include "dg_dose_metrics.h"
#include "dg_openkbp_score.h"

static void test_errors(void)
{
    const float reference[8] = {0, 10, 20, 30, 40, 50, 60, 70}, prediction[8] = {1, 10, 18, 33, 40, 50, 60, 66};
    const uint64_t masks[8] = {0, 0, 1, 1, 3, 3, 3, 3};
    dg_dose_pair pair = {.reference_gy = reference,
                         .prediction_gy = prediction,
                         .masks = masks,
                         .shape = {2, 2, 2},
                         .known = {{0, 0, 0}, {2, 2, 2}},
                         .body_bits = 1,
                         .possible_bits = 2,
                         .threshold_gy = 20};
    dg_dose_errors errors = {{0}, {0}}, first = {{0}, {0}}, second = {{0}, {0}};
    DG_CHECK_OK(dg_dose_errors_add(&errors, &pair));
    DG_CHECK_NEAR(dg_dose_errors_mae_gy(&errors, DG_DOSE_ALL), 10.0 / 8, 1e-12);
    DG_CHECK_NEAR(dg_dose_errors_mae_gy(&errors, DG_DOSE_BODY), 9.0 / 6, 1e-12);
    DG_CHECK_NEAR(dg_dose_errors_mae_gy(&errors, DG_DOSE_POSSIBLE), 4.0 / 4, 1e-12);
    DG_CHECK_NEAR(dg_dose_errors_mae_gy(&errors, DG_DOSE_GT10), 9.0 / 6, 1e-12);
    DG_CHECK(strcmp(dg_dose_region_name(DG_DOSE_POSSIBLE), "mae_possible_gy") == 0);
    /* halves of the known box add up to the whole, in either order */
    pair.known = (dg_box){{0, 0, 0}, {1, 2, 2}};
    DG_CHECK_OK(dg_dose_errors_add(&first, &pair));
    DG_CHECK_NEAR(dg_dose_errors_mae_gy(&first, DG_DOSE_ALL), 6.0 / 4, 1e-12);
    pair.known = (dg_box){{1, -3, 0}, {5, 9, 2}};
    DG_CHECK_OK(dg_dose_errors_add(&second, &pair));
    dg_dose_errors_merge(&second, &first);
    DG_CHECK(memcmp(&second, &errors, sizeof errors) == 0);
    pair.possible_bits = 0;
    dg_dose_errors none = {{0}, {0}};
    DG_CHECK_OK(dg_dose_errors_add(&none, &pair));
    DG_CHECK(isnan(dg_dose_errors_mae_gy(&none, DG_DOSE_POSSIBLE)));
    float broken[8] = {0, 0, 0, 0, 0, -INFINITY, 0, 0};
    pair.prediction_gy = broken;
    DG_CHECK_FAILS(dg_dose_errors_add(&none, &pair), DG_ERR_NUMERIC, "voxel 5: reference 50 Gy, prediction -inf");
}

/* Four voxels of a Brainstem (0), two of PTV70 (9), the rest outside the possible-dose mask (bit 10). */
static void test_openkbp(void)
{
    const float reference[8] = {1, 2, 3, 4, 70, 72, 0, 0}, prediction[8] = {1, 2, 4, 6, 69, 75, 5, 0};
    const uint64_t p = 1 << 10, masks[8] = {p | 1, p | 1, p | 1, p | 1, p | 512, p | 512, 0, 0};
    dg_openkbp_case c = {.reference_gy = reference,
                         .prediction_gy = prediction,
                         .masks = masks,
                         .possible_bits = p,
                         .voxels = 8,
                         .voxel_mm3 = 40};
    c.roi_bits[0] = 1;
    c.roi_bits[9] = 512;
    dg_openkbp_result r;
    DG_CHECK_OK(dg_openkbp_evaluate(&c, &r));
    DG_CHECK_NEAR(r.dose_error_gy, (1 + 2 + 1 + 3 + 5) / 6.0, 1e-12); /* the 5 Gy outside count, the voxel does not */
    DG_CHECK_NEAR(r.dose_error_masked_gy, 7 / 6.0, 1e-12);
    /* 100 / 40 = 2.5 rounds to 2 voxels of 4: percentile 50 */
    DG_CHECK(strcmp(dg_openkbp_metric_name(0), "D_0.1_cc|Brainstem") == 0);
    DG_CHECK_NEAR(r.reference_gy[0], 2.5, 1e-12);
    DG_CHECK_NEAR(r.prediction_gy[0], 3, 1e-12);
    DG_CHECK_NEAR(r.reference_gy[1], 2.5, 1e-12);
    DG_CHECK_NEAR(r.prediction_gy[1], 3.25, 1e-12);
    DG_CHECK(strcmp(dg_openkbp_metric_name(20), "D_99|PTV70") == 0);
    DG_CHECK_NEAR(r.reference_gy[20], 70.02, 1e-9);
    DG_CHECK_NEAR(r.prediction_gy[22], 74.94, 1e-9);
    DG_CHECK(isnan(r.reference_gy[2]) && isnan(r.prediction_gy[14]) && r.dvh_errors == 5);
    double want = 0.5 + 0.75 + (70.02 - 69.06) + (70.1 - 69.3) + (74.94 - 71.98);
    DG_CHECK_NEAR(r.dvh_error_sum_gy, want, 1e-9);
    dg_openkbp_score score = {0};
    DG_CHECK(isnan(dg_openkbp_dose_score(&score)) && isnan(dg_openkbp_dvh_score(&score)));
    dg_openkbp_score_add(&score, &r);
    c.roi_bits[9] = 0; /* a second patient without targets weighs less in the pooled DVH score */
    DG_CHECK_OK(dg_openkbp_evaluate(&c, &r));
    dg_openkbp_score_add(&score, &r);
    DG_CHECK_NEAR(dg_openkbp_dose_score(&score), 2, 1e-12);
    DG_CHECK_NEAR(dg_openkbp_dvh_score(&score), (want + 1.25) / 7, 1e-9);
    c.possible_bits = 0;
    DG_CHECK_FAILS(dg_openkbp_evaluate(&c, &r), DG_ERR_DATA, "possible_dose_mask has no voxel");
    c.possible_bits = p;
    c.voxel_mm3 = 1; /* 100 voxels wanted, 4 there: the smallest dose */
    DG_CHECK_OK(dg_openkbp_evaluate(&c, &r));
    DG_CHECK_NEAR(r.reference_gy[0], 1, 0);
    float broken[8] = {0, 0, NAN};
    c.prediction_gy = broken;
    DG_CHECK_FAILS(dg_openkbp_evaluate(&c, &r), DG_ERR_NUMERIC, "voxel 2");
}

static void test_bootstrap(void)
{
    double value[50], one[50];
    dg_interval a, b;
    for (int i = 0; i < 50; i++) {
        value[i] = (double)(i % 10);
        one[i] = 1;
    }
    DG_CHECK_OK(dg_bootstrap_ratio(value, one, 50, 4000, 1, 0.95, &a));
    DG_CHECK_OK(dg_bootstrap_ratio(value, one, 50, 4000, 1, 0.95, &b));
    DG_CHECK(a.low == b.low && a.high == b.high);
    /* standard error of the mean of 50 draws from 0..9: sqrt(8.25 / 50) = 0.406 */
    DG_CHECK_NEAR(a.low, 4.5 - 1.96 * 0.406, 0.06);
    DG_CHECK_NEAR(a.high, 4.5 + 1.96 * 0.406, 0.06);
    DG_CHECK_OK(dg_bootstrap_ratio(value, one, 50, 4000, 2, 0.95, &b));
    DG_CHECK(a.low != b.low || a.high != b.high);
    for (int i = 0; i < 50; i++) one[i] = value[i] * 4;
    DG_CHECK_OK(dg_bootstrap_ratio(value, one, 50, 100, 1, 0.95, &a)); /* a ratio that never varies */
    DG_CHECK_NEAR(a.low, 0.25, 1e-12);
    DG_CHECK_NEAR(a.high, 0.25, 1e-12);
    DG_CHECK_OK(dg_bootstrap_ratio(value, one, 1, 100, 1, 0.95, &a));
    DG_CHECK(isnan(a.low));
    DG_CHECK_FAILS(dg_bootstrap_ratio(value, one, 9, 100, 1, 1, &a), DG_ERR_USAGE, "level 1");
}

int main(void)
{
    test_errors();
    test_openkbp();
    test_bootstrap();
    return 0;
}
