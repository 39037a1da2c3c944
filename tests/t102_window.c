/* ctest: libs=dg_grid label=unit timeout=120 */
/* t102_window.c - windows cover every voxel, weights never vanish, blending an identity gives the input back.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_mem.h"
#include "dg_window.h"

static void check_axis(int64_t length, int64_t patch, double overlap)
{
    int64_t *starts, count;
    DG_CHECK_OK(dg_window_starts(length, patch, overlap, &starts, &count));
    DG_CHECK(count >= 1 && starts[0] == 0);
    int64_t covered = 0;
    for (int64_t i = 0; i < count; i++) {
        DG_CHECK(i == 0 || starts[i] > starts[i - 1]);
        DG_CHECK(starts[i] <= covered); /* no gap */
        DG_CHECK(starts[i] + patch <= length || count == 1);
        covered = starts[i] + patch;
    }
    DG_CHECK(covered >= length);
    dg_free(&starts);
}

/* Every window returns its input: the blended volume must be the input, for any size and overlap. */
static void check_identity(const int64_t shape[3], const int64_t patch[3], double overlap)
{
    float *g[3], *values, *volume;
    dg_box *boxes;
    dg_blend blend;
    int64_t count, voxels = shape[0] * shape[1] * shape[2];
    for (int a = 0; a < 3; a++) {
        DG_CHECK_OK(DG_NEW(&g[a], patch[a], "test"));
        dg_window_importance(patch[a], g[a]);
    }
    DG_CHECK_OK(DG_NEW(&values, patch[0] * patch[1] * patch[2], "test"));
    DG_CHECK_OK(DG_NEW(&volume, voxels, "test"));
    for (int64_t i = 0; i < voxels; i++) volume[i] = (float)(i % 17) - 3;
    DG_CHECK_OK(dg_window_boxes(shape, patch, overlap, &boxes, &count));
    DG_CHECK_OK(dg_blend_create(shape, &blend));
    for (int64_t w = 0; w < count; w++) {
        const dg_box *b = &boxes[w];
        for (int64_t z = 0; z < patch[0]; z++)
            for (int64_t y = 0; y < patch[1]; y++)
                for (int64_t x = 0; x < patch[2]; x++) {
                    int64_t vz = b->start[0] + z, vy = b->start[1] + y, vx = b->start[2] + x;
                    bool in = vz < shape[0] && vy < shape[1] && vx < shape[2];
                    values[(z * patch[1] + y) * patch[2] + x] =
                        in ? volume[(vz * shape[1] + vy) * shape[2] + vx] : 1e30F; /* must never be seen */
                }
        dg_blend_add(&blend, b, values, (const float *const *)g);
    }
    for (int64_t i = 0; i < voxels; i++) DG_CHECK(blend.weight[i] > 1e-4F);
    dg_blend_finish(&blend, -100, 100, blend.sum);
    for (int64_t i = 0; i < voxels; i++) DG_CHECK_NEAR(blend.sum[i], volume[i], 2e-5);
    dg_blend_release(&blend);
    dg_free(&boxes);
    dg_free(&values);
    dg_free(&volume);
    for (int a = 0; a < 3; a++) dg_free(&g[a]);
}

int main(void)
{
    for (int64_t patch = 1; patch <= 12; patch++)
        for (int64_t length = 1; length <= 2 * patch + 1; length++)
            for (int tenth = 0; tenth <= 9; tenth++) check_axis(length, patch, tenth / 10.0);
    for (int64_t patch = 1; patch <= 5; patch++)
        for (int64_t length = 1; length <= 2 * patch; length++)
            for (int tenth = 0; tenth <= 9; tenth += 3) {
                const int64_t shape[3] = {length, 2 * patch + 1 - length, 3}, box[3] = {patch, patch, 4};
                check_identity(shape, box, tenth / 10.0);
            }
    int64_t *starts, count;
    DG_CHECK_OK(dg_window_starts(40, 20, 0.9, &starts, &count));
    DG_CHECK(count == 11 && starts[1] == 2);
    dg_free(&starts);
    float g[8];
    dg_window_importance(8, g);
    DG_CHECK_NEAR(g[4], 1, 0);
    DG_CHECK_NEAR(g[0], exp(-2), 1e-7);
    DG_CHECK_FAILS(dg_window_starts(10, 4, 1, &starts, &count), DG_ERR_USAGE, "overlap is 1");
    DG_CHECK_FAILS(dg_window_starts(10, 4, NAN, &starts, &count), DG_ERR_USAGE, "overlap is");
    DG_CHECK_FAILS(dg_window_starts(10, 0, 0, &starts, &count), DG_ERR_USAGE, "windows of 0");
    dg_blend blend = {.shape = {1, 1, 3}};
    float sum[3] = {2, -2, NAN}, weight[3] = {1, 1, 1};
    blend.sum = sum;
    blend.weight = weight;
    dg_blend_finish(&blend, 0, 1.5F, sum);
    DG_CHECK(sum[0] == 1.5F && sum[1] == 0 && isnan(sum[2]));
    return 0;
}
