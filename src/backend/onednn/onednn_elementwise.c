/* onednn_elementwise.c - activations, copies, gates and column sums over the threads.
 * SPDX-License-Identifier: Apache-2.0 */
#include "onednn_impl.h"

#include <string.h>

enum { LEAST_PART = 512 };

typedef struct element_job {
    const dg_kernels *kernels;
    onednn_split split;
    dg_activation act;
    float slope;
    const dg_tensor *x, *dy, *gate;
    dg_tensor *y, *dgate;
    bool accumulate;
    int64_t c;
    double *sums;
} element_job;

static element_job job_of(dg_backend *backend, const dg_tensor *x, dg_tensor *y)
{
    return (element_job){.kernels = onednn_of(backend)->kernels,
                         .x = x,
                         .y = y,
                         .c = x->c,
                         .split = onednn_split_of(x->n * dg_tensor_voxels(x), LEAST_PART)};
}

/* Dense tensors are one row of values: narrow channels then still fill the vectors. */
static bool is_dense(const dg_tensor *t) { return t->pitch == t->c; }

static void flatten(const dg_tensor *t, dg_tensor *flat)
{
    *flat = *t;
    int64_t count = t->n * dg_tensor_voxels(t) * t->c, width = count % 64 == 0 ? 64 : 1;
    if (width == 1) return;
    *flat = (dg_tensor){t->data, t->dtype, 1, 1, 1, count / width, width, width};
}

static void run_act(void *context, int64_t item)
{
    const element_job *job = context;
    const int64_t v = item * job->split.part;
    job->kernels->act(job->act, job->slope, dg_rows_at(job->x, v), dg_rows_at(job->y, v),
                      onednn_split_size(&job->split, item), job->c);
}

dg_status onednn_act_forward(dg_backend *backend, dg_activation act, double slope, const dg_tensor *x, dg_tensor *y)
{
    DG_TRY(dg_arguments_same("activation", x, y, NULL));
    dg_tensor flat_x = *x, flat_y = *y;
    if (is_dense(x) && is_dense(y)) {
        flatten(x, &flat_x);
        flatten(y, &flat_y);
    }
    element_job job = job_of(backend, &flat_x, &flat_y);
    job.act = act;
    job.slope = (float)slope;
    onednn_parallel(onednn_of(backend), job.split.parts, run_act, &job);
    return DG_OK;
}

static void run_act_back(void *context, int64_t item)
{
    const element_job *job = context;
    const int64_t v = item * job->split.part;
    job->kernels->act_back(job->act, job->slope, dg_rows_at(job->x, v), dg_rows_at(job->dy, v), dg_rows_at(job->y, v),
                           job->accumulate, onednn_split_size(&job->split, item), job->c);
}

dg_status onednn_act_backward(dg_backend *backend, dg_activation act, double slope, const dg_tensor *x,
                              const dg_tensor *dy, dg_tensor *dx, bool accumulate)
{
    DG_TRY(dg_arguments_same("activation backward", x, dy, dx));
    dg_tensor flat_x = *x, flat_dy = *dy, flat_dx = *dx;
    if (is_dense(x) && is_dense(dy) && is_dense(dx)) {
        flatten(x, &flat_x);
        flatten(dy, &flat_dy);
        flatten(dx, &flat_dx);
    }
    element_job job = job_of(backend, &flat_x, &flat_dx);
    job.dy = &flat_dy;
    job.act = act;
    job.slope = (float)slope;
    job.accumulate = accumulate;
    onednn_parallel(onednn_of(backend), job.split.parts, run_act_back, &job);
    return DG_OK;
}

static void run_copy(void *context, int64_t item)
{
    const element_job *job = context;
    const int64_t v = item * job->split.part;
    job->kernels->copy(dg_rows_at(job->x, v), dg_rows_at(job->y, v), job->accumulate,
                       onednn_split_size(&job->split, item), job->c);
}

dg_status onednn_copy(dg_backend *backend, const dg_tensor *x, dg_tensor *y, bool accumulate)
{
    DG_TRY(dg_arguments_same("copy", x, y, NULL));
    dg_tensor flat_x = *x, flat_y = *y;
    if (is_dense(x) && is_dense(y)) {
        flatten(x, &flat_x);
        flatten(y, &flat_y);
    }
    element_job job = job_of(backend, &flat_x, &flat_y);
    job.accumulate = accumulate;
    onednn_parallel(onednn_of(backend), job.split.parts, run_copy, &job);
    return DG_OK;
}

static void run_gate(void *context, int64_t item)
{
    const element_job *job = context;
    const int64_t v = item * job->split.part;
    job->kernels->gate(dg_rows_at(job->x, v), dg_rows_at(job->gate, v), dg_rows_at(job->y, v),
                       onednn_split_size(&job->split, item), job->c);
}

dg_status onednn_gate_forward(dg_backend *backend, const dg_tensor *x, const dg_tensor *gate, dg_tensor *y)
{
    DG_TRY(dg_arguments_gate(x, gate, y));
    element_job job = job_of(backend, x, y);
    job.gate = gate;
    onednn_parallel(onednn_of(backend), job.split.parts, run_gate, &job);
    return DG_OK;
}

static void run_gate_back(void *context, int64_t item)
{
    const element_job *job = context;
    const int64_t v = item * job->split.part;
    job->kernels->gate_back(dg_rows_at(job->x, v), dg_rows_at(job->gate, v), dg_rows_at(job->dy, v),
                            dg_rows_at(job->y, v), job->accumulate, dg_rows_at(job->dgate, v),
                            onednn_split_size(&job->split, item), job->c);
}

dg_status onednn_gate_backward(dg_backend *backend, const dg_tensor *x, const dg_tensor *gate, const dg_tensor *dy,
                               dg_tensor *dx, bool accumulate_dx, dg_tensor *dgate)
{
    DG_TRY(dg_arguments_gate(x, gate, dy));
    DG_TRY(dg_arguments_gate(dx, dgate, x));
    element_job job = job_of(backend, x, dx);
    job.gate = gate;
    job.dy = dy;
    job.dgate = dgate;
    job.accumulate = accumulate_dx;
    onednn_parallel(onednn_of(backend), job.split.parts, run_gate_back, &job);
    return DG_OK;
}

static void run_columns(void *context, int64_t item)
{
    const element_job *job = context;
    job->kernels->column_sums(dg_rows_at(job->x, item * job->split.part), onednn_split_size(&job->split, item), job->c,
                              job->sums + item * job->c);
}

dg_status onednn_add_column_sums(onednn_backend *backend, const dg_tensor *x, float *out)
{
    element_job job = job_of(&backend->head, x, NULL);
    const int64_t bytes = job.split.parts * job.c * (int64_t)sizeof(double);
    DG_TRY(onednn_scratch(backend, bytes, &job.sums));
    memset(job.sums, 0, (size_t)bytes);
    onednn_parallel(backend, job.split.parts, run_columns, &job);
    for (int64_t k = 0; k < job.c; k++) {
        double sum = 0.0;
        for (int64_t part = 0; part < job.split.parts; part++) sum += job.sums[part * job.c + k];
        out[k] += (float)sum;
    }
    return DG_OK;
}
