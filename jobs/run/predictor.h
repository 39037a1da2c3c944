/* predictor.h - the dose of one whole case, or the probability of its foreground: windows through the network, blended, clipped, brought to the native grid.
 *
 * Backend memory holds the planes that one layer of windows sees, and a few more that are read and brought there while the
 * layer computes: a volume of any height passes through. Windows are cut out and blended there, too. A strip, the windows
 * with one y, is blended apart and then added as a whole, so that ranks may share a case strip by strip and the sums are
 * those of one rank. What a case gets depends on its data, the weights, the backend, the thread count and the batch of
 * windows alone. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_PREDICTOR_H
#define DG_PREDICTOR_H

#include "dg_comm.h"
#include "dg_heartbeat.h"
#include "dg_plan.h"
#include "dg_sampler.h"
#include "region.h"
#include "sample.h"

typedef struct dg_predictor dg_predictor;

typedef struct dg_predictor_config {
    dg_dtype dtype; /* of activations */
    double overlap; /* of windows, where the patch does not cover the case */
    bool flips;     /* averages with the prediction of the mirrored case */
    bool study;     /* as the surface detection study: of labels, cubes, native voxels; no flips, no shared cases */
    int64_t batch;  /* most windows of one pass; below 1: 1 */
    dg_comm *comm;  /* ranks that share every case; NULL: alone. Borrowed */
} dg_predictor_config;

/* How a diffusion draws doses. Everything is borrowed. */
typedef struct dg_sampling {
    const dg_diffusion *diffusion;
    const dg_sampler_step *step; /* [count], dg_sampler_plan */
    int64_t count;
    double guidance; /* 1: none, and one pass a step */
    uint64_t seed;
    int64_t sample; /* its number: below 2^40 */
} dg_sampling;

typedef struct dg_predictor_note {
    dg_region_kind region;    /* where the dose is kept; 0 outside */
    int64_t windows, batch;   /* of this rank; of a pass */
    double read_s, compute_s; /* seconds of the reading thread, and of this one without its waits for that */
} dg_predictor_note;

/* Everything is borrowed; `trace` may be NULL. Plans are made when a case needs another shape than the last one. */
DG_MUST_USE dg_status dg_predictor_create(const dg_model *model, dg_backend *backend, dg_source *source,
                                          const dg_predictor_config *config, dg_trace *trace, dg_predictor **out);
void dg_predictor_destroy(dg_predictor **predictor);
/* Flat weights in backend memory; borrowed. Call again after they changed. */
DG_MUST_USE dg_status dg_predictor_set_weights(dg_predictor *predictor, const float *weights);
/* Every window is a mark of the heartbeat (NULL: none). */
void dg_predictor_watch(dg_predictor *predictor, dg_heartbeat *heartbeat);
/* The batch from which on a window costs no less: a few passes on a device, doubled while a window gets at least 5 % cheaper
 * and memory lasts. 1 where threads of the host share each window, and where a patch holds a whole case. Not collective. */
DG_MUST_USE dg_status dg_predictor_probe(dg_predictor *predictor, int64_t *batch);
void dg_predictor_set_batch(dg_predictor *predictor, int64_t batch);
/* From now on `run` draws a sample of a diffusion: a pass over all windows for every step, at whose end x_t is changed as a
 * whole. Its noise is a function of case, seed, sample, step and voxel of the network's grid, so that neither windows nor
 * ranks show in it. Backend memory then holds all planes of a case. The model is a diffusion_unet. */
void dg_predictor_set_sampling(dg_predictor *predictor, const dg_sampling *sampling);
/* The error, in Gy, of the dose that the network's words at a time speak of, held in 0 to 1.5 of the scale: its mean over the
 * voxels that count in a loss and over the times t[count]. x_t has noise that is a function of case, seed and time. */
DG_MUST_USE dg_status dg_predictor_denoise(dg_predictor *predictor, int64_t index, const int64_t *t, int count,
                                           double *mean_gy);
/* Dose of a pinned case in Gy on its native grid, dose_gy[z,y,x], within [0, 1.5 scale] and 0 outside possible_dose (else
 * body); of a network of labels the probability of the foreground, everywhere. `next`, also pinned and until it is run itself, is read ahead; -1: none. Where ranks share cases all call with the
 * same ones (collective), and rank 0 alone gets the dose. DG_ERR_DATA: the case lacks a channel or prescription;
 * DG_ERR_NUMERIC: the network gave NaN. */
DG_MUST_USE dg_status dg_predictor_run(dg_predictor *predictor, int64_t index, int64_t next, float *dose_gy,
                                       dg_predictor_note *note);

/* The patch a case is seen through: data.patch, or the whole case rounded up to the model's multiple. */
void dg_patch_of(const dg_recipe *recipe, const int64_t net_shape[3], int64_t multiple, int64_t patch_zyx[3]);

#endif
