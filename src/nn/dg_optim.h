/* dg_optim.h - optimisers over one flat buffer, learning-rate schedules, clipping, weight averages.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef DG_OPTIM_H
#define DG_OPTIM_H

#include "dg_backend.h"
#include "dg_params.h"
#include "dg_state.h"

typedef enum dg_optim_kind { DG_OPTIM_ADAMW, DG_OPTIM_SGD } dg_optim_kind;
/* Of a plateau the trainer knows: its rate is constant here. */
typedef enum dg_schedule_kind {
    DG_SCHEDULE_CONSTANT,
    DG_SCHEDULE_COSINE,
    DG_SCHEDULE_RESTARTS,
    DG_SCHEDULE_PLATEAU
} dg_schedule_kind;

typedef struct dg_optim_config {
    dg_optim_kind kind;
    double lr, weight_decay;
    double beta1, beta2, eps; /* adamw: 0.9, 0.999, 1e-8 */
    double momentum;          /* sgd */
    bool nesterov;
    double clip; /* largest global norm; 0: none */
    double ema;  /* decay of the weight average; 0: none */
    /* Equal weights in place of a decay (stochastic weight averaging): those after update swa_start and after every
     * swa_every-th from there on; until then the average is the weights. 0: none. Source: Izmailov et al., UAI 2018. */
    int64_t swa_start, swa_every;
    dg_schedule_kind schedule;
    int64_t warmup; /* steps of linear warm-up */
    double min_lr;
    int64_t total_steps;   /* of the schedule */
    int64_t restart_steps; /* restarts: of the first cycle */
    double restart_factor; /* restarts: length of a cycle over that of the one before, at least 1 */
} dg_optim_config;

/* Rate of step s (0-based): linear warm-up to lr, then constant or
 * min_lr + (lr - min_lr) (1 + cos(pi (s - warmup) / (total - warmup))) / 2; with restarts, of the part of the cycle that is
 * over, cycles one after another from the end of the warm-up (Loshchilov, Hutter, SGDR, ICLR 2017). */
double dg_schedule_lr(const dg_optim_config *config, int64_t step);
/* The same at a fraction of the run in [0,1] (a time budget): warm-up is a fraction warmup / total_steps of it. */
double dg_schedule_lr_at(const dg_optim_config *config, double fraction);
/* Where in its cycle a step of a schedule with restarts lies, in [0, 1). */
double dg_schedule_cycle(const dg_optim_config *config, double step);

typedef struct dg_optim dg_optim;

/* Owns moments and average on `backend`; parameters and gradients stay the caller's. `table` and `backend` are borrowed.
 * DG_ERR_USAGE for a value out of range. */
DG_MUST_USE dg_status dg_optim_create(const dg_optim_config *config, const dg_param_table *table, dg_backend *backend,
                                      dg_optim **out);
void dg_optim_destroy(dg_optim **optim);
/* One update of `weights` from `gradients` (summed over samples; `grad_scale` makes the mean), clip by global norm as
 * torch.nn.utils.clip_grad_norm_ (max / (norm + 1e-6)), then the average. *grad_norm: before clipping, after scaling.
 * DG_ERR_NUMERIC, with nothing changed, when the norm is not finite. */
DG_MUST_USE dg_status dg_optim_step(dg_optim *optim, double lr, double grad_scale, float *weights,
                                    const float *gradients, double *grad_norm);
/* Parameters that stay as they are: no update, no decay, moments of 0, no part in the norm that clips. frozen[parameters of the
 * table] is copied. Once, before the first step. */
DG_MUST_USE dg_status dg_optim_freeze(dg_optim *optim, const bool *frozen);
/* Numbers that are learned with the weights but lie on the host (widths of the loss): never decayed, never averaged. Their
 * gradients are those of the mean loss and count in the norm that clips; the caller writes them before every step. */
enum { DG_OPTIM_SCALARS_MAX = 16 };
typedef struct dg_optim_scalars {
    int count;
    double *value;          /* [count], borrowed; changed by every step */
    const double *gradient; /* [count], borrowed */
} dg_optim_scalars;
/* Before the first step and before a state is loaded. */
void dg_optim_attach(dg_optim *optim, const dg_optim_scalars *scalars);
/* The averaged weights (flat, backend memory), or NULL without ema and swa. Early averages are bias-free: update 0 copies the
 * weights, the decay of update k > 0 is min(ema, (1 + k) / (10 + k)). */
const float *dg_optim_average(const dg_optim *optim);
/* Its checkpointed state ("optimizer"): step, and m/NAME, v/NAME (adamw), momentum/NAME (sgd), ema/NAME per parameter in
 * PyTorch layout, scalars/m and scalars/v of attached numbers; loads on any backend. The optimiser's kind and whether it averages must be the same. */
dg_state dg_optim_state(dg_optim *optim);

#endif
