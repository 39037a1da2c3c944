/* import_list.c - see import_list.h. SPDX-License-Identifier: Apache-2.0 */
#include "import_list.h"

#include "dg_mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The format that `path` is a patient of, or -1; only `wanted` unless that is negative. */
static int format_of(const char *path, int wanted, double *bytes)
{
    for (int f = 0; f < IMPORT_FORMATS; f++) {
        const import_format *format = import_format_at(f);
        const size_t length = strlen(path), ending = format->suffix == NULL ? 0 : strlen(format->suffix);
        if (format->patient_bytes == NULL || (wanted >= 0 && f != wanted)) continue;
        if (length <= ending || (ending > 0 && strcmp(path + length - ending, format->suffix) != 0)) continue;
        *bytes = format->patient_bytes(path);
        if (*bytes >= 0) return f;
    }
    return -1;
}

/* The id of a patient from the name of its folder or file. */
static dg_status id_of(const char *name, int format, char id[DG_CASE_ID])
{
    const char *suffix = import_format_at(format)->suffix;
    const size_t length = strlen(name) - (suffix == NULL ? 0 : strlen(suffix));
    if (length >= DG_CASE_ID)
        return DG_FAIL(DG_ERR_USAGE, "import: the name %.20s... is longer than %d; rename it, it names the case", name,
                       DG_CASE_ID - 1);
    snprintf(id, DG_CASE_ID, "%.*s", (int)length, name);
    return DG_OK;
}

static dg_status add_item(import_found *found, const char *name, const import_item *item)
{
    import_item named = *item;
    DG_TRY(id_of(name, item->format, named.id));
    return import_found_add(found, &named);
}

static dg_status search_folder(const char *folder, int source, int format, import_found *list)
{
    DIR *listing = opendir(folder);
    const struct dirent *entry;
    dg_status status = DG_OK;
    if (listing == NULL) {
        char reason[128];
        const bool is_file = errno == ENOTDIR;
        return DG_FAIL(DG_ERR_USAGE, "import: source %d cannot be opened: %s%s", source + 1,
                       strerror_r(errno, reason, sizeof reason),
                       is_file ? "; a source is a folder: unpack an archive first" : "");
    }
    while (status == DG_OK && (entry = readdir(listing)) != NULL) {
        char path[DG_PATH_MAX];
        import_item found = {.source = source};
        if (entry->d_name[0] == '.') continue;
        status = dg_path_join(path, folder, entry->d_name);
        found.format = status == DG_OK ? format_of(path, format, &found.bytes) : -1;
        if (found.format < 0) continue;
        snprintf(found.below, sizeof found.below, "%s", entry->d_name);
        status = add_item(list, entry->d_name, &found);
    }
    closedir(listing);
    return status;
}

/* The last part of a path, without slashes behind it; "." and the like are resolved first. */
static dg_status own_name(const char *path, char id[DG_PATH_MAX])
{
    char resolved[DG_PATH_MAX];
    if (realpath(path, resolved) == NULL) return DG_FAIL(DG_ERR_IO, "import: a source vanished while it was looked at");
    const char *slash = strrchr(resolved, '/');
    snprintf(id, DG_PATH_MAX, "%s", slash == NULL ? resolved : slash + 1);
    return DG_OK;
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const import_item *)a)->id, ((const import_item *)b)->id);
}

static dg_status keep_words(import_list *list, const dg_words *only)
{
    bool *wanted = NULL;
    int64_t kept = 0;
    DG_TRY(DG_NEW(&wanted, list->count, "wanted cases"));
    dg_status status = DG_OK;
    for (int64_t w = 0; status == DG_OK && w < only->count; w++) {
        import_item named;
        snprintf(named.id, sizeof named.id, "%s", only->value[w]);
        const import_item *found = bsearch(&named, list->item, (size_t)list->count, sizeof *list->item, by_id);
        if (found == NULL || strcmp(found->id, only->value[w]) != 0)
            status = DG_FAIL(DG_ERR_USAGE, "import: no source holds case %s, which --cases names", only->value[w]);
        else
            wanted[found - list->item] = true;
    }
    for (int64_t i = 0; status == DG_OK && i < list->count; i++)
        if (wanted[i]) list->item[kept++] = list->item[i];
    if (status == DG_OK) list->count = kept;
    dg_free(&wanted);
    return status;
}

/* The items are sorted by id. */
static dg_status keep_only(import_list *list, const dg_string_list *only)
{
    dg_words words;
    if (only->count == 0) return DG_OK;
    DG_TRY(dg_words_read(only, "--cases", &words));
    dg_status status = keep_words(list, &words);
    dg_words_release(&words);
    return status;
}

/* Cases of the formats that look for them themselves. */
static dg_status search_tree(const char *path, int source, int format, const import_settings *settings,
                             import_found *list)
{
    const int64_t before = list->count;
    for (int f = 0; f < IMPORT_FORMATS; f++) {
        const import_format *candidate = import_format_at(f);
        if (candidate->find == NULL || (format >= 0 && f != format)) continue;
        DG_TRY(candidate->find(path, settings, list));
        for (int64_t i = before; i < list->count; i++) {
            list->item[i].source = source;
            list->item[i].format = f;
        }
    }
    return DG_OK;
}

static dg_status search_source(const char *path, int source, int format, const import_settings *settings,
                               import_found *list)
{
    const int64_t before = list->count;
    char name[DG_PATH_MAX];
    import_item found = {.source = source};
    found.format = format_of(path, format, &found.bytes);
    if (found.format >= 0) {
        DG_TRY(own_name(path, name));
        return add_item(list, name, &found);
    }
    if (format < 0 || import_format_at(format)->patient_bytes != NULL)
        DG_TRY(search_folder(path, source, format, list));
    return list->count > before ? DG_OK : search_tree(path, source, format, settings, list);
}

static dg_status check_names(const import_list *list)
{
    if (list->count == 0)
        return DG_FAIL(
            DG_ERR_USAGE,
            "import: no patient was found: a source is an OpenKBP folder with ct.csv, an .npz or .tif file, a folder of "
            "such, or a folder with DICOM-RT anywhere in it");
    for (int64_t i = 1; i < list->count; i++) {
        const import_item *a = &list->item[i - 1], *b = &list->item[i];
        if (strcmp(a->id, b->id) == 0 && a->part[0] != '\0')
            return DG_FAIL(DG_ERR_USAGE, "import: the case %s is there twice: name each source once", b->id);
        if (strcmp(a->id, b->id) == 0)
            return DG_FAIL(DG_ERR_USAGE, "import: two patients are called %s; cases need different names", b->id);
    }
    return DG_OK;
}

static dg_status find_patients(import_list *list, int source_count, int format, const import_settings *settings,
                               const dg_string_list *only)
{
    import_found found = {0};
    dg_status status = DG_OK;
    for (int s = 0; s < source_count && status == DG_OK; s++)
        status = search_source(list->source[s], s, format, settings, &found);
    list->item = found.item;
    list->count = found.count;
    if (status != DG_OK) return status;
    if (list->count > 0) qsort(list->item, (size_t)list->count, sizeof *list->item, by_id);
    DG_TRY(check_names(list));
    return keep_only(list, only);
}

dg_status import_list_make(dg_comm *comm, const char *const *source, int source_count, int format,
                           const import_settings *settings, const dg_string_list *only, import_list *out)
{
    memset(out, 0, sizeof *out);
    out->source = source;
    dg_status status = DG_OK;
    if (comm->rank == 0) status = find_patients(out, source_count, format, settings, only);
    DG_TRY_GOTO(status, dg_comm_agree(comm, status), fail);
    DG_TRY_GOTO(status, dg_comm_broadcast(comm, &out->count, sizeof out->count, 0), fail);
    if (comm->rank != 0) status = DG_NEW(&out->item, out->count, "patients");
    DG_TRY_GOTO(status, dg_comm_agree(comm, status), fail);
    DG_TRY_GOTO(status, dg_comm_broadcast(comm, out->item, out->count * (int64_t)sizeof *out->item, 0), fail);
    return DG_OK;
fail:
    import_list_release(out);
    return status;
}

void import_list_release(import_list *list)
{
    dg_free(&list->item);
    list->count = 0;
}

dg_status import_list_path(const import_list *list, const import_item *item, char path[DG_PATH_MAX])
{
    const char *source = list->source[item->source];
    return item->below[0] != '\0' ? dg_path_join(path, source, item->below) : dg_path_join(path, "", source);
}

static dg_status map_path(const char *cohort_folder, char path[DG_PATH_MAX])
{
    static const char suffix[] = ".private_map.csv";
    if (realpath(cohort_folder, path) == NULL) {
        char reason[128];
        return DG_FAIL(DG_ERR_IO, "import: the cohort's folder cannot be resolved: %s",
                       strerror_r(errno, reason, sizeof reason));
    }
    size_t length = strlen(path);
    if (length + sizeof suffix > DG_PATH_MAX)
        return DG_FAIL(DG_ERR_USAGE, "import: the path of the cohort is too long");
    memcpy(path + length, suffix, sizeof suffix);
    return DG_OK;
}

static void print_quoted(FILE *stream, const char *text)
{
    fputc('"', stream);
    for (; *text != '\0'; text++) {
        if (*text == '"') fputc('"', stream);
        fputc(*text, stream);
    }
    fputc('"', stream);
}

dg_status import_list_write_map(const import_list *list, const char *cohort_folder)
{
    char path[DG_PATH_MAX], folder[DG_PATH_MAX], resolved[DG_PATH_MAX];
    DG_TRY(map_path(cohort_folder, path));
    /* the mode is given at creation: the file is never readable by others, not even for a moment */
    int descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    FILE *stream = descriptor < 0 || fchmod(descriptor, 0600) != 0 ? NULL : fdopen(descriptor, "a");
    if (stream == NULL) {
        char reason[128];
        dg_status status = DG_FAIL(DG_ERR_IO, "import: the private map beside the cohort cannot be written: %s",
                                   strerror_r(errno, reason, sizeof reason));
        if (descriptor >= 0) close(descriptor);
        return status;
    }
    dg_status status = DG_OK;
    for (int64_t i = 0; status == DG_OK && i < list->count; i++) {
        status = import_list_path(list, &list->item[i], folder);
        if (status != DG_OK) break;
        fprintf(stream, "%s,", list->item[i].id);
        print_quoted(stream, realpath(folder, resolved) != NULL ? resolved : folder);
        fputc('\n', stream);
    }
    bool written = fflush(stream) == 0 && !ferror(stream) && fsync(descriptor) == 0;
    if (fclose(stream) != 0) written = false;
    if (status == DG_OK && !written)
        status = DG_FAIL(DG_ERR_IO, "import: the private map beside the cohort cannot be written; free some space");
    return status;
}
