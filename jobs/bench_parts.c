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

/* Reads patches of CT, dose and all masks at random places of random cases, as training does. */
static dg_status read_patches(const bench_settings *s, const dg_cohort *cohort, float *values, uint64_t *bits,
                              double *seconds)
{
    dg_rng stream = dg_rng_stream(42, DG_RNG_SAMPLE, 0, 0);
    for (int64_t i = -1; i < s->steps; i++) {
        const int64_t index = dg_rng_below(&stream, dg_cohort_count(cohort));
        const dg_grid *grid = &dg_cohort_case(cohort, index)->grid;
        dg_box box;
        for (int a = 0; a < 3; a++) {
            const int64_t room = grid->shape[a] > s->patch ? grid->shape[a] - s->patch + 1 : 1;
            box.shape[a] = s->patch;
            box.start[a] = dg_rng_below(&stream, room);
        }
        dg_case *c;
        const double start = dg_time_s();
        DG_TRY(dg_case_open(cohort, index, &c));
        dg_status status = dg_case_read(c, DG_FIELD_CT_HU, 0, &box, values);
        if (status == DG_OK && dg_cohort_case(cohort, index)->has_dose)
            status = dg_case_read(c, DG_FIELD_DOSE_GY, 0, &box, values);
        if (status == DG_OK) status = dg_case_read_mask_bits(c, &box, bits);
        dg_case_close(&c);
        DG_TRY(status);
        if (i >= 0) seconds[i] = dg_time_s() - start;
    }
    return DG_OK;
}

dg_status bench_io(const dg_job_env *env, const bench_settings *s, json_t **answer)
{
    dg_cohort *cohort = NULL;
    float *values = NULL;
    uint64_t *bits = NULL;
    double *seconds = NULL;
    dg_status status;
    if (s->path == NULL) return DG_FAIL(DG_ERR_USAGE, "bench io wants a cohort: dosegrid bench io COHORT");
    if (env->comm->rank != 0) return DG_OK;
    const int64_t voxels = s->patch * s->patch * s->patch;
    DG_TRY_GOTO(status, dg_cohort_open(s->path, &cohort), cleanup);
    if (dg_cohort_count(cohort) == 0) {
        status = DG_FAIL(DG_ERR_DATA, "the cohort has no cases");
        goto cleanup;
    }
    DG_TRY_GOTO(status, DG_NEW(&values, voxels, "patch"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&bits, voxels, "patch"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&seconds, s->steps, "times"), cleanup);
    DG_TRY_GOTO(status, read_patches(s, cohort, values, bits, seconds), cleanup);
    const double median = bench_median(seconds, s->steps);
    *answer = json_pack("{s:f, s:f, s:I}", "median_s", median, "min_s", seconds[0], "cases",
                        (json_int_t)dg_cohort_count(cohort));
    if (*answer == NULL) status = DG_FAIL(DG_ERR_MEMORY, "no memory for the answer");
cleanup:
    dg_free(&seconds);
    dg_free(&bits);
    dg_free(&values);
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
