/* rt_structures.c - the regions of a structure set become mask bits of the structures they are mapped to.
 * SPDX-License-Identifier: Apache-2.0 */
#include "rt_case_impl.h"

#include "dg_bits.h"
#include "dg_mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The closed contours of one region and the slices they reach. */
typedef struct region {
    dg_contour *contour;
    int64_t count, other;
    int64_t first, last; /* slices */
} region;

/* DICOM's two kinds of closed contours are read alike: even-odd within a plane. */
static dg_status take_contours(const dg_dicom_roi *roi, const dg_grid *grid, region *out)
{
    double low = INFINITY, high = -INFINITY;
    *out = (region){.count = 0};
    DG_TRY(DG_NEW(&out->contour, roi->contour_count, "contours of a region"));
    for (int64_t i = 0; i < roi->contour_count; i++) {
        const dg_dicom_contour *c = &roi->contours[i];
        if (c->type != DG_DICOM_CLOSED_PLANAR && c->type != DG_DICOM_CLOSED_PLANAR_XOR) {
            out->other++;
            continue;
        }
        out->contour[out->count++] = (dg_contour){c->points_xyz_mm, c->count};
        low = fmin(low, c->z_mm);
        high = fmax(high, c->z_mm);
    }
    if (out->count == 0) return DG_OK;
    /* a slice more on each side: what lies off the stack is told by its ends */
    const double n = (double)grid->shape[0];
    const double first = floor((low - grid->origin_mm[0]) / grid->spacing_mm[0]) - 1;
    const double last = ceil((high - grid->origin_mm[0]) / grid->spacing_mm[0]) + 1;
    out->first = (int64_t)fmin(fmax(first, 0), n - 1);
    out->last = (int64_t)fmax(fmin(last, n - 1), 0);
    return DG_OK;
}

/* Sets mask[slice, row, column] of the slices of a region. */
static dg_status rasterise(rt_reading *r, const region *g, dg_rt_structure *about, uint8_t *mask)
{
    const dg_grid *grid = &r->ct_grid;
    const int64_t slices = g->last - g->first + 1;
    dg_raster_report report = {0};
    double *z;
    DG_TRY(DG_NEW(&z, slices, "slices of a region"));
    for (int64_t k = 0; k < slices; k++) z[k] = grid->origin_mm[0] + grid->spacing_mm[0] * (double)(g->first + k);
    const dg_raster_slices where = {.rows = grid->shape[1],
                                    .columns = grid->shape[2],
                                    .count = slices,
                                    .spacing_mm = {grid->spacing_mm[1], grid->spacing_mm[2]},
                                    .origin_mm = {grid->origin_mm[1], grid->origin_mm[2]},
                                    .slice_z_mm = z};
    dg_status status =
        dg_raster_contours(g->contour, g->count, &where,
                           r->settings->upstream ? DG_RASTER_UNION_UPSTREAM : DG_RASTER_EVEN_ODD, mask, &report);
    if (status == DG_ERR_DATA) {
        char text[DG_DICOM_NOTE_TEXT];
        snprintf(text, sizeof text, "%.255s", dg_error_last()->text);
        status = rt_refuse(r, "contour-plane", "structures: %s", text);
    }
    about->raster.left_out += report.left_out;
    about->raster.sub_voxel += report.sub_voxel;
    about->raster.gap_slices += report.gap_slices;
    dg_free(&z);
    return status;
}

/* Adds the region to r->mask. */
static dg_status add_voxels(rt_reading *r, const region *g, dg_rt_structure *about)
{
    const int64_t slice = r->ct_grid.shape[1] * r->ct_grid.shape[2], voxels = (g->last - g->first + 1) * slice;
    uint8_t *to = r->mask + g->first * slice, *mask = NULL;
    dg_status status;
    const bool alone = r->mask_first > r->mask_last;
    if (g->first < r->mask_first) r->mask_first = g->first;
    if (g->last > r->mask_last) r->mask_last = g->last;
    if (alone) return rasterise(r, g, about, to);
    DG_TRY(DG_NEW(&mask, voxels, "mask of a region"));
    status = rasterise(r, g, about, mask);
    for (int64_t i = 0; status == DG_OK && i < voxels; i++) to[i] |= mask[i];
    dg_free(&mask);
    return status;
}

static dg_status add_region(rt_reading *r, const dg_dicom_roi *roi, const char *name, dg_rt_structure *about)
{
    region g;
    const size_t used = strlen(about->joined);
    snprintf(about->joined + used, sizeof about->joined - used, "%s%s", used == 0 ? "" : " + ", name);
    about->regions++;
    about->contours += roi->contour_count;
    about->empty_contours += roi->empty_contours;
    dg_status status = take_contours(roi, &r->ct_grid, &g);
    about->other_contours += g.other;
    if (status == DG_OK && g.count > 0) status = add_voxels(r, &g, about);
    dg_free(&g.contour);
    return status;
}

static void tell(dg_rt_case *out, const char *name, const dg_rt_structure *a)
{
    if (a->regions > 1)
        rt_find(out, "structure-united", "%s is %lld regions: %s", name, (long long)a->regions, a->joined);
    if (a->empty_contours > 0)
        rt_find(out, "contour-empty", "%s: %lld contours without points", name, (long long)a->empty_contours);
    if (a->other_contours > 0)
        rt_find(out, "contour-open", "%s: %lld points and open lines cover nothing", name,
                (long long)a->other_contours);
    if (a->raster.left_out > 0)
        rt_find(out, "contour-outside", "%s: %lld contours above or below the CT are left out", name,
                (long long)a->raster.left_out);
    if (a->raster.sub_voxel > 0)
        rt_find(out, "contour-sub-voxel", "%s: %lld contours cover no voxel centre", name,
                (long long)a->raster.sub_voxel);
    if (a->raster.gap_slices > 0)
        rt_find(out, "contour-gap", "%s: %lld slices between its contours have none", name,
                (long long)a->raster.gap_slices);
}

/* Packs the set voxels first .. last of a row whose voxel 0 is number `index`. */
static void pack_row(const uint8_t *row, int64_t index, int64_t first, int64_t last, uint8_t *packed)
{
    int64_t x = first;
    while (x <= last) {
        uint64_t eight;
        if ((index + x) % 8 == 0 && x + 8 <= last + 1) {
            memcpy(&eight, row + x, sizeof eight);
            packed[(index + x) / 8] = dg_bits_gather(eight);
            x += 8;
            continue;
        }
        if (row[x] != 0) dg_bits_set(packed, index + x);
        x++;
    }
}

static void count_row(const uint8_t *row, const int64_t first[3], const int64_t last[3], rt_voxels *out)
{
    int64_t count = 0, sum_x = 0;
    for (int64_t x = first[2]; x <= last[2]; x++) {
        count += row[x];
        sum_x += row[x] * x;
    }
    out->count += count;
    out->sum_yx[0] += count * first[1];
    out->sum_yx[1] += sum_x;
    for (int a = 0; a < 3; a++) {
        if (first[a] < out->first[a]) out->first[a] = first[a];
        if (last[a] > out->last[a]) out->last[a] = last[a];
    }
}

/* Counts and packs r->mask, and clears it. */
static dg_status pack(rt_reading *r, rt_voxels *out)
{
    const int64_t *n = r->ct_grid.shape;
    *out = (rt_voxels){.first = {n[0], n[1], n[2]}, .last = {-1, -1, -1}};
    DG_TRY(DG_NEW(&out->packed, dg_bits_bytes(dg_grid_voxels(&r->ct_grid)), "voxels of a structure"));
    for (int64_t z = r->mask_first; z <= r->mask_last; z++)
        for (int64_t y = 0; y < n[1]; y++) {
            const int64_t index = dg_grid_index(&r->ct_grid, z, y, 0);
            uint8_t *row = r->mask + index;
            const uint8_t *low = memchr(row, 1, (size_t)n[2]), *high = memrchr(row, 1, (size_t)n[2]);
            if (low == NULL) continue;
            const int64_t first[3] = {z, y, low - row}, last[3] = {z, y, high - row};
            count_row(row, first, last, out);
            pack_row(row, index, first[2], last[2], out->packed);
            memset(row + first[2], 0, (size_t)(last[2] - first[2] + 1));
        }
    return DG_OK;
}

/* The level the plan gives a target, where the mapping gives none. */
static void take_level(const rt_reading *r, const dg_dicom_roi *roi, dg_structure *s)
{
    const dg_dicom_plan *plan = &r->out->plan;
    for (int64_t t = 0; s->role == DG_ROLE_TARGET && s->prescription_gy == 0 && t < plan->target_count; t++)
        if (plan->targets[t].roi_number == roi->number) s->prescription_gy = plan->targets[t].prescription_gy;
}

/* One structure of the mapping; it gets the next bit when it has voxels. */
static dg_status add_structure(rt_reading *r, const dg_dicom_structures *set, const dg_mapping_result *result, int row)
{
    const dg_mapping *m = r->settings->mapping;
    dg_rt_case *out = r->out;
    dg_structure s = m->row[row].structure;
    dg_rt_structure about = {.mean_gy = NAN, .max_gy = NAN, .d95_gy = NAN};
    r->mask_first = r->ct_grid.shape[0];
    r->mask_last = -1;
    for (int64_t i = 0; i < set->roi_count; i++) {
        if (result[i].row != row) continue;
        take_level(r, &set->rois[i], &s);
        DG_TRY(add_region(r, &set->rois[i], m->alias[result[i].alias].name, &about));
    }
    if (about.regions == 0) return DG_OK;
    rt_voxels *voxels = &r->voxels[out->structure_count];
    DG_TRY(pack(r, voxels));
    about.voxels = voxels->count;
    tell(out, s.name, &about);
    if (about.voxels == 0) {
        dg_free(&voxels->packed);
        if (m->row[row].required)
            return rt_refuse(r, "structure-empty",
                             "the contours of %s, which the mapping requires, cover no voxel centre", s.name);
        rt_find(out, "structure-empty", "%s is left out: its contours cover no voxel centre", s.name);
        return DG_OK;
    }
    r->required[out->structure_count] = m->row[row].required;
    out->structure[out->structure_count] = s;
    out->about[out->structure_count++] = about;
    return DG_OK;
}

static dg_status resolve(rt_reading *r, const dg_dicom_structures *set, dg_mapping_result *result)
{
    const char **name = NULL, *rule = NULL;
    bool *filled = NULL;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&name, set->roi_count, "names of regions"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&filled, set->roi_count, "regions with contours"), cleanup);
    for (int64_t i = 0; i < set->roi_count; i++) {
        name[i] = set->rois[i].name;
        filled[i] = set->rois[i].contour_count > 0;
    }
    status = dg_mapping_resolve(r->settings->mapping, name, filled, (int)set->roi_count, result, &rule);
    if (rule != NULL) {
        char text[DG_ERROR_TEXT_MAX];
        snprintf(text, sizeof text, "%s", dg_error_last()->text);
        status = rt_refuse(r, rule, "%s", text);
    }
cleanup:
    dg_free(&filled);
    dg_free(&name);
    return status;
}

dg_status rt_add_structures(rt_reading *r, const dg_dicom_structures *set)
{
    dg_mapping_result *result = NULL;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&result, set->roi_count, "mapped regions"), cleanup);
    DG_TRY_GOTO(status, resolve(r, set, result), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&r->mask, dg_grid_voxels(&r->ct_grid), "mask of a structure"), cleanup);
    for (int row = 0; row < r->settings->mapping->count; row++)
        DG_TRY_GOTO(status, add_structure(r, set, result, row), cleanup);
cleanup:
    dg_free(&r->mask);
    dg_free(&result);
    return status;
}
