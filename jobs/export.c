/* export.c - `dosegrid export`: what dosegrid keeps, in the formats of other programs. SPDX-License-Identifier: Apache-2.0 */
#include "dg_file.h"
#include "export_impl.h"
#include "trained.h"
#include "weights_file.h"

#include <stddef.h>

enum { TO_SAFETENSORS, TO_NIFTI };
static const char *const to_names[] = {"safetensors", "nifti", NULL};

#define AT(field) .offset = offsetof(export_config, field)
/* clang-format off */
static const dg_option rows[] = {
    {.key = "export.to", .flag = "to", .type = DG_OPT_ENUM, AT(to), .names = to_names, .fallback = "safetensors", .unit = "",
     .help = "safetensors: the weights of a checkpoint under PyTorch's names; nifti: volumes of a cohort's cases"},
    {.key = "export.output", .flag = "output", .letter = 'o', .type = DG_OPT_STRING, AT(output), .fallback = "", .unit = "",
     .help = "the file that is written; of volumes, their folder"},
    {.key = "export.what", .flag = "what", .type = DG_OPT_STRING_LIST, AT(what), .list_min = 1, .fallback = "[ct, dose]",
     .unit = "", .help = "volumes: ct (HU), dose (Gy), pred and diff (Gy, prediction and prediction minus dose), masks, labels"},
    {.key = "export.predictions", .flag = "predictions", .type = DG_OPT_STRING, AT(predictions), .fallback = "", .unit = "",
     .help = "folder of predictions, for pred and diff"},
    {.key = "export.cases", .flag = "cases", .type = DG_OPT_STRING_LIST, AT(cases), .list_min = 0, .fallback = "[]",
     .unit = "", .from_file = true, .help = "only these cases: [pt_1, pt_2]; none named: all"},
    {.key = "export.force", .flag = "force", .type = DG_OPT_BOOL, AT(force), .fallback = "false", .unit = "",
     .help = "replace a file or a folder's files of that name"},
    {.key = "export.json", .flag = "json", .type = DG_OPT_BOOL, AT(json), .fallback = "false", .unit = "",
     .help = "print the result as JSON"},
};
/* clang-format on */

static dg_status check_output(const export_config *config)
{
    if (config->output[0] == '\0') return DG_FAIL(DG_ERR_USAGE, "export: name the file to write with -o");
    if (dg_file_exists(config->output) && !config->force)
        return DG_FAIL(DG_ERR_USAGE, "export: '%s' is there already; --force replaces it", config->output);
    return DG_OK;
}

/* The weights that predict uses: the average where the checkpoint has one. */
dg_status export_weights(const dg_job_env *env, const export_config *config, const char *checkpoint)
{
    dg_trained trained;
    DG_TRY(dg_trained_load(checkpoint, &trained));
    const dg_param_table *table = &trained.model->params;
    dg_status status = dg_weights_file_save(config->output, table, trained.weights, trained.weights_sha256);
    if (status == DG_OK) {
        dg_log_write(env->log, DG_LOG_INFO, "%d tensors written%s", table->count,
                     trained.averaged ? ", the running average of the weights" : "");
        if (config->json)
            status = dg_job_print_json(env, json_pack("{s:i, s:s, s:b}", "tensors", table->count, "weights_sha256",
                                                      trained.weights_sha256, "averaged", trained.averaged));
    }
    dg_trained_release(&trained);
    return status;
}

static dg_status run_export(const dg_job_env *env, int argc, char *const *argv, int *exit_code)
{
    (void)exit_code;
    export_config config;
    dg_options options;
    const char *source;
    int count;
    bool helped = false;
    const dg_job_arguments arguments = {
        .usage = "CHECKPOINT -o OUT.safetensors | COHORT --to nifti [--what ct,dose] [--predictions P] -o FOLDER",
        .rows = rows,
        .row_count = (int)(sizeof rows / sizeof rows[0]),
        .target = &config,
        .positional = &source,
        .positional_min = 1,
        .positional_max = 1};
    DG_TRY(dg_job_read_arguments(env, &dg_job_export, &arguments, argc, argv, &options, &count, &helped));
    if (helped) return DG_OK;
    dg_options_release(&options);
    dg_status status = DG_OK;
    if (env->comm->rank == 0) {
        status = check_output(&config);
        if (status == DG_OK)
            status =
                config.to == TO_NIFTI ? export_volumes(env, &config, source) : export_weights(env, &config, source);
    }
    return dg_comm_agree(env->comm, status);
}

const dg_job dg_job_export = {
    .name = "export", .summary = "write weights or volumes in the formats of other programs", .run = run_export};
