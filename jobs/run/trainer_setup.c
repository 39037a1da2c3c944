/* trainer_setup.c - from settings to a trainer that can step, and its end. SPDX-License-Identifier: Apache-2.0 */
#include "trainer_impl.h"

#include "dg_mem.h"
#include "dg_mpi.h"
#include "memory_need.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { TRACE_CAPACITY = 1 << 20 };

static dg_status open_data(dg_trainer *t)
{
    DG_TRY(dg_cohort_open(t->config.data.cohort, &t->cohort));
    const dg_split_config parts = dg_run_config_split(&t->config);
    DG_TRY(dg_split_make(&parts, t->cohort, &t->split));
    const dg_split *split = &t->split;
    DG_TRY(
        dg_recipe_resolve(&t->config, t->cohort, split->index[DG_PART_TRAIN], split->count[DG_PART_TRAIN], &t->recipe));
    DG_TRY(dg_loss_setup_make(&t->config, t->cohort, split->index[DG_PART_TRAIN], split->count[DG_PART_TRAIN],
                              &t->recipe, &t->setup));
    for (int part = DG_PART_VAL; part <= DG_PART_TEST; part++)
        dg_recipe_relax(&t->recipe, t->cohort, split->index[part], split->count[part]);
    for (int64_t i = 0; i < split->count[DG_PART_VAL]; i++) {
        DG_TRY(dg_recipe_check_case(&t->recipe, dg_cohort_case(t->cohort, split->index[DG_PART_VAL][i])));
    }
    return dg_source_create(t->cohort, &t->recipe, t->config.data.cache_mb << 20, &t->source);
}

static dg_status hash_cases(dg_trainer *t)
{
    dg_hash *hash = NULL;
    dg_status status = dg_hash_create(&hash);
    for (int part = DG_PART_TRAIN; part <= DG_PART_VAL && status == DG_OK; part++) {
        status = dg_hash_add_string(hash, dg_part_name((dg_part)part));
        for (int64_t i = 0; i < t->split.count[part] && status == DG_OK; i++) {
            const dg_case_info *info = dg_cohort_case(t->cohort, t->split.index[part][i]);
            status = dg_hash_add_string(hash, info->id);
            if (status == DG_OK) status = dg_hash_add_string(hash, info->content_sha256);
        }
    }
    if (status == DG_OK) status = dg_hash_finish(hash, t->progress.cases_sha256);
    dg_hash_destroy(&hash);
    return status;
}

/* The whole-volume patch must hold the largest training case. */
static void choose_patch(const dg_trainer *t, int64_t patch[3])
{
    int64_t largest[3] = {1, 1, 1};
    for (int64_t i = 0; i < t->split.count[DG_PART_TRAIN]; i++) {
        dg_grid net;
        int64_t sub[3];
        dg_recipe_geometry(&t->recipe, &dg_cohort_case(t->cohort, t->split.index[DG_PART_TRAIN][i])->grid, &net, sub);
        for (int axis = 0; axis < 3; axis++) {
            if (net.shape[axis] > largest[axis]) largest[axis] = net.shape[axis];
        }
    }
    dg_patch_of(&t->recipe, largest, dg_model_multiple(t->model), patch);
}

static bool may_share(const dg_trainer *t) { return t->config.train.shared_gpu == DG_SHARED_GPU_MPI; }

static dg_status choose_threads(dg_trainer *t)
{
    const dg_int_list *wanted = &t->config.train.threads;
    char warning[256] = "", gpu[DG_COMPUTE_ADDRESS];
    int threads = 1;
    DG_TRY(dg_compute_address(t->comm, t->config.train.backend, may_share(t), gpu));
    dg_status status = dg_affinity_set_near(t->comm, gpu, wanted->count > 0 ? (int)wanted->value[0] : 0, &threads,
                                            warning, sizeof warning);
    DG_TRY(dg_comm_agree(t->comm, status));
    if (warning[0] != '\0') dg_log_write(t->log, DG_LOG_WARNING, "%s", warning);
    int64_t agreed = threads;
    DG_TRY(dg_comm_all_reduce(t->comm, &agreed, 1, DG_I64, DG_MIN));
    t->progress.threads = agreed;
    return DG_OK;
}

static dg_status allocate(dg_trainer *t, int64_t bytes, const char *what, void *out)
{
    return t->backend->ops->alloc(t->backend, bytes, what, out);
}

static dg_status open_backend(dg_trainer *t)
{
    DG_TRY(dg_compute_open(t->comm, t->config.train.backend, (int)t->progress.threads, may_share(t), &t->backend));
    DG_TRY(trainer_open_sensor(t));
    return dg_compute_comm(t->comm, t->backend, may_share(t), &t->memory_comm);
}

static dg_status make_network(dg_trainer *t)
{
    dg_model_config model = dg_run_config_model(&t->config, t->recipe.count, t->recipe.constraint_count);
    DG_TRY(dg_model_create(&model, &t->model));
    t->total_steps = dg_run_config_steps(&t->config, t->split.count[DG_PART_TRAIN]);
    t->schedule = dg_run_config_optim(&t->config, t->total_steps);
    DG_TRY(trainer_controls_make(t));
    DG_TRY(dg_optim_create(&t->schedule, &t->model->params, t->backend, &t->optim));
    DG_TRY(trainer_freeze(t));
    DG_TRY(dg_weights_create(t->backend, &t->model->params, (uint64_t)t->config.run.seed, &t->weights));
    dg_predictor_config predict = {.dtype = dg_run_dtype(t->config.predict.dtype),
                                   .overlap = t->config.predict.overlap,
                                   .flips = t->config.predict.flips};
    DG_TRY(dg_predictor_create(t->model, t->backend, t->source, &predict, t->trace, &t->predictor));
    dg_predictor_watch(t->predictor, t->comm->heartbeat);
    return DG_OK;
}

/* Plan and buffers of one pass; the reducer, whose creation is collective, says how many samples it holds. */
static dg_status make_pass(dg_trainer *t)
{
    int64_t patch[3];
    choose_patch(t, patch);
    t->size = dg_sample_size_of(&t->recipe, patch, dg_run_dtype(t->config.train.dtype));
    const dg_int_list *wanted = &t->config.train.micro_batch;
    t->micro = dg_reducer_samples_per_pass(t->reducer, wanted->count > 0 ? wanted->value[0] : 1);
    dg_plan_config plan = {.n = t->micro,
                           .z = patch[0],
                           .y = patch[1],
                           .x = patch[2],
                           .dtype = t->size.dtype,
                           .training = true,
                           .recompute = t->config.train.recompute,
                           .record = t->config.train.cuda_graph == DG_CUDA_GRAPH_AUTO};
    if (plan.record && t->backend->ops->device != NULL) plan.ready_stride = dg_reducer_stride(t->reducer);
    DG_TRY(dg_plan_create(t->model, t->backend, &plan, &t->plan));
    t->weights.plan = t->plan;
    void *target = NULL, *counted = NULL;
    DG_TRY(allocate(t, t->micro * t->size.outputs * (int64_t)sizeof(float), "targets", &target));
    t->target = target;
    DG_TRY(allocate(t, t->micro * t->size.outputs, "counted voxels", &counted));
    t->counted = counted;
    t->sampler = (dg_sampler){.seed = (uint64_t)t->config.run.seed,
                              .batch = t->config.train.batch,
                              .cases = t->split.index[DG_PART_TRAIN],
                              .case_count = t->split.count[DG_PART_TRAIN],
                              .patch = {patch[0], patch[1], patch[2]},
                              .high_dose_fraction = t->config.data.high_dose_fraction,
                              .augment = dg_run_config_augment(&t->config)};
    DG_TRY(trainer_loss_make(t));
    DG_TRY(trainer_diffusion_make(t));
    DG_TRY(trainer_detect_make(t));
    return trainer_register(t);
}

static dg_status write_descriptions(dg_trainer *t)
{
    json_t *environment = dg_environment_json(t->comm);
    if (environment == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for environment.json");
    json_object_set_new(environment, "backend", json_string(t->backend->description));
    json_object_set_new(environment, "threads_per_rank", json_integer(t->progress.threads));
    json_object_set_new(environment, "input", dg_recipe_describe(&t->recipe));
    json_object_set_new(environment, "data", json_pack("{s:s}", "train_val_sha256", t->progress.cases_sha256));
    DG_TRY(dg_run_folder_write(&t->folder, "environment.json", environment));
    DG_TRY(dg_run_folder_write(&t->folder, "training_config.json", dg_run_config_to_json(t->options)));
    DG_TRY(dg_run_folder_write(&t->folder, "test_cases.json", dg_split_to_json(&t->split, t->cohort)));
    char column[DG_METRICS_PARTS_MAX][DG_METRICS_NAME];
    const int columns = trainer_loss_columns(t, column);
    return dg_metrics_create(t->folder.path, t->progress.step, (const char(*)[DG_METRICS_NAME])column, columns,
                             &t->metrics);
}

static void tell_start(dg_trainer *t)
{
    const dg_split *split = &t->split;
    dg_plan_memory memory = dg_plan_get_memory(t->plan);
    char warning[512], counts[2048];
    dg_split_describe(split, t->cohort, counts, sizeof counts);
    dg_split_warning(split, t->cohort, warning, sizeof warning);
    if (warning[0] != '\0') dg_log_write(t->log, DG_LOG_WARNING, "split: %s", warning);
    dg_log_write(t->log, DG_LOG_INFO, "cases: %lld train, %lld validation, %lld test",
                 (long long)split->count[DG_PART_TRAIN], (long long)split->count[DG_PART_VAL],
                 (long long)split->count[DG_PART_TEST]);
    dg_log_write(t->log, DG_LOG_INFO, "structures in train/validation/test cases: %s", counts);
    dg_log_write(
        t->log, DG_LOG_INFO,
        "%s: %lld parameters, %d channels, patch %lld x %lld x %lld, batch %lld on %d rank%s of %lld thread%s, "
        "%s, %.0f MB of activations",
        t->model->config.kind, (long long)t->model->params.total, t->recipe.count, (long long)t->size.patch[0],
        (long long)t->size.patch[1], (long long)t->size.patch[2], (long long)t->sampler.batch, t->comm->size,
        t->comm->size == 1 ? "" : "s", (long long)t->progress.threads, t->progress.threads == 1 ? "" : "s",
        t->backend->description, (double)memory.arena_bytes * 1e-6);
    trainer_tell_frozen(t);
    if (t->comm->size > 1) dg_log_write(t->log, DG_LOG_INFO, "gradients are summed by %s", t->memory_comm->ops->name);
}

static dg_status open_log(dg_trainer *t, dg_log_level level)
{
    char name[48], path[DG_PATH_MAX];
    snprintf(name, sizeof name, "rank-%d.log", t->comm->rank);
    DG_TRY(dg_path_join(path, t->folder.log, name));
    return dg_log_create(t->comm->rank, level, path, &t->log);
}

/* Written once without events: a file that cannot be written is better known before the run than after it. */
static dg_status open_trace(dg_trainer *t)
{
    DG_TRY(dg_trace_create(t->comm->rank, TRACE_CAPACITY, &t->trace));
    return dg_trace_write(t->trace, t->trace_path);
}

/* A pass over nothing, so that the device's library has chosen how to compute before the first step counts. */
static dg_status warm_up(dg_trainer *t)
{
    DG_TRY(dg_plan_set_weights(t->plan, t->weights.values));
    DG_TRY(dg_plan_forward(t->plan, NULL));
    dg_tensor dy = trainer_loss_gradient(t);
    const dg_loss_batch batch = trainer_loss_batch(t);
    DG_TRY(trainer_adversary_warm_up(t, &batch, &dy));
    DG_TRY(dg_plan_backward(t->plan, dg_reducer_buffer(t->reducer), NULL, NULL, NULL));
    return t->backend->ops->sync(t->backend);
}

static dg_status choose_algorithms(dg_trainer *t)
{
    if (t->backend->ops->device == NULL) return DG_OK;
    DG_TRY(dg_compute_share(t->comm, t->backend, t->log));
    DG_TRY(dg_comm_agree(t->comm, warm_up(t)));
    return dg_compute_share(t->comm, t->backend, t->log);
}

static dg_status watch_out(dg_trainer *t)
{
    dg_stop_watch_open(&t->watch, t->folder.path, true, t->log);
    int restarts = t->watch.sched != NULL ? t->watch.sched->restart_count : 0;
    return dg_run_folder_count_start(&t->folder, t->progress.step, restarts, t->config.train.max_restarts);
}

dg_status trainer_explain_memory(const dg_trainer *t, dg_status status)
{
    char less[512];
    int64_t patch[3];
    if (status != DG_ERR_MEMORY || t->model == NULL) return status;
    const dg_error first = *dg_error_last();
    choose_patch(t, patch);
    if (dg_memory_alternatives(&t->config, t->model, patch, t->comm->size, less, sizeof less) != DG_OK)
        less[0] = '\0'; /* what is told is the first fault */
    const dg_error_frame *at = &first.frame[0];
    return dg_error_set(status, at->file, at->line, at->function, "%.500s%s%s", first.text, less[0] != '\0' ? "; " : "",
                        less);
}

/* Phases end in an agreement, so that a rank which fails alone takes the others along. */
static dg_status set_up(dg_trainer *t, const dg_trainer_request *request)
{
    dg_comm *comm = t->comm;
    DG_TRY(dg_comm_agree(comm, dg_run_config_check(&t->config)));
    dg_comm_set_timeout(comm, t->config.train.comm_timeout_s);
    DG_TRY(dg_comm_agree(comm, open_data(t)));
    DG_TRY(dg_run_folder_open(comm, t->config.run.dir, t->config.run.name, request->resume, &t->folder));
    DG_TRY(dg_comm_agree(comm, open_log(t, request->level)));
    dg_heartbeat_folder(comm->heartbeat, t->folder.log);
    if (t->trace_path[0] != '\0') DG_TRY(dg_comm_agree(comm, open_trace(t)));
    DG_TRY(choose_threads(t));
    DG_TRY(dg_comm_agree(comm, hash_cases(t)));
    DG_TRY(open_backend(t));
    DG_TRY(dg_comm_agree(comm, make_network(t)));
    const dg_reducer_config sums = dg_run_config_sums(&t->config, t->model->params.total);
    DG_TRY(dg_reducer_create(t->memory_comm, t->backend, &sums, &t->reducer));
    dg_slots_of_rank(t->config.train.batch, comm->rank, comm->size, &t->first, &t->mine);
    DG_TRY(dg_comm_agree(comm, make_pass(t)));
    DG_TRY(trainer_adversary_make_sums(t));
    DG_TRY(choose_algorithms(t));
    if (request->init[0] != '\0') DG_TRY(trainer_init_from(t, request->init));
    if (request->resume) DG_TRY(trainer_resume(t));
    if (t->recipe.domain.count == 0 && !t->recipe.labels)
        DG_TRY(dg_domain_survey(comm, t->source, t->split.index[DG_PART_TRAIN], t->split.count[DG_PART_TRAIN],
                                &t->recipe.domain));
    DG_TRY(trainer_save_create(t));
    DG_TRY(dg_comm_agree(comm, comm->rank == 0 ? watch_out(t) : DG_OK));
    DG_TRY(dg_comm_agree(comm, comm->rank == 0 ? write_descriptions(t) : DG_OK));
    dg_status status = dg_feed_create(&t->sampler, t->source, &t->size, t->first, t->mine, t->progress.step,
                                      (int)t->config.data.readers, t->backend, &t->feed);
    DG_TRY(dg_comm_agree(comm, status));
    tell_start(t);
    return DG_OK;
}

dg_status dg_trainer_create(dg_comm *comm, const dg_trainer_request *request, dg_trainer **out)
{
    dg_trainer *t = NULL;
    char where[DG_WHERE_TEXT];
    dg_stop_install(); /* a signal while the data is opened counts too: it is acted on before the first step */
    dg_status status = DG_NEW(&t, 1, "trainer");
    status = dg_comm_agree(comm, status);
    if (status == DG_OK) {
        t->comm = comm;
        t->options = request->options;
        t->config = *request->config;
        t->guard.best = INFINITY;
        t->progress = (trainer_progress){.seed = request->config->run.seed, .best = INFINITY};
        t->validated_step = t->saved_step = -1;
        if (request->trace[0] != '\0' && comm->rank > 0)
            snprintf(t->trace_path, sizeof t->trace_path, "%.480s.%d", request->trace, comm->rank);
        else
            snprintf(t->trace_path, sizeof t->trace_path, "%s", request->trace);
        status = set_up(t, request);
        status = trainer_explain_memory(t, status);
        if (status == DG_ERR_MEMORY || status == DG_ERR_BACKEND) {
            dg_heartbeat_where(comm->heartbeat, where, sizeof where);
            status = dg_error_context(status, "%s", where);
        }
    }
    if (status != DG_OK) dg_trainer_destroy(&t);
    *out = t;
    return status;
}

void dg_trainer_destroy(dg_trainer **trainer)
{
    dg_trainer *t = *trainer;
    dg_stop_remove();
    if (t == NULL) return;
    dg_stop_watch_close(&t->watch, false);
    dg_gpu_sensor_close(&t->sensor);
    dg_feed_destroy(&t->feed);
    dg_saver_destroy(&t->saver);
    dg_state_frozen_destroy(&t->kept);
    dg_state_frozen_destroy(&t->best);
    dg_metrics_destroy(&t->metrics);
    dg_predictor_destroy(&t->predictor);
    dg_plan_destroy(&t->plan);
    dg_reducer_destroy(&t->reducer);
    dg_optim_destroy(&t->optim);
    if (t->backend != NULL) {
        trainer_loss_release(t);
        trainer_diffusion_release(t);
        dg_weights_release(&t->weights);
        void *const memory[] = {t->target, t->counted};
        for (int i = 0; i < 2; i++) {
            if (memory[i] != NULL) t->backend->ops->free(t->backend, memory[i]);
        }
    }
    dg_free(&t->val_lost);
    dg_loss_setup_release(&t->setup);
    dg_model_destroy(&t->model);
    dg_compute_comm_close(t->comm, &t->memory_comm);
    dg_backend_destroy(&t->backend);
    dg_source_destroy(&t->source);
    dg_split_release(&t->split);
    dg_cohort_close(&t->cohort);
    dg_trace_destroy(&t->trace);
    dg_log_destroy(&t->log);
    dg_run_folder_close(&t->folder);
    dg_free(trainer);
}
