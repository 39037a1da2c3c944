/* dg_schedule.c - learning-rate schedules. SPDX-License-Identifier: Apache-2.0 */
#include "dg_optim.h"

#include <math.h>

double dg_schedule_cycle(const dg_optim_config *config, double step)
{
    double length = (double)config->restart_steps, begin = (double)config->warmup;
    while (step >= begin + length) {
        begin += length;
        length *= config->restart_factor;
    }
    return fmax(0.0, (step - begin) / length);
}

/* At a real-valued step, so that a run bound by time and one bound by steps share one formula. */
static double rate_at(const dg_optim_config *config, double step)
{
    const double pi = 3.14159265358979323846;
    const double warmup = (double)config->warmup, rest = (double)config->total_steps - warmup;
    if (step < warmup) return config->lr * fmin(1.0, (step + 1.0) / warmup);
    if (config->schedule == DG_SCHEDULE_CONSTANT || config->schedule == DG_SCHEDULE_PLATEAU) return config->lr;
    double done = config->schedule == DG_SCHEDULE_RESTARTS ? dg_schedule_cycle(config, step)
                  : rest > 0.0                             ? fmin(1.0, (step - warmup) / rest)
                                                           : 1.0;
    return config->min_lr + (config->lr - config->min_lr) * (1.0 + cos(pi * done)) / 2.0;
}

double dg_schedule_lr(const dg_optim_config *config, int64_t step) { return rate_at(config, (double)step); }

double dg_schedule_lr_at(const dg_optim_config *config, double fraction)
{
    return rate_at(config, fmin(1.0, fmax(0.0, fraction)) * (double)config->total_steps);
}
