/* trainer_save.c - when a run is saved, and that it is: the files themselves are the saver's, on rank 0.
 * SPDX-License-Identifier: Apache-2.0 */
#include "trainer_impl.h"

#include "dg_file.h"

#include <math.h>

/* Bounds of the interval that Young's rule gives, and the time of the first checkpoint, which measures what one costs. */
static const double SHORTEST_S = 30, LONGEST_S = 3600, FIRST_S = 60;

/* Young, CACM 17 (1974) 530: sqrt(2 C M) with the cost C of a checkpoint and the mean time M between interruptions. C is
 * the whole time of a save, as if training had stood still: an upper bound, since the file is written beside it. */
static double interval_s(const dg_trainer *t)
{
    dg_save_rule rule = dg_run_config_save_rule(&t->config);
    if (!rule.automatic) return rule.seconds > 0 ? rule.seconds : INFINITY;
    dg_save_cost cost = dg_saver_cost(t->saver);
    if (cost.files == 0) return FIRST_S;
    double young = sqrt(2 * (cost.pause_s + cost.write_s) * t->config.train.mtbi_h * 3600);
    return fmin(LONGEST_S, fmax(SHORTEST_S, young));
}

bool trainer_save_due(const dg_trainer *t) { return t->saver != NULL && dg_time_s() - t->saved_s >= interval_s(t); }

double trainer_stop_s(const dg_trainer *t)
{
    dg_save_cost cost = t->saver != NULL ? dg_saver_cost(t->saver) : (dg_save_cost){.files = 0};
    return t->step_s + t->validate_s + 2 * (cost.pause_s + cost.write_s);
}

dg_status trainer_save_create(dg_trainer *t)
{
    const dg_optim_config *optim = &t->schedule;
    int64_t buffers = 1 + (optim->kind == DG_OPTIM_ADAMW ? 2 : 1) + (optim->ema > 0 || optim->swa_start > 0);
    int64_t bytes = buffers * t->model->params.total * (int64_t)sizeof(float) + trainer_adversary_bytes(t);
    dg_status status = DG_OK;
    if (t->comm->rank == 0)
        status = dg_saver_create(&t->folder, &t->registry, t->config.train.keep, bytes, t->log, &t->saver);
    t->saved_s = dg_time_s();
    return dg_comm_agree(t->comm, status);
}

static dg_status start_saving(dg_trainer *t, bool as_step)
{
    const dg_save_request request = {.step = t->progress.step,
                                     .model = t->model->config.kind,
                                     .options = t->options,
                                     .as_step = as_step,
                                     .as_best = t->best_pending};
    /* a run that goes on from here has the rows of all its steps */
    if (as_step) DG_TRY(dg_metrics_flush(t->metrics));
    return dg_saver_start(t->saver, &request);
}

dg_status trainer_save(dg_trainer *t, bool as_step)
{
    dg_status status = DG_OK;
    as_step = as_step && t->saved_step != t->progress.step;
    if (!as_step && !t->best_pending) return DG_OK;
    dg_phase before = dg_heartbeat_phase(t->comm->heartbeat, DG_PHASE_SAVE);
    int64_t range = dg_range_begin(t->trace, dg_phase_name(DG_PHASE_SAVE));
    if (t->comm->rank == 0) status = start_saving(t, as_step);
    dg_range_end(t->trace, range);
    (void)dg_heartbeat_phase(t->comm->heartbeat, before);
    DG_TRY(dg_comm_agree(t->comm, status));
    t->best_pending = false;
    if (!as_step) return DG_OK;
    t->saved_step = t->progress.step;
    t->saved_s = dg_time_s();
    return trainer_remember(t);
}

dg_status trainer_save_wait(dg_trainer *t)
{
    dg_phase before = dg_heartbeat_phase(t->comm->heartbeat, DG_PHASE_SAVE);
    dg_status status = t->comm->rank == 0 ? dg_saver_wait(t->saver) : DG_OK;
    (void)dg_heartbeat_phase(t->comm->heartbeat, before);
    return dg_comm_agree(t->comm, status);
}
