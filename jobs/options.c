/* options.c - `dosegrid options`: every setting of a run, as Markdown (doc/options.md) or JSON.
 * SPDX-License-Identifier: Apache-2.0 */
#include "job.h"
#include "run_config.h"

#include "dg_mem.h"

typedef struct settings {
    bool json;
} settings;

static const dg_option rows[] = {{.key = "json",
                                  .flag = "json",
                                  .type = DG_OPT_BOOL,
                                  .offset = offsetof(settings, json),
                                  .fallback = "false",
                                  .unit = "",
                                  .help = "defaults as JSON"}};

static void print_markdown(const dg_options *options)
{
    printf(
        "# Settings of a run\n\n"
        "Printed by `dosegrid options` from the table in `jobs/run/run_config.c`. A setting comes from its default, a "
        "YAML file,\nthe environment (`DG_TRAIN__STEPS=10`) or the command line (`--set train.steps=10`); later ones "
        "win.\nA loss term may be written short: `loss.mse: 1` is `loss.mse.weight: 1`.\n\n");
    dg_options_print_markdown(options, stdout);
}

static dg_status run(const dg_job_env *env, int argc, char *const *argv, int *exit_code)
{
    settings s;
    dg_options own, all;
    dg_run_config *config;
    bool helped;
    int count, row_count;
    dg_job_arguments arguments = {.usage = "[--json]", .rows = rows, .row_count = 1, .target = &s};
    DG_TRY(dg_job_read_arguments(env, &dg_job_options, &arguments, argc, argv, &own, &count, &helped));
    if (helped) return DG_OK;
    dg_options_release(&own);
    const dg_option *run_rows = dg_run_config_rows(&row_count);
    DG_TRY(DG_NEW(&config, 1, "settings"));
    dg_status status;
    DG_TRY_GOTO(status, dg_options_init(&all, run_rows, row_count, config), cleanup);
    if (s.json)
        status = dg_job_print_json(env, dg_options_to_json(&all));
    else if (env->comm->rank == 0)
        print_markdown(&all);
    dg_options_release(&all);
cleanup:
    dg_free(&config);
    return status;
}

const dg_job dg_job_options = {.name = "options", .summary = "list every setting of a run", .run = run};
