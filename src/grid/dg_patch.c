/* dg_patch.c - see dg_patch.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_patch.h"

int64_t dg_patch_covering(int64_t length, int64_t low, int64_t high, int64_t patch)
{
    if (patch >= length) return -((patch - length) / 2);
    const int64_t start = low - (patch - (high - low)) / 2, last = length - patch;
    return start < 0 ? 0 : start > last ? last : start;
}

dg_box dg_patch_uniform(const int64_t shape_zyx[3], const dg_box *frame, const int64_t patch_zyx[3], dg_rng *rng)
{
    dg_box box;
    for (int a = 0; a < 3; a++) {
        const int64_t low = frame->start[a], high = low + frame->shape[a], patch = patch_zyx[a];
        const bool covers = patch >= frame->shape[a];
        const int64_t offset = dg_rng_below(rng, covers ? 1 : frame->shape[a] - patch + 1);
        box.start[a] = covers ? dg_patch_covering(shape_zyx[a], low, high, patch) : low + offset;
        box.shape[a] = patch;
    }
    return box;
}

dg_box dg_patch_around(const int64_t shape_zyx[3], const dg_box *frame, const int64_t patch_zyx[3],
                       const int64_t centre_zyx[3])
{
    dg_box box;
    for (int a = 0; a < 3; a++) {
        const int64_t low = frame->start[a], high = low + frame->shape[a], patch = patch_zyx[a];
        const int64_t start = centre_zyx[a] - patch / 2;
        box.start[a] = patch >= frame->shape[a] ? dg_patch_covering(shape_zyx[a], low, high, patch)
                       : start < low            ? low
                       : start > high - patch   ? high - patch
                                                : start;
        box.shape[a] = patch;
    }
    return box;
}

int64_t dg_patch_centres_upstream(const int64_t shape[3], const int64_t patch[3], const float *dose, float threshold,
                                  int64_t (*centres)[3])
{
    int64_t low[3], high[3], count = 0;
    for (int a = 0; a < 3; a++) {
        low[a] = patch[a] / 2;
        high[a] = shape[a] - patch[a] / 2;
        if (high[a] < low[a] + 1) high[a] = low[a] + 1;
        if (high[a] > shape[a]) high[a] = shape[a];
    }
    for (int64_t i = low[0]; i < high[0]; i++)
        for (int64_t j = low[1]; j < high[1]; j++)
            for (int64_t k = low[2]; k < high[2]; k++) {
                if (!(dose[(i * shape[1] + j) * shape[2] + k] > threshold)) continue;
                if (centres != NULL) {
                    centres[count][0] = i;
                    centres[count][1] = j;
                    centres[count][2] = k;
                }
                count++;
            }
    return count;
}
