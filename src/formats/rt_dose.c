/* rt_dose.c - a dose on the CT's grid, where it is known, and what the structures get of it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "rt_case_impl.h"

#include "dg_bits.h"
#include "dg_mem.h"
#include "dg_resample.h"

#include <math.h>
#include <stdlib.h>

/* Voxels of one axis whose centres lie in the dose's voxels, as the resampling has it. */
static void known_range(const dg_grid *grid, const dg_grid *dose, int axis, int64_t *start, int64_t *length)
{
    const double offset = (grid->origin_mm[axis] - dose->origin_mm[axis]) / dose->spacing_mm[axis];
    const double step = grid->spacing_mm[axis] / dose->spacing_mm[axis];
    *start = *length = 0;
    for (int64_t i = 0; i < grid->shape[axis]; i++) {
        const double at = offset + step * (double)i;
        if (!(at >= -0.5 && at < (double)dose->shape[axis] - 0.5)) continue;
        if (*length == 0) *start = i;
        ++*length;
    }
}

static bool in_box(const dg_box *b, int64_t z, int64_t y, int64_t x)
{
    return z >= b->start[0] && z < b->start[0] + b->shape[0] && y >= b->start[1] && y < b->start[1] + b->shape[1] &&
           x >= b->start[2] && x < b->start[2] + b->shape[2];
}

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Dose that 95 % of the voxels get at least: numpy's linear percentile 5. */
static double d95_of(float *gy, int64_t count)
{
    qsort(gy, (size_t)count, sizeof *gy, ascending);
    const double at = 0.05 * (double)(count - 1);
    const int64_t low = (int64_t)at, high = low + 1 < count ? low + 1 : low;
    return gy[low] + (at - (double)low) * ((double)gy[high] - gy[low]);
}

/* Mean, largest and, of targets, D95 of a structure's voxels with known dose; how many have none. */
static dg_status measure(const rt_reading *r, int k)
{
    dg_rt_case *out = r->out;
    dg_rt_structure *a = &out->about[k];
    const bool target = out->structure[k].role == DG_ROLE_TARGET;
    dg_box box;
    float *gy = NULL;
    int64_t count = 0;
    double sum = 0, largest = 0;
    if (!rt_box(r, k, &box)) return DG_OK;
    if (target) DG_TRY(DG_NEW(&gy, a->voxels, "doses of a target"));
    for (int64_t z = box.start[0]; z < box.start[0] + box.shape[0]; z++)
        for (int64_t y = box.start[1]; y < box.start[1] + box.shape[1]; y++)
            for (int64_t x = box.start[2]; x < box.start[2] + box.shape[2]; x++) {
                const int64_t i = dg_grid_index(&out->grid, z, y, x);
                if (!dg_bits_get(out->mask[k], i)) continue;
                if (!in_box(&out->dose_box, z, y, x)) {
                    a->without_dose++;
                    continue;
                }
                sum += out->dose_gy[i];
                largest = fmax(largest, out->dose_gy[i]);
                if (target) gy[count] = out->dose_gy[i];
                count++;
            }
    if (count > 0) {
        a->mean_gy = sum / (double)count;
        a->max_gy = largest;
        if (target) a->d95_gy = d95_of(gy, count);
    }
    dg_free(&gy);
    return DG_OK;
}

static dg_status measure_all(const rt_reading *r)
{
    int64_t failed = 0;
#pragma omp parallel for num_threads(r->settings->threads) schedule(dynamic) reduction(+ : failed)
    for (int k = 0; k < r->out->structure_count; k++) failed += measure(r, k) != DG_OK;
    return failed == 0 ? DG_OK : DG_FAIL(DG_ERR_MEMORY, "no memory for the doses of a target");
}

/* What a clinic would ask of a delivered plan; nothing here refuses a case. */
static void judge_target(dg_rt_case *out, int k)
{
    const dg_rt_structure *a = &out->about[k];
    const dg_structure *s = &out->structure[k];
    if (a->without_dose > 0)
        rt_find(out, "dose-partial", "%s: %lld of its voxels lie outside the dose grid", s->name,
                (long long)a->without_dose);
    if (s->role != DG_ROLE_TARGET || !(s->prescription_gy > 0) || !isfinite(a->d95_gy)) return;
    if (a->d95_gy < 0.9 * s->prescription_gy)
        rt_find(out, "target-cold", "%s: D95 is %.2f Gy, its level is %.2f Gy", s->name, a->d95_gy, s->prescription_gy);
    if (a->mean_gy > 1.15 * s->prescription_gy && s->prescription_gy >= out->prescription_gy)
        rt_find(out, "target-hot", "%s: mean dose is %.2f Gy, its level is %.2f Gy", s->name, a->mean_gy,
                s->prescription_gy);
}

/* A dose that misses what it was made for is of another patient, or lies elsewhere by mistake. */
static dg_status check_place(rt_reading *r)
{
    dg_rt_case *out = r->out;
    int64_t covered = 0;
    for (int k = 0; k < out->structure_count; k++) {
        const dg_rt_structure *a = &out->about[k];
        if (r->required[k] && !(a->max_gy > 0))
            return rt_refuse(r, "rtdose-elsewhere", "dose: no voxel of %s gets any; does the dose belong to this CT?",
                             out->structure[k].name);
        covered += isfinite(a->mean_gy);
    }
    if (covered == 0)
        return rt_refuse(r, "rtdose-elsewhere",
                         "dose: no structure lies in its grid; does the dose belong to this CT?");
    return DG_OK;
}

dg_status rt_add_dose(rt_reading *r, const dg_dicom_dose *dose)
{
    dg_rt_case *out = r->out;
    const int64_t voxels = dg_grid_voxels(&out->grid);
    for (int a = 0; a < 3; a++) {
        known_range(&out->grid, &dose->grid, a, &out->dose_box.start[a], &out->dose_box.shape[a]);
        if (out->dose_box.shape[a] == 0)
            return rt_refuse(r, "rtdose-elsewhere",
                             "dose: its grid does not meet the CT's; does the dose belong to this CT?");
        out->dose_spacing_mm[a] = dose->grid.spacing_mm[a];
    }
    DG_TRY(DG_NEW(&out->dose_gy, voxels, "dose"));
    DG_TRY(dg_resample_bspline(dose->gy, &dose->grid, &out->grid, 0, r->settings->threads, out->dose_gy));
#pragma omp parallel for num_threads(r->settings->threads) schedule(static)
    for (int64_t i = 0; i < voxels; i++)
        if (!(out->dose_gy[i] > 0)) out->dose_gy[i] = 0; /* the spline undershoots beside steep falls */
    DG_TRY(measure_all(r));
    DG_TRY(check_place(r));
    for (int k = 0; k < out->structure_count; k++) judge_target(out, k);
    if (out->prescription_gy > 0 && dose->max_gy > 1.5 * out->prescription_gy)
        rt_find(out, "dose-high", "the largest dose is %.2f Gy, the prescription %.2f Gy", (double)dose->max_gy,
                out->prescription_gy);
    return DG_OK;
}
