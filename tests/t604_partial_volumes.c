/* ctest: libs=dg_analysis,dg_grid,dg_base label=unit timeout=120 */
/* t604_partial_volumes.c - partial volumes of small spheres and cones in a linear dose, whose histograms are known.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_dvh.h"
#include "dg_mem.h"

enum { PLACES = 8 };

typedef struct body {
    dg_grid grid;
    float *dose_gy;
    uint8_t *member;
    int64_t voxels, members;
} body;

/* Structures of Nelms et al. (Medical Physics 42, 2015): a sphere in a linear fall of dose, and a cone, apex up,
 * whose dose falls along its axis z or y. Lengths: the radius; the cone is twice as high as its base's radius. */
typedef enum shape { SPHERE, CONE_Z, CONE_Y, SHAPES } shape;
static const char *const NAME[SHAPES] = {"sphere", "cone along z", "cone along y"};
static const double CENTRE_GY = 50, GY_PER_MM = 2;

static bool inside(shape kind, double radius_mm, const double mm[3])
{
    if (kind == SPHERE) return mm[0] * mm[0] + mm[1] * mm[1] + mm[2] * mm[2] <= radius_mm * radius_mm;
    const double up = kind == CONE_Z ? mm[0] : mm[1], aside = hypot(kind == CONE_Z ? mm[1] : mm[0], mm[2]);
    return fabs(up) <= radius_mm && aside <= (radius_mm - up) / 2;
}

/* A structure that lies anywhere between voxel centres: place k of a low-discrepancy sequence. */
static body make_body(shape kind, double radius_mm, const double spacing_mm[3], int place)
{
    static const double STEP[3] = {0.8191725133961645, 0.6710436067037893, 0.5497004779019703};
    static const double UP[SHAPES][3] = {{0.36, 0.48, 0.8}, {1, 0, 0}, {0, 1, 0}};
    body s = {.voxels = 0};
    int64_t extent[3];
    double centre_mm[3];
    for (int a = 0; a < 3; a++) {
        extent[a] = (int64_t)ceil(2 * radius_mm / spacing_mm[a]) + 7;
        centre_mm[a] = ((double)(extent[a] - 1) / 2 + fmod(place * STEP[a] + 0.21, 1) - 0.5) * spacing_mm[a];
    }
    s.grid = dg_grid_make(extent, spacing_mm);
    s.voxels = dg_grid_voxels(&s.grid);
    DG_CHECK_OK(DG_NEW(&s.dose_gy, s.voxels, "test"));
    DG_CHECK_OK(DG_NEW(&s.member, s.voxels, "test"));
    for (int64_t i = 0; i < s.voxels; i++) {
        const int64_t at[3] = {i / (extent[1] * extent[2]), i / extent[2] % extent[1], i % extent[2]};
        double mm[3], along = 0;
        for (int a = 0; a < 3; a++) {
            mm[a] = (double)at[a] * spacing_mm[a] - centre_mm[a];
            along += mm[a] * UP[kind][a];
        }
        s.member[i] = inside(kind, radius_mm, mm);
        s.members += s.member[i];
        s.dose_gy[i] = (float)(CENTRE_GY + GY_PER_MM * along);
    }
    return s;
}

static void free_body(body *s)
{
    dg_free(&s->dose_gy);
    dg_free(&s->member);
}

static dg_dvh_structure structure_of(const body *s, int n)
{
    return (dg_dvh_structure){.dose_gy = s->dose_gy,
                              .member = s->member,
                              .grid = &s->grid,
                              .box = {{0, 0, 0}, {s->grid.shape[0], s->grid.shape[1], s->grid.shape[2]}},
                              .supersample = n,
                              .threads = 2};
}

/* Dose that a share of the structure receives at least: a cap of the sphere, h^2 (3 R - h) / (4 R^3) of it, or the
 * tip of the cone, the cube of its height. */
static double true_dose_gy(shape kind, double radius_mm, double share)
{
    double low = 0, high = 2 * radius_mm;
    if (kind != SPHERE) return CENTRE_GY + GY_PER_MM * radius_mm * (1 - 2 * cbrt(share));
    for (int k = 0; k < 60; k++) {
        const double h = (low + high) / 2;
        if (h * h * (3 * radius_mm - h) / (4 * pow(radius_mm, 3)) < share)
            low = h;
        else
            high = h;
    }
    return CENTRE_GY + GY_PER_MM * (radius_mm - low);
}

/* Root mean square of the errors of D1%, D5%, D50%, D95% and D99% over all places. */
static double error_gy(shape kind, double radius_mm, const double spacing_mm[3], int n)
{
    static const double PERCENT[] = {1, 5, 50, 95, 99};
    double square = 0;
    for (int place = 0; place < PLACES; place++) {
        body s = make_body(kind, radius_mm, spacing_mm, place);
        const dg_dvh_structure structure = structure_of(&s, n);
        dg_dvh dvh;
        DG_CHECK_OK(dg_dvh_create_structure(&structure, &dvh));
        DG_CHECK(dvh.count == s.members * n * n * n); /* the volume is the mask's, for every n */
        for (int k = 0; k < 5; k++) {
            const double e =
                dg_dvh_dose_at_percent(&dvh, PERCENT[k], DG_DVH_ICRU) - true_dose_gy(kind, radius_mm, PERCENT[k] / 100);
            square += e * e / 5 / PLACES;
        }
        dg_dvh_release(&dvh);
        free_body(&s);
    }
    return sqrt(square);
}

/* How much nearer to the truth: bounds are about 1.3 times what was measured. */
static void test_truth(void)
{
    static const struct {
        double radius_mm, spacing_mm[3], bound_gy[SHAPES];
    } CASES[] = {{5, {5, 1.25, 1.25}, {0.45, 3.1, 2.3}},
                 {5, {2.5, 2.5, 2.5}, {0.65, 1.8, 1.9}},
                 {8, {5, 2, 2}, {0.45, 3.5, 2}},
                 {12, {3, 2, 2}, {0.17, 1.6, 1.2}}};
    for (size_t c = 0; c < sizeof CASES / sizeof *CASES; c++)
        for (shape kind = SPHERE; kind < SHAPES; kind++) {
            const double centres = error_gy(kind, CASES[c].radius_mm, CASES[c].spacing_mm, 1);
            const double partial = error_gy(kind, CASES[c].radius_mm, CASES[c].spacing_mm, 4);
            printf("%s, radius %g mm, voxels %g x %g x %g mm: error of D1%% to D99%% %.3f Gy by centres, %.3f Gy with "
                   "4^3\n",
                   NAME[kind], CASES[c].radius_mm, CASES[c].spacing_mm[0], CASES[c].spacing_mm[1],
                   CASES[c].spacing_mm[2], centres, partial);
            DG_CHECK(partial < 0.92 * centres && partial < CASES[c].bound_gy[kind]);
        }
}

enum { SIDE = 6, VOXELS = SIDE * SIDE * SIDE };
static float dose[VOXELS];
static uint8_t member[VOXELS];
static uint64_t masks[VOXELS];

static dg_dvh_structure block(const dg_grid *grid, int n)
{
    return (dg_dvh_structure){.dose_gy = dose,
                              .member = member,
                              .grid = grid,
                              .box = {{0, 0, 0}, {SIDE, SIDE, SIDE}},
                              .supersample = n,
                              .threads = 1};
}

/* Voxel centres: the same as by mask bits. One voxel: as much volume, doses around its own. A structure that fills
 * its box: every sub-voxel of it and no dose beyond those there are. */
static void test_corners(void)
{
    const dg_grid grid = dg_grid_make((int64_t[3]){SIDE, SIDE, SIDE}, (double[3]){4, 2, 1});
    dg_dvh a, b;
    for (int i = 0; i < VOXELS; i++) {
        dose[i] = (float)(10 + i % SIDE) - (i == 7 ? 30 : 0);
        member[i] = i % 5 == 2;
        masks[i] = member[i];
    }
    dg_dvh_structure s = block(&grid, 1);
    DG_CHECK_OK(dg_dvh_create_structure(&s, &a));
    DG_CHECK_OK(dg_dvh_create(dose, masks, 1, VOXELS, 8, &b));
    DG_CHECK(a.count == b.count && a.voxel_mm3 == 8 && a.dose_gy[0] < 0);
    DG_CHECK(memcmp(a.dose_gy, b.dose_gy, (size_t)a.count * sizeof *a.dose_gy) == 0);
    dg_dvh_release(&a);
    dg_dvh_release(&b);
    dose[7] = 11;
    memset(member, 0, sizeof member);
    const int centre = (3 * SIDE + 2) * SIDE + 3; /* 13 Gy */
    member[centre] = 1;
    for (int n = 2; n <= 5; n++) {
        s = block(&grid, n);
        DG_CHECK_OK(dg_dvh_create_structure(&s, &a));
        DG_CHECK(a.count == n * n * n);
        DG_CHECK_NEAR(dg_dvh_mean(&a), 13, 0.15);
        DG_CHECK(dg_dvh_min(&a) > 11.5 && dg_dvh_max(&a) < 14.5); /* rounder than the voxel of 4 x 2 x 1 mm */
        dg_dvh_release(&a);
    }
    memset(member, 0, sizeof member);
    for (int i = 0; i < VOXELS; i++) member[i] = i % SIDE >= 2;
    s = block(&grid, 4);
    s.box = (dg_box){{0, 0, 2}, {SIDE, SIDE, SIDE - 2}}; /* 12 .. 15 Gy are known */
    dose[1] = NAN;
    DG_CHECK_OK(dg_dvh_create_structure(&s, &a));
    DG_CHECK(a.count == SIDE * SIDE * 4 * 64 && dg_dvh_min(&a) == 12 && dg_dvh_max(&a) == 15);
    DG_CHECK_NEAR(dg_dvh_mean(&a), 13.5, 1e-5);
    DG_CHECK_NEAR(dg_dvh_volume_percent(&a, 13.5), 50, 1e-9);
    dg_dvh_release(&a);
    memset(member, 0, sizeof member);
    DG_CHECK_OK(dg_dvh_create_structure(&s, &a));
    DG_CHECK(a.count == 0 && isnan(dg_dvh_mean(&a)));
    dg_dvh_release(&a);
}

static void test_faults(void)
{
    const dg_grid grid = dg_grid_make((int64_t[3]){SIDE, SIDE, SIDE}, (double[3]){2, 2, 2});
    dg_dvh a;
    for (int i = 0; i < VOXELS; i++) dose[i] = 1, member[i] = i == 86;
    dg_dvh_structure s = block(&grid, 3);
    dose[86] = INFINITY;
    DG_CHECK_FAILS(dg_dvh_create_structure(&s, &a), DG_ERR_NUMERIC, "voxel 86 is inf Gy");
    dose[86] = 1;
    dose[87] = NAN; /* the neighbour's dose is needed between the two */
    DG_CHECK_FAILS(dg_dvh_create_structure(&s, &a), DG_ERR_NUMERIC, "beside the structure is not finite");
    dose[87] = 1;
    dose[0] = NAN;
    DG_CHECK_OK(dg_dvh_create_structure(&s, &a));
    dg_dvh_release(&a);
    s.supersample = DG_SUPERSAMPLE_MAX + 1;
    DG_CHECK_FAILS(dg_dvh_create_structure(&s, &a), DG_ERR_USAGE,
                   "9 sub-voxels along a voxel: it must be 1 (voxel centres) to 8");
}

int main(void)
{
    test_truth();
    test_corners();
    test_faults();
    return 0;
}
