/* ctest: libs=test_tensor label=unit timeout=120 args=--backend onednn; --backend ref; --backend onednn --isa AVX512_CORE_BF16; --backend onednn --isa AVX2; --backend onednn --isa SSE41 */
/* t250_onednn_against_ref.c - every operation of a backend against `ref`: f32 and bf16, odd sizes, pitched views, the
 * channel counts of real networks; results of a repeated call are the same bits on 1 and on 2 threads.
 * `--backend ref` compares ref on 2 threads with ref on 1: those must be the same bits too. `--isa` holds oneDNN and the
 * backend's own loops to an older processor (ONEDNN_MAX_CPU_ISA), where bf16 convolutions may not be supported.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "test_compare.h"

static const test_case CASES[] = {
    {"conv3 1-8", TEST_CONV, .x = {1, 5, 4, 6, 1}, .kernel = 3, .cout = 8, .bias = true},
    {"conv3 3-1", TEST_CONV, .x = {2, 3, 5, 7, 3}, .kernel = 3, .cout = 1, .bias = true},
    {"conv3 9-48", TEST_CONV, .x = {1, 5, 4, 9, 9}, .kernel = 3, .cout = 48, .bias = true},
    {"conv3 48-48", TEST_CONV, .x = {2, 3, 5, 8, 48}, .kernel = 3, .cout = 48, .bias = true},
    {"conv3 96-48", TEST_CONV, .x = {1, 2, 3, 16, 96}, .kernel = 3, .cout = 48, .bias = true},
    {"conv3 8-96 without bias", TEST_CONV, .x = {1, 3, 3, 17, 8}, .kernel = 3, .cout = 96},
    {"conv3 48-96 tiny", TEST_CONV, .x = {1, 2, 2, 2, 48}, .kernel = 3, .cout = 96, .bias = true},
    {"conv3 one voxel", TEST_CONV, .x = {2, 1, 1, 1, 9}, .kernel = 3, .cout = 8, .bias = true},
    {"conv3 wide row", TEST_CONV, .x = {1, 2, 3, 67, 8}, .kernel = 3, .cout = 9, .bias = true},
    {"conv3 24-40", TEST_CONV, .x = {1, 4, 6, 10, 24}, .kernel = 3, .cout = 40, .bias = true},
    {"conv3 64-64", TEST_CONV, .x = {1, 3, 4, 8, 64}, .kernel = 3, .cout = 64, .bias = true},
    {"conv1 48-1", TEST_CONV, .x = {2, 3, 4, 5, 48}, .kernel = 1, .cout = 1, .bias = true},
    {"conv1 1-3 pitched", TEST_CONV, .x = {2, 3, 4, 5, 1}, .kernel = 1, .cout = 3, .bias = true, .pad_x = 2,
     .pad_y = 5},
    {"conv1 96-48 pitched in", TEST_CONV, .x = {1, 3, 4, 5, 96}, .kernel = 1, .cout = 48, .bias = true, .pad_x = 48},
    {"conv1 9-48 pitched out", TEST_CONV, .x = {2, 5, 3, 5, 9}, .kernel = 1, .cout = 48, .pad_y = 48},
    {"conv1 48-144", TEST_CONV, .x = {1, 2, 3, 4, 48}, .kernel = 1, .cout = 144},
    {"stride 2 3-8", TEST_CONV, .x = {2, 4, 6, 10, 3}, .kernel = 4, .cout = 8, .bias = true},
    {"stride 2 17-1", TEST_CONV, .x = {1, 2, 4, 2, 17}, .kernel = 4, .cout = 1, .bias = true},
    {"stride 2 70-33", TEST_CONV, .x = {1, 2, 6, 4, 70}, .kernel = 4, .cout = 33},
    {"transposed 48-8", TEST_CONV, .x = {2, 3, 2, 5, 48}, .kernel = 2, .cout = 8, .bias = true},
    {"transposed 9-3", TEST_CONV, .x = {1, 1, 3, 4, 9}, .kernel = 2, .cout = 3},
    {"norm 48 silu", TEST_NORM, .x = {2, 5, 4, 6, 48}, .groups = 8, .affine = true, .act = DG_ACT_SILU},
    {"norm 48 all", TEST_NORM, .x = {2, 5, 4, 6, 48}, .groups = 8, .affine = true, .film = true, .residual = true,
     .act = DG_ACT_SILU},
    {"norm 9 all pitched", TEST_NORM, .x = {2, 3, 5, 7, 9}, .groups = 3, .affine = true, .film = true, .residual = true,
     .act = DG_ACT_SILU, .pad_x = 3, .pad_y = 7},
    {"norm 96 pitched out", TEST_NORM, .x = {1, 4, 4, 4, 96}, .groups = 8, .affine = true, .residual = true,
     .act = DG_ACT_SILU, .pad_y = 48},
    {"norm 8 of 8", TEST_NORM, .x = {1, 9, 9, 9, 8}, .groups = 8, .affine = true, .act = DG_ACT_RELU},
    {"norm 1", TEST_NORM, .x = {2, 3, 4, 5, 1}, .groups = 1, .affine = true, .act = DG_ACT_LEAKY_RELU},
    {"norm one voxel", TEST_NORM, .x = {1, 1, 1, 1, 16}, .groups = 2, .affine = true, .act = DG_ACT_SILU},
    {"instance norm leaky", TEST_NORM, .x = {2, 4, 5, 6, 24}, .groups = 24, .act = DG_ACT_LEAKY_RELU},
    {"norm sigmoid", TEST_NORM, .x = {1, 4, 5, 6, 16}, .groups = 4, .affine = true, .act = DG_ACT_SIGMOID},
    {"film alone", TEST_NORM, .x = {2, 4, 5, 6, 48}, .film = true},
    {"film, silu, residual", TEST_NORM, .x = {1, 4, 5, 6, 9}, .film = true, .residual = true, .act = DG_ACT_SILU},
    {"norm many voxels", TEST_NORM, .x = {1, 16, 15, 17, 8}, .groups = 8, .affine = true, .film = true,
     .act = DG_ACT_SILU},
    {"layer norm 96", TEST_LAYER_NORM, .x = {2, 3, 4, 2, 96}},
    {"layer norm 9 pitched", TEST_LAYER_NORM, .x = {2, 3, 4, 2, 9}, .pad_x = 2, .pad_y = 3},
    {"layer norm 384", TEST_LAYER_NORM, .x = {1, 2, 2, 3, 384}},
    {"silu", TEST_ACT, .x = {2, 5, 4, 6, 48}, .act = DG_ACT_SILU},
    {"silu pitched", TEST_ACT, .x = {2, 5, 4, 6, 9}, .act = DG_ACT_SILU, .pad_x = 1, .pad_y = 4},
    {"relu", TEST_ACT, .x = {1, 5, 4, 7, 3}, .act = DG_ACT_RELU},
    {"leaky relu", TEST_ACT, .x = {1, 5, 4, 7, 8}, .act = DG_ACT_LEAKY_RELU, .pad_y = 8},
    {"sigmoid", TEST_ACT, .x = {2, 5, 4, 7, 1}, .act = DG_ACT_SIGMOID},
    {"identity", TEST_ACT, .x = {2, 5, 4, 7, 3}, .act = DG_ACT_NONE},
    {"copy", TEST_COPY, .x = {2, 5, 4, 6, 48}},
    {"copy slice", TEST_COPY, .x = {2, 5, 4, 6, 9}, .pad_x = 7, .pad_y = 48},
    {"gate 48", TEST_GATE, .x = {2, 5, 4, 6, 48}},
    {"gate 9 pitched", TEST_GATE, .x = {2, 5, 4, 6, 9}, .pad_x = 3, .pad_y = 1},
    {"pool 48", TEST_POOL, .x = {2, 6, 4, 8, 48}},
    {"pool odd", TEST_POOL, .x = {1, 7, 5, 9, 9}, .pad_x = 3, .pad_y = 2},
    {"pool of images", TEST_POOL, .x = {3, 1, 6, 5, 24}},
    {"pool 1", TEST_POOL, .x = {2, 4, 2, 6, 1}},
    {"up 48", TEST_RESIZE, .x = {2, 3, 2, 4, 48}, .oz = 6, .oy = 4, .ox = 8},
    {"up 96 pitched", TEST_RESIZE, .x = {1, 3, 5, 4, 96}, .oz = 6, .oy = 10, .ox = 8, .pad_y = 48},
    {"up from one voxel", TEST_RESIZE, .x = {2, 1, 1, 1, 8}, .oz = 2, .oy = 2, .ox = 2},
    {"up 3 pitched", TEST_RESIZE, .x = {2, 4, 3, 5, 3}, .oz = 8, .oy = 6, .ox = 10, .pad_x = 2, .pad_y = 6},
    {"resize uneven", TEST_RESIZE, .x = {1, 3, 4, 2, 9}, .oz = 6, .oy = 8, .ox = 5, .pad_x = 1},
    {"resize down", TEST_RESIZE, .x = {1, 6, 5, 7, 8}, .oz = 3, .oy = 2, .ox = 4},
    {"linear 13-256", TEST_LINEAR, .x = {2, 1, 1, 1, 13}, .cout = 256, .bias = true},
    {"linear 256-96", TEST_LINEAR, .x = {3, 1, 1, 1, 256}, .cout = 96, .bias = true},
    {"linear 5-1", TEST_LINEAR, .x = {1, 1, 1, 1, 5}, .cout = 1, .pad_x = 3, .pad_y = 1},
    {"attention 4 heads", TEST_ATTENTION, .x = {2, 3, 2, 4, 96}, .heads = 4},
    {"attention pitched", TEST_ATTENTION, .x = {1, 3, 3, 3, 9}, .heads = 3, .pad_x = 2, .pad_y = 1},
    {"attention one token", TEST_ATTENTION, .x = {2, 1, 1, 1, 8}, .heads = 1},
    {"mse", TEST_LOSS, .x = {2, 7, 5, 9, 1}, .loss = {.kind = DG_LOSS_MSE}},
    {"mse pitched", TEST_LOSS, .x = {2, 3, 5, 4, 1}, .loss = {.kind = DG_LOSS_MSE}, .mask = true, .pad_x = 2,
     .pad_y = 1},
    {"mae", TEST_LOSS, .x = {3, 7, 5, 9, 1}, .loss = {.kind = DG_LOSS_MAE}, .mask = true},
    {"negative", TEST_LOSS, .x = {3, 7, 5, 9, 1}, .loss = {.kind = DG_LOSS_NEGATIVE}, .mask = true},
    {"huber", TEST_LOSS, .x = {2, 7, 5, 9, 1}, .loss = {.kind = DG_LOSS_HUBER, .delta = 0.75f}},
    {"poisson", TEST_LOSS, .x = {2, 7, 5, 9, 1}, .loss = {.kind = DG_LOSS_POISSON, .eps = 0.125f}, .mask = true},
    {"structure", TEST_LOSS, .x = {2, 7, 5, 9, 1}, .mask = true, .pad_y = 3,
     .loss = {.kind = DG_LOSS_STRUCTURE,
              .inside = 1,
              .near = 6,
              .weight_inside = 2,
              .weight_near = 1.5f,
              .weight_else = 0.5f}},
    {"gradient", TEST_LOSS, .x = {2, 4, 3, 5, 1}, .loss = {.kind = DG_LOSS_GRADIENT}, .mask = true, .pad_x = 1},
    {"similarity", TEST_LOSS, .x = {2, 4, 3, 7, 1}, .loss = {.kind = DG_LOSS_SSIM}, .mask = true, .pad_x = 1},
    {"similarity of thin", TEST_LOSS, .x = {1, 1, 2, 14, 1}, .loss = {.kind = DG_LOSS_SSIM}},
    {"gradient of thin", TEST_LOSS, .x = {1, 1, 2, 7, 1}, .loss = {.kind = DG_LOSS_GRADIENT}},
    {"goals", TEST_LOSS, .x = {2, 4, 3, 5, 1}, .mask = true,
     .loss = {.kind = DG_LOSS_DVH,
              .window = 0.05,
              .vx_temperature = 0.25f,
              .min_voxels = 3,
              .goals = 4,
              .goal = {{DG_GOAL_DOSE, 1, 0.9, 0, 2},
                       {DG_GOAL_DOSE, 2, 0.5, 0, 0.5f},
                       {DG_GOAL_VOLUME, 3, 0.5, 0.25, 1.5f},
                       {DG_GOAL_MEAN, 12, 0, 0, 0.75f}}}},
    {"goals of the reference tool", TEST_LOSS, .x = {2, 4, 3, 5, 1},
     .loss = {.kind = DG_LOSS_DVH,
              .upstream = true,
              .bins = 24,
              .d95_temperature = 0.125,
              .vx_temperature = 1,
              .min_voxels = 3,
              .goals = 3,
              .goal = {{DG_GOAL_DOSE, 1, 0.95, 0, 2},
                       {DG_GOAL_DOSE, 2, 0.95, 0, 0.5f},
                       {DG_GOAL_VOLUME, 3, 1, 0.25, 1.5f}}}},
    {"asymmetric", TEST_LOSS, .x = {2, 7, 5, 9, 1}, .loss = {.kind = DG_LOSS_ASYMMETRIC, .inside = 5, .ratio = 3}},
};

/* Optimiser updates and sums over flat buffers of one length. */
static test_results run_flat(test_scope *s, int64_t count)
{
    test_results r = {0};
    float *host[4], *buffer[4], *sums = test_floats(1);
    for (int i = 0; i < 4; i++) {
        host[i] = test_random(77 + (uint64_t)i, count, 1, 0);
        for (int64_t k = 0; i == 3 && k < count; k++) host[i][k] = fabsf(host[i][k]); /* second moments */
        buffer[i] = test_buffer(s, host[i], count);
        free(host[i]);
    }
    const dg_adamw_desc adamw = {
        .lr = 1e-2, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1, .step = 3, .grad_scale = 0.3};
    const dg_sgd_desc sgd = {.lr = 0.1, .momentum = 0.9, .weight_decay = 0.01, .nesterov = true, .grad_scale = 0.5};
    double sum;
    DG_CHECK_OK(s->ops->adamw(s->backend, &adamw, count, buffer[0], buffer[1], buffer[2], buffer[3]));
    DG_CHECK_OK(s->ops->axpy(s->backend, count, -0.7, buffer[1], buffer[2]));
    DG_CHECK_OK(s->ops->sgd(s->backend, &sgd, count, buffer[0], buffer[1], buffer[2]));
    DG_CHECK_OK(s->ops->ema(s->backend, 0.99, count, buffer[0], buffer[1]));
    DG_CHECK_OK(s->ops->sum_squares(s->backend, count, buffer[0], &sum));
    sums[0] = (float)sum;
    test_results_keep(&r, "p", test_buffer_get(s, buffer[0], count), count, false);
    test_results_keep(&r, "average", test_buffer_get(s, buffer[1], count), count, false);
    test_results_keep(&r, "momentum", test_buffer_get(s, buffer[2], count), count, false);
    test_results_keep(&r, "v", test_buffer_get(s, buffer[3], count), count, false);
    test_results_keep(&r, "sum of squares", sums, 1, false);
    test_scope_clear(s);
    return r;
}

static int check_flat(test_scope *ref, test_scope *one, test_scope *two)
{
    int failed = 0;
    const int64_t counts[] = {1, 7, 16, 1000, 100003};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        test_results wanted = run_flat(ref, counts[i]), single = run_flat(one, counts[i]);
        test_results pair = run_flat(two, counts[i]), again = run_flat(two, counts[i]);
        failed += test_results_compare("flat buffers", DG_F32, &single, &wanted) +
                  test_results_compare("flat buffers", DG_F32, &pair, &wanted);
        failed += test_results_compare_bits("flat buffers", "two threads, repeated", &pair, &again);
        test_results_free(&wanted);
        test_results_free(&single);
        test_results_free(&pair);
        test_results_free(&again);
    }
    return failed;
}

int main(int argc, char **argv)
{
    const char *name = "onednn";
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--backend") == 0) name = argv[i + 1];
        if (strcmp(argv[i], "--isa") == 0) setenv("ONEDNN_MAX_CPU_ISA", argv[i + 1], 1);
    }
    test_scope one = test_scope_open(name, 1), two = test_scope_open(name, 2), ref = test_scope_open("ref", 1);
    int failed = check_flat(&ref, &one, &two);
    const int count = (int)(sizeof CASES / sizeof CASES[0]);
    for (int i = 0; i < count; i++) failed += test_case_check(&ref, &one, &two, &CASES[i], (uint64_t)i + 1);
    printf("%s, bf16 convolutions %s: %d operations, %d results beyond tolerance\n", two.backend->description,
           test_convolves_bf16(&one) ? "too" : "not supported", count, failed);
    test_scope_close(&one);
    test_scope_close(&two);
    test_scope_close(&ref);
    return failed > 0;
}
