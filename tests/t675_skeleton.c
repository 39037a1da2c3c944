/* ctest: libs=dg_analysis,dg_parallel label=unit timeout=120 */
/* t675_skeleton.c - skeletons of bodies whose medial surface or centre line is known, of random masks by what a skeleton is, simple
 * voxels by their definition, and clDice where it can be told by hand. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_cldice.h"
#include "dg_rng.h"
#include "dg_topology.h"

enum { SIDE = 21, VOXELS = SIDE * SIDE * SIDE };
static const int64_t N[3] = {SIDE, SIDE, SIDE};
static uint8_t mask[VOXELS], skeleton[VOXELS], again[VOXELS];

static void draw_box(uint8_t *m, int z0, int z1, int y0, int y1, int x0, int x1)
{
    for (int z = z0; z <= z1; z++)
        for (int y = y0; y <= y1; y++)
            for (int x = x0; x <= x1; x++) m[(z * SIDE + y) * SIDE + x] = 1;
}

static int64_t count(const uint8_t *m)
{
    int64_t sum = 0;
    for (int i = 0; i < VOXELS; i++) sum += m[i];
    return sum;
}

static void make(dg_skeleton_kind kind) { DG_CHECK_OK(dg_skeleton_make(mask, N, kind, skeleton)); }

/* ---- bodies ---------------------------------------------------------------------------------------------------------- */

/* A plate of any thickness becomes one layer inside it, which reaches its rim but for half the thickness, along every axis. */
static void test_plates(void)
{
    for (int thick = 1; thick <= 5; thick++)
        for (int axis = 0; axis < 3; axis++) {
            int low[3] = {3, 3, 3}, high[3] = {17, 17, 17};
            low[axis] = 8, high[axis] = 7 + thick;
            memset(mask, 0, sizeof mask);
            draw_box(mask, low[0], high[0], low[1], high[1], low[2], high[2]);
            make(DG_SKELETON_SURFACE);
            const int least = 15 - 2 * (thick / 2);
            DG_CHECK(count(skeleton) >= least * least && count(skeleton) <= 15 * 15);
            for (int i = 0; i < VOXELS; i++) {
                const int at[3] = {i / (SIDE * SIDE), i / SIDE % SIDE, i % SIDE};
                if (skeleton[i] != 0) DG_CHECK(abs(2 * at[axis] - 15 - thick) <= 1);
            }
            if (thick == 1) DG_CHECK(memcmp(mask, skeleton, sizeof mask) == 0);
            make(DG_SKELETON_CURVE); /* a few lines */
            DG_CHECK(count(skeleton) >= 1 && count(skeleton) <= 2 * 15);
        }
}

/* A rod of any width becomes a line along its middle, one of odd width as a medial surface a ribbon there; a ring stays one. */
static void test_rods(void)
{
    for (int wide = 1; wide <= 5; wide++)
        for (int axis = 0; axis < 3; axis++) {
            int low[3] = {8, 8, 8}, high[3] = {7 + wide, 7 + wide, 7 + wide};
            low[axis] = 2, high[axis] = 18;
            memset(mask, 0, sizeof mask);
            draw_box(mask, low[0], high[0], low[1], high[1], low[2], high[2]);
            make(DG_SKELETON_CURVE);
            DG_CHECK(count(skeleton) >= 17 - 2 * wide && count(skeleton) <= 17);
            for (int i = 0; i < VOXELS; i++) {
                const int at[3] = {i / (SIDE * SIDE), i / SIDE % SIDE, i % SIDE};
                for (int k = 0; k < 3 && skeleton[i] != 0; k++) DG_CHECK(k == axis || abs(2 * at[k] - 15 - wide) <= 1);
            }
            make(DG_SKELETON_SURFACE);
            DG_CHECK(count(skeleton) >= 17 - 2 * wide && count(skeleton) <= 3 * 17);
        }
    for (int kind = DG_SKELETON_SURFACE; kind <= DG_SKELETON_CURVE; kind++) {
        memset(mask, 0, sizeof mask);
        draw_box(mask, 8, 12, 3, 17, 3, 17);
        for (int i = 0; i < VOXELS; i++) mask[i] &= abs(i / SIDE % SIDE - 10) > 2 || abs(i % SIDE - 10) > 2;
        make((dg_skeleton_kind)kind);
        dg_betti ring;
        DG_CHECK_OK(dg_betti_count(skeleton, N, DG_TOUCH_CORNER, &ring));
        DG_CHECK(ring.number[0] == 1 && ring.number[1] == 1 && ring.number[2] == 0);
    }
}

/* A graph of one voxel over each place of a plane, however steep up to a voxel a step, stays whole as a surface. */
static void test_graphs(void)
{
    for (int axis = 0; axis < 3; axis++)
        for (int slope = 0; slope <= 4; slope++) {
            memset(mask, 0, sizeof mask);
            for (int a = 2; a < SIDE - 2; a++)
                for (int b = 2; b < SIDE - 2; b++) {
                    int at[3];
                    at[axis] = 2 + slope * (a + b) / 10;
                    at[(axis + 1) % 3] = a;
                    at[(axis + 2) % 3] = b;
                    mask[(at[0] * SIDE + at[1]) * SIDE + at[2]] = 1;
                }
            make(DG_SKELETON_SURFACE);
            DG_CHECK(memcmp(mask, skeleton, sizeof mask) == 0);
        }
    memset(mask, 0, sizeof mask);
    make(DG_SKELETON_SURFACE);
    DG_CHECK(count(skeleton) == 0);
    memset(mask, 7, sizeof mask); /* the whole volume: beyond it is background; any value but 0 is set */
    make(DG_SKELETON_CURVE);
    DG_CHECK(count(skeleton) >= 1 && count(skeleton) < 2 * SIDE);
}

/* A ledge of one voxel on a thick plate leaves no spur: the medial surface stays within a voxel of the middle. */
static void test_ledge(void)
{
    memset(mask, 0, sizeof mask);
    draw_box(mask, 8, 12, 2, 18, 2, 18);
    draw_box(mask, 13, 13, 2, 18, 9, 9);
    draw_box(mask, 13, 13, 5, 5, 14, 14);
    make(DG_SKELETON_SURFACE);
    for (int i = 0; i < VOXELS; i++)
        if (skeleton[i] != 0) DG_CHECK(abs(i / (SIDE * SIDE) - 10) <= 1);
    DG_CHECK(count(skeleton) >= 13 * 13 && count(skeleton) <= 17 * 17);
}

/* ---- what a skeleton is ---------------------------------------------------------------------------------------------- */

static dg_betti betti_of(const uint8_t *m)
{
    dg_betti found;
    DG_CHECK_OK(dg_betti_count(m, N, DG_TOUCH_CORNER, &found));
    return found;
}

static bool is_set(int voxel, int dz, int dy, int dx)
{
    const int z = voxel / (SIDE * SIDE) + dz, y = voxel / SIDE % SIDE + dy, x = voxel % SIDE + dx;
    if (z < 0 || y < 0 || x < 0 || z >= SIDE || y >= SIDE || x >= SIDE) return false;
    return skeleton[(z * SIDE + y) * SIDE + x] != 0;
}

/* A voxel can go if what touches it is one piece without tunnels and cavities, looked at by itself: by the nerve of the closed
 * cubes that is how it meets the rest. *neighbours: how many touch it. */
static bool is_simple(int voxel, int *neighbours)
{
    static const int64_t three[3] = {3, 3, 3};
    uint8_t around[27];
    dg_betti found;
    *neighbours = 0;
    for (int k = 0; k < 27; k++) {
        around[k] = k != 13 && is_set(voxel, k / 9 - 1, k / 3 % 3 - 1, k % 3 - 1);
        *neighbours += around[k];
    }
    DG_CHECK_OK(dg_betti_count(around, three, DG_TOUCH_CORNER, &found));
    return found.number[0] == 1 && found.number[1] == 0 && found.number[2] == 0;
}

static bool is_thin(int voxel)
{
    return (!is_set(voxel, -1, 0, 0) && !is_set(voxel, 1, 0, 0)) ||
           (!is_set(voxel, 0, -1, 0) && !is_set(voxel, 0, 1, 0)) ||
           (!is_set(voxel, 0, 0, -1) && !is_set(voxel, 0, 0, 1));
}

/* Balls, with holes of single voxels and specks in every second mask. */
static void draw_random(uint64_t seed)
{
    dg_rng rng = dg_rng_stream(seed, DG_RNG_TEST, 0, 0);
    memset(mask, 0, sizeof mask);
    for (int ball = 0; ball < 14; ball++) {
        const double z0 = SIDE * dg_rng_uniform(&rng), y0 = SIDE * dg_rng_uniform(&rng),
                     x0 = SIDE * dg_rng_uniform(&rng);
        const double r = 1 + 4 * dg_rng_uniform(&rng);
        for (int i = 0; i < VOXELS; i++) {
            const double z = i / (SIDE * SIDE) - z0, y = i / SIDE % SIDE - y0, x = i % SIDE - x0;
            if (z * z + y * y + x * x < r * r) mask[i] = 1;
        }
    }
    for (int i = 0; i < VOXELS && seed % 2 == 1; i++)
        if (dg_rng_uniform(&rng) < 0.04) mask[i] ^= 1;
}

static void test_random(uint64_t seed, dg_skeleton_kind kind)
{
    draw_random(seed);
    const dg_betti whole = betti_of(mask);
    make(kind);
    const dg_betti thinned = betti_of(skeleton);
    DG_CHECK(memcmp(whole.number, thinned.number, sizeof whole.number) == 0);
    for (int i = 0; i < VOXELS; i++) DG_CHECK(skeleton[i] <= mask[i]);
    DG_CHECK_OK(dg_skeleton_make(skeleton, N, kind, again));
    DG_CHECK(memcmp(skeleton, again, sizeof again) == 0);
    DG_CHECK_OK(dg_skeleton_make(again, N, kind, again)); /* in place */
    DG_CHECK(memcmp(skeleton, again, sizeof again) == 0);
    for (int i = 0; i < VOXELS; i++) { /* thin: what could go is an end */
        int neighbours;
        if (skeleton[i] == 0 || !is_simple(i, &neighbours)) continue;
        DG_CHECK(kind == DG_SKELETON_CURVE ? neighbours == 1 : is_thin(i));
    }
}

/* ---- clDice ---------------------------------------------------------------------------------------------------------- */

static void test_cldice(void)
{
    dg_cldice c;
    memset(mask, 0, sizeof mask);
    memset(again, 0, sizeof again);
    DG_CHECK_OK(dg_cldice_count(mask, again, N, DG_SKELETON_SURFACE, &c));
    DG_CHECK(dg_cldice_value(&c) == 1 && isnan(dg_cldice_precision(&c)) && isnan(dg_cldice_sensitivity(&c)));
    /* sheets of one voxel are their own skeletons: the label has 10 x 10 voxels, the prediction half of them and 5 x 4 beside */
    draw_box(again, 10, 10, 2, 11, 2, 11);
    DG_CHECK_OK(dg_cldice_count(mask, again, N, DG_SKELETON_SURFACE, &c));
    DG_CHECK(dg_cldice_value(&c) == 0 && isnan(dg_cldice_precision(&c)) && dg_cldice_sensitivity(&c) == 0);
    draw_box(mask, 10, 10, 7, 11, 2, 15);
    DG_CHECK_OK(dg_cldice_count(mask, again, N, DG_SKELETON_SURFACE, &c));
    DG_CHECK(c.predicted == 70 && c.predicted_inside == 50 && c.labelled == 100 && c.labelled_inside == 50);
    DG_CHECK_NEAR(dg_cldice_precision(&c), 5.0 / 7, 1e-15);
    DG_CHECK_NEAR(dg_cldice_sensitivity(&c), 0.5, 1e-15);
    DG_CHECK_NEAR(dg_cldice_value(&c), 2 * (5.0 / 7) * 0.5 / (5.0 / 7 + 0.5), 1e-15);
    /* what is thicker loses in Dice alone: skeletons lie inside each other's mask */
    memset(mask, 0, sizeof mask);
    draw_box(mask, 9, 11, 2, 11, 2, 11);
    DG_CHECK_OK(dg_cldice_count(mask, again, N, DG_SKELETON_SURFACE, &c));
    DG_CHECK(dg_cldice_precision(&c) == 1 && dg_cldice_sensitivity(&c) == 1 && dg_cldice_value(&c) == 1);
    /* masks that do not meet */
    memset(mask, 0, sizeof mask);
    draw_box(mask, 15, 17, 2, 11, 2, 11);
    DG_CHECK_OK(dg_cldice_count(mask, again, N, DG_SKELETON_CURVE, &c));
    DG_CHECK(dg_cldice_value(&c) == 0 && dg_cldice_precision(&c) == 0 && dg_cldice_sensitivity(&c) == 0);
}

int main(void)
{
    test_plates();
    test_rods();
    test_graphs();
    test_ledge();
    for (uint64_t seed = 0; seed < 12; seed++) {
        test_random(seed, DG_SKELETON_SURFACE);
        test_random(seed, DG_SKELETON_CURVE);
    }
    test_cldice();
    return 0;
}
