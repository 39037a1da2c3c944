/* cohort_index.c - the index as columns of a group, and how it is made again from the cases.
 * SPDX-License-Identifier: Apache-2.0 */
#include "case_impl.h"

#include "dg_mem.h"

#include <dirent.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct column {
    const char *name;
    enum { TEXT, INT, REAL } kind;
    size_t offset;
    int length; /* TEXT: bytes */
} column;

#define ROW(field) offsetof(dg_index_row, field)
static const column columns[] = {
    {"case_id", TEXT, ROW(info.id), DG_CASE_ID},
    {"group", TEXT, ROW(info.group), DG_CASE_ID},
    {"site", TEXT, ROW(info.site), DG_STRUCTURE_NAME},
    {"source_format", TEXT, ROW(info.source_format), 32},
    {"prescription_source", TEXT, ROW(info.prescription_source), 32},
    {"sha256", TEXT, ROW(info.content_sha256), DG_HASH_HEX},
    {"status", TEXT, ROW(status), 16},
    {"shape_zyx", INT, ROW(info.grid.shape), 3},
    {"fractions", INT, ROW(info.fractions), 1},
    {"dose_box_start", INT, ROW(info.dose_box.start), 3},
    {"dose_box_shape", INT, ROW(info.dose_box.shape), 3},
    {"has_dose", INT, ROW(has_dose), 1},
    {"structure_count", INT, ROW(structure_count), 1},
    {"constraint_count", INT, ROW(constraint_count), 1},
    {"file_bytes", INT, ROW(file_bytes), 1},
    {"spacing_mm_zyx", REAL, ROW(info.grid.spacing_mm), 3},
    {"origin_mm_zyx", REAL, ROW(info.grid.origin_mm), 3},
    {"direction", REAL, ROW(info.grid.direction), 9},
    {"prescription_gy", REAL, ROW(info.prescription_gy), 1},
};
enum { COLUMNS = sizeof columns / sizeof *columns };

static size_t cell_bytes(const column *c) { return (size_t)c->length * (c->kind == TEXT ? 1 : 8); }

static dg_status write_column(hid_t group, const column *c, const dg_index_row *row, int64_t count, const char *role)
{
    char *cells;
    size_t bytes = cell_bytes(c);
    const int64_t shape[2] = {count, c->length};
    DG_TRY(dg_alloc(&cells, (size_t)count, bytes, "column of the index"));
    for (int64_t i = 0; i < count; i++) memcpy(cells + (size_t)i * bytes, (const char *)&row[i] + c->offset, bytes);
    dg_status status;
    if (c->kind == TEXT)
        status = dg_h5_put_strings(group, c->name, count, (size_t)c->length, cells, role);
    else
        status = dg_h5_put(group, c->name, c->kind == INT ? DG_I64 : DG_F64, c->length == 1 ? 1 : 2, shape, shape,
                           cells, role);
    dg_free(&cells);
    return status;
}

static dg_status read_column(hid_t group, const column *c, dg_index_row *row, int64_t count, const char *role)
{
    char *cells;
    size_t bytes = cell_bytes(c);
    const int64_t shape[2] = {count, c->length};
    DG_TRY(dg_alloc(&cells, (size_t)count, bytes, "column of the index"));
    dg_status status;
    if (c->kind == TEXT)
        status = dg_h5_get_strings(group, c->name, count, (size_t)c->length, cells, role);
    else
        status =
            dg_h5_get(group, c->name, c->kind == INT ? DG_I64 : DG_F64, c->length == 1 ? 1 : 2, shape, cells, role);
    for (int64_t i = 0; status == DG_OK && i < count; i++)
        memcpy((char *)&row[i] + c->offset, cells + (size_t)i * bytes, bytes);
    dg_free(&cells);
    return status;
}

/* Structures and constraints of all cases stand one after the other; the counts say whose they are. */
static dg_status write_tables(hid_t group, const dg_index_row *row, int64_t count, int64_t structures,
                              int64_t constraints, const char *role)
{
    dg_structure *all = NULL;
    char(*name)[DG_STRUCTURE_NAME] = NULL;
    float *value = NULL;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&all, structures, "structures of the index"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&name, constraints, "constraints of the index"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&value, constraints, "constraints of the index"), cleanup);
    int64_t s = 0, c = 0;
    for (int64_t i = 0; i < count; i++) {
        const dg_case_info *info = &row[i].info;
        for (int k = 0; k < info->structure_count; k++) all[s++] = info->structure[k];
        for (int k = 0; k < info->constraint_count; k++, c++) {
            value[c] = info->constraint[k];
            memcpy(name[c], info->constraint_name[k], DG_STRUCTURE_NAME);
        }
    }
    if (structures > 0) DG_TRY_GOTO(status, dg_structures_write(group, all, structures, role), cleanup);
    if (constraints > 0) {
        DG_TRY_GOTO(status, dg_h5_put(group, "constraints", DG_F32, 1, &constraints, &constraints, value, role),
                    cleanup);
        status = dg_h5_put_strings(group, "constraint_names", constraints, DG_STRUCTURE_NAME, name[0], role);
    }
cleanup:
    dg_free(&value);
    dg_free(&name);
    dg_free(&all);
    return status;
}

static dg_status read_tables(hid_t group, dg_index_row *row, int64_t count, int64_t structures, int64_t constraints,
                             const char *role)
{
    dg_structure *all = NULL;
    char(*name)[DG_STRUCTURE_NAME] = NULL;
    float *value = NULL;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&all, structures, "structures of the index"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&name, constraints, "constraints of the index"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&value, constraints, "constraints of the index"), cleanup);
    if (structures > 0) DG_TRY_GOTO(status, dg_structures_read(group, all, structures, role), cleanup);
    if (constraints > 0) {
        DG_TRY_GOTO(status, dg_h5_get(group, "constraints", DG_F32, 1, &constraints, value, role), cleanup);
        DG_TRY_GOTO(status, dg_h5_get_strings(group, "constraint_names", constraints, DG_STRUCTURE_NAME, name[0], role),
                    cleanup);
    }
    int64_t s = 0, c = 0;
    for (int64_t i = 0; i < count; i++) {
        dg_case_info *info = &row[i].info;
        for (int k = 0; k < info->structure_count; k++) info->structure[k] = all[s++];
        for (int k = 0; k < info->constraint_count; k++, c++) {
            info->constraint[k] = value[c];
            memcpy(info->constraint_name[k], name[c], DG_STRUCTURE_NAME);
        }
    }
cleanup:
    dg_free(&value);
    dg_free(&name);
    dg_free(&all);
    return status;
}

static dg_status write_group(hid_t group, const dg_index_row *row, int64_t count, const char *role)
{
    int64_t structures = 0, constraints = 0;
    char sha256[DG_HASH_HEX];
    DG_TRY(dg_h5_put_attr(group, "cases", DG_I64, 0, NULL, &count, role));
    for (int64_t i = 0; i < count; i++) {
        structures += row[i].info.structure_count;
        constraints += row[i].info.constraint_count;
    }
    for (int i = 0; count > 0 && i < COLUMNS; i++) DG_TRY(write_column(group, &columns[i], row, count, role));
    DG_TRY(write_tables(group, row, count, structures, constraints, role));
    return dg_h5_seal(group, role, sha256);
}

dg_status dg_index_write(hid_t file, const dg_index_row *row, int64_t count, const char *role)
{
    hid_t group;
    DG_TRY(dg_h5_group(file, "index", role, &group));
    dg_status status = write_group(group, row, count, role);
    dg_h5_close(group);
    return status;
}

static dg_status adopt_counts(dg_index_row *row, int64_t count, int64_t *structures, int64_t *constraints,
                              const char *role)
{
    *structures = *constraints = 0;
    for (int64_t i = 0; i < count; i++) {
        if (row[i].structure_count < 0 || row[i].structure_count > DG_STRUCTURES_MAX || row[i].constraint_count < 0 ||
            row[i].constraint_count > DG_CONSTRAINTS_MAX)
            return DG_FAIL(DG_ERR_FORMAT, "%s: row %lld has an impossible number of structures", role, (long long)i);
        row[i].info.structure_count = (int)row[i].structure_count;
        row[i].info.constraint_count = (int)row[i].constraint_count;
        row[i].info.has_dose = row[i].has_dose != 0;
        *structures += row[i].structure_count;
        *constraints += row[i].constraint_count;
    }
    return DG_OK;
}

static dg_status read_group(hid_t group, dg_index_row **row, int64_t *count, const char *role)
{
    enum { CASES_MAX = 10000000 };
    int64_t structures, constraints;
    char sha256[DG_HASH_HEX];
    DG_TRY(dg_h5_check_seal(group, role, sha256));
    DG_TRY(dg_h5_get_attr(group, "cases", DG_I64, 1, count, role));
    if (*count < 0 || *count > CASES_MAX)
        return DG_FAIL(DG_ERR_FORMAT, "%s: %lld cases are impossible", role, (long long)*count);
    DG_TRY(DG_NEW(row, *count, "index"));
    for (int i = 0; *count > 0 && i < COLUMNS; i++) DG_TRY(read_column(group, &columns[i], *row, *count, role));
    DG_TRY(adopt_counts(*row, *count, &structures, &constraints, role));
    DG_TRY(read_tables(group, *row, *count, structures, constraints, role));
    for (int64_t i = 0; i < *count; i++)
        if (strcmp((*row)[i].status, "ok") == 0) DG_TRY(dg_case_info_check(&(*row)[i].info));
    return DG_OK;
}

dg_status dg_index_read(hid_t file, dg_index_row **row, int64_t *count, const char *role)
{
    *row = NULL;
    *count = 0;
    hid_t group = H5Gopen2(file, "index", H5P_DEFAULT);
    if (group < 0) return DG_H5_FAIL(DG_ERR_FORMAT, "%s: group index is missing or damaged", role);
    dg_status status = read_group(group, row, count, role);
    dg_h5_close(group);
    if (status != DG_OK) dg_free(row);
    return status;
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const dg_index_row *)a)->info.id, ((const dg_index_row *)b)->info.id);
}

static dg_status add_file(const char *folder, const char *name, dg_index_row **row, int64_t *count, int64_t *capacity)
{
    char path[DG_PATH_MAX];
    struct stat about;
    size_t length = strlen(name);
    if (length < 4 || length - 3 >= DG_CASE_ID || strcmp(name + length - 3, ".h5") != 0 || name[0] == '.') return DG_OK;
    DG_TRY(dg_path_join(path, folder, name));
    if (stat(path, &about) != 0) return DG_OK; /* gone since the folder was listed */
    if (*count == *capacity) {
        DG_TRY(dg_grow(row, (size_t)*capacity, (size_t)(*capacity * 2 + 16), sizeof **row, "index"));
        *capacity = *capacity * 2 + 16;
    }
    dg_index_row *next = &(*row)[(*count)++];
    snprintf(next->info.id, sizeof next->info.id, "%.*s", (int)(length - 3), name);
    next->file_bytes = (int64_t)about.st_size;
    return DG_OK;
}

dg_status dg_index_list(const char *folder, dg_index_row **row, int64_t *count)
{
    char cases[DG_PATH_MAX];
    int64_t capacity = 0;
    *row = NULL;
    *count = 0;
    DG_TRY(dg_path_join(cases, folder, "cases"));
    DIR *listing = opendir(cases);
    if (listing == NULL) {
        char reason[128];
        return DG_FAIL(DG_ERR_IO, "the cohort has no folder of cases: %s; import or synth makes one",
                       strerror_r(errno, reason, sizeof reason));
    }
    dg_status status = DG_OK;
    const struct dirent *entry;
    while (status == DG_OK && (entry = readdir(listing)) != NULL)
        status = add_file(cases, entry->d_name, row, count, &capacity);
    closedir(listing);
    if (status != DG_OK) {
        dg_free(row);
        return status;
    }
    if (*count > 0) qsort(*row, (size_t)*count, sizeof **row, by_id);
    return DG_OK;
}

static dg_status scan_case(const char *folder, dg_index_row *row)
{
    char path[DG_PATH_MAX], role[DG_ROLE_TEXT], id[DG_CASE_ID], name[DG_CASE_ID + 16];
    hid_t file, group;
    snprintf(id, sizeof id, "%s", row->info.id);
    dg_case_role(role, id);
    snprintf(name, sizeof name, "cases/%s.h5", id);
    DG_TRY(dg_path_join(path, folder, name));
    DG_TRY(dg_case_open_group(path, "/", role, &file, &group));
    dg_status status = dg_case_info_read(group, &row->info, role);
    dg_h5_close(group);
    dg_h5_close(file);
    if (status == DG_OK && strcmp(row->info.id, id) != 0)
        status = DG_FAIL(DG_ERR_FORMAT, "%s: the file holds case %s; give it its own name back", role, row->info.id);
    if (status != DG_OK) {
        memset(&row->info, 0, sizeof row->info);
        memcpy(row->info.id, id, sizeof id);
        return status;
    }
    row->has_dose = row->info.has_dose;
    row->structure_count = row->info.structure_count;
    row->constraint_count = row->info.constraint_count;
    return DG_OK;
}

void dg_index_note_bad(char *bad, size_t capacity, const char *reason)
{
    if (bad == NULL || capacity == 0) return;
    size_t used = strlen(bad);
    snprintf(bad + used, capacity - used, "%s%s", used > 0 ? "; " : "", reason);
}

dg_status dg_index_scan(const char *folder, dg_index_row **row, int64_t *count, char *bad, size_t bad_capacity)
{
    if (bad != NULL && bad_capacity > 0) bad[0] = '\0';
    DG_TRY(dg_index_list(folder, row, count));
    for (int64_t i = 0; i < *count; i++) {
        dg_index_row *r = &(*row)[i];
        dg_status status = scan_case(folder, r);
        if (status == DG_ERR_MEMORY) {
            dg_free(row);
            return status;
        }
        snprintf(r->status, sizeof r->status, "%s", status == DG_OK ? "ok" : "damaged");
        if (status != DG_OK) dg_index_note_bad(bad, bad_capacity, dg_error_last()->text);
    }
    dg_error_clear();
    return DG_OK;
}
