/* ctest: libs=golden_io,dg_analysis,dg_base label=unit timeout=240 */
/* golden_stats.c - signed-rank tests, Holm, bootstrap, aggregates over seeds and the comparison table against SciPy and the
 * reference tool (golden README section 8): stats.json, with stats_bootstrap.h5 beside it.
 *
 *   golden_stats [FILE.json]
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_bootstrap.h"
#include "dg_check.h"
#include "dg_effect.h"
#include "dg_holm.h"
#include "dg_mem.h"
#include "dg_results.h"
#include "dg_upstream_statistics.h"
#include "dg_wilcoxon.h"
#include "golden_io.h"

#include <jansson.h>
#include <unistd.h>

static const double tolerance = 1e-9;

/* The largest relative error of the entries of one kind, and where it is. */
typedef struct worst {
    double error;
    int64_t numbers;
    char where[160];
} worst;

static void note(worst *w, const char *where, const char *key, double error)
{
    w->numbers++;
    if (!(error > w->error) && !isnan(error)) return;
    w->error = isnan(error) ? INFINITY : error;
    snprintf(w->where, sizeof w->where, "%.90s.%.60s", where, key);
}

/* Numbers that are not finite are text in the file: "nan", "inf", "-inf"; null also stands for none. */
static double number_of(const json_t *value)
{
    if (json_is_string(value)) return strtod(json_string_value(value), NULL);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static void note_number(worst *w, const char *where, const char *key, double got, double want)
{
    if (isnan(want) || isinf(want)) {
        note(w, where, key, isnan(want) ? (isnan(got) ? 0 : INFINITY) : got == want ? 0 : INFINITY);
        return;
    }
    const double off = fabs(got - want);
    /* sums that cancel to nothing have no relative error */
    note(w, where, key, off == 0 || (fabs(want) < 1e-13 && off < 1e-14) ? 0 : off / fabs(want));
}

static void finish(golden_tally *tally, const char *label, const worst *w)
{
    char text[512];
    snprintf(text, sizeof text, "%s (%lld entries%s%s)", label, (long long)w->numbers, w->error > 0 ? ", worst " : "",
             w->error > 0 ? w->where : "");
    golden_check(tally, text, "relative", w->numbers > 0 ? w->error : INFINITY, tolerance);
}

static void __attribute__((noreturn)) reject(const char *where, const char *what)
{
    fprintf(stderr, "%s: %s\n", where, what);
    exit(1);
}

/* Every key of `want` (and none besides) is in `got`: objects by name, arrays by index, texts and booleans equal, numbers within
 * the tolerance. */
static void compare(worst *w, const char *where, const json_t *got, const json_t *want)
{
    char path[160];
    const char *key;
    json_t *value;
    size_t i;
    if (json_is_object(want)) {
        note(w, where, "size", json_is_object(got) && json_object_size(got) == json_object_size(want) ? 0 : INFINITY);
        json_object_foreach((json_t *)want, key, value)
        {
            snprintf(path, sizeof path, "%.90s.%.60s", where, key);
            compare(w, path, json_object_get(got, key), value);
        }
    } else if (json_is_array(want)) {
        note(w, where, "size", json_array_size(got) == json_array_size(want) ? 0 : INFINITY);
        json_array_foreach(want, i, value)
        {
            snprintf(path, sizeof path, "%.120s[%zu]", where, i);
            compare(w, path, json_array_get(got, i), value);
        }
    } else if (json_is_number(want) || (json_is_string(want) && !json_is_string(got))) {
        note_number(w, where, "value", number_of(got), number_of(want));
    } else {
        note(w, where, "value", got != NULL && json_equal((json_t *)got, (json_t *)want) ? 0 : INFINITY);
    }
}

static double *read_list(const json_t *list, int64_t *count)
{
    double *value;
    *count = (int64_t)json_array_size(list);
    DG_CHECK_OK(DG_NEW(&value, *count, "list"));
    for (int64_t i = 0; i < *count; i++) value[i] = number_of(json_array_get(list, (size_t)i));
    return value;
}

/* ---- signed-rank tests -------------------------------------------------------------------------------------------- */

/* SciPy answers NaN where no difference is other than zero and the method is not exact; we answer p = 1 and say so. */
static void check_variant(worst *w, const json_t *want, const char *where, const char *name, const double *difference,
                          int64_t n, dg_wilcoxon_params params)
{
    dg_wilcoxon got;
    const json_t *variant = json_object_get(want, name);
    if (variant == NULL) return;
    DG_CHECK_OK(dg_wilcoxon_test(difference, n, &params, &got));
    const double p = number_of(json_object_get(variant, "p"));
    note_number(w, where, name, got.statistic, number_of(json_object_get(variant, "statistic")));
    note_number(w, where, name, got.z, number_of(json_object_get(variant, "z")));
    note_number(w, where, name, got.p, got.method == DG_WILCOXON_NONE && isnan(p) ? 1 : p);
}

static const char *reference_method(dg_wilcoxon_method method, int64_t n)
{
    switch (method) {
    case DG_WILCOXON_EXACT: return "exact";
    case DG_WILCOXON_SIGN_FLIPS: return "permutation_2^n";
    case DG_WILCOXON_NONE: return n <= DG_WILCOXON_FLIPS_MAX ? "permutation_2^n" : "asymptotic";
    default: return "asymptotic";
    }
}

static void check_wilcoxon(worst *w, const json_t *want, size_t index)
{
    char where[64];
    int64_t n, count_b;
    dg_wilcoxon got;
    json_t *row;
    const dg_wilcoxon_params automatic = {.method = DG_WILCOXON_AUTO};
    const json_t *upstream = json_object_get(want, "upstream");
    snprintf(where, sizeof where, "wilcoxon[%zu]", index);
    double *a = read_list(json_object_get(want, "a"), &n), *b = read_list(json_object_get(want, "b"), &count_b);
    if (n != count_b || n < 1) reject(where, "a and b are not lists of one length");
    DG_CHECK_OK(dg_upstream_compare_pairs(a, b, n, json_string_value(json_object_get(upstream, "metric")), 0.05, &row));
    compare(w, where, row, upstream);
    json_decref(row);
    for (int64_t i = 0; i < n; i++) a[i] -= b[i];
    DG_CHECK_OK(dg_wilcoxon_test(a, n, &automatic, &got));
    note_number(w, where, "r_plus", got.r_plus, number_of(json_object_get(want, "r_plus")));
    note_number(w, where, "r_minus", got.r_minus, number_of(json_object_get(want, "r_minus")));
    const char *method = json_string_value(json_object_get(want, "method_auto"));
    note(w, where, "method_auto",
         method == NULL || strcmp(method, reference_method(got.method, n)) == 0 ? 0 : INFINITY);
    note(w, where, "0 < p <= 1", got.p > 0 && got.p <= 1 ? 0 : INFINITY);
    check_variant(w, want, where, "scipy_exact", a, n, (dg_wilcoxon_params){.method = DG_WILCOXON_EXACT});
    check_variant(w, want, where, "scipy_asymptotic", a, n, (dg_wilcoxon_params){.method = DG_WILCOXON_NORMAL});
    check_variant(w, want, where, "scipy_asymptotic_corrected", a, n,
                  (dg_wilcoxon_params){.method = DG_WILCOXON_NORMAL, .continuity = true});
    check_variant(w, want, where, "scipy_pratt_asymptotic", a, n,
                  (dg_wilcoxon_params){.method = DG_WILCOXON_NORMAL, .pratt = true});
    dg_free(&a);
    dg_free(&b);
}

/* ---- Holm --------------------------------------------------------------------------------------------------------- */

static void check_holm_rule(worst *w, const json_t *want, const char *where, const double *p, int64_t count,
                            bool upstream)
{
    double *adjusted;
    bool *significant;
    char key[64];
    DG_CHECK_OK(DG_NEW(&adjusted, count, "adjusted"));
    DG_CHECK_OK(DG_NEW(&significant, count, "decisions"));
    DG_CHECK_OK(dg_holm(p, count, 0.05, upstream, adjusted, significant));
    snprintf(key, sizeof key, "%s_adjusted", upstream ? "upstream" : "textbook");
    const json_t *values = json_object_get(want, key);
    for (int64_t i = 0; i < count && values != NULL; i++)
        note_number(w, where, key, adjusted[i], number_of(json_array_get(values, (size_t)i)));
    snprintf(key, sizeof key, "%s_significant", upstream ? "upstream" : "textbook");
    values = json_object_get(want, key);
    for (int64_t i = 0; i < count && values != NULL; i++) {
        const json_t *value = json_array_get(values, (size_t)i);
        if (json_is_boolean(value)) note(w, where, key, json_is_true(value) == significant[i] ? 0 : INFINITY);
    }
    dg_free(&adjusted);
    dg_free(&significant);
}

static void check_holm(worst *w, const json_t *want, size_t index)
{
    char where[64];
    int64_t count;
    snprintf(where, sizeof where, "holm_bonferroni[%zu]", index);
    double *p = read_list(json_object_get(want, "p"), &count);
    check_holm_rule(w, want, where, p, count, true);
    check_holm_rule(w, want, where, p, count, false);
    dg_free(&p);
}

/* ---- bootstrap ---------------------------------------------------------------------------------------------------- */

static void check_bootstrap(worst *w, const json_t *want, size_t index)
{
    char where[64];
    int64_t n;
    dg_interval got;
    snprintf(where, sizeof where, "bootstrap[%zu]", index);
    double *value = read_list(json_object_get(want, "values"), &n);
    DG_CHECK_OK(dg_bootstrap_mean_upstream(value, n, json_integer_value(json_object_get(want, "n_bootstrap")),
                                           (uint32_t)json_integer_value(json_object_get(want, "seed")),
                                           number_of(json_object_get(want, "confidence")), &got));
    note_number(w, where, "ci_lower", got.low, number_of(json_object_get(want, "ci_lower")));
    note_number(w, where, "ci_upper", got.high, number_of(json_object_get(want, "ci_upper")));
    dg_free(&value);
}

/* Attributes stand on the dataset of the indices. */
static double attribute(golden *file, const char *group, const char *name)
{
    double value;
    char path[300];
    snprintf(path, sizeof path, "%.200s/indices", group);
    if (!golden_attr(file, path, name, &value))
        golden_reject(file, path, "lacks one of seed, n_bootstrap, confidence, ci_*");
    return value;
}

/* One group of stats_bootstrap.h5: the same indices, draw by draw, and the same interval. */
static void check_indices(golden *file, golden_tally *tally, const char *group)
{
    char label[160];
    dg_mt19937 generator;
    dg_interval got;
    int64_t different = 0;
    worst w = {0};
    golden_array value = golden_read_f64(file, "%s/values", group), index = golden_read_i64(file, "%s/indices", group);
    const int64_t resamples = (int64_t)attribute(file, group, "n_bootstrap");
    const uint32_t seed = (uint32_t)attribute(file, group, "seed");
    golden_want_count(file, group, &index, resamples * value.count);
    dg_mt19937_seed(&generator, seed);
    for (int64_t i = 0; i < index.count; i++) different += dg_mt19937_index(&generator, value.count) != index.i64[i];
    snprintf(label, sizeof label, "%.60s/indices (%lld draws)", group, (long long)index.count);
    golden_check(tally, label, "different", (double)different, 0);
    DG_CHECK_OK(dg_bootstrap_mean_upstream(value.f64, value.count, resamples, seed,
                                           attribute(file, group, "confidence"), &got));
    note_number(&w, group, "ci_lower", got.low, attribute(file, group, "ci_lower"));
    note_number(&w, group, "ci_upper", got.high, attribute(file, group, "ci_upper"));
    snprintf(label, sizeof label, "%.60s/indices interval", group);
    finish(tally, label, &w);
    golden_array_free(&value);
    golden_array_free(&index);
}

static void check_bootstrap_file(golden_tally *tally, const char *json_path)
{
    char path[4200], **name;
    const char *slash = strrchr(json_path, '/');
    const int folder = slash == NULL ? 0 : (int)(slash - json_path) + 1;
    snprintf(path, sizeof path, "%.*sstats_bootstrap.h5", folder, json_path);
    if (access(path, R_OK) != 0) {
        printf("not there: stats_bootstrap.h5 beside the JSON file; indices are not checked\n");
        return;
    }
    golden *file = golden_open(path);
    const int count = golden_children(file, "", &name);
    for (int i = 0; i < count; i++) check_indices(file, tally, name[i]);
    golden_names_free(&name, count);
    golden_close(&file);
}

/* ---- aggregates --------------------------------------------------------------------------------------------------- */

typedef struct experiment {
    dg_seed_table table;
    int64_t *seed;
    const char **id;
    const json_t **entry;
} experiment;

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* results: a list over seeds of objects by case id. The cases are those of any seed. */
static experiment read_experiment(const json_t *seed_ids, const json_t *results)
{
    experiment e = {0};
    const char *key;
    json_t *value;
    size_t s;
    json_t *all = json_object();
    json_array_foreach(results, s, value) json_object_update_missing(all, value);
    e.table.seeds = (int64_t)json_array_size(results);
    e.table.cases = (int64_t)json_object_size(all);
    if (e.table.seeds < 1 || json_array_size(seed_ids) != json_array_size(results))
        reject("aggregate", "seed_ids and seed_results are not lists of one length");
    DG_CHECK_OK(DG_NEW(&e.seed, e.table.seeds, "seeds"));
    DG_CHECK_OK(DG_NEW(&e.id, e.table.cases, "cases"));
    DG_CHECK_OK(DG_NEW(&e.entry, e.table.seeds * e.table.cases, "entries"));
    int64_t c = 0;
    json_object_foreach(all, key, value) e.id[c++] = key; /* the keys live in `results` as well as in `all` */
    qsort(e.id, (size_t)c, sizeof *e.id, by_text);
    for (int64_t i = 0; i < e.table.seeds; i++) {
        e.seed[i] = json_integer_value(json_array_get(seed_ids, (size_t)i));
        for (c = 0; c < e.table.cases; c++)
            e.entry[i * e.table.cases + c] = json_object_get(json_array_get(results, (size_t)i), e.id[c]);
    }
    e.table.seed = e.seed;
    e.table.case_id = e.id;
    e.table.entry = e.entry;
    for (c = 0; c < e.table.cases; c++) {
        char *copy;
        DG_CHECK_OK(dg_string_copy(e.id[c], &copy));
        e.id[c] = copy;
    }
    json_decref(all);
    return e;
}

static void free_experiment(experiment *e)
{
    for (int64_t c = 0; c < e->table.cases; c++) {
        char *id = (char *)e->id[c];
        dg_free(&id);
    }
    dg_free(&e->seed);
    dg_free(&e->id);
    dg_free(&e->entry);
}

static json_t *summarize(const experiment *e)
{
    const char *metric[64];
    json_t *summary;
    dg_seed_summary_params params = {.metric = metric, .resamples = 10000, .seed = 42, .level = 0.95, .upstream = true};
    while (dg_upstream_aggregate_metric(params.metrics) != NULL) {
        metric[params.metrics] = dg_upstream_aggregate_metric(params.metrics);
        params.metrics++;
    }
    DG_CHECK_OK(dg_seed_summary(&e->table, &params, &summary));
    return summary;
}

static void check_table(golden_tally *tally, const json_t *want, const json_t *const summary[2],
                        const char *const *metric, int64_t metrics)
{
    static const char *const name[] = {"A", "B"};
    char *table;
    DG_CHECK_OK(dg_upstream_table(name, summary, 2, metric, metrics, &table));
    const char *text = json_string_value(want);
    golden_check(tally, "aggregate.table", "characters differ", text != NULL && strcmp(text, table) == 0 ? 0 : 1, 0);
    dg_free(&table);
}

static void check_aggregate(golden_tally *tally, const json_t *want)
{
    const json_t *ids = json_object_get(want, "seed_ids"), *value;
    const char *metric[64];
    int64_t metrics = 0;
    experiment a = read_experiment(ids, json_object_get(want, "seed_results_A"));
    experiment b = read_experiment(ids, json_object_get(want, "seed_results_B"));
    json_t *summary[2] = {summarize(&a), summarize(&b)}, *rows;
    worst w = {0}, wb = {0}, wc = {0};
    compare(&w, "aggregate_A", summary[0], json_object_get(want, "aggregate_A"));
    compare(&wb, "aggregate_B", summary[1], json_object_get(want, "aggregate_B"));
    finish(tally, "aggregate_A", &w);
    finish(tally, "aggregate_B", &wb);
    const json_t *compared = json_object_get(want, "compare");
    for (size_t i = 0; i < json_array_size(compared) && metrics < 64; i++) {
        value = json_object_get(json_array_get(compared, i), "metric");
        if (json_is_string(value)) metric[metrics++] = json_string_value(value);
    }
    DG_CHECK_OK(dg_upstream_compare(&a.table, &b.table, metric, metrics, 0.05, &rows));
    compare(&wc, "compare", rows, compared);
    finish(tally, "compare", &wc);
    const json_t *const both[2] = {summary[0], summary[1]};
    metrics = 0;
    while (dg_upstream_compare_metric(metrics) != NULL) {
        metric[metrics] = dg_upstream_compare_metric(metrics);
        metrics++;
    }
    check_table(tally, json_object_get(want, "table"), both, metric, metrics);
    json_decref(rows);
    json_decref(summary[0]);
    json_decref(summary[1]);
    free_experiment(&a);
    free_experiment(&b);
}

/* Means and both deviations of what upstream's documents quote, recomputed there; the quoted numbers are rounded by hand. */
static void check_docs(worst *w, const json_t *want, size_t index)
{
    char where[64];
    int64_t n;
    snprintf(where, sizeof where, "docs_three_seed[%zu]", index);
    double *value = read_list(json_object_get(want, "per_seed"), &n);
    const double std = dg_std(value, n);
    note_number(w, where, "mean", dg_mean(value, n), number_of(json_object_get(want, "mean")));
    note_number(w, where, "std_ddof1", std, number_of(json_object_get(want, "std_ddof1")));
    note_number(w, where, "std_ddof0", std * sqrt((double)(n - 1) / (double)n),
                number_of(json_object_get(want, "std_ddof0")));
    dg_free(&value);
}

static void check_list(golden_tally *tally, const json_t *root, const char *key,
                       void (*check)(worst *w, const json_t *want, size_t index))
{
    const json_t *list = json_object_get(root, key), *entry;
    size_t i;
    worst w = {0};
    if (json_array_size(list) == 0) return;
    json_array_foreach(list, i, entry) check(&w, entry, i);
    finish(tally, key, &w);
}

int main(int argc, char **argv)
{
    golden_args args = golden_parse(argc, argv, "stats.json");
    golden_tally tally = {0};
    json_error_t error;
    json_t *root = json_load_file(args.path, JSON_ALLOW_NUL, &error);
    if (!json_is_object(root)) {
        fprintf(stderr, "%s: line %d: %s\n", args.path, error.line, error.text);
        return 1;
    }
    check_list(&tally, root, "wilcoxon", check_wilcoxon);
    check_list(&tally, root, "holm_bonferroni", check_holm);
    check_list(&tally, root, "bootstrap", check_bootstrap);
    check_bootstrap_file(&tally, args.path);
    if (json_object_get(root, "aggregate") != NULL) check_aggregate(&tally, json_object_get(root, "aggregate"));
    check_list(&tally, root, "docs_three_seed", check_docs);
    json_decref(root);
    return golden_finish(&tally);
}
