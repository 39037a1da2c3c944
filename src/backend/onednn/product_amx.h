/* product_amx.h - 1x1x1 convolutions in bf16 on the tile unit (Intel AMX) whose weights stay in the first-level cache:
 * bound by memory when alone, they run in the pass of the norm that adds them. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_PRODUCT_AMX_H
#define DG_PRODUCT_AMX_H

#include <stdbool.h>
#include <stdint.h>

/* True where channels fill tiles and the weights stay in the cache. */
bool dg_product_amx_suits(int64_t cin, int64_t cout);
/* Packed weights (bf16, the rest zero): the weight of input i and output o lies at input(i) + output(cin, o). */
int64_t dg_product_amx_bytes(int64_t cin, int64_t cout);
int64_t dg_product_amx_input(int64_t input);
int64_t dg_product_amx_output(int64_t cin, int64_t output);

/* A matrix of voxels in bf16: channel k of voxel v at v * pitch + k. */
typedef struct dg_product_rows {
    uint16_t *data;
    int64_t pitch, channels;
} dg_product_rows;
/* y = x * weights + bias (f32) for `count` voxels, by the calling thread. */
void dg_product_amx_run(dg_product_rows x, const uint16_t *weights, const float *bias, dg_product_rows y,
                        int64_t count);

#endif
