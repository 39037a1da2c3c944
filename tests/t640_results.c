/* ctest: libs=dg_analysis,dg_base label=unit timeout=60 */
/* t640_results.c - reader of evaluation results: our layouts, the reference tool's, and what a stranger may write.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_mem.h"
#include "dg_results.h"

#define HEAD "{\"format\":\"dosegrid-evaluation\",\"version\":2,\"settings\":{\"margin_mm\":5},"

static const char ours[] = HEAD
    "\"run\":{\"name\":\"r\",\"condition\":\"mse\",\"seed\":42,\"weights_sha256\":[\"ab\"]},\"n_cases\":2,\"n_failed\":"
    "1,"
    "\"failed\":[{\"case_id\":\"x\",\"reason\":\"no file\"}],\"aggregate\":{},\"per_case_results\":["
    "{\"case_id\":\"b\",\"group\":\"g1\",\"case_sha256\":\"00ff\",\"prescription_gy\":70,\"fractions\":35,"
    "\"spacing_mm_zyx\":[3,2,2],\"dose_metrics\":{\"mae_gy\":1.5,\"mae_body_gy\":null},"
    "\"gamma\":{\"norm_gy\":72,\"oar_Lens_3mm3pct\":{\"gamma_pass_rate\":null,\"error\":\"no voxel at the cutoff\"}},"
    "\"dvh_metrics\":{\"PTV50.4\":{\"exists\":true,\"pred_D0.1cc_gy\":51.25},\"Rectum\":{\"exists\":false}},"
    "\"clinical_constraints\":{\"verdict\":\"PASS\",\"passed\":3,\"rows\":[{\"limit\":7}]}},"
    "{\"case_id\":\"a\",\"dose_metrics\":{\"mae_gy\":NaN,\"rmse_gy\":\"nan\"}}]}";

static dg_results *read(const char *text)
{
    dg_results *r;
    DG_CHECK_OK(dg_results_read_text(text, (int64_t)strlen(text), "r.json", &r));
    return r;
}

static void check_value(const dg_results *r, int64_t i, const char *metric, double value, const char *reason)
{
    const char *why = "unset";
    double got = dg_results_value(r, i, metric, &why);
    if (reason == NULL) {
        DG_CHECK(got == value && why == NULL);
    } else if (!isnan(got) || why == NULL || strcmp(why, reason) != 0) {
        fprintf(stderr, "%s: %g because '%s', not '%s'\n", metric, got, why == NULL ? "" : why, reason);
        exit(1);
    }
}

static void test_ours(void)
{
    dg_results *r = read(ours);
    const char *id, *reason;
    const char *const metric[] = {"clinical_constraints.passed", "dose_metrics.mae_gy",
                                  "dvh_metrics.PTV50.4.pred_D0.1cc_gy", "gamma.norm_gy"};
    DG_CHECK(dg_results_version(r) == 2 && dg_results_get_source(r) == DG_RESULTS_DOSEGRID);
    DG_CHECK(json_integer_value(json_object_get(dg_results_settings(r), "margin_mm")) == 5);
    DG_CHECK(strcmp(dg_results_get_run(r)->condition, "mse") == 0 && dg_results_get_run(r)->seed == 42);
    DG_CHECK(dg_results_get_run(r)->has_seed && strcmp(dg_results_get_run(r)->name, "r") == 0);
    DG_CHECK(dg_results_case_count(r) == 2 && strcmp(dg_results_get_case(r, 0)->id, "a") == 0);
    DG_CHECK(strcmp(dg_results_get_case(r, 1)->sha256, "00ff") == 0 &&
             dg_results_get_case(r, 1)->prescription_gy == 70);
    DG_CHECK(strcmp(dg_results_get_case(r, 1)->group, "g1") == 0 && isnan(dg_results_get_case(r, 0)->prescription_gy));
    DG_CHECK(dg_results_find_case(r, "b") == 1 && dg_results_find_case(r, "aa") == -1);
    DG_CHECK(dg_results_failed_count(r) == 1);
    dg_results_get_failed(r, 0, &id, &reason);
    DG_CHECK(strcmp(id, "x") == 0 && strcmp(reason, "no file") == 0);
    check_value(r, 1, "dose_metrics.mae_gy", 1.5, NULL);
    check_value(r, 1, "dvh_metrics.PTV50.4.pred_D0.1cc_gy", 51.25, NULL);
    check_value(r, 1, "dose_metrics.mae_body_gy", 0, "null");
    check_value(r, 1, "gamma.oar_Lens_3mm3pct.gamma_pass_rate", 0, "no voxel at the cutoff");
    check_value(r, 1, "dvh_metrics.Rectum.pred_mean_gy", 0, "no such structure");
    check_value(r, 1, "clinical_constraints.verdict", 0, "not a number");
    check_value(r, 0, "dose_metrics.mae_gy", 0, "null");
    check_value(r, 0, "dose_metrics.rmse_gy", 0, "not a number");
    check_value(r, 0, "gamma.norm_gy", 0, "not in the results");
    check_value(r, 0, "", 0, "not in the results");
    DG_CHECK(dg_results_metric_count(r) == 4);
    for (int i = 0; i < 4; i++) DG_CHECK(strcmp(dg_results_metric(r, i), metric[i]) == 0);
    DG_CHECK(dg_results_has_metric(r, "gamma.norm_gy") && !dg_results_has_metric(r, "gamma"));
    dg_results_destroy(&r);
    DG_CHECK(r == NULL);
    dg_results_destroy(&r);
}

static void test_version_1(void)
{
    dg_results *r =
        read("{\"format\":\"dosegrid-evaluation\",\"version\":1,\"n_cases\":1,\"failed\":[],\"aggregate\":{},"
             "\"per_case_results\":[{\"case_id\":\"a\",\"dose_metrics\":{\"mae_gy\":2}}]}");
    DG_CHECK(dg_results_settings(r) == NULL && !dg_results_get_run(r)->has_seed);
    DG_CHECK(dg_results_get_run(r)->condition[0] == '\0');
    check_value(r, 0, "dose_metrics.mae_gy", 2, NULL);
    dg_results_destroy(&r);
}

static void test_reference(void)
{
    char path[4096];
    dg_results *r;
    const char *root = getenv("DG_TEST_SOURCE");
    snprintf(path, sizeof path, "%s/tests/golden/dvh_metrics_expected.json", root == NULL ? "." : root);
    DG_CHECK_OK(dg_results_read(path, "expected.json", &r));
    DG_CHECK(dg_results_get_source(r) == DG_RESULTS_REFERENCE && dg_results_version(r) == 0);
    DG_CHECK(strcmp(dg_results_get_run(r)->condition, "baseline_unet") == 0);
    DG_CHECK(dg_results_case_count(r) == 4);
    check_value(r, 0, "dvh_metrics.PTV50.4.D95_error", -1.8372, NULL);
    check_value(r, 0, "clinical_constraints.compliance_rate", 70.0, NULL);
    DG_CHECK(dg_results_has_metric(r, "gamma.ptv_region_3mm3pct.gamma_pass_rate"));
    dg_results_destroy(&r);
    DG_CHECK_FAILS(dg_results_read("/nowhere/r.json", "r.json", &r), DG_ERR_IO, "r.json");
}

static void refuses(const char *text, dg_status status, const char *words)
{
    dg_results *r;
    DG_CHECK_FAILS(dg_results_read_text(text, (int64_t)strlen(text), "r.json", &r), status, words);
    DG_CHECK(r == NULL && strncmp(dg_error_last()->text, "r.json", 6) == 0);
}

#define CASES HEAD "\"per_case_results\":"

static void test_hostile(void)
{
    char *text;
    refuses("", DG_ERR_FORMAT, "line");
    refuses("[1]", DG_ERR_FORMAT, "no JSON object");
    refuses("{\"a\":\x1b[31m}", DG_ERR_FORMAT, "line 1");
    DG_CHECK(strchr(dg_error_last()->text, '\x1b') == NULL);
    refuses("{\"a\":1,\"a\":2}", DG_ERR_FORMAT, "duplicate");
    refuses("{\"per_case_results\":[]}", DG_ERR_FORMAT, "format is missing");
    refuses("{\"format\":\"x\"}", DG_ERR_FORMAT, "format is not");
    refuses("{\"format\":\"dosegrid-evaluation\",\"version\":\"2\"}", DG_ERR_FORMAT, "version is no positive integer");
    refuses("{\"format\":\"dosegrid-evaluation\",\"version\":3}", DG_ERR_UNSUPPORTED, "version 3");
    refuses("{\"format\":\"dosegrid-evaluation\",\"version\":2}", DG_ERR_FORMAT, "settings is no object");
    refuses(HEAD "\"run\":7}", DG_ERR_FORMAT, "run is no object");
    refuses(HEAD "\"run\":{\"seed\":1.5}}", DG_ERR_FORMAT, "run.seed is no integer");
    refuses(HEAD "\"run\":{\"condition\":\"a\\u001bb\"}}", DG_ERR_FORMAT, "run.condition holds a control character");
    refuses(HEAD "\"run\":{\"name\":\"\"}}", DG_ERR_FORMAT, "run.name has 0 bytes");
    refuses(HEAD "\"x\":1}", DG_ERR_FORMAT, "per_case_results is no array");
    refuses(CASES "[7]}", DG_ERR_FORMAT, "per_case_results[0] is no object");
    refuses(CASES "[{}]}", DG_ERR_FORMAT, "per_case_results[0].case_id is missing");
    refuses(CASES "[{\"case_id\":5}]}", DG_ERR_FORMAT, "case_id is no text");
    refuses(CASES "[{\"case_id\":\"a\"},{\"case_id\":\"a\"}]}", DG_ERR_DATA, "case a stands there twice");
    refuses(CASES "[{\"case_id\":\"a\",\"group\":[]}]}", DG_ERR_FORMAT, "group is no text");
    refuses(CASES "[],\"failed\":{}}", DG_ERR_FORMAT, "failed is no array");
    refuses(CASES "[],\"failed\":[3]}", DG_ERR_FORMAT, "failed[0].case_id is missing");
    refuses(CASES "[{\"case_id\":\"a\",\"g\":{\"\":1}}]}", DG_ERR_FORMAT, "name of");
    refuses(CASES "[{\"case_id\":\"a\",\"g\":{\"x\\n\":1}}]}", DG_ERR_FORMAT, "control character");
    refuses(CASES "[{\"case_id\":\"a\",\"g\":{\"m\":1e999}}]}", DG_ERR_FORMAT, "line 1");
    DG_CHECK_OK(DG_NEW(&text, 1 << 20, "test"));
    strcpy(text, CASES "[{\"case_id\":\"a\",\"g\":");
    for (int i = 0; i < 40; i++) strcat(text, "{\"k\":");
    strcat(text, "1");
    for (int i = 0; i < 40; i++) strcat(text, "}");
    strcat(text, "}]}");
    refuses(text, DG_ERR_FORMAT, "inside each other");
    memset(text, '[', 1 << 19);
    refuses(text, DG_ERR_FORMAT, "line 1");
    strcpy(text, CASES "[{\"case_id\":\"a\",\"g\":{\"");
    memset(text + strlen(text), 'k', 300);
    strcat(text, "\":1}}]}");
    refuses(text, DG_ERR_FORMAT, "1 to 255 are allowed");
    dg_free(&text);
}

/* Words inside strings stay; cut files are refused wherever they are cut, and never crash. */
static void test_cut(void)
{
    dg_results *r = read(CASES "[{\"case_id\":\"NaN \\\" -Infinity\",\"d\":{\"m\":-Infinity,\"NaN\":4}}]}");
    DG_CHECK(strcmp(dg_results_get_case(r, 0)->id, "NaN \" -Infinity") == 0);
    check_value(r, 0, "d.NaN", 4, NULL);
    check_value(r, 0, "d.m", 0, "null");
    dg_results_destroy(&r);
    for (int64_t length = 0; length < (int64_t)strlen(ours); length++) {
        char *block = malloc((size_t)length + 1); /* the text ends with the block: no byte behind it may be read */
        memcpy(block + 1, ours, (size_t)length);
        DG_CHECK(dg_results_read_text(block + 1, length, "r.json", &r) == DG_ERR_FORMAT);
        free(block);
    }
}

int main(void)
{
    test_ours();
    test_version_1();
    test_reference();
    test_hostile();
    test_cut();
    return 0;
}
