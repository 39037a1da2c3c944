/* train.c - `dosegrid train`: one run, from settings to best.h5. SPDX-License-Identifier: Apache-2.0 */
#include "job.h"
#include "sweep_plan.h"
#include "trainer.h"

#include "dg_mem.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>

typedef struct settings {
    dg_run_config config; /* first: the rows of run_config point into it */
    bool resume, json;
    char init[DG_OPT_TEXT], trace[DG_OPT_TEXT], sweep[DG_OPT_TEXT], experiment[DG_OPT_TEXT];
} settings;

#define ROW(flag_, type_, field, default_, help_)                                                                     \
    {                                                                                                                 \
        .key = "job." flag_, .flag = flag_, .type = type_, .offset = offsetof(settings, field), .fallback = default_, \
        .unit = "", .help = help_                                                                                     \
    }
static const dg_option extra[] = {
    ROW("resume", DG_OPT_BOOL, resume, "false",
        "goes on from the run's newest intact checkpoint, on any number of ranks"),
    ROW("init", DG_OPT_STRING, init, "", "checkpoint or .safetensors file whose weights the run begins with"),
    ROW("sweep", DG_OPT_STRING, sweep, "",
        "sweep file in place of CONFIG: one of its runs, as `dosegrid sweep` starts them, into experiments/CONDITION beside FILE"),
    ROW("experiment", DG_OPT_STRING, experiment, "",
        "the run of --sweep: CONDITION-sSEED, with folds CONDITION-sSEED-fFOLD"),
    ROW("trace", DG_OPT_STRING, trace, "", "writes a Chrome trace of the steps to this file"),
    ROW("json", DG_OPT_BOOL, json, "false", "prints the summary as JSON"),
};

static json_t *number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static dg_status show(const dg_job_env *env, const settings *s, const dg_trainer_summary *summary)
{
    if (!s->json) {
        char best[96] = "no validation cases: best.h5 is the last step";
        if (summary->monitor[0] != '\0')
            snprintf(best, sizeof best, "best %s %.4f at step %lld", summary->monitor, summary->best,
                     (long long)summary->best_step);
        dg_log_write(env->log, DG_LOG_INFO, "done: %lld steps in %.0f s, %.2f samples/s, %s; %s",
                     (long long)summary->step, summary->seconds, summary->samples_per_s, best, summary->folder);
        return DG_OK;
    }
    json_t *root =
        json_pack("{s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:s, s:I, s:s, s:s}", "step", (json_int_t)summary->step,
                  "skipped_steps", (json_int_t)summary->skipped, "rollbacks", (json_int_t)summary->rollbacks,
                  "val_cases_skipped", (json_int_t)summary->val_skipped, "seconds", summary->seconds, "samples_per_s",
                  summary->samples_per_s, "data_wait_s", summary->data_wait_s, "monitor", summary->monitor, "best_step",
                  (json_int_t)summary->best_step, "run", summary->folder, "weights_sha256", summary->weights_sha256);
    json_object_set_new(root, "best", number(summary->best));
    json_object_set_new(root, "val_mae_gy", number(summary->scores.mae_gy));
    json_object_set_new(root, "val_mae_ptv_gy", number(summary->scores.mae_ptv_gy));
    json_object_set_new(root, "val_dose_score", number(summary->scores.dose_score));
    json_object_set_new(root, "val_dice_error", number(summary->scores.dice_error));
    json_object_set_new(root, "val_fraction_error", number(summary->scores.fraction_error));
    json_object_set_new(root, "val_denoise_gy", number(summary->scores.denoise_gy));
    return dg_job_print_json(env, root);
}

static dg_status train(const dg_job_env *env, const settings *s, const dg_options *options)
{
    dg_trainer *trainer = NULL;
    dg_trainer_summary summary;
    dg_trainer_request request = {.options = options,
                                  .config = &s->config,
                                  .resume = s->resume,
                                  .init = s->init,
                                  .trace = s->trace,
                                  .level = dg_log_get_level(env->log)};
    DG_TRY(dg_trainer_create(env->comm, &request, &trainer));
    dg_status status = dg_trainer_run(trainer, &summary);
    dg_trainer_destroy(&trainer);
    return status == DG_OK ? show(env, s, &summary) : status;
}

/* The settings of one run of a sweep. */
static dg_status read_experiment(const settings *s, int configs, dg_options *options)
{
    dg_sweep *sweep;
    dg_sweep_run run;
    if (configs > 0 || s->sweep[0] == '\0' || s->experiment[0] == '\0')
        return DG_FAIL(DG_ERR_USAGE,
                       "--sweep FILE and --experiment NAME belong together, and take the place of CONFIG");
    DG_TRY(DG_NEW(&sweep, 1, "sweep"));
    dg_status status = dg_sweep_read(s->sweep, sweep);
    if (status == DG_OK) status = dg_sweep_find_run(sweep, s->experiment, &run);
    if (status == DG_OK) status = dg_sweep_apply_run(sweep, &run, options);
    dg_sweep_release(sweep);
    dg_free(&sweep);
    return status;
}

static dg_status read_and_train(const dg_job_env *env, settings *s, const dg_option *rows, int row_count, int argc,
                                char *const *argv)
{
    dg_options options;
    const char *file[1];
    bool helped;
    int count;
    dg_job_arguments arguments = {.usage = "[CONFIG] [--set KEY=VALUE]... [--resume] [--init CHECKPOINT]",
                                  .rows = rows,
                                  .row_count = row_count,
                                  .target = s,
                                  .positional = file,
                                  .positional_max = 1};
    DG_TRY(dg_job_read_arguments(env, &dg_job_train, &arguments, argc, argv, &options, &count, &helped));
    if (helped) return DG_OK;
    dg_status status = s->sweep[0] != '\0' || s->experiment[0] != '\0' ? read_experiment(s, count, &options)
                       : count == 1                                    ? dg_job_read_config(&options, file[0])
                                                                       : DG_OK;
    if (status == DG_OK) status = train(env, s, &options);
    dg_options_release(&options);
    return status;
}

static dg_status run(const dg_job_env *env, int argc, char *const *argv, int *exit_code)
{
    (void)exit_code;
    settings *s = NULL;
    dg_option *rows = NULL;
    int row_count;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&s, 1, "settings"), done);
    DG_TRY_GOTO(status, dg_run_config_table(extra, sizeof extra / sizeof extra[0], &rows, &row_count), done);
    DG_TRY_GOTO(status, read_and_train(env, s, rows, row_count, argc, argv), done);
done:
    dg_free(&rows);
    dg_free(&s);
    return status;
}

const dg_job dg_job_train = {
    .name = "train", .summary = "train a network on a cohort, data-parallel over ranks", .spreads = true, .run = run};
