/* ctest: libs=dg_analysis,dg_grid,dg_base label=unit timeout=60 */
/* t620_metric.c - the grammar of dose-volume metrics: what it takes, what it refuses and how, and values that are
 * known. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_dvh_metric.h"

static void test_accepted(void)
{
    static const struct {
        const char *text, *canonical, *unit;
        dg_metric_kind kind;
        double value;
    } CASES[] = {{"D95%", "D95%", "Gy", DG_METRIC_DOSE_AT_PERCENT, 95},
                 {"d0.03CC", "D0.03cc", "Gy", DG_METRIC_DOSE_AT_CC, 0.03},
                 {"D99.50%", "D99.5%", "Gy", DG_METRIC_DOSE_AT_PERCENT, 99.5},
                 {"D0000002.000000cc", NULL, "", 0, 0}, /* seven digits */
                 {"D00002.00000cc", "D2cc", "Gy", DG_METRIC_DOSE_AT_CC, 2},
                 {"D0.000001cc", "D0.000001cc", "Gy", DG_METRIC_DOSE_AT_CC, 1e-6},
                 {"dMEAN", "Dmean", "Gy", DG_METRIC_MEAN, 0},
                 {"Dmax", "Dmax", "Gy", DG_METRIC_MAX, 0},
                 {"Dmin", "Dmin", "Gy", DG_METRIC_MIN, 0},
                 {"Dmedian", "Dmedian", "Gy", DG_METRIC_MEDIAN, 0},
                 {"V20Gy%", "V20Gy%", "%", DG_METRIC_VOLUME_PERCENT, 20},
                 {"V0GY%", "V0Gy%", "%", DG_METRIC_VOLUME_PERCENT, 0},
                 {"v45gyCC", "V45Gycc", "cc", DG_METRIC_VOLUME_CC, 45},
                 {"V95%Rx%", "V95%Rx%", "%", DG_METRIC_VOLUME_PERCENT, 95},
                 {"V100%rxcc", "V100%Rxcc", "cc", DG_METRIC_VOLUME_CC, 100},
                 {"CV20.5Gycc", "CV20.5Gycc", "cc", DG_METRIC_COLD_VOLUME_CC, 20.5},
                 {"HI", "HI", "", DG_METRIC_HI, 0},
                 {"cipaddick", "CIpaddick", "", DG_METRIC_CI_PADDICK, 0},
                 {"CIRTOG", "CIrtog", "", DG_METRIC_CI_RTOG, 0},
                 {"r50", "R50", "", DG_METRIC_R50, 0}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        dg_metric m, again;
        if (CASES[i].canonical == NULL) {
            DG_CHECK_FAILS(dg_metric_parse(CASES[i].text, &m), DG_ERR_USAGE, "at most six digits");
            continue;
        }
        DG_CHECK_OK(dg_metric_parse(CASES[i].text, &m));
        DG_CHECK(strcmp(m.text, CASES[i].canonical) == 0 && m.kind == CASES[i].kind && m.value == CASES[i].value);
        DG_CHECK(strcmp(dg_metric_unit(&m), CASES[i].unit) == 0);
        DG_CHECK(m.dose_is_percent_rx == (strstr(m.text, "Rx") != NULL));
        DG_CHECK_OK(dg_metric_parse(m.text, &again)); /* the canonical spelling means the same */
        DG_CHECK(again.kind == m.kind && again.value == m.value && strcmp(again.text, m.text) == 0);
    }
}

static void test_refused(void)
{
    static const struct {
        const char *text, *words, *other;
    } CASES[] = {{"D2", "D2% (dose to 2 % of the volume)", "D2cc (dose to 2 cc)"},
                 {"V20", "V20Gy% (share of the structure at 20 Gy)", "V20Gycc"},
                 {"V20%", "V20Gy% (share of the structure at 20 Gy)", "V20%Rx% (at 20 % of the prescription)"},
                 {"V20cc", "V20Gycc (volume at 20 Gy)", "V20%Rxcc"},
                 {"V45Gy", "V45Gy% (share of the structure)", "V45Gycc (volume in cc)"},
                 {"V95%Rx", "V95%Rx% (share of the structure)", "V95%Rxcc (volume in cc)"},
                 {"CI", "which conformity index", "CIrtog (V_RI / TV)"},
                 {"D95%%", "column 5", "nothing may follow"},
                 {"V95%Rx%c", "column 8", "nothing may follow"},
                 {"D", "column 2", "expected a number"},
                 {"D1e2%", "column 3", "expected a unit: D1%"},
                 {"D-5%", "column 2", "expected a number"},
                 {"Dinf%", "column 2", "expected a number"},
                 {"Dnan%", "column 2", "expected a number"},
                 {"D0x5%", "column 3", "expected a unit"},
                 {"D.5%", "column 2", "expected a number"},
                 {"D5.%", "column 2", "expected a number"},
                 {"D5,5%", "column 3", "expected a unit"},
                 {"D 95%", "column 2", "expected a number"},
                 {" D95%", "column 1", "expected D.."},
                 {"D95% ", "column 5", "nothing may follow"},
                 {"D0%", "column 2", "above 0 and at most 100 %"},
                 {"D100.1%", "column 2", "above 0 and at most 100 %"},
                 {"D0cc", "column 2", "above 0 cc"},
                 {"V0%Rx%", "column 3", "above 0 %"},
                 {"D1234567%", "column 2", "six digits"},
                 {"D0.1234567%", "column 2", "six digits"},
                 {"CV20Gy%", "column 5", "expected Gycc"},
                 {"CV%", "column 3", "as in CV20Gycc"},
                 {"CV20", "column 5", "expected Gycc"},
                 {"", "metric '', column 1", "expected D.."},
                 {"Dmean2", "column 6", "nothing may follow"},
                 {"V20Gy\n%", "metric 'V20Gy?%'", "expected the volume's unit"},
                 {"Q\x01\x7f\xff",
                  "metric 'Q?"
                  "?"
                  "?'",
                  "column 1"}};
    dg_metric m;
    char lengthy[5000];
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        DG_CHECK_FAILS(dg_metric_parse(CASES[i].text, &m), DG_ERR_USAGE, CASES[i].words);
        DG_CHECK_FAILS(dg_metric_parse(CASES[i].text, &m), DG_ERR_USAGE, CASES[i].other);
    }
    memset(lengthy, '9', sizeof lengthy - 1);
    lengthy[0] = 'V';
    lengthy[sizeof lengthy - 1] = '\0';
    DG_CHECK_FAILS(dg_metric_parse(lengthy, &m), DG_ERR_USAGE, "..'");
}

enum { N = 1000 };
static float dose[N];
static uint64_t masks[N];

static double evaluate(const char *text, const dg_metric_input *input, const char *want_reason)
{
    dg_metric m;
    char reason[96];
    DG_CHECK_OK(dg_metric_parse(text, &m));
    double value = dg_metric_evaluate(&m, input, reason);
    if (strcmp(reason, want_reason) != 0) fprintf(stderr, "%s: reason '%s', wanted '%s'\n", text, reason, want_reason);
    DG_CHECK(strcmp(reason, want_reason) == 0 && isnan(value) == (reason[0] != '\0'));
    return value;
}

/* 1000 voxels of 0.01 cc with 0.1, 0.2, .. 100 Gy; the target are the 300 hottest and 100 of the coldest. */
static void test_values(void)
{
    dg_dvh target, body;
    for (int i = 0; i < N; i++) {
        const int rank = (i * 7) % N; /* shuffled */
        dose[i] = (float)(rank + 1) / 10;
        masks[i] = rank >= 700 || rank < 100 ? 3 : 2;
    }
    DG_CHECK_OK(dg_dvh_create(dose, masks, 1, N, 10, &target));
    DG_CHECK_OK(dg_dvh_create(dose, masks, 2, N, 10, &body));
    dg_metric_input in = {.dvh = &target, .body = &body, .prescription_gy = 60, .rule = DG_DVH_ICRU};
    DG_CHECK_NEAR(evaluate("D75%", &in, ""), 70.1, 1e-5); /* 300 of 400 voxels get 70.1 Gy and more */
    DG_CHECK_NEAR(evaluate("D75.1%", &in, ""), 10.0, 1e-5);
    DG_CHECK_NEAR(evaluate("D0.1cc", &in, ""), 99.1, 1e-5);
    DG_CHECK_NEAR(evaluate("Dmean", &in, ""), (300 * 85.05 + 100 * 5.05) / 400, 1e-5);
    DG_CHECK_NEAR(evaluate("Dmax", &in, ""), 100, 0);
    DG_CHECK_NEAR(evaluate("Dmin", &in, ""), 0.1, 1e-7);
    DG_CHECK_NEAR(evaluate("Dmedian", &in, ""), 80.1, 1e-5);
    DG_CHECK_NEAR(evaluate("V80.05Gy%", &in, ""), 50, 1e-9);
    DG_CHECK_NEAR(evaluate("V80.05Gycc", &in, ""), 2, 1e-12);
    DG_CHECK_NEAR(evaluate("V100%Rx%", &in, ""), 75, 1e-9);
    DG_CHECK_NEAR(evaluate("V150%Rxcc", &in, ""), 1.01, 1e-12); /* 90 Gy and more: 101 voxels, as 90 counts */
    DG_CHECK_NEAR(evaluate("CV5.05Gycc", &in, ""), 0.5, 1e-12);
    DG_CHECK_NEAR(evaluate("HI", &in, ""), (99.3 - 0.9) / 80.1, 1e-6);
    /* the body has 401 voxels at 60 Gy and above (one share of it outside the target), 701 at 30 Gy and above */
    DG_CHECK_NEAR(evaluate("CIpaddick", &in, ""), 3.0 * 3.0 / (4.0 * 4.01), 1e-12);
    DG_CHECK_NEAR(evaluate("CIrtog", &in, ""), 4.01 / 4, 1e-12);
    DG_CHECK_NEAR(evaluate("R50", &in, ""), 7.01 / 4, 1e-12);
    in.rule =
        DG_DVH_LOWER; /* index floor(399 * 25 / 100) = 99 and floor(399 * 50 / 100) = 199 of the ascending doses */
    DG_CHECK_NEAR(evaluate("D75%", &in, ""), 10.0, 1e-5);
    DG_CHECK_NEAR(evaluate("Dmedian", &in, ""), 80.0, 1e-5);
    in.rule = DG_DVH_LINEAR; /* 399 * 0.25 = 99.75 between 10.0 and 70.1 Gy; 0.1 cc are 2.5 %: 399 * 0.975 = 389.025 */
    DG_CHECK_NEAR(evaluate("D75%", &in, ""), 10 + 0.75 * 60.1, 1e-5);
    DG_CHECK_NEAR(evaluate("D0.1cc", &in, ""), 99.0 + 0.0025, 1e-5);
    evaluate("D4.01cc", &in, "structure smaller than 4.01 cc");
    DG_CHECK_NEAR(evaluate("D4cc", &in, ""), 0.1, 1e-7);
    dg_dvh_release(&target);
    dg_dvh_release(&body);
}

static void test_reasons(void)
{
    dg_dvh dvh, none;
    for (int i = 0; i < N; i++) dose[i] = 0, masks[i] = 1;
    DG_CHECK_OK(dg_dvh_create(dose, masks, 1, 10, 10, &dvh));
    DG_CHECK_OK(dg_dvh_create(dose, masks, 2, 10, 10, &none));
    dg_metric_input in = {.dvh = &dvh, .prescription_gy = 60};
    evaluate("R50", &in, "no body");
    in.body = &none;
    evaluate("CIpaddick", &in, "no body");
    in.body = &dvh;
    evaluate("CIpaddick", &in, "no voxel of the body reaches the prescription");
    DG_CHECK(evaluate("CIrtog", &in, "") == 0 && evaluate("R50", &in, "") == 0);
    evaluate("HI", &in, "D50% is not above 0 Gy");
    in.prescription_gy = 0;
    evaluate("CIrtog", &in, "no prescription");
    evaluate("V95%Rx%", &in, "no prescription");
    DG_CHECK(evaluate("V0Gy%", &in, "") == 100);
    in.dvh = &none;
    evaluate("Dmax", &in, "structure has no voxel");
    evaluate("V20Gycc", &in, "structure has no voxel");
    dg_dvh_release(&dvh);
    dg_dvh_release(&none);
}

int main(void)
{
    test_accepted();
    test_refused();
    test_values();
    test_reasons();
    return 0;
}
