/* controls.c - see controls.h. SPDX-License-Identifier: Apache-2.0 */
#include "controls.h"

#include "dg_rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_none(const char *text) { return strcmp(text, "none") == 0; }

bool dg_controls_averages(const dg_run_config *config) { return !is_none(config->optim.swa.start); }

/* "none", "30" or "60%"; *share: a percentage. */
static dg_status read_start(const char *key, const char *text, double *value, bool *share)
{
    char *end;
    *value = -1;
    *share = false;
    if (is_none(text)) return DG_OK;
    *value = strtod(text, &end);
    *share = end != text && *end == '%';
    if (end == text || end[*share] != '\0' || !(*value >= 0) || !isfinite(*value) || (*share && *value >= 100))
        return DG_FAIL(DG_ERR_USAGE, "%s '%.60s' is neither none, nor an epoch (30), nor a share of the run (60%%)",
                       key, text);
    return DG_OK;
}

/* ---- settings that contradict each other ------------------------------------------------------------------------------- */

static dg_status check_watched(const dg_run_config *config)
{
    const dg_rules_config *rules = &config->train.rules;
    const char *watching = config->optim.schedule.kind == DG_SCHEDULE_PLATEAU         ? "optim.schedule.kind: plateau"
                           : rules->plateau.patience > 0                              ? "train.plateau"
                           : rules->rollback.rise > 0 || rules->rollback.patience > 0 ? "train.rollback"
                                                                                      : NULL;
    if (watching == NULL || config->train.validate_every > 0) return DG_OK;
    return DG_FAIL(DG_ERR_USAGE, "%s watches validations, and train.validate_every is 0: there is one at the end only",
                   watching);
}

static dg_status check_plateaus(const dg_run_config *config)
{
    const dg_rules_config *rules = &config->train.rules;
    const int64_t patience = rules->plateau.patience, stop = config->train.early_stopping.patience;
    const bool falls = config->optim.schedule.kind == DG_SCHEDULE_PLATEAU;
    if (patience > 0 && falls && rules->plateau.lr_factor > 1)
        return DG_FAIL(DG_ERR_USAGE, "optim.schedule.kind plateau lowers the rate where train.plateau raises it; set "
                                     "train.plateau.lr_factor to 1, or choose another schedule");
    if (patience > 0 && rules->plateau.lr_factor == 1 && rules->plateau.noise == 0)
        return DG_FAIL(DG_ERR_USAGE, "train.plateau does nothing with lr_factor 1 and noise 0; set one of them");
    if (patience > 0 && rules->plateau.lr_cap < rules->plateau.lr_factor)
        return DG_FAIL(DG_ERR_USAGE, "train.plateau.lr_factor %g is above train.plateau.lr_cap %g",
                       rules->plateau.lr_factor, rules->plateau.lr_cap);
    if (stop > 0 && patience >= stop)
        return DG_FAIL(DG_ERR_USAGE,
                       "train.plateau.patience %lld is not below train.early_stopping.patience %lld: the run would end "
                       "before it acts",
                       (long long)patience, (long long)stop);
    if (stop > 0 && falls && config->optim.schedule.patience >= stop)
        return DG_FAIL(
            DG_ERR_USAGE,
            "optim.schedule.patience %lld is not below train.early_stopping.patience %lld: the run would end "
            "before the rate falls",
            (long long)config->optim.schedule.patience, (long long)stop);
    return DG_OK;
}

dg_status dg_run_config_check_rules(const dg_run_config *config)
{
    double value;
    bool share;
    DG_TRY(read_start("optim.swa.start", config->optim.swa.start, &value, &share));
    DG_TRY(read_start("train.weight_noise.start", config->train.rules.weight_noise.start, &value, &share));
    if (dg_controls_averages(config) && config->optim.ema > 0)
        return DG_FAIL(DG_ERR_USAGE, "optim.ema and optim.swa both average the weights; leave one out");
    if (!dg_controls_averages(config) && config->optim.swa.lr > 0)
        return DG_FAIL(DG_ERR_USAGE, "optim.swa.lr is %g and optim.swa.start none; set that too", config->optim.swa.lr);
    if (config->train.batch_min > config->train.batch)
        return DG_FAIL(DG_ERR_USAGE, "train.batch_min %lld is above train.batch %lld",
                       (long long)config->train.batch_min, (long long)config->train.batch);
    if (config->train.batch_min > 0 && config->loss.compat == DG_LOSS_UPSTREAM)
        return DG_FAIL(DG_ERR_USAGE, "loss.compat upstream takes means over train.batch samples; leave out "
                                     "train.batch_min");
    if (config->optim.schedule.warmup > 0 && config->optim.schedule.warmup_epochs > 0)
        return DG_FAIL(DG_ERR_USAGE,
                       "optim.schedule.warmup and optim.schedule.warmup_epochs both set the warm-up; leave one out");
    DG_TRY(check_watched(config));
    return check_plateaus(config);
}

/* ---- settings as steps ------------------------------------------------------------------------------------------------- */

/* The step at which a setting begins, -1: never. */
static dg_status start_step(const char *key, const char *text, int64_t steps, double per_epoch, int64_t *out)
{
    double value;
    bool share;
    DG_TRY(read_start(key, text, &value, &share));
    *out = -1;
    if (value < 0) return DG_OK;
    if (share && steps == INT64_MAX)
        return DG_FAIL(DG_ERR_USAGE, "%s is a share of a run whose length is not known (train.minutes); give an epoch",
                       key);
    const double step = floor(share ? value / 100 * (double)steps : value * per_epoch);
    if (steps != INT64_MAX && step >= (double)steps)
        return DG_FAIL(DG_ERR_USAGE, "%s: %s begins with step %.0f, and the run ends after %lld steps (%.4g epochs)",
                       key, text, step, (long long)steps, (double)steps / per_epoch);
    *out = (int64_t)step;
    return DG_OK;
}

static int64_t interval(double epochs, double per_epoch)
{
    return (int64_t)fmax(1, round(fmin(epochs * per_epoch, 9e15)));
}

dg_status dg_controls_resolve(const dg_run_config *config, int64_t steps, int64_t cases, bool validated,
                              dg_controls *out)
{
    const double per_epoch = (double)cases / (double)config->train.batch;
    const dg_rules_config *rules = &config->train.rules;
    int64_t swa = 0;
    *out = (dg_controls){.swa_every = interval(config->optim.swa.every, per_epoch),
                         .noise_every = interval(rules->weight_noise.every, per_epoch),
                         .restart_steps = interval(config->optim.schedule.restart_epochs, per_epoch)};
    DG_TRY(start_step("optim.swa.start", config->optim.swa.start, steps, per_epoch, &swa));
    DG_TRY(start_step("train.weight_noise.start", rules->weight_noise.start, steps, per_epoch, &out->noise_start));
    out->warmup = config->optim.schedule.warmup;
    if (config->optim.schedule.warmup_epochs > 0)
        out->warmup = interval(config->optim.schedule.warmup_epochs, per_epoch);
    out->swa_start = swa < 0 ? 0 : swa > 0 ? swa : 1;
    if (config->optim.schedule.kind == DG_SCHEDULE_RESTARTS && steps != INT64_MAX &&
        out->warmup + out->restart_steps >= steps)
        return DG_FAIL(
            DG_ERR_USAGE,
            "optim.schedule.restart_epochs %g is a first cycle of %lld steps, and the run has %lld: it would "
            "never start again; choose optim.schedule.kind cosine, or shorter cycles",
            config->optim.schedule.restart_epochs, (long long)out->restart_steps, (long long)steps);
    const bool watches = config->optim.schedule.kind == DG_SCHEDULE_PLATEAU || rules->plateau.patience > 0 ||
                         rules->rollback.rise > 0 || rules->rollback.patience > 0;
    if (watches && !validated)
        return DG_FAIL(DG_ERR_USAGE,
                       "a plateau and a rollback are told by validations, and data.split leaves no case for "
                       "them");
    return DG_OK;
}

/* ---- rules ------------------------------------------------------------------------------------------------------------- */

dg_control_state dg_controls_start(void) { return (dg_control_state){.reduction = 1, .boost = 1}; }

static void reduce(const dg_run_config *config, dg_control_state *s, bool gains, dg_control_verdict *out)
{
    if (config->optim.schedule.kind != DG_SCHEDULE_PLATEAU) return;
    s->schedule_stale = gains ? 0 : s->schedule_stale + 1;
    if (s->schedule_stale <= config->optim.schedule.patience) return;
    s->schedule_stale = 0;
    if (s->reduction * config->optim.lr <= config->optim.schedule.min_lr) return;
    s->reduction *= config->optim.schedule.factor;
    s->reductions++;
    out->reduced = true;
}

static void intervene(const dg_run_config *config, dg_control_state *s, bool gains, dg_control_verdict *out)
{
    const dg_rules_config *rules = &config->train.rules;
    if (rules->plateau.patience == 0) return;
    if (gains) {
        out->calmed = s->boost > 1;
        s->plateau_stale = s->since_gain = 0;
        s->boost = 1;
        return;
    }
    if (++s->plateau_stale < rules->plateau.patience || s->since_gain >= rules->plateau.max) return;
    s->plateau_stale = 0;
    s->since_gain++;
    s->interventions++;
    s->boost = fmin(rules->plateau.lr_cap, pow(rules->plateau.lr_factor, (double)s->since_gain));
    if (rules->plateau.noise > 0) s->kick = s->interventions;
    out->intervened = true;
}

static void roll_back(const dg_run_config *config, dg_control_state *s, double value, double best,
                      dg_control_verdict *out)
{
    const dg_rules_config *rules = &config->train.rules;
    s->worse = value > best ? s->worse + 1 : 0;
    if (value < best) s->since_best = 0;
    if (!(value > best) || s->since_best >= rules->rollback.max) return;
    out->roll_back = (rules->rollback.rise > 0 && value > best * (1 + rules->rollback.rise)) ||
                     (rules->rollback.patience > 0 && s->worse >= rules->rollback.patience);
    if (!out->roll_back) return;
    s->worse = 0;
    s->since_best++;
    s->rollbacks++;
}

dg_control_verdict dg_controls_judge(const dg_run_config *config, dg_control_state *state, double value, double best,
                                     bool gains)
{
    dg_control_verdict verdict = {.reduced = false};
    reduce(config, state, gains, &verdict);
    intervene(config, state, gains, &verdict);
    roll_back(config, state, value, best, &verdict);
    return verdict;
}

double dg_controls_lr(const dg_run_config *config, const dg_control_state *state, bool averaging, double scheduled)
{
    double lr = averaging && config->optim.swa.lr > 0 ? config->optim.swa.lr : scheduled;
    if (state->reduction < 1) lr = fmax(lr * state->reduction, fmin(lr, config->optim.schedule.min_lr));
    return lr * state->boost;
}

int64_t dg_controls_batch(const dg_run_config *config, int64_t step)
{
    const int64_t most = config->train.batch, least = config->train.batch_min;
    if (least == 0 || least >= most) return most;
    dg_rng rng = dg_rng_stream((uint64_t)config->run.seed, DG_RNG_BATCH, (uint64_t)step, 0);
    return least + dg_rng_below(&rng, most - least + 1);
}

double dg_controls_weight_noise(const dg_run_config *config, const dg_controls *plan, int64_t step)
{
    const int64_t since = step - plan->noise_start;
    if (plan->noise_start < 0 || since < 0 || since % plan->noise_every != 0) return 0;
    return config->train.rules.weight_noise.std *
           pow(config->train.rules.weight_noise.decay, (double)(since / plan->noise_every));
}

double dg_controls_gradient_noise(const dg_run_config *config, int64_t step)
{
    return config->optim.grad_noise.std * pow(1 + (double)step, -config->optim.grad_noise.decay / 2);
}
