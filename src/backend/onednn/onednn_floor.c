/* onednn_floor.c - see dg_conv_floor.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_conv_floor.h"
#include "onednn_impl.h"

#include <math.h>

/* A primitive with memory of the library's own for each argument. */
typedef struct bare {
    dnnl_primitive_t primitive;
    dnnl_memory_t memory[3];
    dnnl_exec_arg_t args[3];
} bare;

static void destroy_bare(bare *b)
{
    for (int i = 0; i < 3; i++)
        if (b->memory[i] != NULL) dnnl_memory_destroy(b->memory[i]);
    if (b->primitive != NULL) dnnl_primitive_destroy(b->primitive);
}

static dg_status make_bare(onednn_backend *backend, dnnl_primitive_desc_t desc, const dnnl_query_t query[3],
                           const int arg[3], bare *b)
{
    DG_DNNL(dnnl_primitive_create(&b->primitive, desc));
    for (int i = 0; i < 3; i++) {
        DG_DNNL(dnnl_memory_create(&b->memory[i], dnnl_primitive_desc_query_md(desc, query[i], 0), backend->engine,
                                   DNNL_MEMORY_ALLOCATE));
        b->args[i] = (dnnl_exec_arg_t){arg[i], b->memory[i]};
    }
    return DG_OK;
}

static dg_status time_bare(onednn_backend *backend, dnnl_primitive_desc_t desc, const dnnl_query_t query[3],
                           const int arg[3], int repeats, double *best)
{
    bare b = {0};
    dg_status status = make_bare(backend, desc, query, arg, &b);
    *best = INFINITY;
    for (int i = -1; i < repeats && status == DG_OK; i++) {
        const double start = onednn_seconds();
        dnnl_status_t done = dnnl_primitive_execute(b.primitive, backend->stream, 3, b.args);
        if (done == dnnl_success) done = dnnl_stream_wait(backend->stream);
        if (done != dnnl_success) status = DG_FAIL(DG_ERR_BACKEND, "oneDNN: execution gave status %d", (int)done);
        if (i >= 0) *best = fmin(*best, onednn_seconds() - start);
    }
    destroy_bare(&b);
    return status;
}

typedef struct floor_parts {
    dnnl_memory_desc_t src, weights, weights_f32, dst;
    dnnl_primitive_desc_t forward, data, gradient;
} floor_parts;

static dg_status describe(onednn_backend *backend, const dg_conv_desc *d, floor_parts *p)
{
    const dnnl_dims_t dims = {d->cout, d->cin, 3, 3, 3}, one = {1, 1, 1}, zero = {0, 0, 0};
    DG_DNNL(dg_dnnl_activation_desc(d->n, d->cin, d->z, d->y, d->x, d->dtype, &p->src));
    DG_DNNL(dg_dnnl_activation_desc(d->n, d->cout, d->z, d->y, d->x, d->dtype, &p->dst));
    DG_DNNL(dnnl_memory_desc_create_with_tag(&p->weights, 5, dims, dg_dnnl_type(d->dtype), dnnl_format_tag_any));
    DG_DNNL(dnnl_memory_desc_create_with_tag(&p->weights_f32, 5, dims, dnnl_f32, dnnl_format_tag_any));
    DG_DNNL(dg_dnnl_conv_forward(backend->engine, p->src, p->weights, NULL, p->dst, NULL, &p->forward));
    DG_DNNL(dnnl_convolution_backward_data_primitive_desc_create(&p->data, backend->engine, dnnl_convolution_direct,
                                                                 p->src, p->weights, p->dst, one, zero, one, one,
                                                                 p->forward, NULL));
    DG_DNNL(dg_dnnl_conv_weights(backend->engine, p->src, p->weights_f32, p->dst, p->forward, NULL, &p->gradient));
    return DG_OK;
}

static void release(floor_parts *p)
{
    dnnl_memory_desc_t desc[] = {p->src, p->weights, p->weights_f32, p->dst};
    dnnl_primitive_desc_t primitive[] = {p->forward, p->data, p->gradient};
    for (size_t i = 0; i < sizeof desc / sizeof desc[0]; i++)
        if (desc[i] != NULL) dnnl_memory_desc_destroy(desc[i]);
    for (size_t i = 0; i < sizeof primitive / sizeof primitive[0]; i++)
        if (primitive[i] != NULL) dnnl_primitive_desc_destroy(primitive[i]);
}

static dg_status time_all(onednn_backend *backend, const floor_parts *p, int repeats, dg_conv_times *out)
{
    const dnnl_query_t forward[] = {dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_dst_md};
    const dnnl_query_t data[] = {dnnl_query_diff_src_md, dnnl_query_weights_md, dnnl_query_diff_dst_md};
    const dnnl_query_t gradient[] = {dnnl_query_src_md, dnnl_query_diff_weights_md, dnnl_query_diff_dst_md};
    const int forward_args[] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST};
    const int data_args[] = {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST};
    const int gradient_args[] = {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST};
    DG_TRY(time_bare(backend, p->forward, forward, forward_args, repeats, &out->forward_s));
    DG_TRY(time_bare(backend, p->data, data, data_args, repeats, &out->data_s));
    return time_bare(backend, p->gradient, gradient, gradient_args, repeats, &out->weights_s);
}

dg_status dg_conv_floor(const dg_conv_desc *desc, int threads, int repeats, dg_conv_times *out)
{
    const dg_backend_options options = {.threads = threads};
    dg_backend *head;
    floor_parts parts = {0};
    if (desc->kind != DG_CONV_SAME || desc->kernel != 3)
        return DG_FAIL(DG_ERR_UNSUPPORTED, "the floor is measured for 3x3x3 convolutions alone");
    DG_TRY(dg_backend_create("onednn", &options, &head));
    onednn_use_threads(onednn_of(head));
    dg_status status = describe(onednn_of(head), desc, &parts);
    if (status == DG_OK) status = time_all(onednn_of(head), &parts, repeats, out);
    release(&parts);
    dg_backend_destroy(&head);
    return status;
}
