/* export_npz.c - cases as archives that the vmat-diffusion scripts read, laid out as npz_layout.h says.
 *
 * What the scripts cannot say is not written silently: an oblique grid is refused, CT numbers outside their window and
 * structures they have no channel for are told. SPDX-License-Identifier: Apache-2.0 */
#include "dg_conditioning.h"
#include "dg_distance.h"
#include "dg_file.h"
#include "dg_mem.h"
#include "dg_npz.h"
#include "dg_pickle.h"
#include "export_impl.h"
#include "npz_beams.h"
#include "npz_layout.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { V23, V24 };

typedef struct writer {
    exporter *x;
    dg_npz_writer *npz;
    int64_t shape[3], voxels;            /* (Y,X,Z) of the file */
    int channels, row[NPZ_CHANNELS_V24]; /* structure of each channel, -1: none */
    /* owned until the archive is finished */
    float *ct, *dose, *sdf, constraint[DG_CONDITIONING_PROSTATE];
    uint8_t *masks;
    char *metadata;
    float *leaves;
    dg_dicom_plan plan;
} writer;

/* Place in our [z,y,x] array of element i of a (Y,X,Z) one. */
static int64_t place(const writer *w, int64_t i)
{
    const int64_t z = i % w->shape[2], yx = i / w->shape[2];
    return z * w->shape[0] * w->shape[1] + yx;
}

static dg_status check_case(writer *w)
{
    const dg_case_info *info = w->x->info;
    for (int i = 0; i < 9; i++)
        if (fabs(info->grid.direction[i] - (i % 4 == 0 ? 1 : 0)) > 1e-6)
            return DG_FAIL(DG_ERR_UNSUPPORTED, "case %s: its grid is turned, which the NPZ format cannot say",
                           info->id);
    if (!(info->prescription_gy > 0))
        return DG_FAIL(DG_ERR_DATA, "case %s: its prescription is not known, and the NPZ format keeps shares of it",
                       info->id);
    return DG_OK;
}

static int find_structure(const dg_case_info *info, const dg_structure *wanted)
{
    for (int k = 0; k < info->structure_count; k++)
        if (strcasecmp(info->structure[k].name, wanted->name) == 0 ||
            strcasecmp(info->structure[k].tg263, wanted->tg263) == 0)
            return k;
    return -1;
}

static void choose_channels(writer *w)
{
    const dg_case_info *info = w->x->info;
    int used = 0;
    w->channels = w->x->config->npz_version == V24 ? NPZ_CHANNELS_V24 : NPZ_CHANNELS_V23;
    for (int c = 0; c < w->channels; c++) {
        w->row[c] = find_structure(info, &npz_channel[c]);
        used += w->row[c] >= 0;
    }
    if (used < info->structure_count)
        dg_log_write(w->x->env->log, DG_LOG_WARNING, "case %s: %d of its %d structures have no channel in the archive",
                     info->id, info->structure_count - used, info->structure_count);
}

static dg_status add_ct(writer *w)
{
    float *hu;
    int64_t clipped = 0;
    DG_TRY(export_read(w->x, DG_FIELD_CT_HU, 0, &hu));
    dg_status status = DG_NEW(&w->ct, w->voxels, "CT");
    for (int64_t i = 0; status == DG_OK && i < w->voxels; i++) {
        const float value = hu[place(w, i)], kept = fminf(fmaxf(value, NPZ_HU_LOW), NPZ_HU_HIGH);
        clipped += kept != value;
        w->ct[i] = kept / 4000 + 0.5F; /* in float, as the scripts */
    }
    dg_free(&hu);
    if (clipped > 0)
        dg_log_write(w->x->env->log, DG_LOG_INFO,
                     "case %s: %lld CT numbers outside -1000..3000 HU were clipped, as the scripts do", w->x->info->id,
                     (long long)clipped);
    return status == DG_OK ? dg_npz_add(w->npz, "ct", "<f4", 3, w->shape, w->ct, w->voxels * (int64_t)sizeof *w->ct)
                           : status;
}

/* The share of the prescription that becomes this dose again, where float has one. */
static float share_of(float dose_gy, double prescription_gy)
{
    const float nearest = (float)((double)dose_gy / prescription_gy);
    const float around[3] = {nearest, nextafterf(nearest, -INFINITY), nextafterf(nearest, INFINITY)};
    for (int i = 0; i < 3; i++)
        if ((float)((double)around[i] * prescription_gy) == dose_gy) return around[i];
    return nearest;
}

static dg_status add_dose(writer *w)
{
    float *gy;
    if (!w->x->wanted[WHAT_PRED] && !w->x->info->has_dose) return DG_OK;
    DG_TRY(w->x->wanted[WHAT_PRED] ? export_read_prediction(w->x, &gy) : export_read_dose(w->x, &gy));
    dg_status status = DG_NEW(&w->dose, w->voxels, "dose");
    for (int64_t i = 0; status == DG_OK && i < w->voxels; i++)
        w->dose[i] = share_of(gy[place(w, i)], w->x->info->prescription_gy);
    dg_free(&gy);
    return status == DG_OK
               ? dg_npz_add(w->npz, "dose", "<f4", 3, w->shape, w->dose, w->voxels * (int64_t)sizeof *w->dose)
               : status;
}

/* Distances of one channel in units of their clip; a structure that is absent is far away in 2.3 and 0 in 2.4. */
static dg_status fill_sdf(writer *w, int channel, const uint8_t *mask, float *ours)
{
    float *out = w->sdf + channel * w->voxels;
    if (w->row[channel] >= 0) DG_TRY(dg_signed_distance(mask, &w->x->info->grid, NPZ_SDF_CLIP_MM, 1, ours));
    for (int64_t i = 0; i < w->voxels; i++)
        out[i] = w->row[channel] >= 0 ? ours[place(w, i)] / (float)NPZ_SDF_CLIP_MM
                                      : (w->x->config->npz_version == V24 ? 0 : 1);
    return DG_OK;
}

static dg_status fill_channels(writer *w, const uint64_t *bits, uint8_t *mask, float *ours)
{
    for (int c = 0; c < w->channels; c++) {
        uint8_t *out = w->masks + c * w->voxels;
        for (int64_t i = 0; i < w->voxels; i++) mask[i] = w->row[c] >= 0 ? bits[i] >> w->row[c] & 1 : 0;
        for (int64_t i = 0; i < w->voxels; i++) out[i] = mask[place(w, i)];
        DG_TRY(fill_sdf(w, c, mask, ours));
    }
    return DG_OK;
}

static dg_status make_masks(writer *w)
{
    uint64_t *bits = NULL;
    uint8_t *mask = NULL;
    float *ours = NULL;
    dg_status status;
    DG_TRY_GOTO(status, export_read_mask_bits(w->x, &bits), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&w->masks, w->channels * w->voxels, "masks"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&w->sdf, w->channels * w->voxels, "distances"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&mask, w->voxels, "mask"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&ours, w->voxels, "distances"), cleanup);
    status = fill_channels(w, bits, mask, ours);
cleanup:
    dg_free(&ours);
    dg_free(&mask);
    dg_free(&bits);
    return status;
}

static dg_status add_constraints(writer *w)
{
    const dg_case_info *info = w->x->info;
    const int64_t shape[1] = {DG_CONDITIONING_PROSTATE};
    dg_conditioning_prostate(w->row[0] >= 0, w->row[1] >= 0, w->channels > NPZ_CHANNELS_V23 && w->row[8] >= 0,
                             info->prescription_gy, w->constraint);
    if (info->constraint_count == DG_CONDITIONING_PROSTATE)
        memcpy(w->constraint, info->constraint, sizeof w->constraint);
    return dg_npz_add(w->npz, "constraints", "<f4", 1, shape, w->constraint, sizeof w->constraint);
}

static const char *case_type(const writer *w)
{
    const bool ptv56 = w->row[1] >= 0, ptv50 = w->channels > NPZ_CHANNELS_V23 && w->row[8] >= 0;
    return ptv56 ? (ptv50 ? "sib_3level" : "sib_2level") : ptv50 ? "nodal_only" : "single_rx";
}

/* The keys of the scripts whose values a cohort knows. No date: the same case gives the same archive. */
static json_t *make_metadata(const writer *w)
{
    const dg_case_info *info = w->x->info;
    const double rx = info->prescription_gy;
    const bool assumed = strcmp(info->prescription_source, "plan") != 0;
    json_t *channels = json_object();
    for (int c = 0; c < w->channels; c++) {
        char key[16];
        snprintf(key, sizeof key, "%d", c);
        json_object_set_new(channels, key, json_string(npz_channel[c].name));
    }
    json_t *root = json_pack(
        "{s:s, s:s, s:s, s:{s:f, s:I, s:f, s:s}, s:{s:s, s:b, s:b, s:b}, s:f, s:[f,f,f], s:[I,I,I], s:{s:i, s:I, s:i, "
        "s:I, "
        "s:i, s:I}, s:f, s:o, s:b, s:o}",
        "case_id", info->id, "script_version", w->x->config->npz_version == V24 ? "2.4.0" : "2.3.0", "written_by",
        "dosegrid " DG_VERSION, "prescription_info", "primary_dose", rx, "fractions", (json_int_t)info->fractions,
        "dose_per_fraction", info->fractions > 0 ? rx / (double)info->fractions : 0.0, "source",
        assumed ? "default" : "DoseReferenceSequence", "case_type", "type", case_type(w), "ptv70_exists",
        w->row[0] >= 0, "ptv56_exists", w->row[1] >= 0, "ptv50_exists",
        w->channels > NPZ_CHANNELS_V23 && w->row[8] >= 0, "normalization_dose_gy", rx, "voxel_spacing_mm",
        info->grid.spacing_mm[1], info->grid.spacing_mm[2], info->grid.spacing_mm[0], "volume_shape",
        (json_int_t)w->shape[0], (json_int_t)w->shape[1], (json_int_t)w->shape[2], "crop_box", "y_start", 0, "y_end",
        (json_int_t)w->shape[0], "x_start", 0, "x_end", (json_int_t)w->shape[1], "z_start", 0, "z_end",
        (json_int_t)w->shape[2], "sdf_clip_mm", NPZ_SDF_CLIP_MM, "structure_channels", channels, "predicted",
        (int)w->x->wanted[WHAT_PRED], "beam_geometry", npz_beams_describe(&w->plan));
    return root;
}

static dg_status add_metadata(writer *w)
{
    int64_t bytes;
    json_t *metadata = make_metadata(w);
    if (metadata == NULL) return DG_FAIL(DG_ERR_MEMORY, "case %s: no memory for its metadata", w->x->info->id);
    const dg_status status = dg_pickle_write(metadata, "metadata", &w->metadata, &bytes);
    json_decref(metadata);
    return status == DG_OK ? dg_npz_add(w->npz, "metadata", "|O", 0, NULL, w->metadata, bytes) : status;
}

/* In the order of the scripts. */
static dg_status add_arrays(writer *w)
{
    const int64_t shape[4] = {w->channels, w->shape[0], w->shape[1], w->shape[2]};
    const int64_t values = w->channels * w->voxels;
    DG_TRY(dg_case_read_plan(w->x->open, &w->plan));
    DG_TRY(make_masks(w));
    DG_TRY(add_ct(w));
    DG_TRY(dg_npz_add(w->npz, "masks", "|u1", 4, shape, w->masks, values));
    DG_TRY(add_dose(w));
    DG_TRY(add_constraints(w));
    DG_TRY(add_metadata(w));
    DG_TRY(dg_npz_add(w->npz, "masks_sdf", "<f4", 4, shape, w->sdf, values * (int64_t)sizeof *w->sdf));
    return npz_beams_add(w->npz, &w->plan, &w->leaves);
}

static dg_status write_case(exporter *x)
{
    char name[DG_CASE_ID + 16], path[DG_PATH_MAX], role[DG_CASE_ID + 32];
    writer w = {.x = x};
    if (x->wanted[WHAT_DOSE] && x->wanted[WHAT_PRED])
        return DG_FAIL(DG_ERR_USAGE, "export: an archive has one dose: --what dose or --what pred");
    for (int a = 0; a < 3; a++) w.shape[npz_axis[a]] = x->info->grid.shape[a];
    w.voxels = dg_grid_voxels(&x->info->grid);
    snprintf(name, sizeof name, "%s.npz", x->info->id);
    snprintf(role, sizeof role, "archive of case %s", x->info->id);
    DG_TRY(check_case(&w));
    choose_channels(&w);
    DG_TRY(export_path(x, name, path));
    DG_TRY(dg_npz_create(path, role, &w.npz));
    dg_status status = add_arrays(&w);
    const dg_status finished = dg_npz_finish(&w.npz, status == DG_OK);
    if (status == DG_OK) status = finished;
    dg_dicom_plan_release(&w.plan);
    dg_free(&w.leaves);
    dg_free(&w.metadata);
    dg_free(&w.masks);
    dg_free(&w.sdf);
    dg_free(&w.dose);
    dg_free(&w.ct);
    return status;
}

const export_target export_npz = {.name = "npz",
                                  .what = "dose or pred",
                                  .knows = 1U << WHAT_DOSE | 1U << WHAT_PRED,
                                  .by_default = 1U << WHAT_DOSE,
                                  .write_case = write_case};
