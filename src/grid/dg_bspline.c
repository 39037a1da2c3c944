/* dg_bspline.c - cubic B-spline resampling, see dg_resample.h. Prefilter: M. Unser, "Splines: a perfect fit for signal
 * and image processing", IEEE Signal Processing Magazine 16(6), 1999, box 2 (one pole, whole-sample mirror).
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "dg_resample.h"

#include <math.h>

/* Index of the whole-sample mirror extension: period 2n - 2. */
static inline int64_t mirror(int64_t i, int64_t n)
{
    if (n == 1) return 0;
    int64_t period = 2 * n - 2;
    i %= period;
    if (i < 0) i += period;
    return i < n ? i : period - i;
}

/* Turns n samples into B-spline coefficients in place. */
static void prefilter_line(double *c, int64_t n)
{
    const double pole = sqrt(3.0) - 2, gain = 6;
    if (n == 1) return;
    /* the causal start is a sum over one whole period of the mirrored samples, exact for any n */
    double power = 1, start = 0;
    for (int64_t k = 0; k < 2 * n - 2; k++) {
        start += power * c[mirror(k, n)];
        power *= pole;
        if (fabs(power) < 1e-300) break;
    }
    double first = start / (1 - pow(pole, (double)(2 * n - 2)));
    c[0] = gain * first;
    for (int64_t k = 1; k < n; k++) c[k] = gain * c[k] + pole * c[k - 1];
    c[n - 1] = pole / (pole * pole - 1) * (c[n - 1] + pole * c[n - 2]);
    for (int64_t k = n - 2; k >= 0; k--) c[k] = pole * (c[k + 1] - c[k]);
}

/* Filters all lines of one axis of a volume seen as [outer, n, inner]. */
static dg_status prefilter_axis(double *c, int64_t outer, int64_t n, int64_t inner, int threads)
{
    double *lines;
    DG_TRY(DG_NEW(&lines, (int64_t)threads * n, "B-spline line"));
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int t = 0; t < threads; t++) {
        double *line = lines + t * n;
        for (int64_t k = t; k < outer * inner; k += threads) {
            double *first = c + (k / inner) * n * inner + k % inner;
            for (int64_t i = 0; i < n; i++) line[i] = first[i * inner];
            prefilter_line(line, n);
            for (int64_t i = 0; i < n; i++) first[i * inner] = line[i];
        }
    }
    dg_free(&lines);
    return DG_OK;
}

static bool invert(const double m[9], double out[9])
{
    double det = 0;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            int a = (j + 1) % 3, b = (j + 2) % 3, c = (i + 1) % 3, d = (i + 2) % 3;
            out[3 * i + j] = m[3 * a + c] * m[3 * b + d] - m[3 * a + d] * m[3 * b + c];
        }
    for (int k = 0; k < 3; k++) det += m[k] * out[3 * k];
    if (!(fabs(det) > 1e-12)) return false;
    for (int i = 0; i < 9; i++) out[i] /= det;
    return true;
}

/* Affine map of target indices (xyz) to continuous source indices (xyz). */
typedef struct index_map {
    double matrix[9], offset[3];
} index_map;

static dg_status map_create(const dg_grid *from, const dg_grid *to, index_map *map)
{
    double inverse[9];
    if (!invert(from->direction, inverse))
        return DG_FAIL(DG_ERR_DATA, "grid direction cannot be inverted; it must be a rotation matrix");
    for (int i = 0; i < 3; i++) {
        map->offset[i] = 0;
        for (int p = 0; p < 3; p++)
            map->offset[i] += inverse[3 * i + p] * (to->origin_mm[2 - p] - from->origin_mm[2 - p]);
        map->offset[i] /= from->spacing_mm[2 - i];
        for (int j = 0; j < 3; j++) {
            double sum = 0;
            for (int p = 0; p < 3; p++) sum += inverse[3 * i + p] * to->direction[3 * p + j];
            map->matrix[3 * i + j] = sum * to->spacing_mm[2 - j] / from->spacing_mm[2 - i];
        }
    }
    return DG_OK;
}

static void cubic_weights(double t, double w[4])
{
    double u = 1 - t;
    w[0] = u * u * u / 6;
    w[1] = 2.0 / 3 - 0.5 * t * t * (2 - t);
    w[2] = 2.0 / 3 - 0.5 * u * u * (2 - u);
    w[3] = t * t * t / 6;
}

/* The spline's value at continuous index at[x,y,z] of coefficients c [z,y,x]. */
static double evaluate(const double *c, const int64_t shape_zyx[3], const double at[3])
{
    double w[3][4], value = 0;
    int64_t index[3][4];
    for (int i = 0; i < 3; i++) {
        double low = floor(at[i]);
        cubic_weights(at[i] - low, w[i]);
        for (int k = 0; k < 4; k++) index[i][k] = mirror((int64_t)low - 1 + k, shape_zyx[2 - i]);
    }
    for (int kz = 0; kz < 4; kz++)
        for (int ky = 0; ky < 4; ky++) {
            const double *row = c + (index[2][kz] * shape_zyx[1] + index[1][ky]) * shape_zyx[2];
            double sum = 0;
            for (int kx = 0; kx < 4; kx++) sum += w[0][kx] * row[index[0][kx]];
            value += w[2][kz] * w[1][ky] * sum;
        }
    return value;
}

static bool inside(const double at[3], const int64_t shape_zyx[3])
{
    for (int i = 0; i < 3; i++)
        if (!(at[i] >= -0.5 && at[i] < (double)shape_zyx[2 - i] - 0.5)) return false;
    return true;
}

dg_status dg_resample_bspline(const float *in, const dg_grid *from, const dg_grid *to, float outside, int threads,
                              float *out)
{
    const int64_t *n = from->shape, *m = to->shape;
    double *c = NULL;
    index_map map;
    dg_status status;
    DG_TRY_GOTO(status, dg_grid_check(from), cleanup);
    DG_TRY_GOTO(status, dg_grid_check(to), cleanup);
    if (threads < 1) return DG_FAIL(DG_ERR_USAGE, "resampling with %d threads; give 1 or more", threads);
    DG_TRY_GOTO(status, map_create(from, to, &map), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&c, dg_grid_voxels(from), "B-spline coefficients"), cleanup);
    for (int64_t i = 0; i < dg_grid_voxels(from); i++) c[i] = in[i];
    DG_TRY_GOTO(status, prefilter_axis(c, n[0] * n[1], n[2], 1, threads), cleanup);
    DG_TRY_GOTO(status, prefilter_axis(c, n[0], n[1], n[2], threads), cleanup);
    DG_TRY_GOTO(status, prefilter_axis(c, 1, n[0], n[1] * n[2], threads), cleanup);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t z = 0; z < m[0]; z++)
        for (int64_t y = 0; y < m[1]; y++)
            for (int64_t x = 0; x < m[2]; x++) {
                const double index[3] = {(double)x, (double)y, (double)z};
                double at[3];
                for (int i = 0; i < 3; i++) {
                    at[i] = map.offset[i];
                    for (int j = 0; j < 3; j++) at[i] += map.matrix[3 * i + j] * index[j];
                }
                out[dg_grid_index(to, z, y, x)] = inside(at, n) ? (float)evaluate(c, n, at) : outside;
            }
cleanup:
    dg_free(&c);
    return status;
}
