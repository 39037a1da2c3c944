/* product_amx.c - see product_amx.h. SPDX-License-Identifier: Apache-2.0 */
#include "product_amx.h"

#include "tiles.h"

enum {
    TILE = 16,
    STEP = 32,           /* inputs of one tile product */
    TILE_ELEMENTS = 512, /* bf16 of a tile */
    WIDTH = 3,           /* output tiles of a block */
    BLOCK = WIDTH * TILE,
    LINE = 32,  /* bf16 of a cache line */
    AHEAD = 64, /* voxels from the ones read to the ones asked for */
    STEP_ELEMENTS = WIDTH * TILE_ELEMENTS,
    MOST_BYTES = 24 << 10,
    MOST_INPUTS = MOST_BYTES / (2 * BLOCK)
};

static int64_t blocks_of(int64_t cout) { return (cout + BLOCK - 1) / BLOCK; }

int64_t dg_product_amx_bytes(int64_t cin, int64_t cout) { return blocks_of(cout) * cin * BLOCK * 2; }

bool dg_product_amx_suits(int64_t cin, int64_t cout)
{
    return cin % STEP == 0 && cout % TILE == 0 && cin <= MOST_INPUTS && dg_product_amx_bytes(cin, cout) <= MOST_BYTES;
}

int64_t dg_product_amx_input(int64_t input)
{
    return input / STEP * STEP_ELEMENTS + input % STEP / 2 * 2 * TILE + input % 2;
}

int64_t dg_product_amx_output(int64_t cin, int64_t output)
{
    return output / BLOCK * cin * BLOCK + output % BLOCK / TILE * TILE_ELEMENTS + output % TILE * 2;
}

/* 32 voxels (a1: the second half) and a block of outputs into sum [32][BLOCK]. */
static void multiply(const uint16_t *a0, const uint16_t *a1, int64_t stride, const uint16_t *b, int64_t steps,
                     float *sum)
{
    const int64_t row = BLOCK * sizeof *sum;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    for (int64_t s = 0; s < steps; s++, a0 += STEP, a1 += STEP, b += STEP_ELEMENTS) {
        _tile_loadd(6, a0, stride);
        _tile_loadd(7, b, 64);
        _tile_dpbf16ps(0, 6, 7);
        _tile_loadd(7, b + TILE_ELEMENTS, 64);
        _tile_dpbf16ps(1, 6, 7);
        _tile_loadd(7, b + 2 * TILE_ELEMENTS, 64);
        _tile_dpbf16ps(2, 6, 7);
        _tile_loadd(6, a1, stride); /* and backwards: the last weights are still there */
        _tile_dpbf16ps(5, 6, 7);
        _tile_loadd(7, b + TILE_ELEMENTS, 64);
        _tile_dpbf16ps(4, 6, 7);
        _tile_loadd(7, b, 64);
        _tile_dpbf16ps(3, 6, 7);
    }
    _tile_stored(0, sum, row);
    _tile_stored(1, sum + TILE, row);
    _tile_stored(2, sum + 2 * TILE, row);
    _tile_stored(3, sum + TILE * BLOCK, row);
    _tile_stored(4, sum + TILE * BLOCK + TILE, row);
    _tile_stored(5, sum + TILE * BLOCK + 2 * TILE, row);
}

/* Up to 32 voxels, all of them readable where `stride` leads. */
static void run_voxels(const uint16_t *a0, const uint16_t *a1, int64_t stride, int64_t cin, const uint16_t *weights,
                       const float *bias, uint16_t *y, int64_t y_pitch, int64_t cout, int64_t count)
{
    float sum[2 * TILE * BLOCK] __attribute__((aligned(64)));
    for (int64_t first = 0; first < cout; first += BLOCK, weights += cin * BLOCK) {
        multiply(a0, a1, stride, weights, cin / STEP, sum);
        for (int64_t j = 0; j < BLOCK && first + j < cout; j += TILE) {
            const __m512 b = _mm512_loadu_ps(bias + first + j);
            for (int64_t v = 0; v < count; v++)
                _mm256_storeu_si256((__m256i *)(y + v * y_pitch + first + j),
                                    (__m256i)_mm512_cvtneps_pbh(_mm512_add_ps(_mm512_load_ps(sum + v * BLOCK + j), b)));
        }
    }
}

void dg_product_amx_run(dg_product_rows x, const uint16_t *weights, const float *bias, dg_product_rows y, int64_t count)
{
    const int64_t cin = x.channels;
    tiles_configure();
    for (int64_t v = 0; v < count; v += 2 * TILE) {
        const int64_t voxels = count - v < 2 * TILE ? count - v : 2 * TILE;
        const uint16_t *from = x.data + v * x.pitch;
        uint16_t *to = y.data + v * y.pitch;
        for (int64_t i = 0; i < voxels; i++)
            for (int64_t k = 0; k < cin; k += LINE)
                _mm_prefetch((const char *)(from + (i + AHEAD) * x.pitch + k), _MM_HINT_T0);
        if (voxels == 2 * TILE) {
            run_voxels(from, from + TILE * x.pitch, x.pitch * 2, cin, weights, bias, to, y.pitch, y.channels, voxels);
        } else {
            uint16_t rest[2 * TILE * MOST_INPUTS];
            memset(rest, 0, sizeof rest);
            for (int64_t i = 0; i < voxels; i++) memcpy(rest + i * cin, from + i * x.pitch, (size_t)cin * 2);
            run_voxels(rest, rest + TILE * cin, cin * 2, cin, weights, bias, to, y.pitch, y.channels, voxels);
        }
    }
    _tile_release();
}
