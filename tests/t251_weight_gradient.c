/* ctest: libs=dg_backend,dg_math label=unit timeout=120 */
/* t251_weight_gradient.c - the weight gradient on the tile unit beside `ref`: all channel counts of
 * the network and odd ones, odd grids, several samples, lines that fill no tile, pitched 1x1x1; the same bits twice, and
 * with threads that get no work. Skipped where the processor has no tile unit. SPDX-License-Identifier: Apache-2.0 */
#include "dg_bf16.h"
#include "dg_check.h"
#include "dg_mem.h"
#include "dg_rng.h"

#include "../src/backend/onednn/wgrad_amx.h"
#include "dg_backend.h"

typedef struct shape {
    int64_t n, z, y, x, cin, cout;
    int kernel;
    int64_t pad_x, pad_y; /* pitch beyond the channels; 1x1x1 */
} shape;

static const shape SHAPES[] = {
    {1, 4, 4, 4, 9, 48, 3, 0, 0},     {1, 3, 5, 7, 5, 17, 3, 0, 0},    {2, 2, 3, 4, 17, 5, 3, 0, 0},
    {1, 2, 6, 64, 48, 48, 3, 0, 0},   {1, 3, 17, 33, 48, 16, 3, 0, 0}, {1, 2, 2, 2, 96, 192, 3, 0, 0},
    {1, 1, 1, 1, 384, 33, 3, 0, 0},   {2, 3, 3, 3, 16, 64, 3, 0, 0},   {1, 2, 2, 2, 768, 16, 3, 0, 0},
    {1, 5, 4, 600, 3, 8, 3, 0, 0},    {1, 8, 8, 8, 32, 32, 3, 0, 0},   {1, 3, 4, 5, 9, 48, 1, 0, 0},
    {2, 5, 7, 11, 96, 48, 1, 48, 16}, {1, 1, 1, 1, 17, 5, 1, 3, 1},    {1, 8, 8, 9, 768, 24, 1, 0, 0}};

static dg_bf16 *random_rows(int64_t rows, int64_t pitch, uint64_t seed)
{
    dg_bf16 *values;
    dg_rng rng = dg_rng_stream(seed, DG_RNG_TEST, 0, 0);
    DG_CHECK_OK(DG_NEW(&values, rows * pitch, "rows"));
    for (int64_t i = 0; i < rows * pitch; i++) values[i] = dg_bf16_from_f32((float)dg_rng_normal(&rng));
    return values;
}

/* dw (accumulated onto `seeded`) by the kernel with `threads`. */
static void run_kernel(const shape *s, int threads, const dg_bf16 *x, const dg_bf16 *dy, float *dw)
{
    dg_wgrad_plan plan;
    char *scratch;
    dg_wgrad_amx_plan(s->n, s->z, s->y, s->x, s->cin, s->cout, s->kernel == 3 ? 27 : 1, threads, &plan);
    DG_CHECK_OK(dg_alloc(&scratch, (size_t)plan.scratch_bytes, 1, "scratch"));
    memset(scratch, 0xff, (size_t)plan.scratch_bytes); /* not-a-number: nothing may be read before it is written */
    dg_wgrad_amx_run(&plan, x, s->cin + s->pad_x, dy, s->cout + s->pad_y, dw, scratch);
    dg_free(&scratch);
}

static void run_ref(dg_backend *backend, const shape *s, dg_bf16 *x, dg_bf16 *dy, float *dw)
{
    const dg_conv_desc desc = {.kind = DG_CONV_SAME,
                               .kernel = s->kernel,
                               .n = s->n,
                               .z = s->z,
                               .y = s->y,
                               .x = s->x,
                               .cin = s->cin,
                               .cout = s->cout,
                               .dtype = DG_BF16,
                               .training = true};
    const dg_tensor tx = {x, DG_BF16, s->n, s->z, s->y, s->x, s->cin, s->cin + s->pad_x};
    const dg_tensor ty = {dy, DG_BF16, s->n, s->z, s->y, s->x, s->cout, s->cout + s->pad_y};
    dg_conv *conv;
    DG_CHECK_OK(backend->ops->conv_create(backend, &desc, &conv));
    DG_CHECK_OK(backend->ops->conv_backward_weights(backend, conv, &tx, &ty, dw, NULL));
    backend->ops->conv_destroy(backend, conv);
}

/* Products are exact in f32; sums of up to `voxels` of them differ by rounding alone. */
static void compare(const shape *s, const char *name, const float *dw, const float *want, int64_t count)
{
    const double tolerance = 4e-6 * sqrt((double)(s->n * s->z * s->y * s->x)) + 1e-5;
    for (int64_t i = 0; i < count; i++)
        if (!(fabs((double)dw[i] - (double)want[i]) <= tolerance * 8.0)) {
            fprintf(stderr, "%s: %lldx%lldx%lldx%lld, %lld to %lld, kernel %d: dw[%lld] = %.9g, wanted %.9g\n", name,
                    (long long)s->n, (long long)s->z, (long long)s->y, (long long)s->x, (long long)s->cin,
                    (long long)s->cout, s->kernel, (long long)i, (double)dw[i], (double)want[i]);
            exit(1);
        }
}

static void check_shape(dg_backend *ref, const shape *s)
{
    const int64_t rows = s->n * s->z * s->y * s->x, taps = s->kernel == 3 ? 27 : 1, count = taps * s->cin * s->cout;
    dg_bf16 *x = random_rows(rows, s->cin + s->pad_x, 1), *dy = random_rows(rows, s->cout + s->pad_y, 2);
    float *want, *dw, *again;
    DG_CHECK_OK(DG_NEW(&want, count, "gradient"));
    DG_CHECK_OK(DG_NEW(&dw, count, "gradient"));
    DG_CHECK_OK(DG_NEW(&again, count, "gradient"));
    for (int64_t i = 0; i < count; i++) want[i] = 0.25f;
    run_ref(ref, s, x, dy, want);
    for (int threads = 1; threads <= 4; threads++) {
        for (int64_t i = 0; i < count; i++) dw[i] = again[i] = 0.25f;
        run_kernel(s, threads, x, dy, dw);
        compare(s, "tile unit against ref", dw, want, count);
        run_kernel(s, threads, x, dy, again);
        DG_CHECK(memcmp(dw, again, (size_t)count * sizeof(float)) == 0);
    }
    dg_free(&want);
    dg_free(&dw);
    dg_free(&again);
    dg_free(&x);
    dg_free(&dy);
}

int main(void)
{
    const dg_backend_options options = {.threads = 2, .deterministic = true};
    dg_backend *ref;
    if (!dg_wgrad_amx_available()) {
        printf("this processor has no tile unit (AMX): nothing to test\n");
        return DG_TEST_SKIPPED;
    }
    DG_CHECK_OK(dg_backend_create("ref", &options, &ref));
    for (size_t i = 0; i < sizeof SHAPES / sizeof SHAPES[0]; i++) check_shape(ref, &SHAPES[i]);
    dg_backend_destroy(&ref);
    printf("%zu shapes, 1 to 4 threads\n", sizeof SHAPES / sizeof SHAPES[0]);
    return 0;
}
