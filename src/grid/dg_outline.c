/* dg_outline.c - see dg_outline.h. The edges between inside and outside are walked with the inside at the right hand; where
 * two voxels touch at a corner alone, the walk stays with its voxel. SPDX-License-Identifier: Apache-2.0 */
#include "dg_outline.h"

#include "dg_mem.h"

#include <stdbool.h>
#include <stdlib.h>

enum { UP, RIGHT, DOWN, LEFT, DIRECTIONS };
enum { SIDE_MAX = 16384, NONE = -1 };
static const int step[DIRECTIONS][2] = {{-1, 0}, {0, 1}, {1, 0}, {0, -1}};

/* A corner of a polygon on its way round. */
typedef struct node {
    int32_t row, column, next;
} node;

/* A closed walk. */
typedef struct loop {
    int32_t start;  /* node: of an outer one the first in row order, of a hole its leftmost, then topmost */
    int32_t column; /* leftmost */
    bool hole;
} loop;

typedef struct tracer {
    const uint8_t *mask;
    int64_t rows, columns;
    int32_t *leaving; /* [rows + 1][columns + 1][DIRECTIONS] node where an edge begins, or NONE */
    node *nodes;
    int64_t node_count, node_room;
    loop *loops;
    int64_t loop_count, loop_room;
} tracer;

static bool inside(const tracer *t, int64_t row, int64_t column)
{
    return row >= 0 && row < t->rows && column >= 0 && column < t->columns && t->mask[row * t->columns + column] != 0;
}

/* An edge begins at this corner in this direction: the voxel at its right is inside, the one at its left is not. */
static bool is_edge(const tracer *t, int64_t row, int64_t column, int direction)
{
    switch (direction) {
    case UP: return inside(t, row - 1, column) && !inside(t, row - 1, column - 1);
    case RIGHT: return inside(t, row, column) && !inside(t, row - 1, column);
    case DOWN: return inside(t, row, column - 1) && !inside(t, row, column);
    default: return inside(t, row - 1, column - 1) && !inside(t, row, column - 1);
    }
}

static int32_t *leaving(const tracer *t, int64_t row, int64_t column, int direction)
{
    return &t->leaving[(row * (t->columns + 1) + column) * DIRECTIONS + direction];
}

static dg_status add_node(tracer *t, int64_t row, int64_t column, int32_t *index)
{
    if (t->node_count == t->node_room) {
        const int64_t room = 2 * t->node_room + 1024;
        DG_TRY(dg_grow(&t->nodes, (size_t)t->node_room, (size_t)room, sizeof *t->nodes, "outline"));
        t->node_room = room;
    }
    *index = (int32_t)t->node_count;
    t->nodes[t->node_count++] = (node){.row = (int32_t)row, .column = (int32_t)column, .next = NONE};
    return DG_OK;
}

static dg_status add_loop(tracer *t, loop made)
{
    if (t->loop_count == t->loop_room) {
        const int64_t room = 2 * t->loop_room + 64;
        DG_TRY(dg_grow(&t->loops, (size_t)t->loop_room, (size_t)room, sizeof *t->loops, "outline"));
        t->loop_room = room;
    }
    t->loops[t->loop_count++] = made;
    return DG_OK;
}

/* Walks round from an edge that nobody walked before. A hole is walked against the clock: its area is negative. */
static dg_status walk(tracer *t, int64_t row, int64_t column, int direction)
{
    const int64_t begin = t->node_count;
    int64_t area = 0, leftmost = begin;
    int32_t index = NONE;
    while (*leaving(t, row, column, direction) == NONE) {
        const int32_t before = index;
        DG_TRY(add_node(t, row, column, &index));
        *leaving(t, row, column, direction) = index;
        if (before != NONE) t->nodes[before].next = index;
        const node *left = &t->nodes[leftmost];
        if (column < left->column || (column == left->column && row < left->row)) leftmost = index;
        area += step[direction][1] * -row; /* the shoelace of a walk along axes */
        row += step[direction][0];
        column += step[direction][1];
        int turn = (direction + 1) % DIRECTIONS;
        if (!is_edge(t, row, column, turn))
            turn = is_edge(t, row, column, direction) ? direction : (direction + 3) % DIRECTIONS;
        direction = turn;
    }
    t->nodes[index].next = (int32_t)begin;
    const bool hole = area < 0;
    return add_loop(
        t, (loop){.start = (int32_t)(hole ? leftmost : begin), .column = t->nodes[leftmost].column, .hole = hole});
}

static dg_status walk_all(tracer *t)
{
    for (int64_t row = 0; row <= t->rows; row++)
        for (int64_t column = 0; column <= t->columns; column++)
            for (int direction = 0; direction < DIRECTIONS; direction++)
                if (is_edge(t, row, column, direction) && *leaving(t, row, column, direction) == NONE)
                    DG_TRY(walk(t, row, column, direction));
    return DG_OK;
}

static int by_column(const void *a, const void *b)
{
    const loop *one = a, *two = b;
    if (one->hole != two->hole) return one->hole - two->hole;
    if (one->hole && one->column != two->column) return one->column < two->column ? -1 : 1;
    return one->start < two->start ? -1 : one->start > two->start;
}

/* From the hole's leftmost corner to the left, through the inside, to the next edge: it belongs to the outline around, or to a
 * hole farther left, which is joined to it already. */
static dg_status join(tracer *t, const loop *hole)
{
    const node start = t->nodes[hole->start];
    int64_t column = start.column - 1;
    int32_t at = NONE, back = NONE, again = NONE;
    while (at == NONE && column >= 0) {
        at = *leaving(t, start.row, column, UP);
        if (at == NONE) at = *leaving(t, start.row, column, LEFT);
        if (at == NONE) column--;
    }
    if (at == NONE) return DG_FAIL(DG_ERR_INTERNAL, "a hole without an outline around it");
    DG_TRY(add_node(t, start.row, start.column, &back));
    DG_TRY(add_node(t, start.row, column, &again));
    int32_t last = hole->start;
    while (t->nodes[last].next != hole->start) last = t->nodes[last].next;
    t->nodes[last].next = back;
    t->nodes[back].next = again;
    t->nodes[again].next = t->nodes[at].next;
    t->nodes[at].next = hole->start;
    return DG_OK;
}

/* A corner where the way goes straight on says nothing. */
static bool turns(const node *before, const node *at, const node *after)
{
    const int64_t cross = (int64_t)(at->row - before->row) * (after->column - at->column) -
                          (int64_t)(at->column - before->column) * (after->row - at->row);
    const int64_t dot = (int64_t)(at->row - before->row) * (after->row - at->row) +
                        (int64_t)(at->column - before->column) * (after->column - at->column);
    return cross != 0 || dot < 0;
}

static void collect(const tracer *t, const loop *outer, dg_outlines *out)
{
    const node *nodes = t->nodes;
    int64_t used = out->first[out->count];
    int32_t before = outer->start;
    while (nodes[before].next != outer->start) before = nodes[before].next;
    int32_t at = outer->start;
    do {
        const int32_t after = nodes[at].next;
        if (turns(&nodes[before], &nodes[at], &nodes[after])) {
            out->corner[used][0] = nodes[at].row;
            out->corner[used++][1] = nodes[at].column;
        }
        before = at;
        at = after;
    } while (at != outer->start);
    out->first[++out->count] = used;
}

static dg_status trace(tracer *t, dg_outlines *out)
{
    const size_t corners = (size_t)((t->rows + 1) * (t->columns + 1)) * DIRECTIONS;
    int64_t outers = 0;
    DG_TRY(DG_NEW(&t->leaving, corners, "outline"));
    for (size_t i = 0; i < corners; i++) t->leaving[i] = NONE;
    DG_TRY(walk_all(t));
    if (t->loop_count > 0) qsort(t->loops, (size_t)t->loop_count, sizeof *t->loops, by_column);
    while (outers < t->loop_count && !t->loops[outers].hole) outers++;
    for (int64_t i = outers; i < t->loop_count; i++) DG_TRY(join(t, &t->loops[i]));
    DG_TRY(DG_NEW(&out->first, outers + 1, "outline"));
    DG_TRY(DG_NEW(&out->corner, t->node_count + 1, "outline"));
    for (int64_t i = 0; i < outers; i++) collect(t, &t->loops[i], out);
    return DG_OK;
}

dg_status dg_outlines_trace(const uint8_t *mask, int64_t rows, int64_t columns, dg_outlines *out)
{
    tracer t = {.mask = mask, .rows = rows, .columns = columns};
    *out = (dg_outlines){.corner = NULL};
    if (rows < 1 || columns < 1 || rows > SIDE_MAX || columns > SIDE_MAX)
        return DG_FAIL(DG_ERR_USAGE, "outline of a mask of %lld x %lld voxels; at most 16384 a side", (long long)rows,
                       (long long)columns);
    const dg_status status = trace(&t, out);
    dg_free(&t.leaving);
    dg_free(&t.nodes);
    dg_free(&t.loops);
    if (status != DG_OK) dg_outlines_release(out);
    return status;
}

void dg_outlines_release(dg_outlines *outlines)
{
    dg_free(&outlines->corner);
    dg_free(&outlines->first);
    outlines->count = 0;
}
