/* h5_write_plane.c - chunks of a volume packed in threads: HDF5 itself packs one after the other.
 * SPDX-License-Identifier: Apache-2.0 */
#include "h5_impl.h"

#include "dg_mem.h"

#include <stdlib.h>
#include <string.h>

enum { CHECKSUM = 4 };

/* One chunk as it is stored: shuffled, LZ4, then fletcher32. */
typedef struct packed_chunk {
    uint8_t *bytes; /* from malloc */
    size_t length;
} packed_chunk;

/* The values of a chunk, low bytes first and high bytes behind them; 0 where it reaches out of the volume. */
static void shuffle_chunk(const int16_t *values, const int64_t shape[3], const int64_t chunk[3], const int64_t start[3],
                          uint8_t *out)
{
    const int64_t count = chunk[0] * chunk[1] * chunk[2];
    memset(out, 0, (size_t)(2 * count));
    for (int64_t z = 0; z < chunk[0] && start[0] + z < shape[0]; z++)
        for (int64_t y = 0; y < chunk[1] && start[1] + y < shape[1]; y++) {
            const int64_t width = shape[2] - start[2] < chunk[2] ? shape[2] - start[2] : chunk[2];
            const int16_t *row = values + ((start[0] + z) * shape[1] + start[1] + y) * shape[2] + start[2];
            uint8_t *low = out + (z * chunk[1] + y) * chunk[2], *high = low + count;
            for (int64_t x = 0; x < width; x++) {
                low[x] = (uint8_t)((uint16_t)row[x] & 255);
                high[x] = (uint8_t)((uint16_t)row[x] >> 8);
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

/* Where chunk number i of the volume begins. */
static void chunk_start(int64_t i, const int64_t grid[3], const int64_t chunk[3], int64_t start[3])
{
    start[0] = i / grid[2] / grid[1] * chunk[0];
    start[1] = i / grid[2] % grid[1] * chunk[1];
    start[2] = i % grid[2] * chunk[2];
}

dg_status dg_h5_write_plane_i16(hid_t dataset, int64_t index, const int64_t shape_zyx[3], const int64_t chunk_zyx[3],
                                const int16_t *values, int threads, const char *role)
{
    int64_t grid[3], bytes = 2, failed = 0;
    packed_chunk *packed = NULL;
    dg_status status;
    for (int a = 0; a < 3; a++) {
        grid[a] = (shape_zyx[a] + chunk_zyx[a] - 1) / chunk_zyx[a];
        bytes *= chunk_zyx[a];
    }
    const int64_t count = grid[0] * grid[1] * grid[2];
    DG_TRY_GOTO(status, DG_NEW(&packed, count, "packed chunks"), cleanup);
#pragma omp parallel num_threads(threads) reduction(+ : failed)
    {
        uint8_t *shuffled = malloc((size_t)bytes);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < count; i++) {
            int64_t start[3];
            chunk_start(i, grid, chunk_zyx, start);
            if (shuffled != NULL) shuffle_chunk(values, shape_zyx, chunk_zyx, start, shuffled);
            failed += shuffled == NULL || !pack_chunk(shuffled, (size_t)bytes, &packed[i]);
        }
        free(shuffled);
    }
    if (failed > 0) status = DG_FAIL(DG_ERR_MEMORY, "%s: no memory to pack a volume", role);
    for (int64_t i = 0; status == DG_OK && i < count; i++) {
        int64_t start[3];
        chunk_start(i, grid, chunk_zyx, start);
        const hsize_t at[4] = {(hsize_t)index, (hsize_t)start[0], (hsize_t)start[1], (hsize_t)start[2]};
        if (H5Dwrite_chunk(dataset, H5P_DEFAULT, 0, at, packed[i].length, packed[i].bytes) < 0)
            status = DG_H5_FAIL(DG_ERR_IO, "%s: a chunk cannot be written", role);
    }
cleanup:
    for (int64_t i = 0; packed != NULL && i < count; i++) free(packed[i].bytes);
    dg_free(&packed);
    return status;
}
