/* dg_plan_autodiff.c - the backward pass of a program: one walk over the operations from the last to the first.
 *
 * Every tensor has one gradient. Its first contribution writes, later ones add; all orders are fixed here. The gradient
 * of a slice is a slice of the gradient of its root. The gradient of a residual is dy of the norm that added it: where
 * nobody else needs that memory it is handed on, not copied. SPDX-License-Identifier: Apache-2.0 */
#include "plan_impl.h"

#include "dg_mem.h"

typedef struct autodiff {
    dg_program *program;
    const dg_graph *graph;
    bool *written; /* [tensors]: the gradient holds a contribution */
    bool *made;    /* [tensors]: a dropped activation was made again */
} autodiff;

static int producer_of(const dg_graph *graph, int t)
{
    for (int o = 0; o < graph->ops; o++)
        if (graph->op[o].y == t) return o;
    return -1;
}

static bool is_plain(const dg_graph *graph, int t)
{
    return graph->tensor[t].root == t && !dg_graph_has_slices(graph, t);
}

/* Announces a contribution to the gradient of t: places it, and says whether it adds to others. */
static dg_status contribute(autodiff *a, int t, bool *accumulate)
{
    dg_program *program = a->program;
    const dg_graph_tensor *tensor = &a->graph->tensor[t];
    const int root = tensor->root;
    *accumulate = a->written[t] || a->written[root];
    for (int i = 0; i < a->graph->tensors && t == root && !*accumulate; i++)
        if (a->graph->tensor[i].root == root && a->written[i])
            return DG_FAIL(DG_ERR_INTERNAL, "gradient of '%s' is complete only after that of its slice '%s'",
                           tensor->name, a->graph->tensor[i].name);
    a->written[t] = true;
    if (program->gradient[t].block != DG_BLOCK_NONE) return DG_OK;
    if (t == a->graph->input) {
        program->gradient[t] = (dg_slot){.block = DG_BLOCK_EXTERNAL, .pitch = tensor->c};
        return DG_OK;
    }
    dg_slot *whole = &program->gradient[root];
    if (whole->block == DG_BLOCK_NONE) DG_TRY(dg_program_add_block(program, root, whole));
    if (t != root) program->gradient[t] = (dg_slot){whole->block, tensor->first, whole->pitch};
    return DG_OK;
}

/* A contribution that can only write, because the backend's operation cannot add. */
static dg_status contribute_first(autodiff *a, int t)
{
    bool accumulate = false;
    DG_TRY(contribute(a, t, &accumulate));
    if (!accumulate) return DG_OK;
    return DG_FAIL(DG_ERR_INTERNAL, "gradient of '%s' would need to accumulate; copy the tensor for its second reader",
                   a->graph->tensor[t].name);
}

static bool is_dropped(const autodiff *a, int t)
{
    if (!a->program->config.recompute || !is_plain(a->graph, t)) return false;
    int o = producer_of(a->graph, t);
    if (o < 0 || a->graph->op[o].kind != DG_OP_NORM || a->graph->op[o].residual >= 0) return false;
    return a->graph->tensor[t].level >= 0 && t != a->graph->output && !is_dropped(a, a->graph->op[o].x);
}

/* Before backward reads the value of t: makes it again if it was dropped after the forward pass. */
static dg_status want_value(autodiff *a, int t)
{
    if (t < 0 || a->made[t] || !is_dropped(a, t)) return DG_OK;
    a->made[t] = true;
    DG_TRY(dg_program_add_block(a->program, t, &a->program->value[1][t]));
    return dg_program_add_step(a->program, DG_STEP_FORWARD, producer_of(a->graph, t), true, false);
}

static dg_status differentiate_conv(autodiff *a, int o)
{
    const dg_graph_op *op = &a->graph->op[o];
    bool accumulate = false;
    DG_TRY(dg_program_add_step(a->program, DG_STEP_BACKWARD_WEIGHTS, o, true, false));
    DG_TRY(contribute(a, op->x, &accumulate));
    a->program->accumulate_dx[o] = accumulate;
    return dg_program_add_step(a->program, DG_STEP_BACKWARD_DATA, o, true, accumulate);
}

/* Whether the gradient of the residual may simply be dy from now on. A slice is copied out instead: the operations that
 * read it next are much faster on dense tensors. */
static bool can_hand_on(const autodiff *a, const dg_graph_op *op)
{
    const dg_graph *graph = a->graph;
    const int r = op->residual;
    if (a->program->config.keep_all || r == graph->input || a->written[r] || op->y == graph->output) return false;
    return is_plain(graph, r) && is_plain(graph, op->y) && graph->tensor[op->y].f32 == graph->tensor[r].f32;
}

static dg_status differentiate_norm(autodiff *a, int o)
{
    dg_program *program = a->program;
    const dg_graph *graph = a->graph;
    const dg_graph_op *op = &graph->op[o];
    bool accumulate = false, handed_on = false;
    if (op->residual >= 0 && can_hand_on(a, op)) {
        program->gradient[op->residual] = program->gradient[op->y];
        a->written[op->residual] = handed_on = true;
    } else if (op->residual >= 0) {
        DG_TRY(contribute(a, op->residual, &accumulate));
        DG_TRY(dg_program_add_step(program, DG_STEP_RESIDUAL_GRADIENT, o, true, accumulate));
    }
    if (op->film >= 0) DG_TRY(contribute_first(a, op->film));
    bool in_place = !handed_on && !program->config.keep_all && is_plain(graph, op->x) && is_plain(graph, op->y) &&
                    op->x != graph->input && op->y != graph->output && !a->written[op->x] &&
                    graph->tensor[op->x].f32 == graph->tensor[op->y].f32;
    if (in_place) program->gradient[op->x] = program->gradient[op->y];
    DG_TRY(contribute(a, op->x, &accumulate));
    return dg_program_add_step(program, DG_STEP_BACKWARD, o, true, accumulate);
}

static dg_status differentiate_other(autodiff *a, int o)
{
    const dg_graph_op *op = &a->graph->op[o];
    bool accumulate = false;
    if (op->gate >= 0) DG_TRY(contribute_first(a, op->gate));
    if (op->kind == DG_OP_ATTENTION)
        DG_TRY(contribute_first(a, op->x));
    else if (a->graph->tensor[op->x].root != a->graph->constraints)
        DG_TRY(contribute(a, op->x, &accumulate));
    return dg_program_add_step(a->program, DG_STEP_BACKWARD, o, true, accumulate);
}

static dg_status differentiate(autodiff *a, int o)
{
    const dg_graph_op *op = &a->graph->op[o];
    if (!a->written[op->y] && !a->written[a->graph->tensor[op->y].root])
        return DG_FAIL(DG_ERR_INTERNAL, "operation '%s': nothing reads its result '%s'", op->name,
                       a->graph->tensor[op->y].name);
    if (op->x == a->graph->input && op->kind != DG_OP_CONV)
        return DG_FAIL(DG_ERR_INTERNAL, "operation '%s': only convolutions may read the network's input", op->name);
    if (a->program->elided[o]) {
        a->program->gradient[op->x] = a->program->gradient[op->y];
        a->written[op->x] = true;
        return DG_OK;
    }
    if (op->kind == DG_OP_CONV || dg_op_backward_reads_x(op->kind)) DG_TRY(want_value(a, op->x));
    DG_TRY(want_value(a, op->gate));
    /* A slice never had a contribution of its own when its root did: its place follows from the root's. */
    if (a->program->gradient[op->y].block == DG_BLOCK_NONE) {
        const dg_graph_tensor *y = &a->graph->tensor[op->y];
        const dg_slot *whole = &a->program->gradient[y->root];
        a->program->gradient[op->y] = (dg_slot){whole->block, y->first, whole->pitch};
    }
    switch (op->kind) {
    case DG_OP_CONV: return differentiate_conv(a, o);
    case DG_OP_NORM: return differentiate_norm(a, o);
    default: return differentiate_other(a, o);
    }
}

dg_status dg_program_differentiate(dg_program *program)
{
    autodiff a = {.program = program, .graph = &program->model->graph};
    dg_status status = DG_OK;
    bool accumulate = false;
    DG_TRY_GOTO(status, DG_NEW(&a.written, a.graph->tensors, "gradient flags"), done);
    DG_TRY_GOTO(status, DG_NEW(&a.made, a.graph->tensors, "recompute flags"), done);
    DG_TRY_GOTO(status, contribute(&a, a.graph->output, &accumulate), done);
    for (int o = a.graph->ops - 1; o >= 0; o--) DG_TRY_GOTO(status, differentiate(&a, o), done);
done:
    dg_free(&a.made);
    dg_free(&a.written);
    return status;
}

/* The last backward step that adds to each parameter's gradient. */
static void find_last_steps(const dg_program *program, int *last)
{
    for (int s = program->forward_steps; s < program->steps; s++) {
        const dg_step *step = &program->step[s];
        const dg_graph_op *op = &program->model->graph.op[step->op];
        if (step->kind != DG_STEP_BACKWARD && step->kind != DG_STEP_BACKWARD_WEIGHTS) continue;
        if (op->weight >= 0) last[op->weight] = s;
        if (op->bias >= 0) last[op->bias] = s;
    }
}

dg_status dg_program_find_ready(dg_program *program)
{
    const dg_param_table *table = &program->model->params;
    int *last = NULL;
    DG_TRY(DG_NEW(&last, table->count + 1, "parameter steps"));
    find_last_steps(program, last);
    const int64_t stride = program->config.ready_stride > 0 ? program->config.ready_stride : 1;
    int64_t told = table->total; /* the last offset that was reported */
    int open = table->count;     /* parameters from here on are complete */
    for (int s = program->forward_steps; s < program->steps; s++) {
        while (open > 0 && last[open - 1] <= s) open--;
        const int64_t first = open == table->count ? table->total : open > 0 ? table->item[open].offset : 0;
        if (first == told || (first > 0 && (table->total - first) / stride == (table->total - told) / stride)) continue;
        program->step[s].ready = told = first;
    }
    dg_free(&last);
    return DG_OK;
}
