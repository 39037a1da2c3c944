/* conv_amx.h - 3x3x3 convolutions in bf16 on the tile unit (Intel AMX): the forward pass, and the data gradient as the
 * convolution with mirrored, transposed weights. Faster than oneDNN's where lines are long enough to fill tiles. Each
 * result is computed in one order, whatever the threads. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CONV_AMX_H
#define DG_CONV_AMX_H

#include <stdbool.h>
#include <stdint.h>

/* How one shape is cut; see conv_amx.c. Filled by dg_conv_amx_plan_make. */
typedef struct dg_conv_amx_plan {
    int64_t n, z, y, x, cin, cout;
    bool accumulate;                       /* adds to y */
    int64_t steps;                         /* tile products of a line of three taps */
    int64_t blocks;                        /* of 48 outputs */
    int64_t lines, line_blocks;            /* lines treated together */
    int64_t planes, plane_blocks;          /* planes that one thread walks */
    int64_t segments;                      /* of 16 voxels in a line */
    int64_t line_elements, plane_elements; /* of the padded copy of x */
    int64_t slab_bytes, scratch_bytes;     /* of a thread, in all */
    int64_t weight_bytes;                  /* packed */
    int threads;
} dg_conv_amx_plan;

/* True where the kernel is worth its while: lines that fill its tiles, weights that stay in the cache. */
bool dg_conv_amx_suits(const dg_conv_amx_plan *plan);

void dg_conv_amx_plan_make(int64_t n, int64_t z, int64_t y, int64_t x, int64_t cin, int64_t cout, bool accumulate,
                           int threads, dg_conv_amx_plan *plan);

/* Packed weights (bf16, the rest zero): the weight of tap (z,y,x), input i and output o lies at
 * plane(3 z + y) + input(x, i) + output(o). */
int64_t dg_conv_amx_plane(const dg_conv_amx_plan *plan, int64_t zy);
int64_t dg_conv_amx_input(const dg_conv_amx_plan *plan, int64_t tap_x, int64_t input);
int64_t dg_conv_amx_output(const dg_conv_amx_plan *plan, int64_t output);

/* y (=|+=) x * weights + bias. x and y are dense bf16; bias f32 [cout] or NULL; scratch is 64-byte aligned and holds
 * plan->scratch_bytes. A NaN or infinity in x may reach one voxel further along x than the kernel does. */
void dg_conv_amx_run(const dg_conv_amx_plan *plan, const uint16_t *x, const uint16_t *weights, const float *bias,
                     uint16_t *y, char *scratch);

#endif
