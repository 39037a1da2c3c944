/* synth.c - `dosegrid synth`: a cohort of phantom patients, the same bytes on any number of ranks.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_cohort.h"
#include "dg_file.h"
#include "dg_mem.h"
#include "dg_options.h"
#include "dg_predictions.h"
#include "dg_tasks.h"
#include "dg_trace.h"
#include "ensemble.h"
#include "job.h"
#include "phantom.h"
#include "phantom_surface.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef struct synth_config {
    char output[DG_OPT_TEXT];
    int64_t cases, seed, draws;
    double level;
    dg_int_list shape;
    dg_double_list spacing_mm;
    int kind, ambiguity; /* dg_ambiguity */
    bool constraints, json;
} synth_config;

enum { KIND_PATIENTS, KIND_SURFACES };
static const char default_level[] = "0.004";
static const char *const kind_names[] = {"patients", "surfaces", NULL};
static const char *const ambiguity_names[] = {"none", "one", "two", NULL};

/* clang-format off */
static const dg_option rows[] = {
    {.key = "synth.output", .flag = "output", .letter = 'o', .type = DG_OPT_STRING,
     .offset = offsetof(synth_config, output), .fallback = "", .unit = "", .help = "folder of the new cohort"},
    {.key = "synth.kind", .flag = "kind", .type = DG_OPT_ENUM, .offset = offsetof(synth_config, kind),
     .names = kind_names, .fallback = "patients", .unit = "",
     .help = "patients with doses, or scans of thin surfaces with labels (0 background, 1 surface, 2 not known)"},
    {.key = "synth.cases", .flag = "cases", .type = DG_OPT_INT, .offset = offsetof(synth_config, cases), .min = 1,
     .max = 1e6, .fallback = "12", .unit = "", .help = "number of patients"},
    {.key = "synth.shape", .flag = "shape", .type = DG_OPT_INT_LIST, .offset = offsetof(synth_config, shape), .min = 12,
     .max = 1024, .list_min = 3, .list_max = 3, .fallback = "[48, 64, 64]", .unit = "voxels",
     .help = "size of a patient's volume: z,y,x"},
    {.key = "synth.spacing", .flag = "spacing", .type = DG_OPT_DOUBLE_LIST, .offset = offsetof(synth_config, spacing_mm),
     .min = 0.1, .max = 100, .list_min = 3, .list_max = 3, .fallback = "[5, 6, 6]", .unit = "mm",
     .help = "distance of voxels: z,y,x; the patient fills the volume whatever it is"},
    {.key = "synth.seed", .flag = "seed", .type = DG_OPT_INT, .offset = offsetof(synth_config, seed), .min = 0,
     .max = 9e15, .fallback = "42", .unit = "", .help = "seed of anatomy and plans"},
    {.key = "synth.ambiguity", .flag = "ambiguity", .type = DG_OPT_ENUM, .offset = offsetof(synth_config, ambiguity),
     .names = ambiguity_names, .fallback = "none", .unit = "",
     .help = "hidden choices of the planner: none, one mode (how strongly organs are spared, gantry weights), or two modes "
             "(also which side); with choices, truth_mean/ and truth_std/ hold the exact mean and spread of every voxel"},
    {.key = "synth.level", .flag = "level", .type = DG_OPT_DOUBLE, .offset = offsetof(synth_config, level), .min = 0,
     .max = 0.1, .fallback = default_level, .unit = "share of the dose",
     .help = "with choices: the whole dose, targets too, is up to so much lower or higher (all shares alike likely), as plans are "
             "normalised one way or another; at 0.004 next to nothing is open in targets, 0.05 is a spread of 2 Gy at 70"},
    {.key = "synth.draws", .flag = "draws", .type = DG_OPT_INT, .offset = offsetof(synth_config, draws), .min = 0,
     .max = 10000, .fallback = "0", .unit = "doses",
     .help = "with choices: so many other doses of each patient, by other choices, as the ensemble truth_draws/: a prediction that cannot be better"},
    {.key = "synth.constraints", .flag = "constraints", .type = DG_OPT_BOOL,
     .offset = offsetof(synth_config, constraints), .fallback = "false", .unit = "",
     .help = "every case has a constraint vector that tells the choices on parotids and larynx (data.constraints)"},
    {.key = "synth.json", .flag = "json", .type = DG_OPT_BOOL, .offset = offsetof(synth_config, json), .fallback = "false",
     .unit = "", .help = "print the result as JSON"},
};
/* clang-format on */

static dg_status check_output(const synth_config *config)
{
    char index[DG_PATH_MAX];
    if (config->output[0] == '\0') return DG_FAIL(DG_ERR_USAGE, "synth: name the folder of the new cohort with -o");
    if (config->constraints && config->ambiguity == DG_AMBIGUITY_NONE)
        return DG_FAIL(DG_ERR_USAGE, "synth: --constraints tells the planner's choices and --ambiguity none leaves him "
                                     "none; add --ambiguity one or two");
    if (config->kind == KIND_SURFACES && config->ambiguity != DG_AMBIGUITY_NONE)
        return DG_FAIL(DG_ERR_USAGE, "synth: --ambiguity is of the planner's choices; --kind surfaces has no dose");
    if (config->ambiguity == DG_AMBIGUITY_NONE && config->level != strtod(default_level, NULL))
        return DG_FAIL(DG_ERR_USAGE, "synth: --level %g is a hidden choice; add --ambiguity one or two", config->level);
    if (config->draws == 1 || (config->draws > 0 && config->ambiguity == DG_AMBIGUITY_NONE))
        return DG_FAIL(DG_ERR_USAGE,
                       "synth: --draws %lld: an ensemble of what could have been has two doses at least, and "
                       "--ambiguity one or two",
                       (long long)config->draws);
    DG_TRY(dg_path_join(index, config->output, "cohort.h5"));
    if (dg_file_exists(index))
        return DG_FAIL(DG_ERR_USAGE, "synth: '%s' holds a cohort already; remove it or choose another folder",
                       config->output);
    return dg_make_folder(config->output);
}

/* What the truth volumes carry in place of a model's hash: the settings they follow from. */
static dg_status settings_sha256(const synth_config *config, char hex[DG_HASH_HEX])
{
    char text[256];
    int length = snprintf(text, sizeof text, "phantom seed %lld ambiguity %s level %.17g", (long long)config->seed,
                          ambiguity_names[config->ambiguity], config->level);
    return dg_hash_bytes(text, (size_t)length, hex);
}

static dg_status write_truth(const synth_config *config, const char *folder_name, const dg_phantom *phantom,
                             const float *volume_gy)
{
    char folder[DG_PATH_MAX], hex[DG_HASH_HEX];
    dg_ledger_entry entry = {0};
    DG_TRY(dg_path_join(folder, config->output, folder_name));
    DG_TRY(settings_sha256(config, hex));
    DG_TRY(dg_make_folder(folder));
    const dg_case_info *info = &phantom->data.info;
    return dg_prediction_write(folder, info->id, &info->grid, hex, volume_gy, &entry);
}

/* Doses by the choices number 1, 2, .. of the same patient; number 0 is the dose of the case. */
static dg_status write_draws(const synth_config *config, const dg_phantom_config *what, int64_t index, int rank)
{
    char folder[DG_PATH_MAX], draw[DG_PATH_MAX], hex[DG_HASH_HEX];
    dg_ledger_entry entry = {.done = true};
    const dg_ensemble all = {.folder = folder, .samples = config->draws};
    DG_TRY(dg_path_join(folder, config->output, "truth_draws"));
    DG_TRY(dg_make_folder(folder));
    DG_TRY(settings_sha256(config, hex));
    dg_phantom_id(index, entry.id);
    for (int64_t k = 0; k < config->draws; k++) {
        dg_phantom *phantom;
        DG_TRY(dg_ensemble_folder(folder, k, draw));
        DG_TRY(dg_make_folder(draw));
        DG_TRY(dg_phantom_create(what, index, (uint32_t)k + 1, &phantom));
        const dg_status status =
            dg_prediction_write(draw, entry.id, &phantom->data.info.grid, hex, phantom->dose_gy, &entry);
        dg_phantom_destroy(&phantom);
        DG_TRY(status);
    }
    DG_TRY(dg_ensemble_combine(&all, entry.id, hex, &entry));
    return dg_ledger_append(folder, rank, &entry);
}

static dg_status write_surface(const synth_config *config, const dg_phantom_config *what, int64_t index)
{
    dg_phantom_surface *surface;
    DG_TRY(dg_phantom_surface_create(what, index, &surface));
    dg_status status = dg_case_write(config->output, &surface->data);
    dg_phantom_surface_destroy(&surface);
    return status;
}

static dg_status write_case(const synth_config *config, int64_t index, int rank)
{
    dg_phantom_config phantom_config = {.seed = (uint64_t)config->seed,
                                        .ambiguity = (dg_ambiguity)config->ambiguity,
                                        .level = config->level,
                                        .constraints = config->constraints};
    memcpy(phantom_config.shape, config->shape.value, sizeof phantom_config.shape);
    memcpy(phantom_config.spacing_mm, config->spacing_mm.value, sizeof phantom_config.spacing_mm);
    if (config->kind == KIND_SURFACES) return write_surface(config, &phantom_config, index);
    dg_phantom *phantom;
    DG_TRY(dg_phantom_create(&phantom_config, index, 0, &phantom));
    dg_status status = dg_case_write(config->output, &phantom->data);
    if (status == DG_OK && config->ambiguity != DG_AMBIGUITY_NONE) {
        status = write_truth(config, "truth_mean", phantom, phantom->mean_gy);
        if (status == DG_OK) status = write_truth(config, "truth_std", phantom, phantom->std_gy);
    }
    dg_phantom_destroy(&phantom);
    return status == DG_OK && config->draws > 0 ? write_draws(config, &phantom_config, index, rank) : status;
}

/* This rank's share of the cases. Cases that are written stay, whatever happens to the others. */
static dg_status write_cases(const dg_job_env *env, const synth_config *config, dg_tasks *tasks)
{
    for (;;) {
        int64_t index = -1;
        DG_TRY(dg_tasks_next(tasks, &index));
        if (index < 0) return DG_OK;
        DG_TRY(write_case(config, index, env->comm->rank));
        dg_log_progress(env->log, "synth", index + 1, config->cases, NULL);
    }
}

static dg_status make_cases(const dg_job_env *env, const synth_config *config)
{
    double *cost = NULL;
    dg_tasks *tasks = NULL;
    dg_status status = DG_NEW(&cost, config->cases, "costs of the cases"); /* all alike */
    DG_TRY_GOTO(status, dg_comm_agree(env->comm, status), cleanup);
    DG_TRY_GOTO(status, dg_tasks_create(env->comm, cost, config->cases, &tasks), cleanup);
    status = write_cases(env, config, tasks);
    DG_TRY_GOTO(status, dg_comm_agree(env->comm, status), cleanup);
    if (env->comm->rank == 0) status = dg_cohort_write_index(config->output, NULL, 0);
    status = dg_comm_agree(env->comm, status);
cleanup:
    dg_tasks_destroy(&tasks);
    dg_free(&cost);
    return status;
}

static dg_status tell(const dg_job_env *env, const synth_config *config, double seconds)
{
    dg_cohort *cohort;
    char hex[DG_HASH_HEX];
    DG_TRY(dg_cohort_open(config->output, &cohort));
    dg_status status = dg_cohort_content_hash(cohort, hex);
    dg_cohort_close(&cohort);
    if (status != DG_OK) return status;
    dg_log_write(env->log, DG_LOG_INFO, "%lld phantom patients in %.1f s", (long long)config->cases, seconds);
    if (!config->json) return DG_OK;
    return dg_job_print_json(env, json_pack("{s:I, s:s, s:f}", "cases", (json_int_t)config->cases, "content_sha256",
                                            hex, "seconds", seconds));
}

static dg_status synth(const dg_job_env *env, const synth_config *config)
{
    double start = dg_time_s();
    DG_TRY(dg_comm_agree(env->comm, check_output(config)));
    DG_TRY(dg_comm_barrier(env->comm)); /* every rank has looked before any writes */
    DG_TRY(make_cases(env, config));
    return dg_comm_agree(env->comm, env->comm->rank == 0 ? tell(env, config, dg_time_s() - start) : DG_OK);
}

static dg_status run_synth(const dg_job_env *env, int argc, char *const *argv, int *exit_code)
{
    synth_config config;
    dg_options options;
    int positional_count = 0;
    bool helped = false;
    const dg_job_arguments arguments = {.usage = "-o COHORT/ [--kind patients|surfaces] [--cases N] [--shape z,y,x] "
                                                 "[--ambiguity none|one|two] [--level R] [--draws N] [--constraints]",
                                        .rows = rows,
                                        .row_count = (int)(sizeof rows / sizeof rows[0]),
                                        .target = &config};
    DG_TRY(dg_job_read_arguments(env, &dg_job_synth, &arguments, argc, argv, &options, &positional_count, &helped));
    if (helped) return DG_OK;
    dg_status status = synth(env, &config);
    dg_options_release(&options);
    return status;
}

const dg_job dg_job_synth = {.name = "synth", .summary = "make a cohort of phantom patients", .run = run_synth};
