/* metrics.h - what a run measured: a row per step in metrics.csv, and the same for TensorBoard. Written by rank 0.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_METRICS_H
#define DG_METRICS_H

#include "dg_gpu_sensor.h"
#include "dg_status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct dg_metrics dg_metrics;

/* Scores of a validation; NaN where the cases allow none. */
typedef struct dg_scores {
    double mae_gy;         /* mean over cases of the mean |difference| over the whole array */
    double mae_ptv_gy;     /* the same over the union of targets */
    double dose_score;     /* the same over possible_dose: the OpenKBP dose score */
    double dice_error;     /* of labels: 1 - Dice at probability 1/2 over the voxels that count */
    double fraction_error; /* of labels: mean over cases of the predicted minus the labelled fraction of these voxels */
    double fraction_distance; /* the mean over cases of that without its sign */
    double denoise_gy; /* of a diffusion: error of the dose that one step sees through given noise */
} dg_scores;

typedef struct dg_metrics_row {
    int64_t step;   /* updates made, 1 for the first row */
    double seconds; /* of training so far */
    double lr, loss;
    const double *part; /* [parts]: what the loss is made of, NaN: not measured in this step; borrowed */
    double grad_norm, samples_per_s;
    bool untrained; /* the scores alone: the step has its row already */
    bool validated;
    dg_scores scores;          /* where validated */
    const dg_gpu_reading *gpu; /* rank 0's, its temperature the highest of all ranks; borrowed; NULL: there is none */
} dg_metrics_row;

enum { DG_METRICS_NAME = 40, DG_METRICS_PARTS_MAX = 48 };

/* Opens FOLDER/metrics.csv and an event file. Rows of steps behind `step` (a run that is resumed) are dropped.
 * part_name[parts]: the columns behind "loss". */
DG_MUST_USE dg_status dg_metrics_create(const char *folder, int64_t step, const char (*part_name)[DG_METRICS_NAME],
                                        int parts, dg_metrics **out);
/* DG_ERR_IO when the disk is full. */
DG_MUST_USE dg_status dg_metrics_add(dg_metrics *metrics, const dg_metrics_row *row);
DG_MUST_USE dg_status dg_metrics_flush(dg_metrics *metrics);
void dg_metrics_destroy(dg_metrics **metrics);

#endif
