/* ctest: libs=test_tensor label=unit timeout=120 args=--backend onednn; --backend ref */
/* t250_onednn_against_ref.c - every operation of a backend against `ref`: f32 and bf16, odd sizes, pitched views, the
 * channel counts of real networks; results of a repeated call are the same bits on 1 and on 2 threads.
 * `--backend ref` compares ref on 2 threads with ref on 1: those must be the same bits too. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "test_op.h"

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
    {"loss", TEST_LOSS, .x = {2, 7, 5, 9, 1}, .loss = {.mse = 1, .mae = 0.5, .negative = 0.1}},
    {"loss masked", TEST_LOSS, .x = {3, 7, 5, 9, 1}, .loss = {.mse = 0.3, .mae = 1, .negative = 2}, .mask = true},
    {"loss pitched", TEST_LOSS, .x = {2, 3, 5, 4, 1}, .loss = {.mse = 1}, .mask = true, .pad_x = 2, .pad_y = 1},
};

enum { RESULTS = 12 };

/* What one run of an operation left on the host. */
typedef struct results {
    float *value[RESULTS];
    int64_t count[RESULTS];
    bool stored[RESULTS]; /* rounded to the type of activations */
    const char *name[RESULTS];
    int used;
} results;

static void keep(results *r, const char *name, float *value, int64_t count, bool stored)
{
    DG_CHECK(r->used < RESULTS);
    r->value[r->used] = value;
    r->count[r->used] = count;
    r->stored[r->used] = stored;
    r->name[r->used++] = name;
}

static void keep_tensor(results *r, const char *name, test_scope *scope, const dg_tensor *t)
{
    keep(r, name, test_tensor_get(scope, t), t->n * dg_tensor_voxels(t) * t->c, t->dtype == DG_BF16);
}

static void release(results *r)
{
    for (int i = 0; i < r->used; i++) free(r->value[i]);
    r->used = 0;
}

/* Forward, backward into fresh gradients, backward again on top of them. */
static results run(test_scope *scope, const test_case *desc, dg_dtype dtype, uint64_t seed)
{
    static const char *const DX[TEST_INPUTS] = {"dx", "dx2"}, *const SUM[TEST_INPUTS] = {"dx sum", "dx2 sum"};
    static const char *const DP[TEST_PARAMS] = {"dp0", "dp1", "dp2"};
    results r = {0};
    test_op op = test_op_create(scope, desc, dtype, seed);
    test_op_forward(&op);
    if (desc->kind != TEST_LOSS) keep_tensor(&r, "y", scope, &op.y);
    if (op.stats_count > 0) keep(&r, "stats", test_buffer_get(scope, op.stats, op.stats_count), op.stats_count, false);
    if (op.terms != NULL) {
        float *terms = test_floats(desc->x.n * DG_LOSS_TERMS);
        for (int64_t i = 0; i < desc->x.n * DG_LOSS_TERMS; i++) terms[i] = (float)op.terms[i];
        keep(&r, "terms", terms, desc->x.n * DG_LOSS_TERMS, false);
    }
    test_op_backward(&op, false);
    for (int i = 0; i < TEST_INPUTS; i++)
        if (op.x_gradient[i]) keep_tensor(&r, DX[i], scope, &op.dx[i]);
    for (int i = 0; i < TEST_PARAMS; i++)
        if (op.p_count[i] > 0) keep(&r, DP[i], test_buffer_get(scope, op.dp[i], op.p_count[i]), op.p_count[i], false);
    test_op_backward(&op, true);
    for (int i = 0; i < TEST_INPUTS; i++)
        if (op.x_gradient[i]) keep_tensor(&r, SUM[i], scope, &op.dx[i]);
    test_op_destroy(&op);
    test_scope_clear(scope);
    return r;
}

/* |got - ref| <= eps |ref| + floor * largest |ref|. f32: sums of thousands of products in another order. bf16: one unit
 * in the last place (2^-8 of the value, twice where a sum is rounded again), and what cancels on the way there. */
static int compare(const char *name, dg_dtype dtype, const results *got, const results *ref)
{
    int failed = 0;
    DG_CHECK(got->used == ref->used);
    for (int i = 0; i < ref->used; i++) {
        const double eps = ref->stored[i] ? 0x1p-7 : 1e-5, floor = ref->stored[i] ? 1e-3 : 2e-6;
        double largest = 0, worst = 0;
        int64_t at = 0;
        for (int64_t k = 0; k < ref->count[i]; k++) largest = fmax(largest, fabs(ref->value[i][k]));
        for (int64_t k = 0; k < ref->count[i]; k++) {
            const double wanted = ref->value[i][k], tolerance = eps * fabs(wanted) + floor * largest + 1e-7;
            double ratio = fabs(got->value[i][k] - wanted) / tolerance;
            if (isnan(ratio)) ratio = INFINITY;
            if (ratio > worst) at = k;
            worst = fmax(worst, ratio);
        }
        if (worst > 1) {
            printf("FAIL %s %s %s[%lld]: %.8g, ref has %.8g (largest %.3g): %.3g of the tolerance\n", name,
                   dtype == DG_BF16 ? "bf16" : "f32", ref->name[i], (long long)at, (double)got->value[i][at],
                   (double)ref->value[i][at], largest, worst);
            failed++;
        }
    }
    return failed;
}

static int compare_bits(const char *name, const char *what, const results *a, const results *b)
{
    int failed = 0;
    for (int i = 0; i < a->used; i++) {
        if (memcmp(a->value[i], b->value[i], (size_t)a->count[i] * sizeof(float)) != 0) {
            printf("FAIL %s: %s: bits of %s differ\n", name, what, a->name[i]);
            failed++;
        }
    }
    return failed;
}

static int check_case(test_scope *ref, test_scope *one, test_scope *two, const test_case *desc, uint64_t seed)
{
    int failed = 0;
    const dg_dtype dtypes[2] = {DG_F32, DG_BF16};
    for (int d = 0; d < 2; d++) {
        results wanted = run(ref, desc, dtypes[d], seed);
        results single = run(one, desc, dtypes[d], seed), again = run(one, desc, dtypes[d], seed);
        results pair = run(two, desc, dtypes[d], seed), pair_again = run(two, desc, dtypes[d], seed);
        failed += compare(desc->name, dtypes[d], &single, &wanted);
        failed += compare(desc->name, dtypes[d], &pair, &wanted);
        failed += compare_bits(desc->name, "one thread, repeated", &single, &again);
        failed += compare_bits(desc->name, "two threads, repeated", &pair, &pair_again);
        if (two->ops == &dg_backend_ref) failed += compare_bits(desc->name, "one and two threads", &single, &pair);
        release(&wanted);
        release(&single);
        release(&again);
        release(&pair);
        release(&pair_again);
    }
    return failed;
}

/* Optimiser updates and sums over flat buffers of one length. */
static results run_flat(test_scope *s, int64_t count)
{
    results r = {0};
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
    keep(&r, "p", test_buffer_get(s, buffer[0], count), count, false);
    keep(&r, "average", test_buffer_get(s, buffer[1], count), count, false);
    keep(&r, "momentum", test_buffer_get(s, buffer[2], count), count, false);
    keep(&r, "v", test_buffer_get(s, buffer[3], count), count, false);
    keep(&r, "sum of squares", sums, 1, false);
    test_scope_clear(s);
    return r;
}

static int check_flat(test_scope *ref, test_scope *one, test_scope *two)
{
    int failed = 0;
    const int64_t counts[] = {1, 7, 16, 1000, 100003};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        results wanted = run_flat(ref, counts[i]), single = run_flat(one, counts[i]);
        results pair = run_flat(two, counts[i]), again = run_flat(two, counts[i]);
        failed += compare("flat buffers", DG_F32, &single, &wanted) + compare("flat buffers", DG_F32, &pair, &wanted);
        failed += compare_bits("flat buffers", "two threads, repeated", &pair, &again);
        release(&wanted);
        release(&single);
        release(&pair);
        release(&again);
    }
    return failed;
}

int main(int argc, char **argv)
{
    const char *name = argc == 3 ? argv[2] : "onednn";
    test_scope one = test_scope_open(name, 1), two = test_scope_open(name, 2), ref = test_scope_open("ref", 1);
    int failed = check_flat(&ref, &one, &two);
    const int count = (int)(sizeof CASES / sizeof CASES[0]);
    for (int i = 0; i < count; i++) failed += check_case(&ref, &one, &two, &CASES[i], (uint64_t)i + 1);
    test_scope_close(&one);
    test_scope_close(&two);
    test_scope_close(&ref);
    printf("%d operations in f32 and bf16, %d results beyond tolerance\n", count, failed);
    return failed > 0;
}
