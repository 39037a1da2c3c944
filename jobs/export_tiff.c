/* export_tiff.c - scans and segmentations of cases as TIFF files of many pages: ID.tif, ID.label.tif, ID.pred.tif, voxel by voxel
 * as they lie in the case; the first two are what the import takes. SPDX-License-Identifier: Apache-2.0 */
#include "dg_file.h"
#include "dg_mem.h"
#include "dg_tiff.h"
#include "export_impl.h"

#include <math.h>
#include <stdio.h>

enum { BYTE_MAX = 255, WORD_MAX = 65535 };

/* Whole numbers become pages of `bits`; factor brings probabilities to the range of a page. */
static dg_status write_volume(exporter *x, const char *suffix, int bits, const float *values, float factor)
{
    const int64_t voxels = dg_grid_voxels(&x->info->grid);
    char name[2 * DG_CASE_ID + 32], path[DG_PATH_MAX], role[2 * DG_CASE_ID + 32];
    uint16_t *words = NULL;
    snprintf(name, sizeof name, "%s%s.tif", x->info->id, suffix);
    snprintf(role, sizeof role, "%s of case %s as TIFF", suffix[0] == '\0' ? "scan" : suffix + 1, x->info->id);
    DG_TRY(DG_NEW(&words, voxels, "pages of a TIFF file"));
    uint8_t *bytes = (uint8_t *)words;
    dg_status status = DG_OK;
    for (int64_t i = 0; i < voxels && status == DG_OK; i++) {
        const float value = factor == 1 ? values[i] : rintf(factor * values[i]);
        if (!(value >= 0 && value <= (float)(bits == 8 ? BYTE_MAX : WORD_MAX)) || value != rintf(value))
            status = DG_FAIL(DG_ERR_DATA, "%s: the value %g is no whole number from 0 to %d; export it as NIfTI", role,
                             (double)value, bits == 8 ? BYTE_MAX : WORD_MAX);
        else if (bits == 8)
            bytes[i] = (uint8_t)value;
        else
            words[i] = (uint16_t)value;
    }
    if (status == DG_OK) status = export_path(x, name, path);
    if (status == DG_OK) status = dg_tiff_write(path, role, x->info->grid.shape, bits, words);
    dg_free(&words);
    return status;
}

static dg_status write_field(exporter *x, dg_field field, const char *suffix, int bits)
{
    float *values;
    DG_TRY(export_read(x, field, 0, &values));
    const dg_status status = write_volume(x, suffix, bits, values, 1);
    dg_free(&values);
    return status;
}

static dg_status write_prediction(exporter *x)
{
    dg_prediction_kind kind;
    float *values;
    DG_TRY(export_read_segmentation(x, &kind, &values));
    const bool mask = kind == DG_PREDICTION_LABEL;
    const dg_status status = write_volume(x, ".pred", mask ? 8 : 16, values, mask ? 1 : WORD_MAX);
    dg_free(&values);
    return status;
}

static dg_status write_case(exporter *x)
{
    if (x->wanted[WHAT_CT]) DG_TRY(write_field(x, DG_FIELD_CT_HU, "", 16));
    if (x->wanted[WHAT_LABELS]) DG_TRY(write_field(x, DG_FIELD_LABEL, ".label", 8));
    return x->wanted[WHAT_PRED] ? write_prediction(x) : DG_OK;
}

const export_target export_tiff = {.name = "tiff",
                                   .what = "ct, labels, pred",
                                   .knows = 1U << WHAT_CT | 1U << WHAT_LABELS | 1U << WHAT_PRED,
                                   .by_default = 1U << WHAT_PRED,
                                   .write_case = write_case};
