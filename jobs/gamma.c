/* gamma.c - `dosegrid gamma`: the gamma map of two doses, and how many voxels pass. SPDX-License-Identifier: Apache-2.0 */
#include "gamma_pair.h"
#include "job.h"

#include "compute.h"
#include "dg_file.h"
#include "dg_mem.h"
#include "dg_mpi.h"
#include "dg_trace.h"

#include <math.h>
#include <string.h>

typedef struct settings {
    gamma_settings gamma;
    char output[DG_OPT_TEXT], backend[DG_OPT_TEXT];
    int64_t threads;
    bool json;
} settings;

static const dg_option own_rows[] = {{.key = "gamma.output",
                                      .flag = "output",
                                      .letter = 'o',
                                      .type = DG_OPT_STRING,
                                      .offset = offsetof(settings, output),
                                      .fallback = "",
                                      .unit = "",
                                      .help = "HDF5 file for the map, dataset /gamma, NaN where not evaluated"},
                                     {.key = "gamma.threads",
                                      .flag = "threads",
                                      .type = DG_OPT_INT,
                                      .offset = offsetof(settings, threads),
                                      .max = 4096,
                                      .fallback = "0",
                                      .unit = "",
                                      .help = "compute threads; 0 is one for each allowed core"},
                                     {.key = "gamma.backend",
                                      .flag = "backend",
                                      .type = DG_OPT_STRING,
                                      .offset = offsetof(settings, backend),
                                      .fallback = "auto",
                                      .unit = "",
                                      .help = "where it is searched for: auto, cuda, cpu; the numbers are the same"},
                                     {.key = "gamma.json",
                                      .flag = "json",
                                      .type = DG_OPT_BOOL,
                                      .offset = offsetof(settings, json),
                                      .fallback = "false",
                                      .unit = "",
                                      .help = "answer as JSON"}};
enum { OWN_ROWS = sizeof own_rows / sizeof own_rows[0] };

static dg_status write_map(const settings *s, const gamma_pair *pair, const dg_gamma_summary *sum, const float *map)
{
    const dg_gamma_params *p = &pair->params;
    const dg_dose_attribute attributes[] = {{"method", dg_gamma_method_name(p->method), 0},
                                            {"normalisation", p->local ? "local" : "global", 0},
                                            {"norm", pair->norm, 0},
                                            {"norm_gy", NULL, p->norm_gy},
                                            {"dose_percent", NULL, p->dose_percent},
                                            {"distance_mm", NULL, p->distance_mm},
                                            {"cutoff_percent", NULL, p->cutoff_percent},
                                            {"max_gamma", NULL, p->max_gamma},
                                            {"evaluated", NULL, (double)sum->evaluated},
                                            {"passed", NULL, (double)sum->passed},
                                            {"pass_percent", NULL, dg_gamma_summary_pass_percent(sum)},
                                            {"interp_fraction", NULL, p->interp_fraction}};
    const int count = (int)(sizeof attributes / sizeof attributes[0]) - (p->method != DG_GAMMA_PYMEDPHYS);
    return dg_dose_file_write_map(s->output, "dosegrid-gamma", "gamma", &pair->file[0], map, attributes, count);
}

static void print_text(const gamma_pair *pair, const dg_gamma_summary *sum, double median, double seconds)
{
    const dg_gamma_params *p = &pair->params;
    char method[96], limit[64] = "no search limit";
    snprintf(method, sizeof method, "%s", dg_gamma_method_name(p->method));
    if (p->method == DG_GAMMA_PYMEDPHYS)
        snprintf(method, sizeof method, "pymedphys sample points %g mm apart", p->distance_mm / p->interp_fraction);
    if (isfinite(p->max_gamma)) snprintf(limit, sizeof limit, "search limit gamma %g", p->max_gamma);
    printf("gamma %g %%/%g mm %s, cutoff %g %%, norm %.6g Gy (%s)\n", p->dose_percent, p->distance_mm,
           p->local ? "local" : "global", p->cutoff_percent, p->norm_gy, pair->norm);
    printf("method %s, %s\n", method, limit);
    if (sum->evaluated == 0) {
        printf("no voxel of %lld was evaluated\n", (long long)pair->voxels);
        return;
    }
    printf("%lld of %lld evaluated voxels pass: %.4f %%\n", (long long)sum->passed, (long long)sum->evaluated,
           dg_gamma_summary_pass_percent(sum));
    printf("mean %.4f, median %.4f, largest %.4f; %.3f s\n", dg_gamma_summary_mean(sum), median, (double)sum->max,
           seconds);
}

static dg_status compare(const dg_job_env *env, const settings *s, int threads, const gamma_pair *pair)
{
    float *map = NULL;
    double median;
    dg_gamma_summary sum = dg_gamma_summary_init();
    dg_status status;
    DG_TRY(DG_NEW(&map, pair->voxels, "gamma map"));
    const double start = dg_time_s();
    DG_TRY_GOTO(status, dg_gamma_map(&pair->params, &pair->dose[0], &pair->dose[1], NULL, threads, map), cleanup);
    const double seconds = dg_time_s() - start;
    dg_gamma_summary_add(&sum, map, NULL, 0, pair->voxels);
    DG_TRY_GOTO(status, dg_gamma_median(map, NULL, 0, pair->voxels, &median), cleanup);
    if (s->output[0] != '\0') DG_TRY_GOTO(status, write_map(s, pair, &sum, map), cleanup);
    if (s->json)
        status = dg_job_print_json(env, gamma_pair_to_json(pair, &sum, median, seconds, threads));
    else
        print_text(pair, &sum, median, seconds);
cleanup:
    dg_free(&map);
    return status;
}

/* One process does it all; other ranks of a launcher wait for its answer. */
static dg_status gamma_of(const dg_job_env *env, const settings *s, const char *const names[2])
{
    gamma_pair pair;
    char warning[256];
    int threads = (int)s->threads;
    if (threads == 0) {
        DG_TRY(dg_affinity_set(env->comm, 0, &threads, warning, sizeof warning));
        if (warning[0] != '\0') dg_log_write(env->log, DG_LOG_WARNING, "%s", warning);
    }
    dg_backend *backend = NULL;
    DG_TRY(dg_compute_gamma(env->comm, s->backend, env->log, &backend));
    dg_status status = DG_OK;
    if (env->comm->rank == 0) {
        if (s->output[0] != '\0') status = dg_file_check_writable(s->output);
        if (status == DG_OK) status = gamma_pair_read(&s->gamma, names[0], names[1], &pair);
        if (status == DG_OK) {
            pair.params.backend = backend;
            status = compare(env, s, threads, &pair);
            gamma_pair_release(&pair);
        }
    }
    dg_backend_destroy(&backend);
    return status;
}

static dg_status run(const dg_job_env *env, int argc, char *const *argv, int *exit_code)
{
    settings *s = NULL;
    dg_options options;
    dg_option rows[OWN_ROWS + GAMMA_ROWS];
    const char *names[2] = {NULL, NULL};
    bool helped = false;
    int count;
    const int shared = gamma_rows(offsetof(settings, gamma), rows);
    memcpy(rows + shared, own_rows, sizeof own_rows);
    DG_TRY(DG_NEW(&s, 1, "settings"));
    dg_job_arguments arguments = {
        .usage = "REF EVAL -o OUT.h5 [--dose-percent P] [--distance-mm D] ...\n"
                 "REF, the clinical dose, and EVAL, the prediction: FILE.h5:/path, FILE.nii(.gz), FILE.dcm (RTDOSE) or FILE.npy",
        .rows = rows,
        .row_count = shared + OWN_ROWS,
        .target = s,
        .positional = names,
        .positional_min = 2,
        .positional_max = 2};
    dg_status status = dg_job_read_arguments(env, &dg_job_gamma, &arguments, argc, argv, &options, &count, &helped);
    if (status == DG_OK && !helped) {
        dg_options_release(&options);
        status = gamma_of(env, s, names);
    }
    dg_free(&s);
    return status;
}

const dg_job dg_job_gamma = {.name = "gamma", .summary = "compare two doses by their gamma index", .run = run};
