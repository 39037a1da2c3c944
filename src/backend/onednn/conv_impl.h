/* conv_impl.h - a prepared convolution of the oneDNN backend. 3x3x3 are oneDNN convolutions or own kernels; the data gradient is the
 * forward convolution with mirrored, transposed weights, which takes accumulation as a fused sum. 1x1x1 are matrix
 * products on strided rows; the transposed 2x2x2 is a matrix product with 8 cout columns, then scattered; 4x4x4 of stride 2
 * are products of gathered rows.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_ONEDNN_CONV_IMPL_H
#define DG_ONEDNN_CONV_IMPL_H

#include "conv_amx.h"
#include "conv_deep_amx.h"
#include "onednn_impl.h"
#include "product_amx.h"
#include "wgrad_amx.h"

/* A oneDNN primitive with its memory objects; handles of tensors are set for each call. */
typedef struct onednn_op {
    dnnl_primitive_t primitive;
    dnnl_memory_t src, weights, bias, dst, scratchpad; /* bias NULL: none */
    int src_arg, weights_arg, dst_arg;
    int64_t scratchpad_bytes;
} onednn_op;

/* A weight gradient by a matrix product for one pair of pitches; more are made at their first use. */
enum { ONEDNN_PITCHES = 4 };
typedef struct onednn_product {
    int64_t src_pitch, dst_pitch;
    onednn_op op;
} onednn_product;

/* Weights in a layout of oneDNN's choice or, when NULL, of an own kernel. Row i, column j of plane t lies at row[i] +
 * column[j] + plane[t]; where the x tap decides on the places of rows or columns, a table for each follows. */
typedef struct onednn_packed {
    dnnl_memory_desc_t layout;
    void *data;
    int64_t *plane, *row, *column;
    int64_t row_step, column_step; /* from one x tap's table to the next */
} onednn_packed;

/* The own kernel of one direction of a 3x3x3 convolution, where there is one that suits: conv_amx.h, conv_deep_amx.h. */
typedef enum onednn_own_kind { ONEDNN_OWN_NONE, ONEDNN_OWN_LINES, ONEDNN_OWN_DEEP } onednn_own_kind;
typedef struct onednn_own {
    onednn_own_kind kind;
    dg_conv_amx_plan lines;
    dg_conv_deep_plan deep;
} onednn_own;

typedef struct onednn_strided onednn_strided; /* onednn_strided.c */

struct dg_conv {
    dg_conv_desc desc;
    int64_t planes, rows, columns; /* of the weights as the engine holds them: taps, cin, cout */
    int64_t outputs;               /* columns of the matrix product: cout, or 8 cout when transposed */
    bool thin, narrow;             /* 1x1x1 with few outputs, few inputs: own loops */
    bool own_product;              /* 1x1x1, forward pass: product_amx.h */
    onednn_packed forward, data;   /* packed weights */
    float *bias;                   /* [outputs], zero without one */
    float *thin_weights;           /* [cout][cin] */
    float *narrow_weights;         /* [cin][cout]; thin goes first */
    onednn_op conv_forward, conv_data, conv_weights;
    onednn_op product_forward, product_data; /* dense */
    onednn_product product_weights[ONEDNN_PITCHES];
    void *gathered;             /* transposed: [voxels][8 cout] in the activations' type */
    onednn_strided *strided;    /* stride 2: all of it; else NULL */
    void *padded_x, *padded_dy; /* see pads_planes */
    float *weight_result;       /* oneDNN's weight gradient before it is added: [rows][outputs] or its own layout */
    dnnl_memory_desc_t weight_result_layout;
    int64_t *weight_plane, *weight_row, *weight_column; /* where its elements lie */
    onednn_own own_forward, own_data;                   /* 3x3x3: the kernels of forward pass and data gradient */
    bool own_weights;                                   /* the gradient of the weights by the kernel of wgrad_amx.h */
    dg_wgrad_plan wgrad;                                /* of that */
};

/* onednn_pack.c: the offsets of a two- or five-dimensional weight layout. `dims` are {columns, rows, 3, 3, 3} for a
 * convolution ({rows, columns, 3, 3, 3} when `swap`), {rows, columns} for a product ({columns, rows} when `swap`). */
DG_MUST_USE dg_status onednn_layout_offsets(const_dnnl_memory_desc_t layout, int dimension, int64_t count,
                                            int64_t *offset);
/* Writes w [planes][rows][columns] f32 to packed memory of type `dtype`; `mirror` reverses the planes. */
void onednn_pack(onednn_backend *backend, const dg_conv *conv, const onednn_packed *packed, bool mirror,
                 const float *w);
/* dw += gradient held in `result` with the given offsets. */
void onednn_unpack_add(onednn_backend *backend, const dg_conv *conv, const float *result, const int64_t *plane,
                       const int64_t *row, const int64_t *column, float *dw);

/* onednn_own.c: choice of the kernel for the forward pass, or for the data gradient, whose inputs are the outputs; tables
 * and memory of its weights and its scratch; and the call. */
void onednn_own_plan(const onednn_backend *backend, const dg_conv_desc *desc, bool data, onednn_own *own);
DG_MUST_USE dg_status onednn_own_create(onednn_backend *backend, const onednn_own *own, bool data,
                                        onednn_packed *packed);
DG_MUST_USE dg_status onednn_own_product_create(onednn_backend *backend, const dg_conv *conv, onednn_packed *packed);
DG_MUST_USE dg_status onednn_own_run(onednn_backend *backend, const onednn_own *own, const dg_tensor *x,
                                     const onednn_packed *packed, const float *bias, dg_tensor *y);

/* onednn_product.c */
DG_MUST_USE dg_status onednn_product_create(onednn_backend *backend, dg_conv *conv);
DG_MUST_USE dg_status onednn_product_forward(onednn_backend *backend, dg_conv *conv, const void *x, int64_t x_pitch,
                                             void *y, int64_t y_pitch);
DG_MUST_USE dg_status onednn_product_data(onednn_backend *backend, dg_conv *conv, const void *dy, int64_t dy_pitch,
                                          void *dx, int64_t dx_pitch);
/* dw [cin][outputs] += x^T dy. */
DG_MUST_USE dg_status onednn_product_weights(onednn_backend *backend, dg_conv *conv, const void *x, int64_t x_pitch,
                                             const void *dy, int64_t dy_pitch, float *dw);

/* onednn_strided.c: convolutions of stride 2; tensors are checked. */
DG_MUST_USE dg_status onednn_strided_create(dg_backend *head, dg_conv *conv);
void onednn_strided_destroy(dg_backend *head, onednn_strided **strided);
DG_MUST_USE dg_status onednn_strided_pack(dg_backend *head, dg_conv *conv, const float *w, const float *bias);
DG_MUST_USE dg_status onednn_strided_forward(dg_backend *head, dg_conv *conv, const dg_tensor *x, dg_tensor *y);
DG_MUST_USE dg_status onednn_strided_backward_data(dg_backend *head, dg_conv *conv, const dg_tensor *dy,
                                                   dg_tensor *dx);
DG_MUST_USE dg_status onednn_strided_backward_weights(dg_backend *head, dg_conv *conv, const dg_tensor *x,
                                                      const dg_tensor *dy, float *dw, float *db);

/* y = conv for `count` voxels, by the calling thread; of `narrow` and `own_product` convolutions. */
void onednn_conv_rows(const onednn_backend *backend, const dg_conv *conv, dg_rows x, dg_rows y, int64_t count);

/* Makes the primitive and the memory objects of `op` from a descriptor, which it releases. */
DG_MUST_USE dg_status onednn_op_create(onednn_backend *backend, dnnl_primitive_desc_t desc,
                                       const_dnnl_memory_desc_t src, const_dnnl_memory_desc_t weights,
                                       const_dnnl_memory_desc_t bias, const_dnnl_memory_desc_t dst, onednn_op *op);
void onednn_op_destroy(onednn_op *op);
DG_MUST_USE dg_status onednn_op_run(onednn_backend *backend, onednn_op *op, const void *src, const void *weights,
                                    const float *bias, void *dst);

#endif
