/* test_tensor.c - see test_tensor.h. SPDX-License-Identifier: Apache-2.0 */
#include "test_tensor.h"

#include "dg_bf16.h"
#include "dg_check.h"

/* A number no operation computes; exact in bf16. */
static const float CANARY = -30208.0f;

static void *get_memory(int64_t count, size_t size)
{
    void *p = calloc(count > 0 ? (size_t)count : 1, size);
    DG_CHECK(p != NULL);
    return p;
}

test_scope test_scope_open(const char *backend, int threads)
{
    test_scope scope = {0};
    const dg_backend_options options = {.threads = threads, .deterministic = true};
    dg_status status = dg_backend_create(backend, &options, &scope.backend);
    if (status == DG_ERR_UNSUPPORTED) {
        printf("skipped: %s\n", dg_error_last()->text);
        exit(DG_TEST_SKIPPED);
    }
    DG_CHECK_OK(status);
    scope.ops = scope.backend->ops;
    return scope;
}

void test_scope_clear(test_scope *scope)
{
    for (int i = 0; i < scope->count; i++) scope->ops->free(scope->backend, scope->block[i]);
    scope->count = 0;
}

void test_scope_close(test_scope *scope)
{
    test_scope_clear(scope);
    dg_backend_destroy(&scope->backend);
    free(scope->block);
    *scope = (test_scope){0};
}

int64_t test_count(test_shape shape) { return shape.n * shape.z * shape.y * shape.x * shape.c; }

static void *lend(test_scope *scope, int64_t bytes)
{
    if (scope->count == scope->capacity) {
        scope->capacity = scope->capacity > 0 ? 2 * scope->capacity : 64;
        scope->block = realloc(scope->block, (size_t)scope->capacity * sizeof *scope->block);
        DG_CHECK(scope->block != NULL);
    }
    void *block;
    DG_CHECK_OK(scope->ops->alloc(scope->backend, bytes, "test tensor", &block));
    scope->block[scope->count++] = block;
    return block;
}

dg_tensor test_tensor(test_scope *scope, dg_dtype dtype, test_shape shape, int64_t padding, const float *dense)
{
    dg_tensor t = {.dtype = dtype, .n = shape.n, .z = shape.z, .y = shape.y, .x = shape.x, .c = shape.c};
    t.pitch = shape.c + padding;
    t.data = lend(scope, t.n * dg_tensor_voxels(&t) * t.pitch * (int64_t)dg_dtype_size(dtype));
    float *zeros = dense == NULL ? test_floats(test_count(shape)) : NULL;
    test_tensor_set(scope, &t, dense != NULL ? dense : zeros);
    free(zeros);
    return t;
}

void test_tensor_set(test_scope *scope, dg_tensor *tensor, const float *dense)
{
    const int64_t rows = tensor->n * dg_tensor_voxels(tensor), count = rows * tensor->pitch;
    const int64_t bytes = count * (int64_t)dg_dtype_size(tensor->dtype);
    float *host = get_memory(count, sizeof *host);
    dg_bf16 *half = get_memory(count, sizeof *half);
    for (int64_t i = 0; i < count; i++) {
        int64_t v = i / tensor->pitch, c = i % tensor->pitch;
        host[i] = c < tensor->c ? dense[v * tensor->c + c] : CANARY;
        half[i] = dg_bf16_from_f32(host[i]);
    }
    const void *from = tensor->dtype == DG_BF16 ? (const void *)half : (const void *)host;
    DG_CHECK_OK(scope->ops->upload(scope->backend, tensor->data, from, bytes));
    free(host);
    free(half);
}

float *test_tensor_get(test_scope *scope, const dg_tensor *tensor)
{
    const int64_t rows = tensor->n * dg_tensor_voxels(tensor), count = rows * tensor->pitch;
    const bool is_half = tensor->dtype == DG_BF16;
    void *host = get_memory(count, dg_dtype_size(tensor->dtype));
    float *dense = test_floats(rows * tensor->c);
    DG_CHECK_OK(scope->ops->sync(scope->backend));
    DG_CHECK_OK(
        scope->ops->download(scope->backend, host, tensor->data, count * (int64_t)dg_dtype_size(tensor->dtype)));
    for (int64_t i = 0; i < count; i++) {
        int64_t v = i / tensor->pitch, c = i % tensor->pitch;
        float value = is_half ? dg_bf16_to_f32(((dg_bf16 *)host)[i]) : ((float *)host)[i];
        if (c < tensor->c)
            dense[v * tensor->c + c] = value;
        else
            DG_CHECK(value == CANARY);
    }
    free(host);
    return dense;
}

float *test_buffer(test_scope *scope, const float *values, int64_t count)
{
    float *buffer = lend(scope, count * (int64_t)sizeof *buffer);
    if (values != NULL)
        DG_CHECK_OK(scope->ops->upload(scope->backend, buffer, values, count * (int64_t)sizeof *buffer));
    return buffer;
}

float *test_buffer_get(test_scope *scope, const float *buffer, int64_t count)
{
    float *host = test_floats(count);
    DG_CHECK_OK(scope->ops->sync(scope->backend));
    DG_CHECK_OK(scope->ops->download(scope->backend, host, buffer, count * (int64_t)sizeof *host));
    return host;
}

/* SplitMix64 (Steele, Lea & Flood 2014). */
static uint64_t next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

float *test_random(uint64_t seed, int64_t count, double scale, double shift)
{
    float *values = test_floats(count);
    uint64_t state = seed * 0x2545f4914f6cdd1du + 1;
    for (int64_t i = 0; i < count; i++) {
        double sum = -6; /* of 12 uniform numbers: variance 1 */
        for (int k = 0; k < 12; k++) sum += (double)(next(&state) >> 11) * 0x1p-53;
        values[i] = dg_bf16_to_f32(dg_bf16_from_f32((float)(sum * scale + shift)));
    }
    return values;
}

float *test_floats(int64_t count) { return get_memory(count, sizeof(float)); }
