/* gamma_pair.c - see gamma_pair.h. SPDX-License-Identifier: Apache-2.0 */
#include "gamma_pair.h"

#include "dg_backend.h"
#include "dg_dicom.h"
#include "dg_mem.h"
#include "dg_nifti.h"
#include "dg_npy.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const method_names[] = {"continuous", "pymedphys", NULL};
static const char *const word_none[] = {"none", NULL};
static const char *const word_file[] = {"file", NULL};
static const char *const roles[2] = {"reference dose", "evaluated dose"};

#define AT(field) .offset = offsetof(gamma_settings, field)
/* clang-format off */
static const dg_option settings_rows[GAMMA_ROWS] = {
    {.key = "gamma.method", .flag = "method", .type = DG_OPT_ENUM, AT(method), .names = method_names,
     .fallback = "continuous", .unit = "", .help = "true minimum over the interpolated dose, or pymedphys' sample points"},
    {.key = "gamma.dose_percent", .flag = "dose-percent", .type = DG_OPT_DOUBLE, AT(dose_percent), .min = 1e-3,
     .max = 1000, .fallback = "3", .unit = "%", .help = "dose difference criterion"},
    {.key = "gamma.distance_mm", .flag = "distance-mm", .type = DG_OPT_DOUBLE, AT(distance_mm), .min = 1e-3,
     .max = 1000, .fallback = "3", .unit = "mm", .help = "distance criterion"},
    {.key = "gamma.cutoff_percent", .flag = "cutoff-percent", .type = DG_OPT_DOUBLE, AT(cutoff_percent), .min = 0,
     .max = 1000, .fallback = "10", .unit = "%", .help = "evaluated where the reference dose is at least this share of the norm"},
    {.key = "gamma.local", .flag = "local", .type = DG_OPT_BOOL, AT(local), .fallback = "false", .unit = "",
     .help = "dose criterion relative to each voxel's reference dose, not to the norm"},
    {.key = "gamma.norm", .flag = "norm", .type = DG_OPT_STRING, AT(norm), .fallback = "max", .unit = "",
     .help = "dose that percentages refer to: max (of the reference), prescription, or a dose in Gy"},
    {.key = "gamma.prescription", .flag = "prescription", .type = DG_OPT_DOUBLE, AT(prescription_gy), .min = 0,
     .max = 1e4, .fallback = "0", .unit = "Gy", .help = "prescribed dose, for --norm prescription"},
    {.key = "gamma.max_gamma", .flag = "max-gamma", .type = DG_OPT_DOUBLE_LIST, AT(max_gamma), .min = 1e-3, .max = 1e6,
     .list_min = 1, .list_max = 1, .names = word_none, .fallback = "2", .unit = "",
     .help = "search limit: larger gammas are given as this; none searches on"},
    {.key = "gamma.interp_fraction", .flag = "interp-fraction", .type = DG_OPT_DOUBLE, AT(interp_fraction), .min = 1,
     .max = 1000, .fallback = "10", .unit = "", .help = "method pymedphys: samples per distance criterion"},
    {.key = "gamma.spacing", .flag = "spacing", .type = DG_OPT_DOUBLE_LIST, AT(spacing_mm), .min = 1e-6, .max = 1e6,
     .list_min = 1, .list_max = 3, .names = word_file, .fallback = "file", .unit = "mm",
     .help = "voxel spacing of .npy doses, slowest axis first; other files carry their own"},
    {.key = "gamma.offset", .flag = "offset", .type = DG_OPT_DOUBLE_LIST, AT(offset_mm), .min = -1e6, .max = 1e6,
     .list_min = 1, .list_max = 3, .names = word_file, .fallback = "file", .unit = "mm",
     .help = "first voxel of a .npy EVAL minus that of REF, slowest axis first; needed where their shapes differ"},
};
/* clang-format on */

int gamma_rows(size_t base, dg_option rows[GAMMA_ROWS])
{
    memcpy(rows, settings_rows, sizeof settings_rows);
    for (int i = 0; i < GAMMA_ROWS; i++) rows[i].offset += base;
    return GAMMA_ROWS;
}

static bool ends_in(const char *name, const char *ending)
{
    const size_t length = strlen(name), tail = strlen(ending);
    return length > tail && strcmp(name + length - tail, ending) == 0;
}

static bool is_npy(const char *name) { return ends_in(name, ".npy"); }

static dg_status read_h5(const char *name, const char *role, dg_dose_file *out)
{
    char path[4096];
    const char *colon = strstr(name, ":/");
    if (colon == NULL || colon == name || colon[2] == '\0' || colon - name >= (long)sizeof path)
        return DG_FAIL(DG_ERR_USAGE,
                       "%s '%.200s': FILE.h5:/path of its dataset, FILE.nii(.gz), FILE.dcm or FILE.npy is wanted", role,
                       name);
    snprintf(path, sizeof path, "%.*s", (int)(colon - name), name);
    return dg_dose_file_read(path, colon + 1, role, out);
}

static void take_grid(const dg_grid *grid, dg_dose_file *out)
{
    out->axes = 3;
    memcpy(out->shape, grid->shape, sizeof out->shape);
    memcpy(out->spacing_mm, grid->spacing_mm, sizeof out->spacing_mm);
    memcpy(out->origin_mm, grid->origin_mm, sizeof out->origin_mm);
    memcpy(out->direction, grid->direction, sizeof out->direction);
}

static dg_status read_nifti(const char *name, const char *role, dg_dose_file *out)
{
    dg_grid grid;
    DG_TRY(dg_nifti_read(name, role, &grid, &out->dose_gy));
    take_grid(&grid, out);
    return DG_OK;
}

/* One object: a PLAN dose, or what its file holds of another summation. */
static dg_status read_dicom(const char *name, const char *role, dg_dose_file *out)
{
    char *path = NULL;
    dg_dicom_context *context = NULL;
    dg_dicom_dose dose;
    dg_status status;
    DG_TRY_GOTO(status, dg_string_copy(name, &path), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&context, 1, "RTDOSE reader"), cleanup);
    const dg_dicom_files files = {.path = &path, .count = 1};
    status = dg_dicom_read_dose(context, &files, NULL, NULL, &dose);
    if (status != DG_OK) {
        status = dg_error_context(status, "%s", role);
        goto cleanup;
    }
    take_grid(&dose.grid, out);
    out->dose_gy = dose.gy;
    dose.gy = NULL;
    dg_dicom_dose_release(&dose);
cleanup:
    dg_free(&context);
    dg_free(&path);
    return status;
}

static dg_status read_placed(const char *name, const char *role, dg_dose_file *out)
{
    const bool nifti = ends_in(name, ".nii") || ends_in(name, ".nii.gz");
    if (ends_in(name, ".dcm")) return read_dicom(name, role, out);
    return nifti ? read_nifti(name, role, out) : read_h5(name, role, out);
}

static dg_status read_npy(const gamma_settings *s, const char *name, int which, dg_dose_file *out)
{
    DG_TRY(dg_npy_read(name, roles[which], &out->axes, out->shape, &out->dose_gy));
    if (s->spacing_mm.count != out->axes)
        return DG_FAIL(DG_ERR_USAGE, "the %s has %d axes, --spacing %d numbers; give one in mm for each axis",
                       roles[which], out->axes, s->spacing_mm.count);
    if (which == 1 && s->offset_mm.count != 0 && s->offset_mm.count != out->axes)
        return DG_FAIL(DG_ERR_USAGE, "the %s has %d axes, --offset %d numbers; give one in mm for each axis",
                       roles[which], out->axes, s->offset_mm.count);
    for (int a = 0; a < out->axes; a++) {
        out->spacing_mm[a] = s->spacing_mm.value[a];
        out->origin_mm[a] = which == 1 && s->offset_mm.count != 0 ? s->offset_mm.value[a] : 0.0;
    }
    for (int i = 0; i < 9; i++) out->direction[i] = i % 4 == 0;
    return DG_OK;
}

static dg_status read_doses(const gamma_settings *s, const char *const name[2], gamma_pair *pair)
{
    if (is_npy(name[0]) != is_npy(name[1]))
        return DG_FAIL(DG_ERR_USAGE, "one dose is .npy, the other is not: a .npy file does not say where it lies");
    if (!is_npy(name[0])) {
        if (s->spacing_mm.count > 0 || s->offset_mm.count > 0)
            return DG_FAIL(
                DG_ERR_USAGE,
                "--spacing and --offset are for .npy doses; HDF5, NIfTI and DICOM files carry their own grid");
        for (int i = 0; i < 2; i++) DG_TRY(read_placed(name[i], roles[i], &pair->file[i]));
        return DG_OK;
    }
    if (s->spacing_mm.count == 0)
        return DG_FAIL(DG_ERR_USAGE, "--spacing is missing: a .npy file does not say how far its voxels lie apart");
    for (int i = 0; i < 2; i++) DG_TRY(read_npy(s, name[i], i, &pair->file[i]));
    const dg_dose_file *r = &pair->file[0], *e = &pair->file[1];
    for (int a = 0; a < r->axes && a < e->axes; a++)
        if (r->shape[a] != e->shape[a] && s->offset_mm.count == 0)
            return DG_FAIL(DG_ERR_USAGE, "axis %d has %lld reference and %lld evaluated voxels: give --offset", a,
                           (long long)r->shape[a], (long long)e->shape[a]);
    return DG_OK;
}

/* Positions along the index axes: where both doses share a direction, distances are the same in its turned frame. */
static dg_status make_axes(gamma_pair *pair)
{
    for (int k = 0; k < 9; k++)
        if (fabs(pair->file[0].direction[k] - pair->file[1].direction[k]) > 1e-6)
            return DG_FAIL(DG_ERR_UNSUPPORTED,
                           "the doses have different directions (element %d is %g and %g): resample one to the other "
                           "first",
                           k, pair->file[0].direction[k], pair->file[1].direction[k]);
    for (int i = 0; i < 2; i++) {
        const dg_dose_file *f = &pair->file[i];
        const double *direction = pair->file[0].direction;
        pair->dose[i] = (dg_gamma_dose){.axes = f->axes, .dose_gy = f->dose_gy};
        for (int a = 0; a < f->axes; a++) {
            double first = f->axes == 3 ? 0.0 : f->origin_mm[a];
            for (int b = 0; f->axes == 3 && b < 3; b++) first += direction[3 * (2 - b) + 2 - a] * f->origin_mm[b];
            DG_TRY(DG_NEW(&pair->axis_mm[i][a], f->shape[a], "axis"));
            for (int64_t k = 0; k < f->shape[a]; k++) pair->axis_mm[i][a][k] = first + f->spacing_mm[a] * (double)k;
            pair->dose[i].axis_mm[a] = pair->axis_mm[i][a];
            pair->dose[i].shape[a] = f->shape[a];
        }
    }
    return DG_OK;
}

static dg_status resolve_norm(const gamma_settings *s, gamma_pair *pair)
{
    char *end;
    float most = 0.0f; /* a NaN is found with the doses' checks */
    pair->norm = "max";
    for (int64_t i = 0; i < pair->voxels; i++)
        if (pair->dose[0].dose_gy[i] > most) most = pair->dose[0].dose_gy[i];
    pair->params.norm_gy = isfinite(most) ? (double)most : 0.0;
    if (strcmp(s->norm, "max") == 0) return DG_OK;
    if (strcmp(s->norm, "prescription") == 0) {
        pair->norm = "prescription";
        pair->params.norm_gy = s->prescription_gy;
        return s->prescription_gy > 0.0
                   ? DG_OK
                   : DG_FAIL(DG_ERR_USAGE, "--norm prescription: give the prescribed dose with --prescription GY");
    }
    pair->norm = "gy";
    pair->params.norm_gy = strtod(s->norm, &end);
    if (end == s->norm || *end != '\0' || !(pair->params.norm_gy > 0.0) || pair->params.norm_gy > 1e4)
        return DG_FAIL(DG_ERR_USAGE, "--norm %.60s: max, prescription or a dose above 0 in Gy is wanted", s->norm);
    return DG_OK;
}

dg_status gamma_pair_read(const gamma_settings *s, const char *reference, const char *evaluated, gamma_pair *out)
{
    const char *const name[2] = {reference, evaluated};
    dg_status status;
    memset(out, 0, sizeof *out);
    out->params = (dg_gamma_params){.method = (dg_gamma_method)s->method,
                                    .dose_percent = s->dose_percent,
                                    .distance_mm = s->distance_mm,
                                    .cutoff_percent = s->cutoff_percent,
                                    .max_gamma = s->max_gamma.count > 0 ? s->max_gamma.value[0] : INFINITY,
                                    .interp_fraction = s->interp_fraction,
                                    .local = s->local};
    DG_TRY_GOTO(status, read_doses(s, name, out), fail);
    DG_TRY_GOTO(status, make_axes(out), fail);
    out->voxels = 1;
    for (int a = 0; a < out->file[0].axes; a++) out->voxels *= out->file[0].shape[a];
    DG_TRY_GOTO(status, resolve_norm(s, out), fail);
    return DG_OK;
fail:
    gamma_pair_release(out);
    return status;
}

void gamma_pair_release(gamma_pair *pair)
{
    for (int i = 0; i < 2; i++) {
        for (int a = 0; a < 3; a++) dg_free(&pair->axis_mm[i][a]);
        dg_dose_file_release(&pair->file[i]);
    }
}

/* JSON has no NaN: nothing was evaluated. */
static json_t *number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

json_t *gamma_pair_to_json(const gamma_pair *pair, const dg_gamma_summary *summary, double median, double seconds,
                           int threads)
{
    const dg_gamma_params *p = &pair->params;
    json_t *out =
        json_pack("{s:f, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:s, s:f, s:f, s:b, s:f, s:s, s:f, s:o, s:i}", "seconds",
                  seconds, "voxels", (json_int_t)pair->voxels, "evaluated", (json_int_t)summary->evaluated, "passed",
                  (json_int_t)summary->passed, "pass_percent", number(dg_gamma_summary_pass_percent(summary)), "mean",
                  number(dg_gamma_summary_mean(summary)), "median", number(median), "max", number((double)summary->max),
                  "method", dg_gamma_method_name(p->method), "dose_percent", p->dose_percent, "distance_mm",
                  p->distance_mm, "local", (int)p->local, "cutoff_percent", p->cutoff_percent, "norm", pair->norm,
                  "norm_gy", p->norm_gy, "max_gamma", number(p->max_gamma), "threads", threads);
    if (out != NULL)
        json_object_set_new(out, "backend", json_string(p->backend != NULL ? p->backend->description : "cpu"));
    if (out != NULL && p->method == DG_GAMMA_PYMEDPHYS)
        json_object_set_new(out, "interp_fraction", json_real(p->interp_fraction));
    return out;
}
