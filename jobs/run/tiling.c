/* tiling.c - see tiling.h. SPDX-License-Identifier: Apache-2.0 */
#include "tiling.h"

#include "dg_mem.h"
#include "dg_window.h"

#include <string.h>

static dg_status make_axis(dg_tiling *t, int axis, double overlap, int64_t *count)
{
    const int64_t n = t->patch[axis] * t->sub[axis], length = t->output[axis],
                  over = t->patch[axis] - t->net.shape[axis];
    DG_TRY(dg_window_starts(t->net.shape[axis], t->patch[axis], overlap, &t->start[axis], count));
    if (over > 0) t->start[axis][0] = -(over / 2); /* centred, as training samples are */
    DG_TRY(DG_NEW(&t->weight[axis], n, "weights of a window"));
    DG_TRY(DG_NEW(&t->sum[axis], length, "weights of a case"));
    dg_window_importance(n, t->weight[axis]);
    for (int64_t w = 0; w < *count; w++)
        for (int64_t i = 0; i < n; i++) {
            const int64_t at = t->start[axis][w] * t->sub[axis] + i;
            if (at >= 0 && at < length) t->sum[axis][at] += t->weight[axis][i];
        }
    for (int64_t i = 0; i < length; i++)
        if (!(t->sum[axis][i] > 0))
            return DG_FAIL(DG_ERR_INTERNAL, "windows leave plane %lld of axis %d without weight", (long long)i, axis);
    return DG_OK;
}

dg_status dg_tiling_make(const dg_recipe *recipe, const dg_grid *native, const int64_t patch_zyx[3], double overlap,
                         dg_tiling *out)
{
    dg_tiling *t = out;
    memset(t, 0, sizeof *t);
    memcpy(t->patch, patch_zyx, sizeof t->patch);
    dg_recipe_geometry(recipe, native, &t->net, t->sub);
    for (int a = 0; a < 3; a++) t->output[a] = t->net.shape[a] * t->sub[a];
    int64_t *const count[3] = {&t->layers, &t->strips, &t->across};
    dg_status status = DG_OK;
    for (int a = 0; a < 3 && status == DG_OK; a++) status = make_axis(t, a, overlap, count[a]);
    for (int64_t k = 1; k < t->layers && status == DG_OK; k++) {
        const int64_t step = t->start[0][k] - t->start[0][k - 1];
        t->tallest_step = step > t->tallest_step ? step : t->tallest_step;
    }
    if (status != DG_OK) dg_tiling_release(t);
    return status;
}

void dg_tiling_release(dg_tiling *t)
{
    for (int a = 0; a < 3; a++) {
        dg_free(&t->start[a]);
        dg_free(&t->weight[a]);
        dg_free(&t->sum[a]);
    }
}

void dg_tiling_planes(const dg_tiling *t, int64_t layer, int64_t *first, int64_t *end)
{
    *first = t->start[0][layer] > 0 ? t->start[0][layer] : 0;
    *end = t->start[0][layer] + t->patch[0];
    if (*end > t->net.shape[0]) *end = t->net.shape[0];
}

int64_t dg_tiling_ready(const dg_tiling *t, int64_t layer)
{
    return layer + 1 < t->layers ? t->start[0][layer + 1] * t->sub[0] : t->output[0];
}
