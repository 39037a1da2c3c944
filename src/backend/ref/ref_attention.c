/* ref_attention.c - multi-head self-attention over the voxels of a sample. SPDX-License-Identifier: Apache-2.0 */
#include "ref.h"

#include <math.h>

/* One head of one sample: rows of q, k, v (and of their gradients) start `step` elements apart. */
typedef struct head_view {
    const double *q, *k, *v;
    int64_t step, tokens, width;
    double scale;
} head_view;

static head_view head_of(const double *qkv, const dg_tensor *y, int heads, int64_t n, int64_t head)
{
    const int64_t tokens = dg_tensor_voxels(y), width = y->c / heads;
    const double *q = qkv + n * tokens * 3 * y->c + head * width;
    return (head_view){.q = q,
                       .k = q + y->c,
                       .v = q + 2 * y->c,
                       .step = 3 * y->c,
                       .tokens = tokens,
                       .width = width,
                       .scale = 1.0 / sqrt((double)width)};
}

static double dot(const double *a, const double *b, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += a[i] * b[i];
    return sum;
}

/* p[j] = softmax over j of scale * q_i . k_j. */
static void probabilities(const head_view *h, int64_t i, double *p)
{
    double top = -INFINITY, sum = 0;
    for (int64_t j = 0; j < h->tokens; j++) {
        p[j] = h->scale * dot(h->q + i * h->step, h->k + j * h->step, h->width);
        if (p[j] > top) top = p[j];
    }
    for (int64_t j = 0; j < h->tokens; j++) sum += p[j] = exp(p[j] - top);
    for (int64_t j = 0; j < h->tokens; j++) p[j] /= sum;
}

dg_status ref_attention_forward(dg_backend *backend, int heads, const dg_tensor *qkv, dg_tensor *y)
{
    dg_status status;
    double *in = NULL, *out = NULL, *p = NULL;
    DG_TRY(dg_arguments_attention(heads, qkv, y));
    const int64_t tokens = dg_tensor_voxels(y);
    DG_TRY_GOTO(status, ref_load(qkv, &in), done);
    DG_TRY_GOTO(status, ref_zeros(y, &out), done);
    DG_TRY_GOTO(status, DG_NEW(&p, tokens, "attention row"), done);
    for (int64_t task = 0; task < y->n * heads; task++) {
        const head_view h = head_of(in, y, heads, task / heads, task % heads);
        for (int64_t i = 0; i < tokens; i++) {
            double *row = out + (task / heads * tokens + i) * y->c + task % heads * h.width;
            probabilities(&h, i, p);
            for (int64_t j = 0; j < tokens; j++)
                for (int64_t c = 0; c < h.width; c++) row[c] += p[j] * h.v[j * h.step + c];
        }
    }
    ref_store(out, y, false);
done:
    dg_free(&in);
    dg_free(&out);
    dg_free(&p);
    return status;
}

dg_status ref_attention_backward(dg_backend *backend, int heads, const dg_tensor *qkv, const dg_tensor *dy,
                                 dg_tensor *dqkv)
{
    dg_status status;
    double *in = NULL, *d = NULL, *out = NULL, *p = NULL;
    DG_TRY(dg_arguments_attention(heads, qkv, dy));
    DG_TRY(dg_arguments_same("attention backward", qkv, dqkv, NULL));
    const int64_t tokens = dg_tensor_voxels(dy);
    DG_TRY_GOTO(status, ref_load(qkv, &in), done);
    DG_TRY_GOTO(status, ref_load(dy, &d), done);
    DG_TRY_GOTO(status, ref_zeros(dqkv, &out), done);
    DG_TRY_GOTO(status, DG_NEW(&p, tokens, "attention row"), done);
    for (int64_t task = 0; task < dy->n * heads; task++) {
        const head_view h = head_of(in, dy, heads, task / heads, task % heads);
        double *dq = out + (h.q - in), *dk = out + (h.k - in), *dv = out + (h.v - in);
        for (int64_t i = 0; i < tokens; i++) {
            const double *row = d + (task / heads * tokens + i) * dy->c + task % heads * h.width;
            double mean = 0;
            probabilities(&h, i, p);
            for (int64_t j = 0; j < tokens; j++) mean += p[j] * dot(row, h.v + j * h.step, h.width);
            for (int64_t j = 0; j < tokens; j++) {
                const double score = h.scale * p[j] * (dot(row, h.v + j * h.step, h.width) - mean);
                for (int64_t c = 0; c < h.width; c++) {
                    dv[j * h.step + c] += p[j] * row[c];
                    dq[i * h.step + c] += score * h.k[j * h.step + c];
                    dk[j * h.step + c] += score * h.q[i * h.step + c];
                }
            }
        }
    }
    ref_store(out, dqkv, false);
done:
    dg_free(&in);
    dg_free(&d);
    dg_free(&out);
    dg_free(&p);
    return status;
}
