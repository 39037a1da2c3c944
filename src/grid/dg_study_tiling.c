/* dg_study_tiling.c - see dg_study_tiling.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_study_tiling.h"

#include "dg_mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

dg_status dg_study_windows(const int64_t shape[3], const int64_t patch[3], int64_t overlap, dg_box **boxes,
                           int64_t *count)
{
    int64_t starts[3];
    *boxes = NULL;
    *count = 0;
    for (int a = 0; a < 3; a++) {
        if (patch[a] < 1 || patch[a] > shape[a] || overlap < 0 || overlap >= patch[a])
            return DG_FAIL(DG_ERR_USAGE,
                           "a window of %lld voxels with an overlap of %lld on an axis of %lld; the study's stitching "
                           "wants overlap < window <= axis",
                           (long long)patch[a], (long long)overlap, (long long)shape[a]);
        starts[a] = (shape[a] - patch[a]) / (patch[a] - overlap) + 1;
    }
    DG_TRY(DG_NEW(boxes, starts[0] * starts[1] * starts[2], "windows"));
    for (int64_t z = 0; z < starts[0]; z++)
        for (int64_t y = 0; y < starts[1]; y++)
            for (int64_t x = 0; x < starts[2]; x++) {
                const int64_t at[3] = {z, y, x};
                dg_box *box = &(*boxes)[(*count)++];
                for (int a = 0; a < 3; a++) {
                    box->start[a] = at[a] * (patch[a] - overlap);
                    box->shape[a] = patch[a];
                }
            }
    return DG_OK;
}

static float along(int64_t i, int64_t n) { return (float)((double)(i < n - 1 - i ? i : n - 1 - i) / ((double)n / 2)); }

void dg_study_window_weight(const int64_t patch[3], float *weight)
{
    for (int64_t z = 0; z < patch[0]; z++)
        for (int64_t y = 0; y < patch[1]; y++)
            for (int64_t x = 0; x < patch[2]; x++)
                *weight++ = fminf(along(z, patch[0]), fminf(along(y, patch[1]), along(x, patch[2])));
}

void dg_study_window_add(const int64_t shape[3], const dg_box *box, const float *weight, const float *values,
                         float *sum, float *total)
{
    for (int64_t z = 0; z < box->shape[0]; z++)
        for (int64_t y = 0; y < box->shape[1]; y++) {
            const int64_t at = ((box->start[0] + z) * shape[1] + box->start[1] + y) * shape[2] + box->start[2];
            for (int64_t x = 0; x < box->shape[2]; x++, weight++, values++) {
                sum[at + x] += *weight * *values;
                total[at + x] += *weight;
            }
        }
}

void dg_study_window_finish(int64_t count, float *sum, const float *total)
{
    for (int64_t i = 0; i < count; i++) sum[i] /= total[i] + 1e-8f;
}

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static float percentile(const float *sorted, int64_t count, double share)
{
    const double rank = share * (double)(count - 1);
    const int64_t below = (int64_t)rank, above = below + 1 < count ? below + 1 : below;
    return (float)(sorted[below] + (rank - (double)below) * ((double)sorted[above] - sorted[below]));
}

dg_status dg_study_normalise(int64_t count, float *values)
{
    float *sorted;
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(values[i])) return DG_FAIL(DG_ERR_DATA, "voxel %lld of the volume is not finite", (long long)i);
    if (count < 1) return DG_FAIL(DG_ERR_DATA, "a volume without voxels");
    DG_TRY(DG_NEW(&sorted, count, "sorted values"));
    memcpy(sorted, values, (size_t)count * sizeof *values);
    qsort(sorted, (size_t)count, sizeof *sorted, by_value);
    const float low = percentile(sorted, count, 0.005), high = percentile(sorted, count, 0.995);
    dg_free(&sorted);
    if (!(high > low))
        return DG_FAIL(DG_ERR_DATA, "99 of 100 voxels of the volume have the value %g; there is nothing to scale",
                       (double)low);
    for (int64_t i = 0; i < count; i++) values[i] = (fminf(fmaxf(values[i], low), high) - low) / (high - low);
    return DG_OK;
}
