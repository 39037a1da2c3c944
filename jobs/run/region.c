/* region.c - where a case can have dose. SPDX-License-Identifier: Apache-2.0 */
#include "region.h"

#include "dg_mem.h"

#include <string.h>

enum { SLAB = 32 }; /* slices read at once: the height of a stored chunk */

dg_region dg_region_of(const dg_case_info *info)
{
    uint64_t possible = 0, body = 0;
    for (int s = 0; s < info->structure_count; s++) {
        if (info->structure[s].role == DG_ROLE_POSSIBLE_DOSE) possible |= UINT64_C(1) << s;
        if (info->structure[s].role == DG_ROLE_BODY) body |= UINT64_C(1) << s;
    }
    if (possible != 0) return (dg_region){DG_REGION_POSSIBLE_DOSE, possible};
    if (body != 0) return (dg_region){DG_REGION_BODY, body};
    return (dg_region){DG_REGION_ALL, 0};
}

/* Is shown the mask bits of a slab of the case. */
typedef void visit_slab(const dg_box *slab, const uint64_t *bits, uint64_t wanted, void *into);

static dg_status visit_case(dg_case *c, uint64_t wanted, visit_slab *visit, void *into)
{
    const int64_t *n = dg_case_get_info(c)->grid.shape;
    uint64_t *bits = NULL;
    dg_status status = DG_NEW(&bits, SLAB * n[1] * n[2], "mask bits of some slices");
    for (int64_t z = 0; z < n[0] && status == DG_OK; z += SLAB) {
        const dg_box slab = {.start = {z, 0, 0}, .shape = {n[0] - z < SLAB ? n[0] - z : SLAB, n[1], n[2]}};
        status = dg_case_read_mask_bits(c, &slab, bits);
        if (status == DG_OK) visit(&slab, bits, wanted, into);
    }
    dg_free(&bits);
    return status;
}

static void clear_outside(const dg_box *slab, const uint64_t *bits, uint64_t wanted, void *into)
{
    float *dose = (float *)into + slab->start[0] * slab->shape[1] * slab->shape[2];
    for (int64_t i = 0; i < dg_box_voxels(slab); i++)
        if ((bits[i] & wanted) == 0) dose[i] = 0;
}

dg_status dg_region_restrict(dg_case *c, float *dose_gy)
{
    const dg_region region = dg_region_of(dg_case_get_info(c));
    if (region.kind == DG_REGION_ALL) return DG_OK;
    return visit_case(c, region.bits, clear_outside, dose_gy);
}

typedef struct bounds {
    int64_t first[3], end[3];
} bounds;

static void widen(const dg_box *slab, const uint64_t *bits, uint64_t wanted, void *into)
{
    bounds *b = into;
    const int64_t ny = slab->shape[1], nx = slab->shape[2];
    for (int64_t i = 0; i < dg_box_voxels(slab); i++) {
        if ((bits[i] & wanted) == 0) continue;
        const int64_t at[3] = {slab->start[0] + i / (ny * nx), i / nx % ny, i % nx};
        for (int a = 0; a < 3; a++) {
            if (at[a] < b->first[a]) b->first[a] = at[a];
            if (at[a] >= b->end[a]) b->end[a] = at[a] + 1;
        }
    }
}

dg_status dg_region_bound(dg_case *c, dg_box *box)
{
    const dg_case_info *info = dg_case_get_info(c);
    const int64_t *n = info->grid.shape;
    const dg_region region = dg_region_of(info);
    bounds b = {.first = {n[0], n[1], n[2]}};
    *box = (dg_box){.shape = {n[0], n[1], n[2]}};
    if (region.kind == DG_REGION_ALL) return DG_OK;
    DG_TRY(visit_case(c, region.bits, widen, &b));
    for (int a = 0; a < 3; a++) {
        box->start[a] = b.first[a] < b.end[a] ? b.first[a] : 0;
        box->shape[a] = b.end[a] - box->start[a];
    }
    return DG_OK;
}
