/* ref_loss.c - masked means of per-voxel losses. SPDX-License-Identifier: Apache-2.0 */
#include "ref.h"

#include <math.h>

static double sign(double x) { return x > 0 ? 1 : (x < 0 ? -1 : 0); }

dg_status ref_loss(dg_backend *backend, const dg_loss_desc *desc, const dg_tensor *y, const dg_tensor *target,
                   const uint8_t *mask, double grad_scale, dg_tensor *dy, double *terms)
{
    dg_status status;
    double *p = NULL, *t = NULL, *d = NULL;
    DG_TRY(dg_arguments_loss(y, target, dy, terms));
    const int64_t voxels = dg_tensor_voxels(y);
    DG_TRY_GOTO(status, ref_load(y, &p), done);
    DG_TRY_GOTO(status, ref_load(target, &t), done);
    DG_TRY_GOTO(status, ref_zeros(y, &d), done);
    for (int64_t n = 0; n < y->n; n++) {
        const int64_t first = n * voxels, end = first + voxels;
        double count = 0, squares = 0, absolute = 0, negative = 0;
        for (int64_t i = first; i < end; i++) {
            if (mask != NULL && mask[i] == 0) continue;
            count += 1;
            squares += (p[i] - t[i]) * (p[i] - t[i]);
            absolute += fabs(p[i] - t[i]);
            negative += fmax(0, -p[i]);
            d[i] = desc->mse * 2 * (p[i] - t[i]) + desc->mae * sign(p[i] - t[i]) - desc->negative * (p[i] < 0);
        }
        terms[n * DG_LOSS_TERMS] = count > 0 ? squares / count : 0;
        terms[n * DG_LOSS_TERMS + 1] = count > 0 ? absolute / count : 0;
        terms[n * DG_LOSS_TERMS + 2] = count > 0 ? negative / count : 0;
        for (int64_t i = first; i < end; i++) d[i] *= count > 0 ? grad_scale / count : 0;
    }
    if (dy != NULL) ref_store(d, dy, false);
done:
    dg_free(&p);
    dg_free(&t);
    dg_free(&d);
    return status;
}
