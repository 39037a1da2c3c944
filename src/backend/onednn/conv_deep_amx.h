/* conv_deep_amx.h - 3x3x3 convolutions in bf16 on the tile unit for deep levels: few voxels, many channels, so that the
 * weights outweigh the tensors. Forward pass and, with mirrored, transposed weights, data gradient. Each result is
 * computed in one order, whatever the threads. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CONV_DEEP_AMX_H
#define DG_CONV_DEEP_AMX_H

#include <stdbool.h>
#include <stdint.h>

/* How one shape is cut; see conv_deep_amx.c. Filled by dg_conv_deep_plan_make. */
typedef struct dg_conv_deep_plan {
    int64_t n, z, y, x, cin, cout;
    bool accumulate;                       /* adds to y */
    int64_t tiles;                         /* of 16 voxels in a plane */
    int64_t pairs, parts;                  /* of tiles in all; of them, in which threads share a block of outputs */
    int64_t blocks;                        /* of 48 outputs */
    int64_t steps, chunks;                 /* tile products of a chunk of inputs; chunks */
    int64_t plane_elements, copy_elements; /* of a copy of x, padded along y */
    int64_t copy_bytes, slab_bytes, scratch_bytes; /* all copies, a thread's sums, together */
    int64_t weight_bytes;                          /* packed */
    int threads;
} dg_conv_deep_plan;

/* True where planes fill tiles, inputs fill steps, and the weights outweigh an input that stays in the cache. */
bool dg_conv_deep_suits(const dg_conv_deep_plan *plan);

void dg_conv_deep_plan_make(int64_t n, int64_t z, int64_t y, int64_t x, int64_t cin, int64_t cout, bool accumulate,
                            int threads, dg_conv_deep_plan *plan);

/* Packed weights (bf16, the rest zero): the weight of tap (z,y,x), input i and output o lies at
 * plane(3 z + y) + input(x, i) + output(o). */
int64_t dg_conv_deep_plane(const dg_conv_deep_plan *plan, int64_t zy);
int64_t dg_conv_deep_input(const dg_conv_deep_plan *plan, int64_t tap_x, int64_t input);
int64_t dg_conv_deep_output(const dg_conv_deep_plan *plan, int64_t output);

/* y (=|+=) x * weights + bias. x and y are dense bf16; bias f32 [cout] or NULL; scratch is 64-byte aligned and holds
 * plan->scratch_bytes. */
void dg_conv_deep_run(const dg_conv_deep_plan *plan, const uint16_t *x, const uint16_t *weights, const float *bias,
                      uint16_t *y, char *scratch);

#endif
