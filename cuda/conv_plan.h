/* conv_plan.h - one pass of a convolution prepared with cuDNN's graph API: the only place that speaks it.
 *
 * Geometry is that of a strided convolution from an `inner` tensor [n,z,y,x,c] to an `outer` one; a transposed
 * convolution is the data gradient of one, so that its passes swap names. Filters are [c_outer][tap][c_inner].
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CUDA_CONV_PLAN_H
#define DG_CUDA_CONV_PLAN_H

#include "cuda_impl.h"

/* FORWARD: outer (=|+=) conv(inner). DATA: inner (=|+=) gradient from outer. WEIGHTS: filter gradient (f32) of both. */
typedef enum conv_pass { CONV_FORWARD, CONV_DATA, CONV_WEIGHTS } conv_pass;

typedef struct conv_geometry {
    conv_pass pass;
    dg_dtype dtype; /* of inner, outer and, but in WEIGHTS, the filter */
    int64_t n, inner[3], outer[3], inner_c, outer_c, inner_pitch, outer_pitch;
    int kernel, stride, pad;
    bool bias;       /* FORWARD, DATA: result += bias (f32, one for each of its channels) in the same kernel */
    bool accumulate; /* FORWARD, DATA: result += */
    bool deterministic;
} conv_geometry;

/* An engine of cuDNN and what its knobs are set to: it means the same in every process with this GPU and version of cuDNN. */
enum { CONV_KNOBS_MAX = 24 };
typedef struct conv_choice {
    int64_t engine; /* cuDNN's number of it; -1: no engine can do it */
    int knobs;
    struct {
        int type; /* cudnnBackendKnobType_t */
        int64_t value;
    } knob[CONV_KNOBS_MAX];
} conv_choice;
bool conv_choice_equal(const conv_choice *a, const conv_choice *b);

typedef struct conv_plan conv_plan;

/* Takes the engine of `wanted` (NULL: none is) where it still can be built, is deterministic where asked and fits
 * workspace_limit; else asks cuDNN's heuristics for the first that does. *choice is what it took. *out NULL with DG_OK: no
 * engine can (the caller has another way or says so). */
DG_MUST_USE dg_status conv_plan_create(cudnnHandle_t cudnn, const conv_geometry *geometry, int64_t workspace_limit,
                                       const conv_choice *wanted, conv_choice *choice, conv_plan **out);
void conv_plan_destroy(conv_plan **plan);
int64_t conv_plan_workspace(const conv_plan *plan); /* bytes */
/* Queues the pass on the handle's stream. `bias` NULL unless the geometry has one. */
DG_MUST_USE dg_status conv_plan_run(cudnnHandle_t cudnn, conv_plan *plan, void *inner, void *outer, void *filter,
                                    const float *bias, void *workspace);

#endif
