/* ref_conv.c - convolution 1x1x1 and 3x3x3 with zero padding, the transposed 2x2x2 of stride 2 and 4x4x4 of stride 2, by the
 * definition. All kinds are one loop over (voxel, tap) pairs; they differ in which input voxel a pair reads.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ref.h"

#include <omp.h>
#include <string.h>

struct dg_conv {
    dg_conv_desc desc;
    double *w;          /* [tap][cin][cout], rounded to desc.dtype */
    double *transposed; /* [tap][cout][cin] */
    double *bias;       /* [cout] */
    int64_t bytes;
};

static int64_t tap_count(const dg_conv_desc *d) { return (int64_t)d->kernel * d->kernel * d->kernel; }

/* Along one axis: the output index that input index i reaches through tap t, or -1 outside [0, size). */
static int64_t output_of(const dg_conv_desc *d, int64_t i, int64_t t, int64_t size)
{
    int64_t o = d->kind == DG_CONV_TRANSPOSE2 ? 2 * i + t : i - t + d->kernel / 2;
    if (d->kind == DG_CONV_STRIDE2) o = (i + 1 - t) % 2 == 0 ? (i + 1 - t) / 2 : -1;
    return o >= 0 && o < size ? o : -1;
}

/* Along one axis: the input index that output index o reads through tap t, or -1 when there is none. */
static int64_t input_of(const dg_conv_desc *d, int64_t o, int64_t t, int64_t size)
{
    if (d->kind == DG_CONV_TRANSPOSE2) return o % 2 == t ? o / 2 : -1;
    int64_t i = d->kind == DG_CONV_STRIDE2 ? 2 * o - 1 + t : o + t - d->kernel / 2;
    return i >= 0 && i < size ? i : -1;
}

typedef int64_t axis_map(const dg_conv_desc *d, int64_t index, int64_t tap, int64_t size);

/* to[v] += from[map(v, tap)] w[tap] over all voxels v of `to` and all taps; w is [tap][from channels][to channels]. */
static void gather(const dg_conv_desc *d, axis_map *map, const double *w, const double *from_data,
                   const dg_tensor *from, double *to_data, const dg_tensor *to, int threads)
{
#pragma omp parallel for collapse(2) num_threads(threads) schedule(static)
    for (int64_t row = 0; row < to->n * to->z; row++) {
        for (int64_t y = 0; y < to->y; y++) {
            const int64_t n = row / to->z, z = row % to->z;
            for (int64_t x = 0; x < to->x; x++) {
                double *sum = to_data + ((row * to->y + y) * to->x + x) * to->c;
                for (int64_t tap = 0; tap < tap_count(d); tap++) {
                    const int64_t k = d->kernel;
                    const int64_t fz = map(d, z, tap / (k * k), from->z);
                    const int64_t fy = map(d, y, tap / k % k, from->y);
                    const int64_t fx = map(d, x, tap % k, from->x);
                    if (fz < 0 || fy < 0 || fx < 0) continue;
                    const double *in = from_data + (((n * from->z + fz) * from->y + fy) * from->x + fx) * from->c;
                    const double *weight = w + tap * from->c * to->c;
                    for (int64_t i = 0; i < from->c; i++)
                        for (int64_t o = 0; o < to->c; o++) sum[o] += in[i] * weight[i * to->c + o];
                }
            }
        }
    }
}

dg_status ref_conv_create(dg_backend *backend, const dg_conv_desc *desc, dg_conv **out)
{
    dg_status status;
    dg_conv *conv = NULL;
    *out = NULL;
    DG_TRY(dg_arguments_conv_desc(desc));
    const int64_t weights = tap_count(desc) * desc->cin * desc->cout;
    DG_TRY_GOTO(status, DG_NEW(&conv, 1, "reference convolution"), done);
    conv->desc = *desc;
    DG_TRY_GOTO(status, DG_NEW(&conv->w, weights, "reference weights"), done);
    DG_TRY_GOTO(status, DG_NEW(&conv->transposed, weights, "reference weights"), done);
    DG_TRY_GOTO(status, DG_NEW(&conv->bias, desc->cout, "reference bias"), done);
    conv->bytes = (2 * weights + desc->cout) * (int64_t)sizeof(double);
    backend->bytes_allocated += conv->bytes;
    *out = conv;
    conv = NULL;
done:
    if (conv != NULL) ref_conv_destroy(backend, conv);
    return status;
}

void ref_conv_destroy(dg_backend *backend, dg_conv *conv)
{
    if (conv == NULL) return;
    backend->bytes_allocated -= conv->bytes;
    dg_free(&conv->w);
    dg_free(&conv->transposed);
    dg_free(&conv->bias);
    dg_free(&conv);
}

dg_status ref_conv_pack(dg_backend *backend, dg_conv *conv, const float *w, const float *bias)
{
    const dg_conv_desc *d = &conv->desc;
    for (int64_t tap = 0; tap < tap_count(d); tap++) {
        for (int64_t i = 0; i < d->cin; i++) {
            for (int64_t o = 0; o < d->cout; o++) {
                int64_t at = (tap * d->cin + i) * d->cout + o;
                float value = d->dtype == DG_BF16 ? ref_round_bf16(w[at]) : w[at];
                conv->w[at] = value;
                conv->transposed[(tap * d->cout + o) * d->cin + i] = value;
            }
        }
    }
    for (int64_t o = 0; o < d->cout; o++) conv->bias[o] = bias != NULL ? bias[o] : 0.0;
    return DG_OK;
}

dg_status ref_conv_forward(dg_backend *backend, dg_conv *conv, const dg_tensor *x, dg_tensor *y)
{
    dg_status status;
    double *from = NULL, *to = NULL, start = omp_get_wtime();
    DG_TRY(dg_arguments_conv(&conv->desc, x, y));
    DG_TRY_GOTO(status, ref_load(x, &from), done);
    DG_TRY_GOTO(status, ref_zeros(y, &to), done);
    for (int64_t i = 0; i < ref_count(y); i++) to[i] = conv->bias[i % y->c];
    gather(&conv->desc, input_of, conv->w, from, x, to, y, backend->options.threads);
    ref_store(to, y, false);
    backend->conv_seconds += omp_get_wtime() - start;
done:
    dg_free(&from);
    dg_free(&to);
    return status;
}

dg_status ref_conv_backward_data(dg_backend *backend, dg_conv *conv, const dg_tensor *dy, dg_tensor *dx)
{
    dg_status status;
    double *from = NULL, *to = NULL, start = omp_get_wtime();
    DG_TRY(dg_arguments_conv_backward(&conv->desc, dx, dy));
    DG_TRY_GOTO(status, ref_load(dy, &from), done);
    DG_TRY_GOTO(status, ref_zeros(dx, &to), done);
    gather(&conv->desc, output_of, conv->transposed, from, dy, to, dx, backend->options.threads);
    ref_store(to, dx, conv->desc.accumulate_dx);
    backend->conv_seconds += omp_get_wtime() - start;
done:
    dg_free(&from);
    dg_free(&to);
    return status;
}

/* sum[o] = sum over voxels of x[v][channel] * dy[output_of(v, tap)][o]. */
static void weight_row(const dg_conv_desc *d, int64_t tap, int64_t channel, const double *x, const dg_tensor *tx,
                       const double *dy, const dg_tensor *ty, double *sum)
{
    const int64_t k = d->kernel;
    for (int64_t row = 0; row < tx->n * tx->z; row++) {
        const int64_t n = row / tx->z;
        const int64_t oz = output_of(d, row % tx->z, tap / (k * k), ty->z);
        if (oz < 0) continue;
        for (int64_t iy = 0; iy < tx->y; iy++) {
            const int64_t oy = output_of(d, iy, tap / k % k, ty->y);
            if (oy < 0) continue;
            for (int64_t ix = 0; ix < tx->x; ix++) {
                const int64_t ox = output_of(d, ix, tap % k, ty->x);
                if (ox < 0) continue;
                const double in = x[((row * tx->y + iy) * tx->x + ix) * tx->c + channel];
                const double *out = dy + (((n * ty->z + oz) * ty->y + oy) * ty->x + ox) * ty->c;
                for (int64_t o = 0; o < ty->c; o++) sum[o] += in * out[o];
            }
        }
    }
}

dg_status ref_conv_backward_weights(dg_backend *backend, dg_conv *conv, const dg_tensor *x, const dg_tensor *dy,
                                    float *dw, float *db)
{
    const dg_conv_desc *d = &conv->desc;
    const int64_t rows = tap_count(d) * d->cin;
    dg_status status;
    double *from = NULL, *to = NULL, *sum = NULL, start = omp_get_wtime();
    DG_TRY(dg_arguments_conv_backward(d, x, dy));
    DG_TRY_GOTO(status, ref_load(x, &from), done);
    DG_TRY_GOTO(status, ref_load(dy, &to), done);
    DG_TRY_GOTO(status, DG_NEW(&sum, (rows + 1) * d->cout, "reference weight gradient"), done);
#pragma omp parallel for num_threads(backend->options.threads) schedule(static)
    for (int64_t row = 0; row < rows; row++)
        weight_row(d, row / d->cin, row % d->cin, from, x, to, dy, sum + row * d->cout);
    for (int64_t i = 0; i < rows * d->cout; i++) dw[i] = (float)(dw[i] + sum[i]);
    double *bias = sum + rows * d->cout;
    for (int64_t i = 0; i < ref_count(dy); i++) bias[i % d->cout] += to[i];
    for (int64_t o = 0; db != NULL && o < d->cout; o++) db[o] = (float)(db[o] + bias[o]);
    backend->conv_seconds += omp_get_wtime() - start;
done:
    dg_free(&from);
    dg_free(&to);
    dg_free(&sum);
    return status;
}
