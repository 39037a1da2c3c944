/* ledger.c - what became of each case, one line each, appended by each rank to its own file.
 *
 * CSV: time_s (since 1970), id, status (done or failed), reason, read_s, compute_s, write_s, content_sha256. A last line
 * without its end was cut by a crash; it counts as not written. SPDX-License-Identifier: Apache-2.0 */
#include "dg_fault.h"
#include "dg_file.h"
#include "dg_mem.h"
#include "dg_predictions.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { FIELDS = 8, LINE_MAX_BYTES = 1024, LEDGER_MAX = 1 << 30 };
static const char header[] = "time_s,id,status,reason,read_s,compute_s,write_s,content_sha256\n";

/* Line ends and quotes inside a reason become blanks and apostrophes: a line of the file stays one line. */
static void clean_reason(const char *reason, char out[256])
{
    snprintf(out, 256, "%.255s", reason);
    for (char *p = out; *p != '\0'; p++) {
        if (*p == '"') *p = '\'';
        if ((unsigned char)*p < ' ') *p = ' ';
    }
}

static dg_status append_text(int descriptor, const char *path, const char *text, size_t length)
{
    ssize_t put = write(descriptor, text, length);
    char reason[128];
    if (put == (ssize_t)length && fdatasync(descriptor) == 0) return DG_OK;
    return DG_FAIL(DG_ERR_IO, "ledger %s cannot be written: %s; free some space, then run again with --resume", path,
                   put >= 0 && put < (ssize_t)length ? "no space left" : strerror_r(errno, reason, sizeof reason));
}

dg_status dg_ledger_append(const char *folder, int rank, const dg_ledger_entry *entry)
{
    char path[DG_PATH_MAX], name[32], reason[256], text[sizeof header + LINE_MAX_BYTES], last = '\n';
    struct timespec now;
    DG_TRY(dg_fault_reach(DG_FAULT_LEDGER, NULL, 0));
    DG_TRY(dg_make_folder(folder));
    snprintf(name, sizeof name, "ledger-%d.csv", rank);
    DG_TRY(dg_path_join(path, folder, name));
    int descriptor = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (descriptor < 0) {
        char why[128];
        return DG_FAIL(DG_ERR_IO, "ledger %s cannot be opened: %s", path, strerror_r(errno, why, sizeof why));
    }
    off_t bytes = lseek(descriptor, 0, SEEK_END);
    if (bytes > 0 && pread(descriptor, &last, 1, bytes - 1) != 1) last = '\n';
    clean_reason(entry->reason, reason);
    clock_gettime(CLOCK_REALTIME, &now);
    int used = snprintf(text, sizeof text, "%s%s%lld.%06ld,%s,%s,\"%s\",%.6f,%.6f,%.6f,%s\n", last == '\n' ? "" : "\n",
                        bytes == 0 ? header : "", (long long)now.tv_sec, now.tv_nsec / 1000, entry->id,
                        entry->done ? "done" : "failed", reason, entry->read_s, entry->compute_s, entry->write_s,
                        entry->content_sha256);
    dg_status status = append_text(descriptor, path, text, (size_t)used);
    close(descriptor);
    return status;
}

/* ---- reading ---- */

typedef struct dated_entry {
    dg_ledger_entry entry;
    double time_s;
    int64_t order; /* within what was read: breaks ties of time */
} dated_entry;

typedef struct dated_list {
    dated_entry *item;
    size_t count, capacity;
} dated_list;

/* Cuts a line into its fields in place; quotes may only stand around the reason. */
static bool cut_fields(char *line, char *field[FIELDS])
{
    for (int i = 0; i < FIELDS; i++) {
        field[i] = line;
        if (i == 3) {
            if (*line != '"') return false;
            field[i] = ++line;
            line = strchr(line, '"');
            if (line == NULL) return false;
            *line++ = '\0';
            if (*line != ',') return false;
            *line++ = '\0';
            continue;
        }
        char *comma = strchr(line, ',');
        if ((comma == NULL) != (i == FIELDS - 1)) return false;
        if (comma == NULL) return true;
        *comma = '\0';
        line = comma + 1;
    }
    return false;
}

static bool number(const char *text, double *value)
{
    char *end;
    *value = strtod(text, &end);
    return end != text && *end == '\0';
}

static bool parse(char *line, dated_entry *out)
{
    char *field[FIELDS];
    memset(out, 0, sizeof *out);
    if (!cut_fields(line, field)) return false;
    dg_ledger_entry *e = &out->entry;
    if (strlen(field[1]) >= sizeof e->id || strlen(field[3]) >= sizeof e->reason || strlen(field[7]) >= DG_HASH_HEX)
        return false;
    snprintf(e->id, sizeof e->id, "%s", field[1]);
    snprintf(e->reason, sizeof e->reason, "%s", field[3]);
    snprintf(e->content_sha256, sizeof e->content_sha256, "%s", field[7]);
    e->done = strcmp(field[2], "done") == 0;
    if (!e->done && strcmp(field[2], "failed") != 0) return false;
    return number(field[0], &out->time_s) && number(field[4], &e->read_s) && number(field[5], &e->compute_s) &&
           number(field[6], &e->write_s);
}

static dg_status add_entry(dated_list *list, const dated_entry *entry)
{
    if (list->count == list->capacity) {
        DG_TRY(dg_grow(&list->item, list->capacity, list->capacity * 2 + 16, sizeof *list->item, "ledger"));
        list->capacity = list->capacity * 2 + 16;
    }
    list->item[list->count] = *entry;
    list->item[list->count].order = (int64_t)list->count;
    list->count++;
    return DG_OK;
}

/* A crash can leave a cut line in the middle too, where a later run went on: it is skipped like one at the end. */
static dg_status read_lines(char *text, dated_list *list)
{
    dated_entry entry;
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = '\0';
        if (strncmp(line, "time_s,", 7) == 0 || !parse(line, &entry)) continue;
        DG_TRY(add_entry(list, &entry));
    }
    return DG_OK;
}

static dg_status read_ledger(const char *folder, const char *name, dated_list *list)
{
    char path[DG_PATH_MAX];
    char *text;
    int64_t length;
    DG_TRY(dg_path_join(path, folder, name));
    DG_TRY(dg_file_read(path, name, LEDGER_MAX, &text, &length));
    dg_status status = read_lines(text, list);
    dg_free(&text);
    return status;
}

static int by_id_then_age(const void *a, const void *b)
{
    const dated_entry *x = a, *y = b;
    int ids = strcmp(x->entry.id, y->entry.id);
    if (ids != 0) return ids;
    if (x->time_s != y->time_s) return x->time_s < y->time_s ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

static dg_status read_folder(const char *folder, dated_list *list)
{
    DIR *listing = opendir(folder);
    const struct dirent *entry;
    dg_status status = DG_OK;
    if (listing == NULL) {
        char reason[128];
        return DG_FAIL(DG_ERR_IO, "%s: the folder of the ledger cannot be opened: %s", folder,
                       strerror_r(errno, reason, sizeof reason));
    }
    while (status == DG_OK && (entry = readdir(listing)) != NULL) {
        size_t length = strlen(entry->d_name);
        if (strncmp(entry->d_name, "ledger-", 7) == 0 && length > 4 && strcmp(entry->d_name + length - 4, ".csv") == 0)
            status = read_ledger(folder, entry->d_name, list);
    }
    closedir(listing);
    return status;
}

dg_status dg_ledger_read(const char *folder, dg_ledger_entry **entries, int64_t *count)
{
    dated_list list = {0};
    dg_status status;
    *entries = NULL;
    *count = 0;
    DG_TRY_GOTO(status, read_folder(folder, &list), cleanup);
    if (list.count > 0) qsort(list.item, list.count, sizeof *list.item, by_id_then_age);
    DG_TRY_GOTO(status, DG_NEW(entries, list.count, "ledger"), cleanup);
    for (size_t i = 0; i < list.count; i++) {
        bool newest = i + 1 == list.count || strcmp(list.item[i].entry.id, list.item[i + 1].entry.id) != 0;
        if (newest) (*entries)[(*count)++] = list.item[i].entry;
    }
cleanup:
    dg_free(&list.item);
    return status;
}
