/* case_info.c - what is known of a case besides its voxels, as attributes and small tables of its group.
 * SPDX-License-Identifier: Apache-2.0 */
#include "case_impl.h"

#include "dg_mem.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

void dg_case_role(char role[DG_ROLE_TEXT], const char *id) { snprintf(role, DG_ROLE_TEXT, "case %s", id); }

int dg_case_info_structure(const dg_case_info *info, const char *name)
{
    for (int k = 0; k < info->structure_count; k++)
        if (strcmp(info->structure[k].name, name) == 0) return k;
    return -1;
}

bool dg_case_info_assumed(const dg_case_info *info) { return strcmp(info->prescription_source, "assumed") == 0; }

static dg_status check_structures(const dg_case_info *info)
{
    if (info->structure_count < 0 || info->structure_count > DG_STRUCTURES_MAX)
        return DG_FAIL(DG_ERR_DATA,
                       "case %s: %d structures, at most %d fit (one bit of a voxel's mask each); import it with a "
                       "mapping that leaves some out",
                       info->id, info->structure_count, DG_STRUCTURES_MAX);
    for (int k = 0; k < info->structure_count; k++) {
        const dg_structure *s = &info->structure[k];
        if (s->name[0] == '\0' || dg_case_info_structure(info, s->name) != k)
            return DG_FAIL(DG_ERR_DATA, "case %s: structure %d is called '%s': names must be unique and not empty",
                           info->id, k, s->name);
        if ((int)s->role < 0 || s->role > DG_ROLE_POSSIBLE_DOSE || !isfinite(s->prescription_gy))
            return DG_FAIL(DG_ERR_DATA, "case %s: structure %s has an unknown role or no finite prescription", info->id,
                           s->name);
    }
    return DG_OK;
}

dg_status dg_case_info_check(const dg_case_info *info)
{
    DG_TRY(dg_h5_check_id(info->id));
    dg_status status = dg_grid_check(&info->grid);
    if (status != DG_OK) return dg_error_context(status, "case %s", info->id);
    DG_TRY(check_structures(info));
    if (info->constraint_count < 0 || info->constraint_count > DG_CONSTRAINTS_MAX)
        return DG_FAIL(DG_ERR_DATA, "case %s: %d constraints, at most %d are possible", info->id,
                       info->constraint_count, DG_CONSTRAINTS_MAX);
    for (int k = 0; k < info->constraint_count; k++)
        if (!isfinite(info->constraint[k]))
            return DG_FAIL(DG_ERR_DATA, "case %s: constraint %.63s is not finite", info->id, info->constraint_name[k]);
    if (!isfinite(info->prescription_gy) || info->prescription_gy < 0 || info->fractions < 0)
        return DG_FAIL(DG_ERR_DATA, "case %s: prescription %g Gy in %lld fractions is impossible", info->id,
                       info->prescription_gy, (long long)info->fractions);
    for (int i = 0; info->has_dose && i < 3; i++) {
        int64_t start = info->dose_box.start[i], length = info->dose_box.shape[i];
        if (start < 0 || length < 1 || length > info->grid.shape[i] || start > info->grid.shape[i] - length)
            return DG_FAIL(DG_ERR_DATA,
                           "case %s: the box of known dose leaves the grid on axis %d (%lld + %lld of %lld)", info->id,
                           i, (long long)start, (long long)length, (long long)info->grid.shape[i]);
    }
    return DG_OK;
}

/* Fixed-size strings end in the file where they end in memory. */
static hid_t text_type(size_t width, H5T_str_t padding)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, width);
    H5Tset_strpad(type, padding);
    return type;
}

static hid_t role_type(void)
{
    static const char *const names[] = {"target", "oar", "body", "support", "possible_dose"};
    hid_t type = H5Tenum_create(H5T_STD_I32LE);
    for (int32_t i = 0; i < 5; i++) H5Tenum_insert(type, names[i], &i);
    return type;
}

_Static_assert(sizeof(dg_role) == sizeof(int32_t), "roles are stored as 32-bit enumerations");

/* As dg_structure lies in memory, or packed as in the file. */
static hid_t structure_type(bool packed)
{
    hid_t text = text_type(DG_STRUCTURE_NAME, packed ? H5T_STR_NULLPAD : H5T_STR_NULLTERM), role = role_type();
    size_t names = 3 * DG_STRUCTURE_NAME;
    hid_t type = H5Tcreate(H5T_COMPOUND, packed ? names + 12 : sizeof(dg_structure));
    H5Tinsert(type, "name", packed ? 0 : offsetof(dg_structure, name), text);
    H5Tinsert(type, "tg263", packed ? DG_STRUCTURE_NAME : offsetof(dg_structure, tg263), text);
    H5Tinsert(type, "mirror", packed ? 2 * DG_STRUCTURE_NAME : offsetof(dg_structure, mirror), text);
    H5Tinsert(type, "role", packed ? names : offsetof(dg_structure, role), role);
    H5Tinsert(type, "prescription_gy", packed ? names + 4 : offsetof(dg_structure, prescription_gy), H5T_IEEE_F64LE);
    dg_h5_close(role);
    dg_h5_close(text);
    return type;
}

dg_status dg_structures_write(hid_t group, const dg_structure *structure, int64_t count, const char *role)
{
    hid_t file_type = structure_type(true), memory_type = structure_type(false), dataset;
    dg_status status = dg_h5_create(group, "structures", file_type, 1, &count, &count, role, &dataset);
    if (status == DG_OK) {
        herr_t written = H5Dwrite(dataset, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, structure);
        herr_t closed = H5Dclose(dataset);
        if (written < 0 || closed < 0) status = DG_H5_FAIL(DG_ERR_IO, "%s: cannot write dataset structures", role);
    }
    dg_h5_close(memory_type);
    dg_h5_close(file_type);
    return status;
}

dg_status dg_structures_read(hid_t group, dg_structure *structure, int64_t count, const char *role)
{
    dg_h5_shape shape;
    hid_t dataset;
    DG_TRY(dg_h5_open_dataset(group, "structures", role, &shape, &dataset));
    hid_t wanted = structure_type(true), memory_type = structure_type(false), found = H5Dget_type(dataset);
    dg_status status = DG_OK;
    if (shape.rank != 2 || shape.shape[0] != count || H5Tequal(found, wanted) <= 0)
        status = DG_FAIL(DG_ERR_FORMAT, "%s: dataset structures is not the table that version 1 writes", role);
    else if (H5Dread(dataset, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, structure) < 0)
        status = DG_H5_FAIL(DG_ERR_FORMAT, "%s: dataset structures is damaged; make the file again", role);
    for (int64_t k = 0; status == DG_OK && k < count; k++) {
        dg_structure *s = &structure[k];
        s->name[DG_STRUCTURE_NAME - 1] = s->tg263[DG_STRUCTURE_NAME - 1] = s->mirror[DG_STRUCTURE_NAME - 1] = '\0';
    }
    dg_h5_close(found);
    dg_h5_close(memory_type);
    dg_h5_close(wanted);
    dg_h5_close(dataset);
    return status;
}

static dg_status count_rows(hid_t group, const char *name, int limit, int *count, const char *role)
{
    dg_h5_shape shape;
    hid_t dataset;
    *count = 0;
    if (!dg_h5_has(group, name)) return DG_OK;
    DG_TRY(dg_h5_open_dataset(group, name, role, &shape, &dataset));
    dg_h5_close(dataset);
    if (shape.rank < 1 || shape.shape[0] > limit)
        return DG_FAIL(DG_ERR_FORMAT,
                       "%s: dataset %s has %lld rows, at most %d are possible; import the case again with fewer", role,
                       name, (long long)shape.shape[0], limit);
    *count = (int)shape.shape[0];
    return DG_OK;
}

/* The simple attributes: one row writes and reads each. */
typedef struct attribute_row {
    const char *name;
    enum { TEXT, INT, REAL } kind;
    size_t offset;
    int rank, length; /* INT, REAL: [length] or [3,3]; TEXT: capacity */
} attribute_row;

#define INFO(field) offsetof(dg_case_info, field)
static const attribute_row attributes[] = {
    {"id", TEXT, INFO(id), 0, DG_CASE_ID},
    {"group", TEXT, INFO(group), 0, DG_CASE_ID},
    {"site", TEXT, INFO(site), 0, DG_STRUCTURE_NAME},
    {"source_format", TEXT, INFO(source_format), 0, 32},
    {"prescription_source", TEXT, INFO(prescription_source), 0, 32},
    {"shape_zyx", INT, INFO(grid.shape), 1, 3},
    {"spacing_mm_zyx", REAL, INFO(grid.spacing_mm), 1, 3},
    {"origin_mm_zyx", REAL, INFO(grid.origin_mm), 1, 3},
    {"direction", REAL, INFO(grid.direction), 2, 9},
    {"prescription_gy", REAL, INFO(prescription_gy), 0, 1},
    {"fractions", INT, INFO(fractions), 0, 1},
};
enum { ATTRIBUTES = sizeof attributes / sizeof *attributes };

static dg_status write_attribute(hid_t group, const attribute_row *row, const dg_case_info *info, const char *role)
{
    const char *value = (const char *)info + row->offset;
    const int64_t shape[2] = {row->rank == 2 ? 3 : row->length, 3};
    if (row->kind == TEXT) {
        if (memchr(value, '\0', (size_t)row->length) == NULL)
            return DG_FAIL(DG_ERR_INTERNAL, "%s: the text of %s has no end", role, row->name);
        return dg_h5_put_attr_text(group, row->name, value, role);
    }
    return dg_h5_put_attr(group, row->name, row->kind == INT ? DG_I64 : DG_F64, row->rank, shape, value, role);
}

static dg_status read_attribute(hid_t group, const attribute_row *row, dg_case_info *info, const char *role)
{
    char *value = (char *)info + row->offset;
    if (row->kind == TEXT) return dg_h5_get_attr_text(group, row->name, value, (size_t)row->length, role);
    return dg_h5_get_attr(group, row->name, row->kind == INT ? DG_I64 : DG_F64, row->length, value, role);
}

static dg_status write_constraints(hid_t group, const dg_case_info *info, const char *role)
{
    const int64_t count = info->constraint_count;
    if (count == 0) return DG_OK;
    DG_TRY(dg_h5_put(group, "constraints", DG_F32, 1, &count, &count, info->constraint, role));
    return dg_h5_put_strings(group, "constraint_names", count, DG_STRUCTURE_NAME, info->constraint_name[0], role);
}

static dg_status read_constraints(hid_t group, dg_case_info *info, const char *role)
{
    DG_TRY(count_rows(group, "constraints", DG_CONSTRAINTS_MAX, &info->constraint_count, role));
    const int64_t count = info->constraint_count;
    if (count == 0) return DG_OK;
    DG_TRY(dg_h5_get(group, "constraints", DG_F32, 1, &count, info->constraint, role));
    return dg_h5_get_strings(group, "constraint_names", count, DG_STRUCTURE_NAME, info->constraint_name[0], role);
}

dg_status dg_case_info_write(hid_t group, const dg_case_info *info, const char *role)
{
    const int64_t version = DG_CASE_VERSION;
    DG_TRY(dg_h5_put_attr_text(group, "format", "dosegrid-case", role));
    DG_TRY(dg_h5_put_attr(group, "version", DG_I64, 0, NULL, &version, role));
    for (int i = 0; i < ATTRIBUTES; i++) DG_TRY(write_attribute(group, &attributes[i], info, role));
    if (info->structure_count > 0) DG_TRY(dg_structures_write(group, info->structure, info->structure_count, role));
    return write_constraints(group, info, role);
}

static dg_status read_dose_box(hid_t group, dg_case_info *info, const char *role)
{
    int64_t box[6];
    info->has_dose = dg_h5_has(group, "dose");
    if (!info->has_dose) return DG_OK;
    hid_t dataset = H5Dopen2(group, "dose", H5P_DEFAULT);
    if (dataset < 0) return DG_H5_FAIL(DG_ERR_FORMAT, "%s: dataset dose is damaged; make the file again", role);
    dg_status status = dg_h5_get_attr(dataset, "grid_box", DG_I64, 6, box, role);
    dg_h5_close(dataset);
    if (status != DG_OK) return status;
    memcpy(info->dose_box.start, box, sizeof info->dose_box.start);
    memcpy(info->dose_box.shape, box + 3, sizeof info->dose_box.shape);
    return DG_OK;
}

dg_status dg_case_info_read(hid_t group, dg_case_info *info, const char *role)
{
    int64_t version;
    memset(info, 0, sizeof *info);
    DG_TRY(dg_h5_check_format(group, "dosegrid-case", DG_CASE_VERSION, role, &version));
    for (int i = 0; i < ATTRIBUTES; i++) DG_TRY(read_attribute(group, &attributes[i], info, role));
    DG_TRY(dg_h5_get_attr_text(group, "content_sha256", info->content_sha256, DG_HASH_HEX, role));
    DG_TRY(count_rows(group, "structures", DG_STRUCTURES_MAX, &info->structure_count, role));
    if (info->structure_count > 0) DG_TRY(dg_structures_read(group, info->structure, info->structure_count, role));
    DG_TRY(read_constraints(group, info, role));
    DG_TRY(read_dose_box(group, info, role));
    dg_status status = dg_case_info_check(info);
    /* the file says what no writer accepts: it is the file that is wrong */
    return status == DG_OK ? DG_OK : dg_error_context(DG_ERR_FORMAT, "%s: file header", role);
}

dg_status dg_case_open_group(const char *path, const char *group_name, const char *role, hid_t *file, hid_t *group)
{
    *group = H5I_INVALID_HID;
    *file = H5I_INVALID_HID;
    if (access(path, F_OK) != 0 && errno == ENOENT)
        return DG_FAIL(
            DG_ERR_IO,
            "%s: file is missing; put it back or import the case again, or delete cohort.h5 to go on without "
            "it",
            role);
    DG_TRY(dg_h5_open(path, role, file));
    *group = H5Gopen2(*file, group_name, H5P_DEFAULT);
    if (*group < 0) {
        dg_status status = DG_H5_FAIL(DG_ERR_FORMAT, "%s: its group is missing or damaged; make the file again", role);
        dg_h5_close(*file);
        *file = H5I_INVALID_HID;
        return status;
    }
    return DG_OK;
}
