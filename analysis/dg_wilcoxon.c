/* dg_wilcoxon.c - see dg_wilcoxon.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_wilcoxon.h"
#include "dg_mem.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

enum { DISTRIBUTION_MAX = 1000 };

const char *dg_wilcoxon_method_name(dg_wilcoxon_method method)
{
    static const char *const name[] = {"auto", "exact", "sign_flips", "normal", "no_difference"};
    return name[method];
}

typedef struct sized {
    double size; /* |difference| */
    double rank;
    int sign;
} sized;

static int by_size(const void *a, const void *b)
{
    double x = ((const sized *)a)->size, y = ((const sized *)b)->size;
    return (x > y) - (x < y);
}

/* Sums over the ranks of one test. */
typedef struct ranking {
    sized *item; /* [count] sorted, without the dropped zeros */
    int64_t count, n_zero, n_ties;
    double r_plus, r_minus, tie_cubes; /* tie_cubes: sum of t^3 - t over groups of equals that are not zero */
} ranking;

/* Average ranks of equals. `first` zeros are ranked but not summed (Pratt), or were dropped before. */
static void rank(ranking *r)
{
    for (int64_t i = 0; i < r->count;) {
        int64_t end = i + 1;
        while (end < r->count && r->item[end].size == r->item[i].size) end++;
        const double ties = (double)(end - i), average = 0.5 * (double)(i + 1 + end);
        for (int64_t k = i; k < end; k++) {
            r->item[k].rank = average;
            if (r->item[k].sign > 0) r->r_plus += average;
            if (r->item[k].sign < 0) r->r_minus += average;
        }
        if (r->item[i].size > 0) {
            r->tie_cubes += ties * (ties * ties - 1);
            if (end - i > 1) r->n_ties += end - i;
        }
        i = end;
    }
}

static dg_status make_ranking(const double *difference, int64_t n, bool pratt, ranking *r)
{
    *r = (ranking){0};
    DG_TRY(DG_NEW(&r->item, n, "ranks"));
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(difference[i])) {
            dg_free(&r->item);
            return DG_FAIL(DG_ERR_NUMERIC, "difference %lld of %lld is %g; the signed-rank test needs finite numbers",
                           (long long)i + 1, (long long)n, difference[i]);
        }
        r->n_zero += difference[i] == 0;
        if (difference[i] == 0 && !pratt) continue;
        r->item[r->count++] = (sized){fabs(difference[i]), 0, (difference[i] > 0) - (difference[i] < 0)};
    }
    qsort(r->item, (size_t)r->count, sizeof *r->item, by_size);
    rank(r);
    return DG_OK;
}

/* share[s]: probability that the doubled ranks of random signs sum to s, for s <= top. Doubled, since average ranks may end
 * in a half. item[i] of `count` have doubled[i]. */
static void add_signs(double *share, int64_t top, int64_t doubled)
{
    for (int64_t s = top; s >= 0; s--) share[s] = 0.5 * (share[s] + (s >= doubled ? share[s - doubled] : 0));
}

double dg_wilcoxon_cdf(double w, int64_t n)
{
    double *share, sum = 0;
    int64_t all = n * (n + 1) / 2;
    if (n < 0 || n > DISTRIBUTION_MAX || isnan(w)) return NAN;
    if (w < 0) return 0;
    if (w >= (double)all) return 1;
    int64_t top = (int64_t)floor(w);
    if (2 * top > all) return 1 - dg_wilcoxon_cdf((double)(all - top - 1), n); /* the smaller tail is the exact one */
    if (DG_NEW(&share, top + 1, "signed-rank distribution") != DG_OK) return NAN;
    share[0] = 1;
    for (int64_t k = 1; k <= n; k++) add_signs(share, top, k);
    for (int64_t s = 0; s <= top; s++) sum += share[s];
    dg_free(&share);
    return sum;
}

/* P(smaller sum <= statistic) over all signs of these ranks, times two. */
static dg_status sign_flips(const ranking *r, double statistic, double *p)
{
    double *share, sum = 0;
    const int64_t top = (int64_t)llround(2 * statistic);
    DG_TRY(DG_NEW(&share, top + 1, "sign-flip distribution"));
    share[0] = 1;
    for (int64_t i = 0; i < r->count; i++)
        if (r->item[i].sign != 0) add_signs(share, top, (int64_t)llround(2 * r->item[i].rank));
    for (int64_t s = 0; s <= top; s++) sum += share[s];
    dg_free(&share);
    *p = fmin(1, 2 * sum);
    return DG_OK;
}

/* z of a sum of positive ranks. The variance loses a term for every group of equals, and for Pratt's zeros. */
static double normal_z(const ranking *r, const dg_wilcoxon_params *params, double r_plus)
{
    const double n = (double)r->count, zeros = params->pratt ? (double)r->n_zero : 0;
    const double mean = 0.25 * (n * (n + 1) - zeros * (zeros + 1));
    const double variance =
        (n * (n + 1) * (2 * n + 1) - zeros * (zeros + 1) * (2 * zeros + 1) - 0.5 * r->tie_cubes) / 24;
    const double off = r_plus - mean;
    if (!(variance > 0)) return NAN;
    const double step = params->continuity && off != 0 ? copysign(0.5, off) : 0;
    return (off - step) / sqrt(variance);
}

static double two_sided(double z) { return fmax(erfc(fabs(z) / sqrt(2)), DBL_MIN); }

static dg_wilcoxon_method choose(const ranking *r, int64_t n, dg_wilcoxon_method wanted)
{
    if (r->n_zero == n) return DG_WILCOXON_NONE;
    if (wanted != DG_WILCOXON_AUTO) return wanted;
    if (r->n_zero == 0 && r->n_ties == 0) return n <= DG_WILCOXON_EXACT_MAX ? DG_WILCOXON_EXACT : DG_WILCOXON_NORMAL;
    return n <= DG_WILCOXON_FLIPS_MAX ? DG_WILCOXON_SIGN_FLIPS : DG_WILCOXON_NORMAL;
}

static dg_status judge(const ranking *r, const dg_wilcoxon_params *params, dg_wilcoxon *out)
{
    const double all = out->r_plus + out->r_minus;
    switch (out->method) {
    case DG_WILCOXON_EXACT:
        out->p = fmin(1, 2 * dg_wilcoxon_cdf(ceil(out->statistic), r->count));
        out->p_smallest = fmin(1, ldexp(1, 1 - (int)r->count));
        break;
    case DG_WILCOXON_SIGN_FLIPS:
        DG_TRY(sign_flips(r, out->statistic, &out->p));
        out->p_smallest = fmin(1, ldexp(1, 1 - (int)(out->n - out->n_zero)));
        break;
    case DG_WILCOXON_NORMAL:
        out->z = -fabs(normal_z(r, params, out->r_plus));
        out->p = two_sided(out->z);
        out->p_smallest = two_sided(normal_z(r, params, all));
        break;
    case DG_WILCOXON_AUTO:
    case DG_WILCOXON_NONE: break;
    }
    return DG_OK;
}

dg_status dg_wilcoxon_test(const double *difference, int64_t n, const dg_wilcoxon_params *params, dg_wilcoxon *out)
{
    ranking r;
    *out = (dg_wilcoxon){.n = n, .z = NAN, .p = 1, .p_smallest = 1};
    if (n < 1 || n > DG_WILCOXON_PAIRS_MAX)
        return DG_FAIL(DG_ERR_USAGE, "signed-rank test of %lld pairs; 1 to %d are possible", (long long)n,
                       DG_WILCOXON_PAIRS_MAX);
    if ((params->method == DG_WILCOXON_EXACT || params->method == DG_WILCOXON_SIGN_FLIPS) && n > DISTRIBUTION_MAX)
        return DG_FAIL(DG_ERR_USAGE, "%s signed-rank test of %lld pairs; up to %d are possible, or the normal method",
                       dg_wilcoxon_method_name(params->method), (long long)n, DISTRIBUTION_MAX);
    DG_TRY(make_ranking(difference, n, params->pratt, &r));
    out->method = choose(&r, n, params->method);
    out->n_zero = r.n_zero;
    out->n_ties = r.n_ties;
    out->r_plus = r.r_plus;
    out->r_minus = r.r_minus;
    out->statistic = fmin(r.r_plus, r.r_minus);
    dg_status status = judge(&r, params, out);
    dg_free(&r.item);
    return status;
}
