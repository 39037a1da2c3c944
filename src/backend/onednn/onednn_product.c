/* onednn_product.c - 1x1x1 convolutions as oneDNN matrix products on strided rows. SPDX-License-Identifier: Apache-2.0 */
#include "conv_impl.h"

#include <string.h>

static int64_t row_count(const dg_conv *conv) { return conv->desc.n * conv->desc.z * conv->desc.y * conv->desc.x; }

/* Descriptors that a maker releases whatever happens. */
typedef struct product_parts {
    dnnl_memory_desc_t src, weights, bias, dst;
    dnnl_primitive_attr_t attributes;
} product_parts;

static void release_parts(product_parts *parts)
{
    if (parts->src != NULL) dnnl_memory_desc_destroy(parts->src);
    if (parts->weights != NULL) dnnl_memory_desc_destroy(parts->weights);
    if (parts->bias != NULL) dnnl_memory_desc_destroy(parts->bias);
    if (parts->dst != NULL) dnnl_memory_desc_destroy(parts->dst);
    if (parts->attributes != NULL) dnnl_primitive_attr_destroy(parts->attributes);
}

/* `layout` is filled by the first product of its kind and binds the later ones. */
static dg_status make_product(onednn_backend *backend, product_parts *parts, dnnl_memory_desc_t *layout, onednn_op *op)
{
    dnnl_primitive_desc_t desc;
    DG_DNNL(dg_dnnl_matmul(backend->engine, parts->src, *layout != NULL ? *layout : parts->weights, parts->bias,
                           parts->dst, parts->attributes, &desc));
    if (*layout == NULL) {
        const_dnnl_memory_desc_t chosen = dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
        dnnl_status_t status = dnnl_memory_desc_clone(layout, chosen);
        if (status != dnnl_success) dnnl_primitive_desc_destroy(desc);
        DG_DNNL(status);
    }
    op->src_arg = DNNL_ARG_SRC;
    op->weights_arg = DNNL_ARG_WEIGHTS;
    op->dst_arg = DNNL_ARG_DST;
    return onednn_op_create(backend, desc, parts->src, *layout, parts->bias, parts->dst, op);
}

static dg_status describe(const dg_conv *conv, int64_t in, int64_t out, int64_t src_pitch, int64_t dst_pitch, bool bias,
                          bool accumulate, product_parts *parts)
{
    const int64_t rows = row_count(conv);
    const dnnl_dims_t weights = {in, out};
    DG_DNNL(dg_dnnl_matrix_desc(rows, in, src_pitch, 1, conv->desc.dtype, &parts->src));
    DG_DNNL(dnnl_memory_desc_create_with_tag(&parts->weights, 2, weights, dg_dnnl_type(conv->desc.dtype),
                                             dnnl_format_tag_any));
    DG_DNNL(dg_dnnl_matrix_desc(rows, out, dst_pitch, 1, conv->desc.dtype, &parts->dst));
    if (bias) DG_DNNL(dg_dnnl_matrix_desc(1, out, out, 1, DG_F32, &parts->bias));
    DG_DNNL(dg_dnnl_attributes(accumulate, &parts->attributes));
    return DG_OK;
}

/* The product for these pitches, made at its first use; the oldest but the dense one gives way when there are many. */
static onednn_product *find_product(onednn_product *list, int64_t src_pitch, int64_t dst_pitch, bool *found)
{
    int free_at = ONEDNN_PITCHES - 1;
    for (int i = ONEDNN_PITCHES - 1; i >= 0; i--) {
        if (list[i].op.primitive == NULL)
            free_at = i;
        else if (list[i].src_pitch == src_pitch && list[i].dst_pitch == dst_pitch) {
            *found = true;
            return &list[i];
        }
    }
    *found = false;
    onednn_op_destroy(&list[free_at].op);
    list[free_at].src_pitch = src_pitch;
    list[free_at].dst_pitch = dst_pitch;
    return &list[free_at];
}

static dg_status forward_product(onednn_backend *backend, dg_conv *conv, int64_t x_pitch, int64_t y_pitch,
                                 onednn_op **out)
{
    bool found;
    onednn_product *product = find_product(conv->product_forward, x_pitch, y_pitch, &found);
    *out = &product->op;
    if (found) return DG_OK;
    product_parts parts = {0};
    dg_status status = describe(conv, conv->desc.cin, conv->outputs, x_pitch, y_pitch, true, false, &parts);
    if (status == DG_OK) status = make_product(backend, &parts, &conv->forward.layout, &product->op);
    release_parts(&parts);
    return status;
}

static dg_status data_product(onednn_backend *backend, dg_conv *conv, int64_t dy_pitch, int64_t dx_pitch,
                              onednn_op **out)
{
    bool found;
    onednn_product *product = find_product(conv->product_data, dy_pitch, dx_pitch, &found);
    *out = &product->op;
    if (found) return DG_OK;
    product_parts parts = {0};
    dg_status status =
        describe(conv, conv->outputs, conv->desc.cin, dy_pitch, dx_pitch, false, conv->desc.accumulate_dx, &parts);
    if (status == DG_OK) status = make_product(backend, &parts, &conv->data.layout, &product->op);
    release_parts(&parts);
    return status;
}

static dg_status describe_weights(const dg_conv *conv, int64_t x_pitch, int64_t dy_pitch, product_parts *parts)
{
    const int64_t rows = row_count(conv), in = conv->desc.cin, out = conv->outputs;
    DG_DNNL(dg_dnnl_matrix_desc(in, rows, 1, x_pitch, conv->desc.dtype, &parts->src));
    DG_DNNL(dg_dnnl_matrix_desc(rows, out, dy_pitch, 1, conv->desc.dtype, &parts->weights));
    DG_DNNL(dg_dnnl_matrix_desc(in, out, out, 1, DG_F32, &parts->dst));
    DG_DNNL(dg_dnnl_attributes(true, &parts->attributes));
    return DG_OK;
}

static dg_status weights_product(onednn_backend *backend, dg_conv *conv, int64_t x_pitch, int64_t dy_pitch,
                                 onednn_op **out)
{
    bool found;
    onednn_product *product = find_product(conv->product_weights, x_pitch, dy_pitch, &found);
    *out = &product->op;
    if (found) return DG_OK;
    product_parts parts = {0};
    dnnl_memory_desc_t layout = NULL;
    dg_status status = describe_weights(conv, x_pitch, dy_pitch, &parts);
    if (status == DG_OK) status = make_product(backend, &parts, &layout, &product->op);
    if (layout != NULL) dnnl_memory_desc_destroy(layout);
    release_parts(&parts);
    return status;
}

dg_status onednn_product_create(onednn_backend *backend, dg_conv *conv)
{
    onednn_op *op;
    const int64_t in = conv->desc.cin, out = conv->outputs;
    DG_TRY(forward_product(backend, conv, in, out, &op));
    if (!conv->desc.training) return DG_OK;
    DG_TRY(data_product(backend, conv, out, in, &op));
    if (conv->own_weights) return DG_OK;
    return weights_product(backend, conv, in, out, &op);
}

dg_status onednn_product_forward(onednn_backend *backend, dg_conv *conv, const void *x, int64_t x_pitch, void *y,
                                 int64_t y_pitch)
{
    onednn_op *op;
    DG_TRY(forward_product(backend, conv, x_pitch, y_pitch, &op));
    return onednn_op_run(backend, op, x, conv->forward.data, conv->bias, y);
}

dg_status onednn_product_data(onednn_backend *backend, dg_conv *conv, const void *dy, int64_t dy_pitch, void *dx,
                              int64_t dx_pitch)
{
    onednn_op *op;
    DG_TRY(data_product(backend, conv, dy_pitch, dx_pitch, &op));
    return onednn_op_run(backend, op, dy, conv->data.data, NULL, dx);
}

dg_status onednn_product_weights(onednn_backend *backend, dg_conv *conv, const void *x, int64_t x_pitch, const void *dy,
                                 int64_t dy_pitch, float *dw)
{
    onednn_op *op;
    DG_TRY(weights_product(backend, conv, x_pitch, dy_pitch, &op));
    return onednn_op_run(backend, op, x, dy, NULL, dw);
}
