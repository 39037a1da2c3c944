/* dg_graph.h - a network as a static list of operations on named tensors, in the order of the forward pass.
 *
 * A graph knows channels and spatial levels but no sizes: level l has the input's axes divided by 2^l. Concatenation is
 * no operation: its parts are channel slices of one wider tensor, and the operations that make them write there.
 * Parameters are added to the table in the order of the operations, so that a backward pass, which runs the list from
 * its end, completes gradients from the end of the flat buffer to its start. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_GRAPH_H
#define DG_GRAPH_H

#include "dg_backend.h"
#include "dg_params.h"

enum { DG_GRAPH_NAME = 48, DG_LEVEL_VECTOR = -1 };

typedef struct dg_graph_tensor {
    char name[DG_GRAPH_NAME];
    int level; /* >= 0: [n, z>>level, y>>level, x>>level, c] in the plan's dtype; DG_LEVEL_VECTOR: f32 [n,c] */
    int64_t c;
    int root;      /* the tensor this is a slice of; itself when it is none */
    int64_t first; /* first channel in root */
    bool f32;      /* f32 whatever the plan's dtype: the network's output */
} dg_graph_tensor;

typedef enum dg_op_kind {
    DG_OP_CONV,       /* y = conv(x) */
    DG_OP_NORM,       /* y = act(norm(x)) (1 + s) + t + residual; groups 0: no normalisation (an addition, say) */
    DG_OP_LAYER_NORM, /* over the channels of each voxel */
    DG_OP_ACT,        /* y = act(x) */
    DG_OP_COPY,       /* y = x: into a slice, or between dtypes */
    DG_OP_GATE,       /* y = x * gate, gate of one channel */
    DG_OP_POOL,       /* max 2x2x2 */
    DG_OP_RESIZE,     /* trilinear to y's level */
    DG_OP_LINEAR,     /* y = w x + b on vectors */
    DG_OP_ATTENTION   /* self-attention core, x = [q|k|v] */
} dg_op_kind;

typedef struct dg_graph_op {
    dg_op_kind kind;
    char name[DG_GRAPH_NAME];
    int x, y;           /* tensors */
    int film, residual; /* of DG_OP_NORM, or -1 */
    int gate;           /* of DG_OP_GATE, else -1 */
    int weight, bias;   /* parameters (norms: gamma, beta), or -1 */
    dg_conv_kind conv;
    int kernel;
    dg_norm_desc norm; /* eps also of DG_OP_LAYER_NORM; act and negative_slope also of DG_OP_ACT */
    int heads;
} dg_graph_op;

typedef struct dg_graph {
    dg_graph_tensor *tensor; /* owned */
    int tensors, tensor_capacity;
    dg_graph_op *op; /* owned */
    int ops, op_capacity;
    int input, constraints, output; /* tensors; constraints -1 when the model is not conditioned */
} dg_graph;

void dg_graph_release(dg_graph *graph);
int dg_graph_find(const dg_graph *graph, const char *name); /* tensor by name; -1: none */
const char *dg_op_kind_name(dg_op_kind kind);

/* Builds a graph and its parameter table. The first failure sticks in `status` and turns the later calls into nothing,
 * so that an architecture reads as the formula it is; the caller checks `status` once at the end. */
typedef struct dg_builder {
    dg_graph *graph;
    dg_param_table *params;
    dg_status status;
} dg_builder;

/* Tensors; the returned index is valid for this graph. */
int dg_build_tensor(dg_builder *builder, const char *name, int level, int64_t c);
int dg_build_slice(dg_builder *builder, const char *name, int root, int64_t first, int64_t c);

/* Operations. `name` is the PyTorch module: parameters are NAME.weight and NAME.bias. Convolutions with kernel 3 and
 * transposed ones take no slices. */
void dg_build_conv(dg_builder *builder, const char *name, dg_conv_kind kind, int kernel, bool bias, int x, int y);
/* A linear layer over the channels of every voxel: a 1x1x1 convolution whose weight PyTorch knows as [cout,cin]. */
void dg_build_voxel_linear(dg_builder *builder, const char *name, bool bias, int x, int y);
void dg_build_norm(dg_builder *builder, const char *name, const dg_norm_desc *desc, bool affine, int x, int film,
                   int residual, int y);
void dg_build_layer_norm(dg_builder *builder, const char *name, double eps, int x, int y);
void dg_build_act(dg_builder *builder, const char *name, dg_activation act, double slope, int x, int y);
void dg_build_copy(dg_builder *builder, const char *name, int x, int y);
void dg_build_gate(dg_builder *builder, const char *name, int x, int gate, int y);
void dg_build_pool(dg_builder *builder, const char *name, int x, int y);
void dg_build_resize(dg_builder *builder, const char *name, int x, int y);
void dg_build_linear(dg_builder *builder, const char *name, int x, int y);
void dg_build_attention(dg_builder *builder, const char *name, int heads, int x, int y);

#endif
