/* export_cases.c - the cases of an export, one after the other; see export_impl.h. SPDX-License-Identifier: Apache-2.0 */
#include "dg_file.h"
#include "dg_mem.h"
#include "dg_predictions.h"
#include "dg_results.h"
#include "export_impl.h"

#include <string.h>
#include <unistd.h>

static const char *const what_names[WHAT_COUNT] = {"ct",    "dose",   "pred",         "diff",
                                                   "masks", "labels", "segmentation", "dvh"};

static dg_status choose_what(exporter *x, const export_target *target)
{
    const dg_string_list *what = &x->config->what;
    for (int w = 0; w < WHAT_COUNT; w++) x->wanted[w] = what->count == 0 && (target->by_default >> w & 1) != 0;
    for (int i = 0; i < what->count; i++) {
        int w = 0;
        while (w < WHAT_COUNT && strcmp(what->value[i], what_names[w]) != 0) w++;
        if (w == WHAT_COUNT || (target->knows >> w & 1) == 0)
            return DG_FAIL(DG_ERR_USAGE, "export: --what %.40s: --to %s knows %s", what->value[i], target->name,
                           target->what);
        x->wanted[w] = true;
    }
    if ((x->wanted[WHAT_PRED] || x->wanted[WHAT_DIFF]) && x->config->predictions[0] == '\0')
        return DG_FAIL(DG_ERR_USAGE, "export: name the folder of the predictions with --predictions");
    return DG_OK;
}

dg_status export_path(exporter *x, const char *name, char *path)
{
    const size_t folder = strlen(x->config->output);
    DG_TRY(dg_path_join(path, x->config->output, name));
    for (char *c = path + folder + 1; *c != '\0'; c++)
        if (*c == '/' || *c < ' ') *c = '_'; /* a structure may be called so */
    x->files++;
    return DG_OK;
}

/* ---- reading ---- */

static dg_box whole(const exporter *x)
{
    dg_box all = {.start = {0, 0, 0}};
    memcpy(all.shape, x->info->grid.shape, sizeof all.shape);
    return all;
}

dg_status export_read(exporter *x, dg_field field, int structure, float **values)
{
    const dg_box all = whole(x);
    *values = NULL;
    DG_TRY(DG_NEW(values, dg_grid_voxels(&x->info->grid), "volume"));
    const dg_status status = dg_case_read(x->open, field, structure, &all, *values);
    if (status != DG_OK) dg_free(values);
    return status;
}

dg_status export_read_dose(exporter *x, float **dose_gy)
{
    *dose_gy = NULL;
    if (!x->info->has_dose) return DG_FAIL(DG_ERR_DATA, "case %s has no dose to export", x->info->id);
    return export_read(x, DG_FIELD_DOSE_GY, 0, dose_gy);
}

dg_status export_read_prediction(exporter *x, float **dose_gy)
{
    dg_grid grid;
    DG_TRY(dg_prediction_read(x->config->predictions, x->info->id, &grid, dose_gy));
    if (memcmp(grid.shape, x->info->grid.shape, sizeof grid.shape) == 0) return DG_OK;
    dg_free(dose_gy);
    return DG_FAIL(DG_ERR_DATA, "case %s: the prediction has another grid than the case", x->info->id);
}

dg_status export_prediction_kind(exporter *x, dg_prediction_kind *kind)
{
    dg_prediction_info info;
    DG_TRY(dg_prediction_peek(x->config->predictions, x->info->id, &info));
    *kind = info.kind;
    return DG_OK;
}

dg_status export_read_segmentation(exporter *x, dg_prediction_kind *kind, float **values)
{
    const int64_t planes = x->info->grid.shape[0];
    dg_prediction_info info;
    *values = NULL;
    DG_TRY(dg_prediction_load(x->config->predictions, x->info->id, &info, NULL)); /* is it intact? */
    if (memcmp(info.grid.shape, x->info->grid.shape, sizeof info.grid.shape) != 0)
        return DG_FAIL(DG_ERR_DATA, "case %s: the prediction has another grid than the case", x->info->id);
    DG_TRY(DG_NEW(values, dg_grid_voxels(&info.grid), "predicted segmentation"));
    const dg_status status =
        dg_prediction_read_probability(x->config->predictions, x->info->id, 0, planes, &info, *values);
    *kind = info.kind;
    if (status != DG_OK) dg_free(values);
    return status;
}

dg_status export_read_mask_bits(exporter *x, uint64_t **bits)
{
    const dg_box all = whole(x);
    *bits = NULL;
    DG_TRY(DG_NEW(bits, dg_grid_voxels(&x->info->grid), "masks"));
    if (x->info->structure_count == 0) return DG_OK;
    const dg_status status = dg_case_read_mask_bits(x->open, &all, *bits);
    if (status != DG_OK) dg_free(bits);
    return status;
}

/* ---- cases ---- */

static dg_status export_one(exporter *x, const export_target *target, int64_t index)
{
    DG_TRY(dg_case_open(x->cohort, index, &x->open));
    x->info = dg_case_get_info(x->open);
    const dg_status status = target->write_case(x);
    dg_case_close(&x->open);
    return status;
}

/* Cases that --cases names, else those that are predicted where predictions are exported, else all. */
static dg_status choose_cases(exporter *x)
{
    const int64_t all = dg_cohort_count(x->cohort);
    const bool predicted = x->wanted[WHAT_PRED] || x->wanted[WHAT_DIFF];
    dg_words words;
    dg_status status;
    DG_TRY(dg_words_read(&x->config->cases, "--cases", &words));
    DG_TRY_GOTO(status, DG_NEW(&x->chosen, words.count > 0 ? words.count : all, "list of cases"), cleanup);
    for (int64_t i = 0; i < words.count; i++) {
        const int64_t index = dg_cohort_find(x->cohort, words.value[i]);
        if (index < 0) {
            status = DG_FAIL(DG_ERR_USAGE, "export: the cohort has no case %s, which --cases names", words.value[i]);
            goto cleanup;
        }
        x->chosen[x->count++] = index;
    }
    for (int64_t i = 0; i < all && words.count == 0; i++)
        if (!predicted || dg_prediction_exists(x->config->predictions, dg_cohort_case(x->cohort, i)->id))
            x->chosen[x->count++] = i;
    if (x->count == 0 && predicted)
        status =
            DG_FAIL(DG_ERR_USAGE, "export: %s holds no prediction of a case of this cohort", x->config->predictions);
cleanup:
    dg_words_release(&words);
    return status;
}

static dg_status export_all(exporter *x, const export_target *target)
{
    char said[DG_ASSUMED_TEXT];
    int64_t assumed = 0;
    dg_status status = target->begin != NULL ? target->begin(x) : DG_OK;
    for (int64_t i = 0; i < x->count && status == DG_OK; i++) {
        assumed += dg_case_info_assumed(dg_cohort_case(x->cohort, x->chosen[i]));
        status = export_one(x, target, x->chosen[i]);
        if (status == DG_OK) dg_log_progress(x->env->log, "export, cases", i + 1, x->count, NULL);
    }
    if (target->end != NULL) target->end(x);
    dg_assumed_text(assumed, x->count, said);
    if (said[0] != '\0') dg_log_write(x->env->log, DG_LOG_WARNING, "%s", said);
    if (status == DG_OK)
        dg_log_write(x->env->log, DG_LOG_INFO, "%lld files of %lld cases written", (long long)x->files,
                     (long long)x->count);
    if (status == DG_OK && x->config->json)
        status = dg_job_print_json(
            x->env, json_pack("{s:I, s:I}", "cases", (json_int_t)x->count, "files", (json_int_t)x->files));
    return status;
}

dg_status export_cases(const dg_job_env *env, const export_config *config, const export_target *target,
                       const char *cohort)
{
    exporter x = {.env = env, .config = config};
    DG_TRY(choose_what(&x, target));
    DG_TRY(dg_cohort_open(cohort, &x.cohort));
    const bool is_new = !dg_file_exists(config->output);
    dg_status status = choose_cases(&x);
    if (status == DG_OK) status = dg_make_folder(config->output);
    if (status == DG_OK) status = export_all(&x, target);
    /* An empty one would stand in the way of the next try; one that holds something stays. */
    if (status != DG_OK && is_new) (void)rmdir(config->output);
    dg_free(&x.chosen);
    dg_cohort_close(&x.cohort);
    return status;
}
