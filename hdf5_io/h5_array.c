/* h5_array.c - typed arrays, strings and attributes in HDF5 objects. See h5_impl.h. SPDX-License-Identifier: Apache-2.0 */
#include "h5_impl.h"

#include "dg_mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

hid_t dg_h5_dataset_list(hid_t file_type, int rank, const int64_t *chunk)
{
    hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_obj_track_times(list, 0);
    if (H5Tget_class(file_type) == H5T_FLOAT) {
        double nan_value = NAN; /* so that a chunk that was never written cannot pass for data */
        H5Pset_fill_value(list, H5T_NATIVE_DOUBLE, &nan_value);
    }
    if (chunk != NULL) {
        hsize_t dims[DG_H5_RANK_MAX];
        for (int i = 0; i < rank; i++) dims[i] = (hsize_t)chunk[i];
        H5Pset_chunk(list, rank, dims);
        H5Pset_shuffle(list);
        H5Pset_filter(list, DG_H5_FILTER_LZ4, H5Z_FLAG_MANDATORY, 0, NULL);
        H5Pset_fletcher32(list);
    }
    return list;
}

static hid_t make_space(int rank, const int64_t *shape)
{
    hsize_t dims[DG_H5_RANK_MAX];
    if (rank == 0) return H5Screate(H5S_SCALAR);
    for (int i = 0; i < rank; i++) dims[i] = (hsize_t)shape[i];
    return H5Screate_simple(rank, dims, NULL);
}

dg_status dg_h5_create(hid_t parent, const char *name, hid_t file_type, int rank, const int64_t *shape,
                       const int64_t *chunk, const char *role, hid_t *dataset)
{
    hid_t space = make_space(rank, shape), list = dg_h5_dataset_list(file_type, rank, chunk);
    hid_t link = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(link, 1);
    *dataset = H5Dcreate2(parent, name, file_type, space, link, list, H5P_DEFAULT);
    dg_status status = DG_OK;
    if (*dataset < 0) status = DG_H5_FAIL(DG_ERR_IO, "%s: cannot make dataset %s", role, name);
    dg_h5_close(link);
    dg_h5_close(list);
    dg_h5_close(space);
    return status;
}

static dg_status put_typed(hid_t parent, const char *name, hid_t type, int rank, const int64_t *shape,
                           const int64_t *chunk, const void *values, const char *role)
{
    hid_t dataset;
    DG_TRY(dg_h5_create(parent, name, type, rank, shape, chunk, role, &dataset));
    herr_t written = H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    /* an error can come as late as the close, when the chunk cache is written out */
    herr_t closed = H5Dclose(dataset);
    if (written < 0 || closed < 0) return DG_H5_FAIL(DG_ERR_IO, "%s: cannot write dataset %s", role, name);
    return DG_OK;
}

dg_status dg_h5_put(hid_t parent, const char *name, dg_dtype type, int rank, const int64_t *shape, const int64_t *chunk,
                    const void *values, const char *role)
{
    return put_typed(parent, name, dg_h5_file_type(type), rank, shape, chunk, values, role);
}

static hid_t string_type(size_t width)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, width);
    H5Tset_strpad(type, H5T_STR_NULLPAD);
    return type;
}

dg_status dg_h5_put_strings(hid_t parent, const char *name, int64_t count, size_t width, const char *values,
                            const char *role)
{
    char *padded;
    DG_TRY(dg_alloc(&padded, (size_t)count * width, 1, "strings"));
    for (int64_t i = 0; i < count; i++) /* bytes behind the NUL of a caller's buffer must not reach the file */
        memcpy(padded + i * (int64_t)width, values + i * (int64_t)width, strnlen(values + i * (int64_t)width, width));
    hid_t type = string_type(width);
    dg_status status = put_typed(parent, name, type, 1, &count, &count, padded, role);
    dg_h5_close(type);
    dg_free(&padded);
    return status;
}

dg_status dg_h5_put_text(hid_t parent, const char *name, const char *text, const char *role)
{
    hid_t type = string_type(strlen(text) + 1);
    dg_status status = put_typed(parent, name, type, 0, NULL, NULL, text, role);
    dg_h5_close(type);
    return status;
}

static dg_status put_attr(hid_t object, const char *name, hid_t type, int rank, const int64_t *shape,
                          const void *values, const char *role)
{
    hid_t space = make_space(rank, shape);
    hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    herr_t written = attribute < 0 ? -1 : H5Awrite(attribute, type, values);
    dg_status status = DG_OK;
    if (written < 0) status = DG_H5_FAIL(DG_ERR_IO, "%s: cannot write attribute %s", role, name);
    dg_h5_close(attribute);
    dg_h5_close(space);
    return status;
}

dg_status dg_h5_put_attr(hid_t object, const char *name, dg_dtype type, int rank, const int64_t *shape,
                         const void *values, const char *role)
{
    return put_attr(object, name, dg_h5_file_type(type), rank, shape, values, role);
}

dg_status dg_h5_put_attr_text(hid_t object, const char *name, const char *text, const char *role)
{
    size_t length = strlen(text);
    hid_t type = string_type(length > 0 ? length : 1);
    dg_status status = put_attr(object, name, type, 0, NULL, text, role);
    dg_h5_close(type);
    return status;
}

static bool describe_type(hid_t type, dg_h5_shape *out)
{
    static const dg_dtype known[] = {DG_F32, DG_F64, DG_U8, DG_BF16, DG_I16, DG_I32, DG_I64, DG_U64};
    out->raw = false;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        out->type = known[i];
        if (H5Tequal(type, dg_h5_file_type(known[i])) > 0) return true;
    }
    H5T_class_t class = H5Tget_class(type);
    out->type = DG_U8;
    out->raw = true;
    return (class == H5T_STRING && H5Tis_variable_str(type) == 0) ||
           (class == H5T_COMPOUND && H5Tdetect_class(type, H5T_VLEN) == 0 && H5Tis_variable_str(type) == 0);
}

dg_status dg_h5_describe(hid_t type, hid_t space, const char *name, const char *role, dg_h5_shape *out)
{
    hsize_t dims[H5S_MAX_RANK];
    int rank = H5Sget_simple_extent_ndims(space);
    memset(out, 0, sizeof *out);
    if (rank < 0 || rank > DG_H5_RANK_MAX - 1 || H5Sget_simple_extent_dims(space, dims, NULL) < 0)
        return DG_H5_FAIL(DG_ERR_FORMAT, "%s: dataset %s has %d axes, at most %d are known", role, name, rank,
                          DG_H5_RANK_MAX - 1);
    if (!describe_type(type, out))
        return DG_H5_FAIL(DG_ERR_FORMAT, "%s: dataset %s has an element type that no version writes", role, name);
    out->rank = rank;
    out->elements = 1;
    for (int i = 0; i < rank; i++) {
        out->shape[i] = (int64_t)dims[i];
        if (dims[i] > INT64_MAX || !dg_mul_int64(out->elements, out->shape[i], &out->elements))
            return DG_FAIL(DG_ERR_FORMAT, "%s: dataset %s has an impossible shape", role, name);
    }
    if (out->raw) {
        size_t width = H5Tget_size(type);
        out->shape[out->rank++] = (int64_t)width;
        if (width == 0 || !dg_mul_int64(out->elements, (int64_t)width, &out->elements))
            return DG_FAIL(DG_ERR_FORMAT, "%s: dataset %s has an impossible shape", role, name);
    }
    return DG_OK;
}

/* HDF5 reads a chunk that is not there as the fill value, without a word. */
static dg_status check_chunks(hid_t dataset, const char *name, const char *role)
{
    hsize_t chunk[H5S_MAX_RANK], dims[H5S_MAX_RANK], there = 0, wanted = 1;
    hid_t list = H5Dget_create_plist(dataset), space = H5Dget_space(dataset);
    int rank = H5Sget_simple_extent_dims(space, dims, NULL);
    dg_status status = DG_OK;
    if (H5Pget_layout(list) == H5D_CHUNKED && H5Sget_simple_extent_npoints(space) > 0) {
        if (H5Pget_chunk(list, H5S_MAX_RANK, chunk) != rank || H5Dget_num_chunks(dataset, space, &there) < 0)
            status = DG_H5_FAIL(DG_ERR_FORMAT, "%s: dataset %s: its chunk table is damaged", role, name);
        for (int i = 0; status == DG_OK && i < rank; i++) wanted *= (dims[i] + chunk[i] - 1) / chunk[i];
        if (status == DG_OK && there != wanted)
            status = DG_FAIL(DG_ERR_FORMAT, "%s: dataset %s: %llu of %llu chunks are missing; make the file again",
                             role, name, (unsigned long long)(wanted - there), (unsigned long long)wanted);
    }
    dg_h5_close(space);
    dg_h5_close(list);
    return status;
}

dg_status dg_h5_open_dataset(hid_t parent, const char *name, const char *role, dg_h5_shape *shape, hid_t *dataset)
{
    *dataset = H5Dopen2(parent, name, H5P_DEFAULT);
    if (*dataset < 0)
        return DG_H5_FAIL(DG_ERR_FORMAT, "%s: dataset %s is missing or damaged; make the file again", role, name);
    hid_t type = H5Dget_type(*dataset), space = H5Dget_space(*dataset);
    dg_status status = dg_h5_describe(type, space, name, role, shape);
    if (status == DG_OK) status = check_chunks(*dataset, name, role);
    dg_h5_close(space);
    dg_h5_close(type);
    if (status != DG_OK) {
        dg_h5_close(*dataset);
        *dataset = H5I_INVALID_HID;
    }
    return status;
}

static bool same_shape(const dg_h5_shape *found, dg_dtype type, bool raw, int rank, const int64_t *shape)
{
    bool same = found->type == type && found->raw == raw && found->rank == rank;
    for (int i = 0; same && i < rank; i++) same = found->shape[i] == shape[i];
    return same;
}

static dg_status get_typed(hid_t parent, const char *name, dg_dtype type, bool raw, int rank, const int64_t *shape,
                           void *values, const char *role)
{
    dg_h5_shape found;
    hid_t dataset;
    DG_TRY(dg_h5_open_dataset(parent, name, role, &found, &dataset));
    dg_status status = DG_OK;
    hid_t file_type = H5Dget_type(dataset);
    if (!same_shape(&found, type, raw, rank, shape))
        status =
            DG_FAIL(DG_ERR_MISMATCH, "%s: dataset %s has another shape or type than expected (%d axes, %lld elements)",
                    role, name, found.rank, (long long)found.elements);
    else if (H5Dread(dataset, file_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0)
        status = DG_H5_FAIL(DG_ERR_FORMAT, "%s: dataset %s is damaged; make the file again", role, name);
    dg_h5_close(file_type);
    dg_h5_close(dataset);
    return status;
}

dg_status dg_h5_get(hid_t parent, const char *name, dg_dtype type, int rank, const int64_t *shape, void *values,
                    const char *role)
{
    return get_typed(parent, name, type, false, rank, shape, values, role);
}

dg_status dg_h5_get_strings(hid_t parent, const char *name, int64_t count, size_t width, char *values, const char *role)
{
    const int64_t shape[2] = {count, (int64_t)width};
    DG_TRY(get_typed(parent, name, DG_U8, true, 2, shape, values, role));
    for (int64_t i = 0; i < count; i++) {
        if (memchr(values + i * (int64_t)width, '\0', width) == NULL)
            return DG_FAIL(DG_ERR_FORMAT, "%s: dataset %s: text %lld has no end", role, name, (long long)i);
    }
    return DG_OK;
}

dg_status dg_h5_get_text(hid_t parent, const char *name, int64_t limit, char **text, const char *role)
{
    dg_h5_shape found;
    hid_t dataset;
    *text = NULL;
    DG_TRY(dg_h5_open_dataset(parent, name, role, &found, &dataset));
    dg_h5_close(dataset);
    if (!found.raw || found.rank != 1 || found.elements > limit + 1)
        return DG_FAIL(DG_ERR_MISMATCH, "%s: dataset %s is not a text of at most %lld bytes", role, name,
                       (long long)limit);
    DG_TRY(dg_alloc(text, (size_t)found.elements + 1, 1, name));
    dg_status status = get_typed(parent, name, DG_U8, true, 1, found.shape, *text, role);
    if (status != DG_OK) dg_free(text);
    return status;
}

static dg_status open_attr(hid_t object, const char *name, const char *role, dg_h5_shape *shape, hid_t *attribute,
                           hid_t *type)
{
    *type = H5I_INVALID_HID;
    *attribute = H5Aopen(object, name, H5P_DEFAULT);
    if (*attribute < 0)
        return DG_H5_FAIL(DG_ERR_FORMAT, "%s: attribute %s is missing or damaged; make the file again", role, name);
    *type = H5Aget_type(*attribute);
    hid_t space = H5Aget_space(*attribute);
    dg_status status = dg_h5_describe(*type, space, name, role, shape);
    dg_h5_close(space);
    return status;
}

dg_status dg_h5_get_attr(hid_t object, const char *name, dg_dtype type, int64_t count, void *values, const char *role)
{
    dg_h5_shape found;
    hid_t attribute, file_type;
    dg_status status = open_attr(object, name, role, &found, &attribute, &file_type);
    if (status == DG_OK && (found.raw || found.type != type || found.elements != count))
        status =
            DG_FAIL(DG_ERR_FORMAT, "%s: attribute %s has another type or shape than any version writes", role, name);
    if (status == DG_OK && H5Aread(attribute, file_type, values) < 0)
        status = DG_H5_FAIL(DG_ERR_FORMAT, "%s: attribute %s cannot be read", role, name);
    dg_h5_close(file_type);
    dg_h5_close(attribute);
    return status;
}

dg_status dg_h5_get_attr_text(hid_t object, const char *name, char *text, size_t capacity, const char *role)
{
    dg_h5_shape found;
    hid_t attribute, file_type;
    memset(text, 0, capacity);
    dg_status status = open_attr(object, name, role, &found, &attribute, &file_type);
    if (status == DG_OK && (!found.raw || found.rank != 1 || found.elements >= (int64_t)capacity))
        status =
            DG_FAIL(DG_ERR_FORMAT, "%s: attribute %s is not a text of at most %zu bytes", role, name, capacity - 1);
    if (status == DG_OK && H5Aread(attribute, file_type, text) < 0)
        status = DG_H5_FAIL(DG_ERR_FORMAT, "%s: attribute %s cannot be read", role, name);
    dg_h5_close(file_type);
    dg_h5_close(attribute);
    return status;
}

dg_status dg_h5_check_format(hid_t object, const char *format, int64_t newest, const char *role, int64_t *version)
{
    char found[64];
    DG_TRY(dg_h5_get_attr_text(object, "format", found, sizeof found, role));
    if (strcmp(found, format) != 0)
        return DG_FAIL(DG_ERR_FORMAT, "%s: the file is a %s, a %s is wanted", role, found, format);
    DG_TRY(dg_h5_get_attr(object, "version", DG_I64, 1, version, role));
    if (*version < 1 || *version > newest)
        return DG_FAIL(DG_ERR_FORMAT,
                       "%s: the file has version %lld of %s, this program reads 1 to %lld; use a newer dosegrid", role,
                       (long long)*version, format, (long long)newest);
    return DG_OK;
}
