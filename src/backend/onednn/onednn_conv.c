/* onednn_conv.c - convolutions of the oneDNN backend: creation, packing and the three directions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "conv_impl.h"

#include <string.h>

enum { TAPS = 27 };

dg_status onednn_op_create(onednn_backend *backend, dnnl_primitive_desc_t desc, const_dnnl_memory_desc_t src,
                           const_dnnl_memory_desc_t weights, const_dnnl_memory_desc_t bias,
                           const_dnnl_memory_desc_t dst, onednn_op *op)
{
    const_dnnl_memory_desc_t scratchpad = dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
    op->scratchpad_bytes = scratchpad != NULL ? (int64_t)dnnl_memory_desc_get_size(scratchpad) : 0;
    dnnl_status_t status = dnnl_primitive_create(&op->primitive, desc);
    if (status == dnnl_success) status = dnnl_memory_create(&op->src, src, backend->engine, DNNL_MEMORY_NONE);
    if (status == dnnl_success) status = dnnl_memory_create(&op->weights, weights, backend->engine, DNNL_MEMORY_NONE);
    if (status == dnnl_success) status = dnnl_memory_create(&op->dst, dst, backend->engine, DNNL_MEMORY_NONE);
    if (status == dnnl_success && bias != NULL)
        status = dnnl_memory_create(&op->bias, bias, backend->engine, DNNL_MEMORY_NONE);
    if (status == dnnl_success && op->scratchpad_bytes > 0)
        status = dnnl_memory_create(&op->scratchpad, scratchpad, backend->engine, DNNL_MEMORY_NONE);
    dnnl_primitive_desc_destroy(desc);
    DG_DNNL(status);
    void *unused;
    return onednn_scratch(backend, op->scratchpad_bytes, &unused);
}

void onednn_op_destroy(onednn_op *op)
{
    dnnl_memory_t memory[] = {op->src, op->weights, op->bias, op->dst, op->scratchpad};
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++)
        if (memory[i] != NULL) dnnl_memory_destroy(memory[i]);
    if (op->primitive != NULL) dnnl_primitive_destroy(op->primitive);
    memset(op, 0, sizeof *op);
}

dg_status onednn_op_run(onednn_backend *backend, onednn_op *op, const void *src, const void *weights, const float *bias,
                        void *dst)
{
    dnnl_exec_arg_t args[5] = {{op->src_arg, op->src}, {op->weights_arg, op->weights}, {op->dst_arg, op->dst}};
    int count = 3;
    DG_DNNL(dnnl_memory_set_data_handle(op->src, (void *)src));
    DG_DNNL(dnnl_memory_set_data_handle(op->weights, (void *)weights));
    DG_DNNL(dnnl_memory_set_data_handle(op->dst, dst));
    if (op->bias != NULL) {
        DG_DNNL(dnnl_memory_set_data_handle(op->bias, (void *)bias));
        args[count++] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, op->bias};
    }
    if (op->scratchpad != NULL) {
        void *scratch;
        DG_TRY(onednn_scratch(backend, op->scratchpad_bytes, &scratch));
        DG_DNNL(dnnl_memory_set_data_handle(op->scratchpad, scratch));
        args[count++] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, op->scratchpad};
    }
    DG_DNNL(dnnl_primitive_execute(op->primitive, backend->stream, count, args));
    DG_DNNL(dnnl_stream_wait(backend->stream));
    return DG_OK;
}

/* Memory descriptors of one 3x3x3 convolution, released together. */
typedef struct conv_parts {
    dnnl_memory_desc_t src, weights, bias, dst;
    dnnl_primitive_attr_t attributes;
    dnnl_primitive_desc_t hint;
} conv_parts;

static void release_parts(conv_parts *parts)
{
    if (parts->src != NULL) dnnl_memory_desc_destroy(parts->src);
    if (parts->weights != NULL) dnnl_memory_desc_destroy(parts->weights);
    if (parts->bias != NULL) dnnl_memory_desc_destroy(parts->bias);
    if (parts->dst != NULL) dnnl_memory_desc_destroy(parts->dst);
    if (parts->attributes != NULL) dnnl_primitive_attr_destroy(parts->attributes);
    if (parts->hint != NULL) dnnl_primitive_desc_destroy(parts->hint);
}

/* in -> out channels; weights of `weight_type` in any layout. */
static dg_status describe(const dg_conv_desc *d, int64_t in, int64_t out, dg_dtype weight_type, bool accumulate,
                          conv_parts *parts)
{
    const dnnl_dims_t weights = {out, in, 3, 3, 3}, bias = {out};
    DG_DNNL(dg_dnnl_activation_desc(d->n, in, d->z, d->y, d->x, d->dtype, &parts->src));
    DG_DNNL(dg_dnnl_activation_desc(d->n, out, d->z, d->y, d->x, d->dtype, &parts->dst));
    DG_DNNL(
        dnnl_memory_desc_create_with_tag(&parts->weights, 5, weights, dg_dnnl_type(weight_type), dnnl_format_tag_any));
    DG_DNNL(dnnl_memory_desc_create_with_tag(&parts->bias, 1, bias, dnnl_f32, dnnl_a));
    DG_DNNL(dg_dnnl_attributes(accumulate, &parts->attributes));
    return DG_OK;
}

/* A forward primitive; its weight layout goes to `layout`. */
static dg_status make_forward(onednn_backend *backend, const conv_parts *parts, bool bias, dnnl_memory_desc_t *layout,
                              onednn_op *op)
{
    dnnl_primitive_desc_t desc;
    DG_DNNL(dg_dnnl_conv_forward(backend->engine, parts->src, parts->weights, bias ? parts->bias : NULL, parts->dst,
                                 parts->attributes, &desc));
    dnnl_status_t status = dnnl_memory_desc_clone(layout, dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0));
    if (status != dnnl_success) dnnl_primitive_desc_destroy(desc);
    DG_DNNL(status);
    op->src_arg = DNNL_ARG_SRC;
    op->weights_arg = DNNL_ARG_WEIGHTS;
    op->dst_arg = DNNL_ARG_DST;
    return onednn_op_create(backend, desc, parts->src, *layout, bias ? parts->bias : NULL, parts->dst, op);
}

static dg_status create_forward(onednn_backend *backend, dg_conv *conv)
{
    conv_parts parts = {0};
    const dg_conv_desc *d = &conv->desc;
    dg_status status = describe(d, d->cin, d->cout, d->dtype, false, &parts);
    if (status == DG_OK) status = make_forward(backend, &parts, true, &conv->forward.layout, &conv->conv_forward);
    release_parts(&parts);
    return status;
}

static dg_status create_data(onednn_backend *backend, dg_conv *conv)
{
    conv_parts parts = {0};
    const dg_conv_desc *d = &conv->desc;
    dg_status status = describe(d, d->cout, d->cin, d->dtype, d->accumulate_dx, &parts);
    if (status == DG_OK) status = make_forward(backend, &parts, false, &conv->data.layout, &conv->conv_data);
    release_parts(&parts);
    return status;
}

static dg_status make_weights(onednn_backend *backend, dg_conv *conv, conv_parts *parts)
{
    dnnl_primitive_desc_t desc;
    DG_DNNL(dg_dnnl_conv_forward(backend->engine, parts->src, parts->weights, NULL, parts->dst, NULL, &parts->hint));
    dnnl_memory_desc_destroy(parts->weights);
    parts->weights = NULL;
    const dnnl_dims_t dims = {conv->desc.cout, conv->desc.cin, 3, 3, 3};
    DG_DNNL(dnnl_memory_desc_create_with_tag(&parts->weights, 5, dims, dnnl_f32, dnnl_format_tag_any));
    DG_DNNL(dg_dnnl_conv_weights(backend->engine, parts->src, parts->weights, parts->dst, parts->hint,
                                 parts->attributes, &desc));
    dnnl_status_t status = dnnl_memory_desc_clone(&conv->weight_result_layout,
                                                  dnnl_primitive_desc_query_md(desc, dnnl_query_diff_weights_md, 0));
    if (status != dnnl_success) dnnl_primitive_desc_destroy(desc);
    DG_DNNL(status);
    onednn_op *op = &conv->conv_weights;
    op->src_arg = DNNL_ARG_SRC;
    op->weights_arg = DNNL_ARG_DIFF_WEIGHTS;
    op->dst_arg = DNNL_ARG_DIFF_DST;
    return onednn_op_create(backend, desc, parts->src, conv->weight_result_layout, NULL, parts->dst, op);
}

/* oneDNN 3.2 computes a wrong bf16 weight gradient from exactly two planes where it does not use the tile unit (seen
 * against `ref` for every size and channel count). A third plane of zeros in input and gradient adds nothing. */
static bool pads_planes(const dg_conv_desc *d) { return d->dtype == DG_BF16 && d->z == 2; }

static int64_t padded_bytes(const dg_conv_desc *d, int64_t channels)
{
    return d->n * 3 * d->y * d->x * channels * (int64_t)dg_dtype_size(d->dtype);
}

/* Two planes a sample into three, of which the last stays zero. */
static void pad_planes(const dg_conv_desc *d, const dg_tensor *t, void *padded)
{
    const size_t plane = (size_t)(d->y * d->x * t->c) * dg_dtype_size(d->dtype);
    for (int64_t n = 0; n < d->n; n++)
        memcpy((char *)padded + (size_t)n * 3 * plane, (const char *)t->data + (size_t)n * 2 * plane, 2 * plane);
}

static dg_status create_weights(onednn_backend *backend, dg_conv *conv)
{
    conv_parts parts = {0};
    dg_conv_desc padded = conv->desc;
    const dg_conv_desc *d = &padded;
    if (pads_planes(&conv->desc)) {
        padded.z = 3;
        DG_TRY(
            onednn_alloc(&backend->head, padded_bytes(d, d->cin), "weight gradient of a convolution", &conv->padded_x));
        DG_TRY(onednn_alloc(&backend->head, padded_bytes(d, d->cout), "weight gradient of a convolution",
                            &conv->padded_dy));
    }
    dg_status status = describe(d, d->cin, d->cout, d->dtype, false, &parts);
    if (status == DG_OK) status = make_weights(backend, conv, &parts);
    release_parts(&parts);
    if (status != DG_OK) return status;
    void *result;
    DG_TRY(onednn_alloc(&backend->head, (int64_t)dnnl_memory_desc_get_size(conv->weight_result_layout),
                        "weight gradient of a convolution", &result));
    conv->weight_result = result;
    return DG_OK;
}

static bool is_narrow(const dg_conv_desc *d) { return d->kernel == 1 && d->cin <= DG_NARROW && d->cout > DG_THIN; }

static bool uses_own_product(const onednn_backend *backend, const dg_conv_desc *d)
{
    return backend->amx && d->dtype == DG_BF16 && d->kernel == 1 && d->cout > DG_THIN && !is_narrow(d) &&
           dg_product_amx_suits(d->cin, d->cout);
}

bool onednn_residual_fuses(const dg_backend *backend, const dg_conv_desc *desc)
{
    return is_narrow(desc) || uses_own_product((const onednn_backend *)backend, desc);
}

/* Offset tables of a layout: taps are its dimensions 2 to 4, of a product there is one plane (or 8, as columns). */
static dg_status make_tables(const dg_conv *conv, const_dnnl_memory_desc_t layout, int row_dimension,
                             int column_dimension, int64_t **plane, int64_t **row, int64_t **column)
{
    DG_TRY(dg_alloc(plane, (size_t)conv->planes, sizeof **plane, "weight layout"));
    DG_TRY(dg_alloc(row, (size_t)conv->rows, sizeof **row, "weight layout"));
    DG_TRY(dg_alloc(column, (size_t)conv->outputs, sizeof **column, "weight layout"));
    DG_TRY(onednn_layout_offsets(layout, row_dimension, conv->rows, *row));
    DG_TRY(onednn_layout_offsets(layout, column_dimension, conv->outputs, *column));
    if (conv->desc.kernel == 3) {
        int64_t tap[3][3];
        for (int d = 0; d < 3; d++) DG_TRY(onednn_layout_offsets(layout, 2 + d, 3, tap[d]));
        for (int t = 0; t < TAPS; t++) (*plane)[t] = tap[0][t / 9] + tap[1][t / 3 % 3] + tap[2][t % 3];
    }
    return DG_OK;
}

static dg_status make_packed(onednn_backend *backend, const dg_conv *conv, bool data, onednn_packed *packed)
{
    const bool product = conv->desc.kernel != 3;
    /* Dimensions: convolution {out, in, ...}, product {in, out}; rows are cin, columns cout, in and out change places
     * for the data gradient. */
    const int row_dimension = product ? (data ? 1 : 0) : (data ? 0 : 1);
    DG_TRY(make_tables(conv, packed->layout, row_dimension, 1 - row_dimension, &packed->plane, &packed->row,
                       &packed->column));
    return onednn_alloc(&backend->head, (int64_t)dnnl_memory_desc_get_size(packed->layout), "packed weights",
                        &packed->data);
}

/* bf16 with the tile unit, but for the few outputs that own loops serve. */
static bool uses_wgrad_amx(const onednn_backend *backend, const dg_conv *conv)
{
    return backend->amx && conv->desc.dtype == DG_BF16 && conv->desc.kind == DG_CONV_SAME && !conv->thin;
}

static dg_status create_packed(onednn_backend *backend, const dg_conv *conv, bool data, const onednn_own *own,
                               onednn_packed *packed)
{
    if (own->kind != ONEDNN_OWN_NONE) return onednn_own_create(backend, own, data, packed);
    return make_packed(backend, conv, data, packed);
}

static dg_status create_parts(onednn_backend *backend, dg_conv *conv)
{
    const dg_conv_desc *d = &conv->desc;
    void *block;
    DG_TRY(onednn_alloc(&backend->head, conv->outputs * (int64_t)sizeof(float), "bias of a convolution", &block));
    conv->bias = block;
    if (d->dtype == DG_BF16 && !backend->bf16 && !conv->thin)
        return DG_FAIL(DG_ERR_UNSUPPORTED, "this processor has no bf16 products (AVX-512 BF16): choose dtype f32");
    if (conv->thin) {
        DG_TRY(onednn_alloc(&backend->head, d->cin * d->cout * (int64_t)sizeof(float), "weights", &block));
        conv->thin_weights = block;
        return DG_OK;
    }
    dg_wgrad_amx_plan(d->n, d->z, d->y, d->x, d->cin, d->cout, d->kernel == 3 ? TAPS : 1, backend->head.options.threads,
                      &conv->wgrad);
    conv->own_weights = d->training && uses_wgrad_amx(backend, conv);
    if (conv->own_weights) DG_TRY(onednn_scratch(backend, conv->wgrad.scratch_bytes, &block));
    onednn_own_plan(backend, d, false, &conv->own_forward);
    if (d->training) onednn_own_plan(backend, d, true, &conv->own_data);
    if (d->kernel == 3) {
        if (conv->own_forward.kind == ONEDNN_OWN_NONE) DG_TRY(create_forward(backend, conv));
        if (d->training && conv->own_data.kind == ONEDNN_OWN_NONE) DG_TRY(create_data(backend, conv));
        if (d->training && !conv->own_weights) {
            DG_TRY(create_weights(backend, conv));
            DG_TRY(make_tables(conv, conv->weight_result_layout, 1, 0, &conv->weight_plane, &conv->weight_row,
                               &conv->weight_column));
        }
    } else {
        DG_TRY(onednn_product_create(backend, conv));
    }
    if (conv->narrow) {
        DG_TRY(onednn_alloc(&backend->head, d->cin * d->cout * (int64_t)sizeof(float), "weights", &block));
        conv->narrow_weights = block;
    } else if (conv->own_product) {
        DG_TRY(onednn_own_product_create(backend, conv, &conv->forward));
    } else {
        DG_TRY(create_packed(backend, conv, false, &conv->own_forward, &conv->forward));
    }
    if (d->training) DG_TRY(create_packed(backend, conv, true, &conv->own_data, &conv->data));
    if (d->kind == DG_CONV_TRANSPOSE2) {
        const int64_t voxels = d->n * d->z * d->y * d->x;
        DG_TRY(onednn_alloc(&backend->head, voxels * conv->outputs * (int64_t)dg_dtype_size(d->dtype),
                            "transposed convolution", &conv->gathered));
        if (d->training) {
            DG_TRY(onednn_alloc(&backend->head, d->cin * conv->outputs * (int64_t)sizeof(float), "weight gradient",
                                &block));
            conv->weight_result = block;
        }
    }
    return DG_OK;
}

dg_status onednn_conv_create(dg_backend *head, const dg_conv_desc *desc, dg_conv **out)
{
    onednn_backend *backend = onednn_of(head);
    dg_conv *conv;
    *out = NULL;
    DG_TRY(dg_arguments_conv_desc(desc));
    DG_TRY(DG_NEW(&conv, 1, "convolution"));
    conv->desc = *desc;
    conv->planes = desc->kind == DG_CONV_TRANSPOSE2 ? 8 : desc->kernel == 3 ? TAPS : 1;
    conv->rows = desc->cin;
    conv->columns = desc->cout;
    conv->outputs = desc->kind == DG_CONV_TRANSPOSE2 ? 8 * desc->cout : desc->cout;
    conv->thin = desc->kernel == 1 && desc->cout <= DG_THIN;
    conv->narrow = is_narrow(desc);
    conv->own_product = uses_own_product(onednn_of(head), desc);
    onednn_use_threads(backend);
    dg_status status = desc->kind == DG_CONV_STRIDE2 ? onednn_strided_create(head, conv) : create_parts(backend, conv);
    if (status != DG_OK) {
        onednn_conv_destroy(head, conv);
        return status;
    }
    *out = conv;
    return DG_OK;
}

static void destroy_packed(dg_backend *head, onednn_packed *packed)
{
    if (packed->layout != NULL) dnnl_memory_desc_destroy(packed->layout);
    onednn_free(head, packed->data);
    dg_free(&packed->plane);
    dg_free(&packed->row);
    dg_free(&packed->column);
}

void onednn_conv_destroy(dg_backend *head, dg_conv *conv)
{
    if (conv == NULL) return;
    onednn_strided_destroy(head, &conv->strided);
    destroy_packed(head, &conv->forward);
    destroy_packed(head, &conv->data);
    onednn_free(head, conv->bias);
    onednn_free(head, conv->thin_weights);
    onednn_free(head, conv->narrow_weights);
    onednn_free(head, conv->gathered);
    onednn_free(head, conv->weight_result);
    onednn_free(head, conv->padded_x);
    onednn_free(head, conv->padded_dy);
    if (conv->weight_result_layout != NULL) dnnl_memory_desc_destroy(conv->weight_result_layout);
    dg_free(&conv->weight_plane);
    dg_free(&conv->weight_row);
    dg_free(&conv->weight_column);
    onednn_op_destroy(&conv->conv_forward);
    onednn_op_destroy(&conv->conv_data);
    onednn_op_destroy(&conv->conv_weights);
    onednn_op_destroy(&conv->product_forward);
    onednn_op_destroy(&conv->product_data);
    for (int i = 0; i < ONEDNN_PITCHES; i++) onednn_op_destroy(&conv->product_weights[i].op);
    dg_free(&conv);
}

dg_status onednn_conv_pack(dg_backend *head, dg_conv *conv, const float *w, const float *bias)
{
    onednn_backend *backend = onednn_of(head);
    if (conv->strided != NULL) return onednn_strided_pack(head, conv, w, bias);
    for (int64_t o = 0; o < conv->outputs; o++) conv->bias[o] = bias != NULL ? bias[o % conv->columns] : 0.0f;
    if (conv->thin) {
        for (int64_t i = 0; i < conv->rows; i++)
            for (int64_t o = 0; o < conv->columns; o++)
                conv->thin_weights[o * conv->rows + i] = w[i * conv->columns + o];
        return DG_OK;
    }
    if (conv->narrow)
        memcpy(conv->narrow_weights, w, (size_t)(conv->rows * conv->columns) * sizeof *w);
    else
        onednn_pack(backend, conv, &conv->forward, false, w);
    if (conv->desc.training) onednn_pack(backend, conv, &conv->data, conv->desc.kernel == 3, w);
    return DG_OK;
}

/* Voxels of the thin and transposed kinds, in ranges over the threads. */
typedef struct voxel_job {
    onednn_backend *backend;
    const dg_conv *conv;
    const dg_tensor *x, *dy;
    dg_tensor *y;
    onednn_split split;
    double *sums;
} voxel_job;

static void run_thin(void *context, int64_t item)
{
    const voxel_job *job = context;
    const int64_t v = item * job->split.part;
    job->backend->kernels->thin(dg_rows_at(job->x, v), job->conv->thin_weights, job->conv->bias,
                                (int)job->conv->columns, dg_rows_at(job->y, v), onednn_split_size(&job->split, item),
                                job->conv->rows);
}

void onednn_conv_rows(const onednn_backend *backend, const dg_conv *conv, dg_rows x, dg_rows y, int64_t count)
{
    if (conv->narrow) {
        backend->kernels->narrow(x, conv->narrow_weights, conv->bias, y, count, conv->rows, conv->columns);
        return;
    }
    const dg_product_rows from = {x.data, x.pitch, conv->rows}, to = {y.data, y.pitch, conv->columns};
    dg_product_amx_run(from, conv->forward.data, conv->bias, to, count);
}

static void run_rows(void *context, int64_t item)
{
    const voxel_job *job = context;
    const int64_t v = item * job->split.part;
    onednn_conv_rows(job->backend, job->conv, dg_rows_at(job->x, v), dg_rows_at(job->y, v),
                     onednn_split_size(&job->split, item));
}

static void run_thin_back(void *context, int64_t item)
{
    const voxel_job *job = context;
    const int64_t v = item * job->split.part;
    job->backend->kernels->thin_back(dg_rows_at(job->dy, v), job->conv->thin_weights, (int)job->conv->columns,
                                     dg_rows_at(job->y, v), job->conv->desc.accumulate_dx,
                                     onednn_split_size(&job->split, item), job->conv->rows);
}

static void run_thin_weights(void *context, int64_t item)
{
    const voxel_job *job = context;
    const int64_t v = item * job->split.part;
    job->backend->kernels->thin_weights(dg_rows_at(job->x, v), dg_rows_at(job->dy, v), (int)job->conv->columns,
                                        job->sums + item * job->conv->rows * job->conv->columns,
                                        onednn_split_size(&job->split, item), job->conv->rows);
}

static dg_status thin_weights(onednn_backend *backend, const dg_conv *conv, const dg_tensor *x, const dg_tensor *dy,
                              float *dw)
{
    voxel_job job = {
        .backend = backend, .conv = conv, .x = x, .dy = dy, .split = onednn_split_of(x->n * dg_tensor_voxels(x), 512)};
    const int64_t size = conv->rows * conv->columns;
    DG_TRY(onednn_scratch(backend, job.split.parts * size * (int64_t)sizeof(double), &job.sums));
    memset(job.sums, 0, (size_t)(job.split.parts * size) * sizeof(double));
    onednn_parallel(backend, job.split.parts, run_thin_weights, &job);
    for (int64_t i = 0; i < conv->rows; i++)
        for (int64_t o = 0; o < conv->columns; o++) {
            double sum = 0.0;
            for (int64_t part = 0; part < job.split.parts; part++) sum += job.sums[part * size + o * conv->rows + i];
            dw[i * conv->columns + o] += (float)sum;
        }
    return DG_OK;
}

/* Line `item` of the small side of a transposed convolution: between [voxel][8 cout] and the large tensor. */
static void shuffle_line(const voxel_job *job, int64_t item, bool scatter, dg_tensor *large)
{
    const dg_conv_desc *d = &job->conv->desc;
    const int64_t y = item % d->y, z = item / d->y % d->z, n = item / d->y / d->z;
    const dg_tensor small = {job->conv->gathered, d->dtype, 1, 1, 1, 1, job->conv->outputs, job->conv->outputs};
    for (int64_t x = 0; x < d->x; x++)
        for (int64_t t = 0; t < 8; t++) {
            dg_rows a = dg_rows_at(&small, item * d->x + x);
            a.data = (char *)a.data + (size_t)(t * d->cout) * dg_dtype_size(d->dtype);
            const int64_t voxel =
                ((n * 2 * d->z + 2 * z + (t >> 2)) * 2 * d->y + 2 * y + ((t >> 1) & 1)) * 2 * d->x + 2 * x + (t & 1);
            const dg_rows b = dg_rows_at(large, voxel);
            if (scatter)
                memcpy(b.data, a.data, (size_t)d->cout * dg_dtype_size(d->dtype));
            else
                memcpy(a.data, b.data, (size_t)d->cout * dg_dtype_size(d->dtype));
        }
}

static void run_scatter(void *context, int64_t item)
{
    const voxel_job *job = context;
    shuffle_line(job, item, true, job->y);
}

static void run_gather(void *context, int64_t item)
{
    const voxel_job *job = context;
    dg_tensor large = *job->dy;
    shuffle_line(job, item, false, &large);
}

static int64_t small_lines(const dg_conv *conv) { return conv->desc.n * conv->desc.z * conv->desc.y; }

static dg_status forward(onednn_backend *backend, dg_conv *conv, const dg_tensor *x, dg_tensor *y)
{
    if (conv->thin || conv->narrow || conv->own_product) {
        voxel_job job = {.backend = backend,
                         .conv = conv,
                         .x = x,
                         .y = y,
                         .split = onednn_split_of(x->n * dg_tensor_voxels(x), 512)};
        onednn_parallel(backend, job.split.parts, conv->thin ? run_thin : run_rows, &job);
        return DG_OK;
    }
    if (conv->own_forward.kind != ONEDNN_OWN_NONE)
        return onednn_own_run(backend, &conv->own_forward, x, &conv->forward, conv->bias, y);
    if (conv->desc.kernel == 3)
        return onednn_op_run(backend, &conv->conv_forward, x->data, conv->forward.data, conv->bias, y->data);
    if (conv->desc.kernel == 1) return onednn_product_forward(backend, conv, x->data, x->pitch, y->data, y->pitch);
    DG_TRY(onednn_product_forward(backend, conv, x->data, x->pitch, conv->gathered, conv->outputs));
    voxel_job job = {.conv = conv, .y = y};
    onednn_parallel(backend, small_lines(conv), run_scatter, &job);
    return DG_OK;
}

static dg_status backward_data(onednn_backend *backend, dg_conv *conv, const dg_tensor *dy, dg_tensor *dx)
{
    if (conv->thin) {
        voxel_job job = {.backend = backend,
                         .conv = conv,
                         .dy = dy,
                         .y = dx,
                         .split = onednn_split_of(dx->n * dg_tensor_voxels(dx), 512)};
        onednn_parallel(backend, job.split.parts, run_thin_back, &job);
        return DG_OK;
    }
    if (conv->own_data.kind != ONEDNN_OWN_NONE)
        return onednn_own_run(backend, &conv->own_data, dy, &conv->data, NULL, dx);
    if (conv->desc.kernel == 3)
        return onednn_op_run(backend, &conv->conv_data, dy->data, conv->data.data, NULL, dx->data);
    if (conv->desc.kernel == 1) return onednn_product_data(backend, conv, dy->data, dy->pitch, dx->data, dx->pitch);
    voxel_job job = {.conv = conv, .dy = dy};
    onednn_parallel(backend, small_lines(conv), run_gather, &job);
    return onednn_product_data(backend, conv, conv->gathered, conv->outputs, dx->data, dx->pitch);
}

/* dw[tap][cin][cout] += result[cin][tap][cout]. */
static void add_transposed(const dg_conv *conv, float *dw)
{
    for (int64_t t = 0; t < conv->planes; t++)
        for (int64_t i = 0; i < conv->rows; i++)
            for (int64_t o = 0; o < conv->columns; o++)
                dw[(t * conv->rows + i) * conv->columns + o] +=
                    conv->weight_result[i * conv->outputs + t * conv->columns + o];
}

static dg_status run_wgrad_amx(onednn_backend *backend, const dg_conv *conv, const dg_tensor *x, const dg_tensor *dy,
                               float *dw)
{
    void *scratch;
    DG_TRY(onednn_scratch(backend, conv->wgrad.scratch_bytes, &scratch));
    dg_wgrad_amx_run(&conv->wgrad, x->data, x->pitch, dy->data, dy->pitch, dw, scratch);
    return DG_OK;
}

static dg_status backward_weights(onednn_backend *backend, dg_conv *conv, const dg_tensor *x, const dg_tensor *dy,
                                  float *dw)
{
    if (conv->thin) return thin_weights(backend, conv, x, dy, dw);
    if (conv->own_weights) return run_wgrad_amx(backend, conv, x, dy, dw);
    if (conv->desc.kernel == 3) {
        const bool padded = pads_planes(&conv->desc);
        if (padded) pad_planes(&conv->desc, x, conv->padded_x);
        if (padded) pad_planes(&conv->desc, dy, conv->padded_dy);
        DG_TRY(onednn_op_run(backend, &conv->conv_weights, padded ? conv->padded_x : x->data, conv->weight_result, NULL,
                             padded ? conv->padded_dy : dy->data));
        onednn_unpack_add(backend, conv, conv->weight_result, conv->weight_plane, conv->weight_row, conv->weight_column,
                          dw);
        return DG_OK;
    }
    if (conv->desc.kernel == 1)
        return onednn_product_weights(backend, conv, x->data, x->pitch, dy->data, dy->pitch, dw);
    voxel_job job = {.conv = conv, .dy = dy};
    onednn_parallel(backend, small_lines(conv), run_gather, &job);
    memset(conv->weight_result, 0, (size_t)(conv->rows * conv->outputs) * sizeof(float));
    DG_TRY(
        onednn_product_weights(backend, conv, x->data, x->pitch, conv->gathered, conv->outputs, conv->weight_result));
    add_transposed(conv, dw);
    return DG_OK;
}

dg_status onednn_conv_forward(dg_backend *head, dg_conv *conv, const dg_tensor *x, dg_tensor *y)
{
    DG_TRY(dg_arguments_conv(&conv->desc, x, y));
    if (conv->strided != NULL) return onednn_strided_forward(head, conv, x, y);
    onednn_use_threads(onednn_of(head));
    const double start = onednn_seconds();
    dg_status status = forward(onednn_of(head), conv, x, y);
    head->conv_seconds += onednn_seconds() - start;
    return status;
}

dg_status onednn_conv_backward_data(dg_backend *head, dg_conv *conv, const dg_tensor *dy, dg_tensor *dx)
{
    DG_TRY(dg_arguments_conv_backward(&conv->desc, dx, dy));
    if (conv->strided != NULL) return onednn_strided_backward_data(head, conv, dy, dx);
    onednn_use_threads(onednn_of(head));
    const double start = onednn_seconds();
    dg_status status = backward_data(onednn_of(head), conv, dy, dx);
    head->conv_seconds += onednn_seconds() - start;
    return status;
}

dg_status onednn_conv_backward_weights(dg_backend *head, dg_conv *conv, const dg_tensor *x, const dg_tensor *dy,
                                       float *dw, float *db)
{
    DG_TRY(dg_arguments_conv_backward(&conv->desc, x, dy));
    if (conv->strided != NULL) return onednn_strided_backward_weights(head, conv, x, dy, dw, db);
    onednn_use_threads(onednn_of(head));
    const double start = onednn_seconds();
    dg_status status = backward_weights(onednn_of(head), conv, x, dy, dw);
    if (status == DG_OK && db != NULL) status = onednn_add_column_sums(onednn_of(head), dy, db);
    head->conv_seconds += onednn_seconds() - start;
    return status;
}
