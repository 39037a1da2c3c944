/* sweep_ensembles.c - the report's table of ensembles: what drawing in so many steps and so many members gives, beside networks
 * that give one dose. SPDX-License-Identifier: Apache-2.0 */
#include "sweep_impl.h"

#include "dg_results.h"

#include <math.h>
#include <string.h>

enum { COLUMNS = 12 };
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
    json_object_foreach(gamma, key, one) if (strncmp(key, "global_", 7) == 0) return number_at(
        one, (const char *const[]){"gamma_pass_rate_mean", NULL});
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

static void read_row(const json_t *root, double value[COLUMNS])
{
    const json_t *aggregate = json_object_get(root, "aggregate");
    const double row[COLUMNS] = {number_at(aggregate, (const char *const[]){"mae_possible_gy_mean", NULL}),
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
    memcpy(value, row, sizeof row);
}

/* The mean over the finished seeds of a condition; *seeds 0: none, or it judges no ensemble. */
static dg_status read_condition(const sweep_work *w, int condition, double value[COLUMNS], int *seeds)
{
    *seeds = 0;
    for (int k = 0; k < COLUMNS; k++) value[k] = 0;
    for (int seed = 0; seed < w->plan.seeds; seed++) {
        char path[DG_PATH_MAX];
        dg_results *results = NULL;
        double one[COLUMNS];
        DG_TRY(sweep_results_path(w, condition, seed, path));
        if (path[0] == '\0') continue;
        DG_TRY(dg_results_read(path, path, &results));
        read_row(dg_results_root(results), one);
        dg_results_destroy(&results);
        for (int k = 0; k < COLUMNS; k++) value[k] += one[k];
        ++*seeds;
    }
    for (int k = 0; k<COLUMNS && * seeds> 0; k++) value[k] /= *seeds;
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

dg_status sweep_put_ensembles(const sweep_work *w, FILE *to)
{
    const int each = w->plan.seeds * w->plan.folds;
    bool begun = false;
    for (int condition = 0; condition < w->plan.conditions; condition++) {
        const sweep_job *job = &w->job[condition * each];
        double value[COLUMNS];
        int seeds;
        if (job->members == 0) continue;
        DG_TRY(read_condition(w, condition, value, &seeds));
        if (seeds == 0) continue;
        if (!begun) put_head(to);
        begun = true;
        put_row(to, job, w->plan.condition[condition].name, value);
    }
    return DG_OK;
}
