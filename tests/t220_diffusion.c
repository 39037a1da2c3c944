/* ctest: libs=test_tensor,dg_base label=unit timeout=60 args=--backend ref; --backend onednn */
/* t220_diffusion.c - noise into samples and out of them: the numbers of a stream of dg_rng.h in their places, what the network
 * is to say, voxels beyond the volume, a condition that is withheld, one step of a sampler, and that noise is what it is called.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_rng.h"
#include "test_tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { Z = 3, Y = 4, X = 5, C = 3, VOXELS = Z * Y * X };

static dg_noise noise_of(uint64_t seed, double deviation)
{
    const dg_rng rng = dg_rng_stream(seed, DG_RNG_DIFFUSION_NOISE, 5, 3);
    dg_noise noise = {.used = 4, .deviation = deviation};
    memcpy(noise.key, rng.key, sizeof noise.key);
    memcpy(noise.counter, rng.counter, sizeof noise.counter);
    return noise;
}

static double close_to(double a, double b, double tolerance) { return fabs(a - b) <= tolerance * (1 + fabs(b)); }

static void check_diffuse(test_scope *s, dg_dtype dtype, bool blind)
{
    const double tolerance = dtype == DG_BF16 ? 4e-3 : 1e-6;
    float *known = test_random(1, VOXELS * C, 1, 0), *clean = test_random(2, VOXELS, 0.5, 0.5);
    dg_rng rng = dg_rng_stream(9, DG_RNG_DIFFUSION_NOISE, 5, 3);
    const dg_diffuse how = {.signal = 0.8f,
                            .noise = 0.6f,
                            .want_clean = -0.6f,
                            .want_noise = 0.8f,
                            .inside = {{0, Z}, {1, Y}, {0, X - 2}},
                            .blind = blind,
                            .stream = noise_of(9, 1)};
    dg_tensor condition = test_tensor(s, dtype, (test_shape){1, Z, Y, X, C}, 0, known);
    dg_tensor x = test_tensor(s, dtype, (test_shape){1, Z, Y, X, C + 1}, 2, NULL);
    float *from = test_buffer(s, clean, VOXELS), *to = test_buffer(s, NULL, VOXELS);
    DG_CHECK_OK(s->ops->diffuse(s->backend, &how, &condition, from, to, &x));
    float *wanted = test_buffer_get(s, to, VOXELS), *got = test_tensor_get(s, &x);
    for (int v = 0; v < VOXELS; v++) {
        const double e = dg_rng_normal(&rng);
        const bool inside = v / X % Y >= 1 && v % X < X - 2;
        DG_CHECK(close_to(wanted[v], -0.6 * clean[v] + 0.8 * e, 1e-6));
        DG_CHECK(close_to(got[v * (C + 1)], inside ? 0.8 * clean[v] + 0.6 * e : 0, tolerance));
        for (int k = 0; k < C; k++) DG_CHECK(got[v * (C + 1) + 1 + k] == (blind ? 0 : known[v * C + k]));
    }
    test_scope_clear(s);
    free(wanted);
    free(got);
    free(known);
    free(clean);
}

static void check_denoise(test_scope *s, bool renew, bool draws)
{
    float *said = test_random(3, VOXELS, 1, 0), *x = test_random(4, VOXELS, 1, 0),
          *before = test_random(5, VOXELS, 1, 0);
    const dg_denoise k = {.clean_x = 1.2f,
                          .clean_out = -0.7f,
                          .low = -0.5f,
                          .high = 0.9f,
                          .noise_x = 0.3f,
                          .noise_out = 0.8f,
                          .renew = renew,
                          .renew_x = 1.6f,
                          .renew_clean = -1.1f,
                          .to_clean = 0.9f,
                          .to_before = -0.2f,
                          .to_x = 0.15f,
                          .to_noise = 0.4f,
                          .fresh = draws ? 0.25f : 0};
    const dg_noise fresh = noise_of(11, 2);
    dg_rng rng = dg_rng_stream(11, DG_RNG_DIFFUSION_NOISE, 5, 3);
    float *d_said = test_buffer(s, said, VOXELS), *d_x = test_buffer(s, x, VOXELS),
          *d_before = test_buffer(s, before, VOXELS);
    DG_CHECK_OK(s->ops->denoise(s->backend, &k, draws ? &fresh : NULL, VOXELS, d_said, d_x, d_before));
    float *next = test_buffer_get(s, d_x, VOXELS), *dose = test_buffer_get(s, d_before, VOXELS);
    int low = 0, high = 0;
    for (int v = 0; v < VOXELS; v++) {
        const double e = 2 * dg_rng_normal(&rng);
        double now = 1.2 * x[v] - 0.7 * said[v];
        low += now < -0.5;
        high += now > 0.9;
        now = fmin(fmax(now, -0.5), 0.9);
        const double noise = renew ? 1.6 * x[v] - 1.1 * now : 0.3 * x[v] + 0.8 * said[v];
        const double wanted = 0.9 * now - 0.2 * before[v] + 0.15 * x[v] + 0.4 * noise + (draws ? 0.25 * e : 0);
        DG_CHECK(close_to(next[v], wanted, 2e-6));
        DG_CHECK(close_to(dose[v], now, 1e-6));
    }
    DG_CHECK(low > 0 && high > 0);
    test_scope_clear(s);
    free(said);
    free(x);
    free(before);
    free(next);
    free(dose);
}

/* Mean, variance, tails and neighbours of many numbers against those of a standard normal distribution, within five standard
 * errors: the numbers are the same in every run. */
static void check_distribution(test_scope *s)
{
    enum { MANY = 100000 };
    const dg_denoise draw = {.fresh = 1};
    const dg_noise noise = noise_of(13, 1);
    float *zero = test_buffer(s, NULL, MANY), *x = test_buffer(s, NULL, MANY), *before = test_buffer(s, NULL, MANY);
    DG_CHECK_OK(s->ops->denoise(s->backend, &draw, &noise, MANY, zero, x, before));
    float *got = test_buffer_get(s, x, MANY);
    double sum = 0, squares = 0, fourth = 0, along = 0, beyond = 0;
    for (int v = 0; v < MANY; v++) {
        sum += got[v];
        squares += (double)got[v] * got[v];
        fourth += pow(got[v], 4);
        beyond += fabsf(got[v]) > 1.959964f;
        if (v > 0) along += (double)got[v] * got[v - 1];
    }
    const double error = 1 / sqrt(MANY);
    DG_CHECK(fabs(sum / MANY) < 5 * error);
    DG_CHECK(fabs(squares / MANY - 1) < 5 * sqrt(2) * error);
    DG_CHECK(fabs(fourth / MANY - 3) < 5 * sqrt(96) * error);
    DG_CHECK(fabs(along / MANY) < 5 * error);
    DG_CHECK(fabs(beyond / MANY - 0.05) < 5 * sqrt(0.05 * 0.95) * error);
    free(got);
    test_scope_clear(s);
}

static void check_refusals(test_scope *s)
{
    const dg_diffuse how = {.signal = 1};
    const dg_denoise k = {.fresh = 1};
    float *flat = test_buffer(s, NULL, VOXELS);
    dg_tensor condition = test_tensor(s, DG_F32, (test_shape){1, Z, Y, X, C}, 0, NULL);
    dg_tensor x = test_tensor(s, DG_F32, (test_shape){1, Z, Y, X, C}, 0, NULL);
    dg_tensor other = test_tensor(s, DG_BF16, (test_shape){1, Z, Y, X, C + 1}, 0, NULL);
    DG_CHECK_FAILS(s->ops->diffuse(s->backend, &how, &condition, flat, flat, &x), DG_ERR_INTERNAL,
                   "diffuse: tensor x is");
    DG_CHECK_FAILS(s->ops->diffuse(s->backend, &how, &condition, flat, flat, &other), DG_ERR_INTERNAL, "of x's type");
    x.c--;
    condition.c = C - 2;
    DG_CHECK_FAILS(s->ops->diffuse(s->backend, &how, &condition, NULL, flat, &x), DG_ERR_INTERNAL, "clean is missing");
    DG_CHECK_FAILS(s->ops->denoise(s->backend, &k, NULL, -1, flat, flat, flat), DG_ERR_INTERNAL, "denoise: -1 voxels");
    DG_CHECK_FAILS(s->ops->denoise(s->backend, &k, NULL, 1, flat, NULL, flat), DG_ERR_INTERNAL,
                   "denoise: x is missing");
    test_scope_clear(s);
}

int main(int argc, char **argv)
{
    test_scope s = test_scope_open(argc > 2 && strcmp(argv[1], "--backend") == 0 ? argv[2] : "ref", 2);
    for (int blind = 0; blind < 2; blind++) {
        check_diffuse(&s, DG_F32, blind == 1);
        check_diffuse(&s, DG_BF16, blind == 1);
        check_denoise(&s, blind == 1, false);
        check_denoise(&s, blind == 1, true);
    }
    check_distribution(&s);
    check_refusals(&s);
    test_scope_close(&s);
    return 0;
}
