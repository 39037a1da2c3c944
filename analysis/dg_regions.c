/* dg_regions.c - see dg_regions.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_regions.h"
#include "dg_margin.h"
#include "dg_mem.h"

#include <stdio.h>
#include <string.h>

enum { FIXED = DG_REGION_OAR }; /* regions that every case has; the organs follow */

static const char *const FIXED_NAME[FIXED] = {"global",   "ptv_region", "low_dose",
                                              "mid_dose", "high_dose",  "no_mans_land"};

static uint64_t bits_of(const dg_regions_input *in, dg_role role)
{
    uint64_t bits = 0;
    for (int k = 0; k < in->structure_count; k++)
        if (in->structure[k].role == role) bits |= (uint64_t)1 << k;
    return bits;
}

static dg_status name_regions(const dg_regions_input *in, int organ_of[DG_REGIONS_MAX], dg_regions *out)
{
    int organs = 0;
    for (int k = 0; k < in->structure_count; k++) organs += in->structure[k].role == DG_ROLE_OAR;
    if (FIXED + organs > DG_REGIONS_MAX)
        return DG_FAIL(DG_ERR_UNSUPPORTED,
                       "%d organs at risk and %d other regions: at most %d regions can be told apart; "
                       "leave organs out of the evaluation",
                       organs, (int)FIXED, (int)DG_REGIONS_MAX);
    for (int r = 0; r < FIXED; r++) {
        out->region[r].kind = (dg_region_kind)r;
        snprintf(out->region[r].name, sizeof out->region[r].name, "%s", FIXED_NAME[r]);
    }
    out->count = FIXED;
    for (int k = 0; k < in->structure_count; k++) {
        if (in->structure[k].role != DG_ROLE_OAR) continue;
        dg_region *region = &out->region[out->count];
        organ_of[out->count++] = k;
        region->kind = DG_REGION_OAR;
        snprintf(region->name, sizeof region->name, "oar_%s", in->structure[k].name);
    }
    return DG_OK;
}

/* What decides the regions of a voxel, worked out once. */
typedef struct rules {
    double low_gy, mid_gy, high_gy;
    bool prescribed;
    uint64_t body, organs;
    const uint8_t *near_target;
} rules;

static uint64_t region_bits(const rules *r, uint64_t mask, double gy, bool near_target, double cutoff_gy)
{
    uint64_t bits = (uint64_t)1 << DG_REGION_GLOBAL;
    if (near_target) bits |= (uint64_t)1 << DG_REGION_PTV;
    if (r->prescribed) {
        if (gy >= r->low_gy && gy < r->mid_gy) bits |= (uint64_t)1 << DG_REGION_LOW;
        if (gy >= r->mid_gy && gy <= r->high_gy) bits |= (uint64_t)1 << DG_REGION_MID;
        if (gy > r->high_gy) bits |= (uint64_t)1 << DG_REGION_HIGH;
    }
    if ((mask & r->body) != 0 && gy >= cutoff_gy && !near_target && (mask & r->organs) == 0)
        bits |= (uint64_t)1 << DG_REGION_NO_MANS_LAND;
    return bits;
}

/* One row of voxels, of which first .. end - 1 are known; count[region] += how many. */
static void fill_row(const dg_regions_input *in, const rules *r, const int *organ_of, const dg_regions *out,
                     int64_t first, int64_t end, int64_t *count)
{
    for (int64_t i = first; i < end; i++) {
        const uint64_t mask = in->masks[i];
        uint64_t bits = region_bits(r, mask, in->reference_gy[i], r->near_target[i] != 0, in->cutoff_gy);
        if ((mask & r->organs) != 0)
            for (int k = FIXED; k < out->count; k++) bits |= (mask >> organ_of[k] & 1) << k;
        out->bits[i] = bits;
        for (; bits != 0; bits &= bits - 1) count[__builtin_ctzll(bits)]++;
    }
}

static int64_t clipped(int64_t at, int64_t length) { return at < 0 ? 0 : at > length ? length : at; }

static void fill(const dg_regions_input *in, const rules *r, const int *organ_of, dg_regions *out)
{
    const dg_grid *g = in->grid;
    int64_t low[3], high[3], count[DG_REGIONS_MAX] = {0};
    for (int a = 0; a < 3; a++) {
        low[a] = clipped(in->known.start[a], g->shape[a]);
        high[a] = clipped(in->known.start[a] + in->known.shape[a], g->shape[a]);
    }
#pragma omp parallel for num_threads(in->threads > 1 ? in->threads : 1) reduction(+ : count[:DG_REGIONS_MAX])
    for (int64_t z = low[0]; z < high[0]; z++)
        for (int64_t y = low[1]; y < high[1]; y++)
            fill_row(in, r, organ_of, out, dg_grid_index(g, z, y, low[2]), dg_grid_index(g, z, y, high[2]), count);
    for (int k = 0; k < out->count; k++) out->region[k].voxels = count[k];
}

static void explain(const dg_regions_input *in, const rules *r, bool has_target, dg_regions *out)
{
    for (int k = 0; k < out->count; k++) {
        dg_region *region = &out->region[k];
        const char *why = "no voxel of the known dose lies in it";
        if (region->voxels > 0) continue;
        if (region->kind == DG_REGION_PTV && !has_target) why = "no target";
        if (region->kind >= DG_REGION_LOW && region->kind <= DG_REGION_HIGH && !r->prescribed) why = "no prescription";
        if (region->kind == DG_REGION_NO_MANS_LAND && r->body == 0) why = "no body";
        snprintf(region->reason, sizeof region->reason, "%s", why);
    }
}

dg_status dg_regions_make(const dg_regions_input *input, dg_regions *out)
{
    int organ_of[DG_REGIONS_MAX] = {0};
    const int64_t voxels = dg_grid_voxels(input->grid);
    const double rx = input->prescription_gy;
    uint8_t *near_target = NULL;
    bool has_target = false;
    dg_status status;
    /* percent * rx / 100 is exact for whole numbers of Gy where 0.1 * rx is not */
    rules r = {.low_gy = 10 * rx / 100,
               .mid_gy = 50 * rx / 100,
               .high_gy = 90 * rx / 100,
               .prescribed = rx > 0,
               .body = bits_of(input, DG_ROLE_BODY),
               .organs = bits_of(input, DG_ROLE_OAR)};
    memset(out, 0, sizeof *out);
    DG_TRY(name_regions(input, organ_of, out));
    DG_TRY_GOTO(status, DG_NEW(&out->bits, voxels, "regions"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&near_target, voxels, "targets with margin"), cleanup);
    DG_TRY_GOTO(status,
                dg_margin_mask(input->masks, bits_of(input, DG_ROLE_TARGET), input->grid, input->margin_mm,
                               input->box_margin, input->threads, near_target, &has_target),
                cleanup);
    r.near_target = near_target;
    fill(input, &r, organ_of, out);
    explain(input, &r, has_target, out);
cleanup:
    dg_free(&near_target);
    if (status != DG_OK) dg_regions_release(out);
    return status;
}

void dg_regions_release(dg_regions *regions)
{
    dg_free(&regions->bits);
    regions->count = 0;
}

int dg_regions_find(const dg_regions *regions, const char *name)
{
    for (int r = 0; r < regions->count; r++)
        if (strcmp(regions->region[r].name, name) == 0) return r;
    return -1;
}
