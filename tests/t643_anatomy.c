/* ctest: libs=dg_analysis,dg_grid,dg_base label=unit timeout=60 */
/* t643_anatomy.c - the dose by distance and the sizes of a case whose numbers are known: a target plane, a dose that falls with the
 * distance to it. SPDX-License-Identifier: Apache-2.0 */
#include "dg_anatomy.h"
#include "dg_check.h"
#include "dg_mem.h"

enum { NZ = 3, NY = 4, NX = 60, VOXELS = NZ * NY * NX };
enum { TARGET = 1, ORGAN = 2, BODY = 4, POSSIBLE = 8 }; /* the fifth structure has no voxel */

typedef struct world {
    dg_grid grid;
    dg_structure structure[5];
    float dose_gy[VOXELS];
    uint64_t masks[VOXELS];
    dg_anatomy_input input;
} world;

/* x = 0..3 target, 2..5 organ, body up to x = 49; 2 mm voxels; dose 70 - x Gy. */
static world *make_world(void)
{
    world *w;
    const int64_t shape[3] = {NZ, NY, NX};
    const double mm[3] = {3, 2, 2};
    DG_CHECK_OK(DG_NEW(&w, 1, "test"));
    w->grid = dg_grid_make(shape, mm);
    const dg_role role[5] = {DG_ROLE_TARGET, DG_ROLE_OAR, DG_ROLE_BODY, DG_ROLE_POSSIBLE_DOSE, DG_ROLE_OAR};
    for (int k = 0; k < 5; k++) {
        w->structure[k].role = role[k];
        snprintf(w->structure[k].name, sizeof w->structure[k].name, "s%d", k);
    }
    for (int64_t i = 0; i < VOXELS; i++) {
        const int64_t x = i % NX;
        w->dose_gy[i] = (float)(70 - x);
        w->masks[i] =
            (x < 4 ? TARGET : 0u) | (x >= 2 && x < 6 ? ORGAN : 0u) | (x < 50 ? BODY : 0u) | (x < 30 ? POSSIBLE : 0u);
    }
    w->input = (dg_anatomy_input){.grid = &w->grid,
                                  .dose_gy = w->dose_gy,
                                  .masks = w->masks,
                                  .structure = w->structure,
                                  .structure_count = 5,
                                  .known = {{0, 0, 0}, {NZ, NY, NX}},
                                  .prescription_gy = 70};
    return w;
}

static const dg_anatomy_params usual = {.margin_mm = 5, .bin_mm = 10, .bins = 12, .cutoff_percent = 0, .threads = 1};

static void test_case(void)
{
    world *w = make_world();
    dg_anatomy a, b;
    DG_CHECK_OK(dg_anatomy_measure(&w->input, &usual, &a));
    const double cc = 0.012 * NZ * NY;
    DG_CHECK_NEAR(a.target_cc, 4 * cc, 1e-12);
    DG_CHECK_NEAR(a.body_cc, 50 * cc, 1e-12);
    DG_CHECK(a.structures == 2 && a.body_is_possible_dose == 0);
    DG_CHECK_NEAR(a.overlap_percent, 50, 1e-12);
    DG_CHECK(a.organ_overlap_percent[1] == 50 && a.organ_distance_mm[1] == 0 && a.nearest_organ_mm == 0);
    DG_CHECK(isnan(a.organ_overlap_percent[4]) && isnan(a.organ_distance_mm[4]) && isnan(a.organ_distance_mm[0]));
    /* column x lies 2 (x - 3) mm from the target: the first of no man's land is x = 6, at 6 mm, and bin 0 ends before 15 mm */
    DG_CHECK_NEAR(a.no_mans_land_cc, 44 * cc, 1e-12);
    DG_CHECK(a.voxels[0] == 5 * NZ * NY); /* x = 6..10 */
    DG_CHECK_NEAR(a.dose_percent[0], 100 * 62 / 70.0, 1e-9);
    DG_CHECK(a.voxels[1] == 5 * NZ * NY); /* x = 11..15 */
    DG_CHECK_NEAR(a.dose_percent[1], 100 * 57 / 70.0, 1e-9);
    DG_CHECK(a.voxels[8] == 4 * NZ * NY && a.voxels[9] == 0 && isnan(a.dose_percent[9])); /* x = 46..49 */
    dg_anatomy_params more = usual;
    more.threads = 3;
    DG_CHECK_OK(dg_anatomy_measure(&w->input, &more, &b));
    DG_CHECK(memcmp(&a, &b, sizeof a) == 0);
    dg_free(&w);
}

static void test_variants(void)
{
    world *w = make_world();
    dg_anatomy a;
    dg_anatomy_params params = usual;
    params.cutoff_percent = 50; /* of 70 Gy: x <= 35 */
    DG_CHECK_OK(dg_anatomy_measure(&w->input, &params, &a));
    DG_CHECK_NEAR(a.no_mans_land_cc, 30 * 0.012 * NZ * NY, 1e-12);
    w->structure[2].role = DG_ROLE_SUPPORT; /* no body: the possible dose stands for it */
    DG_CHECK_OK(dg_anatomy_measure(&w->input, &usual, &a));
    DG_CHECK(a.body_is_possible_dose == 1);
    DG_CHECK_NEAR(a.body_cc, 30 * 0.012 * NZ * NY, 1e-12);
    w->structure[3].role = DG_ROLE_SUPPORT;
    DG_CHECK_OK(dg_anatomy_measure(&w->input, &usual, &a));
    DG_CHECK(isnan(a.body_cc) && isnan(a.no_mans_land_cc) && a.voxels[0] == 0);
    w->structure[0].role = DG_ROLE_SUPPORT; /* no target */
    DG_CHECK_OK(dg_anatomy_measure(&w->input, &usual, &a));
    DG_CHECK(a.target_cc == 0 && isnan(a.overlap_percent) && isnan(a.nearest_organ_mm));
    dg_free(&w);
    w = make_world();
    w->input.known = (dg_box){{0, 0, 0}, {NZ, NY, 20}}; /* the dose is known up to x = 19 only */
    w->dose_gy[40] = NAN;
    DG_CHECK_OK(dg_anatomy_measure(&w->input, &usual, &a));
    DG_CHECK(a.voxels[2] == 4 * NZ * NY && a.voxels[3] == 0); /* x = 16..19 */
    w->dose_gy[NX + 7] = INFINITY;
    DG_CHECK_FAILS(dg_anatomy_measure(&w->input, &usual, &a), DG_ERR_NUMERIC, "voxel (0, 1, 7) is inf");
    params.bins = 0;
    DG_CHECK_FAILS(dg_anatomy_measure(&w->input, &params, &a), DG_ERR_USAGE, "0 bins");
    dg_free(&w);
}

int main(void)
{
    test_case();
    test_variants();
    return 0;
}
