/* evaluation_scores.c - numbers over cases. Cases come in one order whatever rank measured them, and sums follow that
 * order: they are the same on any number of ranks. SPDX-License-Identifier: Apache-2.0 */
#include "evaluation_impl.h"

#include "dg_mem.h"

#include <math.h>
#include <string.h>

static const double interval_level = 0.95;

static bool counts(const dg_case_result *r, dg_contender who)
{
    return !r->failed && (who == DG_NETWORK || r->has_baselines);
}

/* Adds one value to a spread in two passes: first the mean, then the squares around it. */
typedef struct pass {
    int number;
    double sum, squares;
    int64_t n;
} pass;

static void pass_add(pass *p, double value)
{
    if (isnan(value)) return;
    if (p->number == 0) {
        p->sum += value;
        p->n++;
    } else {
        p->squares += (value - p->sum / (double)p->n) * (value - p->sum / (double)p->n);
    }
}

static dg_spread pass_spread(const pass *p)
{
    return (dg_spread){.cases = p->n,
                       .mean = p->n > 0 ? p->sum / (double)p->n : NAN,
                       .std = p->n > 1 ? sqrt(p->squares / (double)(p->n - 1)) : NAN};
}

static void mean_and_std(const dg_case_result *const *results, int64_t count, dg_contender who, int region,
                         dg_scoreboard *out)
{
    pass p = {0};
    for (; p.number < 2; p.number++)
        for (int64_t i = 0; i < count; i++)
            if (counts(results[i], who)) pass_add(&p, dg_dose_errors_mae_gy(&results[i]->errors[who], region));
    dg_spread spread = pass_spread(&p);
    out->mae_gy[region] = spread.mean;
    out->mae_std_gy[region] = spread.std;
}

static dg_status intervals(const dg_case_result *const *results, int64_t count, dg_contender who,
                           const dg_evaluation_config *config, dg_scoreboard *out)
{
    double *column = NULL;
    int64_t n = 0;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&column, 4 * count, "bootstrap columns"), cleanup);
    double *dose = column, *one = column + count, *dvh = one + count, *metrics = dvh + count;
    for (int64_t i = 0; i < count; i++) {
        if (!counts(results[i], who) || !results[i]->has_openkbp) continue;
        dose[n] = results[i]->openkbp[who].dose_error_gy;
        one[n] = 1;
        dvh[n] = results[i]->openkbp[who].dvh_error_sum_gy;
        metrics[n++] = (double)results[i]->openkbp[who].dvh_errors;
    }
    DG_TRY_GOTO(status,
                dg_bootstrap_ratio(dose, one, n, config->resamples, config->seed, interval_level, &out->dose_score),
                cleanup);
    DG_TRY_GOTO(status,
                dg_bootstrap_ratio(dvh, metrics, n, config->resamples, config->seed, interval_level, &out->dvh_score),
                cleanup);
cleanup:
    dg_free(&column);
    return status;
}

dg_status dg_scoreboard_make(const dg_case_result *const *results, int64_t count, dg_contender contender,
                             const dg_evaluation_config *config, dg_scoreboard *out)
{
    memset(out, 0, sizeof *out);
    for (int64_t i = 0; i < count; i++) {
        if (!counts(results[i], contender)) continue;
        out->cases++;
        if (results[i]->has_openkbp) dg_openkbp_score_add(&out->openkbp, &results[i]->openkbp[contender]);
    }
    for (int region = 0; region < DG_DOSE_REGIONS; region++) mean_and_std(results, count, contender, region, out);
    return intervals(results, count, contender, config, out);
}

static const dg_structure_result *find_structure(const dg_case_result *r, const char *name)
{
    const dg_structure_result *structure = dg_case_structures(r);
    for (int64_t k = 0; k < r->structure_count; k++)
        if (strcmp(structure[k].name, name) == 0) return &structure[k];
    return NULL;
}

double dg_evaluation_mean_error(const dg_case_result *const *results, int64_t count, const char *structure,
                                dg_dose_statistic statistic, int64_t *cases)
{
    double sum = 0;
    *cases = 0;
    for (int64_t i = 0; i < count; i++) {
        const dg_structure_result *s = results[i]->failed ? NULL : find_structure(results[i], structure);
        if (s == NULL || isnan(s->gy[0][statistic])) continue;
        sum += fabs(s->gy[1][statistic] - s->gy[0][statistic]);
        ++*cases;
    }
    return *cases > 0 ? sum / (double)*cases : NAN;
}

double dg_overall_error(const dg_overall_errors *errors, int which)
{
    return which == 0 ? errors->rmse_gy : which == 1 ? errors->max_error_gy : errors->mean_error_gy;
}

dg_spread dg_evaluation_overall(const dg_case_result *const *results, int64_t count, int which)
{
    pass p = {0};
    for (; p.number < 2; p.number++)
        for (int64_t i = 0; i < count; i++)
            if (!results[i]->failed) pass_add(&p, dg_overall_error(&results[i]->overall, which));
    return pass_spread(&p);
}

/* ---- regions ------------------------------------------------------------------------------------------------------ */

double dg_region_mae_gy(const dg_region_result *region)
{
    if (region->voxels == 0) return NAN;
    return (double)region->absolute_q20 / 1048576 / (double)region->voxels;
}

double dg_gamma_pass_percent(const dg_gamma_result *gamma)
{
    return gamma->evaluated == 0 ? NAN : 100 * (double)gamma->passed / (double)gamma->evaluated;
}

static int64_t find_region(const dg_case_result *r, const char *name)
{
    for (int64_t k = 0; k < r->region_count; k++)
        if (strcmp(dg_case_regions(r)[k].name, name) == 0) return k;
    return -1;
}

static double region_value(const dg_case_result *r, const char *name, int criterion)
{
    int64_t k = r->failed ? -1 : find_region(r, name);
    if (k < 0) return NAN;
    if (criterion < 0) return dg_region_mae_gy(&dg_case_regions(r)[k]);
    return dg_gamma_pass_percent(&dg_case_gamma(r)[k * r->criteria + criterion]);
}

static dg_spread region_spread(const dg_case_result *const *results, int64_t count, const char *region, int criterion)
{
    pass p = {0};
    for (; p.number < 2; p.number++)
        for (int64_t i = 0; i < count; i++) pass_add(&p, region_value(results[i], region, criterion));
    return pass_spread(&p);
}

dg_spread dg_evaluation_pass_rate(const dg_case_result *const *results, int64_t count, const char *region,
                                  int criterion)
{
    return region_spread(results, count, region, criterion);
}

dg_spread dg_evaluation_region_mae(const dg_case_result *const *results, int64_t count, const char *region)
{
    return region_spread(results, count, region, -1);
}

int64_t dg_evaluation_region_names(const dg_case_result *const *results, int64_t count, const char **names,
                                   int64_t room)
{
    int64_t known = 0;
    for (int64_t i = 0; i < count; i++)
        for (int64_t k = 0; k < results[i]->region_count && known < room; k++) {
            const char *name = dg_case_regions(results[i])[k].name;
            int64_t at = 0;
            while (at < known && strcmp(names[at], name) != 0) at++;
            if (at == known) names[known++] = name;
        }
    return known;
}
