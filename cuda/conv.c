/* conv.c - the convolutions of the backend's table, over prepared cuDNN passes: weights are packed to cuDNN's layout,
 * channels that tensor cores cannot load (not a multiple of 16 bytes) go through zero-padded copies.
 * SPDX-License-Identifier: Apache-2.0 */
#include "conv_plan.h"
#include "plan_cache.h"

#include "dg_mem.h"

#include <stdlib.h>
#include <string.h>

enum { PITCHES_MAX = 4, VECTOR_BYTES = 16, CUDNN_BF16_VERSION = 91500 };

/* The inner or the outer tensor of a pass (conv_plan.h). */
typedef struct side {
    int64_t c, padded, size[3];
    void *copy; /* device [n,z,y,x,padded]; NULL until a tensor comes that cannot be used as it is */
} side;

/* A pass for each pair of pitches it was called with: slices of wider tensors are 1x1x1 inputs. */
typedef struct prepared {
    int64_t inner_pitch, outer_pitch, generation; /* of the choices that it was made by */
    conv_plan *plan;
    bool biased, accumulates; /* adds the bias, adds to its result */
} prepared;

struct dg_conv {
    dg_conv_desc desc;
    side inner, outer;
    dg_cuda_filter filter;
    void *packed;
    float *bias, *dw; /* bias [padded]; dw f32 in cuDNN's layout */
    bool has_bias;
    prepared pass[3][PITCHES_MAX];
    int passes[3];
};

static const int64_t workspace_limit = (int64_t)1 << 30;

static bool is_transposed(const dg_conv *conv) { return conv->desc.kind == DG_CONV_TRANSPOSE2; }
static bool is_strided(const dg_conv *conv) { return conv->desc.kind == DG_CONV_STRIDE2; }
static int64_t taps_of(const dg_conv_desc *d) { return (int64_t)d->kernel * d->kernel * d->kernel; }

/* ---- creation ------------------------------------------------------------------------------------------------------- */

const char *cuda_bf16_refused(void)
{
    return cudnnGetVersion() >= CUDNN_BF16_VERSION
               ? NULL
               : "bf16 3-D convolutions are wrong in it: install cuDNN 9.15 or newer, or choose dtype f32";
}

bool cuda_uses_tf32(void)
{
    const char *override = getenv("NVIDIA_TF32_OVERRIDE");
    return override == NULL || strcmp(override, "0") != 0;
}

static side make_side(const dg_conv_desc *d, int64_t c, int64_t up, int64_t down)
{
    const int64_t vector = VECTOR_BYTES / (int64_t)dg_dtype_size(d->dtype);
    return (side){.c = c,
                  .padded = (c + vector - 1) / vector * vector,
                  .size = {up * d->z / down, up * d->y / down, up * d->x / down}};
}

dg_status cuda_conv_create(dg_backend *backend, const dg_conv_desc *desc, dg_conv **out)
{
    dg_conv *conv = NULL;
    dg_status status;
    *out = NULL;
    DG_TRY(dg_arguments_conv_desc(desc));
    if (desc->dtype == DG_BF16 && cuda_bf16_refused() != NULL)
        return DG_FAIL(DG_ERR_UNSUPPORTED, "cuDNN %zu: %s", cudnnGetVersion(), cuda_bf16_refused());
    DG_TRY(DG_NEW(&conv, 1, "convolution"));
    conv->desc = *desc;
    const bool transposed = is_transposed(conv);
    *(transposed ? &conv->outer : &conv->inner) = make_side(desc, desc->cin, 1, 1);
    *(transposed ? &conv->inner : &conv->outer) =
        make_side(desc, desc->cout, transposed ? 2 : 1, is_strided(conv) ? 2 : 1);
    conv->filter = (dg_cuda_filter){.taps = (int)taps_of(desc),
                                    .outer_c = (int)conv->outer.c,
                                    .inner_c = (int)conv->inner.c,
                                    .outer_padded = (int)conv->outer.padded,
                                    .inner_padded = (int)conv->inner.padded,
                                    .stride_outer = transposed ? (int)desc->cout : 1,
                                    .stride_inner = transposed ? 1 : (int)desc->cout};
    const int64_t weights = taps_of(desc) * conv->outer.padded * conv->inner.padded;
    DG_TRY_GOTO(status,
                cuda_alloc(backend, weights * (int64_t)dg_dtype_size(desc->dtype), "packed weights", &conv->packed),
                done);
    void *memory;
    DG_TRY_GOTO(status, cuda_alloc(backend, (desc->cout + VECTOR_BYTES) * (int64_t)sizeof(float), "bias", &memory),
                done);
    conv->bias = memory;
    if (desc->training) {
        DG_TRY_GOTO(status, cuda_alloc(backend, weights * (int64_t)sizeof(float), "weight gradient", &memory), done);
        conv->dw = memory;
    }
    *out = conv;
    conv = NULL;
done:
    cuda_conv_destroy(backend, conv);
    return status;
}

void cuda_conv_destroy(dg_backend *backend, dg_conv *conv)
{
    if (conv == NULL) return;
    for (int p = 0; p < 3; p++)
        for (int i = 0; i < conv->passes[p]; i++) conv_plan_destroy(&conv->pass[p][i].plan);
    cuda_free(backend, conv->inner.copy);
    cuda_free(backend, conv->outer.copy);
    cuda_free(backend, conv->packed);
    cuda_free(backend, conv->bias);
    cuda_free(backend, conv->dw);
    dg_free(&conv);
}

dg_status cuda_conv_pack(dg_backend *backend, dg_conv *conv, const float *w, const float *bias)
{
    const cudaStream_t stream = cuda_of(backend)->stream;
    conv->has_bias = bias != NULL;
    DG_CUDA(dg_cuda_pack_weights(stream, w, &conv->filter, conv->desc.dtype, conv->packed));
    if (bias != NULL)
        DG_CUDA(cudaMemcpyAsync(conv->bias, bias, (size_t)conv->desc.cout * sizeof(float), cudaMemcpyDeviceToDevice,
                                stream));
    return DG_OK;
}

/* ---- preparing a pass ----------------------------------------------------------------------------------------------- */

/* Rows that tensor cores can load: whole and aligned vectors. */
static bool is_usable(const dg_tensor *t)
{
    const int64_t bytes = (int64_t)dg_dtype_size(t->dtype);
    return t->c * bytes % VECTOR_BYTES == 0 && t->pitch * bytes % VECTOR_BYTES == 0 &&
           (uintptr_t)t->data % VECTOR_BYTES == 0;
}

/* The tensor as cuDNN shall see it: itself, or its padded copy, whose padding stays zero. */
static dg_status view_side(dg_backend *backend, side *s, const dg_tensor *t, dg_tensor *view)
{
    *view = *t;
    if (is_usable(t)) return DG_OK;
    if (s->copy == NULL)
        DG_TRY(cuda_alloc(backend, t->n * dg_tensor_voxels(t) * s->padded * (int64_t)dg_dtype_size(t->dtype),
                          "padded channels of a convolution", &s->copy));
    view->data = s->copy;
    view->pitch = s->padded;
    return DG_OK;
}

static dg_status load_side(dg_backend *backend, side *s, const dg_tensor *t, dg_tensor *view)
{
    DG_TRY(view_side(backend, s, t, view));
    if (view->data == t->data) return DG_OK;
    return dg_cuda_check(dg_cuda_copy(cuda_of(backend)->stream, t, view, false), "copy to padded channels");
}

static dg_status store_side(dg_backend *backend, const dg_tensor *view, const dg_tensor *t, bool accumulate)
{
    if (view->data == t->data) return DG_OK;
    return dg_cuda_check(dg_cuda_copy(cuda_of(backend)->stream, view, t, accumulate), "copy from padded channels");
}

static conv_geometry geometry_of(const dg_backend *backend, const dg_conv *conv, conv_pass pass, int64_t inner_pitch,
                                 int64_t outer_pitch)
{
    const dg_conv_desc *d = &conv->desc;
    conv_geometry g = {.pass = pass,
                       .dtype = d->dtype,
                       .n = d->n,
                       .inner_c = conv->inner.padded,
                       .outer_c = conv->outer.padded,
                       .inner_pitch = inner_pitch,
                       .outer_pitch = outer_pitch,
                       .kernel = d->kernel,
                       .stride = is_transposed(conv) || is_strided(conv) ? 2 : 1,
                       .pad = is_transposed(conv) ? 0
                              : is_strided(conv)  ? 1
                                                  : d->kernel / 2,
                       .deterministic = backend->options.deterministic};
    for (int a = 0; a < 3; a++) {
        g.inner[a] = conv->inner.size[a];
        g.outer[a] = conv->outer.size[a];
    }
    return g;
}

/* Makes the plan of a geometry by the choice that is remembered, or remembers the new one. */
static dg_status make_plan(cuda_backend *backend, const conv_geometry *g, conv_plan **plan)
{
    conv_choice choice;
    DG_TRY(conv_plan_create(backend->cudnn, g, workspace_limit, plan_cache_find(backend->plans, g), &choice, plan));
    return plan_cache_put(backend->plans, g, &choice);
}

/* Finds or makes the pass for these pitches. `bias`: it should add the bias, if an engine can. Passes made by choices that
 * rank 0 has overruled since are made anew. */
static dg_status prepare(dg_backend *backend, dg_conv *conv, conv_pass pass, int64_t inner_pitch, int64_t outer_pitch,
                         bool bias, bool accumulate, const prepared **out)
{
    const int64_t generation = plan_cache_generation(cuda_of(backend)->plans);
    for (int i = 0; i < conv->passes[pass]; i++) {
        prepared *p = &conv->pass[pass][i];
        *out = p;
        if (p->generation != generation) {
            for (int k = i; k < conv->passes[pass]; k++) conv_plan_destroy(&conv->pass[pass][k].plan);
            conv->passes[pass] = i;
        } else if (p->inner_pitch == inner_pitch && p->outer_pitch == outer_pitch && p->accumulates == accumulate &&
                   (bias || !p->biased)) {
            return DG_OK;
        }
    }
    if (conv->passes[pass] == PITCHES_MAX)
        return DG_FAIL(DG_ERR_INTERNAL, "convolution of %lld to %lld channels: called with more than %d pitches",
                       (long long)conv->desc.cin, (long long)conv->desc.cout, PITCHES_MAX);
    prepared *p = &conv->pass[pass][conv->passes[pass]];
    conv_geometry g = geometry_of(backend, conv, pass, inner_pitch, outer_pitch);
    g.accumulate = accumulate;
    g.bias = bias;
    DG_TRY(make_plan(cuda_of(backend), &g, &p->plan));
    if (p->plan == NULL && bias) {
        g.bias = false;
        DG_TRY(make_plan(cuda_of(backend), &g, &p->plan));
    }
    if (p->plan == NULL)
        return DG_FAIL(DG_ERR_UNSUPPORTED,
                       "cuDNN has no engine for the convolution of %lld to %lld channels, kernel %d, %s%s; try another "
                       "dtype or channel count",
                       (long long)conv->desc.cin, (long long)conv->desc.cout, conv->desc.kernel,
                       conv->desc.dtype == DG_BF16 ? "bf16" : "f32", g.deterministic ? ", deterministic" : "");
    p->inner_pitch = inner_pitch;
    p->outer_pitch = outer_pitch;
    p->generation = plan_cache_generation(cuda_of(backend)->plans);
    p->biased = g.bias;
    p->accumulates = accumulate;
    conv->passes[pass]++;
    *out = p;
    return DG_OK;
}

static dg_status run(dg_backend *backend, const prepared *p, const dg_tensor *inner, const dg_tensor *outer,
                     void *filter, const float *bias)
{
    void *workspace = NULL;
    const int64_t bytes = conv_plan_workspace(p->plan);
    if (bytes > 0) DG_TRY(cuda_scratch(cuda_of(backend), bytes, &workspace));
    return conv_plan_run(cuda_of(backend)->cudnn, p->plan, inner->data, outer->data, filter, p->biased ? bias : NULL,
                         workspace);
}

/* ---- the operations ------------------------------------------------------------------------------------------------- */

dg_status cuda_conv_forward(dg_backend *backend, dg_conv *conv, const dg_tensor *x, dg_tensor *y)
{
    const bool transposed = is_transposed(conv);
    side *in = transposed ? &conv->outer : &conv->inner, *result = transposed ? &conv->inner : &conv->outer;
    const prepared *p = NULL;
    dg_tensor from, to;
    DG_TRY(dg_arguments_conv(&conv->desc, x, y));
    DG_TRY(load_side(backend, in, x, &from));
    DG_TRY(view_side(backend, result, y, &to));
    const dg_tensor *inner = transposed ? &to : &from, *outer = transposed ? &from : &to;
    DG_TRY(prepare(backend, conv, transposed ? CONV_DATA : CONV_FORWARD, inner->pitch, outer->pitch, conv->has_bias,
                   false, &p));
    DG_TRY(run(backend, p, inner, outer, conv->packed, conv->bias));
    DG_TRY(store_side(backend, &to, y, false));
    if (conv->has_bias && !p->biased) DG_CUDA(dg_cuda_add_bias(cuda_of(backend)->stream, y, conv->bias));
    return DG_OK;
}

dg_status cuda_conv_backward_data(dg_backend *backend, dg_conv *conv, const dg_tensor *dy, dg_tensor *dx)
{
    const bool transposed = is_transposed(conv), accumulate = conv->desc.accumulate_dx;
    side *in = transposed ? &conv->inner : &conv->outer, *result = transposed ? &conv->outer : &conv->inner;
    const prepared *p = NULL;
    dg_tensor from, to;
    DG_TRY(dg_arguments_conv_backward(&conv->desc, dx, dy));
    DG_TRY(load_side(backend, in, dy, &from));
    DG_TRY(view_side(backend, result, dx, &to));
    const dg_tensor *inner = transposed ? &from : &to, *outer = transposed ? &to : &from;
    DG_TRY(prepare(backend, conv, transposed ? CONV_FORWARD : CONV_DATA, inner->pitch, outer->pitch, false,
                   accumulate && is_usable(dx), &p));
    DG_TRY(run(backend, p, inner, outer, conv->packed, NULL));
    return store_side(backend, &to, dx, accumulate);
}

dg_status cuda_conv_backward_weights(dg_backend *backend, dg_conv *conv, const dg_tensor *x, const dg_tensor *dy,
                                     float *dw, float *db)
{
    const bool transposed = is_transposed(conv);
    const cudaStream_t stream = cuda_of(backend)->stream;
    const prepared *p = NULL;
    dg_tensor inner, outer;
    float *sums;
    DG_TRY(dg_arguments_conv_backward(&conv->desc, x, dy));
    DG_TRY(load_side(backend, &conv->inner, transposed ? dy : x, &inner));
    DG_TRY(load_side(backend, &conv->outer, transposed ? x : dy, &outer));
    DG_TRY(prepare(backend, conv, CONV_WEIGHTS, inner.pitch, outer.pitch, false, false, &p));
    DG_TRY(run(backend, p, &inner, &outer, conv->dw, NULL));
    DG_CUDA(dg_cuda_unpack_add_weights(stream, conv->dw, &conv->filter, dw));
    if (db == NULL) return DG_OK;
    DG_TRY(cuda_scratch(cuda_of(backend), dg_cuda_norm_scratch(dy->n, dy->c) * (int64_t)sizeof(float), &sums));
    DG_CUDA(dg_cuda_column_sums(stream, dy, db, sums));
    return DG_OK;
}
