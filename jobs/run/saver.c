/* saver.c - see saver.h. The thread owns the frozen state while `busy`; everything else is shared under the mutex.
 * SPDX-License-Identifier: Apache-2.0 */
#include "saver.h"

#include "dg_checkpoint.h"
#include "dg_fault.h"
#include "dg_mem.h"
#include "dg_trace.h"
#include "run_config.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

struct dg_saver {
    const dg_run_folder *folder;
    dg_log *log;
    int64_t keep;
    dg_state_frozen *frozen;
    pthread_t thread;
    pthread_mutex_t guard;
    pthread_cond_t changed;
    bool running, busy, quit;
    /* of the file under way */
    dg_checkpoint_meta meta;
    json_t *config;
    bool as_step, as_best;
    double pause_s;
    /* of the last one */
    dg_status status;
    char text[DG_ERROR_TEXT_MAX];
    dg_save_cost cost;
    int64_t expected_bytes;
};

static double megabytes(int64_t bytes) { return (double)bytes * 1e-6; }

/* A full disk is better known before the hours whose work it would not take. */
static dg_status check_space(const dg_saver *s, const char *what, int64_t bytes)
{
    int64_t there = 0;
    DG_TRY(dg_free_bytes(s->folder->checkpoints, &there));
    if (there >= bytes) return DG_OK;
    return DG_FAIL(DG_ERR_IO,
                   "%s: %.1f MB are needed and %.1f MB are free: No space left on device; free some space, or choose "
                   "another run.dir, then run again (--resume goes on)",
                   what, megabytes(bytes), megabytes(there));
}

static dg_status write_files(dg_saver *s)
{
    char path[DG_PATH_MAX], what[64];
    DG_TRY(dg_lease_check(s->folder->lease));
    snprintf(what, sizeof what, "checkpoint of step %lld", (long long)s->meta.step);
    DG_TRY(check_space(s, what, s->expected_bytes));
    if (s->as_step)
        DG_TRY(dg_run_folder_step_path(s->folder, s->meta.step, path));
    else
        DG_TRY(dg_path_join(path, s->folder->checkpoints, "best.h5"));
    DG_TRY(dg_checkpoint_save(path, dg_state_frozen_registry(s->frozen), s->config, &s->meta));
    if (!s->as_step) return DG_OK;
    DG_TRY(dg_run_folder_link(s->folder, path, "last.h5"));
    if (s->as_best) DG_TRY(dg_run_folder_link(s->folder, path, "best.h5"));
    return dg_run_folder_prune(s->folder, s->keep);
}

static void tell(const dg_saver *s)
{
    const dg_save_cost *c = &s->cost;
    dg_log_write(
        s->log, DG_LOG_INFO,
        "checkpoint at step %lld%s: %.1f MB, training paused %.3f s, written in %.2f s beside it, %.2f s of that "
        "read back and compared",
        (long long)s->meta.step, s->as_best ? " (best)" : "", megabytes(c->bytes), c->pause_s, c->write_s, c->verify_s);
}

static void save_one(dg_saver *s)
{
    double start = dg_time_s();
    dg_fault_set_step(s->meta.step);
    dg_status status = write_files(s);
    double seconds = dg_time_s() - start;
    pthread_mutex_lock(&s->guard);
    s->status = status;
    snprintf(s->text, sizeof s->text, "%s", status == DG_OK ? "" : dg_error_last()->text);
    if (status == DG_OK) {
        s->cost.files++;
        s->cost.bytes = s->expected_bytes = s->meta.bytes;
        s->cost.pause_s = s->pause_s;
        s->cost.write_s = seconds;
        s->cost.verify_s = s->meta.verify_s;
        tell(s);
    }
    json_decref(s->config);
    s->config = NULL;
    s->busy = false;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->guard);
}

static void *work(void *context)
{
    dg_saver *s = context;
    for (;;) {
        pthread_mutex_lock(&s->guard);
        while (!s->busy && !s->quit) pthread_cond_wait(&s->changed, &s->guard);
        bool go_on = s->busy;
        pthread_mutex_unlock(&s->guard);
        if (!go_on) return NULL;
        save_one(s);
    }
}

dg_status dg_saver_create(const dg_run_folder *folder, const dg_state_registry *live, int64_t keep, int64_t bytes,
                          dg_log *log, dg_saver **out)
{
    dg_saver *s = NULL;
    *out = NULL;
    DG_TRY(DG_NEW(&s, 1, "checkpoint writer"));
    s->folder = folder;
    s->log = log;
    s->keep = keep;
    s->expected_bytes = bytes;
    pthread_mutex_init(&s->guard, NULL);
    pthread_cond_init(&s->changed, NULL);
    dg_status status = check_space(s, "checkpoints, the newest beside the one before", 2 * bytes);
    if (status == DG_OK) status = dg_state_frozen_create(live, &s->frozen);
    if (status == DG_OK) status = dg_state_frozen_take(s->frozen);
    if (status == DG_OK) {
        s->running = pthread_create(&s->thread, NULL, work, s) == 0;
        if (!s->running) status = DG_FAIL(DG_ERR_MEMORY, "no thread could be started to write checkpoints");
    }
    if (status != DG_OK) dg_saver_destroy(&s);
    *out = s;
    return status;
}

void dg_saver_destroy(dg_saver **saver)
{
    dg_saver *s = *saver;
    if (s == NULL) return;
    if (s->running) {
        pthread_mutex_lock(&s->guard);
        s->quit = true;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->guard);
        pthread_join(s->thread, NULL);
    }
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->guard);
    dg_state_frozen_destroy(&s->frozen);
    dg_free(saver);
}

/* Under the mutex. */
static dg_status take_error(dg_saver *s)
{
    dg_status status = s->status;
    s->status = DG_OK;
    return status == DG_OK ? DG_OK : DG_FAIL(status, "%s", s->text);
}

dg_status dg_saver_poll(dg_saver *s)
{
    pthread_mutex_lock(&s->guard);
    dg_status status = s->busy ? DG_OK : take_error(s);
    pthread_mutex_unlock(&s->guard);
    return status;
}

dg_status dg_saver_wait(dg_saver *s)
{
    pthread_mutex_lock(&s->guard);
    while (s->busy) pthread_cond_wait(&s->changed, &s->guard);
    dg_status status = take_error(s);
    pthread_mutex_unlock(&s->guard);
    return status;
}

dg_status dg_saver_start(dg_saver *s, const dg_save_request *request)
{
    double start = dg_time_s();
    DG_TRY(dg_saver_wait(s));
    dg_fault_set_step(request->step);
    DG_TRY(dg_fault_reach(DG_FAULT_SAVE_COPY, NULL, 0));
    DG_TRY(dg_state_frozen_take(s->frozen));
    json_t *config = dg_run_config_to_json(request->options);
    if (config == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for the checkpoint's settings");
    pthread_mutex_lock(&s->guard);
    s->meta = (dg_checkpoint_meta){.step = request->step};
    snprintf(s->meta.model, sizeof s->meta.model, "%s", request->model);
    s->config = config;
    s->as_step = request->as_step;
    s->as_best = request->as_best;
    s->pause_s = dg_time_s() - start;
    s->cost.total_pause_s += s->pause_s;
    if (s->pause_s > s->cost.longest_pause_s) s->cost.longest_pause_s = s->pause_s;
    s->busy = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->guard);
    return DG_OK;
}

dg_save_cost dg_saver_cost(dg_saver *s)
{
    pthread_mutex_lock(&s->guard);
    dg_save_cost cost = s->cost;
    pthread_mutex_unlock(&s->guard);
    return cost;
}
