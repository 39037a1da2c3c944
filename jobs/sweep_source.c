/* sweep_source.c - what a sweep is made with: the machine, the program, and the source tree it lies in.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sweep_impl.h"

#include "dg_command.h"
#include "dg_mem.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PATCH_MAX = 16 << 20, NAMES_MAX = 1 << 20, FILE_MAX = 1 << 20, GIT_WORDS = 24 };
static const double GIT_DEADLINE_S = 30;

/* The tree that holds the program as it is now. */
typedef struct source {
    bool known; /* it lies in a tree of git */
    char top[DG_PATH_MAX], commit[64];
    char *patch; /* what the commit lacks; NULL: nothing, or not known. Owned */
} source;

/* One command of git in `folder`; true: it ended with `wanted`. */
static bool git(const char *folder, const char *const *words, int wanted, char *output, size_t capacity)
{
    const char *command[GIT_WORDS] = {"git", "-C", folder};
    int used = 3, code = -1;
    for (; *words != NULL && used + 1 < GIT_WORDS; words++) command[used++] = *words;
    output[0] = '\0';
    if (dg_command_run(command, GIT_DEADLINE_S, output, capacity, &code) == DG_OK) return code == wanted;
    dg_error_clear();
    return false;
}

/* True where all of it had room; else that is said at its end. */
static bool has_room(char *patch)
{
    if (strlen(patch) + 1 < PATCH_MAX) return true;
    snprintf(patch + PATCH_MAX - 64, 64, "\n(cut off here: larger than 16 MiB)\n");
    return false;
}

static bool is_small_file(const char *folder, const char *name)
{
    char path[DG_PATH_MAX];
    struct stat info;
    return dg_path_join(path, folder, name) == DG_OK && lstat(path, &info) == 0 && S_ISREG(info.st_mode) &&
           info.st_size <= FILE_MAX;
}

/* A source file that git does not know, as a patch that makes it. */
static void add_file(const source *s, const char *name, char *patch)
{
    const size_t used = strlen(patch);
    if (is_small_file(s->top, name) && git(s->top,
                                           (const char *const[]){"diff", "--no-index", "--binary", "--no-color",
                                                                 "--no-ext-diff", "--", "/dev/null", name, NULL},
                                           1, patch + used, PATCH_MAX - used))
        return;
    snprintf(patch + used, PATCH_MAX - used, "\n(not kept, as it is no plain file of at most 1 MiB: %s)\n", name);
}

/* Changes of tracked files, then new source files; of others, data of patients among them, nothing is kept. */
static void make_patch(const source *s, char *patch, char *names)
{
    static const char *const changes[] = {"diff", "HEAD", "--binary", "--no-color", "--no-ext-diff", NULL};
    static const char *const files[] = {"-c",
                                        "core.quotePath=false",
                                        "ls-files",
                                        "--others",
                                        "--exclude-standard",
                                        "--",
                                        "*.c",
                                        "*.h",
                                        "*.cc",
                                        "*.cu",
                                        "*.cmake",
                                        "*CMakeLists.txt",
                                        NULL};
    char *save;
    if (!git(s->top, changes, 0, patch, PATCH_MAX)) snprintf(patch, PATCH_MAX, "(git diff HEAD failed)\n");
    if (!has_room(patch) || !git(s->top, files, 0, names, NAMES_MAX)) return;
    for (char *name = strtok_r(names, "\n", &save); name != NULL && has_room(patch); name = strtok_r(NULL, "\n", &save))
        add_file(s, name, patch);
}

static dg_status read_patch(source *s)
{
    char *names = NULL;
    DG_TRY(dg_alloc(&s->patch, PATCH_MAX, 1, "patch of the source"));
    dg_status status = dg_alloc(&names, NAMES_MAX, 1, "names of new files");
    if (status == DG_OK) make_patch(s, s->patch, names);
    dg_free(&names);
    if (status != DG_OK || s->patch[0] == '\0') dg_free(&s->patch);
    return status;
}

static dg_status look(const sweep_work *w, source *out)
{
    char folder[DG_PATH_MAX];
    *out = (source){.known = false};
    snprintf(folder, sizeof folder, "%s", w->program);
    char *slash = strrchr(folder, '/');
    if (slash != NULL) *slash = '\0';
    out->known = git(folder, (const char *const[]){"rev-parse", "--show-toplevel", NULL}, 0, out->top, sizeof out->top);
    out->top[strcspn(out->top, "\n")] = '\0';
    if (!out->known) return DG_OK;
    out->known = git(out->top, (const char *const[]){"rev-parse", "--short=12", "HEAD", NULL}, 0, out->commit,
                     sizeof out->commit);
    out->commit[strcspn(out->commit, "\n")] = '\0';
    return out->known ? read_patch(out) : DG_OK;
}

/* Keeps the patch as `name`. *out: {"build_commit", "tree_commit", "dirty", "patch"}: what the program was built of, and the
 * state of the tree it lies in (where it was built there). */
static dg_status keep(const sweep_work *w, const source *s, const char *built, const char *name, json_t **out)
{
    char path[DG_PATH_MAX];
    const bool dirty = s->patch != NULL || (built != NULL && strstr(built, "-dirty") != NULL);
    *out = NULL;
    if (s->patch != NULL) {
        DG_TRY(dg_path_join(path, w->plan.folder, name));
        DG_TRY(dg_file_write(path, s->patch, (int64_t)strlen(s->patch)));
        dg_log_write(w->env->log, DG_LOG_WARNING, "the source tree is not clean: its changes are kept in %s", name);
    } else if (dirty) {
        dg_log_write(w->env->log, DG_LOG_WARNING,
                     "the program was built of a tree that was not clean, and that tree's changes are not here");
    }
    *out = json_pack("{s:s?, s:s?, s:b, s:s?}", "build_commit", built, "tree_commit", s->known ? s->commit : NULL,
                     "dirty", dirty, "patch", s->patch != NULL ? name : NULL);
    return *out != NULL ? DG_OK : DG_FAIL(DG_ERR_MEMORY, "no memory for environment.json");
}

static bool same_text(const char *a, const char *b) { return strcmp(a == NULL ? "" : a, b == NULL ? "" : b) == 0; }

/* Is it what `last` tells? Where git does not answer, the commit that the program was built of decides. */
static dg_status is_same(const sweep_work *w, const source *s, const char *built, const json_t *last, bool *same)
{
    char path[DG_PATH_MAX], *text = NULL;
    int64_t length;
    const char *name = json_string_value(json_object_get(last, "patch"));
    *same = same_text(built, json_string_value(json_object_get(last, "build_commit")));
    if (!s->known || !*same) return DG_OK;
    *same = same_text(s->commit, json_string_value(json_object_get(last, "tree_commit"))) &&
            (name == NULL) == (s->patch == NULL);
    if (!*same || name == NULL) return DG_OK;
    DG_TRY(dg_path_join(path, w->plan.folder, name));
    if (dg_file_exists(path)) DG_TRY(dg_file_read(path, name, PATCH_MAX, &text, &length));
    *same = same_text(text, s->patch);
    dg_free(&text);
    return DG_OK;
}

/* A sweep that goes on keeps the environment it began with (runs record their own); another program or tree is added to the
 * list "resumed". Takes `record`. */
static dg_status go_on(const sweep_work *w, const source *s, const char *built, json_t *record)
{
    char name[32];
    bool same = false;
    json_t *list = json_object_get(record, "resumed"), *now = NULL;
    const size_t count = json_array_size(list);
    const json_t *last = count > 0 ? json_array_get(list, count - 1) : json_object_get(record, "source");
    snprintf(name, sizeof name, "source-%zu.patch", count + 2);
    dg_status status = is_same(w, s, built, last, &same);
    if (status == DG_OK && !same) status = keep(w, s, built, name, &now);
    if (status != DG_OK || same) {
        json_decref(record);
        return status;
    }
    dg_log_write(w->env->log, DG_LOG_WARNING, "the sweep goes on with another program than before: commit %s",
                 built == NULL ? "unknown" : built);
    json_object_set_new(now, "time", json_integer((json_int_t)time(NULL)));
    if (!json_is_array(list)) json_object_set_new(record, "resumed", json_array());
    json_array_append_new(json_object_get(record, "resumed"), now);
    return sweep_write_json(w->plan.folder, "environment.json", record);
}

static dg_status begin(const sweep_work *w, const source *s, const char *built, json_t *environment)
{
    json_t *now;
    DG_TRY(keep(w, s, built, "source.patch", &now));
    json_object_set_new(environment, "source", now);
    return sweep_write_json(w->plan.folder, "environment.json", json_incref(environment));
}

dg_status sweep_write_environment(const sweep_work *w)
{
    json_t *record, *environment;
    source s;
    DG_TRY(dg_run_folder_read_json(w->plan.folder, "environment.json", &record));
    environment = dg_environment_json(w->env->comm);
    dg_status status = environment == NULL ? DG_FAIL(DG_ERR_MEMORY, "no memory for environment.json") : look(w, &s);
    if (status == DG_OK) {
        const char *built = json_string_value(json_object_get(environment, "commit"));
        status = record == NULL ? begin(w, &s, built, environment) : go_on(w, &s, built, record);
        dg_free(&s.patch);
    } else {
        json_decref(record);
    }
    json_decref(environment);
    return status;
}
