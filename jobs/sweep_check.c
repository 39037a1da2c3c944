/* sweep_check.c - what is settled before anything runs: every run's settings, equal terms, splits and test sets.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sweep_impl.h"

#include "dg_mem.h"
#include "diffusion_setup.h"
#include "split.h"

#include <stdio.h>
#include <string.h>

/* As train will see them: file, environment, --set, condition. */
static dg_status resolve(const sweep_work *w, const dg_sweep_run *run, dg_run_config *config)
{
    dg_options options;
    int rows, rest;
    const char *none[1];
    const dg_option *row = dg_run_config_rows(&rows);
    DG_TRY(dg_options_init(&options, row, rows, config));
    /* The parser does not write to its arguments; its type is that of main's. */
    dg_status status = dg_options_read_arguments(&options, w->sets, (char *const *)w->set, none, 0, &rest);
    if (status == DG_OK) status = dg_run_config_read_environment(&options);
    if (status == DG_OK) status = dg_sweep_apply_run(&w->plan, run, &options);
    if (status == DG_OK) status = dg_run_config_check(config);
    dg_options_release(&options);
    return status == DG_ERR_USAGE ? dg_error_context(status, "experiment %s", run->name) : status;
}

/* ---- equal terms ------------------------------------------------------------------------------------------------- */

static dg_status unequal(const sweep_work *w, int condition, const char *key, const char *a, const char *b)
{
    return DG_FAIL(DG_ERR_USAGE,
                   "%s is %s in condition %s and %s in condition %s: compared conditions get equal steps, samples and "
                   "cases; set it in `base` or `set`",
                   key, a, w->plan.condition[0].name, b, w->plan.condition[condition].name);
}

static dg_status check_end(const dg_run_config *c, const char *name)
{
    if (c->train.minutes > 0 || c->train.early_stopping.patience > 0)
        return DG_FAIL(DG_ERR_USAGE,
                       "condition %s ends by train.minutes or train.early_stopping.patience: compared conditions get "
                       "equal steps; set both to 0 and train.steps to the length of every run",
                       name);
    return DG_OK;
}

static dg_status check_equal(const sweep_work *w, int condition, const dg_run_config *a, const dg_run_config *b)
{
    const struct {
        const char *key;
        double a, b;
    } number[] = {{"train.steps", (double)a->train.steps, (double)b->train.steps},
                  {"train.epochs", a->train.epochs, b->train.epochs},
                  {"train.batch", (double)a->train.batch, (double)b->train.batch},
                  {"data.split.train", a->data.split.train, b->data.split.train},
                  {"data.split.val", a->data.split.val, b->data.split.val},
                  {"data.split.test", a->data.split.test, b->data.split.test},
                  {"data.split.seed", (double)a->data.split.seed, (double)b->data.split.seed}};
    const struct {
        const char *key, *a, *b;
    } text[] = {{"data.cohort", a->data.cohort, b->data.cohort},
                {"data.split.file", a->data.split.file, b->data.split.file}};
    char left[32], right[32];
    for (size_t i = 0; i < sizeof number / sizeof number[0]; i++) {
        if (number[i].a == number[i].b) continue;
        snprintf(left, sizeof left, "%.12g", number[i].a);
        snprintf(right, sizeof right, "%.12g", number[i].b);
        return unequal(w, condition, number[i].key, left, right);
    }
    for (size_t i = 0; i < sizeof text / sizeof text[0]; i++)
        if (strcmp(text[i].a, text[i].b) != 0) return unequal(w, condition, text[i].key, text[i].a, text[i].b);
    const dg_int_list *p = &a->data.patch, *q = &b->data.patch;
    bool same = p->count == q->count;
    for (int i = 0; i < p->count && same; i++) same = p->value[i] == q->value[i];
    return same ? DG_OK : unequal(w, condition, "data.patch", "of one size", "of another");
}

/* What is judged has been drawn, and kept: a run keeps its samples where it judges several itself. */
static dg_status check_members(const sweep_work *w, const sweep_job *job)
{
    const sweep_job *from = &w->job[job->drawn];
    const char *name = w->plan.condition[job->run.condition].name;
    if (job->members > 1 && !job->is_diffusion)
        return DG_FAIL(DG_ERR_USAGE,
                       "condition %s judges %lld members, and its network gives one dose: set evaluate.members to 1 or "
                       "0",
                       name, (long long)job->members);
    if (job->members > 1 && job->members > from->diffusion.ensemble)
        return DG_FAIL(DG_ERR_USAGE, "condition %s judges %lld members, and %s draws %lld (diffusion.ensemble)", name,
                       (long long)job->members, w->plan.condition[from->run.condition].name,
                       (long long)from->diffusion.ensemble);
    if (job != from && from->members < 2)
        return DG_FAIL(DG_ERR_USAGE,
                       "condition %s judges members of %s, which keeps none: give that evaluate.members above 1", name,
                       w->plan.condition[from->run.condition].name);
    return DG_OK;
}

/* Runs are filled condition by condition within a seed and fold: the sources of a run come before it. */
static dg_status check_source(const sweep_work *w, int index)
{
    const sweep_job *job = &w->job[index];
    if (job->trained != index && !job->is_diffusion)
        return DG_FAIL(DG_ERR_USAGE,
                       "condition %s: weights_of is for a diffusion (model.kind diffusion_unet), whose doses "
                       "can be drawn and judged otherwise",
                       w->plan.condition[job->run.condition].name);
    return check_members(w, job);
}

static dg_status fill_job(sweep_work *w, int index, const dg_run_config *config)
{
    sweep_job *job = &w->job[index];
    job->run = dg_sweep_run_at(&w->plan, index);
    DG_TRY(dg_sweep_run_folder(&w->plan, &job->run, job->folder));
    DG_TRY(dg_path_join(job->results, job->folder, "evaluation_results.json"));
    snprintf(job->cohort, sizeof job->cohort, "%s", config->data.cohort);
    job->trained = dg_sweep_trained(&w->plan, index);
    job->drawn = dg_sweep_drawn(&w->plan, index);
    job->diffusion = config->diffusion;
    job->is_diffusion = dg_run_is_diffusion(config);
    job->members = config->evaluate.members;
    DG_TRY(check_source(w, index));
    job->stage = sweep_stage_reached(job, index);
    job->state = job->stage == STAGE_COMPARE ? SWEEP_DONE : SWEEP_WAITING;
    return job->state == SWEEP_DONE ? sweep_note_lost_cases(job) : DG_OK;
}

/* Conditions may learn from other labels; what they are judged by is the same. */
static void judge_by(sweep_work *w, const dg_run_config *config)
{
    w->labels = config->data.target == DG_TARGET_LABELS;
    w->judging[0] = config->data.labels.foreground;
    w->judging[1] = config->data.labels.background;
    w->judging[2] = config->data.labels.ignore;
}

/* Runs of one seed and fold differ in the condition alone; config[0] is that of the first condition. */
static dg_status resolve_all(sweep_work *w, dg_run_config *config)
{
    const int each = w->plan.seeds * w->plan.folds;
    for (int i = 0; i < each; i++) {
        for (int condition = 0; condition < w->plan.conditions; condition++) {
            const int index = condition * each + i;
            const dg_sweep_run run = dg_sweep_run_at(&w->plan, index);
            dg_run_config *own = &config[condition > 0];
            DG_TRY(resolve(w, &run, own));
            DG_TRY(check_end(own, w->plan.condition[condition].name));
            if (condition > 0) DG_TRY(check_equal(w, condition, &config[0], own));
            DG_TRY(fill_job(w, index, own));
            if (condition == w->plan.reference) judge_by(w, own);
        }
    }
    w->steps = config->train.steps > 0 || config->train.epochs > 0 ? config->train.steps : DG_RUN_STEPS;
    w->epochs = config->train.epochs;
    w->batch = config->train.batch;
    return DG_OK;
}

dg_status sweep_resolve_all(sweep_work *w)
{
    dg_run_config *config;
    w->jobs = dg_sweep_runs(&w->plan);
    dg_free(&w->job);
    DG_TRY(DG_NEW(&w->job, w->jobs, "runs of the sweep"));
    DG_TRY(DG_NEW(&config, 2, "settings"));
    dg_status status = resolve_all(w, config);
    dg_free(&config);
    return status;
}

/* ---- splits ------------------------------------------------------------------------------------------------------ */

/* Test cases of each variant of the split: one, one a seed, or one a fold. */
typedef struct variants {
    int count;
    dg_split split[DG_SWEEP_SEEDS_MAX];
} variants;

static void variant_name(const sweep_work *w, int index, char text[48])
{
    if (w->plan.split == DG_SWEEP_PER_SEED)
        snprintf(text, 48, "seed %lld", (long long)w->plan.seed[index]);
    else
        snprintf(text, 48, w->plan.split == DG_SWEEP_KFOLD ? "fold %d" : "all runs", index);
}

static dg_status write_fold(const sweep_work *w, int fold, const dg_split *split, const dg_cohort *cohort)
{
    char path[DG_PATH_MAX];
    DG_TRY(dg_path_join(path, w->plan.folder, "splits"));
    DG_TRY(dg_make_folder(path));
    DG_TRY(dg_sweep_fold_file(&w->plan, fold, path));
    char *slash = strrchr(path, '/');
    *slash = '\0';
    return sweep_write_json(path, slash + 1, dg_split_to_json(split, cohort));
}

static dg_status make_variant(const sweep_work *w, const dg_run_config *config, const dg_cohort *cohort, int index,
                              variants *v)
{
    dg_split_config split = dg_run_config_split(config);
    if (w->plan.split == DG_SWEEP_KFOLD) {
        DG_TRY(dg_split_fold(&split, cohort, w->plan.folds, index, &v->split[index]));
        v->count++;
        return write_fold(w, index, &v->split[index], cohort);
    }
    if (w->plan.split == DG_SWEEP_PER_SEED) {
        split.seed = w->plan.seed[index];
        split.file[0] = '\0';
    }
    DG_TRY(dg_split_make(&split, cohort, &v->split[index]));
    v->count++;
    return DG_OK;
}

static int64_t shared_cases(const dg_split *a, const dg_split *b)
{
    int64_t shared = 0;
    for (int64_t i = 0; i < a->count[DG_PART_TEST]; i++)
        for (int64_t k = 0; k < b->count[DG_PART_TEST]; k++)
            shared += a->index[DG_PART_TEST][i] == b->index[DG_PART_TEST][k];
    return shared;
}

/* {"split": "per_seed", "variants": [{"name", "train": [..], "val", "test"}], "overlap": [{"a", "b", "shared",
 * "of"}]} */
static dg_status tell_test_sets(const sweep_work *w, const variants *v, const dg_cohort *cohort)
{
    static const char *const kinds[] = {"locked", "per_seed", "kfold"};
    char name[48], other[48];
    json_t *list = json_array(), *overlap = json_array();
    for (int i = 0; i < v->count; i++) {
        variant_name(w, i, name);
        json_t *entry = dg_split_to_json(&v->split[i], cohort);
        json_object_set_new(entry, "name", json_string(name));
        json_array_append_new(list, entry);
        dg_log_write(w->env->log, DG_LOG_INFO, "split, %s: %lld train, %lld validation, %lld test cases", name,
                     (long long)v->split[i].count[DG_PART_TRAIN], (long long)v->split[i].count[DG_PART_VAL],
                     (long long)v->split[i].count[DG_PART_TEST]);
        for (int k = 0; k < i; k++) {
            const int64_t shared = shared_cases(&v->split[k], &v->split[i]), of = v->split[i].count[DG_PART_TEST];
            variant_name(w, k, other);
            dg_log_write(w->env->log, DG_LOG_INFO, "test sets of %s and %s share %lld of %lld cases", other, name,
                         (long long)shared, (long long)of);
            json_array_append_new(overlap, json_pack("{s:s, s:s, s:I, s:I}", "a", other, "b", name, "shared",
                                                     (json_int_t)shared, "of", (json_int_t)of));
        }
    }
    if (w->plan.split == DG_SWEEP_LOCKED)
        dg_log_write(w->env->log, DG_LOG_INFO, "test set: locked, the same cases in all %d runs", w->jobs);
    return sweep_write_json(
        w->plan.folder, "test_cases.json",
        json_pack("{s:s, s:o, s:o}", "split", kinds[w->plan.split], "variants", list, "overlap", overlap));
}

static dg_status settle(const sweep_work *w, const dg_run_config *config, variants *v)
{
    dg_cohort *cohort = NULL;
    const int count = w->plan.split == DG_SWEEP_PER_SEED ? w->plan.seeds
                      : w->plan.split == DG_SWEEP_KFOLD  ? w->plan.folds
                                                         : 1;
    DG_TRY(dg_cohort_open(config->data.cohort, &cohort));
    dg_status status = DG_OK;
    for (int i = 0; i < count && status == DG_OK; i++) status = make_variant(w, config, cohort, i, v);
    if (status == DG_OK && v->split[0].count[DG_PART_TEST] == 0)
        status = DG_FAIL(DG_ERR_USAGE, "the split leaves no test case to compare by: give data.split.test a share");
    if (status == DG_OK) status = tell_test_sets(w, v, cohort);
    for (int i = 0; i < v->count; i++) dg_split_release(&v->split[i]);
    dg_cohort_close(&cohort);
    return status;
}

dg_status sweep_settle_splits(const sweep_work *w)
{
    dg_run_config *config;
    variants *v = NULL;
    DG_TRY(DG_NEW(&config, 1, "settings"));
    dg_status status = DG_NEW(&v, 1, "splits");
    if (status == DG_OK) status = resolve(w, &w->job[0].run, config);
    if (status == DG_OK) status = settle(w, config, v);
    dg_free(&v);
    dg_free(&config);
    return status;
}
