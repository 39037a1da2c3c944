/* dg_bspline.c - cubic B-spline resampling, see dg_resample.h. Prefilter: M. Unser, "Splines: a perfect fit for signal
 * and image processing", IEEE Signal Processing Magazine 16(6), 1999, box 2 (one pole, whole-sample mirror).
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "dg_resample.h"

#include <math.h>
#include <omp.h>
#include <string.h>

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

/* Where one index of the target lies along an axis of the source. */
typedef struct axis_point {
    double w[4];
    int64_t index[4];
    bool inside;
} axis_point;

/* Both grids have the same direction: each axis maps to itself. `axis` counts x, y, z. */
static dg_status axis_points(const index_map *map, int axis, int64_t source, int64_t target, axis_point **out)
{
    DG_TRY(DG_NEW(out, target, "B-spline axis"));
    for (int64_t i = 0; i < target; i++) {
        axis_point *p = &(*out)[i];
        const double at = map->offset[axis] + map->matrix[4 * axis] * (double)i, low = floor(at);
        p->inside = at >= -0.5 && at < (double)source - 0.5;
        if (!p->inside) continue;
        cubic_weights(at - low, p->w);
        for (int k = 0; k < 4; k++) p->index[k] = mirror((int64_t)low - 1 + k, source);
    }
    return DG_OK;
}

/* out[i] = sum over the point's four lines, `stride` apart, of weight * line[i]. */
static void blend_lines(const double *lines, int64_t stride, int64_t n, const axis_point *p, double *out)
{
    const double *a = lines + p->index[0] * stride, *b = lines + p->index[1] * stride;
    const double *c = lines + p->index[2] * stride, *d = lines + p->index[3] * stride;
    for (int64_t i = 0; i < n; i++) out[i] = p->w[0] * a[i] + p->w[1] * b[i] + (p->w[2] * c[i] + p->w[3] * d[i]);
}

/* One slice of the target: along z, then y, then x; `plane` [ny,nx] and `line` [nx] are of the source. */
static void aligned_slice(const double *c, const int64_t n[3], const int64_t m[3], axis_point *const axis[3], int64_t z,
                          float outside, double *plane, double *line, float *out)
{
    const axis_point *along_z = &axis[2][z];
    if (along_z->inside) blend_lines(c, n[1] * n[2], n[1] * n[2], along_z, plane);
    for (int64_t y = 0; y < m[1]; y++, out += m[2]) {
        const axis_point *along_y = &axis[1][y];
        const bool row = along_z->inside && along_y->inside;
        if (row) blend_lines(plane, n[2], n[2], along_y, line);
        for (int64_t x = 0; x < m[2]; x++) {
            const axis_point *p = &axis[0][x];
            out[x] = row && p->inside ? (float)(p->w[0] * line[p->index[0]] + p->w[1] * line[p->index[1]] +
                                                (p->w[2] * line[p->index[2]] + p->w[3] * line[p->index[3]]))
                                      : outside;
        }
    }
}

/* Grids of one direction, the case of every dose and its CT: 12 products a voxel instead of 64 and no look-ups. */
static dg_status resample_aligned(const double *c, const dg_grid *from, const dg_grid *to, const index_map *map,
                                  float outside, int threads, float *out)
{
    const int64_t *n = from->shape, *m = to->shape, plane = n[1] * n[2] + n[2];
    axis_point *axis[3] = {NULL, NULL, NULL};
    double *work = NULL;
    dg_status status = DG_NEW(&work, threads * plane, "B-spline planes");
    for (int a = 0; status == DG_OK && a < 3; a++) status = axis_points(map, a, n[2 - a], m[2 - a], &axis[a]);
    if (status == DG_OK) {
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t z = 0; z < m[0]; z++) {
            double *mine = work + omp_get_thread_num() * plane;
            aligned_slice(c, n, m, axis, z, outside, mine, mine + n[1] * n[2], out + z * m[1] * m[2]);
        }
    }
    for (int a = 0; a < 3; a++) dg_free(&axis[a]);
    dg_free(&work);
    return status;
}

static void resample_turned(const double *c, const dg_grid *from, const dg_grid *to, const index_map *map,
                            float outside, int threads, float *out)
{
    const int64_t *n = from->shape, *m = to->shape;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t z = 0; z < m[0]; z++)
        for (int64_t y = 0; y < m[1]; y++)
            for (int64_t x = 0; x < m[2]; x++) {
                const double index[3] = {(double)x, (double)y, (double)z};
                double at[3];
                for (int i = 0; i < 3; i++) {
                    at[i] = map->offset[i];
                    for (int j = 0; j < 3; j++) at[i] += map->matrix[3 * i + j] * index[j];
                }
                out[dg_grid_index(to, z, y, x)] = inside(at, n) ? (float)evaluate(c, n, at) : outside;
            }
}

dg_status dg_resample_bspline(const float *in, const dg_grid *from, const dg_grid *to, float outside, int threads,
                              float *out)
{
    const int64_t *n = from->shape;
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
    if (memcmp(from->direction, to->direction, sizeof from->direction) == 0)
        status = resample_aligned(c, from, to, &map, outside, threads, out);
    else
        resample_turned(c, from, to, &map, outside, threads, out);
cleanup:
    dg_free(&c);
    return status;
}
