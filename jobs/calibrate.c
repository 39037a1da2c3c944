/* calibrate.c - `dosegrid calibrate`: start values of learned loss weights. SPDX-License-Identifier: Apache-2.0 */
#include "job.h"
#include "loss_setup.h"

#include "dg_mem.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

typedef struct settings {
    dg_run_config config; /* first: the rows of run_config point into it */
    char output[DG_OPT_TEXT];
    int64_t samples;
    double noise_gy;
    bool json;
} settings;

/* clang-format off */
static const dg_option extra[] = {
    {.key = "calibrate.output", .flag = "output", .letter = 'o', .type = DG_OPT_STRING, .offset = offsetof(settings, output),
     .fallback = "calib.json", .unit = "", .help = "JSON file for loss.calibration"},
    {.key = "calibrate.samples", .flag = "samples", .type = DG_OPT_INT, .offset = offsetof(settings, samples), .min = 1,
     .max = 1e6, .fallback = "20", .unit = "", .help = "training samples that are looked at"},
    {.key = "calibrate.noise", .flag = "noise", .type = DG_OPT_DOUBLE, .offset = offsetof(settings, noise_gy), .min = 1e-6,
     .max = 1000, .fallback = "5", .unit = "Gy", .help = "standard deviation of the noise on the clinical dose"},
    {.key = "calibrate.json", .flag = "json", .type = DG_OPT_BOOL, .offset = offsetof(settings, json), .fallback = "false",
     .unit = "", .help = "print the result as JSON"},
};
/* clang-format on */

/* A term that is 0 throughout starts at the lowest width: once it awakes, it would rule the others. */
static void warn_idle(const dg_job_env *env, const dg_loss_calibration *c)
{
    for (int k = 0; k < c->count; k++)
        if (c->mean[k] == 0)
            dg_log_write(env->log, DG_LOG_WARNING,
                         "%s was 0 in all %lld samples, so its weight starts at its highest: %s", c->name[k],
                         (long long)c->samples,
                         strcmp(c->name[k], "dvh") == 0
                             ? "structures of fewer than loss.dvh.min_voxels voxels of the patch give no goal"
                             : "does any training case have its structures?");
}

static dg_status show(const dg_job_env *env, const settings *s, const dg_loss_calibration *c)
{
    if (s->json) {
        json_t *sigmas = json_object();
        for (int k = 0; k < c->count; k++) json_object_set_new(sigmas, c->name[k], json_real(c->log_sigma[k]));
        return dg_job_print_json(env, json_pack("{s:s, s:I, s:o}", "calibration", s->output, "samples",
                                                (json_int_t)c->samples, "log_sigma", sigmas));
    }
    for (int k = 0; k < c->count; k++)
        dg_log_write(env->log, DG_LOG_INFO, "%s: mean %.6g, log sigma %.4f", c->name[k], c->mean[k], c->log_sigma[k]);
    dg_log_write(env->log, DG_LOG_INFO, "%lld samples: %s", (long long)c->samples, s->output);
    return DG_OK;
}

static dg_status calibrate(const dg_job_env *env, settings *s)
{
    dg_loss_calibration calibration;
    if (s->config.data.cohort[0] == '\0')
        return DG_FAIL(DG_ERR_USAGE,
                       "data.cohort is not set: name the cohort, as in --set data.cohort=COHORT/cohort.h5");
    s->config.loss.calibration[0] = '\0'; /* it is what is being made */
    DG_TRY(dg_loss_calibrate(&s->config, s->samples, s->noise_gy, &calibration));
    if (calibration.count == 0)
        return DG_FAIL(DG_ERR_USAGE, "the loss has no term with a width: set loss.mse, loss.gradient, ...");
    DG_TRY(dg_loss_calibration_write(s->output, &calibration));
    warn_idle(env, &calibration);
    return show(env, s, &calibration);
}

static dg_status read_and_run(const dg_job_env *env, settings *s, const dg_option *rows, int row_count, int argc,
                              char *const *argv)
{
    dg_options options;
    const char *file[1];
    bool helped;
    int count;
    dg_job_arguments arguments = {.usage = "[CONFIG] [--set KEY=VALUE]... -o calib.json",
                                  .rows = rows,
                                  .row_count = row_count,
                                  .target = s,
                                  .positional = file,
                                  .positional_max = 1};
    DG_TRY(dg_job_read_arguments(env, &dg_job_calibrate, &arguments, argc, argv, &options, &count, &helped));
    if (helped) return DG_OK;
    dg_status status = count == 1 ? dg_job_read_config(&options, file[0]) : DG_OK;
    if (status == DG_OK) status = calibrate(env, s);
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
    DG_TRY_GOTO(status, read_and_run(env, s, rows, row_count, argc, argv), done);
done:
    dg_free(&rows);
    dg_free(&s);
    return status;
}

const dg_job dg_job_calibrate = {.name = "calibrate",
                                 .summary = "start values for learned loss weights, from noise on the clinical doses",
                                 .run = run};
