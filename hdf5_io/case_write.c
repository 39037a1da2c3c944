/* case_write.c - one case as a complete file. SPDX-License-Identifier: Apache-2.0 */
#include "case_impl.h"

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
    if (data->info.has_dose != (data->dose_gy != NULL) || (data->info.structure_count > 0) != dg_case_has_masks(data))
        return DG_FAIL(DG_ERR_INTERNAL, "%s: dose and masks must be given exactly when the case has them", role);
    if (data->masks != NULL && data->mask_bits != NULL)
        return DG_FAIL(DG_ERR_INTERNAL, "%s: exactly one form of the masks must be given", role);
    if (data->ct_hu_f32 != NULL) DG_TRY(check_finite(data->ct_hu_f32, &data->info.grid, "CT", role));
    if (data->dose_gy != NULL) DG_TRY(check_finite(data->dose_gy, &data->info.grid, "dose", role));
    return DG_OK;
}

/* ---- empty datasets with their attributes ---- */

static dg_status create_volume(hid_t group, const char *name, dg_dtype type, int rank, const int64_t *shape,
                               const int64_t *chunk, const char *role)
{
    hid_t dataset;
    DG_TRY(dg_h5_create(group, name, dg_h5_file_type(type), rank, shape, chunk, role, &dataset));
    if (H5Dclose(dataset) < 0) return DG_H5_FAIL(DG_ERR_IO, "%s: cannot write dataset %s", role, name);
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

static dg_status create_ct(hid_t group, const dg_case_data *data, const int64_t *chunk, const char *role)
{
    const double slope = 1, intercept = 0;
    const int64_t *shape = data->info.grid.shape;
    if (data->ct_hu_f32 != NULL) return create_volume(group, "ct", DG_F32, 3, shape, chunk, role);
    DG_TRY(create_volume(group, "ct", DG_I16, 3, shape, chunk, role));
    DG_TRY(put_attr_on(group, "ct", "slope", DG_F64, 0, NULL, &slope, role));
    return put_attr_on(group, "ct", "intercept", DG_F64, 0, NULL, &intercept, role);
}

static dg_status create_dose(hid_t group, const dg_case_data *data, const int64_t *chunk, const char *role)
{
    const dg_box *box = &data->info.dose_box;
    const int64_t six = 6, grid_box[6] = {box->start[0], box->start[1], box->start[2],
                                          box->shape[0], box->shape[1], box->shape[2]};
    DG_TRY(create_volume(group, "dose", DG_F32, 3, data->info.grid.shape, chunk, role));
    return put_attr_on(group, "dose", "grid_box", DG_I64, 1, &six, grid_box, role);
}

static dg_status create_sdf(hid_t group, const dg_case_data *data, const int64_t *chunk3, const char *role)
{
    const int64_t *s = data->info.grid.shape;
    const int64_t shape[4] = {data->info.structure_count, s[0], s[1], s[2]};
    const int64_t chunk[4] = {1, chunk3[0], chunk3[1], chunk3[2]};
    const double scale_mm = DG_SDF_SCALE_MM, clip_mm = DG_SDF_CLIP_MM;
    DG_TRY(create_volume(group, "sdf", DG_I16, 4, shape, chunk, role));
    DG_TRY(put_attr_on(group, "sdf", "scale_mm", DG_F64, 0, NULL, &scale_mm, role));
    return put_attr_on(group, "sdf", "clip_mm", DG_F64, 0, NULL, &clip_mm, role);
}

static dg_status create_volumes(hid_t group, const dg_case_data *data, const int64_t *chunk, const char *role)
{
    const int64_t *shape = data->info.grid.shape;
    DG_TRY(create_ct(group, data, chunk, role));
    if (data->dose_gy != NULL) DG_TRY(create_dose(group, data, chunk, role));
    if (dg_case_has_masks(data)) {
        DG_TRY(create_volume(group, "masks", DG_U64, 3, shape, chunk, role));
        DG_TRY(create_sdf(group, data, chunk, role));
    }
    return data->labels == NULL ? DG_OK : create_volume(group, "labels", DG_U8, 3, shape, chunk, role);
}

/* ---- what they hold ---- */

typedef struct filling {
    dg_case_data *data;
    int64_t chunk[3];
    int threads;
    const char *role;
} filling;

static dg_h5_volume volume_of(const filling *f, dg_dtype type, dg_h5_values *values, const void *user)
{
    dg_h5_volume v = {.type = type, .values = values, .user = user};
    memcpy(v.shape, f->data->info.grid.shape, sizeof v.shape);
    memcpy(v.chunk, f->chunk, sizeof v.chunk);
    return v;
}

static dg_status fill_volume(const filling *f, hid_t dataset, const char *name, const dg_h5_volume *v, dg_hash *hash)
{
    DG_TRY(dg_hash_begin_item(hash, name, v->type, 3, v->shape));
    return dg_h5_write_volume(dataset, -1, v, f->threads, hash, f->role);
}

static dg_status fill_array(const filling *f, hid_t dataset, const char *name, dg_dtype type, const void *values,
                            dg_hash *hash)
{
    const dg_h5_array array = {type, values};
    const dg_h5_volume v = volume_of(f, type, dg_h5_array_values, &array);
    return fill_volume(f, dataset, name, &v, hash);
}

static dg_status fill_ct(filling *f, hid_t dataset, const char *name, dg_hash *hash)
{
    dg_case_data *data = f->data;
    const void *ct = data->ct_hu != NULL ? (const void *)data->ct_hu : data->ct_hu_f32;
    DG_TRY(fill_array(f, dataset, name, data->ct_hu != NULL ? DG_I16 : DG_F32, ct, hash));
    if (data->written == NULL) return DG_OK;
    data->written(data->owner, ct);
    data->ct_hu = NULL;
    data->ct_hu_f32 = NULL;
    return DG_OK;
}

static dg_status fill_dose(filling *f, hid_t dataset, const char *name, dg_hash *hash)
{
    dg_case_data *data = f->data;
    DG_TRY(fill_array(f, dataset, name, DG_F32, data->dose_gy, hash));
    if (data->written == NULL) return DG_OK;
    data->written(data->owner, data->dose_gy);
    data->dose_gy = NULL;
    return DG_OK;
}

static dg_status fill_labels(filling *f, hid_t dataset, const char *name, dg_hash *hash)
{
    return fill_array(f, dataset, name, DG_U8, f->data->labels, hash);
}

static const void *mask_values(const void *user, int64_t index, int64_t count, void *spare)
{
    dg_case_mask_words(user, index, count, spare);
    return spare;
}

static dg_status fill_masks(filling *f, hid_t dataset, const char *name, dg_hash *hash)
{
    const dg_h5_volume v = volume_of(f, DG_U64, mask_values, f->data);
    return fill_volume(f, dataset, name, &v, hash);
}

static dg_status fill_plane(const filling *f, hid_t dataset, const char *name, int k, uint8_t *mask, int16_t *steps,
                            dg_hash *hash)
{
    const dg_h5_array array = {DG_I16, steps};
    const dg_h5_volume v = volume_of(f, DG_I16, dg_h5_array_values, &array);
    char plane[DG_H5_NAME];
    snprintf(plane, sizeof plane, "%s/%03d", name, k);
    dg_h5_unlock();
    const dg_status status = dg_sdf_encode(f->data, k, f->threads, mask, steps);
    dg_h5_lock();
    DG_TRY(status);
    DG_TRY(dg_hash_begin_item(hash, plane, v.type, 3, v.shape));
    return dg_h5_write_volume(dataset, k, &v, f->threads, hash, f->role);
}

/* Structure by structure: 64 distance maps of a large volume would not fit in memory together. */
static dg_status fill_sdf(filling *f, hid_t dataset, const char *name, dg_hash *hash)
{
    const int64_t voxels = dg_grid_voxels(&f->data->info.grid);
    uint8_t *mask = NULL;
    int16_t *steps = NULL;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&mask, voxels, "mask of a structure"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&steps, voxels, "distances of a structure"), cleanup);
    for (int k = 0; k < f->data->info.structure_count; k++)
        DG_TRY_GOTO(status, fill_plane(f, dataset, name, k, mask, steps, hash), cleanup);
cleanup:
    dg_free(&mask);
    dg_free(&steps);
    return status;
}

static dg_status fill_dataset(void *user, hid_t group, const char *name, dg_hash *hash, bool *taken)
{
    static const struct {
        const char *name;
        dg_status (*fill)(filling *f, hid_t dataset, const char *name, dg_hash *hash);
    } known[] = {
        {"ct", fill_ct}, {"dose", fill_dose}, {"labels", fill_labels}, {"masks", fill_masks}, {"sdf", fill_sdf}};
    filling *f = user;
    size_t i = 0;
    while (i < sizeof known / sizeof *known && strcmp(known[i].name, name) != 0) i++;
    *taken = i < sizeof known / sizeof *known;
    if (!*taken) return DG_OK;
    const hid_t dataset = H5Dopen2(group, name, H5P_DEFAULT);
    if (dataset < 0) return DG_H5_FAIL(DG_ERR_INTERNAL, "%s: dataset %s vanished", f->role, name);
    dg_status status = known[i].fill(f, dataset, name, hash);
    if (H5Dclose(dataset) < 0 && status == DG_OK)
        status = DG_H5_FAIL(DG_ERR_IO, "%s: cannot write dataset %s", f->role, name);
    return status;
}

/* ---- the case ---- */

static dg_status write_group(hid_t group, dg_case_data *data, const char *role)
{
    filling f = {.data = data, .threads = data->threads > 0 ? data->threads : 1, .role = role};
    chunk_of(data->info.grid.shape, f.chunk);
    DG_TRY(dg_case_info_write(group, &data->info, role));
    if (data->plan != NULL) DG_TRY(dg_case_plan_write(group, data->plan, role));
    DG_TRY(create_volumes(group, data, f.chunk, role));
    return dg_h5_fill_and_seal(group, fill_dataset, &f, role, data->info.content_sha256);
}

static dg_status write_locked(const char *path, dg_case_data *data, const char *role)
{
    dg_h5_image image;
    DG_TRY(dg_h5_image_create(role, &image));
    hid_t group = H5Gopen2(image.file, "/", H5P_DEFAULT);
    const dg_status status = write_group(group, data, role);
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
