/* dg_distributions.c - see dg_distributions.h. Incomplete gamma and beta functions by series and continued fractions
 * (Abramowitz & Stegun 6.5.29, 6.5.31, 26.5.8; modified Lentz evaluation). SPDX-License-Identifier: Apache-2.0 */
#include "dg_distributions.h"

#include <float.h>
#include <math.h>

enum { TERMS_MAX = 10000 };

double dg_normal_cdf(double x) { return 0.5 * erfc(-x / sqrt(2)); }

double dg_normal_quantile(double p)
{
    if (!(p >= 0 && p <= 1)) return NAN;
    if (p == 0 || p == 1) return p == 0 ? -INFINITY : INFINITY;
    if (p > 0.5) return -dg_normal_quantile(1 - p); /* the lower tail is the exact one */
    double low = -40, high = 0;
    while (high - low > 1e-3) {
        double middle = 0.5 * (low + high);
        if (dg_normal_cdf(middle) < p)
            low = middle;
        else
            high = middle;
    }
    double x = 0.5 * (low + high);
    for (int i = 0; i < 4; i++) { /* Newton: quadratic from 1e-3 */
        double density = exp(-0.5 * x * x) / sqrt(2 * acos(-1.0));
        if (density > 0) x -= (dg_normal_cdf(x) - p) / density;
    }
    return x;
}

static double not_zero(double x) { return fabs(x) < DBL_MIN ? DBL_MIN : x; }

/* P(a, x) by its series for x < a + 1, Q(a, x) by its continued fraction beyond. */
static double gamma_lower(double a, double x)
{
    double scale = exp(a * log(x) - x - lgamma(a));
    if (x < a + 1) {
        double term = 1 / a, sum = term;
        for (int n = 1; n < TERMS_MAX && term > sum * DBL_EPSILON / 4; n++) {
            term *= x / (a + n);
            sum += term;
        }
        return sum * scale;
    }
    double b = x + 1 - a, c = 1 / DBL_MIN, d = 1 / b, fraction = d;
    for (int n = 1; n < TERMS_MAX; n++) {
        double factor = -n * (n - a);
        b += 2;
        d = 1 / not_zero(factor * d + b);
        c = not_zero(b + factor / c);
        fraction *= d * c;
        if (fabs(d * c - 1) < DBL_EPSILON) break;
    }
    return 1 - scale * fraction;
}

/* Continued fraction of the incomplete beta function. */
static double beta_fraction(double a, double b, double x)
{
    double c = 1, d = 1 / not_zero(1 - (a + b) * x / (a + 1)), fraction = d;
    for (int n = 1; n < TERMS_MAX; n++) {
        double even = n * (b - n) * x / ((a + 2 * n - 1) * (a + 2 * n));
        double odd = -(a + n) * (a + b + n) * x / ((a + 2 * n) * (a + 2 * n + 1));
        d = 1 / not_zero(1 + even * d);
        c = not_zero(1 + even / c);
        fraction *= c * d;
        d = 1 / not_zero(1 + odd * d);
        c = not_zero(1 + odd / c);
        fraction *= c * d;
        if (fabs(c * d - 1) < DBL_EPSILON) break;
    }
    return fraction;
}

/* I_x(a, b); y = 1 - x is given apart, since it may be tiny. */
static double beta_lower(double a, double b, double x, double y)
{
    if (x <= 0) return 0;
    if (y <= 0) return 1;
    double scale = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log(y));
    if (x < (a + 1) / (a + b + 2)) return scale * beta_fraction(a, b, x) / a;
    return 1 - scale * beta_fraction(b, a, y) / b;
}

double dg_student_two_sided(double t, double freedom)
{
    if (isnan(t) || !(freedom > 0)) return NAN;
    if (isinf(t)) return 0;
    double square = t * t;
    return beta_lower(0.5 * freedom, 0.5, freedom / (freedom + square), square / (freedom + square));
}

double dg_chi_square_cdf(double x, double freedom)
{
    if (isnan(x) || !(freedom > 0)) return NAN;
    return x <= 0 ? 0 : gamma_lower(0.5 * freedom, 0.5 * x);
}

double dg_chi_square_quantile(double p, double freedom)
{
    if (!(p > 0 && p < 1 && freedom > 0)) return NAN;
    double low = 0, high = freedom + 10;
    while (dg_chi_square_cdf(high, freedom) < p && high < 1e300) high *= 2;
    for (int i = 0; i < 2000; i++) { /* until no number lies between */
        double middle = low + 0.5 * (high - low);
        if (middle <= low || middle >= high) break;
        if (dg_chi_square_cdf(middle, freedom) < p)
            low = middle;
        else
            high = middle;
    }
    return high;
}
