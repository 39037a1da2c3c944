/* ctest: libs=dg_grid,dg_base label=unit timeout=60 */
/* t106_outline.c - outlines of masks: known shapes corner by corner, and random masks (islands, holes, islands in holes,
 * voxels that touch at corners) that come back voxel by voxel when filled again, by either rule of combining contours.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_mem.h"
#include "dg_outline.h"
#include "dg_raster.h"
#include "dg_rng.h"

#include <string.h>

enum { SIDE_MAX = 24 };

static void fill_again(const dg_outlines *o, int64_t rows, int64_t columns, dg_raster_rule rule, uint8_t *back)
{
    const double z[2] = {5, 8};
    const dg_raster_slices slices = {.rows = rows,
                                     .columns = columns,
                                     .count = 2,
                                     .spacing_mm = {1.25, 0.7},
                                     .origin_mm = {-10.3, 4.1},
                                     .slice_z_mm = z};
    uint8_t both[2 * SIDE_MAX * SIDE_MAX];
    double *points;
    dg_contour *contours;
    DG_CHECK_OK(DG_NEW(&points, 3 * o->first[o->count] + 1, "points"));
    DG_CHECK_OK(DG_NEW(&contours, o->count + 1, "contours"));
    for (int64_t i = 0; i < o->first[o->count]; i++) {
        points[3 * i] = 4.1 + (o->corner[i][1] - 0.5) * 0.7;
        points[3 * i + 1] = -10.3 + (o->corner[i][0] - 0.5) * 1.25;
        points[3 * i + 2] = 5;
    }
    for (int64_t p = 0; p < o->count; p++)
        contours[p] = (dg_contour){.points_xyz_mm = points + 3 * o->first[p], .count = o->first[p + 1] - o->first[p]};
    DG_CHECK_OK(dg_raster_contours(contours, o->count, &slices, rule, both, NULL));
    memcpy(back, both, (size_t)(rows * columns));
    for (int64_t i = 0; i < rows * columns; i++) DG_CHECK(both[rows * columns + i] == 0);
    dg_free(&contours);
    dg_free(&points);
}

static void check_both_ways(const uint8_t *mask, int64_t rows, int64_t columns)
{
    uint8_t back[SIDE_MAX * SIDE_MAX];
    dg_outlines o;
    DG_CHECK_OK(dg_outlines_trace(mask, rows, columns, &o));
    for (int rule = DG_RASTER_EVEN_ODD; rule <= DG_RASTER_UNION_UPSTREAM; rule++) {
        fill_again(&o, rows, columns, (dg_raster_rule)rule, back);
        for (int64_t i = 0; i < rows * columns; i++) DG_CHECK((mask[i] != 0) == (back[i] != 0));
    }
    dg_outlines_release(&o);
}

/* 4-connected parts, counted by flooding: each is one polygon. */
static int parts(const uint8_t *mask, int rows, int columns)
{
    uint8_t left[SIDE_MAX * SIDE_MAX];
    int stack[SIDE_MAX * SIDE_MAX], count = 0;
    memcpy(left, mask, (size_t)(rows * columns));
    for (int i = 0; i < rows * columns; i++) {
        int depth = 0;
        if (left[i] == 0) continue;
        count++;
        left[i] = 0;
        stack[depth++] = i;
        while (depth > 0) {
            const int at = stack[--depth], r = at / columns, c = at % columns;
            const int near[4][2] = {{r - 1, c}, {r + 1, c}, {r, c - 1}, {r, c + 1}};
            for (int k = 0; k < 4; k++) {
                const int other = near[k][0] * columns + near[k][1];
                if (near[k][0] < 0 || near[k][0] >= rows || near[k][1] < 0 || near[k][1] >= columns) continue;
                if (left[other] == 0) continue;
                left[other] = 0;
                stack[depth++] = other;
            }
        }
    }
    return count;
}

static void test_known(void)
{
    const uint8_t ring[25] = {0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 1, 0, 1, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0};
    const int32_t wanted[10][2] = {{1, 1}, {1, 4}, {4, 4}, {4, 1}, {2, 1}, {2, 2}, {3, 2}, {3, 3}, {2, 3}, {2, 2}};
    const uint8_t none[4] = {0}, diagonal[4] = {1, 0, 0, 1};
    dg_outlines o;
    int found = 0;
    DG_CHECK_OK(dg_outlines_trace(ring, 5, 5, &o));
    DG_CHECK(o.count == 1);
    for (int k = 0; k < 10; k++)
        for (int64_t i = 0; i < o.first[1]; i++)
            if (o.corner[i][0] == wanted[k][0] && o.corner[i][1] == wanted[k][1]) {
                found++;
                break;
            }
    DG_CHECK(found == 10 && o.first[1] == 10); /* the keyhole leaves from (2, 1), comes back there, and passes (2, 2) once straight on */
    dg_outlines_release(&o);
    DG_CHECK_OK(dg_outlines_trace(none, 2, 2, &o));
    DG_CHECK(o.count == 0 && o.first[0] == 0);
    dg_outlines_release(&o);
    DG_CHECK_OK(dg_outlines_trace(diagonal, 2, 2, &o));
    DG_CHECK(o.count == 2 && o.first[1] == 4 && o.first[2] == 8);
    dg_outlines_release(&o);
    DG_CHECK_FAILS(dg_outlines_trace(none, 1, 20000, &o), DG_ERR_USAGE, "1 x 20000");
}

static void test_random(void)
{
    uint8_t mask[SIDE_MAX * SIDE_MAX];
    for (int trial = 0; trial < 600; trial++) {
        const int rows = 1 + trial % SIDE_MAX, columns = 1 + trial / 3 % SIDE_MAX;
        const int share = 1 + trial % 9; /* tenths */
        dg_outlines o;
        dg_rng rng = dg_rng_stream(7, DG_RNG_TEST, (uint64_t)trial, 0);
        for (int i = 0; i < rows * columns; i++) mask[i] = dg_rng_uniform(&rng) * 10 < share;
        check_both_ways(mask, rows, columns);
        DG_CHECK_OK(dg_outlines_trace(mask, rows, columns, &o));
        DG_CHECK(o.count == parts(mask, rows, columns));
        dg_outlines_release(&o);
    }
}

/* Rings within rings, shifted: holes within holes are islands. */
static void test_nested(void)
{
    uint8_t mask[SIDE_MAX * SIDE_MAX];
    for (int r = 0; r < SIDE_MAX; r++)
        for (int c = 0; c < SIDE_MAX; c++) {
            const int edge =
                r < c ? (r < SIDE_MAX - 1 - c ? r : SIDE_MAX - 1 - c) : (c < SIDE_MAX - 1 - r ? c : SIDE_MAX - 1 - r);
            mask[r * SIDE_MAX + c] = edge % 2 == 0;
        }
    check_both_ways(mask, SIDE_MAX, SIDE_MAX);
}

int main(void)
{
    test_known();
    test_nested();
    test_random();
    return 0;
}
