/* dg_effect.h - how large a paired difference is: mean, Cohen's d_z, Hodges-Lehmann shift with interval, and how it stands
 * against the spread over seeds. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_EFFECT_H
#define DG_EFFECT_H

#include "dg_bootstrap.h"
#include "dg_status.h"

#include <stdbool.h>
#include <stdint.h>

/* Mean and standard deviation (ddof 1; NaN for one value) of value[n]; NaN for none. */
double dg_mean(const double *value, int64_t n);
double dg_std(const double *value, int64_t n);
/* The median (the mean of the middle two); NaN for none. Sorts value in place. */
double dg_median(double *value, int64_t n);

/* d_z = mean / standard deviation of the paired differences (Cohen 1988, 2.3.5). NaN where the deviation is 0 or unknown. */
double dg_cohen_dz(const double *difference, int64_t n);

/* The median of the n (n + 1) / 2 Walsh averages, and the interval that inverts the signed-rank test (Hollander & Wolfe 3.2,
 * 3.3): ends are order statistics of the Walsh averages. EXACT distribution for n <= 50, NORMAL beyond. */
typedef struct dg_hodges_lehmann {
    double shift;
    dg_interval interval; /* NaN where no interval of this level exists (n <= 5 at 95 %) */
    double
        coverage; /* of the exact interval for untied differences; the nominal level under NORMAL; NaN without interval */
    bool exact;
} dg_hodges_lehmann;
/* DG_ERR_USAGE: level outside (0, 1), n < 1; DG_ERR_NUMERIC: a difference that is not finite or beyond 1e150. */
DG_MUST_USE dg_status dg_hodges_lehmann_shift(const double *difference, int64_t n, double level,
                                              dg_hodges_lehmann *out);

/* The rule of three seeds: is an effect more than twice as large as what the seeds alone do? difference[s] is the mean over
 * patients of A - B with seed s in both. `std` has ddof 1; [std_low, std_high] is its 95 % range under normality
 * (std sqrt((S - 1) / chi-square quantile)): with three seeds it spans 0.52 to 6.3 times the value. */
typedef struct dg_seed_rule {
    int64_t seeds;
    double effect, std, std_low, std_high; /* NaN for fewer than 2 seeds */
    double ratio;                          /* |effect| / std; INFINITY where the seeds do not differ at all */
    bool passed;                           /* |effect| > 2 std */
} dg_seed_rule;
dg_seed_rule dg_seed_rule_judge(const double *difference, int64_t seeds);

#endif
