/* dg_reducer.h - the sum of gradients over the global batch.
 *
 * `fast`: each rank adds its samples in place, buckets from the end of the buffer are reduced by non-blocking all-reduce
 * while the backward pass of the last sample goes on. `ordered`: one gradient per sample, summed over one fixed binary
 * tree over the global batch (a node splits at the largest power of two below its size), so that the bits do not depend
 * on the number of ranks.
 *
 * What `fast` sends may be rounded to bf16 first: half the bytes, and an error of at most 2^-8 of what ranks send and of each
 * partial sum that is passed on (over MPI the sum is made in f32 and rounded once; NCCL rounds after every addition). The
 * sum over a rank's own samples, and what the optimiser reads, stay f32; the result is the same on every rank. One rank
 * rounds nothing.
 *
 * Memory: `fast` holds one buffer of `count` floats, and what is on its way takes (size-1)/size of another; bf16 on the
 * wire takes half a buffer, and half as much on its way. `ordered`
 * adds two children of a node as soon as both are there and holds at most log2(batch) + 1 buffers where the slots of the
 * ranks are aligned with the tree (powers of two), at most twice that elsewhere; one for a batch of 1; several ranks
 * need a bucket more to receive into.
 *
 * A rank whose pass failed still calls dg_reducer_finish (what it lacks counts as zero), so that no other rank
 * waits for it, and then dg_comm_agree. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_REDUCER_H
#define DG_REDUCER_H

#include "dg_backend.h"
#include "dg_comm.h"
#include "dg_trace.h"

typedef enum dg_reduction { DG_REDUCE_FAST, DG_REDUCE_ORDERED } dg_reduction;

typedef struct dg_reducer dg_reducer;

typedef struct dg_reducer_config {
    dg_reduction kind;
    dg_dtype wire;        /* what is sent: DG_F32, or with `fast` DG_BF16 */
    int64_t count;        /* f32 gradients */
    int64_t batch;        /* samples of a step, of which a rank has the slots that dg_slots_of_rank gives it */
    int64_t bucket_bytes; /* of f32 gradients that one message holds; 0: 8 MiB */
} dg_reducer_config;

/* Gradients in backend memory, which `comm` must be able to read. DG_ERR_USAGE when there are more ranks than samples (names
 * both), or for bf16 with `ordered`. @collective */
DG_MUST_USE dg_status dg_reducer_create(dg_comm *comm, dg_backend *backend, const dg_reducer_config *config,
                                        dg_reducer **out);
void dg_reducer_destroy(dg_reducer **reducer);

/* Contiguous slots of a rank: sizes differ by at most one. */
void dg_slots_of_rank(int64_t batch, int rank, int size, int64_t *first, int64_t *mine);

/* How many samples one backward pass may hold: `ordered` allows 1. */
int64_t dg_reducer_samples_per_pass(const dg_reducer *reducer, int64_t wanted);

/* A step: begin zeroes; before each backward pass take the buffer it adds to; after it call sample_done. */
DG_MUST_USE dg_status dg_reducer_begin(dg_reducer *reducer);
/* The last `samples` slots of this rank bring nothing in this step: they count as zero. After begin. */
void dg_reducer_leave_out(dg_reducer *reducer, int64_t samples);
float *dg_reducer_buffer(dg_reducer *reducer);
/* The pass over the next `samples` slots is complete. `last`: no more passes of this rank in this step. */
DG_MUST_USE dg_status dg_reducer_pass_done(dg_reducer *reducer, int64_t samples);
/* dg_gradients_ready callback for the last pass of a step: starts buckets and progresses pending ones. */
DG_MUST_USE dg_status dg_reducer_ready(void *reducer, int64_t first);
/* Completes the sum; *sum (borrowed until the next begin) holds the same values on every rank. @collective */
DG_MUST_USE dg_status dg_reducer_finish(dg_reducer *reducer, dg_trace *trace, const float **sum);
/* Gradients of one message: dg_reducer_ready has work to do each time so many more are final; all of them where nothing is
 * sent before the end. */
int64_t dg_reducer_stride(const dg_reducer *reducer);
/* Bytes of memory it holds, and bytes it sends per step and rank. */
int64_t dg_reducer_memory_bytes(const dg_reducer *reducer);
int64_t dg_reducer_wire_bytes(const dg_reducer *reducer);
/* The same of the busiest of `ranks` ranks, before there are any. DG_ERR_USAGE as of create. Not collective. */
DG_MUST_USE dg_status dg_reducer_estimate(const dg_reducer_config *config, int ranks, int64_t *memory_bytes,
                                          int64_t *wire_bytes);

#endif
