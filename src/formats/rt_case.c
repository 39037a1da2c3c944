/* rt_case.c - one DICOM-RT case from its objects to arrays on one grid, see dg_rt_case.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "rt_case_impl.h"

#include "dg_bits.h"
#include "dg_mem.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

dg_status rt_refuse(rt_reading *r, const char *rule, const char *format, ...)
{
    char text[900];
    const int used = snprintf(text, sizeof text, "case %.63s: ", r->context->case_id);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + used, sizeof text - (size_t)used, format, arguments);
    va_end(arguments);
    r->context->rule = rule;
    return DG_FAIL(DG_ERR_DATA, "%.800s (rule %s)", text, rule);
}

void rt_find(dg_rt_case *out, const char *rule, const char *format, ...)
{
    if (out->finding_count == DG_RT_FINDINGS) return;
    dg_rt_finding *f = &out->finding[out->finding_count++];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(f->text, sizeof f->text, format, arguments);
    va_end(arguments);
    f->rule = rule;
}

/* ---- prescription ---- */

static dg_status settle_prescription(rt_reading *r)
{
    const dg_rt_settings *s = r->settings;
    dg_rt_case *out = r->out;
    const bool planned = out->has_plan && out->plan.prescription_source != DG_DICOM_RX_NONE;
    if (planned) {
        out->prescription_gy = out->plan.prescription_gy;
        out->fractions = out->plan.fractions > 0 ? out->plan.fractions : s->fractions;
        if (s->prescription_gy > 0 && fabs(s->prescription_gy - out->prescription_gy) > 1e-3)
            return rt_refuse(r, "prescription-differs", "plan: it prescribes %g Gy, --prescription says %g",
                             out->prescription_gy, s->prescription_gy);
        return DG_OK;
    }
    out->prescription_gy = s->prescription_gy > 0 ? s->prescription_gy : s->mapping->prescription_gy;
    out->fractions = s->prescription_gy > 0 ? s->fractions : s->mapping->fractions;
    if (out->fractions == 0) out->fractions = out->plan.fractions;
    out->prescription_assumed = true;
    if (out->prescription_gy > 0) {
        rt_find(out, "prescription-assumed",
                "PRESCRIPTION ASSUMED: %g Gy in %lld fractions is said by %s, not by a plan", out->prescription_gy,
                (long long)out->fractions, s->prescription_gy > 0 ? "the command line" : "the preset");
        return DG_OK;
    }
    if (s->require_dose)
        return rt_refuse(
            r, "prescription-missing",
            "plan: %s; give a --preset, or --prescription GY and --fractions N, and the case is marked as assumed",
            out->has_plan ? "it holds no prescription" : "there is none, and so no prescription");
    return DG_OK;
}

/* ---- cropping ---- */

static dg_box whole(const dg_grid *grid)
{
    dg_box box = {{0, 0, 0}, {0, 0, 0}};
    memcpy(box.shape, grid->shape, sizeof box.shape);
    return box;
}

static dg_box find_crop(const rt_reading *r)
{
    const dg_mapping *m = r->settings->mapping;
    const rt_voxels *centre = NULL;
    int64_t first = r->ct_grid.shape[0], last = -1, at[2] = {0, 0};
    if (m->crop.inplane == 0) return whole(&r->ct_grid);
    for (int k = 0; k < r->out->structure_count; k++) {
        if (r->voxels[k].first[0] < first) first = r->voxels[k].first[0];
        if (r->voxels[k].last[0] > last) last = r->voxels[k].last[0];
    }
    for (int c = 0; c < m->centre_count && centre == NULL; c++)
        for (int k = 0; k < r->out->structure_count; k++)
            if (strcasecmp(r->out->structure[k].name, m->centre[c]) == 0) centre = &r->voxels[k];
    for (int a = 0; centre != NULL && a < 2; a++) at[a] = centre->sum_yx[a] / centre->count;
    return dg_volume_crop_box(r->ct_grid.shape, r->ct_grid.spacing_mm[0], first, last, centre == NULL ? NULL : at,
                              &m->crop);
}

/* Start in the CT of row (z, y) of the crop. */
static int64_t source_row(const rt_reading *r, int64_t z, int64_t y)
{
    const dg_box *b = &r->out->crop;
    return dg_grid_index(&r->ct_grid, b->start[0] + z, b->start[1] + y, b->start[2]);
}

bool rt_box(const rt_reading *r, int k, dg_box *box)
{
    const rt_voxels *v = &r->voxels[k];
    bool any = true;
    for (int a = 0; a < 3; a++) {
        const int64_t start = r->out->crop.start[a], end = start + r->out->crop.shape[a];
        const int64_t first = v->first[a] > start ? v->first[a] : start;
        const int64_t last = v->last[a] < end - 1 ? v->last[a] : end - 1;
        box->start[a] = first - start;
        box->shape[a] = last - first + 1;
        any = any && last >= first;
    }
    return any;
}

/* The part of structure k inside the crop; *kept: its voxels. */
static dg_status crop_mask(rt_reading *r, int k, int64_t *kept)
{
    dg_rt_case *out = r->out;
    dg_box box;
    *kept = 0;
    DG_TRY(DG_NEW(&out->mask[k], dg_bits_bytes(dg_grid_voxels(&out->grid)), "mask"));
    if (!rt_box(r, k, &box)) return DG_OK;
    for (int64_t z = box.start[0]; z < box.start[0] + box.shape[0]; z++)
        for (int64_t y = box.start[1]; y < box.start[1] + box.shape[1]; y++) {
            const int64_t from = source_row(r, z, y), to = dg_grid_index(&out->grid, z, y, 0);
            for (int64_t x = box.start[2]; x < box.start[2] + box.shape[2]; x++) {
                if (!dg_bits_get(r->voxels[k].packed, from + x)) continue;
                dg_bits_set(out->mask[k], to + x);
                ++*kept;
            }
        }
    return DG_OK;
}

/* Masks of the crop from those of the whole CT, which are taken as they are, or freed. */
static dg_status make_masks(rt_reading *r)
{
    dg_rt_case *out = r->out;
    const bool all = memcmp(out->crop.shape, r->ct_grid.shape, sizeof out->crop.shape) == 0;
    for (int k = 0; k < out->structure_count; k++) {
        int64_t kept = r->voxels[k].count;
        if (all) {
            out->mask[k] = r->voxels[k].packed;
            r->voxels[k].packed = NULL;
        } else {
            DG_TRY(crop_mask(r, k, &kept));
            dg_free(&r->voxels[k].packed);
        }
        out->about[k].cropped_away = out->about[k].voxels - kept;
        if (out->about[k].cropped_away > 0)
            rt_find(out, "structure-cropped", "%s: %lld of %lld voxels lie outside the crop", out->structure[k].name,
                    (long long)out->about[k].cropped_away, (long long)out->about[k].voxels);
    }
    return DG_OK;
}

/* What the crop leaves without a voxel is no structure of the case. */
static void drop_empty(dg_rt_case *out)
{
    for (int k = out->structure_count - 1; k >= 0; k--) {
        if (out->about[k].cropped_away < out->about[k].voxels) continue;
        const size_t behind = (size_t)(out->structure_count - k - 1);
        dg_free(&out->mask[k]);
        memmove(&out->mask[k], &out->mask[k + 1], behind * sizeof *out->mask);
        memmove(&out->structure[k], &out->structure[k + 1], behind * sizeof *out->structure);
        memmove(&out->about[k], &out->about[k + 1], behind * sizeof *out->about);
        out->mask[--out->structure_count] = NULL;
    }
}

/* ---- CT ---- */

static bool is_whole(const rt_reading *r, const float *hu)
{
    const int64_t *n = r->out->grid.shape;
    int64_t others = 0;
#pragma omp parallel for num_threads(r->settings->threads) schedule(static) reduction(+ : others)
    for (int64_t z = 0; z < n[0]; z++)
        for (int64_t y = 0; others == 0 && y < n[1]; y++) {
            const float *row = hu + source_row(r, z, y);
            for (int64_t x = 0; x < n[2]; x++)
                others += !(row[x] >= INT16_MIN && row[x] <= INT16_MAX) || row[x] != (float)(int16_t)(int32_t)row[x];
        }
    return others == 0;
}

/* Takes the CT, which is freed. */
static dg_status take_ct(rt_reading *r, dg_dicom_ct *ct)
{
    dg_rt_case *out = r->out;
    const int64_t *n = out->grid.shape, voxels = dg_grid_voxels(&out->grid);
    if (is_whole(r, ct->hu))
        DG_TRY(DG_NEW(&out->ct_hu, voxels, "CT"));
    else
        DG_TRY(DG_NEW(&out->ct_hu_f32, voxels, "CT"));
#pragma omp parallel for num_threads(r->settings->threads) schedule(static)
    for (int64_t z = 0; z < n[0]; z++)
        for (int64_t y = 0; y < n[1]; y++) {
            const float *row = ct->hu + source_row(r, z, y);
            const int64_t to = (z * n[1] + y) * n[2];
            if (out->ct_hu_f32 != NULL) memcpy(out->ct_hu_f32 + to, row, (size_t)n[2] * sizeof *row);
            for (int64_t x = 0; out->ct_hu != NULL && x < n[2]; x++) out->ct_hu[to + x] = (int16_t)row[x];
        }
    memcpy(out->position, ct->position, sizeof out->position);
    dg_dicom_ct_release(ct);
    return DG_OK;
}

/* ---- the case ---- */

static void add_constraints(dg_rt_case *out, const dg_mapping *m)
{
    static const char *const LEVELS[3] = {"PTV70", "PTV56", "PTV50.4"};
    bool has[3] = {false, false, false};
    if (m->constraints != DG_MAPPING_CONSTRAINTS_PROSTATE || !(out->prescription_gy > 0)) return;
    for (int k = 0; k < out->structure_count; k++)
        for (int l = 0; l < 3; l++) has[l] = has[l] || strcmp(out->structure[k].name, LEVELS[l]) == 0;
    dg_conditioning_prostate(has[0], has[1], has[2], out->prescription_gy, out->constraint);
    out->constraint_count = DG_CONDITIONING_PROSTATE;
}

static dg_status read_plan(rt_reading *r, const dg_dicom_case *candidate)
{
    r->out->has_plan = candidate->plans.count > 0;
    if (r->out->has_plan) DG_TRY(dg_dicom_read_plan(r->context, &candidate->plans, &r->out->plan));
    return settle_prescription(r);
}

static dg_status read_structures(rt_reading *r, const dg_dicom_case *candidate, const char *frame_key)
{
    dg_dicom_structures set = {0};
    DG_TRY(dg_dicom_read_structures(r->context, &candidate->structures, frame_key, &set));
    const dg_status status = rt_add_structures(r, &set);
    dg_dicom_structures_release(&set);
    return status;
}

static dg_status read_dose(rt_reading *r, const dg_dicom_case *candidate, const char *frame_key)
{
    dg_dicom_dose dose = {0};
    if (candidate->doses.count == 0 && !r->settings->require_dose) return DG_OK;
    DG_TRY(
        dg_dicom_read_dose(r->context, &candidate->doses, r->out->has_plan ? &r->out->plan : NULL, frame_key, &dose));
    const dg_status status = rt_add_dose(r, &dose);
    dg_dicom_dose_release(&dose);
    return status;
}

static void tell_notes(rt_reading *r, int64_t before)
{
    const dg_dicom_context *context = r->context;
    for (int64_t i = before; i < context->note_count && i < DG_DICOM_NOTES; i++)
        rt_find(r->out, context->note[i].rule, "%s", context->note[i].text);
    if (r->out->structure_count == 0) rt_find(r->out, "structures-none", "no region is a structure of the mapping");
}

static dg_status assemble(rt_reading *r, const dg_dicom_case *candidate, dg_dicom_ct *ct)
{
    dg_rt_case *out = r->out;
    char frame_key[DG_HASH_HEX];
    memcpy(frame_key, ct->frame_key, sizeof frame_key);
    r->ct_grid = ct->grid;
    memcpy(out->ct_shape, ct->grid.shape, sizeof out->ct_shape);
    DG_TRY(read_plan(r, candidate));
    DG_TRY(read_structures(r, candidate, frame_key));
    out->crop = find_crop(r);
    out->grid = dg_grid_boxed(&r->ct_grid, &out->crop);
    DG_TRY(take_ct(r, ct));
    DG_TRY(make_masks(r));
    DG_TRY(read_dose(r, candidate, frame_key));
    drop_empty(out);
    add_constraints(out, r->settings->mapping);
    return DG_OK;
}

dg_status dg_rt_case_read(dg_dicom_context *context, const dg_dicom_case *candidate, const dg_rt_settings *settings,
                          dg_rt_case *out)
{
    dg_dicom_ct ct = {0};
    rt_reading r = {.context = context, .settings = settings, .out = out};
    const int64_t notes = context->note_count;
    memset(out, 0, sizeof *out);
    context->rule = NULL;
    dg_status status = dg_dicom_case_check(context, candidate);
    if (status == DG_OK) status = dg_dicom_read_ct(context, &candidate->ct, &ct);
    if (status == DG_OK) status = assemble(&r, candidate, &ct);
    dg_dicom_ct_release(&ct);
    for (int k = 0; k < DG_STRUCTURES_MAX; k++) dg_free(&r.voxels[k].packed);
    if (status == DG_OK)
        tell_notes(&r, notes);
    else
        dg_rt_case_release(out);
    return status;
}

void dg_rt_case_release(dg_rt_case *c)
{
    dg_free(&c->ct_hu);
    dg_free(&c->ct_hu_f32);
    dg_free(&c->dose_gy);
    for (int k = 0; k < DG_STRUCTURES_MAX; k++) dg_free(&c->mask[k]);
    dg_dicom_plan_release(&c->plan);
    memset(c, 0, sizeof *c);
}
