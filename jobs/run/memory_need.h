/* memory_need.h - what a run takes of the memory that its ranks compute in: the figures of `dosegrid plan`, and what would
 * take less. Libraries' workspaces and the volumes of a prediction are not in them. SPDX-License-Identifier: Apache-2.0 */
#ifndef MEMORY_NEED_H
#define MEMORY_NEED_H

#include "dg_plan.h"
#include "run_config.h"

/* Of the busiest of the ranks that train together. */
typedef struct dg_memory_need {
    int64_t samples, micro;             /* of a step, of a pass */
    dg_plan_memory training, inference; /* of a pass, and of a window in validation, which keeps its own plan */
    int64_t reducer_bytes, wire_bytes;  /* gradients held, gradients sent in a step */
    int64_t adversary_bytes;            /* of a discriminator with all that it needs */
    int64_t bytes;                      /* all of it with weights, optimiser, samples and what a rollback keeps */
} dg_memory_need;

/* Samples of a pass, as the settings have it and the reduction allows. */
int64_t dg_memory_micro(const dg_run_config *config, int64_t samples);
/* The plans of a pass over `micro` patches and of a window. */
void dg_memory_plans(const dg_run_config *config, const int64_t patch_zyx[3], int64_t micro, dg_plan_config *training,
                     dg_plan_config *inference);
/* `model`: of these settings. DG_ERR_USAGE where there are more ranks than samples, or the model cannot take the patch. */
DG_MUST_USE dg_status dg_memory_need_of(const dg_run_config *config, const dg_model *model, const int64_t patch_zyx[3],
                                        int64_t ranks, dg_memory_need *out);
/* One line: what the run takes, and what it would take with each setting changed that makes it less, and with all of them:
 * a smaller pass, activations made again, bf16, sums in any order, smaller patches. */
DG_MUST_USE dg_status dg_memory_alternatives(const dg_run_config *config, const dg_model *model,
                                             const int64_t patch_zyx[3], int64_t ranks, char *text, size_t capacity);

#endif
