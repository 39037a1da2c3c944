/* compare_check.c - results that must not stand side by side: other settings, another layout, other cases or other content of a
 * case. The message names the field and both values. SPDX-License-Identifier: Apache-2.0 */
#include "compare_impl.h"

#include "dg_mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VALUE_TEXT = 96 };

static const char *name_of(const dg_compare *compare, int64_t file)
{
    return dg_results_name(compare->sorted[file]->results);
}

static dg_status refuse(const dg_compare *compare, int64_t other, const char *field, const char *a, const char *b)
{
    return DG_FAIL(DG_ERR_USAGE,
                   "%s: %s in %s, %s in %s; such results must not stand side by side, evaluate both the same way",
                   field, a, name_of(compare, 0), b, name_of(compare, other));
}

static void value_text(const json_t *value, char text[VALUE_TEXT])
{
    char *dumped = value == NULL ? NULL : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    snprintf(text, VALUE_TEXT, "%.90s", dumped == NULL ? "nothing" : dumped);
    free(dumped);
}

/* Where two JSON values differ first, keys in sorted order; false when they do not. `path` grows to the place. */
static bool find_difference(const json_t *a, const json_t *b, char *path, size_t used, const json_t **in_a,
                            const json_t **in_b);

static bool differ_in_object(const json_t *a, const json_t *b, char *path, size_t used, const json_t **in_a,
                             const json_t **in_b)
{
    const char *key, *first = NULL;
    json_t *value;
    for (int side = 0; side < 2; side++) {
        const json_t *from = side == 0 ? a : b, *other = side == 0 ? b : a;
        json_object_foreach((json_t *)from, key, value)
        {
            const json_t *there = json_object_get(other, key);
            const bool equal = there != NULL && json_equal(value, (json_t *)there);
            if (!equal && (first == NULL || strcmp(key, first) < 0)) first = key;
        }
    }
    if (first == NULL) return false;
    snprintf(path + used, DG_RESULTS_METRIC - used, ".%.60s", first);
    return find_difference(json_object_get(a, first), json_object_get(b, first), path, strlen(path), in_a, in_b);
}

static bool find_difference(const json_t *a, const json_t *b, char *path, size_t used, const json_t **in_a,
                            const json_t **in_b)
{
    *in_a = a;
    *in_b = b;
    if (a != NULL && b != NULL && json_equal((json_t *)a, (json_t *)b)) return false;
    if (json_is_object(a) && json_is_object(b)) return differ_in_object(a, b, path, used, in_a, in_b);
    if (!json_is_array(a) || !json_is_array(b)) return true;
    const size_t shorter = json_array_size(a) < json_array_size(b) ? json_array_size(a) : json_array_size(b);
    for (size_t i = 0; i < shorter; i++) {
        const json_t *x = json_array_get(a, i), *y = json_array_get(b, i);
        if (json_equal((json_t *)x, (json_t *)y)) continue;
        snprintf(path + used, DG_RESULTS_METRIC - used, "[%zu]", i);
        return find_difference(x, y, path, strlen(path), in_a, in_b);
    }
    return true;
}

static dg_status check_layout(const dg_compare *compare, int64_t other)
{
    char text[2][VALUE_TEXT];
    const dg_results *r[2] = {compare->sorted[0]->results, compare->sorted[other]->results};
    if (dg_results_version(r[0]) == dg_results_version(r[1])) return DG_OK;
    for (int i = 0; i < 2; i++)
        snprintf(text[i], VALUE_TEXT,
                 dg_results_get_source(r[i]) == DG_RESULTS_REFERENCE ? "the reference tool's"
                                                                     : "dosegrid-evaluation %d",
                 dg_results_version(r[i]));
    return refuse(compare, other, "format", text[0], text[1]);
}

static dg_status check_settings(const dg_compare *compare, int64_t other)
{
    char path[DG_RESULTS_METRIC] = "settings", text[2][VALUE_TEXT];
    const json_t *a = dg_results_settings(compare->sorted[0]->results), *b;
    const json_t *in_a, *in_b;
    b = dg_results_settings(compare->sorted[other]->results);
    if (a == NULL || b == NULL || !find_difference(a, b, path, strlen(path), &in_a, &in_b)) return DG_OK;
    value_text(in_a, text[0]);
    value_text(in_b, text[1]);
    return refuse(compare, other, path, text[0], text[1]);
}

/* "failed there: why" or "not evaluated there". */
static const char *why_absent(const dg_results *results, const char *id)
{
    const char *failed, *reason;
    for (int64_t i = 0; i < dg_results_failed_count(results); i++) {
        dg_results_get_failed(results, i, &failed, &reason);
        if (strcmp(failed, id) == 0) return reason[0] == '\0' ? "it failed there" : reason;
    }
    return "it was not evaluated there";
}

static dg_status fail_absent(const char *id, const dg_results *in, const dg_results *not_in)
{
    return DG_FAIL(DG_ERR_USAGE, "cases: %s is in %s but not in %s (%.200s); evaluate the same cases in all runs", id,
                   dg_results_name(in), dg_results_name(not_in), why_absent(not_in, id));
}

static dg_status check_cases(const dg_compare *compare, int64_t other)
{
    const dg_results *a = compare->sorted[0]->results, *b = compare->sorted[other]->results;
    for (int64_t i = 0; i < dg_results_case_count(a); i++)
        if (dg_results_find_case(b, dg_results_get_case(a, i)->id) < 0)
            return fail_absent(dg_results_get_case(a, i)->id, a, b);
    for (int64_t i = 0; i < dg_results_case_count(b); i++)
        if (dg_results_find_case(a, dg_results_get_case(b, i)->id) < 0)
            return fail_absent(dg_results_get_case(b, i)->id, b, a);
    return DG_OK;
}

static dg_status check_case(const dg_compare *compare, int64_t other, int64_t index)
{
    char field[2 * DG_RESULTS_TEXT], text[2][VALUE_TEXT];
    const dg_results_case *a = dg_results_get_case(compare->sorted[0]->results, index);
    const dg_results_case *b = dg_results_get_case(compare->sorted[other]->results, index);
    if (strcmp(a->sha256, b->sha256) != 0) {
        snprintf(field, sizeof field, "case_sha256 of case %s", a->id);
        return refuse(compare, other, field, a->sha256[0] == '\0' ? "nothing" : a->sha256,
                      b->sha256[0] == '\0' ? "nothing" : b->sha256);
    }
    if (a->prescription_gy == b->prescription_gy || (isnan(a->prescription_gy) && isnan(b->prescription_gy)))
        return DG_OK;
    snprintf(field, sizeof field, "prescription_gy of case %s", a->id);
    snprintf(text[0], VALUE_TEXT, "%.15g", a->prescription_gy);
    snprintf(text[1], VALUE_TEXT, "%.15g", b->prescription_gy);
    return refuse(compare, other, field, text[0], text[1]);
}

/* What is said of the clinical plan and the anatomy alone, whoever predicted. */
static bool of_the_case(const char *metric)
{
    const size_t length = strlen(metric);
    static const char *const end[] = {".n_voxels", ".volume_cc"};
    for (int i = 0; i < 2; i++)
        if (length > strlen(end[i]) && strcmp(metric + length - strlen(end[i]), end[i]) == 0) return true;
    return strstr(metric, ".target_") != NULL;
}

/* Results without hashes of the cases (the reference tool's, our version 1): their statements about the cases must agree. */
static dg_status check_statements(const dg_compare *compare, int64_t other)
{
    char field[DG_RESULTS_METRIC + DG_RESULTS_TEXT + 16], text[2][VALUE_TEXT];
    const dg_results *a = compare->sorted[0]->results, *b = compare->sorted[other]->results;
    if (dg_results_version(a) >= 2) return DG_OK;
    for (int64_t k = 0; k < dg_results_metric_count(a); k++) {
        const char *metric = dg_results_metric(a, k);
        if (!of_the_case(metric) || !dg_results_has_metric(b, metric)) continue;
        for (int64_t i = 0; i < dg_results_case_count(a); i++) {
            const double x = dg_results_value(a, i, metric, NULL), y = dg_results_value(b, i, metric, NULL);
            if (x == y || (isnan(x) && isnan(y))) continue;
            snprintf(field, sizeof field, "%s of case %s", metric, dg_results_get_case(a, i)->id);
            snprintf(text[0], VALUE_TEXT, "%.15g", x);
            snprintf(text[1], VALUE_TEXT, "%.15g", y);
            return refuse(compare, other, field, text[0], text[1]);
        }
    }
    return DG_OK;
}

/* Results without settings show their gamma criteria in the names alone. */
static dg_status check_criteria(const dg_compare *compare, int64_t other)
{
    const dg_results *r[2] = {compare->sorted[0]->results, compare->sorted[other]->results};
    if (dg_results_settings(r[0]) != NULL) return DG_OK;
    for (int side = 0; side < 2; side++)
        for (int64_t k = 0; k < dg_results_metric_count(r[side]); k++) {
            const char *metric = dg_results_metric(r[side], k);
            if (strncmp(metric, "gamma.", 6) != 0 || dg_results_has_metric(r[1 - side], metric)) continue;
            return refuse(compare, other, "gamma", side == 0 ? metric : "nothing", side == 0 ? "nothing" : metric);
        }
    return DG_OK;
}

dg_status compare_check(const dg_compare *compare)
{
    for (int64_t other = 1; other < compare->files; other++) {
        DG_TRY(check_layout(compare, other));
        DG_TRY(check_settings(compare, other));
        DG_TRY(check_cases(compare, other));
        for (int64_t i = 0; i < dg_results_case_count(compare->sorted[0]->results); i++)
            DG_TRY(check_case(compare, other, i));
        DG_TRY(check_statements(compare, other));
        DG_TRY(check_criteria(compare, other));
    }
    return DG_OK;
}
