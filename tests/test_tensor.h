/* test_tensor.h - what the backend tests share: tensors and flat buffers of a backend filled from host arrays, and
 * repeatable numbers. Faults end the program with 1. Padding between pitch and c holds a canary, so that a write
 * outside the view is seen. SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_TENSOR_H
#define TEST_TENSOR_H

#include "dg_backend.h"

/* A backend and all it lent, released together. */
typedef struct test_scope {
    dg_backend *backend;
    const dg_backend_ops *ops;
    void **block;
    int count, capacity;
} test_scope;

/* Creates the backend; ends with 77 and the reason when it cannot run here. */
test_scope test_scope_open(const char *backend, int threads);
/* Frees all tensors and buffers; the backend stays. */
void test_scope_clear(test_scope *scope);
/* Clears, checks that the backend's books are even, destroys it. */
void test_scope_close(test_scope *scope);

/* Shape of a tensor: n, z, y, x, c. */
typedef struct test_shape {
    int64_t n, z, y, x, c;
} test_shape;
int64_t test_count(test_shape shape);

/* A tensor of pitch c + padding; `dense` [n,z,y,x,c] may be NULL (zeros). */
dg_tensor test_tensor(test_scope *scope, dg_dtype dtype, test_shape shape, int64_t padding, const float *dense);
void test_tensor_set(test_scope *scope, dg_tensor *tensor, const float *dense);
/* Dense host copy, freed with free(); checks the canaries. */
float *test_tensor_get(test_scope *scope, const dg_tensor *tensor);
/* Flat f32 buffer in backend memory; `values` may be NULL (zeros). */
float *test_buffer(test_scope *scope, const float *values, int64_t count);
float *test_buffer_get(test_scope *scope, const float *buffer, int64_t count);

/* count numbers of about normal distribution times `scale` plus `shift`, the same for the same seed; every one is
 * representable in bf16, so that f32 and bf16 see the same input. free(). */
float *test_random(uint64_t seed, int64_t count, double scale, double shift);
float *test_floats(int64_t count); /* zeros; free() */

#endif
