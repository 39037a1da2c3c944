/* dg_resample.c - separable resampling, see dg_resample.h. Each axis becomes a table of few weights per target voxel;
 * the volume then passes through the three tables. SPDX-License-Identifier: Apache-2.0 */
#include "dg_resample.h"
#include "dg_mem.h"

#include <math.h>
#include <string.h>

/* One axis: target voxel i = sum over k of weight[i*width+k] * source[first[i]+k]; width 0 elements beyond count[i]. */
typedef struct axis_table {
    int64_t n, width;
    int64_t *first;
    float *weight;
    bool *known; /* false: nothing of the source lies under this target voxel */
} axis_table;

static void axis_release(axis_table *t)
{
    dg_free(&t->first);
    dg_free(&t->weight);
    dg_free(&t->known);
}

/* Distance of the two origins along the grids' common axes, in mm. */
static void origin_offset(const dg_grid *from, const dg_grid *to, double offset_mm[3])
{
    for (int i = 0; i < 3; i++) {
        double sum = 0;
        for (int p = 0; p < 3; p++) sum += from->direction[3 * p + i] * (to->origin_mm[2 - p] - from->origin_mm[2 - p]);
        offset_mm[2 - i] = sum;
    }
}

static dg_status check_grids(const dg_grid *from, const dg_grid *to, int threads)
{
    DG_TRY(dg_grid_check(from));
    DG_TRY(dg_grid_check(to));
    if (threads < 1) return DG_FAIL(DG_ERR_USAGE, "resampling with %d threads; give 1 or more", threads);
    for (int i = 0; i < 9; i++)
        if (fabs(from->direction[i] - to->direction[i]) > 1e-6)
            return DG_FAIL(DG_ERR_DATA,
                           "resampling between grids of different directions (%g and %g in place %d); use "
                           "the B-spline, which takes any",
                           from->direction[i], to->direction[i], i);
    return DG_OK;
}

/* Adds one sample at continuous source index t to target voxel i; samples outside the source do not count. */
static bool add_sample(axis_table *table, int64_t i, double t, int64_t n, bool first)
{
    const double edge = 1e-9; /* a voxel face computed twice must not fall between the two */
    if (!(t >= -0.5 - edge && t <= (double)n - 0.5 + edge)) return false;
    t = t < 0 ? 0 : t > (double)(n - 1) ? (double)(n - 1) : t;
    int64_t low = (int64_t)floor(t);
    double rest = t - (double)low;
    if (first) table->first[i] = low;
    float *w = table->weight + i * table->width + (low - table->first[i]);
    w[0] += (float)(1 - rest);
    if (rest > 0) w[1] += (float)rest;
    return true;
}

static dg_status axis_linear(int64_t n, double spacing, int64_t m, double wanted, double offset_mm, axis_table *out)
{
    int64_t samples = (int64_t)fmax(1, floor(wanted / spacing + 1e-6));
    dg_status status;
    *out = (axis_table){.n = m, .width = samples * (int64_t)(ceil(wanted / spacing / (double)samples) + 1) + 2};
    DG_TRY_GOTO(status, DG_NEW(&out->first, m, "resampling table"), fail);
    DG_TRY_GOTO(status, DG_NEW(&out->weight, m * out->width, "resampling table"), fail);
    DG_TRY_GOTO(status, DG_NEW(&out->known, m, "resampling table"), fail);
    for (int64_t i = 0; i < m; i++) {
        int64_t used = 0;
        for (int64_t k = 0; k < samples; k++) {
            double at = (double)i + ((double)k + 0.5) / (double)samples - 0.5;
            used += add_sample(out, i, (at * wanted + offset_mm) / spacing, n, used == 0);
        }
        out->known[i] = used > 0;
        for (int64_t k = 0; used > 1 && k < out->width; k++) out->weight[i * out->width + k] /= (float)used;
    }
    return DG_OK;
fail:
    axis_release(out);
    return status;
}

/* out[a, i, b] = sum_k weight[i,k] in[a, first[i]+k, b] over an array seen as [outer, n, inner]. */
static void pass(const float *in, int64_t outer, int64_t n, int64_t inner, const axis_table *t, int threads, float *out)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t task = 0; task < outer * t->n; task++) {
        int64_t a = task / t->n, i = task % t->n;
        float *to = out + task * inner;
        memset(to, 0, (size_t)inner * sizeof *to);
        if (!t->known[i]) continue;
        for (int64_t k = 0; k < t->width && t->first[i] + k < n; k++) {
            const float w = t->weight[i * t->width + k];
            const float *from = in + (a * n + t->first[i] + k) * inner;
            if (w == 0) continue;
            for (int64_t b = 0; b < inner; b++) to[b] += w * from[b];
        }
    }
}

static void fill_outside(const axis_table table[3], float outside, float *out)
{
    for (int64_t z = 0; z < table[0].n; z++)
        for (int64_t y = 0; y < table[1].n; y++) {
            float *row = out + (z * table[1].n + y) * table[2].n;
            bool known = table[0].known[z] && table[1].known[y];
            for (int64_t x = 0; x < table[2].n; x++)
                if (!known || !table[2].known[x]) row[x] = outside;
        }
}

dg_status dg_resample_linear(const float *in, const dg_grid *from, const dg_grid *to, float outside, int threads,
                             float *out)
{
    axis_table table[3] = {{0}, {0}, {0}};
    float *one = NULL, *two = NULL;
    double offset_mm[3];
    const int64_t *n = from->shape, *m = to->shape;
    dg_status status;
    DG_TRY_GOTO(status, check_grids(from, to, threads), cleanup);
    origin_offset(from, to, offset_mm);
    for (int a = 0; a < 3; a++)
        DG_TRY_GOTO(status, axis_linear(n[a], from->spacing_mm[a], m[a], to->spacing_mm[a], offset_mm[a], &table[a]),
                    cleanup);
    DG_TRY_GOTO(status, DG_NEW(&one, m[0] * n[1] * n[2], "resampled volume"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&two, m[0] * m[1] * n[2], "resampled volume"), cleanup);
    pass(in, 1, n[0], n[1] * n[2], &table[0], threads, one);
    pass(one, m[0], n[1], n[2], &table[1], threads, two);
    pass(two, m[0] * m[1], n[2], 1, &table[2], threads, out);
    fill_outside(table, outside, out);
cleanup:
    dg_free(&one);
    dg_free(&two);
    for (int a = 0; a < 3; a++) axis_release(&table[a]);
    return status;
}

dg_status dg_resample_nearest(const float *in, const dg_grid *from, const dg_grid *to, float outside, int threads,
                              float *out)
{
    int64_t *index[3] = {NULL, NULL, NULL};
    double offset_mm[3];
    const int64_t *m = to->shape;
    dg_status status;
    DG_TRY_GOTO(status, check_grids(from, to, threads), cleanup);
    origin_offset(from, to, offset_mm);
    for (int a = 0; a < 3; a++) {
        DG_TRY_GOTO(status, DG_NEW(&index[a], m[a], "resampling table"), cleanup);
        for (int64_t i = 0; i < m[a]; i++) {
            double t = ((double)i * to->spacing_mm[a] + offset_mm[a]) / from->spacing_mm[a];
            double nearest = floor(t + 0.5 + 1e-9);
            index[a][i] = nearest >= 0 && nearest < (double)from->shape[a] ? (int64_t)nearest : -1;
        }
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t z = 0; z < m[0]; z++)
        for (int64_t y = 0; y < m[1]; y++) {
            bool known = index[0][z] >= 0 && index[1][y] >= 0;
            const float *row = known ? in + dg_grid_index(from, index[0][z], index[1][y], 0) : NULL;
            for (int64_t x = 0; x < m[2]; x++)
                out[dg_grid_index(to, z, y, x)] = known && index[2][x] >= 0 ? row[index[2][x]] : outside;
        }
cleanup:
    for (int a = 0; a < 3; a++) dg_free(&index[a]);
    return status;
}
