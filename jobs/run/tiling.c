/* tiling.c - see tiling.h. SPDX-License-Identifier: Apache-2.0 */
#include "tiling.h"

#include "dg_mem.h"
#include "dg_patch.h"
#include "dg_window.h"

#include <string.h>

/* Starts of the windows over low to high - 1 of an axis: the one that covers it, or several from its ends inwards. */
static dg_status place(dg_tiling *t, int axis, int64_t low, int64_t high, double overlap, int64_t *count)
{
    const int64_t length = t->net.shape[axis], patch = t->patch[axis];
    DG_TRY(dg_window_starts(high - low, patch, overlap, &t->start[axis], count));
    for (int64_t w = 0; w < *count; w++) t->start[axis][w] += low;
    if (patch >= high - low) t->start[axis][0] = dg_patch_covering(length, low, high, patch); /* as samples are */
    return DG_OK;
}

static dg_status make_axis(dg_tiling *t, const dg_box *frame, int axis, double overlap, int64_t *count)
{
    const int64_t n = t->patch[axis] * t->sub[axis], length = t->output[axis];
    const int64_t low = frame->start[axis], high = low + frame->shape[axis];
    DG_TRY(place(t, axis, low, high, overlap, count));
    DG_TRY(DG_NEW(&t->weight[axis], n, "weights of a window"));
    DG_TRY(DG_NEW(&t->sum[axis], length, "weights of a case"));
    dg_window_importance(n, t->weight[axis]);
    for (int64_t w = 0; w < *count; w++)
        for (int64_t i = 0; i < n; i++) {
            const int64_t at = t->start[axis][w] * t->sub[axis] + i;
            if (at >= 0 && at < length) t->sum[axis][at] += t->weight[axis][i];
        }
    for (int64_t i = 0; i < length; i++) {
        const bool framed = i >= low * t->sub[axis] && i < high * t->sub[axis];
        if (t->sum[axis][i] > 0) continue;
        if (framed)
            return DG_FAIL(DG_ERR_INTERNAL, "windows leave plane %lld of axis %d without weight", (long long)i, axis);
        t->sum[axis][i] = 1;
    }
    return DG_OK;
}

dg_status dg_tiling_make(const dg_recipe *recipe, const dg_grid *native, const dg_box *frame,
                         const int64_t patch_zyx[3], double overlap, dg_tiling *out)
{
    dg_tiling *t = out;
    memset(t, 0, sizeof *t);
    memcpy(t->patch, patch_zyx, sizeof t->patch);
    dg_recipe_geometry(recipe, native, &t->net, t->sub);
    for (int a = 0; a < 3; a++) t->output[a] = t->net.shape[a] * t->sub[a];
    int64_t *const count[3] = {&t->layers, &t->strips, &t->across};
    dg_status status = DG_OK;
    for (int a = 0; a < 3 && status == DG_OK; a++) status = make_axis(t, frame, a, overlap, count[a]);
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

void dg_tiling_ready(const dg_tiling *t, int64_t layer, int64_t *first, int64_t *end)
{
    int64_t top;
    dg_tiling_planes(t, layer, first, &top);
    *first *= t->sub[0];
    *end = (layer + 1 < t->layers ? t->start[0][layer + 1] : top) * t->sub[0];
}
