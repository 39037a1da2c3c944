/* ctest: libs=test_tensor label=unit timeout=120 args=--backend onednn */
/* t251_conv_shapes.c - convolutions of drawn shapes against `ref`: kernels that cut the work into blocks go wrong at the
 * edges of some blocks only. Long lines, single planes, channel counts around multiples of 16, several samples.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "test_compare.h"

enum { DRAWN = 24 };
/* Products of one forward pass at most, so that the reference stays quick. */
static const int64_t MOST_PRODUCTS = 3000000;

static const test_case FIXED[] = {
    {"long line", TEST_CONV, .x = {1, 2, 2, 603, 8}, .kernel = 3, .cout = 8},
    {"many lines", TEST_CONV, .x = {1, 2, 75, 17, 5}, .kernel = 3, .cout = 7},
    {"many planes", TEST_CONV, .x = {1, 70, 3, 5, 6}, .kernel = 3, .cout = 9},
    {"many samples", TEST_CONV, .x = {7, 3, 2, 3, 16}, .kernel = 3, .cout = 16},
    {"many inputs", TEST_CONV, .x = {1, 2, 3, 4, 200}, .kernel = 3, .cout = 17},
    {"many outputs", TEST_CONV, .x = {1, 2, 3, 4, 17}, .kernel = 3, .cout = 200},
    {"bottleneck", TEST_CONV, .x = {1, 2, 2, 2, 128}, .kernel = 3, .cout = 128, .bias = true},
    {"bottleneck of two", TEST_CONV, .x = {2, 1, 2, 1, 96}, .kernel = 3, .cout = 48, .bias = true},
    {"three segments a line, one tile of outputs", TEST_CONV, .x = {2, 2, 5, 48, 7}, .kernel = 3, .cout = 12,
     .bias = true},
    {"uneven line blocks, two tiles of outputs", TEST_CONV, .x = {1, 3, 19, 30, 9}, .kernel = 3, .cout = 20},
    {"short lines, blocks of outputs", TEST_CONV, .x = {1, 5, 3, 13, 6}, .kernel = 3, .cout = 100, .bias = true},
    {"deep: a part of a tile, several samples", TEST_CONV, .x = {2, 2, 3, 5, 32}, .kernel = 3, .cout = 64,
     .bias = true},
    {"deep: several blocks of outputs", TEST_CONV, .x = {1, 1, 4, 4, 64}, .kernel = 3, .cout = 100},
    {"deep: several chunks of inputs", TEST_CONV, .x = {1, 1, 3, 4, 416}, .kernel = 3, .cout = 8, .bias = true},
    {"deep: one plane, one tile", TEST_CONV, .x = {1, 1, 2, 7, 32}, .kernel = 3, .cout = 48},
    {"product, many voxels", TEST_CONV, .x = {2, 9, 13, 17, 24}, .kernel = 1, .cout = 20, .pad_x = 8, .pad_y = 12},
    {"product, many inputs", TEST_CONV, .x = {1, 2, 3, 4, 384}, .kernel = 1, .cout = 96, .bias = true},
};

static int64_t draw(const float *uniform, int *at, int64_t least, int64_t most)
{
    const double u = fabs(uniform[(*at)++]);
    return least + (int64_t)(u * 1000.0) % (most - least + 1);
}

/* Shape number `number` of the drawn ones; sizes are halved until the work is small enough. */
static test_case draw_case(int number, char name[96])
{
    float *uniform = test_random(900 + (uint64_t)number, 16, 1, 0);
    int at = 0;
    const int kernels[4] = {3, 3, 1, 2};
    test_case c = {.kind = TEST_CONV, .kernel = kernels[draw(uniform, &at, 0, 3)]};
    c.x = (test_shape){.n = draw(uniform, &at, 1, 3),
                       .z = draw(uniform, &at, 1, 12),
                       .y = draw(uniform, &at, 1, 34),
                       .x = draw(uniform, &at, 1, 70),
                       .c = draw(uniform, &at, 1, 100)};
    c.cout = draw(uniform, &at, 1, 100);
    c.bias = draw(uniform, &at, 0, 1) == 1;
    if (c.kernel == 1) c.pad_x = draw(uniform, &at, 0, 20);
    if (c.kernel == 1) c.pad_y = draw(uniform, &at, 0, 20);
    int64_t *sizes[5] = {&c.x.z, &c.x.x, &c.cout, &c.x.y, &c.x.c};
    for (int i = 0; test_count(c.x) * c.cout * c.kernel * c.kernel * c.kernel > MOST_PRODUCTS; i = (i + 1) % 5)
        *sizes[i] = (*sizes[i] + 1) / 2;
    snprintf(name, 96, "conv%d [%d,%d,%d,%d] %d+%d to %d+%d", c.kernel, (int)c.x.n, (int)c.x.z, (int)c.x.y, (int)c.x.x,
             (int)c.x.c, (int)c.pad_x, (int)c.cout, (int)c.pad_y);
    c.name = name;
    free(uniform);
    return c;
}

int main(int argc, char **argv)
{
    const char *backend = argc == 3 ? argv[2] : "onednn";
    test_scope one = test_scope_open(backend, 1), two = test_scope_open(backend, 2), ref = test_scope_open("ref", 2);
    int failed = 0;
    for (size_t i = 0; i < sizeof FIXED / sizeof FIXED[0]; i++)
        failed += test_case_check(&ref, &one, &two, &FIXED[i], 100 + i);
    for (int i = 0; i < DRAWN; i++) {
        char name[96];
        const test_case drawn = draw_case(i, name);
        failed += test_case_check(&ref, &one, &two, &drawn, 200 + (uint64_t)i);
    }
    printf("%s: %d results beyond tolerance\n", two.backend->description, failed);
    test_scope_close(&one);
    test_scope_close(&two);
    test_scope_close(&ref);
    return failed > 0;
}
