/* ref_linear.c - a linear layer on vectors. SPDX-License-Identifier: Apache-2.0 */
#include "ref.h"

dg_status ref_linear_forward(dg_backend *backend, const dg_tensor *x, const float *w, const float *b, dg_tensor *y)
{
    dg_status status;
    double *in = NULL, *out = NULL;
    DG_TRY(dg_arguments_linear(x, w, y));
    DG_TRY_GOTO(status, ref_load(x, &in), done);
    DG_TRY_GOTO(status, ref_zeros(y, &out), done);
    for (int64_t n = 0; n < x->n; n++) {
        for (int64_t o = 0; o < y->c; o++) {
            double sum = b != NULL ? b[o] : 0.0;
            for (int64_t i = 0; i < x->c; i++) sum += in[n * x->c + i] * w[o * x->c + i];
            out[n * y->c + o] = sum;
        }
    }
    ref_store(out, y, false);
done:
    dg_free(&in);
    dg_free(&out);
    return status;
}

dg_status ref_linear_backward(dg_backend *backend, const dg_tensor *x, const float *w, const dg_tensor *dy,
                              dg_tensor *dx, bool accumulate, float *dw, float *db)
{
    dg_status status;
    double *in = NULL, *d = NULL, *out = NULL;
    DG_TRY(dg_arguments_linear(x, w, dy));
    if (dx != NULL) DG_TRY(dg_arguments_linear(dx, w, dy));
    if (dx != NULL) DG_TRY(dg_arguments_same("linear backward", x, dx, NULL));
    DG_TRY_GOTO(status, ref_load(x, &in), done);
    DG_TRY_GOTO(status, ref_load(dy, &d), done);
    DG_TRY_GOTO(status, ref_zeros(x, &out), done);
    for (int64_t o = 0; o < dy->c; o++) {
        double bias = 0;
        for (int64_t n = 0; n < x->n; n++) bias += d[n * dy->c + o];
        if (db != NULL) db[o] = (float)(db[o] + bias);
        for (int64_t i = 0; i < x->c; i++) {
            double sum = 0;
            for (int64_t n = 0; n < x->n; n++) {
                sum += d[n * dy->c + o] * in[n * x->c + i];
                out[n * x->c + i] += d[n * dy->c + o] * w[o * x->c + i];
            }
            dw[o * x->c + i] = (float)(dw[o * x->c + i] + sum);
        }
    }
    if (dx != NULL) ref_store(out, dx, accumulate);
done:
    dg_free(&in);
    dg_free(&d);
    dg_free(&out);
    return status;
}
