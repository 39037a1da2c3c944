/* export_nifti.c - volumes of cases as NIfTI files: ID_ct.nii.gz, ID_dose.nii.gz, ID_pred.nii.gz, ID_diff.nii.gz,
 * ID_mask-NAME.nii.gz, ID_labels.nii.gz; all structures as ID.seg.nrrd. SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "dg_file.h"
#include "dg_nifti.h"
#include "dg_segmentation.h"
#include "export_impl.h"

#include <math.h>
#include <stdio.h>

static dg_status write_volume(exporter *x, const char *what, dg_dtype type, const void *values, const char *description)
{
    char name[2 * DG_CASE_ID + 32], path[DG_PATH_MAX], role[2 * DG_CASE_ID + 32];
    snprintf(name, sizeof name, "%s_%s.nii.gz", x->info->id, what);
    snprintf(role, sizeof role, "%.40s of case %s", what, x->info->id);
    DG_TRY(export_path(x, name, path));
    return dg_nifti_write(path, role, &x->info->grid, type, values, description,
                          (dg_nifti_version)x->config->nifti_version);
}

/* Whole numbers of HU take half the room. */
static dg_status write_ct(exporter *x)
{
    const int64_t voxels = dg_grid_voxels(&x->info->grid);
    bool whole = true;
    float *values;
    int16_t *hu = NULL;
    DG_TRY(export_read(x, DG_FIELD_CT_HU, 0, &values));
    for (int64_t i = 0; whole && i < voxels; i++) whole = values[i] == rintf(values[i]) && fabsf(values[i]) <= 32767;
    dg_status status = whole ? DG_NEW(&hu, voxels, "CT") : DG_OK;
    for (int64_t i = 0; status == DG_OK && whole && i < voxels; i++) hu[i] = (int16_t)values[i];
    if (status == DG_OK)
        status = write_volume(x, "ct", whole ? DG_I16 : DG_F32, whole ? (void *)hu : (void *)values, "CT, HU");
    dg_free(&hu);
    dg_free(&values);
    return status;
}

static dg_status write_doses(exporter *x)
{
    const int64_t voxels = dg_grid_voxels(&x->info->grid);
    float *dose = NULL, *predicted = NULL;
    dg_status status = DG_OK;
    if (x->wanted[WHAT_DOSE] || x->wanted[WHAT_DIFF]) DG_TRY_GOTO(status, export_read_dose(x, &dose), cleanup);
    if (x->wanted[WHAT_DOSE]) DG_TRY_GOTO(status, write_volume(x, "dose", DG_F32, dose, "clinical dose, Gy"), cleanup);
    if (x->wanted[WHAT_PRED] || x->wanted[WHAT_DIFF])
        DG_TRY_GOTO(status, export_read_prediction(x, &predicted), cleanup);
    if (x->wanted[WHAT_PRED])
        DG_TRY_GOTO(status,
                    write_volume(x, "pred", DG_F32, predicted, "PREDICTED DOSE - NOT CALCULATED - RESEARCH USE, Gy"),
                    cleanup);
    if (x->wanted[WHAT_DIFF]) {
        for (int64_t i = 0; i < voxels; i++) predicted[i] -= dose[i];
        status = write_volume(x, "diff", DG_F32, predicted, "predicted minus clinical dose, Gy");
    }
cleanup:
    dg_free(&predicted);
    dg_free(&dose);
    return status;
}

static dg_status write_prediction_of_labels(exporter *x)
{
    const int64_t voxels = dg_grid_voxels(&x->info->grid);
    dg_prediction_kind kind;
    float *values;
    uint8_t *mask = NULL;
    DG_TRY(export_read_segmentation(x, &kind, &values));
    const bool is_mask = kind == DG_PREDICTION_LABEL;
    dg_status status = is_mask ? DG_NEW(&mask, voxels, "mask") : DG_OK;
    for (int64_t i = 0; status == DG_OK && is_mask && i < voxels; i++) mask[i] = values[i] > 0;
    if (status == DG_OK)
        status = write_volume(x, "pred", is_mask ? DG_U8 : DG_F32, is_mask ? (void *)mask : (void *)values,
                              is_mask ? "predicted mask" : "predicted probability");
    dg_free(&mask);
    dg_free(&values);
    return status;
}

static dg_status write_mask(exporter *x, dg_field field, int structure, const char *what)
{
    const int64_t voxels = dg_grid_voxels(&x->info->grid);
    float *values;
    uint8_t *bytes = NULL;
    DG_TRY(export_read(x, field, structure, &values));
    dg_status status = DG_NEW(&bytes, voxels, "mask");
    for (int64_t i = 0; status == DG_OK && i < voxels; i++) bytes[i] = (uint8_t)values[i];
    if (status == DG_OK) status = write_volume(x, what, DG_U8, bytes, what);
    dg_free(&bytes);
    dg_free(&values);
    return status;
}

static dg_status write_segmentation(exporter *x)
{
    char name[DG_CASE_ID + 32], path[DG_PATH_MAX], role[DG_CASE_ID + 32];
    uint64_t *bits;
    snprintf(name, sizeof name, "%s.seg.nrrd", x->info->id);
    snprintf(role, sizeof role, "segmentation of case %s", x->info->id);
    DG_TRY(export_read_mask_bits(x, &bits));
    dg_status status = export_path(x, name, path);
    if (status == DG_OK)
        status = dg_segmentation_write(path, role, &x->info->grid, x->info->structure, x->info->structure_count, bits);
    dg_free(&bits);
    return status;
}

static dg_status write_case(exporter *x)
{
    dg_prediction_kind kind = DG_PREDICTION_DOSE;
    if (x->wanted[WHAT_CT]) DG_TRY(write_ct(x));
    if (x->wanted[WHAT_PRED]) DG_TRY(export_prediction_kind(x, &kind));
    if (kind == DG_PREDICTION_DOSE)
        DG_TRY(write_doses(x));
    else
        DG_TRY(write_prediction_of_labels(x));
    for (int k = 0; x->wanted[WHAT_MASKS] && k < x->info->structure_count; k++) {
        char what[DG_STRUCTURE_NAME + 8];
        snprintf(what, sizeof what, "mask-%s", x->info->structure[k].name);
        DG_TRY(write_mask(x, DG_FIELD_MASK, k, what));
    }
    if (x->wanted[WHAT_SEGMENTATION]) DG_TRY(write_segmentation(x));
    return x->wanted[WHAT_LABELS] ? write_mask(x, DG_FIELD_LABEL, 0, "labels") : DG_OK;
}

const export_target export_nifti = {.name = "nifti",
                                    .what = "ct, dose, pred, diff, masks, labels, segmentation",
                                    .knows = 1U << WHAT_CT | 1U << WHAT_DOSE | 1U << WHAT_PRED | 1U << WHAT_DIFF |
                                             1U << WHAT_MASKS | 1U << WHAT_LABELS | 1U << WHAT_SEGMENTATION,
                                    .by_default = 1U << WHAT_CT | 1U << WHAT_DOSE,
                                    .write_case = write_case};
