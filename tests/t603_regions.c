/* ctest: libs=dg_analysis,dg_grid,dg_base label=unit timeout=60 */
/* t603_regions.c - regions against their definitions on shapes whose geometry is known.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_margin.h"
#include "dg_mem.h"
#include "dg_regions.h"

enum { NZ = 14, NY = 24, NX = 30, N = NZ * NY * NX };
static float dose[N];
static uint64_t masks[N];
enum { TARGET = 1, OAR_A = 2, OAR_B = 4, BODY = 8 };
static const dg_structure STRUCTURES[] = {{.name = "PTV70", .role = DG_ROLE_TARGET, .prescription_gy = 70},
                                          {.name = "Rectum", .role = DG_ROLE_OAR},
                                          {.name = "Bladder", .role = DG_ROLE_OAR},
                                          {.name = "Body", .role = DG_ROLE_BODY}};

static double square(double x) { return x * x; }

/* Squared distance in mm of two voxels. */
static double apart2(const dg_grid *g, int64_t a, int64_t b)
{
    const double dz = (double)(a / (NY * NX) - b / (NY * NX)) * g->spacing_mm[0];
    const double dy = (double)(a / NX % NY - b / NX % NY) * g->spacing_mm[1];
    return dz * dz + dy * dy + square((double)(a % NX - b % NX) * g->spacing_mm[2]);
}

/* A case: a spherical target, two organs that overlap, an elliptic body, a dose that falls with x. */
static dg_regions_input make_case(dg_grid *g, const double spacing_mm[3])
{
    *g = dg_grid_make((int64_t[3]){NZ, NY, NX}, spacing_mm);
    const int64_t centre = dg_grid_index(g, 6, 11, 14);
    for (int64_t i = 0; i < N; i++) {
        const int64_t z = i / (NY * NX), y = i / NX % NY, x = i % NX;
        masks[i] = apart2(g, i, centre) <= 36 ? TARGET : 0;
        if (y >= 15 && y < 20 && z > 2) masks[i] |= OAR_A;
        if (y >= 18 && x < 16) masks[i] |= OAR_B;
        if (y > 0 && x > 0 && z > 0) masks[i] |= BODY;
        dose[i] = (float)(75.0 - 2.5 * (double)x); /* 75 .. 2.5 Gy: 63, 35 and 7 Gy are not all hit, 35 is */
    }
    return (dg_regions_input){.grid = g,
                              .reference_gy = dose,
                              .masks = masks,
                              .structure = STRUCTURES,
                              .structure_count = 4,
                              .known = {{0, 0, 0}, {NZ, NY, NX}},
                              .prescription_gy = 70,
                              .cutoff_gy = 7.5,
                              .margin_mm = 5,
                              .threads = 2};
}

static int64_t brute_margin(const dg_grid *g, double margin_mm, uint8_t *near)
{
    static int64_t target[N];
    int64_t count = 0, targets = 0;
    for (int64_t i = 0; i < N; i++)
        if ((masks[i] & TARGET) != 0) target[targets++] = i;
    for (int64_t i = 0; i < N; i++) {
        near[i] = 0;
        for (int64_t j = 0; j < targets && near[i] == 0; j++)
            near[i] = apart2(g, i, target[j]) <= square(margin_mm) * (1 + 1e-9);
        count += near[i];
    }
    return count;
}

static void test_margin(void)
{
    static const double SPACINGS[][3] = {{2.5, 2, 2}, {5, 1.25, 2.5}, {3, 3, 3}};
    static uint8_t want[N], got[N];
    for (int s = 0; s < 3; s++) {
        dg_grid g;
        bool found;
        make_case(&g, SPACINGS[s]);
        for (double margin = 0; margin < 12; margin += 2.5) {
            const int64_t count = brute_margin(&g, margin, want);
            DG_CHECK_OK(dg_margin_mask(masks, TARGET, &g, margin, false, 2, got, &found));
            DG_CHECK(found && memcmp(want, got, N) == 0 && count > 0);
        }
    }
    for (int i = 0; i < N; i++) masks[i] = 0;
    dg_grid g = dg_grid_make((int64_t[3]){NZ, NY, NX}, SPACINGS[0]);
    bool found;
    DG_CHECK_OK(dg_margin_mask(masks, TARGET, &g, 5, false, 2, got, &found));
    DG_CHECK(!found && memchr(got, 1, N) == NULL);
    DG_CHECK_FAILS(dg_margin_mask(masks, 1, &g, -1, false, 1, got, &found), DG_ERR_USAGE, "margin of -1 mm");
    DG_CHECK_FAILS(dg_margin_mask(masks, 1, &g, NAN, false, 1, got, &found), DG_ERR_USAGE, "margin of nan mm");
}

/* The reference's margin: 5 mm at 2.5, 2 and 4 mm are 2, round(2.5) = 2 and round(1.25) = 1 voxels; at 12 mm still
 * 1. */
static void test_box_margin(void)
{
    static const struct {
        double spacing_mm[3];
        int64_t reach[3];
    } CASES[] = {{{2.5, 2, 4}, {2, 2, 1}}, {{12, 10, 3.4}, {1, 1, 1}}, {{1.25, 5.0 / 3.5, 1.5}, {4, 4, 3}}};
    static uint8_t got[N];
    for (int c = 0; c < 3; c++) {
        bool found;
        dg_grid g = dg_grid_make((int64_t[3]){NZ, NY, NX}, CASES[c].spacing_mm);
        const int64_t set[3][3] = {{5, 6, 7}, {13, 0, 29}, {6, 9, 20}};
        for (int i = 0; i < N; i++) masks[i] = 4;
        for (int k = 0; k < 3; k++) masks[dg_grid_index(&g, set[k][0], set[k][1], set[k][2])] = 1;
        DG_CHECK_OK(dg_margin_mask(masks, 3, &g, 5, true, 1, got, &found));
        for (int64_t i = 0; i < N; i++) {
            const int64_t at[3] = {i / (NY * NX), i / NX % NY, i % NX};
            bool want = false;
            for (int k = 0; k < 3; k++) {
                bool near = true;
                for (int a = 0; a < 3; a++) near &= llabs(at[a] - set[k][a]) <= CASES[c].reach[a];
                want |= near;
            }
            DG_CHECK(got[i] == want);
        }
    }
}

static bool in(const dg_regions *r, const char *name, int64_t voxel)
{
    const int at = dg_regions_find(r, name);
    DG_CHECK(at >= 0);
    return (r->bits[voxel] >> at & 1) != 0;
}

static void test_definitions(void)
{
    static uint8_t near[N];
    dg_grid g;
    dg_regions r;
    dg_regions_input input = make_case(&g, (double[3]){2.5, 2, 2});
    brute_margin(&g, 5, near);
    input.known = (dg_box){{1, 0, 2}, {NZ - 1, NY, NX - 4}};
    DG_CHECK_OK(dg_regions_make(&input, &r));
    DG_CHECK(r.count == 8 && strcmp(r.region[7].name, "oar_Bladder") == 0 && r.region[7].kind == DG_REGION_OAR);
    int64_t both = 0, count[8] = {0};
    for (int64_t i = 0; i < N; i++) {
        const int64_t x = i % NX, z = i / (NY * NX);
        const bool known = z >= 1 && x >= 2 && x < NX - 2;
        const double gy = dose[i];
        const bool body = (masks[i] & BODY) != 0, organ = (masks[i] & (OAR_A | OAR_B)) != 0;
        DG_CHECK(in(&r, "global", i) == known);
        DG_CHECK(in(&r, "ptv_region", i) == (known && near[i]));
        DG_CHECK(in(&r, "low_dose", i) == (known && gy >= 7 && gy < 35));
        DG_CHECK(in(&r, "mid_dose", i) == (known && gy >= 35 && gy <= 63));
        DG_CHECK(in(&r, "high_dose", i) == (known && gy > 63));
        DG_CHECK(in(&r, "no_mans_land", i) == (known && body && gy >= 7.5 && !near[i] && !organ));
        DG_CHECK(in(&r, "oar_Rectum", i) == (known && (masks[i] & OAR_A) != 0));
        DG_CHECK(in(&r, "oar_Bladder", i) == (known && (masks[i] & OAR_B) != 0));
        both += in(&r, "oar_Rectum", i) && in(&r, "oar_Bladder", i);
        for (int k = 0; k < r.count; k++) count[k] += r.bits[i] >> k & 1;
    }
    DG_CHECK(both > 0); /* a voxel of two organs counts in both */
    for (int k = 0; k < r.count; k++)
        DG_CHECK(r.region[k].voxels == count[k] && count[k] > 0 && !r.region[k].reason[0]);
    DG_CHECK(dg_regions_find(&r, "oar_PTV70") == -1);
    dg_regions_release(&r);
    DG_CHECK(r.bits == NULL);
}

static const char *reason(const dg_regions *r, const char *name)
{
    const dg_region *region = &r->region[dg_regions_find(r, name)];
    DG_CHECK((region->voxels == 0) == (region->reason[0] != '\0'));
    return region->reason;
}

static void test_absent(void)
{
    dg_grid g;
    dg_regions r;
    dg_regions_input input = make_case(&g, (double[3]){3, 3, 3});
    input.structure = &STRUCTURES[1]; /* bit 0 is now an organ; neither target nor body is named */
    input.structure_count = 2;
    input.prescription_gy = 0;
    DG_CHECK_OK(dg_regions_make(&input, &r));
    DG_CHECK(strcmp(reason(&r, "ptv_region"), "no target") == 0 && strcmp(reason(&r, "no_mans_land"), "no body") == 0);
    DG_CHECK(strcmp(reason(&r, "mid_dose"), "no prescription") == 0 && reason(&r, "global")[0] == '\0');
    dg_regions_release(&r);
    input = make_case(&g, (double[3]){3, 3, 3});
    for (int i = 0; i < N; i++) masks[i] &= ~(uint64_t)(TARGET | OAR_B);
    for (int i = 0; i < N; i++) dose[i] = 1;
    DG_CHECK_OK(dg_regions_make(&input, &r));
    DG_CHECK(strcmp(reason(&r, "ptv_region"), "no target") == 0); /* named, but empty */
    DG_CHECK(strstr(reason(&r, "high_dose"), "no voxel") != NULL &&
             strstr(reason(&r, "oar_Bladder"), "no voxel") != NULL);
    DG_CHECK(strstr(reason(&r, "no_mans_land"), "no voxel") != NULL);
    dg_regions_release(&r);
}

static void test_limit(void)
{
    static dg_structure many[DG_STRUCTURES_MAX];
    dg_grid g;
    dg_regions r;
    dg_regions_input input = make_case(&g, (double[3]){3, 3, 3});
    for (int k = 0; k < DG_STRUCTURES_MAX; k++) {
        many[k].role = DG_ROLE_OAR;
        snprintf(many[k].name, sizeof many[k].name, "O%d", k);
    }
    input.structure = many;
    input.structure_count = 58;
    DG_CHECK_OK(dg_regions_make(&input, &r));
    DG_CHECK(r.count == DG_REGIONS_MAX && dg_regions_find(&r, "oar_O57") == 63);
    dg_regions_release(&r);
    input.structure_count = 59;
    DG_CHECK_FAILS(dg_regions_make(&input, &r), DG_ERR_UNSUPPORTED, "59 organs");
    DG_CHECK(r.bits == NULL);
}

int main(void)
{
    test_margin();
    test_box_margin();
    test_definitions();
    test_absent();
    test_limit();
    return 0;
}
