/* ctest: libs=dg_run label=unit timeout=60 */
/* t723_controls.c - rules of a run as pure functions: plateaus with their cap, rollbacks, sizes of steps, noise, settings in
 * epochs and shares; and settings that contradict each other. SPDX-License-Identifier: Apache-2.0 */
#include "controls.h"
#include "t7_cases.h"

#include <math.h>

static dg_run_config config_of(const char *yaml)
{
    dg_run_config config;
    char text[1024];
    (void)snprintf(text, sizeof text, "{data: {cohort: c}, %s}", yaml);
    t7_config(text, &config);
    DG_CHECK_OK(dg_run_config_check(&config));
    return config;
}

static void refused(const char *yaml, const char *words)
{
    dg_run_config config;
    char text[1024];
    (void)snprintf(text, sizeof text, "{data: {cohort: c}, %s}", yaml);
    t7_config(text, &config);
    DG_CHECK_FAILS(dg_run_config_check(&config), DG_ERR_USAGE, words);
}

static void refused_in(const char *yaml, int64_t steps, int64_t cases, bool validated, const char *words)
{
    const dg_run_config config = config_of(yaml);
    dg_controls plan;
    DG_CHECK_FAILS(dg_controls_resolve(&config, steps, cases, validated, &plan), DG_ERR_USAGE, words);
}

/* ---- plateaus ----------------------------------------------------------------------------------------------------------- */

/* The reference tool multiplied the rate it had raised before by up to 35 (1 + 0.15 k): 92.5 times its own in one go and more
 * with each. Here no number of plateaus, and no order of gains, raises it above the cap. */
static void check_no_runaway(void)
{
    const dg_run_config plain = config_of("train: {plateau: {patience: 1}}"),
                        wild = config_of("train: {plateau: {patience: 1, lr_factor: 10, lr_cap: 10, max: 1000}}");
    dg_control_state a = dg_controls_start(), b = dg_controls_start();
    double most_a = 0, most_b = 0;
    for (int k = 0; k < 400; k++) {
        const bool gains = k % 97 == 96;
        (void)dg_controls_judge(&plain, &a, 1, 1, gains);
        (void)dg_controls_judge(&wild, &b, 1, 1, gains);
        most_a = fmax(most_a, dg_controls_lr(&plain, &a, false, 1e-3) / 1e-3);
        most_b = fmax(most_b, dg_controls_lr(&wild, &b, false, 1e-3) / 1e-3);
        if (gains) DG_CHECK(a.boost == 1 && b.boost == 1);
    }
    DG_CHECK(most_a == 3 && most_b == 10); /* 1.5^3 = 3.4 is cut at 3 */
    DG_CHECK(a.interventions == 3 * 5 && b.interventions == 400 - 4);
    DG_CHECK(plain.train.rules.plateau.lr_cap <= 5); /* by default */
}

static void check_interventions(void)
{
    const dg_run_config c = config_of("train: {plateau: {patience: 2, lr_factor: 2, lr_cap: 5, noise: 0.01, max: 2}}");
    dg_control_state s = dg_controls_start();
    static const struct {
        bool gains;
        double boost;
        int64_t kick;
    } EXPECTED[] = {{true, 1, 0},  {false, 1, 0}, {false, 2, 1}, {false, 2, 0}, {false, 4, 2},
                    {false, 4, 0}, {false, 4, 0}, {true, 1, 0},  {false, 1, 0}, {false, 2, 3}};
    for (size_t i = 0; i < sizeof EXPECTED / sizeof *EXPECTED; i++) {
        s.kick = 0;
        (void)dg_controls_judge(&c, &s, 1, 1, EXPECTED[i].gains);
        DG_CHECK(s.boost == EXPECTED[i].boost && s.kick == EXPECTED[i].kick);
    }
}

/* As torch.optim.lr_scheduler.ReduceLROnPlateau(patience=2, factor=0.1) with the same scores. */
static void check_schedule(void)
{
    const dg_run_config c =
        config_of("optim: {lr: 1, schedule: {kind: plateau, patience: 2, factor: 0.1, min_lr: 5e-3}}");
    static const double SCORE[] = {5, 4, 4, 4, 4, 3, 3, 3, 3, 3, 3, 3, 3, 3},
                        RATE[] = {1, 1, 1, 1, .1, .1, .1, .1, .01, .01, .01, .005, .005, .005};
    dg_control_state s = dg_controls_start();
    double best = INFINITY;
    for (size_t i = 0; i < sizeof SCORE / sizeof *SCORE; i++) {
        (void)dg_controls_judge(&c, &s, SCORE[i], best, SCORE[i] < best);
        best = fmin(best, SCORE[i]);
        DG_CHECK_NEAR(dg_controls_lr(&c, &s, false, 1), RATE[i], 1e-12);
    }
}

static void check_rollbacks(void)
{
    const dg_run_config c = config_of("train: {rollback: {rise: 0.15, patience: 3, max: 2}}");
    static const struct {
        double value;
        bool back;
    } COURSE[] = {{1.0, false}, {1.1, false}, {1.16, true},  {1.1, false}, {1.01, false}, {1.01, true}, {2, false},
                  {9, false},   {0.9, false}, {0.95, false}, {0.9, false}, {1.04, true},  {1.02, false}};
    dg_control_state s = dg_controls_start();
    double best = INFINITY;
    for (size_t i = 0; i < sizeof COURSE / sizeof *COURSE; i++) {
        const dg_control_verdict v = dg_controls_judge(&c, &s, COURSE[i].value, best, COURSE[i].value < best);
        if (v.roll_back != COURSE[i].back) printf("validation %zu: %g\n", i, COURSE[i].value);
        DG_CHECK(v.roll_back == COURSE[i].back);
        best = fmin(best, COURSE[i].value);
    }
    DG_CHECK(s.rollbacks == 3);
}

/* ---- steps and noise ---------------------------------------------------------------------------------------------------- */

static void check_batches(void)
{
    const dg_run_config c = config_of("run: {seed: 5}, train: {batch: 9, batch_min: 3}"),
                        plain = config_of("train: {batch: 9}");
    int64_t seen[10] = {0};
    for (int64_t step = 0; step < 7000; step++) {
        const int64_t b = dg_controls_batch(&c, step);
        DG_CHECK(b >= 3 && b <= 9 && b == dg_controls_batch(&c, step));
        seen[b]++;
        DG_CHECK(dg_controls_batch(&plain, step) == 9);
    }
    for (int b = 3; b <= 9; b++) DG_CHECK(seen[b] > 800 && seen[b] < 1200); /* 1000 each, 6 standard deviations */
}

static void check_noise(void)
{
    const dg_run_config c =
        config_of("train: {batch: 2, weight_noise: {start: '50%', every: 2, std: 0.1, decay: 0.5}}, "
                  "optim: {schedule: {warmup_epochs: 1.5}, grad_noise: {std: 0.3, decay: 0.55}, swa: {start: '6', "
                  "every: 1.5, lr: 0.25}}");
    dg_controls plan;
    DG_CHECK_OK(dg_controls_resolve(&c, 40, 8, true, &plan)); /* an epoch is 4 steps */
    DG_CHECK(plan.noise_start == 20 && plan.noise_every == 8 && plan.swa_start == 24 && plan.swa_every == 6);
    DG_CHECK(plan.warmup == 6);
    DG_CHECK(dg_controls_weight_noise(&c, &plan, 19) == 0 && dg_controls_weight_noise(&c, &plan, 12) == 0);
    DG_CHECK_NEAR(dg_controls_weight_noise(&c, &plan, 20), 0.1, 1e-15);
    DG_CHECK(dg_controls_weight_noise(&c, &plan, 27) == 0);
    DG_CHECK_NEAR(dg_controls_weight_noise(&c, &plan, 28), 0.05, 1e-15);
    DG_CHECK_NEAR(dg_controls_weight_noise(&c, &plan, 36), 0.025, 1e-15);
    DG_CHECK_NEAR(dg_controls_gradient_noise(&c, 0), 0.3, 1e-15);
    DG_CHECK_NEAR(dg_controls_gradient_noise(&c, 99), 0.3 * pow(100, -0.275), 1e-15);
    const dg_control_state s = dg_controls_start();
    DG_CHECK(dg_controls_lr(&c, &s, true, 0.7) == 0.25 && dg_controls_lr(&c, &s, false, 0.7) == 0.7);
}

/* ---- refusals ----------------------------------------------------------------------------------------------------------- */

static void check_refusals(void)
{
    refused("optim: {swa: {start: soon}}", "optim.swa.start 'soon' is neither none, nor an epoch (30), nor a share");
    refused("optim: {swa: {start: '100%'}}", "optim.swa.start '100%'");
    refused("train: {weight_noise: {start: '-3'}}", "train.weight_noise.start '-3'");
    refused("optim: {swa: {start: '5'}, ema: 0.9}", "optim.ema and optim.swa both average the weights");
    refused("optim: {swa: {lr: 0.1}}", "optim.swa.lr is 0.1 and optim.swa.start none");
    refused("train: {batch: 4, batch_min: 5}", "train.batch_min 5 is above train.batch 4");
    refused("loss: {compat: upstream}, train: {batch: 4, batch_min: 2}", "leave out train.batch_min");
    refused("optim: {schedule: {warmup: 5, warmup_epochs: 1}}", "both set the warm-up");
    refused("train: {validate_every: 0, plateau: {patience: 2}}", "train.plateau watches validations");
    refused("train: {validate_every: 0, rollback: {rise: 0.1}}", "train.rollback watches validations");
    refused("train: {validate_every: 0}, optim: {schedule: {kind: plateau}}", "optim.schedule.kind: plateau watches");
    refused("train: {plateau: {patience: 2}}, optim: {schedule: {kind: plateau}}",
            "optim.schedule.kind plateau lowers the rate where train.plateau raises it");
    refused("train: {plateau: {patience: 2, lr_factor: 1}}", "train.plateau does nothing");
    refused("train: {plateau: {patience: 2, lr_factor: 5, lr_cap: 3}}", "lr_factor 5 is above train.plateau.lr_cap 3");
    refused("train: {plateau: {patience: 4}, early_stopping: {patience: 4}}",
            "train.plateau.patience 4 is not below train.early_stopping.patience 4");
    refused("train: {early_stopping: {patience: 3}}, optim: {schedule: {kind: plateau, patience: 3}}",
            "the run would end before the rate falls");
    refused_in("optim: {swa: {start: '10'}}, train: {batch: 2}", 40, 8, true,
               "optim.swa.start: 10 begins with step 40, and the run ends after 40 steps (10 epochs)");
    refused_in("train: {weight_noise: {start: '11'}, batch: 2}", 40, 8, true, "train.weight_noise.start: 11 begins");
    refused_in("optim: {swa: {start: '50%'}}, train: {minutes: 3}", INT64_MAX, 8, true, "give an epoch");
    refused_in("optim: {schedule: {kind: cosine_restarts, restart_epochs: 10}}, train: {batch: 2}", 40, 8, true,
               "it would never start again");
    refused_in("train: {plateau: {patience: 2}}", 40, 8, false, "data.split leaves no case");
}

int main(void)
{
    check_no_runaway();
    check_interventions();
    check_schedule();
    check_rollbacks();
    check_batches();
    check_noise();
    check_refusals();
    return 0;
}
