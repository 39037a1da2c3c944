/* ctest: libs=dg_run label=unit timeout=120 */
/* t708: an evaluation of a case whose every number is known: a dose that is a plane, a prediction that is the same plane a
 * little higher. Cut in any way it gives the same bytes; settings that make no sense are refused by name.
 * SPDX-License-Identifier: Apache-2.0 */
#include "evaluation.h"
#include "t7_cases.h"

#include <ftw.h>
#include <unistd.h>

static const int64_t shape[3] = {18, 12, 10};
static const double shift_gy = 0.6; /* prediction minus reference */

static int remove_entry(const char *path, const struct stat *about, int kind, struct FTW *walk)
{
    (void)about, (void)kind, (void)walk;
    return remove(path);
}

static dg_evaluation_config configure(const char *yaml, const char *folder)
{
    dg_run_config *run = NULL;
    dg_evaluation_config config;
    DG_CHECK_OK(DG_NEW(&run, 1, "settings"));
    t7_config(yaml, run);
    DG_CHECK_OK(dg_evaluation_configure(&run->evaluate, &config));
    dg_free(&run);
    config.predictions = folder;
    return config;
}

static void refuse(const char *yaml, const char *words)
{
    dg_run_config *run = NULL;
    dg_evaluation_config config;
    DG_CHECK_OK(DG_NEW(&run, 1, "settings"));
    t7_config(yaml, run);
    DG_CHECK_FAILS(dg_evaluation_configure(&run->evaluate, &config), DG_ERR_USAGE, words);
    dg_free(&run);
}

static void check_settings(void)
{
    refuse("evaluate: {gamma: [3]}", "gamma criterion '3': percent/mm is wanted");
    refuse("evaluate: {gamma: [3/0]}", "gamma criterion '3/0'");
    refuse("evaluate: {gamma: [3/2, -1/2]}", "gamma criterion '-1/2'");
    refuse("evaluate: {gamma: [3/2cm]}", "gamma criterion '3/2cm'");
    refuse("evaluate: {gamma: [3/2, 3%/2mm]}", "stands there twice");
    refuse("evaluate: {norm: maximum}", "norm 'maximum': max, prescription or a dose");
    refuse("evaluate: {norm: 0}", "norm '0'");
    refuse("evaluate: {regions: [ptv]}", "there is no region 'ptv'");
    refuse("evaluate: {subsample: 2}", "compat upstream only");
    dg_evaluation_config config = configure("evaluate: {gamma: none, norm: 65.5}", "p");
    DG_CHECK(config.criteria == 0 && config.norm == DG_NORM_GY && config.norm_gy == 65.5);
    config = configure("evaluate: {gamma: [2.5%/1.5mm]}", "p");
    DG_CHECK(config.criteria == 1 && config.criterion[0].dose_percent == 2.5 && config.criterion[0].distance_mm == 1.5);
}

/* Predictions of the cases: the reference, higher by shift_gy. */
static void predict(const t7_cohort *t, const char *folder)
{
    const int64_t voxels = shape[0] * shape[1] * shape[2];
    float *dose = NULL;
    DG_CHECK_OK(DG_NEW(&dose, voxels, "prediction"));
    for (int c = 0; c < t->count; c++) {
        dg_ledger_entry entry = {0};
        for (int64_t i = 0; i < voxels; i++) dose[i] = t->dose[c][i] + (float)shift_gy;
        DG_CHECK_OK(dg_prediction_write(folder, t->data[c].info.id, &t->data[c].info.grid, "model", dose, &entry));
    }
    dg_free(&dose);
}

static const dg_region_result *region(const dg_case_result *r, const char *name, int64_t *index)
{
    for (*index = 0; *index < r->region_count; ++*index)
        if (strcmp(dg_case_regions(r)[*index].name, name) == 0) return &dg_case_regions(r)[*index];
    DG_CHECK(!"no such region");
    return NULL;
}

static double mae(const dg_region_result *r) { return (double)r->absolute_q20 / 1048576 / (double)r->voxels; }

/* The dose is x + 2 z + 1 on voxels of 2 and 3 mm: it rises by g = |(1/2, 2/3)| Gy/mm. Where the search does not meet the
 * border, gamma is shift / sqrt(dD^2 + g^2 DTA^2). */
static void check_numbers(const t7_cohort *t, const dg_evaluation_config *config)
{
    const double norm_gy = (double)(shape[2] - 1 + 2 * (shape[0] - 1) + 1), g = sqrt(0.25 + 4.0 / 9);
    dg_evaluation_time time = {0};
    dg_case_result *r = NULL;
    int64_t k;
    DG_CHECK_OK(dg_evaluation_case(t->cohort, 0, "case-00", config, &time, &r));
    if (r->failed) fprintf(stderr, "%s\n", r->reason);
    DG_CHECK(!r->failed && strcmp(r->model_sha256, "model") == 0 && strcmp(r->group, "patient-00") == 0);
    DG_CHECK_NEAR(r->overall.mean_error_gy, shift_gy, 1e-5);
    DG_CHECK_NEAR(r->overall.rmse_gy, shift_gy, 1e-5);
    DG_CHECK_NEAR(r->overall.max_error_gy, shift_gy, 1e-5);
    DG_CHECK_NEAR(r->norm_gy, norm_gy, 0);
    const dg_region_result *all = region(r, "global", &k);
    DG_CHECK(all->voxels == shape[0] * shape[1] * shape[2] && all->reason[0] == '\0');
    DG_CHECK_NEAR(mae(all), shift_gy, 1e-5);
    int64_t above = 0, evaluated = dg_case_gamma(r)[k * r->criteria].evaluated;
    for (int64_t i = 0; i < all->voxels; i++) above += t->dose[0][i] >= 0.1 * norm_gy;
    DG_CHECK(evaluated == above && above < all->voxels);
    for (int64_t c = 0; c < r->criteria; c++) {
        const dg_gamma_result *gamma = &dg_case_gamma(r)[k * r->criteria + c];
        const double dd = config->criterion[c].dose_percent / 100 * norm_gy, dta = config->criterion[c].distance_mm;
        DG_CHECK(gamma->evaluated == above); /* whatever the criterion */
        DG_CHECK_NEAR(gamma->median, shift_gy / sqrt(dd * dd + g * g * dta * dta), 1e-5);
        DG_CHECK(gamma->passed <= above && gamma->passed > above / 2 && gamma->max >= gamma->median);
    }
    /* the right organ lies at x < 3 in the front half: its voxels, and nothing else */
    DG_CHECK(region(r, "oar_Right", &k)->voxels == shape[0] * (shape[1] / 2) * 3);
    DG_CHECK(region(r, "high_dose", &k)->voxels == 0 && dg_case_gamma(r)[k * r->criteria].evaluated == 0);
    DG_CHECK(isnan(dg_case_gamma(r)[k * r->criteria].median) && region(r, "high_dose", &k)->reason[0] != '\0');
    const dg_structure_result *target = dg_case_structures(r);
    DG_CHECK(strcmp(target->name, "PTV70") == 0 && target->voxels > 0);
    for (int s = 0; s < DG_STATS; s++) DG_CHECK_NEAR(target->gy[1][s] - target->gy[0][s], shift_gy, 1e-5);
    DG_CHECK_NEAR(target->index[0][DG_INDEX_HI],
                  (target->gy[0][DG_STAT_D2] - target->gy[0][DG_STAT_D98]) / target->gy[0][DG_STAT_D50], 1e-12);
    dg_free(&r);
}

/* A case cut into slabs of `planes` gives the bytes of the whole. */
static void check_cut(const t7_cohort *t, const dg_evaluation_config *config, const dg_case_result *whole,
                      int64_t planes)
{
    enum { MOST = 18 };
    dg_slab_result *slab[MOST] = {0};
    dg_case_result *volume = NULL, *merged = NULL;
    dg_evaluation_time time = {0};
    int64_t count = 0;
    DG_CHECK_OK(dg_evaluation_volume(t->cohort, 0, "case-00", config, &time, &volume));
    for (int64_t z = 0; z < shape[0]; z += planes)
        DG_CHECK_OK(dg_evaluation_slab(t->cohort, 0, config, z, planes, &slab[count++]));
    DG_CHECK_OK(dg_evaluation_merge(volume, (const dg_slab_result *const *)slab, count, &merged));
    DG_CHECK(merged->bytes == whole->bytes && memcmp(merged, whole, (size_t)whole->bytes) == 0);
    dg_free(&merged);
    slab[count - 1]->failed = true;
    snprintf(slab[count - 1]->reason, sizeof slab[0]->reason, "the last one");
    DG_CHECK_OK(dg_evaluation_merge(volume, (const dg_slab_result *const *)slab, count, &merged));
    DG_CHECK(merged->failed && strcmp(merged->reason, "the last one") == 0 && strcmp(merged->id, "case-00") == 0);
    dg_free(&merged);
    dg_free(&volume);
    for (int64_t k = 0; k < count; k++) dg_free(&slab[k]);
}

static void check_cuts(const t7_cohort *t, const char *folder)
{
    static const char *const settings[] = {
        "evaluate: {gamma: [3/3, 2/1], max_gamma: 2}",
        "evaluate: {gamma: [2/2], gamma_method: pymedphys, interp_fraction: 4}",
        "evaluate: {gamma: [5/4], local: true, norm: prescription, cutoff_percent: 20}", "evaluate: {gamma: none}",
        "evaluate: {gamma: [3/3], regions: [ptv_region, oar_Left], margin_mm: 9}"};
    for (size_t k = 0; k < sizeof settings / sizeof *settings; k++) {
        const dg_evaluation_config config = configure(settings[k], folder);
        dg_evaluation_time time = {0};
        dg_case_result *whole = NULL;
        DG_CHECK_OK(dg_evaluation_case(t->cohort, 0, "case-00", &config, &time, &whole));
        DG_CHECK(!whole->failed && whole->criteria == config.criteria);
        DG_CHECK(whole->region_count == (config.regions.count > 0 ? 2 : 8));
        for (int64_t planes = 1; planes < shape[0]; planes = 2 * planes + 1) check_cut(t, &config, whole, planes);
        dg_free(&whole);
    }
}

static void check_failures(const t7_cohort *t, const char *folder)
{
    dg_evaluation_config config = configure("evaluate: {gamma: [3/3]}", folder);
    dg_evaluation_time time = {0};
    dg_evaluation_plan plan;
    dg_case_result *r = NULL;
    dg_slab_result *slab = NULL;
    DG_CHECK_OK(dg_evaluation_case(t->cohort, -1, "case-77", &config, &time, &r));
    DG_CHECK(r->failed && strcmp(r->id, "case-77") == 0 && strstr(r->reason, "no such case") != NULL);
    dg_free(&r);
    config.predictions = "/nowhere";
    DG_CHECK_OK(dg_evaluation_case(t->cohort, 0, "case-00", &config, &time, &r));
    DG_CHECK(r->failed && strstr(r->reason, "prediction of case case-00") != NULL);
    dg_free(&r);
    DG_CHECK_OK(dg_evaluation_slab(t->cohort, 0, &config, 0, 4, &slab));
    DG_CHECK(slab->failed && strstr(slab->reason, "prediction of case case-00") != NULL);
    dg_free(&slab);
    const dg_case_info *info = dg_cohort_case(t->cohort, 0);
    DG_CHECK_OK(dg_evaluation_make_plan(info, &config, (int64_t)1 << 30, &plan));
    DG_CHECK(plan.slabs == 0);
    int64_t bytes = (int64_t)1 << 20;
    while (dg_evaluation_make_plan(info, &config, bytes, &plan) == DG_OK && plan.slabs == 0) bytes -= 1024;
    DG_CHECK(plan.slabs > 1 && plan.slabs * plan.planes >= shape[0] && (plan.slabs - 1) * plan.planes < shape[0]);
    DG_CHECK_FAILS(dg_evaluation_make_plan(info, &config, 1 << 14, &plan), DG_ERR_MEMORY, "--mem allows 0; raise it");
}

int main(void)
{
    char folder[] = "/tmp/dg_t708_XXXXXX";
    t7_cohort t;
    DG_CHECK(mkdtemp(folder) != NULL);
    t7_create(&t, 2, shape);
    predict(&t, folder);
    check_settings();
    const dg_evaluation_config config = configure("evaluate: {gamma: [3/3, 3/2, 2/2]}", folder);
    check_numbers(&t, &config);
    check_cuts(&t, folder);
    check_failures(&t, folder);
    t7_release(&t);
    nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}
