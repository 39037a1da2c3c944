/* run_folder.c - see run_folder.h. SPDX-License-Identifier: Apache-2.0 */
#include "run_folder.h"

#include "build_info.h"
#include "dg_cluster.h"
#include "dg_fault.h"
#include "dg_mem.h"
#include "launcher.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { COPY_BYTES = 1 << 20, JSON_LIMIT = 1 << 26 };

static const char *reason(char text[128]) { return strerror_r(errno, text, 128); }

static bool is_step_file(const char *name)
{
    return strncmp(name, "step-", 5) == 0 && strlen(name) > 8 && strcmp(name + strlen(name) - 3, ".h5") == 0;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Names of the step files, oldest first; the caller's. */
static dg_status list_steps(const dg_run_folder *folder, char ***names, int64_t *count)
{
    *names = NULL;
    *count = 0;
    DIR *stream = opendir(folder->checkpoints);
    if (stream == NULL) return DG_OK;
    dg_status status = DG_OK;
    for (struct dirent *item = readdir(stream); item != NULL && status == DG_OK; item = readdir(stream)) {
        if (!is_step_file(item->d_name)) continue;
        status = dg_grow(names, (size_t)*count, (size_t)*count + 1, sizeof **names, "checkpoint names");
        if (status == DG_OK) status = dg_string_copy(item->d_name, &(*names)[*count]);
        if (status == DG_OK) ++*count;
    }
    closedir(stream);
    if (*count > 1) qsort(*names, (size_t)*count, sizeof **names, by_name);
    return status;
}

static void free_names(char ***names, int64_t count)
{
    for (int64_t i = 0; i < count; i++) dg_free(&(*names)[i]);
    dg_free(names);
}

/* What a killed run left behind in the middle of a write. */
static void remove_half_files(const dg_run_folder *folder)
{
    char path[DG_PATH_MAX];
    DIR *stream = opendir(folder->checkpoints);
    for (struct dirent *item; stream != NULL && (item = readdir(stream)) != NULL;) {
        size_t length = strlen(item->d_name);
        if (length > 4 && strcmp(item->d_name + length - 4, ".tmp") == 0 &&
            dg_path_join(path, folder->checkpoints, item->d_name) == DG_OK)
            unlink(path);
    }
    if (stream != NULL) closedir(stream);
}

static dg_status open_as_writer(const char *name, bool resume, dg_run_folder *out)
{
    char figures[DG_PATH_MAX], what[160], **steps = NULL;
    int64_t count = 0;
    DG_TRY(dg_make_folder(out->path));
    snprintf(what, sizeof what, "run '%.140s'", name);
    DG_TRY(dg_lease_take(out->path, what, &out->lease));
    DG_TRY(dg_path_join(figures, out->path, "figures"));
    DG_TRY(dg_make_folder(out->checkpoints));
    DG_TRY(dg_make_folder(out->log));
    DG_TRY(dg_make_folder(figures));
    remove_half_files(out);
    dg_status status = list_steps(out, &steps, &count);
    if (status == DG_OK && count > 0 && !resume) {
        status =
            DG_FAIL(DG_ERR_USAGE,
                    "run '%s' already holds checkpoints (newest %s): add --resume to go on with it, or set run.name",
                    name, steps[count - 1]);
    }
    free_names(&steps, count);
    return status;
}

dg_status dg_run_folder_open(dg_comm *comm, const char *dir, const char *name, bool resume, dg_run_folder *out)
{
    memset(out, 0, sizeof *out);
    dg_status status = dg_path_join(out->path, dir, name);
    if (status == DG_OK) status = dg_path_join(out->checkpoints, out->path, "checkpoints");
    if (status == DG_OK) status = dg_path_join(out->log, out->path, "log");
    if (status == DG_OK && comm->rank == 0) status = open_as_writer(name, resume, out);
    status = dg_comm_agree(comm, status);
    if (status != DG_OK) dg_run_folder_close(out);
    return status;
}

void dg_run_folder_close(dg_run_folder *folder) { dg_lease_release(&folder->lease); }

dg_status dg_run_folder_write(const dg_run_folder *folder, const char *name, json_t *json)
{
    char path[DG_PATH_MAX];
    char *text = json != NULL ? json_dumps(json, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
    json_decref(json);
    if (text == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for %s", name);
    dg_status status = dg_path_join(path, folder->path, name);
    if (status == DG_OK) status = dg_file_write(path, text, (int64_t)strlen(text));
    free(text);
    return status;
}

dg_status dg_run_folder_step_path(const dg_run_folder *folder, int64_t step, char path[DG_PATH_MAX])
{
    char name[64];
    snprintf(name, sizeof name, "step-%08lld.h5", (long long)step);
    return dg_path_join(path, folder->checkpoints, name);
}

static dg_status copy_file(const char *from, const char *to)
{
    char *block = NULL, text[128];
    dg_status status = DG_NEW(&block, COPY_BYTES, "copy of a checkpoint");
    int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    ssize_t got = 0;
    bool good = status == DG_OK && in >= 0 && out >= 0;
    while (good && (got = read(in, block, COPY_BYTES)) > 0) good = write(out, block, (size_t)got) == got;
    if (status == DG_OK && (!good || got < 0)) {
        status = DG_FAIL(DG_ERR_IO, "a checkpoint cannot be copied: %s", reason(text));
    }
    if (in >= 0) close(in);
    if (out >= 0) close(out);
    dg_free(&block);
    return status;
}

dg_status dg_run_folder_link(const dg_run_folder *folder, const char *path, const char *name)
{
    char target[DG_PATH_MAX], temporary[DG_PATH_MAX], part[96];
    snprintf(part, sizeof part, "%s.tmp", name);
    DG_TRY(dg_path_join(target, folder->checkpoints, name));
    DG_TRY(dg_path_join(temporary, folder->checkpoints, part));
    unlink(temporary);
    if (link(path, temporary) != 0) DG_TRY(copy_file(path, temporary));
    DG_TRY(dg_file_commit(temporary, target));
    /* rename does nothing when both names are one file already */
    unlink(temporary);
    return DG_OK;
}

dg_status dg_run_folder_prune(const dg_run_folder *folder, int64_t keep)
{
    char **steps = NULL, path[DG_PATH_MAX], text[128];
    int64_t count = 0;
    dg_status status = list_steps(folder, &steps, &count);
    for (int64_t i = 0; i + keep < count && status == DG_OK; i++) {
        status = dg_fault_reach(DG_FAULT_PRUNE, NULL, 0);
        if (status == DG_OK) status = dg_path_join(path, folder->checkpoints, steps[i]);
        if (status == DG_OK && unlink(path) != 0)
            status = DG_FAIL(DG_ERR_IO, "the old checkpoint %s cannot be removed: %s", steps[i], reason(text));
    }
    free_names(&steps, count);
    return status;
}

dg_status dg_run_folder_count_start(const dg_run_folder *folder, int64_t step, int restart_count, int64_t most)
{
    static const char name[] = "restarts.json";
    char path[DG_PATH_MAX];
    json_int_t before = -1, starts = 0;
    DG_TRY(dg_path_join(path, folder->path, name));
    json_t *old = restart_count > 0 ? json_load_file(path, 0, NULL) : NULL;
    if (json_unpack(old, "{s:I, s:I}", "step", &before, "starts", &starts) != 0 || before != (json_int_t)step)
        starts = 0;
    json_decref(old);
    starts++;
    if (restart_count > 0 && most > 0 && starts > most) {
        return DG_FAIL(DG_ERR_MISMATCH,
                       "the scheduler started the run %lld times at step %lld without any progress: it is not started "
                       "again. The log of the run says what ended it; a start by hand, with --resume, counts anew",
                       (long long)starts, (long long)step);
    }
    return dg_run_folder_write(folder, name, json_pack("{s:I, s:I}", "step", (json_int_t)step, "starts", starts));
}

/* The words this process was started with, as Linux keeps them; null where it does not. */
static json_t *command_json(void)
{
    enum { COMMAND_MAX = 1 << 16 };
    char text[COMMAND_MAX];
    FILE *file = fopen("/proc/self/cmdline", "rb");
    if (file == NULL) return json_null();
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = '\0';
    json_t *words = json_array();
    for (size_t at = 0; at < length; at += strlen(text + at) + 1) {
        json_t *word = json_string(text + at);
        json_array_append_new(words, word == NULL ? json_string("(no UTF-8)") : word);
    }
    return words;
}

json_t *dg_environment_json(const dg_comm *comm)
{
    struct utsname system;
    char library[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    dg_sched *sched = NULL;
    if (uname(&system) != 0) memset(&system, 0, sizeof system);
    if (MPI_Get_library_version(library, &length) != MPI_SUCCESS) library[0] = '\0';
    library[strcspn(library, ",\n")] = '\0';
    json_t *root = dg_sched_open(&sched) == DG_OK ? dg_build_info() : NULL;
    if (root != NULL) {
        json_object_set_new(root, "mpi", json_string(library));
        json_object_set_new(root, "scheduler", json_string(sched->ops->name));
        json_object_set_new(root, "launcher", dg_launcher_json());
    }
    dg_sched_destroy(&sched);
    if (root == NULL) return NULL;
    json_t *here = json_pack("{s:s, s:s, s:I, s:s, s:i, s:i}", "host", comm->host, "kernel", system.release, "cores",
                             (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "communicator", comm->ops->name, "ranks",
                             comm->size, "ranks_on_host", comm->local_size);
    json_object_update(root, here);
    json_decref(here);
    json_object_set_new(root, "command", command_json());
    return root;
}

dg_status dg_run_folder_read_json(const char *folder, const char *name, json_t **out)
{
    char path[DG_PATH_MAX], *text;
    int64_t length;
    json_error_t error;
    *out = NULL;
    DG_TRY(dg_path_join(path, folder, name));
    if (!dg_file_exists(path)) return DG_OK;
    DG_TRY(dg_file_read(path, name, JSON_LIMIT, &text, &length));
    *out = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, &error);
    dg_free(&text);
    if (*out == NULL) return DG_FAIL(DG_ERR_FORMAT, "%s: %s, line %d: %s", folder, name, error.line, error.text);
    if (json_is_object(*out)) return DG_OK;
    json_decref(*out);
    *out = NULL;
    return DG_FAIL(DG_ERR_FORMAT, "%s: %s is no JSON object", folder, name);
}
