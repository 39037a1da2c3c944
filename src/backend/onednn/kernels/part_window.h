/* part_window.h - loops over lines of voxels for greatest and least values in windows and the way back of a gradient through
 * them, a part of kernels.c. Windows are taken apart by axes, x first, so that the first of equal values in z,y,x order wins
 * as it does in a window as a whole. Plain loops that the compiler vectorises. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_PART_WINDOW_H
#define DG_PART_WINDOW_H

enum { PLACE_MASK = (1 << DG_PLACE_BITS) - 1 };

DG_INLINE void widest_of(const float *const *line, int lines, int64_t count, bool hides, float *best, int shift,
                         uint16_t *place)
{
    for (int64_t i = 0; i < count; i++) {
        float most = -INFINITY;
        int32_t at = 0;
        for (int k = 0; k < lines; k++) {
            const float value = line[k][i];
            const bool wins = value > most && !(hides && value == INFINITY);
            most = wins ? value : most;
            at = wins ? k : at;
        }
        best[i] = most;
        if (place != NULL) place[i] = (uint16_t)(shift == 0 ? at : place[i] | at << shift);
    }
}

static void widest(const float *const *line, int radius, int64_t count, bool hides, float *restrict best, int shift,
                   uint16_t *restrict place)
{
    /* a loop of its own for each width: the compiler then knows how many lines there are */
    const float *const l[5] = {line[0], line[1], line[2], radius > 1 ? line[3] : NULL, radius > 1 ? line[4] : NULL};
    if (place == NULL)
        radius == 1 ? widest_of(l, 3, count, hides, best, 1, NULL) : widest_of(l, 5, count, hides, best, 1, NULL);
    else if (shift == 0)
        radius == 1 ? widest_of(l, 3, count, hides, best, 0, place) : widest_of(l, 5, count, hides, best, 0, place);
    else
        radius == 1 ? widest_of(l, 3, count, hides, best, shift, place)
                    : widest_of(l, 5, count, hides, best, shift, place);
}

DG_INLINE void widest_back_of(const float *const *d, const uint16_t *const *place, int lines, int64_t count, int shift,
                              float *out)
{
    for (int64_t i = 0; i < count; i++) {
        float sum = 0.0f;
        for (int k = 0; k < lines; k++) {
            const float from = d[k][i];
            sum += (place[k][i] >> shift & PLACE_MASK) == lines - 1 - k ? from : 0.0f;
        }
        out[i] = sum;
    }
}

static void widest_back(const float *const *d, const uint16_t *const *place, int radius, int64_t count, int shift,
                        float *restrict out)
{
    const float *const l[5] = {d[0], d[1], d[2], radius > 1 ? d[3] : NULL, radius > 1 ? d[4] : NULL};
    const uint16_t *const p[5] = {place[0], place[1], place[2], radius > 1 ? place[3] : NULL,
                                  radius > 1 ? place[4] : NULL};
    radius == 1 ? widest_back_of(l, p, 3, count, shift, out) : widest_back_of(l, p, 5, count, shift, out);
}

/* A route holds four bits for each axis z, y, x: the place (0, 1, 2) of the first least value along it, and above that its
 * share of the gradient, 2^(bits - 3), or 0 for 0: least values that are equal share it, pair by pair. */
enum { ROUTE_BITS = 4, ROUTE_WHOLE = 3, ROUTE_HALF = 2 };

DG_INLINE float least_of(float a, float b, float c, int32_t *place)
{
    const float ab = b < a ? b : a;
    *place = c < ab ? 2 : b < a ? 1 : 0;
    return c < ab ? c : ab;
}

DG_INLINE void erode_of(const float *x, const float *const *side, int64_t count, float *restrict out,
                        uint16_t *restrict route)
{
    const float *z0 = side[0], *z1 = side[1], *y0 = side[2], *y1 = side[3];
    for (int64_t i = 0; i < count; i++) {
        int32_t at_z, at_y, at_x;
        const float own = x[i];
        const float a = least_of(z0[i], own, z1[i], &at_z), b = least_of(y0[i], own, y1[i], &at_y),
                    c = least_of(x[i - 1], own, x[i + 1], &at_x), pair = a < b ? a : b, least = pair < c ? pair : c;
        const bool hidden = own == INFINITY;
        out[i] = hidden ? INFINITY : least;
        if (route == NULL) continue;
        const int32_t of_pair = pair < c ? ROUTE_WHOLE : pair == c ? ROUTE_HALF : 0;
        const int32_t of_x = c < pair ? ROUTE_WHOLE : pair == c ? ROUTE_HALF : 0;
        const int32_t half = of_pair > 0 ? of_pair - 1 : 0;
        const int32_t of_z = a < b ? of_pair : a == b ? half : 0, of_y = b < a ? of_pair : a == b ? half : 0;
        const int32_t all = at_z | of_z << 2 | (at_y | of_y << 2) << ROUTE_BITS | (at_x | of_x << 2) << 2 * ROUTE_BITS;
        route[i] = (uint16_t)(hidden ? 0 : all);
    }
}

static void erode(const float *x, const float *const side[4], int64_t count, float *out, uint16_t *route)
{
    if (route != NULL)
        erode_of(x, side, count, out, route);
    else
        erode_of(x, side, count, out, NULL);
}

/* What a voxel with this route sends of its gradient d to the neighbour at `place` along an axis. */
DG_INLINE float sent(uint16_t route, int axis, int place, float d)
{
    const int32_t code = route >> (axis * ROUTE_BITS) & 15, share = code >> 2;
    const float part = share == ROUTE_WHOLE ? d : share == ROUTE_HALF ? 0.5f * d : 0.25f * d;
    return (code & 3) == place && share != 0 ? part : 0.0f;
}

static void erode_back(const float *own, const float *d, const float *const d_side[4], const uint16_t *route,
                       const uint16_t *const route_side[4], int64_t count, float *restrict out)
{
    const float *z0 = d_side[0], *z1 = d_side[1], *y0 = d_side[2], *y1 = d_side[3];
    const uint16_t *r0 = route_side[0], *r1 = route_side[1], *q0 = route_side[2], *q1 = route_side[3];
    for (int64_t i = 0; i < count; i++) {
        float sum = own[i];
        sum += sent(r0[i], 0, 2, z0[i]) + sent(route[i], 0, 1, d[i]) + sent(r1[i], 0, 0, z1[i]);
        sum += sent(q0[i], 1, 2, y0[i]) + sent(route[i], 1, 1, d[i]) + sent(q1[i], 1, 0, y1[i]);
        sum += sent(route[i - 1], 2, 2, d[i - 1]) + sent(route[i], 2, 1, d[i]) + sent(route[i + 1], 2, 0, d[i + 1]);
        out[i] = sum;
    }
}

static void skeleton(const float *restrict x, const float *restrict opened, const float *restrict before, int64_t count,
                     float *restrict excess, float *restrict out)
{
    for (int64_t i = 0; i < count; i++) {
        const float e = x[i] - opened[i];
        excess[i] = x[i] < INFINITY && e > 0.0f ? e : 0.0f;
    }
    if (before == NULL) {
        for (int64_t i = 0; i < count; i++) out[i] = excess[i];
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        const float more = excess[i] - before[i] * excess[i];
        out[i] = before[i] + (more > 0.0f ? more : 0.0f);
    }
}

static void skeleton_back(const float *restrict excess, const float *restrict before, int64_t count, float *restrict ds,
                          float *restrict de)
{
    if (before == NULL) {
        for (int64_t i = 0; i < count; i++) de[i] = excess[i] > 0.0f ? ds[i] : 0.0f;
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        const float e = excess[i], held = before[i], d = ds[i];
        const bool grows = e - held * e > 0.0f;
        ds[i] = grows ? d * (1.0f - e) : d;
        de[i] = grows && e > 0.0f ? d * (1.0f - held) : 0.0f;
    }
}

#endif
