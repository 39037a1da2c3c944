/* trainer_state.c - what of a run survives: its states, the files they go to, and the way back.
 * SPDX-License-Identifier: Apache-2.0 */
#include "trainer_impl.h"
#include "weights_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static dg_status save_progress(const void *object, const dg_state_sink *sink)
{
    const dg_trainer *t = object;
    const trainer_progress *p = &t->progress;
    DG_TRY(dg_state_put_int(sink, "step", p->step));
    DG_TRY(dg_state_put_int(sink, "seed", p->seed));
    DG_TRY(dg_state_put_double(sink, "elapsed_s", trainer_elapsed_s(t)));
    DG_TRY(dg_state_put_double(sink, "cooling_s", p->cooling_s));
    DG_TRY(dg_state_put_int(sink, "skipped", p->skipped));
    DG_TRY(dg_state_put_int(sink, "rollbacks", p->rollbacks));
    DG_TRY(dg_state_put_int(sink, "threads", p->threads));
    DG_TRY(dg_state_put_double(sink, "best", p->best));
    DG_TRY(dg_state_put_int(sink, "best_step", p->best_step));
    DG_TRY(sink->put_text(sink->context, "cases_sha256", p->cases_sha256));
    DG_TRY(dg_state_put_double(sink, "guard_mean", t->guard.mean));
    DG_TRY(dg_state_put_double(sink, "guard_best", t->guard.best));
    DG_TRY(dg_state_put_int(sink, "guard_seen", t->guard.seen));
    DG_TRY(dg_state_put_int(sink, "bad_in_a_row", t->bad_in_a_row));
    return dg_state_put_int(sink, "stale", p->stale);
}

static dg_status load_guards(dg_trainer *t, const dg_state_source *source)
{
    int64_t bad = 0;
    DG_TRY(dg_state_get_double(source, "guard_mean", &t->guard.mean));
    DG_TRY(dg_state_get_double(source, "guard_best", &t->guard.best));
    DG_TRY(dg_state_get_int(source, "guard_seen", &t->guard.seen));
    DG_TRY(dg_state_get_int(source, "bad_in_a_row", &bad));
    t->bad_in_a_row = (int)bad;
    return DG_OK;
}

/* Version 1 knew no rollbacks, version 2 no guards, version 3 no pauses. */
static dg_status load_progress(void *object, const dg_state_source *source, int version)
{
    dg_trainer *t = object;
    trainer_progress p = {.rollbacks = 0};
    DG_TRY(dg_state_get_int(source, "step", &p.step));
    DG_TRY(dg_state_get_int(source, "seed", &p.seed));
    DG_TRY(dg_state_get_double(source, "elapsed_s", &p.elapsed_s));
    DG_TRY(dg_state_get_int(source, "skipped", &p.skipped));
    if (version >= 2) DG_TRY(dg_state_get_int(source, "rollbacks", &p.rollbacks));
    if (version >= 4) DG_TRY(dg_state_get_double(source, "cooling_s", &p.cooling_s));
    DG_TRY(dg_state_get_int(source, "threads", &p.threads));
    DG_TRY(dg_state_get_double(source, "best", &p.best));
    DG_TRY(dg_state_get_int(source, "best_step", &p.best_step));
    DG_TRY(dg_state_get_int(source, "stale", &p.stale));
    DG_TRY(source->get_text(source->context, "cases_sha256", p.cases_sha256, sizeof p.cases_sha256));
    if (strcmp(p.cases_sha256, t->progress.cases_sha256) != 0) {
        return DG_FAIL(DG_ERR_MISMATCH, "the training or validation cases are not those that the run was begun with: "
                                        "restore data.cohort and data.split");
    }
    if (p.step < 0 || p.stale < 0 || !(p.elapsed_s >= 0) || !(p.cooling_s >= 0) || isnan(p.best)) {
        return DG_FAIL(DG_ERR_FORMAT, "the checkpoint's progress is damaged: step %lld, %g s", (long long)p.step,
                       p.elapsed_s);
    }
    if (t->config.train.reduction == DG_REDUCE_ORDERED && p.threads != t->progress.threads) {
        return DG_FAIL(
            DG_ERR_MISMATCH,
            "train.reduction is ordered and the run was begun with %lld threads per rank, not %lld: the bits "
            "would change. Set train.threads=%lld",
            (long long)p.threads, (long long)t->progress.threads, (long long)p.threads);
    }
    p.threads = t->progress.threads;
    t->progress = p;
    return version >= 3 ? load_guards(t, source) : DG_OK;
}

dg_status trainer_register(dg_trainer *t)
{
    DG_TRY(dg_state_register(&t->learned, dg_weights_state(&t->weights, "params")));
    DG_TRY(dg_state_register(&t->learned, dg_optim_state(t->optim)));
    DG_TRY(trainer_adversary_register(t));
    if (t->config.loss.weighting == DG_LOSS_LEARNED)
        DG_TRY(dg_state_register(&t->learned, dg_loss_weights_state(&t->setup.weights)));
    DG_TRY(trainer_controls_register_first(t));
    for (int i = 0; i < t->learned.count; i++) DG_TRY(dg_state_register(&t->registry, t->learned.item[i]));
    DG_TRY(trainer_controls_register(t));
    DG_TRY(trainer_detect_register(t));
    DG_TRY(dg_state_register(&t->registry, dg_recipe_state(&t->recipe)));
    return dg_state_register(
        &t->registry,
        (dg_state){.name = "run", .version = 4, .object = t, .save = save_progress, .load = load_progress});
}

dg_status trainer_remember(dg_trainer *t)
{
    dg_status status = DG_OK;
    const dg_train_config *train = &t->config.train;
    if (train->on_nan != DG_NAN_ROLLBACK && train->on_degradation != DG_DEGRADATION_ROLLBACK) return DG_OK;
    if (t->kept != NULL && !trainer_healthy(t)) return DG_OK; /* the same on every rank */
    if (t->kept == NULL) status = dg_state_frozen_create(&t->learned, &t->kept);
    if (status == DG_OK) status = dg_state_frozen_take(t->kept);
    t->rolled = 0;
    return dg_comm_agree(t->comm, status);
}

dg_status trainer_bring_back(dg_trainer *t, const dg_state_frozen *kept)
{
    dg_state_memory *memory = NULL;
    DG_TRY(dg_state_memory_create(&memory));
    dg_status status = dg_state_memory_save(memory, dg_state_frozen_registry(kept));
    if (status == DG_OK) status = dg_state_memory_load(memory, &t->learned);
    dg_state_memory_destroy(&memory);
    return status;
}

dg_status trainer_roll_back(dg_trainer *t)
{
    dg_status status = trainer_bring_back(t, t->kept);
    t->rolled++;
    t->progress.rollbacks++;
    return dg_comm_agree(t->comm, status);
}

const float *trainer_best_weights(const dg_trainer *t)
{
    const float *average = dg_optim_average(t->optim);
    return average != NULL ? average : t->weights.values;
}

/* Keys that may change between the parts of one run: they alter neither what is learned from nor what is learned. */
static bool may_change(const char *key)
{
    static const char *const free_keys[] = {"run.name",
                                            "run.dir",
                                            "data.cohort",
                                            "data.split.file",
                                            "data.cache_mb",
                                            "data.readers",
                                            "train.steps",
                                            "train.epochs",
                                            "train.minutes",
                                            "train.micro_batch",
                                            "train.threads",
                                            "train.backend",
                                            "train.recompute",
                                            "train.validate_every",
                                            "train.monitor",
                                            "train.early_stopping.patience",
                                            "train.keep",
                                            "train.early_stopping.min_delta",
                                            "train.on_nan",
                                            "train.checkpoint_every",
                                            "train.comm_timeout_s",
                                            "train.cuda_graph",
                                            "train.mtbi_h",
                                            "diffusion.sampler",
                                            "diffusion.sample_steps",
                                            "diffusion.eta",
                                            "diffusion.guidance",
                                            "diffusion.ensemble",
                                            "diffusion.percentiles",
                                            "train.max_restarts",
                                            "train.on_degradation",
                                            "train.degradation_factor",
                                            "train.cooling.every_steps",
                                            "train.cooling.pause_s",
                                            "train.cooling.above_c"};
    for (size_t i = 0; i < sizeof free_keys / sizeof free_keys[0]; i++) {
        if (strcmp(key, free_keys[i]) == 0) return true;
    }
    return strncmp(key, "predict.", 8) == 0 || strncmp(key, "evaluate.", 9) == 0;
}

/* Refuses a checkpoint of other settings; every key that differs is named with both values. */
static dg_status compare_settings(const dg_trainer *t, const json_t *stored)
{
    json_t *mine = dg_run_config_to_json(t->options), *row;
    const char *key;
    char text[DG_ERROR_TEXT_MAX / 2] = "";
    json_object_foreach(mine, key, row)
    {
        const json_t *old = json_object_get(json_object_get(stored, key), "value"),
                     *new = json_object_get(row, "value");
        if (old == NULL || json_equal(old, new) || may_change(key)) continue;
        char *a = json_dumps(old, JSON_ENCODE_ANY | JSON_COMPACT), *b = json_dumps(new, JSON_ENCODE_ANY | JSON_COMPACT);
        size_t length = strlen(text);
        snprintf(text + length, sizeof text - length, "%s%s is %.60s, was %.60s", length > 0 ? "; " : "", key,
                 b != NULL ? b : "?", a != NULL ? a : "?");
        free(a);
        free(b);
    }
    json_decref(mine);
    if (text[0] == '\0') return DG_OK;
    return DG_FAIL(DG_ERR_MISMATCH,
                   "the checkpoint is of a run with other settings: %s. Restore them, or start a new run "
                   "under another run.name",
                   text);
}

static dg_status find_checkpoint(const dg_trainer *t, char path[DG_PATH_MAX])
{
    char skipped[512] = "";
    path[0] = '\0';
    dg_status status = dg_checkpoint_find_newest(t->folder.checkpoints, path, DG_PATH_MAX, skipped, sizeof skipped);
    if (skipped[0] != '\0') dg_log_write(t->log, DG_LOG_WARNING, "damaged checkpoints are left aside: %s", skipped);
    if (status != DG_ERR_IO) return status;
    if (skipped[0] != '\0') {
        return DG_FAIL(DG_ERR_FORMAT, "no checkpoint of the run is intact: restore one, or start again under another "
                                      "run.name");
    }
    path[0] = '\0';
    dg_error_clear();
    dg_log_write(t->log, DG_LOG_INFO, "no checkpoint to go on from: training starts at the beginning");
    return DG_OK;
}

static dg_status load_checkpoint(dg_trainer *t, const char *path)
{
    dg_checkpoint_meta meta;
    json_t *stored = NULL;
    DG_TRY(dg_checkpoint_read_meta(path, &meta, &stored));
    dg_status status = compare_settings(t, stored);
    json_decref(stored);
    return status == DG_OK ? dg_checkpoint_load(path, &t->registry) : status;
}

dg_status trainer_resume(dg_trainer *t)
{
    char path[DG_PATH_MAX];
    dg_status status = t->comm->rank == 0 ? find_checkpoint(t, path) : DG_OK;
    DG_TRY(dg_comm_agree(t->comm, status));
    DG_TRY(dg_comm_broadcast(t->comm, path, sizeof path, 0));
    if (path[0] == '\0') return DG_OK;
    DG_TRY(dg_comm_agree(t->comm, load_checkpoint(t, path)));
    t->saved_step = t->progress.step;
    dg_log_write(t->log, DG_LOG_INFO, "goes on from step %lld", (long long)t->progress.step);
    return DG_OK;
}

dg_status trainer_init_from(dg_trainer *t, const char *path)
{
    dg_state weights = dg_weights_state(&t->weights, "params");
    dg_status status = dg_weights_file_is(path) ? DG_OK : trainer_diffusion_check_init(t, path);
    if (status == DG_OK)
        status = dg_weights_file_is(path) ? dg_weights_file_load(path, &t->model->params, &weights)
                                          : dg_checkpoint_load_one(path, &weights);
    if (status != DG_OK) status = dg_error_context(status, "--init");
    return dg_comm_agree(t->comm, status);
}
