/* report_case.c - one pictured case: what part of it is kept, its volumes, and what the viewer must know of them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "report_impl.h"

#include "dg_mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { THIN_MAX = 8, EDGE_VOXELS = 2, DENSE_HU = -300 };
static const double gy_step = 0.01, hu_step = 1;

static const char *const role_name[] = {"target", "oar", "body", "support", "possible_dose"};

/* ---- which part ---------------------------------------------------------------------------------------------------- */

static uint64_t bits_of(const dg_report_case *c, dg_role role)
{
    uint64_t bits = 0;
    for (int k = 0; k < c->structure_count && k < 64; k++)
        if (c->structure[k].role == role) bits |= (uint64_t)1 << k;
    return bits;
}

/* Voxels that must be in the picture: the body, or what is delineated or dense where no body is; evaluated gamma; and the
 * hottest voxel of each dose. */
typedef struct wanted {
    const dg_report_case *c;
    uint64_t bits;
    bool dense;
    int64_t hottest[DG_REPORT_DOSES]; /* -1: no such dose */
} wanted;

static int64_t hottest_of(const float *dose_gy, int64_t voxels)
{
    int64_t best = -1;
    for (int64_t i = 0; dose_gy != NULL && i < voxels; i++)
        if (!isnan(dose_gy[i]) && (best < 0 || dose_gy[i] > dose_gy[best])) best = i;
    return best;
}

static wanted find_wanted(const dg_report_case *c)
{
    wanted w = {.c = c, .bits = c->masks == NULL ? 0 : bits_of(c, DG_ROLE_BODY)};
    int64_t voxels = dg_grid_voxels(c->grid), inside = 0;
    for (int64_t i = 0; w.bits != 0 && i < voxels; i++) inside += (c->masks[i] & w.bits) != 0;
    if (inside == 0) {
        w.bits = UINT64_MAX;
        w.dense = c->ct_hu != NULL;
    }
    for (int d = 0; d < DG_REPORT_DOSES; d++) w.hottest[d] = hottest_of(c->dose_gy[d], voxels);
    return w;
}

static bool is_wanted(const wanted *w, int64_t i)
{
    const dg_report_case *c = w->c;
    if (c->masks != NULL && (c->masks[i] & w->bits) != 0) return true;
    if (w->dense && c->ct_hu[i] > DENSE_HU) return true;
    for (int d = 0; d < DG_REPORT_DOSES; d++) {
        if (c->gamma[d] != NULL && !isnan(c->gamma[d][i])) return true;
        if (i == w->hottest[d]) return true;
    }
    return false;
}

static dg_box find_box(const dg_report_case *c)
{
    wanted w = find_wanted(c);
    const int64_t *shape = c->grid->shape;
    int64_t low[3] = {shape[0], shape[1], shape[2]}, high[3] = {-1, -1, -1}, at[3], i = 0;
    for (at[0] = 0; at[0] < shape[0]; at[0]++)
        for (at[1] = 0; at[1] < shape[1]; at[1]++)
            for (at[2] = 0; at[2] < shape[2]; at[2]++) {
                if (!is_wanted(&w, i++)) continue;
                for (int a = 0; a < 3; a++) {
                    if (at[a] < low[a]) low[a] = at[a];
                    if (at[a] > high[a]) high[a] = at[a];
                }
            }
    dg_box box;
    for (int a = 0; a < 3; a++) {
        if (high[a] < 0) low[a] = 0, high[a] = shape[a] - 1;
        int64_t first = low[a] > EDGE_VOXELS ? low[a] - EDGE_VOXELS : 0;
        int64_t last = high[a] + EDGE_VOXELS < shape[a] ? high[a] + EDGE_VOXELS : shape[a] - 1;
        box.start[a] = first;
        box.shape[a] = last - first + 1;
    }
    return box;
}

static report_part part_of(const dg_box *box, int64_t stride)
{
    report_part part = {.box = *box, .stride = stride};
    for (int a = 0; a < 3; a++) part.shape[a] = (box->shape[a] + stride - 1) / stride;
    return part;
}

/* Where the viewer opens: the centroid of the targets, or the hottest voxel of the reference. In kept voxels. */
static void find_start(const dg_report_case *c, const report_part *part, int64_t start[3])
{
    double sum[3] = {0, 0, 0};
    int64_t count = 0, i = 0, at[3];
    uint64_t targets = c->masks == NULL ? 0 : bits_of(c, DG_ROLE_TARGET);
    int64_t hottest = hottest_of(c->dose_gy[0], dg_grid_voxels(c->grid));
    for (at[0] = 0; at[0] < c->grid->shape[0]; at[0]++)
        for (at[1] = 0; at[1] < c->grid->shape[1]; at[1]++)
            for (at[2] = 0; at[2] < c->grid->shape[2]; at[2]++, i++) {
                bool counts = targets != 0 ? (c->masks[i] & targets) != 0 : i == hottest;
                if (!counts) continue;
                for (int a = 0; a < 3; a++) sum[a] += (double)at[a];
                count++;
            }
    for (int a = 0; a < 3; a++) {
        double index = count > 0 ? sum[a] / (double)count : (double)c->grid->shape[a] / 2;
        start[a] = (int64_t)lround((index - (double)part->box.start[a]) / (double)part->stride);
        if (start[a] < 0) start[a] = 0;
        if (start[a] >= part->shape[a]) start[a] = part->shape[a] - 1;
    }
}

/* ---- what is told -------------------------------------------------------------------------------------------------- */

static json_t *integers(const int64_t value[3])
{
    return json_pack("[I, I, I]", (json_int_t)value[0], (json_int_t)value[1], (json_int_t)value[2]);
}
static json_t *reals(const double *value, int count)
{
    json_t *list = json_array();
    for (int i = 0; i < count; i++) json_array_append_new(list, json_real(value[i]));
    return list;
}

static json_t *structures_json(const dg_report_case *c)
{
    json_t *list = json_array();
    for (int k = 0; k < c->structure_count; k++)
        json_array_append_new(
            list, json_pack("{s:s, s:s}", "name", c->structure[k].name, "role", role_name[c->structure[k].role]));
    return list;
}

static json_t *describe(const dg_report_case *c, const report_part *part, json_t *volumes, json_t *combinations)
{
    double spacing[3];
    int64_t start[3];
    char note[512];
    for (int a = 0; a < 3; a++) spacing[a] = c->grid->spacing_mm[a] * (double)part->stride;
    find_start(c, part, start);
    int64_t hottest = hottest_of(c->dose_gy[0], dg_grid_voxels(c->grid));
    double reference_max = hottest < 0 ? 0 : c->dose_gy[0][hottest];
    snprintf(note, sizeof note, "%s%sDose is shown in steps of at least %g Gy, CT in steps of at least %g HU.%s",
             c->note, c->note[0] == '\0' ? "" : " ", gy_step, hu_step,
             part->stride == 1 ? " Every voxel around the patient is kept." : "");
    if (part->stride > 1) {
        size_t used = strlen(note);
        snprintf(
            note + used, sizeof note - used,
            " To bound the size of this file only every %lld. voxel of each axis is kept: extremes here are those of "
            "the kept voxels.",
            (long long)part->stride);
    }
    if (combinations == NULL && c->masks != NULL) {
        size_t used = strlen(note);
        snprintf(note + used, sizeof note - used, " Contours are left out: structures overlap in too many ways.");
    }
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:f, s:f, s:s, s:o, s:O?, s:O}", "id",
                     c->id, "why", c->why, "note", note, "shape", integers(part->shape), "spacing_mm",
                     reals(spacing, 3), "grid_spacing_mm", reals(c->grid->spacing_mm, 3), "origin_mm",
                     reals(c->grid->origin_mm, 3), "direction", reals(c->grid->direction, 9), "stride",
                     (json_int_t)part->stride, "crop_start", integers(part->box.start), "start", integers(start),
                     "prescription_gy", c->prescription_gy, "reference_max_gy", reference_max, "gamma_label",
                     c->gamma_label == NULL ? "" : c->gamma_label, "structures", structures_json(c), "combinations",
                     combinations, "volumes", volumes);
}

/* ---- volumes ------------------------------------------------------------------------------------------------------- */

static dg_status attach_ct_and_masks(dg_report_page *page, const report_part *part, const dg_report_case *c,
                                     json_t *volumes, json_t **combinations)
{
    json_t *entry = NULL;
    if (c->ct_hu != NULL) {
        DG_TRY(report_attach_volume(page, part, c->grid, c->ct_hu, hu_step, &entry));
        json_object_set_new(volumes, "ct", entry);
    }
    if (c->masks != NULL) {
        DG_TRY(report_attach_masks(page, part, c, &entry, combinations));
        if (entry != NULL) json_object_set_new(volumes, "masks", entry);
    }
    return DG_OK;
}

static dg_status attach_doses(dg_report_page *page, const report_part *part, const dg_report_case *c, json_t *volumes)
{
    json_t *doses = json_array(), *gammas = json_array();
    json_object_set_new(volumes, "dose", doses);
    json_object_set_new(volumes, "gamma", gammas);
    for (int d = 0; d < DG_REPORT_DOSES; d++) {
        json_t *dose = NULL, *gamma = NULL;
        if (c->dose_gy[d] != NULL) DG_TRY(report_attach_volume(page, part, c->grid, c->dose_gy[d], gy_step, &dose));
        json_array_append_new(doses, dose == NULL ? json_null() : dose);
        if (c->gamma[d] != NULL) DG_TRY(report_attach_gamma(page, part, c->grid, c->gamma[d], c->max_gamma, &gamma));
        json_array_append_new(gammas, gamma == NULL ? json_null() : gamma);
    }
    return DG_OK;
}

static dg_status attach_part(dg_report_page *page, const report_part *part, const dg_report_case *c, json_t **pictured)
{
    json_t *volumes = json_object(), *combinations = NULL;
    dg_status status = attach_ct_and_masks(page, part, c, volumes, &combinations);
    if (status == DG_OK) status = attach_doses(page, part, c, volumes);
    if (status == DG_OK) {
        *pictured = describe(c, part, volumes, combinations);
        if (*pictured == NULL) status = DG_FAIL(DG_ERR_MEMORY, "no memory for case %s in a page", c->id);
    }
    json_decref(volumes);
    json_decref(combinations);
    return status;
}

dg_status dg_report_page_add_case(dg_report_page *page, const dg_report_case *c, int64_t max_bytes, bool may_thin,
                                  json_t **pictured)
{
    int64_t before = page->count;
    json_t *dvh = NULL;
    dg_status status = DG_OK;
    *pictured = NULL;
    if (dg_grid_voxels(c->grid) < 1) return DG_FAIL(DG_ERR_DATA, "case %s has no voxel", c->id);
    dg_box box = find_box(c);
    for (int64_t stride = 1; stride <= (may_thin ? THIN_MAX : 1); stride++) {
        report_part part = part_of(&box, stride);
        status = attach_part(page, &part, c, pictured);
        if (status != DG_OK || dg_report_page_bytes(page) <= max_bytes) break;
        json_decref(*pictured);
        *pictured = NULL;
        report_page_cut(page, before);
    }
    if (status == DG_OK && *pictured != NULL) status = report_dvh_json(c, &dvh);
    if (status == DG_OK && *pictured != NULL) json_object_set_new(*pictured, "dvh", dvh);
    if (status != DG_OK) {
        json_decref(*pictured);
        *pictured = NULL;
        report_page_cut(page, before);
        return dg_error_context(status, "case %s", c->id);
    }
    return DG_OK;
}
