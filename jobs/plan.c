/* plan.c - `dosegrid plan`: memory per rank, bytes on the wire and a rough step time of a configuration, before any of
 * it is spent. Rank 0 works. SPDX-License-Identifier: Apache-2.0 */
#include "job.h"
#include "plan_job_impl.h"

#include "dg_mem.h"
#include "predictor.h"
#include "recipe.h"
#include "split.h"

#include <string.h>

#define ROW(flag_, type_, field, low, high, default_, unit_, help_)                                               \
    {                                                                                                             \
        .key = "plan." flag_, .flag = flag_, .type = type_, .offset = offsetof(plan_settings, field), .min = low, \
        .max = high, .fallback = default_, .unit = unit_, .help = help_                                           \
    }
static const dg_option extra[] = {
    ROW("json", DG_OPT_BOOL, json, 0, 0, "false", "", "answer as JSON"),
    ROW("ranks", DG_OPT_INT, ranks, 1, 65536, "1", "", "ranks that train together"),
    ROW("device", DG_OPT_STRING, device, 0, 0, "cpu", "",
        "what each rank computes on, of the device table: cpu (measured "
        "for a second here), rtx3090, a100, h100"),
    ROW("devices", DG_OPT_STRING, devices, 0, 0, "", "", "device table of your own, as jobs/configs/devices.yaml"),
    ROW("cases", DG_OPT_INT, cases, 0, 1e9, "0", "", "cases of a cohort to be predicted; 0: no sweep"),
    {.key = "plan.volume",
     .flag = "volume",
     .type = DG_OPT_INT_LIST,
     .offset = offsetof(plan_settings, volume),
     .min = 1,
     .max = 65536,
     .list_min = 3,
     .list_max = 3,
     .fallback = "[128, 128, 128]",
     .unit = "voxels",
     .help = "size of such a case"},
    ROW("channels", DG_OPT_INT, channels, 0, 4096, "0", "", "input channels; 0 asks data.channels and the cohort"),
    ROW("gflops", DG_OPT_DOUBLE, gflops, 0, 1e9, "0", "GFLOP/s",
        "rate of one rank's convolutions; 0 measures or looks it up"),
    ROW("network-gbit", DG_OPT_DOUBLE, network_gbit, 0, 1e6, "0", "Gbit/s",
        "rate of a node's network, all links together; 0 looks it up")};

static dg_status shapes_of_cohort(const plan_settings *s, int64_t multiple, const dg_cohort *cohort,
                                  const dg_split *split, plan_shapes *out)
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

static dg_status shapes_from_cohort(const plan_settings *s, int64_t multiple, plan_shapes *out)
{
    dg_cohort *cohort;
    dg_split split = {0};
    DG_TRY(dg_cohort_open(s->config.data.cohort, &cohort));
    dg_status status;
    const dg_split_config parts = dg_run_config_split(&s->config);
    DG_TRY_GOTO(status, dg_split_make(&parts, cohort, &split), cleanup);
    DG_TRY_GOTO(status, shapes_of_cohort(s, multiple, cohort, &split, out), cleanup);
cleanup:
    dg_split_release(&split);
    dg_cohort_close(&cohort);
    return status;
}

static dg_status find_shapes(const plan_settings *s, plan_shapes *out)
{
    const dg_data_config *data = &s->config.data;
    int64_t multiple = (int64_t)1 << (s->config.model.levels - 1);
    bool knows = (s->channels > 0 || data->channels.count > 0) && data->patch.count == 3 && !data->constraints;
    *out = (plan_shapes){0};
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

static const double MB = 1.0 / 1048576.0;

/* One row for each number of ranks, with as many samples a rank. */
static json_t *scale_json(const plan_estimate *e)
{
    json_t *list = json_array();
    for (int i = 0; i < PLAN_SCALES; i++) {
        const int64_t ranks = (int64_t)1 << i;
        const dg_scaling_step *t = &e->scale[i];
        json_array_append_new(list,
                              json_pack("{s:I, s:f, s:f, s:f, s:f, s:f}", "ranks", (json_int_t)ranks, "step_s",
                                        t->step_s, "reduce_s", t->reduce_s, "exposed_s", t->exposed_s, "samples_per_s",
                                        (double)(ranks * e->need.samples) / t->step_s, "efficiency", t->efficiency));
    }
    return list;
}

static dg_status print_json(const dg_job_env *env, const plan_settings *s, const plan_estimate *e)
{
    const dg_scaling_step *t = &e->step;
    json_t *out = json_pack(
        "{s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:f, s:[III], s:I, s:I}", "memory_mb", (double)e->need.bytes * MB,
        "wire_mb_per_step", (double)e->need.wire_bytes * MB, "step_s", t->step_s, "gflops",
        (dg_run_dtype(s->config.train.dtype) == DG_BF16 ? e->device.bf16_flops : e->device.f32_flops) * 1e-9,
        "arena_mb", (double)e->need.training.arena_bytes * MB, "validation_arena_mb",
        (double)e->need.inference.arena_bytes * MB, "parameters", (json_int_t)e->parameters, "forward_gflop",
        e->flops * 1e-9, "patch", (json_int_t)e->shape.patch[0], (json_int_t)e->shape.patch[1],
        (json_int_t)e->shape.patch[2], "channels", (json_int_t)e->shape.channels, "samples_per_rank",
        (json_int_t)e->need.samples);
    json_t *more =
        json_pack("{s:f, s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:f, s:o}", "adversary_mb",
                  (double)e->need.adversary_bytes * MB, "device", e->device.name,
                  "device_memory_mb", e->device.memory_mb, "forward_s", t->forward_s, "backward_s", t->backward_s,
                  "update_s", t->update_s, "reduce_s", t->reduce_s, "exposed_s", t->exposed_s, "efficiency",
                  t->efficiency, "samples_per_s", e->samples_per_s, "nodes", (json_int_t)e->nodes, "memory_gb_s",
                  e->device.memory_bytes_s * 1e-9, "scaling", scale_json(e));
    json_object_update_missing(out, more);
    json_decref(more);
    if (e->node_hours > 0) json_object_set_new(out, "node_hours", json_real(e->node_hours));
    if (s->cases > 0) {
        json_object_set_new(out, "window_s", json_real(e->window_s));
        json_object_set_new(out, "windows_per_case", json_integer(e->windows));
        json_object_set_new(out, "sweep_s", json_real(e->sweep_s));
    }
    return dg_job_print_json(env, out);
}

static void print_scale(const plan_estimate *e)
{
    printf("scaling      %lld samples a rank\n%13s%8s%12s%12s%14s%12s\n", (long long)e->need.samples, "", "ranks",
           "step s", "reduce s", "samples/s", "efficiency");
    for (int i = 0; i < PLAN_SCALES; i++) {
        const int64_t ranks = (int64_t)1 << i;
        printf("%13s%8lld%12.4g%12.4g%14.4g%11.1f%%\n", "", (long long)ranks, e->scale[i].step_s, e->scale[i].reduce_s,
               (double)(ranks * e->need.samples) / e->scale[i].step_s, 100.0 * e->scale[i].efficiency);
    }
}

static dg_status print_text(const plan_settings *s, const plan_estimate *e)
{
    const double room = e->device.memory_mb;
    const dg_scaling_step *t = &e->step;
    printf("network      %lld parameters, %lld channels, patch %lld x %lld x %lld, %.1f GFLOP forward\n",
           (long long)e->parameters, (long long)e->shape.channels, (long long)e->shape.patch[0],
           (long long)e->shape.patch[1], (long long)e->shape.patch[2], e->flops * 1e-9);
    printf("memory       %.0f MB a rank: %.0f activations, %.0f validation, the rest weights, gradients, optimiser, "
           "samples\n",
           (double)e->need.bytes * MB, (double)e->need.training.arena_bytes * MB,
           (double)e->need.inference.arena_bytes * MB);
    if (e->need.adversary_bytes > 0)
        printf("             of them %.0f MB for the discriminator of loss.adversarial, whose time is not in the step's\n",
               (double)e->need.adversary_bytes * MB);
    printf("wire         %.1f MB a step and rank, %lld ranks on %lld nodes\n", (double)e->need.wire_bytes * MB,
           (long long)s->ranks, (long long)e->nodes);
    printf(
        "step         about %.3g s on %s (%s): forward %.3g, backward %.3g, update %.3g, reduction %.3g of which %.3g "
        "not hidden; %lld samples a rank\n",
        t->step_s, e->device.name, e->measured ? "measured here" : "from the device table", t->forward_s, t->backward_s,
        t->update_s, t->reduce_s, t->exposed_s, (long long)e->need.samples);
    printf("rate         %.4g samples/s, efficiency %.1f %%\n", e->samples_per_s, 100.0 * t->efficiency);
    if (e->node_hours > 0) printf("training     %lld steps: %.3g node hours\n", (long long)e->steps, e->node_hours);
    if (s->cases > 0)
        printf("sweep        %lld cases of %lld windows, %.3g s a window: %.3g h\n", (long long)s->cases,
               (long long)e->windows, e->window_s, e->sweep_s / 3600);
    print_scale(e);
    if (room > 0 && (double)e->need.bytes * MB > room) printf("this does not fit %.0f MB: %s\n", room, e->less);
    return DG_OK;
}

static dg_status run_settings(const dg_job_env *env, const dg_option *rows, int row_count, plan_settings *s, int argc,
                              char *const *argv)
{
    dg_options options;
    const char *file[1];
    bool helped;
    int count;
    dg_job_arguments arguments = {
        .usage = "[CONFIG] [--ranks N] [--device D] [--cases N --volume Z,Y,X] [--set KEY=VALUE]... [--json]",
        .rows = rows,
        .row_count = row_count,
        .target = s,
        .positional = file,
        .positional_max = 1};
    DG_TRY(dg_job_read_arguments(env, &dg_job_plan, &arguments, argc, argv, &options, &count, &helped));
    if (helped) return DG_OK;
    dg_status status = count == 1 ? dg_job_read_config(&options, file[0]) : DG_OK;
    dg_options_release(&options);
    plan_estimate e = {0};
    if (status != DG_OK || env->comm->rank != 0) return status;
    DG_TRY(find_shapes(s, &e.shape));
    DG_TRY(plan_estimate_all(s, &e));
    return s->json ? print_json(env, s, &e) : print_text(s, &e);
}

static dg_status run(const dg_job_env *env, int argc, char *const *argv, int *exit_code)
{
    plan_settings *s = NULL;
    dg_option *rows = NULL;
    int row_count;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&s, 1, "settings"), cleanup);
    DG_TRY_GOTO(status, dg_run_config_table(extra, sizeof extra / sizeof extra[0], &rows, &row_count), cleanup);
    DG_TRY_GOTO(status, run_settings(env, rows, row_count, s, argc, argv), cleanup);
cleanup:
    dg_free(&rows);
    dg_free(&s);
    return status;
}

const dg_job dg_job_plan = {
    .name = "plan", .summary = "memory per rank, bytes on the wire and step time of a configuration", .run = run};
