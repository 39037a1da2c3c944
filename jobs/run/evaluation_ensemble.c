/* evaluation_ensemble.c - the members of an ensemble: their mean is the dose that is judged, and their spread is held
 * against what was given and, where the cohort knows it, against all that could have been.
 * SPDX-License-Identifier: Apache-2.0 */
#include "evaluation_impl.h"

#include "dg_file.h"
#include "dg_mem.h"
#include "ensemble.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t budget = 64 << 20; /* memory for planes of all members together */

/* ---- reading ------------------------------------------------------------------------------------------------------ */

/* A network that gives one dose is an ensemble of one. */
static dg_status member_folder(const dg_evaluation_config *config, const char *id, int64_t member,
                               char path[DG_PATH_MAX])
{
    char name[DG_CASE_ID + 4], file[DG_PATH_MAX];
    snprintf(name, sizeof name, "%s.h5", id);
    DG_TRY(dg_ensemble_folder(config->predictions, member, path));
    DG_TRY(dg_path_join(file, path, name));
    if (config->members > 1 || dg_file_exists(file)) return DG_OK;
    if (strlen(config->predictions) >= DG_PATH_MAX)
        return DG_FAIL(DG_ERR_USAGE, "the path of the predictions is too long");
    strcpy(path, config->predictions);
    return DG_OK;
}

static dg_status read_planes(const char *folder, const dg_case_info *info, int64_t start, int64_t planes,
                             float *dose_gy)
{
    dg_prediction_info prediction;
    DG_TRY(dg_prediction_peek(folder, info->id, &prediction));
    DG_TRY(dg_evaluation_check_grid(info, &prediction.grid));
    return dg_prediction_read_planes(folder, info->id, start, planes, &prediction, dose_gy);
}

static dg_status in_member(const dg_evaluation_config *config, int64_t member, dg_status status)
{
    return status == DG_OK
               ? DG_OK
               : dg_error_context(status, "member %lld of %lld (predict --ensemble N --keep-samples keeps N)",
                                  (long long)member + 1, (long long)config->members);
}

dg_status dg_members_read(const dg_evaluation_config *config, const dg_case_info *info, int64_t member, int64_t start,
                          int64_t planes, float *dose_gy)
{
    char folder[DG_PATH_MAX];
    DG_TRY(member_folder(config, info->id, member, folder));
    return in_member(config, member, read_planes(folder, info, start, planes, dose_gy));
}

/* A sample that lies there from an earlier ensemble, of other weights or settings, is no member of this one. Doses that synth
 * draws have one maker, the prediction's. */
static dg_status check_maker(const dg_evaluation_config *config, const char *id, int64_t member, const char *made_by)
{
    char folder[DG_PATH_MAX], wanted[DG_HASH_HEX];
    dg_prediction_info sample;
    DG_TRY(member_folder(config, id, member, folder));
    DG_TRY(dg_prediction_peek(folder, id, &sample));
    DG_TRY(dg_ensemble_maker(made_by, member, wanted));
    if (strcmp(sample.model_sha256, wanted) == 0 || strcmp(sample.model_sha256, made_by) == 0) return DG_OK;
    return DG_FAIL(DG_ERR_MISMATCH,
                   "case %s: the sample was drawn by other weights or settings than the prediction beside it; predict "
                   "into an empty folder with --keep-samples, or judge as many members as it was made of",
                   id);
}

static dg_status check_makers(const dg_evaluation_config *config, const char *id)
{
    dg_prediction_info mean;
    DG_TRY(dg_prediction_peek(config->predictions, id, &mean));
    for (int64_t k = 0; k < config->members; k++)
        DG_TRY(in_member(config, k, check_maker(config, id, k, mean.model_sha256)));
    return DG_OK;
}

dg_status dg_members_mean(const dg_evaluation_config *config, const dg_case_info *info, int64_t start, int64_t planes,
                          float *mean_gy)
{
    const int64_t voxels = planes * info->grid.shape[1] * info->grid.shape[2];
    double *sum = NULL;
    DG_TRY(check_makers(config, info->id));
    DG_TRY(DG_NEW(&sum, voxels, "sum of members"));
    dg_status status = DG_OK;
    for (int64_t k = 0; k < config->members && status == DG_OK; k++) {
        status = dg_members_read(config, info, k, start, planes, mean_gy);
        for (int64_t i = 0; i < voxels && status == DG_OK; i++) sum[i] += (double)mean_gy[i];
    }
    for (int64_t i = 0; i < voxels; i++) mean_gy[i] = (float)(sum[i] / (double)config->members);
    dg_free(&sum);
    return status;
}

/* ---- judging ------------------------------------------------------------------------------------------------------ */

/* Planes that are judged at a time. */
typedef struct block {
    int64_t plane, depth;                /* voxels of a plane; planes */
    float *members;                      /* [members, depth, y, x] */
    float *sorted;                       /* [members] of a voxel */
    float *truth_mean_gy, *truth_std_gy; /* [depth, y, x]; NULL: not known */
} block;

static dg_status make_block(const dg_evaluation_config *config, const dg_slab_view *view, block *b)
{
    b->plane = view->info->grid.shape[1] * view->info->grid.shape[2];
    b->depth = budget / (config->members * b->plane * (int64_t)sizeof(float));
    if (b->depth < 1) b->depth = 1;
    if (b->depth > view->own) b->depth = view->own;
    DG_TRY(DG_NEW(&b->members, config->members * b->depth * b->plane, "planes of members"));
    DG_TRY(DG_NEW(&b->sorted, config->members, "members of a voxel"));
    if (config->truth == NULL) return DG_OK;
    DG_TRY(DG_NEW(&b->truth_mean_gy, b->depth * b->plane, "true mean"));
    return DG_NEW(&b->truth_std_gy, b->depth * b->plane, "true spread");
}

static void release_block(block *b)
{
    dg_free(&b->members);
    dg_free(&b->sorted);
    dg_free(&b->truth_mean_gy);
    dg_free(&b->truth_std_gy);
}

static dg_status fill_block(const dg_evaluation_config *config, const dg_case_info *info, int64_t start, int64_t planes,
                            block *b)
{
    static const char *const name[] = {"truth_mean", "truth_std"};
    float *const truth[] = {b->truth_mean_gy, b->truth_std_gy};
    for (int64_t k = 0; k < config->members; k++)
        DG_TRY(dg_members_read(config, info, k, start, planes, b->members + k * b->depth * b->plane));
    for (int k = 0; k < 2 && config->truth != NULL; k++) {
        char folder[DG_PATH_MAX];
        DG_TRY(dg_path_join(folder, config->truth, name[k]));
        const dg_status status = read_planes(folder, info, start, planes, truth[k]);
        if (status != DG_OK) return dg_error_context(status, "%s of the cohort", name[k]);
    }
    return DG_OK;
}

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static dg_calibration judge_voxel(const dg_evaluation_config *config, const block *b, int64_t at, double dose_gy)
{
    const int64_t n = config->members, stride = b->depth * b->plane;
    for (int64_t k = 0; k < n; k++) b->sorted[k] = b->members[k * stride + at];
    qsort(b->sorted, (size_t)n, sizeof *b->sorted, by_value);
    dg_calibration one = dg_calibration_voxel(b->sorted, n, dose_gy);
    if (config->truth != NULL)
        dg_calibration_know(&one, b->sorted, n, (double)b->truth_mean_gy[at], (double)b->truth_std_gy[at]);
    return one;
}

static dg_status judge(const dg_evaluation_config *config, const dg_slab_view *view, const uint64_t *bits,
                       dg_region_result *region, block *b)
{
    DG_TRY(make_block(config, view, b));
    const float *dose_gy = view->dose_gy + (view->first - view->start) * b->plane;
    for (int64_t z = 0; z < view->own; z += b->depth) {
        const int64_t planes = view->own - z < b->depth ? view->own - z : b->depth;
        dg_heartbeat_tick(config->heartbeat);
        DG_TRY(fill_block(config, view->info, view->first + z, planes, b));
        for (int64_t v = 0; v < planes * b->plane; v++) {
            const int64_t at = z * b->plane + v;
            if (bits[at] == 0) continue;
            const dg_calibration one = judge_voxel(config, b, v, (double)dose_gy[at]);
            for (uint64_t rest = bits[at]; rest != 0; rest &= rest - 1)
                dg_calibration_merge(&region[__builtin_ctzll(rest)].members, &one);
        }
    }
    return DG_OK;
}

dg_status dg_members_judge(const dg_evaluation_config *config, const dg_slab_view *view, const uint64_t *bits,
                           dg_region_result *region)
{
    block b = {0};
    const dg_status status = judge(config, view, bits, region, &b);
    release_block(&b);
    return status;
}

/* ---- telling ------------------------------------------------------------------------------------------------------ */

static json_t *number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

/* Coverage of one member is no coverage: it has no interval. */
static json_t *sums_json(const dg_calibration *sums, const dg_evaluation_config *config)
{
    json_t *object =
        json_pack("{s:I, s:o}", "n_voxels", (json_int_t)sums->voxels, "crps_gy", number(dg_calibration_crps_gy(sums)));
    if (config->members > 1) {
        json_object_set_new(object, "coverage_50", number(dg_calibration_coverage(sums, 50)));
        json_object_set_new(object, "coverage_90", number(dg_calibration_coverage(sums, 90)));
        json_object_set_new(object, "spread_gy", number(dg_calibration_spread_gy(sums)));
    }
    if (config->truth == NULL) return object;
    json_object_set_new(object, "true_spread_gy", number(dg_calibration_true_spread_gy(sums)));
    if (config->members > 1) json_object_set_new(object, "spread_ratio", number(dg_calibration_spread_ratio(sums)));
    json_object_set_new(object, "mean_error_gy", number(dg_calibration_mean_error_gy(sums)));
    json_object_set_new(object, "mean_rmse_gy", number(dg_calibration_mean_rmse_gy(sums)));
    return object;
}

json_t *dg_members_case_json(const dg_case_result *result, const dg_evaluation_config *config)
{
    json_t *object = json_object();
    const dg_region_result *region = dg_case_regions(result);
    for (int64_t k = 0; k < result->region_count; k++)
        json_object_set_new(object, region[k].name, sums_json(&region[k].members, config));
    return object;
}

dg_calibration dg_members_pool(const dg_case_result *const *results, int64_t count, const char *name)
{
    dg_calibration sums = {0};
    const bool organs = strcmp(name, "oar") == 0;
    for (int64_t i = 0; i < count; i++) {
        const dg_region_result *region = dg_case_regions(results[i]);
        for (int64_t k = 0; k < results[i]->region_count && !results[i]->failed; k++)
            if (strcmp(region[k].name, name) == 0 || (organs && strncmp(region[k].name, "oar_", 4) == 0))
                dg_calibration_merge(&sums, &region[k].members);
    }
    return sums;
}

int64_t dg_members_regions(const dg_case_result *const *results, int64_t count, const char **names, int64_t room)
{
    int64_t regions = dg_evaluation_region_names(results, count, names, room - 1);
    for (int64_t k = 0; k < regions; k++) {
        if (strncmp(names[k], "oar_", 4) != 0) continue;
        names[regions++] = "oar";
        break;
    }
    return regions;
}

/* [coverage of the middle 10 %, 20 %, .. 90 %]: on the diagonal where the spread is right. */
static json_t *reliability_json(const dg_calibration *sums)
{
    json_t *list = json_array();
    for (int percent = 10; percent < 100; percent += 10)
        json_array_append_new(list, number(dg_calibration_coverage(sums, percent)));
    return list;
}

json_t *dg_members_aggregate_json(const dg_case_result *const *results, int64_t count,
                                  const dg_evaluation_config *config)
{
    const char *names[4 * DG_REGIONS_MAX + 1];
    json_t *regions = json_object();
    const int64_t n = dg_members_regions(results, count, names, sizeof names / sizeof *names);
    for (int64_t k = 0; k < n; k++) {
        const dg_calibration sums = dg_members_pool(results, count, names[k]);
        json_t *one = sums_json(&sums, config);
        if (config->members > 1) json_object_set_new(one, "reliability", reliability_json(&sums));
        json_object_set_new(regions, names[k], one);
    }
    return json_pack("{s:I, s:o}", "members", (json_int_t)config->members, "regions", regions);
}
