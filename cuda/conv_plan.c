/* conv_plan.c - convolutions through cuDNN's graph API (cudnnBackend*): descriptors, heuristics, execution.
 * SPDX-License-Identifier: Apache-2.0 */
#include "conv_plan.h"

#include "dg_mem.h"

#include <string.h>

enum {
    UID_INNER = 1,
    UID_OUTER,
    UID_FILTER,
    UID_BIAS,
    UID_SUM,
    DESCRIPTORS_MAX = 16 + 2 + CONV_KNOBS_MAX,
    ENGINES_MAX = 16
};

struct conv_plan {
    conv_geometry geometry;
    cudnnBackendDescriptor_t descriptor[DESCRIPTORS_MAX]; /* all that were made, to be destroyed */
    int count;
    cudnnBackendDescriptor_t execution;
    int64_t workspace;
};

/* ---- descriptors ---------------------------------------------------------------------------------------------------- */

static dg_status make(conv_plan *plan, cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *out)
{
    DG_CUDNN(cudnnBackendCreateDescriptor(type, out));
    plan->descriptor[plan->count++] = *out;
    return DG_OK;
}

static dg_status set(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                     int64_t count, const void *value)
{
    return dg_cudnn_check(cudnnBackendSetAttribute(d, name, type, count, value), "cudnnBackendSetAttribute");
}
static dg_status set_descriptor(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                                cudnnBackendDescriptor_t value)
{
    return set(d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}
static dg_status finalize(cudnnBackendDescriptor_t d)
{
    return dg_cudnn_check(cudnnBackendFinalize(d), "cudnnBackendFinalize");
}

static cudnnDataType_t type_of(dg_dtype dtype) { return dtype == DG_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT; }

typedef struct tensor_shape {
    int64_t uid, size[5], stride[5]; /* n, c, z, y, x */
    cudnnDataType_t type;
    bool is_virtual;
} tensor_shape;

/* Channels-last with `pitch` elements from voxel to voxel. */
static tensor_shape shape_of(int64_t uid, cudnnDataType_t type, int64_t n, int64_t c, const int64_t size[3],
                             int64_t pitch)
{
    return (tensor_shape){
        .uid = uid,
        .type = type,
        .size = {n, c, size[0], size[1], size[2]},
        .stride = {size[0] * size[1] * size[2] * pitch, 1, size[1] * size[2] * pitch, size[2] * pitch, pitch}};
}

static dg_status make_tensor(conv_plan *plan, const tensor_shape *s, cudnnBackendDescriptor_t *out)
{
    const int64_t alignment = 16;
    DG_TRY(make(plan, CUDNN_BACKEND_TENSOR_DESCRIPTOR, out));
    DG_TRY(set(*out, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &s->uid));
    DG_TRY(set(*out, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &s->type));
    DG_TRY(set(*out, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 5, s->size));
    DG_TRY(set(*out, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 5, s->stride));
    DG_TRY(set(*out, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment));
    if (s->is_virtual) DG_TRY(set(*out, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &s->is_virtual));
    return finalize(*out);
}

static dg_status make_convolution(conv_plan *plan, cudnnBackendDescriptor_t *out)
{
    const conv_geometry *g = &plan->geometry;
    const int64_t dims = 3, dilation[3] = {1, 1, 1}, stride[3] = {g->stride, g->stride, g->stride};
    const int64_t pad[3] = {g->pad, g->pad, g->pad};
    const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    DG_TRY(make(plan, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, out));
    DG_TRY(set(*out, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &dims));
    DG_TRY(set(*out, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute));
    DG_TRY(set(*out, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode));
    DG_TRY(set(*out, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 3, dilation));
    DG_TRY(set(*out, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 3, stride));
    DG_TRY(set(*out, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 3, pad));
    DG_TRY(set(*out, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 3, pad));
    return finalize(*out);
}

/* What the three passes call their attributes. */
static const struct {
    cudnnBackendDescriptorType_t type;
    cudnnBackendAttributeName_t convolution, inner, outer, filter, alpha, beta;
} pass_names[] = {
    [CONV_FORWARD] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    [CONV_DATA] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                   CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    [CONV_WEIGHTS] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                      CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
};

static dg_status make_pass(conv_plan *plan, cudnnBackendDescriptor_t inner, cudnnBackendDescriptor_t outer,
                           cudnnBackendDescriptor_t filter, cudnnBackendDescriptor_t *out)
{
    const conv_geometry *g = &plan->geometry;
    const float alpha = 1, beta = g->accumulate ? 1 : 0;
    cudnnBackendDescriptor_t convolution;
    DG_TRY(make_convolution(plan, &convolution));
    DG_TRY(make(plan, pass_names[g->pass].type, out));
    DG_TRY(set_descriptor(*out, pass_names[g->pass].convolution, convolution));
    DG_TRY(set_descriptor(*out, pass_names[g->pass].inner, inner));
    DG_TRY(set_descriptor(*out, pass_names[g->pass].outer, outer));
    DG_TRY(set_descriptor(*out, pass_names[g->pass].filter, filter));
    DG_TRY(set(*out, pass_names[g->pass].alpha, CUDNN_TYPE_FLOAT, 1, &alpha));
    DG_TRY(set(*out, pass_names[g->pass].beta, CUDNN_TYPE_FLOAT, 1, &beta));
    return finalize(*out);
}

/* result = sum + bias of `c` channels, where `sum` never reaches memory. */
static dg_status make_bias(conv_plan *plan, cudnnBackendDescriptor_t sum, cudnnBackendDescriptor_t result, int64_t c,
                           cudnnBackendDescriptor_t *out)
{
    const int64_t one[3] = {1, 1, 1};
    const cudnnPointwiseMode_t mode = CUDNN_POINTWISE_ADD;
    const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    const tensor_shape bias_shape = shape_of(UID_BIAS, CUDNN_DATA_FLOAT, 1, c, one, c);
    cudnnBackendDescriptor_t bias, add;
    DG_TRY(make_tensor(plan, &bias_shape, &bias));
    DG_TRY(make(plan, CUDNN_BACKEND_POINTWISE_DESCRIPTOR, &add));
    DG_TRY(set(add, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode));
    DG_TRY(set(add, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &compute));
    DG_TRY(finalize(add));
    DG_TRY(make(plan, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, out));
    DG_TRY(set_descriptor(*out, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, add));
    DG_TRY(set_descriptor(*out, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, sum));
    DG_TRY(set_descriptor(*out, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, bias));
    DG_TRY(set_descriptor(*out, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, result));
    return finalize(*out);
}

static dg_status make_graph(conv_plan *plan, cudnnHandle_t cudnn, cudnnBackendDescriptor_t *out)
{
    const conv_geometry *g = &plan->geometry;
    const cudnnDataType_t type = type_of(g->dtype), filter_type = g->pass == CONV_WEIGHTS ? CUDNN_DATA_FLOAT : type;
    const int64_t taps[3] = {g->kernel, g->kernel, g->kernel};
    const tensor_shape inner_shape = shape_of(UID_INNER, type, g->n, g->inner_c, g->inner, g->inner_pitch);
    const tensor_shape outer_shape = shape_of(UID_OUTER, type, g->n, g->outer_c, g->outer, g->outer_pitch);
    const tensor_shape filter_shape = shape_of(UID_FILTER, filter_type, g->outer_c, g->inner_c, taps, g->inner_c);
    const bool to_outer = g->pass == CONV_FORWARD;
    tensor_shape sum_shape = to_outer ? outer_shape : inner_shape;
    cudnnBackendDescriptor_t inner, outer, filter, sum, operation[2];
    sum_shape.uid = UID_SUM;
    sum_shape.type = CUDNN_DATA_FLOAT;
    sum_shape.is_virtual = true;
    DG_TRY(make_tensor(plan, &inner_shape, &inner));
    DG_TRY(make_tensor(plan, &outer_shape, &outer));
    DG_TRY(make_tensor(plan, &filter_shape, &filter));
    if (g->bias) {
        DG_TRY(make_tensor(plan, &sum_shape, &sum));
        DG_TRY(make_pass(plan, to_outer ? inner : sum, to_outer ? sum : outer, filter, &operation[0]));
        DG_TRY(make_bias(plan, sum, to_outer ? outer : inner, sum_shape.size[1], &operation[1]));
    } else {
        DG_TRY(make_pass(plan, inner, outer, filter, &operation[0]));
    }
    DG_TRY(make(plan, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, out));
    DG_TRY(set(*out, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, g->bias ? 2 : 1, operation));
    DG_TRY(set(*out, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &cudnn));
    return finalize(*out);
}

/* ---- choosing an engine --------------------------------------------------------------------------------------------- */

bool conv_choice_equal(const conv_choice *a, const conv_choice *b)
{
    if (a->engine != b->engine || a->knobs != b->knobs) return false;
    for (int i = 0; i < a->knobs; i++)
        if (a->knob[i].type != b->knob[i].type || a->knob[i].value != b->knob[i].value) return false;
    return true;
}

static bool get(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                int64_t room, int64_t *got, void *value)
{
    return cudnnBackendGetAttribute(d, name, type, room, got, value) == CUDNN_STATUS_SUCCESS;
}

static bool is_unwanted(cudnnBackendDescriptor_t engine, cudnnBackendNumericalNote_t unwanted)
{
    cudnnBackendNumericalNote_t note[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    int64_t got = 0;
    /* What cannot be asked is not taken. */
    bool found = !get(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                      CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &got, note);
    for (int64_t i = 0; i < got; i++) found = found || note[i] == unwanted;
    return found;
}

/* Reads the knobs of a configuration. False: there are more than a choice holds, or they cannot be asked for. */
static bool read_knobs(cudnnBackendDescriptor_t config, conv_choice *choice)
{
    cudnnBackendDescriptor_t knob[CONV_KNOBS_MAX + 1] = {NULL};
    int64_t count = 0, got;
    bool read = true;
    for (int i = 0; i <= CONV_KNOBS_MAX && read; i++)
        read = cudnnBackendCreateDescriptor(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, &knob[i]) == CUDNN_STATUS_SUCCESS;
    read = read && get(config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR, CONV_KNOBS_MAX + 1,
                       &count, knob);
    read = read && count <= CONV_KNOBS_MAX;
    for (int64_t i = 0; i < count && read; i++) {
        cudnnBackendKnobType_t type = CUDNN_KNOB_TYPE_COUNTS;
        read = get(knob[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &got, &type) &&
               get(knob[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &got, &choice->knob[i].value);
        choice->knob[i].type = (int)type;
    }
    choice->knobs = read ? (int)count : 0;
    for (int i = 0; i <= CONV_KNOBS_MAX; i++)
        if (knob[i] != NULL) (void)cudnnBackendDestroyDescriptor(knob[i]);
    return read;
}

/* What a configuration is, for later; false: it cannot be told, or is not wanted. */
static bool read_choice(const conv_plan *plan, cudnnBackendDescriptor_t config, conv_choice *choice)
{
    cudnnBackendDescriptor_t engine = NULL;
    int64_t got = 0;
    if (cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine) != CUDNN_STATUS_SUCCESS) return false;
    const bool read = get(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &got, &engine) &&
                      get(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &got, &choice->engine) &&
                      !(plan->geometry.deterministic && is_unwanted(engine, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC)) &&
                      read_knobs(config, choice);
    (void)cudnnBackendDestroyDescriptor(engine);
    return read;
}

/* Builds the plan of a configuration. False: this one cannot be used, the next may. */
static bool try_config(conv_plan *plan, cudnnHandle_t cudnn, cudnnBackendDescriptor_t config, int64_t limit)
{
    cudnnBackendDescriptor_t execution = NULL;
    int64_t got = 0, workspace = 0;
    if (cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &execution) != CUDNN_STATUS_SUCCESS)
        return false;
    bool built = cudnnBackendSetAttribute(execution, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &cudnn) ==
                     CUDNN_STATUS_SUCCESS &&
                 cudnnBackendSetAttribute(execution, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG,
                                          CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &config) == CUDNN_STATUS_SUCCESS &&
                 cudnnBackendFinalize(execution) == CUDNN_STATUS_SUCCESS &&
                 get(execution, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &got, &workspace) &&
                 workspace <= limit;
    if (!built) {
        (void)cudnnBackendDestroyDescriptor(execution);
        return false;
    }
    plan->execution = execution;
    plan->workspace = workspace;
    return true;
}

/* The configuration that a choice means. */
static dg_status make_config(conv_plan *plan, cudnnBackendDescriptor_t graph, const conv_choice *choice,
                             cudnnBackendDescriptor_t *config)
{
    cudnnBackendDescriptor_t engine, knob[CONV_KNOBS_MAX];
    DG_TRY(make(plan, CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine));
    DG_TRY(set_descriptor(engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, graph));
    DG_TRY(set(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &choice->engine));
    DG_TRY(finalize(engine));
    for (int i = 0; i < choice->knobs; i++) {
        const cudnnBackendKnobType_t type = (cudnnBackendKnobType_t)choice->knob[i].type;
        DG_TRY(make(plan, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, &knob[i]));
        DG_TRY(set(knob[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &type));
        DG_TRY(set(knob[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &choice->knob[i].value));
        DG_TRY(finalize(knob[i]));
    }
    DG_TRY(make(plan, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, config));
    DG_TRY(set_descriptor(*config, CUDNN_ATTR_ENGINECFG_ENGINE, engine));
    if (choice->knobs > 0)
        DG_TRY(set(*config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR, choice->knobs, knob));
    return finalize(*config);
}

/* A choice that another run made, or another rank: where it does not fit any more, the heuristics are asked. */
static void try_choice(conv_plan *plan, cudnnHandle_t cudnn, cudnnBackendDescriptor_t graph, int64_t limit,
                       const conv_choice *wanted, conv_choice *choice)
{
    cudnnBackendDescriptor_t config;
    if (make_config(plan, graph, wanted, &config) == DG_OK && read_choice(plan, config, choice))
        (void)try_config(plan, cudnn, config, limit);
}

static dg_status ask_heuristics(conv_plan *plan, cudnnHandle_t cudnn, cudnnBackendDescriptor_t graph, int64_t limit,
                                cudnnBackendHeurMode_t mode, conv_choice *choice)
{
    cudnnBackendDescriptor_t heuristic, config[ENGINES_MAX];
    int64_t got = 0;
    DG_TRY(make(plan, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &heuristic));
    DG_TRY(set_descriptor(heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph));
    DG_TRY(set(heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode));
    if (cudnnBackendFinalize(heuristic) != CUDNN_STATUS_SUCCESS) return DG_OK; /* no engine knows this graph */
    for (int i = 0; i < ENGINES_MAX; i++)
        DG_CUDNN(cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &config[i]));
    bool asked =
        get(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, ENGINES_MAX, &got, config);
    for (int64_t i = 0; asked && i < got && i < ENGINES_MAX; i++)
        if (read_choice(plan, config[i], choice) && try_config(plan, cudnn, config[i], limit)) break;
    for (int i = 0; i < ENGINES_MAX; i++) (void)cudnnBackendDestroyDescriptor(config[i]);
    return DG_OK;
}

dg_status conv_plan_create(cudnnHandle_t cudnn, const conv_geometry *geometry, int64_t workspace_limit,
                           const conv_choice *wanted, conv_choice *choice, conv_plan **out)
{
    static const cudnnBackendHeurMode_t modes[] = {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK};
    cudnnBackendDescriptor_t graph;
    conv_plan *plan = NULL;
    dg_status status = DG_OK;
    *out = NULL;
    *choice = (conv_choice){.engine = -1};
    if (wanted != NULL && wanted->engine < 0) return DG_OK;
    DG_TRY(DG_NEW(&plan, 1, "convolution plan"));
    plan->geometry = *geometry;
    DG_TRY_GOTO(status, make_graph(plan, cudnn, &graph), done);
    if (wanted != NULL) try_choice(plan, cudnn, graph, workspace_limit, wanted, choice);
    for (int m = 0; m < 2 && plan->execution == NULL; m++)
        DG_TRY_GOTO(status, ask_heuristics(plan, cudnn, graph, workspace_limit, modes[m], choice), done);
    if (plan->execution != NULL) {
        *out = plan;
        plan = NULL;
    } else {
        choice->engine = -1;
        choice->knobs = 0;
    }
done:
    conv_plan_destroy(&plan);
    return status;
}

void conv_plan_destroy(conv_plan **plan)
{
    if (*plan == NULL) return;
    if ((*plan)->execution != NULL) (void)cudnnBackendDestroyDescriptor((*plan)->execution);
    for (int i = (*plan)->count - 1; i >= 0; i--) (void)cudnnBackendDestroyDescriptor((*plan)->descriptor[i]);
    dg_free(plan);
}

int64_t conv_plan_workspace(const conv_plan *plan) { return plan->workspace; }

dg_status conv_plan_run(cudnnHandle_t cudnn, conv_plan *plan, void *inner, void *outer, void *filter, const float *bias,
                        void *workspace)
{
    const int64_t uid[] = {UID_INNER, UID_OUTER, UID_FILTER, UID_BIAS}, count = plan->geometry.bias ? 4 : 3;
    void *pointer[] = {inner, outer, filter, (void *)(uintptr_t)bias};
    cudnnBackendDescriptor_t pack;
    dg_status status;
    DG_CUDNN(cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack));
    DG_TRY_GOTO(status, set(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, uid), done);
    DG_TRY_GOTO(status, set(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, pointer), done);
    DG_TRY_GOTO(status, set(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace), done);
    DG_TRY_GOTO(status, finalize(pack), done);
    status = dg_cudnn_check(cudnnBackendExecute(cudnn, plan->execution, pack), "cudnnBackendExecute");
done:
    (void)cudnnBackendDestroyDescriptor(pack);
    return status;
}
