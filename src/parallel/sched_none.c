/* sched_none.c - no batch scheduler: nothing ends the run and nobody starts it again.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_mem.h"
#include "dg_sched.h"

#include <math.h>
#include <time.h>

static void none_destroy(dg_sched *sched) { dg_free(&sched); }

static dg_status none_job(dg_sched *sched, const char *job_id, dg_sched_job *out)
{
    return DG_FAIL(DG_ERR_UNSUPPORTED, "no batch scheduler runs here that could know of job %.63s", job_id);
}

static dg_status none_end_time(dg_sched *sched, double *end_time)
{
    *end_time = INFINITY;
    return DG_OK;
}

static dg_status none_requeue(dg_sched *sched)
{
    return DG_FAIL(DG_ERR_UNSUPPORTED, "no batch scheduler runs this job: start it again by hand with --resume");
}

static const dg_sched_ops none_ops = {
    .name = "none",
    .destroy = none_destroy,
    .job = none_job,
    .end_time = none_end_time,
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

dg_status dg_sched_job_state(dg_sched *sched, const char *job_id, dg_sched_job *out)
{
    return sched->ops->job(sched, job_id, out);
}

dg_status dg_sched_end_time(dg_sched *sched, double *end_time) { return sched->ops->end_time(sched, end_time); }

dg_status dg_sched_seconds_left(dg_sched *sched, double *seconds)
{
    struct timespec now;
    DG_TRY(dg_sched_end_time(sched, seconds));
    clock_gettime(CLOCK_REALTIME, &now);
    *seconds -= (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    return DG_OK;
}

dg_status dg_sched_requeue(dg_sched *sched) { return sched->ops->requeue(sched); }
