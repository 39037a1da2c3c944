/* dg_plan_estimate.c - what a plan would take, from the program alone. SPDX-License-Identifier: Apache-2.0 */
#include "plan_impl.h"

static double op_flops(const dg_program *program, const dg_graph_op *op)
{
    const dg_tensor x = dg_program_shape(program, op->x, &program->value[0][op->x]);
    const dg_tensor y = dg_program_shape(program, op->y, &program->value[0][op->y]);
    const double voxels = (double)x.n * (double)dg_tensor_voxels(&x), taps = op->kernel * op->kernel * op->kernel;
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
