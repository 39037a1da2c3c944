/* bench.c - `dosegrid bench`: how fast this machine runs the parts of a job, and the floor under the network: the bare
 * library convolutions. tests/bench sets other programs beside it. SPDX-License-Identifier: Apache-2.0 */
#include "bench_impl.h"

#include "dg_backend.h"
#include "dg_mpi.h"

#include <stdlib.h>
#include <string.h>

static const char *const dtype_names[] = {"f32", "bf16", NULL};
static const char *const mode_names[] = {"infer", "train", NULL};
static const char *const loss_names[] = {"plain", "five", "five_upstream", "labels", NULL};
static const char *const reduction_names[] = {"fast", "ordered", NULL};

#define ROW(name_, type_, low, high, default_, unit_, help_)                                                 \
    {                                                                                                        \
        .key = #name_, .flag = #name_, .type = type_, .offset = offsetof(bench_settings, name_), .min = low, \
        .max = high, .fallback = default_, .unit = unit_, .help = help_                                      \
    }
#define CHOICE(name_, names_, default_, help_)                                                         \
    {                                                                                                  \
        .key = #name_, .flag = #name_, .type = DG_OPT_ENUM, .offset = offsetof(bench_settings, name_), \
        .names = names_, .fallback = default_, .unit = "", .help = help_                               \
    }
static const dg_option rows[] = {
    ROW(json, DG_OPT_BOOL, 0, 0, "false", "", "answer as JSON"),
    ROW(layers, DG_OPT_BOOL, 0, 0, "false", "", "model: also the time of each layer, and its share of the device's peak"),
    ROW(device, DG_OPT_STRING, 0, 0, "", "", "layers: peaks of this entry of plan's device table instead of the driver's"),
    ROW(channels, DG_OPT_INT, 1, 4096, "9", "", "input channels of the network"),
    ROW(base, DG_OPT_INT, 1, 1024, "48", "", "channels of the first level"),
    ROW(levels, DG_OPT_INT, 2, 8, "5", "", "levels with the bottleneck"),
    ROW(patch, DG_OPT_INT, 2, 1024, "64", "voxels", "edge of the cubic patch"),
    ROW(size, DG_OPT_INT, 2, 4096, "128", "voxels", "sliding: edge of the cubic volume"),
    ROW(overlap, DG_OPT_DOUBLE, 0, 0.99, "0.5", "", "sliding: of neighbouring windows, as a share of the patch"),
    ROW(batch, DG_OPT_INT, 1, 4096, "1", "", "samples of a pass (train: of all ranks together)"),
    CHOICE(dtype, dtype_names, "bf16", "activations"),
    CHOICE(mode, mode_names, "infer", "model: forward alone, or forward, loss, backward and AdamW"),
    CHOICE(loss, loss_names, "plain",
           "model and train: mse and negative; also gradient, DVH, structure and asymmetric terms, as they are or in the "
           "reference tool's form; or all terms of labels behind the topology U-Net"),
    CHOICE(reduction, reduction_names, "fast", "train: how gradients are summed over ranks"),
    ROW(steps, DG_OPT_INT, 1, BENCH_STEPS_MAX, "5", "", "timed repetitions, after one that is not"),
    ROW(threads, DG_OPT_INT, 0, 4096, "0", "", "threads a rank; 0 is its share of the cores"),
    ROW(megabytes, DG_OPT_INT, 1, 65536, "86", "MB", "allreduce: size of the buffer"),
    ROW(backend, DG_OPT_STRING, 0, 0, "auto", "", "ref, onednn, cuda or auto")};

enum { ROWS = sizeof rows / sizeof rows[0] };

static const struct part {
    const char *name;
    dg_status (*run)(const dg_job_env *env, const bench_settings *s, json_t **answer);
} parts[] = {{"conv", bench_conv}, {"model", bench_model},         {"train", bench_train}, {"sliding", bench_sliding},
             {"io", bench_io},     {"allreduce", bench_allreduce}, {"gamma", bench_gamma}};

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *seconds, int64_t count)
{
    qsort(seconds, (size_t)count, sizeof *seconds, by_value);
    return count % 2 != 0 ? seconds[count / 2] : 0.5 * (seconds[count / 2 - 1] + seconds[count / 2]);
}

dg_status bench_create_model(const bench_settings *s, dg_model **out)
{
    dg_model_config config = {
        .in_channels = s->channels, .out_channels = 1, .base_channels = s->base, .levels = s->levels};
    snprintf(config.kind, sizeof config.kind, "%s", s->loss == BENCH_LOSS_LABELS ? "topology_unet" : "unet");
    return dg_model_create(&config, out);
}

dg_status bench_create_backend(const dg_job_env *env, const bench_settings *s, dg_backend **out)
{
    dg_backend_options options = {.threads = (int)s->threads, .deterministic = true};
    char warning[256];
    if (s->threads == 0) {
        DG_TRY(dg_affinity_set(env->comm, 0, &options.threads, warning, sizeof warning));
        if (warning[0] != '\0') dg_log_write(env->log, DG_LOG_WARNING, "%s", warning);
    }
    return dg_backend_create(s->backend, &options, out);
}

static dg_status show(const dg_job_env *env, bool as_json, json_t *answer)
{
    if (as_json) return dg_job_print_json(env, answer);
    const char *key;
    json_t *value;
    json_object_foreach(answer, key, value)
    {
        if (strcmp(key, "layers") == 0) continue;
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
        printf("%-20s %s\n", key, json_is_string(value) ? json_string_value(value) : text == NULL ? "?" : text);
        free(text);
    }
    bench_print_layers(json_object_get(answer, "layers"));
    json_decref(answer);
    return DG_OK;
}

static dg_status run_part(const dg_job_env *env, bench_settings *s, const char *name)
{
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (strcmp(name, parts[i].name) != 0) continue;
        json_t *answer = NULL;
        DG_TRY(parts[i].run(env, s, &answer));
        return env->comm->rank == 0 ? show(env, s->json, answer) : DG_OK;
    }
    return DG_FAIL(DG_ERR_USAGE, "bench '%s' is not known: choose conv, model, train, sliding, io, allreduce or gamma",
                   name);
}

static dg_status run(const dg_job_env *env, int argc, char *const *argv, int *exit_code)
{
    bench_settings s = {0};
    dg_options options;
    const char *words[3] = {NULL, NULL, NULL};
    dg_option table[ROWS + GAMMA_ROWS];
    bool helped;
    int count;
    memcpy(table, rows, sizeof rows);
    const int shared = gamma_rows(offsetof(bench_settings, gamma), table + ROWS);
    dg_job_arguments arguments = {
        .usage = "conv|model|train|sliding|allreduce|io COHORT|gamma REF EVAL [--mode infer|train] [--patch P] ...",
        .rows = table,
        .row_count = ROWS + shared,
        .target = &s,
        .positional = words,
        .positional_min = 1,
        .positional_max = 3};
    DG_TRY(dg_job_read_arguments(env, &dg_job_bench, &arguments, argc, argv, &options, &count, &helped));
    if (helped) return DG_OK;
    dg_options_release(&options);
    s.path = words[1];
    s.second_path = words[2];
    return run_part(env, &s, words[0]);
}

const dg_job dg_job_bench = {.name = "bench",
                             .summary =
                                 "time the network, its bare convolutions, patch reads, reductions and gamma maps",
                             .run = run};
