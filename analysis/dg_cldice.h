/* dg_cldice.h - centreline Dice of two masks (Shit et al., clDice - a novel topology-preserving loss function for tubular structure
 * segmentation, CVPR 2021, equations 1 and 2): how far each skeleton lies in the other mask. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CLDICE_H
#define DG_CLDICE_H

#include "dg_skeleton.h"

typedef struct dg_cldice {
    int64_t predicted, predicted_inside; /* voxels of the prediction's skeleton; of these in the label */
    int64_t labelled, labelled_inside;   /* voxels of the label's skeleton; of these in the prediction */
} dg_cldice;

/* Of masks [z,y,x], 0 or not. Memory: 2 bytes a voxel of the volume and 16 of a mask. Not collective. */
DG_MUST_USE dg_status dg_cldice_count(const uint8_t *predicted, const uint8_t *label, const int64_t shape_zyx[3],
                                      dg_skeleton_kind kind, dg_cldice *out);

/* Topology precision, predicted_inside / predicted, and sensitivity, labelled_inside / labelled; NaN of an empty mask. */
double dg_cldice_precision(const dg_cldice *c);
double dg_cldice_sensitivity(const dg_cldice *c);
/* Their harmonic mean; 1 where both masks are empty, 0 where one is, as Dice is. */
double dg_cldice_value(const dg_cldice *c);

#endif
