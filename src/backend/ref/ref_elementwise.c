/* ref_elementwise.c - activations, copies and gates. SPDX-License-Identifier: Apache-2.0 */
#include "ref.h"

#include <math.h>

double ref_act(dg_activation act, double slope, double x)
{
    switch (act) {
    case DG_ACT_NONE: return x;
    case DG_ACT_SILU: return x / (1.0 + exp(-x));
    case DG_ACT_RELU: return x <= 0 ? 0 : x; /* NaN stays NaN */
    case DG_ACT_LEAKY_RELU: return x > 0 ? x : slope * x;
    case DG_ACT_SIGMOID: return 1.0 / (1.0 + exp(-x));
    }
    return NAN;
}

double ref_act_derivative(dg_activation act, double slope, double x)
{
    const double s = 1.0 / (1.0 + exp(-x));
    switch (act) {
    case DG_ACT_NONE: return 1;
    case DG_ACT_SILU: return s * (1.0 + x * (1.0 - s));
    case DG_ACT_RELU: return x > 0 ? 1 : 0;
    case DG_ACT_LEAKY_RELU: return x > 0 ? 1 : slope;
    case DG_ACT_SIGMOID:
        return (double)((float)s * (1.0f - (float)s)); /* of the f32 that forward gave: 0 where it is 1 */
    }
    return NAN;
}

dg_status ref_act_forward(dg_backend *backend, dg_activation act, double slope, const dg_tensor *x, dg_tensor *y)
{
    double *values;
    DG_TRY(dg_arguments_same("activation", x, y, NULL));
    DG_TRY(ref_load(x, &values));
    for (int64_t i = 0; i < ref_count(x); i++) values[i] = ref_act(act, slope, values[i]);
    ref_store(values, y, false);
    dg_free(&values);
    return DG_OK;
}

dg_status ref_act_backward(dg_backend *backend, dg_activation act, double slope, const dg_tensor *x,
                           const dg_tensor *dy, dg_tensor *dx, bool accumulate)
{
    dg_status status;
    double *in = NULL, *d = NULL;
    DG_TRY(dg_arguments_same("activation backward", x, dy, dx));
    DG_TRY_GOTO(status, ref_load(x, &in), done);
    DG_TRY_GOTO(status, ref_load(dy, &d), done);
    for (int64_t i = 0; i < ref_count(x); i++) d[i] *= ref_act_derivative(act, slope, in[i]);
    ref_store(d, dx, accumulate);
done:
    dg_free(&in);
    dg_free(&d);
    return status;
}

dg_status ref_copy(dg_backend *backend, const dg_tensor *x, dg_tensor *y, bool accumulate)
{
    double *values;
    DG_TRY(dg_arguments_same("copy", x, y, NULL));
    DG_TRY(ref_load(x, &values));
    ref_store(values, y, accumulate);
    dg_free(&values);
    return DG_OK;
}

dg_status ref_gate_forward(dg_backend *backend, const dg_tensor *x, const dg_tensor *gate, dg_tensor *y)
{
    dg_status status;
    double *values = NULL, *g = NULL;
    DG_TRY(dg_arguments_gate(x, gate, y));
    DG_TRY_GOTO(status, ref_load(x, &values), done);
    DG_TRY_GOTO(status, ref_load(gate, &g), done);
    for (int64_t i = 0; i < ref_count(x); i++) values[i] *= g[i / x->c];
    ref_store(values, y, false);
done:
    dg_free(&values);
    dg_free(&g);
    return status;
}

dg_status ref_gate_backward(dg_backend *backend, const dg_tensor *x, const dg_tensor *gate, const dg_tensor *dy,
                            dg_tensor *dx, bool accumulate_dx, dg_tensor *dgate)
{
    dg_status status;
    double *in = NULL, *g = NULL, *d = NULL, *dg = NULL;
    DG_TRY(dg_arguments_gate(x, gate, dy));
    DG_TRY(dg_arguments_gate(dx, dgate, dy));
    DG_TRY_GOTO(status, ref_load(x, &in), done);
    DG_TRY_GOTO(status, ref_load(gate, &g), done);
    DG_TRY_GOTO(status, ref_load(dy, &d), done);
    DG_TRY_GOTO(status, ref_zeros(dgate, &dg), done);
    for (int64_t i = 0; i < ref_count(x); i++) {
        dg[i / x->c] += d[i] * in[i];
        d[i] *= g[i / x->c];
    }
    ref_store(d, dx, accumulate_dx);
    ref_store(dg, dgate, false);
done:
    dg_free(&in);
    dg_free(&g);
    dg_free(&d);
    dg_free(&dg);
    return status;
}
