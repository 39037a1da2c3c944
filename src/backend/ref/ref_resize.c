/* ref_resize.c - trilinear resize, align_corners=false, and its transpose. SPDX-License-Identifier: Apache-2.0 */
#include "ref.h"

/* Along one axis: output index o is (1 - weight) * input[low] + weight * input[high]. */
typedef struct stencil {
    int64_t low, high;
    double weight;
} stencil;

static stencil stencil_of(int64_t o, int64_t in, int64_t out)
{
    double at = ((double)o + 0.5) * (double)in / (double)out - 0.5;
    if (at < 0) at = 0;
    stencil s = {.low = (int64_t)at};
    if (s.low > in - 1) s.low = in - 1;
    s.high = s.low < in - 1 ? s.low + 1 : s.low;
    s.weight = at - (double)s.low;
    return s;
}

/* Visits the 8 input voxels of every output voxel: forward adds input * weight to output, backward the reverse. */
static void visit(const dg_tensor *x, const dg_tensor *y, double *in, double *out, bool backward, int threads)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t n = 0; n < x->n; n++) {
        for (int64_t v = 0; v < dg_tensor_voxels(y); v++) {
            const stencil sz = stencil_of(v / (y->x * y->y), x->z, y->z);
            const stencil sy = stencil_of(v / y->x % y->y, x->y, y->y);
            const stencil sx = stencil_of(v % y->x, x->x, y->x);
            double *o = out + (n * dg_tensor_voxels(y) + v) * y->c;
            for (int corner = 0; corner < 8; corner++) {
                const int64_t iz = corner & 4 ? sz.high : sz.low, iy = corner & 2 ? sy.high : sy.low;
                const int64_t ix = corner & 1 ? sx.high : sx.low;
                const double w = (corner & 4 ? sz.weight : 1 - sz.weight) * (corner & 2 ? sy.weight : 1 - sy.weight) *
                                 (corner & 1 ? sx.weight : 1 - sx.weight);
                double *i = in + (((n * x->z + iz) * x->y + iy) * x->x + ix) * x->c;
                for (int64_t c = 0; c < x->c; c++) {
                    if (backward)
                        i[c] += w * o[c];
                    else
                        o[c] += w * i[c];
                }
            }
        }
    }
}

dg_status ref_resize_forward(dg_backend *backend, const dg_tensor *x, dg_tensor *y)
{
    dg_status status;
    double *in = NULL, *out = NULL;
    DG_TRY(dg_arguments_resize(x, y));
    DG_TRY_GOTO(status, ref_load(x, &in), done);
    DG_TRY_GOTO(status, ref_zeros(y, &out), done);
    visit(x, y, in, out, false, backend->options.threads);
    ref_store(out, y, false);
done:
    dg_free(&in);
    dg_free(&out);
    return status;
}

dg_status ref_resize_backward(dg_backend *backend, const dg_tensor *dy, dg_tensor *dx, bool accumulate)
{
    dg_status status;
    double *in = NULL, *out = NULL;
    DG_TRY(dg_arguments_resize(dx, dy));
    DG_TRY_GOTO(status, ref_zeros(dx, &in), done);
    DG_TRY_GOTO(status, ref_load(dy, &out), done);
    visit(dx, dy, in, out, true, backend->options.threads);
    ref_store(in, dx, accumulate);
done:
    dg_free(&in);
    dg_free(&out);
    return status;
}
