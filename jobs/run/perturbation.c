/* perturbation.c - see perturbation.h. SPDX-License-Identifier: Apache-2.0 */
#include "perturbation.h"

#include "dg_mem.h"
#include "dg_resample.h"
#include "dg_rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct kind_row {
    const char *name, *format; /* of the name with an amount */
    double low, high;          /* of the amount */
    bool above;                /* `low` itself is left out */
    const char *wanted;
} kinds[] = {{"hu", "hu=%+g", -1000, 1000, false, "-1000 to 1000 HU, but not 0"},
             {"noise", "noise=%g", 0, 1000, true, "above 0 to 1000 HU"},
             {"spacing", "spacing=%g", 1, 16, true, "above 1 to 16 times the voxel size"}};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

dg_status dg_perturbation_parse(const char *text, uint64_t seed, dg_perturbation *out)
{
    const char *equals = strchr(text, '=');
    const size_t length = equals == NULL ? strlen(text) : (size_t)(equals - text);
    int kind = 0;
    while (kind < KINDS && (strlen(kinds[kind].name) != length || strncmp(kinds[kind].name, text, length) != 0)) kind++;
    if (kind == KINDS || equals == NULL)
        return DG_FAIL(DG_ERR_USAGE, "--perturb %.80s: hu=HU, noise=HU or spacing=FACTOR is wanted, such as hu=+20",
                       text);
    char *end;
    const double amount = strtod(equals + 1, &end);
    const struct kind_row *row = &kinds[kind];
    const bool inside =
        isfinite(amount) && amount >= row->low && amount <= row->high && !(row->above && amount == row->low);
    if (end == equals + 1 || *end != '\0' || !inside || amount == 0)
        return DG_FAIL(DG_ERR_USAGE, "--perturb %.80s: %s takes a number of %s", text, row->name, row->wanted);
    *out = (dg_perturbation){.kind = (dg_perturbation_kind)kind, .amount = amount, .seed = seed};
    snprintf(out->name, sizeof out->name, row->format, amount);
    return DG_OK;
}

/* FNV-1a of the case's id; 24 bits, as many as name a stream beside the voxel. */
static uint32_t case_bits(const char *id)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (; *id != '\0'; id++) hash = (hash ^ (unsigned char)*id) * UINT64_C(1099511628211);
    return (uint32_t)(hash ^ hash >> 32) & 0xffffff;
}

void dg_perturb_hu(const dg_perturbation *perturbation, const char *case_id, const dg_grid *grid, const dg_box *box,
                   float *hu)
{
    const uint32_t case_stream = case_bits(case_id);
    if (perturbation->kind == DG_PERTURB_SPACING) return;
    for (int64_t z = 0, i = 0; z < box->shape[0]; z++)
        for (int64_t y = 0; y < box->shape[1]; y++)
            for (int64_t x = 0; x < box->shape[2]; x++, i++) {
                const int64_t at[3] = {box->start[0] + z, box->start[1] + y, box->start[2] + x};
                bool inside = true;
                for (int axis = 0; axis < 3; axis++) inside = inside && at[axis] >= 0 && at[axis] < grid->shape[axis];
                if (!inside) continue;
                double change = perturbation->amount;
                if (perturbation->kind == DG_PERTURB_NOISE) {
                    dg_rng rng = dg_rng_stream(perturbation->seed, DG_RNG_NOISE,
                                               (uint64_t)dg_grid_index(grid, at[0], at[1], at[2]), case_stream);
                    change *= dg_rng_normal(&rng);
                }
                hu[i] = (float)((double)hu[i] + change);
            }
}

/* The grid of the larger voxels: the same volume, cut into fewer pieces. */
static dg_grid coarser(const dg_grid *grid, double factor)
{
    int64_t shape[3];
    double spacing_mm[3];
    for (int axis = 0; axis < 3; axis++) {
        shape[axis] = llround((double)grid->shape[axis] / factor);
        if (shape[axis] < 1) shape[axis] = 1;
        spacing_mm[axis] = grid->spacing_mm[axis] * (double)grid->shape[axis] / (double)shape[axis];
    }
    dg_grid out = dg_grid_make(shape, spacing_mm);
    for (int axis = 0; axis < 3; axis++) out.origin_mm[axis] = (spacing_mm[axis] - grid->spacing_mm[axis]) / 2;
    return out;
}

dg_status dg_perturb_spacing(const dg_perturbation *perturbation, const dg_grid *grid, dg_perturb_values kind,
                             float *values)
{
    const dg_grid fine = dg_grid_make(grid->shape, grid->spacing_mm), coarse = coarser(&fine, perturbation->amount);
    const int64_t count = dg_grid_voxels(&coarse);
    float *larger;
    DG_TRY(DG_NEW(&larger, count, "larger voxels of a case"));
    dg_status status = kind == DG_PERTURB_NEAREST ? dg_resample_nearest(values, &fine, &coarse, 0, 1, larger)
                                                  : dg_resample_linear(values, &fine, &coarse, 0, 1, larger);
    for (int64_t i = 0; kind == DG_PERTURB_SHARE && i < count; i++) larger[i] = larger[i] >= 0.5f;
    if (status == DG_OK)
        status = kind == DG_PERTURB_SMOOTH ? dg_resample_linear(larger, &coarse, &fine, 0, 1, values)
                                           : dg_resample_nearest(larger, &coarse, &fine, 0, 1, values);
    dg_free(&larger);
    return status;
}
