/* h5_hash.c - the content hash: what a file says, whatever its chunking, compression and layout.
 * SPDX-License-Identifier: Apache-2.0 */
#include "h5_impl.h"

#include "dg_mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char seal_name[] = "content_sha256";

/* Items are "path" (a dataset) or "path@name" (an attribute); of the group itself "@name". */
typedef struct walk {
    dg_h5_list *list;
    const char *path; /* of the object whose attributes are listed */
    const char *role;
    bool attributes;
    dg_status status;
} walk;

static dg_status add_name(dg_h5_list *list, const char *role, const char *path, const char *mark, const char *name)
{
    if (list->count == list->capacity) {
        int64_t bigger = list->capacity * 2 + 16;
        DG_TRY(dg_grow(&list->name, (size_t)list->capacity, (size_t)bigger, sizeof *list->name, "list of datasets"));
        list->capacity = bigger;
    }
    int used = snprintf(list->name[list->count], DG_H5_NAME, "%s%s%s", path, mark, name);
    if (used < 0 || used >= DG_H5_NAME)
        return DG_FAIL(DG_ERR_FORMAT, "%s: the name %.40s... is longer than %d", role, path, DG_H5_NAME - 1);
    list->count++;
    return DG_OK;
}

static herr_t visit_attribute(hid_t object, const char *name, const H5A_info_t *info, void *context)
{
    walk *w = context;
    if (w->path[0] == '\0' && strcmp(name, seal_name) == 0) return 0;
    w->status = add_name(w->list, w->role, w->path, "@", name);
    return w->status == DG_OK ? 0 : -1;
}

static herr_t visit_object(hid_t group, const char *name, const H5O_info_t *info, void *context)
{
    walk *w = context;
    w->path = strcmp(name, ".") == 0 ? "" : name;
    if (info->type == H5O_TYPE_DATASET) w->status = add_name(w->list, w->role, w->path, "", "");
    if (w->status == DG_OK && w->attributes && info->num_attrs > 0) {
        hsize_t at = 0;
        if (H5Aiterate_by_name(group, name, H5_INDEX_NAME, H5_ITER_INC, &at, visit_attribute, w, H5P_DEFAULT) < 0 &&
            w->status == DG_OK)
            return -1;
    }
    return w->status == DG_OK ? 0 : -1;
}

static int by_text(const void *a, const void *b) { return strcmp(a, b); }

static dg_status list_items(hid_t group, const char *role, bool attributes, dg_h5_list *out)
{
    walk w = {.list = out, .path = "", .role = role, .attributes = attributes, .status = DG_OK};
    memset(out, 0, sizeof *out);
    unsigned fields = H5O_INFO_BASIC | H5O_INFO_NUM_ATTRS;
    herr_t walked = H5Ovisit2(group, H5_INDEX_NAME, H5_ITER_NATIVE, visit_object, &w, fields);
    if (walked < 0 && w.status == DG_OK)
        w.status = DG_H5_FAIL(DG_ERR_FORMAT, "%s: its table of datasets is damaged; make the file again", role);
    if (w.status != DG_OK) {
        dg_free(&out->name);
        return w.status;
    }
    if (out->count > 0) qsort(out->name, (size_t)out->count, sizeof *out->name, by_text);
    return DG_OK;
}

dg_status dg_h5_list_datasets(hid_t group, const char *role, dg_h5_list *out)
{
    return list_items(group, role, false, out);
}

static dg_status hash_attribute(dg_hash *hash, hid_t group, const char *item, const char *at, const char *role)
{
    char path[DG_H5_NAME];
    unsigned char values[65536]; /* the most an attribute of a compact object header holds */
    dg_h5_shape shape;
    snprintf(path, sizeof path, "%.*s", (int)(at - item), item);
    hid_t attribute = H5Aopen_by_name(group, path[0] == '\0' ? "." : path, at + 1, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0) return DG_H5_FAIL(DG_ERR_FORMAT, "%s: attribute %s cannot be read", role, item);
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    dg_status status = dg_h5_describe(type, space, item, role, &shape);
    if (status == DG_OK && shape.elements * (int64_t)dg_dtype_size(shape.type) > (int64_t)sizeof values)
        status = DG_FAIL(DG_ERR_FORMAT, "%s: attribute %s is larger than %zu bytes", role, item, sizeof values);
    if (status == DG_OK && H5Aread(attribute, type, values) < 0)
        status = DG_H5_FAIL(DG_ERR_FORMAT, "%s: attribute %s cannot be read", role, item);
    if (status == DG_OK) status = dg_hash_add_item(hash, item, shape.type, shape.rank, shape.shape, values);
    dg_h5_close(space);
    dg_h5_close(type);
    dg_h5_close(attribute);
    return status;
}

/* Others may use HDF5 meanwhile. */
static dg_status hash_values(dg_hash *hash, const char *name, dg_dtype type, int rank, const int64_t *shape,
                             const void *values)
{
    dg_h5_unlock();
    dg_status status = dg_hash_add_item(hash, name, type, rank, shape, values);
    dg_h5_lock();
    return status;
}

/* Reads `planes` of the first axis from `index` on (or everything when index < 0). */
static dg_status read_planes(hid_t dataset, const dg_h5_shape *shape, int64_t index, int64_t planes, void *values,
                             const char *name, const char *role)
{
    hsize_t start[DG_H5_RANK_MAX] = {0}, count[DG_H5_RANK_MAX];
    hid_t type = H5Dget_type(dataset), from = H5S_ALL, to = H5S_ALL;
    if (index >= 0) {
        for (int i = 0; i < shape->rank; i++) count[i] = (hsize_t)shape->shape[i];
        start[0] = (hsize_t)index;
        count[0] = (hsize_t)planes;
        from = H5Dget_space(dataset);
        to = H5Screate_simple(shape->rank, count, NULL);
        H5Sselect_hyperslab(from, H5S_SELECT_SET, start, NULL, count, NULL);
    }
    herr_t result = H5Dread(dataset, type, to, from, H5P_DEFAULT, values);
    dg_status status = DG_OK;
    if (result < 0) status = DG_H5_FAIL(DG_ERR_FORMAT, "%s: dataset %s is damaged; make the file again", role, name);
    if (index >= 0) {
        dg_h5_close(from);
        dg_h5_close(to);
    }
    dg_h5_close(type);
    return status;
}

static dg_status hash_planes(dg_hash *hash, hid_t dataset, const dg_h5_shape *shape, void *values, const char *name,
                             const char *role)
{
    char plane[DG_H5_NAME + 24];
    for (int64_t k = 0; k < shape->shape[0]; k++) {
        snprintf(plane, sizeof plane, "%s/%03lld", name, (long long)k);
        DG_TRY(read_planes(dataset, shape, k, 1, values, name, role));
        DG_TRY(hash_values(hash, plane, shape->type, shape->rank - 1, shape->shape + 1, values));
    }
    return DG_OK;
}

/* A volume by layers of chunks: as one item, but never as a whole in memory. */
static dg_status hash_layers(dg_hash *hash, hid_t dataset, const dg_h5_shape *shape, void *values, const char *name,
                             const char *role)
{
    const int64_t planes = shape->shape[0], bytes = shape->elements / planes * (int64_t)dg_dtype_size(shape->type);
    DG_TRY(dg_hash_begin_item(hash, name, shape->type, shape->rank, shape->shape));
    for (int64_t k = 0; k < planes; k += DG_H5_CHUNK) {
        const int64_t count = planes - k < DG_H5_CHUNK ? planes - k : DG_H5_CHUNK;
        DG_TRY(read_planes(dataset, shape, k, count, values, name, role));
        dg_h5_unlock();
        const dg_status status = dg_hash_add(hash, values, (size_t)(count * bytes));
        dg_h5_lock();
        DG_TRY(status);
    }
    return DG_OK;
}

static dg_status hash_dataset(dg_hash *hash, hid_t group, const char *name, const char *role)
{
    dg_h5_shape shape;
    hid_t dataset;
    char *values = NULL;
    dg_status status;
    DG_TRY(dg_h5_open_dataset(group, name, role, &shape, &dataset));
    bool planes = !shape.raw && shape.rank >= 4; /* so that many structures need the memory of one */
    const bool layers = !shape.raw && shape.rank == 3 && shape.shape[0] > DG_H5_CHUNK;
    int64_t count = planes && shape.shape[0] > 0 ? shape.elements / shape.shape[0] : shape.elements;
    if (layers) count = shape.elements / shape.shape[0] * DG_H5_CHUNK;
    DG_TRY_GOTO(status, dg_alloc(&values, (size_t)count, dg_dtype_size(shape.type), "values to hash"), cleanup);
    if (planes) {
        DG_TRY_GOTO(status, hash_planes(hash, dataset, &shape, values, name, role), cleanup);
    } else if (layers) {
        DG_TRY_GOTO(status, hash_layers(hash, dataset, &shape, values, name, role), cleanup);
    } else {
        DG_TRY_GOTO(status, read_planes(dataset, &shape, -1, 0, values, name, role), cleanup);
        DG_TRY_GOTO(status, hash_values(hash, name, shape.type, shape.rank, shape.shape, values), cleanup);
    }
cleanup:
    dg_free(&values);
    dg_h5_close(dataset);
    return status;
}

/* fill NULL: every dataset is complete. */
static dg_status hash_group(hid_t group, dg_h5_fill *fill, void *user, const char *role, char hex[DG_HASH_HEX])
{
    dg_h5_list list;
    dg_hash *hash = NULL;
    dg_status status;
    DG_TRY(list_items(group, role, true, &list));
    DG_TRY_GOTO(status, dg_hash_create(&hash), cleanup);
    for (int64_t i = 0; i < list.count; i++) {
        const char *name = list.name[i], *at = strchr(name, '@');
        bool taken = false;
        if (at == NULL && fill != NULL) DG_TRY_GOTO(status, fill(user, group, name, hash, &taken), cleanup);
        if (at != NULL)
            DG_TRY_GOTO(status, hash_attribute(hash, group, name, at, role), cleanup);
        else if (!taken)
            DG_TRY_GOTO(status, hash_dataset(hash, group, name, role), cleanup);
    }
    DG_TRY_GOTO(status, dg_hash_finish(hash, hex), cleanup);
cleanup:
    dg_hash_destroy(&hash);
    dg_free(&list.name);
    return status;
}

dg_status dg_h5_content_hash(hid_t group, const char *role, char hex[DG_HASH_HEX])
{
    return hash_group(group, NULL, NULL, role, hex);
}

dg_status dg_h5_fill_and_seal(hid_t group, dg_h5_fill *fill, void *user, const char *role, char hex[DG_HASH_HEX])
{
    DG_TRY(hash_group(group, fill, user, role, hex));
    return dg_h5_put_attr_text(group, seal_name, hex, role);
}

dg_status dg_h5_seal(hid_t group, const char *role, char hex[DG_HASH_HEX])
{
    return dg_h5_fill_and_seal(group, NULL, NULL, role, hex);
}

dg_status dg_h5_check_seal(hid_t group, const char *role, char hex[DG_HASH_HEX])
{
    char stored[DG_HASH_HEX];
    DG_TRY(dg_h5_get_attr_text(group, seal_name, stored, sizeof stored, role));
    DG_TRY(dg_h5_content_hash(group, role, hex));
    if (strcmp(stored, hex) != 0)
        return DG_FAIL(DG_ERR_FORMAT, "%s: the content does not match its stored sha256; make the file again", role);
    return DG_OK;
}
