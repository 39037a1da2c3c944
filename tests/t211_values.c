/* ctest: libs=test_tensor label=unit timeout=60 args=--backend ref; --backend onednn */
/* t211_values.c - operations whose gradients alone would not show a wrong definition, against values worked out by
 * hand: pooling, resize, losses, optimisers, flat buffers, memory. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "test_tensor.h"

/* The first maximum in z,y,x order gets the gradient; the odd last row and column belong to no window. */
static void check_pool(test_scope *s)
{
    float in[2 * 2 * 3 * 2];
    for (int i = 0; i < 24; i++) in[i] = i % 2 == 0 ? 1.0f : (float)(i / 2); /* channel 0: all tied; 1: voxel number */
    dg_tensor x = test_tensor(s, DG_F32, (test_shape){1, 2, 2, 3, 2}, 1, in);
    dg_tensor y = test_tensor(s, DG_F32, (test_shape){1, 1, 1, 1, 2}, 0, NULL);
    dg_tensor dx = test_tensor(s, DG_F32, (test_shape){1, 2, 2, 3, 2}, 2, NULL);
    DG_CHECK_OK(s->ops->pool_forward(s->backend, &x, &y));
    float *out = test_tensor_get(s, &y);
    DG_CHECK(out[0] == 1.0f && out[1] == 10.0f); /* voxel (1,1,1) of a 2x2x3 volume is number 10 */
    test_tensor_set(s, &y, (float[]){5, 7});
    DG_CHECK_OK(s->ops->pool_backward(s->backend, &x, &y, &dx, false));
    float *d = test_tensor_get(s, &dx);
    for (int i = 0; i < 24; i++) DG_CHECK(d[i] == (i == 0 ? 5.0f : i == 21 ? 7.0f : 0.0f));
    free(out);
    free(d);
}

/* Up by 2: weights 3/4 and 1/4, clamped at the ends; a constant stays; size 1 is copied. */
static void check_resize(test_scope *s)
{
    dg_tensor x = test_tensor(s, DG_F32, (test_shape){1, 1, 1, 3, 1}, 0, (float[]){0, 4, 8});
    dg_tensor y = test_tensor(s, DG_F32, (test_shape){1, 2, 2, 6, 1}, 0, NULL);
    dg_tensor odd = test_tensor(s, DG_F32, (test_shape){1, 1, 1, 2, 1}, 0, NULL);
    const float wanted[6] = {0, 1, 3, 5, 7, 8};
    DG_CHECK_OK(s->ops->resize_forward(s->backend, &x, &y));
    float *out = test_tensor_get(s, &y);
    for (int i = 0; i < 24; i++) DG_CHECK_NEAR(out[i], wanted[i % 6], 1e-6);
    /* 3 -> 2: centres at (o + 1/2) 3/2 - 1/2 = 0.25 and 1.75. */
    DG_CHECK_OK(s->ops->resize_forward(s->backend, &x, &odd));
    float *two = test_tensor_get(s, &odd);
    DG_CHECK_NEAR(two[0], 1, 1e-6);
    DG_CHECK_NEAR(two[1], 7, 1e-6);
    free(out);
    free(two);
}

static void check_loss(test_scope *s)
{
    dg_tensor y = test_tensor(s, DG_F32, (test_shape){2, 1, 1, 4, 1}, 0, (float[]){1, -2, 3, 9, 1, 1, 1, 1});
    dg_tensor t = test_tensor(s, DG_F32, (test_shape){2, 1, 1, 4, 1}, 0, (float[]){0, 0, 3, 0, 2, 2, 2, 2});
    dg_tensor dy = test_tensor(s, DG_F32, (test_shape){2, 1, 1, 4, 1}, 0, (float[]){9, 9, 9, 9, 9, 9, 9, 9});
    const uint8_t host[8] = {1, 1, 1, 0, 0, 0, 0, 0};
    uint8_t *mask = (uint8_t *)test_buffer(s, NULL, 2);
    const dg_loss_kind kinds[3] = {DG_LOSS_MSE, DG_LOSS_MAE, DG_LOSS_NEGATIVE};
    const float weights[3] = {3, 30, 300};
    const double wanted[6] = {5.0 / 3, 1, 2.0 / 3, 0, 0, 0};
    double got[6];
    float *weight = test_buffer(s, weights, 3);
    double *value = (double *)test_buffer(s, NULL, 12);
    dg_loss_batch batch = {.y = y, .target = t, .mask = mask};
    DG_CHECK_OK(s->ops->upload(s->backend, mask, host, 8));
    for (int k = 0; k < 3; k++) {
        const dg_loss_term term = {.kind = kinds[k]};
        void *workspace = test_buffer(s, NULL, s->ops->loss_workspace(&term, &batch) / 4 + 1);
        DG_CHECK_OK(s->ops->loss(s->backend, &term, &batch, weight + k, workspace, value + k, 3, &dy, k > 0));
    }
    DG_CHECK_OK(s->ops->download(s->backend, got, value, sizeof got));
    for (int i = 0; i < 6; i++) DG_CHECK_NEAR(got[i], wanted[i], 1e-6);
    const float gradient[8] = {2 + 10, -4 - 10 - 100, 0, 0, 0, 0, 0, 0}; /* times 3 over 3 voxels; kinks give 0 */
    float *d = test_tensor_get(s, &dy);
    for (int i = 0; i < 8; i++) DG_CHECK_NEAR(d[i], gradient[i], 1e-5);
    const dg_loss_term mse = {.kind = DG_LOSS_MSE};
    batch.mask = NULL;
    void *workspace = test_buffer(s, NULL, s->ops->loss_workspace(&mse, &batch) / 4 + 1);
    DG_CHECK_OK(s->ops->loss(s->backend, &mse, &batch, NULL, workspace, value, 1, NULL, false));
    DG_CHECK_OK(s->ops->download(s->backend, got, value, 2 * sizeof got[0]));
    DG_CHECK_NEAR(got[0], 86.0 / 4, 1e-5);
    DG_CHECK_NEAR(got[1], 1, 1e-6);
    free(d);
}

/* Two steps by hand: p = 1, gradient 1 (given as 2, scaled by 1/2), rate 0.1. */
static void check_optimisers(test_scope *s)
{
    float *g = test_buffer(s, (float[]){2}, 1), *p = test_buffer(s, (float[]){1}, 1);
    float *m = test_buffer(s, NULL, 1), *v = test_buffer(s, NULL, 1), *b = test_buffer(s, NULL, 1);
    dg_adamw_desc adamw = {.lr = 0.1, .beta1 = 0.9, .beta2 = 0.99, .eps = 0, .weight_decay = 0.5, .grad_scale = 0.5};
    for (adamw.step = 1; adamw.step <= 2; adamw.step++) DG_CHECK_OK(s->ops->adamw(s->backend, &adamw, 1, p, g, m, v));
    float *out = test_buffer_get(s, p, 1);
    DG_CHECK_NEAR(out[0], (0.95 - 0.1) * 0.95 - 0.1, 1e-6); /* unbiased moments of a constant gradient are 1 */
    free(out);
    const struct {
        bool nesterov;
        double momentum, decay, wanted;
    } sgd[] = {{false, 0, 0, 0.8},
               {false, 0.5, 0, 1 - 0.1 - 0.15},
               {true, 0.5, 0, 1 - 0.15 - 0.175},
               {false, 0, 0.5, (1 - 0.15) - 0.1 * (1 + 0.5 * 0.85)}};
    for (size_t i = 0; i < sizeof sgd / sizeof sgd[0]; i++) {
        const dg_sgd_desc desc = {.lr = 0.1,
                                  .momentum = sgd[i].momentum,
                                  .weight_decay = sgd[i].decay,
                                  .nesterov = sgd[i].nesterov,
                                  .grad_scale = 0.5};
        DG_CHECK_OK(s->ops->fill(s->backend, p, 1, 1));
        DG_CHECK_OK(s->ops->fill(s->backend, b, 1, 0));
        for (int step = 0; step < 2; step++) DG_CHECK_OK(s->ops->sgd(s->backend, &desc, 1, p, g, b));
        out = test_buffer_get(s, p, 1);
        DG_CHECK_NEAR(out[0], sgd[i].wanted, 1e-6);
        free(out);
    }
    DG_CHECK_OK(s->ops->fill(s->backend, b, 1, 10));
    DG_CHECK_OK(s->ops->fill(s->backend, p, 1, 2));
    DG_CHECK_OK(s->ops->ema(s->backend, 0.75, 1, p, b));
    out = test_buffer_get(s, b, 1);
    DG_CHECK_NEAR(out[0], 8, 1e-6);
    free(out);
}

static void check_buffers(test_scope *s)
{
    enum { COUNT = 1000003 };
    const int64_t before = s->backend->bytes_allocated;
    float *x = test_buffer(s, NULL, COUNT), *y = test_buffer(s, NULL, COUNT);
    DG_CHECK(s->backend->bytes_allocated >= before + 2 * COUNT * (int64_t)sizeof(float));
    DG_CHECK((uintptr_t)x % 64 == 0);
    float *host = test_buffer_get(s, x, COUNT);
    for (int i = 0; i < COUNT; i++) DG_CHECK(host[i] == 0);
    free(host);
    DG_CHECK_OK(s->ops->fill(s->backend, x, COUNT, 3));
    DG_CHECK_OK(s->ops->axpy(s->backend, COUNT, -0.5, x, y));
    double sum;
    DG_CHECK_OK(s->ops->sum_squares(s->backend, COUNT, y, &sum));
    DG_CHECK_NEAR(sum, 2.25 * COUNT, 1e-7 * COUNT);
    DG_CHECK_OK(s->ops->sum_squares(s->backend, 0, y, &sum));
    DG_CHECK(sum == 0);
    test_scope_clear(s);
}

int main(int argc, char **argv)
{
    test_scope scope = test_scope_open(argc == 3 ? argv[2] : "ref", 2);
    check_buffers(&scope); /* may leave the backend with scratch memory of its own, but only once */
    const int64_t kept = scope.backend->bytes_allocated;
    check_buffers(&scope);
    DG_CHECK(scope.backend->bytes_allocated == kept);
    check_pool(&scope);
    check_resize(&scope);
    check_loss(&scope);
    check_optimisers(&scope);
    test_scope_close(&scope);
    return 0;
}
