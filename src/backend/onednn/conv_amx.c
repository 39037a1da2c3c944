/* conv_amx.c - see conv_amx.h.
 *
 * y[v][o] = sum over taps and inputs: 9 matrix products, one for each (z, y) tap, whose inner dimension are the three x
 * taps times the inputs: in a channels-last line these lie side by side, so a row of the A tile is simply the memory from
 * voxel x - 1 on, and rows are one voxel apart. The inner dimension is rounded up to whole tiles; what lies there of the
 * next voxel meets weights of zero.
 * Zeros around the grid come from a copy: four planes (a ring along z) of some lines with a voxel of zeros at both ends.
 * The lines are few enough that the ring stays in the second-level cache. Six tiles hold the sums of 2 x 16 voxels and
 * 3 x 16 outputs. With every step of the products a row of the sums before is rounded and stored and a vector of the
 * ring's next plane is copied: the processor looks only a few tile instructions ahead, so that longer pieces of other
 * work would keep the tile unit waiting. SPDX-License-Identifier: Apache-2.0 */
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
    SUMS = 2 * TILE * BLOCK, /* f32 of one set of sums */
    VECTOR = 32,             /* bf16 that are copied at a time */
    AHEAD = 8,               /* vectors from the one copied to the one asked for */
    FEWEST_STEPS = 3,        /* see convolve */
    MOST_STEPS = 12
};

/* A thread's small things, in front of its padded bias and its ring. */
typedef struct desk {
    float sum[2][SUMS];
    uint16_t unread[TILE_ELEMENTS]; /* see convolve */
    uint16_t zeros[VECTOR];
} desk;

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
    p->slab_bytes =
        (int64_t)sizeof(desk) + p->blocks * BLOCK * (int64_t)sizeof(float) + ceil_div(elements * 2, 64) * 64;
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

/* Sums on their way to y: two segments of up to 16 voxels, the second behind the first. */
typedef struct pending {
    const float *sum, *next_sum, *bias;
    uint16_t *to, *next_to;
    int64_t voxels, next_voxels; /* still to be stored */
    int64_t outputs;             /* of 48 */
} pending;

/* Copying of plane z into the ring. */
typedef struct feed {
    const uint16_t *from;
    uint16_t *to;
    int64_t step, left; /* of the line; step 0: zeros */
    int64_t z, row, rows;
    int64_t rate; /* vectors with every step */
} feed;

/* One thread's view of one item: lines [y0, y0 + lines) of planes [z0, z1) of sample n. */
typedef struct walker {
    const dg_conv_amx_plan *plan;
    const uint16_t *x, *weights;
    uint16_t *y, *ring;
    desk *desk;
    float *bias; /* padded to whole blocks */
    int64_t n, y0, lines, z0, z1;
    int64_t rate; /* rows stored with every step */
    int turn;     /* which sums are filled next */
    pending before;
    feed feed;
} walker;

static uint16_t *ring_plane(const walker *w, int64_t z)
{
    return w->ring + (z + PLANES) % PLANES * w->plan->plane_elements;
}

/* On to the next line; row 0 is the one above the first. */
static void feed_line(walker *w)
{
    const dg_conv_amx_plan *p = w->plan;
    feed *f = &w->feed;
    const int64_t row = f->row++, y = w->y0 - 1 + row;
    const bool inside = f->z >= 0 && f->z < p->z && y >= 0 && y < p->y;
    f->left = p->x * p->cin;
    f->from = inside ? w->x + ((w->n * p->z + f->z) * p->y + y) * f->left : w->desk->zeros;
    f->step = inside ? VECTOR : 0;
    f->to = ring_plane(w, f->z) + row * p->line_elements + p->cin;
}

static inline __attribute__((always_inline)) void feed_vector(walker *w)
{
    feed *f = &w->feed;
    if (f->left <= 0) {
        if (f->row >= f->rows) return;
        feed_line(w);
    }
    if (f->left >= VECTOR) {
        _mm_prefetch((const char *)(f->from + AHEAD * f->step), _MM_HINT_T0);
        _mm512_storeu_si512(f->to, _mm512_loadu_si512(f->from));
    } else {
        const __mmask32 mask = ((__mmask32)1 << f->left) - 1;
        _mm512_mask_storeu_epi16(f->to, mask, _mm512_maskz_loadu_epi16(mask, f->from));
    }
    f->from += f->step;
    f->to += VECTOR;
    f->left -= VECTOR;
}

static void feed_rest(walker *w)
{
    while (w->feed.left > 0 || w->feed.row < w->feed.rows) feed_vector(w);
}

/* A row where it is not simply 48 new outputs. */
static __attribute__((noinline)) void store_odd_row(const pending *b, bool accumulate)
{
    for (int64_t j = 0; j < b->outputs; j += TILE) {
        const __mmask16 mask = (__mmask16)((1u << smaller(TILE, b->outputs - j)) - 1u);
        __m512 v = _mm512_add_ps(_mm512_load_ps(b->sum + j), _mm512_load_ps(b->bias + j));
        if (accumulate)
            v = _mm512_add_ps(v, _mm512_castsi512_ps(_mm512_slli_epi32(
                                     _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, b->to + j)), 16)));
        _mm256_mask_storeu_epi16(b->to + j, mask, (__m256i)_mm512_cvtneps_pbh(v));
    }
}

/* The next row of the sums before: bias, rounding, y. */
static inline __attribute__((always_inline)) void store_row(walker *w)
{
    pending *b = &w->before;
    if (b->voxels == 0) {
        if (b->next_voxels == 0) return;
        b->voxels = b->next_voxels;
        b->sum = b->next_sum;
        b->to = b->next_to;
        b->next_voxels = 0;
    }
    if (b->outputs == BLOCK && !w->plan->accumulate) {
        const __m512 v0 = _mm512_add_ps(_mm512_load_ps(b->sum), _mm512_load_ps(b->bias));
        const __m512 v1 = _mm512_add_ps(_mm512_load_ps(b->sum + TILE), _mm512_load_ps(b->bias + TILE));
        const __m512 v2 = _mm512_add_ps(_mm512_load_ps(b->sum + 2 * TILE), _mm512_load_ps(b->bias + 2 * TILE));
        _mm512_storeu_si512(b->to, (__m512i)_mm512_cvtne2ps_pbh(v1, v0));
        _mm256_storeu_si256((__m256i *)(b->to + 2 * TILE), (__m256i)_mm512_cvtneps_pbh(v2));
    } else {
        store_odd_row(b, w->plan->accumulate);
    }
    b->voxels--;
    b->sum += BLOCK;
    b->to += w->plan->cout;
}

static void store_rest(walker *w)
{
    while (w->before.voxels + w->before.next_voxels > 0) store_row(w);
}

/* Products of one (z, y) tap for two segments and `width` output tiles. */
static inline __attribute__((always_inline)) void multiply(walker *w, const uint16_t *a0, const uint16_t *a1,
                                                           const uint16_t *b, const int width)
{
    const int64_t stride = w->plan->cin * 2, rows = w->rate, vectors = w->feed.rate;
    for (int64_t s = 0; s < w->plan->steps; s++, a0 += STEP, a1 += STEP, b += WIDTH * TILE_ELEMENTS) {
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
        for (int64_t i = 0; i < rows; i++) store_row(w);
        _tile_loadd(6, a1, stride); /* and backwards: the last weights are still there */
        if (width > 2) {
            _tile_dpbf16ps(5, 6, 7);
            _tile_loadd(7, b + TILE_ELEMENTS, 64);
        }
        if (width > 1) {
            _tile_dpbf16ps(4, 6, 7);
            _tile_loadd(7, b, 64);
        }
        _tile_dpbf16ps(3, 6, 7);
        for (int64_t i = 0; i < vectors; i++) feed_vector(w);
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

/* All taps for segments `at` (elements from the first line above) of plane z. A tile store that comes more than about
 * a hundred products after the last one takes hundreds of cycles (measured): stores nobody reads keep it quick. */
static inline __attribute__((always_inline)) void convolve(walker *w, int64_t z, const int64_t at[2],
                                                           const uint16_t *weights, float *sum, const int width)
{
    const dg_conv_amx_plan *p = w->plan;
    const bool keep_awake = p->steps >= FEWEST_STEPS && p->steps <= MOST_STEPS;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    for (int64_t t = 0; t < TAPS; t++) {
        const uint16_t *a = ring_plane(w, z + t / 3 - 1) + t % 3 * p->line_elements;
        multiply(w, a + at[0], a + at[1], weights + dg_conv_amx_plane(p, t), width);
        if (keep_awake) _tile_stored(7, w->desk->unread, 64);
    }
    store_rest(w);
    take_sums(sum, width);
}

/* Where segment `segment` of plane z begins: in the ring's plane, and in y. */
static int64_t ring_place(const walker *w, int64_t segment)
{
    const dg_conv_amx_plan *p = w->plan;
    return segment / p->segments * p->line_elements + segment % p->segments * TILE * p->cin;
}

static uint16_t *output_place(const walker *w, int64_t z, int64_t segment, int64_t *voxels)
{
    const dg_conv_amx_plan *p = w->plan;
    const int64_t line = segment / p->segments, x0 = segment % p->segments * TILE;
    *voxels = smaller(TILE, p->x - x0);
    return w->y + (((w->n * p->z + z) * p->y + w->y0 + line) * p->x + x0) * p->cout;
}

/* Segments 2 * pair and the next of plane z for a block of outputs. */
static void run_pair(walker *w, int64_t z, int64_t pair, int64_t block)
{
    const dg_conv_amx_plan *p = w->plan;
    const int64_t first = 2 * pair, output = block * BLOCK;
    const bool alone = first + 1 == w->lines * p->segments;
    const int64_t at[2] = {ring_place(w, first), ring_place(w, alone ? first : first + 1)};
    const uint16_t *weights = w->weights + dg_conv_amx_output(p, output);
    float *sum = w->desk->sum[w->turn];
    pending next = {.sum = sum,
                    .next_sum = sum + TILE * BLOCK,
                    .bias = w->bias + output,
                    .outputs = smaller(BLOCK, p->cout - output)};
    next.to = output_place(w, z, first, &next.voxels) + output;
    if (!alone) next.next_to = output_place(w, z, first + 1, &next.next_voxels) + output;
    if (next.outputs > 2 * TILE)
        convolve(w, z, at, weights, sum, 3);
    else if (next.outputs > TILE)
        convolve(w, z, at, weights, sum, 2);
    else
        convolve(w, z, at, weights, sum, 1);
    w->before = next;
    w->turn = 1 - w->turn;
}

static void run_plane(walker *w, int64_t z)
{
    const dg_conv_amx_plan *p = w->plan;
    const int64_t pairs = ceil_div(w->lines * p->segments, 2), rows = w->lines + 2;
    w->feed = (feed){.z = z + 2, .rows = z + 2 <= w->z1 ? rows : 0};
    w->feed.rate = ceil_div(rows * ceil_div(p->x * p->cin, VECTOR), p->blocks * pairs * TAPS * p->steps);
    for (int64_t block = 0; block < p->blocks; block++)
        for (int64_t pair = 0; pair < pairs; pair++) run_pair(w, z, pair, block);
    feed_rest(w);
}

static void run_item(walker *w, int64_t item)
{
    const dg_conv_amx_plan *p = w->plan;
    w->y0 = item % p->line_blocks * p->lines;
    w->lines = smaller(p->lines, p->y - w->y0);
    w->z0 = item / p->line_blocks % p->plane_blocks * p->planes;
    w->z1 = smaller(p->z, w->z0 + p->planes);
    w->n = item / p->line_blocks / p->plane_blocks;
    for (int64_t z = w->z0 - 1; z <= w->z0 + 1; z++) {
        w->feed = (feed){.z = z, .rows = w->lines + 2};
        feed_rest(w);
    }
    for (int64_t z = w->z0; z < w->z1; z++) run_plane(w, z);
    store_rest(w);
}

/* Zeros at both ends of all lines stay; behind them, rows of the last step look at voxels that a plane still to be fed
 * does not have: whatever meets weights of zero must be a number. */
static void clear_ring(const walker *w)
{
    const dg_conv_amx_plan *p = w->plan;
    const size_t voxel = (size_t)p->cin * 2;
    for (int64_t plane = 0; plane < PLANES; plane++) {
        uint16_t *at = w->ring + plane * p->plane_elements;
        memset(at, 0, (size_t)smaller(p->line_elements, 2 * p->cin + STEP) * 2);
        for (int64_t row = 0; row < p->lines + 2; row++, at += p->line_elements) {
            memset(at, 0, voxel);
            memset(at + p->line_elements - p->cin, 0, voxel);
        }
    }
    memset(w->ring + PLANES * p->plane_elements, 0, (size_t)(TILE * p->cin + STEP * p->steps) * 2);
}

void dg_conv_amx_run(const dg_conv_amx_plan *p, const uint16_t *x, const uint16_t *weights, const float *bias,
                     uint16_t *y, char *scratch)
{
    const int64_t items = p->n * p->line_blocks * p->plane_blocks;
#pragma omp parallel num_threads(p->threads)
    {
        char *mine = scratch + omp_get_thread_num() * p->slab_bytes;
        memset(mine, 0, sizeof(desk) + (size_t)(p->blocks * BLOCK) * sizeof(float));
        walker w = {.plan = p, .x = x, .weights = weights, .y = y, .desk = (desk *)mine};
        w.bias = (float *)(mine + sizeof(desk));
        w.ring = (uint16_t *)(w.bias + p->blocks * BLOCK);
        w.rate = ceil_div(2 * TILE, TAPS * p->steps);
        clear_ring(&w);
        if (bias != NULL) memcpy(w.bias, bias, (size_t)p->cout * sizeof(float));
        tiles_configure();
#pragma omp for schedule(dynamic)
        for (int64_t item = 0; item < items; item++) run_item(&w, item);
        _tile_release();
    }
}
