/* dg_topology.c - see dg_topology.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_topology.h"

#include "dg_mem.h"
#include "window_impl.h"

/* Of the voxels of a window whose bits are in `group`: any set, all set. */
static int any_of(unsigned code, unsigned group) { return (code & group) != 0; }
static int all_of(unsigned code, unsigned group) { return (code & group) == group; }

/* Eight times what a window adds: a voxel is seen by 8 windows, a pair over a face by 4, four around an edge by 2. */
static int window_part(unsigned code, dg_touch touch)
{
    int voxels = 0, pairs = 0, fours = 0;
    for (int i = 0; i < 8; i++) voxels += (int)(code >> i & 1);
    for (int axis = 0; axis < 3; axis++) {
        const int step = 1 << axis;
        unsigned sides[2] = {0, 0};
        for (int i = 0; i < 8; i++) {
            sides[(i & step) != 0] |= 1U << i;
            if ((i & step) != 0) continue;
            const unsigned pair = 1U << i | 1U << (i + step);
            pairs += touch == DG_TOUCH_CORNER ? any_of(code, pair) : all_of(code, pair);
        }
        for (int side = 0; side < 2; side++)
            fours += touch == DG_TOUCH_CORNER ? any_of(code, sides[side]) : all_of(code, sides[side]);
    }
    if (touch == DG_TOUCH_CORNER) return 8 * any_of(code, 255) - 4 * fours + 2 * pairs - voxels;
    return voxels - 2 * pairs + 4 * fours - 8 * all_of(code, 255);
}

int64_t dg_euler_characteristic(const uint8_t *mask, const int64_t n[3], dg_touch touch)
{
    int part[WINDOW_CODES];
    int64_t sum = 0;
    for (unsigned code = 0; code < WINDOW_CODES; code++) part[code] = window_part(code, touch);
    for (int64_t z = 0; z <= n[0]; z++)
        for (int64_t y = 0; y <= n[1]; y++)
            for (int64_t x = 0; x <= n[2]; x++) sum += part[window_code(mask, n, z, y, x)];
    return sum / 8;
}

/* Components of the background that reach no side. */
static dg_status count_cavities(dg_comm *alone, const dg_slab *all, const uint8_t *mask, dg_touch touch,
                                uint32_t *labels, int64_t *cavities)
{
    const int64_t *n = all->shape, voxels = n[0] * n[1] * n[2];
    int64_t count = 0;
    uint8_t *background = NULL, *outside = NULL;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&background, voxels, "background"), done);
    for (int64_t i = 0; i < voxels; i++) background[i] = mask[i] == 0;
    DG_TRY_GOTO(status, dg_components_label(alone, all, background, touch, labels, &count), done);
    DG_TRY_GOTO(status, DG_NEW(&outside, count + 1, "components of the background"), done);
    *cavities = count;
    for (int64_t z = 0, i = 0; z < n[0]; z++)
        for (int64_t y = 0; y < n[1]; y++)
            for (int64_t x = 0; x < n[2]; x++, i++) {
                if (z > 0 && y > 0 && x > 0 && z + 1 < n[0] && y + 1 < n[1] && x + 1 < n[2]) continue;
                if (labels[i] == 0 || outside[labels[i]] != 0) continue;
                outside[labels[i]] = 1;
                --*cavities;
            }
done:
    dg_free(&background);
    dg_free(&outside);
    return status;
}

dg_status dg_betti_count(const uint8_t *mask, const int64_t shape[3], dg_touch touch, dg_betti *out)
{
    const dg_slab all = dg_slab_of(shape, 0, 1);
    dg_comm *alone = NULL;
    uint32_t *labels = NULL;
    int64_t *const number = out->number;
    if (touch == DG_TOUCH_EDGE)
        return DG_FAIL(DG_ERR_USAGE, "Betti numbers know neighbours over faces and over corners, not over edges alone");
    const dg_touch other = touch == DG_TOUCH_FACE ? DG_TOUCH_CORNER : DG_TOUCH_FACE;
    dg_status status = dg_comm_self_create(&alone);
    if (status == DG_OK) status = DG_NEW(&labels, shape[0] * shape[1] * shape[2], "labels of components");
    if (status == DG_OK) status = dg_components_label(alone, &all, mask, touch, labels, &number[0]);
    if (status == DG_OK) status = count_cavities(alone, &all, mask, other, labels, &number[2]);
    if (status == DG_OK) {
        out->euler = dg_euler_characteristic(mask, shape, touch);
        number[1] = number[0] + number[2] - out->euler;
    }
    dg_free(&labels);
    dg_comm_destroy(&alone);
    return status;
}
