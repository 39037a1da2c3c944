/* evaluate_foreign.c - predictions of other programs become a folder of our own below OUTPUT.ledger, once, by all ranks;
 * everything after reads that. SPDX-License-Identifier: Apache-2.0 */
#include "evaluate_impl.h"

#include "dg_mem.h"
#include "foreign_prediction.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Counts files of other programs and our own (*.h5) below the folder. */
static dg_status look_through(const char *folder, int64_t *foreign, int64_t *own)
{
    DIR *listing = opendir(folder);
    *foreign = *own = 0;
    if (listing == NULL) return DG_OK; /* it is named as missing where it is asked for */
    for (const struct dirent *at = readdir(listing); at != NULL; at = readdir(listing)) {
        const size_t length = strlen(at->d_name);
        char inner[DG_PATH_MAX], path[DG_PATH_MAX];
        *own += length > 3 && strcmp(at->d_name + length - 3, ".h5") == 0;
        *foreign += foreign_prediction_named(at->d_name);
        if (at->d_name[0] == '.' || dg_path_join(inner, folder, at->d_name) != DG_OK ||
            dg_path_join(path, inner, "RTDOSE.dcm") != DG_OK)
            continue;
        *foreign += dg_file_exists(path);
    }
    closedir(listing);
    return DG_OK;
}

/* What an earlier call left there may be of other files: a ledger without it forgets it. */
static dg_status make_room(const char *folder)
{
    char path[DG_PATH_MAX];
    DG_TRY(dg_make_folder(folder));
    DIR *listing = opendir(folder);
    if (listing == NULL) return DG_FAIL(DG_ERR_IO, "the folder of the results cannot be read");
    dg_status status = DG_OK;
    for (const struct dirent *at = readdir(listing); at != NULL && status == DG_OK; at = readdir(listing)) {
        if (strncmp(at->d_name, "ledger-", 7) != 0) continue;
        status = dg_path_join(path, folder, at->d_name);
        if (status == DG_OK && unlink(path) != 0) status = DG_FAIL(DG_ERR_IO, "an old ledger cannot be removed");
    }
    closedir(listing);
    return status;
}

static dg_status convert_file(const evaluate_settings *s, const char *file, const dg_case_info *info,
                              const char *folder, dg_log *log, dg_ledger_entry *entry)
{
    float *dose;
    bool resampled;
    const int threads = s->threads.count > 0 ? (int)s->threads.value[0] : 1;
    DG_TRY(foreign_prediction_read(file, info, (foreign_unit)s->prediction_unit, threads, &resampled, &dose));
    if (resampled)
        dg_log_write(log, DG_LOG_INFO, "case %s: the RTDOSE has a grid of its own and was resampled to the case's",
                     info->id);
    const dg_status status = dg_prediction_write(folder, info->id, &info->grid, "unknown", dose, entry);
    dg_free(&dose);
    return status;
}

/* A case that fails here is a failed case of the evaluation, as one that predict failed at. */
static dg_status convert(const evaluate_settings *s, const dg_case_info *info, const char *folder, int rank,
                         dg_log *log, int64_t *found)
{
    char file[DG_PATH_MAX];
    dg_ledger_entry entry = {.done = true};
    snprintf(entry.id, sizeof entry.id, "%s", info->id);
    dg_status status = foreign_prediction_find(s->predictions, info->id, file);
    if (status == DG_OK && file[0] == '\0') return DG_OK;
    ++*found;
    if (status == DG_OK) status = convert_file(s, file, info, folder, log, &entry);
    if (status == DG_ERR_MEMORY) return status;
    if (status != DG_OK) {
        entry.done = false;
        snprintf(entry.reason, sizeof entry.reason, "%.255s", dg_error_last()->text);
        dg_error_clear();
    }
    return dg_ledger_append(folder, rank, &entry);
}

static dg_status convert_all(const dg_job_env *env, const evaluate_settings *s, const char *folder, int64_t *found)
{
    dg_cohort *cohort;
    DG_TRY(dg_cohort_open(s->cohort, &cohort));
    dg_status status = DG_OK;
    for (int64_t i = env->comm->rank; i < dg_cohort_count(cohort) && status == DG_OK; i += env->comm->size)
        status = convert(s, dg_cohort_case(cohort, i), folder, env->comm->rank, env->log, found);
    dg_cohort_close(&cohort);
    return status;
}

dg_status evaluate_adopt_foreign(const dg_job_env *env, evaluate_settings *s)
{
    int64_t foreign = 0, own = 0, found = 0, any = 0;
    char folder[DG_PATH_MAX];
    if (s->cohort[0] == '\0' || s->output[0] == '\0' || s->predictions[0] == '\0') return DG_OK;
    dg_status status = look_through(s->predictions, &foreign, &own);
    DG_TRY(dg_comm_agree(env->comm, status));
    DG_TRY(dg_comm_any(env->comm, own == 0 && foreign > 0, &any));
    if (any == 0) return DG_OK;
    snprintf(folder, sizeof folder, "%s.ledger/predictions", s->output);
    if (strlen(folder) >= sizeof s->predictions)
        status = DG_FAIL(DG_ERR_USAGE, "-o: the path is too long");
    else if (env->comm->rank == 0) {
        status = dg_file_check_writable(s->output);
        if (status == DG_OK) status = make_room(folder);
    }
    DG_TRY(dg_comm_agree(env->comm, status));
    DG_TRY(dg_comm_agree(env->comm, convert_all(env, s, folder, &found)));
    DG_TRY(dg_comm_any(env->comm, found, &any));
    if (any == 0)
        return DG_FAIL(DG_ERR_USAGE,
                       "none of the files below --predictions is named by a case of the cohort: ID.nii.gz, "
                       "ID.npz, ID.csv, ID.dcm or ID/RTDOSE.dcm is looked for");
    memcpy(s->predictions, folder, strlen(folder) + 1);
    return DG_OK;
}
