/* predictor.h - the dose of one whole case: windows through the network, blended, clipped, brought to the native grid.
 * What a case gets depends on nothing but its data, the weights and the thread count. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_PREDICTOR_H
#define DG_PREDICTOR_H

#include "dg_heartbeat.h"
#include "dg_plan.h"
#include "sample.h"

typedef struct dg_predictor dg_predictor;

typedef struct dg_predictor_config {
    dg_dtype dtype; /* of activations */
    double overlap; /* of windows, where the patch does not cover the case */
    bool flips;     /* averages with the prediction of the mirrored case */
} dg_predictor_config;

/* Where a prediction is kept; elsewhere it is 0. */
typedef enum dg_region { DG_REGION_ALL, DG_REGION_BODY, DG_REGION_POSSIBLE_DOSE } dg_region;

typedef struct dg_predictor_note {
    dg_region region;
    int64_t windows;
    double read_s, compute_s;
} dg_predictor_note;

/* Everything is borrowed; `trace` may be NULL. Plans are made when a case needs another shape than the last one. */
DG_MUST_USE dg_status dg_predictor_create(const dg_model *model, dg_backend *backend, dg_source *source,
                                          const dg_predictor_config *config, dg_trace *trace, dg_predictor **out);
void dg_predictor_destroy(dg_predictor **predictor);
/* Flat weights in backend memory; borrowed. Call again after they changed. */
DG_MUST_USE dg_status dg_predictor_set_weights(dg_predictor *predictor, const float *weights);
/* Every window is a mark of the heartbeat (NULL: none). */
void dg_predictor_watch(dg_predictor *predictor, dg_heartbeat *heartbeat);
/* Dose of a pinned case in Gy on its native grid, dose_gy[z,y,x], within [0, 1.5 scale] and 0 outside possible_dose (else
 * body). DG_ERR_DATA: the case lacks a channel or prescription; DG_ERR_NUMERIC: the network gave NaN. Not collective. */
DG_MUST_USE dg_status dg_predictor_run(dg_predictor *predictor, int64_t index, float *dose_gy, dg_predictor_note *note);

/* The patch a case is seen through: data.patch, or the whole case rounded up to the model's multiple. */
void dg_patch_of(const dg_recipe *recipe, const int64_t net_shape[3], int64_t multiple, int64_t patch_zyx[3]);

#endif
