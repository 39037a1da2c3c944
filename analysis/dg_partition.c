/* dg_partition.c - see dg_partition.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_partition.h"

#include "dg_mem.h"

#include <math.h>
#include <stdlib.h>

static int by_value(const void *a, const void *b)
{
    const uint64_t p = *(const uint64_t *)a, q = *(const uint64_t *)b;
    return (p > q) - (p < q);
}

/* Sum of n log2 n over the runs of equal values >> shift of a sorted list. */
static double sum_of_runs(const uint64_t *value, int64_t count, int shift)
{
    double sum = 0;
    for (int64_t i = 0; i < count;) {
        int64_t end = i + 1;
        while (end < count && value[end] >> shift == value[i] >> shift) end++;
        sum += (double)(end - i) * log2((double)(end - i));
        i = end;
    }
    return sum;
}

dg_status dg_partition_compare(const uint32_t *predicted, const uint32_t *label, int64_t voxels, dg_information *out)
{
    uint64_t *pair = NULL;
    int64_t count = 0;
    *out = (dg_information){0, 0, 0};
    for (int64_t i = 0; i < voxels; i++) out->voxels += predicted[i] != 0 || label[i] != 0;
    if (out->voxels == 0) return DG_OK;
    DG_TRY(DG_NEW(&pair, out->voxels, "pairs of components"));
    for (int64_t i = 0; i < voxels; i++)
        if (predicted[i] != 0 || label[i] != 0) pair[count++] = (uint64_t)predicted[i] << 32 | label[i];
    qsort(pair, (size_t)count, sizeof *pair, by_value);
    const double both = sum_of_runs(pair, count, 0), of_predicted = sum_of_runs(pair, count, 32);
    for (int64_t i = 0; i < count; i++) pair[i] = pair[i] << 32 | pair[i] >> 32;
    qsort(pair, (size_t)count, sizeof *pair, by_value);
    const double of_label = sum_of_runs(pair, count, 32);
    /* H(a | b) = (sum of n_b log n_b - sum of n_ab log n_ab) / n; roundings may leave a little below 0 */
    out->split = fmax(0, (of_predicted - both) / (double)count);
    out->merge = fmax(0, (of_label - both) / (double)count);
    dg_free(&pair);
    return DG_OK;
}
