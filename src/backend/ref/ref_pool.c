/* ref_pool.c - max pooling 2x2x2. SPDX-License-Identifier: Apache-2.0 */
#include "ref.h"

#include <math.h>

/* Dense index in x of the winner of output voxel `at` (dense index in y): the first maximum in z,y,x order; a NaN wins,
 * so that it is not lost on the way to the loss. */
static int64_t winner(const double *in, const dg_tensor *x, const dg_tensor *y, int64_t at)
{
    const int64_t c = at % y->c, ox = at / y->c % y->x, oy = at / (y->c * y->x) % y->y;
    const int64_t oz = at / (y->c * y->x * y->y) % y->z, n = at / (y->c * dg_tensor_voxels(y));
    int64_t best = -1;
    for (int64_t tap = 0; tap < (x->z == 1 ? 4 : 8); tap++) {
        const int64_t z = 2 * oz + tap / 4, row = 2 * oy + tap / 2 % 2, column = 2 * ox + tap % 2;
        const int64_t i = (((n * x->z + z) * x->y + row) * x->x + column) * x->c + c;
        if (best < 0 || in[i] > in[best] || (isnan(in[i]) && !isnan(in[best]))) best = i;
    }
    return best;
}

dg_status ref_pool_forward(dg_backend *backend, const dg_tensor *x, dg_tensor *y)
{
    dg_status status;
    double *in = NULL, *out = NULL;
    DG_TRY(dg_arguments_pool(x, y));
    DG_TRY_GOTO(status, ref_load(x, &in), done);
    DG_TRY_GOTO(status, ref_zeros(y, &out), done);
    for (int64_t i = 0; i < ref_count(y); i++) out[i] = in[winner(in, x, y, i)];
    ref_store(out, y, false);
done:
    dg_free(&in);
    dg_free(&out);
    return status;
}

dg_status ref_pool_backward(dg_backend *backend, const dg_tensor *x, const dg_tensor *dy, dg_tensor *dx,
                            bool accumulate)
{
    dg_status status;
    double *in = NULL, *d = NULL, *out = NULL;
    DG_TRY(dg_arguments_pool(x, dy));
    DG_TRY(dg_arguments_same("pool backward", x, dx, NULL));
    DG_TRY_GOTO(status, ref_load(x, &in), done);
    DG_TRY_GOTO(status, ref_load(dy, &d), done);
    DG_TRY_GOTO(status, ref_zeros(dx, &out), done);
    for (int64_t i = 0; i < ref_count(dy); i++) out[winner(in, x, dy, i)] = d[i];
    ref_store(out, dx, accumulate);
done:
    dg_free(&in);
    dg_free(&d);
    dg_free(&out);
    return status;
}
