/* trainer_controls.c - the rules of controls.h at work: before a step, after a validation, and in checkpoints.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "dg_rng.h"
#include "trainer_impl.h"

#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Streams of the noise of interventions, apart from those of the regular noise. */
static const uint32_t KICK = UINT32_C(1) << 23;

static bool rolls_back(const dg_trainer *t)
{
    return t->config.train.rules.rollback.rise > 0 || t->config.train.rules.rollback.patience > 0;
}

dg_status trainer_controls_make(dg_trainer *t)
{
    const dg_string_list *layers = &t->config.train.rules.weight_noise.layers;
    for (int p = 0; p < layers->count; p++)
        DG_TRY(trainer_check_pattern(t, "train.weight_noise.layers", layers->value[p]));
    t->rules = dg_controls_start();
    DG_TRY(dg_controls_resolve(&t->config, t->total_steps, t->split.count[DG_PART_TRAIN],
                               t->split.count[DG_PART_VAL] > 0, &t->controls));
    t->schedule.warmup = t->controls.warmup;
    t->schedule.swa_start = t->controls.swa_start;
    t->schedule.swa_every = t->controls.swa_every;
    t->schedule.restart_steps = t->controls.restart_steps;
    return DG_OK;
}

/* ---- before a step ------------------------------------------------------------------------------------------------------ */

static bool gets_noise(const dg_trainer *t, const char *name)
{
    const dg_string_list *layers = &t->config.train.rules.weight_noise.layers;
    for (int p = 0; p < layers->count; p++)
        if (fnmatch(layers->value[p], name, 0) == 0) return true;
    return layers->count == 0;
}

/* Adds normal noise to the named parameters in host memory; `salt` keeps streams of one step apart. */
static void add_noise(const dg_trainer *t, double std, uint32_t salt, bool all, float *values)
{
    const dg_param_table *table = &t->model->params;
    for (int p = 0; p < table->count; p++) {
        if (!all && (!gets_noise(t, table->item[p].name) || trainer_is_frozen(t, table->item[p].name))) continue;
        dg_rng rng = dg_rng_stream((uint64_t)t->config.run.seed, all ? DG_RNG_GRADIENT : DG_RNG_WEIGHTS,
                                   (uint64_t)t->progress.step, (uint32_t)p | salt);
        float *value = values + table->item[p].offset;
        for (int64_t i = 0; i < table->item[p].count; i++) value[i] += (float)(std * dg_rng_normal(&rng));
    }
}

static dg_status shake_weights(dg_trainer *t, double std, uint32_t salt)
{
    const int64_t bytes = t->model->params.total * (int64_t)sizeof(float);
    float *host = NULL;
    dg_status status = DG_NEW(&host, t->model->params.total, "weights");
    if (status == DG_OK) status = t->backend->ops->download(t->backend, host, t->weights.values, bytes);
    if (status == DG_OK) add_noise(t, std, salt, false, host);
    if (status == DG_OK) status = t->backend->ops->upload(t->backend, t->weights.values, host, bytes);
    dg_free(&host);
    dg_log_write(t->log, DG_LOG_INFO, "step %lld: noise of standard deviation %.3g on the weights",
                 (long long)t->progress.step, std);
    return status == DG_OK ? dg_plan_set_weights(t->plan, t->weights.values) : status;
}

dg_status trainer_controls_begin(dg_trainer *t)
{
    const double regular = dg_controls_weight_noise(&t->config, &t->controls, t->progress.step);
    t->batch_now = dg_controls_batch(&t->config, t->progress.step);
    t->live = t->batch_now - t->first < t->mine ? t->batch_now - t->first : t->mine;
    if (t->live < 0) t->live = 0;
    if (regular > 0) DG_TRY(shake_weights(t, regular, 0));
    if (t->rules.kick > 0) DG_TRY(shake_weights(t, t->config.train.rules.plateau.noise, KICK));
    t->rules.kick = 0;
    return DG_OK;
}

/* Slot 0, which is rank 0's, brings the noise of the whole batch: the sum over samples is divided by their number. */
dg_status trainer_controls_gradient(dg_trainer *t)
{
    const double std = dg_controls_gradient_noise(&t->config, t->progress.step);
    if (!(std > 0) || t->comm->rank != 0) return DG_OK;
    float *host = NULL;
    dg_status status = DG_NEW(&host, t->model->params.total, "noise on the gradient");
    if (status == DG_OK) {
        add_noise(t, std * (double)t->batch_now, 0, true, host);
        status = t->backend->ops->upload(t->backend, dg_reducer_buffer(t->reducer), host,
                                         t->model->params.total * (int64_t)sizeof *host);
    }
    dg_free(&host);
    return status;
}

double trainer_controls_lr(const dg_trainer *t, double scheduled)
{
    const bool averaging = t->controls.swa_start > 0 && t->progress.step >= t->controls.swa_start;
    return dg_controls_lr(&t->config, &t->rules, averaging, scheduled);
}

/* ---- after a validation ------------------------------------------------------------------------------------------------- */

/* Weights and optimiser of the best validation are kept in memory. @collective */
static dg_status remember_best(dg_trainer *t)
{
    dg_status status = t->best == NULL ? dg_state_frozen_create(&t->learned, &t->best) : DG_OK;
    if (status == DG_OK) status = dg_state_frozen_take(t->best);
    return dg_comm_agree(t->comm, status);
}

static void tell(const dg_trainer *t, const dg_control_verdict *v, double value, double best)
{
    const dg_control_state *s = &t->rules;
    const long long step = t->progress.step;
    if (v->reduced)
        dg_log_write(t->log, DG_LOG_INFO,
                     "step %lld: plateau, the learning rate is %.4g of the schedule's from here on", step,
                     s->reduction);
    if (v->calmed)
        dg_log_write(t->log, DG_LOG_INFO, "step %lld: a gain, the learning rate is the schedule's again", step);
    if (v->intervened)
        dg_log_write(
            t->log, DG_LOG_INFO,
            "step %lld: plateau, intervention %lld: the learning rate is %.4g times the schedule's until there "
            "is a gain (at most %g)%s",
            step, (long long)s->interventions, s->boost, t->config.train.rules.plateau.lr_cap,
            s->kick > 0 ? ", with noise on the weights" : "");
    if (v->roll_back)
        dg_log_write(
            t->log, DG_LOG_WARNING,
            "step %lld: %s %.4f is worse than the best, %.4f of step %lld: weights and optimiser are those again", step,
            trainer_monitor_name(t->monitor), value, best, (long long)t->progress.best_step);
}

dg_status trainer_controls_judge(dg_trainer *t, double value, double best, bool gains)
{
    trainer_detect_validated(t, value, best);
    if (t->finishing) return DG_OK;
    const dg_control_verdict verdict = dg_controls_judge(&t->config, &t->rules, value, best, gains);
    tell(t, &verdict, value, best);
    if (rolls_back(t) && value < best) DG_TRY(remember_best(t));
    return verdict.roll_back && t->best != NULL ? dg_comm_agree(t->comm, trainer_bring_back(t, t->best)) : DG_OK;
}

/* ---- what is told ------------------------------------------------------------------------------------------------------- */

static bool varies(const dg_trainer *t) { return t->config.train.batch_min > 0; }

int trainer_controls_columns(const dg_trainer *t, char (*name)[DG_METRICS_NAME])
{
    if (varies(t)) snprintf(name[0], DG_METRICS_NAME, "samples");
    return varies(t);
}

int trainer_controls_parts(const dg_trainer *t, double *part)
{
    if (varies(t)) part[0] = (double)t->batch_now;
    return varies(t);
}

void trainer_controls_describe(const dg_trainer *t, json_t *summary)
{
    const dg_control_state *s = &t->rules;
    json_object_set_new(summary, "lr_reductions", json_integer((json_int_t)s->reductions));
    json_object_set_new(summary, "interventions", json_integer((json_int_t)s->interventions));
    json_object_set_new(summary, "best_restored", json_integer((json_int_t)s->rollbacks));
    json_object_set_new(summary, "averaged_from_step",
                        t->controls.swa_start > 0 ? json_integer((json_int_t)t->controls.swa_start) : json_null());
    json_object_set_new(summary, "detectors", trainer_detect_findings(t));
}

/* ---- checkpoints -------------------------------------------------------------------------------------------------------- */

static dg_status save_rules(const void *object, const dg_state_sink *sink)
{
    const dg_control_state *s = &((const dg_trainer *)object)->rules;
    DG_TRY(dg_state_put_double(sink, "reduction", s->reduction));
    DG_TRY(dg_state_put_double(sink, "boost", s->boost));
    DG_TRY(dg_state_put_int(sink, "schedule_stale", s->schedule_stale));
    DG_TRY(dg_state_put_int(sink, "plateau_stale", s->plateau_stale));
    DG_TRY(dg_state_put_int(sink, "worse", s->worse));
    DG_TRY(dg_state_put_int(sink, "since_gain", s->since_gain));
    DG_TRY(dg_state_put_int(sink, "since_best", s->since_best));
    DG_TRY(dg_state_put_int(sink, "reductions", s->reductions));
    DG_TRY(dg_state_put_int(sink, "interventions", s->interventions));
    DG_TRY(dg_state_put_int(sink, "rollbacks", s->rollbacks));
    return dg_state_put_int(sink, "kick", s->kick);
}

static dg_status load_rules(void *object, const dg_state_source *source, int version)
{
    (void)version;
    dg_control_state s;
    DG_TRY(dg_state_get_double(source, "reduction", &s.reduction));
    DG_TRY(dg_state_get_double(source, "boost", &s.boost));
    DG_TRY(dg_state_get_int(source, "schedule_stale", &s.schedule_stale));
    DG_TRY(dg_state_get_int(source, "plateau_stale", &s.plateau_stale));
    DG_TRY(dg_state_get_int(source, "worse", &s.worse));
    DG_TRY(dg_state_get_int(source, "since_gain", &s.since_gain));
    DG_TRY(dg_state_get_int(source, "since_best", &s.since_best));
    DG_TRY(dg_state_get_int(source, "reductions", &s.reductions));
    DG_TRY(dg_state_get_int(source, "interventions", &s.interventions));
    DG_TRY(dg_state_get_int(source, "rollbacks", &s.rollbacks));
    DG_TRY(dg_state_get_int(source, "kick", &s.kick));
    if (!(s.reduction > 0 && s.reduction <= 1 && s.boost >= 1 && isfinite(s.boost)))
        return DG_FAIL(DG_ERR_FORMAT, "the checkpoint's rules are damaged: rates times %g and %g", s.reduction,
                       s.boost);
    ((dg_trainer *)object)->rules = s;
    return DG_OK;
}

/* A sink and a source that put the name of a state before those of its arrays. */
typedef struct within {
    const dg_state_sink *sink;
    const dg_state_source *source;
    const char *state;
} within;

enum { WITHIN_NAME = 2 * DG_PARAM_NAME };

static void name_within(const within *w, const char *name, char full[WITHIN_NAME])
{
    snprintf(full, WITHIN_NAME, "%s/%s", w->state, name);
}

static dg_status put_within(void *context, const char *name, dg_dtype type, int rank, const int64_t *shape,
                            const void *values)
{
    const within *w = context;
    char full[WITHIN_NAME];
    name_within(w, name, full);
    return w->sink->put(w->sink->context, full, type, rank, shape, values);
}

static dg_status put_text_within(void *context, const char *name, const char *text)
{
    const within *w = context;
    char full[WITHIN_NAME];
    name_within(w, name, full);
    return w->sink->put_text(w->sink->context, full, text);
}

static dg_status get_within(void *context, const char *name, dg_dtype type, int rank, const int64_t *shape,
                            void *values)
{
    const within *w = context;
    char full[WITHIN_NAME];
    name_within(w, name, full);
    return w->source->get(w->source->context, full, type, rank, shape, values);
}

static dg_status get_text_within(void *context, const char *name, char *text, size_t capacity)
{
    const within *w = context;
    char full[WITHIN_NAME];
    name_within(w, name, full);
    return w->source->get_text(w->source->context, full, text, capacity);
}

static bool has_within(void *context, const char *name)
{
    const within *w = context;
    char full[WITHIN_NAME];
    name_within(w, name, full);
    return w->source->has(w->source->context, full);
}

static dg_status save_best(const void *object, const dg_state_sink *sink)
{
    const dg_trainer *t = object;
    DG_TRY(dg_state_put_int(sink, "known", t->best != NULL));
    const dg_state_registry *kept = t->best != NULL ? dg_state_frozen_registry(t->best) : NULL;
    for (int i = 0; kept != NULL && i < kept->count; i++) {
        within w = {.sink = sink, .state = kept->item[i].name};
        const dg_state_sink inner = {.context = &w, .put = put_within, .put_text = put_text_within};
        DG_TRY(dg_state_save(&kept->item[i], &inner));
    }
    return DG_OK;
}

/* Through the objects themselves, whose own states are loaded after this one. */
static dg_status load_best(void *object, const dg_state_source *source, int version)
{
    (void)version;
    dg_trainer *t = object;
    int64_t known;
    DG_TRY(dg_state_get_int(source, "known", &known));
    if (known == 0) return DG_OK;
    for (int i = 0; i < t->learned.count; i++) {
        const dg_state *state = &t->learned.item[i];
        within w = {.source = source, .state = state->name};
        const dg_state_source inner = {
            .context = &w, .get = get_within, .get_text = get_text_within, .has = has_within};
        DG_TRY(state->load(state->object, &inner, state->version));
    }
    if (t->best == NULL) DG_TRY(dg_state_frozen_create(&t->learned, &t->best));
    return dg_state_frozen_take(t->best);
}

dg_status trainer_controls_register_first(dg_trainer *t)
{
    if (!rolls_back(t)) return DG_OK;
    return dg_state_register(
        &t->registry, (dg_state){.name = "best", .version = 1, .object = t, .save = save_best, .load = load_best});
}

dg_status trainer_controls_register(dg_trainer *t)
{
    const dg_rules_config *rules = &t->config.train.rules;
    if (!rolls_back(t) && rules->plateau.patience == 0 && t->config.optim.schedule.kind != DG_SCHEDULE_PLATEAU)
        return DG_OK;
    return dg_state_register(
        &t->registry, (dg_state){.name = "rules", .version = 1, .object = t, .save = save_rules, .load = load_rules});
}
