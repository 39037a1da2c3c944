/* dg_components.c - see dg_components.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_components.h"

#include "components_impl.h"
#include "dg_mem.h"

#include <stdlib.h>
#include <string.h>

/* ---- runs of one slab ------------------------------------------------------------------------------------------------ */

/* Runs [begin, end) of set voxels along x, in z,y,x order; `parent` leads to the first run of the component. */
typedef struct runs {
    int64_t rows, count;
    int64_t *row; /* [rows + 1], first run of each row */
    int32_t *begin, *end;
    int64_t *parent; /* later: the component's number in this slab, from 0 */
} runs;

static void release(runs *r)
{
    dg_free(&r->row);
    dg_free(&r->begin);
    dg_free(&r->end);
    dg_free(&r->parent);
}

/* Writes the runs of a row where `begin` is given; how many there are. */
static int64_t scan_row(const uint8_t *row, int64_t n, int32_t *begin, int32_t *end)
{
    int64_t count = 0;
    for (int64_t x = 0; x < n;) {
        const uint8_t *set = row[x] != 0 ? row + x : NULL;
        if (set == NULL) {
            x++;
            continue;
        }
        int64_t stop = x + 1;
        while (stop < n && row[stop] != 0) stop++;
        if (begin != NULL) {
            begin[count] = (int32_t)x;
            end[count] = (int32_t)stop;
        }
        count++;
        x = stop + 1;
    }
    return count;
}

static dg_status find_runs(const dg_slab *slab, const uint8_t *mask, runs *r)
{
    const int64_t n = slab->shape[2];
    r->rows = slab->count * slab->shape[1];
    DG_TRY(DG_NEW(&r->row, r->rows + 1, "rows of a slab"));
    for (int64_t i = 0; i < r->rows; i++) r->row[i + 1] = r->row[i] + scan_row(mask + i * n, n, NULL, NULL);
    r->count = r->row[r->rows];
    const int64_t room = r->count > 0 ? r->count : 1;
    DG_TRY(DG_NEW(&r->begin, room, "runs of a slab"));
    DG_TRY(DG_NEW(&r->end, room, "runs of a slab"));
    DG_TRY(DG_NEW(&r->parent, room, "components of a slab"));
    for (int64_t i = 0; i < r->rows; i++) (void)scan_row(mask + i * n, n, r->begin + r->row[i], r->end + r->row[i]);
    for (int64_t i = 0; i < r->count; i++) r->parent[i] = i;
    return DG_OK;
}

static int64_t root_of(int64_t *parent, int64_t i)
{
    while (parent[i] != i) i = parent[i] = parent[parent[i]];
    return i;
}

static void join(int64_t *parent, int64_t a, int64_t b)
{
    a = root_of(parent, a);
    b = root_of(parent, b);
    if (a < b)
        parent[b] = a;
    else
        parent[a] = b;
}

/* Joins the runs of two rows that overlap, or miss each other by less than `slack` voxels. */
static void join_rows(runs *r, int64_t row, int64_t other, int32_t slack)
{
    int64_t i = r->row[row], j = r->row[other];
    while (i < r->row[row + 1] && j < r->row[other + 1]) {
        if (r->begin[i] < r->end[j] + slack && r->begin[j] < r->end[i] + slack) join(r->parent, i, j);
        if (r->end[i] < r->end[j])
            i++;
        else
            j++;
    }
}

static void join_runs(const dg_slab *slab, dg_touch touch, runs *r)
{
    const int64_t ny = slab->shape[1];
    const int32_t near = touch == DG_TOUCH_FACE ? 0 : 1, far = touch == DG_TOUCH_CORNER ? 1 : 0;
    for (int64_t row = 0; row < r->rows; row++) {
        const int64_t y = row % ny;
        if (y > 0) join_rows(r, row, row - 1, near);
        if (row < ny) continue;
        join_rows(r, row, row - ny, near);
        if (touch == DG_TOUCH_FACE) continue;
        if (y > 0) join_rows(r, row, row - ny - 1, far);
        if (y + 1 < ny) join_rows(r, row, row - ny + 1, far);
    }
}

/* Numbers the components of the slab by their first runs; how many there are. */
static int64_t number_runs(runs *r)
{
    int64_t count = 0;
    for (int64_t i = 0; i < r->count; i++) {
        const int64_t parent = r->parent[i]; /* not behind i: roots are first runs */
        r->parent[i] = parent == i ? count++ : r->parent[parent];
    }
    return count;
}

/* ---- seams ----------------------------------------------------------------------------------------------------------- */

/* Two components of the whole that are one, by their numbers over all slabs; a < b. */
typedef struct pair {
    int64_t a, b;
} pair;

typedef struct pairs {
    pair *item;
    int64_t count, capacity;
} pairs;

static int by_pair(const void *left, const void *right)
{
    const pair *p = left, *q = right;
    if (p->b != q->b) return p->b < q->b ? -1 : 1;
    return (p->a > q->a) - (p->a < q->a);
}

static dg_status add_pair(pairs *list, int64_t a, int64_t b)
{
    if (list->count > 0 && list->item[list->count - 1].a == a && list->item[list->count - 1].b == b) return DG_OK;
    if (list->count == list->capacity) {
        const int64_t wanted = list->capacity > 0 ? 2 * list->capacity : 1024;
        DG_TRY(dg_grow(&list->item, (size_t)list->capacity, (size_t)wanted, sizeof *list->item, "seams"));
        list->capacity = wanted;
    }
    list->item[list->count++] = (pair){a, b};
    return DG_OK;
}

/* The numbers (from 1) of a plane of the slab, 0 for background. */
static void paint_plane(const dg_slab *slab, const runs *r, int64_t plane, int64_t before, int64_t *out)
{
    const int64_t ny = slab->shape[1], nx = slab->shape[2];
    memset(out, 0, (size_t)(ny * nx) * sizeof *out);
    for (int64_t y = 0; y < ny; y++)
        for (int64_t i = r->row[plane * ny + y]; i < r->row[plane * ny + y + 1]; i++)
            for (int32_t x = r->begin[i]; x < r->end[i]; x++) out[y * nx + x] = before + r->parent[i] + 1;
}

static dg_status meet(const dg_slab *slab, dg_touch touch, const int64_t *above, const int64_t *mine, pairs *list)
{
    const int64_t ny = slab->shape[1], nx = slab->shape[2];
    const int reach = touch == DG_TOUCH_FACE ? 0 : touch == DG_TOUCH_EDGE ? 1 : 2; /* steps along y and x together */
    for (int64_t y = 0; y < ny; y++)
        for (int64_t x = 0; x < nx; x++) {
            if (mine[y * nx + x] == 0) continue;
            for (int dy = -1; dy <= 1; dy++)
                for (int dx = -1; dx <= 1; dx++) {
                    const int64_t i = y + dy, j = x + dx;
                    if (abs(dy) + abs(dx) > reach || i < 0 || j < 0 || i >= ny || j >= nx) continue;
                    if (above[i * nx + j] != 0) DG_TRY(add_pair(list, above[i * nx + j], mine[y * nx + x]));
                }
        }
    return DG_OK;
}

/* Pairs of this slab's first plane with the last plane of the slab before it. @collective */
static dg_status find_pairs(dg_comm *comm, const dg_slab *slab, dg_touch touch, const runs *r, int64_t before,
                            pairs *list)
{
    const int64_t area = slab->shape[1] * slab->shape[2];
    int previous, next;
    int64_t *above = NULL, *mine = NULL;
    dg_slab_neighbours(slab, comm->rank, comm->size, &previous, &next);
    dg_status status = DG_NEW(&above, area, "plane of a seam");
    if (status == DG_OK) status = DG_NEW(&mine, area, "plane of a seam");
    DG_TRY_GOTO(status, dg_comm_agree(comm, status), done);
    if (previous >= 0)
        DG_TRY_GOTO(status, dg_comm_receive(comm, above, area * (int64_t)sizeof *above, previous, DG_TAG_SEAM), done);
    if (next >= 0) {
        paint_plane(slab, r, slab->count - 1, before, mine);
        DG_TRY_GOTO(status, dg_comm_send(comm, mine, area * (int64_t)sizeof *mine, next, DG_TAG_SEAM), done);
    }
    if (previous >= 0) {
        paint_plane(slab, r, 0, before, mine);
        status = meet(slab, touch, above, mine, list);
    }
    if (list->count > 0) qsort(list->item, (size_t)list->count, sizeof *list->item, by_pair);
    int64_t kept = 0;
    for (int64_t i = 0; i < list->count; i++)
        if (kept == 0 || by_pair(&list->item[kept - 1], &list->item[i]) != 0) list->item[kept++] = list->item[i];
    list->count = kept;
    status = dg_comm_agree(comm, status);
done:
    dg_free(&above);
    dg_free(&mine);
    return status;
}

/* All ranks' pairs on every rank, sorted by b. @collective */
static dg_status share_pairs(dg_comm *comm, pairs *list)
{
    int64_t *sizes = NULL, total = 0, bytes = list->count * (int64_t)sizeof *list->item;
    pair *all = NULL;
    dg_status status = DG_NEW(&sizes, comm->size, "sizes of seams");
    DG_TRY_GOTO(status, dg_comm_agree(comm, status), done);
    DG_TRY_GOTO(status, dg_comm_gather(comm, list->item, bytes, 0, NULL, sizes), done);
    for (int i = 0; i < comm->size; i++) total += sizes[i];
    status = dg_alloc(&all, (size_t)total + sizeof *all, 1, "seams of all slabs");
    DG_TRY_GOTO(status, dg_comm_agree(comm, status), done);
    DG_TRY_GOTO(status, dg_comm_gather(comm, list->item, bytes, 0, comm->rank == 0 ? all : NULL, sizes), done);
    DG_TRY_GOTO(status, dg_comm_broadcast(comm, all, total, 0), done);
    dg_free(&list->item);
    *list = (pairs){.item = all, .count = total / (int64_t)sizeof *all};
    all = NULL;
    if (list->count > 0) qsort(list->item, (size_t)list->count, sizeof *list->item, by_pair);
done:
    dg_free(&all);
    dg_free(&sizes);
    return status;
}

/* From pairs to what each merged number becomes: item (root, merged), sorted by `merged`, one for each. The components that
 * meet at seams alone take part in the union. */
static int by_number(const void *a, const void *b)
{
    const int64_t p = *(const int64_t *)a, q = *(const int64_t *)b;
    return (p > q) - (p < q);
}

static int64_t place_of(const int64_t *number, int64_t count, int64_t wanted)
{
    int64_t low = 0, high = count; /* the first that is not below */
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (number[middle] < wanted)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static dg_status merge_pairs(pairs *list)
{
    int64_t *number = NULL, *parent = NULL, count = 0, merged = 0;
    dg_status status;
    if (list->count == 0) return DG_OK;
    DG_TRY_GOTO(status, DG_NEW(&number, 2 * list->count, "components at seams"), done);
    DG_TRY_GOTO(status, DG_NEW(&parent, 2 * list->count, "components at seams"), done);
    for (int64_t i = 0; i < list->count; i++) {
        number[2 * i] = list->item[i].a;
        number[2 * i + 1] = list->item[i].b;
    }
    qsort(number, (size_t)(2 * list->count), sizeof *number, by_number);
    for (int64_t i = 0; i < 2 * list->count; i++)
        if (count == 0 || number[count - 1] != number[i]) number[count++] = number[i];
    for (int64_t i = 0; i < count; i++) parent[i] = i;
    for (int64_t i = 0; i < list->count; i++)
        join(parent, place_of(number, count, list->item[i].a), place_of(number, count, list->item[i].b));
    /* those that are no root are no more than the pairs that joined them: the list has room */
    for (int64_t i = 0; i < count; i++) {
        const int64_t root = root_of(parent, i);
        if (root != i) list->item[merged++] = (pair){number[root], number[i]};
    }
    list->count = merged;
done:
    dg_free(&number);
    dg_free(&parent);
    return status;
}

/* The final number of a component: that of its root, without the merged ones before it. */
static int64_t final_number(const pairs *merged, int64_t number)
{
    int64_t low = 0, high = merged->count;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (merged->item[middle].b < number)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < merged->count && merged->item[low].b == number) return final_number(merged, merged->item[low].a);
    return number - low;
}

/* ---- the whole --------------------------------------------------------------------------------------------------------- */

static void paint_labels(const dg_slab *slab, const runs *r, const uint32_t *final, uint32_t *labels)
{
    const int64_t nx = slab->shape[2];
    memset(labels, 0, (size_t)(r->rows * nx) * sizeof *labels);
    for (int64_t row = 0; row < r->rows; row++)
        for (int64_t i = r->row[row]; i < r->row[row + 1]; i++)
            for (int32_t x = r->begin[i]; x < r->end[i]; x++) labels[row * nx + x] = final[r->parent[i]];
}

/* Components in the slabs before this one, and in all. @collective */
static dg_status count_before(dg_comm *comm, int64_t mine, int64_t *before, int64_t *total)
{
    int64_t *count;
    dg_status status = DG_NEW(&count, comm->size, "components of slabs");
    DG_TRY_GOTO(status, dg_comm_agree(comm, status), done);
    count[comm->rank] = mine;
    DG_TRY_GOTO(status, dg_comm_all_reduce(comm, count, comm->size, DG_I64, DG_SUM), done);
    *before = *total = 0;
    for (int i = 0; i < comm->size; i++) {
        if (i < comm->rank) *before += count[i];
        *total += count[i];
    }
    if (*total > (int64_t)UINT32_MAX)
        status = DG_FAIL(DG_ERR_DATA, "%lld connected components; %lld can be numbered", (long long)*total,
                         (long long)UINT32_MAX);
done:
    dg_free(&count);
    return status;
}

dg_status dg_components_label(dg_comm *comm, const dg_slab *slab, const uint8_t *mask, dg_touch touch, uint32_t *labels,
                              int64_t *components)
{
    runs r = {.count = 0};
    pairs list = {.count = 0};
    uint32_t *final = NULL;
    int64_t mine = 0, before = 0, total = 0;
    if (slab->shape[2] > INT32_MAX - 2)
        return DG_FAIL(DG_ERR_USAGE, "connected components of rows of %lld voxels", (long long)slab->shape[2]);
    dg_status status = find_runs(slab, mask, &r);
    if (status == DG_OK) {
        join_runs(slab, touch, &r);
        for (int64_t i = 0; i < r.count; i++) r.parent[i] = root_of(r.parent, i);
        mine = number_runs(&r);
    }
    DG_TRY_GOTO(status, dg_comm_agree(comm, status), done);
    DG_TRY_GOTO(status, count_before(comm, mine, &before, &total), done);
    DG_TRY_GOTO(status, find_pairs(comm, slab, touch, &r, before, &list), done);
    DG_TRY_GOTO(status, share_pairs(comm, &list), done);
    status = merge_pairs(&list);
    if (status == DG_OK) status = DG_NEW(&final, mine > 0 ? mine : 1, "numbers of components");
    DG_TRY_GOTO(status, dg_comm_agree(comm, status), done);
    for (int64_t i = 0; i < mine; i++) final[i] = (uint32_t)final_number(&list, before + i + 1);
    paint_labels(slab, &r, final, labels);
    *components = total - list.count;
done:
    release(&r);
    dg_free(&list.item);
    dg_free(&final);
    return status;
}

/* ---- by size --------------------------------------------------------------------------------------------------------- */

/* Voxels of every component over all ranks, [components + 1]; the caller's. outside (NULL: not wanted): does it touch a side of
 * the volume? @collective */
static dg_status measure(dg_comm *comm, const dg_slab *slab, const uint32_t *labels, int64_t components,
                         int64_t **sizes, int64_t **outside)
{
    const int64_t ny = slab->shape[1], nx = slab->shape[2], count = components + 1;
    dg_status status = DG_NEW(sizes, count, "sizes of components");
    if (status == DG_OK) status = DG_NEW(outside, count, "sides of components");
    DG_TRY(dg_comm_agree(comm, status));
    for (int64_t i = 0; i < slab->count * ny * nx; i++) (*sizes)[labels[i]]++;
    for (int64_t z = 0, i = 0; z < slab->count; z++)
        for (int64_t y = 0; y < ny; y++)
            for (int64_t x = 0; x < nx; x++, i++) {
                const int64_t plane = slab->first + z;
                if (plane == 0 || y == 0 || x == 0 || plane + 1 == slab->shape[0] || y + 1 == ny || x + 1 == nx)
                    (*outside)[labels[i]] = 1;
            }
    DG_TRY(dg_comm_all_reduce(comm, *sizes, count, DG_I64, DG_SUM));
    return dg_comm_all_reduce(comm, *outside, count, DG_I64, DG_MAX);
}

/* Sets the voxels of components of `of` that are small (and, for holes, inside) to `value` in mask. */
static dg_status replace(dg_comm *comm, const dg_slab *slab, const uint8_t *of, dg_touch touch, int64_t least,
                         bool inside, uint8_t value, uint8_t *mask, int64_t *replaced)
{
    const int64_t voxels = slab->count * slab->shape[1] * slab->shape[2];
    uint32_t *labels = NULL;
    int64_t *sizes = NULL, *outside = NULL, components = 0;
    *replaced = 0;
    dg_status status = DG_NEW(&labels, voxels > 0 ? voxels : 1, "labels of components");
    DG_TRY_GOTO(status, dg_comm_agree(comm, status), done);
    DG_TRY_GOTO(status, dg_components_label(comm, slab, of, touch, labels, &components), done);
    DG_TRY_GOTO(status, measure(comm, slab, labels, components, &sizes, &outside), done);
    for (int64_t k = 1; k <= components; k++) {
        if (sizes[k] >= least || (inside && outside[k] != 0))
            sizes[k] = 0;
        else
            *replaced += 1;
    }
    sizes[0] = 0;
    for (int64_t i = 0; i < voxels; i++)
        if (sizes[labels[i]] > 0) mask[i] = value;
done:
    dg_free(&labels);
    dg_free(&sizes);
    dg_free(&outside);
    return status;
}

dg_status dg_components_drop_small(dg_comm *comm, const dg_slab *slab, uint8_t *mask, dg_touch touch, int64_t least,
                                   int64_t *removed)
{
    return replace(comm, slab, mask, touch, least, false, 0, mask, removed);
}

dg_status dg_components_fill_holes(dg_comm *comm, const dg_slab *slab, uint8_t *mask, int64_t most, int64_t *filled)
{
    const int64_t voxels = slab->count * slab->shape[1] * slab->shape[2];
    uint8_t *background = NULL;
    dg_status status = DG_NEW(&background, voxels > 0 ? voxels : 1, "background");
    DG_TRY_GOTO(status, dg_comm_agree(comm, status), done);
    for (int64_t i = 0; i < voxels; i++) background[i] = mask[i] == 0;
    status = replace(comm, slab, background, DG_TOUCH_FACE, most < INT64_MAX ? most + 1 : most, true, 1, mask, filled);
done:
    dg_free(&background);
    return status;
}
