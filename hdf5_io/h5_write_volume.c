/* h5_write_volume.c - a volume becomes packed chunks and part of a content hash in one pass: chunks are packed in threads, where
 * HDF5 itself packs one after the other, while one thread hashes. SPDX-License-Identifier: Apache-2.0 */
#include "h5_impl.h"

#include "dg_mem.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { CHECKSUM = 4, HASH_RUN = 1 << 14 };

/* One chunk as it is stored: shuffled, LZ4, then fletcher32. */
typedef struct packed_chunk {
    uint8_t *bytes; /* from malloc */
    size_t length;
} packed_chunk;

/* What one thread packs with. Many chunks are what the one before was: air, or far from a structure. */
typedef struct packer {
    uint8_t *shuffled, *before,
        *spare;        /* a chunk; the last one that was packed; values that are made as they are asked for */
    packed_chunk last; /* borrowed from the layer; length 0: none */
} packer;

/* What a layer of chunks is packed from and to. */
typedef struct layer {
    const dg_h5_volume *v;
    int64_t grid[3], z; /* chunks along the axes, of the volume; which layer it is */
    size_t value_bytes, chunk_bytes;
    packed_chunk *packed; /* [grid[1], grid[2]] */
} layer;

/* Bytes of equal significance of a row behind each other; planes of them lie `count` apart. */
static inline __attribute__((always_inline)) void shuffle_row(const uint8_t *row, int64_t width, size_t size,
                                                              int64_t count, uint8_t *out)
{
    for (size_t b = 0; b < size; b++)
        for (int64_t x = 0; x < width; x++) out[(int64_t)b * count + x] = row[x * (int64_t)size + (int64_t)b];
}

/* HDF5 fills what reaches out of the volume with the dataset's fill value: NaN in floats, else 0. */
static void fill_outside(dg_dtype type, int64_t count, uint8_t *shuffled)
{
    static const float nan32 = NAN;
    uint8_t bytes[sizeof nan32];
    memset(shuffled, 0, (size_t)count * dg_dtype_size(type));
    memcpy(bytes, &nan32, sizeof bytes);
    for (size_t b = 0; type == DG_F32 && b < sizeof bytes; b++)
        memset(shuffled + (int64_t)b * count, bytes[b], (size_t)count);
}

static void shuffle_chunk(const layer *l, const int64_t start[3], uint8_t *spare, uint8_t *out)
{
    const dg_h5_volume *v = l->v;
    const int64_t *chunk = v->chunk, *shape = v->shape, count = chunk[0] * chunk[1] * chunk[2];
    const int64_t width = shape[2] - start[2] < chunk[2] ? shape[2] - start[2] : chunk[2];
    bool cut = false;
    for (int a = 0; a < 3; a++) cut = cut || start[a] + chunk[a] > shape[a];
    if (cut) fill_outside(v->type, count, out);
    for (int64_t z = 0; z < chunk[0] && start[0] + z < shape[0]; z++)
        for (int64_t y = 0; y < chunk[1] && start[1] + y < shape[1]; y++) {
            const int64_t index = ((start[0] + z) * shape[1] + start[1] + y) * shape[2] + start[2];
            const uint8_t *row = v->values(v->user, index, width, spare);
            uint8_t *to = out + (z * chunk[1] + y) * chunk[2];
            switch (l->value_bytes) { /* lengths the compiler knows */
            case 1: shuffle_row(row, width, 1, count, to); break;
            case 2: shuffle_row(row, width, 2, count, to); break;
            case 4: shuffle_row(row, width, 4, count, to); break;
            default: shuffle_row(row, width, 8, count, to); break;
            }
        }
}

static bool pack_chunk(const uint8_t *shuffled, size_t bytes, packed_chunk *out)
{
    uint8_t *packed;
    const size_t length = dg_lz4_encode(shuffled, bytes, &packed);
    uint8_t *whole = length == 0 ? NULL : realloc(packed, length + CHECKSUM);
    if (whole == NULL) {
        free(packed);
        return false;
    }
    const uint32_t sum = dg_fletcher32(whole, length);
    for (int i = 0; i < CHECKSUM; i++) whole[length + (size_t)i] = (uint8_t)(sum >> 8 * i);
    *out = (packed_chunk){.bytes = whole, .length = length + CHECKSUM};
    return true;
}

static bool copy_chunk(const packed_chunk *from, packed_chunk *out)
{
    out->bytes = malloc(from->length);
    if (out->bytes == NULL) return false;
    memcpy(out->bytes, from->bytes, from->length);
    out->length = from->length;
    return true;
}

static void chunk_start(const layer *l, int64_t i, int64_t start[3])
{
    start[0] = l->z * l->v->chunk[0];
    start[1] = i / l->grid[2] * l->v->chunk[1];
    start[2] = i % l->grid[2] * l->v->chunk[2];
}

/* Chunk i of the layer; false without memory. */
static bool pack_one(const layer *l, int64_t i, packer *p)
{
    int64_t start[3];
    packed_chunk *out = &l->packed[i];
    chunk_start(l, i, start);
    shuffle_chunk(l, start, p->spare, p->shuffled);
    if (p->last.length > 0 && memcmp(p->shuffled, p->before, l->chunk_bytes) == 0) return copy_chunk(&p->last, out);
    if (!pack_chunk(p->shuffled, l->chunk_bytes, out)) return false;
    uint8_t *const packed = p->shuffled;
    p->shuffled = p->before;
    p->before = packed;
    p->last = *out;
    return true;
}

/* The layer's values, in runs. */
static dg_status hash_layer(const layer *l, uint8_t *spare, dg_hash *hash)
{
    const dg_h5_volume *v = l->v;
    const int64_t slice = v->shape[1] * v->shape[2], first = l->z * v->chunk[0];
    const int64_t last = first + v->chunk[0] < v->shape[0] ? first + v->chunk[0] : v->shape[0];
    for (int64_t i = first * slice; i < last * slice; i += HASH_RUN) {
        const int64_t run = last * slice - i < HASH_RUN ? last * slice - i : HASH_RUN;
        DG_TRY(dg_hash_add(hash, v->values(v->user, i, run, spare), (size_t)run * l->value_bytes));
    }
    return DG_OK;
}

static dg_status pack_layer(const layer *l, packer *packers, int threads, dg_hash *hash, const char *role)
{
    const int64_t count = l->grid[1] * l->grid[2];
    int64_t failed = 0;
    dg_status status = DG_OK;
#pragma omp parallel num_threads(threads) reduction(+ : failed)
    {
        packer *mine = &packers[omp_get_thread_num()];
        mine->last.length = 0;
#pragma omp master
        status = hash_layer(l, mine->spare, hash);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < count; i++) failed += !pack_one(l, i, mine);
    }
    if (status == DG_OK && failed > 0) status = DG_FAIL(DG_ERR_MEMORY, "%s: no memory to pack a volume", role);
    return status;
}

static dg_status put_layer(hid_t dataset, int64_t index, const layer *l, const char *role)
{
    for (int64_t i = 0; i < l->grid[1] * l->grid[2]; i++) {
        int64_t start[3];
        chunk_start(l, i, start);
        const hsize_t at[4] = {(hsize_t)index, (hsize_t)start[0], (hsize_t)start[1], (hsize_t)start[2]};
        const packed_chunk *chunk = &l->packed[i];
        if (H5Dwrite_chunk(dataset, H5P_DEFAULT, 0, index < 0 ? at + 1 : at, chunk->length, chunk->bytes) < 0)
            return DG_H5_FAIL(DG_ERR_IO, "%s: a chunk cannot be written", role);
    }
    return DG_OK;
}

static void release_layer(const layer *l)
{
    for (int64_t i = 0; i < l->grid[1] * l->grid[2]; i++) {
        free(l->packed[i].bytes);
        l->packed[i] = (packed_chunk){0};
    }
}

static dg_status make_packers(const layer *l, int threads, packer **out)
{
    const size_t spare = HASH_RUN * l->value_bytes;
    DG_TRY(DG_NEW(out, threads, "packers of chunks"));
    for (int t = 0; t < threads; t++) {
        DG_TRY(dg_alloc(&(*out)[t].shuffled, l->chunk_bytes, 1, "chunk to pack"));
        DG_TRY(dg_alloc(&(*out)[t].before, l->chunk_bytes, 1, "chunk that was packed"));
        DG_TRY(dg_alloc(&(*out)[t].spare, spare, 1, "values of a chunk"));
    }
    return DG_OK;
}

static void release_packers(packer **packers, int threads)
{
    for (int t = 0; *packers != NULL && t < threads; t++) {
        dg_free(&(*packers)[t].shuffled);
        dg_free(&(*packers)[t].before);
        dg_free(&(*packers)[t].spare);
    }
    dg_free(packers);
}

/* Layer by layer, so that only a few packed chunks wait for HDF5 at a time. */
dg_status dg_h5_write_volume(hid_t dataset, int64_t index, const dg_h5_volume *v, int threads, dg_hash *hash,
                             const char *role)
{
    layer l = {.v = v, .value_bytes = dg_dtype_size(v->type)};
    packer *packers = NULL;
    dg_status status;
    for (int a = 0; a < 3; a++) l.grid[a] = (v->shape[a] + v->chunk[a] - 1) / v->chunk[a];
    l.chunk_bytes = (size_t)(v->chunk[0] * v->chunk[1] * v->chunk[2]) * l.value_bytes;
    DG_TRY_GOTO(status, DG_NEW(&l.packed, l.grid[1] * l.grid[2], "packed chunks"), cleanup);
    DG_TRY_GOTO(status, make_packers(&l, threads, &packers), cleanup);
    for (; status == DG_OK && l.z < l.grid[0]; l.z++) {
        dg_h5_unlock(); /* others may use HDF5 meanwhile */
        status = pack_layer(&l, packers, threads, hash, role);
        dg_h5_lock();
        if (status == DG_OK) status = put_layer(dataset, index, &l, role);
        release_layer(&l);
    }
cleanup:
    release_packers(&packers, threads);
    dg_free(&l.packed);
    return status;
}

const void *dg_h5_array_values(const void *user, int64_t index, int64_t count, void *spare)
{
    const dg_h5_array *a = user;
    return (const uint8_t *)a->values + index * (int64_t)dg_dtype_size(a->type);
}
