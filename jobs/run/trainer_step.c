/* trainer_step.c - one step: passes over this rank's samples, the sum of their gradients over ranks, the update; and what
 * becomes of a step that gave nothing usable. SPDX-License-Identifier: Apache-2.0 */
#include "trainer_impl.h"

#include "dg_fault.h"
#include "dg_mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BAD_STEPS_MAX = 10, ROLLBACKS_MAX = 10, FAULT_TEXT = TRAINER_FAULT_TEXT };

/* A run bound by time has no known number of steps: the course follows the clock, the warm-up still counts steps. */
static double learning_rate(const dg_trainer *t, double fraction)
{
    if (t->config.train.minutes <= 0 || t->schedule.schedule == DG_SCHEDULE_RESTARTS)
        return trainer_controls_lr(t, dg_schedule_lr(&t->schedule, t->progress.step));
    dg_optim_config course = t->schedule;
    course.warmup = 0;
    double lr = dg_schedule_lr_at(&course, fraction);
    double rise = (double)(t->progress.step + 1) / (double)(t->schedule.warmup > 0 ? t->schedule.warmup : 1);
    return trainer_controls_lr(t, lr * fmin(1, rise));
}

/* Collects one line from each rank that has one; rank 0 logs them, and *all gets the first. */
static dg_status share_fault(dg_trainer *t, const char *mine, char *all, size_t capacity)
{
    char text[FAULT_TEXT] = "", *lines = NULL;
    int64_t *sizes = NULL;
    dg_status status;
    snprintf(text, sizeof text, "%s", mine);
    DG_TRY_GOTO(status, DG_NEW(&lines, (int64_t)FAULT_TEXT * t->comm->size, "fault report"), done);
    DG_TRY_GOTO(status, DG_NEW(&sizes, t->comm->size, "fault report"), done);
    DG_TRY_GOTO(status, dg_comm_gather(t->comm, text, FAULT_TEXT, 0, t->comm->rank == 0 ? lines : NULL, sizes), done);
    DG_TRY_GOTO(status, dg_comm_broadcast(t->comm, lines, (int64_t)FAULT_TEXT * t->comm->size, 0), done);
    all[0] = '\0';
    for (int r = 0; r < t->comm->size; r++) {
        const char *line = lines + (int64_t)r * FAULT_TEXT;
        if (line[0] == '\0') continue;
        dg_log_write(t->log, DG_LOG_WARNING, "step %lld, rank %d: %s", (long long)t->progress.step, r, line);
        if (all[0] == '\0') snprintf(all, capacity, "rank %d: %s", r, line);
    }
done:
    dg_free(&lines);
    dg_free(&sizes);
    return status;
}

/* Weights that gave what is not finite may be beyond help, though they are finite themselves. @collective */
static dg_status roll_back(dg_trainer *t, const char *all)
{
    if (t->rolled >= ROLLBACKS_MAX) {
        return DG_FAIL(DG_ERR_NUMERIC,
                       "%d rollbacks to the same weights did not help, the last at step %lld: %s; lower optim.lr or "
                       "set optim.clip",
                       ROLLBACKS_MAX, (long long)t->progress.step, all);
    }
    DG_TRY(trainer_roll_back(t));
    dg_log_write(t->log, DG_LOG_WARNING,
                 "step %lld is left out, the weights are those of the last good checkpoint again",
                 (long long)t->progress.step);
    return DG_OK;
}

/* A step that gave no usable gradient: left out, or the end of the run; `computed`: the samples were there, and what was
 * made of them is not finite. The same on every rank. @collective */
dg_status trainer_handle_fault(dg_trainer *t, const char *mine, bool computed)
{
    char all[FAULT_TEXT + 32];
    DG_TRY(share_fault(t, mine, all, sizeof all));
    t->progress.skipped++;
    t->bad_in_a_row++;
    if (t->config.train.on_nan == DG_NAN_ABORT) {
        return DG_FAIL(computed ? DG_ERR_NUMERIC : DG_ERR_DATA, "step %lld: %s (train.on_nan is abort)",
                       (long long)t->progress.step, all);
    }
    if (t->bad_in_a_row >= BAD_STEPS_MAX && !computed) {
        return DG_FAIL(DG_ERR_DATA, "%d steps in a row were left out, the last, step %lld, for want of a sample: %s",
                       BAD_STEPS_MAX, (long long)t->progress.step, all);
    }
    if (t->bad_in_a_row >= BAD_STEPS_MAX) {
        return DG_FAIL(DG_ERR_NUMERIC,
                       "%d steps in a row were not finite, the last at step %lld: %s; lower optim.lr or "
                       "set optim.clip",
                       BAD_STEPS_MAX, (long long)t->progress.step, all);
    }
    if (computed && t->config.train.on_nan == DG_NAN_ROLLBACK) return roll_back(t, all);
    dg_log_write(t->log, DG_LOG_WARNING, "step %lld is left out", (long long)t->progress.step);
    return DG_OK;
}

/* Samples [first, first + count) of this rank go to where a pass finds them. */
dg_status trainer_fill_pass(dg_trainer *t, int64_t first, int64_t count)
{
    dg_feed_places places = {.count = t->micro,
                             .input = dg_plan_input(t->plan),
                             .target = t->target,
                             .counted = t->counted,
                             .regions = t->regions,
                             .distance = t->distance,
                             .scale_gy = t->scale_gy,
                             .constraint = dg_plan_constraints(t->plan)};
    if (t->noise != NULL) return trainer_diffusion_fill(t, first, count, &places);
    return dg_feed_pass(t->feed, first, count, &places);
}

static void describe_sample(const dg_trainer *t, const dg_sample *sample, const char *what, char *text, size_t capacity)
{
    const int64_t *at = sample->draw.box.start;
    snprintf(text, capacity, "%s is not finite: case %s, patch at voxel (%lld, %lld, %lld)", what,
             dg_cohort_case(t->cohort, sample->draw.index)->id, (long long)at[0], (long long)at[1], (long long)at[2]);
}

/* A test's NaN goes into the first gradient, whatever memory that lies in. */
static dg_status break_gradient(dg_trainer *t)
{
    float mark = 0;
    DG_TRY(dg_fault_reach(DG_FAULT_GRADIENT, &mark, sizeof mark));
    return mark == 0 ? DG_OK : t->backend->ops->upload(t->backend, dg_reducer_buffer(t->reducer), &mark, sizeof mark);
}

/* Takes the terms of the pass over samples [first, first + count) over into those of the step, once it is computed; notes the
 * first sample with one that is not finite. A device is waited for here: after a step's last pass when the sums over ranks are
 * done, not before. */
static dg_status read_values(dg_trainer *t, const dg_sample *samples, int64_t first, int64_t count, char *fault)
{
    const int terms = dg_loss_get_config(t->loss)->count;
    DG_TRY(dg_loss_read(t->loss, t->pass_value));
    DG_TRY(trainer_adversary_read(t, first, count));
    DG_TRY(dg_fault_reach(DG_FAULT_LOSS, t->pass_value, count * terms * (int64_t)sizeof *t->pass_value));
    memcpy(t->value + (t->first + first) * terms, t->pass_value, (size_t)(count * terms) * sizeof *t->value);
    for (int64_t i = 0; i < count * terms && fault[0] == '\0'; i++)
        if (!isfinite(t->pass_value[i])) describe_sample(t, &samples[first + i / terms], "loss", fault, FAULT_TEXT);
    return DG_OK;
}

/* Queues forward, loss and backward of samples [first, first + count), at most `micro`; the gradient is added to the reducer's
 * buffer. */
static dg_status compute_pass(dg_trainer *t, int64_t first, int64_t count, bool last)
{
    int64_t range = trainer_begin(t, DG_PHASE_DATA);
    DG_TRY(trainer_fill_pass(t, first, count));
    dg_range_end(t->trace, range);
    range = trainer_begin(t, DG_PHASE_FORWARD);
    DG_TRY(dg_fault_reach(DG_FAULT_FORWARD, NULL, 0));
    DG_TRY(dg_plan_forward(t->plan, t->trace));
    dg_range_end(t->trace, range);
    DG_TRY(trainer_loss_evaluate(t));
    DG_TRY(trainer_adversary_learn(t, count));
    range = trainer_begin(t, DG_PHASE_BACKWARD);
    dg_status status =
        dg_plan_backward(t->plan, dg_reducer_buffer(t->reducer), last ? dg_reducer_ready : NULL, t->reducer, t->trace);
    dg_range_end(t->trace, range);
    return status == DG_OK ? break_gradient(t) : status;
}

/* Name of the first parameter whose summed gradient is not finite, in host memory of the table's length; NULL: none, it
 * is the norm that overflows. */
static const char *bad_parameter(const dg_param_table *table, const float *sum)
{
    for (int p = 0; p < table->count; p++)
        for (int64_t i = 0; i < table->item[p].count; i++)
            if (!isfinite(sum[table->item[p].offset + i])) return table->item[p].name;
    return NULL;
}

static dg_status begin_sums(dg_trainer *t)
{
    DG_TRY(dg_reducer_begin(t->reducer));
    return trainer_adversary_begin(t);
}

/* Computes this rank's samples once more, one by one: "" in `text` where the gradient of each is finite. */
static dg_status find_bad_sample(dg_trainer *t, const dg_sample *samples, const char *what, char *text)
{
    DG_TRY(begin_sums(t));
    for (int64_t i = 0; i < t->live && text[0] == '\0'; i++) {
        double squares = 0;
        DG_TRY(compute_pass(t, i, 1, false));
        DG_TRY(
            t->backend->ops->sum_squares(t->backend, t->model->params.total, dg_reducer_buffer(t->reducer), &squares));
        if (!isfinite(squares)) describe_sample(t, &samples[i], what, text, FAULT_TEXT);
    }
    return DG_OK;
}

/* Whose gradient it is that is not finite: the parameter, and on the rank that made it the case and the patch. The sum is
 * the same everywhere, so every rank comes here. @collective */
static dg_status blame_gradient(dg_trainer *t, const dg_sample *samples, const float *sum, char *text)
{
    const dg_param_table *table = &t->model->params;
    char what[DG_PARAM_NAME + 32];
    float *host = NULL;
    int64_t found = 0;
    dg_status status = DG_NEW(&host, table->total, "gradients");
    if (status == DG_OK)
        status = t->backend->ops->download(t->backend, host, sum, table->total * (int64_t)sizeof *host);
    const char *name = status == DG_OK ? bad_parameter(table, host) : NULL;
    snprintf(what, sizeof what, "%s%s", name != NULL ? "the gradient of " : "the norm of the gradient",
             name != NULL ? name : "");
    dg_free(&host);
    if (status == DG_OK) status = find_bad_sample(t, samples, what, text);
    DG_TRY(trainer_alone(t, status));
    DG_TRY(dg_comm_any(t->comm, text[0] != '\0', &found));
    if (found == 0 && t->comm->rank == 0)
        snprintf(text, FAULT_TEXT, "%s is not finite, though those of all samples are", what);
    return DG_OK;
}

/* All passes of this rank, and the next step's samples while a device computes the last of them, which begins at *last. */
static dg_status run_passes(dg_trainer *t, const dg_sample *samples, int64_t *last, char *fault)
{
    DG_TRY(begin_sums(t));
    dg_reducer_leave_out(t->reducer, t->mine - t->live);
    DG_TRY(trainer_controls_gradient(t));
    for (int64_t i = 0; i < t->live; i += t->micro) {
        const int64_t count = t->live - i < t->micro ? t->live - i : t->micro;
        if (i > 0) DG_TRY(read_values(t, samples, *last, i - *last, fault));
        *last = i;
        DG_TRY(compute_pass(t, i, count, i + count == t->live));
        DG_TRY(dg_reducer_pass_done(t->reducer, count));
        DG_TRY(trainer_adversary_pass_done(t, count));
    }
    const int64_t range = trainer_begin(t, DG_PHASE_DATA);
    dg_fault_set_step(t->progress.step + 1);
    dg_status status = dg_feed_ahead(t->feed);
    dg_fault_set_step(t->progress.step);
    dg_range_end(t->trace, range);
    return status;
}

/* The passes and the sum over ranks. A failure here leaves the others inside a reduction: no agreement. */
static dg_status compute_gradients(dg_trainer *t, const dg_sample *samples, char *fault, const float **gradients)
{
    int64_t last = 0;
    DG_TRY(run_passes(t, samples, &last, fault));
    int64_t range = trainer_begin(t, DG_PHASE_REDUCE);
    dg_status status = dg_fault_reach(DG_FAULT_REDUCE, NULL, 0);
    if (status == DG_OK) status = dg_reducer_finish(t->reducer, t->trace, gradients);
    if (status == DG_OK) status = trainer_adversary_finish(t);
    if (status == DG_OK && t->live > 0) status = read_values(t, samples, last, t->live - last, fault);
    dg_range_end(t->trace, range);
    return status;
}

dg_status trainer_alone(const dg_trainer *t, dg_status status)
{
    char where[DG_WHERE_TEXT];
    if (status == DG_OK || status == DG_ERR_COMM) return status; /* a communicator says itself where it failed */
    status = trainer_explain_memory(t, status);
    dg_heartbeat_where(t->comm->heartbeat, where, sizeof where);
    return dg_error_context(t->comm->size == 1 ? status : DG_ERR_COMM, "rank %d of %d on %s, %s", t->comm->rank,
                            t->comm->size, t->comm->host, where);
}

/* The terms' means over the batch, and whether all ranks had finite ones. Every sample's value comes from one rank and the
 * others add 0, so the means are the same bits on any number of ranks. @collective */
static dg_status share_values(dg_trainer *t, bool mine_finite, double mean[DG_LOSS_TERMS_MAX], bool *finite)
{
    const int terms = dg_loss_get_config(t->loss)->count;
    const int64_t count = t->sampler.batch * terms;
    if (!mine_finite) memset(t->value, 0, (size_t)count * sizeof *t->value); /* the flag tells */
    t->value[count] = !mine_finite;
    DG_TRY(dg_comm_all_reduce(t->comm, t->value, count + 1, DG_F64, DG_SUM));
    *finite = t->value[count] == 0;
    for (int k = 0; k < terms; k++) {
        mean[k] = 0;
        for (int64_t i = 0; i < t->sampler.batch; i++) mean[k] += t->value[i * terms + k];
        mean[k] /= (double)t->batch_now;
    }
    return DG_OK;
}

/* A run whose loss climbs far above what it has been is on its way out, though all its numbers are finite. The means are
 * the same on every rank, and so is the verdict. @collective */
static dg_status guard_loss(dg_trainer *t, double loss)
{
    char text[FAULT_TEXT];
    trainer_guard *g = &t->guard;
    const double factor = t->config.train.degradation_factor;
    if (t->config.train.on_degradation == DG_DEGRADATION_IGNORE) return DG_OK;
    g->seen++;
    g->mean += (loss - g->mean) / (double)(g->seen < TRAINER_GUARD_STEPS ? g->seen : TRAINER_GUARD_STEPS);
    if (g->seen < TRAINER_GUARD_STEPS) return DG_OK;
    g->best = fmin(g->best, g->mean);
    if (!(g->best > 0 && g->mean > factor * g->best)) return DG_OK;
    snprintf(text, sizeof text, "the loss, averaged over %d steps, is %.4g: more than %g times the lowest, %.4g",
             TRAINER_GUARD_STEPS, g->mean, factor, g->best);
    if (t->config.train.on_degradation == DG_DEGRADATION_ABORT)
        return DG_FAIL(DG_ERR_NUMERIC, "step %lld: %s (train.on_degradation is abort)", (long long)t->progress.step,
                       text);
    dg_log_write(t->log, DG_LOG_WARNING, "step %lld: %s", (long long)t->progress.step, text);
    g->mean = g->best;
    return roll_back(t, text);
}

bool trainer_healthy(const dg_trainer *t)
{
    const trainer_guard *g = &t->guard;
    return g->seen < TRAINER_GUARD_STEPS || !(g->best > 0) ||
           g->mean <= sqrt(t->config.train.degradation_factor) * g->best;
}

dg_status trainer_take_step(dg_trainer *t, const dg_sample *samples, double fraction, trainer_step *out)
{
    char fault[FAULT_TEXT] = "";
    bool finite = true;
    double mean[DG_LOSS_TERMS_MAX];
    const float *gradients = NULL;
    DG_TRY(trainer_alone(t, trainer_controls_begin(t)));
    DG_TRY(trainer_alone(t, trainer_detect_look(t)));
    DG_TRY(trainer_alone(t, trainer_loss_begin(t, samples)));
    trainer_adversary_prepare(t);
    memset(t->value, 0, (size_t)(t->sampler.batch * dg_loss_get_config(t->loss)->count) * sizeof *t->value);
    DG_TRY(trainer_alone(t, compute_gradients(t, samples, fault, &gradients)));
    DG_TRY(share_values(t, fault[0] == '\0', mean, &finite));
    if (!finite) return trainer_handle_fault(t, fault, true);
    DG_TRY(trainer_adversary_share(t, mean));
    DG_TRY(trainer_alone(t, trainer_adversary_check(t, fault)));
    if (fault[0] != '\0') return trainer_handle_fault(t, t->comm->rank == 0 ? fault : "", true);
    trainer_loss_judge(t, mean, out);
    trainer_detect_step(t, mean);
    int64_t range = trainer_begin(t, DG_PHASE_UPDATE);
    out->lr = learning_rate(t, fraction);
    DG_TRY(trainer_alone(t, dg_fault_reach(DG_FAULT_UPDATE, NULL, 0)));
    dg_status status =
        dg_optim_step(t->optim, out->lr, 1.0 / (double)t->batch_now, t->weights.values, gradients, &out->grad_norm);
    if (status == DG_OK) status = dg_plan_set_weights(t->plan, t->weights.values);
    dg_range_end(t->trace, range);
    if (status == DG_ERR_NUMERIC) {
        dg_error_clear();
        DG_TRY(blame_gradient(t, samples, gradients, fault));
        return trainer_handle_fault(t, fault, true);
    }
    if (status == DG_OK) status = trainer_adversary_update(t, out->lr);
    DG_TRY(trainer_alone(t, status));
    out->updated = true;
    t->bad_in_a_row = 0;
    /* The guard weighs the terms as the settings do: weights that change or learn make a loss that falls below 0 or climbs, and
     * so does an opponent that gains. */
    const dg_loss_config *loss = dg_loss_get_config(t->loss);
    double steady = 0;
    for (int k = 0; k < loss->count; k++)
        if (loss->term[k].kind != DG_LOSS_ADVERSARIAL) steady += loss->weight[k] * mean[k];
    return guard_loss(t, steady);
}
