/* ctest: libs=dg_analysis,dg_parallel label=unit timeout=120 */
/* t672_topology.c - Betti numbers, Betti matching and variation of information: bodies of known topology, and small random masks against
 * the definitions, worked out with whole boundary matrices. SPDX-License-Identifier: Apache-2.0 */
#include "dg_betti_matching.h"
#include "dg_check.h"
#include "dg_partition.h"
#include "dg_rng.h"

enum { SIDE = 25, CELLS_MAX = 400, WORDS = (CELLS_MAX + 63) / 64 };

static double random_number(uint64_t seed, uint64_t at)
{
    dg_rng rng = dg_rng_stream(seed, DG_RNG_TEST, at, 0);
    return dg_rng_uniform(&rng);
}

/* ---- bodies ---------------------------------------------------------------------------------------------------------- */

typedef bool (*body)(double z, double y, double x);
static bool ball(double z, double y, double x) { return z * z + y * y + x * x < 81; }
static bool shell(double z, double y, double x) { return ball(z, y, x) && z * z + y * y + x * x > 30; }
static bool torus(double z, double y, double x)
{
    const double r = sqrt(y * y + x * x) - 7;
    return r * r + z * z < 6.5;
}
static bool hollow_torus(double z, double y, double x)
{
    const double r = sqrt(y * y + x * x) - 7;
    return r * r + z * z < 12 && r * r + z * z > 3;
}
static bool two_balls(double z, double y, double x)
{
    return ball(2 * z + 10, 2 * y, 2 * x) || ball(2 * z - 12, 2 * y, 2 * x);
}
static bool nothing(double z, double y, double x) { return z + y + x > 1e9; }
static bool tunnelled_block(double z, double y, double x) /* two tunnels that do not meet, and one cavity */
{
    if (fabs(z) > 9 || fabs(y) > 9 || fabs(x) > 9) return false;
    if (fabs(y + 5) < 2 && fabs(x) < 2) return false;
    if (fabs(y - 5) < 2 && fabs(x) < 2) return false;
    return !(fabs(z) < 2 && fabs(y) < 2 && fabs(x - 6) < 2);
}

static void draw(body is_set, uint8_t *mask)
{
    for (int i = 0; i < SIDE * SIDE * SIDE; i++)
        mask[i] = is_set(i / (SIDE * SIDE) - SIDE / 2, i / SIDE % SIDE - SIDE / 2, i % SIDE - SIDE / 2);
}

static void test_bodies(void)
{
    static const struct {
        body is_set;
        int64_t number[3];
    } known[] = {{ball, {1, 0, 0}},      {shell, {1, 0, 1}},   {torus, {1, 1, 0}},          {hollow_torus, {1, 2, 1}},
                 {two_balls, {2, 0, 0}}, {nothing, {0, 0, 0}}, {tunnelled_block, {1, 2, 1}}};
    static uint8_t mask[SIDE * SIDE * SIDE];
    const int64_t n[3] = {SIDE, SIDE, SIDE};
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        draw(known[k].is_set, mask);
        for (int touch = DG_TOUCH_FACE; touch <= DG_TOUCH_CORNER; touch += DG_TOUCH_CORNER - DG_TOUCH_FACE) {
            dg_betti found;
            DG_CHECK_OK(dg_betti_count(mask, n, (dg_touch)touch, &found));
            DG_CHECK(memcmp(found.number, known[k].number, sizeof found.number) == 0);
            DG_CHECK(found.euler == found.number[0] - found.number[1] + found.number[2]);
        }
    }
    dg_betti found;
    DG_CHECK_FAILS(dg_betti_count(mask, n, DG_TOUCH_EDGE, &found), DG_ERR_USAGE, "not over edges alone");
    /* where two voxels touch at a corner alone, the ways to touch differ */
    const int64_t two[3] = {2, 2, 2};
    const uint8_t diagonal[8] = {1, 0, 0, 0, 0, 0, 0, 1};
    DG_CHECK_OK(dg_betti_count(diagonal, two, DG_TOUCH_FACE, &found));
    DG_CHECK(found.number[0] == 2 && found.number[1] == 0 && found.euler == 2);
    DG_CHECK_OK(dg_betti_count(diagonal, two, DG_TOUCH_CORNER, &found));
    DG_CHECK(found.number[0] == 1 && found.number[1] == 0 && found.euler == 1);
}

/* ---- definitions ----------------------------------------------------------------------------------------------------- */

/* Cells of the complex whose vertices are voxels; `span` has bit a where the cell is two voxels wide along axis a. */
typedef struct cell {
    int64_t at[3], order;
    int span;
} cell;

static const int64_t N[3] = {4, 4, 3};
static int64_t index_of(const int64_t at[3]) { return (at[0] * N[1] + at[1]) * N[2] + at[2]; }
static int dimension(int span) { return (span & 1) + (span >> 1 & 1) + (span >> 2 & 1); }

static bool is_late(const uint8_t *mask, const cell *c)
{
    for (int k = 0; k < 8; k++) {
        if ((k & ~c->span) != 0) continue;
        const int64_t at[3] = {c->at[0] + (k & 1), c->at[1] + (k >> 1 & 1), c->at[2] + (k >> 2 & 1)};
        if (mask[index_of(at)] == 0) return true;
    }
    return false;
}

/* Orientations come as the published program numbers them: edges by their axis, squares by the axis they leave out. */
static int orientation(int span) { return dimension(span) == 2 ? span == 6 ? 0 : span == 5 ? 1 : 2 : span >> 1; }

static int by_order(const void *a, const void *b)
{
    const int64_t p = ((const cell *)a)->order, q = ((const cell *)b)->order;
    return (p > q) - (p < q);
}

static int64_t cells_of(int dim, const uint8_t *mask, cell *out)
{
    int64_t count = 0;
    for (int64_t i = 0; i < N[0] * N[1] * N[2]; i++)
        for (int span = 0; span < 8; span++) {
            cell c = {.at = {i / (N[1] * N[2]), i / N[2] % N[1], i % N[2]}, .span = span};
            bool inside = dimension(span) == dim;
            for (int a = 0; a < 3; a++) inside = inside && c.at[a] + (span >> a & 1) < N[a];
            if (!inside) continue;
            c.order = ((int64_t)is_late(mask, &c) << 40) + 4 * i + orientation(span);
            DG_CHECK(count < CELLS_MAX);
            out[count++] = c;
        }
    qsort(out, (size_t)count, sizeof *out, by_order);
    return count;
}

static bool is_face(const cell *f, const cell *c)
{
    const int along = c->span & ~f->span;
    if ((f->span & ~c->span) != 0 || dimension(along) != 1) return false;
    for (int a = 0; a < 3; a++) {
        const int64_t d = f->at[a] - c->at[a];
        if (d < 0 || d > (along >> a & 1)) return false;
    }
    return true;
}

/* Reduces the boundary matrix with columns in the order of one mask and rows in that of another; low[column]: the row, or -1. */
static int64_t reduce(int dim, const uint8_t *columns, const uint8_t *rows, cell *column, cell *row, int64_t *low)
{
    static uint64_t bits[CELLS_MAX][WORDS];
    static int64_t owner[CELLS_MAX];
    const int64_t count = cells_of(dim + 1, columns, column), height = cells_of(dim, rows, row);
    memset(bits, 0, sizeof bits);
    for (int64_t r = 0; r < height; r++) owner[r] = -1;
    for (int64_t c = 0; c < count; c++) {
        for (int64_t r = 0; r < height; r++)
            if (is_face(&row[r], &column[c])) bits[c][r / 64] |= UINT64_C(1) << (r % 64);
        low[c] = -1;
        for (int64_t r = height - 1; r >= 0 && low[c] < 0; r--) {
            if ((bits[c][r / 64] >> (r % 64) & 1) == 0) continue;
            if (owner[r] < 0) {
                owner[r] = c;
                low[c] = r;
            } else {
                for (int w = 0; w < WORDS; w++) bits[c][w] ^= bits[owner[r]][w];
            }
        }
    }
    return count;
}

static void check_matching(const uint8_t *a, const uint8_t *b)
{
    static cell column[CELLS_MAX], row[CELLS_MAX];
    static int64_t low[2][CELLS_MAX];
    static uint8_t both[64];
    const uint8_t *const mask[2] = {a, b};
    dg_betti_matches found = {{0}, {0}, {0}};
    DG_CHECK_OK(dg_betti_match(a, b, N, &found));
    for (int64_t i = 0; i < N[0] * N[1] * N[2]; i++) both[i] = a[i] != 0 || b[i] != 0;
    for (int dim = 0; dim < 3; dim++) {
        const int64_t *const numbers[2] = {&found.predicted[dim], &found.labelled[dim]};
        int64_t matched = 0, count = 0;
        for (int k = 0; k < 2; k++) { /* those born early and dying late */
            int64_t pairs = 0;
            count = reduce(dim, mask[k], mask[k], column, row, low[k]);
            for (int64_t c = 0; c < count; c++)
                pairs += low[k][c] >= 0 && is_late(mask[k], &column[c]) && !is_late(mask[k], &row[low[k][c]]);
            DG_CHECK(pairs == *numbers[k]);
        }
        bool early[2][CELLS_MAX];
        for (int k = 0; k < 2; k++) {
            count = reduce(dim, both, mask[k], column, row, low[k]);
            for (int64_t c = 0; c < count; c++) early[k][c] = low[k][c] >= 0 && !is_late(mask[k], &row[low[k][c]]);
        }
        for (int64_t c = 0; c < count; c++) matched += is_late(both, &column[c]) && early[0][c] && early[1][c];
        DG_CHECK(matched == found.matched[dim]);
    }
}

static void test_random_matching(void)
{
    uint8_t a[48], b[48];
    int64_t seen[3] = {0, 0, 0};
    for (uint64_t turn = 0; turn < 60; turn++) {
        const double level = turn % 3 == 0 ? 0.99 : 0.3 + 0.6 * random_number(turn, 1000);
        for (uint64_t i = 0; i < 48; i++) {
            a[i] = random_number(turn, i) < level;
            b[i] = turn % 2 == 0 ? random_number(turn, 100 + i) < level : a[i] ^ (random_number(turn, 200 + i) < 0.1);
        }
        if (turn % 3 == 0) a[16] = b[16] = 0; /* inside: a cavity, where the others stand */
        check_matching(a, b);
        dg_betti_matches found = {{0}, {0}, {0}};
        DG_CHECK_OK(dg_betti_match(a, b, N, &found));
        for (int k = 0; k < 3; k++) seen[k] += found.matched[k];
    }
    DG_CHECK(seen[0] > 0 && seen[1] > 0 && seen[2] > 0); /* every dimension was tried */
}

/* Cells of the union of closed voxels, one by one, in a grid of twice the size. */
static int64_t naive_euler(const uint8_t *mask)
{
    static uint8_t cells[9 * 9 * 7];
    int64_t sum = 0;
    memset(cells, 0, sizeof cells);
    for (int64_t i = 0; i < 48; i++)
        for (int k = 0; mask[i] != 0 && k < 27; k++)
            cells[((2 * (i / 12) + k / 9) * 9 + 2 * (i / 3 % 4) + k / 3 % 3) * 7 + 2 * (i % 3) + k % 3] = 1;
    for (int64_t i = 0; i < 9 * 9 * 7; i++)
        if (cells[i] != 0) sum += (i / 63 + i / 7 % 9 + i % 7) % 2 == 0 ? 1 : -1;
    return sum;
}

static void test_random_euler(void)
{
    uint8_t mask[48];
    for (uint64_t turn = 0; turn < 40; turn++) {
        for (uint64_t i = 0; i < 48; i++) mask[i] = random_number(500 + turn, i) < 0.5;
        DG_CHECK(dg_euler_characteristic(mask, N, DG_TOUCH_CORNER) == naive_euler(mask));
    }
}

/* ---- scores ---------------------------------------------------------------------------------------------------------- */

static void test_scores(void)
{
    static uint8_t a[SIDE * SIDE * SIDE], b[SIDE * SIDE * SIDE];
    const int64_t n[3] = {SIDE, SIDE, SIDE};
    dg_betti_matches found = {{0}, {0}, {0}};
    draw(hollow_torus, a);
    DG_CHECK_OK(dg_betti_match(a, a, n, &found));
    DG_CHECK(found.matched[1] == 2 && found.predicted[1] == 2 && found.matched[2] == 1 && found.matched[0] == 0);
    DG_CHECK_NEAR(dg_betti_score(&found), 1, 1e-15);
    /* a torus and its mirror image elsewhere: as many tunnels, and none of them the same */
    draw(torus, a);
    memset(b, 0, sizeof b);
    for (int i = 0; i < SIDE * SIDE * SIDE; i++) b[i] = i / (SIDE * SIDE) >= 8 ? a[i - 8 * SIDE * SIDE] : 0;
    found = (dg_betti_matches){{0}, {0}, {0}};
    DG_CHECK_OK(dg_betti_match(a, b, n, &found));
    DG_CHECK(found.predicted[1] == 1 && found.labelled[1] == 1 && found.matched[1] == 0 && dg_betti_score(&found) == 0);
    memset(a, 0, sizeof a);
    found = (dg_betti_matches){{0}, {0}, {0}};
    DG_CHECK_OK(dg_betti_match_octants(a, a, n, &found));
    DG_CHECK(dg_betti_score(&found) == 1);
    const dg_betti_matches some = {{1, 0, 0}, {3, 1, 0}, {2, 0, 0}};
    DG_CHECK_NEAR(dg_betti_score(&some), (0.34 * 2 / 5 + 0.33 * 0.5 / 1.5) / 0.67, 1e-15);
    /* halves: 25 is 13 + 12, and every block has its own count */
    draw(ball, a);
    DG_CHECK_OK(dg_betti_match_octants(a, a, n, &found));
    DG_CHECK(found.predicted[0] == 0 && found.predicted[1] == 0 && found.predicted[2] == 0);
    const int64_t flat[3] = {1, 5, 5};
    uint8_t ring[25];
    for (int i = 0; i < 25; i++) ring[i] = i / 5 == 0 || i / 5 == 4 || i % 5 == 0 || i % 5 == 4;
    found = (dg_betti_matches){{0}, {0}, {0}};
    DG_CHECK_OK(dg_betti_match(ring, ring, flat, &found));
    DG_CHECK(found.matched[1] == 1 && found.predicted[1] == 1);
}

static void test_information(void)
{
    const uint32_t one[] = {1, 1, 1, 1, 0, 0}, two[] = {1, 1, 2, 2, 0, 0}, shifted[] = {0, 1, 1, 1, 1, 0};
    dg_information found;
    DG_CHECK_OK(dg_partition_compare(one, one, 6, &found));
    DG_CHECK(found.split == 0 && found.merge == 0 && found.voxels == 4);
    DG_CHECK_OK(dg_partition_compare(one, two, 6,
                                     &found)); /* the prediction joins what the label holds apart: 1 bit is missing */
    DG_CHECK_NEAR(found.split, 1, 1e-15);
    DG_CHECK_NEAR(found.merge, 0, 1e-15);
    DG_CHECK_OK(dg_partition_compare(two, one, 6, &found));
    DG_CHECK_NEAR(found.split, 0, 1e-15);
    DG_CHECK_NEAR(found.merge, 1, 1e-15);
    /* 5 voxels, pairs (1,0) (1,1) x 3 (0,1): H = 4/5 H(1/4) */
    const double h = 0.8 * -(0.25 * log2(0.25) + 0.75 * log2(0.75));
    DG_CHECK_OK(dg_partition_compare(one, shifted, 6, &found));
    DG_CHECK_NEAR(found.split, h, 1e-12);
    DG_CHECK_NEAR(found.merge, h, 1e-12);
    DG_CHECK_OK(dg_partition_compare(one + 4, one + 4, 2, &found));
    DG_CHECK(found.voxels == 0 && found.split == 0);
}

int main(void)
{
    test_bodies();
    test_random_matching();
    test_random_euler();
    test_scores();
    test_information();
    return 0;
}
