/* ref_loss_space.c - loss terms that look at neighbours. SPDX-License-Identifier: Apache-2.0 */
#include "ref_loss.h"

#include <math.h>
#include <string.h>

int64_t ref_row_of(const dg_loss_grid *g, int64_t z, int64_t y, int64_t x)
{
    if (z < 0 || y < 0 || x < 0 || z >= g->z || y >= g->y || x >= g->x) return -1;
    const int64_t *b = g->block;
    const int64_t block = ((z / b[0]) * (g->y / b[1]) + y / b[1]) * (g->x / b[2]) + x / b[2];
    return block * b[0] * b[1] * b[2] + ((z % b[0]) * b[1] + y % b[1]) * b[2] + x % b[2];
}

/* Weight of kernel `axis` at an offset: difference along its own axis, smoothing along the others. */
static double sobel(int axis, const int offset[3])
{
    double weight = 1.0 / 32;
    for (int a = 0; a < 3; a++) weight *= a == axis ? offset[a] : (offset[a] == 0 ? 2 : 1);
    return weight;
}

/* The response of one kernel around a voxel to p - t, and, for `scale` not 0, scale * its weights added to d. */
static double respond(const ref_sample *s, const int64_t at[3], int axis, double scale, double *d)
{
    double sum = 0;
    for (int o = 0; o < 27; o++) {
        const int offset[3] = {o / 9 - 1, o / 3 % 3 - 1, o % 3 - 1};
        const int64_t row = ref_row_of(&s->grid, at[0] + offset[0], at[1] + offset[1], at[2] + offset[2]);
        if (row < 0 || !ref_counts(s, row)) continue;
        sum += sobel(axis, offset) * (s->p[row] - s->t[row]);
        if (scale != 0) d[row] += scale * sobel(axis, offset);
    }
    return sum;
}

dg_status ref_loss_gradient(const ref_sample *s, double *value, double *d)
{
    const int64_t voxels = s->grid.z * s->grid.y * s->grid.x;
    int64_t count = 0;
    double sum = 0;
    for (int64_t i = 0; i < voxels; i++) count += ref_counts(s, i);
    for (int64_t i = 0; i < voxels; i++) {
        const int64_t at[3] = {i / (s->grid.y * s->grid.x), i / s->grid.x % s->grid.y, i % s->grid.x};
        if (!ref_counts(s, ref_row_of(&s->grid, at[0], at[1], at[2]))) continue;
        for (int axis = 0; axis < 3; axis++) {
            const double g = respond(s, at, axis, 0, d);
            sum += fabs(g);
            if (g != 0) (void)respond(s, at, axis, (g > 0 ? 1.0 : -1.0) / (3.0 * (double)count), d);
        }
    }
    *value = count > 0 ? sum / (3.0 * (double)count) : 0;
    return DG_OK;
}

enum { SSIM_REACH = 5 };

/* Share of the voxel at an offset in a window around another, before the sum of all is made 1. */
static double bell(const int64_t offset[3])
{
    const double sigma = 1.5;
    double squares = 0;
    for (int a = 0; a < 3; a++) squares += (double)(offset[a] * offset[a]);
    return exp(-squares / (2 * sigma * sigma));
}

/* The voxels of a window that count, with their shares, whose sum is 1. */
typedef struct ssim_window {
    const ref_sample *s;
    int64_t at[3];
    int64_t row[(2 * SSIM_REACH + 1) * (2 * SSIM_REACH + 1) * (2 * SSIM_REACH + 1)];
    double share[(2 * SSIM_REACH + 1) * (2 * SSIM_REACH + 1) * (2 * SSIM_REACH + 1)];
    int count;
} ssim_window;

static void look(ssim_window *w)
{
    double sum = 0;
    w->count = 0;
    for (int64_t z = -SSIM_REACH; z <= SSIM_REACH; z++)
        for (int64_t y = -SSIM_REACH; y <= SSIM_REACH; y++)
            for (int64_t x = -SSIM_REACH; x <= SSIM_REACH; x++) {
                const int64_t row = ref_row_of(&w->s->grid, w->at[0] + z, w->at[1] + y, w->at[2] + x);
                if (row < 0 || !ref_counts(w->s, row)) continue;
                w->row[w->count] = row;
                w->share[w->count] = bell((const int64_t[]){z, y, x});
                sum += w->share[w->count++];
            }
    for (int i = 0; i < w->count; i++) w->share[i] /= sum;
}

/* Similarity of one window, and its slopes times `scale` added to d. */
static double similarity(const ssim_window *w, double scale, double *d)
{
    const double c1 = 0.01 * 0.01, c2 = 0.03 * 0.03;
    double p = 0, t = 0, pp = 0, tt = 0, pt = 0;
    for (int i = 0; i < w->count; i++) {
        p += w->share[i] * w->s->p[w->row[i]];
        t += w->share[i] * w->s->t[w->row[i]];
    }
    for (int i = 0; i < w->count; i++) {
        const double a = w->s->p[w->row[i]] - p, b = w->s->t[w->row[i]] - t;
        pp += w->share[i] * a * a;
        tt += w->share[i] * b * b;
        pt += w->share[i] * a * b;
    }
    const double over1 = 2 * p * t + c1, under1 = p * p + t * t + c1, over2 = 2 * pt + c2, under2 = pp + tt + c2;
    const double level = over1 / under1, shape = over2 / under2;
    const double by_p = (2 * t - 2 * p * level) / under1 * shape, by_pt = 2 / under2 * level,
                 by_pp = -shape / under2 * level;
    for (int i = 0; i < w->count; i++) {
        const double a = w->s->p[w->row[i]] - p, b = w->s->t[w->row[i]] - t;
        d[w->row[i]] += scale * w->share[i] * (by_p + by_pt * b + 2 * by_pp * a);
    }
    return level * shape;
}

dg_status ref_loss_ssim(const ref_sample *s, double *value, double *d)
{
    const int64_t voxels = s->grid.z * s->grid.y * s->grid.x;
    ssim_window *w = NULL;
    int64_t count = 0;
    double sum = 0;
    DG_TRY(DG_NEW(&w, 1, "window of the similarity"));
    w->s = s;
    for (int64_t i = 0; i < voxels; i++) count += ref_counts(s, i);
    for (int64_t i = 0; i < voxels; i++) {
        const int64_t at[3] = {i / (s->grid.y * s->grid.x), i / s->grid.x % s->grid.y, i % s->grid.x};
        if (!ref_counts(s, ref_row_of(&s->grid, at[0], at[1], at[2]))) continue;
        memcpy(w->at, at, sizeof at);
        look(w);
        sum += 1 - similarity(w, -1.0 / (double)count, d);
    }
    *value = count > 0 ? sum / (double)count : 0;
    dg_free(&w);
    return DG_OK;
}
