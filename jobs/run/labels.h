/* labels.h - labels of a case as foreground, background and voxels that say nothing. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_LABELS_H
#define DG_LABELS_H

#include "recipe.h"

/* What every value means, by lists of values (data.labels.*). DG_ERR_USAGE: no foreground, or a value in two lists. */
DG_MUST_USE dg_status dg_label_classes_make(const dg_int_list *foreground, const dg_int_list *background,
                                            const dg_int_list *ignore, uint8_t class_of[256]);
/* Reads a box within the volume: label 1 where the foreground is, counted 0 where the voxel is to be ignored (its label is then
 * 0). DG_ERR_DATA: the case has no labels, or a value that no list has. */
DG_MUST_USE dg_status dg_labels_read(dg_case *c, const uint8_t class_of[256], const dg_box *box, uint8_t *label,
                                     uint8_t *counted);

#endif
