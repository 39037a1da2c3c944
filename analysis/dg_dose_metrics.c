/* dg_dose_metrics.c - see dg_dose_metrics.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_dose_metrics.h"

#include <math.h>

static const double unit = 1048576; /* 2^20 parts of a Gy: 2^31 voxels of 10^4 Gy stay below 2^63 */
static const double limit_gy = 1e4;

const char *dg_dose_region_name(dg_dose_region region)
{
    static const char *const name[DG_DOSE_REGIONS] = {"mae_gy", "mae_body_gy", "mae_possible_gy", "mae_gt10_gy"};
    return region >= 0 && region < DG_DOSE_REGIONS ? name[region] : NULL;
}

static dg_status add_voxel(dg_dose_errors *errors, const dg_dose_pair *p, int64_t i)
{
    double reference = p->reference_gy[i], prediction = p->prediction_gy[i];
    if (!(fabs(reference) <= limit_gy) || !(fabs(prediction) <= limit_gy))
        return DG_FAIL(DG_ERR_NUMERIC,
                       "voxel %lld: reference %g Gy, prediction %g Gy; doses must be finite and below %g", (long long)i,
                       reference, prediction, limit_gy);
    int64_t parts = llround(fabs(prediction - reference) * unit);
    const bool in[DG_DOSE_REGIONS] = {true, (p->masks[i] & p->body_bits) != 0, (p->masks[i] & p->possible_bits) != 0,
                                      reference >= p->threshold_gy};
    for (int r = 0; r < DG_DOSE_REGIONS; r++) {
        errors->absolute[r] += in[r] ? parts : 0;
        errors->voxels[r] += in[r];
    }
    return DG_OK;
}

dg_status dg_dose_errors_add(dg_dose_errors *errors, const dg_dose_pair *p)
{
    int64_t low[3], high[3];
    for (int a = 0; a < 3; a++) {
        low[a] = p->known.start[a] < 0 ? 0 : p->known.start[a];
        high[a] = p->known.start[a] + p->known.shape[a];
        if (high[a] > p->shape[a]) high[a] = p->shape[a];
    }
    for (int64_t z = low[0]; z < high[0]; z++)
        for (int64_t y = low[1]; y < high[1]; y++)
            for (int64_t x = low[2]; x < high[2]; x++)
                DG_TRY(add_voxel(errors, p, (z * p->shape[1] + y) * p->shape[2] + x));
    return DG_OK;
}

void dg_dose_errors_merge(dg_dose_errors *into, const dg_dose_errors *from)
{
    for (int r = 0; r < DG_DOSE_REGIONS; r++) {
        into->absolute[r] += from->absolute[r];
        into->voxels[r] += from->voxels[r];
    }
}

double dg_dose_errors_mae_gy(const dg_dose_errors *errors, dg_dose_region region)
{
    if (errors->voxels[region] == 0) return NAN;
    return (double)errors->absolute[region] / unit / (double)errors->voxels[region];
}
