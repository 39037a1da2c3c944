/* run_folder.h - runs/<name>/: who may write it, and the files that describe a run. SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_RUN_FOLDER_H
#define DG_RUN_FOLDER_H

#include "dg_comm.h"
#include "dg_file.h"
#include "dg_hash.h"
#include "lease.h"

#include <jansson.h>

typedef struct dg_run_folder {
    char path[DG_PATH_MAX], checkpoints[DG_PATH_MAX], log[DG_PATH_MAX];
    dg_lease *lease; /* on rank 0, else NULL */
} dg_run_folder;

/* Makes the folder and takes its lease, which ends with the process. DG_ERR_BUSY names who holds it. Without `resume` a
 * folder that holds checkpoints is DG_ERR_USAGE: nothing is overwritten. @collective yes. */
DG_MUST_USE dg_status dg_run_folder_open(dg_comm *comm, const char *dir, const char *name, bool resume,
                                         dg_run_folder *out);
void dg_run_folder_close(dg_run_folder *folder);

/* Writes FOLDER/NAME durably, indented and with sorted keys; takes the json (NULL is DG_ERR_MEMORY). */
DG_MUST_USE dg_status dg_run_folder_write(const dg_run_folder *folder, const char *name, json_t *json);
/* Path of checkpoints/step-00001234.h5. */
DG_MUST_USE dg_status dg_run_folder_step_path(const dg_run_folder *folder, int64_t step, char path[DG_PATH_MAX]);
/* Makes checkpoints/NAME another name of `path` (a hard link, renamed into place; a copy where links are refused). */
DG_MUST_USE dg_status dg_run_folder_link(const dg_run_folder *folder, const char *path, const char *name);
/* Removes all but the newest `keep` step files. DG_ERR_IO names one that stays. */
DG_MUST_USE dg_status dg_run_folder_prune(const dg_run_folder *folder, int64_t keep);

/* Counts the starts by a scheduler (`restart_count` > 0) that find the run at the same step: more than `most` in a row
 * are refused with DG_ERR_MISMATCH, for a job that is put back into the queue for ever without getting on. 0: any number.
 * A start by hand begins anew. */
DG_MUST_USE dg_status dg_run_folder_count_start(const dg_run_folder *folder, int64_t step, int restart_count,
                                                int64_t most);

/* FOLDER/NAME, such as a run's training_config.json, as a JSON object, the caller's (json_decref); NULL, and no error, where
 * there is no such file. DG_ERR_FORMAT tells the line. Not collective. */
DG_MUST_USE dg_status dg_run_folder_read_json(const char *folder, const char *name, json_t **out);

/* What the program was built of, what it runs on and with how many ranks; the caller adds what else it knows. */
json_t *dg_environment_json(const dg_comm *comm);

#endif
