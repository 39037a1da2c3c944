/* dg_gamma_search.h - the search of one voxel for its gamma: pure functions of one reference point and the evaluated dose,
 * for host loops and device kernels.
 *
 * Lengths are in units of the distance criterion, with the reference point at the origin; doses are u = (D - D_ref) / dD.
 * Then gamma^2 is the minimum of u(t)^2 + |t|^2. In a grid cell u is multilinear:
 *     u = c + sum l_i s_i + p_2 s_0 s_1 + p_1 s_0 s_2 + p_0 s_1 s_2 + q s_0 s_1 s_2,   s in [-1, 1]^3.
 * A box is settled in one of these ways, so that the minimum is certain to 1e-8:
 * - the linear part differs from u by at most rho = |p_0| + |p_1| + |p_2| + |q|, and min (|linear| - rho)^2 + |t|^2 over
 *   the box is a convex problem, whose dual bounds gamma from below;
 * - u^2 is nowhere below its tangent beyond |u| = B: with u^2 where |u| <= B, else 2 B |u| - B^2, half the Hessian is at
 *   least 1 - B max|H|, H that of u. With B = |u(t)| and where that is positive, strong convexity tells how much lower than
 *   at t it can be in the box; Gauss-Newton steps lead to the t where that is nothing;
 * - the whole Hessian, grad u grad u' + u H + 1, is positive in the box: the same with Newton steps;
 * - u^2 + |t|^2 only rises or falls along an axis: the box is cut down to a face; or it is cut in two.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_GAMMA_SEARCH_H
#define DG_GAMMA_SEARCH_H

#include "dg_hd.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Search ends where gamma cannot be lowered by more than 1e-8 of itself or 1e-8. */
DG_HD static inline double dg_gamma_goal2(double best2) { return best2 * (1.0 - 2e-8) - 1e-16; }

/* Halvings of a cell on one path: 21 on each axis leave a rest of less than 1e-12 of the cell's range. */
enum { DG_GAMMA_DEPTH = 64 };
/* Least strong convexity that is made use of. */
#define DG_GAMMA_CONVEX 0.05

/* A cell or part of one: corner k has bit 2 of k on axis 0, bit 1 on axis 1, bit 0 on axis 2. An axis may have no extent. */
typedef struct dg_gamma_box {
    double lo[3], hi[3], u[8];
} dg_gamma_box;

/* The same as a polynomial in s = (t - mid) / half. */
typedef struct dg_gamma_form {
    double mid[3], half[3], inv[3]; /* inv: 1 / half, or 0 */
    double c, l[3], p[3], q;
} dg_gamma_form;

DG_HD static inline double dg_gamma_clamp(double x, double lo, double hi) { return x < lo ? lo : x > hi ? hi : x; }

DG_HD static inline dg_gamma_form dg_gamma_form_of(const dg_gamma_box *b)
{
    dg_gamma_form f;
    const double *u = b->u;
    const double s0 = u[0] + u[1], d0 = u[1] - u[0], s1 = u[2] + u[3], d1 = u[3] - u[2];
    const double s2 = u[4] + u[5], d2 = u[5] - u[4], s3 = u[6] + u[7], d3 = u[7] - u[6];
    const double ss0 = s0 + s1, sd0 = s1 - s0, ds0 = d0 + d1, dd0 = d1 - d0;
    const double ss1 = s2 + s3, sd1 = s3 - s2, ds1 = d2 + d3, dd1 = d3 - d2;
    f.c = 0.125 * (ss0 + ss1);
    f.l[0] = 0.125 * (ss1 - ss0);
    f.l[1] = 0.125 * (sd0 + sd1);
    f.l[2] = 0.125 * (ds0 + ds1);
    f.p[2] = 0.125 * (sd1 - sd0);
    f.p[1] = 0.125 * (ds1 - ds0);
    f.p[0] = 0.125 * (dd0 + dd1);
    f.q = 0.125 * (dd1 - dd0);
    for (int a = 0; a < 3; a++) {
        f.mid[a] = 0.5 * (b->lo[a] + b->hi[a]);
        f.half[a] = 0.5 * (b->hi[a] - b->lo[a]);
        f.inv[a] = f.half[a] > 0.0 ? 1.0 / f.half[a] : 0.0;
    }
    return f;
}

/* u and its gradient in t at t. */
DG_HD static inline double dg_gamma_form_at(const dg_gamma_form *f, const double t[3], double gradient[3])
{
    const double x = (t[0] - f->mid[0]) * f->inv[0], y = (t[1] - f->mid[1]) * f->inv[1],
                 z = (t[2] - f->mid[2]) * f->inv[2];
    const double along_x = f->l[0] + f->p[2] * y + (f->p[1] + f->q * y) * z;
    gradient[0] = along_x * f->inv[0];
    gradient[1] = (f->l[1] + f->p[2] * x + (f->p[0] + f->q * x) * z) * f->inv[1];
    gradient[2] = (f->l[2] + f->p[1] * x + (f->p[0] + f->q * x) * y) * f->inv[2];
    return f->c + f->l[1] * y + (f->l[2] + f->p[0] * y) * z + along_x * x;
}

/* Minimum over the box of (|a + b t| - rho)+^2 + |t|^2: its dual in v is bounded by every v, and its derivative falls, so
 * that Newton steps, `steps` at most, within a bracket find the best. Leaves the point in t and returns the bound. */
DG_HD static inline double dg_gamma_relax(const double lo[3], const double hi[3], double a, const double b_in[3],
                                          double rho, int steps, double t[3])
{
    double b[3], bound = 0.0, at_zero = a;
    for (int i = 0; i < 3; i++) {
        t[i] = dg_gamma_clamp(0.0, lo[i], hi[i]);
        at_zero += b_in[i] * t[i];
        bound += t[i] * t[i];
    }
    const double sign = at_zero < 0.0 ? -1.0 : 1.0;
    double above = sign * at_zero - rho, below = 0.0; /* of v */
    if (above <= 0.0) return bound;
    for (int i = 0; i < 3; i++) b[i] = sign * b_in[i];
    a = sign * a - rho;
    const double least_change = 1e-15 * above;
    double v = a / (1.0 + b[0] * b[0] + b[1] * b[1] + b[2] * b[2]);
    for (int step = 0; step < steps; step++) {
        if (!(v >= below && v <= above)) v = 0.5 * (below + above);
        double linear = a, square = 0.0, slope = 1.0;
        for (int i = 0; i < 3; i++) {
            const double free = -v * b[i];
            t[i] = dg_gamma_clamp(free, lo[i], hi[i]);
            if (t[i] == free) slope += b[i] * b[i];
            linear += b[i] * t[i];
            square += t[i] * t[i];
        }
        const double dual = square + v * (2.0 * linear - v);
        if (dual > bound) bound = dual;
        const double change = (linear - v) / slope;
        if (fabs(change) <= least_change) break;
        if (change > 0.0)
            below = v;
        else
            above = v;
        v += change;
    }
    return bound;
}

/* The norm of the second derivatives of u in the box, by its largest sum of a row. */
DG_HD static inline double dg_gamma_bend(const dg_gamma_form *f)
{
    const double q = fabs(f->q);
    const double h0 = (fabs(f->p[0]) + q) * f->inv[1] * f->inv[2], h1 = (fabs(f->p[1]) + q) * f->inv[0] * f->inv[2],
                 h2 = (fabs(f->p[2]) + q) * f->inv[0] * f->inv[1];
    return h0 + h1 + h2 - fmin(h0, fmin(h1, h2));
}

/* Gauss-Newton from t. Lowers *best2; true when nothing in the box is lower than it by more than the tolerance. */
DG_HD static inline bool dg_gamma_descend(const dg_gamma_box *b, const dg_gamma_form *f, int steps, int relax_steps,
                                          double t[3], double *best2)
{
    const double bend = dg_gamma_bend(f);
    for (int step = 0; step < steps; step++) {
        double g[3], rest = 0.0;
        const double u = dg_gamma_form_at(f, t, g), square = u * u + t[0] * t[0] + t[1] * t[1] + t[2] * t[2];
        const double convexity = 1.0 - fabs(u) * bend;
        if (square < *best2) *best2 = square;
        if (convexity > DG_GAMMA_CONVEX) {
            const double per_convexity = 1.0 / convexity;
            for (int i = 0; i < 3; i++) {
                const double slope = u * g[i] + t[i];
                const double d = dg_gamma_clamp(-slope * per_convexity, b->lo[i] - t[i], b->hi[i] - t[i]);
                rest += d * (2.0 * slope + convexity * d);
            }
            if (square + rest >= dg_gamma_goal2(*best2)) return true;
        }
        (void)dg_gamma_relax(b->lo, b->hi, u - g[0] * t[0] - g[1] * t[1] - g[2] * t[2], g, 0.0, relax_steps, t);
    }
    return false;
}

/* Half the Hessian of u^2 + |t|^2 for a gradient, a value and the mixed derivatives of u; `share` of grad u grad u'. */
DG_HD static inline void dg_gamma_hessian(const double g[3], double share, double u, const double h[3], double m[6])
{
    for (int a = 0; a < 3; a++) m[a] = 1.0 + share * g[a] * g[a]; /* (0,0) (1,1) (2,2), then (1,2) (0,2) (0,1) */
    m[3] = share * g[1] * g[2] + u * h[0];
    m[4] = share * g[0] * g[2] + u * h[1];
    m[5] = share * g[0] * g[1] + u * h[2];
}

/* Solves m x = r by Cholesky's method without roots; false when m is not positive definite. */
DG_HD static inline bool dg_gamma_solve(const double m[6], const double r[3], double x[3])
{
    const double d0 = m[0], l1 = m[5] / d0, l2 = m[4] / d0;
    const double d1 = m[1] - l1 * m[5], v = m[3] - l2 * m[5], w = v / d1, d2 = m[2] - l2 * m[4] - w * v;
    if (!(d0 > 0.0 && d1 > 0.0 && d2 > 0.0)) return false;
    const double y1 = r[1] - l1 * r[0], y2 = r[2] - l2 * r[0] - w * y1;
    x[2] = y2 / d2;
    x[1] = y1 / d1 - w * x[2];
    x[0] = r[0] / d0 - l1 * x[1] - l2 * x[2];
    return true;
}

/* Is half the Hessian at least DG_GAMMA_CURVED in the whole box? With gradients g + e: (g + e)(g + e)' >= g g' / 2 - e e'. */
#define DG_GAMMA_CURVED 0.05
DG_HD static inline bool dg_gamma_is_curved(const dg_gamma_form *f, double least, double most)
{
    const double q = fabs(f->q), u = 0.5 * (least + most), zero[3] = {0.0, 0.0, 0.0};
    const double bend[3] = {fabs(f->p[0]), fabs(f->p[1]), fabs(f->p[2])};
    double g[3], h[3], m[6], x[3], loss = DG_GAMMA_CURVED, sum = 0.0, sum_q = 0.0;
    for (int a = 0; a < 3; a++) {
        const int b = a == 0 ? 1 : 0, c = a == 2 ? 1 : 2;
        const double e = (bend[b] + bend[c] + q) * f->inv[a], scale = f->inv[b] * f->inv[c];
        g[a] = f->l[a] * f->inv[a];
        h[a] = f->p[a] * scale;
        loss += e * e;
        sum += (bend[a] + q) * scale;
        sum_q += q * scale;
    }
    loss += 0.5 * (most - least) * sum + fabs(u) * sum_q;
    if (loss > 1.0) return false;
    dg_gamma_hessian(g, 0.5, u, h, m);
    for (int a = 0; a < 3; a++) m[a] -= loss;
    return dg_gamma_solve(m, zero, x);
}

/* Newton's method in a curved box from t; otherwise as dg_gamma_descend. */
DG_HD static inline bool dg_gamma_descend_curved(const dg_gamma_box *b, const dg_gamma_form *f, double t[3],
                                                 double *best2)
{
    for (int step = 0; step < 12; step++) {
        double g[3], slope[3], h[3], m[6], x[3], rest = 0.0;
        const double u = dg_gamma_form_at(f, t, g), square = u * u + t[0] * t[0] + t[1] * t[1] + t[2] * t[2];
        if (square < *best2) *best2 = square;
        for (int i = 0; i < 3; i++) {
            slope[i] = u * g[i] + t[i];
            const double d = dg_gamma_clamp(-slope[i] / DG_GAMMA_CURVED, b->lo[i] - t[i], b->hi[i] - t[i]);
            rest += d * (2.0 * slope[i] + DG_GAMMA_CURVED * d);
            const int j = i == 0 ? 1 : 0, k = i == 2 ? 1 : 2;
            h[i] = (f->p[i] + f->q * (t[i] - f->mid[i]) * f->inv[i]) * f->inv[j] * f->inv[k];
        }
        if (square + rest >= dg_gamma_goal2(*best2)) return true;
        dg_gamma_hessian(g, 1.0, u, h, m);
        for (int i = 0; i < 3; i++) { /* what is held at a face stays there */
            if (!(slope[i] > 0.0 ? t[i] <= b->lo[i] : t[i] >= b->hi[i])) continue;
            slope[i] = 0.0;
            for (int k = 3; k < 6; k++)
                if (k != 3 + i) m[k] = 0.0;
        }
        if (!dg_gamma_solve(m, slope, x)) return false;
        for (int i = 0; i < 3; i++) t[i] = dg_gamma_clamp(t[i] - x[i], b->lo[i], b->hi[i]);
    }
    return false;
}

/* Cuts the box to |t_i| <= best; false when nothing is left. */
DG_HD static inline bool dg_gamma_clip(dg_gamma_box *b, double best)
{
    for (int a = 0; a < 3; a++) {
        const double lo = b->lo[a], hi = b->hi[a];
        if (lo > best || hi < -best) return false;
        if (lo >= -best && hi <= best) continue;
        const double low = lo < -best ? -best : lo, high = hi > best ? best : hi;
        const double from = (low - lo) / (hi - lo), to = (high - lo) / (hi - lo);
        const int bit = 4 >> a;
        for (int k = 0; k < 8; k++) {
            if ((k & bit) != 0) continue;
            const double u = b->u[k], difference = b->u[k | bit] - u;
            b->u[k] = u + from * difference;
            b->u[k | bit] = u + to * difference;
        }
        b->lo[a] = low;
        b->hi[a] = high;
    }
    return true;
}

/* The half of the box below (side 0) or above its middle on an axis. */
DG_HD static inline dg_gamma_box dg_gamma_half(const dg_gamma_box *b, int axis, int side)
{
    dg_gamma_box out = *b;
    const int bit = 4 >> axis;
    for (int k = 0; k < 8; k++)
        if (((k & bit) != 0) != (side != 0)) out.u[k] = 0.5 * (b->u[k & ~bit] + b->u[k | bit]);
    const double middle = 0.5 * (b->lo[axis] + b->hi[axis]);
    if (side != 0)
        out.lo[axis] = middle;
    else
        out.hi[axis] = middle;
    return out;
}

/* Smallest |t|^2 of a box. */
DG_HD static inline double dg_gamma_reach2(const double lo[3], const double hi[3])
{
    double sum = 0.0;
    for (int a = 0; a < 3; a++) {
        const double t = dg_gamma_clamp(0.0, lo[a], hi[a]);
        sum += t * t;
    }
    return sum;
}

/* Where u^2 + |t|^2 only rises or only falls along an axis, its minimum lies on a face: true when the box was cut down to
 * one. u lies in [least, most]. */
DG_HD static inline bool dg_gamma_to_face(dg_gamma_box *b, const dg_gamma_form *f, double least, double most)
{
    const double q = fabs(f->q), p0 = fabs(f->p[0]), p1 = fabs(f->p[1]), p2 = fabs(f->p[2]);
    const double spread[3] = {p1 + p2 + q, p0 + p2 + q, p0 + p1 + q};
    for (int a = 0; a < 3; a++) {
        if (!(f->half[a] > 0.0)) continue;
        const double low = (f->l[a] - spread[a]) * f->inv[a], high = (f->l[a] + spread[a]) * f->inv[a];
        const double ll = least * low, lh = least * high, ml = most * low, mh = most * high;
        const double falls_by = fmax(fmax(ll, lh), fmax(ml, mh)) + b->hi[a];
        const double rises_by = fmin(fmin(ll, lh), fmin(ml, mh)) + b->lo[a];
        if (falls_by > 0.0 && rises_by < 0.0) continue;
        const int bit = 4 >> a;
        for (int k = 0; k < 8; k++)
            if ((k & bit) == 0) b->u[rises_by < 0.0 ? k : k | bit] = b->u[rises_by < 0.0 ? k | bit : k];
        if (rises_by < 0.0)
            b->lo[a] = b->hi[a];
        else
            b->hi[a] = b->lo[a];
        return true;
    }
    return false;
}

/* The axis to cut a box on: the one the linear part misses most on; among equals the longest. */
DG_HD static inline int dg_gamma_cut_axis(const dg_gamma_form *f, double rho)
{
    int axis = 0;
    double most = -1.0;
    for (int a = 0; a < 3; a++) {
        const double bent = f->half[a] > 0.0 ? rho - fabs(f->p[a]) + 1e-9 * f->half[a] : -1.0;
        if (bent <= most) continue;
        most = bent;
        axis = a;
    }
    return axis;
}

/* Settles a box (returns -1), names the axis to cut it on, or cuts it down to a face (returns 3). */
DG_HD static inline int dg_gamma_settle(dg_gamma_box *b, double *best2)
{
    double least = b->u[0], most = b->u[0], t[3], g[3], slope[3];
    for (int k = 1; k < 8; k++) {
        least = b->u[k] < least ? b->u[k] : least;
        most = b->u[k] > most ? b->u[k] : most;
    }
    const double nearest = least > 0.0 ? least : most < 0.0 ? most : 0.0;
    if (dg_gamma_reach2(b->lo, b->hi) + nearest * nearest >= dg_gamma_goal2(*best2)) return -1;
    const dg_gamma_form f = dg_gamma_form_of(b);
    const double rho = fabs(f.p[0]) + fabs(f.p[1]) + fabs(f.p[2]) + fabs(f.q);
    double a = f.c;
    for (int i = 0; i < 3; i++) {
        slope[i] = f.l[i] * f.inv[i];
        a -= slope[i] * f.mid[i];
    }
    const double bound = dg_gamma_relax(b->lo, b->hi, a, slope, rho, 12, t);
    if (bound >= dg_gamma_goal2(*best2)) return -1;
    const double u = dg_gamma_form_at(&f, t, g), square = u * u + t[0] * t[0] + t[1] * t[1] + t[2] * t[2];
    if (square < *best2) *best2 = square;
    if (bound >= dg_gamma_goal2(*best2)) return -1;
    if (dg_gamma_descend(b, &f, 6, 12, t, best2)) return -1;
    if (dg_gamma_is_curved(&f, least, most) && dg_gamma_descend_curved(b, &f, t, best2)) return -1;
    return dg_gamma_to_face(b, &f, least, most) ? 3 : dg_gamma_cut_axis(&f, rho);
}

/* The smaller of best2 and the minimum of u^2 + |t|^2 over a cell; `stack` [DG_GAMMA_DEPTH] holds the halves put off. */
DG_HD static inline double dg_gamma_cell(const dg_gamma_box *cell, double best2, dg_gamma_box *stack)
{
    dg_gamma_box box = *cell;
    int count = 0;
    for (;;) {
        int axis = dg_gamma_clip(&box, sqrt(best2)) ? dg_gamma_settle(&box, &best2) : -1;
        if (axis == 3) continue;
        if (axis >= 0 && count + 2 <= DG_GAMMA_DEPTH) {
            const int near =
                box.lo[axis] + box.hi[axis] < 0.0; /* the half nearer to the voxel first: it lowers best2 */
            stack[count++] = dg_gamma_half(&box, axis, !near);
            box = dg_gamma_half(&box, axis, near);
            continue;
        }
        if (count == 0) return best2;
        box = stack[--count];
    }
}

/* The evaluated dose on three rising axes, and the smallest and largest dose of every cell the search can come to and of
 * every row of such cells: range[2 k], range[2 k + 1]. */
typedef struct dg_gamma_field {
    int64_t shape[3], cells[3]; /* cells: shape - 1, at least 1: an axis of one plane has a cell without extent */
    const double *axis_mm[3];
    const float *dose_gy;
    int64_t first[3], ranged[3]; /* the box of cells with ranges */
    const float *range_gy;       /* [ranged] */
    const float *row_range_gy;   /* [ranged[0], ranged[1]] */
} dg_gamma_field;

/* What is searched for: a reference point, its dose and criteria. `cell`: the cell that holds the point, or the nearest. */
typedef struct dg_gamma_point {
    double at_mm[3], dose_gy, per_dose, per_mm; /* 1 / dD, 1 / DTA */
    int64_t cell[3];
} dg_gamma_point;

/* What is searched for on the whole: the wanted voxels of a reference dose under one set of criteria. Pointers to host
 * memory, or to a device's copy of it. */
typedef struct dg_gamma_problem {
    dg_gamma_field field;
    const float *reference_gy;
    const uint8_t *where; /* NULL: everywhere */
    int64_t shape[3];     /* of the reference */
    const double *axis_mm[3];
    const int64_t *cell[3]; /* [shape[a]] the evaluated cell of each reference plane, as in dg_gamma_point */
    double dose_percent, norm_gy, distance_mm, max_gamma, cutoff_gy, per_mm; /* per_mm: 1 / distance_mm */
    bool local;
} dg_gamma_problem;

/* Is this voxel asked for? Under local criteria one without dose is not: its criterion is nothing. */
DG_HD static inline bool dg_gamma_is_wanted(const dg_gamma_problem *p, int64_t voxel)
{
    const float dose = p->reference_gy[voxel];
    return (double)dose >= p->cutoff_gy && (p->where == NULL || p->where[voxel] != 0) && !(p->local && dose == 0.0f);
}

/* The point of reference voxel (z, y, x). */
DG_HD static inline dg_gamma_point dg_gamma_point_of(const dg_gamma_problem *p, const int64_t index[3])
{
    dg_gamma_point point;
    for (int a = 0; a < 3; a++) {
        point.at_mm[a] = p->axis_mm[a][index[a]];
        point.cell[a] = p->cell[a][index[a]];
    }
    point.dose_gy = (double)p->reference_gy[(index[0] * p->shape[1] + index[1]) * p->shape[2] + index[2]];
    point.per_dose = 1.0 / (p->dose_percent / 100.0 * (p->local ? point.dose_gy : p->norm_gy));
    point.per_mm = p->per_mm;
    return point;
}

/* A gamma just above 1 fails as a float too. */
DG_HD static inline float dg_gamma_to_float(double gamma)
{
    const float rounded = (float)gamma;
    return gamma > 1.0 && rounded == 1.0f ? 1.0f + FLT_EPSILON : rounded;
}

DG_HD static inline int64_t dg_gamma_upper(const dg_gamma_field *f, int axis, int64_t cell)
{
    return cell + 1 < f->shape[axis] ? cell + 1 : cell;
}

DG_HD static inline dg_gamma_box dg_gamma_box_of(const dg_gamma_field *f, const dg_gamma_point *p,
                                                 const int64_t cell[3])
{
    dg_gamma_box box;
    int64_t index[3][2];
    for (int a = 0; a < 3; a++) {
        index[a][0] = cell[a];
        index[a][1] = dg_gamma_upper(f, a, cell[a]);
        box.lo[a] = (f->axis_mm[a][index[a][0]] - p->at_mm[a]) * p->per_mm;
        box.hi[a] = (f->axis_mm[a][index[a][1]] - p->at_mm[a]) * p->per_mm;
    }
    for (int k = 0; k < 8; k++) {
        const int64_t at = (index[0][k >> 2] * f->shape[1] + index[1][(k >> 1) & 1]) * f->shape[2] + index[2][k & 1];
        box.u[k] = ((double)f->dose_gy[at] - p->dose_gy) * p->per_dose;
    }
    return box;
}

/* Interpolated dose at a point of the cell, given as a share of the cell on each axis. */
DG_HD static inline double dg_gamma_dose_at(const dg_gamma_field *f, const int64_t cell[3], const double share[3])
{
    const int64_t row = f->shape[2], plane = f->shape[1] * row;
    const int64_t dz = (dg_gamma_upper(f, 0, cell[0]) - cell[0]) * plane;
    const int64_t dy = (dg_gamma_upper(f, 1, cell[1]) - cell[1]) * row, dx = dg_gamma_upper(f, 2, cell[2]) - cell[2];
    const float *d = f->dose_gy + cell[0] * plane + cell[1] * row + cell[2];
    const double z = share[0], y = share[1], x = share[2];
    const double c00 = d[0] * (1.0 - z) + d[dz] * z, c01 = d[dx] * (1.0 - z) + d[dz + dx] * z;
    const double c10 = d[dy] * (1.0 - z) + d[dz + dy] * z, c11 = d[dy + dx] * (1.0 - z) + d[dz + dy + dx] * z;
    const double c0 = c00 * (1.0 - y) + c10 * y, c1 = c01 * (1.0 - y) + c11 * y;
    return c0 * (1.0 - x) + c1 * x;
}

/* sqrt(u^2 + |t|^2), squared, at the point of the evaluated dose's grid that is nearest to the voxel; *u as there. */
DG_HD static inline double dg_gamma_at_nearest(const dg_gamma_field *f, const dg_gamma_point *p, double *u)
{
    double share[3], sum = 0.0;
    for (int a = 0; a < 3; a++) {
        const double lo = f->axis_mm[a][p->cell[a]], hi = f->axis_mm[a][dg_gamma_upper(f, a, p->cell[a])];
        const double mm = dg_gamma_clamp(p->at_mm[a], lo, hi), t = (mm - p->at_mm[a]) * p->per_mm;
        share[a] = hi > lo ? (mm - lo) / (hi - lo) : 0.0;
        sum += t * t;
    }
    *u = (dg_gamma_dose_at(f, p->cell, share) - p->dose_gy) * p->per_dose;
    return sum + *u * *u;
}

/* The cells of one axis in the order of their distance from the point. */
typedef struct dg_gamma_walk {
    const double *axis_mm;
    int64_t shape, cells, below, above; /* the nearest cells on both sides that were not visited */
    double at_mm, per_mm;
    bool below_first; /* of two at the same distance */
    int64_t cell;     /* the present one, and its distance squared */
    double t2;
} dg_gamma_walk;

DG_HD static inline void dg_gamma_walk_start(dg_gamma_walk *w, const dg_gamma_field *f, const dg_gamma_point *p,
                                             int axis, bool below_first)
{
    w->axis_mm = f->axis_mm[axis];
    w->shape = f->shape[axis];
    w->cells = f->cells[axis];
    w->above = p->cell[axis];
    w->below = p->cell[axis] - 1;
    w->at_mm = p->at_mm[axis];
    w->per_mm = p->per_mm;
    w->below_first = below_first;
    w->cell = p->cell[axis];
    w->t2 = 0.0;
}

/* Goes to the next cell; false when there is none. */
DG_HD static inline bool dg_gamma_walk_next(dg_gamma_walk *w)
{
    double above = INFINITY, below = INFINITY;
    if (w->above < w->cells) {
        const int64_t end = w->above + 1 < w->shape ? w->above + 1 : w->above;
        above = fmax(w->axis_mm[w->above] - w->at_mm, w->at_mm - w->axis_mm[end]);
        above = above > 0.0 ? above : 0.0;
    }
    if (w->below >= 0) {
        below = w->at_mm - w->axis_mm[w->below + 1];
        below = below > 0.0 ? below : 0.0;
    }
    if (isinf(above) && isinf(below)) return false;
    const bool down = w->below_first ? below <= above : below < above;
    const double t = (down ? below : above) * w->per_mm;
    w->cell = down ? w->below-- : w->above++;
    w->t2 = t * t;
    return true;
}

/* All cells of a field in an order that depends on their place beside the point alone, so that the bits of a result do not
 * depend on how doses were cut into parts. */
typedef struct dg_gamma_search {
    dg_gamma_walk walk[3];
    bool below_first[3];
} dg_gamma_search;

/* Least u^2 of a range. */
DG_HD static inline double dg_gamma_range2(const float *range, const dg_gamma_point *p)
{
    const double low = (double)range[0] - p->dose_gy, high = p->dose_gy - (double)range[1];
    const double u = (low > high ? low : high) * p->per_dose;
    return u > 0.0 ? u * u : 0.0;
}

/* Starts at the point: u there says on which side the dose comes nearer to the reference dose. */
DG_HD static inline void dg_gamma_search_start(dg_gamma_search *s, const dg_gamma_field *f, const dg_gamma_point *p,
                                               double u)
{
    const int64_t step[3] = {f->shape[1] * f->shape[2], f->shape[2], 1};
    const float *here = f->dose_gy + p->cell[0] * step[0] + p->cell[1] * step[1] + p->cell[2];
    for (int a = 0; a < 3; a++) {
        const bool inner = p->cell[a] > 0 && p->cell[a] + 1 < f->shape[a];
        s->below_first[a] = inner && ((double)here[step[a]] - (double)here[-step[a]]) * u > 0.0;
        dg_gamma_walk_start(&s->walk[a], f, p, a, s->below_first[a]);
    }
    /* before the first cell: no row is left of no plane */
    s->walk[1].above = s->walk[1].cells;
    s->walk[1].below = -1;
    s->walk[2].above = s->walk[2].cells;
    s->walk[2].below = -1;
}

/* Goes to the next row of cells that may hold something below goal2. */
DG_HD static inline bool dg_gamma_next_row(dg_gamma_search *s, const dg_gamma_field *f, const dg_gamma_point *p,
                                           double goal2)
{
    for (;;) {
        if (dg_gamma_walk_next(&s->walk[1]) && s->walk[0].t2 + s->walk[1].t2 < goal2) {
            const int64_t row = (s->walk[0].cell - f->first[0]) * f->ranged[1] + s->walk[1].cell - f->first[1];
            const double away2 = s->walk[0].t2 + s->walk[1].t2;
            if (away2 + dg_gamma_range2(f->row_range_gy + 2 * row, p) >= goal2) continue;
            dg_gamma_walk_start(&s->walk[2], f, p, 2, s->below_first[2]);
            return true;
        }
        if (!dg_gamma_walk_next(&s->walk[0]) || s->walk[0].t2 >= goal2) return false;
        dg_gamma_walk_start(&s->walk[1], f, p, 1, s->below_first[1]);
    }
}

/* Goes to the next cell that may hold something below goal2; false when there is none. */
DG_HD static inline bool dg_gamma_search_next(dg_gamma_search *s, const dg_gamma_field *f, const dg_gamma_point *p,
                                              double goal2, int64_t cell[3])
{
    for (;;) {
        if (dg_gamma_walk_next(&s->walk[2]) && s->walk[0].t2 + s->walk[1].t2 + s->walk[2].t2 < goal2) {
            for (int a = 0; a < 3; a++) cell[a] = s->walk[a].cell;
            const int64_t at =
                ((cell[0] - f->first[0]) * f->ranged[1] + cell[1] - f->first[1]) * f->ranged[2] + cell[2] - f->first[2];
            const double away2 = s->walk[0].t2 + s->walk[1].t2 + s->walk[2].t2;
            if (away2 + dg_gamma_range2(f->range_gy + 2 * at, p) < goal2) return true;
        } else if (!dg_gamma_next_row(s, f, p, goal2)) {
            return false;
        }
    }
}

/* A cell cut to |t_i| <= best, as the host's vectors cut it: on every axis, by products with 1 / width. */
DG_HD static inline dg_gamma_box dg_gamma_trim(const dg_gamma_box *cell, double best)
{
    dg_gamma_box b = *cell;
    for (int a = 0; a < 3; a++) {
        const double lo = cell->lo[a], hi = cell->hi[a], per_width = hi - lo > 0.0 ? 1.0 / (hi - lo) : 0.0;
        b.lo[a] = lo > -best ? lo : -best;
        b.hi[a] = hi < best ? hi : best;
        const double from = (b.lo[a] - lo) * per_width, to = (b.hi[a] - lo) * per_width;
        const int bit = 4 >> a;
        for (int k = 0; k < 8; k++) {
            if ((k & bit) != 0) continue;
            const double u = b.u[k], difference = b.u[k | bit] - u;
            b.u[k] = u + from * difference;
            b.u[k | bit] = u + to * difference;
        }
    }
    return b;
}

/* The first try at a cell, a few steps that settle most: lowers *best2, and is true where the cell is left open. */
enum { DG_GAMMA_RELAX_FIRST = 6, DG_GAMMA_DESCENDS_FIRST = 5 };
DG_HD static inline bool dg_gamma_first_try(const dg_gamma_box *cell, double *best2)
{
    const dg_gamma_box b = dg_gamma_trim(cell, sqrt(*best2));
    const dg_gamma_form f = dg_gamma_form_of(&b);
    const double rho = fabs(f.p[0]) + fabs(f.p[1]) + fabs(f.p[2]) + fabs(f.q);
    double a = f.c, slope[3], t[3], g[3];
    for (int i = 0; i < 3; i++) {
        slope[i] = f.l[i] * f.inv[i];
        a -= slope[i] * f.mid[i];
    }
    const double bound = dg_gamma_relax(b.lo, b.hi, a, slope, rho, DG_GAMMA_RELAX_FIRST, t);
    if (!(bound < dg_gamma_goal2(*best2))) return false;
    const double u = dg_gamma_form_at(&f, t, g), square = u * u + t[0] * t[0] + t[1] * t[1] + t[2] * t[2];
    if (square < *best2) *best2 = square;
    if (!(bound < dg_gamma_goal2(*best2))) return false;
    return !dg_gamma_descend(&b, &f, DG_GAMMA_DESCENDS_FIRST, DG_GAMMA_RELAX_FIRST, t, best2);
}

/* A cell that was left open is tried again where the try lowered gamma^2 to less than this part: a smaller box may be
 * settled at once. */
#define DG_GAMMA_AGAIN 0.8

/* The true minimum over the interpolant, at most `limit`; `stack` as for dg_gamma_cell. */
DG_HD static inline double dg_gamma_continuous(const dg_gamma_field *f, const dg_gamma_point *p, double limit,
                                               dg_gamma_box *stack)
{
    dg_gamma_search search;
    int64_t cell[3];
    double u, best2 = fmin(dg_gamma_at_nearest(f, p, &u), limit * limit);
    dg_gamma_search_start(&search, f, p, u);
    while (dg_gamma_search_next(&search, f, p, dg_gamma_goal2(best2), cell)) {
        const dg_gamma_box box = dg_gamma_box_of(f, p, cell);
        double entered2 = best2;
        bool open = dg_gamma_first_try(&box, &best2);
        while (open && best2 < DG_GAMMA_AGAIN * entered2) {
            entered2 = best2;
            open = dg_gamma_first_try(&box, &best2);
        }
        if (open) best2 = dg_gamma_cell(&box, best2, stack);
    }
    return sqrt(best2);
}

#endif
