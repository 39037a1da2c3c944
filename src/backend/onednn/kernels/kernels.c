/* kernels.c - one table of loops for one instruction set; compiled once for each (cmake/onednn.cmake), DG_KERNELS being
 * the table's name and DG_ISA_TEXT what is shown to the user. SPDX-License-Identifier: Apache-2.0 */
#include "kernels.h"

#include "dg_voxel.h"
#include "vec.h"
#include "part_norm.h"
#include "part_elementwise.h"
#include "part_resample.h"
#include "part_thin.h"
#include "part_flat.h"
#include "part_label.h"
#include "part_window.h"

const dg_kernels DG_KERNELS = {
    .name = DG_ISA_TEXT,
    .moments = moments,
    .norm_apply = norm_apply,
    .norm_back_sums = norm_back_sums,
    .norm_back_apply = norm_back_apply,
    .layer_norm = layer_norm,
    .layer_norm_back = layer_norm_back,
    .act = act,
    .act_back = act_back,
    .copy = copy,
    .gate = gate_apply,
    .gate_back = gate_back,
    .column_sums = column_sums,
    .pool = pool,
    .pool_back = pool_back,
    .resize = resize,
    .resize_back = resize_back,
    .narrow = narrow,
    .thin = thin,
    .thin_back = thin_back,
    .thin_weights = thin_weights,
    .label_sums = label_sums,
    .label_slopes = label_slopes,
    .widest = widest,
    .widest_back = widest_back,
    .erode = erode,
    .erode_back = erode_back,
    .skeleton = skeleton,
    .skeleton_back = skeleton_back,
    .axpy = axpy,
    .sum_squares = sum_squares,
    .adamw = adamw,
    .sgd = sgd,
    .ema = ema,
    .dot = dot,
    .softmax = softmax,
    .softmax_back = softmax_back,
    .pack = pack,
};
