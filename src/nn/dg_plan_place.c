/* dg_plan_place.c - places blocks with lifetimes in one arena. SPDX-License-Identifier: Apache-2.0 */
#include "plan_impl.h"

#include "dg_mem.h"

#include <stdlib.h>

static bool together(const dg_block *a, const dg_block *b) { return a->first <= b->last && b->first <= a->last; }

/* Largest first; equal ones by time, then by index, so that the order does not depend on qsort. */
static int by_size(const void *a, const void *b)
{
    const dg_block *left = *(const dg_block *const *)a, *right = *(const dg_block *const *)b;
    if (left->bytes != right->bytes) return left->bytes > right->bytes ? -1 : 1;
    if (left->first != right->first) return left->first < right->first ? -1 : 1;
    return left < right ? -1 : left > right;
}

static int by_offset(const void *a, const void *b)
{
    const dg_block *left = *(const dg_block *const *)a, *right = *(const dg_block *const *)b;
    if (left->offset != right->offset) return left->offset < right->offset ? -1 : 1;
    return left < right ? -1 : left > right;
}

/* Lowest gap between the neighbours (sorted by offset) that are alive together with `block`. */
static int64_t lowest_gap(const dg_block *block, dg_block *const *neighbour, int count)
{
    int64_t at = 0;
    for (int i = 0; i < count; i++) {
        if (neighbour[i]->offset - at >= block->bytes) break;
        int64_t end = neighbour[i]->offset + neighbour[i]->bytes;
        if (end > at) at = end;
    }
    return at;
}

dg_status dg_blocks_place(dg_block *block, int count, int64_t *arena_bytes)
{
    dg_block **order = NULL, **neighbour = NULL;
    dg_status status = DG_OK;
    *arena_bytes = 0;
    DG_TRY_GOTO(status, dg_alloc(&order, (size_t)count + 1, sizeof *order, "placement order"), done);
    DG_TRY_GOTO(status, dg_alloc(&neighbour, (size_t)count + 1, sizeof *neighbour, "placement neighbours"), done);
    for (int i = 0; i < count; i++) order[i] = &block[i];
    qsort(order, (size_t)count, sizeof *order, by_size);
    for (int i = 0; i < count; i++) {
        int neighbours = 0;
        for (int k = 0; k < i; k++)
            if (together(order[i], order[k])) neighbour[neighbours++] = order[k];
        qsort(neighbour, (size_t)neighbours, sizeof *neighbour, by_offset);
        order[i]->offset = lowest_gap(order[i], neighbour, neighbours);
        if (order[i]->bytes > INT64_MAX / 2 - order[i]->offset)
            status =
                DG_FAIL(DG_ERR_MEMORY, "plan: activations need more than 2^62 bytes; use a smaller patch or batch");
        if (status != DG_OK) goto done;
        if (order[i]->offset + order[i]->bytes > *arena_bytes) *arena_bytes = order[i]->offset + order[i]->bytes;
    }
done:
    dg_free(&neighbour);
    dg_free(&order);
    return status;
}
