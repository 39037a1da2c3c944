/* dg_volume.c - see dg_volume.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_volume.h"

#include <math.h>
#include <string.h>

/* The part of a box inside the volume along one axis, in box indices: [low, high). */
static void overlap(int64_t start, int64_t length, int64_t n, int64_t *low, int64_t *high)
{
    *low = start < 0 ? -start : 0;
    *high = n - start < length ? n - start : length;
    if (*low > length) *low = length;
    if (*high < *low) *high = *low;
}

void dg_volume_crop(const float *in, const int64_t shape_zyx[3], const dg_box *box, float fill, float *out)
{
    int64_t low[3], high[3], voxels = dg_box_voxels(box);
    for (int a = 0; a < 3; a++) overlap(box->start[a], box->shape[a], shape_zyx[a], &low[a], &high[a]);
    for (int64_t i = 0; i < voxels; i++) out[i] = fill;
    for (int64_t z = low[0]; z < high[0]; z++)
        for (int64_t y = low[1]; y < high[1]; y++) {
            int64_t row = ((box->start[0] + z) * shape_zyx[1] + box->start[1] + y) * shape_zyx[2] + box->start[2];
            memcpy(out + (z * box->shape[1] + y) * box->shape[2] + low[2], in + row + low[2],
                   (size_t)(high[2] - low[2]) * sizeof *out);
        }
}

void dg_volume_paste(const float *values, const dg_box *box, const int64_t shape_zyx[3], float *volume)
{
    int64_t low[3], high[3];
    for (int a = 0; a < 3; a++) overlap(box->start[a], box->shape[a], shape_zyx[a], &low[a], &high[a]);
    for (int64_t z = low[0]; z < high[0]; z++)
        for (int64_t y = low[1]; y < high[1]; y++) {
            int64_t row = ((box->start[0] + z) * shape_zyx[1] + box->start[1] + y) * shape_zyx[2] + box->start[2];
            memcpy(volume + row + low[2], values + (z * box->shape[1] + y) * box->shape[2] + low[2],
                   (size_t)(high[2] - low[2]) * sizeof *volume);
        }
}

/* Both coarsenings: the element type is chosen by which pointer is given. */
static void coarsen(const float *values, const uint8_t *mask, const int64_t n[3], const int64_t f[3], float *out)
{
    int64_t m[3];
    for (int a = 0; a < 3; a++) m[a] = (n[a] + f[a] - 1) / f[a];
    for (int64_t i = 0; i < m[0] * m[1] * m[2]; i++) {
        int64_t low[3] = {i / m[2] / m[1] * f[0], i / m[2] % m[1] * f[1], i % m[2] * f[2]}, high[3];
        for (int a = 0; a < 3; a++) high[a] = low[a] + f[a] < n[a] ? low[a] + f[a] : n[a];
        double sum = 0;
        for (int64_t z = low[0]; z < high[0]; z++)
            for (int64_t y = low[1]; y < high[1]; y++) {
                int64_t row = (z * n[1] + y) * n[2];
                for (int64_t x = low[2]; x < high[2]; x++) sum += values ? (double)values[row + x] : mask[row + x] != 0;
            }
        out[i] = (float)(sum / (double)((high[0] - low[0]) * (high[1] - low[1]) * (high[2] - low[2])));
    }
}

void dg_volume_coarsen(const float *in, const int64_t shape_zyx[3], const int64_t factor_zyx[3], float *out)
{
    coarsen(in, NULL, shape_zyx, factor_zyx, out);
}

void dg_volume_coarsen_mask(const uint8_t *in, const int64_t shape_zyx[3], const int64_t factor_zyx[3], float *out)
{
    coarsen(NULL, in, shape_zyx, factor_zyx, out);
}

/* `size` voxels about `centre`, moved inside [0, n); all of it when n is smaller. */
static void window_about(int64_t centre, int64_t size, int64_t n, int64_t *start, int64_t *shape)
{
    int64_t first = centre - size / 2;
    if (first > n - size) first = n - size;
    *start = first < 0 ? 0 : first;
    *shape = size < n ? size : n;
}

/* The slices first .. last with the rule's margin, at least as many as it asks for. */
static void window_of_slices(int64_t first, int64_t last, int64_t n, double slice_mm, const dg_crop_rule *rule,
                             int64_t *start, int64_t *shape)
{
    const int64_t margin = (int64_t)ceil(rule->margin_mm / slice_mm);
    const int64_t low = first - margin < 0 ? 0 : first - margin, high = last + 1 + margin > n ? n : last + 1 + margin;
    *start = low;
    *shape = high - low;
    if (high - low < rule->min_slices) window_about((low + high) / 2, rule->min_slices, n, start, shape);
}

/* Count, sum of indices and extent along the last axis of a mask. */
static int64_t mask_extent(const uint8_t *mask, const int64_t n[3], double sum[3], int64_t *first, int64_t *last)
{
    int64_t count = 0;
    sum[0] = sum[1] = sum[2] = 0;
    *first = n[2];
    *last = -1;
    for (int64_t i = 0; i < n[0] * n[1] * n[2]; i++) {
        if (mask[i] == 0) continue;
        int64_t slice = i % n[2];
        sum[0] += (double)(i / n[2] / n[1]);
        sum[1] += (double)(i / n[2] % n[1]);
        sum[2] += (double)slice;
        if (slice < *first) *first = slice;
        if (slice > *last) *last = slice;
        count++;
    }
    return count;
}

dg_status dg_volume_crop_box_upstream(const uint8_t *centre, const uint8_t *any, const int64_t shape_yxz[3],
                                      double slice_mm, double margin_mm, int64_t inplane, int64_t min_slices,
                                      dg_box *box_yxz, int64_t centroid[3])
{
    double sum[3], unused[3];
    int64_t first, last, n = shape_yxz[2];
    int64_t count = mask_extent(centre, shape_yxz, sum, &first, &last);
    if (count == 0 || mask_extent(any, shape_yxz, unused, &first, &last) == 0)
        return DG_FAIL(DG_ERR_DATA, "no target voxel to centre the crop on; check the structure mapping");
    for (int a = 0; a < 3; a++) centroid[a] = (int64_t)(sum[a] / (double)count);
    for (int a = 0; a < 2; a++)
        window_about(centroid[a], inplane, shape_yxz[a], &box_yxz->start[a], &box_yxz->shape[a]);
    const dg_crop_rule rule = {.margin_mm = margin_mm, .min_slices = min_slices};
    window_of_slices(first, last, n, slice_mm, &rule, &box_yxz->start[2], &box_yxz->shape[2]);
    return DG_OK;
}

dg_box dg_volume_crop_box(const int64_t shape_zyx[3], double slice_mm, int64_t first, int64_t last,
                          const int64_t *centre_yx, const dg_crop_rule *rule)
{
    dg_box box;
    for (int a = 1; a < 3; a++)
        window_about(centre_yx != NULL ? centre_yx[a - 1] : shape_zyx[a] / 2, rule->inplane, shape_zyx[a],
                     &box.start[a], &box.shape[a]);
    const bool any = last >= first;
    window_of_slices(any ? first : 0, any ? last : shape_zyx[0] - 1, shape_zyx[0], slice_mm, rule, &box.start[0],
                     &box.shape[0]);
    return box;
}
