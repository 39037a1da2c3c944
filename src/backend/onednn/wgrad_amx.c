/* wgrad_amx.c - see wgrad_amx.h.
 *
 * dw[tap][ci][co] = sum over voxels v of x[v + shift(tap)][ci] dy[v][co]: 27 matrix products with the voxels as the inner
 * dimension. The tile product takes C[16 co][16 ci] += A[16 co][32 voxels] B[32 voxels][16 ci], B with voxels in pairs:
 *   dy is transposed into A tiles once a chunk;
 *   x is paired into B rows (a row: two voxels of 16 channels) three times, shifted along the line by -1, 0 and +1, zero
 *     outside; a shift by a line or a plane is then another first row, always aligned, and no padding voxel costs a step.
 * A chunk is some lines of some planes whose A tiles for two blocks of 16 outputs fit the first-level cache and whose B rows
 * fit the second; all 27 taps run over it before the next. Taps that differ by one line share most of their B rows, so they
 * run side by side. Planes of B rows stay in a ring while the chunk moves along z. Sums of a group of input channels are
 * held as tiles and added to dw at the end, over the threads in order. SPDX-License-Identifier: Apache-2.0 */
#include "wgrad_amx.h"

#include "kernels/transpose.h"
#include "tiles.h"

#include <immintrin.h>
#include <omp.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    TILE = 16, /* channels of a tile */
    TILE_BYTES = 1024,
    ROW_BYTES = 64, /* a pair of voxels of 16 channels */
    STEP_ROWS = 16, /* pairs of one product */
    CHUNK_VOXELS = 512,
    LINE_OF_ONE = 512, /* voxels of a line when there is one tap */
    SUM_TILES = 700,   /* most sum tiles of a group: they share the second-level cache with the chunk */
    GROUP_MAX = 4,
    GROUP_MAX_OF_ONE = 16
};

bool dg_wgrad_amx_available(void)
{
    enum { ARCH_REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    unsigned eax, ebx, ecx, edx;
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx512bf16") || !__builtin_cpu_supports("avx512vl") ||
        !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512dq"))
        return false;
    __asm__ volatile("cpuid" : "=a"(eax), "=b"(ebx), "=c"(ecx), "=d"(edx) : "a"(7), "c"(0));
    if ((edx >> 22 & 1) == 0 || (edx >> 24 & 1) == 0) return false; /* AMX-BF16, AMX-TILE */
    return syscall(SYS_arch_prctl, ARCH_REQUEST_PERMISSION, TILE_DATA) == 0;
}

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

void dg_wgrad_amx_plan(int64_t n, int64_t z, int64_t y, int64_t x, int64_t cin, int64_t cout, int taps, int threads,
                       dg_wgrad_plan *p)
{
    *p = (dg_wgrad_plan){.n = n,
                         .z = z,
                         .y = y,
                         .x = x,
                         .voxels = n * z * y * x,
                         .cin = cin,
                         .cout = cout,
                         .taps = taps,
                         .threads = threads};
    if (taps == 1) { /* no neighbours: all voxels in lines of one length */
        p->n = p->y = 1;
        p->x = LINE_OF_ONE;
        p->z = ceil_div(p->voxels, LINE_OF_ONE);
    }
    const int64_t halo = taps == 1 ? 0 : 2, copies = taps == 1 ? 1 : 3;
    p->line_pairs = ceil_div(p->x, 2);
    const int64_t fit = larger(1, CHUNK_VOXELS / (2 * p->line_pairs));
    p->line_blocks = ceil_div(p->y, fit);
    p->lines = ceil_div(p->y, p->line_blocks);
    p->planes = p->line_blocks > 1 ? 1 : smaller(p->z, larger(1, CHUNK_VOXELS / (2 * p->line_pairs * p->lines)));
    p->plane_blocks = ceil_div(p->z, p->planes);
    p->steps = ceil_div(p->lines * p->line_pairs, STEP_ROWS);
    p->cin_tiles = ceil_div(cin, TILE);
    p->cout_tiles = ceil_div(cout, TILE);
    p->group = smaller(taps == 1 ? GROUP_MAX_OF_ONE : GROUP_MAX, larger(1, SUM_TILES / (taps * p->cout_tiles)));
    p->groups = ceil_div(p->cin_tiles, p->group);
    p->group = ceil_div(p->cin_tiles, p->groups);
    p->by_chunk = p->groups % threads != 0 && p->groups < 8 * threads;
    p->slots = p->planes + halo;
    p->slot_rows = (p->lines + halo) * p->line_pairs + STEP_ROWS;
    p->input_bytes = p->slots * copies * p->group * p->slot_rows * ROW_BYTES;
    p->gradient_bytes = p->cout_tiles * p->planes * p->steps * TILE_BYTES;
    p->sum_bytes = p->taps * p->group * p->cout_tiles * TILE_BYTES;
    p->scratch_bytes = threads * (p->input_bytes + p->gradient_bytes + p->sum_bytes);
}

/* One thread's view of the work. */
typedef struct walker {
    const dg_wgrad_plan *plan;
    const uint16_t *x, *dy;
    int64_t x_pitch, dy_pitch;
    char *input, *gradient;              /* B rows [slot][copy][tile][row], A tiles [cout tile][plane][step] */
    float *sum;                          /* tiles [cout tile][column] */
    int64_t first_tile, tiles;           /* of the group */
    int columns;                         /* taps * tiles */
    bool fresh;                          /* sums start from zero */
    const char *ahead[2], *ahead_end[2]; /* of x and dy, wanted by the next chunk */
    int64_t held_from, held_to, held_sample, held_block; /* planes [from, to) in the ring */
} walker;

static __m256i load_channels(const uint16_t *row, __mmask16 mask) { return _mm256_maskz_loadu_epi16(mask, row); }

/* Two voxels of 16 channels side by side: a0 b0 a1 b1 ... */
static __m512i pair(__m256i a, __m256i b)
{
    return _mm512_or_si512(_mm512_cvtepu16_epi32(a), _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16));
}

static __mmask16 channel_mask(int64_t channels, int64_t tile)
{
    const int64_t left = channels - tile * TILE;
    return left >= TILE ? (__mmask16)0xffff : (__mmask16)((1u << left) - 1u);
}

/* First voxel of a line, and how many of its voxels exist. */
static int64_t line_start(const dg_wgrad_plan *p, int64_t n, int64_t z, int64_t y, int64_t *count)
{
    const int64_t start = ((n * p->z + z) * p->y + y) * p->x;
    *count = larger(0, smaller(p->x, p->voxels - start));
    return start;
}

static char *slot_rows(const walker *w, int64_t plane, int copy, int64_t tile)
{
    const dg_wgrad_plan *p = w->plan;
    const int64_t copies = p->taps == 1 ? 1 : 3, slot = (plane + p->slots) % p->slots;
    return w->input + ((slot * copies + copy) * p->group + tile) * p->slot_rows * ROW_BYTES;
}

/* Rows of one line for one tap: pairs (2j, 2j + 1), zero from `count` on. */
static void pair_line(const uint16_t *line, int64_t pitch, int64_t count, int64_t pairs, __mmask16 mask, char *rows)
{
    const __m256i zero = _mm256_setzero_si256();
    for (int64_t j = 0; j < pairs; j++) {
        const __m256i a = 2 * j < count ? load_channels(line + 2 * j * pitch, mask) : zero;
        const __m256i b = 2 * j + 1 < count ? load_channels(line + (2 * j + 1) * pitch, mask) : zero;
        _mm512_store_si512(rows + j * ROW_BYTES, pair(a, b));
    }
}

/* Rows of one line for three taps, pairs (2j - 1, 2j), (2j, 2j + 1) and (2j + 1, 2j + 2), zero outside [0, count). */
static void pair_line3(const uint16_t *line, int64_t pitch, int64_t count, int64_t pairs, __mmask16 mask, char *rows,
                       int64_t copy_bytes)
{
    __m512i before = _mm512_setzero_si512(); /* voxel 2j - 1 in the lower halves */
    __m512i here = _mm512_cvtepu16_epi32(count > 0 ? load_channels(line, mask) : _mm256_setzero_si256());
    for (int64_t j = 0; j < pairs; j++) {
        const int64_t v = 2 * j + 1;
        __m512i after = _mm512_setzero_si512(), next = after;
        if (v < count) after = _mm512_cvtepu16_epi32(load_channels(line + v * pitch, mask));
        if (v + 1 < count) next = _mm512_cvtepu16_epi32(load_channels(line + (v + 1) * pitch, mask));
        char *row = rows + j * ROW_BYTES;
        const __m512i upper = _mm512_slli_epi32(after, 16);
        _mm512_store_si512(row, _mm512_or_si512(before, _mm512_slli_epi32(here, 16)));
        _mm512_store_si512(row + copy_bytes, _mm512_or_si512(here, upper));
        _mm512_store_si512(row + 2 * copy_bytes, _mm512_or_si512(after, _mm512_slli_epi32(next, 16)));
        before = after;
        here = next;
    }
}

/* Packs plane z of lines [block * lines - 1, ...) into its slot of the ring. */
static void pack_plane(walker *w, int64_t n, int64_t block, int64_t z)
{
    const dg_wgrad_plan *p = w->plan;
    const int halo = p->taps == 1 ? 0 : 1;
    const int64_t line_bytes = p->line_pairs * ROW_BYTES;
    for (int64_t tile = 0; tile < w->tiles; tile++) {
        const __mmask16 mask = channel_mask(p->cin, w->first_tile + tile);
        for (int64_t l = 0; l < p->lines + 2 * halo; l++) {
            const int64_t y = block * p->lines + l - halo;
            int64_t count = 0, start = 0;
            if (y >= 0 && y < p->y) start = line_start(p, n, z, y, &count);
            const uint16_t *line = w->x + start * w->x_pitch + (w->first_tile + tile) * TILE;
            char *rows = slot_rows(w, z, 0, tile) + l * line_bytes;
            if (halo == 0)
                pair_line(line, w->x_pitch, count, p->line_pairs, mask, rows);
            else
                pair_line3(line, w->x_pitch, count, p->line_pairs, mask, rows,
                           slot_rows(w, z, 1, tile) - slot_rows(w, z, 0, tile));
        }
        for (int copy = 0; copy < 1 + 2 * halo; copy++) /* read by the last step, against zero gradients */
            memset(slot_rows(w, z, copy, tile) + (p->lines + 2 * halo) * line_bytes, 0, STEP_ROWS * ROW_BYTES);
    }
}

/* Pairs of dy of a chunk's plane, in the order of its lines; zero where there is no voxel. */
typedef struct gradient_cursor {
    const walker *w;
    int64_t n, z, y, lines_left, j, count;
    const uint16_t *line;
} gradient_cursor;

static void cursor_line(gradient_cursor *c)
{
    const dg_wgrad_plan *p = c->w->plan;
    int64_t start = 0;
    c->count = 0;
    c->j = 0;
    if (c->lines_left > 0 && c->y < p->y && c->z < p->z) start = line_start(p, c->n, c->z, c->y, &c->count);
    c->line = c->w->dy + start * c->w->dy_pitch;
}

/* `rows` pairs of 16 channels from the cursor on, which moves. */
static void take_pairs(gradient_cursor *c, int64_t tile, __mmask16 mask, __m512i rows[16])
{
    const int64_t pairs = c->w->plan->line_pairs, pitch = c->w->dy_pitch;
    const __m256i zero = _mm256_setzero_si256();
    for (int r = 0; r < STEP_ROWS; r++) {
        if (c->j == pairs) {
            c->y++;
            c->lines_left--;
            cursor_line(c);
        }
        const uint16_t *at = c->line + 2 * c->j * pitch + tile * TILE;
        rows[r] = pair(2 * c->j < c->count ? load_channels(at, mask) : zero,
                       2 * c->j + 1 < c->count ? load_channels(at + pitch, mask) : zero);
        c->j++;
    }
}

/* Transposes dy of the chunk into A tiles. */
static void pack_gradient(walker *w, int64_t n, int64_t block, int64_t z0)
{
    const dg_wgrad_plan *p = w->plan;
    for (int64_t plane = 0; plane < p->planes; plane++)
        for (int64_t tile = 0; tile < p->cout_tiles; tile++) {
            const __mmask16 mask = channel_mask(p->cout, tile);
            char *out = w->gradient + (tile * p->planes + plane) * p->steps * TILE_BYTES;
            gradient_cursor cursor = {.w = w, .n = n, .z = z0 + plane, .y = block * p->lines, .lines_left = p->lines};
            cursor_line(&cursor);
            for (int64_t step = 0; step < p->steps; step++) {
                __m512i rows[16];
                take_pairs(&cursor, tile, mask, rows);
                transpose16(rows);
                for (int r = 0; r < TILE; r++) _mm512_store_si512(out + step * TILE_BYTES + r * ROW_BYTES, rows[r]);
            }
        }
}

/* What a column (tap, input tile) reads: rows of plane z + dz, from `offset` bytes into the slot. Columns are ordered so
 * that taps a line apart follow each other. */
typedef struct column {
    int dz, copy, dy;
    int64_t tile;
} column;

static column column_at(const walker *w, int index)
{
    if (w->plan->taps == 1) return (column){0, 0, 0, index};
    const int dy = index % 3, rest = index / 3;
    const int64_t tile = rest % w->tiles;
    const int copy = (int)(rest / w->tiles % 3), dz = (int)(rest / w->tiles / 3);
    return (column){dz - 1, copy, dy, tile};
}

static int tap_of(const walker *w, const column *c)
{
    return w->plan->taps == 1 ? 0 : ((c->dz + 1) * 3 + c->dy) * 3 + c->copy;
}

static const char *column_rows(const walker *w, const column *c, int64_t z)
{
    return slot_rows(w, z + c->dz, c->copy, c->tile) + c->dy * w->plan->line_pairs * ROW_BYTES;
}

static bool plane_exists(const walker *w, const column *c, int64_t z)
{
    return z + c->dz >= 0 && z + c->dz < w->plan->z;
}

static float *sum_tile(const walker *w, int64_t row, int index)
{
    return w->sum + (row * w->columns + index) * (TILE * TILE);
}

#define SUM_START(tile, place)                   \
    do {                                         \
        if (w->fresh)                            \
            _tile_zero(tile);                    \
        else                                     \
            _tile_loadd(tile, place, ROW_BYTES); \
    } while (0)

/* Two blocks of outputs against two columns of one plane shift... planes outside add nothing. */
static void block_2x2(const walker *w, int64_t row, int index, int64_t z0)
{
    const dg_wgrad_plan *p = w->plan;
    const column c0 = column_at(w, index), c1 = column_at(w, index + 1);
    SUM_START(0, sum_tile(w, row, index));
    SUM_START(1, sum_tile(w, row, index + 1));
    SUM_START(2, sum_tile(w, row + 1, index));
    SUM_START(3, sum_tile(w, row + 1, index + 1));
    for (int64_t plane = 0; plane < p->planes && z0 + plane < p->z; plane++) {
        const char *a0 = w->gradient + (row * p->planes + plane) * p->steps * TILE_BYTES;
        const char *a1 = a0 + p->planes * p->steps * TILE_BYTES;
        const bool has0 = plane_exists(w, &c0, z0 + plane), has1 = plane_exists(w, &c1, z0 + plane);
        const char *b0 = column_rows(w, &c0, z0 + plane), *b1 = column_rows(w, &c1, z0 + plane);
        if (has0 && has1) {
            for (int64_t s = 0; s < p->steps; s++) {
                _tile_loadd(4, a0 + s * TILE_BYTES, ROW_BYTES);
                _tile_loadd(6, b0 + s * TILE_BYTES, ROW_BYTES);
                _tile_loadd(5, a1 + s * TILE_BYTES, ROW_BYTES);
                _tile_loadd(7, b1 + s * TILE_BYTES, ROW_BYTES);
                _tile_dpbf16ps(0, 4, 6);
                _tile_dpbf16ps(2, 5, 6);
                _tile_dpbf16ps(1, 4, 7);
                _tile_dpbf16ps(3, 5, 7);
            }
        } else if (has0 || has1) {
            const char *b = has0 ? b0 : b1;
            for (int64_t s = 0; s < p->steps; s++) {
                _tile_loadd(4, a0 + s * TILE_BYTES, ROW_BYTES);
                _tile_loadd(5, a1 + s * TILE_BYTES, ROW_BYTES);
                _tile_loadd(6, b + s * TILE_BYTES, ROW_BYTES);
                if (has0) {
                    _tile_dpbf16ps(0, 4, 6);
                    _tile_dpbf16ps(2, 5, 6);
                } else {
                    _tile_dpbf16ps(1, 4, 6);
                    _tile_dpbf16ps(3, 5, 6);
                }
            }
        }
    }
    _tile_stored(0, sum_tile(w, row, index), ROW_BYTES);
    _tile_stored(1, sum_tile(w, row, index + 1), ROW_BYTES);
    _tile_stored(2, sum_tile(w, row + 1, index), ROW_BYTES);
    _tile_stored(3, sum_tile(w, row + 1, index + 1), ROW_BYTES);
}

/* One block of outputs (or two) against one column. */
static void block_single(const walker *w, int64_t row, bool two, int index, int64_t z0)
{
    const dg_wgrad_plan *p = w->plan;
    const column c = column_at(w, index);
    SUM_START(0, sum_tile(w, row, index));
    if (two) SUM_START(1, sum_tile(w, row + 1, index));
    for (int64_t plane = 0; plane < p->planes && z0 + plane < p->z; plane++) {
        if (!plane_exists(w, &c, z0 + plane)) continue;
        const char *a0 = w->gradient + (row * p->planes + plane) * p->steps * TILE_BYTES;
        const char *a1 = a0 + p->planes * p->steps * TILE_BYTES, *b = column_rows(w, &c, z0 + plane);
        for (int64_t s = 0; s < p->steps; s++) {
            _tile_loadd(6, b + s * TILE_BYTES, ROW_BYTES);
            _tile_loadd(4, a0 + s * TILE_BYTES, ROW_BYTES);
            _tile_dpbf16ps(0, 4, 6);
            if (two) {
                _tile_loadd(5, a1 + s * TILE_BYTES, ROW_BYTES);
                _tile_dpbf16ps(1, 5, 6);
            }
        }
    }
    _tile_stored(0, sum_tile(w, row, index), ROW_BYTES);
    if (two) _tile_stored(1, sum_tile(w, row + 1, index), ROW_BYTES);
}

/* One block of outputs against the three taps of neighbouring lines, which share dz. */
static void block_1x3(const walker *w, int64_t row, int index, int64_t z0)
{
    const dg_wgrad_plan *p = w->plan;
    const column c = column_at(w, index);
    const int64_t line = p->line_pairs * ROW_BYTES;
    SUM_START(0, sum_tile(w, row, index));
    SUM_START(1, sum_tile(w, row, index + 1));
    SUM_START(2, sum_tile(w, row, index + 2));
    for (int64_t plane = 0; plane < p->planes && z0 + plane < p->z; plane++) {
        if (!plane_exists(w, &c, z0 + plane)) continue;
        const char *a = w->gradient + (row * p->planes + plane) * p->steps * TILE_BYTES;
        const char *b = column_rows(w, &c, z0 + plane);
        for (int64_t s = 0; s < p->steps; s++) {
            _tile_loadd(4, a + s * TILE_BYTES, ROW_BYTES);
            _tile_loadd(5, b + s * TILE_BYTES, ROW_BYTES);
            _tile_loadd(6, b + s * TILE_BYTES + line, ROW_BYTES);
            _tile_loadd(7, b + s * TILE_BYTES + 2 * line, ROW_BYTES);
            _tile_dpbf16ps(0, 4, 5);
            _tile_dpbf16ps(1, 4, 6);
            _tile_dpbf16ps(2, 4, 7);
        }
    }
    _tile_stored(0, sum_tile(w, row, index), ROW_BYTES);
    _tile_stored(1, sum_tile(w, row, index + 1), ROW_BYTES);
    _tile_stored(2, sum_tile(w, row, index + 2), ROW_BYTES);
}

/* Brings a little of the next chunk's input into the second-level cache while the tile unit works. */
static void prefetch(walker *w)
{
    enum { LINES = 24, LINE = 64 };
    for (int i = 0; i < 2; i++) {
        const char *end = w->ahead_end[i] - w->ahead[i] < LINES * LINE ? w->ahead_end[i] : w->ahead[i] + LINES * LINE;
        for (; w->ahead[i] < end; w->ahead[i] += LINE) _mm_prefetch(w->ahead[i], _MM_HINT_T1);
    }
}

/* All taps of the group over one chunk. */
static void multiply_chunk(walker *w, int64_t z0)
{
    const dg_wgrad_plan *p = w->plan;
    int64_t row = 0;
    for (; row + 1 < p->cout_tiles; row += 2) {
        int index = 0;
        for (; index + 1 < w->columns; index += 2) {
            block_2x2(w, row, index, z0);
            prefetch(w);
        }
        if (index < w->columns) block_single(w, row, true, index, z0);
    }
    if (row == p->cout_tiles) return;
    int index = 0;
    for (; p->taps != 1 && index < w->columns; index += 3) block_1x3(w, row, index, z0);
    for (; index < w->columns; index++) block_single(w, row, false, index, z0);
}

/* The lines that the next chunk along z reads first: plane z0 + 2 planes of x, z0 + planes of dy. */
static void look_ahead(walker *w, int64_t n, int64_t block, int64_t z0)
{
    const dg_wgrad_plan *p = w->plan;
    const int64_t halo = p->taps == 1 ? 0 : 1, lines = smaller(p->lines, p->y - block * p->lines);
    const int64_t next[2] = {z0 + p->planes + halo, z0 + p->planes};
    const int64_t pitch[2] = {w->x_pitch, w->dy_pitch};
    const uint16_t *base[2] = {w->x + w->first_tile * TILE, w->dy};
    for (int i = 0; i < 2; i++) {
        w->ahead[i] = w->ahead_end[i] = NULL;
        if (next[i] >= p->z) continue;
        int64_t count;
        const int64_t from = larger(0, block * p->lines - (i == 0 ? halo : 0));
        const int64_t start = line_start(p, n, next[i], from, &count);
        const int64_t planes = smaller(p->planes, p->z - next[i]);
        const int64_t voxels = p->line_blocks > 1 ? (lines + 2 * halo) * p->x : planes * p->y * p->x;
        w->ahead[i] = (const char *)(base[i] + start * pitch[i]);
        w->ahead_end[i] = w->ahead[i] + 2 * smaller(voxels, p->voxels - start) * pitch[i];
    }
}

/* Chunk number `chunk` in the order (sample, line block, plane block): packs what the ring lacks and multiplies. */
static void run_chunk(walker *w, int64_t chunk)
{
    const dg_wgrad_plan *p = w->plan;
    const int64_t z0 = chunk % p->plane_blocks * p->planes, block = chunk / p->plane_blocks % p->line_blocks;
    const int64_t n = chunk / p->plane_blocks / p->line_blocks, halo = p->taps == 1 ? 0 : 1;
    const int64_t from = larger(0, z0 - halo), to = smaller(p->z, z0 + p->planes + halo);
    const bool goes_on = w->held_sample == n && w->held_block == block && w->held_to > from && w->held_from <= from;
    for (int64_t z = goes_on ? w->held_to : from; z < to; z++) pack_plane(w, n, block, z);
    w->held_sample = n;
    w->held_block = block;
    w->held_from = from;
    w->held_to = to;
    pack_gradient(w, n, block, z0);
    look_ahead(w, n, block, z0);
    multiply_chunk(w, z0);
    w->fresh = false;
}

/* dw += the sums of `count` threads, in order, for rows of output tiles [row0, row1). */
static void add_sums(const walker *w, const char *first_sum, int64_t stride, int count, int64_t part, int64_t parts,
                     float *dw)
{
    const dg_wgrad_plan *p = w->plan;
    const int64_t items = p->cout_tiles * w->columns;
    for (int64_t item = items * part / parts; item < items * (part + 1) / parts; item++) {
        const int64_t row = item % p->cout_tiles;
        const int index = (int)(item / p->cout_tiles);
        const column c = column_at(w, index);
        __m512i t[16];
        for (int r = 0; r < TILE; r++) {
            __m512 v = _mm512_setzero_ps();
            for (int k = 0; k < count; k++)
                v = _mm512_add_ps(v, _mm512_load_ps((const float *)(first_sum + k * stride) +
                                                    (row * w->columns + index) * (TILE * TILE) + r * TILE));
            t[r] = _mm512_castps_si512(v);
        }
        transpose16(t);
        const __mmask16 mask = channel_mask(p->cout, row);
        const int64_t ci = (w->first_tile + c.tile) * TILE;
        for (int64_t r = 0; r < TILE && ci + r < p->cin; r++) {
            float *to = dw + (tap_of(w, &c) * p->cin + ci + r) * p->cout + row * TILE;
            _mm512_mask_storeu_ps(to, mask, _mm512_add_ps(_mm512_maskz_loadu_ps(mask, to), _mm512_castsi512_ps(t[r])));
        }
    }
}

static void set_group(walker *w, int64_t group)
{
    const dg_wgrad_plan *p = w->plan;
    w->first_tile = group * p->group;
    w->tiles = smaller(p->group, p->cin_tiles - w->first_tile);
    w->columns = (int)(p->taps * w->tiles);
    w->fresh = true;
    w->held_sample = -1;
}

/* A thread without chunks still leaves zero sums. */
static void run_chunks(walker *w, int64_t first, int64_t last)
{
    if (first == last) memset(w->sum, 0, (size_t)w->plan->sum_bytes);
    for (int64_t chunk = first; chunk < last; chunk++) run_chunk(w, chunk);
}

void dg_wgrad_amx_run(const dg_wgrad_plan *p, const uint16_t *x, int64_t x_pitch, const uint16_t *dy, int64_t dy_pitch,
                      float *dw, char *scratch)
{
    const int64_t stride = p->input_bytes + p->gradient_bytes + p->sum_bytes;
    const int64_t chunks = p->n * p->line_blocks * p->plane_blocks;
#pragma omp parallel num_threads(p->threads)
    {
        const int64_t threads = omp_get_num_threads(), me = omp_get_thread_num();
        char *mine = scratch + me * stride;
        walker w = {.plan = p,
                    .x = x,
                    .dy = dy,
                    .x_pitch = x_pitch,
                    .dy_pitch = dy_pitch,
                    .sum = (float *)mine,
                    .input = mine + p->sum_bytes,
                    .gradient = mine + p->sum_bytes + p->input_bytes};
        tiles_configure();
        if (p->by_chunk) {
            for (int64_t group = 0; group < p->groups; group++) {
                set_group(&w, group);
                run_chunks(&w, chunks * me / threads, chunks * (me + 1) / threads);
#pragma omp barrier
                add_sums(&w, scratch, stride, (int)threads, me, threads, dw);
#pragma omp barrier
            }
        } else {
            for (int64_t group = p->groups * me / threads; group < p->groups * (me + 1) / threads; group++) {
                set_group(&w, group);
                run_chunks(&w, 0, chunks);
                add_sums(&w, mine, stride, 1, 0, 1, dw);
            }
        }
        _tile_release();
    }
}
