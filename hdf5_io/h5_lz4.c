/* h5_lz4.c - HDF5 filter 32004: LZ4 blocks, as h5py + hdf5plugin read and write them.
 *
 * Stored chunk: original size (8 bytes, big-endian), block size (4 bytes, big-endian), then for each block its stored
 * size (4 bytes, big-endian) and bytes; a block that does not shrink is stored as it is, its stored size then equals its
 * original size. Format: https://support.hdfgroup.org/services/filters/HDF5_LZ4.pdf
 * SPDX-License-Identifier: Apache-2.0 */
#include "h5_impl.h"

#include <lz4.h>
#include <lz4hc.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD = 12, BLOCK_HEAD = 4, BLOCK_MAX = 1 << 30 };

static uint64_t read_big(const uint8_t *bytes, int count)
{
    uint64_t value = 0;
    for (int i = 0; i < count; i++) value = value << 8 | bytes[i];
    return value;
}

static void write_big(uint8_t *bytes, int count, uint64_t value)
{
    for (int i = count - 1; i >= 0; i--, value >>= 8) bytes[i] = (uint8_t)value;
}

static bool decode_block(const uint8_t *in, size_t stored, uint8_t *out, size_t size)
{
    if (stored == size) {
        memcpy(out, in, size);
        return true;
    }
    return LZ4_decompress_safe((const char *)in, (char *)out, (int)stored, (int)size) == (int)size;
}

bool dg_lz4_decode(const uint8_t *in, size_t in_bytes, uint8_t *out, size_t capacity)
{
    if (in_bytes < HEAD || read_big(in, 8) != capacity) return false;
    uint64_t block = read_big(in + 8, 4);
    if (block == 0 || block > BLOCK_MAX) return false;
    size_t at = HEAD;
    for (size_t done = 0; done < capacity;) {
        size_t size = capacity - done < block ? capacity - done : (size_t)block;
        if (in_bytes - at < BLOCK_HEAD) return false;
        uint64_t stored = read_big(in + at, 4);
        at += BLOCK_HEAD;
        if (stored == 0 || stored > size || stored > in_bytes - at) return false;
        if (!decode_block(in + at, (size_t)stored, out + done, size)) return false;
        at += (size_t)stored;
        done += size;
    }
    return at == in_bytes;
}

/* The thorough packer at its fastest useful level: distance maps get 13 % smaller and unpack a little faster than with the
 * hasty one. A case is read thousands of times for each time it is written. */
enum { LEVEL = 4 };

/* Writers here always make one block: chunks are far below 1 GiB. */
size_t dg_lz4_encode(const uint8_t *in, size_t bytes, uint8_t **out)
{
    *out = NULL;
    if (bytes == 0 || bytes > BLOCK_MAX) return 0;
    size_t room = HEAD + BLOCK_HEAD + (size_t)LZ4_compressBound((int)bytes);
    *out = malloc(room);
    if (*out == NULL) return 0;
    uint8_t *body = *out + HEAD + BLOCK_HEAD;
    int stored = LZ4_compress_HC((const char *)in, (char *)body, (int)bytes, LZ4_compressBound((int)bytes), LEVEL);
    if (stored <= 0 || (size_t)stored >= bytes) {
        memcpy(body, in, bytes);
        stored = (int)bytes;
    }
    write_big(*out, 8, bytes);
    write_big(*out + 8, 4, bytes);
    write_big(*out + HEAD, 4, (uint64_t)stored);
    return HEAD + BLOCK_HEAD + (size_t)stored;
}

static size_t decode(const uint8_t *in, size_t bytes, uint8_t **out, size_t *capacity)
{
    enum { CHUNK_MAX = INT32_MAX };
    if (bytes < HEAD) return 0;
    uint64_t size = read_big(in, 8);
    /* LZ4 cannot shrink by more than 255: a larger promise is damage, not a reason to ask for so much memory */
    if (size == 0 || size > CHUNK_MAX || size / 256 > bytes) return 0;
    *out = malloc((size_t)size);
    if (*out == NULL) return 0;
    *capacity = (size_t)size;
    return dg_lz4_decode(in, bytes, *out, (size_t)size) ? (size_t)size : 0;
}

static size_t filter(unsigned flags, size_t value_count, const unsigned values[], size_t bytes, size_t *buffer_size,
                     void **buffer)
{
    uint8_t *out = NULL;
    size_t capacity = 0, result;
    if (flags & H5Z_FLAG_REVERSE)
        result = decode(*buffer, bytes, &out, &capacity);
    else
        capacity = result = dg_lz4_encode(*buffer, bytes, &out);
    if (result == 0) {
        free(out);
        return 0;
    }
    free(*buffer); /* HDF5 takes its buffers from malloc, and wants ours from there */
    *buffer = out;
    *buffer_size = capacity;
    return result;
}

void dg_lz4_register(void)
{
    static const H5Z_class2_t lz4 = {.version = H5Z_CLASS_T_VERS,
                                     .id = DG_H5_FILTER_LZ4,
                                     .encoder_present = 1,
                                     .decoder_present = 1,
                                     .name = "LZ4 (dosegrid)",
                                     .filter = filter};
    H5Zregister(&lz4);
}

/* Sums of one block of LANES * steps big-endian words: sum1 = sum of w[i], sum2 = sum of (n - i) w[i]. Each lane runs for
 * itself, which the compiler turns into vector additions; with t the step of a lane, (n - i) w = LANES (steps - 1 - t) w +
 * (LANES - lane) w. */
enum { LANES = 16, STEPS_MAX = 256 };

DG_H5_CLONES static void block_sums(const uint8_t *data, size_t steps, uint64_t *sum1, uint64_t *sum2)
{
    uint32_t first[LANES] = {0}, second[LANES] = {0};
    for (size_t t = 0; t < steps; t++, data += 2 * LANES) {
        for (int j = 0; j < LANES; j++) {
            uint16_t word;
            memcpy(&word, data + 2 * j, sizeof word);
            second[j] += first[j];
            first[j] += (uint16_t)(word << 8 | word >> 8);
        }
    }
    *sum1 = *sum2 = 0;
    for (int j = 0; j < LANES; j++) {
        *sum1 += first[j];
        *sum2 += (uint64_t)second[j] * LANES + (uint64_t)first[j] * (uint64_t)(LANES - j);
    }
}

/* Modulo 65535, with 65535 in place of 0 for every sum but an empty one. */
static uint64_t fold(uint64_t sum)
{
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

uint32_t dg_fletcher32(const uint8_t *data, size_t bytes)
{
    uint64_t sum1 = 0, sum2 = 0, block1, block2;
    size_t words = bytes / 2;
    while (words >= LANES) {
        size_t steps = words / LANES < STEPS_MAX ? words / LANES : STEPS_MAX;
        block_sums(data, steps, &block1, &block2);
        sum2 = fold(sum2 + sum1 * steps * LANES + block2);
        sum1 = fold(sum1 + block1);
        data += 2 * LANES * steps;
        words -= LANES * steps;
    }
    for (; words > 0; words--, data += 2) {
        sum1 += (uint64_t)data[0] << 8 | data[1];
        sum2 += sum1;
    }
    if (bytes % 2 != 0) {
        sum1 += (uint64_t)data[0] << 8;
        sum2 += sum1;
    }
    return (uint32_t)(fold(sum2) << 16 | fold(sum1));
}
