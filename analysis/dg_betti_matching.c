/* dg_betti_matching.c - see dg_betti_matching.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_betti_matching.h"

#include "betti_impl.h"
#include "dg_mem.h"

#include <string.h>

/* ---- components -------------------------------------------------------------------------------------------------------- */

static int64_t root_of(uint32_t *parent, int64_t i)
{
    while (parent[i] != i) i = parent[i] = parent[parent[i]];
    return i;
}

enum { HOLDS_PREDICTED = 1, HOLDS_LABEL = 2, HOLDS_BOTH = 3 };

/* Joins the clusters of an edge; whether that matched two components. */
static bool join(uint32_t *parent, uint8_t *holds, int64_t a, int64_t b)
{
    a = root_of(parent, a);
    b = root_of(parent, b);
    if (a == b) return false;
    const bool matched = holds[a] == HOLDS_BOTH && holds[b] == HOLDS_BOTH;
    parent[a > b ? a : b] = (uint32_t)(a > b ? b : a);
    holds[a > b ? b : a] |= holds[a > b ? a : b];
    return matched;
}

static dg_status match_components(const betti_pair *p, int64_t *matched)
{
    uint32_t *parent = NULL;
    uint8_t *holds = NULL;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&parent, p->voxels, "clusters"), done);
    DG_TRY_GOTO(status, DG_NEW(&holds, p->voxels, "clusters"), done);
    for (int64_t i = 0; i < p->voxels; i++) {
        parent[i] = (uint32_t)i;
        holds[i] = (uint8_t)((p->mask[0][i] != 0 ? HOLDS_PREDICTED : 0) | (p->mask[1][i] != 0 ? HOLDS_LABEL : 0));
    }
    /* edges of the union, which make its components, then the others */
    for (int late = 0; late < 2; late++)
        for (int64_t z = 0, i = 0; z < p->n[0]; z++)
            for (int64_t y = 0; y < p->n[1]; y++)
                for (int64_t x = 0; x < p->n[2]; x++, i++) {
                    const int64_t at[3] = {z, y, x};
                    for (int axis = 0; axis < 3; axis++) {
                        if (at[axis] + 1 >= p->n[axis]) continue;
                        const int64_t other = i + p->stride[axis];
                        if ((p->mask_union[i] != 0 && p->mask_union[other] != 0) == (late == 1)) continue;
                        *matched += join(parent, holds, i, other) && late == 1;
                    }
                }
done:
    dg_free(&parent);
    dg_free(&holds);
    return status;
}

/* ---- cavities ---------------------------------------------------------------------------------------------------------- */

/* Numbers the background of a mask over corners; bounded[k]: component k reaches no side. */
static dg_status find_cavities(const betti_pair *p, const uint8_t *mask, uint32_t *labels, uint8_t **bounded,
                               int64_t *count)
{
    const dg_slab all = dg_slab_of(p->n, 0, 1);
    dg_comm *alone = NULL;
    uint8_t *background = NULL;
    dg_status status;
    DG_TRY_GOTO(status, dg_comm_self_create(&alone), done);
    DG_TRY_GOTO(status, DG_NEW(&background, p->voxels, "background"), done);
    for (int64_t i = 0; i < p->voxels; i++) background[i] = mask[i] == 0;
    DG_TRY_GOTO(status, dg_components_label(alone, &all, background, DG_TOUCH_CORNER, labels, count), done);
    DG_TRY_GOTO(status, DG_NEW(bounded, *count + 1, "cavities"), done);
    memset(*bounded + 1, 1, (size_t)*count);
    for (int64_t z = 0, i = 0; z < p->n[0]; z++)
        for (int64_t y = 0; y < p->n[1]; y++)
            for (int64_t x = 0; x < p->n[2]; x++, i++)
                if (z == 0 || y == 0 || x == 0 || z + 1 == p->n[0] || y + 1 == p->n[1] || x + 1 == p->n[2])
                    (*bounded)[labels[i]] = 0;
done:
    dg_free(&background);
    dg_comm_destroy(&alone);
    return status;
}

/* A background voxel of the union among the eight of a cell, or -1. */
static int64_t open_voxel(const betti_pair *p, int64_t first)
{
    for (int k = 0; k < 8; k++) {
        const int64_t i = first + (k >> 2) * p->stride[0] + (k >> 1 & 1) * p->stride[1] + (k & 1);
        if (!p->mask_union[i]) return i;
    }
    return -1;
}

static dg_status match_cavities(const betti_pair *p, dg_betti_matches *out)
{
    uint32_t *labels[2] = {NULL, NULL};
    uint8_t *bounded[2] = {NULL, NULL};
    int64_t *last[2] = {NULL, NULL},
            count[2] = {0, 0}; /* the last cell that a cavity shares with the union's background */
    dg_status status;
    for (int k = 0; k < 2; k++) {
        DG_TRY_GOTO(status, DG_NEW(&labels[k], p->voxels, "background"), done);
        DG_TRY_GOTO(status, find_cavities(p, p->mask[k], labels[k], &bounded[k], &count[k]), done);
        DG_TRY_GOTO(status, DG_NEW(&last[k], count[k] + 1, "cavities"), done);
    }
    for (int64_t z = 0; z + 1 < p->n[0]; z++)
        for (int64_t y = 0; y + 1 < p->n[1]; y++)
            for (int64_t x = 0; x + 1 < p->n[2]; x++) {
                const int64_t cell = (z * p->n[1] + y) * p->n[2] + x, open = open_voxel(p, cell);
                if (open < 0) continue;
                for (int k = 0; k < 2; k++) last[k][labels[k][open]] = cell + 1;
            }
    for (int64_t c = 1; c <= count[0]; c++) {
        out->predicted[2] += bounded[0][c];
        if (bounded[0][c] == 0 || last[0][c] == 0) continue;
        const uint32_t other = labels[1][open_voxel(p, last[0][c] - 1)];
        out->matched[2] += bounded[1][other] && last[1][other] == last[0][c];
    }
    for (int64_t c = 1; c <= count[1]; c++) out->labelled[2] += bounded[1][c];
done:
    for (int k = 0; k < 2; k++) {
        dg_free(&labels[k]);
        dg_free(&bounded[k]);
        dg_free(&last[k]);
    }
    return status;
}

/* ---- the whole --------------------------------------------------------------------------------------------------------- */

static dg_status count_others(const betti_pair *p, dg_betti_matches *out)
{
    int64_t *const of[2] = {out->predicted, out->labelled};
    for (int k = 0; k < 2; k++) {
        dg_betti betti;
        DG_TRY(dg_betti_count(p->mask[k], p->n, DG_TOUCH_FACE, &betti));
        if (betti.number[0] > 0) of[k][0] += betti.number[0] - 1;
        of[k][1] += betti.number[1];
    }
    return DG_OK;
}

dg_status dg_betti_match(const uint8_t *predicted, const uint8_t *label, const int64_t n[3], dg_betti_matches *out)
{
    betti_pair p = {.mask = {predicted, label},
                    .n = {n[0], n[1], n[2]},
                    .stride = {n[1] * n[2], n[2], 1},
                    .voxels = n[0] * n[1] * n[2]};
    if (p.voxels > INT64_C(1) << 29)
        return DG_FAIL(DG_ERR_DATA, "Betti matching of a block of %lld voxels; 2^29 are possible", (long long)p.voxels);
    dg_status status = DG_NEW(&p.mask_union, p.voxels, "union of two masks");
    for (int64_t i = 0; status == DG_OK && i < p.voxels; i++) p.mask_union[i] = predicted[i] != 0 || label[i] != 0;
    if (status == DG_OK) status = count_others(&p, out);
    if (status == DG_OK) status = match_components(&p, &out->matched[0]);
    if (status == DG_OK) status = match_cavities(&p, out);
    if (status == DG_OK) status = betti_match_tunnels(&p, &out->matched[1]);
    dg_free(&p.mask_union);
    return status;
}

static void cut(const uint8_t *mask, const int64_t n[3], const int64_t first[3], const int64_t shape[3], uint8_t *out)
{
    for (int64_t z = 0; z < shape[0]; z++)
        for (int64_t y = 0; y < shape[1]; y++)
            memcpy(out + (z * shape[1] + y) * shape[2], mask + ((first[0] + z) * n[1] + first[1] + y) * n[2] + first[2],
                   (size_t)shape[2]);
}

dg_status dg_betti_match_octants(const uint8_t *predicted, const uint8_t *label, const int64_t n[3],
                                 dg_betti_matches *out)
{
    const uint8_t *const mask[2] = {predicted, label};
    uint8_t *block[2] = {NULL, NULL};
    dg_status status = DG_OK;
    for (int k = 0; k < 2 && status == DG_OK; k++)
        status = DG_NEW(&block[k], (n[0] + 1) / 2 * ((n[1] + 1) / 2) * ((n[2] + 1) / 2), "block of a mask");
    for (int octant = 0; octant < 8 && status == DG_OK; octant++) {
        int64_t first[3], shape[3], voxels = 1;
        for (int axis = 0; axis < 3; axis++) {
            const int second = octant >> (2 - axis) & 1;
            first[axis] = second ? (n[axis] + 1) / 2 : 0;
            shape[axis] = second ? n[axis] / 2 : (n[axis] + 1) / 2;
            voxels *= shape[axis];
        }
        if (voxels == 0) continue;
        for (int k = 0; k < 2; k++) cut(mask[k], n, first, shape, block[k]);
        status = dg_betti_match(block[0], block[1], shape, out);
    }
    for (int k = 0; k < 2; k++) dg_free(&block[k]);
    return status;
}

double dg_betti_score(const dg_betti_matches *m)
{
    static const double weight[DG_BETTI_NUMBERS] = {0.34, 0.33, 0.33};
    double sum = 0, weights = 0;
    for (int k = 0; k < DG_BETTI_NUMBERS; k++) {
        const double all = (double)(m->predicted[k] + m->labelled[k]);
        if (all == 0) continue;
        sum += weight[k] * (m->labelled[k] > 0 ? 2 * (double)m->matched[k] / all : 0.5 / (all + 0.5));
        weights += weight[k];
    }
    return weights > 0 ? sum / weights : 1;
}
