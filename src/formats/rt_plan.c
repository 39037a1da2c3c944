/* rt_plan.c - room for the beams of a plan, whoever reads it: see dg_dicom.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_dicom.h"

#include "dg_mem.h"

#include <math.h>

enum { TRACKS = 7 };

int64_t dg_dicom_beam_values(int64_t control_points, int64_t leaf_pairs)
{
    return control_points * (TRACKS + 2 * leaf_pairs) + (leaf_pairs > 0 ? leaf_pairs + 1 : 0);
}

dg_status dg_dicom_beam_make(dg_dicom_beam *beam, int64_t control_points, int64_t leaf_pairs)
{
    const int64_t values = dg_dicom_beam_values(control_points, leaf_pairs);
    double **const track[TRACKS] = {&beam->gantry_deg, &beam->weight, &beam->dose_rate, &beam->jaw_x1,
                                    &beam->jaw_x2,     &beam->jaw_y1, &beam->jaw_y2};
    DG_TRY(DG_NEW(&beam->block, values, "beam"));
    for (int64_t i = 0; i < values; i++) beam->block[i] = NAN;
    for (int k = 0; k < TRACKS; k++) *track[k] = beam->block + k * control_points;
    double *leaves = beam->block + TRACKS * control_points;
    beam->control_points = control_points;
    beam->leaf_pairs = leaf_pairs;
    beam->mlc_a = leaf_pairs > 0 ? leaves : NULL;
    beam->mlc_b = leaf_pairs > 0 ? leaves + control_points * leaf_pairs : NULL;
    beam->leaf_boundaries = leaf_pairs > 0 ? leaves + 2 * control_points * leaf_pairs : NULL;
    return DG_OK;
}

double dg_dicom_plan_total_mu(const dg_dicom_plan *plan)
{
    double total = NAN;
    for (int64_t b = 0; b < plan->beam_count; b++)
        if (!isnan(plan->beams[b].meterset_mu)) total = (isnan(total) ? 0 : total) + plan->beams[b].meterset_mu;
    return total;
}
