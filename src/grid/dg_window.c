/* dg_window.c - see dg_window.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_window.h"
#include "dg_mem.h"

#include <math.h>

dg_status dg_window_starts(int64_t length, int64_t patch, double overlap, int64_t **starts, int64_t *count)
{
    *starts = NULL;
    *count = 0;
    if (!(overlap >= 0 && overlap < 1))
        return DG_FAIL(DG_ERR_USAGE, "window overlap is %g; it must be at least 0 and below 1", overlap);
    if (patch < 1 || length < 1)
        return DG_FAIL(DG_ERR_USAGE, "windows of %lld voxels over %lld; both must be 1 or more", (long long)patch,
                       (long long)length);
    /* 20 * (1 - 0.9) is 1.9999...: meant is 2 */
    int64_t stride = (int64_t)fmax(1, floor((double)patch * (1 - overlap) + 1e-6));
    int64_t last = length > patch ? length - patch : 0;
    int64_t regular = last / stride + 1;
    bool rest = last % stride != 0;
    DG_TRY(DG_NEW(starts, regular + rest, "window starts"));
    for (int64_t i = 0; i < regular; i++) (*starts)[i] = i * stride;
    if (rest) (*starts)[regular] = last;
    *count = regular + rest;
    return DG_OK;
}

dg_status dg_window_boxes(const int64_t shape_zyx[3], const int64_t patch_zyx[3], double overlap, dg_box **boxes,
                          int64_t *count)
{
    int64_t *start[3] = {NULL, NULL, NULL}, n[3] = {0, 0, 0};
    dg_status status = DG_OK;
    *boxes = NULL;
    *count = 0;
    for (int a = 0; a < 3; a++)
        DG_TRY_GOTO(status, dg_window_starts(shape_zyx[a], patch_zyx[a], overlap, &start[a], &n[a]), cleanup);
    DG_TRY_GOTO(status, DG_NEW(boxes, n[0] * n[1] * n[2], "windows"), cleanup);
    for (int64_t z = 0; z < n[0]; z++)
        for (int64_t y = 0; y < n[1]; y++)
            for (int64_t x = 0; x < n[2]; x++)
                (*boxes)[(*count)++] = (dg_box){.start = {start[0][z], start[1][y], start[2][x]},
                                                .shape = {patch_zyx[0], patch_zyx[1], patch_zyx[2]}};
cleanup:
    for (int a = 0; a < 3; a++) dg_free(&start[a]);
    return status;
}

void dg_window_importance(int64_t n, float *g)
{
    double sigma = (double)n / 4;
    for (int64_t i = 0; i < n; i++) {
        double t = (double)(i - n / 2) / sigma;
        g[i] = (float)exp(-0.5 * t * t);
    }
}
