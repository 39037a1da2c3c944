/* ctest: libs=dg_analysis,dg_parallel label=unit timeout=60 */
/* t674_watershed.c - instances of masks: balls that touch, slabs and nothing, and random masks against a flood that looks through
 * all voxels for the next one. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_components.h"
#include "dg_rng.h"
#include "dg_watershed.h"

enum { Z = 9, Y = 10, X = 17, VOXELS = Z * Y * X };
static const int64_t N[3] = {Z, Y, X};
static uint8_t mask[VOXELS];
static uint32_t found[VOXELS], wanted[VOXELS];

static bool in_ball(int i, double x0)
{
    const double z = i / (Y * X) - 4, y = i / X % Y - 4.5, x = i % X - x0;
    return z * z + y * y + x * x < 17;
}

static void test_bodies(void)
{
    int64_t count = 7, size[3] = {0, 0, 0};
    DG_CHECK_OK(dg_watershed(mask, N, 1, found, &count));
    DG_CHECK(count == 0 && found[0] == 0);
    for (int i = 0; i < VOXELS; i++) mask[i] = in_ball(i, 4) || in_ball(i, 12);
    mask[(4 * Y + 4) * X + 8] = 1; /* a bridge */
    DG_CHECK_OK(dg_watershed(mask, N, 1, found, &count));
    DG_CHECK(count == 2);
    for (int i = 0; i < VOXELS; i++) {
        DG_CHECK((found[i] != 0) == (mask[i] != 0) && found[i] <= 2);
        size[found[i]]++;
        if (in_ball(i, 4)) DG_CHECK(found[i] == 1 || i % X >= 7);
        if (in_ball(i, 12)) DG_CHECK(found[i] == 2 || i % X <= 9);
    }
    DG_CHECK(llabs(size[1] - size[2]) <= 3);
    for (int i = 0; i < VOXELS; i++) mask[i] = in_ball(i, 4);
    DG_CHECK_OK(dg_watershed(mask, N, 1, found, &count));
    DG_CHECK(count == 1);
    memset(mask, 1, sizeof mask); /* without a background all is as far from it */
    DG_CHECK_OK(dg_watershed(mask, N, 1, found, &count));
    DG_CHECK(count == 1 && found[VOXELS - 1] == 1);
}

/* ---- by definition --------------------------------------------------------------------------------------------------- */

static double distance(int i)
{
    double best = INFINITY;
    for (int k = 0; k < VOXELS; k++) {
        const double z = i / (Y * X) - k / (Y * X), y = i / X % Y - k / X % Y, x = i % X - k % X;
        if (mask[k] == 0) best = fmin(best, z * z + y * y + x * x);
    }
    return best;
}

static bool is_neighbour(int a, int b)
{
    return abs(a / (Y * X) - b / (Y * X)) + abs(a / X % Y - b / X % Y) + abs(a % X - b % X) == 1;
}

static void naive(void)
{
    static double d[VOXELS];
    static uint8_t marker[VOXELS], done[VOXELS];
    static int age[VOXELS];
    const dg_slab all = dg_slab_of(N, 0, 1);
    dg_comm *alone;
    int64_t count;
    int clock = 0;
    for (int i = 0; i < VOXELS; i++) d[i] = distance(i);
    for (int i = 0; i < VOXELS; i++) {
        marker[i] = mask[i];
        for (int k = 0; k < VOXELS; k++)
            if (abs(i / (Y * X) - k / (Y * X)) <= 2 && abs(i / X % Y - k / X % Y) <= 2 && abs(i % X - k % X) <= 2 &&
                d[k] > d[i])
                marker[i] = 0;
    }
    DG_CHECK_OK(dg_comm_self_create(&alone));
    DG_CHECK_OK(dg_components_label(alone, &all, marker, DG_TOUCH_FACE, wanted, &count));
    dg_comm_destroy(&alone);
    memset(done, 0, sizeof done);
    for (int i = 0; i < VOXELS; i++)
        if (wanted[i] != 0) age[i] = clock++;
    for (;;) {
        static const int steps[] = {-Y * X, Y * X, -X, X, -1, 1};
        int next = -1;
        for (int i = 0; i < VOXELS; i++)
            if (wanted[i] != 0 && done[i] == 0 &&
                (next < 0 || d[i] > d[next] || (d[i] == d[next] && age[i] < age[next])))
                next = i;
        if (next < 0) return;
        done[next] = 1;
        for (int k = 0; k < 6; k++) {
            const int to = next + steps[k];
            if (to < 0 || to >= VOXELS || !is_neighbour(next, to) || mask[to] == 0 || wanted[to] != 0) continue;
            wanted[to] = wanted[next];
            age[to] = clock++;
        }
    }
}

static void test_random(uint64_t seed)
{
    dg_rng rng = dg_rng_stream(seed, DG_RNG_TEST, 0, 0);
    int64_t count;
    memset(mask, 0, sizeof mask);
    for (int ball = 0; ball < 12; ball++) {
        const double z0 = Z * dg_rng_uniform(&rng), y0 = Y * dg_rng_uniform(&rng), x0 = X * dg_rng_uniform(&rng);
        const double r = 1 + 2.5 * dg_rng_uniform(&rng);
        for (int i = 0; i < VOXELS; i++) {
            const double z = i / (Y * X) - z0, y = i / X % Y - y0, x = i % X - x0;
            if (z * z + y * y + x * x < r * r) mask[i] = 1;
        }
    }
    naive();
    DG_CHECK_OK(dg_watershed(mask, N, 1, found, &count));
    DG_CHECK(memcmp(found, wanted, sizeof found) == 0);
}

int main(void)
{
    test_bodies();
    for (uint64_t seed = 0; seed < 4; seed++) test_random(seed);
    return 0;
}
