/* dg_anatomy.c - see dg_anatomy.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_anatomy.h"
#include "dg_distance.h"
#include "dg_mem.h"
#include "dg_regions.h"

#include <math.h>
#include <string.h>

/* What a case is measured with. */
typedef struct measure {
    const dg_anatomy_input *in;
    const dg_anatomy_params *params;
    dg_structure structure[DG_STRUCTURES_MAX]; /* with the body's stand-in */
    uint64_t targets, organs, body;
    int64_t voxels;
    double voxel_cc, largest_gy;
    uint8_t *mask;
    float *distance_mm; /* to the targets */
} measure;

static uint64_t bits_of(const measure *m, dg_role role)
{
    uint64_t bits = 0;
    for (int k = 0; k < m->in->structure_count; k++)
        if (m->structure[k].role == role) bits |= (uint64_t)1 << k;
    return bits;
}

static bool is_known(const dg_box *known, int64_t z, int64_t y, int64_t x)
{
    const int64_t at[3] = {z, y, x};
    for (int a = 0; a < 3; a++)
        if (at[a] < known->start[a] || at[a] >= known->start[a] + known->shape[a]) return false;
    return true;
}

static dg_status find_largest(measure *m)
{
    const dg_grid *g = m->in->grid;
    for (int64_t z = 0; z < g->shape[0]; z++)
        for (int64_t y = 0; y < g->shape[1]; y++)
            for (int64_t x = 0; x < g->shape[2]; x++) {
                const double gy = m->in->dose_gy[dg_grid_index(g, z, y, x)];
                if (!is_known(&m->in->known, z, y, x)) continue;
                if (!isfinite(gy))
                    return DG_FAIL(DG_ERR_NUMERIC,
                                   "clinical dose at voxel (%lld, %lld, %lld) is %g; evaluate finite doses",
                                   (long long)z, (long long)y, (long long)x, gy);
                m->largest_gy = fmax(m->largest_gy, gy);
            }
    return DG_OK;
}

/* Voxels with a bit of a and one of b. */
static int64_t count_both(const measure *m, uint64_t a, uint64_t b)
{
    int64_t count = 0;
    for (int64_t i = 0; i < m->voxels; i++) count += (m->in->masks[i] & a) != 0 && (m->in->masks[i] & b) != 0;
    return count;
}

static int64_t count_bits(const measure *m, uint64_t any) { return count_both(m, any, any); }

/* Roles as given, but for the body's stand-in. */
static void take_structures(measure *m, dg_anatomy *out)
{
    memcpy(m->structure, m->in->structure, (size_t)m->in->structure_count * sizeof *m->structure);
    out->body_is_possible_dose = 0;
    if (bits_of(m, DG_ROLE_BODY) == 0)
        for (int k = 0; k < m->in->structure_count; k++)
            if (m->structure[k].role == DG_ROLE_POSSIBLE_DOSE) {
                m->structure[k].role = DG_ROLE_BODY;
                out->body_is_possible_dose = 1;
            }
    m->targets = bits_of(m, DG_ROLE_TARGET);
    m->organs = bits_of(m, DG_ROLE_OAR);
    m->body = bits_of(m, DG_ROLE_BODY);
}

static void measure_sizes(measure *m, dg_anatomy *out)
{
    const int64_t target = count_bits(m, m->targets);
    out->target_cc = (double)target * m->voxel_cc;
    out->body_cc = m->body == 0 ? NAN : (double)count_bits(m, m->body) * m->voxel_cc;
    for (int k = 0; k < m->in->structure_count; k++) {
        const uint64_t bit = (uint64_t)1 << k;
        if (((m->targets | m->organs) & bit) != 0) out->structures += count_bits(m, bit) > 0;
    }
    if (target > 0 && m->organs != 0)
        out->overlap_percent = 100.0 * (double)count_both(m, m->targets, m->organs) / (double)target;
}

/* Each organ: its share of the targets, and the smallest distance of its voxels to them. */
static void measure_organs(measure *m, dg_anatomy *out)
{
    const int64_t target = count_bits(m, m->targets);
    for (int k = 0; k < m->in->structure_count && target > 0; k++) {
        const uint64_t bit = (uint64_t)1 << k;
        double nearest = INFINITY;
        if ((m->organs & bit) == 0 || count_bits(m, bit) == 0) continue;
        for (int64_t i = 0; i < m->voxels; i++)
            if ((m->in->masks[i] & bit) != 0) nearest = fmin(nearest, m->distance_mm[i]);
        out->organ_overlap_percent[k] = 100.0 * (double)count_both(m, m->targets, bit) / (double)target;
        out->organ_distance_mm[k] = nearest;
        if (!(out->nearest_organ_mm <= nearest)) out->nearest_organ_mm = nearest;
    }
}

/* Mean dose of no man's land by distance; sums run in the order of voxels, whatever the threads. */
static void measure_bins(measure *m, const dg_regions *regions, dg_anatomy *out)
{
    const uint64_t here = (uint64_t)1 << dg_regions_find(regions, "no_mans_land");
    double sum[DG_ANATOMY_BINS_MAX] = {0};
    int64_t all = 0;
    for (int64_t i = 0; i < m->voxels; i++) {
        if ((regions->bits[i] & here) == 0) continue;
        all++;
        const double bin = floor((m->distance_mm[i] - m->params->margin_mm) / m->params->bin_mm);
        if (!(bin >= 0 && bin < m->params->bins)) continue;
        sum[(int)bin] += m->in->dose_gy[i];
        out->voxels[(int)bin]++;
    }
    out->no_mans_land_cc = m->body == 0 ? NAN : (double)all * m->voxel_cc;
    for (int b = 0; b < m->params->bins; b++)
        if (out->voxels[b] > 0 && m->in->prescription_gy > 0)
            out->dose_percent[b] = 100 * sum[b] / (out->voxels[b] * m->in->prescription_gy);
}

static dg_status measure_doses(measure *m, dg_anatomy *out)
{
    dg_regions regions;
    const dg_regions_input input = {.grid = m->in->grid,
                                    .reference_gy = m->in->dose_gy,
                                    .masks = m->in->masks,
                                    .structure = m->structure,
                                    .structure_count = m->in->structure_count,
                                    .known = m->in->known,
                                    .prescription_gy = m->in->prescription_gy,
                                    .cutoff_gy = m->params->cutoff_percent * m->largest_gy / 100,
                                    .margin_mm = m->params->margin_mm,
                                    .threads = m->params->threads};
    DG_TRY(dg_regions_make(&input, &regions));
    measure_bins(m, &regions, out);
    dg_regions_release(&regions);
    return DG_OK;
}

static dg_status check(const dg_anatomy_input *in, const dg_anatomy_params *p)
{
    if (p->bins < 1 || p->bins > DG_ANATOMY_BINS_MAX || !(p->bin_mm > 0) || !(p->margin_mm >= 0))
        return DG_FAIL(DG_ERR_USAGE, "%d bins of %g mm from %g mm; 1 to %d bins of a positive width are possible",
                       p->bins, p->bin_mm, p->margin_mm, DG_ANATOMY_BINS_MAX);
    if (in->structure_count < 0 || in->structure_count > DG_STRUCTURES_MAX)
        return DG_FAIL(DG_ERR_USAGE, "%d structures; up to %d are possible", in->structure_count, DG_STRUCTURES_MAX);
    return DG_OK;
}

static void forget(dg_anatomy *out)
{
    *out = (dg_anatomy){.target_cc = 0, .overlap_percent = NAN, .nearest_organ_mm = NAN};
    for (int b = 0; b < DG_ANATOMY_BINS_MAX; b++) out->dose_percent[b] = NAN;
    for (int k = 0; k < DG_STRUCTURES_MAX; k++) out->organ_overlap_percent[k] = out->organ_distance_mm[k] = NAN;
}

dg_status dg_anatomy_measure(const dg_anatomy_input *input, const dg_anatomy_params *params, dg_anatomy *out)
{
    measure m = {.in = input, .params = params, .voxels = dg_grid_voxels(input->grid)};
    const double *mm = input->grid->spacing_mm;
    dg_status status;
    forget(out);
    DG_TRY(check(input, params));
    m.voxel_cc = mm[0] * mm[1] * mm[2] / 1000;
    take_structures(&m, out);
    DG_TRY_GOTO(status, find_largest(&m), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&m.mask, m.voxels, "targets of a case"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&m.distance_mm, m.voxels, "distances of a case"), cleanup);
    for (int64_t i = 0; i < m.voxels; i++) m.mask[i] = (input->masks[i] & m.targets) != 0;
    DG_TRY_GOTO(status, dg_distance(m.mask, input->grid, params->threads, m.distance_mm), cleanup);
    measure_sizes(&m, out);
    measure_organs(&m, out);
    status = measure_doses(&m, out);
cleanup:
    dg_free(&m.mask);
    dg_free(&m.distance_mm);
    return status;
}
