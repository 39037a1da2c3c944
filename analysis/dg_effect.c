/* dg_effect.c - see dg_effect.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_effect.h"
#include "dg_distributions.h"
#include "dg_mem.h"
#include "dg_wilcoxon.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double dg_mean(const double *value, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += value[i];
    return n > 0 ? sum / (double)n : NAN;
}

double dg_std(const double *value, int64_t n)
{
    double mean = dg_mean(value, n), squares = 0;
    for (int64_t i = 0; i < n; i++) squares += (value[i] - mean) * (value[i] - mean);
    return n > 1 ? sqrt(squares / (double)(n - 1)) : NAN;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double dg_median(double *value, int64_t n)
{
    if (n < 1) return NAN;
    qsort(value, (size_t)n, sizeof *value, ascending);
    return n % 2 == 1 ? value[n / 2] : 0.5 * (value[n / 2 - 1] + value[n / 2]);
}

double dg_cohen_dz(const double *difference, int64_t n)
{
    const double std = dg_std(difference, n);
    return std > 0 ? dg_mean(difference, n) / std : NAN;
}

/* ---- Walsh averages ----------------------------------------------------------------------------------------------- */

static double walsh(const double *sorted, int64_t i, int64_t j) { return 0.5 * (sorted[i] + sorted[j]); }

/* How many of the averages of i <= j are at most t: for growing i the last j falls. */
static int64_t count_to(const double *sorted, int64_t n, double t)
{
    int64_t count = 0, j = n - 1;
    for (int64_t i = 0; i < n; i++) {
        while (j >= i && walsh(sorted, i, j) > t) j--;
        if (j < i) break;
        count += j - i + 1;
    }
    return count;
}

/* The k-th smallest average (k from 1), by halving until no number lies between: they need not be stored. */
static double order_statistic(const double *sorted, int64_t n, int64_t k)
{
    double low = sorted[0], high = sorted[n - 1];
    if (count_to(sorted, n, low) >= k) return low;
    for (;;) {
        const double middle = low + 0.5 * (high - low);
        if (middle <= low || middle >= high) return high;
        if (count_to(sorted, n, middle) >= k)
            high = middle;
        else
            low = middle;
    }
}

/* The largest k with P(W <= k - 1) <= tail: the interval runs from the k-th smallest to the k-th largest average. */
static int64_t exact_cut(int64_t n, double tail, double *outside)
{
    int64_t low = 0, high = n * (n + 1) / 4 + 1; /* P(W <= low - 1) <= tail < P(W <= high - 1) */
    while (high - low > 1) {
        const int64_t middle = (low + high) / 2;
        if (dg_wilcoxon_cdf((double)(middle - 1), n) <= tail)
            low = middle;
        else
            high = middle;
    }
    *outside = low < 1 ? 0 : dg_wilcoxon_cdf((double)(low - 1), n);
    return low;
}

static int64_t normal_cut(int64_t n, double tail)
{
    const double m = (double)n;
    return (int64_t)floor(0.25 * m * (m + 1) + dg_normal_quantile(tail) * sqrt(m * (m + 1) * (2 * m + 1) / 24));
}

static void find_interval(const double *sorted, int64_t n, double level, dg_hodges_lehmann *out)
{
    const double tail = 0.5 * (1 - level);
    double outside = tail;
    const int64_t all = n * (n + 1) / 2;
    const int64_t cut = out->exact ? exact_cut(n, tail, &outside) : normal_cut(n, tail);
    if (cut < 1) return;
    out->interval.low = order_statistic(sorted, n, cut);
    out->interval.high = order_statistic(sorted, n, all + 1 - cut);
    out->coverage = 1 - 2 * outside;
}

dg_status dg_hodges_lehmann_shift(const double *difference, int64_t n, double level, dg_hodges_lehmann *out)
{
    double *sorted;
    *out = (dg_hodges_lehmann){NAN, {NAN, NAN}, NAN, n <= DG_WILCOXON_EXACT_MAX};
    if (!(level > 0 && level < 1) || n < 1)
        return DG_FAIL(DG_ERR_USAGE,
                       "Hodges-Lehmann shift of %lld differences at level %g; give 1 or more and 0 < level < 1",
                       (long long)n, level);
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(difference[i]) <= 1e150))
            return DG_FAIL(DG_ERR_NUMERIC, "difference %lld of %lld is %g; a finite one below 1e150 is needed",
                           (long long)i + 1, (long long)n, difference[i]);
    DG_TRY(DG_NEW(&sorted, n, "sorted differences"));
    memcpy(sorted, difference, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, ascending);
    const int64_t all = n * (n + 1) / 2;
    out->shift = order_statistic(sorted, n, (all + 1) / 2);
    if (all % 2 == 0) out->shift = 0.5 * (out->shift + order_statistic(sorted, n, all / 2 + 1));
    find_interval(sorted, n, level, out);
    dg_free(&sorted);
    return DG_OK;
}

/* ---- seeds -------------------------------------------------------------------------------------------------------- */

dg_seed_rule dg_seed_rule_judge(const double *difference, int64_t seeds)
{
    dg_seed_rule rule = {.seeds = seeds,
                         .effect = dg_mean(difference, seeds),
                         .std = dg_std(difference, seeds),
                         .std_low = NAN,
                         .std_high = NAN,
                         .ratio = NAN};
    if (seeds < 2) return rule;
    const double freedom = (double)(seeds - 1);
    rule.std_low = rule.std * sqrt(freedom / dg_chi_square_quantile(0.975, freedom));
    rule.std_high = rule.std * sqrt(freedom / dg_chi_square_quantile(0.025, freedom));
    rule.passed = fabs(rule.effect) > 2 * rule.std;
    if (rule.std > 0 || rule.effect != 0) rule.ratio = fabs(rule.effect) / rule.std;
    return rule;
}
