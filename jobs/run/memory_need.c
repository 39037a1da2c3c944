/* memory_need.c - see memory_need.h. SPDX-License-Identifier: Apache-2.0 */
#include "memory_need.h"

#include "controls.h"
#include "dg_mem.h"
#include "diffusion_pass.h"
#include "diffusion_setup.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int64_t dg_memory_micro(const dg_run_config *config, int64_t samples)
{
    const dg_int_list *wanted = &config->train.micro_batch;
    if (config->train.reduction == DG_REDUCE_ORDERED || wanted->count == 0) return 1;
    return wanted->value[0] < samples ? wanted->value[0] : samples;
}

void dg_memory_plans(const dg_run_config *config, const int64_t patch_zyx[3], int64_t micro, dg_plan_config *training,
                     dg_plan_config *inference)
{
    *training = (dg_plan_config){.n = micro,
                                 .z = patch_zyx[0],
                                 .y = patch_zyx[1],
                                 .x = patch_zyx[2],
                                 .dtype = dg_run_dtype(config->train.dtype),
                                 .training = true,
                                 .recompute = config->train.recompute};
    *inference = *training;
    inference->n = 1;
    inference->training = inference->recompute = false;
    inference->dtype = dg_run_dtype(config->predict.dtype);
}

/* Of two steps as a device takes them in (feed.h), and what the loss compares the output of a pass with. */
static int64_t samples_bytes(const dg_run_config *config, const dg_model *model, const int64_t patch_zyx[3],
                             const dg_memory_need *need)
{
    enum { KNOWN = 9 }; /* of an output voxel: dose, whether it counts, regions */
    int64_t sub[3];
    dg_run_config_coarsen(config, sub);
    const int64_t voxels = patch_zyx[0] * patch_zyx[1] * patch_zyx[2],
                  known = KNOWN * voxels * sub[0] * sub[1] * sub[2];
    const int64_t sample = model->config.in_channels * voxels * (int64_t)sizeof(float) + known;
    const int64_t noise = dg_run_is_diffusion(config)
                              ? dg_diffusion_pass_bytes(need->micro, voxels, model->config.in_channels - 1,
                                                        dg_run_dtype(config->train.dtype))
                              : 0;
    return 2 * need->samples * sample + need->micro * known + noise;
}

/* Of weights and optimiser, in memory for a way back. */
static int copies_of(const dg_run_config *config)
{
    const dg_rules_config *rules = &config->train.rules;
    return (config->train.on_nan == DG_NAN_ROLLBACK) + (rules->rollback.rise > 0 || rules->rollback.patience > 0);
}

/* The discriminator of an adversarial term: its plan, weights, moments and gradients, and what it takes of doses. */
static dg_status adversary_bytes(const dg_run_config *config, const dg_model *model, const int64_t patch_zyx[3],
                                 int64_t ranks, dg_memory_need *need)
{
    enum {
        DOSES = 6,
        LEARNED = 3
    }; /* voxel by voxel: four for what counts and two of its own; weights and two moments */
    const dg_adversary_config adversary =
        dg_run_config_adversary(config, model->config.in_channels, model->config.out_channels);
    const int64_t voxels = need->micro * patch_zyx[0] * patch_zyx[1] * patch_zyx[2];
    dg_plan_config training, inference;
    dg_plan_memory plan;
    dg_model *judge;
    int64_t gradients = 0, wire = 0;
    dg_status status;
    if (config->loss.adversarial.weight <= 0) return DG_OK;
    dg_memory_plans(config, patch_zyx, need->micro, &training, &inference);
    training.recompute = false;
    DG_TRY(dg_adversary_model(&adversary, &judge));
    const dg_reducer_config sums = dg_run_config_sums(config, judge->params.total);
    DG_TRY_GOTO(status, dg_plan_estimate(judge, &training, &plan, NULL), done);
    DG_TRY_GOTO(status, dg_reducer_estimate(&sums, (int)ranks, &gradients, &wire), done);
    const int64_t kept = LEARNED * plan.parameter_bytes * (1 + copies_of(config));
    need->adversary_bytes = kept + gradients + plan.arena_bytes + plan.packed_bytes +
                            voxels * (DOSES * adversary.outputs * (int64_t)sizeof(float) +
                                      (adversary.inputs + adversary.outputs) * (int64_t)dg_dtype_size(training.dtype));
    need->wire_bytes += wire;
done:
    dg_model_destroy(&judge);
    return status == DG_OK ? DG_OK : dg_error_context(status, "loss.adversarial");
}

dg_status dg_memory_need_of(const dg_run_config *config, const dg_model *model, const int64_t patch_zyx[3],
                            int64_t ranks, dg_memory_need *out)
{
    dg_plan_config training, inference;
    *out = (dg_memory_need){.samples = (config->train.batch + ranks - 1) / ranks};
    out->micro = dg_memory_micro(config, out->samples);
    dg_memory_plans(config, patch_zyx, out->micro, &training, &inference);
    DG_TRY(dg_plan_estimate(model, &training, &out->training, NULL));
    DG_TRY(dg_plan_estimate(model, &inference, &out->inference, NULL));
    const dg_reducer_config sums = dg_run_config_sums(config, model->params.total);
    DG_TRY(dg_reducer_estimate(&sums, (int)ranks, &out->reducer_bytes, &out->wire_bytes));
    DG_TRY(adversary_bytes(config, model, patch_zyx, ranks, out));
    const int moments = config->optim.kind == DG_OPTIM_ADAMW ? 2 : config->optim.momentum > 0;
    const int64_t flat = out->training.parameter_bytes,
                  learned = flat * (1 + moments + (config->optim.ema > 0 || dg_controls_averages(config)));
    out->bytes = learned + copies_of(config) * learned + out->reducer_bytes + out->training.arena_bytes +
                 out->training.packed_bytes + out->inference.arena_bytes + out->inference.packed_bytes +
                 samples_bytes(config, model, patch_zyx, out) + out->adversary_bytes;
    return DG_OK;
}

/* ---- what would take less --------------------------------------------------------------------------------------------- */

/* A change of the settings; `patch` is that of the run or a smaller one. */
typedef struct change {
    dg_run_config config;
    int64_t patch[3];
} change;

typedef struct listing {
    const dg_model *model;
    int64_t ranks;
    double now; /* bytes */
    char *text;
    size_t capacity, used;
    int listed;
} listing;

static const double MIB = 1.0 / 1048576.0;

static void say(listing *list, const char *format, ...) DG_PRINTF(2, 3);
static void say(listing *list, const char *format, ...)
{
    va_list words;
    va_start(words, format);
    const int count = vsnprintf(list->text + list->used, list->capacity - list->used, format, words);
    va_end(words);
    list->used += count > 0 ? (size_t)count : 0;
    if (list->used >= list->capacity) list->used = list->capacity - 1;
}

static void one_sample(const dg_model *model, change *c)
{
    (void)model;
    c->config.train.micro_batch = (dg_int_list){.value = {1}, .count = 1};
}

static void recompute(const dg_model *model, change *c)
{
    (void)model;
    c->config.train.recompute = true;
}

static void half_precision(const dg_model *model, change *c)
{
    (void)model;
    c->config.train.dtype = c->config.predict.dtype = DG_TYPE_BF16;
}

static void any_order(const dg_model *model, change *c)
{
    (void)model;
    c->config.train.reduction = DG_REDUCE_FAST;
}

static void shrink(const dg_model *model, change *c, int64_t quarters)
{
    int64_t multiple = dg_model_multiple(model);
    if (c->config.loss.adversarial.weight > 0 && multiple < INT64_C(1) << c->config.loss.adversarial.layers)
        multiple = INT64_C(1) << c->config.loss.adversarial.layers;
    for (int axis = 0; axis < 3; axis++) {
        const int64_t edge = c->patch[axis] * quarters / 4 / multiple * multiple;
        c->patch[axis] = edge > multiple ? edge : multiple;
    }
}

static void three_quarters(const dg_model *model, change *c) { shrink(model, c, 3); }
static void half_patch(const dg_model *model, change *c) { shrink(model, c, 2); }

/* Each by itself; a patch is named by its size. */
static const struct {
    const char *words;
    void (*apply)(const dg_model *model, change *c);
} changes[] = {{"train.micro_batch 1", one_sample},
               {"train.recompute true", recompute},
               {"train.dtype and predict.dtype bf16", half_precision},
               {"train.reduction fast", any_order},
               {NULL, three_quarters},
               {NULL, half_patch}};
enum { CHANGES = sizeof changes / sizeof changes[0] };

static void say_patch(listing *list, const change *c)
{
    say(list, " data.patch [%lld, %lld, %lld]", (long long)c->patch[0], (long long)c->patch[1], (long long)c->patch[2]);
}

/* *bytes of a run with the change; *fewer: it is worth while. */
static dg_status weigh(const listing *list, const change *with, double *bytes, bool *fewer)
{
    dg_memory_need need;
    *bytes = 0;
    *fewer = false;
    DG_TRY(dg_memory_need_of(&with->config, list->model, with->patch, list->ranks, &need));
    *bytes = (double)need.bytes;
    *fewer = *bytes < 0.99 * list->now;
    return DG_OK;
}

/* `with` and `all` are room for changed settings. */
static dg_status list_changes(listing *list, const change *now, change *with, change *all)
{
    double bytes;
    bool fewer, taken[CHANGES] = {false};
    for (int i = 0; i < CHANGES; i++) {
        *with = *now;
        changes[i].apply(list->model, with);
        DG_TRY(weigh(list, with, &bytes, &taken[i]));
        if (!taken[i]) continue;
        say(list, list->listed++ > 0 ? "," : "; with");
        if (changes[i].words != NULL)
            say(list, " %s", changes[i].words);
        else
            say_patch(list, with);
        say(list, " %.1f MiB", bytes * MIB);
    }
    *all = *now;
    for (int i = 0; i < CHANGES; i++)
        if (taken[i] && changes[i].apply != three_quarters) changes[i].apply(list->model, all);
    if (list->listed < 2) return DG_OK;
    DG_TRY(weigh(list, all, &bytes, &fewer));
    say(list, ", all of them %.1f MiB", bytes * MIB);
    return DG_OK;
}

dg_status dg_memory_alternatives(const dg_run_config *config, const dg_model *model, const int64_t patch_zyx[3],
                                 int64_t ranks, char *text, size_t capacity)
{
    dg_memory_need need;
    change *now; /* settings are too large for the stack */
    listing list = {.model = model, .ranks = ranks, .text = text, .capacity = capacity};
    text[0] = '\0';
    DG_TRY(dg_memory_need_of(config, model, patch_zyx, ranks, &need));
    DG_TRY(DG_NEW(&now, 3, "changed settings"));
    now->config = *config;
    memcpy(now->patch, patch_zyx, sizeof now->patch);
    list.now = (double)need.bytes;
    say(&list, "by `dosegrid plan` this run takes %.1f MiB of a rank", list.now * MIB);
    const dg_status status = list_changes(&list, now, &now[1], &now[2]);
    dg_free(&now);
    return status;
}
