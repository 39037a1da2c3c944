/* chunk_cache.c - see chunk_cache.h: a hash table over a list in order of use. SPDX-License-Identifier: Apache-2.0 */
#include "chunk_cache.h"

#include "dg_mem.h"

#include <pthread.h>

enum { BUCKETS = 4096 };

struct dg_chunk_cache {
    pthread_mutex_t guard;
    size_t limit, used, spared; /* bytes of published chunks, of spare ones */
    dg_chunk *spare[64];        /* empty rooms by the logarithm of their size: fresh memory costs more than unpacking */
    dg_chunk *newest, *oldest;
    dg_chunk *bucket[BUCKETS];
};

static bool same_key(const dg_chunk_key *a, const dg_chunk_key *b)
{
    return a->owner == b->owner && a->table == b->table && a->index == b->index;
}

static size_t bucket_of(const dg_chunk_key *key)
{
    uint64_t mixed =
        ((uint64_t)(uintptr_t)key->owner >> 4) * 0x9e3779b97f4a7c15u + (uint64_t)key->index * 8 + (uint64_t)key->table;
    mixed *= 0x9e3779b97f4a7c15u;
    return (size_t)(mixed >> 52);
}

_Static_assert(BUCKETS == 1 << (64 - 52), "bucket_of keeps the upper 12 bits");

dg_status dg_chunk_cache_create(size_t limit, dg_chunk_cache **out)
{
    DG_TRY(DG_NEW(out, 1, "chunk cache"));
    (*out)->limit = limit;
    pthread_mutex_init(&(*out)->guard, NULL);
    return DG_OK;
}

static void chunk_free(dg_chunk *chunk)
{
    dg_free(&chunk->bytes);
    dg_free(&chunk);
}

static int spare_class(size_t size) { return 63 - __builtin_clzll((unsigned long long)size | 1); }

static void keep_spare(dg_chunk_cache *cache, dg_chunk *chunk)
{
    dg_chunk **top = &cache->spare[spare_class(chunk->size)];
    chunk->next = *top;
    *top = chunk;
    cache->spared += chunk->size;
}

static dg_chunk *take_spare(dg_chunk_cache *cache, int class)
{
    dg_chunk *chunk = cache->spare[class];
    if (chunk == NULL) return NULL;
    cache->spare[class] = chunk->next;
    chunk->next = NULL;
    cache->spared -= chunk->size;
    return chunk;
}

static void free_spares(dg_chunk_cache *cache)
{
    for (int class = 0; class < 64; class ++)
        for (dg_chunk *chunk; (chunk = take_spare(cache, class)) != NULL;) chunk_free(chunk);
}

void dg_chunk_cache_destroy(dg_chunk_cache **cache)
{
    if (*cache != NULL) {
        for (dg_chunk *chunk = (*cache)->newest, *older; chunk != NULL; chunk = older) {
            older = chunk->older;
            chunk_free(chunk);
        }
        free_spares(*cache);
        pthread_mutex_destroy(&(*cache)->guard);
    }
    dg_free(cache);
}

static void unlink_use(dg_chunk_cache *cache, dg_chunk *chunk)
{
    *(chunk->newer != NULL ? &chunk->newer->older : &cache->newest) = chunk->older;
    *(chunk->older != NULL ? &chunk->older->newer : &cache->oldest) = chunk->newer;
    chunk->newer = chunk->older = NULL;
}

static void link_newest(dg_chunk_cache *cache, dg_chunk *chunk)
{
    chunk->newer = NULL;
    chunk->older = cache->newest;
    *(cache->newest != NULL ? &cache->newest->newer : &cache->oldest) = chunk;
    cache->newest = chunk;
}

static dg_chunk *lookup(dg_chunk_cache *cache, const dg_chunk_key *key)
{
    dg_chunk *chunk = cache->bucket[bucket_of(key)];
    while (chunk != NULL && !same_key(&chunk->key, key)) chunk = chunk->next;
    return chunk;
}

/* Takes a published chunk out of table and list; it is the caller's then. */
static void take_out(dg_chunk_cache *cache, dg_chunk *chunk)
{
    dg_chunk **slot = &cache->bucket[bucket_of(&chunk->key)];
    while (*slot != chunk) slot = &(*slot)->next;
    *slot = chunk->next;
    chunk->next = NULL;
    unlink_use(cache, chunk);
    cache->used -= chunk->size;
    chunk->key.owner = NULL;
}

dg_chunk *dg_chunk_cache_find(dg_chunk_cache *cache, dg_chunk_key key)
{
    pthread_mutex_lock(&cache->guard);
    dg_chunk *chunk = lookup(cache, &key);
    if (chunk != NULL) {
        chunk->held++;
        unlink_use(cache, chunk);
        link_newest(cache, chunk);
    }
    pthread_mutex_unlock(&cache->guard);
    return chunk;
}

/* A spare room of that size, else the room of the chunk that was not used for the longest time, if nobody holds it and the
 * cache is full anyway. */
static dg_chunk *recycle(dg_chunk_cache *cache, size_t size)
{
    pthread_mutex_lock(&cache->guard);
    const dg_chunk *top = cache->spare[spare_class(size)];
    dg_chunk *chunk = NULL;
    if (top != NULL && top->size == size)
        chunk = take_spare(cache, spare_class(size));
    else if (cache->used + size > cache->limit && cache->oldest != NULL && cache->oldest->held == 0 &&
             cache->oldest->size == size) {
        chunk = cache->oldest;
        take_out(cache, chunk);
    }
    pthread_mutex_unlock(&cache->guard);
    return chunk;
}

dg_status dg_chunk_cache_room(dg_chunk_cache *cache, size_t size, dg_chunk **out)
{
    *out = recycle(cache, size);
    if (*out == NULL) {
        DG_TRY(DG_NEW(out, 1, "chunk"));
        dg_status status = dg_alloc(&(*out)->bytes, size, 1, "chunk");
        if (status != DG_OK) {
            dg_free(out);
            return status;
        }
        (*out)->size = size;
    }
    (*out)->held = 1;
    return DG_OK;
}

static void evict(dg_chunk_cache *cache)
{
    if (cache->used + cache->spared > cache->limit) free_spares(cache);
    for (dg_chunk *chunk = cache->oldest, *newer; chunk != NULL && cache->used > cache->limit; chunk = newer) {
        newer = chunk->newer;
        if (chunk->held > 0) continue;
        take_out(cache, chunk);
        chunk_free(chunk);
    }
}

void dg_chunk_cache_publish(dg_chunk_cache *cache, dg_chunk_key key, dg_chunk *chunk)
{
    pthread_mutex_lock(&cache->guard);
    if (lookup(cache, &key) == NULL) { /* else another thread was faster, and this one stays the caller's alone */
        dg_chunk **slot = &cache->bucket[bucket_of(&key)];
        chunk->key = key;
        chunk->next = *slot;
        *slot = chunk;
        link_newest(cache, chunk);
        cache->used += chunk->size;
        evict(cache);
    }
    pthread_mutex_unlock(&cache->guard);
}

void dg_chunk_cache_release(dg_chunk_cache *cache, dg_chunk *chunk)
{
    pthread_mutex_lock(&cache->guard);
    chunk->held--;
    bool mine = chunk->key.owner == NULL && chunk->held == 0;
    pthread_mutex_unlock(&cache->guard);
    if (mine) chunk_free(chunk);
}

void dg_chunk_cache_forget(dg_chunk_cache *cache, const void *owner)
{
    pthread_mutex_lock(&cache->guard);
    for (dg_chunk *chunk = cache->newest, *older; chunk != NULL; chunk = older) {
        older = chunk->older;
        if (chunk->key.owner != owner) continue;
        take_out(cache, chunk);
        keep_spare(cache, chunk);
    }
    pthread_mutex_unlock(&cache->guard);
}
