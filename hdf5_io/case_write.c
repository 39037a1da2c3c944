/* case_write.c - one case as a complete file. SPDX-License-Identifier: Apache-2.0 */
#include "case_impl.h"

#include "dg_distance.h"
#include "dg_mem.h"

#include <math.h>
#include <string.h>

static void chunk_of(const int64_t shape[3], int64_t chunk[3])
{
    for (int i = 0; i < 3; i++) chunk[i] = shape[i] < DG_H5_CHUNK ? shape[i] : DG_H5_CHUNK;
}

static dg_status check_finite(const float *values, const dg_grid *grid, const char *what, const char *role)
{
    int64_t count = dg_grid_voxels(grid);
    for (int64_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) {
            int64_t row = i / grid->shape[2];
            return DG_FAIL(DG_ERR_DATA, "%s: %s is not finite at voxel (z %lld, y %lld, x %lld); correct the source",
                           role, what, (long long)(row / grid->shape[1]), (long long)(row % grid->shape[1]),
                           (long long)(i % grid->shape[2]));
        }
    }
    return DG_OK;
}

static dg_status check_data(const dg_case_data *data, const char *role)
{
    DG_TRY(dg_case_info_check(&data->info));
    if ((data->ct_hu != NULL) == (data->ct_hu_f32 != NULL))
        return DG_FAIL(DG_ERR_INTERNAL, "%s: exactly one form of the CT must be given", role);
    if (data->info.has_dose != (data->dose_gy != NULL) || (data->info.structure_count > 0) != (data->masks != NULL))
        return DG_FAIL(DG_ERR_INTERNAL, "%s: dose and masks must be given exactly when the case has them", role);
    if (data->ct_hu_f32 != NULL) DG_TRY(check_finite(data->ct_hu_f32, &data->info.grid, "CT", role));
    if (data->dose_gy != NULL) DG_TRY(check_finite(data->dose_gy, &data->info.grid, "dose", role));
    return DG_OK;
}

static dg_status put_attr_on(hid_t group, const char *dataset_name, const char *name, dg_dtype type, int rank,
                             const int64_t *shape, const void *values, const char *role)
{
    hid_t dataset = H5Dopen2(group, dataset_name, H5P_DEFAULT);
    if (dataset < 0) return DG_H5_FAIL(DG_ERR_INTERNAL, "%s: dataset %s vanished", role, dataset_name);
    dg_status status = dg_h5_put_attr(dataset, name, type, rank, shape, values, role);
    dg_h5_close(dataset);
    return status;
}

static dg_status write_ct(hid_t group, const dg_case_data *data, const int64_t *chunk, const char *role)
{
    const double slope = 1, intercept = 0;
    if (data->ct_hu_f32 != NULL)
        return dg_h5_put(group, "ct", DG_F32, 3, data->info.grid.shape, chunk, data->ct_hu_f32, role);
    DG_TRY(dg_h5_put(group, "ct", DG_I16, 3, data->info.grid.shape, chunk, data->ct_hu, role));
    DG_TRY(put_attr_on(group, "ct", "slope", DG_F64, 0, NULL, &slope, role));
    return put_attr_on(group, "ct", "intercept", DG_F64, 0, NULL, &intercept, role);
}

static dg_status write_dose(hid_t group, const dg_case_data *data, const int64_t *chunk, const char *role)
{
    const dg_box *box = &data->info.dose_box;
    const int64_t six = 6, grid_box[6] = {box->start[0], box->start[1], box->start[2],
                                          box->shape[0], box->shape[1], box->shape[2]};
    DG_TRY(dg_h5_put(group, "dose", DG_F32, 3, data->info.grid.shape, chunk, data->dose_gy, role));
    return put_attr_on(group, "dose", "grid_box", DG_I64, 1, &six, grid_box, role);
}

dg_status dg_sdf_encode(const uint64_t *masks, int structure, const dg_grid *grid, int threads, int16_t **out)
{
    int64_t count = dg_grid_voxels(grid);
    uint8_t *mask = NULL;
    dg_status status;
    *out = NULL;
    DG_TRY_GOTO(status, DG_NEW(&mask, count, "mask of a structure"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(out, count, "distances of a structure"), cleanup);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < count; i++) mask[i] = (uint8_t)(masks[i] >> structure & 1);
    status = dg_signed_distance_steps(mask, grid, DG_SDF_CLIP_MM, DG_SDF_SCALE_MM, threads, *out);
cleanup:
    dg_free(&mask);
    if (status != DG_OK) dg_free(out);
    return status;
}

static dg_status write_plane(hid_t dataset, const dg_case_data *data, int k, const int64_t *chunk3, const char *role)
{
    const int threads = data->threads > 0 ? data->threads : 1;
    int16_t *plane;
    DG_TRY(dg_sdf_encode(data->masks, k, &data->info.grid, threads, &plane));
    const dg_status status = dg_h5_write_plane_i16(dataset, k, data->info.grid.shape, chunk3, plane, threads, role);
    dg_free(&plane);
    return status;
}

/* Structure by structure: 64 distance maps of a large volume would not fit in memory together. */
static dg_status write_sdf(hid_t group, const dg_case_data *data, const int64_t *chunk3, const char *role)
{
    const int64_t *s = data->info.grid.shape;
    const int64_t shape[4] = {data->info.structure_count, s[0], s[1], s[2]};
    const int64_t chunk[4] = {1, chunk3[0], chunk3[1], chunk3[2]};
    const double scale_mm = DG_SDF_SCALE_MM, clip_mm = DG_SDF_CLIP_MM;
    hid_t dataset;
    dg_status status;
    DG_TRY(dg_h5_create(group, "sdf", H5T_STD_I16LE, 4, shape, chunk, role, &dataset));
    for (int k = 0; k < data->info.structure_count; k++)
        DG_TRY_GOTO(status, write_plane(dataset, data, k, chunk3, role), cleanup);
    DG_TRY_GOTO(status, dg_h5_put_attr(dataset, "scale_mm", DG_F64, 0, NULL, &scale_mm, role), cleanup);
    DG_TRY_GOTO(status, dg_h5_put_attr(dataset, "clip_mm", DG_F64, 0, NULL, &clip_mm, role), cleanup);
cleanup:
    if (H5Dclose(dataset) < 0 && status == DG_OK) status = DG_H5_FAIL(DG_ERR_IO, "%s: cannot write dataset sdf", role);
    return status;
}

static dg_status write_volumes(hid_t group, dg_case_data *data, const int64_t *chunk, const char *role)
{
    const void *ct = data->ct_hu != NULL ? (const void *)data->ct_hu : data->ct_hu_f32;
    DG_TRY(write_ct(group, data, chunk, role));
    if (data->dose_gy != NULL) DG_TRY(write_dose(group, data, chunk, role));
    if (data->written == NULL) return DG_OK;
    data->written(data->owner, ct);
    if (data->dose_gy != NULL) data->written(data->owner, data->dose_gy);
    data->ct_hu = NULL;
    data->ct_hu_f32 = NULL;
    data->dose_gy = NULL;
    return DG_OK;
}

static dg_status write_group(hid_t group, dg_case_data *data, const char *role)
{
    int64_t chunk[3];
    chunk_of(data->info.grid.shape, chunk);
    DG_TRY(dg_case_info_write(group, &data->info, role));
    DG_TRY(write_volumes(group, data, chunk, role));
    if (data->masks != NULL) {
        DG_TRY(dg_h5_put(group, "masks", DG_U64, 3, data->info.grid.shape, chunk, data->masks, role));
        DG_TRY(write_sdf(group, data, chunk, role));
    }
    if (data->plan != NULL) DG_TRY(dg_case_plan_write(group, data->plan, role));
    if (data->labels != NULL)
        DG_TRY(dg_h5_put(group, "labels", DG_U8, 3, data->info.grid.shape, chunk, data->labels, role));
    return DG_OK;
}

static dg_status write_locked(const char *path, dg_case_data *data, const char *role)
{
    dg_h5_image image;
    DG_TRY(dg_h5_image_create(role, &image));
    hid_t group = H5Gopen2(image.file, "/", H5P_DEFAULT);
    dg_status status = write_group(group, data, role);
    if (status == DG_OK) status = dg_h5_seal(group, role, data->info.content_sha256);
    dg_h5_close(group);
    if (status == DG_OK) return dg_h5_image_finish(&image, role, path);
    dg_h5_image_discard(&image);
    return status;
}

dg_status dg_case_write(const char *cohort_folder, dg_case_data *data)
{
    char folder[DG_PATH_MAX], path[DG_PATH_MAX], name[DG_CASE_ID + 8], role[DG_ROLE_TEXT];
    DG_TRY(dg_h5_check_id(data->info.id));
    dg_case_role(role, data->info.id);
    DG_TRY(check_data(data, role));
    DG_TRY(dg_path_join(folder, cohort_folder, "cases"));
    DG_TRY(dg_make_folder(folder));
    snprintf(name, sizeof name, "%s.h5", data->info.id);
    DG_TRY(dg_path_join(path, folder, name));
    dg_h5_lock();
    dg_status status = write_locked(path, data, role);
    dg_h5_unlock();
    return status;
}
