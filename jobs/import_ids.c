/* import_ids.c - see import_ids.h. SPDX-License-Identifier: Apache-2.0 */
#include "import_ids.h"

#include "dg_mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TABLE_BYTES = 1 << 26, SUFFIX_ROOM = 6 };

typedef struct id_row {
    const char *patient, *id; /* in the table's text */
} id_row;

struct import_id_table {
    char *text; /* fields end in NUL */
    id_row *row;
    int64_t count;
};

static char *trimmed(char *text)
{
    size_t length;
    while (*text == ' ' || *text == '\t') text++;
    length = strlen(text);
    while (length > 0 && strchr(" \t\r", text[length - 1]) != NULL) text[--length] = '\0';
    if (length < 2 || text[0] != '"' || text[length - 1] != '"') return text;
    text[length - 1] = '\0';
    return text + 1;
}

static bool is_id(const char *id)
{
    const size_t length = strlen(id);
    return length > 0 && length + SUFFIX_ROOM < DG_CASE_ID && id[0] != '.' &&
           strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == length;
}

/* The last comma parts the fields: an id has none. */
static dg_status take_line(import_id_table *t, char *line, const char *path, long long number)
{
    char *text = trimmed(line), *comma = strrchr(text, ',');
    if (text[0] == '\0' || text[0] == '#') return DG_OK;
    if (comma == NULL) return DG_FAIL(DG_ERR_USAGE, "%s:%lld: a line is PATIENT_ID,CASE_ID", path, number);
    *comma = '\0';
    t->row[t->count].patient = trimmed(text);
    t->row[t->count].id = trimmed(comma + 1);
    if (!is_id(t->row[t->count].id))
        return DG_FAIL(DG_ERR_USAGE,
                       "%s:%lld: a case id has 1 to %d letters, digits, '.', '_', '-', and begins with no '.'", path,
                       number, DG_CASE_ID - SUFFIX_ROOM - 1);
    t->count++;
    return DG_OK;
}

static int by_patient(const void *a, const void *b)
{
    return strcmp(((const id_row *)a)->patient, ((const id_row *)b)->patient);
}

static dg_status parse(import_id_table *t, const char *path)
{
    int64_t lines = 1;
    for (const char *c = t->text; *c != '\0'; c++) lines += *c == '\n';
    DG_TRY(DG_NEW(&t->row, lines, "case ids"));
    char *line = t->text;
    for (long long number = 1; line != NULL; number++) {
        char *end = strchr(line, '\n');
        if (end != NULL) *end = '\0';
        DG_TRY(take_line(t, line, path, number));
        line = end == NULL ? NULL : end + 1;
    }
    qsort(t->row, (size_t)t->count, sizeof *t->row, by_patient);
    for (int64_t i = 1; i < t->count; i++)
        if (by_patient(&t->row[i - 1], &t->row[i]) == 0)
            return DG_FAIL(DG_ERR_USAGE, "%s: two lines name the same patient, for the cases %s and %s", path,
                           t->row[i - 1].id, t->row[i].id);
    return DG_OK;
}

dg_status import_ids_read(const char *path, import_id_table **out)
{
    int64_t length;
    *out = NULL;
    import_id_table *t;
    DG_TRY(DG_NEW(&t, 1, "case ids"));
    dg_status status = dg_file_read(path, "table of case ids", TABLE_BYTES, &t->text, &length);
    if (status == DG_ERR_IO || status == DG_ERR_FORMAT) status = dg_error_context(DG_ERR_USAGE, "--case-id table");
    if (status == DG_OK) status = parse(t, path);
    if (status == DG_OK)
        *out = t;
    else
        import_ids_destroy(&t);
    return status;
}

void import_ids_destroy(import_id_table **table)
{
    if (*table == NULL) return;
    dg_free(&(*table)->text);
    dg_free(&(*table)->row);
    dg_free(table);
}

static const char *look_up(const import_id_table *t, const char *patient)
{
    const id_row wanted = {.patient = patient};
    const id_row *row = t->count == 0 ? NULL : bsearch(&wanted, t->row, (size_t)t->count, sizeof *t->row, by_patient);
    return row == NULL ? NULL : row->id;
}

static bool is_taken(const import_found *found, const char *id)
{
    for (int64_t i = 0; i < found->count; i++)
        if (strcmp(found->item[i].id, id) == 0) return true;
    return false;
}

dg_status import_ids_name(const import_id_table *table, const dg_dicom_case *candidate, const import_found *found,
                          import_item *item)
{
    snprintf(item->group, sizeof item->group, "%.32s", candidate->patient_key);
    if (table == NULL) {
        snprintf(item->id, sizeof item->id, "%.16s", candidate->key);
        return DG_OK;
    }
    const char *id = candidate->patient_id == NULL ? NULL : look_up(table, candidate->patient_id);
    if (id == NULL && candidate->folder != NULL) id = look_up(table, candidate->folder);
    if (id == NULL)
        return DG_FAIL(
            DG_ERR_USAGE,
            "import: the table of --case-id has no line for the patient of case number %lld; add one, or leave the "
            "table out and cases are named by hashes",
            (long long)found->count + 1);
    snprintf(item->id, sizeof item->id, "%s", id);
    for (int number = 2; is_taken(found, item->id); number++) snprintf(item->id, sizeof item->id, "%s-%d", id, number);
    return DG_OK;
}
