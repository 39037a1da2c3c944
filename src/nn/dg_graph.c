/* dg_graph.c - building the static graph. SPDX-License-Identifier: Apache-2.0 */
#include "dg_graph.h"

#include "dg_mem.h"

#include <stdio.h>
#include <string.h>

void dg_graph_release(dg_graph *graph)
{
    dg_free(&graph->tensor);
    dg_free(&graph->op);
    memset(graph, 0, sizeof *graph);
}

int dg_graph_find(const dg_graph *graph, const char *name)
{
    for (int i = 0; i < graph->tensors; i++)
        if (strcmp(graph->tensor[i].name, name) == 0) return i;
    return -1;
}

const char *dg_op_kind_name(dg_op_kind kind)
{
    switch (kind) {
    case DG_OP_CONV: return "conv";
    case DG_OP_NORM: return "norm";
    case DG_OP_LAYER_NORM: return "layer_norm";
    case DG_OP_ACT: return "act";
    case DG_OP_COPY: return "copy";
    case DG_OP_GATE: return "gate";
    case DG_OP_POOL: return "pool";
    case DG_OP_RESIZE: return "resize";
    case DG_OP_LINEAR: return "linear";
    case DG_OP_ATTENTION: return "attention";
    }
    return "?";
}

static void fail(dg_builder *builder, dg_status status)
{
    if (builder->status == DG_OK) builder->status = status;
}

static bool room(dg_builder *builder, void *array, int count, int *capacity, size_t size, const char *what)
{
    if (builder->status != DG_OK) return false;
    if (count < *capacity) return true;
    int wanted = *capacity > 0 ? 2 * *capacity : 64;
    fail(builder, dg_grow(array, (size_t)*capacity, (size_t)wanted, size, what));
    if (builder->status == DG_OK) *capacity = wanted;
    return builder->status == DG_OK;
}

static bool set_name(dg_builder *builder, char out[DG_GRAPH_NAME], const char *name)
{
    if (snprintf(out, DG_GRAPH_NAME, "%s", name) < DG_GRAPH_NAME) return true;
    fail(builder, DG_FAIL(DG_ERR_INTERNAL, "graph name '%s' is longer than %d characters", name, DG_GRAPH_NAME - 1));
    return false;
}

static int add_tensor(dg_builder *builder, const dg_graph_tensor *tensor, const char *name)
{
    dg_graph *graph = builder->graph;
    if (!room(builder, &graph->tensor, graph->tensors, &graph->tensor_capacity, sizeof *tensor, "graph tensors"))
        return 0;
    if (dg_graph_find(graph, name) >= 0) {
        fail(builder, DG_FAIL(DG_ERR_INTERNAL, "graph has two tensors named '%s'", name));
        return 0;
    }
    dg_graph_tensor *slot = &graph->tensor[graph->tensors];
    *slot = *tensor;
    if (!set_name(builder, slot->name, name)) return 0;
    if (slot->root < 0) slot->root = graph->tensors;
    return graph->tensors++;
}

int dg_build_tensor(dg_builder *builder, const char *name, int level, int64_t c)
{
    return add_tensor(builder, &(dg_graph_tensor){.level = level, .c = c, .root = -1}, name);
}

int dg_build_slice(dg_builder *builder, const char *name, int root, int64_t first, int64_t c)
{
    if (builder->status != DG_OK) return 0;
    const dg_graph_tensor *whole = &builder->graph->tensor[root];
    if (whole->root != root || first < 0 || first + c > whole->c) {
        fail(builder, DG_FAIL(DG_ERR_INTERNAL, "slice '%s' does not lie in tensor '%s'", name, whole->name));
        return 0;
    }
    return add_tensor(builder, &(dg_graph_tensor){.level = whole->level, .c = c, .root = root, .first = first}, name);
}

/* The operation that `fill` describes, or NULL when building has failed. */
static dg_graph_op *add_op(dg_builder *builder, dg_op_kind kind, const char *name, int x, int y)
{
    dg_graph *graph = builder->graph;
    if (!room(builder, &graph->op, graph->ops, &graph->op_capacity, sizeof *graph->op, "graph operations")) return NULL;
    dg_graph_op *op = &graph->op[graph->ops];
    *op = (dg_graph_op){.kind = kind, .x = x, .y = y, .film = -1, .residual = -1, .gate = -1, .weight = -1, .bias = -1};
    if (!set_name(builder, op->name, name)) return NULL;
    graph->ops++;
    return op;
}

static int add_param(dg_builder *builder, const char *module, const char *leaf, dg_param_kind kind, int rank,
                     const int64_t *shape, int64_t fan_in)
{
    char name[DG_PARAM_NAME];
    int index = -1;
    (void)snprintf(name, sizeof name, "%s.%s", module, leaf);
    if (builder->status == DG_OK)
        fail(builder, dg_param_table_add(builder->params, name, kind, rank, shape, fan_in, &index));
    return index;
}

static bool is_slice(const dg_graph *graph, int t) { return graph->tensor[t].root != t; }

void dg_build_conv(dg_builder *builder, const char *name, dg_conv_kind kind, int kernel, bool bias, int x, int y)
{
    const dg_graph *graph = builder->graph;
    dg_graph_op *op = add_op(builder, DG_OP_CONV, name, x, y);
    if (op == NULL) return;
    if (kernel > 1 && (is_slice(graph, x) || is_slice(graph, y))) {
        fail(builder,
             DG_FAIL(DG_ERR_INTERNAL, "convolution '%s' with kernel %d reads or writes a slice", name, kernel));
        return;
    }
    int64_t cin = graph->tensor[x].c, cout = graph->tensor[y].c, k = kernel;
    bool transposed = kind == DG_CONV_TRANSPOSE2;
    int64_t shape[5] = {transposed ? cin : cout, transposed ? cout : cin, k, k, k};
    /* PyTorch takes axis 1 of the weight as fan-in, for transposed convolutions too. */
    int64_t fan_in = shape[1] * k * k * k;
    op->conv = kind;
    op->kernel = kernel;
    op->weight =
        add_param(builder, name, "weight", transposed ? DG_PARAM_CONV_TRANSPOSE : DG_PARAM_CONV, 5, shape, fan_in);
    if (bias) op->bias = add_param(builder, name, "bias", DG_PARAM_VECTOR, 1, &cout, fan_in);
}

void dg_build_voxel_linear(dg_builder *builder, const char *name, bool bias, int x, int y)
{
    dg_graph_op *op = add_op(builder, DG_OP_CONV, name, x, y);
    if (op == NULL) return;
    int64_t shape[2] = {builder->graph->tensor[y].c, builder->graph->tensor[x].c};
    op->conv = DG_CONV_SAME;
    op->kernel = 1;
    op->weight = add_param(builder, name, "weight", DG_PARAM_CONV, 2, shape, shape[1]);
    if (bias) op->bias = add_param(builder, name, "bias", DG_PARAM_VECTOR, 1, &shape[0], shape[1]);
}

void dg_build_norm(dg_builder *builder, const char *name, const dg_norm_desc *desc, bool affine, int x, int film,
                   int residual, int y)
{
    dg_graph_op *op = add_op(builder, DG_OP_NORM, name, x, y);
    if (op == NULL) return;
    int64_t c = builder->graph->tensor[x].c;
    op->norm = *desc;
    op->film = film;
    op->residual = residual;
    if (!affine) return;
    op->weight = add_param(builder, name, "weight", DG_PARAM_VECTOR, 1, &c, 0);
    op->bias = add_param(builder, name, "bias", DG_PARAM_VECTOR, 1, &c, 0);
}

void dg_build_layer_norm(dg_builder *builder, const char *name, double eps, int x, int y)
{
    dg_graph_op *op = add_op(builder, DG_OP_LAYER_NORM, name, x, y);
    if (op == NULL) return;
    int64_t c = builder->graph->tensor[x].c;
    op->norm.eps = eps;
    op->weight = add_param(builder, name, "weight", DG_PARAM_VECTOR, 1, &c, 0);
    op->bias = add_param(builder, name, "bias", DG_PARAM_VECTOR, 1, &c, 0);
}

void dg_build_act(dg_builder *builder, const char *name, dg_activation act, double slope, int x, int y)
{
    dg_graph_op *op = add_op(builder, DG_OP_ACT, name, x, y);
    if (op == NULL) return;
    op->norm.act = act;
    op->norm.negative_slope = slope;
}

void dg_build_copy(dg_builder *builder, const char *name, int x, int y)
{
    (void)add_op(builder, DG_OP_COPY, name, x, y);
}

void dg_build_gate(dg_builder *builder, const char *name, int x, int gate, int y)
{
    dg_graph_op *op = add_op(builder, DG_OP_GATE, name, x, y);
    if (op != NULL) op->gate = gate;
}

void dg_build_pool(dg_builder *builder, const char *name, int x, int y)
{
    (void)add_op(builder, DG_OP_POOL, name, x, y);
}

void dg_build_resize(dg_builder *builder, const char *name, int x, int y)
{
    (void)add_op(builder, DG_OP_RESIZE, name, x, y);
}

void dg_build_linear(dg_builder *builder, const char *name, int x, int y)
{
    dg_graph_op *op = add_op(builder, DG_OP_LINEAR, name, x, y);
    if (op == NULL) return;
    int64_t shape[2] = {builder->graph->tensor[y].c, builder->graph->tensor[x].c};
    op->weight = add_param(builder, name, "weight", DG_PARAM_LINEAR, 2, shape, shape[1]);
    op->bias = add_param(builder, name, "bias", DG_PARAM_VECTOR, 1, &shape[0], shape[1]);
}

void dg_build_attention(dg_builder *builder, const char *name, int heads, int x, int y)
{
    dg_graph_op *op = add_op(builder, DG_OP_ATTENTION, name, x, y);
    if (op != NULL) op->heads = heads;
}
