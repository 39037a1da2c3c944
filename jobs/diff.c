/* diff.c - `dosegrid diff`: what differs between runs, configurations and conditions of a sweep, with the origin of
 * every value. Rank 0 works. SPDX-License-Identifier: Apache-2.0 */
#include "diff_impl.h"
#include "job.h"

#include "dg_mem.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef struct settings {
    char output[DG_OPT_TEXT], markdown[DG_OPT_TEXT];
    bool json;
} settings;

#define AT(field) .offset = offsetof(settings, field)
/* clang-format off */
static const dg_option rows[] = {
    {.key = "diff.output", .flag = "output", .letter = 'o', .type = DG_OPT_STRING, AT(output), .fallback = "", .unit = "",
     .help = "the differences as JSON (doc/diff.md)"},
    {.key = "diff.markdown", .flag = "markdown", .type = DG_OPT_STRING, AT(markdown), .fallback = "", .unit = "",
     .help = "the tables as a Markdown file; without it they go to standard output"},
    {.key = "diff.json", .flag = "json", .type = DG_OPT_BOOL, AT(json), .fallback = "false", .unit = "",
     .help = "prints the differences as JSON"},
};
/* clang-format on */

static dg_status write_text(const char *path, const char *text)
{
    return path[0] == '\0' ? DG_OK : dg_file_write(path, text, (int64_t)strlen(text));
}

static dg_status tell(const dg_job_env *env, const settings *s, json_t *diff)
{
    char *tables = NULL, *text = json_dumps(diff, JSON_INDENT(1) | JSON_REAL_PRECISION(15));
    dg_status status =
        text == NULL ? DG_FAIL(DG_ERR_MEMORY, "no memory for the JSON output") : write_text(s->output, text);
    free(text);
    if (status == DG_OK) status = dg_diff_markdown(diff, &tables);
    if (status == DG_OK) status = write_text(s->markdown, tables);
    if (status == DG_OK && s->json) status = dg_job_print_json(env, json_incref(diff));
    if (status == DG_OK && !s->json && s->markdown[0] == '\0') fputs(tables, stdout);
    dg_free(&tables);
    return status;
}

static dg_status work(const dg_job_env *env, const settings *s, const char *const *argument, int count)
{
    diff_sides *sides;
    json_t *diff = NULL;
    DG_TRY(DG_NEW(&sides, 1, "inputs"));
    dg_status status = DG_OK;
    for (int i = 0; i < count && status == DG_OK; i++) status = diff_sides_add(argument[i], sides);
    if (status == DG_OK) status = dg_diff_make(sides->side, sides->count, &diff);
    if (status == DG_OK) status = tell(env, s, diff);
    json_decref(diff);
    diff_sides_release(sides);
    dg_free(&sides);
    return status;
}

static dg_status run(const dg_job_env *env, int argc, char *const *argv, int *exit_code)
{
    settings s;
    dg_options options;
    const char *argument[DG_DIFF_SIDES_MAX];
    int count;
    bool helped;
    (void)exit_code;
    dg_job_arguments arguments = {.usage = "[NAME=]RUN|CONFIG.yaml|SWEEP.yaml... [-o DIFF.json] [--markdown DIFF.md]",
                                  .rows = rows,
                                  .row_count = sizeof rows / sizeof rows[0],
                                  .target = &s,
                                  .positional = argument,
                                  .positional_min = 1,
                                  .positional_max = DG_DIFF_SIDES_MAX};
    DG_TRY(dg_job_read_arguments(env, &dg_job_diff, &arguments, argc, argv, &options, &count, &helped));
    if (helped) return DG_OK;
    dg_options_release(&options);
    return dg_comm_agree(env->comm, env->comm->rank == 0 ? work(env, &s, argument, count) : DG_OK);
}

const dg_job dg_job_diff = {
    .name = "diff",
    .summary = "what differs between runs, configurations or conditions of a sweep, with the origin of every value",
    .run = run};
