/* conv_deep_amx.c - see conv_deep_amx.h.
 *
 * The rows of an A tile are 16 voxels of a plane, whatever the lines, so that short lines cost nothing. A shift along x
 * would then take a voxel of the line before or after: three copies of x have zeros where the taps -1, 0 and +1 must not
 * look. A line of zeros above and below each plane, and a plane of zeros, serve the taps beyond the grid.
 * The weights of one x tap and a chunk of inputs fit the second-level cache beside a copy: all voxels run over them, their
 * sums waiting in memory in between, while the next weights are asked for. SPDX-License-Identifier: Apache-2.0 */
#include "conv_deep_amx.h"

#include "tiles.h"

#include <omp.h>
#include <string.h>

enum {
    TILE = 16,
    STEP = 32,           /* inputs of one tile product */
    TILE_ELEMENTS = 512, /* bf16 of a tile */
    WIDTH = 3,           /* output tiles of a block */
    BLOCK = WIDTH * TILE,
    STEP_ELEMENTS = WIDTH * TILE_ELEMENTS,
    COPIES = 3,
    TAPS = 9,        /* of a chunk */
    MOST_STEPS = 12, /* of a chunk: 324 KiB of weights */
    SUMS = 2 * TILE * BLOCK,
    LINE = 32,          /* bf16 of a cache line */
    MOST_COPY = 1 << 20 /* bytes of a copy's chunk: it shares the second-level cache with two chunks of weights */
};

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

void dg_conv_deep_plan_make(int64_t n, int64_t z, int64_t y, int64_t x, int64_t cin, int64_t cout, bool accumulate,
                            int threads, dg_conv_deep_plan *p)
{
    *p = (dg_conv_deep_plan){
        .n = n, .z = z, .y = y, .x = x, .cin = cin, .cout = cout, .accumulate = accumulate, .threads = threads};
    p->tiles = ceil_div(y * x, TILE);
    p->pairs = ceil_div(n * z * p->tiles, 2);
    p->blocks = ceil_div(cout, BLOCK);
    p->parts = 1;
    while (p->blocks * p->parts % threads != 0 && p->parts < smaller(threads, p->pairs)) p->parts++;
    const int64_t all_steps = ceil_div(cin, STEP);
    p->chunks = ceil_div(all_steps, MOST_STEPS);
    while (all_steps % p->chunks != 0) p->chunks++;
    p->steps = all_steps / p->chunks;
    p->plane_elements = (y + 2) * x * cin;
    /* A voxel in front and the rows of the last tile behind; one more plane, of zeros. */
    p->copy_elements = ceil_div((n * z + 1) * p->plane_elements + (TILE + 2) * cin, LINE) * LINE;
    p->copy_bytes = COPIES * p->copy_elements * 2;
    p->slab_bytes = p->pairs * SUMS * (int64_t)sizeof(float);
    p->scratch_bytes = p->copy_bytes + threads * p->slab_bytes;
    p->weight_bytes = p->blocks * COPIES * p->chunks * TAPS * p->steps * STEP_ELEMENTS * 2;
}

bool dg_conv_deep_suits(const dg_conv_deep_plan *p)
{
    return p->cin % STEP == 0 && 4 * p->y * p->x >= 3 * TILE * p->tiles &&
           2 * p->copy_elements <= p->chunks * MOST_COPY && p->copy_bytes <= p->weight_bytes;
}

/* Elements of a chunk's weights for one x tap: they are read from first to last. */
static int64_t chunk_elements(const dg_conv_deep_plan *p) { return TAPS * p->steps * STEP_ELEMENTS; }

int64_t dg_conv_deep_plane(const dg_conv_deep_plan *p, int64_t zy) { return zy * p->steps * STEP_ELEMENTS; }

int64_t dg_conv_deep_input(const dg_conv_deep_plan *p, int64_t tap_x, int64_t input)
{
    const int64_t step = input / STEP, k = input % STEP;
    return (tap_x * p->chunks + step / p->steps) * chunk_elements(p) + step % p->steps * STEP_ELEMENTS +
           k / 2 * 2 * TILE + k % 2;
}

int64_t dg_conv_deep_output(const dg_conv_deep_plan *p, int64_t output)
{
    return output / BLOCK * COPIES * p->chunks * chunk_elements(p) + output % BLOCK / TILE * TILE_ELEMENTS +
           output % TILE * 2;
}

/* What all threads share, and one thread's sums. */
typedef struct walker {
    const dg_conv_deep_plan *plan;
    const uint16_t *weights;
    const float *bias;
    uint16_t *y, *copies;
    float *sums;
} walker;

/* First element of the line above plane `plane` (of n * z; n * z: zeros) in the copy for an x tap. */
static uint16_t *copy_plane(const walker *w, int64_t tap_x, int64_t plane)
{
    return w->copies + tap_x * w->plan->copy_elements + w->plan->cin + plane * w->plan->plane_elements;
}

/* Plane `plane`, the last one of zeros, into the copy for an x tap, which reads one voxel before (0), at (1) or one behind
 * (2) its own; with the lines of zeros around it. */
static void copy_in(const walker *w, const uint16_t *x, int64_t tap_x, int64_t plane)
{
    const dg_conv_deep_plan *p = w->plan;
    const int64_t line = p->x * p->cin;
    const size_t voxel_bytes = (size_t)p->cin * 2;
    uint16_t *to = copy_plane(w, tap_x, plane) + line, *end = w->copies + (tap_x + 1) * p->copy_elements;
    memset(to - line - p->cin, 0, (size_t)(line + p->cin) * 2); /* with the last voxel of the plane before */
    if (plane == p->n * p->z) {
        memset(to, 0, (size_t)(end - to) * 2);
        return;
    }
    memset(to + p->y * line, 0, (size_t)(line - p->cin) * 2);
    memcpy(to, x + plane * p->y * line, (size_t)(p->y * line) * 2);
    for (int64_t y = 0; y < p->y && tap_x == 0; y++) memset(to + (y + 1) * line - p->cin, 0, voxel_bytes);
    for (int64_t y = 0; y < p->y && tap_x == 2; y++) memset(to + y * line, 0, voxel_bytes);
}

/* First voxel of tile `tile` read by a tap. */
static const uint16_t *tap_place(const walker *w, int64_t tile, int64_t tap_x, int64_t zy)
{
    const dg_conv_deep_plan *p = w->plan;
    const int64_t plane = tile / p->tiles, z = plane % p->z + zy / 3 - 1;
    const uint16_t *from = copy_plane(w, tap_x, z >= 0 && z < p->z ? plane + zy / 3 - 1 : p->n * p->z);
    return from + (zy % 3 * p->x + tile % p->tiles * TILE + tap_x - 1) * p->cin;
}

static inline __attribute__((always_inline)) void load_sums(const float *sum)
{
    const int64_t stride = BLOCK * sizeof(float);
    _tile_loadd(0, sum, stride);
    _tile_loadd(1, sum + TILE, stride);
    _tile_loadd(2, sum + 2 * TILE, stride);
    _tile_loadd(3, sum + TILE * BLOCK, stride);
    _tile_loadd(4, sum + TILE * BLOCK + TILE, stride);
    _tile_loadd(5, sum + TILE * BLOCK + 2 * TILE, stride);
}

static inline __attribute__((always_inline)) void keep_sums(float *sum)
{
    const int64_t stride = BLOCK * sizeof(float);
    _tile_stored(0, sum, stride);
    _tile_stored(1, sum + TILE, stride);
    _tile_stored(2, sum + 2 * TILE, stride);
    _tile_stored(3, sum + TILE * BLOCK, stride);
    _tile_stored(4, sum + TILE * BLOCK + TILE, stride);
    _tile_stored(5, sum + TILE * BLOCK + 2 * TILE, stride);
}

/* One (z, y) tap of a chunk for two tiles; `next` are weights to ask for, `rate` cache lines with every step. */
static inline __attribute__((always_inline)) const uint16_t *multiply(const uint16_t *a0, const uint16_t *a1,
                                                                      int64_t stride, const uint16_t *b, int64_t steps,
                                                                      const uint16_t *next, int64_t rate)
{
    for (int64_t s = 0; s < steps; s++, a0 += STEP, a1 += STEP, b += STEP_ELEMENTS) {
        _tile_loadd(6, a0, stride);
        _tile_loadd(7, b, 64);
        _tile_dpbf16ps(0, 6, 7);
        _tile_loadd(7, b + TILE_ELEMENTS, 64);
        _tile_dpbf16ps(1, 6, 7);
        _tile_loadd(7, b + 2 * TILE_ELEMENTS, 64);
        _tile_dpbf16ps(2, 6, 7);
        for (int64_t i = 0; i < rate; i++, next += LINE) _mm_prefetch((const char *)next, _MM_HINT_T1);
        _tile_loadd(6, a1, stride); /* and backwards: the last weights are still there */
        _tile_dpbf16ps(5, 6, 7);
        _tile_loadd(7, b + TILE_ELEMENTS, 64);
        _tile_dpbf16ps(4, 6, 7);
        _tile_loadd(7, b, 64);
        _tile_dpbf16ps(3, 6, 7);
    }
    return next;
}

/* Voxels of a tile: bias, rounding, y. */
static void store_tile(const walker *w, int64_t tile, int64_t block, const float *sum)
{
    const dg_conv_deep_plan *p = w->plan;
    const int64_t first = tile % p->tiles * TILE, voxels = smaller(TILE, p->y * p->x - first);
    for (int64_t j = 0; j < WIDTH; j++) {
        const int64_t output = block * BLOCK + j * TILE, outputs = smaller(TILE, p->cout - output);
        if (outputs <= 0) return;
        const __mmask16 mask = (__mmask16)((1u << outputs) - 1u);
        const __m512 bias = w->bias != NULL ? _mm512_maskz_loadu_ps(mask, w->bias + output) : _mm512_setzero_ps();
        uint16_t *to = w->y + (tile / p->tiles * p->y * p->x + first) * p->cout + output;
        for (int64_t v = 0; v < voxels; v++, to += p->cout) {
            __m512 value = _mm512_add_ps(_mm512_load_ps(sum + v * BLOCK + j * TILE), bias);
            if (p->accumulate)
                value = _mm512_add_ps(value, _mm512_castsi512_ps(_mm512_slli_epi32(
                                                 _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, to)), 16)));
            _mm256_mask_storeu_epi16(to, mask, (__m256i)_mm512_cvtneps_pbh(value));
        }
    }
}

/* All taps of an x tap and a chunk of inputs for pairs [from, to). */
static void run_chunk(const walker *w, int64_t tap_x, int64_t chunk, const uint16_t *weights, int64_t from, int64_t to)
{
    const dg_conv_deep_plan *p = w->plan;
    const int64_t last_tile = p->n * p->z * p->tiles - 1, elements = chunk_elements(p);
    const int64_t rate = ceil_div(elements / LINE, (to - from) * TAPS * p->steps);
    const uint16_t *next = weights + elements;
    for (int64_t pair = from; pair < to; pair++) {
        const int64_t second = smaller(2 * pair + 1, last_tile); /* the last may be alone */
        load_sums(w->sums + pair * SUMS);
        for (int64_t zy = 0; zy < TAPS; zy++) {
            const int64_t input = chunk * p->steps * STEP;
            next = multiply(tap_place(w, 2 * pair, tap_x, zy) + input, tap_place(w, second, tap_x, zy) + input,
                            p->cin * 2, weights + dg_conv_deep_plane(p, zy), p->steps, next, rate);
        }
        keep_sums(w->sums + pair * SUMS);
    }
}

static void run_item(const walker *w, int64_t item)
{
    const dg_conv_deep_plan *p = w->plan;
    const int64_t block = item / p->parts, part = item % p->parts;
    const int64_t from = p->pairs * part / p->parts, to = p->pairs * (part + 1) / p->parts;
    const uint16_t *weights = w->weights + dg_conv_deep_output(p, block * BLOCK);
    memset(w->sums + from * SUMS, 0, (size_t)((to - from) * SUMS) * sizeof(float));
    for (int64_t i = 0; i < COPIES * p->chunks; i++)
        run_chunk(w, i / p->chunks, i % p->chunks, weights + i * chunk_elements(p), from, to);
    for (int64_t tile = 2 * from; tile < smaller(2 * to, p->n * p->z * p->tiles); tile++)
        store_tile(w, tile, block, w->sums + tile * TILE * BLOCK);
}

void dg_conv_deep_run(const dg_conv_deep_plan *p, const uint16_t *x, const uint16_t *weights, const float *bias,
                      uint16_t *y, char *scratch)
{
    const int64_t planes = p->n * p->z + 1;
#pragma omp parallel num_threads(p->threads)
    {
        walker w = {.plan = p, .weights = weights, .bias = bias, .y = y, .copies = (uint16_t *)scratch};
        w.sums = (float *)(scratch + p->copy_bytes + omp_get_thread_num() * p->slab_bytes);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < COPIES * planes; i++) copy_in(&w, x, i / planes, i % planes);
        tiles_configure();
#pragma omp for schedule(dynamic)
        for (int64_t item = 0; item < p->blocks * p->parts; item++) run_item(&w, item);
        _tile_release();
    }
}
