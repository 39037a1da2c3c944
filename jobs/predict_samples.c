/* predict_samples.c - doses drawn from a diffusion: how, where the samples of an ensemble go, and what becomes of them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "predict_impl.h"

#include "dg_file.h"
#include "dg_heartbeat.h"
#include "dg_mem.h"
#include "dg_trace.h"
#include "diffusion_setup.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { ROUND_UNITS = 8 }; /* samples for every rank in a round */

/* Some, or none of them; not as trained. */
static bool has_percentiles(const settings *s) { return s->percentiles.count > 0 || s->percentiles.word > 0; }

/* Flags that only a diffusion has. */
static const char *given(const settings *s)
{
    if (s->sampler != 0) return "--sampler";
    if (s->fault != 0) return "--fault";
    if (s->sample_steps.count > 0) return "--sample-steps";
    if (s->eta.count > 0) return "--eta";
    if (s->guidance.count > 0) return "--guidance";
    if (s->ensemble.count > 0) return "--ensemble";
    if (s->seed.count > 0) return "--sample-seed";
    if (has_percentiles(s)) return "--percentiles";
    return s->keep_samples ? "--keep-samples" : NULL;
}

/* The run's settings with those of the flags in their place. */
static void apply(const settings *s, dg_diffusion_settings *d)
{
    if (s->sampler != 0) d->sampler = s->sampler - 1;
    if (s->fault != 0) d->fault = s->fault - 1;
    if (s->sample_steps.count > 0) d->sample_steps = s->sample_steps.value[0];
    if (s->eta.count > 0) d->eta = s->eta.value[0];
    if (s->guidance.count > 0) d->guidance = s->guidance.value[0];
    if (s->ensemble.count > 0) d->ensemble = s->ensemble.value[0];
    if (s->seed.count > 0) d->seed = s->seed.value[0];
    if (has_percentiles(s)) d->percentiles = s->percentiles;
}

/* Members of a perturbed ensemble are judged as they were drawn: there must be so many. */
static dg_status check_members(const work *w)
{
    const dg_predict_request *r = w->s->perturbed;
    if (r == NULL || r->members <= w->ensemble.samples) return DG_OK;
    return DG_FAIL(DG_ERR_USAGE,
                   "%lld members of a perturbed case are to be judged, and %s draws %lld (diffusion.ensemble): give "
                   "--members no more than that",
                   (long long)r->members, w->s->checkpoint.value[0], (long long)w->ensemble.samples);
}

dg_status predict_samples_open(work *w)
{
    dg_run_config *config = &w->network[0].config;
    w->ensemble = (dg_ensemble){.folder = w->s->output, .samples = 1};
    if (!dg_run_is_diffusion(config)) {
        DG_TRY(check_members(w));
        const char *flag = given(w->s);
        return flag == NULL ? DG_OK
                            : DG_FAIL(DG_ERR_USAGE,
                                      "%s is for a diffusion, and %s is a network that gives the dose itself "
                                      "(model.kind %s)",
                                      flag, w->s->checkpoint.value[0], config->model.kind);
    }
    if (w->networks > 1)
        return DG_FAIL(DG_ERR_USAGE,
                       "%d checkpoints of a diffusion: their doses are samples each; give one, or "
                       "--average weights for checkpoints of one run",
                       w->networks);
    apply(w->s, &config->diffusion);
    DG_TRY(dg_run_check_sampling(config));
    const dg_diffusion_config process = dg_run_config_diffusion(config);
    const dg_sampler_config sampler = dg_run_config_sampler(config);
    DG_TRY(dg_diffusion_create(&process, &w->diffusion));
    w->sampling = (dg_sampling){
        .diffusion = w->diffusion, .guidance = config->diffusion.guidance, .seed = (uint64_t)config->diffusion.seed};
    DG_TRY(dg_sampler_plan(w->diffusion, &sampler, &w->step, &w->sampling.count));
    w->sampling.step = w->step;
    w->ensemble.samples = config->diffusion.ensemble;
    w->ensemble.percent = config->diffusion.percentiles;
    return check_members(w);
}

int predict_samples_describe(const work *w, char *text, size_t capacity)
{
    const dg_diffusion_settings *d = &w->network[0].config.diffusion;
    if (w->diffusion == NULL) return 0;
    int length =
        snprintf(text, capacity,
                 " sampler %d fault %d steps %lld eta %.17g guidance %.17g seed %lld samples %lld percent", d->sampler,
                 d->fault, (long long)d->sample_steps, d->eta, d->guidance, (long long)d->seed, (long long)d->ensemble);
    for (int k = 0; k < d->percentiles.count && d->ensemble > 1 && (size_t)length < capacity; k++)
        length += snprintf(text + length, capacity - (size_t)length, " %.6g", d->percentiles.value[k]);
    return length;
}

void predict_samples_release(work *w)
{
    dg_free(&w->step);
    dg_diffusion_destroy(&w->diffusion);
}

dg_status predict_samples_place(const work *w, const unit *u, char folder[DG_PATH_MAX], char made_by[DG_HASH_HEX])
{
    if (w->ensemble.samples == 1) {
        memcpy(made_by, w->made_by, DG_HASH_HEX);
        snprintf(folder, DG_PATH_MAX, "%s", w->s->output);
        return DG_OK;
    }
    DG_TRY(dg_ensemble_folder(w->s->output, u->sample, folder));
    return dg_ensemble_maker(w->made_by, u->sample, made_by);
}

int64_t predict_samples_round(const work *w)
{
    const int64_t samples = w->ensemble.samples, units = (int64_t)ROUND_UNITS * w->env->comm->size;
    return samples == 1 ? w->count : (units + samples - 1) / samples;
}

/* A case whose samples are not all there has failed; the others go on. */
static dg_status combine(work *w, int64_t index)
{
    const dg_case_info *info = dg_cohort_case(w->cohort, index);
    dg_ledger_entry entry = {.done = false};
    const double start = dg_time_s();
    const bool whole = w->s->resume && dg_prediction_valid(w->s->output, info->id, w->made_by);
    if (whole && !w->s->keep_samples) {
        w->kept++;
        return DG_OK;
    }
    snprintf(entry.id, sizeof entry.id, "%s", info->id);
    for (int64_t k = 0; k < w->ensemble.samples; k++) {
        char folder[DG_PATH_MAX], made_by[DG_HASH_HEX];
        const unit u = {index, k};
        DG_TRY(predict_samples_place(w, &u, folder, made_by));
        if (dg_prediction_valid(folder, info->id, made_by)) continue;
        snprintf(entry.reason, sizeof entry.reason,
                 "sample %lld could not be drawn: its ledger, in sample-%04lld, tells why", (long long)k + 1,
                 (long long)k + 1);
        w->failed++;
        dg_log_write(w->env->log, DG_LOG_WARNING, "case %s failed: %s", info->id, entry.reason);
        return dg_ledger_append(w->s->output, w->env->comm->rank, &entry);
    }
    if (whole) {
        w->kept++;
        return DG_OK;
    }
    DG_TRY(dg_ensemble_combine(&w->ensemble, info->id, w->made_by, &entry));
    entry.write_s = dg_time_s() - start;
    entry.done = true;
    DG_TRY(dg_ledger_append(w->s->output, w->env->comm->rank, &entry));
    dg_ensemble_remove(w->s->output, info->id, w->s->keep_samples ? w->ensemble.samples : 0);
    w->done++;
    return DG_OK;
}

void predict_samples_clean(const work *w)
{
    char folder[DG_PATH_MAX], path[DG_PATH_MAX], name[32];
    if (w->ensemble.samples == 1 || w->s->keep_samples || w->failed > 0 || w->stopped != 0) return;
    for (int64_t k = 0; k < w->ensemble.samples; k++) {
        if (dg_ensemble_folder(w->s->output, k, folder) != DG_OK) continue;
        for (int r = 0; r < w->env->comm->size; r++) {
            snprintf(name, sizeof name, "ledger-%d.csv", r);
            if (dg_path_join(path, folder, name) == DG_OK) (void)remove(path);
        }
        (void)rmdir(folder); /* one that is not empty stays */
    }
}

dg_status predict_samples_combine(work *w, int64_t first, int64_t end)
{
    const int rank = w->env->comm->rank, ranks = w->env->comm->size;
    (void)dg_heartbeat_phase(w->env->comm->heartbeat, DG_PHASE_WRITE);
    for (int64_t i = first + rank; i < end; i += ranks) {
        dg_heartbeat_task(w->env->comm->heartbeat, dg_cohort_case(w->cohort, w->chosen[i])->id);
        DG_TRY(combine(w, w->chosen[i]));
    }
    return DG_OK;
}
