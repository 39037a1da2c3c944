/* gamma_summary.c - pass rates, means and medians of gamma maps. SPDX-License-Identifier: Apache-2.0 */
#include "dg_gamma.h"
#include "dg_mem.h"

#include <math.h>
#include <stdlib.h>

enum { GAMMA_UNIT = 1 << 20 };

dg_gamma_summary dg_gamma_summary_init(void) { return (dg_gamma_summary){.max = NAN}; }

static bool counts(const float *gamma, const uint64_t *bits, uint64_t which, int64_t voxel)
{
    return !isnan(gamma[voxel]) && (bits == NULL || (bits[voxel] & which) != 0);
}

void dg_gamma_summary_add(dg_gamma_summary *summary, const float *gamma, const uint64_t *bits, uint64_t which,
                          int64_t voxels)
{
    for (int64_t i = 0; i < voxels; i++) {
        if (!counts(gamma, bits, which, i)) continue;
        summary->evaluated++;
        summary->passed += gamma[i] <= 1.0f;
        summary->sum_q20 += llrint((double)gamma[i] * GAMMA_UNIT);
        if (!(gamma[i] <= summary->max)) summary->max = gamma[i];
    }
}

void dg_gamma_summary_merge(dg_gamma_summary *into, const dg_gamma_summary *from)
{
    into->evaluated += from->evaluated;
    into->passed += from->passed;
    into->sum_q20 += from->sum_q20;
    if (isnan(into->max) || from->max > into->max) into->max = from->max;
}

double dg_gamma_summary_pass_percent(const dg_gamma_summary *summary)
{
    return summary->evaluated == 0 ? (double)NAN : 100.0 * (double)summary->passed / (double)summary->evaluated;
}

double dg_gamma_summary_mean(const dg_gamma_summary *summary)
{
    return summary->evaluated == 0 ? (double)NAN : (double)summary->sum_q20 / GAMMA_UNIT / (double)summary->evaluated;
}

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

dg_status dg_gamma_median(const float *gamma, const uint64_t *bits, uint64_t which, int64_t voxels, double *median)
{
    int64_t count = 0;
    float *values;
    for (int64_t i = 0; i < voxels; i++) count += counts(gamma, bits, which, i);
    *median = NAN;
    if (count == 0) return DG_OK;
    DG_TRY(DG_NEW(&values, count, "gamma values"));
    count = 0;
    for (int64_t i = 0; i < voxels; i++)
        if (counts(gamma, bits, which, i)) values[count++] = gamma[i];
    qsort(values, (size_t)count, sizeof *values, by_value);
    *median = 0.5 * ((double)values[(count - 1) / 2] + (double)values[count / 2]);
    dg_free(&values);
    return DG_OK;
}
