/* Settings of a run: defaults that run, checks of keys that do not fit each other, lengths of a run.
 * ctest: libs=dg_run label=unit timeout=60
 * SPDX-License-Identifier: Apache-2.0 */
#include "t7_cases.h"

static void test_defaults(void)
{
    dg_run_config config;
    t7_config("data: {cohort: c}", &config);
    DG_CHECK_OK(dg_run_config_check(&config));
    DG_CHECK(config.model.base == 48 && config.model.levels == 5 && config.train.batch == 2);
    DG_CHECK(config.data.patch.count == 3 && config.data.patch.value[2] == 64);
    DG_CHECK(config.data.channels.count == 0 && config.data.scale_gy.count == 0);
    DG_CHECK(config.loss.mse == 1 && config.loss.negative == 0.1 && config.optim.lr == 1e-4);
    DG_CHECK(dg_run_config_steps(&config, 7) == DG_RUN_STEPS);
    int64_t factor[3];
    dg_run_config_coarsen(&config, factor);
    DG_CHECK(factor[0] == 1 && factor[1] == 1 && factor[2] == 1);
    DG_CHECK(dg_run_config_model(&config, 9, 0).out_channels == 1);
}

static void refuse(const char *yaml, const char *words)
{
    dg_run_config config;
    t7_config(yaml, &config);
    DG_CHECK_FAILS(dg_run_config_check(&config), DG_ERR_USAGE, words);
}

static void test_refused(void)
{
    refuse("run: {seed: 1}", "data.cohort is not set");
    refuse("{run: {name: a/b}, data: {cohort: c}}", "run.name 'a/b'");
    refuse("{run: {name: ..}, data: {cohort: c}}", "run.name '..'");
    refuse("data: {cohort: c, coarsen: [2, 2]}", "data.coarsen has 2 numbers");
    refuse("data: {cohort: c, coarsen: 2, spacing_mm: [3, 3, 3]}", "data.spacing_mm and data.coarsen");
    refuse("data: {cohort: c, ct_range: [100, -100]}", "must rise");
    refuse("data: {cohort: c, split: {train: 0}}", "data.split.train is 0");
    refuse("{data: {cohort: c}, loss: {mse: 0, negative: 0}}", "all loss weights are 0");
    refuse("{data: {cohort: c}, optim: {lr: 1e-7}}", "optim.schedule.min_lr");
    refuse("{data: {cohort: c}, train: {steps: 3, epochs: 2}}", "train.steps and train.epochs");
    refuse("{data: {cohort: c}, train: {checkpoint_every: often}}", "train.checkpoint_every 'often' is neither");
    refuse("{data: {cohort: c}, train: {checkpoint_every: 10 days}}", "(units: s, min, h)");
    refuse("{data: {cohort: c}, train: {checkpoint_every: -1}}", "train.checkpoint_every '-1'");
    refuse("{data: {cohort: c}, train: {checkpoint_every: 2.5}}", "train.checkpoint_every '2.5'");
    refuse("{data: {cohort: c}, train: {checkpoint_every: 0 s}}", "train.checkpoint_every '0 s'");
}

static void check_rule(const char *yaml, bool automatic, int64_t steps, double seconds)
{
    dg_run_config config;
    t7_config(yaml, &config);
    dg_save_rule rule = dg_run_config_save_rule(&config);
    DG_CHECK(rule.automatic == automatic && rule.steps == steps && rule.seconds == seconds);
}

static void test_save_rules(void)
{
    check_rule("run: {seed: 1}", true, 0, 0);
    check_rule("train: {checkpoint_every: auto}", true, 0, 0);
    check_rule("train: {checkpoint_every: 0}", false, 0, 0);
    check_rule("train: {checkpoint_every: 250}", false, 250, 0);
    check_rule("train: {checkpoint_every: 90 s}", false, 0, 90);
    check_rule("train: {checkpoint_every: 10 min}", false, 0, 600);
    check_rule("train: {checkpoint_every: 1.5h}", false, 0, 5400);
}

static void test_lengths(void)
{
    dg_run_config config;
    t7_config("train: {epochs: 2.5, batch: 4}", &config);
    DG_CHECK(dg_run_config_steps(&config, 7) == 5); /* 17.5 samples */
    t7_config("train: {minutes: 3}", &config);
    DG_CHECK(dg_run_config_steps(&config, 7) == INT64_MAX);
    t7_config("train: {minutes: 3, steps: 12}", &config);
    DG_CHECK(dg_run_config_steps(&config, 7) == 12);
    t7_config("data: {coarsen: [1, 2, 3]}", &config);
    DG_CHECK(dg_run_config_model(&config, 9, 4).out_channels == 6);
    DG_CHECK(dg_run_config_model(&config, 9, 4).constraints == 4);
}

/* A job's flags lie behind the settings and stay out of what a run stores. */
static void test_table(void)
{
    struct {
        dg_run_config config;
        bool loud;
    } s;
    const dg_option extra = {.key = "job.loud",
                             .flag = "loud",
                             .type = DG_OPT_BOOL,
                             .offset = (size_t)((char *)&s.loud - (char *)&s),
                             .fallback = "true",
                             .unit = "",
                             .help = "for the test"};
    dg_option *table;
    int count, base;
    (void)dg_run_config_rows(&base);
    DG_CHECK_OK(dg_run_config_table(&extra, 1, &table, &count));
    DG_CHECK(count == base + 1);
    dg_options options;
    DG_CHECK_OK(dg_options_init(&options, table, count, &s));
    DG_CHECK(s.loud && s.config.model.base == 48);
    json_t *json = dg_run_config_to_json(&options);
    DG_CHECK(json_object_size(json) == (size_t)base && json_object_get(json, "job.loud") == NULL);
    DG_CHECK(json_integer_value(json_object_get(json_object_get(json, "model.base"), "value")) == 48);
    json_decref(json);
    dg_options_release(&options);
    dg_free(&table);
}

int main(void)
{
    test_defaults();
    test_refused();
    test_save_rules();
    test_lengths();
    test_table();
    return 0;
}
