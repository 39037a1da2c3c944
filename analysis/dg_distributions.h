/* dg_distributions.h - the few distributions that the statistics need, in double, from libm alone: relative errors below 1e-12
 * where the value is not smaller than 1e-300.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_DISTRIBUTIONS_H
#define DG_DISTRIBUTIONS_H

/* Standard normal: P(Z <= x), and x with P(Z <= x) = p for 0 < p < 1 (-+INFINITY at 0 and 1, NaN outside). */
double dg_normal_cdf(double x);
double dg_normal_quantile(double p);
/* P(|T| >= |t|) of Student's t with `freedom` > 0 degrees. */
double dg_student_two_sided(double t, double freedom);
/* Chi-square with `freedom` > 0 degrees: P(X <= x), and its inverse for 0 < p < 1. */
double dg_chi_square_cdf(double x, double freedom);
double dg_chi_square_quantile(double p, double freedom);

#endif
