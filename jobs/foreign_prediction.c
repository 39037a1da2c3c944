/* foreign_prediction.c - see foreign_prediction.h. SPDX-License-Identifier: Apache-2.0 */
#include "foreign_prediction.h"

#include "dg_dicom.h"
#include "dg_mem.h"
#include "dg_nifti.h"
#include "dg_npz.h"
#include "dg_openkbp.h"
#include "dg_resample.h"
#include "npz_layout.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const endings[] = {".nii.gz", ".nii",      "_pred.nii.gz", "_pred.nii", ".npz",       "_pred.npz",
                                      ".csv",    "_pred.csv", ".dcm",         "_pred.dcm", "/RTDOSE.dcm"};
enum { ENDINGS = sizeof endings / sizeof endings[0] };

#define SAME_PLACE_MM 0.05
/* A plan gives a few times its prescription nowhere, and a dose in Gy that never reaches 2 is none. */
#define LARGEST_SHARE 5.0
#define SMALLEST_DOSE_GY 2.0

static bool ends_in(const char *text, const char *ending)
{
    const size_t length = strlen(text), tail = strlen(ending);
    return length > tail && strcmp(text + length - tail, ending) == 0;
}

bool foreign_prediction_named(const char *name)
{
    for (int e = 0; e < ENDINGS; e++)
        if (endings[e][0] == '.' && ends_in(name, endings[e])) return true;
    return false;
}

dg_status foreign_prediction_find(const char *folder, const char *id, char path[DG_PATH_MAX])
{
    char name[DG_CASE_ID + 16], candidate[DG_PATH_MAX];
    path[0] = '\0';
    for (int e = 0; e < ENDINGS; e++) {
        snprintf(name, sizeof name, "%s%s", id, endings[e]);
        DG_TRY(dg_path_join(candidate, folder, name));
        if (!dg_file_exists(candidate)) continue;
        if (path[0] != '\0')
            return DG_FAIL(DG_ERR_DATA, "case %s: there are two predictions, one of them %s; leave one", id,
                           name + strlen(id));
        memcpy(path, candidate, sizeof candidate);
    }
    return DG_OK;
}

/* ---- grids ---- */

/* Which axis of the file (x, y, z) each axis of the case is, and which way it runs. */
typedef struct turn {
    int axis[3], sign[3];
} turn;

static bool find_turn(const dg_grid *own, const dg_grid *file, turn *out)
{
    for (int a = 0; a < 3; a++) {
        out->sign[a] = 0;
        for (int b = 0; b < 3; b++) {
            double cosine = 0;
            for (int r = 0; r < 3; r++) cosine += own->direction[3 * r + a] * file->direction[3 * r + b];
            if (fabs(fabs(cosine) - 1) > 1e-3) continue;
            out->axis[a] = b;
            out->sign[a] = cosine > 0 ? 1 : -1;
        }
        if (out->sign[a] == 0) return false;
    }
    return true;
}

/* The case's voxel (x,y,z) in the file's, counted from its first voxel. */
static void place(const turn *t, const dg_grid *file, const int64_t xyz[3], int64_t out_xyz[3])
{
    for (int a = 0; a < 3; a++)
        out_xyz[t->axis[a]] = t->sign[a] > 0 ? xyz[a] : file->shape[2 - t->axis[a]] - 1 - xyz[a];
}

static double distance_mm(const dg_grid *own, const dg_grid *file, const turn *t, const int64_t xyz[3])
{
    int64_t there[3];
    double a[3], b[3], square = 0;
    place(t, file, xyz, there);
    const double index[3] = {(double)xyz[2], (double)xyz[1], (double)xyz[0]};
    const double other[3] = {(double)there[2], (double)there[1], (double)there[0]};
    dg_grid_point(own, index, a);
    dg_grid_point(file, other, b);
    for (int k = 0; k < 3; k++) square += (a[k] - b[k]) * (a[k] - b[k]);
    return sqrt(square);
}

/* Both corners must agree: that is spacing and place. */
static dg_status check_grid(const dg_case_info *info, const dg_grid *file, turn *t)
{
    const dg_grid *own = &info->grid;
    const int64_t *n = own->shape, first[3] = {0, 0, 0}, last[3] = {n[2] - 1, n[1] - 1, n[0] - 1};
    if (!find_turn(own, file, t))
        return DG_FAIL(DG_ERR_DATA,
                       "its grid is turned against the case's; resample the prediction to the case's grid");
    for (int a = 0; a < 3; a++)
        if (file->shape[2 - t->axis[a]] != n[2 - a])
            return DG_FAIL(DG_ERR_DATA,
                           "it has %lld x %lld x %lld voxels (z, y, x), the case %lld x %lld x %lld; resample the "
                           "prediction to the case's grid",
                           (long long)file->shape[0], (long long)file->shape[1], (long long)file->shape[2],
                           (long long)n[0], (long long)n[1], (long long)n[2]);
    const double off = fmax(distance_mm(own, file, t, first), distance_mm(own, file, t, last));
    if (off > SAME_PLACE_MM)
        return DG_FAIL(DG_ERR_DATA,
                       "its voxels lie up to %.3g mm from the case's; resample the prediction to the case's grid", off);
    return DG_OK;
}

static void reorder(const dg_grid *own, const dg_grid *file, const turn *t, const float *in, float *out)
{
    for (int64_t z = 0; z < own->shape[0]; z++)
        for (int64_t y = 0; y < own->shape[1]; y++)
            for (int64_t x = 0; x < own->shape[2]; x++) {
                const int64_t xyz[3] = {x, y, z};
                int64_t there[3];
                place(t, file, xyz, there);
                *out++ = in[dg_grid_index(file, there[2], there[1], there[0])];
            }
}

/* Takes `values`. */
static dg_status lay(const dg_case_info *info, const dg_grid *file, float **values, float **dose)
{
    turn t;
    dg_status status = check_grid(info, file, &t);
    if (status == DG_OK) status = DG_NEW(dose, dg_grid_voxels(&info->grid), "prediction");
    if (status == DG_OK) reorder(&info->grid, file, &t, *values, *dose);
    dg_free(values);
    return status;
}

/* ---- formats ---- */

static dg_status read_nifti(const char *path, const dg_case_info *info, float **dose)
{
    dg_grid grid;
    float *values;
    DG_TRY(dg_nifti_read(path, "NIfTI", &grid, &values));
    return lay(info, &grid, &values, dose);
}

static dg_status read_npz(const char *path, const dg_case_info *info, float **dose)
{
    dg_npz *npz;
    float *values = NULL;
    int64_t shape[3];
    dg_grid grid = info->grid;
    for (int a = 0; a < 3; a++) shape[npz_axis[a]] = info->grid.shape[a];
    DG_TRY(dg_npz_open(path, "NPZ", &npz));
    dg_status status = dg_npz_read_f32(npz, "dose", 3, shape, &values);
    dg_npz_close(&npz);
    DG_TRY(status);
    /* (Y,X,Z) is a grid whose axes x, y, z are the patient's z, x, y. */
    static const int patient[3] = {2, 0, 1};
    for (int a = 0; a < 3; a++) {
        grid.shape[a] = shape[a];
        for (int r = 0; r < 3; r++) grid.direction[3 * r + a] = info->grid.direction[3 * r + patient[a]];
        grid.spacing_mm[2 - a] = info->grid.spacing_mm[2 - patient[a]];
    }
    return lay(info, &grid, &values, dose);
}

static dg_status read_csv(const char *path, const dg_case_info *info, float **dose)
{
    for (int a = 0; a < 3; a++)
        if (info->grid.shape[a] != DG_OPENKBP_SIDE)
            return DG_FAIL(DG_ERR_DATA, "an OpenKBP table holds 128 x 128 x 128 voxels, the case has another shape");
    DG_TRY(DG_NEW(dose, DG_OPENKBP_VOXELS, "prediction"));
    return dg_openkbp_read_dose(path, info->id, *dose);
}

static dg_status read_dicom(char *path, const dg_case_info *info, int threads, bool *resampled, float **dose)
{
    const dg_dicom_files files = {.path = &path, .count = 1};
    dg_dicom_context *context = NULL;
    dg_dicom_dose read = {.gy = NULL};
    turn t;
    DG_TRY(DG_NEW(&context, 1, "RTDOSE reader"));
    context->case_id = info->id;
    dg_status status = dg_dicom_read_dose(context, &files, NULL, NULL, &read);
    dg_free(&context);
    DG_TRY(status);
    status = DG_NEW(dose, dg_grid_voxels(&info->grid), "prediction");
    *resampled = status == DG_OK && check_grid(info, &read.grid, &t) != DG_OK;
    if (status == DG_OK && !*resampled) reorder(&info->grid, &read.grid, &t, read.gy, *dose);
    if (*resampled) {
        dg_error_clear();
        status = dg_resample_bspline(read.gy, &read.grid, &info->grid, 0, threads, *dose);
        for (int64_t i = 0; status == DG_OK && i < dg_grid_voxels(&info->grid); i++)
            (*dose)[i] = fmaxf((*dose)[i], 0); /* a spline overshoots at steep edges */
    }
    dg_dicom_dose_release(&read);
    return status;
}

/* ---- units ---- */

static dg_status settle_unit(const char *path, const dg_case_info *info, foreign_unit unit, float *dose)
{
    const int64_t voxels = dg_grid_voxels(&info->grid);
    const bool share = unit == FOREIGN_PRESCRIPTION || (unit == FOREIGN_AUTO && ends_in(path, ".npz"));
    const double prescription = info->prescription_gy;
    double largest = 0;
    for (int64_t i = 0; i < voxels; i++) {
        if (!isfinite(dose[i]) || dose[i] < 0)
            return DG_FAIL(DG_ERR_DATA, "the dose is %g at voxel %lld", (double)dose[i], (long long)i);
        largest = fmax(largest, (double)dose[i]);
    }
    if (share && !(prescription > 0))
        return DG_FAIL(DG_ERR_DATA,
                       "its values are shares of a prescription that the case does not state; give them in Gy");
    if (unit == FOREIGN_AUTO && share && largest > LARGEST_SHARE)
        return DG_FAIL(DG_ERR_DATA,
                       "its largest value is %g: no share of a prescription; are they Gy? --prediction-unit gy",
                       largest);
    if (unit == FOREIGN_AUTO && !share && largest < SMALLEST_DOSE_GY && prescription > LARGEST_SHARE * SMALLEST_DOSE_GY)
        return DG_FAIL(
            DG_ERR_DATA,
            "its largest value is %g, %g Gy were prescribed; are they shares? --prediction-unit prescription (or "
            "gy)",
            largest, prescription);
    for (int64_t i = 0; share && i < voxels; i++) dose[i] = (float)((double)dose[i] * prescription);
    return DG_OK;
}

dg_status foreign_prediction_read(const char *path, const dg_case_info *info, foreign_unit unit, int threads,
                                  bool *resampled, float **dose_gy)
{
    char own[DG_PATH_MAX];
    dg_status status;
    *dose_gy = NULL;
    *resampled = false;
    snprintf(own, sizeof own, "%s", path);
    if (ends_in(path, ".npz"))
        status = read_npz(path, info, dose_gy);
    else if (ends_in(path, ".csv"))
        status = read_csv(path, info, dose_gy);
    else if (ends_in(path, ".dcm"))
        status = read_dicom(own, info, threads, resampled, dose_gy);
    else
        status = read_nifti(path, info, dose_gy);
    if (status == DG_OK) status = settle_unit(path, info, unit, *dose_gy);
    if (status == DG_OK) return DG_OK;
    dg_free(dose_gy);
    return dg_error_context(status, "prediction of case %s", info->id);
}
