/* ctest: libs=dg_grid,dg_math label=unit timeout=60 */
/* t103_patch.c - patches lie inside; augmentation undoes itself where it should. SPDX-License-Identifier: Apache-2.0 */
#include "dg_augment_point.h"
#include "dg_check.h"
#include "dg_patch.h"

static void check_box(const dg_box *box, const int64_t shape[3], const int64_t patch[3])
{
    for (int a = 0; a < 3; a++) {
        DG_CHECK(box->shape[a] == patch[a]);
        if (patch[a] <= shape[a])
            DG_CHECK(box->start[a] >= 0 && box->start[a] + patch[a] <= shape[a]);
        else
            DG_CHECK(box->start[a] == -((patch[a] - shape[a]) / 2));
    }
}

/* In a frame: along z the patch is shorter and stays within, along y it is longer and is centred on the frame, along x it
 * would leave the volume and is moved into it. */
static void test_frames(void)
{
    const int64_t shape[3] = {20, 20, 20}, patch[3] = {4, 9, 10};
    const dg_box frame = {.start = {6, 5, 14}, .shape = {7, 5, 6}};
    int seen[20] = {0};
    dg_rng rng = dg_rng_stream(3, DG_RNG_TEST, 2, 0);
    for (int i = 0; i < 400; i++) {
        const dg_box box = dg_patch_uniform(shape, &frame, patch, &rng);
        DG_CHECK(box.start[0] >= 6 && box.start[0] + 4 <= 13 && box.start[1] == 3 && box.start[2] == 10);
        seen[box.start[0]]++;
    }
    for (int i = 6; i <= 9; i++) DG_CHECK(seen[i] > 60 && seen[i] < 150);
    for (int64_t z = 0; z < 20; z++) {
        const int64_t centre[3] = {z, 1, 1};
        const dg_box box = dg_patch_around(shape, &frame, patch, centre);
        DG_CHECK(box.start[0] == (z < 8 ? 6 : z > 11 ? 9 : z - 2) && box.start[1] == 3 && box.start[2] == 10);
    }
    DG_CHECK(dg_patch_covering(20, 0, 20, 24) == -2 && dg_patch_covering(20, 6, 7, 20) == 0);
    DG_CHECK(dg_patch_covering(20, 0, 3, 8) == 0 && dg_patch_covering(20, 9, 12, 8) == 7);
}

static void test_boxes(void)
{
    const int64_t shape[3] = {9, 5, 12}, patch[3] = {4, 8, 12};
    const dg_box whole = {.shape = {9, 5, 12}};
    int seen[6] = {0};
    dg_rng rng = dg_rng_stream(3, DG_RNG_TEST, 1, 0);
    for (int i = 0; i < 600; i++) {
        dg_box box = dg_patch_uniform(shape, &whole, patch, &rng);
        check_box(&box, shape, patch);
        seen[box.start[0]]++;
    }
    for (int i = 0; i < 6; i++) DG_CHECK(seen[i] > 60 && seen[i] < 150); /* 100 each; the ends are reached too */
    for (int64_t z = 0; z < shape[0]; z++) {
        const int64_t centre[3] = {z, 2, 11};
        dg_box box = dg_patch_around(shape, &whole, patch, centre);
        check_box(&box, shape, patch);
        DG_CHECK(z >= box.start[0] && z < box.start[0] + patch[0]);
        if (z >= 2 && z <= 7) DG_CHECK(box.start[0] == z - 2);
    }
    test_frames();
    /* candidates of the reference: half-open at n - half, so that index 7 of 9 is never a centre */
    float dose[9 * 8 * 12];
    int64_t centre[100][3];
    const int64_t volume[3] = {9, 8, 12}, four[3] = {4, 8, 12};
    for (int i = 0; i < 9 * 8 * 12; i++) dose[i] = 1;
    DG_CHECK(dg_patch_centres_upstream(volume, four, dose, 0.1F, NULL) == 5);
    DG_CHECK(dg_patch_centres_upstream(volume, four, dose, 0.1F, centre) == 5);
    DG_CHECK(centre[0][0] == 2 && centre[4][0] == 6 && centre[0][1] == 4 && centre[0][2] == 6);
    DG_CHECK(dg_patch_centres_upstream(volume, four, dose, 1.0F, NULL) == 0);
}

enum { N = 4 * 6 * 7 };

static void test_exact(void)
{
    const int64_t shape[3] = {4, 6, 7};
    const double spacing[3] = {2, 1, 1};
    float in[N], out[N], back[N];
    for (int i = 0; i < N; i++) in[i] = (float)((i * 37) % 101);
    dg_augmentation nothing = {.flip = false}, flip = {.flip = true}, shift = {.shift = {1, -2, 3}};
    dg_augment_apply(&nothing, shape, spacing, false, in, out);
    DG_CHECK(memcmp(in, out, sizeof in) == 0);
    dg_augment_apply(&flip, shape, spacing, false, in, out);
    DG_CHECK(out[0] == in[6] && out[8] == in[12]);
    dg_augment_apply(&flip, shape, spacing, false, out, back);
    DG_CHECK(memcmp(in, back, sizeof in) == 0);
    dg_augment_apply(&shift, shape, spacing, false, in, out);
    for (int64_t z = 0; z < 4; z++)
        for (int64_t y = 0; y < 6; y++)
            for (int64_t x = 0; x < 7; x++) {
                int64_t a = z - 1 < 0 ? 0 : z - 1, b = y + 2 > 5 ? 5 : y + 2, c = x - 3 < 0 ? 0 : x - 3;
                DG_CHECK(out[(z * 6 + y) * 7 + x] == in[(a * 6 + b) * 7 + c]);
            }
    dg_augment_shift(4, 6, 7, shift.shift, in, back);
    DG_CHECK(memcmp(out, back, sizeof out) == 0);
    /* a rotation by nothing, through the interpolating path of the reference form */
    dg_augment_rotate01(4, 6, 7, 0, in, out);
    DG_CHECK(memcmp(in, out, sizeof in) == 0);
}

/* A rotation in mm: a point that lies at (dy, dx) mm from the centre moves to R (dy, dx). */
static void test_rotation(void)
{
    enum { SIDE = 41 };
    const int64_t shape[3] = {1, SIDE, SIDE};
    const double spacing[3] = {1, 1, 2}, angle = 0.3;
    static float in[SIDE * SIDE], out[SIDE * SIDE], label[SIDE * SIDE];
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) in[y * SIDE + x] = (float)(3 * (y - 20) * 1.0 - 2 * (x - 20) * 2.0);
    dg_augmentation turn = {.angle_rad = angle};
    dg_augment_apply(&turn, shape, spacing, false, in, out);
    dg_augment_apply(&turn, shape, spacing, true, in, label);
    for (int y = 15; y <= 25; y++)
        for (int x = 15; x <= 25; x++) {
            double dy = y - 20, dx = 2.0 * (x - 20);
            double sy = cos(angle) * dy - sin(angle) * dx, sx = sin(angle) * dy + cos(angle) * dx;
            DG_CHECK_NEAR(out[y * SIDE + x], 3 * sy - 2 * sx, 1e-4); /* bilinear is exact on a plane */
            DG_CHECK(fabs(label[y * SIDE + x] - (3 * sy - 2 * sx)) <= 0.5 * 3 + 0.5 * 4 + 1e-4);
            DG_CHECK(label[y * SIDE + x] == rintf(label[y * SIDE + x])); /* nearest takes values, never mixes them */
        }
}

/* Nine equally spaced beams: each turn as often as the others, the small angle about it, all else as without. */
static void test_draw_fold(const dg_augment_config *config)
{
    dg_augment_config nine = *config;
    int seen[9] = {0}, left = 0;
    nine.rotate_fold = 9;
    for (uint64_t i = 0; i < 900; i++) {
        dg_rng rng = dg_rng_stream(9, DG_RNG_AUGMENT, i, 2), other = rng;
        const dg_augmentation a = dg_augment_draw(&nine, &rng), b = dg_augment_draw(config, &other);
        const double turns = a.angle_rad / (2 * M_PI / 9), small = (turns - rint(turns)) * 40;
        DG_CHECK(a.flip == b.flip && memcmp(a.shift, b.shift, sizeof a.shift) == 0);
        DG_CHECK(memcmp(&a.noise, &b.noise, sizeof a.noise) == 0);
        DG_CHECK(turns > -0.3 && turns < 8.3 && fabs(small) <= config->rotate_deg + 1e-9);
        seen[(int)rint(turns)]++;
        left += small < 0;
    }
    for (int k = 0; k < 9; k++) DG_CHECK(seen[k] > 60 && seen[k] < 140);
    DG_CHECK(left > 390 && left < 510);
}

static void test_draw(void)
{
    const dg_augment_config all = {
        .flip = true, .shift_voxels = 2.9, .rotate_deg = 10, .contrast = 0.2, .brightness_hu = 30, .noise_hu = 5};
    const dg_augment_config none = {.flip = false};
    int flips = 0, more = 0, brighter = 0, seen[5] = {0};
    for (uint64_t i = 0; i < 500; i++) {
        dg_rng rng = dg_rng_stream(9, DG_RNG_AUGMENT, i, 2), same = rng, off = rng;
        dg_augmentation a = dg_augment_draw(&all, &rng), b = dg_augment_draw(&all, &same);
        dg_augmentation c = dg_augment_draw(&none, &off);
        DG_CHECK(a.flip == b.flip && a.angle_rad == b.angle_rad && a.shift[0] == b.shift[0]);
        DG_CHECK(!c.flip && c.angle_rad == 0 && c.shift[0] == 0 && c.shift[1] == 0 && c.shift[2] == 0);
        DG_CHECK(fabs(a.angle_rad) <= 10 * M_PI / 180);
        for (int k = 0; k < 3; k++) DG_CHECK(a.shift[k] >= -2 && a.shift[k] <= 2);
        seen[a.shift[1] + 2]++;
        flips += a.flip;
        DG_CHECK(fabs(a.contrast) <= 0.2 && fabs(a.offset_hu) <= 30 && c.contrast == 0 && c.offset_hu == 0);
        more += a.contrast > 0.1;
        brighter += a.offset_hu < -15;
    }
    DG_CHECK(flips > 200 && flips < 300);
    DG_CHECK(more > 90 && more < 160 && brighter > 90 && brighter < 160);
    test_draw_fold(&all);
    for (int k = 0; k < 5; k++) DG_CHECK(seen[k] > 60);
    float ct[4000] = {0}, again[4000] = {0};
    dg_rng rng = dg_rng_stream(9, DG_RNG_AUGMENT, 1, 2);
    dg_augmentation a = dg_augment_draw(&all, &rng);
    a.contrast = a.offset_hu = 0;
    dg_augment_ct(&a, 4000, ct);
    dg_augment_ct(&a, 4000, again);
    DG_CHECK(memcmp(ct, again, sizeof ct) == 0);
    double sum = 0, squares = 0;
    for (int i = 0; i < 4000; i++) {
        sum += ct[i];
        squares += (double)ct[i] * ct[i];
    }
    DG_CHECK_NEAR(sum / 4000, 0, 0.3);
    DG_CHECK_NEAR(sqrt(squares / 4000), 5, 0.3);
}

/* Contrast turns about 0, the offset is added: neither draws numbers, and without both a value stays what it is. */
static void test_brightening(void)
{
    float ct[4] = {-1, -0.25f, 0, 0.5f}, same[4] = {-1, -0.25f, 0, 0.5f};
    const dg_augmentation changed = {.contrast = 0.5, .offset_hu = 0.125}, none = {.flip = true};
    dg_augment_ct(&changed, 4, ct);
    dg_augment_ct(&none, 4, same);
    DG_CHECK(ct[0] == -1.375f && ct[1] == -0.25f && ct[2] == 0.125f && ct[3] == 0.875f);
    DG_CHECK(same[0] == -1 && same[1] == -0.25f && same[2] == 0 && same[3] == 0.5f);
}

/* Voxel by voxel, as a device computes them: the same bits as the loops, wherever in a block the noise begins. */
static void test_points(void)
{
    const int64_t n[3] = {3, 7, 9}, count = 3 * 7 * 9;
    const double spacing[3] = {3, 2.5, 1.5};
    float in[189], out[189], ct[1000];
    dg_rng rng = dg_rng_stream(4, DG_RNG_TEST, 0, 0);
    for (int64_t i = 0; i < count; i++) in[i] = (float)dg_rng_normal(&rng);
    for (int k = 0; k < 16; k++) {
        const dg_augmentation a = {
            .flip = k % 2 == 1, .shift = {k % 3 - 1, 2 - k % 5, k % 7 - 3}, .angle_rad = k / 4 == 0 ? 0 : 0.3 * k - 2};
        dg_move m;
        dg_augment_move(&a, n, spacing, &m);
        dg_augment_apply(&a, n, spacing, k / 2 % 2 == 1, in, out);
        for (int64_t i = 0; i < count; i++) {
            const dg_corners c = dg_move_corners(&m, i / 9 % 7, i % 9, k / 2 % 2 == 1);
            DG_CHECK(out[i] == dg_corners_value(&c, in + dg_move_plane(&m, i / 63)));
        }
    }
    for (int taken = 0; taken < 6; taken++) {
        dg_augmentation a = {.noise_hu = 3, .noise = dg_rng_stream(4, DG_RNG_AUGMENT, 5, 6)};
        dg_noise noise;
        for (int k = 0; k < taken; k++) (void)dg_rng_u32(&a.noise);
        dg_augment_noise(&a, &noise);
        memset(ct, 0, sizeof ct);
        dg_augment_ct(&a, 1000, ct);
        for (int i = 0; i < 1000; i++) DG_CHECK(ct[i] == dg_noise_at(&noise, i));
    }
    const int8_t partner[3] = {1, 0, 2};
    DG_CHECK(dg_mirrored_regions(1, partner, 3) == 2 && dg_mirrored_regions(6, partner, 3) == 5);
    DG_CHECK(dg_mirrored_regions(0, partner, 3) == 0 && dg_mirrored_regions(7, partner, 3) == 7);
}

int main(void)
{
    test_boxes();
    test_exact();
    test_rotation();
    test_draw();
    test_brightening();
    test_points();
    return 0;
}
