/* test_compare.c - see test_compare.h. SPDX-License-Identifier: Apache-2.0 */
#include "test_compare.h"

#include "dg_check.h"

void test_results_keep(test_results *r, const char *name, float *value, int64_t count, bool stored)
{
    DG_CHECK(r->used < TEST_RESULTS);
    r->value[r->used] = value;
    r->count[r->used] = count;
    r->stored[r->used] = stored;
    r->name[r->used++] = name;
}

static void keep_tensor(test_results *r, const char *name, test_scope *scope, const dg_tensor *t)
{
    test_results_keep(r, name, test_tensor_get(scope, t), t->n * dg_tensor_voxels(t) * t->c, t->dtype == DG_BF16);
}

void test_results_free(test_results *r)
{
    for (int i = 0; i < r->used; i++) free(r->value[i]);
    r->used = 0;
}

test_results test_results_run(test_scope *scope, const test_case *desc, dg_dtype dtype, uint64_t seed)
{
    static const char *const DX[TEST_INPUTS] = {"dx", "dx2"}, *const SUM[TEST_INPUTS] = {"dx sum", "dx2 sum"};
    static const char *const DP[TEST_PARAMS] = {"dp0", "dp1", "dp2"};
    test_results r = {0};
    test_op op = test_op_create(scope, desc, dtype, seed);
    test_op_forward(&op);
    if (desc->kind != TEST_LOSS) keep_tensor(&r, "y", scope, &op.y);
    if (op.stats_count > 0)
        test_results_keep(&r, "stats", test_buffer_get(scope, op.stats, op.stats_count), op.stats_count, false);
    if (desc->kind == TEST_LOSS) {
        const int64_t values = desc->x.n * dg_loss_term_values(&desc->loss);
        float *kept = test_floats(values);
        double *value = test_op_values(&op);
        for (int64_t i = 0; i < values; i++) kept[i] = (float)value[i];
        free(value);
        test_results_keep(&r, "value", kept, values, false);
    }
    test_op_backward(&op, false);
    for (int i = 0; i < TEST_INPUTS; i++)
        if (op.x_gradient[i]) keep_tensor(&r, DX[i], scope, &op.dx[i]);
    for (int i = 0; i < TEST_PARAMS; i++)
        if (op.p_count[i] > 0)
            test_results_keep(&r, DP[i], test_buffer_get(scope, op.dp[i], op.p_count[i]), op.p_count[i], false);
    test_op_backward(&op, true);
    for (int i = 0; i < TEST_INPUTS; i++)
        if (op.x_gradient[i]) keep_tensor(&r, SUM[i], scope, &op.dx[i]);
    test_op_destroy(&op);
    test_scope_clear(scope);
    return r;
}

int test_results_compare(const char *name, dg_dtype dtype, const test_results *got, const test_results *ref)
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

int test_results_compare_bits(const char *name, const char *what, const test_results *a, const test_results *b)
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

bool test_convolves_bf16(test_scope *s)
{
    const dg_conv_desc desc = {.kind = DG_CONV_SAME,
                               .kernel = 3,
                               .n = 1,
                               .z = 4,
                               .y = 4,
                               .x = 4,
                               .cin = 16,
                               .cout = 16,
                               .dtype = DG_BF16,
                               .training = true};
    dg_conv *conv;
    const dg_status status = s->ops->conv_create(s->backend, &desc, &conv);
    if (status == DG_OK)
        s->ops->conv_destroy(s->backend, conv);
    else
        DG_CHECK(status == DG_ERR_UNSUPPORTED && strstr(dg_error_last()->text, "f32") != NULL);
    return status == DG_OK;
}

int test_case_check(test_scope *ref, test_scope *one, test_scope *two, const test_case *desc, uint64_t seed)
{
    int failed = 0;
    const dg_dtype dtypes[2] = {DG_F32, DG_BF16};
    for (int d = 0; d < (desc->kind != TEST_CONV || test_convolves_bf16(one) ? 2 : 1); d++) {
        test_results wanted = test_results_run(ref, desc, dtypes[d], seed);
        test_results single = test_results_run(one, desc, dtypes[d], seed),
                     again = test_results_run(one, desc, dtypes[d], seed);
        test_results pair = test_results_run(two, desc, dtypes[d], seed),
                     pair_again = test_results_run(two, desc, dtypes[d], seed);
        failed += test_results_compare(desc->name, dtypes[d], &single, &wanted);
        failed += test_results_compare(desc->name, dtypes[d], &pair, &wanted);
        failed += test_results_compare_bits(desc->name, "one thread, repeated", &single, &again);
        failed += test_results_compare_bits(desc->name, "two threads, repeated", &pair, &pair_again);
        if (two->ops == &dg_backend_ref)
            failed += test_results_compare_bits(desc->name, "one and two threads", &single, &pair);
        test_results_free(&wanted);
        test_results_free(&single);
        test_results_free(&again);
        test_results_free(&pair);
        test_results_free(&pair_again);
    }
    return failed;
}
