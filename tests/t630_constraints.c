/* ctest: libs=dg_analysis,dg_grid,dg_base,jansson label=unit timeout=60 */
/* t630_constraints.c - the rules by which constraint rows are judged, one by one, on a case whose doses are known.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_constraints.h"

enum { NZ = 8, NY = 10, NX = 40, N = NZ * NY * NX };
static float reference[N], prediction[N];
static uint64_t masks[N];
enum { PTV70 = 1, PTV56 = 2, RECTUM = 4, BAG = 8, BODY = 16, EMPTY = 32, EDGE = 64 };
static const dg_structure STRUCTURES[] = {{.name = "PTV70", .role = DG_ROLE_TARGET, .prescription_gy = 70},
                                          {.name = "PTV56", .role = DG_ROLE_TARGET, .prescription_gy = 56},
                                          {.name = "Rectum", .tg263 = "Rectum", .role = DG_ROLE_OAR},
                                          {.name = "bowelbag", .role = DG_ROLE_OAR},
                                          {.name = "Body", .role = DG_ROLE_BODY},
                                          {.name = "Empty", .role = DG_ROLE_OAR},
                                          {.name = "Edge", .role = DG_ROLE_OAR}};
static dg_grid grid;

/* Voxels of 2.5 x 2 x 2 mm = 0.01 cc. Along x: the target in 0..9, a lower target in 8..19 (x = 10, 11 are within 5
 * mm of the higher one), the rectum in 20..29, the bowel in 30..36, all in an inner block of y and z; `Edge` reaches
 * the grid's border. Doses fall with x by 2 Gy a voxel from 74; the prediction is 1.5 Gy less. */
static dg_constraints_input make_case(void)
{
    grid = dg_grid_make((int64_t[3]){NZ, NY, NX}, (double[3]){2.5, 2, 2});
    for (int i = 0; i < N; i++) {
        const int z = i / (NY * NX), y = i / NX % NY, x = i % NX;
        const bool inner = z > 0 && z < NZ - 1 && y > 0 && y < NY - 1;
        masks[i] = BODY;
        if (inner && x >= 1 && x < 10) masks[i] |= PTV70;
        if (inner && x >= 8 && x < 20) masks[i] |= PTV56;
        if (inner && x >= 20 && x < 30) masks[i] |= RECTUM;
        if (inner && x >= 30 && x < 37) masks[i] |= BAG;
        if (y == 0 && x >= 10 && x < 30) masks[i] |= EDGE;
        reference[i] = (float)(74 - 2 * x < 0 ? 0 : 74 - 2 * x);
        prediction[i] = reference[i] < 1.5f ? 0 : reference[i] - 1.5f;
    }
    return (dg_constraints_input){.grid = &grid,
                                  .dose_gy = {reference, prediction},
                                  .masks = masks,
                                  .structure = STRUCTURES,
                                  .structure_count = 7,
                                  .known = {{0, 0, 0}, {NZ, NY, NX}},
                                  .prescription_gy = 70,
                                  .fractions = 35,
                                  .supersample = 1,
                                  .rule = DG_DVH_ICRU,
                                  .threads = 2};
}

static dg_constraint_table *table_of(const char *rows)
{
    char text[8192];
    dg_constraint_table *table;
    snprintf(text, sizeof text, "format: dosegrid-constraints\nversion: 1\nname: own\ndescription: d\nrows:\n%s", rows);
    DG_CHECK_OK(dg_constraint_table_read(text, strlen(text), "own.yaml", &table));
    return table;
}

#define REST "source: s, definition: d"
#define TWO "fractionation: {dose_per_fraction_gy: [1.8, 2], alpha_beta_gy: 3}, " REST
#define ANY "fractionation: any, " REST

/* Judges one row, given as the inside of a flow map. */
static dg_constraint_result judge(const char *row, const dg_constraints_input *input)
{
    char text[1024];
    dg_constraint_result r;
    snprintf(text, sizeof text, "  - {%s}\n", row);
    dg_constraint_table *table = table_of(text);
    DG_CHECK(dg_constraint_table_rows(table) == 1);
    DG_CHECK_OK(dg_constraints_evaluate(table, input, &r));
    dg_constraint_table_destroy(&table);
    for (int d = 0; d < 2; d++) {
        DG_CHECK((r.verdict[d] == DG_VERDICT_NOT_EVALUATED) == isnan(r.value[d]));
        DG_CHECK(isnan(r.value[d]) == (r.reason[0] != '\0'));
    }
    return r;
}

static void want(const char *row, const dg_constraints_input *input, double target, dg_verdict target_verdict,
                 double pred, dg_verdict pred_verdict)
{
    const dg_constraint_result r = judge(row, input);
    DG_CHECK_NEAR(r.value[0], target, 1e-5);
    DG_CHECK_NEAR(r.value[1], pred, 1e-5);
    DG_CHECK(r.verdict[0] == target_verdict && r.verdict[1] == pred_verdict && r.reason[0] == '\0');
}

static void want_reason(const char *row, const dg_constraints_input *input, const char *reason)
{
    const dg_constraint_result r = judge(row, input);
    if (strstr(r.reason, reason) == NULL) fprintf(stderr, "%s: reason '%s', wanted '%s'\n", row, r.reason, reason);
    DG_CHECK(strstr(r.reason, reason) != NULL);
}

static void test_comparisons(void)
{
    const dg_constraints_input in = make_case();
    /* rectum: 34, 32, .. 16 Gy in shares of 10 %; predicted 32.5 .. 14.5 */
    want("structure: Rectum, metric: V30Gy%, comparison: <, limit: 30, unit: '%'," TWO, &in, 30, DG_VERDICT_FAIL, 20,
         DG_VERDICT_PASS);
    want("structure: Rectum, metric: V30Gy%, comparison: <=, limit: 30, unit: '%'," TWO, &in, 30, DG_VERDICT_PASS, 20,
         DG_VERDICT_PASS);
    want("structure: Rectum, metric: D50%, comparison: '>', limit: 26, unit: Gy," TWO, &in, 26, DG_VERDICT_FAIL, 24.5,
         DG_VERDICT_FAIL);
    want("structure: rectum, metric: D50%, comparison: '>=', limit: 26, unit: Gy," TWO, &in, 26, DG_VERDICT_PASS, 24.5,
         DG_VERDICT_FAIL);
    want("structure: Bag, aliases: [x, BowelBag], metric: V10Gycc, comparison: <, limit: 1, unit: cc," TWO, &in,
         3 * 0.48, DG_VERDICT_FAIL, 2 * 0.48, DG_VERDICT_PASS); /* 14, 12, 10 Gy; 12.5, 10.5 */
    want_reason("structure: Liver, metric: Dmean, comparison: <, limit: 1, unit: Gy," TWO, &in, "no structure Liver");
    want_reason("structure: Empty, metric: Dmean, comparison: <, limit: 1, unit: Gy," TWO, &in, "Empty is empty");
    want_reason("structure: Rectum, metric: D95cc, comparison: <, limit: 1, unit: Gy," TWO, &in, "smaller than 95 cc");
    want_reason("structure: Rectum, metric: CIrtog, comparison: <, limit: 1, unit: ''," ANY, &in, "no prescription");
}

/* A Dmax row: the largest dose of three voxels, and that of one beside it. */
static void test_dmax(void)
{
    const dg_constraints_input in = make_case();
    const char *row = "structure: Rectum, metric: Dmax, comparison: <, limit: 40, unit: Gy," TWO;
    const int at = (2 * NY + 3) * NX + 25;
    reference[at] = prediction[at] = 60;
    reference[at + 1] = 50;
    const dg_constraint_result r = judge(row, &in);
    DG_CHECK(r.value[0] == 34 && r.value[1] == 32.5 && r.beside[0] == 60 && r.beside[1] == 60);
    DG_CHECK(r.verdict[0] == DG_VERDICT_PASS && r.verdict[1] == DG_VERDICT_PASS);
    reference[at + 2] = 45;
    DG_CHECK(judge(row, &in).value[0] == 45 && judge(row, &in).verdict[0] == DG_VERDICT_FAIL);
    for (int i = 0; i < N; i++) masks[i] &= ~(uint64_t)RECTUM;
    masks[at] |= RECTUM;
    want_reason(row, &in, "structure smaller than 0.03 cc");
    DG_CHECK(judge(row, &in).beside[0] == 60);
}

static void test_lower_target(void)
{
    dg_constraints_input in = make_case();
    const char *row = "structure: PTV56, metric: Dmax, comparison: <, limit: 60, unit: Gy," ANY;
    const dg_constraint_result r = judge(row, &in);
    /* x = 12 is the first beyond 5 mm of x = 9 (6 mm): 74 - 24 = 50 Gy */
    DG_CHECK(r.value[0] == 50 && r.value[1] == 48.5 && strcmp(r.judged_on, "PTV56 minus (PTV70 + 5 mm)") == 0);
    DG_CHECK(strcmp(judge("structure: PTV70, metric: Dmax, comparison: <, limit: 60, unit: Gy," ANY, &in).judged_on,
                    "PTV70") == 0);
    /* conformity is that of the whole target: 12 layers of it, body 10 layers of 80 voxels at 56 Gy and above */
    want("structure: PTV56, metric: CIrtog, comparison: <, limit: 3, unit: ''," ANY, &in, 10.0 * 80 / (12 * 48),
         DG_VERDICT_PASS, 9.0 * 80 / (12 * 48), DG_VERDICT_PASS);
    for (int i = 0; i < N; i++)
        if (i % NX > 11) masks[i] &= ~(uint64_t)PTV56;
    want_reason(row, &in, "nothing is left of PTV56 minus (PTV70 + 5 mm)");
    for (int i = 0; i < N; i++) masks[i] &= ~(uint64_t)PTV70; /* without the higher target nothing is cut away */
    DG_CHECK(judge(row, &in).value[0] == 58 && strcmp(judge(row, &in).judged_on, "PTV56") == 0);
}

static void test_fractionation(void)
{
    dg_constraints_input in = make_case();
    const char *row = "structure: Rectum, metric: Dmean, comparison: <, limit: 25, unit: Gy," TWO;
    want(row, &in, 25, DG_VERDICT_FAIL, 23.5, DG_VERDICT_PASS);
    in.fractions = 39; /* 1.795 Gy: rounded to 1.8 */
    DG_CHECK(judge(row, &in).eqd_gy == 0);
    in.fractions = 28; /* 2.5 Gy */
    double want_mean = 0, want_pred = 0;
    for (int k = 0; k < 10; k++) {
        const double a = 34 - 2 * k, b = 32.5 - 2 * k;
        want_mean += a * (a / 28 + 3) / (2 + 3.0) / 10;
        want_pred += b * (b / 28 + 3) / (2 + 3.0) / 10;
    }
    want(row, &in, want_mean, DG_VERDICT_PASS, want_pred, DG_VERDICT_PASS);
    DG_CHECK(judge(row, &in).eqd_gy == 2);
    /* 70 Gy in 28 fractions are 77 Gy in fractions of 2 Gy at alpha/beta 3: the voxel maximum is converted as well */
    for (int i = 0; i < N; i++) reference[i] = 70;
    const dg_constraint_result r =
        judge("structure: Rectum, metric: Dmax, comparison: <, limit: 76, unit: Gy," TWO, &in);
    DG_CHECK_NEAR(r.value[0], 77, 1e-5);
    DG_CHECK_NEAR(r.beside[0], 77, 1e-5);
    want_reason("structure: Rectum, metric: Dmean, comparison: <, limit: 25, unit: Gy, fractionation: "
                "{dose_per_fraction_gy: 2, alpha_beta_gy: unknown}, " REST,
                &in, "for 2 Gy per fraction, the plan has 2.5, and alpha/beta is unknown");
    in.fractions = 0;
    want_reason(row, &in, "number of fractions is unknown");
    DG_CHECK(judge("structure: Rectum, metric: Dmean, comparison: <, limit: 25, unit: Gy," ANY, &in).value[0] == 70);
    in.fractions = 28;
    in.prescription_gy = 0;
    want_reason(row, &in, "prescription is unknown");
}

static void test_borders(void)
{
    dg_constraints_input in = make_case();
    const char *cc = "structure: Rectum, metric: V20Gycc, comparison: <, limit: 9, unit: cc," TWO;
    const char *hot = "structure: Rectum, metric: D2cc, comparison: <, limit: 9, unit: Gy," TWO;
    const char *mean = "structure: Rectum, metric: Dmean, comparison: <, limit: 9, unit: Gy," TWO;
    const char *declared = "structure: Rectum, metric: Dmean, low_dose: false, comparison: <, limit: 9, unit: Gy," TWO;
    want_reason("structure: Edge, metric: V20Gycc, comparison: <, limit: 9, unit: cc," TWO, &in,
                "Edge touches the border");
    DG_CHECK(judge("structure: Edge, metric: V20Gy%, comparison: <, limit: 9, unit: '%'," TWO, &in).reason[0] == '\0');
    DG_CHECK(judge(cc, &in).reason[0] == '\0');
    in.known.shape[2] = 30; /* the dose grid ends where the rectum ends */
    want_reason(cc, &in, "touches the border");
    DG_CHECK(judge(mean, &in).reason[0] == '\0' && judge(hot, &in).reason[0] == '\0');
    in.known.shape[2] = 29; /* a tenth of it lies outside */
    want_reason(cc, &in, "touches the border");
    want_reason(mean, &in, "10.0 % of Rectum lie outside the dose grid");
    want_reason("structure: Rectum, metric: V20Gy%, comparison: <, limit: 9, unit: '%'," TWO, &in, "10.0 %");
    DG_CHECK(judge(hot, &in).value[0] == 26 && judge(declared, &in).value[0] == 26);
    for (int i = 0; i < N; i++) /* 4 of 436 voxels, 0.9 % */
        if (i % NX == 29 && i / NX >= NY + 5) masks[i] &= ~(uint64_t)RECTUM;
    DG_CHECK(judge(mean, &in).reason[0] == '\0');
    in.known.shape[2] = 15;
    want_reason(hot, &in, "all of Rectum lies outside the dose grid");
}

static void test_faults(void)
{
    dg_constraints_input in = make_case();
    dg_constraint_result r;
    dg_constraint_table *table =
        table_of("  - {structure: Rectum, metric: Dmean, comparison: <, limit: 9, unit: Gy," TWO "}\n");
    in.supersample = 0;
    DG_CHECK_FAILS(dg_constraints_evaluate(table, &in, &r), DG_ERR_USAGE, "0 sub-voxels");
    in.supersample = 9;
    DG_CHECK_FAILS(dg_constraints_evaluate(table, &in, &r), DG_ERR_USAGE, "9 sub-voxels");
    in.supersample = 2;
    DG_CHECK_OK(dg_constraints_evaluate(table, &in, &r));
    DG_CHECK_NEAR(r.value[0], 25, 0.02); /* a linear fall of dose: sub-voxels change the mean little */
    in.supersample = 1;
    prediction[(2 * NY + 3) * NX + 25] = NAN;
    DG_CHECK_FAILS(dg_constraints_evaluate(table, &in, &r), DG_ERR_NUMERIC, "prediction: the dose of voxel 945 is nan");
    dg_constraint_table_destroy(&table);
    DG_CHECK(table == NULL);
}

static int64_t integer(const json_t *o, const char *a, const char *b)
{
    const json_t *v = json_object_get(o, a);
    return json_integer_value(b == NULL ? v : json_object_get(v, b));
}

static const char *text(const json_t *o, const char *key) { return json_string_value(json_object_get(o, key)); }

/* Verdicts of a case and the agreement of a cohort, on results made by hand. */
static void test_json(void)
{
    enum { CASES = 5 };
    static const dg_verdict P = DG_VERDICT_PASS, F = DG_VERDICT_FAIL, U = DG_VERDICT_NOT_EVALUATED;
    const dg_verdict made[CASES][2][2] = {
        {{P, P}, {P, P}}, {{F, F}, {P, P}}, {{F, P}, {U, U}}, {{P, F}, {P, P}}, {{U, U}, {P, P}}};
    static const char *const VERDICTS[CASES][2] = {
        {"PASS", "PASS"}, {"FAIL", "FAIL"}, {"FAIL", "INCOMPLETE"}, {"PASS", "FAIL"}, {"INCOMPLETE", "INCOMPLETE"}};
    dg_constraint_table *table =
        table_of("  - {structure: A, metric: Dmax, comparison: <, limit: 9.5, unit: Gy," TWO "}\n"
                 "  - {structure: B, metric: HI, comparison: <, limit: 1, unit: ''," ANY "}\n");
    static dg_constraint_result results[CASES][2];
    const dg_constraint_result *list[CASES];
    for (int i = 0; i < CASES; i++) {
        list[i] = results[i];
        for (int r = 0; r < 2; r++) {
            results[i][r].row = r;
            for (int d = 0; d < 2; d++) {
                results[i][r].verdict[d] = made[i][r][d];
                results[i][r].value[d] = made[i][r][d] == U ? NAN : 1.5;
            }
        }
        json_t *o = dg_constraints_to_json(table, results[i]);
        DG_CHECK(strcmp(text(o, "target_verdict"), VERDICTS[i][0]) == 0 &&
                 strcmp(text(o, "verdict"), VERDICTS[i][1]) == 0);
        DG_CHECK(integer(o, "total", NULL) == 2 && integer(o, "evaluated", NULL) == (i == 2 || i == 4 ? 1 : 2));
        json_decref(o);
    }
    results[1][0].eqd_gy = 2;
    results[1][0].beside[1] = 10;
    json_t *o = dg_constraints_to_json(table, results[1]);
    const json_t *first = json_array_get(json_object_get(o, "rows"), 0),
                 *second = json_array_get(json_object_get(o, "rows"), 1);
    DG_CHECK(strcmp(text(first, "dose"), "EQD2 (alpha/beta 3 Gy)") == 0 && strcmp(text(first, "pred"), "FAIL") == 0);
    DG_CHECK(json_real_value(json_object_get(first, "pred_max_gy")) == 10 &&
             strcmp(text(second, "dose"), "physical") == 0);
    DG_CHECK(json_object_get(second, "pred_max_gy") == NULL && strcmp(text(second, "unit"), "") == 0);
    json_decref(o);
    o = dg_constraints_cohort_json(table, list, CASES);
    first = json_array_get(json_object_get(o, "rows"), 0);
    DG_CHECK(integer(json_object_get(first, "target"), "failed", NULL) == 2 && integer(first, "pred", "failed") == 2);
    DG_CHECK(integer(first, "pred", "not_evaluated") == 1 && integer(first, "agreement", "missed") == 1);
    DG_CHECK(integer(first, "agreement", "both_fail") == 1 && integer(first, "agreement", "false_alarm") == 1);
    DG_CHECK(integer(first, "agreement", "both_pass") == 1);
    DG_CHECK(json_real_value(json_object_get(json_object_get(first, "agreement"), "sensitivity")) == 0.5);
    second = json_array_get(json_object_get(o, "rows"), 1);
    DG_CHECK(json_is_null(json_object_get(json_object_get(second, "agreement"), "sensitivity")));
    DG_CHECK(integer(o, "agreement", "both_pass") == 5);
    const json_t *pred = json_object_get(json_object_get(o, "verdicts"), "pred");
    DG_CHECK(integer(pred, "PASS", NULL) == 1 && integer(pred, "FAIL", NULL) == 2 &&
             integer(pred, "INCOMPLETE", NULL) == 2);
    json_decref(o);
    dg_constraint_table_destroy(&table);
}

int main(void)
{
    test_comparisons();
    test_dmax();
    test_lower_target();
    test_fractionation();
    test_borders();
    test_faults();
    test_json();
    return 0;
}
