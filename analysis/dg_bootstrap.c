/* dg_bootstrap.c - see dg_bootstrap.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_bootstrap.h"
#include "dg_distributions.h"
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

static dg_status check_arguments(int64_t resamples, double level)
{
    if (!(level > 0 && level < 1) || resamples < 1)
        return DG_FAIL(DG_ERR_USAGE, "bootstrap with level %g and %lld resamples; give 0 < level < 1 and 1 or more",
                       level, (long long)resamples);
    return DG_OK;
}

/* Ratios of the resamples, unsorted; returns how many have a denominator. denominator NULL: every one is 1. */
static int64_t resample(const double *numerator, const double *denominator, int64_t patients, int64_t resamples,
                        uint64_t seed, double *value)
{
    int64_t kept = 0;
    for (int64_t r = 0; r < resamples; r++) {
        dg_rng rng = dg_rng_stream(seed, DG_RNG_BOOTSTRAP, (uint64_t)r, 0);
        double above = 0, below = 0;
        for (int64_t i = 0; i < patients; i++) {
            int64_t k = dg_rng_below(&rng, patients);
            above += numerator[k];
            below += denominator == NULL ? 1 : denominator[k];
        }
        if (below > 0) value[kept++] = above / below;
    }
    return kept;
}

static dg_interval percentiles(double *value, int64_t count, double low, double high)
{
    qsort(value, (size_t)count, sizeof *value, ascending);
    return (dg_interval){percentile(value, count, low), percentile(value, count, high)};
}

dg_status dg_bootstrap_ratio(const double *numerator, const double *denominator, int64_t patients, int64_t resamples,
                             uint64_t seed, double level, dg_interval *out)
{
    double *value;
    *out = (dg_interval){NAN, NAN};
    DG_TRY(check_arguments(resamples, level));
    if (patients < 2) return DG_OK;
    DG_TRY(DG_NEW(&value, resamples, "bootstrap resamples"));
    int64_t kept = resample(numerator, denominator, patients, resamples, seed, value);
    if (kept > 0) *out = percentiles(value, kept, 0.5 * (1 - level), 1 - 0.5 * (1 - level));
    dg_free(&value);
    return DG_OK;
}

/* ---- means of patients -------------------------------------------------------------------------------------------- */

const char *dg_bootstrap_method_name(dg_bootstrap_method method)
{
    static const char *const name[] = {"auto", "percentile", "bca"};
    return name[method];
}

dg_bootstrap_method dg_bootstrap_choose(dg_bootstrap_method method, int64_t patients)
{
    if (method != DG_BOOTSTRAP_AUTO) return method;
    return patients < DG_BOOTSTRAP_BCA_BELOW ? DG_BOOTSTRAP_BCA : DG_BOOTSTRAP_PERCENTILE;
}

/* Third over second moment of the jackknife: for a mean its deviations are those of the values. */
static double acceleration(const double *value, int64_t n, double mean)
{
    double square = 0, cube = 0;
    for (int64_t i = 0; i < n; i++) {
        const double off = (value[i] - mean) / (double)(n - 1);
        square += off * off;
        cube += off * off * off;
    }
    return square > 0 ? cube / (6 * pow(square, 1.5)) : 0;
}

/* The share of the resamples where BCa reads the end that would be at normal deviate z. */
static double corrected_share(double bias, double a, double z)
{
    const double shifted = bias + z;
    return dg_normal_cdf(bias + shifted / (1 - a * shifted));
}

static dg_interval bca(const double *value, int64_t n, double *mean_of, int64_t resamples, double level)
{
    double mean = 0, below = 0;
    for (int64_t i = 0; i < n; i++) mean += value[i];
    mean /= (double)n;
    for (int64_t r = 0; r < resamples; r++) below += mean_of[r] < mean ? 1 : mean_of[r] == mean ? 0.5 : 0;
    const double rest = 0.5 / (double)resamples; /* resamples on one side only: as if half a one lay on the other */
    const double bias = dg_normal_quantile(fmin(fmax(below / (double)resamples, rest), 1 - rest));
    const double a = acceleration(value, n, mean), z = dg_normal_quantile(0.5 * (1 - level));
    return percentiles(mean_of, resamples, corrected_share(bias, a, z), corrected_share(bias, a, -z));
}

dg_status dg_bootstrap_mean(const double *value, int64_t patients, dg_bootstrap_method method, int64_t resamples,
                            uint64_t seed, double level, dg_interval *out)
{
    double *mean_of;
    bool equal = true;
    *out = (dg_interval){NAN, NAN};
    DG_TRY(check_arguments(resamples, level));
    if (patients < 2) return DG_OK;
    for (int64_t i = 1; i < patients; i++) equal = equal && value[i] == value[0];
    if (equal) {
        *out = (dg_interval){value[0], value[0]};
        return DG_OK;
    }
    DG_TRY(DG_NEW(&mean_of, resamples, "bootstrap resamples"));
    resample(value, NULL, patients, resamples, seed, mean_of);
    if (dg_bootstrap_choose(method, patients) == DG_BOOTSTRAP_BCA)
        *out = bca(value, patients, mean_of, resamples, level);
    else
        *out = percentiles(mean_of, resamples, 0.5 * (1 - level), 1 - 0.5 * (1 - level));
    dg_free(&mean_of);
    return DG_OK;
}

/* ---- the reference tool's ----------------------------------------------------------------------------------------- */

void dg_mt19937_seed(dg_mt19937 *generator, uint32_t seed)
{
    uint32_t *word = generator->word;
    word[0] = seed;
    for (uint32_t i = 1; i < DG_MT19937_WORDS; i++)
        word[i] = UINT32_C(1812433253) * (word[i - 1] ^ (word[i - 1] >> 30)) + i;
    generator->used = DG_MT19937_WORDS;
}

static void twist(uint32_t word[DG_MT19937_WORDS])
{
    for (int i = 0; i < DG_MT19937_WORDS; i++) {
        const uint32_t both =
            (word[i] & UINT32_C(0x80000000)) | (word[(i + 1) % DG_MT19937_WORDS] & UINT32_C(0x7fffffff));
        word[i] = word[(i + 397) % DG_MT19937_WORDS] ^ (both >> 1) ^ ((both & 1) != 0 ? UINT32_C(0x9908b0df) : 0);
    }
}

uint32_t dg_mt19937_next(dg_mt19937 *generator)
{
    if (generator->used >= DG_MT19937_WORDS) {
        twist(generator->word);
        generator->used = 0;
    }
    uint32_t y = generator->word[generator->used++];
    y ^= y >> 11;
    y ^= (y << 7) & UINT32_C(0x9d2c5680);
    y ^= (y << 15) & UINT32_C(0xefc60000);
    return y ^ (y >> 18);
}

int64_t dg_mt19937_index(dg_mt19937 *generator, int64_t count)
{
    const uint32_t last = (uint32_t)(count - 1);
    uint32_t mask = last, drawn;
    if (last == 0) return 0;
    for (int shift = 1; shift < 32; shift *= 2) mask |= mask >> shift;
    do drawn = dg_mt19937_next(generator) & mask;
    while (drawn > last);
    return (int64_t)drawn;
}

dg_status dg_bootstrap_mean_upstream(const double *value, int64_t patients, int64_t resamples, uint32_t seed,
                                     double level, dg_interval *out)
{
    double *mean_of;
    dg_mt19937 generator;
    *out = (dg_interval){NAN, NAN};
    DG_TRY(check_arguments(resamples, level));
    if (patients == 1) *out = (dg_interval){value[0], value[0]};
    if (patients < 2) return DG_OK;
    DG_TRY(DG_NEW(&mean_of, resamples, "bootstrap resamples"));
    dg_mt19937_seed(&generator, seed);
    for (int64_t r = 0; r < resamples; r++) {
        double sum = 0;
        for (int64_t i = 0; i < patients; i++) sum += value[dg_mt19937_index(&generator, patients)];
        mean_of[r] = sum / (double)patients;
    }
    const double alpha = 1 - level;
    *out = percentiles(mean_of, resamples, alpha / 2, 1 - alpha / 2);
    dg_free(&mean_of);
    return DG_OK;
}
