/* export_volumes.c - see export_impl.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_cohort.h"
#include "dg_file.h"
#include "dg_mem.h"
#include "dg_nifti.h"
#include "dg_predictions.h"
#include "export_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef enum volume { V_CT, V_DOSE, V_PRED, V_DIFF, V_MASKS, V_LABELS, V_COUNT } volume;
static const char *const volume_names[V_COUNT] = {"ct", "dose", "pred", "diff", "masks", "labels"};

typedef struct exporter {
    const dg_job_env *env;
    const export_config *config;
    bool wanted[V_COUNT];
    dg_cohort *cohort;
    dg_case *open;            /* the case at hand */
    const dg_case_info *info; /* its */
    float *values, *dose;     /* [voxels] of it, owned */
    int64_t files;
} exporter;

static dg_status choose_volumes(exporter *x)
{
    const dg_string_list *what = &x->config->what;
    for (int i = 0; i < what->count; i++) {
        int v = 0;
        while (v < V_COUNT && strcmp(what->value[i], volume_names[v]) != 0) v++;
        if (v == V_COUNT)
            return DG_FAIL(DG_ERR_USAGE, "export: --what %.40s: choose of ct, dose, pred, diff, masks, labels",
                           what->value[i]);
        x->wanted[v] = true;
    }
    if ((x->wanted[V_PRED] || x->wanted[V_DIFF]) && x->config->predictions[0] == '\0')
        return DG_FAIL(DG_ERR_USAGE, "export: name the folder of the predictions with --predictions");
    return DG_OK;
}

static dg_status write_volume(exporter *x, const char *what, dg_dtype type, const void *values, const char *description)
{
    char name[2 * DG_CASE_ID + 32], path[DG_PATH_MAX], role[2 * DG_CASE_ID + 32];
    snprintf(name, sizeof name, "%s_%s.nii.gz", x->info->id, what);
    snprintf(role, sizeof role, "%.40s of case %s", what, x->info->id);
    for (char *c = name; *c != '\0'; c++)
        if (*c == '/') *c = '_'; /* a structure may be called so */
    DG_TRY(dg_path_join(path, x->config->output, name));
    DG_TRY(dg_nifti_write(path, role, &x->info->grid, type, values, description));
    x->files++;
    return DG_OK;
}

static dg_status read_field(exporter *x, dg_field field, int structure, float *out)
{
    dg_box all = {.start = {0, 0, 0}};
    memcpy(all.shape, x->info->grid.shape, sizeof all.shape);
    return dg_case_read(x->open, field, structure, &all, out);
}

/* Whole numbers of HU take half the room. */
static dg_status export_ct(exporter *x)
{
    const int64_t voxels = dg_grid_voxels(&x->info->grid);
    bool whole = true;
    int16_t *hu = NULL;
    DG_TRY(read_field(x, DG_FIELD_CT_HU, 0, x->values));
    for (int64_t i = 0; whole && i < voxels; i++)
        whole = x->values[i] == rintf(x->values[i]) && fabsf(x->values[i]) <= 32767;
    if (!whole) return write_volume(x, "ct", DG_F32, x->values, "CT, HU");
    DG_TRY(DG_NEW(&hu, voxels, "CT"));
    for (int64_t i = 0; i < voxels; i++) hu[i] = (int16_t)x->values[i];
    const dg_status status = write_volume(x, "ct", DG_I16, hu, "CT, HU");
    dg_free(&hu);
    return status;
}

static dg_status export_doses(exporter *x)
{
    const int64_t voxels = dg_grid_voxels(&x->info->grid);
    dg_grid grid;
    float *predicted = NULL;
    if (x->wanted[V_DOSE] || x->wanted[V_DIFF]) {
        if (!x->info->has_dose) return DG_FAIL(DG_ERR_DATA, "case %s has no dose to export", x->info->id);
        DG_TRY(read_field(x, DG_FIELD_DOSE_GY, 0, x->dose));
    }
    if (x->wanted[V_DOSE]) DG_TRY(write_volume(x, "dose", DG_F32, x->dose, "clinical dose, Gy"));
    if (!x->wanted[V_PRED] && !x->wanted[V_DIFF]) return DG_OK;
    DG_TRY(dg_prediction_read(x->config->predictions, x->info->id, &grid, &predicted));
    dg_status status =
        memcmp(grid.shape, x->info->grid.shape, sizeof grid.shape) == 0
            ? DG_OK
            : DG_FAIL(DG_ERR_DATA, "case %s: the prediction has another grid than the case", x->info->id);
    if (status == DG_OK && x->wanted[V_PRED])
        status = write_volume(x, "pred", DG_F32, predicted, "PREDICTED DOSE - NOT CALCULATED - RESEARCH USE, Gy");
    if (status == DG_OK && x->wanted[V_DIFF]) {
        for (int64_t i = 0; i < voxels; i++) predicted[i] -= x->dose[i];
        status = write_volume(x, "diff", DG_F32, predicted, "predicted minus clinical dose, Gy");
    }
    dg_free(&predicted);
    return status;
}

static dg_status export_masks(exporter *x, dg_field field, int structure, const char *what)
{
    const int64_t voxels = dg_grid_voxels(&x->info->grid);
    uint8_t *bytes = NULL;
    DG_TRY(read_field(x, field, structure, x->values));
    DG_TRY(DG_NEW(&bytes, voxels, "mask"));
    for (int64_t i = 0; i < voxels; i++) bytes[i] = (uint8_t)x->values[i];
    const dg_status status = write_volume(x, what, DG_U8, bytes, what);
    dg_free(&bytes);
    return status;
}

static dg_status export_open_case(exporter *x)
{
    const int64_t voxels = dg_grid_voxels(&x->info->grid);
    DG_TRY(DG_NEW(&x->values, voxels, "volume"));
    DG_TRY(DG_NEW(&x->dose, voxels, "dose"));
    if (x->wanted[V_CT]) DG_TRY(export_ct(x));
    DG_TRY(export_doses(x));
    for (int k = 0; x->wanted[V_MASKS] && k < x->info->structure_count; k++) {
        char what[DG_STRUCTURE_NAME + 8];
        snprintf(what, sizeof what, "mask-%s", x->info->structure[k].name);
        DG_TRY(export_masks(x, DG_FIELD_MASK, k, what));
    }
    return x->wanted[V_LABELS] ? export_masks(x, DG_FIELD_LABEL, 0, "labels") : DG_OK;
}

static dg_status export_case(exporter *x, int64_t index)
{
    DG_TRY(dg_case_open(x->cohort, index, &x->open));
    x->info = dg_case_get_info(x->open);
    const dg_status status = export_open_case(x);
    dg_free(&x->values);
    dg_free(&x->dose);
    dg_case_close(&x->open);
    return status;
}

static dg_status export_cases(exporter *x)
{
    dg_words words;
    const int64_t all = dg_cohort_count(x->cohort);
    DG_TRY(dg_words_read(&x->config->cases, "--cases", &words));
    const int64_t count = words.count > 0 ? words.count : all;
    dg_status status = DG_OK;
    for (int64_t i = 0; i < count && status == DG_OK; i++) {
        const int64_t index = words.count > 0 ? dg_cohort_find(x->cohort, words.value[i]) : i;
        status = index < 0
                     ? DG_FAIL(DG_ERR_USAGE, "export: the cohort has no case %s, which --cases names", words.value[i])
                     : export_case(x, index);
        if (status == DG_OK) dg_log_progress(x->env->log, "export, cases", i + 1, count, NULL);
    }
    if (status == DG_OK)
        dg_log_write(x->env->log, DG_LOG_INFO, "%lld volumes of %lld cases written", (long long)x->files,
                     (long long)count);
    if (status == DG_OK && x->config->json)
        status = dg_job_print_json(x->env,
                                   json_pack("{s:I, s:I}", "cases", (json_int_t)count, "files", (json_int_t)x->files));
    dg_words_release(&words);
    return status;
}

dg_status export_volumes(const dg_job_env *env, const export_config *config, const char *cohort)
{
    exporter x = {.env = env, .config = config};
    DG_TRY(choose_volumes(&x));
    DG_TRY(dg_cohort_open(cohort, &x.cohort));
    dg_status status = dg_make_folder(config->output);
    if (status == DG_OK) status = export_cases(&x);
    dg_cohort_close(&x.cohort);
    return status;
}
