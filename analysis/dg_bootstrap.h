/* dg_bootstrap.h - intervals by resampling patients. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_BOOTSTRAP_H
#define DG_BOOTSTRAP_H

#include "dg_status.h"

#include <stdint.h>

typedef struct dg_interval {
    double low, high;
} dg_interval;

/* Interval of sum(numerator) / sum(denominator) over patients drawn with replacement: a mean over patients when every
 * denominator is 1, a pooled mean when it counts a patient's values. `level` in (0, 1), e.g. 0.95; percentiles are
 * linear. Resample r is drawn from the Philox stream (seed, DG_RNG_BOOTSTRAP, r). NaN for fewer than 2 patients.
 * Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13. */
DG_MUST_USE dg_status dg_bootstrap_ratio(const double *numerator, const double *denominator, int64_t patients,
                                         int64_t resamples, uint64_t seed, double level, dg_interval *out);

/* PERCENTILE as above. BCA: bias-corrected and accelerated (Efron, JASA 82, 1987; the acceleration from the jackknife).
 * AUTO: BCA below 20 patients, PERCENTILE from there on. */
typedef enum dg_bootstrap_method { DG_BOOTSTRAP_AUTO, DG_BOOTSTRAP_PERCENTILE, DG_BOOTSTRAP_BCA } dg_bootstrap_method;
enum { DG_BOOTSTRAP_BCA_BELOW = 20 };
const char *dg_bootstrap_method_name(dg_bootstrap_method method); /* "percentile", "bca" */
/* The method that AUTO stands for. */
dg_bootstrap_method dg_bootstrap_choose(dg_bootstrap_method method, int64_t patients);

/* Interval of the mean of value[patients], same streams and same limits as dg_bootstrap_ratio. Where all values are equal, both
 * ends are that value. */
DG_MUST_USE dg_status dg_bootstrap_mean(const double *value, int64_t patients, dg_bootstrap_method method,
                                        int64_t resamples, uint64_t seed, double level, dg_interval *out);

/* The reference tool's interval: percentiles of means drawn with the Mersenne Twister, the same indices (golden README section
 * 8). For `compat: upstream` only. One patient gives its value twice, none NaN. */
DG_MUST_USE dg_status dg_bootstrap_mean_upstream(const double *value, int64_t patients, int64_t resamples,
                                                 uint32_t seed, double level, dg_interval *out);

/* MT19937 (Matsumoto & Nishimura, ACM TOMACS 8, 1998), as init_genrand seeds it. */
enum { DG_MT19937_WORDS = 624 };
typedef struct dg_mt19937 {
    uint32_t word[DG_MT19937_WORDS];
    int used;
} dg_mt19937;
void dg_mt19937_seed(dg_mt19937 *generator, uint32_t seed);
uint32_t dg_mt19937_next(dg_mt19937 *generator);
/* 0 .. count - 1: the next number's low bits, drawn again while too large; count = 1 draws nothing. 1 <= count <= 2^32 - 1. */
int64_t dg_mt19937_index(dg_mt19937 *generator, int64_t count);

#endif
