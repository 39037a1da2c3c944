/* ctest: libs=test_tensor label=unit timeout=60 args=--backend ref; --backend onednn */
/* t215_extremes.c - numbers at the edge: a NaN is never lost on the way to the loss, large arguments do not make one,
 * and normalisation survives constant and far-off inputs. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "test_tensor.h"

static const dg_dtype DTYPES[2] = {DG_F32, DG_BF16};

static bool any_nan(test_scope *s, const dg_tensor *t)
{
    bool found = false;
    float *dense = test_tensor_get(s, t);
    for (int64_t i = 0; i < t->n * dg_tensor_voxels(t) * t->c; i++) found = found || isnan(dense[i]);
    free(dense);
    return found;
}

/* One NaN among numbers, at `at`. */
static dg_tensor poisoned(test_scope *s, dg_dtype dtype, test_shape shape, int64_t at)
{
    float *values = test_random(3, test_count(shape), 1, 0);
    values[at] = NAN;
    dg_tensor t = test_tensor(s, dtype, shape, 0, values);
    free(values);
    return t;
}

static void check_nan_conv(test_scope *s, dg_dtype dtype, int kernel, int64_t cout)
{
    dg_tensor x = poisoned(s, dtype, (test_shape){1, 2, 4, 4, 16}, 100);
    dg_tensor y = test_tensor(s, dtype, (test_shape){1, 2, 4, 4, cout}, 0, NULL);
    const int64_t taps = kernel * kernel * kernel;
    const dg_conv_desc desc = {.kind = DG_CONV_SAME,
                               .kernel = kernel,
                               .n = 1,
                               .z = 2,
                               .y = 4,
                               .x = 4,
                               .cin = 16,
                               .cout = cout,
                               .dtype = dtype};
    float *values = test_random(5, taps * 16 * cout, 0.1, 0), *w = test_buffer(s, values, taps * 16 * cout);
    dg_conv *conv;
    DG_CHECK_OK(s->ops->conv_create(s->backend, &desc, &conv));
    DG_CHECK_OK(s->ops->conv_pack(s->backend, conv, w, NULL));
    DG_CHECK_OK(s->ops->conv_forward(s->backend, conv, &x, &y));
    DG_CHECK(any_nan(s, &y));
    s->ops->conv_destroy(s->backend, conv);
    free(values);
}

static void check_nan(test_scope *s, dg_dtype dtype)
{
    const dg_activation acts[5] = {DG_ACT_NONE, DG_ACT_SILU, DG_ACT_RELU, DG_ACT_LEAKY_RELU, DG_ACT_SIGMOID};
    const test_shape shape = {1, 4, 2, 4, 12}, half = {1, 2, 1, 2, 12}, third = {1, 4, 2, 4, 4};
    float *stats = test_buffer(s, NULL, 128), *ones = test_buffer(s, NULL, 12);
    dg_tensor gate = test_tensor(s, dtype, (test_shape){1, 4, 2, 4, 1}, 0, NULL);
    DG_CHECK_OK(s->ops->fill(s->backend, ones, 12, 1));
    check_nan_conv(s, dtype, 3, 16);
    check_nan_conv(s, dtype, 1, 16);
    check_nan_conv(s, dtype, 1, 1);
    for (int64_t at = 0; at < test_count(shape); at += 29) {
        dg_tensor x = poisoned(s, dtype, shape, at), y = test_tensor(s, dtype, shape, 0, NULL);
        dg_tensor small = test_tensor(s, dtype, half, 0, NULL), core = test_tensor(s, dtype, third, 0, NULL);
        for (int a = 0; a < 5; a++) {
            const dg_norm_desc norm = {.groups = 4, .eps = 1e-5, .act = acts[a], .negative_slope = 0.1};
            DG_CHECK_OK(s->ops->act_forward(s->backend, acts[a], 0.1, &x, &y));
            DG_CHECK(any_nan(s, &y));
            DG_CHECK_OK(s->ops->norm_forward(s->backend, &norm, &x, ones, ones, NULL, NULL, stats, &y));
            DG_CHECK(any_nan(s, &y));
        }
        DG_CHECK_OK(s->ops->layer_norm_forward(s->backend, 1e-5, &x, ones, ones, stats, &y));
        DG_CHECK(any_nan(s, &y));
        DG_CHECK_OK(s->ops->gate_forward(s->backend, &x, &gate, &y));
        DG_CHECK(any_nan(s, &y));
        DG_CHECK_OK(s->ops->pool_forward(s->backend, &x, &small));
        DG_CHECK(any_nan(s, &small));
        DG_CHECK_OK(s->ops->resize_forward(s->backend, &small, &y));
        DG_CHECK(any_nan(s, &y));
        DG_CHECK_OK(s->ops->attention_forward(s->backend, 2, &x, &core));
        DG_CHECK(any_nan(s, &core));
    }
    dg_tensor p = poisoned(s, dtype, (test_shape){1, 3, 3, 3, 1}, 13);
    const dg_loss_batch batch = {.y = p, .target = p};
    double *value = (double *)test_buffer(s, NULL, 2), sum;
    for (int k = DG_LOSS_MSE; k <= DG_LOSS_POISSON; k++) {
        const dg_loss_term loss = {.kind = (dg_loss_kind)k, .delta = 1, .eps = 0.5f};
        void *workspace = test_buffer(s, NULL, s->ops->loss_workspace(&loss, &batch) / 4 + 1);
        DG_CHECK_OK(s->ops->loss(s->backend, &loss, &batch, NULL, workspace, value, 1, NULL, false));
        DG_CHECK_OK(s->ops->download(s->backend, &sum, value, sizeof sum));
        DG_CHECK(isnan(sum));
    }
    const float bad[3] = {1, NAN, 1};
    DG_CHECK_OK(s->ops->sum_squares(s->backend, 3, test_buffer(s, bad, 3), &sum));
    DG_CHECK(isnan(sum));
}

static void check_large(test_scope *s, dg_dtype dtype)
{
    const float values[8] = {-30208, -1024, -128, -96, 96, 128, 1024, 30208}, ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    const test_shape shape = {1, 1, 1, 8, 1};
    dg_tensor x = test_tensor(s, dtype, shape, 0, values), dy = test_tensor(s, dtype, shape, 0, ones);
    dg_tensor y = test_tensor(s, dtype, shape, 0, NULL);
    DG_CHECK_OK(s->ops->act_forward(s->backend, DG_ACT_SILU, 0, &x, &y));
    float *out = test_tensor_get(s, &y);
    for (int i = 0; i < 8; i++) DG_CHECK_NEAR(out[i], i < 4 ? 0 : values[i], 1e-30);
    free(out);
    DG_CHECK_OK(s->ops->act_forward(s->backend, DG_ACT_SIGMOID, 0, &x, &y));
    out = test_tensor_get(s, &y);
    for (int i = 0; i < 8; i++) DG_CHECK_NEAR(out[i], i < 4 ? 0 : 1, 1e-30);
    free(out);
    DG_CHECK_OK(s->ops->act_backward(s->backend, DG_ACT_SILU, 0, &x, &dy, &y, false));
    out = test_tensor_get(s, &y);
    for (int i = 0; i < 8; i++) DG_CHECK_NEAR(out[i], i < 4 ? 0 : 1, 1e-30);
    free(out);
    /* Scores of +-1e6: the softmax is one for the best token. */
    const float qkv[6] = {1024, 1024, 3, 1024, -1024, 5};
    dg_tensor tokens = test_tensor(s, dtype, (test_shape){1, 1, 1, 2, 3}, 0, qkv);
    dg_tensor core = test_tensor(s, dtype, (test_shape){1, 1, 1, 2, 1}, 0, NULL);
    DG_CHECK_OK(s->ops->attention_forward(s->backend, 1, &tokens, &core));
    out = test_tensor_get(s, &core);
    DG_CHECK(out[0] == 3 && out[1] == 3);
    free(out);
}

/* A constant group has variance zero: y = beta, and the gradient is finite. */
static void check_constant(test_scope *s, dg_dtype dtype)
{
    const test_shape shape = {1, 3, 3, 3, 4};
    float *values = test_floats(test_count(shape)), *gradient = test_random(4, test_count(shape), 1, 0);
    for (int64_t i = 0; i < test_count(shape); i++) values[i] = 0.3125f;
    float *gamma = test_buffer(s, (float[]){1, 2, 3, 4}, 4), *beta = test_buffer(s, (float[]){-1, 0, 1, 2}, 4);
    float *stats = test_buffer(s, NULL, 8), *d = test_buffer(s, NULL, 4);
    dg_tensor x = test_tensor(s, dtype, shape, 0, values), dy = test_tensor(s, dtype, shape, 0, gradient);
    dg_tensor y = test_tensor(s, dtype, shape, 0, NULL);
    const dg_norm_desc desc = {.groups = 2, .eps = 1e-5};
    DG_CHECK_OK(s->ops->norm_forward(s->backend, &desc, &x, gamma, beta, NULL, NULL, stats, &y));
    float *out = test_tensor_get(s, &y);
    for (int64_t i = 0; i < test_count(shape); i++) DG_CHECK_NEAR(out[i], (double)(i % 4 - 1), 1e-4);
    DG_CHECK_OK(s->ops->norm_backward(s->backend, &desc, &x, gamma, beta, NULL, stats, &dy, &y, false, d, d, NULL));
    DG_CHECK(!any_nan(s, &y));
    free(out);
    free(values);
    free(gradient);
}

/* Numbers of spread 1 around 512: f32 loses nine bits of the spread, the variance nothing more. */
static void check_offset(test_scope *s)
{
    const test_shape shape = {1, 9, 8, 7, 2};
    const int64_t count = test_count(shape);
    float *values = test_random(6, count, 1, 0);
    for (int64_t i = 0; i < count; i++) values[i] += 512;
    double mean[2] = {0}, square[2] = {0};
    for (int64_t i = 0; i < count; i++) mean[i % 2] += values[i] / (double)(count / 2);
    for (int64_t i = 0; i < count; i++) square[i % 2] += pow(values[i] - mean[i % 2], 2) / (double)(count / 2);
    float *stats = test_buffer(s, NULL, 4);
    dg_tensor x = test_tensor(s, DG_F32, shape, 0, values), y = test_tensor(s, DG_F32, shape, 0, NULL);
    const dg_norm_desc desc = {.groups = 2, .eps = 1e-5};
    DG_CHECK_OK(s->ops->norm_forward(s->backend, &desc, &x, NULL, NULL, NULL, NULL, stats, &y));
    float *out = test_tensor_get(s, &y), *got = test_buffer_get(s, stats, 4);
    for (int c = 0; c < 2; c++) {
        DG_CHECK_NEAR(got[2 * c], mean[c], 1e-4);
        DG_CHECK_NEAR(got[2 * c + 1], 1 / sqrt(square[c] + 1e-5), 1e-5);
    }
    for (int64_t i = 0; i < count; i++)
        DG_CHECK_NEAR(out[i], (values[i] - mean[i % 2]) / sqrt(square[i % 2] + 1e-5), 2e-4);
    free(out);
    free(got);
    free(values);
}

int main(int argc, char **argv)
{
    test_scope scope = test_scope_open(argc == 3 ? argv[2] : "ref", 2);
    for (int d = 0; d < 2; d++) {
        check_nan(&scope, DTYPES[d]);
        test_scope_clear(&scope);
        check_large(&scope, DTYPES[d]);
        check_constant(&scope, DTYPES[d]);
    }
    check_offset(&scope);
    test_scope_close(&scope);
    return 0;
}
