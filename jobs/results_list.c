/* results_list.c - see results_list.h. SPDX-License-Identifier: Apache-2.0 */
#include "results_list.h"

#include "dg_file.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static dg_status check_condition(const char *name, const char *argument)
{
    json_t *text = json_string(name);
    const bool good = text != NULL && name[0] != '\0' && strlen(name) < DG_RESULTS_TEXT;
    json_decref(text);
    for (const char *c = name; good && *c != '\0'; c++)
        if (iscntrl((unsigned char)*c))
            return DG_FAIL(DG_ERR_USAGE, "%.200s: a condition holds no control character", argument);
    if (!good)
        return DG_FAIL(DG_ERR_USAGE, "%.200s: a condition is 1 to %d bytes of UTF-8", argument, DG_RESULTS_TEXT - 1);
    return DG_OK;
}

/* NAME=FILE or NAME@SEED=FILE; a file whose own name holds '=' is a file. *path is within the argument. */
static dg_status parse_argument(const char *argument, dg_compare_file *file, const char **path, bool *named)
{
    char *end;
    const char *equals = strchr(argument, '=');
    *path = argument;
    *named = equals != NULL && !dg_file_exists(argument);
    if (!*named) return DG_OK;
    *path = equals + 1;
    const size_t length = (size_t)(equals - argument);
    if (length >= DG_RESULTS_TEXT)
        return DG_FAIL(DG_ERR_USAGE, "%.200s: a condition is 1 to %d bytes of UTF-8", argument, DG_RESULTS_TEXT - 1);
    memcpy(file->condition, argument, length);
    file->condition[length] = '\0';
    char *at = strrchr(file->condition, '@');
    if (at != NULL) {
        errno = 0;
        file->seed = strtoll(at + 1, &end, 10);
        if (errno != 0 || at[1] == '\0' || *end != '\0')
            return DG_FAIL(DG_ERR_USAGE, "%.200s: '%s' is no seed; write NAME@SEED=FILE with an integer", argument,
                           at + 1);
        file->has_seed = true;
        *at = '\0';
    }
    return check_condition(file->condition, argument);
}

static dg_status read_file(dg_results_list *list, const char *argument)
{
    const char *path;
    bool named;
    dg_compare_file *file = &list->file[list->count];
    DG_TRY(parse_argument(argument, file, &path, &named));
    DG_TRY(dg_results_read(path, path, &list->results[list->count]));
    file->results = list->results[list->count++];
    const dg_results_run *run = dg_results_get_run(file->results);
    if (!named) memcpy(file->condition, run->condition, sizeof file->condition);
    if (!file->has_seed) {
        file->has_seed = run->has_seed;
        file->seed = run->seed;
    }
    return DG_OK;
}

dg_status dg_results_list_read(const char *const *argument, int64_t count, dg_results_list *out)
{
    memset(out, 0, sizeof *out);
    if (count > DG_RESULTS_FILES_MAX)
        return DG_FAIL(DG_ERR_USAGE, "%lld result files; up to %d are compared at once", (long long)count,
                       DG_RESULTS_FILES_MAX);
    for (int64_t i = 0; i < count; i++) DG_TRY(read_file(out, argument[i]));
    return DG_OK;
}

void dg_results_list_release(dg_results_list *list)
{
    for (int64_t i = 0; i < list->count; i++) dg_results_destroy(&list->results[i]);
    list->count = 0;
}
