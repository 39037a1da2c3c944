/* reducer_impl.h - the inside of the reducer: the fixed tree over the global batch.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_REDUCER_IMPL_H
#define DG_REDUCER_IMPL_H

#include "dg_bf16.h"
#include "dg_reducer.h"

enum { DG_TREE_STACK_MAX = 128 }; /* maximal subtrees in one range of slots: at most 2 log2(2^62) */

/* A finished subtree: the sum over slots [first, first + samples), in buffer `buffer`. */
typedef struct dg_tree_node {
    int64_t first, samples;
    int buffer;
} dg_tree_node;

struct dg_reducer {
    dg_comm *comm;
    dg_backend *backend;
    dg_reduction kind;
    dg_dtype wire;
    int64_t count, batch, first, mine; /* this rank has slots [first, first + mine) */
    int64_t bucket;                    /* elements of one message */
    bool receives, sends_buckets;      /* ordered: parts of other ranks; fast: to other ranks */
    int64_t done;                      /* samples of this step so far */
    int64_t absent;                    /* samples that this step lacks */

    float *buffer[DG_TREE_STACK_MAX]; /* [buffers]; `fast` uses the first only */
    bool used[DG_TREE_STACK_MAX];
    int buffers, current; /* current: the buffer the next backward pass adds to */

    dg_comm_request **pending; /* fast: [buckets] in order of their start, from the end of the gradients */
    int buckets, waiting, started;
    dg_bf16 *rounded; /* fast: [count] what is sent as bf16, and comes back; NULL: f32 goes as it is */

    dg_tree_node stack[DG_TREE_STACK_MAX]; /* ordered: finished subtrees of this rank, by slot */
    int depth;
    float *staging; /* ordered: [bucket] what is received; NULL where nothing is */
};

/* Before gradients are handed to the communicator: what the backend has queued is complete, or the communicator comes
 * after it by itself. */
DG_MUST_USE dg_status dg_reducer_settle(dg_reducer *reducer);
/* Size of the left child of a node of `samples` >= 2: the largest power of two below it. */
int64_t dg_tree_left(int64_t samples);
/* The rank that has a slot. */
int dg_tree_owner(const dg_reducer *reducer, int64_t slot);
/* How many buffers this rank needs, and whether it receives from others. */
void dg_tree_measure(const dg_reducer *reducer, int *buffers, int *receives, int *sends);
/* The current buffer holds the gradient of the next slot: joins it with what is complete. */
DG_MUST_USE dg_status dg_tree_push(dg_reducer *reducer);
/* Sums over ranks and gives everyone the root. @collective */
DG_MUST_USE dg_status dg_tree_finish(dg_reducer *reducer, const float **sum);

#endif
