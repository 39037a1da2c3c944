/* dg_plan.h - a model at fixed shapes on one backend: every tensor placed in one arena by lifetime, every convolution
 * prepared, no allocation afterwards. Inference plans reuse memory; training plans keep what backward needs.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_PLAN_H
#define DG_PLAN_H

#include "dg_backend.h"
#include "dg_model.h"
#include "dg_trace.h"

#include <stdio.h>

typedef struct dg_plan dg_plan;

typedef struct dg_plan_config {
    int64_t n, z, y, x; /* batch and patch; axes multiples of dg_model_multiple */
    dg_dtype dtype;     /* of activations */
    bool training;
    bool recompute;     /* drop normalised activations after forward and make them again in backward */
    bool record;        /* where the backend can: passes are recorded at their third time and replayed from then on */
    int64_t ready_stride; /* `ready` is called when another so many gradients from the end of the buffer are final (and for
                             the last of them); 0: at every chance */
    bool keep_all;      /* every tensor in memory of its own, never in place: dg_plan_activation works (tests) */
} dg_plan_config;

/* Called during backward whenever the gradients of all parameters at flat offsets >= first are final. */
typedef dg_status (*dg_gradients_ready)(void *context, int64_t first);

/* `model` and `backend` are borrowed and outlive the plan. DG_ERR_USAGE: an axis does not fit the model; DG_ERR_MEMORY. */
/* Borrows model and backend: both outlive the plan. DG_ERR_USAGE for a batch or patch the model cannot take (the message
 * gives the next one it can), DG_ERR_MEMORY, and what the backend's conv_create returns. */
DG_MUST_USE dg_status dg_plan_create(const dg_model *model, dg_backend *backend, const dg_plan_config *config,
                                     dg_plan **out);
void dg_plan_destroy(dg_plan **plan);

/* Takes new weights (flat f32 in backend memory): packs them for every convolution; keeps the pointer for the small
 * parameters, so `weights` must outlive the calls below. */
DG_MUST_USE dg_status dg_plan_set_weights(dg_plan *plan, const float *weights);
/* Network input [n,z,y,x,c], plan dtype, dense, for the caller to fill (dg_backend upload or copy). */
dg_tensor dg_plan_input(const dg_plan *plan);
/* Conditioning input f32 [n,constraints]; data NULL when the model has none. */
dg_tensor dg_plan_constraints(const dg_plan *plan);
/* Output f32 [n,z,y,x,out_channels], valid after forward until the next; and its gradient, to be filled for backward. */
dg_tensor dg_plan_output(const dg_plan *plan);
dg_tensor dg_plan_output_gradient(const dg_plan *plan);
/* Gradient of the input, plan dtype, dense; data NULL unless dg_plan_want_input_gradient was called before backward. */
DG_MUST_USE dg_status dg_plan_want_input_gradient(dg_plan *plan);
dg_tensor dg_plan_input_gradient(const dg_plan *plan);

DG_MUST_USE dg_status dg_plan_forward(dg_plan *plan, dg_trace *trace);
/* Adds parameter gradients to `gradients` (flat f32, backend memory); NULL: only those of activations are wanted, down to the
 * input's, of a model whose parameters are all of convolutions. ready may be NULL. Training plans only. */
DG_MUST_USE dg_status dg_plan_backward(dg_plan *plan, float *gradients, dg_gradients_ready ready, void *ready_context,
                                       dg_trace *trace);
/* The value of a named activation after forward ("enc1", "bottleneck") of a keep_all plan: a tensor view, or data
 * NULL. */
dg_tensor dg_plan_activation(const dg_plan *plan, const char *name);

typedef struct dg_plan_memory {
    int64_t arena_bytes;      /* activations and their gradients */
    int64_t packed_bytes;     /* weights in the backend's layout, scratch (estimate: packed weights alone) */
    int64_t parameter_bytes;  /* of one flat f32 buffer */
} dg_plan_memory;
dg_plan_memory dg_plan_get_memory(const dg_plan *plan);
/* Memory without a backend and without allocating the arena: what `dosegrid plan` prints. forward_flops may be NULL. */
DG_MUST_USE dg_status dg_plan_estimate(const dg_model *model, const dg_plan_config *config, dg_plan_memory *memory,
                                       double *forward_flops);
/* The work of one step of a plan, for a roofline: multiplications and additions of convolutions, linear layers and attention
 * (2 a product), and the bytes that must pass memory when every operation reads its operands and writes its results once (a
 * normalisation reads its operands twice: for the statistics and for the result). */
typedef struct dg_plan_cost {
    const char *name; /* of the operation; lives as long as the model */
    const char *what; /* what the step does, as ranges of a trace are named; lives as long as the program */
    dg_op_kind kind;
    bool backward;
    double flops, bytes;
    int64_t ready;  /* gradients at offsets >= ready are final after it; -1: nothing new */
    double seconds; /* measured; 0: it was not */
} dg_plan_cost;
/* All steps in order of time, without a backend; *out is the caller's (dg_free). */
DG_MUST_USE dg_status dg_plan_costs(const dg_model *model, const dg_plan_config *config, dg_plan_cost **out, int *count);
/* The same of a plan, with the time of each step: the best of `repeats` passes, forward and, for training, backward into
 * `gradients` from whatever the output's gradient holds. Each step is waited for: times on a device include the way there. */
DG_MUST_USE dg_status dg_plan_measure(dg_plan *plan, float *gradients, int repeats, dg_plan_cost **out, int *count);
/* One line a step: operation, shapes, place in the arena. */
void dg_plan_print(const dg_plan *plan, FILE *stream);

#endif
