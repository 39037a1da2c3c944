/* diff_sides.c - see diff_impl.h. SPDX-License-Identifier: Apache-2.0 */
#include "diff_impl.h"

#include "dg_mem.h"
#include "run_folder.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

void diff_sides_release(diff_sides *sides)
{
    for (int i = 0; i < sides->count; i++) dg_diff_side_release(&sides->side[i]);
    sides->count = 0;
}

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static dg_status new_side(diff_sides *sides, const char *name, const char *kind, dg_diff_side **out)
{
    if (sides->count == DG_DIFF_SIDES_MAX)
        return DG_FAIL(DG_ERR_USAGE, "more than %d inputs, the conditions of sweeps counted", DG_DIFF_SIDES_MAX);
    char wanted[DG_DIFF_NAME];
    const size_t length = strlen(name);
    snprintf(wanted, sizeof wanted, "%.119s",
             length > 119 ? name + length - 119 : name); /* the end of a path tells more */
    *out = &sides->side[sides->count];
    **out = (dg_diff_side){.kind = kind};
    snprintf((*out)->name, sizeof(*out)->name, "%s", wanted);
    for (int number = 2, i = 0; i < sides->count; i++) {
        if (strcmp(sides->side[i].name, (*out)->name) != 0) continue;
        snprintf((*out)->name, sizeof(*out)->name, "%.100s (%d)", wanted, number++);
        i = -1;
    }
    sides->count++;
    return DG_OK;
}

static dg_status add_run(const char *folder, const char *name, diff_sides *sides)
{
    dg_diff_side *side;
    char plain[DG_PATH_MAX];
    snprintf(plain, sizeof plain, "%s", folder);
    for (size_t n = strlen(plain); n > 1 && plain[n - 1] == '/'; n--) plain[n - 1] = '\0';
    DG_TRY(new_side(sides, name != NULL ? name : plain, "run", &side));
    DG_TRY(dg_run_folder_read_json(folder, "training_config.json", &side->config));
    if (side->config == NULL)
        return DG_FAIL(DG_ERR_USAGE,
                       "%s holds neither training_config.json nor sweep.yaml: name run folders, sweeps or "
                       "configurations",
                       folder);
    const char *key;
    json_t *item;
    json_object_foreach(side->config, key, item)
    {
        if (!json_is_object(item) || json_object_get(item, "value") == NULL)
            return DG_FAIL(DG_ERR_FORMAT, "%s: training_config.json: %.100s has no value", folder, key);
    }
    DG_TRY(dg_run_folder_read_json(folder, "environment.json", &side->facts));
    return dg_run_folder_read_json(folder, "test_cases.json", &side->split);
}

/* What every run of a sweep got beside its file: the --set words and DG_* variables of its settings.json. */
static dg_status apply_begun(const json_t *settings, dg_options *options)
{
    const json_t *set = json_object_get(settings, "set");
    const int words = (int)json_array_size(set);
    const char **word, *none[1], *name;
    int rest;
    json_t *value;
    DG_TRY(DG_NEW(&word, words + 1, "words of --set"));
    for (int i = 0; i < words; i++) word[i] = json_string_value(json_array_get(set, (size_t)i));
    /* The parser does not write to its arguments; its type is that of main's. */
    dg_status status = dg_options_read_arguments(options, words, (char *const *)word, none, 0, &rest);
    dg_free(&word);
    json_object_foreach(json_object_get(settings, "environment"), name, value)
    {
        json_t *line = json_sprintf("%s=%s", name, json_string_value(value));
        char *const variable[] = {(char *)json_string_value(line), NULL};
        if (status == DG_OK) status = dg_options_read_environment(options, variable);
        json_decref(line);
    }
    return status;
}

/* A configuration (path), or a condition of a sweep; `begun`: settings.json of the sweep's folder, NULL: under the
 * environment of now. The origins have ranks, so they may come in any order. */
static dg_status resolve(const char *path, const dg_sweep *sweep, int condition, const json_t *begun,
                         dg_diff_side *side)
{
    dg_options options;
    dg_run_config *config;
    int rows;
    const dg_option *row = dg_run_config_rows(&rows);
    DG_TRY(DG_NEW(&config, 1, "settings"));
    dg_status status = dg_options_init(&options, row, rows, config);
    if (status == DG_OK) {
        status = begun != NULL ? apply_begun(begun, &options) : dg_run_config_read_environment(&options);
        if (status == DG_OK && sweep != NULL) status = dg_sweep_apply(sweep, condition, &options);
        if (status == DG_OK && sweep == NULL) status = dg_options_read_yaml(&options, path);
        if (status == DG_OK) side->config = dg_run_config_to_json(&options);
        dg_options_release(&options);
    }
    dg_free(&config);
    return status;
}

static dg_status add_conditions(const dg_sweep *sweep, const json_t *begun, diff_sides *sides)
{
    for (int i = 0; i < sweep->conditions; i++) {
        /* The reference comes first: the others are told against it. */
        const int condition = i == 0 ? sweep->reference : i <= sweep->reference ? i - 1 : i;
        dg_diff_side *side;
        DG_TRY(new_side(sides, sweep->condition[condition].name, "condition", &side));
        DG_TRY(resolve(NULL, sweep, condition, begun, side));
    }
    return DG_OK;
}

/* settings.json of a sweep's folder; NULL where there is none. */
static dg_status read_begun(const char *folder, json_t **out)
{
    size_t i;
    const char *name;
    json_t *value;
    DG_TRY(dg_run_folder_read_json(folder, "settings.json", out));
    json_array_foreach(json_object_get(*out, "set"), i, value)
    {
        if (!json_is_string(value))
            return DG_FAIL(DG_ERR_FORMAT, "%s: settings.json: set[%d] is no text", folder, (int)i);
    }
    json_object_foreach(json_object_get(*out, "environment"), name, value)
    {
        if (!json_is_string(value))
            return DG_FAIL(DG_ERR_FORMAT, "%s: settings.json: environment.%.100s is no text", folder, name);
    }
    return DG_OK;
}

dg_status diff_sides_add_sweep(const dg_sweep *sweep, diff_sides *sides)
{
    json_t *begun = NULL;
    dg_status status = read_begun(sweep->folder, &begun);
    if (status == DG_OK) status = add_conditions(sweep, begun, sides);
    json_decref(begun);
    return status;
}

static dg_status add_sweep(const char *path, bool of_folder, diff_sides *sides)
{
    dg_sweep *sweep;
    DG_TRY(DG_NEW(&sweep, 1, "sweep"));
    dg_status status = dg_sweep_read(path, sweep);
    if (status == DG_OK) status = of_folder ? diff_sides_add_sweep(sweep, sides) : add_conditions(sweep, NULL, sides);
    dg_sweep_release(sweep);
    dg_free(&sweep);
    return status;
}

dg_status diff_sides_add(const char *argument, diff_sides *sides)
{
    char inside[DG_PATH_MAX], name[DG_DIFF_NAME];
    const char *path = argument, *equals = strchr(argument, '='), *label = NULL;
    dg_diff_side *side;
    if (equals != NULL && equals > argument && !dg_file_exists(argument)) {
        snprintf(name, sizeof name, "%.*s", (int)(equals - argument < 100 ? equals - argument : 100), argument);
        label = name;
        path = equals + 1;
    }
    if (is_folder(path)) {
        DG_TRY(dg_path_join(inside, path, "sweep.yaml"));
        return dg_file_exists(inside) ? add_sweep(inside, true, sides) : add_run(path, label, sides);
    }
    if (dg_sweep_is(path)) return add_sweep(path, false, sides);
    DG_TRY(new_side(sides, label != NULL ? label : path, "configuration", &side));
    return resolve(path, NULL, 0, NULL, side);
}
