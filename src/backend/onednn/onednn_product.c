/* onednn_product.c - 1x1x1 convolutions as oneDNN matrix products. With packed weights oneDNN multiplies strided rows by
 * its reference loops only (hundreds of times slower), so pitched tensors pass through a dense copy in scratch.
 * SPDX-License-Identifier: Apache-2.0 */
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

static dg_status describe(const dg_conv *conv, int64_t in, int64_t out, bool bias, bool accumulate,
                          product_parts *parts)
{
    const int64_t rows = row_count(conv);
    const dnnl_dims_t weights = {in, out};
    DG_DNNL(dg_dnnl_matrix_desc(rows, in, in, 1, conv->desc.dtype, &parts->src));
    DG_DNNL(dnnl_memory_desc_create_with_tag(&parts->weights, 2, weights, dg_dnnl_type(conv->desc.dtype),
                                             dnnl_format_tag_any));
    DG_DNNL(dg_dnnl_matrix_desc(rows, out, out, 1, conv->desc.dtype, &parts->dst));
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

static dg_status create_forward(onednn_backend *backend, dg_conv *conv)
{
    product_parts parts = {0};
    dg_status status = describe(conv, conv->desc.cin, conv->outputs, true, false, &parts);
    if (status == DG_OK) status = make_product(backend, &parts, &conv->forward.layout, &conv->product_forward);
    release_parts(&parts);
    return status;
}

static dg_status create_data(onednn_backend *backend, dg_conv *conv)
{
    product_parts parts = {0};
    dg_status status = describe(conv, conv->outputs, conv->desc.cin, false, conv->desc.accumulate_dx, &parts);
    if (status == DG_OK) status = make_product(backend, &parts, &conv->data.layout, &conv->product_data);
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
    if (!conv->narrow && !conv->own_product) DG_TRY(create_forward(backend, conv));
    if (!conv->desc.training) return DG_OK;
    DG_TRY(create_data(backend, conv));
    if (conv->own_weights) return DG_OK;
    return weights_product(backend, conv, conv->desc.cin, conv->outputs, &op);
}

static dg_tensor matrix(const dg_conv *conv, void *data, int64_t columns, int64_t pitch)
{
    return (dg_tensor){data, conv->desc.dtype, 1, 1, 1, row_count(conv), columns, pitch};
}

/* Runs the dense product `op` on rows of any pitch; dense copies lie in scratch, behind what the product itself uses. */
static dg_status run_product(onednn_backend *backend, const dg_conv *conv, onednn_op *op, dg_tensor src,
                             const void *weights, const float *bias, dg_tensor dst, bool accumulate)
{
    const int64_t size = (int64_t)dg_dtype_size(conv->desc.dtype), alignment = DG_MEM_ALIGNMENT;
    const bool copy_src = src.pitch != src.c, copy_dst = dst.pitch != dst.c;
    const int64_t at = (op->scratchpad_bytes + alignment - 1) / alignment * alignment;
    const int64_t src_bytes = copy_src ? (src.x * src.c * size + alignment - 1) / alignment * alignment : 0;
    char *scratch;
    DG_TRY(onednn_scratch(backend, at + src_bytes + (copy_dst ? dst.x * dst.c * size : 0), &scratch));
    dg_tensor from = src, to = dst;
    if (copy_src) {
        from = matrix(conv, scratch + at, src.c, src.c);
        DG_TRY(onednn_copy(&backend->head, &src, &from, false));
    }
    if (copy_dst) to = matrix(conv, scratch + at + src_bytes, dst.c, dst.c);
    if (copy_dst && accumulate) DG_TRY(onednn_copy(&backend->head, &dst, &to, false));
    DG_TRY(onednn_op_run(backend, op, from.data, weights, bias, to.data));
    return copy_dst ? onednn_copy(&backend->head, &to, &dst, false) : DG_OK;
}

dg_status onednn_product_forward(onednn_backend *backend, dg_conv *conv, const void *x, int64_t x_pitch, void *y,
                                 int64_t y_pitch)
{
    return run_product(backend, conv, &conv->product_forward, matrix(conv, (void *)x, conv->desc.cin, x_pitch),
                       conv->forward.data, conv->bias, matrix(conv, y, conv->outputs, y_pitch), false);
}

dg_status onednn_product_data(onednn_backend *backend, dg_conv *conv, const void *dy, int64_t dy_pitch, void *dx,
                              int64_t dx_pitch)
{
    return run_product(backend, conv, &conv->product_data, matrix(conv, (void *)dy, conv->outputs, dy_pitch),
                       conv->data.data, NULL, matrix(conv, dx, conv->desc.cin, dx_pitch), conv->desc.accumulate_dx);
}

dg_status onednn_product_weights(onednn_backend *backend, dg_conv *conv, const void *x, int64_t x_pitch, const void *dy,
                                 int64_t dy_pitch, float *dw)
{
    onednn_op *op;
    DG_TRY(weights_product(backend, conv, x_pitch, dy_pitch, &op));
    return onednn_op_run(backend, op, x, dy, NULL, dw);
}
