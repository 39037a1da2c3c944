/* ref.c - the reference backend's table, its memory, and the conversion of tensors. SPDX-License-Identifier: Apache-2.0 */
#include "ref.h"

#include <stdio.h>
#include <string.h>

int64_t ref_count(const dg_tensor *t) { return t->n * dg_tensor_voxels(t) * t->c; }

static float from_bf16(uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint16_t to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (value != value) return (uint16_t)(bits >> 16 | 0x40);
    uint32_t rest = bits & 0xffff, half = bits >> 16;
    if (rest > 0x8000 || (rest == 0x8000 && (half & 1))) half++;
    return (uint16_t)half;
}

float ref_round_bf16(float value) { return from_bf16(to_bf16(value)); }

dg_status ref_zeros(const dg_tensor *t, double **out) { return DG_NEW(out, ref_count(t), "reference tensor"); }

dg_status ref_load(const dg_tensor *t, double **out)
{
    DG_TRY(ref_zeros(t, out));
    const int64_t rows = t->n * dg_tensor_voxels(t);
    for (int64_t v = 0; v < rows; v++) {
        for (int64_t c = 0; c < t->c; c++) {
            int64_t at = v * t->pitch + c;
            (*out)[v * t->c + c] =
                t->dtype == DG_BF16 ? from_bf16(((const uint16_t *)t->data)[at]) : ((const float *)t->data)[at];
        }
    }
    return DG_OK;
}

void ref_store(const double *values, dg_tensor *t, bool accumulate)
{
    const int64_t rows = t->n * dg_tensor_voxels(t);
    for (int64_t v = 0; v < rows; v++) {
        for (int64_t c = 0; c < t->c; c++) {
            int64_t at = v * t->pitch + c;
            double value = values[v * t->c + c];
            if (t->dtype == DG_BF16) {
                uint16_t *p = (uint16_t *)t->data + at;
                *p = to_bf16((float)(accumulate ? from_bf16(*p) + value : value));
            } else {
                float *p = (float *)t->data + at;
                *p = (float)(accumulate ? *p + value : value);
            }
        }
    }
}

static const char *available(void) { return NULL; }

static dg_status create(const dg_backend_options *options, dg_backend **out)
{
    DG_TRY(DG_NEW(out, 1, "reference backend"));
    (*out)->ops = &dg_backend_ref;
    (*out)->options = *options;
    snprintf((*out)->description, sizeof(*out)->description, "reference loops in double, %d thread%s", options->threads,
             options->threads == 1 ? "" : "s");
    return DG_OK;
}

static void destroy(dg_backend *backend) { dg_free(&backend); }

/* A block starts with its size, so that free can keep the books. */
enum { BLOCK_HEAD = DG_MEM_ALIGNMENT };

static dg_status alloc(dg_backend *backend, int64_t bytes, const char *what, void **out)
{
    *out = NULL;
    if (bytes < 0 || bytes > INT64_MAX - BLOCK_HEAD)
        return DG_FAIL(DG_ERR_MEMORY, "%s: %lld bytes cannot be allocated", what, (long long)bytes);
    char *block;
    DG_TRY(dg_alloc(&block, (size_t)bytes + BLOCK_HEAD, 1, what));
    memcpy(block, &bytes, sizeof bytes);
    backend->bytes_allocated += bytes;
    *out = block + BLOCK_HEAD;
    return DG_OK;
}

static void release(dg_backend *backend, void *data)
{
    if (data == NULL) return;
    char *block = (char *)data - BLOCK_HEAD;
    int64_t bytes;
    memcpy(&bytes, block, sizeof bytes);
    backend->bytes_allocated -= bytes;
    dg_free(&block);
}

static dg_status transfer(dg_backend *backend, void *to, const void *from, int64_t bytes)
{
    if (bytes > 0) memcpy(to, from, (size_t)bytes);
    return DG_OK;
}

static dg_status sync(dg_backend *backend) { return DG_OK; }

const dg_backend_ops dg_backend_ref = {
    .name = "ref",
    .unavailable = available,
    .create = create,
    .destroy = destroy,
    .alloc = alloc,
    .free = release,
    .upload = transfer,
    .download = transfer,
    .sync = sync,
    .upload_ahead = transfer,
    .conv_create = ref_conv_create,
    .conv_destroy = ref_conv_destroy,
    .conv_pack = ref_conv_pack,
    .conv_forward = ref_conv_forward,
    .conv_backward_data = ref_conv_backward_data,
    .conv_backward_weights = ref_conv_backward_weights,
    .norm_forward = ref_norm_forward,
    .norm_backward = ref_norm_backward,
    .layer_norm_forward = ref_layer_norm_forward,
    .layer_norm_backward = ref_layer_norm_backward,
    .act_forward = ref_act_forward,
    .act_backward = ref_act_backward,
    .copy = ref_copy,
    .gate_forward = ref_gate_forward,
    .gate_backward = ref_gate_backward,
    .pool_forward = ref_pool_forward,
    .pool_backward = ref_pool_backward,
    .resize_forward = ref_resize_forward,
    .resize_backward = ref_resize_backward,
    .linear_forward = ref_linear_forward,
    .linear_backward = ref_linear_backward,
    .attention_forward = ref_attention_forward,
    .attention_backward = ref_attention_backward,
    .loss_workspace = ref_loss_workspace,
    .loss = ref_loss,
    .window_gather = ref_window_gather,
    .window_blend = ref_window_blend,
    .window_finish = ref_window_finish,
    .find_nonfinite = ref_find_nonfinite,
    .diffuse = ref_diffuse,
    .denoise = ref_denoise,
    .fill = ref_fill,
    .axpy = ref_axpy,
    .sum_squares = ref_sum_squares,
    .adamw = ref_adamw,
    .sgd = ref_sgd,
    .ema = ref_ema,
};
