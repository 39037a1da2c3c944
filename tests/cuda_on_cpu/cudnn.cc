/* cudnn.cc - the stand-in's convolutions and their descriptors. SPDX-License-Identifier: Apache-2.0 */
#include "cudnn.h"

#include "dg_bf16.h"
#include "standin.h"

#include <map>
#include <memory>
#include <stdlib.h>
#include <string.h>
#include <vector>

namespace {

struct attribute {
    cudnnBackendAttributeType_t type;
    int64_t count;
    std::vector<unsigned char> bytes;
};

size_t size_of(cudnnBackendAttributeType_t type)
{
    switch (type) {
    case CUDNN_TYPE_BOOLEAN: return sizeof(bool);
    case CUDNN_TYPE_INT64: return sizeof(int64_t);
    case CUDNN_TYPE_FLOAT: return sizeof(float);
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_BACKEND_DESCRIPTOR: return sizeof(void *);
    default: return sizeof(int);
    }
}
} // namespace

struct standin_cudnn {
    cudaStream_t stream;
};

struct standin_descriptor {
    cudnnBackendDescriptorType_t type;
    bool finalized = false;
    int engine = 0; /* of configurations and what is made of them */
    standin_descriptor *graph = nullptr;
    std::map<int, attribute> attributes;

    const attribute *find(int name) const
    {
        auto at = attributes.find(name);
        return at == attributes.end() ? nullptr : &at->second;
    }
    template <class T> T get(int name, T fallback, int64_t index = 0) const
    {
        const attribute *a = find(name);
        if (a == nullptr || index >= a->count) return fallback;
        T value;
        memcpy(&value, a->bytes.data() + (size_t)index * sizeof(T), sizeof value);
        return value;
    }
    standin_descriptor *child(int name, int64_t index = 0) const
    {
        return get<standin_descriptor *>(name, nullptr, index);
    }
};

namespace {

using descriptor = standin_descriptor;

/* What engines are like, in the order in which the heuristics name them. */
enum { ENGINE_GREEDY, ENGINE_NONDETERMINISTIC, ENGINE_BROKEN, ENGINE_GOOD, ENGINE_OTHER, ENGINES };
const int64_t greedy_workspace = (int64_t)1 << 40, good_workspace = 4096;
const int64_t first_index = 20; /* cuDNN's number of the first */
int64_t runs[ENGINES];

/* How an engine's knobs are set by the heuristics; others are refused. */
const int KNOBS = 2;
const cudnnBackendKnobType_t knob_types[KNOBS] = {CUDNN_KNOB_TYPE_TILE_SIZE, CUDNN_KNOB_TYPE_STAGES};
int64_t knob_value(int engine, int knob) { return 10 * engine + knob; }

/* What must be set before a descriptor is complete. */
struct need {
    cudnnBackendDescriptorType_t type;
    int name;
    cudnnBackendAttributeType_t kind;
    int64_t count;
};
const need needs[] = {
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1},
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1},
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 5},
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 5},
    {CUDNN_BACKEND_TENSOR_DESCRIPTOR, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 3},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 3},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 3},
    {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 3},
    {CUDNN_BACKEND_POINTWISE_DESCRIPTOR, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1},
    {CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR,
     CUDNN_TYPE_BACKEND_DESCRIPTOR, 1},
    {CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1},
    {CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1},
    {CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1},
    {CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1},
    {CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1},
    {CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1},
    {CUDNN_BACKEND_ENGINE_DESCRIPTOR, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1},
    {CUDNN_BACKEND_ENGINE_DESCRIPTOR, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1},
    {CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1},
    {CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1},
    {CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1},
    {CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1},
    {CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1},
};

/* The operands of a convolution operation, whichever pass it is. */
struct operands {
    int pass; /* 0 forward, 1 data, 2 filter */
    descriptor *convolution, *inner, *outer, *filter;
    float alpha, beta;
};
bool operands_of(const descriptor *op, operands *out)
{
    const struct {
        cudnnBackendDescriptorType_t type;
        int convolution, inner, outer, filter, alpha, beta;
    } passes[] = {
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
    };
    for (int p = 0; p < 3; p++) {
        if (op->type != passes[p].type) continue;
        *out = {p,
                op->child(passes[p].convolution),
                op->child(passes[p].inner),
                op->child(passes[p].outer),
                op->child(passes[p].filter),
                op->get<float>(passes[p].alpha, NAN),
                op->get<float>(passes[p].beta, NAN)};
        return true;
    }
    return false;
}

int64_t dim(const descriptor *t, int axis) { return t->get<int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS, 0, axis); }
int64_t stride(const descriptor *t, int axis) { return t->get<int64_t>(CUDNN_ATTR_TENSOR_STRIDES, 0, axis); }
int type_of(const descriptor *t) { return t->get<int>(CUDNN_ATTR_TENSOR_DATA_TYPE, -1); }

/* Channels-last, and what a tensor-core engine asks for: 16-byte rows. */
bool tensor_is_usable(const descriptor *t)
{
    const int64_t bytes = type_of(t) == CUDNN_DATA_BFLOAT16 ? 2 : 4;
    return stride(t, 1) == 1 && dim(t, 1) * bytes % 16 == 0 && stride(t, 4) * bytes % 16 == 0 && stride(t, 4) >= dim(t, 1);
}

/* Do shapes, types and geometry of a convolution fit each other? */
bool convolution_fits(const operands &o)
{
    if (!o.convolution || !o.inner || !o.outer || !o.filter || o.alpha != 1 || !(o.beta == 0 || o.beta == 1)) return false;
    const descriptor *c = o.convolution;
    if (c->get<int>(CUDNN_ATTR_CONVOLUTION_CONV_MODE, -1) != CUDNN_CROSS_CORRELATION) return false;
    if (c->get<int>(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, -1) != CUDNN_DATA_FLOAT) return false;
    bool fits = dim(o.inner, 0) == dim(o.outer, 0) && dim(o.filter, 0) == dim(o.outer, 1) && dim(o.filter, 1) == dim(o.inner, 1);
    for (int a = 0; a < 3; a++) {
        const int64_t s = c->get<int64_t>(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, 0, a);
        const int64_t pads = c->get<int64_t>(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, 0, a) +
                             c->get<int64_t>(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, 0, a);
        fits = fits && s > 0 && dim(o.outer, 2 + a) == (dim(o.inner, 2 + a) + pads - dim(o.filter, 2 + a)) / s + 1;
    }
    const descriptor *source = o.pass == 1 ? o.outer : o.inner, *result = o.pass == 1 ? o.inner : o.outer;
    const bool is_virtual = result->get<bool>(CUDNN_ATTR_TENSOR_IS_VIRTUAL, false);
    fits = fits && (is_virtual || type_of(o.inner) == type_of(o.outer));
    fits = fits && (o.pass == 2 || type_of(o.filter) == type_of(source));
    return fits && tensor_is_usable(o.inner) && tensor_is_usable(o.outer) && tensor_is_usable(o.filter);
}

bool operation_is_complete(const descriptor *d)
{
    operands o;
    if (operands_of(d, &o)) {
        for (descriptor *part : {o.convolution, o.inner, o.outer, o.filter})
            if (part == nullptr || !part->finalized) return false;
        return convolution_fits(o);
    }
    if (d->type != CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR) return true;
    const descriptor *x = d->child(CUDNN_ATTR_OPERATION_POINTWISE_XDESC);
    const descriptor *b = d->child(CUDNN_ATTR_OPERATION_POINTWISE_BDESC);
    const descriptor *y = d->child(CUDNN_ATTR_OPERATION_POINTWISE_YDESC);
    return x->finalized && b->finalized && y->finalized && dim(b, 1) == dim(y, 1) && dim(x, 1) == dim(y, 1);
}

/* As tensor cores round f32 operands, with DG_STANDIN_TF32=1 and unless NVIDIA_TF32_OVERRIDE=0. */
float tf32(float value)
{
    static const bool rounds = [] {
        const char *wanted = getenv("DG_STANDIN_TF32"), *forbidden = getenv("NVIDIA_TF32_OVERRIDE");
        return wanted != nullptr && strcmp(wanted, "1") == 0 && (forbidden == nullptr || strcmp(forbidden, "0") != 0);
    }();
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0xfffu + ((bits >> 13) & 1u)) & ~0x1fffu;
    if (rounds) memcpy(&value, &bits, sizeof bits);
    return value;
}
double operand(const void *data, int type, int64_t at)
{
    return type == CUDNN_DATA_BFLOAT16 ? dg_bf16_to_f32(((const dg_bf16 *)data)[at]) : tf32(((const float *)data)[at]);
}
double read(const void *data, int type, int64_t at)
{
    return type == CUDNN_DATA_BFLOAT16 ? dg_bf16_to_f32(((const dg_bf16 *)data)[at]) : ((const float *)data)[at];
}
void write(void *data, int type, int64_t at, double value)
{
    if (type == CUDNN_DATA_BFLOAT16)
        ((dg_bf16 *)data)[at] = dg_bf16_from_f32((float)value);
    else
        ((float *)data)[at] = (float)value;
}

/* A tensor in double, dense and channels-last [n][z][y][x][c] (a filter: [outer][taps][inner]). */
struct volume {
    int64_t n, z, y, x, c;
    std::vector<double> value;
    double *row(int64_t i, int64_t iz, int64_t iy, int64_t ix) { return &value[(size_t)((((i * z + iz) * y + iy) * x + ix) * c)]; }
};
int64_t element(const descriptor *t, int64_t i, int64_t c, int64_t z, int64_t y, int64_t x)
{
    return i * stride(t, 0) + c * stride(t, 1) + z * stride(t, 2) + y * stride(t, 3) + x * stride(t, 4);
}
volume empty(const descriptor *t)
{
    volume v = {dim(t, 0), dim(t, 2), dim(t, 3), dim(t, 4), dim(t, 1), {}};
    v.value.assign((size_t)(v.n * v.z * v.y * v.x * v.c), 0.0);
    return v;
}
template <class F> void each_row(const volume &v, F visit)
{
    for (int64_t i = 0; i < v.n; i++)
        for (int64_t z = 0; z < v.z; z++)
            for (int64_t y = 0; y < v.y; y++)
                for (int64_t x = 0; x < v.x; x++) visit(i, z, y, x);
}
volume fetch(const descriptor *t, const void *data)
{
    volume v = empty(t);
    const int type = type_of(t);
    each_row(v, [&](int64_t i, int64_t z, int64_t y, int64_t x) {
        const int64_t at = element(t, i, 0, z, y, x);
        double *row = v.row(i, z, y, x);
        for (int64_t c = 0; c < v.c; c++) row[c] = operand(data, type, at + c);
    });
    return v;
}
void put(volume &v, const descriptor *t, void *data, float beta, const float *bias)
{
    const int type = type_of(t);
    each_row(v, [&](int64_t i, int64_t z, int64_t y, int64_t x) {
        const int64_t at = element(t, i, 0, z, y, x);
        const double *row = v.row(i, z, y, x);
        for (int64_t c = 0; c < v.c; c++)
            write(data, type, at + c,
                  row[c] + (bias != nullptr ? bias[c] : 0.0) + (beta != 0 ? read(data, type, at + c) : 0.0));
    });
}

/* Visits every pair of an outer voxel and a tap that reads an inner voxel. */
template <class F> void each_pair(const descriptor *convolution, volume &inner, volume &outer, volume &filter, F visit)
{
    int64_t s[3], p[3];
    for (int a = 0; a < 3; a++) {
        s[a] = convolution->get<int64_t>(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, 1, a);
        p[a] = convolution->get<int64_t>(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, 0, a);
    }
    each_row(outer, [&](int64_t i, int64_t z, int64_t y, int64_t x) {
        for (int64_t kz = 0; kz < filter.z; kz++)
            for (int64_t ky = 0; ky < filter.y; ky++)
                for (int64_t kx = 0; kx < filter.x; kx++) {
                    const int64_t iz = z * s[0] + kz - p[0], iy = y * s[1] + ky - p[1], ix = x * s[2] + kx - p[2];
                    if (iz < 0 || iy < 0 || ix < 0 || iz >= inner.z || iy >= inner.y || ix >= inner.x) continue;
                    visit(inner.row(i, iz, iy, ix), outer.row(i, z, y, x), filter.row(0, kz, ky, kx));
                }
    });
}

void convolve(const operands &o, void *inner_data, void *outer_data, void *filter_data, const descriptor *target,
              const float *bias, double noise)
{
    volume inner = o.pass == 1 ? empty(o.inner) : fetch(o.inner, inner_data);
    volume outer = o.pass == 0 ? empty(o.outer) : fetch(o.outer, outer_data);
    volume filter = o.pass == 2 ? empty(o.filter) : fetch(o.filter, filter_data);
    const int64_t step = filter.z * filter.y * filter.x * filter.c; /* from one outer channel to the next */
    const int64_t in_c = inner.c, out_c = outer.c;
    const int pass = o.pass;
    each_pair(o.convolution, inner, outer, filter, [=](double *in, double *out, double *w) {
        for (int64_t k = 0; k < out_c; k++) {
            double *row = w + k * step, sum = 0;
            if (pass == 0)
                for (int64_t c = 0; c < in_c; c++) sum += in[c] * row[c];
            else if (pass == 1)
                for (int64_t c = 0; c < in_c; c++) in[c] += out[k] * row[c];
            else
                for (int64_t c = 0; c < in_c; c++) row[c] += out[k] * in[c];
            out[k] += sum;
        }
    });
    for (double &v : pass == 0 ? outer.value : pass == 1 ? inner.value : filter.value) v *= noise;
    if (pass == 0) put(outer, target, outer_data, o.beta, bias);
    if (pass == 1) put(inner, target, inner_data, o.beta, bias);
    if (pass == 2) put(filter, o.filter, filter_data, o.beta, nullptr);
}

/* Queued work may outlive the descriptors it was made from. */
struct operands_copy {
    descriptor part[5]; /* convolution, inner, outer, filter, target */
    operands o;
    operands_copy(const operands &from, const descriptor *target)
        : part{*from.convolution, *from.inner, *from.outer, *from.filter, *target}, o(from)
    {
        o.convolution = &part[0];
        o.inner = &part[1];
        o.outer = &part[2];
        o.filter = &part[3];
    }
};

void *pointer_of(const descriptor *pack, const descriptor *tensor)
{
    const attribute *ids = pack->find(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
    const int64_t wanted = tensor->get<int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID, -1);
    for (int64_t i = 0; ids != nullptr && i < ids->count; i++)
        if (pack->get<int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, -2, i) == wanted)
            return pack->get<void *>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, nullptr, i);
    return nullptr;
}

size_t bytes_of(const descriptor *t)
{
    int64_t last = 0;
    for (int a = 0; a < 5; a++) last += (dim(t, a) - 1) * stride(t, a);
    return (size_t)(last + 1) * (type_of(t) == CUDNN_DATA_BFLOAT16 ? 2 : 4);
}
bool is_there(const descriptor *t, const void *data)
{
    return data != nullptr && (uintptr_t)data % 16 == 0 && standin::is_device(data, bytes_of(t));
}
} // namespace

int64_t standin_engine_runs(int index)
{
    const int64_t engine = index - first_index;
    return engine >= 0 && engine < ENGINES ? runs[engine] : 0;
}

/* ---- the interface -------------------------------------------------------------------------------------------------- */

size_t cudnnGetVersion(void)
{
    const char *older = getenv("DG_STANDIN_CUDNN_VERSION");
    return older != nullptr ? (size_t)strtoul(older, nullptr, 10) : 91900;
}
const char *cudnnGetErrorString(cudnnStatus_t status)
{
    switch (status) {
    case CUDNN_STATUS_SUCCESS: return "CUDNN_STATUS_SUCCESS";
    case CUDNN_STATUS_BAD_PARAM: return "CUDNN_STATUS_BAD_PARAM";
    case CUDNN_STATUS_NOT_SUPPORTED: return "CUDNN_STATUS_NOT_SUPPORTED";
    case CUDNN_STATUS_EXECUTION_FAILED: return "CUDNN_STATUS_EXECUTION_FAILED";
    default: return "CUDNN_STATUS_NOT_INITIALIZED";
    }
}
cudnnStatus_t cudnnCreate(cudnnHandle_t *handle)
{
    *handle = new standin_cudnn{nullptr};
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle)
{
    delete handle;
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream)
{
    handle->stream = stream;
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *out)
{
    *out = new descriptor;
    (*out)->type = type;
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t d)
{
    delete d;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count, const void *value)
{
    if (d == nullptr || d->finalized || count < 1 || value == nullptr) return CUDNN_STATUS_BAD_PARAM;
    const unsigned char *bytes = (const unsigned char *)value;
    d->attributes[name] = {type, count, std::vector<unsigned char>(bytes, bytes + (size_t)count * size_of(type))};
    return CUDNN_STATUS_SUCCESS;
}

/* An engine by its number, and a configuration of one with knobs that suit it. */
static bool resolve_engine(descriptor *d)
{
    d->engine = (int)(d->get<int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, -1) - first_index);
    d->graph = d->child(CUDNN_ATTR_ENGINE_OPERATION_GRAPH);
    return d->engine >= 0 && d->engine < ENGINES && d->graph->finalized;
}
static bool resolve_config(descriptor *d)
{
    const descriptor *engine = d->child(CUDNN_ATTR_ENGINECFG_ENGINE);
    const attribute *knobs = d->find(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES);
    if (!engine->finalized) return false;
    d->engine = engine->engine;
    d->graph = engine->graph;
    for (int64_t i = 0; knobs != nullptr && i < knobs->count; i++) {
        const descriptor *knob = d->child(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, i);
        bool fits = false;
        for (int k = 0; k < KNOBS; k++)
            fits = fits || (knob->get<int>(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, -1) == knob_types[k] &&
                            knob->get<int64_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, -1) == knob_value(d->engine, k));
        if (!knob->finalized || !fits) return false;
    }
    return true;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t d)
{
    for (const need &n : needs) {
        if (n.type != d->type) continue;
        const attribute *a = d->find(n.name);
        if (a == nullptr || a->type != n.kind || a->count != n.count) return CUDNN_STATUS_BAD_PARAM;
    }
    if (!operation_is_complete(d)) return CUDNN_STATUS_BAD_PARAM;
    if (d->type == CUDNN_BACKEND_ENGINE_DESCRIPTOR && !resolve_engine(d)) return CUDNN_STATUS_NOT_SUPPORTED;
    if (d->type == CUDNN_BACKEND_ENGINECFG_DESCRIPTOR && !resolve_config(d)) return CUDNN_STATUS_NOT_SUPPORTED;
    if (d->type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) {
        const descriptor *config = d->child(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
        if (config->graph == nullptr || config->engine == ENGINE_BROKEN) return CUDNN_STATUS_NOT_SUPPORTED;
        d->engine = config->engine;
        d->graph = config->graph;
    }
    d->finalized = true;
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t give_engines(cudnnBackendDescriptor_t heuristic, int64_t requested, int64_t *count, void *value)
{
    descriptor **configs = (descriptor **)value;
    *count = requested < ENGINES ? requested : (int64_t)ENGINES;
    /* Heuristics may name another first on another rank. */
    const char *turned = getenv("DG_STANDIN_HEURISTICS");
    for (int64_t i = 0; i < *count; i++) {
        configs[i]->engine = turned != nullptr && strcmp(turned, "turned") == 0 ? ENGINES - 1 - (int)i : (int)i;
        configs[i]->graph = heuristic->child(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
        configs[i]->finalized = true;
    }
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t, int64_t requested, int64_t *count, void *value)
{
    if (d == nullptr || value == nullptr || requested < 1) return CUDNN_STATUS_BAD_PARAM;
    if (name == CUDNN_ATTR_ENGINEHEUR_RESULTS) return give_engines(d, requested, count, value);
    *count = 1;
    if (name == CUDNN_ATTR_ENGINECFG_ENGINE) {
        (*(descriptor **)value)->engine = d->engine;
    } else if (name == CUDNN_ATTR_ENGINE_GLOBAL_INDEX) {
        *(int64_t *)value = first_index + d->engine;
    } else if (name == CUDNN_ATTR_ENGINECFG_KNOB_CHOICES) {
        *count = d->engine < ENGINE_GOOD ? 0 : KNOBS;
        for (int64_t k = 0; k < *count && k < requested; k++) {
            const int64_t number = knob_value(d->engine, (int)k);
            descriptor *knob = ((descriptor **)value)[k];
            cudnnBackendSetAttribute(knob, CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &knob_types[k]);
            cudnnBackendSetAttribute(knob, CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &number);
        }
    } else if (name == CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE) {
        *(cudnnBackendKnobType_t *)value = (cudnnBackendKnobType_t)d->get<int>(name, 0);
    } else if (name == CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE) {
        *(int64_t *)value = d->get<int64_t>(name, 0);
    } else if (name == CUDNN_ATTR_ENGINE_NUMERICAL_NOTE) {
        *(int *)value = CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC;
        *count = d->engine == ENGINE_NONDETERMINISTIC ? 1 : 0;
    } else if (name == CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE) {
        *(int64_t *)value = d->engine == ENGINE_GREEDY ? greedy_workspace : good_workspace;
    } else {
        return CUDNN_STATUS_BAD_PARAM;
    }
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack)
{
    if (!plan->finalized || !pack->finalized || plan->graph == nullptr) return CUDNN_STATUS_BAD_PARAM;
    const descriptor *graph = plan->graph, *add = graph->child(CUDNN_ATTR_OPERATIONGRAPH_OPS, 1);
    operands o;
    if (!operands_of(graph->child(CUDNN_ATTR_OPERATIONGRAPH_OPS, 0), &o)) return CUDNN_STATUS_NOT_SUPPORTED;
    const descriptor *direct = o.pass == 1 ? o.inner : o.outer;
    const descriptor *target = add != nullptr ? add->child(CUDNN_ATTR_OPERATION_POINTWISE_YDESC) : direct;
    const descriptor *inner_tensor = o.pass == 1 ? target : o.inner, *outer_tensor = o.pass == 1 ? o.outer : target;
    void *inner = pointer_of(pack, inner_tensor), *outer = pointer_of(pack, outer_tensor);
    void *filter = pointer_of(pack, o.filter);
    const descriptor *bias_tensor = add != nullptr ? add->child(CUDNN_ATTR_OPERATION_POINTWISE_BDESC) : nullptr;
    const float *bias = bias_tensor != nullptr ? (const float *)pointer_of(pack, bias_tensor) : nullptr;
    const void *workspace = pack->get<void *>(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, nullptr);
    if (!is_there(inner_tensor, inner) || !is_there(outer_tensor, outer) || !is_there(o.filter, filter) ||
        (bias_tensor != nullptr && !is_there(bias_tensor, bias)) ||
        !standin::is_device(workspace, (size_t)good_workspace)) {
        standin::poison(cudaErrorInvalidValue, "cuDNN: an operand or the workspace is not aligned device memory of its size");
        return CUDNN_STATUS_BAD_PARAM;
    }
    auto held = std::make_shared<operands_copy>(o, target);
    const int engine = plan->engine;
    const double off = standin::fault("wrong") ? 1.1 : 1.0; /* what a broken kernel would compute */
    const bool varies = engine == ENGINE_NONDETERMINISTIC;
    cudaError_t error = standin::enqueue(handle->stream, "cuDNN convolution", [=] {
        const int64_t run = runs[engine]++;
        convolve(held->o, inner, outer, filter, &held->part[4], bias, varies ? 1 + 1e-7 * (double)(run % 3) : off);
        return true;
    });
    return error == cudaSuccess ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_EXECUTION_FAILED;
}
