/* ctest: libs=dg_nn timeout=60 */
/* t306_schedule.c - learning rates by step and by fraction of the run. SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_optim.h"

int main(void)
{
    const double pi = 3.14159265358979323846;
    dg_optim_config c = {.lr = 1e-3, .schedule = DG_SCHEDULE_CONSTANT, .total_steps = 100};
    DG_CHECK(dg_schedule_lr(&c, 0) == 1e-3 && dg_schedule_lr(&c, 99) == 1e-3 && dg_schedule_lr(&c, 1000) == 1e-3);

    c.warmup = 4; /* quarter by quarter, full from the last warm-up step on */
    for (int s = 0; s < 4; s++) DG_CHECK_NEAR(dg_schedule_lr(&c, s), 1e-3 * (s + 1) / 4, 1e-18);
    DG_CHECK(dg_schedule_lr(&c, 4) == 1e-3);

    c = (dg_optim_config){.lr = 1e-3, .min_lr = 1e-6, .schedule = DG_SCHEDULE_COSINE, .total_steps = 12};
    for (int s = 0; s <= 12; s++)
        DG_CHECK_NEAR(dg_schedule_lr(&c, s), 1e-6 + (1e-3 - 1e-6) * (1 + cos(pi * s / 12)) / 2, 1e-15);
    DG_CHECK_NEAR(dg_schedule_lr(&c, 12), 1e-6, 1e-15);
    DG_CHECK_NEAR(dg_schedule_lr(&c, 40), 1e-6, 1e-15); /* stays at the end, does not rise again */

    c.warmup = 2;
    DG_CHECK_NEAR(dg_schedule_lr(&c, 0), 5e-4, 1e-15);
    DG_CHECK_NEAR(dg_schedule_lr(&c, 2), 1e-3, 1e-15);
    DG_CHECK_NEAR(dg_schedule_lr(&c, 7), 1e-6 + (1e-3 - 1e-6) / 2, 1e-15);
    for (int s = 0; s <= 12; s++) DG_CHECK_NEAR(dg_schedule_lr_at(&c, s / 12.0), dg_schedule_lr(&c, s), 1e-15);
    DG_CHECK(dg_schedule_lr_at(&c, 2.0) == dg_schedule_lr(&c, 12) &&
             dg_schedule_lr_at(&c, -1.0) == dg_schedule_lr(&c, 0));
    for (int i = 0; i < 1000; i++) { /* between steps too: up, then down */
        const double a = dg_schedule_lr_at(&c, i / 1000.0), b = dg_schedule_lr_at(&c, (i + 1) / 1000.0);
        DG_CHECK(a >= 0 && a <= 1e-3 && (i < 84 ? b >= a : i < 168 || b <= a));
    }
    c.total_steps = c.warmup = 5; /* nothing but warm-up */
    DG_CHECK_NEAR(dg_schedule_lr(&c, 4), 1e-3, 1e-15);
    DG_CHECK_NEAR(dg_schedule_lr(&c, 5), 1e-6, 1e-15);
    return 0;
}
