/* onednn_own.c - own kernels of 3x3x3 convolutions behind one face. SPDX-License-Identifier: Apache-2.0 */
#include "conv_impl.h"

enum { TAPS = 27 };

void onednn_own_plan(const onednn_backend *backend, const dg_conv_desc *d, bool data, onednn_own *own)
{
    const int64_t cin = data ? d->cout : d->cin, cout = data ? d->cin : d->cout;
    const bool accumulate = data && d->accumulate_dx;
    const int threads = backend->head.options.threads;
    own->kind = ONEDNN_OWN_NONE;
    if (!backend->amx || d->dtype != DG_BF16 || d->kernel != 3) return;
    dg_conv_amx_plan_make(d->n, d->z, d->y, d->x, cin, cout, accumulate, threads, &own->lines);
    dg_conv_deep_plan_make(d->n, d->z, d->y, d->x, cin, cout, accumulate, threads, &own->deep);
    if (dg_conv_amx_suits(&own->lines))
        own->kind = ONEDNN_OWN_LINES;
    else if (dg_conv_deep_suits(&own->deep))
        own->kind = ONEDNN_OWN_DEEP;
}

static int64_t plane_of(const onednn_own *own, int64_t zy)
{
    return own->kind == ONEDNN_OWN_DEEP ? dg_conv_deep_plane(&own->deep, zy) : dg_conv_amx_plane(&own->lines, zy);
}

static int64_t input_of(const onednn_own *own, int64_t tap_x, int64_t input)
{
    return own->kind == ONEDNN_OWN_DEEP ? dg_conv_deep_input(&own->deep, tap_x, input)
                                        : dg_conv_amx_input(&own->lines, tap_x, input);
}

static int64_t output_of(const onednn_own *own, int64_t output)
{
    return own->kind == ONEDNN_OWN_DEEP ? dg_conv_deep_output(&own->deep, output)
                                        : dg_conv_amx_output(&own->lines, output);
}

dg_status onednn_own_create(onednn_backend *backend, const onednn_own *own, bool data, onednn_packed *packed)
{
    const bool deep = own->kind == ONEDNN_OWN_DEEP;
    const int64_t cin = own->lines.cin, cout = own->lines.cout;
    int64_t **input = data ? &packed->column : &packed->row, **output = data ? &packed->row : &packed->column;
    void *unused;
    DG_TRY(dg_alloc(&packed->plane, TAPS, sizeof *packed->plane, "weight layout"));
    DG_TRY(dg_alloc(input, (size_t)(3 * cin), sizeof **input, "weight layout"));
    DG_TRY(dg_alloc(output, (size_t)cout, sizeof **output, "weight layout"));
    for (int64_t t = 0; t < TAPS; t++) packed->plane[t] = plane_of(own, t / 3);
    for (int64_t i = 0; i < 3 * cin; i++) (*input)[i] = input_of(own, i / cin, i % cin);
    for (int64_t o = 0; o < cout; o++) (*output)[o] = output_of(own, o);
    *(data ? &packed->column_step : &packed->row_step) = cin;
    DG_TRY(onednn_scratch(backend, deep ? own->deep.scratch_bytes : own->lines.scratch_bytes, &unused));
    return onednn_alloc(&backend->head, deep ? own->deep.weight_bytes : own->lines.weight_bytes, "packed weights",
                        &packed->data);
}

dg_status onednn_own_product_create(onednn_backend *backend, const dg_conv *conv, onednn_packed *packed)
{
    const int64_t cin = conv->desc.cin, cout = conv->desc.cout;
    DG_TRY(dg_alloc(&packed->plane, 1, sizeof *packed->plane, "weight layout"));
    DG_TRY(dg_alloc(&packed->row, (size_t)cin, sizeof *packed->row, "weight layout"));
    DG_TRY(dg_alloc(&packed->column, (size_t)cout, sizeof *packed->column, "weight layout"));
    packed->plane[0] = 0;
    for (int64_t i = 0; i < cin; i++) packed->row[i] = dg_product_amx_input(i);
    for (int64_t o = 0; o < cout; o++) packed->column[o] = dg_product_amx_output(cin, o);
    return onednn_alloc(&backend->head, dg_product_amx_bytes(cin, cout), "packed weights", &packed->data);
}

dg_status onednn_own_run(onednn_backend *backend, const onednn_own *own, const dg_tensor *x,
                         const onednn_packed *packed, const float *bias, dg_tensor *y)
{
    const bool deep = own->kind == ONEDNN_OWN_DEEP;
    void *scratch;
    DG_TRY(onednn_scratch(backend, deep ? own->deep.scratch_bytes : own->lines.scratch_bytes, &scratch));
    if (deep)
        dg_conv_deep_run(&own->deep, x->data, packed->data, bias, y->data, scratch);
    else
        dg_conv_amx_run(&own->lines, x->data, packed->data, bias, y->data, scratch);
    return DG_OK;
}
