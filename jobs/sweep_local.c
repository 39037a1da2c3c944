/* sweep_local.c - the runs of a sweep on this machine, several at a time, each through train, predict and evaluate.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sweep_impl.h"

#include "dg_trace.h"
#include "dg_utf8.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const double BUSY_PAUSE_S = 1, BUSY_LONGEST_S = 120;
enum { TURN_MS = 500, TAIL = 4096 };

typedef struct slot {
    pid_t pid; /* 0: free */
    int job;
    double started_s;
} slot;

static dg_status log_path(const sweep_work *w, const char *run, char path[DG_PATH_MAX])
{
    char folder[DG_PATH_MAX], name[4 * DG_SWEEP_NAME];
    DG_TRY(dg_path_join(folder, w->plan.folder, "log"));
    DG_TRY(dg_make_folder(folder));
    snprintf(name, sizeof name, "%.190s.log", run);
    return dg_path_join(path, folder, name);
}

/* Does a process that is about to end still hold what the stage writes? */
static dg_status is_held(const sweep_job *job, bool *held)
{
    static const char *const names[] = {"", "predictions", "evaluation_results.json.ledger"};
    *held = false;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && !*held; i++) {
        char path[DG_PATH_MAX], lock[DG_PATH_MAX];
        dg_lease *lease = NULL;
        DG_TRY(dg_path_join(path, job->folder, names[i]));
        DG_TRY(dg_path_join(lock, path, "run.lock"));
        if (!dg_file_exists(lock)) continue;
        dg_status status = dg_lease_take(path, job->run.name, &lease);
        dg_lease_release(&lease);
        if (status == DG_ERR_BUSY) {
            *held = true;
            dg_error_clear();
        } else if (status != DG_OK) {
            return status;
        }
    }
    return DG_OK;
}

static void fail_job(const sweep_work *w, sweep_job *job, const char *reason)
{
    job->state = SWEEP_FAILED;
    snprintf(job->reason, sizeof job->reason, "%s", reason);
    dg_utf8_clean(job->reason); /* a log may hold any bytes, and was cut */
    dg_log_write(w->env->log, DG_LOG_ERROR, "%s: %s", job->run.name, job->reason);
}

/* Waits in turns for a folder that is held; false: not now. */
static dg_status may_start(const sweep_work *w, sweep_job *job, bool *may)
{
    bool held;
    double now = dg_time_s();
    *may = false;
    if (now < job->not_before_s) return DG_OK;
    DG_TRY(is_held(job, &held));
    *may = !held;
    if (!held) return DG_OK;
    if (job->busy_since_s == 0) job->busy_since_s = now;
    job->not_before_s = now + BUSY_PAUSE_S;
    if (now - job->busy_since_s > BUSY_LONGEST_S)
        fail_job(w, job, "another process has been writing its folder for long");
    return DG_OK;
}

static dg_status start_stage(sweep_work *w, slot *at, int number, int index)
{
    sweep_job *job = &w->job[index];
    char path[DG_PATH_MAX];
    sweep_words words;
    DG_TRY(log_path(w, job->run.name, path));
    DG_TRY(dg_make_folder(job->folder));
    dg_status status = sweep_stage_words(w, job, job->stage, &words);
    if (status == DG_OK)
        status = sweep_process_start(w, &words, w->s->site.ranks > 0 ? w->s->site.ranks : 1, path, number,
                                     (int)w->s->jobs, &at->pid);
    sweep_words_release(&words);
    if (status != DG_OK) return status;
    at->job = index;
    at->started_s = dg_time_s();
    const bool first = job->state == SWEEP_WAITING;
    job->state = SWEEP_RUNNING;
    dg_log_write(w->env->log, DG_LOG_INFO, "%s: %s begins", job->run.name, submit_stage_name(job->stage));
    if (first) DG_TRY(sweep_write_experiments(w));
    return sweep_ledger_add(w, job->run.name, submit_stage_name(job->stage), -1, 0);
}

/* The error, as the stage logged it last; where a process ended without one, its last line. */
static void last_words(const sweep_work *w, const sweep_job *job, char *text, size_t capacity)
{
    char path[DG_PATH_MAX], block[TAIL + 1];
    text[0] = '\0';
    FILE *file = log_path(w, job->run.name, path) == DG_OK ? fopen(path, "re") : NULL;
    if (file == NULL) return;
    if (fseek(file, -TAIL, SEEK_END) != 0) rewind(file);
    block[fread(block, 1, TAIL, file)] = '\0';
    fclose(file);
    bool is_error = false;
    char *save, *line = strtok_r(block, "\n", &save), *last = NULL;
    for (; line != NULL; line = strtok_r(NULL, "\n", &save)) {
        const bool error = strstr(line, " error: ") != NULL;
        if (error || !is_error) last = line;
        is_error = is_error || error;
    }
    if (last != NULL) snprintf(text, capacity, ": %.200s", last);
}

static dg_status end_stage(sweep_work *w, slot *at, int code)
{
    sweep_job *job = &w->job[at->job];
    const double seconds = dg_time_s() - at->started_s;
    const char *stage = submit_stage_name(job->stage);
    char reason[SWEEP_REASON], words[220];
    at->pid = 0;
    DG_TRY(sweep_ledger_add(w, job->run.name, stage, code, seconds));
    if (code == DG_EXIT_DONE || (code == DG_EXIT_SOME_CASES && job->stage != STAGE_TRAIN)) {
        if (code == DG_EXIT_SOME_CASES) snprintf(job->reason, sizeof job->reason, "%s: some cases failed", stage);
        dg_log_write(w->env->log, code == DG_EXIT_DONE ? DG_LOG_INFO : DG_LOG_WARNING, "%s: %s done in %.0f s%s",
                     job->run.name, stage, seconds, code == DG_EXIT_DONE ? "" : ", some cases failed");
        job->stage++;
        job->state = job->stage == STAGE_COMPARE ? SWEEP_DONE : SWEEP_RUNNING;
        if (job->state == SWEEP_DONE) DG_TRY(sweep_note_lost_cases(job));
    } else if (code == DG_EXIT_PREEMPTED || w->stopping) {
        job->state = SWEEP_WAITING;
    } else {
        last_words(w, job, words, sizeof words);
        snprintf(reason, sizeof reason, "%s ended with exit code %d%s", stage, code, words);
        fail_job(w, job, reason);
    }
    return job->state == SWEEP_RUNNING ? DG_OK : sweep_write_experiments(w);
}

/* Has the run that it takes weights or predictions from come so far? One whose source failed has failed too. */
static bool has_source(const sweep_work *w, int index)
{
    sweep_job *job = &w->job[index];
    const int from = job->drawn != index ? job->drawn : job->trained;
    const sweep_job *source = &w->job[from];
    char reason[SWEEP_REASON];
    if (from == index) return true;
    const bool ready = source->stage > (from == job->drawn ? STAGE_PREDICT : STAGE_TRAIN);
    if (ready || source->state != SWEEP_FAILED) return ready;
    snprintf(reason, sizeof reason, "%.180s, whose %s it takes, failed", source->run.name,
             from == job->drawn ? "predictions" : "weights");
    fail_job(w, job, reason);
    return false;
}

/* The next run that may start, -1: none now. */
static dg_status next_job(sweep_work *w, int *out)
{
    *out = -1;
    for (int i = 0; i < w->jobs; i++) {
        bool may = false;
        if (w->job[i].state != SWEEP_WAITING || !has_source(w, i)) continue;
        DG_TRY(may_start(w, &w->job[i], &may));
        if (!may) continue;
        *out = i;
        return DG_OK;
    }
    return DG_OK;
}

/* Free slots get the stage that follows, or a run that waits. */
static dg_status fill_slots(sweep_work *w, slot *slots)
{
    for (int k = 0; k < w->s->jobs && !w->stopping; k++) {
        int index = slots[k].job;
        if (slots[k].pid != 0) continue;
        if (index < 0 || w->job[index].state != SWEEP_RUNNING) DG_TRY(next_job(w, &index));
        slots[k].job = index;
        if (index >= 0) DG_TRY(start_stage(w, &slots[k], k, index));
    }
    return DG_OK;
}

static bool any(const sweep_work *w, sweep_state state)
{
    for (int i = 0; i < w->jobs; i++)
        if (w->job[i].state == state) return true;
    return false;
}

dg_status sweep_run_local(sweep_work *w)
{
    slot slots[SWEEP_JOBS_MAX] = {{.pid = 0}};
    pid_t pid;
    int code;
    for (int k = 0; k < SWEEP_JOBS_MAX; k++) slots[k].job = -1;
    while (w->children > 0 || (!w->stopping && (any(w, SWEEP_WAITING) || any(w, SWEEP_RUNNING)))) {
        DG_TRY(fill_slots(w, slots));
        if (!sweep_process_wait(w, TURN_MS, &pid, &code)) continue;
        for (int k = 0; k < w->s->jobs; k++)
            if (slots[k].pid == pid) DG_TRY(end_stage(w, &slots[k], code));
    }
    for (int i = 0; i < w->jobs; i++)
        if (w->job[i].state == SWEEP_RUNNING)
            w->job[i].state = SWEEP_WAITING; /* between two stages when the stop came */
    DG_TRY(sweep_write_experiments(w));
    if (w->stopping) return DG_FAIL(DG_ERR_PREEMPTED, "the sweep was stopped: go on with --resume");
    return DG_OK;
}
