/* gamma_lanes.c - see gamma_lanes.h; the mathematics is that of dg_gamma_search.h. A cell that its first box does not settle
 * goes on there alone. SPDX-License-Identifier: Apache-2.0 */
#include "gamma_lanes.h"

#include "gamma_vector.h"

#ifndef DG_GAMMA_LANES
#define DG_GAMMA_LANES dg_gamma_lanes_base
#endif

INLINE vd clamp(vd x, vd lo, vd hi) { return most(lo, least(hi, x)); }
INLINE vd goal2_of(vd best2) { return best2 * (1.0 - 2e-8) - 1e-16; }
INLINE vd inverse(vd x) { return pick(x > 0.0, 1.0 / x, set(0.0)); }

/* dg_gamma_box and dg_gamma_form of each lane. */
typedef struct boxes {
    vd lo[3], hi[3], u[8];
} boxes;
typedef struct forms {
    vd mid[3], inv[3], c, l[3], p[3], q;
} forms;

/* What the lanes search in: the cell, its doses, the reference dose, and the best so far. */
typedef struct cells {
    double lo[3][LANES], hi[3][LANES], dose[8][LANES], reference[LANES], per_dose[LANES], best2[LANES];
} __attribute__((aligned(64))) cells;

INLINE vd load(const double *values) { return *(const vd *)values; }

/* dg_gamma_trim */
INLINE void make_boxes(const cells *c, boxes *b)
{
    const vd best = root(load(c->best2)), reference = load(c->reference), per_dose = load(c->per_dose);
    for (int k = 0; k < 8; k++) b->u[k] = (load(c->dose[k]) - reference) * per_dose;
#pragma GCC unroll 3
    for (int a = 0; a < 3; a++) {
        const vd lo = load(c->lo[a]), hi = load(c->hi[a]), per_width = inverse(hi - lo);
        b->lo[a] = most(lo, -best);
        b->hi[a] = least(hi, best);
        const vd from = (b->lo[a] - lo) * per_width, to = (b->hi[a] - lo) * per_width;
        const int bit = 4 >> a;
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++) {
            if ((k & bit) != 0) continue;
            const vd u = b->u[k], difference = b->u[k | bit] - u;
            b->u[k] = u + from * difference;
            b->u[k | bit] = u + to * difference;
        }
    }
}

/* dg_gamma_form_of */
INLINE void make_forms(const boxes *b, forms *f)
{
    const vd *u = b->u;
    const vd s0 = u[0] + u[1], d0 = u[1] - u[0], s1 = u[2] + u[3], d1 = u[3] - u[2];
    const vd s2 = u[4] + u[5], d2 = u[5] - u[4], s3 = u[6] + u[7], d3 = u[7] - u[6];
    const vd ss0 = s0 + s1, sd0 = s1 - s0, ds0 = d0 + d1, dd0 = d1 - d0;
    const vd ss1 = s2 + s3, sd1 = s3 - s2, ds1 = d2 + d3, dd1 = d3 - d2;
    f->c = 0.125 * (ss0 + ss1);
    f->l[0] = 0.125 * (ss1 - ss0);
    f->l[1] = 0.125 * (sd0 + sd1);
    f->l[2] = 0.125 * (ds0 + ds1);
    f->p[2] = 0.125 * (sd1 - sd0);
    f->p[1] = 0.125 * (ds1 - ds0);
    f->p[0] = 0.125 * (dd0 + dd1);
    f->q = 0.125 * (dd1 - dd0);
#pragma GCC unroll 3
    for (int a = 0; a < 3; a++) {
        f->mid[a] = 0.5 * (b->lo[a] + b->hi[a]);
        f->inv[a] = inverse(0.5 * (b->hi[a] - b->lo[a]));
    }
}

/* dg_gamma_form_at */
INLINE vd form_at(const forms *f, const vd t[3], vd gradient[3])
{
    const vd x = (t[0] - f->mid[0]) * f->inv[0], y = (t[1] - f->mid[1]) * f->inv[1], z = (t[2] - f->mid[2]) * f->inv[2];
    const vd along_x = f->l[0] + f->p[2] * y + (f->p[1] + f->q * y) * z;
    gradient[0] = along_x * f->inv[0];
    gradient[1] = (f->l[1] + f->p[2] * x + (f->p[0] + f->q * x) * z) * f->inv[1];
    gradient[2] = (f->l[2] + f->p[1] * x + (f->p[0] + f->q * x) * y) * f->inv[2];
    return f->c + f->l[1] * y + (f->l[2] + f->p[0] * y) * z + along_x * x;
}

/* dg_gamma_relax; lanes go on until their step is small, and then stand still. */
INLINE vd relax(const boxes *box, vd a, const vd b_in[3], vd rho, vd t[3])
{
    vd b[3], bound = set(0.0), at_zero = a;
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++) {
        t[i] = clamp(set(0.0), box->lo[i], box->hi[i]);
        at_zero += b_in[i] * t[i];
        bound += t[i] * t[i];
    }
    const vd sign = pick(at_zero < 0.0, set(-1.0), set(1.0));
    vd above = sign * at_zero - rho, below = set(0.0);
    vl active = above > 0.0;
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++) b[i] = sign * b_in[i];
    a = sign * a - rho;
    const vd least_change = 1e-15 * above;
    vd v = a / (1.0 + b[0] * b[0] + b[1] * b[1] + b[2] * b[2]);
    for (int step = 0; step < DG_GAMMA_RELAX_FIRST && any(active); step++) {
        v = pick((v >= below) & (v <= above), v, 0.5 * (below + above));
        vd linear = a, square = set(0.0), slope = set(1.0);
#pragma GCC unroll 3
        for (int i = 0; i < 3; i++) {
            const vd free = -v * b[i], at = clamp(free, box->lo[i], box->hi[i]);
            t[i] = pick(active, at, t[i]);
            slope += pick(at == free, b[i] * b[i], set(0.0));
            linear += b[i] * at;
            square += at * at;
        }
        const vd dual = square + v * (2.0 * linear - v);
        bound = pick(active & (dual > bound), dual, bound);
        const vd change = (linear - v) / slope;
        active &= absolute(change) > least_change;
        const vl up = change > 0.0;
        below = pick(active & up, v, below);
        above = pick(active & ~up, v, above);
        v = pick(active, v + change, v);
    }
    return bound;
}

/* dg_gamma_descend: which of the active lanes are left open. */
INLINE vl descend(const boxes *box, const forms *f, vl active, vd t[3], vd *best2)
{
    const vd q = absolute(f->q);
    const vd h0 = (absolute(f->p[0]) + q) * f->inv[1] * f->inv[2], h1 = (absolute(f->p[1]) + q) * f->inv[0] * f->inv[2],
             h2 = (absolute(f->p[2]) + q) * f->inv[0] * f->inv[1];
    const vd bend = h0 + h1 + h2 - least(h0, least(h1, h2));
    for (int step = 0; step < DG_GAMMA_DESCENDS_FIRST && any(active); step++) {
        vd g[3], rest = set(0.0);
        const vd u = form_at(f, t, g), square = u * u + t[0] * t[0] + t[1] * t[1] + t[2] * t[2];
        const vd convexity = 1.0 - absolute(u) * bend;
        *best2 = pick(active & (square < *best2), square, *best2);
        const vd per_convexity = 1.0 / convexity;
#pragma GCC unroll 3
        for (int i = 0; i < 3; i++) {
            const vd slope = u * g[i] + t[i];
            const vd d = clamp(-slope * per_convexity, box->lo[i] - t[i], box->hi[i] - t[i]);
            rest += d * (2.0 * slope + convexity * d);
        }
        active &= ~((convexity > DG_GAMMA_CONVEX) & (square + rest >= goal2_of(*best2)));
        if (step + 1 == DG_GAMMA_DESCENDS_FIRST || !any(active)) break;
        vd next[3];
        (void)relax(box, u - g[0] * t[0] - g[1] * t[1] - g[2] * t[2], g, set(0.0), next);
#pragma GCC unroll 3
        for (int i = 0; i < 3; i++) t[i] = pick(active, next[i], t[i]);
    }
    return active;
}

/* dg_gamma_first_try: lowers best2 and returns the lanes that it leaves open. */
static vl settle(cells *c)
{
    boxes b;
    forms f;
    vd t[3], g[3], slope[3], best2 = load(c->best2);
    make_boxes(c, &b);
    make_forms(&b, &f);
    const vd rho = absolute(f.p[0]) + absolute(f.p[1]) + absolute(f.p[2]) + absolute(f.q);
    vd a = f.c;
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++) {
        slope[i] = f.l[i] * f.inv[i];
        a -= slope[i] * f.mid[i];
    }
    const vd bound = relax(&b, a, slope, rho, t);
    const vl open = bound < goal2_of(best2);
    const vd u = form_at(&f, t, g), square = u * u + t[0] * t[0] + t[1] * t[1] + t[2] * t[2];
    best2 = pick(open & (square < best2), square, best2);
    const vl left = descend(&b, &f, open & (bound < goal2_of(best2)), t, &best2);
    *(vd *)c->best2 = best2;
    return left;
}

/* One voxel in a lane. */
typedef struct lane {
    int64_t voxel; /* -1: idle */
    dg_gamma_point point;
    dg_gamma_search search;
    int64_t cell[3];
    double entered2; /* best2 with which the cell was last tried */
} lane;

/* The wanted voxels of some rows, in order. */
typedef struct feed {
    const dg_gamma_setup *setup;
    int64_t next, end;
    float *gamma;
    dg_gamma_box *stack; /* [DG_GAMMA_DEPTH] of a cell that is searched alone */
} feed;

static void load_cell(const dg_gamma_field *f, lane *l, int k, cells *c)
{
    int64_t offset[3];
    const int64_t step[3] = {f->shape[1] * f->shape[2], f->shape[2], 1};
    const float *dose = f->dose_gy;
    for (int a = 0; a < 3; a++) {
        const int64_t upper = dg_gamma_upper(f, a, l->cell[a]);
        c->lo[a][k] = (f->axis_mm[a][l->cell[a]] - l->point.at_mm[a]) * l->point.per_mm;
        c->hi[a][k] = (f->axis_mm[a][upper] - l->point.at_mm[a]) * l->point.per_mm;
        offset[a] = (upper - l->cell[a]) * step[a];
        dose += l->cell[a] * step[a];
    }
    for (int i = 0; i < 8; i++)
        c->dose[i][k] = (double)dose[(i >> 2) * offset[0] + ((i >> 1) & 1) * offset[1] + (i & 1) * offset[2]];
    l->entered2 = c->best2[k];
    c->reference[k] = l->point.dose_gy;
    c->per_dose[k] = l->point.per_dose;
}

/* Takes the next voxel that has a cell to be searched; those that have none are finished at once. */
static void start_voxel(feed *in, lane *l, int k, cells *c)
{
    const dg_gamma_setup *s = in->setup;
    const double limit2 = s->problem.max_gamma * s->problem.max_gamma;
    l->voxel = -1;
    for (; in->next < in->end; in->next++) {
        const int64_t voxel = in->next, row = voxel / s->problem.shape[2];
        const int64_t index[3] = {row / s->problem.shape[1], row % s->problem.shape[1], voxel % s->problem.shape[2]};
        if (!dg_gamma_is_wanted(&s->problem, voxel)) {
            in->gamma[voxel] = NAN;
            continue;
        }
        double u;
        l->point = dg_gamma_point_of(&s->problem, index);
        const double here2 = dg_gamma_at_nearest(&s->problem.field, &l->point, &u),
                     best2 = here2 < limit2 ? here2 : limit2;
        dg_gamma_search_start(&l->search, &s->problem.field, &l->point, u);
        if (dg_gamma_search_next(&l->search, &s->problem.field, &l->point, dg_gamma_goal2(best2), l->cell)) {
            l->voxel = voxel;
            c->best2[k] = best2;
            load_cell(&s->problem.field, l, k, c);
            in->next++;
            return;
        }
        in->gamma[voxel] = dg_gamma_to_float(sqrt(best2));
    }
}

/* After a lane's cell: its next cell, or its next voxel. */
static void go_on(feed *in, lane *l, int k, bool open, cells *c)
{
    const dg_gamma_field *f = &in->setup->problem.field;
    if (l->voxel < 0) return;
    if (open && c->best2[k] < DG_GAMMA_AGAIN * l->entered2) {
        l->entered2 = c->best2[k];
        return;
    }
    if (open) {
        const dg_gamma_box box = dg_gamma_box_of(f, &l->point, l->cell);
        c->best2[k] = dg_gamma_cell(&box, c->best2[k], in->stack);
    }
    if (dg_gamma_search_next(&l->search, f, &l->point, dg_gamma_goal2(c->best2[k]), l->cell)) {
        load_cell(f, l, k, c);
    } else {
        in->gamma[l->voxel] = dg_gamma_to_float(sqrt(c->best2[k]));
        start_voxel(in, l, k, c);
    }
}

void DG_GAMMA_LANES(const dg_gamma_setup *s, int64_t first, int64_t end, float *gamma)
{
    dg_gamma_box stack[DG_GAMMA_DEPTH];
    feed in = {.setup = s,
               .stack = stack,
               .next = first * s->problem.shape[2],
               .end = end * s->problem.shape[2],
               .gamma = gamma};
    cells c = {.best2 = {0}};
    lane lanes[LANES];
    for (int k = 0; k < LANES; k++) start_voxel(&in, &lanes[k], k, &c);
    for (;;) {
        bool busy = false;
        for (int k = 0; k < LANES; k++) busy = busy || lanes[k].voxel >= 0;
        if (!busy) return;
        const vl open = settle(&c);
        for (int k = 0; k < LANES; k++) go_on(&in, &lanes[k], k, open[k] != 0, &c);
    }
}
