/* compare.c - `dosegrid compare`: results of several conditions and seeds side by side. Rank 0 works.
 * SPDX-License-Identifier: Apache-2.0 */
#include "job.h"

#include "dg_compare.h"
#include "dg_file.h"
#include "dg_mem.h"
#include "results_list.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

typedef struct settings {
    char output[DG_OPT_TEXT], primary[DG_OPT_TEXT], reference[DG_OPT_TEXT], markdown[DG_OPT_TEXT], latex[DG_OPT_TEXT],
        csv[DG_OPT_TEXT], summaries[DG_OPT_TEXT];
    dg_string_list metrics;
    double alpha;
    int64_t resamples, seed;
    int compat;
    bool json;
} settings;

static const char *const compat_names[] = {"corrected", "upstream", NULL};
static const char *const word_usual[] = {"usual", NULL};

#define AT(field) .offset = offsetof(settings, field)
/* clang-format off */
static const dg_option rows[] = {
    {.key = "compare.output", .flag = "output", .letter = 'o', .type = DG_OPT_STRING, AT(output), .fallback = "", .unit = "",
     .help = "comparison (JSON)"},
    {.key = "compare.primary", .flag = "primary", .type = DG_OPT_STRING, AT(primary), .fallback = "", .unit = "",
     .help = "the one metric that claims rest on; empty: openkbp.dose_error_gy where it is, else dose_metrics.mae_gy, of segmentations segmentation_metrics.dice"},
    {.key = "compare.reference", .flag = "reference", .type = DG_OPT_STRING, AT(reference), .fallback = "", .unit = "",
     .help = "condition that the others are compared with; empty: that of the first file"},
    {.key = "compare.metrics", .flag = "metrics", .type = DG_OPT_STRING_LIST, AT(metrics), .list_min = 1,
     .list_max = DG_OPT_STRINGS_MAX, .names = word_usual, .fallback = "usual", .unit = "",
     .help = "exploratory metrics, such as dose_metrics.rmse_gy or 'gamma.*.gamma_pass_rate'; takes all arguments up to the "
             "next option"},
    {.key = "compare.alpha", .flag = "alpha", .type = DG_OPT_DOUBLE, AT(alpha), .min = 1e-6, .max = 0.5, .fallback = "0.05",
     .unit = "", .help = "family-wise error of the primary metric over conditions (Holm)"},
    {.key = "compare.resamples", .flag = "resamples", .type = DG_OPT_INT, AT(resamples), .min = 100, .max = 1000000,
     .fallback = "10000", .unit = "", .help = "bootstrap resamples of the patients"},
    {.key = "compare.seed", .flag = "seed", .type = DG_OPT_INT, AT(seed), .min = 0, .max = 9007199254740992,
     .fallback = "42", .unit = "", .help = "seed of the bootstrap"},
    {.key = "compare.compat", .flag = "compat", .type = DG_OPT_ENUM, AT(compat), .names = compat_names,
     .fallback = "corrected", .unit = "",
     .help = "upstream: the reference tool's Holm and bootstrap, its table, and its seed x case pairs (marked "
             "pseudo_replicated)"},
    {.key = "compare.markdown", .flag = "markdown", .type = DG_OPT_STRING, AT(markdown), .fallback = "", .unit = "",
     .help = "tables as Markdown"},
    {.key = "compare.latex", .flag = "latex", .type = DG_OPT_STRING, AT(latex), .fallback = "", .unit = "",
     .help = "tables as LaTeX (booktabs)"},
    {.key = "compare.csv", .flag = "csv", .type = DG_OPT_STRING, AT(csv), .fallback = "", .unit = "",
     .help = "every value in long format: case, group, seed, condition, metric, region, unit, value, reason"},
    {.key = "compare.summaries", .flag = "summaries", .type = DG_OPT_STRING, AT(summaries), .fallback = "", .unit = "",
     .help = "folder for CONDITION/cross_seed_summary.json, in the reference tool's layout"},
    {.key = "compare.json", .flag = "json", .type = DG_OPT_BOOL, AT(json), .fallback = "false", .unit = "",
     .help = "prints the comparison as JSON"},
};
/* clang-format on */

typedef struct work {
    const dg_job_env *env;
    const settings *s;
    dg_results_list list;
    dg_compare *compare;
} work;

static dg_status check_settings(const settings *s)
{
    const char *const path[] = {s->output, s->markdown, s->latex, s->csv};
    if (s->output[0] == '\0') return DG_FAIL(DG_ERR_USAGE, "-o is missing: name the comparison's file");
    for (int i = 0; i < 4; i++)
        if (path[i][0] != '\0') DG_TRY(dg_file_check_writable(path[i]));
    return s->summaries[0] == '\0' ? DG_OK : dg_make_folder(s->summaries);
}

static dg_status set_up(work *w, const char *const *argument, int count)
{
    const char *pattern[DG_OPT_STRINGS_MAX];
    DG_TRY(check_settings(w->s));
    DG_TRY(dg_results_list_read(argument, count, &w->list));
    for (int i = 0; i < w->s->metrics.count; i++) pattern[i] = w->s->metrics.value[i];
    const dg_compare_params params = {.primary = w->s->primary,
                                      .reference = w->s->reference,
                                      .pattern = pattern,
                                      .patterns = w->s->metrics.count,
                                      .alpha = w->s->alpha,
                                      .resamples = w->s->resamples,
                                      .seed = (uint64_t)w->s->seed,
                                      .upstream = w->s->compat == 1};
    return dg_compare_create(w->list.file, w->list.count, &params, &w->compare);
}

/* ---- what is written ---------------------------------------------------------------------------------------------- */

static dg_status write_text(const char *path, char **text)
{
    dg_status status = dg_file_write(path, *text, (int64_t)strlen(*text));
    dg_free(text);
    return status;
}

static dg_status write_json(const char *path, const json_t *root)
{
    char *text = json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(15));
    if (text == NULL) return DG_FAIL(DG_ERR_MEMORY, "no memory for %s", path);
    dg_status status = dg_file_write(path, text, (int64_t)strlen(text));
    free(text);
    return status;
}

static dg_status write_tables(const json_t *root, dg_table_style style, const char *path)
{
    char *text;
    if (path[0] == '\0') return DG_OK;
    DG_TRY(dg_compare_tables(root, style, &text));
    return write_text(path, &text);
}

static dg_status write_csv(const work *w)
{
    char *text;
    if (w->s->csv[0] == '\0') return DG_OK;
    DG_TRY(dg_compare_csv(w->compare, &text));
    return write_text(w->s->csv, &text);
}

/* A condition as the name of a folder: what is neither letter, digit, '-', '_' nor an inner '.' becomes '_'. */
static void folder_name(const char *condition, char out[DG_RESULTS_TEXT])
{
    size_t i = 0;
    for (; condition[i] != '\0'; i++) {
        const unsigned char c = (unsigned char)condition[i];
        const bool kept = (c < 128 && isalnum(c)) || c == '-' || c == '_' || (c == '.' && i > 0);
        out[i] = kept ? (char)c : '_';
    }
    out[i] = '\0';
}

static dg_status check_folder(const work *w, int64_t index, const char *folder)
{
    char other[DG_RESULTS_TEXT];
    for (int64_t i = 0; i < index; i++) {
        folder_name(dg_compare_condition(w->compare, i), other);
        if (strcmp(other, folder) == 0)
            return DG_FAIL(DG_ERR_USAGE, "summaries: conditions '%s' and '%s' would both be written to %s; rename one",
                           dg_compare_condition(w->compare, i), dg_compare_condition(w->compare, index), folder);
    }
    return DG_OK;
}

static dg_status write_summary(const work *w, int64_t index)
{
    char folder[DG_RESULTS_TEXT], path[DG_PATH_MAX], file[DG_PATH_MAX];
    json_t *summary;
    folder_name(dg_compare_condition(w->compare, index), folder);
    DG_TRY(check_folder(w, index, folder));
    DG_TRY(dg_path_join(path, w->s->summaries, folder));
    DG_TRY(dg_make_folder(path));
    DG_TRY(dg_path_join(file, path, "cross_seed_summary.json"));
    DG_TRY(dg_compare_summary(w->compare, index, &summary));
    dg_status status = write_json(file, summary);
    json_decref(summary);
    return status;
}

static dg_status write_summaries(const work *w)
{
    if (w->s->summaries[0] == '\0') return DG_OK;
    for (int64_t i = 0; i < dg_compare_conditions(w->compare); i++) DG_TRY(write_summary(w, i));
    return DG_OK;
}

static dg_status tell(const work *w, json_t *root)
{
    char *text;
    if (w->s->json) return dg_job_print_json(w->env, json_incref(root));
    DG_TRY(dg_compare_tables(root, DG_TABLE_PLAIN, &text));
    fputs(text, stdout);
    dg_free(&text);
    return DG_OK;
}

static dg_status report(const work *w)
{
    json_t *root;
    dg_status status;
    DG_TRY(dg_compare_json(w->compare, &root));
    DG_TRY_GOTO(status, write_tables(root, DG_TABLE_MARKDOWN, w->s->markdown), cleanup);
    DG_TRY_GOTO(status, write_tables(root, DG_TABLE_LATEX, w->s->latex), cleanup);
    DG_TRY_GOTO(status, write_csv(w), cleanup);
    DG_TRY_GOTO(status, write_summaries(w), cleanup);
    DG_TRY_GOTO(status, write_json(w->s->output, root), cleanup);
    status = tell(w, root);
cleanup:
    json_decref(root);
    return status;
}

static dg_status work_alone(const dg_job_env *env, const settings *s, const char *const *argument, int count)
{
    work *w;
    DG_TRY(DG_NEW(&w, 1, "comparison"));
    w->env = env;
    w->s = s;
    dg_status status = set_up(w, argument, count);
    if (status == DG_OK) status = report(w);
    dg_compare_destroy(&w->compare);
    dg_results_list_release(&w->list);
    dg_free(&w);
    return status;
}

static dg_status run(const dg_job_env *env, int argc, char *const *argv, int *exit_code)
{
    settings s;
    dg_options options;
    const char *argument[DG_RESULTS_FILES_MAX];
    int count;
    bool helped;
    (void)exit_code;
    dg_job_arguments arguments = {.usage =
                                      "RESULTS.json... -o COMPARISON.json [--primary METRIC] [--reference CONDITION]",
                                  .rows = rows,
                                  .row_count = sizeof rows / sizeof rows[0],
                                  .target = &s,
                                  .positional = argument,
                                  .positional_min = 1,
                                  .positional_max = DG_RESULTS_FILES_MAX};
    DG_TRY(dg_job_read_arguments(env, &dg_job_compare, &arguments, argc, argv, &options, &count, &helped));
    if (helped) return DG_OK;
    dg_status status = env->comm->rank == 0 ? work_alone(env, &s, argument, count) : DG_OK;
    dg_options_release(&options);
    return status;
}

const dg_job dg_job_compare = {
    .name = "compare",
    .summary = "conditions and seeds side by side, paired by patient: [NAME[@SEED]=]RESULTS.json...",
    .run = run};
