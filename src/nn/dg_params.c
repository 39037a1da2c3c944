/* dg_params.c - the parameter table, and the way between the engine's and PyTorch's layout.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_params.h"

#include "dg_mem.h"
#include "dg_rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OFFSET_ALIGNMENT = 16 }; /* elements: 64 bytes of f32 */

static bool count_elements(int rank, const int64_t *shape, int64_t *count)
{
    *count = 1;
    for (int i = 0; i < rank; i++)
        if (shape[i] < 1 || !dg_mul_int64(*count, shape[i], count)) return false;
    return *count < INT64_MAX / 16;
}

dg_status dg_param_table_add(dg_param_table *table, const char *name, dg_param_kind kind, int rank,
                             const int64_t *torch_shape, int64_t fan_in, int *index)
{
    int64_t count = 0;
    if (rank < 1 || rank > 5 || strlen(name) >= DG_PARAM_NAME || !count_elements(rank, torch_shape, &count))
        return DG_FAIL(DG_ERR_INTERNAL, "parameter '%s': bad name or shape", name);
    if (dg_param_find(table, name) >= 0) return DG_FAIL(DG_ERR_INTERNAL, "parameter '%s' exists already", name);
    if (table->count == table->capacity) {
        int wanted = table->capacity > 0 ? 2 * table->capacity : 64;
        DG_TRY(dg_grow(&table->item, (size_t)table->capacity, (size_t)wanted, sizeof *table->item, "parameter table"));
        table->capacity = wanted;
    }
    dg_param *param = &table->item[table->count];
    *param =
        (dg_param){.kind = kind, .rank = rank, .offset = table->total, .count = count, .fan_in = fan_in, .decay = true};
    (void)snprintf(param->name, sizeof param->name, "%s", name);
    memcpy(param->torch_shape, torch_shape, (size_t)rank * sizeof *torch_shape);
    table->total += (count + OFFSET_ALIGNMENT - 1) / OFFSET_ALIGNMENT * OFFSET_ALIGNMENT;
    *index = table->count++;
    return DG_OK;
}

void dg_param_table_release(dg_param_table *table)
{
    dg_free(&table->item);
    memset(table, 0, sizeof *table);
}

int dg_param_find(const dg_param_table *table, const char *name)
{
    for (int i = 0; i < table->count; i++)
        if (strcmp(table->item[i].name, name) == 0) return i;
    return -1;
}

/* Strides of the PyTorch weight for (tap, cin, cout), and the extents. */
typedef struct layout {
    int64_t taps, cin, cout, stride_cin, stride_cout;
} layout;

static layout conv_layout(const dg_param *param)
{
    int64_t taps = 1;
    for (int i = 2; i < param->rank; i++) taps *= param->torch_shape[i];
    bool transposed = param->kind == DG_PARAM_CONV_TRANSPOSE;
    int64_t cin = param->torch_shape[transposed ? 0 : 1], cout = param->torch_shape[transposed ? 1 : 0];
    return (layout){taps, cin, cout, transposed ? cout * taps : taps, transposed ? taps : cin * taps};
}

static bool is_conv(const dg_param *param)
{
    return param->kind == DG_PARAM_CONV || param->kind == DG_PARAM_CONV_TRANSPOSE;
}

void dg_param_to_torch(const dg_param *param, const float *flat, float *torch)
{
    const float *engine = flat + param->offset;
    if (!is_conv(param)) {
        memcpy(torch, engine, (size_t)param->count * sizeof *torch);
        return;
    }
    layout l = conv_layout(param);
    for (int64_t t = 0; t < l.taps; t++)
        for (int64_t i = 0; i < l.cin; i++)
            for (int64_t o = 0; o < l.cout; o++) torch[o * l.stride_cout + i * l.stride_cin + t] = *engine++;
}

void dg_param_from_torch(const dg_param *param, const float *torch, float *flat)
{
    float *engine = flat + param->offset;
    if (!is_conv(param)) {
        memcpy(engine, torch, (size_t)param->count * sizeof *torch);
        return;
    }
    layout l = conv_layout(param);
    for (int64_t t = 0; t < l.taps; t++)
        for (int64_t i = 0; i < l.cin; i++)
            for (int64_t o = 0; o < l.cout; o++) *engine++ = torch[o * l.stride_cout + i * l.stride_cin + t];
}

static bool ends_with(const char *text, const char *end)
{
    size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

void dg_params_init(const dg_param_table *table, uint64_t seed, float *flat)
{
    memset(flat, 0, (size_t)table->total * sizeof *flat);
    for (int i = 0; i < table->count; i++) {
        const dg_param *param = &table->item[i];
        float *value = flat + param->offset;
        if (param->fan_in == 0) {
            for (int64_t k = 0; k < param->count; k++) value[k] = ends_with(param->name, ".weight") ? 1.0f : 0.0f;
            continue;
        }
        double bound = 1.0 / sqrt((double)param->fan_in);
        dg_rng rng = dg_rng_stream(seed, DG_RNG_INIT, (uint64_t)i, 0);
        for (int64_t k = 0; k < param->count; k++) value[k] = (float)((2.0 * dg_rng_uniform(&rng) - 1.0) * bound);
    }
}

static int by_name(const void *a, const void *b)
{
    const dg_param *const *left = a, *const *right = b;
    return strcmp((*left)->name, (*right)->name);
}

static int64_t largest_count(const dg_param_table *table)
{
    int64_t largest = 1;
    for (int i = 0; i < table->count; i++)
        if (table->item[i].count > largest) largest = table->item[i].count;
    return largest;
}

static dg_status hash_sorted(const dg_param_table *table, const dg_param *const *sorted, const float *flat,
                             float *torch, dg_hash *hash)
{
    for (int i = 0; i < table->count; i++) {
        dg_param_to_torch(sorted[i], flat, torch);
        DG_TRY(dg_hash_add_item(hash, sorted[i]->name, DG_F32, sorted[i]->rank, sorted[i]->torch_shape, torch));
    }
    return DG_OK;
}

dg_status dg_params_sha256(const dg_param_table *table, const float *flat, char hex[DG_HASH_HEX])
{
    const dg_param **sorted = NULL;
    float *torch = NULL;
    dg_hash *hash = NULL;
    dg_status status = DG_OK;
    DG_TRY_GOTO(status, dg_alloc(&sorted, (size_t)table->count + 1, sizeof *sorted, "sorted parameters"), done);
    DG_TRY_GOTO(status, DG_NEW(&torch, largest_count(table), "one parameter"), done);
    DG_TRY_GOTO(status, dg_hash_create(&hash), done);
    for (int i = 0; i < table->count; i++) sorted[i] = &table->item[i];
    qsort(sorted, (size_t)table->count, sizeof *sorted, by_name);
    DG_TRY_GOTO(status, hash_sorted(table, sorted, flat, torch, hash), done);
    DG_TRY_GOTO(status, dg_hash_finish(hash, hex), done);
done:
    dg_hash_destroy(&hash);
    dg_free(&torch);
    dg_free(&sorted);
    return status;
}

dg_status dg_params_save(const dg_param_table *table, const float *flat, const dg_state_sink *sink)
{
    float *torch = NULL;
    dg_status status = DG_OK;
    DG_TRY(DG_NEW(&torch, largest_count(table), "one parameter"));
    for (int i = 0; i < table->count; i++) {
        const dg_param *param = &table->item[i];
        dg_param_to_torch(param, flat, torch);
        DG_TRY_GOTO(status, sink->put(sink->context, param->name, DG_F32, param->rank, param->torch_shape, torch),
                    done);
    }
done:
    dg_free(&torch);
    return status;
}

dg_status dg_params_load(const dg_param_table *table, float *flat, const dg_state_source *source)
{
    float *torch = NULL;
    dg_status status = DG_OK;
    DG_TRY(DG_NEW(&torch, largest_count(table), "one parameter"));
    for (int i = 0; i < table->count; i++) {
        const dg_param *param = &table->item[i];
        DG_TRY_GOTO(status, source->get(source->context, param->name, DG_F32, param->rank, param->torch_shape, torch),
                    done);
        dg_param_from_torch(param, torch, flat);
    }
done:
    dg_free(&torch);
    return status;
}
