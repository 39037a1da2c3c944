/* dg_baseline.c - see dg_baseline.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_baseline.h"
#include "dg_mem.h"

#include <math.h>

/* Upper edges of the distance bins in mm, fine at the surface where the dose falls off. */
static const float edge_mm[] = {-12, -8, -5, -3, -1, 1, 3, 5, 8, 11, 15, 20, 26, 33, 41, 50, 62, 76};
enum {
    EDGES = sizeof edge_mm / sizeof *edge_mm,
    ABSENT = EDGES + 1, /* bin of a target that the case lacks; EDGES is "farther than the last edge" */
    BINS = EDGES + 2,
    CELLS = BINS * BINS * BINS,
    NEAREST = DG_BASELINE_TARGETS * BINS + 1, /* which target is nearest, and its bin; the last: no target at all */
    LEVELS = 1 + NEAREST + CELLS
};
static const double unit = 1048576, limit_gy = 1e4;

/* For the constant, the nearest-target table and the full table, one after the other: sum of dose, number of voxels. */
struct dg_baseline {
    int64_t data[2 * LEVELS];
};

dg_status dg_baseline_create(dg_baseline **out) { return DG_NEW(out, 1, "baseline table"); }

void dg_baseline_destroy(dg_baseline **baseline) { dg_free(baseline); }

int64_t *dg_baseline_data(dg_baseline *baseline, int64_t *count)
{
    *count = 2 * LEVELS;
    return baseline->data;
}

static int bin_of(const float *sdf_mm, int64_t i)
{
    if (sdf_mm == NULL) return ABSENT;
    int low = 0, high = EDGES;
    while (low < high) {
        int middle = (low + high) / 2;
        if (sdf_mm[i] < edge_mm[middle])
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The two table entries of a voxel, as indices into LEVELS. */
static void entries_of(const dg_baseline_case *c, int64_t i, int *nearest, int *cell)
{
    int bin[DG_BASELINE_TARGETS], best = -1;
    for (int t = 0; t < DG_BASELINE_TARGETS; t++) {
        bin[t] = bin_of(c->sdf_mm[t], i);
        if (c->sdf_mm[t] != NULL && (best < 0 || c->sdf_mm[t][i] < c->sdf_mm[best][i])) best = t;
    }
    *nearest = 1 + (best < 0 ? NEAREST - 1 : best * BINS + bin[best]);
    *cell = 1 + NEAREST + (bin[0] * BINS + bin[1]) * BINS + bin[2];
}

static void count_dose(dg_baseline *b, int entry, int64_t parts)
{
    b->data[2 * entry] += parts;
    b->data[2 * entry + 1]++;
}

dg_status dg_baseline_add(dg_baseline *baseline, const dg_baseline_case *c)
{
    for (int64_t i = 0; i < c->voxels; i++) {
        if (c->use != NULL && c->use[i] == 0) continue;
        if (!(fabs((double)c->dose_gy[i]) <= limit_gy))
            return DG_FAIL(DG_ERR_NUMERIC,
                           "the dose of voxel %lld is %g Gy; a training dose must be finite and below %g", (long long)i,
                           (double)c->dose_gy[i], limit_gy);
        int nearest, cell;
        int64_t parts = llround(c->dose_gy[i] * unit);
        entries_of(c, i, &nearest, &cell);
        count_dose(baseline, 0, parts);
        count_dose(baseline, nearest, parts);
        count_dose(baseline, cell, parts);
    }
    return DG_OK;
}

/* Mean of an entry, drawn towards `prior_gy` as if that had been seen `weight` times. */
static double mean_gy(const dg_baseline *b, int entry, double prior_gy, double weight)
{
    double sum = (double)b->data[2 * entry] / unit, count = (double)b->data[2 * entry + 1];
    return (sum + weight * prior_gy) / (count + weight);
}

double dg_baseline_constant_gy(const dg_baseline *baseline)
{
    return baseline->data[1] == 0 ? NAN : mean_gy(baseline, 0, 0, 0);
}

static dg_status check_learned(const dg_baseline *b)
{
    if (b->data[1] == 0)
        return DG_FAIL(DG_ERR_DATA, "the baseline has seen no training voxel; name training cases that have a dose");
    return DG_OK;
}

dg_status dg_baseline_predict_constant(const dg_baseline *baseline, const dg_baseline_case *c, float *dose_gy)
{
    DG_TRY(check_learned(baseline));
    const float constant = (float)dg_baseline_constant_gy(baseline);
    for (int64_t i = 0; i < c->voxels; i++) dose_gy[i] = c->use == NULL || c->use[i] != 0 ? constant : 0;
    return DG_OK;
}

dg_status dg_baseline_predict_table(const dg_baseline *baseline, const dg_baseline_case *c, float *dose_gy)
{
    DG_TRY(check_learned(baseline));
    const double constant = dg_baseline_constant_gy(baseline);
    for (int64_t i = 0; i < c->voxels; i++) {
        int nearest, cell;
        dose_gy[i] = 0;
        if (c->use != NULL && c->use[i] == 0) continue;
        entries_of(c, i, &nearest, &cell);
        double coarse = mean_gy(baseline, nearest, constant, DG_BASELINE_PRIOR);
        dose_gy[i] = (float)mean_gy(baseline, cell, coarse, DG_BASELINE_PRIOR);
    }
    return DG_OK;
}
