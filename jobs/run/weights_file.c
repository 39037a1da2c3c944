/* weights_file.c - see weights_file.h. SPDX-License-Identifier: Apache-2.0 */
#include "weights_file.h"

#include "dg_safetensors.h"

#include <string.h>

static const char role[] = "weights";

bool dg_weights_file_is(const char *path)
{
    static const char suffix[] = ".safetensors";
    const size_t length = strlen(path), ending = sizeof suffix - 1;
    return length > ending && strcmp(path + length - ending, suffix) == 0;
}

static dg_status get(void *context, const char *name, dg_dtype type, int rank, const int64_t *shape, void *values)
{
    (void)type; /* parameters are f32 */
    return dg_safetensors_read(context, name, rank, shape, values);
}

static dg_status check_names(const dg_safetensors *file, const dg_param_table *table)
{
    for (int i = 0; i < dg_safetensors_count(file); i++) {
        const char *name = dg_safetensors_name(file, i);
        if (dg_param_find(table, name) < 0)
            return DG_FAIL(DG_ERR_MISMATCH,
                           "%s: the file has a tensor %.80s, which the network has not: is model.kind right?", role,
                           name);
    }
    return DG_OK;
}

dg_status dg_weights_file_load(const char *path, const dg_param_table *table, const dg_state *state)
{
    dg_safetensors *file;
    DG_TRY(dg_safetensors_open(path, role, &file));
    const dg_state_source source = {.context = file, .get = get};
    dg_status status = check_names(file, table);
    if (status == DG_OK) status = state->load(state->object, &source, state->version);
    dg_safetensors_close(&file);
    return status;
}

static dg_status put(void *context, const char *name, dg_dtype type, int rank, const int64_t *shape, const void *values)
{
    (void)type;
    return dg_safetensors_add(context, name, rank, shape, values);
}

dg_status dg_weights_file_save(const char *path, const dg_param_table *table, const float *flat, const char *sha256)
{
    dg_safetensors_writer *writer;
    dg_status status;
    DG_TRY(dg_safetensors_create(role, &writer));
    const dg_state_sink sink = {.context = writer, .put = put};
    DG_TRY_GOTO(status, dg_params_save(table, flat, &sink), cleanup);
    DG_TRY_GOTO(status, dg_safetensors_note(writer, "format", "pt"), cleanup);
    DG_TRY_GOTO(status, dg_safetensors_note(writer, "dosegrid", DG_VERSION), cleanup);
    DG_TRY_GOTO(status, dg_safetensors_note(writer, "weights_sha256", sha256), cleanup);
    status = dg_safetensors_write(writer, path);
cleanup:
    dg_safetensors_destroy(&writer);
    return status;
}
