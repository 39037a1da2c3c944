/* dg_rank_correlation.h - Spearman's rank correlation with its p value. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_RANK_CORRELATION_H
#define DG_RANK_CORRELATION_H

#include "dg_status.h"

#include <stdbool.h>
#include <stdint.h>

enum { DG_SPEARMAN_EXACT_MAX = 9 };

/* rho of average ranks; p two-sided: EXACT over all n! orders of the ranks there are (ties included) for n <= 9, else Student's t
 * with n - 2 degrees (Kendall & Stuart, 31.19). p_smallest is the p of a perfect correlation of n untied pairs. */
typedef struct dg_spearman {
    int64_t n;                 /* pairs of two numbers; pairs with a NaN are left out */
    double rho, p, p_smallest; /* NaN for fewer than 4 pairs, or where one of the two never changes */
    bool exact;
} dg_spearman;
DG_MUST_USE dg_status dg_spearman_test(const double *x, const double *y, int64_t count, dg_spearman *out);

#endif
