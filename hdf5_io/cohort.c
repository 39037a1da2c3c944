/* cohort.c - opening a cohort of either form, and what all kinds of cohort do alike.
 * SPDX-License-Identifier: Apache-2.0 */
#include "case_impl.h"

#include "dg_dicom.h"
#include "dg_mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char index_role[] = "cohort index";

/* ---- opening ---- */

static dg_status adopt_rows(dg_cohort *cohort, const dg_index_row *row, int64_t count)
{
    DG_TRY(DG_NEW(&cohort->info, count, "cohort"));
    for (int64_t i = 0; i < count; i++) {
        if (strcmp(row[i].status, "ok") != 0) continue;
        if (cohort->count > 0 && strcmp(cohort->info[cohort->count - 1].id, row[i].info.id) >= 0)
            return DG_FAIL(DG_ERR_FORMAT, "%s: case %s stands out of order or twice", index_role, row[i].info.id);
        cohort->info[cohort->count++] = row[i].info;
    }
    return DG_OK;
}

static dg_status read_index(const char *path, bool packed, dg_index_row **row, int64_t *count)
{
    hid_t file;
    int64_t version;
    char layout[16];
    *row = NULL;
    *count = 0;
    DG_TRY(dg_h5_open(path, index_role, &file));
    dg_status status = dg_h5_check_format(file, "dosegrid-cohort", DG_COHORT_VERSION, index_role, &version);
    if (status == DG_OK) status = dg_h5_get_attr_text(file, "layout", layout, sizeof layout, index_role);
    if (status == DG_OK && strcmp(layout, packed ? "packed" : "folder") != 0)
        status =
            DG_FAIL(DG_ERR_FORMAT, "%s: the file is the index of a folder; open the folder it lies in", index_role);
    if (status == DG_OK) status = dg_index_read(file, row, count, index_role);
    dg_h5_close(file);
    return status;
}

static bool same_files(const dg_index_row *a, int64_t a_count, const dg_index_row *b, int64_t b_count)
{
    if (a_count != b_count) return false;
    for (int64_t i = 0; i < a_count; i++)
        if (strcmp(a[i].info.id, b[i].info.id) != 0 || a[i].file_bytes != b[i].file_bytes) return false;
    return true;
}

/* The index as it stands; *row is NULL when it is lost or damaged. *fresh: it describes the files that are there. */
static dg_status stored_index(const char *folder, dg_index_row **row, int64_t *count, bool *fresh)
{
    char path[DG_PATH_MAX];
    dg_index_row *files;
    int64_t file_count;
    *row = NULL;
    *count = 0;
    *fresh = false;
    DG_TRY(dg_path_join(path, folder, "cohort.h5"));
    DG_TRY(dg_index_list(folder, &files, &file_count));
    dg_status status = read_index(path, false, row, count);
    if (status == DG_OK) *fresh = same_files(*row, *count, files, file_count);
    dg_free(&files);
    /* an index of a newer program is no reason to guess; anything else is derived and can be made again */
    if (status == DG_ERR_MEMORY || (status != DG_OK && strstr(dg_error_last()->text, "newer dosegrid") != NULL))
        return status;
    if (status != DG_OK) dg_error_clear();
    return DG_OK;
}

/* A damaged case that the last index knew keeps its place: opening it tells what is wrong, and the others can be used.
 * Returns how many damaged cases nothing is known of. */
static int64_t keep_known(dg_index_row *row, int64_t count, const dg_index_row *old, int64_t old_count)
{
    int64_t unknown = 0;
    for (int64_t i = 0, k = 0; i < count; i++) {
        if (strcmp(row[i].status, "ok") == 0) continue;
        while (k < old_count && strcmp(old[k].info.id, row[i].info.id) < 0) k++;
        if (k < old_count && strcmp(old[k].info.id, row[i].info.id) == 0 && strcmp(old[k].status, "ok") == 0)
            row[i] = old[k];
        else
            unknown++;
    }
    return unknown;
}

/* A case that the last index knew and whose file is gone keeps its place as well: opening it tells that it is missing,
 * where a shorter cohort would tell nothing. Both lists are sorted by id; so is the result. */
static dg_status keep_missing(dg_index_row **row, int64_t *count, const dg_index_row *old, int64_t old_count)
{
    dg_index_row *all;
    int64_t i = 0, n = 0;
    DG_TRY(DG_NEW(&all, *count + old_count, "index"));
    for (int64_t k = 0; k < old_count; k++) {
        while (i < *count && strcmp((*row)[i].info.id, old[k].info.id) < 0) all[n++] = (*row)[i++];
        const bool there = i < *count && strcmp((*row)[i].info.id, old[k].info.id) == 0;
        if (!there && strcmp(old[k].status, "ok") == 0) all[n++] = old[k];
    }
    while (i < *count) all[n++] = (*row)[i++];
    dg_free(row);
    *row = all;
    *count = n;
    return DG_OK;
}

static dg_status open_folder(dg_cohort *cohort)
{
    dg_index_row *row, *old;
    int64_t count, old_count;
    bool fresh;
    char bad[512];
    DG_TRY(stored_index(cohort->path, &old, &old_count, &fresh));
    dg_status status =
        fresh ? adopt_rows(cohort, old, old_count) : dg_index_scan(cohort->path, &row, &count, bad, sizeof bad);
    if (!fresh && status == DG_OK) {
        if (keep_known(row, count, old, old_count) == 0) {
            status = keep_missing(&row, &count, old, old_count);
            if (status == DG_OK) status = adopt_rows(cohort, row, count);
        } else
            status = DG_FAIL(DG_ERR_FORMAT,
                             "the cohort's index is lost or stale, and cases are damaged: %s. "
                             "Import these cases again, or remove their files",
                             bad);
        dg_free(&row);
    }
    dg_free(&old);
    return status;
}

static dg_status open_packed(dg_cohort *cohort)
{
    dg_index_row *row;
    int64_t count;
    DG_TRY(read_index(cohort->path, true, &row, &count));
    dg_status status = adopt_rows(cohort, row, count);
    dg_free(&row);
    return status;
}

/* COHORT/cohort.h5 means the folder COHORT. */
static dg_status resolve(dg_cohort *cohort, const char *path)
{
    struct stat about;
    DG_TRY(dg_path_join(cohort->path, "", path));
    if (stat(path, &about) != 0) {
        char reason[128];
        return DG_FAIL(DG_ERR_IO, "cohort %s cannot be opened: %s", path, strerror_r(errno, reason, sizeof reason));
    }
    cohort->packed = !S_ISDIR(about.st_mode);
    char *slash = strrchr(cohort->path, '/');
    const char *name = slash == NULL ? cohort->path : slash + 1;
    if (!cohort->packed || strcmp(name, "cohort.h5") != 0) return DG_OK;
    char folder[DG_PATH_MAX], cases[DG_PATH_MAX];
    snprintf(folder, sizeof folder, "%.*s", (int)(name - cohort->path), cohort->path);
    if (folder[0] == '\0') snprintf(folder, sizeof folder, ".");
    DG_TRY(dg_path_join(cases, folder, "cases"));
    if (stat(cases, &about) != 0 || !S_ISDIR(about.st_mode)) return DG_OK;
    memcpy(cohort->path, folder, sizeof folder);
    cohort->packed = false;
    return DG_OK;
}

dg_status dg_cohort_open(const char *path, dg_cohort **out)
{
    dg_status status;
    DG_TRY(DG_NEW(out, 1, "cohort"));
    (*out)->ops = &dg_case_file_ops;
    DG_TRY_GOTO(status, dg_chunk_cache_create(DG_CHUNK_CACHE_BYTES, &(*out)->cache), fail);
    DG_TRY_GOTO(status, resolve(*out, path), fail);
    dg_h5_lock();
    status = (*out)->packed ? open_packed(*out) : open_folder(*out);
    dg_h5_unlock();
    if (status == DG_OK) return DG_OK;
fail:
    dg_cohort_close(out);
    return status;
}

void dg_cohort_close(dg_cohort **cohort)
{
    if (*cohort != NULL) {
        dg_chunk_cache_destroy(&(*cohort)->cache);
        dg_free(&(*cohort)->info);
    }
    dg_free(cohort);
}

int64_t dg_cohort_count(const dg_cohort *cohort) { return cohort->count; }

const dg_case_info *dg_cohort_case(const dg_cohort *cohort, int64_t index)
{
    return index < 0 || index >= cohort->count ? NULL : &cohort->info[index];
}

static int id_against(const void *id, const void *info) { return strcmp(id, ((const dg_case_info *)info)->id); }

int64_t dg_cohort_find(const dg_cohort *cohort, const char *id)
{
    if (cohort->count == 0) return -1;
    const dg_case_info *found = bsearch(id, cohort->info, (size_t)cohort->count, sizeof *cohort->info, id_against);
    return found == NULL ? -1 : found - cohort->info;
}

dg_status dg_cohort_content_hash(const dg_cohort *cohort, char hex[DG_HASH_HEX])
{
    dg_hash *hash;
    dg_status status = DG_OK;
    DG_TRY(dg_hash_create(&hash));
    for (int64_t i = 0; i < cohort->count; i++) {
        DG_TRY_GOTO(status, dg_hash_add_string(hash, cohort->info[i].id), cleanup);
        DG_TRY_GOTO(status, dg_hash_add_string(hash, cohort->info[i].content_sha256), cleanup);
    }
    DG_TRY_GOTO(status, dg_hash_finish(hash, hex), cleanup);
cleanup:
    dg_hash_destroy(&hash);
    return status;
}

dg_status dg_case_place(const dg_cohort *cohort, int64_t index, char path[DG_PATH_MAX], char group[DG_CASE_ID + 16])
{
    const char *id = cohort->info[index].id;
    char name[DG_CASE_ID + 16];
    if (cohort->packed) {
        snprintf(group, DG_CASE_ID + 16, "cases/%s", id);
        return dg_path_join(path, "", cohort->path);
    }
    snprintf(group, DG_CASE_ID + 16, "/");
    snprintf(name, sizeof name, "cases/%s.h5", id);
    return dg_path_join(path, cohort->path, name);
}

/* ---- writing the index ---- */

static dg_status link_cases(hid_t file, const dg_index_row *row, int64_t count)
{
    hid_t group;
    DG_TRY(dg_h5_group(file, "cases", index_role, &group));
    dg_status status = DG_OK;
    for (int64_t i = 0; status == DG_OK && i < count; i++) {
        char target[DG_CASE_ID + 16];
        if (strcmp(row[i].status, "ok") != 0) continue;
        snprintf(target, sizeof target, "cases/%s.h5", row[i].info.id);
        if (H5Lcreate_external(target, "/", group, row[i].info.id, H5P_DEFAULT, H5P_DEFAULT) < 0)
            status = DG_H5_FAIL(DG_ERR_IO, "%s: cannot link case %s", index_role, row[i].info.id);
    }
    dg_h5_close(group);
    return status;
}

static dg_status write_index(const char *path, const dg_index_row *row, int64_t count)
{
    const int64_t version = DG_COHORT_VERSION;
    dg_h5_image image;
    dg_status status;
    DG_TRY(dg_h5_image_create(index_role, &image));
    DG_TRY_GOTO(status, dg_h5_put_attr_text(image.file, "format", "dosegrid-cohort", index_role), fail);
    DG_TRY_GOTO(status, dg_h5_put_attr(image.file, "version", DG_I64, 0, NULL, &version, index_role), fail);
    DG_TRY_GOTO(status, dg_h5_put_attr_text(image.file, "layout", "folder", index_role), fail);
    DG_TRY_GOTO(status, dg_index_write(image.file, row, count, index_role), fail);
    DG_TRY_GOTO(status, link_cases(image.file, row, count), fail);
    return dg_h5_image_finish(&image, index_role, path);
fail:
    dg_h5_image_discard(&image);
    return status;
}

/* Cases of the last index that have no file any more; what is left out shall be named. */
static void name_missing(const dg_index_row *row, int64_t count, const dg_index_row *old, int64_t old_count, char *bad,
                         size_t capacity)
{
    for (int64_t i = 0, k = 0; k < old_count; k++) {
        char reason[DG_CASE_ID + 64];
        while (i < count && strcmp(row[i].info.id, old[k].info.id) < 0) i++;
        if (i < count && strcmp(row[i].info.id, old[k].info.id) == 0) continue;
        snprintf(reason, sizeof reason, "case %s: file is missing", old[k].info.id);
        dg_index_note_bad(bad, capacity, reason);
    }
}

dg_status dg_cohort_write_index(const char *cohort_folder, char *bad, size_t bad_capacity)
{
    char path[DG_PATH_MAX];
    dg_index_row *row, *old = NULL;
    int64_t count, old_count;
    bool fresh;
    DG_TRY(dg_path_join(path, cohort_folder, "cohort.h5"));
    dg_h5_lock();
    dg_status status = stored_index(cohort_folder, &old, &old_count, &fresh);
    if (status == DG_OK) status = dg_index_scan(cohort_folder, &row, &count, bad, bad_capacity);
    if (status == DG_OK) {
        name_missing(row, count, old, old_count, bad, bad_capacity);
        status = write_index(path, row, count);
        dg_free(&row);
    }
    dg_free(&old);
    dg_h5_unlock();
    return status;
}

/* ---- cases ---- */

dg_status dg_case_open(const dg_cohort *cohort, int64_t index, dg_case **out)
{
    *out = NULL;
    if (index < 0 || index >= cohort->count)
        return DG_FAIL(DG_ERR_USAGE, "case number %lld of %lld does not exist", (long long)index,
                       (long long)cohort->count);
    DG_TRY(DG_NEW(out, 1, "case"));
    (*out)->ops = cohort->ops;
    (*out)->info = &cohort->info[index];
    dg_status status = cohort->ops->open(cohort, index, *out);
    if (status != DG_OK) dg_free(out);
    return status;
}

void dg_case_close(dg_case **c)
{
    if (*c != NULL) (*c)->ops->close(*c);
    dg_free(c);
}

bool dg_case_has(const dg_case *c, dg_field field) { return c->ops->has(c, field); }

const dg_case_info *dg_case_get_info(const dg_case *c) { return c->info; }

dg_status dg_case_read_plan(dg_case *c, dg_dicom_plan *out)
{
    memset(out, 0, sizeof *out);
    const dg_status status = c->ops->read_plan(c, out);
    if (status != DG_OK) dg_dicom_plan_release(out);
    return status;
}

dg_status dg_case_verify(const dg_cohort *cohort, int64_t index)
{
    if (index < 0 || index >= cohort->count)
        return DG_FAIL(DG_ERR_USAGE, "case number %lld of %lld does not exist", (long long)index,
                       (long long)cohort->count);
    return cohort->ops->verify(cohort, index);
}

/* The part of a box inside the grid; false when there is none. */
static bool clip_box(const dg_grid *grid, const dg_box *box, dg_box *inside, bool *whole)
{
    *whole = true;
    for (int i = 0; i < 3; i++) {
        int64_t first = box->start[i] > 0 ? box->start[i] : 0, last = box->start[i] + box->shape[i];
        if (last > grid->shape[i]) last = grid->shape[i];
        if (first >= last) return *whole = false;
        inside->start[i] = first;
        inside->shape[i] = last - first;
        if (inside->shape[i] != box->shape[i]) *whole = false;
    }
    return true;
}

static dg_status check_box(const dg_case *c, const dg_box *box)
{
    const int64_t limit = (int64_t)1 << 40; /* keeps start + shape far from overflow */
    for (int i = 0; i < 3; i++)
        if (box->shape[i] < 1 || box->shape[i] > limit || box->start[i] < -limit || box->start[i] > limit)
            return DG_FAIL(DG_ERR_USAGE, "case %s: a box of %lld voxels from %lld on axis %d cannot be read",
                           c->info->id, (long long)box->shape[i], (long long)box->start[i], i);
    return DG_OK;
}

static dg_status check_structure(const dg_case *c, int structure)
{
    if (structure < 0 || structure >= c->info->structure_count)
        return DG_FAIL(DG_ERR_USAGE, "case %s: structure %d of %d does not exist", c->info->id, structure,
                       c->info->structure_count);
    return DG_OK;
}

dg_status dg_case_read(dg_case *c, dg_field field, int structure, const dg_box *box, float *out)
{
    static const float outside[] = {[DG_FIELD_CT_HU] = -1000,
                                    [DG_FIELD_DOSE_GY] = 0,
                                    [DG_FIELD_MASK] = 0,
                                    [DG_FIELD_SDF_MM] = (float)DG_SDF_CLIP_MM,
                                    [DG_FIELD_LABEL] = 0};
    dg_box inside;
    bool whole;
    DG_TRY(check_box(c, box));
    if (field == DG_FIELD_MASK || field == DG_FIELD_SDF_MM) DG_TRY(check_structure(c, structure));
    bool any = clip_box(&c->info->grid, box, &inside, &whole);
    if (!whole) {
        int64_t count = dg_box_voxels(box);
        for (int64_t i = 0; i < count; i++) out[i] = outside[field];
    }
    if (!any) return DG_OK;
    const int64_t stride[3] = {box->shape[1] * box->shape[2], box->shape[2], 1};
    int64_t first = 0;
    for (int i = 0; i < 3; i++) first += (inside.start[i] - box->start[i]) * stride[i];
    return c->ops->read(c, field, structure, &inside, stride, out + first);
}

dg_status dg_case_read_mask_bits(dg_case *c, const dg_box *box, uint64_t *out)
{
    dg_box inside;
    bool whole;
    DG_TRY(check_box(c, box));
    bool any = clip_box(&c->info->grid, box, &inside, &whole);
    if (!whole) memset(out, 0, (size_t)dg_box_voxels(box) * sizeof *out);
    if (!any) return DG_OK;
    const int64_t stride[3] = {box->shape[1] * box->shape[2], box->shape[2], 1};
    int64_t first = 0;
    for (int i = 0; i < 3; i++) first += (inside.start[i] - box->start[i]) * stride[i];
    return c->ops->read_mask_bits(c, &inside, stride, out + first);
}
