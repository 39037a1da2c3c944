/* pack.c - `dosegrid pack`: a cohort's folder as one self-contained file, written by all ranks together.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_cohort.h"
#include "dg_file.h"
#include "dg_heartbeat.h"
#include "dg_options.h"
#include "dg_trace.h"
#include "job.h"

#include <stddef.h>

typedef struct pack_config {
    char output[DG_OPT_TEXT];
    bool force, json;
    double comm_timeout_s;
} pack_config;

/* clang-format off */
static const dg_option rows[] = {
    {.key = "pack.output", .flag = "output", .letter = 'o', .type = DG_OPT_STRING, .offset = offsetof(pack_config, output),
     .fallback = "", .unit = "", .help = "the packed file"},
    {.key = "pack.force", .flag = "force", .type = DG_OPT_BOOL, .offset = offsetof(pack_config, force), .fallback = "false",
     .unit = "", .help = "replace a file of that name"},
    DG_JOB_COMM_TIMEOUT("pack", pack_config),
    {.key = "pack.json", .flag = "json", .type = DG_OPT_BOOL, .offset = offsetof(pack_config, json), .fallback = "false",
     .unit = "", .help = "print the result as JSON"},
};
/* clang-format on */

static dg_status check_output(const pack_config *config)
{
    if (config->output[0] == '\0') return DG_FAIL(DG_ERR_USAGE, "pack: name the packed file with -o");
    if (dg_file_exists(config->output) && !config->force)
        return DG_FAIL(DG_ERR_USAGE, "pack: '%s' is there already; --force replaces it", config->output);
    return DG_OK;
}

static dg_status tell(const dg_job_env *env, const pack_config *config, double seconds)
{
    dg_cohort *cohort;
    char hex[DG_HASH_HEX];
    DG_TRY(dg_cohort_open(config->output, &cohort));
    long long count = dg_cohort_count(cohort);
    dg_status status = dg_cohort_content_hash(cohort, hex);
    dg_cohort_close(&cohort);
    if (status != DG_OK) return status;
    dg_log_write(env->log, DG_LOG_INFO, "%lld cases packed and read back in %.1f s", count, seconds);
    if (!config->json) return DG_OK;
    return dg_job_print_json(
        env, json_pack("{s:I, s:s, s:f}", "cases", (json_int_t)count, "content_sha256", hex, "seconds", seconds));
}

static dg_status pack(const dg_job_env *env, const pack_config *config, const char *folder)
{
    double start = dg_time_s();
    dg_job_watch(env, config->comm_timeout_s, "");
    DG_TRY(dg_comm_agree(env->comm, check_output(config)));
    DG_TRY(dg_comm_barrier(env->comm)); /* every rank has looked before the file appears */
    DG_TRY(dg_cohort_pack(env->comm, folder, config->output));
    return dg_comm_agree(env->comm, env->comm->rank == 0 ? tell(env, config, dg_time_s() - start) : DG_OK);
}

static dg_status run_pack(const dg_job_env *env, int argc, char *const *argv, int *exit_code)
{
    pack_config config;
    dg_options options;
    const char *folder[1];
    int positional_count = 0;
    bool helped = false;
    const dg_job_arguments arguments = {.usage = "COHORT/ -o cohort.h5 [--force]",
                                        .rows = rows,
                                        .row_count = (int)(sizeof rows / sizeof rows[0]),
                                        .target = &config,
                                        .positional = folder,
                                        .positional_min = 1,
                                        .positional_max = 1};
    DG_TRY(dg_job_read_arguments(env, &dg_job_pack, &arguments, argc, argv, &options, &positional_count, &helped));
    if (helped) return DG_OK;
    dg_status status = pack(env, &config, folder[0]);
    dg_options_release(&options);
    return status;
}

const dg_job dg_job_pack = {.name = "pack", .summary = "put a cohort into one file", .run = run_pack};
