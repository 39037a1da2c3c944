/* ctest: libs=dg_analysis,dg_grid,dg_base,jansson label=unit timeout=60 */
/* t632_upstream_evaluation.c - corners of the reference's evaluation that its golden file has not: bad doses, no
 * target, no dose, our order of axes. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_upstream_evaluation.h"

enum { Y = 9, X = 10, Z = 7, N = Y * X * Z };
static float target[N], pred[N], turned[2][N];
static uint64_t masks[N], turned_masks[N];
static const char *const NAMES[] = {"PTV70", "Rectum", "PTV50.4", "Bowel"};

static dg_upstream_case make_case(void)
{
    for (int y = 0; y < Y; y++)
        for (int x = 0; x < X; x++)
            for (int z = 0; z < Z; z++) {
                const int i = (y * X + x) * Z + z, t = (z * Y + y) * X + x;
                target[i] = (float)(1.02 - 0.08 * abs(y - 4) - 0.05 * abs(x - 4) - 0.03 * abs(z - 3));
                pred[i] = target[i] * 0.97f + 0.004f * (float)(x % 3);
                masks[i] =
                    (uint64_t)(abs(y - 4) < 2 && abs(x - 4) < 2) | (uint64_t)(y > 6) << 1 | (uint64_t)(x > 7) << 3;
                turned[0][t] = target[i];
                turned[1][t] = pred[i];
                turned_masks[t] = masks[i];
            }
    return (dg_upstream_case){.case_id = "a",
                              .shape = {Y, X, Z},
                              .spacing_mm = {2, 2.5, 3},
                              .target = target,
                              .prediction = pred,
                              .scale_gy = 70,
                              .masks = masks,
                              .structure = NAMES,
                              .structure_count = 4,
                              .gamma_subsample = 1,
                              .threads = 2};
}

static json_t *evaluate(const dg_upstream_case *in)
{
    json_t *out;
    DG_CHECK_OK(dg_upstream_evaluate(in, &out));
    return out;
}

static const json_t *at(const json_t *o, const char *a, const char *b, const char *c)
{
    const json_t *v = json_object_get(json_object_get(o, a), b);
    return c == NULL ? v : json_object_get(v, c);
}

static double number(const json_t *o, const char *a, const char *b, const char *c)
{
    const json_t *v = at(o, a, b, c);
    DG_CHECK(json_is_number(v));
    return json_number_value(v);
}

/* Our [z,y,x] gives the same as the reference's (y, x, z), spacing included. */
static void test_order(void)
{
    dg_upstream_case in = make_case(), ours = in;
    ours.zyx = true;
    ours.target = turned[0];
    ours.prediction = turned[1];
    ours.masks = turned_masks;
    const int64_t shape[3] = {Z, Y, X};
    const double spacing_mm[3] = {3, 2, 2.5};
    for (int a = 0; a < 3; a++) {
        ours.shape[a] = shape[a];
        ours.spacing_mm[a] = spacing_mm[a];
    }
    for (in.gamma_subsample = 0; in.gamma_subsample < 4; in.gamma_subsample++) {
        ours.gamma_subsample = in.gamma_subsample;
        json_t *a = evaluate(&in), *b = evaluate(&ours);
        DG_CHECK(json_equal(a, b));
        DG_CHECK((json_object_size(json_object_get(a, "gamma")) == 0) == (in.gamma_subsample == 0));
        json_decref(a);
        json_decref(b);
    }
}

static void test_values(void)
{
    const dg_upstream_case in = make_case();
    json_t *o = evaluate(&in);
    DG_CHECK(number(o, "dvh_metrics", "PTV70", "n_voxels") == 9 * Z);
    DG_CHECK(json_is_false(at(o, "dvh_metrics", "PTV70", "dvh_reliable")) &&
             json_is_true(at(o, "dvh_metrics", "Bowel", "dvh_reliable")));
    DG_CHECK(json_is_false(at(o, "dvh_metrics", "PTV50.4", "exists")) &&
             json_object_size(at(o, "dvh_metrics", "PTV50.4", NULL)) == 1);
    DG_CHECK_NEAR(number(o, "dvh_metrics", "Bowel", "volume_cc"), 2 * Y * Z * 15.0 / 1000, 1e-12);
    DG_CHECK(at(o, "dvh_metrics", "Rectum", "pred_V100") == NULL &&
             at(o, "dvh_metrics", "Rectum", "pred_V45_cc") == NULL);
    /* 5 mm at 2, 2.5 and 3 mm are 2 (2.5 to even), 2 and 2 voxels around y, x = 3..5: 7 x 7 x Z above the cutoff */
    DG_CHECK(number(o, "gamma", "ptv_region_3mm3pct", "voxels_evaluated") == 7 * 7 * Z);
    DG_CHECK(number(o, "gamma", "global_3mm3pct", "voxels_evaluated") == N);
    /* missing: PTV56 is no channel, PTV50.4 is empty, Bladder and the femurs are no channels */
    DG_CHECK(number(o, "clinical_constraints", "summary", "not_evaluated") == 2 + 2 + 4 + 2 + 2);
    const json_t *missing = at(o, "clinical_constraints", "missing", NULL);
    DG_CHECK(strcmp(json_string_value(json_object_get(json_array_get(missing, 0), "reason")),
                    "structure not in dvh_metrics") == 0);
    DG_CHECK(strcmp(json_string_value(json_object_get(json_array_get(missing, 2), "reason")),
                    "structure mask is empty") == 0);
    json_decref(o);
}

static void want_warnings(const json_t *o, const char *const *want, size_t count)
{
    const json_t *got = json_object_get(o, "validation_warnings");
    DG_CHECK(json_array_size(got) == count);
    for (size_t i = 0; i < count; i++) DG_CHECK(strcmp(json_string_value(json_array_get(got, i)), want[i]) == 0);
}

static void test_bad_doses(void)
{
    static const char *const NEGATIVE[] = {"predicted: 2 negative values (min=-7.000 Gy)",
                                           "target: max dose 105.0 Gy exceeds 120% of Rx (84.0 Gy)"};
    static const char *const NANS[] = {"predicted: 1 NaN values detected", "predicted: 1 Inf values detected",
                                       "predicted: 2 negative values (min=nan Gy)",
                                       "predicted: max dose inf Gy exceeds 120% of Rx (84.0 Gy)",
                                       "target: max dose 105.0 Gy exceeds 120% of Rx (84.0 Gy)"};
    const dg_upstream_case in = make_case();
    pred[0] = -0.1f;
    pred[1] = -0.01f;
    target[5] = 1.5f;
    json_t *o = evaluate(&in);
    want_warnings(o, NEGATIVE, 2);
    DG_CHECK_NEAR(number(o, "dose_metrics", "target_max_gy", NULL), 105, 0);
    json_decref(o);
    pred[2] = -NAN;
    pred[3] = INFINITY;
    o = evaluate(&in);
    want_warnings(o, NANS, 5);
    DG_CHECK(number(o, "dose_metrics", "pred_max_gy", NULL) < 75); /* infinite became 0 */
    json_decref(o);
}

static void test_nothing(void)
{
    dg_upstream_case in = make_case();
    for (int i = 0; i < N; i++) target[i] = pred[i] = 0, masks[i] &= ~(uint64_t)1;
    json_t *o = evaluate(&in), *both = json_array(), *mean;
    DG_CHECK(json_is_null(at(o, "gamma", "global_3mm3pct", "gamma_pass_rate")) &&
             json_is_null(at(o, "gamma", "global_3mm3pct", "gamma_max")));
    DG_CHECK(strcmp(json_string_value(at(o, "gamma", "global_3mm3pct", "note")), "No voxels above lower dose cutoff") ==
             0);
    DG_CHECK(strcmp(json_string_value(at(o, "gamma", "ptv_region_3mm3pct", "error")), "no PTV voxels") == 0);
    DG_CHECK(number(o, "clinical_constraints", "compliance_rate", NULL) == 100 &&
             number(o, "dose_metrics", "mae_gy", NULL) == 0);
    json_array_append_new(both, o);
    in = make_case();
    json_array_append_new(both, evaluate(&in));
    mean = dg_upstream_aggregate(both);
    const double second = number(json_array_get(both, 1), "dose_metrics", "mae_gy", NULL);
    DG_CHECK_NEAR(json_number_value(json_object_get(mean, "mae_gy_mean")), second / 2, 1e-12);
    DG_CHECK_NEAR(json_number_value(json_object_get(mean, "mae_gy_std")), second / 2, 1e-12); /* ddof 0 */
    DG_CHECK(json_number_value(json_object_get(mean, "gamma_pass_rate_std")) == 0);
    DG_CHECK(number(mean, "per_structure_mae", "PTV70", "n_cases") == 1 &&
             number(mean, "per_structure_mae", "Bowel", "n_cases") == 2);
    json_decref(mean);
    json_decref(both);
    both = json_array();
    mean = dg_upstream_aggregate(both);
    DG_CHECK(json_object_size(mean) == 0);
    json_decref(mean);
    json_decref(both);
}

static void test_refused(void)
{
    json_t *o;
    dg_upstream_case in = make_case();
    in.scale_gy = 0;
    DG_CHECK_FAILS(dg_upstream_evaluate(&in, &o), DG_ERR_USAGE, "case a: doses in units of 0 Gy");
    in = make_case();
    in.spacing_mm[1] = NAN;
    DG_CHECK_FAILS(dg_upstream_evaluate(&in, &o), DG_ERR_USAGE, "axis 1 has 10 voxels of nan mm");
    in = make_case();
    in.gamma_subsample = -1;
    DG_CHECK_FAILS(dg_upstream_evaluate(&in, &o), DG_ERR_USAGE, "every -1. voxel");
    DG_CHECK(o == NULL);
}

int main(void)
{
    test_order();
    test_values();
    test_bad_doses();
    test_nothing();
    test_refused();
    return 0;
}
