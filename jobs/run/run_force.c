/* run_force.c - see run_force.h. SPDX-License-Identifier: Apache-2.0 */
#include "run_force.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the governing setting must be for the key to count. HAS_TERM: a weight above 0, or loss.phases name the term.
 * OR: the rule may hold in place of the one above it. */
enum { MORE_THAN_ZERO, HAS_TERM, TRUE, EMPTY, IS, IS_NOT, NOT_LEARNED, OR = 16 };

/* Rules of one key must all hold. A key that ends in '.' stands for all below it but the governor itself. */
static const struct rule {
    const char *key, *governor;
    int demand;
    const char *word;
} rules[] = {
    {"loss.huber.", "loss.huber.weight", HAS_TERM, NULL},
    {"loss.poisson.", "loss.poisson.weight", HAS_TERM, NULL},
    {"loss.dice.", "loss.dice.weight", HAS_TERM, NULL},
    {"loss.focal.", "loss.focal.weight", HAS_TERM, NULL},
    {"loss.boundary.", "loss.boundary.weight", HAS_TERM, NULL},
    {"loss.cldice.", "loss.cldice.weight", HAS_TERM, NULL},
    {"loss.connectivity.", "loss.connectivity.weight", HAS_TERM, NULL},
    {"loss.variance.", "loss.variance.weight", HAS_TERM, NULL},
    {"loss.entropy.", "loss.entropy.weight", HAS_TERM, NULL},
    {"loss.perceptual.", "loss.perceptual.weight", HAS_TERM, NULL},
    {"loss.adversarial.", "loss.adversarial.weight", HAS_TERM, NULL},
    {"loss.dvh.", "loss.dvh.weight", HAS_TERM, NULL},
    {"loss.structure.", "loss.structure.weight", HAS_TERM, NULL},
    {"loss.asymmetric.", "loss.asymmetric.weight", HAS_TERM, NULL},
    /* Learned weights: of a weight only whether it is 0 counts. */
    {"loss.mse.weight", "loss.weighting", NOT_LEARNED, NULL},
    {"loss.mae.weight", "loss.weighting", NOT_LEARNED, NULL},
    {"loss.huber.weight", "loss.weighting", NOT_LEARNED, NULL},
    {"loss.poisson.weight", "loss.weighting", NOT_LEARNED, NULL},
    {"loss.gradient.weight", "loss.weighting", NOT_LEARNED, NULL},
    {"loss.ssim.weight", "loss.weighting", NOT_LEARNED, NULL},
    {"loss.dice.weight", "loss.weighting", NOT_LEARNED, NULL},
    {"loss.focal.weight", "loss.weighting", NOT_LEARNED, NULL},
    {"loss.boundary.weight", "loss.weighting", NOT_LEARNED, NULL},
    {"loss.cldice.weight", "loss.weighting", NOT_LEARNED, NULL},
    {"loss.connectivity.weight", "loss.weighting", NOT_LEARNED, NULL},
    {"loss.variance.weight", "loss.weighting", NOT_LEARNED, NULL},
    {"loss.entropy.weight", "loss.weighting", NOT_LEARNED, NULL},
    {"loss.perceptual.weight", "loss.weighting", NOT_LEARNED, NULL},
    {"loss.dvh.weight", "loss.weighting", NOT_LEARNED, NULL},
    {"loss.structure.weight", "loss.weighting", NOT_LEARNED, NULL},
    {"loss.asymmetric.weight", "loss.weighting", NOT_LEARNED, NULL},
    {"data.split.", "data.split.file", EMPTY, NULL},
    {"data.labels.", "data.target", IS, "labels"},
    {"data.scale", "data.target", IS, "dose"},
    {"data.high_dose_fraction", "data.patch", IS_NOT, "auto"},
    {"data.frame", "data.patch", IS_NOT, "auto"},
    {"model.cond_channels", "data.constraints", TRUE, NULL},
    {"model.cond_channels", "model.kind", OR | IS, "diffusion_unet"}, /* it embeds the time too */
    {"diffusion.", "model.kind", IS, "diffusion_unet"},
    {"diffusion.schedule", "diffusion.process", IS, "ddpm"},
    {"diffusion.snr_limit", "diffusion.weighting", IS, "min_snr"},
    {"optim.beta1", "optim.kind", IS, "adamw"},
    {"optim.beta2", "optim.kind", IS, "adamw"},
    {"optim.eps", "optim.kind", IS, "adamw"},
    {"optim.momentum", "optim.kind", IS, "sgd"},
    {"optim.nesterov", "optim.kind", IS, "sgd"},
    {"optim.schedule.min_lr", "optim.schedule.kind", IS_NOT, "constant"},
    {"optim.schedule.restart_epochs", "optim.schedule.kind", IS, "cosine_restarts"},
    {"optim.schedule.restart_factor", "optim.schedule.kind", IS, "cosine_restarts"},
    {"optim.schedule.patience", "optim.schedule.kind", IS, "plateau"},
    {"optim.schedule.factor", "optim.schedule.kind", IS, "plateau"},
    {"optim.swa.", "optim.swa.start", IS_NOT, "none"},
    {"optim.grad_noise.", "optim.grad_noise.std", MORE_THAN_ZERO, NULL},
    {"train.early_stopping.min_delta", "train.early_stopping.patience", MORE_THAN_ZERO, NULL},
    {"train.early_stopping.min_delta", "train.plateau.patience", OR | MORE_THAN_ZERO, NULL},
    {"train.early_stopping.min_delta", "optim.schedule.kind", OR | IS, "plateau"},
    {"train.weight_noise.every", "train.weight_noise.start", IS_NOT, "none"},
    {"train.weight_noise.std", "train.weight_noise.start", IS_NOT, "none"},
    {"train.weight_noise.decay", "train.weight_noise.start", IS_NOT, "none"},
    {"train.weight_noise.layers", "train.weight_noise.start", IS_NOT, "none"},
    {"train.weight_noise.layers", "train.plateau.noise", OR | MORE_THAN_ZERO, NULL},
    {"train.plateau.", "train.plateau.patience", MORE_THAN_ZERO, NULL},
    {"train.rollback.max", "train.rollback.rise", MORE_THAN_ZERO, NULL},
    {"train.rollback.max", "train.rollback.patience", OR | MORE_THAN_ZERO, NULL},
    {"train.detect.every", "loss.compat", IS, "corrected"},
    {"train.detect.space", "loss.compat", IS, "corrected"},
    {"train.detect.space", "train.detect.every", IS_NOT, "auto"},
    {"train.detect.space", "data.target", OR | IS, "labels"},
    {"train.mtbi_h", "train.checkpoint_every", IS, "auto"},
    {"train.degradation_factor", "train.on_degradation", IS_NOT, "ignore"},
    {"evaluate.gamma", "data.target", IS, "dose"},
    {"evaluate.cutoff_percent", "data.target", IS, "dose"},
    {"evaluate.max_gamma", "data.target", IS, "dose"},
    {"evaluate.norm", "data.target", IS, "dose"},
    {"evaluate.gamma_method", "data.target", IS, "dose"},
    {"evaluate.local", "data.target", IS, "dose"},
    {"evaluate.interp_fraction", "data.target", IS, "dose"},
    {"evaluate.regions", "data.target", IS, "dose"},
    {"evaluate.margin_mm", "data.target", IS, "dose"},
    {"evaluate.constraint_table", "data.target", IS, "dose"},
    {"evaluate.supersample", "data.target", IS, "dose"},
    {"evaluate.dvh_rule", "data.target", IS, "dose"},
    {"evaluate.vx_gy", "data.target", IS, "dose"},
    {"evaluate.max_gamma", "evaluate.gamma", IS_NOT, "none"},
    {"evaluate.local", "evaluate.gamma", IS_NOT, "none"},
    {"evaluate.gamma_method", "evaluate.gamma", IS_NOT, "none"},
    {"evaluate.gamma_method", "evaluate.compat", IS, "corrected"},
    {"evaluate.interp_fraction", "evaluate.gamma", IS_NOT, "none"},
    {"evaluate.interp_fraction", "evaluate.gamma_method", IS, "pymedphys"},
    {"evaluate.subsample", "evaluate.compat", IS, "upstream"},
};
enum { RULES = sizeof rules / sizeof rules[0] };

static const json_t *value_of(const json_t *config, const char *key)
{
    return json_object_get(json_object_get(config, key), "value");
}

static bool is_word(const json_t *value, const char *word)
{
    return json_is_string(value) && strcmp(json_string_value(value), word) == 0;
}

/* Does a phase give a weight to the term that `key` ("loss.TERM...") is about? */
static bool phases_name(const json_t *config, const char *key)
{
    const json_t *phases = value_of(config, "loss.phases");
    const char *term = key + strlen("loss.");
    const size_t length = strcspn(term, ".");
    for (size_t i = 0; i < json_array_size(phases); i++) {
        const char *text = json_string_value(json_array_get(phases, i));
        for (const char *at = text; at != NULL && (at = strchr(at, '=')) != NULL; at++) {
            const char *name = at;
            while (name > text && isalpha((unsigned char)name[-1])) name--;
            if ((size_t)(at - name) == length && strncmp(name, term, length) == 0) return true;
        }
    }
    return false;
}

static bool holds(const json_t *config, const struct rule *rule, const char *key)
{
    const json_t *own = value_of(config, key), *governor = value_of(config, rule->governor);
    if (own == NULL || governor == NULL) return true;
    switch (rule->demand & ~OR) {
    case MORE_THAN_ZERO: return json_number_value(governor) > 0;
    case HAS_TERM: return json_number_value(governor) > 0 || phases_name(config, key);
    case TRUE: return json_is_true(governor);
    case EMPTY: return is_word(governor, "");
    case IS: return is_word(governor, rule->word);
    case IS_NOT: return !is_word(governor, rule->word);
    case NOT_LEARNED: return !is_word(governor, "learned") || !(json_number_value(own) > 0);
    }
    return true;
}

static bool speaks_of(const struct rule *rule, const char *key)
{
    const size_t length = strlen(rule->key);
    if (rule->key[length - 1] != '.') return strcmp(rule->key, key) == 0;
    return strncmp(rule->key, key, length) == 0 && strcmp(rule->governor, key) != 0;
}

bool dg_run_in_force(const json_t *config, const char *key, char *why, size_t capacity)
{
    why[0] = '\0';
    for (int i = 0; i < RULES; i++) {
        const struct rule *rule = &rules[i];
        bool good = !speaks_of(rule, key) || holds(config, rule, key);
        for (; i + 1 < RULES && (rules[i + 1].demand & OR) != 0; i++) good = good || holds(config, &rules[i + 1], key);
        if (good) continue;
        char *text =
            json_dumps(value_of(config, rule->governor), JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(12));
        snprintf(why, capacity, "%s is %s%s", rule->governor, text == NULL ? "set" : text,
                 rule->demand == NOT_LEARNED ? ": of the weight only whether it is 0 counts" : "");
        free(text);
        return false;
    }
    return true;
}

const char *dg_run_force_key(int index, const char **governor)
{
    if (index < 0 || index >= RULES) return NULL;
    *governor = rules[index].governor;
    return rules[index].key;
}
