/* dg_calibration.c - see dg_calibration.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_calibration.h"

#include <math.h>

static const double PARTS = 1048576;

static int64_t parts(double value) { return llround(value * PARTS); }

/* The stretch low .. high of 0 .. 1 over the bins it lies in. */
static void add_stretch(double low, double high, int64_t pit[DG_PIT_BINS])
{
    for (int b = 0; b < DG_PIT_BINS; b++) {
        const double from = fmax(low, (double)b / DG_PIT_BINS), to = fmin(high, (double)(b + 1) / DG_PIT_BINS);
        if (to > from) pit[b] += parts((to - from) / (high - low));
    }
}

static double mean_of(const float *value, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += (double)value[i];
    return sum / (double)count;
}

dg_calibration dg_calibration_voxel(const float *sorted, int64_t members, double dose_gy)
{
    dg_calibration one = {.voxels = 1};
    const double n = (double)members, mean = mean_of(sorted, members);
    double distance = 0, pairs = 0, squares = 0;
    int64_t below = 0, equal = 0;
    for (int64_t i = 0; i < members; i++) {
        const double x = (double)sorted[i];
        below += x < dose_gy;
        equal += x == dose_gy;
        distance += fabs(x - dose_gy);
        pairs += (double)(2 * i + 1 - members) * x; /* x is the larger one of i pairs, the smaller one of the others */
        squares += (x - mean) * (x - mean);
    }
    add_stretch((double)below / (n + 1), (double)(below + equal + 1) / (n + 1), one.pit);
    one.crps_gy = parts(distance / n - (members > 1 ? pairs / (n * (n - 1)) : 0));
    one.variance_gy2 = parts(members > 1 ? squares / (n - 1) : 0);
    return one;
}

void dg_calibration_know(dg_calibration *voxel, const float *sorted, int64_t members, double mean_gy, double std_gy)
{
    const double error = mean_of(sorted, members) - mean_gy;
    voxel->true_voxels = 1;
    voxel->true_variance_gy2 = parts(std_gy * std_gy);
    voxel->known_variance_gy2 = voxel->variance_gy2;
    voxel->mean_error_gy = parts(fabs(error));
    voxel->mean_error_gy2 = parts(error * error);
}

void dg_calibration_merge(dg_calibration *into, const dg_calibration *from)
{
    into->voxels += from->voxels;
    for (int b = 0; b < DG_PIT_BINS; b++) into->pit[b] += from->pit[b];
    into->crps_gy += from->crps_gy;
    into->variance_gy2 += from->variance_gy2;
    into->true_voxels += from->true_voxels;
    into->true_variance_gy2 += from->true_variance_gy2;
    into->known_variance_gy2 += from->known_variance_gy2;
    into->mean_error_gy += from->mean_error_gy;
    into->mean_error_gy2 += from->mean_error_gy2;
}

static double average(int64_t sum, int64_t voxels)
{
    return voxels > 0 ? (double)sum / PARTS / (double)voxels : (double)NAN;
}

double dg_calibration_crps_gy(const dg_calibration *sums) { return average(sums->crps_gy, sums->voxels); }

double dg_calibration_coverage(const dg_calibration *sums, int percent)
{
    const int out = (100 - percent) * DG_PIT_BINS / 200;
    int64_t inside = 0;
    for (int b = out; b < DG_PIT_BINS - out; b++) inside += sums->pit[b];
    return average(inside, sums->voxels);
}

double dg_calibration_spread_gy(const dg_calibration *sums) { return sqrt(average(sums->variance_gy2, sums->voxels)); }

double dg_calibration_true_spread_gy(const dg_calibration *sums)
{
    return sqrt(average(sums->true_variance_gy2, sums->true_voxels));
}

double dg_calibration_spread_ratio(const dg_calibration *sums)
{
    if (sums->true_variance_gy2 <= 0) return (double)NAN;
    return sqrt((double)sums->known_variance_gy2 / (double)sums->true_variance_gy2);
}

double dg_calibration_mean_error_gy(const dg_calibration *sums)
{
    return average(sums->mean_error_gy, sums->true_voxels);
}

double dg_calibration_mean_rmse_gy(const dg_calibration *sums)
{
    return sqrt(average(sums->mean_error_gy2, sums->true_voxels));
}
