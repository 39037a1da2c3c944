/* saver.h - checkpoints written beside the training: the state is copied in passing, a thread makes the file of it, reads
 * it back, gives it its name and removes what is too old. One writer per run (rank 0). SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_SAVER_H
#define DG_SAVER_H

#include "dg_log.h"
#include "dg_options.h"
#include "dg_state.h"
#include "run_folder.h"

typedef struct dg_saver dg_saver;

/* One moment to be saved. */
typedef struct dg_save_request {
    int64_t step;
    const char *model;         /* its kind, for the file's head */
    const dg_options *options; /* of the run */
    bool as_step, as_best;     /* step-*.h5 and last.h5; best.h5 */
} dg_save_request;

/* What checkpoints have cost so far. */
typedef struct dg_save_cost {
    int64_t files, bytes;                               /* bytes of the newest file */
    double pause_s, longest_pause_s, write_s, verify_s; /* of the newest; pause: training stood still for the copy */
    double total_pause_s;
} dg_save_cost;

/* `folder`, `log` and the objects of `live` are borrowed; the newest `keep` step files stay. A first copy is made at once,
 * so that later ones find their memory in place. `bytes` is about what a file will take: DG_ERR_IO when two of
 * them, the newest and the one that takes its place, have no room. */
DG_MUST_USE dg_status dg_saver_create(const dg_run_folder *folder, const dg_state_registry *live, int64_t keep,
                                      int64_t bytes, dg_log *log, dg_saver **out);
/* Waits for the file that is being written. */
void dg_saver_destroy(dg_saver **saver);
/* Copies the present state and returns; waits first where the file before is still being written, and gives its error. */
DG_MUST_USE dg_status dg_saver_start(dg_saver *saver, const dg_save_request *request);
/* The error of a file that was being written, once; DG_OK while it is or when all went well. Never waits. */
DG_MUST_USE dg_status dg_saver_poll(dg_saver *saver);
/* Waits until the file is there; its error. */
DG_MUST_USE dg_status dg_saver_wait(dg_saver *saver);
dg_save_cost dg_saver_cost(dg_saver *saver);

#endif
