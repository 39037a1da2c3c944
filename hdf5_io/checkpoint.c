/* checkpoint.c - states in groups of one HDF5 file. Arrays are contiguous and unfiltered: weights do not shrink, and the
 * content hash, which every load checks first, stands for chunk checksums. SPDX-License-Identifier: Apache-2.0 */
#include "dg_checkpoint.h"

#include "dg_file.h"
#include "dg_mem.h"
#include "h5_impl.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHECKPOINT_VERSION = 1, ROLE_TEXT = 128, CONFIG_MAX = 1 << 26 };
static const char format_name[] = "dosegrid-checkpoint";

static void role_of(char role[ROLE_TEXT], const char *path)
{
    const char *slash = strrchr(path, '/');
    snprintf(role, ROLE_TEXT, "checkpoint %.100s", slash == NULL ? path : slash + 1);
}

/* ---- one group as sink and source ---- */

typedef struct state_group {
    hid_t group;
    char role[ROLE_TEXT + 80];
} state_group;

static dg_status put(void *context, const char *name, dg_dtype type, int rank, const int64_t *shape, const void *values)
{
    const state_group *g = context;
    if (rank < 0 || rank >= DG_H5_RANK_MAX)
        return DG_FAIL(DG_ERR_INTERNAL, "%s: %s has %d axes, at most %d are possible", g->role, name, rank,
                       DG_H5_RANK_MAX - 1);
    dg_h5_lock();
    dg_status status = dg_h5_has(g->group, name) ? DG_FAIL(DG_ERR_INTERNAL, "%s: %s is saved twice", g->role, name)
                                                 : dg_h5_put(g->group, name, type, rank, shape, NULL, values, g->role);
    dg_h5_unlock();
    return status;
}

static dg_status put_text(void *context, const char *name, const char *text)
{
    const state_group *g = context;
    dg_h5_lock();
    dg_status status = dg_h5_put_text(g->group, name, text, g->role);
    dg_h5_unlock();
    return status;
}

static dg_status get(void *context, const char *name, dg_dtype type, int rank, const int64_t *shape, void *values)
{
    const state_group *g = context;
    return dg_h5_get(g->group, name, type, rank, shape, values, g->role);
}

static dg_status get_text(void *context, const char *name, char *text, size_t capacity)
{
    const state_group *g = context;
    char *whole;
    DG_TRY(dg_h5_get_text(g->group, name, (int64_t)capacity - 1, &whole, g->role));
    memcpy(text, whole, strlen(whole) + 1);
    dg_free(&whole);
    return DG_OK;
}

static bool has(void *context, const char *name)
{
    const state_group *g = context;
    return dg_h5_has(g->group, name);
}

/* ---- saving ---- */

static dg_status save_state(hid_t file, const dg_state *state, const char *role)
{
    const int64_t version = state->version;
    state_group g;
    snprintf(g.role, sizeof g.role, "%s, state %.60s", role, state->name);
    DG_TRY(dg_h5_group(file, state->name, role, &g.group));
    dg_state_sink sink = {.context = &g, .put = put, .put_text = put_text};
    dg_status status = dg_h5_put_attr(g.group, "version", DG_I64, 0, NULL, &version, g.role);
    if (status == DG_OK) { /* put and put_text take the lock again */
        dg_h5_unlock();
        status = dg_state_save(state, &sink);
        dg_h5_lock();
    }
    dg_h5_close(g.group);
    return status;
}

static dg_status hash_array(dg_hash *hash, hid_t group, const char *name, const char *role)
{
    dg_h5_shape shape;
    hid_t dataset;
    char *values;
    DG_TRY(dg_h5_open_dataset(group, name, role, &shape, &dataset));
    dg_h5_close(dataset);
    DG_TRY(dg_alloc(&values, (size_t)shape.elements, dg_dtype_size(shape.type), "values to hash"));
    dg_status status = dg_h5_get(group, name, shape.type, shape.rank, shape.shape, values, role);
    dg_h5_unlock();
    if (status == DG_OK) status = dg_hash_add_item(hash, name, shape.type, shape.rank, shape.shape, values);
    dg_h5_lock();
    dg_free(&values);
    return status;
}

/* The same digest as dg_params_sha256 gives for the model in memory. */
static dg_status hash_weights(hid_t file, const char *role, char hex[DG_HASH_HEX])
{
    dg_h5_list list = {0};
    dg_hash *hash = NULL;
    dg_status status;
    hid_t group = H5Gopen2(file, "params", H5P_DEFAULT);
    if (group < 0) return DG_H5_FAIL(DG_ERR_INTERNAL, "%s: no state called params is registered", role);
    DG_TRY_GOTO(status, dg_h5_list_datasets(group, role, &list), cleanup);
    DG_TRY_GOTO(status, dg_hash_create(&hash), cleanup);
    for (int64_t i = 0; i < list.count; i++) DG_TRY_GOTO(status, hash_array(hash, group, list.name[i], role), cleanup);
    DG_TRY_GOTO(status, dg_hash_finish(hash, hex), cleanup);
cleanup:
    dg_hash_destroy(&hash);
    dg_free(&list.name);
    dg_h5_close(group);
    return status;
}

static dg_status save_config(hid_t file, const json_t *config, const char *role)
{
    char *text = json_dumps(config, JSON_SORT_KEYS | JSON_INDENT(1) | JSON_ENCODE_ANY);
    if (text == NULL) return DG_FAIL(DG_ERR_INTERNAL, "%s: the configuration cannot be written as JSON", role);
    dg_status status = dg_h5_put_text(file, "config", text, role);
    free(text);
    return status;
}

static dg_status save_file(hid_t file, const dg_state_registry *registry, const json_t *config,
                           dg_checkpoint_meta *meta, const char *role)
{
    const int64_t version = CHECKPOINT_VERSION;
    DG_TRY(dg_h5_put_attr_text(file, "format", format_name, role));
    DG_TRY(dg_h5_put_attr(file, "version", DG_I64, 0, NULL, &version, role));
    DG_TRY(dg_h5_put_attr(file, "step", DG_I64, 0, NULL, &meta->step, role));
    DG_TRY(dg_h5_put_attr_text(file, "model", meta->model, role));
    DG_TRY(save_config(file, config, role));
    for (int i = 0; i < registry->count; i++) DG_TRY(save_state(file, &registry->item[i], role));
    DG_TRY(hash_weights(file, role, meta->weights_sha256));
    DG_TRY(dg_h5_put_attr_text(file, "weights_sha256", meta->weights_sha256, role));
    return dg_h5_seal(file, role, meta->content_sha256);
}

dg_status dg_checkpoint_save(const char *path, const dg_state_registry *registry, const json_t *config,
                             dg_checkpoint_meta *meta)
{
    char role[ROLE_TEXT];
    dg_h5_image image;
    role_of(role, path);
    dg_h5_lock();
    dg_status status = dg_h5_image_create(role, &image);
    if (status == DG_OK) {
        status = save_file(image.file, registry, config, meta, role);
        if (status == DG_OK)
            status = dg_h5_image_finish_verified(&image, role, path, &meta->bytes, &meta->verify_s);
        else
            dg_h5_image_discard(&image);
    }
    dg_h5_unlock();
    return status;
}

/* ---- loading ---- */

static dg_status read_meta(hid_t file, dg_checkpoint_meta *meta, const char *role)
{
    int64_t version;
    DG_TRY(dg_h5_check_format(file, format_name, CHECKPOINT_VERSION, role, &version));
    DG_TRY(dg_h5_get_attr(file, "step", DG_I64, 1, &meta->step, role));
    DG_TRY(dg_h5_get_attr_text(file, "model", meta->model, sizeof meta->model, role));
    DG_TRY(dg_h5_get_attr_text(file, "weights_sha256", meta->weights_sha256, DG_HASH_HEX, role));
    return dg_h5_get_attr_text(file, "content_sha256", meta->content_sha256, DG_HASH_HEX, role);
}

static dg_status read_config(hid_t file, json_t **config, const char *role)
{
    char *text;
    json_error_t error;
    DG_TRY(dg_h5_get_text(file, "config", CONFIG_MAX, &text, role));
    *config = json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &error);
    dg_free(&text);
    if (*config == NULL)
        return DG_FAIL(DG_ERR_FORMAT, "%s: its configuration is not JSON: line %d: %s", role, error.line, error.text);
    return DG_OK;
}

dg_status dg_checkpoint_read_meta(const char *path, dg_checkpoint_meta *meta, json_t **config)
{
    char role[ROLE_TEXT];
    hid_t file;
    memset(meta, 0, sizeof *meta);
    if (config != NULL) *config = NULL;
    role_of(role, path);
    dg_h5_lock();
    dg_status status = dg_h5_open(path, role, &file);
    if (status == DG_OK) {
        status = read_meta(file, meta, role);
        if (status == DG_OK && config != NULL) status = read_config(file, config, role);
        dg_h5_close(file);
    }
    dg_h5_unlock();
    return status;
}

static dg_status check_whole(hid_t file, const char *role)
{
    dg_checkpoint_meta meta;
    char hex[DG_HASH_HEX];
    DG_TRY(read_meta(file, &meta, role));
    return dg_h5_check_seal(file, role, hex);
}

static dg_status load_state(hid_t file, const dg_state *state, const char *role)
{
    int64_t version;
    state_group g;
    if (!dg_h5_has(file, state->name))
        return DG_FAIL(DG_ERR_MISMATCH, "%s has no state '%s', which this run needs; it belongs to another kind of run",
                       role, state->name);
    snprintf(g.role, sizeof g.role, "%s, state %.60s", role, state->name);
    g.group = H5Gopen2(file, state->name, H5P_DEFAULT);
    if (g.group < 0) return DG_H5_FAIL(DG_ERR_FORMAT, "%s: its group is damaged", g.role);
    dg_state_source source = {.context = &g, .get = get, .get_text = get_text, .has = has};
    dg_status status = dg_h5_get_attr(g.group, "version", DG_I64, 1, &version, g.role);
    if (status == DG_OK && (version < 1 || version > state->version))
        status = DG_FAIL(DG_ERR_MISMATCH, "%s has version %lld, this program reads 1 to %d; use a newer dosegrid",
                         g.role, (long long)version, state->version);
    if (status == DG_OK) status = state->load(state->object, &source, (int)version);
    dg_h5_close(g.group);
    return status;
}

typedef struct group_check {
    const dg_state_registry *registry;
    const char *role;
    dg_status status;
} group_check;

static herr_t check_group(hid_t file, const char *name, const H5L_info_t *info, void *context)
{
    group_check *check = context;
    if (strcmp(name, "config") != 0 && dg_state_find(check->registry, name) == NULL)
        check->status = DG_FAIL(DG_ERR_MISMATCH,
                                "%s has a state '%s' that this run does not know; it belongs to another kind of run",
                                check->role, name);
    return check->status == DG_OK ? 0 : -1;
}

static dg_status check_groups(hid_t file, const dg_state_registry *registry, const char *role)
{
    group_check check = {.registry = registry, .role = role, .status = DG_OK};
    herr_t walked = H5Literate(file, H5_INDEX_NAME, H5_ITER_INC, NULL, check_group, &check);
    if (check.status == DG_OK && walked < 0)
        return DG_H5_FAIL(DG_ERR_FORMAT, "%s: its table of groups is damaged", role);
    H5Eclear2(H5E_DEFAULT);
    return check.status;
}

/* Nothing is loaded before everything was checked: a run is not left half restored by a damaged file. */
static dg_status load_all(hid_t file, const dg_state_registry *registry, const char *role)
{
    DG_TRY(check_whole(file, role));
    DG_TRY(check_groups(file, registry, role));
    for (int i = 0; i < registry->count; i++) DG_TRY(load_state(file, &registry->item[i], role));
    return DG_OK;
}

dg_status dg_checkpoint_load(const char *path, const dg_state_registry *registry)
{
    char role[ROLE_TEXT];
    hid_t file;
    role_of(role, path);
    dg_h5_lock();
    dg_status status = dg_h5_open(path, role, &file);
    if (status == DG_OK) {
        status = load_all(file, registry, role);
        dg_h5_close(file);
    }
    dg_h5_unlock();
    return status;
}

dg_status dg_checkpoint_load_one(const char *path, const dg_state *state)
{
    char role[ROLE_TEXT];
    hid_t file;
    role_of(role, path);
    dg_h5_lock();
    dg_status status = dg_h5_open(path, role, &file);
    if (status == DG_OK) {
        status = check_whole(file, role);
        if (status == DG_OK) status = load_state(file, state, role);
        dg_h5_close(file);
    }
    dg_h5_unlock();
    return status;
}

dg_status dg_checkpoint_verify(const char *path)
{
    char role[ROLE_TEXT];
    hid_t file;
    role_of(role, path);
    dg_h5_lock();
    dg_status status = dg_h5_open(path, role, &file);
    if (status == DG_OK) {
        status = check_whole(file, role);
        dg_h5_close(file);
    }
    dg_h5_unlock();
    return status;
}

/* ---- finding ---- */

/* Step of "step-N.h5", or -1. */
static int64_t step_of(const char *name)
{
    char *end;
    if (strncmp(name, "step-", 5) != 0 || name[5] < '0' || name[5] > '9') return -1;
    errno = 0;
    long long step = strtoll(name + 5, &end, 10);
    return errno == 0 && strcmp(end, ".h5") == 0 ? (int64_t)step : -1;
}

/* The name with the largest step below `limit`; false when there is none. */
static bool next_lower(const char *folder, int64_t limit, int64_t *step, char name[256])
{
    DIR *listing = opendir(folder);
    const struct dirent *entry;
    *step = -1;
    while (listing != NULL && (entry = readdir(listing)) != NULL) {
        int64_t found = step_of(entry->d_name);
        if (found < 0 || found >= limit || found <= *step) continue;
        *step = found;
        snprintf(name, 256, "%s", entry->d_name);
    }
    if (listing != NULL) closedir(listing);
    return *step >= 0;
}

dg_status dg_checkpoint_find_newest(const char *folder, char *path, size_t capacity, char *skipped,
                                    size_t skipped_capacity)
{
    char name[256], candidate[DG_PATH_MAX];
    int64_t limit = INT64_MAX, step;
    int damaged = 0;
    if (skipped != NULL && skipped_capacity > 0) skipped[0] = '\0';
    for (; next_lower(folder, limit, &step, name); limit = step) {
        DG_TRY(dg_path_join(candidate, folder, name));
        dg_status status = dg_checkpoint_verify(candidate);
        if (status == DG_OK) {
            if (snprintf(path, capacity, "%s", candidate) >= (int)capacity)
                return DG_FAIL(DG_ERR_USAGE, "path of %s is too long", name);
            dg_error_clear();
            return DG_OK;
        }
        if (status == DG_ERR_MEMORY) return status;
        damaged++;
        if (skipped == NULL) continue;
        size_t used = strlen(skipped);
        snprintf(skipped + used, skipped_capacity - used, "%s%s", used > 0 ? "; " : "", dg_error_last()->text);
    }
    return DG_FAIL(DG_ERR_IO, "no valid checkpoint step-*.h5 in the folder (%d damaged); start without --resume",
                   damaged);
}
