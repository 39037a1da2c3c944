/* What guards and logging cost a training step beside its arithmetic: fault points, the watch for requests to stop, the
 * writer's errors, a row of metrics.csv with its events, the progress line, the check of the loss terms. Together under
 * 1 % of a small step of 50 ms (base 48, patch 64^3: over a second on a CPU, some 100 ms on a GPU).
 * ctest: libs=dg_run label=slow timeout=120
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_fault.h"
#include "dg_log.h"
#include "dg_trace.h"
#include "metrics.h"
#include "stop.h"

#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STEPS = 4000, POINTS_OF_A_STEP = 8, PARTS = 6, ROUNDS = 5 };
static const double SMALL_STEP_S = 0.05;

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info, (void)type, (void)walk;
    return remove(path);
}

/* Seconds of one step's worth of all of it. */
static double one_round(dg_metrics *metrics, dg_log *log, dg_stop_watch *watch, int64_t first)
{
    const double part[PARTS] = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6};
    double start = dg_time_s();
    for (int64_t step = first; step < first + STEPS; step++) {
        bool finite = true;
        dg_metrics_row row = {.step = step, .seconds = 1, .lr = 1e-4, .loss = 0.5, .part = part, .grad_norm = 2};
        dg_fault_set_step(step);
        for (int p = 0; p < POINTS_OF_A_STEP; p++) DG_CHECK_OK(dg_fault_reach(DG_FAULT_STEP, NULL, 0));
        DG_CHECK(dg_stop_watch_due(watch, 10) == 0);
        for (int k = 0; k < PARTS; k++) finite = finite && isfinite(part[k]);
        DG_CHECK(finite);
        DG_CHECK_OK(dg_metrics_add(metrics, &row));
        dg_log_progress(log, "training, steps", step, 1000000, "loss 0.50000, lr 1.00e-04");
    }
    return (dg_time_s() - start) / STEPS;
}

int main(void)
{
    const char names[PARTS][DG_METRICS_NAME] = {"mse", "mae", "negative", "gradient", "dvh", "other"};
    char folder[64], path[96];
    double least = INFINITY;
    dg_metrics *metrics;
    dg_log *log;
    dg_stop_watch watch;
    snprintf(folder, sizeof folder, "t911_guard_cost-%d", (int)getpid());
    snprintf(path, sizeof path, "%s/log", folder);
    DG_CHECK(mkdir(folder, 0777) == 0);
    DG_CHECK_OK(dg_metrics_create(folder, 0, names, PARTS, &metrics));
    DG_CHECK_OK(dg_log_create(0, DG_LOG_INFO, path, &log));
    dg_stop_watch_open(&watch, folder, true, log);
    for (int round = 0; round < ROUNDS; round++) {
        double seconds = one_round(metrics, log, &watch, 1 + (int64_t)round * STEPS);
        if (seconds < least) least = seconds;
    }
    printf("guards and logging of a step: %.2f us, %.3f %% of a step of %.0f ms\n", least * 1e6,
           100 * least / SMALL_STEP_S, SMALL_STEP_S * 1e3);
    DG_CHECK(least < 0.01 * SMALL_STEP_S);
    dg_stop_watch_close(&watch, false);
    dg_metrics_destroy(&metrics);
    dg_log_destroy(&log);
    nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    return 0;
}
