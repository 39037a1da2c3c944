/* label_evaluation.h - what is measured of a predicted segmentation, and its part of the results file (doc/segmentation.md).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_LABEL_EVALUATION_H
#define DG_LABEL_EVALUATION_H

#include "dg_cohort.h"
#include "dg_components.h"
#include "dg_predictions.h"
#include "dg_skeleton.h"

#include <jansson.h>

struct dg_evaluation_config;
struct dg_case_result;

typedef struct dg_label_config {
    uint8_t class_of[256];     /* dg_label_class of every value */
    double threshold;          /* of probabilities; masks stay as they are */
    double tolerance_mm;       /* of surface Dice; 0: twice the finest voxel side of a case */
    dg_touch touch;            /* of components and Betti numbers */
    dg_skeleton_kind skeleton; /* of clDice */
    bool watershed;            /* instances of the challenge: of a watershed, not components */
    bool challenge;            /* Betti matching and what else makes the challenge's score */
    double band[2];            /* predicted fractions outside are counted; band[1] 0: none */
} dg_label_config;

/* Bytes that a task of a voxel takes, roughly. */
enum { DG_LABEL_VOXEL_BYTES = 48 };

/* Measures a case against its labels; *text: the JSON of its entry, from malloc, the caller's. DG_ERR_DATA: no labels, unlisted
 * values, another grid; DG_ERR_MISMATCH: the prediction is a dose. Not collective. */
DG_MUST_USE dg_status dg_label_evaluate(const dg_cohort *cohort, int64_t index,
                                        const struct dg_evaluation_config *config, dg_prediction_info *info,
                                        double *read_s, char **text);
/* Settings, an entry of a case, the aggregate; the caller's. NULL: no memory. */
json_t *dg_label_settings_json(const dg_label_config *config);
json_t *dg_label_case_json(const struct dg_case_result *result);
json_t *dg_label_aggregate_json(const struct dg_case_result *const *results, int64_t count,
                                const struct dg_evaluation_config *config);

#endif
