/* ctest: libs=dg_grid label=unit timeout=120 */
/* t102_window.c - windows cover every voxel, and their weights never vanish (t216_windows.c blends with them).
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

int main(void)
{
    for (int64_t patch = 1; patch <= 12; patch++)
        for (int64_t length = 1; length <= 2 * patch + 1; length++)
            for (int tenth = 0; tenth <= 9; tenth++) check_axis(length, patch, tenth / 10.0);
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
    return 0;
}
