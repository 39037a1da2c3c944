/* reducer_tree.c - the sum of per-sample gradients over one binary tree that depends on the batch alone, never on ranks:
 * floating-point addition is not associative, so only a fixed order of additions gives fixed bits.
 * SPDX-License-Identifier: Apache-2.0 */
#include "reducer_impl.h"

int64_t dg_tree_left(int64_t samples)
{
    int64_t left = 1;
    while (left * 2 < samples) left *= 2;
    return left;
}

int dg_tree_owner(const dg_reducer *reducer, int64_t slot)
{
    return (int)(((slot + 1) * reducer->comm->size - 1) / reducer->batch);
}

/* Whether `a` and `b` are the left and the right child of one node. */
static bool siblings(const dg_reducer *reducer, const dg_tree_node *a, const dg_tree_node *b)
{
    int64_t first = 0, samples = reducer->batch;
    while (samples > 1) {
        int64_t left = dg_tree_left(samples);
        if (a->first == first && a->samples == left && b->first == first + left && b->samples == samples - left)
            return true;
        if (b->first < first + left) {
            samples = left;
        } else {
            first += left;
            samples -= left;
        }
    }
    return false;
}

static int take_buffer(dg_reducer *reducer)
{
    int k = 0;
    while (k < reducer->buffers && reducer->used[k]) k++;
    if (k < reducer->buffers) reducer->used[k] = true;
    return k;
}

dg_status dg_tree_push(dg_reducer *reducer)
{
    dg_backend *backend = reducer->backend;
    dg_tree_node *top = &reducer->stack[reducer->depth++];
    *top = (dg_tree_node){.first = reducer->first + reducer->done++, .samples = 1, .buffer = reducer->current};
    for (; reducer->depth > 1; reducer->depth--) {
        top = &reducer->stack[reducer->depth - 1];
        dg_tree_node *left = top - 1;
        if (!siblings(reducer, left, top)) break;
        DG_TRY(backend->ops->axpy(backend, reducer->count, 1.0, reducer->buffer[top->buffer],
                                  reducer->buffer[left->buffer]));
        left->samples += top->samples;
        reducer->used[top->buffer] = false;
    }
    if (reducer->done == reducer->mine) return DG_OK;
    reducer->current = take_buffer(reducer);
    if (reducer->current == reducer->buffers)
        return DG_FAIL(DG_ERR_INTERNAL, "the reduction tree needs more than its %d buffers", reducer->buffers);
    return backend->ops->fill(backend, reducer->buffer[reducer->current], reducer->count, 0.0f);
}

/* Messages of this rank in the part of the tree that crosses ranks. */
static void count_messages(const dg_reducer *reducer, int64_t first, int64_t samples, int *receives, int *sends)
{
    int a = dg_tree_owner(reducer, first);
    if (a == dg_tree_owner(reducer, first + samples - 1)) return;
    int64_t left = dg_tree_left(samples);
    int b = dg_tree_owner(reducer, first + left), me = reducer->comm->rank;
    count_messages(reducer, first, left, receives, sends);
    count_messages(reducer, first + left, samples - left, receives, sends);
    if (a == b) return;
    *receives += a == me;
    *sends += b == me;
}

void dg_tree_measure(const dg_reducer *reducer, int *buffers, int *receives, int *sends)
{
    dg_tree_node stack[DG_TREE_STACK_MAX];
    int depth = 0, most = 1;
    for (int64_t s = 0; s < reducer->mine; s++) {
        stack[depth++] = (dg_tree_node){.first = reducer->first + s, .samples = 1};
        if (depth > most) most = depth;
        for (; depth > 1 && siblings(reducer, &stack[depth - 2], &stack[depth - 1]); depth--)
            stack[depth - 2].samples += stack[depth - 1].samples;
    }
    *buffers = most;
    *receives = *sends = 0;
    count_messages(reducer, 0, reducer->batch, receives, sends);
}

static dg_tree_node *node_at(dg_reducer *reducer, int64_t first)
{
    for (int i = 0; i < reducer->depth; i++)
        if (reducer->stack[i].first == first) return &reducer->stack[i];
    return NULL;
}

static void drop_node(dg_reducer *reducer, dg_tree_node *node)
{
    reducer->used[node->buffer] = false;
    for (dg_tree_node *end = &reducer->stack[--reducer->depth]; node < end; node++) node[0] = node[1];
}

static dg_status send_node(dg_reducer *reducer, int64_t first, int to)
{
    dg_tree_node *node = node_at(reducer, first);
    if (node == NULL) return DG_FAIL(DG_ERR_INTERNAL, "subtree of slot %lld is not complete", (long long)first);
    const float *data = reducer->buffer[node->buffer];
    for (int64_t at = 0; at < reducer->count; at += reducer->bucket) {
        int64_t n = reducer->count - at < reducer->bucket ? reducer->count - at : reducer->bucket;
        DG_TRY(dg_comm_send(reducer->comm, data + at, n * (int64_t)sizeof *data, to, DG_TAG_TREE));
    }
    drop_node(reducer, node);
    return DG_OK;
}

/* Adds the right child, piece by piece as it comes, to the left one. */
static dg_status receive_into(dg_reducer *reducer, int64_t first, int64_t samples, int from)
{
    dg_tree_node *node = node_at(reducer, first);
    if (node == NULL) return DG_FAIL(DG_ERR_INTERNAL, "subtree of slot %lld is not complete", (long long)first);
    float *data = reducer->buffer[node->buffer];
    for (int64_t at = 0; at < reducer->count; at += reducer->bucket) {
        int64_t n = reducer->count - at < reducer->bucket ? reducer->count - at : reducer->bucket;
        DG_TRY(dg_comm_receive(reducer->comm, reducer->staging, n * (int64_t)sizeof *data, from, DG_TAG_TREE));
        DG_TRY(reducer->backend->ops->axpy(reducer->backend, n, 1.0, reducer->staging, data + at));
    }
    node->samples += samples;
    return DG_OK;
}

static dg_status join_own(dg_reducer *reducer, int64_t first, int64_t middle)
{
    dg_tree_node *a = node_at(reducer, first), *b = node_at(reducer, middle);
    if (a == NULL || b == NULL)
        return DG_FAIL(DG_ERR_INTERNAL, "subtree of slot %lld is not complete", (long long)first);
    DG_TRY(reducer->backend->ops->axpy(reducer->backend, reducer->count, 1.0, reducer->buffer[b->buffer],
                                       reducer->buffer[a->buffer]));
    a->samples += b->samples;
    drop_node(reducer, b);
    return DG_OK;
}

/* The nodes that cross ranks, children first: the same order on every rank, so blocking messages can't lock up. A node
 * is evaluated by the rank of its leftmost slot. */
static dg_status join_ranks(dg_reducer *reducer, int64_t first, int64_t samples)
{
    int a = dg_tree_owner(reducer, first), me = reducer->comm->rank;
    if (a == dg_tree_owner(reducer, first + samples - 1)) return DG_OK; /* that rank has it already */
    int64_t left = dg_tree_left(samples), middle = first + left;
    int b = dg_tree_owner(reducer, middle);
    DG_TRY(join_ranks(reducer, first, left));
    DG_TRY(join_ranks(reducer, middle, samples - left));
    if (a == me && b == me) return join_own(reducer, first, middle);
    if (a == me) return receive_into(reducer, first, samples - left, b);
    if (b == me) return send_node(reducer, middle, a);
    return DG_OK;
}

dg_status dg_tree_finish(dg_reducer *reducer, const float **sum)
{
    while (reducer->done < reducer->mine) DG_TRY(dg_tree_push(reducer));
    DG_TRY(dg_reducer_settle(reducer));
    DG_TRY(join_ranks(reducer, 0, reducer->batch));
    float *root = reducer->buffer[reducer->comm->rank == 0 ? reducer->stack[0].buffer : 0];
    DG_TRY(dg_reducer_settle(reducer));
    DG_TRY(dg_comm_broadcast(reducer->comm, root, reducer->count * (int64_t)sizeof *root, 0));
    *sum = root;
    return DG_OK;
}
