/* dg_dvh.c - see dg_dvh.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_dvh.h"
#include "dg_mem.h"
#include "dvh_impl.h"

#include <math.h>
#include <string.h>

static float value_of(uint32_t key)
{
    float value;
    const uint32_t bits = key >> 31 != 0 ? key & 0x7fffffffu : ~key;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Ascending, by three passes over 11 bits each. */
dg_status dg_dvh_sort(float *values, int64_t count)
{
    enum { PASSES = 3, BITS = 11, BINS = 1 << BITS };
    static const char *const WHAT = "sorted doses";
    uint32_t *from, *to;
    DG_TRY(DG_NEW(&from, count, WHAT));
    dg_status status = DG_NEW(&to, count, WHAT);
    for (int64_t i = 0; i < count && status == DG_OK; i++) from[i] = dg_float_key(values[i]);
    for (int pass = 0; pass < PASSES && status == DG_OK; pass++) {
        int64_t at[BINS + 1] = {0};
        const int shift = pass * BITS;
        for (int64_t i = 0; i < count; i++) at[(from[i] >> shift & (BINS - 1)) + 1]++;
        for (int b = 0; b < BINS; b++) at[b + 1] += at[b];
        for (int64_t i = 0; i < count; i++) to[at[from[i] >> shift & (BINS - 1)]++] = from[i];
        uint32_t *swap = from;
        from = to;
        to = swap;
    }
    for (int64_t i = 0; i < count && status == DG_OK; i++) values[i] = value_of(from[i]);
    dg_free(&from);
    dg_free(&to);
    return status;
}

dg_status dg_dvh_create(const float *dose_gy, const uint64_t *masks, uint64_t bits, int64_t voxels, double voxel_mm3,
                        dg_dvh *out)
{
    int64_t count = 0;
    *out = (dg_dvh){.voxel_mm3 = voxel_mm3};
    for (int64_t i = 0; i < voxels; i++) count += (masks[i] & bits) != 0;
    DG_TRY(DG_NEW(&out->dose_gy, count, "doses of a structure"));
    for (int64_t i = 0; i < voxels; i++) {
        if ((masks[i] & bits) == 0) continue;
        if (!isfinite(dose_gy[i])) {
            dg_dvh_release(out);
            return DG_FAIL(DG_ERR_NUMERIC, "the dose of voxel %lld is %g Gy; a structure's doses must be finite",
                           (long long)i, (double)dose_gy[i]);
        }
        out->dose_gy[out->count++] = dose_gy[i];
    }
    dg_status status = dg_dvh_sort(out->dose_gy, count);
    if (status != DG_OK) dg_dvh_release(out);
    return status;
}

void dg_dvh_release(dg_dvh *dvh)
{
    dg_free(&dvh->dose_gy);
    dvh->count = 0;
}

/* The k-th largest dose, k = 1 .. count. */
static double kth_largest(const dg_dvh *dvh, double k)
{
    int64_t rank = (int64_t)fmin(fmax(ceil(k - 1e-9), 1), (double)dvh->count);
    return dvh->dose_gy[dvh->count - rank];
}

double dg_dvh_dose_at_percent(const dg_dvh *dvh, double percent, dg_dvh_rule rule)
{
    if (dvh->count == 0) return NAN;
    switch (rule) {
    case DG_DVH_ICRU: return kth_largest(dvh, percent / 100 * (double)dvh->count);
    case DG_DVH_LOWER: {
        double index = floor((double)(dvh->count - 1) * (100 - percent) / 100);
        return dvh->dose_gy[(int64_t)fmin(fmax(index, 0), (double)(dvh->count - 1))];
    }
    case DG_DVH_LINEAR: return dg_dvh_percentile(dvh, 100 - percent);
    }
    return NAN;
}

double dg_dvh_dose_at_cc(const dg_dvh *dvh, double cc)
{
    double voxels = cc * 1000 / dvh->voxel_mm3;
    if (dvh->count == 0 || voxels > (double)dvh->count * (1 + 1e-12)) return NAN;
    return kth_largest(dvh, voxels);
}

double dg_dvh_percentile(const dg_dvh *dvh, double percentile)
{
    if (dvh->count == 0) return NAN;
    double at = fmin(fmax(percentile, 0), 100) / 100 * (double)(dvh->count - 1);
    int64_t low = (int64_t)floor(at);
    if (low >= dvh->count - 1) return dvh->dose_gy[dvh->count - 1];
    double a = dvh->dose_gy[low], b = dvh->dose_gy[low + 1];
    return a + (b - a) * (at - (double)low);
}

int64_t dg_dvh_voxels_at(const dg_dvh *dvh, double dose_gy)
{
    int64_t low = 0, high = dvh->count; /* first voxel that receives at least dose_gy */
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if ((double)dvh->dose_gy[middle] >= dose_gy)
            high = middle;
        else
            low = middle + 1;
    }
    return dvh->count - low;
}

double dg_dvh_volume_percent(const dg_dvh *dvh, double dose_gy)
{
    return dvh->count == 0 ? NAN : 100 * (double)dg_dvh_voxels_at(dvh, dose_gy) / (double)dvh->count;
}

double dg_dvh_volume_cc(const dg_dvh *dvh, double dose_gy)
{
    return dg_dvh_volume_percent(dvh, dose_gy) / 100 * dg_dvh_total_cc(dvh);
}

double dg_dvh_total_cc(const dg_dvh *dvh) { return dvh->count == 0 ? NAN : (double)dvh->count * dvh->voxel_mm3 / 1000; }

double dg_dvh_mean(const dg_dvh *dvh)
{
    double sum = 0;
    for (int64_t i = 0; i < dvh->count; i++) sum += dvh->dose_gy[i];
    return dvh->count == 0 ? NAN : sum / (double)dvh->count;
}

double dg_dvh_min(const dg_dvh *dvh) { return dvh->count == 0 ? NAN : dvh->dose_gy[0]; }
double dg_dvh_max(const dg_dvh *dvh) { return dvh->count == 0 ? NAN : dvh->dose_gy[dvh->count - 1]; }
