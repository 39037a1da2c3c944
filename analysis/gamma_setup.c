/* gamma_setup.c - checks of the two doses and their axes, and their common three-dimensional form.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "gamma_impl.h"

#include <stdio.h>
#include <string.h>

static dg_status check_params(const dg_gamma_params *p)
{
    if ((unsigned)p->method >= DG_GAMMA_METHODS)
        return DG_FAIL(DG_ERR_USAGE, "gamma method %d is not known: continuous or pymedphys", (int)p->method);
    if (!(p->dose_percent > 0.0) || isinf(p->dose_percent))
        return DG_FAIL(DG_ERR_USAGE, "gamma: dose criterion %g %% must be above 0", p->dose_percent);
    if (!(p->distance_mm > 0.0) || isinf(p->distance_mm))
        return DG_FAIL(DG_ERR_USAGE, "gamma: distance criterion %g mm must be above 0", p->distance_mm);
    if (!(p->cutoff_percent >= 0.0) || isinf(p->cutoff_percent))
        return DG_FAIL(DG_ERR_USAGE, "gamma: cutoff %g %% must be 0 or more", p->cutoff_percent);
    if (!(p->max_gamma > 0.0))
        return DG_FAIL(DG_ERR_USAGE, "gamma: largest gamma %g must be above 0 (or infinite)", p->max_gamma);
    if (!(p->norm_gy >= 0.0) || isinf(p->norm_gy))
        return DG_FAIL(DG_ERR_USAGE, "gamma: normalisation %g Gy must be 0 or more", p->norm_gy);
    if (p->method == DG_GAMMA_PYMEDPHYS && (!(p->interp_fraction >= 1.0) || p->interp_fraction > 1000.0))
        return DG_FAIL(DG_ERR_USAGE, "gamma: interpolation fraction %g must lie in 1 to 1000", p->interp_fraction);
    return DG_OK;
}

static dg_status check_axis(const dg_gamma_dose *dose, const char *name, int axis)
{
    const double *mm = dose->axis_mm[axis];
    const int64_t n = dose->shape[axis];
    if (n < 1 || mm == NULL) return DG_FAIL(DG_ERR_DATA, "gamma: the %s dose has no axis %d", name, axis);
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(mm[i]))
            return DG_FAIL(DG_ERR_DATA, "gamma: axis %d of the %s dose is %g mm at index %lld", axis, name, mm[i],
                           (long long)i);
        if (i > 0 && (mm[1] > mm[0] ? mm[i] <= mm[i - 1] : mm[i] >= mm[i - 1]))
            return DG_FAIL(DG_ERR_DATA,
                           "gamma: axis %d of the %s dose is not strictly monotonic at index %lld (%g mm after %g mm)",
                           axis, name, (long long)i, mm[i], mm[i - 1]);
    }
    return DG_OK;
}

/* Finite numbers have a finite product with 0; the sum is 0 unless one was not. */
static bool all_finite(const float *values, int64_t count)
{
    float sum = 0.0f;
    for (int64_t i = 0; i < count; i++) sum += values[i] * 0.0f;
    return sum == 0.0f;
}

static dg_status fail_at(const dg_gamma_dose *dose, const char *name, int64_t voxel)
{
    char place[96] = "";
    int64_t rest = voxel;
    for (int a = dose->axes - 1; a >= 0; a--) { /* built from its end */
        char tail[96];
        snprintf(tail, sizeof tail, "%s", place);
        snprintf(place, sizeof place, "%lld%s%.60s", (long long)(rest % dose->shape[a]), tail[0] == '\0' ? "" : ", ",
                 tail);
        rest /= dose->shape[a];
    }
    return DG_FAIL(DG_ERR_NUMERIC, "gamma: the %s dose is %g at voxel (%s)", name, (double)dose->dose_gy[voxel], place);
}

static dg_status check_dose(const dg_gamma_dose *dose, const char *name)
{
    enum { RUN = 4096 };
    int64_t voxels = 1;
    if (dose->axes < 1 || dose->axes > 3)
        return DG_FAIL(DG_ERR_DATA, "gamma: the %s dose has %d axes, not 1 to 3", name, dose->axes);
    for (int a = 0; a < dose->axes; a++) {
        DG_TRY(check_axis(dose, name, a));
        if (!dg_mul_int64(voxels, dose->shape[a], &voxels))
            return DG_FAIL(DG_ERR_DATA, "gamma: the %s dose has too many voxels", name);
    }
    for (int64_t from = 0; from < voxels; from += RUN) {
        const int64_t count = voxels - from < RUN ? voxels - from : RUN;
        if (all_finite(dose->dose_gy + from, count)) continue;
        int64_t at = from;
        while (isfinite(dose->dose_gy[at])) at++;
        return fail_at(dose, name, at);
    }
    return DG_OK;
}

/* Turns the falling axes of the evaluated dose over. */
static dg_status make_rising(dg_gamma_setup *s)
{
    dg_gamma_field *f = &s->problem.field;
    bool falling[3], any = false;
    for (int a = 0; a < 3; a++) {
        const int64_t n = f->shape[a];
        falling[a] = n > 1 && f->axis_mm[a][1] < f->axis_mm[a][0];
        any = any || falling[a];
        if (!falling[a]) continue;
        DG_TRY(DG_NEW(&s->risen_mm[a], n, "axis"));
        for (int64_t i = 0; i < n; i++) s->risen_mm[a][i] = f->axis_mm[a][n - 1 - i];
        f->axis_mm[a] = s->risen_mm[a];
    }
    if (!any) return DG_OK;
    DG_TRY(DG_NEW(&s->risen_gy, f->shape[0] * f->shape[1] * f->shape[2], "evaluated dose"));
    float *out = s->risen_gy;
    for (int64_t z = 0; z < f->shape[0]; z++)
        for (int64_t y = 0; y < f->shape[1]; y++) {
            const int64_t from_z = falling[0] ? f->shape[0] - 1 - z : z, from_y = falling[1] ? f->shape[1] - 1 - y : y;
            const float *row = f->dose_gy + (from_z * f->shape[1] + from_y) * f->shape[2];
            for (int64_t x = 0; x < f->shape[2]; x++) *out++ = row[falling[2] ? f->shape[2] - 1 - x : x];
        }
    f->dose_gy = s->risen_gy;
    return DG_OK;
}

int64_t dg_gamma_cell_of(const double *axis, int64_t cells, double mm)
{
    int64_t low = 0, high = cells - 1;
    while (low < high) {
        const int64_t middle = low + (high - low + 1) / 2;
        if (axis[middle] <= mm)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static dg_status find_cells(dg_gamma_setup *s)
{
    dg_gamma_problem *p = &s->problem;
    for (int a = 0; a < 3; a++) {
        DG_TRY(DG_NEW(&s->cell[a], p->shape[a], "cells"));
        for (int64_t i = 0; i < p->shape[a]; i++)
            s->cell[a][i] = dg_gamma_cell_of(p->field.axis_mm[a], p->field.cells[a], p->axis_mm[a][i]);
        p->cell[a] = s->cell[a];
    }
    return DG_OK;
}

dg_status dg_gamma_setup_create(const dg_gamma_params *params, const dg_gamma_dose *reference,
                                const dg_gamma_dose *evaluated, const uint8_t *where, int threads, dg_gamma_setup *out)
{
    dg_gamma_setup *s = out;
    memset(s, 0, sizeof *s);
    DG_TRY(check_params(params));
    DG_TRY(check_dose(reference, "reference"));
    DG_TRY(check_dose(evaluated, "evaluated"));
    if (reference->axes != evaluated->axes)
        return DG_FAIL(DG_ERR_DATA, "gamma: the reference dose has %d axes, the evaluated one %d", reference->axes,
                       evaluated->axes);
    s->params = params;
    s->axes = reference->axes;
    s->problem = (dg_gamma_problem){.reference_gy = reference->dose_gy,
                                    .where = where,
                                    .dose_percent = params->dose_percent,
                                    .norm_gy = params->norm_gy,
                                    .distance_mm = params->distance_mm,
                                    .max_gamma = params->max_gamma,
                                    .cutoff_gy = params->cutoff_percent / 100.0 * params->norm_gy,
                                    .per_mm = 1.0 / params->distance_mm,
                                    .local = params->local};
    s->voxels = 1;
    s->threads = threads > 0 ? threads : 1;
    dg_gamma_problem *p = &s->problem;
    dg_gamma_field *f = &p->field;
    f->dose_gy = evaluated->dose_gy;
    for (int a = 0; a < 3; a++) {
        const int from = a - (3 - reference->axes);
        p->shape[a] = from < 0 ? 1 : reference->shape[from];
        p->axis_mm[a] = from < 0 ? s->zero_mm : reference->axis_mm[from];
        f->shape[a] = from < 0 ? 1 : evaluated->shape[from];
        f->axis_mm[a] = from < 0 ? s->zero_mm : evaluated->axis_mm[from];
        f->cells[a] = f->shape[a] > 1 ? f->shape[a] - 1 : 1;
        s->voxels *= p->shape[a];
    }
    dg_status status = make_rising(s);
    if (status == DG_OK) status = find_cells(s);
    if (status != DG_OK) dg_gamma_setup_release(s);
    return status;
}

void dg_gamma_setup_release(dg_gamma_setup *s)
{
    for (int a = 0; a < 3; a++) {
        dg_free(&s->cell[a]);
        dg_free(&s->risen_mm[a]);
    }
    dg_free(&s->risen_gy);
    dg_free(&s->range_gy);
    dg_free(&s->row_range_gy);
}
