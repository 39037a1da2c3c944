/* dg_state.h - what survives a step: objects that save themselves into a checkpoint and come back from one.
 *
 * A dg_state names an object, its format version and how to save and load it. The checkpoint writer gives each its own
 * group; on load an unknown, missing or newer group is an error that names it. The storage behind it is abstract:
 * `dg_state_memory.c` keeps arrays in memory (tests, rollback), `hdf5_io` writes groups of an HDF5 file.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_STATE_H
#define DG_STATE_H

#include "dg_dtype.h"
#include "dg_status.h"

#include <stdbool.h>

/* Where named arrays go; one sink is one group. Arrays are C order; `values` is borrowed for the call. */
typedef struct dg_state_sink {
    void *context;
    dg_status (*put)(void *context, const char *name, dg_dtype type, int rank, const int64_t *shape,
                     const void *values);
    dg_status (*put_text)(void *context, const char *name, const char *text);
} dg_state_sink;

/* Where named arrays come from. get fails with DG_ERR_MISMATCH when type or shape differ, DG_ERR_FORMAT when missing. */
typedef struct dg_state_source {
    void *context;
    dg_status (*get)(void *context, const char *name, dg_dtype type, int rank, const int64_t *shape, void *values);
    dg_status (*get_text)(void *context, const char *name, char *text, size_t capacity);
    bool (*has)(void *context, const char *name);
} dg_state_source;

/* One object that survives. `load` gets the version that was saved, 1 .. version. */
typedef struct dg_state {
    const char *name; /* the group: "params", "optimizer", "ema", "sampler", ... */
    int version;
    void *object; /* borrowed */
    dg_status (*save)(const void *object, const dg_state_sink *sink);
    dg_status (*load)(void *object, const dg_state_source *source, int version);
    /* Of objects too large to be saved in passing, all three in place of `save`. `take` copies what is to be saved into
     * *copy, made at the first call (NULL) and filled again at later ones; `save_copy` saves from it, in any thread, while
     * the object goes on. */
    dg_status (*take)(const void *object, void **copy);
    dg_status (*save_copy)(const void *object, const void *copy, const dg_state_sink *sink);
    void (*free_copy)(void **copy);
} dg_state;

/* The registered objects of a run, in order of registration. */
enum { DG_STATE_MAX = 32 };
typedef struct dg_state_registry {
    dg_state item[DG_STATE_MAX];
    int count;
} dg_state_registry;

/* Adds an object; a second one of the same name is DG_ERR_INTERNAL. */
DG_MUST_USE dg_status dg_state_register(dg_state_registry *registry, dg_state state);
/* Saves one object, by a copy that is gone afterwards where it has no `save`. */
DG_MUST_USE dg_status dg_state_save(const dg_state *state, const dg_state_sink *sink);
/* The object called `name`, or NULL. */
const dg_state *dg_state_find(const dg_state_registry *registry, const char *name);

/* Scalars as arrays of one element. */
DG_MUST_USE dg_status dg_state_put_int(const dg_state_sink *sink, const char *name, int64_t value);
DG_MUST_USE dg_status dg_state_get_int(const dg_state_source *source, const char *name, int64_t *value);
DG_MUST_USE dg_status dg_state_put_double(const dg_state_sink *sink, const char *name, double value);
DG_MUST_USE dg_status dg_state_get_double(const dg_state_source *source, const char *name, double *value);

/* A store in memory with one group per state: the fake of the HDF5 checkpoint, and what a rollback restores from. */
typedef struct dg_state_memory dg_state_memory;
DG_MUST_USE dg_status dg_state_memory_create(dg_state_memory **out);
void dg_state_memory_destroy(dg_state_memory **memory);
/* Saves all objects, replacing what was stored; loads them back. */
DG_MUST_USE dg_status dg_state_memory_save(dg_state_memory *memory, const dg_state_registry *registry);
DG_MUST_USE dg_status dg_state_memory_load(const dg_state_memory *memory, const dg_state_registry *registry);
/* Gives everything stored under `name` to a sink, in the order it came. */
DG_MUST_USE dg_status dg_state_memory_replay(const dg_state_memory *memory, const char *name,
                                             const dg_state_sink *sink);

/* The objects of a registry at one moment: taken in the time of a copy, saved later by another thread. `live` is copied;
 * its objects must outlive what was frozen. */
typedef struct dg_state_frozen dg_state_frozen;
DG_MUST_USE dg_status dg_state_frozen_create(const dg_state_registry *live, dg_state_frozen **out);
void dg_state_frozen_destroy(dg_state_frozen **frozen);
/* Takes the present state in place of what was taken before; on failure there is nothing to save any more. */
DG_MUST_USE dg_status dg_state_frozen_take(dg_state_frozen *frozen);
/* Objects that save what was taken; they have no load. Valid until `frozen` is destroyed. */
const dg_state_registry *dg_state_frozen_registry(const dg_state_frozen *frozen);

#endif
