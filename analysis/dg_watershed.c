/* dg_watershed.c - see dg_watershed.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_watershed.h"

#include "dg_components.h"
#include "dg_distance.h"
#include "dg_mem.h"

#include <math.h>
#include <string.h>

enum { REACH = 2 }; /* of a marker's window on either side */

/* The largest of each voxel and its neighbours along an axis. */
static void widen(const int64_t n[3], int64_t stride, int64_t length, const float *in, float *out)
{
    const int64_t voxels = n[0] * n[1] * n[2];
    for (int64_t i = 0; i < voxels; i++) {
        const int64_t at = i / stride % length;
        float most = in[i];
        for (int64_t d = -REACH; d <= REACH; d++)
            if (at + d >= 0 && at + d < length) most = fmaxf(most, in[i + d * stride]);
        out[i] = most;
    }
}

/* marker: 1 where the distance is the largest around, within the mask. */
static dg_status find_markers(const int64_t n[3], const uint8_t *mask, const float *distance, uint8_t *marker)
{
    const int64_t voxels = n[0] * n[1] * n[2];
    float *most = NULL, *spare = NULL;
    dg_status status = DG_NEW(&most, voxels, "largest distances");
    if (status == DG_OK) status = DG_NEW(&spare, voxels, "largest distances");
    if (status == DG_OK) {
        widen(n, 1, n[2], distance, most);
        widen(n, n[2], n[1], most, spare);
        widen(n, n[1] * n[2], n[0], spare, most);
        for (int64_t i = 0; i < voxels; i++) marker[i] = mask[i] != 0 && distance[i] >= most[i];
    }
    dg_free(&most);
    dg_free(&spare);
    return status;
}

/* A heap of voxels that were reached; the farthest from the background is on top, among equals the one reached first. */
typedef struct reached {
    float distance;
    uint32_t age;
    int64_t voxel;
} reached;

static bool comes_first(const reached *a, const reached *b)
{
    return a->distance > b->distance || (a->distance == b->distance && a->age < b->age);
}

static void push(reached *heap, int64_t *count, reached item)
{
    int64_t i = (*count)++;
    for (; i > 0 && comes_first(&item, &heap[(i - 1) / 2]); i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = item;
}

static reached pop(reached *heap, int64_t *count)
{
    const reached top = heap[0], last = heap[--*count];
    int64_t i = 0;
    for (int64_t child; (child = 2 * i + 1) < *count; i = child) {
        if (child + 1 < *count && comes_first(&heap[child + 1], &heap[child])) child++;
        if (!comes_first(&heap[child], &last)) break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    return top;
}

/* Every voxel is reached once: the heap has room for the mask. */
static void flood(const int64_t n[3], const uint8_t *mask, const float *distance, reached *heap, uint32_t *instances)
{
    const int64_t stride[3] = {n[1] * n[2], n[2], 1}, voxels = n[0] * n[1] * n[2];
    int64_t count = 0;
    uint32_t age = 0;
    for (int64_t i = 0; i < voxels; i++)
        if (instances[i] != 0) push(heap, &count, (reached){distance[i], age++, i});
    while (count > 0) {
        const int64_t from = pop(heap, &count).voxel;
        for (int axis = 0; axis < 3; axis++)
            for (int side = -1; side <= 1; side += 2) {
                const int64_t at = from / stride[axis] % n[axis] + side, to = from + side * stride[axis];
                if (at < 0 || at >= n[axis] || mask[to] == 0 || instances[to] != 0) continue;
                instances[to] = instances[from];
                push(heap, &count, (reached){distance[to], age++, to});
            }
    }
}

dg_status dg_watershed(const uint8_t *mask, const int64_t n[3], int threads, uint32_t *instances, int64_t *count)
{
    static const double unit[3] = {1, 1, 1};
    const int64_t voxels = n[0] * n[1] * n[2];
    const dg_grid grid = dg_grid_make(n, unit);
    const dg_slab all = dg_slab_of(n, 0, 1);
    dg_comm *alone = NULL;
    uint8_t *bytes = NULL;
    float *distance = NULL;
    reached *heap = NULL;
    int64_t set = 0;
    dg_status status;
    for (int64_t i = 0; i < voxels; i++) set += mask[i] != 0;
    DG_TRY_GOTO(status, dg_comm_self_create(&alone), done);
    DG_TRY_GOTO(status, DG_NEW(&bytes, voxels, "background"), done);
    DG_TRY_GOTO(status, DG_NEW(&distance, voxels, "distances to the background"), done);
    DG_TRY_GOTO(status, DG_NEW(&heap, set > 0 ? set : 1, "voxels of a flood"), done);
    for (int64_t i = 0; i < voxels; i++) bytes[i] = mask[i] == 0;
    DG_TRY_GOTO(status, dg_distance(bytes, &grid, threads, distance), done);
    DG_TRY_GOTO(status, find_markers(n, mask, distance, bytes), done);
    DG_TRY_GOTO(status, dg_components_label(alone, &all, bytes, DG_TOUCH_FACE, instances, count), done);
    flood(n, mask, distance, heap, instances);
done:
    dg_free(&bytes);
    dg_free(&distance);
    dg_free(&heap);
    dg_comm_destroy(&alone);
    return status;
}
