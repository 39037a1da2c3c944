/* heartbeat_file.c - the file of a host: one line for it, one for each of its ranks, renamed into place so that a reader
 * sees a whole one. Not synced: it is worth nothing after a crash of the machine. SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "heartbeat_impl.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "dosegrid-heartbeat"
enum { VERSION = 1, FILE_LIMIT = 16 << 20, ROWS_MAX = 1 << 16, NAME_TEXT = 160 };

/* Ranks that share no table write a file each. */
static void file_name(const dg_heartbeat *h, char name[NAME_TEXT])
{
    if (h->owns_table && h->size > 1)
        snprintf(name, NAME_TEXT, "heartbeat-%s-%d", h->host, h->rank);
    else
        snprintf(name, NAME_TEXT, "heartbeat-%s", h->host);
}

static const char *or_dash(const char *text) { return text[0] == '\0' ? "-" : text; }

static void print_rows(const dg_heartbeat *h, const char *home, FILE *stream)
{
    fprintf(stream, "%s %d host %s ranks %d of %d id %s folder %s\n", MAGIC, VERSION, h->host, h->rows, h->size, h->id,
            home[0] == '\0' ? "-" : home);
    for (int i = 0; i < h->rows; i++) {
        dg_pulse p;
        dg_pulse_take(h, &h->table->row[i], &p);
        if (p.pid == 0) continue;
        fprintf(stream,
                "rank %d pid %d phase %d step %lld tasks %lld marks %lld operations %lld ages %.3f %.3f %.3f %.3f wait "
                "\"%s\" "
                "task \"%s\"\n",
                p.rank, p.pid, (int)p.phase, (long long)p.step, (long long)p.tasks, (long long)p.marks,
                (long long)p.operations, p.phase_age_s, p.mark_age_s, p.beat_age_s, p.wait_age_s, or_dash(p.wait),
                or_dash(p.task));
    }
}

void dg_heartbeat_write(dg_heartbeat *h, const char *folder)
{
    char name[NAME_TEXT], path[DG_PATH_MAX], temporary[DG_PATH_MAX], home[DG_PATH_MAX];
    file_name(h, name);
    if (dg_path_join(path, folder, name) != DG_OK) return;
    if (snprintf(temporary, sizeof temporary, "%.3900s/.%s.%d.tmp", folder, name, (int)gettid()) >=
        (int)sizeof temporary)
        return;
    FILE *stream = fopen(temporary, "we");
    if (stream == NULL) return;
    dg_heartbeat_get_folder(h, home);
    print_rows(h, home, stream);
    bool failed = ferror(stream) != 0;
    failed |= fclose(stream) != 0;
    if (failed || rename(temporary, path) != 0) unlink(temporary);
}

void dg_heartbeat_remove(dg_heartbeat *h)
{
    char name[NAME_TEXT], path[DG_PATH_MAX], folder[DG_PATH_MAX];
    file_name(h, name);
    dg_heartbeat_get_folder(h, folder);
    if (folder[0] != '\0' && dg_path_join(path, folder, name) == DG_OK) unlink(path);
    if (h->extra[0] != '\0') dg_heartbeat_write(h, h->extra); /* how far it came */
}

static bool read_row(const char *line, dg_pulse *p)
{
    int phase = 0;
    long long step = -1, tasks = 0, marks = 0, operations = 0;
    int got = sscanf(line,
                     "rank %d pid %d phase %d step %lld tasks %lld marks %lld operations %lld ages %lf %lf %lf %lf "
                     "wait \"%31[^\"\n]\" task \"%47[^\"\n]\"",
                     &p->rank, &p->pid, &phase, &step, &tasks, &marks, &operations, &p->phase_age_s, &p->mark_age_s,
                     &p->beat_age_s, &p->wait_age_s, p->wait, p->task);
    p->phase = (dg_phase)phase;
    p->step = step;
    p->tasks = tasks;
    p->marks = marks;
    p->operations = operations;
    if (strcmp(p->wait, "-") == 0) p->wait[0] = '\0';
    if (strcmp(p->task, "-") == 0) p->task[0] = '\0';
    return got == 13;
}

/* Adds the rows of one file, `age_s` old, if it is of start `id` (NULL: of any). */
static dg_status read_file(const char *path, const char *id, double age_s, dg_pulse **pulses, int *count)
{
    char *text, *line, *rest, host[64] = "", found[ID_TEXT] = "";
    int64_t length;
    int version = 0;
    if (dg_file_read(path, "heartbeat", FILE_LIMIT, &text, &length) != DG_OK) return DG_OK; /* gone meanwhile */
    rest = text;
    line = strsep(&rest, "\n");
    dg_status status = DG_OK;
    bool known = sscanf(line, MAGIC " %d host %63s ranks %*d of %*d id %47s", &version, host, found) == 3 &&
                 version == VERSION && (id == NULL || strcmp(id, found) == 0);
    while (known && status == DG_OK && *count < ROWS_MAX && (line = strsep(&rest, "\n")) != NULL) {
        dg_pulse p = {.rank = -1};
        if (!read_row(line, &p)) continue;
        memcpy(p.host, host, sizeof p.host);
        p.phase_age_s += age_s;
        p.mark_age_s += age_s;
        p.beat_age_s += age_s;
        if (p.wait_age_s >= 0) p.wait_age_s += age_s;
        status = dg_grow(pulses, (size_t)*count, (size_t)*count + 1, sizeof **pulses, "heartbeats");
        if (status == DG_OK) (*pulses)[(*count)++] = p;
    }
    dg_free(&text);
    return status;
}

static int by_rank(const void *a, const void *b)
{
    const dg_pulse *p = a, *q = b;
    return (p->rank > q->rank) - (p->rank < q->rank);
}

static double seconds_of(const struct timespec *t) { return (double)t->tv_sec + 1e-9 * (double)t->tv_nsec; }

/* Ages are told by one clock: that of the file system, by which `now_s` was read. `skip`: a file that is left out. */
static dg_status read_folder(const char *folder, const char *id, double now_s, const char *skip, dg_pulse **pulses,
                             int *count)
{
    DIR *stream = opendir(folder);
    if (stream == NULL) return DG_OK;
    dg_status status = DG_OK;
    for (struct dirent *item = readdir(stream); item != NULL && status == DG_OK; item = readdir(stream)) {
        char path[DG_PATH_MAX];
        struct stat info;
        if (strncmp(item->d_name, "heartbeat-", 10) != 0 || strcmp(item->d_name, skip) == 0) continue;
        if (fstatat(dirfd(stream), item->d_name, &info, 0) != 0) continue;
        status = dg_path_join(path, folder, item->d_name);
        double age = now_s - seconds_of(&info.st_mtim);
        if (status == DG_OK) status = read_file(path, id, age > 0 ? age : 0, pulses, count);
    }
    closedir(stream);
    if (*count > 1) qsort(*pulses, (size_t)*count, sizeof **pulses, by_rank);
    return status;
}

dg_status dg_heartbeat_read(const char *folder, dg_pulse **pulses, int *count)
{
    struct timespec now;
    *pulses = NULL;
    *count = 0;
    clock_gettime(CLOCK_REALTIME, &now);
    dg_status status = read_folder(folder, NULL, seconds_of(&now), "", pulses, count);
    if (status != DG_OK) dg_free(pulses);
    return status;
}

void dg_heartbeat_forget_others(dg_heartbeat *h, const char *folder)
{
    DIR *stream = opendir(folder);
    if (stream == NULL) return;
    for (struct dirent *item = readdir(stream); item != NULL; item = readdir(stream)) {
        char path[DG_PATH_MAX], mine[ID_TEXT + 16], *text;
        int64_t length;
        if (strncmp(item->d_name, "heartbeat-", 10) != 0 || dg_path_join(path, folder, item->d_name) != DG_OK) continue;
        if (dg_file_read(path, "heartbeat", FILE_LIMIT, &text, &length) != DG_OK) continue;
        snprintf(mine, sizeof mine, " id %s ", h->id);
        text[strcspn(text, "\n")] = '\0';
        if (strstr(text, mine) == NULL) unlink(path);
        dg_free(&text);
    }
    closedir(stream);
    dg_error_clear();
}

void dg_heartbeat_home(const char *folder, char *home, size_t capacity)
{
    home[0] = '\0';
    DIR *stream = opendir(folder);
    if (stream == NULL) return;
    for (struct dirent *item = readdir(stream); item != NULL && home[0] == '\0'; item = readdir(stream)) {
        char path[DG_PATH_MAX], *text;
        int64_t length;
        if (strncmp(item->d_name, "heartbeat-", 10) != 0 || dg_path_join(path, folder, item->d_name) != DG_OK) continue;
        if (dg_file_read(path, "heartbeat", FILE_LIMIT, &text, &length) != DG_OK) continue;
        text[strcspn(text, "\n")] = '\0';
        const char *at = strncmp(text, MAGIC, strlen(MAGIC)) == 0 ? strstr(text, " folder ") : NULL;
        if (at != NULL && strcmp(at + 8, "-") != 0) snprintf(home, capacity, "%s", at + 8);
        dg_free(&text);
    }
    closedir(stream);
    dg_error_clear();
}

dg_status dg_heartbeat_see(dg_heartbeat *h, dg_pulse **pulses, int *count)
{
    char folder[DG_PATH_MAX], name[NAME_TEXT], path[DG_PATH_MAX];
    struct stat info;
    *pulses = NULL;
    *count = 0;
    dg_heartbeat_get_folder(h, folder);
    file_name(h, name);
    dg_status status = DG_OK;
    if (folder[0] != '\0' && h->rows < h->size && dg_path_join(path, folder, name) == DG_OK) {
        dg_heartbeat_write(h, folder); /* whose time is the file system's now */
        if (stat(path, &info) == 0) status = read_folder(folder, h->id, seconds_of(&info.st_mtim), name, pulses, count);
    }
    for (int i = 0; i < h->rows && status == DG_OK; i++) {
        if (atomic_load(&h->table->row[i].pid) == 0) continue;
        status = dg_grow(pulses, (size_t)*count, (size_t)*count + 1, sizeof **pulses, "heartbeats");
        if (status == DG_OK) dg_pulse_take(h, &h->table->row[i], &(*pulses)[(*count)++]);
    }
    if (status != DG_OK) dg_free(pulses);
    return status;
}
