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

dg_status dg_blend_create(const int64_t shape_zyx[3], dg_blend *out)
{
    dg_status status = DG_OK;
    *out = (dg_blend){.shape = {shape_zyx[0], shape_zyx[1], shape_zyx[2]}};
    int64_t voxels = shape_zyx[0] * shape_zyx[1] * shape_zyx[2];
    DG_TRY_GOTO(status, DG_NEW(&out->sum, voxels, "blended volume"), fail);
    DG_TRY_GOTO(status, DG_NEW(&out->weight, voxels, "blending weights"), fail);
    return DG_OK;
fail:
    dg_blend_release(out);
    return status;
}

void dg_blend_release(dg_blend *blend)
{
    dg_free(&blend->sum);
    dg_free(&blend->weight);
}

void dg_blend_add(dg_blend *blend, const dg_box *box, const float *values, const float *const importance[3])
{
    int64_t low[3], high[3]; /* the part of the box inside the volume, in box indices */
    for (int a = 0; a < 3; a++) {
        low[a] = box->start[a] < 0 ? -box->start[a] : 0;
        int64_t room = blend->shape[a] - box->start[a];
        high[a] = room < box->shape[a] ? room : box->shape[a];
    }
    for (int64_t z = low[0]; z < high[0]; z++)
        for (int64_t y = low[1]; y < high[1]; y++) {
            const float row_weight = importance[0][z] * importance[1][y];
            const float *from = values + (z * box->shape[1] + y) * box->shape[2];
            int64_t row = ((box->start[0] + z) * blend->shape[1] + box->start[1] + y) * blend->shape[2];
            float *sum = blend->sum + row + box->start[2], *weight = blend->weight + row + box->start[2];
            for (int64_t x = low[2]; x < high[2]; x++) {
                float w = row_weight * importance[2][x];
                sum[x] += w * from[x];
                weight[x] += w;
            }
        }
}

void dg_blend_finish(const dg_blend *blend, float low, float high, float *out)
{
    int64_t voxels = blend->shape[0] * blend->shape[1] * blend->shape[2];
    for (int64_t i = 0; i < voxels; i++) {
        float value = blend->sum[i] / blend->weight[i];
        out[i] = value < low ? low : value > high ? high : value; /* NaN stays NaN: the caller must see it */
    }
}
