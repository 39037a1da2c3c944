/* ctest: sources=src/base/*.c,src/grid/dg_outline.c,src/grid/dg_raster.c pkg=jansson,yaml-0.1,libcrypto seconds=20 */
/* fuzz_outline.c - any mask has outlines, and they fill to the same mask by either rule of combining contours.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "dg_outline.h"
#include "dg_raster.h"

#include <stdlib.h>
#include <string.h>

enum { SIDE_MAX = 48 };

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void must(bool condition)
{
    if (!condition) abort();
}

static void fill_again(const dg_outlines *o, int64_t rows, int64_t columns, dg_raster_rule rule, uint8_t *mask)
{
    const double z = 0;
    const dg_raster_slices slices = {.rows = rows,
                                     .columns = columns,
                                     .count = 1,
                                     .spacing_mm = {1.5, 0.9},
                                     .origin_mm = {-3.3, 70.1},
                                     .slice_z_mm = &z};
    const int64_t corners = o->first[o->count];
    double *points;
    dg_contour *contours;
    must(DG_NEW(&points, 3 * corners + 1, "points") == DG_OK);
    must(DG_NEW(&contours, o->count + 1, "contours") == DG_OK);
    for (int64_t i = 0; i < corners; i++) {
        points[3 * i] = 70.1 + (o->corner[i][1] - 0.5) * 0.9;
        points[3 * i + 1] = -3.3 + (o->corner[i][0] - 0.5) * 1.5;
    }
    for (int64_t p = 0; p < o->count; p++)
        contours[p] = (dg_contour){.points_xyz_mm = points + 3 * o->first[p], .count = o->first[p + 1] - o->first[p]};
    must(dg_raster_contours(contours, o->count, &slices, rule, mask, NULL) == DG_OK);
    dg_free(&contours);
    dg_free(&points);
}

/* The first two bytes are the sides, every bit after them a voxel. */
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static uint8_t mask[SIDE_MAX * SIDE_MAX], back[SIDE_MAX * SIDE_MAX];
    dg_outlines o;
    if (size < 2) return 0;
    const int64_t rows = 1 + data[0] % SIDE_MAX, columns = 1 + data[1] % SIDE_MAX;
    for (int64_t i = 0; i < rows * columns; i++) {
        const size_t byte = 2 + (size_t)i / 8;
        mask[i] = byte < size ? data[byte] >> i % 8 & 1 : 0;
    }
    must(dg_outlines_trace(mask, rows, columns, &o) == DG_OK);
    for (int rule = DG_RASTER_EVEN_ODD; rule <= DG_RASTER_UNION_UPSTREAM; rule++) {
        fill_again(&o, rows, columns, (dg_raster_rule)rule, back);
        for (int64_t i = 0; i < rows * columns; i++) must(mask[i] == back[i]);
    }
    dg_outlines_release(&o);
    return 0;
}
