/* dg_state.c - the registry of what survives, and scalars as arrays of one. SPDX-License-Identifier: Apache-2.0 */
#include "dg_state.h"

#include <string.h>

/* Either `save` or the three functions of a copy. */
static bool can_save(const dg_state *state)
{
    const bool any = state->take != NULL || state->save_copy != NULL || state->free_copy != NULL;
    const bool all = state->take != NULL && state->save_copy != NULL && state->free_copy != NULL;
    return state->save != NULL ? !any : all;
}

dg_status dg_state_register(dg_state_registry *registry, dg_state state)
{
    if (state.name == NULL || state.version < 1 || !can_save(&state) || state.load == NULL)
        return DG_FAIL(DG_ERR_INTERNAL, "state %s has no name, version or functions",
                       state.name == NULL ? "?" : state.name);
    if (dg_state_find(registry, state.name) != NULL)
        return DG_FAIL(DG_ERR_INTERNAL, "two states are called %s", state.name);
    if (registry->count == DG_STATE_MAX)
        return DG_FAIL(DG_ERR_INTERNAL, "no room for state %s: there are %d", state.name, DG_STATE_MAX);
    registry->item[registry->count++] = state;
    return DG_OK;
}

dg_status dg_state_save(const dg_state *state, const dg_state_sink *sink)
{
    void *copy = NULL;
    if (state->save != NULL) return state->save(state->object, sink);
    dg_status status = state->take(state->object, &copy);
    if (status == DG_OK) status = state->save_copy(state->object, copy, sink);
    if (copy != NULL) state->free_copy(&copy);
    return status;
}

const dg_state *dg_state_find(const dg_state_registry *registry, const char *name)
{
    for (int i = 0; i < registry->count; i++)
        if (strcmp(registry->item[i].name, name) == 0) return &registry->item[i];
    return NULL;
}

dg_status dg_state_put_int(const dg_state_sink *sink, const char *name, int64_t value)
{
    return sink->put(sink->context, name, DG_I64, 1, &(int64_t){1}, &value);
}

dg_status dg_state_get_int(const dg_state_source *source, const char *name, int64_t *value)
{
    return source->get(source->context, name, DG_I64, 1, &(int64_t){1}, value);
}

dg_status dg_state_put_double(const dg_state_sink *sink, const char *name, double value)
{
    return sink->put(sink->context, name, DG_F64, 1, &(int64_t){1}, &value);
}

dg_status dg_state_get_double(const dg_state_source *source, const char *name, double *value)
{
    return source->get(source->context, name, DG_F64, 1, &(int64_t){1}, value);
}
