/* conv_amx.c - see conv_amx.h.
 *
 * y[v][o] = sum over taps and inputs: 9 matrix products, one for each (z, y) tap, whose inner dimension are the three x
 * taps times the inputs: in a channels-last line these lie side by side, so a row of the A tile is simply the memory from
 * voxel x - 1 on, and rows are one voxel apart. The inner dimension is rounded up to whole tiles; what lies there of the
 * next voxel meets weights of zero.
 * Zeros around the grid come from a copy: four planes (a ring along z) of some lines with a voxel of zeros at both ends.
 * The lines are few enough that the ring stays in the second-level cache; its next plane is copied line by line between
 * the products. Six tiles hold the sums of 2 x 16 voxels and 3 x 16 outputs; while they fill, the ones before are rounded
 * and stored. SPDX-License-Identifier: Apache-2.0 */
#include "conv_amx.h"

#include "tiles.h"

#include <immintrin.h>
#include <omp.h>
#include <string.h>

enum {
    TILE = 16,
    STEP = 32,           /* inputs of one tile product */
    TILE_ELEMENTS = 512, /* bf16 of a tile */
    WIDTH = 3,           /* output tiles of a block */
    BLOCK = WIDTH * TILE,
    PLANES = 4, /* in the ring */
    TAPS = 9,
    MOST_LINES = 16,
    LEAST_LINES = 4,
    RING_BYTES = 1 << 20,
    SUMS = 2 * TILE * BLOCK /* f32 of one set of sums */
};

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

void dg_conv_amx_plan_make(int64_t n, int64_t z, int64_t y, int64_t x, int64_t cin, int64_t cout, bool accumulate,
                           int threads, dg_conv_amx_plan *p)
{
    *p = (dg_conv_amx_plan){
        .n = n, .z = z, .y = y, .x = x, .cin = cin, .cout = cout, .accumulate = accumulate, .threads = threads};
    p->steps = ceil_div(3 * cin, STEP);
    p->blocks = ceil_div(cout, BLOCK);
    p->segments = ceil_div(x, TILE);
    p->line_elements = (x + 2) * cin;
    const int64_t fit = RING_BYTES / (PLANES * p->line_elements * 2) - 2;
    p->line_blocks = ceil_div(y, larger(LEAST_LINES, smaller(MOST_LINES, fit)));
    p->lines = ceil_div(y, p->line_blocks);
    /* Cuts along z only to give all threads the same: each costs two more planes of copies. */
    p->plane_blocks = 1;
    while (n * p->line_blocks * p->plane_blocks % threads != 0 && n * p->line_blocks * p->plane_blocks < 4 * threads &&
           p->plane_blocks < z)
        p->plane_blocks++;
    p->planes = ceil_div(z, p->plane_blocks);
    p->plane_blocks = ceil_div(z, p->planes);
    p->plane_elements = (p->lines + 2) * p->line_elements;
    /* The last rows of the last tile end behind the ring. */
    const int64_t elements = PLANES * p->plane_elements + TILE * cin + STEP * p->steps;
    p->slab_bytes = ceil_div(elements * 2, 64) * 64 + 2 * SUMS * (int64_t)sizeof(float);
    p->scratch_bytes = threads * p->slab_bytes;
    p->weight_bytes = p->blocks * TAPS * p->steps * WIDTH * TILE_ELEMENTS * 2;
}

/* The weights of a block are read for every 32 voxels, those of all blocks for every plane. */
bool dg_conv_amx_suits(const dg_conv_amx_plan *p)
{
    const int64_t block_bytes = p->weight_bytes / p->blocks;
    return 4 * p->x >= 3 * TILE * p->segments && (block_bytes <= RING_BYTES / 4 || p->weight_bytes <= RING_BYTES);
}

int64_t dg_conv_amx_plane(const dg_conv_amx_plan *p, int64_t zy) { return zy * p->steps * WIDTH * TILE_ELEMENTS; }

int64_t dg_conv_amx_input(const dg_conv_amx_plan *p, int64_t tap_x, int64_t input)
{
    const int64_t k = tap_x * p->cin + input;
    return k / STEP * WIDTH * TILE_ELEMENTS + k % STEP / 2 * 2 * TILE + k % 2;
}

int64_t dg_conv_amx_output(const dg_conv_amx_plan *p, int64_t output)
{
    return output / BLOCK * dg_conv_amx_plane(p, TAPS) + output % BLOCK / TILE * TILE_ELEMENTS + output % TILE * 2;
}

/* Sums on their way to y: two segments of up to 16 voxels. */
typedef struct pending {
    const float *sum;
    uint16_t *to[2];
    int64_t voxels[2];
    int64_t output; /* first of the block */
} pending;

/* One thread's view of one item: lines [y0, y0 + lines) of planes [z0, z1) of sample n. */
typedef struct walker {
    const dg_conv_amx_plan *plan;
    const uint16_t *x, *weights;
    const float *bias;
    uint16_t *y, *ring;
    float *sum; /* two sets */
    int64_t n, y0, lines, z0, z1;
    pending before;
} walker;

static uint16_t *ring_plane(const walker *w, int64_t z)
{
    return w->ring + (z + PLANES) % PLANES * w->plan->plane_elements;
}

/* Line `row` (0: the one above the first) of plane z into the ring. */
static void copy_line(const walker *w, int64_t z, int64_t row)
{
    const dg_conv_amx_plan *p = w->plan;
    uint16_t *to = ring_plane(w, z) + row * p->line_elements;
    const int64_t y = w->y0 - 1 + row, elements = p->x * p->cin;
    if (z < 0 || z >= p->z || y < 0 || y >= p->y)
        memset(to + p->cin, 0, (size_t)elements * 2);
    else
        memcpy(to + p->cin, w->x + ((w->n * p->z + z) * p->y + y) * elements, (size_t)elements * 2);
}

/* Rows [row, row + 4) of the sums before: bias, rounding, y. */
static inline void store_rows(const walker *w, int64_t row)
{
    const int64_t segment = row / TILE, first = row % TILE, cout = w->plan->cout;
    const int64_t last = smaller(first + 4, w->before.voxels[segment]);
    if (first >= last) return;
    const float *sum = w->before.sum + segment * TILE * BLOCK;
    for (int j = 0; j < WIDTH; j++) {
        const int64_t output = w->before.output + j * TILE, left = cout - output;
        if (left <= 0) break;
        const __mmask16 mask = left >= TILE ? (__mmask16)0xffff : (__mmask16)((1u << left) - 1u);
        const __m512 bias = w->bias != NULL ? _mm512_maskz_loadu_ps(mask, w->bias + output) : _mm512_setzero_ps();
        for (int64_t r = first; r < last; r++) {
            uint16_t *to = w->before.to[segment] + r * cout + j * TILE;
            __m512 v = _mm512_add_ps(_mm512_load_ps(sum + r * BLOCK + j * TILE), bias);
            if (w->plan->accumulate)
                v = _mm512_add_ps(v, _mm512_castsi512_ps(_mm512_slli_epi32(
                                         _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, to)), 16)));
            _mm256_mask_storeu_epi16(to, mask, (__m256i)_mm512_cvtneps_pbh(v));
        }
    }
}

static void store_rest(walker *w)
{
    for (int64_t row = 0; row < 2 * TILE; row += 4) store_rows(w, row);
    w->before.voxels[0] = w->before.voxels[1] = 0;
}

/* Products of one (z, y) tap for two segments and `width` output tiles. */
static inline __attribute__((always_inline)) void multiply(const uint16_t *a0, const uint16_t *a1, int64_t stride,
                                                           const uint16_t *b, int64_t steps, const int width)
{
    for (int64_t s = 0; s < steps; s++, a0 += STEP, a1 += STEP, b += WIDTH * TILE_ELEMENTS) {
        _tile_loadd(6, a0, stride);
        _tile_loadd(7, b, 64);
        _tile_dpbf16ps(0, 6, 7);
        if (width > 1) {
            _tile_loadd(7, b + TILE_ELEMENTS, 64);
            _tile_dpbf16ps(1, 6, 7);
        }
        if (width > 2) {
            _tile_loadd(7, b + 2 * TILE_ELEMENTS, 64);
            _tile_dpbf16ps(2, 6, 7);
        }
        _tile_loadd(6, a1, stride);
        _tile_loadd(7, b, 64);
        _tile_dpbf16ps(3, 6, 7);
        if (width > 1) {
            _tile_loadd(7, b + TILE_ELEMENTS, 64);
            _tile_dpbf16ps(4, 6, 7);
        }
        if (width > 2) {
            _tile_loadd(7, b + 2 * TILE_ELEMENTS, 64);
            _tile_dpbf16ps(5, 6, 7);
        }
    }
}

static inline __attribute__((always_inline)) void take_sums(float *sum, const int width)
{
    const int64_t stride = BLOCK * sizeof(float);
    _tile_stored(0, sum, stride);
    _tile_stored(3, sum + TILE * BLOCK, stride);
    if (width > 1) {
        _tile_stored(1, sum + TILE, stride);
        _tile_stored(4, sum + TILE * BLOCK + TILE, stride);
    }
    if (width > 2) {
        _tile_stored(2, sum + 2 * TILE, stride);
        _tile_stored(5, sum + TILE * BLOCK + 2 * TILE, stride);
    }
}

/* All taps for segments `at` (elements from the first line above) of plane z. */
static inline __attribute__((always_inline)) void convolve(const walker *w, int64_t z, const int64_t at[2],
                                                           const uint16_t *weights, float *sum, const int width)
{
    const dg_conv_amx_plan *p = w->plan;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    for (int64_t t = 0; t < TAPS; t++) {
        const uint16_t *a = ring_plane(w, z + t / 3 - 1) + t % 3 * p->line_elements;
        multiply(a + at[0], a + at[1], p->cin * 2, weights + dg_conv_amx_plane(p, t), p->steps, width);
        if (t < 8) store_rows(w, 4 * t);
    }
    take_sums(sum, width);
}

/* Segments 2 * pair and the next of plane z for a block of outputs. */
static void run_pair(walker *w, int64_t z, int64_t pair, int64_t block)
{
    const dg_conv_amx_plan *p = w->plan;
    const uint16_t *weights = w->weights + dg_conv_amx_output(p, block * BLOCK);
    float *sum = w->before.sum == w->sum ? w->sum + SUMS : w->sum;
    pending next = {.sum = sum, .output = block * BLOCK};
    int64_t at[2];
    for (int64_t i = 0; i < 2; i++) {
        const bool exists = 2 * pair + i < w->lines * p->segments; /* the last may be alone */
        const int64_t segment = exists ? 2 * pair + i : 2 * pair;
        const int64_t line = segment / p->segments, x0 = segment % p->segments * TILE;
        at[i] = line * p->line_elements + x0 * p->cin;
        next.voxels[i] = exists ? smaller(TILE, p->x - x0) : 0;
        next.to[i] = w->y + (((w->n * p->z + z) * p->y + w->y0 + line) * p->x + x0) * p->cout + next.output;
    }
    const int64_t tiles = ceil_div(p->cout - next.output, TILE);
    if (tiles >= 3)
        convolve(w, z, at, weights, sum, 3);
    else if (tiles == 2)
        convolve(w, z, at, weights, sum, 2);
    else
        convolve(w, z, at, weights, sum, 1);
    w->before = next;
}

static void run_plane(walker *w, int64_t z)
{
    const dg_conv_amx_plan *p = w->plan;
    const int64_t pairs = ceil_div(w->lines * p->segments, 2), rows = w->lines + 2, total = p->blocks * pairs;
    int64_t copied = z + 2 <= w->z1 ? 0 : rows, done = 0;
    for (int64_t block = 0; block < p->blocks; block++)
        for (int64_t pair = 0; pair < pairs; pair++) {
            done++;
            while (copied < rows && copied * total < done * rows) copy_line(w, z + 2, copied++);
            run_pair(w, z, pair, block);
        }
}

static void run_item(walker *w, int64_t item)
{
    const dg_conv_amx_plan *p = w->plan;
    w->y0 = item % p->line_blocks * p->lines;
    w->lines = smaller(p->lines, p->y - w->y0);
    w->z0 = item / p->line_blocks % p->plane_blocks * p->planes;
    w->z1 = smaller(p->z, w->z0 + p->planes);
    w->n = item / p->line_blocks / p->plane_blocks;
    for (int64_t z = w->z0 - 1; z <= w->z0 + 1; z++)
        for (int64_t row = 0; row < w->lines + 2; row++) copy_line(w, z, row);
    for (int64_t z = w->z0; z < w->z1; z++) run_plane(w, z);
    store_rest(w);
}

void dg_conv_amx_run(const dg_conv_amx_plan *p, const uint16_t *x, const uint16_t *weights, const float *bias,
                     uint16_t *y, char *scratch)
{
    const int64_t items = p->n * p->line_blocks * p->plane_blocks;
#pragma omp parallel num_threads(p->threads)
    {
        char *mine = scratch + omp_get_thread_num() * p->slab_bytes;
        memset(mine, 0, (size_t)p->slab_bytes); /* the voxels at both ends of the lines stay zero */
        walker w = {.plan = p,
                    .x = x,
                    .weights = weights,
                    .bias = bias,
                    .y = y,
                    .ring = (uint16_t *)(mine + 2 * SUMS * sizeof(float)),
                    .sum = (float *)mine};
        tiles_configure();
#pragma omp for schedule(dynamic)
        for (int64_t item = 0; item < items; item++) run_item(&w, item);
        _tile_release();
    }
}
