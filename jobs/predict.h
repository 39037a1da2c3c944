/* predict.h - predictions for another job: those of `dosegrid predict`, from scans that are perturbed.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_PREDICT_H
#define DG_PREDICT_H

#include "dg_cohort.h"
#include "job.h"
#include "perturbation.h"

/* Everything is borrowed. */
typedef struct dg_predict_request {
    const dg_string_list *checkpoint;
    const char *cohort, *output, *backend; /* backend: auto, cuda, onednn, ref */
    const char (*ids)[DG_CASE_ID];         /* [count] cases */
    int64_t count;
    const dg_perturbation *perturbation;
    /* Predictions of the same cases as they are. They must be by the same networks, used as trained: DG_ERR_MISMATCH
     * names the first that is not; what is missing or damaged there is passed over. */
    const char *unperturbed;
    int64_t members; /* above 1: so many samples of a diffusion, or more, stay beside the mean */
    int64_t threads; /* 0: auto */
    bool resume;
    double comm_timeout_s;
} dg_predict_request;

/* Predicts into request->output, as trained. DG_ERR_USAGE where the network does not look at what is perturbed, or draws fewer
 * samples than members. Cases that fail
 * are counted over all ranks, and stand in the ledger. @collective */
DG_MUST_USE dg_status dg_predict_perturbed(const dg_job_env *env, const dg_predict_request *request, int64_t *failed);

#endif
