/* analyze.c - `dosegrid analyze`: what clinical doses and anatomy say before and beside any prediction, shared out over ranks case by
 * case. SPDX-License-Identifier: Apache-2.0 */
#include "job.h"

#include "analyze_impl.h"
#include "dg_file.h"
#include "dg_mem.h"
#include "dg_tasks.h"
#include "results_list.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct settings {
    char cohort[DG_OPT_TEXT], output[DG_OPT_TEXT], results[DG_OPT_TEXT], metric[DG_OPT_TEXT];
    double margin_mm, bin_mm, cutoff_percent, alpha;
    int64_t bins, threads;
    bool json;
} settings;

#define AT(field) .offset = offsetof(settings, field)
/* clang-format off */
static const dg_option rows[] = {
    {.key = "analyze.cohort", .flag = "cohort", .type = DG_OPT_STRING, AT(cohort), .fallback = "", .unit = "",
     .help = "cohort with clinical doses"},
    {.key = "analyze.output", .flag = "output", .letter = 'o', .type = DG_OPT_STRING, AT(output), .fallback = "", .unit = "",
     .help = "analysis (JSON)"},
    {.key = "analyze.results", .flag = "results", .type = DG_OPT_STRING, AT(results), .fallback = "", .unit = "",
     .help = "evaluation results whose errors are correlated with anatomy; more may follow: --results A.json B.json"},
    {.key = "analyze.metric", .flag = "metric", .type = DG_OPT_STRING, AT(metric), .fallback = "", .unit = "",
     .help = "that error; empty: openkbp.dose_error_gy where it is, else dose_metrics.mae_gy"},
    {.key = "analyze.margin", .flag = "margin", .type = DG_OPT_DOUBLE, AT(margin_mm), .min = 0, .max = 100, .fallback = "5",
     .unit = "mm", .help = "no man's land begins this far from the targets"},
    {.key = "analyze.bin", .flag = "bin", .type = DG_OPT_DOUBLE, AT(bin_mm), .min = 0.1, .max = 100, .fallback = "5",
     .unit = "mm", .help = "width of a bin of distance"},
    {.key = "analyze.bins", .flag = "bins", .type = DG_OPT_INT, AT(bins), .min = 1, .max = DG_ANATOMY_BINS_MAX,
     .fallback = "19", .unit = "", .help = "number of bins"},
    {.key = "analyze.cutoff", .flag = "cutoff", .type = DG_OPT_DOUBLE, AT(cutoff_percent), .min = 0, .max = 100,
     .fallback = "10", .unit = "%", .help = "no man's land is the body at or above this share of the largest dose; 0: all of it"},
    {.key = "analyze.alpha", .flag = "alpha", .type = DG_OPT_DOUBLE, AT(alpha), .min = 1e-6, .max = 0.5, .fallback = "0.05",
     .unit = "", .help = "family-wise error of the correlations of a condition (Holm)"},
    {.key = "analyze.threads", .flag = "threads", .type = DG_OPT_INT, AT(threads), .min = 1, .max = 4096, .fallback = "1",
     .unit = "threads", .help = "compute threads per rank"},
    {.key = "analyze.json", .flag = "json", .type = DG_OPT_BOOL, AT(json), .fallback = "false", .unit = "",
     .help = "prints the analysis as JSON"},
};
/* clang-format on */

typedef struct work {
    const dg_job_env *env;
    const settings *s;
    dg_cohort *cohort;
    dg_results_list *list; /* rank 0 */
    dg_compare *compare;
    analysis a;
} work;

/* ---- setting up --------------------------------------------------------------------------------------------------- */

/* The results must be of this cohort's cases: the same content where both name it. */
static dg_status check_results(const work *w)
{
    const dg_results *r = w->list->results[0];
    for (int64_t i = 0; i < dg_results_case_count(r); i++) {
        const dg_results_case *c = dg_results_get_case(r, i);
        const int64_t index = dg_cohort_find(w->cohort, c->id);
        if (index < 0)
            return DG_FAIL(DG_ERR_USAGE, "cases: %s of %s is not in the cohort; name the cohort that was evaluated",
                           c->id, dg_results_name(r));
        const char *hash = dg_cohort_case(w->cohort, index)->content_sha256;
        if (c->sha256[0] != '\0' && strcmp(hash, c->sha256) != 0)
            return DG_FAIL(DG_ERR_USAGE, "case_sha256 of case %s: %s in the cohort, %s in %s; evaluate this cohort",
                           c->id, hash, c->sha256, dg_results_name(r));
    }
    return DG_OK;
}

static dg_status read_results(work *w, const char *const *more, int count)
{
    const char *argument[DG_RESULTS_FILES_MAX + 1];
    const dg_compare_params params = {
        .primary = w->s->metric, .reference = "", .alpha = w->s->alpha, .resamples = 100, .seed = 42};
    if (w->s->results[0] == '\0')
        return count == 0 ? DG_OK : DG_FAIL(DG_ERR_USAGE, "'%s' stands alone; name results with --results", more[0]);
    argument[0] = w->s->results;
    for (int i = 0; i < count; i++) argument[i + 1] = more[i];
    DG_TRY(DG_NEW(&w->list, 1, "list of results"));
    DG_TRY(dg_results_list_read(argument, count + 1, w->list));
    DG_TRY(dg_compare_create(w->list->file, w->list->count, &params, &w->compare));
    w->a.compare = w->compare;
    return check_results(w);
}

static dg_status choose_cases(work *w)
{
    analysis *a = &w->a;
    const int64_t all = dg_cohort_count(w->cohort);
    DG_TRY(DG_NEW(&a->index, all, "list of cases"));
    for (int64_t i = 0; i < all; i++) {
        if (dg_cohort_case(w->cohort, i)->has_dose)
            a->index[a->count++] = i;
        else
            a->without_dose++;
    }
    if (a->count == 0)
        return DG_FAIL(DG_ERR_USAGE, "none of the %lld cases of the cohort has a dose; there is nothing to analyze",
                       (long long)all);
    DG_TRY(DG_NEW(&a->anatomy, a->count, "measures of cases"));
    return DG_NEW(&a->reason, a->count, "failures of cases");
}

static dg_status set_up(work *w, const char *const *more, int count)
{
    const settings *s = w->s;
    if (s->cohort[0] == '\0' || s->output[0] == '\0')
        return DG_FAIL(DG_ERR_USAGE, "%s is missing: name the %s", s->cohort[0] == '\0' ? "--cohort" : "-o",
                       s->cohort[0] == '\0' ? "cohort with clinical doses" : "analysis' file");
    w->a.params = (dg_anatomy_params){.margin_mm = s->margin_mm,
                                      .bin_mm = s->bin_mm,
                                      .bins = (int)s->bins,
                                      .cutoff_percent = s->cutoff_percent,
                                      .threads = (int)s->threads};
    w->a.alpha = s->alpha;
    DG_TRY(dg_cohort_open(s->cohort, &w->cohort));
    w->a.cohort = w->cohort;
    DG_TRY(choose_cases(w));
    if (w->env->comm->rank != 0) return DG_OK;
    DG_TRY(dg_file_check_writable(s->output));
    return read_results(w, more, count);
}

/* ---- one case ----------------------------------------------------------------------------------------------------- */

static dg_status measure_case(work *w, int64_t task)
{
    const dg_case_info *info = dg_cohort_case(w->cohort, w->a.index[task]);
    const int64_t *n = info->grid.shape, voxels = dg_grid_voxels(&info->grid);
    const dg_box all = {{0, 0, 0}, {n[0], n[1], n[2]}};
    dg_case *c = NULL;
    float *dose_gy = NULL;
    uint64_t *masks = NULL;
    dg_status status;
    DG_TRY_GOTO(status, DG_NEW(&dose_gy, voxels, "dose of a case"), cleanup);
    DG_TRY_GOTO(status, DG_NEW(&masks, voxels, "masks of a case"), cleanup);
    DG_TRY_GOTO(status, dg_case_open(w->cohort, w->a.index[task], &c), cleanup);
    DG_TRY_GOTO(status, dg_case_read(c, DG_FIELD_DOSE_GY, 0, &all, dose_gy), cleanup);
    DG_TRY_GOTO(status, dg_case_read_mask_bits(c, &all, masks), cleanup);
    const dg_anatomy_input input = {.grid = &info->grid,
                                    .dose_gy = dose_gy,
                                    .masks = masks,
                                    .structure = info->structure,
                                    .structure_count = info->structure_count,
                                    .known = info->dose_box,
                                    .prescription_gy = info->prescription_gy};
    status = dg_anatomy_measure(&input, &w->a.params, &w->a.anatomy[task]);
cleanup:
    dg_case_close(&c);
    dg_free(&dose_gy);
    dg_free(&masks);
    return status;
}

/* A damaged case is named and left out; what is no fault of the case ends the job. */
static dg_status measure_task(work *w, int64_t task)
{
    dg_status status = measure_case(w, task);
    if (status == DG_OK || status == DG_ERR_MEMORY || status == DG_ERR_COMM || status == DG_ERR_INTERNAL) return status;
    memset(&w->a.anatomy[task], 0, sizeof w->a.anatomy[task]);
    snprintf(w->a.reason[task], ANALYZE_REASON, "%.255s", dg_error_last()->text);
    return DG_OK;
}

static dg_status work_through(work *w, dg_tasks *tasks)
{
    int64_t task = 0, turns = 0;
    for (;;) {
        DG_TRY(dg_tasks_next(tasks, &task));
        if (task < 0) return DG_OK;
        DG_TRY(measure_task(w, task));
        const int64_t estimate = ++turns * w->env->comm->size;
        dg_log_progress(w->env->log, "analysis, cases", estimate < w->a.count ? estimate : w->a.count, w->a.count,
                        NULL);
    }
}

/* Each case is measured by one rank and zero at all others: the sums over ranks are exact, in whatever order. */
static dg_status gather(work *w)
{
    _Static_assert(sizeof(dg_anatomy) % sizeof(double) == 0, "measures are doubles only");
    _Static_assert(ANALYZE_REASON % sizeof(int64_t) == 0, "texts are summed as integers");
    DG_TRY(dg_comm_all_reduce(w->env->comm, w->a.anatomy, w->a.count * (int64_t)(sizeof(dg_anatomy) / sizeof(double)),
                              DG_F64, DG_SUM));
    return dg_comm_all_reduce(w->env->comm, w->a.reason, w->a.count * (ANALYZE_REASON / (int64_t)sizeof(int64_t)),
                              DG_I64, DG_SUM);
}

static dg_status measure_cohort(work *w)
{
    dg_comm *comm = w->env->comm;
    dg_tasks *tasks = NULL;
    double *cost = NULL;
    dg_status status = DG_NEW(&cost, w->a.count, "cost of cases");
    for (int64_t i = 0; status == DG_OK && i < w->a.count; i++)
        cost[i] = (double)dg_grid_voxels(&dg_cohort_case(w->cohort, w->a.index[i])->grid);
    status = dg_comm_agree(comm, status);
    if (status == DG_OK) status = dg_tasks_create(comm, cost, w->a.count, &tasks);
    if (status == DG_OK) {
        status = work_through(w, tasks);
        dg_tasks_destroy(&tasks);
        status = dg_comm_agree(comm, status);
    }
    dg_free(&cost);
    return status == DG_OK ? gather(w) : status;
}

/* ---- telling ------------------------------------------------------------------------------------------------------ */

static void print_value(const json_t *row, const char *key, int width, int digits)
{
    const json_t *value = json_object_get(row, key);
    if (json_is_number(value))
        printf(" %*.*f", width, digits, json_number_value(value));
    else
        printf(" %*s", width, "-");
}

static void print_tables(const json_t *root)
{
    const json_t *bin, *condition, *row, *assumed = json_object_get(root, "prescription_assumed");
    size_t i, k;
    if (assumed != NULL) printf("%s\n", json_string_value(assumed));
    printf("Clinical dose in no man's land by distance to the targets, %% of the prescription, over patients\n"
           "    from      to  cases    mean      sd  median     iqr\n");
    json_array_foreach(json_object_get(json_object_get(root, "no_mans_land"), "bins"), i, bin)
    {
        if (json_integer_value(json_object_get(bin, "n_cases")) == 0) continue;
        print_value(bin, "from_mm", 7, 1);
        print_value(bin, "to_mm", 7, 1);
        print_value(bin, "n_cases", 6, 0);
        print_value(bin, "mean", 7, 2);
        print_value(bin, "std", 7, 2);
        print_value(bin, "median", 7, 2);
        print_value(bin, "iqr", 7, 2);
        putchar('\n');
    }
    json_array_foreach(json_object_get(root, "correlations"), i, condition)
    {
        printf("\nRank correlation of %s with anatomy, condition %s (exploratory)\n     n     rho       p  p Holm  "
               "feature\n",
               json_string_value(json_object_get(condition, "metric")),
               json_string_value(json_object_get(condition, "condition")));
        json_array_foreach(json_object_get(condition, "features"), k, row)
        {
            print_value(row, "n", 5, 0);
            print_value(row, "rho", 7, 3);
            print_value(row, "p", 7, 4);
            print_value(row, "p_holm", 7, 4);
            printf("  %s\n", json_string_value(json_object_get(row, "feature")));
        }
    }
}

static dg_status report(work *w, int *exit_code)
{
    json_t *root;
    int64_t failed = 0;
    for (int64_t i = 0; i < w->a.count; i++) {
        if (w->a.reason[i][0] == '\0') continue;
        failed++;
        dg_log_write(w->env->log, DG_LOG_WARNING, "case %s: %s", dg_cohort_case(w->cohort, w->a.index[i])->id,
                     w->a.reason[i]);
    }
    if (failed > 0) *exit_code = DG_EXIT_SOME_CASES;
    if (failed == w->a.count)
        return DG_FAIL(DG_ERR_DATA, "none of the %lld cases could be analyzed; the first: %.300s", (long long)failed,
                       w->a.reason[0]);
    if (w->env->comm->rank != 0) return DG_OK;
    DG_TRY(analyze_json(&w->a, &root));
    char *text = json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(15));
    dg_status status = text == NULL ? DG_FAIL(DG_ERR_MEMORY, "no memory for the analysis")
                                    : dg_file_write(w->s->output, text, (int64_t)strlen(text));
    free(text);
    if (status == DG_OK && w->s->json)
        status = dg_job_print_json(w->env, json_incref(root));
    else if (status == DG_OK)
        print_tables(root);
    json_decref(root);
    return status;
}

static void release(work *w)
{
    dg_compare_destroy(&w->compare);
    if (w->list != NULL) dg_results_list_release(w->list);
    dg_free(&w->list);
    dg_cohort_close(&w->cohort);
    dg_free(&w->a.index);
    dg_free(&w->a.anatomy);
    dg_free(&w->a.reason);
}

static dg_status run(const dg_job_env *env, int argc, char *const *argv, int *exit_code)
{
    settings s;
    dg_options options;
    const char *more[DG_RESULTS_FILES_MAX];
    int count;
    bool helped;
    dg_job_arguments arguments = {.usage = "--cohort COHORT -o ANALYSIS.json [--results RESULTS.json...]",
                                  .rows = rows,
                                  .row_count = sizeof rows / sizeof rows[0],
                                  .target = &s,
                                  .positional = more,
                                  .positional_max = DG_RESULTS_FILES_MAX};
    DG_TRY(dg_job_read_arguments(env, &dg_job_analyze, &arguments, argc, argv, &options, &count, &helped));
    if (helped) return DG_OK;
    work w = {.env = env, .s = &s};
    dg_status status = dg_comm_agree(env->comm, set_up(&w, more, count));
    if (status == DG_OK) status = measure_cohort(&w);
    if (status == DG_OK) status = report(&w, exit_code);
    release(&w);
    dg_options_release(&options);
    return status;
}

const dg_job dg_job_analyze = {.name = "analyze",
                               .summary = "spread of clinical doses by distance to the targets; errors against anatomy",
                               .run = run};
