/* chunk_cache.h - unpacked chunks that were read lately, shared by the cases of a cohort and by all threads. Sliding
 * windows unpack each chunk once instead of up to eight times. Private to hdf5_io. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CHUNK_CACHE_H
#define DG_CHUNK_CACHE_H

#include "dg_status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DG_CHUNK_CACHE_BYTES = 64 << 20 }; /* 12 channels of a 128^3 case */

typedef struct dg_chunk_cache dg_chunk_cache;

/* Which chunk: of what open case, which dataset, which place in its table. */
typedef struct dg_chunk_key {
    const void *owner;
    int table;
    int64_t index;
} dg_chunk_key;

/* A chunk in memory. `bytes` stay as they are while it is held. */
typedef struct dg_chunk {
    dg_chunk_key key;
    uint8_t *bytes;
    size_t size;
    int held;                       /* by how many readers */
    struct dg_chunk *newer, *older; /* in order of use; of the cache */
    struct dg_chunk *next;          /* in its bucket */
} dg_chunk;

/* Keeps at most `limit` bytes beyond what is held. All functions are thread-safe. */
DG_MUST_USE dg_status dg_chunk_cache_create(size_t limit, dg_chunk_cache **out);
void dg_chunk_cache_destroy(dg_chunk_cache **cache);
/* The chunk, held for the caller, or NULL. */
dg_chunk *dg_chunk_cache_find(dg_chunk_cache *cache, dg_chunk_key key);
/* Room for a chunk, held, to be filled by the caller and then either published or released. */
DG_MUST_USE dg_status dg_chunk_cache_room(dg_chunk_cache *cache, size_t size, dg_chunk **out);
/* Makes a filled chunk findable; it stays held. */
void dg_chunk_cache_publish(dg_chunk_cache *cache, dg_chunk_key key, dg_chunk *chunk);
void dg_chunk_cache_release(dg_chunk_cache *cache, dg_chunk *chunk);
/* Forgets the chunks of an owner that is about to end; none of them is held any more. */
void dg_chunk_cache_forget(dg_chunk_cache *cache, const void *owner);

#endif
