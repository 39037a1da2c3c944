/* dg_plan_estimate.c - what a plan would take, from the program alone. SPDX-License-Identifier: Apache-2.0 */
#include "plan_impl.h"

#include "dg_mem.h"

static double op_flops(const dg_program *program, const dg_graph_op *op)
{
    const dg_tensor x = dg_program_shape(program, op->x, &program->value[0][op->x]);
    const dg_tensor y = dg_program_shape(program, op->y, &program->value[0][op->y]);
    const dg_tensor *small = op->kind == DG_OP_CONV && op->conv == DG_CONV_STRIDE2 ? &y : &x;
    const double voxels = (double)x.n * (double)dg_tensor_voxels(small), taps = op->kernel * op->kernel * op->kernel;
    switch (op->kind) {
    case DG_OP_CONV: return 2.0 * voxels * taps * (double)x.c * (double)y.c;
    case DG_OP_LINEAR: return 2.0 * voxels * (double)x.c * (double)y.c;
    case DG_OP_ATTENTION: return 4.0 * voxels * (double)dg_tensor_voxels(&x) * (double)y.c;
    default: return 0.0;
    }
}

static int64_t packed_bytes(const dg_program *program)
{
    const dg_graph *graph = &program->model->graph;
    const int64_t copies = program->config.training ? 2 : 1; /* forward and data gradient read different layouts */
    int64_t bytes = 0;
    for (int o = 0; o < graph->ops; o++)
        if (graph->op[o].kind == DG_OP_CONV)
            bytes += copies * program->model->params.item[graph->op[o].weight].count *
                     (int64_t)dg_dtype_size(program->config.dtype);
    return bytes;
}

dg_status dg_plan_estimate(const dg_model *model, const dg_plan_config *config, dg_plan_memory *memory,
                           double *forward_flops)
{
    dg_program program;
    DG_TRY(dg_program_compile(model, config, NULL, &program));
    *memory = (dg_plan_memory){.arena_bytes = program.arena_bytes,
                               .packed_bytes = packed_bytes(&program),
                               .parameter_bytes = model->params.total * (int64_t)sizeof(float)};
    if (forward_flops != NULL) {
        *forward_flops = 0.0;
        for (int o = 0; o < model->graph.ops; o++) *forward_flops += op_flops(&program, &model->graph.op[o]);
    }
    dg_program_release(&program);
    return DG_OK;
}

static double tensor_bytes(const dg_program *program, int t)
{
    if (t < 0) return 0.0;
    const dg_tensor x = dg_program_shape(program, t, &program->value[0][t]);
    return (double)x.n * (double)dg_tensor_voxels(&x) * (double)x.c * (double)dg_dtype_size(x.dtype);
}

/* Weights as a convolution reads them, and as their gradient is added to. */
static double weight_bytes(const dg_program *program, const dg_graph_op *op, bool gradient)
{
    if (op->weight < 0) return 0.0;
    const double count = (double)program->model->params.item[op->weight].count;
    const bool packed = op->kind == DG_OP_CONV && !gradient;
    return count * (gradient ? 2.0 * sizeof(float)
                    : packed ? (double)dg_dtype_size(program->config.dtype)
                             : sizeof(float));
}

/* What a step reads and writes; see dg_plan_cost. */
static double step_bytes(const dg_program *program, const dg_step *step)
{
    const dg_graph_op *op = &program->model->graph.op[step->op];
    const double x = tensor_bytes(program, op->x), y = tensor_bytes(program, op->y);
    const double residual = tensor_bytes(program, op->residual), gate = tensor_bytes(program, op->gate);
    const double again = step->accumulate ? x : 0.0;
    const bool normalises = op->kind == DG_OP_NORM && op->norm.groups > 0;
    switch (step->kind) {
    case DG_STEP_FORWARD: return x * (normalises ? 2.0 : 1.0) + y + residual + gate + weight_bytes(program, op, false);
    case DG_STEP_BACKWARD_WEIGHTS: return x + y + weight_bytes(program, op, true);
    case DG_STEP_BACKWARD_DATA: return y + x + again + weight_bytes(program, op, false);
    case DG_STEP_RESIDUAL_GRADIENT: return y + residual * (step->accumulate ? 2.0 : 1.0);
    case DG_STEP_BACKWARD: break;
    }
    const double values = dg_op_backward_reads_x(op->kind) ? x : 0.0;
    return (values + y) * (normalises ? 2.0 : 1.0) + x + again + 2.0 * gate + weight_bytes(program, op, true);
}

/* Forward once; backward of a product is two of them, which convolutions do in two steps. */
static double step_flops(const dg_program *program, const dg_step *step)
{
    if (step->kind == DG_STEP_RESIDUAL_GRADIENT) return 0.0;
    return op_flops(program, &program->model->graph.op[step->op]) * (step->kind == DG_STEP_BACKWARD ? 2.0 : 1.0);
}

static dg_status costs_of(const dg_program *program, dg_plan_cost **out, int *count)
{
    const dg_graph_op *ops = program->model->graph.op;
    *count = 0;
    DG_TRY(DG_NEW(out, program->steps, "costs of a plan"));
    for (int s = 0; s < program->steps; s++) {
        const dg_step *step = &program->step[s];
        (*out)[s] = (dg_plan_cost){.name = ops[step->op].name,
                                   .what = dg_plan_range_name(step, ops[step->op].kind),
                                   .kind = ops[step->op].kind,
                                   .backward = s >= program->forward_steps,
                                   .flops = step_flops(program, step),
                                   .bytes = step_bytes(program, step),
                                   .ready = step->ready};
    }
    *count = program->steps;
    return DG_OK;
}

dg_status dg_plan_costs(const dg_model *model, const dg_plan_config *config, dg_plan_cost **out, int *count)
{
    dg_program program;
    *out = NULL;
    DG_TRY(dg_program_compile(model, config, NULL, &program));
    const dg_status status = costs_of(&program, out, count);
    dg_program_release(&program);
    return status;
}

static dg_status time_step(dg_plan *plan, const dg_step *step, float *gradients, double *best)
{
    DG_TRY(plan->backend->ops->sync(plan->backend));
    const double begin = dg_time_s();
    DG_TRY(dg_plan_run_step(plan, step, gradients, NULL));
    DG_TRY(plan->backend->ops->sync(plan->backend));
    const double seconds = dg_time_s() - begin;
    if (*best == 0.0 || seconds < *best) *best = seconds;
    return DG_OK;
}

dg_status dg_plan_measure(dg_plan *plan, float *gradients, int repeats, dg_plan_cost **out, int *count)
{
    dg_status status = DG_OK;
    *out = NULL;
    if (plan->weights == NULL) return DG_FAIL(DG_ERR_INTERNAL, "plan has no weights; call dg_plan_set_weights first");
    DG_TRY(costs_of(&plan->program, out, count));
    for (int r = 0; r < repeats && status == DG_OK; r++)
        for (int s = 0; s < *count && status == DG_OK; s++)
            status = time_step(plan, &plan->program.step[s], gradients, &(*out)[s].seconds);
    if (status != DG_OK) dg_free(out);
    return status;
}
