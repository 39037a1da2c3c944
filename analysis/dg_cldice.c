/* dg_cldice.c - see dg_cldice.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_cldice.h"

#include "dg_mem.h"

#include <math.h>

static dg_status count_inside(const uint8_t *mask, const uint8_t *other, const int64_t n[3], dg_skeleton_kind kind,
                              uint8_t *skeleton, int64_t *voxels, int64_t *inside)
{
    DG_TRY(dg_skeleton_make(mask, n, kind, skeleton));
    *voxels = *inside = 0;
    for (int64_t i = 0; i < n[0] * n[1] * n[2]; i++) {
        *voxels += skeleton[i];
        *inside += skeleton[i] != 0 && other[i] != 0;
    }
    return DG_OK;
}

dg_status dg_cldice_count(const uint8_t *predicted, const uint8_t *label, const int64_t n[3], dg_skeleton_kind kind,
                          dg_cldice *out)
{
    uint8_t *skeleton = NULL;
    dg_status status = DG_NEW(&skeleton, n[0] * n[1] * n[2], "skeleton of a mask");
    if (status == DG_OK)
        status = count_inside(predicted, label, n, kind, skeleton, &out->predicted, &out->predicted_inside);
    if (status == DG_OK)
        status = count_inside(label, predicted, n, kind, skeleton, &out->labelled, &out->labelled_inside);
    dg_free(&skeleton);
    return status;
}

static double share(int64_t part, int64_t whole) { return whole > 0 ? (double)part / (double)whole : NAN; }

double dg_cldice_precision(const dg_cldice *c) { return share(c->predicted_inside, c->predicted); }
double dg_cldice_sensitivity(const dg_cldice *c) { return share(c->labelled_inside, c->labelled); }

double dg_cldice_value(const dg_cldice *c)
{
    if (c->predicted == 0 && c->labelled == 0) return 1;
    if (c->predicted_inside == 0 || c->labelled_inside == 0) return 0;
    const double precision = dg_cldice_precision(c), sensitivity = dg_cldice_sensitivity(c);
    return 2 * precision * sensitivity / (precision + sensitivity);
}
