/* export.c - `dosegrid export`: what dosegrid keeps, in the formats of other programs. SPDX-License-Identifier: Apache-2.0 */
#include "dg_file.h"
#include "export_impl.h"
#include "trained.h"
#include "weights_file.h"

#include <stddef.h>

enum { TO_SAFETENSORS, TO_NIFTI, TO_NPZ, TO_CSV, TO_DICOM, TO_TIFF, TO_COUNT };
static const char *const to_names[] = {"safetensors", "nifti", "npz", "csv", "dicom", "tiff", NULL};
static const export_target *const targets[TO_COUNT] = {NULL, &export_nifti, &export_npz, &export_csv,
                                                        &export_dicom, &export_tiff};
static const char *const nifti_names[] = {"auto", "1", "2", NULL};
static const char *const npz_names[] = {"2.3", "2.4", NULL};
static const char *const bits_names[] = {"32", "16", NULL};
static const char *const word_usual[] = {"usual", NULL};

#define AT(field) .offset = offsetof(export_config, field)
/* clang-format off */
static const dg_option rows[] = {
    {.key = "export.to", .flag = "to", .type = DG_OPT_ENUM, AT(to), .names = to_names, .fallback = "safetensors", .unit = "",
     .help = "safetensors: the weights of a checkpoint under PyTorch's names; of a cohort's cases nifti: volumes, npz: archives of the vmat-diffusion scripts, csv: OpenKBP tables and DVH curves, dicom: RTDOSE with its plan, RTSTRUCT, tiff: scans and segmentations"},
    {.key = "export.output", .flag = "output", .letter = 'o', .type = DG_OPT_STRING, AT(output), .fallback = "", .unit = "",
     .help = "the file that is written; of cases, their folder"},
    {.key = "export.what", .flag = "what", .type = DG_OPT_STRING_LIST, AT(what), .list_min = 1, .names = word_usual,
     .fallback = "usual", .unit = "",
     .help = "nifti: ct (HU), dose (Gy), pred and diff (Gy, prediction and prediction minus dose), masks, labels, segmentation (one .seg.nrrd for 3D Slicer), usual is ct and dose; npz: dose or pred under the key dose; csv: dose, pred, dvh, usual is pred; dicom: pred, masks, usual is pred; tiff: ct, labels, pred (of segmentations), usual is pred; pred of segmentations: a mask, or probabilities"},
    {.key = "export.predictions", .flag = "predictions", .type = DG_OPT_STRING, AT(predictions), .fallback = "", .unit = "",
     .help = "folder of predictions, for pred and diff"},
    {.key = "export.cases", .flag = "cases", .type = DG_OPT_STRING_LIST, AT(cases), .list_min = 0, .fallback = "[]",
     .unit = "", .from_file = true, .help = "only these cases: [pt_1, pt_2]; none named: with pred or diff those that are predicted, else all"},
    {.key = "export.nifti", .flag = "nifti", .type = DG_OPT_ENUM, AT(nifti_version), .names = nifti_names, .fallback = "auto",
     .unit = "", .help = "version of NIfTI; auto is 1 unless its float numbers would move a voxel by more than 1 um"},
    {.key = "export.npz", .flag = "npz", .type = DG_OPT_ENUM, AT(npz_version), .names = npz_names, .fallback = "2.3", .unit = "",
     .help = "version of the scripts that the archives are for: 2.3 has 8 structures, 2.4 has PTV50.4 too"},
    {.key = "export.reference", .flag = "reference", .type = DG_OPT_STRING, AT(reference), .fallback = "", .unit = "",
     .help = "dicom: folder tree with the DICOM files that the cases came from; gives patient, study and frame of reference, and a CT there must be the case's"},
    {.key = "export.salt", .flag = "salt", .type = DG_OPT_STRING, AT(salt), .fallback = "dosegrid", .unit = "",
     .help = "dicom: the --salt of the import, by which cases find their patients below --reference; without it a folder called by the case's id is looked for"},
    {.key = "export.link_plan", .flag = "link-plan", .type = DG_OPT_BOOL, AT(link_plan), .fallback = "false", .unit = "",
     .help = "dicom: the dose refers to the clinical plan below --reference, not to a new empty one"},
    {.key = "export.bits", .flag = "bits", .type = DG_OPT_ENUM, AT(bits), .names = bits_names, .fallback = "32", .unit = "bits",
     .help = "dicom: of a voxel of the dose; 16 errs by up to a 131070th of the largest dose"},
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
        .usage =
            "CHECKPOINT -o OUT.safetensors | COHORT --to nifti|npz|csv|dicom|tiff [--what ct,dose] [--predictions P] -o FOLDER",
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
            status = config.to == TO_SAFETENSORS ? export_weights(env, &config, source)
                                                 : export_cases(env, &config, targets[config.to], source);
    }
    return dg_comm_agree(env->comm, status);
}

const dg_job dg_job_export = {
    .name = "export", .summary = "write weights or cases in the formats of other programs", .run = run_export};
