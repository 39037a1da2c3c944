/* ensemble.c - see ensemble.h. SPDX-License-Identifier: Apache-2.0 */
#include "ensemble.h"

#include "dg_mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const int64_t default_budget = 64 << 20;

/* What a case needs while its samples are read. */
typedef struct merger {
    const dg_ensemble *e;
    const char *id;
    dg_grid grid;
    int64_t plane, depth;           /* voxels of a plane; planes read at a time */
    float *planes;                  /* [samples, depth, y, x] */
    float *sorted;                  /* [samples] of a voxel */
    float *mean, *std, *percentile; /* of the case */
} merger;

dg_status dg_ensemble_folder(const char *folder, int64_t sample, char path[DG_PATH_MAX])
{
    char name[32];
    snprintf(name, sizeof name, "sample-%04lld", (long long)sample + 1);
    return dg_path_join(path, folder, name);
}

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

double dg_percentile_of(const float *sorted, int64_t count, double percent)
{
    const double rank = percent / 100 * (double)(count - 1);
    const int64_t below = (int64_t)floor(rank), above = below + 1 < count ? below + 1 : below;
    const double share = rank - (double)below;
    return (1 - share) * (double)sorted[below] + share * (double)sorted[above];
}

static dg_status make(merger *m)
{
    const int64_t *n = m->grid.shape, all = dg_grid_voxels(&m->grid), budget = m->e->budget_bytes;
    m->plane = n[1] * n[2];
    m->depth = (budget > 0 ? budget : default_budget) / (m->e->samples * m->plane * (int64_t)sizeof(float));
    if (m->depth < 1) m->depth = 1;
    if (m->depth > n[0]) m->depth = n[0];
    DG_TRY(DG_NEW(&m->planes, m->e->samples * m->depth * m->plane, "planes of samples"));
    DG_TRY(DG_NEW(&m->sorted, m->e->samples, "samples of a voxel"));
    DG_TRY(DG_NEW(&m->mean, all, "mean of samples"));
    DG_TRY(DG_NEW(&m->std, all, "standard deviation of samples"));
    return m->e->percent.count > 0 ? DG_NEW(&m->percentile, m->e->percent.count * all, "percentiles of samples")
                                   : DG_OK;
}

static void release(merger *m)
{
    dg_free(&m->planes);
    dg_free(&m->sorted);
    dg_free(&m->mean);
    dg_free(&m->std);
    dg_free(&m->percentile);
}

/* Sums go in the order of the samples' numbers, in double. */
static void merge_voxel(merger *m, const float *first, int64_t stride, int64_t voxel)
{
    const int64_t n = m->e->samples, all = dg_grid_voxels(&m->grid);
    double sum = 0, squares = 0;
    for (int64_t k = 0; k < n; k++) {
        m->sorted[k] = first[k * stride];
        sum += (double)m->sorted[k];
    }
    const double mean = sum / (double)n;
    for (int64_t k = 0; k < n; k++) squares += ((double)m->sorted[k] - mean) * ((double)m->sorted[k] - mean);
    m->mean[voxel] = (float)mean;
    m->std[voxel] = (float)sqrt(squares / (double)n);
    if (m->e->percent.count == 0) return;
    qsort(m->sorted, (size_t)n, sizeof *m->sorted, by_value);
    for (int p = 0; p < m->e->percent.count; p++)
        m->percentile[p * all + voxel] = (float)dg_percentile_of(m->sorted, n, m->e->percent.value[p]);
}

static dg_status merge_planes(merger *m, int64_t first)
{
    const int64_t left = m->grid.shape[0] - first, count = left < m->depth ? left : m->depth,
                  stride = m->depth * m->plane;
    for (int64_t k = 0; k < m->e->samples; k++) {
        char folder[DG_PATH_MAX];
        dg_prediction_info info;
        DG_TRY(dg_ensemble_folder(m->e->folder, k, folder));
        DG_TRY(dg_prediction_read_planes(folder, m->id, first, count, &info, m->planes + k * stride));
    }
    for (int64_t v = 0; v < count * m->plane; v++) merge_voxel(m, m->planes + v, stride, first * m->plane + v);
    return DG_OK;
}

static dg_status merge(merger *m, const char *made_by, dg_ledger_entry *entry)
{
    char folder[DG_PATH_MAX];
    dg_prediction_info info;
    DG_TRY(dg_ensemble_folder(m->e->folder, 0, folder));
    DG_TRY(dg_prediction_peek(folder, m->id, &info));
    m->grid = info.grid;
    DG_TRY(make(m));
    for (int64_t z = 0; z < m->grid.shape[0]; z += m->depth) DG_TRY(merge_planes(m, z));
    const dg_prediction_ensemble what = {.samples = m->e->samples,
                                         .mean_gy = m->mean,
                                         .std_gy = m->std,
                                         .percent = m->e->percent.value,
                                         .percentiles = m->e->percent.count,
                                         .percentile_gy = m->percentile};
    return dg_prediction_write_ensemble(m->e->folder, m->id, &m->grid, made_by, &what, entry);
}

dg_status dg_ensemble_combine(const dg_ensemble *ensemble, const char *id, const char *made_by, dg_ledger_entry *entry)
{
    merger m = {.e = ensemble, .id = id};
    const dg_status status = merge(&m, made_by, entry);
    release(&m);
    return status;
}

void dg_ensemble_remove(const char *folder, const char *id, int64_t first)
{
    char path[DG_PATH_MAX];
    for (int64_t k = first; dg_ensemble_folder(folder, k, path) == DG_OK && dg_file_exists(path); k++)
        dg_prediction_remove(path, id);
}

dg_status dg_ensemble_maker(const char *made_by, int64_t sample, char hex[DG_HASH_HEX])
{
    char text[DG_HASH_HEX + 64];
    const int length = snprintf(text, sizeof text, "%.64s sample %lld", made_by, (long long)sample);
    return dg_hash_bytes(text, (size_t)length, hex);
}
