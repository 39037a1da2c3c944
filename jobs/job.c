/* job.c - what all jobs share: arguments, --help, and JSON on standard output. SPDX-License-Identifier: Apache-2.0 */
#include "job.h"

#include "dg_file.h"
#include "dg_heartbeat.h"
#include "sweep_plan.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool wants_help(int argc, char *const *argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return true;
    return false;
}

static void print_help(const dg_job *job, const dg_job_arguments *arguments, const dg_options *options)
{
    bool has_settings = false;
    for (int i = 0; i < options->count; i++) has_settings = has_settings || options->row[i].flag == NULL;
    printf("usage: dosegrid %s %s\n\n%s.\n\n", job->name, arguments->usage, job->summary);
    dg_options_print_help(options, stdout, true);
    if (has_settings) printf("      --set KEY=VALUE         any setting of a run; `dosegrid options` lists them\n");
    printf("  -h, --help                  this text\n");
}

dg_status dg_job_read_arguments(const dg_job_env *env, const dg_job *job, const dg_job_arguments *arguments, int argc,
                                char *const *argv, dg_options *options, int *positional_count, bool *helped)
{
    dg_status status;
    *helped = wants_help(argc, argv);
    *positional_count = 0;
    DG_TRY(dg_options_init(options, arguments->rows, arguments->row_count, arguments->target));
    if (*helped) {
        if (env->comm->rank == 0) print_help(job, arguments, options);
        dg_options_release(options);
        return DG_OK;
    }
    DG_TRY_GOTO(status,
                dg_options_read_arguments(options, argc, argv, arguments->positional, arguments->positional_max,
                                          positional_count),
                fail);
    DG_TRY_GOTO(status, dg_options_read_environment(options, environ), fail);
    if (*positional_count < arguments->positional_min) {
        status = DG_FAIL(DG_ERR_USAGE, "too few arguments; usage: dosegrid %s %s", job->name, arguments->usage);
        goto fail;
    }
    return DG_OK;
fail:
    dg_options_release(options);
    return status;
}

dg_status dg_job_read_config(dg_options *options, const char *path)
{
    if (dg_sweep_is(path))
        return DG_FAIL(DG_ERR_USAGE,
                       "%s is a sweep: dosegrid sweep %s runs it, and train --sweep %s --experiment NAME one run of it",
                       path, path, path);
    return dg_options_read_yaml(options, path);
}

void dg_job_watch(const dg_job_env *env, double comm_timeout_s, const char *folder)
{
    char log[DG_PATH_MAX];
    dg_comm_set_timeout(env->comm, comm_timeout_s);
    if (folder[0] == '\0') return;
    /* Without its files a heartbeat still watches this host: no reason to stop. */
    if (dg_path_join(log, folder, "log") == DG_OK && dg_make_folder(log) == DG_OK)
        dg_heartbeat_folder(env->comm->heartbeat, log);
    else
        dg_error_clear();
}

dg_status dg_job_print_json(const dg_job_env *env, json_t *root)
{
    if (root == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for the JSON output");
    if (env->comm->rank == 0) {
        json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
        putchar('\n');
    }
    json_decref(root);
    return DG_OK;
}
