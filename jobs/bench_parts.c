/* bench_parts.c - `dosegrid bench conv`, `bench io` and `bench allreduce`. SPDX-License-Identifier: Apache-2.0 */
#include "bench_impl.h"

#include "dg_cohort.h"
#include "dg_conv_floor.h"
#include "dg_mem.h"
#include "dg_rng.h"
#include "dg_trace.h"

/* Sums over the network's 3x3x3 convolutions; the input's gradient of the first is left out, as in training. */
static dg_status add_floors(const bench_settings *s, const dg_model *model, int threads, json_t *layers,
                            dg_conv_times *sum)
{
    const dg_graph *graph = &model->graph;
    for (int i = 0; i < graph->ops; i++) {
        const dg_graph_op *op = &graph->op[i];
        if (op->kind != DG_OP_CONV || op->kernel != 3) continue;
        const dg_graph_tensor *x = &graph->tensor[op->x], *y = &graph->tensor[op->y];
        const int64_t edge = s->patch >> x->level;
        const dg_conv_desc desc = {.kind = DG_CONV_SAME,
                                   .kernel = 3,
                                   .n = s->batch,
                                   .z = edge,
                                   .y = edge,
                                   .x = edge,
                                   .cin = x->c,
                                   .cout = y->c,
                                   .dtype = s->dtype == BENCH_BF16 ? DG_BF16 : DG_F32,
                                   .training = true};
        dg_conv_times times;
        DG_TRY(dg_conv_floor(&desc, threads, (int)s->steps, &times));
        if (op->x == graph->input) times.data_s = 0.0;
        sum->forward_s += times.forward_s;
        sum->data_s += times.data_s;
        sum->weights_s += times.weights_s;
        json_array_append_new(layers, json_pack("{s:s, s:I, s:I, s:I, s:f, s:f, s:f}", "name", op->name, "cin",
                                                (json_int_t)x->c, "cout", (json_int_t)y->c, "edge", (json_int_t)edge,
                                                "forward_ms", 1e3 * times.forward_s, "data_ms", 1e3 * times.data_s,
                                                "weights_ms", 1e3 * times.weights_s));
    }
    return DG_OK;
}

dg_status bench_conv(const dg_job_env *env, const bench_settings *s, json_t **answer)
{
    dg_model *model = NULL;
    dg_backend *backend = NULL;
    dg_conv_times sum = {0};
    json_t *layers = NULL;
    dg_status status;
    if (env->comm->rank != 0) return DG_OK;
    DG_TRY_GOTO(status, bench_create_model(s, &model), cleanup);
    DG_TRY_GOTO(status, bench_create_backend(env, s, &backend), cleanup);
    layers = json_array();
    DG_TRY_GOTO(status, add_floors(s, model, backend->options.threads, layers, &sum), cleanup);
    *answer =
        json_pack("{s:f, s:f, s:f, s:f, s:s, s:O}", "forward_ms", 1e3 * sum.forward_s, "data_ms", 1e3 * sum.data_s,
                  "weights_ms", 1e3 * sum.weights_s, "training_ms", 1e3 * (sum.forward_s + sum.data_s + sum.weights_s),
                  "library", backend->description, "layers", layers);
    if (*answer == NULL) status = DG_FAIL(DG_ERR_MEMORY, "no memory for the answer");
cleanup:
    json_decref(layers);
    dg_backend_destroy(&backend);
    dg_model_destroy(&model);
    return status;
}

/* A patch of CT, dose and the distance maps of all structures, as f32 channels: what a training sample reads. */
static dg_status read_patch(dg_case *c, const dg_box *box, float *values)
{
    const dg_case_info *info = dg_case_get_info(c);
    DG_TRY(dg_case_read(c, DG_FIELD_CT_HU, 0, box, values));
    if (info->has_dose) DG_TRY(dg_case_read(c, DG_FIELD_DOSE_GY, 0, box, values));
    for (int k = 0; k < info->structure_count; k++) DG_TRY(dg_case_read(c, DG_FIELD_SDF_MM, k, box, values));
    return DG_OK;
}

static dg_box draw_box(const dg_grid *grid, int64_t patch, dg_rng *stream)
{
    dg_box box;
    for (int a = 0; a < 3; a++) {
        const int64_t room = grid->shape[a] > patch ? grid->shape[a] - patch + 1 : 1;
        box.shape[a] = patch;
        box.start[a] = dg_rng_below(stream, room);
    }
    return box;
}

/* Patches at random places of the first `cases` cases, which stay open as they do in training; median seconds. */
static dg_status time_patches(const bench_settings *s, const dg_cohort *cohort, int64_t cases, double *median,
                              double *least)
{
    dg_rng stream = dg_rng_stream(42, DG_RNG_SAMPLE, 0, 0);
    dg_case **open = NULL;
    float *values = NULL;
    double *seconds = NULL;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&open, cases, "open cases"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&values, s->patch * s->patch * s->patch, "patch"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&seconds, s->steps, "times"), cleanup);
    for (int64_t i = 0; i < cases; i++) DG_TRY_GOTO(status, dg_case_open(cohort, i, &open[i]), cleanup);
    for (int64_t i = -1; i < s->steps; i++) {
        dg_case *c = open[dg_rng_below(&stream, cases)];
        const dg_box box = draw_box(&dg_case_get_info(c)->grid, s->patch, &stream);
        const double start = dg_time_s();
        DG_TRY_GOTO(status, read_patch(c, &box, values), cleanup);
        if (i >= 0) seconds[i] = dg_time_s() - start;
    }
    *median = bench_median(seconds, s->steps);
    *least = seconds[0];
cleanup:
    for (int64_t i = 0; open != NULL && i < cases; i++) dg_case_close(&open[i]);
    dg_free(&seconds);
    dg_free(&values);
    dg_free(&open);
    return status;
}

dg_status bench_io(const dg_job_env *env, const bench_settings *s, json_t **answer)
{
    enum { OPEN_CASES = 16 }; /* what the trainer keeps open */
    dg_cohort *cohort = NULL;
    double median, least, any_median, any_least;
    dg_status status;
    if (s->path == NULL) return DG_FAIL(DG_ERR_USAGE, "bench io wants a cohort: dosegrid bench io COHORT");
    if (env->comm->rank != 0) return DG_OK;
    DG_TRY_GOTO(status, dg_cohort_open(s->path, &cohort), cleanup);
    const int64_t count = dg_cohort_count(cohort);
    if (count == 0) {
        status = DG_FAIL(DG_ERR_DATA, "the cohort has no cases");
        goto cleanup;
    }
    DG_TRY_GOTO(status, time_patches(s, cohort, 1, &median, &least), cleanup);
    DG_TRY_GOTO(status, time_patches(s, cohort, count < OPEN_CASES ? count : OPEN_CASES, &any_median, &any_least),
                cleanup);
    *answer = json_pack("{s:f, s:f, s:f, s:f, s:I}", "median_s", median, "min_s", least, "any_case_median_s",
                        any_median, "any_case_min_s", any_least, "cases", (json_int_t)count);
    if (*answer == NULL) status = DG_FAIL(DG_ERR_MEMORY, "no memory for the answer");
cleanup:
    dg_cohort_close(&cohort);
    return status;
}

dg_status bench_allreduce(const dg_job_env *env, const bench_settings *s, json_t **answer)
{
    const int64_t count = s->megabytes * 1048576 / (int64_t)sizeof(float);
    float *data = NULL;
    double *seconds = NULL;
    dg_status status = DG_NEW(&data, count, "buffer");
    if (status == DG_OK) status = DG_NEW(&seconds, s->steps, "times");
    status = dg_comm_agree(env->comm, status);
    for (int64_t i = -1; i < s->steps && status == DG_OK; i++) {
        DG_TRY_GOTO(status, dg_comm_barrier(env->comm), cleanup);
        const double start = dg_time_s();
        DG_TRY_GOTO(status, dg_comm_all_reduce(env->comm, data, count, DG_F32, DG_SUM), cleanup);
        if (i >= 0) seconds[i] = dg_time_s() - start;
    }
    if (status == DG_OK) {
        const double median = bench_median(seconds, s->steps);
        *answer = json_pack("{s:f, s:f, s:i, s:f}", "median_s", median, "min_s", seconds[0], "ranks", env->comm->size,
                            "mb_per_s", (double)s->megabytes / median);
        if (*answer == NULL) status = DG_FAIL(DG_ERR_MEMORY, "no memory for the answer");
    }
cleanup:
    dg_free(&seconds);
    dg_free(&data);
    return status;
}
