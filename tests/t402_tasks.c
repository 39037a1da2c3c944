/* The task queue: every task exactly once, the costly ones first, and no waiting for a rank that computes.
 * ctest: libs=dg_mpi label=mpi ranks=0,1,2,4 timeout=60
 * SPDX-License-Identifier: Apache-2.0 */
#include "dg_check.h"
#include "dg_mem.h"
#include "dg_mpi.h"
#include "dg_tasks.h"
#include "dg_trace.h"

#include <unistd.h>

enum { TASKS = 203 };

static double cost_of(int64_t task) { return (double)((task * 37) % 11); } /* many ties */

static void test_each_once(dg_comm *comm)
{
    double cost[TASKS];
    int64_t taken[TASKS] = {0}, task = 0, before = -1;
    for (int64_t i = 0; i < TASKS; i++) cost[i] = cost_of(i);
    dg_tasks *tasks;
    DG_CHECK_OK(dg_tasks_create(comm, cost, TASKS, &tasks));
    for (;;) {
        DG_CHECK_OK(dg_tasks_next(tasks, &task));
        if (task < 0) break;
        DG_CHECK(task < TASKS);
        taken[task]++;
        /* Each rank sees a falling cost, ties by rising index. */
        if (before >= 0)
            DG_CHECK(cost_of(before) > cost_of(task) || (cost_of(before) == cost_of(task) && before < task));
        before = task;
    }
    DG_CHECK_OK(dg_tasks_next(tasks, &task));
    DG_CHECK(task == -1);
    dg_tasks_destroy(&tasks);
    DG_CHECK(tasks == NULL);
    DG_CHECK_OK(dg_comm_all_reduce(comm, taken, TASKS, DG_I64, DG_SUM));
    for (int64_t i = 0; i < TASKS; i++) DG_CHECK(taken[i] == 1);
}

/* Rank 0, whose memory holds the counter, computes for a second outside MPI; the others take all tasks meanwhile. */
static void test_busy_rank(dg_comm *comm)
{
    dg_comm_counter *counter;
    DG_CHECK_OK(dg_comm_counter_create(comm, &counter));
    DG_CHECK_OK(dg_comm_barrier(comm));
    double start = dg_time_s();
    int64_t before = 0, mine = 0;
    if (comm->rank == 0 && comm->size > 1) usleep(1000000);
    for (;;) {
        DG_CHECK_OK(dg_comm_counter_next(comm, counter, 3, &before));
        DG_CHECK(before % 3 == 0);
        if (before >= 300) break;
        mine++;
    }
    double seconds = dg_time_s() - start;
    if (comm->rank != 0 && seconds > 0.8) {
        fprintf(stderr, "rank %d waited %.2f s for the counter while rank 0 slept\n", comm->rank, seconds);
        exit(1);
    }
    if (comm->rank == 0 && comm->size > 1) DG_CHECK(mine == 0);
    DG_CHECK_OK(dg_comm_all_reduce(comm, &mine, 1, DG_I64, DG_SUM));
    DG_CHECK(mine == 100);
    dg_comm_counter_destroy(comm, &counter);
    DG_CHECK(counter == NULL);
}

static void test_edges(dg_comm *comm)
{
    dg_tasks *tasks;
    int64_t task = 0;
    DG_CHECK_OK(dg_tasks_create(comm, NULL, 0, &tasks));
    DG_CHECK_OK(dg_tasks_next(tasks, &task));
    DG_CHECK(task == -1);
    dg_tasks_destroy(&tasks);
    double cost[2] = {1.0, NAN};
    DG_CHECK_FAILS(dg_tasks_create(comm, cost, 2, &tasks), DG_ERR_INTERNAL, "task 1");
    DG_CHECK(tasks == NULL);
}

int main(int argc, char **argv)
{
    dg_comm *comm;
    DG_CHECK_OK(dg_comm_open(&argc, &argv, &comm));
    test_each_once(comm);
    test_busy_rank(comm);
    test_edges(comm);
    dg_comm_destroy(&comm);
    dg_mpi_stop();
    return 0;
}
