/* ctest: libs=dg_nn,test_tensor label=unit args=--backend ref; --backend onednn */
/* t312_loss_blocks.c - a network that predicts blocks of voxels has those of a block side by side: the loss of neighbours is
 * that of the same dose in plain order, and so is its gradient, voxel by voxel. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_loss.h"
#include "test_tensor.h"

enum { Z = 4, Y = 6, X = 4, VOXELS = Z * Y * X };
static const int64_t BLOCK[3] = {2, 3, 2};

/* Place of a voxel in block order. */
static int64_t in_blocks(int64_t z, int64_t y, int64_t x)
{
    const int64_t *b = BLOCK;
    const int64_t block = ((z / b[0]) * (Y / b[1]) + y / b[1]) * (X / b[2]) + x / b[2];
    return ((block * b[0] + z % b[0]) * b[1] + y % b[1]) * b[2] + x % b[2];
}

/* Value and gradient of a term. */
static double evaluate(test_scope *s, dg_loss_kind kind, const dg_loss_batch *batch, float slope[VOXELS])
{
    const dg_loss_config config = {.count = 1, .term = {{.kind = kind}}, .weight = {2}};
    const dg_tensor *y = &batch->y;
    dg_tensor dy = test_tensor(s, DG_F32, (test_shape){1, y->z, y->y, y->x, 1}, 0, NULL);
    dg_loss *loss = NULL;
    double value = 0;
    DG_CHECK_OK(dg_loss_create(&config, s->backend, batch, &loss));
    DG_CHECK_OK(dg_loss_evaluate(loss, batch, &dy));
    DG_CHECK_OK(dg_loss_read(loss, &value));
    float *got = test_tensor_get(s, &dy);
    memcpy(slope, got, VOXELS * sizeof *slope);
    free(got);
    dg_loss_destroy(&loss);
    return value;
}

static void compare(test_scope *s, dg_loss_kind kind, const dg_loss_batch *plain, const dg_loss_batch *blocks)
{
    float plain_slope[VOXELS], block_slope[VOXELS], largest = 0;
    const double value = evaluate(s, kind, plain, plain_slope);
    DG_CHECK_NEAR(evaluate(s, kind, blocks, block_slope), value, 1e-6 * value);
    for (int64_t i = 0; i < VOXELS; i++) {
        DG_CHECK_NEAR(block_slope[in_blocks(i / (Y * X), i / X % Y, i % X)], plain_slope[i], 1e-8);
        largest = fmaxf(largest, fabsf(plain_slope[i]));
    }
    DG_CHECK(value > 0 && largest > 0);
}

int main(int argc, char **argv)
{
    test_scope s = test_scope_open(argc == 3 ? argv[2] : "onednn", 2);
    float *y = test_random(1, VOXELS, 1, 0), *t = test_random(2, VOXELS, 1, 0), y_blocks[VOXELS], t_blocks[VOXELS];
    for (int64_t i = 0; i < VOXELS; i++) {
        const int64_t at = in_blocks(i / (Y * X), i / X % Y, i % X);
        y_blocks[at] = y[i];
        t_blocks[at] = t[i];
    }
    const test_shape fine = {1, Z, Y, X, 1}, coarse = {1, Z / BLOCK[0], Y / BLOCK[1], X * BLOCK[0] * BLOCK[1], 1};
    const dg_loss_batch plain = {.y = test_tensor(&s, DG_F32, fine, 0, y),
                                 .target = test_tensor(&s, DG_F32, fine, 0, t)};
    dg_loss_batch blocks = {.y = test_tensor(&s, DG_F32, coarse, 0, y_blocks),
                            .target = test_tensor(&s, DG_F32, coarse, 0, t_blocks),
                            .block = {BLOCK[0], BLOCK[1], BLOCK[2]}};
    compare(&s, DG_LOSS_GRADIENT, &plain, &blocks);
    compare(&s, DG_LOSS_SSIM, &plain, &blocks);
    dg_loss *loss = NULL;
    const dg_loss_config config = {.count = 1, .term = {{.kind = DG_LOSS_GRADIENT}}, .weight = {1}};
    DG_CHECK_OK(dg_loss_create(&config, s.backend, &blocks, &loss));
    blocks.block[1] = 5;
    DG_CHECK_FAILS(dg_loss_evaluate(loss, &blocks, NULL), DG_ERR_INTERNAL, "do not make up rows");
    dg_loss_destroy(&loss);
    free(y);
    free(t);
    test_scope_close(&s);
    return 0;
}
