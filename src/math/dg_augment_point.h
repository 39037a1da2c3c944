/* dg_augment_point.h - which voxels of a patch as it was read one voxel of the varied patch comes from: shift, rotation about
 * z, reversal of x; and its share of the CT noise. Host loops and device kernels take the same sums in f64 in the same order.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_AUGMENT_POINT_H
#define DG_AUGMENT_POINT_H

#include "dg_philox.h"
#include "dg_variation.h"

/* Where a column of voxels (all z) at (y, x) comes from: the four neighbours' places in a plane, y times the length of x
 * included, and the weight of the second along each axis. */
typedef struct dg_corners {
    int64_t y0, y1, x0, x1;
    double ty, tx;
} dg_corners;

DG_HD static inline int64_t dg_clamp_index(int64_t i, int64_t n) { return i < 0 ? 0 : i >= n ? n - 1 : i; }
DG_HD static inline double dg_clamp_coordinate(double t, int64_t n)
{
    return t < 0 ? 0 : t > (double)(n - 1) ? (double)(n - 1) : t;
}

/* The neighbours of a point of a plane; `nearest`: the nearest voxel alone. */
DG_HD static inline dg_corners dg_corners_of(double y, double x, int64_t ny, int64_t nx, bool nearest)
{
    dg_corners c;
    y = dg_clamp_coordinate(y, ny);
    x = dg_clamp_coordinate(x, nx);
    if (nearest) {
        y = floor(y + 0.5);
        x = floor(x + 0.5);
    }
    c.y0 = (int64_t)floor(y);
    c.x0 = (int64_t)floor(x);
    c.y1 = dg_clamp_index(c.y0 + 1, ny);
    c.x1 = dg_clamp_index(c.x0 + 1, nx);
    c.ty = y - (double)c.y0;
    c.tx = x - (double)c.x0;
    return c;
}

/* The source index along x. */
DG_HD static inline int64_t dg_move_x(const dg_move *m, int64_t x)
{
    const int64_t s = dg_clamp_index(x - m->shift[2], m->n[2]);
    return m->flip ? m->n[2] - 1 - s : s;
}
/* First voxel of the source row along y, and of the source plane. */
DG_HD static inline int64_t dg_move_row(const dg_move *m, int64_t y)
{
    return dg_clamp_index(y - m->shift[1], m->n[1]) * m->n[2];
}
DG_HD static inline int64_t dg_move_plane(const dg_move *m, int64_t z)
{
    return dg_clamp_index(z - m->shift[0], m->n[0]) * m->n[1] * m->n[2];
}

DG_HD static inline dg_corners dg_move_corners(const dg_move *m, int64_t y, int64_t x, bool nearest)
{
    dg_corners c = {y, y, x, x, 0, 0};
    if (m->rotates) {
        const double cy = 0.5 * (double)(m->n[1] - 1), cx = 0.5 * (double)(m->n[2] - 1);
        const double dy = (double)y - cy, dx = (double)x - cx;
        c = dg_corners_of(cy + m->cosine * dy - m->sine * dx / m->ratio, cx + m->sine * dy * m->ratio + m->cosine * dx,
                          m->n[1], m->n[2], nearest);
    }
    c.y0 = dg_move_row(m, c.y0);
    c.y1 = dg_move_row(m, c.y1);
    c.x0 = dg_move_x(m, c.x0);
    c.x1 = dg_move_x(m, c.x1);
    return c;
}

DG_HD static inline double dg_mix(double a, double b, double t) { return t == 0 ? a : a + (b - a) * t; }

/* The value there of the source plane that begins at `plane`. */
DG_HD static inline float dg_corners_value(const dg_corners *c, const float *plane)
{
    const double top = dg_mix(plane[c->y0 + c->x0], plane[c->y0 + c->x1], c->tx);
    const double bottom = dg_mix(plane[c->y1 + c->x0], plane[c->y1 + c->x1], c->tx);
    return (float)dg_mix(top, bottom, c->ty);
}

DG_HD static inline float dg_brightened(const dg_brightening *b, float value, float noise)
{
    return value * b->gain + b->offset + noise;
}

/* Number i, as the i-th dg_rng_normal would give it, times the deviation. */
DG_HD static inline float dg_noise_at(const dg_noise *noise, int64_t i)
{
    const uint64_t first = (uint64_t)noise->used + 4 * (uint64_t)i;
    const int skipped = (int)(first % 4);
    uint32_t counter[4] = {noise->counter[0] - 1u + (uint32_t)(first / 4), noise->counter[1], noise->counter[2],
                           noise->counter[3]};
    uint32_t words[8] = {0};
    dg_philox4x32(counter, noise->key, words);
    counter[0]++;
    if (skipped > 0) dg_philox4x32(counter, noise->key, words + 4);
    for (int s = 0; s < skipped; s++) /* not words + skipped: that would cost a kernel its registers */
        for (int k = 0; k < 7; k++) words[k] = words[k + 1];
    return (float)(noise->deviation * dg_normal_of(words));
}

/* The bits of a voxel's regions in a mirrored patch: bit r from its partner. */
DG_HD static inline uint32_t dg_mirrored_regions(uint32_t bits, const int8_t *partner, int regions)
{
    uint32_t out = 0;
    if (bits == 0) return 0;
    for (int r = 0; r < regions; r++) out |= (bits >> partner[r] & 1u) << r;
    return out;
}

#endif
