/* dose_file.c - see dg_dose_file.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_dose_file.h"

#include "dg_grid.h"
#include "dg_mem.h"
#include "h5_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A numeric attribute of `count` elements of any type; *found is false when there is none. */
static dg_status read_numbers(hid_t object, const char *name, int64_t count, double *values, const char *role,
                              bool *found)
{
    *found = dg_h5_has_attr(object, name);
    if (!*found) return DG_OK;
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT), type = H5Aget_type(attribute),
          space = H5Aget_space(attribute);
    const H5T_class_t class = H5Tget_class(type);
    dg_status status = DG_OK;
    if ((class != H5T_FLOAT && class != H5T_INTEGER) || H5Sget_simple_extent_npoints(space) != count ||
        H5Aread(attribute, H5T_NATIVE_DOUBLE, values) < 0)
        status = DG_H5_FAIL(DG_ERR_FORMAT, "%s: attribute %s is not %lld numbers", role, name, (long long)count);
    dg_h5_close(space);
    dg_h5_close(type);
    dg_h5_close(attribute);
    return status;
}

static void set_identity(double direction[9])
{
    for (int i = 0; i < 9; i++) direction[i] = i % 4 == 0;
}

static dg_status check_grid(const dg_dose_file *d, const char *role)
{
    for (int a = 0; a < d->axes; a++)
        if (!(d->spacing_mm[a] > 0.0) || isinf(d->spacing_mm[a]) || !isfinite(d->origin_mm[a]))
            return DG_FAIL(DG_ERR_DATA, "%s: axis %d has a spacing of %g mm from %g mm", role, a, d->spacing_mm[a],
                           d->origin_mm[a]);
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++) {
            double product = 0.0;
            for (int row = 0; row < 3; row++) product += d->direction[3 * row + i] * d->direction[3 * row + k];
            if (!(fabs(product - (i == k)) <= 1e-4))
                return DG_FAIL(DG_ERR_DATA, "%s: columns %d and %d of direction have the product %g: not a rotation",
                               role, i, k, product);
        }
    return DG_OK;
}

/* The grid's attributes of one object. */
static dg_status read_grid_of(hid_t object, dg_dose_file *d, const char *role, bool *found)
{
    bool has_origin, has_direction = false;
    DG_TRY(read_numbers(object, "spacing_mm_zyx", d->axes, d->spacing_mm, role, found));
    if (!*found) return DG_OK;
    DG_TRY(read_numbers(object, "origin_mm_zyx", d->axes, d->origin_mm, role, &has_origin));
    if (!has_origin) return DG_FAIL(DG_ERR_DATA, "%s: spacing_mm_zyx stands without origin_mm_zyx", role);
    if (d->axes == 3) DG_TRY(read_numbers(object, "direction", 9, d->direction, role, &has_direction));
    return check_grid(d, role);
}

/* From the dataset up to the root. */
static dg_status read_grid(hid_t file, hid_t dataset, const char *name, dg_dose_file *d, const char *role)
{
    char path[DG_H5_NAME];
    bool found;
    set_identity(d->direction);
    DG_TRY(read_grid_of(dataset, d, role, &found));
    snprintf(path, sizeof path, "/%s", name[0] == '/' ? name + 1 : name);
    while (!found) {
        char *slash = strrchr(path, '/');
        if (slash == NULL) return DG_FAIL(DG_ERR_DATA, "%s: there is no attribute spacing_mm_zyx on %s", role, name);
        slash[0] = '\0';
        hid_t group = H5Oopen(file, path[0] == '\0' ? "/" : path, H5P_DEFAULT);
        if (group < 0) return DG_H5_FAIL(DG_ERR_FORMAT, "%s: group %s cannot be opened", role, path);
        dg_status status = read_grid_of(group, d, role, &found);
        dg_h5_close(group);
        DG_TRY(status);
    }
    return DG_OK;
}

/* Where the dose is known: the grid box, else all. */
static dg_status read_box(hid_t dataset, const dg_dose_file *d, const char *role, int64_t start[3], int64_t count[3])
{
    double box[6];
    bool found = false;
    for (int a = 0; a < 3; a++) {
        start[a] = 0;
        count[a] = d->shape[a];
    }
    if (d->axes == 3) DG_TRY(read_numbers(dataset, "grid_box", 6, box, role, &found));
    for (int a = 0; found && a < 3; a++) {
        if (!(box[a] >= 0.0 && box[3 + a] >= 1.0 && box[a] + box[3 + a] <= (double)d->shape[a]))
            return DG_FAIL(DG_ERR_DATA, "%s: grid_box leaves the dose on axis %d (%g voxels from %g)", role, a,
                           box[3 + a], box[a]);
        start[a] = (int64_t)box[a];
        count[a] = (int64_t)box[3 + a];
    }
    return DG_OK;
}

static dg_status read_values(hid_t dataset, const char *name, const char *role, const int64_t start[3],
                             const int64_t count[3], dg_dose_file *d)
{
    hsize_t from[3], lengths[3];
    int64_t voxels = 1;
    for (int a = 0; a < d->axes; a++) {
        from[a] = (hsize_t)start[a];
        lengths[a] = (hsize_t)count[a];
        d->shape[a] = count[a];
        voxels *= count[a];
    }
    DG_TRY(DG_NEW(&d->dose_gy, voxels, "dose"));
    hid_t file_space = H5Dget_space(dataset), memory = H5Screate_simple(d->axes, lengths, NULL);
    dg_status status = DG_OK;
    if (H5Sselect_hyperslab(file_space, H5S_SELECT_SET, from, NULL, lengths, NULL) < 0 ||
        H5Dread(dataset, H5T_NATIVE_FLOAT, memory, file_space, H5P_DEFAULT, d->dose_gy) < 0)
        status = DG_H5_FAIL(DG_ERR_FORMAT, "%s: dataset %s is damaged; make the file again", role, name);
    dg_h5_close(memory);
    dg_h5_close(file_space);
    return status;
}

/* The origin of a box that starts inside: along the index axes, which the direction may turn. */
static void move_origin(dg_dose_file *d, const int64_t start[3])
{
    for (int a = 0; a < d->axes; a++) {
        double shift = 0.0;
        for (int b = 0; b < d->axes; b++) {
            const double turn = d->axes == 3 ? d->direction[3 * (2 - a) + 2 - b] : a == b;
            shift += turn * d->spacing_mm[b] * (double)start[b];
        }
        d->origin_mm[a] += shift;
    }
}

static dg_status read_dataset(hid_t file, hid_t dataset, const char *name, const char *role, const dg_h5_shape *found,
                              dg_dose_file *d)
{
    int64_t start[3], count[3];
    hid_t type = H5Dget_type(dataset);
    const H5T_class_t class = H5Tget_class(type);
    dg_h5_close(type);
    if (found->raw || (class != H5T_FLOAT && class != H5T_INTEGER))
        return DG_FAIL(DG_ERR_FORMAT, "%s: dataset %s does not hold numbers", role, name);
    if (found->rank < 1 || found->rank > 3 || found->elements < 1 || found->elements > (int64_t)1 << 31)
        return DG_FAIL(DG_ERR_DATA, "%s: dataset %s has %d axes and %lld voxels; 1 to 3 axes and at most 2^31 are read",
                       role, name, found->rank, (long long)found->elements);
    d->axes = found->rank;
    for (int a = 0; a < 3; a++) d->shape[a] = a < d->axes ? found->shape[a] : 1;
    DG_TRY(read_grid(file, dataset, name, d, role));
    DG_TRY(read_box(dataset, d, role, start, count));
    DG_TRY(read_values(dataset, name, role, start, count, d));
    move_origin(d, start);
    return DG_OK;
}

dg_status dg_dose_file_read(const char *path, const char *name, const char *role, dg_dose_file *out)
{
    hid_t file = H5I_INVALID_HID, dataset = H5I_INVALID_HID;
    dg_h5_shape shape;
    dg_status status;
    memset(out, 0, sizeof *out);
    if (strlen(name) >= DG_H5_NAME - 1) return DG_FAIL(DG_ERR_USAGE, "%s: the name of the dataset is too long", role);
    dg_h5_lock();
    DG_TRY_GOTO(status, dg_h5_open(path, role, &file), cleanup);
    DG_TRY_GOTO(status, dg_h5_open_dataset(file, name, role, &shape, &dataset), cleanup);
    status = read_dataset(file, dataset, name, role, &shape, out);
cleanup:
    dg_h5_close(dataset);
    dg_h5_close(file);
    dg_h5_unlock();
    if (status != DG_OK) dg_dose_file_release(out);
    return status;
}

void dg_dose_file_release(dg_dose_file *file) { dg_free(&file->dose_gy); }

static dg_status put_attributes(hid_t dataset, const dg_dose_file *grid, const dg_dose_attribute *attributes, int count,
                                const char *role)
{
    const int64_t axes = grid->axes, three[2] = {3, 3};
    DG_TRY(dg_h5_put_attr(dataset, "spacing_mm_zyx", DG_F64, 1, &axes, grid->spacing_mm, role));
    DG_TRY(dg_h5_put_attr(dataset, "origin_mm_zyx", DG_F64, 1, &axes, grid->origin_mm, role));
    if (axes == 3) DG_TRY(dg_h5_put_attr(dataset, "direction", DG_F64, 2, three, grid->direction, role));
    for (int i = 0; i < count; i++) {
        if (attributes[i].text != NULL)
            DG_TRY(dg_h5_put_attr_text(dataset, attributes[i].name, attributes[i].text, role));
        else
            DG_TRY(dg_h5_put_attr(dataset, attributes[i].name, DG_F64, 0, NULL, &attributes[i].number, role));
    }
    return DG_OK;
}

static dg_status fill_map(hid_t file, const char *format, const char *name, const dg_dose_file *grid,
                          const float *values, const dg_dose_attribute *attributes, int count, const char *role)
{
    const int64_t version = 1;
    int64_t chunk[3];
    for (int a = 0; a < grid->axes; a++) chunk[a] = grid->shape[a] < DG_H5_CHUNK ? grid->shape[a] : DG_H5_CHUNK;
    DG_TRY(dg_h5_put_attr_text(file, "format", format, role));
    DG_TRY(dg_h5_put_attr(file, "version", DG_I64, 0, NULL, &version, role));
    DG_TRY(dg_h5_put(file, name, DG_F32, grid->axes, grid->shape, chunk, values, role));
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    if (dataset < 0) return DG_H5_FAIL(DG_ERR_IO, "%s: dataset %s cannot be opened again", role, name);
    dg_status status = put_attributes(dataset, grid, attributes, count, role);
    dg_h5_close(dataset);
    return status;
}

dg_status dg_dose_file_write_map(const char *path, const char *format, const char *name, const dg_dose_file *grid,
                                 const float *values, const dg_dose_attribute *attributes, int count)
{
    dg_h5_image image;
    const char *role = name[0] == '/' ? name + 1 : name;
    dg_h5_lock();
    dg_status status = dg_h5_image_create(role, &image);
    if (status == DG_OK) {
        status = fill_map(image.file, format, name, grid, values, attributes, count, role);
        if (status == DG_OK)
            status = dg_h5_image_finish(&image, role, path);
        else
            dg_h5_image_discard(&image);
    }
    dg_h5_unlock();
    return status;
}
