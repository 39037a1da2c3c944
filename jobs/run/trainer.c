/* trainer.c - the step loop. Per step two small agreements: before it (stop, time, samples that could not be made) and
 * after the gradients are summed (losses). SPDX-License-Identifier: Apache-2.0 */
#include "trainer_impl.h"

#include "dg_mem.h"
#include "stop.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BAD_STEPS_MAX = 10, ROLLBACKS_MAX = 10, FAULT_TEXT = 240 };

/* What all ranks know at the start of a step. */
typedef struct step_control {
    bool stop, fault;
    double fraction; /* of the run, by rank 0's clock */
} step_control;

/* What a step did. */
typedef struct step_result {
    double term[DG_LOSS_TERMS]; /* means over the global batch */
    double lr, grad_norm;
    bool updated;
} step_result;

double trainer_elapsed_s(const dg_trainer *t)
{
    return t->progress.elapsed_s + (t->started_s > 0 ? dg_time_s() - t->started_s : 0);
}

static double fraction_done(const dg_trainer *t)
{
    const dg_train_config *train = &t->config.train;
    double by_steps = t->total_steps == INT64_MAX ? 0 : (double)t->progress.step / (double)t->total_steps;
    double by_time = train->minutes > 0 ? trainer_elapsed_s(t) / (60 * train->minutes) : 0;
    return fmin(1, fmax(by_steps, by_time));
}

static dg_status agree_control(dg_trainer *t, bool fault, step_control *out)
{
    double shared[3] = {dg_stop_requested() != 0, t->comm->rank == 0 ? fraction_done(t) : 0, fault};
    DG_TRY(dg_comm_all_reduce(t->comm, shared, 3, DG_F64, DG_MAX));
    *out = (step_control){.stop = shared[0] != 0, .fraction = shared[1], .fault = shared[2] != 0};
    return DG_OK;
}

/* A run bound by time has no known number of steps: the course follows the clock, the warm-up still counts steps. */
static double learning_rate(const dg_trainer *t, double fraction)
{
    if (t->config.train.minutes <= 0) return dg_schedule_lr(&t->schedule, t->progress.step);
    dg_optim_config course = t->schedule;
    course.warmup = 0;
    double lr = dg_schedule_lr_at(&course, fraction);
    double rise = (double)(t->progress.step + 1) / (double)(t->schedule.warmup > 0 ? t->schedule.warmup : 1);
    return lr * fmin(1, rise);
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
    dg_log_write(t->log, DG_LOG_WARNING, "step %lld is left out, the weights are those of the last checkpoint again",
                 (long long)t->progress.step);
    return DG_OK;
}

/* A step that gave no usable gradient: left out, or the end of the run; `computed`: the samples were there, and what was
 * made of them is not finite. The same on every rank. @collective */
static dg_status handle_fault(dg_trainer *t, const char *mine, bool computed)
{
    char all[FAULT_TEXT + 32];
    DG_TRY(share_fault(t, mine, all, sizeof all));
    t->progress.skipped++;
    t->bad_in_a_row++;
    if (t->config.train.on_nan == DG_NAN_ABORT) {
        return DG_FAIL(DG_ERR_NUMERIC, "step %lld: %s (train.on_nan is abort)", (long long)t->progress.step, all);
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

static dg_status fill_slot(dg_trainer *t, int64_t slot, const dg_sample *sample)
{
    const dg_backend_ops *ops = t->backend->ops;
    int64_t outputs = t->size.outputs, bytes = dg_sample_input_bytes(&t->size);
    dg_tensor input = dg_plan_input(t->plan), constraints = dg_plan_constraints(t->plan);
    if (sample == NULL) { /* the pass is larger than what is left */
        return ops->upload(t->backend, t->counted + slot * outputs, t->nothing, outputs);
    }
    DG_TRY(ops->upload(t->backend, (char *)input.data + slot * bytes, sample->input, bytes));
    DG_TRY(ops->upload(t->backend, t->target + slot * outputs, sample->target, outputs * (int64_t)sizeof(float)));
    DG_TRY(ops->upload(t->backend, t->counted + slot * outputs, sample->counted, outputs));
    if (constraints.data == NULL) return DG_OK;
    return ops->upload(t->backend, (float *)constraints.data + slot * t->size.constraints, sample->constraint,
                       t->size.constraints * (int64_t)sizeof(float));
}

/* The output seen as one channel: the voxels of a block lie side by side. */
static dg_tensor as_voxels(const dg_trainer *t, dg_tensor tensor)
{
    int64_t per_voxel = t->size.outputs / t->size.voxels;
    tensor.x *= per_voxel;
    tensor.c = tensor.pitch = 1;
    return tensor;
}

static void describe_sample(const dg_trainer *t, const dg_sample *sample, const char *what, char *text, size_t capacity)
{
    const int64_t *at = sample->draw.box.start;
    snprintf(text, capacity, "%s is not finite: case %s, patch at voxel (%lld, %lld, %lld)", what,
             dg_cohort_case(t->cohort, sample->draw.index)->id, (long long)at[0], (long long)at[1], (long long)at[2]);
}

/* Forward, loss and backward of up to `micro` samples; adds their terms, notes the first that is not finite. */
static dg_status run_pass(dg_trainer *t, const dg_sample *samples, int64_t count, bool last, double sum[DG_LOSS_TERMS],
                          char *fault)
{
    const dg_loss_desc desc = {
        .mse = t->config.loss.mse, .mae = t->config.loss.mae, .negative = t->config.loss.negative};
    int64_t range = dg_range_begin(t->trace, "data");
    for (int64_t i = 0; i < t->micro; i++) DG_TRY(fill_slot(t, i, i < count ? &samples[i] : NULL));
    dg_range_end(t->trace, range);
    range = dg_range_begin(t->trace, "forward");
    DG_TRY(dg_plan_forward(t->plan, t->trace));
    dg_range_end(t->trace, range);
    dg_tensor y = as_voxels(t, dg_plan_output(t->plan)), dy = as_voxels(t, dg_plan_output_gradient(t->plan));
    dg_tensor target = y;
    target.data = t->target;
    dg_status status = t->backend->ops->loss(t->backend, &desc, &y, &target, t->counted, 1.0, &dy, t->term);
    for (int64_t i = 0; i < count && status == DG_OK; i++) {
        bool finite = true;
        for (int k = 0; k < DG_LOSS_TERMS; k++) {
            sum[k] += t->term[i * DG_LOSS_TERMS + k];
            finite = finite && isfinite(t->term[i * DG_LOSS_TERMS + k]);
        }
        if (!finite && fault[0] == '\0') describe_sample(t, &samples[i], "loss", fault, FAULT_TEXT);
    }
    DG_TRY(status);
    range = dg_range_begin(t->trace, "backward");
    status =
        dg_plan_backward(t->plan, dg_reducer_buffer(t->reducer), last ? dg_reducer_ready : NULL, t->reducer, t->trace);
    dg_range_end(t->trace, range);
    return status == DG_OK ? dg_reducer_pass_done(t->reducer, count) : status;
}

/* Name of the first parameter whose summed gradient is not finite. */
static void describe_gradient(dg_trainer *t, const float *sum, char *text, size_t capacity)
{
    const dg_param_table *table = &t->model->params;
    float *host = NULL;
    snprintf(text, capacity, "the gradient is not finite");
    if (DG_NEW(&host, table->total, "gradients") != DG_OK ||
        t->backend->ops->download(t->backend, host, sum, table->total * (int64_t)sizeof *host) != DG_OK) {
        dg_free(&host);
        return;
    }
    for (int p = 0; p < table->count; p++) {
        for (int64_t i = 0; i < table->item[p].count; i++) {
            if (isfinite(host[table->item[p].offset + i])) continue;
            snprintf(text, capacity, "the gradient of %s is not finite", table->item[p].name);
            dg_free(&host);
            return;
        }
    }
    dg_free(&host);
}

/* All passes of this rank and the sum over ranks. A failure here leaves the others inside a reduction: no agreement. */
static dg_status compute_gradients(dg_trainer *t, const dg_sample *samples, double sum[DG_LOSS_TERMS], char *fault,
                                   const float **gradients)
{
    DG_TRY(dg_reducer_begin(t->reducer));
    for (int64_t i = 0; i < t->mine; i += t->micro) {
        int64_t count = t->mine - i < t->micro ? t->mine - i : t->micro;
        DG_TRY(run_pass(t, samples + i, count, i + count == t->mine, sum, fault));
    }
    int64_t range = dg_range_begin(t->trace, "reduce");
    dg_status status = dg_reducer_finish(t->reducer, t->trace, gradients);
    dg_range_end(t->trace, range);
    return status;
}

static dg_status alone(const dg_trainer *t, dg_status status)
{
    return status == DG_OK || t->comm->size == 1 ? status : dg_error_context(DG_ERR_COMM, "rank %d", t->comm->rank);
}

static dg_status take_step(dg_trainer *t, const dg_sample *samples, const step_control *control, step_result *out)
{
    double shared[DG_LOSS_TERMS + 1] = {0};
    char fault[FAULT_TEXT] = "";
    const float *gradients = NULL;
    DG_TRY(alone(t, compute_gradients(t, samples, shared, fault, &gradients)));
    shared[DG_LOSS_TERMS] = fault[0] != '\0';
    for (int k = 0; k < DG_LOSS_TERMS; k++) {
        if (fault[0] != '\0') shared[k] = 0; /* the flag tells */
    }
    DG_TRY(dg_comm_all_reduce(t->comm, shared, DG_LOSS_TERMS + 1, DG_F64, DG_SUM));
    for (int k = 0; k < DG_LOSS_TERMS; k++) out->term[k] = shared[k] / (double)t->sampler.batch;
    if (shared[DG_LOSS_TERMS] != 0) return handle_fault(t, fault, true);
    int64_t range = dg_range_begin(t->trace, "update");
    out->lr = learning_rate(t, control->fraction);
    dg_status status =
        dg_optim_step(t->optim, out->lr, 1.0 / (double)t->sampler.batch, t->weights, gradients, &out->grad_norm);
    if (status == DG_OK) status = dg_plan_set_weights(t->plan, t->weights);
    dg_range_end(t->trace, range);
    if (status == DG_ERR_NUMERIC) { /* the sum is the same everywhere: every rank comes here */
        describe_gradient(t, gradients, fault, sizeof fault);
        dg_error_clear();
        return handle_fault(t, t->comm->rank == 0 ? fault : "", true);
    }
    DG_TRY(status);
    out->updated = true;
    t->bad_in_a_row = 0;
    return DG_OK;
}

static dg_status record(dg_trainer *t, const step_result *result, double seconds)
{
    if (t->comm->rank != 0) return DG_OK;
    const double *term = result->term;
    dg_metrics_row row = {.step = t->progress.step,
                          .seconds = trainer_elapsed_s(t),
                          .lr = result->lr,
                          .loss = t->config.loss.mse * term[0] + t->config.loss.mae * term[1] +
                                  t->config.loss.negative * term[2],
                          .term = {term[0], term[1], term[2]},
                          .grad_norm = result->grad_norm,
                          .samples_per_s = (double)t->sampler.batch / seconds,
                          .validated = t->validated_step == t->progress.step,
                          .scores = t->scores};
    char note[160], best[48] = "";
    int64_t total = t->total_steps;
    double fraction = fraction_done(t);
    if (t->config.train.minutes > 0 && fraction > 0) {
        double by_time = (double)t->progress.step / fraction;
        total = by_time < (double)total ? (int64_t)ceil(by_time) : total;
    }
    if (isfinite(t->progress.best)) snprintf(best, sizeof best, ", best %.3f", t->progress.best);
    snprintf(note, sizeof note, "loss %.5f, lr %.2e%s", row.loss, row.lr, best);
    dg_log_progress(t->log, "training, steps", t->progress.step, total, note);
    return dg_metrics_add(t->metrics, &row);
}

static bool due(int64_t step, int64_t every) { return every > 0 && step % every == 0; }

static dg_status after_step(dg_trainer *t, const step_result *result, double seconds)
{
    t->progress.step++;
    if (due(t->progress.step, t->config.train.validate_every)) DG_TRY(trainer_validate(t));
    DG_TRY(dg_comm_agree(t->comm, result->updated ? record(t, result, seconds) : DG_OK));
    if (!due(t->progress.step, t->config.train.checkpoint_every)) return DG_OK;
    DG_TRY(trainer_save(t));
    return trainer_remember(t);
}

static bool finished(const dg_trainer *t, const step_control *control, dg_trainer_end *end)
{
    const dg_train_config *train = &t->config.train;
    if (t->progress.step >= t->total_steps) {
        *end = DG_END_STEPS;
        return true;
    }
    if (train->minutes > 0 && control->fraction >= 1) {
        *end = DG_END_MINUTES;
        return true;
    }
    *end = DG_END_EARLY_STOPPING;
    return train->early_stopping.patience > 0 && t->progress.stale >= train->early_stopping.patience;
}

/* One turn: the samples, the agreement, the step. *go_on false: the run is over or was asked to stop. */
static dg_status turn(dg_trainer *t, bool *go_on, bool *stopped, dg_trainer_end *end)
{
    double start = dg_time_s();
    const dg_sample *samples = NULL;
    step_control control = {.stop = false};
    step_result result = {.updated = false};
    char fault[FAULT_TEXT] = "";
    int64_t range = dg_range_begin(t->trace, "data");
    if (dg_loader_next(t->loader, &samples) != DG_OK) snprintf(fault, sizeof fault, "%.239s", dg_error_last()->text);
    dg_range_end(t->trace, range);
    DG_TRY(agree_control(t, fault[0] != '\0', &control));
    *stopped = control.stop;
    *go_on = !finished(t, &control, end) && !control.stop;
    if (!*go_on) return DG_OK;
    if (control.fault) {
        DG_TRY(handle_fault(t, fault, false));
    } else {
        DG_TRY(take_step(t, samples, &control, &result));
    }
    return after_step(t, &result, dg_time_s() - start);
}

/* The validation that ends a run; its step was recorded and maybe saved before its scores were known. */
static dg_status validate_last(dg_trainer *t)
{
    if (t->validated_step == t->progress.step || t->split.count[DG_PART_VAL] == 0) return DG_OK;
    DG_TRY(trainer_validate(t));
    t->saved_step = -1;
    dg_metrics_row row = {.step = t->progress.step,
                          .seconds = trainer_elapsed_s(t),
                          .untrained = true,
                          .validated = true,
                          .scores = t->scores};
    return dg_comm_agree(t->comm, t->comm->rank == 0 ? dg_metrics_add(t->metrics, &row) : DG_OK);
}

static dg_status finish(dg_trainer *t)
{
    DG_TRY(validate_last(t));
    DG_TRY(trainer_save(t));
    if (t->split.count[DG_PART_VAL] == 0) { /* nothing to choose by: the last is the best there is */
        t->progress.best_step = t->progress.step;
        DG_TRY(trainer_save_best(t));
    }
    return DG_OK;
}

static const char *end_name(dg_trainer_end end)
{
    static const char *const names[] = {"steps", "minutes", "early_stopping"};
    return names[end];
}

static json_t *number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static dg_status write_summary(dg_trainer *t, const dg_trainer_summary *s)
{
    json_t *root =
        json_pack("{s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:s, s:s, s:I, s:i, s:I, s:I, s:I}", "step", (json_int_t)s->step,
                  "skipped_steps", (json_int_t)s->skipped, "rollbacks", (json_int_t)s->rollbacks, "val_cases_skipped",
                  (json_int_t)s->val_skipped, "seconds", s->seconds, "samples_per_s", s->samples_per_s, "data_wait_s",
                  s->data_wait_s, "ended_by", end_name(s->end), "weights_sha256", s->weights_sha256, "best_step",
                  (json_int_t)s->best_step, "ranks", t->comm->size, "threads_per_rank", (json_int_t)t->progress.threads,
                  "wire_bytes_per_step", (json_int_t)dg_reducer_wire_bytes(t->reducer), "peak_rss_bytes",
                  (json_int_t)dg_peak_rss_bytes());
    json_object_set_new(root, "monitor", s->monitor[0] != '\0' ? json_string(s->monitor) : json_null());
    json_object_set_new(root, "best", number(s->best));
    json_object_set_new(root, "val_mae_gy", number(s->scores.mae_gy));
    json_object_set_new(root, "val_mae_ptv_gy", number(s->scores.mae_ptv_gy));
    json_object_set_new(root, "val_dose_score", number(s->scores.dose_score));
    return dg_run_folder_write(&t->folder, "training_summary.json", root);
}

static dg_status summarise(dg_trainer *t, int64_t first_step, dg_trainer_end end, dg_trainer_summary *out)
{
    bool judged = t->split.count[DG_PART_VAL] > 0;
    double here = dg_time_s() - t->started_s;
    *out = (dg_trainer_summary){.step = t->progress.step,
                                .skipped = t->progress.skipped,
                                .rollbacks = t->progress.rollbacks,
                                .val_skipped = t->val_lost_count,
                                .seconds = trainer_elapsed_s(t),
                                .data_wait_s = dg_loader_waited_s(t->loader),
                                .scores = judged ? t->scores : (dg_scores){NAN, NAN, NAN},
                                .monitor = judged ? trainer_monitor_name(t->monitor) : "",
                                .best = judged ? t->progress.best : NAN,
                                .best_step = t->progress.best_step,
                                .end = end};
    out->samples_per_s = (double)((t->progress.step - first_step) * t->sampler.batch) / (here > 0 ? here : 1);
    snprintf(out->folder, sizeof out->folder, "%.500s", t->folder.path);
    DG_TRY(trainer_weights_sha256(t, out->weights_sha256));
    return t->comm->rank == 0 ? write_summary(t, out) : DG_OK;
}

static dg_status train(dg_trainer *t, dg_trainer_summary *summary)
{
    bool go_on = true, stopped = false;
    dg_trainer_end end = DG_END_STEPS;
    int64_t first_step = t->progress.step;
    DG_TRY(dg_plan_set_weights(t->plan, t->weights));
    DG_TRY(trainer_remember(t));
    t->started_s = dg_time_s();
    while (go_on) DG_TRY(turn(t, &go_on, &stopped, &end));
    if (stopped) {
        DG_TRY(trainer_save(t));
        return DG_FAIL(DG_ERR_PREEMPTED,
                       "stopped on request at step %lld after a complete checkpoint: go on with --resume",
                       (long long)t->progress.step);
    }
    DG_TRY(finish(t));
    return dg_comm_agree(t->comm, summarise(t, first_step, end, summary));
}

dg_status dg_trainer_run(dg_trainer *t, dg_trainer_summary *summary)
{
    dg_stop_install();
    dg_status status = train(t, summary);
    dg_stop_remove();
    if (t->trace != NULL && dg_trace_write(t->trace, t->trace_path) != DG_OK && status == DG_OK) {
        status = dg_error_last()->status;
    }
    if (t->metrics != NULL && dg_metrics_flush(t->metrics) != DG_OK && status == DG_OK) status = DG_ERR_IO;
    return status;
}
