/* controls.h - rules that act while a run goes on: what they are set to, in steps; and what a validation makes them do. Pure
 * functions: every rank comes to the same answer. doc/training.md, "Rules". SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_CONTROLS_H
#define DG_CONTROLS_H

#include "run_config.h"

/* Settings in epochs and shares of a run, as steps. */
typedef struct dg_controls {
    int64_t swa_start, swa_every;     /* updates; swa_start 0: none */
    int64_t noise_start, noise_every; /* steps; noise_start -1: none */
    int64_t restart_steps;            /* of the first cycle of cosine_restarts */
    int64_t warmup;
} dg_controls;

/* For a run of `steps` (INT64_MAX: not known) over `cases` training cases; `validated`: there are validation cases. DG_ERR_USAGE
 * names the setting that begins behind the end of the run, or that has nothing to watch. */
DG_MUST_USE dg_status dg_controls_resolve(const dg_run_config *config, int64_t steps, int64_t cases, bool validated,
                                          dg_controls *out);

/* What the rules remember from one validation to the next. */
typedef struct dg_control_state {
    double reduction, boost;                      /* of the learning rate: by a plateau schedule, by interventions */
    int64_t schedule_stale, plateau_stale;        /* validations without gain since a rule acted last */
    int64_t worse;                                /* validations in a row that are worse than the best */
    int64_t since_gain, since_best;               /* interventions since a gain, rollbacks since a best */
    int64_t reductions, interventions, rollbacks; /* of the run */
    int64_t kick; /* number of the intervention whose noise comes before the next step; 0: none */
} dg_control_state;

/* Before the first validation: rates as the schedule has them. */
dg_control_state dg_controls_start(void);

/* What one validation made the rules do. */
typedef struct dg_control_verdict {
    bool reduced, intervened, calmed, roll_back; /* calmed: a gain ended the interventions */
} dg_control_verdict;

/* `value` of train.monitor, lower is better; `best`: the lowest before it (INFINITY: none); `gains`: it is better by
 * train.early_stopping.min_delta or more. */
dg_control_verdict dg_controls_judge(const dg_run_config *config, dg_control_state *state, double value, double best,
                                     bool gains);

/* The learning rate of a step, from that of the schedule; `averaging`: weights are averaged from optim.swa.start on. Never above
 * train.plateau.lr_cap times the schedule's. */
double dg_controls_lr(const dg_run_config *config, const dg_control_state *state, bool averaging, double scheduled);

/* Samples of a step: train.batch, or train.batch_min to train.batch by (seed, step). */
int64_t dg_controls_batch(const dg_run_config *config, int64_t step);

/* Standard deviation of the noise on the weights before a step; 0: none is due. */
double dg_controls_weight_noise(const dg_run_config *config, const dg_controls *plan, int64_t step);
/* Of the noise on the gradient of a step. Neelakantan et al. 2015 (arXiv 1511.06807). */
double dg_controls_gradient_noise(const dg_run_config *config, int64_t step);

/* Whether weights are averaged with equal parts. */
bool dg_controls_averages(const dg_run_config *config);

#endif
