/* dvh_partial.c - doses of a structure by its mask, with partial volumes (dg_dvh_create_structure).
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_distance.h"
#include "dg_mem.h"
#include "dvh_impl.h"

#include <math.h>
#include <string.h>

enum { BINS = 1 << 16 };

/* The part of the box around the structure, with its signed distance. */
typedef struct part {
    dg_grid grid;
    int64_t start[3];
    int64_t members;
    float *sdf_mm;
    double reach_mm; /* no sub-voxel further out than this can be taken */
} part;

static dg_status count_members(const dg_dvh_structure *s, int64_t low[3], int64_t high[3], int64_t *members)
{
    *members = 0;
    for (int64_t z = s->box.start[0]; z < s->box.start[0] + s->box.shape[0]; z++)
        for (int64_t y = s->box.start[1]; y < s->box.start[1] + s->box.shape[1]; y++) {
            const int64_t row = dg_grid_index(s->grid, z, y, 0), end = s->box.start[2] + s->box.shape[2];
            const uint8_t *first = memchr(s->member + row + s->box.start[2], 1, (size_t)s->box.shape[2]);
            for (int64_t x = first == NULL ? end : first - (s->member + row); x < end; x++) {
                const int64_t at[3] = {z, y, x}, i = row + x;
                if (s->member[i] == 0) continue;
                if (!isfinite(s->dose_gy[i]))
                    return DG_FAIL(DG_ERR_NUMERIC,
                                   "the dose of voxel %lld is %g Gy; a structure's doses must be finite", (long long)i,
                                   (double)s->dose_gy[i]);
                for (int a = 0; a < 3; a++) {
                    low[a] = *members == 0 || at[a] < low[a] ? at[a] : low[a];
                    high[a] = *members == 0 || at[a] > high[a] ? at[a] : high[a];
                }
                ++*members;
            }
        }
    return DG_OK;
}

static dg_status take_centres(const dg_dvh_structure *s, const int64_t low[3], const int64_t high[3], dg_dvh *out)
{
    for (int64_t z = low[0]; z <= high[0]; z++)
        for (int64_t y = low[1]; y <= high[1]; y++)
            for (int64_t x = low[2]; x <= high[2]; x++) {
                const int64_t i = dg_grid_index(s->grid, z, y, x);
                if (s->member[i] != 0) out->dose_gy[out->count++] = s->dose_gy[i];
            }
    return DG_OK;
}

/* The structure's surroundings and their signed distance. A sub-voxel of a member lies between voxels at most a
 * diagonal away from the structure, so the level that is sought is at most a diagonal; voxels two diagonals out hold
 * none. */
static dg_status part_create(const dg_dvh_structure *s, const int64_t low[3], const int64_t high[3], part *p)
{
    dg_box box;
    uint8_t *mask;
    double diagonal2 = 0;
    for (int a = 0; a < 3; a++) diagonal2 += s->grid->spacing_mm[a] * s->grid->spacing_mm[a];
    for (int a = 0; a < 3; a++) {
        const int64_t begin = s->box.start[a], end = begin + s->box.shape[a];
        const int64_t shell = (int64_t)ceil(sqrt(diagonal2) / s->grid->spacing_mm[a]) + 2;
        p->start[a] = box.start[a] = low[a] - shell < begin ? begin : low[a] - shell;
        box.shape[a] = (high[a] + shell + 1 > end ? end : high[a] + shell + 1) - box.start[a];
    }
    p->reach_mm = 2 * sqrt(diagonal2);
    p->grid = dg_grid_boxed(s->grid, &box);
    DG_TRY(DG_NEW(&p->sdf_mm, dg_box_voxels(&box), "signed distance of a structure"));
    DG_TRY(DG_NEW(&mask, dg_box_voxels(&box), "mask of a structure"));
    for (int64_t z = 0; z < box.shape[0]; z++)
        for (int64_t y = 0; y < box.shape[1]; y++)
            memcpy(mask + dg_grid_index(&p->grid, z, y, 0),
                   s->member + dg_grid_index(s->grid, z + box.start[0], y + box.start[1], box.start[2]),
                   (size_t)box.shape[2]);
    dg_status status = dg_signed_distance(mask, &p->grid, 4 * sqrt(diagonal2), s->threads, p->sdf_mm);
    dg_free(&mask);
    return status;
}

/* Where the sub-voxels of an axis lie: neighbours and weight of the upper one, for each of the n of a voxel. */
typedef struct between {
    int64_t lower, upper;
    float weight;
} between;

static between sub_voxel(int64_t voxel, int k, int n, int64_t first, int64_t count)
{
    const double at = (double)voxel + (k + 0.5) / n - 0.5;
    const double inside = fmin(fmax(at, (double)first), (double)(first + count - 1)), below = floor(inside);
    between b = {.lower = (int64_t)below, .weight = (float)(inside - below)};
    b.upper = b.lower + 1 < first + count ? b.lower + 1 : b.lower;
    return b;
}

static float blend(float a, float b, float weight) { return a + (b - a) * weight; }

static float trilinear(const float *v, const dg_grid *g, const between *z, const between *y, const between *x)
{
    float plane[2];
    for (int k = 0; k < 2; k++) {
        const int64_t at_z = k == 0 ? z->lower : z->upper;
        const float *low = v + dg_grid_index(g, at_z, y->lower, 0), *high = v + dg_grid_index(g, at_z, y->upper, 0);
        plane[k] = blend(blend(low[x->lower], low[x->upper], x->weight),
                         blend(high[x->lower], high[x->upper], x->weight), y->weight);
    }
    return blend(plane[0], plane[1], z->weight);
}

/* What is done with each sub-voxel near the structure, in z,y,x order of voxels. */
typedef struct walk {
    const dg_dvh_structure *s;
    const part *p;
    enum { COUNT_HIGH, COUNT_LOW, TAKE } what;
    uint32_t level; /* key of the level, as far as it is known */
    int64_t ties;   /* TAKE: how many at the level itself are still to be taken */
    int64_t *bins;
    dg_dvh *out;
} walk;

static void visit(walk *w, float mm, const between at[3])
{
    const uint32_t key = dg_float_key(mm + 0.0f); /* -0 and 0 are one level */
    if (w->what == COUNT_HIGH) {
        w->bins[key >> 16]++;
    } else if (w->what == COUNT_LOW) {
        if (key >> 16 == w->level >> 16) w->bins[key & 0xffff]++;
    } else if (key < w->level || (key == w->level && w->ties > 0)) {
        between dose_at[3];
        w->ties -= key == w->level;
        for (int a = 0; a < 3; a++) {
            dose_at[a] = at[a];
            dose_at[a].lower += w->p->start[a];
            dose_at[a].upper += w->p->start[a];
        }
        w->out->dose_gy[w->out->count++] = trilinear(w->s->dose_gy, w->s->grid, &dose_at[0], &dose_at[1], &dose_at[2]);
    }
}

static void visit_voxel(walk *w, int64_t z, int64_t y, int64_t x)
{
    const part *p = w->p;
    const int n = w->s->supersample;
    between at[3];
    for (int i = 0; i < n; i++) {
        at[0] = sub_voxel(z, i, n, 0, p->grid.shape[0]);
        for (int j = 0; j < n; j++) {
            at[1] = sub_voxel(y, j, n, 0, p->grid.shape[1]);
            for (int k = 0; k < n; k++) {
                at[2] = sub_voxel(x, k, n, 0, p->grid.shape[2]);
                visit(w, trilinear(p->sdf_mm, &p->grid, &at[0], &at[1], &at[2]), at);
            }
        }
    }
}

static void go(walk *w)
{
    const part *p = w->p;
    int64_t i = 0;
    for (int64_t z = 0; z < p->grid.shape[0]; z++)
        for (int64_t y = 0; y < p->grid.shape[1]; y++)
            for (int64_t x = 0; x < p->grid.shape[2]; x++, i++)
                if (p->sdf_mm[i] <= p->reach_mm) visit_voxel(w, z, y, x);
}

/* The bin that holds the `wanted`-th (1-based); *wanted becomes its number inside the bin. */
static uint32_t find_bin(const int64_t *bins, int64_t *wanted)
{
    uint32_t bin = 0;
    while (bin < BINS - 1 && bins[bin] < *wanted) *wanted -= bins[bin++];
    return bin;
}

static dg_status take_sub_voxels(const dg_dvh_structure *s, const part *p, int64_t wanted, dg_dvh *out)
{
    walk w = {.s = s, .p = p, .what = COUNT_HIGH, .out = out, .ties = wanted};
    DG_TRY(DG_NEW(&w.bins, BINS, "levels of a signed distance"));
    go(&w);
    w.level = find_bin(w.bins, &w.ties) << 16;
    memset(w.bins, 0, BINS * sizeof *w.bins);
    w.what = COUNT_LOW;
    go(&w);
    w.level |= find_bin(w.bins, &w.ties);
    w.what = TAKE;
    go(&w);
    dg_free(&w.bins);
    return DG_OK;
}

dg_status dg_dvh_create_structure(const dg_dvh_structure *structure, dg_dvh *out)
{
    const int n = structure->supersample;
    int64_t low[3] = {0}, high[3] = {-1, -1, -1};
    part p = {.sdf_mm = NULL};
    dg_status status;
    *out = (dg_dvh){.dose_gy = NULL};
    if (n < 1 || n > DG_SUPERSAMPLE_MAX)
        return DG_FAIL(DG_ERR_USAGE, "%d sub-voxels along a voxel: it must be 1 (voxel centres) to %d", n,
                       (int)DG_SUPERSAMPLE_MAX);
    out->voxel_mm3 = structure->grid->spacing_mm[0] * structure->grid->spacing_mm[1] * structure->grid->spacing_mm[2] /
                     ((double)n * n * n);
    DG_TRY(count_members(structure, low, high, &p.members));
    const int64_t wanted = p.members * n * n * n;
    DG_TRY(DG_NEW(&out->dose_gy, wanted, "doses of a structure"));
    if (n == 1 || p.members == 0) {
        status = take_centres(structure, low, high, out);
    } else {
        DG_TRY_GOTO(status, part_create(structure, low, high, &p), cleanup);
        DG_TRY_GOTO(status, take_sub_voxels(structure, &p, wanted, out), cleanup);
    }
    DG_TRY_GOTO(status, dg_dvh_sort(out->dose_gy, out->count), cleanup);
    if (out->count > 0 && !(isfinite(out->dose_gy[0]) && isfinite(out->dose_gy[out->count - 1])))
        status =
            DG_FAIL(DG_ERR_NUMERIC, "a dose beside the structure is not finite; partial volumes need all around it");
cleanup:
    dg_free(&p.sdf_mm);
    if (status != DG_OK) dg_dvh_release(out);
    return status;
}
