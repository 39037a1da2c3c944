/* The scheduler adapter of a workstation.
 * ctest: libs=dg_parallel label=unit
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_sched.h"

int main(void)
{
    dg_sched *sched;
    DG_CHECK_OK(dg_sched_none_create(&sched));
    DG_CHECK(strcmp(sched->ops->name, "none") == 0);
    DG_CHECK(sched->job_id[0] == '\0' && sched->expected_ranks == 0 && sched->restart_count == 0);
    double seconds = 0;
    DG_CHECK_OK(dg_sched_seconds_left(sched, &seconds));
    DG_CHECK(isinf(seconds) && seconds > 0);
    DG_CHECK_OK(dg_sched_end_time(sched, &seconds));
    DG_CHECK(isinf(seconds) && seconds > 0);
    dg_sched_job job;
    DG_CHECK_FAILS(dg_sched_job_state(sched, "7", &job), DG_ERR_UNSUPPORTED, "job 7");
    DG_CHECK_FAILS(dg_sched_requeue(sched), DG_ERR_UNSUPPORTED, "--resume");
    dg_sched_destroy(&sched);
    DG_CHECK(sched == NULL);
    dg_sched_destroy(&sched);
    return 0;
}
