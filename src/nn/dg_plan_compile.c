/* dg_plan_compile.c - from a graph and shapes to the steps of the forward pass with the lifetimes of their blocks; the
 * backward pass is added by dg_plan_autodiff.c. Allocates no activation memory. SPDX-License-Identifier: Apache-2.0 */
#include "plan_impl.h"

#include "dg_mem.h"

#include <string.h>

static dg_dtype dtype_of(const dg_program *program, const dg_graph_tensor *tensor)
{
    return tensor->level == DG_LEVEL_VECTOR || tensor->f32 ? DG_F32 : program->config.dtype;
}

dg_tensor dg_program_shape(const dg_program *program, int t, const dg_slot *slot)
{
    const dg_plan_config *config = &program->config;
    const dg_graph_tensor *tensor = &program->model->graph.tensor[t];
    dg_tensor shape = {.dtype = dtype_of(program, tensor),
                       .n = config->n,
                       .z = 1,
                       .y = 1,
                       .x = 1,
                       .c = tensor->c,
                       .pitch = slot->pitch};
    if (tensor->level != DG_LEVEL_VECTOR) {
        shape.z = config->z >> tensor->level;
        shape.y = config->y >> tensor->level;
        shape.x = config->x >> tensor->level;
    }
    return shape;
}

dg_conv_desc dg_program_conv(const dg_program *program, int o)
{
    const dg_graph_op *op = &program->model->graph.op[o];
    const dg_tensor x = dg_program_shape(program, op->x, &program->value[0][op->x]);
    const dg_tensor y = dg_program_shape(program, op->y, &program->value[0][op->y]);
    return (dg_conv_desc){.kind = op->conv,
                          .kernel = op->kernel,
                          .n = x.n,
                          .z = x.z,
                          .y = x.y,
                          .x = x.x,
                          .cin = x.c,
                          .cout = y.c,
                          .dtype = x.dtype,
                          .training = program->config.training,
                          .accumulate_dx = program->accumulate_dx[o]};
}

static dg_status push_block(dg_program *program, const char *name, int64_t bytes, int *index)
{
    if (program->blocks == program->block_capacity) {
        int wanted = program->block_capacity > 0 ? 2 * program->block_capacity : 128;
        DG_TRY(dg_grow(&program->block, (size_t)program->block_capacity, (size_t)wanted, sizeof *program->block,
                       "plan blocks"));
        program->block_capacity = wanted;
    }
    int64_t rounded = (bytes + DG_MEM_ALIGNMENT - 1) / DG_MEM_ALIGNMENT * DG_MEM_ALIGNMENT;
    program->block[program->blocks] = (dg_block){.name = name, .bytes = rounded, .first = -1, .last = -1};
    *index = program->blocks++;
    return DG_OK;
}

dg_status dg_program_add_block(dg_program *program, int t, dg_slot *slot)
{
    const dg_graph_tensor *tensor = &program->model->graph.tensor[t];
    dg_slot whole = {.pitch = tensor->c};
    dg_tensor shape = dg_program_shape(program, t, &whole);
    int64_t bytes = (int64_t)dg_dtype_size(shape.dtype);
    const int64_t factor[] = {shape.n, shape.z, shape.y, shape.x, shape.c};
    for (int i = 0; i < 5; i++)
        if (!dg_mul_int64(bytes, factor[i], &bytes) || bytes > INT64_MAX / 4)
            return DG_FAIL(DG_ERR_MEMORY, "plan: tensor '%s' of a %lld x %lld x %lld patch is too large", tensor->name,
                           (long long)program->config.z, (long long)program->config.y, (long long)program->config.x);
    DG_TRY(push_block(program, tensor->name, bytes, &whole.block));
    *slot = whole;
    return DG_OK;
}

bool dg_op_backward_reads_x(dg_op_kind kind) { return kind != DG_OP_RESIZE && kind != DG_OP_COPY; }

static int touch_slot(const dg_slot *slots, int t, int touched[DG_STEP_BLOCKS], int count)
{
    if (t >= 0 && slots[t].block >= 0) touched[count++] = slots[t].block;
    return count;
}

int dg_program_touched(const dg_program *program, const dg_step *step, int touched[DG_STEP_BLOCKS])
{
    const dg_graph *graph = &program->model->graph;
    const dg_graph_op *op = &graph->op[step->op];
    const dg_slot *value = program->value[step->late ? 1 : 0], *gradient = program->gradient;
    const bool forward = step->kind == DG_STEP_FORWARD;
    const bool backward = step->kind == DG_STEP_BACKWARD;
    int count = 0;
    if (forward || step->kind == DG_STEP_BACKWARD_WEIGHTS || (backward && dg_op_backward_reads_x(op->kind)))
        count = touch_slot(value, op->x, touched, count);
    if (forward || backward) {
        count = touch_slot(value, op->film, touched, count);
        count = touch_slot(value, op->gate, touched, count);
        if (program->stats[step->op] >= 0) touched[count++] = program->stats[step->op];
    }
    if (forward) {
        const dg_fused_ops *fused = &program->fused[step->op];
        if (fused->residual >= 0) count = touch_slot(value, graph->op[fused->residual].x, touched, count);
        if (fused->residual < 0) count = touch_slot(value, op->residual, touched, count);
        if (fused->reader >= 0) count = touch_slot(value, graph->op[fused->reader].y, touched, count);
        return touch_slot(value, op->y, touched, count);
    }
    count = touch_slot(gradient, op->y, touched, count);
    if (step->kind == DG_STEP_RESIDUAL_GRADIENT) return touch_slot(gradient, op->residual, touched, count);
    if (step->kind == DG_STEP_BACKWARD_DATA || backward) count = touch_slot(gradient, op->x, touched, count);
    if (backward) {
        count = touch_slot(gradient, op->film, touched, count);
        count = touch_slot(gradient, op->gate, touched, count);
    }
    return count;
}

static void extend(dg_block *block, int time)
{
    if (block->first < 0 || time < block->first) block->first = time;
    if (time > block->last) block->last = time;
}

dg_status dg_program_add_step(dg_program *program, dg_step_kind kind, int op, bool late, bool accumulate)
{
    if (program->steps == program->step_capacity) {
        int wanted = program->step_capacity > 0 ? 2 * program->step_capacity : 128;
        DG_TRY(dg_grow(&program->step, (size_t)program->step_capacity, (size_t)wanted, sizeof *program->step,
                       "plan steps"));
        program->step_capacity = wanted;
    }
    dg_step *step = &program->step[program->steps];
    *step = (dg_step){.kind = kind, .op = op, .late = late, .accumulate = accumulate, .ready = -1};
    int touched[DG_STEP_BLOCKS];
    int count = dg_program_touched(program, step, touched);
    for (int i = 0; i < count; i++) extend(&program->block[touched[i]], program->steps);
    program->steps++;
    return DG_OK;
}

/* The last operation that reads tensor t or a slice of the same root; -1: none. */
static int last_reader(const dg_program *program, int t)
{
    const dg_graph *graph = &program->model->graph;
    const int root = graph->tensor[t].root;
    for (int o = graph->ops - 1; o >= 0; o--) {
        const int maker = program->fused[o].residual;
        const int read[] = {graph->op[o].x, graph->op[o].film, graph->op[o].residual, graph->op[o].gate,
                            maker >= 0 ? graph->op[maker].x : -1};
        for (int i = 0; i < 5; i++)
            if (read[i] >= 0 && graph->tensor[read[i]].root == root) return o;
    }
    return -1;
}

bool dg_graph_has_slices(const dg_graph *graph, int t)
{
    for (int i = 0; i < graph->tensors; i++)
        if (i != t && graph->tensor[i].root == t) return true;
    return false;
}

static bool is_fixed(const dg_graph *graph, int t) { return t == graph->input || t == graph->output; }

/* An inference plan lets a norm write where it reads. */
static bool in_place(const dg_program *program, int o)
{
    const dg_graph *graph = &program->model->graph;
    const dg_graph_op *op = &graph->op[o];
    if (program->config.training || program->config.keep_all || op->kind != DG_OP_NORM) return false;
    if (graph->tensor[op->x].root != op->x || graph->tensor[op->y].root != op->y) return false;
    if (dg_graph_has_slices(graph, op->x) || dg_graph_has_slices(graph, op->y)) return false;
    if (is_fixed(graph, op->x) || is_fixed(graph, op->y) || op->residual == op->x) return false;
    return last_reader(program, op->x) == o && graph->tensor[op->y].f32 == graph->tensor[op->x].f32;
}

/* A copy between dtypes that are the same: y becomes another name of x. */
static bool is_renamed(const dg_program *program, int o)
{
    const dg_graph *graph = &program->model->graph;
    const dg_graph_op *op = &graph->op[o];
    if (op->kind != DG_OP_COPY || op->y != graph->output || op->x == graph->input) return false;
    return dtype_of(program, &graph->tensor[op->x]) == dtype_of(program, &graph->tensor[op->y]) &&
           graph->tensor[op->x].root == op->x;
}

static bool is_small_product(const dg_graph_op *op)
{
    return op->kind == DG_OP_CONV && op->conv == DG_CONV_SAME && op->kernel == 1;
}

static int readers_of(const dg_graph *graph, int t)
{
    int count = t == graph->output ? 1 : 0;
    for (int o = 0; o < graph->ops; o++)
        count +=
            (graph->op[o].x == t) + (graph->op[o].film == t) + (graph->op[o].residual == t) + (graph->op[o].gate == t);
    return count;
}

/* Whether tensor t is of its own and read once. */
static bool is_passing(const dg_graph *graph, int t)
{
    return graph->tensor[t].root == t && !dg_graph_has_slices(graph, t) && readers_of(graph, t) == 1;
}

/* The convolution that makes the residual of norm o and nothing else, and that its pass can take along. */
static int residual_maker(const dg_program *program, const dg_backend *backend, int o)
{
    const dg_graph *graph = &program->model->graph;
    const int r = graph->op[o].residual;
    for (int i = 0; i < o && r >= 0; i++) {
        if (graph->op[i].y != r) continue;
        const dg_conv_desc desc = dg_program_conv(program, i);
        const bool takes = is_small_product(&graph->op[i]) && is_passing(graph, r);
        return takes && backend->ops->residual_fuses(backend, &desc) ? i : -1;
    }
    return -1;
}

/* The operation behind norm o, if it pools its result or is the only one that reads it, for few outputs. */
static int immediate_reader(const dg_graph *graph, int o)
{
    const dg_graph_op *next = o + 1 < graph->ops ? &graph->op[o + 1] : NULL;
    if (next == NULL || next->x != graph->op[o].y) return -1;
    if (next->kind == DG_OP_POOL) return o + 1;
    return is_small_product(next) && is_passing(graph, next->x) && graph->tensor[next->y].c <= DG_FUSED_OUTPUTS ? o + 1
                                                                                                                : -1;
}

/* Inference plans let norms take their neighbours along where the backend can. */
static void find_fusions(dg_program *program, const dg_backend *backend)
{
    const dg_graph *graph = &program->model->graph;
    for (int o = 0; o < graph->ops; o++) program->fused[o] = (dg_fused_ops){-1, -1};
    if (backend == NULL || backend->ops->norm_forward_fused == NULL) return;
    if (program->config.training || program->config.keep_all) return;
    for (int o = 0; o < graph->ops; o++) {
        if (graph->op[o].kind != DG_OP_NORM) continue;
        const dg_fused_ops found = {residual_maker(program, backend, o), immediate_reader(graph, o)};
        program->fused[o] = found;
        if (found.residual >= 0) program->elided[found.residual] = true;
        if (found.reader >= 0) program->elided[found.reader] = true;
    }
}

/* Gives tensor t its slot at its first use as an output. */
static dg_status place_value(dg_program *program, int t)
{
    const dg_graph_tensor *tensor = &program->model->graph.tensor[t];
    dg_slot *value = program->value[0];
    if (value[t].block != DG_BLOCK_NONE) return DG_OK;
    if (value[tensor->root].block == DG_BLOCK_NONE)
        DG_TRY(dg_program_add_block(program, tensor->root, &value[tensor->root]));
    if (tensor->root != t) value[t] = (dg_slot){value[tensor->root].block, tensor->first, value[tensor->root].pitch};
    return DG_OK;
}

static dg_status add_stats(dg_program *program, int o)
{
    const dg_graph_op *op = &program->model->graph.op[o];
    const dg_plan_config *config = &program->config;
    int64_t count = 2 * config->n;
    if (op->kind == DG_OP_NORM && op->norm.groups > 0)
        count *= op->norm.groups;
    else if (op->kind == DG_OP_LAYER_NORM) {
        dg_tensor x = dg_program_shape(program, op->x, &program->value[0][op->x]);
        count *= dg_tensor_voxels(&x);
    } else
        return DG_OK;
    return push_block(program, op->name, count * (int64_t)sizeof(float), &program->stats[o]);
}

static dg_status add_forward(dg_program *program)
{
    const dg_graph *graph = &program->model->graph;
    DG_TRY(place_value(program, graph->input));
    if (graph->constraints >= 0) DG_TRY(place_value(program, graph->constraints));
    for (int o = 0; o < graph->ops; o++) {
        const dg_graph_op *op = &graph->op[o];
        const int reader = program->fused[o].reader;
        if (program->elided[o]) continue;
        /* A part of the conditioning vector is nobody's result. */
        if (graph->constraints >= 0 && graph->tensor[op->x].root == graph->constraints)
            DG_TRY(place_value(program, op->x));
        if (is_renamed(program, o) || in_place(program, o)) program->value[0][op->y] = program->value[0][op->x];
        DG_TRY(place_value(program, op->y));
        if (reader >= 0) DG_TRY(place_value(program, graph->op[reader].y));
        DG_TRY(add_stats(program, o));
        if (is_renamed(program, o))
            program->elided[o] = true;
        else
            DG_TRY(dg_program_add_step(program, DG_STEP_FORWARD, o, false, false));
    }
    program->forward_steps = program->steps;
    return DG_OK;
}

/* What the caller fills or reads between calls lives all the time; so does everything in a keep_all plan. */
static void fix_lifetimes(dg_program *program)
{
    const dg_graph *graph = &program->model->graph;
    const int fixed[] = {program->value[0][graph->input].block, program->value[0][graph->output].block,
                         graph->constraints >= 0 ? program->value[0][graph->constraints].block : DG_BLOCK_NONE,
                         program->gradient[graph->output].block};
    for (int i = 0; i < program->blocks; i++) {
        bool always = program->config.keep_all;
        for (int k = 0; k < 4; k++) always = always || fixed[k] == i;
        if (!always) continue;
        program->block[i].first = 0;
        program->block[i].last = program->steps - 1;
    }
}

static dg_status check_config(const dg_model *model, const dg_plan_config *config)
{
    const int64_t multiple = dg_model_multiple(model);
    if (config->n < 1) return DG_FAIL(DG_ERR_USAGE, "batch is %lld; it must be at least 1", (long long)config->n);
    if (config->dtype != DG_F32 && config->dtype != DG_BF16)
        return DG_FAIL(DG_ERR_USAGE, "activations must be f32 or bf16");
    const int64_t axis[] = {config->z, config->y, config->x};
    for (int i = 0; i < 3; i++)
        if (axis[i] < multiple || axis[i] % multiple != 0)
            return DG_FAIL(
                DG_ERR_USAGE,
                "patch %lld x %lld x %lld: every axis must be a positive multiple of %lld for a model of %lld "
                "levels; use %lld instead of %lld, or fewer levels",
                (long long)config->z, (long long)config->y, (long long)config->x, (long long)multiple,
                (long long)model->config.levels, (long long)((axis[i] / multiple + 1) * multiple), (long long)axis[i]);
    if (config->training || !config->recompute) return DG_OK;
    return DG_FAIL(DG_ERR_USAGE, "recompute is set for an inference plan; it belongs to training");
}

static dg_status allocate(dg_program *program)
{
    const dg_graph *graph = &program->model->graph;
    for (int i = 0; i < 2; i++) DG_TRY(DG_NEW(&program->value[i], graph->tensors, "plan slots"));
    DG_TRY(DG_NEW(&program->gradient, graph->tensors, "plan slots"));
    DG_TRY(DG_NEW(&program->stats, graph->ops, "plan statistics"));
    DG_TRY(DG_NEW(&program->elided, graph->ops, "plan flags"));
    DG_TRY(DG_NEW(&program->fused, graph->ops, "plan fusions"));
    DG_TRY(DG_NEW(&program->accumulate_dx, graph->ops, "plan flags"));
    for (int t = 0; t < graph->tensors; t++) program->value[0][t].block = program->gradient[t].block = DG_BLOCK_NONE;
    for (int o = 0; o < graph->ops; o++) program->stats[o] = DG_BLOCK_NONE;
    return DG_OK;
}

dg_status dg_program_compile(const dg_model *model, const dg_plan_config *config, const dg_backend *backend,
                             dg_program *out)
{
    dg_program program = {.model = model, .config = *config};
    dg_status status = DG_OK;
    DG_TRY(check_config(model, config));
    DG_TRY_GOTO(status, allocate(&program), failed);
    find_fusions(&program, backend);
    DG_TRY_GOTO(status, add_forward(&program), failed);
    memcpy(program.value[1], program.value[0], (size_t)model->graph.tensors * sizeof(dg_slot));
    if (config->training) {
        DG_TRY_GOTO(status, dg_program_differentiate(&program), failed);
        DG_TRY_GOTO(status, dg_program_find_ready(&program), failed);
    }
    fix_lifetimes(&program);
    DG_TRY_GOTO(status, dg_blocks_place(program.block, program.blocks, &program.arena_bytes), failed);
    *out = program;
    return DG_OK;
failed:
    dg_program_release(&program);
    return status;
}

void dg_program_release(dg_program *program)
{
    for (int i = 0; i < 2; i++) dg_free(&program->value[i]);
    dg_free(&program->gradient);
    dg_free(&program->stats);
    dg_free(&program->elided);
    dg_free(&program->fused);
    dg_free(&program->accumulate_dx);
    dg_free(&program->step);
    dg_free(&program->block);
    memset(program, 0, sizeof *program);
}
