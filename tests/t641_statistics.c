/* ctest: libs=dg_analysis,dg_base label=unit timeout=120 */
/* t641_statistics.c - distributions, signed-rank tests, Holm, shifts, bootstrap and rank correlation against known values,
 * brute force and properties. SPDX-License-Identifier: Apache-2.0 */
#include "dg_bootstrap.h"
#include "dg_check.h"
#include "dg_distributions.h"
#include "dg_effect.h"
#include "dg_holm.h"
#include "dg_rank_correlation.h"
#include "dg_rng.h"
#include "dg_wilcoxon.h"

static void near_relative(double got, double want, double tolerance)
{
    DG_CHECK_NEAR(got, want, tolerance * fabs(want));
}

/* Values of SciPy 1.17. */
static void test_distributions(void)
{
    near_relative(dg_normal_cdf(-8), 6.220960574271784e-16, 1e-12);
    near_relative(dg_normal_quantile(0.025), -1.9599639845400545, 1e-13);
    near_relative(dg_normal_quantile(0.975), 1.9599639845400545, 1e-13);
    near_relative(dg_normal_quantile(1e-12), -7.034483825301132, 1e-12);
    DG_CHECK(dg_normal_quantile(0.5) == 0 || fabs(dg_normal_quantile(0.5)) < 1e-15);
    DG_CHECK(isinf(dg_normal_quantile(0)) && isnan(dg_normal_quantile(1.5)));
    near_relative(dg_student_two_sided(2.5705818356363146, 5), 0.05, 1e-13);
    near_relative(dg_student_two_sided(-12, 1), 2 / acos(-1.0) * atan(1.0 / 12), 1e-13);
    near_relative(dg_student_two_sided(0.001, 1000), 0.9992023150184528, 1e-13);
    DG_CHECK(dg_student_two_sided(0, 3) == 1 && dg_student_two_sided(INFINITY, 3) == 0);
    near_relative(dg_chi_square_cdf(2, 2), 1 - exp(-1), 1e-13);
    near_relative(dg_chi_square_quantile(0.975, 2), -2 * log(0.025), 1e-12);
    near_relative(dg_chi_square_quantile(0.025, 2), -2 * log(0.975), 1e-12);
    near_relative(dg_chi_square_quantile(0.95, 10), 18.307038053275146, 1e-11);
    for (double p = 0.001; p < 1; p += 0.0371) {
        near_relative(dg_normal_cdf(dg_normal_quantile(p)), p, 1e-13);
        near_relative(dg_chi_square_cdf(dg_chi_square_quantile(p, 7), 7), p, 1e-11);
    }
}

static dg_wilcoxon test_of(const double *difference, int64_t n, dg_wilcoxon_method method)
{
    dg_wilcoxon w;
    const dg_wilcoxon_params params = {.method = method};
    DG_CHECK_OK(dg_wilcoxon_test(difference, n, &params, &w));
    return w;
}

/* p over all signs of the differences, with the ranks worked out anew. */
static double brute_p(const double *difference, int n)
{
    double rank[16], plus = 0;
    int low = 0, high = 0, total = 0;
    for (int i = 0; i < n; i++) {
        double smaller = 0, same = 0;
        for (int k = 0; k < n; k++) {
            if (difference[k] == 0) continue;
            smaller += fabs(difference[k]) < fabs(difference[i]);
            same += fabs(difference[k]) == fabs(difference[i]);
        }
        rank[i] = difference[i] == 0 ? 0 : smaller + 0.5 * (same + 1);
        plus += difference[i] > 0 ? rank[i] : 0;
    }
    for (int signs = 0; signs < 1 << n; signs++) {
        double sum = 0;
        for (int i = 0; i < n; i++) sum += (signs >> i & 1) != 0 ? rank[i] : 0;
        total++;
        low += sum <= plus;
        high += sum >= plus;
    }
    return fmin(1, 2.0 * (low < high ? low : high) / total);
}

static void test_wilcoxon(void)
{
    double difference[60];
    const double up[7] = {1, 2, 3, 4, 5, 6, 7};
    dg_wilcoxon w = test_of(up, 7, DG_WILCOXON_AUTO);
    DG_CHECK(w.method == DG_WILCOXON_EXACT && w.p == 0.015625 && w.p_smallest == 0.015625 && w.r_plus == 28);
    for (int trial = 0; trial < 400; trial++) {
        dg_rng rng = dg_rng_stream(1, DG_RNG_TEST, (uint64_t)trial, 0);
        const int n = 1 + (int)dg_rng_below(&rng, 12);
        for (int i = 0; i < n; i++)
            difference[i] = trial % 2 == 0 ? dg_rng_normal(&rng) + 0.5 : (double)dg_rng_below(&rng, 7) - 2;
        w = test_of(difference, n, DG_WILCOXON_AUTO);
        near_relative(w.p, brute_p(difference, n), 1e-12);
        DG_CHECK(w.p > 0 && w.p <= 1 && w.p >= w.p_smallest);
        DG_CHECK(w.n == n && (w.method == DG_WILCOXON_NONE) == (w.n_zero == n));
    }
    for (int trial = 0; trial < 200;
         trial++) { /* large and tied: p stays in (0, 1], and sign and order do not matter */
        dg_rng rng = dg_rng_stream(2, DG_RNG_TEST, (uint64_t)trial, 0);
        const int n = 14 + (int)dg_rng_below(&rng, 46);
        for (int i = 0; i < n; i++) difference[i] = (double)dg_rng_below(&rng, 5) - (trial % 3);
        w = test_of(difference, n, DG_WILCOXON_AUTO);
        DG_CHECK(w.p > 0 && w.p <= 1 && w.n_zero + w.n_ties <= n);
        const double p = w.p;
        for (int i = 0; i < n / 2; i++) {
            const double kept = difference[i];
            difference[i] = -difference[n - 1 - i];
            difference[n - 1 - i] = -kept;
        }
        if (n % 2 == 1) difference[n / 2] = -difference[n / 2];
        near_relative(test_of(difference, n, DG_WILCOXON_AUTO).p, p, 1e-12);
    }
    for (int i = 0; i < 60; i++) difference[i] = i + 1;
    near_relative(test_of(difference, 50, DG_WILCOXON_EXACT).p, ldexp(1, -49), 1e-12);
    DG_CHECK(test_of(difference, 51, DG_WILCOXON_AUTO).method == DG_WILCOXON_NORMAL);
    near_relative(dg_wilcoxon_cdf(5, 4), 9.0 / 16, 1e-15);
    near_relative(dg_wilcoxon_cdf(9, 4), 15.0 / 16, 1e-15);
    DG_CHECK(dg_wilcoxon_cdf(-1, 4) == 0 && dg_wilcoxon_cdf(10, 4) == 1 && isnan(dg_wilcoxon_cdf(1, 1001)));
    difference[3] = NAN;
    const dg_wilcoxon_params params = {.method = DG_WILCOXON_AUTO};
    DG_CHECK_FAILS(dg_wilcoxon_test(difference, 60, &params, &w), DG_ERR_NUMERIC, "difference 4 of 60");
    DG_CHECK_FAILS(dg_wilcoxon_test(difference, 0, &params, &w), DG_ERR_USAGE, "0 pairs");
}

/* Holm is the closed test of Bonferroni's: a hypothesis falls when every set that holds it falls. */
static bool closed_test(const double *p, int m, int i, double alpha)
{
    for (int set = 0; set < 1 << m; set++) {
        double smallest = 2;
        int size = 0;
        if ((set >> i & 1) == 0) continue;
        for (int k = 0; k < m; k++) {
            if ((set >> k & 1) == 0) continue;
            size++;
            smallest = fmin(smallest, p[k]);
        }
        if (smallest > alpha / size) return false;
    }
    return true;
}

static void test_holm(void)
{
    double p[8], adjusted[8];
    bool significant[8];
    int differs = 0;
    for (int trial = 0; trial < 3000; trial++) {
        dg_rng rng = dg_rng_stream(3, DG_RNG_TEST, (uint64_t)trial, 0);
        const int m = 1 + (int)dg_rng_below(&rng, 6);
        for (int i = 0; i < m; i++) p[i] = 0.08 * dg_rng_uniform(&rng);
        DG_CHECK_OK(dg_holm(p, m, 0.05, false, adjusted, significant));
        for (int i = 0; i < m; i++) {
            DG_CHECK(significant[i] == closed_test(p, m, i, 0.05));
            DG_CHECK(significant[i] == (adjusted[i] <= 0.05) && adjusted[i] >= p[i] && adjusted[i] <= 1);
            for (int k = 0; k < m; k++) DG_CHECK(!(p[i] < p[k]) || adjusted[i] <= adjusted[k]);
        }
        /* the reference's rule is another one: this check would fail if the textbook's were replaced by it */
        DG_CHECK_OK(dg_holm(p, m, 0.05, true, adjusted, significant));
        for (int i = 0; i < m; i++) differs += significant[i] != closed_test(p, m, i, 0.05);
    }
    DG_CHECK(differs > 30);
    p[0] = NAN, p[1] = 0.03, p[2] = 0.04;
    DG_CHECK_OK(dg_holm(p, 3, 0.05, false, adjusted, significant));
    DG_CHECK(isnan(adjusted[0]) && !significant[0] && adjusted[1] == 0.06 && adjusted[2] == 0.06);
    p[0] = 1.5;
    DG_CHECK_FAILS(dg_holm(p, 3, 0.05, false, adjusted, significant), DG_ERR_DATA, "p value 1 is 1.5");
    DG_CHECK_FAILS(dg_holm(p, 3, 0, false, adjusted, significant), DG_ERR_USAGE, "alpha is 0");
    DG_CHECK(dg_round_decimals(2.5, 0) == 2 && dg_round_decimals(-0.12345, 4) == -0.1235);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The shift and its ends are order statistics of the averages, listed one by one; the ends are where the test turns. */
static void test_shift(void)
{
    double difference[30], average[30 * 31 / 2], moved[30];
    dg_hodges_lehmann h;
    for (int trial = 0; trial < 200; trial++) {
        dg_rng rng = dg_rng_stream(4, DG_RNG_TEST, (uint64_t)trial, 0);
        const int n = 1 + (int)dg_rng_below(&rng, 30);
        int count = 0;
        for (int i = 0; i < n; i++)
            difference[i] = trial % 3 == 0 ? (double)dg_rng_below(&rng, 5) - 2 : 10 * dg_rng_normal(&rng);
        for (int i = 0; i < n; i++)
            for (int k = i; k < n; k++) average[count++] = 0.5 * (difference[i] + difference[k]);
        qsort(average, (size_t)count, sizeof *average, ascending);
        DG_CHECK_OK(dg_hodges_lehmann_shift(difference, n, 0.95, &h));
        DG_CHECK(h.shift ==
                 (count % 2 == 1 ? average[count / 2] : 0.5 * (average[count / 2 - 1] + average[count / 2])));
        DG_CHECK(isnan(h.interval.low) == (n <= 5) && isnan(h.coverage) == (n <= 5));
        if (n <= 5 || trial % 3 == 0) continue;
        DG_CHECK(h.exact && h.coverage >= 0.95 && h.coverage < 0.98 && h.interval.low < h.shift &&
                 h.shift < h.interval.high);
        for (int side = 0; side < 2;
             side++) { /* just inside the interval the test does not reject, just outside it does */
            const double end = side == 0 ? h.interval.low : h.interval.high, step = side == 0 ? 1e-9 : -1e-9;
            for (int i = 0; i < n; i++) moved[i] = difference[i] - (end + step);
            DG_CHECK(test_of(moved, n, DG_WILCOXON_AUTO).p > 0.05);
            for (int i = 0; i < n; i++) moved[i] = difference[i] - (end - step);
            DG_CHECK(test_of(moved, n, DG_WILCOXON_AUTO).p <= 0.05);
        }
    }
    difference[0] = INFINITY;
    DG_CHECK_FAILS(dg_hodges_lehmann_shift(difference, 3, 0.95, &h), DG_ERR_NUMERIC, "difference 1 of 3");
    DG_CHECK_FAILS(dg_hodges_lehmann_shift(difference, 0, 0.95, &h), DG_ERR_USAGE, "0 differences");
}

static void test_effect(void)
{
    const double d[4] = {1, 2, 3, 6}, flat[3] = {2, 2, 2}, three[3] = {0.4, 0.5, 0.9};
    DG_CHECK_NEAR(dg_cohen_dz(d, 4), 3 / sqrt(14.0 / 3), 1e-15);
    DG_CHECK(isnan(dg_cohen_dz(flat, 3)) && isnan(dg_std(d, 1)) && isnan(dg_mean(d, 0)));
    double even[4] = {4, 1, 3, 2};
    DG_CHECK(dg_median(even, 4) == 2.5 && dg_median(even, 3) == 2);
    dg_seed_rule rule = dg_seed_rule_judge(three, 3);
    DG_CHECK_NEAR(rule.effect, 0.6, 1e-15);
    DG_CHECK_NEAR(rule.std, sqrt(0.07), 1e-15);
    DG_CHECK(rule.passed && rule.ratio > 2);
    near_relative(rule.std_low / rule.std, sqrt(-1 / log(0.025)), 1e-12);
    near_relative(rule.std_high / rule.std, sqrt(-1 / log(0.975)), 1e-12);
    rule = dg_seed_rule_judge(three, 1);
    DG_CHECK(!rule.passed && isnan(rule.std) && isnan(rule.ratio));
    DG_CHECK(isinf(dg_seed_rule_judge(flat, 3).ratio) && dg_seed_rule_judge(flat, 3).passed);
}

static void test_bootstrap(void)
{
    const double value[8] = {1, 2, 2, 3, 3, 4, 9, 20}, one[8] = {1, 1, 1, 1, 1, 1, 1, 1}, flat[3] = {5, 5, 5};
    dg_interval ratio, percentile, bca, again;
    DG_CHECK_OK(dg_bootstrap_ratio(value, one, 8, 4000, 7, 0.95, &ratio));
    DG_CHECK_OK(dg_bootstrap_mean(value, 8, DG_BOOTSTRAP_PERCENTILE, 4000, 7, 0.95, &percentile));
    DG_CHECK(ratio.low == percentile.low && ratio.high == percentile.high);
    DG_CHECK_OK(dg_bootstrap_mean(value, 8, DG_BOOTSTRAP_AUTO, 4000, 7, 0.95, &bca));
    DG_CHECK_OK(dg_bootstrap_mean(value, 8, DG_BOOTSTRAP_BCA, 4000, 7, 0.95, &again));
    DG_CHECK(bca.low == again.low && bca.high == again.high);
    /* skewed to the right: both ends move up. SciPy 1.17, bootstrap(method="BCa"), 2 10^5 resamples: 2.75, 12.25 */
    DG_CHECK(bca.low > percentile.low && bca.high > percentile.high);
    DG_CHECK_NEAR(bca.low, 2.75, 0.13);
    DG_CHECK_NEAR(bca.high, 12.25, 0.5);
    DG_CHECK(dg_bootstrap_choose(DG_BOOTSTRAP_AUTO, 19) == DG_BOOTSTRAP_BCA);
    DG_CHECK(dg_bootstrap_choose(DG_BOOTSTRAP_AUTO, 20) == DG_BOOTSTRAP_PERCENTILE);
    DG_CHECK_OK(dg_bootstrap_mean(flat, 3, DG_BOOTSTRAP_BCA, 100, 7, 0.95, &bca));
    DG_CHECK(bca.low == 5 && bca.high == 5);
    DG_CHECK_OK(dg_bootstrap_mean(flat, 1, DG_BOOTSTRAP_AUTO, 100, 7, 0.95, &bca));
    DG_CHECK(isnan(bca.low) && isnan(bca.high));
    DG_CHECK_FAILS(dg_bootstrap_mean(value, 8, DG_BOOTSTRAP_AUTO, 0, 7, 0.95, &bca), DG_ERR_USAGE, "0 resamples");
    dg_mt19937 generator; /* the published test: 10,000th output of seed 5489 */
    dg_mt19937_seed(&generator, 5489);
    for (int i = 0; i < 9999; i++) dg_mt19937_next(&generator);
    DG_CHECK(dg_mt19937_next(&generator) == UINT32_C(4123659995));
}

static void test_correlation(void)
{
    const double x[7] = {1, 2, 3, 4, 5, 6, 7}, y[7] = {10, 20, 30, 40, 50, 60, 70}, z[7] = {2, 1, 4, 3, 6, 7, 5};
    const double tied[6] = {1, 1, 2, 2, 3, 3}, gap[7] = {1, NAN, 3, 4, NAN, 6, 7};
    double many[12], other[12];
    dg_spearman s;
    DG_CHECK_OK(dg_spearman_test(x, y, 7, &s));
    DG_CHECK(s.rho == 1 && s.exact && s.n == 7);
    near_relative(s.p, 2.0 / 5040, 1e-12);
    DG_CHECK(s.p == s.p_smallest);
    DG_CHECK_OK(dg_spearman_test(x, z, 7, &s));
    near_relative(s.rho, 1 - 6 * 10.0 / (7 * 48), 1e-12); /* squared rank differences: 1 1 1 1 1 1 4 */
    DG_CHECK_OK(dg_spearman_test(x, gap, 7, &s));
    DG_CHECK(s.n == 5 && s.rho == 1);
    near_relative(s.p, 2.0 / 120, 1e-12);
    DG_CHECK_OK(dg_spearman_test(tied, tied, 6, &s));
    near_relative(s.p, 2.0 * 8 / 720, 1e-12); /* 2^3 orders of the same values, and as many reversed */
    DG_CHECK_OK(dg_spearman_test(x, tied, 3, &s));
    DG_CHECK(isnan(s.rho) && isnan(s.p) && s.n == 3);
    const double constant[5] = {1, 1, 1, 1, 1};
    DG_CHECK_OK(dg_spearman_test(x, constant, 5, &s));
    DG_CHECK(isnan(s.rho) && isnan(s.p));
    for (int i = 0; i < 12; i++) many[i] = i, other[i] = (i * 5) % 12;
    DG_CHECK_OK(dg_spearman_test(many, other, 12, &s));
    const double t = s.rho * sqrt(10 / (1 - s.rho * s.rho));
    DG_CHECK(!s.exact);
    near_relative(s.p, dg_student_two_sided(t, 10), 1e-12);
}

int main(void)
{
    test_distributions();
    test_wilcoxon();
    test_holm();
    test_shift();
    test_effect();
    test_bootstrap();
    test_correlation();
    return 0;
}
