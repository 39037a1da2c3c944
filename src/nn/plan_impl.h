/* plan_impl.h - a compiled plan: blocks of memory with lifetimes, and steps in order of time. Private to src/nn and its
 * own tests. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_PLAN_IMPL_H
#define DG_PLAN_IMPL_H

#include "dg_device.h"
#include "dg_plan.h"

enum { DG_BLOCK_NONE = -1, DG_BLOCK_EXTERNAL = -2 /* the input's gradient: allocated when wanted */ };

/* A piece of the arena that is occupied from step `first` to step `last`, both included. */
typedef struct dg_block {
    const char *name; /* of the tensor it was made for */
    int64_t bytes, offset;
    int first, last;
} dg_block;

/* Where a tensor lies: channels from `channel` on in a block whose voxels are `pitch` elements apart. */
typedef struct dg_slot {
    int block;
    int64_t channel, pitch;
} dg_slot;

typedef enum dg_step_kind {
    DG_STEP_FORWARD,          /* also the making again of a dropped activation during backward */
    DG_STEP_BACKWARD,         /* of all operations but convolutions */
    DG_STEP_BACKWARD_WEIGHTS, /* of convolutions; first, so that x can go before dx comes */
    DG_STEP_BACKWARD_DATA,
    DG_STEP_RESIDUAL_GRADIENT /* adds dy of a norm to the gradient of its residual */
} dg_step_kind;

typedef struct dg_step {
    dg_step_kind kind;
    int op;
    bool late;       /* values are taken as they lie in backward (differs for dropped activations) */
    bool accumulate; /* of the gradient this step writes */
    int64_t ready;   /* gradients at offsets >= ready are final after it; -1: nothing new */
} dg_step;

/* What runs in the same pass as a norm of an inference plan (dg_norm_fusion): operations, or -1. */
typedef struct dg_fused_ops {
    int residual, reader; /* the convolution that makes the residual; what reads y: a pooling or the head */
} dg_fused_ops;

/* A model compiled for shapes, without a backend. */
typedef struct dg_program {
    const dg_model *model; /* borrowed */
    dg_plan_config config;
    dg_slot *value[2];   /* [tensors]: in forward, in backward */
    dg_slot *gradient;   /* [tensors] */
    int *stats;          /* [ops]: block of a norm's statistics, or DG_BLOCK_NONE */
    bool *elided;        /* [ops]: no step: y is x, or it runs in the pass of a norm */
    dg_fused_ops *fused; /* [ops]: of norms */
    bool *accumulate_dx; /* [ops]: of convolutions */
    dg_step *step;
    int steps, forward_steps, step_capacity;
    dg_block *block;
    int blocks, block_capacity;
    int64_t arena_bytes;
} dg_program;

/* `backend`: whose fused operations are used; NULL: none. */
DG_MUST_USE dg_status dg_program_compile(const dg_model *model, const dg_plan_config *config, const dg_backend *backend,
                                         dg_program *out);
/* Convolution o as a backend is asked for it. */
dg_conv_desc dg_program_conv(const dg_program *program, int o);

/* A stretch of steps as recorded work; after it gradients at offsets >= ready are final (-1: nothing new). */
typedef struct dg_stretch {
    dg_recording *work;
    int64_t ready;
} dg_stretch;

/* The passes with one gradient buffer: how often they ran, and their recording. */
typedef struct dg_track {
    int first; /* step */
    const float *gradients;
    bool reports; /* calls `ready` */
    int64_t runs;
    dg_stretch *stretch; /* [stretches], owned */
    int stretches, capacity;
} dg_track;
enum { DG_TRACKS_MAX = 16 };

/* A plan on a backend. */
struct dg_plan {
    dg_program program;
    dg_backend *backend; /* borrowed */
    dg_conv **conv;      /* [ops]; NULL for the others */
    void *arena;
    void *input_gradient; /* NULL until wanted */
    int64_t packed_bytes;
    const float *weights; /* borrowed, flat */
    bool forward_done;
    dg_track track[DG_TRACKS_MAX]; /* dg_plan_record.c */
    int tracks;
};

/* Steps [first, end) with what they need. */
typedef struct dg_pass {
    int first, end;
    float *gradients;
    dg_gradients_ready ready; /* NULL: not wanted */
    void *context;
    dg_trace *trace;
} dg_pass;

/* dg_plan_record.c: runs a pass step by step, or records and replays it where that is wanted and possible. */
DG_MUST_USE dg_status dg_plan_run(dg_plan *plan, const dg_pass *pass);
/* Drops all recordings. */
void dg_plan_forget(dg_plan *plan);
/* dg_plan.c: one step, with its range of the trace and its name in messages. */
DG_MUST_USE dg_status dg_plan_run_step(dg_plan *plan, const dg_step *step, float *gradients, dg_trace *trace);

/* What a step is called in traces; a literal. */
const char *dg_plan_range_name(const dg_step *step, dg_op_kind kind);

void dg_program_release(dg_program *program);

/* Shape of tensor t at a slot, data NULL. */
dg_tensor dg_program_shape(const dg_program *program, int t, const dg_slot *slot);
/* The blocks a step touches; returns how many (at most DG_STEP_BLOCKS). */
enum { DG_STEP_BLOCKS = 16 };
int dg_program_touched(const dg_program *program, const dg_step *step, int touched[DG_STEP_BLOCKS]);

/* Gives every block an offset (multiples of 64) so that blocks alive at the same time do not overlap: largest first,
 * each at the lowest free place. Returns the arena's size. */
DG_MUST_USE dg_status dg_blocks_place(dg_block *block, int count, int64_t *arena_bytes);

/* Whether the backward step of this operation reads the value of x. */
bool dg_op_backward_reads_x(dg_op_kind kind);
/* Whether other tensors are slices of t. */
bool dg_graph_has_slices(const dg_graph *graph, int t);

/* Sets `ready` of all backward steps. */
DG_MUST_USE dg_status dg_program_find_ready(dg_program *program);

/* Adds the steps, slots and lifetimes of the backward pass to a program that has its forward pass. */
DG_MUST_USE dg_status dg_program_differentiate(dg_program *program);

/* Building blocks of the two passes: a new block for the whole of tensor t; a step, whose blocks live at its time. */
DG_MUST_USE dg_status dg_program_add_block(dg_program *program, int t, dg_slot *slot);
DG_MUST_USE dg_status dg_program_add_step(dg_program *program, dg_step_kind kind, int op, bool late, bool accumulate);

#endif
