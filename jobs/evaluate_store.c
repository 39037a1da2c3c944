/* evaluate_store.c - finished partial results on disk, so that a stopped or killed evaluation goes on where it was.
 *
 * A file is head and part: the key says what the part was made from (settings, baselines, program, case, prediction), the
 * second hash that it is intact. A file that does not fit in any way is as good as none. Files appear complete under their
 * name or not at all. SPDX-License-Identifier: Apache-2.0 */
#include "evaluate_impl.h"

#include "build_info.h"
#include "dg_mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char magic[8] = "dgpart1";

typedef struct part_head {
    char magic[8];
    char key[72], sha256[72];
    int64_t bytes;
} part_head;

static dg_status add_json(dg_hash *hash, json_t *json)
{
    char *text = json == NULL ? NULL : json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
    json_decref(json);
    if (text == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for the settings");
    dg_status status = dg_hash_add_string(hash, text);
    free(text);
    return status;
}

static dg_status add_program(dg_hash *hash)
{
    json_t *info = dg_build_info();
    json_t *own = json_pack("{s:O, s:O, s:I, s:I}", "version", json_object_get(info, "version"), "commit",
                            json_object_get(info, "commit"), "case", (json_int_t)sizeof(dg_case_result), "structure",
                            (json_int_t)sizeof(dg_structure_result));
    json_decref(info);
    return add_json(hash, own);
}

static dg_status add_baseline(dg_hash *hash, const evaluate_work *w)
{
    int64_t count = 0;
    if (w->baseline == NULL) return dg_hash_add_string(hash, "no baselines");
    const int64_t *sums = dg_baseline_data(w->baseline, &count);
    DG_TRY(dg_hash_add(hash, sums, (size_t)count * sizeof *sums));
    return dg_hash_add(hash, w->config.level_gy, sizeof w->config.level_gy);
}

/* How many members are judged is no setting of the measure: ensembles of any size, and single doses, are compared. */
static dg_status add_members(dg_hash *hash, const evaluate_work *w)
{
    char text[64];
    snprintf(text, sizeof text, "%lld members, truth %s", (long long)w->config.members,
             w->config.truth != NULL ? "known" : "unknown");
    return dg_hash_add_string(hash, text);
}

dg_status evaluate_store_open(evaluate_work *w)
{
    dg_hash *hash = NULL;
    dg_status status;
    DG_TRY_GOTO(status, dg_hash_create(&hash), cleanup);
    DG_TRY_GOTO(status, add_program(hash), cleanup);
    DG_TRY_GOTO(status, add_json(hash, dg_evaluation_settings_json(&w->config)), cleanup);
    DG_TRY_GOTO(status, add_members(hash, w), cleanup);
    DG_TRY_GOTO(status, add_baseline(hash, w), cleanup);
    status = dg_hash_finish(hash, w->settings_sha256);
cleanup:
    dg_hash_destroy(&hash);
    return status;
}

static dg_status make_key(const evaluate_work *w, const evaluate_part_name *name, char key[DG_HASH_HEX])
{
    char text[512];
    int length =
        snprintf(text, sizeof text, "%s %s %s %s %d %lld %lld", w->settings_sha256, name->id, name->case_sha256,
                 name->prediction_sha256, (int)name->part, (long long)name->first, (long long)name->planes);
    return dg_hash_bytes(text, (size_t)length, key);
}

static dg_status make_path(const evaluate_work *w, const evaluate_part_name *name, char path[DG_PATH_MAX])
{
    char file[DG_CASE_ID + 64];
    if (name->part == PART_SLAB)
        snprintf(file, sizeof file, "%s.slab-%lld", name->id, (long long)name->first);
    else
        snprintf(file, sizeof file, "%s.%s", name->id, name->part == PART_CASE ? "case" : "volume");
    return dg_path_join(path, w->folder, file);
}

dg_status evaluate_store_write(const evaluate_work *w, const evaluate_part_name *name, const void *bytes, int64_t count)
{
    char path[DG_PATH_MAX], *file = NULL;
    part_head head = {.bytes = count};
    dg_status status;
    memcpy(head.magic, magic, sizeof magic);
    DG_TRY(make_path(w, name, path));
    DG_TRY(make_key(w, name, head.key));
    DG_TRY(dg_hash_bytes(bytes, (size_t)count, head.sha256));
    DG_TRY(dg_alloc(&file, sizeof head + (size_t)count, 1, "partial result"));
    memcpy(file, &head, sizeof head);
    memcpy(file + sizeof head, bytes, (size_t)count);
    status = dg_file_write(path, file, (int64_t)sizeof head + count);
    dg_free(&file);
    return status;
}

static bool fits(const char *file, int64_t length, const char *key)
{
    part_head head;
    char sha256[DG_HASH_HEX];
    if (length < (int64_t)sizeof head) return false;
    memcpy(&head, file, sizeof head);
    if (memcmp(head.magic, magic, sizeof magic) != 0 || head.bytes != length - (int64_t)sizeof head) return false;
    if (memcmp(head.key, key, DG_HASH_HEX) != 0) return false;
    if (dg_hash_bytes(file + sizeof head, (size_t)head.bytes, sha256) != DG_OK) return false;
    return memcmp(head.sha256, sha256, DG_HASH_HEX) == 0;
}

dg_status evaluate_store_read(const evaluate_work *w, const evaluate_part_name *name, void **bytes, int64_t *count)
{
    char path[DG_PATH_MAX], key[DG_HASH_HEX], *file = NULL;
    int64_t length = 0;
    *bytes = NULL;
    *count = 0;
    DG_TRY(make_path(w, name, path));
    DG_TRY(make_key(w, name, key));
    if (!dg_file_exists(path)) return DG_OK;
    dg_status status = dg_file_read(path, "partial result", INT64_MAX / 2, &file, &length);
    if (status == DG_ERR_MEMORY) return status;
    if (status != DG_OK || !fits(file, length, key)) {
        dg_error_clear();
        dg_free(&file);
        return DG_OK;
    }
    *count = length - (int64_t)sizeof(part_head);
    status = dg_alloc(bytes, (size_t)*count, 1, "partial result");
    if (status == DG_OK) memcpy(*bytes, file + sizeof(part_head), (size_t)*count);
    dg_free(&file);
    return status;
}

void evaluate_store_remove(const evaluate_work *w, const evaluate_part_name *name)
{
    char path[DG_PATH_MAX];
    if (make_path(w, name, path) == DG_OK) (void)unlink(path);
}
