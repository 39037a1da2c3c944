/* ctest: libs=dg_analysis,dg_grid,dg_base,jansson label=unit timeout=60 */
/* t631_constraint_tables.c - the built-in constraint tables say what their sources say, and bad tables are refused with
 * file, line, row, value and remedy. SPDX-License-Identifier: Apache-2.0 */
#include "constraint_impl.h"
#include "dg_check.h"
#include "dg_file.h"

#include <unistd.h>

static const constraint_row *find(const dg_constraint_table *t, const char *structure, const char *metric)
{
    for (int r = 0; r < t->rows; r++)
        if (strcmp(t->row[r].name[0], structure) == 0 && strcmp(t->row[r].metric.text, metric) == 0) return &t->row[r];
    fprintf(stderr, "no row %s %s\n", structure, metric);
    exit(1);
}

static void want(const dg_constraint_table *t, const char *structure, const char *metric, const char *comparison,
                 double limit)
{
    const constraint_row *row = find(t, structure, metric);
    DG_CHECK(strcmp(constraint_comparison_text(row->comparison), comparison) == 0 && row->limit == limit);
}

static void test_builtin(void)
{
    static const char *const NAMES[] = {"upstream_prostate", "quantec_prostate", "openkbp_hn", "template"};
    dg_constraint_table *t[4];
    for (int i = 0; i < 4; i++) {
        DG_CHECK_OK(dg_constraint_table_load(NAMES[i], &t[i]));
        DG_CHECK(strcmp(dg_constraint_table_name(t[i]), NAMES[i]) == 0 &&
                 strlen(dg_constraint_table_sha256(t[i])) == 64);
        for (int r = 0; r < t[i]->rows; r++) DG_CHECK(strlen(t[i]->row[r].source) > 20 && t[i]->row[r].definition[0]);
    }
    DG_CHECK(dg_constraint_table_rows(t[0]) == 20);
    want(t[0], "Bowel", "V45Gycc", "<=", 195);
    want(t[0], "PTV50.4", "Dmax", "<=", 53.928);
    DG_CHECK(strstr(t[0]->row[8].source, "QUANTEC") == NULL); /* its limits are not QUANTEC's */
    static const double RECTUM[][2] = {{50, 50}, {60, 35}, {65, 25}, {70, 20}, {75, 15}};
    static const double BLADDER[][2] = {{65, 50}, {70, 35}, {75, 25}, {80, 15}};
    char metric[32];
    for (int k = 0; k < 5; k++) {
        snprintf(metric, sizeof metric, "V%gGy%%", RECTUM[k][0]);
        want(t[1], "Rectum", metric, "<", RECTUM[k][1]);
    }
    for (int k = 0; k < 4; k++) {
        snprintf(metric, sizeof metric, "V%gGy%%", BLADDER[k][0]);
        want(t[1], "Bladder", metric, "<", BLADDER[k][1]);
    }
    want(t[1], "Bag_Bowel", "V45Gycc", "<", 195);
    want(t[1], "Bowel_Small", "V15Gycc", "<", 120);
    DG_CHECK(find(t[1], "Bag_Bowel", "V45Gycc")->alpha_beta_gy == 0 && !find(t[1], "Bag_Bowel", "V45Gycc")->low_dose);
    DG_CHECK(find(t[1], "Rectum", "V50Gy%")->fraction_gy[0] == 1.8 &&
             find(t[1], "Rectum", "V50Gy%")->fraction_gy[1] == 2);
    want(t[2], "Brainstem", "Dmax", "<", 54);
    want(t[2], "LeftParotid", "Dmean", "<=", 26);
    want(t[2], "PTV63", "V100%Rx%", ">=", 95);
    for (int i = 0; i < 4; i++) dg_constraint_table_destroy(&t[i]);
}

/* A file is the same table; what is neither a name nor a file is refused with the names there are. */
static void test_file(void)
{
    char path[] = "/tmp/dg_t631_XXXXXX", sha[65];
    dg_constraint_table *t;
    DG_CHECK_OK(dg_constraint_table_load("template", &t));
    snprintf(sha, sizeof sha, "%s", dg_constraint_table_sha256(t));
    dg_constraint_table_destroy(&t);
    int fd = mkstemp(path);
    DG_CHECK(fd >= 0);
    close(fd);
    for (int i = 0; i < constraint_builtin_count; i++)
        if (strcmp(constraint_builtins[i].name, "template.yaml") == 0)
            DG_CHECK_OK(dg_file_write(path, constraint_builtins[i].bytes, (int64_t)constraint_builtins[i].length));
    DG_CHECK_OK(dg_constraint_table_load(path, &t));
    DG_CHECK(strcmp(dg_constraint_table_sha256(t), sha) == 0);
    dg_constraint_table_destroy(&t);
    unlink(path);
    DG_CHECK_FAILS(dg_constraint_table_load("quantec", &t), DG_ERR_USAGE,
                   "'quantec' is neither one of openkbp_hn, quantec_prostate");
    DG_CHECK(t == NULL);
    DG_CHECK_FAILS(dg_constraint_table_load("", &t), DG_ERR_USAGE, "neither one of");
}

#define HEAD "format: dosegrid-constraints\nversion: 1\nname: n\ndescription: d\nrows:\n"
#define ROW(metric, limit, comparison, unit, fractionation)                                                      \
    HEAD "- structure: A\n  metric: " metric "\n  limit: " limit "\n  comparison: " comparison "\n  unit: " unit \
         "\n  fractionation: " fractionation "\n  source: s\n  definition: d\n"

static void test_refused(void)
{
    static const struct {
        const char *text, *words;
    } CASES[] = {
        {"", "f.yaml:1: the file is empty"},
        {"- 1\n", "f.yaml:1: a constraint table is a map"},
        {"format: x\nversion: 1\nname: n\ndescription: d\nrows: []",
         "f.yaml:1: format 'x', version '1': this program reads"},
        {"format: dosegrid-constraints\nversion: 2\nname: n\ndescription: d\nrows: []", "version '2'"},
        {"format: dosegrid-constraints\nversion: 1\ndescription: d\nrows: []", "name is missing: add 'name: ..'"},
        {"format: dosegrid-constraints\nversion: 1\nname: n\ndescription: d\nrows: []", "f.yaml:5: rows is missing"},
        {"format: dosegrid-constraints\nversion: 1\nname: n\ndescription: d\nrow: []",
         "f.yaml:5: unknown key 'row'; known are format"},
        {HEAD "- 5\n", "f.yaml:6: row 1: a row is a map"},
        {HEAD "- {metric: Dmax}\n", "f.yaml:6: row 1: structure is missing"},
        {HEAD "- structure: A\n  metrics: Dmax\n", "f.yaml:7: row 1 (A): unknown key 'metrics'"},
        {HEAD "- structure: A\n", "f.yaml:6: row 1 (A): metric is missing"},
        {ROW("V50", "5", "<", "'%'", "any"), "f.yaml:7: row 1 (A): metric 'V50', column 4: expected units: V50Gy%"},
        {ROW("V50Gy%", "5", "<", "cc", "any"),
         "f.yaml:10: row 1 (A): the limit of V50Gy% is in %: write 'unit: \"%\"', not 'cc'"},
        {ROW("V50Gy%", "5", "<", "[a]", "any"), "f.yaml:10: row 1 (A): the limit of V50Gy% is in %"},
        {ROW("V50Gy%", "inf", "<", "'%'", "any"), "f.yaml:8: row 1 (A): limit 'inf' is not a number"},
        {ROW("V50Gy%", "0x5", "<", "'%'", "any"), "limit '0x5' is not a number"},
        {ROW("V50Gy%", "5-3", "<", "'%'", "any"), "limit '5-3' is not a number"},
        {ROW("V50Gy%", "1e999", "<", "'%'", "any"), "limit 1e999 is out of range: 0 to 1e+06"},
        {ROW("V50Gy%", "-1", "<", "'%'", "any"), "limit -1 is out of range"},
        {ROW("V50Gy%", "''", "<", "'%'", "any"), "limit '' is not a number"},
        {ROW("V50Gy%", "[1, 2]", "<", "'%'", "any"), "limit takes a number"},
        {ROW("V50Gy%", "5", "=", "'%'", "any"), "f.yaml:9: row 1 (A): comparison '=' is none of <, <=, >, >="},
        {ROW("V50Gy%", "5", "<", "'%'", "2"), "f.yaml:11: row 1 (A): fractionation takes 'any' or a map"},
        {ROW("V50Gy%", "5", "<", "'%'", "{alpha_beta_gy: 3}"), "dose_per_fraction_gy is missing"},
        {ROW("V50Gy%", "5", "<", "'%'", "{dose_per_fraction_gy: [2, 1.8]}"), "the lowest of two stands first"},
        {ROW("V50Gy%", "5", "<", "'%'", "{dose_per_fraction_gy: [2]}"), "one number or two"},
        {ROW("V50Gy%", "5", "<", "'%'", "{dose_per_fraction_gy: 0}"), "dose_per_fraction_gy 0 is out of range"},
        {ROW("V50Gy%", "5", "<", "'%'", "{dose_per_fraction_gy: 2, alpha_beta_gy: -3}"),
         "alpha_beta_gy -3 is out of range"},
        {ROW("V50Gy%", "5", "<", "'%'", "{dose_per_fraction_gy: 2, a: 3}"), "unknown key 'a'"},
        {ROW("V95%Rx%", "5", "<", "'%'", "{dose_per_fraction_gy: 2}"), "V95%Rx% is relative to the prescription"},
        {ROW("Dmax", "5", "<", "Gy", "any") "  low_dose: yes\n", "low_dose takes true or false"},
        {ROW("Dmax", "5", "<", "Gy", "any") "  aliases: x\n", "aliases takes a list of names"},
        {ROW("Dmax", "5", "<", "Gy", "any") "  aliases: ['']\n", "an alias is a name"},
        {ROW("Dmax", "5", "<", "Gy", "any") "  notes: \"a\\tb\"\n",
         "f.yaml:14: row 1 (A): notes has a control character (code 9)"},
        {ROW("Dmax", "5", "<", "Gy", "any") "  limit: 6\n", "limit is given twice, first at line 8"},
        {ROW("Dmax", "5", "<", "Gy", "any") "- structure: B\n", "f.yaml:14: row 2 (B): metric is missing"},
        {ROW("Dmax", "5", "<", "Gy", "any") "---\na: b\n", "a second document"},
        {HEAD "- &a {structure: A}\n", "anchors (&name) are not possible here"},
        {HEAD "- [[[[[[[[[[1]]]]]]]]]]\n", "nested too deeply"},
        {"rows: [\n", "not valid YAML"},
        {"rows: \xff\n", "not valid YAML"}};
    dg_constraint_table *t;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        DG_CHECK_FAILS(dg_constraint_table_read(CASES[i].text, strlen(CASES[i].text), "f.yaml", &t), DG_ERR_USAGE,
                       CASES[i].words);
        DG_CHECK(t == NULL);
    }
    DG_CHECK_OK(dg_constraint_table_read(ROW("Dmax", "5", "<", "Gy", "any"), strlen(ROW("Dmax", "5", "<", "Gy", "any")),
                                         "f.yaml", &t));
    dg_constraint_table_destroy(&t);
}

static void test_limits(void)
{
    static char text[400000];
    const char *row = "- {structure: A, metric: Dmax, limit: 1, comparison: <, unit: Gy, fractionation: any, source: "
                      "s, definition: d}\n";
    dg_constraint_table *t;
    int used = snprintf(text, sizeof text, "%s", HEAD);
    for (int r = 0; r < DG_CONSTRAINT_ROWS_MAX; r++)
        used += snprintf(text + used, sizeof text - (size_t)used, "%s", row);
    DG_CHECK_OK(dg_constraint_table_read(text, (size_t)used, "f.yaml", &t));
    DG_CHECK(dg_constraint_table_rows(t) == DG_CONSTRAINT_ROWS_MAX);
    dg_constraint_table_destroy(&t);
    used += snprintf(text + used, sizeof text - (size_t)used, "%s", row);
    DG_CHECK_FAILS(dg_constraint_table_read(text, (size_t)used, "f.yaml", &t), DG_ERR_USAGE, "more than 128 rows");
    used = snprintf(text, sizeof text, "a: [");
    for (int i = 0; i < 20000; i++) used += snprintf(text + used, sizeof text - (size_t)used, "1,");
    DG_CHECK_FAILS(dg_constraint_table_read(text, (size_t)used, "f.yaml", &t), DG_ERR_USAGE,
                   "more values than any file");
    used = snprintf(text, sizeof text, "%s- structure: ", HEAD);
    memset(text + used, 'x', 300);
    DG_CHECK_FAILS(dg_constraint_table_read(text, (size_t)used + 300, "f.yaml", &t), DG_ERR_USAGE,
                   "longer than 63 bytes: shorten it");
}

int main(void)
{
    test_builtin();
    test_file();
    test_refused();
    test_limits();
    return 0;
}
