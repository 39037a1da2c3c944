/* dg_margin.c - see dg_margin.h. Only the box around the structure that the margin can reach is worked on.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_margin.h"
#include "dg_distance.h"
#include "dg_mem.h"

#include <math.h>
#include <string.h>

/* Two distances that are equal on paper may differ by rounding: a voxel whose centre is at the margin counts. */
static const double SLACK = 1e-6;

static bool bounding_box(const uint64_t *masks, uint64_t bits, const dg_grid *grid, int64_t low[3], int64_t high[3])
{
    dg_box box[64];
    bool found = false;
    dg_mask_boxes(masks, grid, box);
    for (int k = 0; k < 64; k++) {
        if ((bits >> k & 1) == 0 || box[k].shape[0] == 0) continue;
        for (int a = 0; a < 3; a++) {
            const int64_t last = box[k].start[a] + box[k].shape[a] - 1;
            low[a] = !found || box[k].start[a] < low[a] ? box[k].start[a] : low[a];
            high[a] = !found || last > high[a] ? last : high[a];
        }
        found = true;
    }
    return found;
}

/* Every bit's first and last place in `any`, along axis a of the boxes. */
static void mark(dg_box box[64], int a, int64_t at, uint64_t any)
{
    for (; any != 0; any &= any - 1) {
        dg_box *b = &box[__builtin_ctzll(any)];
        if (b->shape[a] == 0) b->start[a] = at;
        b->shape[a] = at - b->start[a] + 1;
    }
}

void dg_mask_boxes(const uint64_t *masks, const dg_grid *grid, dg_box box[64])
{
    enum { CHUNK = 256 };
    const int64_t ny = grid->shape[1], nx = grid->shape[2];
    memset(box, 0, 64 * sizeof *box);
    for (int64_t z = 0; z < grid->shape[0];
         z++) { /* unions of whole planes: three quick passes, whatever the masks hold */
        uint64_t plane = 0;
        for (int64_t i = z * ny * nx; i < (z + 1) * ny * nx; i++) plane |= masks[i];
        mark(box, 0, z, plane);
    }
    for (int64_t y = 0; y < ny; y++) {
        uint64_t plane = 0;
        for (int64_t z = 0; z < grid->shape[0]; z++)
            for (int64_t x = 0; x < nx; x++) plane |= masks[(z * ny + y) * nx + x];
        mark(box, 1, y, plane);
    }
    for (int64_t begin = 0; begin < nx; begin += CHUNK) {
        uint64_t plane[CHUNK] = {0};
        const int64_t count = nx - begin < CHUNK ? nx - begin : CHUNK;
        for (int64_t row = 0; row < grid->shape[0] * ny; row++)
            for (int64_t x = 0; x < count; x++) plane[x] |= masks[row * nx + begin + x];
        for (int64_t x = 0; x < count; x++) mark(box, 2, begin + x, plane[x]);
    }
}

static void reach_of(const dg_grid *grid, double margin_mm, bool box, int64_t reach[3])
{
    for (int a = 0; a < 3; a++) {
        double voxels = margin_mm / grid->spacing_mm[a];
        reach[a] = box ? (int64_t)fmax(1, nearbyint(voxels)) : (int64_t)floor(voxels * (1 + SLACK));
    }
}

/* A part of the grid with its own mask. */
typedef struct part {
    dg_grid grid;
    int64_t start[3];
    uint8_t *mask; /* [z,y,x] of grid */
} part;

static dg_status part_create(const uint64_t *masks, uint64_t bits, const dg_grid *grid, const int64_t low[3],
                             const int64_t high[3], const int64_t reach[3], part *out)
{
    dg_box box;
    for (int a = 0; a < 3; a++) {
        int64_t first = low[a] - reach[a] < 0 ? 0 : low[a] - reach[a];
        int64_t last = high[a] + reach[a] >= grid->shape[a] ? grid->shape[a] - 1 : high[a] + reach[a];
        out->start[a] = box.start[a] = first;
        box.shape[a] = last - first + 1;
    }
    out->grid = dg_grid_boxed(grid, &box);
    DG_TRY(DG_NEW(&out->mask, dg_box_voxels(&box), "structure with margin"));
    for (int64_t z = 0, i = 0; z < box.shape[0]; z++)
        for (int64_t y = 0; y < box.shape[1]; y++) {
            const uint64_t *row = masks + dg_grid_index(grid, z + box.start[0], y + box.start[1], box.start[2]);
            for (int64_t x = 0; x < box.shape[2]; x++, i++) out->mask[i] = (row[x] & bits) != 0;
        }
    return DG_OK;
}

/* One pass of a separable dilation: each voxel becomes 1 when one of its line within `reach` is. */
static void dilate_axis(uint8_t *mask, const dg_grid *grid, int axis, int64_t reach)
{
    const int64_t length = grid->shape[axis];
    const int64_t stride = axis == 2 ? 1 : axis == 1 ? grid->shape[2] : grid->shape[1] * grid->shape[2];
    const int64_t lines = dg_grid_voxels(grid) / length;
    for (int64_t line = 0; line < lines; line++) {
        uint8_t *at = mask + line / stride * stride * length + line % stride;
        int64_t last = -reach - 1; /* the last set voxel seen; 2 marks new voxels, so that they do not spread */
        for (int64_t k = 0; k < length; k++) {
            if (at[k * stride] == 1) last = k;
            if (at[k * stride] == 0 && k - last <= reach) at[k * stride] = 2;
        }
        last = length + reach;
        for (int64_t k = length - 1; k >= 0; k--) {
            if (at[k * stride] == 1) last = k;
            if (at[k * stride] == 0 && last - k <= reach) at[k * stride] = 2;
        }
        for (int64_t k = 0; k < length; k++) at[k * stride] = at[k * stride] != 0;
    }
}

static dg_status grow_sphere(part *p, double margin_mm, int threads)
{
    float *distance_mm;
    const int64_t voxels = dg_grid_voxels(&p->grid);
    DG_TRY(DG_NEW(&distance_mm, voxels, "distances to a structure"));
    dg_status status = dg_distance(p->mask, &p->grid, threads, distance_mm);
    for (int64_t i = 0; i < voxels && status == DG_OK; i++) p->mask[i] = distance_mm[i] <= margin_mm * (1 + SLACK);
    dg_free(&distance_mm);
    return status;
}

dg_status dg_margin_mask(const uint64_t *masks, uint64_t bits, const dg_grid *grid, double margin_mm, bool box,
                         int threads, uint8_t *within, bool *found)
{
    int64_t low[3], high[3], reach[3];
    part p = {.mask = NULL};
    dg_status status = DG_OK;
    if (!(margin_mm >= 0 && margin_mm <= 1000))
        return DG_FAIL(DG_ERR_USAGE, "a margin of %g mm: it must be 0 to 1000 mm", margin_mm);
    memset(within, 0, (size_t)dg_grid_voxels(grid));
    *found = bounding_box(masks, bits, grid, low, high);
    if (!*found) return DG_OK;
    reach_of(grid, margin_mm, box, reach);
    DG_TRY(part_create(masks, bits, grid, low, high, reach, &p));
    if (box)
        for (int a = 0; a < 3; a++) dilate_axis(p.mask, &p.grid, a, reach[a]);
    else
        status = grow_sphere(&p, margin_mm, threads);
    for (int64_t z = 0; z < p.grid.shape[0] && status == DG_OK; z++)
        for (int64_t y = 0; y < p.grid.shape[1]; y++)
            memcpy(within + dg_grid_index(grid, z + p.start[0], y + p.start[1], p.start[2]),
                   p.mask + dg_grid_index(&p.grid, z, y, 0), (size_t)p.grid.shape[2]);
    dg_free(&p.mask);
    return status;
}
