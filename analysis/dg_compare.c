/* dg_compare.c - see dg_compare.h: grouping of files, choice of metrics, the comparison's JSON.
 * SPDX-License-Identifier: Apache-2.0 */
#include "compare_impl.h"
#include "dg_holm.h"
#include "dg_mem.h"
#include "dg_upstream_statistics.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double interval_level = 0.95;

/* What is shown besides the primary metric unless the user names metrics. */
static const char *const exploratory[] = {"dose_metrics.mae_gy",
                                          "dose_metrics.mae_body_gy",
                                          "dose_metrics.mae_possible_gy",
                                          "dose_metrics.mae_gt10_gy",
                                          "dose_metrics.rmse_gy",
                                          "dose_metrics.max_error_gy",
                                          "gamma.global_*.gamma_pass_rate",
                                          "gamma.ptv_region_*.gamma_pass_rate",
                                          "gamma.no_mans_land_*.gamma_pass_rate",
                                          "openkbp.dose_error_gy",
                                          "openkbp.dvh_error_gy",
                                          "segmentation_metrics.*",
                                          "challenge.*_score",
                                          "challenge.score",
                                          "clinical_constraints.compliance_rate",
                                          "clinical_constraints.passed",
                                          "dvh_metrics.*.mae_gy",
                                          "dvh_metrics.PTV*.D95_error*"};

const char *const *dg_compare_usual(int64_t *count)
{
    *count = (int64_t)(sizeof exploratory / sizeof exploratory[0]);
    return exploratory;
}

/* ---- files into conditions ---------------------------------------------------------------------------------------- */

/* The reference's condition first, then by name; within one by seed. The context of a sort is passed in the elements. */
static int by_condition(const void *a, const void *b)
{
    const dg_compare_file *x = *(const dg_compare_file *const *)a, *y = *(const dg_compare_file *const *)b;
    const int names = strcmp(x->condition, y->condition);
    if (names != 0) return names;
    return (x->seed > y->seed) - (x->seed < y->seed);
}

/* Moves the files of the reference before the others; both keep their order. */
static dg_status reference_first(dg_compare *compare, const char *reference)
{
    const dg_compare_file **moved;
    int64_t used = 0;
    DG_TRY(DG_NEW(&moved, compare->files, "files"));
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < compare->files; i++)
            if ((strcmp(compare->sorted[i]->condition, reference) == 0) == (pass == 0))
                moved[used++] = compare->sorted[i];
    const bool known = strcmp(moved[0]->condition, reference) == 0;
    dg_free(&compare->sorted);
    compare->sorted = moved;
    if (known) return DG_OK;
    return DG_FAIL(DG_ERR_USAGE, "reference: no file has the condition '%s'; there is '%s' among others", reference,
                   moved[0]->condition);
}

static dg_status sort_files(dg_compare *compare, const dg_compare_file *file, const char *reference)
{
    DG_TRY(DG_NEW(&compare->copy, compare->files, "files"));
    DG_TRY(DG_NEW(&compare->sorted, compare->files, "files"));
    for (int64_t i = 0; i < compare->files; i++) {
        compare->copy[i] = file[i];
        compare->sorted[i] = &compare->copy[i];
        if (file[i].condition[0] == '\0')
            return DG_FAIL(DG_ERR_USAGE, "%s says no run.condition; write NAME=FILE", dg_results_name(file[i].results));
    }
    qsort(compare->sorted, (size_t)compare->files, sizeof *compare->sorted, by_condition);
    return reference_first(compare, reference[0] == '\0' ? file[0].condition : reference);
}

static dg_status check_seeds(const dg_condition *c)
{
    for (int64_t s = 0; s < c->table.seeds; s++) {
        if (!c->file[s]->has_seed && c->table.seeds > 1)
            return DG_FAIL(DG_ERR_USAGE,
                           "%s: condition '%s' has %" PRId64
                           " files and this one says no run.seed; write NAME@SEED=FILE",
                           dg_results_name(c->file[s]->results), c->name, c->table.seeds);
        if (s > 0 && c->file[s]->seed == c->file[s - 1]->seed)
            return DG_FAIL(DG_ERR_USAGE, "seed %" PRId64 " of condition '%s' stands in two files: %s and %s",
                           c->file[s]->seed, c->name, dg_results_name(c->file[s - 1]->results),
                           dg_results_name(c->file[s]->results));
    }
    return DG_OK;
}

static dg_status make_condition(const dg_compare *compare, int64_t first, dg_condition *c)
{
    c->name = compare->sorted[first]->condition;
    c->file = compare->sorted + first;
    while (first + c->table.seeds < compare->files && strcmp(c->file[c->table.seeds]->condition, c->name) == 0)
        c->table.seeds++;
    DG_TRY(check_seeds(c));
    c->table.cases = compare->cases;
    DG_TRY(DG_NEW(&c->seed, c->table.seeds, "seeds"));
    DG_TRY(DG_NEW(&c->entry, c->table.seeds * compare->cases, "cases by seed"));
    for (int64_t s = 0; s < c->table.seeds; s++) {
        c->seed[s] = c->file[s]->seed;
        for (int64_t i = 0; i < compare->cases; i++)
            c->entry[s * compare->cases + i] = dg_results_get_case(c->file[s]->results, i)->object;
    }
    c->table.seed = c->file[0]->has_seed ? c->seed : NULL;
    c->table.case_id = compare->case_id;
    c->table.entry = c->entry;
    return DG_OK;
}

static dg_status make_conditions(dg_compare *compare)
{
    compare->cases = dg_results_case_count(compare->sorted[0]->results);
    if (compare->cases == 0)
        return DG_FAIL(DG_ERR_USAGE, "%s holds no evaluated case", dg_results_name(compare->sorted[0]->results));
    DG_TRY(DG_NEW(&compare->case_id, compare->cases, "cases"));
    for (int64_t i = 0; i < compare->cases; i++)
        compare->case_id[i] = dg_results_get_case(compare->sorted[0]->results, i)->id;
    DG_TRY(DG_NEW(&compare->condition, compare->files, "conditions"));
    for (int64_t first = 0; first < compare->files;) {
        dg_condition *c = &compare->condition[compare->conditions++];
        DG_TRY(make_condition(compare, first, c));
        first += c->table.seeds;
    }
    return DG_OK;
}

/* ---- metrics ------------------------------------------------------------------------------------------------------ */

static bool all_have(const dg_compare *compare, const char *metric)
{
    for (int64_t i = 0; i < compare->files; i++)
        if (!dg_results_has_metric(compare->sorted[i]->results, metric)) return false;
    return true;
}

static dg_status choose_primary(dg_compare *compare, const char *wanted)
{
    static const char *const usual[] = {"openkbp.dose_error_gy", "dose_metrics.mae_gy", "segmentation_metrics.dice"};
    for (int i = 0; i < 3 && wanted[0] == '\0'; i++)
        if (all_have(compare, usual[i])) wanted = usual[i];
    if (wanted[0] == '\0')
        return DG_FAIL(DG_ERR_USAGE, "primary: neither %s nor %s nor %s is in all files; name a metric", usual[0],
                       usual[1], usual[2]);
    for (int64_t i = 0; i < compare->files; i++)
        if (!dg_results_has_metric(compare->sorted[i]->results, wanted))
            return DG_FAIL(DG_ERR_USAGE, "primary: %s has no number %s in any case",
                           dg_results_name(compare->sorted[i]->results), wanted);
    snprintf(compare->primary, sizeof compare->primary, "%s", wanted);
    return DG_OK;
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* Adds the metrics of all files that match; how many there were. Repeated ones are thinned out afterwards. */
static int64_t match(const dg_compare *compare, const char *pattern, const char **metric, int64_t *used)
{
    int64_t found = 0;
    for (int64_t i = 0; i < compare->files; i++) {
        const dg_results *r = compare->sorted[i]->results;
        for (int64_t k = 0; k < dg_results_metric_count(r); k++) {
            const char *name = dg_results_metric(r, k);
            if (fnmatch(pattern, name, 0) != 0) continue;
            found++;
            if (strcmp(name, compare->primary) == 0) continue;
            if (metric != NULL) metric[*used] = name;
            (*used)++;
        }
    }
    return found;
}

static dg_status choose_metrics(dg_compare *compare, const dg_compare_params *params)
{
    const bool usual = params->patterns == 0;
    int64_t patterns = params->patterns, room = 0, used = 0;
    const char *const *pattern = usual ? dg_compare_usual(&patterns) : params->pattern;
    for (int64_t p = 0; p < patterns; p++)
        if (match(compare, pattern[p], NULL, &room) == 0 && !usual)
            return DG_FAIL(DG_ERR_USAGE, "metrics: no metric matches '%s'; names look like dose_metrics.mae_gy",
                           pattern[p]);
    DG_TRY(DG_NEW(&compare->metric, room, "metrics"));
    for (int64_t p = 0; p < patterns; p++) match(compare, pattern[p], compare->metric, &used);
    qsort(compare->metric, (size_t)used, sizeof *compare->metric, by_text);
    for (int64_t i = 0; i < used; i++)
        if (i == 0 || strcmp(compare->metric[i], compare->metric[i - 1]) != 0)
            compare->metric[compare->metrics++] = compare->metric[i];
    return DG_OK;
}

dg_status dg_compare_create(const dg_compare_file *file, int64_t files, const dg_compare_params *params,
                            dg_compare **out)
{
    dg_compare *compare;
    dg_status status;
    *out = NULL;
    if (files < 1) return DG_FAIL(DG_ERR_USAGE, "there are no results to compare; name result files");
    if (!(params->alpha > 0 && params->alpha < 1))
        return DG_FAIL(DG_ERR_USAGE, "alpha is %g; 0 < alpha < 1 is needed", params->alpha);
    if (params->upstream && params->seed > UINT32_MAX)
        return DG_FAIL(DG_ERR_USAGE, "seed %" PRIu64 ": the reference tool's generator takes up to 4294967295",
                       params->seed);
    DG_TRY(DG_NEW(&compare, 1, "comparison"));
    compare->files = files;
    compare->alpha = params->alpha;
    compare->resamples = params->resamples;
    compare->seed = params->seed;
    compare->upstream = params->upstream;
    DG_TRY_GOTO(status, sort_files(compare, file, params->reference), fail);
    DG_TRY_GOTO(status, compare_check(compare), fail);
    DG_TRY_GOTO(status, make_conditions(compare), fail);
    DG_TRY_GOTO(status, choose_primary(compare, params->primary), fail);
    DG_TRY_GOTO(status, choose_metrics(compare, params), fail);
    *out = compare;
    return DG_OK;
fail:
    dg_compare_destroy(&compare);
    return status;
}

void dg_compare_destroy(dg_compare **compare)
{
    dg_compare *c = *compare;
    if (c == NULL) return;
    for (int64_t i = 0; i < c->conditions; i++) {
        dg_free(&c->condition[i].seed);
        dg_free(&c->condition[i].entry);
    }
    dg_free(&c->condition);
    dg_free(&c->copy);
    dg_free(&c->sorted);
    dg_free(&c->case_id);
    dg_free(&c->metric);
    dg_free(compare);
}

int64_t dg_compare_conditions(const dg_compare *compare) { return compare->conditions; }
const char *dg_compare_condition(const dg_compare *compare, int64_t index) { return compare->condition[index].name; }

const char *dg_compare_primary(const dg_compare *compare) { return compare->primary; }

double dg_compare_value(const dg_compare *compare, int64_t condition, const char *case_id, const char *metric)
{
    const dg_condition *c = &compare->condition[condition];
    const int64_t index = dg_results_find_case(c->file[0]->results, case_id);
    return index < 0 ? NAN : dg_seed_table_mean(&c->table, index, metric).mean;
}

/* ---- pairs -------------------------------------------------------------------------------------------------------- */

dg_status pairs_create(int64_t capacity, pairs *out)
{
    *out = (pairs){0};
    DG_TRY(DG_NEW(&out->a, 3 * capacity, "pairs"));
    out->b = out->a + capacity;
    out->difference = out->b + capacity;
    return DG_OK;
}

void pairs_release(pairs *p) { dg_free(&p->a); }

static void add_pair(pairs *p, double a, double b)
{
    if (isnan(a) || isnan(b)) return;
    p->a[p->n] = a;
    p->b[p->n] = b;
    p->difference[p->n++] = a - b;
}

void pairs_of_conditions(const dg_condition *a, const dg_condition *b, const char *metric, pairs *p)
{
    p->n = 0;
    for (int64_t i = 0; i < a->table.cases; i++)
        add_pair(p, dg_seed_table_mean(&a->table, i, metric).mean, dg_seed_table_mean(&b->table, i, metric).mean);
}

void pairs_of_metrics(const dg_condition *c, const char *a, const char *b, pairs *p)
{
    p->n = 0;
    for (int64_t i = 0; i < c->table.cases; i++)
        add_pair(p, dg_seed_table_mean(&c->table, i, a).mean, dg_seed_table_mean(&c->table, i, b).mean);
}

static json_t *interval_json(const dg_interval *interval)
{
    return json_pack("[o, o]", dg_json_number(interval->low), dg_json_number(interval->high));
}

static json_t *shift_json(const dg_hodges_lehmann *h)
{
    return json_pack("{s:o, s:o, s:o, s:s}", "shift", dg_json_number(h->shift), "interval_95",
                     interval_json(&h->interval), "coverage", dg_json_number(h->coverage), "method",
                     h->exact ? "exact" : "normal");
}

static json_t *wilcoxon_json(const dg_wilcoxon *w)
{
    return json_pack("{s:s, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "method", dg_wilcoxon_method_name(w->method),
                     "n", (json_int_t)w->n, "n_zero", (json_int_t)w->n_zero, "n_ties", (json_int_t)w->n_ties, "r_plus",
                     dg_json_number(w->r_plus), "r_minus", dg_json_number(w->r_minus), "statistic",
                     dg_json_number(w->statistic), "z", dg_json_number(w->z), "p", dg_json_number(w->p), "p_smallest",
                     dg_json_number(w->p_smallest));
}

static dg_status bootstrap_json(const dg_compare *compare, const pairs *p, json_t **out)
{
    dg_interval interval;
    const dg_bootstrap_method method = dg_bootstrap_choose(DG_BOOTSTRAP_AUTO, p->n);
    if (compare->upstream)
        DG_TRY(dg_bootstrap_mean_upstream(p->difference, p->n, compare->resamples, (uint32_t)compare->seed,
                                          interval_level, &interval));
    else
        DG_TRY(dg_bootstrap_mean(p->difference, p->n, method, compare->resamples, compare->seed, interval_level,
                                 &interval));
    *out = json_pack("{s:o, s:s}", "mean_difference_interval_95", interval_json(&interval), "method",
                     compare->upstream ? "percentile_mt19937" : dg_bootstrap_method_name(method));
    return DG_OK;
}

dg_status compare_pairs_json(const dg_compare *compare, const pairs *p, json_t **out, dg_wilcoxon *w)
{
    const dg_wilcoxon_params automatic = {.method = DG_WILCOXON_AUTO};
    dg_hodges_lehmann h;
    json_t *bootstrap = NULL;
    *w = (dg_wilcoxon){.p = NAN, .p_smallest = NAN};
    *out = json_pack("{s:I}", "n", (json_int_t)p->n);
    if (*out == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for a comparison");
    if (p->n == 0) {
        json_object_set_new(*out, "reason", json_string("no patient has both values"));
        return DG_OK;
    }
    dg_status status = dg_wilcoxon_test(p->difference, p->n, &automatic, w);
    if (status == DG_OK) status = dg_hodges_lehmann_shift(p->difference, p->n, interval_level, &h);
    if (status == DG_OK) status = bootstrap_json(compare, p, &bootstrap);
    if (status != DG_OK) {
        json_decref(*out);
        *out = NULL;
        return status;
    }
    json_object_set_new(*out, "mean", dg_json_number(dg_mean(p->a, p->n)));
    json_object_set_new(*out, "mean_reference", dg_json_number(dg_mean(p->b, p->n)));
    json_object_set_new(*out, "mean_difference", dg_json_number(dg_mean(p->difference, p->n)));
    json_object_set_new(*out, "std_difference", dg_json_number(dg_std(p->difference, p->n)));
    json_object_set_new(*out, "cohens_dz", dg_json_number(dg_cohen_dz(p->difference, p->n)));
    json_object_set_new(*out, "hodges_lehmann", shift_json(&h));
    json_object_set_new(*out, "bootstrap", bootstrap);
    json_object_set_new(*out, "wilcoxon", wilcoxon_json(w));
    return DG_OK;
}

/* ---- one metric over all conditions ------------------------------------------------------------------------------- */

/* Mean difference of seed sa of a and seed sb of b over the patients that have both. */
static double seed_difference(const dg_condition *a, int64_t sa, const dg_condition *b, int64_t sb, const char *metric)
{
    double sum = 0;
    int64_t n = 0;
    for (int64_t i = 0; i < a->table.cases; i++) {
        const double d = dg_seed_table_value(&a->table, sa, i, metric) - dg_seed_table_value(&b->table, sb, i, metric);
        if (isnan(d)) continue;
        sum += d;
        n++;
    }
    return n == 0 ? NAN : sum / (double)n;
}

/* Seeds that both have, with the difference of each. */
static dg_status common_seeds(const dg_condition *a, const dg_condition *b, const char *metric, double **difference,
                              int64_t *count)
{
    *count = 0;
    DG_TRY(DG_NEW(difference, a->table.seeds, "differences of seeds"));
    if (a->table.seed == NULL || b->table.seed == NULL) return DG_OK;
    for (int64_t i = 0, k = 0; i < a->table.seeds && k < b->table.seeds;) {
        if (a->seed[i] == b->seed[k]) {
            const double d = seed_difference(a, i, b, k, metric);
            if (!isnan(d)) (*difference)[(*count)++] = d;
        }
        const bool first = a->seed[i] <= b->seed[k], second = b->seed[k] <= a->seed[i];
        i += first;
        k += second;
    }
    return DG_OK;
}

static dg_status seed_rule_json(const dg_condition *a, const dg_condition *b, const char *metric, json_t **out)
{
    double *difference;
    int64_t count;
    DG_TRY(common_seeds(a, b, metric, &difference, &count));
    const dg_seed_rule rule = dg_seed_rule_judge(difference, count);
    dg_free(&difference);
    *out = json_pack("{s:I, s:o, s:o, s:o, s:o, s:o}", "seeds", (json_int_t)count, "effect",
                     dg_json_number(rule.effect), "std", dg_json_number(rule.std), "std_interval_95",
                     json_pack("[o, o]", dg_json_number(rule.std_low), dg_json_number(rule.std_high)), "ratio",
                     dg_json_number(rule.ratio), "passed", count < 2 ? json_null() : json_boolean(rule.passed));
    if (count < 2) json_object_set_new(*out, "reason", json_string("fewer than 2 seeds stand in both conditions"));
    return DG_OK;
}

static json_t *judgement(const char *metric, double shift)
{
    dg_metric_words words;
    dg_metric_describe(metric, &words);
    if (shift == 0 || isnan(shift) || (words.better != DG_BETTER_LOWER && words.better != DG_BETTER_HIGHER))
        return json_null();
    return json_boolean((shift < 0) == (words.better == DG_BETTER_LOWER));
}

/* Condition c against the reference. */
static dg_status against_reference(const dg_compare *compare, int64_t c, const char *metric, pairs *p, json_t **out,
                                   dg_wilcoxon *w)
{
    const dg_condition *a = &compare->condition[c], *b = &compare->condition[0];
    json_t *rule = NULL;
    pairs_of_conditions(a, b, metric, p);
    DG_TRY(compare_pairs_json(compare, p, out, w));
    json_object_set_new(*out, "condition", json_string(a->name));
    if (p->n > 0) {
        const json_t *shift = json_object_get(json_object_get(*out, "hodges_lehmann"), "shift");
        json_object_set_new(*out, "better", judgement(metric, json_is_number(shift) ? json_number_value(shift) : NAN));
    }
    dg_status status = seed_rule_json(a, b, metric, &rule);
    if (status == DG_OK) json_object_set_new(*out, "seed_rule", rule);
    return status;
}

/* Mean over patients of each condition, with the bootstrap's interval. */
static dg_status describe_conditions(const dg_compare *compare, const char *metric, json_t *all)
{
    for (int64_t c = 0; c < compare->conditions; c++) {
        json_t *summary, *one;
        const dg_seed_summary_params params = {.metric = &metric,
                                               .metrics = 1,
                                               .resamples = compare->resamples,
                                               .seed = compare->seed,
                                               .level = interval_level,
                                               .upstream = compare->upstream};
        DG_TRY(dg_seed_summary(&compare->condition[c].table, &params, &summary));
        one = json_deep_copy(json_object_get(json_object_get(summary, "aggregate"), metric));
        json_decref(summary);
        if (one == NULL) one = json_pack("{s:i}", "n_cases_with_data", 0);
        json_object_set_new(one, "condition", json_string(compare->condition[c].name));
        json_array_append_new(all, one);
    }
    return DG_OK;
}

static const char *better_name(dg_better better)
{
    static const char *const name[] = {"unknown", "lower", "higher", "near_zero"};
    return name[better];
}

/* Holm over the conditions of the primary metric; what could be reached at all is said beside it. */
static dg_status correct(const dg_compare *compare, json_t *comparisons, const double *p, const double *p_smallest)
{
    const int64_t count = (int64_t)json_array_size(comparisons);
    double *adjusted = NULL, tests = 0;
    bool *significant = NULL;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&adjusted, count, "adjusted p"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&significant, count, "decisions"), cleanup);
    DG_TRY_GOTO(status, dg_holm(p, count, compare->alpha, compare->upstream, adjusted, significant), cleanup);
    for (int64_t i = 0; i < count; i++) tests += !isnan(p[i]);
    for (int64_t i = 0; i < count; i++) {
        json_t *row = json_array_get(comparisons, (size_t)i);
        if (isnan(p[i])) continue;
        json_object_set_new(row, "p_holm", dg_json_number(adjusted[i]));
        json_object_set_new(row, "p_holm_smallest", dg_json_number(fmin(1, tests * p_smallest[i])));
        json_object_set_new(row, "significant", json_boolean(significant[i]));
    }
cleanup:
    dg_free(&adjusted);
    dg_free(&significant);
    return status;
}

static dg_status metric_comparisons(const dg_compare *compare, const char *metric, bool primary, json_t *all)
{
    const int64_t others = compare->conditions - 1;
    double *p = NULL;
    pairs q = {0};
    dg_status status;
    DG_TRY_GOTO(status, pairs_create(compare->cases, &q), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&p, 2 * others, "p values"), cleanup);
    for (int64_t c = 1; c <= others; c++) {
        json_t *row = NULL;
        dg_wilcoxon w;
        status = against_reference(compare, c, metric, &q, &row, &w);
        if (row != NULL) json_array_append_new(all, row);
        if (status != DG_OK) goto cleanup;
        p[c - 1] = w.p;
        p[others + c - 1] = w.p_smallest;
    }
    if (primary) status = correct(compare, all, p, p + others);
cleanup:
    pairs_release(&q);
    dg_free(&p);
    return status;
}

static dg_status metric_json(const dg_compare *compare, const char *metric, bool primary, json_t **out)
{
    dg_metric_words words;
    json_t *described = json_array(), *comparisons = json_array();
    dg_metric_describe(metric, &words);
    *out = json_pack("{s:s, s:s, s:s, s:s, s:b, s:o, s:o}", "metric", metric, "region", words.region, "unit",
                     words.unit, "better", better_name(words.better), "exploratory", !primary, "conditions", described,
                     "comparisons", comparisons);
    if (*out == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for the comparison of %s", metric);
    dg_status status = describe_conditions(compare, metric, described);
    if (status == DG_OK) status = metric_comparisons(compare, metric, primary, comparisons);
    if (status != DG_OK) {
        json_decref(*out);
        *out = NULL;
        return dg_error_context(status, "metric %s", metric);
    }
    return DG_OK;
}

/* ---- the whole ---------------------------------------------------------------------------------------------------- */

static json_t *conditions_json(const dg_compare *compare)
{
    json_t *all = json_array();
    for (int64_t c = 0; c < compare->conditions; c++) {
        const dg_condition *k = &compare->condition[c];
        json_t *seeds = json_array();
        for (int64_t s = 0; s < k->table.seeds; s++)
            json_array_append_new(seeds, k->table.seed == NULL ? json_null() : json_integer(k->seed[s]));
        json_array_append_new(all,
                              json_pack("{s:s, s:o, s:b}", "condition", k->name, "seeds", seeds, "reference", c == 0));
    }
    return all;
}

static void warn(json_t *warnings, const char *format, ...) DG_PRINTF(2, 3);
static void warn(json_t *warnings, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    json_t *item = json_string(text);
    json_array_append_new(warnings, item == NULL ? json_string("a warning that is not UTF-8") : item);
}

static const json_t *weights_of(const dg_compare_file *file)
{
    return json_object_get(json_object_get(dg_results_root(file->results), "run"), "weights_sha256");
}

/* Files hold the same cases; one written before sources were kept says nothing of them. */
static void compare_assumed(const dg_compare *compare, char text[DG_ASSUMED_TEXT])
{
    int64_t assumed = 0;
    for (int64_t i = 0; i < compare->files; i++) {
        const int64_t here = dg_results_assumed(compare->sorted[i]->results);
        if (here > assumed) assumed = here;
    }
    dg_assumed_text(assumed, compare->cases, text);
}

static void warn_of_files(const dg_compare *compare, json_t *warnings)
{
    int64_t failed = dg_results_failed_count(compare->sorted[0]->results);
    for (int64_t i = 1; i < compare->files; i++) {
        const json_t *mine = weights_of(compare->sorted[i]);
        for (int64_t k = 0; k < i; k++)
            if (json_array_size(mine) > 0 && json_equal((json_t *)mine, (json_t *)weights_of(compare->sorted[k])))
                warn(warnings,
                     "condition %s seed %" PRId64 " and condition %s seed %" PRId64
                     " were predicted by the same weights",
                     compare->sorted[k]->condition, compare->sorted[k]->seed, compare->sorted[i]->condition,
                     compare->sorted[i]->seed);
    }
    char assumed[DG_ASSUMED_TEXT];
    compare_assumed(compare, assumed);
    if (assumed[0] != '\0') warn(warnings, "%s", assumed);
    if (failed > 0) warn(warnings, "%" PRId64 " cases could not be evaluated and are left out everywhere", failed);
}

/* A comparison that could never be significant must be known before it is read. */
static void warn_of_power(const dg_compare *compare, const json_t *primary, json_t *warnings)
{
    const json_t *row;
    size_t i;
    json_array_foreach(json_object_get(primary, "comparisons"), i, row)
    {
        const json_t *smallest = json_object_get(row, "p_holm_smallest");
        if (!json_is_number(smallest) || json_number_value(smallest) <= compare->alpha) continue;
        warn(warnings,
             "condition %s: with %" PRId64
             " patients and %zu comparisons the smallest p after Holm is %.3g; no result can be "
             "significant at %g",
             json_string_value(json_object_get(row, "condition")),
             (int64_t)json_integer_value(json_object_get(row, "n")),
             json_array_size(json_object_get(primary, "comparisons")), json_number_value(smallest), compare->alpha);
    }
}

static json_t *settings_json(const dg_compare *compare)
{
    const json_t *evaluation = dg_results_settings(compare->sorted[0]->results);
    return json_pack("{s:s, s:s, s:s, s:o, s:f, s:I, s:I, s:s, s:s, s:o}", "compat",
                     compare->upstream ? "upstream" : "corrected", "primary", compare->primary, "reference",
                     compare->condition[0].name, "alpha", dg_json_number(compare->alpha), "interval_level",
                     interval_level, "resamples", (json_int_t)compare->resamples, "seed", (json_int_t)compare->seed,
                     "correction", compare->upstream ? "holm_without_stop" : "holm", "unit", "patient", "evaluation",
                     evaluation == NULL ? json_null() : json_deep_copy(evaluation));
}

static dg_status exploratory_json(const dg_compare *compare, json_t *all)
{
    for (int64_t k = 0; k < compare->metrics; k++) {
        json_t *one;
        DG_TRY(metric_json(compare, compare->metric[k], false, &one));
        json_array_append_new(all, one);
    }
    return DG_OK;
}

typedef dg_status (*section)(const dg_compare *compare, json_t **out);

static dg_status put_section(const dg_compare *compare, const char *key, section make, json_t *root)
{
    json_t *part = NULL;
    dg_status status = make(compare, &part);
    if (status == DG_OK)
        json_object_set_new(root, key, part);
    else
        json_decref(part);
    return status;
}

static dg_status fill(const dg_compare *compare, json_t *root)
{
    json_t *warnings = json_array(), *primary, *others = json_array();
    json_object_set_new(root, "warnings", warnings);
    json_object_set_new(root, "exploratory", others);
    DG_TRY(metric_json(compare, compare->primary, true, &primary));
    json_object_set_new(root, "primary", primary);
    warn_of_files(compare, warnings);
    warn_of_power(compare, primary, warnings);
    DG_TRY(exploratory_json(compare, others));
    DG_TRY(put_section(compare, "outliers", compare_outliers, root));
    DG_TRY(put_section(compare, "asymmetry", compare_asymmetry, root));
    DG_TRY(put_section(compare, "gamma_against_error", compare_gamma, root));
    return compare->upstream ? put_section(compare, "upstream", compare_upstream, root) : DG_OK;
}

dg_status dg_compare_json(const dg_compare *compare, json_t **out)
{
    json_t *cases = json_array();
    for (int64_t i = 0; i < compare->cases; i++) json_array_append_new(cases, json_string(compare->case_id[i]));
    *out = json_pack("{s:s, s:i, s:o, s:I, s:o, s:o}", "format", "dosegrid-comparison", "version", 1, "settings",
                     settings_json(compare), "n_cases", (json_int_t)compare->cases, "cases", cases, "conditions",
                     conditions_json(compare));
    if (*out == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for the comparison");
    dg_status status = fill(compare, *out);
    if (status != DG_OK) {
        json_decref(*out);
        *out = NULL;
    }
    return status;
}

dg_status dg_compare_summary(const dg_compare *compare, int64_t index, json_t **out)
{
    const char **metric;
    dg_seed_summary_params params = {
        .resamples = compare->resamples, .seed = compare->seed, .level = interval_level, .upstream = compare->upstream};
    int64_t upstream = 0;
    while (dg_upstream_aggregate_metric(upstream) != NULL) upstream++;
    DG_TRY(DG_NEW(&metric, compare->metrics + upstream + 1, "metrics"));
    metric[params.metrics++] = compare->primary;
    for (int64_t k = 0; k < compare->metrics; k++) metric[params.metrics++] = compare->metric[k];
    for (int64_t k = 0; k < upstream; k++) metric[params.metrics++] = dg_upstream_aggregate_metric(k);
    qsort(metric, (size_t)params.metrics, sizeof *metric, by_text);
    int64_t kept = 0;
    for (int64_t k = 0; k < params.metrics; k++)
        if (k == 0 || strcmp(metric[k], metric[k - 1]) != 0) metric[kept++] = metric[k];
    params.metric = metric;
    params.metrics = kept;
    dg_status status = dg_seed_summary(&compare->condition[index].table, &params, out);
    char assumed[DG_ASSUMED_TEXT];
    compare_assumed(compare, assumed);
    if (status == DG_OK && assumed[0] != '\0') json_object_set_new(*out, "prescription_assumed", json_string(assumed));
    dg_free(&metric);
    return status;
}
