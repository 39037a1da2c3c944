/* dg_wilcoxon.h - Wilcoxon's signed-rank test of paired differences, two-sided, with every choice stated.
 * Sources: Wilcoxon, Biometrics Bulletin 1, 1945; Pratt, JASA 54, 1959; Hollander & Wolfe, Nonparametric Statistical Methods, 3.1.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_WILCOXON_H
#define DG_WILCOXON_H

#include "dg_status.h"

#include <stdbool.h>
#include <stdint.h>

/* AUTO: EXACT without ties and zeros for n <= 50; SIGN_FLIPS with ties or zeros for n <= 13; else NORMAL. n counts zeros.
 * EXACT: the distribution of untied ranks (a tied statistic is rounded to the safe side). SIGN_FLIPS: all 2^n signs of the
 * ranks there are. NORMAL: with tie correction. NONE: no difference is other than zero, p = 1. */
typedef enum dg_wilcoxon_method {
    DG_WILCOXON_AUTO,
    DG_WILCOXON_EXACT,
    DG_WILCOXON_SIGN_FLIPS,
    DG_WILCOXON_NORMAL,
    DG_WILCOXON_NONE
} dg_wilcoxon_method;
const char *dg_wilcoxon_method_name(dg_wilcoxon_method method); /* "exact", "sign_flips", "normal", "no_difference" */

enum { DG_WILCOXON_EXACT_MAX = 50, DG_WILCOXON_FLIPS_MAX = 13, DG_WILCOXON_PAIRS_MAX = 1000000 };

typedef struct dg_wilcoxon_params {
    dg_wilcoxon_method method;
    bool pratt;      /* zeros take part in the ranking and are then dropped; else they are dropped first (Wilcoxon) */
    bool continuity; /* NORMAL: the statistic moves by 1/2 towards its mean */
} dg_wilcoxon_params;

typedef struct dg_wilcoxon {
    dg_wilcoxon_method method; /* that was used */
    int64_t n, n_zero, n_ties; /* pairs; zero differences; differences whose size another one shares */
    double r_plus, r_minus;    /* sums of the ranks of positive and negative differences */
    double statistic;          /* the smaller one */
    double z;                  /* NORMAL: -|z|; else NaN */
    double p;                  /* 0 < p <= 1 */
    double p_smallest;         /* the p that this n and method would give if all differences had one sign */
} dg_wilcoxon;

/* `difference[n]`, n >= 1. Ties are equal numbers, to the bit. DG_ERR_NUMERIC names a difference that is not finite;
 * DG_ERR_USAGE: EXACT or SIGN_FLIPS asked for beyond 1000 pairs, n outside 1 .. DG_WILCOXON_PAIRS_MAX. */
DG_MUST_USE dg_status dg_wilcoxon_test(const double *difference, int64_t n, const dg_wilcoxon_params *params,
                                       dg_wilcoxon *out);

/* P(W <= w) of the signed-rank statistic of n untied differences, 0 <= n <= 1000; NaN beyond or without memory. */
double dg_wilcoxon_cdf(double w, int64_t n);

#endif
