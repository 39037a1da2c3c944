/* sweep_ensembles.c - the report's table of ensembles: what drawing in so many steps and so many members gives, beside
 * networks that give one dose. SPDX-License-Identifier: Apache-2.0 */
#include "sweep_impl.h"

#include "dg_figures.h"
#include "dg_mem.h"
#include "dg_results.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double FIGURE_DEADLINE_S = 120;
enum { COLUMNS = 12, CRPS = 3, RATIO_OAR = 8, RATIO_BETWEEN = 9 };
static const char *const title[COLUMNS] = {"MAE",       "gamma %",   "D95 gap",      "CRPS",
                                           "CRPS oar",  "inside 50", "inside 90",    "ratio ptv",
                                           "ratio oar", "ratio nml", "ratio global", "mean's error"};

/* A number below `root`, by keys up to NULL; NaN where there is none. */
static double number_at(const json_t *root, const char *const *key)
{
    for (; *key != NULL; key++) root = json_object_get(root, *key);
    return json_is_number(root) ? json_number_value(root) : (double)NAN;
}

static double region_value(const json_t *aggregate, const char *region, const char *key)
{
    return number_at(aggregate, (const char *const[]){"ensemble", "regions", region, key, NULL});
}

/* Pass rate of the first criterion in all voxels. */
static double gamma_value(const json_t *aggregate)
{
    json_t *gamma = json_object_get(aggregate, "gamma"), *one;
    const char *key;
    json_object_foreach(gamma, key, one)
    {
        if (strncmp(key, "global_", 7) == 0) return number_at(one, (const char *const[]){"gamma_pass_rate_mean", NULL});
    }
    return NAN;
}

/* Mean of |D95 predicted - D95 given| over targets (those with a homogeneity index) and cases. */
static double d95_gap(const json_t *cases)
{
    const json_t *one;
    json_t *structure;
    const char *name;
    double sum = 0;
    int64_t count = 0;
    size_t i;
    json_array_foreach(cases, i, one) json_object_foreach(json_object_get(one, "dvh_metrics"), name, structure)
    {
        const json_t *error = json_object_get(structure, "D95_error_gy");
        if (json_object_get(structure, "HI_error") == NULL || !json_is_number(error)) continue;
        sum += fabs(json_number_value(error));
        count++;
    }
    return count > 0 ? sum / (double)count : (double)NAN;
}

/* What the table and the figure say of a condition. */
typedef struct row {
    double value[COLUMNS], reliability[DG_FIGURE_LEVELS];
    int seeds;
} row;

static void read_reliability(const json_t *aggregate, double sum[DG_FIGURE_LEVELS])
{
    const json_t *regions = json_object_get(json_object_get(aggregate, "ensemble"), "regions");
    const json_t *list = json_object_get(json_object_get(regions, "global"), "reliability");
    for (size_t k = 0; k < DG_FIGURE_LEVELS; k++) {
        const json_t *one = json_array_get(list, k);
        sum[k] += json_is_number(one) ? json_number_value(one) : (double)NAN;
    }
}

static void read_row(const json_t *root, double value[COLUMNS])
{
    const json_t *aggregate = json_object_get(root, "aggregate");
    const double all[COLUMNS] = {number_at(aggregate, (const char *const[]){"mae_possible_gy_mean", NULL}),
                                 gamma_value(aggregate),
                                 d95_gap(json_object_get(root, "per_case_results")),
                                 region_value(aggregate, "global", "crps_gy"),
                                 region_value(aggregate, "oar", "crps_gy"),
                                 region_value(aggregate, "global", "coverage_50"),
                                 region_value(aggregate, "global", "coverage_90"),
                                 region_value(aggregate, "ptv_region", "spread_ratio"),
                                 region_value(aggregate, "oar", "spread_ratio"),
                                 region_value(aggregate, "no_mans_land", "spread_ratio"),
                                 region_value(aggregate, "global", "spread_ratio"),
                                 region_value(aggregate, "global", "mean_error_gy")};
    memcpy(value, all, sizeof all);
}

/* The mean over the finished seeds of a condition; seeds 0: none, or it judges no ensemble. */
static dg_status read_condition(const sweep_work *w, int condition, row *out)
{
    *out = (row){.seeds = 0};
    for (int seed = 0; seed < w->plan.seeds; seed++) {
        char path[DG_PATH_MAX];
        dg_results *results = NULL;
        double one[COLUMNS];
        DG_TRY(sweep_results_path(w, condition, seed, path));
        if (path[0] == '\0') continue;
        DG_TRY(dg_results_read(path, path, &results));
        read_row(dg_results_root(results), one);
        read_reliability(json_object_get(dg_results_root(results), "aggregate"), out->reliability);
        dg_results_destroy(&results);
        for (int k = 0; k < COLUMNS; k++) out->value[k] += one[k];
        out->seeds++;
    }
    for (int k = 0; k < COLUMNS && out->seeds > 0; k++) out->value[k] /= out->seeds;
    for (int k = 0; k < DG_FIGURE_LEVELS && out->seeds > 0; k++) out->reliability[k] /= out->seeds;
    return DG_OK;
}

static void put_row(FILE *to, const sweep_job *job, const char *name, const double value[COLUMNS])
{
    fprintf(to, "| %s | %lld | ", name, (long long)job->members);
    if (job->is_diffusion)
        fprintf(to, "%lld", (long long)job->diffusion.sample_steps);
    else
        fputc('-', to);
    for (int k = 0; k < COLUMNS; k++) {
        if (isfinite(value[k]))
            fprintf(to, " | %.3g", value[k]);
        else
            fputs(" | -", to);
    }
    fputs(" |\n", to);
}

static void put_head(FILE *to)
{
    fputs("\n## Ensembles\n\nDoses in Gy. `inside 50` and `inside 90`: share of voxels whose dose lies in the middle "
          "50 % and 90 % of the "
          "members; `ratio`: predicted to true spread, in targets, organs, between them (nml) and everywhere "
          "(doc/results.md). A single "
          "dose has neither.\n\n| condition | members | steps",
          to);
    for (int k = 0; k < COLUMNS; k++) fprintf(to, " | %s", title[k]);
    fputs(" |\n|---|---|---", to);
    for (int k = 0; k < COLUMNS; k++) fputs("|---", to);
    fputs("|\n", to);
}

/* ---- figure ------------------------------------------------------------------------------------------------------ */

/* Conditions that differ from the one that trained in the steps alone are points of a line. */
static bool on_line(const sweep_job *job, const sweep_job *trained)
{
    const dg_diffusion_settings *a = &job->diffusion, *b = &trained->diffusion;
    return job->is_diffusion && job->members == trained->members && a->sampler == b->sampler && a->eta == b->eta &&
           a->fault == b->fault && a->guidance == b->guidance && a->seed == b->seed;
}

static int by_steps(const void *a, const void *b)
{
    const dg_figure_ensemble *x = a, *y = b;
    return (x->steps > y->steps) - (x->steps < y->steps);
}

/* Lines are numbered in the order of the curves, so that a network has one colour. */
static int fill_figure(const sweep_work *w, const row *rows, dg_figure_ensemble *out)
{
    const int each = w->plan.seeds * w->plan.folds;
    int family[DG_SWEEP_CONDITIONS_MAX], families = 0, count = 0;
    for (int c = 0; c < w->plan.conditions; c++) {
        const sweep_job *job = &w->job[c * each];
        const int root = job->trained / each;
        if (root == c) family[c] = job->is_diffusion && job->members > 1 && rows[c].seeds > 0 ? families++ : -1;
        if (rows[c].seeds == 0) continue;
        dg_figure_ensemble *one = &out[count++];
        *one = (dg_figure_ensemble){
            .name = w->plan.condition[c].name,
            .own_curve = root == c,
            .family = on_line(job, &w->job[root * each]) ? family[root] : -1,
            .steps = (double)job->diffusion.sample_steps,
            .against_steps = {rows[c].value[CRPS], rows[c].value[RATIO_OAR], rows[c].value[RATIO_BETWEEN]}};
        memcpy(one->reliability, rows[c].reliability, sizeof one->reliability);
    }
    return count;
}

/* Curves keep the order of their conditions; points of lines are put in that of the steps. */
static dg_status draw(const sweep_work *w, const row *rows, FILE *to)
{
    dg_figure_ensemble all[DG_SWEEP_CONDITIONS_MAX], sorted[2 * DG_SWEEP_CONDITIONS_MAX];
    dg_figure_result figure = {.drawn = false};
    char folder[DG_PATH_MAX];
    const int count = fill_figure(w, rows, all);
    int used = 0;
    for (int i = 0; i < count; i++) {
        if (!all[i].own_curve) continue;
        sorted[used] = all[i];
        sorted[used++].family = -1;
    }
    const int curves = used;
    for (int i = 0; i < count; i++) {
        if (all[i].family < 0) continue;
        sorted[used] = all[i];
        sorted[used++].own_curve = false;
    }
    qsort(sorted + curves, (size_t)(used - curves), sizeof *sorted, by_steps);
    DG_TRY(dg_path_join(folder, w->plan.folder, "figures"));
    DG_TRY(dg_make_folder(folder));
    const dg_figure_output output = {.folder = folder, .png = true, .pdf = true, .deadline_s = FIGURE_DEADLINE_S};
    DG_TRY(dg_figure_ensembles(&output, sorted, used, &figure));
    if (figure.drawn)
        fprintf(to, "\n![ensembles](figures/%s.png)\n\n%s ([PDF](figures/%s.pdf))\n", figure.name, figure.caption,
                figure.name);
    return DG_OK;
}

static dg_status put_rows(const sweep_work *w, row *rows, FILE *to)
{
    const int each = w->plan.seeds * w->plan.folds;
    bool begun = false;
    for (int condition = 0; condition < w->plan.conditions; condition++) {
        const sweep_job *job = &w->job[condition * each];
        if (job->members == 0) continue;
        DG_TRY(read_condition(w, condition, &rows[condition]));
        if (rows[condition].seeds == 0) continue;
        if (!begun) put_head(to);
        begun = true;
        put_row(to, job, w->plan.condition[condition].name, rows[condition].value);
    }
    return begun && w->s->figures ? draw(w, rows, to) : DG_OK;
}

dg_status sweep_put_ensembles(const sweep_work *w, FILE *to)
{
    row *rows = NULL;
    DG_TRY(DG_NEW(&rows, w->plan.conditions, "rows of ensembles"));
    const dg_status status = put_rows(w, rows, to);
    dg_free(&rows);
    return status;
}
