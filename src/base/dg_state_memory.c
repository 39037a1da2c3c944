/* dg_state_memory.c - states kept in memory. SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "dg_state.h"

#include <string.h>

enum { SHAPE_MAX = 8 };

typedef struct entry {
    char *name;
    bool is_text;
    dg_dtype type;
    int rank;
    int64_t shape[SHAPE_MAX];
    int64_t bytes;
    void *values;
} entry;

typedef struct group {
    char *name;
    int version;
    entry *entries;
    size_t count, capacity;
} group;

struct dg_state_memory {
    group group[DG_STATE_MAX];
    int count;
};

static void release_group(group *g)
{
    for (size_t i = 0; i < g->count; i++) {
        dg_free(&g->entries[i].name);
        dg_free(&g->entries[i].values);
    }
    dg_free(&g->entries);
    dg_free(&g->name);
    *g = (group){0};
}

static void release_groups(dg_state_memory *memory)
{
    for (int i = 0; i < memory->count; i++) release_group(&memory->group[i]);
    memory->count = 0;
}

dg_status dg_state_memory_create(dg_state_memory **out) { return DG_NEW(out, 1, "states in memory"); }

void dg_state_memory_destroy(dg_state_memory **memory)
{
    if (*memory != NULL) release_groups(*memory);
    dg_free(memory);
}

static entry *find_entry(const group *g, const char *name)
{
    for (size_t i = 0; i < g->count; i++)
        if (strcmp(g->entries[i].name, name) == 0) return &g->entries[i];
    return NULL;
}

/* A new entry with a copy of its values. */
static dg_status add_entry(group *g, const char *name, entry value, const void *bytes)
{
    if (find_entry(g, name) != NULL) return DG_FAIL(DG_ERR_INTERNAL, "state %s saves %s twice", g->name, name);
    if (g->count == g->capacity) {
        size_t bigger = g->capacity == 0 ? 8 : 2 * g->capacity;
        DG_TRY(dg_grow(&g->entries, g->capacity, bigger, sizeof(entry), "state entries"));
        g->capacity = bigger;
    }
    DG_TRY(dg_string_copy(name, &value.name));
    dg_status status = dg_alloc(&value.values, (size_t)value.bytes, 1, name);
    if (status != DG_OK) {
        dg_free(&value.name);
        return status;
    }
    if (value.bytes > 0) memcpy(value.values, bytes, (size_t)value.bytes);
    g->entries[g->count++] = value;
    return DG_OK;
}

static dg_status put(void *context, const char *name, dg_dtype type, int rank, const int64_t *shape, const void *values)
{
    group *g = context;
    entry e = {.type = type, .rank = rank, .bytes = (int64_t)dg_dtype_size(type)};
    if (rank < 0 || rank > SHAPE_MAX)
        return DG_FAIL(DG_ERR_INTERNAL, "state %s: %s has %d axes, at most %d are possible", g->name, name, rank,
                       SHAPE_MAX);
    for (int i = 0; i < rank; i++) {
        e.shape[i] = shape[i];
        if (!dg_mul_int64(e.bytes, shape[i], &e.bytes))
            return DG_FAIL(DG_ERR_INTERNAL, "state %s: %s has an impossible axis of %lld", g->name, name,
                           (long long)shape[i]);
    }
    return add_entry(g, name, e, values);
}

static dg_status put_text(void *context, const char *name, const char *text)
{
    entry e = {.is_text = true, .bytes = (int64_t)strlen(text) + 1};
    return add_entry(context, name, e, text);
}

static dg_status lookup(const group *g, const char *name, const entry **out)
{
    *out = find_entry(g, name);
    if (*out == NULL) return DG_FAIL(DG_ERR_FORMAT, "state %s has no %s", g->name, name);
    return DG_OK;
}

static dg_status get(void *context, const char *name, dg_dtype type, int rank, const int64_t *shape, void *values)
{
    const group *g = context;
    const entry *e;
    DG_TRY(lookup(g, name, &e));
    bool same = !e->is_text && e->type == type && e->rank == rank;
    for (int i = 0; same && i < rank; i++) same = e->shape[i] == shape[i];
    if (!same) return DG_FAIL(DG_ERR_MISMATCH, "state %s: %s was saved with another type or shape", g->name, name);
    if (e->bytes > 0) memcpy(values, e->values, (size_t)e->bytes);
    return DG_OK;
}

static dg_status get_text(void *context, const char *name, char *text, size_t capacity)
{
    const group *g = context;
    const entry *e;
    DG_TRY(lookup(g, name, &e));
    if (!e->is_text || (size_t)e->bytes > capacity)
        return DG_FAIL(DG_ERR_MISMATCH, "state %s: %s is no text of fewer than %zu bytes", g->name, name, capacity);
    memcpy(text, e->values, (size_t)e->bytes);
    return DG_OK;
}

static bool has(void *context, const char *name) { return find_entry(context, name) != NULL; }

static dg_status save_all(dg_state_memory *memory, const dg_state_registry *registry)
{
    for (int i = 0; i < registry->count; i++) {
        const dg_state *state = &registry->item[i];
        group *g = &memory->group[memory->count];
        *g = (group){.version = state->version};
        DG_TRY(dg_string_copy(state->name, &g->name));
        memory->count++;
        dg_state_sink sink = {.context = g, .put = put, .put_text = put_text};
        DG_TRY(dg_state_save(state, &sink));
    }
    return DG_OK;
}

dg_status dg_state_memory_save(dg_state_memory *memory, const dg_state_registry *registry)
{
    dg_state_memory *fresh; /* what was stored stays until everything new is there */
    DG_TRY(dg_state_memory_create(&fresh));
    dg_status status = save_all(fresh, registry);
    if (status == DG_OK) {
        dg_state_memory old = *memory;
        *memory = *fresh;
        *fresh = old;
    }
    dg_state_memory_destroy(&fresh);
    return status;
}

static group *find_group(const dg_state_memory *memory, const char *name)
{
    for (int i = 0; i < memory->count; i++)
        if (strcmp(memory->group[i].name, name) == 0) return (group *)&memory->group[i];
    return NULL;
}

dg_status dg_state_memory_load(const dg_state_memory *memory, const dg_state_registry *registry)
{
    for (int i = 0; i < memory->count; i++)
        if (dg_state_find(registry, memory->group[i].name) == NULL)
            return DG_FAIL(DG_ERR_MISMATCH, "the stored state %s is unknown to this run", memory->group[i].name);
    for (int i = 0; i < registry->count; i++) {
        const dg_state *state = &registry->item[i];
        group *g = find_group(memory, state->name);
        if (g == NULL) return DG_FAIL(DG_ERR_MISMATCH, "no state %s was stored", state->name);
        if (g->version > state->version)
            return DG_FAIL(DG_ERR_MISMATCH, "state %s was stored with version %d, this program knows up to %d",
                           state->name, g->version, state->version);
    }
    for (int i = 0; i < registry->count; i++) { /* nothing is loaded unless everything is there */
        const dg_state *state = &registry->item[i];
        group *g = find_group(memory, state->name);
        dg_state_source source = {.context = g, .get = get, .get_text = get_text, .has = has};
        DG_TRY(state->load(state->object, &source, g->version));
    }
    return DG_OK;
}

dg_status dg_state_memory_replay(const dg_state_memory *memory, const char *name, const dg_state_sink *sink)
{
    const group *g = find_group(memory, name);
    if (g == NULL) return DG_FAIL(DG_ERR_MISMATCH, "no state %s was stored", name);
    for (size_t i = 0; i < g->count; i++) {
        const entry *e = &g->entries[i];
        if (e->is_text)
            DG_TRY(sink->put_text(sink->context, e->name, e->values));
        else
            DG_TRY(sink->put(sink->context, e->name, e->type, e->rank, e->shape, e->values));
    }
    return DG_OK;
}
