/* dg_bootstrap.c - see dg_bootstrap.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_bootstrap.h"
#include "dg_mem.h"
#include "dg_rng.h"

#include <math.h>
#include <stdlib.h>

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(const double *sorted, int64_t n, double share)
{
    double at = share * (double)(n - 1);
    int64_t low = (int64_t)floor(at);
    return low >= n - 1 ? sorted[n - 1] : sorted[low] + (sorted[low + 1] - sorted[low]) * (at - (double)low);
}

dg_status dg_bootstrap_ratio(const double *numerator, const double *denominator, int64_t patients, int64_t resamples,
                             uint64_t seed, double level, dg_interval *out)
{
    double *value;
    int64_t kept = 0;
    *out = (dg_interval){NAN, NAN};
    if (!(level > 0 && level < 1) || resamples < 1)
        return DG_FAIL(DG_ERR_USAGE, "bootstrap with level %g and %lld resamples; give 0 < level < 1 and 1 or more",
                       level, (long long)resamples);
    if (patients < 2) return DG_OK;
    DG_TRY(DG_NEW(&value, resamples, "bootstrap resamples"));
    for (int64_t r = 0; r < resamples; r++) {
        dg_rng rng = dg_rng_stream(seed, DG_RNG_BOOTSTRAP, (uint64_t)r, 0);
        double above = 0, below = 0;
        for (int64_t i = 0; i < patients; i++) {
            int64_t k = dg_rng_below(&rng, patients);
            above += numerator[k];
            below += denominator[k];
        }
        if (below > 0) value[kept++] = above / below;
    }
    if (kept > 0) {
        qsort(value, (size_t)kept, sizeof *value, ascending);
        out->low = percentile(value, kept, 0.5 * (1 - level));
        out->high = percentile(value, kept, 1 - 0.5 * (1 - level));
    }
    dg_free(&value);
    return DG_OK;
}
