/* wgrad_amx.h - the weight gradient of 3x3x3 and 1x1x1 convolutions in bf16 on the tile unit (Intel AMX), where oneDNN's
 * own leaves it idle on small grids. Sums run in a fixed order for a given thread count.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_WGRAD_AMX_H
#define DG_WGRAD_AMX_H

#include <stdbool.h>
#include <stdint.h>

/* How the work of one shape is cut; see wgrad_amx.c. Filled by dg_wgrad_amx_plan. */
typedef struct dg_wgrad_plan {
    int64_t n, z, y, x, voxels; /* of the grid as walked; 1x1x1 walks all voxels as lines */
    int64_t cin, cout;
    int taps;              /* 27 or 1 */
    int64_t line_pairs;    /* voxel pairs of a line, x rounded up to even */
    int64_t lines, planes; /* of a chunk */
    int64_t line_blocks, plane_blocks;
    int64_t steps;                        /* tile steps of one plane of a chunk */
    int64_t cin_tiles, cout_tiles, group; /* tiles of 16 channels; input tiles treated together */
    int64_t groups, slots, slot_rows;
    int threads;
    bool by_chunk;                                  /* threads share the voxels (else the groups) */
    int64_t input_bytes, gradient_bytes, sum_bytes; /* scratch a thread */
    int64_t scratch_bytes;                          /* in all */
} dg_wgrad_plan;

/* True when the processor has the unit and the kernel lets this process use it; asks for the permission. */
bool dg_wgrad_amx_available(void);

/* Cuts the work of a convolution over [n,z,y,x] voxels with 27 taps or 1. */
void dg_wgrad_amx_plan(int64_t n, int64_t z, int64_t y, int64_t x, int64_t cin, int64_t cout, int taps, int threads,
                       dg_wgrad_plan *plan);

/* dw [tap][cin][cout] += x * dy. x and dy are bf16 rows of `x_pitch` and `dy_pitch` elements; scratch is 64-byte aligned
 * and holds plan->scratch_bytes. */
void dg_wgrad_amx_run(const dg_wgrad_plan *plan, const uint16_t *x, int64_t x_pitch, const uint16_t *dy,
                      int64_t dy_pitch, float *dw, char *scratch);

#endif
