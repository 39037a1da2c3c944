/* ctest: libs=dg_analysis,dg_base label=unit timeout=120 */
/* t642_compare.c - results side by side: what may not stand together, pairs of patients over seeds, what else is told, and text of
 * strangers in every output. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_compare.h"
#include "dg_mem.h"
#include "dg_rng.h"
#include "dg_text_table.h"

enum { CASES = 8, SEEDS = 3, CONDITIONS = 3, FILES = SEEDS * CONDITIONS, TEXT = 1 << 16 };

static const char *const condition_name[CONDITIONS] = {"base", "deep", "wide"};
static const int64_t seed_of[SEEDS] = {42, 123, 456};

/* The error of a patient: base about 4, deep half a gray lower, wide the same; patient 5 is an outlier under deep. */
static double error_of(int condition, int seed, int patient)
{
    dg_rng rng = dg_rng_stream(7, DG_RNG_TEST, (uint64_t)(condition * 100 + patient), (uint32_t)seed);
    return 4 + 0.2 * patient - (condition == 1 ? 0.5 : 0) + 0.05 * dg_rng_normal(&rng) +
           (condition == 1 && patient == 5 ? 6 : 0);
}

/* One file of results; `replace` -> `by` changes its text (NULL: as it is). */
static char *results_text(int condition, int seed, const char *replace, const char *by)
{
    char *text, *more;
    size_t used = 0;
    DG_CHECK_OK(DG_NEW(&text, TEXT, "test"));
#define ADD(...) used += (size_t)snprintf(text + used, TEXT - used, __VA_ARGS__)
    ADD("{\"format\":\"dosegrid-evaluation\",\"version\":2,\"settings\":{\"compat\":\"corrected\",\"gamma\":{"
        "\"method\":"
        "\"continuous\",\"norm\":\"max\",\"cutoff_percent\":10},\"criteria\":[{\"dose_percent\":3,\"distance_mm\":3}],"
        "\"dvh_rule\":\"icru\"},\"run\":{\"name\":\"n\",\"condition\":\"%s\",\"seed\":%lld,\"weights_sha256\":[\"%d-%"
        "d\"]},"
        "\"n_cases\":%d,\"n_failed\":0,\"failed\":[],\"aggregate\":{},\"per_case_results\":[",
        condition_name[condition], (long long)seed_of[seed], condition, seed, CASES);
    for (int i = 0; i < CASES; i++) {
        const double e = error_of(condition, seed, i);
        ADD("%s{\"case_id\":\"case-%d\",\"group\":\"g%d\",\"case_sha256\":\"aa%d\",\"prescription_gy\":70,\"dose_"
            "metrics\":{"
            "\"mae_gy\":%.17g,\"mae_ptv_region_gy\":%.17g},\"gamma\":{\"ptv_region_3mm3pct\":{\"gamma_pass_rate\":%."
            "17g},"
            "\"low_dose_3mm3pct\":{\"gamma_pass_rate\":%.17g}},\"dvh_metrics\":{\"Femur_L\":{\"mae_gy\":%.17g,\"D0.1cc_"
            "error_gy\":1},"
            "\"Femur_R\":{\"mae_gy\":%.17g},\"PTV50.4\":{\"D95_error_gy\":-0.25}}}",
            i > 0 ? "," : "", i, i, i, e, e / 2, 100 - 2 * e, 90 - 2 * e, e + 0.3, e);
    }
    ADD("]}");
#undef ADD
    if (replace == NULL) return text;
    char *at = strstr(text, replace);
    DG_CHECK(at != NULL);
    DG_CHECK_OK(DG_NEW(&more, TEXT, "test"));
    snprintf(more, TEXT, "%.*s%s%s", (int)(at - text), text, by, at + strlen(replace));
    dg_free(&text);
    return more;
}

typedef struct files {
    dg_results *results[FILES];
    dg_compare_file file[FILES];
    int count;
} files;

static void add_file(files *f, char *text, const char *name)
{
    dg_compare_file *file = &f->file[f->count];
    DG_CHECK_OK(dg_results_read_text(text, (int64_t)strlen(text), name, &f->results[f->count]));
    const dg_results_run *run = dg_results_get_run(f->results[f->count]);
    file->results = f->results[f->count++];
    memcpy(file->condition, run->condition, sizeof file->condition);
    file->has_seed = run->has_seed;
    file->seed = run->seed;
    dg_free(&text);
}

static files all_files(int conditions)
{
    char name[32];
    files f = {0};
    for (int c = 0; c < conditions; c++)
        for (int s = 0; s < SEEDS; s++) {
            snprintf(name, sizeof name, "%s-%d.json", condition_name[c], s);
            add_file(&f, results_text(c, s, NULL, NULL), name);
        }
    return f;
}

static void free_files(files *f)
{
    for (int i = 0; i < f->count; i++) dg_results_destroy(&f->results[i]);
}

static const dg_compare_params usual = {
    .primary = "", .reference = "base", .alpha = 0.05, .resamples = 500, .seed = 42};

static json_t *compare_json(const files *f, const dg_compare_params *params)
{
    dg_compare *compare;
    json_t *root;
    DG_CHECK_OK(dg_compare_create(f->file, f->count, params, &compare));
    DG_CHECK_OK(dg_compare_json(compare, &root));
    dg_compare_destroy(&compare);
    return root;
}

static const json_t *at(const json_t *root, const char *path)
{
    const json_t *value = dg_results_look_up(root, path);
    if (value == NULL) fprintf(stderr, "nothing at %s\n", path);
    DG_CHECK(value != NULL);
    return value;
}

static double number_at(const json_t *root, const char *path) { return json_number_value(at(root, path)); }
static const json_t *item(const json_t *root, const char *path, size_t i) { return json_array_get(at(root, path), i); }

/* The numbers of the primary metric, worked out here again. */
static void test_primary(void)
{
    files f = all_files(CONDITIONS);
    json_t *root = compare_json(&f, &usual);
    const json_t *deep = item(root, "primary.comparisons", 0), *wide = item(root, "primary.comparisons", 1);
    double mean[2] = {0, 0}, seed_mean[SEEDS] = {0}, effect = 0, squares = 0;
    for (int i = 0; i < CASES; i++)
        for (int s = 0; s < SEEDS; s++) {
            for (int c = 0; c < 2; c++) mean[c] += error_of(c, s, i) / (CASES * SEEDS);
            seed_mean[s] += (error_of(1, s, i) - error_of(0, s, i)) / CASES;
        }
    for (int s = 0; s < SEEDS; s++) effect += seed_mean[s] / SEEDS;
    for (int s = 0; s < SEEDS; s++) squares += (seed_mean[s] - effect) * (seed_mean[s] - effect);
    DG_CHECK(strcmp(json_string_value(at(root, "primary.metric")), "dose_metrics.mae_gy") == 0);
    DG_CHECK(strcmp(json_string_value(at(deep, "condition")), "deep") == 0 && number_at(deep, "n") == CASES);
    DG_CHECK_NEAR(number_at(deep, "mean"), mean[1], 1e-12);
    DG_CHECK_NEAR(number_at(deep, "mean_reference"), mean[0], 1e-12);
    DG_CHECK_NEAR(number_at(deep, "seed_rule.effect"), effect, 1e-12);
    DG_CHECK_NEAR(number_at(deep, "seed_rule.std"), sqrt(squares / (SEEDS - 1)), 1e-12);
    /* seven patients are better by about 0.5, one is worse by 5.5: ranks 1..7 against 8 */
    DG_CHECK(number_at(deep, "wilcoxon.r_plus") == 8 && number_at(deep, "wilcoxon.r_minus") == 28);
    DG_CHECK(strcmp(json_string_value(at(deep, "wilcoxon.method")), "exact") == 0);
    DG_CHECK_NEAR(number_at(deep, "wilcoxon.p_smallest"), 2.0 / 256, 1e-15);
    DG_CHECK_NEAR(number_at(deep, "p_holm_smallest"), 4.0 / 256, 1e-15);
    DG_CHECK(number_at(deep, "hodges_lehmann.shift") < -0.3 && json_is_true(at(deep, "better")));
    DG_CHECK(strcmp(json_string_value(at(deep, "bootstrap.method")), "bca") == 0);
    DG_CHECK(number_at(wide, "p_holm") >= number_at(deep, "p_holm") && json_is_false(at(wide, "significant")));
    DG_CHECK(json_array_size(at(root, "warnings")) == 0);
    DG_CHECK(json_is_true(at(item(root, "exploratory", 0), "exploratory")));
    DG_CHECK(json_object_get(item(item(root, "exploratory", 0), "comparisons", 0), "p_holm") == NULL);
    json_decref(root);
    free_files(&f);
}

static void test_order(void)
{
    files f = all_files(CONDITIONS), turned = {.count = f.count};
    for (int i = 0; i < f.count; i++) turned.file[i] = f.file[(5 * i + 4) % f.count];
    json_t *a = compare_json(&f, &usual), *b = compare_json(&turned, &usual);
    DG_CHECK(json_equal(a, b));
    json_decref(a);
    json_decref(b);
    dg_compare_params other = usual;
    other.reference = "";
    a = compare_json(&turned, &other);
    DG_CHECK(strcmp(json_string_value(at(a, "settings.reference")), turned.file[0].condition) == 0);
    json_decref(a);
    free_files(&f);
}

static void refuses(const char *replace, const char *by, const char *words, const char *values)
{
    dg_compare *compare;
    files f = {0};
    add_file(&f, results_text(0, 0, NULL, NULL), "a.json");
    add_file(&f, results_text(1, 0, replace, by), "b.json");
    DG_CHECK_FAILS(dg_compare_create(f.file, f.count, &usual, &compare), DG_ERR_USAGE, words);
    DG_CHECK_FAILS(DG_ERR_USAGE, DG_ERR_USAGE, values);
    DG_CHECK(compare == NULL && strstr(dg_error_last()->text, "a.json") != NULL);
    DG_CHECK(strstr(dg_error_last()->text, "b.json") != NULL);
    free_files(&f);
}

static void test_refusals(void)
{
    refuses("\"continuous\"", "\"pymedphys\"", "settings.gamma.method",
            "\"continuous\" in a.json, \"pymedphys\" in b.json");
    refuses("\"dose_percent\":3", "\"dose_percent\":2", "settings.criteria[0].dose_percent",
            "3 in a.json, 2 in b.json");
    refuses("\"cutoff_percent\":10", "\"cutoff_percent\":5", "settings.gamma.cutoff_percent", "10 in a.json");
    refuses("\"norm\":\"max\"", "\"norm\":\"prescription\"", "settings.gamma.norm", "\"max\"");
    refuses("\"dvh_rule\":\"icru\"", "\"dvh_rule\":\"lower\"", "settings.dvh_rule", "\"lower\"");
    refuses("\"compat\":\"corrected\"", "\"compat\":\"upstream\"", "settings.compat", "\"upstream\"");
    refuses("\"dvh_rule\":\"icru\"", "\"dvh_rule\":\"icru\",\"margin_mm\":7", "settings.margin_mm",
            "nothing in a.json, 7 in");
    refuses("{\"dose_percent\":3,\"distance_mm\":3}", "{\"dose_percent\":3,\"distance_mm\":3},{\"dose_percent\":2}",
            "settings.criteria", "in b.json");
    refuses("\"aa3\"", "\"bb3\"", "case_sha256 of case case-3", "aa3 in a.json, bb3 in b.json");
    refuses("\"prescription_gy\":70", "\"prescription_gy\":60", "prescription_gy of case case-0", "70 in a.json, 60");
    refuses("\"case_id\":\"case-7\"", "\"case_id\":\"case-9\"", "cases: case-7", "is in a.json but not in b.json");
}

/* A key that nobody knows is no reason to refuse. */
static void test_accepts(void)
{
    dg_compare *compare;
    files f = {0};
    add_file(&f, results_text(0, 0, NULL, NULL), "a.json");
    add_file(&f, results_text(1, 0, "\"failed\":[]", "\"failed\":[],\"x\":0"), "b.json");
    DG_CHECK_OK(dg_compare_create(f.file, f.count, &usual, &compare));
    DG_CHECK(dg_compare_conditions(compare) == 2 && strcmp(dg_compare_condition(compare, 0), "base") == 0);
    dg_compare_destroy(&compare);
    free_files(&f);
}

static void test_usage(void)
{
    dg_compare *compare;
    files f = all_files(2);
    const char *const unknown[] = {"dose_metrics.nothing*"};
    dg_compare_params params = usual;
#define FAILS(words) DG_CHECK_FAILS(dg_compare_create(f.file, f.count, &params, &compare), DG_ERR_USAGE, words)
    params.reference = "none";
    FAILS("no file has the condition 'none'");
    params = usual;
    params.primary = "dose_metrics.nothing";
    FAILS("has no number dose_metrics.nothing");
    params = usual;
    params.pattern = unknown;
    params.patterns = 1;
    FAILS("no metric matches 'dose_metrics.nothing*'");
    params = usual;
    params.alpha = 1;
    FAILS("alpha is 1");
    params = usual;
    f.file[1].seed = 42;
    FAILS("seed 42 of condition 'base' stands in two files");
    f.file[1].has_seed = false;
    FAILS("says no run.seed");
    f.file[1] = f.file[0];
    f.file[1].condition[0] = '\0';
    FAILS("says no run.condition");
    DG_CHECK_FAILS(dg_compare_create(f.file, 0, &params, &compare), DG_ERR_USAGE, "no results to compare");
#undef FAILS
    free_files(&f);
}

static void test_explorations(void)
{
    files f = all_files(2);
    json_t *root = compare_json(&f, &usual);
    const json_t *outliers = at(root, "outliers.cases"), *row;
    DG_CHECK(json_array_size(outliers) == 1);
    row = json_array_get(outliers, 0);
    DG_CHECK(strcmp(json_string_value(at(row, "case_id")), "case-5") == 0 && number_at(row, "seeds_flagged") == 3);
    DG_CHECK(strcmp(json_string_value(at(row, "side")), "high") == 0);
    DG_CHECK(strcmp(json_string_value(at(row, "condition")), "deep") == 0);
    DG_CHECK(json_array_size(at(root, "asymmetry.pairs")) == 2);
    row = item(root, "asymmetry.pairs", 0);
    DG_CHECK_NEAR(number_at(row, "hodges_lehmann.shift"), 0.3, 1e-12);
    DG_CHECK(strcmp(json_string_value(at(row, "left")), "Femur_L") == 0);
    DG_CHECK(strcmp(json_string_value(at(row, "right")), "Femur_R") == 0);
    /* gamma was made to fall with the error: a perfect correlation, and 10 points between the regions */
    DG_CHECK(json_array_size(at(root, "gamma_against_error.error_by_region")) == 4);
    row = item(root, "gamma_against_error.error_by_region", 2);
    DG_CHECK(strcmp(json_string_value(at(row, "region")), "ptv_region") == 0);
    DG_CHECK(number_at(row, "spearman.rho") == -1 && number_at(row, "spearman.n") == CASES);
    DG_CHECK(json_array_size(at(root, "gamma_against_error.ptv_region_against")) == 2);
    row = item(root, "gamma_against_error.ptv_region_against", 0);
    DG_CHECK_NEAR(number_at(row, "mean_difference"), 10, 1e-9);
    DG_CHECK(strcmp(json_string_value(at(row, "region")), "low_dose") == 0);
    json_decref(root);
    free_files(&f);
}

static void test_upstream(void)
{
    files f = all_files(2);
    dg_compare_params params = usual;
    params.upstream = true;
    json_t *root = compare_json(&f, &params);
    const json_t *rows = at(item(root, "upstream.comparisons", 0), "seed_case_pairs");
    const json_t *row = json_array_get(rows, 0);
    DG_CHECK(number_at(row, "n_pairs") == CASES * SEEDS && json_is_true(at(row, "pseudo_replicated")));
    row = item(item(root, "upstream.comparisons", 0), "compare", 0);
    DG_CHECK(number_at(row, "n_pairs") == CASES && json_object_get(row, "pseudo_replicated") == NULL);
    DG_CHECK(strncmp(json_string_value(at(root, "upstream.table")), "| Experiment | MAE (Gy) |", 25) == 0);
    DG_CHECK(strcmp(json_string_value(at(root, "settings.correction")), "holm_without_stop") == 0);
    row = item(root, "primary.comparisons", 0);
    DG_CHECK(strcmp(json_string_value(at(row, "bootstrap.method")), "percentile_mt19937") == 0);
    json_decref(root);
    json_t *plain = compare_json(&f, &usual);
    DG_CHECK(json_object_get(plain, "upstream") == NULL);
    json_decref(plain);
    free_files(&f);
}

/* Five patients and two comparisons: nothing can be significant, and that is said. The same weights twice are told, too. */
static void test_warnings(void)
{
    files f = all_files(2);
    for (int i = 3; i < 6; i++) {
        f.file[i].seed += i == 3 ? 1 : 0; /* one seed without partner */
        snprintf(f.file[i].condition, sizeof f.file[i].condition, "x%d", i);
    }
    dg_compare_params params = usual;
    params.alpha = 0.02;
    json_t *root = compare_json(&f, &params);
    DG_CHECK(json_array_size(at(root, "warnings")) == 3); /* 3 conditions: 2^-7 * 3 = 0.0234 > 0.02 */
    DG_CHECK(strstr(json_string_value(item(root, "warnings", 0)), "no result can be significant at 0.02") != NULL);
    const json_t *rule = at(item(root, "primary.comparisons", 0), "seed_rule");
    DG_CHECK(json_is_null(at(rule, "passed")) && number_at(rule, "seeds") == 0);
    json_decref(root);
    free_files(&f);
    memset(&f, 0, sizeof f);
    add_file(&f, results_text(0, 0, NULL, NULL), "a.json");
    add_file(&f, results_text(1, 0, "\"1-0\"", "\"0-0\""), "b.json");
    root = compare_json(&f, &usual);
    DG_CHECK(strstr(json_string_value(item(root, "warnings", 0)), "same weights") != NULL);
    json_decref(root);
    free_files(&f);
}

static char *escaped(const char *text, int style)
{
    static char buffer[512];
    FILE *stream = fmemopen(buffer, sizeof buffer, "w");
    DG_CHECK(stream != NULL);
    if (style < 0)
        dg_text_print_csv(text, stream);
    else
        dg_text_print_escaped(text, (dg_table_style)style, stream);
    fputc('\0', stream);
    fclose(stream);
    return buffer;
}

#define SAME(text, style, wanted) DG_CHECK(strcmp(escaped(text, style), wanted) == 0)

static void test_escapes(void)
{
    SAME("a_b & 5% \\input{x} $^~#", DG_TABLE_LATEX,
         "a\\_b \\& 5\\% \\textbackslash{}input\\{x\\} \\$\\textasciicircum{}\\textasciitilde{}\\#");
    SAME("[3pt] 1 ± 2 \"q\"", DG_TABLE_LATEX, "{[}3pt{]} 1 $\\pm$ 2 \\char34{}q\\char34{}");
    SAME("<b>|x|</b> *a* [l](u) `c`", DG_TABLE_MARKDOWN, "&lt;b&gt;\\|x\\|&lt;/b&gt; \\*a\\* \\[l\\](u) \\`c\\`");
    SAME("https://x www.x a@b", DG_TABLE_MARKDOWN, "https\\://x www\\.x a\\@b");
    SAME("a\x1b[31m\n\tb", DG_TABLE_PLAIN, "a?[31m??b");
    SAME("a,\"b\"", -1, "\"a,\"\"b\"\"\"");
    SAME("=1+1", -1, "'=1+1");
    SAME("@x,y", -1, "\"'@x,y\"");
    SAME("-case\nid", -1, "\"'-case\nid\"");
    SAME("plain", -1, "plain");
}

/* A case id, a group and a condition that mean something to spreadsheet, LaTeX and HTML, through the real outputs. */
static void test_hostile(void)
{
    dg_compare *compare;
    json_t *root;
    char *text;
    files f = {0};
    add_file(&f,
             results_text(0, 0, "\"case-0\",\"group\":\"g0\"", "\"=cmd|' /C calc'!A0\",\"group\":\"<img onerror=1>\""),
             "a.json");
    add_file(&f,
             results_text(1, 0, "\"case-0\",\"group\":\"g0\"", "\"=cmd|' /C calc'!A0\",\"group\":\"<img onerror=1>\""),
             "b.json");
    snprintf(f.file[1].condition, sizeof f.file[1].condition, "\\input{/etc/passwd}|<script>");
    DG_CHECK_OK(dg_compare_create(f.file, f.count, &usual, &compare));
    DG_CHECK_OK(dg_compare_json(compare, &root));
    DG_CHECK_OK(dg_compare_csv(compare, &text));
    DG_CHECK(strstr(text, "\n'=cmd|' /C calc'!A0,<img onerror=1>,42,base,") != NULL);
    DG_CHECK(strncmp(text, "case,group,seed,condition,metric,region,unit,value,reason\n", 57) == 0);
    dg_free(&text);
    DG_CHECK_OK(dg_compare_tables(root, DG_TABLE_LATEX, &text));
    DG_CHECK(strstr(text, "\\input") == NULL && strstr(text, "\\textbackslash{}input\\{") != NULL);
    dg_free(&text);
    DG_CHECK_OK(dg_compare_tables(root, DG_TABLE_MARKDOWN, &text));
    DG_CHECK(strstr(text, "<script") == NULL && strstr(text, "&lt;script&gt;") != NULL);
    dg_free(&text);
    json_decref(root);
    dg_compare_destroy(&compare);
    free_files(&f);
}

static void describes(const char *metric, const char *region, const char *unit, dg_better better)
{
    dg_metric_words w;
    dg_metric_describe(metric, &w);
    if (strcmp(w.region, region) != 0 || strcmp(w.unit, unit) != 0 || w.better != better) {
        fprintf(stderr, "%s: '%s' '%s' %d\n", metric, w.region, w.unit, w.better);
        exit(1);
    }
}

static void test_words(void)
{
    describes("dose_metrics.mae_gy", "global", "Gy", DG_BETTER_LOWER);
    describes("dose_metrics.mae_no_mans_land_gy", "no_mans_land", "Gy", DG_BETTER_LOWER);
    describes("dose_metrics.mean_error_gy", "global", "Gy", DG_BETTER_NEAR_ZERO);
    describes("gamma.oar_Lens_2_2mm3.5pct.gamma_pass_rate", "oar_Lens_2", "%", DG_BETTER_HIGHER);
    describes("gamma.global_3mm3pct.gamma_mean", "global", "", DG_BETTER_LOWER);
    describes("dvh_metrics.PTV50.4.pred_D0.1cc_gy", "PTV50.4", "Gy", DG_BETTER_UNKNOWN);
    describes("dvh_metrics.PTV50.4.D95_error", "PTV50.4", "Gy", DG_BETTER_NEAR_ZERO);
    describes("dvh_metrics.Rectum.pred_V70", "Rectum", "%", DG_BETTER_UNKNOWN);
    describes("dvh_metrics.Bowel.V45_cc_error", "Bowel", "cc", DG_BETTER_NEAR_ZERO);
    describes("openkbp.dose_error_gy", "", "Gy", DG_BETTER_LOWER);
    describes("clinical_constraints.compliance_rate", "", "%", DG_BETTER_HIGHER);
    describes("plain", "", "", DG_BETTER_UNKNOWN);
}

int main(void)
{
    test_primary();
    test_order();
    test_refusals();
    test_accepts();
    test_usage();
    test_explorations();
    test_upstream();
    test_warnings();
    test_escapes();
    test_hostile();
    test_words();
    return 0;
}
