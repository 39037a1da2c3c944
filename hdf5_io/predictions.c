/* predictions.c - one file for each predicted case. SPDX-License-Identifier: Apache-2.0 */
#include "dg_predictions.h"

#include "dg_file.h"
#include "dg_mem.h"
#include "h5_impl.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PREDICTION_VERSION = 1, ROLE_TEXT = 96, ID_CAPACITY = 64, MAKER_WEIGHTS = (DG_HASH_HEX - 1) / 2 };
static const char format_name[] = "dosegrid-prediction";
static const char *const kind_names[] = {"dose", "probability", "label"};

dg_status dg_prediction_name_maker(const char *text, int weights, int length, char hex[DG_HASH_HEX])
{
    char network[DG_HASH_HEX];
    DG_TRY(dg_hash_bytes(text, (size_t)weights, network));
    DG_TRY(dg_hash_bytes(text, (size_t)length, hex));
    memcpy(hex, network, MAKER_WEIGHTS);
    return DG_OK;
}

bool dg_prediction_same_network(const char *model_sha256, const char *other)
{
    return strncmp(model_sha256, other, MAKER_WEIGHTS) == 0;
}

const char *dg_prediction_kind_name(dg_prediction_kind kind) { return kind_names[kind]; }

static dg_status place(const char *folder, const char *id, char path[DG_PATH_MAX], char role[ROLE_TEXT])
{
    char name[ID_CAPACITY + 8];
    DG_TRY(dg_h5_check_id(id));
    snprintf(role, ROLE_TEXT, "prediction of case %s", id);
    snprintf(name, sizeof name, "%s.h5", id);
    return dg_path_join(path, folder, name);
}

/* ---- writing ---- */

static dg_status put_grid(hid_t file, const dg_grid *grid, const char *role)
{
    const int64_t three[2] = {3, 3};
    DG_TRY(dg_h5_put_attr(file, "shape_zyx", DG_I64, 1, three, grid->shape, role));
    DG_TRY(dg_h5_put_attr(file, "spacing_mm_zyx", DG_F64, 1, three, grid->spacing_mm, role));
    DG_TRY(dg_h5_put_attr(file, "origin_mm_zyx", DG_F64, 1, three, grid->origin_mm, role));
    return dg_h5_put_attr(file, "direction", DG_F64, 2, three, grid->direction, role);
}

/* What a file is made of; std and made_by may be NULL. */
typedef struct content {
    const dg_grid *grid;
    dg_prediction_kind kind;
    const char *model_sha256, *made_by;
    const void *values;
    const float *std;
    const dg_prediction_ensemble *ensemble; /* NULL: of no ensemble */
} content;

static dg_status put_ensemble(hid_t file, const content *c, const int64_t chunk[3], const char *role)
{
    const dg_prediction_ensemble *e = c->ensemble;
    const int64_t shape[4] = {e->percentiles, c->grid->shape[0], c->grid->shape[1], c->grid->shape[2]};
    const int64_t part[4] = {1, chunk[0], chunk[1], chunk[2]};
    DG_TRY(dg_h5_put_attr(file, "samples", DG_I64, 0, NULL, &e->samples, role));
    if (e->percentiles == 0) return DG_OK;
    DG_TRY(dg_h5_put_attr(file, "percent", DG_F64, 1, shape, e->percent, role));
    return dg_h5_put(file, "percentile", DG_F32, 4, shape, part, e->percentile_gy, role);
}

static dg_status fill_file(hid_t file, const char *id, const content *c, char hex[DG_HASH_HEX], const char *role)
{
    const int64_t version = PREDICTION_VERSION, *shape = c->grid->shape;
    int64_t chunk[3];
    for (int i = 0; i < 3; i++) chunk[i] = shape[i] < DG_H5_CHUNK ? shape[i] : DG_H5_CHUNK;
    DG_TRY(dg_h5_put_attr_text(file, "format", format_name, role));
    DG_TRY(dg_h5_put_attr(file, "version", DG_I64, 0, NULL, &version, role));
    DG_TRY(dg_h5_put_attr_text(file, "id", id, role));
    DG_TRY(dg_h5_put_attr_text(file, "model_sha256", c->model_sha256, role));
    if (c->made_by != NULL) DG_TRY(dg_h5_put_attr_text(file, "made_by", c->made_by, role));
    DG_TRY(put_grid(file, c->grid, role));
    const dg_dtype type = c->kind == DG_PREDICTION_LABEL ? DG_U8 : DG_F32;
    DG_TRY(dg_h5_put(file, kind_names[c->kind], type, 3, shape, chunk, c->values, role));
    if (c->std != NULL) DG_TRY(dg_h5_put(file, "std", DG_F32, 3, shape, chunk, c->std, role));
    if (c->ensemble != NULL) DG_TRY(put_ensemble(file, c, chunk, role));
    return dg_h5_seal(file, role, hex);
}

static dg_status write_file(const char *folder, const char *id, const content *c, dg_ledger_entry *entry)
{
    char path[DG_PATH_MAX], role[ROLE_TEXT];
    dg_h5_image image;
    DG_TRY(place(folder, id, path, role));
    DG_TRY(dg_make_folder(folder));
    dg_h5_lock();
    dg_status status = dg_h5_image_create(role, &image);
    if (status == DG_OK) {
        status = fill_file(image.file, id, c, entry->content_sha256, role);
        if (status == DG_OK)
            status = dg_h5_image_finish(&image, role, path);
        else
            dg_h5_image_discard(&image);
    }
    dg_h5_unlock();
    return status;
}

dg_status dg_prediction_write(const char *folder, const char *id, const dg_grid *grid, const char *model_sha256,
                              const float *dose_gy, dg_ledger_entry *entry)
{
    return dg_prediction_write_kind(folder, id, grid, DG_PREDICTION_DOSE, model_sha256, dose_gy, NULL, entry);
}

dg_status dg_prediction_write_spread(const char *folder, const char *id, const dg_grid *grid, const char *model_sha256,
                                     const float *dose_gy, const float *std_gy, dg_ledger_entry *entry)
{
    return dg_prediction_write_kind(folder, id, grid, DG_PREDICTION_DOSE, model_sha256, dose_gy, std_gy, entry);
}

/* Values that are not finite are refused, and probabilities that are none. */
static dg_status check_values(const char *role, const dg_grid *grid, dg_prediction_kind kind, const float *values)
{
    DG_TRY(dg_grid_check(grid));
    const int64_t voxels = dg_grid_voxels(grid);
    for (int64_t i = 0; i < voxels; i++) {
        if (!isfinite(values[i]))
            return DG_FAIL(DG_ERR_NUMERIC, "%s: %s is not finite at voxel %lld of %lld; it is not written", role,
                           kind_names[kind], (long long)i, (long long)voxels);
        if (kind == DG_PREDICTION_PROBABILITY && !(values[i] >= 0 && values[i] <= 1))
            return DG_FAIL(DG_ERR_DATA, "%s: probability %g at voxel %lld of %lld; it is not written", role,
                           (double)values[i], (long long)i, (long long)voxels);
    }
    return DG_OK;
}

dg_status dg_prediction_write_ensemble(const char *folder, const char *id, const dg_grid *grid,
                                       const char *model_sha256, const dg_prediction_ensemble *ensemble,
                                       dg_ledger_entry *entry)
{
    char path[DG_PATH_MAX], role[ROLE_TEXT];
    DG_TRY(place(folder, id, path, role));
    DG_TRY(check_values(role, grid, DG_PREDICTION_DOSE, ensemble->mean_gy));
    const content c = {.grid = grid,
                       .kind = DG_PREDICTION_DOSE,
                       .model_sha256 = model_sha256,
                       .values = ensemble->mean_gy,
                       .std = ensemble->std_gy,
                       .ensemble = ensemble};
    return write_file(folder, id, &c, entry);
}

void dg_prediction_remove(const char *folder, const char *id)
{
    char path[DG_PATH_MAX], role[ROLE_TEXT];
    if (place(folder, id, path, role) == DG_OK) (void)remove(path);
}

dg_status dg_prediction_write_kind(const char *folder, const char *id, const dg_grid *grid, dg_prediction_kind kind,
                                   const char *model_sha256, const float *values, const float *std,
                                   dg_ledger_entry *entry)
{
    char path[DG_PATH_MAX], role[ROLE_TEXT];
    DG_TRY(place(folder, id, path, role));
    if (kind == DG_PREDICTION_LABEL)
        return DG_FAIL(DG_ERR_USAGE, "%s: labels are written by dg_prediction_write_label", role);
    DG_TRY(check_values(role, grid, kind, values));
    const content c = {.grid = grid, .kind = kind, .model_sha256 = model_sha256, .values = values, .std = std};
    return write_file(folder, id, &c, entry);
}

dg_status dg_prediction_write_label(const char *folder, const char *id, const dg_grid *grid, const char *model_sha256,
                                    const uint8_t *label, const char *made_by, dg_ledger_entry *entry)
{
    DG_TRY(dg_grid_check(grid));
    const int64_t voxels = dg_grid_voxels(grid);
    for (int64_t i = 0; i < voxels; i++)
        if (label[i] > 1)
            return DG_FAIL(DG_ERR_DATA, "prediction of case %.63s: label %d at voxel %lld; 0 and 1 are possible", id,
                           label[i], (long long)i);
    const content c = {
        .grid = grid, .kind = DG_PREDICTION_LABEL, .model_sha256 = model_sha256, .made_by = made_by, .values = label};
    return write_file(folder, id, &c, entry);
}

/* ---- reading ---- */

static dg_status get_grid(hid_t file, dg_grid *grid, const char *role)
{
    DG_TRY(dg_h5_get_attr(file, "shape_zyx", DG_I64, 3, grid->shape, role));
    DG_TRY(dg_h5_get_attr(file, "spacing_mm_zyx", DG_F64, 3, grid->spacing_mm, role));
    DG_TRY(dg_h5_get_attr(file, "origin_mm_zyx", DG_F64, 3, grid->origin_mm, role));
    DG_TRY(dg_h5_get_attr(file, "direction", DG_F64, 9, grid->direction, role));
    return dg_grid_check(grid);
}

/* What a caller wants of a file; NULL where it does not matter. */
typedef struct wanted {
    dg_prediction_info *info;
    float **dose_gy; /* the whole dose, allocated */
    float *planes;   /* planes start .. start + count - 1 */
    int64_t start, count;
    bool unverified;
    bool probability; /* not a dose, but a probability or labels */
} wanted;

static dg_status get_info(hid_t file, const char *id, bool verify, dg_prediction_info *info, const char *role)
{
    int64_t version;
    char found[ID_CAPACITY];
    DG_TRY(dg_h5_check_format(file, format_name, PREDICTION_VERSION, role, &version));
    DG_TRY(dg_h5_get_attr_text(file, "id", found, sizeof found, role));
    if (strcmp(found, id) != 0)
        return DG_FAIL(DG_ERR_FORMAT, "%s: the file holds case %s; give it its own name back", role, found);
    if (verify)
        DG_TRY(dg_h5_check_seal(file, role, info->content_sha256));
    else
        DG_TRY(dg_h5_get_attr_text(file, "content_sha256", info->content_sha256, DG_HASH_HEX, role));
    DG_TRY(dg_h5_get_attr_text(file, "model_sha256", info->model_sha256, DG_HASH_HEX, role));
    info->kind = DG_PREDICTION_DOSE;
    for (int kind = DG_PREDICTION_PROBABILITY; kind <= DG_PREDICTION_LABEL; kind++)
        if (H5Lexists(file, kind_names[kind], H5P_DEFAULT) > 0) info->kind = (dg_prediction_kind)kind;
    return get_grid(file, &info->grid, role);
}

/* Planes into `out`, or all of them into a new *whole. What the file claims is compared before memory is taken for it. */
static dg_status get_values(hid_t file, const wanted *want, const dg_grid *grid, const char *role)
{
    dg_h5_shape shape;
    hid_t dataset;
    const dg_prediction_kind kind = want->info->kind;
    const char *name = kind_names[kind];
    if ((kind != DG_PREDICTION_DOSE) != want->probability)
        return DG_FAIL(DG_ERR_MISMATCH, "%s: the file holds a %s, and a %s is wanted", role, name,
                       want->probability ? "probability or label" : "dose");
    DG_TRY(dg_h5_open_dataset(file, name, role, &shape, &dataset));
    dg_status status = DG_OK;
    if (shape.rank != 3 || shape.raw || shape.type != (kind == DG_PREDICTION_LABEL ? DG_U8 : DG_F32) ||
        memcmp(shape.shape, grid->shape, sizeof grid->shape) != 0)
        status = DG_FAIL(DG_ERR_FORMAT, "%s: its %s has not the shape of its grid; predict the case again", role, name);
    if (status == DG_OK && want->dose_gy != NULL)
        status = DG_NEW(want->dose_gy, dg_grid_voxels(grid), "predicted dose");
    if (status == DG_OK) {
        const hsize_t start[3] = {(hsize_t)want->start, 0, 0};
        const hsize_t count[3] = {(hsize_t)(want->planes != NULL ? want->count : grid->shape[0]),
                                  (hsize_t)grid->shape[1], (hsize_t)grid->shape[2]};
        float *out = want->planes != NULL ? want->planes : *want->dose_gy;
        hid_t from = H5Dget_space(dataset), to = H5Screate_simple(3, count, NULL);
        H5Sselect_hyperslab(from, H5S_SELECT_SET, start, NULL, count, NULL);
        if (H5Dread(dataset, dg_h5_memory_type(DG_F32), to, from, H5P_DEFAULT, out) < 0)
            status = DG_H5_FAIL(DG_ERR_FORMAT, "%s: dataset %s is damaged; predict the case again", role, name);
        dg_h5_close(to);
        dg_h5_close(from);
    }
    dg_h5_close(dataset);
    return status;
}

static dg_status read_file(hid_t file, const char *id, const wanted *want, const char *role)
{
    DG_TRY(get_info(file, id, !want->unverified, want->info, role));
    const dg_grid *grid = &want->info->grid;
    if (want->planes == NULL && want->dose_gy == NULL) return DG_OK;
    if (want->planes != NULL && (want->start < 0 || want->count < 1 || want->start + want->count > grid->shape[0]))
        return DG_FAIL(DG_ERR_USAGE, "%s: planes %lld to %lld of %lld are wanted", role, (long long)want->start,
                       (long long)(want->start + want->count - 1), (long long)grid->shape[0]);
    dg_status status = get_values(file, want, grid, role);
    if (status != DG_OK && want->dose_gy != NULL) dg_free(want->dose_gy);
    return status;
}

static dg_status read_prediction(const char *folder, const char *id, const wanted *want)
{
    char path[DG_PATH_MAX], role[ROLE_TEXT];
    hid_t file;
    DG_TRY(place(folder, id, path, role));
    dg_h5_lock();
    dg_status status = dg_h5_open(path, role, &file);
    if (status == DG_OK) {
        status = read_file(file, id, want, role);
        dg_h5_close(file);
    }
    dg_h5_unlock();
    return status;
}

dg_status dg_prediction_load(const char *folder, const char *id, dg_prediction_info *info, float **dose_gy)
{
    if (dose_gy != NULL) *dose_gy = NULL;
    return read_prediction(folder, id, &(wanted){.info = info, .dose_gy = dose_gy});
}

dg_status dg_prediction_read_planes(const char *folder, const char *id, int64_t start, int64_t count,
                                    dg_prediction_info *info, float *dose_gy)
{
    return read_prediction(
        folder, id, &(wanted){.info = info, .planes = dose_gy, .start = start, .count = count, .unverified = true});
}

dg_status dg_prediction_read_probability(const char *folder, const char *id, int64_t start, int64_t count,
                                         dg_prediction_info *info, float *probability)
{
    const wanted want = {
        .info = info, .planes = probability, .start = start, .count = count, .unverified = true, .probability = true};
    DG_TRY(read_prediction(folder, id, &want));
    const int64_t voxels = count * info->grid.shape[1] * info->grid.shape[2];
    for (int64_t i = 0; i < voxels; i++)
        if (!(probability[i] >= 0 && probability[i] <= 1))
            return DG_FAIL(DG_ERR_FORMAT, "prediction of case %.63s: it holds the %s %g; make it again", id,
                           kind_names[info->kind], (double)probability[i]);
    return DG_OK;
}

dg_status dg_prediction_peek(const char *folder, const char *id, dg_prediction_info *info)
{
    return read_prediction(folder, id, &(wanted){.info = info, .unverified = true});
}

dg_status dg_prediction_read(const char *folder, const char *id, dg_grid *grid, float **dose_gy)
{
    dg_prediction_info info;
    DG_TRY(dg_prediction_load(folder, id, &info, dose_gy));
    *grid = info.grid;
    return DG_OK;
}

bool dg_prediction_exists(const char *folder, const char *id)
{
    char path[DG_PATH_MAX], role[ROLE_TEXT];
    if (place(folder, id, path, role) == DG_OK) return dg_file_exists(path);
    dg_error_clear();
    return false;
}

bool dg_prediction_valid(const char *folder, const char *id, const char *model_sha256)
{
    dg_prediction_info info;
    if (dg_prediction_load(folder, id, &info, NULL) != DG_OK) {
        dg_error_clear();
        return false;
    }
    return strcmp(info.model_sha256, model_sha256) == 0;
}

/* ---- the whole folder ---- */

typedef struct id_list {
    char (*id)[ID_CAPACITY];
    size_t count, capacity;
} id_list;

static dg_status add_id(id_list *list, const char *name)
{
    size_t length = strlen(name);
    if (length < 4 || length - 3 >= ID_CAPACITY || name[0] == '.' || strcmp(name + length - 3, ".h5") != 0)
        return DG_OK;
    if (list->count == list->capacity) {
        DG_TRY(dg_grow(&list->id, list->capacity, list->capacity * 2 + 16, ID_CAPACITY, "list of predictions"));
        list->capacity = list->capacity * 2 + 16;
    }
    snprintf(list->id[list->count++], ID_CAPACITY, "%.*s", (int)(length - 3), name);
    return DG_OK;
}

static int by_text(const void *a, const void *b) { return strcmp(a, b); }

static dg_status list_ids(const char *folder, id_list *list)
{
    DIR *listing = opendir(folder);
    const struct dirent *entry;
    dg_status status = DG_OK;
    *list = (id_list){0};
    if (listing == NULL) {
        char reason[128];
        return DG_FAIL(DG_ERR_IO, "the folder of predictions cannot be opened: %s",
                       strerror_r(errno, reason, sizeof reason));
    }
    while (status == DG_OK && (entry = readdir(listing)) != NULL) status = add_id(list, entry->d_name);
    closedir(listing);
    if (status != DG_OK) dg_free(&list->id);
    if (status == DG_OK && list->count > 0) qsort(list->id, list->count, ID_CAPACITY, by_text);
    return status;
}

static dg_status hash_predictions(const char *folder, const id_list *list, dg_hash *hash, int64_t *count, char *bad,
                                  size_t bad_capacity)
{
    dg_prediction_info info;
    for (size_t i = 0; i < list->count; i++) {
        dg_status status = dg_prediction_load(folder, list->id[i], &info, NULL);
        if (status == DG_ERR_MEMORY) return status;
        if (status != DG_OK) {
            size_t used = bad == NULL ? 0 : strlen(bad);
            if (bad != NULL) snprintf(bad + used, bad_capacity - used, "%s: %s\n", list->id[i], dg_error_last()->text);
            dg_error_clear();
            continue;
        }
        DG_TRY(dg_hash_add_string(hash, list->id[i]));
        DG_TRY(dg_hash_add_string(hash, info.content_sha256));
        (*count)++;
    }
    return DG_OK;
}

dg_status dg_predictions_content_hash(const char *folder, char hex[DG_HASH_HEX], int64_t *count, char *bad,
                                      size_t bad_capacity)
{
    id_list list;
    dg_hash *hash = NULL;
    dg_status status;
    *count = 0;
    if (bad != NULL && bad_capacity > 0) bad[0] = '\0';
    DG_TRY(list_ids(folder, &list));
    DG_TRY_GOTO(status, dg_hash_create(&hash), cleanup);
    DG_TRY_GOTO(status, hash_predictions(folder, &list, hash, count, bad, bad_capacity), cleanup);
    DG_TRY_GOTO(status, dg_hash_finish(hash, hex), cleanup);
cleanup:
    dg_hash_destroy(&hash);
    dg_free(&list.id);
    return status;
}
