/* run_force.c - see run_force.h. SPDX-License-Identifier: Apache-2.0 */
#include "run_force.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the governing setting must be for the key to count. */
typedef enum demand { MORE_THAN_ZERO, TRUE, EMPTY, IS, IS_NOT, NOT_LEARNED } demand;

static const struct rule {
    const char *key, *governor;
    demand demand;
    const char *word;
} rules[] = {
    {"loss.huber.delta", "loss.huber.weight", MORE_THAN_ZERO, NULL},
    {"loss.poisson.eps", "loss.poisson.weight", MORE_THAN_ZERO, NULL},
    {"loss.perceptual.file", "loss.perceptual.weight", MORE_THAN_ZERO, NULL},
    {"loss.perceptual.architecture", "loss.perceptual.weight", MORE_THAN_ZERO, NULL},
    {"loss.perceptual.layers", "loss.perceptual.weight", MORE_THAN_ZERO, NULL},
    {"loss.perceptual.every", "loss.perceptual.weight", MORE_THAN_ZERO, NULL},
    {"loss.adversarial.base", "loss.adversarial.weight", MORE_THAN_ZERO, NULL},
    {"loss.adversarial.layers", "loss.adversarial.weight", MORE_THAN_ZERO, NULL},
    {"loss.adversarial.start", "loss.adversarial.weight", MORE_THAN_ZERO, NULL},
    {"loss.adversarial.lr", "loss.adversarial.weight", MORE_THAN_ZERO, NULL},
    {"loss.adversarial.beta1", "loss.adversarial.weight", MORE_THAN_ZERO, NULL},
    {"loss.adversarial.beta2", "loss.adversarial.weight", MORE_THAN_ZERO, NULL},
    {"loss.adversarial.clip", "loss.adversarial.weight", MORE_THAN_ZERO, NULL},
    {"loss.dvh.goals", "loss.dvh.weight", MORE_THAN_ZERO, NULL},
    {"loss.dvh.min_voxels", "loss.dvh.weight", MORE_THAN_ZERO, NULL},
    {"loss.dvh.window", "loss.dvh.weight", MORE_THAN_ZERO, NULL},
    {"loss.dvh.vx_temperature", "loss.dvh.weight", MORE_THAN_ZERO, NULL},
    {"loss.structure.inside", "loss.structure.weight", MORE_THAN_ZERO, NULL},
    {"loss.structure.near", "loss.structure.weight", MORE_THAN_ZERO, NULL},
    {"loss.structure.elsewhere", "loss.structure.weight", MORE_THAN_ZERO, NULL},
    {"loss.structure.near_mm", "loss.structure.weight", MORE_THAN_ZERO, NULL},
    {"loss.structure.targets", "loss.structure.weight", MORE_THAN_ZERO, NULL},
    {"loss.structure.organs", "loss.structure.weight", MORE_THAN_ZERO, NULL},
    {"loss.asymmetric.ratio", "loss.asymmetric.weight", MORE_THAN_ZERO, NULL},
    {"loss.asymmetric.targets", "loss.asymmetric.weight", MORE_THAN_ZERO, NULL},
    /* Learned weights: of a weight only whether it is 0 counts. */
    {"loss.mse.weight", "loss.weighting", NOT_LEARNED, NULL},
    {"loss.mae.weight", "loss.weighting", NOT_LEARNED, NULL},
    {"loss.huber.weight", "loss.weighting", NOT_LEARNED, NULL},
    {"loss.poisson.weight", "loss.weighting", NOT_LEARNED, NULL},
    {"loss.gradient.weight", "loss.weighting", NOT_LEARNED, NULL},
    {"loss.ssim.weight", "loss.weighting", NOT_LEARNED, NULL},
    {"loss.perceptual.weight", "loss.weighting", NOT_LEARNED, NULL},
    {"loss.dvh.weight", "loss.weighting", NOT_LEARNED, NULL},
    {"loss.structure.weight", "loss.weighting", NOT_LEARNED, NULL},
    {"loss.asymmetric.weight", "loss.weighting", NOT_LEARNED, NULL},
    {"data.split.train", "data.split.file", EMPTY, NULL},
    {"data.split.val", "data.split.file", EMPTY, NULL},
    {"data.split.test", "data.split.file", EMPTY, NULL},
    {"data.split.seed", "data.split.file", EMPTY, NULL},
    {"data.high_dose_fraction", "data.patch", IS_NOT, "auto"},
    {"data.frame", "data.patch", IS_NOT, "auto"},
    {"model.cond_channels", "data.constraints", TRUE, NULL},
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
    {"optim.swa.every", "optim.swa.start", IS_NOT, "none"},
    {"optim.grad_noise.decay", "optim.grad_noise.std", MORE_THAN_ZERO, NULL},
    {"train.weight_noise.every", "train.weight_noise.start", IS_NOT, "none"},
    {"train.weight_noise.std", "train.weight_noise.start", IS_NOT, "none"},
    {"train.weight_noise.decay", "train.weight_noise.start", IS_NOT, "none"},
    {"train.plateau.lr_factor", "train.plateau.patience", MORE_THAN_ZERO, NULL},
    {"train.plateau.lr_cap", "train.plateau.patience", MORE_THAN_ZERO, NULL},
    {"train.plateau.noise", "train.plateau.patience", MORE_THAN_ZERO, NULL},
    {"train.plateau.max", "train.plateau.patience", MORE_THAN_ZERO, NULL},
    {"train.mtbi_h", "train.checkpoint_every", IS, "auto"},
    {"train.degradation_factor", "train.on_degradation", IS_NOT, "ignore"},
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

static bool holds(const struct rule *rule, const json_t *own, const json_t *governor)
{
    switch (rule->demand) {
    case MORE_THAN_ZERO: return json_number_value(governor) > 0;
    case TRUE: return json_is_true(governor);
    case EMPTY: return is_word(governor, "");
    case IS: return is_word(governor, rule->word);
    case IS_NOT: return !is_word(governor, rule->word);
    case NOT_LEARNED: return !is_word(governor, "learned") || !(json_number_value(own) > 0);
    }
    return true;
}

bool dg_run_in_force(const json_t *config, const char *key, char *why, size_t capacity)
{
    why[0] = '\0';
    for (int i = 0; i < RULES; i++) {
        if (strcmp(rules[i].key, key) != 0) continue;
        const json_t *own = value_of(config, key), *governor = value_of(config, rules[i].governor);
        if (own == NULL || governor == NULL || holds(&rules[i], own, governor)) return true;
        char *text = json_dumps(governor, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(12));
        snprintf(why, capacity, "%s is %s%s", rules[i].governor, text == NULL ? "set" : text,
                 rules[i].demand == NOT_LEARNED ? ": of the weight only whether it is 0 counts" : "");
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
