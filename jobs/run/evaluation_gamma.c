/* evaluation_gamma.c - regions and gamma of some planes of a case: the part of an evaluation that is cut into slabs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "evaluation_impl.h"

#include "dg_mem.h"
#include "dg_trace.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double parts_per_gy = 1048576; /* as in dg_dose_metrics.h */

/* ---- the dose that percentages refer to --------------------------------------------------------------------------- */

static bool row_is_known(const dg_box *known, int64_t z, int64_t y)
{
    return z >= known->start[0] && z < known->start[0] + known->shape[0] && y >= known->start[1] &&
           y < known->start[1] + known->shape[1];
}

double dg_largest_known_gy(const dg_case_info *info, const float *dose_gy, int64_t start, int64_t planes)
{
    const int64_t *n = info->grid.shape;
    const dg_box *known = &info->dose_box;
    float largest = 0;
    for (int64_t z = 0; z < planes; z++)
        for (int64_t y = 0; y < n[1]; y++) {
            if (!row_is_known(known, start + z, y)) continue;
            const float *row = dose_gy + (z * n[1] + y) * n[2];
            for (int64_t x = known->start[2]; x < known->start[2] + known->shape[2]; x++)
                largest = row[x] > largest ? row[x] : largest;
        }
    return largest;
}

double dg_evaluation_norm_gy(const dg_evaluation_config *config, const dg_case_info *info, double largest_gy)
{
    switch (config->norm) {
    case DG_NORM_MAX: return largest_gy;
    case DG_NORM_PRESCRIPTION: return info->prescription_gy;
    case DG_NORM_GY: return config->norm_gy;
    }
    return 0;
}

void dg_forget_outside(const dg_case_info *info, int64_t start, int64_t planes, float *dose_gy)
{
    const int64_t *n = info->grid.shape;
    const dg_box *known = &info->dose_box;
    if (dg_box_is_grid(known, &info->grid)) return;
    for (int64_t z = 0; z < planes; z++)
        for (int64_t y = 0; y < n[1]; y++)
            for (int64_t x = 0; x < n[2]; x++) {
                bool inside =
                    row_is_known(known, start + z, y) && x >= known->start[2] && x < known->start[2] + known->shape[2];
                if (!inside) dose_gy[(z * n[1] + y) * n[2] + x] = 0;
            }
}

bool dg_evaluation_wants_region(const dg_evaluation_config *config, const char *name)
{
    if (config->regions.count == 0) return true;
    for (int i = 0; i < config->regions.count; i++) {
        const char *wanted = config->regions.value[i];
        if (strcmp(wanted, name) == 0 || (strcmp(wanted, "oar") == 0 && strncmp(name, "oar_", 4) == 0)) return true;
    }
    return false;
}

/* ---- one slab ----------------------------------------------------------------------------------------------------- */

typedef struct slab {
    const dg_slab_view *view;
    const dg_evaluation_config *config;
    int64_t plane, voxels;                /* of one plane; own voxels */
    const float *dose_gy, *prediction_gy; /* own planes */
    dg_regions regions;
    dg_region_result *region; /* [count] wanted ones */
    int64_t count;
    uint64_t *bits;                       /* [voxels] of the wanted regions; inside regions.bits */
    uint8_t *where;                       /* [voxels] in any wanted region */
    float *gamma[DG_EVALUATION_CRITERIA]; /* [voxels] */
    double *axis_mm[3];
} slab;

static void slab_release(slab *s)
{
    dg_regions_release(&s->regions);
    dg_free(&s->region);
    dg_free(&s->where);
    for (int c = 0; c < DG_EVALUATION_CRITERIA; c++) dg_free(&s->gamma[c]);
    for (int a = 0; a < 3; a++) dg_free(&s->axis_mm[a]);
}

static dg_status make_regions(slab *s)
{
    const dg_slab_view *v = s->view;
    const dg_case_info *info = v->info;
    const dg_box box = {.start = {v->start, 0, 0}, .shape = {v->planes, info->grid.shape[1], info->grid.shape[2]}};
    const dg_grid grid = dg_grid_boxed(&info->grid, &box);
    dg_regions_input input = {.grid = &grid,
                              .reference_gy = v->dose_gy,
                              .masks = v->masks,
                              .structure = info->structure,
                              .structure_count = info->structure_count,
                              .known = info->dose_box,
                              .prescription_gy = info->prescription_gy,
                              .cutoff_gy = s->config->gamma.cutoff_percent / 100 * v->norm_gy,
                              .margin_mm = s->config->margin_mm,
                              .threads = s->config->threads};
    input.known.start[0] -= v->start;
    DG_TRY(dg_regions_make(&input, &s->regions));
    return DG_NEW(&s->region, s->regions.count > 0 ? s->regions.count : 1, "regions of a case");
}

/* Keeps the bits of the wanted regions, counted from 0, of the slab's own planes. */
static dg_status keep_wanted(slab *s)
{
    int place[DG_REGIONS_MAX];
    uint64_t known = 0;
    for (int r = 0; r < s->regions.count; r++) {
        const dg_region *from = &s->regions.region[r];
        if (!dg_evaluation_wants_region(s->config, from->name)) continue;
        dg_region_result *to = &s->region[s->count];
        snprintf(to->name, sizeof to->name, "%s", from->name);
        snprintf(to->reason, sizeof to->reason, "%s", from->reason);
        known |= (uint64_t)1 << r;
        place[r] = (int)s->count++;
    }
    s->bits = s->regions.bits + (s->view->first - s->view->start) * s->plane;
    DG_TRY(DG_NEW(&s->where, s->voxels, "evaluated voxels"));
    for (int64_t i = 0; i < s->voxels; i++) {
        uint64_t bits = 0;
        int64_t parts = llround(fabs((double)s->prediction_gy[i] - (double)s->dose_gy[i]) * parts_per_gy);
        for (uint64_t rest = s->bits[i] & known; rest != 0; rest &= rest - 1) {
            const int k = place[__builtin_ctzll(rest)];
            bits |= (uint64_t)1 << k;
            s->region[k].voxels++;
            s->region[k].absolute_q20 += parts;
        }
        s->bits[i] = bits;
        s->where[i] = bits != 0;
    }
    for (int64_t k = 0; k < s->count; k++)
        if (s->region[k].voxels > 0) memset(s->region[k].reason, 0, sizeof s->region[k].reason);
    return DG_OK;
}

static dg_status make_axes(slab *s)
{
    const dg_grid *grid = &s->view->info->grid;
    for (int a = 0; a < 3; a++) {
        DG_TRY(DG_NEW(&s->axis_mm[a], grid->shape[a], "axis of a grid"));
        for (int64_t i = 0; i < grid->shape[a]; i++) s->axis_mm[a][i] = (double)i * grid->spacing_mm[a];
    }
    return DG_OK;
}

static dg_status map_gamma(slab *s)
{
    const dg_slab_view *v = s->view;
    const int64_t *n = v->info->grid.shape;
    const dg_gamma_dose reference = {.axes = 3,
                                     .shape = {v->own, n[1], n[2]},
                                     .axis_mm = {s->axis_mm[0] + v->first, s->axis_mm[1], s->axis_mm[2]},
                                     .dose_gy = s->dose_gy};
    const dg_gamma_dose evaluated = {.axes = 3,
                                     .shape = {v->planes, n[1], n[2]},
                                     .axis_mm = {s->axis_mm[0] + v->start, s->axis_mm[1], s->axis_mm[2]},
                                     .dose_gy = v->prediction_gy};
    dg_gamma_params params = s->config->gamma;
    params.norm_gy = v->norm_gy;
    for (int c = 0; c < s->config->criteria; c++) {
        params.dose_percent = s->config->criterion[c].dose_percent;
        params.distance_mm = s->config->criterion[c].distance_mm;
        DG_TRY(DG_NEW(&s->gamma[c], s->voxels, "gamma map"));
        dg_heartbeat_tick(s->config->heartbeat);
        if (v->norm_gy > 0) {
            DG_TRY(dg_gamma_map(&params, &reference, &evaluated, s->where, s->config->threads, s->gamma[c]));
        } else {
            for (int64_t i = 0; i < s->voxels; i++) s->gamma[c][i] = NAN;
        }
    }
    return DG_OK;
}

static bool has_gamma(const slab *s, int64_t voxel)
{
    for (int c = 0; c < s->config->criteria; c++)
        if (!isnan(s->gamma[c][voxel])) return true;
    return false;
}

static dg_status pack(const slab *s, dg_slab_result **out)
{
    const int64_t criteria = s->config->criteria;
    int64_t evaluated = 0;
    for (int64_t i = 0; i < s->voxels; i++) evaluated += has_gamma(s, i);
    size_t bytes = sizeof **out + (size_t)s->count * sizeof *s->region +
                   (size_t)evaluated * (sizeof *s->bits + (size_t)criteria * sizeof **s->gamma);
    bytes = (bytes + 7) / 8 * 8;
    DG_TRY(dg_alloc(out, bytes, 1, "gammas of evaluated voxels"));
    **out = (dg_slab_result){.bytes = (int64_t)bytes,
                             .norm_gy = s->view->norm_gy,
                             .region_count = s->count,
                             .criteria = criteria,
                             .evaluated = evaluated};
    dg_region_result *region = (dg_region_result *)(void *)(*out + 1);
    uint64_t *bits = (uint64_t *)(void *)(region + s->count);
    float *gamma = (float *)(void *)(bits + evaluated);
    memcpy(region, s->region, (size_t)s->count * sizeof *region);
    for (int64_t i = 0, k = 0; i < s->voxels; i++) {
        if (!has_gamma(s, i)) continue;
        bits[k] = s->bits[i];
        for (int64_t c = 0; c < criteria; c++) gamma[c * evaluated + k] = s->gamma[c][i];
        k++;
    }
    return DG_OK;
}

dg_status dg_slab_measure(const dg_slab_view *view, const dg_evaluation_config *config, dg_slab_result **out)
{
    const int64_t *n = view->info->grid.shape;
    slab s = {.view = view, .config = config, .plane = n[1] * n[2], .voxels = view->own * n[1] * n[2]};
    const int64_t skipped = (view->first - view->start) * s.plane;
    dg_status status;
    *out = NULL;
    s.dose_gy = view->dose_gy + skipped;
    s.prediction_gy = view->prediction_gy + skipped;
    DG_TRY_GOTO(status, make_regions(&s), cleanup);
    DG_TRY_GOTO(status, keep_wanted(&s), cleanup);
    if (config->members > 0) DG_TRY_GOTO(status, dg_members_judge(config, view, s.bits, s.region), cleanup);
    DG_TRY_GOTO(status, make_axes(&s), cleanup);
    DG_TRY_GOTO(status, map_gamma(&s), cleanup);
    status = pack(&s, out);
cleanup:
    slab_release(&s);
    return status;
}

/* ---- reading a slab ----------------------------------------------------------------------------------------------- */

typedef struct slab_arrays {
    float *dose_gy, *prediction_gy;
    uint64_t *masks;
    double largest_gy;
} slab_arrays;

static dg_box planes_box(const dg_case_info *info, int64_t start, int64_t planes)
{
    return (dg_box){.start = {start, 0, 0}, .shape = {planes, info->grid.shape[1], info->grid.shape[2]}};
}

/* The largest dose of the whole case, read in pieces that fit where the slab's dose will lie. */
static dg_status find_largest(dg_case *c, const dg_case_info *info, int64_t planes, float *buffer, double *largest_gy)
{
    *largest_gy = 0;
    for (int64_t z = 0; z < info->grid.shape[0]; z += planes) {
        int64_t count = info->grid.shape[0] - z < planes ? info->grid.shape[0] - z : planes;
        const dg_box box = planes_box(info, z, count);
        DG_TRY(dg_case_read(c, DG_FIELD_DOSE_GY, 0, &box, buffer));
        *largest_gy = fmax(*largest_gy, dg_largest_known_gy(info, buffer, z, count));
    }
    return DG_OK;
}

static dg_status read_prediction(const dg_evaluation_config *config, const dg_slab_view *view, float *prediction_gy)
{
    const dg_case_info *info = view->info;
    dg_prediction_info prediction;
    DG_TRY(dg_prediction_peek(config->predictions, info->id, &prediction));
    DG_TRY(dg_evaluation_check_grid(info, &prediction.grid));
    if (config->members > 0) return dg_members_mean(config, info, view->start, view->planes, prediction_gy);
    return dg_prediction_read_planes(config->predictions, info->id, view->start, view->planes, &prediction,
                                     prediction_gy);
}

static dg_status read_arrays(const dg_cohort *cohort, int64_t index, const dg_evaluation_config *config,
                             dg_slab_view *view, slab_arrays *a)
{
    const dg_case_info *info = view->info;
    const dg_box box = planes_box(info, view->start, view->planes);
    const int64_t voxels = dg_box_voxels(&box);
    dg_case *c = NULL;
    dg_status status;
    if (!info->has_dose) return DG_FAIL(DG_ERR_DATA, "the case has no dose to compare with");
    DG_TRY_GOTO(status, DG_NEW(&a->dose_gy, voxels, "dose of a slab"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&a->prediction_gy, voxels, "predicted dose of a slab"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&a->masks, voxels, "masks of a slab"), cleanup);
    DG_TRY_GOTO(status, dg_case_open(cohort, index, &c), cleanup);
    if (config->norm == DG_NORM_MAX)
        DG_TRY_GOTO(status, find_largest(c, info, view->planes, a->dose_gy, &a->largest_gy), cleanup);
    DG_TRY_GOTO(status, dg_case_read(c, DG_FIELD_DOSE_GY, 0, &box, a->dose_gy), cleanup);
    DG_TRY_GOTO(status, dg_case_read_mask_bits(c, &box, a->masks), cleanup);
    DG_TRY_GOTO(status, read_prediction(config, view, a->prediction_gy), cleanup);
    dg_forget_outside(info, view->start, view->planes, a->dose_gy);
cleanup:
    dg_case_close(&c);
    return status;
}

/* Planes that regions and gamma see beyond a slab. */
static int64_t halo_planes(const dg_evaluation_config *config, const dg_grid *grid)
{
    double reach_mm = config->margin_mm;
    for (int c = 0; c < config->criteria; c++)
        reach_mm = fmax(reach_mm, config->gamma.max_gamma * config->criterion[c].distance_mm);
    return (int64_t)fmin(ceil(reach_mm / grid->spacing_mm[0]) + 1, (double)grid->shape[0]);
}

static dg_slab_view make_view(const dg_case_info *info, const dg_evaluation_config *config, int64_t first,
                              int64_t planes)
{
    const int64_t depth = info->grid.shape[0], halo = halo_planes(config, &info->grid);
    dg_slab_view view = {.info = info, .first = first, .own = depth - first < planes ? depth - first : planes};
    const int64_t end = view.first + view.own + halo;
    view.start = first > halo ? first - halo : 0;
    view.planes = (end < depth ? end : depth) - view.start;
    return view;
}

static dg_status fail_slab(dg_slab_result **out)
{
    DG_TRY(DG_NEW(out, 1, "result of a slab"));
    (*out)->bytes = (int64_t)sizeof **out;
    (*out)->failed = true;
    snprintf((*out)->reason, sizeof(*out)->reason, "%.511s", dg_error_last()->text);
    return DG_OK;
}

dg_status dg_evaluation_slab(const dg_cohort *cohort, int64_t index, const dg_evaluation_config *config, int64_t first,
                             int64_t planes, dg_slab_result **out)
{
    const dg_case_info *info = dg_cohort_case(cohort, index);
    dg_slab_view view = make_view(info, config, first, planes);
    slab_arrays a = {0};
    const double start = dg_time_s();
    *out = NULL;
    (void)dg_heartbeat_phase(config->heartbeat, DG_PHASE_READ);
    dg_status status = read_arrays(cohort, index, config, &view, &a);
    (void)dg_heartbeat_phase(config->heartbeat, DG_PHASE_EVALUATE);
    const double read_s = dg_time_s() - start;
    if (status == DG_OK) {
        view.dose_gy = a.dose_gy;
        view.prediction_gy = a.prediction_gy;
        view.masks = a.masks;
        view.norm_gy = dg_evaluation_norm_gy(config, info, a.largest_gy);
        status = dg_slab_measure(&view, config, out);
    }
    dg_free(&a.dose_gy);
    dg_free(&a.prediction_gy);
    dg_free(&a.masks);
    if (status == DG_ERR_MEMORY) return status;
    if (status != DG_OK) DG_TRY(fail_slab(out));
    (*out)->read_s = read_s;
    (*out)->compute_s = dg_time_s() - start - read_s;
    return DG_OK;
}

/* ---- memory ------------------------------------------------------------------------------------------------------- */

/* Bytes a voxel costs while it is judged (measured with margins; regions, distances, gamma maps and their packed form), seen
 * in a halo, and in the parts of a volume. */
static int64_t slab_voxel_bytes(const dg_evaluation_config *config)
{
    return 48 + 8 * (int64_t)config->criteria + (config->members > 0 ? 8 : 0);
}
enum {
    HALO_VOXEL_BYTES = 40,
    VOLUME_VOXEL_BYTES = 48,
    BASELINE_VOXEL_BYTES = 16,
    UPSTREAM_VOXEL_BYTES = 96,
    TASK_VOXELS = 1 << 24,
    MEGABYTE = 1 << 20
};

static int64_t slab_bytes(const dg_case_info *info, const dg_evaluation_config *config, int64_t planes)
{
    const int64_t plane = info->grid.shape[1] * info->grid.shape[2];
    const int64_t halo = 2 * halo_planes(config, &info->grid);
    const int64_t seen = planes + halo < info->grid.shape[0] ? halo : info->grid.shape[0] - planes;
    return plane * (planes * slab_voxel_bytes(config) + seen * HALO_VOXEL_BYTES);
}

dg_status dg_evaluation_make_plan(const dg_case_info *info, const dg_evaluation_config *config, int64_t mem_bytes,
                                  dg_evaluation_plan *out)
{
    const int64_t voxels = dg_grid_voxels(&info->grid), depth = info->grid.shape[0];
    const int64_t volume = voxels * (VOLUME_VOXEL_BYTES + (config->baseline != NULL ? BASELINE_VOXEL_BYTES : 0));
    int64_t whole = voxels * slab_voxel_bytes(config) > volume ? voxels * slab_voxel_bytes(config) : volume;
    const bool uncut = config->compat == DG_COMPAT_UPSTREAM || config->labels != NULL;
    if (config->compat == DG_COMPAT_UPSTREAM) whole = voxels * UPSTREAM_VOXEL_BYTES;
    if (config->labels != NULL) whole = voxels * DG_LABEL_VOXEL_BYTES;
    *out = (dg_evaluation_plan){.slabs = 0, .planes = depth};
    if (whole <= mem_bytes && (voxels <= TASK_VOXELS || uncut)) return DG_OK;
    int64_t planes = depth;
    while (planes > 1 && (slab_bytes(info, config, planes) > mem_bytes ||
                          planes * info->grid.shape[1] * info->grid.shape[2] > TASK_VOXELS))
        planes = (planes + 1) / 2;
    int64_t need = slab_bytes(info, config, planes) > volume ? slab_bytes(info, config, planes) : volume;
    if (uncut) need = whole;
    if (need > mem_bytes)
        return DG_FAIL(
            DG_ERR_MEMORY,
            "case %s: %lld x %lld x %lld voxels need %lld MB in one task, --mem allows %lld; raise it, or run "
            "fewer ranks on a node",
            info->id, (long long)depth, (long long)info->grid.shape[1], (long long)info->grid.shape[2],
            (long long)(need / MEGABYTE + 1), (long long)(mem_bytes / MEGABYTE));
    out->planes = planes;
    out->slabs = (depth + planes - 1) / planes;
    return DG_OK;
}
