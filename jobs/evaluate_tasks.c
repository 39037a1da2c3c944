/* evaluate_tasks.c - the cases as tasks, shared out over ranks by an atomic queue, largest first. A large case is cut
 * into its volume and slabs of planes; a second round puts those together. SPDX-License-Identifier: Apache-2.0 */
#include "evaluate_impl.h"

#include "dg_mem.h"
#include "dg_tasks.h"
#include "dg_trace.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WHOLE = -1, VOLUME = -2, MEGABYTE = 1 << 20, HALT = 1 << 30 };

typedef struct task {
    int64_t choice, slab; /* WHOLE, VOLUME, or the number of a slab */
} task;

/* One round of sharing out. */
typedef struct round {
    evaluate_work *w;
    const char *what; /* of the progress line */
    const task *tasks;
    int64_t count;
    double (*cost)(const evaluate_work *w, const task *t);
    dg_status (*run)(evaluate_work *w, const task *t, int64_t *failed);
    const char *(*name)(const evaluate_work *w, const task *t);
    double longest_s;          /* task of this rank */
    dg_comm_counter *failures; /* failed cases of all ranks; HALT and more: a rank cannot go on */
    bool stopped;              /* on request, or by too many failed cases */
} round;

/* Bytes of a prediction's file: a large irradiated volume makes a large file, and a long gamma. */
static double file_bytes(const evaluate_work *w, const char *id)
{
    char name[DG_CASE_ID + 8], path[DG_PATH_MAX];
    struct stat about;
    snprintf(name, sizeof name, "%s.h5", id);
    if (dg_path_join(path, w->s->predictions, name) != DG_OK || stat(path, &about) != 0) return 0;
    return (double)about.st_size;
}

/* In passes over a voxel: a byte of compressed dose costs about four. */
static double task_cost(const evaluate_work *w, const task *t)
{
    const evaluate_choice *c = &w->chosen[t->choice];
    if (c->index < 0) return 0;
    const dg_grid *grid = &dg_cohort_case(w->cohort, c->index)->grid;
    const double voxels = (double)dg_grid_voxels(grid), gamma = 4 * file_bytes(w, c->id);
    if (t->slab == VOLUME) return voxels;
    if (t->slab == WHOLE) return voxels + gamma;
    return gamma * (double)c->plan.planes / (double)grid->shape[0];
}

static int64_t failures_allowed(const evaluate_settings *s)
{
    if (!s->keep_going) return 0;
    return s->max_failures.count > 0 ? s->max_failures.value[0] : HALT - 1;
}

/* Whether this rank takes another task. */
static dg_status goes_on(round *r, bool *yes)
{
    int64_t failed = 0;
    DG_TRY(dg_comm_counter_next(r->w->env->comm, r->failures, 0, &failed));
    const bool told = failed >= HALT; /* another rank has a reason to stop */
    r->w->stopped = dg_stop_watch_due(&r->w->watch, r->longest_s);
    if (r->w->stopped != 0 && !told) DG_TRY(dg_comm_counter_next(r->w->env->comm, r->failures, HALT, &failed));
    *yes = r->w->stopped == 0 && failed <= failures_allowed(r->w->s);
    if (!*yes) r->stopped = true;
    return DG_OK;
}

static dg_status work_through(round *r, dg_tasks *queue)
{
    evaluate_work *w = r->w;
    int64_t turns = 0, next, before;
    bool yes;
    for (;;) {
        DG_TRY(goes_on(r, &yes));
        if (!yes) return DG_OK;
        DG_TRY(dg_tasks_next(queue, &next));
        if (next < 0) return DG_OK;
        int64_t failed = 0;
        const double start = dg_time_s();
        (void)dg_heartbeat_phase(w->env->comm->heartbeat, DG_PHASE_EVALUATE);
        dg_heartbeat_task(w->env->comm->heartbeat, r->name(w, &r->tasks[next]));
        DG_TRY(r->run(w, &r->tasks[next], &failed));
        const double seconds = dg_time_s() - start;
        if (seconds > r->longest_s) r->longest_s = seconds;
        if (failed > 0) DG_TRY(dg_comm_counter_next(w->env->comm, r->failures, failed, &before));
        int64_t estimate = ++turns * w->env->comm->size;
        dg_log_progress(w->env->log, r->what, estimate < r->count ? estimate : r->count, r->count, NULL);
    }
}

/* All ranks agree on the outcome, and on whether they were stopped. */
static dg_status share_out(round *r)
{
    dg_comm *comm = r->w->env->comm;
    dg_tasks *queue = NULL;
    double *cost = NULL;
    int64_t before, stopped = 0;
    dg_status status = DG_NEW(&cost, r->count > 0 ? r->count : 1, "cost of tasks");
    for (int64_t i = 0; status == DG_OK && comm->rank == 0 && i < r->count; i++) cost[i] = r->cost(r->w, &r->tasks[i]);
    status = dg_comm_agree(comm, status);
    if (status == DG_OK && r->count > 0) status = dg_comm_broadcast(comm, cost, r->count * (int64_t)sizeof *cost, 0);
    if (status == DG_OK) status = dg_comm_counter_create(comm, &r->failures);
    if (status == DG_OK) status = dg_tasks_create(comm, cost, r->count, &queue);
    if (status == DG_OK) {
        status = work_through(r, queue);
        (void)dg_heartbeat_phase(comm->heartbeat, DG_PHASE_EVALUATE); /* a failed task may have been reading */
        dg_heartbeat_task(comm->heartbeat, NULL);
        if (status != DG_OK && status != DG_ERR_COMM) {
            dg_status told = dg_comm_counter_next(comm, r->failures, HALT, &before);
            if (told != DG_OK) status = told;
        }
        dg_tasks_destroy(&queue);
        status = dg_comm_agree(comm, status);
    }
    dg_comm_counter_destroy(comm, &r->failures);
    dg_free(&cost);
    if (status == DG_OK) status = dg_comm_any(comm, r->stopped, &stopped);
    r->stopped = stopped > 0;
    return status;
}

/* ---- baselines ---------------------------------------------------------------------------------------------------- */

static double learn_cost(const evaluate_work *w, const task *t)
{
    return (double)dg_grid_voxels(&dg_cohort_case(w->cohort, w->train[t->slab])->grid);
}

static const char *learn_name(const evaluate_work *w, const task *t)
{
    return dg_cohort_case(w->cohort, w->train[t->slab])->id;
}

static dg_status learn_task(evaluate_work *w, const task *t, int64_t *failed)
{
    return dg_evaluation_learn(w->cohort, w->train[t->slab], w->config.level_gy, w->baseline);
}

dg_status evaluate_learn_baselines(evaluate_work *w)
{
    task *tasks = NULL;
    int64_t count;
    if (w->baseline == NULL) return DG_OK;
    dg_status status = DG_NEW(&tasks, w->config.train_cases, "training cases");
    for (int64_t i = 0; status == DG_OK && i < w->config.train_cases; i++) tasks[i].slab = i;
    status = dg_comm_agree(w->env->comm, status);
    round r = {.w = w,
               .what = "baselines, training cases",
               .tasks = tasks,
               .count = w->config.train_cases,
               .cost = learn_cost,
               .run = learn_task,
               .name = learn_name};
    if (status == DG_OK) status = share_out(&r);
    dg_free(&tasks);
    DG_TRY(status);
    int64_t *sums = dg_baseline_data(w->baseline, &count);
    DG_TRY(dg_comm_all_reduce(w->env->comm, sums, count, DG_I64, DG_SUM));
    w->config.baseline = w->baseline;
    return DG_OK;
}

/* ---- results of this rank ----------------------------------------------------------------------------------------- */

static dg_status keep_result(evaluate_work *w, int64_t order, dg_case_result *result)
{
    size_t bytes = (size_t)result->bytes;
    result->order = order;
    if (w->used + bytes > w->room) {
        size_t room = 2 * w->room + bytes;
        DG_TRY(dg_grow(&w->bytes, w->used, room, 1, "results of cases"));
        w->room = room;
    }
    memcpy(w->bytes + w->used, result, bytes);
    w->used += bytes;
    return DG_OK;
}

static dg_status write_ledger(const evaluate_work *w, const dg_case_result *result, const dg_evaluation_time *time)
{
    dg_ledger_entry entry = {.done = !result->failed, .read_s = time->read_s, .compute_s = time->compute_s};
    snprintf(entry.id, sizeof entry.id, "%s", result->id);
    snprintf(entry.reason, sizeof entry.reason, "%.255s", result->reason);
    DG_TRY(dg_hash_bytes(result, (size_t)result->bytes, entry.content_sha256));
    return dg_ledger_append(w->folder, w->env->comm->rank, &entry);
}

/* Names a part of a chosen case. `info` has the prediction's hash. */
static evaluate_part_name name_part(const evaluate_work *w, const evaluate_choice *c, const task *t,
                                    const char *prediction_sha256)
{
    evaluate_part_name name = {.id = c->id,
                               .part = t->slab == WHOLE ? PART_CASE : PART_VOLUME,
                               .case_sha256 = dg_cohort_case(w->cohort, c->index)->content_sha256,
                               .prediction_sha256 = prediction_sha256};
    if (t->slab >= 0) {
        name.part = PART_SLAB;
        name.first = t->slab * c->plan.planes;
        name.planes = c->plan.planes;
    }
    return name;
}

/* A stored part of the intact prediction; NULL when it must be made. */
static dg_status find_stored(const evaluate_work *w, const evaluate_choice *c, const task *t, void **bytes)
{
    dg_prediction_info info;
    int64_t count;
    *bytes = NULL;
    if (c->index < 0) return DG_OK;
    dg_status status = dg_prediction_load(w->s->predictions, c->id, &info, NULL);
    if (status == DG_ERR_MEMORY) return status;
    if (status != DG_OK) {
        dg_error_clear();
        return DG_OK;
    }
    const evaluate_part_name name = name_part(w, c, t, info.content_sha256);
    return evaluate_store_read(w, &name, bytes, &count);
}

static dg_status finish_case(evaluate_work *w, const task *t, const dg_evaluation_time *time, dg_case_result *result,
                             int64_t *failed)
{
    const evaluate_choice *c = &w->chosen[t->choice];
    const task whole = {.choice = t->choice, .slab = WHOLE};
    if (result->failed && c->reason[0] != '\0')
        snprintf(result->reason, sizeof result->reason, "it was not predicted: %s", c->reason);
    if (!result->failed) {
        const evaluate_part_name name = name_part(w, c, &whole, result->prediction_sha256);
        DG_TRY(evaluate_store_write(w, &name, result, result->bytes));
    }
    DG_TRY(write_ledger(w, result, time));
    *failed = result->failed;
    return keep_result(w, t->choice, result);
}

/* ---- first round: whole cases, volumes and slabs ------------------------------------------------------------------- */

static dg_status whole_task(evaluate_work *w, const task *t, int64_t *failed)
{
    const evaluate_choice *c = &w->chosen[t->choice];
    dg_evaluation_time time = {0};
    void *stored = NULL;
    dg_case_result *result = NULL;
    if (w->s->resume) DG_TRY(find_stored(w, c, t, &stored));
    if (stored != NULL) {
        w->kept++;
        dg_status status = keep_result(w, t->choice, stored);
        dg_free(&stored);
        return status;
    }
    DG_TRY(dg_evaluation_case(w->cohort, c->index, c->id, &w->config, &time, &result));
    dg_status status = finish_case(w, t, &time, result, failed);
    dg_free(&result);
    return status;
}

/* Parts are stored whether they failed or not: the second round wants to know why. */
static dg_status make_part(evaluate_work *w, const task *t, const char *prediction_sha256)
{
    const evaluate_choice *c = &w->chosen[t->choice];
    const evaluate_part_name name = name_part(w, c, t, prediction_sha256);
    dg_evaluation_time time = {0};
    dg_slab_result *slab = NULL;
    dg_case_result *volume = NULL;
    dg_status status;
    if (t->slab == VOLUME) {
        DG_TRY(dg_evaluation_volume(w->cohort, c->index, c->id, &w->config, &time, &volume));
        volume->read_s = time.read_s;
        volume->compute_s = time.compute_s;
        status = evaluate_store_write(w, &name, volume, volume->bytes);
    } else {
        DG_TRY(dg_evaluation_slab(w->cohort, c->index, &w->config, name.first, name.planes, &slab));
        status = evaluate_store_write(w, &name, slab, slab->bytes);
    }
    dg_free(&volume);
    dg_free(&slab);
    return status;
}

/* What the prediction says of itself names the parts; a prediction that cannot be read is found out by the volume. */
static void claimed_sha256(const evaluate_work *w, const char *id, char sha256[DG_HASH_HEX])
{
    dg_prediction_info info = {.content_sha256 = "unreadable"};
    if (dg_prediction_peek(w->s->predictions, id, &info) != DG_OK) {
        snprintf(info.content_sha256, sizeof info.content_sha256, "unreadable");
        dg_error_clear();
    }
    memcpy(sha256, info.content_sha256, DG_HASH_HEX);
}

static dg_status part_task(evaluate_work *w, const task *t, int64_t *failed)
{
    const evaluate_choice *c = &w->chosen[t->choice];
    const task whole = {.choice = t->choice, .slab = WHOLE};
    char sha256[DG_HASH_HEX];
    void *stored = NULL;
    bool made = false;
    claimed_sha256(w, c->id, sha256);
    if (w->s->resume) {
        DG_TRY(find_stored(w, c, &whole, &stored));
        if (stored == NULL) DG_TRY(find_stored(w, c, t, &stored));
        made = stored != NULL && !(t->slab == VOLUME ? ((dg_case_result *)stored)->failed
                                                     : t->slab >= 0 && ((dg_slab_result *)stored)->failed);
        dg_free(&stored);
    }
    return made ? DG_OK : make_part(w, t, sha256);
}

static dg_status first_task(evaluate_work *w, const task *t, int64_t *failed)
{
    return t->slab == WHOLE ? whole_task(w, t, failed) : part_task(w, t, failed);
}

/* ---- second round: the parts of a case become one ------------------------------------------------------------------ */

static dg_status read_part(const evaluate_work *w, const task *t, const char *sha256, void **bytes)
{
    int64_t count;
    const evaluate_part_name name = name_part(w, &w->chosen[t->choice], t, sha256);
    /* another rank has written it just now: a network file system may show it a little later */
    for (int wait = 0; wait < 100; wait++) {
        DG_TRY(evaluate_store_read(w, &name, bytes, &count));
        if (*bytes != NULL) return DG_OK;
        usleep(100000);
    }
    return DG_FAIL(DG_ERR_IO,
                   "case %s: a partial result of another rank does not appear in %s; all ranks need that folder",
                   name.id, w->folder);
}

static void forget_parts(const evaluate_work *w, const task *t, int64_t slabs, const char *sha256)
{
    for (int64_t k = -1; k < slabs; k++) {
        const task part = {.choice = t->choice, .slab = k < 0 ? VOLUME : k};
        const evaluate_part_name name = name_part(w, &w->chosen[t->choice], &part, sha256);
        evaluate_store_remove(w, &name);
    }
}

static dg_status merge_parts(evaluate_work *w, const task *t, const char *sha256, dg_evaluation_time *time,
                             dg_case_result **out)
{
    const int64_t slabs = w->chosen[t->choice].plan.slabs;
    dg_slab_result **slab = NULL;
    void *volume = NULL;
    dg_status status;
    const task part = {.choice = t->choice, .slab = VOLUME};
    DG_TRY_GOTO(status, DG_NEW(&slab, slabs, "slabs of a case"), cleanup);
    DG_TRY_GOTO(status, read_part(w, &part, sha256, &volume), cleanup);
    *time = (dg_evaluation_time){((dg_case_result *)volume)->read_s, ((dg_case_result *)volume)->compute_s};
    for (int64_t k = 0; k < slabs; k++) {
        const task one = {.choice = t->choice, .slab = k};
        void *bytes = NULL;
        DG_TRY_GOTO(status, read_part(w, &one, sha256, &bytes), cleanup);
        slab[k] = bytes;
        time->read_s += slab[k]->read_s;
        time->compute_s += slab[k]->compute_s;
    }
    status = dg_evaluation_merge(volume, (const dg_slab_result *const *)slab, slabs, out);
cleanup:
    for (int64_t k = 0; slab != NULL && k < slabs; k++) dg_free(&slab[k]);
    dg_free(&slab);
    dg_free(&volume);
    return status;
}

static dg_status merge_task(evaluate_work *w, const task *t, int64_t *failed)
{
    const evaluate_choice *c = &w->chosen[t->choice];
    const task whole = {.choice = t->choice, .slab = WHOLE};
    dg_evaluation_time time = {0};
    dg_case_result *result = NULL;
    void *stored = NULL;
    char sha256[DG_HASH_HEX];
    if (w->s->resume) DG_TRY(find_stored(w, c, &whole, &stored));
    if (stored != NULL) {
        w->kept++;
        dg_status status = keep_result(w, t->choice, stored);
        dg_free(&stored);
        return status;
    }
    claimed_sha256(w, c->id, sha256);
    DG_TRY(merge_parts(w, t, sha256, &time, &result));
    dg_status status = finish_case(w, t, &time, result, failed);
    if (status == DG_OK) forget_parts(w, t, c->plan.slabs, sha256);
    dg_free(&result);
    return status;
}

/* ---- all ---------------------------------------------------------------------------------------------------------- */

/* Half of the node's free memory, shared by its ranks. */
static int64_t memory_bytes(const evaluate_work *w)
{
    if (w->s->mem_mb.count > 0) return w->s->mem_mb.value[0] * MEGABYTE;
    const int64_t free_bytes = (int64_t)sysconf(_SC_AVPHYS_PAGES) * (int64_t)sysconf(_SC_PAGESIZE);
    const int64_t share = free_bytes / 2 / w->env->comm->local_size;
    return share > 256 * (int64_t)MEGABYTE ? share : 256 * (int64_t)MEGABYTE;
}

dg_status evaluate_plan(evaluate_work *w)
{
    int64_t bytes = memory_bytes(w);
    DG_TRY(dg_comm_all_reduce(w->env->comm, &bytes, 1, DG_I64, DG_MIN));
    dg_status status = DG_OK;
    for (int64_t i = 0; i < w->count && status == DG_OK; i++)
        if (w->chosen[i].index >= 0)
            status = dg_evaluation_make_plan(dg_cohort_case(w->cohort, w->chosen[i].index), &w->config, bytes,
                                             &w->chosen[i].plan);
    DG_TRY(dg_comm_agree(w->env->comm, status));
    int64_t cut = 0;
    for (int64_t i = 0; i < w->count; i++) cut += w->chosen[i].plan.slabs > 0;
    if (cut > 0)
        dg_log_write(w->env->log, DG_LOG_INFO, "%lld of %lld cases are cut into slabs, %lld MB a task", (long long)cut,
                     (long long)w->count, (long long)(bytes / MEGABYTE));
    return DG_OK;
}

/* Tasks of the first round, and of the second. */
static dg_status list_tasks(const evaluate_work *w, task **first, int64_t *first_count, task **second,
                            int64_t *second_count)
{
    int64_t total = 0;
    *first_count = *second_count = 0;
    for (int64_t i = 0; i < w->count; i++) total += 1 + w->chosen[i].plan.slabs;
    DG_TRY(DG_NEW(first, total, "tasks"));
    DG_TRY(DG_NEW(second, w->count, "tasks"));
    for (int64_t i = 0; i < w->count; i++) {
        const int64_t slabs = w->chosen[i].plan.slabs;
        (*first)[(*first_count)++] = (task){.choice = i, .slab = slabs == 0 ? WHOLE : VOLUME};
        for (int64_t k = 0; k < slabs; k++) (*first)[(*first_count)++] = (task){.choice = i, .slab = k};
        if (slabs > 0) (*second)[(*second_count)++] = (task){.choice = i, .slab = WHOLE};
    }
    return DG_OK;
}

/* Points w->result at the gathered results, in the order of the cases: each must be there once. */
static dg_status sort_results(evaluate_work *w, int64_t total)
{
    int64_t found = 0;
    for (int64_t at = 0; w->bytes != NULL && at < total;) {
        const dg_case_result *r = (const dg_case_result *)(const void *)(w->bytes + at);
        if (r->order < 0 || r->order >= w->count || w->result[r->order] != NULL)
            return DG_FAIL(DG_ERR_INTERNAL, "result %lld of %lld cases came twice or is unknown", (long long)r->order,
                           (long long)w->count);
        w->result[r->order] = r;
        at += r->bytes;
        found++;
    }
    if (found != w->count)
        return DG_FAIL(DG_ERR_INTERNAL, "%lld of %lld cases were evaluated", (long long)found, (long long)w->count);
    return DG_OK;
}

/* All results to rank 0, in the order of the cases. */
static dg_status gather(evaluate_work *w)
{
    dg_comm *comm = w->env->comm;
    char *all = NULL;
    int64_t *sizes = NULL, total = 0;
    dg_status status = DG_NEW(&sizes, comm->size, "sizes of results");
    status = dg_comm_agree(comm, status);
    if (status == DG_OK) status = dg_comm_gather(comm, w->bytes, (int64_t)w->used, 0, NULL, sizes);
    if (status == DG_OK) {
        for (int r = 0; r < comm->size; r++) total += sizes[r];
        if (comm->rank == 0) status = DG_NEW(&all, total, "results of all cases");
        if (status == DG_OK && comm->rank == 0) status = DG_NEW(&w->result, w->count, "results in order");
        status = dg_comm_agree(comm, status);
    }
    if (status == DG_OK) status = dg_comm_gather(comm, w->bytes, (int64_t)w->used, 0, all, sizes);
    dg_free(&sizes);
    if (comm->rank != 0 || status != DG_OK) {
        dg_free(&all);
        return status;
    }
    dg_free(&w->bytes);
    w->bytes = all;
    return sort_results(w, total);
}

/* Why a round ended early. `failures` are those of this run. */
static dg_status fail_stopped(evaluate_work *w)
{
    int64_t asked = 0, failed = 0;
    char text[DG_ERROR_TEXT_MAX / 2] = "";
    DG_TRY(dg_comm_any(w->env->comm, w->stopped, &asked));
    if (asked != 0) {
        dg_stop_watch_close(&w->watch, w->env->comm->rank == 0);
        return DG_FAIL(DG_ERR_PREEMPTED, "stopped on request (%s): what is done is kept, go on with --resume",
                       dg_stop_name((int)asked));
    }
    for (size_t at = 0; at < w->used;) {
        const dg_case_result *r = (const dg_case_result *)(const void *)(w->bytes + at);
        if (r->failed && text[0] == '\0') snprintf(text, sizeof text, "case %s: %.300s", r->id, r->reason);
        failed += r->failed;
        at += (size_t)r->bytes;
    }
    DG_TRY(dg_comm_agree(w->env->comm, failed == 0 ? DG_OK : DG_FAIL(DG_ERR_DATA, "%s", text)));
    return DG_FAIL(DG_ERR_INTERNAL, "the evaluation was stopped by nobody");
}

static dg_status run_rounds(evaluate_work *w, round rounds[2])
{
    for (int k = 0; k < 2; k++) {
        DG_TRY(share_out(&rounds[k]));
        if (!rounds[k].stopped) continue;
        dg_status status = fail_stopped(w);
        if (status != DG_ERR_DATA) return status;
        return dg_error_context(status,
                                "stopped at a failed case (--keep-going does the rest, --resume keeps what is done)");
    }
    return dg_comm_all_reduce(w->env->comm, &w->kept, 1, DG_I64, DG_SUM);
}

static const char *case_name(const evaluate_work *w, const task *t) { return w->chosen[t->choice].id; }

dg_status evaluate_all(evaluate_work *w)
{
    task *first = NULL, *second = NULL;
    round rounds[2] = {
        {.w = w, .what = "evaluation, cases", .cost = task_cost, .run = first_task, .name = case_name},
        {.w = w, .what = "evaluation, cases in parts", .cost = task_cost, .run = merge_task, .name = case_name}};
    dg_status status = list_tasks(w, &first, &rounds[0].count, &second, &rounds[1].count);
    rounds[0].tasks = first;
    rounds[1].tasks = second;
    status = dg_comm_agree(w->env->comm, status);
    if (status == DG_OK) {
        dg_stop_watch_open(&w->watch, w->folder, w->env->comm->rank == 0, w->env->log);
        status = run_rounds(w, rounds);
        dg_stop_watch_close(&w->watch, false);
    }
    dg_free(&first);
    dg_free(&second);
    return status == DG_OK ? gather(w) : status;
}
