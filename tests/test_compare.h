/* test_compare.h - runs of one operation on two backends, compared within rounding or bit by bit.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_COMPARE_H
#define TEST_COMPARE_H

#include "test_op.h"

enum { TEST_RESULTS = 12 };

/* What one run of an operation left on the host. */
typedef struct test_results {
    float *value[TEST_RESULTS];
    int64_t count[TEST_RESULTS];
    bool stored[TEST_RESULTS]; /* rounded to the type of activations */
    const char *name[TEST_RESULTS];
    int used;
} test_results;

/* Takes `value` (freed by test_results_free). */
void test_results_keep(test_results *r, const char *name, float *value, int64_t count, bool stored);
void test_results_free(test_results *r);
/* Forward, backward into fresh gradients, backward again on top of them. */
test_results test_results_run(test_scope *scope, const test_case *desc, dg_dtype dtype, uint64_t seed);
/* Both print a line for every result that differs and return how many did. Within rounding:
 * |got - ref| <= eps |ref| + floor * largest |ref|. f32: sums of thousands of products in another order. bf16: one unit
 * in the last place (2^-8 of the value, twice where a sum is rounded again), and what cancels on the way there. */
int test_results_compare(const char *name, dg_dtype dtype, const test_results *got, const test_results *ref);
int test_results_compare_bits(const char *name, const char *what, const test_results *a, const test_results *b);

/* Can this processor convolve bf16? A refusal has to name the remedy. */
bool test_convolves_bf16(test_scope *scope);
/* One case on `one` and `two` threads of a backend: against `ref`, and twice the same bits. */
int test_case_check(test_scope *ref, test_scope *one, test_scope *two, const test_case *desc, uint64_t seed);

#endif
