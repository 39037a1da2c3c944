/* predict.c - `dosegrid predict`: a trained network, of doses or of labels, over the cases of a cohort, shared out over ranks case by case,
 * or window by window where there are fewer cases than ranks. Reading the next case and writing the last one go on meanwhile.
 * SPDX-License-Identifier: Apache-2.0 */
#include "predict_impl.h"

#include "compute.h"
#include "dg_file.h"
#include "dg_heartbeat.h"
#include "dg_mem.h"
#include "dg_mpi.h"
#include "dg_trace.h"
#include "split.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { AS_TRAINED = 0, MEAN_OF_WEIGHTS = 1, UPSTREAM = 1 };
static const char *const word_all[] = {"all", NULL};
static const char *const word_trained[] = {"trained", NULL};
static const char *const percentiles_names[] = {"trained", "none", NULL};
static const char *const word_auto[] = {"auto", NULL};
static const char *const average_names[] = {"doses", "weights", NULL};
static const char *const flips_names[] = {"trained", "no", "yes", NULL};
static const char *const compat_names[] = {"corrected", "upstream", NULL};
static const char *const dtype_names[] = {"trained", "bf16", "f32", NULL};

static const char *const fault_names[] = {"trained", "none", "penalty", "start", "noise", "eta", NULL};
static const char *const sampler_names[] = {"trained", "ddim", "ddpm", "dpm_solver", NULL};

#define AT(field) .offset = offsetof(settings, field)
/* clang-format off */
static const dg_option rows[] = {
    {.key = "predict.checkpoint", .flag = "checkpoint", .letter = 'c', .type = DG_OPT_STRING_LIST, AT(checkpoint),
     .list_min = 0, .list_max = DG_TRAINED_MAX, .fallback = "[]", .unit = "",
     .help = "checkpoint of the network, best.h5 of a run; several are averaged (--average)"},
    {.key = "predict.average", .flag = "average", .type = DG_OPT_ENUM, AT(average), .names = average_names,
     .fallback = "doses", .unit = "",
     .help = "of several checkpoints: doses or probabilities, with their standard deviation (seeds, folds); weights, as one network (checkpoints of one run)"},
    {.key = "predict.cohort", .flag = "cohort", .type = DG_OPT_STRING, AT(cohort), .fallback = "", .unit = "",
     .help = "cohort to predict"},
    {.key = "predict.output", .flag = "output", .letter = 'o', .type = DG_OPT_STRING, AT(output), .fallback = "",
     .unit = "", .help = "folder of the predictions; one that holds these cases by another network is refused"},
    {.key = "predict.cases", .flag = "cases", .type = DG_OPT_STRING_LIST, AT(cases), .list_min = 1,
     .list_max = DG_OPT_STRINGS_MAX, .names = word_all, .fallback = "all", .unit = "", .from_file = true,
     .help = "ids of the cases [a, b], all, or a part of the run's split: train, val, test"},
    {.key = "predict.split", .flag = "split", .type = DG_OPT_STRING, AT(split), .fallback = "", .unit = "",
     .help = "file of the split, where it is not the test_cases.json of the checkpoint's run"},
    {.key = "predict.resume", .flag = "resume", .type = DG_OPT_BOOL, AT(resume), .fallback = "false", .unit = "",
     .help = "keeps intact predictions that this network made with these settings, and makes the others again"},
    {.key = "predict.strict", .flag = "strict", .type = DG_OPT_BOOL, AT(strict), .fallback = "false", .unit = "",
     .help = "refuses a case that is unlike the training cases, which is a warning else"},
    {.key = "predict.overlap", .flag = "overlap", .type = DG_OPT_DOUBLE_LIST, AT(overlap), .min = 0, .max = 0.9,
     .list_min = 1, .list_max = 1, .names = word_trained, .fallback = "trained", .unit = "",
     .help = "share of a window that the next one covers again"},
    {.key = "predict.flips", .flag = "flips", .type = DG_OPT_ENUM, AT(flips), .names = flips_names,
     .fallback = "trained", .unit = "", .help = "averages with the prediction of the mirrored case"},
    {.key = "predict.compat", .flag = "compat", .type = DG_OPT_ENUM, AT(compat), .names = compat_names, .fallback = "corrected",
     .unit = "", .help = "upstream: segmentations are cut and joined as the surface detection study does it, with no weight on the border planes of windows and 0 where no whole stride reaches"},
    {.key = "predict.dtype", .flag = "dtype", .type = DG_OPT_ENUM, AT(dtype), .names = dtype_names,
     .fallback = "trained", .unit = "", .help = "type of activations"},
    {.key = "predict.threads", .flag = "threads", .type = DG_OPT_INT_LIST, AT(threads), .min = 1, .max = 4096,
     .list_min = 1, .list_max = 1, .names = word_auto, .fallback = "auto", .unit = "threads",
     .help = "compute threads per rank; auto is its share of the allowed cores"},
    {.key = "predict.backend", .flag = "backend", .type = DG_OPT_STRING, AT(backend), .fallback = "auto", .unit = "",
     .help = "device library: auto, cuda, onednn, ref"},
    {.key = "predict.window_batch", .flag = "window-batch", .type = DG_OPT_INT_LIST, AT(window_batch), .min = 1,
     .max = DG_WINDOW_BATCH, .list_min = 1, .list_max = 1, .names = word_auto, .fallback = "auto", .unit = "windows",
     .help = "most windows of one pass; auto is where a short probe on a GPU finds a window no cheaper (its roundings may then vary), and 1 on a CPU"},
    {.key = "predict.sampler", .flag = "sampler", .type = DG_OPT_ENUM, AT(sampler), .names = sampler_names,
     .fallback = "trained", .unit = "", .help = "of a diffusion: how doses are drawn, see diffusion.sampler"},
    {.key = "predict.fault", .flag = "fault", .type = DG_OPT_ENUM, AT(fault), .names = fault_names,
     .fallback = "trained", .unit = "", .help = "of a diffusion: one fault of the reference tool, see diffusion.fault"},
    {.key = "predict.sample_steps", .flag = "sample-steps", .type = DG_OPT_INT_LIST, AT(sample_steps), .min = 1,
     .max = 10000, .list_min = 1, .list_max = 1, .names = word_trained, .fallback = "trained", .unit = "steps",
     .help = "of a diffusion: steps of the sampler"},
    {.key = "predict.eta", .flag = "eta", .type = DG_OPT_DOUBLE_LIST, AT(eta), .min = 0, .max = 1, .list_min = 1,
     .list_max = 1, .names = word_trained, .fallback = "trained", .unit = "",
     .help = "of a diffusion: fresh noise of the sampler ddim"},
    {.key = "predict.guidance", .flag = "guidance", .type = DG_OPT_DOUBLE_LIST, AT(guidance), .min = 0, .max = 100,
     .list_min = 1, .list_max = 1, .names = word_trained, .fallback = "trained", .unit = "",
     .help = "of a diffusion: how much more the case counts than in training"},
    {.key = "predict.ensemble", .flag = "ensemble", .type = DG_OPT_INT_LIST, AT(ensemble), .min = 1, .max = 100000,
     .list_min = 1, .list_max = 1, .names = word_trained, .fallback = "trained", .unit = "samples",
     .help = "of a diffusion: doses drawn of a case; the prediction is their mean, with std and percentiles"},
    {.key = "predict.sample_seed", .flag = "sample-seed", .type = DG_OPT_INT_LIST, AT(seed), .min = 0, .max = 9e15,
     .list_min = 1, .list_max = 1, .names = word_trained, .fallback = "trained", .unit = "",
     .help = "of a diffusion: seed of the noise"},
    {.key = "predict.percentiles", .flag = "percentiles", .type = DG_OPT_DOUBLE_LIST, AT(percentiles), .min = 0,
     .max = 100, .list_min = 1, .list_max = DG_OPT_LIST_MAX, .names = percentiles_names, .fallback = "trained", .unit = "%",
     .help = "of an ensemble: percentiles that are kept voxel by voxel; none: mean and std only"},
    {.key = "predict.keep_samples", .flag = "keep-samples", .type = DG_OPT_BOOL, AT(keep_samples),
     .fallback = "false", .unit = "",
     .help = "of an ensemble: leaves every sample beside the mean, as predictions in sample-0001, sample-0002, .."},
    DG_JOB_COMM_TIMEOUT("predict", settings),
    {.key = "predict.json", .flag = "json", .type = DG_OPT_BOOL, AT(json), .fallback = "false", .unit = "",
     .help = "prints the result as JSON"},
};
/* clang-format on */

static dg_status check_settings(const settings *s)
{
    const char *first = s->checkpoint.count > 0 ? s->checkpoint.value[0] : "";
    const struct {
        const char *value, *flag, *meaning;
    } needed[] = {{first, "--checkpoint", "the network's checkpoint"},
                  {s->cohort, "--cohort", "the cohort to predict"},
                  {s->output, "-o", "a folder for the predictions"}};
    for (int i = 0; i < 3; i++) {
        if (needed[i].value[0] == '\0')
            return DG_FAIL(DG_ERR_USAGE, "%s is missing: name %s", needed[i].flag, needed[i].meaning);
    }
    return DG_OK;
}

/* `taken` [cases of the cohort]: those that were named before. */
static dg_status choose(work *w, bool *taken, const char *id)
{
    int64_t index = dg_cohort_find(w->cohort, id);
    if (index < 0) return DG_FAIL(DG_ERR_USAGE, "case '%s' is not in the cohort", id);
    if (taken[index]) return DG_FAIL(DG_ERR_USAGE, "case '%s' is named twice", id);
    taken[index] = true;
    w->chosen[w->count++] = index;
    return DG_OK;
}

/* The part that --cases names, or DG_PARTS. */
static dg_part named_part(const settings *s)
{
    int part = DG_PARTS;
    for (int p = 0; p < DG_PARTS; p++) {
        if (s->cases.count == 1 && strcmp(s->cases.value[0], dg_part_name((dg_part)p)) == 0) part = p;
    }
    return (dg_part)part;
}

/* Ids of a part, from --split or from the run that the checkpoint lies in. */
static dg_status read_part(const settings *s, dg_part part, char (**ids)[DG_CASE_ID], int64_t *count)
{
    char path[DG_PATH_MAX], folder[DG_OPT_TEXT];
    if (s->split[0] != '\0') return dg_split_read_part(s->split, part, ids, count);
    snprintf(folder, sizeof folder, "%s", s->checkpoint.value[0]);
    char *slash = strrchr(folder, '/');
    if (slash != NULL) slash[1] = '\0';
    DG_TRY(dg_path_join(path, slash != NULL ? folder : ".", "../test_cases.json"));
    dg_status status = dg_split_read_part(path, part, ids, count);
    return status == DG_OK ? DG_OK : dg_error_context(status, "--cases %s", dg_part_name(part));
}

static dg_status choose_named(work *w, bool *taken)
{
    const settings *s = w->s;
    dg_words words = {0};
    char(*ids)[DG_CASE_ID] = NULL;
    int64_t listed = 0;
    dg_part part = named_part(s);
    dg_status status =
        part != DG_PARTS ? read_part(s, part, &ids, &listed) : dg_words_read(&s->cases, "--cases", &words);
    for (int64_t i = 0; i < listed && status == DG_OK; i++) status = choose(w, taken, ids[i]);
    for (int64_t i = 0; i < words.count && status == DG_OK; i++) status = choose(w, taken, words.value[i]);
    dg_words_release(&words);
    dg_free(&ids);
    return status;
}

static dg_status choose_requested(work *w, bool *taken)
{
    const dg_predict_request *r = w->s->perturbed;
    for (int64_t i = 0; i < r->count; i++) DG_TRY(choose(w, taken, r->ids[i]));
    return DG_OK;
}

static dg_status choose_cases(work *w)
{
    int64_t all = dg_cohort_count(w->cohort);
    bool *taken = NULL;
    DG_TRY(DG_NEW(&w->chosen, all, "list of cases"));
    if (w->s->cases.count > 0 || w->s->perturbed != NULL) {
        DG_TRY(DG_NEW(&taken, all, "cases by name"));
        dg_status status = w->s->perturbed != NULL ? choose_requested(w, taken) : choose_named(w, taken);
        dg_free(&taken);
        if (status != DG_OK) return status;
    } else {
        for (int64_t i = 0; i < all; i++) w->chosen[w->count++] = i;
    }
    return w->count > 0 ? DG_OK : DG_FAIL(DG_ERR_USAGE, "there is no case to predict");
}

/* Perturbed predictions must differ from the others by the perturbation alone. */
static dg_status check_unperturbed(const work *w)
{
    dg_prediction_info info;
    const char *folder = w->s->perturbed->unperturbed;
    for (int64_t i = 0; i < w->count; i++) {
        const char *id = dg_cohort_case(w->cohort, w->chosen[i])->id;
        if (dg_prediction_peek(folder, id, &info) != DG_OK)
            dg_error_clear();
        else if (strcmp(info.model_sha256, w->made_by) != 0)
            return DG_FAIL(DG_ERR_MISMATCH,
                           "case %s: the prediction in %s was not made by %s%s as trained; name its checkpoint, and "
                           "predict without --overlap, --flips and --dtype",
                           id, folder, w->s->checkpoint.value[0], w->networks > 1 ? " and the others" : "");
    }
    return DG_OK;
}

static dg_status check_perturbation(const work *w)
{
    const dg_recipe *recipe = &w->network[0].recipe;
    bool sees_ct = false;
    for (int k = 0; k < recipe->count; k++) sees_ct = sees_ct || recipe->channel[k].kind == DG_CHANNEL_CT;
    if (sees_ct || w->s->perturbed->perturbation->kind == DG_PERTURB_SPACING) return DG_OK;
    return DG_FAIL(DG_ERR_USAGE, "--perturb %s: %s has no channel ct, its predictions would stay as they are",
                   w->s->perturbed->perturbation->name, w->s->checkpoint.value[0]);
}

/* Weights alone do not make a prediction: windows, mirroring and type take part. How many windows pass at once does not: it may
 * change roundings on a GPU, and a probe finds it. */
static dg_status name_maker(work *w)
{
    char text[DG_TRAINED_MAX * DG_HASH_HEX + 512] = "";
    int length = 0;
    for (int k = 0; k < w->networks; k++)
        length += snprintf(text + length, sizeof text - (size_t)length, "%s ", w->network[k].weights_sha256);
    const int weights = length;
    length += snprintf(text + length, sizeof text - (size_t)length, "overlap %.17g flips %d dtype %d",
                       w->config.overlap, w->config.flips, (int)w->config.dtype);
    if (w->config.study) length += snprintf(text + length, sizeof text - (size_t)length, " compat upstream");
    length += predict_samples_describe(w, text + length, sizeof text - (size_t)length);
    DG_TRY(dg_prediction_name_maker(text, weights, length, w->made_by));
    if (w->s->perturbed == NULL) return DG_OK;
    DG_TRY(check_unperturbed(w));
    const dg_perturbation *p = w->s->perturbed->perturbation;
    length += snprintf(text + length, sizeof text - (size_t)length, " %s seed %llu", p->name,
                       p->kind == DG_PERTURB_NOISE ? (unsigned long long)p->seed : 0);
    return dg_prediction_name_maker(text, weights, length, w->made_by);
}

/* What the study's way to cut and join is of. */
static dg_status check_study(const work *w)
{
    const dg_recipe *r = &w->network[0].recipe;
    const char *why = NULL;
    if (!w->config.study) return DG_OK;
    if (!r->labels)
        why = "is of segmentations; this network predicts doses";
    else if (w->config.flips)
        why = "knows no mirrored cases; predict with --flips no";
    else if (r->patch[0] < 1 || r->patch[0] != r->patch[1] || r->patch[0] != r->patch[2])
        why = "has one overlap for all axes; this network's data.patch has no three equal sides";
    else if (r->coarsen[0] * r->coarsen[1] * r->coarsen[2] != 1)
        why = "knows no data.coarsen, which this network has";
    return why == NULL ? DG_OK : DG_FAIL(DG_ERR_USAGE, "--compat upstream %s", why);
}

static dg_status open_data(work *w)
{
    const settings *s = w->s;
    const dg_run_config *trained = &w->network[0].config;
    w->config =
        (dg_predictor_config){.dtype = dg_run_dtype(s->dtype == AS_TRAINED ? trained->predict.dtype : s->dtype - 1),
                              .overlap = s->overlap.count > 0 ? s->overlap.value[0] : trained->predict.overlap,
                              .flips = s->flips == AS_TRAINED ? trained->predict.flips : s->flips == 2,
                              .study = s->compat == UPSTREAM};
    DG_TRY(check_study(w));
    DG_TRY(dg_cohort_open(s->cohort, &w->cohort));
    DG_TRY(choose_cases(w));
    DG_TRY(predict_samples_open(w));
    w->together = w->count * w->ensemble.samples < w->env->comm->size && !w->config.study;
    if (w->together) w->config.comm = w->env->comm;
    DG_TRY(dg_source_create(w->cohort, &w->network[0].recipe, 0, &w->source));
    if (s->perturbed != NULL) {
        DG_TRY(check_perturbation(w));
        dg_source_perturb(w->source, s->perturbed->perturbation);
    }
    DG_TRY(name_maker(w));
    return w->env->comm->rank == 0 ? predict_folder_open(w) : DG_OK;
}

static dg_status open_network(work *w)
{
    const dg_model *model = w->network[0].model;
    int64_t bytes = model->params.total * (int64_t)sizeof(float);
    for (int k = 0; k < w->networks; k++) {
        void *memory = NULL;
        DG_TRY(w->backend->ops->alloc(w->backend, bytes, "weights", &memory));
        w->weights[k] = memory;
        DG_TRY(w->backend->ops->upload(w->backend, w->weights[k], w->network[k].weights, bytes));
    }
    DG_TRY(dg_predictor_create(model, w->backend, w->source, &w->config, NULL, &w->predictor));
    if (w->diffusion != NULL) dg_predictor_set_sampling(w->predictor, &w->sampling);
    dg_predictor_watch(w->predictor, w->env->comm->heartbeat);
    return dg_predictor_set_weights(w->predictor, w->weights[0]);
}

/* The same on every rank: the smallest that one of them found. */
static dg_status choose_batch(work *w)
{
    const dg_int_list *wanted = &w->s->window_batch;
    dg_status status = DG_OK;
    w->config.batch = 1;
    if (wanted->count > 0)
        w->config.batch = wanted->value[0];
    else
        status = dg_predictor_probe(w->predictor, &w->config.batch);
    DG_TRY(dg_comm_agree(w->env->comm, status));
    DG_TRY(dg_comm_all_reduce(w->env->comm, &w->config.batch, 1, DG_I64, DG_MIN));
    dg_predictor_set_batch(w->predictor, w->config.batch);
    return DG_OK;
}

static dg_status set_up(work *w)
{
    const dg_job_env *env = w->env;
    char warning[256] = "", gpu[DG_COMPUTE_ADDRESS];
    int threads = 1;
    DG_TRY(dg_comm_agree(env->comm, check_settings(w->s)));
    DG_TRY(dg_trained_share_list(env->comm, &w->s->checkpoint, w->s->average == MEAN_OF_WEIGHTS, w->network,
                                 &w->networks));
    DG_TRY(dg_comm_agree(env->comm, open_data(w)));
    dg_job_watch(env, w->s->comm_timeout_s, w->s->output);
    DG_TRY(dg_compute_address(env->comm, w->s->backend, false, gpu));
    dg_status status = dg_affinity_set_near(env->comm, gpu, w->s->threads.count > 0 ? (int)w->s->threads.value[0] : 0,
                                            &threads, warning, sizeof warning);
    DG_TRY(dg_comm_agree(env->comm, status));
    if (warning[0] != '\0') dg_log_write(env->log, DG_LOG_WARNING, "%s", warning);
    int64_t agreed = threads;
    DG_TRY(dg_comm_all_reduce(env->comm, &agreed, 1, DG_I64, DG_MIN));
    DG_TRY(dg_compute_open(env->comm, w->s->backend, (int)agreed, false, &w->backend));
    DG_TRY(dg_compute_share(env->comm, w->backend, env->log));
    DG_TRY(dg_comm_agree(env->comm, open_network(w)));
    return choose_batch(w);
}

/* ---- writing ------------------------------------------------------------------------------------------------------ */

static void *write_prediction(void *argument)
{
    work *w = argument;
    writer *out = &w->writer;
    const double start = dg_time_s();
    const dg_prediction_kind kind = w->network[0].recipe.labels ? DG_PREDICTION_PROBABILITY : DG_PREDICTION_DOSE;
    dg_status status = dg_prediction_write_kind(out->folder, out->info->id, &out->info->grid, kind, out->made_by,
                                                out->dose_gy, out->std_gy, &out->entry);
    out->entry.write_s = dg_time_s() - start;
    out->entry.done = status == DG_OK;
    if (status == DG_OK) status = dg_ledger_append(out->folder, w->env->comm->rank, &out->entry);
    if (w->ensemble.samples == 1) dg_ensemble_remove(out->folder, out->info->id, 0); /* of an earlier ensemble */
    out->error.status = DG_OK;
    if (status != DG_OK) out->error = *dg_error_last();
    return NULL;
}

/* Waits for the prediction on its way; a failure to write would stop every case. */
static dg_status end_write(work *w)
{
    writer *out = &w->writer;
    if (!out->busy) return DG_OK;
    (void)dg_heartbeat_phase(w->env->comm->heartbeat, DG_PHASE_WRITE);
    pthread_join(out->thread, NULL);
    out->busy = false;
    dg_free(&out->dose_gy);
    dg_free(&out->std_gy);
    const dg_error *error = &out->error;
    if (error->status != DG_OK)
        return dg_error_set(error->status, error->frame[0].file, error->frame[0].line, error->frame[0].function, "%s",
                            error->text);
    w->done += w->ensemble.samples == 1; /* an ensemble is done when it is merged */
    return DG_OK;
}

/* A prediction and, of several networks, how far they are apart; NULL on ranks that only help. */
typedef struct prediction {
    float *dose_gy, *std_gy;
} prediction;

static void free_prediction(prediction *p)
{
    dg_free(&p->dose_gy);
    dg_free(&p->std_gy);
}

/* Takes the prediction over. */
static dg_status begin_write(work *w, const unit *u, prediction *p, const dg_ledger_entry *entry)
{
    writer *out = &w->writer;
    const dg_case_info *info = dg_cohort_case(w->cohort, u->index);
    dg_status status = end_write(w);
    if (status != DG_OK) {
        free_prediction(p);
        return status;
    }
    *out = (writer){.info = info, .dose_gy = p->dose_gy, .std_gy = p->std_gy, .entry = *entry};
    *p = (prediction){NULL, NULL};
    status = predict_samples_place(w, u, out->folder, out->made_by);
    if (status != DG_OK) return status; /* the doses are the writer's now */
    if (pthread_create(&out->thread, NULL, write_prediction, w) != 0) {
        dg_free(&out->dose_gy);
        dg_free(&out->std_gy);
        return DG_FAIL(DG_ERR_MEMORY, "the system gives no thread for writing case %s", info->id);
    }
    out->busy = true;
    return DG_OK;
}

/* A case that failed by itself stands in the ledger, and the others go on. */
static dg_status note_failure(work *w, const unit *u, dg_ledger_entry *entry)
{
    char folder[DG_PATH_MAX], made_by[DG_HASH_HEX];
    snprintf(entry->reason, sizeof entry->reason, "%.255s", dg_error_last()->text);
    DG_TRY(end_write(w));
    DG_TRY(predict_samples_place(w, u, folder, made_by));
    DG_TRY(dg_ledger_append(folder, w->env->comm->rank, entry));
    w->failed += w->ensemble.samples == 1;
    dg_log_write(w->env->log, DG_LOG_WARNING, "case %s failed: %s", entry->id, entry->reason);
    return DG_OK;
}

/* ---- cases -------------------------------------------------------------------------------------------------------- */

/* What would stop every case. */
static bool is_fatal(dg_status status)
{
    return status == DG_ERR_BACKEND || status == DG_ERR_MEMORY || status == DG_ERR_COMM;
}

/* Tells in what a case, or with `dose_gy` its prediction, is unlike the training cases; with --strict that is DG_ERR_DATA. */
static dg_status check_domain(work *w, int64_t index, const float *dose_gy, bool *unlike)
{
    const dg_recipe *recipe = &w->network[0].recipe;
    const dg_case_info *info = dg_cohort_case(w->cohort, index);
    const dg_domain_row *row;
    char text[512] = "";
    dg_domain_case *found = NULL;
    size_t length = 0;
    if (recipe->domain.count == 0 || w->s->perturbed != NULL) return DG_OK; /* told of them as they are */
    DG_TRY(DG_NEW(&found, 1, "numbers of a case"));
    dg_status status = dg_domain_measure(recipe, dg_source_case(w->source, index), dose_gy, found);
    for (int k = 0; status == DG_OK && k < found->count; k++) {
        if (dg_domain_is_dose(found->name[k]) != (dose_gy != NULL)) continue;
        if (!dg_domain_outside(&recipe->domain, found, k, &row) || length >= sizeof text) continue;
        length +=
            (size_t)snprintf(text + length, sizeof text - length, "%s%s is %.4g (they had %.4g to %.4g)",
                             length > 0 ? ", " : "", found->name[k], found->value[k], row->spread[0], row->spread[4]);
    }
    dg_free(&found);
    if (status != DG_OK || text[0] == '\0') return status;
    *unlike = true;
    if (w->s->strict) return DG_FAIL(DG_ERR_DATA, "case %s is unlike the training cases: %s", info->id, text);
    dg_log_write(w->env->log, DG_LOG_WARNING, "case %s is unlike the training cases: %s", info->id, text);
    return DG_OK;
}

/* Opens a case and makes room for its dose; all ranks or none where they work together. */
static dg_status open_case(work *w, int64_t index, prediction *out, bool *pinned, bool *unlike)
{
    const int64_t voxels = dg_grid_voxels(&dg_cohort_case(w->cohort, index)->grid);
    const bool keeps = !w->together || w->env->comm->rank == 0;
    dg_status status = dg_source_pin(w->source, index);
    *pinned = status == DG_OK;
    if (status == DG_OK && keeps) status = DG_NEW(&out->dose_gy, voxels, "predicted dose");
    if (status == DG_OK && keeps && w->networks > 1)
        status = DG_NEW(&out->std_gy, voxels, "standard deviation of the dose");
    if (status == DG_OK && keeps) status = check_domain(w, index, NULL, unlike);
    return w->together ? dg_comm_agree(w->env->comm, status) : status;
}

/* One more dose for mean and sum of squared deviations (Welford 1962); `count` with it. */
static void add_dose(prediction *p, const float *dose_gy, int count, int64_t voxels)
{
    for (int64_t i = 0; i < voxels; i++) {
        const double off = (double)dose_gy[i] - (double)p->dose_gy[i], mean = (double)p->dose_gy[i] + off / count;
        p->std_gy[i] = (float)((double)p->std_gy[i] + off * ((double)dose_gy[i] - mean));
        p->dose_gy[i] = (float)mean;
    }
}

/* Every network on the case in turn. */
static dg_status run_networks(work *w, int64_t index, int64_t next, prediction *out, dg_predictor_note *note)
{
    const int64_t voxels = dg_grid_voxels(&dg_cohort_case(w->cohort, index)->grid);
    float *one = NULL;
    if (w->networks == 1) return dg_predictor_run(w->predictor, index, next, out->dose_gy, note);
    dg_status status = out->dose_gy != NULL ? DG_NEW(&one, voxels, "predicted dose") : DG_OK;
    if (w->together) status = dg_comm_agree(w->env->comm, status);
    double read_s = 0, compute_s = 0;
    for (int k = 0; k < w->networks && status == DG_OK; k++) {
        status = dg_predictor_set_weights(w->predictor, w->weights[k]);
        if (status == DG_OK) status = dg_predictor_run(w->predictor, index, k + 1 < w->networks ? -1 : next, one, note);
        if (w->together)
            status = dg_comm_agree(w->env->comm, status); /* rank 0 may fail alone where it writes a dose */
        if (status == DG_OK && one != NULL) add_dose(out, one, k + 1, voxels);
        read_s += note->read_s;
        compute_s += note->compute_s;
    }
    for (int64_t i = 0; i < voxels && status == DG_OK && one != NULL; i++)
        out->std_gy[i] = (float)sqrt(fmax(0.0, (double)out->std_gy[i]) / w->networks);
    note->read_s = read_s;
    note->compute_s = compute_s;
    dg_free(&one);
    return status;
}

/* One case. What is wrong with the case itself is noted in the ledger; only what would stop every case is returned. `next`
 * is pinned, or -1. */
static dg_status predict_case(work *w, const unit *u, int64_t next)
{
    const int64_t index = u->index;
    const dg_case_info *info = dg_cohort_case(w->cohort, index);
    const bool keeps = !w->together || w->env->comm->rank == 0;
    dg_ledger_entry entry = {.done = false};
    dg_predictor_note note = {.windows = 0};
    prediction result = {NULL, NULL};
    bool pinned, unlike = false;
    snprintf(entry.id, sizeof entry.id, "%s", info->id);
    if (w->diffusion != NULL) {
        w->sampling.sample = u->sample;
        dg_predictor_set_sampling(w->predictor, &w->sampling);
    }
    dg_status status = open_case(w, index, &result, &pinned, &unlike);
    (void)dg_heartbeat_phase(w->env->comm->heartbeat, DG_PHASE_PREDICT);
    if (status == DG_OK) status = run_networks(w, index, next, &result, &note);
    if (status == DG_OK && keeps && !w->network[0].recipe.labels)
        status = check_domain(w, index, result.dose_gy, &unlike);
    if (pinned) dg_source_unpin(w->source, index);
    entry.read_s = note.read_s;
    entry.compute_s = note.compute_s;
    if (status != DG_OK) {
        free_prediction(&result);
        return is_fatal(status) ? status : keeps ? note_failure(w, u, &entry) : DG_OK;
    }
    if (!keeps) return DG_OK;
    w->region[note.region] += u->sample == 0;
    w->outside += u->sample == 0 && (unlike || dg_recipe_outside(&w->network[0].recipe, info));
    return begin_write(w, u, &result, &entry);
}

/* A sample of an ensemble that is whole is not wanted again, unless it is to stay beside it. */
static bool is_kept(work *w, const unit *u)
{
    char folder[DG_PATH_MAX], made_by[DG_HASH_HEX];
    const char *id = dg_cohort_case(w->cohort, u->index)->id;
    if (!w->s->resume) return false;
    const bool whole = dg_prediction_valid(w->s->output, id, w->made_by);
    w->kept += whole && w->ensemble.samples == 1; /* an ensemble is counted when it is merged */
    if (w->ensemble.samples == 1 || (whole && !w->s->keep_samples)) return whole;
    return predict_samples_place(w, u, folder, made_by) == DG_OK && dg_prediction_valid(folder, id, made_by);
}

/* The next unit that is to be computed, or one with index -1. */
static dg_status fetch(work *w, dg_tasks *tasks, unit *next)
{
    for (;;) {
        int64_t task = -1;
        DG_TRY(dg_tasks_next(tasks, &task));
        *next = task < 0 ? (unit){-1, 0} : w->units[task];
        if (task < 0 || !is_kept(w, next)) return DG_OK;
    }
}

static void tell_progress(const work *w, int64_t turns)
{
    const int64_t estimate = w->begun + turns * (w->together ? 1 : w->env->comm->size);
    const int64_t all = w->count * w->ensemble.samples;
    dg_log_progress(w->env->log, w->ensemble.samples > 1 ? "prediction, samples" : "prediction, cases",
                    estimate < all ? estimate : all, all, NULL);
}

static void tell_case(const work *w, int64_t index)
{
    (void)dg_heartbeat_phase(w->env->comm->heartbeat, DG_PHASE_READ);
    dg_heartbeat_task(w->env->comm->heartbeat, dg_cohort_case(w->cohort, index)->id);
}

/* Case by case from the list that all ranks share. One is taken ahead, so that it is read while another computes, but not
 * towards the end, when another rank may be free for it sooner. */
static dg_status work_through(work *w, dg_tasks *tasks)
{
    unit now, ahead = {-1, 0};
    double longest_s = 0;
    bool pinned = false;
    dg_status status = fetch(w, tasks, &now);
    for (int64_t turns = 1; status == DG_OK && now.index >= 0; turns++) {
        w->stopped = dg_stop_watch_due(&w->watch, longest_s);
        if (w->stopped != 0) {
            status = dg_tasks_halt(tasks);
            break;
        }
        const double start = dg_time_s();
        const bool early = (turns + 1) * w->env->comm->size <= w->unit_count;
        ahead = (unit){-1, 0};
        if (early) status = fetch(w, tasks, &ahead);
        if (status != DG_OK) break;
        tell_case(w, now.index);
        const bool opened =
            ahead.index >= 0 && dg_source_pin(w->source, ahead.index) == DG_OK; /* what fails will tell in its turn */
        status = predict_case(w, &now, opened ? ahead.index : -1);
        if (pinned) dg_source_unpin(w->source, now.index);
        pinned = opened;
        longest_s = fmax(longest_s, dg_time_s() - start);
        tell_progress(w, turns);
        now = ahead;
        if (!early && status == DG_OK) status = fetch(w, tasks, &now);
    }
    const dg_status written = status == DG_OK ? end_write(w) : status;
    return written;
}

/* All ranks at each case, one after the other. @collective */
static dg_status work_together(work *w)
{
    dg_comm *comm = w->env->comm;
    dg_status status = DG_OK;
    double longest_s = 0;
    for (int64_t i = 0; i < w->unit_count && status == DG_OK && w->stopped == 0; i++) {
        int64_t kept = 0;
        const double start = dg_time_s();
        DG_TRY(dg_comm_any(comm, dg_stop_watch_due(&w->watch, longest_s), &w->stopped));
        if (w->stopped != 0) break;
        DG_TRY(dg_comm_any(comm, comm->rank == 0 && is_kept(w, &w->units[i]), &kept));
        if (kept != 0) continue;
        tell_case(w, w->units[i].index);
        status = dg_comm_agree(comm, predict_case(w, &w->units[i], -1));
        longest_s = fmax(longest_s, dg_time_s() - start);
        tell_progress(w, i + 1);
    }
    return status == DG_OK ? end_write(w) : status;
}

static dg_status share_counts(work *w)
{
    int64_t counts[7] = {w->done, w->failed, w->kept, w->outside, w->region[0], w->region[1], w->region[2]};
    DG_TRY(dg_comm_all_reduce(w->env->comm, counts, 7, DG_I64, DG_SUM));
    w->done = counts[0];
    w->failed = counts[1];
    w->kept = counts[2];
    w->outside = counts[3];
    for (int r = 0; r < 3; r++) w->region[r] = counts[4 + r];
    return dg_comm_any(w->env->comm, w->stopped, &w->stopped);
}

/* The samples of cases [first, end) of the list, case by case; they cost what their cases have voxels. */
static dg_status list_units(work *w, int64_t first, int64_t end, double **cost)
{
    const int64_t samples = w->ensemble.samples;
    w->unit_count = 0;
    DG_TRY(DG_NEW(cost, (end - first) * samples, "cost of cases"));
    DG_TRY(DG_NEW(&w->units, (end - first) * samples, "samples of cases"));
    for (int64_t i = first; i < end; i++)
        for (int64_t k = 0; k < samples; k++) {
            (*cost)[w->unit_count] = (double)dg_grid_voxels(&dg_cohort_case(w->cohort, w->chosen[i])->grid);
            w->units[w->unit_count++] = (unit){w->chosen[i], k};
        }
    return DG_OK;
}

static dg_status predict_round(work *w, int64_t first, int64_t end)
{
    dg_comm *comm = w->env->comm;
    dg_tasks *tasks = NULL;
    double *cost = NULL;
    dg_status status = dg_comm_agree(comm, list_units(w, first, end, &cost));
    if (status == DG_OK) status = dg_tasks_create(comm, cost, w->unit_count, &tasks);
    if (status == DG_OK) {
        status = w->together ? work_together(w) : work_through(w, tasks);
        (void)dg_heartbeat_phase(comm->heartbeat, DG_PHASE_REDUCE);
        dg_tasks_destroy(&tasks);
        status = dg_comm_agree(comm, status);
    }
    w->begun += w->unit_count;
    dg_free(&cost);
    dg_free(&w->units);
    DG_TRY(status);
    DG_TRY(dg_comm_any(comm, w->stopped, &w->stopped));
    if (w->ensemble.samples == 1 || w->stopped != 0) return DG_OK;
    return dg_comm_agree(comm, predict_samples_combine(w, first, end));
}

static dg_status predict_all(work *w)
{
    dg_comm *comm = w->env->comm;
    const double start = dg_time_s();
    const int64_t round = predict_samples_round(w);
    dg_status status = DG_OK;
    dg_stop_watch_open(&w->watch, w->s->output, comm->rank == 0, w->env->log);
    for (int64_t first = 0; first < w->count && status == DG_OK && w->stopped == 0; first += round)
        status = predict_round(w, first, first + round < w->count ? first + round : w->count);
    dg_heartbeat_task(comm->heartbeat, NULL);
    w->seconds = dg_time_s() - start;
    if (status == DG_OK) status = dg_compute_share(comm, w->backend, w->env->log);
    if (status == DG_OK) status = share_counts(w);
    if (status == DG_OK && comm->rank == 0) predict_samples_clean(w);
    dg_stop_watch_close(&w->watch, comm->rank == 0 && w->stopped != 0);
    return status;
}

static void release(work *w)
{
    dg_stop_remove();
    if (w->writer.busy) pthread_join(w->writer.thread, NULL); /* after a failure: what was begun is finished */
    dg_free(&w->writer.dose_gy);
    dg_free(&w->writer.std_gy);
    dg_predictor_destroy(&w->predictor);
    predict_samples_release(w);
    for (int k = 0; k < w->networks; k++)
        if (w->weights[k] != NULL) w->backend->ops->free(w->backend, w->weights[k]);
    dg_backend_destroy(&w->backend);
    dg_source_destroy(&w->source);
    dg_cohort_close(&w->cohort);
    for (int k = 0; k < w->networks; k++) dg_trained_release(&w->network[k]);
    dg_free(&w->chosen);
    dg_lease_release(&w->lease);
}

static dg_status predict(const dg_job_env *env, const settings *s, int64_t *failed)
{
    work *w = NULL;
    dg_status status = DG_NEW(&w, 1, "prediction");
    if (status != DG_OK) return status;
    *w = (work){.env = env, .s = s};
    dg_stop_install();
    status = set_up(w);
    if (status == DG_OK) status = predict_all(w);
    if (status == DG_OK) status = dg_comm_agree(env->comm, env->comm->rank == 0 ? predict_report(w) : DG_OK);
    *failed = w->failed;
    if (status == DG_OK && w->stopped != 0) {
        status = DG_FAIL(DG_ERR_PREEMPTED, "stopped on request (%s) after %lld cases: go on with --resume",
                         dg_stop_name((int)w->stopped), (long long)(w->done + w->kept));
    }
    release(w);
    dg_free(&w);
    return status;
}

dg_status dg_predict_perturbed(const dg_job_env *env, const dg_predict_request *request, int64_t *failed)
{
    settings *s = NULL;
    DG_TRY(DG_NEW(&s, 1, "settings"));
    s->perturbed = request;
    s->checkpoint = *request->checkpoint;
    snprintf(s->cohort, sizeof s->cohort, "%s", request->cohort);
    snprintf(s->output, sizeof s->output, "%s", request->output);
    snprintf(s->backend, sizeof s->backend, "%s", request->backend);
    s->resume = request->resume;
    s->keep_samples = request->members > 1;
    s->threads.count = request->threads > 0;
    s->threads.value[0] = request->threads;
    s->comm_timeout_s = request->comm_timeout_s;
    dg_status status = predict(env, s, failed);
    dg_free(&s);
    return status;
}

static dg_status run(const dg_job_env *env, int argc, char *const *argv, int *exit_code)
{
    settings *s = NULL;
    dg_options options;
    bool helped = false;
    int count;
    DG_TRY(DG_NEW(&s, 1, "settings"));
    dg_job_arguments arguments = {.usage = "--checkpoint C... --cohort D -o P/ [--cases all|test|[ID, ...]] [--resume]",
                                  .rows = rows,
                                  .row_count = sizeof rows / sizeof rows[0],
                                  .target = s};
    dg_status status = dg_job_read_arguments(env, &dg_job_predict, &arguments, argc, argv, &options, &count, &helped);
    if (status == DG_OK && !helped) {
        dg_options_release(&options);
        int64_t failed = 0;
        status = predict(env, s, &failed);
        if (status == DG_OK && failed > 0) *exit_code = DG_EXIT_SOME_CASES;
    }
    dg_free(&s);
    return status;
}

const dg_job dg_job_predict = {.name = "predict",
                               .summary =
                                   "predict the dose, or the segmentation, of a cohort's cases with a trained network",
                               .spreads = true,
                               .run = run};
