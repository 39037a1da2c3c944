/* ctest: libs=test_tensor label=unit timeout=60 */
/* t210_gradients.c - every backward operation of `ref` against central differences of its forward, f32 storage with the
 * objective summed in double; "=" overwrites, "+=" adds. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "test_op.h"

/* A power of two, so that x +- STEP rounds little. */
static const double STEP = 0x1p-7;
enum { CHECKED = 24 };

static const test_case CASES[] = {
    {"conv3", TEST_CONV, .x = {2, 3, 4, 5, 3}, .kernel = 3, .cout = 4, .bias = true},
    {"conv3 one voxel", TEST_CONV, .x = {1, 1, 1, 1, 2}, .kernel = 3, .cout = 3, .bias = true},
    {"conv3 thin", TEST_CONV, .x = {1, 1, 2, 7, 1}, .kernel = 3, .cout = 1},
    {"conv1 pitched", TEST_CONV, .x = {2, 3, 2, 3, 5}, .kernel = 1, .cout = 3, .bias = true, .pad_x = 3, .pad_y = 2},
    {"stride 2", TEST_CONV, .x = {2, 4, 2, 6, 3}, .kernel = 4, .cout = 2, .bias = true},
    {"transposed", TEST_CONV, .x = {2, 2, 1, 3, 3}, .kernel = 2, .cout = 2, .bias = true},
    {"group norm", TEST_NORM, .x = {2, 3, 2, 3, 6}, .groups = 2, .affine = true, .act = DG_ACT_SILU},
    {"all fused", TEST_NORM, .x = {2, 2, 3, 3, 6}, .groups = 3, .affine = true, .film = true, .residual = true,
     .act = DG_ACT_SILU, .pad_x = 2, .pad_y = 5},
    {"instance norm", TEST_NORM, .x = {2, 2, 3, 3, 3}, .groups = 3, .act = DG_ACT_SIGMOID},
    {"film alone", TEST_NORM, .x = {3, 2, 1, 3, 4}, .film = true, .act = DG_ACT_SILU},
    {"layer norm", TEST_LAYER_NORM, .x = {2, 1, 2, 3, 7}, .pad_x = 1, .pad_y = 2},
    {"silu", TEST_ACT, .x = {2, 2, 3, 1, 3}, .act = DG_ACT_SILU, .pad_x = 2},
    {"relu", TEST_ACT, .x = {2, 2, 3, 1, 3}, .act = DG_ACT_RELU},
    {"leaky relu", TEST_ACT, .x = {2, 2, 3, 1, 3}, .act = DG_ACT_LEAKY_RELU, .pad_y = 1},
    {"sigmoid", TEST_ACT, .x = {2, 2, 3, 1, 3}, .act = DG_ACT_SIGMOID},
    {"copy", TEST_COPY, .x = {2, 2, 3, 1, 3}, .pad_x = 1, .pad_y = 4},
    {"gate", TEST_GATE, .x = {2, 2, 3, 2, 4}, .pad_x = 1, .pad_y = 3},
    {"pool of images", TEST_POOL, .x = {3, 1, 4, 5, 3}, .pad_x = 1},
    {"pool", TEST_POOL, .x = {2, 4, 5, 3, 3}, .pad_x = 2, .pad_y = 1},
    {"up", TEST_RESIZE, .x = {2, 2, 3, 1, 2}, .oz = 4, .oy = 6, .ox = 2, .pad_x = 1, .pad_y = 3},
    {"odd sizes", TEST_RESIZE, .x = {1, 3, 4, 2, 3}, .oz = 6, .oy = 7, .ox = 5},
    {"down", TEST_RESIZE, .x = {1, 5, 4, 3, 2}, .oz = 2, .oy = 3, .ox = 3},
    {"linear", TEST_LINEAR, .x = {3, 1, 1, 1, 5}, .cout = 4, .bias = true},
    {"linear without bias", TEST_LINEAR, .x = {1, 1, 1, 1, 7}, .cout = 3, .pad_x = 2},
    {"attention", TEST_ATTENTION, .x = {2, 2, 1, 3, 8}, .heads = 2, .pad_x = 1, .pad_y = 2},
    {"mse", TEST_LOSS, .x = {2, 2, 3, 2, 1}, .loss = {.kind = DG_LOSS_MSE}},
    {"mae", TEST_LOSS, .x = {3, 2, 3, 2, 1}, .loss = {.kind = DG_LOSS_MAE}, .mask = true, .pad_x = 2, .pad_y = 1},
    {"negative", TEST_LOSS, .x = {3, 2, 3, 2, 1}, .loss = {.kind = DG_LOSS_NEGATIVE}, .mask = true},
    {"huber", TEST_LOSS, .x = {2, 2, 3, 4, 1}, .loss = {.kind = DG_LOSS_HUBER, .delta = 0.75f}},
    {"poisson", TEST_LOSS, .x = {2, 2, 3, 4, 1}, .loss = {.kind = DG_LOSS_POISSON, .eps = 0.25f}, .mask = true},
    {"structure", TEST_LOSS, .x = {2, 2, 3, 4, 1}, .mask = true,
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
    {"asymmetric", TEST_LOSS, .x = {2, 2, 3, 4, 1}, .loss = {.kind = DG_LOSS_ASYMMETRIC, .inside = 5, .ratio = 3}},
};

/* Moves inputs away from where the operation has a kink or a jump. */
static void avoid_kinks(test_op *op)
{
    const int64_t count = test_count(op->desc.x);
    for (int64_t i = 0; i < count; i++) {
        float *v = &op->x_host[0][i];
        if (op->desc.kind == TEST_ACT) *v += *v < 0 ? -0.125f : 0.125f;
        if (op->desc.kind == TEST_POOL) *v = (float)(i * 7919 % count - count / 2) / 16;
        if (op->desc.kind == TEST_LOSS) *v = (float)((i % 5 - 2.5) / 4);
        if (op->desc.kind == TEST_LOSS) op->x_host[1][i] = (float)(((i * 3) % 7 - 3.25) / 4);
    }
}

/* Central differences of the objective against `gradient`, for up to CHECKED elements of `value`. */
static void compare(test_op *op, const char *what, float *value, const float *gradient, int64_t count)
{
    double largest = 0;
    for (int64_t i = 0; i < count; i++) largest = fmax(largest, fabs(gradient[i]));
    const int64_t stride = count > CHECKED ? count / CHECKED : 1;
    for (int64_t i = 0; i < count; i += stride) {
        const float keep = value[i];
        value[i] = (float)(keep + STEP);
        const double up = test_op_objective(op), high = value[i];
        value[i] = (float)(keep - STEP);
        const double down = test_op_objective(op), low = value[i];
        value[i] = keep;
        const double numeric = (up - down) / (high - low), tolerance = 2e-3 * largest + 5e-4;
        if (!(fabs(numeric - gradient[i]) <= tolerance)) {
            fprintf(stderr, "%s: d/d%s[%lld] is %.6g, differences give %.6g (tolerance %.2g)\n", op->desc.name, what,
                    (long long)i, (double)gradient[i], numeric, tolerance);
            exit(1);
        }
    }
}

static void fill_buffers(test_op *op, float value)
{
    for (int i = 0; i < TEST_INPUTS; i++) {
        if (!op->x_gradient[i]) continue;
        const int64_t count = op->dx[i].n * dg_tensor_voxels(&op->dx[i]) * op->dx[i].c;
        float *dense = test_floats(count);
        for (int64_t k = 0; k < count; k++) dense[k] = value;
        test_tensor_set(op->scope, &op->dx[i], dense);
        free(dense);
    }
    for (int i = 0; i < TEST_PARAMS; i++)
        if (op->p_count[i] > 0) DG_CHECK_OK(op->scope->ops->fill(op->scope->backend, op->dp[i], op->p_count[i], value));
}

/* Has an operation a way to add to the gradient of input i? */
static bool accumulates(const test_op *op, int i) { return i == 0 && op->desc.kind != TEST_ATTENTION; }

static void check_case(test_scope *scope, const test_case *desc, uint64_t seed)
{
    test_op op = test_op_create(scope, desc, DG_F32, seed);
    avoid_kinks(&op);
    test_op_forward(&op);
    fill_buffers(&op, 0.5f);
    test_op_backward(&op, false);
    float *dx[TEST_INPUTS] = {0};
    for (int i = 0; i < TEST_INPUTS; i++) {
        if (!op.x_gradient[i]) continue;
        dx[i] = test_tensor_get(scope, &op.dx[i]);
        compare(&op, i == 0 ? "x" : "x2", op.x_host[i], dx[i], op.x[i].n * dg_tensor_voxels(&op.x[i]) * op.x[i].c);
    }
    for (int i = 0; i < TEST_PARAMS; i++) {
        if (op.p_count[i] == 0) continue;
        float *dp = test_buffer_get(scope, op.dp[i], op.p_count[i]);
        for (int64_t k = 0; k < op.p_count[i] && !test_op_param_is_set(&op, i); k++) dp[k] -= 0.5f;
        compare(&op, i == 0 ? "p0" : i == 1 ? "p1" : "p2", op.p_host[i], dp, op.p_count[i]);
        free(dp);
    }
    test_op_forward(&op);
    fill_buffers(&op, 0.5f);
    test_op_backward(&op, true);
    for (int i = 0; i < TEST_INPUTS; i++) {
        if (!op.x_gradient[i]) continue;
        float *sum = test_tensor_get(scope, &op.dx[i]);
        const int64_t count = op.x[i].n * dg_tensor_voxels(&op.x[i]) * op.x[i].c;
        for (int64_t k = 0; k < count; k++)
            DG_CHECK_NEAR(sum[k], dx[i][k] + (accumulates(&op, i) ? 0.5 : 0.0), 1e-6 * (1 + fabs(dx[i][k])));
        free(sum);
        free(dx[i]);
    }
    test_op_destroy(&op);
    test_scope_clear(scope);
}

int main(void)
{
    test_scope scope = test_scope_open("ref", 2);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) check_case(&scope, &CASES[i], i + 1);
    test_scope_close(&scope);
    printf("%zu operations agree with finite differences\n", sizeof CASES / sizeof CASES[0]);
    return 0;
}
