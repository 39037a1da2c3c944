/* compare_explore.c - what else the same results tell, without claims: cases that are outliers under several seeds, organs of the left
 * against those of the right, gamma against the error by region. SPDX-License-Identifier: Apache-2.0 */
#include "compare_impl.h"
#include "dg_holm.h"
#include "dg_mem.h"
#include "dg_rank_correlation.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- outliers ----------------------------------------------------------------------------------------------------- */

/* Modified z scores, 0.6745 (x - median) / MAD, and beyond 3.5 an outlier (Iglewicz & Hoaglin, How to Detect and Handle
 * Outliers, 1993); where more than half of the values are equal, (x - median) / (1.253314 mean absolute deviation). */
static const double outlier_limit = 3.5;

/* z[cases] of one seed; NaN where the case has no value or nothing varies. work[cases]. */
static void modified_z(const dg_condition *c, int64_t seed, const char *metric, double *z, double *work)
{
    int64_t n = 0;
    double mean_off = 0;
    for (int64_t i = 0; i < c->table.cases; i++) {
        z[i] = dg_seed_table_value(&c->table, seed, i, metric);
        if (!isnan(z[i])) work[n++] = z[i];
    }
    const double middle = dg_median(work, n);
    for (int64_t i = 0; i < n; i++) {
        work[i] = fabs(work[i] - middle);
        mean_off += work[i] / (double)n;
    }
    const double mad = dg_median(work, n);
    const double scale = mad > 0 ? mad / 0.6745 : 1.253314 * mean_off;
    for (int64_t i = 0; i < c->table.cases; i++) z[i] = scale > 0 ? (z[i] - middle) / scale : NAN;
}

/* One case: on the same side in at least two seeds. */
static json_t *outlier_json(const dg_condition *c, int64_t index, const double *z)
{
    int64_t high = 0, low = 0;
    for (int64_t s = 0; s < c->table.seeds; s++) {
        high += z[s * c->table.cases + index] > outlier_limit;
        low += z[s * c->table.cases + index] < -outlier_limit;
    }
    if (high < 2 && low < 2) return NULL;
    json_t *scores = json_object();
    for (int64_t s = 0; s < c->table.seeds; s++) {
        char label[32];
        snprintf(label, sizeof label, "%" PRId64, c->seed[s]);
        json_object_set_new(scores, label, dg_json_number(z[s * c->table.cases + index]));
    }
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:o}", "condition", c->name, "case_id", c->table.case_id[index], "side",
                     high >= low ? "high" : "low", "seeds_flagged", (json_int_t)(high >= low ? high : low), "seeds",
                     (json_int_t)c->table.seeds, "modified_z", scores);
}

dg_status compare_outliers(const dg_compare *compare, json_t **out)
{
    double *z = NULL;
    int64_t most = 0;
    json_t *found = json_array();
    *out = json_pack("{s:s, s:s, s:f, s:i, s:o}", "metric", compare->primary, "rule",
                     "modified z beyond the limit on the same side in at least 2 seeds", "limit", outlier_limit,
                     "seeds_needed", 2, "cases", found);
    for (int64_t c = 0; c < compare->conditions; c++)
        if (compare->condition[c].table.seeds > most) most = compare->condition[c].table.seeds;
    dg_status status = *out == NULL ? DG_FAIL(DG_ERR_MEMORY, "no memory for the outliers") : DG_OK;
    if (status == DG_OK) status = DG_NEW(&z, (most + 1) * compare->cases, "outlier scores");
    for (int64_t k = 0; status == DG_OK && k < compare->conditions; k++) {
        const dg_condition *c = &compare->condition[k];
        for (int64_t s = 0; s < c->table.seeds; s++)
            modified_z(c, s, compare->primary, z + s * compare->cases, z + most * compare->cases);
        for (int64_t i = 0; i < compare->cases; i++) {
            json_t *one = outlier_json(c, i, z);
            if (one != NULL) json_array_append_new(found, one);
        }
    }
    dg_free(&z);
    return status;
}

/* ---- left and right ----------------------------------------------------------------------------------------------- */

/* Swaps the one sign of the left in a structure's name for that of the right: Femur_L, LeftParotid, Parotid_Left, L_Lung.
 * False when the name has none. */
static bool mirror_name(const char *name, char out[DG_RESULTS_METRIC])
{
    static const char *const sign[][2] = {{"Left", "Right"}, {"left", "right"}, {"LEFT", "RIGHT"}};
    const size_t length = strlen(name);
    for (int i = 0; i < 3; i++) {
        const char *at = strstr(name, sign[i][0]);
        if (at == NULL) continue;
        snprintf(out, DG_RESULTS_METRIC, "%.*s%s%s", (int)(at - name), name, sign[i][1], at + strlen(sign[i][0]));
        return true;
    }
    snprintf(out, DG_RESULTS_METRIC, "%s", name);
    if (length > 2 && (name[length - 2] == '_' || name[length - 2] == ' ') &&
        toupper((unsigned char)name[length - 1]) == 'L')
        out[length - 1] = name[length - 1] == 'L' ? 'R' : 'r';
    else if (length > 2 && (name[1] == '_' || name[1] == ' ') && toupper((unsigned char)name[0]) == 'L')
        out[0] = name[0] == 'L' ? 'R' : 'r';
    else
        return false;
    return true;
}

/* The error statistics that are looked at: our name and the reference tool's are the same for both. */
static const char *const sided[] = {"mae_gy", "mean_error_gy"};

/* The metric of the right structure when `metric` is one of a left one and both are in the results. */
static bool right_of(const dg_compare *compare, const char *metric, char right[DG_RESULTS_METRIC],
                     dg_metric_words *words)
{
    char name[DG_RESULTS_METRIC];
    bool wanted = false;
    if (strncmp(metric, "dvh_metrics.", 12) != 0) return false;
    dg_metric_describe(metric, words);
    const char *last = metric + 12 + strlen(words->region) + 1;
    for (int i = 0; i < 2; i++) wanted = wanted || strcmp(last, sided[i]) == 0;
    if (!wanted || !mirror_name(words->region, name)) return false;
    if (snprintf(right, DG_RESULTS_METRIC, "dvh_metrics.%.120s.%s", name, last) >= DG_RESULTS_METRIC) return false;
    for (int64_t i = 0; i < compare->files; i++)
        if (dg_results_has_metric(compare->sorted[i]->results, right)) return true;
    return false;
}

/* Holm over all rows of a section that have a p value: their family is the section. */
static dg_status correct_rows(const dg_compare *compare, json_t *rows)
{
    const int64_t count = (int64_t)json_array_size(rows);
    double *p = NULL;
    bool *significant = NULL;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&p, 2 * count, "p values"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&significant, count, "decisions"), cleanup);
    for (int64_t i = 0; i < count; i++) {
        const json_t *row = json_array_get(rows, (size_t)i);
        const json_t *value = json_object_get(json_object_get(row, "wilcoxon"), "p");
        p[i] = json_is_number(value) ? json_number_value(value) : NAN;
    }
    DG_TRY_GOTO(status, dg_holm(p, count, compare->alpha, compare->upstream, p + count, significant), cleanup);
    for (int64_t i = 0; i < count; i++)
        if (!isnan(p[i])) json_object_set_new(json_array_get(rows, (size_t)i), "p_holm", dg_json_number(p[count + i]));
cleanup:
    dg_free(&p);
    dg_free(&significant);
    return status;
}

/* Left minus right in each condition. */
static dg_status add_asymmetry(const dg_compare *compare, const char *left, const char *right, const char *structure,
                               pairs *p, json_t *rows)
{
    char name[DG_RESULTS_METRIC];
    mirror_name(structure, name);
    for (int64_t c = 0; c < compare->conditions; c++) {
        json_t *row;
        dg_wilcoxon w;
        pairs_of_metrics(&compare->condition[c], left, right, p);
        if (p->n == 0) continue;
        DG_TRY(compare_pairs_json(compare, p, &row, &w));
        json_object_set_new(row, "condition", json_string(compare->condition[c].name));
        json_object_set_new(row, "left", json_string(structure));
        json_object_set_new(row, "right", json_string(name));
        json_object_set_new(row, "metric", json_string(strrchr(left, '.') + 1));
        json_array_append_new(rows, row);
    }
    return DG_OK;
}

static bool first_with(const dg_compare *compare, int64_t file, const char *metric)
{
    for (int64_t i = 0; i < file; i++)
        if (dg_results_has_metric(compare->sorted[i]->results, metric)) return false;
    return true;
}

dg_status compare_asymmetry(const dg_compare *compare, json_t **out)
{
    char right[DG_RESULTS_METRIC];
    dg_metric_words words;
    pairs p;
    json_t *rows = json_array();
    *out = json_pack("{s:b, s:s, s:o}", "exploratory", 1, "difference", "left minus right", "pairs", rows);
    if (*out == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for the asymmetry");
    dg_status status = pairs_create(compare->cases, &p);
    for (int64_t i = 0; status == DG_OK && i < compare->files; i++) {
        const dg_results *r = compare->sorted[i]->results;
        for (int64_t k = 0; status == DG_OK && k < dg_results_metric_count(r); k++) {
            const char *left = dg_results_metric(r, k);
            if (!right_of(compare, left, right, &words) || !first_with(compare, i, left)) continue;
            status = add_asymmetry(compare, left, right, words.region, &p, rows);
        }
    }
    pairs_release(&p);
    return status == DG_OK ? correct_rows(compare, rows) : status;
}

/* ---- gamma against error ------------------------------------------------------------------------------------------ */

/* Where the mean absolute error of a gamma region stands; NULL when nowhere. */
static const char *error_of_region(const dg_compare *compare, const char *region, char metric[DG_RESULTS_METRIC])
{
    const char *const form[] = {strcmp(region, "global") == 0 ? "dose_metrics.mae_gy" : "dose_metrics.mae_%.120s_gy",
                                "dvh_metrics.%.120s.mae_gy"};
    for (int i = 0; i < 2; i++) {
        const bool organ = strncmp(region, "oar_", 4) == 0;
        if (i == 1 && !organ) break;
        snprintf(metric, DG_RESULTS_METRIC, form[i], i == 1 ? region + 4 : region);
        for (int64_t f = 0; f < compare->files; f++)
            if (dg_results_has_metric(compare->sorted[f]->results, metric)) return metric;
    }
    return NULL;
}

/* "gamma.REGION_CRITERION.gamma_pass_rate" in its parts. */
static bool parse_gamma(const char *metric, char region[DG_RESULTS_METRIC], char criterion[DG_RESULTS_METRIC])
{
    dg_metric_words words;
    static const char end[] = ".gamma_pass_rate";
    const size_t length = strlen(metric);
    if (strncmp(metric, "gamma.", 6) != 0 || length < sizeof end || strcmp(metric + length - sizeof end + 1, end) != 0)
        return false;
    dg_metric_describe(metric, &words);
    if (words.region[0] == '\0') return false;
    snprintf(region, DG_RESULTS_METRIC, "%s", words.region);
    const char *from = metric + 6 + strlen(region) + 1;
    snprintf(criterion, DG_RESULTS_METRIC, "%.*s", (int)(metric + length - sizeof end + 1 - from), from);
    return true;
}

/* Does gamma fall where the error rises? Over patients, in one region. */
static dg_status correlate(const dg_compare *compare, const dg_condition *c, const char *gamma, pairs *p, json_t **out)
{
    char region[DG_RESULTS_METRIC], criterion[DG_RESULTS_METRIC], error[DG_RESULTS_METRIC];
    dg_spearman s = {.rho = NAN, .p = NAN, .p_smallest = NAN};
    parse_gamma(gamma, region, criterion);
    const char *metric = error_of_region(compare, region, error);
    p->n = 0;
    if (metric != NULL) {
        pairs_of_metrics(c, gamma, metric, p);
        DG_TRY(dg_spearman_test(p->a, p->b, p->n, &s));
    }
    json_t *spearman = json_pack("{s:I, s:o, s:o, s:o, s:s}", "n", (json_int_t)s.n, "rho", dg_json_number(s.rho), "p",
                                 dg_json_number(s.p), "p_smallest", dg_json_number(s.p_smallest), "method",
                                 s.exact ? "exact" : "student");
    *out = json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o}", "condition", c->name, "region", region, "criterion",
                     criterion, "error_metric", metric == NULL ? json_null() : json_string(metric),
                     "gamma_pass_rate_mean", dg_json_number(dg_mean(p->a, p->n)), "error_mean",
                     dg_json_number(dg_mean(p->b, p->n)), "spearman", spearman);
    return *out == NULL ? DG_FAIL(DG_ERR_MEMORY, "no memory for gamma against error") : DG_OK;
}

/* Is gamma higher in and around the targets than in another region of the same criterion? */
static dg_status against_target(const dg_compare *compare, const dg_condition *c, const char *gamma, pairs *p,
                                json_t *rows)
{
    char region[DG_RESULTS_METRIC], criterion[DG_RESULTS_METRIC], target[DG_RESULTS_METRIC];
    json_t *row;
    dg_wilcoxon w;
    parse_gamma(gamma, region, criterion);
    if (strcmp(region, "ptv_region") == 0) return DG_OK;
    snprintf(target, sizeof target, "gamma.ptv_region_%.60s.gamma_pass_rate", criterion);
    pairs_of_metrics(c, target, gamma, p);
    if (p->n == 0) return DG_OK;
    DG_TRY(compare_pairs_json(compare, p, &row, &w));
    json_object_set_new(row, "condition", json_string(c->name));
    json_object_set_new(row, "region", json_string(region));
    json_object_set_new(row, "criterion", json_string(criterion));
    json_array_append_new(rows, row);
    return DG_OK;
}

static dg_status add_gamma(const dg_compare *compare, const char *gamma, pairs *p, json_t *by_region, json_t *target)
{
    for (int64_t c = 0; c < compare->conditions; c++) {
        json_t *row;
        DG_TRY(correlate(compare, &compare->condition[c], gamma, p, &row));
        json_array_append_new(by_region, row);
        DG_TRY(against_target(compare, &compare->condition[c], gamma, p, target));
    }
    return DG_OK;
}

dg_status compare_gamma(const dg_compare *compare, json_t **out)
{
    char region[DG_RESULTS_METRIC], criterion[DG_RESULTS_METRIC];
    pairs p;
    json_t *by_region = json_array(), *target = json_array();
    *out = json_pack("{s:b, s:o, s:s, s:o}", "exploratory", 1, "error_by_region", by_region, "difference",
                     "ptv_region minus region, points of gamma_pass_rate", "ptv_region_against", target);
    if (*out == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for gamma against error");
    dg_status status = pairs_create(compare->cases, &p);
    for (int64_t i = 0; status == DG_OK && i < compare->files; i++) {
        const dg_results *r = compare->sorted[i]->results;
        for (int64_t k = 0; status == DG_OK && k < dg_results_metric_count(r); k++) {
            const char *gamma = dg_results_metric(r, k);
            if (parse_gamma(gamma, region, criterion) && first_with(compare, i, gamma))
                status = add_gamma(compare, gamma, &p, by_region, target);
        }
    }
    pairs_release(&p);
    return status == DG_OK ? correct_rows(compare, target) : status;
}
