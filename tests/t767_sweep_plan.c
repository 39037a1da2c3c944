/* Sweep files: names of runs, settings in their order of strength, what is refused with its line; folds test every
 * case once and part no patient.
 * ctest: libs=dg_run label=unit timeout=60
 * SPDX-License-Identifier: Apache-2.0 */
#include "split.h"
#include "sweep_plan.h"
#include "t7_cases.h"

#include <unistd.h>

static const char *const PLAN = "seeds: [3, 4]\n"
                                "split: {kfold: 2}\n"
                                "reference: b\n"
                                "set: {train.steps: 5, loss: {mse: 2}}\n"
                                "conditions:\n"
                                "  a: {}\n"
                                "  b: {seed_offset: 10, set: {loss.mse: 3, data.channels: [ct, 'sdf.PTV 70']}}\n";

static void write_plan(const char *text)
{
    FILE *file = fopen("sweep.yaml", "w");
    DG_CHECK(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void read_plan(const char *text, dg_sweep *sweep)
{
    write_plan(text);
    DG_CHECK_OK(dg_sweep_read("sweep.yaml", sweep));
}

static void check_origin(const dg_options *options, const char *key, const char *wanted)
{
    char text[256];
    dg_options_origin_text(options, key, text, sizeof text);
    if (strcmp(text, wanted) != 0) fprintf(stderr, "%s: %s, wanted %s\n", key, text, wanted);
    DG_CHECK(strcmp(text, wanted) == 0);
}

static void test_runs(dg_sweep *sweep, dg_run_config *config)
{
    static const char *const names[] = {"a-s3-f0", "a-s3-f1", "a-s4-f0", "a-s4-f1",
                                        "b-s3-f0", "b-s3-f1", "b-s4-f0", "b-s4-f1"};
    dg_options options;
    dg_sweep_run run;
    int rows;
    const dg_option *row = dg_run_config_rows(&rows);
    read_plan(PLAN, sweep);
    DG_CHECK(dg_sweep_runs(sweep) == 8 && sweep->reference == 1 && dg_sweep_is("sweep.yaml"));
    for (int i = 0; i < 8; i++) {
        DG_CHECK(strcmp(dg_sweep_run_at(sweep, i).name, names[i]) == 0);
        DG_CHECK_OK(dg_sweep_find_run(sweep, names[i], &run));
        DG_CHECK(run.condition == i / 4 && run.seed == i / 2 % 2 && run.fold == i % 2);
    }
    DG_CHECK_OK(dg_options_init(&options, row, rows, config));
    /* Stronger than everything but the condition. */
    dg_origin set = {.kind = DG_FROM_COMMAND_LINE, .where = "--set"};
    DG_CHECK_OK(dg_options_set(&options, "loss.mse", "7", &set));
    DG_CHECK_OK(dg_options_set(&options, "train.steps", "9", &set));
    DG_CHECK_OK(dg_sweep_apply_run(sweep, &run, &options));
    DG_CHECK(config->loss.mse == 3 && config->train.steps == 9 && config->run.seed == 14);
    DG_CHECK(strcmp(config->run.name, "b-s4-f1") == 0 && strcmp(config->run.condition, "b") == 0);
    DG_CHECK(strcmp(config->run.dir, "./experiments/b") == 0 &&
             strcmp(config->data.split.file, "./splits/fold-1.json") == 0);
    DG_CHECK(config->data.channels.count == 2 && strcmp(config->data.channels.value[1], "sdf.PTV 70") == 0);
    check_origin(&options, "loss.mse.weight", "condition b of sweep.yaml:7");
    check_origin(&options, "train.steps", "--set");
    check_origin(&options, "run.seed", "seeds of sweep.yaml:1");
    check_origin(&options, "data.split.file", "split of sweep.yaml:2");
    dg_options_release(&options);
    /* Where it goes and who it is, is not to be given beside it. */
    const dg_origin exported = {.kind = DG_FROM_ENVIRONMENT, .where = "DG_RUN__SEED"};
    DG_CHECK_OK(dg_options_init(&options, row, rows, config));
    DG_CHECK_OK(dg_options_set(&options, "run.seed", "5", &exported));
    DG_CHECK_FAILS(dg_sweep_apply_run(sweep, &run, &options), DG_ERR_USAGE, "run.seed (DG_RUN__SEED)");
    DG_CHECK_OK(dg_options_set(&options, "run.dir", "runs", &set));
    DG_CHECK_FAILS(dg_sweep_apply_run(sweep, &run, &options), DG_ERR_USAGE,
                   "run.dir (--set): folder, name and seed of a run are the sweep's to say; leave it out, this run goes "
                   "to ./experiments/b/b-s4-f1");
    dg_options_release(&options);
    dg_sweep_release(sweep);
}

static void refuse(dg_sweep *sweep, const char *text, const char *words)
{
    write_plan(text);
    DG_CHECK_FAILS(dg_sweep_read("sweep.yaml", sweep), DG_ERR_USAGE, words);
}

static void test_refused(dg_sweep *sweep)
{
    refuse(sweep, "[]", "sweep.yaml:1: a map");
    refuse(sweep, "x", "sweep.yaml:1: a map");
    refuse(sweep, "conditions: {a: {}}", "seeds: a list");
    refuse(sweep, "seeds: []\nconditions: {a: {}}", "seeds: a list");
    refuse(sweep, "seeds: [1.5]\nconditions: {a: {}}", "sweep.yaml:1: a seed is a whole number");
    refuse(sweep, "seeds: [-1]\nconditions: {a: {}}", "a seed is a whole number");
    refuse(sweep, "seeds: [1]\nconditions: [a]", "conditions: a map");
    refuse(sweep, "seeds: [1]\nconditions: {}", "conditions: a map");
    refuse(sweep, "seeds: [1]\nconditions:\n  ../a: {}", "sweep.yaml:3: '../a' is no plain name");
    refuse(sweep, "seeds: [1]\nconditions:\n  a: [1]", "sweep.yaml:3: a: a map");
    refuse(sweep, "seeds: [1]\nconditions:\n  a: {sets: {}}", "unknown key sets; possible are hypothesis");
    refuse(sweep, "seeds: [1]\nconditions:\n  a: {targets: 3}", "targets: a list of targets");
    refuse(sweep, "seeds: [1]\nconditions:\n  a: {targets: [3]}", "a map of keys");
    refuse(sweep, "seeds: [1]\nconditions:\n  a: {targets: [{metric: m}]}", "at_most: 3} or at_least");
    refuse(sweep, "seeds: [1]\nconditions:\n  a: {targets: [{metric: m, at_most: x}]}", "a number is wanted");
    refuse(sweep, "seeds: [1]\nconditions:\n  a: {seed_offset: -1}", "seed_offset: a whole number");
    refuse(sweep, "seeds: [1]\nsplit: folds\nconditions: {a: {}}", "sweep.yaml:2: split: locked, per_seed");
    refuse(sweep, "seeds: [1]\nsplit: {kfold: 1}\nconditions: {a: {}}", "from 2 to 64");
    refuse(sweep, "seeds: [1]\nbase: ../base.yaml\nconditions: {a: {}}", "sweep.yaml:2: base: a plain name");
    refuse(sweep, "seeds: [1]\nreference: b\nconditions: {a: {}}", "no condition has this name");
    DG_CHECK_FAILS(dg_sweep_read("nowhere.yaml", sweep), DG_ERR_USAGE, "nowhere.yaml");
    DG_CHECK(!dg_sweep_is("nowhere.yaml"));
}

/* 12 cases of 6 patients, two each. */
static void test_folds(void)
{
    enum { COUNT = 12, FOLDS = 4 };
    const int64_t shape[3] = {6, 5, 4};
    t7_cohort t;
    dg_split split;
    const dg_split_config config = {.train = 0.8, .val = 0.2, .test = 0.5, .seed = 1, .file = "not-read.json"};
    int tested[COUNT] = {0};
    t7_create(&t, COUNT, shape);
    for (int fold = 0; fold < FOLDS; fold++) {
        int part[COUNT];
        for (int i = 0; i < COUNT; i++) part[i] = -1;
        DG_CHECK_OK(dg_split_fold(&config, t.cohort, FOLDS, fold, &split));
        DG_CHECK(split.count[DG_PART_TRAIN] > 0 && split.count[DG_PART_VAL] > 0 && split.count[DG_PART_TEST] > 0);
        for (int p = 0; p < DG_PARTS; p++)
            for (int64_t i = 0; i < split.count[p]; i++) {
                DG_CHECK(part[split.index[p][i]] == -1);
                part[split.index[p][i]] = p;
                tested[split.index[p][i]] += p == DG_PART_TEST;
            }
        for (int i = 0; i < COUNT; i++) {
            DG_CHECK(part[i] >= 0);
            for (int k = 0; k < i; k++)
                if (strcmp(dg_cohort_case(t.cohort, i)->group, dg_cohort_case(t.cohort, k)->group) == 0)
                    DG_CHECK(part[i] == part[k]);
        }
        dg_split_release(&split);
    }
    for (int i = 0; i < COUNT; i++) DG_CHECK(tested[i] == 1);
    DG_CHECK_FAILS(dg_split_fold(&config, t.cohort, 7, 0, &split), DG_ERR_USAGE, "7 folds of 6 patients");
    t7_release(&t);
}

int main(void)
{
    char folder[] = "/tmp/dosegrid-test.XXXXXX";
    dg_sweep *sweep;
    dg_run_config *config;
    DG_CHECK(mkdtemp(folder) != NULL && chdir(folder) == 0);
    DG_CHECK_OK(DG_NEW(&sweep, 1, "sweep"));
    DG_CHECK_OK(DG_NEW(&config, 1, "settings"));
    test_runs(sweep, config);
    test_refused(sweep);
    test_folds();
    dg_free(&config);
    dg_free(&sweep);
    DG_CHECK(unlink("sweep.yaml") == 0 && chdir("/") == 0 && rmdir(folder) == 0);
    return 0;
}
