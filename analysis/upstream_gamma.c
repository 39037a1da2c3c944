/* upstream_gamma.c - gamma as the reference tool reports it: 3 %/3 mm, cutoff 10 % of the maximum, capped at 2, on
 * every n-th voxel. SPDX-License-Identifier: Apache-2.0 */
#include "dg_gamma.h"
#include "dg_margin.h"
#include "dg_mem.h"
#include "upstream_impl.h"

#include <math.h>

static const double MARGIN_MM = 5;

/* Every n-th voxel of a case. */
typedef struct sampled {
    int64_t shape[3], voxels;
    double *axis_mm[3];
    float *target_gy, *pred_gy, *gamma;
    uint64_t *region; /* 1: within the targets' margin */
} sampled;

static dg_status sampled_create(const upstream_volumes *v, int n, const uint8_t *near_target, sampled *s)
{
    s->voxels = 1;
    for (int a = 0; a < 3; a++) {
        s->shape[a] = (v->shape[a] + n - 1) / n;
        s->voxels *= s->shape[a];
        DG_TRY(DG_NEW(&s->axis_mm[a], s->shape[a], "axis of gamma"));
        for (int64_t i = 0; i < s->shape[a]; i++) s->axis_mm[a][i] = (double)i * (v->spacing_mm[a] * n);
    }
    DG_TRY(DG_NEW(&s->target_gy, s->voxels, "reference dose of gamma"));
    DG_TRY(DG_NEW(&s->pred_gy, s->voxels, "prediction of gamma"));
    DG_TRY(DG_NEW(&s->gamma, s->voxels, "gamma map"));
    DG_TRY(DG_NEW(&s->region, s->voxels, "region of gamma"));
    for (int64_t a = 0, i = 0; a < s->shape[0]; a++)
        for (int64_t b = 0; b < s->shape[1]; b++)
            for (int64_t c = 0; c < s->shape[2]; c++, i++) {
                const int64_t from = (a * n * v->shape[1] + b * n) * v->shape[2] + c * n;
                s->target_gy[i] = v->target_gy[from];
                s->pred_gy[i] = v->pred_gy[from];
                s->region[i] = near_target[from];
            }
    return DG_OK;
}

static void sampled_free(sampled *s)
{
    for (int a = 0; a < 3; a++) dg_free(&s->axis_mm[a]);
    dg_free(&s->target_gy);
    dg_free(&s->pred_gy);
    dg_free(&s->gamma);
    dg_free(&s->region);
}

static dg_status make_map(sampled *s, int threads)
{
    dg_gamma_params params = {.method = DG_GAMMA_PYMEDPHYS,
                              .dose_percent = 3,
                              .distance_mm = 3,
                              .cutoff_percent = 10,
                              .max_gamma = 2,
                              .interp_fraction = 10};
    dg_gamma_dose target = {.axes = 3, .dose_gy = s->target_gy}, pred;
    for (int64_t i = 0; i < s->voxels; i++) params.norm_gy = fmax(params.norm_gy, s->target_gy[i]);
    for (int a = 0; a < 3; a++) {
        target.shape[a] = s->shape[a];
        target.axis_mm[a] = s->axis_mm[a];
    }
    pred = target;
    pred.dose_gy = s->pred_gy;
    return dg_gamma_map(&params, &target, &pred, NULL, threads, s->gamma);
}

/* What it says of the voxels with a gamma, all (NULL) or those of the region. */
static dg_status describe(const sampled *s, const uint64_t *region, const char *nothing, json_t *out, bool *failed)
{
    double sum = 0, median;
    float most = 0;
    int64_t count = 0, passed = 0;
    for (int64_t i = 0; i < s->voxels; i++) {
        if (isnan(s->gamma[i]) || (region != NULL && region[i] == 0)) continue;
        count++;
        passed += s->gamma[i] <= 1;
        sum += s->gamma[i];
        most = fmaxf(most, s->gamma[i]);
    }
    const double n = count == 0 ? NAN : (double)count;
    DG_TRY(dg_gamma_median(s->gamma, region, 1, s->voxels, &median));
    upstream_put_number(out, "gamma_pass_rate", (double)passed / n * 100, failed);
    upstream_put_number(out, "gamma_mean", sum / n, failed);
    upstream_put_number(out, "gamma_median", median, failed);
    upstream_put_number(out, "gamma_max", count == 0 ? NAN : (double)most, failed);
    upstream_put(out, "voxels_evaluated", json_integer(count), failed);
    if (count == 0) upstream_put(out, "note", json_string(nothing), failed);
    return DG_OK;
}

static dg_status describe_both(const upstream_volumes *v, int subsample, const uint8_t *near_target, bool has_target,
                               json_t *out, bool *failed)
{
    json_t *global = json_object(), *ptv = json_object();
    sampled s = {.target_gy = NULL};
    dg_status status;
    upstream_put(out, "global_3mm3pct", global, failed);
    upstream_put(out, "ptv_region_3mm3pct", ptv, failed);
    if (*failed) return DG_OK;
    DG_TRY_GOTO(status, sampled_create(v, subsample, near_target, &s), cleanup);
    DG_TRY_GOTO(status, make_map(&s, v->threads), cleanup);
    DG_TRY_GOTO(status, describe(&s, NULL, "No voxels above lower dose cutoff", global, failed), cleanup);
    if (has_target) {
        DG_TRY_GOTO(status, describe(&s, s.region, "No valid gamma voxels in region", ptv, failed), cleanup);
    } else {
        upstream_put(ptv, "gamma_pass_rate", json_null(), failed);
        upstream_put(ptv, "error", json_string("no PTV voxels"), failed);
        upstream_put(ptv, "voxels_evaluated", json_integer(0), failed);
    }
cleanup:
    sampled_free(&s);
    return status;
}

dg_status upstream_gamma(const upstream_volumes *v, int subsample, json_t *out, bool *failed)
{
    const dg_grid grid = dg_grid_make(v->shape, v->spacing_mm);
    uint64_t targets = 0;
    uint8_t *near_target = NULL;
    bool has_target = false;
    dg_status status;
    for (int k = 0; k < v->structure_count; k++)
        if (upstream_prescription_gy(v->structure[k]) > 0) targets |= (uint64_t)1 << k;
    DG_TRY(DG_NEW(&near_target, v->voxels, "targets with margin"));
    DG_TRY_GOTO(status, dg_margin_mask(v->masks, targets, &grid, MARGIN_MM, true, v->threads, near_target, &has_target),
                cleanup);
    DG_TRY_GOTO(status, describe_both(v, subsample, near_target, has_target, out, failed), cleanup);
cleanup:
    dg_free(&near_target);
    return status;
}
