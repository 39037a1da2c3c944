/* dg_partition.h - how two partitions into components differ. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_PARTITION_H
#define DG_PARTITION_H

#include "dg_status.h"

#include <stdint.h>

/* Variation of information (Meila, J. Multivariate Analysis 98, 2007) in bits: what is left to know of one partition when the
 * other is known. */
typedef struct dg_information {
    double split; /* H(label | prediction): components of the label that the prediction joins or misses count here */
    double merge; /* H(prediction | label) */
    int64_t voxels;
} dg_information;

/* predicted, label [voxels]: numbers of components, 0 background. Voxels that are background in both are left out; where
 * only one is background, that counts as one more component of it. Not collective. Memory: 8 bytes a voxel of the union. */
DG_MUST_USE dg_status dg_partition_compare(const uint32_t *predicted, const uint32_t *label, int64_t voxels,
                                           dg_information *out);

#endif
