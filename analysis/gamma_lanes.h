/* gamma_lanes.h - the continuous search of several voxels side by side: each lane of a vector holds one cell of one voxel.
 * gamma_lanes.c is compiled for the base instruction set, AVX2 and AVX-512; products never fuse into additions there, so
 * that all three give the same bits. Private to analysis. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_GAMMA_LANES_H
#define DG_GAMMA_LANES_H

#include "gamma_impl.h"

/* gamma of the rows first .. end - 1 of the reference (rows run over its first two axes). */
typedef void dg_gamma_lanes(const dg_gamma_setup *setup, int64_t first, int64_t end, float *gamma);
dg_gamma_lanes dg_gamma_lanes_base, dg_gamma_lanes_avx2, dg_gamma_lanes_avx512;

#endif
