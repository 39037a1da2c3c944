/* import_npz.c - cases of the vmat-diffusion scripts: an NPZ archive each, laid out as npz_layout.h says.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_conditioning.h"
#include "dg_mem.h"
#include "dg_npz.h"
#include "dg_pickle.h"
#include "import_format.h"
#include "npz_beams.h"
#include "npz_layout.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { METADATA_MAX = 1 << 22, SIDE_MAX = 4096 };
#define VOXELS_MAX ((int64_t)1 << 30)

typedef struct reader {
    dg_npz *npz;
    const char *id;
    const import_settings *settings;
    int64_t shape[3], voxels; /* (Y,X,Z) of the file */
    import_case *out;
} reader;

static double patient_bytes(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode) ? (double)info.st_size : -1;
}

/* Place in our [z,y,x] array of element i of a (Y,X,Z) one. */
static int64_t place(const reader *r, int64_t i)
{
    const int64_t z = i % r->shape[2], yx = i / r->shape[2];
    return z * r->shape[0] * r->shape[1] + yx;
}

static dg_status find_shape(reader *r)
{
    dg_npy_header header;
    DG_TRY(dg_npz_header(r->npz, "ct", &header));
    DG_TRY(dg_npy_check_numbers(&header, "ct"));
    if (header.axes != 3 || header.count > VOXELS_MAX)
        return DG_FAIL(DG_ERR_DATA, "case %s: ct has %d axes and %lld voxels; it must be (Y,X,Z) with at most 2^30",
                       r->id, header.axes, (long long)header.count);
    memcpy(r->shape, header.shape, sizeof r->shape);
    for (int a = 0; a < 3; a++)
        if (r->shape[a] > SIDE_MAX)
            return DG_FAIL(DG_ERR_DATA, "case %s: ct has an axis of %lld voxels", r->id, (long long)r->shape[a]);
    r->voxels = header.count;
    return DG_OK;
}

static dg_status read_ct(reader *r)
{
    float *file = NULL, *hu = NULL;
    int16_t *whole = NULL;
    bool fits = true;
    dg_status status;
    DG_TRY_GOTO(status, dg_npz_read_f32(r->npz, "ct", 3, r->shape, &file), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&hu, r->voxels, "CT"), cleanup);
    for (int64_t i = 0; i < r->voxels && status == DG_OK; i++) {
        const double value = ((double)file[i] - 0.5) * 4000;
        if (!(value >= -1001 && value <= 3041)) /* the scripts allow 0.25 .. 1.26 */
            status =
                DG_FAIL(DG_ERR_DATA, "case %s: ct holds %g; the format keeps (HU clipped to -1000..3000)/4000 + 0.5",
                        r->id, (double)file[i]);
        fits = fits && fabs(value - nearbyint(value)) < 1e-3;
        hu[place(r, i)] = (float)value;
    }
    if (status != DG_OK) goto cleanup;
    if (fits) { /* what was rounded to float32 was a whole number */
        DG_TRY_GOTO(status, DG_NEW(&whole, r->voxels, "CT"), cleanup);
        for (int64_t i = 0; i < r->voxels; i++) whole[i] = (int16_t)lrintf(hu[i]);
        import_case_own(r->out, whole);
        r->out->data.ct_hu = whole;
    } else {
        import_case_own(r->out, hu);
        r->out->data.ct_hu_f32 = hu;
        hu = NULL;
    }
cleanup:
    dg_free(&file);
    dg_free(&hu);
    return status;
}

static dg_status read_dose(reader *r)
{
    float *file = NULL, *gy = NULL;
    dg_status status;
    if (!r->settings->require_dose && !dg_npz_has(r->npz, "dose")) return DG_OK;
    DG_TRY_GOTO(status, dg_npz_read_f32(r->npz, "dose", 3, r->shape, &file), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&gy, r->voxels, "dose"), cleanup);
    for (int64_t i = 0; i < r->voxels && status == DG_OK; i++) {
        const double value = (double)file[i] * r->out->data.info.prescription_gy;
        if (!isfinite(value) || value < 0)
            status =
                DG_FAIL(DG_ERR_DATA, "case %s: the dose is %g at voxel %lld", r->id, (double)file[i], (long long)i);
        gy[place(r, i)] = (float)value;
    }
    if (status != DG_OK) goto cleanup;
    import_case_own(r->out, gy);
    r->out->data.dose_gy = gy;
    r->out->data.info.has_dose = true;
    gy = NULL;
cleanup:
    dg_free(&file);
    dg_free(&gy);
    return status;
}

/* Sets the bit of one channel; *used tells whether it has voxels. */
static dg_status add_mask(reader *r, const float *mask, int bit, uint64_t *masks, bool *used)
{
    *used = false;
    for (int64_t i = 0; i < r->voxels; i++) {
        if (mask[i] != 0 && mask[i] != 1)
            return DG_FAIL(DG_ERR_DATA, "case %s: masks hold %g; only 0 and 1 have a meaning", r->id, (double)mask[i]);
        if (mask[i] == 0) continue;
        masks[place(r, i)] |= UINT64_C(1) << bit;
        *used = true;
    }
    return DG_OK;
}

/* A channel without voxels is a structure the patient has not. */
static dg_status read_masks(reader *r)
{
    dg_npy_header header;
    float *file = NULL;
    uint64_t *masks = NULL;
    dg_case_info *info = &r->out->data.info;
    dg_status status;
    DG_TRY(dg_npz_header(r->npz, "masks", &header));
    const int64_t shape[4] = {header.shape[0], r->shape[0], r->shape[1], r->shape[2]};
    if (header.axes == 4 && shape[0] != NPZ_CHANNELS_V23 && shape[0] != NPZ_CHANNELS_V24)
        return DG_FAIL(DG_ERR_DATA, "case %s: masks have %lld channels; version 2.3 has %d and 2.4 has %d", r->id,
                       (long long)shape[0], NPZ_CHANNELS_V23, NPZ_CHANNELS_V24);
    DG_TRY_GOTO(status, dg_npz_read_f32(r->npz, "masks", 4, shape, &file), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&masks, r->voxels, "masks"), cleanup);
    for (int64_t k = 0; k < shape[0]; k++) {
        bool used;
        DG_TRY_GOTO(status, add_mask(r, file + k * r->voxels, info->structure_count, masks, &used), cleanup);
        if (used) info->structure[info->structure_count++] = npz_channel[k];
    }
    import_case_own(r->out, masks);
    r->out->data.masks = info->structure_count > 0 ? masks : NULL;
    masks = NULL;
cleanup:
    dg_free(&file);
    dg_free(&masks);
    return status;
}

static dg_status read_constraints(reader *r)
{
    const int64_t shape[1] = {DG_CONDITIONING_PROSTATE};
    dg_case_info *info = &r->out->data.info;
    float *file;
    if (!dg_npz_has(r->npz, "constraints")) return DG_OK;
    DG_TRY(dg_npz_read_f32(r->npz, "constraints", 1, shape, &file));
    info->constraint_count = DG_CONDITIONING_PROSTATE;
    for (int i = 0; i < DG_CONDITIONING_PROSTATE; i++) {
        info->constraint[i] = file[i];
        snprintf(info->constraint_name[i], sizeof info->constraint_name[i], "%s", dg_conditioning_prostate_name(i));
    }
    dg_free(&file);
    return DG_OK;
}

/* Spacing is (y, x, z) in the metadata. A value from the command line must agree with what the file says. */
static dg_status take_metadata(reader *r, const json_t *metadata)
{
    dg_case_info *info = &r->out->data.info;
    const json_t *spacing = json_object_get(metadata, "voxel_spacing_mm");
    const json_t *dose = json_object_get(metadata, "normalization_dose_gy");
    const json_t *plan = json_object_get(metadata, "prescription_info");
    const char *source = json_string_value(json_object_get(plan, "source"));
    if (json_array_size(spacing) == 3)
        for (int a = 0; a < 3; a++)
            info->grid.spacing_mm[a] = json_number_value(json_array_get(spacing, (size_t)npz_axis[a]));
    info->prescription_gy = json_number_value(dose);
    info->fractions = (int64_t)json_number_value(json_object_get(plan, "fractions"));
    if (info->fractions < 0 || info->fractions > 1000) info->fractions = 0;
    const bool assumed = source == NULL || strcmp(source, "default") == 0;
    snprintf(info->prescription_source, sizeof info->prescription_source, "%s", assumed ? "assumed" : "plan");
    return DG_OK;
}

static void release_plan(void *plan) { dg_dicom_plan_release(plan); }

static dg_status read_beams(reader *r, const json_t *metadata)
{
    dg_dicom_plan *plan;
    DG_TRY(DG_NEW(&plan, 1, "plan"));
    r->out->whole = plan;
    r->out->destroy = release_plan;
    r->out->data.plan = plan;
    return npz_beams_read(r->npz, metadata, r->id, plan);
}

static dg_status read_pickled(reader *r, json_t **metadata)
{
    char role[96], *bytes = NULL;
    int64_t length;
    dg_npy_header header;
    *metadata = NULL;
    if (!dg_npz_has(r->npz, "metadata")) return DG_OK;
    snprintf(role, sizeof role, "case %.60s: metadata", r->id);
    DG_TRY(dg_npz_header(r->npz, "metadata", &header));
    if (header.kind != 'O' || header.axes != 0)
        return DG_FAIL(DG_ERR_FORMAT, "%s: this is not the one dict that the scripts write", role);
    DG_TRY(dg_npz_read(r->npz, "metadata", METADATA_MAX, &bytes, &length));
    const dg_status status = dg_pickle_read(bytes + header.offset, length - header.offset, role, metadata);
    dg_free(&bytes);
    return status;
}

static dg_status read_metadata(reader *r)
{
    json_t *metadata;
    dg_status status = read_pickled(r, &metadata);
    if (status == DG_OK && metadata != NULL) status = take_metadata(r, metadata);
    if (status == DG_OK) status = read_beams(r, metadata);
    json_decref(metadata);
    return status;
}

/* What the file leaves open must be said, and what is said may not contradict it. */
static dg_status settle_geometry(reader *r)
{
    dg_case_info *info = &r->out->data.info;
    const double *given = r->settings->spacing_mm, prescription = r->settings->prescription_gy;
    for (int a = 0; a < 3; a++) {
        double *own = &info->grid.spacing_mm[a];
        info->grid.shape[a] = r->shape[npz_axis[a]];
        info->dose_box.shape[a] = info->grid.shape[a];
        if (*own > 0 && given[a] > 0 && fabs(*own - given[a]) > 1e-3)
            return DG_FAIL(DG_ERR_DATA, "case %s: the file's spacing is %g mm, --spacing says %g", r->id, *own,
                           given[a]);
        if (!(*own > 0)) *own = given[a];
        if (!(*own > 0) || !isfinite(*own))
            return DG_FAIL(DG_ERR_DATA,
                           "case %s: the file does not say how far its voxels lie apart: give --spacing z,y,x", r->id);
    }
    if (info->prescription_gy > 0 && prescription > 0 && fabs(info->prescription_gy - prescription) > 1e-3)
        return DG_FAIL(DG_ERR_DATA, "case %s: the file's prescription is %g Gy, --prescription says %g", r->id,
                       info->prescription_gy, prescription);
    if (!(info->prescription_gy > 0)) {
        info->prescription_gy = prescription;
        snprintf(info->prescription_source, sizeof info->prescription_source, "assumed");
    }
    if (!(info->prescription_gy > 0) || !isfinite(info->prescription_gy))
        return DG_FAIL(DG_ERR_DATA,
                       "case %s: the file does not say what dose its values are a share of: give "
                       "--prescription in Gy",
                       r->id);
    return DG_OK;
}

static dg_status read_arrays(reader *r)
{
    dg_case_info *info = &r->out->data.info;
    snprintf(info->site, sizeof info->site, "prostate");
    snprintf(info->source_format, sizeof info->source_format, "npz");
    info->grid = dg_grid_make((int64_t[3]){1, 1, 1}, (double[3]){0, 0, 0});
    DG_TRY(find_shape(r));
    DG_TRY(read_metadata(r));
    DG_TRY(settle_geometry(r));
    DG_TRY(read_ct(r));
    DG_TRY(read_dose(r));
    DG_TRY(read_masks(r));
    return read_constraints(r);
}

static dg_status read_case(const char *path, const import_item *item, const import_settings *settings, import_case *out)
{
    char role[96];
    reader r = {.id = item->id, .settings = settings, .out = out};
    snprintf(role, sizeof role, "case %.60s: archive", item->id);
    DG_TRY(dg_npz_open(path, role, &r.npz));
    const dg_status status = read_arrays(&r);
    dg_npz_close(&r.npz);
    return status;
}

const import_format import_npz = {.name = "npz", .suffix = ".npz", .patient_bytes = patient_bytes, .read = read_case};
