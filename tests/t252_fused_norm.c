/* ctest: libs=test_tensor label=unit args=--isa none; --isa AVX512_CORE_BF16; --isa AVX2; --isa SSE41 */
/* t252_fused_norm.c - a norm with its neighbours in one pass gives the bits of the separate operations: residuals of few
 * and of many channels, pooling with odd axes, heads; and what it refuses. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "test_tensor.h"

#include <stdlib.h>
#include <string.h>

typedef enum reader { NOTHING, POOL, HEAD } reader;

typedef struct fused_case {
    test_shape x;
    int64_t residual_c; /* 0: no residual; -1: a tensor */
    reader reader;
    bool film;
    int64_t pad; /* between voxels of y */
} fused_case;

static const fused_case CASES[] = {
    {.x = {1, 4, 6, 5, 48}, .residual_c = 9, .reader = POOL, .pad = 48},
    {.x = {2, 3, 5, 7, 24}, .residual_c = 16, .reader = POOL, .film = true},
    {.x = {1, 2, 2, 150, 16}, .residual_c = -1, .reader = POOL, .pad = 3},
    {.x = {2, 5, 7, 9, 48}, .residual_c = 96, .reader = HEAD, .film = true},
    {.x = {1, 8, 8, 9, 96}, .residual_c = 64, .reader = NOTHING, .pad = 8},
    {.x = {2, 3, 4, 5, 9}, .residual_c = 5, .reader = HEAD},
    {.x = {1, 5, 5, 31, 8}, .residual_c = -1, .reader = HEAD},
    {.x = {1, 16, 8, 16, 48}, .residual_c = 0, .reader = HEAD},
    {.x = {1, 6, 4, 2, 32}, .residual_c = 192, .reader = POOL},
};

static dg_conv *make_conv(test_scope *s, const fused_case *c, int64_t cin, int64_t cout, dg_dtype dtype)
{
    const dg_conv_desc desc = {.kind = DG_CONV_SAME,
                               .kernel = 1,
                               .n = c->x.n,
                               .z = c->x.z,
                               .y = c->x.y,
                               .x = c->x.x,
                               .cin = cin,
                               .cout = cout,
                               .dtype = dtype};
    dg_conv *conv;
    float *w = test_random(5, cin * cout, 0.2, 0), *b = test_random(6, cout, 0.5, 0);
    DG_CHECK_OK(s->ops->conv_create(s->backend, &desc, &conv));
    DG_CHECK_OK(s->ops->conv_pack(s->backend, conv, test_buffer(s, w, cin * cout), test_buffer(s, b, cout)));
    free(w);
    free(b);
    return conv;
}

static dg_tensor filled(test_scope *s, uint64_t seed, dg_dtype dtype, test_shape shape)
{
    float *values = test_random(seed, test_count(shape), 1.0, 0.3);
    dg_tensor t = test_tensor(s, dtype, shape, 0, values);
    free(values);
    return t;
}

static void check_same(test_scope *s, const dg_tensor *a, const dg_tensor *b)
{
    const int64_t count = a->n * dg_tensor_voxels(a) * a->c;
    float *one = test_tensor_get(s, a), *two = test_tensor_get(s, b);
    double size = 0;
    for (int64_t i = 0; i < count; i++) size += (double)(one[i] * one[i]);
    DG_CHECK(size > 0 && memcmp(one, two, (size_t)count * sizeof *one) == 0);
    free(one);
    free(two);
}

/* Everything one case touches; [0] separate, [1] fused. */
typedef struct setting {
    dg_norm_desc norm;
    float *gamma, *beta, *film, *stats[2];
    dg_tensor x, residual_x, residual, y[2], read[2];
    dg_conv *maker, *head;
} setting;

static setting make_setting(test_scope *s, const fused_case *c, dg_dtype dtype)
{
    const int64_t channels = c->x.c, n = c->x.n;
    setting t = {.norm = {.groups = channels % 8 == 0 ? 8 : 1, .eps = 1e-5, .act = DG_ACT_SILU}};
    float *values = test_random(9, 2 * channels * n, 0.5, 1.0);
    t.gamma = test_buffer(s, values, channels);
    t.beta = test_buffer(s, values + channels, channels);
    t.film = c->film ? test_buffer(s, values, 2 * channels * n) : NULL;
    free(values);
    t.x = filled(s, 1, dtype, c->x);
    t.residual = filled(s, 2, dtype, c->x);
    test_shape wide = c->x, half = {n, c->x.z / 2, c->x.y / 2, c->x.x / 2, channels}, few = c->x;
    wide.c = c->residual_c;
    few.c = 1 + channels % 3;
    if (c->residual_c > 0) {
        t.residual_x = filled(s, 3, dtype, wide);
        t.maker = make_conv(s, c, c->residual_c, channels, dtype);
    }
    if (c->reader == HEAD) t.head = make_conv(s, c, channels, few.c, dtype);
    for (int i = 0; i < 2; i++) {
        t.stats[i] = test_buffer(s, NULL, 2 * n * t.norm.groups);
        t.y[i] = test_tensor(s, dtype, c->x, c->pad, NULL);
        if (c->reader != NOTHING) t.read[i] = test_tensor(s, dtype, c->reader == POOL ? half : few, 0, NULL);
    }
    return t;
}

static dg_status run_fused(test_scope *s, const fused_case *c, setting *t)
{
    const dg_norm_fusion with = {.residual_conv = t->maker,
                                 .residual_x = &t->residual_x,
                                 .pooled = c->reader == POOL ? &t->read[1] : NULL,
                                 .head = t->head,
                                 .head_y = &t->read[1]};
    return s->ops->norm_forward_fused(s->backend, &t->norm, &t->x, t->gamma, t->beta, t->film,
                                      c->residual_c < 0 ? &t->residual : NULL, t->stats[1], &t->y[1], &with);
}

static void check_case(test_scope *s, const fused_case *c, dg_dtype dtype)
{
    setting t = make_setting(s, c, dtype);
    const dg_conv_desc desc = {.kind = DG_CONV_SAME, .kernel = 1, .cin = c->residual_c, .cout = c->x.c, .dtype = dtype};
    if (t.maker != NULL && !s->ops->residual_fuses(s->backend, &desc)) {
        DG_CHECK(c->residual_c > 16); /* few channels always do */
        DG_CHECK_FAILS(run_fused(s, c, &t), DG_ERR_INTERNAL, "does not fuse");
    } else {
        if (t.maker != NULL) DG_CHECK_OK(s->ops->conv_forward(s->backend, t.maker, &t.residual_x, &t.residual));
        DG_CHECK_OK(s->ops->norm_forward(s->backend, &t.norm, &t.x, t.gamma, t.beta, t.film,
                                         c->residual_c != 0 ? &t.residual : NULL, t.stats[0], &t.y[0]));
        if (c->reader == POOL) DG_CHECK_OK(s->ops->pool_forward(s->backend, &t.y[0], &t.read[0]));
        if (c->reader == HEAD) DG_CHECK_OK(s->ops->conv_forward(s->backend, t.head, &t.y[0], &t.read[0]));
        DG_CHECK_OK(run_fused(s, c, &t));
        DG_CHECK(memcmp(t.stats[0], t.stats[1], (size_t)(2 * c->x.n * t.norm.groups) * sizeof(float)) == 0);
        if (c->reader != HEAD) check_same(s, &t.y[0], &t.y[1]);
        if (c->reader != NOTHING) check_same(s, &t.read[0], &t.read[1]);
    }
    if (t.maker != NULL) s->ops->conv_destroy(s->backend, t.maker);
    if (t.head != NULL) s->ops->conv_destroy(s->backend, t.head);
    test_scope_clear(s);
}

static void check_refusals(test_scope *s)
{
    const fused_case c = {.x = {1, 2, 4, 4, 48}, .residual_c = 9, .reader = POOL};
    setting t = make_setting(s, &c, DG_F32);
    dg_conv *wide = make_conv(s, &c, 48, 8, DG_F32);
    dg_norm_fusion with = {.pooled = &t.read[1], .head = wide, .head_y = &t.read[1]};
#define CALL(residual) \
    s->ops->norm_forward_fused(s->backend, &t.norm, &t.x, t.gamma, t.beta, NULL, residual, t.stats[1], &t.y[1], &with)
    DG_CHECK_FAILS(CALL(NULL), DG_ERR_INTERNAL, "pooling and a head at once");
    with.pooled = NULL;
    DG_CHECK_FAILS(CALL(NULL), DG_ERR_INTERNAL, "a head of too many channels");
    with = (dg_norm_fusion){.residual_conv = t.maker, .residual_x = &t.residual_x};
    DG_CHECK_FAILS(CALL(&t.residual), DG_ERR_INTERNAL, "two residuals");
    with = (dg_norm_fusion){.pooled = &t.y[0]};
    DG_CHECK_FAILS(CALL(NULL), DG_ERR_INTERNAL, "pool");
#undef CALL
    s->ops->conv_destroy(s->backend, wide);
    s->ops->conv_destroy(s->backend, t.maker);
    test_scope_clear(s);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[2], "none") != 0) setenv("ONEDNN_MAX_CPU_ISA", argv[2], 1);
    for (int threads = 1; threads <= 3; threads += 2) {
        test_scope s = test_scope_open("onednn", threads);
        const bool bf16 = argc < 3 || strcmp(argv[2], "none") == 0 || strcmp(argv[2], "AVX512_CORE_BF16") == 0;
        for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
            check_case(&s, &CASES[i], DG_F32);
            if (bf16) check_case(&s, &CASES[i], DG_BF16);
        }
        check_refusals(&s);
        test_scope_close(&s);
    }
    return 0;
}
