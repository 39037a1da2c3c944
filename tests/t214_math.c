/* ctest: libs=dg_base,dg_math label=unit */
/* t214_math.c - per-voxel mathematics against its definition in double. SPDX-License-Identifier: Apache-2.0 */
#include "dg_bf16.h"
#include "dg_check.h"
#include "dg_update.h"
#include "dg_loss_point.h"
#include "dg_voxel.h"

/* Every bf16 value survives; every f32 goes to the nearest, ties to the even one. */
static void check_bf16(void)
{
    for (uint32_t h = 0; h < 65536; h++) {
        const float value = dg_bf16_to_f32((dg_bf16)h);
        if (isnan(value))
            DG_CHECK(isnan(dg_bf16_to_f32(dg_bf16_from_f32(value))));
        else
            DG_CHECK(dg_bf16_from_f32(value) == h);
    }
    for (uint32_t h = 0; h < 0x7f7f; h++) { /* positive finite, not the largest */
        const float low = dg_bf16_to_f32((dg_bf16)h), high = dg_bf16_to_f32((dg_bf16)(h + 1));
        const float middle = (float)(((double)low + high) / 2);
        DG_CHECK(dg_bf16_from_f32(middle) == (h % 2 == 0 ? h : h + 1));
        DG_CHECK(dg_bf16_from_f32(nextafterf(middle, high)) == h + 1);
        DG_CHECK(dg_bf16_from_f32(nextafterf(middle, low)) == h);
        DG_CHECK(dg_bf16_from_f32(-middle) == (0x8000 | (h % 2 == 0 ? h : h + 1)));
    }
    DG_CHECK(dg_bf16_from_f32(3.4e38f) == 0x7f80 && dg_bf16_from_f32(-INFINITY) == 0xff80);
}

static void check_activations(void)
{
    for (double x = -120; x <= 120; x += 0.37) {
        const float f = (float)x;
        const double s = 1 / (1 + exp(-(double)f));
        DG_CHECK_NEAR(dg_sigmoid(f), s, 2e-7 * s + 1e-38);
        DG_CHECK_NEAR(dg_silu(f), f * s, 3e-7 * fabs(f * s) + 1e-36);
        DG_CHECK_NEAR(dg_sigmoid_derivative(f), s * (1 - s), 2e-7);
        DG_CHECK_NEAR(dg_silu_derivative(f), s * (1 + f * (1 - s)), 1e-6);
        DG_CHECK(dg_relu(f) == (f > 0 ? f : 0) && dg_leaky_relu(f, 0.5f) == (f > 0 ? f : f / 2));
        DG_CHECK(dg_relu_derivative(f) == (f > 0) && dg_leaky_relu_derivative(f, 0.5f) == (f > 0 ? 1 : 0.5f));
    }
    DG_CHECK(dg_silu(-200) == 0 && dg_silu(200) == 200 && dg_sigmoid(-200) == 0);
    DG_CHECK(isnan(dg_relu(NAN)) && isnan(dg_silu(NAN)) && isnan(dg_leaky_relu(NAN, 0.1f)));
    DG_CHECK(dg_relu_derivative(0) == 0);
}

static void check_point(dg_loss_term term, float y, float t, uint32_t regions, double value, double slope)
{
    DG_CHECK_NEAR(dg_point_value(&term, y, t, regions), value, 1e-6);
    DG_CHECK_NEAR(dg_point_slope(&term, y, t, regions), slope, 1e-6);
}

static void check_losses(void)
{
    const dg_loss_term huber = {.kind = DG_LOSS_HUBER, .delta = 2}, poisson = {.kind = DG_LOSS_POISSON, .eps = 0.5f};
    const dg_loss_term structure = {
        .kind = DG_LOSS_STRUCTURE, .inside = 1, .near = 2, .weight_inside = 5, .weight_near = 3, .weight_else = 1};
    const dg_loss_term asymmetric = {.kind = DG_LOSS_ASYMMETRIC, .inside = 2, .ratio = 3};
    check_point((dg_loss_term){.kind = DG_LOSS_MSE}, 1, 3, 0, 4, -4);
    check_point((dg_loss_term){.kind = DG_LOSS_MAE}, 1, 3, 0, 2, -1);
    check_point((dg_loss_term){.kind = DG_LOSS_MAE}, 2, 2, 0, 0, 0);
    check_point((dg_loss_term){.kind = DG_LOSS_NEGATIVE}, -2, 0, 0, 2, -1);
    check_point((dg_loss_term){.kind = DG_LOSS_NEGATIVE}, 0, 0, 0, 0, 0);
    check_point(huber, 3, 1, 0, 2, 2);
    check_point(huber, -4, 1, 0, 2 * (5 - 1), -2);
    check_point(poisson, 2, 1, 0, 1 - log(2), 0.5);
    check_point(poisson, 1, 1, 0, 0, 0);
    check_point(poisson, 0.25f, 1, 0, -0.5 + log(2) + 0.25, -1); /* the tangent at eps */
    check_point(poisson, 0.25f, 0, 0, 0.25, 1);
    check_point(structure, 1, 3, 3, 20, -20);
    check_point(structure, 1, 3, 2, 12, -12);
    check_point(structure, 1, 3, 4, 4, -4);
    check_point(asymmetric, 1, 3, 2, 12, -12);
    check_point(asymmetric, 3, 1, 2, 4, 4);
    DG_CHECK(dg_point_counts(&asymmetric, 6) && !dg_point_counts(&asymmetric, 5) && dg_point_counts(&huber, 0));
}

/* Against the published formulas in double, over 50 steps of a varying gradient. */
static void check_updates(void)
{
    float p = 0.7f, m = 0, v = 0, q = 0.7f, b = 0;
    double pd = p, md = 0, vd = 0, qd = q, bd = 0;
    const double lr = 0.01, decay = 0.1, scale = 0.25;
    for (int step = 1; step <= 50; step++) {
        const float g = (float)sin(step * 1.7) * 3;
        const dg_adamw_constants k = dg_adamw_prepare(lr, 0.9, 0.999, 1e-8, decay, step, scale);
        dg_adamw_update(&k, g, &p, &m, &v);
        md = 0.9 * md + 0.1 * g * scale;
        vd = 0.999 * vd + 0.001 * g * scale * g * scale;
        pd -= lr * decay * pd;
        pd -= lr * (md / (1 - pow(0.9, step))) / (sqrt(vd / (1 - pow(0.999, step))) + 1e-8);
        DG_CHECK_NEAR(p, pd, 1e-5);
        const dg_sgd_constants s = {
            .lr = 0.01f, .momentum = 0.9f, .weight_decay = 0.1f, .nesterov = step % 2, .grad_scale = 0.25f};
        dg_sgd_update(&s, g, &q, &b);
        const double gd = g * scale + 0.1 * qd;
        bd = 0.9 * bd + gd;
        qd -= 0.01 * (step % 2 ? gd + 0.9 * bd : bd);
        DG_CHECK_NEAR(q, qd, 1e-5);
    }
    DG_CHECK_NEAR(dg_ema_update(0.25f, 2, 10), 8, 1e-6);
    DG_CHECK(dg_ema_update(0.001f, 1.2345f, 1.2345f) == 1.2345f);
}

int main(void)
{
    check_bf16();
    check_activations();
    check_losses();
    check_updates();
    return 0;
}
