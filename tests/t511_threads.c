/* ctest: libs=dg_h5,Threads::Threads label=unit timeout=60 */
/* t511: one open case read by several threads at once, while another thread keeps HDF5 busy, gives what one thread reads;
 * the chunk cache stays within its bound and gives the right chunks when it has room for a few only.
 * SPDX-License-Identifier: Apache-2.0 */
#include "chunk_cache.h"
#include "t5_cases.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct reader {
    dg_case *c;
    const float *want[3]; /* CT, dose, SDF of structure 1; whole volumes */
    uint64_t seed;
} reader;

static void check_patch(const reader *r, const dg_box *box, int which, float *out)
{
    static const dg_field field[3] = {DG_FIELD_CT_HU, DG_FIELD_DOSE_GY, DG_FIELD_SDF_MM};
    const dg_grid *g = &dg_case_get_info(r->c)->grid;
    DG_CHECK_OK(dg_case_read(r->c, field[which], 1, box, out));
    for (int64_t i = 0; i < dg_box_voxels(box); i++) {
        int64_t x = box->start[2] + i % box->shape[2], y = box->start[1] + i / box->shape[2] % box->shape[1];
        int64_t z = box->start[0] + i / box->shape[2] / box->shape[1];
        DG_CHECK(out[i] == r->want[which][dg_grid_index(g, z, y, x)]);
    }
}

static void *read_patches(void *context)
{
    const reader *r = context;
    const dg_grid *g = &dg_case_get_info(r->c)->grid;
    dg_rng rng = dg_rng_stream(r->seed, DG_RNG_TEST, 0, 0);
    float out[20 * 20 * 20];
    for (int i = 0; i < 60; i++) {
        dg_box box = {.shape = {20, 20, 20}};
        for (int a = 0; a < 3; a++) box.start[a] = dg_rng_below(&rng, g->shape[a] - 19);
        check_patch(r, &box, i % 3, out);
    }
    return NULL;
}

static atomic_bool stop;

static void *keep_hdf5_busy(void *context)
{
    while (!atomic_load(&stop)) DG_CHECK_OK(dg_case_verify(context, 0));
    return NULL;
}

static void check_readers(const dg_cohort *cohort)
{
    enum { READERS = 4 };
    const dg_grid *g = &dg_cohort_case(cohort, 0)->grid;
    dg_box all = {.shape = {g->shape[0], g->shape[1], g->shape[2]}};
    float *whole[3];
    reader r[READERS];
    pthread_t thread[READERS], busy;
    dg_case *c;
    static const dg_field field[3] = {DG_FIELD_CT_HU, DG_FIELD_DOSE_GY, DG_FIELD_SDF_MM};
    DG_CHECK_OK(dg_case_open(cohort, 0, &c));
    for (int i = 0; i < 3; i++) {
        DG_CHECK_OK(DG_NEW(&whole[i], dg_grid_voxels(g), "volume"));
        DG_CHECK_OK(dg_case_read(c, field[i], 1, &all, whole[i]));
    }
    dg_case_close(&c);
    DG_CHECK_OK(dg_case_open(cohort, 0, &c)); /* with nothing in the cache */
    DG_CHECK(pthread_create(&busy, NULL, keep_hdf5_busy, (void *)cohort) == 0);
    for (int i = 0; i < READERS; i++) {
        r[i] = (reader){.c = c, .want = {whole[0], whole[1], whole[2]}, .seed = (uint64_t)i};
        DG_CHECK(pthread_create(&thread[i], NULL, read_patches, &r[i]) == 0);
    }
    for (int i = 0; i < READERS; i++) DG_CHECK(pthread_join(thread[i], NULL) == 0);
    atomic_store(&stop, true);
    DG_CHECK(pthread_join(busy, NULL) == 0);
    dg_case_close(&c);
    for (int i = 0; i < 3; i++) dg_free(&whole[i]);
}

typedef struct cache_user {
    dg_chunk_cache *cache;
    uint64_t seed;
    int64_t hits;
} cache_user;

/* Every chunk is filled with a byte that follows from its key. */
static void *use_cache(void *context)
{
    cache_user *user = context;
    dg_rng rng = dg_rng_stream(user->seed, DG_RNG_TEST, 3, 0);
    for (int i = 0; i < 4000; i++) {
        dg_chunk_key key = {.owner = user->cache, .table = (int)dg_rng_below(&rng, 3), .index = dg_rng_below(&rng, 8)};
        uint8_t mark = (uint8_t)(key.table * 50 + key.index + 1);
        size_t size = key.table == 0 ? 64 : 96;
        dg_chunk *chunk = dg_chunk_cache_find(user->cache, key);
        if (chunk != NULL) {
            user->hits++;
        } else {
            DG_CHECK_OK(dg_chunk_cache_room(user->cache, size, &chunk));
            memset(chunk->bytes, mark, size);
            dg_chunk_cache_publish(user->cache, key, chunk);
        }
        DG_CHECK(chunk->size == size && chunk->bytes[0] == mark && chunk->bytes[size - 1] == mark);
        dg_chunk_cache_release(user->cache, chunk);
    }
    return NULL;
}

static void check_cache(void)
{
    dg_chunk_cache *cache;
    cache_user user[3];
    pthread_t thread[3];
    DG_CHECK_OK(dg_chunk_cache_create(700, &cache)); /* room for a third of what is used */
    for (int i = 0; i < 3; i++) {
        user[i] = (cache_user){.cache = cache, .seed = (uint64_t)i};
        DG_CHECK(pthread_create(&thread[i], NULL, use_cache, &user[i]) == 0);
    }
    for (int i = 0; i < 3; i++) DG_CHECK(pthread_join(thread[i], NULL) == 0);
    int64_t there = 0, hits = 0;
    for (int t = 0; t < 3; t++) {
        for (int64_t i = 0; i < 8; i++) {
            dg_chunk *chunk = dg_chunk_cache_find(cache, (dg_chunk_key){.owner = cache, .table = t, .index = i});
            if (chunk == NULL) continue;
            there += (int64_t)chunk->size;
            dg_chunk_cache_release(cache, chunk);
        }
        hits += user[t].hits;
    }
    DG_CHECK(there <= 700 && there > 400 && hits > 1000);
    dg_chunk_cache_forget(cache, cache);
    DG_CHECK(dg_chunk_cache_find(cache, (dg_chunk_key){.owner = cache, .table = 1, .index = 1}) == NULL);
    dg_chunk_cache_destroy(&cache);
}

int main(void)
{
    char folder[64];
    t5_case c;
    dg_cohort *cohort;
    t5_temporary(folder);
    t5_make(&c, "a", 40, 50, 70);
    DG_CHECK_OK(dg_case_write(folder, &c.data));
    t5_release(&c);
    DG_CHECK_OK(dg_cohort_open(folder, &cohort));
    check_readers(cohort);
    dg_cohort_close(&cohort);
    check_cache();
    t5_remove_tree(folder);
    return 0;
}
