/* dg_bootstrap.h - percentile intervals by resampling patients. SPDX-License-Identifier: Apache-2.0 */
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

#endif
