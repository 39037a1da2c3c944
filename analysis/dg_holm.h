/* dg_holm.h - Holm's correction for several tests. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_HOLM_H
#define DG_HOLM_H

#include "dg_status.h"

#include <stdbool.h>
#include <stdint.h>

/* adjusted[i] and significant[i] of p[count]; a NaN p is no test: it is not counted, its adjusted value is NaN. Equal p keep
 * their order. Textbook (Holm, Scandinavian Journal of Statistics 6, 1979): the i-th smallest of m is compared with
 * alpha / (m - i + 1) and the first that fails ends all; adjusted values never fall.
 * `upstream`: the reference tool's rule (golden README quirk 10): no stop, no running maximum, adjusted values rounded to six
 * decimals. It is not Holm's and serves comparison only. 0 < alpha < 1, else DG_ERR_USAGE; DG_ERR_DATA: p outside 0..1. */
DG_MUST_USE dg_status dg_holm(const double *p, int64_t count, double alpha, bool upstream, double *adjusted,
                              bool *significant);

/* `value` rounded to `decimals` as Python's round() does: half to even of the exact number. */
double dg_round_decimals(double value, int decimals);

#endif
