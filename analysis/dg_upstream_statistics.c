/* dg_upstream_statistics.c - see dg_upstream_statistics.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_upstream_statistics.h"
#include "dg_effect.h"
#include "dg_holm.h"
#include "dg_mem.h"
#include "dg_wilcoxon.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAIRS_MIN = 6, DECIMALS = 4 };

static const char *const aggregated[] = {"dose_metrics.mae_gy",
                                         "dose_metrics.rmse_gy",
                                         "dose_metrics.max_error_gy",
                                         "gamma.global_3mm3pct.gamma_pass_rate",
                                         "gamma.ptv_region_3mm3pct.gamma_pass_rate",
                                         "clinical_constraints.compliance_rate",
                                         "dvh_metrics.PTV70.D95_error",
                                         "dvh_metrics.PTV70.pred_D95",
                                         "dvh_metrics.PTV56.D95_error",
                                         "dvh_metrics.PTV56.pred_D95",
                                         "dvh_metrics.Rectum.pred_V70",
                                         "dvh_metrics.Bladder.pred_V70"};
static const char *const compared[] = {"dose_metrics.mae_gy", "gamma.global_3mm3pct.gamma_pass_rate",
                                       "gamma.ptv_region_3mm3pct.gamma_pass_rate",
                                       "clinical_constraints.compliance_rate", "dvh_metrics.PTV70.D95_error"};

const char *dg_upstream_aggregate_metric(int64_t index)
{
    return index < 0 || index >= (int64_t)(sizeof aggregated / sizeof aggregated[0]) ? NULL : aggregated[index];
}

const char *dg_upstream_compare_metric(int64_t index)
{
    return index < 0 || index >= (int64_t)(sizeof compared / sizeof compared[0]) ? NULL : compared[index];
}

static json_t *rounded(double value) { return dg_json_number(dg_round_decimals(value, DECIMALS)); }

static json_t *row_json(const char *metric, const double *a, const double *b, const double *difference, int64_t n,
                        const dg_wilcoxon *w, double alpha)
{
    const double mean = dg_mean(difference, n), std = dg_std(difference, n);
    /* SciPy's normal approximation of no difference at all is 0 / 0 (quirk 10) */
    const double p = w->method == DG_WILCOXON_NONE && n > DG_WILCOXON_FLIPS_MAX ? NAN : w->p;
    return json_pack("{s:s, s:I, s:o, s:o, s:n, s:b, s:o, s:o, s:o, s:o, s:s, s:o, s:o}", "metric", metric, "n_pairs",
                     (json_int_t)n, "statistic", dg_json_number(w->statistic), "p_value", dg_json_number(p),
                     "p_adjusted", "significant", 0, "alpha", dg_json_number(alpha), "cohens_d",
                     rounded(std > 0 ? mean / std : 0), "mean_diff", rounded(mean), "std_diff", rounded(std),
                     "direction",
                     mean < 0   ? "B > A"
                     : mean > 0 ? "A > B"
                                : "equal",
                     "mean_a", rounded(dg_mean(a, n)), "mean_b", rounded(dg_mean(b, n)));
}

static json_t *too_few(const char *metric, int64_t n)
{
    char text[96];
    snprintf(text, sizeof text, "Insufficient pairs (%lld) for Wilcoxon test (need >= %d)", (long long)n, PAIRS_MIN);
    return json_pack("{s:s, s:I, s:s, s:b}", "metric", metric, "n_pairs", (json_int_t)n, "error", text, "significant",
                     0);
}

dg_status dg_upstream_compare_pairs(const double *a, const double *b, int64_t n, const char *metric, double alpha,
                                    json_t **out)
{
    double *difference;
    dg_wilcoxon w;
    const dg_wilcoxon_params automatic = {.method = DG_WILCOXON_AUTO};
    *out = NULL;
    if (n < PAIRS_MIN) {
        *out = too_few(metric, n);
    } else {
        DG_TRY(DG_NEW(&difference, n, "differences"));
        for (int64_t i = 0; i < n; i++) difference[i] = a[i] - b[i];
        dg_status status = dg_wilcoxon_test(difference, n, &automatic, &w);
        if (status == DG_OK) *out = row_json(metric, a, b, difference, n, &w, alpha);
        dg_free(&difference);
        if (status != DG_OK) return status;
    }
    return *out == NULL ? DG_FAIL(DG_ERR_MEMORY, "no memory for a row of the comparison") : DG_OK;
}

/* Means over seeds of the cases that both tables have a value of; both lists of cases are sorted. */
static int64_t pair_up(const dg_seed_table *a, const dg_seed_table *b, const char *metric, double *x, double *y)
{
    int64_t n = 0;
    for (int64_t i = 0, k = 0; i < a->cases && k < b->cases;) {
        const int order = strcmp(a->case_id[i], b->case_id[k]);
        if (order == 0) {
            x[n] = dg_seed_table_mean(a, i, metric).mean;
            y[n] = dg_seed_table_mean(b, k, metric).mean;
            n += !isnan(x[n]) && !isnan(y[n]);
        }
        i += order <= 0;
        k += order >= 0;
    }
    return n;
}

static dg_status correct(json_t *rows, double alpha, double *p, double *adjusted, bool *significant)
{
    const int64_t count = (int64_t)json_array_size(rows);
    for (int64_t i = 0; i < count; i++) {
        const json_t *value = json_object_get(json_array_get(rows, (size_t)i), "p_value");
        p[i] = json_is_number(value) ? json_number_value(value) : NAN;
    }
    DG_TRY(dg_holm(p, count, alpha, true, adjusted, significant));
    for (int64_t i = 0; i < count; i++) {
        json_t *row = json_array_get(rows, (size_t)i);
        if (isnan(p[i])) continue;
        json_object_set_new(row, "p_adjusted", dg_json_number(adjusted[i]));
        json_object_set_new(row, "significant", json_boolean(significant[i]));
    }
    return DG_OK;
}

dg_status dg_upstream_compare(const dg_seed_table *a, const dg_seed_table *b, const char *const *metric,
                              int64_t metrics, double alpha, json_t **out)
{
    const int64_t room = (a->cases < b->cases ? a->cases : b->cases) + 1;
    double *value = NULL, *p = NULL;
    bool *significant = NULL;
    json_t *rows = json_array(), *row;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&value, 2 * room, "pairs"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&p, 2 * metrics, "p values"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&significant, metrics, "decisions"), cleanup);
    for (int64_t k = 0; k < metrics; k++) {
        const int64_t n = pair_up(a, b, metric[k], value, value + room);
        DG_TRY_GOTO(status, dg_upstream_compare_pairs(value, value + room, n, metric[k], alpha, &row), cleanup);
        json_array_append_new(rows, row);
    }
    status = correct(rows, alpha, p, p + metrics, significant);
cleanup:
    dg_free(&value);
    dg_free(&p);
    dg_free(&significant);
    if (status != DG_OK) json_decref(rows);
    *out = status == DG_OK ? rows : NULL;
    return status;
}

const char *dg_upstream_short_name(const char *metric)
{
    static const char *const name[][2] = {{"dose_metrics.mae_gy", "MAE (Gy)"},
                                          {"dose_metrics.rmse_gy", "RMSE (Gy)"},
                                          {"gamma.global_3mm3pct.gamma_pass_rate", "Gamma 3%/3mm (%)"},
                                          {"gamma.ptv_region_3mm3pct.gamma_pass_rate", "PTV Gamma (%)"},
                                          {"clinical_constraints.compliance_rate", "QUANTEC (%)"},
                                          {"dvh_metrics.PTV70.D95_error", "PTV70 D95 Gap (Gy)"},
                                          {"dvh_metrics.PTV56.D95_error", "PTV56 D95 Gap (Gy)"}};
    for (size_t i = 0; i < sizeof name / sizeof name[0]; i++)
        if (strcmp(metric, name[i][0]) == 0) return name[i][1];
    return metric;
}

static void print_table(FILE *stream, const char *const *name, const json_t *const *summary, int64_t count,
                        const char *const *metric, int64_t metrics)
{
    fprintf(stream, "| Experiment");
    for (int64_t k = 0; k < metrics; k++) fprintf(stream, " | %s", dg_upstream_short_name(metric[k]));
    fprintf(stream, " |\n| ---");
    for (int64_t k = 0; k < metrics; k++) fprintf(stream, " | ---");
    fprintf(stream, " |");
    for (int64_t i = 0; i < count; i++) {
        fprintf(stream, "\n| %s", name[i]);
        for (int64_t k = 0; k < metrics; k++) {
            const json_t *m = json_object_get(json_object_get(summary[i], "aggregate"), metric[k]);
            if (m == NULL)
                fprintf(stream, " | --");
            else
                fprintf(stream, " | %.2f +/- %.2f", json_number_value(json_object_get(m, "mean")),
                        json_number_value(json_object_get(m, "std")));
        }
        fprintf(stream, " |");
    }
}

dg_status dg_upstream_table(const char *const *name, const json_t *const *summary, int64_t count,
                            const char *const *metric, int64_t metrics, char **out)
{
    char *text = NULL;
    size_t length;
    *out = NULL;
    FILE *stream = open_memstream(&text, &length);
    if (stream == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for the table");
    print_table(stream, name, summary, count, metric, metrics);
    const bool good = fclose(stream) == 0;
    dg_status status = good ? dg_string_copy(text, out) : DG_FAIL(DG_ERR_MEMORY, "no memory for the table");
    free(text);
    return status;
}
