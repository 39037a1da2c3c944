/* dg_conv_floor.h - the time of a bare library convolution, the floor that benchmarks set beside the engine: nothing of
 * our own, neither kernels nor packing. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CONV_FLOOR_H
#define DG_CONV_FLOOR_H

#include "dg_backend.h"

/* Shortest of the repetitions of each direction, in seconds. */
typedef struct dg_conv_times {
    double forward_s, data_s, weights_s;
} dg_conv_times;

/* Times oneDNN's own primitives for a 3x3x3 convolution on zeros, weights in the layout it likes best. DG_ERR_UNSUPPORTED
 * in a build without oneDNN. Not collective. */
DG_MUST_USE dg_status dg_conv_floor(const dg_conv_desc *desc, int threads, int repeats, dg_conv_times *out);

#endif
