/* report_dvh.c - cumulative dose-volume histograms of a pictured case. SPDX-License-Identifier: Apache-2.0 */
#include "report_impl.h"

#include "dg_dvh.h"
#include "dg_mem.h"

#include <math.h>
#include <string.h>

enum { BINS_MAX = 321 };

static const char *const role_name[] = {"target", "oar", "body", "support", "possible_dose"};

/* The masks where every dose is known: statistics are of what can be compared. */
static dg_status known_masks(const dg_report_case *c, uint64_t **out, double *top)
{
    int64_t voxels = dg_grid_voxels(c->grid);
    *top = 0;
    DG_TRY(DG_NEW(out, voxels, "masks of the histograms"));
    memcpy(*out, c->masks, (size_t)voxels * sizeof **out);
    for (int d = 0; d < DG_REPORT_DOSES; d++) {
        if (c->dose_gy[d] == NULL) continue;
        for (int64_t i = 0; i < voxels; i++) {
            if (isnan(c->dose_gy[d][i]))
                (*out)[i] = 0;
            else if (c->dose_gy[d][i] > *top)
                *top = c->dose_gy[d][i];
        }
    }
    return DG_OK;
}

static double round_to(double value, double unit) { return round(value / unit) * unit; }

static dg_status add_structure(const dg_report_case *c, const uint64_t *masks, int k, double step, int bins,
                               json_t *structures)
{
    json_t *curves = json_array();
    double volume_cc = 0;
    dg_status status = DG_OK;
    for (int d = 0; d < DG_REPORT_DOSES && status == DG_OK; d++) {
        json_t *curve = json_null();
        if (c->dose_gy[d] != NULL) {
            const double *mm = c->grid->spacing_mm;
            dg_dvh dvh = {0};
            status = dg_dvh_create(c->dose_gy[d], masks, (uint64_t)1 << k, dg_grid_voxels(c->grid),
                                   mm[0] * mm[1] * mm[2], &dvh);
            if (status != DG_OK) break;
            volume_cc = dg_dvh_total_cc(&dvh);
            curve = json_array();
            for (int b = 0; dvh.count > 0 && b < bins; b++)
                json_array_append_new(curve, json_real(round_to(dg_dvh_volume_percent(&dvh, b * step), 0.01)));
            dg_dvh_release(&dvh);
        }
        json_array_append_new(curves, curve);
    }
    if (status == DG_OK && volume_cc > 0)
        json_array_append_new(structures, json_pack("{s:s, s:i, s:s, s:f, s:O}", "name", c->structure[k].name, "index",
                                                    k, "role", role_name[c->structure[k].role], "volume_cc",
                                                    round_to(volume_cc, 0.001), "curves", curves));
    json_decref(curves);
    return status;
}

dg_status report_dvh_json(const dg_report_case *c, json_t **out)
{
    uint64_t *masks = NULL;
    json_t *structures = json_array();
    double top = 0, step = 0.0625; /* its doubles are round numbers: 0.25, 0.5, 1 */
    dg_status status = DG_OK;
    *out = NULL;
    if (c->masks != NULL) DG_TRY_GOTO(status, known_masks(c, &masks, &top), cleanup);
    while (top * 1.02 / step > BINS_MAX - 2) step *= 2;
    int bins = (int)ceil(top * 1.02 / step) + 2;
    for (int k = 0; masks != NULL && k < c->structure_count; k++)
        DG_TRY_GOTO(status, add_structure(c, masks, k, step, bins, structures), cleanup);
    *out = json_pack("{s:f, s:i, s:O}", "step_gy", step, "bins", bins, "structures", structures);
    if (*out == NULL) status = DG_FAIL(DG_ERR_MEMORY, "no memory for the histograms of case %s", c->id);
cleanup:
    json_decref(structures);
    dg_free(&masks);
    return status;
}
