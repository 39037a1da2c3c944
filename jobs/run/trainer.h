/* trainer.h - a training run from its settings to best.h5: data-parallel steps, validation, checkpoints, resume.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_TRAINER_H
#define DG_TRAINER_H

#include "dg_comm.h"
#include "dg_log.h"
#include "metrics.h"
#include "run_config.h"

typedef struct dg_trainer dg_trainer;

/* What a run is asked to do; everything is borrowed. */
typedef struct dg_trainer_request {
    const dg_options *options; /* bound to a struct that begins with `config` */
    const dg_run_config *config;
    bool resume;       /* goes on from the newest intact checkpoint; from the start where there is none */
    const char *init;  /* checkpoint whose weights are taken over, or "" */
    const char *trace; /* path of a Chrome trace, or "" (rank r > 0 appends .r) */
    dg_log_level level;
} dg_trainer_request;

/* Why a run ended. */
typedef enum dg_trainer_end { DG_END_STEPS, DG_END_MINUTES, DG_END_EARLY_STOPPING } dg_trainer_end;

typedef struct dg_trainer_summary {
    int64_t step, skipped, rollbacks;
    int64_t val_skipped; /* validation cases that could not be read */
    double seconds, samples_per_s, data_wait_s;
    dg_scores scores;    /* of the last validation */
    const char *monitor; /* name of what picked best.h5; "" without validation cases */
    double best;
    int64_t best_step;
    dg_trainer_end end;
    char folder[512];
    char weights_sha256[DG_HASH_HEX];
} dg_trainer_summary;

/* Opens the run folder and everything a step needs. @collective yes: all ranks get the same status. DG_ERR_USAGE for
 * settings that do not fit each other or the cohort, DG_ERR_BUSY when another run holds the folder, DG_ERR_MISMATCH when
 * `resume` finds a checkpoint of other settings (the keys are named). */
DG_MUST_USE dg_status dg_trainer_create(dg_comm *comm, const dg_trainer_request *request, dg_trainer **out);
/* Trains to the end. DG_ERR_PREEMPTED after SIGTERM, SIGUSR1 or SIGINT to any rank: the step was finished and
 * a checkpoint written. @collective yes. */
DG_MUST_USE dg_status dg_trainer_run(dg_trainer *trainer, dg_trainer_summary *summary);
void dg_trainer_destroy(dg_trainer **trainer); /* collective */

#endif
