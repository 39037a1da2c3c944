/* sched_none.c - no batch scheduler: nothing ends the run and nobody starts it again.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "dg_sched.h"

#include <math.h>

static void none_destroy(dg_sched *sched) { dg_free(&sched); }

static dg_status none_seconds_left(dg_sched *sched, double *seconds)
{
    *seconds = INFINITY;
    return DG_OK;
}

static dg_status none_requeue(dg_sched *sched)
{
    return DG_FAIL(DG_ERR_UNSUPPORTED, "no batch scheduler runs this job: start it again by hand with --resume");
}

static const dg_sched_ops none_ops = {
    .name = "none",
    .destroy = none_destroy,
    .seconds_left = none_seconds_left,
    .requeue = none_requeue,
};

dg_status dg_sched_none_create(dg_sched **out)
{
    *out = NULL;
    dg_sched *sched;
    DG_TRY(DG_NEW(&sched, 1, "scheduler adapter"));
    sched->ops = &none_ops;
    *out = sched;
    return DG_OK;
}

void dg_sched_destroy(dg_sched **sched)
{
    if (sched == NULL || *sched == NULL) return;
    (*sched)->ops->destroy(*sched);
    *sched = NULL;
}

dg_status dg_sched_seconds_left(dg_sched *sched, double *seconds) { return sched->ops->seconds_left(sched, seconds); }

dg_status dg_sched_requeue(dg_sched *sched) { return sched->ops->requeue(sched); }
