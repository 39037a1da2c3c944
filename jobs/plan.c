/* plan.c - `dosegrid plan`: memory per rank, bytes on the wire and a rough step time of a configuration, before any of
 * it is spent. Rank 0 works. SPDX-License-Identifier: Apache-2.0 */
#include "job.h"

#include "dg_mem.h"
#include "dg_mpi.h"
#include "dg_plan.h"
#include "dg_reducer.h"
#include "dg_trace.h"
#include "predictor.h"
#include "recipe.h"
#include "run_config.h"
#include "split.h"

#include <math.h>
#include <string.h>

/* The backward pass costs two convolutions for each of the forward pass; what is no convolution adds about a third
 * (measured on the baseline network, tests/bench). */
static const double STEP_OVER_FORWARD = 3 * 1.33;
enum { PROBE_FLOATS = 1 << 14 };

typedef enum device { DEVICE_CPU, DEVICE_RTX3090, DEVICE_A100, DEVICE_H100 } device;
static const char *const device_names[] = {"cpu", "rtx3090", "a100", "h100", NULL};
/* Peak bf16 tensor rates of the vendors' data sheets; a 3-D network reaches about a third of them. */
static const double device_gflops[] = {0, 71000.0 / 3, 312000.0 / 3, 989000.0 / 3};
static const double device_memory_mb[] = {0, 24576, 81920, 81920};

typedef struct settings {
    dg_run_config config; /* first: the rows of run_config point into it */
    bool json;
    int device;
    int64_t ranks, channels;
    double gflops, network_gbit;
} settings;

#define ROW(flag_, type_, field, low, high, default_, unit_, help_)                                          \
    {                                                                                                        \
        .key = "plan." flag_, .flag = flag_, .type = type_, .offset = offsetof(settings, field), .min = low, \
        .max = high, .fallback = default_, .unit = unit_, .help = help_                                      \
    }
static const dg_option extra[] = {
    ROW("json", DG_OPT_BOOL, json, 0, 0, "false", "", "answer as JSON"),
    ROW("ranks", DG_OPT_INT, ranks, 1, 65536, "1", "", "ranks that train together"),
    {.key = "plan.device",
     .flag = "device",
     .type = DG_OPT_ENUM,
     .offset = offsetof(settings, device),
     .names = device_names,
     .fallback = "cpu",
     .unit = "",
     .help = "what each rank computes on; cpu is measured for half a second, the others are assumed"},
    ROW("channels", DG_OPT_INT, channels, 0, 4096, "0", "", "input channels; 0 asks data.channels and the cohort"),
    ROW("gflops", DG_OPT_DOUBLE, gflops, 0, 1e9, "0", "GFLOP/s", "assumed rate of one rank; 0 measures or looks it up"),
    ROW("network-gbit", DG_OPT_DOUBLE, network_gbit, 0.001, 1e6, "10", "Gbit/s", "assumed rate of a rank's network")};

/* What the shapes depend on. */
typedef struct shapes {
    int64_t channels, constraints, patch[3];
} shapes;

static dg_status shapes_of_cohort(const settings *s, int64_t multiple, const dg_cohort *cohort, const dg_split *split,
                                  shapes *out)
{
    dg_recipe *recipe;
    DG_TRY(DG_NEW(&recipe, 1, "recipe"));
    dg_status status;
    DG_TRY_GOTO(status,
                dg_recipe_resolve(&s->config, cohort, split->index[DG_PART_TRAIN], split->count[DG_PART_TRAIN], recipe),
                cleanup);
    out->channels = recipe->count;
    out->constraints = recipe->constraint_count;
    for (int64_t i = 0; i < split->count[DG_PART_TRAIN]; i++) { /* the largest case sets the memory */
        int64_t sub[3], patch[3];
        dg_grid net;
        dg_recipe_geometry(recipe, &dg_cohort_case(cohort, split->index[DG_PART_TRAIN][i])->grid, &net, sub);
        dg_patch_of(recipe, net.shape, multiple, patch);
        if (patch[0] * patch[1] * patch[2] > out->patch[0] * out->patch[1] * out->patch[2])
            memcpy(out->patch, patch, sizeof patch);
    }
cleanup:
    dg_free(&recipe);
    return status;
}

static dg_status shapes_from_cohort(const settings *s, int64_t multiple, shapes *out)
{
    dg_cohort *cohort;
    dg_split split = {0};
    DG_TRY(dg_cohort_open(s->config.data.cohort, &cohort));
    dg_status status;
    DG_TRY_GOTO(status, dg_split_make(&s->config.data.split, cohort, &split), cleanup);
    DG_TRY_GOTO(status, shapes_of_cohort(s, multiple, cohort, &split, out), cleanup);
cleanup:
    dg_split_release(&split);
    dg_cohort_close(&cohort);
    return status;
}

static dg_status find_shapes(const settings *s, shapes *out)
{
    const dg_data_config *data = &s->config.data;
    int64_t multiple = (int64_t)1 << (s->config.model.levels - 1);
    bool knows = (s->channels > 0 || data->channels.count > 0) && data->patch.count == 3 && !data->constraints;
    *out = (shapes){0};
    if (!knows && data->cohort[0] == '\0')
        return DG_FAIL(DG_ERR_USAGE, "the shapes depend on the data: set data.cohort, or give data.channels (or "
                                     "--channels N) and data.patch, with data.constraints off");
    if (!knows) DG_TRY(shapes_from_cohort(s, multiple, out));
    if (s->channels > 0)
        out->channels = s->channels;
    else if (data->channels.count > 0)
        out->channels = data->channels.count;
    for (int axis = 0; axis < 3 && data->patch.count == 3; axis++)
        out->patch[axis] = (data->patch.value[axis] + multiple - 1) / multiple * multiple;
    return DG_OK;
}

/* Bytes of the reducer's buffers and on the wire of the busiest rank, from reducers over a small probe: both grow with
 * the number of parameters. */
static dg_status reducer_cost(const settings *s, dg_backend *backend, int64_t parameters, double *memory, double *wire)
{
    dg_comm *comm;
    *memory = *wire = 0;
    if (s->config.train.batch < s->ranks)
        return DG_FAIL(DG_ERR_USAGE, "%lld ranks share train.batch = %lld samples; use fewer ranks or a larger batch",
                       (long long)s->ranks, (long long)s->config.train.batch);
    DG_TRY(dg_comm_self_create(&comm));
    dg_status status = DG_OK;
    comm->size = (int)s->ranks;
    for (int rank = 0; rank < comm->size && status == DG_OK; rank++) {
        dg_reducer *reducer;
        comm->rank = rank;
        status = dg_reducer_create(comm, backend, (dg_reduction)s->config.train.reduction, PROBE_FLOATS,
                                   s->config.train.batch, PROBE_FLOATS * (int64_t)sizeof(float), &reducer);
        if (status != DG_OK) break;
        double scale = (double)parameters / PROBE_FLOATS;
        *memory = fmax(*memory, scale * (double)dg_reducer_memory_bytes(reducer));
        *wire = fmax(*wire, scale * (double)dg_reducer_wire_bytes(reducer));
        dg_reducer_destroy(&reducer);
    }
    comm->size = 1;
    comm->rank = 0;
    dg_comm_destroy(&comm);
    return status;
}

static dg_status time_conv(dg_backend *backend, dg_conv *conv, const dg_conv_desc *desc, double *gflops)
{
    dg_tensor x = {
        .dtype = desc->dtype, .n = 1, .z = desc->z, .y = desc->y, .x = desc->x, .c = desc->cin, .pitch = desc->cin};
    dg_tensor y = x;
    float *weights = NULL;
    dg_status status;
    int64_t count = 27 * desc->cin * desc->cout, bytes = dg_tensor_voxels(&x) * x.c * (int64_t)dg_dtype_size(x.dtype);
    DG_TRY_GOTO(status, backend->ops->alloc(backend, bytes, "probe input", &x.data), cleanup);
    DG_TRY_GOTO(status, backend->ops->alloc(backend, bytes, "probe output", &y.data), cleanup);
    DG_TRY_GOTO(status, dg_alloc(&weights, (size_t)count, sizeof(float), "probe weights"), cleanup);
    DG_TRY_GOTO(status, backend->ops->conv_pack(backend, conv, weights, NULL), cleanup);
    double best = INFINITY, end = dg_time_s() + 0.5;
    for (int i = 0; i < 2 || dg_time_s() < end; i++) {
        double begin = dg_time_s();
        DG_TRY_GOTO(status, backend->ops->conv_forward(backend, conv, &x, &y), cleanup);
        best = fmin(best, dg_time_s() - begin);
    }
    *gflops = 2e-9 * (double)count * (double)dg_tensor_voxels(&x) / best;
cleanup:
    if (x.data != NULL) backend->ops->free(backend, x.data);
    if (y.data != NULL) backend->ops->free(backend, y.data);
    dg_free(&weights);
    return status;
}

/* Rate of a 3x3x3 convolution of the network's first width, which holds most of its work. */
static dg_status measure(dg_backend *backend, const settings *s, double *gflops)
{
    dg_conv *conv;
    int64_t c = s->config.model.base;
    dg_conv_desc desc = {.kind = DG_CONV_SAME,
                         .kernel = 3,
                         .n = 1,
                         .z = 32,
                         .y = 32,
                         .x = 32,
                         .cin = c,
                         .cout = c,
                         .dtype = dg_run_dtype(s->config.train.dtype)};
    DG_TRY(backend->ops->conv_create(backend, &desc, &conv));
    dg_status status = time_conv(backend, conv, &desc, gflops);
    backend->ops->conv_destroy(backend, conv);
    return status;
}

typedef struct estimate {
    shapes shape;
    int64_t parameters, samples; /* of the busiest rank */
    dg_plan_memory training, inference;
    double flops, gflops, reducer_bytes, wire_bytes;
    double memory_mb, step_s;
} estimate;

static void add_up(const settings *s, estimate *e)
{
    const dg_run_config *c = &s->config;
    double flat = (double)e->training.parameter_bytes;
    int moments = c->optim.kind == DG_OPTIM_ADAMW ? 2 : c->optim.momentum > 0;
    double optimiser = flat * (moments + (c->optim.ema > 0));
    double plans = (double)(e->training.arena_bytes + e->training.packed_bytes + e->inference.arena_bytes +
                            e->inference.packed_bytes);
    double kept = c->train.on_nan == DG_NAN_ROLLBACK ? flat + optimiser : 0;
    e->memory_mb = (flat + optimiser + kept + e->reducer_bytes + plans) / 1048576.0;
    double compute = STEP_OVER_FORWARD * e->flops * (double)e->samples / (e->gflops * 1e9);
    double wire = e->wire_bytes * 8 / (s->network_gbit * 1e9);
    e->step_s = c->train.reduction == DG_REDUCE_FAST ? fmax(compute, wire) : compute + wire; /* fast hides the wire */
}

static dg_status estimate_model(const settings *s, const dg_model *model, estimate *e)
{
    dg_plan_config plan = {.n = 1,
                           .z = e->shape.patch[0],
                           .y = e->shape.patch[1],
                           .x = e->shape.patch[2],
                           .dtype = dg_run_dtype(s->config.train.dtype),
                           .training = true,
                           .recompute = s->config.train.recompute};
    if (s->config.train.micro_batch.count > 0) plan.n = s->config.train.micro_batch.value[0];
    DG_TRY(dg_plan_estimate(model, &plan, &e->training, NULL));
    plan.n = 1;
    plan.training = plan.recompute = false;
    plan.dtype = dg_run_dtype(s->config.predict.dtype);
    DG_TRY(dg_plan_estimate(model, &plan, &e->inference, &e->flops)); /* validation keeps its own plan */
    e->parameters = model->params.total;
    e->samples = (s->config.train.batch + s->ranks - 1) / s->ranks;
    return DG_OK;
}

static dg_status estimate_all(const settings *s, estimate *e)
{
    dg_model *model = NULL;
    dg_backend *backend = NULL;
    dg_status status;
    DG_TRY(find_shapes(s, &e->shape));
    dg_model_config description = dg_run_config_model(&s->config, e->shape.channels, e->shape.constraints);
    const dg_int_list *threads = &s->config.train.threads;
    dg_backend_options options = {.threads = threads->count > 0 ? (int)threads->value[0] : 1};
    DG_TRY_GOTO(status, dg_model_create(&description, &model), cleanup);
    DG_TRY_GOTO(status, estimate_model(s, model, e), cleanup);
    if (threads->count == 0) { /* auto: the cores this process may use */
        dg_comm *comm;
        char warning[256];
        DG_TRY_GOTO(status, dg_comm_self_create(&comm), cleanup);
        status = dg_affinity_set(comm, 0, &options.threads, warning, sizeof warning);
        dg_comm_destroy(&comm);
        if (status != DG_OK) goto cleanup;
    }
    DG_TRY_GOTO(status, dg_backend_create(s->config.train.backend, &options, &backend), cleanup);
    DG_TRY_GOTO(status, reducer_cost(s, backend, e->parameters, &e->reducer_bytes, &e->wire_bytes), cleanup);
    e->gflops = s->gflops > 0 ? s->gflops : device_gflops[s->device];
    if (e->gflops <= 0) DG_TRY_GOTO(status, measure(backend, s, &e->gflops), cleanup);
    add_up(s, e);
cleanup:
    dg_backend_destroy(&backend);
    dg_model_destroy(&model);
    return status;
}

static dg_status print_estimate(const dg_job_env *env, const settings *s, const estimate *e)
{
    double mb = 1.0 / 1048576.0, room = device_memory_mb[s->device];
    if (s->json)
        return dg_job_print_json(
            env, json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:f, s:[III], s:I, s:I}", "memory_mb", e->memory_mb,
                           "wire_mb_per_step", e->wire_bytes * mb, "step_s", e->step_s, "gflops", e->gflops, "arena_mb",
                           (double)e->training.arena_bytes * mb, "validation_arena_mb",
                           (double)e->inference.arena_bytes * mb, "parameters", (json_int_t)e->parameters,
                           "forward_gflop", e->flops * 1e-9, "patch", (json_int_t)e->shape.patch[0],
                           (json_int_t)e->shape.patch[1], (json_int_t)e->shape.patch[2], "channels",
                           (json_int_t)e->shape.channels, "samples_per_rank", (json_int_t)e->samples));
    printf("network      %lld parameters, %lld channels, patch %lld x %lld x %lld, %.1f GFLOP forward\n",
           (long long)e->parameters, (long long)e->shape.channels, (long long)e->shape.patch[0],
           (long long)e->shape.patch[1], (long long)e->shape.patch[2], e->flops * 1e-9);
    printf(
        "memory       %.0f MB a rank: %.0f activations, %.0f validation, the rest weights, gradients and optimiser\n",
        e->memory_mb, (double)e->training.arena_bytes * mb, (double)e->inference.arena_bytes * mb);
    printf("wire         %.1f MB a step and rank, %lld ranks\n", e->wire_bytes * mb, (long long)s->ranks);
    printf("step         about %.3g s at %.0f GFLOP/s (%s), %lld samples a rank\n", e->step_s, e->gflops,
           s->gflops > 0             ? "given"
           : s->device == DEVICE_CPU ? "measured"
                                     : "assumed",
           (long long)e->samples);
    if (room > 0 && e->memory_mb > room)
        printf("this does not fit %.0f MB: use a smaller data.patch, or train.recompute: true\n", room);
    return DG_OK;
}

static dg_status plan_settings(const dg_job_env *env, const dg_option *rows, int row_count, settings *s, int argc,
                               char *const *argv)
{
    dg_options options;
    const char *file[1];
    bool helped;
    int count;
    dg_job_arguments arguments = {.usage = "[CONFIG] [--ranks N] [--device D] [--set KEY=VALUE]... [--json]",
                                  .rows = rows,
                                  .row_count = row_count,
                                  .target = s,
                                  .positional = file,
                                  .positional_max = 1};
    DG_TRY(dg_job_read_arguments(env, &dg_job_plan, &arguments, argc, argv, &options, &count, &helped));
    if (helped) return DG_OK;
    dg_status status = count == 1 ? dg_options_read_yaml(&options, file[0]) : DG_OK;
    dg_options_release(&options);
    estimate e = {0};
    if (status != DG_OK || env->comm->rank != 0) return status;
    DG_TRY(estimate_all(s, &e));
    return print_estimate(env, s, &e);
}

static dg_status run(const dg_job_env *env, int argc, char *const *argv, int *exit_code)
{
    settings *s = NULL;
    dg_option *rows = NULL;
    int row_count;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&s, 1, "settings"), cleanup);
    DG_TRY_GOTO(status, dg_run_config_table(extra, sizeof extra / sizeof extra[0], &rows, &row_count), cleanup);
    DG_TRY_GOTO(status, plan_settings(env, rows, row_count, s, argc, argv), cleanup);
cleanup:
    dg_free(&rows);
    dg_free(&s);
    return status;
}

const dg_job dg_job_plan = {
    .name = "plan", .summary = "memory per rank, bytes on the wire and step time of a configuration", .run = run};
