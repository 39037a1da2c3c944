/* dg_loss_window.h - greatest and least values in windows of a volume, and the way back of a gradient through them, each for
 * one voxel from its neighbours, so that passes need no order. A voxel that the mask leaves out is like one beyond the edge.
 * Ties go as in PyTorch: the first of a window; the least of three windows shares among equals, pair by pair.
 * On top of them the steps of a soft skeleton (Shit et al. 2021, algorithm 1) and of the connectivity term.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_LOSS_WINDOW_H
#define DG_LOSS_WINDOW_H

#include "dg_hd.h"
#include "dg_loss_term.h"

#include <math.h>

typedef struct dg_space {
    int64_t z, y, x;
    const uint8_t *mask; /* [z,y,x] or NULL */
} dg_space;

DG_HD static inline int64_t dg_space_at(const dg_space *s, int64_t z, int64_t y, int64_t x)
{
    return (z * s->y + y) * s->x + x;
}
DG_HD static inline bool dg_space_counts(const dg_space *s, int64_t v) { return s->mask == NULL || s->mask[v] != 0; }
DG_HD static inline int64_t dg_space_low(int64_t i, int64_t radius) { return i > radius ? i - radius : 0; }
DG_HD static inline int64_t dg_space_high(int64_t i, int64_t radius, int64_t n)
{
    return i + radius < n ? i + radius : n - 1;
}

/* The greatest of x in the window of 2 radius + 1 voxels an axis, and its place there in z,y,x order. The voxel counts. */
DG_HD static inline float dg_dilate(const dg_space *s, const float *x, int64_t z, int64_t y, int64_t c, int radius,
                                    uint8_t *place)
{
    const int64_t k = 2 * radius + 1, z1 = dg_space_high(z, radius, s->z), y1 = dg_space_high(y, radius, s->y),
                  c1 = dg_space_high(c, radius, s->x);
    float best = -INFINITY;
    int64_t at = 0;
    for (int64_t i = dg_space_low(z, radius); i <= z1; i++)
        for (int64_t j = dg_space_low(y, radius); j <= y1; j++)
            for (int64_t l = dg_space_low(c, radius); l <= c1; l++) {
                const int64_t v = dg_space_at(s, i, j, l);
                if (!(x[v] > best) || !dg_space_counts(s, v)) continue;
                best = x[v];
                at = ((i - z + radius) * k + j - y + radius) * k + l - c + radius;
            }
    *place = (uint8_t)at;
    return best;
}

/* The value of x that dg_dilate found at `place`. */
DG_HD static inline float dg_dilated(const dg_space *s, const float *x, int64_t z, int64_t y, int64_t c, int radius,
                                     uint8_t place)
{
    const int k = 2 * radius + 1;
    return x[dg_space_at(s, z + place / (k * k) - radius, y + place / k % k - radius, c + place % k - radius)];
}

/* The sum of d over the voxels whose window's greatest value is at this voxel. */
DG_HD static inline float dg_dilate_back(const dg_space *s, const float *d, const uint8_t *place, int64_t z, int64_t y,
                                         int64_t c, int radius)
{
    const int64_t k = 2 * radius + 1, z1 = dg_space_high(z, radius, s->z), y1 = dg_space_high(y, radius, s->y),
                  c1 = dg_space_high(c, radius, s->x);
    float sum = 0.0f;
    for (int64_t i = dg_space_low(z, radius); i <= z1; i++)
        for (int64_t j = dg_space_low(y, radius); j <= y1; j++)
            for (int64_t l = dg_space_low(c, radius); l <= c1; l++) {
                const int64_t v = dg_space_at(s, i, j, l);
                const int64_t mine = ((z - i + radius) * k + y - j + radius) * k + c - l + radius;
                if (place[v] == mine && dg_space_counts(s, v)) sum += d[v];
            }
    return sum;
}

/* Where an erosion took its value from: for each axis the place (0, 1, 2) of the first least value in the window along it,
 * two bits each; then two bits each: is the first (1), the second (2) or are both (3) the lesser of the windows along z and
 * y; and the same of those two together and the window along x. */
enum { DG_ROUTE_PAIR = 6, DG_ROUTE_LAST = 8 };

DG_HD static inline float dg_least_along(const dg_space *s, const float *x, int64_t v, int64_t i, int64_t n,
                                         int64_t stride, int *place)
{
    float best = INFINITY;
    for (int64_t o = -1; o <= 1; o++) {
        if (i + o < 0 || i + o >= n || !dg_space_counts(s, v + o * stride)) continue;
        if (!(x[v + o * stride] < best)) continue;
        best = x[v + o * stride];
        *place = (int)o + 1;
    }
    return best;
}

DG_HD static inline int dg_lesser(float a, float b) { return a < b ? 1 : a > b ? 2 : 3; }

/* The least of x in the three windows of three voxels through a voxel that counts. */
DG_HD static inline float dg_erode(const dg_space *s, const float *x, int64_t z, int64_t y, int64_t c, uint16_t *route)
{
    const int64_t v = dg_space_at(s, z, y, c);
    int place[3] = {1, 1, 1};
    const float a = dg_least_along(s, x, v, z, s->z, s->y * s->x, &place[0]),
                b = dg_least_along(s, x, v, y, s->y, s->x, &place[1]),
                e = dg_least_along(s, x, v, c, s->x, 1, &place[2]), pair = a < b ? a : b;
    *route = (uint16_t)(place[0] | place[1] << 2 | place[2] << 4 | dg_lesser(a, b) << DG_ROUTE_PAIR |
                        dg_lesser(pair, e) << DG_ROUTE_LAST);
    return pair < e ? pair : e;
}

/* The share of the gradient that a route sends along an axis. */
DG_HD static inline float dg_route_share(uint16_t route, int axis)
{
    const int pair = route >> DG_ROUTE_PAIR & 3, last = route >> DG_ROUTE_LAST & 3, side = axis == 2 ? 2 : 1;
    float share = last == 3 ? 0.5f : last == side ? 1.0f : 0.0f;
    if (axis < 2 && share > 0.0f) share *= pair == 3 ? 0.5f : pair == axis + 1 ? 1.0f : 0.0f;
    return share;
}

DG_HD static inline float dg_erode_back(const dg_space *s, const float *d, const uint16_t *route, int64_t z, int64_t y,
                                        int64_t c)
{
    const int64_t v = dg_space_at(s, z, y, c), at[3] = {z, y, c}, n[3] = {s->z, s->y, s->x},
                  stride[3] = {s->y * s->x, s->x, 1};
    float sum = 0.0f;
    for (int axis = 0; axis < 3; axis++)
        for (int o = -1; o <= 1; o++) {
            const int64_t from = v + o * stride[axis];
            if (at[axis] + o < 0 || at[axis] + o >= n[axis] || !dg_space_counts(s, from)) continue;
            if ((route[from] >> (2 * axis) & 3) != 1 - o) continue;
            const float share = dg_route_share(route[from], axis);
            if (share > 0.0f) sum += share * d[from];
        }
    return sum;
}

/* ---- soft skeleton --------------------------------------------------------------------------------------------------- */

/* e_k = max(0, x_k - open x_k), x_{k+1} = erode x_k, s_0 = e_0, s_k = s_{k-1} + max(0, e_k - s_{k-1} e_k), all of one sample;
 * levels = iterations + 1. Arrays of [voxels] each, those with k of all levels one behind the other. */
typedef struct dg_skeleton {
    dg_space space;
    int levels;
    int64_t voxels;
    float *eroded;   /* [levels + 1]; the first is the input */
    float *skeleton; /* [levels] */
    uint8_t *peak;   /* [levels] places of the dilations' values */
    uint16_t *route; /* [levels] of the erosions */
    float *ds;       /* gradient of the skeleton so far */
    float *de;       /* of e_k where x_k - open x_k is above 0 */
    float *dx[2];    /* of x_{k+1}, then of x_k */
} dg_skeleton;

DG_HD static inline void dg_skeleton_erode(const dg_skeleton *k, int level, int64_t z, int64_t y, int64_t x)
{
    const int64_t v = dg_space_at(&k->space, z, y, x), at = level * k->voxels;
    k->eroded[at + k->voxels + v] = 0.0f;
    if (dg_space_counts(&k->space, v))
        k->eroded[at + k->voxels + v] = dg_erode(&k->space, k->eroded + at, z, y, x, &k->route[at + v]);
}

DG_HD static inline void dg_skeleton_open(const dg_skeleton *k, int level, int64_t z, int64_t y, int64_t x)
{
    const int64_t v = dg_space_at(&k->space, z, y, x), at = level * k->voxels;
    k->skeleton[at + v] = 0.0f;
    if (!dg_space_counts(&k->space, v)) return;
    const float opened = dg_dilate(&k->space, k->eroded + at + k->voxels, z, y, x, 1, &k->peak[at + v]);
    const float e = fmaxf(0.0f, k->eroded[at + v] - opened);
    const float before = level > 0 ? k->skeleton[at - k->voxels + v] : 0.0f;
    k->skeleton[at + v] = level > 0 ? before + fmaxf(0.0f, e - before * e) : e;
}

/* From ds of level k to de of that level and ds of the one before. */
DG_HD static inline void dg_skeleton_split(const dg_skeleton *k, int level, int64_t z, int64_t y, int64_t x)
{
    const int64_t v = dg_space_at(&k->space, z, y, x), at = level * k->voxels;
    k->de[v] = 0.0f;
    if (!dg_space_counts(&k->space, v)) return;
    const float opened = dg_dilated(&k->space, k->eroded + at + k->voxels, z, y, x, 1, k->peak[at + v]);
    const float e = fmaxf(0.0f, k->eroded[at + v] - opened), ds = k->ds[v];
    float de = ds;
    if (level > 0) {
        const float before = k->skeleton[at - k->voxels + v];
        const bool grows = e - before * e > 0.0f;
        de = grows ? ds * (1.0f - before) : 0.0f;
        k->ds[v] = grows ? ds * (1.0f - e) : ds;
    }
    if (e > 0.0f) k->de[v] = de;
}

/* The gradient of the opening's dilation into that of x_{k+1}. */
DG_HD static inline void dg_skeleton_dilate_back(const dg_skeleton *k, int level, int64_t z, int64_t y, int64_t x)
{
    const int64_t v = dg_space_at(&k->space, z, y, x);
    if (dg_space_counts(&k->space, v))
        k->dx[0][v] -= dg_dilate_back(&k->space, k->de, k->peak + level * k->voxels, z, y, x, 1);
}

/* That of x_{k+1} and of e_k into that of x_k; the caller then swaps dx. */
DG_HD static inline void dg_skeleton_erode_back(const dg_skeleton *k, int level, int64_t z, int64_t y, int64_t x)
{
    const int64_t v = dg_space_at(&k->space, z, y, x);
    k->dx[1][v] = 0.0f;
    if (dg_space_counts(&k->space, v))
        k->dx[1][v] = k->de[v] + dg_erode_back(&k->space, k->dx[0], k->route + level * k->voxels, z, y, x);
}

/* ---- clDice ---------------------------------------------------------------------------------------------------------- */

/* Sums of a sample: skeleton of p times t, skeleton of p, skeleton of t times p, skeleton of t. */
enum { DG_CLDICE_SUMS = 4, DG_CLDICE_FACTORS = 3 };

/* Value, and factors of the slopes: ds = factor[0] t + factor[1], dp = factor[2] * skeleton of t. */
DG_HD static inline double dg_cldice_finish(const dg_loss_term *term, const double *sum, float *factor)
{
    const double eps = (double)term->smooth, precision = (sum[0] + eps) / (sum[1] + eps),
                 sensitivity = (sum[2] + eps) / (sum[3] + eps), both = precision + sensitivity;
    const double by_precision = -2 * sensitivity * sensitivity / (both * both),
                 by_sensitivity = -2 * precision * precision / (both * both);
    factor[0] = (float)(by_precision / (sum[1] + eps));
    factor[1] = (float)(-by_precision * precision / (sum[1] + eps));
    factor[2] = (float)(by_sensitivity / (sum[3] + eps));
    return 1 - 2 * precision * sensitivity / both;
}

#endif
