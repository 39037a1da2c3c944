/* dg_tasks.c - independent tasks, the costly ones first, so that no rank is left with a big one at the end.
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_fault.h"
#include "dg_mem.h"
#include "dg_tasks.h"

#include <math.h>
#include <stdlib.h>

typedef struct ranked {
    double cost;
    int64_t task;
} ranked;

struct dg_tasks {
    dg_comm *comm;
    dg_comm_counter *counter;
    ranked *order; /* [count] */
    int64_t count;
    int64_t taken; /* by this rank */
};

static int costlier(const void *a, const void *b)
{
    const ranked *p = a, *q = b;
    if (p->cost != q->cost) return p->cost > q->cost ? -1 : 1;
    return p->task < q->task ? -1 : 1;
}

static dg_status put_in_order(dg_tasks *tasks, const double *cost)
{
    DG_TRY(DG_NEW(&tasks->order, tasks->count > 0 ? tasks->count : 1, "task list"));
    for (int64_t i = 0; i < tasks->count; i++) {
        if (isnan(cost[i])) return DG_FAIL(DG_ERR_INTERNAL, "the cost of task %lld is not a number", (long long)i);
        tasks->order[i] = (ranked){.cost = cost[i], .task = i};
    }
    qsort(tasks->order, (size_t)tasks->count, sizeof *tasks->order, costlier);
    return DG_OK;
}

dg_status dg_tasks_create(dg_comm *comm, const double *cost, int64_t count, dg_tasks **out)
{
    *out = NULL;
    dg_tasks *tasks = NULL;
    dg_status status = DG_NEW(&tasks, 1, "task queue");
    if (status == DG_OK) {
        tasks->comm = comm;
        tasks->count = count;
        status = put_in_order(tasks, cost);
    }
    DG_TRY_GOTO(status, dg_comm_agree(comm, status), fail);
    DG_TRY_GOTO(status, dg_comm_counter_create(comm, &tasks->counter), fail);
    *out = tasks;
    return DG_OK;
fail:
    dg_tasks_destroy(&tasks);
    return status;
}

dg_status dg_tasks_next(dg_tasks *tasks, int64_t *task)
{
    int64_t place = 0;
    *task = -1;
    dg_fault_set_step(tasks->taken++);
    DG_TRY(dg_fault_reach(DG_FAULT_TASK, NULL, 0));
    DG_TRY(dg_comm_counter_next(tasks->comm, tasks->counter, 1, &place));
    if (place < tasks->count) *task = tasks->order[place].task;
    return DG_OK;
}

dg_status dg_tasks_halt(dg_tasks *tasks)
{
    int64_t before;
    return dg_comm_counter_next(tasks->comm, tasks->counter, tasks->count, &before);
}

void dg_tasks_destroy(dg_tasks **tasks)
{
    if (tasks == NULL || *tasks == NULL) return;
    dg_comm_counter_destroy((*tasks)->comm, &(*tasks)->counter);
    dg_free(&(*tasks)->order);
    dg_free(tasks);
}
