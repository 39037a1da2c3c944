/* ctest: libs=dg_grid label=unit timeout=60 */
/* t105_raster.c - contours against areas and hand-counted voxels. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_raster.h"

enum { ROWS = 40, COLUMNS = 44, PIXELS = ROWS * COLUMNS };
static const double slice_z[3] = {0, 3, 6};
static const dg_raster_slices slices = {
    .rows = ROWS, .columns = COLUMNS, .count = 3, .spacing_mm = {1, 2}, .origin_mm = {-20, -44}, .slice_z_mm = slice_z};

static int64_t area(const uint8_t *mask, int64_t slice)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < PIXELS; i++) sum += mask[slice * PIXELS + i];
    return sum;
}

/* A circle of many points about (0, 0). */
static dg_contour circle(double radius, double z, double *points)
{
    for (int i = 0; i < 720; i++) {
        points[3 * i] = radius * cos(i * M_PI / 360);
        points[3 * i + 1] = radius * sin(i * M_PI / 360);
        points[3 * i + 2] = z;
    }
    return (dg_contour){.points_xyz_mm = points, .count = 720};
}

static uint8_t mask[3 * PIXELS];

static void test_annulus(void)
{
    static double outer[3 * 720], inner[3 * 720];
    const dg_contour both[2] = {circle(15.3, 3.2, outer), circle(7.1, 3.2, inner)};
    DG_CHECK_OK(dg_raster_contours(both, 2, &slices, DG_RASTER_EVEN_ODD, mask, NULL));
    DG_CHECK(area(mask, 0) == 0 && area(mask, 2) == 0);
    DG_CHECK_NEAR(2.0 * (double)area(mask, 1), M_PI * (15.3 * 15.3 - 7.1 * 7.1), 20);
    for (int64_t r = 0; r < ROWS; r++)
        for (int64_t c = 0; c < COLUMNS; c++) {
            double y = -20 + (double)r, x = -44 + 2 * (double)c, d = hypot(x, y);
            if (fabs(d - 15.3) > 0.01 && fabs(d - 7.1) > 0.01)
                DG_CHECK(mask[PIXELS + r * COLUMNS + c] == (d < 15.3 && d > 7.1));
        }
    DG_CHECK_OK(dg_raster_contours(both, 2, &slices, DG_RASTER_UNION_UPSTREAM, mask, NULL));
    DG_CHECK_NEAR(2.0 * (double)area(mask, 1), M_PI * 15.3 * 15.3, 20);
}

static void test_outline(void)
{
    /* x 0..4 mm are columns 22..24, y 0..2 mm rows 20..22: corners and edges on centres belong to it */
    const double box[12] = {0, 0, 6, 4, 0, 6, 4, 2, 6, 0, 2, 6};
    const double beside[12] = {4, 0, 6, 8, 0, 6, 8, 2, 6, 4, 2, 6};
    const dg_contour two[2] = {{box, 4}, {beside, 4}};
    DG_CHECK_OK(dg_raster_contours(two, 1, &slices, DG_RASTER_EVEN_ODD, mask, NULL));
    DG_CHECK(area(mask, 2) == 9 && mask[2 * PIXELS + 20 * COLUMNS + 22] && mask[2 * PIXELS + 22 * COLUMNS + 24]);
    /* abutting contours leave no seam */
    DG_CHECK_OK(dg_raster_contours(two, 2, &slices, DG_RASTER_EVEN_ODD, mask, NULL));
    DG_CHECK(area(mask, 2) == 15);
    /* a keyhole: one contour that enters its own hole through a seam */
    const double keyhole[30] = {-10, -10, 0, 10, -10, 0, 10, 10, 0, -10, 10, 0, -10, -10, 0,
                                -5,  -5,  0, -5, 5,   0, 5,  5,  0, 5,   -5, 0, -5,  -5,  0};
    const dg_contour one = {keyhole, 10};
    DG_CHECK_OK(dg_raster_contours(&one, 1, &slices, DG_RASTER_EVEN_ODD, mask, NULL));
    DG_CHECK(mask[20 * COLUMNS + 22] == 0 && mask[20 * COLUMNS + 18] == 1 && mask[13 * COLUMNS + 22] == 1);
    /* partly outside the image: clipped, not wrapped */
    const double far[9] = {40, -60, 3, 400, -60, 3, 40, 60, 3};
    const dg_contour outside = {far, 3};
    DG_CHECK_OK(dg_raster_contours(&outside, 1, &slices, DG_RASTER_EVEN_ODD, mask, NULL));
    DG_CHECK(area(mask, 1) == 2 * ROWS); /* x = 40 and 42 mm */
}

static void test_slices(void)
{
    double box[12] = {0, 0, 0, 4, 0, 0, 4, 2, 0, 0, 2, 0};
    const dg_contour one = {box, 4};
    const struct {
        double z;
        int64_t slice; /* -1: left out */
    } cases[] = {{1.5, 0}, {1.51, 1}, {-1.5, 0}, {-1.6, -1}, {7.5, 2}, {7.7, -1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dg_raster_report off = {.left_out = -1};
        for (int k = 0; k < 4; k++) box[3 * k + 2] = cases[i].z;
        DG_CHECK_OK(dg_raster_contours(&one, 1, &slices, DG_RASTER_EVEN_ODD, mask, &off));
        DG_CHECK(off.left_out == (cases[i].slice < 0));
        for (int64_t k = 0; k < 3; k++) DG_CHECK(area(mask, k) == (k == cases[i].slice ? 9 : 0));
    }
    dg_raster_report off = {.left_out = -1};
    DG_CHECK_OK(dg_raster_contours(&one, 1, &slices, DG_RASTER_UNION_UPSTREAM, mask, &off));
    DG_CHECK(off.left_out == 0 && area(mask, 2) == 9); /* the reference clamps */
}

/* Contours drawn closer than the slices lie, a slice without one between two that have, and ones too small to count. */
static void test_planes(void)
{
    const double outer[12] = {-10, -10, 0.4, 10, -10, 0.4, 10, 10, 0.4, -10, 10, 0.4};
    const double inner[12] = {-5, -5, 0.4, 5, -5, 0.4, 5, 5, 0.4, -5, 5, 0.4};
    const double above[12] = {-10, -10, 1.2, 10, -10, 1.2, 10, 10, 1.2, -10, 10, 1.2};
    const double last[12] = {-10, -10, 6, 10, -10, 6, 10, 10, 6, -10, 10, 6};
    const double speck[9] = {0.2, 0.2, 6, 0.8, 0.2, 6, 0.2, 0.8, 6};
    const double sliver[12] = {-12, 0.3, 6, 12, 0.3, 6, 12, 0.7, 6, -12, 0.7, 6};
    const dg_contour all[6] = {{outer, 4}, {inner, 4}, {above, 4}, {last, 4}, {speck, 3}, {sliver, 4}};
    dg_raster_report report;
    DG_CHECK_OK(dg_raster_contours(all, 3, &slices, DG_RASTER_EVEN_ODD, mask, &report));
    DG_CHECK(area(mask, 0) == 21 * 11 &&
             mask[20 * COLUMNS + 22] == 1); /* the plane above has no hole: they do not cancel */
    DG_CHECK(report.gap_slices == 0 && report.sub_voxel == 0);
    DG_CHECK_OK(dg_raster_contours(all, 2, &slices, DG_RASTER_EVEN_ODD, mask, &report));
    DG_CHECK(area(mask, 0) == 21 * 11 - 9 * 5 && mask[20 * COLUMNS + 22] == 0);
    DG_CHECK_OK(dg_raster_contours(all, 6, &slices, DG_RASTER_EVEN_ODD, mask, &report));
    DG_CHECK(report.gap_slices == 1 && report.sub_voxel == 2 && report.left_out == 0);
    DG_CHECK(area(mask, 1) == 0 && area(mask, 2) == 21 * 11);
    /* an edge that is level but for rounding: no row leaks to the end of the image */
    const double level[12] = {-10, -5, 0, 10, -5, 0, 10, 5 + 4e-10, 0, -10, 5 - 4e-10, 0};
    const dg_contour box = {level, 4};
    DG_CHECK_OK(dg_raster_contours(&box, 1, &slices, DG_RASTER_EVEN_ODD, mask, NULL));
    DG_CHECK(area(mask, 0) == 11 * 11);
}

int main(void)
{
    test_annulus();
    test_planes();
    test_outline();
    test_slices();
    double bad[9] = {0, 0, 0, 1, 0, 0, 0, NAN, 0}, tilted[9] = {0, 0, 0, 1, 0, 0.5, 0, 1, 0};
    const dg_contour first = {bad, 3}, second = {tilted, 3}, line = {bad, 2};
    DG_CHECK_FAILS(dg_raster_contours(&first, 1, &slices, DG_RASTER_EVEN_ODD, mask, NULL), DG_ERR_DATA, "not a number");
    DG_CHECK_FAILS(dg_raster_contours(&second, 1, &slices, DG_RASTER_EVEN_ODD, mask, NULL), DG_ERR_DATA, "one plane");
    DG_CHECK_OK(dg_raster_contours(&line, 1, &slices, DG_RASTER_EVEN_ODD, mask, NULL));
    DG_CHECK(area(mask, 0) == 0);
    return 0;
}
