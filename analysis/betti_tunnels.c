/* betti_tunnels.c - tunnels of two masks that the same square of their union's filtration closes; see dg_betti_matching.h.
 *
 * Edges and squares are numbered 3 voxel + orientation: an edge leads from its voxel along an axis, a square leaves its axis
 * out. A column is a square; its edges are the rows. A column that needs no reduction is not stored: the square says it all.
 * SPDX-License-Identifier: Apache-2.0 */
#include "betti_impl.h"
#include "dg_mem.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { LATE_BIT = 31 };

/* ---- squares ----------------------------------------------------------------------------------------------------------- */

typedef struct place {
    int64_t at[3], voxel;
} place;

static bool has_square(const betti_pair *p, const place *where, int left_out)
{
    for (int axis = 0; axis < 3; axis++)
        if (axis != left_out && where->at[axis] + 1 >= p->n[axis]) return false;
    return true;
}

static void other_axes(int left_out, int axes[2])
{
    axes[0] = left_out == 0 ? 1 : 0;
    axes[1] = left_out == 2 ? 1 : 2;
}

static bool square_is_late(const betti_pair *p, int64_t voxel, int left_out)
{
    int axes[2];
    other_axes(left_out, axes);
    const int64_t a = p->stride[axes[0]], b = p->stride[axes[1]];
    const uint8_t *u = p->mask_union + voxel;
    return u[0] == 0 || u[a] == 0 || u[b] == 0 || u[a + b] == 0;
}

static void square_edges(const betti_pair *p, int64_t voxel, int left_out, int64_t edge[4])
{
    int axes[2];
    other_axes(left_out, axes);
    edge[0] = 3 * voxel + axes[0];
    edge[1] = 3 * voxel + axes[1];
    edge[2] = 3 * (voxel + p->stride[axes[1]]) + axes[0];
    edge[3] = 3 * (voxel + p->stride[axes[0]]) + axes[1];
}

/* Calls `visit` for every square that joins the union early, in order, then for the others; backwards: the other way round. */
typedef dg_status (*visitor)(void *user, const place *where, int left_out, bool late);

static dg_status visit_squares(const betti_pair *p, bool backwards, visitor visit, void *user)
{
    for (int turn = 0; turn < 2; turn++) {
        const bool late = (turn == 1) != backwards;
        for (int64_t k = 0; k < 3 * p->voxels; k++) {
            const int64_t square = backwards ? 3 * p->voxels - 1 - k : k, voxel = square / 3;
            const place where = {.at = {voxel / p->stride[0], voxel / p->stride[1] % p->n[1], voxel % p->n[2]},
                                 .voxel = voxel};
            const int left_out = (int)(square % 3);
            if (!has_square(p, &where, left_out) || square_is_late(p, voxel, left_out) != late) continue;
            DG_TRY(visit(user, &where, left_out, late));
        }
    }
    return DG_OK;
}

/* ---- squares that begin a cavity: their columns would come to nothing -------------------------------------------------- */

typedef struct clearing {
    const betti_pair *pair;
    uint32_t *parent;  /* [voxels + 1] of cells, by their first voxel; the last is outside */
    uint8_t *positive; /* [3 voxels] */
} clearing;

static uint32_t root_of(uint32_t *parent, uint32_t i)
{
    while (parent[i] != i) i = parent[i] = parent[parent[i]];
    return i;
}

/* From behind, a square that joins two regions of cells is the one that would have parted them. */
static dg_status join_cells(void *user, const place *where, int left_out, bool late)
{
    const clearing *c = user;
    const betti_pair *p = c->pair;
    const int64_t outside = p->voxels, before = where->at[left_out] > 0 ? where->voxel - p->stride[left_out] : outside;
    const int64_t after = where->at[left_out] + 1 < p->n[left_out] ? where->voxel : outside;
    const uint32_t a = root_of(c->parent, (uint32_t)before), b = root_of(c->parent, (uint32_t)after);
    (void)late;
    c->positive[3 * where->voxel + left_out] = a != b;
    c->parent[a] = b;
    return DG_OK;
}

static dg_status find_positive(const betti_pair *p, uint8_t *positive)
{
    clearing c = {.pair = p, .positive = positive};
    DG_TRY(DG_NEW(&c.parent, p->voxels + 1, "cells"));
    for (int64_t i = 0; i <= p->voxels; i++) c.parent[i] = (uint32_t)i;
    const dg_status status = visit_squares(p, true, join_cells, &c);
    dg_free(&c.parent);
    return status;
}

/* ---- reduction --------------------------------------------------------------------------------------------------------- */

/* A column under work: a heap of keys, the last row on top; a key that is there twice is not there. Key: the edge, with the
 * highest bit where it joins the mask late. */
typedef struct heap {
    uint32_t *key;
    int64_t count, room;
} heap;

static dg_status push(heap *h, uint32_t key)
{
    if (h->count == h->room) {
        const int64_t room = 2 * h->room + 64;
        DG_TRY(dg_grow(&h->key, (size_t)h->room, (size_t)room, sizeof *h->key, "a column"));
        h->room = room;
    }
    int64_t i = h->count++;
    for (; i > 0 && h->key[(i - 1) / 2] < key; i = (i - 1) / 2) h->key[i] = h->key[(i - 1) / 2];
    h->key[i] = key;
    return DG_OK;
}

static uint32_t pop(heap *h)
{
    const uint32_t top = h->key[0], last = h->key[--h->count];
    int64_t i = 0;
    for (int64_t child; (child = 2 * i + 1) < h->count; i = child) {
        if (child + 1 < h->count && h->key[child + 1] > h->key[child]) child++;
        if (h->key[child] <= last) break;
        h->key[i] = h->key[child];
    }
    if (h->count > 0) h->key[i] = last;
    return top;
}

/* The last row, taken out; false: the column is empty. */
static bool pop_row(heap *h, uint32_t *key)
{
    while (h->count > 0) {
        *key = pop(h);
        if (h->count == 0 || h->key[0] != *key) return true;
        (void)pop(h);
    }
    return false;
}

typedef struct reduction {
    const betti_pair *pair;
    const uint8_t *mask;     /* the one whose order the rows have */
    const uint8_t *positive; /* [3 voxels] */
    uint8_t *closes;         /* [3 voxels]: gets `bit` where a square closes a tunnel of the mask */
    uint8_t bit;
    uint32_t
        *pivot; /* [3 voxels] of edges: 1 + the square whose column ends there, or LATE_BIT and the stored column */
    heap work;
    uint32_t *stored; /* rows of reduced columns, one after the other */
    int64_t used, room;
    int64_t *begin; /* [columns + 1] into `stored` */
    int64_t columns, columns_room;
} reduction;

static uint32_t key_of(const reduction *r, int64_t edge)
{
    const int64_t voxel = edge / 3, other = voxel + r->pair->stride[edge % 3];
    return (uint32_t)edge | (uint32_t)(r->mask[voxel] == 0 || r->mask[other] == 0) << LATE_BIT;
}

static dg_status add_square(reduction *r, int64_t square)
{
    int64_t edge[4];
    square_edges(r->pair, square / 3, (int)(square % 3), edge);
    for (int k = 0; k < 4; k++) DG_TRY(push(&r->work, key_of(r, edge[k])));
    return DG_OK;
}

static dg_status add_column(reduction *r, uint32_t pivot)
{
    if (pivot >> LATE_BIT == 0) return add_square(r, (int64_t)pivot - 1);
    const int64_t column = pivot & ~(UINT32_C(1) << LATE_BIT);
    for (int64_t i = r->begin[column]; i < r->begin[column + 1]; i++) DG_TRY(push(&r->work, r->stored[i]));
    return DG_OK;
}

/* The rest of the work behind its last row `key`. */
static dg_status store(reduction *r, uint32_t key, uint32_t *pivot)
{
    bool more = true;
    if (r->columns + 1 >= r->columns_room) {
        const int64_t room = 2 * r->columns_room + 1024;
        DG_TRY(dg_grow(&r->begin, (size_t)r->columns_room, (size_t)room, sizeof *r->begin, "columns"));
        r->columns_room = room;
    }
    while (more) {
        if (r->used == r->room) {
            const int64_t room = 2 * r->room + 4096;
            DG_TRY(dg_grow(&r->stored, (size_t)r->room, (size_t)room, sizeof *r->stored, "rows of columns"));
            r->room = room;
        }
        r->stored[r->used++] = key;
        more = pop_row(&r->work, &key);
    }
    *pivot = (uint32_t)r->columns | UINT32_C(1) << LATE_BIT;
    r->begin[++r->columns] = r->used;
    return DG_OK;
}

static dg_status reduce(void *user, const place *where, int left_out, bool late)
{
    reduction *r = user;
    const int64_t square = 3 * where->voxel + left_out;
    uint32_t key;
    bool plain = true;
    if (r->positive[square] != 0) return DG_OK;
    r->work.count = 0;
    DG_TRY(add_square(r, square));
    while (pop_row(&r->work, &key)) {
        uint32_t *pivot = &r->pivot[key & ~(UINT32_C(1) << LATE_BIT)];
        if (*pivot == 0) {
            if (late && key >> LATE_BIT == 0) r->closes[square] |= r->bit;
            *pivot = (uint32_t)square + 1;
            return plain ? DG_OK : store(r, key, pivot);
        }
        DG_TRY(push(&r->work, key));
        DG_TRY(add_column(r, *pivot));
        plain = false;
    }
    return DG_OK;
}

static dg_status reduce_for(const betti_pair *p, int which, const uint8_t *positive, uint8_t *closes)
{
    reduction r = {
        .pair = p, .mask = p->mask[which], .positive = positive, .closes = closes, .bit = (uint8_t)(1 << which)};
    dg_status status = DG_NEW(&r.pivot, 3 * p->voxels, "rows of columns");
    if (status == DG_OK) status = visit_squares(p, false, reduce, &r);
    dg_free(&r.pivot);
    dg_free(&r.work.key);
    dg_free(&r.stored);
    dg_free(&r.begin);
    return status;
}

dg_status betti_match_tunnels(const betti_pair *p, int64_t *matched)
{
    uint8_t *positive = NULL, *closes = NULL;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&positive, 3 * p->voxels, "squares"), done);
    DG_TRY_GOTO(status, DG_NEW(&closes, 3 * p->voxels, "squares"), done);
    DG_TRY_GOTO(status, find_positive(p, positive), done);
    for (int which = 0; which < 2; which++) DG_TRY_GOTO(status, reduce_for(p, which, positive, closes), done);
    for (int64_t i = 0; i < 3 * p->voxels; i++) *matched += closes[i] == 3;
done:
    dg_free(&positive);
    dg_free(&closes);
    return status;
}
