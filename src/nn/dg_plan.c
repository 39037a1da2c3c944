/* dg_plan.c - a program on a backend: memory, prepared convolutions, and running the steps.
 * SPDX-License-Identifier: Apache-2.0 */
#include "plan_impl.h"

#include "dg_mem.h"

#include <string.h>

static dg_tensor view(const dg_plan *plan, int t, const dg_slot *slots)
{
    const dg_slot *slot = &slots[t];
    dg_tensor tensor = dg_program_shape(&plan->program, t, slot);
    unsigned char *base = NULL;
    if (slot->block == DG_BLOCK_EXTERNAL)
        base = plan->input_gradient;
    else if (slot->block >= 0)
        base = (unsigned char *)plan->arena + plan->program.block[slot->block].offset;
    if (base != NULL) tensor.data = base + slot->channel * (int64_t)dg_dtype_size(tensor.dtype);
    return tensor;
}

static const float *parameter(const dg_plan *plan, int index)
{
    return index < 0 ? NULL : plan->weights + plan->program.model->params.item[index].offset;
}

static float *parameter_gradient(const dg_plan *plan, int index, float *gradients)
{
    return index < 0 || gradients == NULL ? NULL : gradients + plan->program.model->params.item[index].offset;
}

static float *statistics(const dg_plan *plan, int o)
{
    int block = plan->program.stats[o];
    return block < 0 ? NULL : (float *)((unsigned char *)plan->arena + plan->program.block[block].offset);
}

static dg_status create_conv(dg_plan *plan, int o)
{
    const dg_graph_op *op = &plan->program.model->graph.op[o];
    const dg_conv_desc desc = dg_program_conv(&plan->program, o);
    dg_status status = plan->backend->ops->conv_create(plan->backend, &desc, &plan->conv[o]);
    return status == DG_OK ? DG_OK : dg_error_context(status, "convolution '%s'", op->name);
}

/* One block of memory holds all activations: its name says of what, and which of them is the largest. */
static dg_status allocate_arena(dg_plan *plan)
{
    const dg_program *program = &plan->program;
    const dg_plan_config *c = &program->config;
    const dg_block *largest = NULL;
    char what[200];
    for (int b = 0; b < program->blocks; b++)
        if (largest == NULL || program->block[b].bytes > largest->bytes) largest = &program->block[b];
    snprintf(what, sizeof what,
             "activations of %lld x %lld x %lld x %lld voxels in %s for %s (the largest, %.60s: %.1f MiB)",
             (long long)c->n, (long long)c->z, (long long)c->y, (long long)c->x, c->dtype == DG_BF16 ? "bf16" : "f32",
             c->training ? "training" : "prediction", largest != NULL ? largest->name : "none",
             largest != NULL ? (double)largest->bytes / 1048576.0 : 0.0);
    return plan->backend->ops->alloc(plan->backend, program->arena_bytes, what, &plan->arena);
}

static dg_status instantiate(dg_plan *plan)
{
    const dg_graph *graph = &plan->program.model->graph;
    dg_backend *backend = plan->backend;
    DG_TRY(DG_NEW(&plan->conv, graph->ops, "plan convolutions"));
    const int64_t before = backend->bytes_allocated;
    for (int o = 0; o < graph->ops; o++)
        if (graph->op[o].kind == DG_OP_CONV) DG_TRY(create_conv(plan, o));
    plan->packed_bytes = backend->bytes_allocated - before;
    return allocate_arena(plan);
}

dg_status dg_plan_create(const dg_model *model, dg_backend *backend, const dg_plan_config *config, dg_plan **out)
{
    dg_plan *plan = NULL;
    dg_status status = DG_OK;
    DG_TRY(DG_NEW(&plan, 1, "plan"));
    plan->backend = backend;
    DG_TRY_GOTO(status, dg_program_compile(model, config, backend, &plan->program), failed);
    DG_TRY_GOTO(status, instantiate(plan), failed);
    *out = plan;
    return DG_OK;
failed:
    dg_plan_destroy(&plan);
    return status;
}

void dg_plan_destroy(dg_plan **plan)
{
    if (plan == NULL || *plan == NULL) return;
    dg_plan *p = *plan;
    dg_backend *backend = p->backend;
    dg_plan_forget(p);
    for (int o = 0; p->conv != NULL && o < p->program.model->graph.ops; o++)
        if (p->conv[o] != NULL) backend->ops->conv_destroy(backend, p->conv[o]);
    if (p->arena != NULL) backend->ops->free(backend, p->arena);
    if (p->input_gradient != NULL) backend->ops->free(backend, p->input_gradient);
    dg_free(&p->conv);
    dg_program_release(&p->program);
    dg_free(plan);
}

dg_status dg_plan_set_weights(dg_plan *plan, const float *weights)
{
    const dg_graph *graph = &plan->program.model->graph;
    if (plan->weights != weights) dg_plan_forget(plan); /* recorded work has the pointers of its time */
    plan->weights = weights;
    for (int o = 0; o < graph->ops; o++) {
        const dg_graph_op *op = &graph->op[o];
        if (op->kind != DG_OP_CONV) continue;
        DG_TRY(plan->backend->ops->conv_pack(plan->backend, plan->conv[o], parameter(plan, op->weight),
                                             parameter(plan, op->bias)));
    }
    return DG_OK;
}

dg_tensor dg_plan_input(const dg_plan *plan)
{
    return view(plan, plan->program.model->graph.input, plan->program.value[0]);
}

dg_tensor dg_plan_constraints(const dg_plan *plan)
{
    int t = plan->program.model->graph.constraints;
    return t < 0 ? (dg_tensor){.data = NULL} : view(plan, t, plan->program.value[0]);
}

dg_tensor dg_plan_output(const dg_plan *plan)
{
    return view(plan, plan->program.model->graph.output, plan->program.value[0]);
}

dg_tensor dg_plan_output_gradient(const dg_plan *plan)
{
    if (!plan->program.config.training) return (dg_tensor){.data = NULL};
    return view(plan, plan->program.model->graph.output, plan->program.gradient);
}

dg_status dg_plan_want_input_gradient(dg_plan *plan)
{
    if (!plan->program.config.training)
        return DG_FAIL(DG_ERR_INTERNAL, "an inference plan has no gradients; create it with training set");
    if (plan->input_gradient != NULL) return DG_OK;
    dg_plan_forget(plan);
    dg_tensor shape = dg_plan_input(plan);
    int64_t bytes = shape.n * dg_tensor_voxels(&shape) * shape.c * (int64_t)dg_dtype_size(shape.dtype);
    return plan->backend->ops->alloc(plan->backend, bytes, "gradient of the input", &plan->input_gradient);
}

dg_tensor dg_plan_input_gradient(const dg_plan *plan)
{
    if (plan->input_gradient == NULL) return (dg_tensor){.data = NULL};
    return view(plan, plan->program.model->graph.input, plan->program.gradient);
}

dg_tensor dg_plan_activation(const dg_plan *plan, const char *name)
{
    int t = dg_graph_find(&plan->program.model->graph, name);
    if (t < 0 || !plan->program.config.keep_all) return (dg_tensor){.data = NULL};
    return view(plan, t, plan->program.value[0]);
}

dg_plan_memory dg_plan_get_memory(const dg_plan *plan)
{
    return (dg_plan_memory){.arena_bytes = plan->program.arena_bytes,
                            .packed_bytes = plan->packed_bytes,
                            .parameter_bytes = plan->program.model->params.total * (int64_t)sizeof(float)};
}

/* A norm and what runs in its pass. */
static dg_status run_fused(dg_plan *plan, int o)
{
    const dg_program *program = &plan->program;
    const dg_graph_op *ops = program->model->graph.op, *op = &ops[o];
    const dg_slot *value = program->value[0];
    const dg_fused_ops *fused = &program->fused[o];
    const bool pools = fused->reader >= 0 && ops[fused->reader].kind == DG_OP_POOL;
    dg_tensor x = view(plan, op->x, value), y = view(plan, op->y, value), film, residual, made_from, read_by;
    dg_norm_fusion with = {.pooled = NULL};
    if (op->film >= 0) film = view(plan, op->film, value);
    if (fused->residual >= 0) {
        made_from = view(plan, ops[fused->residual].x, value);
        with.residual_conv = plan->conv[fused->residual];
        with.residual_x = &made_from;
    } else if (op->residual >= 0) {
        residual = view(plan, op->residual, value);
    }
    if (fused->reader >= 0) {
        read_by = view(plan, ops[fused->reader].y, value);
        with.pooled = pools ? &read_by : NULL;
        with.head = plan->conv[fused->reader];
        with.head_y = pools ? NULL : &read_by;
    }
    return plan->backend->ops->norm_forward_fused(plan->backend, &op->norm, &x, parameter(plan, op->weight),
                                                  parameter(plan, op->bias), op->film >= 0 ? film.data : NULL,
                                                  op->residual >= 0 && fused->residual < 0 ? &residual : NULL,
                                                  statistics(plan, o), &y, &with);
}

static dg_status run_forward(dg_plan *plan, const dg_step *step)
{
    const dg_graph_op *op = &plan->program.model->graph.op[step->op];
    const dg_slot *value = plan->program.value[step->late ? 1 : 0];
    dg_backend *backend = plan->backend;
    const dg_backend_ops *ops = backend->ops;
    dg_tensor x = view(plan, op->x, value), y = view(plan, op->y, value), film, residual, gate;
    if (plan->program.fused[step->op].residual >= 0 || plan->program.fused[step->op].reader >= 0)
        return run_fused(plan, step->op);
    if (op->film >= 0) film = view(plan, op->film, value);
    if (op->residual >= 0) residual = view(plan, op->residual, value);
    switch (op->kind) {
    case DG_OP_CONV: return ops->conv_forward(backend, plan->conv[step->op], &x, &y);
    case DG_OP_NORM:
        return ops->norm_forward(backend, &op->norm, &x, parameter(plan, op->weight), parameter(plan, op->bias),
                                 op->film >= 0 ? film.data : NULL, op->residual >= 0 ? &residual : NULL,
                                 statistics(plan, step->op), &y);
    case DG_OP_LAYER_NORM:
        return ops->layer_norm_forward(backend, op->norm.eps, &x, parameter(plan, op->weight),
                                       parameter(plan, op->bias), statistics(plan, step->op), &y);
    case DG_OP_ACT: return ops->act_forward(backend, op->norm.act, op->norm.negative_slope, &x, &y);
    case DG_OP_COPY: return ops->copy(backend, &x, &y, false);
    case DG_OP_GATE: gate = view(plan, op->gate, value); return ops->gate_forward(backend, &x, &gate, &y);
    case DG_OP_POOL: return ops->pool_forward(backend, &x, &y);
    case DG_OP_RESIZE: return ops->resize_forward(backend, &x, &y);
    case DG_OP_LINEAR:
        return ops->linear_forward(backend, &x, parameter(plan, op->weight), parameter(plan, op->bias), &y);
    case DG_OP_ATTENTION: return ops->attention_forward(backend, op->heads, &x, &y);
    }
    return DG_FAIL(DG_ERR_INTERNAL, "operation '%s' has unknown kind %d", op->name, (int)op->kind);
}

static dg_status run_backward_conv(dg_plan *plan, const dg_step *step, float *gradients)
{
    const dg_program *program = &plan->program;
    const dg_graph_op *op = &program->model->graph.op[step->op];
    const dg_tensor dy = view(plan, op->y, program->gradient);
    dg_conv *conv = plan->conv[step->op];
    if (step->kind == DG_STEP_BACKWARD_WEIGHTS && gradients == NULL) return DG_OK;
    if (step->kind == DG_STEP_BACKWARD_WEIGHTS) {
        const dg_tensor x = view(plan, op->x, program->value[1]);
        return plan->backend->ops->conv_backward_weights(plan->backend, conv, &x, &dy,
                                                         parameter_gradient(plan, op->weight, gradients),
                                                         parameter_gradient(plan, op->bias, gradients));
    }
    dg_tensor dx = view(plan, op->x, program->gradient);
    if (dx.data == NULL) return DG_OK; /* the input's gradient, not wanted */
    return plan->backend->ops->conv_backward_data(plan->backend, conv, &dy, &dx);
}

static dg_status run_backward_norm(dg_plan *plan, const dg_step *step, float *gradients)
{
    const dg_program *program = &plan->program;
    const dg_graph_op *op = &program->model->graph.op[step->op];
    const dg_tensor x = view(plan, op->x, program->value[1]), dy = view(plan, op->y, program->gradient);
    dg_tensor dx = view(plan, op->x, program->gradient);
    float *film = NULL, *dfilm = NULL;
    if (op->film >= 0) {
        film = view(plan, op->film, program->value[1]).data;
        dfilm = view(plan, op->film, program->gradient).data;
    }
    return plan->backend->ops->norm_backward(plan->backend, &op->norm, &x, parameter(plan, op->weight),
                                             parameter(plan, op->bias), film, statistics(plan, step->op), &dy, &dx,
                                             step->accumulate, parameter_gradient(plan, op->weight, gradients),
                                             parameter_gradient(plan, op->bias, gradients), dfilm);
}

static dg_status run_backward(dg_plan *plan, const dg_step *step, float *gradients)
{
    const dg_program *program = &plan->program;
    const dg_graph_op *op = &program->model->graph.op[step->op];
    dg_backend *backend = plan->backend;
    const dg_backend_ops *ops = backend->ops;
    const dg_tensor x = view(plan, op->x, program->value[1]), dy = view(plan, op->y, program->gradient);
    dg_tensor dx = view(plan, op->x, program->gradient), dgate;
    float *dw = parameter_gradient(plan, op->weight, gradients), *db = parameter_gradient(plan, op->bias, gradients);
    switch (op->kind) {
    case DG_OP_NORM: return run_backward_norm(plan, step, gradients);
    case DG_OP_LAYER_NORM:
        return ops->layer_norm_backward(backend, &x, parameter(plan, op->weight), statistics(plan, step->op), &dy, &dx,
                                        step->accumulate, dw, db);
    case DG_OP_ACT:
        return ops->act_backward(backend, op->norm.act, op->norm.negative_slope, &x, &dy, &dx, step->accumulate);
    case DG_OP_COPY: return ops->copy(backend, &dy, &dx, step->accumulate);
    case DG_OP_GATE: {
        const dg_tensor gate = view(plan, op->gate, program->value[1]);
        dgate = view(plan, op->gate, program->gradient);
        return ops->gate_backward(backend, &x, &gate, &dy, &dx, step->accumulate, &dgate);
    }
    case DG_OP_POOL: return ops->pool_backward(backend, &x, &dy, &dx, step->accumulate);
    case DG_OP_RESIZE: return ops->resize_backward(backend, &dy, &dx, step->accumulate);
    case DG_OP_LINEAR:
        return ops->linear_backward(backend, &x, parameter(plan, op->weight), &dy, dx.data != NULL ? &dx : NULL,
                                    step->accumulate, dw, db);
    case DG_OP_ATTENTION: return ops->attention_backward(backend, op->heads, &x, &dy, &dx);
    case DG_OP_CONV: break;
    }
    return DG_FAIL(DG_ERR_INTERNAL, "operation '%s' has no single backward step", op->name);
}

/* Names of ranges must outlive the trace, so they are literals of the kind, not names of operations. */
const char *dg_plan_range_name(const dg_step *step, dg_op_kind kind)
{
    if (step->kind == DG_STEP_BACKWARD_WEIGHTS) return "conv weights";
    if (step->kind == DG_STEP_BACKWARD_DATA) return "conv data";
    if (step->kind == DG_STEP_RESIDUAL_GRADIENT) return "residual backward";
    if (step->kind == DG_STEP_FORWARD) return dg_op_kind_name(kind);
    switch (kind) {
    case DG_OP_NORM: return "norm backward";
    case DG_OP_POOL: return "pool backward";
    case DG_OP_RESIZE: return "resize backward";
    case DG_OP_LINEAR: return "linear backward";
    default: return "other backward";
    }
}

static dg_status run_step(dg_plan *plan, const dg_step *step, float *gradients)
{
    if (step->kind == DG_STEP_FORWARD) return run_forward(plan, step);
    if (step->kind == DG_STEP_BACKWARD) return run_backward(plan, step, gradients);
    if (step->kind != DG_STEP_RESIDUAL_GRADIENT) return run_backward_conv(plan, step, gradients);
    const dg_graph_op *op = &plan->program.model->graph.op[step->op];
    const dg_tensor dy = view(plan, op->y, plan->program.gradient);
    dg_tensor dr = view(plan, op->residual, plan->program.gradient);
    if (dr.data == NULL) return DG_OK; /* the network's input is the residual, and its gradient is not wanted */
    return plan->backend->ops->copy(plan->backend, &dy, &dr, step->accumulate);
}

dg_status dg_plan_run_step(dg_plan *plan, const dg_step *step, float *gradients, dg_trace *trace)
{
    const dg_graph_op *op = &plan->program.model->graph.op[step->op];
    int64_t range = dg_range_begin(trace, dg_plan_range_name(step, op->kind));
    dg_status status = run_step(plan, step, gradients);
    dg_range_end(trace, range);
    return status == DG_OK ? DG_OK : dg_error_context(status, "operation '%s'", op->name);
}

dg_status dg_plan_forward(dg_plan *plan, dg_trace *trace)
{
    if (plan->weights == NULL) return DG_FAIL(DG_ERR_INTERNAL, "plan has no weights; call dg_plan_set_weights first");
    const dg_pass pass = {.end = plan->program.forward_steps, .trace = trace};
    DG_TRY(dg_plan_run(plan, &pass));
    plan->forward_done = true;
    return DG_OK;
}

dg_status dg_plan_backward(dg_plan *plan, float *gradients, dg_gradients_ready ready, void *ready_context,
                           dg_trace *trace)
{
    if (!plan->program.config.training)
        return DG_FAIL(DG_ERR_INTERNAL, "an inference plan has no backward pass; create it with training set");
    if (!plan->forward_done)
        return DG_FAIL(DG_ERR_INTERNAL, "backward needs a forward pass of its own before it: memory is reused");
    const dg_graph *graph = &plan->program.model->graph;
    for (int o = 0; o < graph->ops && gradients == NULL; o++)
        if (graph->op[o].kind != DG_OP_CONV && graph->op[o].weight >= 0)
            return DG_FAIL(DG_ERR_INTERNAL, "backward of '%s' has no place for its parameters' gradients",
                           graph->op[o].name);
    plan->forward_done = false;
    const dg_pass pass = {.first = plan->program.forward_steps,
                          .end = plan->program.steps,
                          .gradients = gradients,
                          .ready = ready,
                          .context = ready_context,
                          .trace = trace};
    return dg_plan_run(plan, &pass);
}

static void print_place(const dg_plan *plan, FILE *stream, const char *role, int t, const dg_slot *slots)
{
    if (t < 0 || slots[t].block < 0) return;
    const dg_tensor shape = dg_program_shape(&plan->program, t, &slots[t]);
    fprintf(stream, "  %s [%lld,%lld,%lld,%lld,%lld]%s @%lld", role, (long long)shape.n, (long long)shape.z,
            (long long)shape.y, (long long)shape.x, (long long)shape.c, shape.pitch != shape.c ? " slice" : "",
            (long long)(plan->program.block[slots[t].block].offset +
                        slots[t].channel * (int64_t)dg_dtype_size(shape.dtype)));
}

void dg_plan_print(const dg_plan *plan, FILE *stream)
{
    const dg_program *program = &plan->program;
    for (int s = 0; s < program->steps; s++) {
        const dg_step *step = &program->step[s];
        const dg_graph_op *op = &program->model->graph.op[step->op];
        fprintf(stream, "%4d %-18s %-24s", s, dg_plan_range_name(step, op->kind), op->name);
        if (step->kind == DG_STEP_FORWARD) {
            print_place(plan, stream, "x", op->x, program->value[step->late ? 1 : 0]);
            print_place(plan, stream, "y", op->y, program->value[step->late ? 1 : 0]);
        } else {
            print_place(plan, stream, "dy", op->y, program->gradient);
            int target = step->kind == DG_STEP_RESIDUAL_GRADIENT ? op->residual : op->x;
            if (step->kind != DG_STEP_BACKWARD_WEIGHTS) print_place(plan, stream, "dx", target, program->gradient);
        }
        fprintf(stream, "%s\n", step->accumulate ? "  +=" : "");
    }
    fprintf(stream, "arena %.1f MB, packed weights %.1f MB, parameters %.1f MB\n", (double)program->arena_bytes * 1e-6,
            (double)plan->packed_bytes * 1e-6, (double)program->model->params.total * 4e-6);
}
