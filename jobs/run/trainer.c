/* trainer.c - the step loop. Per step two small agreements: before it (stop, time, samples that could not be made) and
 * after the gradients are summed (losses). SPDX-License-Identifier: Apache-2.0 */
#include "trainer_impl.h"

#include "dg_fault.h"
#include "dg_mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { COOLING_SLICE_NANOSECONDS = 100000000 }; /* between two looks for requests to stop */

/* What all ranks know at the start of a step. */
typedef struct step_control {
    int stop; /* reason, or 0 */
    bool fault, save;
    double fraction;  /* of the run, by rank 0's clock */
    double pause_s;   /* that are left of a pause */
    double hottest_c; /* of all GPUs; -INFINITY where that is not known */
} step_control;

int64_t trainer_begin(dg_trainer *t, dg_phase phase)
{
    (void)dg_heartbeat_phase(t->comm->heartbeat, phase);
    return dg_range_begin(t->trace, dg_phase_name(phase));
}

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

static dg_status agree_control(dg_trainer *t, bool fault, double pause_s, step_control *out)
{
    (void)dg_heartbeat_phase(t->comm->heartbeat, DG_PHASE_REDUCE); /* the files of the data phase are read */
    dg_status saved = t->comm->rank == 0 ? dg_saver_poll(t->saver) : DG_OK;
    double shared[7] = {dg_stop_watch_due(&t->watch, trainer_stop_s(t)),
                        t->comm->rank == 0 ? fraction_done(t) : 0,
                        fault,
                        trainer_save_due(t),
                        saved != DG_OK,
                        pause_s,
                        trainer_heat_c(t)};
    DG_TRY(dg_comm_all_reduce(t->comm, shared, 7, DG_F64, DG_MAX));
    *out = (step_control){.stop = (int)shared[0],
                          .fraction = shared[1],
                          .fault = shared[2] != 0,
                          .save = shared[3] != 0,
                          .pause_s = shared[5],
                          .hottest_c = shared[6]};
    return shared[4] == 0 ? DG_OK : dg_comm_agree(t->comm, saved);
}

static dg_status record(dg_trainer *t, const trainer_step *result, double seconds, double hottest_c)
{
    if (t->comm->rank != 0) return DG_OK;
    dg_gpu_reading gpu = dg_gpu_sensor_read(t->sensor);
    if (isfinite(hottest_c)) gpu.temperature_c = hottest_c;
    dg_metrics_row row = {.step = t->progress.step,
                          .seconds = trainer_elapsed_s(t),
                          .lr = result->lr,
                          .loss = result->loss,
                          .part = result->part,
                          .grad_norm = result->grad_norm,
                          .samples_per_s = (double)t->batch_now / seconds,
                          .validated = t->validated_step == t->progress.step,
                          .scores = t->scores,
                          .gpu = t->sensor != NULL ? &gpu : NULL};
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

static dg_status after_step(dg_trainer *t, const trainer_step *result, const step_control *control, double seconds)
{
    t->progress.step++;
    if (due(t->progress.step, t->config.train.validate_every)) DG_TRY(trainer_validate(t));
    DG_TRY(dg_comm_agree(t->comm, result->updated ? record(t, result, seconds, control->hottest_c) : DG_OK));
    return trainer_save(t, control->save || due(t->progress.step, dg_run_config_save_rule(&t->config).steps));
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

/* Rests before the step that comes, all ranks together, until the pause is over and no GPU too hot; a request to stop
 * and the end of the run are acted on meanwhile. */
static dg_status cool_down(dg_trainer *t, bool fault, step_control *control, dg_trainer_end *end)
{
    const double begun = dg_time_s(), until = begun + control->pause_s;
    if (!(control->pause_s > 0) && !trainer_is_hot(t, control->hottest_c)) return DG_OK;
    if (trainer_is_hot(t, control->hottest_c))
        dg_log_write(t->log, DG_LOG_INFO, "step %lld waits for the hottest GPU, at %g degrees C, to cool to %g",
                     (long long)t->progress.step, control->hottest_c, t->config.train.cooling.above_c);
    const int64_t range = trainer_begin(t, DG_PHASE_COOLING);
    dg_status status = DG_OK;
    while (status == DG_OK && control->stop == 0 && !finished(t, control, end) &&
           (control->pause_s > 0 || trainer_is_hot(t, control->hottest_c))) {
        (void)dg_heartbeat_phase(t->comm->heartbeat, DG_PHASE_COOLING);
        nanosleep(&(struct timespec){.tv_nsec = COOLING_SLICE_NANOSECONDS}, NULL);
        status = agree_control(t, fault, until - dg_time_s(), control);
    }
    dg_range_end(t->trace, range);
    t->progress.cooling_s += dg_time_s() - begun;
    return status;
}

/* One turn: the samples, the agreement, the step. *go_on false: the run is over or was asked to stop. */
static dg_status turn(dg_trainer *t, bool *go_on, int *stopped, dg_trainer_end *end)
{
    double start = dg_time_s();
    const dg_sample *samples = NULL;
    step_control control = {.stop = 0};
    trainer_step result = {.updated = false};
    char fault[TRAINER_FAULT_TEXT] = "";
    dg_fault_set_step(t->progress.step);
    dg_heartbeat_step(t->comm->heartbeat, t->progress.step);
    int64_t range = trainer_begin(t, DG_PHASE_DATA);
    DG_TRY(trainer_alone(t, dg_fault_reach(DG_FAULT_STEP, NULL, 0)));
    const dg_status drawn = dg_feed_next(t->feed, &samples);
    /* the device's fault, or settings that do not fit the data: nothing another sample would mend */
    if (drawn == DG_ERR_BACKEND || drawn == DG_ERR_USAGE) return trainer_alone(t, drawn);
    if (drawn != DG_OK) snprintf(fault, sizeof fault, "%.239s", dg_error_last()->text);
    dg_range_end(t->trace, range);
    DG_TRY(agree_control(t, fault[0] != '\0', trainer_pause_s(t), &control));
    const double cooled = t->progress.cooling_s;
    if (!finished(t, &control, end) && control.stop == 0) DG_TRY(cool_down(t, fault[0] != '\0', &control, end));
    start += t->progress.cooling_s - cooled; /* a pause is no part of a step */
    *stopped = control.stop;
    *go_on = !finished(t, &control, end) && control.stop == 0;
    if (!*go_on) return DG_OK;
    if (control.fault) {
        DG_TRY(trainer_handle_fault(t, fault, false));
    } else {
        DG_TRY(trainer_take_step(t, samples, control.fraction, &result));
    }
    dg_status status = after_step(t, &result, &control, dg_time_s() - start);
    t->step_s = dg_time_s() - start;
    return status;
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
    t->finishing = true;
    DG_TRY(validate_last(t));
    if (t->split.count[DG_PART_VAL] == 0) { /* nothing to choose by: the last is the best there is */
        t->progress.best_step = t->progress.step;
        t->best_pending = true;
    }
    DG_TRY(trainer_save(t, true));
    return trainer_save_wait(t);
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
    json_object_set_new(root, "cooling_s", json_real(t->progress.cooling_s));
    json_object_set_new(root, "monitor", s->monitor[0] != '\0' ? json_string(s->monitor) : json_null());
    json_object_set_new(root, "best", number(s->best));
    json_object_set_new(root, "val_mae_gy", number(s->scores.mae_gy));
    json_object_set_new(root, "val_mae_ptv_gy", number(s->scores.mae_ptv_gy));
    json_object_set_new(root, "val_dose_score", number(s->scores.dose_score));
    json_object_set_new(root, "val_dice_error", number(s->scores.dice_error));
    json_object_set_new(root, "val_fraction_error", number(s->scores.fraction_error));
    json_object_set_new(root, "val_fraction_distance", number(s->scores.fraction_distance));
    json_object_set_new(root, "val_denoise_gy", number(s->scores.denoise_gy));
    trainer_controls_describe(t, root);
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
                                .data_wait_s = dg_feed_waited_s(t->feed),
                                .scores = judged ? t->scores : (dg_scores){NAN, NAN, NAN, NAN, NAN, NAN, NAN},
                                .monitor = judged ? trainer_monitor_name(t->monitor) : "",
                                .best = judged ? t->progress.best : NAN,
                                .best_step = t->progress.best_step,
                                .end = end};
    out->samples_per_s = (double)((t->progress.step - first_step) * t->sampler.batch) / (here > 0 ? here : 1);
    snprintf(out->folder, sizeof out->folder, "%.500s", t->folder.path);
    DG_TRY(dg_weights_sha256(&t->weights, out->weights_sha256));
    return t->comm->rank == 0 ? write_summary(t, out) : DG_OK;
}

static dg_status train(dg_trainer *t, dg_trainer_summary *summary)
{
    bool go_on = true;
    int stopped = 0;
    dg_trainer_end end = DG_END_STEPS;
    int64_t first_step = t->progress.step;
    DG_TRY(dg_plan_set_weights(t->plan, t->weights.values));
    DG_TRY(trainer_remember(t));
    t->started_s = dg_time_s();
    while (go_on) DG_TRY(turn(t, &go_on, &stopped, &end));
    if (stopped != 0) {
        DG_TRY(trainer_save(t, true));
        DG_TRY(trainer_save_wait(t));
        dg_stop_watch_close(&t->watch, t->comm->rank == 0);
        return DG_FAIL(DG_ERR_PREEMPTED,
                       "stopped on request at step %lld (%s) after a complete checkpoint: go on with --resume",
                       (long long)t->progress.step, dg_stop_name(stopped));
    }
    DG_TRY(finish(t));
    DG_TRY(dg_compute_share(t->comm, t->backend, t->log)); /* what validation chose, for later runs */
    return dg_comm_agree(t->comm, summarise(t, first_step, end, summary));
}

dg_status dg_trainer_run(dg_trainer *t, dg_trainer_summary *summary)
{
    dg_status status = train(t, summary);
    if (t->trace != NULL && dg_trace_write(t->trace, t->trace_path) != DG_OK && status == DG_OK) {
        status = dg_error_last()->status;
    }
    if (t->metrics != NULL && dg_metrics_flush(t->metrics) != DG_OK && status == DG_OK) status = DG_ERR_IO;
    return status;
}
