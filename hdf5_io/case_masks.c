/* case_masks.c - structures of a case for its writers: words of all, bytes and distances of one, from either form of its masks.
 * SPDX-License-Identifier: Apache-2.0 */
#include "case_impl.h"

#include "dg_bits.h"
#include "dg_distance.h"

#include <string.h>

/* Eight voxels: `low` has the first eight structures of voxel j as its byte j. */
static void add_eight(const uint64_t *low, int groups, int64_t count, uint64_t *out)
{
    for (int64_t j = 0; j < count; j++) {
        uint64_t word = 0;
        for (int g = 0; g < groups; g++) word |= (low[g] >> 8 * j & 255) << 8 * g;
        out[j] = word;
    }
}

void dg_case_mask_words(const dg_case_data *data, int64_t index, int64_t count, uint64_t *out)
{
    const int structures = data->info.structure_count, groups = (structures + 7) / 8;
    if (data->masks != NULL) {
        memcpy(out, data->masks + index, (size_t)count * sizeof *out);
        return;
    }
    for (int64_t i = 0; i < count; i += 8) {
        const int64_t n = count - i < 8 ? count - i : 8;
        uint64_t low[DG_STRUCTURES_MAX / 8] = {0};
        for (int k = 0; k < structures; k++)
            low[k / 8] |= dg_bits_spread(dg_bits_eight(data->mask_bits[k], index + i, n)) << k % 8;
        add_eight(low, groups, n, out + i);
    }
}

void dg_case_mask_bytes(const dg_case_data *data, int structure, int threads, uint8_t *out)
{
    enum { RUN = 1 << 16 }; /* a multiple of 8: each begins with a byte of its own */
    const int64_t voxels = dg_grid_voxels(&data->info.grid);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < voxels; i += RUN) {
        const int64_t n = voxels - i < RUN ? voxels - i : RUN;
        if (data->masks == NULL)
            dg_bits_to_bytes(data->mask_bits[structure], i, n, out + i);
        else
            for (int64_t j = i; j < i + n; j++) out[j] = (uint8_t)(data->masks[j] >> structure & 1);
    }
}

dg_status dg_sdf_encode(const dg_case_data *data, int structure, int threads, uint8_t *mask, int16_t *out)
{
    dg_case_mask_bytes(data, structure, threads, mask);
    return dg_signed_distance_steps(mask, &data->info.grid, DG_SDF_CLIP_MM, DG_SDF_SCALE_MM, threads, out);
}
