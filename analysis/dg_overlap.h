/* dg_overlap.h - how far a predicted foreground covers the labelled one, in counts of voxels that add up over slabs and ranks.
 * Voxels that are not counted (labels to ignore) take part in nothing. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_OVERLAP_H
#define DG_OVERLAP_H

#include <stdint.h>

typedef struct dg_overlap {
    int64_t counted, predicted, labelled, both; /* voxels */
} dg_overlap;

/* Adds n voxels: predicted and label are 0 or not, counted (NULL: all) 0 leaves a voxel out. */
void dg_overlap_add(dg_overlap *overlap, const uint8_t *predicted, const uint8_t *label, const uint8_t *counted,
                    int64_t n);
/* The same where a probability of `threshold` and more is foreground; one that is NaN is background. */
void dg_overlap_add_probability(dg_overlap *overlap, const float *probability, double threshold, const uint8_t *label,
                                const uint8_t *counted, int64_t n);
void dg_overlap_merge(dg_overlap *overlap, const dg_overlap *other);

/* Ratios of the counts. Dice and IoU are 1 where neither has a voxel; the others are NaN where they would divide by 0. */
double dg_overlap_dice(const dg_overlap *overlap);               /* 2 both / (predicted + labelled) */
double dg_overlap_iou(const dg_overlap *overlap);                /* both / union */
double dg_overlap_precision(const dg_overlap *overlap);          /* both / predicted */
double dg_overlap_recall(const dg_overlap *overlap);             /* both / labelled */
double dg_overlap_accuracy(const dg_overlap *overlap);           /* voxels of the right class / counted */
double dg_overlap_predicted_fraction(const dg_overlap *overlap); /* of the counted voxels */
double dg_overlap_labelled_fraction(const dg_overlap *overlap);

#endif
