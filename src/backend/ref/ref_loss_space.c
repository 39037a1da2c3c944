/* ref_loss_space.c - loss terms that look at neighbours. SPDX-License-Identifier: Apache-2.0 */
#include "ref_loss.h"

#include <math.h>
#include <string.h>

/* Row of a voxel in space, or -1 beyond the edge. */
static int64_t row_of(const dg_loss_grid *g, int64_t z, int64_t y, int64_t x)
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
        const int64_t row = row_of(&s->grid, at[0] + offset[0], at[1] + offset[1], at[2] + offset[2]);
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
        if (!ref_counts(s, row_of(&s->grid, at[0], at[1], at[2]))) continue;
        for (int axis = 0; axis < 3; axis++) {
            const double g = respond(s, at, axis, 0, d);
            sum += fabs(g);
            if (g != 0) (void)respond(s, at, axis, (g > 0 ? 1.0 : -1.0) / (3.0 * (double)count), d);
        }
    }
    *value = count > 0 ? sum / (3.0 * (double)count) : 0;
    return DG_OK;
}
